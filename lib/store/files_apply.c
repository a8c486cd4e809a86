/* files_apply.c - apply leaves to a directory tree: compare (prepare), do (commit), and find out after a crash what was done (recover).
 *
 * Order of a commit: directories, parents first, which are synced; files into place; then deletions, deepest first; exact modes of directories;
 * every touched directory synced; only then is anything called applied, the old content removed, the marker written. */
#include "lib/store/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- begin and end ---- */

static enum sr_status apply_new(struct files_apply **out, struct sr_files *f, struct sr_leaves *leaves, const struct sr_marker *marker,
                                const struct sr_apply_ops *ops, struct sr_err *err)
{
	struct files_apply *a;
	enum sr_status s = sr_files_hold_stage(f, err);

	if (s != SR_OK)
		return s;
	a = sr_alloc(sizeof(*a));
	a->f = f;
	a->leaves = leaves;
	a->ops = ops;
	a->unmarked = !marker;
	if (marker)
		a->marker = *marker;
	else /* for names in staging */
		a->marker.id = sr_uuid_none(&ops->edit) ? sr_uuid_random() : ops->edit;
	a->n = sr_leaves_count(leaves);
	a->todo = sr_alloc(a->n * sizeof(*a->todo));
	a->parent = a->above_errno = -1;
	*out = a;
	return SR_OK;
}

static void apply_free(struct files_apply *a)
{
	if (!a)
		return;
	sr_files_forget_parent(a);
	free(a->todo);
	sr_buf_free(&a->path);
	sr_buf_free(&a->above);
	sr_buf_free(&a->touched);
	sr_signatures_free(&a->touched_set);
	free(a);
}

/* The name in staging of a leaf that stages no content: where the file goes that it displaces.  It has to be known after a crash. */
static void displaced_name(const struct files_apply *a, struct sr_bytes path, char name[SR_STAGE_NAME])
{
	struct sr_buf facts = {0};
	char text[SR_HASH_TEXT];
	struct sr_hash hash;

	sr_buf_add(&facts, a->marker.id.b, sizeof(a->marker.id.b));
	sr_buf_bytes(&facts, path);
	sr_hash_of(&hash, a->f->st.key, sr_buf_view(&facts));
	sr_hash_text(text, &hash);
	snprintf(name, SR_STAGE_NAME, "d%s", text);
	sr_buf_free(&facts);
}

/* The sign, in staging, that this apply began to change things here.  Staging that was put back from a copy does not have it, and then nothing in it,
 * or missing from it, is evidence. */
static enum sr_status make_sign(const struct files_apply *a, struct sr_err *err)
{
	char name[SR_STAGE_NAME];
	enum sr_status s = SR_OK;
	int fd;

	displaced_name(a, sr_bytes(NULL, 0), name);
	fd = openat(a->f->stage, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || fsync(a->f->stage))
		s = sr_err_sys(err, SR_E_IO, "a sign in the staging of %s", a->f->st.path);
	if (fd >= 0)
		close(fd);
	return s;
}

