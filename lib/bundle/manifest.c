/* manifest.c - the texts of a backup.  See manifest.h and sameroot-backup(5). */
#include "lib/bundle/manifest.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --- info ----------------------------------------------------------------------------------------------------------- */

void sr_backup_info_free(struct sr_backup_info *info)
{
	for (size_t i = 0; i < info->n; i++)
		free(info->stores[i].name);
	for (size_t i = 0; i < info->left_out_n; i++) {
		free(info->left_out[i].path);
		free(info->left_out[i].why);
	}
	free(info->stores);
	free(info->left_out);
	free(info->role);
	free(info->version);
	*info = (struct sr_backup_info){0};
}

void sr_backup_leave_out(struct sr_backup_info *info, const char *path, const char *why, bool missing)
{
	info->left_out_count++;
	info->missing_count += missing;
	if (info->left_out_n == SR_BACKUP_NAMED)
		return;
	if (!info->left_out)
		info->left_out = sr_alloc(SR_BACKUP_NAMED * sizeof *info->left_out);
	info->left_out[info->left_out_n++] =
		(struct sr_backup_left_out){.path = sr_strdup(path), .why = sr_strdup(why), .missing = missing};
}

bool sr_backup_store_name(struct sr_bytes name)
{
	static const char *const taken[] = {".", "..", SR_BACKUP_MANIFEST, SR_BACKUP_SUMS, SR_BACKUP_FAILED};

	for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
		if (sr_bytes_eq(name, sr_bytes_of(taken[i])))
			return false;
	return name.len && name.len <= 255 && !memchr(name.at, '/', name.len) && !memchr(name.at, 0, name.len);
}

/* --- writing -------------------------------------------------------------------------------------------------------- */

static void put_uuid(json_t *o, const char *name, const struct sr_uuid *u)
{
	char text[SR_UUID_TEXT];

	sr_uuid_text(text, u);
	json_object_set_new(o, name, sr_uuid_none(u) ? json_null() : json_string(text));
}

static void put_hash(json_t *o, const char *name, const struct sr_hash *h)
{
	char text[SR_HASH_TEXT];

	sr_hash_text(text, h);
	json_object_set_new(o, name, json_string(text));
}

static void put_number(json_t *o, const char *name, uint64_t n)
{
	json_object_set_new(o, name, json_integer((json_int_t)n));
}

/* Bytes of an operator's or a peer's text that are not UTF-8 become '?'. */
static void put_text(json_t *o, const char *name, const char *text)
{
	char *copy = sr_strdup(text ? text : "");

	if (!sr_utf8_valid(sr_bytes_of(copy)))
		for (char *c = copy; *c; c++)
			if ((unsigned char)*c >= 0x80)
				*c = '?';
	json_object_set_new(o, name, json_string(copy));
	free(copy);
}

static void put_taken(json_t *o, int64_t ms)
{
	time_t s = (time_t)(ms / 1000);
	char text[32];
	struct tm tm;

	if (gmtime_r(&s, &tm) && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm))
		put_text(o, "taken", text);
	json_object_set_new(o, "taken_ms", json_integer(ms));
}

static const char *kind_word(uint8_t kind)
{
	return kind == SR_KIND_DATABASE ? "sqlite" : "files";
}

