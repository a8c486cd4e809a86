/* reader.c - a bundle on its way in.  See bundle.h; the format is sameroot-bundle(5).
 *
 * Three archives stand in a row: `stream` takes zstd off, if it is there; `tar` finds the members in what comes out; and into `anew` we
 * write each member that we accept, as the writer would have.  What came and what was written anew must be the same bytes: so a bundle
 * has one form, and no header field, padding or trailing block is left in which something could hide. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "hashtree/record.h"
#include "lib/bundle/pack.h"

#define STORE_NAME_MAX 255
#define VARINT_MAX 10

struct sr_bundle_reader {
	const struct sr_tree_key *key;
	struct sr_bundle_limits limits;
	sr_bundle_read_fn *read;
	void *ctx;
	struct archive *stream, *tar;
	struct sr_pack anew;
	struct sr_hasher *came, *written; /* of all bytes, as they came and as written anew */
	struct sr_hasher *members;        /* names, sizes and content of the members so far */
	struct sr_hasher *content;        /* of the file in hand */
	struct sr_err failed;             /* why a callback said no */
	bool ended;                       /* read() gave its last byte */
	bool used;
	uint64_t bytes;                   /* decompressed, so far */
	uint64_t room;                    /* so much of a frame was asked for */
	char *head;

	char name[SR_MEMBER_NAME]; /* the member in hand */
	uint64_t size, index;

	struct sr_buf frames;  /* what is not parsed yet of a .leaves member */
	bool has_content;      /* the last frame is followed by its content ... */
	struct sr_buf pending; /* ... and this is that frame */
	char *store;           /* of the last frame */
	struct sr_leaf leaf;   /* of the last frame, BORROWING frames or pending */
	uint64_t leaves, datas;

	uint8_t chunk[SR_BUNDLE_CHUNK];
};

/* ---- the archives ---- */

static la_ssize_t on_stream(struct archive *a, void *ctx, const void **at)
{
	struct sr_bundle_reader *r = ctx;
	size_t got = 0;

	*at = r->chunk;
	if (r->ended)
		return 0;
	if (r->read(r->ctx, r->chunk, sizeof(r->chunk), &got, &r->failed)) {
		archive_set_error(a, EIO, "read failed");
		return -1;
	}
	r->ended = got == 0;
	return (la_ssize_t)got;
}

static la_ssize_t refuse_stream(struct sr_bundle_reader *r, struct archive *tar)
{
	const char *why = archive_error_string(r->stream);

	if (r->failed.code == SR_OK)
		sr_err_set(&r->failed, SR_E_DATA, "bundle: %s", why ? why : "malformed");
	archive_set_error(tar, EIO, "%s", r->failed.text);
	return -1;
}

static enum sr_status over(uint64_t limit, const char *what, const char *key, struct sr_err *err)
{
	if (key)
		return sr_err_set(err, SR_E_LIMIT, "bundle: more than %s, %" PRIu64 " %s", key, limit, what);
	return sr_err_set(err, SR_E_LIMIT, "bundle: more than the limit of %" PRIu64 " %s", limit, what);
}

/* The next piece of the tar, decompressed. */
static la_ssize_t on_tar(struct archive *tar, void *ctx, const void **at)
{
	struct sr_bundle_reader *r = ctx;
	la_int64_t offset;
	size_t n = 0;
	int got;

	do
		got = archive_read_data_block(r->stream, at, &n, &offset);
	while (got == ARCHIVE_OK && n == 0); /* nothing is not the end */
	if (got == ARCHIVE_EOF)
		return 0;
	if (got == ARCHIVE_OK && n > r->limits.bytes - r->bytes)
		over(r->limits.bytes, "bytes", r->limits.bytes_key, &r->failed);
	if (got != ARCHIVE_OK || r->failed.code)
		return refuse_stream(r, tar);
	r->bytes += n;
	sr_hasher_add(r->came, *at, n);
	return (la_ssize_t)n;
}

static enum sr_status on_anew(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	struct sr_bundle_reader *r = ctx;

	(void)err;
	sr_hasher_add(r->written, at, n);
	return SR_OK;
}

