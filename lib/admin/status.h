/* status.h - what a status means: pure, from the daemon's JSON. */
#ifndef SR_ADMIN_STATUS_H
#define SR_ADMIN_STATUS_H

#include <stdio.h>

struct json_t;

/* The exit status: 0 well, 1 something is held or paused, 75 the daemon (or, for a webserver, its datastore) does not answer. */
int sr_status_judge(const struct json_t *status);

/* For people.  now_ms: for ages. */
void sr_status_show(const struct json_t *status, long long now_ms, FILE *out);

/* Of what a node tells of its balancer status (lib/node/balance.h), or NULL: "ALIVE", "DEAD", "draining" or "-"; and with who said so.  OWNED BY
 * CALLER (free). */
const char *sr_balancer_word(const struct json_t *balancer);
char *sr_balancer_text(const struct json_t *balancer);

#endif
