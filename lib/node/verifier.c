/* verifier.c - see verifier.h. */
#include "lib/node/verifier.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/door.h"
#include "lib/base/file.h"
#include "lib/base/json.h"
#include "lib/base/log.h"
#include "lib/base/wait.h"
#include "lib/replica/backup.h"

#define FILE_NAME   "verified" /* what sr_verifier_report tells, but for "running" */
#define TURN_MS     1000
#define DAY_MS      86400000
#define ANEW_MS     3600000 /* one that was broken off */
#define LATER_MS    60000   /* one that could not begin */
#define WRONG_MOST  100
#define RATE        (32u << 20) /* bytes a second */
#define SLEEP_MS    20          /* so much is slept at least, or nothing */
#define LOWEST_NICE 19
#define IO_IDLE     (3 << 13) /* of ioprio_set(2), for which there is no header */

struct sr_verifier {
	struct sr_verifier_options o;
	char *path; /* of FILE_NAME */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
	uint64_t days;
	unsigned running;
	json_t *last; /* as FILE_NAME has it */
	uint64_t slept_for; /* bytes; of the run of the thread */
};

/* --- what is remembered -------------------------------------------------------------------------------------------------- */

static int64_t at(const json_t *o, const char *name)
{
	return (int64_t)json_integer_value(json_object_get(o, name));
}

static void set(json_t *o, const char *name, int64_t number)
{
	json_object_set_new(o, name, json_integer((json_int_t)number));
}

/* With the lock held.  That it cannot be written is no reason not to go on. */
static void keep(struct sr_verifier *v)
{
	char *text = json_dumps(v->last, JSON_COMPACT), *line = sr_format("%s\n", text ? text : "{}");
	struct sr_err err;

	if (sr_file_replace(v->path, sr_bytes_of(line), 0644, true, &err) != SR_OK)
		sr_warn("when this node verified itself could not be written down: %s", err.text);
	free(line);
	free(text);
}

/* What is no object is as if nothing were known. */
static void load(struct sr_verifier *v)
{
	v->last = json_load_file(v->path, 0, NULL);
	if (!json_is_object(v->last)) {
		json_decref(v->last);
		v->last = json_object();
	}
}

/* --- when ------------------------------------------------------------------------------------------------------------------- */

static int64_t some_ms(int64_t below)
{
	return (int64_t)sr_random_below((uint64_t)below + 1);
}

/* With the lock held.  A clock that was set is no reason to wait for years. */
static bool is_due(struct sr_verifier *v)
{
	int64_t now = sr_now_ms(), interval = (int64_t)v->days * DAY_MS, due = at(v->last, "due_ms");

	if (!v->days || v->running || sr_balance_is_stopping(v->o.balance) || sr_balance_is_starting(v->o.balance))
		return false;
	if (!due || due > now + interval) {
		due = now + (at(v->last, "ended_ms") ? interval - some_ms(interval / 10) : some_ms(interval));
		set(v->last, "due_ms", due);
		keep(v);
	}
	return due <= now;
}

static void put_off(struct sr_verifier *v, int64_t ms)
{
	pthread_mutex_lock(&v->lock);
	set(v->last, "due_ms", sr_now_ms() + ms);
	keep(v);
	pthread_mutex_unlock(&v->lock);
}

/* --- a run ------------------------------------------------------------------------------------------------------------------ */

struct run {
	struct sr_verifier *v;
	struct sr_pin *pin;
	const struct sr_verify_ops *also; /* or NULL */
	bool by_itself;
	int lock; /* of sr_backup_begin; -1: none, any more */
	int64_t begun_ms;
	json_t *wrong, *skipped;
	uint64_t n_wrong;
	struct sr_verify_counts counts;
	struct sr_err err;
	enum sr_status rc;
};

static enum sr_status on_wrong(void *ctx, const char *path, const char *what, struct sr_err *err)
{
	struct run *r = ctx;

