/* admit.h - who may ask what of a daemon: the authorize hooks of both, and their secrets.
 *
 * Control-Auth is the shared secret of datastore, webservers and balancer; it carries no admin right.  The admin token is this node's own,
 * in its state directory (admin-token, 0600), read by `sameroot` on the same machine.  Secrets are compared in constant time and never
 * logged.  Of two Control-Auths, while it is being changed, each is accepted.  People come with the Basic login of a user in this node's own users.db (lib/users): over TLS, or from the machine itself; a reverse proxy
 * that Trusted-Proxies names tells how they came to it, and what another site's page has a browser change is refused (forwarded.h).  An admin
 * may ask everything but what is answered on the event threads (SR_ROUTE_QUICK), where no password can be checked.
 *
 * With Client-CA-File whoever comes with Control-Auth, or from another machine, has to show a certificate of that CA as well, and that is looked
 * at first: so nobody without one learns whether a secret or a password is right.  It is not asked of the admin token and of logins from the machine itself,
 * nor on routes that are open to anyone: a balancer's probes, liveness, and the hello by which a webserver comes to trust a server at all.
 *  Thread-safe once open. */
#ifndef SR_REPLICA_ADMIT_H
#define SR_REPLICA_ADMIT_H

#include <pthread.h>

#include "http/server.h"
#include "lib/base/config.h"
#include "lib/replica/forwarded.h"
#include "lib/users/login.h"

#define SR_ROUTE_ADMIN  SR_ROUTE_USER        /* route flag: admins only */
#define SR_ROUTE_LOGINS (SR_ROUTE_USER << 1) /* any user who may log in, too */
#define SR_ADMIN_TOKEN "admin-token"
/* One challenge: browsers take a header with several for none, and ask nobody for his login. */
#define SR_ADMIT_CHALLENGE "Basic realm=\"Sameroot\", charset=\"UTF-8\""

struct sr_admit {
	pthread_mutex_t lock; /* of the next five */
	struct sr_secrets control;
	char *admin; /* OWNED */
	uint64_t seconds;    /* requests that came with the second of them */
	int64_t told_ms;     /* when the log was told so; 0: not yet */
	int64_t refused_ms;  /* and of a client without a certificate */
	char *root; /* who has that: "root@HOST" */
	bool certificates; /* Client-CA-File */
	struct sr_login *login;
	struct sr_proxies proxies;
};

/* Control-Auth as configured (SR_E_CONFIG or SR_E_NOINPUT with what to do) and the admin token, made when absent.  users_db: this node's. */
SR_MUST enum sr_status sr_admit_open(struct sr_admit *out, const struct sr_config *config, const char *state_dir, const char *users_db,
				     struct sr_err *err);
void sr_admit_close(struct sr_admit *a); /* {0}, as it is before it was opened, is fine */

/* Read the secrets anew: those of `fresh`, and the admin token, which is made if it is gone.  Not SR_OK: those of before stay. */
SR_MUST enum sr_status sr_admit_reload(struct sr_admit *a, const struct sr_config *fresh, const char *state_dir, struct sr_err *err);
/* Control-Auth of this moment.  OWNED BY CALLER (sr_secrets_free). */
void sr_admit_secrets(void *admit, struct sr_secrets *out);
/* How many requests came with the second of two secrets since the start: who sent them does not send the first yet. */
uint64_t sr_admit_seconds(struct sr_admit *a);

/* sr_authorize_fn with ctx = a struct sr_admit: 401 without or with a wrong secret, 403 when the right one is not enough.  The first lets logins
 * through, which the second then checks. */
enum sr_status sr_admit_check(void *ctx, struct sr_request *req, const struct sr_route *route, struct sr_err *err);
enum sr_status sr_admit_verify(void *ctx, struct sr_request *req, const struct sr_route *route, struct sr_err *err);

/* In a handler: was it an admin, by token or login? */
bool sr_admit_is_admin(const struct sr_request *req);

#endif
