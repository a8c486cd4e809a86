/* ending.c - see ending.h. */
#include "lib/lb/ending.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "lib/base/bytes.h"
#include "lib/node/last_resort.h"

#define GRACE_S 22 /* for what HAProxy was just asked, which may take 10 s and more, and for killing one that hangs */
#define WAKE    SIGUSR2

struct sr_lb_ending {
	pthread_t owner, thread;
	struct sr_last_resort *last;
	atomic_uint_least64_t seconds;
	atomic_bool over;
};

static void *run(void *arg)
{
	struct sr_lb_ending *e = arg;
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, WAKE);
	while (!atomic_load(&e->over)) {
		if (sigwait(&set, &sig) != 0)
			continue;
		if (sig != WAKE)
			sr_lb_ending_begun(e);
		if (!atomic_load(&e->over))
			pthread_kill(e->owner, sig);
	}
	return NULL;
}

enum sr_status sr_lb_ending_start(struct sr_lb_ending **out, uint64_t shutdown_timeout, struct sr_err *err)
{
	struct sr_lb_ending *e = sr_alloc(sizeof *e);

	e->owner = pthread_self();
	atomic_init(&e->seconds, shutdown_timeout);
	e->last = sr_last_resort_new();
	if (pthread_create(&e->thread, NULL, run, e) != 0) {
		sr_last_resort_free(e->last);
		free(e);
		return sr_err_set(err, SR_E_INTERNAL, "no thread can be started");
	}
	*out = e;
	return SR_OK;
}

void sr_lb_ending_timeout(struct sr_lb_ending *e, uint64_t shutdown_timeout)
{
	atomic_store(&e->seconds, shutdown_timeout);
}

void sr_lb_ending_begun(struct sr_lb_ending *e)
{
	sr_last_resort_within(e->last, (int64_t)(atomic_load(&e->seconds) + GRACE_S) * 1000);
}

void sr_lb_ending_free(struct sr_lb_ending *e)
{
	if (!e)
		return;
	atomic_store(&e->over, true);
	pthread_kill(e->thread, WAKE);
	pthread_join(e->thread, NULL);
	sr_last_resort_free(e->last);
	free(e);
}
