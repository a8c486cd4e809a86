/* request.h - what request.c (handlers' side, any thread) and server.c (libmicrohttpd's side, event threads) share.  Private to http/.
 *
 * A request is born with its request line and owned by references: one of the connection until it completes, one of the worker that runs the
 * handler, one of the park list, one of a response.  `lock` guards all below it; lock order: request, then server.
 *
 * How body and answer meet: while nobody wants the body the connection stands suspended behind the head, so that an answer may still
 * overtake the body.  The first read lets it go on; from then on an answer has to wait for the body's end (libmicrohttpd takes none in between). */
#ifndef SR_HTTP_REQUEST_H
#define SR_HTTP_REQUEST_H

#include <pthread.h>
#include <stdatomic.h>

#include "http/ring.h"
#include "http/server.h"
#include "http/target.h"

struct MHD_Connection;

struct sr_fields { /* header fields in order; name and value OWNED */
	struct sr_field {
		char *name, *value;
	} *at;
	size_t n, cap;
};
void sr_fields_add(struct sr_fields *f, const char *name, const char *value);
const char *sr_fields_get(const struct sr_fields *f, const char *name);
size_t sr_fields_count(const struct sr_fields *f, const char *name);
void sr_fields_free(struct sr_fields *f);

struct sr_limits { /* the options, completed */
	size_t max_header, ring;
	uint64_t max_drain;
	unsigned head_ms, idle_ms, stall_ms, still_ms, hurry_ms, min_rate;
	const char *challenge;
	sr_authorize_fn *verify; /* NULL: none */
	void *verify_ctx;
};

struct sr_patience { /* with the client, one way */
	int64_t waited, still; /* ms that we waited for him: in all, and since the last byte */
	uint64_t moved;        /* bytes as of then */
};

struct sr_request {
	struct sr_server *server;
	const struct sr_limits *limits;
	atomic_uint refs;

	/* set while the head is taken in, constant when handlers see it */
	char *method, *raw, *peer, *user;
	unsigned rights;
	bool tls, head_only, expects;
	struct sr_target target;
	struct sr_fields headers;
	const struct sr_route *route;
	void *route_ctx;
	struct sr_bytes *args;
	size_t args_n;
	int64_t length; /* announced; 0: no body; -1: chunked */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct MHD_Connection *mhd; /* NULL once the request is completed: the client is gone or served */
	struct sr_conn *conn;       /* as long as mhd */
	bool counted;               /* among those under way */
	bool begun;                 /* the head was looked at */
	bool behind_head;           /* the body may come */
	bool dispatched;            /* a worker has or had it */
	bool suspended;
	bool cut;                   /* break the connection at the next chance */

	bool wanted;      /* someone reads the body */
	bool discard;     /* nobody will */
	bool body_end, body_over; /* all came; more than max_body came */
	uint64_t received, dropped;
	struct sr_patience patience_in, patience_out;
	struct sr_ring in;

	bool ready;  /* an answer is there to be sent */
	bool queued; /* libmicrohttpd has it */
	bool close;  /* and the connection ends with it */
	bool streamed, ended;
	int status;
	int64_t answer_length; /* streamed: -1 unknown */
	uint64_t written;
	char *type;
	struct sr_fields extra;
	struct sr_buf body;
	struct sr_ring out;

	bool parking, parked_before; /* quick handlers only */
	int64_t park_until;
	uint64_t kept; /* the handler's */
	unsigned waits; /* sr_request_waits: the kind, and one more; 0: it does not */
	struct sr_request *next, *prev; /* job queue or park list; under the server's lock */
	bool listed;
};

struct sr_request *sr_request_new(struct sr_server *server, const struct sr_limits *limits, const char *raw);
void sr_request_ref(struct sr_request *req);
void sr_request_unref(struct sr_request *req);

/* Run the handler and see to it that there is an answer, a cut or a park afterwards. */
void sr_request_run(struct sr_request *req);
bool sr_request_quick(const struct sr_request *req);

/* --- given by server.c; all with req->lock held ------------------------------------------------------------------- */

void sr_conn_resume(struct sr_request *req);                 /* if it is suspended */
void sr_conn_deadline(struct sr_request *req, int64_t ms);   /* cut the connection unless it moves on within ms; negative: no deadline */
void sr_conn_look(struct sr_request *req);                   /* has the client gone without anyone noticing? */
bool sr_conn_hurries(const struct sr_request *req);          /* do others wait for a worker? */
void sr_conn_cut(struct sr_request *req);                    /* now */

#endif
