/* pull.c - taking the datastore's versions: fetch and stage, intents, archive and apply, base.
 *
 * Order, and why: (1) contents are staged and verified, so that nothing is begun that cannot be ended; (2) the intents are durable before
 * the first visible change, so that a crash can be decided by evidence; (3) a loser is in the archive before it is overwritten (rows) or
 * before its displaced inode is let go (files); (4) base := what was proven applied, in the same step in which the intents go. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/sync/internal.h"

#define FRAME_MAX (1u << 30) /* of one row; SQLite's own limit on a row is about this */

/* --- applying ---------------------------------------------------------------------------------------------------------- */

struct applying {
	struct sr_sync *s;
	size_t i;
	struct sr_leaves *taken;   /* proven: path, to, expect := to (the base), inode := signature */
	struct sr_leaves *evicted; /* rows to be fetched again: removed here, or deleted here and needed all the same */
	enum sr_status rc;         /* of gathering */
	struct sr_err *err;
};

static enum sr_verdict on_clash(void *ctx, size_t k, const struct sr_leaf *leaf, const struct sr_version *actual, struct sr_bytes record)
{
	(void)ctx, (void)k, (void)actual, (void)record;
	/* Planned again with what is there now, the answer is always the same: the datastore's version is not base, so it is taken, and
	 * what is there is kept in the archive by on_displaced.  A table is never taken over another. */
	return leaf->to.kind == SR_KIND_TABLE ? SR_KEEP : SR_TAKE;
}

static enum sr_status version_there(struct applying *a, struct sr_bytes path, struct sr_version *out)
{
	const char *why;
	struct sr_hash map;

	*out = (struct sr_version){0};
	if (!sr_sync_remote_map(a->s, a->i, &map, &why))
		return SR_OK;
	return sr_store_get(a->s->r->nodes, SR_KIND_DATABASE, &map, path, out, a->err);
}

/* May a row be removed that the datastore's leaves do not speak of?  Not where nothing is known of it - its table is another there, or it
 * is unknown here - nor when it is what the datastore has: then the datastore holds the same violation. */
static enum sr_status may_go(struct applying *a, struct sr_bytes path, const struct sr_version *actual, bool *go)
{
	struct sr_replica_store *st = &a->s->r->stores[a->i];
	const uint8_t *nul = memchr(path.at, 0, path.len);
	struct sr_bytes table = sr_bytes(path.at, nul ? (size_t)(nul - path.at) : path.len);
	struct sr_version here, there, row;
	enum sr_status rc = sr_store_get(a->s->r->nodes, st->kind, &st->map, table, &here, a->err);

	if (rc == SR_OK)
		rc = version_there(a, table, &there);
	if (rc == SR_OK)
		rc = version_there(a, path, &row);
	*go = rc == SR_OK && sr_version_eq(&here, &there) && !sr_version_eq(&row, actual) && !sr_replica_unknown(a->s->r, a->i, path);
	return rc;
}

static enum sr_verdict on_way(void *ctx, size_t k, const struct sr_leaf *leaf, struct sr_bytes path, const struct sr_version *actual,
			      struct sr_bytes record)
{
	struct applying *a = ctx;
	bool go = false;

	(void)k, (void)leaf, (void)record;
	if (a->rc == SR_OK)
		a->rc = may_go(a, path, actual, &go);
	if (a->rc == SR_OK && go)
		a->rc = sr_leaves_add(a->evicted, &(struct sr_leaf){.path = path}, a->err);
	return go ? SR_TAKE : SR_KEEP;
}

/* A row that is taken refers to one that was deleted here, and that the datastore has: the deletion loses.  Its row is fetched again, or
 * the next push would spread what is no violation of the application's. */
static enum sr_verdict on_parentless(void *ctx, size_t k, const struct sr_leaf *leaf, struct sr_bytes parent)
{
	struct applying *a = ctx;
	struct sr_version there = {0};

	(void)k, (void)leaf;
	if (a->rc == SR_OK && parent.len)
		a->rc = version_there(a, parent, &there);
	if (a->rc == SR_OK && there.kind == SR_KIND_ROW)
		a->rc = sr_leaves_add(a->evicted, &(struct sr_leaf){.path = parent}, a->err);
	return SR_TAKE;
}

static bool is_base(struct applying *a, const struct sr_displaced *old)
{
	struct sr_leaf_row row;
	struct sr_err err;

	return sr_state_leaf(a->s->r->state, &a->s->r->stores[a->i].row, old->path, &row, &err) == SR_OK &&
	       row.base_state == SR_BASE_KNOWN && sr_version_eq(&row.base, &old->version);
}

