/* sqlite_unique.c - what a UNIQUE constraint stops, in an apply.
 *
 * It waits for the others (sr_sql_apply_settle): tried again in both directions; then rows that are not part of the apply are asked about;
 * what is left is a cycle, whose rows are deleted and inserted. */
#include "lib/store/sqlite_apply.h"

#define RETRY_ROUNDS 8 /* of both directions; then delete-and-insert costs less */

enum sr_status sr_sql_apply_give_way(struct sr_sql_apply *a, size_t i, struct sr_err *err)
{
	struct sr_leaf leaf;
	enum sr_status st = sr_leaves_at(a->leaves, i, &leaf, err);

	if (st == SR_OK && a->state[i] == LEAF_UNSEATED)
		st = sr_err_set(err, SR_E_DATA, "a UNIQUE value that two rows are to have");
	if (st != SR_OK)
		return st;
	if ((leaf.flags & SR_LEAF_MERGED) && a->ops->unfit)
		(void)a->ops->unfit(a->ops->ctx, i, &leaf, "not written: UNIQUE constraint failed"); /* either side's values may be unique, and those of both together not */
	sr_sql_apply_set(a, i, LEAF_KEPT);
	return SR_OK;
}

enum sr_status sr_sql_apply_probe(struct sr_sql_apply *a, struct sr_sql_table *t, const struct sr_leaf *leaf, bool *named, int64_t *rowid,
				  struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	sqlite3_stmt *stmt;
	enum sr_status st = sr_sql_statement(sql, t, SR_SQL_PROBE, &stmt, err);
	int rc;

	if (st == SR_OK)
		st = sr_sql_spread(sql, t, leaf->record, err);
	for (size_t i = 0; st == SR_OK && i < t->n; i++)
		st = sr_sql_bind(sql, stmt, i + 1, &sql->columns[i].value, err);
	if (st != SR_OK)
		return st;
	rc = sr_sql_fts_step(sql, stmt);
	if (rc == SQLITE_ROW) {
		*named = sr_sql_row(sql, t, stmt);
		*rowid = t->rowid ? sqlite3_column_int64(stmt, (int)t->n) : 0;
		rc = sqlite3_step(stmt); /* to its end: a reset before it takes the transaction back when virtual tables were written */
	}
	if (rc != SQLITE_DONE)
		st = sr_sql_fail(err, sql, rc, "not written");
	sqlite3_reset(stmt);
	sqlite3_clear_bindings(stmt);
	return st;
}

/* --- what is in the way ------------------------------------------------------------------------------------------ */

/* All rows (as sr_sql_rows_add has them) that keep leaf i from being written.  Found by trying, in a savepoint that is rolled back: partial
 * indexes and indexes on expressions are the database's to understand.  *unnamed: one of them has no name. */
static enum sr_status obstacles(struct sr_sql_apply *a, struct sr_sql_table *t, const struct sr_leaf *leaf, struct sr_bytes key,
				struct sr_buf *rows, bool *unnamed, struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	struct sr_buf found = {0};
	bool blocked;
	enum sr_status st = sr_sql_exec(sql, "SAVEPOINT sameroot_probe", err);

	if (st != SR_OK)
		return st;
	if (!sr_key_is_bag(key))
		st = sr_sql_apply_run(a, t, SR_SQL_REMOVE, leaf, key, &blocked, err);
	while (st == SR_OK && !*unnamed) {
		bool named = false, bag;
		struct sr_sql_place at;

		st = sr_sql_apply_probe(a, t, leaf, &named, &at.rowid, err);
		*unnamed = !named;
		if (st != SR_OK || *unnamed || sr_bytes_eq(sr_buf_view(&sql->key), key))
			break; /* nothing was in the way any more: this is the leaf's own row */
		if (found.len && sr_bytes_eq(sr_buf_view(&sql->key), sr_buf_view(&found))) {
			/* That one was deleted: it is our own row now. */
			st = sr_err_set(err, SR_E_DATA, "the database makes another key of it");
			break;
		}
		sr_buf_clear(&found);
		sr_buf_bytes(&found, sr_buf_view(&sql->key));
		bag = sr_key_is_bag(sr_buf_view(&found));
		sr_sql_rows_add(rows, sr_buf_view(&found), &at, bag);
		st = bag ? sr_sql_bag_remove(sql, t, sr_buf_view(&found), at.rowid, err)
			 : sr_sql_apply_run(a, t, SR_SQL_REMOVE, leaf, sr_buf_view(&found), &blocked, err);
	}
	sr_buf_free(&found);
	if (sr_sql_exec(sql, "ROLLBACK TO sameroot_probe; RELEASE sameroot_probe", st == SR_OK ? err : NULL) != SR_OK && st == SR_OK)
		st = err ? err->code : SR_E_IO;
	return st;
}

