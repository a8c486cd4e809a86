/* test_bag.c - rows without a key: equal ones are counted, and a leaf says how many more or fewer.  Real files, another process that
 * writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <signal.h>

#include "tests/unit/sqlite_world.h"

/* Of a database that is known from end to end. */
static struct sr_hash whole_map_of(struct world *w, struct sr_store *st)
{
	struct sr_scan s = scan(w, st, NULL);
	struct sr_hash map = s.map;

	assert_int_equal(s.unknowns, 0);
	sr_scan_free(&s);
	return map;
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

/* Columns "a=1 b=text c=" in order of their names: what looks like a number is one, and what is left out or empty is NULL. */
static void record_of(struct sr_buf *out, const char *text)
{
	char *copy = sr_strdup(text), *next = copy, *word;
	struct sr_column c[8];
	size_t n = 0;

	while ((word = strsep(&next, " "))) {
		char *value = strchr(word, '='), *end;

		assert_non_null(value);
		*value++ = 0;
		c[n].name = sr_bytes_of(word);
		c[n].value = (struct sr_value){.class = *value ? SR_INT : SR_NULL, .i = strtoll(value, &end, 10)};
		if (*end)
			c[n].value = (struct sr_value){.class = SR_TEXT, .b = sr_bytes_of(value)};
		n++;
	}
	sr_record_encode(out, c, n);
	free(copy);
}

static void row_of(struct world *w, const char *table, const char *row, struct sr_buf *path, struct sr_buf *record, struct sr_hash *hash)
{
	record_of(record, row);
	sr_hash_of(hash, &w->key, sr_buf_view(record));
	sr_buf_add(path, table, strlen(table) + 1);
	sr_bag_key(path, hash);
}

static struct sr_version times(const struct sr_hash *hash, uint64_t n)
{
	return n ? (struct sr_version){.kind = SR_KIND_ROW, .bytes = n, .hash = *hash} : (struct sr_version){0};
}

/* So many of these rows are expected, and so many there are to be. */
static void add(struct world *w, struct sr_leaves *l, const char *table, const char *row, uint64_t before, uint64_t after)
{
	struct sr_buf path = {0}, record = {0};
	struct sr_leaf leaf = {0};
	struct sr_hash hash;

	row_of(w, table, row, &path, &record, &hash);
	leaf.path = sr_buf_view(&path);
	leaf.expect = times(&hash, before);
	leaf.to = times(&hash, after);
	if (after)
		leaf.record = sr_buf_view(&record);
	ok(sr_leaves_add(l, &leaf, &w->err));
	sr_buf_free(&path);
	sr_buf_free(&record);
}

/* A leaf that is called by a key; NULL row: it goes. */
static void add_keyed(struct world *w, struct sr_leaves *l, const char *table, const struct sr_value *key, size_t keys, const char *before,
		      const char *row)
{
	struct sr_buf path = {0}, old = {0}, record = {0};
	struct sr_leaf leaf = {0};

	sr_buf_add(&path, table, strlen(table) + 1);
	sr_key_encode(&path, key, keys);
	leaf.path = sr_buf_view(&path);
	if (before) {
		record_of(&old, before);
		leaf.expect = (struct sr_version){.kind = SR_KIND_ROW, .bytes = old.len};
		sr_hash_of(&leaf.expect.hash, &w->key, sr_buf_view(&old));
	}
	if (row) {
		record_of(&record, row);
		leaf.record = sr_buf_view(&record);
		leaf.to = (struct sr_version){.kind = SR_KIND_ROW, .bytes = record.len};
		sr_hash_of(&leaf.to.hash, &w->key, leaf.record);
	}
	ok(sr_leaves_add(l, &leaf, &w->err));
	sr_buf_free(&path);
	sr_buf_free(&old);
	sr_buf_free(&record);
}

/* By a view: are there so many of these? */
static void view_has(struct world *w, struct sr_store *st, enum sr_view_kind kind, const char *table, const char *row, uint64_t n)
{
	struct sr_buf path = {0}, record = {0};
	struct sr_version wanted;
	struct sr_content c;
	struct sr_view *view;
	struct sr_hash hash;

	row_of(w, table, row, &path, &record, &hash);
	wanted = times(&hash, n);
	ok(sr_view_open(&view, st, kind, &w->err));
	if (n) {
		ok(sr_view_read(view, sr_buf_view(&path), &c, &w->err));
		assert_int_equal(c.version.bytes, n);
		assert_true(sr_version_eq(&c.version, &wanted));
		assert_true(sr_bytes_eq(c.record, sr_buf_view(&record)));
	} else {
		assert_int_equal(sr_view_read(view, sr_buf_view(&path), &c, &w->err), SR_E_NOTFOUND);
	}
	sr_view_close(view);
	sr_buf_free(&path);
	sr_buf_free(&record);
}

/* And by a scan's map? */
static void there_are(struct world *w, struct sr_store *st, const char *table, const char *row, uint64_t n)
{
	struct sr_hash map = whole_map_of(w, st), hash;
	struct sr_buf path = {0}, record = {0};
	struct sr_version v, wanted;

	row_of(w, table, row, &path, &record, &hash);
	wanted = times(&hash, n);
	ok(sr_store_get(w->nodes, SR_KIND_DATABASE, &map, sr_buf_view(&path), &v, &w->err));
	assert_int_equal(v.bytes, n);
	assert_true(sr_version_eq(&v, &wanted));
	sr_buf_free(&path);
	sr_buf_free(&record);
	view_has(w, st, SR_VIEW_MAIN, table, row, n);
	view_has(w, st, SR_VIEW_EXTRA, table, row, n);
}

/* --- applying ----------------------------------------------------------------------------------------------------- */

struct seen { /* by the callbacks */
	size_t clashes, in_the_way, displaced, unexpected, applied, parentless;
	uint64_t actual, went; /* rows, as the last clash or question, and all that were displaced, had them */
	enum sr_verdict clash_verdict, way_verdict, parent_verdict;
	bool itself; /* the row in the way is equal to the leaf's own */
};

static bool is_of_its_path(struct sr_bytes path, const struct sr_version *v)
{
	return !sr_path_is_bag(path) || !memcmp(path.at + path.len - SR_HASH_LEN, v->hash.b, SR_HASH_LEN);
}

static enum sr_verdict on_clash(void *ctx, size_t i, const struct sr_leaf *leaf, const struct sr_version *actual, struct sr_bytes record)
{
	struct seen *s = ctx;

