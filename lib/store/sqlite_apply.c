/* sqlite_apply.c - leaves into a database, in one transaction with the marker.
 *
 * Under BEGIN IMMEDIATE every row is read again, judged, and deleted, updated in place or inserted.  What a UNIQUE constraint stops waits
 * for the others (settle): tried again in both directions; then rows that are not part of the apply are asked about; what is left is a
 * cycle, whose rows are deleted and inserted.  Each write is proven: by its values, which the column cannot but keep, else by reading the
 * row again.
 *
 * A leaf of a bag is a difference: so many equal rows more, or fewer.  Rows go before any come; what it meets is counted by an index made
 * before the lock (sqlite_bag.c).
 *
 * Triggers and foreign keys are off (sqlite.c).  When all is written, foreign keys are looked at by query: the children of rows that went
 * are asked about, then the rows that were written and refer to nothing.  Violations that were there before are not found by either.
 *
 * A leaf that is left out (SR_KEEP) is noted beside the marker, so that recovery does not take it for applied. */
#include "lib/store/sqlite_apply.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* What does not fit is written before the commit, which in a rollback journal's mode needs the readers out of the way from then on. */
#define CACHE_OF_APPLY "PRAGMA cache_size=-16384"
#define CACHE          "PRAGMA cache_size=-2000" /* SQLite's own */

#define EQUALS_MOST  10000000 /* equal rows that one leaf may add: a few bytes must not fill a disk */
#define RETRY_ROUNDS 8 /* of both directions; then delete-and-insert costs less */

static void apply_free(struct sr_sql_apply *a)
{
	sr_buf_free(&a->schema);
	sr_buf_free(&a->old);
	sr_buf_free(&a->kept);
	sr_buf_free(&a->gone);
	for (size_t i = 0; i < a->pauses; i++)
		free(a->paused[i]);
	free(a->paused);
	free(a->state);
	free(a->rowid);
	sr_sql_bags_forget(&a->s->main);
	free(a);
}

/* --- leaves ----------------------------------------------------------------------------------------------------- */

static bool to_be_written(uint8_t state)
{
	return state == LEAF_UPDATE || state == LEAF_INSERT || state == LEAF_UNSEATED;
}

bool sr_sql_leaf_applied(uint8_t state)
{
	return state == LEAF_APPLIED || state == LEAF_SAME;
}

void sr_sql_apply_set(struct sr_sql_apply *a, size_t i, enum leaf_state state)
{
	a->waiting -= to_be_written(a->state[i]);
	a->waiting += to_be_written((uint8_t)state);
	a->state[i] = (uint8_t)state;
	if (state == LEAF_KEPT)
		a->clean = false;
}

static enum sr_status leaf_fault(struct sr_sql_apply *a, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct sr_buf text = {0};
	enum sr_status st;

	sr_leaf_path_text(&text, a->s->st.name, SR_KIND_DATABASE, leaf->path);
	st = sr_err_context(err, "%.300s", sr_buf_text(&text));
	sr_buf_free(&text);
	return st;
}

enum sr_status sr_sql_apply_fault(struct sr_sql_apply *a, size_t i, struct sr_err *err)
{
	struct sr_leaf leaf;

	return sr_leaves_at(a->leaves, i, &leaf, NULL) == SR_OK ? leaf_fault(a, &leaf, err) : err ? err->code : SR_E_IO;
}

static bool paused(const struct sr_sql_apply *a, struct sr_bytes table)
{
	for (size_t i = 0; i < a->pauses; i++)
		if (sr_bytes_eq(sr_bytes_of(a->paused[i]), table))
			return true;
	return false;
}

/* The table and key that a leaf names; NULL: no table here that its row could be in. */
struct sr_sql_table *sr_sql_apply_table(struct sr_sql_apply *a, const struct sr_leaf *leaf, struct sr_bytes *key)
{
	struct sr_bytes name;
	struct sr_sql_table *t;

	if (!sr_sql_path_split(leaf->path, &name, key) || paused(a, name))
		return NULL;
	t = sr_sql_table(&a->s->main, name);
	return t && t->synced ? t : NULL;
}

/* The place of the leaf at `path`, or a->n. */
enum sr_status sr_sql_apply_find(struct sr_sql_apply *a, struct sr_bytes path, size_t *out, struct sr_err *err)
{
	struct sr_leaf leaf;

	return sr_leaves_find(a->leaves, path, out, &leaf, err);
}

/* --- writing one row -------------------------------------------------------------------------------------------- */

/* Spread a record over sql->columns, the table's carried columns in order; what it lacks is NULL. */
static enum sr_status spread(struct sr_sql *sql, const struct sr_sql_table *t, struct sr_bytes record, struct sr_err *err)
{
	struct sr_column *columns;
	size_t n, at = 0;
	enum sr_status st = sr_record_decode(record, &columns, &n, err);

