/* datastore.c - open, upkeep by a thread, close. */
#include "lib/datastore/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/certificate.h"
#include "lib/base/log.h"
#include "lib/base/wait.h"
#include "lib/replica/address.h"
#include "lib/replica/keypair.h"
#include "lib/state/datastore_state.h"
#include "lib/state/secret.h"

#define WORKERS 12
#define STOP_MS 10000

/* --- open ---------------------------------------------------------------------------------------------------------- */

static enum sr_status load_secrets(struct sr_datastore *d, struct sr_err *err)
{
	const struct sr_config *c = d->config;
	bool made = false;
	enum sr_status rc = c->control_auth ? SR_OK : sr_secret_ensure(c->control_auth_file, &made, err);

	if (made && !sr_uuid_none(&d->at.instance))
		sr_warn("made a new secret, %s, beside a history that is there: webservers with the secret of before are refused; to let them in, copy "
			"theirs into its place, mode 0600, and restart",
			c->control_auth_file);
	else if (made)
		sr_info("made %s: `sameroot join --line` prints the line that takes it to a webserver", c->control_auth_file);
	return rc == SR_OK ? sr_admit_open(&d->admit, c, c->datastore_state_directory, c->stores[SR_STORE_USERS].datastore_path, err) : rc;
}

static enum sr_status start_replica(struct sr_datastore *d, struct sr_err *err)
{
	uint8_t secret[SR_KEY_LEN];
	enum sr_status rc = sr_replica_open(&d->r, d->config, SR_ROLE_DATASTORE, err);

	if (rc == SR_OK && !d->r->keyed) {
		sr_random(secret, sizeof(secret));
		rc = sr_replica_start(d->r, secret, err);
		explicit_bzero(secret, sizeof(secret));
	}
	if (rc != SR_OK)
		return rc;
	d->stores = sr_alloc((d->r->n + 1) * sizeof(*d->stores));
	d->fault = sr_alloc((d->r->n + 1) * sizeof(*d->fault));
	d->going = sr_alloc((d->r->n + 1) * sizeof(*d->going));
	d->judged = sr_alloc((d->r->n + 1) * sizeof(*d->judged));
	d->swept = sr_alloc((d->r->n + 1) * sizeof(*d->swept));
	return SR_OK;
}

static enum sr_status load(struct sr_datastore *d, struct sr_err *err)
{
	enum sr_status rc = start_replica(d, err);

	if (rc == SR_OK)
		rc = sr_ds_identity_load(d, err);
	if (rc == SR_OK) /* after the lock: two first starts must not both make them */
		rc = load_secrets(d, err);
	if (rc == SR_OK)
		rc = sr_ds_ends_load(d, err);
	if (rc == SR_OK)
		rc = sr_ds_starts_load(d, err);
	if (rc == SR_OK)
		rc = sr_ds_history_load(d, err);
	if (rc == SR_OK)
		rc = sr_ds_clock_load(d, err);
	if (rc == SR_OK)
		rc = sr_ds_limit_load(d, err);
	return rc == SR_OK ? sr_ds_registry_load(d, err) : rc;
}

static bool serve_ready(void *ctx, char why[256])
{
	return sr_datastore_ready(ctx, why);
}

enum sr_status sr_datastore_open(struct sr_datastore **out, const struct sr_config *config, struct sr_err *err)
{
	struct sr_datastore *d = sr_alloc(sizeof(*d));
	struct sr_keypair shown = {0};
	enum sr_status rc;

