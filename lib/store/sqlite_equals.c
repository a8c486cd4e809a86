/* sqlite_equals.c - leaves of a bag, in an apply.
 *
 * Such a leaf is a difference: so many equal rows more, or fewer.  Rows go before any come; what it meets is counted by an index made
 * before the lock (sqlite_bag.c). */
#include <inttypes.h>

#include "lib/store/sqlite_apply.h"

enum sr_status sr_sql_equals_index(struct sr_sql_apply *a, struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	enum sr_status st = SR_OK;

	for (size_t i = 0; st == SR_OK && i < a->n; i++) {
		struct sr_leaf leaf;
		struct sr_bytes key;
		struct sr_sql_table *t;

		st = sr_leaves_at(a->leaves, i, &leaf, err);
		if (st != SR_OK || !sr_path_is_bag(leaf.path))
			continue;
		if (!a->rowid) {
			a->rowid = sr_alloc(a->n * sizeof *a->rowid);
			a->resets = sr_alloc(a->n * sizeof *a->resets);
			st = sr_sql_exec(sql, "BEGIN", err);
			if (st == SR_OK)
				st = sr_sql_schema(sql, &a->s->st, err);
		}
		t = st == SR_OK ? sr_sql_apply_table(a, &leaf, &key) : NULL;
		if (t)
			st = sr_sql_bag_index(sql, t, err);
	}
	return st == SR_OK && a->rowid ? sr_sql_exec(sql, "COMMIT", err) : st;
}

/* How many equal rows are meant, in a bag. */
static uint64_t times(const struct sr_version *v)
{
	return v->kind == SR_KIND_ROW ? v->bytes : 0;
}

/* Remove `n` of the equal rows at these places: those that came last. */
static enum sr_status remove_equals(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_sql_table *t,
				    struct sr_bytes key, const struct sr_sql_place *places, const struct sr_version *actual, uint64_t n,
				    struct sr_err *err)
{
	enum sr_status st = SR_OK;

	for (uint64_t k = 0; st == SR_OK && k < n; k++)
		st = sr_sql_bag_remove(&a->s->main, t, key, places[actual->bytes - 1 - k].rowid, err);
	if (st != SR_OK)
		return st;
	a->wrote = true;
	sr_buf_clear(&a->old);
	sr_buf_bytes(&a->old, sr_buf_view(&a->s->main.record));
	st = sr_sql_apply_displaced(a, i, leaf, leaf->path, actual, sr_buf_view(&a->old), true, err);
	return st == SR_OK ? sr_sql_note_gone(a, i, t, sr_buf_view(&a->old), sr_bytes(NULL, 0), err) : st;
}

/* A few bytes must not fill a disk: a leaf stands for as many rows as it says, and all of a push for no more than were let in one by one. */
static enum sr_status count_more(struct sr_sql_apply *a, const struct sr_leaf *leaf, uint64_t more, struct sr_err *err)
{
	uint64_t rows = a->ops->most_equals.rows, most = a->ops->most_equals.bytes, bytes;

	if (__builtin_add_overflow(a->equals, more, &a->equals) || (rows && a->equals > rows))
		return sr_err_set(err, SR_E_LIMIT, "equal rows: more than Max-Leaves, %" PRIu64 " rows", rows);
	if (__builtin_mul_overflow(more, leaf->record.len, &bytes) || __builtin_add_overflow(a->equals_bytes, bytes, &a->equals_bytes) ||
	    (most && a->equals_bytes > most))
		return sr_err_set(err, SR_E_LIMIT, "equal rows: more than Max-Push-Bytes, %" PRIu64 " bytes", most);
	return SR_OK;
}

