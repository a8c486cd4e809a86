/* machine.c - the datastore and its webservers: directory, disk, configuration, and the thread that is the daemon. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/bytes.h"
#include "lib/base/door.h"
#include "lib/datastore/datastore.h"
#include "lib/sync/sync.h"
#include "tests/sim/sim.h"

#define SECRET "a-secret-of-forty-characters,-no-less,-ok"
enum { INTERVAL_S = 10 };

struct sim_machine *sim_machines;
unsigned sim_count;

/* --- configuration ----------------------------------------------------------------------------------------------------------- */

static void configure(struct sim_machine *m)
{
	char *text = sr_format("[global]\n%s=datastore:9405\n%s=%s:80\nControl-Auth=%s\nDatastore-Insecure-Disable-TLS=true\nInsecure-Disable-HTTPS=true\n"
			       "Datastore-Update-Interval=%d\n%sState-Directory=%s\n%sUser-DB-Path=%s\n%sWeb-Store-Path=%s\n%s=%s\n",
			       m->number ? "Datastore" : "#", m->number ? "External-Addr" : "#", m->name, SECRET, INTERVAL_S,
			       m->number ? "" : "Datastore-", m->state, m->number ? "" : "Datastore-", m->store[0].path, m->number ? "" : "Datastore-",
			       m->store[1].path, m->number ? "Webserver-Resource-Store" : "Datastore-Resource-Store", m->store[2].path);
	FILE *in = fmemopen(text, strlen(text), "r");
	struct sr_err err;

	if (sr_config_parse(&m->config, in, "simulated", &err) != SR_OK) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	fclose(in);
	free(text);
}

static void after_step(void *ctx)
{
	(void)ctx;
	sim_point();
}

static void trace_step(void *ctx, uint64_t step, const char *call, const char *path)
{
	const struct sim_machine *m = ctx;

	sim_trace("%s: %llu %s %s", m->name, (unsigned long long)step, call, path + strlen(m->dir));
}

static void open_disk(struct sim_machine *m)
{
	m->disk = sr_disk_open(m->dir);
	sr_disk_watch(m->disk, trace_step, m);
	sr_disk_after(m->disk, after_step, NULL);
	sim_stat_follow(m->disk);
}

static void lay_out(struct sim_machine *m, const char *dir, unsigned number)
{
	static const char *const names[SIM_STORES] = {"users.db", "webstore.db", "resources"};

	m->number = number;
	snprintf(m->name, sizeof m->name, number ? "web%u" : "datastore", number);
	snprintf(m->dir, sizeof m->dir, "%s/%s", dir, m->name);
	snprintf(m->state, sizeof m->state, "%s/state", m->dir);
	for (unsigned i = 0; i < SIM_STORES; i++) {
		m->store[i] = (struct sim_store){.name = names[i], .files = i == 2};
		snprintf(m->store[i].path, sizeof m->store[i].path, "%s/%s", m->dir, names[i]);
	}
	if (mkdir(m->dir, 0700)) {
		perror(m->dir);
		abort();
	}
	open_disk(m);
	configure(m);
}

/* --- the daemons ------------------------------------------------------------------------------------------------------------- */

bool sim_is_down(const struct sim_machine *m)
{
	return !m->on || sr_disk_stopped(m->disk);
}

static void tell(struct sim_machine *m, const char *what, enum sr_status rc, const struct sr_err *err)
{
	m->last = rc;
	m->err = *err;
	sim_trace("%s: %s%s%s", what, sr_status_name(rc), rc == SR_OK ? "" : ": ", rc == SR_OK ? "" : err->text);
}

/* Until the next round. */
static void rest(struct sim_machine *m, bool well)
{
	if (!m->by_hand && !sim_is_down(m))
		sim_sleep(well ? INTERVAL_S * SIM_S - (int64_t)sim_below(SIM_S) : SIM_S + (int64_t)sim_below(2 * SIM_S));
	while (m->by_hand && !m->wanted && !sim_is_down(m))
		sim_sleep(SIM_S / 10);
	if (m->wanted)
		m->wanted--;
}

void sim_round(struct sim_machine *m)
{
	uint64_t before = m->rounds;

	m->wanted++;
	while (m->rounds == before)
		sim_sleep(SIM_S / 10);
}

