/* test_record.c - records and keys: equal bytes for equal rows, and nothing else decodes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hashtree/record.h"

static uint64_t seed = 20240229;

static uint64_t chance(uint64_t below) /* xorshift64 */
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

static struct sr_value random_value(bool null)
{
	static const uint8_t pool[256] = "caf\xc3\xa9\0\xff\xfe,%/ and so on";
	static const double reals[] = {0, 1, -1.5, 1e308, 5e-324, INFINITY, -INFINITY, 0.1};
	static const int64_t ints[] = {0, 1, -1, INT64_MAX, INT64_MIN, 1 << 20};
	struct sr_value v = {.class = (enum sr_class)(null ? chance(5) : 1 + chance(4))};

	if (v.class == SR_INT)
		v.i = ints[chance(6)];
	else if (v.class == SR_REAL)
		v.real = reals[chance(8)];
	else if (v.class != SR_NULL)
		v.b = sr_bytes(pool, chance(200));
	return v;
}

static bool value_eq(const struct sr_value *a, const struct sr_value *b)
{
	if (a->class != b->class)
		return false;
	if (a->class == SR_INT)
		return a->i == b->i;
	if (a->class == SR_REAL)
		return memcmp(&a->real, &b->real, sizeof a->real) == 0;
	return a->class == SR_NULL || sr_bytes_eq(a->b, b->b);
}

static size_t random_columns(struct sr_column *c, char names[][3])
{
	size_t n = chance(12);

	for (size_t i = 0; i < n; i++) {
		memcpy(names[i], (char[]){(char)('z' - chance(20)), (char)('A' + i), '\0'}, 3);
		c[i] = (struct sr_column){sr_bytes_of(names[i]), random_value(true)};
	}
	return n;
}

static void shuffle(struct sr_column *c, size_t n)
{
	for (size_t i = n; i > 1; i--) {
		size_t j = chance(i);
		struct sr_column t = c[i - 1];

		c[i - 1] = c[j];
		c[j] = t;
	}
}

static void test_record_round_trip(void **state)
{
	(void)state;
	for (int round = 0; round < 2000; round++) {
		struct sr_column c[12], *back;
		struct sr_buf one = {0}, two = {0};
		char names[12][3];
		size_t n = random_columns(c, names), m, k = 0;
		struct sr_err err;

		sr_record_encode(&one, c, n);
		shuffle(c, n);
		sr_record_encode(&two, c, n);
		assert_true(sr_bytes_eq(sr_buf_view(&one), sr_buf_view(&two)));
		assert_int_equal(sr_record_decode(sr_buf_view(&one), &back, &m, &err), SR_OK);
		for (size_t i = 0; i < n; i++) { /* c is sorted now */
			if (c[i].value.class == SR_NULL)
				continue;
			assert_true(k < m && sr_bytes_eq(c[i].name, back[k].name) && value_eq(&c[i].value, &back[k].value));
			k++;
		}
		assert_int_equal(k, m);
		free(back);
		sr_buf_free(&one);
		sr_buf_free(&two);
	}
}

static void test_key_round_trip(void **state)
{
	(void)state;
	for (int round = 0; round < 2000; round++) {
		struct sr_value v[6], *back;
		struct sr_buf key = {0};
		size_t n = chance(7), m;
		struct sr_err err;

		for (size_t i = 0; i < n; i++)
			v[i] = random_value(true);
		sr_key_encode(&key, v, n);
		assert_int_equal(sr_key_decode(sr_buf_view(&key), &back, &m, &err), SR_OK);
		assert_int_equal(n, m);
		for (size_t i = 0; i < n; i++)
			assert_true(value_eq(&v[i], &back[i]));
		free(back);
		sr_buf_free(&key);
	}
}

/* What decodes must be what encoding gives, byte by byte. */
static bool canonical_or_refused(struct sr_bytes in, bool key)
{
	struct sr_column *columns;
	struct sr_value *values;
	struct sr_buf out = {0};
	struct sr_err err = {0};
	size_t n;
	bool good;

	if ((key ? sr_key_decode(in, &values, &n, &err) : sr_record_decode(in, &columns, &n, &err)) != SR_OK)
		return err.code == SR_E_DATA && err.text[0];
	if (key)
		sr_key_encode(&out, values, n);
	else
		sr_record_encode(&out, columns, n);
	good = sr_bytes_eq(in, sr_buf_view(&out));
	if (key)
		free(values);
	else
		free(columns);
	sr_buf_free(&out);
	return good;
}

