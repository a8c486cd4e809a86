/* files_step.c - one leaf's step of an apply.
 *
 * Nothing is ever overwritten: the old file changes places with the new one in staging (or with a new directory), by one renameat2(), and
 * is hashed where it then lies.  So each step is atomic, can be put back, and leaves evidence: what a->kept names in staging is the new
 * content before, the old content after. */
#include "lib/store/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- where it lies ---- */

/* Was the held directory renamed while files went into it?  Then it is not found to be synced. */
static bool was_moved(const struct files_apply *a)
{
	int now = sr_open_below(a->f->root, sr_buf_view(&a->above), O_PATH | O_DIRECTORY);
	struct stat there, held;
	bool same = now >= 0 && !fstat(now, &there) && !fstat(a->parent, &held) && there.st_dev == held.st_dev && there.st_ino == held.st_ino;

	if (now >= 0)
		close(now);
	return !same;
}

void sr_files_forget_parent(struct files_apply *a)
{
	if (a->above_steps > 1 && was_moved(a))
		a->unsynced = true;
	if (a->parent >= 0)
		close(a->parent);
	a->parent = a->above_errno = -1;
	a->above_steps = 0;
}

int sr_files_parent_of(struct files_apply *a, struct sr_bytes path, char name[256])
{
	struct sr_bytes above = sr_files_parent(path);
	int sys = a->above_errno;

	if (sys < 0 || !sr_bytes_eq(above, sr_buf_view(&a->above)) || !sr_files_last_name(path, name)) {
		sr_files_forget_parent(a);
		a->parent = sr_files_open_parent(a->f->root, path, name);
		sys = a->above_errno = a->parent < 0 ? errno : 0;
		sr_buf_clear(&a->above);
		sr_buf_bytes(&a->above, above);
	}
	errno = sys;
	return a->parent;
}

/* ---- what is there ---- */

/* The content's hash: by the stat cache if it can vouch for what we expect or want, else read. */
static bool content_hash(struct files_apply *a, const struct sr_leaf *leaf, int dir, const char *name, struct stat *st, struct sr_hash *out,
                         enum sr_unknown_why *why)
{
	const struct sr_tree_key *key = a->f->st.key;
	const struct sr_version *likely[] = {&leaf->expect, &leaf->to};
	uint64_t kept = sr_signatures_get(&a->f->seen, key, leaf->path);

	for (size_t i = 0; kept && i < 2; i++)
		if (likely[i]->kind == SR_KIND_FILE && kept == sr_files_signature(key, st, &likely[i]->hash)) {
			*out = likely[i]->hash;
			return true;
		}
	return sr_files_hash(a->f, dir, name, st, out, why);
}

static void file_version(struct sr_version *out, const struct stat *st, const struct sr_hash *hash)
{
	*out = (struct sr_version){.kind = SR_KIND_FILE, .mode = st->st_mode & 0777, .bytes = (uint64_t)st->st_size, .hash = *hash};
}

enum sr_status sr_files_find(struct files_apply *a, const struct sr_leaf *leaf, int parent, const char *name, struct files_found *out,
                             struct sr_err *err)
{
	enum sr_unknown_why why = SR_UNKNOWN_KIND;
	struct files_found found = {0};
	struct sr_hash hash;

	if (fstatat(parent, name, &found.st, AT_SYMLINK_NOFOLLOW)) {
		if (errno != ENOENT)
			return sr_err_sys(err, SR_E_IO, "stat");
	} else if (S_ISDIR(found.st.st_mode)) {
		found.version.kind = SR_KIND_DIR;
		found.version.mode = found.st.st_mode & 0777;
	} else {
		if (S_ISREG(found.st.st_mode) && a->f->st.max_size && (uint64_t)found.st.st_size > a->f->st.max_size)
			why = SR_UNKNOWN_SIZE;
		else if (S_ISREG(found.st.st_mode) && content_hash(a, leaf, parent, name, &found.st, &hash, &why))
			file_version(&found.version, &found.st, &hash);
		if (!found.version.kind)
			return sr_err_set(err, SR_E_CHANGED, "what is there is unknown: %s", sr_unknown_text(why));
	}
	*out = found;
	return SR_OK;
}

