/* disk_calls.c - libc's calls that change files, under libc's own names: each asks disk.c whether it may, does the system call, and tells the model.
 * Beside them their 64-bit and fortified twins, and what glibc would do with calls of its own that nobody can stand in front of (mkstemp, remove). */
#undef _FORTIFY_SOURCE /* its inline functions have the names that are defined here */
#include "tests/sim/disk_step.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define REAL6(nr, a, b, c, d, e, f, ...) sr_disk_real(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define REAL(...) REAL6(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)
#define TWIN(of) __attribute__((alias(#of)))

/* --- telling -------------------------------------------------------------------------------------------------------- */

static void tell_new(const struct sr_disk_step *s, const struct sr_disk_at *at, enum sr_disk_kind kind, const char *target)
{
	struct stat st;

	if (!fstatat(at->dir, at->name, &st, AT_SYMLINK_NOFOLLOW))
		sr_disk_tell(s, &(struct sr_disk_op){.kind = kind, .a = at->id, .b = sr_disk_id_of(&st), .name = at->name, .mode = st.st_mode & 07777,
						     .len = target ? strlen(target) : 0, .data = target});
}

static void tell_walked(void *ctx, const struct sr_disk_op *op)
{
	sr_disk_tell(ctx, op);
	sr_disk_inside = true; /* the walk goes on */
}

/* It came from elsewhere, with all that is in it. */
static void tell_come(struct sr_disk_step *s, const struct sr_disk_at *at)
{
	sr_disk_inside = true;
	(void)!sr_disk_walk_entry(at->id, at->dir, at->name, tell_walked, s);
	sr_disk_inside = false;
}

static void tell_file(const struct sr_disk_step *s, enum sr_disk_kind kind, uint64_t off)
{
	sr_disk_tell(s, &(struct sr_disk_op){.kind = kind, .a = s->id, .off = off});
}

/* What the kernel wrote there. */
static void tell_range(const struct sr_disk_step *s, off_t off, size_t n)
{
	char *data = malloc(n ? n : 1), link[40];
	int fd;

	snprintf(link, sizeof link, "/proc/self/fd/%d", s->fd); /* it may be open for writing only */
	fd = (int)REAL(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC);
	if (data && fd >= 0 && pread(fd, data, n, off) == (ssize_t)n)
		sr_disk_tell(s, &(struct sr_disk_op){.kind = SR_DISK_OP_WRITE, .a = s->id, .off = (uint64_t)off, .len = n, .data = data});
	if (fd >= 0)
		REAL(SYS_close, fd);
	free(data);
}

static int64_t size_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? 0 : st.st_size;
}

/* --- opening -------------------------------------------------------------------------------------------------------- */

static bool any_stands_still(void)
{
	for (const struct sr_disk *d = sr_disks; d; d = d->next)
		if (d->stopped)
			return true;
	return false;
}

static int open_really(int dir, const char *path, int flags, mode_t mode, const struct open_how *how)
{
	return (int)(how ? REAL(SYS_openat2, dir, path, how, sizeof *how) : REAL(SYS_openat, dir, path, flags, mode));
}

static int open_reading(int dir, const char *path, int flags, mode_t mode, const struct open_how *how)
{
	struct sr_disk_step s;

	if (!any_stands_still() || !sr_disk_begin_at(&s, dir, path))
		return open_really(dir, path, flags, mode, how);
	return (int)sr_disk_end(&s, sr_disk_may(&s) ? open_really(dir, path, flags, mode, how) : -1);
}

