/* The disk of a test (tests/sim/disk.h) itself: steps, crashes, power cuts and faults, in this process. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/beneath.h"
#include "tests/sim/disk.h"

#define SCHEMA "CREATE TABLE t(k INTEGER PRIMARY KEY, v)"

static char root[64];
static struct sr_disk *disk;

static int setup(void **state)
{
	(void)state;
	strcpy(root, "/dev/shm/sameroot-disk.XXXXXX");
	assert_non_null(mkdtemp(root));
	assert_int_equal(chdir(root), 0);
	disk = sr_disk_open(root);
	assert_non_null(disk);
	return 0;
}

static int teardown(void **state)
{
	int shm = open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

	(void)state;
	sr_disk_close(disk);
	assert_int_equal(chdir("/"), 0);
	rc = sr_remove_beneath(shm, strrchr(root, '/') + 1);
	close(shm);
	return rc;
}

static int put(const char *name, const char *text, bool durable)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), rc;

	if (fd < 0)
		return -1;
	rc = write(fd, text, strlen(text)) == (ssize_t)strlen(text) && (!durable || !fsync(fd)) ? 0 : -1;
	close(fd);
	return rc;
}

static int sync_directory(const char *name)
{
	int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = fsync(fd);

	close(fd);
	return rc;
}

/* What a file has; "-": there is none. */
static const char *has(const char *name)
{
	static char text[4096];
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

	if (n < 0)
		return "-";
	text[n] = '\0';
	close(fd);
	return text;
}

static void steps_are_what_changes_the_disk(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(put("a", "one", true), 0);
	assert_int_equal(sr_disk_steps(disk), 3);
	assert_string_equal(has("a"), "one");
	assert_int_equal(stat("a", &st), 0);
	assert_int_equal(mkdir(".", 0755), -1);
	assert_int_equal(sr_disk_steps(disk), 3);
	assert_int_equal(rename("a", "b") | link("b", "c") | unlink("b") | mkdir("d", 0755) | rmdir("d") | chmod("c", 0600), 0);
	assert_int_equal(sr_disk_steps(disk), 9);
	assert_int_equal(put("/dev/shm/sameroot-elsewhere", "x", true) | unlink("/dev/shm/sameroot-elsewhere"), 0);
	assert_int_equal(sr_disk_steps(disk), 9);
}

static void what_was_not_synced_is_lost(void **state)
{
	(void)state;
	assert_int_equal(put("a", "one", true) | sync_directory("."), 0);
	assert_int_equal(put("a", "two", false) | put("b", "lost", true), 0);
	assert_int_equal(sr_disk_cut(disk, 1, SR_DISK_NOTHING), 0);
	assert_string_equal(has("a"), "one");
	assert_string_equal(has("b"), "-");
}

static void a_rename_is_lost_without_its_directory(void **state)
{
	(void)state;
	assert_int_equal(put("a", "old", true) | put("b", "new", true) | sync_directory("."), 0);
	assert_int_equal(rename("b", "a"), 0);
	assert_string_equal(has("a"), "new");
	assert_int_equal(sr_disk_cut(disk, 1, SR_DISK_NOTHING), 0);
	assert_string_equal(has("a"), "old");
	assert_string_equal(has("b"), "new");
	assert_int_equal(renameat2(AT_FDCWD, "b", AT_FDCWD, "a", RENAME_EXCHANGE) | sync_directory("."), 0);
	assert_int_equal(sr_disk_cut(disk, 1, SR_DISK_NOTHING), 0);
	assert_string_equal(has("a"), "new");
	assert_string_equal(has("b"), "old");
}

static void a_rename_is_durable_where_the_file_went(void **state)
{
	(void)state;
	assert_int_equal(put("a", "x", true) | mkdir("d", 0755) | sync_directory("."), 0);
	assert_int_equal(rename("a", "d/a") | sync_directory("."), 0);
	assert_int_equal(sr_disk_cut(disk, 1, SR_DISK_NOTHING), 0);
	assert_string_equal(has("a"), "x");
	assert_int_equal(rename("a", "d/a") | sync_directory("d"), 0);
	assert_int_equal(sr_disk_cut(disk, 1, SR_DISK_NOTHING), 0);
	assert_string_equal(has("d/a"), "x");
}

static void names_may_outlive_their_data(void **state)
{
	(void)state;
	assert_int_equal(put("a", "old", true) | sync_directory("."), 0);
	assert_int_equal(put("b", "new", false) | rename("b", "a"), 0);
	assert_int_equal(sr_disk_cut(disk, 1, SR_DISK_NAMES), 0);
	assert_string_equal(has("a"), "");
	assert_string_equal(has("b"), "-");
}

