/* disk.c - see disk.h: machines, and what becomes of each step. */
#include "tests/sim/disk_step.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct sr_disk *sr_disks;
__thread bool sr_disk_inside;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

long sr_disk_real(long nr, long a, long b, long c, long d, long e, long f)
{
	static long (*real)(long, ...);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "syscall");
	return real(nr, a, b, c, d, e, f);
}

uint64_t sr_disk_id_of(const struct stat *st)
{
	return (uint64_t)st->st_ino + (uint64_t)st->st_dev * 0x9e3779b97f4a7c15u;
}

/* Where this thread found the file of a descriptor last: to ask the kernel for a path costs as much as a write.  Not of a preloaded disk, for other processes
 * change names, too. */
enum { FDS = 128 };
static __thread struct found {
	uint64_t id, names; /* as of `names_changed` */
	struct sr_disk *d;
	char path[160];
} found[FDS];
static _Atomic uint64_t names_changed = 1;

/* --- machines ------------------------------------------------------------------------------------------------------- */

static void feed_model(void *ctx, const struct sr_disk_op *op)
{
	sr_disk_model_feed(ctx, op);
}

struct sr_disk *sr_disk_open(const char *root)
{
	struct sr_disk *d = calloc(1, sizeof *d);
	int rc;

	if (!d || !(d->root = realpath(root, NULL))) {
		free(d);
		return NULL;
	}
	d->root_len = strlen(d->root);
	d->room = -1;
	d->model = sr_disk_model_new();
	sr_disk_inside = true;
	rc = sr_disk_walk_root(d->root, feed_model, d->model);
	sr_disk_inside = false;
	if (rc) {
		sr_disk_close(d);
		return NULL;
	}
	pthread_mutex_lock(&lock);
	d->next = sr_disks;
	sr_disks = d;
	pthread_mutex_unlock(&lock);
	return d;
}

void sr_disk_close(struct sr_disk *d)
{
	if (!d)
		return;
	pthread_mutex_lock(&lock);
	names_changed++;
	for (struct sr_disk **at = &sr_disks; *at; at = &(*at)->next)
		if (*at == d) {
			*at = d->next;
			break;
		}
	pthread_mutex_unlock(&lock);
	sr_disk_model_free(d->model);
	free(d->root);
	free(d);
}

uint64_t sr_disk_steps(const struct sr_disk *d)
{
	return d->steps;
}

void sr_disk_watch(struct sr_disk *d, void (*each)(void *ctx, uint64_t step, const char *call, const char *path), void *ctx)
{
	d->watch = each;
	d->watch_ctx = ctx;
}

void sr_disk_changes(struct sr_disk *d, void (*each)(void *ctx, const struct sr_disk_op *op), void *ctx)
{
	d->changes = each;
	d->changes_ctx = ctx;
}

void sr_disk_after(struct sr_disk *d, void (*each)(void *ctx), void *ctx)
{
	d->after = each;
	d->after_ctx = ctx;
}

void sr_disk_stop_at(struct sr_disk *d, uint64_t step, enum sr_disk_when when)
{
	d->stop = step;
	d->when = when;
}

void sr_disk_stop(struct sr_disk *d)
{
	pthread_mutex_lock(&lock);
	d->stopped = true;
	pthread_mutex_unlock(&lock);
}

bool sr_disk_stopped(const struct sr_disk *d)
{
	return d->stopped;
}

void sr_disk_start(struct sr_disk *d)
{
	pthread_mutex_lock(&lock);
	d->stopped = false;
	d->stop = 0;
	pthread_mutex_unlock(&lock);
}

int sr_disk_cut(struct sr_disk *d, uint64_t seed, enum sr_disk_how how)
{
	int rc;

	sr_disk_inside = true;
	sr_disk_model_cut(d->model, seed, how);
	rc = sr_disk_model_put(d->model);
	sr_disk_inside = false;
	sr_disk_start(d);
	return rc;
}

void sr_disk_room(struct sr_disk *d, int64_t bytes)
{
	d->room = bytes;
}

