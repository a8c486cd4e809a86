/* admin.c - HTTP for the operator: status, adopt. */
#include "lib/datastore/internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/version.h"
#include "lib/replica/report.h"
#include "lib/replica/waiting.h"

#define MOST_BODY 65536

/* --- status ---------------------------------------------------------------------------------------------------------- */

/* counted: what is there was looked through. */
static const char *mode_text(const struct sr_ds_store *shown, bool counted)
{
	if (!shown->looked)
		return "starting";
	if (shown->mode == SR_MODE_READY && !counted && shown->has_content)
		return "waiting";
	return shown->mode == SR_MODE_PAUSED ? "paused" : shown->mode == SR_MODE_NEW || !counted ? "new" : "ready";
}

static json_t *count_json(uint64_t n, bool counted)
{
	return counted ? json_integer((json_int_t)n) : json_null();
}

static json_t *store_json(const struct sr_replica_store *s, const struct sr_ds_store *shown, bool counted)
{
	json_t *o = json_object(), *unknown = json_array();

	for (size_t i = 0; i < SR_DS_UNKNOWN_SHOWN && shown->unknown[i]; i++)
		json_array_append_new(unknown, json_string(shown->unknown[i]));
	json_object_set_new(o, "name", json_string(s->name));
	json_object_set_new(o, "kind", json_string(s->kind == SR_KIND_FILES ? "files" : "sqlite"));
	json_object_set_new(o, "mode", json_string(mode_text(shown, counted)));
	json_object_set_new(o, "why", *shown->why ? json_string(shown->why) : json_null());
	json_object_set_new(o, "since_ms", json_integer(shown->since_ms));
	json_object_set_new(o, "leaves", count_json(shown->leaves, counted));
	json_object_set_new(o, "bytes", count_json(shown->bytes, counted));
	json_object_set_new(o, "held", shown->held ? json_loads(shown->held, 0, NULL) : json_array());
	json_object_set_new(o, "unknown", json_integer((json_int_t)shown->unknowns));
	json_object_set_new(o, "unknown_paths", unknown);
	sr_report_watch(o, &shown->watch);
	return o;
}

/* A store that is paused says more, and goes first. */
static bool waits_for_founding(const struct sr_datastore *d)
{
	for (size_t i = 0; i < d->r->n; i++)
		if (d->stores[i].mode == SR_MODE_PAUSED)
			return false;
	return d->unfounded;
}

/* What waits for the operator here.  With face held. */
static json_t *waiting_json(const struct sr_datastore *d)
{
	json_t *o = sr_waiting_new();
	int64_t since_ms;
	struct sr_err full;

	if (waits_for_founding(d))
		sr_waiting_hold(o, SR_ROLE_DATASTORE, "datastore", d->why, d->unfounded_ms);
	if (sr_ds_full(d))
		sr_waiting_hold(o, SR_ROLE_DATASTORE, "disk", sr_ds_full(d), d->full_ms);
	if (sr_archive_is_full(d->r->archive, &since_ms, &full) != SR_OK)
		sr_waiting_hold(o, SR_ROLE_DATASTORE, "union", full.text, since_ms);
	for (size_t i = 0; i < d->r->n; i++) {
		const struct sr_ds_store *shown = &d->stores[i];
		json_t *held = shown->held ? json_loads(shown->held, 0, NULL) : NULL;

		sr_waiting_deletions(o, d->r->stores[i].name, held);
		if (shown->mode == SR_MODE_PAUSED && !(json_array_size(held) && !strncmp(shown->why, "held", 4))) /* said already */
			sr_waiting_pause(o, SR_ROLE_DATASTORE, d->r->stores[i].name, shown->why, shown->since_ms);
		json_decref(held);
	}
	return o;
}

