/* client.h - HTTP requests to one peer over one kept connection.
 *
 * Not thread-safe: one owner, one call at a time (an open stream is a call).  Never follows redirects, never reads proxies or passwords from the
 * environment, speaks http and https only, raises no signals.
 *
 * Trust over TLS: a pin (then the chain does not matter), else `insecure`, else the CA file, else the system's CAs (there may be none).
 * Nothing is sent to a peer that is not trusted.
 *
 * Errors: SR_E_UNAVAILABLE: refused, unreachable, timed out, cut short; SR_E_AUTH: the peer's certificate is not what it should be, or it
 * answered 401; SR_E_LIMIT: more came than asked for; other statuses: what the peer's JSON error said.  The text names the peer. */
#ifndef SR_HTTP_CLIENT_H
#define SR_HTTP_CLIENT_H

#include "lib/base/bytes.h"
#include "lib/base/err.h"

struct sr_client; /* opaque */
struct sr_stream; /* opaque: an answer's body, pulled */

#define SR_PIN_TEXT 64 /* room for "sha256//BASE64" and its NUL */

struct sr_client_options { /* zero or NULL: the default in brackets */
	const char *url;        /* "https://host:port", no path */
	const char *bearer;     /* secret for Authorization: Bearer [none] */
	const char *basic;      /* "name:password" for Authorization: Basic [none] */
	const char *pin;        /* "sha256//..."; several with ';' between: any of them [none] */
	const char *ca_file;    /* PEM [the system's] */
	const char *certificate, *key; /* PEM files, shown to a server that asks for one; skipped as long as they are not there [none] */
	bool insecure;          /* take any certificate */
	unsigned connect_ms;    /* [5000] */
	unsigned stall_s;       /* slower than stall_rate for so long: given up [30] */
	unsigned stall_rate;    /* bytes a second [64] */
	unsigned total_ms;      /* for a whole call [no limit] */
};

SR_MUST enum sr_status sr_client_new(struct sr_client **out, const struct sr_client_options *options, struct sr_err *err); /* COPIES */
void sr_client_free(struct sr_client *client); /* CONSUMES; NULL is a no-op */
const char *sr_client_url(const struct sr_client *client);

/* First contact: a client of its own, `insecure` and without a secret, asks /api/hello and tells the pin of the key that was seen on the wire; the
 * client that carries the secret is given that pin.  Both COPY; NULL: none.  Setting a pin drops the connection, so that the next call is
 * made under it. */
bool sr_client_seen_pin(const struct sr_client *client, char out[SR_PIN_TEXT]); /* false: no TLS connection yet */
void sr_client_set_pin(struct sr_client *client, const char *pin);
void sr_client_set_bearer(struct sr_client *client, const char *bearer);

/* Did the last call fail because the peer's certificate or key is not what it should be?  (SR_E_AUTH is also what a 401 gives.) */
bool sr_client_distrusts(const struct sr_client *client);

struct sr_client_counts {
	uint64_t requests, connects; /* calls made; connections opened */
	uint64_t sent, received;     /* bytes of heads and bodies, without TLS */
};
void sr_client_counts(const struct sr_client *client, struct sr_client_counts *out);

/* From any thread: the call under way and all that are made from now on end with SR_E_UNAVAILABLE, at once. */
void sr_client_interrupt(struct sr_client *client);

/* --- one call ---------------------------------------------------------------------------------------------------- */

/* The next 1..n bytes of a body to send; *got 0: its end.  Not SR_OK: the transfer is broken off, and that is the call's error. */
typedef enum sr_status sr_body_fn(void *ctx, void *buf, size_t n, size_t *got, struct sr_err *err);
/* Takes some of an answer's body (of a 2xx only).  Not SR_OK: as above. */
typedef enum sr_status sr_sink_fn(void *ctx, struct sr_bytes part, struct sr_err *err);

struct sr_call {
	const char *method; /* [GET] */
	const char *target; /* "/api/tree?wait=5", already percent-encoded */
	const char *const *headers; /* "Name: value" each, with NULL at the end [none] */
	struct sr_bytes body;       /* BORROWED until the call is over */
	sr_body_fn *read;           /* instead of body: streamed */
	void *read_ctx;
	int64_t length;             /* with read: how many bytes it will give; 0 or less: unknown, sent chunked */
	sr_sink_fn *sink;           /* sr_client_call: takes the body as it comes [collected in answer->body] */
	void *sink_ctx;
	size_t max_answer;          /* most bytes to collect [16 MiB] */
	unsigned head_ms;           /* sr_client_open: the answer's head has to be there by then; sr_client_call: all of it [the client's limits] */
	unsigned quiet_s;           /* seconds that the peer may be silent on purpose (?wait=) on top of stall_s */
};

struct sr_answer { /* {0} before the call; sr_answer_free after it, whatever it returned */
	int status;          /* HTTP; 0: none came */
	struct sr_buf head;  /* private: see sr_answer_header */
	struct sr_buf body;  /* also the one of an error (up to 64 KiB) */
};
const char *sr_answer_header(const struct sr_answer *answer, const char *name); /* any case; NULL: not there; VALID UNTIL freed */
void sr_answer_free(struct sr_answer *answer); /* and back to {0} */

/* SR_OK: 2xx or 304.  Anything else the peer answered is an error: answer->status, headers and body are filled all the same.
 * A kept connection that turns out to be closed is opened anew once, by itself, if nothing of a streamed body was sent yet. */
SR_MUST enum sr_status sr_client_call(struct sr_client *client, const struct sr_call *call, struct sr_answer *answer, struct sr_err *err);

/* The same, but the body of a 2xx is pulled: returns when the head has come.  An error answer is collected and returned as above, and no stream made.
 * `answer` and what `call` points to must outlive the stream; sink and max_answer are not used (but for errors). */
SR_MUST enum sr_status sr_client_open(struct sr_client *client, const struct sr_call *call, struct sr_answer *answer, struct sr_stream **out,
                                      struct sr_err *err);
/* The next 1..n bytes; *got 0: the complete and correct end.  SR_E_UNAVAILABLE: "cut short", too slow, ... - and then again each time. */
SR_MUST enum sr_status sr_stream_read(struct sr_stream *stream, void *buf, size_t n, size_t *got, struct sr_err *err);
void sr_stream_close(struct sr_stream *stream); /* CONSUMES; NULL is a no-op; before the end: drops the connection */

#endif
