/* backup_extract.c - the stores of a backup, put below a directory.  See backup.h.
 *
 * What is not proven yet lies in a directory of our own, 0700: nobody else can plant anything in it.  Every name is all the same resolved by
 * the kernel, never out of it and through no link. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/beneath.h"
#include "lib/bundle/backup_read.h"

#define WORK ".sameroot-extract"

struct extract {
	const char *directory;
	int dir, work;
	sr_backup_wanted_fn *wanted;
	void *wanted_ctx;

	bool taking;          /* the store in hand is wanted */
	int in;               /* the directory in which things are made just now; -1: none */
	struct sr_buf in_path; /* its path; empty: work itself */
	struct sr_buf open_dirs; /* directories that are not left yet, outermost first: be16 mode, be64 mtime, be32 length, path */
	int fd;               /* the file in hand; -1: not wanted */
	struct sr_buf stores; /* those that were taken, each with a NUL */
};

static enum sr_status fail(const struct extract *x, struct sr_bytes path, struct sr_err *err)
{
	struct sr_buf text = {0};
	int sys = errno;

	sr_percent(&text, path, "/");
	errno = sys;
	sr_err_sys(err, SR_E_IO, "%s/%.300s", x->directory, sr_buf_text(&text));
	sr_buf_free(&text);
	return err ? err->code : SR_E_IO;
}

/* --- directories ---------------------------------------------------------------------------------------------------- */

static int open_dir(const struct extract *x, struct sr_bytes path)
{
	struct sr_buf copy = {0};
	int fd;

	sr_buf_bytes(&copy, path);
	for (size_t i = 0; i < copy.len; i++)
		copy.at[i] = copy.at[i] == '/' ? 0 : copy.at[i];
	fd = sr_open_below(x->work, sr_buf_view(&copy), O_RDONLY | O_DIRECTORY);
	sr_buf_free(&copy);
	return fd;
}

static void split(struct sr_bytes path, struct sr_bytes *parent, char name[256])
{
	const uint8_t *slash = memrchr(path.at, '/', path.len);
	size_t from = slash ? (size_t)(slash - path.at) + 1 : 0, n = path.len - from < 255 ? path.len - from : 255;

	*parent = sr_bytes(path.at, slash ? from - 1 : 0);
	memcpy(name, path.at + from, n);
	name[n] = '\0';
}

/* x->in becomes the directory that holds `path`. */
static enum sr_status go_to(struct extract *x, struct sr_bytes path, char name[256], struct sr_err *err)
{
	struct sr_bytes parent;

	split(path, &parent, name);
	if (x->in >= 0 && sr_bytes_eq(parent, sr_buf_view(&x->in_path)))
		return SR_OK;
	if (x->in >= 0)
		close(x->in);
	x->in = open_dir(x, parent);
	sr_buf_clear(&x->in_path);
	sr_buf_bytes(&x->in_path, parent);
	return x->in < 0 ? fail(x, path, err) : SR_OK;
}

static struct timespec time_of(int64_t ns)
{
	int64_t s = ns / 1000000000, rest = ns % 1000000000;

	return (struct timespec){.tv_sec = rest < 0 ? s - 1 : s, .tv_nsec = rest < 0 ? rest + 1000000000 : rest};
}

static enum sr_status finish(const struct extract *x, int fd, struct sr_bytes path, uint16_t mode, int64_t mtime_ns, struct sr_err *err)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, time_of(mtime_ns)};

	return futimens(fd, times) || fchmod(fd, mode) ? fail(x, path, err) : SR_OK;
}

static void note_dir(struct extract *x, const struct sr_backup_entry *e)
{
	sr_buf_bytes(&x->open_dirs, sr_buf_view(&e->path));
	sr_buf_be16(&x->open_dirs, e->mode);
	sr_buf_be64(&x->open_dirs, (uint64_t)e->mtime_ns);
	sr_buf_be32(&x->open_dirs, (uint32_t)e->path.len);
}

