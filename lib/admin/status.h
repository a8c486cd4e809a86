/* status.h - what a status means: pure, from the daemon's JSON. */
#ifndef SR_ADMIN_STATUS_H
#define SR_ADMIN_STATUS_H

#include <stdbool.h>
#include <stdio.h>

struct json_t;

/* The exit status: 0 well, 1 something is held or paused, also when the datastore does not answer, for that waits for somebody; 75 the daemon (or,
 * for a webserver, its datastore) does not answer. */
int sr_status_judge(const struct json_t *status);

/* For people.  now_ms: for ages. */
void sr_status_show(const struct json_t *status, long long now_ms, FILE *out);

/* Of what a node tells of its balancer status (lib/node/balance.h), or NULL: "ALIVE", "DEAD", "draining" or "-"; and with who said so.  OWNED BY
 * CALLER (free). */
const char *sr_balancer_word(const struct json_t *balancer);
/* The same of another node, and its state, as the datastore heard it last.  stale: it has not been heard of since, "stale, was ALIVE" and "was running";
 * of one that said that it shuts down "stale, stopped" and "stopped".  OWNED BY CALLER (free). */
char *sr_balancer_heard(const struct json_t *balancer, bool stale);
char *sr_balancer_state(const struct json_t *balancer, bool stale);
char *sr_balancer_text(const struct json_t *balancer);

#endif
