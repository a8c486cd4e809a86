/* What sameroot-restore puts in place, wherever it was interrupted: lib/state/swap.h. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/state/swap.h"

struct world {
	char dir[64];
	struct sr_swap swap;
};

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void put_with(const char *path, const char *suffix, const char *text)
{
	char *all = sr_format("%s%s", path, suffix);

	put(all, text);
	free(all);
}

static void assert_holds(const char *path, const char *suffix, const char *text) /* NULL: it is not there */
{
	char *all = sr_format("%s%s", path, suffix), got[64] = "";
	FILE *f = fopen(all, "r");

	if (!text) {
		assert_null(f);
	} else {
		assert_non_null(f);
		assert_non_null(fgets(got, sizeof got, f));
		assert_string_equal(got, text);
		fclose(f);
	}
	free(all);
}

static int begin(void **state)
{
	struct world *w = sr_alloc(sizeof *w);

	snprintf(w->dir, sizeof w->dir, "/tmp/test_swap.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	w->swap = (struct sr_swap){.path = sr_format("%s/a b%%.db", w->dir),
				   .staged = sr_format("%s/a b%%.db.restoring", w->dir),
				   .aside = sr_format("%s/a b%%.db.before", w->dir),
				   .database = true};
	put(w->swap.path, "old");
	put_with(w->swap.path, "-wal", "old log");
	put(w->swap.staged, "new");
	*state = w;
	return 0;
}

static int end(void **state)
{
	struct world *w = *state;
	char *command = sr_format("rm -rf %s", w->dir);

	assert_int_equal(system(command), 0);
	free(command);
	free(w->swap.path);
	free(w->swap.staged);
	free(w->swap.aside);
	free(w);
	return 0;
}

static void assert_in_place(const struct world *w)
{
	assert_holds(w->swap.path, "", "new");
	assert_holds(w->swap.path, "-wal", NULL);
	assert_holds(w->swap.staged, "", NULL);
	assert_holds(w->swap.aside, "", "old");
	assert_holds(w->swap.aside, "-wal", "old log");
	assert_false(sr_swap_pending(w->dir));
}

static void test_in_place_at_once(void **state)
{
	struct world *w = *state;
	struct sr_err err;
	size_t done = 7;

	assert_int_equal(sr_swap_finish(w->dir, &done, &err), SR_OK);
	assert_int_equal(done, 0);
	assert_int_equal(sr_swap_plan(w->dir, "all of it", &w->swap, 1, &err), SR_OK);
	assert_true(sr_swap_pending(w->dir));
	assert_holds(w->swap.path, "", "old");
	assert_int_equal(sr_swap_plan(w->dir, "all of it", &w->swap, 1, &err), SR_E_CONFLICT);
	assert_int_equal(sr_swap_finish(w->dir, &done, &err), SR_OK);
	assert_int_equal(done, 1);
	assert_in_place(w);
}

/* The renames take the database's file only: what its log has would stay behind. */
static void test_not_with_a_log(void **state)
{
	struct world *w = *state;
	struct sr_err err;

	for (const char *const *log = (const char *const[]){"-wal", "-journal", NULL}; *log; log++) {
		put_with(w->swap.staged, *log, "rows");
		assert_int_equal(sr_swap_plan(w->dir, "all of it", &w->swap, 1, &err), SR_E_BUSY);
		assert_non_null(strstr(err.text, w->swap.staged));
		assert_false(sr_swap_pending(w->dir));
		assert_holds(w->swap.path, "", "old");
		assert_holds(w->swap.staged, *log, "rows");
		put_with(w->swap.staged, *log, "");
	}
	assert_int_equal(sr_swap_plan(w->dir, "all of it", &w->swap, 1, &err), SR_OK);
	assert_int_equal(sr_swap_finish(w->dir, NULL, &err), SR_OK);
	assert_in_place(w);
}

