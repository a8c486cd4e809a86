/* sqlite_write.c - one row of an apply: read, written, removed.
 *
 * Each write is proven: by its values, which the column cannot but keep, else by reading the row again. */
#include "lib/store/sqlite_apply.h"

#include <stdlib.h>
#include <string.h>

enum sr_status sr_sql_spread(struct sr_sql *sql, const struct sr_sql_table *t, struct sr_bytes record, struct sr_err *err)
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

/* Is it sure that a column holds exactly this value once it was written to it?  So it is by its affinity, of all values that it has nothing
 * to convert in; no trigger and no ON CONFLICT of the table comes in between.  When in doubt, it is not: then the row is read. */
static bool kept_as_is(const struct sr_sql_schema *schema, const struct sr_sql_column *c, const struct sr_value *v)
{
	const uint8_t *at = v->b.at, *end = at + v->b.len;

	switch (v->class) {
	case SR_INT:
		return c->affinity != 'B' && c->affinity != 'E';
	case SR_REAL: /* -0.0 is stored as 0.0, NaN as NULL, a whole number may become an INT, but is a REAL again when it is read from a column of these */
		return c->affinity != 'B' && v->real < 0x1p52 && v->real > -0x1p52 &&
		       (v->real != (double)(int64_t)v->real || (c->affinity == 'E' && v->real != 0));
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

enum sr_status sr_sql_apply_run(struct sr_sql_apply *a, struct sr_sql_table *t, enum sr_sql_verb verb, const struct sr_leaf *leaf,
				struct sr_bytes key, bool *blocked, struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	bool record = verb != SR_SQL_REMOVE, where = verb != SR_SQL_INSERT;
	sqlite3_stmt *stmt;
	enum sr_status st = sr_sql_statement(sql, t, verb, &stmt, err);
	int rc;

	if (st == SR_OK && record)
		st = sr_sql_spread(sql, t, leaf->record, err);
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

enum sr_status sr_sql_apply_read(struct sr_sql_apply *a, struct sr_sql_table *t, struct sr_bytes key, struct sr_version *out,
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

enum sr_status sr_sql_apply_displaced(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_bytes path,
				      const struct sr_version *version, struct sr_bytes record, bool expected, struct sr_err *err)
{
	struct sr_displaced old = {.path = path, .version = *version, .record = record, .dirfd = -1, .expected = expected};

	return a->ops->displaced ? a->ops->displaced(a->ops->ctx, i, leaf, &old, err) : SR_OK;
}

enum sr_status sr_sql_apply_remove(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_sql_table *t,
				   struct sr_bytes key, const struct sr_version *old, struct sr_err *err)
{
	bool blocked;
	enum sr_status st = sr_sql_apply_run(a, t, SR_SQL_REMOVE, leaf, key, &blocked, err);

	a->wrote = true;
	if (st == SR_OK)
		st = sr_sql_apply_displaced(a, i, leaf, leaf->path, old, sr_buf_view(&a->old), sr_version_eq(old, &leaf->expect), err);
	return st == SR_OK ? sr_sql_note_gone(a, i, t, sr_buf_view(&a->old), sr_bytes(NULL, 0), err) : st;
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

/* Is the row that was written last what the leaf says? */
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

bool sr_sql_apply_leave_out(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, const struct sr_err *err)
{
	/* Nothing has happened to it, as long as its old row is still there. */
	if (!a->unfit || a->state[i] == LEAF_UNSEATED || !a->ops->unfit ||
	    a->ops->unfit(a->ops->ctx, i, leaf, err ? err->text : "not written") != SR_KEEP)
		return false;
	sr_sql_apply_set(a, i, LEAF_KEPT);
	return true;
}

enum sr_status sr_sql_apply_write(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_sql_table *t, struct sr_bytes key,
				  const struct sr_version *old, struct sr_err *err)
{
	enum sr_sql_verb verb = SR_SQL_INSERT;
	bool blocked = false, there = old->kind == SR_KIND_ROW;
	enum sr_status st;

	if (there)
		verb = same_key_bytes(t, sr_buf_view(&a->old), leaf->record) ? SR_SQL_UPDATE : SR_SQL_REKEY;
	st = sr_sql_apply_run(a, t, verb, leaf, key, &blocked, err);
	if (st == SR_OK && blocked)
		return SR_OK;
	if (st != SR_OK && sr_sql_apply_leave_out(a, i, leaf, err))
		return SR_OK;
	a->wrote = true;
	if (st == SR_OK)
		st = prove(a, t, leaf, key, err);
	if (st == SR_OK && there)
		st = sr_sql_apply_displaced(a, i, leaf, leaf->path, old, sr_buf_view(&a->old), sr_version_eq(old, &leaf->expect), err);
	if (st == SR_OK && there)
		st = sr_sql_note_gone(a, i, t, sr_buf_view(&a->old), leaf->record, err);
	if (st == SR_OK)
		sr_sql_apply_set(a, i, LEAF_APPLIED);
	return st;
}
