/* test_delta.c - what of a new content is in an old one: the new one comes out of the steps, whatever was edited, wherever it is gone on with, and
 * whatever the lists say; and what is new is little.  Lists and ranges on the wire. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/replica/delta.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

struct bytes {
	uint8_t *at;
	size_t n;
};

struct world {
	struct sr_tree_key key;
	struct bytes old, new;
	int fd[2]; /* of the two */
	struct bytes out;
	size_t from, fresh, runs; /* runs: of what is new */
	size_t far_pieces, asked; /* of the side that is far away */
	bool lies;
	uint64_t seed;
};

static uint64_t next(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static void fill(uint8_t *at, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n; i++)
		at[i] = (uint8_t)(next(&seed) >> 32);
}

static int set_up(void **state)
{
	struct world *w = sr_alloc(sizeof *w);
	uint8_t secret[SR_KEY_LEN];

	fill(secret, sizeof secret, 99);
	sr_tree_key_set(&w->key, secret);
	w->seed = 12345;
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	free(w->old.at);
	free(w->new.at);
	free(w->out.at);
	free(w);
	return 0;
}

static void make_old(struct world *w, size_t n)
{
	free(w->old.at);
	w->old = (struct bytes){sr_alloc(n + 1), n};
	fill(w->old.at, n, 4711);
}

static void start_new(struct world *w)
{
	free(w->new.at);
	w->new = (struct bytes){sr_alloc(1), 0};
}

static void append(struct world *w, const uint8_t *at, size_t n)
{
	w->new.at = sr_realloc(w->new.at, w->new.n + n + 1);
	memcpy(w->new.at + w->new.n, at, n);
	w->new.n += n;
}

static void append_fresh(struct world *w, size_t n)
{
	w->new.at = sr_realloc(w->new.at, w->new.n + n + 1);
	fill(w->new.at + w->new.n, n, next(&w->seed));
	w->new.n += n;
}

static void same_new(struct world *w)
{
	start_new(w);
	append(w, w->old.at, w->old.n);
}

static int file_of(struct bytes b)
{
	int fd = memfd_create("content", MFD_CLOEXEC);

	assert_true(fd >= 0);
	for (size_t done = 0; done < b.n;) {
		ssize_t n = pwrite(fd, b.at + done, b.n - done, (off_t)done);

		assert_true(n > 0);
		done += (size_t)n;
	}
	return fd;
}

/* --- the operations ------------------------------------------------------------------------------------------------------ */

struct listing {
	struct world *w;
	struct sr_pieces *out;
	bool lies;
};

static enum sr_status add_piece(void *ctx, const struct sr_piece *piece, struct sr_err *err)
{
	struct listing *l = ctx;
	struct sr_piece p = *piece;

	(void)err;
	if (l->lies && next(&l->w->seed) % 3 == 0) { /* it says that it is a piece that it is not */
		if (l->out->n && next(&l->w->seed) % 2)
			p.hash = l->out->list[next(&l->w->seed) % l->out->n].hash;
		else
			p.hash.b[0] ^= 1;
	}
	sr_pieces_add(l->out, &p);
	return SR_OK;
}

static enum sr_status do_cut(void *ctx, enum sr_delta_side side, const struct sr_range *ranges, size_t n, uint32_t unit, struct sr_pieces *out,
			     struct sr_err *err)
{
	struct world *w = ctx;
	struct listing l = {w, out, w->lies && side == SR_DELTA_NEW};
	size_t before = out->n;
	uint64_t end = 0;
	enum sr_status rc;

	assert_true(n > 0);
	for (size_t k = 0; k < n; k++) {
		assert_true(ranges[k].n > 0 && ranges[k].at >= end);
		end = ranges[k].at + ranges[k].n;
	}
	assert_true(end <= (side == SR_DELTA_OLD ? w->old.n : w->new.n));
	rc = sr_pieces_cut(w->fd[side], &w->key, ranges, n, unit, add_piece, &l, err);
	if (side == SR_DELTA_NEW) {
		w->far_pieces += out->n - before;
		w->asked++;
	}
	return rc;
}

