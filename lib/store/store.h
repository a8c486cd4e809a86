/* store.h - one synchronised thing, a directory tree or a SQLite database, behind one interface: scan, read, apply.
 *
 * Design section 6 is the specification.  *Unknown is not absent*: what cannot be seen for sure is reported as unknown, never as gone.
 *
 * Threads: a struct sr_store and its main view belong to one thread at a time; extra views (SR_VIEW_EXTRA) may be opened and
 * used in other threads at the same time.  Never prints; logs nothing; every fault is returned or listed as unknown. */
#ifndef SR_STORE_STORE_H
#define SR_STORE_STORE_H

#include "lib/base/config.h"
#include "lib/base/door.h"
#include "lib/leaf/leaf.h"

struct sr_store;
struct sr_view;

struct sr_store_options { /* all COPIED */
	const char *name;    /* "users.db" */
	uint8_t kind;        /* SR_KIND_FILES or SR_KIND_DATABASE */
	const char *path;
	const char *owner, *group;       /* or NULL */
	const char *const *exclude;      /* globs (files) or tables (databases) */
	size_t excludes;
	uint64_t max_size;               /* files: larger ones are unknown; 0: no limit */
	uint64_t wal_limit;              /* databases, bytes; see Wal-Limit */
	bool ours;                       /* a datastore's store: no application beside us, so we may checkpoint, and accept new tables */
	bool alone;                      /* `ours`, and a database: nobody else may so much as read it from our first look until it is closed */
	const struct sr_tree_key *key;   /* BORROWED for the store's life */
};

/* The marker of the last applied bundle (design section 6). */
struct sr_marker {
	struct sr_uuid id, node, instance; /* id zero: there is no marker */
	uint64_t epoch, seq;               /* below SR_MARKER_END */
	char store[SR_STORE_NAME_MOST + 1]; /* read: whose it is, "" in one of an older program; written is the store's own name */
};

/* A marker is read from a file that anyone may have damaged or written; a number that no history gets to makes it none, for the datastore goes on
 * above it, and what is beyond JSON's numbers no webserver understands. */
#define SR_MARKER_END (UINT64_C(1) << 53)

enum sr_presence {
	SR_PRESENT, /* there, with or without content */
	SR_ABSENT,  /* nothing there: no file, no directory, no mount, or a database without any table and marker, a directory without any entry and marker */
	SR_CORRUPT, /* there and unusable: not a database, malformed, a file where a directory should be */
	SR_UNMARKABLE, /* there, and could be read; but something of the marker's name is in its way */
	SR_BLOCKED, /* cannot be looked at now: permissions, I/O error, locked longer than the busy timeout */
};

/* Makes nothing on disk.  SR_E_CONFIG for an unknown owner. */
SR_MUST enum sr_status sr_store_open(struct sr_store **out, const struct sr_store_options *options, struct sr_err *err);
void sr_store_close(struct sr_store *st);
const char *sr_store_name(const struct sr_store *st);
uint8_t sr_store_kind(const struct sr_store *st);
const char *sr_store_path(const struct sr_store *st);
const struct sr_tree_key *sr_store_key(const struct sr_store *st); /* BORROWED, as it was given */

/* Another list of exclusions (globs or tables, see exclude.h); COPIES.  The next scan sees everything anew.  What it newly covers is unknown from
 * then on, and stays in the map as it was last seen.  No view is open, no apply prepared. */
void sr_store_set_exclude(struct sr_store *st, const char *const *globs, size_t n);
bool sr_store_exclude_is(const struct sr_store *st, const char *const *globs, size_t n); /* this very list? */
const char *const *sr_store_exclude(const struct sr_store *st, size_t *n);              /* VALID UNTIL it is set */
bool sr_store_excludes(const struct sr_store *st, struct sr_bytes path); /* it, or something above it */

