/* archive_json.c - what stands in an archived version's ID.json, for people and for listings.  See archive_json.h. */
#include "lib/state/archive_json.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/leaf/leaf_json.h"

static void when_text(char out[32], int64_t at_ms)
{
	time_t seconds = (time_t)(at_ms / 1000);
	struct tm tm;
	size_t n;

	gmtime_r(&seconds, &tm);
	n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + n, 32 - n, ".%03dZ", (int)(at_ms % 1000));
}

char *sr_archive_describe(const char *id, int64_t at_ms, const struct sr_loser *loser, uint64_t size, const struct sr_bytes *record)
{
	json_t *object = json_object(), *columns = record ? sr_columns_json(*record) : NULL;
	struct sr_buf path = {0}, hex = {0};
	char when[32], *text;

	when_text(when, at_ms);
	sr_leaf_path_text(&path, loser->store, loser->store_kind, loser->path);
	sr_hex(&hex, loser->path);
	json_object_set_new(object, "id", json_string(id));
	json_object_set_new(object, "when", json_string(when));
	json_object_set_new(object, "store", sr_name_json(sr_bytes_of(loser->store)));
	json_object_set_new(object, "kind", json_string(sr_kind_text(loser->version.kind)));
	json_object_set_new(object, "path", sr_name_json(sr_buf_view(&path)));
	json_object_set_new(object, "path_hex", json_string(sr_buf_text(&hex)));
	json_object_set_new(object, "reason", json_string(loser->reason));
	json_object_set_new(object, "size", json_integer((json_int_t)size));
	json_object_set_new(object, "version", sr_version_json(&loser->version));
	json_object_set_new(object, "winner", sr_version_json(&loser->winner));
	if (loser->version.kind == SR_KIND_FILE)
		json_object_set_new(object, "mtime_ns", json_integer(loser->mtime_ns));
	if (columns)
		json_object_set_new(object, "columns", columns);
	text = json_dumps(object, JSON_INDENT(2));
	json_decref(object);
	sr_buf_free(&path);
	sr_buf_free(&hex);
	return text;
}

/* --- back ------------------------------------------------------------------------------------------------------------------ */

static const char *member(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static bool take_version(const json_t *o, struct sr_version *out)
{
	const char *kind = member(o, "kind"), *mode = member(o, "mode"), *hash = member(o, "hash");

	*out = (struct sr_version){0};
	if (!kind)
		return false;
	out->kind = sr_kind_parse(kind);
	out->mode = mode ? (uint16_t)(strtoul(mode, NULL, 8) & 0777) : 0;
	out->bytes = (uint64_t)json_integer_value(json_object_get(o, "bytes"));
	return !hash || sr_hash_parse(&out->hash, sr_bytes_of(hash));
}

bool sr_archive_parse(const json_t *object, struct sr_archived *out, struct sr_buf *raw)
{
	const char *hex = member(object, "path_hex");
	size_t n = hex ? strlen(hex) / 2 : 0;

	out->store = member(object, "store");
	out->path = member(object, "path");
	out->reason = member(object, "reason");
	out->when = member(object, "when");
	out->kind = member(object, "kind");
	out->size = (uint64_t)json_integer_value(json_object_get(object, "size"));
	out->mtime_ns = json_integer_value(json_object_get(object, "mtime_ns"));
	if (!hex || !out->store || !out->path || !out->reason || !out->when || !out->kind ||
	    !take_version(json_object_get(object, "version"), &out->version) ||
	    !take_version(json_object_get(object, "winner"), &out->winner))
		return false;
	sr_buf_clear(raw);
	if (!sr_unhex(sr_buf_room(raw, n), n, sr_bytes_of(hex)))
		return false;
	raw->len = n;
	out->raw_path = sr_buf_view(raw);
	return true;
}
