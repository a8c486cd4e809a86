/* line.h - the join line: all that a webserver has to be told of its datastore, as one word that can be pasted.  See sameroot(1).
 *
 *     sameroot://HOST:PORT/#1.SECRET.KEY.CHECK
 *
 * 1 is the version; SECRET is Control-Auth in base64url; KEY is the SHA-256 of the datastore's public key in base64url, or "tls" (no key is
 * named: a CA vouches for it, or first contact pins it), or "plain" (HTTP without TLS); CHECK is the CRC-32 of all that stands before it
 * and its dot, 8 hex digits, against a slip of the hand and not against anyone.
 *
 * Who has the line has the secret.  Thread-safe: there is no state. */
#ifndef SR_ADMIN_LINE_H
#define SR_ADMIN_LINE_H

#include "http/client.h" /* SR_PIN_TEXT */
#include "lib/admin/admin.h"

#define SR_LINE_SCHEME "sameroot://"

struct sr_line { /* {0}; sr_line_free when done */
	char *address; /* HOST:PORT, an IPv6 address in brackets; OWNED */
	char *secret;  /* OWNED; wiped */
	bool plain;    /* then there is no pin */
	char pin[SR_PIN_TEXT]; /* "sha256//...", or "" */
};

void sr_line_print(struct sr_buf *out, const struct sr_line *line);
/* From a text in which it stands: words before it, and quotes and blanks around it, do not count.  SR_E_DATA: what is wrong with it; the
 * text itself is never in an error. */
SR_MUST enum sr_status sr_line_parse(const char *text, struct sr_line *out, struct sr_err *err);
void sr_line_free(struct sr_line *line); /* and back to {0} */

/* HOST:PORT by which webservers reach the datastore of this machine: --address, else the address it listens on, else this machine's name,
 * which is asked about at a terminal.  OWNED BY CALLER (free). */
SR_MUST enum sr_status sr_line_address(const struct sr_admin *a, const struct sr_config *config, char **out, struct sr_err *err);
/* The line of the datastore of this machine, from its secret and its certificate.  SR_E_NOINPUT: one of them is not there. */
SR_MUST enum sr_status sr_line_here(const struct sr_config *config, const char *address, struct sr_buf *out, struct sr_err *err);
/* This machine's name.  OWNED BY CALLER (free). */
char *sr_machine_name(void);

#endif