static const char *reason(const struct sr_leaf *leaf, const struct sr_displaced *old)
{
	if (!sr_bytes_eq(leaf->path, old->path))
		return leaf->to.kind == SR_KIND_NONE ? "child-of-deleted" : "unique";
	if (!(leaf->flags & SR_LEAF_ARCHIVE))
		return "changed-while-applying";
	if (leaf->flags & SR_LEAF_UNION)
		return "union";
	if (leaf->to.kind == SR_KIND_NONE)
		return "edited-deleted";
	return leaf->to.kind == old->version.kind ? "edited-both" : "kind";
}

static enum sr_status on_displaced(void *ctx, size_t k, const struct sr_leaf *leaf, const struct sr_displaced *old, struct sr_err *err)
{
	struct applying *a = ctx;
	struct sr_replica_store *st = &a->s->r->stores[a->i];
	struct sr_loser loser = {.store = st->name,
				 .store_kind = st->kind,
				 .path = old->path,
				 .version = old->version,
				 .mtime_ns = old->mtime_ns,
				 .reason = reason(leaf, old),
				 .winner = leaf->to};
	bool keep = (leaf->flags & SR_LEAF_ARCHIVE) || (!old->expected && !is_base(a, old));

	(void)k;
	if (!keep || old->version.kind == SR_KIND_NONE || old->version.kind == SR_KIND_TABLE)
		return SR_OK;
	a->s->result.conflicts++;
	if (old->version.kind == SR_KIND_ROW)
		return sr_archive_record(a->s->r->archive, &loser, old->record, err);
	if (old->version.kind == SR_KIND_FILE)
		return sr_archive_file(a->s->r->archive, &loser, old->dirfd, old->name, err);
	return sr_archive_bare(a->s->r->archive, &loser, err);
}

static void on_applied(void *ctx, size_t k, const struct sr_leaf *leaf, uint64_t signature)
{
	struct applying *a = ctx;
	struct sr_leaf t = {.path = leaf->path, .to = leaf->to, .expect = leaf->to, .inode = signature};

	(void)k;
	if (a->rc == SR_OK)
		a->rc = sr_leaves_add(a->taken, &t, a->err);
}

static struct sr_apply_ops ops_of(struct applying *a)
{
	return (struct sr_apply_ops){.ctx = a,
				     .clash = on_clash,
				     .in_the_way = on_way,
				     .parentless = on_parentless,
				     .displaced = on_displaced,
				     .applied = on_applied};
}

static void applying_start(struct applying *a, struct sr_sync *s, size_t i, struct sr_err *err)
{
	const char *dir = sr_state_dir(s->r->state);

	*a = (struct applying){.s = s, .i = i, .taken = sr_leaves_new(dir), .evicted = sr_leaves_new(dir), .rc = SR_OK, .err = err};
}

static void applying_end(struct applying *a)
{
	sr_leaves_free(a->taken);
	sr_leaves_free(a->evicted);
}

static enum sr_status hint_evicted(struct applying *a, struct sr_err *err)
{
	struct sr_replica_store *st = &a->s->r->stores[a->i];
	enum sr_status rc = SR_OK;

	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(a->evicted); k++) {
		struct sr_leaf_row row;
		struct sr_leaf leaf;

		rc = sr_leaves_at(a->evicted, k, &leaf, err);
		if (rc == SR_OK)
			rc = sr_state_leaf(a->s->r->state, &st->row, leaf.path, &row, err);
		if (rc != SR_OK || row.base_state != SR_BASE_KNOWN)
			continue;
		row.path = leaf.path;
		row.base_state = SR_BASE_HINT;
		rc = sr_state_leaf_put(a->s->r->state, &st->row, &row, err);
	}
	return rc;
}

/* A row that is about to be removed because it stands in the way is deleted by nobody: its base becomes a hint, durably and before the
 * commit, so that whatever happens the next plan fetches what the datastore has of it and never pushes a deletion.  If the commit does not
 * happen, a hint is enough to see that the row was edited. */
static enum sr_status let_go_of_evicted(struct applying *a, struct sr_err *err)
{
	enum sr_status rc = a->rc;

	if (rc != SR_OK || !sr_leaves_count(a->evicted))
		return rc;
	a->s->plans[a->i].evicted = true;
	rc = sr_state_begin(a->s->r->state, err);
	if (rc != SR_OK)
		return rc;
	rc = hint_evicted(a, err);
	if (rc == SR_OK)
		return sr_state_commit(a->s->r->state, err);
	sr_state_rollback(a->s->r->state);
	return rc;
}

