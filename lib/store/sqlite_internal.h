/* sqlite_internal.h - what the sqlite*.c files share; the only header that includes <sqlite3.h>.
 *
 * A *connection* (struct sr_sql) carries its *schema* - the tables as they were at one schema version, each with its statements - and two
 * buffers for the row that was read last.  The store has one main connection; extra views bring their own.
 *
 * sqlite.c         connections, presence, marker, creation, stale WAL
 * sqlite_schema.c  tables, keys, fingerprints, statements
 * sqlite_create.c  schema text, and creation from it
 * sqlite_text.c    CREATE statements, cut into tokens
 * sqlite_scan.c    rows into records and names; views, scan and read
 * sqlite_bag.c     rows without a key: which of them are equal, and where they are
 * sqlite_copy.c    what a view sees, as a file of its own
 * sqlite_log.c     was the file overwritten beside its log?
 * sqlite_capture.c which rows changed, by triggers
 * sqlite_references.c  foreign keys
 * sqlite_fts.c     full-text indexes follow what an apply writes
 * sqlite_definition.c what a table is beyond its fingerprint
 * sqlite_grow.c    columns that were added to a table
 * sqlite_reshape.c a table that was built anew
 *
 * An apply, whose files share sqlite_apply.h:
 * sqlite_apply.c   prepare, commit, rollback, recover; rows are judged
 * sqlite_tables.c  its tables, from the schema text
 * sqlite_write.c   one row: read, written, removed
 * sqlite_equals.c  leaves of a bag
 * sqlite_unique.c  what UNIQUE constraints stop
 * sqlite_orphans.c what foreign keys say at its end */
#ifndef SR_STORE_SQLITE_INTERNAL_H
#define SR_STORE_SQLITE_INTERNAL_H

#include <sqlite3.h>
#include <stdatomic.h>

#include "hashtree/record.h"
#include "lib/store/internal.h"

#define SR_SQL_BUSY_MS 5000 /* how long a lock of the application's is waited for */
#define SR_SQL_META    "_sameroot_meta"
#define SR_SQL_LOG     "_sameroot_log" /* see sqlite_capture.c */
#define SR_SQL_LIKE_OURS "LIKE '\\_sameroot\\_%' ESCAPE '\\'" /* what is called so in an application's database */
#define SR_SQL_LOG_MOST 100000         /* rows of it; where so many have changed, all are read */

enum sr_sql_collation { SR_BINARY, SR_NOCASE, SR_RTRIM, SR_COLLATION_UNKNOWN /* the application's own */ };

struct sr_sql_column {
	char *name;      /* OWNED */
	char *type;      /* OWNED; as declared */
	char affinity;   /* 'A' BLOB, 'B' TEXT, 'C' NUMERIC, 'D' INTEGER, 'E' REAL */
	char *collation; /* OWNED; as declared, upper case */
	bool generated;
	bool fills_in; /* NOT NULL with a default, which REPLACE puts in for a NULL */
	bool referred; /* by a foreign key */
};

enum sr_sql_verb {
	SR_SQL_SCAN,
	SR_SQL_READ,
	SR_SQL_FOLLOW, /* the rows after one, where the key is the rowid */
	SR_SQL_INSERT,
	SR_SQL_UPDATE,
	SR_SQL_REKEY,
	SR_SQL_REMOVE,
	SR_SQL_PROBE,
	SR_SQL_BAG, /* the rows without a key; one of them; remove one */
	SR_SQL_BAG_READ,
	SR_SQL_BAG_REMOVE,
	SR_SQL_VERBS
};

struct sr_sql_bag; /* see sqlite_bag.c */

struct sr_sql_added;
struct sr_sql_fts;

#define SR_SQL_LARGE_CACHE "PRAGMA cache_size=-16384" /* for as long as many rows are written, or read one by one */
#define SR_SQL_CACHE       "PRAGMA cache_size=-2000"  /* SQLite's own */