static void test_nothing_is_left(void **state)
{
	struct world *w = *state;
	struct sr_err err;

	for (int cut = 0; cut < 2; cut++) {
		put(w->swap.staged, "new");
		assert_int_equal(sr_swap_plan(w->dir, "all of it", &w->swap, 1, &err), SR_OK);
		if (cut) /* just after the last rename */
			assert_int_equal(rename(w->swap.staged, w->swap.path), 0);
		put_with(w->swap.staged, "-wal", "");
		put_with(w->swap.staged, "-shm", "index");
		put_with(w->swap.staged, "-journal", "");
		assert_int_equal(sr_swap_finish(w->dir, NULL, &err), SR_OK);
		for (const char *const *part = (const char *const[]){"", "-wal", "-shm", "-journal", NULL}; *part; part++)
			assert_holds(w->swap.staged, *part, NULL);
		assert_holds(w->swap.path, "", "new");
	}
}

/* After each of its renames it may have been killed. */
static void test_cut_anywhere(void **state)
{
	struct world *w = *state;
	char *wal = sr_format("%s-wal", w->swap.path), *wal_aside = sr_format("%s-wal", w->swap.aside);
	struct sr_err err;

	for (int steps = 1; steps <= 3; steps++) {
		assert_int_equal(sr_swap_plan(w->dir, "all of it", &w->swap, 1, &err), SR_OK);
		assert_int_equal(rename(w->swap.path, w->swap.aside), 0);
		if (steps > 1)
			assert_int_equal(rename(wal, wal_aside), 0);
		if (steps > 2)
			assert_int_equal(rename(w->swap.staged, w->swap.path), 0);
		assert_int_equal(sr_swap_finish(w->dir, NULL, &err), SR_OK);
		assert_in_place(w);
		assert_int_equal(rename(w->swap.path, w->swap.staged), 0); /* as it was, for the next */
		assert_int_equal(rename(w->swap.aside, w->swap.path), 0);
		assert_int_equal(rename(wal_aside, wal), 0);
	}
	free(wal);
	free(wal_aside);
}

static void test_nothing_was_there(void **state)
{
	struct world *w = *state;
	struct sr_err err;

	assert_int_equal(unlink(w->swap.path), 0);
	assert_int_equal(sr_swap_plan(w->dir, "all of it", &w->swap, 1, &err), SR_OK);
	assert_int_equal(sr_swap_finish(w->dir, NULL, &err), SR_OK);
	assert_holds(w->swap.path, "", "new");
	assert_holds(w->swap.path, "-wal", NULL); /* a log of nothing is not the new one's */
	assert_holds(w->swap.aside, "-wal", "old log");
}

/* What was put aside once stays; the next goes beside it, its logs under the same name. */
static void test_nothing_is_overwritten(void **state)
{
	struct world *w = *state;
	struct sr_err err;

	put(w->swap.aside, "another");
	put_with(w->swap.aside, "-2-wal", "a log of nobody");
	assert_int_equal(sr_swap_plan(w->dir, "all of it", &w->swap, 1, &err), SR_OK);
	assert_int_equal(sr_swap_finish(w->dir, NULL, &err), SR_OK);
	assert_holds(w->swap.path, "", "new");
	assert_holds(w->swap.path, "-wal", NULL);
	assert_holds(w->swap.aside, "", "another");
	assert_holds(w->swap.aside, "-wal", NULL);
	assert_holds(w->swap.aside, "-2", NULL);
	assert_holds(w->swap.aside, "-2-wal", "a log of nobody");
	assert_holds(w->swap.aside, "-3", "old");
	assert_holds(w->swap.aside, "-3-wal", "old log");
}

/* Cut after the old one went aside, and the application made it again: with a log of its own, twice. */
static void test_made_again(void **state)
{
	struct world *w = *state;
	char *again = sr_format("%s-2", w->swap.aside);
	struct sr_err err;

	assert_int_equal(sr_swap_plan(w->dir, "all of it", &w->swap, 1, &err), SR_OK);
	assert_int_equal(rename(w->swap.path, w->swap.aside), 0);
	put_with(w->swap.aside, "-wal", "old log");
	put(w->swap.path, "again");
	put_with(w->swap.path, "-wal", "log of again");
	assert_int_equal(rename(w->swap.path, again), 0); /* and cut once more, before that log went with it */
	assert_int_equal(sr_swap_finish(w->dir, NULL, &err), SR_OK);
	assert_holds(again, "", "again");
	assert_holds(again, "-wal", "log of again");
	assert_in_place(w);
	free(again);
}

