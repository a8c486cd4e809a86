/* restore_fill.c - a staged store is compared with what is wanted, and filled, until the two are one.
 *
 * Nobody looks at it yet, so that it is filled in as many applies as it takes; what was applied is there after an interruption, and is not
 * fetched again.  A source that is in use moves on meanwhile: then what has changed is fetched anew. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/admin/restore_internal.h"

#define PASSES      8
#define BATCH       10000
#define BATCH_BYTES (8u << 20) /* what an interruption costs at most, but for a large file, which goes on where it was */
#define WAIT_MS     15000      /* for a source to see what has changed there */

enum sr_status sr_restore_open_store(struct sr_restore *x, size_t i, const char *path, bool staged, struct sr_store **out, struct sr_err *err)
{
	const struct sr_config_store *c = x->stores[i].config;
	struct sr_store_options o = {.name = c->name,
				     .kind = x->stores[i].kind,
				     .path = path,
				     .owner = c->owner,
				     .group = c->group,
				     .exclude = (const char *const *)c->exclude.at,
				     .excludes = c->exclude.count,
				     .ours = staged,
				     .alone = staged,
				     .key = &x->key};

	return sr_store_open(out, &o, err);
}

static void ignore_signature(void *ctx, struct sr_bytes path, uint64_t signature)
{
	(void)ctx, (void)path, (void)signature;
}

enum sr_status sr_restore_scan(struct sr_restore *x, struct sr_store *st, const struct sr_hash *before, struct sr_hash *out, struct sr_err *err)
{
	static const struct sr_hash nothing;
	struct sr_view *view = NULL;
	struct sr_scan scan = {0};
	enum sr_status rc = sr_view_open(&view, st, SR_VIEW_MAIN, err);

	if (rc != SR_OK)
		return rc;
	rc = sr_view_scan(view, x->nodes, before ? before : &nothing, ignore_signature, NULL, &scan, err);
	sr_view_close(view);
	if (rc == SR_OK) {
		sr_nodes_hold(x->nodes, &scan.map);
		*out = scan.map;
	}
	if (rc == SR_OK)
		sr_scan_free(&scan);
	return rc;
}

/* --- counting --------------------------------------------------------------------------------------------------------------- */

enum sr_status sr_restore_count(struct sr_counts *c, struct sr_bytes path, const struct sr_version *here, const struct sr_version *there)
{
	struct sr_leaf leaf = {.path = path, .to = *there};

	if (here->kind == SR_KIND_NONE)
		c->there++;
	else if (there->kind == SR_KIND_NONE)
		c->here++;
	else
		c->different++;
	if (there->kind != SR_KIND_NONE && sr_leaf_has_content(&leaf) && !sr_path_is_bag(path) && !sr_hash_eq(&here->hash, &there->hash))
		c->bytes += there->bytes;
	return SR_OK;
}

static enum sr_status count_item(void *ctx, struct sr_bytes path, const struct sr_version *here, const struct sr_version *there)
{
	return sr_restore_count(ctx, path, here, there);
}

struct total {
	uint64_t n;
};

static enum sr_status count_all(void *ctx, struct sr_bytes path, const struct sr_version *none, const struct sr_version *there)
{
	struct total *t = ctx;

	(void)path, (void)none, (void)there;
	t->n++;
	return SR_OK;
}

/* Files and rows; a directory or table that is empty is nothing. */
static uint64_t leaves_of(const struct sr_restore *x, const struct sr_hash *map)
{
	uint64_t leaves = 0, bytes;

	return !sr_hash_none(map) && sr_map_counts(x->nodes, map, &leaves, &bytes) == SR_OK ? leaves : 0;
}

enum sr_status sr_restore_compare(struct sr_restore *x, size_t i, struct sr_err *err)
{
	struct sr_restore_store *st = &x->stores[i];
	struct sr_hash nothing = {0}, now = {0};
	struct sr_store *store = NULL;
	struct sr_marker marker;
	struct total total = {0};
	struct sr_err ignored;
	bool content = false;
	char why[256];
	enum sr_presence presence;
	enum sr_status rc = sr_restore_open_store(x, i, st->path, false, &store, err);

