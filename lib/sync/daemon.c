/* daemon.c - see daemon.h. */
#include "lib/sync/daemon.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/certificate.h"
#include "http/server.h"
#include "lib/base/log.h"
#include "lib/replica/address.h"
#include "lib/replica/admit.h"
#include "lib/replica/backup.h"
#include "lib/replica/hello.h"
#include "lib/replica/conflict.h"
#include "lib/replica/conflict_routes.h"
#include "lib/replica/serve.h"
#include "lib/replica/verify.h"
#include "lib/sync/orders.h"

#define BACKOFF_MAX_MS 60000
#define BORROW_S       600
#define MOST_BODY      4096

/* What another thread wants done by the one that owns the stores, between two rounds. */
struct errand {
	struct sr_bytes wish;
	struct sr_buf *out;
	struct sr_err *err;
	enum sr_status rc;
	bool taken, done;
};

struct sr_sync_daemon {
	const struct sr_config *config;
	struct sr_sync *sync;
	struct sr_admit admit;
	struct sr_serve serve;
	struct sr_hello hello;
	struct sr_conflict_routes conflicts;
	struct sr_server *server;

	pthread_mutex_t lock;
	pthread_cond_t wake, lending;
	bool wanted, lent; /* a request wants, has, what belongs to the thread that runs rounds */
	bool stop, now, one_round; /* one_round: at least one went through, so that the tree is known */
	uint64_t interval_ms;
	struct sr_orders orders;     /* of the operator, before the next round */
	struct sr_config *fresh;     /* of a reload, not taken yet, or NULL */
	struct sr_config *exclusions; /* of the last reload that was taken, or NULL; the round's own */
	struct errand *errand; /* at work, or NULL; BORROWED from the thread that waits for it */
	pthread_cond_t errands;
	enum sr_status last;
	char told[512]; /* the trouble that was logged last: each is logged once */
};

/* --- HTTP ------------------------------------------------------------------------------------------------------------ */

static bool is_ready(void *ctx, char why[256])
{
	struct sr_sync_daemon *d = ctx;
	bool ready;

	pthread_mutex_lock(&d->lock);
	ready = d->one_round;
	pthread_mutex_unlock(&d->lock);
	if (!ready)
		snprintf(why, 256, "this webserver does not know its tree yet: no round went through since it started");
	return ready;
}

/* What there is may be read once it was seen, also when the datastore cannot be reached. */
static bool has_tree(void *ctx, char why[256])
{
	struct sr_sync_daemon *d = ctx;

	if (sr_sync_has_tree(d->sync))
		return true;
	snprintf(why, 256, "this webserver does not know its tree yet");
	return false;
}

static enum sr_status get_health(void *ctx, struct sr_request *req, struct sr_err *err)
{
	(void)ctx, (void)err;
	sr_reply_text(req, 200, "ok");
	return SR_OK;
}

static enum sr_status get_ready(void *ctx, struct sr_request *req, struct sr_err *err)
{
	char why[256];

	if (!is_ready(ctx, why))
		return sr_err_set(err, SR_E_UNAVAILABLE, "%s", why);
	sr_reply_text(req, 200, "ready");
	return SR_OK;
}

static enum sr_status get_tree(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_sync_daemon *d = ctx;
	const char *key = sr_request_header(req, SR_HEADER_KEY);
	struct sr_buf out = {0};
	enum sr_status rc = sr_sync_tree(d->sync, key && strcasecmp(key, "want") == 0, &out, err);

	if (rc == SR_OK)
		sr_reply_bytes(req, 200, "application/json", sr_buf_view(&out));
	if (out.len)
		explicit_bzero(out.at, out.len);
	sr_buf_free(&out);
	return rc;
}

static enum sr_status get_status(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_sync_daemon *d = ctx;
	struct sr_buf out = {0};

	(void)err;
	sr_sync_report(d->sync, &out);
	sr_reply_bytes(req, 200, "application/json", sr_buf_view(&out));
	sr_buf_free(&out);
	return SR_OK;
}

static enum sr_status post_sync(void *ctx, struct sr_request *req, struct sr_err *err)
{
	(void)err;
	sr_sync_daemon_now(ctx);
	sr_reply_bytes(req, 202, NULL, sr_bytes(NULL, 0));
	return SR_OK;
}

static enum sr_status post_forget_key(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_sync_daemon *d = ctx;

	sr_sync_forget_key(d->sync);
	return post_sync(ctx, req, err);
}

