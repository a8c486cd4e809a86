/* replica.c - see replica.h. */
#include "lib/replica/replica.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/replica/rot.h"
#include "lib/state/swap.h"

#define META_NODE  "node"
#define META_KEY   "tree-key"
#define BATCH_LEAST 65536 /* leaves turned into edits at a time, and ... */
#define BATCH_PART  4     /* ... that part of those that are in the map: few rebuilds, and no more memory than the map itself takes */

/* --- open and close ---------------------------------------------------------------------------------------------- */

static const char *path_of(const struct sr_replica *r, const struct sr_config_store *c)
{
	return r->role == SR_ROLE_DATASTORE ? c->datastore_path : c->path;
}

static uint8_t kind_of(const struct sr_config_store *c)
{
	return c->kind == SR_CONFIG_SQLITE ? SR_KIND_DATABASE : SR_KIND_FILES;
}

static enum sr_status load_identity(struct sr_replica *r, struct sr_err *err)
{
	struct sr_buf buf = {0};
	bool found;
	enum sr_status rc = sr_state_get(r->state, META_NODE, &buf, &found, err);

	if (rc != SR_OK)
		goto out;
	if (found && buf.len == sizeof r->node.b) {
		memcpy(r->node.b, buf.at, sizeof r->node.b);
	} else {
		r->node = sr_uuid_random();
		rc = sr_state_put(r->state, META_NODE, sr_bytes(r->node.b, sizeof r->node.b), err);
	}
out:
	sr_buf_free(&buf);
	return rc;
}

enum sr_status sr_replica_renew(struct sr_replica *r, struct sr_err *err)
{
	struct sr_uuid node = sr_uuid_random();
	enum sr_status rc = sr_state_put(r->state, META_NODE, sr_bytes(node.b, sizeof node.b), err);

	if (rc != SR_OK)
		return rc;
	sr_replica_write_lock(r);
	r->node = node;
	sr_replica_unlock(r);
	return SR_OK;
}

static enum sr_status load_key(struct sr_replica *r, struct sr_err *err)
{
	struct sr_buf buf = {0};
	bool found;
	enum sr_status rc = sr_state_get(r->state, META_KEY, &buf, &found, err);

	if (rc == SR_OK && found && buf.len == SR_KEY_LEN)
		rc = sr_replica_start(r, buf.at, err);
	if (buf.len)
		explicit_bzero(buf.at, buf.len);
	sr_buf_free(&buf);
	return rc;
}

/* The owner is one thread and must not be kept waiting by a stream of readers. */
static void make_lock(pthread_rwlock_t *lock)
{
	pthread_rwlockattr_t attr;

	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(lock, &attr);
	pthread_rwlockattr_destroy(&attr);
}

enum sr_status sr_replica_open(struct sr_replica **out, const struct sr_config *config, enum sr_role role, struct sr_err *err)
{
	struct sr_replica *r = sr_alloc(sizeof *r);
	const char *dir = role == SR_ROLE_DATASTORE ? config->datastore_state_directory : config->state_directory;
	struct sr_swap_pending swap = {0};
	enum sr_status rc;

	r->role = role;
	r->config = config;
	make_lock(&r->lock);
	make_lock(&r->stores_lock);
	(void)!sr_swap_look(dir, &swap, err); /* if it cannot be, sr_state_open says why */
	rc = sr_state_open(&r->state, dir, &r->fresh, err);
	if (rc == SR_OK && swap.paths)
		sr_warn("`%s` was interrupted when all was ready: what it restored is in place now: %s", swap.request, swap.paths);
	sr_swap_pending_free(&swap);
	if (rc == SR_OK)
		rc = sr_archive_open(&r->archive, dir, err);
	if (rc == SR_OK)
		sr_archive_limit(r->archive, config->conflict_max_bytes);
	if (rc == SR_OK)
		rc = load_identity(r, err);
	if (rc == SR_OK)
		rc = load_key(r, err);
	if (rc != SR_OK) {
		sr_replica_close(r);
		return rc;
	}
	*out = r;
	return SR_OK;
}

static void close_store(struct sr_replica_store *s)
{
	sr_view_close(s->view);
	sr_scan_free(&s->scan);
	sr_rot_free(s);
	sr_store_close(s->store);
}

static void drop_stores(struct sr_replica *r)
{
	for (size_t i = 0; i < r->n; i++)
		close_store(&r->stores[i]);
	free(r->stores);
	r->stores = NULL;
	r->n = 0;
	sr_nodes_free(r->nodes);
	r->nodes = NULL;
	memset(&r->root, 0, sizeof r->root);
}

void sr_replica_close(struct sr_replica *r)
{
	if (!r)
		return;
	drop_stores(r);
	sr_archive_close(r->archive);
	sr_state_close(r->state);
	pthread_rwlock_destroy(&r->lock);
	pthread_rwlock_destroy(&r->stores_lock);
	free(r);
}

/* --- maps from leaf rows ------------------------------------------------------------------------------------------ */

struct edits { /* paths are kept in one buffer as offsets until they are used, because it grows */
	struct sr_buf paths;
	struct sr_edit *at;
	size_t n, cap;
};

static void edits_add(struct edits *e, struct sr_bytes path, const struct sr_version *to)
{
	if (e->n == e->cap) {
		e->cap = e->cap ? e->cap * 2 : 64;
		e->at = sr_realloc(e->at, e->cap * sizeof *e->at);
	}
	e->at[e->n].path = (struct sr_bytes){(const uint8_t *)(uintptr_t)e->paths.len, path.len};
	e->at[e->n++].to = *to;
	sr_buf_bytes(&e->paths, path);
}

