/* sqlite_grow.c - columns that were added to a table: the same is done here; and rows of before are known again.
 *
 * What a table was extended by is read off the CREATE TABLE that came as text: it is made in a database of its own in memory, which says
 * what columns there are; the definitions of those that are missing here are cut out of it and given to ALTER TABLE ADD COLUMN.
 *
 * A row that was written before has a new column's default, as SQLite reads it: ADD COLUMN writes no row.  A table that was built anew may have
 * lost columns, too, and have others' values in another type. */
#include "lib/store/sqlite_internal.h"

#include <stdlib.h>
#include <string.h>

/* --- growing ---------------------------------------------------------------------------------------------------- */

static size_t place(const struct sr_sql_table *t, const char *column)
{
	for (size_t i = 0; i < t->all; i++)
		if (!strcmp(t->columns[i].name, column))
			return i;
	return t->all;
}

/* May ADD COLUMN do that?  Where there is a NOT NULL or CHECK it looks at the rows by PRAGMA quick_check. */
static int authorize(void *ctx, int action, const char *a, const char *b, const char *db, const char *via)
{
	const char *table = ctx;

	(void)via;
	if (db && strcmp(db, "main"))
		return SQLITE_DENY;
	switch (action) {
	case SQLITE_ALTER_TABLE:
		return !strcmp(a, "main") && !strcmp(b, table) ? SQLITE_OK : SQLITE_DENY;
	case SQLITE_UPDATE:
		return !strcmp(a, "sqlite_master") ? SQLITE_OK : SQLITE_DENY;
	case SQLITE_READ:
		return !strcmp(a, "sqlite_master") || !strcmp(a, "pragma_quick_check") || !strcmp(a, table) ? SQLITE_OK : SQLITE_DENY;
	case SQLITE_PRAGMA:
		return !strcmp(a, "quick_check") && b && !strcmp(b, table) ? SQLITE_OK : SQLITE_DENY;
	case SQLITE_SELECT:
		return SQLITE_OK;
	case SQLITE_FUNCTION:
		return !sqlite3_stricmp(b, "load_extension") || !sqlite3_stricmp(b, "fts3_tokenizer") ? SQLITE_DENY : SQLITE_OK;
	default:
		return SQLITE_DENY;
	}
}

static bool add_column(struct sr_sql *sql, const char *table, struct sr_bytes definition)
{
	struct sr_buf text = {0};
	sqlite3_stmt *stmt = NULL;
	const char *tail = "";
	bool done;

	sr_buf_printf(&text, "ALTER TABLE main.");
	sr_sql_add_name(&text, table);
	sr_buf_printf(&text, " ADD COLUMN ");
	sr_buf_bytes(&text, definition);
	sqlite3_set_authorizer(sql->db, authorize, (void *)table);
	done = sqlite3_prepare_v2(sql->db, sr_buf_text(&text), -1, &stmt, &tail) == SQLITE_OK && !*tail && sqlite3_step(stmt) == SQLITE_DONE;
	sqlite3_finalize(stmt);
	sqlite3_set_authorizer(sql->db, NULL, NULL);
	sr_buf_free(&text);
	return done;
}

/* A part of CREATE TABLE that begins like this defines no column. */
static bool constrains(const struct sr_sql_token *t)
{
	static const char *const words[] = {"CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"};

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (sr_sql_token_is(t, words[i]))
			return true;
	return false;
}

/* Add what `big` has and t lacks, as `text` (big's CREATE TABLE) defines it, in its order. */
static bool add_columns(struct sr_sql *sql, const struct sr_sql_table *t, const struct sr_sql_table *big, struct sr_bytes text)
{
	struct sr_sql_token token = {.kind = ' '};
	struct sr_bytes part;
	size_t added = 0;

	while (token.kind && token.kind != '(')
		token = sr_sql_token(&text);
	while (sr_sql_part(&text, ',', &part)) {
		struct sr_bytes ahead = part;
		char *name;

		token = sr_sql_token(&ahead);
		name = sr_sql_token_name(&token);
		if (!constrains(&token) && place(big, name) < big->all && place(t, name) == t->all) {
			if (!add_column(sql, t->name, part)) {
				free(name);
				return false;
			}
			added++;
		}
		free(name);
	}
	return t->all + added == big->all;
}

