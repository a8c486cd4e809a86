/* files_scan.c - see a directory tree as a store map, reading only what may have changed.
 *
 * One directory at a time is open, reached by its path from the root: a tree may be deeper than a process has descriptors.  Each listing is
 * sorted and merged with the entries of `before`: getdents may miss a name that is renamed while it runs, so an entry that was known and is
 * not listed is asked for by name before it counts as absent. */
#include "lib/store/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
};

struct child {
	struct sr_bytes name;       /* NUL-terminated unless it came from `before` */
	const struct sr_entry *old; /* what `before` says, or NULL */
	uint8_t type;               /* DT_*; DT_DIR: to be descended into */
};

/* A directory while it is looked at. */
struct folder {
	struct sr_buf names;
	struct child *children;
	size_t n, cap;
	struct sr_entry *old;     /* the entries of `before` */
	size_t olds, old_cap;
	struct sr_entry *entries; /* what was seen */
	size_t seen;
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
}

/* ---- listing and merging ---- */

static void add_child(struct folder *d, struct sr_bytes name, uint8_t type, const struct sr_entry *old)
{
	if (d->n == d->cap) {
		d->cap = d->cap ? 2 * d->cap : 16;
		d->children = sr_realloc(d->children, d->cap * sizeof(*d->children));
	}
	d->children[d->n++] = (struct child){name, old, type};
}

static int by_name(const void *a, const void *b)
{
	return sr_bytes_cmp(((const struct child *)a)->name, ((const struct child *)b)->name);
}

/* Every name but ".", ".." and, at the top, our own directory. */
static bool list(struct scan *s, struct folder *d, int fd)
{
	int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = again < 0 ? NULL : fdopendir(again);
	struct dirent *e;
	size_t at = 0;
	int fault;

	if (!dir) {
		if (again >= 0)
			close(again);
		return false;
	}
	while (errno = 0, (e = readdir(dir))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || (!s->depth && !strcmp(e->d_name, SR_OWN_DIR)))
			continue;
		add_child(d, sr_bytes(NULL, strlen(e->d_name)), e->d_type, NULL);
		sr_buf_add(&d->names, e->d_name, strlen(e->d_name) + 1);
	}
	fault = errno;
	closedir(dir);
	for (size_t i = 0; i < d->n; i++) { /* only now do the names stay where they are */
		d->children[i].name.at = d->names.at + at;
		at += d->children[i].name.len + 1;
	}
	if (d->n)
		qsort(d->children, d->n, sizeof(*d->children), by_name);
	errno = fault;
	return !fault;
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

/* Join each child with its old entry; an old entry that was not listed and is there all the same becomes a child. */
static enum sr_status merge(struct scan *s, struct folder *d, int fd, const struct sr_hash *before, struct sr_err *err)
{
	size_t listed = d->n, i = 0;
	struct stat st;

	if (!sr_hash_none(before)) {
		enum sr_status status = sr_map_each(s->nodes, before, remember_old, d, err);

		if (status != SR_OK)
			return status;
	}
	if (d->olds)
		qsort(d->old, d->olds, sizeof(*d->old), by_entry_name);
	for (size_t k = 0; k < d->olds; k++) {
		const struct sr_entry *old = &d->old[k];
		char name[256];

		while (i < listed && sr_bytes_cmp(d->children[i].name, old->name) < 0)
			i++;
		if (i < listed && sr_bytes_eq(d->children[i].name, old->name)) {
			d->children[i].old = old;
			continue;
		}
		if (old->name.len >= sizeof(name))
			continue;
		memcpy(name, old->name.at, old->name.len);
		name[old->name.len] = '\0';
		if (is_excluded(s, old->name) || !fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) || errno != ENOENT)
			add_child(d, old->name, DT_UNKNOWN, old);
	}
	return SR_OK;
}

/* ---- files ---- */

static void found_file(struct folder *d, const struct child *c, const struct stat *st, const struct sr_hash *hash)
{
	d->entries[d->seen++] = (struct sr_entry){
		.name = c->name, .kind = SR_KIND_FILE, .mode = st->st_mode & 0777, .hash = *hash,
		.leaves = 1, .bytes = (uint64_t)st->st_size,
	};
}

static void see_file(struct scan *s, struct folder *d, const struct child *c, int fd, const char *name, struct stat *st)
{
	struct sr_bytes path = sr_buf_view(&s->path);
	const struct sr_tree_key *key = s->f->st.key;
	uint64_t kept = sr_signatures_get(&s->f->seen, key, path), fresh = 0;
	enum sr_unknown_why why;
	struct sr_hash hash;

	if (s->f->st.max_size && (uint64_t)st->st_size > s->f->st.max_size) {
		unknown(s, d, SR_UNKNOWN_SIZE);
		return;
	}
	if (kept && c->old && c->old->kind == SR_KIND_FILE && kept == sr_files_signature(key, st, &c->old->hash)) {
		sr_signatures_put(&s->f->seen, key, path, kept); /* it is still of use */
		found_file(d, c, st, &c->old->hash);
		return;
	}
	if (!sr_files_hash(s->f, fd, name, st, &hash, &why)) {
		unknown(s, d, why);
		return;
	}
	s->out->hashed++;
	s->out->hashed_bytes += (uint64_t)st->st_size;
	found_file(d, c, st, &hash);
	if (sr_files_settled(st, s->start_ms))
		fresh = sr_files_signature(key, st, &hash);
	sr_signatures_put(&s->f->seen, key, path, fresh);
	if (fresh != kept && s->changed)
		s->changed(s->ctx, path, fresh);
}

