/* test_leaf.c - the leaf's codec, its path, the spool. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hashtree/record.h"
#include "lib/leaf/leaf.h"

#define LIT(s) sr_bytes(s, sizeof(s) - 1)

static struct sr_hash hash_of(uint8_t fill)
{
	struct sr_hash h;

	memset(h.b, fill, sizeof(h.b));
	return h;
}

static struct sr_version file_version(uint64_t bytes, uint8_t fill)
{
	return (struct sr_version){.kind = SR_KIND_FILE, .mode = 0644, .bytes = bytes, .hash = hash_of(fill)};
}

/* TABLE NUL KEY of one integer. */
static void row_path(struct sr_buf *out, const char *table, int64_t id)
{
	struct sr_value value = {.class = SR_INT, .i = id};

	sr_buf_bytes(out, sr_bytes_of(table));
	sr_buf_byte(out, 0);
	sr_key_encode(out, &value, 1);
}

static void assert_leaf_eq(const struct sr_leaf *a, const struct sr_leaf *b)
{
	assert_true(sr_bytes_eq(a->path, b->path));
	assert_true(sr_version_eq(&a->expect, &b->expect));
	assert_true(sr_version_eq(&a->to, &b->to));
	assert_int_equal(a->mtime_ns, b->mtime_ns);
	assert_int_equal(a->flags, b->flags);
	assert_int_equal(a->epoch, b->epoch);
	assert_int_equal(a->seq, b->seq);
	assert_true(sr_bytes_eq(a->from, b->from));
	assert_true(sr_bytes_eq(a->record, b->record));
	assert_true(sr_bytes_eq(a->stage, b->stage));
	assert_int_equal(a->inode, b->inode);
}

static enum sr_status decode(const struct sr_buf *b, struct sr_leaf *out)
{
	struct sr_err err = {0};
	enum sr_status rc = sr_leaf_decode(sr_buf_view(b), out, &err);

	if (rc)
		assert_true(err.code == rc && err.text[0]);
	return rc;
}

/* It comes back, no prefix of it does, and nothing may follow. */
static void assert_round_trip(const struct sr_leaf *leaf)
{
	struct sr_buf b = {0};
	struct sr_leaf back;
	size_t whole;

	sr_leaf_encode(&b, leaf);
	whole = b.len;
	assert_int_equal(decode(&b, &back), SR_OK);
	assert_leaf_eq(leaf, &back);
	for (b.len = 0; b.len < whole; b.len++)
		assert_int_equal(decode(&b, &back), SR_E_DATA);
	sr_buf_byte(&b, 0);
	assert_int_equal(decode(&b, &back), SR_E_DATA);
	sr_buf_free(&b);
}

static void assert_refused(const struct sr_leaf *leaf);

static void test_round_trips(void **state)
{
	struct sr_buf path = {0};
	struct sr_version row = {.kind = SR_KIND_ROW, .bytes = 7, .hash = hash_of(9)};
	struct sr_version table = {.kind = SR_KIND_TABLE, .hash = hash_of(3)}, dir = {.kind = SR_KIND_DIR, .mode = 0777};

	(void)state;
	row_path(&path, "users", -4711);
	assert_round_trip(&(struct sr_leaf){.path = LIT("a\0b"), .to = file_version(0, 1), .mtime_ns = -1, .flags = 1 | 2});
	assert_round_trip(&(struct sr_leaf){.path = LIT("\xff\xfe"), .expect = file_version(INT64_MAX, 2), .to = file_version(5, 1),
	                                    .mtime_ns = INT64_MAX, .stage = LIT("s17"), .inode = UINT64_MAX, .from = LIT("a\0c"), .flags = SR_LEAF_FLAGS});
	assert_round_trip(&(struct sr_leaf){.path = LIT("d"), .expect = file_version(1, 2), .to = dir, .epoch = UINT64_MAX, .seq = 1});
	assert_round_trip(&(struct sr_leaf){.path = LIT("d"), .expect = file_version(1, 2), .mtime_ns = 5});
	assert_round_trip(&(struct sr_leaf){.path = sr_buf_view(&path), .expect = row, .to = row, .record = LIT("\0binary")});
	assert_round_trip(&(struct sr_leaf){.path = sr_buf_view(&path), .expect = row});
	assert_round_trip(&(struct sr_leaf){.path = LIT("users"), .to = table});
	assert_round_trip(&(struct sr_leaf){.path = LIT(SR_SCHEMA_PATH), .to = table, .record = LIT("create table t(x)")});
	assert_round_trip(&(struct sr_leaf){.path = LIT("gone"), .flags = SR_LEAF_UNION});
	assert_round_trip(&(struct sr_leaf){.path = LIT("had"), .to = dir, .flags = SR_LEAF_UNION | SR_LEAF_SINCE, .since_epoch = 3, .since_seq = UINT64_MAX});
	assert_round_trip(&(struct sr_leaf){.path = sr_buf_view(&path), .expect = row, .to = row, .base = row, .flags = SR_LEAF_MERGED});
	sr_buf_free(&path);
}

