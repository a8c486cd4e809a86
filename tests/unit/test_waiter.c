/* test_waiter.c - what is news, when it is asked again, and when news start a round. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/sync/waiter.h"

/* --- what is news --------------------------------------------------------------------------------------------------------------- */

static struct sr_tree_store stores[2];

static struct sr_tree_info some_info(void)
{
	static char *globs[] = {"cache/"};

	stores[0] = (struct sr_tree_store){.name = "resources", .kind = SR_KIND_FILES, .map = {{1}}, .leaves = 5, .bytes = 50, .seq = 3, .approved_seq = 7};
	stores[1] = (struct sr_tree_store){.name = "users.db", .kind = SR_KIND_DATABASE, .map = {{2}}, .approved_seq = 4, .exclude = globs, .excludes = 1};
	return (struct sr_tree_info){.at = {.instance = {{1}}, .epoch = 1, .seq = 7, .root = {{9}}},
				     .node = {{2}},
				     .start = {{3}},
				     .push = {{4}},
				     .key_id = {{5}},
				     .history = SR_HISTORY_KNOWN,
				     .stores = stores,
				     .n = 2};
}

static struct sr_standing standing_of(const struct sr_tree_info *info)
{
	struct sr_standing s = {.at = info->at, .push = info->push};

	sr_beside(info, &s.beside);
	return s;
}

static void test_the_root_of_our_own_push_is_no_news(void **state)
{
	struct sr_tree_info info = some_info();
	struct sr_standing s = standing_of(&info);

	(void)state;
	assert_false(sr_is_news(&info, &s));
	info.at.seq = s.at.seq = 8; /* the push's answer told it */
	info.at.root = s.at.root = (struct sr_hash){{8}};
	info.push = s.push = (struct sr_uuid){{7}};
	info.stores[0].map = (struct sr_hash){{77}};
	info.stores[0].leaves = 6;
	info.stores[0].bytes = 60;
	info.stores[0].seq = 8;
	info.stores[0].approved_seq = 8;
	assert_false(sr_is_news(&info, &s));
	sr_standing_clear(&s);
}

static void is_news(struct sr_tree_info info)
{
	struct sr_tree_info was;
	struct sr_tree_store changed[2] = {stores[0], stores[1]};
	struct sr_standing s;

	was = some_info();
	s = standing_of(&was);
	info.stores = changed;
	assert_true(sr_is_news(&info, &s));
	sr_standing_clear(&s);
}

static void test_what_is_news(void **state)
{
	struct sr_tree_info info;

	(void)state;
#define NEWS(what) (info = some_info(), what, is_news(info))
	NEWS(info.at.root = (struct sr_hash){{10}});
	NEWS(info.at.seq++);
	NEWS(info.at.epoch++);
	NEWS(info.at.instance = (struct sr_uuid){{10}});
	NEWS(info.start = (struct sr_uuid){{10}});
	NEWS(info.push = (struct sr_uuid){{10}});
	NEWS(info.history = SR_HISTORY_FORK);
	NEWS(info.key_id = (struct sr_hash){{10}});
	NEWS(info.max_file = 10);
	NEWS(stores[0].paused = "it is lost");
	NEWS(stores[1].approved_seq = 5);
	NEWS(stores[1].operator_seq = 5);
	NEWS(stores[1].excludes = 0);
	NEWS(stores[1].name = "other.db");
	NEWS(info.n = 1);
#undef NEWS
}

/* --- when it is asked again ---------------------------------------------------------------------------------------------------------- */

static struct sr_wait_next judge(struct sr_wait_manners *m, int status, int64_t lasted_ms)
{
	return sr_wait_judge(m, &(struct sr_wait_end){.status = status, .asked_ms = 100000, .lasted_ms = lasted_ms, .left_ms = 100000 - lasted_ms});
}

static void test_a_wait_that_lasted_is_the_check_in(void **state)
{
	struct sr_wait_manners m = {0};
	struct sr_wait_next next;

	(void)state;
	assert_true(judge(&m, 304, 100000).round);
	assert_true(judge(&m, 304, 99900).round);
	/* asked before a round in between: the pause is longer */
	next = sr_wait_judge(&m, &(struct sr_wait_end){.status = 304, .asked_ms = 10000, .lasted_ms = 10000, .left_ms = 5000});
	assert_false(next.round);
	assert_int_equal(next.ask_in_ms, 0);
}

