/* journal.c - one moment of the datastore's past and present, and GET /api/log on it.
 *
 *   GET /api/log?path=P&since=MS&limit=N: {"entries": [...], "more": BOOL, "first": {"seq": N, "at_ms": MS, "trimmed": BOOL} or null}, the newest
 * entry first: {"epoch", "seq", "at_ms", "path", "kind", "what": "created", "changed" or "deleted", "webserver": UUID or null, "by": its name,
 * "restore" or "datastore", "bytes", "kept": "current", "yes" or "no"}. */
#include "lib/datastore/internal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_LIMIT 100
#define LOG_MOST  100000

/* --- one moment ----------------------------------------------------------------------------------------------------- */

static void hold(struct sr_ds_past *p, bool on)
{
	struct sr_replica *r = p->d->r;

	sr_replica_write_lock(r);
	for (size_t i = 0; i < r->n; i++) {
		if (on)
			sr_nodes_hold(r->nodes, &p->maps[i]);
		else
			sr_nodes_release(r->nodes, &p->maps[i]);
	}
	sr_replica_unlock(r);
}

static enum sr_status read_since(struct sr_ds_past *p, struct sr_err *err)
{
	struct sr_buf buf = {0};
	bool found = false;
	enum sr_status rc = sr_state_get(p->state, SR_DS_META_SINCE, &buf, &found, err);

	if (rc == SR_OK && found) {
		struct sr_reader in = sr_reader(sr_buf_view(&buf));

		p->since.at_ms = (int64_t)sr_read_be64(&in);
		p->since.epoch = sr_read_be64(&in);
		p->since.seq = sr_read_be64(&in);
	}
	sr_buf_free(&buf);
	return rc;
}

/* A snapshot begins with the first row that is read. */
static enum sr_status begin_reading(struct sr_ds_past *p, struct sr_err *err)
{
	enum sr_status rc = sr_state_reader(&p->state, p->d->config->datastore_state_directory, err);

	if (rc == SR_OK)
		rc = sr_state_begin(p->state, err);
	if (rc == SR_OK)
		rc = read_since(p, err);
	return rc == SR_OK ? sr_state_journal_first(p->state, &p->first, &p->trimmed, &p->any, err) : rc;
}

enum sr_status sr_ds_past_open(struct sr_ds_past *p, struct sr_datastore *d, struct sr_err *err)
{
	char why[256];
	enum sr_status rc;

	*p = (struct sr_ds_past){.d = d};
	if (!sr_datastore_ready(d, why))
		return sr_err_set(err, SR_E_UNAVAILABLE, "%s", why);
	p->maps = sr_alloc((d->r->n + 1) * sizeof *p->maps);
	pthread_mutex_lock(&d->writer);
	p->at = d->at;
	for (size_t i = 0; i < d->r->n; i++)
		p->maps[i] = d->r->stores[i].map;
	hold(p, true);
	rc = begin_reading(p, err);
	pthread_mutex_unlock(&d->writer);
	if (rc != SR_OK)
		sr_ds_past_close(p);
	return rc;
}

void sr_ds_past_close(struct sr_ds_past *p)
{
	if (p->maps)
		hold(p, false);
	sr_state_close(p->state);
	free(p->maps);
	p->maps = NULL;
	p->state = NULL;
}

enum sr_status sr_ds_past_now(struct sr_ds_past *p, size_t i, struct sr_bytes path, struct sr_version *out, struct sr_err *err)
{
	struct sr_replica *r = p->d->r;
	enum sr_status rc;

	sr_replica_read_lock(r);
	rc = sr_store_get(r->nodes, r->stores[i].kind, &p->maps[i], path, out, err);
	sr_replica_unlock(r);
	return rc;
}

/* Equal rows: however many there are or were, it is the same record. */
static enum sr_status is_there(struct sr_ds_past *p, size_t i, struct sr_bytes path, const struct sr_version *version, bool *out,
			       struct sr_err *err)
{
	struct sr_version now = {0};
	enum sr_status rc = SR_OK;

	if (version->kind == SR_KIND_ROW && sr_path_is_bag(path))
		rc = sr_ds_past_now(p, i, path, &now, err);
	*out = now.kind == SR_KIND_ROW && sr_hash_eq(&now.hash, &version->hash);
	return rc;
}

