/* history.c - one history: parts in which users work and things go wrong, each followed by a quiet point. */
#include "tests/sim/sim.h"

void sim_history(uint64_t seed, const char *dir)
{
	static const unsigned switches[] = {2, 20, 100, 300}, webservers[] = {1, 1, 1, 1, 2, 2, 2, 3};

	sim_seed(seed);
	sim_schedule_begin(switches[sim_below(4)]);
	sim_world_begin(dir, webservers[sim_below(8)]);
	sim_choose_faults();
	for (unsigned i = 0; i < sim_count; i++)
		sim_start(&sim_machines[i]);
	sim_users_begin();
	for (unsigned parts = 1 + (unsigned)sim_below(2), k = 0; k < parts; k++) {
		sim_users = (struct sim_users){.work = true, .pause_us = SIM_S / 2 + (int64_t)sim_below(5 * SIM_S), .restful = sim_users.restful};
		sim_faults((10 + (int64_t)sim_below(30)) * SIM_S);
		sim_quiet();
	}
}
