/* health.c - see health.h. */
#include "lib/node/health.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "http/client.h"
#include "lib/base/network.h"
#include "lib/base/wait.h"

#define TURN_S     1
#define TURNS      2 /* from one look to the next */
#define CONNECT_MS 2000
#define LOOK_MS    3000
#define BODY_MOST  65536 /* of an answer that is read before the connection is closed */
#define WRONG_MOST 2     /* in a row */

struct sr_health {
	struct sr_health_options o;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
	char *url;
	uint64_t max_lag_s;
	unsigned wrong, turn; /* of the thread alone; wrong: looks in a row */
};

/* --- one look ------------------------------------------------------------------------------------------------------------ */

/* "http://host:port" and "/path?query" of a URL.  OWNED BY CALLER (free). */
static void cut(const char *url, char **base, char **target)
{
	const char *host = strstr(url, "//") + 2; /* the configuration saw to it */
	size_t len = strcspn(host, "/?");

	*base = sr_format("%.*s", (int)(host - url + (ptrdiff_t)len), url);
	*target = sr_format("%s%s", host[len] == '/' ? "" : "/", host + len);
}

static enum sr_status ask(const char *base, const char *target, struct sr_err *err)
{
	struct sr_client_options o = {.url = base, .insecure = sr_network_is_here(strstr(base, "//") + 2), .connect_ms = CONNECT_MS, .total_ms = LOOK_MS};
	struct sr_client *client = NULL;
	struct sr_answer answer = {0};
	struct sr_stream *body = NULL;
	char part[4096];
	size_t all = 0, got = 1;
	enum sr_status rc = sr_client_new(&client, &o, err);

	if (rc == SR_OK)
		rc = sr_client_open(client, &(struct sr_call){.target = target}, &answer, &body, err);
	if (rc == SR_OK && answer.status == 304) /* nobody asked for that */
		rc = sr_err_set(err, SR_E_DATA, "%s: HTTP 304", base);
	for (; rc == SR_OK && got && all < BODY_MOST; all += got)
		rc = sr_stream_read(body, part, sizeof part, &got, err);
	sr_stream_close(body);
	sr_answer_free(&answer);
	sr_client_free(client);
	return rc;
}

enum sr_status sr_health_look(const char *url, struct sr_err *err)
{
	char *base, *target;
	enum sr_status rc;

	cut(url, &base, &target);
	rc = ask(base, target, err);
	free(base);
	free(target);
	return rc;
}

/* --- the thread ------------------------------------------------------------------------------------------------------------ */

static void look(struct sr_health *h, const char *url)
{
	struct sr_err err = {0};
	char *why;

	if (sr_health_look(url, &err) == SR_OK) {
		h->wrong = 0;
		sr_balance_fault(h->o.balance, SR_FAULT_HEALTH, NULL);
		return;
	}
	if (h->wrong < WRONG_MOST)
		h->wrong++;
	if (h->wrong < WRONG_MOST)
		return;
	why = sr_format("the application is not well (Health-Check-URL): %s", err.text);
	sr_balance_fault(h->o.balance, SR_FAULT_HEALTH, why);
	free(why);
}

static void judge_lag(struct sr_health *h, uint64_t max_lag_s)
{
	int64_t ms = max_lag_s ? h->o.lag_ms(h->o.ctx) : 0;
	char *why;

	if (!max_lag_s || ms <= (int64_t)max_lag_s * 1000) {
		sr_balance_fault(h->o.balance, SR_FAULT_LAG, NULL);
		return;
	}
	why = sr_format("it is more than %llu s behind the datastore (Max-Lag): `sameroot status` says what keeps it", (unsigned long long)max_lag_s);
	sr_balance_fault(h->o.balance, SR_FAULT_LAG, why);
	free(why);
}

/* With the lock held, which is let go meanwhile: whoever hears of a change may be waiting for us in sr_health_set. */
static void turn(struct sr_health *h)
{
	bool none;
	char *url = h->url && h->turn % TURNS == 0 ? sr_strdup(h->url) : NULL;
	uint64_t max_lag_s = h->max_lag_s;

	h->turn++;
	pthread_mutex_unlock(&h->lock);
	judge_lag(h, max_lag_s);
	if (url)
		look(h, url);
	free(url);
	pthread_mutex_lock(&h->lock);
	none = !h->url; /* also when it was taken away while it was asked */
	pthread_mutex_unlock(&h->lock);
	if (none)
		sr_balance_fault(h->o.balance, SR_FAULT_HEALTH, NULL);
	pthread_mutex_lock(&h->lock);
}

static void rest(struct sr_health *h)
{
	struct timespec until = sr_after_ms(TURN_S * 1000);

	while (!h->stop && pthread_cond_timedwait(&h->wake, &h->lock, &until) != ETIMEDOUT)
		;
}

static void *run(void *ctx)
{
	struct sr_health *h = ctx;

	pthread_mutex_lock(&h->lock);
	while (!h->stop) {
		turn(h);
		rest(h);
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

/* --- life ------------------------------------------------------------------------------------------------------------------ */

static void free_all(struct sr_health *h)
{
	pthread_cond_destroy(&h->wake);
	pthread_mutex_destroy(&h->lock);
	free(h->url);
	free(h);
}

enum sr_status sr_health_start(struct sr_health **out, const struct sr_health_options *options, const char *url, uint64_t max_lag_s, struct sr_err *err)
{
	struct sr_health *h = sr_alloc(sizeof *h);

	h->o = *options;
	pthread_mutex_init(&h->lock, NULL);
	sr_cond_init(&h->wake);
	h->url = url ? sr_strdup(url) : NULL;
	h->max_lag_s = max_lag_s;
	if (url)
		sr_balance_fault(h->o.balance, SR_FAULT_HEALTH, "the application has not answered yet (Health-Check-URL)");
	if (pthread_create(&h->thread, NULL, run, h) != 0) {
		free_all(h);
		return sr_err_set(err, SR_E_INTERNAL, "cannot start a thread");
	}
	*out = h;
	return SR_OK;
}

void sr_health_set(struct sr_health *h, const char *url, uint64_t max_lag_s)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	free(h->url);
	h->url = url ? sr_strdup(url) : NULL;
	h->max_lag_s = max_lag_s;
	pthread_mutex_unlock(&h->lock);
}

void sr_health_stop(struct sr_health *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	h->stop = true;
	pthread_cond_signal(&h->wake);
	pthread_mutex_unlock(&h->lock);
	pthread_join(h->thread, NULL);
	free_all(h);
}