static struct sr_edit *edits_ready(struct edits *e)
{
	for (size_t i = 0; i < e->n; i++)
		e->at[i].path.at = e->paths.at + (uintptr_t)e->at[i].path.at;
	return e->at;
}

static void edits_clear(struct edits *e)
{
	e->n = 0;
	sr_buf_clear(&e->paths);
}

static void edits_free(struct edits *e)
{
	free(e->at);
	sr_buf_free(&e->paths);
}

/* Make `map` the store's map; the old one is let go. */
static void set_map(struct sr_replica *r, struct sr_replica_store *s, const struct sr_hash *map)
{
	sr_nodes_hold(r->nodes, map);
	sr_nodes_release(r->nodes, &s->map);
	s->map = *map;
}

/* *map, which is held, with the edits; the nodes that were only its own go. */
static enum sr_status edit_map(struct sr_replica *r, uint8_t kind, struct sr_hash *map, struct edits *e, struct sr_err *err)
{
	struct sr_hash next;
	enum sr_status rc;

	if (!e->n)
		return SR_OK;
	rc = sr_store_edit(r->nodes, kind, map, edits_ready(e), e->n, &next, err);
	if (rc == SR_OK) {
		sr_nodes_hold(r->nodes, &next);
		sr_nodes_release(r->nodes, map);
		*map = next;
	}
	sr_nodes_sweep(r->nodes);
	edits_clear(e);
	return rc;
}

/* Are these enough for one go? */
static bool is_batch(const struct sr_replica *r, const struct sr_hash *map, const struct edits *e)
{
	uint64_t leaves = 0, bytes;

	if (e->n < BATCH_LEAST || e->n % 1024)
		return false;
	return sr_map_counts(r->nodes, map, &leaves, &bytes) != SR_OK || e->n >= leaves / BATCH_PART;
}

struct load {
	struct sr_replica *r;
	struct sr_replica_store *s;
	struct edits edits;
};

static enum sr_status load_row(void *ctx, const struct sr_leaf_row *row, struct sr_err *err)
{
	struct load *l = ctx;
	bool file = row->local.kind == SR_KIND_FILE || row->local.kind == SR_KIND_DIR;

	if (row->local.kind == SR_KIND_NONE)
		return SR_OK;
	if (file != (l->s->kind == SR_KIND_FILES))
		return sr_err_set(err, SR_E_CONFIG, "what is known of it is of Kind=%s: something else needs another name",
				  file ? "files" : "sqlite");
	if (row->signature)
		sr_store_remember(l->s->store, row->path, row->signature);
	edits_add(&l->edits, row->path, &row->local);
	return is_batch(l->r, &l->s->map, &l->edits) ? edit_map(l->r, l->s->kind, &l->s->map, &l->edits, err) : SR_OK;
}

static enum sr_status load_map(struct sr_replica *r, struct sr_replica_store *s, struct sr_err *err)
{
	struct load l = {.r = r, .s = s};
	struct sr_hash empty;
	enum sr_status rc;

	sr_store_empty(r->nodes, s->kind, &empty);
	sr_nodes_hold(r->nodes, &empty);
	s->map = empty;
	rc = sr_state_leaves(r->state, &s->row, false, load_row, &l, err);
	if (rc == SR_OK)
		rc = edit_map(r, s->kind, &s->map, &l.edits, err);
	edits_free(&l.edits);
	return rc;
}

static void capture(const struct sr_replica *r, struct sr_replica_store *s)
{
	sr_store_capture(s->store, r->capture, (int64_t)r->config->full_scan_interval * 1000);
}

static enum sr_status open_store(struct sr_replica *r, const struct sr_config_store *c, struct sr_replica_store *s, struct sr_err *err)
{
	struct sr_store_options o = {
		.name = c->name,
		.kind = kind_of(c),
		.path = path_of(r, c),
		.owner = c->owner,
		.group = c->group,
		.exclude = (const char *const *)c->exclude.at,
		.excludes = c->exclude.count,
		.max_size = r->config->resource_max_size,
		.wal_limit = r->config->wal_limit,
		.ours = r->role == SR_ROLE_DATASTORE,
		.key = &r->key,
	};
	enum sr_status rc;

	s->config = c;
	s->name = c->name;
	s->kind = o.kind;
	rc = sr_store_open(&s->store, &o, err);
	if (rc == SR_OK && r->watcher)
		sr_store_watch(s->store, r->watcher);
	if (rc == SR_OK)
		capture(r, s);
	if (rc == SR_OK)
		rc = sr_state_store(r->state, s->name, &s->row, err);
	if (rc == SR_OK)
		rc = load_map(r, s, err);
	if (rc == SR_OK)
		rc = sr_rot_load(r, s, err);
	return rc == SR_OK ? rc : sr_err_context(err, "store %s", c->name);
}

/* Another tree key: every hash in the leaf rows is meaningless now, in those of stores too that are not configured at the moment. */
static enum sr_status forget_all(struct sr_replica *r, struct sr_err *err)
{
	struct sr_store_row *rows = NULL;
	size_t n = 0;
	enum sr_status rc = sr_state_stores(r->state, &rows, &n, err);

	for (size_t i = 0; rc == SR_OK && i < n; i++)
		rc = sr_state_forget_leaves(r->state, &rows[i], err);
	free(rows);
	return rc;
}

static enum sr_status keep_key(struct sr_replica *r, const uint8_t secret[SR_KEY_LEN], struct sr_err *err)
{
	struct sr_buf old = {0};
	bool found;
	enum sr_status rc = sr_state_get(r->state, META_KEY, &old, &found, err);

