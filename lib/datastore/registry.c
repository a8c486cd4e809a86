/* registry.c - the webservers: who they say they are, what they know, when they were seen.
 *
 * What they say (PUT) is kept in state.db; what is seen at a check-in stays in memory. */
#include "lib/datastore/internal.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/certificate.h"
#include "lib/replica/waiting.h"
#include "lib/state/conflict.h"
#include "lib/state/datastore_state.h"

#define PLACES_EACH     10 /* for those that are listed no more, of whom little is kept, to each of Max-Webservers */
#define MOST_BODY       65536
#define MOST_SECONDS    86400 /* of an interval */

static char *copy(const char *text)
{
	return text ? sr_strdup(text) : NULL;
}

/* Its strings are OWNED BY CALLER (free_row). */
static struct sr_webserver_row copy_row(const struct sr_webserver_row *row)
{
	struct sr_webserver_row out = *row;

	out.name = copy(row->name);
	out.external_addr = copy(row->external_addr);
	out.peer = copy(row->peer);
	out.version = copy(row->version);
	out.pin = copy(row->pin);
	out.status = copy(row->status);
	return out;
}

static void free_row(struct sr_webserver_row *row)
{
	free(row->name);
	free(row->external_addr);
	free(row->peer);
	free(row->version);
	free(row->pin);
	free(row->status);
}

static void free_webserver(struct sr_ds_webserver *w)
{
	free_row(&w->row);
	free(w->token.addr);
	free(w->token_peer);
	sr_ds_protocol_agrees(w);
	sr_ds_forget_clones(w);
}

/* Nobody's any more: it is not listed, and nothing hangs on it that would be missed if it came back. */
static bool is_vacant(const struct sr_ds_webserver *w)
{
	return !sr_ds_is_listed(w) && !w->refused && sr_uuid_none(&w->push) && sr_uuid_none(&w->token.token);
}

static struct sr_ds_webserver *add_place(struct sr_datastore *d)
{
	if (d->webservers_n >= PLACES_EACH * d->config->max_webservers)
		return NULL;
	if ((d->webservers_n & (d->webservers_n + 1)) == 0) /* full at 0, 1, 3, 7, ... */
		d->webservers = sr_realloc(d->webservers, (d->webservers_n * 2 + 1) * sizeof(*d->webservers));
	d->webservers[d->webservers_n] = (struct sr_ds_webserver){0};
	return &d->webservers[d->webservers_n++];
}

struct sr_ds_webserver *sr_ds_webserver(struct sr_datastore *d, const struct sr_uuid *uuid)
{
	struct sr_ds_webserver *place = NULL;
	size_t listed = 0;

	for (size_t i = 0; i < d->webservers_n; i++) {
		struct sr_ds_webserver *w = &d->webservers[i];

		if (memcmp(&w->row.uuid, uuid, sizeof(*uuid)) == 0)
			return w;
		listed += sr_ds_is_listed(w);
		if (!place && is_vacant(w))
			place = w;
	}
	if (listed >= d->config->max_webservers) /* a check-in may name any UUID: do not let that fill the memory */
		return NULL;
	if (!place && !(place = add_place(d)))
		return NULL;
	free_webserver(place);
	*place = (struct sr_ds_webserver){.row.uuid = *uuid};
	return place;
}

void sr_ds_note_push(struct sr_ds_push *p, const struct sr_anchor *before)
{
	struct sr_datastore *d = p->d;
	struct sr_ds_webserver *w;

	if (sr_ds_is_edit(p))
		return;
	pthread_mutex_lock(&d->face);
	w = sr_ds_webserver(d, &p->head.webserver);
	if (w) {
		if (before && !memcmp(&w->waits_at, before, sizeof(*before)) && !memcmp(&w->waits_push, &p->head.prev, sizeof(p->head.prev))) {
			w->waits_at = d->at;
			w->waits_push = p->head.id;
		}
		w->push = p->head.id;
		sr_ds_note_seen(w); /* a long round is no absence */
	}
	pthread_mutex_unlock(&d->face);
}

/* Nothing is answered yet, and who is a copy of whom is seen later. */
void sr_ds_note_early(struct sr_datastore *d, const struct sr_check_in *c)
{
	struct sr_ds_webserver *w = d->unfounded && !sr_uuid_none(&c->known.instance) ? sr_ds_webserver(d, &c->node) : NULL;

	if (!w)
		return;
	w->reported = c->known;
	w->verdict = SR_HISTORY_FOREIGN;
	sr_ds_note_seen(w);
}