static int open_any(int dir, const char *path, int flags, mode_t mode, const struct open_how *how)
{
	struct sr_disk_step s;
	struct stat st;
	bool there, shortens;
	int fd = -1, end;

	if (!(flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE || !sr_disk_begin_at(&s, dir, path))
		return open_reading(dir, path, flags, mode, how);
	there = !fstatat(s.at.dir, s.at.name, &st, AT_SYMLINK_NOFOLLOW);
	shortens = there && flags & O_TRUNC && st.st_size > 0 && !(flags & O_CREAT && flags & O_EXCL);
	if (there ? !shortens : !(flags & O_CREAT))
		return (int)sr_disk_end(&s, sr_disk_may(&s) ? open_really(dir, path, flags, mode, how) : -1);
	if (sr_disk_go(&s, "open", s.at.path, !there, there ? -st.st_size : 0) && !s.half)
		fd = open_really(dir, path, flags, mode, how);
	s.id = there ? sr_disk_id_of(&st) : 0;
	if (fd >= 0 && there)
		tell_file(&s, SR_DISK_OP_TRUNCATE, 0);
	else if (fd >= 0)
		tell_new(&s, &s.at, SR_DISK_OP_FILE, NULL);
	end = (int)sr_disk_end(&s, fd);
	if (end < 0 && fd >= 0)
		REAL(SYS_close, fd);
	return end;
}

#define MODE(flags, last)                                       \
	mode_t mode = 0;                                        \
	if ((flags) & (O_CREAT | __O_TMPFILE)) {                \
		va_list args;                                   \
		va_start(args, last);                           \
		mode = (mode_t)va_arg(args, unsigned);          \
		va_end(args);                                   \
	}

int open(const char *path, int flags, ...)
{
	MODE(flags, flags)
	return open_any(AT_FDCWD, path, flags, mode, NULL);
}
int open64(const char *path, int flags, ...) TWIN(open);

int openat(int dir, const char *path, int flags, ...)
{
	MODE(flags, flags)
	return open_any(dir, path, flags, mode, NULL);
}
int openat64(int dir, const char *path, int flags, ...) TWIN(openat);

int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dir, const char *path, int flags);
int __openat64_2(int dir, const char *path, int flags);

int __open_2(const char *path, int flags)
{
	return open_any(AT_FDCWD, path, flags, 0, NULL);
}
int __open64_2(const char *path, int flags) TWIN(__open_2);

int __openat_2(int dir, const char *path, int flags)
{
	return open_any(dir, path, flags, 0, NULL);
}
int __openat64_2(int dir, const char *path, int flags) TWIN(__openat_2);

int creat(const char *path, mode_t mode)
{
	return open_any(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode, NULL);
}
int creat64(const char *path, mode_t mode) TWIN(creat);