/* Directories that `path` is not in are done: now they get their mode and time.  path empty: all of them. */
static enum sr_status leave_dirs(struct extract *x, struct sr_bytes path, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	while (!rc && x->open_dirs.len) {
		struct sr_reader in = sr_reader(sr_bytes(x->open_dirs.at + x->open_dirs.len - 14, 14));
		uint16_t mode = sr_read_be16(&in);
		int64_t mtime = (int64_t)sr_read_be64(&in);
		size_t n = sr_read_be32(&in);
		struct sr_bytes dir = sr_bytes(x->open_dirs.at + x->open_dirs.len - 14 - n, n);
		int fd;

		if (path.len > n && path.at[n] == '/' && !memcmp(path.at, dir.at, n))
			break;
		fd = open_dir(x, dir);
		rc = fd < 0 ? fail(x, dir, err) : finish(x, fd, dir, mode, mtime, err);
		if (fd >= 0)
			close(fd);
		x->open_dirs.len -= 14 + n;
	}
	return rc;
}

/* --- the sink ------------------------------------------------------------------------------------------------------- */

/* A new store, wanted or not. */
static void meet_store(struct extract *x, const struct sr_backup_entry *e)
{
	char *name = sr_text(sr_buf_view(&e->path));

	x->taking = !x->wanted || x->wanted(x->wanted_ctx, name, e->dir ? SR_KIND_FILES : SR_KIND_DATABASE);
	if (x->taking)
		sr_buf_add(&x->stores, name, strlen(name) + 1);
	free(name);
}

static bool is_store(const struct sr_backup_entry *e)
{
	return !memchr(e->path.at, '/', e->path.len);
}

static enum sr_status on_dir(void *ctx, const struct sr_backup_entry *e, struct sr_err *err)
{
	struct extract *x = ctx;
	struct sr_bytes path = sr_buf_view(&e->path);
	enum sr_status rc = leave_dirs(x, path, err);
	char name[256];

	if (is_store(e))
		meet_store(x, e);
	if (rc || !x->taking)
		return rc;
	rc = go_to(x, path, name, err);
	if (!rc && mkdirat(x->in, name, 0700))
		rc = fail(x, path, err);
	if (!rc)
		note_dir(x, e);
	return rc;
}

static bool has_store(const struct extract *x, struct sr_bytes name)
{
	for (size_t at = 0; at < x->stores.len; at += strlen((char *)x->stores.at + at) + 1)
		if (sr_bytes_eq(sr_bytes_of((char *)x->stores.at + at), name))
			return true;
	return false;
}

static enum sr_status on_begin(void *ctx, const struct sr_backup_entry *e, struct sr_err *err)
{
	struct extract *x = ctx;
	struct sr_bytes path = sr_buf_view(&e->path);
	enum sr_status rc = leave_dirs(x, path, err);
	char name[256];

