/* secret.h - random secrets in files of their own: control-auth, admin-token.
 *
 * 32 random bytes as 43 characters of base64url and a newline, mode 0600, made whole or not at all.  Thread-safe: there is no state. */
#ifndef SR_STATE_SECRET_H
#define SR_STATE_SECRET_H

#include "lib/base/bytes.h"

#define SR_SECRET_BYTES 32

/* Make the file, and its directory (0755), unless it is there.  Durable when SR_OK.  *made may be NULL. */
SR_MUST enum sr_status sr_secret_ensure(const char *path, bool *made, struct sr_err *err);

/* Make the file with a secret that is known elsewhere, and its directory.  Durable when SR_OK.  SR_E_CHANGED: it is there; nothing is done. */
SR_MUST enum sr_status sr_secret_put(const char *path, const char *secret, struct sr_err *err);

/* What the file holds, less one newline.  SR_E_NOINPUT: it is not there; SR_E_CONFIG: others than its owner may touch it, or it is empty or
 * too long.  *out is OWNED BY CALLER (sr_secret_free). */
SR_MUST enum sr_status sr_secret_read(const char *path, char **out, struct sr_err *err);
void sr_secret_free(char *secret); /* wipes; NULL is a no-op */

#endif
