/* files_stage.c - a file's new content, written below .sameroot/stage/ and not yet visible. */
#include "lib/store/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define STAGE_LARGE (64 << 10) /* bytes of the directory itself */

static void hex(char *out, const uint8_t *at, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		*out++ = digits[at[i] >> 4];
		*out++ = digits[at[i] & 15];
	}
	*out = '\0';
}

void sr_files_stage_name(char name[SR_STAGE_NAME], const struct sr_hash *hash, bool again)
{
	uint8_t random[16] = {0};

	name[0] = 's';
	if (!hash || again)
		sr_random(random, sizeof(random));
	if (hash) {
		sr_hash_text(name + 1, hash);
		hex(name + SR_HASH_TEXT, random, 3);
	} else {
		hex(name + 1, random, sizeof(random));
	}
}

static enum sr_status only_files(const struct sr_store *st, struct sr_err *err)
{
	return st->kind == SR_KIND_FILES ? SR_OK : sr_err_set(err, SR_E_INTERNAL, "store %s: a database has no staging", st->name);
}

enum sr_status sr_files_stage_new(struct sr_stage **out, struct sr_store *st, const struct sr_hash *hash, struct sr_err *err)
{
	enum sr_status status = only_files(st, err);
	struct sr_stage *s;
	int dir;

	if (status == SR_OK)
		status = sr_files_hold_stage(sr_files(st), err);
	if (status != SR_OK)
		return status;
	dir = fcntl(sr_files(st)->stage, F_DUPFD_CLOEXEC, 0);
	if (dir < 0)
		return sr_err_sys(err, SR_E_IO, "stage a file in %s", st->path);
	s = sr_alloc(sizeof(*s));
	*s = (struct sr_stage){.f = sr_files(st), .dir = dir, .fd = -1, .parts = -1, .twin = -1, .hashed = true};
	if (hash)
		s->hash = *hash;
	s->hasher = sr_hasher_new(st->key);
	*out = s;
	return SR_OK;
}

/* Most files have the mode that it is made with; nobody else comes into staging. */
static enum sr_status make_file(struct sr_stage *s, struct sr_err *err)
{
	const struct sr_hash *hash = sr_hash_none(&s->hash) ? NULL : &s->hash;

	for (int tries = 0; s->fd < 0 && tries < 8; tries++) {
		sr_files_stage_name(s->name, hash, tries > 0);
		s->fd = openat(s->dir, s->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
		if (s->fd < 0 && errno != EEXIST)
			break;
	}
	return s->fd < 0 ? sr_err_sys(err, SR_E_IO, "stage a file in %s", s->f->st.path) : SR_OK;
}

enum sr_status sr_stage_expect(struct sr_stage **out, struct sr_store *st, const struct sr_hash *hash, struct sr_err *err)
{
	struct sr_stage *s = NULL;
	enum sr_status status = sr_files_stage_new(&s, st, hash, err);

	if (status == SR_OK)
		*out = s;
	return status;
}

enum sr_status sr_stage_open(struct sr_stage **out, struct sr_store *st, struct sr_err *err)
{
	return sr_stage_expect(out, st, NULL, err);
}

static enum sr_status write_all(struct sr_stage *s, const void *at, size_t n, struct sr_err *err)
{
	for (const char *from = at; n;) {
		ssize_t done = write(s->fd, from, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0) {
			s->bad = true; /* the room is needed by others */
			return sr_err_sys(err, SR_E_IO, "stage a file in %s", s->f->st.path);
		}
		from += done;
		n -= (size_t)done;
	}
	return SR_OK;
}

/* What was held until now. */
static enum sr_status put_down(struct sr_stage *s, struct sr_err *err)
{
	enum sr_status status = make_file(s, err);

	if (status == SR_OK)
		status = write_all(s, s->held.at, s->held.len, err);
	sr_buf_free(&s->held);
	return status;
}

enum sr_status sr_stage_write(struct sr_stage *s, const void *at, size_t n, struct sr_err *err)
{
	enum sr_status status = SR_OK;

	if (s->hashed)
		sr_hasher_add(s->hasher, at, n);
	s->bytes += n;
	if (s->fd < 0 && s->held.len + n <= SR_FILES_HELD) {
		sr_buf_add(&s->held, at, n);
		return SR_OK;
	}
	if (s->fd < 0)
		status = put_down(s, err);
	return status == SR_OK ? write_all(s, at, n, err) : status;
}

/* All of fd's content: written into s, or only hashed because it is s's own. */
static enum sr_status read_through(struct sr_stage *s, int fd, bool copy, struct sr_err *err)
{
	uint8_t *chunk = sr_alloc(SR_FILES_CHUNK); /* its own: stages may end in several threads */
	enum sr_status status = SR_OK;
	uint64_t at = 0;
	ssize_t got = 0;

