/* relay.h - what an admin asks of one node and is meant for another is passed on to that webserver's daemon.
 *
 *     PUT /api/webservers/{WEBSERVER}/lbstatus/override/{WORD}    as PUT /api/system/lbstatus/override/{WORD} there.  Admins.
 *     POST /api/webservers/{WEBSERVER}/shutdown                   as POST /api/system/shutdown/shutdown there.  Admins.
 *
 * WEBSERVER is a name, an External-Addr or a UUID; or the beginning of a UUID or the host of an External-Addr, if only one webserver has it.
 *
 * It goes with the login that it came with, and is judged by that webserver's own users.db: neither Control-Auth nor the admin token of a node says
 * anything about who may do what elsewhere.  A password goes over TLS to the key that the registry has, or over plain HTTP to this machine itself.
 *
 *     404    no webserver is called so, or several: those that are known, or meant, are named
 *     403    it came with an admin token and is for another node; or that node does not take the login
 *     502    that node does not answer, or has another key; named
 * and what that node answers, with its name before the reason.
 *
 * Thread-safe.  Blocks for SR_RELAY_MS at most. */
#ifndef SR_NODE_RELAY_H
#define SR_NODE_RELAY_H

#include "http/server.h"
#include "lib/node/balance.h"
#include "lib/node/peers.h"
#include "lib/node/shutdown.h"

#define SR_RELAY_MS 10000

struct sr_relay { /* all BORROWED; sr_relay_routes' ctx */
	struct sr_peers *peers;
	struct sr_balance *balance;   /* of this node */
	struct sr_shutdown *shutdown; /* NULL: it is not shut down in this way */
};

/* Who is called so; asked for once more if nobody is, for he may have come a moment ago.  SR_E_NOTFOUND: nobody, or several.  *list is what *out points
 * into: sr_peer_list_free, in any case. */
SR_MUST enum sr_status sr_relay_find(struct sr_peers *peers, const char *text, struct sr_peer_list **list, const struct sr_peer **out, struct sr_err *err);

/* Answer req, of an admin, by what `webserver` answers to method and target, which are the caller's own words (COPIES) and have no body.  SR_OK and *here:
 * this node is meant; nothing was answered. */
SR_MUST enum sr_status sr_relay_pass(struct sr_peers *peers, struct sr_request *req, const char *webserver, const char *method, const char *target,
				     bool *here, struct sr_err *err);

const struct sr_route *sr_relay_routes(size_t *n);

#endif
