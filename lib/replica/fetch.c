/* fetch.c - see fetch.h. */
#include "lib/replica/fetch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/replica/fetch_internal.h"
#include "lib/replica/foreign.h"
#include "lib/replica/wire.h"

#define FRAME_MAX (1u << 30) /* of one row; SQLite's own limit on a row is about this */
#define FRAME_TOP (128u << 10) /* of a frame without its record: its path, and what else is told of it */
#define CHUNK     65536

/* --- the walk ------------------------------------------------------------------------------------------------------------- */

enum sr_status sr_fetched_nodes(struct sr_nodes *nodes, struct sr_bytes body, struct sr_err *err)
{
	struct sr_reader in = sr_reader(body);
	enum sr_status rc = SR_OK;

	if (!body.len)
		return sr_err_set(err, SR_E_DATA, "answer of /api/tree/nodes: empty");
	while (rc == SR_OK && sr_read_left(&in)) {
		struct sr_bytes frame = sr_read_bytes(&in, sr_read_be32(&in));
		struct sr_hash hash;

		if (in.bad || frame.len < SR_HASH_LEN)
			return sr_err_set(err, SR_E_DATA, "answer of /api/tree/nodes: malformed frame");
		memcpy(hash.b, frame.at, SR_HASH_LEN);
		rc = sr_nodes_put(nodes, &hash, sr_bytes(frame.at + SR_HASH_LEN, frame.len - SR_HASH_LEN), err);
	}
	return rc;
}

static enum sr_status ask_pairs(struct sr_client *client, const struct sr_pair *pairs, size_t n, struct sr_answer *answer,
				struct sr_err *err)
{
	struct sr_buf body = {0};
	struct sr_call call = {.method = "POST", .target = "/api/tree/nodes", .max_answer = SR_WALK_BYTES + 2 * SR_NODE_MAX};
	enum sr_status rc;

	for (size_t k = 0; k < n; k++) {
		sr_buf_add(&body, pairs[k].wanted.b, SR_HASH_LEN);
		sr_buf_add(&body, pairs[k].mine.b, SR_HASH_LEN);
	}
	call.body = sr_buf_view(&body);
	rc = sr_client_call(client, &call, answer, err);
	sr_buf_free(&body);
	return rc;
}

/* Of what it gave: who gave it. */
static enum sr_status blame(const struct sr_client *client, enum sr_status rc, struct sr_err *err)
{
	return rc == SR_E_DATA || rc == SR_E_LIMIT ? sr_err_context(err, "%s", sr_client_url(client)) : rc;
}

static bool any_came(const struct sr_nodes *nodes, const struct sr_pair *pairs, size_t n)
{
	struct sr_bytes node;

	for (size_t k = 0; k < n; k++)
		if (sr_nodes_get(nodes, &pairs[k].wanted, &node))
			return true;
	return false;
}

enum sr_status sr_fetch_nodes(struct sr_nodes *nodes, struct sr_client *client, const struct sr_hash *root, const struct sr_hash *mine,
			      sr_fetch_lock_fn *lock, void *ctx, struct sr_err *err)
{
	struct sr_pair *pairs = sr_alloc(SR_WALK_PAIRS * sizeof *pairs);
	enum sr_status rc = SR_OK;
	size_t n = 1;

	while (rc == SR_OK && n) {
		struct sr_answer answer = {0};

		rc = blame(client, sr_walk_missing(nodes, root, mine, pairs, SR_WALK_PAIRS, &n, err), err);
		if (rc == SR_OK && n)
			rc = ask_pairs(client, pairs, n, &answer, err);
		if (rc == SR_OK && n) {
			if (lock)
				lock(ctx, true);
			rc = sr_fetched_nodes(nodes, sr_buf_view(&answer.body), err);
			if (lock)
				lock(ctx, false);
			if (rc == SR_OK && !any_came(nodes, pairs, n)) /* else this would not end */
				rc = sr_err_set(err, SR_E_DATA, "answer of /api/tree/nodes: no node that was asked for");
			rc = blame(client, rc, err);
		}
		sr_answer_free(&answer);
	}
	free(pairs);
	return rc == SR_OK ? blame(client, sr_foreign_check(nodes, root, mine, err), err) : rc;
}

/* --- a bundle ------------------------------------------------------------------------------------------------------------- */

static enum sr_status read_stream(void *ctx, void *at, size_t n, size_t *got, struct sr_err *err)
{
	return sr_stream_read(ctx, at, n, got, err);
}

