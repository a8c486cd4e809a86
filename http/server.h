/* server.h - an HTTP/1.1 server with blocking handlers: the caller brings routes, this brings sockets, TLS, limits and deadlines.
 *
 * Threads: `event_threads` of them own the sockets; `workers` of them run handlers as plain blocking code, one request at a time, while the event
 * threads feed a bounded ring with the request's body and drain another one with the answer's.  So memory does not grow with what is
 * transferred.  A handler marked SR_ROUTE_QUICK runs on an event thread: it must never block, and it alone may park its request.
 *
 * Raw targets are checked before routing: malformed or NUL percents, `.` and `..` segments, control and non-ASCII bytes give 400, as do
 * requests that two parsers could frame in two ways (both Content-Length and Transfer-Encoding, either twice, spaces in header names, a
 * second Host).  HEAD is answered by GET routes; the server keeps the body to itself.  Unknown path: 404; known path, other method: 405 with Allow.
 *
 * Beyond max_connections the one that was longest without a request that authorize let through is closed, of the address that has most such.  When so
 * many requests for what is not open to anyone are under way, one of an address that has fewer of them than another takes the place of that one's
 * oldest; any other is answered with 503.  All that is logged, at most once a minute.  No address has more than three quarters of the workers.
 *
 * Errors go out as {"error": sr_status_name, "detail": text} with sr_status_http(code).  Times are milliseconds of sr_ticks_ms(). */
#ifndef SR_HTTP_SERVER_H
#define SR_HTTP_SERVER_H

#include "lib/base/bytes.h"
#include "lib/base/err.h"

struct sr_server;  /* opaque; thread-safe */
struct sr_request; /* opaque; belongs to the handler until that returns */

/* --- routes ------------------------------------------------------------------------------------------------------ */

/* Answer the request.  SR_OK: it was answered (or parked).  Anything else: the server answers with *err, or cuts the connection if a streamed
 * answer had begun.  So a handler may simply `return sr_err_set(err, ...)`.  A streamed answer not ended is cut; no answer at all is a 500. */
typedef enum sr_status sr_handler_fn(void *ctx, struct sr_request *req, struct sr_err *err);

enum sr_route_flags {
	SR_ROUTE_QUICK = 1, /* on an event thread; never blocks; its request's body is thrown away unread */
	SR_ROUTE_OPEN = 2,  /* for anyone: authorize is not asked */
	SR_ROUTE_LAST = 4,  /* also while the server drains */
	SR_ROUTE_USER = 256, /* this bit and those above are the caller's own (admins only, ...), for authorize to look at */
};

struct sr_route {
	const char *methods; /* "GET" or "PUT|DELETE"; GET includes HEAD */
	const char *path;    /* "/api/tree/node/{}": {} is one segment; a last segment `*` is any number of them, none included */
	sr_handler_fn *handler;
	unsigned flags;
	uint64_t max_body; /* bytes; more is 413.  0: no body is taken */
};
#define SR_BODY_IGNORED 65536 /* max_body of a route that needs none: many clients send "" or "{}" all the same */

struct sr_routes { /* one room's routes, with that room's context */
	const struct sr_route *at;
	size_t n;
	void *ctx; /* given to the handlers */
};
/* Those of a room that hands out its table; ctx NULL: it is not here, and there are none. */
struct sr_routes sr_routes_of(const struct sr_route *(*table)(size_t *n), void *ctx);

/* Asked before any of the body is read, on an event thread: it must not block (a slow password check belongs in the handler).  Anything but
 * SR_OK is the answer.  SR_E_AUTH is a 401 with the WWW-Authenticate challenge.
 *
 * `verify` is the slow half of it, asked with the same ctx on a worker right before the handler, when authorize let the request through to a route
 * that is neither open nor quick: it may block, and reads no body. */
typedef enum sr_status sr_authorize_fn(void *ctx, struct sr_request *req, const struct sr_route *route, struct sr_err *err);

/* --- the server -------------------------------------------------------------------------------------------------- */

