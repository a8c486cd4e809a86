/* test_capture.c - Change-Capture=triggers: a scan by the log sees what a scan of everything sees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/stat.h>

#include "tests/unit/sqlite_world.h"

#define DB   "a.db"
#define HOUR 3600000

static struct sr_store *captured(struct world *w)
{
	struct sr_store *st = store(w, DB, false);

	sr_store_capture(st, SR_CAPTURE_TRIGGERS, HOUR);
	return st;
}

static struct sr_capture_report report(struct sr_store *st)
{
	struct sr_capture_report r;

	sr_store_capture_report(st, &r);
	return r;
}

/* As the daemon does: the map is taken over, its nodes are kept. */
static void see(struct world *w, struct sr_store *st, struct sr_hash *map, uint64_t *rows)
{
	struct sr_scan s = scan(w, st, map);

	sr_nodes_hold(w->nodes, &s.map);
	sr_nodes_release(w->nodes, map);
	*map = s.map;
	if (rows)
		*rows = s.rows_read;
	sr_scan_free(&s);
	sr_store_taken(st);
}

/* What somebody sees who reads everything. */
static struct sr_hash everything(struct world *w)
{
	struct sr_store *st = store(w, DB, false);
	struct sr_hash map = map_of(w, st);

	sr_store_close(st);
	return map;
}

static void same_as_everything(struct world *w, const struct sr_hash *map, const char *after)
{
	struct sr_hash all = everything(w);

	if (!sr_hash_eq(map, &all))
		fail_msg("another map than that of a full scan, after:\n%s", after);
}

/* A scan after something that the application did: by the log or not, so many rows read. */
static void found(struct world *w, struct sr_store *st, struct sr_hash *map, const char *sql, bool by_log, int rows)
{
	uint64_t read, before = report(st).by_log;

	see(w, st, map, &read);
	same_as_everything(w, map, sql);
	if ((report(st).by_log > before) != by_log)
		fail_msg("%s the log: %s", by_log ? "not by" : "by", sql);
	if (rows >= 0 && read != (uint64_t)rows)
		fail_msg("%llu rows read instead of %d: %s", (unsigned long long)read, rows, sql);
}

/* One commit of the application, another process, and a scan. */
static void step(struct world *w, struct sr_store *st, struct sr_hash *map, const char *sql, bool by_log, int rows)
{
	other(w, DB, sql);
	found(w, st, map, sql, by_log, rows);
}

/* By a connection that fires no triggers, or, without sql, by SQLite's incremental I/O on t.v of row 1. */
static void past_the_triggers(struct world *w, const char *sql)
{
	char *path = path_of(w, DB);
	sqlite3 *db;
	sqlite3_blob *blob;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	if (sql) {
		sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
		assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	} else {
		assert_int_equal(sqlite3_blob_open(db, "main", "t", "v", 1, 1, &blob), SQLITE_OK);
		assert_int_equal(sqlite3_blob_write(blob, "abc", 3, 0), SQLITE_OK);
		sqlite3_blob_close(blob);
	}
	sqlite3_close(db);
	free(path);
}

#define MANY "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<1000) "

