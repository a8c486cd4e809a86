/* swap.h - whole things put in the place of others by renames that are ended whatever happens in between: how sameroot-restore puts a store in place.
 *
 * The plan is one file, restore/plan below the state directory (sameroot-state(5)); it is written when everything is ready, and is the point of
 * no return: from then on whoever opens the state (sr_state_open, so both daemons, too) first ends it.  Each step can be seen from what is
 * there - a staged thing that is not there any more is in place - so that ending it twice, or after a crash anywhere, is one and the same.
 *
 * A database's -wal, -shm and -journal go aside with it.  What was there before is renamed, never removed.  When it was cut short the application
 * may have made the thing anew meanwhile: that goes aside, too, as ASIDE-2, -3 and so on, with its own -wal.
 * Under the state directory's lock.  Never logs. */
#ifndef SR_STATE_SWAP_H
#define SR_STATE_SWAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

struct sr_swap {
	char *path, *staged, *aside; /* absolute, in one directory's filesystem */
	bool database;               /* its -wal, -shm and -journal go with it */
};

/* `request` is the caller's: what was asked for, not empty.  Durable when SR_OK.  SR_E_CONFLICT: there is a plan already.  SR_E_BUSY: a staged
 * database has a log with content, which did not go into it. */
SR_MUST enum sr_status sr_swap_plan(const char *state_dir, const char *request, const struct sr_swap *swaps, size_t n, struct sr_err *err);
/* End the plan, and forget it.  *done (may be NULL): how many things it put in place; 0: there was none.  SR_E_DATA: the plan is damaged. */
SR_MUST enum sr_status sr_swap_finish(const char *state_dir, size_t *done, struct sr_err *err);
/* Is there one? */
bool sr_swap_pending(const char *state_dir);
/* What is the plan?  Changes nothing.  *out stays {0}: there is none.  sr_swap_pending_free when done. */
struct sr_swap_pending {
	char *request, *paths; /* with ", " between */
	int64_t since_ms;
};
SR_MUST enum sr_status sr_swap_look(const char *state_dir, struct sr_swap_pending *out, struct sr_err *err);
void sr_swap_pending_free(struct sr_swap_pending *p); /* and back to {0} */

#endif
