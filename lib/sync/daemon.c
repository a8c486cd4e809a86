/* daemon.c - see daemon.h. */
#include "lib/sync/daemon_internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/log.h"
#include "lib/base/notify.h"
#include "lib/base/wait.h"
#include "lib/replica/address.h"
#include "lib/replica/keypair.h"

#define BACKOFF_MAX_MS 60000
#define REGISTRY_MS    60000 /* so old may be what is known of the others on the day on which the datastore is gone */
#define ANSWER_MS      2000 /* what is waited for is asked in whole seconds, and has a way to come */
#define FLUSH_MAX_MS   1000 /* between the rounds of a flush */
#define FLUSH_IDLE     3    /* rounds of it that push nothing */

/* --- the steps of a shutdown --------------------------------------------------------------------------------------------- */

static void flush(void *ctx, int64_t until_ms)
{
	struct sr_sync_daemon *d = ctx;

	sr_waiter_end(d->waiter);
	pthread_mutex_lock(&d->lock);
	d->flush = d->now = true;
	d->flush_until_ms = until_ms;
	pthread_cond_signal(&d->wake);
	pthread_mutex_unlock(&d->lock);
}

static bool flush_is_over(void *ctx)
{
	struct sr_sync_daemon *d = ctx;
	bool is;

	pthread_mutex_lock(&d->lock);
	is = d->flushed;
	pthread_mutex_unlock(&d->lock);
	return is;
}

static void hurry(void *ctx)
{
	struct sr_sync_daemon *d = ctx;

	sr_waiter_end(d->waiter);
	sr_sync_interrupt(d->sync);
}

static void stop(void *ctx)
{
	struct sr_sync_daemon *d = ctx;

	pthread_mutex_lock(&d->lock);
	d->stop = true;
	pthread_cond_signal(&d->wake);
	pthread_cond_broadcast(&d->lending);
	pthread_mutex_unlock(&d->lock);
}

static const struct sr_shutdown_steps steps = {.flush = flush, .is_flushed = flush_is_over, .hurry = hurry, .end = stop};

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
		rc = sr_admit_open(admit, config, config->state_directory, config->stores[SR_STORE_USERS].path, err);
	if (rc == SR_E_NOINPUT)
		rc = sr_err_set(err, SR_E_CONFIG,
				"%s: there is no shared secret: `sameroot join LINE` makes it, by the line that `sameroot join --line` prints on the "
				"datastore; or copy that file from there",
				config->control_auth_file);
	if (rc == SR_OK)
		sr_sync_set_secret(*out, admit->control.at[0]);
	return rc;
}

/* The datastore's registry has to hear of it. */
static void tell_now(void *ctx)
{
	sr_sync_daemon_now(ctx);
}

static enum sr_status ask_registry(void *ctx, struct sr_buf *out, struct sr_err *err)
{
	struct sr_sync_daemon *d = ctx;

	return sr_sync_ask_registry(d->sync, out, err);
}

static int64_t lag_ms(void *ctx)
{
	struct sr_sync_daemon *d = ctx;

	return sr_sync_lag_ms(d->sync);
}

/* --- waiting for the datastore ------------------------------------------------------------------------------------------- */

static enum sr_status waiting_client(void *ctx, struct sr_client **out, struct sr_err *err)
{
	struct sr_sync_daemon *d = ctx;

	return sr_sync_client(d->sync, out, err);
}

static unsigned client_generation(void *ctx)
{
	struct sr_sync_daemon *d = ctx;

	return sr_sync_client_generation(d->sync);
}

static enum sr_status start_waiter(struct sr_sync_daemon *d, struct sr_err *err)
{
	struct sr_waiter_options o = {.client = waiting_client, .generation = client_generation, .round = tell_now, .ctx = d};

	return sr_waiter_start(&d->waiter, &o, err);
}

static void take_ahead(struct sr_sync_daemon *d)
{
	struct sr_ahead ahead;

	sr_waiter_take(d->waiter, &ahead);
	sr_sync_take_ahead(d->sync, &ahead);
}

static void wait_ahead(struct sr_sync_daemon *d, enum sr_status rc, const struct sr_sync_result *r, int64_t round_ms, uint64_t ms)
{
	struct sr_standing standing = {0};
	bool stands = rc == SR_OK && sr_sync_standing(d->sync, &standing), brought = r->pulled || r->pushed || r->agreed || r->merged || r->conflicts;

	sr_waiter_wait(d->waiter, stands ? &standing : NULL, brought, round_ms, (int64_t)ms);
	sr_standing_clear(&standing);
}

