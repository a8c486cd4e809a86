/* routes.c - the check-in, health, and the table of routes. */
#include "lib/datastore/internal.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MOST_PUSH  ((uint64_t)INT64_MAX)
#define MOST_SMALL 65536
#define MOST_CONFLICTS (64u << 20) /* 2000 entries, or a few of the longest paths */

bool sr_ds_parse_uuid(const char *text, struct sr_uuid *out)
{
	return !sr_uuid_parse(out, text) || sr_unhex(out->b, sizeof(out->b), sr_bytes_of(text));
}

static bool is_own(const struct sr_datastore *d, const struct sr_uuid *uuid)
{
	return memcmp(uuid->b, d->r->node.b, sizeof uuid->b) == 0;
}

enum sr_status sr_ds_webserver_uuid(const struct sr_datastore *d, const char *text, struct sr_uuid *out, struct sr_err *err)
{
	if (!text || !sr_ds_parse_uuid(text, out) || sr_uuid_none(out))
		return sr_err_set(err, SR_E_DATA, "a webserver is named by its UUID");
	return is_own(d, out) ? sr_err_set(err, SR_E_DATA, "this is the datastore's own UUID, and no webserver's") : SR_OK;
}

void sr_ds_reply_json(struct sr_request *req, int status, json_t *json)
{
	char *text = json_dumps(json, JSON_COMPACT);

	sr_reply_bytes(req, status, "application/json", sr_bytes_of(text ? text : "null"));
	free(text);
	json_decref(json);
}

/* --- the check-in --------------------------------------------------------------------------------------------------- */

struct visit { /* what one GET /api/tree is about */
	struct sr_check_in c;
	bool known_peer; /* it brought a check-in */
	bool wants_key;
	const char *match;   /* If-None-Match */
	uint64_t wait_s;     /* 0: answer now */
	uint64_t waited;     /* its number among those of this webserver that wait; 0: it is looked at for the first time */
	bool changes;        /* it asks for what leads from c.known to what is shown, */
	bool since;          /* in so many words: without that it gets nothing */
};

#define MOST_WAIT_S 86400

static bool read_number(const char *text, uint64_t *out)
{
	char *end;

	*out = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && *out <= INT64_MAX;
}

/* since=SEQ&root=H[&epoch=N]; who checks in has said it.  The epoch is that of now, unless it is said. */
static enum sr_status read_since(struct sr_datastore *d, struct sr_request *req, struct visit *v, struct sr_err *err)
{
	const char *since = sr_request_query_text(req, "since"), *epoch = sr_request_query_text(req, "epoch"), *root = sr_request_query_text(req, "root");

	v->changes = true;
	if (v->known_peer || (!since && !root && !epoch))
		return SR_OK;
	v->since = true;
	pthread_mutex_lock(&d->face);
	v->c.known = d->shown;
	pthread_mutex_unlock(&d->face);
	if (!since || !root || !read_number(since, &v->c.known.seq) || (epoch && !read_number(epoch, &v->c.known.epoch)) ||
	    !sr_hash_parse(&v->c.known.root, sr_bytes_of(root)))
		return sr_err_set(err, SR_E_DATA, "since is a seq, root the hash of the root at it");
	return SR_OK;
}

static enum sr_status read_visit(const struct sr_datastore *d, struct sr_request *req, struct visit *v, struct sr_err *err)
{
	const char *check_in = sr_request_header(req, SR_HEADER_CHECK_IN), *key = sr_request_header(req, SR_HEADER_KEY);
	const char *wait = sr_request_query_text(req, "wait");
	char *end = NULL;

	*v = (struct visit){.match = sr_request_header(req, "If-None-Match"), .wants_key = key && !strcasecmp(key, "want")};
	v->wait_s = wait ? strtoul(wait, &end, 10) : 0; /* ULONG_MAX: more */
	if (wait && (*wait < '0' || *wait > '9' || *end))
		return sr_err_set(err, SR_E_DATA, "wait is a number of seconds");
	v->waited = sr_request_kept(req);
	if (!check_in)
		return SR_OK;
	v->known_peer = true;
	if (sr_check_in_parse(check_in, &v->c, err) != SR_OK)
		return err->code;
	return is_own(d, &v->c.node) ? sr_err_set(err, SR_E_DATA, "header " SR_HEADER_CHECK_IN ": it is this datastore's own UUID") : SR_OK;
}

/* Everything below: with face held. */

/* SR_E_CHANGED: it is a copy, or somebody else is.  What waited and is looked at again says nothing new of who asked, who may be gone. */
static enum sr_status note_visit(const struct visit *v, struct sr_ds_webserver *w, enum sr_history verdict, const char *peer,
				 struct sr_err *err)
{
	enum sr_status rc = w ? sr_ds_token_check(w, &v->c.token, v->waited ? NULL : peer, err) : SR_OK;

