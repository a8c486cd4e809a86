/* test_sqlite_schema.c - what is made from schema text, and what a hostile one is not given; columns that were added; shapes that stay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/sqlite_carry.h"

#define MASTER \
	"SELECT group_concat(name) FROM (SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' " \
	"AND name NOT LIKE '\\_sameroot%' ESCAPE '\\' ORDER BY name)"

/* Apply the items (type, name, table, text; ends with NULL) as schema text, and TABLE leaves of these tables with any fingerprint. */
static enum sr_status apply_text(struct world *w, struct sr_store *st, const char *const *items, const char *const *tables)
{
	struct sr_leaves *l = sr_leaves_new(NULL);
	struct sr_buf record = {0};
	struct sr_leaf leaf = {.path = sr_bytes_of(SR_SCHEMA_PATH), .to.kind = SR_KIND_TABLE};
	enum sr_status rc;

	for (; *items; items++)
		sr_buf_string(&record, sr_bytes_of(*items));
	leaf.record = sr_buf_view(&record);
	ok(sr_leaves_add(l, &leaf, &w->err));
	leaf.record.len = 0;
	memset(leaf.to.hash.b, 7, sizeof leaf.to.hash.b);
	for (; tables && *tables; tables++) {
		leaf.path = sr_bytes_of(*tables);
		ok(sr_leaves_add(l, &leaf, &w->err));
	}
	rc = apply(w, st, l);
	sr_leaves_free(l);
	sr_buf_free(&record);
	return rc;
}

/* --- how a table is defined -------------------------------------------------------------------------------------------- */

static void define(struct world *w, const char *table, const char *index, struct sr_hash *out)
{
	const char *const items[] = {"table", "t", "t", table, "table", "u", "u", "CREATE TABLE u(t)", "index", "i", "t", index};
	struct sr_buf text = {0}, definitions = {0};

	for (size_t k = 0; k < sizeof items / sizeof *items - (index ? 0 : 4); k++)
		sr_buf_string(&text, sr_bytes_of(items[k]));
	sr_schema_definitions(sr_buf_view(&text), &w->key, &definitions);
	assert_true(sr_schema_definition(sr_buf_view(&definitions), sr_bytes_of("t"), out));
	assert_true(sr_schema_definition(sr_buf_view(&definitions), sr_bytes_of("u"), &(struct sr_hash){0}));
	assert_false(sr_schema_definition(sr_buf_view(&definitions), sr_bytes_of("i"), &(struct sr_hash){0}));
	sr_buf_free(&definitions);
	sr_buf_free(&text);
}

static void test_definitions(void **state)
{
	static const char base[] = "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT DEFAULT 'x', CHECK (a > 0))";
	static const struct {
		const char *table, *index;
		bool same;
	} others[] = {
		{base, NULL, true},
		{"CREATE TABLE \"t\" ( [a] integer primary key /* one */ , \"b\" text\ndefault 'x', -- two\ncheck(a>0))", NULL, true},
		{"CREATE TABLE t(a INTEGER PRIMARY KEY, CHECK (a > 0), b TEXT DEFAULT 'x')", NULL, true}, /* as ADD COLUMN leaves it */
		{base, "CREATE INDEX i ON t(b)", true},
		{base, "CREATE UNIQUE INDEX i ON t(b)", false},
		{"CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT DEFAULT 'X', CHECK (a > 0))", NULL, false},
		{"CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT DEFAULT 'x', CHECK (a > 1))", NULL, false},
		{"CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT DEFAULT 'x' UNIQUE, CHECK (a > 0))", NULL, false},
		{"CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT DEFAULT 'x')", NULL, false},
		{"CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT DEFAULT 'x', CHECK (a > 0", NULL, false}, /* cut short */
		{"CREATE TABLE t", NULL, false},
	};
	struct world *w = *state;
	struct sr_hash first, h;

	define(w, base, NULL, &first);
	for (size_t k = 0; k < sizeof others / sizeof *others; k++) {
		define(w, others[k].table, others[k].index, &h);
		assert_int_equal(sr_hash_eq(&first, &h), others[k].same);
	}
}

/* --- tables that use what SQLite brings ------------------------------------------------------------------------------- */

