/* conflicts.c - the conflict archives: the datastore's own, whose versions come back as edits of its own, and what its webservers tell of theirs. */
#include "lib/datastore/internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/json.h"
#include "lib/replica/conflict.h"
#include "lib/replica/report.h"
#include "lib/state/conflict.h"

#define MOST_VALUES 100000 /* of JSON, in one request: three times what 2000 entries have */

/* --- restoring ------------------------------------------------------------------------------------------------------ */

/* One commit, of all stores. */
static enum sr_status edit(void *ctx, struct sr_leaves *const *leaves, struct sr_err *err)
{
	struct sr_ds_push *p = ctx;
	enum sr_status rc = SR_OK;
	bool any = false;

	for (size_t i = 0; i < p->d->r->n; i++)
		for (size_t k = 0; rc == SR_OK && leaves[i] && k < sr_leaves_count(leaves[i]); k++) {
			struct sr_leaf leaf;

			rc = sr_leaves_at(leaves[i], k, &leaf, err);
			if (rc == SR_OK)
				rc = sr_ds_edit_add(p, i, &leaf, err);
			any = true;
		}
	return rc == SR_OK && any ? sr_ds_edit_commit(p, true, err) : rc;
}

enum sr_status sr_ds_conflicts_restore(void *ctx, struct sr_bytes wish, struct sr_buf *out, struct sr_err *err)
{
	struct sr_datastore *d = ctx;
	struct sr_ds_push p;
	struct sr_conflict_editor editor = {.edit = edit, .ctx = &p, .keeps = true};
	char why[256];
	enum sr_status rc;

	if (!sr_datastore_ready(d, why))
		return sr_err_set(err, SR_E_UNAVAILABLE, "%s", why);
	sr_ds_edit_begin(&p, d);
	rc = sr_conflict_restore(d->r, wish, &editor, out, err);
	sr_ds_edit_end(&p);
	return rc;
}

/* --- PUT /api/webservers/{}/conflicts ----------------------------------------------------------------------------------- */

struct told {
	struct sr_conflict_report report;
	bool whole; /* nothing of what was told before counts */
	struct sr_uuid base;
	const json_t *added, *removed;
};

/* Just what a list shows.  NULL: it is no entry. */
static json_t *entry_of(const json_t *given)
{
	static const char *const texts[] = {"id", "store", "path", "when", "reason", "kind"};
	const json_t *size = json_object_get(given, "size");
	json_t *o;

	if (!json_is_integer(size) || json_integer_value(size) < 0 || json_string_length(json_object_get(given, "id")) != SR_ARCHIVE_ID - 1)
		return NULL;
	o = json_object();
	for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
		json_t *text = json_object_get(given, texts[k]);

		if (!json_is_string(text) || json_string_length(text) > 8 * SR_PATH_MAX) {
			json_decref(o);
			return NULL;
		}
		json_object_set(o, texts[k], text);
	}
	json_object_set_new(o, "size", json_integer(json_integer_value(size)));
	return o;
}

static bool read_told(const json_t *o, struct told *out)
{
	const json_t *base = json_object_get(o, "base"), *total = json_object_get(o, "total"), *bytes = json_object_get(o, "bytes");
	const char *token = json_string_value(json_object_get(o, "token"));

	out->added = json_object_get(o, "added");
	out->removed = json_object_get(o, "removed");
	out->whole = json_is_null(base);
	if (!json_is_integer(total) || !json_is_integer(bytes) || json_integer_value(total) < 0 || json_integer_value(bytes) < 0 || !token)
		return false;
	out->report.total = (uint64_t)json_integer_value(total);
	out->report.bytes = (uint64_t)json_integer_value(bytes);
	return json_is_array(out->added) && json_is_array(out->removed) && sr_ds_parse_uuid(token, &out->report.token) &&
	       (out->whole || (json_is_string(base) && sr_ds_parse_uuid(json_string_value(base), &out->base)));
}

static enum sr_status add_entries(struct sr_state *s, const struct told *t, struct sr_err *err)
{
	enum sr_status rc = SR_OK;
	const json_t *given;

	for (size_t k = 0; rc == SR_OK && (given = json_array_get(t->added, k)); k++) {
		json_t *entry = entry_of(given);
		char *text = entry ? json_dumps(entry, JSON_COMPACT) : NULL;

		if (text)
			rc = sr_state_conflict_put(s, &t->report.webserver, json_string_value(json_object_get(entry, "id")), sr_bytes_of(text), err);
		else
			rc = sr_err_set(err, SR_E_DATA, "an entry is {\"id\", \"store\", \"path\", \"when\", \"reason\", \"kind\", \"size\"}");
		free(text);
		json_decref(entry);
	}
	return rc;
}