	if (rc == SR_OK && !(found && old.len == SR_KEY_LEN && memcmp(old.at, secret, SR_KEY_LEN) == 0)) {
		rc = sr_state_begin(r->state, err);
		if (rc == SR_OK)
			rc = found ? forget_all(r, err) : SR_OK;
		if (rc == SR_OK)
			rc = sr_state_put(r->state, META_KEY, sr_bytes(secret, SR_KEY_LEN), err);
		if (rc == SR_OK)
			rc = sr_state_commit(r->state, err);
		else
			sr_state_rollback(r->state);
	}
	if (old.len)
		explicit_bzero(old.at, old.len);
	sr_buf_free(&old);
	return rc;
}

static void stop_users(struct sr_replica *r)
{
	atomic_store(&r->leaving, true);
	pthread_rwlock_wrlock(&r->stores_lock);
	atomic_store(&r->leaving, false);
}

enum sr_status sr_replica_start(struct sr_replica *r, const uint8_t secret[SR_KEY_LEN], struct sr_err *err)
{
	enum sr_status rc = keep_key(r, secret, err);

	if (rc != SR_OK)
		return rc;
	stop_users(r);
	sr_replica_write_lock(r);
	drop_stores(r);
	sr_tree_key_set(&r->key, secret);
	r->nodes = sr_nodes_new(&r->key);
	sr_nodes_limit(r->nodes, r->config->max_leaves);
	r->stores = sr_alloc(r->config->store_count * sizeof *r->stores);
	for (size_t i = 0; i < r->config->store_count && rc == SR_OK; i++)
		if (path_of(r, &r->config->stores[i]))
			rc = open_store(r, &r->config->stores[i], &r->stores[r->n++], err);
	r->keyed = rc == SR_OK;
	sr_replica_unlock(r);
	if (rc == SR_OK)
		sr_replica_reroot(r);
	pthread_rwlock_unlock(&r->stores_lock);
	return rc;
}

bool sr_replica_exclude(struct sr_replica *r, size_t i, const char *const *globs, size_t n)
{
	struct sr_store *st = r->stores[i].store;

	if (sr_store_exclude_is(st, globs, n))
		return false;
	stop_users(r);
	sr_store_set_exclude(st, globs, n);
	pthread_rwlock_unlock(&r->stores_lock);
	sr_info("store %s: %zu exclusions hold from now on", r->stores[i].name, n);
	return true;
}

/* --- watching ------------------------------------------------------------------------------------------------------ */

void sr_replica_watch(struct sr_replica *r, struct sr_watcher *watcher)
{
	r->watcher = watcher;
	for (size_t i = 0; i < r->n; i++)
		sr_store_watch(r->stores[i].store, watcher);
}

void sr_replica_capture(struct sr_replica *r)
{
	r->capture = r->role == SR_ROLE_WEBSERVER && r->config->change_capture ? SR_CAPTURE_TRIGGERS : SR_CAPTURE_SCAN;
	for (size_t i = 0; i < r->n; i++)
		capture(r, &r->stores[i]);
}

bool sr_replica_store_is_quiet(struct sr_replica_store *s)
{
	return s->mode == SR_MODE_READY && !s->unseen && !s->rot_found && sr_store_is_quiet(s->store);
}

bool sr_replica_is_quiet(struct sr_replica *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (!sr_replica_store_is_quiet(&r->stores[i]))
			return false;
	return r->n > 0;
}

bool sr_replica_has_news(struct sr_replica *r)
{
	bool has = false;

	for (size_t i = 0; i < r->n; i++) /* of each: it is due to be looked at again, perhaps */
		has |= sr_store_has_news(r->stores[i].store);
	return has;
}

/* --- looking ------------------------------------------------------------------------------------------------------- */

static void pause_store(struct sr_replica_store *s, const char *what, const char *why)
{
	if (s->mode != SR_MODE_PAUSED) {
		s->since_ms = sr_now_ms();
		sr_warn("store %s is paused: %s%s%s", s->name, what, *why ? ": " : "", why);
	}
	s->mode = SR_MODE_PAUSED;
	snprintf(s->why, sizeof s->why, "%s%s%s", what, *why ? ": " : "", why);
}

static void unpause_store(struct sr_replica_store *s, enum sr_store_mode mode)
{
	if (s->mode == SR_MODE_PAUSED)
		sr_info("store %s goes on", s->name);
	s->mode = mode;
	s->why[0] = 0;
	s->since_ms = 0;
}

/* A database that was copied over ours may have a stale -wal beside it, which the first look would replay over it. */
static enum sr_status shed(struct sr_replica_store *s, struct sr_err *err)
{
	struct sr_store_seen seen = {.inode = s->row.inode, .born_ns = s->row.born_ns, .written_ns = s->row.written_ns};
	bool moved = false;
	enum sr_status rc = SR_OK;

	if (s->kind == SR_KIND_DATABASE && s->row.inode)
		rc = sr_store_shed_stale_wal(s->store, &seen, &s->row.node, &moved, err);
	if (rc == SR_OK && moved)
		sr_warn("store %s: the database file was replaced while a write-ahead log of the old one lay beside it; that log was moved "
			"aside",
			s->name);
	if (rc == SR_OK && sr_store_doubtful(s->store, &seen))
		s->doubtful = true;
	return rc;
}

/* Another store of this node's was put in its place: united with what belongs here, its tables would be everywhere. */
static bool is_anothers(const struct sr_replica *r, const struct sr_replica_store *s)
{
	const char *name = s->marker.store;

	if (!*name || !strcmp(name, s->name))
		return false;
	for (size_t i = 0; i < r->n; i++)
		if (!strcmp(name, r->stores[i].name))
			return true;
	return false;
}

