/* elsewhere.h - what an admin says to any node, from this one: the daemon here passes it on (lib/node/relay.h).
 *
 * For this node its admin token is enough, unless --user names somebody.  Another node wants an admin's login: the name is asked for at a terminal, else it is
 * --user; and so is the password, else it is the first line of the standard input. */
#ifndef SR_ADMIN_ELSEWHERE_H
#define SR_ADMIN_ELSEWHERE_H

#include "lib/admin/here.h"

/* Say `method` without a body: to `own` of the daemon here if webserver is NULL, else to /api/webservers/{webserver}{other}.  What is answered is
 * appended to *out. */
SR_MUST enum sr_status sr_elsewhere_say(const struct sr_admin *a, const char *webserver, const char *method, const char *own, const char *other,
					struct sr_buf *out, struct sr_err *err);

#endif