struct sr_server_options { /* zero, or NULL, means the default in brackets */
	const char *address;      /* numeric or a name [all interfaces, IPv4 and IPv6] */
	uint16_t port;            /* 0: any free one */
	const char *certificate;  /* PEM file [plain HTTP] */
	const char *key;          /* PEM file; with certificate */
	const char *client_ca;    /* PEM file: whose certificates clients are asked for; who has none is served all the same, see
	                           * sr_request_certified.  With certificate [no one is asked for one] */
	const struct sr_routes *routes; /* COPIED shallowly: the tables and their strings must outlive the server; first match wins */
	size_t routes_count;
	sr_authorize_fn *authorize; /* [everyone may] */
	sr_authorize_fn *verify;  /* [nothing more is asked] */
	void *authorize_ctx;
	const char *challenge;    /* WWW-Authenticate of every 401 ["Bearer"]; must outlive the server */
	unsigned workers;         /* threads that run handlers [4] */
	unsigned event_threads;   /* [2] */
	unsigned max_connections; /* fewer if so many files may not be open [512] */
	size_t max_header;        /* bytes of request line and headers [16384] */
	size_t ring;              /* bytes buffered each way for a streaming request [65536] */
	uint64_t max_drain;       /* an answer given in mid-body waits for at most so many more bytes of it, then it is cut [1 MiB] */
	unsigned client_ms;       /* what the next three are by default made of: Client-Timeout [30000] */
	unsigned head_ms;         /* from connect, or from the request line, to the end of the headers [client_ms, 10000 at most] */
	unsigned idle_ms;         /* a kept connection without a request [75000] */
	unsigned stall_ms;        /* grace: how long a body or answer may stand still in all ... [client_ms] */
	unsigned min_rate;        /* ... on top of what this many bytes a second need [1024] */
	unsigned still_ms;        /* how long it may stand still at a time, however much it has moved before [twice client_ms] */
	unsigned hurry_ms;        /* the same while other requests wait for a worker [5000] */
};

/* Listen and serve.  COPIES *options (see the notes on strings).  SR_E_BUSY: the port is taken; SR_E_CONFIG: address, certificate or key
 * are no good. */
SR_MUST enum sr_status sr_server_start(struct sr_server **out, const struct sr_server_options *options, struct sr_err *err);
uint16_t sr_server_port(const struct sr_server *server);
const char *sr_server_address(const struct sr_server *server); /* "127.0.0.1:9405", "[::]:9405"; VALID UNTIL sr_server_stop */
/* The pin (certificate.h) of the key that it serves, which is the one that was in the file at the start; NULL: plain HTTP.  VALID as above. */
const char *sr_server_pin(const struct sr_server *server);

/* Run the handlers of all parked requests again.  From any thread; a wake between a handler's look and its park is not lost. */
void sr_server_wake(struct sr_server *server);

#define SR_WAITING 2
struct sr_server_counts {
	uint64_t requests;       /* answered ones, and those cut */
	uint64_t by_class[6];    /* [2]: 2xx ... [5]: 5xx; [0]: cut without an answer */
	uint64_t connections;    /* ever accepted */
	uint64_t shed;           /* of them closed for others' sake */
	uint64_t received, sent; /* bytes of bodies that were taken in, and given */
	unsigned open, parked;   /* now */
	unsigned waiting[SR_WAITING]; /* requests of each of the handler's kinds, woken or not (sr_request_waits) */
	unsigned most;           /* max_connections, as it fits */
};
void sr_server_counts(struct sr_server *server, struct sr_server_counts *out);

/* All that it serves, in the order in which they are looked through. */
void sr_server_each_route(const struct sr_server *server, void (*each)(void *ctx, const struct sr_route *route), void *ctx);

/* Take no more requests, but those of routes with SR_ROUTE_LAST: 503, saying why (COPIED), and the connection ends with it, as with every answer from now on.
 * Parked requests run again as expired; those under way go on.  Once. */
void sr_server_drain(struct sr_server *server, const char *why);
/* Requests that are under way, those of SR_ROUTE_LAST not counted. */
unsigned sr_server_under_way(const struct sr_server *server);

/* How many requests each route has had, by the status of the answer: only what is not 0.  route NULL: no such path.  status 0: cut without an answer;
 * SR_STATUS_OTHER: one of those that are not told apart. */
#define SR_STATUS_OTHER 999
void sr_server_count_routes(struct sr_server *server, void (*each)(void *ctx, const struct sr_route *route, int status, uint64_t n), void *ctx);

/* Stop taking connections, answer parked requests with 503, close idle connections, give running requests `ms` to end, cut what is left, join
 * all threads.  A handler that computes without reading or writing is waited for.  CONSUMES server; NULL is a no-op.  Not from a handler. */
void sr_server_stop(struct sr_server *server, unsigned ms);
bool sr_server_stopping(const struct sr_server *server);

/* --- a request: everything here is VALID UNTIL the handler returns ------------------------------------------------ */

