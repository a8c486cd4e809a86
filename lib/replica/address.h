/* address.h - where this node's daemon listens, told to `sameroot` on the same machine.
 *
 * One line, "http://HOST:PORT" or with https, in the file `address` of the state directory (0644).  A daemon writes it once it listens and removes
 * it when it stops; after a crash a stale one may be there: it is a hint, and whoever calls finds out.  Thread-safe: there is no state. */
#ifndef SR_REPLICA_ADDRESS_H
#define SR_REPLICA_ADDRESS_H

#include <stdbool.h>

#include "lib/base/err.h"

#define SR_ADDRESS_FILE "address"

/* listening: "HOST:PORT" as the server says it; all interfaces ("0.0.0.0", "[::]") become 127.0.0.1.  Replaces what is there, whole or not at all. */
SR_MUST enum sr_status sr_address_write(const char *state_dir, bool tls, const char *listening, struct sr_err *err);
/* *url is OWNED BY CALLER (free).  SR_E_NOINPUT: no such file; SR_E_DATA: it holds no such line; SR_E_IO: it cannot be read. */
SR_MUST enum sr_status sr_address_read(const char *state_dir, char **url, struct sr_err *err);
void sr_address_remove(const char *state_dir); /* one that is not there is fine */

#endif