/* ---- displacing ---- */

/* Renaming sets the ctime, so that the cache knows a displaced file only by the stat taken right before. */
static bool known_before(struct files_apply *a, const struct sr_leaf *leaf, const struct stat *seen, const struct stat *now)
{
	const struct sr_tree_key *key = a->f->st.key;

	return seen && leaf->expect.kind == SR_KIND_FILE && seen->st_ino == now->st_ino && seen->st_size == now->st_size &&
	       sr_files_mtime(seen) == sr_files_mtime(now) &&
	       sr_signatures_get(&a->f->seen, key, leaf->path) == sr_files_signature(key, seen, &leaf->expect.hash);
}

enum sr_status sr_files_tell_displaced(struct files_apply *a, size_t i, const struct sr_leaf *leaf, const struct stat *seen,
                                       struct sr_err *err)
{
	struct sr_displaced old = {.path = leaf->path, .dirfd = a->f->stage, .name = a->kept};
	enum sr_unknown_why why = SR_UNKNOWN_BUSY;
	struct sr_hash hash;
	struct stat st;
	bool known;

	if (fstatat(a->f->stage, a->kept, &st, AT_SYMLINK_NOFOLLOW))
		return sr_err_sys(err, SR_E_IO, "stat what was displaced");
	if (!S_ISREG(st.st_mode))
		return sr_err_set(err, SR_E_CHANGED, "it is no regular file any more");
	known = known_before(a, leaf, seen, &st);
	if (known)
		hash = leaf->expect.hash;
	for (int tries = 0; !known && tries < 3; tries++) /* who still has it open may be writing */
		known = sr_files_hash(a->f, a->f->stage, a->kept, &st, &hash, &why);
	if (!known)
		return sr_err_set(err, SR_E_CHANGED, "the old content cannot be kept: %s", sr_unknown_text(why));
	file_version(&old.version, &st, &hash);
	old.mtime_ns = sr_files_mtime(&st);
	old.expected = sr_version_eq(&old.version, &leaf->expect);
	return a->ops->displaced(a->ops->ctx, i, leaf, &old, err);
}

int sr_files_exchange(const struct files_apply *a, int parent, const char *name)
{
	return renameat2(a->f->stage, a->kept, parent, name, RENAME_EXCHANGE);
}

/* ---- putting back what could not be archived ---- */

#define ASIDES 1000 /* of one name */
#define BEFORE "what was there before"

/* In staging, under a name that no sweep takes: that is to be had where the disk is full, too. */
static void keep_aside(struct files_apply *a, const char *what, struct sr_err *err)
{
	char name[sizeof SR_ASIDE + SR_STAGE_NAME + 8];
	int failed = -1;

	for (unsigned n = 0; n < ASIDES && failed; n++) {
		snprintf(name, sizeof name, n ? SR_ASIDE "%s-%u" : SR_ASIDE "%s", a->kept, n);
		failed = renameat2(a->f->stage, a->kept, a->f->stage, name, RENAME_NOREPLACE);
		if (failed && errno != EEXIST)
			break;
	}
	if (!failed && fsync(a->f->stage))
		failed = -1;
	a->aside = true;
	(void)sr_err_context(err, "(something else has its place by now: %s is %s/" SR_OWN_DIR "/stage/%s%s)", what, a->f->st.path,
			     failed ? a->kept : name, failed ? ", and may not stay there" : "");
}

/* As it was put there, and nobody has written to it since? */
static bool is_untouched(const struct files_apply *a, const struct stat *ours)
{
	struct stat now;

	return !fstatat(a->f->stage, a->kept, &now, AT_SYMLINK_NOFOLLOW) && now.st_ino == ours->st_ino && now.st_size == ours->st_size &&
	       sr_files_mtime(&now) == sr_files_mtime(ours);
}

