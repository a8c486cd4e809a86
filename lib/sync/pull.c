/* pull.c - fetching the datastore's versions: contents are staged and verified, so that nothing is begun that cannot be ended; take.c puts
 * them in place.
 *
 * Rows and small files come in bundles, a large file by itself, which goes on where the last attempt was cut.  What was staged when the
 * connection went away, or the root (410), or this process, lies in the store's parts at the next attempt, and is asked for without its
 * content then; as is what lies here at another path. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/replica/changes.h"
#include "lib/replica/fetch.h"
#include "lib/store/stager.h"
#include "lib/sync/internal.h"

/* --- fetching ------------------------------------------------------------------------------------------------------------ */

struct fetching {
	struct sr_sync *s;
	size_t i;
	struct sr_leaves *ready; /* what will be applied */
	struct sr_leaves *theirs; /* the datastore's records of rows to be merged */
	bool *got;               /* a plan item at a time */
	bool *here;              /* asked for without content */
	struct sr_leaves *parts; /* of these, what came in the bundle at work */
	struct sr_elsewhere *elsewhere;
	struct sr_leaves *missed; /* they were to be elsewhere, and were not */
	uint64_t gone;           /* files and rows that could not be sent */
	struct sr_stage *stage;
	struct sr_stager *stager;
	uint64_t wanted, received;
};

static struct sr_store *store_of(const struct fetching *f)
{
	return f->s->r->stores[f->i].store;
}

/* A bag's merge has its outcome in `to`: what the datastore holds is its base. */
static const struct sr_version *wanted_version(const struct sr_leaf *leaf)
{
	return (leaf->flags & SR_LEAF_MERGED) && sr_path_is_bag(leaf->path) ? &leaf->base : &leaf->to;
}

/* The place of `path` in the pull list. */
static bool find_wanted(struct fetching *f, struct sr_bytes path, size_t *at, struct sr_leaf *out, struct sr_err *err)
{
	struct sr_leaves *pull = f->s->plans[f->i].pull;

	if (sr_leaves_find(pull, path, at, out, err) != SR_OK)
		return false;
	if (*at == sr_leaves_count(pull))
		sr_err_set(err, SR_E_DATA, "bundle: it holds a leaf that was not asked for");
	return *at < sr_leaves_count(pull);
}

/* Check a leaf of the bundle against what was asked for, and add it to what will be applied. */
static enum sr_status add_ready(struct fetching *f, const struct sr_leaf *leaf, const struct sr_leaf *staged, struct sr_err *err)
{
	struct sr_leaf want, out;
	size_t at;

	if (!find_wanted(f, leaf->path, &at, &want, err))
		return SR_E_DATA;
	if (f->got[at] || !sr_leaf_has_content(&want) || !sr_version_eq(wanted_version(&want), &leaf->to))
		return sr_err_set(err, SR_E_DATA, "bundle: it holds another version than was asked for");
	f->got[at] = true;
	f->received++;
	sr_progress_add(&f->s->progress, 1, want.to.kind == SR_KIND_FILE ? 0 : want.to.bytes);
	out = want;
	out.record = leaf->record;
	out.mtime_ns = leaf->mtime_ns;
	if (staged) {
		out.stage = staged->stage;
		out.inode = staged->inode;
	}
	return sr_leaves_add((want.flags & SR_LEAF_MERGED) && !sr_path_is_bag(want.path) ? f->theirs : f->ready, &out, err);
}

/* A file that the datastore cannot send - it changes there just now, or cannot be read - does not keep the others from coming.  Of a
 * database all rows come, or none; but what cannot be had of one root after the other has rotted there. */
static enum sr_status got_none(struct fetching *f, struct sr_bytes path, struct sr_err *err)
{
	struct sr_leaf want;
	size_t at;

