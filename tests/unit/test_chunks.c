/* test_chunks.c - a large pull in parts: what goes when, and how much at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hashtree/record.h"
#include "lib/sync/chunks.h"

static struct sr_err err;

#define ok(call)                                              \
	do {                                                  \
		err.text[0] = 0;                              \
		if ((call) != SR_OK)                          \
			fail_msg("%s: %s", #call, err.text);  \
	} while (0)

/* --- leaves, by "table:number" ------------------------------------------------------------------------------------------ */

static struct sr_bytes path_of(struct sr_buf *b, const char *table, int64_t number)
{
	sr_buf_clear(b);
	sr_buf_bytes(b, sr_bytes_of(table));
	sr_buf_byte(b, 0);
	sr_key_encode(b, &(struct sr_value){.class = SR_INT, .i = number}, 1);
	return sr_buf_view(b);
}

/* Rows first..last of a table; size: of their records, 0: they are deleted. */
static void add(struct sr_leaves *l, const char *table, int64_t first, int64_t last, size_t size)
{
	struct sr_buf path = {0}, record = {0};

	memset(sr_buf_room(&record, size + 1), 'x', size);
	record.len = size;
	for (int64_t k = first; k <= last; k++) {
		struct sr_leaf leaf = {.path = path_of(&path, table, k), .record = sr_buf_view(&record)};

		if (size)
			leaf.to = (struct sr_version){.kind = SR_KIND_ROW, .bytes = size, .hash.b = {1}};
		ok(sr_leaves_add(l, &leaf, &err));
	}
	sr_buf_free(&path);
	sr_buf_free(&record);
}

/* Rows of a refer to rows of b, and those to rows of c. */
static size_t rank(void *ctx, struct sr_bytes table)
{
	(void)ctx;
	return (size_t)('c' - table.at[0]);
}

static struct sr_chunks *begin(struct sr_leaves *l, bool whole)
{
	struct sr_chunks *c;

	ok(sr_leaves_sort(l, &err));
	ok(sr_chunks_new(&c, l, "/tmp", whole, rank, NULL, &err));
	return c;
}

/* "b1-b3 " for what is in a chunk, in its order. */
static const char *shown(struct sr_leaves *l)
{
	static char out[2000];
	char *at = out, table = 0;
	int64_t from = 0, before = 0;

	for (size_t i = 0; l && i <= sr_leaves_count(l); i++) {
		struct sr_leaf leaf = {0};
		struct sr_value *v = NULL;
		int64_t number = -1;
		size_t n;

		if (i < sr_leaves_count(l)) {
			ok(sr_leaves_at(l, i, &leaf, &err));
			ok(sr_key_decode(sr_bytes(leaf.path.at + 2, leaf.path.len - 2), &v, &n, &err));
			number = v[0].i;
			free(v);
		}
		if (table && (!leaf.path.len || leaf.path.at[0] != table || number != before + 1)) {
			at += sprintf(at, from == before ? "%c%d " : "%c%d-%d ", table, (int)from, (int)before);
			table = 0;
		}
		if (!table && leaf.path.len) {
			table = (char)leaf.path.at[0];
			from = number;
		}
		before = number;
	}
	*at = 0;
	return out;
}

static void next_is(struct sr_chunks *c, const struct sr_pace *pace, const char *expected)
{
	struct sr_leaves *l = NULL;

	ok(sr_chunks_next(c, pace, &l, &err));
	assert_string_equal(shown(l), expected);
}

static void end(struct sr_chunks *c, struct sr_leaves *l)
{
	sr_chunks_free(c);
	sr_leaves_free(l);
}

/* --- tests --------------------------------------------------------------------------------------------------------------- */

static void test_what_fits_is_one(void **state)
{
	struct sr_leaves *l = sr_leaves_new(NULL);
	struct sr_pace slow = {.rows = SR_PACE_ROWS_LEAST, .bytes = SR_PACE_BYTES_LEAST};
	struct sr_chunks *c;

	(void)state;
	add(l, "a", 1, SR_PACE_ROWS, 100);
	c = begin(l, false);
	next_is(c, &slow, "a1-1000 ");
	assert_true(sr_chunks_last(c));
	assert_int_equal(sr_chunks_bytes(c), 100000);
	next_is(c, &slow, "");
	end(c, l);
}

