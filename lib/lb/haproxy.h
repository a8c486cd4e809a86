/* haproxy.h - a running HAProxy that is kept at a configuration: a child of ours, or an existing one by the socket of its master.
 *
 * Our own is a master with its workers, started with files in the state directory (0700):
 *     haproxy.cfg            what it reads                     haproxy.sock    the socket of its master (0600)
 *     haproxy.state          what the last one knew of health  tls.pem, .key   links to the certificate and its key
 * If this process ends without stopping it, it goes on, and the next one takes it over.  An existing one is never started or stopped: its own
 * configuration includes HAProxy-Config, which is written here.
 *
 * A change is a reload by the master, which drops no connection (haproxy_config.c says why); what is not valid is refused before it is in place.
 * Not thread-safe.  Logs what happens to HAProxy. */
#ifndef SR_LB_HAPROXY_H
#define SR_LB_HAPROXY_H

#include "lib/lb/webservers.h"

struct sr_lb_haproxy; /* opaque */

/* BORROWS conf, until sr_lb_haproxy_conf gives another.  Makes the state directory; takes one over that is still running. */
SR_MUST enum sr_status sr_lb_haproxy_open(struct sr_lb_haproxy **out, const struct sr_lb_conf *conf, struct sr_err *err);
void sr_lb_haproxy_close(struct sr_lb_haproxy *h); /* NULL is a no-op; does not stop HAProxy */
void sr_lb_haproxy_conf(struct sr_lb_haproxy *h, const struct sr_lb_conf *conf);

/* Have it run with this list: start it if it does not, reload it if that changes anything.  *changed: it was one of these.  SR_E_CONFIG: HAProxy does
 * not take it, in its own words; SR_E_UNAVAILABLE: it cannot be started, or does not answer: try again. */
SR_MUST enum sr_status sr_lb_haproxy_apply(struct sr_lb_haproxy *h, const struct sr_lb_list *list, bool *changed, struct sr_err *err);

/* Has it ended since the last call?  Also reaps what has ended. */
bool sr_lb_haproxy_ended(struct sr_lb_haproxy *h);

/* Let it finish the requests under way; an existing one goes on. */
void sr_lb_haproxy_soft_stop(struct sr_lb_haproxy *h);
void sr_lb_haproxy_hard_stop(struct sr_lb_haproxy *h); /* SIGTERM */
void sr_lb_haproxy_kill(struct sr_lb_haproxy *h);      /* with its workers */
bool sr_lb_haproxy_runs(struct sr_lb_haproxy *h);      /* our own; an existing one never does */

/* For `sameroot-lb --print`: the sections for a HAProxy of somebody else. */
void sr_lb_haproxy_print(struct sr_buf *out, const struct sr_lb_conf *conf, const struct sr_lb_list *list);

#endif