	if (st != SR_OK)
		return st;
	sr_sql_room(sql, t->n);
	for (size_t i = 0; i < t->n; i++) {
		sql->columns[i] = (struct sr_column){.name = sr_bytes_of(t->columns[i].name)};
		if (at < n && sr_bytes_eq(columns[at].name, sql->columns[i].name))
			sql->columns[i].value = columns[at++].value;
	}
	if (at < n)
		st = sr_err_set(err, SR_E_CHANGED, "there is no column %.*s here",
				(int)(columns[at].name.len < 100 ? columns[at].name.len : 100), (const char *)columns[at].name.at);
	free(columns);
	return st;
}

/* Is it sure that a column holds exactly this value once it was written to it?  So it is by its affinity, of all values that it has nothing to
 * convert in; no trigger and no ON CONFLICT of the table comes in between.  When in doubt, it is not: then the row is read. */
static bool kept_as_is(const struct sr_sql_schema *schema, const struct sr_sql_column *c, const struct sr_value *v)
{
	const uint8_t *at = v->b.at, *end = at + v->b.len;

	switch (v->class) {
	case SR_INT:
		return c->affinity != 'B' && c->affinity != 'E';
	case SR_REAL: /* -0.0 is stored as 0.0, NaN as NULL, a whole number may become an INT */
		return c->affinity != 'B' && v->real < 0x1p52 && v->real > -0x1p52 && v->real != (double)(int64_t)v->real;
	case SR_TEXT:
		if (c->affinity >= 'C') { /* what might be read as a number */
			while (at < end && strchr("\t\n\v\f\r ", *at))
				at++;
			if (at == end || strchr("+-.0123456789", *at))
				return false;
		}
		return schema->utf8;
	default:
		return true;
	}
}

static bool all_kept_as_is(const struct sr_sql *sql, const struct sr_sql_table *t)
{
	bool sure = true;

	for (size_t i = 0; sure && i < t->n; i++)
		sure = kept_as_is(sql->schema, &t->columns[i], &sql->columns[i].value);
	return sure;
}

/* Run a statement of `verb`, with the columns of the leaf's record and with `key` bound as it has them.  *blocked: another row has one of
 * its unique values. */
static enum sr_status run(struct sr_sql_apply *a, struct sr_sql_table *t, enum sr_sql_verb verb, const struct sr_leaf *leaf,
			  struct sr_bytes key, bool *blocked, struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	bool record = verb != SR_SQL_REMOVE, where = verb != SR_SQL_INSERT;
	sqlite3_stmt *stmt;
	enum sr_status st = sr_sql_statement(sql, t, verb, &stmt, err);
	int rc;

	if (st == SR_OK && record)
		st = spread(sql, t, leaf->record, err);
	for (size_t i = 0; st == SR_OK && record && i < t->n; i++) /* an update leaves the numbers of key columns unused */
		st = sr_sql_bind(sql, stmt, i + 1, &sql->columns[i].value, err);
	if (st == SR_OK && where)
		st = sr_sql_bind_key(sql, t, stmt, record ? t->n + 1 : 1, key, err);
	if (st != SR_OK)
		return st;
	a->sure = record && all_kept_as_is(sql, t);
	rc = sr_sql_fts_step(sql, stmt);
	*blocked = rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY || rc == SQLITE_CONSTRAINT_ROWID;
	a->unfit = (rc & 0xff) == SQLITE_CONSTRAINT && !*blocked;
	if (rc != SQLITE_DONE && !*blocked)
		st = sr_sql_fail(err, sql, rc, "not written");
	a->sure = a->sure && rc == SQLITE_DONE && sqlite3_changes(sql->db) == 1;
	sqlite3_reset(stmt);
	sqlite3_clear_bindings(stmt);
	return st;
}

/* The exact bytes of the key columns may differ under one name ('Bob', 'BOB'). */
static bool same_key_bytes(const struct sr_sql_table *t, struct sr_bytes a, struct sr_bytes b)
{
	struct sr_column *x = NULL, *y = NULL;
	struct sr_buf p = {0}, q = {0};
	size_t n, m;
	bool same = t->alias;

	if (!same && sr_record_decode(a, &x, &n, NULL) == SR_OK && sr_record_decode(b, &y, &m, NULL) == SR_OK) {
		for (size_t k = 0; k < t->keys; k++) {
			struct sr_bytes name = sr_bytes_of(t->columns[t->key[k]].name);

			for (size_t i = 0; i < n; i++)
				if (sr_bytes_eq(x[i].name, name))
					sr_key_encode(&p, &x[i].value, 1);
			for (size_t i = 0; i < m; i++)
				if (sr_bytes_eq(y[i].name, name))
					sr_key_encode(&q, &y[i].value, 1);
		}
		same = sr_bytes_eq(sr_buf_view(&p), sr_buf_view(&q));
	}
	free(x);
	free(y);
	sr_buf_free(&p);
	sr_buf_free(&q);
	return same;
}

