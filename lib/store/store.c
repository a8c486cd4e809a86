/* store.c - see store.h: one interface before two kinds of store. */
#include "lib/store/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/account.h"
#include "lib/store/exclude.h"
#include "lib/store/watch.h"

/* ---- the common part ---- */

static void free_exclude(struct sr_store *st)
{
	for (size_t i = 0; i < st->excludes; i++)
		free(st->exclude[i]);
	free(st->exclude);
}

static void copy_exclude(struct sr_store *st, const char *const *globs, size_t n)
{
	st->excludes = n;
	st->exclude = sr_alloc(n * sizeof(*st->exclude));
	for (size_t i = 0; i < n; i++)
		st->exclude[i] = sr_strdup(globs[i]);
}

static void fini(struct sr_store *st)
{
	free_exclude(st);
	free(st->name);
	free(st->path);
}

enum sr_status sr_store_init(struct sr_store *st, const struct sr_store_impl *impl, const struct sr_store_options *options,
                             struct sr_err *err)
{
	enum sr_status s = SR_OK;

	st->impl = impl;
	st->kind = options->kind;
	st->max_size = options->max_size;
	st->wal_limit = options->wal_limit;
	st->ours = options->ours;
	st->alone = options->alone;
	st->key = options->key;
	st->has_owner = options->owner;
	st->has_group = options->group;
	if (options->owner)
		s = sr_account_user(options->owner, &st->owner, err);
	if (s == SR_OK && options->group)
		s = sr_account_group(options->group, &st->group, err);
	if (s != SR_OK)
		return s;
	st->name = sr_strdup(options->name);
	st->path = sr_strdup(options->path);
	copy_exclude(st, options->exclude, options->excludes);
	return SR_OK;
}

enum sr_status sr_make_parents(const struct sr_store *st, struct sr_err *err)
{
	char *part = sr_strdup(st->path);
	uid_t owner = st->has_owner ? st->owner : (uid_t)-1;
	gid_t group = st->has_group ? st->group : (gid_t)-1;
	enum sr_status s = SR_OK;

	for (char *slash = strchr(part + 1, '/'); slash && s == SR_OK; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (!mkdir(part, 0755)) {
			if (chown(part, owner, group))
				s = sr_err_sys(err, SR_E_IO, "chown %s", part);
		} else if (errno != EEXIST) {
			s = sr_err_sys(err, SR_E_IO, "mkdir %s", part);
		}
		*slash = '/';
	}
	free(part);
	return s;
}

enum sr_status sr_store_open(struct sr_store **out, const struct sr_store_options *options, struct sr_err *err)
{
	switch (options->kind) {
	case SR_KIND_FILES:
		return sr_files_open(out, options, err);
	case SR_KIND_DATABASE:
		return sr_sqlite_open(out, options, err);
	}
	return sr_err_set(err, SR_E_INTERNAL, "store %s: no such kind of store: %u", options->name, options->kind);
}

void sr_store_close(struct sr_store *st)
{
	if (!st)
		return;
	sr_watch_free(st->watch);
	st->impl->close(st);
	fini(st);
	free(st);
}

const char *sr_store_name(const struct sr_store *st)
{
	return st->name;
}

uint8_t sr_store_kind(const struct sr_store *st)
{
	return st->kind;
}

const char *sr_store_path(const struct sr_store *st)
{
	return st->path;
}

const struct sr_tree_key *sr_store_key(const struct sr_store *st)
{
	return st->key;
}

/* ---- exclusions ---- */

bool sr_store_exclude_is(const struct sr_store *st, const char *const *globs, size_t n)
{
	bool same = st->excludes == n;

	for (size_t i = 0; same && i < n; i++)
		same = !strcmp(st->exclude[i], globs[i]);
	return same;
}

void sr_store_set_exclude(struct sr_store *st, const char *const *globs, size_t n)
{
	sr_watch_hold(st->watch);
	free_exclude(st);
	copy_exclude(st, globs, n);
	sr_watch_release(st->watch);
	if (st->watch)
		sr_watch_lose(st->watch);
	if (st->impl->reconsider)
		st->impl->reconsider(st);
}

const char *const *sr_store_exclude(const struct sr_store *st, size_t *n)
{
	*n = st->excludes;
	return (const char *const *)st->exclude;
}

bool sr_store_excludes(const struct sr_store *st, struct sr_bytes path)
{
	return sr_exclude_covers(st->kind, (const char *const *)st->exclude, st->excludes, path);
}

/* ---- the whole ---- */

enum sr_presence sr_store_look(struct sr_store *st, struct sr_marker *marker, bool *has_content, char why[256])
{
	*marker = (struct sr_marker){0};
	*has_content = false;
	why[0] = '\0';
	if (st->watch)
		sr_watch_look(st->watch);
	return st->impl->look(st, marker, has_content, why);
}

enum sr_status sr_store_create(struct sr_store *st, struct sr_err *err)
{
	return st->impl->create(st, err);
}