static enum sr_status do_steps(void *ctx, const struct sr_step *steps, size_t n, struct sr_err *err)
{
	struct world *w = ctx;

	(void)err;
	for (size_t k = 0; k < n; k++) {
		const struct sr_step *s = &steps[k];
		bool fresh = s->from == SR_STEP_NEW;

		assert_int_equal(s->at, w->from + w->out.n);
		assert_true(s->n > 0 && s->at + s->n <= w->new.n);
		assert_true(fresh || s->from + s->n <= w->old.n);
		w->out.at = sr_realloc(w->out.at, w->out.n + s->n + 1);
		memcpy(w->out.at + w->out.n, fresh ? w->new.at + s->at : w->old.at + s->from, s->n);
		w->out.n += s->n;
		w->fresh += fresh ? s->n : 0;
		w->runs += fresh;
	}
	return SR_OK;
}

static void run(struct world *w, size_t from)
{
	struct sr_delta_ops ops = {.ctx = w, .far = SR_DELTA_NEW, .cut = do_cut, .steps = do_steps};
	struct sr_err err = {0};

	w->out.n = w->fresh = w->runs = w->far_pieces = w->asked = 0;
	w->from = from;
	w->fd[SR_DELTA_OLD] = file_of(w->old);
	w->fd[SR_DELTA_NEW] = file_of(w->new);
	assert_int_equal(sr_delta_run(&ops, w->old.n, w->new.n, from, &err), SR_OK);
	close(w->fd[0]);
	close(w->fd[1]);
	assert_int_equal(from + w->out.n, w->new.n);
	if (!w->lies)
		assert_int_equal(memcmp(w->out.at, w->new.at + from, w->out.n), 0);
}

/* What would have travelled. */
static size_t cost(const struct world *w)
{
	return w->fresh + w->far_pieces * SR_PIECE_LEN + w->runs * SR_RANGE_LEN;
}

/* --- edits ------------------------------------------------------------------------------------------------------------------ */

static void test_same(void **state)
{
	struct world *w = *state;

	make_old(w, 8 * MIB + 5);
	same_new(w);
	run(w, 0);
	assert_int_equal(w->fresh, 0);
	assert_int_equal(w->asked, 1);
}

static void test_a_byte_inserted(void **state)
{
	struct world *w = *state;

	make_old(w, 16 * MIB);
	for (size_t at = 0; at <= 16 * MIB; at += 16 * MIB / 5) {
		start_new(w);
		append(w, w->old.at, at);
		append(w, (const uint8_t *)"!", 1);
		append(w, w->old.at + at, w->old.n - at);
		run(w, 0);
		assert_in_range(w->fresh, 1, 24 * KIB);
		assert_in_range(cost(w), 1, 30 * KIB);
	}
}

static void test_a_byte_removed(void **state)
{
	struct world *w = *state;

	make_old(w, 8 * MIB);
	start_new(w);
	append(w, w->old.at, 3 * MIB + 1);
	append(w, w->old.at + 3 * MIB + 2, 5 * MIB - 2);
	run(w, 0);
	assert_in_range(w->fresh, 1, 16 * KIB);
}

static void test_pages_overwritten(void **state)
{
	struct world *w = *state;

	make_old(w, 64 * MIB);
	same_new(w);
	for (size_t k = 0; k < 100; k++)
		fill(w->new.at + next(&w->seed) % (64 * MIB / 4096) * 4096, 4096, next(&w->seed));
	run(w, 0);
	assert_in_range(w->fresh, 80 * 4 * KIB, 1000 * KIB); /* 100 chunks would be 2,500 KiB */
	assert_in_range(cost(w), w->fresh, 1300 * KIB);
	assert_in_range(w->asked, 3, 7);
}

