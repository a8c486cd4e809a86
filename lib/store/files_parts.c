/* files_parts.c - content that was begun and not used yet: .sameroot/parts/HASH.
 *
 * A part is written under a lock (flock, so that it ends with the writer), by one who has made sure that the name still is the file that he
 * locked.  It leaves by being renamed into staging; a file with a second name is not ours to write to. */
#include "lib/store/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define KEPT_MS   (86400 * 1000LL)
#define STALE_MS  30000       /* a writer that was silent for so long is gone: nothing else tells of a peer that lost its power */
#define RESERVE   (16u << 20) /* bytes of the disk that no part takes */
#define NEW_NAME  "new"       /* of a part that is being taken over */

/* ---- the directory ---- */

int sr_files_parts(struct sr_files *f, bool make)
{
	struct sr_bytes path = sr_bytes(SR_OWN_DIR "\0parts", sizeof(SR_OWN_DIR "\0parts") - 1);
	int fd = sr_open_below(f->root, path, O_RDONLY | O_DIRECTORY), own;

	if (fd >= 0 || errno != ENOENT || !make)
		return fd;
	own = sr_open_below(f->root, sr_bytes_of(SR_OWN_DIR), O_RDONLY | O_DIRECTORY);
	if (own < 0 || (mkdirat(own, "parts", 0700) && errno != EEXIST)) {
		int sys = errno;

		if (own >= 0)
			close(own);
		errno = sys;
		return -1;
	}
	close(own);
	return sr_open_below(f->root, path, O_RDONLY | O_DIRECTORY);
}

static bool is_old(const struct stat *st, int64_t ms)
{
	return sr_files_mtime(st) / 1000000 < sr_now_ms() - ms;
}

/* A part that somebody has locked is in use, whatever its date: staging gives it that of its file. */
static void forget_part(int parts, const char *name)
{
	int fd = openat(parts, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0 || !flock(fd, LOCK_EX | LOCK_NB) || errno != EWOULDBLOCK)
		unlinkat(parts, name, 0);
	if (fd >= 0)
		close(fd);
}

void sr_store_expire_parts(struct sr_store *store)
{
	struct sr_files *f = sr_files(store);
	int fd = store->kind == SR_KIND_FILES && f->root >= 0 ? sr_files_parts(f, false) : -1;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	struct stat st;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(dir)))
		if (!fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) && !S_ISDIR(st.st_mode) && is_old(&st, KEPT_MS))
			forget_part(fd, e->d_name);
	closedir(dir);
}

