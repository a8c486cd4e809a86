/* sqlite_references.c - foreign keys, asked about by query: ours are not enforced while we write (sqlite.c).
 *
 * Two questions, each one statement a foreign key.  *Missing*: does this row refer to a row that is not there?  *Orphans*: which rows
 * refer to a row that was here once and is not any more?  A reference with NULL in it refers to nothing and misses nothing.
 *
 * Values are compared as SQLite does it: the parent column's affinity and collation go for the child's value, which the unary plus brings
 * about.  To find orphans by the child's own index, its own affinity has to do: a child that says '05' for 5 is not found. */
#include "lib/store/sqlite_internal.h"

#include <stdlib.h>
#include <string.h>

/* --- statements ------------------------------------------------------------------------------------------------- */

static const struct sr_sql_table *child_of(const struct sr_sql *sql, const struct sr_sql_reference *r)
{
	return &sql->schema->tables[r->child];
}

static const struct sr_sql_table *parent_of(const struct sr_sql *sql, const struct sr_sql_reference *r)
{
	return r->parent < sql->schema->n ? &sql->schema->tables[r->parent] : NULL;
}

static void add_column(struct sr_buf *b, const char *prefix, const struct sr_sql_table *t, size_t column)
{
	sr_buf_printf(b, "%s", prefix);
	sr_sql_add_name(b, t->columns[column].name);
}

static void add_from(struct sr_buf *b, const char *table, const char *as)
{
	sr_buf_printf(b, " FROM main.");
	sr_sql_add_name(b, table);
	sr_buf_printf(b, " AS %s", as);
}

static void add_no_parent(struct sr_buf *b, const struct sr_sql *sql, const struct sr_sql_reference *r)
{
	sr_buf_printf(b, " AND NOT EXISTS(SELECT 1");
	add_from(b, parent_of(sql, r)->name, "p");
	for (size_t i = 0; i < r->n; i++) {
		add_column(b, i ? " AND p." : " WHERE p.", parent_of(sql, r), r->to[i]);
		add_column(b, "=+c.", child_of(sql, r), r->from[i]);
	}
	sr_buf_byte(b, ')');
}

/* Its values, if a row refers to something that is not there. */
static void add_missing(struct sr_buf *b, const struct sr_sql *sql, const struct sr_sql_reference *r, bool by_rowid)
{
	const struct sr_sql_table *c = child_of(sql, r);

	for (size_t i = 0; i < r->n; i++)
		add_column(b, i ? ",c." : "SELECT c.", c, r->from[i]);
	add_from(b, c->name, "c");
	if (by_rowid)
		sr_buf_printf(b, " WHERE c.%s=?1", c->rowid);
	else
		sr_sql_add_where(b, c, 1);
	for (size_t i = 0; i < r->n; i++) {
		add_column(b, " AND c.", c, r->from[i]);
		sr_buf_printf(b, " IS NOT NULL");
	}
	if (parent_of(sql, r))
		add_no_parent(b, sql, r);
}

/* The row called ?1... */
static void missing_text(struct sr_buf *b, const struct sr_sql *sql, const struct sr_sql_reference *r)
{
	add_missing(b, sql, r, false);
}

/* The row at ?1. */
static void missing_at_text(struct sr_buf *b, const struct sr_sql *sql, const struct sr_sql_reference *r)
{
	add_missing(b, sql, r, true);
}

static bool numeric(char affinity)
{
	return affinity >= 'C';
}

/* The rows that referred to (?1, ...) and find no parent. */
static void orphans_text(struct sr_buf *b, const struct sr_sql *sql, const struct sr_sql_reference *r)
{
	const struct sr_sql_table *c = child_of(sql, r), *p = parent_of(sql, r);

	sr_buf_printf(b, "SELECT ");
	sr_sql_add_columns(b, c);
	if (c->rowid)
		sr_buf_printf(b, ",c.%s", c->rowid);
	add_from(b, c->name, "c");
	for (size_t i = 0; i < r->n; i++) {
		const struct sr_sql_column *from = &c->columns[r->from[i]], *to = &p->columns[r->to[i]];

		add_column(b, i ? " AND (c." : " WHERE (c.", c, r->from[i]);
		sr_buf_printf(b, "=?%zu", i + 1);
		if (strcmp(from->collation, to->collation)) { /* else the child's index can be used */
			sr_buf_printf(b, " COLLATE ");
			sr_sql_add_name(b, to->collation);
		}
		if (numeric(to->affinity) && !numeric(from->affinity)) {
			add_column(b, " OR c.", c, r->from[i]);
			sr_buf_printf(b, "=CAST(?%zu AS TEXT)", i + 1);
		}
		sr_buf_byte(b, ')');
	}
	add_no_parent(b, sql, r);
}

