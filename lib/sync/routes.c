/* routes.c - what the sync daemon answers over HTTP. */
#include "lib/sync/daemon_internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "http/certificate.h"
#include "lib/replica/backup.h"
#include "lib/replica/edit.h"
#include "lib/replica/conflict.h"
#include "lib/replica/keypair.h"

#define BORROW_S  600
#define MOST_BODY 4096

/* --- the tree, status, orders -------------------------------------------------------------------------------------------- */

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

/* --- the registry --------------------------------------------------------------------------------------------------------- */

/* Of the others, as this node knows them.  *age_s -1: nothing was ever learnt; *why as of sr_peers_take.  OWNED BY CALLER (json_decref). */
static json_t *registry_json(struct sr_sync_daemon *d, int64_t *age_s, struct sr_err *why)
{
	struct sr_peer_list *list = sr_peers_take(d->peers, 0, why);
	json_t *rows = json_array();

	for (size_t i = 0; i < list->n; i++)
		json_array_append_new(rows, json_deep_copy(list->at[i].row));
	*age_s = list->learnt_ms ? (sr_ticks_ms() - list->learnt_ms) / 1000 : -1;
	sr_peer_list_free(list);
	return rows;
}

static void reply_json(struct sr_request *req, json_t *o)
{
	char *text = json_dumps(o, JSON_COMPACT);

	sr_reply_bytes(req, 200, "application/json", sr_bytes_of(text ? text : "null"));
	free(text);
	json_decref(o);
}

/* A header's value: one line of ASCII without quotes. */
static char *header_text(const char *text)
{
	char *out = sr_format("111 sameroot \"%s\"", text);

	for (char *at = out + strlen("111 sameroot \""); at[1]; at++)
		if (*at < ' ' || *at == 127 || *at == '"' || *at == '\\')
			*at = '\'';
	return out;
}

static enum sr_status get_webservers(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_err why;
	int64_t age_s;
	json_t *rows = registry_json(ctx, &age_s, &why);
	char *text;

	if (age_s < 0) {
		json_decref(rows);
		return sr_err_set(err, SR_E_UNAVAILABLE, "the other webservers are not known yet: %.500s", why.text);
	}
	text = sr_format("%lld", (long long)age_s);
	sr_reply_header(req, "Age", text);
	free(text);
	if (why.code != SR_OK) {
		text = header_text(why.text);
		sr_reply_header(req, "Warning", text);
		free(text);
	}
	reply_json(req, rows);
	return SR_OK;
}

/* --- the operator ---------------------------------------------------------------------------------------------------------- */

/* What the last round left, and what is so now. */
json_t *sr_sync_daemon_status(struct sr_sync_daemon *d)
{
	struct sr_buf text = {0};
	struct sr_err why;
	int64_t age_s;
	json_t *o, *rows;

	sr_sync_report(d->sync, &text);
	o = json_loadb((const char *)text.at, text.len, 0, NULL);
	sr_buf_free(&text);
	if (!o)
		return NULL;
	rows = registry_json(d, &age_s, &why);
	json_object_set_new(o, "balancer", sr_balance_report(d->balance));
	json_object_set_new(o, "verify", sr_verifier_report(d->verifier));
	json_object_set_new(o, "webservers", rows);
	json_object_set_new(o, "webservers_age", age_s < 0 ? json_null() : json_integer(age_s));
	json_object_set_new(o, "webservers_why", why.code == SR_OK ? json_null() : json_string(why.text));
	return o;
}

static enum sr_status get_status(void *ctx, struct sr_request *req, struct sr_err *err)
{
	json_t *o = sr_sync_daemon_status(ctx);

	if (!o)
		return sr_err_set(err, SR_E_INTERNAL, "the report of the last round cannot be read");
	reply_json(req, o);
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

/* --- between two rounds ------------------------------------------------------------------------------------------------ */

static enum sr_status restore(void *ctx, struct sr_bytes wish, struct sr_buf *out, struct sr_err *err)
{
	struct sr_sync_daemon *d = ctx;
	struct sr_replica *r = sr_sync_replica(d->sync);
	enum sr_status rc = sr_sync_daemon_borrow(d, 0, err);