static bool is_called(void *ctx, struct sr_bytes table)
{
	return sr_bytes_eq(table, sr_bytes_of(ctx));
}

/* The CREATE TABLE of the table, or NULL.  OWNED BY CALLER (free). */
static char *text_of(struct sr_sql *sql, const char *table)
{
	sqlite3_stmt *stmt = NULL;
	char *text = NULL;

	if (sr_sql_prepare(sql, "SELECT sql FROM main.sqlite_master WHERE type = 'table' AND name = ?1", table, &stmt) == SQLITE_OK &&
	    sqlite3_step(stmt) == SQLITE_ROW)
		text = sr_strdup(sr_sql_text_at(stmt, 0));
	sqlite3_finalize(stmt);
	return text;
}

/* Within a savepoint: add the columns, and see whether the table is then the one that was meant, in all that a fingerprint covers.  wanted: and in all
 * that this schema text says of it; empty: no more than that. */
static enum sr_status grow_to(struct sr_sql *sql, const struct sr_store *st, const struct sr_sql_table *big, const char *text,
			      const char *name, struct sr_bytes wanted, bool *grown, struct sr_err *err)
{
	const struct sr_sql_table *t = sr_sql_table(sql, sr_bytes_of(name));
	enum sr_status status = sr_sql_exec(sql, "SAVEPOINT sameroot_grow", err);
	bool done;

	if (status != SR_OK)
		return status;
	done = add_columns(sql, t, big, sr_bytes_of(text));
	if (done)
		status = sr_sql_schema_again(sql, st, err);
	t = done && status == SR_OK ? sr_sql_table(sql, sr_bytes_of(name)) : NULL;
	done = t && t->synced && sr_hash_eq(&t->fingerprint, &big->fingerprint) &&
	       (!wanted.len || sr_sql_is_defined_so(sql, st, wanted, sr_bytes_of(name)));
	*grown |= done;
	if (status == SR_OK)
		status = sr_sql_exec(sql, done ? "RELEASE sameroot_grow" : "ROLLBACK TO sameroot_grow; RELEASE sameroot_grow", err);
	return status == SR_OK && !done ? sr_sql_schema_again(sql, st, err) : status;
}

enum sr_status sr_sql_grow(struct sr_sql *sql, const struct sr_store *st, struct sr_bytes text, struct sr_bytes table,
			   const struct sr_hash *want, bool exact, bool *grown, struct sr_err *err)
{
	struct sr_sql scratch = {0};
	char *name = sr_text(table), *create = NULL;
	const struct sr_sql_table *t = sr_sql_table(sql, table), *big;
	enum sr_status status = sr_sql_scratch(&scratch, err);

	if (status != SR_OK || !t || !t->synced)
		goto out;
	/* Whatever is wrong with the text, the table stays as it is. */
	if (sr_sql_schema_create(&scratch, text, is_called, name, NULL) != SR_OK || sr_sql_schema(&scratch, st, NULL) != SR_OK)
		goto out;
	big = sr_sql_table(&scratch, table);
	create = text_of(&scratch, name);
	if (big && create && big->synced && big->all > t->all && sr_hash_eq(&big->fingerprint, want))
		status = grow_to(sql, st, big, create, name, exact ? text : sr_bytes(NULL, 0), grown, err);
out:
	sr_sql_disconnect(&scratch);
	free(create);
	free(name);
	return status;
}

/* --- rows of before ------------------------------------------------------------------------------------------------- */

/* The columns that may have been added, the last one first: those behind the last of the key, as they were made. */
struct sr_sql_added {
	size_t n;
	struct added {
		char *name;
		bool constant;	      /* its default is known, and may be NULL: */
		struct sr_buf value; /* in the key codec */
	} *at;
	struct sr_sql typed; /* for sr_sql_carry, when it was asked for: a database with a table whose columns have these types */
	sqlite3_stmt *put, *get;
};

