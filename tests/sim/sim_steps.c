/* sim_steps.c - one round, as often as it has steps: each time another step of it fails, or finds the disk full from there on, and everything is judged afterwards.
 *
 * The round pulls what another webserver wrote, a database that is not here yet among it, and pushes what was written here; before the next one, what was pulled is
 * deleted there. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/play.h"
#include "tests/sim/sim.h"

enum { MOST_STEPS = 400, FULL = 1000 }; /* FULL + n: the disk is full from the n-th step on */

static struct sim_machine *datastore, *here, *there;

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
		sr_disk_room(here->disk, 0);
}

/* The n-th step of the round fails. */
static void history(uint64_t n, const char *dir)
{
	uint64_t before, step = n % FULL;

	sim_seed(1);
	sim_schedule_begin(0);
	sim_world_begin(dir, 2);
	datastore = &sim_machines[0];
	here = &sim_machines[1];
	there = &sim_machines[2];
	by_hand(true);
	for (unsigned i = 0; i < sim_count; i++)
		sim_start(&sim_machines[i]);
	sim_change(there, 0, "web2-0", true);
	all_round();
	all_round();
	sim_change(there, 0, "web2-1", true);
	sim_change(there, 1, "web2-2", true);
	sim_round(there);
	sim_change(here, 0, "web1-1", true);
	before = sr_disk_steps(here->disk);
	if (n < FULL) {
		sr_disk_fail_at(here->disk, before + step, ENOSPC);
	} else {
		full_at = before + step;
		sr_disk_watch(here->disk, fill_up, NULL);
	}
	sim_round(here);
	sr_disk_room(here->disk, -1);
	full_at = 0;
	if (before + step > sr_disk_steps(here->disk))
		sim_violation("over", "the round has no more steps");
	sr_disk_fail_at(here->disk, 0, 0);
	sim_change(there, 0, "web2-1", false);
	sim_round(there);
	by_hand(false);
	sim_quiet();
}

static void each_step(uint64_t from, const char *what)
{
	unsigned steps = 0, broken = 0;

	for (uint64_t step = 1; step < MOST_STEPS; step++, steps++) {
		struct sim_outcome o = sim_play(history, from + step);

		if (strstr(o.text, "violation: over"))
			break;
		if (o.status)
			printf("# step %llu: %s (status %d); again: build/tests/sim_steps --step %llu\n", (unsigned long long)step, o.text, o.status,
			       (unsigned long long)(from + step));
		broken += o.status != 0;
	}
	sim_tap(!broken && steps > 20 && steps < MOST_STEPS - 1, "of a round that pulls and pushes each of %u steps %s, and nothing is lost or brought back", steps, what);
}

int main(int argc, char **argv)
{
	if (!sim_may_run())
		return 0;
	if (argc == 3 && !strcmp(argv[1], "--step")) {
		sim_tracing = true;
		return sim_show(history, (uint64_t)atoi(argv[2]), true);
	}
	each_step(0, "fails");
	each_step(FULL, "finds the disk full");
	return sim_tap_end();
}