/* JSON in a CHECK, a generated column and an index keeps no table from being synchronised. */
static void test_json(void **state)
{
	struct world *w = *state;
	struct sr_store *a = store(w, "a.db", false), *b = store(w, "b.db", false);
	struct sr_scan s;

	other(w, "a.db",
	      "CREATE TABLE docs(id INTEGER PRIMARY KEY, j TEXT CHECK (json_valid(j)), kind TEXT AS (json_extract(j, '$.kind')));"
	      "CREATE INDEX docs_by_name ON docs(json_extract(j, '$.name')); INSERT INTO docs(j) VALUES('{\"kind\":\"x\"}');");
	s = scan(w, a, NULL);
	assert_int_equal(s.unknowns, 0);
	sr_scan_free(&s);
	carry(w, a, b, true);
	same(w, a, b);
	expect(w, "b.db", "SELECT id, kind FROM docs", "1|x");
	sr_store_close(a);
	sr_store_close(b);
}

/* A table that says ON CONFLICT REPLACE deletes nothing of its own accord. */
static void test_on_conflict(void **state)
{
	static const char schema[] = "CREATE TABLE t(id INTEGER PRIMARY KEY, u INT UNIQUE ON CONFLICT REPLACE);";
	struct world *w = *state;
	struct sr_store *a = store(w, "a.db", false), *b = store(w, "b.db", false);
	struct sr_leaves *l;

	other(w, "a.db", schema);
	other(w, "b.db", schema);
	other(w, "a.db", "INSERT INTO t VALUES(1, 5)");
	l = differences(w, a, b, false);
	other(w, "b.db", "INSERT INTO t VALUES(2, 5)");
	w->in_the_way = SR_KEEP;
	ok(apply(w, b, l));
	expect(w, "b.db", "SELECT * FROM t", "2|5");
	sr_leaves_free(l);
	sr_store_close(a);
	sr_store_close(b);
}

/* Why a table is left out is said in words. */
static void test_reasons(void **state)
{
	struct world *w = *state;
	struct sr_store *a = store(w, "a.db", false);
	struct sr_scan s;

	other(w, "a.db",
	      "PRAGMA writable_schema=1; CREATE TABLE odd(id INTEGER PRIMARY KEY, a); "
	      "INSERT INTO sqlite_master VALUES('index','i','odd',3,'CREATE INDEX i ON odd(a COLLATE theirs)');"
	      "CREATE VIRTUAL TABLE words USING fts5(a)");
	s = scan(w, a, NULL);
	for (size_t i = 0; i < s.unknowns; i++)
		assert_int_equal(s.unknown[i].why, sr_bytes_eq(s.unknown[i].path, sr_bytes_of("odd")) ? SR_UNKNOWN_APPLICATION : SR_UNKNOWN_VIRTUAL);
	assert_int_equal(s.unknowns, 1 + 6);
	sr_scan_free(&s);
	sr_store_close(a);
}

/* --- virtual tables ---------------------------------------------------------------------------------------------------- */

#define KEEP "table", "keep", "keep", "CREATE TABLE keep(id INTEGER PRIMARY KEY, a)"

