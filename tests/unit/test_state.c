/* test_state.c - state.db: every table, steps, the lock, crashes, strangers' files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/state/internal.h"

#define LIT(s) sr_bytes(s, sizeof(s) - 1)

/* ---- a directory and an open state for each test ---- */

struct fixture {
	char top[64], *dir, *file;
	struct sr_state *s;
	struct sr_err err;
};

static void ok_(struct fixture *f, enum sr_status status, const char *file, int line)
{
	if (status != SR_OK) {
		print_error("%s:%d: %s: %s\n", file, line, sr_status_name(status), f->err.text);
		_fail(file, line);
	}
}
#define OK(call) ok_(f, (call), __FILE__, __LINE__)

static void open_state(struct fixture *f, bool expect_fresh)
{
	bool fresh = !expect_fresh;

	OK(sr_state_open(&f->s, f->dir, &fresh, &f->err));
	assert_int_equal(fresh, expect_fresh);
}

static void reopen(struct fixture *f)
{
	sr_state_close(f->s);
	f->s = NULL;
	open_state(f, false);
}

static int set_up(void **state)
{
	struct fixture *f = sr_alloc(sizeof(*f));

	strcpy(f->top, "/tmp/sr-state-XXXXXX");
	assert_non_null(mkdtemp(f->top));
	f->dir = sr_format("%s/a/state", f->top);
	f->file = sr_format("%s/state.db", f->dir);
	open_state(f, true);
	*state = f;
	return 0;
}

static void remove_tree(const char *dir)
{
	char *command = sr_format("rm -rf '%s'", dir);

	if (system(command) != 0)
		print_error("%s: not removed\n", dir);
	free(command);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	sr_state_close(f->s);
	remove_tree(f->top);
	free(f->dir);
	free(f->file);
	free(f);
	return 0;
}

static struct sr_uuid uuid(uint8_t fill)
{
	struct sr_uuid u;

	memset(u.b, fill, sizeof(u.b));
	return u;
}

static struct sr_hash hash(uint8_t fill)
{
	struct sr_hash h;

	memset(h.b, fill, sizeof(h.b));
	return h;
}

static struct sr_version file_version(uint64_t bytes)
{
	return (struct sr_version){.kind = SR_KIND_FILE, .mode = 0644, .bytes = bytes, .hash = hash((uint8_t)(bytes % 255 + 1))};
}

static const struct sr_version none = {.kind = SR_KIND_NONE};
static const struct sr_version dir = {.kind = SR_KIND_DIR, .mode = 0755};

static bool same_version(const struct sr_version *a, const struct sr_version *b)
{
	return a->kind == b->kind && a->mode == b->mode && a->bytes == b->bytes && sr_hash_eq(&a->hash, &b->hash);
}

static bool same_uuid(struct sr_uuid a, struct sr_uuid b)
{
	return memcmp(a.b, b.b, sizeof(a.b)) == 0;
}

