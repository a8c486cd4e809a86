/* shutdown.c - see shutdown.h. */
#include "lib/node/shutdown.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/door.h"
#include "lib/base/log.h"
#include "lib/base/notify.h"
#include "lib/base/wait.h"
#include "lib/node/hook.h"
#include "lib/node/last_resort.h"
#include "lib/replica/admit.h"

#define LOOK_MS     20
#define LAST_MS     2000 /* from the end of the time to the end of the process */
#define PATIENCE_MS 1000
#define GRACE_MS    1000 /* of a hook, from SIGTERM to SIGKILL */
#define CLOSE_MS    1000 /* of the end of the time: for closing, and to say what is left */
#define URGENT_MS   200
#define WHY         "this node is shutting down"

struct sr_shutdown {
	const struct sr_config *config;
	const char *role;
	struct sr_spawner *spawner;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	bool begun, threaded, starting; /* starting: it began before the node knew its tree */
	struct sr_last_resort *last; /* asked without the lock, or with it */
	_Atomic unsigned signals;
	bool hurried;  /* nothing is waited for any more */
	bool attached, ended; /* ended: no step is called any more */
	int64_t begun_ms;
	char *by;
	struct sr_balance *balance;
	struct sr_server *server;
	const struct sr_shutdown_steps *steps;
	void *ctx;
};

/* --- time ----------------------------------------------------------------------------------------------------------------- */

static int64_t timeout_ms(const struct sr_shutdown *s)
{
	return (int64_t)s->config->shutdown_timeout * 1000;
}

/* When so many quarters of the whole time have passed. */
static int64_t quarter(const struct sr_shutdown *s, int n)
{
	return s->begun_ms + timeout_ms(s) * n / 4;
}

static void wait_changed(struct sr_shutdown *s, int64_t ms)
{
	struct timespec until = sr_after_ms(ms);

	pthread_cond_timedwait(&s->changed, &s->lock, &until);
}

static bool is_hurried(struct sr_shutdown *s)
{
	bool is;

	pthread_mutex_lock(&s->lock);
	is = s->hurried;
	pthread_mutex_unlock(&s->lock);
	return is;
}

/* A moment, unless it is urgent.  False: it is `until`, or urgent. */
static bool linger(struct sr_shutdown *s, int64_t until, int64_t ms)
{
	bool go_on;

	pthread_mutex_lock(&s->lock);
	if (!s->hurried && sr_ticks_ms() < until)
		wait_changed(s, ms < until - sr_ticks_ms() ? ms : until - sr_ticks_ms() + 1);
	go_on = !s->hurried && sr_ticks_ms() < until;
	pthread_mutex_unlock(&s->lock);
	return go_on;
}

/* --- the steps -------------------------------------------------------------------------------------------------------------- */

static void announce(struct sr_shutdown *s)
{
	sr_info("shutting down (%s), within %llu s", s->by, (unsigned long long)s->config->shutdown_timeout);
	sr_notify_stopping(s->config->shutdown_timeout);
	sr_balance_stopping(s->balance);
}

static void recognition(struct sr_shutdown *s)
{
	uint64_t seconds = s->config->lb_recognition_period;
	int64_t until = s->begun_ms + (int64_t)seconds * 1000;

	if (s->starting || !seconds)
		return;
	sr_info("shutting down: requests are served for another %llu s", (unsigned long long)seconds);
	while (linger(s, until, until - sr_ticks_ms()))
		;
}

static void wait_for_requests(struct sr_shutdown *s, int64_t until)
{
	unsigned told = 0;

	for (;;) {
		unsigned n = sr_server_under_way(s->server);

		if (n && !told)
			sr_info("shutting down: %u requests under way are waited for", n);
		told = n;
		if (!n || !linger(s, until, LOOK_MS))
			return;
	}
}

static const char *hook_is_over(void *ctx)
{
	struct sr_shutdown *s = ctx;

	if (is_hurried(s))
		return "this node stops at once";
	return sr_ticks_ms() >= quarter(s, 3) ? "its time is up" : NULL;
}

static unsigned hook_grace_ms(void *ctx)
{
	int64_t eighth = timeout_ms(ctx) / 8;

	return is_hurried(ctx) ? URGENT_MS : (unsigned)(eighth < GRACE_MS ? eighth : GRACE_MS);
}