static void test_from_another_path(void **state)
{
	struct sr_leaf leaf = {.path = LIT("a"), .to = file_version(5, 1), .from = LIT("b"), .flags = SR_LEAF_FROM};

	(void)state;
	assert_round_trip(&leaf);
	leaf.from = LIT("");
	assert_refused(&leaf);
	leaf.from = LIT("..\0b");
	assert_refused(&leaf);
	leaf.from = LIT(".sameroot\0marker");
	assert_refused(&leaf);
	leaf.from = LIT("b");
	leaf.to = (struct sr_version){.kind = SR_KIND_DIR, .mode = 0755};
	assert_refused(&leaf);
}

/* Equal rows without a key are one leaf: it is named by their record, and says how many there are. */
static void test_bags(void **state)
{
	struct sr_tree_key key;
	struct sr_version row = {.kind = SR_KIND_ROW, .bytes = 3};
	struct sr_bytes record = LIT("\1\1a\1\0\0\0\0\0\0\0\5");
	struct sr_buf path = {0}, other = {0};
	struct sr_leaf leaf;

	(void)state;
	sr_tree_key_set(&key, (uint8_t[SR_KEY_LEN]){1});
	sr_hash_of(&row.hash, &key, record);
	sr_buf_add(&path, "log", 4); /* with its NUL */
	sr_bag_key(&path, &row.hash);
	leaf = (struct sr_leaf){.path = sr_buf_view(&path), .to = row, .record = record};
	assert_true(sr_path_is_bag(leaf.path));
	assert_int_equal(sr_leaf_path_check(SR_KIND_DATABASE, leaf.path, NULL), SR_OK);
	assert_true(sr_leaf_record_is(&leaf, &key));
	assert_round_trip(&leaf);
	leaf.to.bytes = 0;
	assert_refused(&leaf);
	leaf.to.bytes = 3;
	path.at[path.len - 1] ^= 1; /* another name */
	assert_false(sr_leaf_record_is(&leaf, &key));
	row_path(&other, "log", 5);
	assert_false(sr_path_is_bag(sr_buf_view(&other)));
	leaf.path = sr_buf_view(&other);
	assert_false(sr_leaf_record_is(&leaf, &key)); /* there, bytes is a length */
	sr_buf_free(&path);
	sr_buf_free(&other);
}

static void assert_refused(const struct sr_leaf *leaf)
{
	struct sr_buf b = {0};
	struct sr_leaf back;

	sr_leaf_encode(&b, leaf);
	assert_int_equal(decode(&b, &back), SR_E_DATA);
	sr_buf_free(&b);
}

