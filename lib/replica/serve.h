/* serve.h - the read side of a node over HTTP, the same for both daemons: nodes, listings, bundles, blobs.
 *
 *   GET /api/tree/node/{}   POST /api/tree/nodes   GET /api/tree/list?path=P[&limit=N]   GET|POST /api/bundle   GET /api/blob/{}[?path=P]
 *   POST /api/blob/{}/pieces?unit=N[&path=P]   POST /api/blob/{}/parts[?path=P]
 * A tree path is STORE/NAME/NAME, each part percent-encoded where needed, as a listing prints it.  limit: 10000 unless given, 1000000 at
 * most; what is listed is in order of the paths.  A blob is looked for at P alone, and without one in the whole tree; then in what older
 * roots had.  GET /api/bundle of a paused store is 503, of nothing 404.  A blob's receiver checks its
 * hash: a file may have changed since it was seen.  The last two are of files, and take ranges (pieces.h): how these are cut, and the bytes of them.
 *
 * Thread-safe: handlers take the replica's lock for reading and open extra views. */
#ifndef SR_REPLICA_SERVE_H
#define SR_REPLICA_SERVE_H

#include "http/server.h"
#include "lib/replica/replica.h"

struct sr_serve {
	struct sr_replica *replica;
	/* Is this node ready to show its tree?  Otherwise 503 with the text. */
	bool (*ready)(void *ctx, char why[256]);
	/* Content that the current tree no longer has, for roots that are still readable; NULL: none.  As sr_view_read; SR_E_NOTFOUND.
	 * Called from any thread; out->record is VALID UNTIL buf changes. */
	enum sr_status (*older)(void *ctx, size_t store, struct sr_bytes path, const struct sr_version *version, struct sr_buf *buf,
				struct sr_content *out, struct sr_err *err);
	void *ctx;
};

/* A content by its hash. */
struct sr_blob { /* needs no store any more */
	struct sr_content content; /* FILE: fd; ROW: the record */
	uint8_t kind;
	uint64_t bytes;
	struct sr_tree_key key;    /* under which it has its hash */
	struct sr_buf record;
};
/* At `path`, a tree path; empty: wherever it is.  *out is OWNED BY CALLER (sr_blob_close) whatever is returned.  SR_E_NOTFOUND. */
SR_MUST enum sr_status sr_serve_open(struct sr_serve *sv, const struct sr_hash *hash, struct sr_bytes path, struct sr_blob *out,
				     struct sr_err *err);
void sr_blob_close(struct sr_blob *b);

/* The routes, with ctx = a struct sr_serve that outlives the server. */
const struct sr_route *sr_serve_routes(size_t *n);

#endif
