/* sqlite_bag.c - rows without a key: all those of a rowid table without a nameable primary key, and those with NULL in theirs.
 *
 * What is called by its content has to be found by its content.  The index of a table's bag is an array of (hash of the record, rowid),
 * sorted, 24 bytes a row: equal rows stand together, those that came first in front.  One pass over the table makes it, and it is good for
 * one transaction.  Before an apply it is made in a read transaction of its own, so that the lock is not held meanwhile: what others write
 * in between is not in it.  Hence no rowid out of a doubtful index is believed before its row has been read again. */
#include "lib/store/sqlite_internal.h"

#include <stdlib.h>
#include <string.h>

struct sr_sql_bag {
	struct sr_sql_places in; /* in order */
	int64_t data_version;    /* when it was made */
	bool doubtful;           /* others have committed since */
};

bool sr_sql_in_bag(const struct sr_sql *sql, const struct sr_sql_table *t)
{
	for (size_t i = 0; t->rowid && i < t->keys; i++)
		if (sql->columns[t->key[i]].value.class == SR_NULL)
			return true;
	return t->rowid && !t->keys;
}

/* --- statements ------------------------------------------------------------------------------------------------- */

/* Those of a table with a key have NULL in it, which its index may help to find. */
static void add_without_key(struct sr_buf *b, const struct sr_sql_table *t)
{
	if (!t->keys)
		sr_buf_printf(b, " NOT INDEXED");
	for (size_t i = 0; i < t->keys; i++) {
		sr_buf_printf(b, i ? " OR " : " WHERE ");
		sr_sql_add_name(b, t->columns[t->key[i]].name);
		sr_buf_printf(b, " IS NULL");
	}
}

void sr_sql_bag_text(struct sr_buf *b, const struct sr_sql_table *t, enum sr_sql_verb verb)
{
	sr_buf_printf(b, verb == SR_SQL_BAG_REMOVE ? "DELETE" : "SELECT ");
	if (verb != SR_SQL_BAG_REMOVE)
		sr_sql_add_columns(b, t);
	if (verb == SR_SQL_BAG)
		sr_buf_printf(b, ",%s", t->rowid);
	sr_buf_printf(b, " FROM main.");
	sr_sql_add_name(b, t->name);
	if (verb == SR_SQL_BAG)
		add_without_key(b, t);
	else
		sr_buf_printf(b, " WHERE %s=?1", t->rowid);
}

/* A statement for the row at `rowid`. */
static enum sr_status statement_at(struct sr_sql *sql, struct sr_sql_table *t, enum sr_sql_verb verb, int64_t rowid, sqlite3_stmt **out,
				   struct sr_err *err)
{
	enum sr_status st = sr_sql_statement(sql, t, verb, out, err);

	return st == SR_OK ? sr_sql_bind(sql, *out, 1, &(struct sr_value){.class = SR_INT, .i = rowid}, err) : st;
}

/* --- one row ---------------------------------------------------------------------------------------------------- */

enum sr_status sr_sql_bag_read(struct sr_sql *sql, struct sr_sql_table *t, struct sr_bytes key, int64_t rowid, bool *same,
			       struct sr_err *err)
{
	sqlite3_stmt *stmt;
	enum sr_status st = statement_at(sql, t, SR_SQL_BAG_READ, rowid, &stmt, err);
	int rc;

	if (st != SR_OK)
		return st;
	sr_sql_room(sql, t->n);
	rc = sqlite3_step(stmt);
	*same = rc == SQLITE_ROW && sr_sql_row(sql, t, stmt) && sr_bytes_eq(sr_buf_view(&sql->key), key);
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		st = sr_sql_fail(err, sql, rc, "%s", t->name);
	sqlite3_reset(stmt);
	return st;
}

enum sr_status sr_sql_bag_remove(struct sr_sql *sql, struct sr_sql_table *t, struct sr_bytes key, int64_t rowid, struct sr_err *err)
{
	sqlite3_stmt *stmt;
	bool same;
	enum sr_status st = sr_sql_bag_read(sql, t, key, rowid, &same, err);
	int rc;

	if (st == SR_OK && !same)
		st = sr_err_set(err, SR_E_CHANGED, "rowid %lld is another row", (long long)rowid);
	if (st == SR_OK)
		st = statement_at(sql, t, SR_SQL_BAG_REMOVE, rowid, &stmt, err);
	if (st != SR_OK)
		return st;
	rc = sr_sql_fts_step(sql, stmt);
	if (rc != SQLITE_DONE)
		st = sr_sql_fail(err, sql, rc, "not removed");
	sqlite3_reset(stmt);
	return st;
}

/* --- places ----------------------------------------------------------------------------------------------------- */

static int by_hash_then_rowid(const void *a, const void *b)
{
	const struct sr_sql_place *x = a, *y = b;
	int c = memcmp(x->hash.b, y->hash.b, sizeof x->hash.b);

	return c ? c : (x->rowid > y->rowid) - (x->rowid < y->rowid);
}

void sr_sql_places_add(struct sr_sql_places *places, const struct sr_sql *sql, int64_t rowid)
{
	struct sr_sql_place *p;

	if (places->n == places->cap) {
		places->cap = places->cap ? places->cap + places->cap / 2 : 64;
		places->at = sr_realloc(places->at, places->cap * sizeof *places->at);
	}
	p = &places->at[places->n++];
	memcpy(p->hash.b, sql->key.at + sql->key.len - SR_HASH_LEN, SR_HASH_LEN);
	p->rowid = rowid;
}

