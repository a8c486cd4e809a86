/* What a store says is durable survives the loss of power: on the disk of a test (tests/sim/disk.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/sim/disk.h"
#include "tests/unit/sqlite_world.h"

/* The application in this process, so that its writes are seen by the disk, too.  It stays connected, for the last one to leave would checkpoint. */
static sqlite3 *application(struct world *w, const char *sql)
{
	char *path = path_of(w, "a.db");
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	free(path);
	return db;
}

/* The marker is written over commits that the application left to the kernel; then the power fails. */
static void mark_and_cut(struct world *w, const char *mode, const char *synchronous, enum sr_disk_how how)
{
	char *begin = sr_format("PRAGMA journal_mode=%s; CREATE TABLE t(k INTEGER PRIMARY KEY)", mode);
	char *loose = sr_format("PRAGMA synchronous=%s; INSERT INTO t VALUES(1)", synchronous);
	struct sr_disk *disk;
	struct sr_store *st;
	struct sr_marker m = marker_new(), got;
	sqlite3 *db;
	bool content;
	char why[256];

	other(w, "a.db", begin);
	disk = sr_disk_open(w->dir);
	assert_non_null(disk);
	db = application(w, loose);
	st = store(w, "a.db", false);
	assert_int_equal(sr_store_look(st, &got, &content, why), SR_PRESENT);
	ok(sr_store_mark(st, &m, &w->err));
	sr_disk_stop(disk);
	sr_store_close(st);
	sqlite3_close(db);
	assert_int_equal(sr_disk_cut(disk, 1, how), 0);
	st = store(w, "a.db", false);
	assert_int_equal(sr_store_look(st, &got, &content, why), SR_PRESENT);
	assert_memory_equal(&got.id, &m.id, sizeof m.id);
	sr_store_close(st);
	expect(w, "a.db", "SELECT count(*) FROM t", "1");
	sound(w, "a.db");
	sr_disk_close(disk);
	remove_all(w->dir, "*");
	free(begin);
	free(loose);
}

static void a_marker_and_what_was_committed_before_it_are_durable(void **state)
{
	static const char *const modes[] = {"WAL", "DELETE", "TRUNCATE", "PERSIST"}, *const levels[] = {"OFF", "NORMAL", "FULL"};

	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
		for (size_t k = 0; k < sizeof levels / sizeof *levels; k++)
			for (enum sr_disk_how how = SR_DISK_NOTHING; how < SR_DISK_ANY; how++)
				mark_and_cut(*state, modes[i], levels[k], how);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_marker_and_what_was_committed_before_it_are_durable, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