static void test_only_what_changed_is_read(void **state)
{
	struct world *w = *state;
	struct sr_store *st = captured(w);
	struct sr_hash map = {0};

	other(w, DB, "PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v);"
		     "CREATE TABLE k(k TEXT PRIMARY KEY COLLATE NOCASE, v); CREATE TABLE w(a, b, v, PRIMARY KEY(a, b)) WITHOUT ROWID; CREATE TABLE bag(v);"
		     "INSERT INTO t " MANY "SELECT i, 'u'||i, 0 FROM n; INSERT INTO k " MANY "SELECT 'k'||i, 0 FROM n;"
		     "INSERT INTO w " MANY "SELECT i, 'b', 0 FROM n; INSERT INTO bag VALUES(1), (1), (2);"
		     "CREATE TABLE any(k PRIMARY KEY, v) WITHOUT ROWID; INSERT INTO any VALUES(1, 0), (0.0, 0), (3, 0);");
	see(w, st, &map, NULL);
	same_as_everything(w, &map, "the beginning");
	assert_true(report(st).on);
	assert_int_equal(report(st).tables, 5);
	assert_int_equal(report(st).keyed, 4);
	step(w, st, &map, "UPDATE t SET v=1 WHERE id=500", true, 1);
	step(w, st, &map, "UPDATE t SET v=2 WHERE id=500; UPDATE t SET v=3 WHERE id=500; UPDATE t SET id=2000 WHERE id=7", true, 3);
	step(w, st, &map, "INSERT OR REPLACE INTO t VALUES(3000, 'u9', 1)", true, 2);
	step(w, st, &map, "INSERT OR REPLACE INTO t(u) VALUES('u10')", true, 2);
	step(w, st, &map, "UPDATE OR REPLACE t SET u='u11' WHERE id=12", true, 2);
	step(w, st, &map, "UPDATE OR REPLACE t SET id=13, u='u14' WHERE id=15", true, 3);
	step(w, st, &map, "INSERT INTO t VALUES(20, 'x', 9) ON CONFLICT(id) DO UPDATE SET v=excluded.v", true, 1);
	step(w, st, &map, "INSERT OR REPLACE INTO k VALUES('K5', 1)", true, 1);
	step(w, st, &map, "INSERT OR REPLACE INTO k(rowid, k, v) VALUES(6, 'new', 1)", true, 2);
	step(w, st, &map, "UPDATE OR REPLACE k SET rowid=8 WHERE k='k9'", true, 2);
	step(w, st, &map, "UPDATE w SET a=-1 WHERE a=4", true, 2);
	step(w, st, &map, "UPDATE any SET k=1.0 WHERE k=1", true, -1);
	step(w, st, &map, "INSERT OR REPLACE INTO any VALUES(3.0, 1)", true, -1);
	step(w, st, &map, "UPDATE any SET k=-0.0 WHERE k=0", true, -1);
	step(w, st, &map, "INSERT INTO bag VALUES(2)", true, 4);
	step(w, st, &map, "INSERT INTO k VALUES(NULL, 3)", true, -1);
	step(w, st, &map, "DELETE FROM k WHERE k IS NULL", true, -1);
	step(w, st, &map, "DELETE FROM w", true, 1000);
	step(w, st, &map, "BEGIN; UPDATE t SET v=99; SAVEPOINT a; DELETE FROM t; ROLLBACK TO a; ROLLBACK; UPDATE t SET v=4 WHERE id=30", true, 1);
	sr_store_close(st);
}

static void test_what_is_not_in_the_log_is_looked_for(void **state)
{
	struct world *w = *state;
	struct sr_store *st = captured(w);
	struct sr_hash map = {0};

	other(w, DB, "PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v); INSERT INTO t VALUES(1, 1, 1), (2, 2, 2), (3, 3, 3)");
	see(w, st, &map, NULL);
	step(w, st, &map, "UPDATE t SET v=9 WHERE id=1", true, 1);
	past_the_triggers(w, "UPDATE t SET v=10 WHERE id=2");
	found(w, st, &map, "an update that fired no trigger", false, 3);
	step(w, st, &map, "UPDATE t SET v=zeroblob(3) WHERE id=1", true, 1);
	past_the_triggers(w, NULL);
	found(w, st, &map, "sqlite3_blob_write", false, 3);
	step(w, st, &map, "DROP TRIGGER \"_sameroot_u_t\"; UPDATE t SET v=11 WHERE id=3", false, 3);
	step(w, st, &map, "UPDATE t SET v=12 WHERE id=3", true, 1);
	step(w, st, &map, "DELETE FROM _sameroot_log; UPDATE t SET v=13 WHERE id=3; UPDATE t SET v=13 WHERE id=2", false, 3);
	see(w, st, &map, NULL); /* and is made anew */
	step(w, st, &map, "UPDATE t SET v=14 WHERE id=1", false, 3);
	step(w, st, &map, "UPDATE t SET v=15 WHERE id=1", true, 1);
	step(w, st, &map, "ALTER TABLE t RENAME TO s; UPDATE s SET v=16 WHERE id=1", false, 3);
	step(w, st, &map, "UPDATE s SET v=17 WHERE id=1", true, 1);
	step(w, st, &map, "ALTER TABLE s ADD COLUMN c DEFAULT 5", false, 3);
	step(w, st, &map, "UPDATE s SET c=17 WHERE id=1", true, 1);
	step(w, st, &map, "CREATE TABLE n(id INTEGER PRIMARY KEY, v); INSERT INTO n SELECT id, v FROM s; DROP TABLE s; ALTER TABLE n RENAME TO s", false, 3);
	step(w, st, &map, "UPDATE s SET v=18 WHERE id=2", true, 1);
	step(w, st, &map, "VACUUM", false, 3);
	step(w, st, &map, "UPDATE s SET v=19 WHERE id=2", true, 1);
	step(w, st, &map, "CREATE UNIQUE INDEX i ON s(v)", false, 3);
	step(w, st, &map, "UPDATE OR REPLACE s SET v=19 WHERE id=3", true, 2);
	sr_store_close(st);
}

