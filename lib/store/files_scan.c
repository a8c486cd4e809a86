/* files_scan.c - see a directory tree as a store map, reading only what may have changed.
 *
 * One directory at a time is open here, reached by its path from the root: a tree may be deeper than a process has descriptors.  Others are
 * listed ahead by other threads (files_list.h), and each that is used is looked at in its turn.  Each listing is
 * sorted and merged with the entries of `before`: getdents may miss a name that is renamed while it runs, so an entry that was known and is
 * not listed is asked for by name before it counts as absent.
 *
 * Of a tree that is watched (watch.h) only the directories that were told of are opened; of the others, entries and unknown paths are those of the
 * scan before. */
#include "lib/store/files_list.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/store/watch.h"

struct scan {
	struct sr_files *f;
	int root;
	struct sr_nodes *nodes;
	sr_signature_fn *changed;
	void *ctx;
	struct sr_scan *out;
	struct sr_buf path;  /* of what is looked at */
	unsigned depth;      /* its components */
	int64_t start_ms;
	struct sr_watch *watch; /* or NULL */
	bool whole;          /* it is no matter what was told of */
	struct sr_ahead *ahead; /* of all of it; else NULL */
};

/* A directory while it is looked at. */
struct folder {
	struct sr_listing in;
	int fd;                   /* or -1: it was listed ahead, and nobody needs it yet */
	struct sr_entry *old;     /* the entries of `before` */
	size_t olds, old_cap;
	struct sr_entry *entries; /* what was seen */
	size_t seen;
	size_t same;              /* of these, as `before` says */
	bool any_unknown;
};

enum outcome {
	SEEN,
	NOTHING, /* all it holds is unknown: no entry */
	UNKNOWN, /* listed as such */
};

/* ---- the path that is looked at ---- */

static size_t go_down(struct scan *s, struct sr_bytes name)
{
	size_t back = s->path.len;

	if (back)
		sr_buf_byte(&s->path, 0);
	sr_buf_bytes(&s->path, name);
	s->depth++;
	return back;
}

static void go_up(struct scan *s, size_t back)
{
	s->path.len = back;
	s->depth--;
}

/* The entry of this name in the directory that is looked at. */
static bool is_excluded(struct scan *s, struct sr_bytes name)
{
	size_t back;
	bool yes;

	if (!s->f->st.excludes)
		return false;
	back = go_down(s, name);
	yes = sr_files_excluded(s->f, sr_buf_view(&s->path));
	go_up(s, back);
	return yes;
}

static void unknown(struct scan *s, struct folder *d, enum sr_unknown_why why)
{
	sr_scan_add_unknown(s->out, sr_buf_view(&s->path), why);
	d->any_unknown = true;
	if (s->watch && (why == SR_UNKNOWN_BUSY || why == SR_UNKNOWN_UNREADABLE))
		sr_watch_again(s->watch, sr_files_parent(sr_buf_view(&s->path)));
}

/* ---- listing and merging ---- */

/* The directory itself, of which the listing may have been made ahead: -1 when it is another one by now. */
static int fd_of(const struct scan *s, struct folder *d, struct sr_bytes path)
{
	struct stat st;

	if (d->fd >= 0)
		return d->fd;
	d->fd = sr_open_below(s->root, path, O_RDONLY | O_DIRECTORY);
	if (d->fd >= 0 && (fstat(d->fd, &st) || st.st_dev != d->in.st.st_dev || st.st_ino != d->in.st.st_ino)) {
		close(d->fd);
		d->fd = -1;
		errno = ENOENT;
	}
	return d->fd;
}

static enum sr_status remember_old(void *ctx, const struct sr_entry *entry)
{
	struct folder *d = ctx;

	if (d->olds == d->old_cap) {
		d->old_cap = d->old_cap ? 2 * d->old_cap : 16;
		d->old = sr_realloc(d->old, d->old_cap * sizeof(*d->old));
	}
	d->old[d->olds++] = *entry;
	return SR_OK;
}

static int by_entry_name(const void *a, const void *b)
{
	return sr_bytes_cmp(((const struct sr_entry *)a)->name, ((const struct sr_entry *)b)->name);
}

