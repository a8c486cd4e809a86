/* test_fts.c - full-text indexes follow what an apply writes, whatever way the application feeds them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/sqlite_carry.h"

#define NOTES                                                                                                                   \
	"CREATE TABLE notes(id INTEGER PRIMARY KEY, title TEXT, body TEXT, slot INT UNIQUE, public INT DEFAULT 1);"             \
	"CREATE TABLE log(id INTEGER PRIMARY KEY, what TEXT);"

/* Own content, external content, FTS4 with either, and one for public notes only; each with its triggers. */
#define OWN                                                                                                                     \
	"CREATE VIRTUAL TABLE own USING fts5(title, body);"                                                                     \
	"CREATE TRIGGER own_in AFTER INSERT ON notes BEGIN INSERT INTO own(rowid, title, body) VALUES(new.id, new.title, new.body); END;" \
	"CREATE TRIGGER own_out AFTER DELETE ON notes BEGIN DELETE FROM own WHERE rowid = old.id; END;"                         \
	"CREATE TRIGGER own_up AFTER UPDATE OF title, body ON notes BEGIN REPLACE INTO own(rowid, title, body) VALUES(new.id, new.title, new.body); END;"
#define EXTERNAL                                                                                                                \
	"CREATE VIRTUAL TABLE \"ex t\" USING fts5(title, body, content='notes', content_rowid=id);"                             \
	"CREATE TRIGGER \"ex in\" AFTER INSERT ON main.notes BEGIN INSERT INTO \"ex t\"(rowid, title, body) VALUES(new.id, new.title, new.body); END;" \
	"CREATE TRIGGER ex_out AFTER DELETE ON notes BEGIN\n"                                                                   \
	"  -- the old values have to be given; this is no END;\n"                                                               \
	"  INSERT INTO [ex t]([ex t], rowid, title, body) VALUES('delete', old.id, old.title, old.body); END;"                  \
	"CREATE TRIGGER ex_up AFTER UPDATE ON notes FOR EACH ROW BEGIN "                                                        \
	"  INSERT INTO `ex t`(`ex t`, rowid, title, body) VALUES('delete', old.id, old.title, old.body);"                       \
	"  INSERT INTO 'ex t'(rowid, title, body) VALUES(new.id, new.title, new.body); END;"
#define FOUR                                                                                                                    \
	"CREATE VIRTUAL TABLE four USING fts4(content=\"notes\", title, body);"                                                 \
	"CREATE TRIGGER four_1 BEFORE UPDATE ON notes BEGIN DELETE FROM four WHERE docid = old.rowid; END;"                     \
	"CREATE TRIGGER four_2 BEFORE DELETE ON notes BEGIN DELETE FROM four WHERE docid = old.rowid; END;"                     \
	"CREATE TRIGGER four_3 AFTER UPDATE ON notes BEGIN INSERT INTO four(docid, title, body) VALUES(new.rowid, new.title, new.body); END;" \
	"CREATE TRIGGER four_4 AFTER INSERT ON notes BEGIN INSERT INTO four(docid, title, body) VALUES(new.rowid, new.title, new.body); END;" \
	"CREATE VIRTUAL TABLE three USING fts3(body);"                                                                          \
	"CREATE TRIGGER three_1 AFTER INSERT ON notes BEGIN INSERT INTO three(docid, body) VALUES(new.id, new.body); END;"      \
	"CREATE TRIGGER three_2 AFTER DELETE ON notes BEGIN DELETE FROM three WHERE docid = old.id; END;"                       \
	"CREATE TRIGGER three_3 AFTER UPDATE ON notes BEGIN UPDATE three SET body = new.body WHERE docid = new.id; END;"
#define SOME                                                                                                                    \
	"CREATE VIRTUAL TABLE some USING fts5(title);"                                                                          \
	"CREATE TRIGGER some_1 AFTER INSERT ON notes WHEN new.public BEGIN INSERT INTO some(rowid, title) VALUES(new.id, lower(new.title)); END;" \
	"CREATE TRIGGER some_2 AFTER DELETE ON notes WHEN old.public BEGIN DELETE FROM some WHERE rowid = old.id; END;"         \
	"CREATE TRIGGER some_3 AFTER UPDATE ON notes BEGIN DELETE FROM some WHERE rowid = old.id; "                             \
	"  INSERT INTO some(rowid, title) SELECT new.id, lower(new.title) WHERE new.public; END;"