static enum sr_status archive_fault(struct sr_bundle_reader *r, struct archive *a, struct sr_err *err)
{
	const char *why = archive_error_string(a);

	if (r->failed.code == SR_OK)
		return sr_err_set(err, SR_E_DATA, "bundle: %s", why ? why : "malformed");
	if (err)
		*err = r->failed;
	return r->failed.code;
}

/* Nothing but zstd, tar and the stream as it is: the other filters and formats are attack surface, and some start programs. */
static enum sr_status open_archives(struct sr_bundle_reader *r, struct sr_err *err)
{
	struct archive_entry *entry;

	r->stream = archive_read_new();
	r->tar = archive_read_new();
	if (!r->stream || !r->tar)
		return sr_err_set(err, SR_E_INTERNAL, "bundle: no memory");
	if (archive_read_support_filter_zstd(r->stream) || archive_read_support_format_raw(r->stream))
		return sr_err_set(err, SR_E_INTERNAL, "bundle: this libarchive was built without zstd");
	if (archive_read_open(r->stream, r, NULL, on_stream, NULL) || archive_read_next_header(r->stream, &entry))
		return archive_fault(r, r->stream, err);
	if (archive_filter_count(r->stream) > 2) /* zstd and none */
		return sr_err_set(err, SR_E_DATA, "bundle: compressed more than once");
	if (archive_read_support_format_tar(r->tar) || archive_read_open(r->tar, r, NULL, on_tar, NULL))
		return archive_fault(r, r->tar, err);
	return sr_pack_open(&r->anew, false, on_anew, r, err);
}

/* ---- members ---- */

static enum sr_status refuse(const struct sr_bundle_reader *r, const char *fault, struct sr_err *err)
{
	return sr_err_set(err, SR_E_DATA, "bundle: member %s: %s", r->name, fault);
}

/* A plain file with a short name and a size; what else a header can say shows when it is written anew. */
static enum sr_status take_entry(struct sr_bundle_reader *r, struct archive_entry *entry, struct sr_err *err)
{
	const char *name = archive_entry_pathname(entry);

	if (!name || strlen(name) >= sizeof(r->name))
		return sr_err_set(err, SR_E_DATA, "bundle: unknown member");
	for (const char *c = name; *c; c++)
		if (*c < '!' || *c > '~') /* it is about to stand in an error text */
			return sr_err_set(err, SR_E_DATA, "bundle: unknown member");
	strcpy(r->name, name);
	if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry) || archive_entry_symlink(entry) ||
	    archive_entry_sparse_count(entry))
		return refuse(r, "not a plain file", err);
	if (!archive_entry_size_is_set(entry) || archive_entry_size(entry) < 0)
		return refuse(r, "no size", err);
	r->size = (uint64_t)archive_entry_size(entry);
	return SR_OK;
}

static enum sr_status next_member(struct sr_bundle_reader *r, struct sr_err *err)
{
	struct archive_entry *entry;
	int got = archive_read_next_header(r->tar, &entry);
	enum sr_status rc;

	if (got == ARCHIVE_EOF)
		return sr_err_set(err, SR_E_DATA, "bundle: truncated: no end marker");
	if (got != ARCHIVE_OK)
		return archive_fault(r, r->tar, err);
	rc = take_entry(r, entry, err);
	if (rc)
		return rc;
	r->index++;
	if (strcmp(r->name, "end"))
		sr_member_hash(r->members, r->name, r->size);
	return sr_pack_member(&r->anew, r->name, r->size, err);
}

/* Is the member in hand the one of this kind that may come now? */
static bool member_is(const struct sr_bundle_reader *r, const char *kind)
{
	char name[SR_MEMBER_NAME];

	sr_member_name(name, r->index - 1, kind); /* index was raised when it was taken; the head counts as 0 */
	return !strcmp(r->name, name);
}

typedef enum sr_status take_fn(struct sr_bundle_reader *r, const struct sr_bundle_sink *sink, const void *at, size_t n, struct sr_err *err);