/* What the look means; under the lock. */
static void set_mode(const struct sr_replica *r, struct sr_replica_store *s, enum sr_presence presence, const char *why)
{
	bool ours = !sr_uuid_none(&s->row.marker); /* a pending one alone: its first fill was broken off, there is nothing to lose */

	switch (presence) {
	case SR_PRESENT:
		if (ours && !s->has_content && sr_uuid_none(&s->marker.id))
			pause_store(s, "lost: it is empty and without its marker, yet it was synchronised before", why);
		else if (is_anothers(r, s))
			pause_store(s, "in its place lies another store", s->marker.store);
		else
			unpause_store(s, SR_MODE_READY);
		break;
	case SR_ABSENT:
		if (ours)
			pause_store(s, "lost: nothing is there, yet it was synchronised before", why);
		else
			unpause_store(s, SR_MODE_NEW);
		break;
	case SR_CORRUPT:
		pause_store(s, "corrupt", why);
		break;
	case SR_UNMARKABLE:
		pause_store(s, "its marker has no place", why);
		break;
	case SR_BLOCKED:
		pause_store(s, "cannot be looked at", why);
		break;
	}
}

void sr_replica_look_at(struct sr_replica *r, size_t i)
{
	struct sr_replica_store *s = &r->stores[i];
	enum sr_presence presence = SR_BLOCKED;
	struct sr_err err = {0};
	char why[256] = "";

	if (shed(s, &err) == SR_OK)
		presence = sr_store_look(s->store, &s->marker, &s->has_content, why);
	else
		snprintf(why, sizeof why, "%.255s", err.text);
	sr_replica_write_lock(r);
	set_mode(r, s, presence, why);
	sr_replica_unlock(r);
}

void sr_replica_look(struct sr_replica *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (!sr_replica_store_is_quiet(&r->stores[i]))
			sr_replica_look_at(r, i);
}

/* --- scanning ------------------------------------------------------------------------------------------------------ */

