/* state.h - state.db: what a node remembers between rounds and over crashes.
 *
 * One SQLite file (WAL, synchronous=FULL) in the state directory, held under a lock file by one process.  Tables (sameroot-state(5)): meta,
 * store, leaf, intent_head, intent, outbox, outbox_leaf, root, journal, replaced (trash.h), deleted, push_result, webserver.
 * Threads: one struct sr_state belongs to one thread at a time; sr_state_reader() opens a read-only one for another thread.
 * Everything between sr_state_begin and sr_state_commit is one durable step; outside of it each call is a step of its own.
 * Errors name file, table and purpose: SR_E_FULL (the disk is full), SR_E_IO, SR_E_BUSY, SR_E_DATA (state.db is damaged), SR_E_INTERNAL (a
 * write through a reader, a begin within a step, ...).  A call that the database fails spoils its step: what follows fails with the same
 * code, commit too.
 * A listing's callback may read this state and must not write to it; other than SR_OK ends the listing and is returned.
 * epoch and seq are below 2^63. */
#ifndef SR_STATE_STATE_H
#define SR_STATE_STATE_H

#include "lib/base/door.h"
#include "lib/leaf/leaf.h"

struct sr_state;

/* dir is made (0700) when absent, and <dir>/lock taken (SR_E_BUSY names the holder's pid).  *fresh: there was no state.db, or nothing was
 * ever committed to it.  SR_E_DATA: not a state.db, or of a newer format; it is left as it is. */
SR_MUST enum sr_status sr_state_open(struct sr_state **out, const char *dir, bool *fresh, struct sr_err *err);
/* A read-only one of the same file, without the lock: for another thread, or an admin command.  It sees what was committed; between begin
 * and commit it sees one moment.  SR_E_NOINPUT when there is none. */
SR_MUST enum sr_status sr_state_reader(struct sr_state **out, const char *dir, struct sr_err *err);
/* Who has it open by sr_state_open: the process's id; 0: nobody, or that cannot be seen. */
long sr_state_holder(const char *dir);
void sr_state_close(struct sr_state *s); /* CONSUMES s; NULL is a no-op; a step under way is rolled back */
/* Is this file a state.db, wherever it lies?  What cannot be read is none. */
bool sr_state_is_one(const char *file);
const char *sr_state_dir(const struct sr_state *s);

/* Steps do not nest (SR_E_INTERNAL). */
SR_MUST enum sr_status sr_state_begin(struct sr_state *s, struct sr_err *err);
SR_MUST enum sr_status sr_state_commit(struct sr_state *s, struct sr_err *err); /* durable when SR_OK; else rolled back */
void sr_state_rollback(struct sr_state *s); /* no step under way: no-op */

/* --- meta: small named values (identity, tree key, anchor, ...) ------------------------------------------------------- */

/* *out and *number are written only when *found; what *out held is replaced.  get_u64 of anything but a number: SR_E_DATA. */
SR_MUST enum sr_status sr_state_get(struct sr_state *s, const char *name, struct sr_buf *out, bool *found, struct sr_err *err);
SR_MUST enum sr_status sr_state_put(struct sr_state *s, const char *name, struct sr_bytes value, struct sr_err *err);
SR_MUST enum sr_status sr_state_get_u64(struct sr_state *s, const char *name, uint64_t *number, bool *found, struct sr_err *err);
SR_MUST enum sr_status sr_state_put_u64(struct sr_state *s, const char *name, uint64_t value, struct sr_err *err);
SR_MUST enum sr_status sr_state_drop(struct sr_state *s, const char *name, struct sr_err *err);

/* --- store: one row a store ---------------------------------------------------------------------------------------------- */

struct sr_store_row {
	int64_t id;               /* small integer, the key of the leaf table */
	uint64_t inode;           /* as last seen; 0: never ... */
	int64_t born_ns;          /* ... and when the file of a database was made, ... */
	int64_t written_ns;       /* ... and last written then; 0: not known */
	struct sr_uuid marker;    /* the last one we wrote or accepted; none: this store was never ours */
	struct sr_uuid pending;   /* one about to be written, or none */
	struct sr_uuid node;      /* of that marker */
	bool base_known;          /* a leaf without a row has the base "absent"; false: its base is unknown (union) ... */
	bool absent_hint;         /* ... but was "absent" when the epoch rose: that is its hint */
	uint64_t epoch, seq;      /* as_of of the store's unknown leaves; 0, 0: lowest.  Datastore: the earliest date that a leaf was ever given as the epoch rose */
};
/* Find or make the row for `name`; a new one remembers nothing, base unknown.  An id never changes.  A reader makes none: SR_E_NOTFOUND. */
SR_MUST enum sr_status sr_state_store(struct sr_state *s, const char *name, struct sr_store_row *out, struct sr_err *err);
/* Every row, those of stores too that the configuration names no more.  *out is OWNED BY CALLER (free). */
SR_MUST enum sr_status sr_state_stores(struct sr_state *s, struct sr_store_row **out, size_t *n, struct sr_err *err);
/* When base_known turns, leaf rows go that from now on say no more than their absence. */
SR_MUST enum sr_status sr_state_store_put(struct sr_state *s, const struct sr_store_row *row, struct sr_err *err);