/* The one step after an apply: rows, base, marker, and the intents go. */
static enum sr_status finish(struct applying *a, const struct sr_intent_head *head, bool marked, struct sr_err *err)
{
	struct sr_replica *r = a->s->r;
	struct sr_replica_store *st = &r->stores[a->i];
	enum sr_status rc = a->rc != SR_OK ? a->rc : sr_state_begin(r->state, err);

	if (rc != SR_OK)
		return rc;
	if (marked) {
		st->row.marker = head->marker;
		st->row.node = r->node;
		st->row.inode = sr_store_inode(st->store);
	}
	memset(&st->row.pending, 0, sizeof st->row.pending);
	rc = sr_replica_take(r, a->i, a->taken, SR_TAKE_BASE, head->epoch, head->seq, err);
	if (rc == SR_OK)
		rc = sr_state_intents_drop(r->state, &st->row, err);
	if (rc == SR_OK)
		rc = sr_state_store_put(r->state, &st->row, err);
	if (rc == SR_OK)
		rc = sr_state_commit(r->state, err);
	else
		sr_state_rollback(r->state);
	return rc;
}

/* Does the store carry the marker of this apply?  The evidence that it went through. */
static bool carries(struct sr_replica_store *st, const struct sr_intent_head *head)
{
	char why[256];

	(void)sr_store_look(st->store, &st->marker, &st->has_content, why);
	return memcmp(&st->marker.id, &head->marker, sizeof head->marker) == 0;
}

static enum sr_status intend(struct sr_sync *s, size_t i, const struct sr_intent_head *head, struct sr_leaves *leaves, struct sr_err *err)
{
	struct sr_replica_store *st = &s->r->stores[i];
	enum sr_status rc = sr_state_begin(s->r->state, err);

	if (rc != SR_OK)
		return rc;
	st->row.pending = head->marker;
	rc = sr_state_intend(s->r->state, &st->row, head, leaves, err);
	if (rc == SR_OK)
		rc = sr_state_store_put(s->r->state, &st->row, err);
	if (rc == SR_OK)
		return sr_state_commit(s->r->state, err);
	sr_state_rollback(s->r->state);
	return rc;
}

static enum sr_status apply(struct sr_sync *s, size_t i, struct sr_leaves *leaves, struct sr_err *err)
{
	struct sr_replica_store *st = &s->r->stores[i];
	struct sr_intent_head head = {.marker = sr_uuid_random(), .epoch = s->info.at.epoch, .seq = s->info.at.seq};
	struct sr_marker marker = {
		.id = head.marker, .node = s->r->node, .instance = s->info.at.instance, .epoch = head.epoch, .seq = head.seq};
	struct applying a;
	struct sr_apply_ops ops;
	struct sr_err later;
	bool tried;
	enum sr_status rc = sr_stage_flush(st->store, err), finished;

	if (rc == SR_OK)
		rc = intend(s, i, &head, leaves, err);
	if (rc != SR_OK)
		return rc;
	applying_start(&a, s, i, err);
	ops = ops_of(&a);
	rc = sr_apply_prepare(st->store, leaves, &marker, &ops, err);
	if (rc == SR_OK)
		rc = let_go_of_evicted(&a, err);
	tried = rc == SR_OK;
	if (tried)
		rc = sr_apply_commit(st->store, err);
	else
		sr_apply_rollback(st->store);
	/* SR_E_CHANGED: a file that could not be put in place leaves the others applied.  Anything else may have been done in part: the
	 * intents stay, and the next round decides by evidence. */
	if (!tried || rc == SR_OK || rc == SR_E_CHANGED) {
		finished = finish(&a, &head, tried && carries(st, &head), rc == SR_OK ? err : &later);
		if (finished == SR_OK)
			sr_store_sweep_stage(st->store); /* what was displaced is no longer evidence */
		if (rc == SR_OK)
			rc = finished;
	}
	s->result.pulled += sr_leaves_count(a.taken);
	if (rc == SR_OK && sr_leaves_count(a.taken) < sr_leaves_count(leaves))
		s->plans[i].skipped += sr_leaves_count(leaves) - sr_leaves_count(a.taken);
	applying_end(&a);
	return rc;
}