/* The marker file of a directory tree, as text appended to out: for one that is made elsewhere. */
#define SR_MARKER_PATH ".sameroot\0marker"
void sr_marker_text(struct sr_buf *out, const struct sr_marker *marker, const char *store); /* store: "" for none */

/* What is there now, and its marker (zero when there is none).  Reopens a database that was moved.  What it saw is the store
 * until the next look: if another directory or file comes to its place meanwhile, views, staging and applies are SR_E_UNAVAILABLE or SR_E_CHANGED.  *why (sizeof >= 256) says more in words.
 * *has_content: any entry or table that is not ours. */
enum sr_presence sr_store_look(struct sr_store *st, struct sr_marker *marker, bool *has_content, char why[256]);

/* Make an absent store: the directory with .sameroot, or an empty database file in WAL mode.  Parents are made too. */
SR_MUST enum sr_status sr_store_create(struct sr_store *st, struct sr_err *err);

/* Write the marker durably, and with it what the application wrote before (databases: a durable commit; files: syncfs). */
SR_MUST enum sr_status sr_store_mark(struct sr_store *st, const struct sr_marker *marker, struct sr_err *err);
/* The same when of what the application wrote no more than `leaves` (what is at their paths, or that nothing is) has to be durable: few files are synced by themselves,
 * whatever else is being written to their file system.  NULL: all. */
SR_MUST enum sr_status sr_store_mark_with(struct sr_store *st, const struct sr_marker *marker, struct sr_leaves *leaves, struct sr_err *err);

/* Is a database whole, as SQLite's integrity_check sees it?  SR_E_DATA: what is wrong.  Files: nothing is looked at. */
SR_MUST enum sr_status sr_store_check(struct sr_store *st, struct sr_err *err);

/* Which other process has the database file open, as "process 123 (name)"; NULL: none that can be seen.  Only while this process has not.  OWNED BY
 * CALLER (free). */
char *sr_database_user(const char *path);

/* Of a database that is `alone`: take its write-ahead log into the file, which then is all of it.  SR_E_FULL, SR_E_IO: it did not go in. */
SR_MUST enum sr_status sr_store_settle(struct sr_store *st, struct sr_err *err);

/* What was seen of the database file, or root directory, when it was last looked at. */
struct sr_store_seen {
	uint64_t inode;     /* 0: nothing is there, or nothing remembered */
	int64_t born_ns;    /* of a database: when the file was made, for numbers are used again; 0: not known */
	int64_t written_ns; /* of a database: its modification time; 0: not known */
};
struct sr_store_seen sr_store_seen(struct sr_store *st);

/* Design section 6, "a database file copied over ours": `seen` and `node` are what state.db remembers of this store (zero: nothing remembered,
 * then nothing is done).  Moves stale -wal, -shm, -journal aside only with all the evidence; *moved says so. */
SR_MUST enum sr_status sr_store_shed_stale_wal(struct sr_store *st, const struct sr_store_seen *seen, const struct sr_uuid *node, bool *moved,
					       struct sr_err *err);
/* To be asked after that, before any look: is the database file another than the one that was seen, or was another content put into it, with an
 * older write-ahead log or journal beside it?  Opening it may replay what belongs to the old one, its marker included: whatever the marker says
 * then proves nothing. */
bool sr_store_doubtful(struct sr_store *st, const struct sr_store_seen *seen);

/* --- watching ----------------------------------------------------------------------------------------------------------- */

/* From now on what changes is told by inotify, as far as it can be: scans look at what was told of, and at all now and then; watcher.h, watch.h.
 * BORROWS watcher, until the store is closed.  Once. */