static enum sr_status post_adopt(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_sync_daemon *d = ctx;
	struct sr_buf body = {0};
	enum sr_status rc = sr_request_read_all(req, &body, MOST_BODY, err);

	pthread_mutex_lock(&d->lock);
	if (rc == SR_OK)
		rc = sr_orders_read(&d->orders, d->config, sr_buf_view(&body), err);
	pthread_mutex_unlock(&d->lock);
	sr_buf_free(&body);
	if (rc != SR_OK)
		return rc;
	sr_sync_daemon_now(d);
	return get_status(ctx, req, err);
}

/* --- errands ------------------------------------------------------------------------------------------------------- */

static enum sr_status restore(void *ctx, struct sr_bytes wish, struct sr_buf *out, struct sr_err *err)
{
	struct sr_sync_daemon *d = ctx;
	struct errand e = {.wish = wish, .out = out, .err = err};

	pthread_mutex_lock(&d->lock);
	while (d->errand && !d->stop)
		pthread_cond_wait(&d->errands, &d->lock);
	if (!d->stop)
		d->errand = &e;
	d->now = true; /* and the round that follows takes it on */
	pthread_cond_signal(&d->wake);
	while (!e.done && (e.taken || !d->stop))
		pthread_cond_wait(&d->errands, &d->lock);
	if (d->errand == &e)
		d->errand = NULL;
	if (!e.done)
		e.rc = sr_err_set(err, SR_E_UNAVAILABLE, "the sync daemon is stopping");
	pthread_cond_broadcast(&d->errands);
	pthread_mutex_unlock(&d->lock);
	return e.rc;
}

/* Between rounds, by the owner. */
static void run_errand(struct sr_sync_daemon *d)
{
	struct sr_replica *r = sr_sync_replica(d->sync);
	struct errand *e;

	pthread_mutex_lock(&d->lock);
	e = d->errand && !d->errand->done ? d->errand : NULL;
	if (e)
		e->taken = true;
	pthread_mutex_unlock(&d->lock);
	if (!e)
		return;
	e->rc = sr_conflict_restore(r, e->wish, &(struct sr_conflict_editor){.edit = sr_conflict_edit, .ctx = r}, e->out, e->err);
	pthread_mutex_lock(&d->lock);
	e->done = true;
	pthread_cond_broadcast(&d->errands);
	pthread_mutex_unlock(&d->lock);
}

static void tell_of_conflicts(void *ctx)
{
	sr_sync_daemon_now(ctx);
}

/* --- backup, verify ---------------------------------------------------------------------------------------------------- */

/* Wait for the end of the round under way.  One at a time: sr_backup_begin sees to it. */
static enum sr_status borrow(struct sr_sync_daemon *d, struct sr_err *err)
{
	struct timespec until;
	bool got;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += BORROW_S;
	pthread_mutex_lock(&d->lock);
	d->wanted = true;
	pthread_cond_signal(&d->wake);
	while (!d->lent && !d->stop && pthread_cond_timedwait(&d->lending, &d->lock, &until) == 0)
		;
	got = d->lent;
	d->wanted = false;
	pthread_mutex_unlock(&d->lock);
	return got ? SR_OK : sr_err_set(err, SR_E_BUSY, "a long round is under way: say it again when it is over");
}

static void give_back(struct sr_sync_daemon *d)
{
	pthread_mutex_lock(&d->lock);
	d->lent = false;
	pthread_cond_broadcast(&d->lending);
	pthread_mutex_unlock(&d->lock);
}

/* Not SR_OK: nothing is to be undone. */
static enum sr_status pin(struct sr_sync_daemon *d, struct sr_pin *out, struct sr_err *err)
{
	char why[256];
	enum sr_status rc = SR_OK;

	if (!is_ready(d, why))
		return sr_err_set(err, SR_E_UNAVAILABLE, "%s", why);
	rc = borrow(d, err);
	if (rc != SR_OK)
		return rc;
	if (sr_replica_use(sr_sync_replica(d->sync)))
		sr_sync_pin(d->sync, out);
	else
		rc = sr_err_set(err, SR_E_UNAVAILABLE, "the tree key is not known yet");
	give_back(d);
	return rc;
}

