/* leaf.c - the codec of one leaf, the rules for its path, the path as text.  See leaf.h. */
#include "lib/leaf/leaf.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "hashtree/record.h"

#define TEXT_PATH_MAX 200 /* bytes of a path that an error text quotes */

/* ---- encoding ---- */

static bool has_file(const struct sr_leaf *leaf)
{
	return leaf->expect.kind == SR_KIND_FILE || leaf->to.kind == SR_KIND_FILE;
}

static void encode_version(struct sr_buf *out, const struct sr_version *v)
{
	sr_buf_byte(out, v->kind);
	if (v->kind == SR_KIND_FILE || v->kind == SR_KIND_DIR)
		sr_buf_varint(out, v->mode);
	if (v->kind == SR_KIND_FILE || v->kind == SR_KIND_ROW)
		sr_buf_varint(out, v->bytes);
	if (v->kind != SR_KIND_NONE && v->kind != SR_KIND_DIR)
		sr_buf_add(out, v->hash.b, SR_HASH_LEN);
}

void sr_leaf_encode(struct sr_buf *out, const struct sr_leaf *leaf)
{
	sr_buf_string(out, leaf->path); /* first: the spool's sort reads no further */
	sr_buf_varint(out, leaf->flags);
	encode_version(out, &leaf->expect);
	encode_version(out, &leaf->to);
	if (leaf->flags & SR_LEAF_MERGED)
		encode_version(out, &leaf->base);
	if (has_file(leaf))
		sr_buf_be64(out, (uint64_t)leaf->mtime_ns);
	sr_buf_varint(out, leaf->epoch);
	sr_buf_varint(out, leaf->seq);
	if (leaf->flags & SR_LEAF_SINCE) {
		sr_buf_varint(out, leaf->since_epoch);
		sr_buf_varint(out, leaf->since_seq);
	}
	if (leaf->flags & SR_LEAF_FROM)
		sr_buf_string(out, leaf->from);
	sr_buf_string(out, leaf->record);
	sr_buf_string(out, leaf->stage);
	sr_buf_varint(out, leaf->inode);
}

/* ---- decoding ---- */

/* NULL, or what is wrong with the version. */
static const char *decode_version(struct sr_reader *r, struct sr_version *v)
{
	uint64_t mode = 0;
	struct sr_bytes hash;

	v->kind = sr_read_byte(r);
	if (v->kind > SR_KIND_TABLE)
		return "unknown kind";
	if (v->kind == SR_KIND_FILE || v->kind == SR_KIND_DIR)
		mode = sr_read_varint(r);
	if (mode > 0777)
		return "mode over 0777";
	v->mode = (uint16_t)mode;
	if (v->kind == SR_KIND_FILE || v->kind == SR_KIND_ROW)
		v->bytes = sr_read_varint(r);
	if (v->bytes > INT64_MAX)
		return "size over 2^63-1";
	if (v->kind == SR_KIND_NONE || v->kind == SR_KIND_DIR)
		return NULL;
	hash = sr_read_bytes(r, SR_HASH_LEN);
	if (r->bad)
		return "cut short";
	memcpy(v->hash.b, hash.at, SR_HASH_LEN);
	return v->kind != SR_KIND_TABLE && sr_hash_none(&v->hash) ? "no hash" : NULL;
}

/* The kind of the store that holds such a version; 0 for an absent one, which any may hold. */
static uint8_t store_kind_of(uint8_t kind)
{
	switch (kind) {
	case SR_KIND_FILE:
	case SR_KIND_DIR:
		return SR_KIND_FILES;
	case SR_KIND_ROW:
	case SR_KIND_TABLE:
		return SR_KIND_DATABASE;
	}
	return 0;
}

bool sr_path_is_schema(uint8_t store_kind, struct sr_bytes path)
{
	return store_kind == SR_KIND_DATABASE && sr_bytes_eq(path, sr_bytes_of(SR_SCHEMA_PATH));
}