	d->config = config;
	d->start = sr_uuid_random();
	sr_random(&d->settings, sizeof(d->settings));
	d->interval = config->update_interval;
	d->trash_days = config->trash_days;
	d->trash_max_bytes = config->trash_max_bytes;
	d->trim_days = config->webserver_trim_days;
	d->started_ticks = sr_ticks_ms();
	pthread_mutex_init(&d->writer, NULL);
	pthread_mutex_init(&d->face, NULL);
	pthread_mutex_init(&d->old_lock, NULL);
	sr_cond_init(&d->turn);
	snprintf(d->why, sizeof(d->why), "starting: the stores are being looked at");
	rc = load(d, err);
	if (rc == SR_OK)
		rc = sr_keypair_shown(config, true, &shown, err);
	if (rc == SR_OK)
		rc = sr_balance_open(&d->balance, config->datastore_state_directory, NULL, NULL, err);
	if (rc != SR_OK) {
		sr_keypair_free(&shown);
		sr_datastore_close(d);
		return rc;
	}
	d->peers = sr_peers_new(&(struct sr_peers_options){.ask = sr_ds_ask_registry,
							   .ctx = d,
							   .secret = d->admit.control.at[0],
							   .plain = config->insecure_disable_https,
							   .certificate = shown.certificate,
							   .key = shown.key});
	sr_keypair_free(&shown);
	d->results = sr_results_new(&(struct sr_results_options){.peers = d->peers, .most = WORKERS / 3, .most_elsewhere = WORKERS / 3});
	d->page = sr_ds_page(d);
	d->serve = (struct sr_serve){.replica = d->r, .ready = serve_ready, .older = sr_ds_older, .ctx = d};
	d->hello = (struct sr_hello){.secrets = sr_admit_secrets, .ctx = &d->admit, .role = "datastore"};
	d->conflicts = (struct sr_conflict_routes){.replica = d->r, .restore = sr_ds_conflicts_restore, .ctx = d};
	d->metrics = (struct sr_metrics){
		.role = "datastore", .balance = d->balance, .admit = &d->admit, .archive = d->r->archive, .tell = sr_ds_tell_metrics, .ctx = d};
	*out = d;
	return SR_OK;
}

/* --- a turn --------------------------------------------------------------------------------------------------------- */

static enum sr_status know_ourselves(struct sr_datastore *d, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	sr_replica_look(d->r);
	if (!d->recovered && !sr_uuid_none(&d->at.instance)) {
		rc = sr_ds_recover(d, err);
		sr_replica_look(d->r);
	}
	if (rc != SR_OK)
		return rc;
	d->recovered = true;
	return sr_uuid_none(&d->at.instance) ? sr_ds_found(d, false, err) : sr_ds_check_markers(d, err);
}

static void say_ready(struct sr_datastore *d)
{
	bool was, now;

	pthread_mutex_lock(&d->face);
	was = d->ready;
	now = d->ready = d->broken.code == SR_OK;
	pthread_mutex_unlock(&d->face);
	if (now) {
		sr_balance_fault(d->balance, SR_FAULT_STATE, NULL);
		sr_balance_running(d->balance);
	}
	if (!was)
		sr_info("ready: epoch %llu, seq %llu, %llu leaves", (unsigned long long)d->at.epoch, (unsigned long long)d->at.seq,
			(unsigned long long)d->r->leaves);
}

/* Nothing would come of a scan. */
static bool is_spared(struct sr_datastore *d, size_t i)
{
	return d->judged[i] && sr_replica_store_is_quiet(&d->r->stores[i]) && !sr_ds_is_reshaped(d, i);
}

static enum sr_status scan_all(struct sr_datastore *d, struct sr_err *err)
{
	struct sr_err fault;

	d->look_at = 0;
	for (size_t i = 0; i < d->r->n; i++)
		if (d->r->stores[i].mode == SR_MODE_READY && !is_spared(d, i)) {
			(void)!sr_ds_scan(d, i, &fault); /* it is noted: the others go on */
			sr_store_expire_parts(d->r->stores[i].store);
		}
	if (sr_datastore_broken(d, err))
		return err ? err->code : SR_E_IO;
	return sr_ds_advance(d, err);
}

/* A full disk keeps nobody from it: who asks falls back on the configuration. */
static enum sr_status write_address(struct sr_datastore *d, struct sr_err *err)
{
	enum sr_status rc =
		d->addressed ? SR_OK : sr_address_write(d->config->datastore_state_directory, d->certificate != NULL, sr_server_address(d->server), err);

	d->addressed |= rc == SR_OK;
	return rc == SR_E_FULL ? SR_OK : rc;
}

/* What was committed last is served, and nothing is taken, until there is room. */
static enum sr_status serve_only(struct sr_datastore *d, const struct sr_err *full)
{
	sr_ds_publish(d);
	say_ready(d);
	return full->code;
}