static enum sr_status open_balance(struct sr_sync_daemon *d, struct sr_err *err)
{
	const struct sr_config *c = d->config;
	enum sr_status rc = sr_balance_open(&d->balance, c->state_directory, tell_now, d, err);
	struct sr_health_options o = {.balance = d->balance, .lag_ms = lag_ms, .ctx = d};

	return rc == SR_OK ? sr_health_start(&d->health, &o, c->health_check_url, c->max_lag, err) : rc;
}

static enum sr_status open_peers(struct sr_sync_daemon *d, struct sr_err *err)
{
	struct sr_keypair pair = {0};
	enum sr_status rc = sr_keypair_shown(d->config, false, &pair, err);
	char self[SR_UUID_TEXT];
	struct sr_peers_options o = {.ask = ask_registry,
				     .ctx = d,
				     .self = self,
				     .secret = d->admit.control.at[0],
				     .plain = d->config->insecure_disable_https};
	char *file;

	if (rc != SR_OK)
		return rc;
	file = sr_format("%s/registry", d->config->state_directory);
	o.file = file;
	o.certificate = pair.certificate;
	o.key = pair.key;
	sr_uuid_text(self, &sr_sync_replica(d->sync)->node);
	d->peers = sr_peers_new(&o);
	free(file);
	sr_keypair_free(&pair);
	d->results = sr_results_new(&(struct sr_results_options){.dir = d->config->results_directory,
								 .peers = d->peers,
								 .most = SR_SYNC_WORKERS * 2 / 3,
								 .most_elsewhere = SR_SYNC_WORKERS / 3});
	return SR_OK;
}

static void look_for_hints(void *ctx)
{
	struct sr_sync_daemon *d = ctx;

	pthread_mutex_lock(&d->lock);
	pthread_cond_signal(&d->wake);
	pthread_mutex_unlock(&d->lock);
}

/* Without it the interval does. */
static void start_watching(struct sr_sync_daemon *d)
{
	struct sr_err err;

	sr_replica_capture(sr_sync_replica(d->sync));
	if (sr_watcher_start(&d->watcher, d->config->full_scan_interval, look_for_hints, d, &err) == SR_OK)
		sr_replica_watch(sr_sync_replica(d->sync), d->watcher);
	else
		sr_warn("nothing is watched: %s", err.text);
}

enum sr_status sr_sync_daemon_open(struct sr_sync_daemon **out, const struct sr_config *config, const char *version,
				   struct sr_shutdown *shutdown, struct sr_err *err)
{
	struct sr_sync_daemon *d = sr_alloc(sizeof *d);
	enum sr_status rc;

	d->config = config;
	d->shutdown = shutdown;
	d->interval_ms = config->update_interval * 1000;
	pthread_mutex_init(&d->lock, NULL);
	sr_cond_init(&d->wake);
	sr_cond_init(&d->lending);
	rc = open_sync(&d->sync, &d->admit, config, version, err);
	if (rc == SR_OK)
		start_watching(d);
	if (rc == SR_OK)
		rc = open_balance(d, err);
	if (rc == SR_OK)
		rc = open_peers(d, err);
	if (rc == SR_OK)
		rc = start_waiter(d, err);
	if (rc == SR_OK)
		d->page = sr_sync_daemon_page(d);
	if (rc == SR_OK)
		rc = sr_sync_daemon_listen(d, err);
	if (rc == SR_OK)
		rc = sr_address_write(config->state_directory, !config->insecure_disable_https, sr_server_address(d->server), err);
	if (rc == SR_E_FULL) { /* who asks falls back on the configuration */
		sr_warn("%s", err->text);
		rc = SR_OK;
	}
	if (rc != SR_OK) {
		sr_sync_daemon_close(d);
		return rc;
	}
	sr_sync_set_server(d->sync, sr_server_port(d->server), sr_server_pin(d->server));
	sr_sync_set_balance(d->sync, d->balance);
	sr_shutdown_attach(shutdown, d->balance, d->server, &steps, d);
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
	sr_shutdown_detach(d->shutdown);
	sr_waiter_stop(d->waiter);
	if (d->server)
		sr_address_remove(d->config->state_directory);
	sr_server_stop(d->server, sr_shutdown_patience_ms(d->shutdown, 3000));
	sr_verifier_stop(d->verifier);
	sr_health_stop(d->health);
	sr_results_free(d->results);
	sr_peers_free(d->peers);
	sr_sync_close(d->sync);
	sr_watcher_stop(d->watcher);
	sr_page_free(d->page);
	sr_balance_close(d->balance);
	sr_config_free(d->fresh);
	sr_config_free(d->exclusions);
	sr_orders_free(&d->orders);
	sr_admit_close(&d->admit);
	pthread_cond_destroy(&d->wake);
	pthread_cond_destroy(&d->lending);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

/* --- lending ------------------------------------------------------------------------------------------------------------- */

static bool wait_until(struct sr_sync_daemon *d, const struct timespec *until)
{
	if (!until)
		return pthread_cond_wait(&d->lending, &d->lock) == 0;
	return pthread_cond_timedwait(&d->lending, &d->lock, until) == 0;
}

enum sr_status sr_sync_daemon_borrow(struct sr_sync_daemon *d, unsigned most_s, struct sr_err *err)
{
	struct timespec until;
	bool got, stop;