static bool too_many(int parts)
{
	int fd = openat(parts, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	size_t n = 0;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	while (readdir(dir))
		n++;
	closedir(dir);
	return n > SR_PARTS_MOST + 2; /* "." and ".." */
}

/* ---- one part ---- */

static bool is_part(const struct stat *st)
{
	return S_ISREG(st->st_mode) && st->st_nlink == 1;
}

/* The writer has been silent for long: go on with a copy, so that he may wake up and write to what nobody looks at any more.  Without one,
 * begin anew. */
static void take_over(const struct sr_stage *s)
{
	int from = openat(s->parts, s->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	int to = openat(s->parts, NEW_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	ssize_t n = 0;

	while (from >= 0 && to >= 0 && (n = copy_file_range(from, NULL, to, NULL, SR_FILES_CHUNK, 0)) > 0)
		;
	if (from < 0 || to < 0 || n < 0 || renameat(s->parts, NEW_NAME, s->parts, s->name)) {
		unlinkat(s->parts, NEW_NAME, 0);
		unlinkat(s->parts, s->name, 0);
	}
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
}

static enum sr_status lock_part(struct sr_stage *s, int flags, struct stat *st, struct sr_err *err)
{
	struct stat there;

	for (int tries = 0; tries < 8; tries++) {
		enum sr_status status = SR_OK;

		s->fd = openat(s->parts, s->name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | flags, 0600);
		if (s->fd < 0)
			return sr_err_sys(err, errno == ENOENT ? SR_E_NOTFOUND : SR_E_IO, "part %s in %s", s->name, s->f->st.path);
		if (!fstat(s->fd, st) && !is_part(st))
			unlinkat(s->parts, s->name, 0);
		else if (!flock(s->fd, LOCK_EX | LOCK_NB)) {
			if (!fstat(s->fd, st) && !fstatat(s->parts, s->name, &there, AT_SYMLINK_NOFOLLOW) && st->st_ino == there.st_ino) {
				s->bytes = (uint64_t)st->st_size;
				return SR_OK;
			}
		} else if (errno != EWOULDBLOCK)
			status = sr_err_sys(err, SR_E_IO, "lock a part in %s", s->f->st.path);
		else if (!is_old(st, STALE_MS))
			status = sr_err_set(err, SR_E_BUSY, "this content is just being written by another transfer");
		else
			take_over(s);
		close(s->fd);
		s->fd = -1;
		if (status != SR_OK)
			return status;
	}
	return sr_err_set(err, SR_E_BUSY, "part %s does not stay where it is", s->name);
}

static enum sr_status stage_part(struct sr_stage **out, struct sr_store *st, const struct sr_version *to, bool make, struct sr_err *err)
{
	struct sr_stage *s = NULL;
	enum sr_status status = sr_files_stage_new(&s, st, &to->hash, err);

	if (status != SR_OK)
		return status;
	sr_hash_text(s->name, &to->hash);
	s->parts = sr_files_parts(s->f, make);
	if (s->parts < 0)
		status = sr_err_sys(err, errno == ENOENT ? SR_E_NOTFOUND : SR_E_IO, "%s/" SR_OWN_DIR "/parts", st->path);
	if (status == SR_OK)
		*out = s;
	else
		sr_stage_free(s);
	return status;
}

/* ---- going on ---- */

static enum sr_status check_room(const struct sr_stage *s, uint64_t bytes, struct sr_err *err)
{
	struct statvfs fs;

	if (fstatvfs(s->parts, &fs))
		return sr_err_sys(err, SR_E_IO, "%s", s->f->st.path);
	if (!bytes || bytes + RESERVE <= (uint64_t)fs.f_bavail * fs.f_frsize)
		return SR_OK;
	return sr_err_set(err, SR_E_FULL, "%s: no space for %llu more bytes: %s", s->f->st.path, (unsigned long long)bytes, strerror(ENOSPC));
}

enum sr_status sr_stage_resume(struct sr_stage **out, struct sr_store *st, const struct sr_version *to, uint64_t *have, struct sr_err *err)
{
	struct sr_stage *s = NULL;
	struct stat is;
	enum sr_status status = stage_part(&s, st, to, true, err);

	if (status != SR_OK)
		return status;
	if (st->ours && faccessat(s->parts, s->name, F_OK, AT_SYMLINK_NOFOLLOW) && too_many(s->parts))
		status = sr_err_set(err, SR_E_LIMIT, "%s: more than %d files are being sent or wait to be used", st->path, SR_PARTS_MOST);
	if (status == SR_OK)
		status = lock_part(s, O_CREAT, &is, err);
	if (status == SR_OK && s->bytes > to->bytes) {
		if (ftruncate(s->fd, 0))
			status = sr_err_sys(err, SR_E_IO, "truncate a part in %s", st->path);
		s->bytes = 0;
	}
	if (status == SR_OK)
		status = check_room(s, to->bytes - s->bytes, err);
	if (status == SR_OK && lseek(s->fd, (off_t)s->bytes, SEEK_SET) < 0)
		status = sr_err_sys(err, SR_E_IO, "seek");
	if (status != SR_OK) {
		sr_stage_free(s);
		return status;
	}
	*have = s->bytes;
	s->hashed = !s->bytes;
	*out = s;
	return SR_OK;
}

enum sr_status sr_stage_restart(struct sr_stage *s, struct sr_err *err)
{
	if (ftruncate(s->fd, 0) || lseek(s->fd, 0, SEEK_SET) < 0)
		return sr_err_sys(err, SR_E_IO, "truncate a part in %s", s->f->st.path);
	sr_hasher_reset(s->hasher);
	s->bytes = 0;
	s->hashed = true;
	return SR_OK;
}

uint64_t sr_stage_part(struct sr_store *st, const struct sr_hash *hash)
{
	struct sr_files *f = sr_files(st);
	char name[SR_HASH_TEXT];
	struct stat is = {0};
	int parts;

	if (st->kind != SR_KIND_FILES || f->root < 0 || (parts = sr_files_parts(f, false)) < 0)
		return 0;
	sr_hash_text(name, hash);
	if (fstatat(parts, name, &is, AT_SYMLINK_NOFOLLOW) || !is_part(&is))
		is.st_size = 0;
	close(parts);
	return (uint64_t)is.st_size;
}

/* ---- claiming ---- */

static bool is_twin(const struct stat *st, const struct sr_version *to)
{
	return S_ISREG(st->st_mode) && (uint64_t)st->st_size == to->bytes;
}

bool sr_stage_has(struct sr_store *st, const struct sr_version *to)
{
	char name[SR_STAGE_NAME];
	struct stat is;

	if (!to->bytes || st->kind != SR_KIND_FILES)
		return false;
	if (sr_stage_part(st, &to->hash) == to->bytes)
		return true;
	sr_files_stage_name(name, &to->hash, false);
	return sr_files(st)->stage >= 0 && !fstatat(sr_files(st)->stage, name, &is, AT_SYMLINK_NOFOLLOW) && is_twin(&is, to);
}

/* What is staged under its name, or lies at the path.  If it should be other content by now, the copy's hash will tell. */
static int open_twin(const struct sr_stage *s, const struct sr_version *to, struct sr_bytes from)
{
	char name[SR_STAGE_NAME];
	struct stat is;
	int fd = -1;

	sr_files_stage_name(name, &to->hash, false);
	if (strcmp(name, s->name) != 0)
		fd = openat(s->dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && from.len)
		fd = sr_open_below(s->f->root, from, O_RDONLY | O_NONBLOCK);
	if (fd < 0 || (!fstat(fd, &is) && is_twin(&is, to)))
		return fd;
	close(fd);
	return -1;
}

static enum sr_status claim_twin(struct sr_stage **out, struct sr_store *st, const struct sr_version *to, struct sr_bytes from, struct sr_err *err)
{
	enum sr_status status = sr_stage_expect(out, st, &to->hash, err);

	if (status != SR_OK)
		return status;
	(*out)->twin = open_twin(*out, to, from);
	if ((*out)->twin >= 0)
		return SR_OK;
	sr_stage_free(*out);
	*out = NULL;
	return sr_err_set(err, SR_E_NOTFOUND, "this content is not here");
}

static enum sr_status claim_part(struct sr_stage **out, struct sr_store *st, const struct sr_version *to, struct sr_err *err)
{
	struct sr_stage *s = NULL;
	struct stat is;
	enum sr_status status = stage_part(&s, st, to, false, err);

	if (status != SR_OK)
		return status;
	status = lock_part(s, 0, &is, err);
	if (status == SR_OK && s->bytes != to->bytes)
		status = sr_err_set(err, SR_E_NOTFOUND, "only a part of this content is here");
	s->hashed = false;
	if (status == SR_OK)
		*out = s;
	else
		sr_stage_free(s);
	return status;
}

enum sr_status sr_stage_claim(struct sr_stage **out, struct sr_store *st, const struct sr_version *to, struct sr_bytes from, struct sr_err *err)
{
	enum sr_status status = to->bytes ? claim_part(out, st, to, err) : sr_err_set(err, SR_E_NOTFOUND, "nothing");

	return status == SR_E_NOTFOUND && to->bytes ? claim_twin(out, st, to, from, err) : status;
}

/* ---- between the two directories ---- */

enum sr_status sr_files_part_to_stage(struct sr_stage *s, ino_t inode, struct sr_err *err)
{
	char part[SR_STAGE_NAME];
	struct stat st;
	int failed = -1;

	memcpy(part, s->name, sizeof(part));
	for (int tries = 0; failed && tries < 8; tries++) {
		sr_files_stage_name(s->name, &s->hash, tries > 0);
		failed = renameat2(s->parts, part, s->dir, s->name, RENAME_NOREPLACE);
		if (failed && errno != EEXIST)
			break;
	}
	if (failed) {
		memcpy(s->name, part, sizeof(part));
		return sr_err_sys(err, SR_E_IO, "stage a part in %s", s->f->st.path);
	}
	close(s->parts);
	s->parts = -1;
	if (fstatat(s->dir, s->name, &st, AT_SYMLINK_NOFOLLOW) || st.st_ino != inode)
		return sr_err_set(err, SR_E_BUSY, "a part was replaced while it was read");
	return SR_OK;
}

bool sr_files_stage_to_part(struct sr_files *f, int stage, int parts, const char *name)
{
	static const struct timespec now[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};
	char part[SR_HASH_TEXT];
	struct sr_hash hash;
	struct stat st;

	if (name[0] != 's' || strlen(name) != SR_STAGE_NAME - 1 || !sr_hash_parse(&hash, sr_bytes(name + 1, SR_HASH_TEXT - 1)))
		return false;
	if (fstatat(stage, name, &st, AT_SYMLINK_NOFOLLOW) || !is_part(&st) || !st.st_size || (f->st.ours && st.st_size < SR_PART_MIN))
		return false;
	sr_hash_text(part, &hash);
	return !fchmodat(stage, name, 0600, 0) && !utimensat(stage, name, now, 0) &&
	       !renameat2(stage, name, parts, part, RENAME_NOREPLACE);
}

void sr_stage_keep(struct sr_store *st, const struct sr_leaf *leaf)
{
	struct sr_files *f = sr_files(st);
	char name[SR_STAGE_NAME];
	struct stat is;
	int parts;

	if (st->kind != SR_KIND_FILES || f->stage < 0 || !leaf->stage.len || leaf->stage.len >= sizeof(name))
		return;
	memcpy(name, leaf->stage.at, leaf->stage.len);
	name[leaf->stage.len] = '\0';
	if (fstatat(f->stage, name, &is, AT_SYMLINK_NOFOLLOW) || is.st_ino != leaf->inode || (parts = sr_files_parts(f, true)) < 0)
		return;
	sr_files_stage_to_part(f, f->stage, parts, name);
	close(parts);
}
