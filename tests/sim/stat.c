/* stat.c - what files say of themselves: inode numbers and times that depend on nothing but the history.
 *
 * The files are real ones, on a file system of their own whose numbers and clock are this machine's.  Here each inode has a number in the order in which it was
 * first seen, and the times that the calls which changed it had by the clock of its machine. */
#undef _FORTIFY_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/disk_internal.h"
#include "tests/sim/disk_step.h"
#include "tests/sim/sim.h"

#define REAL4(nr, a, b, c, d) sr_disk_real(nr, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define DEVICE makedev(7, 7)
enum { BUCKETS = 4096 };

struct inode {
	struct inode *next_real, *next_number; /* of one hash */
	uint64_t real, number;
	int64_t born, changed, written; /* ns */
	int64_t durable_changed, durable_written; /* as of the last fsync: what it says of itself when all since was lost */
};

static dev_t device; /* the real one; 0: not begun */
static struct inode *by_real[BUCKETS], *by_number[BUCKETS];
static uint64_t count;
static char empty[112]; /* a directory that is and stays empty */

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static struct inode *of_real(uint64_t real)
{
	struct inode *i;

	for (i = by_real[real % BUCKETS]; i; i = i->next_real)
		if (i->real == real)
			return i;
	i = calloc(1, sizeof *i);
	i->real = real;
	i->number = 1000 + ++count;
	i->born = i->changed = i->written = i->durable_changed = i->durable_written = now_ns();
	i->next_real = by_real[real % BUCKETS];
	by_real[real % BUCKETS] = i;
	i->next_number = by_number[i->number % BUCKETS];
	by_number[i->number % BUCKETS] = i;
	return i;
}

/* The disk's name for an inode has our number in it. */
static struct inode *of_id(uint64_t id)
{
	struct stat st = {.st_dev = DEVICE};
	uint64_t number = id - sr_disk_id_of(&st);

	for (struct inode *i = by_number[number % BUCKETS]; i; i = i->next_number)
		if (i->number == number)
			return i;
	return NULL;
}

static uint64_t id_of(const struct inode *i)
{
	struct stat st = {.st_dev = DEVICE, .st_ino = i->number};

	return sr_disk_id_of(&st);
}

void sim_stat_begin(const char *dir)
{
	struct stat st;

	if (REAL4(SYS_newfstatat, AT_FDCWD, dir, &st, 0))
		abort();
	device = st.st_dev;
	strcat(strcpy(empty, dir), "/none");
	(void)!mkdir(empty, 0700);
}

/* --- what a call changes ------------------------------------------------------------------------------------------------------ */

static void touch(uint64_t id, bool content)
{
	struct inode *i = of_id(id);

	if (!i)
		return;
	i->changed = now_ns();
	if (content)
		i->written = i->changed;
}

static void touch_named(const struct sr_disk *d, uint64_t dir, const char *name)
{
	const struct sr_disk_node *at = sr_disk_node_of(d->model, dir), *node = at ? sr_disk_names_find(&at->names, name) : NULL;

	if (node && node->known)
		touch(node->id, false);
}

static void keep_times(struct inode *i)
{
	i->durable_changed = i->changed;
	i->durable_written = i->written;
}

/* After the model was told. */
static void follow(void *ctx, const struct sr_disk_op *op)
{
	const struct sr_disk *d = ctx;
	struct inode *i;

	switch (op->kind) {
	case SR_DISK_OP_WRITE:
	case SR_DISK_OP_TRUNCATE:
		touch(op->a, true);
		break;
	case SR_DISK_OP_MODE:
		touch(op->a, false);
		break;
	case SR_DISK_OP_TIME:
		touch(op->a, false);
		i = of_id(op->a);
		if (i)
			i->written = (int64_t)op->off;
		break;
	case SR_DISK_OP_DIR:
	case SR_DISK_OP_FILE:
	case SR_DISK_OP_SYMLINK:
	case SR_DISK_OP_LINK:
		touch(op->a, true);
		touch(op->b, op->kind != SR_DISK_OP_LINK);
		break;
	case SR_DISK_OP_UNLINK:
		touch(op->a, true);
		break;
	case SR_DISK_OP_SYNC:
	case SR_DISK_OP_DATASYNC:
		i = of_id(op->a);
		if (i)
			keep_times(i);
		break;
	case SR_DISK_OP_SYNCFS:
		for (int k = 0; k < BUCKETS; k++)
			for (i = by_real[k]; i; i = i->next_real)
				if (sr_disk_model_knows(d->model, id_of(i)))
					keep_times(i);
		break;
	case SR_DISK_OP_EXCHANGE:
		touch_named(d, op->a, op->name);
		/* fall through */
	case SR_DISK_OP_RENAME:
		touch(op->a, true);
		touch(op->b, true);
		touch_named(d, op->b, op->name2);
		break;
	default:
		break;
	}
}