static void a_directory_moves_with_all_that_is_in_it(void **state)
{
	struct stat before, after;

	(void)state;
	assert_int_equal(mkdir("d", 0755) | put("d/f", "x", true) | sync_directory("d") | sync_directory("."), 0);
	assert_int_equal(stat("d/f", &before), 0);
	assert_int_equal(rename("d", "e"), 0);
	assert_int_equal(sr_disk_cut(disk, 1, SR_DISK_NOTHING), 0);
	assert_string_equal(has("d/f"), "x");
	assert_string_equal(has("e/f"), "-");
	assert_int_equal(stat("d/f", &after), 0);
	assert_int_equal(after.st_ino, before.st_ino);
}

/* Whatever else is lost: what was durable under another name is not. */
static void what_moves_into_a_lost_directory_stays(void **state)
{
	(void)state;
	assert_int_equal(put("a", "x", true) | sync_directory("."), 0);
	assert_int_equal(mkdir("d", 0755) | rename("a", "d/a") | put("d/b", "y", true) | sync_directory("d"), 0);
	assert_int_equal(sr_disk_cut(disk, 1, SR_DISK_NOTHING), 0);
	assert_string_equal(has("a"), "x");
	assert_string_equal(has("d/b"), "-");
	assert_int_equal(mkdir("d", 0755) | rename("a", "d/a") | sync_directory("d") | sync_directory("."), 0);
	assert_int_equal(sr_disk_cut(disk, 1, SR_DISK_NOTHING), 0);
	assert_string_equal(has("d/a"), "x");
}

static void writes_are_torn_by_sectors(void **state)
{
	static char old[2048], new[2048], got[2048];
	bool mixed = false;
	int fd = open("a", O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	(void)state;
	memset(old, 'o', sizeof old);
	memset(new, 'n', sizeof new);
	assert_int_equal(pwrite(fd, old, sizeof old, 0), sizeof old);
	assert_int_equal(fsync(fd) | sync_directory("."), 0);
	for (uint64_t seed = 0; seed < 40; seed++) {
		assert_int_equal(pwrite(fd, new, sizeof new, 0), sizeof new);
		assert_int_equal(sr_disk_cut(disk, seed, SR_DISK_RANDOM), 0);
		assert_int_equal(pread(fd, got, sizeof got, 0), sizeof got);
		for (size_t i = 0; i < sizeof got; i += 512)
			assert_memory_equal(got + i, got[i] == 'n' ? new : old, 512);
		mixed |= memchr(got, 'o', sizeof got) && memchr(got, 'n', sizeof got);
		assert_int_equal(pwrite(fd, old, sizeof old, 0), sizeof old);
		assert_int_equal(fsync(fd), 0);
	}
	close(fd);
	assert_true(mixed);
}

static void an_fsync_that_failed_made_nothing_durable(void **state)
{
	int fd;

	(void)state;
	assert_int_equal(put("a", "one", true) | sync_directory("."), 0);
	fd = open("a", O_WRONLY | O_CLOEXEC);
	assert_int_equal(write(fd, "two", 3), 3);
	sr_disk_fail_at(disk, sr_disk_steps(disk) + 1, EIO);
	assert_int_equal(fsync(fd), -1);
	assert_int_equal(errno, EIO);
	assert_int_equal(fsync(fd), 0); /* as Linux says */
	close(fd);
	assert_int_equal(sr_disk_cut(disk, 1, SR_DISK_NOTHING), 0);
	assert_string_equal(has("a"), "one");
}

static void a_full_disk_writes_over_and_does_not_grow(void **state)
{
	int fd;

	(void)state;
	assert_int_equal(put("a", "12345", true), 0);
	sr_disk_room(disk, 0);
	assert_int_equal(put("b", "", false), -1);
	assert_int_equal(errno, ENOSPC);
	fd = open("a", O_WRONLY | O_CLOEXEC);
	assert_int_equal(write(fd, "54321", 5), 5);
	assert_int_equal(write(fd, "6", 1), -1);
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(ftruncate(fd, 4), 0);
	assert_int_equal(pwrite(fd, "!", 1, 4), 1);
	close(fd);
	assert_string_equal(has("a"), "5432!");
	sr_disk_room(disk, -1);
	assert_int_equal(put("b", "", false), 0);
}

static void a_stop_is_before_half_way_or_after(void **state)
{
	static const char *left[] = {"", "tw", "two!"};

	(void)state;
	for (enum sr_disk_when when = SR_DISK_BEFORE; when <= SR_DISK_AFTER; when++) {
		int fd = open("a", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

		sr_disk_stop_at(disk, sr_disk_steps(disk) + 1, when);
		assert_int_equal(write(fd, "two!", 4), -1);
		assert_int_equal(errno, EIO);
		assert_true(sr_disk_stopped(disk));
		assert_int_equal(pwrite(fd, "more", 4, 4), -1);
		assert_int_equal(open("a", O_RDONLY | O_CLOEXEC), -1);
		assert_int_equal(mkdir("d", 0755), -1);
		assert_int_equal(errno, EIO);
		close(fd);
		sr_disk_start(disk);
		assert_string_equal(has("a"), left[when]);
	}
}

static sqlite3 *database(const char *more)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open("db", &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, more, NULL, NULL, NULL), SQLITE_OK);
	return db;
}

