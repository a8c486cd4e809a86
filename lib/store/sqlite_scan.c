/* sqlite_scan.c - rows into records and names; views: everything, or one row.
 *
 * A row's name is its key in the key codec, in the one form that all equal keys share:
 *   - a REAL that is a whole number within int64 is that INT (SQLite compares 1 and 1.0 as equal);
 *   - under NOCASE the text has its ASCII capitals folded, and what follows a NUL counts by its length alone, as SQLite compares it;
 *   - under RTRIM the text has no trailing spaces.
 * The record holds the exact values.  In a UTF-16 database text is taken as UTF-8: a surrogate without its partner is not told from U+FFFD.
 *
 * A row without a key - in a rowid table that has no primary key, or none that can be named here, or with NULL in it - is called by its
 * content: (NULL, BLOB: hash of the record), of which no key has the form.  Equal ones are one leaf, whose `bytes` counts them: a *bag*
 * (lib/leaf/leaf.h).  Which of them is which nobody can tell, so that they are merged by their number. */
#include "lib/store/sqlite_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/store/watch.h"

#define MANY_READS  1000 /* of single rows: they lie anywhere, and more are to come */
#define CLOSE       8    /* rowids apart, */
#define CLOSE_READS 16   /* and so many of them: the next one will be the next row */
#define UNNAMED_MAX 1000 /* rows without a name that are listed, per table: nobody else can name them either */

struct sql_view {
	struct sr_view v;   /* first */
	struct sr_sql *sql; /* the store's main one, or: */
	struct sr_sql own;
	size_t reads; /* of single rows */
	struct sr_sql_table *table; /* of the last one, whose key was the rowid `last`; NULL: it was none such */
	int64_t last;
	unsigned close; /* so many in a row, each close behind the one before */
	bool follows;   /* SR_SQL_FOLLOW of that table stands before what comes after the last */
};

/* --- one row ---------------------------------------------------------------------------------------------------- */

void sr_sql_room(struct sr_sql *sql, size_t n)
{
	if (n <= sql->room)
		return;
	sql->columns = sr_realloc(sql->columns, n * sizeof *sql->columns);
	sql->values = sr_realloc(sql->values, n * sizeof *sql->values);
	sql->room = n;
}

struct sr_value sr_sql_value(sqlite3_stmt *stmt, int i, bool utf8)
{
	struct sr_value v = {.class = SR_NULL};

	switch (sqlite3_column_type(stmt, i)) {
	case SQLITE_INTEGER:
		v.class = SR_INT;
		v.i = sqlite3_column_int64(stmt, i);
		return v;
	case SQLITE_FLOAT:
		v.class = SR_REAL;
		v.real = sqlite3_column_double(stmt, i);
		return v;
	case SQLITE_TEXT:
		v.class = SR_TEXT;
		v.b.at = utf8 ? sqlite3_column_blob(stmt, i) : (const void *)sqlite3_column_text(stmt, i);
		break;
	case SQLITE_BLOB:
		v.class = SR_BLOB;
		v.b.at = sqlite3_column_blob(stmt, i);
		break;
	default:
		return v;
	}
	v.b.len = (size_t)sqlite3_column_bytes(stmt, i);
	return v;
}

static void fold_nocase(uint8_t *at, size_t len)
{
	size_t i = 0;

	for (; i < len && at[i]; i++)
		if (at[i] >= 'A' && at[i] <= 'Z')
			at[i] = (uint8_t)(at[i] - 'A' + 'a');
	memset(at + i, 0, len - i);
}