static void mutate_all(struct sr_buf *b, bool key)
{
	for (size_t i = 0; i < b->len; i++) {
		uint8_t was = b->at[i];

		assert_true(canonical_or_refused(sr_bytes(b->at, i), key)); /* cut short */
		for (unsigned v = 0; v < 256; v++) {
			b->at[i] = (uint8_t)v;
			assert_true(canonical_or_refused(sr_buf_view(b), key));
		}
		b->at[i] = was;
	}
}

static void test_mutations(void **state)
{
	(void)state;
	for (int round = 0; round < 6; round++) {
		struct sr_column c[12];
		struct sr_value v[3] = {random_value(true), random_value(true), random_value(true)};
		struct sr_buf record = {0}, key = {0};
		char names[12][3];

		sr_record_encode(&record, c, random_columns(c, names));
		sr_key_encode(&key, v, 3);
		mutate_all(&record, false);
		mutate_all(&key, true);
		sr_buf_free(&record);
		sr_buf_free(&key);
	}
}

static void test_as_sqlite_stores_reals(void **state)
{
	struct sr_column a[] = {{sr_bytes_of("x"), {.class = SR_REAL, .real = -0.0}}, {sr_bytes_of("y"), {.class = SR_REAL, .real = NAN}}};
	struct sr_column b[] = {{sr_bytes_of("x"), {.class = SR_REAL, .real = 0.0}}, {sr_bytes_of("y"), {.class = SR_NULL}}};
	struct sr_buf one = {0}, two = {0};

	(void)state;
	sr_record_encode(&one, a, 2);
	sr_record_encode(&two, b, 2);
	assert_true(sr_bytes_eq(sr_buf_view(&one), sr_buf_view(&two)));
	assert_true(canonical_or_refused(sr_buf_view(&one), false));
	sr_buf_free(&one);
	sr_buf_free(&two);
}

static void test_classes_differ(void **state)
{
	struct sr_value one[] = {{.class = SR_INT, .i = 1}, {.class = SR_REAL, .real = 1}, {.class = SR_TEXT, .b = sr_bytes_of("1")},
	                         {.class = SR_BLOB, .b = sr_bytes_of("1")}, {.class = SR_NULL}};
	struct sr_buf keys[5] = {{0}};

	(void)state;
	for (size_t i = 0; i < 5; i++)
		sr_key_encode(&keys[i], &one[i], 1);
	for (size_t i = 0; i < 5; i++)
		for (size_t j = 0; j < i; j++)
			assert_false(sr_bytes_eq(sr_buf_view(&keys[i]), sr_buf_view(&keys[j])));
	for (size_t i = 0; i < 5; i++)
		sr_buf_free(&keys[i]);
}

static void test_key_text(void **state)
{
	struct sr_value v[] = {{.class = SR_INT, .i = -42}, {.class = SR_TEXT, .b = sr_bytes_of("a,b/\xc3\xa9")}, {.class = SR_NULL},
	                       {.class = SR_REAL, .real = 0.5}, {.class = SR_BLOB, .b = sr_bytes("\0x", 2)}};
	struct sr_buf key = {0}, text = {0};
	struct sr_err err;

	(void)state;
	sr_key_encode(&key, v, 5);
	assert_int_equal(sr_key_text(&text, sr_buf_view(&key), &err), SR_OK);
	assert_string_equal(sr_buf_text(&text), "-42,a%2Cb%2F%C3%A9,NULL,0.5,%00x");
	key.len--;
	assert_int_equal(sr_key_text(&text, sr_buf_view(&key), &err), SR_E_DATA);
	sr_buf_free(&key);
	sr_buf_free(&text);
}