static void test_first_fill_is_one(void **state)
{
	struct sr_leaves *l = sr_leaves_new(NULL);
	struct sr_leaf table = {.path = sr_bytes_of("a"), .to = {.kind = SR_KIND_TABLE, .hash.b = {1}}};
	struct sr_chunks *c;
	struct sr_leaves *chunk;

	(void)state;
	add(l, "a", 1, 5000, 10);
	c = begin(l, true);
	ok(sr_chunks_next(c, &(struct sr_pace){0}, &chunk, &err));
	assert_int_equal(sr_leaves_count(chunk), 5000);
	sr_chunks_free(c);
	ok(sr_leaves_add(l, &table, &err)); /* a table that is new to it */
	c = begin(l, false);
	ok(sr_chunks_next(c, &(struct sr_pace){0}, &chunk, &err));
	assert_int_equal(sr_leaves_count(chunk), 5001);
	assert_false(sr_chunks_divided(c));
	end(c, l);
}

static void test_order(void **state)
{
	struct sr_leaves *l = sr_leaves_new(NULL);
	struct sr_pace pace = {.rows = 500, .bytes = SR_PACE_BYTES};
	struct sr_chunks *c;

	(void)state;
	add(l, "a", 1, 400, 10);
	add(l, "a", 401, 600, 0);
	add(l, "b", 1, 300, 0);
	add(l, "b", 301, 500, 10);
	add(l, "c", 1, 100, 10);
	add(l, "c", 101, 400, 0); /* in all: c1-100, b301-500, a1-400; a600-401, b300-1, c400-101 */
	c = begin(l, false);
	next_is(c, &pace, "a1-200 b301-500 c1-100 ");
	assert_false(sr_chunks_last(c));
	next_is(c, &pace, "a201-600 b201-300 ");
	next_is(c, &pace, "b1-200 c101-400 ");
	assert_true(sr_chunks_last(c));
	next_is(c, &pace, "");
	end(c, l);
}

static void test_bytes(void **state)
{
	struct sr_leaves *l = sr_leaves_new(NULL);
	struct sr_pace pace = {0};
	struct sr_chunks *c;

	(void)state;
	add(l, "a", 1, 3, 3 << 20);
	add(l, "a", 4, 4, 5 << 20);
	add(l, "a", 5, 6, 2 << 20);
	c = begin(l, false);
	next_is(c, &pace, "a1 ");
	next_is(c, &pace, "a2 ");
	next_is(c, &pace, "a3 ");
	next_is(c, &pace, "a4 ");
	next_is(c, &pace, "a5-6 ");
	next_is(c, &pace, "");
	end(c, l);
}

static bool joins(struct sr_chunks *c, const char *table, int64_t number)
{
	struct sr_buf b = {0};
	bool yes = sr_chunks_join(c, path_of(&b, table, number));

	sr_buf_free(&b);
	return yes;
}

static bool waits(struct sr_chunks *c, const char *table, int64_t number)
{
	struct sr_buf b = {0};
	bool yes = sr_chunks_waits(c, path_of(&b, table, number));

	sr_buf_free(&b);
	return yes;
}

static void again_is(struct sr_chunks *c, const char *expected)
{
	struct sr_leaves *l = NULL;

	ok(sr_chunks_again(c, &l, &err));
	assert_string_equal(shown(l), expected);
}

static void test_joining(void **state)
{
	struct sr_leaves *l = sr_leaves_new(NULL);
	struct sr_pace pace = {.rows = 200, .bytes = SR_PACE_BYTES};
	struct sr_chunks *c;

	(void)state;
	add(l, "b", 1, 3000, 10);
	c = begin(l, false);
	next_is(c, &pace, "b1-200 ");
	next_is(c, &pace, "b201-400 ");
	assert_false(joins(c, "b", 1)); /* done */
	assert_false(joins(c, "b", 300)); /* part of it */
	assert_false(joins(c, "b", 3001)); /* a stranger */
	assert_false(sr_chunks_joined(c));
	again_is(c, "b201-400 ");
	assert_true(waits(c, "b", 1000));
	assert_true(joins(c, "b", 1000));
	assert_true(joins(c, "b", 1000)); /* still not in what is being tried */
	assert_true(waits(c, "b", 1000));
	assert_true(sr_chunks_joined(c));
	again_is(c, "b201-400 b1000 ");
	assert_false(joins(c, "b", 1000));
	assert_true(joins(c, "b", 401)); /* once more: twice as many */
	again_is(c, "b201-603 b1000 ");
	next_is(c, &pace, "b604-803 ");
	for (int k = 0; k < 8; k++) {
		assert_true(joins(c, "b", 2999 - k));
		ok(sr_chunks_again(c, &(struct sr_leaves *){0}, &err));
		if (sr_chunks_last(c))
			break;
	}
	assert_true(sr_chunks_last(c)); /* it took all */
	next_is(c, &pace, "");
	end(c, l);
}