	if (f->s->r->stores[f->i].kind == SR_KIND_DATABASE && f->s->try < SR_TRIES)
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

/* A file that is here; when the bundle is over it is claimed, for that may mean to read all of it. */
static enum sr_status got_without(struct fetching *f, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct sr_leaf want;
	size_t at;

	if (!find_wanted(f, leaf->path, &at, &want, err))
		return SR_E_DATA;
	if (!f->here[at] || f->got[at])
		return sr_err_set(err, SR_E_DATA, "bundle: a file without its content");
	return sr_leaves_add(f->parts, leaf, err);
}

/* Before a byte of it is staged: what was not asked for may be of any size. */
static enum sr_status got_with(struct fetching *f, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct sr_leaf want;
	size_t at;

	if (!find_wanted(f, leaf->path, &at, &want, err))
		return SR_E_DATA;
	return sr_version_eq(wanted_version(&want), &leaf->to) ? SR_OK : sr_err_set(err, SR_E_DATA, "bundle: it holds another version than was asked for");
}

static enum sr_status got_leaf(void *ctx, const char *store, const struct sr_leaf *leaf, bool content, struct sr_err *err)
{
	struct fetching *f = ctx;

	if (strcmp(store, f->s->r->stores[f->i].name) != 0)
		return sr_err_set(err, SR_E_DATA, "bundle: it holds a leaf that was not asked for");
	if (leaf->flags & SR_LEAF_GONE)
		return got_none(f, leaf->path, err);
	if (leaf->to.kind == SR_KIND_FILE)
		return content ? got_with(f, leaf, err) : got_without(f, leaf, err);
	return add_ready(f, leaf, NULL, err);
}

static enum sr_status got_begin(void *ctx, const char *store, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct fetching *f = ctx;

	(void)store;
	return sr_stage_expect(&f->stage, store_of(f), &leaf->to.hash, err);
}

static enum sr_status got_data(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	struct fetching *f = ctx;

	sr_progress_add(&f->s->progress, 0, n);
	return sr_stage_write(f->stage, at, n, err);
}

static enum sr_status got_end(void *ctx, const char *store, const struct sr_leaf *leaf, bool ok, struct sr_err *err)
{
	struct fetching *f = ctx;
	struct sr_stage *stage = f->stage;

	(void)store;
	f->stage = NULL;
	if (ok)
		return sr_stager_put(f->stager, stage, 0, leaf, err);
	sr_stage_free(stage);
	return got_none(f, leaf->path, err); /* it changed while it was sent */
}

static enum sr_status got_staged(void *ctx, size_t store, const struct sr_leaf *leaf, struct sr_err *err)
{
	(void)store;
	return add_ready(ctx, leaf, leaf, err);
}

enum sr_status sr_sync_fetch(struct sr_sync *s, struct sr_bytes wanted, uint64_t n, uint64_t bytes, const struct sr_bundle_sink *sink,
			     struct sr_err *err)
{
	return sr_fetch_bundle(s->client, &s->r->key, &s->info.at.root, wanted, n, bytes, sink, err);
}

static enum sr_status fetch_bundle(struct fetching *f, struct sr_bytes wanted, uint64_t leaves, uint64_t bytes, struct sr_err *err)
{
	struct sr_bundle_sink sink = {.ctx = f, .leaf = got_leaf, .begin = got_begin, .data = got_data, .end = got_end};
	enum sr_status rc;

	f->stager = sr_stager_new(got_staged, f);
	rc = sr_sync_fetch(f->s, wanted, leaves, bytes, &sink, err);
	if (rc == SR_OK)
		rc = sr_stager_wait(f->stager, err);
	sr_stage_free(f->stage);
	f->stage = NULL;
	sr_stager_free(f->stager);
	f->stager = NULL;
	return rc;
}

/* --- what is here already -------------------------------------------------------------------------------------------- */

static enum sr_status found_here(void *ctx, const struct sr_leaf *leaf, const struct sr_leaf *staged, struct sr_err *err)
{
	struct fetching *f = ctx;

