/* contact.h - whom a webserver takes for its datastore, and the client that carries Control-Auth there.
 *
 * What is trusted, in this order:
 *     plain HTTP               where TLS is disabled, nothing is asked
 *     Datastore-Key-Pin        that key
 *     Datastore-CA-File        that CA alone
 *     ...-Skip-TLS-Verify      any key
 *     first contact, earlier   the key that was pinned then, with this very address (state.db, meta datastore-pin)
 *     the system's CAs         and only where the certificate does not verify by them: first contact
 * At first contact a client without any secret asks GET /api/hello (lib/replica/hello.h); the key seen on that very connection is pinned
 * when the server proves by it that it holds Control-Auth.  The client with the secret never talks to a key that is not trusted, so that no
 * secret is ever sent to one.
 *
 * One owner, but for sr_contact_forget_soon, sr_contact_another and sr_contact_generation.  Logs a first contact, and nothing else. */
#ifndef SR_SYNC_CONTACT_H
#define SR_SYNC_CONTACT_H

#include "http/client.h"
#include "lib/base/config.h"
#include "lib/state/state.h"

struct json_t;
struct sr_contact; /* opaque */

/* Whom, by which rules; what is not set is false or NULL. */
struct sr_contact_to {
	const struct sr_config_address *datastore;
	bool disable_tls, skip_verify;
	const char *key_pin;
	const char *ca_file;           /* NULL: the system's, and first contact */
	const char *certificate, *key; /* shown if it asks for one */
	const char *file;    /* in which Datastore-Key-Pin is given */
	const char *renewed; /* for a person: what to do when the datastore's key was changed on purpose */
	const char *secret;  /* for a person: what to do when the datastore has another secret */
	unsigned total_ms;   /* for a call of its client; 0: no limit */
};

/* As below, by rules of its own.  BORROWS all that *to points to. */
SR_MUST enum sr_status sr_contact_open_to(struct sr_contact **out, const struct sr_contact_to *to, struct sr_state *state, struct sr_err *err);
/* Speaks to no one yet.  BORROWS config; state (a reader will do; NULL: nothing is remembered) is read, and not kept.  SR_E_DATA: what is
 * remembered makes no sense. */
SR_MUST enum sr_status sr_contact_open(struct sr_contact **out, const struct sr_config *config, struct sr_state *state,
				       struct sr_err *err);
void sr_contact_close(struct sr_contact *c); /* CONSUMES; NULL is a no-op */
void sr_contact_set_secret(struct sr_contact *c, const char *secret); /* Control-Auth; COPIES */
struct sr_client *sr_contact_client(const struct sr_contact *c);      /* VALID UNTIL sr_contact_close */

/* A client for the caller to own, with the trust of this moment and the secret; total_ms: for a whole call.  From any thread. */
SR_MUST enum sr_status sr_contact_another(struct sr_contact *c, unsigned total_ms, struct sr_client **out, struct sr_err *err);
/* Another number: such a client is of a trust or a secret of before.  From any thread. */
unsigned sr_contact_generation(struct sr_contact *c);

/* A call of the client failed with *err.  SR_OK: the key was not trusted, first contact was made, and the key is pinned, durably: call
 * again.  Otherwise the code of *err, which tells what was seen and what to do if it was for the key. */
SR_MUST enum sr_status sr_contact_retry(struct sr_contact *c, struct sr_state *state, struct sr_err *err);
/* The same for one who may not pin keys: never SR_OK. */
enum sr_status sr_contact_explain(const struct sr_contact *c, struct sr_err *err);

/* Ask for a proof now: of the secret, the role and the protocol.  pin: of the key under which it was given, which is the caller's to judge;
 * where only CAs are trusted, this contact's client trusts it from then on.  Over plain HTTP nothing can be proven: SR_OK, and no pin.
 * SR_E_AUTH, SR_E_CONFIG, SR_E_UNAVAILABLE: what was seen, and what to do. */
SR_MUST enum sr_status sr_contact_prove(struct sr_contact *c, char pin[SR_PIN_TEXT], struct sr_err *err);

/* Forget the pinned key, durably: the next call may lead to first contact.  Nothing is pinned: fine. */
SR_MUST enum sr_status sr_contact_forget(struct sr_contact *c, struct sr_state *state, struct sr_err *err);
/* From any thread: the owner forgets it at its next sr_contact_begin. */
void sr_contact_forget_soon(struct sr_contact *c);
SR_MUST enum sr_status sr_contact_begin(struct sr_contact *c, struct sr_state *state, struct sr_err *err);

/* Into the object o: "url"; "trust": "plain", "pin", "any", "first-contact" or "ca"; "pin" and "pinned_ms", or null. */
void sr_contact_report(const struct sr_contact *c, struct json_t *o);

#endif