static bool has_sign(const struct files_apply *a)
{
	char name[SR_STAGE_NAME];

	displaced_name(a, sr_bytes(NULL, 0), name);
	return faccessat(a->f->stage, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Leaf i with a path of our own and a->kept. */
static enum sr_status load(struct files_apply *a, size_t i, struct sr_leaf *leaf, struct sr_err *err)
{
	enum sr_status s = sr_leaves_at(a->leaves, i, leaf, err);

	if (s != SR_OK)
		return s;
	sr_buf_clear(&a->path);
	sr_buf_bytes(&a->path, leaf->path);
	leaf->path = sr_buf_view(&a->path);
	if (leaf->stage.len >= SR_STAGE_NAME || memchr(leaf->stage.len ? (const void *)leaf->stage.at : "", '/', leaf->stage.len))
		return sr_err_set(err, SR_E_INTERNAL, "no such name in staging");
	if (leaf->stage.len) {
		memcpy(a->kept, leaf->stage.at, leaf->stage.len);
		a->kept[leaf->stage.len] = '\0';
		leaf->stage.at = (const uint8_t *)a->kept;
	} else {
		displaced_name(a, leaf->path, a->kept);
	}
	return SR_OK;
}

/* One leaf does not stop the others. */
static void failed(struct files_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_err *why)
{
	struct sr_buf text = {0};

	a->todo[i].step = STEP_NONE;
	if (a->failed++ && (!a->aside || a->names_aside))
		return;
	a->names_aside = a->aside;
	sr_leaf_path_text(&text, a->f->st.name, SR_KIND_FILES, leaf->path);
	(void)sr_err_context(why, "%.300s", sr_buf_text(&text));
	a->first = *why;
	sr_buf_free(&text);
}

/* ---- prepare ---- */

static enum sr_status find_at_path(struct files_apply *a, const struct sr_leaf *leaf, struct files_found *out, struct sr_err *err)
{
	char name[256];
	int parent = sr_files_parent_of(a, leaf->path, name);

	*out = (struct files_found){0};
	if (parent < 0) /* below a file there is nothing; below a symbolic link is not ours to see */
		return errno == ENOENT || errno == ENOTDIR ? SR_OK : sr_err_sys(err, SR_E_CHANGED, "open the directory above");
	return sr_files_find(a, leaf, parent, name, out, err);
}

/* What it takes to come from `actual` to leaf->to, which differ; STEP_NONE: there is no content for it. */
static enum files_step choose(const struct sr_version *actual, const struct sr_leaf *leaf)
{
	static const enum files_step steps[3][3] = {
		/* from                nothing      a file            a directory */
		[SR_KIND_NONE] = {STEP_THERE, STEP_UNLINK, STEP_RMDIR},
		[SR_KIND_FILE] = {STEP_CREATE, STEP_REPLACE, STEP_DIR_TO_FILE},
		[SR_KIND_DIR] = {STEP_MKDIR, STEP_FILE_TO_DIR, STEP_DIRMODE},
	};

	if (leaf->to.kind > SR_KIND_DIR)
		return STEP_NONE;
	if (leaf->to.kind == SR_KIND_FILE && !leaf->stage.len) {
		bool same = actual->kind == SR_KIND_FILE && actual->bytes == leaf->to.bytes && sr_hash_eq(&actual->hash, &leaf->to.hash);

		return same ? STEP_CHMOD : STEP_NONE;
	}
	return steps[leaf->to.kind][actual->kind];
}

/* The file that is replaced keeps its owner and group; without the right to, ours. */
static enum sr_status keep_owner(struct files_apply *a, const struct stat *old, struct sr_err *err)
{
	int fd = openat(a->f->stage, a->kept, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	enum sr_status s = SR_OK;
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		s = sr_err_sys(err, SR_E_IO, "open the staged content");
	else if (st.st_uid == old->st_uid && st.st_gid == old->st_gid)
		;
	else if (fchown(fd, old->st_uid, old->st_gid))
		s = errno == EPERM ? SR_OK : sr_err_sys(err, SR_E_IO, "chown");
	else if (fsync(fd))
		s = sr_err_sys(err, SR_E_IO, "fsync");
	if (fd >= 0)
		close(fd);
	return s;
}

static enum sr_status plan(struct files_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct files_todo *todo = &a->todo[i];
	enum sr_status s = sr_leaf_path_check(SR_KIND_FILES, leaf->path, err);
	struct files_found found;
	const struct sr_version *actual = &found.version;
	bool adopted;

	if (s == SR_OK && sr_store_excludes(&a->f->st, leaf->path))
		s = sr_err_set(err, SR_E_CHANGED, "it is excluded");
	if (s == SR_OK)
		s = find_at_path(a, leaf, &found, err);
	if (s != SR_OK)
		return s;
	if (sr_version_eq(actual, &leaf->to)) {
		if (actual->kind == SR_KIND_FILE && sr_files_settled(&found.st, sr_now_ms()))
			todo->signature = sr_files_signature(a->f->st.key, &found.st, &actual->hash);
		todo->step = STEP_THERE;
		todo->done = true;
		a->unsynced = true;
		return SR_OK;
	}
	/* A directory with only unknown things in it was no entry for the planner. */
	adopted = leaf->expect.kind == SR_KIND_NONE && leaf->to.kind == SR_KIND_DIR && actual->kind == SR_KIND_DIR;
	if (!adopted && !sr_version_eq(actual, &leaf->expect) &&
	    a->ops->clash(a->ops->ctx, i, leaf, actual, sr_bytes(NULL, 0)) == SR_KEEP)
		return SR_OK;
	todo->step = (uint8_t)choose(actual, leaf);
	if (todo->step == STEP_NONE)
		return sr_err_set(err, SR_E_CHANGED, "its content is not staged");
	return todo->step == STEP_REPLACE ? keep_owner(a, &found.st, err) : SR_OK;
}

enum sr_status sr_files_prepare(struct sr_store *st, struct sr_leaves *leaves, const struct sr_marker *marker,
                                const struct sr_apply_ops *ops,
                                struct sr_err *err)
{
	struct sr_files *f = sr_files(st);
	struct files_apply *a;
	enum sr_status s;

	if (f->apply)
		return sr_err_set(err, SR_E_INTERNAL, "store %s: another apply is prepared", st->name);
	s = apply_new(&a, f, leaves, marker, ops, err);
	if (s != SR_OK)
		return s;
	for (size_t i = 0; i < a->n && s == SR_OK; i++) {
		struct sr_leaf leaf;
		struct sr_err why;

		s = load(a, i, &leaf, err);
		if (s == SR_OK && plan(a, i, &leaf, &why) != SR_OK)
			failed(a, i, &leaf, &why);
	}
	sr_files_forget_parent(a);
	if (s == SR_OK)
		f->apply = a;
	else
		apply_free(a);
	return s;
}

void sr_files_rollback(struct sr_store *st)
{
	struct sr_files *f = sr_files(st);

	apply_free(f->apply);
	f->apply = NULL;
}

/* ---- commit ---- */

static bool makes(const struct files_todo *todo)
{
	return todo->step == STEP_MKDIR || todo->step == STEP_FILE_TO_DIR || todo->step == STEP_DIRMODE;
}

static bool removes(const struct files_todo *todo)
{
	return todo->step == STEP_UNLINK || todo->step == STEP_RMDIR || todo->step == STEP_DIR_TO_FILE;
}

static enum sr_status step(struct files_apply *a, size_t i, struct sr_err *err)
{
	struct sr_leaf leaf;
	struct sr_err why;
	enum sr_status s = load(a, i, &leaf, err);

	if (s == SR_OK && sr_files_step(a, i, &leaf, &why) != SR_OK)
		failed(a, i, &leaf, &why);
	return s;
}

static enum sr_status sync_directories(struct files_apply *a, struct sr_err *err)
{
	struct sr_reader r = sr_reader(sr_buf_view(&a->touched));
	enum sr_status s = SR_OK;

	while (sr_read_left(&r) && s == SR_OK) {
		int fd = sr_open_below(a->f->root, sr_read_string(&r), O_RDONLY | O_DIRECTORY);

		if (fd < 0 ? errno == EACCES && syncfs(a->f->root) : fsync(fd)) /* else it is gone, and its parent is on the list */
			s = sr_err_sys(err, SR_E_IO, "fsync in %s", a->f->st.path);
		if (fd >= 0)
			close(fd);
	}
	if (s == SR_OK && a->unsynced && syncfs(a->f->root))
		s = sr_err_sys(err, SR_E_IO, "fsync in %s", a->f->st.path);
	return s;
}

static enum sr_status sync_touched(struct files_apply *a, struct sr_err *err)
{
	enum sr_status s = sync_directories(a, err);

	if (s == SR_OK && a->touched.len && fsync(a->f->stage))
		s = sr_err_sys(err, SR_E_IO, "fsync in %s", a->f->st.path);
	return s;
}

/* The content and mode of what is at `path`.  What cannot be opened, or is no file, is synced with all else. */
static enum sr_status sync_one(struct files_apply *a, struct sr_bytes path, struct sr_err *err)
{
	int fd = sr_open_below(a->f->root, path, O_RDONLY | O_NONBLOCK);
	enum sr_status s = SR_OK;

	if (fd < 0)
		a->unsynced |= errno != ENOENT && errno != ENOTDIR;
	else if (!fsync(fd))
		;
	else if (errno == EINVAL)
		a->unsynced = true;
	else
		s = sr_err_sys(err, SR_E_IO, "fsync in %s", a->f->st.path);
	if (fd >= 0)
		close(fd);
	return s;
}

enum sr_status sr_files_sync(struct sr_files *f, struct sr_leaves *leaves, struct sr_err *err)
{
	struct files_apply a = {.f = f};
	enum sr_status s = SR_OK;

	for (size_t i = 0; i < sr_leaves_count(leaves) && s == SR_OK; i++) {
		struct sr_leaf leaf;

		s = sr_leaves_at(leaves, i, &leaf, err);
		if (s == SR_OK)
			s = sync_one(&a, leaf.path, err);
		if (s != SR_OK)
			break;
		sr_files_touch(&a, sr_files_parent(leaf.path));
	}
	if (s == SR_OK)
		s = sync_directories(&a, err);
	sr_buf_free(&a.touched);
	sr_signatures_free(&a.touched_set);
	return s;
}

/* New directories are durable before anything is in them: at a power cut it would be gone with the directory, and from staging, and be taken for deleted. */
static enum sr_status make_directories(struct files_apply *a, struct sr_err *err)
{
	enum sr_status s = SR_OK;
	size_t made = 0;

	for (size_t i = 0; i < a->n && s == SR_OK; i++)
		if (makes(&a->todo[i])) {
			made += a->todo[i].step != STEP_DIRMODE;
			s = step(a, i, err);
		}
	if (s == SR_OK && made > SR_FILES_FLUSH_SINGLY && syncfs(a->f->root))
		return sr_err_sys(err, SR_E_IO, "syncfs %s", a->f->st.path);
	return s == SR_OK && made && made <= SR_FILES_FLUSH_SINGLY ? sync_touched(a, err) : s;
}

static enum sr_status all_steps(struct files_apply *a, struct sr_err *err)
{
	enum sr_status s = make_directories(a, err);

	for (size_t i = 0; i < a->n && s == SR_OK; i++)
		if (a->todo[i].step > STEP_THERE && !makes(&a->todo[i]) && !removes(&a->todo[i]))
			s = step(a, i, err);
	for (size_t i = a->n; i-- > 0 && s == SR_OK;)
		if (removes(&a->todo[i]))
			s = step(a, i, err);
	sr_files_forget_parent(a);
	return s;
}

/* Directories that even their owner may not write to or search: only now, for things were made and deleted below them. */
static enum sr_status exact_modes(struct files_apply *a, struct sr_err *err)
{
	enum sr_status s = SR_OK;

	for (size_t i = a->n; i-- > 0 && s == SR_OK;) {
		struct sr_leaf leaf;
		int fd;

		if (!a->todo[i].done || a->todo[i].step == STEP_THERE)
			continue;
		s = load(a, i, &leaf, err);
		if (s != SR_OK || leaf.to.kind != SR_KIND_DIR || (leaf.to.mode & 0700) == 0700)
			continue;
		fd = sr_open_below(a->f->root, leaf.path, O_RDONLY | O_DIRECTORY);
		if (fd < 0 || fchmod(fd, leaf.to.mode & 0777) || fsync(fd)) {
			struct sr_err why;

			(void)sr_err_sys(&why, SR_E_CHANGED, "chmod");
			failed(a, i, &leaf, &why);
			a->todo[i].done = false;
		}
		if (fd >= 0)
			close(fd);
	}
	return s;
}

/* Everything that was done is durable: say so, and forget the old content unless a later recovery shall look again. */
static enum sr_status conclude(struct files_apply *a, struct sr_err *err)
{
	enum sr_status s = sync_touched(a, err);

	for (size_t i = 0; i < a->n && s == SR_OK; i++) {
		struct sr_leaf leaf;

		if (!a->todo[i].done)
			continue;
		s = load(a, i, &leaf, err);
		if (s != SR_OK)
			break;
		/* What a step touched has changed just now: its signature is 0. */
		if (leaf.to.kind == SR_KIND_FILE)
			sr_signatures_put(&a->f->seen, a->f->st.key, leaf.path, a->todo[i].signature);
		a->ops->applied(a->ops->ctx, i, &leaf, a->todo[i].signature);
	}
	return s;
}

/* Somebody removed the staging, or all of the store with it: with it went what tells how far this apply came, and what a restart would look for. */
static bool is_removed(const struct sr_files *f)
{
	struct stat st;

	return !fstat(f->stage, &st) && st.st_nlink == 0;
}

enum sr_status sr_files_commit(struct sr_store *st, struct sr_err *err)
{
	struct sr_files *f = sr_files(st);
	struct files_apply *a = f->apply;
	enum sr_status s;

	if (!a)
		return sr_err_set(err, SR_E_INTERNAL, "store %s: no apply is prepared", st->name);
	s = make_sign(a, err);
	if (s == SR_OK)
		s = all_steps(a, err);
	if (s == SR_OK)
		s = exact_modes(a, err);
	if (s == SR_OK)
		s = conclude(a, err);
	if (s == SR_OK && !a->unmarked)
		s = sr_files_write_marker(f, &a->marker, err);
	if (s == SR_OK && a->failed)
		s = sr_err_set(err, SR_E_CHANGED, "%zu of %zu not applied, first %s", a->failed, a->n, a->first.text);
	if (s == SR_E_IO && is_removed(f))
		s = sr_err_set(err, SR_E_CHANGED, "%s/" SR_OWN_DIR " was removed meanwhile", st->path);
	sr_files_rollback(st);
	return s;
}

/* ---- recover ---- */

/* A directory is made first and gets its mode last: it may have been between the two, or its mode is lost with the power.  One that is gone since was made
 * all the same. */
static enum sr_status finish_directory(struct files_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_err *err)
{
	char name[256];
	int parent = sr_files_open_parent(a->f->root, leaf->path, name);
	int fd = parent < 0 ? -1 : openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	enum sr_status s = SR_OK;

	if (fd < 0 ? errno != ENOENT && errno != ENOTDIR && errno != ELOOP : fchmod(fd, leaf->to.mode & 0777) || fsync(fd))
		s = sr_err_sys(err, SR_E_IO, "chmod");
	a->todo[i].done = s == SR_OK;
	if (fd >= 0)
		close(fd);
	if (parent >= 0)
		close(parent);
	return s;
}

/* The leaf's name in staging is free: the new content went into place - or nothing was staged, or all was over. */
static enum sr_status judge_by_path(struct files_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct stat st;
	char name[256];
	int parent;
	bool absent;

	if (leaf->to.kind == SR_KIND_FILE && leaf->stage.len) {
		a->todo[i].done = true;
		return SR_OK;
	}
	parent = sr_files_open_parent(a->f->root, leaf->path, name);
	absent = parent < 0 || fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW);
	if (parent >= 0)
		close(parent);
	if (absent && errno == ELOOP)
		return SR_OK; /* below a symbolic link nothing was applied */
	if (absent && errno != ENOENT && errno != ENOTDIR)
		return sr_err_sys(err, SR_E_IO, "stat");
	if (leaf->to.kind == SR_KIND_NONE)
		a->todo[i].done = absent;
	else if (leaf->to.kind == SR_KIND_DIR)
		return absent || !S_ISDIR(st.st_mode) ? SR_OK : finish_directory(a, i, leaf, err);
	else /* nothing but its mode was to change */
		a->todo[i].done = !absent && S_ISREG(st.st_mode) && (st.st_mode & 0777) == leaf->to.mode;
	return SR_OK;
}

/* In staging lies a directory: the one that a file replaced, one that was to replace a file, or the sign of a deletion. */
static enum sr_status judge_directory(struct files_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_err *err)
{
	char name[256];
	enum sr_status s = SR_OK;
	int parent;

	if (leaf->to.kind != SR_KIND_FILE) { /* do_unlink's sign for a file that was taken away, or a directory that did not get into place */
		a->todo[i].done = leaf->to.kind == SR_KIND_NONE;
		return SR_OK;
	}
	if (!unlinkat(a->f->stage, a->kept, AT_REMOVEDIR)) {
		a->todo[i].done = true;
		return SR_OK;
	}
	parent = sr_files_open_parent(a->f->root, leaf->path, name); /* the crash came before it was found to be in use */
	if (parent < 0 || sr_files_exchange(a, parent, name))
		s = sr_err_sys(err, SR_E_IO, "put a directory back");
	else
		sr_files_touch(a, sr_files_parent(leaf->path));
	if (parent >= 0)
		close(parent);
	return s;
}

static enum sr_status judge(struct files_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct stat st;
	enum sr_status s;

	if (fstatat(a->f->stage, a->kept, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? judge_by_path(a, i, leaf, err) : sr_err_sys(err, SR_E_IO, "stat in staging");
	if (S_ISDIR(st.st_mode))
		return judge_directory(a, i, leaf, err);
	if (leaf->to.kind == SR_KIND_FILE && leaf->stage.len && st.st_ino == leaf->inode)
		return SR_OK; /* still waiting: not applied */
	s = sr_files_tell_displaced(a, i, leaf, NULL, err);
	if (s == SR_OK && leaf->to.kind == SR_KIND_DIR)
		return finish_directory(a, i, leaf, err);
	a->todo[i].done = s == SR_OK;
	return s;
}

static bool any_done(const struct files_apply *a)
{
	for (size_t i = 0; i < a->n; i++)
		if (a->todo[i].done)
			return true;
	return false;
}

/* Nothing is removed from staging here, for while the intents stand it is the evidence; sr_store_sweep_stage follows when they go. */
enum sr_status sr_files_recover(struct sr_store *st, struct sr_leaves *leaves, const struct sr_marker *marker,
                                const struct sr_apply_ops *ops,
                                struct sr_err *err)
{
	struct files_apply *a;
	struct sr_marker now = {0};
	enum sr_status s = apply_new(&a, sr_files(st), leaves, marker, ops, err);

	if (s != SR_OK)
		return s;
	for (size_t i = 0; i < a->n && s == SR_OK && has_sign(a); i++) {
		struct sr_leaf leaf;

		s = load(a, i, &leaf, err);
		if (s == SR_OK)
			s = judge(a, i, &leaf, err);
		if (s == SR_OK && a->todo[i].done)
			sr_files_touch(a, sr_files_parent(leaf.path));
	}
	if (s == SR_OK)
		s = conclude(a, err);
	if (s == SR_OK && marker)
		s = sr_files_read_marker(a->f, &now, err);
	if (s == SR_OK && marker && any_done(a) && memcmp(&now.id, &marker->id, sizeof(now.id)) != 0) /* the crash came before it */
		s = sr_files_write_marker(a->f, marker, err);
	apply_free(a);
	return s;
}