static enum sr_status tell_displaced(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_bytes path,
				     const struct sr_version *version, struct sr_bytes record, bool expected, struct sr_err *err)
{
	struct sr_displaced old = {.path = path, .version = *version, .record = record, .dirfd = -1, .expected = expected};

	return a->ops->displaced ? a->ops->displaced(a->ops->ctx, i, leaf, &old, err) : SR_OK;
}

/* Read the row; its record is then in a->old, out of the way of the next read. */
static enum sr_status read_old(struct sr_sql_apply *a, struct sr_sql_table *t, struct sr_bytes key, struct sr_version *out,
			       struct sr_err *err)
{
	enum sr_status st = sr_sql_row_read(&a->s->main, &a->s->st, t, key, out, err);
	struct sr_buf record = a->s->main.record;

	a->s->main.record = a->old;
	a->old = record;
	if (st != SR_OK)
		sr_buf_clear(&a->old);
	return st;
}

/* A row that went for leaf i's sake (`now`: its record is another now) may leave children behind. */
static enum sr_status note_gone(struct sr_sql_apply *a, size_t i, const struct sr_sql_table *t, struct sr_bytes record, struct sr_bytes now,
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

/* As note_gone(), of a row that comes back under its key: what refers to that is left as it is. */
static enum sr_status note_lent(struct sr_sql_apply *a, size_t i, const struct sr_sql_table *t, struct sr_bytes record, struct sr_err *err)
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
	st = note_gone(a, i, t, sr_buf_view(&rest), sr_bytes(NULL, 0), err);
	sr_buf_free(&rest);
	free(columns);
	return st;
}

/* Delete the row of leaf i, which is *old and a->old, and tell so. */
static enum sr_status remove_old(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_sql_table *t, struct sr_bytes key,
				 const struct sr_version *old, struct sr_err *err)
{
	bool blocked;
	enum sr_status st = run(a, t, SR_SQL_REMOVE, leaf, key, &blocked, err);

	a->wrote = true;
	if (st == SR_OK)
		st = tell_displaced(a, i, leaf, leaf->path, old, sr_buf_view(&a->old), sr_version_eq(old, &leaf->expect), err);
	return st == SR_OK ? note_gone(a, i, t, sr_buf_view(&a->old), sr_bytes(NULL, 0), err) : st;
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
	st = read_old(a, t, key, &old, err);
	return st == SR_OK && old.kind == SR_KIND_ROW ? remove_old(a, i, &leaf, t, key, &old, err) : st;
}

/* Is the row that `run` wrote what the leaf says? */
static enum sr_status prove(struct sr_sql_apply *a, struct sr_sql_table *t, const struct sr_leaf *leaf, struct sr_bytes key,
			    struct sr_err *err)
{
	struct sr_version now;
	enum sr_status st;

	if (a->sure)
		return SR_OK;
	st = sr_sql_row_read(&a->s->main, &a->s->st, t, key, &now, err);

	if (st == SR_OK && !sr_version_eq(&now, &leaf->to))
		st = sr_err_set(err, SR_E_DATA, "the database made another row of it");
	return st;
}

/* Leaf i gives way.  One that was unseated cannot: its old row is gone. */
static enum sr_status give_way(struct sr_sql_apply *a, size_t i, struct sr_err *err)
{
	if (a->state[i] == LEAF_UNSEATED)
		return sr_err_set(err, SR_E_DATA, "a UNIQUE value that two rows are to have");
	sr_sql_apply_set(a, i, LEAF_KEPT);
	return SR_OK;
}

/* Insert the leaf's row, or else find one that has a unique value of it.  In sql->record, sql->key and *rowid (where the table has a bag):
 * the row that is there now.  *named: it has a name. */