/* Only the modules that index; and nothing that they could be made to do besides. */
static void test_virtual(void **state)
{
	static const struct {
		const char *name, *text, *made;
	} cases[] = {
		{"v", "CREATE VIRTUAL TABLE v USING fts5(a)", "keep,v,v_config,v_content,v_data,v_docsize,v_idx"},
		{"v", "CREATE VIRTUAL TABLE v USING fts5(a, content='keep')", "keep,v,v_config,v_data,v_docsize,v_idx"},
		{"v", "CREATE VIRTUAL TABLE v USING FTS4(a, tokenize=porter)", "keep,v,v_content,v_docsize,v_segdir,v_segments,v_stat"},
		{"v", "CREATE VIRTUAL TABLE v USING fts4(content=\"keep\")", "keep,v,v_docsize,v_segdir,v_segments,v_stat"},
		{"v", "CREATE VIRTUAL TABLE v USING fts3(a)", "keep,v,v_content,v_segdir,v_segments"},
		{"v", "CREATE VIRTUAL TABLE v USING rtree(id, a, b)", "keep,v,v_node,v_parent,v_rowid"},
		{"v", "CREATE VIRTUAL TABLE v USING \"fts5\" (a -- )\n)", "keep,v,v_config,v_content,v_data,v_docsize,v_idx"},
		{"v w", "CREATE VIRTUAL TABLE [v w] USING fts5(a)", "keep,v w,v w_config,v w_content,v w_data,v w_docsize,v w_idx"},
		{"v", "CREATE VIRTUAL TABLE v USING fts5vocab(keep, row)", "keep"},
		{"v", "CREATE VIRTUAL TABLE v USING dbstat(main)", "keep"},
		{"v", "CREATE VIRTUAL TABLE v USING csv(filename='/etc/passwd')", "keep"},
		{"v", "CREATE VIRTUAL TABLE v USING fts4(a, compress=load_extension, uncompress=hex)", "keep"},
		{"v", "CREATE VIRTUAL TABLE v USING fts4(a, 'compress' = hex)", "keep"},
		{"v", "CREATE VIRTUAL TABLE v USING fts5(a, tokenize='theirs')", "keep"},
		{"v", "CREATE VIRTUAL TABLE u USING fts5(a)", "keep"},
		{"v", "CREATE VIRTUAL TABLE temp.v USING fts5(a)", "keep"},
		{"v", "CREATE VIRTUAL TABLE v USING fts5(a); DROP TABLE keep", "keep"},
		{"v", "CREATE VIRTUAL TABLE v", "keep"},
		{"sqlite_v", "CREATE VIRTUAL TABLE sqlite_v USING fts5(a)", "keep"},
		{"_sameroot", "CREATE VIRTUAL TABLE _sameroot USING fts5(a)", "keep"},
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *const items[] = {KEEP, "table", cases[i].name, cases[i].name, cases[i].text, NULL};
		char *name = sr_format("%zu.db", i);
		struct sr_store *st = store(w, name, false);

		ok(sr_store_create(st, &w->err));
		ok(apply_text(w, st, items, NULL));
		expect(w, name, MASTER, cases[i].made);
		sr_store_close(st);
		free(name);
	}
}

/* A trigger that refers to an index which could not be made would stop the application's writes. */
static void test_lost_index(void **state)
{
	static const char *const items[] = {KEEP,
					    "table", "v", "v", "CREATE VIRTUAL TABLE v USING fts5(a, tokenize='theirs')",
					    "trigger", "feed", "keep",
					    "CREATE TRIGGER feed AFTER INSERT ON keep BEGIN INSERT INTO \"V\"(a) VALUES(new.a); END",
					    "trigger", "other", "keep",
					    "CREATE TRIGGER other AFTER INSERT ON keep BEGIN SELECT 'v is fine'; END",
					    NULL};
	struct world *w = *state;
	struct sr_store *st = store(w, "a.db", false);

	ok(sr_store_create(st, &w->err));
	ok(apply_text(w, st, items, NULL));
	expect(w, "a.db", MASTER, "keep,other");
	other(w, "a.db", "INSERT INTO keep VALUES(1, 2)");
	sr_store_close(st);
}

/* --- what an existing database lacks --------------------------------------------------------------------------------- */