/* As sr_sql_apply_read; in a bag: the row at the first of these places, and how many they are. */
static enum sr_status read_found(struct sr_sql_apply *a, struct sr_sql_table *t, struct sr_bytes key, struct sr_bytes rowids,
				 struct sr_version *out, struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	struct sr_reader r = sr_reader(rowids);
	bool same;
	enum sr_status st;

	if (!rowids.len)
		return sr_sql_apply_read(a, t, key, out, err);
	st = sr_sql_bag_read(sql, t, key, (int64_t)sr_read_be64(&r), &same, err);
	sr_buf_clear(&a->old);
	*out = (struct sr_version){0};
	if (st != SR_OK || !same)
		return st;
	sr_buf_bytes(&a->old, sr_buf_view(&sql->record));
	*out = (struct sr_version){.kind = SR_KIND_ROW, .bytes = rowids.len / sizeof(int64_t)};
	sr_hash_of(&out->hash, sql->tree_key, sr_buf_view(&a->old));
	return SR_OK;
}

static enum sr_status remove_found(struct sr_sql_apply *a, const struct sr_leaf *leaf, struct sr_sql_table *t, struct sr_bytes key,
				   struct sr_bytes rowids, struct sr_err *err)
{
	struct sr_reader r = sr_reader(rowids);
	bool blocked;
	enum sr_status st = SR_OK;

	if (!rowids.len)
		return sr_sql_apply_run(a, t, SR_SQL_REMOVE, leaf, key, &blocked, err);
	while (st == SR_OK && !sr_read_done(&r))
		st = sr_sql_bag_remove(&a->s->main, t, key, (int64_t)sr_read_be64(&r), err);
	return st;
}

enum sr_status sr_sql_apply_evict(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_sql_table *t,
				  struct sr_bytes path, struct sr_bytes key, struct sr_bytes rowids, bool *gone, struct sr_err *err)
{
	struct sr_version old;
	enum sr_verdict verdict;
	enum sr_status st = read_found(a, t, key, rowids, &old, err);

	*gone = false;
	if (st != SR_OK || old.kind != SR_KIND_ROW || !a->ops->in_the_way)
		return st;
	verdict = a->ops->in_the_way(a->ops->ctx, i, leaf, path, &old, sr_buf_view(&a->old));
	if (verdict == SR_KEEP)
		return SR_OK;
	st = remove_found(a, leaf, t, key, rowids, err);
	if (st == SR_OK)
		st = sr_sql_apply_displaced(a, i, leaf, path, &old, sr_buf_view(&a->old), false, err);
	if (st == SR_OK)
		st = verdict == SR_LEND ? sr_sql_note_lent(a, i, t, sr_buf_view(&a->old), err)
					: sr_sql_note_gone(a, i, t, sr_buf_view(&a->old), sr_bytes(NULL, 0), err);
	a->wrote = true;
	a->clean = false; /* the caller's map knows nothing of that row */
	*gone = true;
	return st;
}

/* One row in the way of leaf i. */
static enum sr_status clear_one(struct sr_sql_apply *a, size_t i, struct sr_bytes key, struct sr_bytes rowids, bool *cleared,
				struct sr_err *err)
{
	struct sr_buf path = {0};
	struct sr_leaf leaf;
	struct sr_bytes name, own;
	size_t other;
	bool gone = false;
	enum sr_status st = sr_leaves_at(a->leaves, i, &leaf, err);

	if (st != SR_OK)
		return st;
	if (!sr_sql_path_split(leaf.path, &name, &own))
		return sr_err_set(err, SR_E_INTERNAL, "not a row");
	sr_buf_bytes(&path, name);
	sr_buf_byte(&path, 0);
	sr_buf_bytes(&path, key);
	st = sr_sql_apply_find(a, sr_buf_view(&path), &other, err);
	if (st == SR_OK)
		st = sr_leaves_at(a->leaves, i, &leaf, err);
	if (st == SR_OK && other < a->n && sr_sql_leaf_applied(a->state[other])) {
		st = sr_sql_apply_give_way(a, i, err); /* two leaves of this apply cannot both be */
		*cleared = true;
	} else if (st == SR_OK && (other == a->n || a->state[other] == LEAF_KEPT)) {
		st = sr_sql_apply_evict(a, i, &leaf, sr_sql_apply_table(a, &leaf, &own), sr_buf_view(&path), key, rowids, &gone, err);
		if (st == SR_OK && !gone)
			st = sr_sql_apply_give_way(a, i, err);
		*cleared = true;
	} /* else it waits itself, and will move */
	sr_buf_free(&path);
	return st;
}

/* Ask about whatever is in the way of leaf i and does not wait itself. */
static enum sr_status clear_the_way(struct sr_sql_apply *a, size_t i, bool *cleared, struct sr_err *err)
{
	struct sr_leaf leaf;
	struct sr_bytes key;
	struct sr_buf rows = {0};
	struct sr_reader r;
	struct sr_sql_table *t;
	bool unnamed = false;
	enum sr_status st = sr_leaves_at(a->leaves, i, &leaf, err);