	until = sr_after_ms((int64_t)most_s * 1000);
	pthread_mutex_lock(&d->lock);
	d->borrowers++;
	pthread_cond_signal(&d->wake);
	while (!d->offered && !d->stop && wait_until(d, most_s ? &until : NULL))
		;
	d->borrowers--;
	stop = d->stop;
	got = d->offered;
	if (got) {
		d->offered = false;
		d->lent = true;
	}
	pthread_mutex_unlock(&d->lock);
	if (got)
		return SR_OK;
	return stop ? sr_err_set(err, SR_E_UNAVAILABLE, "the sync daemon is stopping")
		    : sr_err_set(err, SR_E_BUSY, "a long round is under way: say it again when it is over");
}

void sr_sync_daemon_give_back(struct sr_sync_daemon *d)
{
	pthread_mutex_lock(&d->lock);
	d->lent = false;
	pthread_cond_broadcast(&d->lending);
	pthread_mutex_unlock(&d->lock);
}

/* By the loop, while somebody waits for it: whoever wakes first takes the offer, also when he was about to give up. */
static void lend(struct sr_sync_daemon *d)
{
	d->offered = true;
	pthread_cond_broadcast(&d->lending);
	while (d->offered || d->lent)
		pthread_cond_wait(&d->lending, &d->lock);
}

/* --- the loop ------------------------------------------------------------------------------------------------------------ */

static void log_round(struct sr_sync_daemon *d, enum sr_status rc, const struct sr_sync_result *result, const struct sr_err *err)
{
	if (rc != SR_OK && sr_sync_is_interrupted(d->sync)) {
		sr_debug("%s", err->text);
		return;
	}
	if (rc != SR_OK && strncmp(d->told, err->text, sizeof d->told - 1) != 0)
		sr_log(rc == SR_E_AUTH ? SR_LOG_ERROR : SR_LOG_WARN, "%s%s", err->text,
		       rc == SR_E_UNAVAILABLE ? " (asked again until it answers)" : "");
	else if (rc != SR_OK)
		sr_debug("%s", err->text);
	else if (d->last != SR_OK)
		sr_info("%srounds go on", d->last == SR_E_UNAVAILABLE ? "the datastore answers; " : "");
	if (rc == SR_OK && (result->pulled || result->pushed || result->conflicts))
		sr_info("round: %llu pulled, %llu pushed, %llu archived%s", (unsigned long long)result->pulled,
			(unsigned long long)result->pushed, (unsigned long long)result->conflicts, result->in_sync ? "; in sync" : "");
	snprintf(d->told, sizeof d->told, "%.500s", rc == SR_OK ? "" : err->text);
	d->last = rc;
}

/* One line for whoever looks at the service.  What it says it says once: nothing is sent while that stays. */
static void tell_status(struct sr_sync_daemon *d, enum sr_status rc, const struct sr_sync_result *result, const struct sr_err *err)
{
	char now[sizeof d->told_manager];

	if (rc == SR_E_UNAVAILABLE || rc == SR_E_BUSY)
		snprintf(now, sizeof now, "waiting for the datastore: %.300s", err->text);
	else if (rc != SR_OK)
		snprintf(now, sizeof now, "no round goes through: %.300s", err->text);
	else if (result->in_sync)
		snprintf(now, sizeof now, "in sync");
	else if (result->skipped)
		snprintf(now, sizeof now, "not in sync: %llu items are held, paused or were skipped; see `sameroot status`",
			 (unsigned long long)result->skipped);
	else
		snprintf(now, sizeof now, "not in sync yet: what was changed meanwhile is left to the next round");
	if (strcmp(now, d->told_manager) != 0)
		sr_notify_status("%s", now);
	memcpy(d->told_manager, now, sizeof now);
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

/* Is what was told of changes here more than what the last round saw, or did itself? */
static bool anything_new(struct sr_sync_daemon *d)
{
	bool is;

	pthread_mutex_unlock(&d->lock);
	sr_watcher_take(d->watcher);
	is = sr_replica_has_news(sr_sync_replica(d->sync));
	pthread_mutex_lock(&d->lock);
	return is;
}

/* hasty: also until something was changed here. */
static void wait_for(struct sr_sync_daemon *d, uint64_t ms, bool hasty)
{
	int64_t until = sr_ticks_ms() + (int64_t)ms;
	bool asked = false;

	for (;;) {
		int64_t due = hasty ? sr_watcher_due(d->watcher) : SR_WATCHER_NEVER, now = sr_ticks_ms();
		struct timespec at = sr_after_ms((due < until ? due : until) - now);

		if (d->borrowers) {
			lend(d);
		} else if (d->stop || d->now) {
			break;
		} else if (until <= now) {
			if (asked || !sr_waiter_is_asking(d->waiter))
				break;
			asked = true;
			until = now + ANSWER_MS; /* its time is up about now */
		} else if (due > now) {
			pthread_cond_timedwait(&d->wake, &d->lock, &at);
		} else if (anything_new(d)) {
			break;
		}
	}
	d->now = false;
}

static void take_secret(struct sr_sync_daemon *d)
{
	struct sr_secrets secrets = {0};

	sr_admit_secrets(&d->admit, &secrets);
	sr_sync_set_secret(d->sync, secrets.at[0]);
	sr_secrets_free(&secrets);
}

/* With the lock held, between rounds. */
static void take_fresh(struct sr_sync_daemon *d)
{
	if (!d->fresh)
		return;
	take_secret(d);
	sr_sync_set_exclusions(d->sync, d->fresh);
	sr_archive_limit(sr_sync_replica(d->sync)->archive, d->fresh->conflict_max_bytes);
	sr_config_free(d->exclusions);
	d->exclusions = d->fresh;
	d->fresh = NULL;
}

/* --- the last rounds of all ------------------------------------------------------------------------------------------------ */

/* After a round of the flush, with the lock held: has it done what can be done?  What is held, paused or left alone stays; but what merely changed
 * while it was looked at is looked at again. */
static bool is_flushed(struct sr_sync_daemon *d, enum sr_status rc, const struct sr_sync_result *result, unsigned *idle)
{
	int64_t left = d->flush_until_ms - sr_ticks_ms();
	struct sr_buf what = {0};
	bool any;

	if (rc != SR_E_UNAVAILABLE && rc != SR_E_BUSY) {
		*idle = rc == SR_OK && result->pushed ? 0 : *idle + 1;
		return (rc == SR_OK && result->in_sync) || *idle == FLUSH_IDLE;
	}
	any = sr_sync_left(d->sync, &what);
	if (any && !d->waits && left > 0 && !sr_sync_is_interrupted(d->sync))
		sr_warn("the datastore is waited for, for %lld s at most: it does not have %s", (long long)(left + 999) / 1000, sr_buf_text(&what));
	d->waits = any;
	sr_buf_free(&what);
	return !any;
}

static uint64_t flush_pause_ms(unsigned failures)
{
	uint64_t ms = 100ull << (failures < 4 ? failures : 4);

	return ms < FLUSH_MAX_MS ? ms : FLUSH_MAX_MS;
}

/* By the thread that ran the rounds, when there are no more of them. */
static void say_what_is_left(struct sr_sync_daemon *d)
{
	struct sr_buf what = {0}, unseen = {0};
	bool any_left, any_unseen;

	if (d->flush && !d->looked) { /* the flush never came to its turn: the round before it had no end */
		sr_sync_look_first(d->sync);
		d->looked = true;
	}
	any_left = sr_sync_left(d->sync, &what);
	any_unseen = d->looked && sr_sync_unseen(d->sync, &unseen);
	if (any_left)
		sr_warn("stopping; the datastore does not have %s: that is kept here, and pushed by the rounds of the next start", sr_buf_text(&what));
	if (any_unseen)
		sr_warn("stopping; %s could not be looked at: what was changed there is kept here, and pushed when it can be", sr_buf_text(&unseen));
	if (d->flushed && !any_left && !any_unseen)
		sr_info("stopping; all that is here is at the datastore, too");
	else if (!d->looked && !any_left)
		sr_warn("stopping; what was changed here since the last round was not looked at: it is kept here, and pushed by the rounds of the next start");
	sr_buf_free(&what);
	sr_buf_free(&unseen);
}

/* Between rounds.  That it cannot be had is no fault of theirs. */
static void learn_registry(struct sr_sync_daemon *d)
{
	struct sr_buf json = {0};
	struct sr_err err;

	if (d->learnt_ms && sr_ticks_ms() - d->learnt_ms < REGISTRY_MS)
		return;
	if (sr_sync_registry(d->sync, &json, &err) == SR_OK && sr_peers_learn(d->peers, sr_buf_view(&json), &err) == SR_OK)
		d->learnt_ms = sr_ticks_ms();
	sr_buf_free(&json);
}

/* What is waited for is told now: the round that follows may have no end. */
static void look_before_flush(struct sr_sync_daemon *d)
{
	struct sr_buf what = {0};

	sr_sync_look_first(d->sync);
	d->looked = true;
	if (sr_sync_left(d->sync, &what))
		sr_info("shutting down: the datastore gets %s", sr_buf_text(&what));
	sr_buf_free(&what);
}

void sr_sync_daemon_run(struct sr_sync_daemon *d)
{
	unsigned failures = 0, idle = 0;

	sr_notify_status("the first round is under way");
	pthread_mutex_lock(&d->lock);
	while (!d->stop) {
		struct sr_sync_result result;
		struct sr_err err = {0};
		enum sr_status rc;

		struct sr_orders orders = d->orders;
		int64_t began, round_ms;
		uint64_t rest_ms;
		bool flush = d->flush;

		take_fresh(d);
		d->orders = (struct sr_orders){0};
		pthread_mutex_unlock(&d->lock);
		sr_orders_obey(&orders, d->sync);
		sr_watcher_begin(d->watcher);
		if (flush && !d->looked) /* before it is asked: the datastore may hang until there is no time left for that */
			look_before_flush(d);
		else if (flush)
			sr_sync_look_again(d->sync);
		take_ahead(d);
		began = sr_ticks_ms();
		rc = sr_sync_round(d->sync, &result, &err);
		round_ms = sr_ticks_ms() - began;
		log_round(d, rc, &result, &err);
		if (sr_sync_has_tree(d->sync)) /* also without a datastore: the application has what it had */
			sr_balance_running(d->balance);
		tell_status(d, rc, &result, &err);
		if (rc == SR_OK && !flush)
			learn_registry(d);
		failures = rc == SR_OK ? 0 : failures + 1;
		pthread_mutex_lock(&d->lock);
		sr_watcher_end(d->watcher, (int64_t)d->interval_ms);
		d->one_round |= rc == SR_OK;
		if (flush && !d->flushed)
			d->flushed = is_flushed(d, rc, &result, &idle);
		rest_ms = d->flush && !d->flushed ? flush_pause_ms(failures) : pause_ms(d, failures);
		wait_ahead(d, rc, &result, round_ms, rest_ms);
		if (!d->stop)
			wait_for(d, rest_ms, !failures);
	}
	pthread_mutex_unlock(&d->lock);
	say_what_is_left(d);
}

void sr_sync_daemon_now(struct sr_sync_daemon *d)
{
	pthread_mutex_lock(&d->lock);
	d->now = true;
	pthread_cond_signal(&d->wake);
	pthread_mutex_unlock(&d->lock);
}

/* What is accepted changes at once; what the rounds send, with the next one. */
static void reload_secrets(struct sr_sync_daemon *d, const struct sr_config *fresh)
{
	struct sr_secrets secrets = {0};
	struct sr_err err;

	if (sr_admit_reload(&d->admit, fresh, d->config->state_directory, &err) != SR_OK) {
		sr_error("reload: the secrets of before are kept: %s", err.text);
		return;
	}
	sr_admit_secrets(&d->admit, &secrets);
	sr_peers_set_secret(d->peers, secrets.at[0]);
	sr_secrets_free(&secrets);
}

void sr_sync_daemon_reload(struct sr_sync_daemon *d, struct sr_config *fresh)
{
	reload_secrets(d, fresh);
	sr_health_set(d->health, fresh->health_check_url, fresh->max_lag);
	sr_verifier_set(d->verifier, fresh->verify_interval);
	sr_watcher_set_full(d->watcher, fresh->full_scan_interval);
	pthread_mutex_lock(&d->lock);
	d->interval_ms = fresh->update_interval * 1000;
	sr_config_free(d->fresh);
	d->fresh = fresh;
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