	if (!staged && sr_elsewhere_path(f->elsewhere, &leaf->to).len)
		return sr_leaves_add(f->missed, leaf, err);
	if (!staged)
		return got_none(f, leaf->path, err);
	sr_progress_add(&f->s->progress, 0, leaf->to.bytes);
	return add_ready(f, leaf, staged, err);
}

static enum sr_status claim_parts(struct fetching *f, struct sr_err *err)
{
	enum sr_status rc = sr_fetch_here(store_of(f), f->parts, f->elsewhere, found_here, f, err);

	sr_leaves_free(f->parts);
	f->parts = sr_leaves_new(sr_state_dir(f->s->r->state));
	return rc;
}

/* --- a large file ---------------------------------------------------------------------------------------------------- */

static void add_bytes(void *ctx, uint64_t bytes)
{
	sr_progress_add(ctx, 0, bytes);
}

static enum sr_status fetch_file(struct fetching *f, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct sr_leaf staged = {0}, found = *leaf;
	enum sr_status rc;

	f->wanted++;
	rc = sr_fetch_file(f->s->client, store_of(f), leaf, leaf->path, add_bytes, &f->s->progress, &f->stage, &staged, err);
	found.mtime_ns = staged.mtime_ns;
	if (rc == SR_E_NOTFOUND || rc == SR_E_GONE)
		rc = got_none(f, leaf->path, err);
	else if (rc == SR_OK)
		rc = add_ready(f, &found, &staged, err);
	sr_stage_free(f->stage);
	f->stage = NULL;
	return rc;
}

/* --- all of it ------------------------------------------------------------------------------------------------------- */

/* A loser by its mode alone: its content stands, so only what it was is kept. */
static enum sr_status archive_mode(struct fetching *f, const struct sr_leaf *leaf, struct sr_err *err)
{
	const struct sr_replica_store *st = &f->s->r->stores[f->i];
	struct sr_loser loser = {.store = st->name,
				 .store_kind = st->kind,
				 .path = leaf->path,
				 .version = leaf->expect,
				 .reason = sr_sync_mirrors(f->s, f->i) ? "mirror" : leaf->flags & SR_LEAF_UNION ? "union" : "edited-both",
				 .winner = leaf->to};

	f->s->result.conflicts++;
	return sr_archive_bare(f->s->r->archive, &loser, err);
}

/* Leaves that need nothing from the datastore: deletions, directories, tables, files of which only the mode differs, and rows of a bag of
 * which there is one here. */
static enum sr_status add_without(struct fetching *f, struct sr_leaf *leaf, bool *done, struct sr_err *err)
{
	bool mode_only = leaf->to.kind == SR_KIND_FILE && leaf->expect.kind == SR_KIND_FILE && sr_hash_eq(&leaf->to.hash, &leaf->expect.hash);
	enum sr_status rc;

	*done = mode_only || !sr_leaf_has_content(leaf) || (leaf->record.len && sr_path_is_bag(leaf->path));
	if (!*done)
		return SR_OK;
	sr_progress_add(&f->s->progress, 1, sr_leaf_has_content(leaf) ? leaf->to.bytes : 0);
	rc = mode_only && (leaf->flags & SR_LEAF_ARCHIVE) ? archive_mode(f, leaf, err) : SR_OK;
	return rc == SR_OK ? sr_leaves_add(f->ready, leaf, err) : rc;
}

static void begin_progress(struct fetching *f)
{
	struct sr_leaves *pull = f->s->plans[f->i].pull;
	uint64_t bytes = 0;
	struct sr_leaf leaf;

	for (size_t k = 0; k < sr_leaves_count(pull); k++)
		if (sr_leaves_at(pull, k, &leaf, NULL) == SR_OK && sr_leaf_has_content(&leaf))
			bytes += leaf.to.bytes;
	sr_progress_begin(&f->s->progress, "fetching", sr_leaves_count(pull), bytes);
}

struct asking { /* for a bundle */
	struct sr_buf wanted;
	uint64_t n, bytes;
};

static enum sr_status ask(struct fetching *f, struct asking *q, struct sr_err *err)
{
	enum sr_status rc = q->n ? fetch_bundle(f, sr_buf_view(&q->wanted), q->n, q->bytes, err) : SR_OK;

