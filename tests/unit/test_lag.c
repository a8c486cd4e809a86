/* test_lag.c - lib/sync/lag: whose time counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/door.h"
#include "lib/sync/lag.h"

static int64_t ticks_now(void *ctx)
{
	return *(int64_t *)ctx;
}

static void no_random(void *ctx, void *out, size_t n)
{
	(void)ctx;
	memset(out, 0, n);
}

struct fixture {
	int64_t now;
	struct sr_lag lag;
};

static int setup(void **state)
{
	static struct fixture f;

	f = (struct fixture){.now = 1000};
	sr_door_install(&(struct sr_door){.now_ms = ticks_now, .ticks_ms = ticks_now, .random = no_random, .ctx = &f.now});
	sr_lag_init(&f.lag);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	sr_lag_destroy(&f->lag);
	sr_door_install(NULL);
	return 0;
}

static void who_is_level_has_no_lag_however_long_nothing_happens(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(sr_lag_ms(&f->lag), 0);
	f->now += 50000; /* no datastore since the start */
	assert_int_equal(sr_lag_ms(&f->lag), 0);
	sr_lag_met(&f->lag, true);
	f->now += 700; /* the first round */
	assert_int_equal(sr_lag_ms(&f->lag), 700);
	sr_lag_level(&f->lag);
	for (int k = 0; k < 5; k++) {
		f->now += 10000;
		assert_int_equal(sr_lag_ms(&f->lag), 0);
		sr_lag_met(&f->lag, false);
		sr_lag_level(&f->lag);
	}
}

static void it_counts_from_when_all_was_here(void **state)
{
	struct fixture *f = *state;

	sr_lag_met(&f->lag, true);
	f->now += 2000;
	sr_lag_level(&f->lag);
	f->now += 8000;
	sr_lag_met(&f->lag, true); /* the last root that was all here is 10 s old */
	assert_int_equal(sr_lag_ms(&f->lag), 10000);
	f->now += 5000; /* a long pull */
	assert_int_equal(sr_lag_ms(&f->lag), 15000);
	sr_lag_behind(&f->lag); /* which failed */
	f->now += 5000;
	sr_lag_met(&f->lag, false); /* of the same root: not all of it is here all the same */
	assert_int_equal(sr_lag_ms(&f->lag), 20000);
	sr_lag_level(&f->lag);
	assert_int_equal(sr_lag_ms(&f->lag), 0);
}

static void a_datastore_that_does_not_answer_does_not_count(void **state)
{
	struct fixture *f = *state;

	sr_lag_met(&f->lag, true);
	sr_lag_level(&f->lag);
	f->now += 10000;
	sr_lag_silent(&f->lag);
	f->now += 3600000;
	sr_lag_silent(&f->lag);
	assert_int_equal(sr_lag_ms(&f->lag), 0);
	f->now += 1000;
	sr_lag_met(&f->lag, true);
	assert_int_equal(sr_lag_ms(&f->lag), 0); /* since when it has more is not known */
	f->now += 3000;
	assert_int_equal(sr_lag_ms(&f->lag), 3000);
	sr_lag_silent(&f->lag); /* in the middle of the round: since it told its root nothing counts */
	assert_int_equal(sr_lag_ms(&f->lag), 0);
	f->now += 3600000;
	assert_int_equal(sr_lag_ms(&f->lag), 0);
}

static void what_was_late_before_an_outage_is_late_after_it(void **state)
{
	struct fixture *f = *state;

	sr_lag_met(&f->lag, true);
	sr_lag_behind(&f->lag);
	f->now += 30000;
	sr_lag_met(&f->lag, false);
	sr_lag_behind(&f->lag);
	f->now += 500;
	sr_lag_silent(&f->lag);
	f->now += 3600000;
	assert_int_equal(sr_lag_ms(&f->lag), 30000);
	sr_lag_met(&f->lag, false);
	f->now += 1000;
	assert_int_equal(sr_lag_ms(&f->lag), 31000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(who_is_level_has_no_lag_however_long_nothing_happens, setup, teardown),
		cmocka_unit_test_setup_teardown(it_counts_from_when_all_was_here, setup, teardown),
		cmocka_unit_test_setup_teardown(a_datastore_that_does_not_answer_does_not_count, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_late_before_an_outage_is_late_after_it, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
