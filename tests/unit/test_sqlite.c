/* test_sqlite.c - a database as a store: real files, in both journal modes, with another process that writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/stat.h>

#include "tests/unit/sqlite_world.h"

static const char *const excludes[] = {"secret"};

static struct sr_store *store_without_secret(struct world *w, const char *name)
{
	return store_with(w, (struct sr_store_options){.name = name, .exclude = excludes, .excludes = 1});
}

/* A map that is not the last one. */
static const struct sr_hash *another(struct world *w)
{
	static struct sr_hash empty;

	sr_store_empty(w->nodes, SR_KIND_DATABASE, &empty);
	return &empty;
}

/* --- leaves ------------------------------------------------------------------------------------------------------- */

static void row_path(struct sr_buf *out, const char *table, struct sr_value key)
{
	sr_buf_clear(out);
	sr_buf_bytes(out, sr_bytes_of(table));
	sr_buf_byte(out, 0);
	sr_key_encode(out, &key, 1);
}

/* The version at `path` now. */
static bool at_once(void *ctx)
{
	unsigned *asked = ctx;

	++*asked;
	return true;
}

static struct sr_version version_at(struct world *w, struct sr_store *st, struct sr_bytes path)
{
	struct sr_version v = {0};
	struct sr_view *view;
	struct sr_content c;

	ok(sr_view_open(&view, st, SR_VIEW_EXTRA, &w->err));
	if (sr_view_read(view, path, &c, &w->err) == SR_OK)
		v = c.version;
	sr_view_close(view);
	return v;
}

/* A leaf (table, id) -> {id, columns...}; n 0: deletion.  Expects what is there now. */
static void add_leaf(struct world *w, struct sr_store *st, struct sr_leaves *l, const char *table, struct sr_value key,
		     struct sr_column *columns, size_t n)
{
	struct sr_buf path = {0}, record = {0};
	struct sr_leaf leaf = {0};

	row_path(&path, table, key);
	leaf.path = sr_buf_view(&path);
	leaf.expect = version_at(w, st, leaf.path);
	if (n) {
		sr_record_encode(&record, columns, n);
		leaf.record = sr_buf_view(&record);
		leaf.to = (struct sr_version){.kind = SR_KIND_ROW, .bytes = record.len};
		sr_hash_of(&leaf.to.hash, &w->key, leaf.record);
	}
	ok(sr_leaves_add(l, &leaf, &w->err));
	sr_buf_free(&path);
	sr_buf_free(&record);
}

static void add_user(struct world *w, struct sr_store *st, struct sr_leaves *l, int64_t id, const char *name, int64_t n)
{
	struct sr_column c[] = {{sr_bytes_of("id"), integer(id)}, {sr_bytes_of("name"), text(name)}, {sr_bytes_of("n"), integer(n)}};

	add_leaf(w, st, l, "users", integer(id), c, 3);
}

static void drop_user(struct world *w, struct sr_store *st, struct sr_leaves *l, int64_t id)
{
	add_leaf(w, st, l, "users", integer(id), NULL, 0);
}

struct seen { /* by the callbacks */
	size_t clashes, in_the_way, displaced, unexpected, applied, parentless;
	enum sr_verdict clash_verdict, way_verdict, parent_verdict;
	enum sr_status displaced_status;
	struct sr_buf log;
	char told[400]; /* "leaf<row in its way ", "leaf>what it refers to " */
};

static void tell(struct seen *s, struct sr_bytes leaf, const char *sign, struct sr_bytes path)
{
	struct sr_buf b = {0};

	sr_leaf_path_text(&b, "", SR_KIND_DATABASE, leaf);
	sr_buf_printf(&b, "%s", sign);
	sr_leaf_path_text(&b, "", SR_KIND_DATABASE, path);
	snprintf(s->told + strlen(s->told), sizeof s->told - strlen(s->told), "%s ", sr_buf_text(&b));
	sr_buf_free(&b);
}

static enum sr_verdict on_clash(void *ctx, size_t i, const struct sr_leaf *leaf, const struct sr_version *actual, struct sr_bytes record)
{
	struct seen *s = ctx;

	(void)i;
	(void)leaf;
	assert_int_equal(record.len, actual->bytes);
	s->clashes++;
	return s->clash_verdict;
}

static enum sr_verdict on_way(void *ctx, size_t i, const struct sr_leaf *leaf, struct sr_bytes path, const struct sr_version *actual,
			      struct sr_bytes record)
{
	struct seen *s = ctx;

	(void)i;
	assert_int_equal(record.len, actual->bytes);
	assert_false(sr_bytes_eq(leaf->path, path));
	s->in_the_way++;
	tell(s, leaf->path, "<", path);
	return s->way_verdict;
}

static enum sr_verdict on_parentless(void *ctx, size_t i, const struct sr_leaf *leaf, struct sr_bytes parent)
{
	struct seen *s = ctx;

	(void)i;
	s->parentless++;
	tell(s, leaf->path, ">", parent);
	return s->parent_verdict;
}

static enum sr_status on_displaced(void *ctx, size_t i, const struct sr_leaf *leaf, const struct sr_displaced *old, struct sr_err *err)
{
	struct seen *s = ctx;

	(void)i;
	(void)leaf;
	assert_int_equal(old->version.kind, SR_KIND_ROW);
	assert_int_equal(old->record.len, old->version.bytes);
	s->displaced++;
	s->unexpected += !old->expected;
	return s->displaced_status == SR_OK ? SR_OK : sr_err_set(err, s->displaced_status, "the archive is full");
}

static void on_applied(void *ctx, size_t i, const struct sr_leaf *leaf, uint64_t signature)
{
	struct seen *s = ctx;

	(void)i;
	assert_int_equal(signature, 0);
	sr_leaf_path_text(&s->log, "", SR_KIND_DATABASE, leaf->path);
	sr_buf_byte(&s->log, ' ');
	s->applied++;
}

static struct sr_apply_ops ops_for(struct seen *s)
{
	return (struct sr_apply_ops){.ctx = s,
				     .clash = on_clash,
				     .in_the_way = on_way,
				     .parentless = on_parentless,
				     .displaced = on_displaced,
				     .applied = on_applied};
}

static enum sr_status try_apply(struct world *w, struct sr_store *st, struct sr_leaves *l, const struct sr_marker *m, struct seen *s)
{
	struct sr_apply_ops ops = ops_for(s);
	enum sr_status rc;

	ok(sr_leaves_sort(l, &w->err));
	rc = sr_apply_prepare(st, l, m, &ops, &w->err);
	return rc == SR_OK ? sr_apply_commit(st, &w->err) : rc;
}

static struct seen apply(struct world *w, struct sr_store *st, struct sr_leaves *l)
{
	struct sr_marker m = marker_new();
	struct seen s = {0};

	ok(try_apply(w, st, l, &m, &s));
	sr_buf_free(&s.log);
	return s;
}

/* Every item of `st`, and its schema text, as leaves to a place that has nothing. */
static struct sr_leaves *everything(struct world *w, struct sr_store *st)
{
	struct sr_hash nothing = {0};

	return differences_from(w, st, &nothing, true);
}

/* --- scanning ----------------------------------------------------------------------------------------------------- */

#define ZOO                                                                                                                         \
	"CREATE TABLE ids(id INTEGER PRIMARY KEY, v, w REAL);"                                                                      \
	"INSERT INTO ids VALUES(-9223372036854775808,'min',0.5),(9223372036854775807,x'00ff00',-2.25),(0,NULL,1),(3,-0.0,1e300);"   \
	"CREATE TABLE pairs(a TEXT, b BLOB, v, PRIMARY KEY(b, a));"                                                                 \
	"INSERT INTO pairs VALUES('x',x'0001','one'),('x',x'00',2),('',x'',3.5),('a'||char(0)||'b',x'ff',CAST(x'c328ff' AS TEXT));" \
	"CREATE TABLE names(name TEXT PRIMARY KEY COLLATE NOCASE, v);"                                                              \
	"INSERT INTO names VALUES('Bob',1),('ALICE',2);"                                                                            \
	"CREATE TABLE flat(k TEXT PRIMARY KEY, n INT) WITHOUT ROWID;"                                                               \
	"INSERT INTO flat VALUES('one',1),('two',2);"                                                                               \
	"CREATE TABLE gen(id INTEGER PRIMARY KEY, a INT, b INT AS (a * 2), c INT AS (a + 1) STORED) STRICT;"                        \
	"INSERT INTO gen(id, a) VALUES(1, 21);"                                                                                     \
	"CREATE TABLE \"odd \"\"name\"(\"a b\" INTEGER PRIMARY KEY AUTOINCREMENT, \"select\" TEXT);"                                \
	"INSERT INTO \"odd \"\"name\" VALUES(7,'x');"                                                                               \
	"CREATE TABLE empty(id INTEGER PRIMARY KEY);"                                                                               \
	"CREATE TABLE bag(a, rowid);"                                                                                               \
	"INSERT INTO bag VALUES(1,2),(1.0,2),(9e999,-9e999),(-0.0,0),('x','x'),('x',x'78'),(x'','a'||char(0)||'b'),(NULL,NULL),"    \
	"('nan',9e999-9e999),(0,CAST(x'c328ff' AS TEXT));"                                                                          \
	"CREATE TABLE genbag(a INT, b INT AS (a * 2), c TEXT AS ('c' || a) STORED, d ANY) STRICT;"                                  \
	"INSERT INTO genbag(a, d) VALUES(1,'1'),(1,1.0),(NULL,1);"                                                                  \
	"CREATE TABLE nullable(k TEXT PRIMARY KEY, v); INSERT INTO nullable VALUES(NULL,1),(NULL,2),('k',3);"                       \
	"CREATE INDEX names_v ON names(v); CREATE UNIQUE INDEX flat_k ON flat(lower(k), n) WHERE n > 0;"                            \
	"CREATE VIEW both AS SELECT name FROM names UNION SELECT k FROM flat;"                                                      \
	"CREATE TRIGGER log AFTER INSERT ON names BEGIN INSERT INTO flat VALUES(new.name, 0); END;"

#define NOT_SYNCED                                                                                \
	"CREATE TABLE out_of_reach(oid, rowid, _ROWID_); INSERT INTO out_of_reach VALUES(1,2,3);" \
	"CREATE TABLE secret(id INTEGER PRIMARY KEY);"                                            \
	"CREATE VIRTUAL TABLE docs USING fts5(body); INSERT INTO docs VALUES('words');"

static enum sr_status dump_one(void *ctx, struct sr_bytes path, const struct sr_version *a, const struct sr_version *b)
{
	struct difference *d = ctx;
	struct world *w = d->w;
	struct sr_column *columns;
	struct sr_content c;
	struct sr_buf line = {0};
	struct sr_leaf leaf = {.path = {0}};
	size_t n;