/* Ours (as it was before) and what it displaced change places again.  Whoever came to the path meanwhile, or wrote there, stays. */
static void change_back(struct files_apply *a, int parent, const char *name, const struct stat *ours, struct sr_err *err)
{
	if (sr_files_exchange(a, parent, name)) {
		if (errno != ENOENT || renameat2(a->f->stage, a->kept, parent, name, RENAME_NOREPLACE))
			keep_aside(a, BEFORE, err);
	} else if (!is_untouched(a, ours)) {
		keep_aside(a, sr_files_exchange(a, parent, name) ? "what came meanwhile" : BEFORE, err);
	}
}

/* The staged file takes the place of the file that is there. */
static enum sr_status take_place(struct files_apply *a, size_t i, const struct sr_leaf *leaf, int parent, const char *name,
                                 struct sr_err *err)
{
	struct stat seen, ours;
	enum sr_status s;

	if (fstatat(parent, name, &seen, AT_SYMLINK_NOFOLLOW))
		return sr_err_sys(err, errno == ENOENT ? SR_E_NOTFOUND : SR_E_IO, "stat");
	if (!S_ISREG(seen.st_mode))
		return sr_err_set(err, SR_E_CHANGED, "it is no regular file any more");
	if (fstatat(a->f->stage, a->kept, &ours, AT_SYMLINK_NOFOLLOW))
		return sr_err_sys(err, SR_E_IO, "stat in staging");
	if (sr_files_exchange(a, parent, name))
		return sr_err_sys(err, errno == ENOENT ? SR_E_NOTFOUND : SR_E_IO, "exchange");
	s = sr_files_tell_displaced(a, i, leaf, &seen, err);
	if (s == SR_OK)
		a->todo[i].done = true;
	else
		change_back(a, parent, name, &ours, err);
	return s;
}

static bool go_on(struct files_apply *a, size_t i, const struct sr_leaf *leaf, const struct sr_version *actual)
{
	return a->ops->clash(a->ops->ctx, i, leaf, actual, sr_bytes(NULL, 0)) == SR_TAKE;
}

/* ---- files ---- */

static enum sr_status do_create(struct files_apply *a, size_t i, const struct sr_leaf *leaf, int parent, const char *name,
                                struct sr_err *err)
{
	struct files_found found;
	enum sr_status s;

	if (!renameat2(a->f->stage, a->kept, parent, name, RENAME_NOREPLACE)) {
		a->todo[i].done = true;
		return SR_OK;
	}
	if (errno != EEXIST)
		return sr_err_sys(err, SR_E_IO, "rename into place");
	s = sr_files_find(a, leaf, parent, name, &found, err); /* it came since we compared */
	if (s != SR_OK)
		return s;
	if (sr_version_eq(&found.version, &leaf->to)) {
		a->todo[i].done = a->unsynced = true;
		return SR_OK;
	}
	if (found.version.kind != SR_KIND_FILE)
		return sr_err_set(err, SR_E_CHANGED, "it changes while it is applied");
	return go_on(a, i, leaf, &found.version) ? take_place(a, i, leaf, parent, name, err) : SR_OK;
}

static enum sr_status do_replace(struct files_apply *a, size_t i, const struct sr_leaf *leaf, int parent, const char *name,
                                 struct sr_err *err)
{
	static const struct sr_version absent;
	enum sr_status s = take_place(a, i, leaf, parent, name, err);

	if (s != SR_E_NOTFOUND)
		return s;
	return go_on(a, i, leaf, &absent) ? do_create(a, i, leaf, parent, name, err) : SR_OK; /* it went since we compared */
}

static enum sr_status do_chmod(struct files_apply *a, size_t i, const struct sr_leaf *leaf, int parent, const char *name,
                               struct sr_err *err)
{
	int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	enum sr_status s = SR_OK;
	struct stat st;