	if (r->n_wrong++ < WRONG_MOST) {
		json_array_append_new(r->wrong, json_pack("{s:s, s:s}", "path", path, "what", what));
		sr_error("verify: %s: %s", path, what);
	}
	return r->also ? r->also->wrong(r->also->ctx, path, what, err) : SR_OK;
}

static enum sr_status on_skipped(void *ctx, const char *store, const char *why, struct sr_err *err)
{
	struct run *r = ctx;

	json_array_append_new(r->skipped, json_pack("{s:s, s:s}", "store", store, "why", why));
	return r->also ? r->also->skipped(r->also->ctx, store, why, err) : SR_OK;
}

static enum sr_status on_progress(void *ctx, const struct sr_verify_counts *counts, struct sr_err *err)
{
	struct run *r = ctx;

	return r->also ? r->also->progress(r->also->ctx, counts, err) : SR_OK;
}

static bool is_stopping(void *ctx)
{
	struct run *r = ctx;
	bool stop;

	pthread_mutex_lock(&r->v->lock);
	stop = r->v->stop;
	pthread_mutex_unlock(&r->v->lock);
	return stop || sr_balance_is_stopping(r->v->o.balance);
}

/* After some bytes; sleeps for as long as these may take. */
static enum sr_status on_step(void *ctx, const struct sr_verify_counts *counts, struct sr_err *err)
{
	struct run *r = ctx;
	struct sr_verifier *v = r->v;
	int64_t ms = counts->bytes > v->slept_for ? (int64_t)((counts->bytes - v->slept_for) * 1000 / RATE) : 0;
	struct timespec until = sr_after_ms(ms);
	pthread_mutex_lock(&v->lock);
	if (r->by_itself && ms >= SLEEP_MS) {
		v->slept_for = counts->bytes;
		while (!v->stop && pthread_cond_timedwait(&v->wake, &v->lock, &until) != ETIMEDOUT)
			;
	}
	pthread_mutex_unlock(&v->lock);
	return r->by_itself && is_stopping(r) ? sr_err_set(err, SR_E_UNAVAILABLE, "the daemon is stopping") : SR_OK;
}

/* Files take their time; a backup need not wait for that. */
static void unlock(void *ctx)
{
	struct run *r = ctx;

	if (r->lock >= 0)
		sr_backup_end(r->lock);
	r->lock = -1;
}

static void begin(struct run *r)
{
	struct sr_verifier *v = r->v;

	r->begun_ms = sr_now_ms();
	r->wrong = json_array();
	r->skipped = json_array();
	pthread_mutex_lock(&v->lock);
	v->running++;
	set(v->last, "begun_ms", r->begun_ms);
	set(v->last, "due_ms", r->begun_ms + some_ms(ANEW_MS)); /* unless it comes to its end */
	keep(v);
	pthread_mutex_unlock(&v->lock);
}

static void note_end(struct run *r)
{
	json_t *o = r->v->last;
	int64_t interval = (int64_t)r->v->days * DAY_MS;

	set(o, "ended_ms", sr_now_ms());
	set(o, "due_ms", interval ? r->begun_ms + interval - some_ms(interval / 10) : 0);
	set(o, "entries", (int64_t)r->counts.leaves);
	set(o, "bytes", (int64_t)r->counts.bytes);
	set(o, "changed", (int64_t)r->counts.changed);
	set(o, "wrong_count", (int64_t)r->n_wrong);
	json_object_set(o, "wrong", r->wrong);
	json_object_set(o, "skipped", r->skipped);
	json_object_set_new(o, "trouble", json_null());
}

static void end(struct run *r)
{
	struct sr_verifier *v = r->v;

	pthread_mutex_lock(&v->lock);
	v->running--;
	if (r->rc == SR_OK)
		note_end(r);
	else
		json_object_set_new(v->last, "trouble", json_string(r->err.text));
	keep(v);
	pthread_mutex_unlock(&v->lock);
	json_decref(r->wrong);
	json_decref(r->skipped);
	if (r->rc == SR_OK)
		sr_log(r->n_wrong ? SR_LOG_ERROR : SR_LOG_INFO, "verify: %llu entries, %.1f MB read again: %llu not what the tree says",
		       (unsigned long long)r->counts.leaves, (double)r->counts.bytes / 1e6, (unsigned long long)r->n_wrong);
	else
		sr_info("verify: broken off: %s", r->err.text);
}