static void run_hook(struct sr_shutdown *s, size_t i)
{
	int64_t left = quarter(s, 3) - sr_ticks_ms();
	char *name = sr_format("Shutdown-Hook %zu", i + 1);
	char *role = sr_format("SAMEROOT_ROLE=%s", s->role), *file = sr_format("SAMEROOT_CONFIG=%s", s->config->file);
	char *by = sr_format("SAMEROOT_REASON=%s", s->by), *seconds = sr_format("SAMEROOT_SECONDS=%lld", left > 0 ? (long long)(left + 999) / 1000 : 0);
	char *external = sr_format("SAMEROOT_EXTERNAL_ADDR=%s", s->config->external.text ? s->config->external.text : "");
	const char *environment[] = {role, file, by, seconds, external, NULL};
	struct sr_hook hook = {.name = name,
			       .command = s->config->shutdown_hook.at[i],
			       .environment = environment,
			       .is_over = hook_is_over,
			       .grace_ms = hook_grace_ms,
			       .ctx = s,
			       .spawner = s->spawner};
	struct sr_err err;

	sr_info("%s: %s", name, hook.command);
	if (sr_hook_run(&hook, &err) != SR_OK)
		sr_warn("%s; the shutdown goes on", err.text);
	free(name);
	free(role);
	free(file);
	free(by);
	free(seconds);
	free(external);
}

static void run_hooks(struct sr_shutdown *s)
{
	size_t i = 0;

	for (; i < s->config->shutdown_hook.count && !hook_is_over(s); i++)
		run_hook(s, i);
	if (i < s->config->shutdown_hook.count)
		sr_warn("Shutdown-Hook %zu and what follows it are not run: %s", i + 1,
			is_hurried(s) ? "this node stops at once" : "there is no time left for them");
}

static void flush(struct sr_shutdown *s)
{
	int64_t all = timeout_ms(s), until = quarter(s, 4) - (all / 16 < CLOSE_MS ? all / 16 : CLOSE_MS);

	if (s->starting || is_hurried(s))
		return;
	s->steps->flush(s->ctx, until);
	while (!s->steps->is_flushed(s->ctx) && linger(s, until, LOOK_MS))
		;
}

/* All that is done while there is a daemon. */
static void go_through(struct sr_shutdown *s)
{
	announce(s);
	recognition(s);
	if (!is_hurried(s)) {
		sr_server_drain(s->server, WHY);
		wait_for_requests(s, quarter(s, 2));
	}
	run_hooks(s);
	flush(s);
	if (!is_hurried(s))
		wait_for_requests(s, quarter(s, 4));
	if (s->starting || is_hurried(s) || !s->steps->is_flushed(s->ctx) || sr_ticks_ms() >= quarter(s, 4))
		s->steps->hurry(s->ctx);
}

static void *run(void *arg)
{
	struct sr_shutdown *s = arg;

	go_through(s);
	if (s->steps->end)
		s->steps->end(s->ctx);
	pthread_mutex_lock(&s->lock);
	s->ended = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	if (s->starting)
		sr_last_resort_within(s->last, LAST_MS);
	return NULL;
}

/* --- the interface -------------------------------------------------------------------------------------------------------------- */

struct sr_shutdown *sr_shutdown_new(const struct sr_config *config, const char *role)
{
	struct sr_shutdown *s = sr_alloc(sizeof *s);

	s->config = config;
	s->role = role;
	s->last = sr_last_resort_new();
	pthread_mutex_init(&s->lock, NULL);
	sr_cond_init(&s->changed);
	return s;
}

void sr_shutdown_set_spawner(struct sr_shutdown *s, struct sr_spawner *spawner)
{
	s->spawner = spawner;
}

void sr_shutdown_free(struct sr_shutdown *s)
{
	if (!s)
		return;
	if (s->threaded)
		pthread_join(s->thread, NULL);
	sr_last_resort_free(s->last);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s->by);
	free(s);
}

void sr_shutdown_attach(struct sr_shutdown *s, struct sr_balance *balance, struct sr_server *server, const struct sr_shutdown_steps *steps, void *ctx)
{
	pthread_mutex_lock(&s->lock);
	s->balance = balance;
	s->server = server;
	s->steps = steps;
	s->ctx = ctx;
	s->attached = true;
	pthread_mutex_unlock(&s->lock);
}