long syscall(long nr, ...)
{
	long a[6];
	va_list args;

	va_start(args, nr);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	if (nr == SYS_openat2 && a[2]) {
		const struct open_how *how = (const struct open_how *)a[2];

		return open_any((int)a[0], (const char *)a[1], (int)how->flags, (mode_t)how->mode, how);
	}
	return sr_disk_real(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* --- temporary names ------------------------------------------------------------------------------------------------ */

/* The X of a template, another one at each call. */
static bool fill_in(char *template, int suffix)
{
	static unsigned long count;
	size_t n = strlen(template);
	char digits[7];

	if (n < 6 + (size_t)suffix || strncmp(template + n - 6 - (size_t)suffix, "XXXXXX", 6) != 0) {
		errno = EINVAL;
		return false;
	}
	snprintf(digits, sizeof digits, "%06lx",
		 (__atomic_add_fetch(&count, 1, __ATOMIC_RELAXED) * 7919 + (unsigned long)getpid() * 104729) & 0xffffff);
	memcpy(template + n - 6 - (size_t)suffix, digits, 6);
	return true;
}

int mkostemps(char *template, int suffix, int flags)
{
	size_t x = strlen(template) - 6 - (size_t)suffix;
	int fd = -1;

	for (int tries = 0; tries < 1000 && fd < 0; tries++) {
		if (!fill_in(template, suffix))
			return -1;
		fd = open_any(AT_FDCWD, template, O_RDWR | O_CREAT | O_EXCL | flags, 0600, NULL);
		if (fd < 0 && errno != EEXIST)
			return -1;
		if (fd < 0)
			memcpy(template + x, "XXXXXX", 6);
	}
	return fd;
}

int mkostemp(char *template, int flags)
{
	return mkostemps(template, 0, flags);
}
int mkostemp64(char *template, int flags) TWIN(mkostemp);

int mkstemp(char *template)
{
	return mkostemps(template, 0, 0);
}
int mkstemp64(char *template) TWIN(mkstemp);

char *mkdtemp(char *template)
{
	size_t x = strlen(template) - 6;

	for (int tries = 0; tries < 1000 && fill_in(template, 0); tries++) {
		if (!mkdir(template, 0700))
			return template;
		if (errno != EEXIST)
			return NULL;
		memcpy(template + x, "XXXXXX", 6);
	}
	return NULL;
}

/* --- writing -------------------------------------------------------------------------------------------------------- */

static bool written_by_append(int fd)
{
	int flags = (int)REAL(SYS_fcntl, fd, F_GETFL);

	return flags >= 0 && flags & O_APPEND;
}

/* off < 0: where the descriptor stands. */
static ssize_t write_file(struct sr_disk_step *s, const char *call, const void *data, size_t n, off_t off)
{
	int64_t size = size_of(s->fd);
	off_t at = off;
	ssize_t w = -1;

	if (at < 0)
		at = written_by_append(s->fd) ? size : (off_t)REAL(SYS_lseek, s->fd, 0, SEEK_CUR);
	if (sr_disk_go(s, call, s->at.path, false, at + (int64_t)n > size ? at + (int64_t)n - size : 0)) {
		n = s->half ? n / 2 : n;
		w = off < 0 ? REAL(SYS_write, s->fd, data, n) : REAL(SYS_pwrite64, s->fd, data, n, off);
	}
	if (w > 0)
		sr_disk_tell(s, &(struct sr_disk_op){.kind = SR_DISK_OP_WRITE, .a = s->id, .off = (uint64_t)at, .len = (size_t)w, .data = data});
	return sr_disk_end(s, w);
}

ssize_t write(int fd, const void *data, size_t n)
{
	struct sr_disk_step s;

	if (sr_disk_sends(fd))
		return sr_disk_send(fd, data, n, -1);
	return sr_disk_begin_fd(&s, fd) ? write_file(&s, "write", data, n, -1) : REAL(SYS_write, fd, data, n);
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t off)
{
	struct sr_disk_step s;

	return sr_disk_begin_fd(&s, fd) ? write_file(&s, "pwrite", data, n, off) : REAL(SYS_pwrite64, fd, data, n, off);
}
ssize_t pwrite64(int fd, const void *data, size_t n, off_t off) TWIN(pwrite);

static ssize_t write_pieces(struct sr_disk_step *s, const char *call, const struct iovec *v, int count, off_t off)
{
	size_t n = 0, at = 0;
	char *all;
	ssize_t rc;

	for (int i = 0; i < count; i++)
		n += v[i].iov_len;
	all = malloc(n ? n : 1);
	for (int i = 0; i < count && all; i++) {
		memcpy(all + at, v[i].iov_base, v[i].iov_len);
		at += v[i].iov_len;
	}
	rc = write_file(s, call, all, at, off);
	free(all);
	return rc;
}

ssize_t writev(int fd, const struct iovec *v, int count)
{
	struct sr_disk_step s;

	if (sr_disk_sends(fd))
		return sr_disk_sendv(fd, v, count, NULL, -1);
	return sr_disk_begin_fd(&s, fd) ? write_pieces(&s, "writev", v, count, -1) : REAL(SYS_writev, fd, v, count);
}

ssize_t pwritev(int fd, const struct iovec *v, int count, off_t off)
{
	struct sr_disk_step s;

	return sr_disk_begin_fd(&s, fd) ? write_pieces(&s, "pwritev", v, count, off) : REAL(SYS_pwritev, fd, v, count, off);
}
ssize_t pwritev64(int fd, const struct iovec *v, int count, off_t off) TWIN(pwritev);

ssize_t copy_file_range(int in, off_t *in_off, int out, off_t *out_off, size_t n, unsigned flags)
{
	struct sr_disk_step s;
	off_t at;
	ssize_t done = -1;

	if (!sr_disk_begin_fd(&s, out))
		return REAL(SYS_copy_file_range, in, in_off, out, out_off, n, flags);
	at = out_off ? *out_off : (off_t)REAL(SYS_lseek, out, 0, SEEK_CUR);
	if (sr_disk_go(&s, "copy_file_range", s.at.path, false, (int64_t)n))
		done = REAL(SYS_copy_file_range, in, in_off, out, out_off, s.half ? n / 2 : n, flags);
	if (done > 0)
		tell_range(&s, at, (size_t)done);
	return sr_disk_end(&s, done);
}

int ioctl(int fd, unsigned long what, ...)
{
	struct sr_disk_step s;
	va_list args;
	void *arg;
	int rc = -1;

	va_start(args, what);
	arg = va_arg(args, void *);
	va_end(args);
	if (what != FICLONE || !sr_disk_begin_fd(&s, fd))
		return (int)REAL(SYS_ioctl, fd, what, arg);
	if (sr_disk_go(&s, "ioctl", s.at.path, false, 0) && !s.half)
		rc = (int)REAL(SYS_ioctl, fd, what, arg);
	if (!rc)
		tell_range(&s, 0, (size_t)size_of(fd));
	return (int)sr_disk_end(&s, rc);
}

int ftruncate(int fd, off_t size)
{
	struct sr_disk_step s;
	int rc = -1;

	if (!sr_disk_begin_fd(&s, fd))
		return (int)REAL(SYS_ftruncate, fd, size);
	if (sr_disk_go(&s, "ftruncate", s.at.path, false, size - size_of(fd)) && !s.half)
		rc = (int)REAL(SYS_ftruncate, fd, size);
	if (!rc)
		tell_file(&s, SR_DISK_OP_TRUNCATE, (uint64_t)size);
	return (int)sr_disk_end(&s, rc);
}
int ftruncate64(int fd, off_t size) TWIN(ftruncate);

int truncate(const char *path, off_t size)
{
	int fd = open_any(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0, NULL), rc = fd < 0 ? -1 : ftruncate(fd, size);

	if (fd >= 0)
		REAL(SYS_close, fd);
	return rc;
}
int truncate64(const char *path, off_t size) TWIN(truncate);

int fallocate(int fd, int mode, off_t off, off_t n)
{
	struct sr_disk_step s;
	int64_t before, after;
	int rc = -1;

	if (!sr_disk_begin_fd(&s, fd))
		return (int)REAL(SYS_fallocate, fd, mode, off, n);
	before = size_of(fd);
	if (sr_disk_go(&s, "fallocate", s.at.path, false, off + n > before ? off + n - before : 0) && !s.half)
		rc = (int)REAL(SYS_fallocate, fd, mode, off, n);
	after = size_of(fd);
	if (!rc && after != before)
		tell_file(&s, SR_DISK_OP_TRUNCATE, (uint64_t)after);
	return (int)sr_disk_end(&s, rc);
}
int fallocate64(int fd, int mode, off_t off, off_t n) TWIN(fallocate);

int posix_fallocate(int fd, off_t off, off_t n)
{
	return fallocate(fd, 0, off, n) ? errno : 0;
}
int posix_fallocate64(int fd, off_t off, off_t n) TWIN(posix_fallocate);

/* --- names ---------------------------------------------------------------------------------------------------------- */

int mkdirat(int dir, const char *path, mode_t mode)
{
	struct sr_disk_step s;
	int rc = -1;

	if (!sr_disk_begin_at(&s, dir, path))
		return (int)REAL(SYS_mkdirat, dir, path, mode);
	if (!faccessat(s.at.dir, s.at.name, F_OK, AT_SYMLINK_NOFOLLOW)) { /* it is there: no step */
		errno = sr_disk_may(&s) ? EEXIST : EIO;
		return (int)sr_disk_end(&s, -1);
	}
	if (sr_disk_go(&s, "mkdir", s.at.path, true, 0) && !s.half)
		rc = (int)REAL(SYS_mkdirat, dir, path, mode);
	if (!rc)
		tell_new(&s, &s.at, SR_DISK_OP_DIR, NULL);
	return (int)sr_disk_end(&s, rc);
}

int mkdir(const char *path, mode_t mode)
{
	return mkdirat(AT_FDCWD, path, mode);
}

int symlinkat(const char *target, int dir, const char *path)
{
	struct sr_disk_step s;
	int rc = -1;

	if (!sr_disk_begin_at(&s, dir, path))
		return (int)REAL(SYS_symlinkat, target, dir, path);
	if (sr_disk_go(&s, "symlink", s.at.path, true, 0) && !s.half)
		rc = (int)REAL(SYS_symlinkat, target, dir, path);
	if (!rc)
		tell_new(&s, &s.at, SR_DISK_OP_SYMLINK, target);
	return (int)sr_disk_end(&s, rc);
}

int symlink(const char *target, const char *path)
{
	return symlinkat(target, AT_FDCWD, path);
}

/* The model knows the file if it had a name here before. */
static void tell_linked(struct sr_disk_step *s, bool known)
{
	if (known)
		tell_new(s, &s->at, SR_DISK_OP_LINK, NULL);
	else
		tell_come(s, &s->at);
}

int linkat(int from, const char *old, int dir, const char *path, int flags)
{
	struct sr_disk_step s;
	struct stat st;
	int rc = -1;
	bool named = !fstatat(from, old, &st, (flags & AT_EMPTY_PATH) | (flags & AT_SYMLINK_FOLLOW ? 0 : AT_SYMLINK_NOFOLLOW)) && st.st_nlink > 0;

	if (!sr_disk_begin_at(&s, dir, path))
		return (int)REAL(SYS_linkat, from, old, dir, path, flags);
	if (sr_disk_go(&s, "link", s.at.path, true, 0) && !s.half)
		rc = (int)REAL(SYS_linkat, from, old, dir, path, flags);
	if (!rc)
		tell_linked(&s, named);
	return (int)sr_disk_end(&s, rc);
}

int link(const char *old, const char *path)
{
	return linkat(AT_FDCWD, old, AT_FDCWD, path, 0);
}

int unlinkat(int dir, const char *path, int flags)
{
	struct sr_disk_step s;
	struct stat st;
	int rc = -1;

	if (!sr_disk_begin_at(&s, dir, path))
		return (int)REAL(SYS_unlinkat, dir, path, flags);
	if (fstatat(s.at.dir, s.at.name, &st, AT_SYMLINK_NOFOLLOW) || !(flags & AT_REMOVEDIR) != !S_ISDIR(st.st_mode))
		return (int)sr_disk_end(&s, sr_disk_may(&s) ? REAL(SYS_unlinkat, dir, path, flags) : -1); /* it fails */
	if (sr_disk_go(&s, flags & AT_REMOVEDIR ? "rmdir" : "unlink", s.at.path, false, st.st_nlink == 1 && S_ISREG(st.st_mode) ? -st.st_size : 0) && !s.half)
		rc = (int)REAL(SYS_unlinkat, dir, path, flags);
	if (!rc)
		sr_disk_tell(&s, &(struct sr_disk_op){.kind = SR_DISK_OP_UNLINK, .a = s.at.id, .name = s.at.name});
	return (int)sr_disk_end(&s, rc);
}

int unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

int rmdir(const char *path)
{
	return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int remove(const char *path)
{
	int rc = unlinkat(AT_FDCWD, path, 0);

	return rc && (errno == EISDIR || errno == EPERM) ? rmdir(path) : rc;
}

static void tell_renamed(struct sr_disk_step *s, unsigned flags)
{
	if (s->at.dir >= 0 && s->to.dir >= 0) {
		sr_disk_tell(s, &(struct sr_disk_op){.kind = flags & RENAME_EXCHANGE ? SR_DISK_OP_EXCHANGE : SR_DISK_OP_RENAME, .a = s->at.id,
						     .name = s->at.name, .b = s->to.id, .name2 = s->to.name});
	} else if (s->to.dir >= 0) {
		tell_come(s, &s->to);
	} else {
		sr_disk_tell(s, &(struct sr_disk_op){.kind = SR_DISK_OP_UNLINK, .a = s->at.id, .name = s->at.name});
		if (flags & RENAME_EXCHANGE)
			tell_come(s, &s->at);
	}
}

int renameat2(int dir, const char *old, int dir2, const char *path, unsigned flags)
{
	struct sr_disk_step s;
	int rc = -1;

	if (!sr_disk_begin_two(&s, dir, old, dir2, path))
		return (int)REAL(SYS_renameat2, dir, old, dir2, path, flags);
	if (sr_disk_go(&s, "rename", s.to.dir >= 0 ? s.to.path : s.at.path, false, 0) && !s.half)
		rc = (int)REAL(SYS_renameat2, dir, old, dir2, path, flags);
	if (!rc)
		tell_renamed(&s, flags);
	return (int)sr_disk_end(&s, rc);
}

int renameat(int dir, const char *old, int dir2, const char *path)
{
	return renameat2(dir, old, dir2, path, 0);
}

int rename(const char *old, const char *path)
{
	return renameat2(AT_FDCWD, old, AT_FDCWD, path, 0);
}

/* --- modes and times ------------------------------------------------------------------------------------------------ */

static void tell_mode(const struct sr_disk_step *s, const struct stat *st)
{
	sr_disk_tell(s, &(struct sr_disk_op){.kind = SR_DISK_OP_MODE, .a = sr_disk_id_of(st), .mode = st->st_mode & 07777});
}

static void tell_time(const struct sr_disk_step *s, const struct stat *st, const struct timespec times[2])
{
	struct timespec t;

	if (times && times[1].tv_nsec == UTIME_OMIT)
		return;
	if (times && times[1].tv_nsec != UTIME_NOW)
		t = times[1];
	else
		clock_gettime(CLOCK_REALTIME, &t);
	sr_disk_tell(s, &(struct sr_disk_op){.kind = SR_DISK_OP_TIME, .a = sr_disk_id_of(st), .mode = st->st_mode & 07777,
					     .off = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec});
}

int fchmod(int fd, mode_t mode)
{
	struct sr_disk_step s;
	struct stat st;
	int rc = -1;

	if (!sr_disk_begin_fd(&s, fd))
		return (int)REAL(SYS_fchmod, fd, mode);
	if (sr_disk_go(&s, "chmod", s.at.path, false, 0) && !s.half)
		rc = (int)REAL(SYS_fchmod, fd, mode);
	if (!rc && !fstat(fd, &st))
		tell_mode(&s, &st);
	return (int)sr_disk_end(&s, rc);
}

int fchmodat(int dir, const char *path, mode_t mode, int flags)
{
	struct sr_disk_step s;
	struct stat st;
	int rc = -1;

	if (flags) { /* the system call has none; nobody here asks for any */
		errno = ENOTSUP;
		return -1;
	}
	if (!sr_disk_begin_at(&s, dir, path))
		return (int)REAL(SYS_fchmodat, dir, path, mode);
	if (sr_disk_go(&s, "chmod", s.at.path, false, 0) && !s.half)
		rc = (int)REAL(SYS_fchmodat, dir, path, mode);
	if (!rc && !fstatat(s.at.dir, s.at.name, &st, 0))
		tell_mode(&s, &st);
	return (int)sr_disk_end(&s, rc);
}

int chmod(const char *path, mode_t mode)
{
	return fchmodat(AT_FDCWD, path, mode, 0);
}

int futimens(int fd, const struct timespec times[2])
{
	struct sr_disk_step s;
	struct stat st;
	int rc = -1;

	if (!sr_disk_begin_fd(&s, fd))
		return (int)REAL(SYS_utimensat, fd, NULL, times, 0);
	if (sr_disk_go(&s, "utimens", s.at.path, false, 0) && !s.half)
		rc = (int)REAL(SYS_utimensat, fd, NULL, times, 0);
	if (!rc && !fstat(fd, &st))
		tell_time(&s, &st, times);
	return (int)sr_disk_end(&s, rc);
}

int utimensat(int dir, const char *path, const struct timespec times[2], int flags)
{
	struct sr_disk_step s;
	struct stat st;
	int rc = -1;

	if (!sr_disk_begin_at(&s, dir, path))
		return (int)REAL(SYS_utimensat, dir, path, times, flags);
	if (sr_disk_go(&s, "utimens", s.at.path, false, 0) && !s.half)
		rc = (int)REAL(SYS_utimensat, dir, path, times, flags);
	if (!rc && !fstatat(s.at.dir, s.at.name, &st, flags & AT_SYMLINK_NOFOLLOW))
		tell_time(&s, &st, times);
	return (int)sr_disk_end(&s, rc);
}

/* --- making durable: nothing is asked of the real disk, for that knows no power cut ----------------------------------- */

static int sync_any(int fd, const char *call, enum sr_disk_kind kind, long nr)
{
	struct sr_disk_step s;
	int rc = -1;

	if (!sr_disk_begin_fd(&s, fd))
		return (int)REAL(nr, fd);
	if (sr_disk_go(&s, call, s.at.path, false, 0) && !s.half)
		rc = 0;
	if (!rc)
		tell_file(&s, kind, 0);
	else if (!s.d->stopped && !s.half)
		tell_file(&s, SR_DISK_OP_BROKEN, 0);
	return (int)sr_disk_end(&s, rc);
}

int fsync(int fd)
{
	return sync_any(fd, "fsync", SR_DISK_OP_SYNC, SYS_fsync);
}

int fdatasync(int fd)
{
	return sync_any(fd, "fdatasync", SR_DISK_OP_DATASYNC, SYS_fdatasync);
}

int syncfs(int fd)
{
	return sync_any(fd, "syncfs", SR_DISK_OP_SYNCFS, SYS_syncfs);
}