/* All but directories, which are only told apart. */
static void see_child(struct scan *s, struct folder *d, struct child *c, int fd)
{
	char name[256];
	struct stat st;

	if (sr_files_excluded(s->f, sr_buf_view(&s->path))) {
		unknown(s, d, SR_UNKNOWN_EXCLUDED);
		c->type = DT_UNKNOWN;
		if (c->old) /* unknown is not absent: it stays as it was seen last, with all that is below it */
			d->entries[d->seen++] = *c->old;
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
	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW))
		unknown(s, d, errno == ENOENT ? SR_UNKNOWN_BUSY : SR_UNKNOWN_UNREADABLE);
	else if (S_ISREG(st.st_mode))
		see_file(s, d, c, fd, name, &st);
	else if (S_ISDIR(st.st_mode))
		c->type = DT_DIR;
	else
		unknown(s, d, SR_UNKNOWN_KIND);
}

/* ---- directories ---- */

static enum sr_status see_folder(struct scan *s, const struct sr_hash *before, struct sr_entry *out, enum outcome *outcome,
                                 struct sr_err *err);

static enum sr_status see_folders(struct scan *s, struct folder *d, struct sr_err *err)
{
	static const struct sr_hash none;
	enum sr_status status = SR_OK;

	for (size_t i = 0; i < d->n && status == SR_OK; i++) {
		const struct child *c = &d->children[i];
		struct sr_entry *entry = &d->entries[d->seen];
		enum outcome outcome;
		size_t back;

		if (c->type != DT_DIR)
			continue;
		back = go_down(s, c->name);
		status = see_folder(s, c->old && c->old->kind == SR_KIND_DIR ? &c->old->hash : &none, entry, &outcome, err);
		go_up(s, back);
		if (status != SR_OK)
			break;
		if (outcome == SEEN) {
			entry->name = c->name;
			d->seen++;
		} else {
			d->any_unknown = true;
		}
	}
	return status;
}

static void folder_free(struct folder *d)
{
	sr_buf_free(&d->names);
	free(d->children);
	free(d->old);
	free(d->entries);
}

static enum outcome whole_unknown(struct scan *s)
{
	bool moved = errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == EAGAIN; /* a moment ago it was a directory */

	sr_scan_add_unknown(s->out, sr_buf_view(&s->path), moved ? SR_UNKNOWN_BUSY : SR_UNKNOWN_UNREADABLE);
	return UNKNOWN;
}

static enum sr_status see_folder(struct scan *s, const struct sr_hash *before, struct sr_entry *out, enum outcome *outcome,
                                 struct sr_err *err)
{
	enum sr_status status = SR_OK;
	struct folder d = {0};
	struct stat st;
	int fd = sr_open_below(s->root, sr_buf_view(&s->path), O_RDONLY | O_DIRECTORY);

	if (fd < 0 || fstat(fd, &st) || !list(s, &d, fd)) {
		if (s->depth)
			*outcome = whole_unknown(s);
		else /* of the whole store nothing is known */
			status = sr_err_sys(err, SR_E_UNAVAILABLE, "%s", s->f->st.path);
		goto out;
	}
	status = merge(s, &d, fd, before, err);
	if (status != SR_OK)
		goto out;
	d.entries = sr_alloc(d.n * sizeof(*d.entries));
	for (size_t i = 0; i < d.n; i++) {
		size_t back = go_down(s, d.children[i].name);

		see_child(s, &d, &d.children[i], fd);
		go_up(s, back);
	}
	close(fd);
	fd = -1;
	status = see_folders(s, &d, err);
	if (status != SR_OK)
		goto out;
	*outcome = d.seen || !d.any_unknown ? SEEN : NOTHING;
	*out = (struct sr_entry){0};
	sr_map_build(s->nodes, sr_bytes(NULL, 0), d.entries, d.seen, out);
	out->kind = SR_KIND_DIR;
	out->mode = st.st_mode & 0777;
	if (!d.seen)
		out->leaves = 1; /* an empty directory is a leaf */
out:
	if (fd >= 0)
		close(fd);
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

enum sr_status sr_files_scan(struct sr_view *v, struct sr_nodes *nodes, const struct sr_hash *before, sr_signature_fn *changed, void *ctx,
                             struct sr_scan *out, struct sr_err *err)
{
	struct scan s = {
		.f = sr_files(v->st), .root = ((struct sr_files_view *)v)->root, .nodes = nodes, .changed = changed, .ctx = ctx, .out = out,
		.start_ms = sr_now_ms(),
	};
	struct sr_entry top = {0};
	enum outcome outcome = SEEN;
	enum sr_status status = still_there(&s, err);

	if (status != SR_OK)
		return status;
	sr_signatures_begin(&s.f->seen);
	status = see_folder(&s, before, &top, &outcome, err);
	if (status == SR_OK)
		status = still_there(&s, err);
	if (status == SR_OK && outcome == SEEN)
		status = not_lost(&s, before, &top.hash, err);
	sr_buf_free(&s.path);
	if (status != SR_OK)
		return status;
	sr_signatures_end(&s.f->seen);
	out->map = top.hash;
	out->same = sr_hash_eq(&out->map, before);
	return SR_OK;
}
