/* disk.h - the disk of a test: it counts what a process does to it, stops the process at any such step, forgets at a power cut what nobody made durable, fills
 * up and fails.
 *
 * It stands between libc and the program: disk_calls.c defines open, write, rename, fsync, ... under libc's own names.  The files are real ones (best on
 * /dev/shm); only what is below a machine's root is looked at, all else passes through.  One source, two uses:
 *
 *   in one process      link disk.o, disk_calls.o, disk_model.o and disk_put.o into the executable, with -rdynamic: its symbols win over libc's also for
 *                       libsqlite3, libarchive and the others.  This header is for that use.
 *   another process     build/tests/disk.so is preloaded (LD_PRELOAD) into a program that knows nothing of it, and build/tests/powercut does to the
 *                       directories what the loss of power would do, after all programs have ended.  disk_preload.c has the environment variables.
 *
 * A STEP is a call that changes what is below the root, or the attempt: open() that creates or truncates, write, pwrite, writev, pwritev, copy_file_range,
 * FICLONE, ftruncate, fallocate, rename*, link*, symlink*, unlink*, rmdir, mkdir*, chmod*, utimensat and kin, fsync, fdatasync, syncfs; preloaded, also what
 * is sent by a stream socket.  No steps: reads, locks, files without a name (O_TMPFILE, or unlinked), stores into a shared mapping (SQLite has one only over
 * its -shm, which means nothing after a crash).  Steps are numbered from 1, per machine.
 *
 * WHAT IS DURABLE is as strict as POSIX is, not as kind as ext4:
 *   the content of a file        as of its last fsync or fdatasync
 *   its mode and mtime           as of its last fsync
 *   a name in a directory        as of the last fsync of that directory; a rename is one thing, and durable when the directory was synced where the
 *                              file went; an exchange, when both were
 *   everything                   as of syncfs
 * A file that was made in a directory whose own name is not durable is lost with it; one that was moved there is where it was.  An fsync that failed makes nothing durable, and what was written before is not made
 * durable by a later one either, as with Linux.  At a power cut every other write, truncation and change of names survives or not, by the seed and `how`: a
 * write in sectors of 512 bytes each of which is there or not; a change of names whole or not at all, and only on top of what it was made on.
 *
 * THREADS: every call may come from any thread; steps are serialised.  The sr_disk_*() functions are for the thread that runs the simulation, while no other
 * is in the midst of a call on that machine.
 *
 * AFTER A STOP (a crash, kill -9) every further call on that machine that is a step or an open() fails with EIO and changes nothing, so that its code
 * unwinds.  The simulator lets it unwind (closing its databases, its descriptors; what they would do to the disk fails), drops it, and only then calls
 * sr_disk_start(), or sr_disk_cut().  A descriptor that is kept over that works again: keep none.
 */
#ifndef SR_TESTS_DISK_H
#define SR_TESTS_DISK_H

#include <stdbool.h>
#include <stdint.h>

struct sr_disk; /* a machine's disk; opaque */

enum sr_disk_when {
	SR_DISK_BEFORE, /* the step does not happen */
	SR_DISK_HALF,   /* half of the bytes of a write; other steps: before */
	SR_DISK_AFTER,  /* it happens, and its caller never learns of it */
};

/* What survives of that which is not durable. */
enum sr_disk_how {
	SR_DISK_NOTHING, /* the disk is exactly what was made durable */
	SR_DISK_ALL,     /* all of it: a kill, but for -shm */
	SR_DISK_NAMES,   /* changes of names, and no data: the empty file behind a rename */
	SR_DISK_DATA,    /* data, and no changes of names */
	SR_DISK_PREFIX,  /* names up to a random moment; data at random: a journalling file system */
	SR_DISK_RANDOM,  /* each by itself */
	SR_DISK_ANY,     /* one of the above, by the seed */
};

/* The directory `root` becomes a machine's disk; what is there now is durable.  It has to exist, to lie in no other machine's root, and to be no symbolic
 * link.  NULL and errno. */
struct sr_disk *sr_disk_open(const char *root);
/* It is an ordinary directory again, and stays as it is. */
void sr_disk_close(struct sr_disk *d); /* CONSUMES d; NULL is a no-op */

/* How many steps so far. */
uint64_t sr_disk_steps(const struct sr_disk *d);
/* Called at each step, before it happens: "pwrite" and the path, absolute.  In the calling thread, under the lock: it must make no call on a disk. */
void sr_disk_watch(struct sr_disk *d, void (*each)(void *ctx, uint64_t step, const char *call, const char *path), void *ctx);
/* Called with each change that was made (disk_model.h), under the lock as above. */
struct sr_disk_op;
void sr_disk_changes(struct sr_disk *d, void (*each)(void *ctx, const struct sr_disk_op *op), void *ctx);
/* Called when a step is over, by the thread that made it, and without the lock: it may do anything. */
void sr_disk_after(struct sr_disk *d, void (*each)(void *ctx), void *ctx);

/* --- crashes ------------------------------------------------------------------------------------------------------------------------------------------- */

/* Stop at that step (the first is 1; sr_disk_steps() + 1 is the next); 0: do not. */
void sr_disk_stop_at(struct sr_disk *d, uint64_t step, enum sr_disk_when when);
/* Stop now. */
void sr_disk_stop(struct sr_disk *d);
bool sr_disk_stopped(const struct sr_disk *d);
/* It runs again, and finds what the kernel still had: nothing is lost by kill -9. */
void sr_disk_start(struct sr_disk *d);
/* The power failed and is back: the tree becomes what survived, which is durable now, and the machine runs again.  The same steps, seed and how: the same tree.
 * Inodes that lost nothing keep their numbers and times.  0, or -1 and errno: the tree is in disorder. */
int sr_disk_cut(struct sr_disk *d, uint64_t seed, enum sr_disk_how how);

/* --- backups, of a directory that is no machine's at the moment, or stands still -------------------------------------------------------------------------- */

/* What is in `from` - files and directories - goes into `to`, which is there; each is told of every file when it is copied.  -1 and errno. */
int sr_disk_copy(const char *from, const char *to, void (*each)(const char *from, const char *to));
/* All that is in it goes; it stays. */
int sr_disk_empty(const char *dir);

/* --- faults -------------------------------------------------------------------------------------------------------------------------------------------- */

/* The disk has room for so many bytes more, then growing, creating and linking fail with ENOSPC; removing and shortening give room back; writing over what is
 * there and renaming always works.  -1: no limit. */
void sr_disk_room(struct sr_disk *d, int64_t bytes);
/* That step fails once with that errno, and does nothing. */
void sr_disk_fail_at(struct sr_disk *d, uint64_t step, int error);

#endif
