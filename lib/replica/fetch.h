/* fetch.h - the client's side of a walk: get the nodes below a root that are not here.
 *
 * Each trip asks for pairs (wanted, mine); the server descends by itself where it holds both, so that one change among a million leaves is
 * one trip. */
#ifndef SR_REPLICA_FETCH_H
#define SR_REPLICA_FETCH_H

#include "hashtree/tree.h"
#include "http/client.h"

/* Who shares `nodes` with other threads lends its lock; it is held while nodes are put in, never over a request.  NULL: no one does. */
typedef void sr_fetch_lock_fn(void *ctx, bool lock);

/* Afterwards all below `root` is in `nodes`; mine: the nearest tree that is whole here (zero: none).  SR_E_GONE: the root is no longer
 * readable there. The caller holds `root` before it sweeps. */
SR_MUST enum sr_status sr_fetch_nodes(struct sr_nodes *nodes, struct sr_client *client, const struct sr_hash *root,
				      const struct sr_hash *mine, sr_fetch_lock_fn *lock, void *ctx, struct sr_err *err);

#endif