/* A table's leaf brings what is missing: only to a datastore's database, only what can be made, and nothing goes. */
static void test_complete(void **state)
{
	static const char *const items[] = {
		KEEP, "table", "more", "more", "CREATE TABLE more(id INTEGER PRIMARY KEY)",
		"index", "keep_a", "keep", "CREATE INDEX keep_a ON keep(a)",
		"index", "keep_u", "keep", "CREATE UNIQUE INDEX keep_u ON keep(a)",
		"index", "here", "keep", "CREATE INDEX here ON keep(id, a)",
		"index", "theirs", "keep", "CREATE INDEX theirs ON keep(a COLLATE theirs)",
		"view", "v", "v", "CREATE VIEW v AS SELECT * FROM keep",
		"view", "w", "w", "CREATE TEMP VIEW w AS SELECT 1",
		"table", "words", "words", "CREATE VIRTUAL TABLE words USING fts5(a, content=keep, content_rowid=id)",
		"table", "four", "four", "CREATE VIRTUAL TABLE four USING fts4(a)",
		"trigger", "t", "keep", "CREATE TRIGGER t AFTER INSERT ON keep BEGIN SELECT 1; END",
		"trigger", "tv", "v", "CREATE TRIGGER tv INSTEAD OF INSERT ON v BEGIN SELECT 1; END",
		"trigger", "to", "absent", "CREATE TRIGGER to_absent AFTER INSERT ON absent BEGIN SELECT 1; END", NULL};
	static const char *const tables[] = {"more", NULL};
	struct world *w = *state;

	for (int ours = 0; ours < 2; ours++) {
		const char *name = ours ? "ours.db" : "theirs.db";
		struct sr_store *st = store(w, name, ours);

		other(w, name,
		      "CREATE TABLE keep(id INTEGER PRIMARY KEY, a); INSERT INTO keep VALUES(1,'one'),(2,'same'),(3,'same');"
		      "CREATE INDEX here ON keep(a); CREATE TABLE mine(id INTEGER PRIMARY KEY); CREATE TABLE four_stat(id, value)");
		ok(apply_text(w, st, items, tables));
		expect(w, name, MASTER,
		       ours ? "four_stat,here,keep,keep_a,mine,more,t,tv,v,words,words_config,words_data,words_docsize,words_idx"
			    : "four_stat,here,keep,mine");
		if (ours)
			expect(w, name, "SELECT rowid FROM words WHERE words MATCH 'same' ORDER BY 1", "2 3");
		expect(w, name, "SELECT sql FROM sqlite_master WHERE name = 'here'", "CREATE INDEX here ON keep(a)");
		sr_store_close(st);
	}
}

/* --- added columns ------------------------------------------------------------------------------------------------------ */

#define WIDE                                                                                                                            \
	"CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT DEFAULT 5, UNIQUE(a), CHECK (b > 0));"                                    \
	"INSERT INTO t(id, a) VALUES(1, 'one'), (2, 'two');"