#define ALL NOTES OWN EXTERNAL FOUR SOME

/* What an index that is made anew holds, beside what this one does. */
#define INSTANCES(name, index) \
	"CREATE VIRTUAL TABLE temp." name " USING fts5vocab(main, " index ", instance);"
#define FRESH                                                                                                                   \
	"CREATE VIRTUAL TABLE temp.fresh USING fts5(title, body);"                                                              \
	"INSERT INTO fresh(rowid, title, body) SELECT id, title, body FROM main.notes;"                                         \
	"CREATE VIRTUAL TABLE temp.freshly USING fts5vocab(temp, fresh, instance);"                                             \
	"CREATE VIRTUAL TABLE temp.fresh_some USING fts5(title);"                                                               \
	"INSERT INTO fresh_some(rowid, title) SELECT id, title FROM main.notes WHERE public;"                                   \
	"CREATE VIRTUAL TABLE temp.freshly_some USING fts5vocab(temp, fresh_some, instance);"                                   \
	"CREATE VIRTUAL TABLE temp.fresh_four USING fts4(title, body);"                                                         \
	"INSERT INTO fresh_four(docid, title, body) SELECT id, title, body FROM main.notes;"                                    \
	"CREATE VIRTUAL TABLE temp.freshly_four USING fts4aux(temp, fresh_four);"                                               \
	"CREATE VIRTUAL TABLE temp.fresh_three USING fts4(body);"                                                               \
	"INSERT INTO fresh_three(docid, body) SELECT id, body FROM main.notes;"                                                 \
	"CREATE VIRTUAL TABLE temp.freshly_three USING fts4aux(temp, fresh_three);"
#define DIFFER(a, b)                                                                                                            \
	"SELECT (SELECT count(*) FROM (SELECT * FROM temp." a " EXCEPT SELECT * FROM temp." b "))"                              \
	" + (SELECT count(*) FROM (SELECT * FROM temp." b " EXCEPT SELECT * FROM temp." a "))"

struct index {
	const char *name; /* quoted */
	const char *make; /* what it holds, as a table in temp */
	const char *differ;
};
static const struct index own = {"own", INSTANCES("own_is", "own"), DIFFER("own_is", "freshly")};
static const struct index external = {"\"ex t\"", INSTANCES("ex_is", "'ex t'"), DIFFER("ex_is", "freshly")};
static const struct index some = {"some", INSTANCES("some_is", "some"), DIFFER("some_is", "freshly_some")};
static const struct index four = {"four", "CREATE VIRTUAL TABLE temp.four_is USING fts4aux(main, four);", DIFFER("four_is", "freshly_four")};
static const struct index three = {"three", "CREATE VIRTUAL TABLE temp.three_is USING fts4aux(main, three);",
				   DIFFER("three_is", "freshly_three")};
static const struct index *const all[] = {&own, &external, &some, &four, &three, NULL};

static void run(sqlite3 *db, const char *sql)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
}

/* Each index is sound by its own check, and holds what one would that is made anew. */
static void indexes_sound(struct world *w, const char *name, const struct index *const *indexes)
{
	char *path = path_of(w, name);
	sqlite3 *db;
	sqlite3_stmt *stmt;

	assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
	run(db, FRESH);
	for (; *indexes; indexes++) {
		char *check = sr_format("INSERT INTO main.%s(%s) VALUES('integrity-check')", (*indexes)->name, (*indexes)->name);

		run(db, check);
		run(db, (*indexes)->make);
		assert_int_equal(sqlite3_prepare_v2(db, (*indexes)->differ, -1, &stmt, NULL), SQLITE_OK);
		assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
		if (sqlite3_column_int(stmt, 0))
			fail_msg("%s: %s is not what it would be, made anew", name, (*indexes)->name);
		sqlite3_finalize(stmt);
		free(check);
	}
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	free(path);
}

#define FILLED                                                                                                                  \
	"INSERT INTO notes(id, title, body, slot, public) VALUES(1,'Red fish','one two',1,1),(2,'Blue fish','two three',2,0),"  \
	"(3,'Old boat','three four fish',3,1),(4,NULL,'four',4,1);"

