/* test_sqlite_reshape.c - a table that was built anew is built anew here: what is taken over, what is kept beside, when nothing is done. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/stat.h>
#include <time.h>

#include "tests/sim/disk.h"
#include "tests/unit/sqlite_carry.h"

#define OLD "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, gone TEXT); "
#define NEW \
	"CREATE TABLE t(id INTEGER NOT NULL, name TEXT NOT NULL CHECK (name <> 'never'), more TEXT DEFAULT 'm', PRIMARY KEY(name)) " \
	"WITHOUT ROWID; "

/* a.db has `new` and is what b.db, with `old`, shall become. */
struct pair {
	struct sr_store *a, *b;
	struct sr_hash was; /* b's table's fingerprint */
};

static struct pair pair(struct world *w, const char *old, const char *new)
{
	struct pair p;
	struct sr_version v;
	struct sr_hash map;

	other(w, "a.db", new);
	other(w, "b.db", old);
	p.a = store(w, "a.db", false);
	p.b = store(w, "b.db", true);
	map = map_of(w, p.b);
	ok(sr_store_get(w->nodes, SR_KIND_DATABASE, &map, sr_bytes_of("t"), &v, &w->err));
	assert_int_equal(v.kind, SR_KIND_TABLE);
	p.was = v.hash;
	return p;
}

static void end(struct pair *p)
{
	sr_store_close(p->a);
	sr_store_close(p->b);
}

enum lie { HONEST, OF_ANOTHER, TO_ANOTHER };

/* The table alone, without the rows that go with it. */
static void reshape(struct world *w, const struct pair *p, uint32_t flags, enum lie lie)
{
	struct sr_leaves *all = differences(w, p->a, p->b, true), *l = sr_leaves_new(NULL);

	for (size_t i = 0; i < sr_leaves_count(all); i++) {
		struct sr_leaf leaf;

		ok(sr_leaves_at(all, i, &leaf, &w->err));
		if (sr_bytes_eq(leaf.path, sr_bytes_of("t"))) {
			leaf.flags = flags;
			leaf.expect.hash.b[0] ^= lie == OF_ANOTHER;
			leaf.to.hash.b[0] ^= lie == TO_ANOTHER;
		} else if (!sr_bytes_eq(leaf.path, sr_bytes_of(SR_SCHEMA_PATH))) {
			continue;
		}
		ok(sr_leaves_add(l, &leaf, &w->err));
	}
	(void)!apply(w, p->b, l);
	sr_leaves_free(l);
	sr_leaves_free(all);
}

static bool there(const char *path)
{
	struct stat st;

	return !lstat(path, &st);
}

/* --- tests -------------------------------------------------------------------------------------------------------------- */

static void test_rows_go_along_and_the_old_table_is_kept(void **state)
{
	struct world *w = *state;
	struct pair p = pair(w, OLD "INSERT INTO t VALUES(1, 'one', 'x'), (2, 'two', 'y'); CREATE VIEW names AS SELECT name FROM t",
			     NEW "CREATE INDEX t_by_id ON t(id)");
	char *was = sr_store_was(p.b, &p.was), *kept, *rows;

	reshape(w, &p, SR_LEAF_EDITED | SR_LEAF_APPROVED, HONEST);
	expect(w, "b.db", "SELECT id, name, more FROM t ORDER BY id", "1|one|m 2|two|m");
	expect(w, "b.db", "SELECT name FROM names ORDER BY 1", "one two");
	expect(w, "b.db", "SELECT count(*) FROM sqlite_master WHERE name = 't_by_id'", "1");
	expect(w, "b.db", "SELECT count(*) FROM sqlite_master WHERE name LIKE '%was%'", "0");
	sound(w, "b.db");
	assert_int_equal(w->displaced, 2); /* each row as it was is told */

	kept = ask(w, strrchr(was, '/') + 1, "SELECT name FROM sqlite_master");
	assert_int_equal(strncmp(kept, "t ", 2), 0); /* and the time */
	rows = sr_format("SELECT * FROM \"%s\" ORDER BY id", kept);
	expect(w, strrchr(was, '/') + 1, rows, "1|one|x 2|two|y");
	free(rows);
	free(kept);
	end(&p);
	free(was);
}