/* --- leaf: local and base ------------------------------------------------------------------------------------------------ */

enum sr_base_state {
	SR_BASE_UNKNOWN = 0,
	SR_BASE_KNOWN = 1,
	SR_BASE_HINT = 2, /* unknown since the epoch rose, or a chain of pushes broke; `base` is what it was */
};
struct sr_leaf_row {
	struct sr_bytes path;     /* BORROWED in, VALID UNTIL the next call out */
	struct sr_version local;  /* SR_KIND_NONE: not here */
	uint64_t signature;       /* files: stat cache; 0: not to be trusted */
	uint8_t base_state;
	struct sr_version base;   /* KNOWN: may be SR_KIND_NONE; HINT */
	uint64_t epoch, seq;      /* webserver: of the answer or bundle that set base; datastore: as_of of the union push that wrote local, 0,0: an ordinary one */
};
/* `st` in all of this: as last read or written.
 * The row, or what its absence means: local NONE, base KNOWN NONE, HINT NONE or UNKNOWN by the store's base_known and absent_hint. */
SR_MUST enum sr_status sr_state_leaf(struct sr_state *s, const struct sr_store_row *st, struct sr_bytes path, struct sr_leaf_row *out,
				     struct sr_err *err);
/* Write it; a row that says nothing (local NONE, base as absence would mean, agreed on no later than st's epoch, seq) is removed, at the latest
 * when sr_state_store_put writes a date that passes its own.  Stored compactly: a known base equal to local costs nothing. */
SR_MUST enum sr_status sr_state_leaf_put(struct sr_state *s, const struct sr_store_row *st, const struct sr_leaf_row *row,
					 struct sr_err *err);
/* The next of many rows; *more false: there was no further one.  It puts no other question to the state that writes. */
typedef enum sr_status sr_leaf_row_next(void *ctx, struct sr_leaf_row *out, bool *more, struct sr_err *err);
/* Write them all, as sr_state_leaf_put does each. */
SR_MUST enum sr_status sr_state_leaves_put(struct sr_state *s, const struct sr_store_row *st, sr_leaf_row_next *next, void *ctx,
					   struct sr_err *err);
/* Is there a row of the store at all? */
SR_MUST enum sr_status sr_state_has_leaves(struct sr_state *s, const struct sr_store_row *st, bool *out, struct sr_err *err);
/* base := local, known, in every open row, of which each has one that is here. */
SR_MUST enum sr_status sr_state_agree_open(struct sr_state *s, const struct sr_store_row *st, uint64_t epoch, uint64_t seq, struct sr_err *err);
/* base := `version`, known, where that is what is here; *done false: it is not, and nothing was written.  One statement for the row of almost every leaf. */
SR_MUST enum sr_status sr_state_leaf_agree(struct sr_state *s, const struct sr_store_row *st, struct sr_bytes path, const struct sr_version *version,
					   uint64_t epoch, uint64_t seq, bool *done, struct sr_err *err);
/* A signature alone; a leaf that is not here stays so. */
SR_MUST enum sr_status sr_state_leaf_sign(struct sr_state *s, const struct sr_store_row *st, struct sr_bytes path, uint64_t signature,
					  struct sr_err *err);
typedef enum sr_status sr_leaf_row_fn(void *ctx, const struct sr_leaf_row *row, struct sr_err *err);
/* Every row of a store in path order; `open_only`: just those whose base is not known or is not equal to local (an index finds them).
 * row->path is VALID during the call. */
SR_MUST enum sr_status sr_state_leaves(struct sr_state *s, const struct sr_store_row *st, bool open_only, sr_leaf_row_fn *fn, void *ctx,
				       struct sr_err *err);
SR_MUST enum sr_status sr_state_open_count(struct sr_state *s, const struct sr_store_row *st, uint64_t *out, struct sr_err *err);
/* Every known base of the store becomes unknown, st->base_known false, and st's epoch, seq are written as given in *st.  as_hint: a known
 * base becomes a hint and a hint stays one; else hints are forgotten too, for they speak of a local state that may not be this one. */
SR_MUST enum sr_status sr_state_forget_base(struct sr_state *s, struct sr_store_row *st, bool as_hint, struct sr_err *err);

/* Every row of the store goes, and its base is unknown: another tree key made all hashes meaningless.  st as in sr_state_forget_base. */
SR_MUST enum sr_status sr_state_forget_leaves(struct sr_state *s, struct sr_store_row *st, struct sr_err *err);