/* --- following --------------------------------------------------------------------------------------------------- */

/* Rows inserted, updated and deleted at a.db are found in b.db, or no longer. */
static void test_follows(void **state)
{
	struct world *w = *state;
	struct sr_store *a = store(w, "a.db", false), *b = store(w, "b.db", false);

	other(w, "a.db", ALL FILLED);
	other(w, "b.db", ALL);
	carry(w, a, b, false);
	same(w, a, b);
	indexes_sound(w, "b.db", all);
	expect(w, "b.db", "SELECT rowid FROM own WHERE own MATCH 'fish' ORDER BY 1", "1 2 3");
	expect(w, "b.db", "SELECT rowid FROM some WHERE some MATCH 'fish' ORDER BY 1", "1");
	other(w, "a.db",
	      "UPDATE notes SET body = 'five' WHERE id = 1; UPDATE notes SET public = 1 WHERE id = 2; DELETE FROM notes WHERE id = 3;"
	      "INSERT INTO notes VALUES(9,'Nine','fish',9,1); UPDATE notes SET id = 5 WHERE id = 4");
	carry(w, a, b, false);
	same(w, a, b);
	indexes_sound(w, "b.db", all);
	expect(w, "b.db", "SELECT rowid FROM \"ex t\" WHERE \"ex t\" MATCH 'fish' ORDER BY 1", "1 2 9");
	expect(w, "b.db", "SELECT name FROM sqlite_temp_master", "");
	sr_store_close(a);
	sr_store_close(b);
}

/* UNIQUE values that rows exchange: rows are probed for what is in their way, and deleted and inserted. */
static void test_swap(void **state)
{
	struct world *w = *state;
	struct sr_store *a = store(w, "a.db", false), *b = store(w, "b.db", false);

	other(w, "a.db", ALL FILLED);
	other(w, "b.db", ALL);
	carry(w, a, b, false);
	for (int round = 0; round < 3; round++) {
		other(w, "a.db",
		      "UPDATE notes SET slot = -slot;"
		      "UPDATE notes SET slot = -slot + CASE WHEN slot % 2 THEN 1 ELSE -1 END, title = title || ' swapped';"
		      "INSERT INTO notes VALUES(NULL,'more','and more',(SELECT 100 * count(*) FROM notes),1)");
		carry(w, a, b, false);
		same(w, a, b);
		indexes_sound(w, "b.db", all);
	}
	sr_store_close(a);
	sr_store_close(b);
}

/* A row that is not part of the apply is in the way, and goes or stays. */
static void test_evicted(void **state)
{
	struct world *w = *state;
	struct sr_store *a = store(w, "a.db", false), *b = store(w, "b.db", false);
	struct sr_leaves *l;

	other(w, "a.db", ALL FILLED);
	other(w, "b.db", ALL);
	carry(w, a, b, false);
	other(w, "a.db", "INSERT INTO notes VALUES(20,'wants','slot',7,1)");
	l = differences(w, a, b, false);
	other(w, "b.db", "INSERT INTO notes VALUES(30,'has','slot',7,1)");
	w->in_the_way = SR_KEEP;
	ok(apply(w, b, l));
	expect(w, "b.db", "SELECT rowid FROM own WHERE own MATCH 'slot'", "30");
	indexes_sound(w, "b.db", all);
	w->in_the_way = SR_TAKE;
	ok(apply(w, b, l));
	assert_int_equal(w->displaced, 1);
	expect(w, "b.db", "SELECT rowid FROM own WHERE own MATCH 'slot'", "20");
	indexes_sound(w, "b.db", all);
	sr_leaves_free(l);
	sr_store_close(a);
	sr_store_close(b);
}

/* Nothing is left of an apply that is rolled back, the copies of triggers included. */
static void test_rolled_back(void **state)
{
	struct world *w = *state;
	struct sr_store *a = store(w, "a.db", false), *b = store(w, "b.db", false);

	other(w, "a.db", ALL FILLED);
	other(w, "b.db", ALL);
	carry(w, a, b, false);
	for (int round = 0; round < 3; round++) {
		other(w, "a.db", "UPDATE notes SET slot = -slot, body = body || ' again'; INSERT INTO notes(title) VALUES('new')");
		w->rolls_back = true;
		carry(w, a, b, false);
		indexes_sound(w, "b.db", all);
		expect(w, "b.db", "SELECT count(*) FROM own WHERE own MATCH 'new'", round == 0 ? "0" : round == 1 ? "1" : "2");
		w->rolls_back = false;
		carry(w, a, b, false);
		same(w, a, b);
		indexes_sound(w, "b.db", all);
	}
	sr_store_close(a);
	sr_store_close(b);
}