/* All of the member in hand, piece by piece. */
static enum sr_status read_member(struct sr_bundle_reader *r, const struct sr_bundle_sink *sink, take_fn *take, struct sr_err *err)
{
	bool hashed = strcmp(r->name, "end");
	uint64_t done = 0;
	enum sr_status rc = SR_OK;

	while (!rc) {
		la_int64_t offset;
		const void *at;
		size_t n = 0;
		int got = archive_read_data_block(r->tar, &at, &n, &offset);

		if (got == ARCHIVE_EOF)
			return done == r->size ? SR_OK : refuse(r, "cut short", err);
		if (got != ARCHIVE_OK)
			return archive_fault(r, r->tar, err);
		if ((uint64_t)offset != done || n > r->size - done)
			return refuse(r, "not in one piece", err);
		done += n;
		if (hashed)
			sr_hasher_add(r->members, at, n);
		rc = sr_pack_data(&r->anew, at, n, err);
		if (!rc && n)
			rc = take(r, sink, at, n, err);
	}
	return rc;
}

/* ---- the head ---- */

static enum sr_status take_buffered(struct sr_bundle_reader *r, const struct sr_bundle_sink *sink, const void *at, size_t n,
                                    struct sr_err *err)
{
	(void)sink;
	(void)err;
	sr_buf_add(&r->pending, at, n);
	return SR_OK;
}

/* A small member, whole, in r->pending. */
static enum sr_status read_small(struct sr_bundle_reader *r, uint64_t least, uint64_t most, struct sr_err *err)
{
	sr_buf_clear(&r->pending);
	if (r->size < least || r->size > most)
		return refuse(r, "its size is wrong", err);
	return read_member(r, NULL, take_buffered, err);
}

static enum sr_status parse_head(struct sr_bundle_reader *r, struct sr_err *err)
{
	struct sr_reader in = sr_reader(sr_buf_view(&r->pending));
	struct sr_bytes magic = sr_read_bytes(&in, sizeof(SR_BUNDLE_MAGIC) - 1);
	struct sr_bytes key = sr_read_bytes(&in, sizeof(SR_BUNDLE_KEY) - 1);
	struct sr_bytes id = sr_read_bytes(&in, 2 * SR_HASH_LEN);
	bool newline = sr_read_byte(&in) == '\n';
	struct sr_bytes text = sr_read_bytes(&in, sr_read_left(&in));
	char ours[SR_HASH_TEXT];

	if (!sr_bytes_eq(magic, sr_bytes_of(SR_BUNDLE_MAGIC)) || !sr_bytes_eq(key, sr_bytes_of(SR_BUNDLE_KEY)) || !newline)
		return refuse(r, "not a bundle of version 1", err);
	sr_hash_text(ours, &r->key->id);
	if (!sr_bytes_eq(id, sr_bytes_of(ours)))
		return refuse(r, "made under another tree key", err);
	if (text.len && memchr(text.at, '\0', text.len))
		return refuse(r, "a NUL in its text", err);
	r->head = sr_text(text);
	return SR_OK;
}

static enum sr_status read_head(struct sr_bundle_reader *r, struct sr_err *err)
{
	enum sr_status rc = next_member(r, err);

	if (rc)
		return rc;
	if (strcmp(r->name, "sameroot"))
		return sr_err_set(err, SR_E_DATA, "bundle: it does not begin as one");
	if (r->size > SR_BUNDLE_HEAD_FIXED + SR_BUNDLE_HEAD_MAX)
		return sr_err_set(err, SR_E_LIMIT, "bundle: a head of over %d bytes", SR_BUNDLE_HEAD_MAX);
	rc = read_small(r, SR_BUNDLE_HEAD_FIXED, SR_BUNDLE_HEAD_FIXED + SR_BUNDLE_HEAD_MAX, err);
	return rc ? rc : parse_head(r, err);
}

enum sr_status sr_bundle_reader_new(struct sr_bundle_reader **out, const struct sr_tree_key *key, const struct sr_bundle_limits *limits,
                                    sr_bundle_read_fn *read, void *ctx, struct sr_err *err)
{
	struct sr_bundle_reader *r = sr_alloc(sizeof(*r));
	enum sr_status rc;

	r->key = key;
	r->limits = *limits;
	r->read = read;
	r->ctx = ctx;
	r->came = sr_hasher_new(key);
	r->written = sr_hasher_new(key);
	r->members = sr_hasher_new(key);
	r->content = sr_hasher_new(key);
	rc = open_archives(r, err);
	if (!rc)
		rc = read_head(r, err);
	if (rc)
		sr_bundle_reader_free(r);
	else
		*out = r;
	return rc;
}