static void test_appended(void **state)
{
	struct world *w = *state;

	make_old(w, 9 * MIB);
	same_new(w);
	append_fresh(w, 10 * MIB);
	run(w, 0);
	assert_in_range(w->fresh, 10 * MIB, 10 * MIB + 64 * KIB);
	assert_in_range(cost(w), 10 * MIB, 10 * MIB + 100 * KIB);
}

static void test_cut_off(void **state)
{
	struct world *w = *state;

	make_old(w, 9 * MIB);
	start_new(w);
	append(w, w->old.at, 5 * MIB + 17);
	run(w, 0);
	assert_in_range(w->fresh, 0, 8 * KIB);
	start_new(w);
	append(w, w->old.at + 4 * MIB + 17, 5 * MIB - 17);
	run(w, 0);
	assert_in_range(w->fresh, 0, 64 * KIB);
}

/* Of a span that is found, no part is looked for elsewhere. */
static void test_halves_swapped_and_doubled(void **state)
{
	struct world *w = *state;

	make_old(w, 8 * MIB);
	start_new(w);
	append(w, w->old.at + 5 * MIB, 3 * MIB);
	append(w, w->old.at, 5 * MIB);
	run(w, 0);
	assert_in_range(w->fresh, 0, 64 * KIB);
	append(w, w->old.at + MIB, 6 * MIB);
	run(w, 0);
	assert_in_range(w->fresh, 0, 3 * MIB);
}

static void test_all_of_it_new(void **state)
{
	struct world *w = *state;

	make_old(w, 40 * MIB);
	start_new(w);
	append_fresh(w, 70 * MIB);
	run(w, 0);
	assert_int_equal(w->fresh, 70 * MIB);
	assert_in_range(cost(w), 0, 70 * MIB + 200 * KIB);
}

static void test_zeros(void **state)
{
	struct world *w = *state;

	make_old(w, 8 * MIB);
	memset(w->old.at, 0, w->old.n);
	same_new(w);
	append(w, w->old.at, MIB);
	memset(w->new.at + 4 * MIB, 1, 10);
	run(w, 0);
	assert_in_range(w->fresh, 10, MIB);
}

/* Anything: cut, moved, doubled, fresh, of any size. */
static void random_edits(struct world *w)
{
	start_new(w);
	while (w->new.n < 3 * MIB) {
		size_t at = next(&w->seed) % w->old.n, n = next(&w->seed) % (next(&w->seed) % 2 ? 600 * KIB : 10 * KIB);

		if (next(&w->seed) % 3 == 0)
			append_fresh(w, n % (100 * KIB));
		else
			append(w, w->old.at + at, n < w->old.n - at ? n : w->old.n - at);
	}
}

static void test_random_edits_from_anywhere(void **state)
{
	struct world *w = *state;

	make_old(w, 3 * MIB);
	for (size_t k = 0; k < 30; k++) {
		random_edits(w);
		run(w, 0);
		run(w, next(&w->seed) % w->new.n);
	}
	run(w, w->new.n);
	assert_int_equal(w->out.n, 0);
}

static void test_lists_that_lie(void **state)
{
	struct world *w = *state;

	w->lies = true;
	make_old(w, 3 * MIB);
	for (size_t k = 0; k < 30; k++) {
		random_edits(w);
		run(w, next(&w->seed) % 2 ? 0 : next(&w->seed) % w->new.n);
	}
}

static enum sr_status no_cut(void *ctx, enum sr_delta_side side, const struct sr_range *ranges, size_t n, uint32_t unit, struct sr_pieces *out,
			     struct sr_err *err)
{
	unsigned *left = ctx;

	(void)side;
	if (!(*left)--)
		return sr_err_set(err, SR_E_UNAVAILABLE, "cut short");
	for (size_t k = 0; k < n; k++)
		for (uint64_t at = 0; at < ranges[k].n; at += unit) {
			struct sr_piece p = {.at = ranges[k].at + at, .n = unit, .hash.b[0] = (uint8_t)(at / unit + side * unit / SR_CUT_SPAN)};

			sr_pieces_add(out, &p);
		}
	return SR_OK;
}