/* --- load ---------------------------------------------------------------------------------------------------------- */

static enum sr_status load_row(void *ctx, const struct sr_webserver_row *row, struct sr_err *err)
{
	struct sr_ds_webserver *w = sr_ds_webserver(ctx, &row->uuid);

	(void)err;
	if (!w)
		return SR_OK;
	w->row = copy_row(row);
	w->kept_ms = row->seen_ms;
	if (!w->row.seen_ms) /* an earlier version listed it for ever: its days begin now */
		w->row.seen_ms = sr_now_ms();
	return SR_OK;
}

static enum sr_status load_push(void *ctx, const struct sr_uuid *webserver, const struct sr_uuid *id, struct sr_err *err)
{
	struct sr_ds_webserver *w = sr_ds_webserver(ctx, webserver);

	(void)err;
	if (w)
		w->push = *id;
	return SR_OK;
}

static bool holds_something(const struct sr_webserver_row *row)
{
	json_t *status = row->status ? json_loads(row->status, 0, NULL) : NULL;
	bool holds = json_array_size(json_object_get(status, "held")) > 0;

	json_decref(status);
	return holds;
}

/* What is held here of their deletions outlived the start; whose they are, they have told. */
static void load_refused(struct sr_datastore *d)
{
	bool held = false;

	for (size_t i = 0; i < d->r->n; i++)
		held |= sr_ledger_holds_way(d->ledger, d->r->stores[i].name, SR_WAY_RECEIVE);
	for (size_t i = 0; i < d->webservers_n; i++)
		d->webservers[i].refused = held && holds_something(&d->webservers[i].row);
}

enum sr_status sr_ds_registry_load(struct sr_datastore *d, struct sr_err *err)
{
	enum sr_status rc = sr_state_webservers(d->r->state, load_row, d, err);

	if (rc == SR_OK)
		rc = sr_state_conflicts_sweep(d->r->state, err);
	if (rc == SR_OK)
		load_refused(d);
	if (rc == SR_OK)
		rc = sr_state_last_pushes(d->r->state, load_push, d, err);
	return rc == SR_OK ? sr_ds_tokens_load(d, err) : rc;
}

void sr_ds_registry_free(struct sr_datastore *d)
{
	for (size_t i = 0; i < d->webservers_n; i++)
		free_webserver(&d->webservers[i]);
	free(d->webservers);
}

/* --- GET /api/webservers ------------------------------------------------------------------------------------------- */

static json_t *text_or_null(const char *text)
{
	return text ? json_string(text) : json_null();
}

