/* elsewhere.h - content that a node has at another path: what is moved or copied need not travel.
 *
 * Wanted are the files of a plan; where they lie is read from the same plan - a file that is moved goes from somewhere - and, when there is so much
 * left that it pays, from the whole map of the node that is to have it.  What a map says is no more than a hint: who takes content from another
 * path hashes it.
 *
 * Pure; one owner at a time. */
#ifndef SR_REPLICA_ELSEWHERE_H
#define SR_REPLICA_ELSEWHERE_H

#include "lib/leaf/leaf.h"

#define SR_ELSEWHERE_LEAST 1024 /* bytes: a smaller file goes itself, for its path is not much less */

struct sr_elsewhere;
/* Where the node with this store map (VALID in `nodes`; zero: empty) has the contents that `leaves` bring to it: expect is what it has, to what it
 * is to have.  OWNED BY CALLER.  SR_E_GONE: a node of the map is not here. */
SR_MUST enum sr_status sr_elsewhere_new(struct sr_elsewhere **out, const struct sr_nodes *nodes, const struct sr_hash *map, struct sr_leaves *leaves,
					struct sr_err *err);
/* The path at which it has this content, VALID UNTIL freed; empty: none is known.  e NULL: none is. */
struct sr_bytes sr_elsewhere_path(const struct sr_elsewhere *e, const struct sr_version *to);
void sr_elsewhere_free(struct sr_elsewhere *e); /* NULL is a no-op */

#endif
