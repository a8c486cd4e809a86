/* test_archive.c - the conflict archive: content byte for byte, order, what a crash leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hashtree/record.h"
#include "lib/state/archive.h"

#define LIT(s) sr_bytes(s, sizeof(s) - 1)
#define START_MS INT64_C(1795329000123) /* 2026-11-22T06:30:00.123Z */

/* ---- a clock to set, a directory, an open archive ---- */

struct fixture {
	char dir[64], *archive, *elsewhere;
	int dirfd;
	struct sr_archive *a;
	struct sr_err err;
	struct sr_door door;
	int64_t now_ms;
};

static int64_t set_now_ms(void *ctx)
{
	return ((struct fixture *)ctx)->now_ms;
}

static int64_t no_ticks_ms(void *ctx)
{
	(void)ctx;
	return 0;
}

static void zero_random(void *ctx, void *out, size_t n)
{
	(void)ctx;
	memset(out, 0, n);
}

static void ok_(struct fixture *f, enum sr_status status, const char *file, int line)
{
	if (status != SR_OK) {
		print_error("%s:%d: %s: %s\n", file, line, sr_status_name(status), f->err.text);
		_fail(file, line);
	}
}
#define OK(call) ok_(f, (call), __FILE__, __LINE__)

static int set_up(void **state)
{
	struct fixture *f = sr_alloc(sizeof(*f));

	strcpy(f->dir, "/tmp/sr-archive-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->archive = sr_format("%s/archive", f->dir);
	f->elsewhere = sr_format("%s/elsewhere", f->dir);
	assert_int_equal(mkdir(f->elsewhere, 0700), 0);
	f->dirfd = open(f->elsewhere, O_RDONLY | O_DIRECTORY);
	f->now_ms = START_MS;
	f->door = (struct sr_door){set_now_ms, no_ticks_ms, zero_random, f};
	sr_door_install(&f->door);
	OK(sr_archive_open(&f->a, f->dir, &f->err));
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char *command = sr_format("rm -rf '%s'", f->dir);

	sr_archive_close(f->a);
	sr_door_install(NULL);
	close(f->dirfd);
	if (system(command) != 0)
		print_error("%s: not removed\n", f->dir);
	free(command);
	free(f->archive);
	free(f->elsewhere);
	free(f);
	return 0;
}

static void reopen(struct fixture *f)
{
	sr_archive_close(f->a);
	f->a = NULL;
	OK(sr_archive_open(&f->a, f->dir, &f->err));
}

static struct sr_loser file_loser(void)
{
	return (struct sr_loser){.store = "resources",
				 .store_kind = SR_KIND_FILES,
				 .path = LIT("img\0a b.png"),
				 .reason = "edited-both",
				 .version = {.kind = SR_KIND_FILE, .mode = 0640, .bytes = 5, .hash = {{1, 2}}},
				 .mtime_ns = 123456789012345678,
				 .winner = {.kind = SR_KIND_NONE}};
}

/* OWNED BY CALLER (free). */
static char *slurp(int fd, size_t *n)
{
	struct sr_buf b = {0};
	ssize_t got;

	assert_true(fd >= 0);
	while ((got = read(fd, sr_buf_room(&b, 65536), 65536)) > 0)
		b.len += (size_t)got;
	assert_int_equal(got, 0);
	close(fd);
	*n = b.len;
	return sr_buf_text(&b);
}

static json_t *load(struct fixture *f, const char *id)
{
	char *name = sr_format("%s/%s.json", f->archive, id);
	json_t *object = json_load_file(name, JSON_ALLOW_NUL, NULL);

	assert_non_null(object);
	free(name);
	return object;
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	assert_non_null(text);
	return text;
}

static void expect_content(struct fixture *f, const char *id, struct sr_bytes content)
{
	size_t n;
	char *text;
	int fd = -1;

	OK(sr_archive_data(f->a, id, &fd, &f->err));
	text = slurp(fd, &n);
	assert_true(sr_bytes_eq(sr_bytes(text, n), content));
	free(text);
}

static void write_file(int dirfd, const char *name, struct sr_bytes content)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, content.at, content.len), (ssize_t)content.len);
	close(fd);
}

