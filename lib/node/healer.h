/* healer.h - what `sameroot verify --repair` asks of a daemon: POST /api/admin/repair {"path": TEXT}, TEXT as GET /api/admin/verify tells it.
 *
 * Answered by {"rotten": bool, "from": NAME or null, "archived": bool}: the file or row got its content back from that node; or it is what the tree says.  404: no other node has
 * its content, or it is neither.  409: it was changed in an ordinary way.  The daemons bring the owner's lock; see lib/replica/repair.h.  Thread-safe. */
#ifndef SR_NODE_HEALER_H
#define SR_NODE_HEALER_H

#include "lib/node/peers.h"
#include "lib/node/verifier.h"
#include "lib/replica/repair.h"

#define SR_REPAIR_MOST 65536 /* bytes of the body */

struct sr_healed {
	bool rotten, archived; /* it was, and what had rotted is in the archive */
	char *from; /* whose content it has; NULL: it was not fetched.  OWNED */
};
/* As sr_repair_begin found it. */
struct sr_healed sr_healed(const struct sr_repair *p);
/* The path of the request.  OWNED BY CALLER (free). */
SR_MUST enum sr_status sr_healer_wish(struct sr_request *req, char **path, struct sr_err *err);
/* From the first of `first` (NULL: none), called first_name, and then the webservers that has it; h->from is its name. */
SR_MUST enum sr_status sr_healer_fetch(struct sr_repair *p, struct sr_client *first, const char *first_name, struct sr_peers *peers, struct sr_healed *h,
				       struct sr_err *err);
/* It was done: said, logged, and no longer rotten for v. */
void sr_healer_reply(struct sr_verifier *v, struct sr_request *req, const char *path, const struct sr_healed *h);

#endif