	while (status == SR_OK) {
		got = pread(fd, chunk, SR_FILES_CHUNK, (off_t)at);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		at += (uint64_t)got;
		if (copy)
			status = sr_stage_write(s, chunk, (size_t)got, err);
		else
			sr_hasher_add(s->hasher, chunk, (size_t)got);
	}
	if (got < 0)
		status = sr_err_sys(err, SR_E_IO, "read back what is staged in %s", s->f->st.path);
	if (!copy)
		s->bytes = at;
	free(chunk);
	return status;
}

/* What was not seen being written is read. */
static enum sr_status complete(struct sr_stage *s, struct sr_err *err)
{
	if (s->twin >= 0)
		return read_through(s, s->twin, true, err);
	return s->hashed ? SR_OK : read_through(s, s->fd, false, err);
}

static enum sr_status check(struct sr_stage *s, const struct sr_version *to, struct sr_err *err)
{
	char is[SR_HASH_TEXT], should[SR_HASH_TEXT];
	struct sr_hash hash;

	sr_hasher_get(s->hasher, &hash);
	if (to->kind == SR_KIND_FILE && s->bytes == to->bytes && sr_hash_eq(&hash, &to->hash))
		return SR_OK;
	s->bad = true;
	sr_hash_text(is, &hash);
	sr_hash_text(should, &to->hash);
	return sr_err_set(err, SR_E_DATA, "what was staged is %" PRIu64 " bytes, hash %s, and should be %" PRIu64 " bytes, hash %s",
	                  s->bytes, is, to->bytes, should);
}

enum sr_status sr_stage_check(struct sr_stage *s, const struct sr_version *to, struct sr_err *err)
{
	enum sr_status status = complete(s, err);

	return status == SR_OK ? check(s, to, err) : status;
}

enum sr_status sr_stage_finish(struct sr_stage *s, const struct sr_version *to, int64_t mtime_ns, struct sr_leaf *leaf, struct sr_err *err)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = mtime_ns / 1000000000, .tv_nsec = mtime_ns % 1000000000}};
	struct stat st;
	enum sr_status status = sr_stage_check(s, to, err);

	if (times[1].tv_nsec < 0) { /* before 1970 */
		times[1].tv_nsec += 1000000000;
		times[1].tv_sec--;
	}
	if (status == SR_OK && s->fd < 0)
		status = put_down(s, err);
	if (status == SR_OK && fstat(s->fd, &st))
		status = sr_err_sys(err, SR_E_IO, "stage a file in %s", s->f->st.path);
	if (status == SR_OK)
		status = sr_files_own(s->f, s->fd, &st, err);
	if (status != SR_OK)
		return status;
	if (((st.st_mode & 07777) != (to->mode & 0777) && fchmod(s->fd, to->mode & 0777)) || futimens(s->fd, times))
		return sr_err_sys(err, SR_E_IO, "stage a file in %s", s->f->st.path);
	if (atomic_fetch_add(&s->f->unflushed, 1) < SR_FILES_FLUSH_SINGLY && fsync(s->fd))
		return sr_err_sys(err, SR_E_IO, "stage a file in %s", s->f->st.path);
	if (s->parts >= 0)
		status = sr_files_part_to_stage(s, st.st_ino, err);
	if (status != SR_OK)
		return status;
	s->finished = true;
	leaf->stage = sr_bytes_of(s->name);
	leaf->inode = st.st_ino;
	return SR_OK;
}

enum sr_status sr_stage_flush(struct sr_store *st, struct sr_err *err)
{
	struct sr_files *f = sr_files(st);
	size_t files = st->kind == SR_KIND_FILES ? atomic_exchange(&f->unflushed, 0) : 0;
	enum sr_status status = files ? sr_files_hold_stage(f, err) : SR_OK;

	if (status != SR_OK || !files)
		return status;
	/* The directory too, for an absent name is evidence after a crash. */
	if (files > SR_FILES_FLUSH_SINGLY ? syncfs(f->stage) : fsync(f->stage)) {
		atomic_fetch_add(&f->unflushed, files);
		return sr_err_sys(err, SR_E_IO, "make what is staged in %s durable", st->path);
	}
	return SR_OK;
}

void sr_stage_free(struct sr_stage *s)
{
	if (!s)
		return;
	if (s->fd >= 0 && !s->finished && (s->parts < 0 || s->bad || !s->bytes))
		unlinkat(s->parts < 0 ? s->dir : s->parts, s->name, 0);
	if (s->fd >= 0)
		close(s->fd);
	if (s->twin >= 0)
		close(s->twin);
	if (s->parts >= 0)
		close(s->parts);
	close(s->dir);
	sr_buf_free(&s->held);
	sr_hasher_free(s->hasher);
	free(s);
}

