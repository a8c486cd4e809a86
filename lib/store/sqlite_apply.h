/* sqlite_apply.h - an apply to a database while it is under way: what sqlite_apply.c and sqlite_orphans.c share. */
#ifndef SR_STORE_SQLITE_APPLY_H
#define SR_STORE_SQLITE_APPLY_H

#include "lib/store/sqlite_internal.h"

enum leaf_state {
	LEAF_NEW,
	LEAF_CHECKED,  /* its record is that of its hash and its name */
	LEAF_UPDATE,   /* to be written: the row is there */
	LEAF_INSERT,   /* it is not */
	LEAF_UNSEATED, /* it was, and was deleted so that others can move: it has to be inserted */
	LEAF_APPLIED,
	LEAF_SAME, /* applied: it was so already */
	LEAF_KEPT,
};

struct sr_sql_apply {
	struct sr_sql_store *s;
	struct sr_leaves *leaves;       /* BORROWED */
	const struct sr_apply_ops *ops; /* BORROWED */
	size_t n;
	uint8_t *state; /* enum leaf_state of each leaf */
	int64_t *rowid; /* of the row that was written last for it, in a bag; NULL: no leaf is of a bag */
	int64_t checked; /* by this version of the schema */
	size_t waiting; /* leaves to be written */
	bool clean;     /* exactly these leaves go in: who knows the map before knows the one after */
	bool wrote;
	bool unfit; /* the last row was stopped by a constraint other than UNIQUE */
	struct sr_buf schema; /* schema text, when there is a leaf of it */
	bool has_schema;
	bool first; /* the database has no table yet */
	bool fills;   /* the tables are new, all of them */
	bool grown;   /* a table got columns: its rows are others than they were when this was planned */
	char **paused; /* tables whose TABLE leaf does not fit what is here */
	size_t pauses;
	bool sure; /* the row that was written last holds exactly what was written to it */
	struct sr_buf old, kept;
	struct sr_buf gone; /* rows that others may have referred to: varint leaf, string table, string record (sr_sql_referred) */
	bool refused;       /* by `parentless`: to be rolled back */
};

/* --- sqlite_apply.c --- */

bool sr_sql_leaf_applied(uint8_t state);
void sr_sql_apply_set(struct sr_sql_apply *a, size_t i, enum leaf_state state);
/* Add the path of leaf i to the error.  Returns its code. */
enum sr_status sr_sql_apply_fault(struct sr_sql_apply *a, size_t i, struct sr_err *err);
/* The table and key that a leaf names; NULL: no table here that its row could be in. */
struct sr_sql_table *sr_sql_apply_table(struct sr_sql_apply *a, const struct sr_leaf *leaf, struct sr_bytes *key);
/* The place of the leaf at `path`, or a->n. */
SR_MUST enum sr_status sr_sql_apply_find(struct sr_sql_apply *a, struct sr_bytes path, size_t *out, struct sr_err *err);
/* Ask about a row that is not part of this apply, and remove it if it may go.  rowids: as sr_sql_rows_add has them. */
SR_MUST enum sr_status sr_sql_apply_evict(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_sql_table *t,
					  struct sr_bytes path, struct sr_bytes key, struct sr_bytes rowids, bool *gone,
					  struct sr_err *err);

/* --- sqlite_orphans.c: when all is written --- */

/* Ask about the children of rows that went. */
SR_MUST enum sr_status sr_sql_look_for_orphans(struct sr_sql_apply *a, struct sr_err *err);
/* Ask about rows that were written and refer to nothing. */
SR_MUST enum sr_status sr_sql_ask_parentless(struct sr_sql_apply *a, struct sr_err *err);

#endif