	(void)i;
	assert_int_equal(record.len > 0, actual->kind == SR_KIND_ROW);
	assert_true(actual->kind == SR_KIND_NONE || is_of_its_path(leaf->path, actual));
	s->clashes++;
	s->actual = actual->bytes;
	return s->clash_verdict;
}

static enum sr_verdict on_way(void *ctx, size_t i, const struct sr_leaf *leaf, struct sr_bytes path, const struct sr_version *actual,
			      struct sr_bytes record)
{
	struct seen *s = ctx;

	(void)i;
	assert_true(record.len > 0 && actual->kind == SR_KIND_ROW && is_of_its_path(path, actual));
	s->in_the_way++;
	s->actual = actual->bytes;
	s->itself = sr_bytes_eq(path, leaf->path);
	return s->way_verdict;
}

static enum sr_verdict on_parentless(void *ctx, size_t i, const struct sr_leaf *leaf, struct sr_bytes parent)
{
	struct seen *s = ctx;

	(void)i;
	(void)leaf;
	(void)parent;
	s->parentless++;
	return s->parent_verdict;
}

static enum sr_status on_displaced(void *ctx, size_t i, const struct sr_leaf *leaf, const struct sr_displaced *old, struct sr_err *err)
{
	struct seen *s = ctx;

	(void)i;
	(void)leaf;
	(void)err;
	assert_true(old->record.len > 0 && is_of_its_path(old->path, &old->version));
	s->displaced++;
	s->unexpected += !old->expected;
	s->went += old->version.bytes;
	return SR_OK;
}

static void on_applied(void *ctx, size_t i, const struct sr_leaf *leaf, uint64_t signature)
{
	struct seen *s = ctx;

	(void)i;
	(void)leaf;
	(void)signature;
	s->applied++;
}

static enum sr_status try_apply(struct world *w, struct sr_store *st, struct sr_leaves *l, const struct sr_marker *m, struct seen *s)
{
	struct sr_apply_ops ops = {.ctx = s,
				   .clash = on_clash,
				   .in_the_way = on_way,
				   .parentless = on_parentless,
				   .displaced = on_displaced,
				   .applied = on_applied};
	enum sr_status rc;

