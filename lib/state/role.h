/* role.h - whose state.db it is: the datastore's or a webserver's.  meta says so; one of before that is told by what only the one or the other
 * keeps.  A state of the other role that was put in this one's place knows nothing of these stores. */
#ifndef SR_STATE_ROLE_H
#define SR_STATE_ROLE_H

#include "lib/state/state.h"

/* SR_E_CONFIG: it is the other role's, and what to do.  One that nobody knows anything of is anyone's. */
SR_MUST enum sr_status sr_state_check_role(struct sr_state *s, bool datastore, struct sr_err *err);
/* The same, and from now on it is this role's. */
SR_MUST enum sr_status sr_state_claim(struct sr_state *s, bool datastore, struct sr_err *err);

#endif
