/* sim_steps.c - one round, as often as it has steps: each time another step of a machine fails, or finds the disk full from there on, and everything is judged
 * afterwards.
 *
 * The round pulls what another webserver wrote, a database that is not here yet among it, and pushes what was written here, a file in a new directory among it;
 * before the next one, some of both is deleted.  The datastore commits an edit of its own before it; whose steps they are is started again
 * after it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/play.h"
#include "tests/sim/sim.h"

/* MODE + n: at the n-th step. */
enum { MOST_STEPS = 400, MODE = 1000 };
static const struct mode {
	const char *what;
	unsigned machine; /* whose steps: 0 the datastore's, 1 the webserver's */
	bool full;        /* from there on; else it fails */
} modes[] = {
	{"the webserver's steps, each of which fails", 1, false},
	{"the webserver's steps, at each of which its disk is full", 1, true},
	{"the datastore's steps, each of which fails", 0, false},
	{"the datastore's steps, at each of which its disk is full", 0, true},
};

static struct sim_machine *datastore, *here, *there, *troubled;

static void all_round(void)
{
	sim_round(datastore);
	sim_round(there);
	sim_round(here);
	sim_round(there);
}

static void by_hand(bool yes)
{
	for (unsigned i = 0; i < sim_count; i++)
		sim_machines[i].by_hand = yes;
}

static uint64_t full_at; /* 0: never */

static void fill_up(void *ctx, uint64_t step, const char *call, const char *path)
{
	(void)ctx, (void)call, (void)path;
	if (step == full_at)
		sr_disk_room(troubled->disk, 0);
}

static void history(uint64_t n, const char *dir)
{
	const struct mode *mode = &modes[n / MODE];
	uint64_t before, step = n % MODE;

	sim_seed(1);
	sim_schedule_begin(0);
	sim_world_begin(dir, 2);
	datastore = &sim_machines[0];
	here = &sim_machines[1];
	there = &sim_machines[2];
	troubled = mode->machine ? here : datastore;
	by_hand(true);
	for (unsigned i = 0; i < sim_count; i++)
		sim_start(&sim_machines[i]);
	sim_change(there, 0, "web2-0", true);
	sim_change(there, 2, "web2-0", true);
	all_round();
	all_round();
	sim_change(there, 0, "web2-1", true);
	sim_change(there, 1, "web2-2", true);
	sim_round(there);
	sim_change(here, 0, "web1-1", true);
	sim_change(here, 2, "web1-0", true);
	sim_change(here, 2, "web1-1", true);
	sim_change(datastore, 1, "shared-0", true);
	before = sr_disk_steps(troubled->disk);
	if (mode->full) {
		full_at = before + step;
		sr_disk_watch(troubled->disk, fill_up, NULL);
	} else {
		sr_disk_fail_at(troubled->disk, before + step, EIO);
	}
	if (troubled == datastore)
		sim_round(datastore);
	sim_round(here);
	sr_disk_room(troubled->disk, -1);
	full_at = 0;
	if (before + step > sr_disk_steps(troubled->disk))
		sim_violation("over", "the round has no more steps");
	sr_disk_fail_at(troubled->disk, 0, 0);
	sim_change(there, 0, "web2-1", false);
	sim_change(here, 0, "web1-1", false);
	sim_change(here, 2, "web1-1", false);
	sim_round(there);
	sim_stop(troubled, false);
	sim_start(troubled);
	by_hand(false);
	sim_quiet();
}

static void each_step(unsigned mode)
{
	unsigned steps = 0, broken = 0;
	uint64_t from = (uint64_t)mode * MODE;

	for (uint64_t step = 1; step < MOST_STEPS; step++, steps++) {
		struct sim_outcome o = sim_play(history, from + step);

		if (strstr(o.text, "violation: over"))
			break;
		if (o.status)
			printf("# step %llu: %s (status %d); again: build/tests/sim_steps --step %llu\n", (unsigned long long)step, o.text, o.status,
			       (unsigned long long)(from + step));
		broken += o.status != 0;
	}
	sim_tap(!broken && steps > 20 && steps < MOST_STEPS - 1, "a round's %u of %s: nothing is lost or brought back", steps, modes[mode].what);
}

int main(int argc, char **argv)
{
	if (!sim_may_run())
		return 0;
	if (argc == 3 && !strcmp(argv[1], "--step")) {
		sim_tracing = true;
		return sim_show(history, (uint64_t)atoi(argv[2]), true);
	}
	for (unsigned mode = 0; mode < sizeof modes / sizeof *modes; mode++)
		each_step(mode);
	return sim_tap_end();
}