struct sr_sql_table {
	char *name;  /* OWNED */
	bool synced; /* else `why` says what it is reported as, and nothing below is set */
	enum sr_unknown_why why;
	bool hidden; /* virtual, or part of a virtual one */
	bool without_rowid, strict;
	bool alias; /* its key is the rowid (INTEGER PRIMARY KEY) */
	bool refers, referred; /* it has a foreign key; one refers to it */
	struct sr_sql_column *columns; /* OWNED; `n` that are carried, then generated ones up to `all`; both in byte order of names */
	size_t n, all;
	size_t *key;                  /* OWNED; key columns in key order, as places in `columns` */
	enum sr_sql_collation *folds; /* OWNED; by which two values of that key column are one */
	size_t keys;                  /* 0: no row has a key */
	const char *rowid;            /* by this name rows without a key are reached; NULL: there are none, or none can be reached */
	struct sr_sql_bag *bag;       /* OWNED; the index of these rows, for the length of a transaction; NULL: not made */
	size_t rank;                  /* see sr_store_rank */
	bool conflicts; /* its CREATE says what to do ON CONFLICT */
	struct sr_sql_added *added; /* OWNED; see sqlite_grow.c; NULL: not asked for yet */
	struct sr_hash fingerprint;
	sqlite3_stmt *stmt[SR_SQL_VERBS]; /* OWNED; prepared when first asked for */
};

struct sr_sql_reference { /* a foreign key of a synchronised table */
	size_t child, parent; /* places in the schema's tables; parent == their number: its rows cannot be known here */
	size_t n;             /* columns: */
	size_t *from, *to;    /* OWNED; places in the child's and the parent's `columns` */
	sqlite3_stmt *missing, *orphans; /* OWNED; of a row by its key, */
	sqlite3_stmt *missing_at;        /* OWNED; by its rowid, when the child has rows without a key; any may be NULL */
};

struct sr_sql_schema {
	int64_t version; /* PRAGMA schema_version */
	bool utf8;
	struct sr_sql_table *tables; /* OWNED; in byte order of the names */
	size_t n;
	struct sr_sql_reference *references; /* OWNED */
	size_t n_references;
	struct sr_sql_fts *fts; /* OWNED; how indexes are fed; NULL: not looked at yet */
};

struct sr_sql {
	sqlite3 *db;                  /* NULL: not connected */
	const struct sr_tree_key *tree_key; /* BORROWED from the store */
	struct sr_sql_schema *schema; /* OWNED; NULL: not loaded */
	struct sr_buf record, key;    /* of the row encoded last */
	struct sr_buf fold;           /* scratch */
	struct sr_column *columns;    /* scratch, and */
	struct sr_value *values;      /* scratch, `room` each */
	size_t room;
	bool log;           /* the last transaction went to a write-ahead log, which is to be synced */
	int64_t busy_since; /* tick at which the wait for a lock began */
};

/* When may a scan be spared?  Closed: the database holds what `map` says, as long as data_version does not move. */
struct sr_sql_gate {
	bool closed;
	bool carried; /* over to another connection, before which nobody had committed: data_version does not say any more, the log of Change-Capture does */
	bool edited; /* an apply went in since: the map is the one that the caller makes of it, not `map` */
	int64_t data_version;
	struct sr_hash map;
	struct sr_scan seen; /* the unknown paths of that scan */
};

/* Change-Capture, see sqlite_capture.c. */
struct sr_sql_capture {
	enum sr_capture mode;
	int64_t full_ms;        /* Full-Scan-Interval, where it is not watched */
	bool well;              /* at this schema version all is as it should be; else `why` may say something */
	int64_t version;
	char why[160];
	size_t tables, keyed;   /* that are logged; of these by the keys of rows */
	bool known;             /* the last scan was at this position of the log, at schema version `scanned` */
	int64_t anchor, seen, scanned;
	int64_t taken;          /* up to here its owner has it; 0: not yet */
	bool narrowed;          /* it went by the log */
	int64_t full_at;        /* tick of the last one that did not */
	uint64_t full, by_log;  /* scans */
};

struct sr_sql_apply;

struct sr_sql_store {
	struct sr_store st; /* first */
	struct sr_sql main;
	struct sr_sql_gate gate;
	struct sr_sql_capture capture;
	bool rots; /* something has rotted on the disk (sr_store_rots), and may be well in a cache: an apply reads all anew */
	struct sr_sql_apply *apply;         /* prepared, or NULL */
	int64_t locked_at, held_ms;         /* tick of the last BEGIN IMMEDIATE of an apply, and what it came to */
	bool viewed;                        /* the main view is open */
	atomic_uint extras;                 /* extra views that are open */
	bool idle;                          /* in that time its log was looked at, and nobody wrote to it since */
	int64_t quiet_version, quiet_since; /* data_version at the last look, and the tick since which it has not moved */
	struct timespec judged[2];          /* times of the file and of the log beside it when they were last held against each other */
};