	sr_buf_clear(&q->wanted);
	q->n = q->bytes = 0;
	return rc == SR_OK ? claim_parts(f, err) : rc;
}

static enum sr_status stage_change(struct fetching *f, const struct sr_change *c, bool *done, struct sr_err *err)
{
	struct sr_leaf staged = {0};
	enum sr_status rc = sr_stage_expect(&f->stage, store_of(f), &c->leaf.to.hash, err);

	if (rc == SR_OK)
		rc = sr_stage_write(f->stage, c->content.at, c->content.len, err);
	if (rc == SR_OK)
		rc = sr_stage_finish(f->stage, &c->leaf.to, c->leaf.mtime_ns, &staged, err);
	*done = rc == SR_OK;
	if (rc == SR_E_DATA) /* not what it says: asked for */
		rc = SR_OK;
	else if (rc == SR_OK)
		rc = add_ready(f, &c->leaf, &staged, err);
	sr_stage_free(f->stage);
	f->stage = NULL;
	return rc;
}

/* *done: its content came with the check-in. */
static enum sr_status came_along(struct fetching *f, const struct sr_leaf *leaf, bool *done, struct sr_err *err)
{
	struct sr_change c;
	enum sr_status rc = SR_OK;

	*done = false;
	if (sr_leaves_count(f->s->plans[f->i].pull) > SR_CHANGES_LEAVES) /* so many did not come with it: each would look through all that did */
		return SR_OK;
	if (!sr_sync_came_along(f->s, f->i, leaf->path, wanted_version(leaf), &c))
		return SR_OK;
	if (c.has_content) {
		rc = stage_change(f, &c, done, err);
	} else if (sr_leaf_record_is(&c.leaf, &f->s->r->key)) {
		*done = true;
		rc = add_ready(f, &c.leaf, NULL, err);
	}
	f->wanted += *done;
	return rc;
}

static enum sr_status want(struct fetching *f, struct asking *q, size_t k, struct sr_leaf *leaf, struct sr_err *err)
{
	bool file = leaf->to.kind == SR_KIND_FILE;
	struct sr_leaf asked = {.path = leaf->path, .to = *wanted_version(leaf)};

	f->here[k] = file && (sr_stage_has(store_of(f), &leaf->to) || sr_elsewhere_path(f->elsewhere, &leaf->to).len);
	if (file && !f->here[k] && leaf->to.bytes >= SR_PART_MIN)
		return fetch_file(f, leaf, err);
	if (f->here[k])
		asked.expect = asked.to;
	sr_wanted_add(&q->wanted, f->s->r->stores[f->i].name, &asked);
	f->wanted++;
	q->n++;
	q->bytes += f->here[k] ? 0 : leaf->to.bytes;
	if (q->n < SR_BUNDLE_WANTED && q->bytes < SR_BUNDLE_CONTENT && q->wanted.len <= SR_BUNDLE_WANTED_BYTES / 2)
		return SR_OK;
	return ask(f, q, err);
}

static enum sr_status fetch_planned(struct fetching *f, struct asking *q, struct sr_err *err)
{
	struct sr_leaves *pull = f->s->plans[f->i].pull;
	struct sr_buf path = {0};
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
		if (rc == SR_OK && !done)
			rc = came_along(f, &leaf, &done, err);
		if (rc == SR_OK && !done)
			rc = want(f, q, k, &leaf, err);
	}
	sr_buf_free(&path);
	return rc == SR_OK ? ask(f, q, err) : rc;
}

