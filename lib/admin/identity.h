/* identity.h - `sameroot join --new-uuid`; also without a daemon, under its lock.
 *
 * Output, faults and threads as for each command: admin.h. */
#ifndef SR_ADMIN_IDENTITY_H
#define SR_ADMIN_IDENTITY_H

#include "lib/admin/admin.h"

/* a->side is the webserver.  Asks first (SR_E_HELD: the question was answered with no); the next round does it.  SR_E_AUTH: the state directory is
 * not ours to read.  SR_E_BUSY: no daemon answered, and yet one holds the lock. */
SR_MUST enum sr_status sr_join_new_uuid(const struct sr_admin *a, int *status, struct sr_err *err);

#endif
