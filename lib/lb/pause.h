/* pause.h - how long is waited before HAProxy is tried again: a second, and twice as long each time, up to 30; a second again once it was good for a minute.
 * Pure; times are ticks in ms. */
#ifndef SR_LB_PAUSE_H
#define SR_LB_PAUSE_H

#include <stdint.h>

struct sr_lb_pause { /* {0}: nothing has failed yet */
	int64_t ms, since;  /* the last pause; since when it is good, 0: it is not */
	int64_t not_before; /* this is over */
};

void sr_lb_pause_good(struct sr_lb_pause *p, int64_t now); /* any number of times */
void sr_lb_pause_failed(struct sr_lb_pause *p, int64_t now);

#endif
