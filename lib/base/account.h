/* account.h - users and groups of this machine, by name or by number.  Thread-safe. */
#ifndef SR_BASE_ACCOUNT_H
#define SR_BASE_ACCOUNT_H

#include <sys/types.h>

#include "lib/base/err.h"

/* A number is taken as it is, whether there is such an account or not.  SR_E_CONFIG: there is none of that name, or it cannot be told. */
SR_MUST enum sr_status sr_account_user(const char *name, uid_t *out, struct sr_err *err);
SR_MUST enum sr_status sr_account_group(const char *name, gid_t *out, struct sr_err *err);

#endif
