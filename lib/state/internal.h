/* internal.h - what ask.c and state*.c share; nobody else includes it (but the room's own tests).
 *
 * A question to the database is a struct sr_ask, in the manner of struct sr_reader: begin it, give the parameters in order, take rows and
 * columns, end it.  The first fault sticks, everything after it does nothing, and the end reports it. */
#ifndef SR_STATE_INTERNAL_H
#define SR_STATE_INTERNAL_H

#include <sqlite3.h>

#include "lib/state/sql.h"
#include "lib/state/state.h"

/* leaf.base_state has one value more than enum sr_base_state: known, and equal to local; `base` is NULL then. */
#define SR_BASE_SAME 3

/* store.base_known: what the base of a leaf without a row is. */
enum { SR_ABSENT_UNKNOWN = 0, SR_ABSENT_KNOWN = 1, SR_ABSENT_HINT = 2 };

struct sr_feed;

struct sr_state {
	sqlite3 *db;
	sqlite3_stmt *cached[SR_SQL_COUNT]; /* prepared when first asked */
	char *dir, *file;
	int lock, dir_lock;      /* -1: a reader */
	bool reader;
	bool in_step;            /* between begin and commit */
	enum sr_status spoiled;  /* what failed in this step: it can only be rolled back */
	struct sr_buf path;      /* behind sr_state_leaf's out->path */
	struct sr_buf note;      /* behind head->note and result->answer */
	struct sr_buf pack[2];   /* versions, or a leaf, on their way in */
	struct sr_feed *feed;    /* what sr_feed holds while a statement runs */
	uint64_t journal_keep;   /* rows, whatever their age */
	uint64_t journal_most;   /* rows, with those that are not older than: */
	int64_t journal_since_ms;
	uint64_t deleted_keep;   /* names kept by a trim; one happens when there are a tenth more */
	uint64_t deleted_room;   /* names that may be added before they have to be counted */
};

struct sr_ask {
	struct sr_state *s;
	sqlite3_stmt *st;
	enum sr_sql sql;
	bool fresh;      /* `st` is our own: finalised at the end */
	int given;       /* parameters so far */
	int rc;          /* SQLITE_OK, _ROW, _DONE, or the first fault */
	const char *why; /* a fault that SQLite did not find; NULL: ask it */
};

/* By the cached statement: for what is ended before anyone else is called. */
struct sr_ask sr_ask(struct sr_state *s, enum sr_sql sql);
/* By a statement of its own: for listings, whose callback may ask the same. */
struct sr_ask sr_ask_fresh(struct sr_state *s, enum sr_sql sql);

/* Parameters; bytes are BORROWED until the end. */
void sr_give_i64(struct sr_ask *q, int64_t v);
void sr_give_u64(struct sr_ask *q, uint64_t v);   /* the int64 of equal bits */
void sr_give_order(struct sr_ask *q, uint64_t v); /* for a comparison: at most INT64_MAX */
void sr_give_bytes(struct sr_ask *q, struct sr_bytes b);
void sr_give_text(struct sr_ask *q, const char *text); /* NULL: NULL */
void sr_give_uuid(struct sr_ask *q, const struct sr_uuid *u); /* none: NULL */
void sr_give_hash(struct sr_ask *q, const struct sr_hash *h); /* none: NULL */
void sr_give_version(struct sr_ask *q, const struct sr_buf *packed); /* empty: NULL */

bool sr_ask_row(struct sr_ask *q); /* false: no more, or a fault */

/* Columns of the row; VALID UNTIL the next row or the end. */
uint64_t sr_take_u64(struct sr_ask *q, int column);
struct sr_bytes sr_take_bytes(struct sr_ask *q, int column);
char *sr_take_text(struct sr_ask *q, int column); /* NULL when NULL */
void sr_take_uuid(struct sr_ask *q, int column, struct sr_uuid *out);
void sr_take_hash(struct sr_ask *q, int column, struct sr_hash *out);
void sr_take_version(struct sr_ask *q, int column, struct sr_version *out);
void sr_ask_fault(struct sr_ask *q, const char *why); /* what the row says cannot be: SR_E_DATA */
bool sr_ask_good(const struct sr_ask *q);

SR_MUST enum sr_status sr_ask_end(struct sr_ask *q, struct sr_err *err);
SR_MUST enum sr_status sr_ask_run(struct sr_ask *q, struct sr_err *err); /* no row is expected: one step, and the end */

/* What SQLite's rc means to callers.  why NULL: SQLite's own words. */
enum sr_status sr_state_fault(const struct sr_state *s, int rc, const char *what, const char *why, struct sr_err *err);

/* (kind, varint mode, varint bytes, hash unless zero); nothing for SR_KIND_NONE.  Replaces what *out holds. */
void sr_version_pack(struct sr_buf *out, const struct sr_version *v);

/* For functions of several statements: a step of their own when there is none yet.  leave() commits or rolls back that one, and passes
 * `status` on. */
SR_MUST enum sr_status sr_state_enter(struct sr_state *s, bool *own, struct sr_err *err);
SR_MUST enum sr_status sr_state_leave(struct sr_state *s, bool own, enum sr_status status, struct sr_err *err);

#endif
