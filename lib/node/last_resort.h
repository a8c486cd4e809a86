/* last_resort.h - the end of a process that does not come to its end: at a time, whatever it is stuck in.
 *
 * A thread of its own, which takes no lock but its own, and waits for nobody: not for the disk, nor for whoever reads the log.  It ends the process with
 * status 0, and says so if the log can be written to; what that leaves is what kill -9 leaves.  Thread-safe; no call ever blocks. */
#ifndef SR_NODE_LAST_RESORT_H
#define SR_NODE_LAST_RESORT_H

#include <stdint.h>

struct sr_last_resort; /* opaque */

/* There is no end yet, and no thread. */
struct sr_last_resort *sr_last_resort_new(void);
/* The process ends in so many ms, or when it was to end already, if that is sooner. */
void sr_last_resort_within(struct sr_last_resort *l, int64_t ms);
/* It has come to its end by itself.  CONSUMES; NULL is a no-op. */
void sr_last_resort_free(struct sr_last_resort *l);

#endif
