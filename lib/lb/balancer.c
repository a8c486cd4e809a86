/* balancer.c - see balancer.h. */
#include "lib/lb/balancer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/log.h"
#include "lib/base/door.h"
#include "lib/base/notify.h"
#include "lib/lb/ending.h"
#include "lib/lb/haproxy.h"
#include "lib/lb/learner.h"
#include "lib/lb/pause.h"
#include "lib/state/state.h"

#define META_MINE  "balancer" /* in state.db: it is no daemon's */
#define FRESH      SIGUSR2    /* the learner's */
#define LOOK_MS    1000       /* how often one that is not our child is looked at */
#define HARD_MS    5000       /* for what is told to end at once */
#define PATIENCE_MS 5000      /* with the first list, before the service manager is told that this runs without one */

struct balancer {
	struct sr_lb_conf *conf;
	struct sr_lb_ending *ending;
	struct sr_state *state;
	struct sr_lb_learner *learner;
	struct sr_lb_haproxy *haproxy;
	struct sr_lb_list list;
	bool have_list, announced;
	bool due; /* HAProxy has to be brought up to the list */
	struct sr_lb_pause pause;
	char *trouble; /* as it was logged */
	bool told_ready;
	char *told; /* the status that the service manager was told last */
};

/* --- the service manager ----------------------------------------------------------------------------------------------------------------- */

/* CONSUMES text. */
static void tell_status(struct balancer *b, char *text)
{
	if (!b->told || strcmp(b->told, text) != 0)
		sr_notify_status("%s", text);
	free(b->told);
	b->told = text;
}

/* Ready is who serves; and who has waited a while for a datastore, for that may take long and is no failed start. */
static void tell_manager(struct balancer *b, int64_t started)
{
	if (b->trouble)
		tell_status(b, sr_format("HAProxy is not up to date: %s", b->trouble));
	else if (!b->have_list)
		tell_status(b, sr_strdup("waiting for the datastore's list of webservers"));
	else if (b->pause.since)
		tell_status(b, sr_format("HAProxy runs with %zu webserver%s", b->list.n, b->list.n == 1 ? "" : "s"));
	else
		tell_status(b, sr_strdup("HAProxy is being started"));
	if (!b->told_ready && (b->announced || sr_ticks_ms() - started > PATIENCE_MS)) {
		sr_notify_ready();
		b->told_ready = true;
	}
}

/* --- HAProxy and the list -------------------------------------------------------------------------------------------------------------- */

static const struct sr_lb_webserver *find(const struct sr_lb_list *list, const struct sr_lb_webserver *w)
{
	for (size_t i = 0; i < list->n; i++)
		if (!strcmp(list->at[i].id, w->id))
			return &list->at[i];
	return NULL;
}

static void tell_changes(const struct sr_lb_list *old, const struct sr_lb_list *fresh)
{
	for (size_t i = 0; i < fresh->n; i++)
		if (!find(old, &fresh->at[i]))
			sr_info("webserver %s joins: %s, port %u", fresh->at[i].id, fresh->at[i].address, fresh->at[i].port);
	for (size_t i = 0; i < old->n; i++)
		if (!find(fresh, &old->at[i]))
			sr_info("webserver %s leaves", old->at[i].id);
}

static void take_list(struct balancer *b)
{
	struct sr_lb_list fresh;

	if (!sr_lb_learner_take(b->learner, &fresh))
		return;
	tell_changes(&b->list, &fresh);
	sr_lb_list_free(&b->list);
	b->list = fresh;
	b->have_list = b->due = true;
}

static void tell_trouble(struct balancer *b, const char *text)
{
	if (text && (!b->trouble || strcmp(b->trouble, text) != 0))
		sr_error("%s", text);
	free(b->trouble);
	b->trouble = text ? sr_strdup(text) : NULL;
}

static void pause_then(struct balancer *b)
{
	sr_lb_pause_failed(&b->pause, sr_ticks_ms());
	b->due = true;
}

static void announce(struct balancer *b)
{
	const char *at = b->conf->bind_addr ? b->conf->bind_addr : "0.0.0.0";

	sr_lb_pause_good(&b->pause, sr_ticks_ms());
	if (b->announced)
		return;
	fprintf(stderr, strchr(at, ':') ? "listening on [%s]:%u\n" : "listening on %s:%u\n", at, b->conf->web_port);
	b->announced = true;
}

static void apply(struct balancer *b)
{
	struct sr_err err = {0};
	bool changed = false;

	if (!b->have_list || !b->due || sr_ticks_ms() < b->pause.not_before)
		return;
	b->due = false;
	if (sr_lb_haproxy_apply(b->haproxy, &b->list, &changed, &err) != SR_OK) {
		tell_trouble(b, err.text);
		pause_then(b);
		return;
	}
	tell_trouble(b, NULL);
	if (changed)
		sr_info("HAProxy runs with %zu webserver%s", b->list.n, b->list.n == 1 ? "" : "s");
	announce(b);
}

static void look_after(struct balancer *b)
{
	if (!sr_lb_haproxy_ended(b->haproxy))
		return;
	pause_then(b);
	sr_error("HAProxy ended; it is started again in %lld s", (long long)(b->pause.ms / 1000));
}

/* --- signals ------------------------------------------------------------------------------------------------------------------------------- */

static bool differ(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") != 0;
}