struct sr_watcher;
void sr_store_watch(struct sr_store *st, struct sr_watcher *watcher);
/* Watched, and nothing was told since the last look and scan, which the caller took: both would find what they found.  Opens nothing. */
bool sr_store_is_quiet(struct sr_store *st);
/* Has anything been told since the last scan that may be another's doing?  Our own commits to a database are known for that. */
bool sr_store_has_news(struct sr_store *st);
/* What the last scan saw is in the caller's map now.  Until then the next one looks at it once more. */
void sr_store_taken(struct sr_store *st);
struct sr_watch_report {
	bool asked, watched;    /* asked: sr_store_watch was called */
	size_t directories;
	char why[160];          /* not watched: for what */
	uint64_t full, partial; /* scans that went through */
};
void sr_store_watch_report(struct sr_store *st, struct sr_watch_report *out); /* from any thread that uses the store */

/* --- capturing (databases) ------------------------------------------------------------------------------------------------- */

/* How changed rows are found, see sqlite_capture.c.  The triggers are made, looked at, and removed at each scan of the main view. */
enum sr_capture {
	SR_CAPTURE_LEAVE,    /* by reading the tables; what triggers there are is not our affair */
	SR_CAPTURE_SCAN,     /* by reading the tables; triggers of ours are removed */
	SR_CAPTURE_TRIGGERS, /* by the log that they write; what that does not tell by a full scan each full_ms */
};
void sr_store_capture(struct sr_store *st, enum sr_capture mode, int64_t full_ms);
struct sr_capture_report {
	bool asked, on;        /* asked: for triggers */
	size_t tables, keyed;  /* that are logged, and of these row by row */
	char why[160];         /* not on, or not removed: for what */
	uint64_t full, by_log; /* scans that read something */
};
void sr_store_capture_report(const struct sr_store *st, struct sr_capture_report *out); /* by the owner */
/* Of a database file, whoever uses it: what of ours is in it, before it is removed. */
struct sr_capture_found {
	uint64_t triggers, rows; /* rows: of the log */
	bool log;
};
SR_MUST enum sr_status sr_database_capture(const char *path, bool removes, struct sr_capture_found *out, struct sr_err *err);

/* --- reading -------------------------------------------------------------------------------------------------------- */

enum sr_view_kind {
	SR_VIEW_MAIN,  /* on the store's own connection; not while an apply is prepared */
	SR_VIEW_EXTRA, /* an own connection */
};
/* One consistent view: a read transaction of a database (held until closed: keep it short), nothing special for files. */
SR_MUST enum sr_status sr_view_open(struct sr_view **out, struct sr_store *st, enum sr_view_kind kind, struct sr_err *err);
void sr_view_close(struct sr_view *v);

enum sr_unknown_why {
	SR_UNKNOWN_EXCLUDED, SR_UNKNOWN_KIND /* symlink, device, socket, FIFO, another filesystem's mount point is fine */, SR_UNKNOWN_UNREADABLE,
	SR_UNKNOWN_SIZE, SR_UNKNOWN_BUSY /* changed while it was read */, SR_UNKNOWN_NAME /* cannot be carried */, SR_UNKNOWN_TABLE /* its rows
	have neither key nor rowid */,
	SR_UNKNOWN_VIRTUAL /* a virtual table or what it keeps its own in: each database's own affair */,
	SR_UNKNOWN_APPLICATION /* a table that only the application can write: a function or collation of its own */,
};
const char *sr_unknown_text(enum sr_unknown_why why);
struct sr_unknown {
	struct sr_bytes path; /* it and all below it is unknown */
	enum sr_unknown_why why;
};

/* Rows without a key are in a bag (lib/leaf/leaf.h): equal rows of a table are one leaf, in the map as {leaves 1, bytes: how many}. */
struct sr_scan {
	struct sr_hash map;          /* the store map as seen; a node of `nodes`, not held yet */
	bool same;                   /* equal to `before` */
	struct sr_unknown *unknown;  /* OWNED (sr_scan_free), sorted by path */
	size_t unknowns;
	uint64_t hashed, hashed_bytes; /* leaves hashed in this scan (files read, rows read) */
	uint64_t rows_read;          /* databases; 0 when data_version said that nothing changed */
};
void sr_scan_free(struct sr_scan *scan);
/* Of a database: was nothing read, for nobody had committed since the scan before? */
bool sr_scan_was_spared(const struct sr_scan *scan);

