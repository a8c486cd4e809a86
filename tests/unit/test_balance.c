/* test_balance.c - what an admin said holds now and at the next start, or neither. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/node/balance.h"

#define NOBODY 65534 /* whom a directory's mode keeps out, as it does not root */

static int enter(void **state)
{
	char *dir;
	struct sr_err err;

	sr_log_setup("test_balance", SR_LOG_ERROR, false);
	assert_int_equal(sr_file_tmp_dir(&dir, "sameroot-balance", &err), SR_OK);
	assert_int_equal(chdir(dir), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(".", NOBODY, (gid_t)-1), 0);
		assert_int_equal(seteuid(NOBODY), 0);
	}
	*state = dir;
	return 0;
}

static int leave(void **state)
{
	char *dir = *state;

	assert_int_equal(seteuid(getuid()), 0);
	chmod(dir, 0700);
	unlink("lb-override"); /* of a test that failed */
	assert_int_equal(chdir("/"), 0);
	rmdir(dir);
	free(dir);
	return 0;
}

static struct sr_balance *node(void)
{
	struct sr_balance *b = NULL;
	struct sr_err err;

	assert_int_equal(sr_balance_open(&b, ".", NULL, NULL, &err), SR_OK);
	sr_balance_running(b);
	return b;
}

/* Say it.  What the node tells then, and after its next start. */
static enum sr_status say(enum sr_override word, enum sr_lb *now, enum sr_lb *next)
{
	struct sr_balance *b = node();
	struct sr_err err;
	enum sr_status rc = sr_balance_override(b, word, "ada", &err);

	*now = sr_balance_answer(b);
	sr_balance_close(b);
	b = node();
	*next = sr_balance_answer(b);
	sr_balance_close(b);
	return rc;
}

static void a_directory_that_cannot_be_synced_keeps_nobody_from_draining(void **state)
{
	enum sr_lb now, next;

	(void)state;
	assert_int_equal(chmod(".", 0300), 0); /* what is in it may be changed, but it cannot be opened, and so not be synced */
	assert_int_equal(say(SR_OVERRIDE_DRAIN, &now, &next), SR_OK);
	assert_int_equal(now, SR_LB_DRAIN);
	assert_int_equal(next, SR_LB_DRAIN);
	assert_int_equal(say(SR_OVERRIDE_AUTO, &now, &next), SR_OK);
	assert_int_equal(now, SR_LB_ALIVE);
	assert_int_equal(next, SR_LB_ALIVE);
}

static void what_cannot_be_kept_changes_nothing(void **state)
{
	enum sr_lb now, next;

	(void)state;
	assert_int_equal(say(SR_OVERRIDE_DRAIN, &now, &next), SR_OK);
	assert_int_equal(chmod(".", 0500), 0);
	assert_int_equal(say(SR_OVERRIDE_DEAD, &now, &next), SR_E_IO);
	assert_int_equal(now, SR_LB_DRAIN);
	assert_int_equal(next, SR_LB_DRAIN);
	assert_int_equal(say(SR_OVERRIDE_AUTO, &now, &next), SR_E_IO);
	assert_int_equal(now, SR_LB_DRAIN);
	assert_int_equal(next, SR_LB_DRAIN);
	assert_int_equal(chmod(".", 0700), 0);
	assert_int_equal(say(SR_OVERRIDE_AUTO, &now, &next), SR_OK);
	assert_int_equal(next, SR_LB_ALIVE);
}

/* What a node does not do is told, and keeps nobody away from it. */
static void a_limit_is_told_and_it_stays_alive(void **state)
{
	struct sr_balance *b = node();
	json_t *o;

	(void)state;
	sr_balance_limit(b, "it only serves");
	assert_int_equal(sr_balance_answer(b), SR_LB_ALIVE);
	o = sr_balance_report(b);
	assert_string_equal(json_string_value(json_object_get(o, "why")), "it only serves");
	json_decref(o);
	sr_balance_fault(b, SR_FAULT_STATE, "it is broken");
	assert_int_equal(sr_balance_answer(b), SR_LB_DEAD);
	o = sr_balance_report(b);
	assert_string_equal(json_string_value(json_object_get(o, "why")), "it is broken");
	json_decref(o);
	sr_balance_fault(b, SR_FAULT_STATE, NULL);
	sr_balance_limit(b, NULL);
	o = sr_balance_report(b);
	assert_true(json_is_null(json_object_get(o, "why")));
	json_decref(o);
	sr_balance_close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_directory_that_cannot_be_synced_keeps_nobody_from_draining, enter, leave),
		cmocka_unit_test_setup_teardown(what_cannot_be_kept_changes_nothing, enter, leave),
		cmocka_unit_test(a_limit_is_told_and_it_stays_alive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
