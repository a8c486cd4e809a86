/* foreign.h - is a tree that another node gave one that stores can have?
 *
 * That each node is what its hash says, and counts what is below it, was checked when it came (hashtree/tree.h); here: stores alone at the top, of
 * files or a database; in each of them only what is of its kind, in its place, under a name that it can have there.
 * Pure; reads `nodes` as any reader does. */
#ifndef SR_REPLICA_FOREIGN_H
#define SR_REPLICA_FOREIGN_H

#include "hashtree/tree.h"

/* All below `root` is here.  mine: a tree that is known to be good (zero: none); what it has is not looked at again.  SR_E_DATA names the store, and
 * the path or the node. */
SR_MUST enum sr_status sr_foreign_check(const struct sr_nodes *nodes, const struct sr_hash *root, const struct sr_hash *mine, struct sr_err *err);

#endif