static enum sr_status load_old(struct scan *s, struct folder *d, const struct sr_hash *before, struct sr_err *err)
{
	enum sr_status status = sr_hash_none(before) ? SR_OK : sr_map_each(s->nodes, before, remember_old, d, err);

	for (size_t i = 1; status == SR_OK && i < d->olds; i++) {
		if (by_entry_name(&d->old[i - 1], &d->old[i]) < 0) /* as in a bucket */
			continue;
		qsort(d->old, d->olds, sizeof(*d->old), by_entry_name);
		break;
	}
	return status;
}

/* Join each child with its old entry; an old entry that was not listed and is there all the same becomes a child. */
static enum sr_status merge(struct scan *s, struct folder *d, const struct sr_hash *before, struct sr_err *err)
{
	size_t listed = d->in.n, i = 0;
	struct stat st;
	enum sr_status status = load_old(s, d, before, err);

	if (status != SR_OK)
		return status;
	for (size_t k = 0; k < d->olds; k++) {
		const struct sr_entry *old = &d->old[k];
		char name[256];
		int fd;

		while (i < listed && sr_bytes_cmp(d->in.children[i].name, old->name) < 0)
			i++;
		if (i < listed && sr_bytes_eq(d->in.children[i].name, old->name)) {
			d->in.children[i].old = old;
			continue;
		}
		if (old->name.len >= sizeof(name))
			continue;
		memcpy(name, old->name.at, old->name.len);
		name[old->name.len] = '\0';
		fd = is_excluded(s, old->name) ? -1 : fd_of(s, d, sr_buf_view(&s->path));
		if (fd < 0 || !fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) || errno != ENOENT)
			(void)sr_listing_add(&d->in, old->name, DT_UNKNOWN, 0, old);
	}
	return SR_OK;
}

/* ---- what was seen ---- */

/* d->entries[d->seen] is that of `c`. */
static void found(struct folder *d, const struct sr_listed *c)
{
	const struct sr_entry *e = &d->entries[d->seen++], *old = c->old;

	d->same += old && old->kind == e->kind && old->mode == e->mode && sr_hash_eq(&old->hash, &e->hash) && old->leaves == e->leaves &&
		   old->bytes == e->bytes;
}

static void add_up(const struct folder *d, struct sr_entry *out)
{
	for (size_t i = 0; i < d->seen; i++) {
		out->leaves = sr_count_add(out->leaves, d->entries[i].leaves);
		out->bytes = sr_count_add(out->bytes, d->entries[i].bytes);
	}
}

/* *out (hash, leaves, bytes) := the map of all that was seen; if that is what `before` says, it is there. */
static void make_map(struct scan *s, struct folder *d, const struct sr_hash *before, struct sr_entry *out)
{
	if (d->same < d->seen || d->seen < d->olds || sr_hash_none(before)) {
		sr_map_build(s->nodes, sr_bytes(NULL, 0), d->entries, d->seen, out);
		return;
	}
	out->hash = *before;
	add_up(d, out);
}

/* ---- files ---- */

static void found_file(struct folder *d, const struct sr_listed *c, const struct stat *st, const struct sr_hash *hash)
{
	d->entries[d->seen] = (struct sr_entry){
		.name = c->name, .kind = SR_KIND_FILE, .mode = st->st_mode & 0777, .hash = *hash,
		.leaves = 1, .bytes = (uint64_t)st->st_size,
	};
	found(d, c);
}

static void see_file(struct scan *s, struct folder *d, const struct sr_listed *c, const char *name, struct stat *st)
{
	struct sr_bytes path = sr_buf_view(&s->path);
	const struct sr_tree_key *key = s->f->st.key;
	struct sr_signature_slot *slot = sr_signatures_find(&s->f->seen, key, path);
	uint64_t kept = slot ? slot->signature : 0, fresh = 0;
	enum sr_unknown_why why;
	struct sr_hash hash;
	int fd;

	if (s->f->st.max_size && (uint64_t)st->st_size > s->f->st.max_size) {
		unknown(s, d, SR_UNKNOWN_SIZE);
		return;
	}
	if (kept && c->old && c->old->kind == SR_KIND_FILE && kept == sr_files_signature(key, st, &c->old->hash)) {
		sr_signatures_keep(&s->f->seen, slot);
		found_file(d, c, st, &c->old->hash);
		return;
	}
	fd = fd_of(s, d, sr_files_parent(path));
	why = SR_UNKNOWN_BUSY;
	if (fd < 0 || !sr_files_hash(s->f, fd, name, st, &hash, &why)) {
		unknown(s, d, why);
		return;
	}
	s->out->hashed++;
	s->out->hashed_bytes += (uint64_t)st->st_size;
	found_file(d, c, st, &hash);
	if (sr_files_settled(st, s->start_ms))
		fresh = sr_files_signature(key, st, &hash);
	else if (s->watch)
		sr_watch_later(s->watch, sr_files_parent(path));
	sr_signatures_put(&s->f->seen, key, path, fresh);
	if (fresh != kept && s->changed)
		s->changed(s->ctx, path, fresh);
}