static json_t *seen_json(int64_t ms)
{
	time_t s = (time_t)(ms / 1000);
	char text[32];
	struct tm tm;

	if (!ms || !gmtime_r(&s, &tm) || !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
		return json_null();
	return json_string(text);
}

/* Seconds since the datastore went beyond what the webserver last reported, or since it has not had all of it by its own word, whichever is longer: what it
 * reports is the root that it knows, which a store that is paused there keeps from nobody.  null: neither is known. */
static json_t *lag_json(const struct sr_datastore *d, const struct sr_ds_webserver *w, const json_t *status)
{
	int64_t behind = json_integer_value(json_object_get(status, "behind_since_ms")), passed = 0;

	if (!sr_uuid_none(&w->reported.instance) && w->verdict <= SR_HISTORY_UNION)
		passed = sr_ds_passed_ms(d, w->reported.epoch, w->reported.seq);
	else if (!behind)
		return json_null();
	if (behind && (!passed || behind < passed))
		passed = behind;
	return json_integer(passed && passed < sr_now_ms() ? (sr_now_ms() - passed) / 1000 : 0);
}

static const char *known_as(const struct sr_ds_webserver *w, bool shared)
{
	return shared && w->row.external_addr ? w->row.external_addr : w->row.name;
}

const char *sr_ds_webserver_name(const struct sr_datastore *d, const struct sr_ds_webserver *w)
{
	bool shared = false;

	for (size_t i = 0; w->row.name && !shared && i < d->webservers_n; i++) {
		const struct sr_ds_webserver *other = &d->webservers[i];

		shared = other != w && sr_ds_is_listed(other) && other->row.name && !strcmp(other->row.name, w->row.name);
	}
	return known_as(w, shared);
}

static int by_name(const void *a, const void *b)
{
	const struct sr_ds_listed *x = a, *y = b;

	return strcmp(x->w->row.name ? x->w->row.name : "", y->w->row.name ? y->w->row.name : "");
}

static int by_place(const void *a, const void *b)
{
	const struct sr_ds_listed *x = a, *y = b;

	return (x->w > y->w) - (x->w < y->w);
}

struct sr_ds_listed *sr_ds_listed(const struct sr_datastore *d, size_t *n)
{
	struct sr_ds_listed *list = sr_alloc((d->webservers_n + 1) * sizeof *list);

	*n = 0;
	for (size_t i = 0; i < d->webservers_n; i++)
		if (sr_ds_is_listed(&d->webservers[i]))
			list[(*n)++].w = &d->webservers[i];
	qsort(list, *n, sizeof *list, by_name);
	for (size_t i = 0; i < *n; i++)
		list[i].name = known_as(list[i].w, (i > 0 && !by_name(&list[i - 1], &list[i])) || (i + 1 < *n && !by_name(&list[i], &list[i + 1])));
	qsort(list, *n, sizeof *list, by_place);
	return list;
}

static json_int_t unseen_s(const struct sr_ds_webserver *w)
{
	int64_t ms = sr_now_ms() - w->row.seen_ms;

	return ms > 0 ? ms / 1000 : 0;
}

static json_t *webserver_json(const struct sr_datastore *d, const struct sr_ds_webserver *w, const char *name)
{
	char uuid[SR_UUID_TEXT], instance[SR_UUID_TEXT], root[SR_HASH_TEXT];
	json_t *o = json_object(), *status;
	char *clone = sr_ds_clone(d, w), *refused = sr_ds_refused(d, w);

	sr_uuid_text(uuid, &w->row.uuid);
	sr_hash_text(root, &w->reported.root);
	json_object_set_new(o, "uuid", json_string(uuid));
	json_object_set_new(o, "name", text_or_null(name));
	json_object_set_new(o, "external_addr", text_or_null(w->row.external_addr));
	json_object_set_new(o, "sync_port", json_integer(w->row.sync_port));
	json_object_set_new(o, "version", text_or_null(w->row.version));
	json_object_set_new(o, "pin", text_or_null(w->row.pin));
	json_object_set_new(o, "peer", text_or_null(w->row.peer));
	sr_uuid_text(instance, &w->reported.instance);
	json_object_set_new(o, "instance", sr_uuid_none(&w->reported.instance) ? json_null() : json_string(instance));
	json_object_set_new(o, "epoch", json_integer((json_int_t)w->reported.epoch));
	json_object_set_new(o, "seq", json_integer((json_int_t)w->reported.seq));
	json_object_set_new(o, "root", sr_hash_none(&w->reported.root) ? json_null() : json_string(root));
	json_object_set_new(o, "history", w->row.seen_ms ? json_string(sr_history_text(w->verdict)) : json_null());
	json_object_set_new(o, "clone", text_or_null(clone));
	free(clone);
	json_object_set_new(o, "refused", text_or_null(refused));
	free(refused);
	json_object_set_new(o, "seen", seen_json(w->row.seen_ms));
	json_object_set_new(o, "unseen", w->row.seen_ms ? json_integer(unseen_s(w)) : json_null());
	json_object_set_new(o, "interval", json_integer((json_int_t)sr_ds_interval_of(d, w)));
	json_object_set_new(o, "stale", json_boolean(sr_ds_is_stale(d, w)));
	status = w->row.status ? json_loads(w->row.status, 0, NULL) : NULL;
	json_object_set_new(o, "lag", lag_json(d, w, status));
	json_object_set_new(o, "status", status ? status : json_null());
	return o;
}

json_t *sr_ds_webservers_json(struct sr_datastore *d)
{
	json_t *list = json_array();
	struct sr_ds_listed *all;
	size_t n;

	pthread_mutex_lock(&d->face);
	all = sr_ds_listed(d, &n);
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, webserver_json(d, all[i].w, all[i].name));
	pthread_mutex_unlock(&d->face);
	free(all);
	return list;
}

enum sr_status sr_ds_ask_registry(void *ctx, struct sr_buf *out, struct sr_err *err)
{
	json_t *list = sr_ds_webservers_json(ctx);
	char *text = json_dumps(list, JSON_COMPACT);