static json_t *stores_json(const struct sr_backup_info *info)
{
	json_t *list = json_array();

	for (size_t i = 0; i < info->n; i++) {
		const struct sr_backup_store *s = &info->stores[i];
		json_t *o = json_object();

		put_text(o, "name", s->name);
		put_text(o, "kind", kind_word(s->kind));
		put_number(o, "leaves", s->leaves);
		put_number(o, "bytes", s->bytes);
		put_hash(o, "map", &s->map);
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *left_out_json(const struct sr_backup_info *info)
{
	json_t *list = json_array();

	for (size_t i = 0; i < info->left_out_n; i++) {
		json_t *o = json_object();

		put_text(o, "path", info->left_out[i].path);
		put_text(o, "why", info->left_out[i].why);
		json_object_set_new(o, "missing", json_boolean(info->left_out[i].missing));
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *head_json(const struct sr_backup_info *info, uint64_t tar_bytes, const uint8_t tar_sha256[SR_SHA256_LEN])
{
	json_t *o = json_object(), *tar = json_object();
	char sum[SR_SHA256_TEXT];

	put_number(o, "sameroot-backup", SR_BACKUP_FORMAT);
	put_text(o, "version", info->version);
	put_text(o, "role", info->role);
	put_taken(o, info->taken_ms);
	put_uuid(o, "node", &info->node);
	put_uuid(o, "instance", &info->instance);
	put_number(o, "epoch", info->epoch);
	put_number(o, "seq", info->seq);
	put_hash(o, "root", &info->root);
	put_hash(o, "key_id", &info->key_id);
	json_object_set_new(o, "stores", stores_json(info));
	json_object_set_new(o, "left_out", left_out_json(info));
	put_number(o, "left_out_count", info->left_out_count);
	put_number(o, "missing_count", info->missing_count);
	sr_sha256_text(sum, tar_sha256);
	put_number(tar, "bytes", tar_bytes);
	put_text(tar, "sha256", sum);
	json_object_set_new(o, "tar", tar);
	return o;
}

/* A key a line. */
void sr_manifest_head(struct sr_buf *out, const struct sr_backup_info *info, uint64_t tar_bytes, const uint8_t tar_sha256[SR_SHA256_LEN])
{
	json_t *o = head_json(info, tar_bytes, tar_sha256), *value;
	const char *key;

	sr_buf_printf(out, "{\n");
	json_object_foreach(o, key, value)
	{
		char *text = json_dumps(value, JSON_ENCODE_ANY);

		sr_buf_printf(out, "\"%s\": %s,\n", key, text);
		free(text);
	}
	sr_buf_printf(out, SR_MANIFEST_MEMBERS);
	json_decref(o);
}

void sr_manifest_line(struct sr_buf *out, const struct sr_backup_member *member, bool first)
{
	char sum[SR_SHA256_TEXT];

	sr_buf_printf(out, "%s{\"path\": \"", first ? "" : ",\n");
	sr_percent(out, member->path, "/");
	sr_buf_printf(out, "\", \"mode\": \"%04o\", \"mtime_ns\": %" PRId64, member->mode, member->mtime_ns);
	if (member->dir) {
		sr_buf_printf(out, ", \"dir\": true}");
		return;
	}
	sr_sha256_text(sum, member->sha256);
	sr_buf_printf(out, ", \"bytes\": %" PRIu64 ", \"sha256\": \"%s\"%s}", member->bytes, sum, member->voided ? ", \"void\": true" : "");
}

void sr_sums_line(struct sr_buf *out, struct sr_bytes path, const uint8_t sha256[SR_SHA256_LEN])
{
	static const char special[] = "\\\n\r", letters[] = "\\nr";
	char sum[SR_SHA256_TEXT];
	bool escaped = false;

	for (size_t i = 0; i < path.len; i++)
		escaped |= path.at[i] && strchr(special, path.at[i]);
	sr_sha256_text(sum, sha256);
	sr_buf_printf(out, "%s%s  ", escaped ? "\\" : "", sum);
	for (size_t i = 0; i < path.len; i++) {
		const char *found = path.at[i] ? strchr(special, path.at[i]) : NULL;

		if (found)
			sr_buf_printf(out, "\\%c", letters[found - special]);
		else
			sr_buf_byte(out, path.at[i]);
	}
	sr_buf_byte(out, '\n');
}

/* --- reading -------------------------------------------------------------------------------------------------------- */

struct parse {
	const char *wrong; /* the first key that is */
};

static const char *get_text(struct parse *p, const json_t *o, const char *name)
{
	const char *text = json_string_value(json_object_get(o, name));

	if (!text && !p->wrong)
		p->wrong = name;
	return text ? text : "";
}

static uint64_t get_number(struct parse *p, const json_t *o, const char *name)
{
	const json_t *v = json_object_get(o, name);

	if ((!json_is_integer(v) || json_integer_value(v) < 0) && !p->wrong)
		p->wrong = name;
	return (uint64_t)json_integer_value(v);
}

static void get_hash(struct parse *p, const json_t *o, const char *name, struct sr_hash *out)
{
	if (!sr_hash_parse(out, sr_bytes_of(get_text(p, o, name))) && !p->wrong)
		p->wrong = name;
}

static void get_uuid(struct parse *p, const json_t *o, const char *name, struct sr_uuid *out)
{
	if (json_is_null(json_object_get(o, name)))
		return;
	if (sr_uuid_parse(out, get_text(p, o, name)) && !p->wrong)
		p->wrong = name;
}

static const json_t *get_list(struct parse *p, const json_t *o, const char *name)
{
	const json_t *list = json_object_get(o, name);

	if (!json_is_array(list) && !p->wrong)
		p->wrong = name;
	return list;
}

static void get_stores(struct parse *p, const json_t *o, struct sr_backup_info *info)
{
	const json_t *list = get_list(p, o, "stores");

	info->stores = sr_alloc((json_array_size(list) + 1) * sizeof *info->stores);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *e = json_array_get(list, i);
		struct sr_backup_store *s = &info->stores[info->n++];

		s->name = sr_strdup(get_text(p, e, "name"));
		s->kind = strcmp(get_text(p, e, "kind"), "sqlite") ? SR_KIND_FILES : SR_KIND_DATABASE;
		s->leaves = get_number(p, e, "leaves");
		s->bytes = get_number(p, e, "bytes");
		get_hash(p, e, "map", &s->map);
	}
}

static void get_left_out(struct parse *p, const json_t *o, struct sr_backup_info *info)
{
	const json_t *list = get_list(p, o, "left_out");

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *e = json_array_get(list, i);

		sr_backup_leave_out(info, get_text(p, e, "path"), get_text(p, e, "why"), json_is_true(json_object_get(e, "missing")));
	}
	info->left_out_count = get_number(p, o, "left_out_count");
	info->missing_count = get_number(p, o, "missing_count");
}

static void get_all(struct parse *p, const json_t *o, struct sr_backup_info *info, uint64_t *tar_bytes, uint8_t tar_sha256[SR_SHA256_LEN])
{
	const json_t *tar = json_object_get(o, "tar");

	info->version = sr_strdup(get_text(p, o, "version"));
	info->role = sr_strdup(get_text(p, o, "role"));
	info->taken_ms = (int64_t)get_number(p, o, "taken_ms");
	get_uuid(p, o, "node", &info->node);
	get_uuid(p, o, "instance", &info->instance);
	info->epoch = get_number(p, o, "epoch");
	info->seq = get_number(p, o, "seq");
	get_hash(p, o, "root", &info->root);
	get_hash(p, o, "key_id", &info->key_id);
	get_stores(p, o, info);
	get_left_out(p, o, info);
	*tar_bytes = get_number(p, tar, "bytes");
	if (!sr_unhex(tar_sha256, SR_SHA256_LEN, sr_bytes_of(get_text(p, tar, "sha256"))) && !p->wrong)
		p->wrong = "tar";
}

enum sr_status sr_manifest_parse(struct sr_bytes head, struct sr_backup_info *info, uint64_t *tar_bytes,
				 uint8_t tar_sha256[SR_SHA256_LEN], struct sr_err *err)
{
	struct sr_buf text = {0};
	struct sr_backup_info read = {0};
	struct parse p = {0};
	json_t *o, *format;

	sr_buf_bytes(&text, head);
	sr_buf_printf(&text, "]}");
	o = json_loadb((const char *)text.at, text.len, JSON_REJECT_DUPLICATES, NULL);
	sr_buf_free(&text);
	format = json_object_get(o, "sameroot-backup");
	if (!json_is_integer(format)) {
		json_decref(o);
		return sr_err_set(err, SR_E_DATA, "backup: " SR_BACKUP_MANIFEST " is malformed");
	}
	if (json_integer_value(format) != SR_BACKUP_FORMAT) {
		sr_err_set(err, SR_E_DATA, "backup: of format %" JSON_INTEGER_FORMAT ", which this program does not know",
			   json_integer_value(format));
		json_decref(o);
		return SR_E_DATA;
	}
	get_all(&p, o, &read, tar_bytes, tar_sha256);
	json_decref(o);
	if (p.wrong) {
		sr_backup_info_free(&read);
		return sr_err_set(err, SR_E_DATA, "backup: " SR_BACKUP_MANIFEST ": %s is missing or malformed", p.wrong);
	}
	*info = read;
	return SR_OK;
}