/* --- sqlite.c --- */

/* Connect and configure; touches no page.  *sql stays where it is until it is disconnected.  EXTRA connections only read.  Whether there is
 * a file at all is the caller's to look at. */
SR_MUST enum sr_status sr_sql_connect(struct sr_sql *sql, const struct sr_store *st, enum sr_view_kind kind, struct sr_err *err);
/* Connect to an empty database in memory. */
SR_MUST enum sr_status sr_sql_scratch(struct sr_sql *sql, struct sr_err *err);
void sr_sql_disconnect(struct sr_sql *sql);
/* The main connection, for a view or an apply.  SR_E_NOINPUT: no file; SR_E_CHANGED: another file is there now, look again. */
SR_MUST enum sr_status sr_sql_main(struct sr_sql_store *s, struct sr_err *err);
/* Fill *err from a result code of SQLite: "what: its message". */
enum sr_status sr_sql_fail(struct sr_err *err, struct sr_sql *sql, int rc, const char *fmt, ...) SR_PRINTF(4, 5);
SR_MUST enum sr_status sr_sql_exec(struct sr_sql *sql, const char *text, struct sr_err *err);
/* BEGIN IMMEDIATE.  The transaction is durable when sr_sql_sync() has said SR_OK after its COMMIT. */
SR_MUST enum sr_status sr_sql_begin(struct sr_sql *sql, const struct sr_store *st, struct sr_err *err);
SR_MUST enum sr_status sr_sql_sync(struct sr_sql *sql, struct sr_err *err);
/* The single integer that `text` answers. */
SR_MUST enum sr_status sr_sql_int(struct sr_sql *sql, const char *text, int64_t *out, struct sr_err *err);
/* Inside a transaction: the marker of the apply in progress, and the paths of the leaves that it leaves out (hashes, `kept`; may be NULL).
 */
SR_MUST enum sr_status sr_sql_marker_write(struct sr_sql *sql, const struct sr_marker *marker, const char *store, const struct sr_buf *kept,
					   struct sr_err *err);
SR_MUST enum sr_status sr_sql_marker_read(struct sr_sql *sql, struct sr_marker *marker, struct sr_buf *kept, struct sr_err *err);

/* --- sqlite_log.c --- */

/* Of a database whose file was written after its write-ahead log: by somebody who put another content into it?  A checkpoint writes what is in
 * the log; if no page is as the log has it, it was not that.  Only while this process has no connection. */
bool sr_sql_overwritten(const struct sr_store *st);

/* --- sqlite_user.c --- */

/* Does anybody use the write-ahead log of that database?  Only while this process has no connection: closing any descriptor of the -shm drops all of
 * its POSIX locks there. */
bool sr_sql_log_in_use(const char *path);

/* --- sqlite_schema.c --- */

/* Load, or load again when the schema version moved.  Inside a transaction. */
SR_MUST enum sr_status sr_sql_schema(struct sr_sql *sql, const struct sr_store *st, struct sr_err *err);
void sr_sql_schema_free(struct sr_sql *sql);
struct sr_sql_table *sr_sql_table(const struct sr_sql *sql, struct sr_bytes name); /* NULL: there is none */
bool sr_sql_internal_name(const char *name); /* SQLite's or ours, and no application's */
/* Prepare a query; `arg` (may be NULL; BORROWED until the statement's end) is bound to ?1.  A result code. */
int sr_sql_prepare(struct sr_sql *sql, const char *text, const char *arg, sqlite3_stmt **stmt);
const char *sr_sql_text_at(sqlite3_stmt *stmt, int i); /* never NULL; VALID UNTIL the statement moves */
bool sr_sql_empty(const struct sr_sql *sql);                                       /* no table but our own */
/* A statement of a table, reset and without bindings.  OWNED by the schema. */
SR_MUST enum sr_status sr_sql_statement(struct sr_sql *sql, struct sr_sql_table *t, enum sr_sql_verb verb, sqlite3_stmt **out,
					struct sr_err *err);