void sr_sql_added_free(struct sr_sql_added *added)
{
	if (!added)
		return;
	for (size_t i = 0; i < added->n; i++) {
		free(added->at[i].name);
		sr_buf_free(&added->at[i].value);
	}
	free(added->at);
	sqlite3_finalize(added->put);
	sqlite3_finalize(added->get);
	sr_sql_disconnect(&added->typed);
	free(added);
}

static bool in_key(const struct sr_sql_table *t, const char *column)
{
	for (size_t i = 0; i < t->keys; i++)
		if (!strcmp(t->columns[t->key[i]].name, column))
			return true;
	return false;
}

static const char *type_for(char affinity)
{
	static const char *const types[] = {"BLOB", "TEXT", "NUMERIC", "INTEGER", "REAL"};

	return affinity >= 'A' && affinity <= 'E' ? types[affinity - 'A'] : "BLOB";
}

/* What a row of before reads as in a column that was added with this default: SQLite is asked by doing it. */
static bool try_default(struct sr_sql *scratch, size_t number, char affinity, const char *expression, bool in_parentheses,
			struct sr_buf *out)
{
	struct sr_buf text = {0};
	sqlite3_stmt *stmt = NULL;
	struct sr_value v;
	bool good;

	sr_buf_printf(&text, "ALTER TABLE rows ADD COLUMN c%zu %s DEFAULT ", number, type_for(affinity));
	sr_buf_printf(&text, in_parentheses ? "(%s)" : "%s", expression);
	good = sr_sql_prepare(scratch, sr_buf_text(&text), NULL, &stmt) == SQLITE_OK && sqlite3_step(stmt) == SQLITE_DONE;
	sqlite3_finalize(stmt);
	stmt = NULL;
	sr_buf_clear(&text);
	sr_buf_printf(&text, "SELECT c%zu FROM rows", number);
	good = good && sr_sql_prepare(scratch, sr_buf_text(&text), NULL, &stmt) == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW;
	if (good) {
		v = sr_sql_value(stmt, 0, true);
		sr_key_encode(out, &v, 1);
	}
	sqlite3_finalize(stmt);
	sr_buf_free(&text);
	return good;
}

static void load_default(struct sr_sql *scratch, struct added *a, size_t number, char affinity, const char *expression)
{
	struct sr_value nothing = {.class = SR_NULL};

	if (!expression) {
		sr_key_encode(&a->value, &nothing, 1);
		a->constant = true;
		return;
	}
	/* The pragma has lost the parentheses that it may have had. */
	a->constant = try_default(scratch, number, affinity, expression, false, &a->value) ||
		      try_default(scratch, number, affinity, expression, true, &a->value);
}

static struct sr_sql_added *load_added(struct sr_sql *sql, const struct sr_sql_table *t)
{
	static const char columns[] = "SELECT name, hidden, dflt_value FROM pragma_table_xinfo(?1, 'main') ORDER BY cid DESC";
	struct sr_sql_added *added = sr_alloc(sizeof *added);
	struct sr_sql scratch = {0};
	sqlite3_stmt *stmt = NULL;

	if (sr_sql_scratch(&scratch, NULL) == SR_OK &&
	    sr_sql_exec(&scratch, "CREATE TABLE rows(id INTEGER PRIMARY KEY); INSERT INTO rows VALUES(1)", NULL) == SR_OK &&
	    sr_sql_prepare(sql, columns, t->name, &stmt) == SQLITE_OK)
		while (sqlite3_step(stmt) == SQLITE_ROW && !in_key(t, sr_sql_text_at(stmt, 0))) {
			size_t at = place(t, sr_sql_text_at(stmt, 0));
			struct added *a;

			if (at >= t->n) /* generated: not in any record */
				continue;
			added->at = sr_realloc(added->at, (added->n + 1) * sizeof *added->at);
			a = &added->at[added->n++];
			*a = (struct added){.name = sr_strdup(t->columns[at].name)};
			load_default(&scratch, a, added->n, t->columns[at].affinity, (const char *)sqlite3_column_text(stmt, 2));
		}
	sqlite3_finalize(stmt);
	sr_sql_disconnect(&scratch);
	return added;
}