	if (!w || rc != SR_OK || v->waited)
		return rc;
	w->reported = v->c.known;
	w->verdict = verdict;
	sr_ds_note_seen(w);
	sr_ds_protocol_agrees(w);
	return SR_OK;
}

#define ETAG_TEXT (SR_HASH_TEXT + 11)

/* The root, and what is told beside it: exclusions, limits, the datastore's start. */
static void etag_of(char out[ETAG_TEXT], const struct sr_hash *root, uint32_t settings)
{
	char text[SR_HASH_TEXT];

	sr_hash_text(text, root);
	snprintf(out, ETAG_TEXT, "\"%s-%08x\"", text, settings);
}

static bool nothing_new(const struct sr_datastore *d, const struct visit *v, const struct sr_uuid *push)
{
	char etag[ETAG_TEXT];

	if (!v->match || v->wants_key)
		return false;
	etag_of(etag, &d->shown.root, d->settings);
	if (strcmp(v->match, etag) != 0)
		return false;
	return !v->known_peer || (memcmp(&v->c.known, &d->shown, sizeof(d->shown)) == 0 && memcmp(&v->c.push, push, sizeof(*push)) == 0);
}

static void fill_stores(const struct sr_datastore *d, struct sr_tree_info *info)
{
	info->stores = sr_alloc((d->r->n + 1) * sizeof(*info->stores));
	info->n = d->r->n;
	for (size_t i = 0; i < d->r->n; i++) {
		const struct sr_replica_store *s = &d->r->stores[i]; /* name and kind never change */
		const struct sr_ds_store *shown = &d->stores[i];
		struct sr_tree_store *out = &info->stores[i];

		*out = (struct sr_tree_store){
			.name = sr_strdup(s->name), .kind = s->kind, .map = shown->map, .leaves = shown->leaves, .bytes = shown->bytes};
		out->epoch = shown->epoch;
		out->seq = shown->seq;
		out->approved_seq = sr_ds_approved_seq(d, i);
		out->operator_seq = d->approved_epoch == d->shown.epoch ? d->approved_seq : 0;
		out->paused = shown->mode == SR_MODE_READY ? NULL : sr_strdup(*shown->why ? shown->why : "not there yet");
		out->exclude = sr_alloc((shown->excludes + 1) * sizeof(*out->exclude));
		for (size_t k = 0; k < shown->excludes; k++)
			out->exclude[out->excludes++] = sr_strdup(shown->exclude[k]);
	}
}

static void fill(const struct sr_datastore *d, const struct visit *v, enum sr_history verdict, const struct sr_uuid *push,
		 struct sr_tree_info *info)
{
	*info = (struct sr_tree_info){.at = d->shown,
				      .node = d->r->node,
				      .start = d->start,
				      .push = *push,
				      .key_id = d->r->key.id,
				      .max_file = d->config->resource_max_size,
				      .has_key = v->wants_key,
				      .history = verdict};
	if (v->wants_key)
		memcpy(info->key, d->r->key.secret, sizeof(info->key));
	fill_stores(d, info);
}

static void reply_tree(struct sr_request *req, const struct sr_tree_info *info, uint32_t settings, const struct sr_buf *changes)
{
	struct sr_buf body = {0};
	char etag[ETAG_TEXT];

	etag_of(etag, &info->at.root, settings);
	sr_reply_header(req, "ETag", etag);
	sr_reply_header(req, "Cache-Control", "no-store");
	sr_tree_info_print(&body, info);
	if (changes->len) {
		sr_buf_byte(&body, 0);
		sr_buf_bytes(&body, sr_buf_view(changes));
	}
	sr_reply_bytes(req, 200, changes->len ? "application/octet-stream" : "application/json", sr_buf_view(&body));
	sr_buf_free(&body);
}

enum { WEBSERVERS, OTHERS }; /* who waits */

/* It has exchanged its token, and shows it; or has told who it is, where no exchange is known. */
static bool is_known(const struct sr_ds_webserver *w, const struct sr_check_in *c)
{
	return w && (w->token.n ? !sr_uuid_none(&c->token) : w->row.external_addr != NULL);
}

/* Waiting takes no worker, but a connection: webservers have half of them, so that rounds find one, and all others an eighth, of which none is a
 * webserver's. */
static bool is_room(struct sr_request *req, bool known)
{
	struct sr_server_counts counts;

	sr_server_counts(sr_request_server(req), &counts);
	return known ? counts.waiting[WEBSERVERS] < counts.most / 2 : counts.waiting[OTHERS] < (counts.most + 7) / 8;
}