static bool prepare(struct sr_sql *sql, struct sr_sql_reference *r,
		    void (*text_of)(struct sr_buf *, const struct sr_sql *, const struct sr_sql_reference *), sqlite3_stmt **out)
{
	struct sr_buf text = {0};
	int rc;

	text_of(&text, sql, r);
	rc = sqlite3_prepare_v3(sql->db, sr_buf_text(&text), -1, SQLITE_PREPARE_PERSISTENT, out, NULL);
	sr_buf_free(&text);
	return rc == SQLITE_OK;
}

/* --- loading ---------------------------------------------------------------------------------------------------- */

static size_t table_called(const struct sr_sql_schema *schema, const char *name)
{
	size_t i = 0;

	while (i < schema->n && sqlite3_stricmp(schema->tables[i].name, name))
		i++;
	return i;
}

static size_t column_called(const struct sr_sql_table *t, const char *name)
{
	size_t i = 0;

	while (i < t->all && sqlite3_stricmp(t->columns[i].name, name))
		i++;
	return i;
}

/* One more column: from -> to; no `to`: the parent's key column of that place. */
static void add_pair(struct sr_sql *sql, struct sr_sql_reference *r, const char *from, const char *to)
{
	const struct sr_sql_table *p = parent_of(sql, r);
	size_t at = !p ? 0 : to ? column_called(p, to) : r->n < p->keys ? p->key[r->n] : p->all;

	r->from = sr_realloc(r->from, (r->n + 1) * sizeof *r->from);
	r->to = sr_realloc(r->to, (r->n + 1) * sizeof *r->to);
	r->from[r->n] = column_called(child_of(sql, r), from);
	r->to[r->n++] = at;
	if (p && at == p->all)
		r->parent = sql->schema->n; /* there is no such column */
}

/* The child's rows have a key, or not, or some of them. */
static bool prepare_missing(struct sr_sql *sql, struct sr_sql_reference *r)
{
	const struct sr_sql_table *c = child_of(sql, r);

	return (!c->keys || prepare(sql, r, missing_text, &r->missing)) && (!c->rowid || prepare(sql, r, missing_at_text, &r->missing_at));
}

static void finalize(struct sr_sql_reference *r)
{
	sqlite3_finalize(r->missing);
	sqlite3_finalize(r->missing_at);
	sqlite3_finalize(r->orphans);
	r->missing = r->missing_at = r->orphans = NULL;
}

/* All of its columns are known: prepare, and mark what it refers to. */
static void complete(struct sr_sql *sql, struct sr_sql_reference *r)
{
	struct sr_sql_table *p = r->parent < sql->schema->n ? &sql->schema->tables[r->parent] : NULL;

	if (p && (!prepare_missing(sql, r) || !prepare(sql, r, orphans_text, &r->orphans))) {
		finalize(r); /* a collation of the application's: what it makes equal cannot be told here */
		r->parent = sql->schema->n;
		p = NULL;
	}
	if (!p)
		(void)prepare_missing(sql, r);
	sql->schema->tables[r->child].refers = true;
	for (size_t i = 0; p && i < r->n; i++)
		p->referred = p->columns[r->to[i]].referred = true;
}

static struct sr_sql_reference *add_reference(struct sr_sql *sql, size_t child, const char *parent)
{
	struct sr_sql_schema *schema = sql->schema;
	struct sr_sql_reference *r;

	schema->references = sr_realloc(schema->references, (schema->n_references + 1) * sizeof *schema->references);
	r = &schema->references[schema->n_references++];
	*r = (struct sr_sql_reference){.child = child, .parent = table_called(schema, parent)};
	if (r->parent < schema->n && !schema->tables[r->parent].synced)
		r->parent = schema->n;
	return r;
}

static enum sr_status load_from(struct sr_sql *sql, size_t child, struct sr_err *err)
{
	static const char text[] = "SELECT seq, \"table\", \"from\", \"to\" FROM pragma_foreign_key_list(?1, 'main') ORDER BY id, seq";
	const char *name = sql->schema->tables[child].name;
	size_t first = sql->schema->n_references;
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(sql->db, text, -1, &stmt, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_bind_text(stmt, 1, name, -1, SQLITE_STATIC);
	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		rc = sqlite3_step(stmt);
		if (rc != SQLITE_ROW)
			break;
		if (sqlite3_column_int(stmt, 0) == 0)
			add_reference(sql, child, (const char *)sqlite3_column_text(stmt, 1));
		add_pair(sql, &sql->schema->references[sql->schema->n_references - 1], (const char *)sqlite3_column_text(stmt, 2),
			 (const char *)sqlite3_column_text(stmt, 3));
	}
	sqlite3_finalize(stmt);
	if (rc != SQLITE_DONE)
		return sr_sql_fail(err, sql, rc, "foreign keys of %s", name);
	for (size_t i = first; i < sql->schema->n_references; i++)
		complete(sql, &sql->schema->references[i]);
	return SR_OK;
}