/* Whatever joins: every leaf is in exactly one chunk that went through. */
static void test_each_once(void **state)
{
	struct sr_leaves *l = sr_leaves_new(NULL), *chunk;
	struct sr_pace pace = {.rows = 200, .bytes = SR_PACE_BYTES};
	uint8_t seen[3][2001] = {0};
	struct sr_chunks *c;
	unsigned seed = 7;

	(void)state;
	add(l, "a", 1, 2000, 10);
	add(l, "b", 1, 1000, 0);
	add(l, "b", 1001, 2000, 10);
	add(l, "c", 1, 2000, 0);
	c = begin(l, false);
	for (;;) {
		ok(sr_chunks_next(c, &pace, &chunk, &err));
		if (!chunk)
			break;
		for (int tries = 0; tries < (int)(seed % 3); tries++) {
			for (int k = 0; k < 20; k++) {
				seed = seed * 1103515245 + 12345;
				joins(c, (const char *[]){"a", "b", "c"}[seed / 65536 % 3], 1 + seed / 1048576 % 2000);
			}
			ok(sr_chunks_again(c, &chunk, &err));
		}
		for (size_t i = 0; i < sr_leaves_count(chunk); i++) {
			struct sr_leaf leaf;
			struct sr_value *v;
			size_t n;

			ok(sr_leaves_at(chunk, i, &leaf, &err));
			ok(sr_key_decode(sr_bytes(leaf.path.at + 2, leaf.path.len - 2), &v, &n, &err));
			seen[leaf.path.at[0] - 'a'][v[0].i]++;
			free(v);
		}
		seed = seed * 1103515245 + 12345;
	}
	for (int t = 0; t < 3; t++)
		for (int k = 1; k <= 2000; k++)
			assert_int_equal(seen[t][k], 1);
	end(c, l);
}

static void test_pace(void **state)
{
	struct sr_pace p = {0};

	(void)state;
	sr_pace_learn(&p, 3, 300, 500); /* a slow commit of next to nothing teaches nothing */
	assert_int_equal(p.rows, SR_PACE_ROWS);
	assert_int_equal(p.bytes, SR_PACE_BYTES);
	sr_pace_learn(&p, 1000, 100000, 1);
	assert_int_equal(p.rows, 2 * SR_PACE_ROWS);
	assert_int_equal(p.bytes, SR_PACE_BYTES); /* not tried */
	sr_pace_learn(&p, 2000, 200000, 2 * SR_PACE_MS);
	assert_int_equal(p.rows, SR_PACE_ROWS);
	assert_int_equal(p.bytes, SR_PACE_BYTES / 2);
	sr_pace_learn(&p, 10, SR_PACE_BYTES / 2, 0);
	assert_int_equal(p.bytes, SR_PACE_BYTES);
	assert_int_equal(p.rows, SR_PACE_ROWS);
	for (int k = 0; k < 20; k++)
		sr_pace_learn(&p, p.rows, p.bytes, 100000);
	assert_int_equal(p.rows, SR_PACE_ROWS_LEAST);
	assert_int_equal(p.bytes, SR_PACE_BYTES_LEAST);
	for (int k = 0; k < 20; k++)
		sr_pace_learn(&p, p.rows, p.bytes, 0);
	assert_int_equal(p.rows, SR_PACE_ROWS_MOST);
	assert_int_equal(p.bytes, SR_PACE_BYTES_MOST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_fits_is_one), cmocka_unit_test(test_first_fill_is_one), cmocka_unit_test(test_order),
		cmocka_unit_test(test_bytes),            cmocka_unit_test(test_joining),           cmocka_unit_test(test_each_once),
		cmocka_unit_test(test_pace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