	json_decref(list);
	if (!text)
		return sr_err_set(err, SR_E_INTERNAL, "the registry cannot be told");
	sr_buf_bytes(out, sr_bytes_of(text));
	free(text);
	return SR_OK;
}

enum sr_status sr_ds_webservers_get(void *ctx, struct sr_request *req, struct sr_err *err)
{
	(void)err;
	sr_ds_reply_json(req, 200, sr_ds_webservers_json(ctx));
	return SR_OK;
}

/* --- PUT /api/webservers/{} ---------------------------------------------------------------------------------------- */

struct told { /* what one is after a PUT: taken from the row as it was, changed, and put in its place when all of it was good and is kept */
	struct sr_webserver_row row; /* strings OWNED */
	struct sr_uuid starts[SR_STARTS_TOLD];
	size_t starts_n;
	uint64_t interval;
};

/* Replaces *out when the field is there.  false: it is no text, or no good one. */
static bool take_text(const json_t *o, const char *name, char **out)
{
	const json_t *v = json_object_get(o, name);
	const char *text = json_string_value(v);

	if (!v || json_is_null(v))
		return true;
	if (!text || strlen(text) > 1000)
		return false;
	for (const char *at = text; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 127)
			return false;
	free(*out);
	*out = sr_strdup(text);
	return true;
}

/* null says that there is no key (any more), and is not the same as nothing said. */
static bool take_pin(const json_t *o, char **out)
{
	const json_t *v = json_object_get(o, "pin");

	if (json_is_null(v)) {
		free(*out);
		*out = NULL;
		return true;
	}
	return !v || (json_is_string(v) && sr_pin_valid(json_string_value(v)) && take_text(o, "pin", out));
}

static bool take_row(const json_t *o, struct sr_webserver_row *row)
{
	const json_t *port = json_object_get(o, "sync_port"), *status = json_object_get(o, "status");

	if (!json_is_object(o) || !take_text(o, "name", &row->name) || !take_text(o, "external_addr", &row->external_addr) ||
	    !take_text(o, "version", &row->version) || !take_pin(o, &row->pin))
		return false;
	if (port) {
		if (!json_is_integer(port) || json_integer_value(port) < 0 || json_integer_value(port) > 65535)
			return false;
		row->sync_port = (unsigned)json_integer_value(port);
	}
	if (status && !json_is_object(status))
		return false;
	if (status) {
		free(row->status);
		row->status = json_dumps(status, JSON_COMPACT);
	}
	return !status || row->status;
}

static bool take_interval(const json_t *o, struct told *t)
{
	const json_t *v = json_object_get(o, "interval");

	if (v && (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > MOST_SECONDS))
		return false;
	if (v)
		t->interval = (uint64_t)json_integer_value(v);
	return true;
}

/* Of one that is held; else none are told. */
static bool take_starts(const json_t *o, struct told *t)
{
	const json_t *list = json_object_get(o, "starts");

	t->starts_n = json_array_size(list);
	if ((list && !json_is_array(list)) || t->starts_n > SR_STARTS_TOLD)
		return false;
	for (size_t k = 0; k < t->starts_n; k++) {
		const char *text = json_string_value(json_array_get(list, k));

		if (!text || !sr_ds_parse_uuid(text, &t->starts[k]))
			return false;
	}
	return true;
}

static bool any_refused(struct sr_datastore *d)
{
	bool any = false;

	pthread_mutex_lock(&d->face);
	for (size_t i = 0; i < d->webservers_n; i++)
		any |= d->webservers[i].refused;
	pthread_mutex_unlock(&d->face);
	return any;
}

void sr_ds_note_refused(struct sr_ds_push *p)
{
	struct sr_ds_webserver *w;

	if (sr_ds_is_edit(p))
		return;
	pthread_mutex_lock(&p->d->face);
	w = sr_ds_webserver(p->d, &p->head.webserver);
	if (w)
		w->refused = true;
	pthread_mutex_unlock(&p->d->face);
}

/* SR_E_LIMIT: there is no room for one more.  Takes face. */
static enum sr_status begin_told(struct sr_datastore *d, const struct sr_uuid *uuid, struct told *t, struct sr_err *err)
{
	struct sr_ds_webserver *w;

