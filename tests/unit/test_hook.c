/* test_hook.c - an operator's command comes to its end, wherever it went. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/node/hook.h"

#define MOST_S 60 /* far beyond what any of them takes */

struct place {
	struct sr_spawner *spawner;
	char *dir, *told; /* told: a file that a command writes when it is where it wants to be; the id of a process */
};

static int enter(void **state)
{
	struct place *p = sr_alloc(sizeof *p);
	struct sr_err err;

	sr_log_setup("test_hook", SR_LOG_ERROR, false);
	alarm(MOST_S);
	assert_int_equal(sr_file_tmp_dir(&p->dir, "sameroot-hook", &err), SR_OK);
	p->told = sr_format("%s/told", p->dir);
	setenv("TOLD", p->told, 1);
	*state = p;
	return 0;
}

static int enter_with_helper(void **state)
{
	struct place *p;
	struct sr_err err;
	int rc = enter(state);

	p = *state;
	assert_int_equal(sr_spawner_start(&p->spawner, &err), SR_OK);
	return rc;
}

static int leave(void **state)
{
	struct place *p = *state;

	sr_spawner_stop(p->spawner);
	unlink(p->told);
	rmdir(p->dir);
	free(p->told);
	free(p->dir);
	free(p);
	alarm(0);
	return 0;
}

static const char *when_told(void *ctx)
{
	const struct place *p = ctx;

	return access(p->told, F_OK) == 0 ? "its time is up" : NULL;
}

static unsigned no_grace(void *ctx)
{
	(void)ctx;
	return 0;
}

static enum sr_status run(struct place *p, const char *command, struct sr_err *err)
{
	static const char *const none[] = {NULL};
	struct sr_hook hook = {.name = "hook", .command = command, .environment = none, .is_over = when_told, .grace_ms = no_grace, .ctx = p,
			       .spawner = p->spawner};

	return sr_hook_run(&hook, err);
}

static int told_pid(const struct place *p)
{
	FILE *file = fopen(p->told, "r");
	int pid = 0;

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%d", &pid), 1);
	fclose(file);
	return pid;
}

#define TELL "open(F, q(>), qq($ENV{TOLD}.new)); print F $$; close F; rename(qq($ENV{TOLD}.new), $ENV{TOLD});"

static void one_that_left_its_group_is_ended(void **state)
{
	struct sr_err err;

	/* into the group of this process, where nobody may send it to its end with the others */
	assert_int_equal(run(*state, "exec perl -e '$SIG{TERM} = q(IGNORE); setpgrp(0, getpgrp(getppid)) or die; " TELL " sleep 1 while 1'", &err), SR_E_UNAVAILABLE);
	assert_int_equal(kill(told_pid(*state), 0), -1);
	assert_int_equal(errno, ESRCH);
}

static void a_child_that_holds_its_output_is_not_waited_for(void **state)
{
	struct sr_err err;
	int pid;

	assert_int_equal(run(*state, "setsid perl -e '" TELL " sleep 1000' & sleep 1000", &err), SR_E_UNAVAILABLE);
	pid = told_pid(*state);
	assert_int_equal(kill(pid, SIGKILL), 0);
}

static void its_status_is_told(void **state)
{
	struct sr_err err;

	assert_int_equal(run(*state, "exit 0", &err), SR_OK);
	assert_int_equal(run(*state, "exit 3", &err), SR_E_IO);
	assert_string_equal(err.text, "hook: it ended with status 3");
	assert_int_equal(run(*state, "kill -9 $$", &err), SR_E_IO);
	assert_string_equal(err.text, "hook: it was ended by signal 9 (Killed)");
}

/* Killed by its own command, or by the machine that has run out of memory. */
static void a_helper_that_is_gone_is_told(void **state)
{
	struct sr_err err;

	assert_int_equal(run(*state, "kill -9 $PPID; exit 0", &err), SR_E_IO);
	assert_int_equal(run(*state, "exit 0", &err), SR_E_IO);
	assert_non_null(strstr(err.text, "it does not start"));
}

#define EACH_WAY(fn) cmocka_unit_test_setup_teardown(fn, enter, leave), cmocka_unit_test_setup_teardown(fn, enter_with_helper, leave)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH_WAY(one_that_left_its_group_is_ended),
		EACH_WAY(a_child_that_holds_its_output_is_not_waited_for),
		EACH_WAY(its_status_is_told),
		cmocka_unit_test_setup_teardown(a_helper_that_is_gone_is_told, enter_with_helper, leave),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