enum sr_status sr_sql_equals_judge(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_sql_table *t,
				   struct sr_bytes key, struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	const struct sr_sql_place *places;
	struct sr_version actual = {0};
	uint64_t before = times(&leaf->expect), after = times(&leaf->to), fewer;
	enum sr_verdict verdict;
	size_t n;
	bool same;
	enum sr_status st = sr_sql_bag_find(sql, t, key, &places, &n, err);

	sr_buf_clear(&sql->record);
	if (st == SR_OK && n) {
		actual = (struct sr_version){.kind = SR_KIND_ROW, .bytes = n, .hash = places->hash};
		st = sr_sql_bag_read(sql, t, key, places->rowid, &same, err);
	}
	if (st != SR_OK)
		return st;
	sr_buf_clear(&a->old);
	sr_buf_bytes(&a->old, sr_buf_view(&sql->record));
	verdict = sr_sql_apply_judge(a, i, leaf, &actual);
	if (verdict == SR_KEEP) {
		sr_sql_apply_set(a, i, LEAF_KEPT);
		return SR_OK;
	}
	a->resets[i] = verdict == SR_RESET;
	if (a->resets[i])
		before = n;
	else if (!sr_version_eq(&actual, &leaf->expect))
		a->clean = false; /* it will be another number than leaf->to has */
	if (after > before)
		st = count_more(a, leaf, after - before, err);
	if (st != SR_OK)
		return st;
	fewer = before > after ? before - after : 0;
	if (fewer > n)
		fewer = n;
	sr_sql_apply_set(a, i, after > before ? LEAF_INSERT : fewer ? LEAF_APPLIED : LEAF_SAME);
	return fewer ? remove_equals(a, i, leaf, t, key, places, &actual, fewer, err) : SR_OK;
}

/* A row of leaf i is stopped.  By one that is equal to it, perhaps the one that was just written for it: that asks for a verdict at once,
 * for no other row can be in its way as well.  Else it waits. */
static enum sr_status stopped_by_equal(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_sql_table *t,
				       struct sr_bytes key, bool written, struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	struct sr_version actual = {.kind = SR_KIND_ROW, .bytes = 1, .hash = leaf->to.hash};
	bool named;
	int64_t rowid;
	enum sr_status st = sr_sql_apply_probe(a, t, leaf, &named, &rowid, err);

	if (st != SR_OK || !named || !sr_bytes_eq(sr_buf_view(&sql->key), key))
		return st;
	if (a->ops->in_the_way && a->ops->in_the_way(a->ops->ctx, i, leaf, leaf->path, &actual, sr_buf_view(&sql->record)) == SR_TAKE) {
		a->clean = false;
		sr_sql_apply_set(a, i, written ? LEAF_APPLIED : LEAF_SAME);
		return SR_OK;
	}
	if (written)
		st = sr_sql_bag_remove(sql, t, key, rowid, err);
	return st == SR_OK ? sr_sql_apply_give_way(a, i, err) : st;
}

enum sr_status sr_sql_equals_write(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_sql_table *t,
				   struct sr_bytes key, struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	enum sr_status st = SR_OK;
	const struct sr_sql_place *places;
	uint64_t more = times(&leaf->to) - times(&leaf->expect);
	size_t n;

	if (a->resets[i]) {
		st = sr_sql_bag_find(sql, t, key, &places, &n, err);
		more = times(&leaf->to) - n;
	}
	for (uint64_t k = 0; st == SR_OK && k < more; k++) {
		bool blocked = false, same = false;

		st = sr_sql_apply_run(a, t, SR_SQL_INSERT, leaf, key, &blocked, err);

		if (st == SR_OK && blocked)
			return stopped_by_equal(a, i, leaf, t, key, k > 0, err);
		if (st != SR_OK && sr_sql_apply_leave_out(a, i, leaf, err)) /* none of them was written: they are equal */
			return SR_OK;
		a->wrote = true;
		a->rowid[i] = sqlite3_last_insert_rowid(sql->db);
		if (st == SR_OK)
			st = sr_sql_bag_read(sql, t, key, a->rowid[i], &same, err);
		if (st == SR_OK && !same)
			st = sr_err_set(err, SR_E_DATA, "the database made another row of it");
		if (st != SR_OK)
			return st;
	}
	if (st == SR_OK)
		sr_sql_apply_set(a, i, LEAF_APPLIED);
	return st;
}
