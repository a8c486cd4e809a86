/* sqlite_schema.c - which tables there are, what they are keyed by, and the statements that read and write them.
 *
 * The fingerprint of a table is the keyed hash of
 *   - string "sameroot table 1", string table name, byte WITHOUT ROWID, byte STRICT, byte "the key is the rowid";
 *   - varint number of columns, then for each, in byte order of the names, those that are carried before generated ones: string name,
 *     byte affinity ('A' to 'E', SQLite's own letters), string collation (upper case), byte generated, string declared type (upper case;
 *     empty unless STRICT);
 *   - varint number of key columns, then for each, in key order: string name, byte collation of the key.
 * It is not over the SQL text, nor the order of the columns: one that ALTER TABLE added makes the same table as one that stood in CREATE
 * TABLE.  NOT NULL, DEFAULT, CHECK, UNIQUE, foreign keys, indexes and AUTOINCREMENT are not in it: rows fit or do not, and are refused
 * one by one (sqlite_definition.c). */
#include "lib/store/sqlite_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* --- loading ---------------------------------------------------------------------------------------------------- */

/* SQLite's rule, https://www.sqlite.org/datatype3.html#determination_of_column_affinity, in its order. */
static char affinity_of(const char *type, bool strict)
{
	if (strict && !sqlite3_stricmp(type, "ANY"))
		return 'A';
	if (!sqlite3_strlike("%INT%", type, 0))
		return 'D';
	if (!sqlite3_strlike("%CHAR%", type, 0) || !sqlite3_strlike("%CLOB%", type, 0) || !sqlite3_strlike("%TEXT%", type, 0))
		return 'B';
	if (!*type || !sqlite3_strlike("%BLOB%", type, 0))
		return 'A';
	if (!sqlite3_strlike("%REAL%", type, 0) || !sqlite3_strlike("%FLOA%", type, 0) || !sqlite3_strlike("%DOUB%", type, 0))
		return 'E';
	return 'C';
}

static char *upper(const char *s)
{
	char *u = sr_strdup(s ? s : "");

	for (char *p = u; *p; p++)
		if (*p >= 'a' && *p <= 'z')
			*p = (char)(*p - 'a' + 'A');
	return u;
}

static enum sr_sql_collation collation_of(const char *name)
{
	static const char *const known[] = {[SR_BINARY] = "BINARY", [SR_NOCASE] = "NOCASE", [SR_RTRIM] = "RTRIM"};

	for (size_t i = 0; name && i < sizeof known / sizeof *known; i++)
		if (!sqlite3_stricmp(name, known[i]))
			return (enum sr_sql_collation)i;
	return SR_COLLATION_UNKNOWN;
}

const char *sr_sql_text_at(sqlite3_stmt *stmt, int i)
{
	const char *s = (const char *)sqlite3_column_text(stmt, i);

	return s ? s : "";
}

static int carried_then_name(const void *a, const void *b)
{
	const struct sr_sql_column *x = a, *y = b;

	return x->generated != y->generated ? x->generated - y->generated : strcmp(x->name, y->name);
}

static size_t column_called(const struct sr_sql_table *t, const char *name)
{
	for (size_t i = 0; i < t->all; i++)
		if (!strcmp(t->columns[i].name, name))
			return i;
	return t->all;
}

int sr_sql_prepare(struct sr_sql *sql, const char *text, const char *arg, sqlite3_stmt **stmt)
{
	int rc = sqlite3_prepare_v2(sql->db, text, -1, stmt, NULL);

	return rc == SQLITE_OK && arg ? sqlite3_bind_text(*stmt, 1, arg, -1, SQLITE_STATIC) : rc;
}