/* Nothing is new: for how long may it wait for that?  0: no more.  A webserver waits once at a time: *other: its request of before is to be answered. */
static unsigned wait_ms(struct sr_datastore *d, struct visit *v, struct sr_ds_webserver *w, struct sr_request *req, bool *other)
{
	uint64_t most = w ? sr_ds_interval_of(d, w) : d->interval;
	bool known = is_known(w, &v->c);

	if (w && w->token.n && !known)
		w = NULL; /* whoever it is, it takes no webserver's place */
	if (!v->wait_s || sr_request_expired(req) || (v->waited && w && v->waited != w->waiting) || (!v->waited && !is_room(req, known)))
		return 0;
	if (!v->waited)
		sr_request_waits(req, known ? WEBSERVERS : OTHERS);
	if (!v->waited && w) {
		*other = w->waiting != 0;
		w->waiting = ++w->waits;
		w->waits_at = v->c.known;
		w->waits_push = v->c.push;
		w->waits_settings = d->settings;
	}
	if (!v->waited)
		sr_request_keep(req, v->waited = w ? w->waiting : UINT64_MAX);
	most = most < MOST_WAIT_S ? most : MOST_WAIT_S;
	return (unsigned)(v->wait_s < most ? v->wait_s : most) * 1000;
}

/* What is to be answered. */
struct verdict {
	enum sr_history history;
	bool same;
	unsigned wait_ms; /* 0: now */
	bool other;       /* wake who waits: one of them waits no more */
	uint32_t settings;
	struct sr_tree_info info;
	struct sr_buf changes;
};

/* Who waits for changes and pushed meanwhile has asked as of after that. */
static void follow_pushes(struct visit *v, const struct sr_ds_webserver *w)
{
	v->c.known = w->waits_at;
	v->c.push = w->waits_push;
}

/* And is there anything new to it?  What it pushed is known to it a moment before it is shown. */
static bool nothing_new_to(const struct sr_datastore *d, const struct sr_ds_webserver *w)
{
	const struct sr_anchor *at = &w->waits_at;

	return w->waits_settings == d->settings && !memcmp(&w->waits_push, &w->push, sizeof(w->push)) &&
	       !memcmp(&at->instance, &d->shown.instance, sizeof(at->instance)) && at->epoch == d->shown.epoch &&
	       (at->seq > d->shown.seq || !memcmp(at, &d->shown, sizeof(*at)));
}

static enum sr_status find_changes(const struct sr_datastore *d, const struct visit *v, struct sr_buf *out, struct sr_err *err)
{
	bool known = !v->changes || !memcmp(&v->c.known, &d->shown, sizeof(d->shown)) || sr_ds_changes_since(d, &v->c.known, out);

	return known || !v->since ? SR_OK : sr_err_set(err, SR_E_CHANGED, "what was changed since then is not known here any more: walk");
}

static enum sr_status judge(struct sr_datastore *d, struct visit *v, struct sr_request *req, struct verdict *out, struct sr_err *err)
{
	struct sr_ds_webserver *w = v->known_peer ? sr_ds_webserver(d, &v->c.node) : NULL;
	struct sr_uuid push = {0};
	bool waits = w && v->changes && v->waited && v->waited == w->waiting;
	enum sr_status rc;

	if (waits)
		follow_pushes(v, w);
	out->history = sr_ds_verdict(d, &v->c.known);
	out->settings = d->settings;
	rc = note_visit(v, w, out->history, sr_request_peer(req), err);
	if (w)
		push = w->push;
	out->same = rc == SR_OK && (waits ? nothing_new_to(d, w) : nothing_new(d, v, &push));
	if (rc == SR_OK && !out->same)
		rc = find_changes(d, v, &out->changes, err);
	if (out->same)
		out->wait_ms = wait_ms(d, v, w, req, &out->other);
	else if (rc == SR_OK)
		fill(d, v, out->history, &push, &out->info);
	if (w && v->waited == w->waiting && !out->wait_ms)
		w->waiting = 0;
	return rc;
}

static enum sr_status answer_visit(struct sr_datastore *d, struct sr_request *req, bool changes, struct sr_err *err)
{
	struct verdict verdict = {0};
	struct visit v;
	enum sr_status rc = sr_ds_protocol_check(d, req, err);