	ok(sr_leaves_sort(l, &w->err));
	rc = sr_apply_prepare(st, l, m, &ops, &w->err);
	return rc == SR_OK ? sr_apply_commit(st, &w->err) : rc;
}

/* CONSUMES l. */
static void apply(struct world *w, struct sr_store *st, struct sr_leaves *l, struct seen *s)
{
	struct sr_marker m = marker_new();

	ok(try_apply(w, st, l, &m, s));
	sr_leaves_free(l);
}

static void refuses(struct world *w, struct sr_store *st, struct sr_leaves *l)
{
	struct sr_marker m = marker_new();
	struct seen s = {0};

	assert_int_equal(try_apply(w, st, l, &m, &s), SR_E_DATA);
	assert_int_equal(s.applied, 0);
	sr_leaves_free(l);
}

/* --- scanning ----------------------------------------------------------------------------------------------------- */

static void test_counts(void **state)
{
	struct world *w = *state;
	struct sr_store *a = store(w, "a.db", false), *b = store(w, "b.db", false);
	struct sr_hash before, x, y;
	uint64_t leaves, bytes;

	other(w, "a.db", "CREATE TABLE log(who, what); INSERT INTO log VALUES('ann',1),('bob',2),('ann',1),('ann',NULL),('ann',1)");
	there_are(w, a, "log", "what=1 who=ann", 3);
	there_are(w, a, "log", "what=2 who=bob", 1);
	there_are(w, a, "log", "what= who=ann", 1);
	there_are(w, a, "log", "what=1 who=bob", 0);
	before = whole_map_of(w, a);
	ok(sr_map_counts(w->nodes, &before, &leaves, &bytes));
	assert_int_equal(leaves, 3);
	assert_int_equal(bytes, 5);

	/* The same rows in another order, at other places, are the same. */
	other(w, "b.db",
	      "CREATE TABLE log(what, who); INSERT INTO log(rowid, who, what) "
	      "VALUES(-7,'ann',NULL),(9,'ann',1),(3,'ann',1),(50,'bob',2),(51,'ann',1)");
	x = whole_map_of(w, b);
	assert_true(sr_hash_eq(&before, &x));
	other(w, "b.db", "DELETE FROM log WHERE rowid = 9");
	y = whole_map_of(w, b);
	assert_false(sr_hash_eq(&x, &y));
	there_are(w, b, "log", "what=1 who=ann", 2);
	other(w, "b.db", "DELETE FROM log WHERE what");
	there_are(w, b, "log", "what=1 who=ann", 0);
	there_are(w, b, "log", "what= who=ann", 1);
	sr_store_close(a);
	sr_store_close(b);
}

static bool is_unknown(const struct sr_scan *s, const char *table, enum sr_unknown_why why)
{
	for (size_t i = 0; i < s->unknowns; i++)
		if (s->unknown[i].why == why && sr_path_under(s->unknown[i].path, sr_bytes_of(table)))
			return true;
	return false;
}

static int backwards(void *ctx, int n, const void *a, int m, const void *b)
{
	int c = memcmp(b, a, (size_t)(n < m ? n : m));

	(void)ctx;
	return c ? c : m - n;
}

/* Unknown is only what cannot be reached, or not be written. */
static void test_out_of_reach(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store(w, "a.db", false);
	char *path = path_of(w, "a.db");
	struct sr_hash map;
	struct sr_version v;
	struct sr_scan s;
	sqlite3 *db;

	other(w, "a.db",
	      "CREATE TABLE hidden(RowId, _rowid_, oid, v);"
	      "CREATE TABLE half(k TEXT PRIMARY KEY, RowId, _rowid_, oid); INSERT INTO half(k) VALUES('x'),(NULL)");
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_create_collation(db, "backwards", SQLITE_UTF8, NULL, backwards);
	assert_int_equal(sqlite3_exec(db,
				      "CREATE TABLE keyed(k TEXT PRIMARY KEY COLLATE backwards); INSERT INTO keyed VALUES('a');"
				      "CREATE TABLE plain(k TEXT COLLATE backwards); INSERT INTO plain VALUES('a')",
				      NULL, NULL, NULL),
			 SQLITE_OK);
	sqlite3_close(db);
	s = scan(w, st, NULL);
	map = s.map;
	assert_int_equal(s.unknowns, 3);
	assert_true(is_unknown(&s, "hidden", SR_UNKNOWN_TABLE));
	assert_true(is_unknown(&s, "half", SR_UNKNOWN_NAME)); /* of its rows, one */
	assert_true(is_unknown(&s, "keyed", SR_UNKNOWN_APPLICATION));
	ok(sr_store_get(w->nodes, SR_KIND_DATABASE, &map, sr_bytes_of("plain"), &v, &w->err));
	assert_int_equal(v.kind, SR_KIND_TABLE);
	ok(sr_store_get(w->nodes, SR_KIND_DATABASE, &map, sr_bytes_of("half"), &v, &w->err));
	assert_int_equal(v.kind, SR_KIND_TABLE);
	sr_scan_free(&s);
	free(path);
	sr_store_close(st);
}

/* --- a leaf is a difference --------------------------------------------------------------------------------------- */

#define LOG  "CREATE TABLE log(a, b); INSERT INTO log VALUES(1,'x'),(1,'x'),(1,'x'),(2,'y'),(3,NULL);"
#define ROWS "SELECT rowid, a, b FROM log ORDER BY rowid"

static void test_difference(void **state)
{
	struct world *w = *state;

	for (int wal = 0; wal < 2; wal++) {
		const char *name = wal ? "wal.db" : "journal.db";
		struct sr_store *st = store(w, name, false);
		struct sr_leaves *l = sr_leaves_new(NULL);
		struct seen s = {.clash_verdict = SR_KEEP};
		struct sr_scan scanned;
		struct sr_hash map;
		struct sr_leaf leaf;

		other(w, name, wal ? "PRAGMA journal_mode=WAL" : "PRAGMA journal_mode=DELETE");
		other(w, name,
		      LOG "CREATE TRIGGER t AFTER INSERT ON log BEGIN SELECT RAISE(ABORT, 'no'); END;"
			  "CREATE TRIGGER d AFTER DELETE ON log BEGIN SELECT RAISE(ABORT, 'no'); END;");
		map = whole_map_of(w, st);
		add(w, l, "log", "a=1 b=x", 3, 1);
		add(w, l, "log", "a=2 b=y", 1, 0); /* one that changed */
		add(w, l, "log", "a=2 b=z", 0, 1);
		add(w, l, "log", "a=3 b=", 1, 3);
		add(w, l, "log", "a=4 b=4", 0, 0);
		ok(sr_leaves_sort(l, &w->err));
		for (size_t i = 0; i < sr_leaves_count(l); i++) {
			struct sr_hash next;

			ok(sr_leaves_at(l, i, &leaf, &w->err));
			ok(sr_store_edit(w->nodes, SR_KIND_DATABASE, &map, &(struct sr_edit){leaf.path, leaf.to}, 1, &next, &w->err));
			map = next;
		}
		apply(w, st, l, &s);
		assert_int_equal(s.applied, 5);
		assert_int_equal(s.clashes + s.in_the_way + s.unexpected, 0);
		assert_int_equal(s.displaced, 2);
		assert_int_equal(s.went, 3 + 1);
		expect(w, name, "SELECT min(rowid), count(*) FROM log WHERE a = 1", "1|1"); /* the last ones went */
		expect(w, name, "SELECT a, b, count(*) FROM log GROUP BY a, b", "1|x|1 2|z|1 3|NULL|3");
		/* What went in is what the caller's map says. */
		scanned = scan(w, st, &map);
		assert_true(scanned.same);
		assert_int_equal(scanned.rows_read, 0);
		sr_scan_free(&scanned);
		scanned = scan(w, st, NULL);
		assert_true(sr_hash_eq(&scanned.map, &map));
		sr_scan_free(&scanned);
		sound(w, name);
		sr_store_close(st);
	}
}

/* Not as many as expected: what is asked for is the difference. */
static void test_clash(void **state)
{
	static const struct {
		uint64_t before, after, there, then;
	} cases[] = {
		{3, 4, 5, 6}, {3, 2, 5, 4}, {3, 0, 5, 2}, {3, 1, 1, 0}, {3, 0, 0, 0}, {0, 2, 4, 6},
		{2, 2, 4, 4}, {0, 0, 4, 4}, {2, 5, 5, 8}, {2, 5, 0, 3}, {5, 2, 2, 0},
	};
	struct world *w = *state;
	struct sr_store *st = store(w, "a.db", false);
	char sql[200], answer[32];

	other(w, "a.db", "CREATE TABLE log(a, b)");
	for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
		struct sr_leaves *l = sr_leaves_new(NULL);
		bool take = i % 2;
		struct seen s = {.clash_verdict = take ? SR_TAKE : SR_KEEP};
		struct sr_scan scanned;

		snprintf(sql, sizeof sql,
			 "DELETE FROM log; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
			 "INSERT INTO log SELECT 1, 'x' FROM n WHERE %d",
			 (int)cases[i / 2].there, cases[i / 2].there > 0);
		other(w, "a.db", sql);
		scanned = scan(w, st, NULL);
		sr_scan_free(&scanned);
		add(w, l, "log", "a=1 b=x", cases[i / 2].before, cases[i / 2].after);
		apply(w, st, l, &s);
		assert_int_equal(s.clashes, 1);
		assert_int_equal(s.actual, cases[i / 2].there);
		assert_int_equal(s.applied, take);
		assert_int_equal(s.unexpected, 0);
		assert_int_equal(s.went, take && cases[i / 2].then < cases[i / 2].there ? cases[i / 2].there : 0);
		snprintf(answer, sizeof answer, "%d", (int)(take ? cases[i / 2].then : cases[i / 2].there));
		expect(w, "a.db", "SELECT count(*) FROM log", answer);
		/* Another number than the caller knows of: whatever map it comes with, all is read. */
		scanned = scan(w, st, &(struct sr_hash){.b = {1}});
		assert_false(scanned.same);
		assert_int_equal(scanned.rows_read, atoi(answer));
		sr_scan_free(&scanned);
	}
	sr_store_close(st);
}