/* (before, added to the sender's, done here too?) */
static void test_grow(void **state)
{
	static const struct {
		const char *before, *added;
		bool grows;
	} cases[] = {
		{WIDE, "ALTER TABLE t ADD COLUMN c TEXT", true},
		{WIDE, "ALTER TABLE t ADD COLUMN c; ALTER TABLE t ADD COLUMN d INT NOT NULL DEFAULT -1", true},
		{WIDE, "ALTER TABLE t ADD COLUMN \"c, \"\"x)\" VARCHAR(3) COLLATE NOCASE DEFAULT ', )' CHECK (length(\"c, \"\"x)\") < 9)", true},
		{WIDE, "ALTER TABLE t ADD COLUMN [check] REAL DEFAULT 1e3 /* of , ( */ REFERENCES t(id)", true},
		{WIDE, "ALTER TABLE t ADD COLUMN c INT AS (b * 2)", true},
		{WIDE, "ALTER TABLE t ADD COLUMN c TEXT; ALTER TABLE t ADD COLUMN d TEXT AS (lower(c))", true},
		{"CREATE TABLE t(a TEXT, b TEXT, PRIMARY KEY(a, b)) WITHOUT ROWID; INSERT INTO t VALUES('x','y');",
		 "ALTER TABLE t ADD COLUMN c DEFAULT x'00ff'", true},
		{"CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT) STRICT; INSERT INTO t VALUES(1,'x');", "ALTER TABLE t ADD COLUMN c ANY", true},
		{"CREATE TABLE \"t\"(id INTEGER PRIMARY KEY); INSERT INTO t VALUES(1);",
		 "DROP TABLE t; CREATE TABLE t(id INTEGER PRIMARY KEY, -- the key\n c TEXT -- a comment, with (\n, d INT)", true},
		/* not to be had by ADD COLUMN */
		{WIDE, "DROP TABLE t; CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT, c TEXT NOT NULL)", false},
		{WIDE, "DROP TABLE t; CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT, c TEXT UNIQUE)", false},
		{WIDE, "DROP TABLE t; CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT, c TEXT, d DEFAULT CURRENT_TIMESTAMP)", false},
		{WIDE, "DROP TABLE t; CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT, c AS (b) STORED)", false},
		/* not only columns */
		{WIDE, "DROP TABLE t; CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT, c)", false},
		{WIDE, "DROP TABLE t; CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, c)", false},
		{WIDE, "DROP TABLE t; CREATE TABLE t(id TEXT PRIMARY KEY, a TEXT, b INT, c)", false},
		{WIDE, "ALTER TABLE t RENAME COLUMN a TO a2", false},
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		for (int ours = 0; ours < 2; ours++) {
			char *from = sr_format("a%zu.db", i), *to = sr_format("b%zu%d.db", i, ours), *before;
			struct sr_store *a = store(w, from, false), *b = store(w, to, ours);
			struct sr_leaves *l;

			if (!ours) {
				other(w, from, cases[i].before);
				other(w, from, cases[i].added);
			}
			other(w, to, cases[i].before);
			before = ask(w, to, "SELECT sql FROM sqlite_master WHERE name = 't'");
			l = differences(w, a, b, true);
			ok(apply(w, b, l));
			if (ours && cases[i].grows) {
				same(w, a, b);
			} else {
				expect(w, to, "SELECT sql FROM sqlite_master WHERE name = 't'", before);
			}
			expect(w, to, "PRAGMA integrity_check", "ok");
			sr_leaves_free(l);
			sr_store_close(a);
			sr_store_close(b);
			free(before);
			free(from);
			free(to);
		}
}

/* Rows that come in the same apply are written with the columns, for those that are here are what was expected but for them; an index on
 * them comes too. */
static void test_grow_with_rows(void **state)
{
	struct world *w = *state;
	struct sr_store *a = store(w, "a.db", false), *b = store(w, "b.db", true);

	other(w, "a.db", WIDE);
	other(w, "b.db", WIDE);
	other(w, "a.db",
	      "ALTER TABLE t ADD COLUMN c TEXT DEFAULT 'x'; CREATE INDEX t_c ON t(c); UPDATE t SET c = 'y' WHERE id = 2;"
	      "INSERT INTO t VALUES(3,'three',3,'z'); DELETE FROM t WHERE id = 1");
	carry(w, a, b, true);
	same(w, a, b);
	expect(w, "b.db", "SELECT * FROM t ORDER BY id", "2|two|5|y 3|three|3|z");
	expect(w, "b.db", MASTER, "t,t_c");
	sr_store_close(a);
	sr_store_close(b);
}

/* Text from outside gets a column, and no more. */
static void test_hostile_column(void **state)
{
	static const char *const bad[] = {
		"CREATE TABLE t(id INTEGER PRIMARY KEY, c TEXT DEFAULT (load_extension('x')))",
		"CREATE TABLE t(id INTEGER PRIMARY KEY, c TEXT CHECK (load_extension('x')))",
		"CREATE TABLE t(id INTEGER PRIMARY KEY, c TEXT AS (fts3_tokenizer('simple')))",
		"CREATE TABLE t(id INTEGER PRIMARY KEY, c); DROP TABLE other",
		"CREATE TABLE t(id INTEGER PRIMARY KEY, c); ATTACH 'x' AS y",
		"CREATE TABLE t(id INTEGER PRIMARY KEY, c CHECK (c IN (SELECT a FROM other)))",
		"CREATE TABLE t(id INTEGER PRIMARY KEY, c",
		"CREATE TABLE u(id INTEGER PRIMARY KEY, c)",
		"CREATE TEMP TABLE t(id INTEGER PRIMARY KEY, c)",
		"CREATE TABLE t AS SELECT 1 AS id, 2 AS c",
		"",
	};
	static const char *const tables[] = {"t", NULL};
	struct world *w = *state;
	struct sr_store *st = store(w, "b.db", true);

	other(w, "b.db", "CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES(1); CREATE TABLE other(id INTEGER PRIMARY KEY, a)");
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		const char *const items[] = {"table", "t", "t", bad[i], NULL};

		ok(apply_text(w, st, items, tables));
		expect(w, "b.db", "SELECT sql FROM sqlite_master WHERE name = 't'", "CREATE TABLE t(id INTEGER PRIMARY KEY)");
		expect(w, "b.db", MASTER, "other,t");
	}
	sr_store_close(st);
}

/* --- rows of before ----------------------------------------------------------------------------------------------------- */