static enum sr_status no_steps(void *ctx, const struct sr_step *steps, size_t n, struct sr_err *err)
{
	(void)ctx, (void)steps, (void)n;
	return sr_err_set(err, SR_E_FULL, "no space");
}

static void test_errors_end_it(void **state)
{
	unsigned left;
	struct sr_delta_ops ops = {.ctx = &left, .far = SR_DELTA_NEW, .cut = no_cut, .steps = no_steps};

	(void)state;
	for (unsigned k = 0; k < 4; k++) {
		left = k;
		assert_int_equal(sr_delta_run(&ops, 3 * MIB, 3 * MIB, 0, NULL), SR_E_UNAVAILABLE);
	}
	left = 100;
	assert_int_equal(sr_delta_run(&ops, 3 * MIB, 3 * MIB, 0, NULL), SR_E_FULL);
	assert_int_equal(sr_delta_run(&ops, SR_DELTA_MOST + 1, 3 * MIB, 0, NULL), SR_E_LIMIT);
	assert_int_equal(sr_delta_run(&ops, 3 * MIB, SR_DELTA_MOST + 1, 0, NULL), SR_E_LIMIT);
}

/* --- the wire ---------------------------------------------------------------------------------------------------------------- */

static enum sr_status read_ranges(const struct sr_range *list, size_t n, size_t cut_off, uint64_t bytes)
{
	struct sr_buf b = {0};
	struct sr_range *out = NULL;
	size_t count = 0;
	enum sr_status rc;

	sr_ranges_write(&b, list, n);
	rc = sr_ranges_read(sr_bytes(b.at, b.len - cut_off), bytes, &out, &count, NULL);
	if (rc == SR_OK) {
		assert_int_equal(count, n);
		assert_memory_equal(out, list, n * sizeof *list);
	}
	free(out);
	sr_buf_free(&b);
	return rc;
}

static void test_ranges(void **state)
{
	struct sr_range list[3] = {{0, 10}, {10, 5}, {90, 10}}, *many = sr_alloc((SR_RANGES_MOST + 1) * sizeof *many);

	(void)state;
	assert_int_equal(read_ranges(list, 3, 0, 100), SR_OK);
	assert_int_equal(read_ranges(list, 3, 0, 99), SR_E_DATA);
	assert_int_equal(read_ranges(list, 3, 1, 100), SR_E_DATA);
	assert_int_equal(read_ranges(list, 0, 0, 100), SR_E_DATA);
	list[1].at = 9;
	assert_int_equal(read_ranges(list, 3, 0, 100), SR_E_DATA);
	list[1] = (struct sr_range){20, 0};
	assert_int_equal(read_ranges(list, 3, 0, 100), SR_E_DATA);
	list[1] = (struct sr_range){20, UINT64_MAX - 10};
	assert_int_equal(read_ranges(list, 3, 0, 100), SR_E_DATA);
	list[1] = (struct sr_range){UINT64_MAX, 1};
	assert_int_equal(read_ranges(list, 3, 0, UINT64_MAX), SR_E_DATA);
	for (size_t k = 0; k <= SR_RANGES_MOST; k++)
		many[k] = (struct sr_range){k, 1};
	assert_int_equal(read_ranges(many, SR_RANGES_MOST, 0, 100000), SR_OK);
	assert_int_equal(read_ranges(many, SR_RANGES_MOST + 1, 0, 100000), SR_E_LIMIT);
	free(many);
}

static enum sr_status read_pieces(const uint32_t *lengths, size_t n, size_t step)
{
	static const struct sr_range ranges[2] = {{0, 5000}, {9000, 3000}};
	struct sr_pieces_reader r = {.ranges = ranges, .n = 2, .unit = SR_CUT_BLOCK};
	struct sr_pieces out = {0};
	struct sr_buf b = {0};
	enum sr_status rc = SR_OK;