static enum sr_status probe(struct sr_sql_apply *a, struct sr_sql_table *t, const struct sr_leaf *leaf, bool *named, int64_t *rowid,
			    struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	sqlite3_stmt *stmt;
	enum sr_status st = sr_sql_statement(sql, t, SR_SQL_PROBE, &stmt, err);
	int rc;

	if (st == SR_OK)
		st = spread(sql, t, leaf->record, err);
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

/* How many equal rows are meant, in a bag. */
static uint64_t times(const struct sr_version *v)
{
	return v->kind == SR_KIND_ROW ? v->bytes : 0;
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
	enum sr_status st = probe(a, t, leaf, &named, &rowid, err);

	if (st != SR_OK || !named || !sr_bytes_eq(sr_buf_view(&sql->key), key))
		return st;
	if (a->ops->in_the_way && a->ops->in_the_way(a->ops->ctx, i, leaf, leaf->path, &actual, sr_buf_view(&sql->record)) == SR_TAKE) {
		a->clean = false;
		sr_sql_apply_set(a, i, written ? LEAF_APPLIED : LEAF_SAME);
		return SR_OK;
	}
	if (written)
		st = sr_sql_bag_remove(sql, t, key, rowid, err);
	return st == SR_OK ? give_way(a, i, err) : st;
}

/* Write the rows that leaf i adds to those equal to it. */
static enum sr_status write_equals(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_sql_table *t,
				   struct sr_bytes key, struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	uint64_t more = times(&leaf->to) - times(&leaf->expect);

	for (uint64_t k = 0; k < more; k++) {
		bool blocked = false, same = false;
		enum sr_status st = run(a, t, SR_SQL_INSERT, leaf, key, &blocked, err);

		if (st == SR_OK && blocked)
			return stopped_by_equal(a, i, leaf, t, key, k > 0, err);
		a->wrote = true;
		a->rowid[i] = sqlite3_last_insert_rowid(sql->db);
		if (st == SR_OK)
			st = sr_sql_bag_read(sql, t, key, a->rowid[i], &same, err);
		if (st == SR_OK && !same)
			st = sr_err_set(err, SR_E_DATA, "the database made another row of it");
		if (st != SR_OK)
			return st;
	}
	sr_sql_apply_set(a, i, LEAF_APPLIED);
	return SR_OK;
}

/* Nothing has happened to it, as long as its old row is still there. */
static bool may_leave_out(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf)
{
	return a->unfit && (leaf->flags & SR_LEAF_MERGED) && a->state[i] != LEAF_UNSEATED && a->ops->unfit &&
	       a->ops->unfit(a->ops->ctx, i, leaf) == SR_KEEP;
}

/* Write leaf i where *old and a->old are (SR_KIND_NONE: nothing is), unless a UNIQUE constraint stops it: then nothing has happened, and it
 * waits. */
static enum sr_status write_over(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_sql_table *t, struct sr_bytes key,
				 const struct sr_version *old, struct sr_err *err)
{
	enum sr_sql_verb verb = SR_SQL_INSERT;
	bool blocked = false, there = old->kind == SR_KIND_ROW;
	enum sr_status st;

	if (there)
		verb = same_key_bytes(t, sr_buf_view(&a->old), leaf->record) ? SR_SQL_UPDATE : SR_SQL_REKEY;
	st = run(a, t, verb, leaf, key, &blocked, err);
	if (st == SR_OK && blocked)
		return SR_OK;
	if (st != SR_OK && may_leave_out(a, i, leaf)) {
		sr_sql_apply_set(a, i, LEAF_KEPT);
		return SR_OK;
	}
	a->wrote = true;
	if (st == SR_OK)
		st = prove(a, t, leaf, key, err);
	if (st == SR_OK && there)
		st = tell_displaced(a, i, leaf, leaf->path, old, sr_buf_view(&a->old), sr_version_eq(old, &leaf->expect), err);
	if (st == SR_OK && there)
		st = note_gone(a, i, t, sr_buf_view(&a->old), leaf->record, err);
	if (st == SR_OK)
		sr_sql_apply_set(a, i, LEAF_APPLIED);
	return st;
}

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
		st = write_equals(a, i, &leaf, t, key, err);
		return st == SR_OK ? SR_OK : leaf_fault(a, &leaf, err);
	}
	st = read_old(a, t, key, &old, err);
	if (st == SR_OK)
		st = write_over(a, i, &leaf, t, key, &old, err);
	return st == SR_OK ? SR_OK : leaf_fault(a, &leaf, err);
}

/* --- judging ---------------------------------------------------------------------------------------------------- */

/* Is the row whose columns stand in sql->columns called so? */
static bool is_called(struct sr_sql *sql, const struct sr_sql_table *t, struct sr_bytes key)
{
	if (sr_key_is_bag(key))
		return sr_sql_in_bag(sql, t); /* its hash was looked at already */
	return sr_sql_name(sql, t) && sr_bytes_eq(sr_buf_view(&sql->key), key);
}

/* A leaf whose record is not what its hash and its path say must not get near a table. */
static enum sr_status check_record(struct sr_sql_apply *a, const struct sr_leaf *leaf, const struct sr_sql_table *t, struct sr_bytes key,
				   struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	enum sr_status st;

	if (!sr_leaf_record_is(leaf, a->s->st.key))
		return sr_err_set(err, SR_E_DATA, "the record is not that of its hash");
	st = spread(sql, t, leaf->record, err);
	if (st == SR_OK && !is_called(sql, t, key))
		st = sr_err_set(err, SR_E_DATA, "the record has another key than its name");
	return st;
}

/* Go on with this row?  Asks when it is not as expected. */
static bool take(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, const struct sr_version *actual)
{
	if (sr_version_eq(actual, &leaf->expect) ||
	    (a->grown && sr_sql_is_grown(&a->s->main, a->s->st.key, leaf->path, sr_buf_view(&a->old), &leaf->expect)))
		return true;
	return a->ops->clash && a->ops->clash(a->ops->ctx, i, leaf, actual, sr_buf_view(&a->old)) == SR_TAKE;
}