enum sr_status sr_ds_past_kept(struct sr_ds_past *p, size_t i, struct sr_bytes path, const struct sr_version *version, bool *out,
			       struct sr_err *err)
{
	char name[SR_HASH_TEXT];
	enum sr_status rc;
	int dir;

	*out = true;
	if (version->kind != SR_KIND_FILE && version->kind != SR_KIND_ROW)
		return SR_OK;
	rc = is_there(p, i, path, version, out, err);
	if (rc != SR_OK || *out)
		return rc;
	rc = sr_state_replaced_has(p->state, &version->hash, out, err);
	if (rc != SR_OK || !*out || version->kind == SR_KIND_ROW)
		return rc;
	sr_hash_text(name, &version->hash);
	dir = sr_ds_kept_dir(p->d, i, false);
	*out = dir >= 0 && faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	if (dir >= 0)
		close(dir);
	return SR_OK;
}

/* --- a place -------------------------------------------------------------------------------------------------------- */

enum sr_status sr_ds_place(struct sr_ds_place *out, struct sr_datastore *d, struct sr_bytes text, struct sr_err *err)
{
	const uint8_t *nul;
	enum sr_status rc;

	*out = (struct sr_ds_place){0};
	rc = sr_place_parse(d->r, text, &out->s, &out->i, &out->path, err);
	nul = rc == SR_OK && out->s && out->s->kind == SR_KIND_DATABASE && out->path.len ? memchr(out->path.at, 0, out->path.len) : NULL;
	if (!nul)
		return rc;
	out->path.len = (size_t)(nul - out->path.at);
	while (text.len && text.at[text.len - 1] == '/')
		text.len--;
	out->row = sr_text(text);
	return SR_OK;
}

void sr_ds_place_free(struct sr_ds_place *p)
{
	sr_buf_free(&p->path);
	free(p->row);
	p->row = NULL;
}

bool sr_ds_place_has(const struct sr_ds_place *p, struct sr_bytes path)
{
	struct sr_buf text = {0};
	bool yes;

	if (!p->row)
		return true;
	sr_leaf_path_text(&text, p->s->name, p->s->kind, path);
	yes = strcmp(sr_buf_text(&text), p->row) == 0;
	sr_buf_free(&text);
	return yes;
}

struct sought {
	const struct sr_ds_place *place;
	bool met;
};

static enum sr_status find_row(void *ctx, const struct sr_leaf_row *row, struct sr_err *err)
{
	struct sought *w = ctx;

	(void)err;
	if (row->local.kind == SR_KIND_NONE || !sr_path_under(row->path, sr_buf_view(&w->place->path)))
		return SR_OK;
	w->met = sr_ds_place_has(w->place, row->path);
	return w->met ? SR_E_LIMIT : SR_OK; /* enough */
}

enum sr_status sr_ds_past_there(struct sr_ds_past *p, const struct sr_ds_place *place, bool *out, struct sr_err *err)
{
	struct sought w = {.place = place};
	struct sr_version now;
	enum sr_status rc = sr_ds_past_now(p, place->i, sr_buf_view(&place->path), &now, err);

	*out = rc == SR_OK && now.kind != SR_KIND_NONE && !place->row;
	if (rc != SR_OK || now.kind == SR_KIND_NONE || !place->row)
		return rc;
	rc = sr_state_leaves(p->state, &place->s->row, false, find_row, &w, err);
	*out = w.met;
	return w.met ? SR_OK : rc;
}

/* --- GET /api/log --------------------------------------------------------------------------------------------------- */

struct listing {
	struct sr_ds_past past;
	struct sr_ds_place place;
	json_t *entries;
	uint64_t limit;
	bool more;
};

static json_t *who(struct sr_datastore *d, const struct sr_uuid *uuid)
{
	json_t *name = NULL;
	char text[SR_UUID_TEXT];

	if (sr_uuid_none(uuid))
		return json_string("datastore");
	if (memcmp(uuid, &d->r->node, sizeof *uuid) == 0)
		return json_string("restore");
	pthread_mutex_lock(&d->face);
	for (size_t i = 0; i < d->webservers_n && !name; i++)
		if (memcmp(&d->webservers[i].row.uuid, uuid, sizeof *uuid) == 0 && d->webservers[i].row.name)
			name = json_string(sr_ds_webserver_name(d, &d->webservers[i]));
	pthread_mutex_unlock(&d->face);
	sr_uuid_text(text, uuid);
	return name ? name : json_string(text);
}