/* Take the column out of the record, if it has its default there. */
static bool strip(struct sr_column *columns, size_t *n, const struct added *a)
{
	struct sr_value v = {.class = SR_NULL};
	struct sr_buf value = {0};
	size_t at = 0;
	bool same;

	while (at < *n && !sr_bytes_eq(columns[at].name, sr_bytes_of(a->name)))
		at++;
	if (at < *n)
		v = columns[at].value;
	sr_key_encode(&value, &v, 1);
	same = a->constant && sr_bytes_eq(sr_buf_view(&value), sr_buf_view(&a->value));
	if (same && at < *n)
		memmove(&columns[at], &columns[at + 1], (--*n - at) * sizeof *columns);
	sr_buf_free(&value);
	return same;
}

bool sr_sql_is_grown(struct sr_sql *sql, const struct sr_tree_key *key, struct sr_bytes path, struct sr_bytes record,
		     const struct sr_version *from)
{
	struct sr_bytes table, row;
	struct sr_sql_table *t = sr_sql_path_split(path, &table, &row) ? sr_sql_table(sql, table) : NULL;
	struct sr_column *columns;
	struct sr_buf before = {0};
	struct sr_hash h;
	size_t n;
	bool yes = false;

	if (!t || !t->synced || from->kind != SR_KIND_ROW || sr_path_is_bag(path) || sr_record_decode(record, &columns, &n, NULL) != SR_OK)
		return false;
	if (!t->added)
		t->added = load_added(sql, t);
	for (size_t i = 0; !yes && i < t->added->n && strip(columns, &n, &t->added->at[i]); i++) {
		sr_buf_clear(&before);
		sr_record_encode(&before, columns, n);
		sr_hash_of(&h, key, sr_buf_view(&before));
		yes = before.len == from->bytes && sr_hash_eq(&h, &from->hash);
	}
	sr_buf_free(&before);
	free(columns);
	return yes;
}

static bool has_column(const struct sr_column *columns, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (sr_bytes_eq(columns[i].name, sr_bytes_of(name)))
			return true;
	return false;
}

/* A NULL is not in a record, so one that an added column had in truth becomes its default, too. */
static void fill(const struct sr_sql_added *added, struct sr_column *columns, size_t *n, struct sr_value **values)
{
	for (size_t i = 0; i < added->n; i++) {
		const struct added *a = &added->at[i];
		size_t count;

		if (!a->constant || has_column(columns, *n, a->name) || sr_key_decode(sr_buf_view(&a->value), &values[i], &count, NULL) != SR_OK)
			continue;
		if (count == 1)
			columns[(*n)++] = (struct sr_column){.name = sr_bytes_of(a->name), .value = values[i][0]};
	}
}

bool sr_sql_grow_record(struct sr_sql *sql, struct sr_bytes path, struct sr_bytes record, struct sr_buf *out)
{
	struct sr_bytes table, row;
	struct sr_sql_table *t = sr_sql_path_split(path, &table, &row) ? sr_sql_table(sql, table) : NULL;
	struct sr_column *old, *columns;
	struct sr_value **values;
	bool fits = true;
	size_t n;

	if (!t || !t->synced || sr_path_is_bag(path) || sr_record_decode(record, &old, &n, NULL) != SR_OK)
		return false;
	if (!t->added)
		t->added = load_added(sql, t);
	for (size_t i = 0; i < n && fits; i++) {
		char *name = sr_text(old[i].name);

		fits = place(t, name) < t->n;
		free(name);
	}
	columns = sr_alloc((n + t->added->n + 1) * sizeof *columns);
	values = sr_alloc((t->added->n + 1) * sizeof *values);
	memcpy(columns, old, n * sizeof *columns);
	fill(t->added, columns, &n, values);
	if (fits)
		sr_record_encode(out, columns, n);
	for (size_t i = 0; i < t->added->n; i++)
		free(values[i]);
	free(values);
	free(columns);
	free(old);
	return fits;
}

