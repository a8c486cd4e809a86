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

/* Tables of this apply that are not here yet: they are made. */
static bool is_missing(void *ctx, struct sr_bytes table)
{
	struct sr_sql_apply *a = ctx;
	size_t at;
	struct sr_leaf leaf;

	if (sr_sql_table(&a->s->main, table) || sr_sql_apply_find(a, table, &at, NULL) != SR_OK || at == a->n ||
	    sr_leaves_at(a->leaves, at, &leaf, NULL) != SR_OK || leaf.to.kind != SR_KIND_TABLE)
		return false;
	sr_buf_string(&a->made, table);
	return true;
}

bool sr_sql_apply_made(void *ctx, struct sr_bytes table)
{
	const struct sr_sql_apply *a = ctx;
	struct sr_reader in = sr_reader(sr_buf_view(&a->made));
	bool yes = false;

	while (!yes && !sr_read_done(&in))
		yes = sr_bytes_eq(sr_read_string(&in), table);
	return yes;
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

/* Looser ones, before the rows that need them; those that need rows of this apply wait for its end. */
static enum sr_status redefine_table(struct sr_sql_apply *a, struct sr_bytes name, bool last, struct sr_err *err)
{
	struct sr_buf why = {0};
	enum sr_status st = sr_sql_redefine(a, name, &why, err);

	if (st == SR_OK && why.len && !last)
		sr_buf_string(&a->again, name);
	else if (st == SR_OK && a->ops->redefined)
		a->ops->redefined(a->ops->ctx, name, why.len ? sr_buf_text(&why) : NULL);
	sr_buf_free(&why);
	return st;
}

enum sr_status sr_sql_apply_redefine_again(struct sr_sql_apply *a, struct sr_err *err)
{
	struct sr_reader in = sr_reader(sr_buf_view(&a->again));
	enum sr_status st = SR_OK;

	while (st == SR_OK && !sr_read_done(&in))
		st = redefine_table(a, sr_read_string(&in), true, err);
	return st;
}

/* Tables that are here in the shape that the text has, and with other constraints. */
static enum sr_status redefine_tables(struct sr_sql_apply *a, struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	struct sr_buf text = {0}, ours = {0}, theirs = {0};
	struct sr_reader in;
	enum sr_status st = SR_OK;

	if (!a->ops->redefine)
		return SR_OK;
	st = sr_sql_schema_text(sql, &text, err);
	sr_schema_definitions(sr_buf_view(&text), a->s->st.key, &ours);
	sr_schema_definitions(sr_buf_view(&a->schema), a->s->st.key, &theirs);
	in = sr_reader(sr_buf_view(&theirs));
	while (st == SR_OK && !sr_read_done(&in)) {
		struct sr_bytes name = sr_read_string(&in), hash = sr_read_bytes(&in, SR_HASH_LEN);
		const struct sr_sql_table *t = sr_sql_table(sql, name);
		struct sr_hash definition, here;

		memcpy(definition.b, hash.at, sizeof definition.b);
		if (t && t->synced && !sr_sql_apply_made(a, name) && sr_schema_definition(sr_buf_view(&ours), name, &here) &&
		    !sr_hash_eq(&here, &definition) && a->ops->redefine(a->ops->ctx, name, &definition) == SR_TAKE)
			st = redefine_table(a, name, false, err);
	}
	sr_buf_free(&text);
	sr_buf_free(&ours);
	sr_buf_free(&theirs);
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
	a->fills = a->blank = empty;
	st = sr_sql_schema_create(sql, text, empty ? NULL : is_missing, a, err);
	if (st == SR_OK)
		st = sr_sql_schema(sql, &a->s->st, err);
	if (st != SR_OK || empty)
		return st;
	st = grow_tables(a, err);
	if (st == SR_OK)
		st = redefine_tables(a, err);
	if (st == SR_OK)
		st = sr_sql_schema_complete(sql, text, sr_sql_apply_made, a, err);
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