/* The first unknown path at or after `path` in order. */
static size_t unknown_from(const struct sr_scan *scan, struct sr_bytes path)
{
	size_t lo = 0, hi = scan->unknowns;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (sr_bytes_cmp(scan->unknown[mid].path, path) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* As the last scan listed it. */
static bool listed_unknown(const struct sr_replica *r, size_t i, struct sr_bytes path)
{
	const struct sr_scan *scan = &r->stores[i].scan;

	if (!scan->unknowns)
		return false;
	/* Each prefix that ends where a component does; a database has only two, and a row's key may hold NULs. */
	for (size_t len = 1; len <= path.len; len++) {
		struct sr_bytes top = {path.at, len};
		size_t at;

		if (len < path.len && path.at[len] != 0)
			continue;
		at = unknown_from(scan, top);
		if (at < scan->unknowns && sr_bytes_eq(scan->unknown[at].path, top))
			return true;
	}
	return false;
}

bool sr_replica_unknown(const struct sr_replica *r, size_t i, struct sr_bytes path)
{
	return listed_unknown(r, i, path) || sr_store_excludes(r->stores[i].store, path);
}

bool sr_replica_unknown_below(const struct sr_replica *r, size_t i, struct sr_bytes path)
{
	const struct sr_scan *scan = &r->stores[i].scan;
	size_t at = unknown_from(scan, path);

	return at < scan->unknowns && sr_path_under(scan->unknown[at].path, path);
}

struct record {
	struct sr_replica *r;
	size_t i;
	struct sr_leaves *changes; /* expect: from */
	struct sr_buf signatures; /* be64 signature, string path */
	sr_changed_fn *fn;
	void *ctx;
	struct sr_err *err;
	bool own, begun;
};

static void collect_signature(void *ctx, struct sr_bytes path, uint64_t signature)
{
	struct record *c = ctx;

	sr_buf_be64(&c->signatures, signature);
	sr_buf_string(&c->signatures, path);
}

static void guard_lock(void *ctx)
{
	sr_replica_write_lock(ctx);
}

static void guard_unlock(void *ctx)
{
	sr_replica_unlock(ctx);
}

static enum sr_status begin_once(struct record *c)
{
	if (!c->own || c->begun)
		return SR_OK;
	c->begun = true;
	return sr_state_begin(c->r->state, c->err);
}

/* Is `to` nothing but that it cannot be seen?  A directory that holds only what is unknown is no entry of the tree, and yet it is not gone. */
static bool unseen(const struct sr_replica *r, size_t i, struct sr_bytes path, const struct sr_version *to)
{
	return listed_unknown(r, i, path) || (to->kind == SR_KIND_NONE && sr_replica_unknown_below(r, i, path));
}

static enum sr_status spool_change(void *ctx, struct sr_bytes path, const struct sr_version *from, const struct sr_version *to)
{
	struct record *c = ctx;
	struct sr_leaf leaf = {.path = path, .expect = *from, .to = *to};

	return unseen(c->r, c->i, path, to) ? SR_OK : sr_leaves_add(c->changes, &leaf, c->err);
}

static enum sr_status record_change(struct record *c, struct sr_bytes path, const struct sr_version *from, const struct sr_version *to)
{
	struct sr_replica_store *s = &c->r->stores[c->i];
	struct sr_leaf_row row;
	enum sr_status rc;

	rc = begin_once(c);
	if (rc == SR_OK)
		rc = sr_state_leaf(c->r->state, &s->row, path, &row, c->err);
	if (rc != SR_OK)
		return rc;
	if (from->kind == SR_KIND_NONE && to->kind == SR_KIND_TABLE && row.base.kind == SR_KIND_TABLE) {
		row.base_state = SR_BASE_UNKNOWN; /* it was gone, and is made again: that its rows are not is no deletion */
		row.base = (struct sr_version){0};
	}
	row.path = path;
	row.local = *to;
	row.signature = 0;
	rc = sr_state_leaf_put(c->r->state, &s->row, &row, c->err);
	if (rc == SR_OK && c->fn)
		rc = c->fn(c->ctx, c->i, path, from, to, c->err);
	return rc;
}

static enum sr_status record_signatures(struct record *c)
{
	struct sr_reader in = sr_reader(sr_buf_view(&c->signatures));
	enum sr_status rc = c->signatures.len ? begin_once(c) : SR_OK;

	while (rc == SR_OK && sr_read_left(&in)) {
		uint64_t signature = sr_read_be64(&in);
		struct sr_bytes path = sr_read_string(&in);

		rc = sr_state_leaf_sign(c->r->state, &c->r->stores[c->i].row, path, signature, c->err);
	}
	return rc;
}

struct first_rows {
	struct sr_leaves *changes;
	size_t at;
	struct sr_leaf_row absent; /* what no row says */
};

static enum sr_status next_first(void *ctx, struct sr_leaf_row *row, bool *more, struct sr_err *err)
{
	struct first_rows *c = ctx;
	struct sr_leaf leaf;
	enum sr_status rc = sr_leaves_next(c->changes, &c->at, &leaf, more, err);

	if (rc != SR_OK || !*more)
		return rc;
	*row = c->absent;
	row->path = leaf.path;
	row->local = leaf.to;
	return SR_OK;
}

/* Of a store of which nothing is known: all its rows at once, as record_change would have them one by one. */
static enum sr_status record_first(struct record *c, bool *done)
{
	const struct sr_store_row *st = &c->r->stores[c->i].row;
	struct first_rows rows = {.changes = c->changes};
	bool any = true;
	enum sr_status rc = SR_OK;

	*done = false;
	if (c->fn || !sr_leaves_count(c->changes))
		return SR_OK;
	rc = sr_state_has_leaves(c->r->state, st, &any, c->err);
	if (rc != SR_OK || any)
		return rc;
	*done = true;
	rc = begin_once(c);
	if (rc == SR_OK)
		rc = sr_state_leaf(c->r->state, st, sr_bytes(NULL, 0), &rows.absent, c->err);
	return rc == SR_OK ? sr_state_leaves_put(c->r->state, st, next_first, &rows, c->err) : rc;
}

/* From the old map to the new one, in the leaf rows.  In path order, as the rows lie in state.db: a map has another. */
static enum sr_status record_scan(struct record *c, const struct sr_hash *before, const struct sr_hash *after)
{
	bool done = false;
	enum sr_status rc;

	c->changes = sr_leaves_new(sr_state_dir(c->r->state));
	rc = sr_store_diff(c->r->nodes, c->r->stores[c->i].kind, before, after, spool_change, c, c->err);
	if (rc == SR_OK)
		rc = sr_leaves_sort(c->changes, c->err);
	if (rc == SR_OK)
		rc = record_first(c, &done);
	for (size_t k = 0; rc == SR_OK && !done && k < sr_leaves_count(c->changes); k++) {
		struct sr_leaf leaf;

		rc = sr_leaves_at(c->changes, k, &leaf, c->err);
		if (rc == SR_OK)
			rc = record_change(c, leaf.path, &leaf.expect, &leaf.to);
	}
	sr_leaves_free(c->changes);
	if (rc == SR_OK)
		rc = record_signatures(c);
	if (c->own && c->begun) {
		if (rc == SR_OK)
			rc = sr_state_commit(c->r->state, c->err);
		else
			sr_state_rollback(c->r->state);
	}
	return rc;
}

void sr_replica_note_seen(struct sr_replica_store *s)
{
	struct sr_store_seen seen = sr_store_seen(s->store);

	s->row.inode = seen.inode;
	s->row.born_ns = seen.born_ns;
	s->row.written_ns = seen.written_ns;
}

static enum sr_status remember_seen(struct sr_replica *r, struct sr_replica_store *s, struct sr_err *err)
{
	struct sr_store_row was = s->row;
	enum sr_status rc;

	sr_replica_note_seen(s);
	if (s->row.inode == was.inode && s->row.born_ns == was.born_ns && s->row.written_ns == was.written_ns)
		return SR_OK;
	rc = sr_state_store_put(r->state, &s->row, err);
	if (rc != SR_OK)
		s->row = was;
	return rc;
}

/* See everything.  Nodes come in one by one under the lock, readers go on between; the new map is held. */
static enum sr_status see(struct sr_replica *r, struct record *c, struct sr_scan *scan)
{
	struct sr_replica_store *s = &r->stores[c->i];
	enum sr_status rc;

	sr_nodes_guard(r->nodes, guard_lock, guard_unlock, r);
	rc = sr_view_scan(s->view, r->nodes, &s->map, collect_signature, c, scan, c->err);
	sr_nodes_guard(r->nodes, NULL, NULL, NULL);
	if (rc != SR_OK)
		return rc;
	sr_replica_write_lock(r);
	sr_nodes_hold(r->nodes, &scan->map);
	sr_replica_unlock(r);
	return SR_OK;
}

struct graft {
	struct sr_replica *r;
	size_t i;
	struct sr_hash map; /* as seen */
	struct edits edits;
	struct sr_leaves *still; /* of a database: what rotted, and is there still */
	struct sr_err *err;
};

static struct sr_bytes above(struct sr_bytes path)
{
	const uint8_t *nul = path.len ? memrchr(path.at, 0, path.len) : NULL;

	return sr_bytes(path.at, nul ? (size_t)(nul - path.at) : 0);
}

/* Something excluded was in a directory that is gone, excluded things and all: the directory stays with it.  Where it gave way to a file
 * nothing can stay: *lost. */
static enum sr_status keep_way(struct graft *g, struct sr_bytes path, bool *lost)
{
	struct sr_replica_store *s = &g->r->stores[g->i];
	enum sr_status rc = SR_OK;

	for (struct sr_bytes up = above(path); rc == SR_OK && up.len && !*lost; up = above(up)) {
		struct sr_version now, old;

		rc = sr_store_get(g->r->nodes, s->kind, &g->map, up, &now, g->err);
		if (rc == SR_OK && now.kind == SR_KIND_DIR)
			return SR_OK;
		*lost = now.kind != SR_KIND_NONE;
		if (rc == SR_OK && !*lost)
			rc = sr_store_get(g->r->nodes, s->kind, &s->map, up, &old, g->err);
		if (rc == SR_OK && !*lost)
			edits_add(&g->edits, up, &old);
	}
	return rc;
}

static enum sr_status keep_unseen(void *ctx, struct sr_bytes path, const struct sr_version *from, const struct sr_version *to)
{
	struct graft *g = ctx;
	bool lost = false;
	enum sr_status rc = SR_OK;

	if (from->kind == SR_KIND_NONE)
		return SR_OK;
	if (!unseen(g->r, g->i, path, to)) {
		if (to->kind != SR_KIND_NONE || !sr_store_excludes(g->r->stores[g->i].store, path))
			return SR_OK;
		rc = keep_way(g, path, &lost);
	}
	if (rc == SR_OK && !lost)
		edits_add(&g->edits, path, from);
	return rc;
}

static int edit_order(const void *a, const void *b)
{
	return sr_bytes_cmp(((const struct sr_edit *)a)->path, ((const struct sr_edit *)b)->path);
}

/* In order, each path once. */
static void edits_sort(struct edits *e)
{
	size_t n = 0;

	qsort(edits_ready(e), e->n, sizeof *e->at, edit_order);
	for (size_t k = 0; k < e->n; k++)
		if (!n || !sr_bytes_eq(e->at[n - 1].path, e->at[k].path))
			e->at[n++] = e->at[k];
	e->n = n;
}

/* *map is held, before and after. */
static enum sr_status graft(struct graft *g, struct sr_hash *map)
{
	struct sr_replica *r = g->r;
	struct sr_hash whole;
	enum sr_status rc;

	edits_sort(&g->edits);
	sr_replica_write_lock(r);
	rc = sr_store_edit(r->nodes, r->stores[g->i].kind, map, g->edits.at, g->edits.n, &whole, g->err);
	if (rc == SR_OK) {
		sr_nodes_hold(r->nodes, &whole);
		sr_nodes_release(r->nodes, map);
		*map = whole;
	}
	sr_replica_unlock(r);
	return rc;
}

/* Unknown is not absent: files that were there and cannot be seen now stay in the map as they were, or everyone else would take them for
 * deleted.  (What the scan itself met that is excluded it has kept; and one table that is missing on one side is left alone by the other.) */
static enum sr_status graft_unseen(struct sr_replica *r, size_t i, struct sr_hash *map, struct sr_err *err)
{
	struct sr_replica_store *s = &r->stores[i];
	struct graft g = {.r = r, .i = i, .map = *map, .err = err};
	size_t excludes;
	enum sr_status rc;

	(void)sr_store_exclude(s->store, &excludes);
	if (!s->scan.unknowns && !excludes)
		return SR_OK;
	rc = sr_store_diff(r->nodes, s->kind, &s->map, map, keep_unseen, &g, err);
	if (rc == SR_OK && g.edits.n)
		rc = graft(&g, map);
	edits_free(&g.edits);
	return rc;
}

static enum sr_status keep_rotten(void *ctx, struct sr_bytes path, const struct sr_version *from, const struct sr_version *to)
{
	struct graft *g = ctx;
	struct sr_leaf leaf = {.path = path, .expect = *from, .to = *to};

	if (sr_replica_unknown(g->r, g->i, path))
		return SR_OK;
	if (!sr_rot_is(g->r, g->i, path, from, to) && !sr_rot_grew(g->r, g->i, path, from, to))
		return SR_OK;
	edits_add(&g->edits, path, from);
	return sr_leaves_add(g->still, &leaf, g->err);
}

/* What could not be seen is still there, as far as is known. */
static enum sr_status keep_unseen_rot(struct graft *g)
{
	struct sr_replica_store *s = &g->r->stores[g->i];
	enum sr_status rc = SR_OK;

	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(s->rot); k++) {
		struct sr_leaf leaf;

		rc = sr_leaves_at(s->rot, k, &leaf, g->err);
		if (rc == SR_OK && sr_replica_unknown(g->r, g->i, leaf.path))
			rc = sr_leaves_add(g->still, &leaf, g->err);
	}
	return rc;
}

/* What is known to have rotted in a database stays in the map as it was. */
static enum sr_status graft_rotten(struct sr_replica *r, size_t i, struct sr_hash *map, struct sr_err *err)
{
	struct sr_replica_store *s = &r->stores[i];
	struct graft g = {.r = r, .i = i, .map = *map, .err = err};
	enum sr_status rc;

	if (!sr_leaves_count(s->rot) || sr_scan_was_spared(&s->scan))
		return SR_OK;
	g.still = sr_leaves_new(sr_state_dir(r->state));
	rc = keep_unseen_rot(&g);
	if (rc == SR_OK)
		rc = sr_store_diff(r->nodes, s->kind, &s->map, map, keep_rotten, &g, err);
	if (rc == SR_OK && g.edits.n) {
		rc = graft(&g, map);
		sr_store_grafted(s->store);
	}
	edits_free(&g.edits);
	if (rc == SR_OK)
		return sr_rot_still(r, i, g.still, err);
	sr_leaves_free(g.still);
	return rc;
}

enum sr_status sr_replica_scan(struct sr_replica *r, size_t i, bool own_transaction, sr_changed_fn *fn, void *ctx, struct sr_err *err)
{
	struct sr_replica_store *s = &r->stores[i];
	struct record c = {.r = r, .i = i, .fn = fn, .ctx = ctx, .err = err, .own = own_transaction};
	struct sr_scan scan = {0};
	bool recorded;
	enum sr_status rc;

	sr_view_close(s->view);
	s->view = NULL;
	rc = own_transaction ? sr_rot_keep(r, i, err) : SR_OK;
	if (rc == SR_OK)
		rc = sr_view_open(&s->view, s->store, SR_VIEW_MAIN, err);
	if (rc != SR_OK)
		goto out;
	rc = see(r, &c, &scan);
	if (rc != SR_OK)
		goto out;
	sr_replica_write_lock(r); /* sr_replica_unknown may be asked by others */
	sr_scan_free(&s->scan);
	s->scan = scan;
	sr_replica_unlock(r);
	s->hashed += scan.hashed;
	s->hashed_bytes += scan.hashed_bytes;
	s->rows_read += scan.rows_read;
	rc = s->kind == SR_KIND_FILES ? graft_unseen(r, i, &scan.map, err) : graft_rotten(r, i, &scan.map, err);
	if (rc == SR_OK && r->judge)
		rc = r->judge(r->judge_ctx, i, &s->map, &scan.map, err);
	if (rc == SR_OK)
		rc = record_scan(&c, &s->map, &scan.map);
	recorded = rc == SR_OK && own_transaction;
	if (rc == SR_OK)
		rc = remember_seen(r, s, err);
	sr_replica_write_lock(r);
	if (rc == SR_OK || recorded) { /* what state.db has and the map has not is not missed when it goes away */
		set_map(r, s, &scan.map);
		sr_store_taken(s->store);
	}
	sr_nodes_release(r->nodes, &scan.map);
	sr_nodes_sweep(r->nodes);
	sr_replica_unlock(r);
out:
	s->unseen = rc != SR_OK;
	sr_buf_free(&c.signatures);
	if (rc != SR_OK) {
		sr_view_close(s->view);
		s->view = NULL;
		if (err->sys == EUCLEAN)
			sr_err_context(err, "corrupt");
		sr_err_context(err, "store %s: scan", s->name);
	}
	return rc;
}

void sr_replica_unview(struct sr_replica *r)
{
	for (size_t i = 0; i < r->n; i++) {
		sr_view_close(r->stores[i].view);
		r->stores[i].view = NULL;
	}
}

/* --- the root ------------------------------------------------------------------------------------------------------ */

void sr_replica_reroot(struct sr_replica *r)
{
	struct sr_entry *entries = sr_alloc((r->n ? r->n : 1) * sizeof *entries);
	struct sr_entry root = {0};

	sr_replica_write_lock(r);
	for (size_t i = 0; i < r->n; i++) {
		struct sr_replica_store *s = &r->stores[i];

		entries[i] = (struct sr_entry){.name = sr_bytes_of(s->name), .kind = s->kind, .hash = s->map};
		if (sr_map_counts(r->nodes, &s->map, &entries[i].leaves, &entries[i].bytes) != SR_OK)
			abort(); /* our own map is always whole */
	}
	sr_map_build(r->nodes, sr_bytes(NULL, 0), entries, r->n, &root);
	sr_nodes_hold(r->nodes, &root.hash);
	if (!sr_hash_none(&r->root))
		sr_nodes_release(r->nodes, &r->root);
	r->root = root.hash;
	r->leaves = root.leaves;
	r->bytes = root.bytes;
	sr_nodes_sweep(r->nodes);
	sr_replica_unlock(r);
	free(entries);
}

/* --- after an apply ------------------------------------------------------------------------------------------------ */

static enum sr_status edit_map_locked(struct sr_replica *r, uint8_t kind, struct sr_hash *map, struct edits *e, struct sr_err *err)
{
	enum sr_status rc;

	sr_replica_write_lock(r);
	rc = edit_map(r, kind, map, e, err);
	sr_replica_unlock(r);
	return rc;
}

struct taking {
	struct sr_replica *r;
	struct sr_replica_store *s;
	struct sr_leaves *taken;
	size_t at;
	enum sr_take_what what;
	uint64_t epoch, seq;
	struct edits *edits;
	struct sr_hash *map;
};

static enum sr_status take_row(struct taking *t, const struct sr_leaf *leaf, struct sr_leaf_row *row, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	*row = (struct sr_leaf_row){0};
	if (t->what == SR_TAKE_LOCAL) /* else nothing of it stays */
		rc = sr_state_leaf(t->r->state, &t->s->row, leaf->path, row, err);
	if (rc != SR_OK)
		return rc;
	row->path = leaf->path;
	row->local = leaf->to;
	row->signature = leaf->inode;
	if (t->what == SR_TAKE_LOCAL)
		return SR_OK;
	row->base_state = SR_BASE_KNOWN;
	row->base = t->what == SR_TAKE_BASE ? leaf->expect : leaf->to;
	row->epoch = t->what == SR_TAKE_BASE ? t->epoch : leaf->epoch;
	row->seq = t->what == SR_TAKE_BASE ? t->seq : leaf->seq;
	return SR_OK;
}

/* The row of the next leaf, which goes into the map at the same time.  The schema text is no item of the tree. */
static enum sr_status take_next(void *ctx, struct sr_leaf_row *row, bool *more, struct sr_err *err)
{
	struct taking *t = ctx;
	struct sr_leaf leaf = {0};
	enum sr_status rc = SR_OK;

	do {
		if (t->at == sr_leaves_count(t->taken))
			return SR_OK;
		rc = sr_leaves_at(t->taken, t->at++, &leaf, err);
	} while (rc == SR_OK && sr_path_is_schema(t->s->kind, leaf.path));
	if (rc == SR_OK)
		rc = take_row(t, &leaf, row, err);
	if (rc != SR_OK)
		return rc;
	edits_add(t->edits, leaf.path, &leaf.to);
	*more = true;
	return is_batch(t->r, t->map, t->edits) ? edit_map_locked(t->r, t->s->kind, t->map, t->edits, err) : SR_OK;
}

enum sr_status sr_replica_take(struct sr_replica *r, size_t i, struct sr_leaves *taken, enum sr_take_what what, uint64_t epoch,
			       uint64_t seq, struct sr_err *err)
{
	struct sr_replica_store *s = &r->stores[i];
	struct edits edits = {0};
	struct sr_hash map = s->map; /* what it becomes; others see it when it is done */
	struct taking t = {.r = r, .s = s, .taken = taken, .what = what, .epoch = epoch, .seq = seq, .edits = &edits, .map = &map};
	enum sr_status rc = sr_leaves_sort(taken, err);

	sr_replica_write_lock(r);
	sr_nodes_hold(r->nodes, &map);
	sr_replica_unlock(r);
	if (rc == SR_OK && sr_leaves_count(taken))
		rc = sr_state_leaves_put(r->state, &s->row, take_next, &t, err);
	if (rc == SR_OK)
		rc = sr_rot_gone(r, i, taken, err);
	sr_replica_write_lock(r);
	if (rc == SR_OK)
		rc = edit_map(r, s->kind, &map, &edits, err);
	if (rc == SR_OK)
		set_map(r, s, &map);
	sr_nodes_release(r->nodes, &map);
	sr_nodes_sweep(r->nodes);
	sr_replica_unlock(r);
	edits_free(&edits);
	return rc;
}

void sr_replica_hold_map(struct sr_replica *r, size_t i, struct sr_hash *map)
{
	sr_replica_write_lock(r);
	*map = r->stores[i].map;
	sr_nodes_hold(r->nodes, map);
	sr_replica_unlock(r);
}

void sr_replica_end_take(struct sr_replica *r, size_t i, const struct sr_hash *map, bool well)
{
	sr_replica_write_lock(r);
	if (!well)
		set_map(r, &r->stores[i], map);
	sr_nodes_release(r->nodes, map);
	sr_nodes_sweep(r->nodes);
	sr_replica_unlock(r);
}

enum sr_status sr_replica_mark(struct sr_replica *r, size_t i, const struct sr_uuid *id, const struct sr_uuid *instance, uint64_t epoch,
			       uint64_t seq, struct sr_err *err)
{
	return sr_replica_mark_with(r, i, id, instance, epoch, seq, NULL, err);
}

enum sr_status sr_replica_mark_with(struct sr_replica *r, size_t i, const struct sr_uuid *id, const struct sr_uuid *instance, uint64_t epoch,
				    uint64_t seq, struct sr_leaves *leaves, struct sr_err *err)
{
	struct sr_replica_store *s = &r->stores[i];
	struct sr_marker marker = {.id = *id, .node = r->node, .instance = *instance, .epoch = epoch, .seq = seq};
	enum sr_status rc;

	s->row.pending = *id; /* even if this fails: then it is accepted where it may not have been written */
	rc = sr_state_store_put(r->state, &s->row, err);
	if (rc == SR_OK)
		rc = sr_store_mark_with(s->store, &marker, leaves, err);
	if (rc != SR_OK) {
		sr_err_context(err, "store %s: marker", s->name);
		return rc;
	}
	s->marker = marker;
	s->doubtful = false;
	sr_replica_note_seen(s);
	s->row.marker = *id;
	s->row.node = r->node;
	memset(&s->row.pending, 0, sizeof s->row.pending);
	return sr_state_store_put(r->state, &s->row, err);
}

/* --- small things --------------------------------------------------------------------------------------------------- */

struct sr_replica_store *sr_replica_find(struct sr_replica *r, struct sr_bytes name, size_t *index)
{
	for (size_t i = 0; i < r->n; i++)
		if (sr_bytes_eq(name, sr_bytes_of(r->stores[i].name))) {
			if (index)
				*index = i;
			return &r->stores[i];
		}
	return NULL;
}

bool sr_replica_use(struct sr_replica *r)
{
	pthread_rwlock_rdlock(&r->stores_lock);
	if (r->keyed)
		return true;
	pthread_rwlock_unlock(&r->stores_lock);
	return false;
}

bool sr_replica_awaited(const struct sr_replica *r)
{
	return atomic_load(&r->leaving);
}

void sr_replica_unuse(struct sr_replica *r)
{
	pthread_rwlock_unlock(&r->stores_lock);
}

void sr_replica_read_lock(struct sr_replica *r)
{
	pthread_rwlock_rdlock(&r->lock);
}

void sr_replica_write_lock(struct sr_replica *r)
{
	pthread_rwlock_wrlock(&r->lock);
}

void sr_replica_unlock(struct sr_replica *r)
{
	pthread_rwlock_unlock(&r->lock);
}