static void look(struct run *r)
{
	struct sr_verify_ops ops = {.ctx = r, .wrong = on_wrong, .skipped = on_skipped, .progress = on_progress, .step = on_step, .files = unlock};

	r->rc = sr_verify_pin(r->pin, &ops, &r->counts, &r->err);
}

/* --- by itself -------------------------------------------------------------------------------------------------------------- */

/* A thread for one run: it cannot get back the priority that it gives up.  Not SCHED_IDLE: it takes the tree's lock for moments, and whoever waits for
 * that would wait for an idle processor. */
static void *look_slowly(void *ctx)
{
	(void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), LOWEST_NICE);
	(void)syscall(SYS_ioprio_set, 1, 0, IO_IDLE);
	look(ctx);
	return NULL;
}

static void run_slowly(struct run *r)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, look_slowly, r) == 0)
		pthread_join(thread, NULL);
	else
		r->rc = sr_err_set(&r->err, SR_E_INTERNAL, "cannot start a thread");
}

/* False: it could not begin. */
static bool run_by_itself(struct sr_verifier *v)
{
	struct sr_pin pin = {0};
	struct run r = {.v = v, .pin = &pin, .by_itself = true, .lock = -1};
	enum sr_status rc = sr_backup_begin(v->o.replica, &r.lock, &r.err);

	if (rc != SR_OK)
		return false;
	rc = v->o.pin(v->o.ctx, &pin, &r.err);
	if (rc == SR_OK) {
		v->slept_for = 0;
		for (size_t i = 0; i < pin.n; i++)
			if (pin.stores[i].view)
				sr_view_stop_when(pin.stores[i].view, is_stopping, &r);
		begin(&r);
		r.rc = sr_verify_copy(&pin, &r.err);
		if (r.rc == SR_OK)
			run_slowly(&r);
		end(&r);
		v->o.unpin(v->o.ctx, &pin);
	}
	unlock(&r);
	return rc == SR_OK;
}

static void *run(void *ctx)
{
	struct sr_verifier *v = ctx;

	pthread_mutex_lock(&v->lock);
	while (!v->stop) {
		struct timespec until = sr_after_ms(TURN_MS);
		bool due = is_due(v);

		if (due) {
			pthread_mutex_unlock(&v->lock);
			if (!run_by_itself(v))
				put_off(v, LATER_MS);
			pthread_mutex_lock(&v->lock);
		}
		while (!v->stop && pthread_cond_timedwait(&v->wake, &v->lock, &until) != ETIMEDOUT)
			;
	}
	pthread_mutex_unlock(&v->lock);
	return NULL;
}

/* --- by a request ----------------------------------------------------------------------------------------------------------- */

static enum sr_status look_for_request(void *ctx, const struct sr_verify_ops *ops, struct sr_verify_counts *counts, struct sr_err *err)
{
	struct run *r = ctx;

	r->also = ops;
	begin(r);
	look(r);
	*counts = r->counts;
	*err = r->err;
	end(r);
	return r->rc;
}

enum sr_status sr_verifier_reply(struct sr_verifier *v, struct sr_request *req, struct sr_err *err)
{
	struct sr_pin pin = {0};
	struct run r = {.v = v, .pin = &pin, .lock = -1};
	enum sr_status rc = sr_backup_begin(v->o.replica, &r.lock, err);

	if (rc != SR_OK)
		return rc;
	rc = v->o.pin(v->o.ctx, &pin, err);
	if (rc == SR_OK) {
		rc = sr_verify_reply(req, look_for_request, &r, err);
		v->o.unpin(v->o.ctx, &pin);
	}
	unlock(&r);
	return rc;
}

