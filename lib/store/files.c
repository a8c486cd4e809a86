/* files.c - a directory tree as a store: its root, its marker, its views, and how names below the root are reached.
 *
 * An application that may write to the tree may plant symbolic links and swap directories at any moment: every path is resolved by the
 * kernel, from a held directory, through no link (openat2), and what it names is looked at again after it was opened. */
#include "lib/store/files.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/store/exclude.h"

#define MARKER SR_OWN_DIR "/marker"

/* ---- names below the root ---- */

struct sr_bytes sr_files_parent(struct sr_bytes path)
{
	const uint8_t *slash = memrchr(path.at, '\0', path.len);

	return sr_bytes(path.at, slash ? (size_t)(slash - path.at) : 0);
}

bool sr_files_last_name(struct sr_bytes path, char name[256])
{
	struct sr_bytes parent = sr_files_parent(path);
	size_t from = parent.len ? parent.len + 1 : 0;

	if (path.len - from > NAME_MAX) {
		errno = ENAMETOOLONG;
		return false;
	}
	memcpy(name, path.at + from, path.len - from);
	name[path.len - from] = '\0';
	return true;
}

int sr_files_open_parent(int root, struct sr_bytes path, char name[256])
{
	return sr_files_last_name(path, name) ? sr_open_below(root, sr_files_parent(path), O_PATH | O_DIRECTORY) : -1;
}

bool sr_files_excluded(const struct sr_files *f, struct sr_bytes path)
{
	return sr_exclude_matches(SR_KIND_FILES, (const char *const *)f->st.exclude, f->st.excludes, path);
}

