/* files.h - what files*.c share: a directory tree as a store.  Private to lib/store.
 *
 *   files.c            root, marker, look, create, views, names below the root
 *   files_signature.c  the stat cache
 *   files_scan.c       see everything
 *   files_list.c       list directories ahead of that
 *   files_stage.c      new content, not yet visible
 *   files_parts.c      content of which only the beginning came, or that was not used
 *   files_apply.c      prepare, commit, recover: which leaves, in which order
 *   files_step.c       one leaf's step: the renames, and how each is undone
 *
 * All of a struct sr_files belongs to the store's own thread; extra views use nothing of it but what never changes. */
#ifndef SR_STORE_FILES_H
#define SR_STORE_FILES_H

#include <stdatomic.h>
#include <sys/stat.h>

#include "lib/base/beneath.h"
#include "lib/store/internal.h"

#define SR_OWN_DIR ".sameroot"
#define SR_ASIDE    "aside-" /* so begin the names in staging that no sweep takes: what could neither be archived nor put back */

/* --- the stat cache ------------------------------------------------------------------------------------------------ */

/* Path (as a keyed 63-bit hash) -> signature, 16 bytes a slot, more than two thirds of them used.  {0} is an empty one. */
struct sr_signatures {
	struct sr_signature_slot {
		uint64_t key; /* the lowest bit is the mark; 0: free */
		uint64_t signature;
	} *slots;
	size_t size, used;
	size_t marked; /* since sr_signatures_begin */
	uint8_t mark;
};

uint64_t sr_signatures_get(const struct sr_signatures *t, const struct sr_tree_key *key, struct sr_bytes path); /* 0: none */
void sr_signatures_put(struct sr_signatures *t, const struct sr_tree_key *key, struct sr_bytes path, uint64_t signature);
struct sr_signature_slot *sr_signatures_find(const struct sr_signatures *t, const struct sr_tree_key *key, struct sr_bytes path); /* NULL: none; VALID UNTIL a put */
void sr_signatures_keep(struct sr_signatures *t, struct sr_signature_slot *slot); /* it is still of use */
void sr_signatures_begin(struct sr_signatures *t); /* a scan begins: what it does not put again may be forgotten by _end */
void sr_signatures_end(struct sr_signatures *t);
void sr_signatures_free(struct sr_signatures *t);

/* Is the file's last change so long before `now_ms` that a later one must show in its times? */
bool sr_files_settled(const struct stat *st, int64_t now_ms);

/* --- the store ----------------------------------------------------------------------------------------------------- */

#define SR_STAGE_NAME 40 /* with the NUL */

struct files_apply; /* files_apply.c */

struct sr_files {
	struct sr_store st;
	int root;                      /* the held root directory, or -1 */
	int stage;                     /* .sameroot/stage, or -1 */
	bool marked;                   /* as of the last look or mark: there is a marker */
	struct sr_signatures seen;
	struct sr_hasher *hasher;
	uint8_t *chunk;                /* SR_FILES_CHUNK bytes, to read by */
	char copied[SR_STAGE_NAME];    /* the name that sr_stage_copy gave last */
	struct files_apply *apply;     /* prepared, or NULL */
	struct sr_scan last;           /* of one that is watched: the unknown paths of its last scan */
	atomic_size_t unflushed;       /* files staged since the last sr_stage_flush; stages may end in several threads */
};
#define SR_FILES_CHUNK (256u << 10)
#define SR_FILES_HELD (64u << 10)
#define SR_FILES_FLUSH_SINGLY 32 /* so many are made durable each by itself; more of them by one syncfs, at a quarter of the cost */

struct sr_files_view {
	struct sr_view v;
	int root; /* its own, so that an extra view shares no descriptor with the store */
};

static inline struct sr_files *sr_files(struct sr_store *st)
{
	return (struct sr_files *)st; /* its first member */
}

