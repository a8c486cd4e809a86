/* password.h - passwords as crypt(5) keeps them: made with yescrypt, checked with whatever method the hash names.
 *
 * Each takes about a tenth of a second by design, and some MiB.  Thread-safe.  Passwords are wiped from our own buffers, never logged. */
#ifndef SR_USERS_PASSWORD_H
#define SR_USERS_PASSWORD_H

#include "lib/base/bytes.h"

#define SR_PASSWORD_LEAST 8   /* characters */
#define SR_PASSWORD_MOST  512 /* what crypt(3) takes */

/* *hash is OWNED BY CALLER (free).  SR_E_USAGE: too short, too long, or a control character is in it. */
SR_MUST enum sr_status sr_password_hash(char **hash, const char *password, struct sr_err *err);

/* False, after the time that a comparison takes, when hash is NULL or names no method that is known. */
bool sr_password_is(const char *password, const char *hash);

#endif