/* A signature for the stat cache: keyed hash of (dev, ino, size, mtime, ctime) and the content it was seen with, so that it never vouches for another version; 0: not to
 * be trusted next time. */
typedef void sr_signature_fn(void *ctx, struct sr_bytes path, uint64_t signature);

/* See everything (main view only).  `before` is the map of the previous scan or apply (zero: none), its nodes held in `nodes`: an unchanged file is not read again when its
 * signature is the one remembered, an unchanged database not at all.  `changed` is told every signature that is new. */
SR_MUST enum sr_status sr_view_scan(struct sr_view *v, struct sr_nodes *nodes, const struct sr_hash *before, sr_signature_fn *changed, void *ctx,
                                    struct sr_scan *out, struct sr_err *err);
/* Of what the last scan saw the caller's map says something else on purpose: `before` is that map from now on. */
void sr_store_grafted(struct sr_store *st);
/* Has anything rotted on the disk that may be well in a cache?  Then an apply reads all anew. */
void sr_store_rots(struct sr_store *st, bool any);
/* Files: what state.db kept, told before the first scan. */
void sr_store_remember(struct sr_store *st, struct sr_bytes path, uint64_t signature);

/* The content of one item.  Of a bag: the record of one of the equal rows, and their number in version.bytes; the first such read of a table
 * in a view goes over all of its rows, and 24 bytes a row are held until the view is closed. */
struct sr_content {
	struct sr_bytes record; /* ROW, SR_SCHEMA_PATH; VALID UNTIL the next read of this view */
	int fd;                 /* FILE, at offset 0, O_RDONLY; OWNED BY CALLER (close); -1 otherwise */
	struct sr_version version; /* as found; FILE: hash is zero, for it is not read here: the reader hashes what it reads */
	int64_t mtime_ns;
};
/* SR_E_NOTFOUND: not there (or neither file, directory nor row; a directory gives its version and fd -1).  SR_SCHEMA_PATH gives the schema text: (type, name, table, sql) of sqlite_master, in creation order,
 * each as four strings (sr_buf_string), of all but sqlite_* and _sameroot_*, shadow tables, and virtual tables other than fts3, fts4, fts5 and rtree; version kind TABLE. */
SR_MUST enum sr_status sr_view_read(struct sr_view *v, struct sr_bytes path, struct sr_content *out, struct sr_err *err);

/* Does this very view hold a foreign-key violation over `path`: its row (there) refers to none, or it is not there and rows still refer to
 * it?  Such a leaf travels with SR_LEAF_PARENTLESS.  False when it cannot be told.  Ends the record of the last sr_view_read. */
bool sr_view_dangling(struct sr_view *v, struct sr_bytes path, bool there);
/* Is `record`, a row of path's table as it is now in this view, the row `from` with nothing but columns added since, at their defaults?
 * (The table grew by ADD COLUMN after `from` was agreed on.)  The record of the last sr_view_read stays.  False for a row in a bag. */
bool sr_view_is_grown(struct sr_view *v, struct sr_bytes path, struct sr_bytes record, const struct sr_version *from);

/* Write what this view of a database sees into the file `path`, which is not there: a whole database, indexes and full-text tables and
 * `_sameroot_meta` included; not durable. */
SR_MUST enum sr_status sr_view_copy(struct sr_view *v, const char *path, struct sr_err *err);
/* Asked every few megabytes of it, and before the first: true ends it, with SR_E_UNAVAILABLE; the file is to be removed. */
typedef bool sr_stop_fn(void *ctx);
void sr_view_stop_when(struct sr_view *v, sr_stop_fn *stop, void *ctx);
/* What SQLite says of its pages and indexes goes into *what (empty before): nothing, when they are sound.  What constraints say of rows is no matter.
 * `stop` as above. */
