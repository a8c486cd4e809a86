/* orders.h - what an operator tells a sync daemon while it runs, to be done between two rounds, by the thread that does them.
 *
 * The caller guards one against the other: read is called by any thread, take and obey by the owner of rounds. */
#ifndef SR_SYNC_ORDERS_H
#define SR_SYNC_ORDERS_H

#include "lib/sync/sync.h"

struct sr_orders { /* {0}: none */
	bool deletions;       /* let through what is held */
	bool new_uuid;        /* an identity of its own */
	struct sr_buf mirror; /* stores, each with a NUL; an empty one: all */
};

/* Of POST /api/admin/adopt; added to *o. */
SR_MUST enum sr_status sr_orders_read(struct sr_orders *o, const struct sr_config *config, struct sr_bytes body, struct sr_err *err);
/* Do them; what fails is logged. */
void sr_orders_obey(struct sr_orders *o, struct sr_sync *sync);
void sr_orders_free(struct sr_orders *o); /* and back to {0} */

#endif