/* The form that all values equal to v share.  `scratch` has room for the value's bytes; returns how many were used. */
static size_t canonical(struct sr_value *v, enum sr_sql_collation fold, uint8_t *scratch)
{
	if (v->class == SR_REAL && v->real >= -0x1p63 && v->real < 0x1p63 && (double)(int64_t)v->real == v->real)
		*v = (struct sr_value){.class = SR_INT, .i = (int64_t)v->real};
	if (v->class != SR_TEXT)
		return 0;
	if (fold == SR_RTRIM)
		while (v->b.len && v->b.at[v->b.len - 1] == ' ')
			v->b.len--;
	if (fold != SR_NOCASE || !v->b.len)
		return 0;
	memcpy(scratch, v->b.at, v->b.len);
	fold_nocase(scratch, v->b.len);
	v->b.at = scratch;
	return v->b.len;
}

bool sr_sql_name(struct sr_sql *sql, const struct sr_sql_table *t)
{
	const struct sr_column *columns = sql->columns;
	size_t room = 0, used = 0;
	bool whole = t->keys > 0;

	for (size_t i = 0; i < t->keys; i++)
		room += columns[t->key[i]].value.b.len;
	sr_buf_clear(&sql->fold);
	sr_buf_room(&sql->fold, room + 1);
	for (size_t i = 0; i < t->keys; i++) {
		sql->values[i] = columns[t->key[i]].value;
		used += canonical(&sql->values[i], t->folds[i], sql->fold.at + used);
		whole &= sql->values[i].class != SR_NULL;
	}
	sr_buf_clear(&sql->key);
	sr_key_encode(&sql->key, sql->values, t->keys);
	return whole && strlen(t->name) + 1 + sql->key.len <= SR_PATH_MAX;
}

/* The name of a row of record sql->record. */
static bool bag_name(struct sr_sql *sql, const struct sr_sql_table *t)
{
	struct sr_hash hash;

	sr_hash_of(&hash, sql->tree_key, sr_buf_view(&sql->record));
	sr_buf_clear(&sql->key);
	sr_bag_key(&sql->key, &hash);
	return strlen(t->name) + 1 + SR_BAG_KEY_LEN <= SR_PATH_MAX;
}

bool sr_sql_row(struct sr_sql *sql, const struct sr_sql_table *t, sqlite3_stmt *stmt)
{
	bool in_bag, named = false;

	for (size_t i = 0; i < t->n; i++) {
		sql->columns[i].name = sr_bytes_of(t->columns[i].name);
		sql->columns[i].value = sr_sql_value(stmt, (int)i, sql->schema->utf8);
	}
	in_bag = sr_sql_in_bag(sql, t);
	if (!in_bag)
		named = sr_sql_name(sql, t);
	sr_buf_clear(&sql->record);
	sr_record_encode(&sql->record, sql->columns, t->n); /* they are in order already: t->key stays right */
	return in_bag ? bag_name(sql, t) : named;
}

enum sr_status sr_sql_bind(struct sr_sql *sql, sqlite3_stmt *stmt, size_t at, const struct sr_value *v, struct sr_err *err)
{
	const void *bytes = v->b.len ? (const void *)v->b.at : "";
	int n = (int)at, rc = SQLITE_OK;

	switch (v->class) {
	case SR_NULL:
		rc = sqlite3_bind_null(stmt, n);
		break;
	case SR_INT:
		rc = sqlite3_bind_int64(stmt, n, v->i);
		break;
	case SR_REAL:
		rc = sqlite3_bind_double(stmt, n, v->real);
		break;
	case SR_TEXT:
		rc = sqlite3_bind_text64(stmt, n, bytes, v->b.len, SQLITE_STATIC, SQLITE_UTF8);
		break;
	case SR_BLOB:
		rc = sqlite3_bind_blob64(stmt, n, bytes, v->b.len, SQLITE_STATIC);
		break;
	}
	return rc == SQLITE_OK ? SR_OK : sr_sql_fail(err, sql, rc, "bind");
}

enum sr_status sr_sql_bind_key(struct sr_sql *sql, const struct sr_sql_table *t, sqlite3_stmt *stmt, size_t at, struct sr_bytes key,
			       struct sr_err *err)
{
	struct sr_value *values;
	size_t n;
	enum sr_status st = sr_key_decode(key, &values, &n, err);

