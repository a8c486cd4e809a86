/* faults.c - what goes wrong, and when. */
#include "tests/sim/sim.h"

static unsigned some(unsigned most)
{
	return sim_chance(500) ? (unsigned)sim_below(most) : 0;
}

static void bad_network(void)
{
	sim_network = (struct sim_network){.lose = some(100), .lose_answer = some(100), .repeat = some(100), .delay = some(100), .cut = some(50), .most_delay_s = 40};
}

void sim_faults(int64_t us)
{
	int64_t until = sim_now() + us;

	bad_network();
	while (sim_now() < until)
		sim_sleep(SIM_S);
	sim_network = (struct sim_network){0};
}
