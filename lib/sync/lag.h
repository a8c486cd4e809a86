/* lag.h - for how long this webserver has not had what the datastore has.
 *
 * Counted from the last moment at which it had all of it, as of a root that the datastore told, or from the first one that it told since the start.  Only the
 * time counts in which the datastore answers: while it does not, nobody gets further, and all its webservers would be late at once.  Times are ms of
 * sr_ticks_ms().  Thread-safe. */
#ifndef SR_SYNC_LAG_H
#define SR_SYNC_LAG_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct sr_lag {
	pthread_mutex_t lock;
	bool behind, answers;
	int64_t counted; /* ms up to `mark` */
	int64_t mark;
	int64_t told;    /* when the datastore told its root last */
	int64_t since;   /* see sr_lag_since */
};

void sr_lag_init(struct sr_lag *l);
void sr_lag_destroy(struct sr_lag *l);
/* The datastore told its root; behind: one that is not here yet. */
void sr_lag_met(struct sr_lag *l, bool behind);
/* All that it told last is here. */
void sr_lag_level(struct sr_lag *l);
/* Not all that it told last is here, and the round is over. */
void sr_lag_behind(struct sr_lag *l);
/* It does not answer (any more). */
void sr_lag_silent(struct sr_lag *l);
/* Since when it is behind, in ms of sr_now_ms(), for others to count on; 0: it is level.  The same from call to call, but after a silence, which does not
 * count, and when the clock was set. */
int64_t sr_lag_since(struct sr_lag *l);
int64_t sr_lag_ms(struct sr_lag *l); /* 0: it is level, as far as it knows */

#endif