/* 0, or errno. */
static int stat_child(struct scan *s, struct folder *d, size_t i, const char *name, struct stat *st)
{
	int fd, fault;

	if (sr_listing_stat(&d->in, i, st, &fault))
		return fault;
	fd = fd_of(s, d, sr_files_parent(sr_buf_view(&s->path)));
	return fd < 0 || fstatat(fd, name, st, AT_SYMLINK_NOFOLLOW) ? errno : 0;
}

/* All but directories, which are only told apart. */
static void see_child(struct scan *s, struct folder *d, size_t i)
{
	struct sr_listed *c = &d->in.children[i];
	char name[256];
	struct stat st;
	int fault;

	if (sr_files_excluded(s->f, sr_buf_view(&s->path))) {
		unknown(s, d, SR_UNKNOWN_EXCLUDED);
		c->type = DT_UNKNOWN;
		if (c->old) { /* unknown is not absent: it stays as it was seen last, with all that is below it */
			d->entries[d->seen] = *c->old;
			found(d, c);
		}
		return;
	}
	if (s->depth > SR_DEPTH_MAX || s->path.len > SR_PATH_MAX || c->name.len >= sizeof(name)) {
		unknown(s, d, SR_UNKNOWN_NAME);
		c->type = DT_UNKNOWN;
		return;
	}
	if (c->type == DT_DIR)
		return;
	c->type = DT_UNKNOWN;
	memcpy(name, c->name.at, c->name.len);
	name[c->name.len] = '\0';
	fault = stat_child(s, d, i, name, &st);
	if (fault)
		unknown(s, d, fault == ENOENT ? SR_UNKNOWN_BUSY : SR_UNKNOWN_UNREADABLE);
	else if (S_ISREG(st.st_mode))
		see_file(s, d, c, name, &st);
	else if (S_ISDIR(st.st_mode))
		c->type = DT_DIR;
	else
		unknown(s, d, SR_UNKNOWN_KIND);
}

/* ---- directories ---- */

static enum sr_status see_folder(struct scan *s, struct sr_listed *c, const struct sr_hash *before, struct sr_entry *out,
                                 enum outcome *outcome, struct sr_err *err);
static enum sr_status see_among(struct scan *s, const struct sr_entry *old, struct sr_entry *out, enum outcome *outcome, struct sr_err *err);

/* Asked of all of them before any is descended into. */
static void ask_watch(struct scan *s, struct folder *d)
{
	for (size_t i = 0; i < d->in.n; i++) {
		struct sr_listed *c = &d->in.children[i];
		size_t back;

		if (c->type != DT_DIR)
			continue;
		back = go_down(s, c->name);
		c->state = sr_watch_state(s->watch, sr_buf_view(&s->path), c->inode);
		if (!c->inode)
			c->state = SR_WATCH_NEW;
		go_up(s, back);
	}
	sr_watch_listed(s->watch, sr_buf_view(&s->path));
}