/* Is it about what was told last? */
static enum sr_status check_base(struct sr_state *s, const struct told *t, struct sr_err *err)
{
	struct sr_conflict_report last;
	bool found = false;
	enum sr_status rc;

	if (t->whole)
		return sr_state_conflict_drop(s, &t->report.webserver, NULL, err);
	rc = sr_state_conflict_report(s, &t->report.webserver, &last, &found, err);
	if (rc == SR_OK && (!found || memcmp(&last.token, &t->base, sizeof t->base) != 0))
		rc = sr_err_set(err, SR_E_CONFLICT, "that is not what was told last: tell all of it");
	return rc;
}

static enum sr_status take(struct sr_state *s, const struct told *t, struct sr_err *err)
{
	enum sr_status rc = check_base(s, t, err);
	uint64_t count = 0;
	const json_t *id;

	for (size_t k = 0; rc == SR_OK && (id = json_array_get(t->removed, k)); k++)
		if (json_is_string(id))
			rc = sr_state_conflict_drop(s, &t->report.webserver, json_string_value(id), err);
	if (rc == SR_OK)
		rc = add_entries(s, t, err);
	if (rc == SR_OK)
		rc = sr_state_conflict_count(s, &t->report.webserver, &count, err);
	/* Within a tell of several requests what is too old may still be there. */
	if (rc == SR_OK && count > 2 * SR_CONFLICTS_TOLD)
		rc = sr_err_set(err, SR_E_LIMIT, "more than %d entries of one webserver", SR_CONFLICTS_TOLD);
	return rc == SR_OK ? sr_state_conflict_report_put(s, &t->report, err) : rc;
}

static bool is_known(struct sr_datastore *d, const struct sr_uuid *uuid)
{
	bool known = false;

	pthread_mutex_lock(&d->face);
	for (size_t i = 0; i < d->webservers_n; i++)
		known |= d->webservers[i].row.name && memcmp(&d->webservers[i].row.uuid, uuid, sizeof *uuid) == 0;
	pthread_mutex_unlock(&d->face);
	return known;
}

static enum sr_status store_told(struct sr_datastore *d, const struct told *t, struct sr_err *err)
{
	enum sr_status rc;

	pthread_mutex_lock(&d->writer);
	rc = sr_state_begin(d->r->state, err);
	if (rc == SR_OK) {
		rc = take(d->r->state, t, err);
		if (rc == SR_OK)
			rc = sr_state_commit(d->r->state, err);
		else
			sr_state_rollback(d->r->state);
	}
	pthread_mutex_unlock(&d->writer);
	return rc;
}

enum sr_status sr_ds_conflicts_tell(struct sr_datastore *d, const struct sr_uuid *webserver, struct sr_bytes json, struct sr_err *err)
{
	struct told t = {.report.webserver = *webserver, .report.at_ms = sr_now_ms()};
	json_t *o;
	enum sr_status rc = SR_OK;

	if (!sr_json_fits(json, MOST_VALUES))
		return sr_err_set(err, SR_E_LIMIT, "more than %d values in what is told of a conflict archive: tell it in several", MOST_VALUES);
	o = json_loadb((const char *)json.at, json.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
	if (!read_told(o, &t))
		rc = sr_err_set(err, SR_E_DATA, "the body is {\"base\", \"token\", \"total\", \"bytes\", \"added\", \"removed\"}");
	if (rc == SR_OK)
		rc = store_told(d, &t, err);
	json_decref(o);
	return rc;
}

enum sr_status sr_ds_webserver_conflicts_put(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_buf body = {0};
	struct sr_uuid webserver;
	enum sr_status rc;

	if (!sr_ds_parse_uuid(sr_request_arg_text(req, 0), &webserver) || !is_known(ctx, &webserver))
		return sr_err_set(err, SR_E_NOTFOUND, "no such webserver; it tells who it is first");
	rc = sr_request_read_all(req, &body, SIZE_MAX, err); /* the route has a limit */
	if (rc == SR_OK)
		rc = sr_ds_conflicts_tell(ctx, &webserver, sr_buf_view(&body), err);
	sr_buf_free(&body);
	if (rc == SR_OK)
		sr_reply_bytes(req, 204, NULL, sr_bytes(NULL, 0));
	return rc;
}

/* --- GET /api/conflicts ---------------------------------------------------------------------------------------------------- */

static json_t *time_json(int64_t ms)
{
	time_t s = (time_t)(ms / 1000);
	char text[32];
	struct tm tm;

	if (!ms || !gmtime_r(&s, &tm) || !strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm))
		return json_null();
	return json_string(text);
}