/* The largest row that was asked for says how long a frame may be.  Of equal rows, and of a schema, no one knows before. */
static enum sr_status frame_most(struct sr_bytes wanted, uint64_t *most, struct sr_err *err)
{
	struct sr_reader in = sr_reader(wanted);
	enum sr_status rc = SR_OK;
	uint64_t row = 0;

	while (rc == SR_OK && sr_read_left(&in)) {
		struct sr_leaf leaf;
		char *store = NULL;

		rc = sr_wanted_next(&in, &store, &leaf, err);
		free(store);
		if (rc != SR_OK || leaf.to.kind == SR_KIND_FILE || leaf.to.kind == SR_KIND_DIR)
			continue;
		if (leaf.to.kind != SR_KIND_ROW || sr_path_is_bag(leaf.path))
			row = FRAME_MAX;
		else if (leaf.to.bytes > row)
			row = leaf.to.bytes;
	}
	*most = FRAME_TOP + (row < FRAME_MAX ? row : FRAME_MAX);
	return rc;
}

enum sr_status sr_fetch_bundle(struct sr_client *client, const struct sr_tree_key *key, const struct sr_hash *root, struct sr_bytes wanted,
			       uint64_t n, uint64_t bytes, const struct sr_bundle_sink *sink, struct sr_err *err)
{
	char text[SR_HASH_TEXT], header[64];
	const char *headers[] = {header, NULL};
	struct sr_call call = {.method = "POST", .target = "/api/bundle", .headers = headers, .body = wanted};
	struct sr_bundle_limits limits = {
		.bytes = bytes + n * (SR_PATH_MAX + 4096) + FRAME_MAX, .leaves = n, .file = UINT64_MAX / 2};
	struct sr_answer answer = {0};
	struct sr_stream *stream = NULL;
	struct sr_bundle_reader *reader = NULL;
	enum sr_status rc = frame_most(wanted, &limits.frame, err);

	if (rc != SR_OK)
		return rc;
	sr_hash_text(text, root);
	snprintf(header, sizeof header, SR_HEADER_ROOT ": %s", text);
	rc = sr_client_open(client, &call, &answer, &stream, err);
	if (rc == SR_OK)
		rc = sr_bundle_reader_new(&reader, key, &limits, read_stream, stream, err);
	if (rc == SR_OK)
		rc = sr_bundle_read(reader, sink, err);
	sr_bundle_reader_free(reader);
	sr_stream_close(stream);
	sr_answer_free(&answer);
	return rc;
}

/* --- a large file ---------------------------------------------------------------------------------------------------- */

/* Does the answer begin at `have`, and is the whole of the size that was asked for?  A 200 is all of it, from the beginning. */
static enum sr_status check_answer(struct sr_fetch *f, const struct sr_answer *answer, uint64_t *have, struct sr_err *err)
{
	const char *range = sr_answer_header(answer, "Content-Range");
	uint64_t from, to, total;

	if (answer->status != 206) {
		*have = 0;
		return sr_stage_restart(f->stage, err);
	}
	if (!range || sscanf(range, "bytes %" SCNu64 "-%" SCNu64 "/%" SCNu64, &from, &to, &total) != 3 || from != *have ||
	    total != f->leaf->to.bytes)
		return sr_err_set(err, SR_E_DATA, "blob: not the part that was asked for");
	return SR_OK;
}

static enum sr_status take_stream(struct sr_fetch *f, struct sr_stream *stream, uint64_t left, struct sr_err *err)
{
	uint8_t *chunk = sr_alloc(CHUNK);
	enum sr_status rc = SR_OK;
	size_t got = 1;

	while (rc == SR_OK && got) {
		rc = sr_stream_read(stream, chunk, CHUNK, &got, err);
		if (rc == SR_OK && got > left)
			rc = sr_err_set(err, SR_E_DATA, "blob: more than was asked for");
		else if (rc == SR_OK)
			rc = sr_stage_write(f->stage, chunk, got, err);
		if (rc != SR_OK)
			break;
		left -= got;
		f->fetched(f->ctx, got);
	}
	free(chunk);
	return rc;
}

/* All that is missing, into the open part. */
static enum sr_status fetch_rest(struct sr_fetch *f, uint64_t have, int64_t *mtime_ns, struct sr_err *err)
{
	char range[64];
	const char *headers[] = {range, NULL};
	char *target = sr_blob_target(&f->blob, "", "");
	struct sr_call call = {.target = target, .headers = have ? headers : NULL};
	struct sr_answer answer = {0};
	struct sr_stream *stream = NULL;
	enum sr_status rc;