/* Parts of a statement's text: a quoted name; the carried columns; " WHERE key=?first...". */
void sr_sql_add_name(struct sr_buf *b, const char *name);
void sr_sql_add_columns(struct sr_buf *b, const struct sr_sql_table *t);
void sr_sql_add_where(struct sr_buf *b, const struct sr_sql_table *t, size_t first);
/* Read again all that depends on the schema, whatever its version says: after a savepoint was rolled back. */
SR_MUST enum sr_status sr_sql_schema_again(struct sr_sql *sql, const struct sr_store *st, struct sr_err *err);

/* --- sqlite_create.c --- */

/* Append the schema text (store.h, SR_SCHEMA_PATH).  Of virtual tables it holds those that sr_sql_index knows, and no shadow tables.  Rows
 * of type "pragma" come first: encoding, user_version, application_id, where they are not the default. */
SR_MUST enum sr_status sr_sql_schema_text(struct sr_sql *sql, struct sr_buf *out, struct sr_err *err);
/* Before the transaction that fills an empty database: take over the text encoding. */
SR_MUST enum sr_status sr_sql_schema_encoding(struct sr_sql *sql, struct sr_bytes text, struct sr_err *err);
/* Create from schema text, of which only CREATE in main is let through.  wanted NULL: everything; a virtual table that cannot be made is
 * left out, and so are triggers that name it.  Else the tables that `wanted` names, and nothing else. */
typedef bool sr_sql_wanted_fn(void *ctx, struct sr_bytes table);
SR_MUST enum sr_status sr_sql_schema_create(struct sr_sql *sql, struct sr_bytes text, sr_sql_wanted_fn *wanted, void *ctx,
					    struct sr_err *err);
/* Make what the text has and this database lacks: indexes and triggers of synchronised tables and of views, views, virtual tables.  What
 * cannot be made is left out; so are UNIQUE indexes, but of the tables that `unique` names. */
SR_MUST enum sr_status sr_sql_schema_complete(struct sr_sql *sql, struct sr_bytes text, sr_sql_wanted_fn *unique, void *ctx,
					      struct sr_err *err);

/* --- sqlite_text.c: what has to be known of a statement before SQLite is given it.  Authorizers decide what it may do. --- */

struct sr_sql_token {
	char kind;            /* 'w': a word or number; 'q': a quoted name or string; 0: the end; else the character that it is */
	struct sr_bytes text; /* BORROWED; with its quotes */
};
struct sr_sql_token sr_sql_token(struct sr_bytes *rest);
bool sr_sql_token_is(const struct sr_sql_token *t, const char *word);    /* that word without quotes, in any case of letters */
bool sr_sql_token_names(const struct sr_sql_token *t, const char *name); /* with or without */
char *sr_sql_token_name(const struct sr_sql_token *t);                   /* without its quotes; OWNED BY CALLER (free) */
bool sr_sql_text_names(struct sr_bytes text, const char *name);          /* does any token? */
/* The next part of a list up to its closing parenthesis or the end, without blanks and comments around it.  False: there is none. */
bool sr_sql_part(struct sr_bytes *rest, char separator, struct sr_bytes *part);

/* A virtual table that indexes what other tables hold: fts3, fts4, fts5, rtree, rtree_i32. */
struct sr_sql_index {
	const char *module;
	struct sr_bytes parts; /* of its definition; BORROWED from the text */
};
/* From the text of its CREATE.  False: it is none, or not one that may be made from outside. */
bool sr_sql_index(struct sr_bytes text, struct sr_sql_index *out);
/* The value of an option in its definition, without quotes; NULL: not given.  OWNED BY CALLER (free). */
char *sr_sql_index_option(const struct sr_sql_index *x, const char *name);

/* --- sqlite_fts.c --- */

/* In an apply's transaction, when its tables are there and before its first row: from now on rows that are written to synchronised tables
 * with sr_sql_fts_step feed the full-text indexes.  Until sr_sql_fts_end, or a rollback. */