	(void)a;
	if (b->kind != SR_KIND_ROW)
		return SR_OK;
	ok(sr_view_read(d->from, path, &c, &w->err));
	assert_true(sr_version_eq(&c.version, b));
	ok(sr_record_decode(c.record, &columns, &n, &w->err));
	sr_buf_printf(&line, "%s", (const char *)path.at); /* up to the NUL: the table */
	for (size_t i = 0; i < n; i++) {
		const struct sr_value *v = &columns[i].value;
		char number[32];

		sr_buf_byte(&line, ' ');
		sr_buf_bytes(&line, columns[i].name);
		snprintf(number, sizeof number, "%lld", (long long)v->i);
		if (v->class == SR_REAL)
			sqlite3_snprintf(sizeof number, number, "%!.15g", v->real);
		sr_buf_printf(&line, "=%d:",
			      v->class == SR_INT    ? SQLITE_INTEGER
			      : v->class == SR_REAL ? SQLITE_FLOAT
			      : v->class == SR_TEXT ? SQLITE_TEXT
						    : SQLITE_BLOB);
		sr_hex(&line, v->class == SR_TEXT || v->class == SR_BLOB ? v->b : sr_bytes_of(number));
	}
	leaf.path = sr_buf_view(&line);
	ok(sr_leaves_add(d->l, &leaf, &w->err));
	free(columns);
	sr_buf_free(&line);
	return SR_OK;
}

/* The same lines, out of SQL alone. */
static void oracle(struct world *w, const char *name, const char *const *tables, struct sr_leaves *l)
{
	char *path = path_of(w, name);
	sqlite3 *db;
	sqlite3_stmt *stmt;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	for (; *tables; tables++) {
		char *sql = sqlite3_mprintf("SELECT * FROM \"%w\"", *tables);

		assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
		while (sqlite3_step(stmt) == SQLITE_ROW) {
			struct sr_buf line = {0};
			struct sr_leaf leaf = {.path = {0}};
			const char *order[16];
			int n = sqlite3_column_count(stmt);

			sr_buf_printf(&line, "%s", *tables);
			for (int i = 0; i < n; i++)
				order[i] = sqlite3_column_name(stmt, i);
			for (int pass = 0; pass < n; pass++) {
				int least = -1;

				for (int i = 0; i < n; i++)
					if (order[i] && (least < 0 || strcmp(order[i], order[least]) < 0))
						least = i;
				if (sqlite3_column_type(stmt, least) != SQLITE_NULL &&
				    !(!strncmp(*tables, "gen", 3) && strchr("bc", *order[least]))) {
					sr_buf_printf(&line, " %s=%d:", order[least], sqlite3_column_type(stmt, least));
					sr_hex(&line,
					       sr_bytes(sqlite3_column_blob(stmt, least), (size_t)sqlite3_column_bytes(stmt, least)));
				}
				order[least] = NULL;
			}
			leaf.path = sr_buf_view(&line);
			ok(sr_leaves_add(l, &leaf, &w->err));
			sr_buf_free(&line);
		}
		sqlite3_finalize(stmt);
		sqlite3_free(sql);
	}
	sqlite3_close(db);
	free(path);
}

static bool is_unknown(const struct sr_scan *s, const char *path, enum sr_unknown_why why)
{
	for (size_t i = 0; i < s->unknowns; i++)
		if (sr_bytes_eq(s->unknown[i].path, sr_bytes_of(path)) && s->unknown[i].why == why)
			return true;
	return false;
}

static void scan_like_oracle(struct world *w, const char *journal)
{
	static const char *const tables[] = {"ids",   "pairs", "names",  "flat",     "gen", "odd \"name",
					     "empty", "bag",   "genbag", "nullable", NULL};
	struct sr_store *st = store_without_secret(w, "a.db");
	struct difference d = {.w = w, .l = sr_leaves_new(NULL)};
	struct sr_leaves *want = sr_leaves_new(NULL);
	struct sr_hash nothing = {0};
	struct sr_scan s;

	other(w, "a.db", journal);
	other(w, "a.db", ZOO NOT_SYNCED);
	s = scan(w, st, NULL);
	ok(sr_view_open(&d.from, st, SR_VIEW_EXTRA, &w->err));
	ok(sr_store_diff(w->nodes, SR_KIND_DATABASE, &nothing, &s.map, dump_one, &d, &w->err));
	sr_view_close(d.from);
	oracle(w, "a.db", tables, want);
	ok(sr_leaves_sort(want, &w->err));
	ok(sr_leaves_sort(d.l, &w->err));
	assert_int_equal(sr_leaves_count(want), sr_leaves_count(d.l));
	for (size_t i = 0; i < sr_leaves_count(want); i++) {
		struct sr_leaf x, y;
		char *a, *b;

		ok(sr_leaves_at(want, i, &x, &w->err));
		a = sr_text(x.path);
		ok(sr_leaves_at(d.l, i, &y, &w->err));
		b = sr_text(y.path);
		assert_string_equal(a, b);
		free(a);
		free(b);
	}
	assert_true(is_unknown(&s, "out_of_reach", SR_UNKNOWN_TABLE));
	assert_true(is_unknown(&s, "secret", SR_UNKNOWN_EXCLUDED));
	assert_true(is_unknown(&s, "docs", SR_UNKNOWN_VIRTUAL));
	assert_true(is_unknown(&s, "docs_content", SR_UNKNOWN_VIRTUAL));
	assert_int_equal(s.unknowns, 3 + 5); /* these, and three more shadows */
	sr_scan_free(&s);
	sr_leaves_free(want);
	sr_leaves_free(d.l);
	sr_store_close(st);
}

static void test_scan_wal(void **state)
{
	scan_like_oracle(*state, "PRAGMA journal_mode=WAL");
}

static void test_scan_rollback(void **state)
{
	scan_like_oracle(*state, "PRAGMA journal_mode=DELETE");
}

static void is_there(struct world *w, struct sr_store *st, const char *table, struct sr_value key, bool there)
{
	struct sr_buf path = {0};

	row_path(&path, table, key);
	assert_int_equal(version_at(w, st, sr_buf_view(&path)).kind, there ? SR_KIND_ROW : SR_KIND_NONE);
	sr_buf_free(&path);
}

static void test_names(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store(w, "a.db", false);
	struct sr_value half = {.class = SR_REAL, .real = 0.5}, one = {.class = SR_REAL, .real = 1.0};

	other(w, "a.db",
	      "CREATE TABLE c(k TEXT PRIMARY KEY COLLATE NOCASE); INSERT INTO c VALUES('Ab\xc3\x84'),('x'||char(0)||'Y');"
	      "CREATE TABLE r(k TEXT COLLATE RTRIM PRIMARY KEY); INSERT INTO r VALUES('end  '),('   ');"
	      "CREATE TABLE b(k PRIMARY KEY); INSERT INTO b VALUES(1.0),(0.5),('1'),(x'31'),(9007199254740993);"
	      "CREATE TABLE i(k TEXT, PRIMARY KEY(k COLLATE NOCASE)); INSERT INTO i VALUES('Q');");
	is_there(w, st, "c", text("ab\xc3\x84"), true);
	is_there(w, st, "c", text("Ab\xc3\x84"), false); /* finds the row, but is not its name */
	is_there(w, st, "c", (struct sr_value){.class = SR_TEXT, .b = sr_bytes("x\0\0", 3)}, true);
	is_there(w, st, "r", text("end"), true);
	is_there(w, st, "r", text(""), true);
	is_there(w, st, "b", integer(1), true);
	is_there(w, st, "b", one, false);
	is_there(w, st, "b", half, true);
	is_there(w, st, "b", text("1"), true);
	is_there(w, st, "b", (struct sr_value){.class = SR_BLOB, .b = sr_bytes_of("1")}, true);
	is_there(w, st, "b", integer(9007199254740993), true);
	is_there(w, st, "b", integer(9007199254740992), false);
	is_there(w, st, "i", text("q"), true);
	sr_store_close(st);
}

/* What tree editing makes of a scan's leaves is what the scan makes of the database. */
static void test_scan_is_edit(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store(w, "a.db", false);
	struct sr_leaves *l;
	struct sr_hash map, root, next;
	struct sr_leaf leaf;

	other(w, "a.db", ZOO);
	map = map_of(w, st);
	l = everything(w, st);
	sr_store_empty(w->nodes, SR_KIND_DATABASE, &root);
	for (size_t i = 0; i < sr_leaves_count(l); i++) {
		ok(sr_leaves_at(l, i, &leaf, &w->err));
		if (sr_bytes_eq(leaf.path, sr_bytes_of(SR_SCHEMA_PATH)))
			continue;
		ok(sr_store_edit(w->nodes, SR_KIND_DATABASE, &root, &(struct sr_edit){leaf.path, leaf.to}, 1, &next, &w->err));
		root = next;
	}
	assert_true(sr_hash_eq(&root, &map));
	sr_leaves_free(l);
	sr_store_close(st);
}

static struct sr_version table_version(struct world *w, const char *name, const char *sql)
{
	struct sr_store *st = store(w, name, false);
	struct sr_version v;
	struct sr_hash map;

	other(w, name, sql);
	map = map_of(w, st);
	ok(sr_store_get(w->nodes, SR_KIND_DATABASE, &map, sr_bytes_of("t"), &v, &w->err));
	assert_int_equal(v.kind, SR_KIND_TABLE);
	sr_store_close(st);
	return v;
}

static void test_fingerprint(void **state)
{
	struct world *w = *state;
	struct sr_version plain = table_version(w, "1.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT DEFAULT 5)");
	struct sr_version altered = table_version(
		w, "2.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, a VARCHAR(9)); ALTER TABLE t ADD COLUMN b BIGINT NOT NULL DEFAULT 5");
	static const char *const others[] = {
		"CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT)",
		"CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT COLLATE NOCASE, b INT)",
		"CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT, c)",
		"CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT) WITHOUT ROWID",
		"CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT) STRICT",
		"CREATE TABLE t(id INT PRIMARY KEY, a TEXT, b INT)",
		"CREATE TABLE t(id INTEGER, a TEXT PRIMARY KEY, b INT)",
		"CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT AS (id))",
	};

	assert_true(sr_version_eq(&plain, &altered));
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		char name[16];
		struct sr_version v;

		snprintf(name, sizeof name, "o%zu.db", i);
		v = table_version(w, name, others[i]);
		if (sr_version_eq(&plain, &v))
			fail_msg("same fingerprint: %s", others[i]);
	}
}

static void test_gate(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store_without_secret(w, "a.db");
	struct sr_leaves *l;
	struct sr_scan s, t;
	struct sr_hash edited;
	struct sr_leaf leaf;
	struct seen seen;

	other(w, "a.db",
	      "PRAGMA journal_mode=WAL; CREATE TABLE users(id INTEGER PRIMARY KEY, name, n); INSERT INTO users VALUES(1,'a',1),(2,'b',2); "
	      "CREATE TABLE secret(x)");
	s = scan(w, st, NULL);
	assert_int_equal(s.rows_read, 2);
	t = scan(w, st, &s.map);
	assert_true(t.same);
	assert_int_equal(t.rows_read, 0);
	assert_int_equal(t.unknowns, 1); /* what is unknown stays unknown */
	sr_scan_free(&t);
	t = scan(w, st, another(w)); /* the caller means another map */
	assert_int_equal(t.rows_read, 2);
	sr_scan_free(&t);
	other(w, "a.db", "UPDATE users SET n = 3 WHERE id = 1");
	t = scan(w, st, &s.map);
	assert_int_equal(t.rows_read, 2);
	assert_false(t.same);
	assert_false(sr_hash_eq(&t.map, &s.map));
	sr_scan_free(&s);

	/* Our own apply does not open it, when the caller comes with another map... */
	l = sr_leaves_new(NULL);
	add_user(w, st, l, 2, "bb", 2);
	seen = apply(w, st, l);
	assert_int_equal(seen.applied, 1);
	ok(sr_leaves_at(l, 0, &leaf, &w->err));
	ok(sr_store_edit(w->nodes, SR_KIND_DATABASE, &t.map, &(struct sr_edit){leaf.path, leaf.to}, 1, &edited, &w->err));
	s = scan(w, st, &edited);
	assert_true(s.same);
	assert_int_equal(s.rows_read, 0);
	assert_true(sr_hash_eq(&s.map, &edited));
	sr_scan_free(&s);
	s = scan(w, st, &t.map); /* one who still has the old map is told better */
	assert_int_equal(s.rows_read, 2);
	sr_scan_free(&s);
	/* ...and what it says is what a full scan finds. */
	s = scan(w, st, NULL);
	assert_int_equal(s.rows_read, 2);
	assert_true(sr_hash_eq(&s.map, &edited));
	sr_leaves_free(l);

	/* An application that commits between our scan and our apply is seen. */
	l = sr_leaves_new(NULL);
	add_user(w, st, l, 2, "bbb", 2);
	other(w, "a.db", "INSERT INTO users VALUES(3,'c',3)");
	seen = apply(w, st, l);
	sr_scan_free(&s);
	s = scan(w, st, &edited);
	assert_int_equal(s.rows_read, 3);
	sr_leaves_free(l);
	sr_scan_free(&s);
	sr_scan_free(&t);
	sr_store_close(st);
}

