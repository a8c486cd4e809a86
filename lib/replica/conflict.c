/* conflict.c - see conflict.h: what is shown of an entry, and removing some; restore is conflict_restore.c. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/leaf/leaf_json.h"
#include "lib/replica/conflict_internal.h"

/* --- what is there now ------------------------------------------------------------------------------------------------------ */

/* A row, as it is this very moment. */
static enum sr_status row_now(struct sr_replica *r, size_t i, struct sr_bytes path, struct sr_version *out, struct sr_buf *record,
			      struct sr_err *err)
{
	struct sr_content content = {.fd = -1};
	struct sr_view *view = NULL;
	enum sr_status rc = sr_view_open(&view, r->stores[i].store, SR_VIEW_EXTRA, err);

	if (rc == SR_OK)
		rc = sr_view_read(view, path, &content, err);
	if (rc == SR_OK) {
		*out = content.version;
		sr_buf_bytes(record, content.record);
	}
	sr_view_close(view);
	if (rc == SR_E_NOTFOUND) {
		*out = (struct sr_version){0};
		rc = SR_OK;
	}
	return rc;
}

enum sr_status sr_conflict_now(struct sr_replica *r, size_t i, struct sr_bytes path, struct sr_version *out, struct sr_buf *record,
			       struct sr_err *err)
{
	const struct sr_replica_store *st = &r->stores[i];
	enum sr_status rc = SR_OK;

	sr_replica_read_lock(r);
	if (st->mode != SR_MODE_READY)
		rc = sr_err_set(err, SR_E_UNAVAILABLE, "store %s: %s", st->name, st->mode == SR_MODE_NEW ? "there is nothing yet" : st->why);
	else if (sr_replica_unknown(r, i, path))
		rc = sr_err_set(err, SR_E_UNAVAILABLE, "store %s: this path is not synchronised here", st->name);
	else if (st->kind == SR_KIND_FILES)
		rc = sr_store_get(r->nodes, st->kind, &st->map, path, out, err);
	sr_replica_unlock(r);
	return rc == SR_OK && st->kind != SR_KIND_FILES ? row_now(r, i, path, out, record, err) : rc;
}

void sr_conflict_over(char out[SR_CONFLICT_OVER], const struct sr_version *v)
{
	char hash[SR_HASH_TEXT];

	sr_hash_text(hash, &v->hash);
	snprintf(out, SR_CONFLICT_OVER, "%u-%o-%llu-%s", v->kind, v->mode, (unsigned long long)v->bytes, hash);
}

/* --- showing ------------------------------------------------------------------------------------------------------------------ */

struct showing {
	struct sr_replica *r;
	json_t *out;
};

static json_t *now_json(const struct sr_version *v, const struct sr_buf *record)
{
	json_t *o = sr_version_json(v), *columns = record->len ? sr_columns_json(sr_buf_view(record)) : NULL;

	if (columns)
		json_object_set_new(o, "columns", columns);
	return o;
}

static void add_now(struct showing *s, const struct sr_archived *e)
{
	struct sr_version now = {0};
	struct sr_buf record = {0};
	char over[SR_CONFLICT_OVER];
	struct sr_err why;
	size_t i;
	enum sr_status rc;

	if (sr_replica_find(s->r, sr_bytes_of(e->store), &i))
		rc = sr_conflict_now(s->r, i, e->raw_path, &now, &record, &why);
	else
		rc = sr_err_set(&why, SR_E_NOTFOUND, "no store %s is configured here", e->store);
	if (rc != SR_OK) {
		json_object_set_new(s->out, "now", json_pack("{s:s}", "unknown", why.text));
	} else {
		sr_conflict_over(over, &now);
		json_object_set_new(s->out, "now", now_json(&now, &record));
		json_object_set_new(s->out, "over", json_string(over));
		json_object_set_new(s->out, "is_winner", json_boolean(sr_version_eq(&now, &e->winner)));
		json_object_set_new(s->out, "is_it", json_boolean(sr_version_eq(&now, &e->version)));
	}
	sr_buf_free(&record);
}

static void add_content(struct showing *s, const struct sr_archived *e)
{
	char *path = sr_format("%s/archive/%s.data", sr_state_dir(s->r->state), e->id);

	json_object_set_new(s->out, "content", access(path, F_OK) == 0 ? json_string(path) : json_null());
	free(path);
}

static enum sr_status show(void *ctx, const struct sr_archived *e, struct sr_err *err)
{
	struct showing *s = ctx;

	(void)err;
	s->out = json_loadb((const char *)e->text.at, e->text.len, JSON_ALLOW_NUL, NULL); /* it was read by the same, just now */
	add_content(s, e);
	if (sr_replica_use(s->r)) {
		add_now(s, e);
		sr_replica_unuse(s->r);
	} else {
		json_object_set_new(s->out, "now", json_pack("{s:s}", "unknown", "no round went through yet"));
	}
	return SR_OK;
}

enum sr_status sr_conflict_show(struct sr_replica *r, const char *given, struct sr_buf *out, struct sr_err *err)
{
	struct showing s = {.r = r};
	char id[SR_ARCHIVE_ID], *text;
	enum sr_status rc = sr_archive_find(r->archive, given, id, err);

	if (rc == SR_OK)
		rc = sr_archive_one(r->archive, id, show, &s, err);
	if (rc == SR_OK) {
		text = json_dumps(s.out, JSON_COMPACT);
		sr_buf_bytes(out, sr_bytes_of(text));
		free(text);
	}
	json_decref(s.out);
	return rc;
}

/* --- removing ------------------------------------------------------------------------------------------------------------------- */

enum sr_status sr_conflict_remove(struct sr_archive *a, struct sr_bytes wish, struct sr_buf *out, struct sr_err *err)
{
	json_t *o = json_loadb((const char *)wish.at, wish.len, JSON_REJECT_DUPLICATES, NULL), *list = json_object_get(o, "ids"), *id;
	struct sr_archive_ids ids = {0};
	struct sr_archive_usage before, after;
	enum sr_status rc = SR_OK;
	size_t i;

	if (!json_is_array(list))
		rc = sr_err_set(err, SR_E_DATA, "the body is {\"ids\": [ID, ...]}");
	for (i = 0; rc == SR_OK && (id = json_array_get(list, i)); i++) {
		if (json_string_length(id) == SR_ARCHIVE_ID - 1)
			sr_archive_ids_add(&ids, json_string_value(id));
		else
			rc = sr_err_set(err, SR_E_DATA, "ids are whole here");
	}
	sr_archive_usage(a, &before);
	if (rc == SR_OK)
		rc = sr_archive_remove(a, &ids, err);
	sr_archive_usage(a, &after);
	if (rc == SR_OK)
		sr_buf_printf(out, "{\"removed\":%llu}",
			      (unsigned long long)(before.entries > after.entries ? before.entries - after.entries : 0));
	sr_archive_ids_free(&ids);
	json_decref(o);
	return rc;
}