void sr_shutdown_detach(struct sr_shutdown *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->attached = false;
	if (s->threaded && !s->ended) {
		s->hurried = true;
		sr_last_resort_within(s->last, LAST_MS);
		pthread_cond_broadcast(&s->changed);
	}
	while (s->threaded && !s->ended)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

unsigned sr_shutdown_patience_ms(struct sr_shutdown *s, unsigned otherwise)
{
	unsigned ms = otherwise;

	if (!s)
		return otherwise;
	pthread_mutex_lock(&s->lock);
	if (s->begun)
		ms = s->hurried || s->starting || sr_ticks_ms() >= quarter(s, 4) ? 0 : PATIENCE_MS;
	pthread_mutex_unlock(&s->lock);
	return ms;
}

static void end_without_thread(struct sr_shutdown *s)
{
	sr_error("no thread for the shutdown: this daemon stops without its steps");
	announce(s);
	s->steps->hurry(s->ctx);
	if (s->steps->end)
		s->steps->end(s->ctx);
	s->ended = true;
	pthread_cond_broadcast(&s->changed);
}

void sr_shutdown_begin(struct sr_shutdown *s, const char *by)
{
	bool first;

	pthread_mutex_lock(&s->lock);
	first = !s->begun && s->attached;
	if (first) {
		s->begun = true;
		s->by = sr_strdup(by);
		s->begun_ms = sr_ticks_ms();
		sr_last_resort_within(s->last, timeout_ms(s) + LAST_MS); /* before anything that could hang */
		s->starting = sr_balance_is_starting(s->balance);
		s->threaded = pthread_create(&s->thread, NULL, run, s) == 0;
		if (!s->threaded)
			end_without_thread(s);
	}
	pthread_mutex_unlock(&s->lock);
}

static void hurry(struct sr_shutdown *s, int sig)
{
	bool first;

	sr_last_resort_within(s->last, LAST_MS); /* before the lock: who has it may be what hangs */
	pthread_mutex_lock(&s->lock);
	first = !s->hurried;
	s->hurried = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	if (first)
		sr_info("stopping at once (%s)", strsignal(sig));
}

void sr_shutdown_signal(struct sr_shutdown *s, int sig)
{
	if (s->signals++)
		hurry(s, sig);
	else
		sr_shutdown_begin(s, sig == SIGINT ? "SIGINT" : "SIGTERM");
}

bool sr_shutdown_wait(struct sr_shutdown *s, unsigned ms)
{
	int64_t until = sr_ticks_ms() + ms;
	bool ended;

	pthread_mutex_lock(&s->lock);
	while (!s->ended && sr_ticks_ms() < until)
		wait_changed(s, until - sr_ticks_ms() + 1);
	ended = s->ended;
	pthread_mutex_unlock(&s->lock);
	return ended;
}

/* --- the route --------------------------------------------------------------------------------------------------------------------- */

enum sr_status sr_shutdown_post(struct sr_shutdown *s, struct sr_request *req, struct sr_err *err)
{
	const char *by = sr_request_user(req);
	char text[64];
	int64_t left;

	(void)err;
	sr_shutdown_begin(s, by ? by : "an admin");
	pthread_mutex_lock(&s->lock);
	left = quarter(s, 4) - sr_ticks_ms();
	pthread_mutex_unlock(&s->lock);
	snprintf(text, sizeof text, "{\"within_s\":%lld}", left > 0 ? (long long)(left + 999) / 1000 : 0);
	sr_reply_bytes(req, 202, "application/json", sr_bytes_of(text));
	return SR_OK;
}

static enum sr_status post_shutdown(void *ctx, struct sr_request *req, struct sr_err *err)
{
	return sr_shutdown_post(ctx, req, err);
}

const struct sr_route *sr_shutdown_routes(size_t *n)
{
	static const struct sr_route routes[] = {
		{"POST", SR_SHUTDOWN_TARGET, post_shutdown, SR_ROUTE_ADMIN | SR_ROUTE_LAST, SR_BODY_IGNORED},
	};

	*n = sizeof routes / sizeof *routes;
	return routes;
}