/* --- NULL in a key ------------------------------------------------------------------------------------------------ */

static void test_null_in_key(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store(w, "a.db", false);
	struct sr_leaves *l = sr_leaves_new(NULL);
	struct seen s = {.clash_verdict = SR_KEEP};

	other(w, "a.db",
	      "CREATE TABLE one(k TEXT PRIMARY KEY, v); INSERT INTO one VALUES('a',1),(NULL,1),(NULL,1),(NULL,2),('b',2);"
	      "CREATE TABLE two(j INT, k TEXT COLLATE NOCASE, v, PRIMARY KEY(k, j));"
	      "INSERT INTO two VALUES(1,'A',1),(NULL,'A',1),(1,NULL,1),(NULL,NULL,NULL),(NULL,'A',1),(2,'B',1)");
	there_are(w, st, "one", "k= v=1", 2);
	there_are(w, st, "one", "k=a v=1", 0);
	there_are(w, st, "two", "j= k=A v=1", 2);
	there_are(w, st, "two", "j= k= v=", 1);
	add(w, l, "one", "k= v=1", 2, 0);
	add(w, l, "one", "k= v=3", 0, 2);
	add(w, l, "one", "k= v=2", 1, 0); /* gets a key */
	add_keyed(w, l, "one", (struct sr_value[]){text("c")}, 1, NULL, "k=c v=2");
	add_keyed(w, l, "one", (struct sr_value[]){text("a")}, 1, "k=a v=1", NULL); /* loses it */
	add(w, l, "one", "k= v=77", 0, 1);
	add(w, l, "two", "j= k=A v=1", 2, 1);
	add(w, l, "two", "j=1 k= v=1", 1, 2);
	add_keyed(w, l, "two", (struct sr_value[]){text("b"), integer(2)}, 2, "j=2 k=B v=1", "j=2 k=b v=5");
	apply(w, st, l, &s);
	assert_int_equal(s.applied, 9);
	assert_int_equal(s.clashes, 0);
	expect(w, "a.db", "SELECT k, v FROM one ORDER BY 1, 2", "NULL|3 NULL|3 NULL|77 b|2 c|2");
	expect(w, "a.db", "SELECT j, k, v FROM two ORDER BY 1, 2", "NULL|NULL|NULL NULL|A|1 1|NULL|1 1|NULL|1 1|A|1 2|b|5");
	sound(w, "a.db");
	sr_store_close(st);
}

/* --- UNIQUE ------------------------------------------------------------------------------------------------------- */

/* A table that is keyed by UNIQUE alone; what it was declared to do about a clash must not happen to it. */
static const char *const kv[] = {
	"CREATE TABLE kv(k UNIQUE, v);",
	"CREATE TABLE kv(k UNIQUE ON CONFLICT REPLACE, v);",
	"CREATE TABLE kv(k UNIQUE ON CONFLICT IGNORE, v);",
	"CREATE TABLE kv(k, v); CREATE UNIQUE INDEX u ON kv(lower(k)) WHERE k <> 'free';",
	"CREATE TABLE kv(id TEXT PRIMARY KEY, k UNIQUE, v);",
};
#define KV(i) kv[(i) % (sizeof kv / sizeof *kv)]
#define KVS   (sizeof kv / sizeof *kv)

static void test_unique_within(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < KVS; i++) {
		char *name = sr_format("%zu.db", i);
		struct sr_store *st = store(w, name, false);
		struct sr_leaves *l = sr_leaves_new(NULL);
		struct seen s = {.clash_verdict = SR_KEEP};

		other(w, name, KV(i));
		other(w, name, "INSERT INTO kv(k, v) VALUES('a',1),('b',2),('c',3)");
		add(w, l, "kv", "k=a v=1", 1, 0); /* an update */
		add(w, l, "kv", "k=a v=9", 0, 1);
		add(w, l, "kv", "k=b v=2", 1, 0); /* a swap */
		add(w, l, "kv", "k=b v=3", 0, 1);
		add(w, l, "kv", "k=c v=3", 1, 0);
		add(w, l, "kv", "k=c v=2", 0, 1);
		apply(w, st, l, &s);
		assert_int_equal(s.applied, 6);
		assert_int_equal(s.in_the_way + s.clashes, 0);
		expect(w, name, "SELECT k, v FROM kv ORDER BY k", "a|9 b|3 c|2");
		sound(w, name);
		sr_store_close(st);
		free(name);
	}
}