SR_MUST enum sr_status sr_sql_fts_begin(struct sr_sql *sql, struct sr_err *err);
/* sqlite3_step() of a statement that writes such a table.  An index that cannot follow is no reason not to write the row. */
int sr_sql_fts_step(struct sr_sql *sql, sqlite3_stmt *stmt);
SR_MUST enum sr_status sr_sql_fts_end(struct sr_sql *sql, struct sr_err *err);
/* Instead, when all tables were empty before: rows are written without, and then all are given to the indexes, which costs far less. */
SR_MUST enum sr_status sr_sql_fts_fill(struct sr_sql *sql, struct sr_err *err);
void sr_sql_fts_free(struct sr_sql_fts *fts);

/* --- sqlite_definition.c --- */

/* The hash of how a schema text defines the table, its constraints and unique indexes.  False: it does not. */
bool sr_sql_definition(struct sr_bytes text, struct sr_bytes table, const struct sr_tree_key *key, struct sr_hash *out);
bool sr_sql_is_unique_index(struct sr_bytes text); /* by its CREATE */
/* Is the table here as that schema text defines it? */
bool sr_sql_is_defined_so(struct sr_sql *sql, const struct sr_store *st, struct sr_bytes text, struct sr_bytes table);

/* --- sqlite_grow.c --- */

/* Add to the table the columns that it lacks and the schema text gives it, if that makes its fingerprint `want` - and, if it is to be `exact`, the
 * table all that the text says: then *grown is set.  Else nothing is changed.  Ends every table of the schema. */
SR_MUST enum sr_status sr_sql_grow(struct sr_sql *sql, const struct sr_store *st, struct sr_bytes text, struct sr_bytes table,
				   const struct sr_hash *want, bool exact, bool *grown, struct sr_err *err);
/* See sr_view_is_grown. */
bool sr_sql_is_grown(struct sr_sql *sql, const struct sr_tree_key *key, struct sr_bytes path, struct sr_bytes record,
		     const struct sr_version *from);
/* See sr_view_grow. */
bool sr_sql_grow_record(struct sr_sql *sql, struct sr_bytes path, struct sr_bytes record, struct sr_buf *out);
/* See sr_view_carry. */
bool sr_sql_carry(struct sr_sql *sql, struct sr_bytes path, struct sr_bytes record, struct sr_buf *out);
void sr_sql_added_free(struct sr_sql_added *added);

/* --- sqlite_references.c --- */

/* Load the foreign keys, when the tables are; the schema owns them. */
SR_MUST enum sr_status sr_sql_references_load(struct sr_sql *sql, struct sr_err *err);
void sr_sql_references_free(struct sr_sql_schema *schema);
/* Does the child's row called `key` (one in a bag: at `rowid`) refer to one that is not there (where the parent's rows cannot be known: to
 * anything at all)?  *parent (may be NULL) gets that one's path appended, or nothing when it cannot be told. */
SR_MUST enum sr_status sr_sql_missing(struct sr_sql *sql, const struct sr_sql_reference *r, struct sr_bytes key, int64_t rowid,
				      bool *missing, struct sr_buf *parent, struct sr_err *err);
/* Append the child's rows (sr_sql_rows_add; equal rows of a bag are one), `most` at most, that refer to what the parent's row of record
 * `old` was, and find nothing there.  Uses sql->record. */
SR_MUST enum sr_status sr_sql_orphans(struct sr_sql *sql, const struct sr_sql_reference *r, struct sr_bytes old, size_t most,
				      struct sr_buf *keys, struct sr_err *err);
/* Append the record's columns that foreign keys refer to, as a record. */
SR_MUST enum sr_status sr_sql_referred(const struct sr_sql_table *t, struct sr_bytes record, struct sr_buf *out, struct sr_err *err);
/* See sr_store_rank. */
size_t sr_sql_rank(const struct sr_store *st, struct sr_bytes table);
/* See sr_view_dangling. */
bool sr_sql_dangling(struct sr_sql *sql, struct sr_bytes path, bool there);

/* --- sqlite_scan.c --- */

/* The value in column i of the row on which `stmt` stands; VALID UNTIL it moves. */
struct sr_value sr_sql_value(sqlite3_stmt *stmt, int i, bool utf8);

/* Encode the row on which `stmt` stands (carried columns in order): sql->record, sql->key.  False: it has no name (too long, or NULL in a
 * key where there is no bag); the record is there all the same. */
