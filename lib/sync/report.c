/* report.c - what a webserver tells its operator: made at the end of each round, read by any thread. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/replica/report.h"
#include "lib/sync/internal.h"

static json_t *text_or_null(const char *text)
{
	return text && *text ? json_string(text) : json_null();
}

static json_t *unknown_json(const struct sr_replica_store *st)
{
	json_t *list = json_array();

	for (size_t k = 0; k < st->scan.unknowns && k < 1000; k++) {
		struct sr_buf path = {0};
		json_t *o = json_object();

		sr_leaf_path_text(&path, st->name, st->kind, st->scan.unknown[k].path);
		json_object_set_new(o, "path", json_string(sr_buf_text(&path)));
		json_object_set_new(o, "why", json_string(sr_unknown_text(st->scan.unknown[k].why)));
		json_array_append_new(list, o);
		sr_buf_free(&path);
	}
	return list;
}

static json_t *store_report(const struct sr_sync *s, size_t i)
{
	const struct sr_replica_store *st = &s->r->stores[i];
	const struct sr_store_plan *p = &s->plans[i];
	uint64_t leaves = 0, bytes = 0;
	struct sr_buf held = {0};
	struct sr_watch_report watch;
	struct sr_capture_report capture;
	char map[SR_HASH_TEXT];
	json_t *o = json_object();

	sr_hash_text(map, &st->map);
	if (sr_map_counts(s->r->nodes, &st->map, &leaves, &bytes) != SR_OK)
		leaves = bytes = 0;
	json_object_set_new(o, "name", json_string(st->name));
	json_object_set_new(o, "kind", json_string(st->kind == SR_KIND_DATABASE ? "sqlite" : "files"));
	json_object_set_new(o, "state",
			    json_string(st->mode == SR_MODE_PAUSED || p->failed ? "paused"
					: st->mode == SR_MODE_NEW               ? "new"
					: !st->row.base_known                   ? "union"
										: "ready"));
	json_object_set_new(o, "why", text_or_null(st->why));
	json_object_set_new(o, "since_ms", json_integer(st->since_ms));
	json_object_set_new(o, "root", json_string(map));
	json_object_set_new(o, "leaves", json_integer((json_int_t)leaves));
	json_object_set_new(o, "bytes", json_integer((json_int_t)bytes));
	json_object_set_new(o, "skipped", json_integer((json_int_t)p->skipped));
	json_object_set_new(o, "skipped_why", text_or_null(p->first_skip));
	json_object_set_new(o, "trouble", text_or_null(p->failed ? p->trouble : ""));
	sr_ledger_report(s->ledger, st->name, &held);
	json_object_set_new(o, "held", json_loadb((const char *)held.at, held.len, 0, NULL));
	sr_buf_free(&held);
	json_object_set_new(o, "excluded", json_integer((json_int_t)p->excluded));
	json_object_set_new(o, "unknown_count", json_integer((json_int_t)st->scan.unknowns));
	json_object_set_new(o, "unknown", unknown_json(st));
	json_object_set_new(o, "hashed", json_integer((json_int_t)st->hashed));
	json_object_set_new(o, "rows_read", json_integer((json_int_t)st->rows_read));
	sr_store_watch_report(st->store, &watch);
	sr_report_watch(o, &watch);
	sr_store_capture_report(st->store, &capture);
	sr_report_capture(o, &capture);
	return o;
}

/* A store of the datastore that the configuration here does not know at all. */
static json_t *stranger_report(const struct sr_tree_store *there)
{
	json_t *o = json_object();

	json_object_set_new(o, "name", json_string(there->name));
	json_object_set_new(o, "kind", json_string(there->kind == SR_KIND_DATABASE ? "sqlite" : "files"));
	json_object_set_new(o, "state", json_string("not configured"));
	json_object_set_new(o, "skipped", json_integer(1));
	json_object_set_new(o, "skipped_why", json_string(SR_STRANGER));
	return o;
}