/* What becomes excluded stays in the map as it was seen last, dropped or not; lifted, it is seen as it is. */
static void test_exclude_later(void **state)
{
	static const char *const later[] = {"LOG", "g*"};
	struct world *w = *state;
	struct sr_store *st = store(w, "a.db", false);
	struct sr_scan s, t;

	other(w, "a.db", "CREATE TABLE log(id INTEGER PRIMARY KEY, x); INSERT INTO log VALUES(1,1); CREATE TABLE gone(id INTEGER PRIMARY KEY);"
			 "CREATE TABLE users(id INTEGER PRIMARY KEY); INSERT INTO users VALUES(1)");
	s = scan(w, st, NULL);
	sr_store_set_exclude(st, later, 2);
	assert_true(sr_store_exclude_is(st, later, 2));
	assert_true(sr_store_excludes(st, sr_bytes("log\0key", 7)));
	t = scan(w, st, &s.map);
	assert_int_equal(t.rows_read, 1); /* it looked again, though the database is the same */
	assert_int_equal(t.unknowns, 2);
	assert_true(t.same);
	sr_scan_free(&t);
	other(w, "a.db", "UPDATE log SET x = 2; INSERT INTO log VALUES(2,2); DROP TABLE gone");
	t = scan(w, st, &s.map);
	assert_true(t.same);
	sr_scan_free(&t);
	sr_store_set_exclude(st, NULL, 0);
	t = scan(w, st, &s.map);
	assert_int_equal(t.rows_read, 3);
	assert_int_equal(t.unknowns, 0);
	sr_scan_free(&s);
	s = scan(w, st, NULL);
	assert_true(sr_hash_eq(&s.map, &t.map));
	sr_scan_free(&s);
	sr_scan_free(&t);
	sr_store_close(st);
}

static void test_snapshot(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store(w, "a.db", false);
	struct sr_buf path = {0};
	struct sr_view *v, *extra;
	struct sr_content c;
	struct sr_scan s;

	other(w, "a.db", "PRAGMA journal_mode=WAL; CREATE TABLE users(id INTEGER PRIMARY KEY, name, n); INSERT INTO users VALUES(1,'a',1)");
	ok(sr_view_open(&v, st, SR_VIEW_MAIN, &w->err));
	ok(sr_view_open(&extra, st, SR_VIEW_EXTRA, &w->err));
	other(w, "a.db", "INSERT INTO users VALUES(2,'b',2); CREATE TABLE more(id INTEGER PRIMARY KEY)");
	ok(sr_view_scan(v, w->nodes, NULL, NULL, NULL, &s, &w->err));
	assert_int_equal(s.rows_read, 1);
	row_path(&path, "users", integer(2));
	assert_int_equal(sr_view_read(v, sr_buf_view(&path), &c, &w->err), SR_E_NOTFOUND);
	assert_int_equal(sr_view_read(extra, sr_buf_view(&path), &c, &w->err), SR_E_NOTFOUND);
	sr_view_close(v);
	sr_view_close(extra);
	sr_scan_free(&s);
	s = scan(w, st, NULL);
	assert_int_equal(s.rows_read, 2);
	sr_scan_free(&s);
	sr_buf_free(&path);
	sr_store_close(st);
}

/* --- applying ----------------------------------------------------------------------------------------------------- */

#define USERS "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT UNIQUE, n INT);"

static void test_apply(void **state)
{
	struct world *w = *state;

	for (int wal = 0; wal < 2; wal++) {
		const char *name = wal ? "wal.db" : "journal.db";
		struct sr_store *st = store(w, name, false);
		struct sr_leaves *l = sr_leaves_new(NULL);
		struct seen s = {.way_verdict = SR_KEEP};
		struct sr_marker m = marker_new();

		other(w, name, wal ? "PRAGMA journal_mode=WAL" : "PRAGMA journal_mode=DELETE");
		other(w, name,
		      USERS
		      "INSERT INTO users VALUES(1,'a',1),(2,'b',2),(3,'c',3);"
		      "CREATE TABLE child(id INTEGER PRIMARY KEY, u REFERENCES users(id) ON DELETE CASCADE); INSERT INTO child VALUES(1,3);"
		      "CREATE TABLE log(id INTEGER PRIMARY KEY, what);"
		      "CREATE TRIGGER ti AFTER INSERT ON users BEGIN INSERT INTO log(what) VALUES('i'); END;"
		      "CREATE TRIGGER tu AFTER UPDATE ON users BEGIN INSERT INTO log(what) VALUES('u'); END;"
		      "CREATE TRIGGER td AFTER DELETE ON users BEGIN INSERT INTO log(what) VALUES('d'); END;");
		add_user(w, st, l, 1, "a", 1); /* as it is */
		add_user(w, st, l, 2, "B", 22);
		drop_user(w, st, l, 3);
		add_user(w, st, l, 4, "d", 4);
		drop_user(w, st, l, 5); /* not there anyway */
		ok(try_apply(w, st, l, &m, &s));
		sr_buf_free(&s.log);
		assert_int_equal(s.applied, 5);
		assert_int_equal(s.displaced, 2);
		assert_int_equal(s.unexpected + s.clashes, 0);
		assert_string_equal(s.told, "/users/3</child/1 "); /* no cascade: it is asked about */
		expect(w, name, "SELECT * FROM users", "1|a|1 2|B|22 4|d|4");
		expect(w, name, "SELECT count(*) FROM log", "0");
		expect(w, name, "SELECT count(*) FROM child", "1");
		expect(w, name, "PRAGMA integrity_check", "ok");
		expect(w, name, "PRAGMA journal_mode", wal ? "wal" : "delete");
		sr_leaves_free(l);
		sr_store_close(st);
	}
}

static void test_rowids_stay(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store(w, "a.db", false);
	struct sr_leaves *l = sr_leaves_new(NULL);
	struct sr_column c[] = {{sr_bytes_of("name"), text("BOB")}, {sr_bytes_of("v"), integer(9)}};

	other(w, "a.db",
	      "CREATE TABLE names(name TEXT PRIMARY KEY COLLATE NOCASE, v); INSERT INTO names(rowid,name,v) "
	      "VALUES(70,'Bob',1),(80,'Eve',2)");
	add_leaf(w, st, l, "names", text("bob"), c, 2); /* its case changes: the same row, by the same name */
	apply(w, st, l);
	expect(w, "a.db", "SELECT rowid, name, v FROM names", "70|BOB|9 80|Eve|2");
	sound(w, "a.db");
	sr_leaves_free(l);
	sr_store_close(st);
}

static void test_clash(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store(w, "a.db", false);

	other(w, "a.db", USERS "INSERT INTO users VALUES(1,'a',1),(2,'b',2)");
	for (int take = 0; take < 2; take++) {
		struct sr_leaves *l = sr_leaves_new(NULL);
		struct seen s = {.clash_verdict = take ? SR_TAKE : SR_KEEP};
		struct sr_marker m = marker_new();

		add_user(w, st, l, 1, "x", 10);
		drop_user(w, st, l, 2);
		other(w, "a.db", "UPDATE users SET n = n + 5");
		ok(try_apply(w, st, l, &m, &s));
		assert_int_equal(s.clashes, 2);
		assert_int_equal(s.applied, take ? 2 : 0);
		assert_int_equal(s.displaced, take ? 2 : 0);
		assert_int_equal(s.unexpected, take ? 2 : 0);
		expect(w, "a.db", "SELECT * FROM users", take ? "1|x|10" : "1|a|6 2|b|7");
		sr_leaves_free(l);
		sr_buf_free(&s.log);
	}
	sr_store_close(st);
}

static void test_unique_within(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store(w, "a.db", false);
	struct sr_leaves *l = sr_leaves_new(NULL);
	struct seen s;
	char name[16];

	other(w, "a.db",
	      "PRAGMA journal_mode=WAL;" USERS "INSERT INTO users VALUES(1,'a',1),(2,'b',2),(3,'c',3),(4,'d',4),(5,'e',5),(6,'f',6);"
	      "WITH RECURSIVE i(x) AS (SELECT 100 UNION ALL SELECT x+1 FROM i WHERE x < 199) INSERT INTO users SELECT x, 'n'||x, x FROM i");
	add_user(w, st, l, 1, "b", 1); /* a swap */
	add_user(w, st, l, 2, "a", 2);
	add_user(w, st, l, 3, "d", 3); /* a ring of three */
	add_user(w, st, l, 4, "e", 4);
	add_user(w, st, l, 5, "c", 5);
	add_user(w, st, l, 7, "f", 7); /* takes what a deleted row had */
	drop_user(w, st, l, 6);
	add_user(w, st, l, 8, "n100", 8); /* and what an updated one lets go, at the end of a chain */
	for (int i = 100; i < 200; i++) {
		snprintf(name, sizeof name, "n%d", i + 1);
		add_user(w, st, l, i, name, i);
	}
	s = apply(w, st, l);
	assert_int_equal(s.in_the_way, 0);
	assert_int_equal(s.applied, 108);
	assert_int_equal(s.displaced, 106); /* each old row once, however it had to move */
	assert_int_equal(s.unexpected, 0);
	expect(w, "a.db", "SELECT group_concat(id||name) FROM users WHERE id < 100", "1b,2a,3d,4e,5c,7f,8n100");
	expect(w, "a.db", "SELECT count(*) FROM users WHERE id >= 100 AND name = 'n'||(id+1)", "100");
	sound(w, "a.db");
	sr_leaves_free(l);
	sr_store_close(st);
}

