/* certificate.h - the self-signed pair that a daemon makes for itself, and public-key pins.
 *
 * A pin is libcurl's text: "sha256//" and the BASE64 of the SHA-256 of the DER public key.  Thread-safe: there is no state. */
#ifndef SR_HTTP_CERTIFICATE_H
#define SR_HTTP_CERTIFICATE_H

#include "http/client.h" /* SR_PIN_TEXT */

/* Make a self-signed EC P-256 pair, ten years long, if neither file exists: key 0600, certificate 0644, both durable, the key first.  Valid for
 * `host` (NULL: this machine's name), localhost, 127.0.0.1 and ::1.  Both there: nothing is done.  SR_E_CONFIG: only one of them is there. */
SR_MUST enum sr_status sr_certificate_ensure(const char *cert_path, const char *key_path, const char *host, struct sr_err *err);

/* The pin of the (first) certificate in a PEM file.  SR_E_NOINPUT, SR_E_DATA. */
SR_MUST enum sr_status sr_certificate_pin(const char *cert_path, char out[SR_PIN_TEXT], struct sr_err *err);
/* The same of PEM text. */
SR_MUST enum sr_status sr_certificate_pin_pem(struct sr_bytes pem, char out[SR_PIN_TEXT], struct sr_err *err);
/* Do these PEM texts hold a certificate and its key?  SR_E_CONFIG. */
SR_MUST enum sr_status sr_certificate_check(const char *certificate, const char *key, struct sr_err *err);
/* Does this PEM text hold certificates that others can be judged by?  SR_E_CONFIG. */
SR_MUST enum sr_status sr_certificate_check_authorities(const char *authorities, struct sr_err *err);
/* Has the other side of this TLS session (gnutls_session_t) shown a certificate that the session's authorities vouch for, now, and for a client?
 * SR_E_FORBIDDEN: no; which one, and why. */
SR_MUST enum sr_status sr_certificate_judge(void *session, struct sr_err *err);
/* Is this the text of a pin? */
bool sr_pin_valid(const char *pin);

#endif