	if (rc != SR_OK)
		return rc;
	st->counts = (struct sr_counts){.present = access(st->path, F_OK) == 0};
	/* One that is broken is as if there was nothing: it is put aside in any case. */
	presence = sr_store_look(store, &marker, &content, why);
	if ((presence != SR_PRESENT && presence != SR_UNMARKABLE) || sr_restore_scan(x, store, NULL, &now, &ignored) != SR_OK)
		now = nothing;
	rc = sr_store_diff(x->nodes, st->kind, &now, &st->wanted, count_item, &st->counts, err);
	if (rc == SR_OK)
		rc = sr_store_diff(x->nodes, st->kind, &nothing, &st->wanted, count_all, &total, err);
	st->counts.equal = total.n - st->counts.there - st->counts.different;
	st->counts.emptied = leaves_of(x, &now) && !leaves_of(x, &st->wanted);
	sr_nodes_release(x->nodes, &now);
	sr_store_close(store);
	return rc;
}

/* --- one pass --------------------------------------------------------------------------------------------------------------- */

struct filling {
	struct sr_restore *x;
	size_t i;
	struct sr_restore_store *st;
	struct sr_store *store;
	struct sr_hash map;       /* of the staged store; held */
	struct sr_leaves *drops, *tables, *puts;
	struct sr_leaves **batch; /* one a source */
	uint64_t *bytes;
	struct sr_leaves *ready;
	uint64_t gone;
	bool reshape; /* tables of another shape are in it: begun anew */
	struct sr_err *err;
};

static enum sr_status sort_out(void *ctx, struct sr_bytes path, const struct sr_version *here, const struct sr_version *there)
{
	struct filling *f = ctx;
	struct sr_leaf leaf = {.path = path, .expect = *here, .to = *there};

	f->reshape |= here->kind == SR_KIND_TABLE;
	if (there->kind == SR_KIND_NONE)
		return sr_leaves_add(f->drops, &leaf, f->err);
	return sr_leaves_add(there->kind == SR_KIND_TABLE ? f->tables : f->puts, &leaf, f->err);
}

static enum sr_verdict always(void *ctx, size_t k, const struct sr_leaf *leaf, const struct sr_version *actual, struct sr_bytes record)
{
	(void)ctx, (void)k, (void)leaf, (void)actual, (void)record;
	return SR_TAKE;
}

static enum sr_verdict make_way(void *ctx, size_t k, const struct sr_leaf *leaf, struct sr_bytes path, const struct sr_version *actual,
				struct sr_bytes record)
{
	(void)ctx, (void)k, (void)leaf, (void)path, (void)actual, (void)record;
	return SR_TAKE;
}

/* It came from the source, or will come again. */
static enum sr_status let_go(void *ctx, size_t k, const struct sr_leaf *leaf, const struct sr_displaced *old, struct sr_err *err)
{
	(void)ctx, (void)k, (void)leaf, (void)old, (void)err;
	return SR_OK;
}

static void applied(void *ctx, size_t k, const struct sr_leaf *leaf, uint64_t signature)
{
	(void)ctx, (void)k, (void)leaf, (void)signature;
}

static enum sr_status apply(struct filling *f, struct sr_leaves *leaves)
{
	const struct sr_apply_ops ops = {
		.most_equals.rows = f->x->o->config->max_leaves, .clash = always, .in_the_way = make_way, .displaced = let_go, .applied = applied};
	enum sr_status rc = SR_OK;

	if (!sr_leaves_count(leaves))
		return SR_OK;
	if (f->st->kind == SR_KIND_FILES)
		rc = sr_stage_flush(f->store, f->err);
	if (rc == SR_OK)
		rc = sr_leaves_sort(leaves, f->err);
	if (rc == SR_OK)
		rc = sr_apply_prepare(f->store, leaves, &f->st->marker, &ops, f->err);
	if (rc == SR_OK)
		rc = sr_apply_commit(f->store, f->err);
	else
		sr_apply_rollback(f->store);
	if (f->st->kind == SR_KIND_FILES)
		sr_store_sweep_stage(f->store);
	return rc;
}

static enum sr_status on_got(void *ctx, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct filling *f = ctx;

	return sr_leaves_add(f->ready, leaf, err);
}

/* Fetch what is gathered for source k, and apply it. */
static enum sr_status flush(struct filling *f, size_t k)
{
	enum sr_status rc;