static enum sr_status recover_store(struct sr_sync *s, size_t i, struct sr_err *err)
{
	struct sr_replica_store *st = &s->r->stores[i];
	struct sr_leaves *leaves = sr_leaves_new(sr_state_dir(s->r->state));
	struct sr_intent_head head;
	struct applying a;
	struct sr_apply_ops ops;
	bool found, ours = sr_sync_marker_is_ours(st);
	enum sr_status rc = sr_state_intents(s->r->state, &st->row, &head, leaves, &found, err);

	if (rc == SR_OK && found && st->mode != SR_MODE_PAUSED) {
		struct sr_marker marker = {
			.id = head.marker, .node = s->r->node, .instance = s->anchor.instance, .epoch = head.epoch, .seq = head.seq};

		sr_info("store %s: an apply of %zu items was interrupted; %s", st->name, sr_leaves_count(leaves),
			ours ? "deciding by evidence" : "it was to another copy than the one that is there now");
		applying_start(&a, s, i, err);
		ops = ops_of(&a);
		if (ours) /* else nothing here is evidence, and its marker must not be replaced before the guard has seen it */
			rc = sr_apply_recover(st->store, leaves, &marker, &ops, err);
		if (rc == SR_OK)
			rc = finish(&a, &head, ours && carries(st, &head), err);
		applying_end(&a);
	}
	if (rc == SR_OK && st->mode != SR_MODE_PAUSED && st->kind == SR_KIND_FILES)
		sr_store_sweep_stage(st->store);
	sr_leaves_free(leaves);
	return rc == SR_OK ? rc : sr_err_context(err, "store %s: recovery", st->name);
}

enum sr_status sr_sync_recover(struct sr_sync *s, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t i = 0; rc == SR_OK && i < s->r->n; i++)
		rc = recover_store(s, i, err);
	return rc;
}

/* --- fetching ------------------------------------------------------------------------------------------------------------ */

struct fetching {
	struct sr_sync *s;
	size_t i;
	struct sr_leaves *ready; /* what will be applied */
	bool *got;               /* a plan item at a time */
	uint64_t gone;           /* files that could not be sent */
	struct sr_stage *stage;
	uint64_t wanted, received;
};

static bool has_content(const struct sr_leaf *leaf)
{
	return leaf->to.kind == SR_KIND_FILE || leaf->to.kind == SR_KIND_ROW || sr_bytes_eq(leaf->path, sr_bytes_of(SR_SCHEMA_PATH));
}

/* The place of `path` in the pull list. */
static bool find_wanted(struct fetching *f, struct sr_bytes path, size_t *at, struct sr_leaf *out, struct sr_err *err)
{
	struct sr_leaves *pull = f->s->plans[f->i].pull;
	size_t lo = 0, hi = sr_leaves_count(pull);

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int c;

		if (sr_leaves_at(pull, mid, out, err) != SR_OK)
			return false;
		c = sr_bytes_cmp(out->path, path);
		if (c == 0) {
			*at = mid;
			return true;
		}
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	sr_err_set(err, SR_E_DATA, "bundle: it holds a leaf that was not asked for");
	return false;
}

/* Check a leaf of the bundle against what was asked for, and add it to what will be applied. */
static enum sr_status add_ready(struct fetching *f, const struct sr_leaf *leaf, const struct sr_leaf *staged, struct sr_err *err)
{
	struct sr_leaf want, out;
	size_t at;

	if (!find_wanted(f, leaf->path, &at, &want, err))
		return SR_E_DATA;
	if (f->got[at] || !has_content(&want) || !sr_version_eq(&want.to, &leaf->to))
		return sr_err_set(err, SR_E_DATA, "bundle: it holds another version than was asked for");
	f->got[at] = true;
	f->received++;
	out = want;
	out.record = leaf->record;
	out.mtime_ns = leaf->mtime_ns;
	if (staged) {
		out.stage = staged->stage;
		out.inode = staged->inode;
	}
	return sr_leaves_add(f->ready, &out, err);
}

/* A file that the datastore cannot send - it changes there just now, or cannot be read - does not keep the others from coming.  Of a
 * database all rows come, or none. */
static enum sr_status got_none(struct fetching *f, struct sr_bytes path, struct sr_err *err)
{
	struct sr_leaf want;
	size_t at;

	if (f->s->r->stores[f->i].kind != SR_KIND_FILES)
		return sr_err_set(err, SR_E_GONE, "the datastore moved on: this root is no longer readable");
	if (!find_wanted(f, path, &at, &want, err))
		return SR_E_DATA;
	if (f->got[at])
		return sr_err_set(err, SR_E_DATA, "bundle: it holds a leaf twice");
	f->got[at] = true;
	f->received++;
	f->gone++;
	return SR_OK;
}