	if (st != SR_OK)
		return st;
	if (n != t->keys || !n) /* without one a statement would be about all rows */
		st = sr_err_set(err, SR_E_DATA, "a key of %zu values for one of %zu", n, t->keys);
	for (size_t i = 0; st == SR_OK && i < n; i++)
		st = sr_sql_bind(sql, stmt, at + i, &values[i], err);
	free(values);
	return st;
}

static enum sr_status bag_row_read(struct sr_sql *sql, struct sr_sql_table *t, struct sr_bytes key, struct sr_version *out,
				   struct sr_err *err)
{
	struct sr_version v = {.kind = SR_KIND_NONE};
	const struct sr_sql_place *places;
	size_t n;
	bool same = true;
	enum sr_status st = sr_sql_bag_find(sql, t, key, &places, &n, err);

	sr_buf_clear(&sql->record);
	if (st == SR_OK && n) {
		v = (struct sr_version){.kind = SR_KIND_ROW, .bytes = n, .hash = places->hash};
		st = sr_sql_bag_read(sql, t, key, places->rowid, &same, err);
	}
	if (st == SR_OK && !same)
		st = sr_err_set(err, SR_E_CHANGED, "%s: rowid %lld is another row", t->name, (long long)places->rowid);
	if (st == SR_OK)
		*out = v;
	return st;
}

enum sr_status sr_sql_row_read(struct sr_sql *sql, const struct sr_store *st, struct sr_sql_table *t, struct sr_bytes key,
			       struct sr_version *out, struct sr_err *err)
{
	struct sr_version v = {.kind = SR_KIND_NONE};
	sqlite3_stmt *stmt;
	enum sr_status status;
	int rc;

	if (sr_key_is_bag(key))
		return bag_row_read(sql, t, key, out, err);
	status = sr_sql_statement(sql, t, SR_SQL_READ, &stmt, err);
	if (status == SR_OK)
		status = sr_sql_bind_key(sql, t, stmt, 1, key, err);
	if (status != SR_OK)
		return status;
	sr_sql_room(sql, t->n);
	sr_buf_clear(&sql->record);
	rc = sqlite3_step(stmt);
	/* Another spelling of its name would find the row too, but is not its name. */
	if (rc == SQLITE_ROW && sr_sql_row(sql, t, stmt) && sr_bytes_eq(sr_buf_view(&sql->key), key)) {
		v.kind = SR_KIND_ROW;
		v.bytes = sql->record.len;
		sr_hash_of(&v.hash, st->key, sr_buf_view(&sql->record));
	} else if (rc == SQLITE_ROW) {
		sr_buf_clear(&sql->record);
	}
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		status = sr_sql_fail(err, sql, rc, "%s", t->name);
	sqlite3_reset(stmt); /* nothing is bound to the caller's bytes any more once it is cleared */
	sqlite3_clear_bindings(stmt);
	if (status == SR_OK)
		*out = v;
	return status;
}

bool sr_sql_path_split(struct sr_bytes path, struct sr_bytes *table, struct sr_bytes *key)
{
	const uint8_t *nul = path.len ? memchr(path.at, 0, path.len) : NULL;

	if (!nul)
		return false;
	*table = sr_bytes(path.at, (size_t)(nul - path.at));
	*key = sr_bytes(nul + 1, path.len - table->len - 1);
	return true;
}

/* --- a table ---------------------------------------------------------------------------------------------------- */

struct gather {
	struct sr_sql *sql;
	const struct sr_store *st;
	struct sr_scan *scan;
	struct sr_builder *rows; /* of the table */
	struct sr_buf bag; /* hashes of the rows without a key */
	size_t unnamed;
	int64_t last; /* rowid, when that is the key */
	bool any;     /* there was one */
	bool falls;   /* it did not rise */
};

