/* sim_steps.c - one round, as often as it has steps: each time another step of it fails, once, and everything is judged afterwards.
 *
 * The round pulls what another webserver wrote and pushes what was written here; before the next one, what was pulled is deleted there. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/play.h"
#include "tests/sim/sim.h"

enum { MOST_STEPS = 400 };

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

/* The step-th of the round fails. */
static void history(uint64_t step, const char *dir)
{
	uint64_t before;

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
	sim_round(there);
	sim_change(here, 0, "web1-1", true);
	before = sr_disk_steps(here->disk);
	sr_disk_fail_at(here->disk, before + step, ENOSPC);
	sim_round(here);
	if (before + step > sr_disk_steps(here->disk))
		sim_violation("over", "the round has no more steps");
	sr_disk_fail_at(here->disk, 0, 0);
	sim_change(there, 0, "web2-1", false);
	sim_round(there);
	by_hand(false);
	sim_quiet();
}

int main(int argc, char **argv)
{
	unsigned steps = 0, broken = 0;

	if (!sim_may_run())
		return 0;
	if (argc == 3 && !strcmp(argv[1], "--step")) {
		sim_tracing = true;
		return sim_show(history, (uint64_t)atoi(argv[2]), true);
	}
	for (uint64_t step = 1; step < MOST_STEPS; step++, steps++) {
		struct sim_outcome o = sim_play(history, step);

		if (strstr(o.text, "violation: over"))
			break;
		if (o.status)
			printf("# step %llu: %s (status %d); again: build/tests/sim_steps --step %llu\n", (unsigned long long)step, o.text, o.status,
			       (unsigned long long)step);
		broken += o.status != 0;
	}
	sim_tap(steps > 20 && steps < MOST_STEPS - 1, "a round that pulls and pushes has %u steps", steps);
	sim_tap(broken == 0, "each of them may fail once, and nothing is lost or brought back");
	return sim_tap_end();
}