static enum sr_status turn(struct sr_datastore *d, struct sr_err *err)
{
	enum sr_status rc = know_ourselves(d, err);

	if (rc != SR_OK) {
		/* The stores are not, or not surely, what the tree says: nothing may be read from it. */
		if (!sr_datastore_broken(d, NULL))
			sr_ds_not_ready(d, err->text);
		return rc;
	}
	if (sr_ds_room(d, 0, err) != SR_OK)
		return serve_only(d, err);
	if (d->server)
		(void)!write_address(d, NULL);
	rc = scan_all(d, err);
	sr_ledger_settle(d->ledger, NULL, SR_WAY_RECEIVE);
	if (rc == SR_OK && d->scan_approved)
		rc = sr_ds_approved_here(d, err);
	if (rc == SR_OK)
		d->scan_approved = false;
	if (rc == SR_OK)
		rc = sr_ledger_save(d->ledger, err);
	if (rc != SR_OK)
		return rc;
	rc = sr_ds_start_add(d, err);
	if (rc != SR_OK)
		return rc;
	sr_ds_publish(d);
	say_ready(d);
	rc = sr_ds_trim(d, err);
	if (rc == SR_OK)
		rc = sr_ds_seen_keep(d, false, err);
	return rc == SR_OK ? sr_ds_seen_trim(d, err) : rc;
}

enum sr_status sr_datastore_tick(struct sr_datastore *d, struct sr_err *err)
{
	struct sr_err own = {0};
	enum sr_status rc = SR_OK;
	char why[256];

	int64_t began = sr_ticks_ms();

	pthread_mutex_lock(&d->writer);
	if (sr_datastore_broken(d, &own))
		rc = own.code;
	else
		rc = turn(d, &own);
	if (rc != SR_OK && sr_datastore_ready(d, why))
		sr_ds_publish(d); /* what the turn committed before it failed: the answers to pushes name it, too */
	pthread_mutex_unlock(&d->writer);
	sr_ds_count_scan(d, rc, sr_ticks_ms() - began);
	if (rc != SR_OK && err)
		*err = own;
	return rc;
}

enum sr_status sr_datastore_adopt_union(struct sr_datastore *d, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	pthread_mutex_lock(&d->writer);
	if (!d->recovered)
		rc = sr_err_set(err, SR_E_UNAVAILABLE, "the datastore is starting");
	if (rc == SR_OK)
		rc = sr_ds_adopt(d, err);
	if (rc == SR_OK)
		sr_ds_publish(d);
	pthread_mutex_unlock(&d->writer);
	if (rc == SR_OK)
		sr_datastore_scan_now(d);
	return rc;
}

/* --- the thread ------------------------------------------------------------------------------------------------------ */

static int64_t rest_ms(struct sr_datastore *d)
{
	int64_t ms, sooner;

	pthread_mutex_lock(&d->writer);
	ms = (int64_t)d->interval * 1000;
	sooner = d->look_at ? d->look_at - sr_ticks_ms() : ms;
	pthread_mutex_unlock(&d->writer);
	return sooner < ms ? (sooner > 0 ? sooner : 0) : ms;
}

/* Is what was told of changes here more than what the last turn saw, or a push did? */
static bool anything_new(struct sr_datastore *d)
{
	bool is;

	pthread_mutex_unlock(&d->face);
	pthread_mutex_lock(&d->writer);
	sr_watcher_take(d->watcher);
	is = sr_replica_has_news(d->r);
	pthread_mutex_unlock(&d->writer);
	pthread_mutex_lock(&d->face);
	return is;
}

/* Until it is time for the next turn, or something was changed directly.  False: stop. */
static bool wait_turn(struct sr_datastore *d)
{
	int64_t until = sr_ticks_ms() + rest_ms(d);
	bool go_on;

	pthread_mutex_lock(&d->face);
	for (;;) {
		int64_t due = sr_watcher_due(d->watcher), now = sr_ticks_ms();
		struct timespec at = sr_after_ms((due < until ? due : until) - now);

		if (d->stopping || d->asked || until <= now)
			break;
		if (due > now)
			pthread_cond_timedwait(&d->turn, &d->face, &at);
		else if (anything_new(d))
			break;
	}
	d->asked = false;
	go_on = !d->stopping;
	pthread_mutex_unlock(&d->face);
	return go_on;
}

