/* confinement.h - the balancer, and the HAProxy that it starts, give up what they do not need (lib/base/sandbox.h). */
#ifndef SR_LB_CONFINEMENT_H
#define SR_LB_CONFINEMENT_H

#include "lib/base/sandbox.h"
#include "lib/lb/conf.h"

/* First of all, before there are threads.  Logs in one line what is on.  NULL: Sandbox=false.  OWNED BY CALLER (sr_sandbox_free). */
struct sr_sandbox *sr_lb_confine(const struct sr_lb_conf *conf);
/* SR_E_CONFIG: what a new configuration names is out of reach of this process; it is told which. */
SR_MUST enum sr_status sr_lb_confine_check(const struct sr_sandbox *sandbox, const struct sr_lb_conf *fresh, struct sr_err *err);

#endif