	if (!sr_leaves_count(f->batch[k]))
		return SR_OK;
	f->ready = sr_leaves_new(f->x->spool);
	rc = sr_leaves_sort(f->batch[k], f->err);
	if (rc == SR_OK)
		rc = sr_restore_fetch(f->x, k, f->i, f->store, f->batch[k], on_got, f, &f->gone, f->err);
	if (rc == SR_OK)
		rc = apply(f, f->ready);
	sr_leaves_free(f->ready);
	sr_leaves_free(f->batch[k]);
	f->batch[k] = sr_leaves_new(f->x->spool);
	f->bytes[k] = 0;
	return rc;
}

static enum sr_status find_source(struct filling *f, const struct sr_leaf *leaf, size_t *k)
{
	*k = sr_restore_source_of(f->x, f->i, leaf->path, &leaf->to);
	return *k < f->x->n_sources ? SR_OK : sr_err_set(f->err, SR_E_INTERNAL, "no source has what was merged from them");
}

/* Tables come before their rows, each source's with its schema text. */
static enum sr_status make_tables(struct filling *f)
{
	enum sr_status rc = SR_OK;

	for (size_t k = 0; rc == SR_OK && k < f->x->n_sources; k++) {
		struct sr_leaves *mine = sr_leaves_new(f->x->spool), *text = sr_leaves_new(f->x->spool);
		struct sr_leaf schema = {.path = sr_bytes_of(SR_SCHEMA_PATH), .to = {.kind = SR_KIND_TABLE, .hash = f->x->sources[k].stores[f->i].map}};

		for (size_t j = 0; rc == SR_OK && j < sr_leaves_count(f->tables); j++) {
			struct sr_leaf leaf;

			size_t from;

			rc = sr_leaves_at(f->tables, j, &leaf, f->err);
			if (rc == SR_OK)
				rc = find_source(f, &leaf, &from);
			if (rc == SR_OK && from == k)
				rc = sr_leaves_add(mine, &leaf, f->err);
		}
		if (rc == SR_OK && sr_leaves_count(mine)) {
			f->ready = mine;
			rc = sr_leaves_add(text, &schema, f->err);
			if (rc == SR_OK)
				rc = sr_restore_fetch(f->x, k, f->i, f->store, text, on_got, f, &f->gone, f->err);
			if (rc == SR_OK)
				rc = apply(f, mine);
		}
		sr_leaves_free(text);
		sr_leaves_free(mine);
	}
	return rc;
}

static enum sr_status put(struct filling *f, const struct sr_leaf *leaf)
{
	size_t k;
	enum sr_status rc = find_source(f, leaf, &k);

	if (rc != SR_OK)
		return rc;
	if (!sr_leaf_has_content(leaf) || (leaf->to.kind == SR_KIND_FILE && sr_hash_eq(&leaf->expect.hash, &leaf->to.hash))) {
		struct sr_leaves *one = f->batch[f->x->n_sources]; /* needs nothing from anyone */

		return sr_leaves_add(one, leaf, f->err);
	}
	rc = sr_leaves_add(f->batch[k], leaf, f->err);
	f->bytes[k] += leaf->to.bytes;
	if (rc == SR_OK && (f->bytes[k] >= BATCH_BYTES || sr_leaves_count(f->batch[k]) >= BATCH))
		rc = flush(f, k);
	return rc;
}

/* Directories and modes first, then what has content. */
static enum sr_status put_all(struct filling *f)
{
	size_t n = f->x->n_sources;
	enum sr_status rc = sr_leaves_sort(f->puts, f->err);

