/* enter.h - `sameroot join LINE`: all the set-up of a webserver.  What it does and says: sameroot(1).
 *
 * Output, faults and threads as for each command: admin.h. */
#ifndef SR_ADMIN_ENTER_H
#define SR_ADMIN_ENTER_H

#include "lib/admin/admin.h"

/* a->path is the line, or "-": it is read from a->in.  Nothing is written before the datastore has proved what it is.  SR_E_HELD: the
 * question about the first round was answered with no; what was set up stays. */
SR_MUST enum sr_status sr_admin_enter(const struct sr_admin *a, int *status, struct sr_err *err);

#endif