/* Triggers, indexes and all come along where there is no database yet; the application's next row is found. */
static void test_absent(void **state)
{
	struct world *w = *state;

	for (int ours = 0; ours < 2; ours++) {
		const char *name = ours ? "ours.db" : "b.db";
		struct sr_store *a = store(w, "a.db", false), *b = store(w, name, ours);

		if (!ours)
			other(w, "a.db", ALL FILLED);
		carry(w, a, b, true);
		same(w, a, b);
		indexes_sound(w, name, all);
		other(w, name, "INSERT INTO notes(title, slot) VALUES('written',(SELECT 1 + max(slot) FROM notes)); DELETE FROM notes WHERE id = 2;");
		indexes_sound(w, name, all);
		expect(w, name, "SELECT count(*) FROM own WHERE own MATCH 'written'", ours ? "2" : "1");
		carry(w, b, a, false);
		indexes_sound(w, "a.db", all);
		sr_store_close(a);
		sr_store_close(b);
	}
}

/* An index that cannot be filled stands empty, and is no reason to be without the database, or the other index. */
static void test_unfillable(void **state)
{
	struct world *w = *state;
	struct sr_store *a = store(w, "a.db", false), *b = store(w, "b.db", false);

	other(w, "a.db",
	      "CREATE TABLE notes(id INTEGER PRIMARY KEY, title TEXT, body TEXT, slot INT UNIQUE, public INT DEFAULT 1);" EXTERNAL
	      "CREATE TABLE plain(rowid TEXT PRIMARY KEY, words) WITHOUT ROWID;" FILLED "INSERT INTO plain VALUES('x','words');"
	      "CREATE VIRTUAL TABLE one USING fts5(title); CREATE VIRTUAL TABLE texts USING fts5(rowids, words);"
	      "CREATE TRIGGER one_in AFTER INSERT ON notes BEGIN INSERT INTO one(rowid, title) VALUES(7, new.title); END;"
	      "CREATE TRIGGER texts_in AFTER INSERT ON plain BEGIN INSERT INTO texts VALUES(new.rowid, new.words); END;");
	carry(w, a, b, true);
	same(w, a, b);
	indexes_sound(w, "b.db", (const struct index *const[]){&external, NULL});
	expect(w, "b.db", "SELECT (SELECT count(*) FROM one), (SELECT group_concat(rowids) FROM texts WHERE texts MATCH 'words')", "0|x");
	expect(w, "b.db", "SELECT count(*) FROM sqlite_master WHERE name LIKE '%feed%'", "0");
	sr_store_close(a);
	sr_store_close(b);
}

/* Many random edits in many applies. */
static void test_random(void **state)
{
	struct world *w = *state;
	struct sr_store *a = store(w, "a.db", false), *b = store(w, "b.db", false);
	unsigned seed = 42;

	other(w, "a.db", "PRAGMA journal_mode=WAL;" ALL FILLED);
	carry(w, a, b, true);
	for (int round = 0; round < 25; round++) {
		struct sr_buf sql = {0};

		for (int k = 0; k < 12; k++) {
			seed = seed * 1103515245 + 12345;
			unsigned id = seed >> 16 & 31, what = seed >> 8 & 7;

			sr_buf_printf(&sql,
				      what < 3   ? "INSERT INTO notes SELECT id, 'note ' || %u, 'some words', slot, id %% 2 FROM (SELECT %u AS id, %u AS slot) AS n"
					   "  WHERE NOT EXISTS(SELECT 1 FROM notes WHERE id = n.id OR slot = n.slot);"
				      : what < 5 ? "UPDATE notes SET body = body || ' w%u', public = %u %% 2 WHERE id >= %u;"
				      : what < 7 ? "DELETE FROM notes WHERE id %% 7 = %u %% 7;"
						 : "UPDATE notes SET slot = NULL; UPDATE notes SET slot = (id + %u) %% 40;",
				      id, id, (id * 7 + 3 + (unsigned)round) % 40);
		}
		other(w, "a.db", sr_buf_text(&sql));
		carry(w, a, b, false);
		same(w, a, b);
		sr_buf_free(&sql);
	}
	indexes_sound(w, "a.db", all);
	indexes_sound(w, "b.db", all);
	sr_store_close(a);
	sr_store_close(b);
}