	f->batch = sr_alloc((n + 1) * sizeof *f->batch);
	f->bytes = sr_alloc((n + 1) * sizeof *f->bytes);
	for (size_t k = 0; k <= n; k++)
		f->batch[k] = sr_leaves_new(f->x->spool);
	for (int content = 0; rc == SR_OK && content < 2; content++) {
		for (size_t j = 0; rc == SR_OK && j < sr_leaves_count(f->puts); j++) {
			struct sr_buf path = {0};
			struct sr_leaf leaf;

			rc = sr_leaves_at(f->puts, j, &leaf, f->err);
			if (rc == SR_OK && (leaf.to.kind != SR_KIND_DIR) == content) {
				sr_buf_bytes(&path, leaf.path); /* what is fetched meanwhile must not disturb the spool's own buffer */
				leaf.path = sr_buf_view(&path);
				rc = put(f, &leaf);
			}
			sr_buf_free(&path);
		}
		for (size_t k = 0; rc == SR_OK && k < n; k++)
			rc = flush(f, k);
		if (rc == SR_OK)
			rc = apply(f, f->batch[n]);
		sr_leaves_free(f->batch[n]);
		f->batch[n] = sr_leaves_new(f->x->spool);
	}
	for (size_t k = 0; k <= n; k++)
		sr_leaves_free(f->batch[k]);
	free(f->batch);
	free(f->bytes);
	return rc;
}

static void remove_staged(const struct sr_restore_store *st)
{
	static const char *const with[] = {"", "-wal", "-shm", "-journal"};

	for (size_t k = 0; k < sizeof with / sizeof *with; k++) {
		char *path = sr_format("%s%s", st->staged, with[k]);

		unlink(path);
		free(path);
	}
}

/* A database of another shape than is wanted now. */
static enum sr_status begin_anew(struct filling *f)
{
	sr_store_close(f->store);
	f->store = NULL;
	remove_staged(f->st);
	sr_nodes_release(f->x->nodes, &f->map);
	f->map = (struct sr_hash){0};
	return SR_OK;
}

/* Owner and mode of what it takes the place of, which new entries take from it; of nothing: the owner of the directory it lies in. */
static void look_alike(const struct sr_restore_store *st)
{
	char *dir = sr_strdup(st->path), *slash = strrchr(dir, '/');
	struct stat old;
	bool there = stat(st->path, &old) == 0;

	if (!there && slash)
		slash[slash == dir] = 0;
	if ((there || stat(dir, &old) == 0) && !st->config->owner && !st->config->group && chown(st->staged, old.st_uid, old.st_gid) != 0)
		there = false; /* not ours to give away; its mode would not fit */
	if (there)
		(void)!chmod(st->staged, old.st_mode & 07777);
	free(dir);
}

static enum sr_status open_staged(struct filling *f)
{
	bool made = access(f->st->staged, F_OK) != 0;
	enum sr_status rc = SR_OK;

	if (!f->store)
		rc = sr_restore_open_store(f->x, f->i, f->st->staged, true, &f->store, f->err);
	if (rc == SR_OK)
		rc = sr_store_create(f->store, f->err);
	if (rc == SR_OK && made)
		look_alike(f->st);
	return rc;
}

static enum sr_status look(struct filling *f)
{
	struct sr_hash old = f->map;
	enum sr_status rc = open_staged(f);

	if (rc == SR_OK)
		rc = sr_restore_scan(f->x, f->store, sr_hash_none(&old) ? NULL : &old, &f->map, f->err);
	if (rc == SR_OK)
		sr_nodes_release(f->x->nodes, &old);
	if (rc == SR_E_BUSY)
		sr_err_context(f->err, "somebody has it open; nothing was put in place: close what reads it, and run this again");
	return rc;
}

/* A database that was being built when the machine lost its power may be anything: what was fetched is lost, no more. */
static enum sr_status look_first(struct filling *f)
{
	enum sr_status rc;

	if (f->st->kind == SR_KIND_DATABASE && access(f->st->staged, F_OK) != 0)
		remove_staged(f->st); /* logs of one that is gone */
	rc = look(f);
	if (rc != SR_E_DATA || f->st->kind != SR_KIND_DATABASE)
		return rc;
	rc = begin_anew(f);
	return rc == SR_OK ? look(f) : rc;
}

static void begin_progress(struct filling *f)
{
	struct sr_counts todo = {0};
	struct sr_err ignored;

	(void)!sr_store_diff(f->x->nodes, f->st->kind, &f->map, &f->st->wanted, count_item, &todo, &ignored);
	sr_progress_begin(&f->x->progress, "fetching", todo.there + todo.different, todo.bytes);
}

static enum sr_status pass(struct filling *f)
{
	enum sr_status rc;

