/* sqlite_tables.c - the tables of an apply: made from its schema text, given the columns that they lack, and held against its TABLE leaves.
 * One that was built anew is built anew here (sqlite_reshape.c); no table is ever dropped. */
#include "lib/store/sqlite_apply.h"

#include <stdlib.h>
#include <string.h>

enum sr_status sr_sql_apply_schema(struct sr_sql_apply *a, struct sr_err *err)
{
	struct sr_leaf leaf;
	size_t at;
	enum sr_status st = sr_sql_apply_find(a, sr_bytes_of(SR_SCHEMA_PATH), &at, err);

	if (st != SR_OK || at == a->n)
		return st;
	st = sr_leaves_at(a->leaves, at, &leaf, err);
	if (st != SR_OK)
		return st;
	a->has_schema = true;
	sr_buf_bytes(&a->schema, leaf.record);
	sr_sql_apply_set(a, at, LEAF_APPLIED);
	return SR_OK;
}

/* Tables of this apply that are not here yet. */
static bool is_missing(void *ctx, struct sr_bytes table)
{
	struct sr_sql_apply *a = ctx;
	size_t at;
	struct sr_leaf leaf;

	return !sr_sql_table(&a->s->main, table) && sr_sql_apply_find(a, table, &at, NULL) == SR_OK && at < a->n &&
	       sr_leaves_at(a->leaves, at, &leaf, NULL) == SR_OK && leaf.to.kind == SR_KIND_TABLE;
}

/* The table of leaf i becomes what the text says: by added columns alone if that makes the very same of it, else it is built anew.  If neither can
 * be, it gets the columns without the constraints. */
static enum sr_status change_table(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_err *err)
{
	enum { EXACTLY, ANEW, NEARLY, WAYS };
	struct sr_sql *sql = &a->s->main;
	enum sr_status st = SR_OK;

	for (int way = EXACTLY; st == SR_OK && way < WAYS; way++) {
		const struct sr_sql_table *t = sr_sql_table(sql, leaf->path);

		if (!t || !t->synced || sr_hash_eq(&t->fingerprint, &leaf->to.hash))
			break;
		st = way == ANEW ? sr_sql_reshape(a, i, leaf, err)
				 : sr_sql_grow(sql, &a->s->st, sr_buf_view(&a->schema), leaf->path, &leaf->to.hash, way == EXACTLY, &a->grown, err);
	}
	return st;
}

/* Tables of this apply that are here, and have fewer columns, or are others. */
static enum sr_status grow_tables(struct sr_sql_apply *a, struct sr_err *err)
{
	enum sr_status st = SR_OK;

	for (size_t i = 0; st == SR_OK && i < a->n; i++) {
		struct sr_leaf leaf;

		st = sr_leaves_at(a->leaves, i, &leaf, err);
		if (st == SR_OK && leaf.to.kind == SR_KIND_TABLE && a->state[i] == LEAF_NEW)
			st = change_table(a, i, &leaf, err);
	}
	return st;
}

enum sr_status sr_sql_apply_create(struct sr_sql_apply *a, struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	struct sr_bytes text = sr_buf_view(&a->schema);
	bool empty = sr_sql_empty(sql);
	enum sr_status st;

	if (!a->has_schema || (!empty && !a->s->st.ours))
		return SR_OK;
	a->clean = false;
	a->fills = empty;
	st = sr_sql_schema_create(sql, text, empty ? NULL : is_missing, a, err);
	if (st == SR_OK)
		st = sr_sql_schema(sql, &a->s->st, err);
	if (st != SR_OK || empty)
		return st;
	st = grow_tables(a, err);
	if (st == SR_OK)
		st = sr_sql_schema_complete(sql, text, err);
	return st == SR_OK ? sr_sql_schema_again(sql, &a->s->st, err) : st;
}

static bool table_leaf(const struct sr_leaf *leaf)
{
	return !memchr(leaf->path.at, 0, leaf->path.len);
}

enum sr_status sr_sql_apply_judge_tables(struct sr_sql_apply *a, struct sr_err *err)
{
	enum sr_status st = SR_OK;

	for (size_t i = 0; st == SR_OK && i < a->n; i++) {
		struct sr_leaf leaf;
		const struct sr_sql_table *t;

		st = sr_leaves_at(a->leaves, i, &leaf, err);
		if (st != SR_OK || a->state[i] != LEAF_NEW || !table_leaf(&leaf))
			continue;
		t = sr_sql_table(&a->s->main, leaf.path);
		if (leaf.to.kind == SR_KIND_TABLE ? t && t->synced && sr_hash_eq(&t->fingerprint, &leaf.to.hash)
						  : leaf.to.kind == SR_KIND_NONE && !t) {
			sr_sql_apply_set(a, i, LEAF_APPLIED);
			continue;
		}
		sr_sql_apply_set(a, i, LEAF_KEPT);
		if (leaf.to.kind != SR_KIND_TABLE)
			continue;
		a->paused = sr_realloc(a->paused, (a->pauses + 1) * sizeof *a->paused);
		a->paused[a->pauses++] = sr_text(leaf.path);
	}
	return st;
}