/* Tables of which a row in the way cannot be looked for are read whole. */
static void test_what_a_trigger_cannot_see_is_read_whole(void **state)
{
	struct world *w = *state;
	struct sr_store *st = captured(w);
	struct sr_hash map = {0};

	other(w, DB, "CREATE TABLE part(id INTEGER PRIMARY KEY, u, v); CREATE UNIQUE INDEX i ON part(u) WHERE v>5; INSERT INTO part VALUES(1, 1, 9), (2, 2, 9), (3, 3, 9);"
		     "CREATE TABLE expr(id INTEGER PRIMARY KEY, u); CREATE UNIQUE INDEX j ON expr(u+0); INSERT INTO expr VALUES(1, 1), (2, 2), (3, 3);"
		     "CREATE TABLE fill(id INTEGER PRIMARY KEY, u NOT NULL DEFAULT 'z' UNIQUE); INSERT INTO fill VALUES(1, 'z'), (2, 'y'), (3, 'x');"
		     "CREATE TABLE made(id INTEGER PRIMARY KEY, v, g AS (v%10) UNIQUE); INSERT INTO made VALUES(1, 1), (2, 2), (3, 3);"
		     "CREATE TABLE wide(a, b, c, d, e, f, g, PRIMARY KEY(a, b, c, d, e, f, g)); INSERT INTO wide VALUES(1, 1, 1, 1, 1, 1, 1), (2, 2, 2, 2, 2, 2, 2)");
	see(w, st, &map, NULL);
	assert_int_equal(report(st).tables, 5);
	assert_int_equal(report(st).keyed, 0);
	step(w, st, &map, "INSERT OR REPLACE INTO part VALUES(4, 1, 9)", true, 3);
	step(w, st, &map, "INSERT OR REPLACE INTO expr VALUES(4, '1')", true, 3);
	step(w, st, &map, "INSERT OR REPLACE INTO fill VALUES(4, NULL)", true, 3);
	step(w, st, &map, "INSERT OR REPLACE INTO made VALUES(4, 11)", true, 3);
	step(w, st, &map, "INSERT INTO wide VALUES(3, 3, 3, 3, 3, 3, 3)", true, 3);
	sr_store_close(st);
}

/* A log that came back with an older file is not the one that is known, however far it goes. */
static void test_another_log_is_not_gone_by(void **state)
{
	struct world *w = *state;
	struct sr_store *st = captured(w);
	struct sr_marker m = marker_new();
	struct sr_hash map = {0};
	char *anchor, *sql;

	other(w, DB, "PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 1), (2, 2), (3, 3)");
	see(w, st, &map, NULL);
	anchor = ask(w, DB, "SELECT k1 FROM _sameroot_log WHERE seq=1");
	step(w, st, &map, "UPDATE t SET v=2 WHERE id=1", true, 1);
	ok(sr_store_mark(st, &m, &w->err));
	expect(w, DB, "SELECT count(*) FROM _sameroot_log", "1");
	sql = sr_format("UPDATE t SET v=3; DELETE FROM _sameroot_log; INSERT INTO _sameroot_log(seq, tab, k1) VALUES(1, '', %s), (2, 't', 1)", anchor);
	past_the_triggers(w, sql);
	found(w, st, &map, sql, false, 3);
	step(w, st, &map, "UPDATE t SET v=4 WHERE id=1", true, 1);
	free(sql);
	free(anchor);
	sr_store_close(st);
}