/* The old table is not gone before what is kept of it is durable, whatever the power does. */
static void test_what_is_kept_is_durable(void **state)
{
	for (enum sr_disk_how how = SR_DISK_NOTHING; how < SR_DISK_ANY; how++) {
		struct world *w = *state;
		struct pair p = pair(w, "PRAGMA journal_mode=WAL;" OLD "INSERT INTO t VALUES(1, 'one', 'x'), (2, 'two', 'y')", NEW);
		char *was = sr_store_was(p.b, &p.was), *kept, *rows;
		struct sr_marker m = marker_new();
		struct sr_disk *disk;

		ok(sr_store_mark(p.b, &m, &w->err)); /* or its log is new, and syncs the directory */
		disk = sr_disk_open(w->dir);
		assert_non_null(disk);
		reshape(w, &p, SR_LEAF_EDITED | SR_LEAF_APPROVED, HONEST);
		sr_disk_stop(disk);
		end(&p);
		assert_int_equal(sr_disk_cut(disk, 1, how), 0);
		sr_disk_close(disk);
		expect(w, "b.db", "SELECT id, name, more FROM t ORDER BY id", "1|one|m 2|two|m");
		kept = ask(w, strrchr(was, '/') + 1, "SELECT name FROM sqlite_master");
		rows = sr_format("SELECT * FROM \"%s\" ORDER BY id", kept);
		expect(w, strrchr(was, '/') + 1, rows, "1|one|x 2|two|y");
		free(rows);
		free(kept);
		free(was);
		remove_all(w->dir, "*");
	}
}

/* A row that the new table does not take stays away: whoever has it in its new form brings it. */
static void test_rows_that_do_not_fit_stay_away(void **state)
{
	struct world *w = *state;
	struct pair p = pair(w, OLD "INSERT INTO t VALUES(1, 'one', 'x'), (2, 'never', 'y'), (3, NULL, 'z'), (4, 'one', 'twice')", NEW);

	reshape(w, &p, SR_LEAF_EDITED | SR_LEAF_APPROVED, HONEST);
	expect(w, "b.db", "SELECT id, name, more FROM t ORDER BY id", "1|one|m");
	assert_int_equal(w->displaced, 4);
	end(&p);
}

static void test_rows_of_another_type_stay_away(void **state)
{
	struct world *w = *state;
	struct pair p = pair(w, "CREATE TABLE t(id TEXT PRIMARY KEY, name TEXT); INSERT INTO t VALUES('1', 'one'), ('two', 'two'), ('3', 'three')",
			     "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT)");

	reshape(w, &p, SR_LEAF_EDITED, HONEST);
	expect(w, "b.db", "SELECT id, name FROM t ORDER BY id", "1|one 3|three");
	end(&p);
}

static void test_a_column_is_lost_only_if_that_was_approved(void **state)
{
	struct world *w = *state;
	struct pair p = pair(w, OLD "INSERT INTO t VALUES(1, 'one', 'x')", NEW);
	char *was = sr_store_was(p.b, &p.was);

	reshape(w, &p, SR_LEAF_EDITED, HONEST);
	expect(w, "b.db", "SELECT gone FROM t", "x");
	assert_false(there(was));
	reshape(w, &p, SR_LEAF_EDITED | SR_LEAF_APPROVED, HONEST);
	expect(w, "b.db", "SELECT more FROM t", "m");
	assert_true(there(was));
	end(&p);
	free(was);
}

static void test_a_table_that_loses_nothing_needs_no_approval(void **state)
{
	struct world *w = *state;
	struct pair p = pair(w, "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT); INSERT INTO t VALUES(1, 'one')",
			     "CREATE TABLE t(id INTEGER NOT NULL, name TEXT PRIMARY KEY, more TEXT NOT NULL DEFAULT 'm') WITHOUT ROWID");

	reshape(w, &p, SR_LEAF_EDITED, HONEST);
	expect(w, "b.db", "SELECT id, name, more FROM t", "1|one|m");
	end(&p);
}