static void test_count_caps_memory(void **state)
{
	static const uint8_t many[] = {0xff, 0xff, 0x01, 1, 'a'}; /* 32767 of them, in two bytes */
	struct sr_column *columns;
	struct sr_value *values;
	struct sr_err err;
	size_t n;

	(void)state;
	assert_int_equal(sr_record_decode(sr_bytes(many, sizeof many), &columns, &n, &err), SR_E_DATA);
	assert_non_null(strstr(err.text, "count"));
	assert_int_equal(sr_key_decode(sr_bytes(many, sizeof many), &values, &n, &err), SR_E_DATA);
	assert_non_null(strstr(err.text, "count"));
}

/* A record of columns a, b, c, ... of which each is NULL, or a number from 1 on. */
static void small_record(struct sr_buf *out, const unsigned *v, size_t n)
{
	static const char names[] = "abcdefgh";
	struct sr_column c[8];

	for (size_t i = 0; i < n; i++)
		c[i] = (struct sr_column){sr_bytes(names + i, 1), {.class = v[i] ? SR_INT : SR_NULL, .i = v[i]}};
	sr_record_encode(out, c, n);
}

/* Every combination of three columns of three values on three sides. */
static void test_merge(void **state)
{
	(void)state;
	for (unsigned code = 0; code < 19683; code++) {
		unsigned v[3][3], want[3], rest = code;
		struct sr_buf b[3] = {{0}}, merged = {0}, expected = {0};
		bool good = true;

		for (size_t side = 0; side < 3; side++)
			for (size_t i = 0; i < 3; i++, rest /= 3)
				v[side][i] = rest % 3;
		for (size_t i = 0; i < 3; i++) {
			want[i] = v[1][i] == v[0][i] ? v[2][i] : v[1][i];
			good &= v[1][i] == v[0][i] || v[2][i] == v[0][i] || v[1][i] == v[2][i];
		}
		for (size_t side = 0; side < 3; side++)
			small_record(&b[side], v[side], 3);
		small_record(&expected, want, 3);
		assert_int_equal(sr_record_merge(sr_buf_view(&b[0]), sr_buf_view(&b[1]), sr_buf_view(&b[2]), &merged), good);
		if (good)
			assert_true(sr_bytes_eq(sr_buf_view(&merged), sr_buf_view(&expected)));
		else
			assert_int_equal(merged.len, 0);
		for (size_t side = 0; side < 3; side++)
			sr_buf_free(&b[side]);
		sr_buf_free(&merged);
		sr_buf_free(&expected);
	}
}

/* Values of another class are another value, and what is no record merges with nothing. */
static void test_merge_values(void **state)
{
	struct sr_column one[] = {{{(const uint8_t *)"x", 1}, {.class = SR_INT, .i = 1}}},
			 real[] = {{{(const uint8_t *)"x", 1}, {.class = SR_REAL, .real = 1.0}}},
			 text[] = {{{(const uint8_t *)"x", 1}, {.class = SR_TEXT, .b = sr_bytes_of("1")}}};
	struct sr_buf b = {0}, l = {0}, r = {0}, merged = {0};

	(void)state;
	sr_record_encode(&b, one, 1);
	sr_record_encode(&l, real, 1);
	sr_record_encode(&r, text, 1);
	assert_false(sr_record_merge(sr_buf_view(&b), sr_buf_view(&l), sr_buf_view(&r), &merged));
	assert_true(sr_record_merge(sr_buf_view(&b), sr_buf_view(&b), sr_buf_view(&r), &merged));
	assert_true(sr_bytes_eq(sr_buf_view(&merged), sr_buf_view(&r)));
	sr_buf_clear(&merged);
	assert_false(sr_record_merge(sr_bytes("", 0), sr_buf_view(&b), sr_buf_view(&r), &merged));
	assert_int_equal(merged.len, 0);
	sr_buf_free(&b);
	sr_buf_free(&l);
	sr_buf_free(&r);
	sr_buf_free(&merged);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_record_round_trip),
		cmocka_unit_test(test_key_round_trip),
		cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_as_sqlite_stores_reals),
		cmocka_unit_test(test_classes_differ),
		cmocka_unit_test(test_key_text),
		cmocka_unit_test(test_count_caps_memory),
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_merge_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