/* What was seen and taken goes with our own transactions; what came since stays, and so does all if it was not taken. */
static void test_the_log_is_trimmed(void **state)
{
	struct world *w = *state;
	struct sr_store *st = captured(w);
	struct sr_marker m = marker_new();
	struct sr_hash map = {0};
	struct sr_scan s;

	other(w, DB, "PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 1), (2, 2), (3, 3)");
	ok(sr_store_mark(st, &m, &w->err));
	see(w, st, &map, NULL);
	other(w, DB, "UPDATE t SET v=v+1");
	s = scan(w, st, &map);
	ok(sr_store_mark(st, &m, &w->err)); /* its owner does not have it yet */
	expect(w, DB, "SELECT group_concat(k1) FROM _sameroot_log WHERE seq>1", "1,2,3");
	sr_nodes_hold(w->nodes, &s.map);
	sr_nodes_release(w->nodes, &map);
	map = s.map;
	sr_scan_free(&s);
	sr_store_taken(st);
	other(w, DB, "UPDATE t SET v=v+1 WHERE id=2");
	ok(sr_store_mark(st, &m, &w->err));
	expect(w, DB, "SELECT seq, k1 FROM _sameroot_log WHERE seq>1", "2|2");
	found(w, st, &map, "what came meanwhile", true, 1);
	ok(sr_store_mark(st, &m, &w->err));
	expect(w, DB, "SELECT count(*) FROM _sameroot_log", "1");
	step(w, st, &map, "UPDATE t SET v=v+1 WHERE id=3", true, 1);
	/* Without a push, too, when it has grown. */
	step(w, st, &map, MANY "INSERT INTO t SELECT 10+i, 0 FROM n", true, 1000);
	step(w, st, &map, "UPDATE t SET v=v+1 WHERE id=3", true, 1);
	expect(w, DB, "SELECT count(*) FROM _sameroot_log WHERE seq>1", "1");
	sr_store_close(st);
}