static void add_path(struct sr_scan *scan, const char *table, struct sr_bytes key, enum sr_unknown_why why)
{
	struct sr_buf path = {0};

	sr_buf_bytes(&path, sr_bytes_of(table));
	if (key.len) {
		sr_buf_byte(&path, 0);
		sr_buf_bytes(&path, key);
	}
	sr_scan_add_unknown(scan, sr_buf_view(&path), why);
	sr_buf_free(&path);
}

/* A row that cannot be carried under its name.  One whose key is too long is listed under a hash of it. */
static void add_unnamed(struct gather *g, const struct sr_sql_table *t)
{
	struct sr_buf key = {0};
	struct sr_hash h;
	char text[SR_HASH_TEXT + sizeof "too long: "];

	if (g->unnamed++ >= UNNAMED_MAX)
		return;
	if (strlen(t->name) + 1 + g->sql->key.len <= SR_PATH_MAX) {
		add_path(g->scan, t->name, sr_buf_view(&g->sql->key), SR_UNKNOWN_NAME);
		return;
	}
	sr_hash_of(&h, g->st->key, sr_buf_view(&g->sql->key));
	strcpy(text, "too long: ");
	sr_hash_text(text + strlen(text), &h);
	sr_key_encode(&key, &(struct sr_value){.class = SR_TEXT, .b = sr_bytes_of(text)}, 1);
	add_path(g->scan, t->name, sr_buf_view(&key), SR_UNKNOWN_NAME);
	sr_buf_free(&key);
}

static void add_entry(struct gather *g, struct sr_bytes name, uint64_t bytes, const struct sr_hash *hash)
{
	sr_builder_add(g->rows, &(struct sr_entry){.name = name, .kind = SR_KIND_ROW, .hash = *hash, .leaves = 1, .bytes = bytes});
}

static void add_row(struct gather *g, const struct sr_sql_table *t)
{
	struct sr_bytes key = sr_buf_view(&g->sql->key);
	int64_t id = t->alias ? g->sql->columns[t->key[0]].value.i : 0;
	struct sr_hash hash;

	if (sr_key_is_bag(key)) {
		sr_buf_add(&g->bag, key.at + key.len - SR_HASH_LEN, SR_HASH_LEN);
		return;
	}
	g->falls |= t->alias && g->any && id <= g->last;
	g->last = id;
	g->any = true;
	sr_hash_of(&hash, g->st->key, sr_buf_view(&g->sql->record));
	add_entry(g, key, g->sql->record.len, &hash);
}

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, SR_HASH_LEN);
}

/* Equal rows without a key are one leaf. */
static void add_bag(struct gather *g)
{
	uint8_t *at = g->bag.at;
	size_t n = g->bag.len / SR_HASH_LEN;
	struct sr_buf key = {0};

	if (n)
		qsort(at, n, SR_HASH_LEN, by_bytes);
	for (size_t i = 0, end; i < n; i = end) {
		struct sr_hash hash;

		for (end = i + 1; end < n && !by_bytes(at + i * SR_HASH_LEN, at + end * SR_HASH_LEN);)
			end++;
		memcpy(hash.b, at + i * SR_HASH_LEN, sizeof hash.b);
		sr_buf_clear(&key);
		sr_bag_key(&key, &hash);
		add_entry(g, sr_buf_view(&key), end - i, &hash);
	}
	sr_buf_free(&key);
}

static enum sr_status gather_rows(struct gather *g, struct sr_sql_table *t, struct sr_err *err)
{
	sqlite3_stmt *stmt;
	enum sr_status status = sr_sql_statement(g->sql, t, SR_SQL_SCAN, &stmt, err);
	int rc;