const char *sr_bundle_head(const struct sr_bundle_reader *r)
{
	return r->head;
}

void sr_bundle_reader_free(struct sr_bundle_reader *r)
{
	if (!r)
		return;
	archive_read_free(r->tar); /* takes NULL */
	archive_read_free(r->stream);
	sr_pack_free(&r->anew);
	sr_hasher_free(r->came);
	sr_hasher_free(r->written);
	sr_hasher_free(r->members);
	sr_hasher_free(r->content);
	sr_buf_free(&r->frames);
	sr_buf_free(&r->pending);
	free(r->store);
	free(r->head);
	free(r);
}

/* ---- frames ---- */

static enum sr_status check_store_name(const struct sr_bundle_reader *r, struct sr_bytes name, struct sr_err *err)
{
	if (name.len > STORE_NAME_MAX)
		return refuse(r, "a store's name of over 255 bytes", err);
	if (!name.len || memchr(name.at, '\0', name.len) || memchr(name.at, '/', name.len))
		return refuse(r, "a frame without a store name", err);
	return SR_OK;
}

static enum sr_status check_row(const struct sr_bundle_reader *r, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct sr_column *columns = NULL;
	enum sr_status rc;
	size_t n;

	if (!sr_leaf_record_is(leaf, r->key))
		return refuse(r, "a row's record is not its hash", err);
	rc = sr_record_decode(leaf->record, &columns, &n, err);
	if (rc)
		sr_err_context(err, "bundle: member %s", r->name);
	else
		free(columns);
	return rc;
}

/* What a leaf may be elsewhere, but not on the wire. */
static enum sr_status check_leaf(const struct sr_bundle_reader *r, const struct sr_leaf *leaf, bool has_content, struct sr_err *err)
{
	if ((leaf->flags & (SR_LEAF_VOID | SR_LEAF_MERGED)) || leaf->stage.len || leaf->inode)
		return refuse(r, "a leaf with its sender's own state", err);
	if (has_content && leaf->to.kind != SR_KIND_FILE)
		return refuse(r, "content for what is not a file", err);
	if (has_content && leaf->flags & SR_LEAF_FROM)
		return refuse(r, "content that is said to be there at once", err);
	if ((leaf->flags & SR_LEAF_GONE) && leaf->to.kind != SR_KIND_NONE)
		return refuse(r, "a leaf that is gone and there at once", err);
	if (has_content && leaf->to.bytes > r->limits.file)
		return sr_err_set(err, SR_E_LIMIT, "bundle: over the limit of %" PRIu64 " bytes a file", r->limits.file);
	return leaf->to.kind == SR_KIND_ROW ? check_row(r, leaf, err) : SR_OK;
}

/* One frame into r->store, r->leaf, r->has_content. */
static enum sr_status parse_frame(struct sr_bundle_reader *r, struct sr_bytes frame, struct sr_err *err)
{
	struct sr_reader in = sr_reader(frame);
	struct sr_bytes store = sr_read_string(&in);
	uint8_t content = sr_read_byte(&in);
	enum sr_status rc;

	if (in.bad || content > 1)
		return refuse(r, "a malformed frame", err);
	rc = check_store_name(r, store, err);
	if (rc)
		return rc;
	rc = sr_leaf_decode(sr_read_bytes(&in, sr_read_left(&in)), &r->leaf, err);
	if (rc) {
		sr_err_context(err, "bundle: member %s", r->name);
		return rc;
	}
	rc = check_leaf(r, &r->leaf, content, err);
	if (rc)
		return rc;
	free(r->store);
	r->store = sr_text(store);
	r->has_content = content;
	return SR_OK;
}

static enum sr_status take_frame(struct sr_bundle_reader *r, const struct sr_bundle_sink *sink, struct sr_bytes frame, struct sr_err *err)
{
	enum sr_status rc;