static void test_a_look_changes_nothing(void **state)
{
	struct world *w = *state;
	struct sr_swap_pending pending;
	struct sr_err err;

	assert_int_equal(sr_swap_look(w->dir, &pending, &err), SR_OK);
	assert_null(pending.request);
	assert_int_equal(sr_swap_plan(w->dir, "all of it", (struct sr_swap[]){w->swap, w->swap}, 2, &err), SR_OK);
	assert_int_equal(sr_swap_look(w->dir, &pending, &err), SR_OK);
	assert_string_equal(pending.request, "all of it");
	assert_non_null(strstr(pending.paths, "a b%.db, /tmp/"));
	assert_true(pending.since_ms > 1700000000000);
	assert_true(sr_swap_pending(w->dir));
	assert_holds(w->swap.path, "", "old");
	sr_swap_pending_free(&pending);
	assert_null(pending.request);
}

/* The same with a directory. */
static void test_directory_made_again(void **state)
{
	struct world *w = *state;
	struct sr_err err;

	w->swap.database = false;
	assert_int_equal(unlink(w->swap.path), 0);
	assert_int_equal(unlink(w->swap.staged), 0);
	for (const char *const *d = (const char *const[]){w->swap.path, w->swap.staged, w->swap.aside, NULL}; *d; d++)
		assert_int_equal(mkdir(*d, 0755), 0);
	put_with(w->swap.path, "/f", "again");
	put_with(w->swap.staged, "/f", "new");
	put_with(w->swap.aside, "/f", "old");
	assert_int_equal(sr_swap_plan(w->dir, "all of it", &w->swap, 1, &err), SR_OK);
	assert_int_equal(sr_swap_finish(w->dir, NULL, &err), SR_OK);
	assert_holds(w->swap.path, "/f", "new");
	assert_holds(w->swap.aside, "/f", "old");
	assert_holds(w->swap.aside, "-2/f", "again");
	assert_holds(w->swap.path, "-wal", "old log"); /* not a directory's */
}

static void test_damaged(void **state)
{
	static const char *const bad[] = {"", "sameroot-restore 2\nend\n", "sameroot-restore 1\n", "sameroot-restore 1\nend\n",
					 "sameroot-restore 1\nfor x\ndatabase /a /b\nend\n", "sameroot-restore 1\nfor x\n"};
	struct world *w = *state;
	char *dir = sr_format("%s/restore", w->dir), *plan = sr_format("%s/plan", dir);
	struct sr_swap_pending pending;
	struct sr_err err;

	assert_int_equal(mkdir(dir, 0700), 0);
	for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
		put(plan, bad[k]);
		assert_int_equal(sr_swap_finish(w->dir, NULL, &err), SR_E_DATA);
		assert_int_equal(sr_swap_look(w->dir, &pending, &err), SR_E_DATA);
		assert_null(pending.request);
		assert_true(sr_swap_pending(w->dir));
	}
	assert_holds(w->swap.path, "", "old");
	free(plan);
	free(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_in_place_at_once, begin, end),
		cmocka_unit_test_setup_teardown(test_not_with_a_log, begin, end),
		cmocka_unit_test_setup_teardown(test_nothing_is_left, begin, end),
		cmocka_unit_test_setup_teardown(test_cut_anywhere, begin, end),
		cmocka_unit_test_setup_teardown(test_nothing_was_there, begin, end),
		cmocka_unit_test_setup_teardown(test_nothing_is_overwritten, begin, end),
		cmocka_unit_test_setup_teardown(test_a_look_changes_nothing, begin, end),
		cmocka_unit_test_setup_teardown(test_made_again, begin, end),
		cmocka_unit_test_setup_teardown(test_directory_made_again, begin, end),
		cmocka_unit_test_setup_teardown(test_damaged, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