static enum sr_status with_pin(struct sr_sync_daemon *d, struct sr_request *req, bool verify, struct sr_err *err)
{
	struct sr_replica *r = sr_sync_replica(d->sync);
	struct sr_pin p = {0};
	int lock = -1;
	enum sr_status rc = sr_backup_begin(r, &lock, err);

	if (rc != SR_OK)
		return rc;
	rc = pin(d, &p, err);
	if (rc == SR_OK) {
		rc = verify ? sr_verify_reply(req, &p, err) : sr_backup_reply(req, &p, NULL, false, err);
		sr_pin_release(&p);
		sr_replica_unuse(r);
	}
	sr_backup_end(lock);
	return rc;
}

static enum sr_status get_backup(void *ctx, struct sr_request *req, struct sr_err *err)
{
	return with_pin(ctx, req, false, err);
}

static enum sr_status get_verify(void *ctx, struct sr_request *req, struct sr_err *err)
{
	return with_pin(ctx, req, true, err);
}

static const struct sr_route own_routes[] = {
	{"GET", "/healthz", get_health, SR_ROUTE_QUICK | SR_ROUTE_OPEN, 0},
	{"GET", "/readyz", get_ready, SR_ROUTE_QUICK | SR_ROUTE_OPEN, 0},
	{"GET", "/api/tree", get_tree, 0, 0},
	{"GET", "/api/admin/status", get_status, SR_ROUTE_ADMIN, 0},
	{"GET", "/api/admin/backup", get_backup, SR_ROUTE_ADMIN, 0},
	{"GET", "/api/admin/verify", get_verify, SR_ROUTE_ADMIN, 0},
	{"POST", "/api/admin/sync", post_sync, SR_ROUTE_ADMIN, 0},
	{"POST", "/api/admin/forget-key", post_forget_key, SR_ROUTE_ADMIN, 0},
	{"POST", "/api/admin/adopt", post_adopt, SR_ROUTE_ADMIN, MOST_BODY},
};

static enum sr_status ensure_certificate(const struct sr_config *c, char **cert, char **key, struct sr_err *err)
{
	if (c->insecure_disable_https)
		return SR_OK;
	*cert = c->certificate_file ? sr_strdup(c->certificate_file) : sr_format("%s/certificate.pem", c->state_directory);
	*key = c->key_file ? sr_strdup(c->key_file) : sr_format("%s/key.pem", c->state_directory);
	return c->certificate_file ? SR_OK : sr_certificate_ensure(*cert, *key, c->external.host, err);
}

static enum sr_status listen_on(struct sr_sync_daemon *d, struct sr_err *err)
{
	const struct sr_config *c = d->config;
	char *cert = NULL, *key = NULL;
	struct sr_routes routes[4] = {{.at = own_routes, .n = sizeof own_routes / sizeof *own_routes, .ctx = d},
				      {.ctx = &d->serve},
				      {.ctx = &d->hello},
				      {.ctx = &d->conflicts}};
	struct sr_server_options o = {.address = c->sync_listen_address,
				      .port = c->sync_port,
				      .routes = routes,
				      .routes_count = 4,
				      .authorize = sr_admit_check,
				      .authorize_ctx = &d->admit};
	enum sr_status rc = ensure_certificate(c, &cert, &key, err);

	routes[1].at = sr_serve_routes(&routes[1].n);
	routes[2].at = sr_hello_routes(&routes[2].n);
	routes[3].at = sr_conflict_routes(&routes[3].n);
	o.certificate = cert;
	o.key = key;
	if (rc == SR_OK)
		rc = sr_server_start(&d->server, &o, err);
	free(cert);
	free(key);
	return rc;
}

/* --- open, close ------------------------------------------------------------------------------------------------------- */

static enum sr_status open_sync(struct sr_sync **out, struct sr_admit *admit, const struct sr_config *config, const char *version,
				struct sr_err *err)
{
	struct sr_sync_options o = {.config = config, .version = version};
	enum sr_status rc;

	if (!config->datastore.host)
		return sr_err_set(err, SR_E_CONFIG, "%s: no Datastore is configured: this machine is not a webserver of a cluster (`sameroot join LINE` makes it one)",
				  config->file);
	rc = sr_sync_open(out, &o, err); /* the state directory comes first: it is where the admin token lies */
	if (rc == SR_OK)
		rc = sr_admit_open(admit, config, config->state_directory, err);
	if (rc == SR_E_NOINPUT)
		rc = sr_err_set(err, SR_E_CONFIG,
				"%s: there is no shared secret: `sameroot join LINE` makes it, by the line that `sameroot join --line` prints on the "
				"datastore; or copy that file from there",
				config->control_auth_file);
	if (rc == SR_OK)
		sr_sync_set_secret(*out, admit->control);
	return rc;
}