const char *sr_request_method(const struct sr_request *req); /* "HEAD" too */
const char *sr_request_target(const struct sr_request *req); /* raw path and query */
const char *sr_request_peer(const struct sr_request *req);   /* "192.0.2.7", without the port */
bool sr_request_tls(const struct sr_request *req);
/* In authorize only.  Has the client shown a certificate of client_ca?  SR_E_FORBIDDEN: no, and why not. */
SR_MUST enum sr_status sr_request_certified(const struct sr_request *req, struct sr_err *err);
/* Who it is, as authorize or verify said (COPIES); NULL: nobody said. */
void sr_request_set_user(struct sr_request *req, const char *name);
const char *sr_request_user(const struct sr_request *req);
/* What he may, in the caller's own bits, as authorize or verify said; 0: nothing was said. */
void sr_request_set_rights(struct sr_request *req, unsigned rights);
unsigned sr_request_rights(const struct sr_request *req);
struct sr_server *sr_request_server(const struct sr_request *req);

/* What the `{}` of the pattern held, decoded, then the segments of `*`.  No NUL inside; it may hold '/'. */
size_t sr_request_args(const struct sr_request *req);
struct sr_bytes sr_request_arg(const struct sr_request *req, size_t i);    /* also NUL-terminated; i < sr_request_args */
const char *sr_request_arg_text(const struct sr_request *req, size_t i);

/* The first parameter of that name, decoded (+ is a space); never holds NUL; also NUL-terminated.  False, *out untouched: not there. */
bool sr_request_query(const struct sr_request *req, const char *name, struct sr_bytes *out);
const char *sr_request_query_text(const struct sr_request *req, const char *name); /* NULL: not there */
const char *sr_request_header(const struct sr_request *req, const char *name);     /* any case; the first; NULL: not there */

/* All lines of that name, in order, appended to *out with ", " between.  false: there is none. */
bool sr_request_header_all(const struct sr_request *req, const char *name, struct sr_buf *out);

/* The body's length as announced, or -1 (chunked). */
int64_t sr_request_length(const struct sr_request *req);

/* The next 1..n bytes of the body; *got 0: its end.  An answer given before the first read overtakes the body (no 100 Continue is sent): look at
 * all that the head tells first.  SR_E_LIMIT: more than max_body; SR_E_UNAVAILABLE: the client went away or is too slow.
 * Not in quick handlers. */
SR_MUST enum sr_status sr_request_read(struct sr_request *req, void *buf, size_t n, size_t *got, struct sr_err *err);
/* The rest of the body appended to *out; SR_E_LIMIT above `max`. */
SR_MUST enum sr_status sr_request_read_all(struct sr_request *req, struct sr_buf *out, size_t max, struct sr_err *err);

/* Instead of answering (quick handlers only): let go of the request and run its handler again at the next sr_server_wake, and after `ms` from
 * the FIRST park of this request at the latest; then sr_request_expired() is true and it must answer. */
void sr_request_park(struct sr_request *req, unsigned ms);
bool sr_request_expired(const struct sr_request *req);
/* The handler's own number, to be found when it is run again; 0 before. */
void sr_request_keep(struct sr_request *req, uint64_t n);
uint64_t sr_request_kept(const struct sr_request *req);
/* It counts among those of that kind (below SR_WAITING) that wait, until it is over.  Once a request. */
void sr_request_waits(struct sr_request *req, unsigned kind);

/* --- the answer: once a request --------------------------------------------------------------------------------- */

/* One more header; before the reply call.  COPIES.  A value with control bytes is a bug (assert). */
void sr_reply_header(struct sr_request *req, const char *name, const char *value);

/* A whole answer.  COPIES body.  type NULL: none (204, 304). */
void sr_reply_bytes(struct sr_request *req, int status, const char *type, struct sr_bytes body);
void sr_reply_text(struct sr_request *req, int status, const char *text); /* text/plain */
void sr_reply_error(struct sr_request *req, const struct sr_err *err);
/* The same with an HTTP status that is none of ours, as 502: it is another's fault.  detail: any bytes. */
void sr_reply_error_as(struct sr_request *req, int status, enum sr_status code, const char *detail);

/* A streamed answer (not from quick handlers).  length -1: unknown, sent chunked. */
void sr_reply_start(struct sr_request *req, int status, const char *type, int64_t length);
/* Blocks while the client is slow.  SR_E_UNAVAILABLE: it went away or is too slow, or the server stops; nothing more can be sent. */
SR_MUST enum sr_status sr_reply_write(struct sr_request *req, const void *buf, size_t n, struct sr_err *err);
void sr_reply_end(struct sr_request *req);   /* short of `length`: cut instead */
void sr_reply_abort(struct sr_request *req); /* cut the connection: the client sees a truncated transfer */

/* Stream `length` bytes of fd from `offset`, start to end.  BORROWS fd.  A file that is shorter is cut and SR_E_CHANGED. */
SR_MUST enum sr_status sr_reply_file(struct sr_request *req, int status, const char *type, int fd, uint64_t offset, uint64_t length,
                                     struct sr_err *err);

#endif
