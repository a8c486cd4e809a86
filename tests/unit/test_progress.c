/* test_progress.c - who looks sees each step, and what it is about. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/sync/progress.h"

static void look(void *ctx, const struct sr_progress *p)
{
	char *text = ctx;
	size_t len = strlen(text);

	snprintf(text + len, 512 - len, "%s %d/%d %d/%d; ", p->what ? p->what : "over", (int)p->leaves_done, (int)p->leaves_total,
		 (int)p->bytes_done, (int)p->bytes_total);
}

static void each_step_is_shown(void **state)
{
	char seen[512] = "";
	struct sr_progress p = {.show = look, .ctx = seen};

	(void)state;
	sr_progress_begin(&p, "fetching", 2, 70);
	sr_progress_add(&p, 0, 50);
	sr_progress_add(&p, 1, 0);
	sr_progress_end(&p);
	sr_progress_begin(&p, "applying", 1, 0);
	assert_string_equal(seen, "fetching 0/2 0/70; fetching 0/2 50/70; fetching 1/2 50/70; over 1/2 50/70; applying 0/1 0/0; ");
}

static void nobody_has_to_look(void **state)
{
	struct sr_progress p = {0};

	(void)state;
	sr_progress_begin(&p, "sending", 1, 1);
	sr_progress_add(&p, 1, 1);
	sr_progress_end(&p);
	assert_int_equal(p.leaves_done, 1);
	assert_null(p.what);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_step_is_shown),
		cmocka_unit_test(nobody_has_to_look),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