	if (status != SR_OK)
		return status;
	sr_sql_room(g->sql, t->n);
	sr_buf_clear(&g->bag);
	g->unnamed = 0;
	g->falls = g->any = false;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		if (sr_sql_row(g->sql, t, stmt))
			add_row(g, t);
		else
			add_unnamed(g, t);
		g->scan->rows_read++;
		g->scan->hashed++;
		g->scan->hashed_bytes += g->sql->record.len;
	}
	sqlite3_reset(stmt);
	add_bag(g);
	return rc == SQLITE_DONE ? SR_OK : sr_sql_fail(err, g->sql, rc, "%s", t->name);
}

/* A table of which only some rows were read: what the map says with these. */
static enum sr_status take_over(const struct sr_sql_narrow *narrow, const struct sr_sql_table *t, struct sr_nodes *nodes, struct sr_entry *tables,
				size_t *n, struct sr_err *err)
{
	enum sr_status status = sr_map_get(nodes, &narrow->map, sr_bytes_of(t->name), &tables[*n]);

	if (status != SR_OK)
		return sr_err_set(err, status, "%s: not in the map", t->name);
	tables[(*n)++].name = sr_bytes_of(t->name);
	return SR_OK;
}

static enum sr_status scan_table(struct gather *g, struct sr_sql_table *t, struct sr_nodes *nodes, struct sr_entry *tables, size_t *n,
				 struct sr_err *err)
{
	enum sr_status status;
	bool differ; /* their names.  If not, the key's index is corrupt, or it is UTF-16 that is not text: no map can be made of it */

	if (!t->synced) {
		add_path(g->scan, *t->name ? t->name : "\"\"", sr_bytes(NULL, 0), t->why);
		return SR_OK;
	}
	g->rows = sr_builder_new(nodes);
	status = gather_rows(g, t, err);
	if (status != SR_OK) {
		sr_builder_free(g->rows);
		return status;
	}
	differ = sr_builder_finish(g->rows, sr_bytes(t->fingerprint.b, sizeof t->fingerprint.b), &tables[*n]);
	if (!differ || g->falls) {
		add_path(g->scan, t->name, sr_bytes(NULL, 0), SR_UNKNOWN_UNREADABLE);
		return SR_OK;
	}
	tables[*n].name = sr_bytes_of(t->name);
	tables[*n].kind = SR_KIND_TABLE;
	tables[*n].mode = 0;
	++*n;
	return SR_OK;
}

struct tables {
	const struct sr_store *st;
	struct sr_entry *at;
	size_t n, cap;
};

/* Unknown is not absent: an excluded table that was there stays in the map as it was, whatever became of it. */
static enum sr_status keep_excluded(void *ctx, const struct sr_entry *old)
{
	struct tables *t = ctx;

	if (!sr_store_excludes(t->st, old->name))
		return SR_OK;
	if (t->n == t->cap) {
		t->cap = 2 * t->cap + 1;
		t->at = sr_realloc(t->at, t->cap * sizeof *t->at);
	}
	t->at[t->n++] = *old;
	return SR_OK;
}

/* narrow->whole NULL: all of it. */
static enum sr_status scan_all(struct sr_sql *sql, const struct sr_store *st, struct sr_nodes *nodes, const struct sr_hash *before,
			       const struct sr_sql_narrow *narrow, struct sr_scan *out, struct sr_err *err)
{
	struct gather g = {.sql = sql, .st = st, .scan = out};
	struct tables t = {.st = st, .cap = sql->schema->n};
	struct sr_entry top;
	enum sr_status status = SR_OK;

	t.at = sr_alloc(t.cap * sizeof *t.at);
	for (size_t i = 0; status == SR_OK && i < sql->schema->n; i++)
		status = narrow->whole && !narrow->whole[i] ? take_over(narrow, &sql->schema->tables[i], nodes, t.at, &t.n, err)
							    : scan_table(&g, &sql->schema->tables[i], nodes, t.at, &t.n, err);
	if (status == SR_OK && st->excludes && !sr_hash_none(before))
		status = sr_map_each(nodes, before, keep_excluded, &t, err);
	if (status == SR_OK && t.n) {
		sr_map_build(nodes, sr_bytes(NULL, 0), t.at, t.n, &top);
		out->map = top.hash;
	} else if (status == SR_OK) {
		sr_store_empty(nodes, SR_KIND_DATABASE, &out->map);
	}
	sr_buf_free(&g.bag);
	free(t.at);
	return status;
}