	pthread_mutex_lock(&d->face);
	w = sr_ds_webserver(d, uuid);
	if (w) {
		t->row = copy_row(&w->row);
		t->row.epoch = w->reported.epoch;
		t->row.seq = w->reported.seq;
		t->row.root = w->reported.root;
		t->row.seen_ms = sr_now_ms();
		t->interval = w->interval;
	}
	pthread_mutex_unlock(&d->face);
	return w ? SR_OK : sr_err_set(err, SR_E_LIMIT, "more webservers than Max-Webservers, %" PRIu64, d->config->max_webservers);
}

static enum sr_status take_told(const json_t *o, const char *peer, struct told *t, struct sr_err *err)
{
	if (!take_row(o, &t->row) || !take_starts(o, t) || !take_interval(o, t))
		return sr_err_set(err, SR_E_DATA,
				  "a webserver is {\"name\", \"external_addr\", \"sync_port\", \"version\", \"pin\", \"interval\", \"starts\", \"status\"}");
	if (json_object_get(o, "status") && strlen(t->row.status) > SR_STATUS_MOST)
		return sr_err_set(err, SR_E_LIMIT, "the status has %zu bytes, and %d are kept at most of one: tell less", strlen(t->row.status),
				  SR_STATUS_MOST);
	free(t->row.peer);
	t->row.peer = sr_strdup(peer);
	return SR_OK;
}

/* With face held.  What it was before is in *t then. */
static void put_told(struct sr_ds_webserver *w, struct told *t)
{
	struct sr_webserver_row old = w->row;

	w->row = t->row;
	t->row = old;
	w->kept_ms = w->row.seen_ms;
	sr_ds_note_seen(w); /* also who never checks in is stale in time, and trimmed */
	memcpy(w->starts, t->starts, sizeof w->starts);
	w->starts_n = t->starts_n;
	w->interval = t->interval;
	w->refused &= holds_something(&w->row);
}

static enum sr_status put_row(struct sr_datastore *d, const struct sr_uuid *uuid, const json_t *o, const char *peer, struct sr_err *err)
{
	struct told t = {0};
	struct sr_ds_webserver *w;
	bool was_refused = any_refused(d), let_go;
	enum sr_status rc;

	pthread_mutex_lock(&d->writer); /* only with it are texts of rows changed */
	rc = begin_told(d, uuid, &t, err);
	if (rc == SR_OK)
		rc = take_told(o, peer, &t, err);
	if (rc == SR_OK)
		rc = sr_state_webserver_put(d->r->state, &t.row, err);
	if (rc == SR_OK) {
		pthread_mutex_lock(&d->face);
		w = sr_ds_webserver(d, uuid);
		if (w) /* else its place, which was nobody's yet, was taken by the last one that there is room for */
			put_told(w, &t);
		pthread_mutex_unlock(&d->face);
	}
	let_go = was_refused && rc == SR_OK && !any_refused(d);
	if (let_go)
		sr_ledger_let_go(d->ledger, SR_WAY_RECEIVE);
	pthread_mutex_unlock(&d->writer);
	if (let_go)
		sr_datastore_scan_now(d); /* the status is made anew */
	free_row(&t.row);
	return rc;
}

enum sr_status sr_ds_webserver_tell(struct sr_datastore *d, const struct sr_uuid *uuid, struct sr_bytes json, const char *peer, struct sr_err *err)
{
	json_t *o = json_loadb((const char *)json.at, json.len, JSON_REJECT_DUPLICATES, NULL);
	enum sr_status rc = o ? put_row(d, uuid, o, peer, err) : sr_err_set(err, SR_E_DATA, "the body is not JSON");

	json_decref(o);
	return rc;
}

enum sr_status sr_ds_webserver_put(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_buf body = {0};
	struct sr_uuid uuid;
	enum sr_status rc = sr_request_read_all(req, &body, MOST_BODY, err);

	if (rc == SR_OK)
		rc = sr_ds_webserver_uuid(ctx, sr_request_arg_text(req, 0), &uuid, err);
	if (rc == SR_OK)
		rc = sr_ds_webserver_tell(ctx, &uuid, sr_buf_view(&body), sr_request_peer(req), err);
	if (rc == SR_E_FULL)
		sr_ds_note_full(ctx, err->text);
	sr_buf_free(&body);
	if (rc == SR_OK)
		sr_reply_bytes(req, 204, NULL, sr_bytes(NULL, 0));
	return rc;
}
