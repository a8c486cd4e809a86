/* keypair.h - which certificate and key a node serves, and which it shows to a server that asks for one.  Thread-safe: there is no state. */
#ifndef SR_REPLICA_KEYPAIR_H
#define SR_REPLICA_KEYPAIR_H

#include "lib/base/config.h"

struct sr_keypair { /* OWNED; sr_keypair_free */
	char *certificate, *key;
};
void sr_keypair_free(struct sr_keypair *pair); /* and back to {0} */

/* What it serves: Certificate-File and Key-File, or the pair in its state directory, which need not be there yet. */
struct sr_keypair sr_keypair_served(const struct sr_config *config, bool datastore);
/* What it shows: Client-Certificate-File and Client-Key-File (SR_E_CONFIG: they are no pair, or cannot be read), or what it serves. */
SR_MUST enum sr_status sr_keypair_shown(const struct sr_config *config, bool datastore, struct sr_keypair *out, struct sr_err *err);
/* SR_E_CONFIG: these are no pair, or cannot be read; NULL: nothing is wrong. */
SR_MUST enum sr_status sr_keypair_check(const char *certificate, const char *key, struct sr_err *err);

#endif
