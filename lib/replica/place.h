/* place.h - paths as people write them and as they are printed: STORE/NAME/NAME, each part percent-encoded where needed.
 * Threads: the owner of the replica, or any between sr_replica_use and sr_replica_unuse. */
#ifndef SR_REPLICA_PLACE_H
#define SR_REPLICA_PLACE_H

#include "lib/replica/replica.h"

/* *store NULL: the root.  Else it is BORROWED from r, and *i its place there; *path (OWNED BY CALLER, empty before) is within the store; empty: the
 * store itself.  SR_E_NOTFOUND: no such store, or no such path. */
SR_MUST enum sr_status sr_place_parse(struct sr_replica *r, struct sr_bytes text, struct sr_replica_store **store, size_t *i,
				      struct sr_buf *path, struct sr_err *err);

#endif