/* The held root is still what is at the path; SR_E_UNAVAILABLE when nothing is there, or another directory: as a mount point, when its file
 * system is gone.  Only a look and create take to another one: whatever was written into an unmounted store's mount point would make it look
 * like the store, with all else deleted. */
SR_MUST enum sr_status sr_files_same_root(struct sr_files *f, struct sr_err *err);
/* f->stage is open and linked after this; as sr_files_same_root otherwise. */
SR_MUST enum sr_status sr_files_hold_stage(struct sr_files *f, struct sr_err *err);
/* Into the held root, whose staging has been held before. */
SR_MUST enum sr_status sr_files_read_marker(struct sr_files *f, struct sr_marker *out, struct sr_err *err); /* id zero: none */
SR_MUST enum sr_status sr_files_write_marker(struct sr_files *f, const struct sr_marker *marker, struct sr_err *err);

/* The directory that holds `path` (O_PATH), and its last component; -1 and errno. */
int sr_files_open_parent(int root, struct sr_bytes path, char name[256]);
struct sr_bytes sr_files_parent(struct sr_bytes path); /* empty for one at the top */
bool sr_files_last_name(struct sr_bytes path, char name[256]); /* false: it is too long, and errno */

/* By itself; what lies below something excluded is never come to. */
bool sr_files_excluded(const struct sr_files *f, struct sr_bytes path);

/* Give what is open at fd - now: its stat, or NULL - the owner of new entries.  Without the right to and without Owner= or Group= it stays ours. */
SR_MUST enum sr_status sr_files_own(const struct sr_files *f, int fd, const struct stat *now, struct sr_err *err);

/* Hash the regular file `name` in dirfd between two fstats; *st is as of the hash.  false: *why. */
SR_MUST bool sr_files_hash(struct sr_files *f, int dirfd, const char *name, struct stat *st, struct sr_hash *out, enum sr_unknown_why *why);

int64_t sr_files_mtime(const struct stat *st); /* ns since 1970 */

/* --- staging ------------------------------------------------------------------------------------------------------- */

struct sr_stage {
	struct sr_files *f;
	int dir, fd;             /* dir: its own, for the store may let go of its root meanwhile */
	int parts;               /* the directory of parts while it is one; else -1 */
	int twin;                /* the file of which it shall be a copy, or -1 */
	char name[SR_STAGE_NAME]; /* in dir, or in parts */
	struct sr_hash hash;     /* that it shall have; none: not said */
	struct sr_buf held;      /* its content, until there is a file: at the end, or when it is more than SR_FILES_HELD */
	struct sr_hasher *hasher;
	uint64_t bytes;
	bool hashed;             /* the hasher has seen all of them */
	bool bad;                /* a part that is not what its name says, or that the disk has no room for */
	bool finished;
};

/* A stage without a file yet. */
SR_MUST enum sr_status sr_files_stage_new(struct sr_stage **out, struct sr_store *st, const struct sr_hash *hash, struct sr_err *err);
/* A name in staging.  With a hash it says that; `again`: the likely one is taken. */
void sr_files_stage_name(char name[SR_STAGE_NAME], const struct sr_hash *hash, bool again);
/* Rename the part into staging, under s->name. */
SR_MUST enum sr_status sr_files_part_to_stage(struct sr_stage *s, ino_t inode, struct sr_err *err);
/* Make a part of `name` in staging; false: it is none that is worth it. */
bool sr_files_stage_to_part(struct sr_files *f, int stage, int parts, const char *name);
int sr_files_parts(struct sr_files *f, bool make); /* the directory, OWNED BY CALLER (close); -1 and errno */

/* --- applying ------------------------------------------------------------------------------------------------------- */

enum files_step {
	STEP_NONE, /* kept, or failed */
	STEP_THERE, /* it is what it should be */
	STEP_CREATE, STEP_REPLACE, STEP_CHMOD, STEP_UNLINK, /* files */
	STEP_MKDIR, STEP_DIRMODE, STEP_RMDIR, /* directories */
	STEP_FILE_TO_DIR, STEP_DIR_TO_FILE,
};

