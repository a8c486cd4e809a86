/* report.c - see report.h. */
#include "lib/replica/report.h"

#include <jansson.h>
#include <stdlib.h>

void sr_report_archive(json_t *status, struct sr_archive *archive)
{
	struct sr_archive_usage u;
	json_t *o = json_object();

	sr_archive_usage(archive, &u);
	json_object_set_new(o, "entries", json_integer((json_int_t)u.entries));
	json_object_set_new(o, "bytes", json_integer((json_int_t)u.bytes));
	json_object_set_new(o, "limit", u.limit ? json_integer((json_int_t)u.limit) : json_null());
	json_object_set_new(status, "archive", o);
	json_object_set_new(status, "conflicts", json_integer((json_int_t)u.entries));
}

void sr_report_watch(json_t *store, const struct sr_watch_report *watch)
{
	json_t *o = watch->asked ? json_object() : json_null();

	json_object_set_new(store, "watch", o);
	if (!watch->asked)
		return;
	json_object_set_new(o, "watched", json_boolean(watch->watched));
	json_object_set_new(o, "directories", json_integer((json_int_t)watch->directories));
	json_object_set_new(o, "why", *watch->why ? json_string(watch->why) : json_null());
	json_object_set_new(o, "full_scans", json_integer((json_int_t)watch->full));
	json_object_set_new(o, "partial_scans", json_integer((json_int_t)watch->partial));
}

void sr_report_capture(json_t *store, const struct sr_capture_report *c)
{
	json_t *o = c->asked || *c->why ? json_object() : json_null();

	json_object_set_new(store, "capture", o);
	if (!json_is_object(o))
		return;
	json_object_set_new(o, "triggers", json_boolean(c->asked));
	json_object_set_new(o, "on", json_boolean(c->on));
	json_object_set_new(o, "why", *c->why ? json_string(c->why) : json_null());
	json_object_set_new(o, "tables", json_integer((json_int_t)c->tables));
	json_object_set_new(o, "by_row", json_integer((json_int_t)c->keyed));
	json_object_set_new(o, "full_scans", json_integer((json_int_t)c->full));
	json_object_set_new(o, "scans_by_log", json_integer((json_int_t)c->by_log));
}

json_t *sr_report_conflict(const struct sr_archived *e)
{
	json_t *o = json_object();

	json_object_set_new(o, "id", json_string(e->id));
	json_object_set_new(o, "store", json_string(e->store));
	json_object_set_new(o, "path", json_string(e->path));
	json_object_set_new(o, "when", json_string(e->when));
	json_object_set_new(o, "reason", json_string(e->reason));
	json_object_set_new(o, "kind", json_string(e->kind));
	json_object_set_new(o, "size", json_integer((json_int_t)e->size));
	return o;
}

static enum sr_status add_conflict(void *ctx, const struct sr_archived *e, struct sr_err *err)
{
	(void)err;
	json_array_append_new(ctx, sr_report_conflict(e));
	return SR_OK;
}

enum sr_status sr_report_newest_conflicts(struct sr_archive *archive, size_t most, json_t *entries, struct sr_err *err)
{
	struct sr_archive_ids ids = {0};
	enum sr_status rc = sr_archive_ids(archive, &ids, err);

	for (size_t k = ids.n > most ? ids.n - most : 0; rc == SR_OK && k < ids.n; k++) {
		rc = sr_archive_one(archive, ids.id[k], add_conflict, entries, err);
		if (rc == SR_E_NOTFOUND)
			rc = SR_OK; /* it went meanwhile */
	}
	sr_archive_ids_free(&ids);
	return rc;
}

enum sr_status sr_report_conflicts(struct sr_archive *archive, struct sr_buf *out, struct sr_err *err)
{
	json_t *list = json_array();
	enum sr_status rc = sr_archive_each(archive, add_conflict, list, err);
	char *text = json_dumps(list, JSON_COMPACT);

	if (rc == SR_OK)
		sr_buf_bytes(out, sr_bytes_of(text));
	free(text);
	json_decref(list);
	return rc;
}
