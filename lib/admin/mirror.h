/* mirror.h - `sameroot adopt --mirror`; also without a daemon, under its lock. */
#ifndef SR_ADMIN_MIRROR_H
#define SR_ADMIN_MIRROR_H

#include "lib/admin/admin.h"

SR_MUST enum sr_status sr_adopt_mirror(const struct sr_admin *a, int *status, struct sr_err *err);

#endif