SR_MUST bool sr_sql_row(struct sr_sql *sql, const struct sr_sql_table *t, sqlite3_stmt *stmt);
/* The name by its key of the row whose carried columns, in order, stand in sql->columns: sql->key.  False: it has none. */
SR_MUST bool sr_sql_name(struct sr_sql *sql, const struct sr_sql_table *t);
/* Read the row called `key`: its record in sql->record and its version; SR_KIND_NONE when there is none.  In a bag: one of the equal rows,
 * as sr_sql_bag_find found them. */
SR_MUST enum sr_status sr_sql_row_read(struct sr_sql *sql, const struct sr_store *st, struct sr_sql_table *t, struct sr_bytes key,
				       struct sr_version *out, struct sr_err *err);
/* Bind a value; parameters count from 1.  BORROWS its bytes until the statement is reset. */
SR_MUST enum sr_status sr_sql_bind(struct sr_sql *sql, sqlite3_stmt *stmt, size_t at, const struct sr_value *v, struct sr_err *err);
SR_MUST enum sr_status sr_sql_bind_key(struct sr_sql *sql, const struct sr_sql_table *t, sqlite3_stmt *stmt, size_t at, struct sr_bytes key,
				       struct sr_err *err);
/* "table NUL key" into its parts; false: there is no NUL. */
SR_MUST bool sr_sql_path_split(struct sr_bytes path, struct sr_bytes *table, struct sr_bytes *key);
/* Scratch for rows of up to n columns. */
void sr_sql_room(struct sr_sql *sql, size_t n);

enum sr_status sr_sql_view_open(struct sr_view **out, struct sr_store *st, enum sr_view_kind kind, struct sr_err *err);
void sr_sql_view_close(struct sr_view *v);
enum sr_status sr_sql_view_scan(struct sr_view *v, struct sr_nodes *nodes, const struct sr_hash *before, sr_signature_fn *changed,
				void *ctx, struct sr_scan *out, struct sr_err *err);
enum sr_status sr_sql_view_read(struct sr_view *v, struct sr_bytes path, struct sr_content *out, struct sr_err *err);
int64_t sr_sql_view_schema_version(const struct sr_view *v);
bool sr_sql_view_grow(struct sr_view *v, struct sr_bytes path, struct sr_bytes record, struct sr_buf *out);
bool sr_sql_view_carry(struct sr_view *v, struct sr_bytes path, struct sr_bytes record, struct sr_buf *out);
bool sr_sql_view_is_grown(struct sr_view *v, struct sr_bytes path, struct sr_bytes record, const struct sr_version *from);
bool sr_sql_view_dangling(struct sr_view *v, struct sr_bytes path, bool there);
struct sr_sql *sr_sql_of_view(struct sr_view *v); /* its connection */
void sr_sql_gate_open(struct sr_sql_gate *gate); /* the next scan reads everything */

/* --- sqlite_copy.c --- */

enum sr_status sr_sql_view_copy(struct sr_view *v, const char *path, struct sr_err *err);
bool sr_sql_view_blocks(struct sr_view *v);

/* --- sqlite_capture.c --- */

void sr_sql_capture_set(struct sr_store *st, enum sr_capture mode, int64_t full_ms);
/* Outside of any transaction: make the log and its triggers what they should be, or remove them.  Not done: report says why. */
void sr_sql_capture_tend(struct sr_sql_store *s);
void sr_sql_capture_forget(struct sr_sql_store *s); /* another connection, or other exclusions: look again */
/* Inside a transaction that writes: remove from the log what its owner has taken.  When that is committed: trimmed. */
struct sr_sql_trim {
	int64_t anchor, upto; /* anchor 0: nothing was removed */
};
SR_MUST enum sr_status sr_sql_capture_trim(struct sr_sql_store *s, struct sr_sql_trim *trim, struct sr_err *err);
void sr_sql_capture_trimmed(struct sr_sql_store *s, const struct sr_sql_trim *trim);