static const char *kind_word(const struct sr_journal_row *row)
{
	static const char *const words[] = {"-", "file", "dir", "row", "table", "-", "-"};

	return words[row->to.kind ? row->to.kind : row->from.kind];
}

/* Of a deletion, what was deleted is meant. */
static enum sr_status kept_word(struct listing *l, size_t i, const struct sr_journal_row *row, const char **out, struct sr_err *err)
{
	const struct sr_version *what = row->to.kind ? &row->to : &row->from;
	struct sr_version now;
	bool kept;
	enum sr_status rc = sr_ds_past_now(&l->past, i, row->path, &now, err);

	if (rc == SR_OK && sr_version_eq(&now, what)) {
		*out = "current";
		return SR_OK;
	}
	if (rc == SR_OK)
		rc = sr_ds_past_kept(&l->past, i, row->path, what, &kept, err);
	if (rc == SR_OK)
		*out = kept ? "yes" : "no";
	return rc;
}

/* Without "kept". */
static json_t *row_json(struct sr_datastore *d, const struct sr_journal_row *row)
{
	const struct sr_replica_store *s = sr_replica_find(d->r, sr_bytes_of(row->store), NULL);
	const struct sr_version *what = row->to.kind ? &row->to : &row->from;
	struct sr_buf path = {0};
	char uuid[SR_UUID_TEXT];
	json_t *o = json_object();

	sr_leaf_path_text(&path, row->store, s ? s->kind : SR_KIND_FILES, row->path);
	sr_uuid_text(uuid, &row->webserver);
	json_object_set_new(o, "epoch", json_integer((json_int_t)row->epoch));
	json_object_set_new(o, "seq", json_integer((json_int_t)row->seq));
	json_object_set_new(o, "at_ms", json_integer((json_int_t)row->at_ms));
	json_object_set_new(o, "path", json_string(sr_buf_text(&path)));
	json_object_set_new(o, "kind", json_string(kind_word(row)));
	json_object_set_new(o, "what", json_string(!row->from.kind ? "created" : row->to.kind ? "changed" : "deleted"));
	json_object_set_new(o, "webserver", sr_uuid_none(&row->webserver) ? json_null() : json_string(uuid));
	json_object_set_new(o, "by", who(d, &row->webserver));
	json_object_set_new(o, "bytes", json_integer((json_int_t)what->bytes));
	sr_buf_free(&path);
	return o;
}

static enum sr_status list_row(void *ctx, const struct sr_journal_row *row, struct sr_err *err)
{
	struct listing *l = ctx;
	const char *kept = "no";
	json_t *o;
	size_t i;
	enum sr_status rc = SR_OK;

	if (!sr_ds_place_has(&l->place, row->path))
		return SR_OK;
	l->more = json_array_size(l->entries) == l->limit;
	if (l->more)
		return SR_E_LIMIT; /* it ends the listing, and is none */
	if (sr_replica_find(l->past.d->r, sr_bytes_of(row->store), &i))
		rc = kept_word(l, i, row, &kept, err);
	if (rc != SR_OK)
		return rc;
	o = row_json(l->past.d, row);
	json_object_set_new(o, "kept", json_string(kept));
	json_array_append_new(l->entries, o);
	return SR_OK;
}

static json_t *first_json(const struct sr_ds_past *p)
{
	json_t *o = p->any ? json_object() : json_null();

	if (p->any) {
		json_object_set_new(o, "seq", json_integer((json_int_t)p->first.seq));
		json_object_set_new(o, "at_ms", json_integer((json_int_t)p->first.at_ms));
		json_object_set_new(o, "trimmed", json_boolean(p->trimmed));
	}
	return o;
}