enum sr_status sr_store_mark(struct sr_store *st, const struct sr_marker *marker, struct sr_err *err)
{
	return sr_store_mark_with(st, marker, NULL, err);
}

enum sr_status sr_store_mark_with(struct sr_store *st, const struct sr_marker *marker, struct sr_leaves *leaves, struct sr_err *err)
{
	return st->impl->mark(st, marker, leaves, err);
}

enum sr_status sr_store_check(struct sr_store *st, struct sr_err *err)
{
	return st->impl->check ? st->impl->check(st, err) : SR_OK;
}

enum sr_status sr_store_settle(struct sr_store *st, struct sr_err *err)
{
	return st->impl->settle ? st->impl->settle(st, err) : SR_OK;
}

enum sr_status sr_store_shed_stale_wal(struct sr_store *st, const struct sr_store_seen *seen, const struct sr_uuid *node, bool *moved,
				       struct sr_err *err)
{
	*moved = false;
	return st->impl->shed_stale_wal ? st->impl->shed_stale_wal(st, seen, node, moved, err) : SR_OK;
}

bool sr_store_doubtful(struct sr_store *st, const struct sr_store_seen *seen)
{
	return seen->inode && st->impl->doubtful && st->impl->doubtful(st, seen);
}

struct sr_store_seen sr_store_seen(struct sr_store *st)
{
	return st->impl->seen(st);
}

/* ---- watching ---- */

void sr_store_watch(struct sr_store *st, struct sr_watcher *watcher)
{
	assert(!st->watch);
	st->watch = sr_watch_new(watcher, st);
}

bool sr_store_is_quiet(struct sr_store *st)
{
	return st->watch && (st->impl->is_quiet ? st->impl->is_quiet(st) : sr_watch_is_quiet(st->watch));
}

bool sr_store_has_news(struct sr_store *st)
{
	return st->watch && (sr_watch_has_news(st->watch) || (st->impl->has_news && st->impl->has_news(st)));
}

void sr_store_taken(struct sr_store *st)
{
	if (st->watch)
		sr_watch_taken(st->watch);
	if (st->impl->taken)
		st->impl->taken(st);
}

void sr_store_watch_report(struct sr_store *st, struct sr_watch_report *out)
{
	*out = (struct sr_watch_report){0};
	if (st->watch)
		sr_watch_report(st->watch, out);
}

/* ---- capturing ---- */

void sr_store_capture(struct sr_store *st, enum sr_capture mode, int64_t full_ms)
{
	if (st->impl->capture)
		st->impl->capture(st, mode, full_ms);
}

void sr_store_capture_report(const struct sr_store *st, struct sr_capture_report *out)
{
	*out = (struct sr_capture_report){0};
	if (st->impl->capture_report)
		st->impl->capture_report(st, out);
}

/* ---- reading ---- */

enum sr_status sr_view_open(struct sr_view **out, struct sr_store *st, enum sr_view_kind kind, struct sr_err *err)
{
	return st->impl->view_open(out, st, kind, err);
}

void sr_view_close(struct sr_view *v)
{
	if (v)
		v->st->impl->view_close(v);
}

const char *sr_unknown_text(enum sr_unknown_why why)
{
	switch (why) {
	case SR_UNKNOWN_EXCLUDED:
		return "excluded";
	case SR_UNKNOWN_KIND:
		return "not a regular file or directory";
	case SR_UNKNOWN_UNREADABLE:
		return "unreadable";
	case SR_UNKNOWN_SIZE:
		return "too large";
	case SR_UNKNOWN_BUSY:
		return "changed while it was read";
	case SR_UNKNOWN_NAME:
		return "its name cannot be carried";
	case SR_UNKNOWN_TABLE:
		return "a table that cannot be synchronised";
	case SR_UNKNOWN_VIRTUAL:
		return "a virtual table, or part of one";
	case SR_UNKNOWN_APPLICATION:
		return "it needs a function or collation of the application's own";
	}
	return "unknown";
}

void sr_scan_add_unknown(struct sr_scan *scan, struct sr_bytes path, enum sr_unknown_why why)
{
	uint8_t *copy = sr_alloc(path.len);

	if (path.len)
		memcpy(copy, path.at, path.len);
	if ((scan->unknowns & (scan->unknowns - 1)) == 0) /* full at every power of two */
		scan->unknown = sr_realloc(scan->unknown, (scan->unknowns ? 2 * scan->unknowns : 1) * sizeof(*scan->unknown));
	scan->unknown[scan->unknowns++] = (struct sr_unknown){sr_bytes(copy, path.len), why};
}

void sr_scan_copy_unknown(struct sr_scan *to, const struct sr_scan *from)
{
	for (size_t i = 0; i < from->unknowns; i++)
		sr_scan_add_unknown(to, from->unknown[i].path, from->unknown[i].why);
}

