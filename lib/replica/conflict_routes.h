/* conflict_routes.h - the conflict archive over HTTP, the same for both daemons; for admins only.
 *
 *   GET /api/admin/conflicts      GET /api/admin/conflicts/{}      GET /api/admin/conflicts/{}/content
 *   POST /api/admin/conflicts/remove      POST /api/admin/conflicts/restore
 *
 * Bodies, answers and faults: sameroot-protocol(5), ADMINISTRATION.  The handlers run in any thread of the server. */
#ifndef SR_REPLICA_CONFLICT_ROUTES_H
#define SR_REPLICA_CONFLICT_ROUTES_H

#include "http/server.h"
#include "lib/replica/replica.h"

struct sr_conflict_routes { /* all BORROWED */
	struct sr_replica *replica;
	/* sr_conflict_restore, by the owner.  From any thread. */
	enum sr_status (*restore)(void *ctx, struct sr_bytes wish, struct sr_buf *out, struct sr_err *err);
	void (*changed)(void *ctx); /* entries went; NULL: nobody has to know */
	void *ctx;
};

/* The routes, with ctx = a struct sr_conflict_routes that outlives the server. */
const struct sr_route *sr_conflict_routes(size_t *n);

#endif