static enum sr_status got_leaf(void *ctx, const char *store, const struct sr_leaf *leaf, bool content, struct sr_err *err)
{
	struct fetching *f = ctx;

	if (strcmp(store, f->s->r->stores[f->i].name) != 0)
		return sr_err_set(err, SR_E_DATA, "bundle: it holds a leaf that was not asked for");
	if (leaf->flags & SR_LEAF_GONE)
		return got_none(f, leaf->path, err);
	if (leaf->to.kind == SR_KIND_FILE)
		return content ? SR_OK : sr_err_set(err, SR_E_DATA, "bundle: a file without its content");
	return add_ready(f, leaf, NULL, err);
}

static enum sr_status got_begin(void *ctx, const char *store, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct fetching *f = ctx;

	(void)store, (void)leaf;
	return sr_stage_open(&f->stage, f->s->r->stores[f->i].store, err);
}

static enum sr_status got_data(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	return sr_stage_write(((struct fetching *)ctx)->stage, at, n, err);
}

static enum sr_status got_end(void *ctx, const char *store, const struct sr_leaf *leaf, bool ok, struct sr_err *err)
{
	struct fetching *f = ctx;
	struct sr_leaf staged = {0};
	enum sr_status rc = SR_OK;

	(void)store;
	if (!ok)
		rc = got_none(f, leaf->path, err); /* it changed while it was sent */
	else
		rc = sr_stage_finish(f->stage, &leaf->to, leaf->mtime_ns, &staged, err);
	if (rc == SR_OK && ok)
		rc = add_ready(f, leaf, &staged, err);
	sr_stage_free(f->stage);
	f->stage = NULL;
	return rc;
}

static enum sr_status read_stream(void *ctx, void *at, size_t n, size_t *got, struct sr_err *err)
{
	return sr_stream_read(ctx, at, n, got, err);
}

static enum sr_status fetch_bundle(struct fetching *f, struct sr_bytes wanted, uint64_t leaves, uint64_t bytes, struct sr_err *err)
{
	char root[SR_HASH_TEXT], header[64];
	const char *headers[] = {header, NULL};
	struct sr_call call = {.method = "POST", .target = "/api/bundle", .headers = headers, .body = wanted};
	struct sr_bundle_limits limits = {
		.bytes = bytes + leaves * (SR_PATH_MAX + 4096) + FRAME_MAX, .leaves = leaves, .file = UINT64_MAX / 2, .frame = FRAME_MAX};
	struct sr_bundle_sink sink = {.ctx = f, .leaf = got_leaf, .begin = got_begin, .data = got_data, .end = got_end};
	struct sr_answer answer = {0};
	struct sr_stream *stream = NULL;
	struct sr_bundle_reader *reader = NULL;
	enum sr_status rc;

	sr_hash_text(root, &f->s->info.at.root);
	snprintf(header, sizeof header, SR_HEADER_ROOT ": %s", root);
	rc = sr_client_open(f->s->client, &call, &answer, &stream, err);
	if (rc == SR_OK)
		rc = sr_bundle_reader_new(&reader, &f->s->r->key, &limits, read_stream, stream, err);
	if (rc == SR_OK)
		rc = sr_bundle_read(reader, &sink, err);
	sr_bundle_reader_free(reader);
	sr_stream_close(stream);
	sr_answer_free(&answer);
	sr_stage_free(f->stage);
	f->stage = NULL;
	return rc;
}

/* A loser by its mode alone: its content stands, so only what it was is kept. */
static enum sr_status archive_mode(struct fetching *f, const struct sr_leaf *leaf, struct sr_err *err)
{
	const struct sr_replica_store *st = &f->s->r->stores[f->i];
	struct sr_loser loser = {.store = st->name,
				 .store_kind = st->kind,
				 .path = leaf->path,
				 .version = leaf->expect,
				 .reason = leaf->flags & SR_LEAF_UNION ? "union" : "edited-both",
				 .winner = leaf->to};

	f->s->result.conflicts++;
	return sr_archive_bare(f->s->r->archive, &loser, err);
}

/* Leaves that need nothing from the datastore: deletions, directories, tables, and files of which only the mode differs. */
static enum sr_status add_without(struct fetching *f, struct sr_leaf *leaf, bool *done, struct sr_err *err)
{
	bool mode_only = leaf->to.kind == SR_KIND_FILE && leaf->expect.kind == SR_KIND_FILE && sr_hash_eq(&leaf->to.hash, &leaf->expect.hash);
	enum sr_status rc;