	if (fd < 0)
		return sr_err_sys(err, SR_E_CHANGED, "open");
	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		s = sr_err_set(err, SR_E_CHANGED, "it is no regular file any more");
	else if (fchmod(fd, leaf->to.mode & 0777) || fsync(fd))
		s = sr_err_sys(err, SR_E_IO, "chmod");
	close(fd);
	a->todo[i].done = s == SR_OK;
	return s;
}

static enum sr_status do_unlink(struct files_apply *a, size_t i, const struct sr_leaf *leaf, int parent, const char *name,
                                struct sr_err *err)
{
	struct stat seen;
	enum sr_status s;

	if (fstatat(parent, name, &seen, AT_SYMLINK_NOFOLLOW)) {
		if (errno != ENOENT)
			return sr_err_sys(err, SR_E_IO, "stat");
		a->todo[i].done = true;
		return SR_OK;
	}
	if (!S_ISREG(seen.st_mode))
		return sr_err_set(err, SR_E_CHANGED, "it is no regular file any more");
	if (renameat2(parent, name, a->f->stage, a->kept, RENAME_NOREPLACE))
		return sr_err_sys(err, SR_E_IO, "rename into staging");
	s = sr_files_tell_displaced(a, i, leaf, &seen, err);
	/* Whoever keeps it may have taken it away; something of its name has to stay as evidence that it was deleted, whatever comes to its path. */
	if (s == SR_OK && faccessat(a->f->stage, a->kept, F_OK, AT_SYMLINK_NOFOLLOW) && mkdirat(a->f->stage, a->kept, 0700))
		s = sr_err_sys(err, SR_E_IO, "mkdir in staging");
	if (s == SR_OK)
		a->todo[i].done = true;
	else if (renameat2(a->f->stage, a->kept, parent, name, RENAME_NOREPLACE))
		keep_aside(a, BEFORE, err);
	return s;
}

/* ---- directories ---- */

/* Until all is done below it, its owner may write and search; sr_files_commit sets the exact mode last.  A new one that cannot be made what it should be is
 * removed: it would be an edit. */
static enum sr_status open_up(const struct files_apply *a, int dir, const char *name, uint16_t mode, bool new, struct sr_err *err)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	enum sr_status s = SR_OK;

	if (fd < 0)
		return sr_err_sys(err, SR_E_CHANGED, "open the directory");
	if (new)
		s = sr_files_own(a->f, fd, NULL, err);
	if (s == SR_OK && fchmod(fd, (mode & 0777) | 0700))
		s = sr_err_sys(err, SR_E_IO, "chmod");
	close(fd);
	if (s != SR_OK && new)
		unlinkat(dir, name, AT_REMOVEDIR);
	return s;
}

static enum sr_status do_mkdir(struct files_apply *a, size_t i, const struct sr_leaf *leaf, int parent, const char *name,
                               struct sr_err *err)
{
	bool new = !mkdirat(parent, name, 0700);
	enum sr_status s;

	if (!new && errno != EEXIST)
		return sr_err_sys(err, SR_E_IO, "mkdir");
	s = open_up(a, parent, name, leaf->to.mode, new, err);
	a->todo[i].done = s == SR_OK;
	return s;
}

static enum sr_status do_dirmode(struct files_apply *a, size_t i, const struct sr_leaf *leaf, int parent, const char *name,
                                 struct sr_err *err)
{
	enum sr_status s = open_up(a, parent, name, leaf->to.mode, false, err);

	a->todo[i].done = s == SR_OK;
	return s;
}