static void sort(struct sr_sql_places *places)
{
	if (places->n)
		qsort(places->at, places->n, sizeof *places->at, by_hash_then_rowid);
}

/* The end of the equal ones that begin at `first`. */
static size_t end_of(const struct sr_sql_places *places, size_t first)
{
	size_t end = first;

	while (end < places->n && sr_hash_eq(&places->at[end].hash, &places->at[first].hash))
		end++;
	return end;
}

void sr_sql_rows_add(struct sr_buf *out, struct sr_bytes key, const struct sr_sql_place *places, size_t n)
{
	sr_buf_string(out, key);
	sr_buf_varint(out, n * sizeof places->rowid);
	for (size_t i = 0; i < n; i++)
		sr_buf_be64(out, (uint64_t)places[i].rowid);
}

void sr_sql_rows_add_equals(struct sr_buf *out, struct sr_sql_places *places)
{
	struct sr_buf key = {0};

	sort(places);
	for (size_t first = 0, end; first < places->n; first = end) {
		end = end_of(places, first);
		sr_buf_clear(&key);
		sr_bag_key(&key, &places->at[first].hash);
		sr_sql_rows_add(out, sr_buf_view(&key), &places->at[first], end - first);
	}
	sr_buf_free(&key);
}

/* --- the index -------------------------------------------------------------------------------------------------- */

static enum sr_status fill(struct sr_sql *sql, struct sr_sql_table *t, struct sr_sql_bag *bag, struct sr_err *err)
{
	sqlite3_stmt *stmt;
	enum sr_status st = sr_sql_statement(sql, t, SR_SQL_BAG, &stmt, err);
	int rc;

	if (st != SR_OK)
		return st;
	sr_sql_room(sql, t->n);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
		if (sr_sql_row(sql, t, stmt) && sr_key_is_bag(sr_buf_view(&sql->key)))
			sr_sql_places_add(&bag->in, sql, sqlite3_column_int64(stmt, (int)t->n));
	sqlite3_reset(stmt);
	if (rc != SQLITE_DONE)
		return sr_sql_fail(err, sql, rc, "%s", t->name);
	sort(&bag->in);
	return sr_sql_int(sql, "PRAGMA main.data_version", &bag->data_version, err);
}

enum sr_status sr_sql_bag_index(struct sr_sql *sql, struct sr_sql_table *t, struct sr_err *err)
{
	struct sr_sql_bag *bag;
	enum sr_status st;

	if (t->bag || !t->rowid)
		return SR_OK;
	bag = sr_alloc(sizeof *bag);
	st = fill(sql, t, bag, err);
	if (st == SR_OK)
		t->bag = bag;
	else
		sr_sql_bag_free(bag);
	return st;
}

void sr_sql_bag_free(struct sr_sql_bag *bag)
{
	if (bag)
		free(bag->in.at);
	free(bag);
}

void sr_sql_bags_forget(struct sr_sql *sql)
{
	for (size_t i = 0; sql->schema && i < sql->schema->n; i++) {
		sr_sql_bag_free(sql->schema->tables[i].bag);
		sql->schema->tables[i].bag = NULL;
	}
}

enum sr_status sr_sql_bags_doubt(struct sr_sql *sql, struct sr_err *err)
{
	int64_t version;
	enum sr_status st = sr_sql_int(sql, "PRAGMA main.data_version", &version, err);

	for (size_t i = 0; st == SR_OK && i < sql->schema->n; i++)
		if (sql->schema->tables[i].bag)
			sql->schema->tables[i].bag->doubtful = sql->schema->tables[i].bag->data_version != version;
	return st;
}

/* The first place of that hash, or where it would be. */
static size_t first_of(const struct sr_sql_places *places, const struct sr_hash *hash)
{
	struct sr_sql_place wanted = {.hash = *hash, .rowid = INT64_MIN};
	size_t low = 0, high = places->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (by_hash_then_rowid(&places->at[middle], &wanted) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Drop from the places first to end what is there no more.  *end moves along. */
static enum sr_status look_again(struct sr_sql *sql, struct sr_sql_table *t, struct sr_bytes key, size_t first, size_t *end,
				 struct sr_err *err)
{
	struct sr_sql_places *in = &t->bag->in;
	size_t kept = first;

	for (size_t i = first; i < *end; i++) {
		bool same;
		enum sr_status st = sr_sql_bag_read(sql, t, key, in->at[i].rowid, &same, err);

		if (st != SR_OK)
			return st;
		if (same)
			in->at[kept++] = in->at[i];
	}
	if (kept < *end) {
		memmove(&in->at[kept], &in->at[*end], (in->n - *end) * sizeof *in->at);
		in->n -= *end - kept;
		*end = kept;
	}
	return SR_OK;
}

enum sr_status sr_sql_bag_find(struct sr_sql *sql, struct sr_sql_table *t, struct sr_bytes key, const struct sr_sql_place **places,
			       size_t *n, struct sr_err *err)
{
	struct sr_hash hash;
	size_t first, end;
	enum sr_status st = sr_sql_bag_index(sql, t, err);

	*n = 0;
	if (st != SR_OK || !t->bag)
		return st;
	memcpy(hash.b, key.at + key.len - SR_HASH_LEN, sizeof hash.b);
	first = first_of(&t->bag->in, &hash);
	if (first == t->bag->in.n || !sr_hash_eq(&t->bag->in.at[first].hash, &hash))
		return SR_OK;
	end = end_of(&t->bag->in, first);
	if (t->bag->doubtful)
		st = look_again(sql, t, key, first, &end, err);
	*places = &t->bag->in.at[first];
	*n = end - first;
	return st;
}
