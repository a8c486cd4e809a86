/* balance.h - what a load balancer is told of this node, ALIVE or DEAD, and why.
 *
 *     state           answer
 *     starting        DEAD            until this node's tree is known
 *     running         ALIVE           DEAD while there is a fault: the application's health check fails, it is too far behind the datastore, ...
 *                                     A limit keeps nobody away: a datastore without room takes no push, and whoever reads is served.
 *     overridden      ALIVE or DEAD   as an admin said, whatever the node thinks
 *     draining        DRAIN           an admin said so: no new users, those that are here finish
 *     shutting down   DEAD            whatever an admin said
 *
 *     GET /api/system/lbstatus                    "ALIVE" 200, "DEAD" 503; draining is "DEAD" 404.  For anyone, no newline.
 *     PUT /api/system/lbstatus/override/{WORD}    alive, dead, auto, drain in any case; 204.  Admins.
 *
 * Draining is a 404 because that is the one answer by which HAProxy's own HTTP check tells "no new users" from "gone" (http-check
 * disable-on-404); an agent-check would need a second port that speaks no HTTP.  Any other balancer takes it for what it is to it: not ALIVE.
 *
 * An override is kept in the state directory (lb-override) and so outlives a restart: a node that was taken out for a repair does not come back
 * by itself because a package was upgraded meanwhile.  `auto` ends it.
 *
 * Thread-safe.  Asking never blocks; an override writes a small file. */
#ifndef SR_NODE_BALANCE_H
#define SR_NODE_BALANCE_H

#include "http/server.h"

struct sr_balance; /* opaque */

enum sr_lb { SR_LB_DEAD, SR_LB_ALIVE, SR_LB_DRAIN };
enum sr_override { SR_OVERRIDE_AUTO, SR_OVERRIDE_ALIVE, SR_OVERRIDE_DEAD, SR_OVERRIDE_DRAIN };

enum sr_fault { /* what keeps a running node from being ALIVE, the first one first */
	SR_FAULT_STATE,  /* it is not ready any more */
	SR_FAULT_HEALTH, /* Health-Check-URL */
	SR_FAULT_LAG,    /* Max-Lag */
	SR_FAULTS,
};

/* changed: called without a lock, from any thread, when what sr_balance_report tells is another thing; NULL: nobody cares.  An override that is found
 * in state_dir holds.  SR_E_IO, SR_E_DATA: there is one that cannot be read. */
SR_MUST enum sr_status sr_balance_open(struct sr_balance **out, const char *state_dir, void (*changed)(void *ctx), void *ctx,
				       struct sr_err *err);
void sr_balance_close(struct sr_balance *b); /* NULL is a no-op */

/* The life of a node, forward only. */
void sr_balance_running(struct sr_balance *b);
void sr_balance_stopping(struct sr_balance *b);
bool sr_balance_is_starting(struct sr_balance *b);
bool sr_balance_is_stopping(struct sr_balance *b);

/* why: a sentence for the operator, COPIED; NULL: it is well.  The same text again changes nothing, nor does another one for a fault that is there.
 * Logged, once it is running. */
void sr_balance_fault(struct sr_balance *b, enum sr_fault which, const char *why);

/* What it does not do while it is as ALIVE as ever; a sentence for the operator, COPIED, that is told as why; NULL: nothing.  Not logged. */
void sr_balance_limit(struct sr_balance *b, const char *why);

/* by: who said so, for the operator, COPIED.  Not SR_OK: it could not be kept, or it is shutting down (SR_E_UNAVAILABLE), and nothing changed.
 * What a directory that cannot be synced leaves to a power cut is logged. */
SR_MUST enum sr_status sr_balance_override(struct sr_balance *b, enum sr_override word, const char *by, struct sr_err *err);
bool sr_override_parse(const char *word, enum sr_override *out); /* "Alive", "DRAIN", ...; false: it is none */

enum sr_lb sr_balance_answer(struct sr_balance *b);

/* {"state": "overridden", "answer": "DEAD", "why": ..., "override": "dead", "by": "ada", "since_ms": ...}: state and answer as above, answer DRAIN
 * while draining; why null: there is nothing to say; override "auto", by null, since_ms 0 without one.  OWNED BY CALLER (json_decref). */
struct json_t;
struct json_t *sr_balance_report(struct sr_balance *b);

/* Answer an admin's PUT of an override: 204, or it is none (SR_E_DATA), or could not be kept. */
SR_MUST enum sr_status sr_balance_put(struct sr_balance *b, struct sr_request *req, const char *word, struct sr_err *err);

/* The routes, with ctx = the struct sr_balance. */
const struct sr_route *sr_balance_routes(size_t *n);

#endif