static void *run(void *ctx)
{
	struct sr_datastore *d = ctx;
	struct sr_err err, told = {0};

	do {
		bool last;

		pthread_mutex_lock(&d->face);
		last = d->last_asked;
		pthread_mutex_unlock(&d->face);
		err = (struct sr_err){0};
		sr_watcher_begin(d->watcher);
		if (sr_datastore_tick(d, &err) != SR_OK && strcmp(err.text, told.text) != 0)
			sr_error("%s", err.text);
		told = err;
		pthread_mutex_lock(&d->face);
		sr_watcher_end(d->watcher, (int64_t)d->interval * 1000);
		d->last_done = last;
		pthread_mutex_unlock(&d->face);
	} while (wait_turn(d));
	return NULL;
}

static void look_for_hints(void *ctx)
{
	struct sr_datastore *d = ctx;

	pthread_mutex_lock(&d->face);
	pthread_cond_broadcast(&d->turn);
	pthread_mutex_unlock(&d->face);
}

/* Without it the interval does. */
static void start_watching(struct sr_datastore *d)
{
	struct sr_err err;

	pthread_mutex_lock(&d->writer);
	sr_replica_capture(d->r);
	if (sr_watcher_start(&d->watcher, d->config->full_scan_interval, look_for_hints, d, &err) == SR_OK)
		sr_replica_watch(d->r, d->watcher);
	else
		sr_warn("nothing is watched: %s", err.text);
	pthread_mutex_unlock(&d->writer);
}

enum sr_status sr_datastore_start(struct sr_datastore *d, struct sr_err *err)
{
	start_watching(d);
	d->running = true; /* before there is the thread, which looks at its neighbours */
	if (pthread_create(&d->thread, NULL, run, d)) {
		d->running = false;
		return sr_err_set(err, SR_E_INTERNAL, "cannot start a thread");
	}
	return SR_OK;
}

static void poke(struct sr_datastore *d, bool stop)
{
	pthread_mutex_lock(&d->face);
	d->stopping |= stop;
	d->asked = true;
	pthread_cond_broadcast(&d->turn);
	pthread_mutex_unlock(&d->face);
}

void sr_datastore_scan_now(struct sr_datastore *d)
{
	poke(d, false);
}

static void reload_secrets(struct sr_datastore *d, const struct sr_config *fresh)
{
	struct sr_secrets secrets = {0};
	struct sr_err err;

	if (sr_admit_reload(&d->admit, fresh, d->config->datastore_state_directory, &err) != SR_OK) {
		sr_error("reload: the secrets of before are kept: %s", err.text);
		return;
	}
	sr_admit_secrets(&d->admit, &secrets);
	sr_peers_set_secret(d->peers, secrets.at[0]);
	sr_secrets_free(&secrets);
}

void sr_datastore_reload(struct sr_datastore *d, const struct sr_config *fresh)
{
	reload_secrets(d, fresh);
	pthread_mutex_lock(&d->writer);
	for (size_t i = 0; i < d->r->n; i++) {
		const struct sr_config_store *s = sr_config_store(fresh, d->r->stores[i].name);

		if (s && s->kind == d->r->stores[i].config->kind)
			(void)sr_replica_exclude(d->r, i, (const char *const *)s->exclude.at, s->exclude.count);
	}
	sr_archive_limit(d->r->archive, fresh->conflict_max_bytes);
	pthread_mutex_lock(&d->face);
	d->interval = fresh->update_interval;
	d->trash_days = fresh->trash_days;
	d->trash_max_bytes = fresh->trash_max_bytes;
	d->trim_days = fresh->webserver_trim_days;
	pthread_mutex_unlock(&d->face);
	pthread_mutex_unlock(&d->writer);
	sr_verifier_set(d->verifier, fresh->verify_interval);
	sr_watcher_set_full(d->watcher, fresh->full_scan_interval);
	poke(d, false);
}

