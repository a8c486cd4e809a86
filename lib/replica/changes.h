/* changes.h - what leads from one root to the next, as it rides in the answer to a check-in: "Changes" in sameroot-protocol(5).
 *
 * The answer is the JSON of GET /api/tree, and behind it, if there are changes, a NUL and the commits, the oldest first:
 *
 *     commit  string: changes, by store, in rising order of the paths
 *     change  string store, string leaf (lib/leaf codec: path, to, mtime_ns, record; `expect` none), byte content, and with content 1 a FILE's: string
 *
 * None of it is trusted: applied to the tree that is here, it has to come to the root that was told, and what it holds of contents to their hashes.
 * Pure, but for the nodes that it is applied to. */
#ifndef SR_REPLICA_CHANGES_H
#define SR_REPLICA_CHANGES_H

#include "lib/leaf/leaf.h"

#define SR_CHANGES_LEAVES  256         /* changes in one answer, */
#define SR_CHANGES_MOST    (128u << 10) /* and bytes of them */
#define SR_CHANGES_CONTENT (16u << 10) /* bytes of a file or record that rides along */

struct sr_change { /* BORROWS what it was read from */
	struct sr_bytes store;
	struct sr_leaf leaf;
	bool has_content;
	struct sr_bytes content; /* of a FILE */
};
/* Append a change to a commit.  content NULL: it has to be fetched. */
void sr_change_add(struct sr_buf *commit, const char *store, const struct sr_leaf *leaf, const struct sr_bytes *content);

/* Take an answer's body apart; *changes is empty when there are none. */
void sr_changes_split(struct sr_bytes body, struct sr_bytes *json, struct sr_bytes *changes);

/* All changes, in their order.  SR_E_DATA: malformed; SR_E_LIMIT: more than the above; fn may have been called by then. */
typedef enum sr_status sr_change_fn(void *ctx, size_t commit, const struct sr_change *change, struct sr_err *err);
SR_MUST enum sr_status sr_changes_each(struct sr_bytes changes, sr_change_fn *fn, void *ctx, struct sr_err *err);

/* *out := the root map `root`, which is here as a whole, with the changes applied.  The new nodes are loose.  SR_E_DATA, SR_E_LIMIT: as above, of
 * another store, or of more leaves than sr_nodes_limit allows; SR_E_GONE: a node is not here. */
SR_MUST enum sr_status sr_changes_apply(struct sr_nodes *nodes, const struct sr_hash *root, struct sr_bytes changes, struct sr_hash *out,
					struct sr_err *err);

#endif