static enum sr_status copy_all(struct sr_stage *s, int fd, struct sr_err *err)
{
	struct sr_files *f = s->f;
	enum sr_status status = SR_OK;
	ssize_t got = 0;

	while (status == SR_OK) {
		got = read(fd, f->chunk, SR_FILES_CHUNK);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		status = sr_stage_write(s, f->chunk, (size_t)got, err);
	}
	return got < 0 ? sr_err_sys(err, SR_E_IO, "read") : status;
}

enum sr_status sr_stage_copy(struct sr_store *st, struct sr_bytes path, struct sr_leaf *leaf, struct sr_err *err)
{
	enum sr_status status = only_files(st, err);
	struct sr_content content = {.fd = -1};
	struct sr_files *f = sr_files(st);
	struct sr_view *view = NULL;
	struct sr_stage *s = NULL;

	if (status != SR_OK)
		return status;
	status = sr_view_open(&view, st, SR_VIEW_EXTRA, err);
	if (status == SR_OK)
		status = sr_view_read(view, path, &content, err);
	if (status == SR_OK && content.fd < 0)
		status = sr_err_set(err, SR_E_CHANGED, "a directory is where a file was to be copied from");
	if (status == SR_OK)
		status = sr_stage_open(&s, st, err);
	if (status == SR_OK)
		status = copy_all(s, content.fd, err);
	if (status == SR_OK) {
		status = sr_stage_finish(s, &leaf->to, leaf->mtime_ns, leaf, err);
		if (status == SR_E_DATA)
			status = err ? err->code = SR_E_CHANGED : SR_E_CHANGED; /* it is our own file that is other than it was */
	}
	if (status == SR_OK) { /* the name outlives the stage */
		memcpy(f->copied, s->name, sizeof(f->copied));
		leaf->stage = sr_bytes_of(f->copied);
	}
	sr_stage_free(s);
	if (content.fd >= 0)
		close(content.fd);
	sr_view_close(view);
	return status;
}

/* The name of something that an apply put there: a sign, what was displaced. */
static bool is_displaced(const char *name)
{
	return name[0] == 'd';
}

static bool any_apply(DIR *dir)
{
	bool any = false;
	struct dirent *e;

	while (!any && (e = readdir(dir)))
		any = is_displaced(e->d_name);
	rewinddir(dir);
	return any;
}

static void sweep(struct sr_files *f, DIR *dir, int parts, bool displaced)
{
	struct dirent *e;

	while ((e = readdir(dir))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || is_displaced(e->d_name) != displaced ||
		    !strncmp(e->d_name, SR_ASIDE, strlen(SR_ASIDE)))
			continue;
		if (parts >= 0 && sr_files_stage_to_part(f, dirfd(dir), parts, e->d_name))
			continue;
		if (unlinkat(dirfd(dir), e->d_name, 0) && errno == EISDIR)
			unlinkat(dirfd(dir), e->d_name, AT_REMOVEDIR);
	}
	rewinddir(dir);
}

/* A directory that held very many files stays as large on ext4, and each sweep would read all of it. */
static void shrink(struct sr_files *f, int stage)
{
	struct stat st;
	int own;

	if (fstat(stage, &st) || st.st_size < STAGE_LARGE)
		return;
	own = sr_open_below(f->root, sr_bytes_of(SR_OWN_DIR), O_RDONLY | O_DIRECTORY);
	if (own >= 0 && !unlinkat(own, "stage", AT_REMOVEDIR) && f->stage >= 0) { /* else it is not empty */
		close(f->stage);
		f->stage = -1; /* it is made anew when it is needed */
	}
	if (own >= 0)
		close(own);
}

/* Once an apply began, a name with a hash may stand for what was there before.  What says that one did goes last, so that a sweep that is
 * cut short is none that sees no apply. */
void sr_store_sweep_stage(struct sr_store *st)
{
	struct sr_files *f = sr_files(st);
	int fd, parts;
	DIR *dir;

	if (st->kind != SR_KIND_FILES || sr_files_same_root(f, NULL) != SR_OK)
		return;
	sr_store_expire_parts(st);
	fd = sr_open_below(f->root, sr_bytes(SR_OWN_DIR "\0stage", sizeof(SR_OWN_DIR "\0stage") - 1), O_RDONLY | O_DIRECTORY);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	parts = any_apply(dir) ? -1 : sr_files_parts(f, true);
	sweep(f, dir, parts, false);
	sweep(f, dir, -1, true);
	shrink(f, dirfd(dir));
	if (parts >= 0)
		close(parts);
	closedir(dir);
}