	if (rc != SR_OK)
		return rc;
	rc = sr_conflict_restore(r, wish, &(struct sr_conflict_editor){.edit = sr_conflict_edit, .ctx = r}, out, err);
	sr_sync_daemon_now(d); /* the round that follows takes it on */
	sr_sync_daemon_give_back(d);
	return rc;
}

static void tell_of_conflicts(void *ctx)
{
	sr_sync_daemon_now(ctx);
}

/* Not SR_OK: nothing is to be undone. */
static enum sr_status pin(void *ctx, struct sr_pin *out, struct sr_err *err)
{
	struct sr_sync_daemon *d = ctx;
	char why[256];
	enum sr_status rc = SR_OK;

	if (!is_ready(d, why))
		return sr_err_set(err, SR_E_UNAVAILABLE, "%s", why);
	rc = sr_sync_daemon_borrow(d, BORROW_S, err);
	if (rc != SR_OK)
		return rc;
	if (sr_replica_use(sr_sync_replica(d->sync)))
		sr_sync_pin(d->sync, out);
	else
		rc = sr_err_set(err, SR_E_UNAVAILABLE, "the tree key is not known yet");
	sr_sync_daemon_give_back(d);
	return rc;
}

static void unpin(void *ctx, struct sr_pin *p)
{
	struct sr_sync_daemon *d = ctx;

	sr_pin_release(p);
	sr_replica_unuse(sr_sync_replica(d->sync));
}

static enum sr_status get_backup(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_sync_daemon *d = ctx;
	struct sr_replica *r = sr_sync_replica(d->sync);
	struct sr_pin p = {0};
	int lock = -1;
	enum sr_status rc = sr_backup_begin(r, &lock, err);

	if (rc != SR_OK)
		return rc;
	rc = pin(d, &p, err);
	if (rc == SR_OK) {
		rc = sr_backup_reply(req, &p, NULL, false, err);
		unpin(d, &p);
	}
	sr_backup_end(lock);
	return rc;
}

static enum sr_status get_verify(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_sync_daemon *d = ctx;

	return sr_verifier_reply(d->verifier, req, err);
}

/* By the owner. */
static enum sr_status heal(struct sr_sync_daemon *d, const char *path, struct sr_healed *h, struct sr_err *err)
{
	struct sr_client *client = NULL;
	struct sr_repair p = {0};
	enum sr_status rc = sr_repair_begin(&p, sr_sync_replica(d->sync), sr_bytes_of(path), err);

	*h = sr_healed(&p);
	if (rc == SR_OK && p.rotten)
		rc = sr_sync_client(d->sync, &client, err);
	if (rc == SR_OK && p.rotten)
		rc = sr_healer_fetch(&p, client, "the datastore", d->peers, h, err);
	if (rc == SR_OK && p.rotten)
		rc = sr_repair_finish(&p, err);
	sr_client_free(client);
	if (rc != SR_OK && p.stage)
		sr_replica_edit_sweep(p.r, p.i);
	sr_repair_free(&p);
	return rc;
}

static enum sr_status post_repair(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_sync_daemon *d = ctx;
	struct sr_healed h = {0};
	char *path = NULL, why[256];
	enum sr_status rc = sr_healer_wish(req, &path, err);

	if (rc == SR_OK && !is_ready(d, why))
		rc = sr_err_set(err, SR_E_UNAVAILABLE, "%s", why);
	if (rc == SR_OK)
		rc = sr_sync_daemon_borrow(d, BORROW_S, err);
	if (rc == SR_OK) {
		rc = heal(d, path, &h, err);
		sr_sync_daemon_now(d);
		sr_sync_daemon_give_back(d);
	}
	if (rc == SR_OK)
		sr_healer_reply(d->verifier, req, path, &h);
	free(path);
	free(h.from);
	return rc;
}

static void tell_metrics(void *ctx, struct sr_metrics_page *p)
{
	struct sr_sync_daemon *d = ctx;

	sr_sync_tell_metrics(d->sync, p);
	sr_verifier_tell_metrics(d->verifier, p);
}

/* --- all of them --------------------------------------------------------------------------------------------------------- */

static const struct sr_route own_routes[] = {
	{"GET", "/healthz", get_health, SR_ROUTE_QUICK | SR_ROUTE_OPEN | SR_ROUTE_LAST, 0},
	{"GET", "/readyz", get_ready, SR_ROUTE_QUICK | SR_ROUTE_OPEN, 0},
	{"GET", "/api/tree", get_tree, 0, 0},
	{"GET", "/api/webservers", get_webservers, 0, 0},
	{"GET", "/api/admin/status", get_status, SR_ROUTE_ADMIN, 0},
	{"GET", "/api/admin/backup", get_backup, SR_ROUTE_ADMIN, 0},
	{"GET", "/api/admin/verify", get_verify, SR_ROUTE_ADMIN, 0},
	{"POST", "/api/admin/repair", post_repair, SR_ROUTE_ADMIN, SR_REPAIR_MOST},
	{"POST", "/api/admin/sync", post_sync, SR_ROUTE_ADMIN, 0},
	{"POST", "/api/admin/forget-key", post_forget_key, SR_ROUTE_ADMIN, 0},
	{"POST", "/api/admin/adopt", post_adopt, SR_ROUTE_ADMIN, MOST_BODY},
};

static enum sr_status start_verifier(struct sr_sync_daemon *d, struct sr_err *err)
{
	struct sr_verifier_options o = {.state_dir = d->config->state_directory,
					.balance = d->balance,
					.pin = pin,
					.unpin = unpin,
					.replica = sr_sync_replica(d->sync),
					.ctx = d};