int64_t sr_files_mtime(const struct stat *st)
{
	return sr_file_ns(st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
}

/* ---- one file's content ---- */

static enum sr_unknown_why why_not_opened(void)
{
	switch (errno) {
	case ENOENT: /* it was there a moment ago */
	case ENOTDIR:
	case EAGAIN:
		return SR_UNKNOWN_BUSY;
	case ELOOP:
	case ENXIO:
		return SR_UNKNOWN_KIND;
	}
	return SR_UNKNOWN_UNREADABLE;
}

static bool moved_between(const struct stat *a, const struct stat *b)
{
	return a->st_size != b->st_size || sr_files_mtime(a) != sr_files_mtime(b) || a->st_ctim.tv_sec != b->st_ctim.tv_sec ||
	       a->st_ctim.tv_nsec != b->st_ctim.tv_nsec;
}

static ssize_t read_some(int fd, void *at, size_t n)
{
	ssize_t got;

	do
		got = read(fd, at, n);
	while (got < 0 && errno == EINTR);
	return got;
}

bool sr_files_hash(struct sr_files *f, int dirfd, const char *name, struct stat *st, struct sr_hash *out, enum sr_unknown_why *why)
{
	int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	struct stat before;
	off_t total = 0;
	ssize_t got;
	bool ok = false;

	*why = SR_UNKNOWN_UNREADABLE;
	if (fd < 0) {
		*why = why_not_opened();
		return false;
	}
	if (fstat(fd, &before))
		goto out;
	if (!S_ISREG(before.st_mode)) {
		*why = SR_UNKNOWN_KIND;
		goto out;
	}
	sr_hasher_reset(f->hasher);
	while ((got = read_some(fd, f->chunk, SR_FILES_CHUNK)) > 0 && total <= before.st_size) {
		sr_hasher_add(f->hasher, f->chunk, (size_t)got);
		total += got;
	}
	if (got < 0 || fstat(fd, st))
		goto out;
	*why = SR_UNKNOWN_BUSY;
	if (total != before.st_size || moved_between(&before, st))
		goto out;
	sr_hasher_get(f->hasher, out);
	ok = true;
out:
	close(fd);
	return ok;
}

enum sr_status sr_files_own(const struct sr_files *f, int fd, const struct stat *now, struct sr_err *err)
{
	bool asked = f->st.has_owner || f->st.has_group;
	struct stat root;

	if (fstat(f->root, &root))
		return sr_err_sys(err, SR_E_IO, "%s", f->st.path);
	if (f->st.has_owner)
		root.st_uid = f->st.owner;
	if (f->st.has_group)
		root.st_gid = f->st.group;
	if (now && now->st_uid == root.st_uid && now->st_gid == root.st_gid)
		return SR_OK;
	if (fchown(fd, root.st_uid, root.st_gid) && (asked || errno != EPERM))
		return sr_err_sys(err, SR_E_IO, "chown to %u:%u", (unsigned)root.st_uid, (unsigned)root.st_gid);
	return SR_OK;
}

/* ---- the root ---- */

static void let_go(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* The held root is what is at the path now; 0, or -1 and errno. */
static int hold_root(struct sr_files *f)
{
	int fd = open(f->st.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat now, held;

	if (fd < 0) {
		int sys = errno;

		let_go(&f->root);
		let_go(&f->stage);
		errno = sys;
		return -1;
	}
	if (f->root >= 0 && !fstat(fd, &now) && !fstat(f->root, &held) && now.st_dev == held.st_dev && now.st_ino == held.st_ino) {
		close(fd);
		return 0;
	}
	let_go(&f->root);
	let_go(&f->stage);
	f->root = fd;
	return 0;
}

enum sr_status sr_files_same_root(struct sr_files *f, struct sr_err *err)
{
	struct stat now, held;

	if ((f->root < 0 && hold_root(f)) || stat(f->st.path, &now) || fstat(f->root, &held))
		return sr_err_sys(err, SR_E_UNAVAILABLE, "%s", f->st.path);
	if (now.st_dev != held.st_dev || now.st_ino != held.st_ino)
		return sr_err_set(err, SR_E_UNAVAILABLE, "%s: another directory is there since it was looked at", f->st.path);
	return SR_OK;
}

/* Open the directory `name` in dir, made first if need be: ours alone. */
static int open_own(int dir, const char *name)
{
	if (mkdirat(dir, name, 0700) && errno != EEXIST)
		return -1;
	return sr_open_beneath(dir, name, O_RDONLY | O_DIRECTORY, 0);
}

enum sr_status sr_files_hold_stage(struct sr_files *f, struct sr_err *err)
{
	enum sr_status s = sr_files_same_root(f, err);
	struct stat st;
	int own;

	if (s != SR_OK)
		return s;
	if (f->stage >= 0 && !fstat(f->stage, &st) && st.st_nlink > 0)
		return SR_OK;
	let_go(&f->stage);
	own = open_own(f->root, SR_OWN_DIR);
	f->stage = own < 0 ? -1 : open_own(own, "stage");
	if (f->stage < 0)
		s = sr_err_sys(err, SR_E_IO, "%s/" SR_OWN_DIR "/stage", f->st.path);
	else if (fsync(own) || fsync(f->root))
		s = sr_err_sys(err, SR_E_IO, "fsync %s", f->st.path);
	if (own >= 0)
		close(own);
	return s;
}

static enum sr_status files_create(struct sr_store *st, struct sr_err *err)
{
	struct sr_files *f = sr_files(st);
	enum sr_status s = sr_make_parents(st, err);
	char *parent = NULL;
	bool made;
	int fd;

	if (s != SR_OK)
		return s;
	made = !mkdir(st->path, 0755);
	if (!made && errno != EEXIST)
		return sr_err_sys(err, SR_E_IO, "mkdir %s", st->path);
	s = hold_root(f) ? sr_err_sys(err, SR_E_UNAVAILABLE, "%s", st->path) : SR_OK;
	if (s == SR_OK && made)
		s = sr_files_own(f, f->root, NULL, err);
	if (s == SR_OK)
		s = sr_files_hold_stage(f, err);
	if (s != SR_OK || !made)
		return s;
	parent = sr_format("%s/..", st->path);
	fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd))
		s = sr_err_sys(err, SR_E_IO, "fsync %s", parent);
	if (fd >= 0)
		close(fd);
	free(parent);
	return s;
}

/* ---- the marker: a line of version, then "key value" lines in a fixed order ---- */

#define MARKER_HEAD "sameroot marker 1\n"
#define MARKER_MAX 512

void sr_marker_text(struct sr_buf *out, const struct sr_marker *m, const char *store)
{
	char id[SR_UUID_TEXT], node[SR_UUID_TEXT], instance[SR_UUID_TEXT];

	sr_uuid_text(id, &m->id);
	sr_uuid_text(node, &m->node);
	sr_uuid_text(instance, &m->instance);
	sr_buf_printf(out, MARKER_HEAD "id %s\nnode %s\ninstance %s\nepoch %" PRIu64 "\nseq %" PRIu64 "\n", id, node, instance,
	              m->epoch, m->seq);
	if (*store)
		sr_buf_printf(out, "store %s\n", store);
}

/* Strict by writing again what was read: any other text than ours is no marker. */
static bool marker_parse(struct sr_marker *out, const char *text)
{
	char id[SR_UUID_TEXT], node[SR_UUID_TEXT], instance[SR_UUID_TEXT];
	struct sr_marker m = {0};
	struct sr_buf again = {0};
	bool ok;

	ok = sscanf(text, MARKER_HEAD "id %36s node %36s instance %36s epoch %" SCNu64 " seq %" SCNu64 " store %64s", id, node, instance,
	            &m.epoch, &m.seq, m.store) >= 5 &&
	     !sr_uuid_parse(&m.id, id) && !sr_uuid_parse(&m.node, node) && !sr_uuid_parse(&m.instance, instance);
	ok = ok && m.epoch < SR_MARKER_END && m.seq < SR_MARKER_END;
	if (ok) {
		sr_marker_text(&again, &m, m.store);
		ok = !strcmp(sr_buf_text(&again), text);
		sr_buf_free(&again);
	}
	if (ok)
		*out = m;
	return ok;
}

/* Whether there is a marker file; a malformed one reads as none and says so in why.  -1 and errno when it cannot be told. */
static int marker_read(int root, struct sr_marker *out, char why[256])
{
	char text[MARKER_MAX];
	ssize_t n;
	int fd = sr_open_beneath(root, MARKER, O_RDONLY | O_NONBLOCK, 0);

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
	n = read_some(fd, text, sizeof(text) - 1);
	close(fd);
	if (n < 0)
		return -1;
	text[n] = '\0';
	if (!marker_parse(out, text))
		snprintf(why, 256, "the marker file is malformed and counts as none");
	return 1;
}

static enum sr_status write_all(int fd, struct sr_bytes b, const char *what, struct sr_err *err)
{
	while (b.len) {
		ssize_t n = write(fd, b.at, b.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return sr_err_sys(err, SR_E_IO, "write %s", what);
		b = sr_bytes(b.at + n, b.len - (size_t)n);
	}
	return SR_OK;
}

enum sr_status sr_files_write_marker(struct sr_files *f, const struct sr_marker *marker, struct sr_err *err)
{
	struct sr_buf text = {0};
	int own, fd;
	enum sr_status s = SR_OK;

	sr_marker_text(&text, marker, f->st.name);
	own = sr_open_beneath(f->root, SR_OWN_DIR, O_RDONLY | O_DIRECTORY, 0);
	fd = own < 0 ? -1 : openat(own, "marker.new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		s = sr_err_sys(err, SR_E_IO, "%s/" MARKER ".new", f->st.path);
	if (s == SR_OK)
		s = write_all(fd, sr_buf_view(&text), MARKER, err);
	if (s == SR_OK && (fsync(fd) || renameat(own, "marker.new", own, "marker") || fsync(own)))
		s = sr_err_sys(err, SR_E_IO, "%s/" MARKER, f->st.path);
	f->marked |= s == SR_OK;
	if (fd >= 0) {
		close(fd);
		if (s != SR_OK)
			unlinkat(own, "marker.new", 0); /* the next one may be long in coming */
	}
	if (own >= 0)
		close(own);
	sr_buf_free(&text);
	return s;
}

enum sr_status sr_files_read_marker(struct sr_files *f, struct sr_marker *out, struct sr_err *err)
{
	char why[256];

	*out = (struct sr_marker){0};
	return marker_read(f->root, out, why) < 0 ? sr_err_sys(err, SR_E_IO, "%s/" MARKER, f->st.path) : SR_OK;
}

/* As a database's: with the marker everything becomes durable that was in the store before, or that is named. */
static enum sr_status files_mark(struct sr_store *st, const struct sr_marker *marker, struct sr_leaves *leaves, struct sr_err *err)
{
	struct sr_files *f = sr_files(st);
	bool few = leaves && sr_leaves_count(leaves) <= SR_FILES_FLUSH_SINGLY;
	enum sr_status s = sr_files_hold_stage(f, err);

	if (s == SR_OK && few)
		s = sr_files_sync(f, leaves, err);
	else if (s == SR_OK && syncfs(f->root))
		s = sr_err_sys(err, SR_E_IO, "syncfs %s", st->path);
	return s == SR_OK ? sr_files_write_marker(f, marker, err) : s;
}

/* ---- look ---- */

/* Any entry but our own directory?  -1 and errno when the listing fails. */
static int any_entry(int root)
{
	int fd = sr_open_beneath(root, ".", O_RDONLY | O_DIRECTORY, 0), found = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	errno = 0;
	while (!found && (e = readdir(dir)))
		found = strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && strcmp(e->d_name, SR_OWN_DIR);
	if (!found && errno)
		found = -1;
	closedir(dir);
	return found;
}

static enum sr_presence not_there(const char *path, char why[256])
{
	char text[128];

	snprintf(why, 256, "%.120s: %s", path, strerror_r(errno, text, sizeof(text)));
	if (errno == ENOENT)
		return SR_ABSENT;
	return errno == ENOTDIR || errno == ELOOP ? SR_CORRUPT : SR_BLOCKED;
}

/* Not to be read through, and no place for what is ours. */
static bool is_in_the_way(int root)
{
	struct stat own;

	return fstatat(root, SR_OWN_DIR, &own, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(own.st_mode);
}

static enum sr_presence files_look(struct sr_store *st, struct sr_marker *marker, bool *has_content, char why[256])
{
	struct sr_files *f = sr_files(st);
	int entries, marked;

	if (hold_root(f))
		return not_there(st->path, why);
	entries = any_entry(f->root);
	if (is_in_the_way(f->root)) {
		*has_content = entries > 0;
		snprintf(why, 256, "%.200s/" SR_OWN_DIR " is no directory", st->path);
		return SR_UNMARKABLE;
	}
	marked = entries < 0 ? -1 : marker_read(f->root, marker, why);
	if (entries < 0 || marked < 0) {
		not_there(st->path, why);
		return SR_BLOCKED;
	}
	*has_content = entries > 0;
	f->marked = marked > 0;
	if (entries || marked)
		return SR_PRESENT;
	snprintf(why, 256, "%.120s is empty and has no marker", st->path); /* as a mount point is without its file system */
	return SR_ABSENT;
}

static struct sr_store_seen files_seen(struct sr_store *st)
{
	struct stat now;

	return (struct sr_store_seen){.inode = stat(st->path, &now) ? 0 : now.st_ino};
}

/* ---- views ---- */

static enum sr_status files_view_open(struct sr_view **out, struct sr_store *st, enum sr_view_kind kind, struct sr_err *err)
{
	bool own_thread = kind == SR_VIEW_MAIN; /* only this may touch what the store holds */
	enum sr_status s = own_thread ? sr_files_same_root(sr_files(st), err) : SR_OK;
	struct sr_files_view *v;
	int root;

	if (s != SR_OK)
		return s;
	root = own_thread ? sr_open_beneath(sr_files(st)->root, ".", O_RDONLY | O_DIRECTORY, 0)
	                  : open(st->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return sr_err_sys(err, SR_E_UNAVAILABLE, "%s", st->path);
	v = sr_alloc(sizeof(*v));
	v->v = (struct sr_view){.st = st, .kind = kind};
	v->root = root;
	*out = &v->v;
	return SR_OK;
}

static void files_view_close(struct sr_view *view)
{
	close(((struct sr_files_view *)view)->root);
	free(view);
}

static enum sr_status not_read(struct sr_bytes path, const char *store, struct sr_err *err)
{
	enum sr_status s = errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == ENXIO ? SR_E_NOTFOUND : SR_E_IO;
	struct sr_buf text = {0};

	sr_leaf_path_text(&text, store, SR_KIND_FILES, path);
	s = sr_err_sys(err, s, "%.300s", sr_buf_text(&text));
	sr_buf_free(&text);
	return s;
}

static enum sr_status files_view_read(struct sr_view *view, struct sr_bytes path, struct sr_content *out, struct sr_err *err)
{
	struct sr_files_view *v = (struct sr_files_view *)view;
	struct sr_content c = {.fd = -1};
	struct stat st;
	enum sr_status s = sr_leaf_path_check(SR_KIND_FILES, path, err);

	if (s != SR_OK)
		return s;
	c.fd = sr_open_below(v->root, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	if (c.fd < 0)
		return not_read(path, view->st->name, err);
	if (fstat(c.fd, &st) || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))) {
		errno = ENXIO;
		s = not_read(path, view->st->name, err);
		close(c.fd);
		return s;
	}
	c.version.kind = S_ISDIR(st.st_mode) ? SR_KIND_DIR : SR_KIND_FILE;
	c.version.mode = st.st_mode & 0777;
	if (S_ISDIR(st.st_mode)) {
		close(c.fd);
		c.fd = -1;
	} else {
		c.version.bytes = (uint64_t)st.st_size;
		c.mtime_ns = sr_files_mtime(&st);
	}
	*out = c;
	return SR_OK;
}

static void files_remember(struct sr_store *st, struct sr_bytes path, uint64_t signature)
{
	if (signature)
		sr_signatures_put(&sr_files(st)->seen, st->key, path, signature);
}

/* ---- open and close ---- */

static void files_close(struct sr_store *st)
{
	struct sr_files *f = sr_files(st);

	sr_files_rollback(st);
	let_go(&f->root);
	let_go(&f->stage);
	sr_signatures_free(&f->seen);
	sr_scan_free(&f->last);
	sr_hasher_free(f->hasher);
	free(f->chunk);
}

static const struct sr_store_impl files_impl = {
	.close = files_close,
	.look = files_look,
	.create = files_create,
	.mark = files_mark,
	.seen = files_seen,
	.view_open = files_view_open,
	.view_close = files_view_close,
	.view_scan = sr_files_scan,
	.view_read = files_view_read,
	.remember = files_remember,
	.apply_prepare = sr_files_prepare,
	.apply_commit = sr_files_commit,
	.apply_rollback = sr_files_rollback,
	.apply_recover = sr_files_recover,
};

enum sr_status sr_files_open(struct sr_store **out, const struct sr_store_options *options, struct sr_err *err)
{
	struct sr_files *f = sr_alloc(sizeof(*f));
	enum sr_status s = sr_store_init(&f->st, &files_impl, options, err);

	if (s != SR_OK) {
		free(f);
		return s;
	}
	f->root = f->stage = -1;
	f->hasher = sr_hasher_new(options->key);
	f->chunk = sr_alloc(SR_FILES_CHUNK);
	*out = &f->st;
	return SR_OK;
}