static bool is_there(int dirfd, const char *name)
{
	return faccessat(dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static size_t files_in(const char *dir)
{
	DIR *d = opendir(dir);
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

struct list {
	char id[16][32], path[16][64], kind[16][8], reason[16][32], when[16][32];
	uint64_t size[16];
	size_t n, stop_at;
};

static enum sr_status list_entry(void *ctx, const struct sr_archived *e, struct sr_err *err)
{
	struct list *l = ctx;

	snprintf(l->id[l->n], 32, "%s", e->id);
	snprintf(l->path[l->n], 64, "%s", e->path);
	snprintf(l->kind[l->n], 8, "%s", e->kind);
	snprintf(l->reason[l->n], 32, "%s", e->reason);
	snprintf(l->when[l->n], 32, "%s", e->when);
	l->size[l->n++] = e->size;
	return l->n == l->stop_at ? sr_err_set(err, SR_E_GONE, "enough") : SR_OK;
}

static struct list list(struct fixture *f)
{
	struct list l = {.n = 0};

	OK(sr_archive_each(f->a, list_entry, &l, &f->err));
	return l;
}

/* What the directory holds. */
static uint64_t bytes_there(struct fixture *f)
{
	DIR *dir = opendir(f->archive);
	struct dirent *e;
	uint64_t bytes = 0;
	struct stat st;

	assert_non_null(dir);
	while ((e = readdir(dir)))
		if (fstatat(dirfd(dir), e->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
			bytes += (uint64_t)st.st_size;
	closedir(dir);
	return bytes;
}

static void expect_usage(struct fixture *f, uint64_t entries)
{
	struct sr_archive_usage u;

	sr_archive_usage(f->a, &u);
	assert_int_equal(u.entries, entries);
	assert_int_equal(u.bytes, bytes_there(f));
}

/* ---- tests ---- */

static void test_record(void **state)
{
	struct fixture *f = *state;
	struct sr_value id = {.class = SR_INT, .i = 4711};
	struct sr_column columns[] = {
		{LIT("id"), {.class = SR_INT, .i = INT64_MIN + 1}},   {LIT("name"), {.class = SR_TEXT, .b = LIT("J\xc3\xb6rg\0x")}},
		{LIT("bad"), {.class = SR_TEXT, .b = LIT("a\xff")}},  {LIT("blob"), {.class = SR_BLOB, .b = LIT("ab")}},
		{LIT("pi"), {.class = SR_REAL, .real = 0.1}},         {LIT("inf"), {.class = SR_REAL, .real = -INFINITY}},
		{LIT("odd\xff"), {.class = SR_INT, .i = 1}},          {LIT("gone"), {.class = SR_NULL}},
	};
	struct sr_buf record = {0}, path = {0};
	struct sr_loser loser = {.store = "users.db", .store_kind = SR_KIND_DATABASE, .reason = "union", .version = {.kind = SR_KIND_ROW},
	                         .winner = {.kind = SR_KIND_ROW, .bytes = 3, .hash = {{0xab}}}};
	json_t *object, *shown;
	struct list l;

	sr_buf_bytes(&path, LIT("users\0"));
	sr_key_encode(&path, &id, 1);
	sr_record_encode(&record, columns, sizeof(columns) / sizeof(columns[0]));
	loser.path = sr_buf_view(&path);
	loser.version.bytes = record.len;
	OK(sr_archive_record(f->a, &loser, sr_buf_view(&record), &f->err));
	reopen(f);
	l = list(f);
	assert_int_equal(l.n, 1);
	assert_string_equal(l.id[0], "20261122T063000.123Z-00000000");
	assert_string_equal(l.when[0], "2026-11-22T06:30:00.123Z");
	assert_string_equal(l.path[0], "users.db/users/4711");
	assert_string_equal(l.kind[0], "row");
	assert_string_equal(l.reason[0], "union");
	assert_int_equal(l.size[0], record.len);
	expect_content(f, l.id[0], sr_buf_view(&record));

	object = load(f, l.id[0]);
	assert_string_equal(text_of(object, "store"), "users.db");
	assert_string_equal(text_of(json_object_get(object, "winner"), "hash"), "ab000000000000000000000000000000");
	shown = json_object_get(object, "columns");
	assert_int_equal(json_object_size(shown), 7);
	assert_true(json_integer_value(json_object_get(shown, "id")) == INT64_MIN + 1);
	assert_int_equal(json_string_length(json_object_get(shown, "name")), 7);
	assert_memory_equal(text_of(shown, "name"), "J\xc3\xb6rg\0x", 7);
	assert_string_equal(text_of(json_object_get(shown, "bad"), "hex"), "61ff");
	assert_string_equal(text_of(json_object_get(shown, "blob"), "blob"), "6162");
	assert_true(json_real_value(json_object_get(shown, "pi")) == 0.1);
	assert_string_equal(text_of(json_object_get(shown, "inf"), "real"), "-inf");
	assert_int_equal(json_integer_value(json_object_get(shown, "odd%FF")), 1);
	json_decref(object);
	sr_buf_free(&record);
	sr_buf_free(&path);
}

/* What does not decode, or is too long to be shown, is kept all the same. */
static void test_record_not_shown(void **state)
{
	struct fixture *f = *state;
	struct sr_column column = {LIT("t"), {.class = SR_TEXT}};
	struct sr_loser loser = {.store = "users.db",
				 .store_kind = SR_KIND_DATABASE,
				 .path = LIT("users\0\1\1\0\0\0\0\0\0\0\7"),
				 .reason = "unique",
				 .version = {.kind = SR_KIND_ROW}};
	struct sr_buf record = {0};
	char *long_text = sr_alloc(100000);
	json_t *object;
	struct list l;

	OK(sr_archive_record(f->a, &loser, LIT("\xff\xff"), &f->err));
	memset(long_text, 'x', 100000);
	column.value.b = sr_bytes(long_text, 100000);
	sr_record_encode(&record, &column, 1);
	OK(sr_archive_record(f->a, &loser, sr_buf_view(&record), &f->err));
	l = list(f);
	assert_int_equal(l.n, 2);
	expect_content(f, l.id[0], LIT("\xff\xff"));
	expect_content(f, l.id[1], sr_buf_view(&record));
	object = load(f, l.id[0]);
	assert_null(json_object_get(object, "columns"));
	json_decref(object);
	object = load(f, l.id[1]);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(json_object_get(object, "columns"), "t"), "omitted_bytes")),
			 100000);
	json_decref(object);
	sr_buf_free(&record);
	free(long_text);
}

static void test_file(void **state)
{
	struct fixture *f = *state;
	struct sr_loser loser = file_loser();
	struct stat before, after;
	json_t *object;
	struct list l;
	int fd;

	write_file(f->dirfd, "displaced", LIT("a\0b\r\n"));
	assert_int_equal(fstatat(f->dirfd, "displaced", &before, 0), 0);
	OK(sr_archive_file(f->a, &loser, f->dirfd, "displaced", &f->err));
	assert_false(is_there(f->dirfd, "displaced"));
	l = list(f);
	assert_int_equal(l.n, 1);
	assert_string_equal(l.path[0], "resources/img/a%20b.png");
	assert_string_equal(l.kind[0], "file");
	assert_int_equal(l.size[0], 5);
	expect_content(f, l.id[0], LIT("a\0b\r\n"));
	OK(sr_archive_data(f->a, l.id[0], &fd, &f->err));
	assert_int_equal(fstat(fd, &after), 0);
	close(fd);
	assert_true(after.st_ino == before.st_ino); /* moved, not copied */
	assert_int_equal(after.st_mode & 07777, 0600);
	object = load(f, l.id[0]);
	assert_true(json_integer_value(json_object_get(object, "mtime_ns")) == 123456789012345678);
	assert_string_equal(text_of(json_object_get(object, "version"), "mode"), "0640");
	assert_string_equal(text_of(json_object_get(object, "winner"), "kind"), "absent");
	assert_string_equal(text_of(object, "path_hex"), "696d67006120622e706e67");
	json_decref(object);
	assert_int_equal(files_in(f->archive), 2);
}

/* Another name of the same inode stays an application's: what is archived must not change with it. */
static void test_linked_file(void **state)
{
	struct fixture *f = *state;
	struct sr_loser loser = file_loser();
	size_t big = 300000;
	char *content = sr_alloc(big);
	struct stat st;
	struct list l;

	for (size_t i = 0; i < big; i++)
		content[i] = (char)(i * 7);
	write_file(f->dirfd, "displaced", sr_bytes(content, big));
	assert_int_equal(linkat(f->dirfd, "displaced", f->dirfd, "other", 0), 0);
	OK(sr_archive_file(f->a, &loser, f->dirfd, "displaced", &f->err));
	assert_false(is_there(f->dirfd, "displaced"));
	write_file(f->dirfd, "other", LIT("written later"));
	assert_int_equal(fstatat(f->dirfd, "other", &st, 0), 0);
	assert_int_equal(st.st_mode & 0777, 0644);
	l = list(f);
	assert_int_equal(l.n, 1);
	expect_content(f, l.id[0], sr_bytes(content, big));
	free(content);
}

static void test_other_filesystem(void **state)
{
	struct fixture *f = *state;
	struct sr_loser loser = file_loser();
	char shm[] = "/dev/shm/sr-archive-XXXXXX";
	struct stat here, there;
	struct list l;
	int fd;

	if (!mkdtemp(shm))
		skip();
	fd = open(shm, O_RDONLY | O_DIRECTORY);
	assert_int_equal(fstat(fd, &there), 0);
	assert_int_equal(stat(f->dir, &here), 0);
	if (here.st_dev == there.st_dev) {
		close(fd);
		rmdir(shm);
		skip();
	}
	write_file(fd, "displaced", LIT("from afar"));
	OK(sr_archive_file(f->a, &loser, fd, "displaced", &f->err));
	assert_false(is_there(fd, "displaced"));
	close(fd);
	assert_int_equal(rmdir(shm), 0);
	l = list(f);
	assert_int_equal(l.n, 1);
	expect_content(f, l.id[0], LIT("from afar"));
	assert_int_equal(files_in(f->archive), 2);
}

static void test_not_a_file(void **state)
{
	struct fixture *f = *state;
	struct sr_loser loser = file_loser();

	assert_int_equal(symlinkat("/etc/passwd", f->dirfd, "link"), 0);
	assert_int_equal(mkfifoat(f->dirfd, "fifo", 0600), 0);
	assert_int_equal(sr_archive_file(f->a, &loser, f->dirfd, "link", &f->err), SR_E_IO);
	assert_int_equal(sr_archive_file(f->a, &loser, f->dirfd, "fifo", &f->err), SR_E_DATA);
	assert_int_equal(sr_archive_file(f->a, &loser, f->dirfd, "absent", &f->err), SR_E_IO);
	assert_true(is_there(f->dirfd, "link") && is_there(f->dirfd, "fifo"));
	assert_int_equal(files_in(f->archive), 0);
}

static void test_bare(void **state)
{
	struct fixture *f = *state;
	struct sr_loser loser = {.store = "bad\xff",
				 .store_kind = SR_KIND_FILES,
				 .path = LIT("d\xff"),
				 .reason = "kind",
				 .version = {.kind = SR_KIND_DIR, .mode = 0755},
				 .winner = {.kind = SR_KIND_FILE, .bytes = 1, .hash = {{1}}}};
	struct list l;
	int fd = -7;

	OK(sr_archive_bare(f->a, &loser, &f->err));
	l = list(f);
	assert_int_equal(l.n, 1);
	assert_string_equal(l.kind[0], "dir");
	assert_int_equal(l.size[0], 0);
	assert_int_equal(sr_archive_data(f->a, l.id[0], &fd, &f->err), SR_E_NOTFOUND);
	assert_int_equal(fd, -7);
}

static void test_data_of_nothing(void **state)
{
	static const char *const ids[] = {"",
					  "x",
					  "../../../../../../etc/passwd",
					  "20261122T063000.123Z-0000000/",
					  "20261122T063000.123Z-00000001",
					  "20261122T063000.123Z-000000000"};
	struct fixture *f = *state;
	struct sr_loser loser = file_loser();
	int fd = -7;

	OK(sr_archive_record(f->a, &loser, LIT("x"), &f->err));
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
		assert_int_equal(sr_archive_data(f->a, ids[i], &fd, &f->err), SR_E_NOTFOUND);
	assert_int_equal(fd, -7);
}

/* By time; within one millisecond, and when the clock goes back, by the order of coming; after a reopen nothing is overwritten. */
static void test_order(void **state)
{
	static const int64_t steps[] = {0, 0, 1, -1000, 0, 5000, 1};
	enum { N = sizeof(steps) / sizeof(steps[0]) };
	struct fixture *f = *state;
	struct sr_loser loser = file_loser();
	struct sr_archive_usage u;
	struct list l;
	char name[2] = "a";

	for (size_t i = 0; i < N; i++) {
		f->now_ms += steps[i];
		name[0] = (char)('a' + i);
		loser.path = sr_bytes(name, 1);
		OK(sr_archive_record(f->a, &loser, sr_bytes("xxxxxxxxxx", i), &f->err));
	}
	reopen(f); /* the same millisecond and, here, the same randomness again */
	loser.path = LIT("z");
	OK(sr_archive_record(f->a, &loser, LIT("zz"), &f->err));
	l = list(f);
	assert_int_equal(l.n, N + 1);
	for (size_t i = 0; i < N; i++)
		assert_int_equal(l.path[i][strlen("resources/")], 'a' + i);
	assert_string_equal(l.path[N], "resources/z");
	sr_archive_usage(f->a, &u);
	assert_int_equal(u.entries, N + 1);
	assert_int_equal(u.bytes, bytes_there(f));

	l = (struct list){.stop_at = 2};
	assert_int_equal(sr_archive_each(f->a, list_entry, &l, &f->err), SR_E_GONE);
	assert_int_equal(l.n, 2);
}

static void *archive_some(void *ctx)
{
	struct fixture *f = ctx;
	struct sr_loser loser = file_loser();

	for (int i = 0; i < 20; i++)
		assert_int_equal(sr_archive_record(f->a, &loser, LIT("x"), NULL), SR_OK);
	return NULL;
}

static void test_threads(void **state)
{
	struct fixture *f = *state;
	struct sr_archive_usage u;
	pthread_t threads[4];

	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, archive_some, f), 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	sr_archive_usage(f->a, &u);
	assert_int_equal(u.entries, 80);
	assert_int_equal(u.bytes, bytes_there(f));
}

/* What crashes leave. */
static void test_torn(void **state)
{
	struct fixture *f = *state;
	struct sr_loser loser = file_loser();
	int dirfd = open(f->archive, O_RDONLY | O_DIRECTORY);
	struct list l;
	char *json, from[64], to[64];

	/* Moved here, not yet published: the only copy.  It is completed. */
	write_file(f->dirfd, "displaced", LIT("precious"));
	OK(sr_archive_file(f->a, &loser, f->dirfd, "displaced", &f->err));
	l = list(f);
	snprintf(from, sizeof(from), "%s.json", l.id[0]);
	snprintf(to, sizeof(to), "%s.json.tmp", l.id[0]);
	assert_int_equal(renameat(dirfd, from, dirfd, to), 0);
	assert_int_equal(list(f).n, 0);
	reopen(f);
	assert_int_equal(list(f).n, 1);
	expect_content(f, l.id[0], LIT("precious"));
	assert_int_equal(files_in(f->archive), 2);

	/* Others are removed after an hour, not before; a stranger's file never. */
	json = sr_format("%s", "20261122T063000.123Z-0000000a");
	snprintf(to, sizeof(to), "%s.data", json);
	write_file(dirfd, to, LIT("torn"));
	snprintf(to, sizeof(to), "%s.json.tmp", "20261122T063000.123Z-0000000b");
	write_file(dirfd, to, LIT("{"));
	snprintf(to, sizeof(to), "%s.data.tmp", "20261122T063000.123Z-0000000b");
	write_file(dirfd, to, LIT("to"));
	write_file(dirfd, "README", LIT("mine"));
	f->now_ms = START_MS + 3600 * 1000;
	reopen(f);
	assert_int_equal(list(f).n, 1);
	assert_int_equal(files_in(f->archive), 6);
	f->now_ms++;
	reopen(f);
	assert_int_equal(list(f).n, 1);
	assert_int_equal(files_in(f->archive), 3);
	assert_true(is_there(dirfd, "README"));
	expect_content(f, l.id[0], LIT("precious"));
	free(json);
	close(dirfd);
}

static void test_not_ours(void **state)
{
	struct fixture *f = *state;
	int dirfd = open(f->archive, O_RDONLY | O_DIRECTORY);
	struct list l = {.n = 0};

	write_file(dirfd, "20261122T063000.123Z-0000000a.json", LIT("{\"id\": 7}"));
	assert_int_equal(sr_archive_each(f->a, list_entry, &l, &f->err), SR_E_DATA);
	assert_non_null(strstr(f->err.text, "20261122T063000.123Z-0000000a.json"));
	assert_int_equal(sr_archive_open(&(struct sr_archive *){NULL}, "/nonexistent/dir", &f->err), SR_E_NOINPUT);
	close(dirfd);
}

/* Whatever cannot be archived is where it was, as it was. */
static void test_failure_restores(void **state)
{
	struct fixture *f = *state;
	struct sr_loser loser = file_loser();
	char *moved = sr_format("%s/away", f->dir);
	struct stat st;

	write_file(f->dirfd, "displaced", LIT("precious"));
	assert_int_equal(rename(f->archive, moved), 0);
	assert_int_equal(rmdir(moved), 0); /* the archive's directory is gone */
	assert_int_equal(sr_archive_file(f->a, &loser, f->dirfd, "displaced", &f->err), SR_E_IO);
	assert_int_equal(sr_archive_record(f->a, &loser, LIT("x"), &f->err), SR_E_IO);
	assert_int_equal(fstatat(f->dirfd, "displaced", &st, 0), 0);
	assert_int_equal(st.st_mode & 0777, 0644);
	assert_int_equal(st.st_size, 8);
	free(moved);
}

static void test_modes(void **state)
{
	struct fixture *f = *state;
	struct sr_loser loser = file_loser();
	char *name;
	struct stat st;
	mode_t mask = umask(0777);

	OK(sr_archive_record(f->a, &loser, LIT("x"), &f->err));
	umask(mask);
	assert_int_equal(stat(f->archive, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	name = sr_format("%s/%s.data", f->archive, list(f).id[0]);
	assert_int_equal(stat(name, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	strcpy(name + strlen(name) - 4, "json");
	assert_int_equal(stat(name, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	free(name);
}

/* Never less than it takes, and not much more. */
static void expect_near(struct fixture *f, const struct sr_loser *loser, const struct sr_bytes *record, uint64_t size)
{
	uint64_t most = sr_archive_most(loser, size, record), before = bytes_there(f), real;

	if (record)
		OK(sr_archive_record(f->a, loser, *record, &f->err));
	else
		OK(sr_archive_file(f->a, loser, f->dirfd, "displaced", &f->err));
	real = bytes_there(f) - before;
	assert_in_range(most, real, real + 200);
}

static void test_most(void **state)
{
	struct fixture *f = *state;
	char *text = sr_alloc(5000);
	struct sr_column columns[] = {{LIT("a"), {.class = SR_TEXT, .b = sr_bytes(text, 5000)}},
				      {LIT("b"), {.class = SR_BLOB, .b = sr_bytes(text, 3000)}},
				      {LIT("c"), {.class = SR_REAL, .real = 0.1}}};
	struct sr_loser loser = file_loser();
	struct sr_buf record = {0};
	struct sr_bytes view;

	write_file(f->dirfd, "displaced", LIT("12345"));
	expect_near(f, &loser, NULL, 5);
	loser = (struct sr_loser){.store = "users.db",
				  .store_kind = SR_KIND_DATABASE,
				  .path = LIT("users\0\1\1\0\0\0\0\0\0\0\7"),
				  .reason = "changed-while-applying",
				  .version = {.kind = SR_KIND_ROW, .bytes = INT64_MAX, .hash = {{3}}},
				  .winner = {.kind = SR_KIND_FILE, .mode = 0777, .bytes = INT64_MAX, .hash = {{4}}}};
	for (const char *byte = "x\1\""; *byte; byte++) { /* plain, and such as JSON escapes */
		memset(text, *byte, 5000);
		sr_buf_clear(&record);
		sr_record_encode(&record, columns, sizeof(columns) / sizeof(columns[0]));
		view = sr_buf_view(&record);
		expect_near(f, &loser, &view, record.len);
	}
	sr_buf_free(&record);
	free(text);
}

/* A version that does not fit is nowhere changed, and fits when there is room: made here, by hand, or by a higher limit. */
static void test_limit(void **state)
{
	struct fixture *f = *state;
	struct sr_loser loser = file_loser();
	uint64_t most = sr_archive_most(&loser, 5, NULL);
	struct sr_archive_ids ids = {0};
	int64_t since_ms = 0;
	struct stat st;
	char *name;

	sr_archive_limit(f->a, 2 * most);
	write_file(f->dirfd, "one", LIT("12345"));
	OK(sr_archive_file(f->a, &loser, f->dirfd, "one", &f->err));
	assert_true(bytes_there(f) < most);
	sr_archive_limit(f->a, bytes_there(f) + most - 1);
	write_file(f->dirfd, "two", LIT("67890"));
	assert_int_equal(sr_archive_file(f->a, &loser, f->dirfd, "two", &f->err), SR_E_ROOM);
	assert_non_null(strstr(f->err.text, f->archive));
	assert_non_null(strstr(f->err.text, "is full: 1 entries"));
	assert_non_null(strstr(f->err.text, "sameroot conflicts remove"));
	assert_int_equal(fstatat(f->dirfd, "two", &st, 0), 0);
	assert_int_equal(sr_archive_record(f->a, &loser, LIT("67890"), &f->err), SR_E_ROOM);
	assert_int_equal(sr_archive_is_full(f->a, &since_ms, &f->err), SR_E_ROOM);
	assert_int_equal(since_ms, f->now_ms);
	expect_usage(f, 1);

	sr_archive_limit(f->a, bytes_there(f) + most); /* raised */
	OK(sr_archive_is_full(f->a, &since_ms, &f->err));
	OK(sr_archive_file(f->a, &loser, f->dirfd, "two", &f->err));
	expect_usage(f, 2);

	assert_int_equal(sr_archive_room(f->a, most, &f->err), SR_E_ROOM); /* and removed */
	OK(sr_archive_ids(f->a, &ids, &f->err));
	assert_int_equal(ids.n, 2);
	ids.n = 1;
	OK(sr_archive_remove(f->a, &ids, &f->err));
	expect_usage(f, 1);
	OK(sr_archive_room(f->a, most, &f->err));
	OK(sr_archive_remove(f->a, &ids, &f->err)); /* twice is harmless */
	expect_usage(f, 1);
	sr_archive_ids_free(&ids);

	assert_int_equal(sr_archive_room(f->a, 3 * most, &f->err), SR_E_ROOM);
	assert_non_null(strstr(f->err.text, "more than all of Conflict-Max-Bytes"));
	sr_archive_limit(f->a, most); /* by hand */
	assert_int_equal(sr_archive_room(f->a, most, &f->err), SR_E_ROOM);
	name = sr_format("rm %s/*", f->archive);
	assert_int_equal(system(name), 0);
	free(name);
	OK(sr_archive_room(f->a, most, &f->err));
	expect_usage(f, 0);
}

/* What a crash had displaced is taken all the same; a new start counts what there is. */
static void test_limit_after_a_crash(void **state)
{
	struct fixture *f = *state;
	struct sr_loser loser = file_loser();
	char *name;

	sr_archive_limit(f->a, 1);
	loser.beyond = true;
	OK(sr_archive_record(f->a, &loser, LIT("x"), &f->err));
	expect_usage(f, 1);
	loser.beyond = false;
	assert_int_equal(sr_archive_record(f->a, &loser, LIT("x"), &f->err), SR_E_ROOM);
	sr_archive_limit(f->a, 0);
	OK(sr_archive_bare(f->a, &loser, &f->err));
	expect_usage(f, 2);
	name = sr_format("%s/%s.json.tmp", f->archive, "20261122T063000.123Z-00000077");
	assert_int_equal(close(creat(name, 0600)), 0);
	free(name);
	reopen(f);
	expect_usage(f, 2);
}

static enum sr_status same_loser(void *ctx, const struct sr_archived *e, struct sr_err *err)
{
	const struct sr_loser *l = ctx;

	(void)err;
	assert_true(sr_version_eq(&e->version, &l->version));
	assert_true(sr_version_eq(&e->winner, &l->winner));
	assert_true(sr_bytes_eq(e->raw_path, l->path));
	assert_int_equal(e->mtime_ns, l->mtime_ns);
	assert_string_equal(e->store, l->store);
	return SR_OK;
}

static void test_one_of_them(void **state)
{
	struct fixture *f = *state;
	struct sr_loser loser = file_loser();
	char id[SR_ARCHIVE_ID], other[SR_ARCHIVE_ID];
	struct sr_archive_ids ids = {0};

	loser.winner = (struct sr_version){.kind = SR_KIND_FILE, .mode = 0600, .bytes = 7, .hash = {{9}}};
	OK(sr_archive_record(f->a, &loser, LIT("x"), &f->err));
	f->now_ms += 1000;
	OK(sr_archive_record(f->a, &loser, LIT("y"), &f->err));
	OK(sr_archive_ids(f->a, &ids, &f->err));
	assert_int_equal(sr_archive_find(f->a, "20261122", id, &f->err), SR_E_USAGE);
	assert_non_null(strstr(f->err.text, ids.id[0]));
	assert_non_null(strstr(f->err.text, ids.id[1]));
	assert_int_equal(sr_archive_find(f->a, "2027", id, &f->err), SR_E_NOTFOUND);
	assert_int_equal(sr_archive_find(f->a, "", id, &f->err), SR_E_NOTFOUND);
	OK(sr_archive_find(f->a, "20261122T063001", id, &f->err));
	assert_string_equal(id, ids.id[1]);
	assert_int_equal(sr_archive_find(f->a, id + 21, other, &f->err), SR_E_USAGE); /* here the numbers are all the same */
	OK(sr_archive_one(f->a, id, same_loser, &loser, &f->err));
	assert_int_equal(sr_archive_one(f->a, "../../etc/passwd", same_loser, &loser, &f->err), SR_E_NOTFOUND);
	ids.n = 1;
	OK(sr_archive_remove(f->a, &ids, &f->err));
	OK(sr_archive_find(f->a, id + 21, other, &f->err));
	assert_string_equal(other, id);
	assert_int_equal(sr_archive_one(f->a, ids.id[0], same_loser, &loser, &f->err), SR_E_NOTFOUND);
	sr_archive_ids_free(&ids);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_record), TEST(test_record_not_shown), TEST(test_file), TEST(test_linked_file), TEST(test_other_filesystem),
		TEST(test_not_a_file), TEST(test_bare), TEST(test_data_of_nothing), TEST(test_order), TEST(test_threads), TEST(test_torn),
		TEST(test_not_ours), TEST(test_failure_restores), TEST(test_modes),
		TEST(test_most), TEST(test_limit), TEST(test_limit_after_a_crash), TEST(test_one_of_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