	f->drops = sr_leaves_new(f->x->spool);
	f->tables = sr_leaves_new(f->x->spool);
	f->puts = sr_leaves_new(f->x->spool);
	f->gone = 0;
	f->reshape = false;
	rc = sr_store_diff(f->x->nodes, f->st->kind, &f->map, &f->st->wanted, sort_out, f, f->err);
	if (rc == SR_OK && f->reshape) {
		rc = begin_anew(f);
	} else if (rc == SR_OK) {
		begin_progress(f);
		rc = apply(f, f->drops);
		if (rc == SR_OK)
			rc = make_tables(f);
		if (rc == SR_OK)
			rc = put_all(f);
		sr_progress_end(&f->x->progress);
	}
	sr_leaves_free(f->drops);
	sr_leaves_free(f->tables);
	sr_leaves_free(f->puts);
	return rc;
}

/* --- until it is so ------------------------------------------------------------------------------------------------------------- */

/* What is wanted, of the sources as they are known now: while another store was filled they may have moved on. */
static enum sr_status merge_anew(struct filling *f)
{
	enum sr_status rc = sr_restore_merge(f->x, f->i, f->err);

	return rc == SR_OK && f->st->skip ? sr_err_set(f->err, SR_E_UNAVAILABLE, "no source has it any more: %s", f->x->sources[0].stores[f->i].why)
					  : rc;
}

static enum sr_status catch_up(struct filling *f)
{
	int64_t until = sr_ticks_ms() + WAIT_MS;
	bool moved = false;
	enum sr_status rc = sr_restore_refresh(f->x, &moved, f->err);

	while (rc == SR_OK && !moved && f->gone && sr_ticks_ms() < until) {
		nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
		rc = sr_restore_refresh(f->x, &moved, f->err);
	}
	if (rc == SR_OK && !f->x->sources[0].client && f->gone)
		return SR_OK; /* files that are written to: what can be read was */
	return rc == SR_OK ? merge_anew(f) : rc;
}

/* What is the daemon's within it, and not the application's. */
static void give_own(const struct filling *f)
{
	char *own = sr_format("%s/.sameroot", f->st->staged);

	sr_owner_give(&f->x->owner, own);
	free(own);
}

static enum sr_status finish(struct filling *f)
{
	enum sr_status rc = sr_store_mark(f->store, &f->st->marker, f->err);

	if (rc == SR_OK)
		rc = sr_store_check(f->store, f->err);
	if (rc == SR_E_DATA && f->st->kind == SR_KIND_DATABASE)
		(void)!begin_anew(f); /* by the next run */
	if (rc == SR_OK)
		rc = sr_store_settle(f->store, f->err);
	sr_store_close(f->store);
	f->store = NULL;
	if (rc == SR_OK && f->st->kind == SR_KIND_FILES)
		give_own(f);
	return rc;
}

/* What could not be had: it is left out. */
static enum sr_status count_missing(struct filling *f)
{
	struct sr_counts todo = {0};
	enum sr_status rc = sr_store_diff(f->x->nodes, f->st->kind, &f->map, &f->st->wanted, count_item, &todo, f->err);

	f->st->missing = todo.there + todo.different + todo.here;
	return rc;
}

enum sr_status sr_restore_fill(struct sr_restore *x, size_t i, struct sr_err *err)
{
	struct filling f = {.x = x, .i = i, .st = &x->stores[i], .err = err};
	enum sr_status rc = merge_anew(&f);

	if (rc == SR_OK)
		rc = look_first(&f);
	for (int n = 0; rc == SR_OK && n < PASSES && !sr_hash_eq(&f.map, &f.st->wanted); n++) {
		rc = pass(&f);
		if (rc == SR_OK)
			rc = look(&f);
		if (rc == SR_OK && !sr_hash_eq(&f.map, &f.st->wanted) && n + 1 < PASSES) /* or its dates would not be those of what is here */
			rc = catch_up(&f);
	}
	if (rc == SR_OK)
		rc = count_missing(&f);
	if (rc == SR_OK)
		rc = sr_restore_archive(x, i, f.store, err);
	if (rc == SR_OK)
		rc = finish(&f);
	sr_progress_end(&x->progress);
	sr_store_close(f.store);
	sr_nodes_release(x->nodes, &f.map);
	return rc == SR_OK ? rc : sr_err_context(err, "store %s: %s", f.st->name, f.st->staged);
}
