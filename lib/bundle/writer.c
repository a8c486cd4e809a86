/* writer.c - a bundle on its way out.  See bundle.h; the format is sameroot-bundle(5). */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bundle/pack.h"

#define LEAVES_BYTES (256u << 10) /* of frames, then a .leaves member is written */

struct sr_bundle_writer {
	struct sr_pack pack;
	const struct sr_tree_key *key;
	struct sr_hasher *members; /* names, sizes and content of all members so far */
	struct sr_hasher *content; /* of the file in hand */
	struct sr_buf frame, frames;
	uint64_t index, leaves, datas;
	bool finished;
	uint8_t chunk[SR_BUNDLE_CHUNK];
};

/* ---- members ---- */

static enum sr_status begin_member(struct sr_bundle_writer *w, const char *name, uint64_t size, struct sr_err *err)
{
	w->index++;
	sr_member_hash(w->members, name, size);
	return sr_pack_member(&w->pack, name, size, err);
}

static enum sr_status add_content(struct sr_bundle_writer *w, const void *at, size_t n, struct sr_err *err)
{
	sr_hasher_add(w->members, at, n);
	return sr_pack_data(&w->pack, at, n, err);
}

static enum sr_status add_member(struct sr_bundle_writer *w, const char *name, struct sr_bytes content, struct sr_err *err)
{
	enum sr_status rc = begin_member(w, name, content.len, err);

	return rc ? rc : add_content(w, content.at, content.len, err);
}

static enum sr_status add_numbered(struct sr_bundle_writer *w, const char *kind, struct sr_bytes content, struct sr_err *err)
{
	char name[SR_MEMBER_NAME];

	sr_member_name(name, w->index, kind);
	return add_member(w, name, content, err);
}

static enum sr_status flush_leaves(struct sr_bundle_writer *w, struct sr_err *err)
{
	enum sr_status rc = w->frames.len ? add_numbered(w, "leaves", sr_buf_view(&w->frames), err) : SR_OK;

	sr_buf_clear(&w->frames);
	return rc;
}

/* ---- the writer's life ---- */

enum sr_status sr_bundle_writer_new(struct sr_bundle_writer **out, const struct sr_tree_key *key, const char *head, bool zstd,
                                    sr_bundle_write_fn *write, void *ctx, struct sr_err *err)
{
	struct sr_bundle_writer *w;
	struct sr_buf text = {0};
	char id[SR_HASH_TEXT];
	enum sr_status rc;

	if (strlen(head) > SR_BUNDLE_HEAD_MAX)
		return sr_err_set(err, SR_E_LIMIT, "bundle: a head of over %d bytes", SR_BUNDLE_HEAD_MAX);
	w = sr_alloc(sizeof(*w));
	w->key = key;
	w->members = sr_hasher_new(key);
	w->content = sr_hasher_new(key);
	sr_hash_text(id, &key->id);
	sr_buf_printf(&text, SR_BUNDLE_MAGIC SR_BUNDLE_KEY "%s\n%s", id, head);
	rc = sr_pack_open(&w->pack, zstd, write, ctx, err);
	if (!rc)
		rc = add_member(w, "sameroot", sr_buf_view(&text), err);
	sr_buf_free(&text);
	if (rc)
		sr_bundle_writer_free(w);
	else
		*out = w;
	return rc;
}

void sr_bundle_writer_free(struct sr_bundle_writer *w)
{
	if (!w)
		return;
	sr_pack_free(&w->pack);
	sr_hasher_free(w->members);
	sr_hasher_free(w->content);
	sr_buf_free(&w->frame);
	sr_buf_free(&w->frames);
	free(w);
}

/* ---- leaves ---- */

static void add_frame(struct sr_bundle_writer *w, const char *store, const struct sr_leaf *leaf, bool has_content)
{
	struct sr_leaf bare = *leaf;

	bare.flags &= ~(uint32_t)SR_LEAF_VOID;
	bare.stage = sr_bytes(NULL, 0); /* this machine's own business */
	bare.inode = 0;
	sr_buf_clear(&w->frame);
	sr_buf_string(&w->frame, sr_bytes_of(store));
	sr_buf_byte(&w->frame, has_content);
	sr_leaf_encode(&w->frame, &bare);
	sr_buf_string(&w->frames, sr_buf_view(&w->frame));
	w->leaves++;
}

/* to.bytes bytes of fd as a .data member, zeros for what is not there; *changed: they are not what the leaf says. */
static enum sr_status add_file(struct sr_bundle_writer *w, const struct sr_version *to, int fd, bool *changed, struct sr_err *err)
{
	char name[SR_MEMBER_NAME];
	struct sr_hash hash;
	bool whole = true;
	enum sr_status rc;

	sr_member_name(name, w->index, "data");
	rc = begin_member(w, name, to->bytes, err);
	sr_hasher_reset(w->content);
	for (uint64_t done = 0; !rc && done < to->bytes;) {
		size_t n = to->bytes - done < sizeof(w->chunk) ? (size_t)(to->bytes - done) : sizeof(w->chunk);
		size_t got = whole ? sr_pack_read_file(fd, w->chunk, n, done) : 0;

		whole = whole && got == n;
		memset(w->chunk + got, 0, n - got);
		sr_hasher_add(w->content, w->chunk, n);
		rc = add_content(w, w->chunk, n, err);
		done += n;
	}
	if (rc)
		return rc;
	w->datas++;
	sr_hasher_get(w->content, &hash);
	*changed = !whole || !sr_hash_eq(&hash, &to->hash) || sr_pack_read_file(fd, w->chunk, 1, to->bytes) == 1;
	return SR_OK;
}

/* What our own reader would refuse is not sent: a row changed between comparing and reading it. */
static enum sr_status check_record(struct sr_bundle_writer *w, const struct sr_leaf *leaf, struct sr_err *err)
{
	return sr_leaf_record_is(leaf, w->key) ? SR_OK : sr_err_set(err, SR_E_CHANGED, "bundle: a row's record is not its hash");
}

enum sr_status sr_bundle_add(struct sr_bundle_writer *w, const char *store, const struct sr_leaf *leaf, int content_fd,
                             bool *voided, struct sr_err *err)
{
	bool has_content = content_fd >= 0, changed = false;
	enum sr_status rc = leaf->to.kind == SR_KIND_ROW ? check_record(w, leaf, err) : SR_OK;

	assert(!w->finished);
	assert(!has_content || leaf->to.kind == SR_KIND_FILE);
	if (rc)
		return rc;
	add_frame(w, store, leaf, has_content);
	if (has_content || w->frames.len >= LEAVES_BYTES)
		rc = flush_leaves(w, err);
	if (!rc && has_content)
		rc = add_file(w, &leaf->to, content_fd, &changed, err);
	if (!rc && changed)
		rc = add_numbered(w, "void", sr_bytes(NULL, 0), err);
	if (!rc && voided)
		*voided = changed;
	return rc;
}

enum sr_status sr_bundle_finish(struct sr_bundle_writer *w, struct sr_err *err)
{
	enum sr_status rc = flush_leaves(w, err);
	struct sr_buf end = {0};
	struct sr_hash hash;

	assert(!w->finished);
	w->finished = true;
	sr_hasher_get(w->members, &hash);
	sr_buf_be64(&end, w->leaves);
	sr_buf_be64(&end, w->datas);
	sr_buf_add(&end, hash.b, SR_HASH_LEN);
	if (!rc)
		rc = add_member(w, "end", sr_buf_view(&end), err);
	if (!rc)
		rc = sr_pack_close(&w->pack, err);
	sr_buf_free(&end);
	return rc;
}