/* --- without triggers ------------------------------------------------------------------------------------------------ */

static void test_no_triggers(void **state)
{
	static const char schema[] =
		NOTES "CREATE VIRTUAL TABLE \"ex t\" USING fts5(title, body, content = \"Notes\", content_rowid = 'id', tokenize = 'porter');"
		      "CREATE TABLE plain(name TEXT PRIMARY KEY, words TEXT);"
		      "CREATE VIRTUAL TABLE by_rowid USING fts5(words, content=plain);"
		      "CREATE VIRTUAL TABLE nobodys USING fts5(title, content=''); CREATE VIRTUAL TABLE its_own USING fts5(title);"
		      "CREATE TABLE flat(k TEXT PRIMARY KEY, words TEXT) WITHOUT ROWID;"
		      "CREATE VIRTUAL TABLE of_flat USING fts5(words, content=flat);"
		      "CREATE VIRTUAL TABLE of_none USING fts5(nothing, content=notes);";
	struct world *w = *state;
	struct sr_store *a = store(w, "a.db", false), *b = store(w, "b.db", false);

	other(w, "a.db", schema);
	other(w, "b.db", schema);
	other(w, "a.db", FILLED "INSERT INTO plain VALUES('b','bee sting'),('a','ant hill'); INSERT INTO flat VALUES('x','flat words')");
	carry(w, a, b, false);
	same(w, a, b);
	indexes_sound(w, "b.db", (const struct index *const[]){NULL});
	expect(w, "b.db", "SELECT rowid FROM \"ex t\" WHERE \"ex t\" MATCH 'fishes' ORDER BY 1", "1 2 3");
	expect(w, "b.db", "SELECT name FROM plain WHERE rowid IN (SELECT rowid FROM by_rowid WHERE by_rowid MATCH 'sting')", "b");
	other(w, "a.db", "UPDATE notes SET title = 'Bird' WHERE id = 1; DELETE FROM notes WHERE id = 2; UPDATE plain SET words = 'wasp'");
	carry(w, a, b, false);
	expect(w, "b.db", "SELECT rowid FROM \"ex t\" WHERE \"ex t\" MATCH 'fish' ORDER BY 1", "3");
	expect(w, "b.db", "SELECT rowid FROM \"ex t\" WHERE \"ex t\" MATCH 'bird' ORDER BY 1", "1");
	expect(w, "b.db", "SELECT count(*) FROM by_rowid WHERE by_rowid MATCH 'wasp'", "2");
	expect(w, "b.db", "SELECT count(*) FROM by_rowid WHERE by_rowid MATCH 'sting'", "0");
	other(w, "b.db", "INSERT INTO \"ex t\"(\"ex t\") VALUES('integrity-check'); INSERT INTO by_rowid(by_rowid) VALUES('integrity-check')");
	sr_store_close(a);
	sr_store_close(b);
}

/* --- what a copy does not do ----------------------------------------------------------------------------------------- */

#define GUARDED(body) NOTES "CREATE VIRTUAL TABLE own USING fts5(title, body); CREATE VIEW seen AS SELECT id, title FROM notes;" body