/* A table below each that it refers to.  In a circle there is no such order: that ends with as many turns as there are tables. */
static void rank_tables(struct sr_sql_schema *schema)
{
	bool moved = true;

	for (size_t turn = 0; moved && turn < schema->n; turn++) {
		moved = false;
		for (size_t i = 0; i < schema->n_references; i++) {
			const struct sr_sql_reference *r = &schema->references[i];

			if (r->parent == schema->n || r->parent == r->child || schema->tables[r->child].rank > schema->tables[r->parent].rank)
				continue;
			schema->tables[r->child].rank = schema->tables[r->parent].rank + 1;
			moved = true;
		}
	}
}

enum sr_status sr_sql_references_load(struct sr_sql *sql, struct sr_err *err)
{
	enum sr_status st = SR_OK;

	for (size_t i = 0; st == SR_OK && i < sql->schema->n; i++)
		if (sql->schema->tables[i].synced)
			st = load_from(sql, i, err);
	rank_tables(sql->schema);
	return st;
}

size_t sr_sql_rank(const struct sr_store *st, struct sr_bytes table)
{
	const struct sr_sql *sql = &((const struct sr_sql_store *)st)->main;
	const struct sr_sql_table *t = sql->schema ? sr_sql_table(sql, table) : NULL;

	return t ? t->rank : 0;
}

void sr_sql_references_free(struct sr_sql_schema *schema)
{
	for (size_t i = 0; i < schema->n_references; i++) {
		struct sr_sql_reference *r = &schema->references[i];

		finalize(r);
		free(r->from);
		free(r->to);
	}
	free(schema->references);
}

/* --- asking ----------------------------------------------------------------------------------------------------- */

/* The path of the row that the values on which `stmt` stands refer to; nothing when they are not its key. */
static void add_parent_path(struct sr_sql *sql, const struct sr_sql_reference *r, sqlite3_stmt *stmt, struct sr_buf *path)
{
	const struct sr_sql_table *p = parent_of(sql, r);

	if (!p)
		return;
	sr_sql_room(sql, p->n);
	for (size_t k = 0; k < p->keys; k++) {
		size_t i = 0;

		while (i < r->n && r->to[i] != p->key[k])
			i++;
		if (i == r->n)
			return;
		sql->columns[p->key[k]].value = sr_sql_value(stmt, (int)i, sql->schema->utf8);
	}
	if (!sr_sql_name(sql, p))
		return;
	sr_buf_bytes(path, sr_bytes_of(p->name));
	sr_buf_byte(path, 0);
	sr_buf_bytes(path, sr_buf_view(&sql->key));
}

enum sr_status sr_sql_missing(struct sr_sql *sql, const struct sr_sql_reference *r, struct sr_bytes key, int64_t rowid, bool *missing,
			      struct sr_buf *parent, struct sr_err *err)
{
	bool bag = sr_key_is_bag(key);
	sqlite3_stmt *stmt = bag ? r->missing_at : r->missing;
	enum sr_status st;
	int rc;

	*missing = false;
	if (!stmt)
		return SR_OK;
	st = bag ? sr_sql_bind(sql, stmt, 1, &(struct sr_value){.class = SR_INT, .i = rowid}, err)
		 : sr_sql_bind_key(sql, child_of(sql, r), stmt, 1, key, err);
	if (st == SR_OK) {
		rc = sqlite3_step(stmt);
		*missing = rc == SQLITE_ROW;
		if (rc == SQLITE_ROW && parent)
			add_parent_path(sql, r, stmt, parent);
		else if (rc != SQLITE_ROW && rc != SQLITE_DONE)
			st = sr_sql_fail(err, sql, rc, "foreign key of %s", child_of(sql, r)->name);
	}
	sqlite3_reset(stmt);
	sqlite3_clear_bindings(stmt);
	return st;
}

static const struct sr_value *value_called(const struct sr_column *columns, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (sr_bytes_eq(columns[i].name, sr_bytes_of(name)))
			return &columns[i].value;
	return NULL; /* it is NULL */
}

enum sr_status sr_sql_orphans(struct sr_sql *sql, const struct sr_sql_reference *r, struct sr_bytes old, size_t most, struct sr_buf *rows,
			      struct sr_err *err)
{
	const struct sr_sql_table *c = child_of(sql, r), *p = parent_of(sql, r);
	struct sr_sql_places places = {0};
	struct sr_column *columns = NULL;
	size_t n;
	int rc = SQLITE_ROW;
	enum sr_status st;