/* The first of the last scan's unknown paths at or after `path`. */
static size_t unknown_from(const struct sr_scan *last, struct sr_bytes path)
{
	size_t low = 0, high = last->unknowns;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (sr_bytes_cmp(last->unknown[middle].path, path) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool is_at_or_under(struct sr_bytes path, struct sr_bytes top)
{
	return !top.len || sr_bytes_eq(path, top) || sr_path_under(path, top);
}

/* Is it in the list of names, each with a NUL, sorted? */
static bool is_named(const struct sr_buf *names, struct sr_bytes name)
{
	for (size_t at = 0; at < names->len;) {
		const char *one = (const char *)names->at + at;
		int order = sr_bytes_cmp(sr_bytes_of(one), name);

		if (order >= 0)
			return order == 0;
		at += strlen(one) + 1;
	}
	return false;
}

/* The unknown paths here and below are those of the last scan, but below the directories `but` (NULL: none).  Returns whether there is any. */
static bool keep_unknown(struct scan *s, const struct sr_buf *but)
{
	const struct sr_scan *last = &s->f->last;
	struct sr_bytes top = sr_buf_view(&s->path);
	bool any = false;

	for (size_t i = unknown_from(last, top); i < last->unknowns && is_at_or_under(last->unknown[i].path, top); i++) {
		struct sr_bytes path = last->unknown[i].path;
		size_t from = top.len ? top.len + 1 : 0;
		const uint8_t *nul = path.len > from ? memchr(path.at + from, 0, path.len - from) : NULL;

		if (but && path.len > from && is_named(but, sr_bytes(path.at + from, nul ? (size_t)(nul - path.at) - from : path.len - from)))
			continue;
		sr_scan_add_unknown(s->out, path, last->unknown[i].why);
		any = true;
	}
	return any;
}

/* Of a directory that nothing was told of.  False: neither an entry nor an unknown path is known of it. */
static bool keep_folder(struct scan *s, const struct sr_entry *old, struct sr_entry *out, enum outcome *outcome)
{
	bool any = keep_unknown(s, NULL);

	*outcome = old ? SEEN : NOTHING;
	if (old)
		*out = *old;
	return old || any;
}

static enum sr_status see_directory(struct scan *s, struct sr_listed *c, struct sr_entry *out, enum outcome *outcome, struct sr_err *err)
{
	static const struct sr_hash none;
	const struct sr_entry *old = c->old && c->old->kind == SR_KIND_DIR ? c->old : NULL;

	if (c->state == SR_WATCH_CLEAN && (old || !c->old) && keep_folder(s, old, out, outcome))
		return SR_OK;
	if (c->state == SR_WATCH_BELOW && old)
		return see_among(s, old, out, outcome, err);
	return see_folder(s, c, old ? &old->hash : &none, out, outcome, err);
}

static enum sr_status see_folders(struct scan *s, struct folder *d, struct sr_err *err)
{
	enum sr_status status = SR_OK;
	struct sr_batch batch;

	if (s->watch)
		ask_watch(s, d);
	for (size_t i = 0; s->ahead && i < d->in.n; i++)
		d->in.children[i].state = SR_WATCH_NEW;
	if (s->ahead)
		sr_ahead_push(s->ahead, &batch, sr_buf_view(&s->path), d->in.children, d->in.n);
	for (size_t i = 0; i < d->in.n && status == SR_OK; i++) {
		struct sr_listed *c = &d->in.children[i];
		struct sr_entry *entry = &d->entries[d->seen];
		enum outcome outcome;
		size_t back;

		if (c->type != DT_DIR)
			continue;
		back = go_down(s, c->name);
		status = see_directory(s, c, entry, &outcome, err);
		go_up(s, back);
		if (status != SR_OK)
			break;
		if (outcome == SEEN) {
			entry->name = c->name;
			found(d, c);
		} else {
			d->any_unknown = true;
		}
	}
	if (s->ahead)
		sr_ahead_pop(s->ahead, &batch);
	return status;
}

static void folder_close(struct folder *d)
{
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
}

static void folder_free(struct folder *d)
{
	folder_close(d);
	sr_listing_free(&d->in);
	free(d->old);
	free(d->entries);
}

/* By ourselves.  False: errno. */
static bool list(struct scan *s, struct folder *d)
{
	struct sr_bytes path = sr_buf_view(&s->path);

	d->fd = sr_open_below(s->root, path, O_RDONLY | O_DIRECTORY);
	if (d->fd >= 0 && s->watch)
		sr_watch_add(s->watch, path, d->fd); /* before it is listed */
	return d->fd >= 0 && !fstat(d->fd, &d->in.st) && sr_listing_read(&d->in, d->fd, !s->depth);
}

static enum outcome whole_unknown(struct scan *s)
{
	bool moved = errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == EAGAIN; /* a moment ago it was a directory */

	sr_scan_add_unknown(s->out, sr_buf_view(&s->path), moved ? SR_UNKNOWN_BUSY : SR_UNKNOWN_UNREADABLE);
	if (s->watch)
		sr_watch_again(s->watch, sr_buf_view(&s->path));
	return UNKNOWN;
}

static enum sr_status see_folder(struct scan *s, struct sr_listed *c, const struct sr_hash *before, struct sr_entry *out,
                                 enum outcome *outcome, struct sr_err *err)
{
	enum sr_status status = SR_OK;
	struct folder d = {.fd = -1};

	if (!(c && s->ahead && sr_ahead_take(s->ahead, c, &d.in)) && !list(s, &d)) {
		if (s->depth)
			*outcome = whole_unknown(s);
		else /* of the whole store nothing is known */
			status = sr_err_sys(err, SR_E_UNAVAILABLE, "%s", s->f->st.path);
		goto out;
	}
	status = merge(s, &d, before, err);
	if (status != SR_OK)
		goto out;
	d.entries = sr_alloc(d.in.n * sizeof(*d.entries));
	for (size_t i = 0; i < d.in.n; i++) {
		size_t back = go_down(s, d.in.children[i].name);

		see_child(s, &d, i);
		go_up(s, back);
	}
	folder_close(&d);
	status = see_folders(s, &d, err);
	if (status != SR_OK)
		goto out;
	*outcome = d.seen || !d.any_unknown ? SEEN : NOTHING;
	*out = (struct sr_entry){0};
	make_map(s, &d, before, out);
	out->kind = SR_KIND_DIR;
	out->mode = d.in.st.st_mode & 0777;
	if (!d.seen)
		out->leaves = 1; /* an empty directory is a leaf */
out:
	folder_free(&d);
	return status;
}

/* A directory that nothing was told of, but of some below it. */
static enum sr_status see_among(struct scan *s, const struct sr_entry *old, struct sr_entry *out, enum outcome *outcome, struct sr_err *err)
{
	struct sr_buf names = {0};
	struct folder d = {.fd = -1};
	size_t marked = 0, next = 0;
	enum sr_status status = load_old(s, &d, &old->hash, err);

	sr_watch_below(s->watch, sr_buf_view(&s->path), &names);
	for (size_t at = 0; at < names.len; at++)
		marked += !names.at[at];
	d.any_unknown = keep_unknown(s, &names);
	d.entries = sr_alloc((d.olds + marked + 1) * sizeof(*d.entries));
	for (size_t at = 0; status == SR_OK && at < names.len;) {
		struct sr_listed c = {.name = sr_bytes_of((const char *)names.at + at), .type = DT_DIR};
		struct sr_entry *entry;
		enum outcome one;
		size_t back;

		at += c.name.len + 1;
		while (next < d.olds && sr_bytes_cmp(d.old[next].name, c.name) < 0)
			d.entries[d.seen++] = d.old[next++];
		if (next < d.olds && sr_bytes_eq(d.old[next].name, c.name))
			c.old = &d.old[next++];
		entry = &d.entries[d.seen];
		back = go_down(s, c.name);
		c.state = sr_watch_state(s->watch, sr_buf_view(&s->path), 0);
		if (c.state != SR_WATCH_BELOW) /* or it went a moment ago */
			c.state = SR_WATCH_MARKED;
		status = see_directory(s, &c, entry, &one, err);
		go_up(s, back);
		if (status == SR_OK && one == SEEN) {
			entry->name = c.name;
			d.seen++;
		} else {
			d.any_unknown = true;
		}
	}
	if (status == SR_OK) {
		while (next < d.olds)
			d.entries[d.seen++] = d.old[next++];
		*outcome = d.seen || !d.any_unknown ? SEEN : NOTHING;
		*out = *old;
		sr_map_build(s->nodes, sr_bytes(NULL, 0), d.entries, d.seen, out);
		if (!d.seen)
			out->leaves = 1;
	}
	sr_buf_free(&names);
	folder_free(&d);
	return status;
}

/* ---- the store ---- */

/* Is the root that we scan the one at the path?  Else a file system may just have gone away, or another tree come. */
static enum sr_status still_there(const struct scan *s, struct sr_err *err)
{
	struct stat held, now;

	if (fstat(s->root, &held) || stat(s->f->st.path, &now))
		return sr_err_sys(err, SR_E_UNAVAILABLE, "%s", s->f->st.path);
	if (held.st_dev != now.st_dev || held.st_ino != now.st_ino)
		return sr_err_set(err, SR_E_UNAVAILABLE, "%s was replaced", s->f->st.path);
	return SR_OK;
}

/* A store that became empty must still have its marker, if it had one: without it, it is lost and not emptied. */
static enum sr_status not_lost(const struct scan *s, const struct sr_hash *before, const struct sr_hash *seen, struct sr_err *err)
{
	struct sr_hash empty;
	int fd;

	sr_store_empty(s->nodes, SR_KIND_FILES, &empty);
	if (!s->f->marked || sr_hash_none(before) || sr_hash_eq(before, &empty) || !sr_hash_eq(seen, &empty))
		return SR_OK;
	fd = sr_open_below(s->root, sr_bytes(SR_OWN_DIR "\0marker", sizeof(SR_OWN_DIR "\0marker") - 1), O_PATH);
	if (fd < 0)
		return sr_err_sys(err, SR_E_UNAVAILABLE, "%s is empty and its marker cannot be found", s->f->st.path);
	close(fd);
	return SR_OK;
}

static enum sr_status see_all(struct scan *s, const struct sr_hash *before, struct sr_entry *top, enum outcome *outcome, struct sr_err *err)
{
	struct sr_ahead ahead;
	enum sr_status status;

	sr_ahead_begin(&ahead, s->root, s->watch);
	s->ahead = &ahead;
	status = see_folder(s, NULL, before, top, outcome, err);
	s->ahead = NULL;
	sr_ahead_end(&ahead);
	return status;
}

/* All of it, or what was told of. */
static enum sr_status see_tree(struct scan *s, const struct sr_hash *before, struct sr_entry *top, enum outcome *outcome, struct sr_err *err)
{
	const struct sr_entry old = {.kind = SR_KIND_DIR, .hash = *before};
	enum sr_watch_state state = SR_WATCH_NEW;

	if (s->watch)
		s->whole = sr_watch_begin(s->watch, s->root, sr_hash_none(before));
	if (s->watch && !s->whole)
		state = sr_watch_state(s->watch, sr_bytes(NULL, 0), 0);
	if (!s->watch || s->whole)
		sr_signatures_begin(&s->f->seen);
	if (state == SR_WATCH_CLEAN)
		(void)keep_folder(s, &old, top, outcome);
	else if (state == SR_WATCH_BELOW)
		return see_among(s, &old, top, outcome, err);
	else if (s->watch && !s->whole)
		return see_folder(s, NULL, before, top, outcome, err);
	else
		return see_all(s, before, top, outcome, err);
	return SR_OK;
}

/* The next scan takes from it what it does not look at. */
static void remember(struct scan *s, bool well)
{
	sr_watch_end(s->watch, well);
	if (!well)
		return;
	sr_scan_free(&s->f->last);
	sr_scan_copy_unknown(&s->f->last, s->out);
	sr_scan_sort_unknown(&s->f->last);
}

enum sr_status sr_files_scan(struct sr_view *v, struct sr_nodes *nodes, const struct sr_hash *before, sr_signature_fn *changed, void *ctx,
                             struct sr_scan *out, struct sr_err *err)
{
	struct scan s = {
		.f = sr_files(v->st), .root = ((struct sr_files_view *)v)->root, .nodes = nodes, .changed = changed, .ctx = ctx, .out = out,
		.start_ms = sr_now_ms(), .watch = v->st->watch,
	};
	struct sr_entry top = {0};
	enum outcome outcome = SEEN;
	enum sr_status status = still_there(&s, err);

	if (status != SR_OK)
		return status;
	status = see_tree(&s, before, &top, &outcome, err);
	if (status == SR_OK)
		status = still_there(&s, err);
	if (status == SR_OK && outcome == SEEN)
		status = not_lost(&s, before, &top.hash, err);
	sr_buf_free(&s.path);
	if (s.watch)
		remember(&s, status == SR_OK);
	if (status != SR_OK)
		return status;
	if (!s.watch || s.whole)
		sr_signatures_end(&s.f->seen);
	out->map = top.hash;
	out->same = sr_hash_eq(&out->map, before);
	return SR_OK;
}