/* Of what a trigger does, only what feeds an index is done again. */
static void test_only_indexes(void **state)
{
	static const struct {
		const char *trigger, *found, *logged;
	} cases[] = {
		{"AFTER INSERT ON notes BEGIN INSERT INTO own(rowid, title) VALUES(new.id, new.title); INSERT INTO log(what) VALUES('x'); END",
		 "1", "0"},
		{"AFTER INSERT ON notes BEGIN INSERT INTO log(what) VALUES('own'); END", "0", "0"},
		{"AFTER INSERT ON notes BEGIN INSERT INTO own(rowid, title) SELECT id, title FROM seen WHERE id = new.id; END", "1", "0"},
		{"AFTER INSERT ON notes BEGIN INSERT INTO own(rowid, title) VALUES(new.id, iif(new.id < 0, RAISE(ABORT, 'no'), new.title)); END",
		 "0", "0"},
		{"AFTER INSERT ON notes BEGIN INSERT INTO own(rowid, title) VALUES(new.id, new.title); SELECT RAISE(ABORT, 'no'); END", "1", "0"},
		{"AFTER INSERT ON notes BEGIN INSERT INTO own(rowid, title) VALUES(new.id, fts3_tokenizer('simple')); END", "0", "0"},
		{"AFTER INSERT ON notes BEGIN INSERT INTO own(rowid, title) VALUES(new.id, load_extension('x')); END", "0", "0"},
		{"AFTER INSERT ON notes BEGIN INSERT INTO own(rowid, title) SELECT new.id, 'fish' FROM pragma_database_list; END", "0", "0"},
		{"AFTER INSERT ON notes BEGIN INSERT INTO own(rowid, title) SELECT new.id, 'fish' FROM sqlite_master LIMIT 1; END", "0", "0"},
		{"AFTER INSERT ON notes BEGIN INSERT INTO own(rowid, title) SELECT new.id, value FROM json_each(json_array('fish')); END", "1",
		 "0"},
		{"AFTER INSERT ON notes BEGIN INSERT INTO own(rowid, title) VALUES(new.id, absent(new.title)); END", "0", "0"},
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct sr_store *a, *b;
		char *to = sr_format("b%zu.db", i), *want = sr_format("%s|%s", cases[i].found, cases[i].logged), *sql;

		sql = sr_format(GUARDED("CREATE TRIGGER one %s;"), cases[i].trigger);
		other(w, to, sql);
		free(sql);
		if (i == 0)
			other(w, "a.db", NOTES "INSERT INTO notes VALUES(1,'Red fish','',1,1)");
		a = store(w, "a.db", false);
		b = store(w, to, false);
		carry(w, a, b, false);
		same(w, a, b);
		expect(w, to, "SELECT (SELECT count(*) FROM own WHERE own MATCH 'fish'), (SELECT count(*) FROM log)", want);
		free(want);
		free(to);
		sr_store_close(a);
		sr_store_close(b);
	}
}

/* An index that is out of step, or broken, holds up no row. */
static void test_out_of_step(void **state)
{
	static const char schema[] =
		NOTES OWN EXTERNAL
		"CREATE VIRTUAL TABLE places USING rtree(id, low, high);"
		"CREATE TRIGGER place AFTER INSERT ON notes BEGIN INSERT INTO places VALUES(new.id, new.slot, new.slot + 1); END;";
	struct world *w = *state;
	struct sr_store *a = store(w, "a.db", false), *b = store(w, "b.db", false);

	other(w, "a.db", schema);
	other(w, "b.db", schema);
	/* rows that their tables do not have, under rowids that will come */
	other(w, "b.db",
	      "INSERT INTO own(rowid, title) VALUES(1,'stray'),(2,'stray'); INSERT INTO places VALUES(4, 0, 1);"
	      "INSERT INTO \"ex t\"(rowid, title) VALUES(3,'stray')");
	other(w, "a.db", FILLED);
	carry(w, a, b, false);
	same(w, a, b);
	expect(w, "b.db", "SELECT group_concat(rowid) FROM own WHERE own MATCH 'boat OR four'", "3,4");
	expect(w, "b.db", "SELECT group_concat(rowid) FROM own WHERE own MATCH 'stray'", "1,2");
	expect(w, "b.db", "SELECT group_concat(id) FROM places", "4,1,2,3");
	/* one of its tables is gone */
	other(w, "b.db", "PRAGMA writable_schema=1; DELETE FROM sqlite_master WHERE name = 'own_docsize'");
	other(w, "a.db", "UPDATE notes SET title = title || ' more', slot = slot + 4; UPDATE notes SET slot = 9 - slot");
	carry(w, a, b, false);
	same(w, a, b);
	sr_store_close(a);
	sr_store_close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_follows),
		TEST(test_swap),
		TEST(test_evicted),
		TEST(test_rolled_back),
		TEST(test_absent),
		TEST(test_unfillable),
		TEST(test_random),
		TEST(test_no_triggers),
		TEST(test_only_indexes),
		TEST(test_out_of_step),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
