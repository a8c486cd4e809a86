/* deletions.h - what the deletion limit holds, and letting it through. */
#ifndef SR_ADMIN_DELETIONS_H
#define SR_ADMIN_DELETIONS_H

#include "lib/admin/admin.h"

/* `sameroot adopt --deletions`; also without a daemon, under its lock. */
SR_MUST enum sr_status sr_adopt_deletions(const struct sr_admin *a, int *exit_status, struct sr_err *err);

#endif