static bool query_number(struct sr_request *req, const char *name, uint64_t otherwise, uint64_t *out)
{
	const char *text = sr_request_query_text(req, name);
	char end;

	*out = otherwise;
	return !text || (*text >= '0' && *text <= '9' && strlen(text) < 19 && sscanf(text, "%" SCNu64 "%c", out, &end) == 1);
}

static enum sr_status any_row(void *ctx, const struct sr_journal_row *row, struct sr_err *err)
{
	struct sought *w = ctx;

	(void)err;
	w->met = sr_ds_place_has(w->place, row->path);
	return w->met ? SR_E_LIMIT : SR_OK; /* enough */
}

/* A list of nothing is the answer for what is there, or was: a name that never was is a mistake. */
static enum sr_status demand_known(struct listing *l, struct sr_err *err)
{
	const struct sr_ds_place *p = &l->place;
	struct sought was = {.place = p};
	bool there = false;
	enum sr_status rc;

	if (!p->s || !p->path.len || json_array_size(l->entries))
		return SR_OK;
	rc = sr_ds_past_there(&l->past, p, &there, err);
	if (rc != SR_OK || there)
		return rc;
	rc = sr_state_journal_back(l->past.state, p->s->name, sr_buf_view(&p->path), 0, INT64_MAX, any_row, &was, err);
	if (was.met)
		return SR_OK;
	return rc != SR_OK ? rc : sr_err_set(err, SR_E_NOTFOUND, "there is no such path in store %s, nor was there one in its history", p->s->name);
}

static enum sr_status list(struct listing *l, uint64_t since_ms, struct sr_request *req, struct sr_err *err)
{
	const struct sr_ds_place *p = &l->place;
	json_t *o;
	enum sr_status rc = sr_state_journal_back(l->past.state, p->s ? p->s->name : NULL, sr_buf_view(&p->path), (int64_t)since_ms, INT64_MAX,
						  list_row, l, err);

	if (rc == SR_OK)
		rc = demand_known(l, err);
	if (rc != SR_OK && !l->more)
		return rc;
	o = json_object();
	json_object_set(o, "entries", l->entries);
	json_object_set_new(o, "more", json_boolean(l->more));
	json_object_set_new(o, "first", first_json(&l->past));
	sr_ds_reply_json(req, 200, o);
	return SR_OK;
}

enum sr_status sr_ds_log_get(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_datastore *d = ctx;
	struct listing l = {.entries = json_array()};
	struct sr_bytes text = {0};
	uint64_t since_ms;
	enum sr_status rc = SR_OK;

	(void)sr_request_query(req, "path", &text);
	if (!query_number(req, "since", 0, &since_ms) || !query_number(req, "limit", LOG_LIMIT, &l.limit) || l.limit > LOG_MOST)
		rc = sr_err_set(err, SR_E_DATA, "since is milliseconds since 1970, limit at most %d", LOG_MOST);
	if (rc == SR_OK)
		rc = sr_ds_past_open(&l.past, d, err);
	if (rc == SR_OK) {
		rc = sr_ds_place(&l.place, d, text, err);
		if (rc == SR_OK)
			rc = list(&l, since_ms, req, err);
		sr_ds_past_close(&l.past);
	}
	sr_ds_place_free(&l.place);
	json_decref(l.entries);
	return rc;
}

/* --- the newest ----------------------------------------------------------------------------------------------------- */

struct newest {
	struct sr_datastore *d;
	json_t *entries;
};

static enum sr_status add_newest(void *ctx, const struct sr_journal_row *row, struct sr_err *err)
{
	struct newest *n = ctx;

	(void)err;
	json_array_append_new(n->entries, row_json(n->d, row));
	return SR_OK;
}

enum sr_status sr_ds_newest_json(struct sr_datastore *d, size_t most, json_t **out, struct sr_err *err)
{
	struct newest n = {.d = d, .entries = json_array()};
	struct sr_state *state = NULL;
	enum sr_status rc = sr_state_reader(&state, d->config->datastore_state_directory, err);

	if (rc == SR_OK)
		rc = sr_state_journal_back(state, NULL, sr_bytes(NULL, 0), 0, most, add_newest, &n, err);
	sr_state_close(state);
	if (rc == SR_OK)
		*out = n.entries;
	else
		json_decref(n.entries);
	return rc;
}