void sr_verifier_healed(struct sr_verifier *v, const char *path)
{
	json_t *list;

	pthread_mutex_lock(&v->lock);
	list = json_object_get(v->last, "wrong");
	for (size_t i = 0; i < json_array_size(list); i++)
		if (strcmp(sr_json_text(json_array_get(list, i), "path", ""), path) == 0) {
			json_array_remove(list, i);
			set(v->last, "wrong_count", at(v->last, "wrong_count") - 1);
			keep(v);
			break;
		}
	pthread_mutex_unlock(&v->lock);
}

/* --- what is told ----------------------------------------------------------------------------------------------------------- */

json_t *sr_verifier_report(struct sr_verifier *v)
{
	json_t *o;

	if (!v)
		return json_null();
	pthread_mutex_lock(&v->lock);
	o = json_deep_copy(v->last);
	set(o, "interval_days", (int64_t)v->days);
	json_object_set_new(o, "running", json_boolean(v->running > 0));
	pthread_mutex_unlock(&v->lock);
	return o;
}

void sr_verifier_tell_metrics(struct sr_verifier *v, struct sr_metrics_page *p)
{
	static const struct sr_metric
		begun = {"sameroot_verify_begun_timestamp_seconds", "When this node began to verify itself last, since 1970.", SR_METRIC_GAUGE},
		ended = {"sameroot_verify_ended_timestamp_seconds", "When it came to the end of that last, since 1970.", SR_METRIC_GAUGE},
		running = {"sameroot_verify_running", "1 while it does.", SR_METRIC_GAUGE},
		rotten = {"sameroot_verify_rotten", "Entries that were not what the tree says, at the last end.", SR_METRIC_GAUGE};
	json_t *o = sr_verifier_report(v);

	sr_metrics_begin(p, &begun);
	if (at(o, "begun_ms"))
		sr_metrics_add(p, NULL, (double)at(o, "begun_ms") / 1000);
	sr_metrics_begin(p, &ended);
	if (at(o, "ended_ms"))
		sr_metrics_add(p, NULL, (double)at(o, "ended_ms") / 1000);
	sr_metrics_one(p, &running, json_is_true(json_object_get(o, "running")));
	sr_metrics_begin(p, &rotten);
	if (at(o, "ended_ms"))
		sr_metrics_add(p, NULL, (double)at(o, "wrong_count"));
	json_decref(o);
}

/* --- life ------------------------------------------------------------------------------------------------------------------- */

static void free_all(struct sr_verifier *v)
{
	pthread_cond_destroy(&v->wake);
	pthread_mutex_destroy(&v->lock);
	json_decref(v->last);
	free(v->path);
	free(v);
}

enum sr_status sr_verifier_start(struct sr_verifier **out, const struct sr_verifier_options *options, uint64_t days, struct sr_err *err)
{
	struct sr_verifier *v = sr_alloc(sizeof *v);

	v->o = *options;
	v->days = days;
	v->path = sr_format("%s/" FILE_NAME, options->state_dir);
	pthread_mutex_init(&v->lock, NULL);
	sr_cond_init(&v->wake);
	load(v);
	if (pthread_create(&v->thread, NULL, run, v) != 0) {
		free_all(v);
		return sr_err_set(err, SR_E_INTERNAL, "cannot start a thread");
	}
	*out = v;
	return SR_OK;
}

void sr_verifier_set(struct sr_verifier *v, uint64_t days)
{
	if (!v)
		return;
	pthread_mutex_lock(&v->lock);
	if (v->days != days)
		set(v->last, "due_ms", 0); /* reckoned anew */
	v->days = days;
	pthread_mutex_unlock(&v->lock);
}

void sr_verifier_stop(struct sr_verifier *v)
{
	if (!v)
		return;
	pthread_mutex_lock(&v->lock);
	v->stop = true;
	pthread_cond_broadcast(&v->wake);
	pthread_mutex_unlock(&v->lock);
	pthread_join(v->thread, NULL);
	free_all(v);
}