/* --- intents: an apply under way -------------------------------------------------------------------------------------------- */

struct sr_intent_head {
	struct sr_uuid marker; /* of the apply */
	uint64_t epoch, seq;   /* of the root it takes (webserver) or before it (datastore) */
	struct sr_bytes note;  /* datastore: the push id and webserver; VALID UNTIL the next call */
};
/* Record all leaves (record bytes left out) in their order; what each base will be is leaf.to.  Replaces none: SR_E_INTERNAL if the store
 * has intents already (an apply of no leaves counts). */
SR_MUST enum sr_status sr_state_intend(struct sr_state *s, const struct sr_store_row *st, const struct sr_intent_head *head,
				       struct sr_leaves *leaves, struct sr_err *err);
/* *found false: none.  leaves: an empty spool to fill (on failure: partly filled). */
SR_MUST enum sr_status sr_state_intents(struct sr_state *s, const struct sr_store_row *st, struct sr_intent_head *head,
					struct sr_leaves *leaves, bool *found, struct sr_err *err);
SR_MUST enum sr_status sr_state_intents_drop(struct sr_state *s, const struct sr_store_row *st, struct sr_err *err);

/* --- outbox: the one push without an answer (webserver) --------------------------------------------------------------------- */

struct sr_outbox {
	struct sr_uuid id, prev, instance;
	uint64_t epoch, seq;
	struct sr_uuid start; /* the datastore's start it was made for */
};
/* The new push replaces another one with all its leaves; the same id keeps them. */
SR_MUST enum sr_status sr_state_outbox_put(struct sr_state *s, const struct sr_outbox *o, struct sr_err *err);
/* Its leaves, store by store, added to those that are there; record, stage and inode are left out. */
SR_MUST enum sr_status sr_state_outbox_add(struct sr_state *s, const struct sr_store_row *st, struct sr_leaves *leaves, struct sr_err *err);
SR_MUST enum sr_status sr_state_outbox(struct sr_state *s, struct sr_outbox *out, bool *found, struct sr_err *err);
/* In the order in which they were added; leaves: an empty spool to fill. */
SR_MUST enum sr_status sr_state_outbox_leaves(struct sr_state *s, const struct sr_store_row *st, struct sr_leaves *leaves,
					      struct sr_err *err);
SR_MUST enum sr_status sr_state_outbox_drop(struct sr_state *s, struct sr_err *err);
/* The same, but its leaves are remembered until sr_state_given_up_drop: it may have been committed or not, and nobody knows any more. */
SR_MUST enum sr_status sr_state_outbox_give_up(struct sr_state *s, struct sr_err *err);
/* The leaves of pushes that were given up, of each path the last; epoch, seq: of the root that the push was planned against.  Sorted. */
SR_MUST enum sr_status sr_state_given_up(struct sr_state *s, const struct sr_store_row *st, struct sr_leaves *leaves, struct sr_err *err);
SR_MUST enum sr_status sr_state_given_up_drop(struct sr_state *s, const struct sr_store_row *st, struct sr_err *err);

/* --- the datastore's history -------------------------------------------------------------------------------------------------- */

struct sr_root_row {
	uint64_t epoch, seq;
	struct sr_hash root;
	int64_t at_ms;
};
/* SR_E_INTERNAL when (epoch, seq) has a root already. */
SR_MUST enum sr_status sr_state_root_add(struct sr_state *s, const struct sr_root_row *row, struct sr_err *err);
/* The root of (epoch, seq), or the newest of all when seq is UINT64_MAX. */
SR_MUST enum sr_status sr_state_root(struct sr_state *s, uint64_t epoch, uint64_t seq, struct sr_root_row *out, bool *found,
				     struct sr_err *err);
/* Oldest first, those at or after (epoch, seq), later epochs included. */
typedef enum sr_status sr_root_row_fn(void *ctx, const struct sr_root_row *row, struct sr_err *err);
SR_MUST enum sr_status sr_state_roots(struct sr_state *s, uint64_t epoch, uint64_t seq, sr_root_row_fn *fn, void *ctx, struct sr_err *err);
SR_MUST enum sr_status sr_state_roots_trim(struct sr_state *s, uint64_t keep_newest, struct sr_err *err);

struct sr_journal_row {
	uint64_t epoch, seq;
	const char *store;
	struct sr_bytes path;
	struct sr_version from, to;
	struct sr_uuid webserver; /* none: found by the datastore's own scan, or an operator's */
	int64_t at_ms;
	int64_t mtime_ns; /* of the file that was replaced; 0: not known */
};
/* Kept are those as young as sr_state_journal_retain says (at first none is), but ten million at most; and the newest million, however old; and
 * the rest of the commit in which they begin: a commit is there whole or not at all. */