/* --- the gate --------------------------------------------------------------------------------------------------- */

void sr_sql_gate_open(struct sr_sql_gate *gate)
{
	sr_scan_free(&gate->seen);
	*gate = (struct sr_sql_gate){0};
}

/* After an apply of ours the caller's map is another than the scan's, and we have only its word for it: at least it has to differ. */
static bool is_trusted(const struct sr_sql_gate *gate, const struct sr_hash *before)
{
	return gate->closed && before && !sr_hash_none(before) && sr_hash_eq(before, &gate->map) != gate->edited;
}

static void gate_shut(struct sr_sql_gate *gate, int64_t data_version, const struct sr_scan *scan)
{
	sr_sql_gate_open(gate);
	gate->closed = true;
	gate->data_version = data_version;
	gate->map = scan->map;
	sr_scan_copy_unknown(&gate->seen, scan);
}

/* --- views ------------------------------------------------------------------------------------------------------ */

static void follow_no_more(struct sql_view *view)
{
	if (view->follows)
		sqlite3_reset(view->table->stmt[SR_SQL_FOLLOW]);
	view->follows = false;
	view->table = NULL;
	view->close = 0;
}

enum sr_status sr_sql_view_open(struct sr_view **out, struct sr_store *st, enum sr_view_kind kind, struct sr_err *err)
{
	struct sr_sql_store *s = (struct sr_sql_store *)st;
	struct sql_view *view;
	enum sr_status status;

	assert(kind == SR_VIEW_EXTRA || (!s->viewed && !s->apply));
	view = sr_alloc(sizeof *view);
	view->v = (struct sr_view){.st = st, .kind = kind};
	view->sql = kind == SR_VIEW_MAIN ? &s->main : &view->own;
	if (kind == SR_VIEW_MAIN && st->watch) /* before the snapshot: what is committed after it is told of again */
		sr_watch_begin_database(st->watch);
	if (kind == SR_VIEW_MAIN)
		s->viewed = true;
	else
		atomic_fetch_add(&s->extras, 1);
	status = kind == SR_VIEW_MAIN ? sr_sql_main(s, err) : sr_sql_connect(view->sql, st, kind, err);
	if (status == SR_OK && kind == SR_VIEW_MAIN)
		sr_sql_capture_tend(s);
	if (status == SR_OK)
		status = sr_sql_exec(view->sql, "BEGIN", err);
	if (status == SR_OK)
		status = sr_sql_schema(view->sql, st, err); /* its first read fixes the snapshot */
	if (status != SR_OK) {
		sr_sql_view_close(&view->v);
		return sr_err_context(err, "%s", st->name), status;
	}
	*out = &view->v;
	return SR_OK;
}

struct sr_sql *sr_sql_of_view(struct sr_view *v)
{
	return ((struct sql_view *)v)->sql;
}

void sr_sql_view_close(struct sr_view *v)
{
	struct sql_view *view = (struct sql_view *)v;
	struct sr_sql_store *s = (struct sr_sql_store *)v->st;

	follow_no_more(view);
	if (view->sql->db && !sqlite3_get_autocommit(view->sql->db))
		sqlite3_exec(view->sql->db, "ROLLBACK", NULL, NULL, NULL);
	sr_sql_bags_forget(view->sql);
	if (view->sql->db && view->reads >= MANY_READS)
		sqlite3_exec(view->sql->db, SR_SQL_CACHE, NULL, NULL, NULL);
	if (v->kind == SR_VIEW_MAIN) {
		s->viewed = false;
	} else {
		sr_sql_disconnect(&view->own);
		atomic_fetch_sub(&s->extras, 1);
	}
	free(view);
}