/* A row's path has a key, a table's has none. */
static bool version_fits_path(const struct sr_version *v, bool key)
{
	return (v->kind != SR_KIND_ROW || key) && (v->kind != SR_KIND_TABLE || !key);
}

static bool record_fits(const struct sr_leaf *leaf)
{
	if (!leaf->record.len)
		return true;
	if (leaf->flags & SR_LEAF_MERGED)
		return leaf->to.kind == SR_KIND_ROW; /* while it is not merged yet, the record is another's */
	if (leaf->to.kind == SR_KIND_ROW)
		return leaf->to.bytes == leaf->record.len || sr_path_is_bag(leaf->path);
	return leaf->to.kind == SR_KIND_TABLE && sr_path_is_schema(SR_KIND_DATABASE, leaf->path);
}

/* One plain file name, so that it cannot lead out of the staging directory. */
static bool is_plain_name(struct sr_bytes name)
{
	return name.len && name.len <= NAME_MAX && !memchr(name.at, '/', name.len) && !memchr(name.at, '\0', name.len) &&
	       !sr_bytes_eq(name, sr_bytes_of(".")) && !sr_bytes_eq(name, sr_bytes_of(".."));
}

static const char *decode_fields(struct sr_reader *r, struct sr_leaf *leaf)
{
	const char *fault;
	uint64_t flags;

	leaf->path = sr_read_string(r);
	flags = sr_read_varint(r);
	if (flags & ~(uint64_t)SR_LEAF_FLAGS)
		return "unknown flag";
	leaf->flags = (uint32_t)flags;
	if ((fault = decode_version(r, &leaf->expect)) || (fault = decode_version(r, &leaf->to)))
		return fault;
	if (leaf->flags & SR_LEAF_MERGED && (fault = decode_version(r, &leaf->base)))
		return fault;
	if (has_file(leaf))
		leaf->mtime_ns = (int64_t)sr_read_be64(r);
	leaf->epoch = sr_read_varint(r);
	leaf->seq = sr_read_varint(r);
	if (leaf->flags & SR_LEAF_SINCE) {
		leaf->since_epoch = sr_read_varint(r);
		leaf->since_seq = sr_read_varint(r);
	}
	if (leaf->flags & SR_LEAF_FROM)
		leaf->from = sr_read_string(r);
	leaf->record = sr_read_string(r);
	leaf->stage = sr_read_string(r);
	leaf->inode = sr_read_varint(r);
	return sr_read_done(r) ? NULL : r->bad ? "cut short or not in shortest form" : "bytes after its end";
}

/* What the fields say of each other. */
static const char *check_fields(const struct sr_leaf *leaf)
{
	uint8_t before = store_kind_of(leaf->expect.kind), after = store_kind_of(leaf->to.kind);
	bool key = leaf->path.len && memchr(leaf->path.at, '\0', leaf->path.len);

	if (leaf->flags & SR_LEAF_MERGED && (leaf->base.kind == SR_KIND_FILE || !version_fits_path(&leaf->base, key)))
		return "a base that is not of its path";
	if (before && after && before != after)
		return "of a file and of a row";
	if (!version_fits_path(&leaf->expect, key) || !version_fits_path(&leaf->to, key))
		return "a row without a key, or a table with one";
	if (sr_path_is_bag(leaf->path) && leaf->to.kind == SR_KIND_ROW && !leaf->to.bytes)
		return "a row that is there no times";
	if (!record_fits(leaf))
		return "a record that is not of its version";
	if ((leaf->stage.len || leaf->inode) && leaf->to.kind != SR_KIND_FILE)
		return "staged, and not a file";
	if (leaf->flags & SR_LEAF_FROM && (leaf->to.kind != SR_KIND_FILE || !leaf->from.len))
		return "from no path, or for what is no file";
	if (leaf->stage.len && !is_plain_name(leaf->stage))
		return "staged under no plain name";
	return NULL;
}