/* A row that is not part of the apply, found whichever index says so. */
static void test_unique_outside(void **state)
{
	static const char *const schemas[] = {
		USERS "CREATE INDEX plain ON users(n)",
		"CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT, n INT); CREATE UNIQUE INDEX u ON users(lower(name), n % 10)",
		"CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT, n INT); CREATE UNIQUE INDEX u ON users(name) WHERE id > 5",
		"CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT UNIQUE ON CONFLICT REPLACE, n INT)",
		"CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT UNIQUE, n INT) WITHOUT ROWID",
	};
	struct world *w = *state;

	for (size_t i = 0; i < 2 * sizeof schemas / sizeof *schemas; i++) {
		bool take = i % 2;
		struct sr_scan before, after;
		char name[16];
		struct sr_store *st;
		struct sr_leaves *l = sr_leaves_new(NULL);
		struct seen s = {.way_verdict = take ? SR_TAKE : SR_KEEP};
		struct sr_marker m = marker_new();

		snprintf(name, sizeof name, "%zu.db", i);
		st = store(w, name, false);
		other(w, name, schemas[i / 2]);
		other(w, name,
		      "INSERT INTO users VALUES(6,'x',1),(7,'y',2),(8,'z',3);"
		      "CREATE TRIGGER i BEFORE INSERT ON users BEGIN SELECT RAISE(ABORT, 'no'); END;"
		      "CREATE TRIGGER u AFTER UPDATE ON users BEGIN SELECT RAISE(ABORT, 'no'); END;"
		      "CREATE TRIGGER d AFTER DELETE ON users BEGIN SELECT RAISE(ABORT, 'no'); END;");
		before = scan(w, st, NULL);
		add_user(w, st, l, 7, "x", 11); /* is in the way of nobody, and 6 is in its way */
		add_user(w, st, l, 9, "new", 9);
		add_user(w, st, l, 10, "z", 13); /* 8 is in its way */
		ok(try_apply(w, st, l, &m, &s));
		assert_int_equal(s.in_the_way, 2);
		assert_int_equal(s.applied, take ? 3 : 1);
		assert_int_equal(s.displaced, take ? 3 : 0);
		assert_int_equal(s.unexpected, take ? 2 : 0);
		expect(w, name, "SELECT * FROM users", take ? "7|x|11 9|new|9 10|z|13" : "6|x|1 7|y|2 8|z|3 9|new|9");
		/* More went in, or less, than the caller knows of: whatever map it comes with, all is read. */
		after = scan(w, st, another(w));
		assert_int_equal(after.rows_read, take ? 3 : 4);
		sr_scan_free(&before);
		sr_scan_free(&after);
		sound(w, name);
		sr_leaves_free(l);
		sr_buf_free(&s.log);
		sr_store_close(st);
	}
}

static void test_refused(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store(w, "a.db", false);
	struct sr_marker m = marker_new();
	struct sr_leaves *l = sr_leaves_new(NULL);
	struct seen s = {0};
	struct sr_buf path = {0};
	struct sr_leaf leaf;

	other(w, "a.db",
	      "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT NOT NULL, n INT CHECK(n < 100)); INSERT INTO users VALUES(1,'a',1)");
	add_user(w, st, l, 1, "b", 2);
	add_user(w, st, l, 2, "c", 100);
	assert_int_equal(try_apply(w, st, l, &m, &s), SR_E_DATA);
	assert_non_null(strstr(w->err.text, "a.db/users/2"));
	assert_non_null(strstr(w->err.text, "CHECK"));
	expect(w, "a.db", "SELECT * FROM users", "1|a|1");
	assert_int_equal(s.applied, 0);

	/* A record that is not what its name says must not get in. */
	ok(sr_leaves_at(l, 0, &leaf, &w->err));
	row_path(&path, "users", integer(77));
	{
		struct sr_leaves *wrong = sr_leaves_new(NULL);
		struct sr_leaf other_name = leaf;

		other_name.path = sr_buf_view(&path);
		other_name.expect = (struct sr_version){0};
		ok(sr_leaves_add(wrong, &other_name, &w->err));
		assert_int_equal(try_apply(w, st, wrong, &m, &s), SR_E_DATA);
		sr_leaves_free(wrong);
	}
	expect(w, "a.db", "SELECT * FROM users", "1|a|1");

	/* Nor one whose key the database would convert, be something in its way or not. */
	for (int64_t id = 1; id < 3; id++) {
		struct sr_leaves *wrong = sr_leaves_new(NULL);
		struct sr_value key = text(id == 1 ? "1" : "2");
		struct sr_column c[] = {{sr_bytes_of("id"), key}, {sr_bytes_of("name"), text("t")}};

		add_leaf(w, st, wrong, "users", key, c, 2);
		assert_int_equal(try_apply(w, st, wrong, &m, &s), SR_E_DATA);
		sr_leaves_free(wrong);
	}
	expect(w, "a.db", "SELECT * FROM users", "1|a|1");

	/* An archive that cannot keep what goes stops all of it. */
	sr_leaves_free(l);
	l = sr_leaves_new(NULL);
	add_user(w, st, l, 1, "b", 2);
	s.displaced_status = SR_E_FULL;
	assert_int_equal(try_apply(w, st, l, &m, &s), SR_E_FULL);
	expect(w, "a.db", "SELECT * FROM users", "1|a|1");
	s.displaced_status = SR_OK;
	ok(try_apply(w, st, l, &m, &s)); /* and nothing is left behind that stops the next one */
	expect(w, "a.db", "SELECT * FROM users", "1|b|2");
	sr_leaves_free(l);
	sr_buf_free(&path);
	sr_buf_free(&s.log);
	sr_store_close(st);
}

/* --- foreign keys ------------------------------------------------------------------------------------------------- */

#define FAMILY                                                                                                                       \
	"CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT UNIQUE COLLATE NOCASE, n INT);"                                        \
	"CREATE TABLE pets(id INTEGER PRIMARY KEY, owner REFERENCES users ON DELETE CASCADE); CREATE INDEX by_owner ON pets(owner);" \
	"CREATE TABLE toys(id INTEGER PRIMARY KEY, pet INT REFERENCES Pets(ID));"                                                    \
	"CREATE TABLE nicks(id INTEGER PRIMARY KEY, name TEXT REFERENCES users(name));"                                              \
	"CREATE TABLE tree(id INTEGER PRIMARY KEY, up INT REFERENCES tree(id));"                                                     \
	"CREATE TABLE pairs(a TEXT, b INT, PRIMARY KEY(b, a)) WITHOUT ROWID;"                                                        \
	"CREATE TABLE uses(id INTEGER PRIMARY KEY, x TEXT, y INT, FOREIGN KEY(y, x) REFERENCES pairs);"                              \
	"CREATE TABLE odd(id INTEGER PRIMARY KEY, a REFERENCES nowhere(x), b REFERENCES secret(id), c REFERENCES users(absent));"    \
	"CREATE TABLE secret(id INTEGER PRIMARY KEY);"                                                                               \
	"INSERT INTO users VALUES(1,'ann',1),(2,'bob',2),(3,'cy',3),(4,'di',4);"                                                     \
	"INSERT INTO pets VALUES(10,1),(11,'1'),(12,1),(13,1),(14,NULL),(15,77),(20,2);"                                             \
	"INSERT INTO toys VALUES(100,10),(101,10),(102,20),(103,78);"                                                                \
	"INSERT INTO nicks VALUES(1,'ANN'),(2,'Bob'),(3,'CY'),(4,'di');"                                                             \
	"INSERT INTO tree VALUES(1,1),(2,1),(3,2),(4,NULL),(5,4);"                                                                   \
	"INSERT INTO pairs VALUES('p',1),('p',2),('q',1);"                                                                           \
	"INSERT INTO uses VALUES(1,'p',1),(2,'p',2),(3,'q',1),(4,'p',NULL);"                                                         \
	"INSERT INTO odd VALUES(1,1,1,1);"

/* What an apply says it has written is what is there: each value in a column of each affinity, written twice.  Returns how many could be. */
static size_t write_all_values(struct world *w, const char *name, const char *types)
{
	static const struct sr_value values[] = {
		{.class = SR_NULL},
		{.class = SR_INT, .i = 0},
		{.class = SR_INT, .i = -7},
		{.class = SR_INT, .i = INT64_MAX},
		{.class = SR_REAL, .real = 0.5},
		{.class = SR_REAL, .real = 2.0},
		{.class = SR_REAL, .real = -0.0},
		{.class = SR_REAL, .real = 1e300},
		{.class = SR_REAL, .real = 9007199254740993.0},
		{.class = SR_REAL, .real = __builtin_nan("")},
		{.class = SR_REAL, .real = __builtin_inf()},
		{.class = SR_TEXT, .b = {(const uint8_t *)"", 0}},
		{.class = SR_TEXT, .b = {(const uint8_t *)"word", 4}},
		{.class = SR_TEXT, .b = {(const uint8_t *)" 12 ", 4}},
		{.class = SR_TEXT, .b = {(const uint8_t *)"\v.5", 3}},
		{.class = SR_TEXT, .b = {(const uint8_t *)"-3e2", 4}},
		{.class = SR_TEXT, .b = {(const uint8_t *)"inf", 3}},
		{.class = SR_TEXT, .b = {(const uint8_t *)"a\0b", 3}},
		{.class = SR_TEXT, .b = {(const uint8_t *)"\xff\xfe", 2}},
		{.class = SR_BLOB, .b = {(const uint8_t *)"12", 2}},
	};
	struct sr_store *st = store(w, name, false);
	size_t written = 0;

	other(w, name, types);
	for (size_t k = 0; k < 6; k++) {
		for (size_t i = 0; i < 2 * sizeof values / sizeof *values; i++) {
			const struct sr_value *v = &values[i / 2];
			char column[2] = {(char)('a' + k)};
			struct sr_column c[] = {{sr_bytes_of(column), *v}, {sr_bytes_of("id"), integer((int64_t)(i % 3))}};
			struct sr_leaves *l = sr_leaves_new(NULL);
			struct sr_marker m = marker_new();
			struct seen s = {0};
			struct sr_leaf leaf;
			enum sr_status rc;

			add_leaf(w, st, l, "t", c[1].value, c, 2);
			rc = try_apply(w, st, l, &m, &s);
			ok(sr_leaves_at(l, 0, &leaf, &w->err));
			if (rc == SR_OK) {
				struct sr_version now = version_at(w, st, leaf.path);

				assert_true(sr_version_eq(&now, &leaf.to));
				written++;
			} else {
				assert_int_equal(rc, SR_E_DATA);
			}
			sr_buf_free(&s.log);
			sr_leaves_free(l);
		}
	}
	sr_store_close(st);
	return written;
}

static void test_values_are_kept(void **state)
{
	struct world *w = *state;
#define ALL_AFFINITIES "CREATE TABLE t(id INTEGER PRIMARY KEY, a BLOB, b TEXT, c NUMERIC, d INTEGER, e REAL, f)"

	assert_in_range(write_all_values(w, "a.db", ALL_AFFINITIES), 80, 239);
	assert_in_range(write_all_values(w, "b.db", "PRAGMA encoding = 'UTF-16le'; " ALL_AFFINITIES), 80, 239);
}

/* Every third row is there. */
static void read_one(struct world *w, struct sr_store *st, struct sr_view *view, const char *table, int64_t id)
{
	struct sr_buf path = {0};
	struct sr_content c;
	struct sr_version alone;
	struct sr_hash h;
	enum sr_status rc;

	row_path(&path, table, integer(id));
	rc = sr_view_read(view, sr_buf_view(&path), &c, &w->err);
	assert_int_equal(rc, id % 3 ? SR_E_NOTFOUND : SR_OK);
	if (rc == SR_OK) {
		alone = version_at(w, st, sr_buf_view(&path));
		assert_true(sr_version_eq(&c.version, &alone));
		sr_hash_of(&h, &w->key, c.record);
		assert_true(sr_hash_eq(&h, &alone.hash));
	}
	sr_buf_free(&path);
}

