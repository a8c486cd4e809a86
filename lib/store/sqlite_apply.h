/* sqlite_apply.h - an apply to a database while it is under way: what the files share that do it.
 *
 * `i` is a leaf's place among all, `leaf` the same leaf, `t` and `key` what it names. */
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
	bool *resets;   /* as rowid: it is no difference to leaf->expect, but to what is there */
	int64_t checked; /* by this version of the schema */
	uint64_t equals, equals_bytes; /* that are to be added to bags */
	size_t waiting; /* leaves to be written */
	bool clean;     /* exactly these leaves go in: who knows the map before knows the one after */
	bool wrote;
	bool unfit; /* the last row was stopped by a constraint other than UNIQUE */
	struct sr_buf schema; /* schema text, when there is a leaf of it */
	bool has_schema;
	bool first; /* the database has no table yet */
	bool fills;   /* the tables are new, all of them */
	bool blank;   /* and there is no row but those of this apply */
	bool grown;   /* a table got columns: its rows are others than they were when this was planned */
	char **paused; /* tables whose TABLE leaf does not fit what is here */
	size_t pauses;
	bool sure; /* the row that was written last holds exactly what was written to it */
	struct sr_buf old, kept;
	struct sr_buf gone; /* rows that others may have referred to: varint leaf, string table, string record (sr_sql_referred) */
	bool refused;       /* by `parentless`: to be rolled back */
	struct sr_buf again; /* tables that rows which are written by this apply may let be redefined: strings */
	struct sr_buf made; /* tables that were made or built anew in this apply: strings */
};

/* --- sqlite_apply.c --- */

bool sr_sql_leaf_applied(uint8_t state); /* it is as it should be, by this apply or before */
bool sr_sql_leaf_waits(uint8_t state);   /* it is to be written */
/* The way of every change of a leaf's state but the one to LEAF_CHECKED. */
void sr_sql_apply_set(struct sr_sql_apply *a, size_t i, enum leaf_state state);
/* Add the path of leaf i to the error.  Returns its code. */
enum sr_status sr_sql_apply_fault(struct sr_sql_apply *a, size_t i, struct sr_err *err);
/* The table and key that a leaf names; NULL: no table here that its row could be in. */
struct sr_sql_table *sr_sql_apply_table(struct sr_sql_apply *a, const struct sr_leaf *leaf, struct sr_bytes *key);
/* The place of the leaf at `path`, or a->n. */
SR_MUST enum sr_status sr_sql_apply_find(struct sr_sql_apply *a, struct sr_bytes path, size_t *out, struct sr_err *err);
/* Go on with the row of a->old, which is *actual?  SR_KEEP: no.  Asks when it is not as expected. */
enum sr_verdict sr_sql_apply_judge(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, const struct sr_version *actual);

/* --- sqlite_tables.c --- */

/* Before the lock: is there a leaf of schema text? */
SR_MUST enum sr_status sr_sql_apply_schema(struct sr_sql_apply *a, struct sr_err *err);
/* From that text: a whole database, or what an existing one of ours lacks of the sender's. */
SR_MUST enum sr_status sr_sql_apply_create(struct sr_sql_apply *a, struct sr_err *err);
bool sr_sql_apply_made(void *a, struct sr_bytes table); /* in this apply, or anew; an sr_sql_wanted_fn */
/* When all rows are written: other constraints that the rows of before did not let in. */
SR_MUST enum sr_status sr_sql_apply_redefine_again(struct sr_sql_apply *a, struct sr_err *err);
/* TABLE leaves: applied when the table is here and of that shape; its rows are left alone otherwise. */
SR_MUST enum sr_status sr_sql_apply_judge_tables(struct sr_sql_apply *a, struct sr_err *err);

/* --- sqlite_reshape.c --- */

/* Make the table of TABLE leaf i what the schema text says, if the sender changed it since it agreed on ours (SR_LEAF_EDITED) and it loses no
 * column by that, or may (SR_LEAF_APPROVED).  Its rows are told as displaced, and kept (sr_store_was).  Not possible: nothing is changed.
 * Ends every table of the schema. */
SR_MUST enum sr_status sr_sql_reshape(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_err *err);
/* Give the table, whose fingerprint stays, the constraints and unique indexes that the schema text defines, if its rows are taken as they are, rowids
 * included.  *why: why it stays as it is; empty: it was done.  Ends every table of the schema. */
SR_MUST enum sr_status sr_sql_redefine(struct sr_sql_apply *a, struct sr_bytes table, struct sr_buf *why, struct sr_err *err);

/* --- sqlite_write.c: one row --- */