static void test_refuses(void **state)
{
	struct sr_version file = file_version(1, 1), row = {.kind = SR_KIND_ROW, .bytes = 3, .hash = hash_of(9)};
	struct sr_version bad;
	struct sr_buf path = {0};

	(void)state;
	row_path(&path, "t", 1);
	assert_refused(&(struct sr_leaf){.to = file}); /* no path */
	assert_refused(&(struct sr_leaf){.path = LIT("f"), .to = file, .flags = SR_LEAF_FLAGS + 1});
	bad = file, bad.mode = 01777;
	assert_refused(&(struct sr_leaf){.path = LIT("f"), .to = bad});
	bad = file, bad.bytes = (uint64_t)INT64_MAX + 1;
	assert_refused(&(struct sr_leaf){.path = LIT("f"), .to = bad});
	bad = file, bad.hash = hash_of(0);
	assert_refused(&(struct sr_leaf){.path = LIT("f"), .to = bad});
	bad = file, bad.kind = SR_KIND_FILES;
	assert_refused(&(struct sr_leaf){.path = LIT("f"), .to = bad});
	assert_refused(&(struct sr_leaf){.path = sr_buf_view(&path), .expect = file, .to = row}); /* file and row */
	assert_refused(&(struct sr_leaf){.path = LIT("t"), .to = row});                           /* a row without a key */
	assert_refused(&(struct sr_leaf){.path = sr_buf_view(&path), .to = {.kind = SR_KIND_TABLE}});
	assert_refused(&(struct sr_leaf){.path = sr_buf_view(&path), .to = row, .record = LIT("four")});
	assert_refused(&(struct sr_leaf){.path = LIT("f"), .to = file, .record = LIT("x")});
	assert_refused(&(struct sr_leaf){.path = LIT("t"), .to = {.kind = SR_KIND_TABLE}, .record = LIT("x")});
	assert_refused(&(struct sr_leaf){.path = LIT("f"), .to = file, .stage = LIT("../x")});
	assert_refused(&(struct sr_leaf){.path = LIT("f"), .to = file, .stage = LIT("..")});
	assert_refused(&(struct sr_leaf){.path = LIT("f"), .expect = file, .inode = 1});
	assert_refused(&(struct sr_leaf){.path = LIT("../etc/passwd"), .to = file});
	assert_refused(&(struct sr_leaf){.path = LIT("t\0junk"), .to = row});
	sr_buf_free(&path);
}

static bool path_ok(uint8_t kind, struct sr_bytes path)
{
	return sr_leaf_path_check(kind, path, NULL) == SR_OK;
}

static void test_file_paths(void **state)
{
	uint8_t long_name[256], deep[2 * SR_DEPTH_MAX + 1];
	uint8_t *huge = sr_alloc(SR_PATH_MAX + 1);

	(void)state;
	assert_true(path_ok(SR_KIND_FILES, LIT("a")));
	assert_true(path_ok(SR_KIND_FILES, LIT("a\0b\0c d\xff")));
	assert_true(path_ok(SR_KIND_FILES, LIT("...")));
	assert_true(path_ok(SR_KIND_FILES, LIT("a\0.sameroot")));
	assert_false(path_ok(SR_KIND_FILES, LIT("")));
	assert_false(path_ok(SR_KIND_FILES, LIT("\0a")));
	assert_false(path_ok(SR_KIND_FILES, LIT("a\0")));
	assert_false(path_ok(SR_KIND_FILES, LIT("a\0\0b")));
	assert_false(path_ok(SR_KIND_FILES, LIT("a/b")));
	assert_false(path_ok(SR_KIND_FILES, LIT("a\0..")));
	assert_false(path_ok(SR_KIND_FILES, LIT(".\0a")));
	assert_false(path_ok(SR_KIND_FILES, LIT(".sameroot")));
	assert_false(path_ok(SR_KIND_FILES, LIT(".sameroot\0marker")));
	memset(long_name, 'n', sizeof(long_name));
	assert_true(path_ok(SR_KIND_FILES, sr_bytes(long_name, 255)));
	assert_false(path_ok(SR_KIND_FILES, sr_bytes(long_name, 256)));
	for (size_t i = 0; i < sizeof(deep); i++)
		deep[i] = i % 2 ? '\0' : 'd';
	assert_true(path_ok(SR_KIND_FILES, sr_bytes(deep, 2 * SR_DEPTH_MAX - 1)));
	assert_false(path_ok(SR_KIND_FILES, sr_bytes(deep, 2 * SR_DEPTH_MAX + 1)));
	for (size_t i = 0; i <= SR_PATH_MAX; i++)
		huge[i] = i % 200 == 199 ? '\0' : 'h';
	assert_true(path_ok(SR_KIND_FILES, sr_bytes(huge, SR_PATH_MAX)));
	assert_false(path_ok(SR_KIND_FILES, sr_bytes(huge, SR_PATH_MAX + 1)));
	assert_false(path_ok(SR_KIND_ROW, LIT("a"))); /* no kind of store */
	free(huge);
}