/* Rows that are read in the order of their keys, nearly so, or not at all, are those that are read one by one. */
static void test_read_in_order(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store(w, "a.db", false);
	enum sr_view_kind kinds[] = {SR_VIEW_MAIN, SR_VIEW_EXTRA};
	struct sr_view *view;

	other(w, "a.db", "CREATE TABLE a(id INTEGER PRIMARY KEY, v); CREATE TABLE b(id INTEGER PRIMARY KEY, v); CREATE INDEX a_v ON a(v, id);"
			 "WITH RECURSIVE n(i) AS (SELECT -300 UNION ALL SELECT i + 3 FROM n WHERE i < 1500) INSERT INTO a SELECT i, 'a' || -i FROM n;"
			 "INSERT INTO b SELECT id, 'b' || id FROM a");
	for (size_t k = 0; k < 2; k++) {
		ok(sr_view_open(&view, st, kinds[k], &w->err));
		for (int64_t id = -300; id < 300; id += 3)
			read_one(w, st, view, "a", id);
		for (int64_t id = 0; id < 300; id++)
			read_one(w, st, view, "a", id);
		for (int64_t id = 0; id < 900; id += id % 90 ? 3 : 30)
			read_one(w, st, view, "a", id);
		for (int64_t id = 0; id < 300; id += 3)
			read_one(w, st, view, id % 99 ? "a" : "b", id);
		for (int64_t id = 300; id > 0; id -= 3)
			read_one(w, st, view, "b", id);
		for (int64_t id = 1400; id < 1520; id++)
			read_one(w, st, view, "b", id > 1500 ? 1501 : id - id % 3);
		sr_view_close(view);
	}
	sr_store_close(st);
}

/* Parents before children, whatever their names; a circle ends. */
static void test_rank(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store(w, "a.db", false);
	struct sr_scan s;

	assert_int_equal(sr_store_rank(st, sr_bytes_of("a")), 0);
	other(w, "a.db", "CREATE TABLE a(id INTEGER PRIMARY KEY, b REFERENCES b, a REFERENCES a); CREATE TABLE b(id INTEGER PRIMARY KEY, c REFERENCES c);"
			 "CREATE TABLE c(id INTEGER PRIMARY KEY); CREATE TABLE x(id INTEGER PRIMARY KEY, y REFERENCES y);"
			 "CREATE TABLE y(id INTEGER PRIMARY KEY, x REFERENCES x)");
	s = scan(w, st, NULL);
	sr_scan_free(&s);
	assert_int_equal(sr_store_rank(st, sr_bytes_of("c")), 0);
	assert_int_equal(sr_store_rank(st, sr_bytes_of("b")), 1);
	assert_int_equal(sr_store_rank(st, sr_bytes_of("a")), 2);
	assert_true(sr_store_rank(st, sr_bytes_of("x")) <= 10);
	assert_int_equal(sr_store_rank(st, sr_bytes_of("nobody")), 0);
	sr_store_close(st);
}

static void add_pet(struct world *w, struct sr_store *st, struct sr_leaves *l, int64_t id, struct sr_value owner)
{
	struct sr_column c[] = {{sr_bytes_of("id"), integer(id)}, {sr_bytes_of("owner"), owner}};

	add_leaf(w, st, l, "pets", integer(id), c, 2);
}

static void drop_pair(struct world *w, struct sr_store *st, struct sr_leaves *l, int64_t b, const char *a)
{
	struct sr_buf path = {0};
	struct sr_leaf leaf = {0};

	sr_buf_bytes(&path, sr_bytes("pairs", 6));
	sr_key_encode(&path, (struct sr_value[]){integer(b), text(a)}, 2);
	leaf.path = sr_buf_view(&path);
	leaf.expect = version_at(w, st, leaf.path);
	assert_int_equal(leaf.expect.kind, SR_KIND_ROW);
	ok(sr_leaves_add(l, &leaf, &w->err));
	sr_buf_free(&path);
}

static void test_orphans(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store_without_secret(w, "a.db");
	struct sr_leaves *l = sr_leaves_new(NULL);
	struct seen s;
	struct sr_scan before, after;

	other(w, "a.db", FAMILY);
	drop_user(w, st, l, 1);
	add_pet(w, st, l, 12, integer(2));			  /* moves in time */
	add_leaf(w, st, l, "pets", integer(13), NULL, 0);	  /* goes by itself */
	drop_user(w, st, l, 3);					  /* its name stays ... */
	add_user(w, st, l, 5, "Cy", 5);				  /* ... with another */
	add_user(w, st, l, 2, "BOB", 2);			  /* is still what nick 2 refers to */
	add_user(w, st, l, 4, "dina", 4);			  /* is no longer what nick 4 refers to */
	add_leaf(w, st, l, "tree", integer(1), NULL, 0);	  /* 2, then 3; not itself */
	drop_pair(w, st, l, 1, "p");
	before = scan(w, st, NULL);
	s = apply(w, st, l);
	assert_string_equal(s.told, "/pairs/1,p</uses/1 /tree/1</tree/2 /users/1</nicks/1 /users/1</pets/10 /users/1</pets/11 "
				    "/users/4</nicks/4 /tree/1</tree/3 /users/1</toys/100 /users/1</toys/101 ");
	assert_int_equal(s.applied, 9);
	assert_int_equal(s.displaced, 8 + 9);
	assert_int_equal(s.unexpected, 9);
	assert_int_equal(s.parentless, 0);
	/* What hung in the air before is left alone. */
	expect(w, "a.db", "SELECT group_concat(id || ':' || ifnull(owner, '')) FROM pets", "12:2,14:,15:77,20:2");
	expect(w, "a.db", "SELECT group_concat(id) FROM toys", "102,103");
	expect(w, "a.db", "SELECT group_concat(id) FROM nicks", "2,3");
	expect(w, "a.db", "SELECT group_concat(id) FROM tree", "4,5");
	expect(w, "a.db", "SELECT group_concat(id) FROM uses", "2,3,4");
	after = scan(w, st, another(w));
	assert_true(after.rows_read > 0); /* more went than the caller knows of */
	sr_scan_free(&before);
	sr_scan_free(&after);
	sr_leaves_free(l);
	sr_store_close(st);
}

static void test_orphans_stay(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store_without_secret(w, "a.db");
	struct sr_leaves *l = sr_leaves_new(NULL);
	struct seen s = {.way_verdict = SR_KEEP};
	struct sr_marker m = marker_new();

	other(w, "a.db", FAMILY);
	drop_user(w, st, l, 1);
	ok(try_apply(w, st, l, &m, &s));
	assert_int_equal(s.applied, 1);
	assert_int_equal(s.displaced, 1);
	assert_string_equal(s.told, "/users/1</nicks/1 /users/1</pets/10 /users/1</pets/12 /users/1</pets/13 /users/1</pets/11 ");
	expect(w, "a.db", "SELECT count(*) FROM pets", "7");
	/* From now on it is an earlier violation. */
	drop_user(w, st, l, 2);
	s.told[0] = 0;
	ok(try_apply(w, st, l, &m, &s));
	assert_string_equal(s.told, "/users/2</nicks/2 /users/2</pets/20 ");
	sr_leaves_free(l);
	sr_buf_free(&s.log);
	sr_store_close(st);
}

/* A row that loses by UNIQUE takes its children along. */
static void test_orphans_of_the_evicted(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store_without_secret(w, "a.db");
	struct sr_leaves *l = sr_leaves_new(NULL);
	struct seen s;

	other(w, "a.db", FAMILY);
	add_user(w, st, l, 9, "Ann", 9);
	s = apply(w, st, l);
	assert_string_equal(s.told, "/users/9</users/1 /users/9</pets/10 /users/9</pets/12 /users/9</pets/13 /users/9</pets/11 "
				    "/users/9</toys/100 /users/9</toys/101 ");
	expect(w, "a.db", "SELECT count(*) FROM nicks", "4"); /* what they refer to is another row now */
	sr_leaves_free(l);
	sr_store_close(st);
}

static void test_parentless(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store_without_secret(w, "a.db");
	struct sr_leaves *l = sr_leaves_new(NULL);
	struct seen s = {.parent_verdict = SR_KEEP};
	struct sr_marker m = marker_new();
	struct sr_apply_ops ops = ops_for(&s);
	struct sr_column nick[] = {{sr_bytes_of("id"), integer(7)}, {sr_bytes_of("name"), text("new")}},
			 lost[] = {{sr_bytes_of("id"), integer(8)}, {sr_bytes_of("name"), text("nobody")}},
			 odd[] = {{sr_bytes_of("a"), integer(2)}, {sr_bytes_of("b"), integer(2)}, {sr_bytes_of("c"), integer(2)},
				  {sr_bytes_of("id"), integer(2)}};

	other(w, "a.db", FAMILY);
	add_pet(w, st, l, 10, integer(66));
	add_pet(w, st, l, 15, integer(77)); /* as it is */
	add_pet(w, st, l, 16, integer(67));
	add_pet(w, st, l, 17, (struct sr_value){.class = SR_NULL});
	add_pet(w, st, l, 18, text("2")); /* is 2 by the parent's affinity */
	add_pet(w, st, l, 19, integer(9));
	add_leaf(w, st, l, "nicks", integer(7), nick, 2);
	add_leaf(w, st, l, "nicks", integer(8), lost, 2);
	add_leaf(w, st, l, "odd", integer(2), odd, 4); /* whether these are there cannot be known */
	add_user(w, st, l, 9, "NEW", 9);
	ok(sr_leaves_sort(l, &w->err));
	ok(sr_apply_prepare(st, l, &m, &ops, &w->err));
	sr_apply_rollback(st);
	assert_string_equal(s.told, "/nicks/8> /pets/10>/users/66 /pets/16>/users/67 ");
	assert_int_equal(s.applied, 0);
	expect(w, "a.db", "SELECT count(*) FROM pets", "7");

	s = (struct seen){.parent_verdict = SR_TAKE};
	ok(try_apply(w, st, l, &m, &s));
	assert_int_equal(s.parentless, 3);
	assert_int_equal(s.applied, 10);
	expect(w, "a.db", "SELECT group_concat(owner) FROM pets WHERE id IN (10, 16)", "66,67");
	sr_leaves_free(l);
	sr_buf_free(&s.log);
	sr_store_close(st);
}

static void dangles(struct world *w, struct sr_store *st, const char *table, struct sr_value key, bool there, bool expected)
{
	struct sr_buf path = {0};
	struct sr_view *v;

	row_path(&path, table, key);
	ok(sr_view_open(&v, st, SR_VIEW_EXTRA, &w->err));
	if (sr_view_dangling(v, sr_buf_view(&path), there) != expected)
		fail_msg("%s %lld", table, (long long)key.i);
	sr_view_close(v);
	sr_buf_free(&path);
}