void sr_disk_fail_at(struct sr_disk *d, uint64_t step, int error)
{
	d->fail = step;
	d->error = error;
}

/* --- whose is it ---------------------------------------------------------------------------------------------------- */

static struct sr_disk *owner(const char *path)
{
	for (struct sr_disk *d = sr_disks; d; d = d->next)
		if (!strncmp(path, d->root, d->root_len) && (path[d->root_len] == '/' || !path[d->root_len]))
			return d;
	return NULL;
}

/* Its path now, as the kernel has it; false: it has none, or no more. */
static bool path_of(int fd, char path[PATH_MAX])
{
	static const char gone[] = " (deleted)";
	char link[40];
	ssize_t n;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = readlink(link, path, PATH_MAX - 1);
	if (n <= 0 || path[0] != '/')
		return false;
	path[n] = '\0';
	return (size_t)n < sizeof gone || strcmp(path + n - (sizeof gone - 1), gone) != 0;
}

/* Whose it is, and its path; NULL: nobody's. */
static struct sr_disk *owner_of(int fd, const struct stat *st, char path[PATH_MAX])
{
	struct found *f = fd >= 0 && fd < FDS ? &found[fd] : NULL;
	struct sr_disk *d;

	if (!st->st_nlink)
		return NULL;
	if (f && f->names == names_changed && f->id == sr_disk_id_of(st)) {
		strcpy(path, f->path);
		return f->d;
	}
	if (!path_of(fd, path))
		return NULL;
	d = owner(path);
	if (f && d && !d->hooks && strlen(path) < sizeof f->path) {
		f->names = names_changed;
		f->id = sr_disk_id_of(st);
		f->d = d;
		strcpy(f->path, path);
	}
	return d;
}

static void take_lock(const struct sr_disk *d)
{
	pthread_mutex_lock(&lock);
	if (d->hooks)
		d->hooks->lock();
}

static void give_lock(const struct sr_disk *d)
{
	if (d->hooks)
		d->hooks->unlock();
	pthread_mutex_unlock(&lock);
}

/* The directory that `path` is a name in. */
static struct sr_disk *resolve(struct sr_disk_at *at, int dir, const char *path)
{
	char parent[PATH_MAX];
	size_t n = strlen(path);
	struct sr_disk *d = NULL;
	const char *name;
	struct stat st;

	at->dir = -1;
	while (n > 1 && path[n - 1] == '/')
		n--;
	if (!n || n >= sizeof parent)
		return NULL;
	memcpy(parent, path, n);
	parent[n] = '\0';
	name = strrchr(parent, '/');
	name = name ? name + 1 : parent;
	if (strlen(name) >= sizeof at->name)
		return NULL;
	strcpy(at->name, name);
	parent[name - parent] = '\0';
	at->dir = (int)sr_disk_real(SYS_openat, dir, (long)(*parent ? parent : "."), O_PATH | O_DIRECTORY | O_CLOEXEC, 0, 0, 0);
	if (at->dir >= 0 && path_of(at->dir, at->path) && !fstat(at->dir, &st) && strlen(at->path) + strlen(at->name) + 2 < sizeof at->path) {
		strcat(strcat(at->path, "/"), at->name);
		at->id = sr_disk_id_of(&st);
		d = owner(at->path);
	}
	if (!d && at->dir >= 0) {
		sr_disk_real(SYS_close, at->dir, 0, 0, 0, 0, 0);
		at->dir = -1;
	}
	return d;
}

static void clear(struct sr_disk_step *s)
{
	s->d = NULL;
	s->at.dir = s->to.dir = s->fd = -1;
	s->half = s->stop = false;
	s->id = 0;
}

bool sr_disk_begin_at(struct sr_disk_step *s, int dir, const char *path)
{
	int saved = errno;

	clear(s);
	if (!sr_disks || sr_disk_inside)
		return false;
	s->d = resolve(&s->at, dir, path);
	if (s->d)
		take_lock(s->d);
	errno = saved;
	return s->d != NULL;
}

