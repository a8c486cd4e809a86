/* leaf_json.c - see leaf_json.h. */
#include "lib/leaf/leaf_json.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

json_t *sr_name_json(struct sr_bytes b)
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
	return sr_utf8_valid(v->b) ? sr_name_json(v->b) : json_hex("hex", v->b);
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

json_t *sr_columns_json(struct sr_bytes record)
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

const char *sr_kind_text(uint8_t kind)
{
	return kind < KINDS && kinds[kind] ? kinds[kind] : "other";
}

uint8_t sr_kind_parse(const char *text)
{
	for (size_t k = 0; k < KINDS; k++)
		if (kinds[k] && strcmp(kinds[k], text) == 0)
			return (uint8_t)k;
	return SR_KIND_NONE;
}

json_t *sr_version_json(const struct sr_version *v)
{
	json_t *object = json_pack("{s:s}", "kind", sr_kind_text(v->kind));
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