static int count_rows(void)
{
	sqlite3 *db = database("PRAGMA synchronous = NORMAL");
	sqlite3_stmt *q;
	int n;

	assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*) FROM t", -1, &q, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(q), SQLITE_ROW);
	n = sqlite3_column_int(q, 0);
	sqlite3_finalize(q);
	assert_int_equal(sqlite3_exec(db, "PRAGMA integrity_check", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	return n;
}

/* The power goes at every step of a commit, with every manner of loss: one row or two are there, and two once it was said to be committed. */
static void databases_survive(const char *mode, const char *synchronous)
{
	char begin[256], pragma[64];
	bool ended = false;

	snprintf(begin, sizeof begin, "PRAGMA journal_mode = %s; PRAGMA synchronous = EXTRA; DROP TABLE IF EXISTS t;" SCHEMA "; INSERT INTO t VALUES(1, 'one')",
		 mode);
	snprintf(pragma, sizeof pragma, "PRAGMA synchronous = %s", synchronous);
	for (uint64_t k = 1; !ended; k++) {
		sqlite3 *db = database(begin);
		int rows, rc;

		assert_int_equal(sqlite3_exec(db, pragma, NULL, NULL, NULL), SQLITE_OK);
		sr_disk_stop_at(disk, sr_disk_steps(disk) + k, (enum sr_disk_when)(k % 3));
		rc = sqlite3_exec(db, "INSERT INTO t VALUES(2, 'two')", NULL, NULL, NULL);
		ended = !sr_disk_stopped(disk);
		sr_disk_stop(disk);
		sqlite3_close(db);
		assert_int_equal(sr_disk_cut(disk, k, SR_DISK_ANY), 0);
		rows = count_rows();
		assert_true(rows == 2 || (rows == 1 && (rc != SQLITE_OK || !strcmp(synchronous, "NORMAL"))));
	}
}

static void a_database_survives_every_power_cut(void **state)
{
	(void)state;
	databases_survive("DELETE", "EXTRA");
	databases_survive("WAL", "FULL");
	databases_survive("WAL", "NORMAL");
	databases_survive("TRUNCATE", "FULL");
}

static void a_commit_that_nobody_synced_is_gone(void **state)
{
	sqlite3 *db = database("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;" SCHEMA);

	(void)state;
	assert_int_equal(sqlite3_exec(db, "PRAGMA wal_checkpoint; PRAGMA synchronous = NORMAL; INSERT INTO t VALUES(1, 'one')", NULL, NULL, NULL), SQLITE_OK);
	sr_disk_stop(disk);
	sqlite3_close(db);
	assert_int_equal(sr_disk_cut(disk, 1, SR_DISK_NOTHING), 0);
	assert_int_equal(count_rows(), 0);
}

static void below_a_held_directory_is_seen(void **state)
{
	int dir = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC), fd;

	(void)state;
	fd = sr_open_beneath(dir, "x", O_WRONLY | O_CREAT, 0644);
	assert_true(fd >= 0);
	assert_int_equal(sr_disk_steps(disk), 1);
	close(fd);
	close(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		TEST(steps_are_what_changes_the_disk),
		TEST(what_was_not_synced_is_lost),
		TEST(a_rename_is_lost_without_its_directory),
		TEST(a_rename_is_durable_where_the_file_went),
		TEST(names_may_outlive_their_data),
		TEST(a_directory_moves_with_all_that_is_in_it),
		TEST(what_moves_into_a_lost_directory_stays),
		TEST(writes_are_torn_by_sectors),
		TEST(an_fsync_that_failed_made_nothing_durable),
		TEST(a_full_disk_writes_over_and_does_not_grow),
		TEST(a_stop_is_before_half_way_or_after),
		TEST(a_database_survives_every_power_cut),
		TEST(a_commit_that_nobody_synced_is_gone),
		TEST(below_a_held_directory_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