enum sr_status sr_sync_daemon_open(struct sr_sync_daemon **out, const struct sr_config *config, const char *version, struct sr_err *err)
{
	struct sr_sync_daemon *d = sr_alloc(sizeof *d);
	pthread_condattr_t attr;
	enum sr_status rc;

	d->config = config;
	d->interval_ms = config->update_interval * 1000;
	pthread_mutex_init(&d->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&d->wake, &attr);
	pthread_cond_init(&d->lending, &attr);
	pthread_condattr_destroy(&attr);
	pthread_cond_init(&d->errands, NULL);
	rc = open_sync(&d->sync, &d->admit, config, version, err);
	if (rc == SR_OK) {
		d->serve = (struct sr_serve){.replica = sr_sync_replica(d->sync), .ready = has_tree, .ctx = d};
		d->hello = (struct sr_hello){.secret = d->admit.control, .role = "webserver"};
		d->conflicts = (struct sr_conflict_routes){
			.replica = sr_sync_replica(d->sync), .restore = restore, .changed = tell_of_conflicts, .ctx = d};
		rc = listen_on(d, err);
	}
	if (rc == SR_OK)
		rc = sr_address_write(config->state_directory, !config->insecure_disable_https, sr_server_address(d->server), err);
	if (rc != SR_OK) {
		sr_sync_daemon_close(d);
		return rc;
	}
	sr_sync_set_server(d->sync, sr_server_port(d->server), sr_server_pin(d->server));
	*out = d;
	return SR_OK;
}

const char *sr_sync_daemon_address(const struct sr_sync_daemon *d)
{
	return sr_server_address(d->server);
}