static enum sr_status load_columns(struct sr_sql *sql, struct sr_sql_table *t, struct sr_err *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sr_sql_prepare(sql, "SELECT name, type, hidden, \"notnull\" AND dflt_value IS NOT NULL FROM pragma_table_xinfo(?1, 'main')", t->name, &stmt);

	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		const char *collation = NULL;
		struct sr_sql_column *c;

		rc = sqlite3_step(stmt);
		if (rc != SQLITE_ROW)
			break;
		t->columns = sr_realloc(t->columns, (t->all + 1) * sizeof *t->columns);
		c = &t->columns[t->all++];
		memset(c, 0, sizeof *c);
		c->name = sr_strdup(sr_sql_text_at(stmt, 0));
		c->type = upper(sr_sql_text_at(stmt, 1));
		c->affinity = affinity_of(c->type, t->strict);
		c->generated = sqlite3_column_int(stmt, 2) != 0;
		c->fills_in = sqlite3_column_int(stmt, 3);
		t->n += !c->generated;
		sqlite3_table_column_metadata(sql->db, "main", t->name, c->name, NULL, &collation, NULL, NULL, NULL);
		c->collation = upper(collation);
	}
	sqlite3_finalize(stmt);
	if (rc != SQLITE_DONE)
		return sr_sql_fail(err, sql, rc, "columns of %s", t->name);
	qsort(t->columns, t->all, sizeof *t->columns, carried_then_name);
	return SR_OK;
}

static void add_key(struct sr_sql_table *t, const char *column, enum sr_sql_collation fold)
{
	t->key = sr_realloc(t->key, (t->keys + 1) * sizeof *t->key);
	t->folds = sr_realloc(t->folds, (t->keys + 1) * sizeof *t->folds);
	t->key[t->keys] = column_called(t, column);
	t->folds[t->keys++] = fold;
}

/* What makes two keys one is the collation of the key's index, which need not be that of the column.  No index: the rowid itself is the
 * key. */
static enum sr_status load_key(struct sr_sql *sql, struct sr_sql_table *t, struct sr_err *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sr_sql_prepare(sql,
			 "SELECT x.name, x.coll FROM pragma_index_list(?1, 'main') AS i, pragma_index_xinfo(i.name, 'main') AS x "
			 "WHERE i.origin = 'pk' AND x.key = 1 AND x.cid >= 0 ORDER BY x.seqno",
			 t->name, &stmt);

	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		rc = sqlite3_step(stmt);
		if (rc == SQLITE_ROW)
			add_key(t, sr_sql_text_at(stmt, 0), collation_of(sr_sql_text_at(stmt, 1)));
	}
	sqlite3_finalize(stmt);
	stmt = NULL;
	if (rc == SQLITE_DONE && !t->keys) {
		rc = sr_sql_prepare(sql, "SELECT name FROM pragma_table_xinfo(?1, 'main') WHERE pk = 1", t->name, &stmt);
		if (rc == SQLITE_OK)
			rc = sqlite3_step(stmt);
		if (rc == SQLITE_ROW) {
			add_key(t, sr_sql_text_at(stmt, 0), SR_BINARY);
			t->alias = true;
			rc = SQLITE_DONE;
		}
		sqlite3_finalize(stmt);
	}
	return rc == SQLITE_DONE ? SR_OK : sr_sql_fail(err, sql, rc, "key of %s", t->name);
}

/* Does its CREATE hold the word?  Anywhere: too often does no harm. */
static enum sr_status load_conflicts(struct sr_sql *sql, struct sr_sql_table *t, struct sr_err *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sr_sql_prepare(sql, "SELECT sql LIKE '%conflict%' FROM main.sqlite_master WHERE type = 'table' AND name = ?1", t->name,
				&stmt);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	t->conflicts = rc == SQLITE_ROW && sqlite3_column_int(stmt, 0);
	sqlite3_finalize(stmt);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? SR_OK : sr_sql_fail(err, sql, rc, "%s", t->name);
}