/* --- what others ask ------------------------------------------------------------------------------------------------- */

bool sr_datastore_ready(struct sr_datastore *d, char why[256])
{
	bool ready;

	pthread_mutex_lock(&d->face);
	ready = d->ready;
	if (!ready)
		memcpy(why, d->why, sizeof(d->why));
	pthread_mutex_unlock(&d->face);
	return ready;
}

void sr_datastore_summary(struct sr_datastore *d, char out[SR_DATASTORE_SUMMARY])
{
	const char *name = NULL;
	bool paused = false;

	pthread_mutex_lock(&d->face);
	for (size_t i = 0; i < d->r->n && !paused; i++) {
		paused = d->stores[i].mode == SR_MODE_PAUSED;
		if (paused || (d->stores[i].held && strcmp(d->stores[i].held, "[]") != 0))
			name = d->r->stores[i].name;
	}
	if (!d->ready)
		snprintf(out, SR_DATASTORE_SUMMARY, "not ready: %s", d->why);
	else if (name)
		snprintf(out, SR_DATASTORE_SUMMARY, "ready; %s is %s: see `sameroot status`", name, paused ? "paused" : "held");
	else
		snprintf(out, SR_DATASTORE_SUMMARY, "ready");
	pthread_mutex_unlock(&d->face);
}

bool sr_datastore_broken(struct sr_datastore *d, struct sr_err *err)
{
	bool broken;

	pthread_mutex_lock(&d->face);
	broken = d->broken.code != SR_OK;
	if (broken && err)
		*err = d->broken;
	pthread_mutex_unlock(&d->face);
	return broken;
}

/* --- shutdown -------------------------------------------------------------------------------------------------------- */

/* A last turn: it waits for the commit under way, and commits what was changed directly. */
static void flush(void *ctx, int64_t until_ms)
{
	struct sr_datastore *d = ctx;

	(void)until_ms;
	pthread_mutex_lock(&d->face);
	d->last_asked = true;
	pthread_mutex_unlock(&d->face);
	sr_datastore_scan_now(d);
}

static bool is_flushed(void *ctx)
{
	struct sr_datastore *d = ctx;
	bool is;

	pthread_mutex_lock(&d->face);
	is = d->last_done;
	pthread_mutex_unlock(&d->face);
	return is;
}

static void hurry(void *ctx)
{
	(void)ctx; /* closing cuts what is under way */
}

static const struct sr_shutdown_steps steps = {.flush = flush, .is_flushed = is_flushed, .hurry = hurry};

void sr_datastore_set_shutdown(struct sr_datastore *d, struct sr_shutdown *shutdown)
{
	d->shutdown = shutdown;
}

/* --- HTTP ------------------------------------------------------------------------------------------------------------ */

static enum sr_status certificate(struct sr_datastore *d, struct sr_err *err)
{
	const struct sr_config *c = d->config;
	struct sr_keypair pair;
	char pin[SR_PIN_TEXT];
	enum sr_status rc;

	if (c->datastore_insecure_disable_tls)
		return SR_OK;
	pair = sr_keypair_served(c, true);
	d->certificate = pair.certificate;
	d->key = pair.key;
	rc = c->certificate_file ? SR_OK : sr_certificate_ensure(d->certificate, d->key, NULL, err);
	if (rc == SR_OK)
		rc = sr_certificate_pin(d->certificate, pin, err);
	if (rc == SR_OK)
		sr_info("for webservers that shall know this key: Datastore-Key-Pin=%s", pin);
	return rc;
}

