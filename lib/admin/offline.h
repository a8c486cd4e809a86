/* offline.h - what a node's state.db says while its daemon does not run.
 *
 * Nothing is ever changed by looking: what a scan finds is forgotten again.  One owner. */
#ifndef SR_ADMIN_OFFLINE_H
#define SR_ADMIN_OFFLINE_H

#include "lib/admin/admin.h"
#include "lib/replica/replica.h"
#include "lib/replica/wire.h"

struct json_t;

/* The status that the daemon would tell, as far as state.db knows it, with "running": false; state "known" of a store means: as last seen.
 * SR_E_NOINPUT: there is no state. OWNED BY CALLER (json_decref). */
SR_MUST enum sr_status sr_offline_status(const struct sr_admin *a, struct json_t **out, struct sr_err *err);

/* The tree key of this node; *found false: no round ever went through.  SR_E_NOINPUT: there is no state. */
SR_MUST enum sr_status sr_offline_key(const char *state_dir, struct sr_tree_key *key, bool *found, struct sr_err *err);

/* The node's tree, under the lock: as last seen or, with `scan`, as it is now (a paused store as last seen; *notes says which).  SR_E_BUSY:
 * a daemon holds the lock; SR_E_NOINPUT: there is no state, or no tree in it.  *out is OWNED BY CALLER (sr_offline_close). */
SR_MUST enum sr_status sr_offline_open(struct sr_replica **out, const struct sr_admin *a, bool scan, struct sr_err *err);
/* Where it stands in the datastore's history: the datastore itself, or the last (epoch, seq) that a webserver was in step with; root not set. */
SR_MUST enum sr_status sr_offline_at(struct sr_replica *r, struct sr_anchor *at, struct sr_err *err);
void sr_offline_close(struct sr_replica *r); /* NULL is a no-op */

#endif