	if (!p)
		return SR_OK;
	st = sr_record_decode(old, &columns, &n, err);
	for (size_t i = 0; st == SR_OK && i < r->n; i++) {
		const struct sr_value *v = value_called(columns, n, p->columns[r->to[i]].name);

		if (!v)
			goto out; /* nothing refers to NULL */
		st = sr_sql_bind(sql, r->orphans, i + 1, v, err);
	}
	sr_sql_room(sql, c->n);
	while (st == SR_OK && most-- && (rc = sqlite3_step(r->orphans)) == SQLITE_ROW)
		if (!sr_sql_row(sql, c, r->orphans))
			continue; /* one without a name is nothing that we could speak of */
		else if (sr_key_is_bag(sr_buf_view(&sql->key)))
			sr_sql_places_add(&places, sql, sqlite3_column_int64(r->orphans, (int)c->n));
		else
			sr_sql_rows_add(rows, sr_buf_view(&sql->key), NULL, 0);
	sr_sql_rows_add_equals(rows, &places);
	if (st == SR_OK && rc != SQLITE_ROW && rc != SQLITE_DONE)
		st = sr_sql_fail(err, sql, rc, "foreign key of %s", c->name);
out:
	sqlite3_reset(r->orphans);
	sqlite3_clear_bindings(r->orphans);
	free(places.at);
	free(columns);
	return st;
}

enum sr_status sr_sql_referred(const struct sr_sql_table *t, struct sr_bytes record, struct sr_buf *out, struct sr_err *err)
{
	struct sr_column *columns;
	size_t n, kept = 0, at = 0;
	enum sr_status st = sr_record_decode(record, &columns, &n, err);

	if (st != SR_OK)
		return st;
	for (size_t i = 0; i < n; i++) { /* both are in order */
		while (at < t->n && !sr_bytes_eq(sr_bytes_of(t->columns[at].name), columns[i].name))
			at++;
		if (at < t->n && t->columns[at].referred)
			columns[kept++] = columns[i];
	}
	sr_record_encode(out, columns, kept);
	free(columns);
	return SR_OK;
}

/* --- of a view -------------------------------------------------------------------------------------------------- */

/* What the name of a row says of its columns, as a record. */
static enum sr_status record_of_key(const struct sr_sql_table *t, struct sr_bytes key, struct sr_buf *out, struct sr_err *err)
{
	struct sr_column *columns = sr_alloc((t->keys + 1) * sizeof *columns);
	struct sr_value *values = NULL;
	size_t n, m = 0;
	enum sr_status st = sr_key_decode(key, &values, &n, err);

	for (size_t i = 0; st == SR_OK && i < t->n; i++)
		for (size_t k = 0; k < t->keys && k < n; k++)
			if (t->key[k] == i)
				columns[m++] = (struct sr_column){.name = sr_bytes_of(t->columns[i].name), .value = values[k]};
	if (st == SR_OK)
		sr_record_encode(out, columns, m);
	free(values);
	free(columns);
	return st;
}

static bool refers_to_nothing(struct sr_sql *sql, size_t child, struct sr_bytes key)
{
	const struct sr_sql_place *places;
	size_t n;
	int64_t rowid = 0;
	bool missing = false;

	if (sr_key_is_bag(key)) {
		if (sr_sql_bag_find(sql, &sql->schema->tables[child], key, &places, &n, NULL) != SR_OK || !n)
			return false;
		rowid = places->rowid; /* its equals refer to the same */
	}
	for (size_t i = 0; !missing && i < sql->schema->n_references; i++)
		if (sql->schema->references[i].child == child &&
		    sr_sql_missing(sql, &sql->schema->references[i], key, rowid, &missing, NULL, NULL) != SR_OK)
			return false;
	return missing;
}

static bool is_referred_to(struct sr_sql *sql, size_t parent, struct sr_bytes key)
{
	struct sr_buf old = {0}, orphans = {0};
	enum sr_status st = record_of_key(&sql->schema->tables[parent], key, &old, NULL);
	bool found;

	for (size_t i = 0; st == SR_OK && !orphans.len && i < sql->schema->n_references; i++)
		if (sql->schema->references[i].parent == parent)
			st = sr_sql_orphans(sql, &sql->schema->references[i], sr_buf_view(&old), 1, &orphans, NULL);
	found = orphans.len > 0;
	sr_buf_free(&old);
	sr_buf_free(&orphans);
	return st == SR_OK && found;
}

bool sr_sql_dangling(struct sr_sql *sql, struct sr_bytes path, bool there)
{
	struct sr_bytes name, key;
	const struct sr_sql_table *t = sr_sql_path_split(path, &name, &key) ? sr_sql_table(sql, name) : NULL;

	if (!t || !t->synced || !(there ? t->refers : t->referred) || (!there && sr_key_is_bag(key)))
		return false; /* what a row of a bag held that is not there any more cannot be told */
	return there ? refers_to_nothing(sql, (size_t)(t - sql->schema->tables), key)
		     : is_referred_to(sql, (size_t)(t - sql->schema->tables), key);
}