/* Before there is a lock: the records, by the schema as it was seen last.  Should it be another under the lock, judge_row checks again. */
static enum sr_status check_records(struct sr_sql_apply *a, struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	enum sr_status st = SR_OK;

	if (!sql->schema)
		return SR_OK;
	a->checked = sql->schema->version;
	for (size_t i = 0; st == SR_OK && i < a->n; i++) {
		struct sr_leaf leaf;
		struct sr_bytes key;
		struct sr_sql_table *t;

		st = sr_leaves_at(a->leaves, i, &leaf, err);
		t = st == SR_OK && leaf.to.kind == SR_KIND_ROW ? sr_sql_apply_table(a, &leaf, &key) : NULL;
		if (!t)
			continue;
		if (check_record(a, &leaf, t, key, NULL) == SR_OK) /* if not, it is told under the lock */
			a->state[i] = LEAF_CHECKED;
	}
	return st;
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
	st = tell_displaced(a, i, leaf, leaf->path, actual, sr_buf_view(&a->old), true, err);
	return st == SR_OK ? note_gone(a, i, t, sr_buf_view(&a->old), sr_bytes(NULL, 0), err) : st;
}

/* So many more of them, or fewer, than there should have been: so many more or fewer there will be. */
static enum sr_status judge_equals(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_sql_table *t,
				   struct sr_bytes key, struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	const struct sr_sql_place *places;
	struct sr_version actual = {0};
	uint64_t before = times(&leaf->expect), after = times(&leaf->to), fewer;
	size_t n;
	bool same;
	enum sr_status st = sr_sql_bag_find(sql, t, key, &places, &n, err);

	sr_buf_clear(&sql->record);
	if (st == SR_OK && n) {
		actual = (struct sr_version){.kind = SR_KIND_ROW, .bytes = n, .hash = places->hash};
		st = sr_sql_bag_read(sql, t, key, places->rowid, &same, err);
	}
	if (st == SR_OK && after > before && after - before > EQUALS_MOST)
		st = sr_err_set(err, SR_E_LIMIT, "%llu equal rows more, at once", (unsigned long long)(after - before));
	if (st != SR_OK)
		return st;
	sr_buf_clear(&a->old);
	sr_buf_bytes(&a->old, sr_buf_view(&sql->record));
	if (!take(a, i, leaf, &actual)) {
		sr_sql_apply_set(a, i, LEAF_KEPT);
		return SR_OK;
	}
	if (!sr_version_eq(&actual, &leaf->expect))
		a->clean = false; /* it will be another number than leaf->to has */
	fewer = before > after ? before - after : 0;
	if (fewer > n)
		fewer = n;
	sr_sql_apply_set(a, i, after > before ? LEAF_INSERT : fewer ? LEAF_APPLIED : LEAF_SAME);
	return fewer ? remove_equals(a, i, leaf, t, key, places, &actual, fewer, err) : SR_OK;
}

static enum sr_status judge_row(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct sr_bytes key;
	struct sr_sql_table *t = sr_sql_apply_table(a, leaf, &key);
	struct sr_version actual;
	enum sr_status st;

	if (leaf->to.kind != SR_KIND_ROW && leaf->to.kind != SR_KIND_NONE)
		return sr_err_set(err, SR_E_DATA, "not a row");
	if (!t) { /* the table is not here, or not as the sender knows it: for the next scan to report */
		sr_sql_apply_set(a, i, LEAF_KEPT);
		return SR_OK;
	}
	if (leaf->to.kind == SR_KIND_ROW && (a->state[i] != LEAF_CHECKED || a->checked != a->s->main.schema->version)) {
		st = check_record(a, leaf, t, key, err);
		if (st != SR_OK)
			return st;
	}
	if (sr_key_is_bag(key))
		return judge_equals(a, i, leaf, t, key, err);
	st = read_old(a, t, key, &actual, err);
	if (st != SR_OK)
		return st;
	if (sr_version_eq(&actual, &leaf->to)) {
		sr_sql_apply_set(a, i, LEAF_SAME);
		return SR_OK;
	}
	if (!take(a, i, leaf, &actual)) {
		sr_sql_apply_set(a, i, LEAF_KEPT);
		return SR_OK;
	}
	if (leaf->to.kind == SR_KIND_NONE) {
		sr_sql_apply_set(a, i, LEAF_APPLIED);
		return remove_old(a, i, leaf, t, key, &actual, err);
	}
	sr_sql_apply_set(a, i, actual.kind == SR_KIND_ROW ? LEAF_UPDATE : LEAF_INSERT);
	return write_over(a, i, leaf, t, key, &actual, err);
}