	if (r->has_content)
		return refuse(r, "a frame after the one with content", err);
	if (r->leaves == r->limits.leaves)
		return over(r->limits.leaves, "leaves", r->limits.leaves_key, err);
	r->leaves++;
	rc = parse_frame(r, frame, err);
	if (!rc && r->has_content) { /* it is needed again, beyond this piece of the member */
		sr_buf_clear(&r->pending);
		sr_buf_bytes(&r->pending, frame);
		rc = parse_frame(r, sr_buf_view(&r->pending), err);
	}
	return rc ? rc : sink->leaf(sink->ctx, r->store, &r->leaf, r->has_content, err);
}

/* The next whole frame at the front of `in`: false when more of the member is needed first, or *rc says no. */
static bool next_frame(const struct sr_bundle_reader *r, struct sr_reader *in, struct sr_bytes *frame, enum sr_status *rc,
                       struct sr_err *err)
{
	struct sr_reader ahead = *in;
	uint64_t n = sr_read_varint(&ahead);

	if (ahead.bad) {
		if (sr_read_left(in) >= VARINT_MAX)
			*rc = refuse(r, "a malformed frame", err);
		return false;
	}
	if (n > r->limits.frame) {
		*rc = sr_err_set(err, SR_E_LIMIT, "bundle: over the limit of %" PRIu64 " bytes a frame, that is a row", r->limits.frame);
		return false;
	}
	if (n > sr_read_left(&ahead))
		return false;
	*frame = sr_read_bytes(&ahead, (size_t)n);
	*in = ahead;
	return true;
}

/* For so much of a frame, as it comes: whoever says how long it will be has not sent it. */
static enum sr_status ask_for_room(struct sr_bundle_reader *r, uint64_t bytes, struct sr_err *err)
{
	enum sr_status rc;

	if (!r->limits.room || bytes <= r->room || bytes <= SR_BUNDLE_SMALL)
		return SR_OK;
	rc = r->limits.room(r->limits.room_ctx, bytes + SR_BUNDLE_SMALL, err);
	if (!rc)
		r->room = bytes + SR_BUNDLE_SMALL;
	return rc;
}

static enum sr_status take_frames(struct sr_bundle_reader *r, const struct sr_bundle_sink *sink, const void *at, size_t n,
                                  struct sr_err *err)
{
	struct sr_bytes frame;
	struct sr_reader in;
	enum sr_status rc = ask_for_room(r, r->frames.len + n, err);

	if (rc)
		return rc;
	sr_buf_add(&r->frames, at, n);
	in = sr_reader(sr_buf_view(&r->frames));
	while (!rc && next_frame(r, &in, &frame, &rc, err))
		rc = take_frame(r, sink, frame, err);
	if (in.pos) {
		memmove(r->frames.at, r->frames.at + in.pos, r->frames.len - in.pos);
		r->frames.len -= in.pos;
	}
	return rc;
}

static enum sr_status read_leaves(struct sr_bundle_reader *r, const struct sr_bundle_sink *sink, struct sr_err *err)
{
	enum sr_status rc;

	if (!member_is(r, "leaves"))
		return refuse(r, "unknown, or not in its place", err);
	if (!r->size)
		return refuse(r, "empty", err);
	r->has_content = false;
	rc = read_member(r, sink, take_frames, err);
	if (!rc && r->frames.len)
		return refuse(r, "cut short within a frame", err);
	return rc;
}

/* ---- content ---- */

static enum sr_status take_content(struct sr_bundle_reader *r, const struct sr_bundle_sink *sink, const void *at, size_t n,
                                   struct sr_err *err)
{
	sr_hasher_add(r->content, at, n);
	return sink->data(sink->ctx, at, n, err);
}

static enum sr_status take_nothing(struct sr_bundle_reader *r, const struct sr_bundle_sink *sink, const void *at, size_t n,
                                   struct sr_err *err)
{
	(void)sink;
	(void)at;
	(void)n;
	return refuse(r, "it has content", err);
}

