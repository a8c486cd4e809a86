/* sim.h - what the parts of the simulator share (README.md says how they fit together).
 *
 * One process, one history.  Every node is a machine: a directory, a disk (disk.h), a clock, and the threads that run its code, which is the product's own.  Of all
 * threads only one runs at a time; at every point (sim_point) chance decides who goes on.  All chance comes from one seed, all time from one virtual clock, so that
 * the seed is the history. */
#ifndef SR_TESTS_SIM_H
#define SR_TESTS_SIM_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "lib/base/config.h"
#include "lib/base/err.h"
#include "tests/sim/disk.h"

struct sr_datastore;
struct sr_server;
struct sr_sync;

/* --- chance and trace (chance.c) ------------------------------------------------------------------------------------------ */

void sim_seed(uint64_t seed);
uint64_t sim_random(void);
uint64_t sim_below(uint64_t n);     /* n > 0 */
bool sim_chance(unsigned per_mille);
void sim_bytes(void *out, size_t n);

extern bool sim_tracing; /* print the trace */
/* One line of the trace: the virtual time, the machine, and what happened. */
void sim_trace(const char *fmt, ...) SR_PRINTF(1, 2);
uint64_t sim_trace_hash(void);      /* of all lines so far */
/* The history broke a promise: it is told, and it is the end of it. */
_Noreturn void sim_violation(const char *kind, const char *fmt, ...) SR_PRINTF(2, 3);

/* --- threads and time (schedule.c) ---------------------------------------------------------------------------------------- */

struct sim_machine;
struct sim_thread;

#define SIM_MS ((int64_t)1000)
#define SIM_S  (1000 * SIM_MS)

/* The calling thread becomes the first one. */
void sim_schedule_begin(unsigned switch_per_mille);
/* A thread of machine m, that begins at now + after_us. */
struct sim_thread *sim_spawn(struct sim_machine *m, const char *name, void *(*run)(void *), void *arg, int64_t after_us);
/* Here another thread may go on. */
void sim_point(void);
void sim_sleep(int64_t us);
int64_t sim_now(void); /* us of the virtual clock */
/* Whose code this thread runs; NULL: nobody's, the world's.  sim_visit: m's, from now on, and until sim_return(what it returned). */
struct sim_machine *sim_here(void);
struct sim_machine *sim_visit(struct sim_machine *m);
void sim_return(struct sim_machine *before);
/* The threads that this one has made are over. */
void sim_wait_children(void);

/* --- files' times and numbers (stat.c) ------------------------------------------------------------------------------------ */

/* What is on the file system of this directory has virtual times and inode numbers. */
void sim_stat_begin(const char *dir);
void sim_stat_follow(struct sr_disk *d);
/* The copy has the time of what was copied, as by cp -a. */
void sim_stat_copy(const char *from, const char *to);
/* Before the power is cut: what loses something says of itself what it said when it was synced. */
void sim_stat_cut(struct sr_disk *d);

/* --- the network (network.c) ---------------------------------------------------------------------------------------------- */

struct sim_network {                 /* in a thousand */
	unsigned lose, lose_answer, repeat, delay, cut;
	unsigned most_delay_s;
};
extern struct sim_network sim_network;

/* --- machines (machine.c) ------------------------------------------------------------------------------------------------- */

#define SIM_STORES 3
#define SIM_MOST   4 /* machines */
struct sim_store {
	const char *name;
	bool files;
	char path[128];
};

struct sim_machine {
	char name[16], dir[96], files[112]; /* files: of the resources store */
	unsigned number;                    /* 0: the datastore */
	struct sr_disk *disk;
	struct sr_config *config;
	struct sim_store store[SIM_STORES];
	char state[112];

	int64_t boot_us, clock_us; /* when it started; how far its wall clock is off */
	bool on;                   /* it is meant to run */
	bool cutoff;               /* the network does not reach it */
	int inside;                /* threads that run its code now */
	bool runs;                 /* its daemon is open */

	struct sr_datastore *datastore;
	struct sr_server *server;
	struct sr_sync *sync;

	/* of the last round, or turn */
	enum sr_status last;
	bool in_sync;
	uint64_t rounds;           /* ended */
	struct sr_err err;
	bool approve, unite;       /* the operator's word for the daemon */
	bool troubled;             /* a fault is under way */
	int64_t backup_us;         /* when it was copied aside last; 0: never */
	bool by_hand;              /* it does no round but those of sim_round */
	unsigned wanted;           /* of these */
};

extern struct sim_machine *sim_machines; /* [0] is the datastore */
extern unsigned sim_count;

/* While it stands still: copy it aside; put that back. */
void sim_backup(struct sim_machine *m);
void sim_restore(struct sim_machine *m);

/* Is it stopped, or to be: then its code has to come to an end. */
bool sim_is_down(const struct sim_machine *m);

void sim_world_begin(const char *dir, unsigned webservers);
void sim_start(struct sim_machine *m);
/* Of a machine that is run by hand: one round, or turn, now. */
void sim_round(struct sim_machine *m);
/* Stop it as an operator does (its daemon ends by itself), or at once; returns when none of its code runs. */
void sim_stop(struct sim_machine *m, bool at_once);

/* --- users (users.c) ------------------------------------------------------------------------------------------------------ */

struct sim_users {
	bool work;                 /* or rest */
	int64_t pause_us;          /* between two changes, about */
	unsigned restful;          /* users that rest now */
};
extern struct sim_users sim_users;
void sim_users_begin(void);
/* A user of m gives a key a new value, or none; then he goes. */
void sim_change(struct sim_machine *m, unsigned store, const char *key, bool value);
/* Of "<T-42>..."; 0: there is none. */
uint64_t sim_token_of(const char *text);
/* No user is in the midst of a change. */
bool sim_users_rest(void);

/* --- what was changed, and the judge (judge.c) ---------------------------------------------------------------------------- */

enum sim_fate { SIM_DONE, SIM_DOUBT };
/* A user's change of key (of a store) on m: from one token to another (0: there is none). */
void sim_note(const struct sim_machine *m, unsigned store, const char *key, uint64_t from, uint64_t to, enum sim_fate fate);
/* m is as it was then: what users did there since may be gone, and what was deleted anywhere may be back. */
void sim_went_back(const struct sim_machine *m, int64_t then_us);
/* What its archive holds counts as kept, whatever becomes of the directory. */
void sim_read_archive(const struct sim_machine *m);
/* Until all is in sync; then everything is judged. */
void sim_quiet(void);

/* --- faults (faults.c) ---------------------------------------------------------------------------------------------------- */

struct sim_kinds { /* of this history */
	bool network, crashes, power, full, eio, clocks, restores;
};
extern struct sim_kinds sim_kinds;
extern bool sim_restores; /* histories may have backups put back, too */
void sim_choose_faults(void);
/* For so long, faults of these kinds. */
void sim_faults(int64_t us);

/* --- one history (history.c) ---------------------------------------------------------------------------------------------- */

void sim_history(uint64_t seed, const char *dir);

#endif
