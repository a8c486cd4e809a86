/* login.h - Basic logins of a daemon: name and password against the node's own users.db, with a limit on failed tries.
 *
 * A name that failed SR_LOGIN_TRIES times from one address within SR_LOGIN_WINDOW_S - a name from everywhere, or an address with any names, that failed
 * ten times as often - waits until the window has passed: also with the right password, or guessing would go on.  A login that was right is remembered for a minute, so that a page that asks every few
 * seconds does not cost a hash each time; it ends at once when the user's row says another password, no admin or not enabled.
 *
 * Thread-safe.  Blocks for about a tenth of a second, and for users.db while another program writes it.  Two are checked at once, for a hash takes
 * memory; a few more wait for their turn, and the rest is told to come again. */
#ifndef SR_USERS_LOGIN_H
#define SR_USERS_LOGIN_H

#include "lib/base/bytes.h"
#include "lib/base/err.h"

#define SR_LOGIN_TRIES    5
#define SR_LOGIN_WINDOW_S 60

struct sr_login; /* opaque */

/* path: of users.db, which need not be there yet; query: Admin-Query or NULL.  COPIES both. */
struct sr_login *sr_login_new(const char *path, const char *query);
void sr_login_free(struct sr_login *l); /* NULL is a no-op */

struct sr_login_who {
	char name[160]; /* as users.db writes it */
	bool admin;
};

/* Is it he?  SR_E_AUTH: no such user, another password, or no users.db - which of them is not said, but that there is none is
 * logged, once.  SR_E_AGAIN: too many tries, or too many at once; *wait_s says how long.  SR_E_BUSY, SR_E_CONFIG and others: users.db cannot be asked; why is logged,
 * once, and not in *err, which goes to somebody unknown. */
SR_MUST enum sr_status sr_login_check(struct sr_login *l, const char *name, const char *password, const char *peer, struct sr_login_who *out,
				      unsigned *wait_s, struct sr_err *err);

/* The name and password of an Authorization header, decoded: "Basic " and base64.  OWNED BY CALLER (sr_login_credentials_free).  SR_E_AUTH: it is none. */
SR_MUST enum sr_status sr_login_credentials(const char *header, char **name, char **password, struct sr_err *err);
void sr_login_credentials_free(char *name, char *password); /* wipes */

#endif