	if (st != SR_OK)
		return st;
	t = sr_sql_apply_table(a, &leaf, &key);
	st = obstacles(a, t, &leaf, key, &rows, &unnamed, err);
	if (st == SR_OK && unnamed) { /* one that nobody can speak of is nothing that we may delete */
		st = sr_sql_apply_give_way(a, i, err);
		*cleared = true;
	}
	r = sr_reader(sr_buf_view(&rows));
	while (st == SR_OK && sr_sql_leaf_waits(a->state[i]) && !sr_read_done(&r)) {
		struct sr_bytes found = sr_read_string(&r);

		st = clear_one(a, i, found, sr_read_string(&r), cleared, err);
	}
	sr_buf_free(&rows);
	return st == SR_OK ? SR_OK : sr_sql_apply_fault(a, i, err);
}

/* --- what waits -------------------------------------------------------------------------------------------------- */

/* Write leaf i, which waits. */
static enum sr_status write_row(struct sr_sql_apply *a, size_t i, struct sr_err *err)
{
	struct sr_leaf leaf;
	struct sr_bytes key;
	struct sr_version old;
	struct sr_sql_table *t;
	enum sr_status st = sr_leaves_at(a->leaves, i, &leaf, err);

	if (st != SR_OK)
		return st;
	t = sr_sql_apply_table(a, &leaf, &key);
	if (sr_key_is_bag(key)) {
		st = sr_sql_equals_write(a, i, &leaf, t, key, err);
		return st == SR_OK ? SR_OK : sr_sql_apply_fault(a, i, err);
	}
	st = sr_sql_apply_read(a, t, key, &old, err);
	if (st == SR_OK)
		st = sr_sql_apply_write(a, i, &leaf, t, key, &old, err);
	return st == SR_OK ? SR_OK : sr_sql_apply_fault(a, i, err);
}

static enum sr_status write_waiting(struct sr_sql_apply *a, bool backwards, struct sr_err *err)
{
	enum sr_status st = SR_OK;

	for (size_t k = 0; st == SR_OK && a->waiting && k < a->n; k++) {
		size_t i = backwards ? a->n - 1 - k : k;

		if (sr_sql_leaf_waits(a->state[i]))
			st = write_row(a, i, err);
	}
	return st;
}

static enum sr_status remove_row(struct sr_sql_apply *a, size_t i, struct sr_err *err)
{
	struct sr_leaf leaf;
	struct sr_bytes key;
	struct sr_version old;
	struct sr_sql_table *t;
	enum sr_status st = sr_leaves_at(a->leaves, i, &leaf, err);

	if (st != SR_OK)
		return st;
	t = sr_sql_apply_table(a, &leaf, &key);
	st = sr_sql_apply_read(a, t, key, &old, err);
	return st == SR_OK && old.kind == SR_KIND_ROW ? sr_sql_apply_remove(a, i, &leaf, t, key, &old, err) : st;
}

static enum sr_status unseat_all(struct sr_sql_apply *a, size_t *count, struct sr_err *err)
{
	enum sr_status st = SR_OK;

	*count = 0;
	for (size_t i = 0; st == SR_OK && i < a->n; i++) {
		if (a->state[i] != LEAF_UPDATE)
			continue;
		st = remove_row(a, i, err);
		if (st != SR_OK)
			return sr_sql_apply_fault(a, i, err);
		sr_sql_apply_set(a, i, LEAF_UNSEATED);
		++*count;
	}
	return st;
}

/* Each turn writes a leaf, takes a row out of the way, or gives a leaf up; unseating happens once. */
enum sr_status sr_sql_apply_settle(struct sr_sql_apply *a, struct sr_err *err)
{
	enum sr_status st = SR_OK;

	for (size_t round = 0; st == SR_OK && a->waiting; round++) {
		size_t before = a->waiting, unseated = 0;
		bool cleared = false;

		st = write_waiting(a, true, err);
		if (st == SR_OK)
			st = write_waiting(a, false, err);
		if (st != SR_OK || !a->waiting || (a->waiting < before && round < RETRY_ROUNDS))
			continue;
		for (size_t i = 0; st == SR_OK && i < a->n; i++)
			if (sr_sql_leaf_waits(a->state[i]))
				st = clear_the_way(a, i, &cleared, err);
		if (st != SR_OK || cleared)
			continue;
		st = unseat_all(a, &unseated, err);
		if (st == SR_OK && !unseated && a->waiting == before)
			st = sr_err_set(err, SR_E_DATA, "%s: %zu rows stop each other by UNIQUE constraints", a->s->st.name, a->waiting);
	}
	return st;
}