static void fingerprint(struct sr_sql_table *t, const struct sr_tree_key *key)
{
	struct sr_buf b = {0};

	sr_buf_string(&b, sr_bytes_of("sameroot table 1"));
	sr_buf_string(&b, sr_bytes_of(t->name));
	sr_buf_byte(&b, t->without_rowid);
	sr_buf_byte(&b, t->strict);
	sr_buf_byte(&b, t->alias);
	sr_buf_varint(&b, t->all);
	for (size_t i = 0; i < t->all; i++) {
		sr_buf_string(&b, sr_bytes_of(t->columns[i].name));
		sr_buf_byte(&b, (uint8_t)t->columns[i].affinity);
		sr_buf_string(&b, sr_bytes_of(t->columns[i].collation));
		sr_buf_byte(&b, t->columns[i].generated);
		sr_buf_string(&b, sr_bytes_of(t->strict ? t->columns[i].type : ""));
	}
	sr_buf_varint(&b, t->keys);
	for (size_t i = 0; i < t->keys; i++) {
		sr_buf_string(&b, sr_bytes_of(t->columns[t->key[i]].name));
		sr_buf_byte(&b, (uint8_t)t->folds[i]);
	}
	sr_hash_of(&t->fingerprint, key, sr_buf_view(&b));
	sr_buf_free(&b);
}

/* The name of the rowid that no column has taken; NULL: there is none. */
static const char *free_rowid(const struct sr_sql_table *t)
{
	static const char *const names[] = {"rowid", "_rowid_", "oid"};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		size_t at = 0;

		while (at < t->all && sqlite3_stricmp(t->columns[at].name, names[i]))
			at++;
		if (at == t->all)
			return names[i];
	}
	return NULL;
}

/* Can rows be named by the key? */
static bool nameable(const struct sr_sql_table *t)
{
	for (size_t i = 0; i < t->keys; i++)
		if (t->folds[i] == SR_COLLATION_UNKNOWN || t->key[i] >= t->n)
			return false;
	return true;
}

/* A table is synchronised when its rows have a name, by their key or in a bag, and it can be written by this build of SQLite: an index on
 * the application's own function or collation cannot. */
static enum sr_status load_table(struct sr_sql *sql, const struct sr_store *st, struct sr_sql_table *t, const char *type,
				 struct sr_err *err)
{
	sqlite3_stmt *stmt;
	enum sr_status status;

	t->why = SR_UNKNOWN_TABLE;
	if (!*t->name)
		t->why = SR_UNKNOWN_NAME;
	else if (sr_store_excludes(st, sr_bytes_of(t->name)))
		t->why = SR_UNKNOWN_EXCLUDED;
	t->hidden = strcmp(type, "table") != 0;
	if (t->hidden && t->why == SR_UNKNOWN_TABLE)
		t->why = SR_UNKNOWN_VIRTUAL;
	if (t->hidden || t->why != SR_UNKNOWN_TABLE)
		return SR_OK;
	status = load_conflicts(sql, t, err);
	if (status == SR_OK)
		status = load_columns(sql, t, err);
	if (status == SR_OK)
		status = load_key(sql, t, err);
	if (status != SR_OK)
		return status;
	fingerprint(t, st->key);
	if (!nameable(t))
		t->keys = 0;
	t->rowid = t->without_rowid || t->alias ? NULL : free_rowid(t);
	if (!t->keys && !t->rowid)
		return SR_OK;
	t->why = SR_UNKNOWN_APPLICATION; /* what else is there that stops it? */
	t->synced = sr_sql_statement(sql, t, SR_SQL_INSERT, &stmt, NULL) == SR_OK;
	return SR_OK;
}