static void test_unique_outside(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < 2 * KVS; i++) {
		bool take = i >= KVS;
		char *name = sr_format("%zu.db", i);
		struct sr_store *st = store(w, name, false);
		struct sr_leaves *l = sr_leaves_new(NULL);
		struct seen s = {.clash_verdict = SR_TAKE, .way_verdict = take ? SR_TAKE : SR_KEEP};

		other(w, name, KV(i));
		other(w, name, "INSERT INTO kv(k, v) VALUES('a',2),('b',2)"); /* a was 1 */
		add(w, l, "kv", "k=a v=1", 1, 0);
		add(w, l, "kv", "k=a v=3", 0, 1);
		add(w, l, "kv", "k=d v=4", 0, 1);
		apply(w, st, l, &s);
		assert_int_equal(s.clashes, 1);
		assert_int_equal(s.in_the_way, 1);
		assert_int_equal(s.actual, 1);
		assert_false(s.itself);
		assert_int_equal(s.displaced, take);
		assert_int_equal(s.unexpected, take);
		assert_int_equal(s.applied, take ? 3 : 2);
		expect(w, name, "SELECT k, v FROM kv ORDER BY k", take ? "a|3 b|2 d|4" : "a|2 b|2 d|4");
		sound(w, name);
		sr_store_close(st);
		free(name);
	}
}

/* One row is in the way of a row with a key, and one with a key in the way of one without. */
static void test_unique_of_both_sorts(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store(w, "a.db", false);

	other(w, "a.db", "CREATE TABLE t(k TEXT PRIMARY KEY, u UNIQUE)");
	for (int take = 0; take < 2; take++) {
		struct sr_leaves *l = sr_leaves_new(NULL);
		struct seen s = {.clash_verdict = SR_TAKE, .way_verdict = take ? SR_TAKE : SR_KEEP};

		other(w, "a.db", "DELETE FROM t; INSERT INTO t VALUES(NULL,1),('b',2),(NULL,NULL),(NULL,NULL)");
		add_keyed(w, l, "t", (struct sr_value[]){text("a")}, 1, NULL, "k=a u=1");
		add(w, l, "t", "k= u=2", 0, 1);
		apply(w, st, l, &s);
		assert_int_equal(s.in_the_way, 2);
		assert_int_equal(s.applied, take ? 2 : 0);
		expect(w, "a.db", "SELECT k, u FROM t WHERE u ORDER BY u", take ? "a|1 NULL|2" : "NULL|1 b|2");
		expect(w, "a.db", "SELECT count(*) FROM t", "4");
		sound(w, "a.db");
	}
	sr_store_close(st);
}

/* Two of one are wanted where there can be one. */
static void test_unique_itself(void **state)
{
	static const struct {
		uint64_t there, before, after;
	} cases[] = {{1, 0, 1}, {1, 1, 2}, {0, 0, 2}, {1, 0, 3}};
	struct world *w = *state;

	for (size_t i = 0; i < 2 * KVS * sizeof cases / sizeof *cases; i++) {
		size_t k = i / 2 / KVS;
		bool take = i % 2, more = k % 2;
		char *name = sr_format("%zu.db", i);
		struct sr_store *st = store(w, name, false);
		struct sr_leaves *l = sr_leaves_new(NULL);
		struct seen s = {.clash_verdict = SR_TAKE, .way_verdict = take ? SR_TAKE : SR_KEEP};

		other(w, name, KV(i / 2));
		if (cases[k].there)
			other(w, name, "INSERT INTO kv(k, v) VALUES('a',1)");
		add(w, l, "kv", "k=a v=1", cases[k].before, cases[k].after);
		if (more)
			add(w, l, "kv", "k=b v=1", 0, 1);
		apply(w, st, l, &s);
		assert_int_equal(s.in_the_way, 1);
		assert_int_equal(s.actual, 1);
		assert_true(s.itself);
		assert_int_equal(s.displaced, 0);
		assert_int_equal(s.applied, take + more);
		expect(w, name, "SELECT k, v FROM kv WHERE k = 'a'", cases[k].there || take ? "a|1" : "");
		expect(w, name, "SELECT count(*) FROM kv WHERE k = 'b'", more ? "1" : "0");
		sound(w, name);
		sr_store_close(st);
		free(name);
	}
}

/* --- foreign keys ------------------------------------------------------------------------------------------------- */

/* Children without a key of parents with and without one. */
#define FAMILY                                                                                                                    \
	"CREATE TABLE users(id INTEGER PRIMARY KEY, name); INSERT INTO users VALUES(1,'ann'),(2,'bob');"                          \
	"CREATE TABLE visits(who REFERENCES users(id), at); CREATE INDEX by_who ON visits(who);"                                  \
	"INSERT INTO visits VALUES(1,10),(2,10),(1,10),(1,11),(2,10),(NULL,10);"                                                  \
	"CREATE TABLE codes(code TEXT UNIQUE COLLATE NOCASE, what); INSERT INTO codes VALUES('x',1),('y',1);"                     \
	"CREATE TABLE uses(id INTEGER PRIMARY KEY, code REFERENCES codes(code)); INSERT INTO uses VALUES(1,'X'),(2,'y'),(3,'x');" \
	"CREATE TABLE marks(code REFERENCES codes(code)); INSERT INTO marks VALUES('x'),('x'),('Y');"

static void test_orphans(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store(w, "a.db", false);

	for (int take = 0; take < 2; take++) {
		struct sr_leaves *l = sr_leaves_new(NULL);
		struct seen s = {.clash_verdict = SR_KEEP, .way_verdict = take ? SR_TAKE : SR_KEEP};

		other(w, "a.db",
		      "DROP TABLE IF EXISTS visits; DROP TABLE IF EXISTS users; DROP TABLE IF EXISTS uses; DROP TABLE IF EXISTS marks;"
		      "DROP TABLE IF EXISTS codes;" FAMILY);
		add_keyed(w, l, "users", (struct sr_value[]){integer(1)}, 1, "id=1 name=ann", NULL);
		add(w, l, "visits", "at=11 who=1", 1, 0); /* goes by itself */
		add(w, l, "codes", "code=x what=1", 1, 0);
		add(w, l, "codes", "code=y what=1", 1, 0); /* its code stays */
		add(w, l, "codes", "code=Y what=2", 0, 1);
		apply(w, st, l, &s);
		assert_int_equal(s.applied, 5);
		assert_int_equal(s.in_the_way, 1 + 2 + 1); /* visits (1,10); uses 1 and 3; marks x */
		assert_int_equal(s.parentless, 0);
		assert_int_equal(s.unexpected, take ? 4 : 0);
		expect(w, "a.db", "SELECT who, at FROM visits ORDER BY 1, 2", take ? "NULL|10 2|10 2|10" : "NULL|10 1|10 1|10 2|10 2|10");
		expect(w, "a.db", "SELECT group_concat(code) FROM uses", take ? "y" : "X,y,x");
		expect(w, "a.db", "SELECT group_concat(code) FROM marks", take ? "Y" : "x,x,Y");
		if (take)
			sound(w, "a.db");
	}
	sr_store_close(st);
}