SR_MUST enum sr_status sr_database_sound(const char *path, sr_stop_fn *stop, void *ctx, struct sr_buf *what, struct sr_err *err);
/* What SQLite's own check says of a database file that nobody uses.  SR_E_DATA: it is not sound. */
SR_MUST enum sr_status sr_database_check(const char *path, struct sr_err *err);
/* Does this view keep others from writing for as long as it is open?  (A database without a write-ahead log.) */
bool sr_view_blocks(struct sr_view *v);
/* The signature of a file with this stat *and this content*: one that was remembered for other content is never equal.  Never 0. */
struct stat;
uint64_t sr_files_signature(const struct sr_tree_key *key, const struct stat *st, const struct sr_hash *content);
/* `record` of path's table as it was before columns were added: *out is the same row as it would be after.  False: it does not fit the table as it is
 * now - a column is gone, the table is - or is of a bag whose table changed. */
bool sr_view_grow(struct sr_view *v, struct sr_bytes path, struct sr_bytes record, struct sr_buf *out);
/* `record` of path's table as it was in another shape: *out is what that row reads as when it is carried over into the table as it is now.  Columns
 * that are gone are left out, new ones have their default if it is a constant, values take the columns' types.  False: there is no such table, or the
 * row is in a bag.  A NULL is not in a record: a column that was there, and NULL, is taken for a new one. */
bool sr_view_carry(struct sr_view *v, struct sr_bytes path, struct sr_bytes record, struct sr_buf *out);

/* The version of the schema that this view sees: it moves with every change of it.  0: not known, or no database. */
int64_t sr_view_schema_version(const struct sr_view *v);
/* Of a schema text (SR_SCHEMA_PATH) each table and how it is defined beyond its fingerprint - constraints, defaults, unique indexes: string table, hash.
 * sr_schema_definition finds one in there; false: it is not. */
void sr_schema_definitions(struct sr_bytes text, const struct sr_tree_key *key, struct sr_buf *out);
bool sr_schema_definition(struct sr_bytes definitions, struct sr_bytes table, struct sr_hash *out);

/* --- staging (files) ------------------------------------------------------------------------------------------------ */

/* A file's new content, below <store>/.sameroot/stage/, not yet visible. */
struct sr_stage;
SR_MUST enum sr_status sr_stage_open(struct sr_stage **out, struct sr_store *st, struct sr_err *err);
SR_MUST enum sr_status sr_stage_write(struct sr_stage *s, const void *at, size_t n, struct sr_err *err);
/* Check size and hash against `to` (SR_E_DATA names both when they differ), set mode, owner and mtime; durable after sr_stage_flush.  Fills leaf->stage (VALID UNTIL the stage is freed)
 * and leaf->inode. */
SR_MUST enum sr_status sr_stage_finish(struct sr_stage *s, const struct sr_version *to, int64_t mtime_ns, struct sr_leaf *leaf, struct sr_err *err);
/* Is it that already?  SR_E_DATA: it is not, and goes when it is freed. */
SR_MUST enum sr_status sr_stage_check(struct sr_stage *s, const struct sr_version *to, struct sr_err *err);
/* Content that will be of this hash: what of it is complete outlives a cut, as a part (below). */
SR_MUST enum sr_status sr_stage_expect(struct sr_stage **out, struct sr_store *st, const struct sr_hash *hash, struct sr_err *err);
/* Make durable what was staged, names included: before the intents that name it. */
SR_MUST enum sr_status sr_stage_flush(struct sr_store *st, struct sr_err *err);
void sr_stage_free(struct sr_stage *s); /* not finished: removed, unless it is a part.  Finished: the staged file stays for an apply. */
/* Stage the content that is at `path` here under leaf->to.mode and leaf->mtime_ns (a move: content from another path); SR_E_CHANGED if it is not leaf->to.hash.
 * leaf->stage is VALID UNTIL the next sr_stage_copy.  A change of nothing but the mode needs no staging: a FILE without leaf->stage whose content is already
 * leaf->to.hash gets the mode in place. */