static enum sr_status judge(struct sr_sql_apply *a, size_t i, struct sr_err *err)
{
	struct sr_leaf leaf;
	enum sr_status st = sr_leaves_at(a->leaves, i, &leaf, err);

	if (st != SR_OK || (a->state[i] != LEAF_NEW && a->state[i] != LEAF_CHECKED))
		return st;
	st = judge_row(a, i, &leaf, err);
	return st == SR_OK ? SR_OK : sr_sql_apply_fault(a, i, err);
}

/* --- what UNIQUE stops ------------------------------------------------------------------------------------------ */

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
		st = run(a, t, SR_SQL_REMOVE, leaf, key, &blocked, err);
	while (st == SR_OK && !*unnamed) {
		bool named = false, bag;
		struct sr_sql_place at;

		st = probe(a, t, leaf, &named, &at.rowid, err);
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
			 : run(a, t, SR_SQL_REMOVE, leaf, sr_buf_view(&found), &blocked, err);
	}
	sr_buf_free(&found);
	if (sr_sql_exec(sql, "ROLLBACK TO sameroot_probe; RELEASE sameroot_probe", st == SR_OK ? err : NULL) != SR_OK && st == SR_OK)
		st = err ? err->code : SR_E_IO;
	return st;
}

/* As read_old; in a bag: the row at the first of these places, and how many they are. */
static enum sr_status read_found(struct sr_sql_apply *a, struct sr_sql_table *t, struct sr_bytes key, struct sr_bytes rowids,
				 struct sr_version *out, struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	struct sr_reader r = sr_reader(rowids);
	bool same;
	enum sr_status st;

	if (!rowids.len)
		return read_old(a, t, key, out, err);
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
		return run(a, t, SR_SQL_REMOVE, leaf, key, &blocked, err);
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
		st = tell_displaced(a, i, leaf, path, &old, sr_buf_view(&a->old), false, err);
	if (st == SR_OK)
		st = verdict == SR_LEND ? note_lent(a, i, t, sr_buf_view(&a->old), err)
					: note_gone(a, i, t, sr_buf_view(&a->old), sr_bytes(NULL, 0), err);
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
		st = give_way(a, i, err); /* two leaves of this apply cannot both be */
		*cleared = true;
	} else if (st == SR_OK && (other == a->n || a->state[other] == LEAF_KEPT)) {
		st = sr_sql_apply_evict(a, i, &leaf, sr_sql_apply_table(a, &leaf, &own), sr_buf_view(&path), key, rowids, &gone, err);
		if (st == SR_OK && !gone)
			st = give_way(a, i, err);
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
		st = give_way(a, i, err);
		*cleared = true;
	}
	r = sr_reader(sr_buf_view(&rows));
	while (st == SR_OK && to_be_written(a->state[i]) && !sr_read_done(&r)) {
		struct sr_bytes found = sr_read_string(&r);

		st = clear_one(a, i, found, sr_read_string(&r), cleared, err);
	}
	sr_buf_free(&rows);
	return st == SR_OK ? SR_OK : sr_sql_apply_fault(a, i, err);
}

static enum sr_status write_waiting(struct sr_sql_apply *a, bool backwards, struct sr_err *err)
{
	enum sr_status st = SR_OK;

	for (size_t k = 0; st == SR_OK && a->waiting && k < a->n; k++) {
		size_t i = backwards ? a->n - 1 - k : k;

		if (to_be_written(a->state[i]))
			st = write_row(a, i, err);
	}
	return st;
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

/* Write what a UNIQUE constraint has stopped.  Each turn writes a leaf, takes a row out of the way, or gives a leaf up; unseating happens
 * once. */
static enum sr_status settle(struct sr_sql_apply *a, struct sr_err *err)
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
			if (to_be_written(a->state[i]))
				st = clear_the_way(a, i, &cleared, err);
		if (st != SR_OK || cleared)
			continue;
		st = unseat_all(a, &unseated, err);
		if (st == SR_OK && !unseated && a->waiting == before)
			st = sr_err_set(err, SR_E_DATA, "%s: %zu rows stop each other by UNIQUE constraints", a->s->st.name, a->waiting);
	}
	return st;
}

/* --- tables ----------------------------------------------------------------------------------------------------- */

/* Tables of this apply that are not here yet. */
static bool is_missing(void *ctx, struct sr_bytes table)
{
	struct sr_sql_apply *a = ctx;
	size_t at;
	struct sr_leaf leaf;

	return !sr_sql_table(&a->s->main, table) && sr_sql_apply_find(a, table, &at, NULL) == SR_OK && at < a->n &&
	       sr_leaves_at(a->leaves, at, &leaf, NULL) == SR_OK && leaf.to.kind == SR_KIND_TABLE;
}

static bool table_leaf(const struct sr_leaf *leaf)
{
	return !memchr(leaf->path.at, 0, leaf->path.len);
}

