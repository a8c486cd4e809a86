/* test_when.c - moments as operators write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/admin/when.h"

#define NOW 1764165600000 /* 2025-11-26T14:00:00Z */

static void in_zone(const char *zone)
{
	setenv("TZ", zone, 1);
	tzset();
}

static int64_t at(const char *text)
{
	struct sr_when when;
	struct sr_err err = {0};

	if (sr_when_parse(text, NOW, &when, &err) != SR_OK)
		fail_msg("%s: %s", text, err.text);
	assert_false(when.is_seq);
	return when.at_ms - NOW;
}

static void moments_with_a_zone(void **state)
{
	(void)state;
	in_zone("UTC0");
	assert_int_equal(at("2025-11-26T14:00:00Z"), 0);
	assert_int_equal(at("2025-11-26t14:00:00z"), 0);
	assert_int_equal(at("2025-11-26T15:00:00+01:00"), 0);
	assert_int_equal(at("2025-11-26T08:30:00-05:30"), 0);
	assert_int_equal(at("2025-11-26T14:00:01.250Z"), 1250);
	assert_int_equal(at("2025-11-26T14:00:01.2509999Z"), 1250);
	assert_int_equal(at("2025-11-26T13:59Z"), -60000);
	assert_int_equal(at("2024-02-29T00:00:00Z"), 1709164800000 - NOW);
}

static void local_moments(void **state)
{
	(void)state;
	in_zone("XXX-2"); /* two hours ahead of UTC: it is 16:00 there */
	assert_int_equal(at("2025-11-26 16:00"), 0);
	assert_int_equal(at("2025-11-26T16:00:30"), 30000);
	assert_int_equal(at("2025-11-26"), -16 * 3600000);
	assert_int_equal(at("15:30"), -1800000);
	assert_int_equal(at("today"), -16 * 3600000);
	assert_int_equal(at("yesterday"), -40 * 3600000);
	in_zone("UTC0");
}

static void times_ago(void **state)
{
	(void)state;
	assert_int_equal(at("now"), 0);
	assert_int_equal(at("0s"), 0);
	assert_int_equal(at("90s"), -90000);
	assert_int_equal(at("30m"), -1800000);
	assert_int_equal(at("2h"), -7200000);
	assert_int_equal(at("3d"), -3 * 86400000);
	assert_int_equal(at("3d ago"), -3 * 86400000);
	assert_int_equal(at("1w"), -7 * 86400000);
}

static void seqs(void **state)
{
	struct sr_when when;

	(void)state;
	assert_int_equal(sr_when_parse("@0", NOW, &when, NULL), SR_OK);
	assert_true(when.is_seq && when.seq == 0);
	assert_int_equal(sr_when_parse("@123", NOW, &when, NULL), SR_OK);
	assert_true(when.is_seq && when.seq == 123);
}

static void what_is_no_moment(void **state)
{
	static const char *const texts[] = {"", "@", "@x", "@-1", "@1x", "@99999999999999999999", "2025-13-01", "2025-02-30", "2025-11-26T25:00:00Z",
					    "2025-11-26T14:00:00Zx", "2025-11-26 14", "1969-12-31", "3", "3y", "3d agog", "-3d", "tomorrow", "14:60",
					    "14:00x", "2025-11-26T14:00:00+1:00", "9999999999d", "999999999w", "2025-1-1"};

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct sr_when when = {.seq = 7};
		struct sr_err err = {0};

		if (sr_when_parse(texts[i], NOW, &when, &err) != SR_E_USAGE)
			fail_msg("\"%s\" was taken", texts[i]);
		assert_int_equal(when.seq, 7);
		assert_non_null(strstr(err.text, "yesterday"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(moments_with_a_zone), cmocka_unit_test(local_moments), cmocka_unit_test(times_ago),
		cmocka_unit_test(seqs),		       cmocka_unit_test(what_is_no_moment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