SR_MUST enum sr_status sr_stage_copy(struct sr_store *st, struct sr_bytes path, struct sr_leaf *leaf, struct sr_err *err);
/* Remove every staged file that no apply will use (after recovery, before a round).  If no apply began since the last sweep, what
 * sr_stage_expect and sr_stage_resume staged becomes a part again. */
void sr_store_sweep_stage(struct sr_store *st);

/* --- parts (files) ---------------------------------------------------------------------------------------------------- */

/* A *part* is content that came and was not used: all of it, or its beginning.  It lies below <store>/.sameroot/parts/ under the hash that
 * it shall have, over restarts, and is forgotten after a day without a write.  Nothing vouches for it until sr_stage_finish has hashed it
 * to the last byte; one that turns out to be something else is removed there.  In a store that is `ours` only parts of SR_PART_MIN bytes are
 * kept, and at most SR_PARTS_MOST of them. */
#define SR_PART_MIN   (1u << 20) /* bytes: from here on a file travels by itself, and goes on where it was cut */
#define SR_PARTS_MOST 10000

/* Go on with the part of `to`, or begin one; *have bytes are there, what is written follows them.  sr_stage_free without sr_stage_finish
 * keeps it.  One writer at a time - SR_E_BUSY: another has it, and wrote within half a minute; one who did not has lost it.  SR_E_FULL: the
 * rest would not fit on the disk.  SR_E_LIMIT: too many parts. */
SR_MUST enum sr_status sr_stage_resume(struct sr_stage **out, struct sr_store *st, const struct sr_version *to, uint64_t *have,
                                       struct sr_err *err);
/* It is none of ours: begin at its beginning. */
SR_MUST enum sr_status sr_stage_restart(struct sr_stage *s, struct sr_err *err);
/* As sr_stage_resume if all of it is here: as a part, or staged for another leaf, or at the path `from` (empty: not looked at), of which sr_stage_finish
 * then makes a copy.  SR_E_NOTFOUND: it is not.  Nothing is to be written. */
SR_MUST enum sr_status sr_stage_claim(struct sr_stage **out, struct sr_store *st, const struct sr_version *to, struct sr_bytes from, struct sr_err *err);
/* Would sr_stage_claim find it without `from`?  And how long is the part of this hash, 0: none? */
bool sr_stage_has(struct sr_store *st, const struct sr_version *to);
uint64_t sr_stage_part(struct sr_store *st, const struct sr_hash *hash);
/* Forget parts that nobody wrote to for a day; sr_store_sweep_stage does it, too. */
void sr_store_expire_parts(struct sr_store *st);
/* A staged leaf of which it is known that no apply began with it: its content becomes a part again. */
void sr_stage_keep(struct sr_store *st, const struct sr_leaf *leaf);

/* --- applying ------------------------------------------------------------------------------------------------------- */

enum sr_verdict {
	SR_TAKE,   /* go on and replace what is there */
	SR_KEEP,   /* leave what is there; this leaf is not applied */
	SR_RESET,  /* clash, of a bag: as SR_TAKE, but what is there becomes leaf->to, whatever it is; else the same */
	SR_LEND,   /* in_the_way: as SR_TAKE, but a row of that key is fetched again: what refers to it by its key can wait for it */
};

/* Old content that is about to go (a row, before the commit) or just went (a file, displaced into staging). */
struct sr_displaced {
	struct sr_bytes path;
	struct sr_version version; /* as found; a file's content is hashed */
	struct sr_bytes record;    /* ROW */
	int dirfd;                 /* FILE: it is `name` in dirfd, and the callback may rename it away (same filesystem); otherwise it is removed afterwards */
	const char *name;
	int64_t mtime_ns;
	bool expected;             /* it is leaf->expect */
};