bool sr_disk_begin_two(struct sr_disk_step *s, int dir, const char *path, int dir2, const char *path2)
{
	struct sr_disk *to;
	int saved = errno;

	clear(s);
	if (!sr_disks || sr_disk_inside)
		return false;
	s->d = resolve(&s->at, dir, path);
	to = resolve(&s->to, dir2, path2);
	if (!s->d)
		s->d = to;
	if (s->d) {
		take_lock(s->d);
		names_changed++;
	}
	errno = saved;
	return s->d != NULL;
}

bool sr_disk_begin_fd(struct sr_disk_step *s, int fd)
{
	int saved = errno;
	struct stat st;

	clear(s);
	if (!sr_disks || sr_disk_inside)
		return false;
	if (!fstat(fd, &st) && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
		s->d = owner_of(fd, &st, s->at.path);
	if (s->d) {
		s->fd = fd;
		s->id = sr_disk_id_of(&st);
	}
	if (s->d)
		take_lock(s->d);
	errno = saved;
	return s->d != NULL;
}

void sr_disk_begin_send(struct sr_disk_step *s)
{
	clear(s);
	s->d = sr_disks;
	take_lock(s->d);
}

/* --- what becomes of it --------------------------------------------------------------------------------------------- */

static bool refuse(int error)
{
	errno = error;
	return false;
}

bool sr_disk_may(const struct sr_disk_step *s)
{
	return !s->d->stopped || refuse(EIO);
}

void sr_disk_tell(const struct sr_disk_step *s, const struct sr_disk_op *op)
{
	int saved = errno;

	sr_disk_inside = true;
	if (s->d->hooks)
		s->d->hooks->feed(NULL, op);
	else
		sr_disk_model_feed(s->d->model, op);
	if (s->d->changes)
		s->d->changes(s->d->changes_ctx, op);
	sr_disk_inside = false;
	errno = saved;
}

static bool stop_here(struct sr_disk_step *s, const char *call, const char *path)
{
	sr_disk_tell(s, &(struct sr_disk_op){.kind = SR_DISK_OP_STEP, .off = s->d->steps, .mode = 1, .name = call, .name2 = path});
	s->d->stopped = true;
	if (s->d->hooks)
		s->d->hooks->die();
	return refuse(EIO);
}

static bool has_room(struct sr_disk *d, bool entry, int64_t grows)
{
	if (d->room < 0)
		return true;
	if ((entry && d->room == 0) || grows > d->room)
		return refuse(ENOSPC);
	d->room -= grows;
	return true;
}

bool sr_disk_go(struct sr_disk_step *s, const char *call, const char *path, bool entry, int64_t grows)
{
	struct sr_disk *d = s->d;
	bool here;

	if (d->stopped)
		return refuse(EIO);
	if (!d->hooks || d->hooks->counts()) {
		d->steps++;
		if (d->watch)
			d->watch(d->watch_ctx, d->steps, call, path);
		here = d->steps == d->stop;
		s->half = here && d->when == SR_DISK_HALF;
		s->stop = here && d->when == SR_DISK_AFTER;
		if (here && d->when == SR_DISK_BEFORE)
			return stop_here(s, call, path);
		if (d->hooks)
			sr_disk_tell(s, &(struct sr_disk_op){.kind = SR_DISK_OP_STEP, .off = d->steps, .name = call, .name2 = path});
		if (d->steps == d->fail)
			return refuse(d->error);
	}
	return has_room(d, entry, grows);
}

void sr_disk_unlock(struct sr_disk_step *s)
{
	give_lock(s->d);
}

static void close_at(struct sr_disk_at *at)
{
	if (at->dir >= 0)
		sr_disk_real(SYS_close, at->dir, 0, 0, 0, 0, 0);
	at->dir = -1;
}

long sr_disk_end(struct sr_disk_step *s, long rc)
{
	int saved = errno;

	close_at(&s->at);
	close_at(&s->to);
	if (s->stop || s->half) {
		rc = -1;
		stop_here(s, "", "");
		saved = EIO;
	}
	give_lock(s->d);
	if (s->d->after)
		s->d->after(s->d->after_ctx);
	errno = saved;
	return rc;
}