/* The .data member of r->leaf. */
static enum sr_status read_data(struct sr_bundle_reader *r, const struct sr_bundle_sink *sink, struct sr_err *err)
{
	enum sr_status rc;

	if (!member_is(r, "data"))
		return refuse(r, "not the content that was announced", err);
	if (r->size != r->leaf.to.bytes)
		return refuse(r, "not of the size that was announced", err);
	r->datas++;
	sr_hasher_reset(r->content);
	rc = sink->begin(sink->ctx, r->store, &r->leaf, err);
	return rc ? rc : read_member(r, sink, take_content, err);
}

/* The content of r->leaf, whether it is void, and the header of the member after it. */
static enum sr_status read_content(struct sr_bundle_reader *r, const struct sr_bundle_sink *sink, struct sr_err *err)
{
	enum sr_status rc = next_member(r, err);
	struct sr_hash hash;
	bool ok;

	if (!rc)
		rc = read_data(r, sink, err);
	if (!rc)
		rc = next_member(r, err);
	if (rc)
		return rc;
	sr_hasher_get(r->content, &hash);
	ok = !member_is(r, "void");
	if (ok && !sr_hash_eq(&hash, &r->leaf.to.hash))
		return sr_err_set(err, SR_E_DATA, "bundle: a file's content is not its hash");
	if (!ok) {
		rc = read_member(r, sink, take_nothing, err);
		if (!rc)
			rc = next_member(r, err);
	}
	return rc ? rc : sink->end(sink->ctx, r->store, &r->leaf, ok, err);
}

/* ---- the end ---- */

static enum sr_status read_end(struct sr_bundle_reader *r, struct sr_err *err)
{
	enum sr_status rc = read_small(r, SR_BUNDLE_END_LEN, SR_BUNDLE_END_LEN, err);
	struct sr_reader in = sr_reader(sr_buf_view(&r->pending));
	struct sr_hash hash;

	if (rc)
		return rc;
	sr_hasher_get(r->members, &hash);
	if (sr_read_be64(&in) != r->leaves || sr_read_be64(&in) != r->datas)
		return refuse(r, "its counts are wrong", err);
	if (!sr_bytes_eq(sr_read_bytes(&in, SR_HASH_LEN), sr_bytes(hash.b, SR_HASH_LEN)))
		return refuse(r, "its hash is wrong", err);
	return SR_OK;
}

/* Nothing more may come, and what came must be what the writer would have written. */
static enum sr_status read_rest(struct sr_bundle_reader *r, struct sr_err *err)
{
	struct sr_hash came, written;
	struct archive_entry *entry;
	const void *at;
	la_ssize_t n;
	enum sr_status rc;
	int got = archive_read_next_header(r->tar, &entry);

	if (got == ARCHIVE_OK)
		return sr_err_set(err, SR_E_DATA, "bundle: a member after its end");
	if (got != ARCHIVE_EOF)
		return archive_fault(r, r->tar, err);
	n = on_tar(r->tar, r, &at);
	if (n < 0)
		return archive_fault(r, r->tar, err);
	if (n > 0 || (!r->ended && on_stream(r->stream, r, &at) != 0))
		return r->failed.code ? archive_fault(r, r->stream, err) : sr_err_set(err, SR_E_DATA, "bundle: bytes after its end");
	rc = sr_pack_close(&r->anew, err);
	if (rc)
		return rc;
	sr_hasher_get(r->came, &came);
	sr_hasher_get(r->written, &written);
	return sr_hash_eq(&came, &written) ? SR_OK : sr_err_set(err, SR_E_DATA, "bundle: not in the one form that a bundle has");
}

enum sr_status sr_bundle_read(struct sr_bundle_reader *r, const struct sr_bundle_sink *sink, struct sr_err *err)
{
	enum sr_status rc;

	assert(!r->used);
	r->used = true;
	rc = next_member(r, err);
	while (!rc && strcmp(r->name, "end")) {
		rc = read_leaves(r, sink, err);
		if (!rc)
			rc = r->has_content ? read_content(r, sink, err) : next_member(r, err);
	}
	if (!rc)
		rc = read_end(r, err);
	return rc ? rc : read_rest(r, err);
}