/* --- rows of another shape ----------------------------------------------------------------------------------------------- */

/* Of one row, with columns of the table's types: `put` writes it, `get` reads what they made of it. */
static bool make_typed(struct sr_sql_added *added, const struct sr_sql_table *t)
{
	struct sr_buf create = {0}, put = {0};
	bool good;

	sr_buf_printf(&create, "CREATE TABLE typed(id INTEGER PRIMARY KEY");
	sr_buf_printf(&put, "REPLACE INTO typed VALUES(1");
	for (size_t i = 0; i < t->n; i++) {
		sr_buf_printf(&create, ", c%zu %s", i, type_for(t->columns[i].affinity));
		sr_buf_printf(&put, ", ?%zu", i + 1);
	}
	sr_buf_printf(&create, ")");
	sr_buf_printf(&put, ")");
	good = sr_sql_scratch(&added->typed, NULL) == SR_OK && sr_sql_exec(&added->typed, sr_buf_text(&create), NULL) == SR_OK &&
	       sr_sql_prepare(&added->typed, sr_buf_text(&put), NULL, &added->put) == SQLITE_OK &&
	       sr_sql_prepare(&added->typed, "SELECT * FROM typed", NULL, &added->get) == SQLITE_OK;
	sr_buf_free(&create);
	sr_buf_free(&put);
	return good;
}

/* `columns` of the table, in any order, as its types have them. */
static bool convert(struct sr_sql_added *added, const struct sr_sql_table *t, const struct sr_column *columns, size_t n, struct sr_buf *out)
{
	struct sr_column *typed = sr_alloc((t->n + 1) * sizeof *typed);
	bool good = (added->get || make_typed(added, t)) && sqlite3_clear_bindings(added->put) == SQLITE_OK;

	for (size_t i = 0; i < n && good; i++) {
		char *name = sr_text(columns[i].name);

		good = sr_sql_bind(&added->typed, added->put, place(t, name) + 1, &columns[i].value, NULL) == SR_OK;
		free(name);
	}
	good = good && sqlite3_step(added->put) == SQLITE_DONE && sqlite3_step(added->get) == SQLITE_ROW;
	for (size_t i = 0; i < t->n && good; i++)
		typed[i] = (struct sr_column){.name = sr_bytes_of(t->columns[i].name), .value = sr_sql_value(added->get, (int)i + 1, true)};
	if (good)
		sr_record_encode(out, typed, t->n);
	sqlite3_reset(added->put);
	sqlite3_reset(added->get);
	free(typed);
	return good;
}

static void keep_known(const struct sr_sql_table *t, struct sr_column *columns, size_t *n)
{
	size_t kept = 0;

	for (size_t i = 0; i < *n; i++) {
		char *name = sr_text(columns[i].name);

		if (place(t, name) < t->n)
			columns[kept++] = columns[i];
		free(name);
	}
	*n = kept;
}

bool sr_sql_carry(struct sr_sql *sql, struct sr_bytes path, struct sr_bytes record, struct sr_buf *out)
{
	struct sr_bytes table, row;
	struct sr_sql_table *t = sr_sql_path_split(path, &table, &row) ? sr_sql_table(sql, table) : NULL;
	struct sr_column *old, *columns;
	struct sr_value **values;
	bool good;
	size_t n;

	if (!t || !t->synced || sr_path_is_bag(path) || sr_record_decode(record, &old, &n, NULL) != SR_OK)
		return false;
	if (!t->added)
		t->added = load_added(sql, t);
	columns = sr_alloc((n + t->added->n + 1) * sizeof *columns);
	values = sr_alloc((t->added->n + 1) * sizeof *values);
	memcpy(columns, old, n * sizeof *columns);
	keep_known(t, columns, &n);
	fill(t->added, columns, &n, values);
	good = convert(t->added, t, columns, n, out);
	for (size_t i = 0; i < t->added->n; i++)
		free(values[i]);
	free(values);
	free(columns);
	free(old);
	return good;
}