/* With their content, after all. */
static enum sr_status fetch_missed(struct fetching *f, struct asking *q, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	sr_elsewhere_free(f->elsewhere);
	f->elsewhere = NULL;
	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(f->missed); k++) {
		struct sr_leaf leaf, planned;
		size_t at;

		rc = sr_leaves_at(f->missed, k, &leaf, err);
		if (rc == SR_OK && !find_wanted(f, leaf.path, &at, &planned, err))
			rc = SR_E_DATA;
		f->wanted--;
		if (rc == SR_OK)
			rc = want(f, q, at, &leaf, err);
	}
	return rc == SR_OK ? ask(f, q, err) : rc;
}

static enum sr_status fetch_all(struct fetching *f, struct sr_err *err)
{
	struct asking q = {0};
	enum sr_status rc = fetch_planned(f, &q, err);

	if (rc == SR_OK)
		rc = fetch_missed(f, &q, err);
	if (rc == SR_OK && f->received != f->wanted)
		rc = sr_err_set(err, SR_E_DATA, "bundle: %llu leaves were asked for, %llu came", (unsigned long long)f->wanted,
				(unsigned long long)f->received);
	sr_buf_free(&q.wanted);
	return rc;
}

/* A merged row may be what the database does not take, by a CHECK of two columns: then the datastore's stand. */
static enum sr_status take_ready(struct fetching *f, struct sr_err *err)
{
	struct sr_store_plan *p = &f->s->plans[f->i];
	enum sr_status rc = sr_sync_room(f->s, f->i, f->ready, err); /* of rows that were not merged it is known only now */

	if (rc == SR_OK && sr_leaves_count(f->ready))
		rc = sr_sync_take(f->s, f->i, f->ready, err);
	if (rc != SR_E_DATA || !p->merges)
		return rc;
	sr_info("store %s: what both sides changed does not go together: %s", f->s->r->stores[f->i].name, err->text);
	p->no_merges = p->again = true;
	return SR_OK;
}

enum sr_status sr_sync_pull(struct sr_sync *s, size_t i, struct sr_err *err)
{
	struct sr_store_plan *p = &s->plans[i];
	struct fetching f = {.s = s, .i = i};
	enum sr_status rc;

	if (!sr_leaves_count(p->pull))
		return SR_OK;
	rc = sr_sync_room(s, i, p->pull, err); /* before it is fetched in vain */
	if (rc != SR_OK)
		return sr_err_context(err, "store %s", s->r->stores[i].name);
	f.ready = sr_leaves_new(sr_state_dir(s->r->state));
	f.theirs = sr_leaves_new(sr_state_dir(s->r->state));
	f.parts = sr_leaves_new(sr_state_dir(s->r->state));
	f.missed = sr_leaves_new(sr_state_dir(s->r->state));
	f.got = sr_alloc(sr_leaves_count(p->pull) * sizeof *f.got);
	f.here = sr_alloc(sr_leaves_count(p->pull) * sizeof *f.here);
	begin_progress(&f);
	if (s->r->stores[i].kind == SR_KIND_FILES)
		rc = sr_elsewhere_new(&f.elsewhere, s->r->nodes, &s->r->stores[i].map, p->pull, err);
	if (rc == SR_OK)
		rc = fetch_all(&f, err);
	sr_progress_end(&s->progress);
	if (rc == SR_OK)
		rc = sr_sync_merge(s, i, f.theirs, f.ready, err);
	if (rc == SR_OK)
		rc = sr_leaves_sort(f.ready, err);
	p->gone = f.gone;
	p->skipped += f.gone;
	if (f.gone)
		p->first_skip = "the datastore cannot send it now";
	if (rc == SR_OK)
		rc = take_ready(&f, err);
	free(f.got);
	free(f.here);
	sr_leaves_free(f.parts);
	sr_leaves_free(f.missed);
	sr_elsewhere_free(f.elsewhere);
	sr_leaves_free(f.ready);
	sr_leaves_free(f.theirs);
	return rc == SR_OK ? rc : sr_err_context(err, "store %s: pull", s->r->stores[i].name);
}