static void test_row_paths(void **state)
{
	struct sr_buf path = {0};

	(void)state;
	row_path(&path, "users", INT64_MIN);
	assert_true(path_ok(SR_KIND_DATABASE, sr_buf_view(&path)));
	sr_buf_byte(&path, 0);
	assert_false(path_ok(SR_KIND_DATABASE, sr_buf_view(&path)));
	sr_buf_clear(&path);
	row_path(&path, SR_SCHEMA_PATH, 1);
	assert_false(path_ok(SR_KIND_DATABASE, sr_buf_view(&path)));
	assert_true(path_ok(SR_KIND_DATABASE, LIT("a/b .. table")));
	assert_true(path_ok(SR_KIND_DATABASE, LIT(SR_SCHEMA_PATH)));
	assert_false(path_ok(SR_KIND_DATABASE, LIT("sqlite_sequence")));
	assert_false(path_ok(SR_KIND_DATABASE, LIT("SQLite_stat1")));
	assert_false(path_ok(SR_KIND_DATABASE, LIT("_sameroot_meta")));
	assert_false(path_ok(SR_KIND_DATABASE, LIT("_SameRoot_meta")));
	assert_false(path_ok(SR_KIND_DATABASE, LIT("users\0")));
	assert_false(path_ok(SR_KIND_DATABASE, LIT("\0\1\1")));
	sr_buf_free(&path);
}

static void assert_text(uint8_t kind, const char *store, struct sr_bytes path, const char *expect)
{
	struct sr_buf text = {0};

	sr_leaf_path_text(&text, store, kind, path);
	assert_string_equal(sr_buf_text(&text), expect);
	sr_buf_free(&text);
}

static void test_path_text(void **state)
{
	struct sr_buf path = {0};

	(void)state;
	row_path(&path, "users", 4711);
	assert_text(SR_KIND_DATABASE, "users.db", sr_buf_view(&path), "users.db/users/4711");
	assert_text(SR_KIND_DATABASE, "users.db", LIT("a/b"), "users.db/a%2Fb");
	assert_text(SR_KIND_DATABASE, "users.db", LIT("t\0\xff"), "users.db/t/%FF"); /* no key */
	assert_text(SR_KIND_DATABASE, "users.db", LIT("t\0\1\3\2*a"), "users.db/t/%2Aa");
	sr_buf_clear(&path);
	sr_buf_add(&path, "log", 4);
	sr_bag_key(&path, &(struct sr_hash){.b = {0x3f, 0x2a, 0, 1}});
	assert_text(SR_KIND_DATABASE, "users.db", sr_buf_view(&path), "users.db/log/*3f2a0001000000000000000000000000");
	assert_text(SR_KIND_FILES, "resources", LIT("img\0a b.png"), "resources/img/a%20b.png");
	assert_text(SR_KIND_FILES, "resources", LIT("\xc3\xa9\n"), "resources/%C3%A9%0A");
	assert_text(SR_KIND_FILES, "resources", LIT(""), "resources");
	sr_buf_free(&path);
}

static void test_under(void **state)
{
	(void)state;
	assert_true(sr_path_under(LIT("a\0b"), LIT("a")));
	assert_true(sr_path_under(LIT("a"), LIT("a")));
	assert_true(sr_path_under(LIT("a"), LIT("")));
	assert_false(sr_path_under(LIT("ab"), LIT("a")));
	assert_false(sr_path_under(LIT("a"), LIT("a\0b")));
	assert_false(sr_path_under(LIT("b\0a"), LIT("a")));
}