	*done = mode_only || !has_content(leaf);
	if (!*done)
		return SR_OK;
	rc = mode_only && (leaf->flags & SR_LEAF_ARCHIVE) ? archive_mode(f, leaf, err) : SR_OK;
	return rc == SR_OK ? sr_leaves_add(f->ready, leaf, err) : rc;
}

static enum sr_status fetch_all(struct fetching *f, struct sr_err *err)
{
	struct sr_leaves *pull = f->s->plans[f->i].pull;
	struct sr_buf wanted = {0}, path = {0};
	uint64_t n = 0, bytes = 0;
	enum sr_status rc = SR_OK;

	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(pull); k++) {
		struct sr_leaf leaf;
		bool done = false;

		rc = sr_leaves_at(pull, k, &leaf, err);
		if (rc != SR_OK)
			break;
		sr_buf_clear(&path); /* the spool's own buffer does not outlive the next call on it */
		sr_buf_bytes(&path, leaf.path);
		leaf.path = sr_buf_view(&path);
		rc = add_without(f, &leaf, &done, err);
		if (rc == SR_OK && !done) {
			sr_wanted_add(&wanted, f->s->r->stores[f->i].name, &leaf);
			f->wanted++;
			n++;
			bytes += leaf.to.bytes;
		}
		if (rc == SR_OK && n &&
		    (n == SR_BUNDLE_WANTED || wanted.len > SR_BUNDLE_WANTED_BYTES / 2 || k + 1 == sr_leaves_count(pull))) {
			rc = fetch_bundle(f, sr_buf_view(&wanted), n, bytes, err);
			sr_buf_clear(&wanted);
			n = bytes = 0;
		}
	}
	if (rc == SR_OK && n)
		rc = fetch_bundle(f, sr_buf_view(&wanted), n, bytes, err);
	if (rc == SR_OK && f->received != f->wanted)
		rc = sr_err_set(err, SR_E_DATA, "bundle: %llu leaves were asked for, %llu came", (unsigned long long)f->wanted,
				(unsigned long long)f->received);
	sr_buf_free(&wanted);
	sr_buf_free(&path);
	return rc;
}

enum sr_status sr_sync_pull(struct sr_sync *s, size_t i, struct sr_err *err)
{
	struct sr_store_plan *p = &s->plans[i];
	struct fetching f = {.s = s, .i = i};
	enum sr_status rc;

	if (!sr_leaves_count(p->pull))
		return SR_OK;
	f.ready = sr_leaves_new(sr_state_dir(s->r->state));
	f.got = sr_alloc(sr_leaves_count(p->pull) * sizeof *f.got);
	rc = fetch_all(&f, err);
	if (rc == SR_OK)
		rc = sr_leaves_sort(f.ready, err);
	p->gone = f.gone;
	p->skipped += f.gone;
	if (f.gone)
		p->first_skip = "the datastore cannot send it now";
	if (rc == SR_OK && sr_leaves_count(f.ready))
		rc = apply(s, i, f.ready, err);
	free(f.got);
	sr_leaves_free(f.ready);
	return rc == SR_OK ? rc : sr_err_context(err, "store %s: pull", s->r->stores[i].name);
}

/* --- agreeing --------------------------------------------------------------------------------------------------------------- */

enum sr_status sr_sync_agree(struct sr_sync *s, size_t i, struct sr_err *err)
{
	struct sr_store_plan *p = &s->plans[i];
	struct sr_uuid id = sr_uuid_random();
	enum sr_status rc;

	if (!sr_leaves_count(p->agree))
		return SR_OK;
	/* The mark makes durable what is here, as for a push: base must not claim what a power cut may take away. */
	rc = sr_replica_mark(s->r, i, &id, &s->info.at.instance, s->info.at.epoch, s->info.at.seq, err);
	if (rc == SR_OK)
		rc = sr_state_begin(s->r->state, err);
	if (rc != SR_OK)
		return rc;
	rc = sr_sync_set_bases(s, i, p->agree, NULL, s->info.at.epoch, s->info.at.seq, err);
	if (rc == SR_OK)
		rc = sr_state_commit(s->r->state, err);
	else
		sr_state_rollback(s->r->state);
	s->result.agreed += sr_leaves_count(p->agree);
	return rc;
}