struct sr_apply_ops {
	void *ctx;
	bool heals; /* a database: what is applied is what the caller's map says already; all that is compared is read from the disk, */
	bool reindexes; /* and the indexes of its tables, without leaves of all, are made anew of that before */
	struct { /* Of equal rows, of which a leaf of a bag has any number: so many may be added in all, and so many bytes of their records.  0: any number */
		uint64_t rows, bytes; /* called Max-Leaves, Max-Push-Bytes in the SR_E_LIMIT of sr_apply_prepare */
	} most_equals;
	struct sr_uuid edit; /* files, without a marker: as what a recovery, given the same, finds it again; none: it does not */
	/* What is there is neither leaf->expect nor leaf->to.  `record` is the row's, empty for files and when there is nothing.  May be called under the database's
	 * lock: no network.  A leaf of a bag is a difference: it is asked about whenever what is there is not leaf->expect, and SR_TAKE makes
	 * max(0, actual + to - expect) of it. */
	enum sr_verdict (*clash)(void *ctx, size_t i, const struct sr_leaf *leaf, const struct sr_version *actual, struct sr_bytes record);
	/* Clash left a merged row (SR_LEAF_MERGED) alone; `record` as there.  True: *out is written in its place, unless a UNIQUE constraint stops it; the leaf
	 * counts as applied, and the next scan finds what it has become.  NULL: false. */
	bool (*merge_again)(void *ctx, size_t i, const struct sr_leaf *leaf, const struct sr_version *actual, struct sr_bytes record, struct sr_buf *out);
	/* A row that is not part of this apply stands in the way of `leaf` by a UNIQUE constraint.  SR_TAKE: it is displaced (told) and removed; SR_KEEP: `leaf` is not applied.
	 * Or, when all is written: it is a foreign-key child of a row that went for leaf's sake - leaf's own, deleted or with another key now, or one in its way, or a child
	 * of these - and refers to nothing any more.  SR_TAKE: as above, and its own children are asked about in turn (SR_LEND: but not those that refer to
	 * its key); SR_KEEP: it stays as it is.  NULL: SR_KEEP.
	 * Equal rows of a bag are asked about as one, actual->bytes of them.  With path equal to leaf's own: such a row is there, and UNIQUE allows no second.
	 * SR_TAKE: nothing is displaced, and the leaf counts as applied; SR_KEEP: as above. */
	enum sr_verdict (*in_the_way)(void *ctx, size_t i, const struct sr_leaf *leaf, struct sr_bytes path, const struct sr_version *actual, struct sr_bytes record);
	/* The row that was written for `leaf` has a foreign key that refers to no row, when all is written; `parent`: the path of what it refers to, or empty when that
	 * cannot be told.  SR_TAKE: it stays; SR_KEEP: this apply will be rolled back.  NULL: SR_TAKE, and nothing is looked up. */
	enum sr_verdict (*parentless)(void *ctx, size_t i, const struct sr_leaf *leaf, struct sr_bytes parent);
	/* The row is none that its table takes: a constraint other than UNIQUE says no, in the words `why`; or, of one that was merged (SR_LEAF_MERGED),
	 * UNIQUE over columns of both sides.  SR_KEEP: the leaf is not applied.  SR_TAKE, or NULL: it fails the apply (UNIQUE: the leaf gives way). */
	enum sr_verdict (*unfit)(void *ctx, size_t i, const struct sr_leaf *leaf, const char *why);
	/* Of a database of ours in which the table of TABLE leaf i is built anew: its new form does not take the row that was at `path` (the table, of one
	 * that has no name by what both forms have), in the words `why`.  It is kept (sr_store_was).  Before the commit, under the lock. */
	void (*shed)(void *ctx, size_t i, const struct sr_leaf *leaf, struct sr_bytes path, const char *why);
	/* Of a database of ours: the schema text that comes defines this table, of the same fingerprint, otherwise than it is here (sr_schema_definitions).
	 * SR_TAKE: it is built anew as the text says, if that takes every row as it is, before the apply or after it.  NULL: SR_KEEP; and no UNIQUE index is made on it. */
	enum sr_verdict (*redefine)(void *ctx, struct sr_bytes table, const struct sr_hash *definition);
	/* What came of that.  why: it stays as it was, for that; NULL: it was built anew.  Before the commit. */
	void (*redefined)(void *ctx, struct sr_bytes table, const char *why);
	/* Of a database: leaf i is not applied, whatever was said of it before: by an answer above, or unasked, for its table is not here, is of another
	 * shape, or is not synchronised.  Before the commit, under the lock. */
	void (*left_out)(void *ctx, size_t i);
	/* Must make durable what it wants to keep before it returns.  Not SR_OK: a database's apply is rolled back; a file goes back where it was.  A bag
	 * that loses rows is told once, as expected, with as many as there were. */
	enum sr_status (*displaced)(void *ctx, size_t i, const struct sr_leaf *leaf, const struct sr_displaced *old, struct sr_err *err);
	/* Proven: what is at leaf->path now is leaf->to (or was when it was put there).  signature: for the stat cache, files only. */
	void (*applied)(void *ctx, size_t i, const struct sr_leaf *leaf, uint64_t signature);
};