static void test_dangling(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store_without_secret(w, "a.db");

	other(w, "a.db",
	      FAMILY "DELETE FROM users WHERE id IN (2, 3);" /* by an application that does not enforce them */
		     "CREATE TABLE codes(code TEXT PRIMARY KEY); INSERT INTO codes VALUES('05'),('6');"
		     "CREATE TABLE coded(id INTEGER PRIMARY KEY, code INT REFERENCES codes); INSERT INTO coded VALUES(1,5),(2,6)");
	expect(w, "a.db", "SELECT rowid FROM pragma_foreign_key_check('coded')", "1");
	dangles(w, st, "coded", integer(1), true, true);
	dangles(w, st, "coded", integer(2), true, false);
	dangles(w, st, "pets", integer(10), true, false);
	dangles(w, st, "pets", integer(14), true, false);
	dangles(w, st, "pets", integer(15), true, true);
	dangles(w, st, "pets", integer(20), true, true);
	dangles(w, st, "nicks", integer(2), true, true);
	dangles(w, st, "users", integer(1), true, false);
	dangles(w, st, "odd", integer(1), true, true);	   /* for all that the other side may know */
	dangles(w, st, "users", integer(2), false, true);  /* pet 20 was left behind */
	dangles(w, st, "users", integer(3), false, false); /* what name it had cannot be told */
	dangles(w, st, "users", integer(99), false, false);
	dangles(w, st, "toys", integer(1), false, false);
	dangles(w, st, "none", integer(1), true, false);
	sr_store_close(st);
}

/* --- creating ----------------------------------------------------------------------------------------------------- */

#define MASTER \
	"SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE '\\_sameroot%' ESCAPE '\\' " \
	"AND tbl_name NOT LIKE '\\_sameroot%' ESCAPE '\\' ORDER BY 1, 2"

static void copy_to_new(struct world *w, const char *before, bool ours)
{
	struct sr_store *a = store(w, "a.db", false), *b = store(w, "sub.db", ours);
	struct sr_hash ma, mb;
	struct sr_leaves *l;
	struct seen s;
	struct sr_scan scanned;
	char *schema;

	other(w, "a.db", before);
	other(w, "a.db", ZOO "PRAGMA user_version=17; PRAGMA application_id=-5;");
	ma = map_of(w, a);
	l = everything(w, a);
	ok(sr_store_create(b, &w->err));
	s = apply(w, b, l);
	assert_int_equal(s.applied, sr_leaves_count(l));
	scanned = scan(w, b, NULL);
	mb = scanned.map;
	assert_true(sr_hash_eq(&ma, &mb));
	assert_int_equal(scanned.unknowns, 0);
	sr_scan_free(&scanned);
	schema = ask(w, "a.db", MASTER);
	expect(w, "sub.db", MASTER, schema);
	free(schema);
	schema = ask(w, "a.db", "PRAGMA encoding");
	expect(w, "sub.db", "PRAGMA encoding", schema);
	free(schema);
	expect(w, "sub.db", "PRAGMA user_version", "17");
	expect(w, "sub.db", "PRAGMA application_id", "-5");
	expect(w, "sub.db", "PRAGMA journal_mode", "wal");
	sound(w, "sub.db");
	sr_leaves_free(l);
	sr_store_close(a);
	sr_store_close(b);
}

static void test_create(void **state)
{
	copy_to_new(*state, "PRAGMA journal_mode=WAL", false);
}

static void test_create_utf16(void **state)
{
	copy_to_new(*state, "PRAGMA encoding='UTF-16le'; CREATE TABLE x(id INTEGER PRIMARY KEY); DROP TABLE x", true);
}

static int can_read(struct world *w, const char *name)
{
	char *path = path_of(w, name);
	sqlite3 *db;
	int rc;

	assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
	rc = sqlite3_exec(db, "SELECT count(*) FROM sqlite_master", NULL, NULL, NULL);
	sqlite3_close(db);
	free(path);
	return rc;
}

/* One that is being built: nobody reads it before it is closed, and then the file is all of it. */
static void test_create_alone(void **state)
{
	struct world *w = *state;
	struct sr_store *a = store(w, "a.db", false);
	struct sr_store *b = store_with(w, (struct sr_store_options){.name = "sub.db", .ours = true, .alone = true});
	struct sr_leaves *l;
	struct sr_scan scanned;
	char *wanted;

	other(w, "a.db", "PRAGMA encoding='UTF-16le';" ZOO);
	l = everything(w, a);
	sr_store_close(a);
	ok(sr_store_create(b, &w->err));
	assert_int_equal(can_read(w, "sub.db"), SQLITE_BUSY);
	scanned = scan(w, b, NULL);
	sr_scan_free(&scanned);
	apply(w, b, l);
	assert_int_equal(can_read(w, "sub.db"), SQLITE_BUSY);
	ok(sr_store_settle(b, &w->err));
	assert_int_equal(can_read(w, "sub.db"), SQLITE_BUSY);
	sr_store_close(b);
	assert_false(remove_all(w->dir, "sub.db-*"));
	wanted = ask(w, "a.db", MASTER);
	expect(w, "sub.db", MASTER, wanted);
	free(wanted);
	expect(w, "sub.db", "PRAGMA encoding", "UTF-16le");
	expect(w, "sub.db", "PRAGMA journal_mode", "wal");
	sound(w, "sub.db");
	sr_leaves_free(l);
}

/* New tables go into a datastore's database, not into an application's. */
static void test_new_table(void **state)
{
	struct world *w = *state;

	for (int ours = 0; ours < 2; ours++) {
		const char *name = ours ? "ours.db" : "theirs.db";
		struct sr_store *a = store(w, "a.db", false), *b = store(w, name, ours);
		struct sr_leaves *l;
		struct seen s;

		if (!ours)
			other(w, "a.db",
			      USERS "INSERT INTO users VALUES(1,'a',1); CREATE TABLE more(id INTEGER PRIMARY KEY, u); INSERT INTO more "
				    "VALUES(1,1);"
				    "CREATE INDEX more_u ON more(u); CREATE VIEW v AS SELECT * FROM more; CREATE TRIGGER t AFTER INSERT ON "
				    "more BEGIN SELECT 1; END");
		other(w, name, USERS);
		l = everything(w, a);
		s = apply(w, b, l);
		/* sqlite_master; users and its row; more and its row */
		assert_int_equal(s.applied, ours ? 5 : 3);
		expect(w, name,
		       "SELECT group_concat(name) FROM (SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_a%' ORDER BY name)",
		       ours ? "_sameroot_meta,more,more_u,t,users,v" : "_sameroot_meta,users");
		sr_leaves_free(l);
		sr_store_close(a);
		sr_store_close(b);
	}
}

static void test_hostile_schema(void **state)
{
	static const struct {
		const char *type, *name, *text;
	} bad[] = {
		{"table", "t", "ATTACH '/tmp/x.db' AS x"},
		{"table", "t", "PRAGMA writable_schema=1"},
		{"table", "t", "CREATE TABLE t(a PRIMARY KEY); DROP TABLE t"},
		{"table", "t", "CREATE TABLE t(a PRIMARY KEY); --\nATTACH 'x' AS y"},
		{"table", "t", "CREATE TEMP TABLE t(a PRIMARY KEY)"},
		{"table", "t", "CREATE TABLE temp.t(a PRIMARY KEY)"},
		{"table", "t", "CREATE TABLE t AS SELECT * FROM sqlite_master"},
		{"table", "t", "CREATE TABLE u(a PRIMARY KEY)"},
		{"table", "t", "CREATE TABLE _sameroot_meta(key PRIMARY KEY, value)"},
		{"table", "t", "CREATE TABLE t(a PRIMARY KEY CHECK (load_extension('x')))"},
		{"table", "t", "CREATE  VIRTUAL TABLE t USING fts5(a)"},
		{"table", "t", "create table t(a primary key)"},
		{"table", "t", "SELECT 1"},
		{"table", "t", ""},
		{"table", "t", "CREATE VIEW t AS SELECT 1"},
		{"view", "t", "CREATE TEMP VIEW t AS SELECT 1"},
		{"trigger", "t", "CREATE TEMP TRIGGER t AFTER INSERT ON keep BEGIN SELECT 1; END"},
		{"index", "t", "CREATE INDEX t ON sqlite_master(name)"},
		{"table", "t", "CREATE TABLE t(a PRIMARY KEY"},
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct sr_store *st = store(w, "b.db", false);
		struct sr_leaves *l = sr_leaves_new(NULL);
		struct sr_marker m = marker_new();
		struct sr_buf record = {0};
		struct seen s = {0};
		struct sr_leaf leaf = {.path = sr_bytes_of(SR_SCHEMA_PATH), .to.kind = SR_KIND_TABLE};
		const char *const items[] = {"table",
					     "keep",
					     "keep",
					     "CREATE TABLE keep(id INTEGER PRIMARY KEY)",
					     bad[i].type,
					     bad[i].name,
					     strcmp(bad[i].type, "trigger") ? bad[i].name : "keep",
					     bad[i].text};

		for (size_t k = 0; k < 8; k++)
			sr_buf_string(&record, sr_bytes_of(items[k]));
		leaf.record = sr_buf_view(&record);
		ok(sr_leaves_add(l, &leaf, &w->err));
		ok(sr_store_create(st, &w->err));
		if (try_apply(w, st, l, &m, &s) == SR_OK)
			fail_msg("let through: %s", bad[i].text);
		expect(w, "b.db", "SELECT name FROM sqlite_master", "");
		sr_leaves_free(l);
		sr_buf_free(&record);
		sr_buf_free(&s.log);
		sr_store_close(st);
	}
}

/* --- presence, marker, recovery ----------------------------------------------------------------------------------- */

static enum sr_presence look(struct sr_store *st, struct sr_marker *m, bool *content)
{
	char why[256];

	return sr_store_look(st, m, content, why);
}

static void scribble(struct world *w, const char *name, const char *bytes, size_t n)
{
	char *path = path_of(w, name);
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, n, file), n);
	fclose(file);
	free(path);
}

static void test_presence(void **state)
{
	static const char garbage[4096] = "this is not a database, whatever it may be, and it goes on like that";
	struct world *w = *state;
	struct sr_store *st = store(w, "a.db", false);
	struct sr_marker m, want = marker_new();
	char *path = path_of(w, "a.db");
	bool content;

	assert_int_equal(look(st, &m, &content), SR_ABSENT);
	assert_int_equal(sr_store_seen(st).inode, 0);
	scribble(w, "a.db", "", 0);
	assert_int_equal(look(st, &m, &content), SR_ABSENT);
	scribble(w, "a.db", garbage, sizeof garbage);
	assert_int_equal(look(st, &m, &content), SR_CORRUPT);
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(look(st, &m, &content), SR_CORRUPT);
	rmdir(path);

	ok(sr_store_create(st, &w->err));
	assert_int_equal(look(st, &m, &content), SR_ABSENT); /* an empty database is nothing yet */
	ok(sr_store_mark(st, &want, &w->err));
	assert_int_equal(look(st, &m, &content), SR_PRESENT);
	assert_false(content);
	snprintf(want.store, sizeof want.store, "a.db");
	assert_memory_equal(&m, &want, sizeof m);
	for (const char *const *lie = (const char *const[]){"9223372036854775807", "-1", "1e19", "'1'", "NULL", NULL}; *lie; lie++) {
		char sql[128];

		snprintf(sql, sizeof sql, "UPDATE _sameroot_meta SET value = %s WHERE key = 'epoch'", *lie);
		other(w, "a.db", sql);
		look(st, &m, &content);
		assert_true(sr_uuid_none(&m.id));
	}
	ok(sr_store_mark(st, &want, &w->err));
	other(w, "a.db", USERS);
	assert_int_equal(look(st, &m, &content), SR_PRESENT);
	assert_true(content);
	assert_true(sr_store_seen(st).inode != 0);

	/* Another file by the same name. */
	other(w, "b.db", "CREATE TABLE other(id INTEGER PRIMARY KEY); INSERT INTO other VALUES(1)");
	{
		char *from = path_of(w, "b.db");
		struct sr_view *v;
		struct sr_scan s;

		assert_int_equal(rename(from, path), 0);
		free(from);
		from = path_of(w, "a.db-wal");
		unlink(from);
		free(from);
		from = path_of(w, "a.db-shm");
		unlink(from);
		free(from);
		assert_int_equal(sr_view_open(&v, st, SR_VIEW_MAIN, &w->err), SR_E_CHANGED); /* not before it was looked at */
		assert_int_equal(look(st, &m, &content), SR_PRESENT);
		assert_true(sr_uuid_none(&m.id));
		s = scan(w, st, NULL);
		assert_int_equal(s.rows_read, 1);
		sr_scan_free(&s);
	}
	unlink(path);
	assert_int_equal(look(st, &m, &content), SR_ABSENT);
	free(path);
	sr_store_close(st);
}