/* ---- the spool ---- */

/* Leaf i of a scattered order; its content tells i. */
static void add_nth(struct sr_leaves *l, size_t i, size_t n)
{
	char *name = sr_format("some/what/long/prefix/%08zu", i * 7919 % n);
	struct sr_leaf leaf = {.to = file_version(i, 1), .seq = i};

	for (char *c = name; *c; c++)
		*c = *c == '/' ? '\0' : *c;
	leaf.path = sr_bytes(name, 22 + 8);
	assert_int_equal(sr_leaves_add(l, &leaf, NULL), SR_OK);
	free(name);
}

static void assert_nth(struct sr_leaves *l, size_t at, size_t i)
{
	struct sr_leaf leaf;
	struct sr_err err;

	if (sr_leaves_at(l, at, &leaf, &err))
		fail_msg("%s", err.text);
	assert_int_equal(leaf.seq, i);
	assert_int_equal(leaf.to.bytes, i);
}

static void fill_and_sort(const char *dir, size_t n)
{
	struct sr_leaves *l = sr_leaves_new(dir);
	struct sr_bytes last = {0};
	struct sr_buf before = {0};
	struct sr_leaf leaf;

	for (size_t i = 0; i < n; i++)
		add_nth(l, i, n);
	assert_int_equal(sr_leaves_count(l), n);
	for (size_t i = 0; i < n; i++)
		assert_nth(l, i, i);
	for (size_t i = n; i-- > 0;)
		assert_nth(l, i, i);
	assert_int_equal(sr_leaves_sort(l, NULL), SR_OK);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(sr_leaves_at(l, i, &leaf, NULL), SR_OK);
		assert_true(sr_bytes_cmp(last, leaf.path) < 0);
		sr_buf_clear(&before);
		sr_buf_bytes(&before, leaf.path);
		last = sr_buf_view(&before);
	}
	sr_buf_free(&before);
	sr_leaves_free(l);
}

static void with_dir(void (*run)(const char *dir))
{
	char dir[] = "/tmp/test_leaf.XXXXXX";

	assert_non_null(mkdtemp(dir));
	run(dir);
	assert_int_equal(rmdir(dir), 0); /* and the spool left nothing behind */
}

static void sort_spilled(const char *dir)
{
	fill_and_sort(dir, 300007); /* some runs; a prime, so that names differ */
}

/* What begins as another, what ends where another goes on, what differs only far behind. */
static void test_sort_mixed(void **state)
{
	static const struct sr_bytes paths[] = {
		{(const uint8_t *)"t", 1},            {(const uint8_t *)"t\0a", 3},          {(const uint8_t *)"t\0a\0b", 5},
		{(const uint8_t *)"t\0a\x01", 4},     {(const uint8_t *)"t\0abcdefgh", 10},  {(const uint8_t *)"t\0abcdefgh\0i", 12},
		{(const uint8_t *)"t\0abcdefghi", 11}, {(const uint8_t *)"t\0abcdefgi", 10},  {(const uint8_t *)"t\0\xff", 3},
		{(const uint8_t *)"u", 1},
	};
	const size_t n = sizeof paths / sizeof *paths;

	(void)state;
	for (size_t first = 0; first < 2; first++) { /* without the first, all begin as "t\0" but the last */
		struct sr_leaves *l = sr_leaves_new(NULL);
		struct sr_leaf leaf;

		for (size_t i = first; i < n; i++)
			assert_int_equal(sr_leaves_add(l, &(struct sr_leaf){.path = paths[first + (i - first) * 7 % (n - first)], .to = file_version(1, 1)}, NULL), SR_OK);
		assert_int_equal(sr_leaves_sort(l, NULL), SR_OK);
		for (size_t i = first; i < n; i++) {
			assert_int_equal(sr_leaves_at(l, i - first, &leaf, NULL), SR_OK);
			assert_true(sr_bytes_eq(leaf.path, paths[i]));
		}
		sr_leaves_free(l);
	}
}

