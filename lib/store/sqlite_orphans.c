/* sqlite_orphans.c - foreign keys at the end of an apply: children of rows that went, and rows that were written and refer to nothing.
 * Violations that were there before are found by neither. */
#include "lib/store/sqlite_apply.h"

#include <stdlib.h>

enum sr_status sr_sql_note_gone(struct sr_sql_apply *a, size_t i, const struct sr_sql_table *t, struct sr_bytes record, struct sr_bytes now,
				struct sr_err *err)
{
	struct sr_buf was = {0}, is = {0};
	enum sr_status st;

	if (!t->referred)
		return SR_OK;
	st = sr_sql_referred(t, record, &was, err);
	if (st == SR_OK && now.len)
		st = sr_sql_referred(t, now, &is, err);
	if (st == SR_OK && (!now.len || !sr_bytes_eq(sr_buf_view(&was), sr_buf_view(&is)))) {
		sr_buf_varint(&a->gone, i);
		sr_buf_string(&a->gone, sr_bytes_of(t->name));
		sr_buf_string(&a->gone, sr_buf_view(&was));
	}
	sr_buf_free(&was);
	sr_buf_free(&is);
	return st;
}

enum sr_status sr_sql_note_lent(struct sr_sql_apply *a, size_t i, const struct sr_sql_table *t, struct sr_bytes record, struct sr_err *err)
{
	struct sr_column *columns;
	struct sr_buf rest = {0};
	size_t n, kept = 0;
	enum sr_status st = sr_record_decode(record, &columns, &n, err);

	if (st != SR_OK)
		return st;
	for (size_t c = 0; c < n; c++) {
		bool in_key = false;

		for (size_t k = 0; k < t->keys && !in_key; k++)
			in_key = sr_bytes_eq(sr_bytes_of(t->columns[t->key[k]].name), columns[c].name);
		if (!in_key)
			columns[kept++] = columns[c];
	}
	sr_record_encode(&rest, columns, kept);
	st = sr_sql_note_gone(a, i, t, sr_buf_view(&rest), sr_bytes(NULL, 0), err);
	sr_buf_free(&rest);
	free(columns);
	return st;
}

/* The child of a row that went for leaf i's sake.  One that is part of this apply is what its leaf says: see ask_parentless.  Of a bag a leaf
 * says only how many more or fewer. */
static enum sr_status ask_about_orphan(struct sr_sql_apply *a, size_t i, struct sr_sql_table *t, struct sr_bytes key,
				       struct sr_bytes rowids, struct sr_err *err)
{
	struct sr_buf path = {0};
	struct sr_leaf leaf;
	size_t other;
	bool gone;
	enum sr_status st;

	sr_buf_bytes(&path, sr_bytes_of(t->name));
	sr_buf_byte(&path, 0);
	sr_buf_bytes(&path, key);
	st = sr_sql_apply_find(a, sr_buf_view(&path), &other, err);
	if (st == SR_OK && (other == a->n || !sr_sql_leaf_applied(a->state[other]) || sr_key_is_bag(key))) {
		st = sr_leaves_at(a->leaves, i, &leaf, err);
		if (st == SR_OK)
			st = sr_sql_apply_evict(a, i, &leaf, t, sr_buf_view(&path), key, rowids, &gone, err);
	}
	sr_buf_free(&path);
	return st == SR_OK ? SR_OK : sr_sql_apply_fault(a, i, err);
}

/* The children by one foreign key. */
static enum sr_status ask_about_orphans(struct sr_sql_apply *a, size_t i, const struct sr_sql_reference *r, struct sr_bytes record,
					struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	struct sr_buf rows = {0};
	enum sr_status st = sr_sql_orphans(sql, r, record, SIZE_MAX, &rows, err);
	struct sr_reader in = sr_reader(sr_buf_view(&rows));

	while (st == SR_OK && !sr_read_done(&in)) {
		struct sr_bytes key = sr_read_string(&in);

		st = ask_about_orphan(a, i, &sql->schema->tables[r->child], key, sr_read_string(&in), err);
	}
	sr_buf_free(&rows);
	return st;
}

/* A child that is removed is noted behind the others, so that its own children are asked about, too. */
enum sr_status sr_sql_look_for_orphans(struct sr_sql_apply *a, struct sr_err *err)
{
	const struct sr_sql_schema *schema = a->s->main.schema;
	struct sr_buf record = {0};
	enum sr_status st = SR_OK;

	for (size_t at = 0; st == SR_OK && at < a->gone.len;) {
		struct sr_reader in = sr_reader(sr_bytes(a->gone.at + at, a->gone.len - at));
		size_t i = (size_t)sr_read_varint(&in);
		const struct sr_sql_table *t = sr_sql_table(&a->s->main, sr_read_string(&in));

		sr_buf_clear(&record);
		sr_buf_bytes(&record, sr_read_string(&in));
		at = a->gone.len - sr_read_left(&in);
		for (size_t k = 0; st == SR_OK && t && k < schema->n_references; k++)
			if (schema->references[k].parent == (size_t)(t - schema->tables))
				st = ask_about_orphans(a, i, &schema->references[k], sr_buf_view(&record), err);
	}
	sr_buf_free(&record);
	return st;
}

/* A row that was written, if its foreign key `r` refers to nothing.  *kept: it must not be. */
static enum sr_status ask_about_parent(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, const struct sr_sql_reference *r,
				       struct sr_bytes key, bool *kept, struct sr_err *err)
{
	struct sr_buf parent = {0};
	bool missing;
	enum sr_status st = sr_sql_missing(&a->s->main, r, key, a->rowid ? a->rowid[i] : 0, &missing, &parent, err);

	*kept = st == SR_OK && missing && a->ops->parentless(a->ops->ctx, i, leaf, sr_buf_view(&parent)) == SR_KEEP;
	sr_buf_free(&parent);
	return st;
}

enum sr_status sr_sql_ask_parentless(struct sr_sql_apply *a, struct sr_err *err)
{
	const struct sr_sql_schema *schema = a->s->main.schema;
	enum sr_status st = SR_OK;

	for (size_t i = 0; st == SR_OK && a->ops->parentless && schema->n_references && i < a->n; i++) {
		const struct sr_sql_table *t;
		struct sr_bytes key;
		struct sr_leaf leaf;
		bool kept = false;

		if (a->state[i] != LEAF_APPLIED)
			continue;
		st = sr_leaves_at(a->leaves, i, &leaf, err);
		t = st == SR_OK && leaf.to.kind == SR_KIND_ROW ? sr_sql_apply_table(a, &leaf, &key) : NULL;
		if (t && sr_key_is_bag(key) && leaf.to.bytes <= leaf.expect.bytes)
			continue; /* some went, nothing was written */
		for (size_t k = 0; st == SR_OK && t && t->refers && !kept && k < schema->n_references; k++) {
			const struct sr_sql_reference *r = &schema->references[k];

			if (r->child == (size_t)(t - schema->tables) && r->parent < schema->n)
				st = ask_about_parent(a, i, &leaf, r, key, &kept, err);
		}
		if (kept) {
			sr_sql_apply_set(a, i, LEAF_KEPT);
			a->refused = true;
		}
	}
	return st;
}