static void test_parentless(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store(w, "a.db", false);
	struct sr_leaves *l = sr_leaves_new(NULL);
	struct seen s = {.clash_verdict = SR_KEEP, .parent_verdict = SR_TAKE};

	/* By an application that does not enforce them; one of it at a place that nothing was written to. */
	other(w, "a.db", FAMILY "INSERT INTO visits(rowid, who, at) VALUES(0,9,9),(99,9,9)");
	add(w, l, "visits", "at=1 who=7", 0, 2);
	add(w, l, "visits", "at=1 who=2", 0, 1);
	add(w, l, "visits", "at=1 who=", 0, 1);
	add(w, l, "visits", "at=9 who=9", 2, 1); /* that was so before */
	add(w, l, "marks", "code=nix", 0, 1);
	add(w, l, "marks", "code=z", 0, 1);
	add(w, l, "codes", "code=Z what=3", 0, 1);
	apply(w, st, l, &s);
	assert_int_equal(s.parentless, 2);
	assert_int_equal(s.applied, 7);
	expect(w, "a.db", "SELECT who FROM visits WHERE at = 1 ORDER BY who", "NULL 2 7 7");
	sr_store_close(st);
}

static void dangles(struct world *w, struct sr_store *st, const char *table, const char *row, bool there, bool expected)
{
	struct sr_buf path = {0}, record = {0};
	struct sr_hash hash;
	struct sr_view *v;

	row_of(w, table, row, &path, &record, &hash);
	ok(sr_view_open(&v, st, SR_VIEW_EXTRA, &w->err));
	if (sr_view_dangling(v, sr_buf_view(&path), there) != expected)
		fail_msg("%s %s", table, row);
	sr_view_close(v);
	sr_buf_free(&path);
	sr_buf_free(&record);
}

static void test_dangling(void **state)
{
	struct world *w = *state;
	struct sr_store *st = store(w, "a.db", false);

	other(w, "a.db", FAMILY "INSERT INTO visits VALUES(9,9),(9,9); DELETE FROM codes WHERE code = 'y'");
	dangles(w, st, "visits", "at=9 who=9", true, true);
	dangles(w, st, "visits", "at=10 who=1", true, false);
	dangles(w, st, "visits", "at=10 who=", true, false);
	dangles(w, st, "visits", "at=12 who=9", true, false); /* no such row */
	dangles(w, st, "marks", "code=Y", true, true);
	dangles(w, st, "marks", "code=x", true, false);
	dangles(w, st, "codes", "code=y what=1", false, false); /* what it was cannot be told */
	sr_store_close(st);
}

/* --- what must not get in ----------------------------------------------------------------------------------------- */

static void test_refused(void **state)
{
	static const struct {
		const char *table, *row;
	} cases[] = {
		{"keyed", "k=a v=1"}, /* it has a key */
		{"alias", "id= v=1"}, /* would get one */
		{"flat", "k= v=1"},   /* has to have one */
		{"strict", "v=text"}, /* the database does not take it */
		{"strict", "v=5"},    /* nor that: it would be another row */
		{"checked", "v=100"},
	};
	struct world *w = *state;
	struct sr_store *st = store(w, "a.db", false);
	struct sr_leaves *l;

	other(w, "a.db",
	      "CREATE TABLE keyed(k TEXT PRIMARY KEY, v); CREATE TABLE alias(id INTEGER PRIMARY KEY, v);"
	      "CREATE TABLE flat(k TEXT PRIMARY KEY, v) WITHOUT ROWID; CREATE TABLE strict(v REAL) STRICT;"
	      "CREATE TABLE checked(v INT CHECK(v < 100)); INSERT INTO checked VALUES(1),(2)");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		l = sr_leaves_new(NULL);
		add(w, l, cases[i].table, cases[i].row, 0, 1);
		refuses(w, st, l);
	}
	/* A key where there is none, even one of no values, which would be all rows. */
	l = sr_leaves_new(NULL);
	add_keyed(w, l, "checked", (struct sr_value[]){integer(1)}, 1, "v=1", NULL);
	refuses(w, st, l);
	l = sr_leaves_new(NULL);
	add_keyed(w, l, "checked", NULL, 0, "v=1", NULL);
	refuses(w, st, l);
	l = sr_leaves_new(NULL);
	add_keyed(w, l, "checked", (struct sr_value[]){integer(5)}, 1, NULL, "v=5");
	refuses(w, st, l);
	expect(w, "a.db",
	       "SELECT (SELECT count(*) FROM keyed) + (SELECT count(*) FROM alias) + (SELECT count(*) FROM flat) + "
	       "(SELECT count(*) FROM strict) + (SELECT sum(v) FROM checked)",
	       "3");
	sr_store_close(st);
}