void sim_stat_follow(struct sr_disk *d)
{
	sr_disk_changes(d, follow, d);
}

void sim_stat_cut(struct sr_disk *d)
{
	for (struct sr_disk_node *n = d->model->first; n; n = n->next) {
		struct inode *i = n->known && n->first ? of_id(n->id) : NULL;

		if (!i)
			continue;
		i->changed = i->durable_changed;
		i->written = i->durable_written;
	}
}

void sim_stat_copy(const char *from, const char *to)
{
	struct stat a, b;
	struct inode *i;

	if (REAL4(SYS_newfstatat, AT_FDCWD, from, &a, 0) || REAL4(SYS_newfstatat, AT_FDCWD, to, &b, 0))
		return;
	i = of_real(b.st_ino);
	i->written = i->durable_written = of_real(a.st_ino)->written;
}

/* --- what a call tells -------------------------------------------------------------------------------------------------------- */

static struct timespec ns_to(int64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
}

static int tell(int rc, struct stat *st)
{
	int saved = errno;
	struct inode *i;

	if (rc || !device || st->st_dev != device)
		return rc;
	i = of_real(st->st_ino);
	st->st_dev = DEVICE;
	st->st_ino = i->number;
	st->st_ctim = ns_to(i->changed);
	st->st_mtim = ns_to(i->written);
	errno = saved;
	return 0;
}

int fstatat(int dir, const char *restrict path, struct stat *restrict st, int flags)
{
	return tell((int)REAL4(SYS_newfstatat, dir, path, st, flags), st);
}

int stat(const char *restrict path, struct stat *restrict st)
{
	return fstatat(AT_FDCWD, path, st, 0);
}

int lstat(const char *restrict path, struct stat *restrict st)
{
	return fstatat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}

int fstat(int fd, struct stat *st)
{
	return tell((int)REAL4(SYS_fstat, fd, st, 0, 0), st);
}

int fstatat64(int dir, const char *restrict path, struct stat64 *restrict st, int flags)
{
	return fstatat(dir, path, (struct stat *)st, flags);
}

int stat64(const char *restrict path, struct stat64 *restrict st)
{
	return stat(path, (struct stat *)st);
}

int lstat64(const char *restrict path, struct stat64 *restrict st)
{
	return lstat(path, (struct stat *)st);
}

int fstat64(int fd, struct stat64 *st)
{
	return fstat(fd, (struct stat *)st);
}

static struct statx_timestamp ns_to_statx(int64_t ns)
{
	return (struct statx_timestamp){.tv_sec = ns / 1000000000, .tv_nsec = (uint32_t)(ns % 1000000000)};
}

int statx(int dir, const char *restrict path, int flags, unsigned mask, struct statx *restrict sx)
{
	int rc = (int)sr_disk_real(SYS_statx, dir, (long)path, flags, mask, (long)sx, 0);
	struct inode *i;

	if (rc || !device || makedev(sx->stx_dev_major, sx->stx_dev_minor) != device)
		return rc;
	i = of_real(sx->stx_ino);
	sx->stx_dev_major = major(DEVICE);
	sx->stx_dev_minor = minor(DEVICE);
	sx->stx_ino = i->number;
	sx->stx_ctime = ns_to_statx(i->changed);
	sx->stx_mtime = ns_to_statx(i->written);
	sx->stx_btime = ns_to_statx(i->born);
	return 0;
}

/* Other processes have none of our files open. */
DIR *opendir(const char *path)
{
	int fd = open(device && !strcmp(path, "/proc") ? empty : path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir && fd >= 0)
		close(fd);
	return dir;
}
