/* waiting.h - what waits for the operator on a node: what is held or paused, why, since when, and the command that resolves it.
 *
 * One JSON object, in the status of both daemons, and told by a webserver to the registry of its datastore (sameroot-protocol(5)):
 *     {"held":   [{"what", "why", "since_ms", "command"}],       the round, or deletions
 *      "paused": [{"store", "why", "since_ms", "command"}]}      a store, or what is left alone in it
 * since_ms is 0 when nobody knows; "command" is a sentence that names the exact command.  What to do about which reason is one table, in
 * waiting.c. */
#ifndef SR_REPLICA_WAITING_H
#define SR_REPLICA_WAITING_H

#include "lib/replica/limit.h"
#include "lib/replica/replica.h"

struct json_t;

#define SR_STATUS_MOST 8192 /* bytes of one webserver's status in the registry, as compact JSON: there may be thousands */

/* An object with two empty lists.  OWNED BY CALLER (json_decref). */
struct json_t *sr_waiting_new(void);
bool sr_waiting_is_empty(const struct json_t *waiting);

/* What a datastore thinks of a webserver's history (sr_history_text): is it held for that until the operator decides? */
bool sr_waiting_is_history(const char *history);

/* Something other than a store, or all of it: the round, a webserver. */
void sr_waiting_hold(struct json_t *waiting, enum sr_role role, const char *what, const char *why, int64_t since_ms);
/* The deletions of a store that the ledger holds, as sr_ledger_report tells them. */
void sr_waiting_deletions(struct json_t *waiting, const char *store, const struct json_t *held);
void sr_waiting_pause(struct json_t *waiting, enum sr_role role, const char *store, const char *why, int64_t since_ms);
/* Leaves out what makes it more than `most` bytes of compact JSON, and adds to what is paused how many entries these were: of what is paused from the
 * end, then of what is held, but for the first. */
void sr_waiting_fit(struct json_t *waiting, size_t most);

/* All that waits, as a status (GET /api/admin/status) tells it of its node and, a datastore's, of the webservers, in the order in which it is to be
 * shown: [{"node", "what", "why", "since_ms", "command"}].  node: a webserver's name, null for the node itself; since_ms 0: nobody knows.
 * OWNED BY CALLER. */
struct json_t *sr_waiting_list(const struct json_t *status);

/* One entry of sr_ledger_report in words, appended. */
void sr_held_text(const struct json_t *held, struct sr_buf *out);
/* Was it deleted in the datastore's own store?  Nobody but the webservers has it. */
bool sr_held_directly(const struct json_t *held);
/* What resolves this reason on a node of that role; store: NULL for none.  OWNED BY CALLER (free). */
char *sr_remedy(enum sr_role role, const char *why, const char *store);

#endif
