/* test_cut.c - where content is cut: the same however it is fed, from each cut on, and after an edit; by nothing but the bytes and the key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hashtree/cut.h"

static const uint32_t units[] = {SR_CUT_SPAN, SR_CUT_CHUNK, SR_CUT_BLOCK};

struct cuts {
	size_t *at; /* where each piece ends; the last: where the content does */
	size_t n;
};

static uint64_t next(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static uint8_t *make_data(size_t n, uint64_t seed)
{
	uint8_t *data = sr_alloc(n + 8);

	for (size_t i = 0; i < n; i += 8) {
		uint64_t v = next(&seed);

		for (size_t k = 0; k < 8; k++)
			data[i + k] = (uint8_t)(v >> 8 * k);
	}
	return data;
}

static void make_gear(struct sr_gear *gear, uint8_t first)
{
	struct sr_tree_key key;
	uint8_t secret[SR_KEY_LEN];

	for (size_t i = 0; i < sizeof secret; i++)
		secret[i] = (uint8_t)(first + i * 167 + i / 7);
	sr_tree_key_set(&key, secret);
	sr_gear_set(gear, &key);
}

static void add(struct cuts *c, size_t at)
{
	c->at = sr_realloc(c->at, (c->n + 1) * sizeof *c->at);
	c->at[c->n++] = at;
}

/* step 0: portions of random sizes, none among them. */
static struct cuts cut(const struct sr_gear *gear, uint32_t unit, const uint8_t *data, size_t n, size_t step)
{
	struct cuts out = {0};
	struct sr_cutter c;
	uint64_t seed = 7;

	sr_cutter_set(&c, gear, unit);
	for (size_t at = 0; at < n;) {
		size_t want = step ? step : next(&seed) % 3 ? next(&seed) % 700 : next(&seed) % (2 * unit);
		bool end;

		at += sr_cutter_take(&c, data + at, want < n - at ? want : n - at, &end);
		if (end)
			add(&out, at);
	}
	if (n && (!out.n || out.at[out.n - 1] != n))
		add(&out, n);
	return out;
}

static void check_sizes(const struct cuts *c, uint32_t unit)
{
	for (size_t k = 0; k < c->n; k++) {
		size_t length = c->at[k] - (k ? c->at[k - 1] : 0);

		assert_in_range(length, k + 1 < c->n ? SR_CUT_LEAST(unit) : 1, SR_CUT_MOST(unit));
	}
}

static void check_same(const struct cuts *a, const struct cuts *b)
{
	assert_int_equal(a->n, b->n);
	assert_memory_equal(a->at, b->at, a->n * sizeof *a->at);
}

static void test_golden(void **state)
{
	static const size_t ends[] = {39129, 53724, 66948, 79858, 94572, 107541, 120436, 139488, 155679, 169513, 183057, 191521, 200000};
	struct sr_gear gear;
	uint8_t *data = make_data(200000, 88172645463325252u);
	struct cuts c;

	(void)state;
	make_gear(&gear, 3);
	c = cut(&gear, SR_CUT_CHUNK, data, 200000, 200000);
	assert_int_equal(c.n, sizeof ends / sizeof *ends);
	assert_memory_equal(c.at, ends, sizeof ends);
	free(c.at);
	free(data);
}

static void test_portions(void **state)
{
	struct sr_gear gear;

	(void)state;
	make_gear(&gear, 3);
	for (size_t u = 0; u < 3; u++) {
		size_t n = 12 * units[u] + 77;
		uint8_t *data = make_data(n, 5 + u);
		struct cuts whole = cut(&gear, units[u], data, n, n), some = cut(&gear, units[u], data, n, 0);

		check_sizes(&whole, units[u]);
		assert_true(whole.n > 8);
		check_same(&whole, &some);
		free(some.at);
		if (units[u] != SR_CUT_SPAN) {
			some = cut(&gear, units[u], data, n, 1);
			check_same(&whole, &some);
			free(some.at);
		}
		free(whole.at);
		free(data);
	}
}

/* A run of pieces that is cut alone. */
static void test_from_any_cut(void **state)
{
	struct sr_gear gear;
	size_t n = 300 * SR_CUT_BLOCK;
	uint8_t *data = make_data(n, 11);
	struct cuts whole, rest;

	(void)state;
	make_gear(&gear, 3);
	whole = cut(&gear, SR_CUT_BLOCK, data, n, n);
	for (size_t k = 0; k < whole.n - 1; k += 7) {
		size_t from = whole.at[k];

		rest = cut(&gear, SR_CUT_BLOCK, data + from, n - from, n);
		assert_int_equal(rest.n, whole.n - k - 1);
		for (size_t i = 0; i < rest.n; i++)
			assert_int_equal(rest.at[i] + from, whole.at[k + 1 + i]);
		free(rest.at);
	}
	free(whole.at);
	free(data);
}

static void test_average(void **state)
{
	struct sr_gear gear;

	(void)state;
	make_gear(&gear, 3);
	for (size_t u = 1; u < 3; u++) {
		size_t n = (size_t)1000 * units[u];
		uint8_t *data = make_data(n, 3);
		struct cuts c = cut(&gear, units[u], data, n, n);

		assert_in_range(c.n, 950, 1200);
		free(c.at);
		free(data);
	}
}

/* How many of b's cuts from the i-th on, moved by `by`, are not a's. */
static size_t differing(const struct cuts *a, const struct cuts *b, size_t i, long by)
{
	size_t n = 0, k = 0;

	for (; i < b->n; i++) {
		size_t at = (size_t)((long)b->at[i] - by);

		while (k < a->n && a->at[k] < at)
			k++;
		n += k == a->n || a->at[k] != at;
	}
	return n;
}

static void test_an_insertion_moves_its_neighbours_only(void **state)
{
	struct sr_gear gear;
	size_t n = 200 * SR_CUT_CHUNK, most = 0, sum = 0;
	uint8_t *data = make_data(n, 17), *edited = sr_alloc(n + 1);
	struct cuts before, after;

	(void)state;
	make_gear(&gear, 3);
	before = cut(&gear, SR_CUT_CHUNK, data, n, n);
	for (size_t at = 1000; at < n / 2; at += 3 * SR_CUT_CHUNK + 101) {
		size_t k = 0, lost;

		memcpy(edited, data, at);
		edited[at] = 'x';
		memcpy(edited + at + 1, data + at, n - at);
		after = cut(&gear, SR_CUT_CHUNK, edited, n + 1, n + 1);
		while (before.at[k] < at) { /* the same up to the piece of the insertion */
			assert_int_equal(before.at[k], after.at[k]);
			k++;
		}
		lost = differing(&before, &after, k, 1);
		most = lost > most ? lost : most;
		sum += lost;
		free(after.at);
	}
	assert_in_range(most, 0, 20);
	assert_in_range(sum, 0, 33); /* of 33 insertions */
	free(before.at);
	free(edited);
	free(data);
}

static void test_all_zero(void **state)
{
	struct sr_gear gear;
	size_t n = 40 * SR_CUT_CHUNK;
	uint8_t *data = sr_alloc(n);
	struct cuts c;

	(void)state;
	for (uint8_t first = 0; first < 20; first++) { /* equal pieces, whatever the gear: the last apart */
		make_gear(&gear, first);
		c = cut(&gear, SR_CUT_CHUNK, data, n, 4096);
		check_sizes(&c, SR_CUT_CHUNK);
		for (size_t k = 1; k + 1 < c.n; k++)
			assert_int_equal(c.at[k] - c.at[k - 1], c.at[0]);
		free(c.at);
	}
	free(data);
}

static void test_keyed(void **state)
{
	struct sr_gear a, b;
	size_t n = 100 * SR_CUT_CHUNK;
	uint8_t *data = make_data(n, 23);
	struct cuts ca, cb;

	(void)state;
	make_gear(&a, 1);
	make_gear(&b, 2);
	ca = cut(&a, SR_CUT_CHUNK, data, n, n);
	cb = cut(&b, SR_CUT_CHUNK, data, n, n);
	assert_in_range(differing(&ca, &cb, 0, 0), cb.n - 3, cb.n); /* the end is one of both */
	free(ca.at);
	free(cb.at);
	free(data);
}

static void test_little(void **state)
{
	struct sr_gear gear;
	struct sr_cutter c;
	struct cuts one;
	bool end = true;

	(void)state;
	make_gear(&gear, 3);
	sr_cutter_set(&c, &gear, SR_CUT_BLOCK);
	assert_int_equal(sr_cutter_take(&c, "", 0, &end), 0);
	assert_false(end);
	one = cut(&gear, SR_CUT_BLOCK, (const uint8_t *)"x", 1, 1);
	assert_int_equal(one.n, 1);
	free(one.at);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_portions),
		cmocka_unit_test(test_from_any_cut),
		cmocka_unit_test(test_average),
		cmocka_unit_test(test_an_insertion_moves_its_neighbours_only),
		cmocka_unit_test(test_all_zero),
		cmocka_unit_test(test_keyed),
		cmocka_unit_test(test_little),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
