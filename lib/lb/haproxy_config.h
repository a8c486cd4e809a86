/* haproxy_config.h - HAProxy's configuration for a list of webservers, and the file that tells a new HAProxy what the old one knew of them.
 * Pure: text in, text out. */
#ifndef SR_LB_HAPROXY_CONFIG_H
#define SR_LB_HAPROXY_CONFIG_H

#include "lib/lb/webservers.h"

/* The names of its sections.  Each webserver is a server of both backends: one has the users, the other looks after its health, which it follows. */
#define SR_LB_BACKEND "sameroot"
#define SR_LB_HEALTH  "sameroot-health"

struct sr_lb_haproxy_options {
	const char *certificate; /* PEM, its key beside it in CERTIFICATE.key; NULL with Insecure-Disable-HTTPS */
	const char *stamp;       /* when the certificate is another, this is: HAProxy has to read it again; NULL: none */
	const char *state_file;  /* of sr_lb_haproxy_states; NULL: none */
	const char *user, *group; /* whom its workers run as; NULL: as the one who starts it */
	bool left_out;           /* with a comment for each webserver that is left out */
	bool global;             /* with a section [global]: for a HAProxy of our own */
};

void sr_lb_haproxy_config(struct sr_buf *out, const struct sr_lb_conf *conf, const struct sr_lb_list *list,
			  const struct sr_lb_haproxy_options *options);

/* For load-server-state-from-file.  shown: what the running HAProxy answers to `show servers state SR_LB_HEALTH`.  A webserver that it knows, at the
 * same place, keeps its state: neither a drained nor a dead one gets users until the first check.  Any other is down until it says that it is alive. */
void sr_lb_haproxy_states(struct sr_buf *out, const struct sr_lb_list *list, const char *shown);

#endif