enum sr_status sr_sql_view_scan(struct sr_view *v, struct sr_nodes *nodes, const struct sr_hash *before, sr_signature_fn *changed,
				void *ctx, struct sr_scan *out, struct sr_err *err)
{
	struct sql_view *view = (struct sql_view *)v;
	struct sr_sql_store *s = (struct sr_sql_store *)v->st;
	struct sr_sql_gate *gate = &s->gate;
	struct sr_sql_narrow narrow;
	bool trusted = is_trusted(gate, before) && !sr_sql_capture_is_full_due(s);
	int64_t data_version;
	enum sr_status status;

	(void)changed; /* rows have no signature */
	(void)ctx;
	assert(v->kind == SR_VIEW_MAIN);
	status = sr_sql_int(view->sql, "PRAGMA main.data_version", &data_version, err);
	if (status != SR_OK)
		return status;
	if (trusted && gate->data_version == data_version) {
		gate->map = *before;
		gate->edited = false;
		out->map = *before;
		out->same = true;
		sr_scan_copy_unknown(out, &gate->seen);
		return SR_OK;
	}
	if (s->rots)
		sqlite3_db_release_memory(view->sql->db);
	status = sr_sql_capture_narrow(s, view->sql, nodes, before, trusted && !s->rots, out, &narrow, err);
	if (status == SR_OK)
		status = scan_all(view->sql, v->st, nodes, before, &narrow, out, err);
	if (status != SR_OK) {
		free(narrow.whole);
		return sr_err_context(err, "%s", v->st->name), status;
	}
	sr_sql_capture_scanned(s, &narrow);
	out->same = before && sr_hash_eq(before, &out->map);
	gate_shut(gate, data_version, out);
	return SR_OK;
}

static enum sr_status read_schema(struct sql_view *view, struct sr_content *out, struct sr_err *err)
{
	struct sr_buf *text = &view->sql->record;
	enum sr_status status;

	sr_buf_clear(text);
	status = sr_sql_schema_text(view->sql, text, err);
	if (status != SR_OK)
		return status;
	out->record = sr_buf_view(text);
	out->version.kind = SR_KIND_TABLE;
	sr_hash_of(&out->version.hash, view->v.st->key, out->record);
	return SR_OK;
}

static enum sr_status not_found(const struct sr_store *st, struct sr_bytes path, struct sr_err *err)
{
	struct sr_buf text = {0};
	enum sr_status status;

	sr_leaf_path_text(&text, st->name, SR_KIND_DATABASE, path);
	status = sr_err_set(err, SR_E_NOTFOUND, "%s is not there", sr_buf_text(&text));
	sr_buf_free(&text);
	return status;
}

/* What the row is whose columns were read from the statement; false: it is not called so. */
static bool take_row(struct sql_view *view, struct sr_sql_table *t, sqlite3_stmt *stmt, struct sr_bytes key, struct sr_version *out)
{
	struct sr_sql *sql = view->sql;

	if (!sr_sql_row(sql, t, stmt) || !sr_bytes_eq(sr_buf_view(&sql->key), key))
		return false;
	*out = (struct sr_version){.kind = SR_KIND_ROW, .bytes = sql->record.len};
	sr_hash_of(&out->hash, view->v.st->key, sr_buf_view(&sql->record));
	return true;
}

/* Is it the row after the one that was read last?  Then it need not be looked for. */
static enum sr_status read_next(struct sql_view *view, struct sr_sql_table *t, struct sr_bytes key, struct sr_version *out, bool *found,
				struct sr_err *err)
{
	sqlite3_stmt *stmt = t->stmt[SR_SQL_FOLLOW];
	int rc;