/* Each leaf is but a few bytes, whatever it stands for. */
static void test_many_equals(void **state)
{
	static const struct {
		uint64_t rows, bytes; /* at most; 0: any number */
		uint64_t a, b;        /* of each of two rows, of which there are two and none */
		enum sr_status rc;
	} cases[] = {
		{0, 0, 2002, 1, SR_OK},
		{100, 0, 102, 1, SR_E_LIMIT},
		{100, 0, 101, 1, SR_OK},
		{100, 0, 1, 101, SR_E_LIMIT}, /* those that go do not count against those that come */
		{0, 1000, 2, 1000, SR_E_LIMIT},
		{0, 1000, 2, 10, SR_OK},
		{100, 1000, 2, INT64_MAX, SR_E_LIMIT},
		{0, 0, INT64_MAX, INT64_MAX, SR_E_LIMIT},
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct seen s = {0};
		struct sr_apply_ops ops = {.ctx = &s,
					   .most_equals = {cases[i].rows, cases[i].bytes},
					   .clash = on_clash,
					   .displaced = on_displaced,
					   .applied = on_applied};
		struct sr_leaves *l = sr_leaves_new(NULL);
		struct sr_marker m = marker_new();
		char *name = sr_format("%zu.db", i);
		struct sr_store *st = store(w, name, false);
		enum sr_status rc;

		other(w, name, "CREATE TABLE log(v); INSERT INTO log VALUES(1),(1)");
		add(w, l, "log", "v=1", 2, cases[i].a);
		add(w, l, "log", "v=2", 0, cases[i].b);
		ok(sr_leaves_sort(l, &w->err));
		rc = sr_apply_prepare(st, l, &m, &ops, &w->err);
		if (rc != cases[i].rc)
			fail_msg("case %zu: %s", i, rc == SR_OK ? "taken" : w->err.text);
		if (rc == SR_OK)
			ok(sr_apply_commit(st, &w->err));
		else if (!strstr(w->err.text, cases[i].rows ? "Max-Leaves, 100 rows" : cases[i].bytes ? "Max-Push-Bytes, 1000 bytes" : "equal rows"))
			fail_msg("case %zu: %s", i, w->err.text);
		expect(w, name, "SELECT count(*) > 2 FROM log", rc == SR_OK ? "1" : "0");
		sr_leaves_free(l);
		sr_store_close(st);
		free(name);
	}
}

/* --- others write between the index and the lock ------------------------------------------------------------------ */

static int64_t fake_now(void *ctx)
{
	(void)ctx;
	return 1700000000000;
}