struct sr_sql_position {
	int64_t anchor, last, version; /* anchor 0: there is no log to go by */
};
struct sr_sql_narrow {
	struct sr_sql_position position; /* as of the view */
	bool *whole;        /* OWNED until sr_sql_capture_scanned; for each table of the schema: all its rows are to be read.  NULL: everything is */
	struct sr_hash map; /* `before`, with the rows of the others as they are now */
};
/* In the view of a scan.  trusted: `before` is the map of the last one, or of an apply since. */
SR_MUST enum sr_status sr_sql_capture_narrow(struct sr_sql_store *s, struct sr_sql *sql, struct sr_nodes *nodes, const struct sr_hash *before,
					     bool trusted, struct sr_scan *out, struct sr_sql_narrow *n, struct sr_err *err);
void sr_sql_capture_scanned(struct sr_sql_store *s, struct sr_sql_narrow *n); /* the scan went through */
void sr_sql_capture_taken(struct sr_store *st);
bool sr_sql_capture_is_full_due(const struct sr_sql_store *s);
void sr_sql_capture_report(const struct sr_store *st, struct sr_capture_report *out);

/* --- sqlite_bag.c --- */

/* Is the row without a key whose carried columns stand in sql->columns? */
bool sr_sql_in_bag(const struct sr_sql *sql, const struct sr_sql_table *t);
/* The text of SR_SQL_BAG... */
void sr_sql_bag_text(struct sr_buf *b, const struct sr_sql_table *t, enum sr_sql_verb verb);
struct sr_sql_place {
	struct sr_hash hash; /* of the record */
	int64_t rowid;
};
struct sr_sql_places {
	struct sr_sql_place *at; /* OWNED */
	size_t n, cap;
};
/* Where are the rows called `key`?  Their rowids, rising, are VALID UNTIL the index is forgotten, which is made by one pass over the table
 * when there is none. */
SR_MUST enum sr_status sr_sql_bag_find(struct sr_sql *sql, struct sr_sql_table *t, struct sr_bytes key, const struct sr_sql_place **places,
				       size_t *n, struct sr_err *err);
/* Make the index, unless it is there. */
SR_MUST enum sr_status sr_sql_bag_index(struct sr_sql *sql, struct sr_sql_table *t, struct sr_err *err);
/* In a new transaction: what others have written since makes an index doubtful.  Rows of a doubtful one are looked at again as they are
 * found; those that others have added are not in it. */
SR_MUST enum sr_status sr_sql_bags_doubt(struct sr_sql *sql, struct sr_err *err);
void sr_sql_bags_forget(struct sr_sql *sql);
void sr_sql_bag_free(struct sr_sql_bag *bag);
/* Read the row at `rowid` into sql->record.  *same: it is there, and is the one that is called `key`. */
SR_MUST enum sr_status sr_sql_bag_read(struct sr_sql *sql, struct sr_sql_table *t, struct sr_bytes key, int64_t rowid, bool *same,
				       struct sr_err *err);
/* Remove it; SR_E_CHANGED when it is not that one.  Its record is in sql->record. */
SR_MUST enum sr_status sr_sql_bag_remove(struct sr_sql *sql, struct sr_sql_table *t, struct sr_bytes key, int64_t rowid,
					 struct sr_err *err);
/* A list of rows, as bytes: string key, string rowids (be64 each; none but of rows in a bag). */
void sr_sql_rows_add(struct sr_buf *out, struct sr_bytes key, const struct sr_sql_place *places, size_t n);
/* Places are gathered, of the rows that are encoded in sql, and added in one go: equal rows under one key.  Sorts them. */
void sr_sql_places_add(struct sr_sql_places *places, const struct sr_sql *sql, int64_t rowid);
void sr_sql_rows_add_equals(struct sr_buf *out, struct sr_sql_places *places);

/* --- sqlite_apply.c --- */

enum sr_status sr_sql_apply_prepare(struct sr_store *st, struct sr_leaves *leaves, const struct sr_marker *marker,
				    const struct sr_apply_ops *ops, struct sr_err *err);
enum sr_status sr_sql_apply_commit(struct sr_store *st, struct sr_err *err);
void sr_sql_apply_rollback(struct sr_store *st);
int64_t sr_sql_apply_held_ms(const struct sr_store *st);
enum sr_status sr_sql_apply_recover(struct sr_store *st, struct sr_leaves *leaves, const struct sr_marker *marker,
				    const struct sr_apply_ops *ops, struct sr_err *err);

/* --- sqlite_check.c --- */

SR_MUST enum sr_status sr_sql_check(struct sr_store *st, struct sr_err *err);

#endif