/* What is here before anything is written: is there a schema text, and a table that is missing? */
static enum sr_status look_for_schema(struct sr_sql_apply *a, struct sr_err *err)
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

/* Tables of this apply that are here, and have fewer columns. */
static enum sr_status grow_tables(struct sr_sql_apply *a, struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	enum sr_status st = SR_OK;

	for (size_t i = 0; st == SR_OK && i < a->n; i++) {
		const struct sr_sql_table *t;
		struct sr_leaf leaf;

		st = sr_leaves_at(a->leaves, i, &leaf, err);
		t = st == SR_OK && leaf.to.kind == SR_KIND_TABLE && a->state[i] == LEAF_NEW ? sr_sql_table(sql, leaf.path) : NULL;
		if (t && t->synced && !sr_hash_eq(&t->fingerprint, &leaf.to.hash))
			st = sr_sql_grow(sql, &a->s->st, sr_buf_view(&a->schema), leaf.path, &leaf.to.hash, &a->grown, err);
	}
	return st;
}

/* From the schema text: a whole database, or what an existing one of ours lacks of the sender's. */
static enum sr_status create_tables(struct sr_sql_apply *a, struct sr_err *err)
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

/* TABLE leaves: applied when the table is here and of that shape; its rows are left alone otherwise.  No table is ever dropped. */
static enum sr_status judge_tables(struct sr_sql_apply *a, struct sr_err *err)
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

/* --- the transaction -------------------------------------------------------------------------------------------- */

/* Know where the rows are that leaves of bags speak of, before the lock is taken: it takes a pass over each of their tables. */
static enum sr_status index_bags(struct sr_sql_apply *a, struct sr_err *err)
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

static enum sr_status begin(struct sr_sql_apply *a, struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	int64_t tables = 1;
	enum sr_status st = sr_sql_main(a->s, err);

	if (st == SR_OK)
		st = look_for_schema(a, err);
	if (st == SR_OK)
		st = check_records(a, err);
	if (st == SR_OK && a->has_schema)
		st = sr_sql_int(sql, "SELECT count(*) FROM sqlite_master", &tables, err);
	a->first = !tables;
	if (st == SR_OK && a->first)
		st = sr_sql_schema_encoding(sql, sr_buf_view(&a->schema), err);
	if (st == SR_OK)
		st = index_bags(a, err);
	if (st == SR_OK)
		st = sr_sql_exec(sql, CACHE_OF_APPLY, err);
	if (st == SR_OK)
		st = sr_sql_begin(sql, &a->s->st, err);
	a->s->locked_at = sr_ticks_ms();
	if (st == SR_OK)
		st = sr_sql_schema(sql, &a->s->st, err);
	return st == SR_OK ? sr_sql_bags_doubt(sql, err) : st;
}

static enum sr_status note_kept(struct sr_sql_apply *a, struct sr_err *err)
{
	enum sr_status st = SR_OK;

	for (size_t i = 0; st == SR_OK && i < a->n; i++) {
		struct sr_leaf leaf;
		struct sr_hash h;

		if (a->state[i] != LEAF_KEPT)
			continue;
		st = sr_leaves_at(a->leaves, i, &leaf, err);
		if (st != SR_OK)
			return st;
		sr_hash_of(&h, a->s->st.key, leaf.path);
		sr_buf_add(&a->kept, h.b, sizeof h.b);
	}
	return st;
}

static enum sr_status write_all(struct sr_sql_apply *a, struct sr_err *err)
{
	enum sr_status st = create_tables(a, err);

	if (st == SR_OK)
		st = judge_tables(a, err);
	if (st == SR_OK && !a->fills)
		st = sr_sql_fts_begin(&a->s->main, err);
	for (size_t i = 0; st == SR_OK && i < a->n; i++)
		st = judge(a, i, err);
	if (st == SR_OK)
		st = settle(a, err);
	if (st == SR_OK)
		st = sr_sql_look_for_orphans(a, err);
	if (st == SR_OK)
		st = sr_sql_ask_parentless(a, err);
	if (st == SR_OK)
		st = a->fills ? sr_sql_fts_fill(&a->s->main, err) : sr_sql_fts_end(&a->s->main, err);
	return st == SR_OK ? note_kept(a, err) : st;
}

enum sr_status sr_sql_apply_prepare(struct sr_store *st, struct sr_leaves *leaves, const struct sr_marker *marker,
				    const struct sr_apply_ops *ops, struct sr_err *err)
{
	struct sr_sql_store *s = (struct sr_sql_store *)st;
	struct sr_sql_apply *a;
	enum sr_status status;

	assert(!s->apply && !s->viewed);
	a = sr_alloc(sizeof *a);
	a->s = s;
	a->leaves = leaves;
	a->ops = ops;
	a->n = sr_leaves_count(leaves);
	a->state = sr_alloc(a->n + 1);
	a->clean = true;
	s->apply = a;
	status = begin(a, err);
	if (status == SR_OK)
		status = write_all(a, err);
	if (status == SR_OK)
		status = sr_sql_marker_write(&s->main, marker, &a->kept, err);
	if (status != SR_OK)
		sr_sql_apply_rollback(st);
	return status;
}

