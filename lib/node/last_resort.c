/* last_resort.c - see last_resort.h. */
#include "lib/node/last_resort.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/door.h"
#include "lib/base/log.h"
#include "lib/base/wait.h"

#define SAY_MS 500 /* for the last line of the log */

struct sr_last_resort {
	pthread_mutex_t lock; /* of what follows; held over nothing that could hang */
	pthread_cond_t changed;
	pthread_t thread;
	bool threaded, over;
	int64_t end_ms; /* of sr_ticks_ms(), once threaded */
};

/* --- the end ---------------------------------------------------------------------------------------------------------------- */

static void *say(void *none)
{
	sr_warn("the time is up: this process ends in the middle of something; the next start decides by evidence what came of it");
	return none;
}

/* The log may be what hangs: it is written to by another thread, which is not waited for for long. */
static void leave(void)
{
	struct timespec until = sr_after_ms(SAY_MS);
	pthread_t sayer;

	if (pthread_create(&sayer, NULL, say, NULL) == 0)
		pthread_clockjoin_np(sayer, NULL, CLOCK_MONOTONIC, &until);
	_exit(0);
}

static void *run(void *arg)
{
	struct sr_last_resort *l = arg;
	bool over;

	pthread_mutex_lock(&l->lock);
	while (!l->over && sr_ticks_ms() < l->end_ms) {
		struct timespec until = sr_after_ms(l->end_ms - sr_ticks_ms() + 1);

		pthread_cond_timedwait(&l->changed, &l->lock, &until);
	}
	over = l->over;
	pthread_mutex_unlock(&l->lock);
	if (!over)
		leave();
	return NULL;
}

/* --- the interface ------------------------------------------------------------------------------------------------------------ */

struct sr_last_resort *sr_last_resort_new(void)
{
	struct sr_last_resort *l = sr_alloc(sizeof *l);

	pthread_mutex_init(&l->lock, NULL);
	sr_cond_init(&l->changed);
	return l;
}

void sr_last_resort_within(struct sr_last_resort *l, int64_t ms)
{
	int64_t end = sr_ticks_ms() + ms;
	bool threaded;

	pthread_mutex_lock(&l->lock);
	if (!l->threaded || end < l->end_ms)
		l->end_ms = end;
	if (!l->threaded)
		l->threaded = pthread_create(&l->thread, NULL, run, l) == 0;
	threaded = l->threaded;
	pthread_cond_signal(&l->changed);
	pthread_mutex_unlock(&l->lock);
	if (!threaded)
		sr_error("no thread for the last resort: this process does not end if something hangs");
}

void sr_last_resort_free(struct sr_last_resort *l)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->over = true;
	pthread_cond_signal(&l->changed);
	pthread_mutex_unlock(&l->lock);
	if (l->threaded)
		pthread_join(l->thread, NULL);
	pthread_cond_destroy(&l->changed);
	pthread_mutex_destroy(&l->lock);
	free(l);
}
