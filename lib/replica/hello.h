/* hello.h - GET /api/hello: a server proves that it holds Control-Auth, and that the key it serves is its own.
 *
 * The proof is HMAC-SHA256(Control-Auth, "sameroot hello 1" || nonce || pin), in hex: the nonce is the asker's (64 hex digits), the pin
 * that of the server's key.  Someone in the middle has another key; who relays the question gets a proof for a pin that the asker did not see.
 * The format: sameroot-protocol(5).
 *
 * While Control-Auth is being changed a server has two, and gives a proof by each.  An asker checks them by the secret that it is about to send, and
 * by no other: whoever holds only the one of before does not get the next.
 *
 * Anyone may ask: nothing but a proof for this one key is ever computed.  Thread-safe: there is no state. */
#ifndef SR_REPLICA_HELLO_H
#define SR_REPLICA_HELLO_H

#include "http/server.h"
#include "lib/base/config.h"

#define SR_HELLO_TEXT 65 /* room for a nonce or a proof, 64 hex digits, and its NUL */

/* A fresh one. */
void sr_hello_nonce(char out[SR_HELLO_TEXT]);
/* SR_E_DATA: the nonce is not 64 hex digits. */
SR_MUST enum sr_status sr_hello_prove(const char *secret, const char *nonce, const char *pin, char out[SR_HELLO_TEXT],
				      struct sr_err *err);

/* What was answered to `nonce` by a server whose key was seen to have `pin`.  SR_OK: it holds the secret, and has that key and role.
 * SR_E_AUTH: it does not prove it; SR_E_DATA: it is no answer to a hello; SR_E_CONFIG: it proved it, but is of another role or protocol. */
SR_MUST enum sr_status sr_hello_check(const char *secret, const char *nonce, const char *pin, const char *role, struct sr_bytes answer,
				      struct sr_err *err);

struct sr_hello { /* BORROWED: they outlive the server */
	void (*secrets)(void *ctx, struct sr_secrets *out); /* Control-Auth; what it gives out is ours to free */
	void *ctx;
	const char *role; /* "datastore" or "webserver" */
};

/* The route, with ctx = a struct sr_hello.  Over plain HTTP there is no key: 404. */
const struct sr_route *sr_hello_routes(size_t *n);

#endif
