/* mirror.h - `sameroot adopt --mirror`; also without a daemon, under its lock.
 *
 * Output, faults and threads as for each command: admin.h. */
#ifndef SR_ADMIN_MIRROR_H
#define SR_ADMIN_MIRROR_H

#include "lib/admin/admin.h"

/* a->store, or all of them for NULL.  Shows what it would take first, and asks (SR_E_HELD: the question was answered with no); the next round does
 * it.  SR_E_USAGE: this is no webserver, or it has no such store. */
SR_MUST enum sr_status sr_adopt_mirror(const struct sr_admin *a, int *status, struct sr_err *err);

#endif