static void test_a_log_that_is_full(void **state)
{
	struct world *w = *state;
	struct sr_store *st = captured(w);
	struct sr_marker m = marker_new();
	struct sr_hash map = {0};

	other(w, DB, "PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
	ok(sr_store_mark(st, &m, &w->err));
	see(w, st, &map, NULL);
	step(w, st, &map, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<100010) INSERT INTO t SELECT i, 0 FROM n", false, 100010);
	expect(w, DB, "SELECT max(seq) FROM _sameroot_log", "100000");
	ok(sr_store_mark(st, &m, &w->err));
	step(w, st, &map, "UPDATE t SET v=1 WHERE id=5", true, 1);
	sr_store_close(st);
}

/* An older log beside a newer file is judged without a connection; what the last scan saw is known after it, too. */
static void test_a_checkpoint_costs_no_scan(void **state)
{
	static const struct timespec before[2] = {{.tv_sec = 1700000000}, {.tv_sec = 1700000000}};
	struct world *w = *state;
	struct sr_store *st = captured(w);
	struct sr_store_seen seen;
	struct sr_uuid node = sr_uuid_random();
	struct sr_hash map = {0};
	char *wal = path_of(w, DB "-wal");
	bool moved;

	other(w, DB, "PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 1), (2, 2), (3, 3)");
	see(w, st, &map, NULL);
	for (int commits = 0; commits < 2; commits++) {
		other(w, DB, commits ? "UPDATE t SET v=v+1 WHERE id=2; PRAGMA wal_checkpoint" : "PRAGMA wal_checkpoint");
		utimensat(AT_FDCWD, wal, before, 0);
		seen = sr_store_seen(st);
		ok(sr_store_shed_stale_wal(st, &seen, &node, &moved, &w->err));
		assert_false(moved);
		found(w, st, &map, "a checkpoint", true, commits);
	}
	past_the_triggers(w, "UPDATE t SET v=v+1 WHERE id=3; PRAGMA wal_checkpoint");
	utimensat(AT_FDCWD, wal, &(const struct timespec[2]){{.tv_sec = 1700000001}, {.tv_sec = 1700000001}}[0], 0);
	seen = sr_store_seen(st);
	ok(sr_store_shed_stale_wal(st, &seen, &node, &moved, &w->err));
	found(w, st, &map, "a commit that is in the log nowhere", false, 3);
	free(wal);
	sr_store_close(st);
}

static int64_t later_ms;

static int64_t later_now(void *ctx)
{
	(void)ctx;
	return 1700000000000 + later_ms;
}

static int64_t later_ticks(void *ctx)
{
	(void)ctx;
	return later_ms;
}

static void any_random(void *ctx, void *out, size_t n)
{
	(void)ctx;
	for (size_t i = 0; i < n; i++)
		((uint8_t *)out)[i] = (uint8_t)random();
}

static void test_a_full_scan_is_due(void **state)
{
	struct world *w = *state;
	static const struct sr_door door = {.now_ms = later_now, .ticks_ms = later_ticks, .random = any_random};
	struct sr_store *st;
	struct sr_hash map = {0};

	later_ms = 1000;
	sr_door_install(&door);
	st = captured(w);
	other(w, DB, "PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 1), (2, 2), (3, 3)");
	see(w, st, &map, NULL);
	later_ms += HOUR;
	found(w, st, &map, "nothing: all was read", false, 0);
	past_the_triggers(w, "UPDATE t SET v=7 WHERE id=2");
	found(w, st, &map, "it is in the log nowhere", false, 3);
	past_the_triggers(w, "UPDATE t SET v=8 WHERE id=2; INSERT INTO _sameroot_log(tab, k1) VALUES('t', 1)"); /* it seems to be explained */
	see(w, st, &map, NULL);
	later_ms += HOUR - 1;
	see(w, st, &map, NULL);
	assert_int_equal(report(st).by_log, 1);
	later_ms++;
	found(w, st, &map, "it is due", false, 3);
	sr_store_close(st);
}

static void test_removed(void **state)
{
	static const char ours[] = "SELECT count(*) FROM sqlite_master WHERE name LIKE '\\_sameroot\\_%' ESCAPE '\\' AND name <> '_sameroot_meta'";
	struct world *w = *state;
	struct sr_store *st = captured(w);
	struct sr_capture_found f;
	struct sr_hash map = {0};
	char *path = path_of(w, DB);

	other(w, DB, "CREATE TABLE \"it's a \"\"t\"\"\"(\"the \"\"id\"\"\" TEXT PRIMARY KEY, u UNIQUE); INSERT INTO \"it's a \"\"t\"\"\" VALUES('a', 1);"
		     "CREATE TRIGGER app AFTER INSERT ON \"it's a \"\"t\"\"\" BEGIN SELECT 1; END");
	see(w, st, &map, NULL);
	step(w, st, &map, "INSERT OR REPLACE INTO \"it's a \"\"t\"\"\" VALUES('b', 1)", true, 2);
	ok(sr_database_capture(path, false, &f, &w->err));
	assert_true(f.log);
	assert_int_equal(f.triggers, 5);
	assert_int_equal(f.rows, 2);
	ok(sr_database_capture(path, true, &f, &w->err));
	assert_int_equal(f.triggers, 5);
	expect(w, DB, ours, "0");
	ok(sr_database_capture(path, true, &f, &w->err));
	assert_int_equal(f.triggers + f.rows + f.log, 0);
	see(w, st, &map, NULL); /* whoever wants them makes them anew, */
	expect(w, DB, ours, "6");
	sr_store_close(st);
	st = store(w, DB, false); /* who does not care leaves them, */
	map_of(w, st);
	expect(w, DB, ours, "6");
	sr_store_capture(st, SR_CAPTURE_SCAN, HOUR); /* and who reads tables removes them */
	map_of(w, st);
	expect(w, DB, ours, "0");
	expect(w, DB, "SELECT name FROM sqlite_master WHERE type='trigger'", "app");
	sr_store_close(st);
	free(path);
}

/* Not a part of the schema that others are told of. */
static void test_nobody_is_told(void **state)
{
	struct world *w = *state;
	struct sr_store *st, *plain = store(w, "b.db", false);
	struct sr_view *v;
	struct sr_content c;
	struct sr_version one, other_one;
	struct sr_hash map = {0}, without;
	static const char sql[] = "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 1)";

	other(w, DB, sql);
	other(w, "b.db", sql);
	without = map_of(w, plain);
	st = captured(w);
	see(w, st, &map, NULL);
	assert_true(report(st).on);
	assert_true(sr_hash_eq(&map, &without));
	ok(sr_view_open(&v, st, SR_VIEW_MAIN, &w->err));
	ok(sr_view_read(v, sr_bytes_of(SR_SCHEMA_PATH), &c, &w->err));
	one = c.version;
	sr_view_close(v);
	ok(sr_view_open(&v, plain, SR_VIEW_MAIN, &w->err));
	ok(sr_view_read(v, sr_bytes_of(SR_SCHEMA_PATH), &c, &w->err));
	other_one = c.version;
	sr_view_close(v);
	assert_true(sr_version_eq(&one, &other_one));
	sr_store_close(st);
	sr_store_close(plain);
}

static void test_where_there_can_be_none(void **state)
{
	struct world *w = *state;
	struct sr_store *st = captured(w);
	struct sr_hash map = {0};

	other(w, DB, "CREATE VIEW _sameroot_log AS SELECT 1; CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 1)");
	see(w, st, &map, NULL);
	assert_false(report(st).on);
	assert_string_equal(report(st).why, "what is called _sameroot_log is no table");
	step(w, st, &map, "UPDATE t SET v=2", false, 1);
	step(w, st, &map, "DROP VIEW _sameroot_log; UPDATE t SET v=3", false, 1);
	assert_true(report(st).on);
	assert_string_equal(report(st).why, "");
	step(w, st, &map, "UPDATE t SET v=4", true, 1);
	sr_store_close(st);
	other(w, "b.db", "PRAGMA encoding='UTF-16le'; CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
	st = store(w, "b.db", false);
	sr_store_capture(st, SR_CAPTURE_TRIGGERS, HOUR);
	map_of(w, st);
	assert_false(report(st).on);
	assert_string_equal(report(st).why, "its text is UTF-16");
	sr_store_close(st);
}

/* --- random histories ------------------------------------------------------------------------------------------------------- */

static const char *const schema[] = {
	"CREATE TABLE a(id INTEGER PRIMARY KEY, u UNIQUE, v)",
	"CREATE TABLE b(k TEXT COLLATE NOCASE PRIMARY KEY, u TEXT UNIQUE COLLATE NOCASE, v)",
	"CREATE TABLE c(x, u, v, PRIMARY KEY(x, u)) WITHOUT ROWID",
	"CREATE TABLE d(u, v)",
	"CREATE TABLE e(id INTEGER PRIMARY KEY, u TEXT NOT NULL DEFAULT 'z' UNIQUE ON CONFLICT REPLACE, v, g AS (v+1) STORED)",
	"CREATE TABLE f(id INTEGER PRIMARY KEY, u, v)",
	"CREATE TABLE p(id INTEGER PRIMARY KEY, u UNIQUE, v)",
	"CREATE TABLE h(id INTEGER PRIMARY KEY, u REFERENCES p(id) ON DELETE CASCADE ON UPDATE CASCADE, v)",
	"CREATE TABLE r(id REAL PRIMARY KEY, u, v, UNIQUE(u, v))",
	"CREATE TABLE excluded(u, v)",
};
static const char *const more[] = {
	"CREATE UNIQUE INDEX f_part ON f(u) WHERE v>5",
	"CREATE TRIGGER app1 AFTER INSERT ON a WHEN NEW.v%3=0 BEGIN INSERT OR REPLACE INTO b VALUES('k'||NEW.v, 'u'||NEW.v, 1); UPDATE c SET v=v+1 WHERE x=NEW.v; END",
	"CREATE TRIGGER app2 BEFORE UPDATE ON a WHEN NEW.v%4=0 BEGIN DELETE FROM f WHERE id=NEW.v; INSERT OR IGNORE INTO a VALUES(NEW.v+50, 'n'||NEW.v, 1); END",
	"CREATE TRIGGER app3 AFTER DELETE ON p BEGIN INSERT INTO d VALUES(OLD.u, OLD.v); END",
};
static const char tables[] = "abcdefphr";

static unsigned below(unsigned n)
{
	return (unsigned)random() % n;
}

static const char *value(char buf[32])
{
	unsigned n = below(12);

	switch (below(6)) {
	case 0:
		return snprintf(buf, 32, "'k%u'", n), buf;
	case 1:
		return snprintf(buf, 32, "'K%u'", n), buf;
	case 2:
		return snprintf(buf, 32, "%u.0", n), buf;
	case 3:
		return below(3) ? (snprintf(buf, 32, "'%u'", n), buf) : "NULL";
	default:
		return snprintf(buf, 32, "%u", n), buf;
	}
}

static const char *key_of(char t)
{
	return t == 'b' ? "k" : t == 'c' ? "x" : t == 'd' ? "rowid" : "id";
}

/* Something that an application may do to table t, which may also fail. */
static void statement(struct sr_buf *sql, char t)
{
	static const char *const ors[] = {"", "", "OR REPLACE ", "OR REPLACE ", "OR IGNORE "};
	const char *or = ors[below(5)], *key = key_of(t);
	char a[32], b[32], c[32];

	switch (below(9)) {
	case 0:
	case 1:
	case 2:
		sr_buf_printf(sql, "INSERT %sINTO %c(%s, u, v) VALUES(%s, %s, %s);", or, t, key, value(a), value(b), value(c));
		break;
	case 3:
		sr_buf_printf(sql, "INSERT %sINTO %c(u, v) VALUES(%s, %u);", or, t, value(a), below(12));
		break;
	case 4:
		sr_buf_printf(sql, "UPDATE %s%c SET v=%s WHERE %s=%s;", or, t, value(a), key, value(b));
		break;
	case 5:
		sr_buf_printf(sql, "UPDATE %s%c SET u=%s WHERE %s=%s;", or, t, value(a), key, value(b));
		break;
	case 6:
		sr_buf_printf(sql, "UPDATE %s%c SET %s=%s WHERE u=%s;", or, t, below(4) || t == 'c' ? key : "rowid", value(a), value(b));
		break;
	case 7:
		sr_buf_printf(sql, "DELETE FROM %c WHERE u=%s;", t, value(a));
		break;
	default:
		if (below(8))
			sr_buf_printf(sql, "INSERT INTO %c(%s, u, v) VALUES(%s, %s, 1) ON CONFLICT DO UPDATE SET v=%s;", t, key, value(a), value(b), value(c));
		else
			sr_buf_printf(sql, "DELETE FROM %c;", t);
	}
}

/* Now and then something else. */
static void upheaval(struct sr_buf *sql)
{
	char t = tables[below(sizeof tables - 1)];

	switch (below(8)) {
	case 0:
		sr_buf_printf(sql, "VACUUM;");
		break;
	case 1:
		sr_buf_printf(sql, "DROP TRIGGER \"_sameroot_%c_%c\";", "iudrs"[below(5)], t);
		break;
	case 2:
		sr_buf_printf(sql, "DELETE FROM _sameroot_log;");
		break;
	case 3:
		sr_buf_printf(sql, "ALTER TABLE %c RENAME TO moved; UPDATE moved SET v=v+1; ALTER TABLE moved RENAME TO %c;", t, t);
		break;
	case 4:
		sr_buf_printf(sql, "ALTER TABLE %c ADD COLUMN n%u DEFAULT 1;", t, below(1000));
		break;
	case 5:
		sr_buf_printf(sql, "DROP TABLE d; CREATE TABLE d(u, v%s);", below(2) ? ", w DEFAULT 3" : "");
		break;
	case 6:
		sr_buf_printf(sql, "PRAGMA recursive_triggers=%u;", below(2));
		break;
	default:
		sr_buf_printf(sql, "INSERT INTO excluded VALUES(1, 2);");
	}
}

static void history(struct world *w, unsigned seed, bool wal, uint64_t *by_log)
{
	struct sr_store *st;
	struct sr_marker m = marker_new();
	struct sr_hash map = {0};
	struct sr_buf told = {0};
	char *path = path_of(w, DB);
	sqlite3 *db;

	srandom(seed);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	free(path);
	sqlite3_exec(db, wal ? "PRAGMA journal_mode=WAL" : "PRAGMA journal_mode=DELETE", NULL, NULL, NULL);
	sqlite3_exec(db, "PRAGMA foreign_keys=ON; PRAGMA synchronous=OFF", NULL, NULL, NULL);
	for (size_t i = 0; i < sizeof schema / sizeof *schema; i++)
		assert_int_equal(sqlite3_exec(db, schema[i], NULL, NULL, NULL), SQLITE_OK);
	for (size_t i = 0; i < sizeof more / sizeof *more; i++)
		assert_int_equal(sqlite3_exec(db, more[i], NULL, NULL, NULL), SQLITE_OK);
	st = captured(w);
	for (unsigned k = 0; k < 120; k++) {
		bool apart = below(2), undone = apart && !below(4);
		unsigned n = 1 + below(6);

		sr_buf_clear(&told);
		sr_buf_printf(&told, "-- seed %u, step %u\n", seed, k);
		if (apart)
			sqlite3_exec(db, "BEGIN", NULL, NULL, NULL);
		for (unsigned i = 0; i < n; i++) {
			struct sr_buf sql = {0};

			if (!apart && !below(40))
				upheaval(&sql);
			else
				statement(&sql, tables[below(sizeof tables - 1)]);
			if (apart && !below(5))
				sqlite3_exec(db, "SAVEPOINT s", NULL, NULL, NULL);
			if (sqlite3_exec(db, sr_buf_text(&sql), NULL, NULL, NULL) == SQLITE_OK)
				sr_buf_printf(&told, "%s\n", sr_buf_text(&sql));
			if (apart && !below(10))
				sqlite3_exec(db, "ROLLBACK TO s", NULL, NULL, NULL);
			sr_buf_free(&sql);
		}
		if (!sqlite3_get_autocommit(db))
			sqlite3_exec(db, undone ? "ROLLBACK" : "COMMIT", NULL, NULL, NULL);
		if (below(4))
			see(w, st, &map, NULL);
		else
			continue;
		same_as_everything(w, &map, sr_buf_text(&told));
		if (!below(3)) {
			m.id = sr_uuid_random();
			ok(sr_store_mark(st, &m, &w->err)); /* takes from the log what was seen */
		}
	}
	*by_log += report(st).by_log;
	sr_store_close(st);
	sqlite3_close(db);
	sr_buf_free(&told);
	sr_nodes_release(w->nodes, &map);
	remove_all(w->dir, "*");
}

static void test_any_history(void **state)
{
	struct world *w = *state;
	const char *seeds = getenv("SEEDS");
	unsigned first = 1, n = seeds ? (unsigned)atoi(seeds) : 12;
	uint64_t by_log = 0;

	for (unsigned seed = first; seed < first + n; seed++)
		history(w, seed, seed % 2, &by_log);
	assert_true(by_log > 30 * (uint64_t)n); /* else nothing was looked at here */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_only_what_changed_is_read),
		TEST(test_what_is_not_in_the_log_is_looked_for),
		TEST(test_what_a_trigger_cannot_see_is_read_whole),
		TEST(test_another_log_is_not_gone_by),
		TEST(test_the_log_is_trimmed),
		TEST(test_a_log_that_is_full),
		TEST(test_a_checkpoint_costs_no_scan),
		TEST(test_a_full_scan_is_due),
		TEST(test_removed),
		TEST(test_nobody_is_told),
		TEST(test_where_there_can_be_none),
		TEST(test_any_history),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
