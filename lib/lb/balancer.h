/* balancer.h - the balancer itself: what is learned of the webservers is what HAProxy runs with.
 *
 * Single-threaded but for the learner; lives in the thread that calls sr_lb_run, whose signals it takes. */
#ifndef SR_LB_BALANCER_H
#define SR_LB_BALANCER_H

#include "lib/lb/conf.h"

/* SIGHUP: the new configuration, OWNED BY the balancer; NULL: the old one stays, and why was logged. */
typedef struct sr_lb_conf *sr_lb_reload_fn(void *ctx);

/* Until SIGTERM or SIGINT, when HAProxy has ended softly (or Shutdown-Timeout is over): SR_OK.  SIGHUP: the configuration anew; SIGUSR1: ask the
 * datastore at once.  CONSUMES conf.  What can be tried again is logged and tried again; SR_E_CONFIG, SR_E_BUSY, SR_E_IO: it could not begin. */
SR_MUST enum sr_status sr_lb_run(struct sr_lb_conf *conf, sr_lb_reload_fn *reload, void *ctx, struct sr_err *err);

#endif
