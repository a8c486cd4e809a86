/* learner.h - what is known of the webservers: asked from the datastore every Update-Interval by a thread of its own, kept when the datastore is
 * down, and in the state directory over a restart (state.db, meta lb-webservers).
 *
 * The thread blocks in the network and in name resolution, so that nobody else has to. */
#ifndef SR_LB_LEARNER_H
#define SR_LB_LEARNER_H

#include "lib/lb/webservers.h"
#include "lib/state/state.h"

struct sr_lb_learner; /* opaque */

/* Starts the thread.  BORROWS conf and state, which nobody else uses meanwhile.  When there is a new list, signal `sig` goes to the thread that called
 * this.  The last known list is the first one; without one, the first comes with the datastore's answer, or when there is none. */
SR_MUST enum sr_status sr_lb_learner_start(struct sr_lb_learner **out, const struct sr_lb_conf *conf, struct sr_state *state, int sig,
					   struct sr_err *err);
void sr_lb_learner_now(struct sr_lb_learner *l);  /* ask at once */
void sr_lb_learner_stop(struct sr_lb_learner *l); /* breaks off what is under way; NULL is a no-op */

/* The newest list, if there is one that was not taken yet.  *out is OWNED BY CALLER (sr_lb_list_free). */
bool sr_lb_learner_take(struct sr_lb_learner *l, struct sr_lb_list *out);

/* One list, now, for `sameroot-lb --print`: state may be NULL, and nothing is kept.  *old, when the datastore was not to be had and this is the last known
 * one: why (OWNED BY CALLER, free); else NULL.  SR_E_UNAVAILABLE, SR_E_AUTH, SR_E_CONFIG: there is none at all. */
SR_MUST enum sr_status sr_lb_learn_once(const struct sr_lb_conf *conf, struct sr_state *state, struct sr_lb_list *out, char **old,
					struct sr_err *err);

#endif
