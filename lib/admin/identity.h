/* identity.h - `sameroot join --new-uuid`; also without a daemon, under its lock. */
#ifndef SR_ADMIN_IDENTITY_H
#define SR_ADMIN_IDENTITY_H

#include "lib/admin/admin.h"

SR_MUST enum sr_status sr_join_new_uuid(const struct sr_admin *a, int *status, struct sr_err *err); /* a->side is the webserver */

#endif
