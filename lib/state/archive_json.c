/* archive_json.c - what stands in an archived version's ID.json, for people and for listings.  See archive_json.h. */
#include "lib/state/archive_json.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hashtree/record.h"

#define SHOW_MAX 65536             /* bytes of one value; ID.data has them all */
#define SHOW_RECORD_MAX (1u << 20) /* of all values together */

static json_t *json_hex(const char *key, struct sr_bytes b)
{
	struct sr_buf hex = {0};
	json_t *j;

	sr_hex(&hex, b);
	j = json_pack("{s:s}", key, sr_buf_text(&hex));
	sr_buf_free(&hex);
	return j;
}

/* A name that is not UTF-8 stands percent-encoded. */
static json_t *json_name(struct sr_bytes b)
{
	struct sr_buf text = {0};
	json_t *j;

	if (sr_utf8_valid(b))
		return json_stringn(b.len ? (const char *)b.at : "", b.len);
	sr_percent(&text, b, "");
	j = json_string(sr_buf_text(&text));
	sr_buf_free(&text);
	return j;
}

static json_t *json_float(double real)
{
	return isfinite(real) ? json_real(real) : json_pack("{s:s}", "real", real < 0 ? "-inf" : "inf");
}

/* *left: bytes that may still be shown. */
static json_t *json_content(const struct sr_value *v, size_t *left)
{
	if (v->b.len > SHOW_MAX || v->b.len > *left)
		return json_pack("{s:I}", "omitted_bytes", (json_int_t)v->b.len);
	*left -= v->b.len;
	if (v->class == SR_BLOB)
		return json_hex("blob", v->b);
	return sr_utf8_valid(v->b) ? json_name(v->b) : json_hex("hex", v->b);
}

static json_t *json_value(const struct sr_value *v, size_t *left)
{
	switch (v->class) {
	case SR_NULL:
		break;
	case SR_INT:
		return json_integer(v->i);
	case SR_REAL:
		return json_float(v->real);
	case SR_TEXT:
	case SR_BLOB:
		return json_content(v, left);
	}
	return json_null();
}

/* NULL when the record does not decode: it is archived all the same. */
static json_t *json_columns(struct sr_bytes record)
{
	struct sr_column *columns = NULL;
	size_t n, left = SHOW_RECORD_MAX;
	struct sr_buf name = {0};
	json_t *object;

	if (sr_record_decode(record, &columns, &n, NULL) != SR_OK)
		return NULL;
	object = json_object();
	for (size_t i = 0; i < n; i++) {
		sr_buf_clear(&name);
		if (sr_utf8_valid(columns[i].name))
			sr_buf_bytes(&name, columns[i].name);
		else
			sr_percent(&name, columns[i].name, "");
		json_object_set_new(object, sr_buf_text(&name), json_value(&columns[i].value, &left));
	}
	sr_buf_free(&name);
	free(columns);
	return object;
}

static const char *const kinds[] = {[SR_KIND_NONE] = "absent", [SR_KIND_FILE] = "file", [SR_KIND_DIR] = "dir", [SR_KIND_ROW] = "row",
				    [SR_KIND_TABLE] = "table"};
#define KINDS (sizeof kinds / sizeof *kinds)

static const char *kind_text(uint8_t kind)
{
	return kind < KINDS && kinds[kind] ? kinds[kind] : "other";
}

static json_t *json_version(const struct sr_version *v)
{
	json_t *object = json_pack("{s:s}", "kind", kind_text(v->kind));
	char text[SR_HASH_TEXT];

	if (v->kind == SR_KIND_FILE || v->kind == SR_KIND_DIR) {
		snprintf(text, sizeof(text), "%04o", v->mode);
		json_object_set_new(object, "mode", json_string(text));
	}
	if (v->kind == SR_KIND_FILE || v->kind == SR_KIND_ROW)
		json_object_set_new(object, "bytes", json_integer((json_int_t)v->bytes));
	if (!sr_hash_none(&v->hash)) {
		sr_hash_text(text, &v->hash);
		json_object_set_new(object, "hash", json_string(text));
	}
	return object;
}

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
	json_t *object = json_object(), *columns = record ? json_columns(*record) : NULL;
	struct sr_buf path = {0}, hex = {0};
	char when[32], *text;

	when_text(when, at_ms);
	sr_leaf_path_text(&path, loser->store, loser->store_kind, loser->path);
	sr_hex(&hex, loser->path);
	json_object_set_new(object, "id", json_string(id));
	json_object_set_new(object, "when", json_string(when));
	json_object_set_new(object, "store", json_name(sr_bytes_of(loser->store)));
	json_object_set_new(object, "kind", json_string(kind_text(loser->version.kind)));
	json_object_set_new(object, "path", json_name(sr_buf_view(&path)));
	json_object_set_new(object, "path_hex", json_string(sr_buf_text(&hex)));
	json_object_set_new(object, "reason", json_string(loser->reason));
	json_object_set_new(object, "size", json_integer((json_int_t)size));
	json_object_set_new(object, "version", json_version(&loser->version));
	json_object_set_new(object, "winner", json_version(&loser->winner));
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
	for (size_t k = 0; k < KINDS; k++)
		if (kinds[k] && strcmp(kinds[k], kind) == 0)
			out->kind = (uint8_t)k;
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