static int64_t ticks;

static int64_t fake_ticks(void *ctx)
{
	(void)ctx;
	return ticks;
}

static int64_t hurried_ticks(void *ctx)
{
	(void)ctx;
	return ticks += 1000;
}

static int64_t fake_now(void *ctx)
{
	(void)ctx;
	return 1700000000000;
}

static void fake_random(void *ctx, void *out, size_t n)
{
	(void)ctx;
	memset(out, 7, n);
}

static const struct sr_door quiet_door = {.now_ms = fake_now, .ticks_ms = fake_ticks, .random = fake_random};
static const struct sr_door hurried_door = {.now_ms = fake_now, .ticks_ms = hurried_ticks, .random = fake_random};

/* What is called as the marker's table, and cannot take it. */
static void test_unmarkable(void **state)
{
	static const char *const in_the_way[] = {
		"CREATE TABLE _sameroot_meta(a, b, c)",
		"CREATE TABLE _sameroot_meta(key, value)", /* no key: each marker would be one more */
		"CREATE TABLE _sameroot_meta(key PRIMARY KEY, value AS ('x'))",
		"CREATE TABLE _SameRoot_Meta(key PRIMARY KEY, value)",
		"CREATE VIEW _sameroot_meta AS SELECT 'id' AS key, 1 AS value",
		"CREATE VIRTUAL TABLE _sameroot_meta USING fts5(key, value)",
		"CREATE INDEX _sameroot_meta ON users(name)",
	};
	struct world *w = *state;
	struct sr_marker m = marker_new(), got;
	bool content;

	for (size_t i = 0; i < sizeof in_the_way / sizeof *in_the_way; i++) {
		char name[16];
		struct sr_store *st;

		snprintf(name, sizeof name, "%zu.db", i);
		other(w, name, USERS);
		st = store(w, name, false);
		ok(sr_store_mark(st, &m, &w->err));
		assert_int_equal(look(st, &got, &content), SR_PRESENT);
		other(w, name, "DROP TABLE _sameroot_meta");
		assert_int_equal(look(st, &got, &content), SR_PRESENT); /* it is made again */
		other(w, name, in_the_way[i]);
		if (look(st, &got, &content) != SR_UNMARKABLE)
			fail_msg("%s: is taken", in_the_way[i]);
		sr_store_close(st);
	}
}

static void test_locked(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store(w, "a.db", false);
	struct sr_leaves *l = sr_leaves_new(NULL);
	struct sr_marker m = marker_new();
	struct seen s = {0};
	char *path = path_of(w, "a.db");
	sqlite3 *db;

	other(w, "a.db", USERS);
	add_user(w, st, l, 1, "a", 1);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	sr_door_install(&hurried_door);
	assert_int_equal(try_apply(w, st, l, &m, &s), SR_E_BUSY);
	assert_true(ticks >= 5000);
	sr_door_install(NULL);
	sqlite3_close(db);
	ok(try_apply(w, st, l, &m, &s));
	assert_int_equal(s.applied, 1);
	sr_door_install(&hurried_door);
	ok(try_apply(w, st, l, &m, &s)); /* by that clock, a second for each look at it */
	assert_in_range(sr_apply_held_ms(st), 1000, 4000);
	sr_door_install(NULL);
	sr_leaves_free(l);
	sr_buf_free(&s.log);
	free(path);
	sr_store_close(st);
}

/* --- syncing: a VFS that sees when a write-ahead log goes to the disk --- */

static struct {
	sqlite3_vfs vfs, *real;
	sqlite3_io_methods methods;
	const sqlite3_io_methods *real_methods;
	const char *path;  /* of the database */
	unsigned syncs, locked; /* the latter while somebody had the write lock */
} watch;

static int watch_sync(sqlite3_file *file, int flags)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open_v2(watch.path, &db, SQLITE_OPEN_READWRITE, watch.real->zName), SQLITE_OK);
	sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	watch.syncs++;
	watch.locked += sqlite3_exec(db, "BEGIN IMMEDIATE; ROLLBACK", NULL, NULL, NULL) == SQLITE_BUSY;
	sqlite3_close(db);
	return watch.real_methods->xSync(file, flags);
}

static int watch_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
	int rc = watch.real->xOpen(watch.real, name, file, flags, out);

	(void)vfs;
	if (rc == SQLITE_OK && flags & SQLITE_OPEN_WAL) {
		watch.real_methods = file->pMethods;
		watch.methods = *file->pMethods;
		watch.methods.xSync = watch_sync;
		file->pMethods = &watch.methods;
	}
	return rc;
}

static void test_log_is_synced_without_the_lock(void **state)
{
	struct world *w = *state;
	struct sr_leaves *l = sr_leaves_new(NULL);
	struct sr_marker m = marker_new();
	char *path = path_of(w, "a.db");
	struct sr_store *st;

	other(w, "a.db", "PRAGMA journal_mode=WAL; " USERS);
	watch.path = path;
	watch.real = sqlite3_vfs_find(NULL);
	watch.vfs = *watch.real;
	watch.vfs.zName = "watch";
	watch.vfs.xOpen = watch_open;
	assert_int_equal(sqlite3_vfs_register(&watch.vfs, 1), SQLITE_OK);
	st = store(w, "a.db", false);
	add_user(w, st, l, 1, "a", 1);
	apply(w, st, l); /* the first one to a new log syncs its head in between */
	watch.syncs = watch.locked = 0;
	sr_leaves_free(l);
	l = sr_leaves_new(NULL);
	add_user(w, st, l, 1, "b", 2);
	apply(w, st, l);
	assert_int_equal(watch.syncs, 1);
	ok(sr_store_mark(st, &m, &w->err));
	assert_int_equal(watch.syncs, 2);
	assert_int_equal(watch.locked, 0);
	sr_store_close(st);
	sqlite3_vfs_register(watch.real, 1);
	sqlite3_vfs_unregister(&watch.vfs);
	sr_leaves_free(l);
	free(path);
}