static struct sr_version read_row(struct world *w, struct sr_view *v, const char *table, int64_t id, struct sr_buf *path, struct sr_bytes *record)
{
	struct sr_value key = {.class = SR_INT, .i = id};
	struct sr_content c;

	sr_buf_clear(path);
	sr_buf_bytes(path, sr_bytes_of(table));
	sr_buf_byte(path, 0);
	sr_key_encode(path, &key, 1);
	ok(sr_view_read(v, sr_buf_view(path), &c, &w->err));
	*record = c.record;
	return c.version;
}

static struct sr_version row_version(struct world *w, struct sr_store *st, int64_t id)
{
	struct sr_buf path = {0};
	struct sr_bytes record;
	struct sr_view *v;
	struct sr_version is;

	ok(sr_view_open(&v, st, SR_VIEW_EXTRA, &w->err));
	is = read_row(w, v, "t", id, &path, &record);
	sr_view_close(v);
	sr_buf_free(&path);
	return is;
}

static void grown(struct world *w, struct sr_store *st, int64_t id, const struct sr_version *from, bool expected)
{
	struct sr_buf path = {0};
	struct sr_bytes record;
	struct sr_view *v;

	for (enum sr_view_kind kind = SR_VIEW_MAIN; kind <= SR_VIEW_EXTRA; kind++) {
		ok(sr_view_open(&v, st, kind, &w->err));
		read_row(w, v, "t", id, &path, &record);
		assert_int_equal(sr_view_is_grown(v, sr_buf_view(&path), record, from), expected);
		assert_int_equal(sr_view_is_grown(v, sr_buf_view(&path), record, from), expected); /* the record is still there */
		sr_view_close(v);
	}
	sr_buf_free(&path);
}

/* Whatever the default is, a row that was there before is the row that it was; one that was written since is not. */
static void test_is_grown(void **state)
{
	static const char *const added[] = {
		"c", "c TEXT", "c TEXT DEFAULT 'x'", "c TEXT DEFAULT 5", "c INT DEFAULT '5'", "c REAL DEFAULT 5", "c NUMERIC DEFAULT '1e2'",
		"c BLOB DEFAULT 'x'", "c DEFAULT x'00ff'", "c DEFAULT -7", "c DEFAULT (-(7))", "c DEFAULT (CAST('5' AS INTEGER))",
		"c DEFAULT \"quoted\"", "c DEFAULT bare", "c DEFAULT TRUE", "c DEFAULT NULL", "c DEFAULT ('it''s')", "c DEFAULT 9223372036854775808",
		"c DEFAULT 'a; b) -- '", "c REAL DEFAULT -0.0", "c INT NOT NULL DEFAULT 3", "c AS (id + 1)", "c TEXT COLLATE NOCASE DEFAULT 'Ab'",
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof added / sizeof *added; i++) {
		char *name = sr_format("%zu.db", i), *sql = sr_format("ALTER TABLE t ADD COLUMN %s", added[i]);
		struct sr_store *st = store(w, name, false);
		struct sr_version one, two;
		bool same_row = strstr(added[i], " AS (id"); /* nothing of it is carried */

		other(w, name, "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT DEFAULT 5); INSERT INTO t VALUES(1,'one',5),(2,'two',7)");
		one = row_version(w, st, 1);
		two = row_version(w, st, 2);
		other(w, name, sql);
		if (!strcmp(added[i], "c") || !strcmp(added[i], "c TEXT") || strstr(added[i], "DEFAULT NULL"))
			same_row = true;
		if (same_row) { /* it is the same record, and no change at all */
			struct sr_version now = row_version(w, st, 1);

			assert_true(sr_version_eq(&now, &one));
		} else {
			grown(w, st, 1, &one, true);
			grown(w, st, 2, &two, true);
		}
		grown(w, st, 2, &one, false);
		other(w, name, "ALTER TABLE t ADD COLUMN d INT DEFAULT 1");
		grown(w, st, 1, &one, true);
		other(w, name, "UPDATE t SET d = 2 WHERE id = 1; UPDATE t SET a = 'changed' WHERE id = 2");
		grown(w, st, 1, &one, false);
		grown(w, st, 2, &two, false);
		free(sql);
		free(name);
		sr_store_close(st);
	}
}