	snprintf(range, sizeof range, "Range: bytes=%" PRIu64 "-", have);
	rc = sr_client_open(f->blob.client, &call, &answer, &stream, err);
	if (rc == SR_OK)
		rc = check_answer(f, &answer, &have, err);
	if (rc == SR_OK)
		rc = sr_blob_mtime(&answer, mtime_ns, err);
	if (rc == SR_OK)
		f->fetched(f->ctx, have);
	if (rc == SR_OK)
		rc = take_stream(f, stream, f->leaf->to.bytes - have, err);
	sr_stream_close(stream);
	sr_answer_free(&answer);
	free(target);
	return rc;
}

/* Is it the delta's own trouble, which the whole content would not have? */
static bool is_of_delta(const struct sr_fetch *f, enum sr_status rc)
{
	return rc != SR_OK && rc != SR_E_UNAVAILABLE && rc != SR_E_AUTH && !f->unwritten;
}

/* *again: what was here before is not the beginning of it, or the delta was none. */
static enum sr_status fetch_once(struct sr_fetch *f, struct sr_leaf *staged, bool *again, struct sr_err *err)
{
	uint64_t have = 0;
	enum sr_status rc = sr_stage_resume(&f->stage, f->st, &f->leaf->to, &have, err);

	*again = false;
	if (rc == SR_OK && f->old >= 0) {
		rc = sr_fetch_delta(f, have, &staged->mtime_ns, err);
		if (is_of_delta(f, rc)) {
			*again = true;
			sr_fetch_forget_old(f);
			return SR_OK;
		}
	} else if (rc == SR_OK) {
		rc = fetch_rest(f, have, &staged->mtime_ns, err);
	}
	if (rc == SR_OK) {
		rc = sr_stage_finish(f->stage, &f->leaf->to, staged->mtime_ns, staged, err);
		*again = rc == SR_E_DATA && (have || f->old >= 0);
		if (!have)
			sr_fetch_forget_old(f);
		if (rc == SR_E_DATA)
			rc = SR_E_NOTFOUND; /* the file changed there while it was sent */
	}
	return rc;
}

enum sr_status sr_fetch_file(struct sr_client *client, struct sr_store *st, const struct sr_leaf *leaf, struct sr_bytes like,
			     sr_fetched_fn *fetched, void *ctx, struct sr_stage **stage, struct sr_leaf *staged, struct sr_err *err)
{
	struct sr_fetch f = {.blob = {client, leaf->to.hash, sr_store_name(st), leaf->path},
			     .st = st,
			     .leaf = leaf,
			     .fetched = fetched,
			     .ctx = ctx,
			     .old = -1};
	bool again = true;
	enum sr_status rc = SR_OK;

	sr_fetch_find_old(&f, like);
	while (again) {
		sr_stage_free(f.stage);
		f.stage = NULL;
		rc = fetch_once(&f, staged, &again, err);
	}
	sr_fetch_forget_old(&f);
	*stage = f.stage;
	return rc;
}

/* --- what is here already -------------------------------------------------------------------------------------------- */

static enum sr_status claim(struct sr_store *st, const struct sr_leaf *leaf, struct sr_bytes from, sr_fetch_found_fn *found, void *ctx, struct sr_err *err)
{
	struct sr_leaf staged = {.mtime_ns = leaf->mtime_ns};
	struct sr_stage *stage = NULL;
	enum sr_status rc = sr_stage_claim(&stage, st, &leaf->to, from, err);

	if (rc == SR_OK)
		rc = sr_stage_finish(stage, &leaf->to, leaf->mtime_ns, &staged, err);
	if (rc == SR_E_NOTFOUND || rc == SR_E_BUSY || rc == SR_E_DATA)
		rc = found(ctx, leaf, NULL, err);
	else if (rc == SR_OK)
		rc = found(ctx, leaf, &staged, err);
	sr_stage_free(stage);
	return rc;
}

enum sr_status sr_fetch_here(struct sr_store *st, struct sr_leaves *leaves, const struct sr_elsewhere *elsewhere, sr_fetch_found_fn *found, void *ctx,
			     struct sr_err *err)
{
	enum sr_status rc = SR_OK;
	struct sr_leaf leaf;

	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(leaves); k++) {
		rc = sr_leaves_at(leaves, k, &leaf, err);
		if (rc == SR_OK)
			rc = claim(st, &leaf, sr_elsewhere_path(elsewhere, &leaf.to), found, ctx, err);
	}
	return rc;
}