/* A child that dies between prepare and commit, or after it: the marker alone tells. */
static void test_crash(void **state)
{
	struct world *w = *state;

	other(w, "a.db", "PRAGMA journal_mode=WAL;" USERS "INSERT INTO users VALUES(1,'a',1),(2,'b',2)");
	for (int commit = 0; commit < 2; commit++) {
		struct sr_store *st = store(w, "a.db", false);
		struct sr_leaves *l = sr_leaves_new(NULL);
		struct sr_marker m = marker_new();
		struct seen s = {.clash_verdict = SR_KEEP};
		struct sr_apply_ops ops = ops_for(&s);
		int status;
		pid_t pid;

		add_user(w, st, l, 1, "x", 1);
		add_user(w, st, l, 2, "y", 1);
		ok(sr_leaves_sort(l, &w->err));
		sr_store_close(st);                                          /* no connection goes over the fork */
		other(w, "a.db", "UPDATE users SET n = n + 1 WHERE id = 2"); /* so that 2 is left out */
		pid = fork();
		if (pid == 0) {
			st = store(w, "a.db", false);
			if (sr_apply_prepare(st, l, &m, &ops, NULL) == SR_OK && (!commit || sr_apply_commit(st, NULL) == SR_OK))
				raise(SIGKILL);
			_exit(1);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		st = store(w, "a.db", false);
		ok(sr_apply_recover(st, l, &m, &ops, &w->err));
		ok(sr_apply_recover(st, l, &m, &ops, &w->err)); /* idempotent */
		if (commit)
			assert_string_equal(sr_buf_text(&s.log), "/users/1 /users/1 "); /* not 2, which was kept */
		else
			assert_int_equal(s.applied, 0);
		expect(w, "a.db", "SELECT name FROM users ORDER BY id", commit ? "x b" : "a b");
		sound(w, "a.db");
		sr_leaves_free(l);
		sr_buf_free(&s.log);
		sr_store_close(st);
	}
}

/* --- WAL ---------------------------------------------------------------------------------------------------------- */

static void test_checkpoint_when_quiet(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store_with(w, (struct sr_store_options){.name = "a.db", .wal_limit = 10000});
	struct sr_leaves *l = sr_leaves_new(NULL);
	struct sr_marker m;
	char *path = path_of(w, "a.db");
	struct stat before, after;
	bool content;

	other(w, "a.db", "PRAGMA journal_mode=WAL;" USERS);
	sr_door_install(&quiet_door);
	ticks = 1000;
	assert_int_equal(look(st, &m, &content), SR_PRESENT);
	for (int i = 0; i < 200; i++)
		add_user(w, st, l, i,
			 sr_buf_text(&(struct sr_buf){
				 .at = (uint8_t[32]){'n', (uint8_t)('a' + i / 16), (uint8_t)('a' + i % 16)}, .len = 3, .cap = 32}),
			 i);
	apply(w, st, l);
	assert_int_equal(stat(path, &before), 0);
	look(st, &m, &content);
	ticks += 59000;
	look(st, &m, &content);
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(before.st_size, after.st_size);
	ticks += 2000;
	look(st, &m, &content);
	assert_int_equal(stat(path, &after), 0);
	assert_true(after.st_size > before.st_size);
	sr_door_install(NULL);
	sr_leaves_free(l);
	free(path);
	sr_store_close(st);
}

static bool stale_there(struct world *w)
{
	return remove_all(w->dir, "a.db-wal.stale-*");
}

/* An application that died with its commits in the WAL, marker and all: a.db, with a.db-wal and a.db-shm. */
static void left_behind(struct world *w, const struct sr_marker *m)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct sr_store *st = store(w, "a.db", false);
		char *path = path_of(w, "a.db");
		sqlite3 *db;

		if (sr_store_mark(st, m, &w->err) != SR_OK)
			fprintf(stderr, "%s\n", w->err.text);
		else if (sqlite3_open(path, &db) == SQLITE_OK && sqlite3_exec(db, "PRAGMA wal_checkpoint", NULL, NULL, NULL) == SQLITE_OK &&
			 usleep(20000) == 0 &&
			 sqlite3_exec(db, "INSERT INTO users VALUES(50,'in the wal',0) ON CONFLICT(id) DO UPDATE SET n=random()", NULL, NULL, NULL) == SQLITE_OK)
			raise(SIGKILL);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

/* Run a command in the fixture's directory. */
static void shell(struct world *w, const char *line)
{
	char *command = sr_format("cd %s && { %s; }", w->dir, line);

	assert_int_equal(system(command), 0);
	free(command);
}

static struct stat stat_of(struct world *w, const char *name)
{
	char *path = path_of(w, name);
	struct stat sb;

	assert_int_equal(stat(path, &sb), 0);
	free(path);
	return sb;
}

static bool shed(struct world *w, uint64_t inode, const struct sr_uuid *node)
{
	struct sr_store *st = store(w, "a.db", false);
	bool moved;

	ok(sr_store_shed_stale_wal(st, &(struct sr_store_seen){.inode = inode}, node, &moved, &w->err));
	assert_int_equal(moved, stale_there(w));
	sr_store_close(st);
	return moved;
}

static bool doubtful_since(struct world *w, struct sr_store_seen seen, const struct sr_uuid *node)
{
	struct sr_store *st = store(w, "a.db", false);
	bool moved, yes;

	ok(sr_store_shed_stale_wal(st, &seen, node, &moved, &w->err));
	assert_false(moved);
	yes = sr_store_doubtful(st, &seen);
	sr_store_close(st);
	return yes;
}

static bool doubtful(struct world *w, uint64_t inode, const struct sr_uuid *node)
{
	return doubtful_since(w, (struct sr_store_seen){.inode = inode}, node);
}

static struct sr_store_seen seen(struct world *w)
{
	struct sr_store *st = store(w, "a.db", false);
	struct sr_store_seen now = sr_store_seen(st);

	sr_store_close(st);
	return now;
}

/* What changes no content says nothing, though nothing of the log is in the file, and the marker in it is as of the last checkpoint. */
static void test_the_same_file(void **state)
{
	static const char *const touches[] = {"chmod 600 a.db", "chown 0 a.db", "ln a.db b.db; rm b.db", "mkdir d; mv a.db* d; mv d/* .; rmdir d",
					      "touch -d '1 hour ago' a.db-wal" /* as it is when the clock was set back before the last commit */};
	struct world *w = *state;
	struct sr_marker mine = marker_new(), theirs = marker_new();
	struct sr_store_seen was;
	struct sr_store *st;

	other(w, "a.db", "PRAGMA journal_mode=WAL;" USERS);
	st = store(w, "a.db", false);
	ok(sr_store_mark(st, &theirs, &w->err)); /* it was once copied from another node */
	sr_store_close(st);
	other(w, "a.db", "PRAGMA wal_checkpoint(TRUNCATE)");
	for (size_t i = 0; i < sizeof touches / sizeof *touches; i++) {
		left_behind(w, &mine);
		was = seen(w);
		usleep(100000);
		shell(w, touches[i]);
		if (doubtful_since(w, was, &mine.node) || stale_there(w))
			fail_msg("%s", touches[i]);
	}
	expect(w, "a.db", "SELECT name FROM users", "in the wal");
}

/* cp -p gives it the time of what was copied. */
static void test_an_older_one_with_its_time(void **state)
{
	struct world *w = *state;
	struct sr_marker mine = marker_new();
	struct sr_store_seen was;

	other(w, "a.db", "PRAGMA journal_mode=WAL;" USERS);
	left_behind(w, &mine);
	shell(w, "cp a.db yesterday.db; touch -d yesterday yesterday.db");
	left_behind(w, &mine);
	was = seen(w);
	usleep(100000);
	shell(w, "cp -p yesterday.db a.db; test -s a.db-wal");
	assert_true(doubtful_since(w, was, &mine.node));
}

static void test_stale_wal(void **state)
{
	struct world *w = *state;
	struct sr_marker mine = marker_new(), theirs = marker_new();
	struct sr_store *st = store(w, "theirs.db", false);
	uint64_t inode;

	other(w, "theirs.db", USERS "INSERT INTO users VALUES(1,'theirs',1)");
	ok(sr_store_mark(st, &theirs, &w->err));
	sr_store_close(st);

	/* Ours, as it was: nothing moves, and the commit is there. */
	other(w, "a.db", "PRAGMA journal_mode=WAL;" USERS);
	left_behind(w, &mine);
	st = store(w, "a.db", false);
	inode = sr_store_seen(st).inode;
	sr_store_close(st);
	assert_false(shed(w, inode, &mine.node));
	assert_false(shed(w, 0, &mine.node));         /* nothing remembered */
	assert_false(shed(w, inode + 1, &mine.node)); /* the file is older than its WAL: it belongs to it */
	expect(w, "a.db", "SELECT count(*) FROM users", "1");

	/* Copied over ours, in place. */
	left_behind(w, &mine);
	usleep(20000);
	shell(w, "cp theirs.db a.db");
	assert_true(shed(w, inode, &mine.node));
	expect(w, "a.db", "SELECT name FROM users", "theirs");
	sound(w, "a.db");

	/* Our own of yesterday, in place: its node says nothing, but nothing of the log is in it.  After a checkpoint, all of it is. */
	shell(w, "rm -f a.db*");
	other(w, "a.db", "PRAGMA journal_mode=WAL;" USERS);
	st = store(w, "a.db", false);
	inode = sr_store_seen(st).inode;
	sr_store_close(st);
	left_behind(w, &mine);
	shell(w, "cp a.db yesterday.db");
	left_behind(w, &mine);
	assert_false(doubtful(w, inode, &mine.node));
	left_behind(w, &mine);
	usleep(100000);
	shell(w, "sqlite3 a.db 'PRAGMA wal_checkpoint' '.shell kill -9 $PPID' >/dev/null 2>&1 || true; test -s a.db-wal");
	assert_false(doubtful(w, inode, &mine.node));
	left_behind(w, &mine);
	usleep(100000);
	shell(w, "cp yesterday.db a.db; test -s a.db-wal");
	assert_true(doubtful(w, inode, &mine.node));
	shell(w, "rm -f a.db*");
	other(w, "a.db", "PRAGMA journal_mode=WAL;" USERS);

	/* The same inode, another file's content, but no marker in it: no evidence. */
	shell(w, "rm -f a.db*; cp theirs.db plain.db; sqlite3 plain.db 'DROP TABLE _sameroot_meta'");
	other(w, "a.db", "PRAGMA journal_mode=WAL;" USERS);
	left_behind(w, &mine);
	usleep(20000);
	shell(w, "cp plain.db a.db");
	assert_false(shed(w, inode, &mine.node));

	/* Moved over ours. */
	shell(w, "rm -f a.db*");
	other(w, "a.db", "PRAGMA journal_mode=WAL;" USERS);
	left_behind(w, &mine);
	st = store(w, "a.db", false);
	inode = sr_store_seen(st).inode;
	sr_store_close(st);
	usleep(20000);
	shell(w, "cp theirs.db next.db");
	shell(w, "mv next.db a.db");
	assert_true(shed(w, inode, &mine.node));
	expect(w, "a.db", "SELECT name FROM users", "theirs");
}

/* A directory that was copied with its log, within one tick of the clock of files: that says nothing, and what is in the log is in no other file. */
static void test_a_log_as_old_as_its_file(void **state)
{
	struct world *w = *state;
	struct sr_marker theirs = marker_new(), mine = marker_new();
	struct timespec written[2];
	struct stat db;
	char *log = path_of(w, "a.db-wal");

	other(w, "a.db", "PRAGMA journal_mode=WAL;" USERS);
	left_behind(w, &theirs);
	shell(w, "mkdir d; cp a.db a.db-wal d; rm a.db*; mv d/* .; rmdir d");
	db = stat_of(w, "a.db");
	written[0] = written[1] = db.st_ctim;
	assert_int_equal(utimensat(AT_FDCWD, log, written, 0), 0);
	free(log);
	assert_false(shed(w, db.st_ino + 1, &mine.node));
	expect(w, "a.db", "SELECT name FROM users", "in the wal");
}

/* As test_stale_wal, while another process has the file open. */
static void test_stale_wal_in_use(void **state)
{
	struct world *w = *state;
	struct sr_marker mine = marker_new(), theirs = marker_new();
	struct sr_store *st = store(w, "theirs.db", false);
	int ready[2], done[2], status;
	char byte;
	pid_t pid;

	other(w, "theirs.db", USERS);
	ok(sr_store_mark(st, &theirs, &w->err));
	sr_store_close(st);
	other(w, "a.db", "PRAGMA journal_mode=WAL;" USERS);
	left_behind(w, &mine);
	assert_int_equal(pipe(ready) | pipe(done), 0);
	pid = fork();
	if (pid == 0) {
		char *path = path_of(w, "a.db");
		sqlite3 *db;

		close(done[1]);
		if (sqlite3_open(path, &db) == SQLITE_OK && sqlite3_exec(db, "SELECT count(*) FROM users", NULL, NULL, NULL) == SQLITE_OK &&
		    write(ready[1], "", 1) == 1 && read(done[0], &byte, 1) >= 0)
			_exit(0);
		_exit(1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	usleep(20000);
	shell(w, "cp theirs.db a.db");
	st = store(w, "a.db", false);
	assert_false(shed(w, sr_store_seen(st).inode, &mine.node));
	sr_store_close(st);
	close(done[1]);
	waitpid(pid, &status, 0);
	close(ready[0]);
	close(done[0]);
}

static void test_copy_is_broken_off(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store(w, "a.db", false);
	char *path = sr_format("%s/copy.db", w->dir);
	struct sr_view *v;
	unsigned asked = 0;

	other(w, "a.db", "CREATE TABLE users(id INTEGER PRIMARY KEY, name); INSERT INTO users VALUES(1,'a')");
	ok(sr_view_open(&v, st, SR_VIEW_EXTRA, &w->err));
	sr_view_stop_when(v, at_once, &asked);
	assert_int_equal(sr_view_copy(v, path, &w->err), SR_E_UNAVAILABLE);
	assert_int_equal(asked, 1);
	assert_int_equal(unlink(path), 0);
	sr_view_stop_when(v, NULL, NULL);
	ok(sr_view_copy(v, path, &w->err));
	ok(sr_database_check(path, &w->err));
	sr_view_close(v);
	sr_store_close(st);
	free(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_scan_wal),
		TEST(test_scan_rollback),
		TEST(test_names),
		TEST(test_scan_is_edit),
		TEST(test_fingerprint),
		TEST(test_gate),
		TEST(test_exclude_later),
		TEST(test_snapshot),
		TEST(test_apply),
		TEST(test_rowids_stay),
		TEST(test_clash),
		TEST(test_unique_within),
		TEST(test_unique_outside),
		TEST(test_refused),
		TEST(test_values_are_kept),
		TEST(test_rank),
		TEST(test_read_in_order),
		TEST(test_orphans),
		TEST(test_orphans_stay),
		TEST(test_orphans_of_the_evicted),
		TEST(test_parentless),
		TEST(test_dangling),
		TEST(test_create),
		TEST(test_create_utf16),
		TEST(test_create_alone),
		TEST(test_new_table),
		TEST(test_hostile_schema),
		TEST(test_presence),
		TEST(test_unmarkable),
		TEST(test_locked),
		TEST(test_log_is_synced_without_the_lock),
		TEST(test_crash),
		TEST(test_checkpoint_when_quiet),
		TEST(test_stale_wal),
		TEST(test_copy_is_broken_off),
		TEST(test_the_same_file),
		TEST(test_an_older_one_with_its_time),
		TEST(test_a_log_as_old_as_its_file),
		TEST(test_stale_wal_in_use),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