	return sr_verifier_start(&d->verifier, &o, d->config->verify_interval, err);
}

static enum sr_status ensure_certificate(const struct sr_config *c, struct sr_keypair *pair, struct sr_err *err)
{
	if (c->insecure_disable_https)
		return SR_OK;
	*pair = sr_keypair_served(c, false);
	return c->certificate_file ? SR_OK : sr_certificate_ensure(pair->certificate, pair->key, c->external.host, err);
}

enum sr_status sr_sync_daemon_listen(struct sr_sync_daemon *d, struct sr_err *err)
{
	const struct sr_config *c = d->config;
	struct sr_keypair pair = {0};
	struct sr_routes routes[] = {{.at = own_routes, .n = sizeof own_routes / sizeof *own_routes, .ctx = d},
				     sr_routes_of(sr_serve_routes, &d->serve),
				     sr_routes_of(sr_hello_routes, &d->hello),
				     sr_routes_of(sr_conflict_routes, &d->conflicts),
				     sr_routes_of(sr_balance_routes, d->balance),
				     sr_routes_of(sr_relay_routes, &d->relay),
				     sr_routes_of(sr_results_routes, d->results),
				     sr_routes_of(sr_shutdown_routes, d->shutdown),
				     sr_routes_of(sr_page_routes, d->page),
				     sr_routes_of(sr_metrics_routes, &d->metrics)};
	struct sr_server_options o = {.address = c->sync_listen_address,
				      .port = c->sync_port,
				      .routes = routes,
				      .routes_count = sizeof routes / sizeof *routes,
				      .authorize = sr_admit_check,
				      .verify = sr_admit_verify,
				      .challenge = SR_ADMIT_CHALLENGE,
				      .authorize_ctx = &d->admit,
				      .workers = SR_SYNC_WORKERS,
				      .max_connections = (unsigned)c->max_connections,
				      .client_ms = (unsigned)c->client_timeout * 1000};
	enum sr_status rc = ensure_certificate(c, &pair, err);

	d->serve = (struct sr_serve){.replica = sr_sync_replica(d->sync), .ready = has_tree, .ctx = d};
	d->hello = (struct sr_hello){.secrets = sr_admit_secrets, .ctx = &d->admit, .role = "webserver"};
	d->conflicts = (struct sr_conflict_routes){
		.replica = sr_sync_replica(d->sync), .restore = restore, .changed = tell_of_conflicts, .ctx = d};
	d->relay = (struct sr_relay){.peers = d->peers, .balance = d->balance, .shutdown = d->shutdown};
	d->metrics = (struct sr_metrics){
		.role = "webserver", .balance = d->balance, .admit = &d->admit, .archive = sr_sync_replica(d->sync)->archive, .tell = tell_metrics, .ctx = d};
	o.certificate = pair.certificate;
	o.key = pair.key;
	o.client_ca = c->client_ca_file;
	if (rc == SR_OK)
		rc = start_verifier(d, err);
	if (rc == SR_OK)
		rc = sr_server_start(&d->server, &o, err);
	sr_keypair_free(&pair);
	return rc;
}
