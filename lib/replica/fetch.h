/* fetch.h - what a node asks another one for: the nodes below a root that are not here, bundles of leaves, a large file.
 *
 * A walk: each trip asks for pairs (wanted, mine); the server descends by itself where it holds both, so that one change among a million
 * leaves is one trip.  What comes is checked against the hashes that were asked for.  One owner of the client at a time. */
#ifndef SR_REPLICA_FETCH_H
#define SR_REPLICA_FETCH_H

#include "hashtree/tree.h"
#include "http/client.h"
#include "lib/bundle/bundle.h"
#include "lib/replica/elsewhere.h"
#include "lib/store/store.h"

/* Who shares `nodes` with other threads lends its lock; it is held while nodes are put in, never over a request.  NULL: no one does. */
typedef void sr_fetch_lock_fn(void *ctx, bool lock);

/* Afterwards all below `root` is in `nodes`; mine: the nearest tree that is whole here (zero: none).  SR_E_GONE: the root is no longer
 * readable there.  SR_E_DATA: it is no tree of stores (foreign.h); the text names the node, or the path, and who gave it.  The caller holds `root` before
 * it sweeps. */
SR_MUST enum sr_status sr_fetch_nodes(struct sr_nodes *nodes, struct sr_client *client, const struct sr_hash *root,
				      const struct sr_hash *mine, sr_fetch_lock_fn *lock, void *ctx, struct sr_err *err);

/* What an answer of POST /api/tree/nodes holds, into `nodes`: each node is what its hash says.  SR_E_DATA: malformed. */
SR_MUST enum sr_status sr_fetched_nodes(struct sr_nodes *nodes, struct sr_bytes answer, struct sr_err *err);

/* POST /api/bundle: the leaves named in `wanted` (sr_wanted_add), n of them, of together so many bytes of content, as of `root`. */
SR_MUST enum sr_status sr_fetch_bundle(struct sr_client *client, const struct sr_tree_key *key, const struct sr_hash *root,
				       struct sr_bytes wanted, uint64_t n, uint64_t bytes, const struct sr_bundle_sink *sink,
				       struct sr_err *err);

/* Bytes of a file came, or were here from an attempt before. */
typedef void sr_fetched_fn(void *ctx, uint64_t bytes);
/* The content of leaf->to into st's staging, going on where an attempt before was cut: GET /api/blob; or, if a file like it is here, at the path
 * `like`, only what that one lacks (delta.h).  staged: stage, inode and mtime_ns are filled, VALID UNTIL *stage is freed, which is the caller's to
 * do whatever is returned.  SR_E_NOTFOUND, SR_E_GONE: it is not there any more. */
SR_MUST enum sr_status sr_fetch_file(struct sr_client *client, struct sr_store *st, const struct sr_leaf *leaf, struct sr_bytes like,
				     sr_fetched_fn *fetched, void *ctx, struct sr_stage **stage, struct sr_leaf *staged,
				     struct sr_err *err);

/* A leaf whose content was here; staged, VALID during the call, is as sr_fetch_file leaves it.  NULL: what is here is not what it should be, or
 * was needed by another leaf: as if it had not been sent, so that the next attempt asks for its content. */
typedef enum sr_status sr_fetch_found_fn(void *ctx, const struct sr_leaf *leaf, const struct sr_leaf *staged, struct sr_err *err);
/* The contents of `leaves`, which lie in st's parts from an attempt before (sr_stage_has) or at another path (elsewhere; NULL: not looked for): each is
 * staged and handed to `found`, which may end it. */
SR_MUST enum sr_status sr_fetch_here(struct sr_store *st, struct sr_leaves *leaves, const struct sr_elsewhere *elsewhere, sr_fetch_found_fn *found,
				     void *ctx, struct sr_err *err);

#endif