static void test_is_not_grown(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store(w, "a.db", false);
	struct sr_version one, none = {0};
	struct sr_buf path = {0};
	struct sr_bytes record;
	struct sr_view *v;

	other(w, "a.db",
	      "CREATE TABLE t(a TEXT, id INTEGER PRIMARY KEY, b INT DEFAULT (abs(-5)), c INT DEFAULT 1, d INT);"
	      "INSERT INTO t VALUES('one',1,5,1,NULL)");
	one = row_version(w, st, 1);
	grown(w, st, 1, &none, false);
	other(w, "a.db", "CREATE TABLE before(a TEXT, id INTEGER PRIMARY KEY, b INT); INSERT INTO before VALUES('one',1,5)");
	ok(sr_view_open(&v, st, SR_VIEW_EXTRA, &w->err));
	one = read_row(w, v, "before", 1, &path, &record);
	sr_view_close(v);
	grown(w, st, 1, &one, true);
	other(w, "a.db", "DROP TABLE before; CREATE TABLE before(id INTEGER PRIMARY KEY, a TEXT); INSERT INTO before VALUES(1,'one')");
	ok(sr_view_open(&v, st, SR_VIEW_EXTRA, &w->err));
	one = read_row(w, v, "before", 1, &path, &record);
	assert_false(sr_view_is_grown(v, sr_bytes_of("t"), record, &one));
	assert_false(sr_view_is_grown(v, sr_bytes("absent\0x", 8), record, &one));
	sr_view_close(v);
	grown(w, st, 1, &one, false); /* b's default is no constant: it was not added while there were rows */
	other(w, "a.db", "UPDATE t SET c = NULL");
	grown(w, st, 1, &one, false);
	sr_buf_free(&path);
	sr_store_close(st);
}

/* In whatever shape a table is built anew: a row of before reads as SQLite carries it over. */
static void test_carry(void **state)
{
	static const struct {
		const char *columns, *common;
	} shapes[] = {
		{"id INTEGER PRIMARY KEY, a TEXT, b INT, c, d REAL, e BLOB", "id, a, b, c, d, e"},
		{"id INTEGER PRIMARY KEY, e BLOB, a TEXT", "id, a, e"},
		{"id INTEGER PRIMARY KEY, a TEXT, b REAL, c, d TEXT, e", "id, a, b, c, d, e"},
		{"id INTEGER PRIMARY KEY, a INT, b TEXT, c NUMERIC, d INTEGER, e TEXT", "id, a, b, c, d, e"},
		{"id INTEGER PRIMARY KEY, a BLOB, new TEXT DEFAULT 'x', b REAL, more REAL DEFAULT 3, none INT", "id, a, b"},
		{"id INTEGER PRIMARY KEY, b TEXT, twice AS (b || b), at TEXT DEFAULT 'it''s'", "id, b"},
		{"id INTEGER PRIMARY KEY, other", "id"},
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		for (int64_t id = 1; id <= 3; id++) {
			char *name = sr_format("%zu-%d.db", i, (int)id), *sql;
			struct sr_store *st = store(w, name, false);
			struct sr_buf path = {0}, before = {0}, carried = {0};
			struct sr_bytes record;
			struct sr_view *v;

			other(w, name,
			      "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT, c, d REAL, e BLOB);"
			      "INSERT INTO t VALUES(1, '07', 7, 7, 7, '7'), (2, NULL, 9007199254740993, '1e2', -0.5, x'00ff'), (3, 'text', '', 2.0, 1e300, NULL)");
			ok(sr_view_open(&v, st, SR_VIEW_EXTRA, &w->err));
			read_row(w, v, "t", id, &path, &record);
			sr_buf_bytes(&before, record);
			sr_view_close(v);
			sql = sr_format("CREATE TABLE anew(%s); INSERT INTO anew(%s) SELECT %s FROM t; DROP TABLE t; ALTER TABLE anew RENAME TO t",
					shapes[i].columns, shapes[i].common, shapes[i].common);
			other(w, name, sql);
			ok(sr_view_open(&v, st, SR_VIEW_EXTRA, &w->err));
			for (int k = 0; k < 2; k++) {
				sr_buf_clear(&carried);
				assert_true(sr_view_carry(v, sr_buf_view(&path), sr_buf_view(&before), &carried));
				read_row(w, v, "t", id, &path, &record);
				if (!sr_bytes_eq(sr_buf_view(&carried), record))
					fail_msg("row %d as (%s)", (int)id, shapes[i].columns);
			}
			assert_false(sr_view_carry(v, sr_bytes("absent\0x", 8), sr_buf_view(&before), &carried));
			sr_view_close(v);
			sr_buf_free(&carried);
			sr_buf_free(&before);
			sr_buf_free(&path);
			free(sql);
			free(name);
			sr_store_close(st);
		}
}

/* --- other files, the same rows ------------------------------------------------------------------------------------------ */

/* Rowids, pages and the order of columns may change, and the file itself: what is seen is the same. */
static void test_same_leaves(void **state)
{
	static const char rows[] = "INSERT INTO t VALUES(7,'x',NULL,'a'),(3,'y',2.5,'b'),(9,'z',x'00','c'); INSERT INTO named VALUES('b',1),('a',2);";
	static const char *const changes[] = {
		"VACUUM",
		"PRAGMA page_size=1024; VACUUM",
		"CREATE TABLE t2(id INTEGER PRIMARY KEY, a TEXT, b, c TEXT UNIQUE); INSERT INTO t2 SELECT * FROM t ORDER BY a DESC; DROP TABLE t;"
		" ALTER TABLE t2 RENAME TO t",
		"CREATE TABLE t2(c TEXT UNIQUE, b, a TEXT, id INTEGER PRIMARY KEY); INSERT INTO t2 SELECT c, b, a, id FROM t; DROP TABLE t;"
		" ALTER TABLE t2 RENAME TO t",
		"DELETE FROM named WHERE name = 'b'; VACUUM; INSERT INTO named VALUES('b',1)",
		"CREATE INDEX t_a ON t(a); ANALYZE",
	};
	struct world *w = *state;
	struct sr_store *st = store(w, "a.db", false);
	struct sr_hash before;

	other(w, "a.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b, c TEXT UNIQUE); CREATE TABLE named(name TEXT PRIMARY KEY, v);");
	other(w, "a.db", rows);
	before = map_of(w, st);
	for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
		struct sr_hash now;

		other(w, "a.db", changes[i]);
		now = map_of(w, st);
		if (!sr_hash_eq(&now, &before))
			fail_msg("another map after %s", changes[i]);
	}
	sr_store_close(st);
}