static void reload(struct balancer *b, sr_lb_reload_fn *fn, void *ctx)
{
	struct sr_lb_conf *fresh = fn(ctx), *old = b->conf;
	struct sr_err err = {0};

	if (!fresh)
		return;
	if (differ(fresh->state_directory, old->state_directory) || differ(fresh->haproxy_socket, old->haproxy_socket) ||
	    differ(fresh->haproxy_config, old->haproxy_config)) {
		sr_error("reload: the new configuration is refused and the old one kept: another State-Directory, HAProxy-Socket or HAProxy-Config "
			 "needs a restart");
		sr_lb_conf_free(fresh);
		return;
	}
	sr_lb_learner_stop(b->learner);
	b->learner = NULL;
	b->conf = fresh;
	sr_lb_haproxy_conf(b->haproxy, fresh);
	sr_lb_ending_timeout(b->ending, fresh->shutdown_timeout);
	if (sr_lb_learner_start(&b->learner, fresh, b->state, FRESH, &err) != SR_OK)
		tell_trouble(b, err.text);
	sr_lb_conf_free(old);
	b->due = true;
	b->pause = (struct sr_lb_pause){.since = b->pause.since};
	sr_info("reload: the configuration is taken");
}

static void pass_on(struct balancer *b, int sig, sr_lb_reload_fn *fn, void *ctx)
{
	if (sig == SIGHUP) {
		sr_notify_reloading();
		reload(b, fn, ctx);
		sr_notify_ready();
	} else if (sig == SIGUSR1 && b->learner) {
		sr_lb_learner_now(b->learner);
	}
	if (b->learner)
		take_list(b);
}

static void block(sigset_t *set)
{
	static const int all[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD, FRESH};

	sigemptyset(set);
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		sigaddset(set, all[i]);
	pthread_sigmask(SIG_BLOCK, set, NULL);
}

/* The next signal, or 0 after `ms`. */
static int next_signal(const sigset_t *set, int64_t ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
	int sig = sigtimedwait(set, NULL, &ts);

	return sig > 0 ? sig : 0;
}

static bool ends(int sig)
{
	return sig == SIGTERM || sig == SIGINT;
}

/* Softly; what is not done after Shutdown-Timeout, or when one is told a second time, ends hard; and what hangs is killed. */
static void stop_haproxy(struct balancer *b, const sigset_t *signals)
{
	int64_t end = sr_ticks_ms() + (int64_t)b->conf->shutdown_timeout * 1000;
	bool hard = false;

	sr_lb_haproxy_soft_stop(b->haproxy);
	while (sr_lb_haproxy_runs(b->haproxy)) {
		int sig = next_signal(signals, 100);

		if (!hard && (ends(sig) || sr_ticks_ms() > end)) {
			sr_warn("requests under way are cut off: %s", ends(sig) ? "told to stop a second time" : "Shutdown-Timeout is over");
			sr_lb_haproxy_hard_stop(b->haproxy);
			hard = true;
			end = sr_ticks_ms() + HARD_MS;
		} else if (hard && sr_ticks_ms() > end) {
			sr_warn("HAProxy hangs, and is killed");
			sr_lb_haproxy_kill(b->haproxy);
		}
	}
}

static void run(struct balancer *b, const sigset_t *signals, sr_lb_reload_fn *fn, void *ctx)
{
	int64_t started = sr_ticks_ms();
	int sig;

	do {
		tell_manager(b, started);
		sig = next_signal(signals, LOOK_MS);
		if (ends(sig))
			break;
		pass_on(b, sig, fn, ctx);
		look_after(b);
		apply(b);
	} while (true);
	sr_lb_ending_begun(b->ending);
	sr_info("stopping (%s)", strsignal(sig));
	sr_notify_stopping(b->conf->shutdown_timeout);
	stop_haproxy(b, signals);
}

/* --- begin, end -------------------------------------------------------------------------------------------------------------------------------- */

static enum sr_status open_state(struct balancer *b, struct sr_err *err)
{
	const char *dir = b->conf->state_directory;
	struct sr_buf value = {0};
	bool fresh, found = false;
	enum sr_status rc = sr_state_open(&b->state, dir, &fresh, err);

	if (rc == SR_OK && fresh)
		return sr_state_put(b->state, META_MINE, sr_bytes_of("1"), err);
	if (rc == SR_OK)
		rc = sr_state_get(b->state, META_MINE, &value, &found, err);
	if (rc == SR_OK && !found)
		rc = sr_err_set(err, SR_E_CONFIG, "%s: State-Directory %s is that of a datastore or a webserver: the balancer needs one of its own",
				b->conf->file, dir);
	sr_buf_free(&value);
	return rc;
}

enum sr_status sr_lb_run(struct sr_lb_conf *conf, sr_lb_reload_fn *fn, void *ctx, struct sr_err *err)
{
	struct balancer b = {.conf = conf};
	char *secret = NULL;
	sigset_t signals;
	enum sr_status rc = sr_lb_conf_asks(conf) ? sr_lb_conf_secret(conf, &secret, err) : SR_OK;

	block(&signals);
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
	if (rc == SR_OK)
		rc = sr_lb_ending_start(&b.ending, conf->shutdown_timeout, err);
	if (rc == SR_OK)
		rc = open_state(&b, err);
	if (rc == SR_OK)
		rc = sr_lb_haproxy_open(&b.haproxy, conf, err);
	if (rc == SR_OK)
		rc = sr_lb_learner_start(&b.learner, conf, b.state, FRESH, err);
	if (rc == SR_OK)
		run(&b, &signals, fn, ctx);
	sr_lb_learner_stop(b.learner);
	sr_lb_haproxy_close(b.haproxy);
	sr_state_close(b.state);
	sr_lb_ending_free(b.ending);
	sr_lb_list_free(&b.list);
	sr_lb_conf_free(b.conf);
	free(b.trouble);
	free(b.told);
	return rc;
}