	for (size_t k = 0; k < n; k++) {
		struct sr_piece p = {.n = lengths[k], .hash.b[3] = (uint8_t)k};

		sr_piece_write(&b, &p);
	}
	for (size_t at = 0; rc == SR_OK && at < b.len; at += step)
		rc = sr_pieces_read(&r, sr_bytes(b.at + at, step < b.len - at ? step : b.len - at), &out, NULL);
	if (rc == SR_OK)
		rc = sr_pieces_read_end(&r, NULL);
	if (rc == SR_OK) {
		assert_int_equal(out.n, n);
		assert_int_equal(out.list[2].at, 9000);
		assert_int_equal(out.list[2].n, lengths[2]);
		assert_int_equal(out.list[2].hash.b[3], 2);
	}
	free(out.list);
	sr_buf_free(&b);
	return rc;
}

static void test_pieces(void **state)
{
	static const uint32_t good[] = {4990, 10, 512, 2488}, none[] = {5000, 0, 3000}, small[] = {511, 4489, 3000}, beyond[] = {4000, 1001, 3000},
			      more[] = {5000, 1000, 2000, 600}, less[] = {5000, 1000};

	(void)state;
	for (size_t step = 1; step < 90; step += 11) {
		assert_int_equal(read_pieces(good, 4, step), SR_OK);
		assert_int_equal(read_pieces(none, 3, step), SR_E_DATA);
		assert_int_equal(read_pieces(small, 3, step), SR_E_DATA);
		assert_int_equal(read_pieces(beyond, 3, step), SR_E_DATA);
		assert_int_equal(read_pieces(more, 4, step), SR_E_DATA);
		assert_int_equal(read_pieces(less, 2, step), SR_E_DATA);
	}
}

static void test_a_file_that_is_shorter(void **state)
{
	struct world *w = *state;
	struct sr_range range = {0, 10 * KIB + 1};
	struct sr_pieces out = {0};
	struct listing l = {w, &out, false};
	int fd;

	make_old(w, 10 * KIB);
	fd = file_of(w->old);
	assert_int_equal(sr_pieces_cut(fd, &w->key, &range, 1, SR_CUT_BLOCK, add_piece, &l, NULL), SR_E_CHANGED);
	close(fd);
	free(out.list);
}

static void test_index(void **state)
{
	struct sr_pieces p = {0};
	struct sr_piece_index x = {0};
	struct sr_piece like = {.n = 5};

	(void)state;
	assert_null(sr_piece_index_find(&x, &like));
	sr_piece_index_make(&x, &p);
	assert_null(sr_piece_index_find(&x, &like));
	sr_piece_index_free(&x);
	for (uint32_t k = 0; k < 1000; k++) { /* all of them in one place of the table */
		struct sr_piece piece = {.at = k, .n = 5, .hash.b = {[14] = (uint8_t)(k >> 8), [15] = (uint8_t)k}};

		sr_pieces_add(&p, &piece);
	}
	sr_pieces_add(&p, &like);
	sr_piece_index_make(&x, &p);
	assert_int_equal(sr_piece_index_find(&x, &like)->at, 0); /* the first of equal ones */
	like.n = 6;
	assert_null(sr_piece_index_find(&x, &like));
	sr_piece_index_free(&x);
	free(p.list);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_same),
		TEST(test_a_byte_inserted),
		TEST(test_a_byte_removed),
		TEST(test_pages_overwritten),
		TEST(test_appended),
		TEST(test_cut_off),
		TEST(test_halves_swapped_and_doubled),
		TEST(test_all_of_it_new),
		TEST(test_zeros),
		TEST(test_random_edits_from_anywhere),
		TEST(test_lists_that_lie),
		TEST(test_errors_end_it),
		TEST(test_ranges),
		TEST(test_pieces),
		TEST(test_a_file_that_is_shorter),
		TEST(test_index),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
