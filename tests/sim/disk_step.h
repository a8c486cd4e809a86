/* disk_step.h - one step of a machine: between disk.c, which decides about it, disk_calls.c, which does it, and disk_preload.c. */
#ifndef SR_TESTS_DISK_STEP_H
#define SR_TESTS_DISK_STEP_H

#include <limits.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "tests/sim/disk_model.h"

struct sr_disk {
	struct sr_disk *next;
	char *root; /* absolute, real */
	size_t root_len;
	uint64_t steps, stop, fail;
	enum sr_disk_when when;
	int error;
	bool stopped;
	int64_t room; /* -1: no limit */
	struct sr_disk_model *model;
	void (*watch)(void *ctx, uint64_t step, const char *call, const char *path);
	void *watch_ctx;
	sr_disk_feed *changes;
	void *changes_ctx;
	void (*after)(void *ctx);
	void *after_ctx;
	const struct sr_disk_hooks *hooks; /* or NULL */
};

/* What a preloaded disk does otherwise. */
struct sr_disk_hooks {
	void (*lock)(void);   /* against other processes */
	void (*unlock)(void);
	bool (*counts)(void); /* is it a step now, or only done? */
	sr_disk_feed *feed;   /* in place of the model */
	void (*die)(void);    /* does not return */
};

/* A name, in the directory `dir`, that is ours. */
struct sr_disk_at {
	int dir;     /* O_PATH; to be closed */
	uint64_t id; /* of dir */
	char name[NAME_MAX + 1];
	char path[PATH_MAX];
};

struct sr_disk_step {
	struct sr_disk *d;
	struct sr_disk_at at, to;
	int fd;
	uint64_t id; /* of fd */
	bool half;   /* of the bytes only, and then stop */
	bool stop;   /* once it is done */
};

extern struct sr_disk *sr_disks; /* all machines */
extern __thread bool sr_disk_inside; /* our own work: no step */

long sr_disk_real(long nr, long a, long b, long c, long d, long e, long f); /* the system call */
uint64_t sr_disk_id_of(const struct stat *st);

/* False: not ours.  True: the lock is held until sr_disk_end(). */
bool sr_disk_begin_at(struct sr_disk_step *s, int dir, const char *path);
bool sr_disk_begin_two(struct sr_disk_step *s, int dir, const char *path, int dir2, const char *path2); /* one of them at least is ours: at.dir, to.dir < 0: is not */
bool sr_disk_begin_fd(struct sr_disk_step *s, int fd);
void sr_disk_begin_send(struct sr_disk_step *s); /* of the first machine */
void sr_disk_unlock(struct sr_disk_step *s);     /* in place of sr_disk_end() */
/* May it be done?  false: errno says why not.  call: its name; grows: by so many bytes, negative: gives room back, -1 with `entry`: a name more */
bool sr_disk_go(struct sr_disk_step *s, const char *call, const char *path, bool entry, int64_t grows);
/* An open that changes nothing: it fails if the machine stands still. */
bool sr_disk_may(const struct sr_disk_step *s);
void sr_disk_tell(const struct sr_disk_step *s, const struct sr_disk_op *op);
/* rc of the call, or -1 if the process did not live to see it. */
long sr_disk_end(struct sr_disk_step *s, long rc);

/* disk_send.c: what a preloaded program sends by a stream socket is a step of its first machine. */
bool sr_disk_sends(int fd);
ssize_t sr_disk_send(int fd, const void *data, size_t n, int flags); /* flags < 0: write() */
ssize_t sr_disk_sendv(int fd, const struct iovec *v, int count, const struct msghdr *head, int flags);

#endif