/* Of a datastore that knows no waiting, that ends, that has no room; or none at all. */
static void test_a_short_wait_is_tried_again_with_growing_pauses(void **state)
{
	static const int statuses[] = {304, 0, 503, 409, 504};
	struct sr_wait_manners m;
	struct sr_wait_next next;

	(void)state;
	for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
		m = (struct sr_wait_manners){0};
		for (int64_t ms = 1000; ms < 60000; ms *= 2) {
			next = judge(&m, statuses[i], 10);
			assert_false(next.round);
			assert_int_equal(next.ask_in_ms, ms);
		}
		for (int k = 0; k < 100; k++)
			assert_int_equal(judge(&m, statuses[i], 10).ask_in_ms, 60000);
	}
	/* a proxy that cuts it every half a minute: nearly always somebody waits */
	for (int k = 0; k < 100; k++)
		assert_int_equal(judge(&m, 0, 30000).ask_in_ms, 1000);
	assert_true(judge(&m, 304, 100000).round);
	assert_int_equal(judge(&m, 0, 10).ask_in_ms, 1000); /* all is forgiven */
}

static void test_what_is_no_news_is_asked_by_at_once_but_not_on_end(void **state)
{
	struct sr_wait_manners m = {0};
	struct sr_wait_end end = {.status = 200, .expected = true, .asked_ms = 100000, .lasted_ms = 1, .left_ms = 99999};

	(void)state;
	assert_false(sr_wait_judge(&m, &end).round);
	assert_int_equal(sr_wait_judge(&m, &end).ask_in_ms, 0);
	end.expected = false; /* it says again what it said before, though it was told that a 304 will do */
	assert_int_equal(sr_wait_judge(&m, &end).ask_in_ms, 1000);
	assert_int_equal(sr_wait_judge(&m, &end).ask_in_ms, 2000);
	end.news = true;
	assert_true(sr_wait_judge(&m, &end).round);
}

/* --- when news start a round ----------------------------------------------------------------------------------------------------------- */

static void test_rounds_for_news_take_a_fifth_of_the_time(void **state)
{
	struct sr_wait_manners m = {0};
	int64_t rounds = 0, all = 0, rest = 0;

	(void)state;
	for (int k = 0; k < 10; k++) /* a few follow at once */
		assert_int_equal(sr_wait_rest_ms(&m, true, true, 50, 20, 10000), 20);
	while (all < 1000000) { /* and when it does not end */
		rest = sr_wait_rest_ms(&m, true, true, 50, rest, 10000);
		rounds += 50;
		all += 50 + rest;
	}
	assert_in_range(rounds, all / 6, all / 5 + 1000);
	m = (struct sr_wait_manners){0};
	assert_int_equal(sr_wait_rest_ms(&m, true, true, 60000, 0, 10000), 5000);
	assert_int_equal(sr_wait_rest_ms(&m, true, true, 60000, 0, 1000), 1000); /* the interval comes anyway */
	assert_int_equal(sr_wait_rest_ms(&m, true, true, 1, 10000, 10000), 20); /* after a while all is as at first */
	assert_int_equal(sr_wait_rest_ms(&m, false, true, 60000, 0, 10000), 20); /* one for something else is nobody's fault */
}

/* A datastore that tells something new each time, and nothing comes of it. */
static void test_rounds_that_bring_nothing_become_few(void **state)
{
	struct sr_wait_manners m = {0};

	(void)state;
	for (int64_t ms = 200; ms < 5000; ms *= 2)
		assert_int_equal(sr_wait_rest_ms(&m, true, false, 1, ms, 3600000), ms);
	for (int k = 0; k < 100; k++)
		assert_int_equal(sr_wait_rest_ms(&m, true, false, 1, 5000, 3600000), 5000);
	assert_int_equal(sr_wait_rest_ms(&m, true, true, 1, 5000, 3600000), 20);
	assert_int_equal(sr_wait_rest_ms(&m, true, false, 1, 20, 3600000), 200);
	assert_int_equal(sr_wait_rest_ms(&m, false, false, 1, 200, 3600000), 20); /* one for the interval */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_root_of_our_own_push_is_no_news),
		cmocka_unit_test(test_what_is_news),
		cmocka_unit_test(test_a_wait_that_lasted_is_the_check_in),
		cmocka_unit_test(test_a_short_wait_is_tried_again_with_growing_pauses),
		cmocka_unit_test(test_what_is_no_news_is_asked_by_at_once_but_not_on_end),
		cmocka_unit_test(test_rounds_for_news_take_a_fifth_of_the_time),
		cmocka_unit_test(test_rounds_that_bring_nothing_become_few),
	};

	return cmocka_run_group_tests_name("waiter", tests, NULL, NULL);
}