/* Does the directory hold an entry that a scan would see?  Too deep to tell, or unreadable: as if. */
static bool holds_known(struct files_apply *a, int parent, const char *name, struct sr_bytes path, unsigned depth)
{
	int fd = depth < 64 ? openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	bool known = false, empty = true;
	struct sr_buf below = {0};
	struct dirent *e;
	struct stat st;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return true;
	}
	while (!known && (e = readdir(dir))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		empty = false;
		sr_buf_clear(&below);
		sr_buf_bytes(&below, path);
		sr_buf_byte(&below, 0);
		sr_buf_bytes(&below, sr_bytes_of(e->d_name));
		if (sr_files_excluded(a->f, sr_buf_view(&below)))
			continue;
		if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW))
			known = errno != ENOENT;
		else if (S_ISREG(st.st_mode))
			known = !a->f->st.max_size || (uint64_t)st.st_size <= a->f->st.max_size;
		else if (S_ISDIR(st.st_mode))
			known = holds_known(a, fd, e->d_name, sr_buf_view(&below), depth + 1);
	}
	closedir(dir);
	sr_buf_free(&below);
	return known || (empty && depth);
}

static enum sr_status do_rmdir(struct files_apply *a, size_t i, const struct sr_leaf *leaf, int parent, const char *name,
                               struct sr_err *err)
{
	if (!unlinkat(parent, name, AT_REMOVEDIR) || errno == ENOENT) {
		a->todo[i].done = true;
		return SR_OK;
	}
	if (errno != ENOTEMPTY && errno != EEXIST)
		return sr_err_sys(err, errno == ENOTDIR ? SR_E_CHANGED : SR_E_IO, "rmdir");
	a->todo[i].done = !holds_known(a, parent, name, leaf->path, 0); /* with only unknown things in it, it is no entry any more */
	return SR_OK;
}

/* ---- one in the place of the other ---- */

static enum sr_status do_file_to_dir(struct files_apply *a, size_t i, const struct sr_leaf *leaf, int parent, const char *name,
                                     struct sr_err *err)
{
	struct stat seen, ours;
	enum sr_status s;

	if (fstatat(parent, name, &seen, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? do_mkdir(a, i, leaf, parent, name, err) : sr_err_sys(err, SR_E_IO, "stat");
	if (mkdirat(a->f->stage, a->kept, 0700))
		return sr_err_sys(err, SR_E_IO, "mkdir in staging");
	s = open_up(a, a->f->stage, a->kept, leaf->to.mode, true, err);
	if (s == SR_OK && fstatat(a->f->stage, a->kept, &ours, AT_SYMLINK_NOFOLLOW))
		s = sr_err_sys(err, SR_E_IO, "stat in staging");
	if (s == SR_OK && sr_files_exchange(a, parent, name))
		s = sr_err_sys(err, SR_E_IO, "exchange");
	if (s == SR_OK) {
		s = sr_files_tell_displaced(a, i, leaf, &seen, err);
		if (s == SR_OK)
			a->todo[i].done = true;
		else
			change_back(a, parent, name, &ours, err);
	}
	if (s != SR_OK)
		unlinkat(a->f->stage, a->kept, AT_REMOVEDIR);
	return s;
}

/* Its entries are deleted by now.  What is still in it is not part of the apply: then it stays. */
static enum sr_status do_dir_to_file(struct files_apply *a, size_t i, const struct sr_leaf *leaf, int parent, const char *name,
                                     struct sr_err *err)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	unsigned entries = 0;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return errno == ENOENT ? do_create(a, i, leaf, parent, name, err) : sr_err_sys(err, SR_E_CHANGED, "open the directory");
	}
	while (entries < 3 && readdir(dir))
		entries++;
	closedir(dir);
	if (entries > 2)
		return sr_err_set(err, SR_E_CHANGED, "the directory in its place still holds something");
	if (sr_files_exchange(a, parent, name))
		return sr_err_sys(err, SR_E_IO, "exchange");
	if (unlinkat(a->f->stage, a->kept, AT_REMOVEDIR)) { /* filled in the last moment, or it is no directory any more */
		enum sr_status s = sr_err_sys(err, SR_E_CHANGED, "rmdir");

		if (sr_files_exchange(a, parent, name))
			keep_aside(a, "what was filled in the last moment", err);
		return s;
	}
	a->todo[i].done = true;
	return SR_OK;
}