	if (rc == SR_OK)
		rc = read_visit(d, req, &v, err);
	if (rc == SR_OK && changes)
		rc = read_since(d, req, &v, err);
	if (rc != SR_OK)
		return rc;
	pthread_mutex_lock(&d->face);
	if (d->ready) {
		rc = judge(d, &v, req, &verdict, err);
	} else {
		rc = sr_err_set(err, SR_E_UNAVAILABLE, "%s", d->why);
		if (v.known_peer && !v.waited)
			sr_ds_note_early(d, &v.c);
	}
	pthread_mutex_unlock(&d->face);
	if (verdict.other)
		sr_server_wake(sr_request_server(req));
	if (rc != SR_OK)
		return rc;
	if (verdict.wait_ms)
		sr_request_park(req, verdict.wait_ms);
	else if (verdict.same)
		sr_reply_bytes(req, 304, NULL, sr_bytes(NULL, 0));
	else
		reply_tree(req, &verdict.info, verdict.settings, &verdict.changes);
	sr_buf_free(&verdict.changes);
	sr_tree_info_free(&verdict.info);
	explicit_bzero(verdict.info.key, sizeof(verdict.info.key));
	return SR_OK;
}

static enum sr_status get_tree(void *ctx, struct sr_request *req, struct sr_err *err)
{
	return answer_visit(ctx, req, false, err);
}

static enum sr_status get_changes(void *ctx, struct sr_request *req, struct sr_err *err)
{
	return answer_visit(ctx, req, true, err);
}

/* --- health --------------------------------------------------------------------------------------------------------- */

static enum sr_status healthz(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_err broken;

	if (sr_datastore_broken(ctx, &broken))
		return sr_err_set(err, SR_E_UNAVAILABLE, "state.db failed; restart");
	sr_reply_text(req, 200, "ok\n");
	return SR_OK;
}

static enum sr_status readyz(void *ctx, struct sr_request *req, struct sr_err *err)
{
	char why[256];

	if (!sr_datastore_ready(ctx, why)) /* the reason names paths: not for everyone */
		return sr_err_set(err, SR_E_UNAVAILABLE, "not ready");
	sr_reply_text(req, 200, "ready\n");
	return SR_OK;
}

/* --- all of them ---------------------------------------------------------------------------------------------------- */

static const struct sr_route routes[] = {
	{"GET", "/api/tree", get_tree, SR_ROUTE_QUICK, 0},
	{"GET", "/api/changes", get_changes, SR_ROUTE_QUICK, 0},
	{"POST", "/api/push", sr_ds_push_handler, 0, MOST_PUSH},
	{"DELETE", "/api/push/{}", sr_ds_settle_handler, 0, 0},
	{"GET", "/api/upload/{}", sr_ds_upload_get, 0, 0},
	{"PUT", "/api/upload/{}", sr_ds_upload_put, 0, MOST_PUSH},
	{"PUT", "/api/upload/{}/delta", sr_ds_upload_delta, 0, MOST_PUSH},
	{"GET", "/api/webservers", sr_ds_webservers_get, 0, 0},
	{"PUT", "/api/webservers/{}", sr_ds_webserver_put, 0, MOST_SMALL},
	{"DELETE", "/api/webservers/{}", sr_ds_webserver_delete, SR_ROUTE_ADMIN, 0},
	{"PUT", "/api/webservers/{}/conflicts", sr_ds_webserver_conflicts_put, 0, MOST_CONFLICTS},
	{"GET", "/api/conflicts", sr_ds_conflicts_get, 0, 0},
	{"PUT", "/api/webservers/{}/token", sr_ds_token_put, 0, MOST_SMALL},
	{"GET", "/api/admin/status", sr_ds_admin_status, SR_ROUTE_ADMIN, 0},
	{"GET", "/api/admin/backup", sr_ds_backup_handler, SR_ROUTE_ADMIN, 0},
	{"GET", "/api/admin/verify", sr_ds_verify_handler, SR_ROUTE_ADMIN, 0},
	{"POST", "/api/admin/repair", sr_ds_repair_handler, SR_ROUTE_ADMIN, SR_REPAIR_MOST},
	{"POST", "/api/admin/adopt", sr_ds_admin_adopt, SR_ROUTE_ADMIN, MOST_SMALL},
	{"POST", "/api/admin/restore", sr_ds_admin_restore, SR_ROUTE_ADMIN, MOST_SMALL},
	{"GET", "/api/log", sr_ds_log_get, 0, 0},
	{"GET", "/healthz", healthz, SR_ROUTE_QUICK | SR_ROUTE_OPEN | SR_ROUTE_LAST, 0},
	{"GET", "/readyz", readyz, SR_ROUTE_QUICK | SR_ROUTE_OPEN, 0},
};

const struct sr_route *sr_ds_routes(size_t *n)
{
	*n = sizeof(routes) / sizeof(routes[0]);
	return routes;
}
