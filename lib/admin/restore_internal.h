/* restore_internal.h - what restore*.c share. */
#ifndef SR_ADMIN_RESTORE_INTERNAL_H
#define SR_ADMIN_RESTORE_INTERNAL_H

#include "http/client.h"
#include "lib/admin/owner.h"
#include "lib/admin/restore.h"
#include "lib/replica/wire.h"
#include "lib/state/archive.h"
#include "lib/state/swap.h"
#include "lib/sync/contact.h"

struct sr_restore;

struct sr_source { /* of all stores, or some */
	char *name;   /* as given: a URL, "files" or a backup's name */
	struct sr_client *client; /* a daemon; NULL: files */
	struct sr_contact *contact; /* that the client is of, or NULL */
	struct sr_tree_info info; /* its last answer; of files: what their markers say */
	bool have_info;
	struct sr_hash root; /* held in the nodes */
	uint64_t left_out;   /* of a backup: what is not in it */
	struct sr_source_store { /* one for each of the stores to be restored */
		bool has;
		struct sr_hash map;      /* held, with the root or by itself */
		struct sr_uuid node;
		uint64_t epoch, seq;     /* as of when it is */
		const char *why;         /* it has none */
		struct sr_store *files;  /* of files: the store there, and its view */
		struct sr_view *view;
	} *stores;
};

struct sr_restore_store {
	const struct sr_config_store *config;
	const char *name;
	uint8_t kind;
	char *path, *staged, *aside;
	bool skip;              /* no source has it */
	struct sr_hash wanted;  /* held */
	struct sr_leaves *losers; /* of a merge: path, to: the loser, expect: the winner; epoch: the number of its source */
	struct sr_marker marker;
	struct sr_leaves *dated;  /* of a merge: path, epoch, seq of what only an older source has, or has more of */
	struct sr_counts {      /* what is there now against what is wanted */
		bool present;
		uint64_t equal, here, there, different, bytes;
		bool emptied; /* there is something now, and nothing is wanted */
	} counts;
	uint64_t missing;       /* could not be read at the source */
	uint64_t refused;       /* of a part: rows that have no place here */
	uint64_t unlike;        /* rows of tables that the sources have in different shapes */
};

struct sr_restore {
	const struct sr_restore_options *o;
	struct sr_state *state; /* the lock */
	const char *state_dir;
	struct sr_owner owner; /* of the state directory: the daemon's user */
	char *extracted;       /* directory of a backup's stores; NULL: none */
	const char *spool;     /* where lists of leaves may go; NULL: there is no such place yet */
	struct sr_archive *archive;
	struct sr_tree_key key;
	bool keyed;
	struct sr_nodes *nodes;
	struct sr_source *sources;
	size_t n_sources;
	struct sr_restore_store *stores;
	size_t n;
	uint64_t left_out;      /* things, for the exit status */
	struct sr_progress progress;
};

/* --- restore.c --- */

const char *sr_restore_daemon(const struct sr_restore *x); /* its program */

/* --- restore_source.c --- */

/* Speak to all of them; the tree key is known after it, the maps too. */
SR_MUST enum sr_status sr_restore_open_sources(struct sr_restore *x, struct sr_err *err);
void sr_restore_close_sources(struct sr_restore *x);
void sr_restore_remove_tree(const char *path); /* of our own making */
/* Is this word of --file, NAME=PATH, of that store? */
bool sr_restore_is_file_of(const char *named, const char *store);
/* The path that was named for it; NULL: none. */
const char *sr_restore_file_of(const struct sr_restore *x, const char *store);
/* Ask those that may have moved on. *moved: one has. */
SR_MUST enum sr_status sr_restore_refresh(struct sr_restore *x, bool *moved, struct sr_err *err);

/* --- restore_fetch.c --- */

/* What comes of a leaf that was asked for; `leaf` has its record, or its stage, inode and mtime. */
typedef enum sr_status sr_restore_got_fn(void *ctx, const struct sr_leaf *leaf, struct sr_err *err);
/* Content of sorted leaves of store i from source k; files are staged in `st`.  *gone: how many are not there any more as they were. */
SR_MUST enum sr_status sr_restore_fetch(struct sr_restore *x, size_t k, size_t i, struct sr_store *st, struct sr_leaves *leaves,
					sr_restore_got_fn *got, void *ctx, uint64_t *gone, struct sr_err *err);

/* --- restore_merge.c --- */

/* stores[i].wanted and losers, of the sources' maps. */
SR_MUST enum sr_status sr_restore_merge(struct sr_restore *x, size_t i, struct sr_err *err);
/* What gave way, into the conflict archive; its contents are staged in st on the way. */
SR_MUST enum sr_status sr_restore_archive(struct sr_restore *x, size_t i, struct sr_store *st, struct sr_err *err);
/* The source from which this version of the item can be had; n_sources: none. */
size_t sr_restore_source_of(const struct sr_restore *x, size_t i, struct sr_bytes path, const struct sr_version *version);

/* --- restore_fill.c --- */

/* A store i that lies at `path`.  staged: it is being built, and nobody else's; a database that somebody reads is SR_E_BUSY. */
SR_MUST enum sr_status sr_restore_open_store(struct sr_restore *x, size_t i, const char *path, bool staged, struct sr_store **out,
					     struct sr_err *err);
/* Two maps counted against each other. */
SR_MUST enum sr_status sr_restore_count(struct sr_counts *c, struct sr_bytes path, const struct sr_version *here, const struct sr_version *there);
/* The store's map as it is now, held; its nodes come into x->nodes. */
SR_MUST enum sr_status sr_restore_scan(struct sr_restore *x, struct sr_store *st, const struct sr_hash *before, struct sr_hash *out,
				       struct sr_err *err);
/* Count what is at the path now against what is wanted. */
SR_MUST enum sr_status sr_restore_compare(struct sr_restore *x, size_t i, struct sr_err *err);
SR_MUST enum sr_status sr_restore_fill(struct sr_restore *x, size_t i, struct sr_err *err);

/* --- restore_left.c --- */

/* The command, but for how it asks and prints.  OWNED BY CALLER (free). */
char *sr_restore_request(const struct sr_restore_options *o);
/* There is a plan, and nothing may be changed: says so. */
enum sr_status sr_restore_pending_held(const struct sr_restore *x, const struct sr_swap_pending *p, struct sr_err *err);
/* It was ended: says so.  true: it was what is asked for now. */
bool sr_restore_pending_ended(const struct sr_restore *x, const struct sr_swap_pending *p);

/* --- restore_part.c --- */

SR_MUST enum sr_status sr_restore_part(struct sr_restore *x, struct sr_err *err);

#endif