/* Spread a record over sql->columns, the table's carried columns in order; what it lacks is NULL. */
SR_MUST enum sr_status sr_sql_spread(struct sr_sql *sql, const struct sr_sql_table *t, struct sr_bytes record, struct sr_err *err);
/* Run a statement of `verb`, with the columns of the leaf's record and with `key` bound as it has them.  *blocked: another row has one of
 * its unique values. */
SR_MUST enum sr_status sr_sql_apply_run(struct sr_sql_apply *a, struct sr_sql_table *t, enum sr_sql_verb verb, const struct sr_leaf *leaf,
					struct sr_bytes key, bool *blocked, struct sr_err *err);
/* Read the row; its record is then in a->old, out of the way of the next read. */
SR_MUST enum sr_status sr_sql_apply_read(struct sr_sql_apply *a, struct sr_sql_table *t, struct sr_bytes key, struct sr_version *out,
					 struct sr_err *err);
/* Tell that a row was displaced for leaf i's sake. */
SR_MUST enum sr_status sr_sql_apply_displaced(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_bytes path,
					      const struct sr_version *version, struct sr_bytes record, bool expected, struct sr_err *err);
/* Delete the row of leaf i, which is *old and a->old, and tell so. */
SR_MUST enum sr_status sr_sql_apply_remove(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_sql_table *t,
					   struct sr_bytes key, const struct sr_version *old, struct sr_err *err);
/* After a write of leaf i that failed with *err: was it a constraint other than UNIQUE, and may the leaf be left out?  Then it is. */
bool sr_sql_apply_leave_out(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, const struct sr_err *err);
/* Write leaf i where *old and a->old are (SR_KIND_NONE: nothing is), unless a UNIQUE constraint stops it: then nothing has happened, and it
 * waits. */
SR_MUST enum sr_status sr_sql_apply_write(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_sql_table *t,
					  struct sr_bytes key, const struct sr_version *old, struct sr_err *err);

/* --- sqlite_equals.c: leaves of a bag --- */

/* Know where the rows are that they speak of, before the lock is taken: it takes a pass over each of their tables. */
SR_MUST enum sr_status sr_sql_equals_index(struct sr_sql_apply *a, struct sr_err *err);
/* So many more of them, or fewer, than there should have been: so many more or fewer there will be.  Those that go are removed. */
SR_MUST enum sr_status sr_sql_equals_judge(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_sql_table *t,
					   struct sr_bytes key, struct sr_err *err);
/* Write the rows that leaf i adds to those equal to it. */
SR_MUST enum sr_status sr_sql_equals_write(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_sql_table *t,
					   struct sr_bytes key, struct sr_err *err);

/* --- sqlite_unique.c: what UNIQUE stops --- */

/* Leaf i gives way.  One that was unseated cannot: its old row is gone. */
SR_MUST enum sr_status sr_sql_apply_give_way(struct sr_sql_apply *a, size_t i, struct sr_err *err);
/* Insert the leaf's row, or else find one that has a unique value of it.  In sql->record, sql->key and *rowid (where the table has a bag):
 * the row that is there now.  *named: it has a name. */
SR_MUST enum sr_status sr_sql_apply_probe(struct sr_sql_apply *a, struct sr_sql_table *t, const struct sr_leaf *leaf, bool *named,
					  int64_t *rowid, struct sr_err *err);
/* Ask about a row that is not part of this apply, and remove it if it may go.  rowids: as sr_sql_rows_add has them. */
SR_MUST enum sr_status sr_sql_apply_evict(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_sql_table *t,
					  struct sr_bytes path, struct sr_bytes key, struct sr_bytes rowids, bool *gone,
					  struct sr_err *err);
/* Write all that waits. */
SR_MUST enum sr_status sr_sql_apply_settle(struct sr_sql_apply *a, struct sr_err *err);

/* --- sqlite_orphans.c: foreign keys --- */

/* A row that went for leaf i's sake (`now`: its record is another now) may leave children behind. */
SR_MUST enum sr_status sr_sql_note_gone(struct sr_sql_apply *a, size_t i, const struct sr_sql_table *t, struct sr_bytes record,
					struct sr_bytes now, struct sr_err *err);
/* The same of a row that comes back under its key: what refers to that is left as it is. */
SR_MUST enum sr_status sr_sql_note_lent(struct sr_sql_apply *a, size_t i, const struct sr_sql_table *t, struct sr_bytes record,
					struct sr_err *err);
/* When all is written: ask about the children of rows that went. */
SR_MUST enum sr_status sr_sql_look_for_orphans(struct sr_sql_apply *a, struct sr_err *err);
/* Ask about rows that were written and refer to nothing. */
SR_MUST enum sr_status sr_sql_ask_parentless(struct sr_sql_apply *a, struct sr_err *err);

#endif