struct files_apply {
	struct sr_files *f;
	struct sr_leaves *leaves; /* BORROWED, as is ops */
	const struct sr_apply_ops *ops;
	struct sr_marker marker;
	bool unmarked; /* the store's marker stays */
	size_t n;
	struct files_todo {
		uint8_t step;
		bool done;
		uint64_t signature;
	} *todo; /* one a leaf */
	struct sr_buf path;       /* of the leaf at work: leaves themselves are VALID only UNTIL a callback */
	char kept[SR_STAGE_NAME]; /* its name in staging: its new content, then the old in its place */
	struct sr_buf above;      /* the directory that it lies in, while `parent` is that: leaves come sorted */
	int parent;               /* or -1: above_errno says why */
	int above_errno;          /* -1: none was opened */
	unsigned above_steps;     /* done in it */
	struct sr_buf touched;    /* directories to be synced, as strings */
	struct sr_signatures touched_set;
	bool unsynced;            /* something that we did not write was found in place, perhaps not durable yet */
	size_t failed;
	struct sr_err first;      /* why the first of them; rather one that is */
	bool aside;               /* kept under SR_ASIDE: of the last one, */
	bool names_aside;         /* and `first` */
};

/* As sr_files_open_parent; OWNED BY the apply, VALID UNTIL the next call. */
int sr_files_parent_of(struct files_apply *a, struct sr_bytes path, char name[256]);
void sr_files_forget_parent(struct files_apply *a);

/* What is at a path now. */
struct files_found {
	struct sr_version version;
	struct stat st; /* unless version.kind is NONE */
};

/* SR_E_CHANGED: something that is not synchronised is there (a symbolic link, ...), or it changes while it is read. */
SR_MUST enum sr_status sr_files_find(struct files_apply *a, const struct sr_leaf *leaf, int parent, const char *name,
                                     struct files_found *out,
                                     struct sr_err *err);
/* Do leaf i's step; todo[i].done when it is done - SR_OK without it: rightly left alone.  On failure everything is as before. */
SR_MUST enum sr_status sr_files_step(struct files_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_err *err);
/* Tell the owner of the old file that is in staging as a->kept.  seen: its stat right before it was put there, or NULL. */
SR_MUST enum sr_status sr_files_tell_displaced(struct files_apply *a, size_t i, const struct sr_leaf *leaf, const struct stat *seen,
                                               struct sr_err *err);
/* This directory is to be synced before anything is called applied. */
void sr_files_touch(struct files_apply *a, struct sr_bytes directory);
SR_MUST int sr_files_exchange(const struct files_apply *a, int parent, const char *name); /* with a->kept; 0, or -1 and errno */

/* --- the operations that have their own file ----------------------------------------------------------------------- */

enum sr_status sr_files_scan(struct sr_view *v, struct sr_nodes *nodes, const struct sr_hash *before, sr_signature_fn *changed, void *ctx,
                             struct sr_scan *out, struct sr_err *err);
enum sr_status sr_files_prepare(struct sr_store *st, struct sr_leaves *leaves, const struct sr_marker *marker,
                                const struct sr_apply_ops *ops,
                                struct sr_err *err);
enum sr_status sr_files_commit(struct sr_store *st, struct sr_err *err);
void sr_files_rollback(struct sr_store *st);
/* Make durable what is at the paths of `leaves`, or that nothing is there, with the directories above.  The staging has been held before. */
SR_MUST enum sr_status sr_files_sync(struct sr_files *f, struct sr_leaves *leaves, struct sr_err *err);
enum sr_status sr_files_recover(struct sr_store *st, struct sr_leaves *leaves, const struct sr_marker *marker,
                                const struct sr_apply_ops *ops,
                                struct sr_err *err);

#endif