static int by_path(const void *a, const void *b)
{
	return sr_bytes_cmp(((const struct sr_unknown *)a)->path, ((const struct sr_unknown *)b)->path);
}

void sr_scan_sort_unknown(struct sr_scan *scan)
{
	if (scan->unknowns)
		qsort(scan->unknown, scan->unknowns, sizeof(*scan->unknown), by_path);
}

enum sr_status sr_view_scan(struct sr_view *v, struct sr_nodes *nodes, const struct sr_hash *before, sr_signature_fn *changed, void *ctx,
                            struct sr_scan *out, struct sr_err *err)
{
	static const struct sr_hash none;
	struct sr_scan scan = {0};
	enum sr_status s;

	assert(v->kind == SR_VIEW_MAIN);
	s = v->st->impl->view_scan(v, nodes, before ? before : &none, changed, ctx, &scan, err);
	if (s != SR_OK) {
		sr_scan_free(&scan);
		return s;
	}
	sr_scan_sort_unknown(&scan);
	*out = scan;
	return SR_OK;
}

bool sr_scan_was_spared(const struct sr_scan *scan)
{
	return scan->same && !scan->rows_read;
}

void sr_scan_free(struct sr_scan *scan)
{
	for (size_t i = 0; i < scan->unknowns; i++)
		free((void *)scan->unknown[i].path.at);
	free(scan->unknown);
	scan->unknown = NULL;
	scan->unknowns = 0;
}

void sr_store_remember(struct sr_store *st, struct sr_bytes path, uint64_t signature)
{
	if (st->impl->remember)
		st->impl->remember(st, path, signature);
}

enum sr_status sr_view_read(struct sr_view *v, struct sr_bytes path, struct sr_content *out, struct sr_err *err)
{
	return v->st->impl->view_read(v, path, out, err);
}

void sr_view_stop_when(struct sr_view *v, sr_stop_fn *stop, void *ctx)
{
	v->stop = stop;
	v->stop_ctx = ctx;
}

enum sr_status sr_view_copy(struct sr_view *v, const char *path, struct sr_err *err)
{
	assert(v->st->impl->view_copy);
	return v->st->impl->view_copy(v, path, err);
}

bool sr_view_blocks(struct sr_view *v)
{
	return v->st->impl->view_blocks && v->st->impl->view_blocks(v);
}

bool sr_view_dangling(struct sr_view *v, struct sr_bytes path, bool there)
{
	return v->st->impl->view_dangling && v->st->impl->view_dangling(v, path, there);
}

bool sr_view_is_grown(struct sr_view *v, struct sr_bytes path, struct sr_bytes record, const struct sr_version *from)
{
	return v->st->impl->view_is_grown && v->st->impl->view_is_grown(v, path, record, from);
}

int64_t sr_view_schema_version(const struct sr_view *v)
{
	return v->st->impl->view_schema_version ? v->st->impl->view_schema_version(v) : 0;
}

bool sr_view_grow(struct sr_view *v, struct sr_bytes path, struct sr_bytes record, struct sr_buf *out)
{
	return v->st->impl->view_grow && v->st->impl->view_grow(v, path, record, out);
}

bool sr_view_carry(struct sr_view *v, struct sr_bytes path, struct sr_bytes record, struct sr_buf *out)
{
	return v->st->impl->view_carry && v->st->impl->view_carry(v, path, record, out);
}

/* ---- applying ---- */

enum sr_status sr_apply_prepare(struct sr_store *st, struct sr_leaves *leaves, const struct sr_marker *marker,
                                const struct sr_apply_ops *ops,
                                struct sr_err *err)
{
	return st->impl->apply_prepare(st, leaves, marker, ops, err);
}

enum sr_status sr_apply_commit(struct sr_store *st, struct sr_err *err)
{
	enum sr_status s;

	if (st->watch)
		sr_watch_ours(st->watch, true);
	s = st->impl->apply_commit(st, err);
	if (st->watch)
		sr_watch_ours(st->watch, false);
	return s;
}

void sr_apply_rollback(struct sr_store *st)
{
	st->impl->apply_rollback(st);
}

int64_t sr_apply_held_ms(const struct sr_store *st)
{
	return st->impl->apply_held_ms ? st->impl->apply_held_ms(st) : 0;
}

void sr_store_grafted(struct sr_store *st)
{
	if (st->impl->grafted)
		st->impl->grafted(st);
}

void sr_store_rots(struct sr_store *st, bool any)
{
	if (st->impl->rots)
		st->impl->rots(st, any);
}

size_t sr_store_rank(const struct sr_store *st, struct sr_bytes table)
{
	return st->impl->rank ? st->impl->rank(st, table) : 0;
}

enum sr_status sr_apply_recover(struct sr_store *st, struct sr_leaves *leaves, const struct sr_marker *marker,
                                const struct sr_apply_ops *ops,
                                struct sr_err *err)
{
	return st->impl->apply_recover(st, leaves, marker, ops, err);
}