static int64_t ask_number(struct fixture *f, const char *sql)
{
	sqlite3_stmt *st;
	int64_t v;

	assert_int_equal(sqlite3_prepare_v2(f->s->db, sql, -1, &st, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(st), SQLITE_ROW);
	v = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return v;
}

static void expect_get(struct fixture *f, struct sr_state *s, const char *name, const char *value)
{
	struct sr_buf b = {0};
	bool found = false;

	sr_buf_bytes(&b, LIT("left over"));
	OK(sr_state_get(s, name, &b, &found, &f->err));
	assert_int_equal(found, value != NULL);
	if (value)
		assert_true(sr_bytes_eq(sr_buf_view(&b), sr_bytes_of(value)));
	sr_buf_free(&b);
}

/* ---- the file ---- */

static void test_modes(void **state)
{
	static const char *const files[] = {"state.db", "state.db-wal", "state.db-shm", "lock"};
	struct fixture *f = *state;
	struct stat st;
	mode_t mask;

	sr_state_close(f->s);
	f->s = NULL;
	remove_tree(f->dir);
	mask = umask(0277); /* neither what the mask takes nor what it leaves counts */
	open_state(f, true);
	umask(mask);
	assert_int_equal(stat(f->dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	OK(sr_state_put(f->s, "a", LIT("1"), &f->err));
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char *name = sr_format("%s/%s", f->dir, files[i]);

		assert_int_equal(stat(name, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0600);
		free(name);
	}
	assert_string_equal(sr_state_dir(f->s), f->dir);
	assert_int_equal(ask_number(f, "PRAGMA application_id"), 0x53525354);
	assert_int_equal(ask_number(f, "PRAGMA user_version"), 3);
	assert_int_equal(ask_number(f, "PRAGMA synchronous"), 2);
	assert_int_equal(ask_number(f, "SELECT count(*) FROM pragma_journal_mode WHERE journal_mode = 'wal'"), 1);
}

static void test_lock(void **state)
{
	struct fixture *f = *state;
	int status, ready[2];
	char byte, pid[32];
	bool fresh;
	char *lock = sr_format("%s/lock", f->dir);
	struct sr_state *other = NULL;
	pid_t child;

	sr_state_close(f->s);
	f->s = NULL;
	assert_int_equal(pipe(ready), 0);
	child = fork();
	if (child == 0) {
		if (sr_state_open(&other, f->dir, &fresh, NULL) != SR_OK || write(ready[1], "x", 1) != 1)
			_exit(1);
		alarm(20); /* no orphan, should the test fail */
		pause();
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(sr_state_open(&other, f->dir, &fresh, &f->err), SR_E_BUSY);
	snprintf(pid, sizeof(pid), "process %d", (int)child);
	assert_non_null(strstr(f->err.text, pid));
	assert_non_null(strstr(f->err.text, f->dir));
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, &status, 0), child);
	close(ready[0]);
	close(ready[1]);
	open_state(f, false);
	assert_int_equal(sr_state_open(&other, f->dir, &fresh, &f->err), SR_E_BUSY); /* also within one process, */
	assert_int_equal(unlink(lock), 0);
	assert_int_equal(sr_state_open(&other, f->dir, &fresh, &f->err), SR_E_BUSY); /* and when somebody tidies up */
	assert_int_not_equal(access(lock, F_OK), 0);
	free(lock);
}

static void test_foreign(void **state)
{
	static const char *const texts[] = {"hello", "SQLite format 3"};
	struct fixture *f = *state;
	char back[8192], *big = sr_alloc(5000);
	bool fresh;
	FILE *file;

	sr_state_close(f->s);
	f->s = NULL;
	memset(big, 'z', 4999);
	for (size_t i = 0; i < 3; i++) {
		const char *text = i < 2 ? texts[i] : big;
		size_t n;

		remove_tree(f->file);
		assert_non_null(file = fopen(f->file, "w"));
		assert_true(fputs(text, file) >= 0);
		fclose(file);
		assert_int_equal(sr_state_open(&f->s, f->dir, &fresh, &f->err), SR_E_DATA);
		assert_non_null(strstr(f->err.text, f->file));
		assert_int_equal(sr_state_reader(&f->s, f->dir, &f->err), SR_E_DATA);
		assert_non_null(file = fopen(f->file, "r"));
		n = fread(back, 1, sizeof(back) - 1, file);
		fclose(file);
		back[n] = '\0';
		assert_string_equal(back, text);
	}
	free(big);
}

static void make_database(struct fixture *f, const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(f->file, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void test_foreign_database(void **state)
{
	struct fixture *f = *state;
	bool fresh;

	sr_state_close(f->s);
	f->s = NULL;
	make_database(f, "PRAGMA user_version = 4");
	assert_int_equal(sr_state_open(&f->s, f->dir, &fresh, &f->err), SR_E_DATA);
	assert_non_null(strstr(f->err.text, "format is 4"));
	make_database(f, "PRAGMA user_version = 1; PRAGMA application_id = 7");
	assert_int_equal(sr_state_open(&f->s, f->dir, &fresh, &f->err), SR_E_DATA);
	assert_non_null(strstr(f->err.text, "not a state.db"));
	remove_tree(f->file);
	make_database(f, "CREATE TABLE t (a)");
	assert_int_equal(sr_state_open(&f->s, f->dir, &fresh, &f->err), SR_E_DATA);
}

static void test_is_one(void **state)
{
	struct fixture *f = *state;

	assert_true(sr_state_is_one(f->file)); /* while it is open */
	sr_state_close(f->s);
	f->s = NULL;
	assert_true(sr_state_is_one(f->file));
	assert_false(sr_state_is_one(f->dir));
	assert_false(sr_state_is_one("/nowhere/state.db"));
	make_database(f, "PRAGMA application_id = 7");
	assert_false(sr_state_is_one(f->file));
	assert_int_equal(truncate(f->file, 0), 0);
	assert_false(sr_state_is_one(f->file));
	assert_int_equal(unlink(f->file), 0);
	assert_int_equal(mkfifo(f->file, 0600), 0); /* whose other end nobody opens */
	assert_false(sr_state_is_one(f->file));
}

/* Killed between making the file and its tables: an empty file is a fresh one, and nothing for a reader. */
static void test_empty_file(void **state)
{
	struct fixture *f = *state;
	int fd;

	sr_state_close(f->s);
	f->s = NULL;
	remove_tree(f->dir);
	assert_int_equal(sr_state_reader(&f->s, f->dir, &f->err), SR_E_NOINPUT);
	assert_int_equal(mkdir(f->dir, 0700), 0);
	assert_int_equal(sr_state_reader(&f->s, f->dir, &f->err), SR_E_NOINPUT);
	fd = open(f->file, O_CREAT | O_WRONLY, 0600);
	close(fd);
	assert_int_equal(sr_state_reader(&f->s, f->dir, &f->err), SR_E_NOINPUT);
	open_state(f, true);
}

/* ---- steps ---- */

static void test_steps(void **state)
{
	struct fixture *f = *state;

	OK(sr_state_begin(f->s, &f->err));
	assert_int_equal(sr_state_begin(f->s, &f->err), SR_E_INTERNAL);
	OK(sr_state_put(f->s, "a", LIT("1"), &f->err));
	expect_get(f, f->s, "a", "1");
	sr_state_rollback(f->s);
	sr_state_rollback(f->s);
	expect_get(f, f->s, "a", NULL);
	assert_int_equal(sr_state_commit(f->s, &f->err), SR_E_INTERNAL);
	OK(sr_state_begin(f->s, &f->err));
	OK(sr_state_put(f->s, "a", LIT("2"), &f->err));
	OK(sr_state_commit(f->s, &f->err));
	OK(sr_state_begin(f->s, &f->err));
	OK(sr_state_put(f->s, "a", LIT("3"), &f->err));
	reopen(f); /* closed within a step */
	expect_get(f, f->s, "a", "2");
}

static void test_kill_in_step(void **state)
{
	struct fixture *f = *state;
	int status, ready[2];
	struct sr_state *s;
	pid_t child;
	bool fresh;
	char byte;

	OK(sr_state_put(f->s, "a", LIT("old"), &f->err));
	sr_state_close(f->s);
	f->s = NULL;
	assert_int_equal(pipe(ready), 0);
	child = fork();
	if (child == 0) {
		struct sr_store_row st;
		struct sr_leaf_row row = {.local = file_version(7), .base_state = SR_BASE_KNOWN, .base = file_version(7)};
		bool good = sr_state_open(&s, f->dir, &fresh, NULL) == SR_OK && sr_state_begin(s, NULL) == SR_OK &&
		            sr_state_store(s, "resources", &st, NULL) == SR_OK && sr_state_put(s, "a", LIT("new"), NULL) == SR_OK;

		sqlite3_exec(s->db, "PRAGMA cache_size = 10", NULL, NULL, NULL); /* so that uncommitted pages reach the WAL */
		for (uint32_t i = 0; good && i < 20000; i++) {
			row.path = sr_bytes(&i, sizeof(i));
			good = sr_state_leaf_put(s, &st, &row, NULL) == SR_OK;
		}
		if (!good || write(ready[1], "x", 1) != 1)
			_exit(1);
		alarm(20); /* no orphan, should the test fail */
		pause();
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, &status, 0), child);
	close(ready[0]);
	close(ready[1]);
	open_state(f, false);
	expect_get(f, f->s, "a", "old");
	assert_int_equal(ask_number(f, "SELECT count(*) FROM leaf"), 0);
	assert_int_equal(ask_number(f, "SELECT count(*) FROM store"), 0);
}

static void test_reader(void **state)
{
	struct fixture *f = *state;
	struct sr_state *r;
	struct sr_store_row st;

	OK(sr_state_put(f->s, "a", LIT("1"), &f->err));
	OK(sr_state_reader(&r, f->dir, &f->err));
	OK(sr_state_begin(f->s, &f->err));
	OK(sr_state_put(f->s, "a", LIT("2"), &f->err));
	expect_get(f, r, "a", "1");
	OK(sr_state_commit(f->s, &f->err));
	expect_get(f, r, "a", "2");

	OK(sr_state_begin(r, &f->err)); /* one moment */
	expect_get(f, r, "a", "2");
	OK(sr_state_put(f->s, "a", LIT("3"), &f->err));
	expect_get(f, r, "a", "2");
	OK(sr_state_commit(r, &f->err));
	expect_get(f, r, "a", "3");

	assert_int_equal(sr_state_put(r, "a", LIT("4"), &f->err), SR_E_INTERNAL);
	assert_int_equal(sr_state_store(r, "users.db", &st, &f->err), SR_E_NOTFOUND);
	sr_state_close(r);
	expect_get(f, f->s, "a", "3");
}

/* A full disk: what SQLite says when it may not grow. */
static void test_full(void **state)
{
	struct fixture *f = *state;
	static uint8_t big[1 << 20];
	bool found = true;

	OK(sr_state_put(f->s, "a", LIT("1"), &f->err));
	assert_int_equal(sqlite3_exec(f->s->db, "PRAGMA max_page_count = 60", NULL, NULL, NULL), SQLITE_OK);
	OK(sr_state_begin(f->s, &f->err));
	OK(sr_state_put(f->s, "a", LIT("2"), &f->err));
	assert_int_equal(sr_state_put(f->s, "b", sr_bytes(big, sizeof(big)), &f->err), SR_E_FULL);
	assert_int_equal(f->err.code, SR_E_FULL);
	assert_non_null(strstr(f->err.text, f->file));
	assert_non_null(strstr(f->err.text, "meta: write"));
	assert_int_equal(sr_state_put(f->s, "c", LIT("3"), &f->err), SR_E_FULL); /* spoiled: half a step is never committed */
	assert_int_equal(sr_state_commit(f->s, &f->err), SR_E_FULL);
	expect_get(f, f->s, "a", "1");
	expect_get(f, f->s, "c", NULL);
	OK(sr_state_put(f->s, "c", LIT("4"), &f->err));
	reopen(f);
	expect_get(f, f->s, "a", "1");
	expect_get(f, f->s, "c", "4");
	OK(sr_state_get_u64(f->s, "b", &(uint64_t){0}, &found, &f->err));
	assert_false(found);
}

/* ---- meta, store ---- */

static void test_meta(void **state)
{
	struct fixture *f = *state;
	uint64_t v = 0;
	bool found = false;

	expect_get(f, f->s, "name", NULL);
	OK(sr_state_put(f->s, "name", LIT(""), &f->err));
	expect_get(f, f->s, "name", "");
	OK(sr_state_put(f->s, "name", LIT("value"), &f->err));
	OK(sr_state_put_u64(f->s, "n", UINT64_MAX - 1, &f->err));
	reopen(f);
	expect_get(f, f->s, "name", "value");
	OK(sr_state_get_u64(f->s, "n", &v, &found, &f->err));
	assert_true(found);
	assert_true(v == UINT64_MAX - 1);
	assert_int_equal(sr_state_get_u64(f->s, "name", &v, &found, &f->err), SR_E_DATA);
	OK(sr_state_drop(f->s, "n", &f->err));
	OK(sr_state_drop(f->s, "n", &f->err));
	OK(sr_state_get_u64(f->s, "n", &v, &found, &f->err));
	assert_false(found);
}

static void test_store(void **state)
{
	struct fixture *f = *state;
	struct sr_store_row a, b, back;

	OK(sr_state_store(f->s, "users.db", &a, &f->err));
	OK(sr_state_store(f->s, "resources", &b, &f->err));
	assert_int_not_equal(a.id, b.id);
	assert_false(a.base_known);
	assert_true(sr_uuid_none(&a.marker) && sr_uuid_none(&a.pending) && sr_uuid_none(&a.node));
	assert_true(a.inode == 0 && a.epoch == 0 && a.seq == 0);
	a.inode = UINT64_MAX;
	a.marker = uuid(1);
	a.node = uuid(3);
	a.base_known = true;
	a.epoch = 5;
	a.seq = 6;
	OK(sr_state_store_put(f->s, &a, &f->err));
	reopen(f);
	OK(sr_state_store(f->s, "users.db", &back, &f->err));
	assert_int_equal(back.id, a.id);
	assert_true(back.inode == UINT64_MAX && back.base_known && back.epoch == 5 && back.seq == 6);
	assert_true(same_uuid(back.marker, uuid(1)) && sr_uuid_none(&back.pending) && same_uuid(back.node, uuid(3)));
	OK(sr_state_store(f->s, "resources", &back, &f->err));
	assert_int_equal(back.id, b.id);
	assert_false(back.base_known);
}

/* ---- leaves ---- */

static struct sr_store_row some_store(struct fixture *f, bool base_known)
{
	struct sr_store_row st;

	OK(sr_state_store(f->s, "resources", &st, &f->err));
	st.base_known = base_known;
	OK(sr_state_store_put(f->s, &st, &f->err));
	return st;
}

static void put(struct fixture *f, const struct sr_store_row *st, const char *path, struct sr_version local, uint8_t base_state,
                struct sr_version base)
{
	struct sr_leaf_row row = {.path = sr_bytes_of(path), .local = local, .signature = UINT64_MAX - 9, .base_state = base_state,
	                          .base = base, .epoch = 3, .seq = 4};

	OK(sr_state_leaf_put(f->s, st, &row, &f->err));
}

static void expect(struct fixture *f, const struct sr_store_row *st, const char *path, struct sr_version local, uint8_t base_state,
                   struct sr_version base)
{
	struct sr_leaf_row row;

	OK(sr_state_leaf(f->s, st, sr_bytes_of(path), &row, &f->err));
	assert_true(sr_bytes_eq(row.path, sr_bytes_of(path)));
	assert_true(same_version(&row.local, &local));
	assert_int_equal(row.base_state, base_state);
	assert_true(same_version(&row.base, &base));
}

static uint64_t open_count(struct fixture *f, const struct sr_store_row *st)
{
	uint64_t n = UINT64_MAX;

	OK(sr_state_open_count(f->s, st, &n, &f->err));
	return n;
}

static void test_leaf(void **state)
{
	struct fixture *f = *state;
	struct sr_store_row st = some_store(f, true), other;
	struct sr_version v = file_version(1234567), w = {.kind = SR_KIND_ROW, .bytes = UINT64_MAX, .hash = hash(9)};
	struct sr_leaf_row row;
	char path[1];

	OK(sr_state_store(f->s, "users.db", &other, &f->err));
	expect(f, &st, "x", none, SR_BASE_KNOWN, none);
	expect(f, &other, "x", none, SR_BASE_UNKNOWN, none);
	put(f, &st, "same", v, SR_BASE_KNOWN, v);
	put(f, &st, "other", v, SR_BASE_KNOWN, w);
	put(f, &st, "new", dir, SR_BASE_KNOWN, none);
	put(f, &st, "gone", none, SR_BASE_KNOWN, w);
	put(f, &st, "hint", v, SR_BASE_HINT, w);
	put(f, &st, "hintsame", v, SR_BASE_HINT, v);
	put(f, &st, "unknown", v, SR_BASE_UNKNOWN, w);
	put(f, &st, "nothing", none, SR_BASE_UNKNOWN, none); /* says something here: absence would mean known */
	put(f, &other, "same", w, SR_BASE_KNOWN, w);
	reopen(f);
	expect(f, &st, "same", v, SR_BASE_KNOWN, v);
	expect(f, &st, "other", v, SR_BASE_KNOWN, w);
	expect(f, &st, "new", dir, SR_BASE_KNOWN, none);
	expect(f, &st, "gone", none, SR_BASE_KNOWN, w);
	expect(f, &st, "hint", v, SR_BASE_HINT, w);
	expect(f, &st, "hintsame", v, SR_BASE_HINT, v);
	expect(f, &st, "unknown", v, SR_BASE_UNKNOWN, none);
	expect(f, &st, "nothing", none, SR_BASE_UNKNOWN, none);
	expect(f, &other, "same", w, SR_BASE_KNOWN, w);
	assert_int_equal(open_count(f, &st), 7);
	assert_int_equal(open_count(f, &other), 0);
	assert_int_equal(ask_number(f, "SELECT count(*) FROM leaf WHERE base_state = 3 AND base IS NULL"), 2);

	OK(sr_state_leaf(f->s, &st, LIT("same"), &row, &f->err));
	assert_true(row.signature == UINT64_MAX - 9 && row.epoch == 3 && row.seq == 4);
	OK(sr_state_leaf(f->s, &st, LIT("gone"), &row, &f->err));
	assert_true(row.signature == 0);
	OK(sr_state_leaf(f->s, &st, sr_bytes(row.path.at, 2), &row, &f->err)); /* a part of what was handed out */
	assert_true(sr_bytes_eq(row.path, LIT("go")));
	path[0] = 'x';
	OK(sr_state_leaf(f->s, &st, sr_bytes(path, 1), &row, &f->err));
	path[0] = 'y'; /* it is the caller's again */
	assert_true(sr_bytes_eq(row.path, LIT("x")));
}

static void test_leaf_removed(void **state)
{
	struct fixture *f = *state;
	struct sr_store_row st = some_store(f, true);
	struct sr_version v = file_version(1);

	st.epoch = 3, st.seq = 4;
	put(f, &st, "a", v, SR_BASE_KNOWN, v);
	put(f, &st, "a", none, SR_BASE_KNOWN, v);
	assert_int_equal(ask_number(f, "SELECT count(*) FROM leaf"), 1);
	put(f, &st, "a", none, SR_BASE_KNOWN, none);
	assert_int_equal(ask_number(f, "SELECT count(*) FROM leaf"), 0);

	st = some_store(f, false);
	put(f, &st, "b", none, SR_BASE_UNKNOWN, none);
	assert_int_equal(ask_number(f, "SELECT count(*) FROM leaf"), 0);
	put(f, &st, "b", none, SR_BASE_KNOWN, none); /* the datastore is known not to have it either */
	put(f, &st, "c", v, SR_BASE_UNKNOWN, none);
	expect(f, &st, "b", none, SR_BASE_KNOWN, none);
	assert_int_equal(open_count(f, &st), 1);
	st = some_store(f, true);
	st.epoch = 3, st.seq = 4;
	OK(sr_state_store_put(f->s, &st, &f->err)); /* now absence says the same */
	assert_int_equal(ask_number(f, "SELECT count(*) FROM leaf"), 1);
	expect(f, &st, "b", none, SR_BASE_KNOWN, none);
	expect(f, &st, "c", v, SR_BASE_UNKNOWN, none);
}

/* An absence that was agreed on later than the store's date keeps its own, until the store's passes it. */
static void test_leaf_late_absence(void **state)
{
	struct fixture *f = *state;
	struct sr_store_row st = some_store(f, true);
	struct sr_version v = file_version(1);
	struct sr_leaf_row row;

	st.epoch = 3, st.seq = 3;
	OK(sr_state_store_put(f->s, &st, &f->err));
	put(f, &st, "late", none, SR_BASE_KNOWN, none); /* at 3, 4 */
	put(f, &st, "new", none, SR_BASE_KNOWN, v);
	assert_int_equal(open_count(f, &st), 1);
	OK(sr_state_leaf(f->s, &st, LIT("late"), &row, &f->err));
	assert_true(row.base_state == SR_BASE_KNOWN && row.epoch == 3 && row.seq == 4);

	OK(sr_state_forget_base(f->s, &st, true, &f->err));
	expect(f, &st, "late", none, SR_BASE_HINT, none);
	OK(sr_state_leaf(f->s, &st, LIT("late"), &row, &f->err));
	assert_true(row.epoch == 3 && row.seq == 4);
	put(f, &st, "new", none, SR_BASE_KNOWN, none);
	put(f, &st, "late", none, SR_BASE_KNOWN, none);
	st.base_known = true, st.absent_hint = false;
	OK(sr_state_store_put(f->s, &st, &f->err));
	assert_int_equal(ask_number(f, "SELECT count(*) FROM leaf"), 2);

	st.epoch = 3, st.seq = 4;
	OK(sr_state_store_put(f->s, &st, &f->err));
	assert_int_equal(ask_number(f, "SELECT count(*) FROM leaf"), 0);
	expect(f, &st, "late", none, SR_BASE_KNOWN, none);
}

static void test_leaf_sign(void **state)
{
	struct fixture *f = *state;
	struct sr_store_row st = some_store(f, true);
	struct sr_version v = file_version(1);
	struct sr_leaf_row row;

	put(f, &st, "a", v, SR_BASE_KNOWN, v);
	put(f, &st, "gone", none, SR_BASE_KNOWN, v);
	OK(sr_state_leaf_sign(f->s, &st, LIT("a"), 1ull << 63, &f->err));
	OK(sr_state_leaf_sign(f->s, &st, LIT("gone"), 5, &f->err));
	OK(sr_state_leaf_sign(f->s, &st, LIT("absent"), 5, &f->err));
	OK(sr_state_leaf(f->s, &st, LIT("a"), &row, &f->err));
	assert_true(row.signature == 1ull << 63);
	assert_true(same_version(&row.base, &v));
	OK(sr_state_leaf(f->s, &st, LIT("gone"), &row, &f->err));
	assert_true(row.signature == 0);
	assert_int_equal(ask_number(f, "SELECT count(*) FROM leaf"), 2);
}

static bool agrees(struct fixture *f, const struct sr_store_row *st, struct sr_bytes path, const struct sr_version *version)
{
	bool done = false;

	OK(sr_state_leaf_agree(f->s, st, path, version, 3, 9, &done, &f->err));
	return done;
}

static void test_leaf_agree(void **state)
{
	struct fixture *f = *state;
	struct sr_store_row st = some_store(f, true);
	struct sr_version v = file_version(1), w = file_version(2);
	struct sr_leaf_row row;

	put(f, &st, "a", v, SR_BASE_UNKNOWN, none);
	put(f, &st, "edited", w, SR_BASE_KNOWN, v);
	put(f, &st, "gone", none, SR_BASE_KNOWN, v);
	assert_true(agrees(f, &st, LIT("a"), &v));
	assert_false(agrees(f, &st, LIT("edited"), &v));
	assert_false(agrees(f, &st, LIT("gone"), &none));
	assert_false(agrees(f, &st, LIT("absent"), &v));
	OK(sr_state_leaf(f->s, &st, LIT("a"), &row, &f->err));
	assert_int_equal(row.base_state, SR_BASE_KNOWN);
	assert_true(same_version(&row.base, &v) && same_version(&row.local, &v));
	assert_true(row.epoch == 3 && row.seq == 9);
	OK(sr_state_leaf(f->s, &st, LIT("edited"), &row, &f->err));
	assert_true(same_version(&row.base, &v) && same_version(&row.local, &w));
	assert_int_equal(ask_number(f, "SELECT count(*) FROM leaf WHERE base_state = 3"), 1);
}

struct giving {
	struct fixture *f;
	size_t n, fails_at;
};

/* Of six rows the second and the last say nothing, and the fourth is there already. */
static enum sr_status give_row(void *ctx, struct sr_leaf_row *row, bool *more, struct sr_err *err)
{
	struct giving *g = ctx;
	static const char *const paths[] = {"a", "b", "c", "d", "e", "f"};

	if (g->n == 6)
		return SR_OK;
	if (g->n + 1 == g->fails_at)
		return sr_err_set(err, SR_E_FULL, "no more");
	*more = true;
	*row = (struct sr_leaf_row){.path = sr_bytes_of(paths[g->n]), .signature = 7, .base_state = SR_BASE_KNOWN, .epoch = 3, .seq = 4};
	if (g->n % 4 != 1)
		row->local = row->base = file_version(g->n);
	if (g->n == 2)
		row->base = file_version(99);
	g->n++;
	return SR_OK;
}

static void test_leaves_put(void **state)
{
	struct fixture *f = *state;
	struct sr_store_row st = some_store(f, true);
	struct giving g = {.f = f};
	struct sr_leaf_row row;
	bool any = true;

	st.epoch = 3;
	st.seq = 4;
	OK(sr_state_has_leaves(f->s, &st, &any, &f->err));
	assert_false(any);
	put(f, &st, "b", file_version(1), SR_BASE_UNKNOWN, none);
	put(f, &st, "d", none, SR_BASE_KNOWN, file_version(1));
	OK(sr_state_leaves_put(f->s, &st, give_row, &g, &f->err));
	OK(sr_state_has_leaves(f->s, &st, &any, &f->err));
	assert_true(any);
	reopen(f);
	assert_int_equal(ask_number(f, "SELECT count(*) FROM leaf"), 4);
	assert_int_equal(ask_number(f, "SELECT count(*) FROM leaf WHERE base_state = 3"), 3);
	expect(f, &st, "b", none, SR_BASE_KNOWN, none);
	expect(f, &st, "c", file_version(2), SR_BASE_KNOWN, file_version(99));
	expect(f, &st, "d", file_version(3), SR_BASE_KNOWN, file_version(3));
	OK(sr_state_leaf(f->s, &st, LIT("e"), &row, &f->err));
	assert_true(row.signature == 7 && row.epoch == 3 && row.seq == 4);
	assert_int_equal(open_count(f, &st), 1);
}

/* All or none; and the step in which it fails is over. */
static void test_leaves_put_fails(void **state)
{
	struct fixture *f = *state;
	struct sr_store_row st = some_store(f, true);
	struct giving g = {.f = f, .fails_at = 4};

	st.epoch = 3;
	st.seq = 4;
	assert_int_equal(sr_state_leaves_put(f->s, &st, give_row, &g, &f->err), SR_E_FULL);
	assert_string_equal(f->err.text, "no more");
	assert_int_equal(ask_number(f, "SELECT count(*) FROM leaf"), 0);
	g = (struct giving){.f = f, .fails_at = 4};
	OK(sr_state_begin(f->s, &f->err));
	assert_int_equal(sr_state_leaves_put(f->s, &st, give_row, &g, &f->err), SR_E_FULL);
	assert_int_equal(sr_state_commit(f->s, &f->err), SR_E_FULL);
	assert_int_equal(ask_number(f, "SELECT count(*) FROM leaf"), 0);
	g = (struct giving){.f = f};
	OK(sr_state_leaves_put(f->s, &st, give_row, &g, &f->err));
	assert_int_equal(ask_number(f, "SELECT count(*) FROM leaf"), 4);
}

static void test_agree_open(void **state)
{
	struct fixture *f = *state;
	struct sr_store_row st = some_store(f, true), other;
	struct sr_leaf_row row;

	OK(sr_state_store(f->s, "users.db", &other, &f->err));
	put(f, &st, "a", file_version(1), SR_BASE_UNKNOWN, none);
	put(f, &st, "b", file_version(2), SR_BASE_KNOWN, file_version(1));
	put(f, &st, "c", file_version(3), SR_BASE_KNOWN, file_version(3));
	put(f, &other, "a", file_version(1), SR_BASE_UNKNOWN, none);
	OK(sr_state_agree_open(f->s, &st, 8, 9, &f->err));
	assert_int_equal(open_count(f, &st), 0);
	assert_int_equal(open_count(f, &other), 1);
	expect(f, &st, "a", file_version(1), SR_BASE_KNOWN, file_version(1));
	expect(f, &st, "b", file_version(2), SR_BASE_KNOWN, file_version(2));
	OK(sr_state_leaf(f->s, &st, LIT("b"), &row, &f->err));
	assert_true(row.epoch == 8 && row.seq == 9 && row.signature == UINT64_MAX - 9);
	OK(sr_state_leaf(f->s, &st, LIT("c"), &row, &f->err));
	assert_true(row.epoch == 3 && row.seq == 4);
}

struct seen {
	struct fixture *f;
	const struct sr_store_row *st;
	struct sr_buf last;
	uint64_t n, stop_at;
	bool nested;
};

static enum sr_status see_leaf(void *ctx, const struct sr_leaf_row *row, struct sr_err *err)
{
	struct seen *seen = ctx;
	struct sr_leaf_row again;

	if (seen->n)
		assert_true(sr_bytes_cmp(sr_buf_view(&seen->last), row->path) < 0);
	sr_buf_clear(&seen->last);
	sr_buf_bytes(&seen->last, row->path);
	if (seen->nested) {
		struct seen inner = {.stop_at = 1};

		assert_int_equal(sr_state_leaf(seen->f->s, seen->st, row->path, &again, err), SR_OK);
		assert_true(same_version(&again.local, &row->local));
		assert_int_equal(sr_state_leaves(seen->f->s, seen->st, false, see_leaf, &inner, err), SR_E_GONE);
		sr_buf_free(&inner.last);
	}
	return ++seen->n == seen->stop_at ? sr_err_set(err, SR_E_GONE, "enough") : SR_OK;
}

static void test_leaves(void **state)
{
	enum { MANY = 200000 };
	struct fixture *f = *state;
	struct sr_store_row st = some_store(f, true);
	struct seen seen = {.f = f, .st = &st};
	char path[32];

	OK(sr_state_begin(f->s, &f->err));
	for (uint32_t i = 0; i < MANY; i++) {
		struct sr_version v = file_version(i);

		snprintf(path, sizeof(path), "d%02u/%06u", i % 100, i);
		put(f, &st, path, v, SR_BASE_KNOWN, i % 1000 ? v : none);
	}
	OK(sr_state_commit(f->s, &f->err));
	OK(sr_state_leaves(f->s, &st, false, see_leaf, &seen, &f->err));
	assert_int_equal(seen.n, MANY);
	seen.n = 0;
	seen.nested = true;
	OK(sr_state_leaves(f->s, &st, true, see_leaf, &seen, &f->err));
	assert_int_equal(seen.n, MANY / 1000);
	assert_int_equal(open_count(f, &st), MANY / 1000);
	seen = (struct seen){.last = seen.last, .stop_at = 3};
	assert_int_equal(sr_state_leaves(f->s, &st, false, see_leaf, &seen, &f->err), SR_E_GONE);
	assert_int_equal(seen.n, 3);
	assert_string_equal(f->err.text, "enough");

	st.epoch = 9;
	OK(sr_state_forget_base(f->s, &st, true, &f->err));
	assert_int_equal(open_count(f, &st), MANY);
	sr_buf_free(&seen.last);
}

static void fill_for_forget(struct fixture *f, const struct sr_store_row *st, struct sr_version v, struct sr_version w)
{
	put(f, st, "same", v, SR_BASE_KNOWN, v);
	put(f, st, "edited", v, SR_BASE_KNOWN, w);
	put(f, st, "new", v, SR_BASE_KNOWN, none);
	put(f, st, "deleted", none, SR_BASE_KNOWN, w);
	put(f, st, "hinted", v, SR_BASE_HINT, w);
	put(f, st, "unknown", v, SR_BASE_UNKNOWN, none);
	put(f, st, "nothing", none, SR_BASE_UNKNOWN, none);
}

static void test_forget_as_hint(void **state)
{
	struct fixture *f = *state;
	struct sr_store_row st = some_store(f, true), back;
	struct sr_version v = file_version(1), w = file_version(2);
	struct sr_leaf_row row;

	fill_for_forget(f, &st, v, w);
	put(f, &st, "away", none, SR_BASE_HINT, none);
	st.epoch = 7;
	st.seq = 8;
	OK(sr_state_forget_base(f->s, &st, true, &f->err));
	assert_false(st.base_known);
	reopen(f);
	expect(f, &st, "away", none, SR_BASE_HINT, none); /* new here before the tree key was another, and not seen since */
	OK(sr_state_store(f->s, "resources", &back, &f->err));
	assert_true(!back.base_known && back.absent_hint && back.epoch == 7 && back.seq == 8);
	for (int again = 0; again < 2; again++) {
		expect(f, &st, "same", v, SR_BASE_HINT, v);
		expect(f, &st, "edited", v, SR_BASE_HINT, w);
		expect(f, &st, "new", v, SR_BASE_HINT, none);
		expect(f, &st, "deleted", none, SR_BASE_HINT, w);
		expect(f, &st, "hinted", v, SR_BASE_HINT, w);
		expect(f, &st, "unknown", v, SR_BASE_UNKNOWN, none);
		expect(f, &st, "nothing", none, SR_BASE_HINT, none); /* it was known to be absent */
		assert_int_equal(ask_number(f, "SELECT count(*) FROM leaf"), 7);
		OK(sr_state_leaf(f->s, &st, LIT("same"), &row, &f->err));
		assert_true(row.signature == UINT64_MAX - 9 && row.epoch == 3 && row.seq == 4);
		OK(sr_state_forget_base(f->s, &st, true, &f->err)); /* a hint stays one */
	}
}

static void test_forget(void **state)
{
	struct fixture *f = *state;
	struct sr_store_row st = some_store(f, true), other;
	struct sr_version v = file_version(1), w = file_version(2);

	OK(sr_state_store(f->s, "users.db", &other, &f->err));
	put(f, &other, "same", v, SR_BASE_KNOWN, v);
	fill_for_forget(f, &st, v, w);
	OK(sr_state_forget_base(f->s, &st, false, &f->err));
	assert_false(st.base_known || st.absent_hint);
	OK(sr_state_forget_base(f->s, &st, true, &f->err)); /* what is unknown becomes no hint */
	assert_false(st.base_known || st.absent_hint);
	expect(f, &st, "same", v, SR_BASE_UNKNOWN, none);
	expect(f, &st, "edited", v, SR_BASE_UNKNOWN, none);
	expect(f, &st, "hinted", v, SR_BASE_UNKNOWN, none);
	expect(f, &st, "deleted", none, SR_BASE_UNKNOWN, none);
	assert_int_equal(open_count(f, &st), 5);
	expect(f, &other, "same", v, SR_BASE_KNOWN, v);
	assert_int_equal(ask_number(f, "SELECT count(*) FROM leaf"), 6);

	st = some_store(f, true);
	OK(sr_state_begin(f->s, &f->err));
	OK(sr_state_forget_leaves(f->s, &st, &f->err));
	sr_state_rollback(f->s);
	assert_int_equal(open_count(f, &st), 5);
	OK(sr_state_forget_leaves(f->s, &st, &f->err));
	assert_false(st.base_known);
	assert_int_equal(open_count(f, &st), 0);
	assert_int_equal(ask_number(f, "SELECT count(*) FROM leaf"), 1);
}

/* ---- intents, outbox ---- */

static void add_leaf(struct fixture *f, struct sr_leaves *leaves, const char *path, uint64_t inode)
{
	struct sr_leaf leaf = {.path = sr_bytes_of(path), .expect = file_version(1), .to = file_version(inode), .mtime_ns = -5,
	                       .flags = SR_LEAF_UNION, .epoch = 2, .seq = 3, .stage = LIT("staged-0"), .inode = inode};

	OK(sr_leaves_add(leaves, &leaf, &f->err));
}

static void expect_leaf(struct fixture *f, struct sr_leaves *leaves, size_t i, const char *path, bool staged)
{
	struct sr_version to, from = file_version(1);
	struct sr_leaf leaf;

	OK(sr_leaves_at(leaves, i, &leaf, &f->err));
	assert_true(sr_bytes_eq(leaf.path, sr_bytes_of(path)));
	to = file_version(77);
	assert_true(same_version(&leaf.to, &to) && same_version(&leaf.expect, &from));
	assert_true(leaf.mtime_ns == -5 && leaf.flags == SR_LEAF_UNION && leaf.epoch == 2 && leaf.seq == 3);
	assert_true(leaf.inode == (staged ? 77 : 0));
	assert_int_equal(leaf.stage.len, staged ? 8 : 0);
}

static void test_intents(void **state)
{
	struct fixture *f = *state;
	struct sr_store_row st = some_store(f, true), other;
	struct sr_leaves *leaves = sr_leaves_new(NULL), *back = sr_leaves_new(NULL);
	struct sr_leaf row = {
		.path = LIT("t\0\1\1\0\0\0\0\0\0\0\7"), .to = {.kind = SR_KIND_ROW, .bytes = 4, .hash = hash(3)}, .record = LIT("\1\1a\0")};
	struct sr_intent_head head = {.marker = uuid(4), .epoch = 5, .seq = 6, .note = LIT("a\0note")}, got;
	bool found = true;

	OK(sr_state_store(f->s, "users.db", &other, &f->err));
	add_leaf(f, leaves, "z", 77);
	add_leaf(f, leaves, "a", 77);
	OK(sr_leaves_add(leaves, &row, &f->err));
	OK(sr_state_intents(f->s, &st, &got, back, &found, &f->err));
	assert_false(found);
	OK(sr_state_intend(f->s, &st, &head, leaves, &f->err));
	assert_int_equal(sr_state_intend(f->s, &st, &head, leaves, &f->err), SR_E_INTERNAL);
	OK(sr_state_begin(f->s, &f->err)); /* that refusal does not spoil a step */
	assert_int_equal(sr_state_intend(f->s, &st, &head, leaves, &f->err), SR_E_INTERNAL);
	OK(sr_state_put(f->s, "a", LIT("1"), &f->err));
	OK(sr_state_commit(f->s, &f->err));
	reopen(f);
	OK(sr_state_intents(f->s, &st, &got, back, &found, &f->err));
	assert_true(found);
	assert_true(same_uuid(got.marker, uuid(4)) && got.epoch == 5 && got.seq == 6);
	assert_true(sr_bytes_eq(got.note, LIT("a\0note")));
	assert_int_equal(sr_leaves_count(back), 3);
	expect_leaf(f, back, 0, "z", true);
	expect_leaf(f, back, 1, "a", true);
	OK(sr_leaves_at(back, 2, &row, &f->err));
	assert_int_equal(row.record.len, 0);
	assert_int_equal(row.to.bytes, 4);
	OK(sr_state_intents(f->s, &other, &got, back, &found, &f->err));
	assert_false(found);
	OK(sr_state_intents_drop(f->s, &st, &f->err));
	OK(sr_state_intents(f->s, &st, &got, back, &found, &f->err));
	assert_false(found);
	assert_int_equal(ask_number(f, "SELECT count(*) FROM intent"), 0);
	sr_leaves_free(leaves);
	sr_leaves_free(back);
}

static void test_outbox(void **state)
{
	struct fixture *f = *state;
	struct sr_store_row st = some_store(f, true), other;
	struct sr_leaves *leaves = sr_leaves_new(NULL), *back = sr_leaves_new(NULL);
	struct sr_outbox o = {.id = uuid(1), .instance = uuid(3), .epoch = 4, .seq = 5, .start = uuid(6)}, got;
	bool found = true;

	OK(sr_state_store(f->s, "users.db", &other, &f->err));
	OK(sr_state_outbox(f->s, &got, &found, &f->err));
	assert_false(found);
	add_leaf(f, leaves, "z", 77);
	OK(sr_state_outbox_put(f->s, &o, &f->err));
	OK(sr_state_outbox_add(f->s, &st, leaves, &f->err));
	OK(sr_state_outbox_add(f->s, &st, leaves, &f->err));
	OK(sr_state_outbox_add(f->s, &other, leaves, &f->err));
	o.seq = 7;
	OK(sr_state_outbox_put(f->s, &o, &f->err)); /* the same push */
	reopen(f);
	OK(sr_state_outbox(f->s, &got, &found, &f->err));
	assert_true(found);
	assert_true(same_uuid(got.id, uuid(1)) && sr_uuid_none(&got.prev) && same_uuid(got.instance, uuid(3)) &&
		    same_uuid(got.start, uuid(6)));
	assert_true(got.epoch == 4 && got.seq == 7);
	OK(sr_state_outbox_leaves(f->s, &st, back, &f->err));
	assert_int_equal(sr_leaves_count(back), 2);
	expect_leaf(f, back, 1, "z", false);
	o.id = uuid(2);
	o.prev = uuid(1);
	OK(sr_state_outbox_put(f->s, &o, &f->err)); /* another one */
	assert_int_equal(ask_number(f, "SELECT count(*) FROM outbox_leaf"), 0);
	OK(sr_state_outbox_add(f->s, &other, leaves, &f->err));
	OK(sr_state_outbox_drop(f->s, &f->err));
	OK(sr_state_outbox(f->s, &got, &found, &f->err));
	assert_false(found);
	assert_int_equal(ask_number(f, "SELECT count(*) FROM outbox_leaf"), 0);
	sr_leaves_free(leaves);
	sr_leaves_free(back);
}

static void test_given_up(void **state)
{
	struct fixture *f = *state;
	struct sr_store_row st = some_store(f, true);
	struct sr_leaves *leaves = sr_leaves_new(NULL), *second = sr_leaves_new(NULL), *back = sr_leaves_new(NULL);
	struct sr_outbox o = {.id = uuid(1), .epoch = 4, .seq = 5};
	struct sr_leaf leaf;
	bool found = true;

	OK(sr_state_outbox_give_up(f->s, &f->err)); /* there is none */
	add_leaf(f, leaves, "b", 1);
	add_leaf(f, leaves, "c", 2);
	OK(sr_state_outbox_put(f->s, &o, &f->err));
	OK(sr_state_outbox_add(f->s, &st, leaves, &f->err));
	OK(sr_state_outbox_give_up(f->s, &f->err));
	reopen(f);
	OK(sr_state_outbox(f->s, &o, &found, &f->err));
	assert_false(found);
	o = (struct sr_outbox){.id = uuid(2), .epoch = 5, .seq = 9};
	add_leaf(f, second, "a", 3);
	add_leaf(f, second, "c", 4);
	OK(sr_state_outbox_put(f->s, &o, &f->err)); /* another push, and its end, leave them alone */
	OK(sr_state_outbox_drop(f->s, &f->err));
	OK(sr_state_outbox_put(f->s, &o, &f->err));
	OK(sr_state_outbox_add(f->s, &st, second, &f->err));
	OK(sr_state_outbox_leaves(f->s, &st, back, &f->err));
	assert_int_equal(sr_leaves_count(back), 2);
	sr_leaves_free(back);
	OK(sr_state_outbox_give_up(f->s, &f->err));
	back = sr_leaves_new(NULL);
	OK(sr_state_given_up(f->s, &st, back, &f->err));
	assert_int_equal(sr_leaves_count(back), 3);
	for (size_t k = 0; k < 3; k++) { /* each by its last push */
		OK(sr_leaves_at(back, k, &leaf, &f->err));
		assert_true(leaf.path.len == 1 && leaf.path.at[0] == 'a' + k);
		assert_true(k == 1 ? leaf.epoch == 4 && leaf.seq == 5 : leaf.epoch == 5 && leaf.seq == 9);
	}
	OK(sr_state_given_up_drop(f->s, &st, &f->err));
	assert_int_equal(ask_number(f, "SELECT count(*) FROM outbox_leaf"), 0);
	sr_leaves_free(leaves);
	sr_leaves_free(second);
	sr_leaves_free(back);
}

/* ---- history ---- */

struct list {
	uint64_t epoch[64], seq[64];
	size_t n;
};

static enum sr_status list_root(void *ctx, const struct sr_root_row *row, struct sr_err *err)
{
	struct list *l = ctx;

	(void)err;
	l->epoch[l->n] = row->epoch;
	l->seq[l->n++] = row->seq;
	return SR_OK;
}

static void test_roots(void **state)
{
	struct fixture *f = *state;
	struct sr_root_row row = {0}, got;
	struct list l = {.n = 0};
	bool found = true;

	OK(sr_state_root(f->s, 0, UINT64_MAX, &got, &found, &f->err));
	assert_false(found);
	for (uint64_t i = 0; i < 20; i++) {
		row = (struct sr_root_row){.epoch = 1 + i / 10, .seq = i, .root = hash((uint8_t)(i + 1)), .at_ms = (int64_t)i - 5};
		OK(sr_state_root_add(f->s, &row, &f->err));
	}
	assert_int_equal(sr_state_root_add(f->s, &row, &f->err), SR_E_INTERNAL);
	reopen(f);
	OK(sr_state_root(f->s, 0, UINT64_MAX, &got, &found, &f->err));
	assert_true(found && got.epoch == 2 && got.seq == 19 && sr_hash_eq(&got.root, &row.root) && got.at_ms == 14);
	OK(sr_state_root(f->s, 1, 3, &got, &found, &f->err));
	assert_true(found && got.at_ms == -2);
	OK(sr_state_root(f->s, 2, 3, &got, &found, &f->err));
	assert_false(found);
	OK(sr_state_roots(f->s, 1, 8, list_root, &l, &f->err));
	assert_int_equal(l.n, 12);
	assert_true(l.seq[0] == 8 && l.epoch[2] == 2 && l.seq[11] == 19);
	OK(sr_state_roots_trim(f->s, 20, &f->err));
	assert_int_equal(ask_number(f, "SELECT count(*) FROM root"), 20);
	OK(sr_state_roots_trim(f->s, 4, &f->err));
	l.n = 0;
	OK(sr_state_roots(f->s, 0, 0, list_root, &l, &f->err));
	assert_int_equal(l.n, 4);
	assert_true(l.seq[0] == 16);
}

static enum sr_status list_journal(void *ctx, const struct sr_journal_row *row, struct sr_err *err)
{
	struct list *l = ctx;
	struct sr_version v = file_version(row->seq);

	(void)err;
	assert_string_equal(row->store, "resources");
	assert_true(sr_bytes_eq(row->path, LIT("a\0b")));
	assert_true(same_version(&row->from, &none) && same_version(&row->to, &v));
	assert_int_equal(sr_uuid_none(&row->webserver), row->seq % 2 == 0);
	assert_true(row->at_ms == (int64_t)row->seq * 1000);
	if (l->n < 64) {
		l->epoch[l->n] = row->epoch;
		l->seq[l->n] = row->seq;
	}
	l->n++;
	return SR_OK;
}

static void add_journal(struct fixture *f, uint64_t epoch, uint64_t seq)
{
	struct sr_journal_row row = {.epoch = epoch, .seq = seq, .store = "resources", .path = LIT("a\0b"), .to = file_version(seq),
	                             .webserver = seq % 2 ? uuid(1) : (struct sr_uuid){{0}}, .at_ms = (int64_t)seq * 1000};

	OK(sr_state_journal_add(f->s, &row, &f->err));
}

static void test_journal(void **state)
{
	struct fixture *f = *state;
	struct list l = {.n = 0};

	for (uint64_t seq = 1; seq <= 10; seq++) {
		add_journal(f, 1, seq);
		add_journal(f, 1, seq);
	}
	add_journal(f, 2, 11);
	reopen(f);
	OK(sr_state_journal(f->s, 1, 8, list_journal, &l, &f->err));
	assert_int_equal(l.n, 5);
	assert_true(l.seq[0] == 9 && l.seq[1] == 9 && l.seq[4] == 11 && l.epoch[4] == 2);
	l.n = 0;
	OK(sr_state_journal(f->s, 1, UINT64_MAX, list_journal, &l, &f->err));
	assert_int_equal(l.n, 1);
}

static void test_journal_fill(void **state)
{
	struct fixture *f = *state;
	struct sr_journal_row row = {.epoch = 1, .seq = 3, .store = "resources", .webserver = uuid(1), .at_ms = 3000};
	struct sr_leaves *leaves = sr_leaves_new(NULL);
	struct list l = {.n = 0};

	OK(sr_state_journal_fill(f->s, &row, leaves, &f->err));
	for (size_t i = 0; i < 3; i++)
		OK(sr_leaves_add(leaves, &(struct sr_leaf){.path = LIT("a\0b"), .to = file_version(3), .mtime_ns = 7}, &f->err));
	OK(sr_state_journal_fill(f->s, &row, leaves, &f->err));
	OK(sr_state_journal(f->s, 0, 0, list_journal, &l, &f->err));
	assert_int_equal(l.n, 3);
	assert_int_equal(ask_number(f, "SELECT count(*) FROM journal WHERE mtime = 7 AND before IS NULL"), 3);
	f->s->journal_keep = 1000;
	row.seq = 5;
	for (size_t i = 0; i < 1000; i++)
		OK(sr_leaves_add(leaves, &(struct sr_leaf){.path = LIT("x"), .to = file_version(3)}, &f->err));
	OK(sr_state_journal_fill(f->s, &row, leaves, &f->err)); /* not to a trim */
	assert_int_equal(ask_number(f, "SELECT count(*) FROM journal"), 1006);
	row.seq = 7;
	OK(sr_state_journal_fill(f->s, &row, leaves, &f->err)); /* over one */
	assert_int_equal(ask_number(f, "SELECT count(*) FROM journal"), 1003);
	assert_int_equal(ask_number(f, "SELECT min(seq) FROM journal"), 7);
	sr_leaves_free(leaves);
}

static void test_journal_trim(void **state)
{
	struct fixture *f = *state;
	struct list l = {.n = 0};

	f->s->journal_keep = 1000;
	OK(sr_state_begin(f->s, &f->err));
	for (uint64_t i = 0; i < 4096; i++) /* to a trim */
		add_journal(f, 1, i / 30);
	OK(sr_state_commit(f->s, &f->err));
	OK(sr_state_journal(f->s, 0, 0, list_journal, &l, &f->err));
	assert_int_equal(l.n, 1006); /* the newest thousand and what came before them in their first commit */
	assert_int_equal(ask_number(f, "SELECT count(*) FROM journal WHERE seq = (SELECT min(seq) FROM journal)"), 30); /* whole */
}

static void test_deleted(void **state)
{
	struct fixture *f = *state;
	struct sr_store_row st = some_store(f, true), other;
	uint64_t epoch = 0, seq = 0;
	bool found = true;

	OK(sr_state_store(f->s, "users.db", &other, &f->err));
	OK(sr_state_deleted(f->s, &st, LIT("a"), &epoch, &seq, &found, &f->err));
	assert_false(found);
	OK(sr_state_deleted_add(f->s, &st, LIT("a"), 2, 5, &f->err));
	OK(sr_state_deleted_add(f->s, &st, LIT("a"), 1, 9, &f->err));
	OK(sr_state_deleted(f->s, &st, LIT("a"), &epoch, &seq, &found, &f->err));
	assert_true(found && epoch == 2 && seq == 5);
	OK(sr_state_deleted_add(f->s, &st, LIT("a"), 2, 6, &f->err));
	reopen(f);
	OK(sr_state_deleted(f->s, &st, LIT("a"), &epoch, &seq, &found, &f->err));
	assert_true(found && epoch == 2 && seq == 6);
	OK(sr_state_deleted(f->s, &other, LIT("a"), &epoch, &seq, &found, &f->err));
	assert_false(found);
}

static void test_deleted_trim(void **state)
{
	struct fixture *f = *state;
	struct sr_store_row st = some_store(f, true);
	uint64_t epoch, seq;
	bool found = false;

	f->s->deleted_keep = 1000;
	OK(sr_state_begin(f->s, &f->err));
	for (uint32_t i = 0; i < 3000; i++) {
		OK(sr_state_deleted_add(f->s, &st, sr_bytes(&i, sizeof(i)), 1, 1, &f->err));
		OK(sr_state_deleted_add(f->s, &st, LIT("again and again"), 1, i, &f->err));
	}
	OK(sr_state_commit(f->s, &f->err));
	assert_in_range(ask_number(f, "SELECT count(*) FROM deleted"), 1000, 1101);
	OK(sr_state_deleted(f->s, &st, LIT("again and again"), &epoch, &seq, &found, &f->err));
	assert_true(found && seq == 2999);
	for (uint32_t i = 0; i < 3000; i++) {
		OK(sr_state_deleted(f->s, &st, sr_bytes(&i, sizeof(i)), &epoch, &seq, &found, &f->err));
		if (i < 1800 || i >= 2001)
			assert_int_equal(found, i >= 2001);
	}
}

static void test_push_result(void **state)
{
	struct fixture *f = *state;
	struct sr_push_result row = {.webserver = uuid(1), .id = uuid(2), .kind = SR_PUSH_REFUSED, .epoch = 3, .seq = 4, .root = hash(5),
	                             .answer = LIT("{\"ok\":true}")}, got;
	struct sr_uuid a = uuid(1), b = uuid(9);
	bool found = true;

	OK(sr_state_push_result(f->s, &a, &got, &found, &f->err));
	assert_false(found);
	OK(sr_state_push_result_put(f->s, &row, &f->err));
	row.kind = SR_PUSH_OK;
	OK(sr_state_push_result_put(f->s, &row, &f->err));
	reopen(f);
	OK(sr_state_push_result(f->s, &a, &got, &found, &f->err));
	assert_true(found && got.kind == SR_PUSH_OK && got.epoch == 3 && got.seq == 4 && sr_hash_eq(&got.root, &row.root));
	assert_true(same_uuid(got.webserver, a) && same_uuid(got.id, uuid(2)) && sr_bytes_eq(got.answer, row.answer));
	OK(sr_state_push_result(f->s, &b, &got, &found, &f->err));
	assert_false(found);
}

static enum sr_status check_webserver(void *ctx, const struct sr_webserver_row *row, struct sr_err *err)
{
	size_t *n = ctx;
	struct sr_hash root = hash(8);

	(void)err;
	if ((*n)++ == 0) {
		assert_string_equal(row->name, "alpha");
		assert_null(row->pin);
		assert_null(row->status);
		return SR_OK;
	}
	assert_string_equal(row->name, "beta");
	assert_string_equal(row->external_addr, "web2:8080");
	assert_string_equal(row->peer, "10.0.0.2");
	assert_string_equal(row->version, "2.0");
	assert_string_equal(row->pin, "sha256//x");
	assert_string_equal(row->status, "{}");
	assert_true(row->sync_port == 9406 && row->epoch == 3 && row->seq == 4 && row->seen_ms == 5 && sr_hash_eq(&row->root, &root));
	assert_true(same_uuid(row->uuid, uuid(1)));
	return SR_OK;
}

static void test_webservers(void **state)
{
	struct fixture *f = *state;
	struct sr_webserver_row a = {.uuid = uuid(2), .name = "alpha"};
	struct sr_webserver_row b = {.uuid = uuid(1),
				     .name = "beta",
				     .external_addr = "web2:8080",
				     .peer = "10.0.0.2",
				     .version = "1.0",
				     .pin = "sha256//x",
				     .sync_port = 9406,
				     .epoch = 3,
				     .seq = 4,
				     .root = hash(8),
				     .seen_ms = 5,
				     .status = "{}"};
	size_t n = 0;

	OK(sr_state_webserver_put(f->s, &b, &f->err));
	OK(sr_state_webserver_put(f->s, &a, &f->err));
	b.version = "2.0";
	OK(sr_state_webserver_put(f->s, &b, &f->err));
	reopen(f);
	OK(sr_state_webservers(f->s, check_webserver, &n, &f->err));
	assert_int_equal(n, 2);
}

/* Bytes that nobody wrote are refused, not believed. */
static void test_damaged(void **state)
{
	static const char *const versions[] = {"x'01'", "x'0180'", "x'01ff0f00'", "x'000000'", "x'01a403010203'"};
	struct fixture *f = *state;
	struct sr_store_row st = some_store(f, true);
	struct sr_version v = file_version(1);
	struct sr_leaf_row row;

	put(f, &st, "a", v, SR_BASE_KNOWN, v);
	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		char sql[96];

		snprintf(sql, sizeof(sql), "UPDATE leaf SET local = %s", versions[i]);
		assert_int_equal(sqlite3_exec(f->s->db, sql, NULL, NULL, NULL), SQLITE_OK);
		assert_int_equal(sr_state_leaf(f->s, &st, LIT("a"), &row, &f->err), SR_E_DATA);
		assert_non_null(strstr(f->err.text, "leaf: read"));
	}
	assert_int_equal(sqlite3_exec(f->s->db, "UPDATE leaf SET local = NULL, base_state = 4", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sr_state_leaf(f->s, &st, LIT("a"), &row, &f->err), SR_E_DATA);
	assert_int_equal(sqlite3_exec(f->s->db, "UPDATE store SET marker = x'01'", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sr_state_store(f->s, "resources", &st, &f->err), SR_E_DATA);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_modes),        TEST(test_lock),         TEST(test_foreign),      TEST(test_foreign_database),
		TEST(test_modes),        TEST(test_lock),         TEST(test_foreign),      TEST(test_is_one),
		TEST(test_empty_file),   TEST(test_steps),        TEST(test_kill_in_step), TEST(test_reader),
		TEST(test_full),         TEST(test_meta),         TEST(test_store),        TEST(test_leaf),
		TEST(test_leaf_removed),
		TEST(test_leaf_late_absence), TEST(test_leaf_sign),    TEST(test_leaf_agree), TEST(test_leaves_put), TEST(test_leaves_put_fails), TEST(test_agree_open), TEST(test_leaves),       TEST(test_forget_as_hint),
		TEST(test_forget),       TEST(test_intents),      TEST(test_outbox),       TEST(test_given_up),      TEST(test_roots),
		TEST(test_journal), TEST(test_journal_fill),      TEST(test_journal_trim), TEST(test_deleted),
		TEST(test_deleted_trim), TEST(test_push_result),  TEST(test_webservers),   TEST(test_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