static void test_sort(void **state)
{
	(void)state;
	fill_and_sort(NULL, 0);
	fill_and_sort(NULL, 1);
	fill_and_sort(NULL, 2003);
	fill_and_sort(NULL, 200003);
	with_dir(sort_spilled);
}

static void two_of_one(const char *dir)
{
	struct sr_leaves *l = sr_leaves_new(dir);
	struct sr_err err;

	for (size_t i = 0; i < 200004; i++)
		add_nth(l, i, 200003); /* the last has the path of the first, a run away */
	assert_int_equal(sr_leaves_sort(l, &err), SR_E_DATA);
	assert_non_null(strstr(err.text, "prefix%0000000000"));
	for (size_t i = 0; i < 200004; i++)
		assert_nth(l, i, i);
	sr_leaves_free(l);
}

static void test_two_of_one_path(void **state)
{
	(void)state;
	with_dir(two_of_one);
}

/* Records of a megabyte between small leaves: none is cut by window, tail or file. */
static void giants(const char *dir)
{
	struct sr_leaves *l = sr_leaves_new(dir);
	uint8_t *record = sr_alloc(1500000);
	struct sr_buf path = {0};
	struct sr_leaf leaf;

	for (int i = 0; i < 20; i++) {
		size_t n = i % 2 ? 1500000 : 3;

		memset(record, i, n);
		sr_buf_clear(&path);
		row_path(&path, "t", 100 - i);
		leaf = (struct sr_leaf){.path = sr_buf_view(&path), .record = sr_bytes(record, n)};
		leaf.to = (struct sr_version){.kind = SR_KIND_ROW, .bytes = n, .hash = hash_of(1)};
		assert_int_equal(sr_leaves_add(l, &leaf, NULL), SR_OK);
	}
	assert_int_equal(sr_leaves_sort(l, NULL), SR_OK);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(sr_leaves_at(l, (size_t)i, &leaf, NULL), SR_OK);
		memset(record, 19 - i, 1500000);
		assert_true(sr_bytes_eq(leaf.record, sr_bytes(record, (19 - i) % 2 ? 1500000 : 3)));
	}
	free(record);
	sr_buf_free(&path);
	sr_leaves_free(l);
}

static void test_giants(void **state)
{
	(void)state;
	with_dir(giants);
}

static void test_no_room(void **state)
{
	struct sr_leaves *l = sr_leaves_new("/nonexistent/dir");
	enum sr_status rc = SR_OK;
	uint8_t record[5000] = {0};
	struct sr_buf path = {0};
	struct sr_leaf leaf = {.record = sr_bytes(record, sizeof(record)), .to = {.kind = SR_KIND_ROW, .bytes = 5000, .hash = hash_of(1)}};
	size_t n = 0;

	(void)state;
	row_path(&path, "t", 1);
	leaf.path = sr_buf_view(&path);
	for (; n < 1000 && !rc; n += !rc)
		rc = sr_leaves_add(l, &leaf, NULL);
	assert_int_equal(rc, SR_E_IO);
	assert_int_equal(sr_leaves_count(l), n); /* what was there stays readable */
	assert_int_equal(sr_leaves_at(l, n - 1, &leaf, NULL), SR_OK);
	assert_true(sr_bytes_eq(leaf.path, sr_buf_view(&path)));
	sr_buf_free(&path);
	sr_leaves_free(l);
	sr_leaves_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trips), cmocka_unit_test(test_bags), cmocka_unit_test(test_from_another_path), cmocka_unit_test(test_refuses),   cmocka_unit_test(test_file_paths),
		cmocka_unit_test(test_row_paths),   cmocka_unit_test(test_path_text), cmocka_unit_test(test_under),
		cmocka_unit_test(test_sort),        cmocka_unit_test(test_sort_mixed), cmocka_unit_test(test_giants),    cmocka_unit_test(test_two_of_one_path),
		cmocka_unit_test(test_no_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