/* A path within an error text, short and printable. */
static enum sr_status path_fault(struct sr_err *err, struct sr_bytes path, const char *fault)
{
	bool whole = path.len <= TEXT_PATH_MAX;
	struct sr_buf text = {0};

	sr_percent(&text, sr_bytes(path.at, whole ? path.len : TEXT_PATH_MAX), NULL);
	sr_err_set(err, SR_E_DATA, "path %s%s: %s", sr_buf_text(&text), whole ? "" : "...", fault);
	sr_buf_free(&text);
	return SR_E_DATA;
}

static enum sr_status check_any_path(struct sr_bytes path, struct sr_err *err)
{
	if (!path.len)
		return sr_err_set(err, SR_E_DATA, "empty path");
	return path.len > SR_PATH_MAX ? path_fault(err, path, "longer than 65535 bytes") : SR_OK;
}

enum sr_status sr_leaf_decode_own(struct sr_bytes in, struct sr_leaf *out, struct sr_err *err)
{
	struct sr_reader r = sr_reader(in);
	struct sr_leaf leaf = {0};
	const char *fault = decode_fields(&r, &leaf);

	if (fault)
		return path_fault(err, leaf.path, fault);
	*out = leaf;
	return SR_OK;
}

enum sr_status sr_leaf_decode(struct sr_bytes in, struct sr_leaf *out, struct sr_err *err)
{
	struct sr_reader r = sr_reader(in);
	struct sr_leaf leaf = {0};
	const char *fault = decode_fields(&r, &leaf);
	enum sr_status rc;
	uint8_t kind;

	if (!fault)
		fault = check_fields(&leaf);
	if (fault)
		return path_fault(err, leaf.path, fault);
	kind = store_kind_of(leaf.to.kind ? leaf.to.kind : leaf.expect.kind);
	rc = kind ? sr_leaf_path_check(kind, leaf.path, err) : check_any_path(leaf.path, err);
	if (!rc && leaf.flags & SR_LEAF_FROM)
		rc = sr_leaf_path_check(SR_KIND_FILES, leaf.from, err);
	if (!rc)
		*out = leaf;
	return rc;
}

/* ---- paths ---- */

/* Cut the first component off the front of *rest; false when there is none left. */
static bool next_component(struct sr_bytes *rest, struct sr_bytes *component)
{
	const uint8_t *nul;

	if (!rest->at)
		return false;
	nul = rest->len ? memchr(rest->at, '\0', rest->len) : NULL;
	*component = sr_bytes(rest->at, nul ? (size_t)(nul - rest->at) : rest->len);
	*rest = nul ? sr_bytes(nul + 1, rest->len - component->len - 1) : sr_bytes(NULL, 0);
	return true;
}

static enum sr_status check_file_path(struct sr_bytes path, struct sr_err *err)
{
	struct sr_bytes rest = path, component;

	for (size_t depth = 0; next_component(&rest, &component); depth++) {
		if (component.len > NAME_MAX)
			return path_fault(err, path, "a name of over 255 bytes");
		if (!is_plain_name(component))
			return path_fault(err, path, "a component that is no file name");
		if (depth == 0 && sr_bytes_eq(component, sr_bytes_of(".sameroot")))
			return path_fault(err, path, ".sameroot is not synchronised");
		if (depth == SR_DEPTH_MAX)
			return path_fault(err, path, "over 2048 names deep");
	}
	return SR_OK;
}

/* Does it start like this, in any case of letters?  SQLite's names ignore case. */
static bool starts(struct sr_bytes name, const char *with)
{
	return name.len >= strlen(with) && !strncasecmp((const char *)name.at, with, strlen(with));
}

static enum sr_status check_row_path(struct sr_bytes path, struct sr_err *err)
{
	struct sr_bytes key = path, table;
	struct sr_err why;

	if (sr_path_is_schema(SR_KIND_DATABASE, path))
		return SR_OK;
	next_component(&key, &table);
	if (!table.len)
		return path_fault(err, path, "a table without a name");
	if (starts(table, "sqlite_") || starts(table, "_sameroot_"))
		return path_fault(err, path, "a reserved table");
	return key.at && sr_key_check(key, &why) ? path_fault(err, path, why.text) : SR_OK;
}