SR_MUST enum sr_status sr_state_journal_add(struct sr_state *s, const struct sr_journal_row *row, struct sr_err *err);
/* A row for each of the leaves: from `expect` to `to`, of mtime_ns; all else is that of *row. */
SR_MUST enum sr_status sr_state_journal_fill(struct sr_state *s, const struct sr_journal_row *row, struct sr_leaves *leaves, struct sr_err *err);
typedef enum sr_status sr_journal_row_fn(void *ctx, const struct sr_journal_row *row, struct sr_err *err);
/* Oldest first, those after (epoch, after_seq), later epochs included; the rows of a commit as they were added.  Whether it reaches back so
 * far is told by the first row's seq.  Row and strings are VALID during the call. */
SR_MUST enum sr_status sr_state_journal(struct sr_state *s, uint64_t epoch, uint64_t after_seq, sr_journal_row_fn *fn, void *ctx,
					struct sr_err *err);

void sr_state_journal_retain(struct sr_state *s, int64_t since_ms);
/* Newest first, those that are not older than since_ms: `most` at most.  store NULL: of all stores; top: what it is or what lies below, empty: all. */
SR_MUST enum sr_status sr_state_journal_back(struct sr_state *s, const char *store, struct sr_bytes top, int64_t since_ms, uint64_t most,
					     sr_journal_row_fn *fn, void *ctx, struct sr_err *err);
/* Of each path at or below top that changed after (epoch, seq) the first such change, in order of the paths: its `from` is what was there then.
 * Costs a look at every row since then, whatever top is. */
SR_MUST enum sr_status sr_state_journal_then(struct sr_state *s, uint64_t epoch, uint64_t seq, const char *store, struct sr_bytes top,
					     sr_journal_row_fn *fn, void *ctx, struct sr_err *err);
/* The last commit that the journal has at or before at_ms (root is not set).  *found false: it reaches not so far back.  SR_E_CONFLICT: the clock
 * was set meanwhile, so that an earlier commit is dated later, or a later one earlier.  Costs a look at every row. */
SR_MUST enum sr_status sr_state_journal_at(struct sr_state *s, int64_t at_ms, struct sr_root_row *out, bool *found, struct sr_err *err);
/* The first commit that it has; *trimmed: there were others before. */
SR_MUST enum sr_status sr_state_journal_first(struct sr_state *s, struct sr_root_row *out, bool *trimmed, bool *found, struct sr_err *err);

/* Names deleted, the newest million kept (by the order of adding): when was `path` last deleted?  *found false: not within memory.  Adding
 * an earlier deletion of a name changes nothing. */
SR_MUST enum sr_status sr_state_deleted_add(struct sr_state *s, const struct sr_store_row *st, struct sr_bytes path, uint64_t epoch,
					    uint64_t seq, struct sr_err *err);
SR_MUST enum sr_status sr_state_deleted(struct sr_state *s, const struct sr_store_row *st, struct sr_bytes path, uint64_t *epoch,
					uint64_t *seq, bool *found, struct sr_err *err);

enum sr_push_kind { SR_PUSH_NONE = 0, SR_PUSH_OK = 1, SR_PUSH_REFUSED = 2, SR_PUSH_CANCELLED = 3 };
struct sr_push_result {
	struct sr_uuid webserver, id;
	uint8_t kind;
	uint64_t epoch, seq;
	struct sr_hash root;
	struct sr_bytes answer; /* the JSON text that was or would have been answered; VALID UNTIL the next call */
};
/* The last push of a webserver; *found false: it never pushed. */
SR_MUST enum sr_status sr_state_push_result(struct sr_state *s, const struct sr_uuid *webserver, struct sr_push_result *out, bool *found,
					    struct sr_err *err);
SR_MUST enum sr_status sr_state_push_result_put(struct sr_state *s, const struct sr_push_result *row, struct sr_err *err);

struct sr_webserver_row {
	struct sr_uuid uuid;
	char *name, *external_addr, *peer, *version, *pin; /* may be NULL; in: BORROWED, not changed; out: VALID during the call */
	unsigned sync_port;
	uint64_t epoch, seq;
	struct sr_hash root;
	int64_t seen_ms;
	char *status; /* JSON text of the rest: balancer status, held reasons, conflicts, ... */
};
SR_MUST enum sr_status sr_state_webserver_put(struct sr_state *s, const struct sr_webserver_row *row, struct sr_err *err);
SR_MUST enum sr_status sr_state_webserver_drop(struct sr_state *s, const struct sr_uuid *uuid, struct sr_err *err);
typedef enum sr_status sr_webserver_row_fn(void *ctx, const struct sr_webserver_row *row, struct sr_err *err);
/* By name, then uuid. */
SR_MUST enum sr_status sr_state_webservers(struct sr_state *s, sr_webserver_row_fn *fn, void *ctx, struct sr_err *err);

#endif