/* Of a table that the sender did not change since both agreed on it, or that is another here by now: the shape here stands. */
static void test_only_what_was_agreed_on_is_changed(void **state)
{
	struct world *w = *state;
	struct pair p = pair(w, OLD "INSERT INTO t VALUES(1, 'one', 'x')", NEW);

	reshape(w, &p, SR_LEAF_APPROVED, HONEST);
	expect(w, "b.db", "SELECT gone FROM t", "x");
	reshape(w, &p, SR_LEAF_EDITED | SR_LEAF_APPROVED, OF_ANOTHER);
	expect(w, "b.db", "SELECT gone FROM t", "x");
	reshape(w, &p, SR_LEAF_EDITED | SR_LEAF_APPROVED, TO_ANOTHER); /* the text does not make what is promised */
	expect(w, "b.db", "SELECT gone FROM t", "x");
	assert_int_equal(w->displaced, 0);
	end(&p);
}

/* The text is right, and yet it cannot be done here: all is as it was, and the connection is of use. */
static void test_what_cannot_be_made_is_taken_back(void **state)
{
	struct world *w = *state;
	struct pair p = pair(w, OLD "INSERT INTO t VALUES(1, 'one', 'x'); CREATE TABLE _sameroot_was_t(x)", NEW); /* in the way of the old one */

	reshape(w, &p, SR_LEAF_EDITED | SR_LEAF_APPROVED, HONEST);
	expect(w, "b.db", "SELECT * FROM t", "1|one|x");
	other(w, "b.db", "DROP TABLE _sameroot_was_t");
	reshape(w, &p, SR_LEAF_EDITED | SR_LEAF_APPROVED, HONEST);
	expect(w, "b.db", "SELECT id, name, more FROM t", "1|one|m");
	end(&p);
}

/* --- what is kept beside it ----------------------------------------------------------------------------------------------- */

static void aged(struct world *w, const char *name, time_t at)
{
	char *path = path_of(w, name);
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	struct timespec times[2] = {{.tv_sec = at}, {.tv_sec = at}};

	assert_true(fd >= 0);
	assert_int_equal(futimens(fd, times), 0);
	close(fd);
	free(path);
}

static bool stays(struct world *w, const char *name)
{
	char *path = path_of(w, name);
	bool yes = there(path);

	free(path);
	return yes;
}

static void test_what_was_expires(void **state)
{
	static const char *const others[] = {"b.db.was-0123456", "b.db.was-012345678", "b.db.was-0123456X", "b.db-was-01234567",
					     "b.db.was-01234567-journal", "c.db.was-01234567", "xb.db.was-01234567"};
	struct world *w = *state;
	struct sr_store *st = store(w, "b.db", true);
	char *directory = path_of(w, "b.db.was-dddddddd");

	aged(w, "b.db", 1000);
	aged(w, "b.db.was-01234567", 1000);
	aged(w, "b.db.was-89abcdef", 2000);
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		aged(w, others[i], 1000);
	assert_int_equal(mkdir(directory, 0700), 0);
	sr_store_expire_was(st, 2000 * 1000);
	assert_false(stays(w, "b.db.was-01234567"));
	assert_true(stays(w, "b.db.was-89abcdef"));
	assert_true(stays(w, "b.db"));
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		if (!stays(w, others[i]))
			fail_msg("%s is gone", others[i]);
	assert_int_equal(rmdir(directory), 0);
	sr_store_expire_was(st, 2001 * 1000);
	assert_false(stays(w, "b.db.was-89abcdef"));
	free(directory);
	sr_store_close(st);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_rows_go_along_and_the_old_table_is_kept),
		TEST(test_rows_that_do_not_fit_stay_away),
		TEST(test_rows_of_another_type_stay_away),
		TEST(test_what_is_kept_is_durable),
		TEST(test_a_column_is_lost_only_if_that_was_approved),
		TEST(test_a_table_that_loses_nothing_needs_no_approval),
		TEST(test_only_what_was_agreed_on_is_changed),
		TEST(test_what_cannot_be_made_is_taken_back),
		TEST(test_what_was_expires),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