void sr_sync_daemon_close(struct sr_sync_daemon *d)
{
	if (!d)
		return;
	if (d->server)
		sr_address_remove(d->config->state_directory);
	sr_server_stop(d->server, 3000);
	sr_sync_close(d->sync);
	sr_config_free(d->fresh);
	sr_config_free(d->exclusions);
	sr_orders_free(&d->orders);
	sr_admit_close(&d->admit);
	pthread_cond_destroy(&d->wake);
	pthread_cond_destroy(&d->errands);
	pthread_cond_destroy(&d->lending);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

/* --- the loop ------------------------------------------------------------------------------------------------------------ */

static void log_round(struct sr_sync_daemon *d, enum sr_status rc, const struct sr_sync_result *result, const struct sr_err *err)
{
	if (rc != SR_OK && strncmp(d->told, err->text, sizeof d->told - 1) != 0)
		sr_log(rc == SR_E_AUTH ? SR_LOG_ERROR : SR_LOG_WARN, "%s%s", err->text,
		       rc == SR_E_UNAVAILABLE ? " (asked again until it answers)" : "");
	else if (rc != SR_OK)
		sr_debug("%s", err->text);
	else if (d->last != SR_OK)
		sr_info("the datastore answers; rounds go on");
	if (rc == SR_OK && (result->pulled || result->pushed || result->conflicts))
		sr_info("round: %llu pulled, %llu pushed, %llu archived%s", (unsigned long long)result->pulled,
			(unsigned long long)result->pushed, (unsigned long long)result->conflicts, result->in_sync ? "; in sync" : "");
	snprintf(d->told, sizeof d->told, "%.500s", rc == SR_OK ? "" : err->text);
	d->last = rc;
}

/* The pause after a round: the interval with up to 5 % jitter; after failures from a fifth of a second up to a minute or the interval. */
static uint64_t pause_ms(const struct sr_sync_daemon *d, unsigned failures)
{
	uint64_t ms = d->interval_ms, limit = ms > BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS;

	if (failures) {
		ms = 200ull << (failures < 12 ? failures : 12);
		/* Never slower than the interval while that is short: an operator expects it to be noticed that the datastore is back. */
		if (ms > d->interval_ms)
			ms = d->interval_ms;
		if (ms > limit)
			ms = limit;
		ms = ms * 3 / 4 + sr_random_below(ms / 2 + 1);
	} else {
		ms -= sr_random_below(ms / 20 + 1);
	}
	return ms;
}

/* Between rounds: a request has the stores and the state for a moment, as if it were this thread. */
static void lend(struct sr_sync_daemon *d)
{
	d->wanted = false;
	d->lent = true;
	pthread_cond_broadcast(&d->lending);
	while (d->lent)
		pthread_cond_wait(&d->lending, &d->lock);
}

static void wait_for(struct sr_sync_daemon *d, uint64_t ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(ms / 1000);
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	for (bool late = false; !late || d->wanted;) {
		if (d->wanted)
			lend(d);
		else if (d->stop || d->now)
			break;
		else
			late = pthread_cond_timedwait(&d->wake, &d->lock, &until) != 0;
	}
	d->now = false;
}

/* With the lock held, between rounds. */
static void take_fresh(struct sr_sync_daemon *d)
{
	if (!d->fresh)
		return;
	sr_sync_set_exclusions(d->sync, d->fresh);
	sr_archive_limit(sr_sync_replica(d->sync)->archive, d->fresh->conflict_max_bytes);
	sr_config_free(d->exclusions);
	d->exclusions = d->fresh;
	d->fresh = NULL;
}

void sr_sync_daemon_run(struct sr_sync_daemon *d)
{
	unsigned failures = 0;

	pthread_mutex_lock(&d->lock);
	while (!d->stop) {
		struct sr_sync_result result;
		struct sr_err err = {0};
		enum sr_status rc;

		struct sr_orders orders = d->orders;

		take_fresh(d);
		d->orders = (struct sr_orders){0};
		pthread_mutex_unlock(&d->lock);
		sr_orders_obey(&orders, d->sync);
		run_errand(d);
		rc = sr_sync_round(d->sync, &result, &err);
		log_round(d, rc, &result, &err);
		failures = rc == SR_OK ? 0 : failures + 1;
		pthread_mutex_lock(&d->lock);
		d->one_round |= rc == SR_OK;
		if (!d->stop)
			wait_for(d, pause_ms(d, failures));
	}
	pthread_mutex_unlock(&d->lock);
}

void sr_sync_daemon_now(struct sr_sync_daemon *d)
{
	pthread_mutex_lock(&d->lock);
	d->now = true;
	pthread_cond_signal(&d->wake);
	pthread_mutex_unlock(&d->lock);
}

void sr_sync_daemon_reload(struct sr_sync_daemon *d, struct sr_config *fresh)
{
	pthread_mutex_lock(&d->lock);
	d->interval_ms = fresh->update_interval * 1000;
	sr_config_free(d->fresh);
	d->fresh = fresh;
	pthread_mutex_unlock(&d->lock);
}

void sr_sync_daemon_stop(struct sr_sync_daemon *d)
{
	pthread_mutex_lock(&d->lock);
	d->stop = true;
	pthread_cond_signal(&d->wake);
	pthread_cond_broadcast(&d->errands);
	pthread_mutex_unlock(&d->lock);
}

/* --- once ------------------------------------------------------------------------------------------------------------------ */

/* Did the check-in itself get a 503?  Anything later in a round is not asked again: it is exactly one. */
static bool not_ready(enum sr_status rc, const struct sr_sync_result *result)
{
	return rc == SR_E_BUSY || (rc == SR_E_UNAVAILABLE && result->requests == 1 && result->received);
}

void sr_sync_daemon_show_progress(struct sr_sync_daemon *d, void (*show)(void *ctx, const struct sr_progress *p), void *ctx)
{
	sr_sync_show_progress(d->sync, show, ctx);
}

enum sr_status sr_sync_once(const struct sr_config *config, const char *version, unsigned wait_ms,
			    void (*show)(void *ctx, const struct sr_progress *p), void *ctx, struct sr_sync_result *result,
			    struct sr_err *err)
{
	struct sr_admit admit = {0};
	struct sr_sync *sync = NULL;
	int64_t until = sr_ticks_ms() + wait_ms;
	enum sr_status rc = open_sync(&sync, &admit, config, version, err);

	if (rc == SR_OK) {
		sr_sync_show_progress(sync, show, ctx);
		rc = sr_sync_round(sync, result, err);
	}
	while (sync && not_ready(rc, result) && sr_ticks_ms() < until) {
		nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
		rc = sr_sync_round(sync, result, err);
	}
	sr_sync_close(sync);
	sr_admit_close(&admit);
	return rc;
}