static void run_webserver(struct sim_machine *m)
{
	struct sr_sync_options o = {.config = m->config, .version = "simulated"};
	struct sr_sync_result result;
	struct sr_err err = {0};
	enum sr_status rc = sr_sync_open(&m->sync, &o, &err);

	if (rc != SR_OK)
		tell(m, "open", rc, &err);
	else
		sr_sync_set_secret(m->sync, SECRET);
	m->runs = rc == SR_OK;
	while (rc == SR_OK && !sim_is_down(m)) {
		enum sr_status round;

		if (m->approve && sr_sync_approve(m->sync, &err) == SR_OK)
			m->approve = false;
		err = (struct sr_err){0};
		round = sr_sync_round(m->sync, &result, &err);
		m->in_sync = round == SR_OK && result.in_sync;
		tell(m, m->in_sync ? "round, in sync" : "round", round, &err);
		m->rounds++;
		rest(m, round == SR_OK);
	}
	m->runs = m->in_sync = false;
	sr_sync_close(m->sync);
	m->sync = NULL;
}

static void run_datastore(struct sim_machine *m)
{
	struct sr_err err = {0};
	enum sr_status rc = sr_datastore_open(&m->datastore, m->config, &err);

	if (rc == SR_OK)
		rc = sr_datastore_listen(m->datastore, &err);
	if (rc != SR_OK)
		tell(m, "open", rc, &err);
	m->runs = rc == SR_OK;
	while (rc == SR_OK && !sim_is_down(m) && !sr_datastore_broken(m->datastore, &err)) {
		enum sr_status turn;

		err = (struct sr_err){0};
		turn = sr_datastore_tick(m->datastore, &err);
		tell(m, "turn", turn, &err);
		m->rounds++;
		rest(m, true);
	}
	m->runs = false;
	sr_datastore_close(m->datastore);
	m->datastore = NULL;
}

/* Whoever manages services starts it again when it ends by itself. */
static void *live(void *arg)
{
	struct sim_machine *m = arg;

	for (;;) {
		if (!sim_is_down(m)) {
			struct sim_machine *before = sim_visit(m);

			(m->number ? run_webserver : run_datastore)(m);
			sim_return(before);
		}
		sim_sleep(SIM_S / 2);
	}
	return NULL;
}

/* --- on and off -------------------------------------------------------------------------------------------------------------- */

void sim_start(struct sim_machine *m)
{
	m->boot_us = sim_now();
	m->on = true;
}

void sim_stop(struct sim_machine *m, bool at_once)
{
	if (at_once)
		sr_disk_stop(m->disk);
	m->on = false;
	while (m->inside)
		sim_sleep(SIM_S / 20);
}

/* --- backups: of the whole directory, as by cp -a; what is put back is as durable as a new disk ------------------------------ */

static void backup_of(const struct sim_machine *m, char out[128])
{
	snprintf(out, 128, "%s.backup", m->dir);
}

void sim_backup(struct sim_machine *m)
{
	char path[128];

	backup_of(m, path);
	if ((m->backup_us ? sr_disk_empty(path) : mkdir(path, 0700)) || sr_disk_copy(m->dir, path, sim_stat_copy))
		sim_violation("simulator", "%s: the backup failed", m->name);
	m->backup_us = sim_now();
}

void sim_restore(struct sim_machine *m)
{
	char path[128];

	backup_of(m, path);
	sim_read_archive(m); /* it is out of reach now, and was not lost by us */
	sr_disk_close(m->disk);
	if (sr_disk_empty(m->dir) || sr_disk_copy(path, m->dir, sim_stat_copy))
		sim_violation("simulator", "%s: the backup cannot be put back", m->name);
	open_disk(m);
	sim_went_back(m, m->backup_us);
}

/* --- all of them ------------------------------------------------------------------------------------------------------------- */

static int64_t door_now(void *ctx)
{
	struct timespec t;

	(void)ctx;
	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t door_ticks(void *ctx)
{
	struct timespec t;

	(void)ctx;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void door_random(void *ctx, void *out, size_t n)
{
	(void)ctx;
	sim_bytes(out, n);
}

void sim_world_begin(const char *dir, unsigned webservers)
{
	sr_door_install(&(struct sr_door){.now_ms = door_now, .ticks_ms = door_ticks, .random = door_random});
	sim_stat_begin(dir);
	sim_count = webservers + 1;
	sim_machines = sr_alloc(sim_count * sizeof *sim_machines);
	for (unsigned i = 0; i < sim_count; i++)
		lay_out(&sim_machines[i], dir, i);
	for (unsigned i = 0; i < sim_count; i++)
		sim_spawn(NULL, sim_machines[i].name, live, &sim_machines[i], 0);
}