enum sr_status sr_leaf_path_check(uint8_t store_kind, struct sr_bytes path, struct sr_err *err)
{
	enum sr_status rc = check_any_path(path, err);

	if (rc)
		return rc;
	if (store_kind == SR_KIND_FILES)
		return check_file_path(path, err);
	if (store_kind == SR_KIND_DATABASE)
		return check_row_path(path, err);
	return path_fault(err, path, "in no kind of store");
}

static void file_path_text(struct sr_buf *out, struct sr_bytes path)
{
	struct sr_bytes component;

	while (next_component(&path, &component)) {
		sr_buf_byte(out, '/');
		sr_percent(out, component, NULL);
	}
}

static void row_path_text(struct sr_buf *out, struct sr_bytes path)
{
	struct sr_bytes table;
	size_t before;

	next_component(&path, &table);
	sr_buf_byte(out, '/');
	sr_percent(out, table, NULL);
	if (!path.at)
		return;
	sr_buf_byte(out, '/');
	before = out->len;
	if (sr_key_is_bag(path)) {
		sr_buf_byte(out, '*'); /* in no key's text: there it is %2A */
		sr_hex(out, sr_bytes(path.at + path.len - SR_HASH_LEN, SR_HASH_LEN));
	} else if (sr_key_text(out, path, NULL)) {
		out->len = before;
		sr_percent(out, path, NULL); /* no key at all: show its bytes */
	}
}

bool sr_leaf_has_content(const struct sr_leaf *leaf)
{
	return leaf->to.kind == SR_KIND_FILE || leaf->to.kind == SR_KIND_ROW ||
	       (leaf->to.kind == SR_KIND_TABLE && sr_path_is_schema(SR_KIND_DATABASE, leaf->path));
}

void sr_leaf_path_text(struct sr_buf *out, const char *store, uint8_t store_kind, struct sr_bytes path)
{
	sr_percent(out, sr_bytes_of(store), NULL);
	if (!path.len)
		return;
	if (store_kind == SR_KIND_DATABASE)
		row_path_text(out, path);
	else
		file_path_text(out, path);
}

/* ---- bags ---- */

static const uint8_t bag_key_start[] = {2, SR_NULL, SR_BLOB, SR_HASH_LEN}; /* of the key codec: two values, the second of 16 bytes */

bool sr_key_is_bag(struct sr_bytes key)
{
	return key.len == SR_BAG_KEY_LEN && !memcmp(key.at, bag_key_start, sizeof bag_key_start);
}

bool sr_path_is_bag(struct sr_bytes path)
{
	const uint8_t *nul = path.len ? memchr(path.at, '\0', path.len) : NULL;

	return nul && sr_key_is_bag(sr_bytes(nul + 1, path.len - (size_t)(nul + 1 - path.at)));
}

void sr_bag_key(struct sr_buf *out, const struct sr_hash *record)
{
	sr_buf_add(out, bag_key_start, sizeof bag_key_start);
	sr_buf_add(out, record->b, SR_HASH_LEN);
}

bool sr_leaf_record_is(const struct sr_leaf *leaf, const struct sr_tree_key *key)
{
	struct sr_hash hash;

	sr_hash_of(&hash, key, leaf->record);
	if (!sr_hash_eq(&hash, &leaf->to.hash))
		return false;
	if (!sr_path_is_bag(leaf->path))
		return leaf->record.len == leaf->to.bytes;
	return !memcmp(leaf->path.at + leaf->path.len - SR_HASH_LEN, hash.b, SR_HASH_LEN);
}

bool sr_path_under(struct sr_bytes path, struct sr_bytes top)
{
	if (!top.len)
		return true;
	return path.len >= top.len && memcmp(path.at, top.at, top.len) == 0 && (path.len == top.len || path.at[top.len] == '\0');
}