/* Who waits for a lock looks at the clock. */
static int64_t let_go(void *ctx)
{
	if (!sqlite3_get_autocommit(ctx))
		assert_int_equal(sqlite3_exec(ctx, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
	return 0;
}

static void fake_random(void *ctx, void *out, size_t n)
{
	(void)ctx;
	memset(out, 7, n);
}

/* Apply one leaf while another connection has written `sql`, which it commits as soon as we wait for its lock: our index is older. */
static void apply_beside(struct world *w, struct sr_store *st, const char *sql, const char *row, uint64_t before, uint64_t after,
			 struct seen *s)
{
	struct sr_leaves *l = sr_leaves_new(NULL);
	struct sr_marker m = marker_new();
	char *path = path_of(w, "a.db");
	enum sr_status rc;
	sqlite3 *beside;

	add(w, l, "log", row, before, after);
	assert_int_equal(sqlite3_open(path, &beside), SQLITE_OK);
	sqlite3_db_config(beside, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	assert_int_equal(sqlite3_exec(beside, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(beside, sql, NULL, NULL, NULL), SQLITE_OK);
	sr_door_install(&(struct sr_door){.now_ms = fake_now, .ticks_ms = let_go, .random = fake_random, .ctx = beside});
	rc = try_apply(w, st, l, &m, s);
	sr_door_install(NULL);
	assert_true(sqlite3_get_autocommit(beside)); /* it was waited for */
	sqlite3_close(beside);
	if (rc != SR_OK)
		fail_msg("%s", w->err.text);
	sr_leaves_free(l);
	free(path);
}

static void test_beside(void **state)
{
	struct world *w = *state;

	for (int wal = 0; wal < 2; wal++) {
		struct sr_store *st = store(w, "a.db", false);
		struct seen s = {.clash_verdict = SR_TAKE};

		other(w, "a.db", wal ? "PRAGMA journal_mode=WAL" : "PRAGMA journal_mode=DELETE");
		/* One more of them: it stays, and is not counted. */
		other(w, "a.db", "DROP TABLE IF EXISTS log;" LOG);
		apply_beside(w, st, "INSERT INTO log VALUES(1,'x')", "a=1 b=x", 3, 2, &s);
		assert_int_equal(s.clashes, 0);
		expect(w, "a.db", "SELECT group_concat(rowid) FROM log WHERE a = 1", "1,2,6");
		/* Its last rows are others now. */
		apply_beside(w, st, "UPDATE log SET b = 'new' WHERE rowid = 6; DELETE FROM log WHERE rowid = 2", "a=1 b=x", 3, 2, &s);
		assert_int_equal(s.clashes, 1);
		assert_int_equal(s.actual, 1);
		expect(w, "a.db", "SELECT group_concat(rowid || b) FROM log WHERE a = 1", "6new");
		/* Nothing of it is left, and the place is taken by another. */
		apply_beside(w, st, "UPDATE log SET a = 5", "a=1 b=new", 1, 0, &s);
		assert_int_equal(s.clashes, 2);
		assert_int_equal(s.actual, 0);
		expect(w, "a.db", "SELECT group_concat(a || ifnull(b, '')) FROM log", "5y,5,5new");
		/* Another write does not matter. */
		apply_beside(w, st, "CREATE TABLE IF NOT EXISTS aside(x); INSERT INTO aside VALUES(1)", "a=5 b=new", 1, 3, &s);
		assert_int_equal(s.clashes, 2);
		expect(w, "a.db", "SELECT count(*) FROM log WHERE b = 'new'", "3");
		/* A table that has become another is looked through again. */
		apply_beside(w, st, "ALTER TABLE log ADD COLUMN c DEFAULT 7", "a=5 b=new c=7", 3, 1, &s);
		assert_int_equal(s.clashes, 2);
		expect(w, "a.db", "SELECT count(*) FROM log WHERE b = 'new'", "1");
		sound(w, "a.db");
		sr_store_close(st);
	}
}

/* The same row came in here and there; only one of it can be. */
static void test_unique_beside(void **state)
{
	struct world *w = *state;

	for (int take = 0; take < 2; take++) {
		struct sr_store *st = store(w, "a.db", false);
		struct seen s = {.clash_verdict = SR_TAKE, .way_verdict = take ? SR_TAKE : SR_KEEP};

		other(w, "a.db", "PRAGMA journal_mode=WAL; DROP TABLE IF EXISTS log; CREATE TABLE log(a UNIQUE, b)");
		apply_beside(w, st, "INSERT INTO log VALUES(1,'x')", "a=1 b=x", 0, 1, &s);
		assert_int_equal(s.in_the_way, 1);
		assert_true(s.itself);
		assert_int_equal(s.applied, take);
		expect(w, "a.db", ROWS, "1|1|x");
		sr_store_close(st);
	}
}

/* --- many --------------------------------------------------------------------------------------------------------- */

struct gather {
	struct world *w;
	struct sr_view *v;
	struct sr_leaves *l;
	bool away;
};

static enum sr_status gather_one(void *ctx, struct sr_bytes path, const struct sr_version *a, const struct sr_version *b)
{
	struct gather *g = ctx;
	struct world *w = g->w;
	struct sr_leaf leaf = {.path = path, .expect = g->away ? *b : *a, .to = g->away ? *a : *b};
	struct sr_content c;

	if (b->kind != SR_KIND_ROW)
		return SR_OK;
	ok(sr_view_read(g->v, path, &c, &w->err));
	assert_true(sr_version_eq(&c.version, b));
	if (!g->away)
		leaf.record = c.record;
	return sr_leaves_add(g->l, &leaf, &w->err);
}

/* Each row of `st`, to a place that has none of them, or away from one that has all. */
static struct sr_leaves *everything(struct world *w, struct sr_store *st, bool away)
{
	struct gather g = {.w = w, .l = sr_leaves_new(w->dir), .away = away};
	struct sr_hash map = whole_map_of(w, st), nothing = {0};

	ok(sr_view_open(&g.v, st, SR_VIEW_EXTRA, &w->err));
	ok(sr_store_diff(w->nodes, SR_KIND_DATABASE, &nothing, &map, gather_one, &g, &w->err));
	sr_view_close(g.v);
	return g.l;
}

#define MANY "CREATE TABLE same(a, b); CREATE TABLE each(a, b); CREATE TABLE nulls(k TEXT PRIMARY KEY, v);"

static void test_many(void **state)
{
	struct world *w = *state;
	struct sr_store *a = store(w, "a.db", false), *b = store(w, "b.db", false);
	struct seen s = {.clash_verdict = SR_KEEP};
	struct sr_hash x, y;

	other(w, "a.db",
	      "PRAGMA journal_mode=WAL;" MANY "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) INSERT "
					      "INTO each SELECT i, 'row' || i FROM n;"
	      "INSERT INTO same SELECT 1, 'same' FROM each; INSERT INTO nulls SELECT CASE WHEN a % 2 THEN 'k' || a END, a % 10 FROM each;");
	other(w, "b.db", "PRAGMA journal_mode=WAL;" MANY);
	there_are(w, a, "same", "a=1 b=same", 100000);
	there_are(w, a, "each", "a=77 b=row77", 1);
	there_are(w, a, "nulls", "k= v=4", 10000);
	apply(w, b, everything(w, a, false), &s);
	assert_int_equal(s.clashes, 0);
	assert_int_equal(s.applied, 100000 + 1 + 50000 + 5);
	x = whole_map_of(w, a);
	y = whole_map_of(w, b);
	assert_true(sr_hash_eq(&x, &y));
	expect(w, "b.db", "SELECT count(*), count(k) FROM nulls", "100000|50000");
	apply(w, b, everything(w, a, true), &s);
	assert_int_equal(s.clashes, 0);
	expect(w, "b.db", "SELECT (SELECT count(*) FROM same), (SELECT count(*) FROM each), (SELECT count(*) FROM nulls)", "0|0|0");
	sr_store_close(a);
	sr_store_close(b);
}

/* --- after a crash ------------------------------------------------------------------------------------------------ */

/* A child that dies between prepare and commit, or after it: the marker alone tells, and what was left out is not taken for applied. */
static void test_crash(void **state)
{
	struct world *w = *state;

	other(w, "a.db", "PRAGMA journal_mode=WAL;" LOG);
	for (int commit = 0; commit < 2; commit++) {
		struct sr_store *st;
		struct sr_leaves *l = sr_leaves_new(NULL);
		struct sr_marker m = marker_new();
		struct seen s = {.clash_verdict = SR_KEEP};
		struct sr_apply_ops ops = {.ctx = &s, .clash = on_clash, .displaced = on_displaced, .applied = on_applied};
		int status;
		pid_t pid;

		add(w, l, "log", "a=1 b=x", 3, 5);
		add(w, l, "log", "a=2 b=y", 1, 0);
		add(w, l, "log", "a=3 b=", 2, 7); /* there is one: left out */
		ok(sr_leaves_sort(l, &w->err));
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
		assert_int_equal(s.applied, commit ? 2 : 0);
		there_are(w, st, "log", "a=1 b=x", commit ? 5 : 3);
		there_are(w, st, "log", "a=2 b=y", commit ? 0 : 1);
		there_are(w, st, "log", "a=3 b=", 1);
		sound(w, "a.db");
		sr_leaves_free(l);
		sr_store_close(st);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_counts),        TEST(test_out_of_reach),  TEST(test_difference),     TEST(test_clash),
		TEST(test_null_in_key),   TEST(test_unique_within), TEST(test_unique_outside), TEST(test_unique_of_both_sorts),
		TEST(test_unique_itself), TEST(test_orphans),       TEST(test_parentless),     TEST(test_dangling),
		TEST(test_refused),       TEST(test_many_equals),   TEST(test_beside),        TEST(test_unique_beside),  TEST(test_many),
		TEST(test_crash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
