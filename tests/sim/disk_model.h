/* disk_model.h - what of a directory tree is durable, kept from the calls that changed it; and what a power cut leaves of it.
 * Pure but for sr_disk_model_put(), which is in disk_put.c.  Not thread-safe.  Memory: the content of every file that was ever seen. */
#ifndef SR_TESTS_DISK_MODEL_H
#define SR_TESTS_DISK_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "tests/sim/disk.h"

enum sr_disk_kind {
	SR_DISK_OP_ROOT = 1, /* a = the directory, name = its path */
	SR_DISK_OP_DIR,      /* in a, the new directory `name` is b, with mode */
	SR_DISK_OP_FILE,     /* in a, the new file `name` is b, with mode */
	SR_DISK_OP_SYMLINK,  /* in a, the new link `name` is b, to data */
	SR_DISK_OP_LINK,     /* in a, `name` is b, which is known */
	SR_DISK_OP_UNLINK,   /* in a, `name` is no more */
	SR_DISK_OP_RENAME,   /* in a, `name` becomes name2 in b */
	SR_DISK_OP_EXCHANGE, /* they change places */
	SR_DISK_OP_WRITE,    /* into a, data at off */
	SR_DISK_OP_TRUNCATE, /* a has off bytes */
	SR_DISK_OP_MODE,     /* a has mode */
	SR_DISK_OP_TIME,     /* a has mtime off ns */
	SR_DISK_OP_SYNC,     /* a is durable */
	SR_DISK_OP_DATASYNC, /* the content of file a is durable */
	SR_DISK_OP_SYNCFS,   /* everything is */
	SR_DISK_OP_BROKEN,   /* an fsync of a failed: what is not durable by now will never be */
	SR_DISK_OP_STEP,     /* nothing; name = what call it was, name2 = its path: for the trace.  off = its number; mode = 1: the process was stopped there */
};

struct sr_disk_op {
	enum sr_disk_kind kind;
	uint64_t a, b;    /* files and directories, by device and inode */
	uint64_t off;
	uint32_t mode;
	size_t len;       /* of data */
	const void *data; /* BORROWED, as the names */
	const char *name, *name2; /* or NULL */
};

struct sr_disk_model;

struct sr_disk_model *sr_disk_model_new(void);
void sr_disk_model_free(struct sr_disk_model *m); /* CONSUMES m; NULL is a no-op */
/* The op was done.  COPIES.  What is of an unknown file or directory is ignored. */
void sr_disk_model_feed(struct sr_disk_model *m, const struct sr_disk_op *op);
/* Does the model know that file or directory? */
bool sr_disk_model_knows(const struct sr_disk_model *m, uint64_t id);
/* Power loss: what survives is durable from now on, the rest is forgotten. */
void sr_disk_model_cut(struct sr_disk_model *m, uint64_t seed, enum sr_disk_how how);
/* Make the directories what the model has as durable, at the roots it was told.  -1 and errno. */
int sr_disk_model_put(struct sr_disk_model *m);

/* Whatever lies in a directory, as ops: all of it durable if `root` (which begins with OP_ROOT); else `path` is a new entry `name` in directory `in`. */
typedef void sr_disk_feed(void *ctx, const struct sr_disk_op *op);
int sr_disk_walk_root(const char *root, sr_disk_feed *feed, void *ctx);
int sr_disk_walk_entry(uint64_t in, int dir, const char *name, sr_disk_feed *feed, void *ctx);

/* An op as bytes, for a log that outlives the process: OWNED BY CALLER (free). */
void *sr_disk_op_pack(const struct sr_disk_op *op, size_t *n);
/* The first op of n bytes, which BORROWS them: how many bytes it has, 0: it is torn, or no more. */
size_t sr_disk_op_unpack(struct sr_disk_op *op, const void *at, size_t n);

#endif