/* The apply is over, one way or the other. */
static void end(struct sr_sql_store *s)
{
	if (s->main.db)
		sqlite3_exec(s->main.db, CACHE, NULL, NULL, NULL);
	apply_free(s->apply);
	s->apply = NULL;
}

static void tell_applied(struct sr_leaves *leaves, size_t i, const struct sr_apply_ops *ops)
{
	struct sr_leaf leaf;

	/* A leaf that cannot be read again is not told: its intent stays, and recovery decides it. */
	if (ops->applied && sr_leaves_at(leaves, i, &leaf, NULL) == SR_OK)
		ops->applied(ops->ctx, i, &leaf, 0);
}

/* After a first fill all of it lies in the log, and programs that look at the file itself - at its size, or with cp - see an empty one.  To
 * leave WAL mode takes the exclusive lock, so nobody else checkpoints meanwhile; where somebody has it open already it is left as it is. */
static void empty_log(struct sr_sql *sql)
{
	if (sqlite3_exec(sql->db, "PRAGMA main.journal_mode=DELETE", NULL, NULL, NULL) == SQLITE_OK)
		sqlite3_exec(sql->db, "PRAGMA main.journal_mode=WAL", NULL, NULL, NULL);
}

enum sr_status sr_sql_apply_commit(struct sr_store *st, struct sr_err *err)
{
	struct sr_sql_store *s = (struct sr_sql_store *)st;
	struct sr_sql_apply *a = s->apply;
	enum sr_status status;

	assert(a && !a->refused);
	status = sr_sql_exec(&s->main, "COMMIT", err);
	s->held_ms = sr_ticks_ms() - s->locked_at;
	if (status == SR_OK)
		status = sr_sql_sync(&s->main, err);
	if (status != SR_OK) {
		sr_sql_gate_open(&s->gate); /* it may have been committed */
		sr_sql_apply_rollback(st);
		return sr_err_context(err, "%s", st->name), status;
	}
	if (!a->clean)
		sr_sql_gate_open(&s->gate);
	else if (a->wrote)
		s->gate.edited = true; /* what others committed before us has moved data_version */
	for (size_t i = 0; i < a->n; i++)
		if (sr_sql_leaf_applied(a->state[i]))
			tell_applied(a->leaves, i, a->ops);
	if (a->first)
		empty_log(&s->main);
	end(s);
	return SR_OK;
}

void sr_sql_apply_rollback(struct sr_store *st)
{
	struct sr_sql_store *s = (struct sr_sql_store *)st;

	if (!s->apply)
		return;
	if (s->main.db && !sqlite3_get_autocommit(s->main.db)) {
		sqlite3_exec(s->main.db, "ROLLBACK", NULL, NULL, NULL);
		s->held_ms = sr_ticks_ms() - s->locked_at;
	}
	sr_sql_schema_free(&s->main); /* it may know of tables that were rolled back, under a version that comes again */
	end(s);
}

int64_t sr_sql_apply_held_ms(const struct sr_store *st)
{
	return ((const struct sr_sql_store *)st)->held_ms;
}

static bool was_kept(const struct sr_store *st, const struct sr_buf *kept, struct sr_bytes path)
{
	struct sr_hash h;

	sr_hash_of(&h, st->key, path);
	for (size_t at = 0; at + sizeof h.b <= kept->len; at += sizeof h.b)
		if (!memcmp(kept->at + at, h.b, sizeof h.b))
			return true;
	return false;
}

enum sr_status sr_sql_apply_recover(struct sr_store *st, struct sr_leaves *leaves, const struct sr_marker *marker,
				    const struct sr_apply_ops *ops, struct sr_err *err)
{
	struct sr_sql_store *s = (struct sr_sql_store *)st;
	struct sr_marker there;
	struct sr_buf kept = {0};
	enum sr_status status = sr_sql_main(s, err);

	if (status == SR_E_NOINPUT)
		return SR_OK; /* no database, no marker: nothing of it was applied */
	if (status == SR_OK)
		status = sr_sql_marker_read(&s->main, &there, &kept, err);
	if (status == SR_OK && !sr_uuid_none(&there.id) && !memcmp(&there.id, &marker->id, sizeof there.id))
		for (size_t i = 0; status == SR_OK && i < sr_leaves_count(leaves); i++) {
			struct sr_leaf leaf;

			status = sr_leaves_at(leaves, i, &leaf, err);
			if (status == SR_OK && !was_kept(st, &kept, leaf.path))
				tell_applied(leaves, i, ops);
		}
	sr_buf_free(&kept);
	return status;
}