/* Step one: compare, and for a database do everything in an open BEGIN IMMEDIATE transaction that carries `marker`; nothing is visible yet.  `leaves` are sorted, BORROWED until
 * commit or rollback, as are ops.  marker NULL: the store's own stays as it is (an edit; of a database there is no recovery), and the next scan finds what was
 * changed.  Where actual == to already: applied without a write (in a bag: only where expect is the same, too).  Of a bag's table
 * the rows are looked through before the lock is taken; equal ones that others add meanwhile stay, and are not counted.  SR_E_BUSY after the busy timeout. */
SR_MUST enum sr_status sr_apply_prepare(struct sr_store *st, struct sr_leaves *leaves, const struct sr_marker *marker, const struct sr_apply_ops *ops,
                                        struct sr_err *err);
/* Step two: COMMIT, durable (a write-ahead log is synced when the lock is free again); files: exchange, displace, fsync directories, marker.  `applied` is called for what is durable.  A single file that fails is not
 * applied and named in *err of the returned SR_E_CHANGED...; the others go on.  Files: with SR_OK and SR_E_CHANGED alike the new marker is written, unless
 * the store was removed meanwhile (SR_E_CHANGED). */
SR_MUST enum sr_status sr_apply_commit(struct sr_store *st, struct sr_err *err);
void sr_apply_rollback(struct sr_store *st);
/* For how long the last apply held the database's write lock, in ms by the door's clock: from BEGIN IMMEDIATE to the end of COMMIT or ROLLBACK.  Files: 0. */
int64_t sr_apply_held_ms(const struct sr_store *st);

/* The place of a table in the order of foreign keys: more than that of each table it refers to, but for itself and where they go round in a circle; 0 also when the table is
 * not known.  Of the schema as it was seen last, so a hint. */
size_t sr_store_rank(const struct sr_store *st, struct sr_bytes table);

/* Where a database of ours keeps a table as it was before it was built anew (a TABLE leaf that changed it; `fingerprint` is the old one): a
 * database beside it, in which the table has the time in its name.  OWNED BY CALLER (free). */
char *sr_store_was(const struct sr_store *st, const struct sr_hash *fingerprint);
/* Remove those to which nothing was added since. */
void sr_store_expire_was(const struct sr_store *st, int64_t since_ms);

/* After a crash: `leaves` are the intents (path, expect, to, flags, stage, inode) of an apply that carried `marker`, or of files and without one (ops->edit).  Decide each by evidence - the marker in the database; the staged
 * inode gone - never by comparing content; call `displaced` for what still lies in staging and `applied` for what was applied.  Idempotent. */
SR_MUST enum sr_status sr_apply_recover(struct sr_store *st, struct sr_leaves *leaves, const struct sr_marker *marker, const struct sr_apply_ops *ops,
                                        struct sr_err *err);

#endif