	*found = false;
	if (!view->follows || view->table != t) {
		if (view->table != t)
			follow_no_more(view);
		return SR_OK;
	}
	sr_sql_room(view->sql, t->n);
	sr_buf_clear(&view->sql->record);
	rc = sqlite3_step(stmt);
	*found = rc == SQLITE_ROW && take_row(view, t, stmt, key, out);
	if (!*found)
		follow_no_more(view);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? SR_OK : sr_sql_fail(err, view->sql, rc, "%s", t->name);
}

/* After a row was looked for and found: will the next one be the one behind it? */
static enum sr_status follow(struct sql_view *view, struct sr_sql_table *t, struct sr_err *err)
{
	int64_t id = view->sql->columns[t->key[0]].value.i;
	sqlite3_stmt *stmt;
	enum sr_status status;

	view->close = view->table == t && id > view->last && id - view->last <= CLOSE ? view->close + 1 : 0;
	view->table = t;
	view->last = id;
	if (view->close < CLOSE_READS)
		return SR_OK;
	status = sr_sql_statement(view->sql, t, SR_SQL_FOLLOW, &stmt, err);
	if (status != SR_OK)
		return status;
	sqlite3_bind_int64(stmt, 1, id);
	view->follows = true;
	return SR_OK;
}

static enum sr_status read_row(struct sql_view *view, struct sr_sql_table *t, struct sr_bytes key, struct sr_version *out, struct sr_err *err)
{
	bool found = false;
	enum sr_status status = t->alias ? read_next(view, t, key, out, &found, err) : SR_OK;

	if (status != SR_OK || found)
		return status;
	if (++view->reads == MANY_READS && view->v.kind == SR_VIEW_MAIN) /* of the others there may be many at once */
		sqlite3_exec(view->sql->db, SR_SQL_LARGE_CACHE, NULL, NULL, NULL);
	status = sr_sql_row_read(view->sql, view->v.st, t, key, out, err);
	return status == SR_OK && t->alias && out->kind == SR_KIND_ROW ? follow(view, t, err) : status;
}

enum sr_status sr_sql_view_read(struct sr_view *v, struct sr_bytes path, struct sr_content *out, struct sr_err *err)
{
	struct sql_view *view = (struct sql_view *)v;
	struct sr_content found = {.fd = -1};
	struct sr_bytes name, key;
	struct sr_sql_table *t;
	enum sr_status status;

	if (sr_bytes_eq(path, sr_bytes_of(SR_SCHEMA_PATH))) {
		status = read_schema(view, &found, err);
	} else {
		t = sr_sql_path_split(path, &name, &key) ? sr_sql_table(view->sql, name) : NULL;
		if (!t || !t->synced)
			return not_found(v->st, path, err);
		status = read_row(view, t, key, &found.version, err);
		if (status == SR_OK && found.version.kind == SR_KIND_NONE)
			return not_found(v->st, path, err);
		found.record = sr_buf_view(&view->sql->record);
	}
	if (status == SR_OK)
		*out = found;
	return status;
}

bool sr_sql_view_is_grown(struct sr_view *v, struct sr_bytes path, struct sr_bytes record, const struct sr_version *from)
{
	return sr_sql_is_grown(((struct sql_view *)v)->sql, v->st->key, path, record, from);
}

int64_t sr_sql_view_schema_version(const struct sr_view *v)
{
	const struct sr_sql *sql = ((const struct sql_view *)v)->sql;

	return sql->schema ? sql->schema->version : 0;
}

bool sr_sql_view_grow(struct sr_view *v, struct sr_bytes path, struct sr_bytes record, struct sr_buf *out)
{
	return sr_sql_grow_record(((struct sql_view *)v)->sql, path, record, out);
}

bool sr_sql_view_carry(struct sr_view *v, struct sr_bytes path, struct sr_bytes record, struct sr_buf *out)
{
	return sr_sql_carry(((struct sql_view *)v)->sql, path, record, out);
}

bool sr_sql_view_dangling(struct sr_view *v, struct sr_bytes path, bool there)
{
	return sr_sql_dangling(((struct sql_view *)v)->sql, path, there);
}