/* Another file is put in its place: noticed, and read anew. */
static void test_replaced(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store(w, "a.db", false);
	struct sr_marker marker;
	struct sr_hash before, now;
	bool content;
	char why[256], *from = sr_format("%s/copy.db", w->dir), *to = sr_format("%s/a.db", w->dir), *copy;

	other(w, "a.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); INSERT INTO t VALUES(1,'x'),(2,'y')");
	before = map_of(w, st);
	copy = sr_format("VACUUM INTO '%s'", from);
	other(w, "a.db", copy);
	assert_int_equal(rename(from, to), 0);
	assert_int_equal(sr_store_look(st, &marker, &content, why), SR_PRESENT);
	now = map_of(w, st);
	assert_true(sr_hash_eq(&now, &before));
	other(w, "a.db", copy);
	other(w, "copy.db", "UPDATE t SET a = 'z' WHERE id = 1");
	assert_int_equal(rename(from, to), 0);
	assert_int_equal(sr_store_look(st, &marker, &content, why), SR_PRESENT);
	now = map_of(w, st);
	assert_false(sr_hash_eq(&now, &before));
	other(w, "a.db", "UPDATE t SET a = 'x' WHERE id = 1");
	now = map_of(w, st);
	assert_true(sr_hash_eq(&now, &before));
	free(copy);
	free(from);
	free(to);
	sr_store_close(st);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_definitions),
		TEST(test_json),
		TEST(test_on_conflict),
		TEST(test_reasons),
		TEST(test_virtual),
		TEST(test_lost_index),
		TEST(test_complete),
		TEST(test_carry),
		TEST(test_grow),
		TEST(test_grow_with_rows),
		TEST(test_hostile_column),
		TEST(test_is_grown),
		TEST(test_is_not_grown),
		TEST(test_same_leaves),
		TEST(test_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
