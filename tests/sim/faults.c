/* faults.c - what goes wrong, and when.  Each history has some kinds of faults; each fault is a thread of its own, one at a time a machine. */
#include <errno.h>

#include "tests/sim/sim.h"

struct sim_kinds sim_kinds;
bool sim_restores;
static unsigned under_way;

static unsigned some(unsigned most)
{
	return sim_chance(500) ? (unsigned)sim_below(most) : 0;
}

static void set_clock(struct sim_machine *m)
{
	static const int64_t scale[] = {0, SIM_S, 60 * SIM_S, 3600 * SIM_S, 86400 * SIM_S, 8 * 365 * 86400 * SIM_S};
	int64_t most = scale[sim_below(6)];

	m->clock_us = most ? (int64_t)sim_below(2 * (uint64_t)most) - most : 0;
	sim_trace("the clock of %s is off by %.1f s", m->name, (double)m->clock_us / SIM_S);
}

void sim_choose_faults(void)
{
	sim_kinds = (struct sim_kinds){
		.network = sim_chance(600),
		.crashes = sim_chance(500),
		.power = sim_chance(500),
		.full = sim_chance(300),
		.clocks = sim_chance(300),
	};
	/* What is written after an fsync that failed may be lost by a power cut, whatever a later fsync says: that would be SQLite's fault, not ours. */
	sim_kinds.eio = !sim_kinds.power && sim_chance(400);
	sim_kinds.restores = sim_restores && (sim_kinds.crashes || sim_kinds.power);
	if (sim_kinds.clocks)
		for (unsigned i = 0; i < sim_count; i++)
			set_clock(&sim_machines[i]);
}

/* --- one fault --------------------------------------------------------------------------------------------------------------- */

/* At some step from here on; if none comes, now. */
static void wait_for_stop(struct sim_machine *m)
{
	int64_t until = sim_now() + 20 * SIM_S;

	sr_disk_stop_at(m->disk, sr_disk_steps(m->disk) + 1 + sim_below(sim_chance(500) ? 30 : 300), (enum sr_disk_when)sim_below(3));
	while (!sr_disk_stopped(m->disk) && sim_now() < until)
		sim_sleep(SIM_S / 50);
	sim_stop(m, true);
}

static void cut_power(struct sim_machine *m)
{
	uint64_t seed = sim_random();

	sim_stat_cut(m->disk);
	if (sr_disk_cut(m->disk, seed, SR_DISK_ANY))
		sim_violation("simulator", "%s: the power cut failed: errno %d", m->name, errno);
}

static void *crash(void *arg)
{
	struct sim_machine *m = arg;
	bool power;

	wait_for_stop(m);
	power = sim_kinds.power && (!sim_kinds.crashes || sim_chance(500));
	if (power)
		cut_power(m);
	else
		sr_disk_start(m->disk);
	if (sim_kinds.restores && m->backup_us && sim_chance(500)) {
		sim_trace("%s is put back to what it was at %.4f", m->name, (double)m->backup_us / SIM_S);
		sim_restore(m);
	} else if (sim_kinds.restores) {
		sim_backup(m);
	}
	sim_sleep((int64_t)sim_below(15 * (uint64_t)SIM_S));
	sim_trace("%s starts again after %s", m->name, power ? "a power cut" : "a crash");
	sim_start(m);
	m->troubled = false;
	under_way--;
	return NULL;
}

static void *fill_up(void *arg)
{
	struct sim_machine *m = arg;

	sim_trace("%s: the disk is nearly full", m->name);
	sr_disk_room(m->disk, (int64_t)sim_below(sim_chance(500) ? 4096 : 60000));
	sim_sleep((int64_t)sim_below(40 * (uint64_t)SIM_S));
	sr_disk_room(m->disk, -1);
	sim_trace("%s: the disk has room", m->name);
	m->troubled = false;
	under_way--;
	return NULL;
}

static void begin(struct sim_machine *m, void *(*fault)(void *))
{
	m->troubled = true;
	under_way++;
	sim_spawn(NULL, "fault", fault, m, 0);
}

/* Of the kinds that there are, one. */
static void fault_of(struct sim_machine *m)
{
	uint64_t which = sim_below(4);

	if (which == 0 && sim_kinds.eio)
		sr_disk_fail_at(m->disk, sr_disk_steps(m->disk) + 1 + sim_below(300), sim_chance(700) ? EIO : ENOSPC);
	else if (which == 1 && sim_kinds.clocks)
		set_clock(m);
	else if (which == 2 && sim_kinds.full && !m->troubled)
		begin(m, fill_up);
	else if ((sim_kinds.crashes || sim_kinds.power) && !m->troubled)
		begin(m, crash);
}

/* --- all of them ------------------------------------------------------------------------------------------------------------- */

static void bad_network(void)
{
	if (sim_kinds.network)
		sim_network =
			(struct sim_network){.lose = some(100), .lose_answer = some(100), .repeat = some(100), .delay = some(100), .cut = some(50), .most_delay_s = 40};
}

void sim_faults(int64_t us)
{
	int64_t until = sim_now() + us;

	bad_network();
	while (sim_now() < until) {
		sim_sleep((int64_t)sim_below(12 * (uint64_t)SIM_S));
		fault_of(&sim_machines[sim_below(sim_count)]);
	}
	while (under_way)
		sim_sleep(SIM_S / 2);
	sim_network = (struct sim_network){0};
	for (unsigned i = 0; i < sim_count; i++)
		sr_disk_fail_at(sim_machines[i].disk, 0, 0);
}