static json_t *node_json(const struct sr_uuid *uuid, const char *name, const char *role)
{
	char text[SR_UUID_TEXT];
	json_t *o = json_object();

	sr_uuid_text(text, uuid);
	json_object_set_new(o, "uuid", json_string(text));
	json_object_set_new(o, "name", json_string(name));
	json_object_set_new(o, "role", json_string(role));
	return o;
}

static enum sr_status own_json(struct sr_datastore *d, size_t most, json_t *list, struct sr_err *err)
{
	json_t *o = node_json(&d->r->node, "datastore", "datastore"), *entries = json_array();
	struct sr_archive_usage u;
	enum sr_status rc = sr_report_newest_conflicts(d->r->archive, most, entries, err);

	sr_archive_usage(d->r->archive, &u);
	json_object_set_new(o, "total", json_integer((json_int_t)u.entries));
	json_object_set_new(o, "bytes", json_integer((json_int_t)u.bytes));
	json_object_set_new(o, "reported", time_json(sr_now_ms()));
	json_object_set_new(o, "stale", json_false());
	json_object_set_new(o, "entries", entries);
	json_array_append_new(list, o);
	return rc;
}

struct telling {
	json_t *entries;
	uint64_t skip; /* of the older ones */
};

static enum sr_status add_told(void *ctx, struct sr_bytes entry, struct sr_err *err)
{
	struct telling *t = ctx;
	json_t *o;

	if (t->skip) {
		t->skip--;
		return SR_OK;
	}
	o = json_loadb((const char *)entry.at, entry.len, JSON_ALLOW_NUL, NULL);
	if (!o)
		return sr_err_set(err, SR_E_DATA, "state.db: an entry of a conflict archive is no JSON");
	json_array_append_new(t->entries, o);
	return SR_OK;
}

static enum sr_status fill_told(struct sr_state *s, size_t most, const struct sr_uuid *uuid, json_t *o, struct sr_err *err)
{
	struct sr_conflict_report report = {0};
	struct telling t = {.entries = json_array()};
	uint64_t count = 0;
	bool found = false;
	enum sr_status rc = sr_state_conflict_report(s, uuid, &report, &found, err);

	if (rc == SR_OK)
		rc = sr_state_conflict_count(s, uuid, &count, err);
	t.skip = count > most ? count - most : 0;
	if (rc == SR_OK)
		rc = sr_state_conflicts(s, uuid, add_told, &t, err);
	json_object_set_new(o, "total", json_integer((json_int_t)report.total));
	json_object_set_new(o, "bytes", json_integer((json_int_t)report.bytes));
	json_object_set_new(o, "reported", time_json(report.at_ms));
	json_object_set_new(o, "entries", t.entries);
	return rc;
}

/* Three intervals without a check-in: what it archived since is not known here. */
static json_t *webservers_json(struct sr_datastore *d)
{
	json_t *list = json_array();
	struct sr_ds_listed *all;
	size_t n;

	pthread_mutex_lock(&d->face);
	all = sr_ds_listed(d, &n);
	for (size_t i = 0; i < n; i++) {
		const struct sr_webserver_row *row = &all[i].w->row;
		json_t *o = node_json(&row->uuid, all[i].name ? all[i].name : "-", "webserver");

		json_object_set_new(o, "seen", time_json(row->seen_ms));
		json_object_set_new(o, "stale", json_boolean(sr_ds_is_stale(d, all[i].w)));
		json_array_append_new(list, o);
	}
	pthread_mutex_unlock(&d->face);
	free(all);
	return list;
}

enum sr_status sr_ds_conflicts_json(struct sr_datastore *d, size_t most, json_t **out, struct sr_err *err)
{
	json_t *list = json_array(), *webservers = webservers_json(d), *o;
	struct sr_state *s = NULL;
	struct sr_uuid uuid;
	enum sr_status rc = sr_state_reader(&s, d->config->datastore_state_directory, err);

	if (rc == SR_OK)
		rc = own_json(d, most, list, err);
	for (size_t i = 0; rc == SR_OK && (o = json_array_get(webservers, i)); i++) {
		if (sr_ds_parse_uuid(json_string_value(json_object_get(o, "uuid")), &uuid))
			rc = fill_told(s, most, &uuid, o, err);
		json_array_append(list, o);
	}
	sr_state_close(s);
	json_decref(webservers);
	if (rc == SR_OK)
		*out = list;
	else
		json_decref(list);
	return rc;
}

enum sr_status sr_ds_conflicts_get(void *ctx, struct sr_request *req, struct sr_err *err)
{
	json_t *list = NULL;
	enum sr_status rc = sr_ds_conflicts_json(ctx, SR_CONFLICTS_TOLD, &list, err);

	if (rc == SR_OK)
		sr_ds_reply_json(req, 200, list);
	return rc;
}