static json_t *trash_json(const struct sr_datastore *d)
{
	json_t *o = json_object();

	json_object_set_new(o, "files", json_integer((json_int_t)d->trash.files));
	json_object_set_new(o, "records", json_integer((json_int_t)d->trash.records));
	json_object_set_new(o, "bytes", json_integer((json_int_t)d->trash.bytes));
	json_object_set_new(o, "max_bytes", json_integer((json_int_t)d->trash_max_bytes));
	json_object_set_new(o, "days", json_integer((json_int_t)d->trash_days));
	json_object_set_new(o, "oldest_ms", json_integer((json_int_t)d->trash.oldest_ms));
	json_object_set_new(o, "waits", json_boolean(d->trash_waits));
	return o;
}

json_t *sr_ds_status_json(struct sr_datastore *d)
{
	char instance[SR_UUID_TEXT], start[SR_UUID_TEXT], node[SR_UUID_TEXT], root[SR_HASH_TEXT];
	json_t *o = json_object(), *stores = json_array();

	sr_report_archive(o, d->r->archive);
	pthread_mutex_lock(&d->face);
	sr_uuid_text(instance, &d->shown.instance);
	sr_uuid_text(start, &d->start);
	sr_hash_text(root, &d->shown.root);
	for (size_t i = 0; i < d->r->n; i++)
		json_array_append_new(stores, store_json(&d->r->stores[i], &d->stores[i], !sr_uuid_none(&d->shown.instance)));
	sr_uuid_text(node, &d->r->node);
	json_object_set_new(o, "role", json_string("datastore"));
	json_object_set_new(o, "node", json_string(node));
	json_object_set_new(o, "version", json_string(SR_VERSION));
	json_object_set_new(o, "ready", json_boolean(d->ready));
	json_object_set_new(o, "why", d->ready ? json_null() : json_string(d->why));
	json_object_set_new(o, "read_only", json_boolean(d->read_only));
	json_object_set_new(o, "instance", sr_uuid_none(&d->shown.instance) ? json_null() : json_string(instance));
	json_object_set_new(o, "epoch", json_integer((json_int_t)d->shown.epoch));
	json_object_set_new(o, "seq", json_integer((json_int_t)d->shown.seq));
	json_object_set_new(o, "root", sr_hash_none(&d->shown.root) ? json_null() : json_string(root));
	json_object_set_new(o, "start", json_string(start));
	json_object_set_new(o, "stores", stores);
	json_object_set_new(o, "trash", trash_json(d));
	json_object_set_new(o, "status", waiting_json(d));
	pthread_mutex_unlock(&d->face);
	json_object_set_new(o, "balancer", sr_balance_report(d->balance));
	json_object_set_new(o, "verify", sr_verifier_report(d->verifier));
	json_object_set_new(o, "webservers", sr_ds_webservers_json(d));
	return o;
}

enum sr_status sr_ds_admin_status(void *ctx, struct sr_request *req, struct sr_err *err)
{
	(void)err;
	sr_ds_reply_json(req, 200, sr_ds_status_json(ctx));
	return SR_OK;
}

/* --- adopt ----------------------------------------------------------------------------------------------------------- */

static enum sr_status adopt_what(struct sr_datastore *d, struct sr_bytes body, struct sr_err *err)
{
	json_t *o = json_loadb((const char *)body.at, body.len, JSON_REJECT_DUPLICATES, NULL);
	const char *what = json_string_value(json_object_get(o, "what"));
	enum sr_status rc;

	if (what && !strcmp(what, "union"))
		rc = sr_datastore_adopt_union(d, err);
	else if (what && !strcmp(what, "deletions"))
		rc = sr_datastore_adopt_deletions(d, err);
	else
		rc = sr_err_set(err, SR_E_DATA, "the body is {\"what\": \"union\"} or {\"what\": \"deletions\"}");
	json_decref(o);
	return rc;
}

enum sr_status sr_ds_admin_adopt(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_buf body = {0};
	enum sr_status rc = sr_request_read_all(req, &body, MOST_BODY, err);

	if (rc == SR_OK)
		rc = adopt_what(ctx, sr_buf_view(&body), err);
	if (rc == SR_OK)
		sr_ds_reply_json(req, 200, sr_ds_status_json(ctx));
	sr_buf_free(&body);
	return rc;
}