static json_t *result_json(const struct sr_sync_result *r)
{
	json_t *o = json_object();

	json_object_set_new(o, "in_sync", json_boolean(r->in_sync));
	json_object_set_new(o, "pulled", json_integer((json_int_t)r->pulled));
	json_object_set_new(o, "pushed", json_integer((json_int_t)r->pushed));
	json_object_set_new(o, "agreed", json_integer((json_int_t)r->agreed));
	json_object_set_new(o, "merged", json_integer((json_int_t)r->merged));
	json_object_set_new(o, "conflicts", json_integer((json_int_t)r->conflicts));
	json_object_set_new(o, "skipped", json_integer((json_int_t)r->skipped));
	json_object_set_new(o, "requests", json_integer((json_int_t)r->requests));
	json_object_set_new(o, "sent", json_integer((json_int_t)r->sent));
	json_object_set_new(o, "received", json_integer((json_int_t)r->received));
	return o;
}

void sr_sync_make_report(struct sr_sync *s)
{
	char node[SR_UUID_TEXT], instance[SR_UUID_TEXT], root[SR_HASH_TEXT], remote[SR_HASH_TEXT];
	json_t *o = json_object(), *stores = json_array(), *datastore = json_object(), *waiting = sr_sync_waiting(s);
	const struct sr_tree_store *stranger;
	char *text;

	sr_uuid_text(node, &s->r->node);
	sr_uuid_text(instance, &s->anchor.instance);
	sr_hash_text(root, &s->r->root);
	sr_hash_text(remote, &s->anchor.root);
	json_object_set_new(o, "role", json_string("webserver"));
	json_object_set_new(o, "node", json_string(node));
	json_object_set_new(o, "version", json_string(s->version));
	json_object_set_new(o, "root", json_string(root));
	json_object_set_new(o, "leaves", json_integer((json_int_t)s->r->leaves));
	json_object_set_new(o, "bytes", json_integer((json_int_t)s->r->bytes));
	sr_contact_report(s->contact, datastore);
	json_object_set_new(datastore, "instance", sr_uuid_none(&s->anchor.instance) ? json_null() : json_string(instance));
	json_object_set_new(datastore, "epoch", json_integer((json_int_t)s->anchor.epoch));
	json_object_set_new(datastore, "seq", json_integer((json_int_t)s->anchor.seq));
	json_object_set_new(datastore, "root", json_string(remote));
	json_object_set_new(o, "datastore", datastore);
	json_object_set_new(o, "in_sync", json_boolean(!s->trouble[0] && s->result.in_sync));
	json_object_set_new(o, "trouble", text_or_null(s->trouble));
	json_object_set_new(o, "trouble_code", s->trouble[0] ? json_string(sr_status_name(s->trouble_code)) : json_null());
	json_object_set_new(o, "trouble_since_ms", json_integer(s->trouble_since_ms));
	json_object_set_new(o, "last_ok_ms", json_integer(s->last_ok_ms));
	json_object_set_new(o, "rounds", json_integer((json_int_t)s->rounds));
	json_object_set_new(o, "last_round", result_json(&s->result));
	for (size_t i = 0; s->r->keyed && i < s->r->n; i++)
		json_array_append_new(stores, store_report(s, i));
	for (size_t k = 0; (stranger = sr_sync_stranger(s, &k));)
		json_array_append_new(stores, stranger_report(stranger));
	json_object_set_new(o, "stores", stores);
	sr_report_archive(o, s->r->archive);
	json_object_set_new(o, "status", waiting);
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	pthread_mutex_lock(&s->report_lock);
	sr_buf_clear(&s->report);
	sr_buf_bytes(&s->report, sr_bytes_of(text));
	pthread_mutex_unlock(&s->report_lock);
	free(text);
}

void sr_sync_report(struct sr_sync *s, struct sr_buf *out)
{
	pthread_mutex_lock(&s->report_lock);
	sr_buf_bytes(out, sr_buf_view(&s->report));
	if (!s->report.len)
		sr_buf_bytes(out, sr_bytes_of("{\"role\":\"webserver\",\"stores\":[]}"));
	pthread_mutex_unlock(&s->report_lock);
}