/* ---- a step ---- */

/* And those that it lies in: an application may have made it a moment ago, and its name is no more durable than that. */
void sr_files_touch(struct files_apply *a, struct sr_bytes directory)
{
	const struct sr_tree_key *key = a->f->st.key;
	const uint8_t *end;

	while (!sr_signatures_get(&a->touched_set, key, directory)) {
		sr_signatures_put(&a->touched_set, key, directory, 1);
		sr_buf_string(&a->touched, directory);
		end = directory.len ? memrchr(directory.at, 0, directory.len) : NULL;
		directory.len = end ? (size_t)(end - directory.at) : 0;
	}
}

static enum sr_status sync_held(int dir, struct sr_err *err)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* dir may be there as a path only */
	enum sr_status s = fd < 0 || fsync(fd) ? sr_err_sys(err, SR_E_IO, "fsync") : SR_OK;

	if (fd >= 0)
		close(fd);
	return s;
}

/* Make the directories above `path` that are missing (deleted here while something below them changed there). */
static enum sr_status make_parents(struct files_apply *a, struct sr_bytes path, struct sr_err *err)
{
	enum sr_status s = SR_OK;

	for (size_t n = 0; n < path.len && s == SR_OK; n++) {
		struct sr_bytes above = sr_bytes(path.at, n);
		char name[256];
		int dir;

		if (path.at[n])
			continue;
		dir = sr_files_open_parent(a->f->root, above, name);
		if (dir < 0)
			return sr_err_sys(err, SR_E_CHANGED, "open the directory above");
		if (!mkdirat(dir, name, 0700)) {
			s = open_up(a, dir, name, 0755, true, err);
			if (s == SR_OK) /* before anything is in it */
				s = sync_held(dir, err);
		} else if (errno != EEXIST) {
			s = sr_err_sys(err, SR_E_IO, "mkdir above");
		}
		close(dir);
	}
	return s;
}

typedef enum sr_status step_fn(struct files_apply *a, size_t i, const struct sr_leaf *leaf, int parent, const char *name,
                               struct sr_err *err);

static step_fn *const steps[] = {
	[STEP_CREATE] = do_create, [STEP_REPLACE] = do_replace, [STEP_CHMOD] = do_chmod, [STEP_UNLINK] = do_unlink, [STEP_MKDIR] = do_mkdir,
	[STEP_DIRMODE] = do_dirmode, [STEP_RMDIR] = do_rmdir, [STEP_FILE_TO_DIR] = do_file_to_dir, [STEP_DIR_TO_FILE] = do_dir_to_file,
};

enum sr_status sr_files_step(struct files_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_err *err)
{
	char name[256];
	int parent;
	enum sr_status s;

	if (a->parent < 0) /* it may be there by now */
		sr_files_forget_parent(a);
	parent = sr_files_parent_of(a, leaf->path, name);
	if (parent < 0 && errno == ENOENT && leaf->to.kind == SR_KIND_NONE) {
		a->todo[i].done = true;
		return SR_OK;
	}
	if (parent < 0 && errno == ENOENT) {
		s = make_parents(a, leaf->path, err);
		if (s != SR_OK)
			return s;
		sr_files_forget_parent(a);
		parent = sr_files_parent_of(a, leaf->path, name);
	}
	if (parent < 0)
		return sr_err_sys(err, SR_E_CHANGED, "open the directory above");
	a->aside = false;
	s = steps[a->todo[i].step](a, i, leaf, parent, name, err);
	if (a->todo[i].done) {
		if (!a->above_steps++)
			sr_files_touch(a, sr_files_parent(leaf->path));
		if (leaf->to.kind == SR_KIND_DIR)
			sr_files_touch(a, leaf->path);
	}
	return s;
}