enum sr_status sr_datastore_listen(struct sr_datastore *d, struct sr_err *err)
{
	struct sr_routes routes[] = {sr_routes_of(sr_ds_routes, d),
				     sr_routes_of(sr_serve_routes, &d->serve),
				     sr_routes_of(sr_hello_routes, &d->hello),
				     sr_routes_of(sr_conflict_routes, &d->conflicts),
				     sr_routes_of(sr_balance_routes, d->balance),
				     sr_routes_of(sr_relay_routes, &d->relay),
				     sr_routes_of(sr_results_routes, d->results),
				     sr_routes_of(sr_shutdown_routes, d->shutdown),
				     sr_routes_of(sr_page_routes, d->page),
				     sr_routes_of(sr_metrics_routes, &d->metrics)};
	struct sr_server_options o = {.address = d->config->datastore_listen_address,
				      .port = d->config->datastore_port,
				      .routes = routes,
				      .routes_count = sizeof(routes) / sizeof(*routes),
				      .authorize = sr_admit_check,
				      .verify = sr_admit_verify,
				      .challenge = SR_ADMIT_CHALLENGE,
				      .authorize_ctx = &d->admit,
				      .workers = WORKERS,
				      .max_connections = (unsigned)d->config->max_connections,
				      .client_ms = (unsigned)d->config->client_timeout * 1000};
	struct sr_server *server = NULL;
	enum sr_status rc = certificate(d, err);

	if (rc != SR_OK)
		return rc;
	rc = sr_ds_verifier_start(d, err); /* before anybody asks */
	if (rc != SR_OK)
		return rc;
	d->relay = (struct sr_relay){.peers = d->peers, .balance = d->balance, .shutdown = d->shutdown};
	o.certificate = d->certificate;
	o.key = d->key;
	o.client_ca = d->config->client_ca_file;
	rc = sr_server_start(&server, &o, err);
	if (rc != SR_OK)
		return rc;
	pthread_mutex_lock(&d->writer); /* who publishes wakes it */
	d->server = server;
	pthread_mutex_unlock(&d->writer);
	if (d->shutdown)
		sr_shutdown_attach(d->shutdown, d->balance, server, &steps, d);
	return write_address(d, err);
}

const char *sr_datastore_address(const struct sr_datastore *d)
{
	return sr_server_address(d->server);
}

uint16_t sr_datastore_port(const struct sr_datastore *d)
{
	return sr_server_port(d->server);
}

/* --- close ----------------------------------------------------------------------------------------------------------- */

static void stop_server(struct sr_datastore *d)
{
	struct sr_server *server;

	pthread_mutex_lock(&d->writer);
	server = d->server;
	d->server = NULL;
	pthread_mutex_unlock(&d->writer);
	if (server)
		sr_address_remove(d->config->datastore_state_directory);
	sr_server_stop(server, sr_shutdown_patience_ms(d->shutdown, STOP_MS));
}

/* When the webservers were seen is to be known at the next start. */
static void keep_seen(struct sr_datastore *d)
{
	struct sr_err err = {0};

	pthread_mutex_lock(&d->writer);
	if (d->r && !sr_datastore_broken(d, NULL) && sr_ds_seen_keep(d, true, &err) != SR_OK)
		sr_warn("when webservers were seen last could not be written down: %s", err.text);
	pthread_mutex_unlock(&d->writer);
}

void sr_datastore_close(struct sr_datastore *d)
{
	if (!d)
		return;
	sr_shutdown_detach(d->shutdown);
	stop_server(d);
	sr_verifier_stop(d->verifier);
	sr_results_free(d->results);
	sr_peers_free(d->peers);
	if (d->running) {
		poke(d, true);
		pthread_join(d->thread, NULL);
		sr_info("stopping at seq %llu: what webservers change from now on they push after the next start", (unsigned long long)d->at.seq);
	}
	keep_seen(d);
	if (d->r)
		sr_ds_history_free(d);
	sr_ds_registry_free(d);
	sr_ds_proposals_free(d);
	sr_state_close(d->old);
	sr_ledger_close(d->ledger);
	sr_replica_close(d->r);
	sr_watcher_stop(d->watcher);
	sr_page_free(d->page);
	sr_balance_close(d->balance);
	free(d->fault);
	free(d->going);
	free(d->judged);
	free(d->swept);
	free(d->certificate);
	free(d->key);
	sr_admit_close(&d->admit);
	pthread_cond_destroy(&d->turn);
	pthread_mutex_destroy(&d->old_lock);
	pthread_mutex_destroy(&d->face);
	pthread_mutex_destroy(&d->writer);
	free(d);
}