	if (is_store(e) && !has_store(x, path))
		meet_store(x, e);
	x->fd = -1;
	if (rc || !x->taking)
		return rc;
	rc = go_to(x, path, name, err);
	if (rc)
		return rc;
	unlinkat(x->in, name, 0); /* what came before was void */
	x->fd = sr_open_beneath(x->in, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	return x->fd < 0 ? fail(x, path, err) : SR_OK;
}

static enum sr_status on_data(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	struct extract *x = ctx;

	while (x->fd >= 0 && n) {
		ssize_t done = write(x->fd, at, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return sr_err_sys(err, SR_E_IO, "%s: write", x->directory);
		at = (const char *)at + done;
		n -= (size_t)done;
	}
	return SR_OK;
}

static enum sr_status on_end(void *ctx, const struct sr_backup_entry *e, struct sr_err *err)
{
	struct extract *x = ctx;
	enum sr_status rc;

	if (x->fd < 0)
		return SR_OK;
	rc = finish(x, x->fd, sr_buf_view(&e->path), e->mode, e->mtime_ns, err);
	close(x->fd);
	x->fd = -1;
	return rc;
}

static enum sr_status on_drop(void *ctx, struct sr_bytes path, struct sr_err *err)
{
	struct extract *x = ctx;
	const uint8_t *slash = memchr(path.at, '/', path.len);
	struct sr_bytes store = sr_bytes(path.at, slash ? (size_t)(slash - path.at) : path.len);
	char name[256];
	enum sr_status rc = SR_OK;

	if (!has_store(x, store))
		return SR_OK;
	rc = go_to(x, path, name, err);
	if (!rc && unlinkat(x->in, name, 0) && errno != ENOENT)
		rc = fail(x, path, err);
	return rc;
}

/* --- all of it ------------------------------------------------------------------------------------------------------ */

static enum sr_status begin(struct extract *x, struct sr_err *err)
{
	x->dir = open(x->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (x->dir < 0)
		return sr_err_sys(err, errno == ENOENT ? SR_E_NOINPUT : SR_E_IO, "%s", x->directory);
	if (sr_remove_beneath(x->dir, WORK) || mkdirat(x->dir, WORK, 0700))
		return sr_err_sys(err, SR_E_IO, "%s/" WORK, x->directory);
	x->work = sr_open_beneath(x->dir, WORK, O_RDONLY | O_DIRECTORY, 0);
	return x->work < 0 ? sr_err_sys(err, SR_E_IO, "%s/" WORK, x->directory) : SR_OK;
}

/* Everything is proven: into place, and durable. */
static enum sr_status put_in_place(struct extract *x, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	if (syncfs(x->work))
		return sr_err_sys(err, SR_E_IO, "syncfs %s", x->directory);
	for (size_t at = 0; !rc && at < x->stores.len; at += strlen((char *)x->stores.at + at) + 1) {
		const char *name = (char *)x->stores.at + at;

		if (faccessat(x->work, name, F_OK, AT_SYMLINK_NOFOLLOW)) /* a database that was void */
			continue;
		if (renameat2(x->work, name, x->dir, name, RENAME_NOREPLACE))
			rc = sr_err_sys(err, errno == EEXIST ? SR_E_CONFLICT : SR_E_IO, "%s/%s", x->directory, name);
	}
	if (!rc && fsync(x->dir))
		rc = sr_err_sys(err, SR_E_IO, "fsync %s", x->directory);
	return rc;
}

/* All or nothing. */
static void take_back(struct extract *x)
{
	for (size_t at = 0; at < x->stores.len; at += strlen((char *)x->stores.at + at) + 1) {
		const char *name = (char *)x->stores.at + at;

		if (faccessat(x->work, name, F_OK, AT_SYMLINK_NOFOLLOW) && errno == ENOENT)
			sr_remove_beneath(x->dir, name);
	}
}

static enum sr_status check_free(const struct extract *x, const char *name, struct sr_err *err)
{
	if (!faccessat(x->dir, name, F_OK, AT_SYMLINK_NOFOLLOW))
		return sr_err_set(err, SR_E_CONFLICT, "%s/%s: it is there already", x->directory, name);
	return SR_OK;
}

static void close_all(struct extract *x)
{
	int *fds[] = {&x->fd, &x->in, &x->work};
	struct sr_buf *bufs[] = {&x->in_path, &x->open_dirs, &x->stores};

	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
		if (*fds[i] >= 0)
			close(*fds[i]);
	if (x->dir >= 0) {
		sr_remove_beneath(x->dir, WORK);
		close(x->dir);
	}
	for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
		sr_buf_free(bufs[i]);
}

enum sr_status sr_backup_extract(const struct sr_backup_source *source, const char *directory, sr_backup_wanted_fn *wanted, void *wanted_ctx,
				 struct sr_backup_info *info, struct sr_err *err)
{
	struct extract x = {
		.directory = directory, .dir = -1, .work = -1, .in = -1, .fd = -1, .wanted = wanted, .wanted_ctx = wanted_ctx};
	struct sr_backup_sink sink = {.ctx = &x, .dir = on_dir, .begin = on_begin, .data = on_data, .end = on_end, .drop = on_drop};
	struct sr_backup_info read = {0};
	enum sr_status rc = begin(&x, err);

	if (!rc)
		rc = sr_backup_read(source, &sink, &read, err);
	if (!rc)
		rc = leave_dirs(&x, sr_bytes(NULL, 0), err);
	for (size_t at = 0; !rc && at < x.stores.len; at += strlen((char *)x.stores.at + at) + 1)
		rc = check_free(&x, (char *)x.stores.at + at, err);
	if (!rc) {
		rc = put_in_place(&x, err);
		if (rc)
			take_back(&x);
	}
	if (rc)
		sr_backup_info_free(&read);
	else
		*info = read;
	close_all(&x);
	return rc;
}
