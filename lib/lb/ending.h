/* ending.h - that SIGTERM and SIGINT end the balancer in time, whatever its own thread is stuck in: a disk that hangs, for instance.
 *
 * A thread of its own takes what the owner's thread does not take, hands it on, and ends the process (lib/node/last_resort.h) when the time that the
 * owner needs at most is over.  HAProxy goes on then, and the next start takes it over. */
#ifndef SR_LB_ENDING_H
#define SR_LB_ENDING_H

#include <stdint.h>

#include "lib/base/err.h"

struct sr_lb_ending; /* opaque */

/* The calling thread is the owner; the signals are blocked.  shutdown_timeout: seconds. */
SR_MUST enum sr_status sr_lb_ending_start(struct sr_lb_ending **out, uint64_t shutdown_timeout, struct sr_err *err);
void sr_lb_ending_timeout(struct sr_lb_ending *e, uint64_t shutdown_timeout); /* after a reload */
/* The owner took a signal itself.  Thread-safe. */
void sr_lb_ending_begun(struct sr_lb_ending *e);
/* By the owner, who has come to the end.  CONSUMES; NULL is a no-op. */
void sr_lb_ending_free(struct sr_lb_ending *e);

#endif