static int by_name(const void *a, const void *b)
{
	const struct sr_sql_table *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/* The shadow tables of a virtual table whose module this build lacks look like ordinary ones. */
static void find_hidden_shadows(struct sr_sql *sql)
{
	struct sr_sql_schema *schema = sql->schema;

	for (size_t i = 0; i < schema->n; i++) {
		struct sr_sql_table *v = &schema->tables[i];
		char *text;
		sqlite3_stmt *stmt = NULL;
		size_t len = strlen(v->name);

		if (!v->hidden)
			continue;
		text = sqlite3_mprintf("SELECT 1 FROM main.\"%w\"", v->name);
		if (sqlite3_prepare_v2(sql->db, text, -1, &stmt, NULL) != SQLITE_OK)
			for (size_t j = 0; j < schema->n; j++) {
				struct sr_sql_table *t = &schema->tables[j];

				if (!sqlite3_strnicmp(t->name, v->name, (int)len) && t->name[len] == '_') {
					t->synced = false;
					t->hidden = true;
					t->why = SR_UNKNOWN_VIRTUAL;
				}
			}
		sqlite3_finalize(stmt);
		sqlite3_free(text);
	}
}

bool sr_sql_internal_name(const char *name)
{
	return !sqlite3_strnicmp(name, "sqlite_", 7) || !sqlite3_strnicmp(name, "_sameroot_", 10);
}

static enum sr_status load(struct sr_sql *sql, const struct sr_store *st, struct sr_err *err)
{
	struct sr_sql_schema *schema = sql->schema;
	sqlite3_stmt *stmt = NULL;
	enum sr_status status = SR_OK;
	int rc = sr_sql_prepare(
		sql,
		"SELECT name, type, wr, strict FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual', 'shadow')",
		NULL, &stmt);

	while (status == SR_OK && (rc == SQLITE_OK || rc == SQLITE_ROW)) {
		struct sr_sql_table *t;

		rc = sqlite3_step(stmt);
		if (rc != SQLITE_ROW || sr_sql_internal_name(sr_sql_text_at(stmt, 0)))
			continue;
		schema->tables = sr_realloc(schema->tables, (schema->n + 1) * sizeof *schema->tables);
		t = &schema->tables[schema->n++];
		*t = (struct sr_sql_table){.name = sr_strdup(sr_sql_text_at(stmt, 0)),
					   .without_rowid = sqlite3_column_int(stmt, 2) != 0,
					   .strict = sqlite3_column_int(stmt, 3) != 0};
		status = load_table(sql, st, t, sr_sql_text_at(stmt, 1), err);
	}
	sqlite3_finalize(stmt);
	if (status == SR_OK && rc != SQLITE_DONE)
		status = sr_sql_fail(err, sql, rc, "list of tables");
	if (status != SR_OK)
		return status;
	if (schema->n)
		qsort(schema->tables, schema->n, sizeof *schema->tables, by_name);
	find_hidden_shadows(sql);
	return sr_sql_references_load(sql, err);
}

enum sr_status sr_sql_schema(struct sr_sql *sql, const struct sr_store *st, struct sr_err *err)
{
	int64_t version;
	sqlite3_stmt *stmt = NULL;
	enum sr_status status = sr_sql_int(sql, "PRAGMA main.schema_version", &version, err);

	if (status != SR_OK || (sql->schema && sql->schema->version == version))
		return status;
	sr_sql_schema_free(sql);
	sql->schema = sr_alloc(sizeof *sql->schema);
	sql->schema->version = version;
	if (sr_sql_prepare(sql, "PRAGMA main.encoding", NULL, &stmt) == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW)
		sql->schema->utf8 = !strcmp(sr_sql_text_at(stmt, 0), "UTF-8");
	sqlite3_finalize(stmt);
	status = load(sql, st, err);
	if (status != SR_OK)
		sr_sql_schema_free(sql);
	return status;
}

enum sr_status sr_sql_schema_again(struct sr_sql *sql, const struct sr_store *st, struct sr_err *err)
{
	sr_sql_schema_free(sql);
	return sr_sql_schema(sql, st, err);
}

void sr_sql_schema_free(struct sr_sql *sql)
{
	if (!sql->schema)
		return;
	for (size_t i = 0; i < sql->schema->n; i++) {
		struct sr_sql_table *t = &sql->schema->tables[i];

		for (size_t j = 0; j < SR_SQL_VERBS; j++)
			sqlite3_finalize(t->stmt[j]);
		for (size_t j = 0; j < t->all; j++) {
			free(t->columns[j].name);
			free(t->columns[j].type);
			free(t->columns[j].collation);
		}
		free(t->columns);
		free(t->key);
		free(t->folds);
		sr_sql_bag_free(t->bag);
		sr_sql_added_free(t->added);
		free(t->name);
	}
	sr_sql_references_free(sql->schema);
	sr_sql_fts_free(sql->schema->fts);
	free(sql->schema->tables);
	free(sql->schema);
	sql->schema = NULL;
}

struct sr_sql_table *sr_sql_table(const struct sr_sql *sql, struct sr_bytes name)
{
	size_t low = 0, high = sql->schema->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int c = sr_bytes_cmp(sr_bytes_of(sql->schema->tables[middle].name), name);

		if (c == 0)
			return &sql->schema->tables[middle];
		if (c < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

bool sr_sql_empty(const struct sr_sql *sql)
{
	return sql->schema->n == 0;
}

/* --- statements ------------------------------------------------------------------------------------------------- */

void sr_sql_add_name(struct sr_buf *b, const char *name)
{
	sr_buf_byte(b, '"');
	for (; *name; name++) {
		if (*name == '"')
			sr_buf_byte(b, '"');
		sr_buf_byte(b, (uint8_t)*name);
	}
	sr_buf_byte(b, '"');
}

static bool in_key(const struct sr_sql_table *t, size_t column)
{
	for (size_t i = 0; i < t->keys; i++)
		if (t->key[i] == column)
			return true;
	return false;
}

void sr_sql_add_columns(struct sr_buf *b, const struct sr_sql_table *t)
{
	for (size_t i = 0; i < t->n; i++) {
		if (i)
			sr_buf_byte(b, ',');
		sr_sql_add_name(b, t->columns[i].name);
	}
}

/* The key's values are bound behind the columns' in every statement that has both. */
void sr_sql_add_where(struct sr_buf *b, const struct sr_sql_table *t, size_t first)
{
	static const char *const names[] = {[SR_BINARY] = "BINARY", [SR_NOCASE] = "NOCASE", [SR_RTRIM] = "RTRIM"};

	for (size_t i = 0; i < t->keys; i++) {
		sr_buf_printf(b, i ? " AND " : " WHERE ");
		sr_sql_add_name(b, t->columns[t->key[i]].name);
		if (!t->alias)
			sr_buf_printf(b, " COLLATE %s", names[t->folds[i]]);
		sr_buf_printf(b, "=?%zu", first + i);
	}
}

/* A table may have been declared with ON CONFLICT REPLACE, which would delete other rows unasked.  Where it was not, nothing is said: it
 * would hold for what triggers write, too, and overrule their own OR REPLACE. */
static const char *or_abort(const struct sr_sql_table *t)
{
	return t->conflicts ? " OR ABORT" : "";
}

static void add_insert(struct sr_buf *b, const struct sr_sql_table *t)
{
	sr_buf_printf(b, "INSERT%s INTO main.", or_abort(t));
	sr_sql_add_name(b, t->name);
	sr_buf_byte(b, '(');
	sr_sql_add_columns(b, t);
	sr_buf_printf(b, ") VALUES(");
	for (size_t i = 0; i < t->n; i++)
		sr_buf_printf(b, "%s?%zu", i ? "," : "", i + 1);
	sr_buf_byte(b, ')');
}

/* rekey: the key columns too (their exact values may differ under one name), except a rowid, which has one form only.  A column is always
 * set, so that there is something to say when all of them are the key. */
static void add_update(struct sr_buf *b, const struct sr_sql_table *t, bool rekey)
{
	const char *comma = "";

	sr_buf_printf(b, "UPDATE%s main.", or_abort(t));
	sr_sql_add_name(b, t->name);
	sr_buf_printf(b, " SET ");
	for (size_t i = 0; i < t->n; i++) {
		if (in_key(t, i) && (t->alias || !rekey))
			continue;
		sr_buf_printf(b, "%s", comma);
		sr_sql_add_name(b, t->columns[i].name);
		sr_buf_printf(b, "=?%zu", i + 1);
		comma = ",";
	}
	if (!*comma) {
		sr_sql_add_name(b, t->columns[t->key[0]].name);
		sr_buf_printf(b, "=?%zu", t->key[0] + 1);
	}
	sr_sql_add_where(b, t, t->n + 1);
}

/* The row that stands in the way of an insert, whichever unique index says so: it takes the upsert, changes nothing, and is returned. */
static void add_probe(struct sr_buf *b, const struct sr_sql_table *t)
{
	const char *any = t->columns[t->keys ? t->key[0] : 0].name;

	add_insert(b, t);
	sr_buf_printf(b, " ON CONFLICT DO UPDATE SET ");
	sr_sql_add_name(b, any);
	sr_buf_byte(b, '=');
	sr_sql_add_name(b, any);
	sr_buf_printf(b, " RETURNING ");
	sr_sql_add_columns(b, t);
	if (t->rowid)
		sr_buf_printf(b, ",%s", t->rowid);
}

static void add_after(struct sr_buf *b, const struct sr_sql_table *t)
{
	const char *key = t->columns[t->key[0]].name;

	sr_buf_printf(b, " NOT INDEXED WHERE ");
	sr_sql_add_name(b, key);
	sr_buf_printf(b, ">?1 ORDER BY ");
	sr_sql_add_name(b, key);
}

static void statement_text(struct sr_buf *b, const struct sr_sql_table *t, enum sr_sql_verb verb)
{
	switch (verb) {
	case SR_SQL_SCAN: /* in the order of the file: a covering index would be read in another */
	case SR_SQL_READ:
	case SR_SQL_FOLLOW:
		sr_buf_printf(b, "SELECT ");
		sr_sql_add_columns(b, t);
		sr_buf_printf(b, " FROM main.");
		sr_sql_add_name(b, t->name);
		if (verb == SR_SQL_SCAN)
			sr_buf_printf(b, " NOT INDEXED");
		else if (verb == SR_SQL_READ)
			sr_sql_add_where(b, t, 1);
		else
			add_after(b, t);
		break;
	case SR_SQL_INSERT:
		add_insert(b, t);
		break;
	case SR_SQL_UPDATE:
	case SR_SQL_REKEY:
		add_update(b, t, verb == SR_SQL_REKEY);
		break;
	case SR_SQL_REMOVE:
		sr_buf_printf(b, "DELETE FROM main.");
		sr_sql_add_name(b, t->name);
		sr_sql_add_where(b, t, 1);
		break;
	case SR_SQL_PROBE:
		add_probe(b, t);
		break;
	case SR_SQL_BAG:
	case SR_SQL_BAG_READ:
	case SR_SQL_BAG_REMOVE:
		sr_sql_bag_text(b, t, verb);
		break;
	case SR_SQL_VERBS:
		assert(!"no verb");
	}
}

enum sr_status sr_sql_statement(struct sr_sql *sql, struct sr_sql_table *t, enum sr_sql_verb verb, sqlite3_stmt **out, struct sr_err *err)
{
	struct sr_buf text = {0};
	int rc;

	if (!t->stmt[verb]) {
		statement_text(&text, t, verb);
		rc = sqlite3_prepare_v3(sql->db, sr_buf_text(&text), -1, SQLITE_PREPARE_PERSISTENT, &t->stmt[verb], NULL);
		sr_buf_free(&text);
		if (rc != SQLITE_OK)
			return sr_sql_fail(err, sql, rc, "%s", t->name);
	}
	sqlite3_reset(t->stmt[verb]);
	sqlite3_clear_bindings(t->stmt[verb]);
	*out = t->stmt[verb];
	return SR_OK;
}
