/* server.c - libmicrohttpd's side of the server; the only place that includes it.
 *
 * What libmicrohttpd 0.9.75 asks for, and where it is answered:
 * - stopping with a suspended connection aborts the process: sr_server_stop lets all go on and waits before it stops the daemon;
 * - quiescing takes the listening socket from the epoll sets while their threads do so, too, and aborts the process when both did: on_accept
 *   turns new connections away instead;
 * - an answer can be queued in the first call for a request (then the connection ends) or after the body's end, never in between: on_head,
 *   on_body and on_whole are these three times;
 * - upload data left lying without suspending hangs: on_body suspends then, and only then;
 * - a content callback must not fail: break_off;
 * - its timeouts and its closing are too kind or too rude: keeper.c;
 * - its limit of connections lets whoever is in keep everyone else out: crowd.c.  Its threads share the limit out and the excess waits, so that
 *   it lies above ours; without a file descriptor left it does not accept until a connection ends: fit_files, on_log. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http/certificate.h"
#include "http/crowd.h"
#include "http/head.h"
#include "http/keeper.h"
#include "http/listen.h"
#include "http/pool.h"
#include "lib/base/file_limit.h"
#include "lib/base/log.h"

enum {
	CONNECTION_MEMORY = 96 * 1024, /* real memory; half of it is the size of upload chunks */
	SMALL_BODY = 16 * 1024,        /* not worth a connection: an early answer waits for it */
	LAST_WAIT_MS = 10000,
	OTHER_FILES = 256, /* databases, files and other machines' servers that handlers and the rest of the daemon have open */
};

struct sr_server {
	struct MHD_Daemon *daemon;
	struct sr_keeper *keeper;
	struct sr_pool *pool;
	struct sr_limits limits;
	struct sr_routes *routes;
	size_t routes_n;
	sr_authorize_fn *authorize;
	void *authorize_ctx;
	char *address, *certificate, *key, *client_ca;
	char pin[SR_PIN_TEXT]; /* of the certificate; "": plain HTTP */
	uint16_t port;
	atomic_bool stopping, draining;
	char *why; /* it drains */
	atomic_uint under_way, waiting[SR_WAITING];
	atomic_ullong requests, by_class[6], received, sent;
	atomic_ullong *by_route; /* TOLD_APART for each route, and once more for none */
	size_t counted_routes;
};

/* The statuses that are told apart. */
static const int told_apart[] = {0,   200, 202, 204, 206, 304, 400, 401, 403, 404, 405, 409, 410,
			      413, 416, 429, 500, 502, 503, 507, SR_STATUS_OTHER};
#define TOLD_APART (sizeof(told_apart) / sizeof(*told_apart))

/* --- what request.c needs; req->lock is held ---------------------------------------------------------------------- */

void sr_conn_resume(struct sr_request *req)
{
	if (!req->suspended || !req->mhd)
		return;
	req->suspended = false;
	MHD_resume_connection(req->mhd);
}

static enum MHD_Result suspend(struct sr_request *req)
{
	req->suspended = true;
	MHD_suspend_connection(req->mhd);
	return MHD_YES;
}

void sr_conn_deadline(struct sr_request *req, int64_t ms)
{
	if (req->mhd)
		sr_keeper_deadline(req->conn, ms);
}

void sr_conn_look(struct sr_request *req)
{
	if (req->mhd && !req->suspended)
		sr_keeper_look(req->conn);
}

bool sr_conn_hurries(const struct sr_request *req)
{
	return sr_pool_waiting(req->server->pool) > 0;
}

void sr_conn_cut(struct sr_request *req)
{
	req->cut = true;
	pthread_cond_broadcast(&req->changed);
	if (!req->mhd)
		return;
	/* What was written before an abort may still be on its way to the client: libmicrohttpd, not we, closes a connection that it drives. */
	if (!req->queued)
		sr_keeper_shut(req->conn);
	else
		sr_conn_deadline(req, req->limits->stall_ms);
	sr_conn_resume(req);
}

/* --- the answer --------------------------------------------------------------------------------------------------- */

/* An error from a content callback just after a resume closes the connection without anyone coming back to clean it up: it would count as open
 * until the daemon stops.  A byte that cannot be sent any more ends it in the ordinary way. */
static ssize_t break_off(struct sr_request *req, char *buf)
{
	sr_keeper_shut(req->conn);
	*buf = 0;
	return 1;
}

static ssize_t on_content(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct sr_request *req = cls;
	ssize_t got = 0;

	(void)pos;
	pthread_mutex_lock(&req->lock);
	if (req->cut)
		got = break_off(req, buf);
	else if (req->out.len)
		got = (ssize_t)sr_ring_take(&req->out, buf, max);
	else if (req->ended)
		got = MHD_CONTENT_READER_END_OF_STREAM;
	else
		suspend(req);
	if (got > 0)
		pthread_cond_broadcast(&req->changed);
	pthread_mutex_unlock(&req->lock);
	return got;
}

static void on_response_freed(void *cls)
{
	sr_request_unref(cls);
}

static struct MHD_Response *make_response(struct sr_request *req)
{
	struct MHD_Response *response;

	if (req->streamed && req->answer_length) {
		sr_request_ref(req);
		response = MHD_create_response_from_callback(req->answer_length < 0 ? MHD_SIZE_UNKNOWN : (uint64_t)req->answer_length,
		                                             32768, on_content, req, on_response_freed);
		if (!response)
			sr_request_unref(req);
	} else {
		response = MHD_create_response_from_buffer(req->body.len, req->body.at, MHD_RESPMEM_PERSISTENT); /* lives as long as req */
	}
	if (!response)
		return NULL;
	if (req->type)
		MHD_add_response_header(response, "Content-Type", req->type);
	for (size_t i = 0; i < req->extra.n; i++)
		MHD_add_response_header(response, req->extra.at[i].name, req->extra.at[i].value);
	if (req->server->stopping || req->server->draining) /* libmicrohttpd sees by itself to connections that cannot go on */
		MHD_add_response_header(response, "Connection", "close");
	return response;
}

static enum MHD_Result queue(struct sr_request *req)
{
	const struct sr_limits *l = req->limits;
	struct MHD_Response *response = make_response(req);
	enum MHD_Result result;

	if (!response)
		return MHD_NO;
	req->queued = true;
	if (req->streamed && !req->ended)
		sr_conn_deadline(req, -1); /* the writer's patience counts */
	else
		sr_conn_deadline(req, l->stall_ms + (int64_t)((req->body.len + req->out.len) * 1000 / l->min_rate));
	/* A response has a lock of its own, and on_content is called under that: never take it under ours. */
	pthread_mutex_unlock(&req->lock);
	result = MHD_queue_response(req->mhd, (unsigned)req->status, response);
	MHD_destroy_response(response);
	pthread_mutex_lock(&req->lock);
	return result;
}

/* --- the three times ---------------------------------------------------------------------------------------------- */

static void let_body_come(struct sr_request *req)
{
	req->behind_head = true;
	sr_conn_deadline(req, req->discard ? (int64_t)req->limits->stall_ms : -1);
}

static void dispatch(struct sr_request *req)
{
	if (req->dispatched)
		return;
	req->dispatched = true;
	sr_pool_add(req->server->pool, req);
}

/* The head is here, a body would follow. */
static enum MHD_Result on_head(struct sr_request *req)
{
	bool small = req->length >= 0 && req->length <= SMALL_BODY && !req->expects && !req->close;

	if (req->ready && !small) {
		sr_keeper_linger(req->conn);
		return queue(req);
	}
	if (req->ready || sr_request_quick(req)) {
		req->discard = true;
		let_body_come(req);
		return MHD_YES;
	}
	dispatch(req);
	if (!req->wanted)
		return suspend(req);
	let_body_come(req);
	return MHD_YES;
}

static enum MHD_Result on_body(struct sr_request *req, const char *data, size_t *size)
{
	size_t taken;

	if (!req->discard && req->received + *size > req->route->max_body) {
		req->body_over = req->discard = true;
		pthread_cond_broadcast(&req->changed);
	}
	if (req->discard) {
		req->dropped += *size;
		*size = 0;
		return req->dropped > req->limits->max_drain ? MHD_NO : MHD_YES;
	}
	if (!req->in.at)
		sr_ring_init(&req->in, req->limits->ring);
	taken = sr_ring_put(&req->in, data, *size);
	req->received += taken;
	*size -= taken;
	pthread_cond_broadcast(&req->changed);
	return *size ? suspend(req) : MHD_YES;
}

/* Run a quick handler; without the lock, because it takes it to answer.  Parked: true, and nothing more is to be done. */
static bool run_quick(struct sr_request *req)
{
	bool parked = false;

	while (!req->ready && !parked) {
		uint64_t seen = sr_keeper_wakes(req->server->keeper);
		struct sr_err err;

		pthread_mutex_unlock(&req->lock);
		if (req->parked_before && req->server->stopping) {
			sr_err_set(&err, SR_E_UNAVAILABLE, "the server is stopping");
			sr_reply_error(req, &err);
		} else if (sr_request_expired(req) || (req->parked_before && req->server->draining)) {
			req->park_until = 0;
			sr_request_run(req);
			if (!req->ready) {
				sr_err_set(&err, SR_E_INTERNAL, "parked for ever");
				sr_reply_error(req, &err);
			}
		} else {
			sr_request_run(req);
		}
		pthread_mutex_lock(&req->lock);
		if (req->server->draining) /* it is answered as if its time were up */
			req->park_until = 0;
		else
			parked = !req->ready && sr_keeper_park(req->server->keeper, req, seen);
	}
	return parked;
}

/* All of the request is here. */
static enum MHD_Result on_whole(struct sr_request *req)
{
	if (!req->body_end) {
		req->body_end = true;
		sr_conn_deadline(req, -1);
		pthread_cond_broadcast(&req->changed);
	}
	if (!req->ready && sr_request_quick(req)) {
		if (run_quick(req))
			return suspend(req);
	} else if (!req->ready) {
		dispatch(req);
		return suspend(req);
	}
	return queue(req);
}

/* --- the first look ----------------------------------------------------------------------------------------------- */

/* Was it on two lines?  libmicrohttpd puts the second one behind the name, which it moves for that: `Content-Length: 4`, ` 0` is Content-Length0, and no
 * length is stated.  Else the value stands where it came, after the name, its end and blanks. */
static bool folded(const char *name, const char *value)
{
	uintptr_t end = (uintptr_t)name + strlen(name) + 1, begin = (uintptr_t)value;

	return value && (begin < end || begin - end > strspn(name + strlen(name) + 1, " \t"));
}

static enum MHD_Result add_field(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
	(void)kind;
	sr_fields_add(cls, folded(name, value) ? "" : name, value ? value : ""); /* no name is malformed */
	return MHD_YES;
}

static enum sr_status admit(struct sr_request *req, const char *version, struct sr_err *err)
{
	struct sr_server *server = req->server;
	enum sr_status status = sr_head_check(req, version, err);
	char *allow = NULL;

	if (status) {
		req->close = true;
		return status;
	}
	status = sr_head_route(req, server->routes, server->routes_n, &allow, err);
	if (allow)
		sr_reply_header(req, "Allow", allow);
	free(allow);
	if (server->draining && !(req->route && req->route->flags & SR_ROUTE_LAST))
		return sr_err_set(err, SR_E_UNAVAILABLE, "%s", server->why);
	if (status)
		return status;
	if (server->authorize && !(req->route->flags & SR_ROUTE_OPEN))
		status = server->authorize(server->authorize_ctx, req, req->route, err);
	if (!status && (req->length < 0 ? !req->route->max_body : (uint64_t)req->length > req->route->max_body))
		status = sr_err_set(err, SR_E_LIMIT, "request body over %llu bytes", (unsigned long long)req->route->max_body);
	if (!status && !(req->route->flags & SR_ROUTE_OPEN))
		status = sr_keeper_hold(req->conn, err);
	return status;
}

/* Which methods there are stands in the text, which is made of nothing that was sent. */
static void reply_method(struct sr_request *req, const struct sr_err *err)
{
	char *body = sr_format("{\"error\":\"method\",\"detail\":\"%s\"}", err->text);

	sr_reply_bytes(req, 405, "application/json", sr_bytes_of(body));
	free(body);
}

enum sr_status sr_request_certified(const struct sr_request *req, struct sr_err *err)
{
	const union MHD_ConnectionInfo *info = req->server->client_ca ? MHD_get_connection_info(req->mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION) : NULL;

	if (!info)
		return sr_err_set(err, SR_E_FORBIDDEN, "no client certificate can be shown here");
	return sr_certificate_judge(info->tls_session, err);
}

static void uncount(struct sr_request *req)
{
	if (req->counted)
		atomic_fetch_sub(&req->server->under_way, 1);
	req->counted = false;
	if (req->waits)
		atomic_fetch_sub(&req->server->waiting[req->waits - 1], 1);
	req->waits = 0;
}

void sr_request_waits(struct sr_request *req, unsigned kind)
{
	assert(kind < SR_WAITING && !req->waits);
	req->waits = kind + 1;
	atomic_fetch_add(&req->server->waiting[kind], 1);
}

static void begin(struct sr_request *req, const char *method, const char *version)
{
	struct sr_err err = { 0 };
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(req->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	enum sr_status status;

	req->begun = true;
	req->method = sr_strdup(method);
	req->head_only = !strcmp(method, "HEAD");
	req->peer = sr_address_text(info ? info->client_addr : NULL);
	req->tls = req->server->certificate;
	MHD_get_connection_values(req->mhd, MHD_HEADER_KIND, add_field, &req->headers);
	/* Counted before it is asked whether the server drains: who sees that it drains, and then none under way, has seen the last one. */
	atomic_fetch_add(&req->server->under_way, 1);
	req->counted = true;
	status = admit(req, version, &err);
	if (status || req->route->flags & SR_ROUTE_LAST)
		uncount(req);
	if (status == SR_E_USAGE) /* the path is there, the method is not */
		reply_method(req, &err);
	else if (status)
		sr_reply_error(req, &err);
	pthread_mutex_lock(&req->lock);
	sr_conn_deadline(req, -1);
	pthread_mutex_unlock(&req->lock);
}

/* --- counting ----------------------------------------------------------------------------------------------------- */

/* Of all routes, table by table; that of none is the last. */
static size_t place_of(const struct sr_server *server, const struct sr_route *route)
{
	size_t before = 0;

	for (size_t t = 0; route && t < server->routes_n; t++) {
		if (route >= server->routes[t].at && route < server->routes[t].at + server->routes[t].n)
			return before + (size_t)(route - server->routes[t].at);
		before += server->routes[t].n;
	}
	return server->counted_routes - 1;
}

static void add_up(struct sr_server *server, const struct sr_request *req, int status)
{
	unsigned class = status / 100 < 6 ? (unsigned)status / 100 : 0;
	size_t k = 0;

	while (told_apart[k] != status && told_apart[k] != SR_STATUS_OTHER)
		k++;
	atomic_fetch_add(&server->requests, 1);
	atomic_fetch_add(&server->by_class[class], 1);
	atomic_fetch_add(&server->by_route[place_of(server, req->route) * TOLD_APART + k], 1);
	atomic_fetch_add(&server->received, req->received);
	if (status && !req->head_only)
		atomic_fetch_add(&server->sent, req->streamed ? req->written : req->body.len);
}

static void tell_counts(const struct sr_server *server, const struct sr_route *route,
                        void (*each)(void *ctx, const struct sr_route *route, int status, uint64_t n), void *ctx)
{
	const atomic_ullong *n = server->by_route + place_of(server, route) * TOLD_APART;

	for (size_t k = 0; k < TOLD_APART; k++)
		if (n[k])
			each(ctx, route, told_apart[k], n[k]);
}

void sr_server_count_routes(struct sr_server *server, void (*each)(void *ctx, const struct sr_route *route, int status, uint64_t n), void *ctx)
{
	for (size_t t = 0; t < server->routes_n; t++)
		for (size_t r = 0; r < server->routes[t].n; r++)
			tell_counts(server, &server->routes[t].at[r], each, ctx);
	tell_counts(server, NULL, each, ctx);
}

void sr_server_each_route(const struct sr_server *server, void (*each)(void *ctx, const struct sr_route *route), void *ctx)
{
	for (size_t t = 0; t < server->routes_n; t++)
		for (size_t r = 0; r < server->routes[t].n; r++)
			each(ctx, &server->routes[t].at[r]);
}

/* --- libmicrohttpd's callbacks ------------------------------------------------------------------------------------ */

static void on_connection(void *cls, struct MHD_Connection *mhd, void **ctx, enum MHD_ConnectionNotificationCode what)
{
	struct sr_server *server = cls;

	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		int fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;

		const struct sockaddr *from = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;

		*ctx = sr_keeper_open(server->keeper, fd, from, server->limits.head_ms);
	} else if (*ctx) {
		sr_keeper_close(*ctx);
		*ctx = NULL;
	}
}

/* The request line has come; what is returned is the request's context from now on. */
static void *on_request_line(void *cls, const char *raw, struct MHD_Connection *mhd)
{
	struct sr_server *server = cls;
	struct sr_request *req = sr_request_new(server, &server->limits, raw);

	req->mhd = mhd;
	req->conn = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
	sr_keeper_busy(req->conn, req, server->limits.head_ms);
	return req;
}

static enum MHD_Result on_access(void *cls, struct MHD_Connection *mhd, const char *url, const char *method, const char *version,
                                 const char *data, size_t *size, void **ctx)
{
	struct sr_request *req = *ctx;
	enum MHD_Result result;

	(void)cls, (void)mhd, (void)url;
	if (!req->begun)
		begin(req, method, version);
	pthread_mutex_lock(&req->lock);
	if (req->cut) {
		result = MHD_NO;
	} else if (*size) {
		result = on_body(req, data, size);
	} else if (!req->behind_head && (req->length || req->close)) {
		result = on_head(req);
	} else if (!req->behind_head) { /* no body: an answer in this call would end the connection; the next one comes at once */
		req->behind_head = true;
		result = MHD_YES;
	} else {
		result = on_whole(req);
	}
	pthread_mutex_unlock(&req->lock);
	return result;
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **ctx, enum MHD_RequestTerminationCode why)
{
	struct sr_server *server = cls;
	struct sr_request *req = *ctx;
	int status;

	(void)mhd, (void)why;
	if (!req)
		return;
	pthread_mutex_lock(&req->lock);
	sr_keeper_busy(req->conn, NULL, server->limits.idle_ms);
	req->mhd = NULL;
	req->conn = NULL;
	status = req->queued ? req->status : 0;
	pthread_cond_broadcast(&req->changed);
	add_up(server, req, status);
	pthread_mutex_unlock(&req->lock);
	uncount(req);
	sr_request_unref(req);
	*ctx = NULL;
}

static void on_log(void *cls, const char *fmt, va_list args)
{
	struct sr_server *server = cls;
	char text[512];
	int n = vsnprintf(text, sizeof(text), fmt, args);

	if (strstr(fmt, "resource limit")) /* EMFILE or ENFILE, told in no other way; it accepts again when a connection has ended */
		sr_keeper_no_files(server->keeper);
	if (n > 0)
		sr_debug("http: %.*s", (int)strcspn(text, "\n"), text);
}

/* --- start and stop ----------------------------------------------------------------------------------------------- */

static enum sr_status read_pem(const char *path, char **out, struct sr_err *err)
{
	enum { MOST = 1 << 20 };
	struct sr_buf text = { 0 };
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : 1;
	enum sr_status status = SR_OK;

	while (got > 0 && text.len < MOST) {
		got = read(fd, sr_buf_room(&text, 4096), 4096);
		if (got > 0)
			text.len += (size_t)got;
	}
	if (got < 0)
		status = sr_err_sys(err, SR_E_CONFIG, "%s", path);
	else
		*out = sr_text(sr_buf_view(&text));
	if (fd >= 0)
		close(fd);
	if (text.at)
		explicit_bzero(text.at, text.len);
	sr_buf_free(&text);
	return status;
}

static void apply(struct sr_server *server, const struct sr_server_options *o)
{
	unsigned client_ms = o->client_ms ? o->client_ms : 30000;

	server->limits = (struct sr_limits){
		.max_header = o->max_header ? o->max_header : 16384,
		.ring = o->ring ? o->ring : 65536,
		.max_drain = o->max_drain ? o->max_drain : 1 << 20,
		.head_ms = o->head_ms ? o->head_ms : client_ms < 10000 ? client_ms : 10000,
		.idle_ms = o->idle_ms ? o->idle_ms : 75000,
		.stall_ms = o->stall_ms ? o->stall_ms : client_ms,
		.still_ms = o->still_ms ? o->still_ms : 2 * client_ms,
		.hurry_ms = o->hurry_ms ? o->hurry_ms : 5000,
		.min_rate = o->min_rate ? o->min_rate : 1024,
		.challenge = o->challenge ? o->challenge : "Bearer",
		.verify = o->verify,
		.verify_ctx = o->authorize_ctx,
	};
	server->routes_n = o->routes_count;
	server->routes = sr_alloc((o->routes_count + 1) * sizeof(*server->routes));
	server->counted_routes = 1;
	for (size_t t = 0; t < o->routes_count; t++) {
		server->routes[t] = o->routes[t];
		server->counted_routes += o->routes[t].n;
	}
	server->by_route = sr_alloc(server->counted_routes * TOLD_APART * sizeof(*server->by_route));
	server->authorize = o->authorize;
	server->authorize_ctx = o->authorize_ctx;
}

/* A server that stops takes no more connections. */
static enum MHD_Result on_accept(void *ctx, const struct sockaddr *peer, socklen_t len)
{
	const struct sr_server *server = ctx;

	(void)peer, (void)len;
	return server->stopping ? MHD_NO : MHD_YES;
}

/* As many as asked for, if the process may have so many files open, for which its soft limit is raised as far as need be. */
static unsigned fit_files(unsigned most)
{
	uint64_t beside = 2 * sr_crowd_spare(most) + SR_KEEPER_LINGERERS + OTHER_FILES, have = sr_files_allow(most + beside), fit = have / 4;

	if (have > beside && have - beside > fit)
		fit = have - beside;
	if (fit >= most)
		return most;
	sr_warn("http: Max-Connections (%u) is lowered to %llu: this process may have only %llu files open (RLIMIT_NOFILE)", most,
	        (unsigned long long)fit, (unsigned long long)have);
	return (unsigned)fit;
}

static struct MHD_Daemon *start_daemon(struct sr_server *server, const struct sr_server_options *o, unsigned most, int fd)
{
	unsigned threads = o->event_threads ? o->event_threads : 2, flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME;
	struct MHD_OptionItem tls[] = {
		{ MHD_OPTION_HTTPS_MEM_CERT, 0, server->certificate },
		{ MHD_OPTION_HTTPS_MEM_KEY, 0, server->key },
		{ MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2" },
		{ server->client_ca ? MHD_OPTION_HTTPS_MEM_TRUST : MHD_OPTION_END, 0, server->client_ca },
		{ MHD_OPTION_END, 0, NULL },
	};
	struct MHD_OptionItem pool[] = {
		{ MHD_OPTION_THREAD_POOL_SIZE, threads, NULL },
		{ MHD_OPTION_END, 0, NULL },
	};

	return MHD_start_daemon(flags | MHD_USE_ERROR_LOG | (server->certificate ? MHD_USE_TLS : 0), 0, on_accept, server, on_access, server,
	                        MHD_OPTION_EXTERNAL_LOGGER, on_log, server, /* has to be the first */
	                        MHD_OPTION_LISTEN_SOCKET, fd,
	                        MHD_OPTION_CONNECTION_LIMIT, most + 2 * sr_crowd_spare(most), /* within it the keeper's counts */
	                        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
	                        MHD_OPTION_CONNECTION_TIMEOUT, 0u, /* the keeper's */
	                        MHD_OPTION_NOTIFY_CONNECTION, on_connection, server,
	                        MHD_OPTION_URI_LOG_CALLBACK, on_request_line, server,
	                        MHD_OPTION_NOTIFY_COMPLETED, on_completed, server,
	                        MHD_OPTION_ARRAY, server->certificate ? tls : tls + 4,
	                        MHD_OPTION_ARRAY, threads > 1 ? pool : pool + 1,
	                        MHD_OPTION_END);
}

static void server_free(struct sr_server *server)
{
	if (server->pool)
		sr_pool_stop(server->pool);
	if (server->keeper)
		sr_keeper_stop(server->keeper);
	if (server->key)
		explicit_bzero(server->key, strlen(server->key));
	free(server->key);
	free(server->certificate);
	free(server->client_ca);
	free(server->address);
	free(server->why);
	free(server->routes);
	free(server->by_route);
	free(server);
}

struct sr_routes sr_routes_of(const struct sr_route *(*table)(size_t *n), void *ctx)
{
	struct sr_routes routes = {.ctx = ctx};

	if (ctx)
		routes.at = table(&routes.n);
	return routes;
}

enum sr_status sr_server_start(struct sr_server **out, const struct sr_server_options *options, struct sr_err *err)
{
	struct sr_server *server = sr_alloc(sizeof(*server));
	enum sr_status status = SR_OK;
	unsigned most;
	int fd = -1;

	apply(server, options);
	if (!options->certificate != !options->key)
		status = sr_err_set(err, SR_E_CONFIG, "a certificate and a key go together");
	if (!status && options->certificate)
		status = read_pem(options->certificate, &server->certificate, err);
	if (!status && options->key)
		status = read_pem(options->key, &server->key, err);
	if (!status && options->key)
		status = sr_certificate_check(server->certificate, server->key, err);
	if (!status && options->client_ca && !options->certificate)
		status = sr_err_set(err, SR_E_CONFIG, "%s: a client can show a certificate over TLS only, and here is none", options->client_ca);
	if (!status && options->client_ca)
		status = read_pem(options->client_ca, &server->client_ca, err);
	if (!status && options->client_ca && sr_certificate_check_authorities(server->client_ca, err))
		status = sr_err_context(err, "%s", options->client_ca);
	if (!status && options->certificate)
		status = sr_certificate_pin_pem(sr_bytes_of(server->certificate), server->pin, err);
	if (!status)
		status = sr_listen(options->address, options->port, &fd, err);
	if (status)
		goto out;
	server->address = sr_listen_text(fd, &server->port);
	most = fit_files(options->max_connections ? options->max_connections : 512);
	server->keeper = sr_keeper_start(most);
	server->pool = sr_pool_start(options->workers ? options->workers : 4);
	if (!server->keeper || !server->pool) {
		status = sr_err_set(err, SR_E_UNAVAILABLE, "no thread for the server");
		goto out;
	}
	server->daemon = start_daemon(server, options, most, fd);
	fd = -1; /* libmicrohttpd's; when it fails it has mostly closed it */
	if (!server->daemon)
		status = sr_err_set(err, SR_E_UNAVAILABLE, "the server does not start; the debug log says why");
out:
	if (status) {
		if (fd >= 0)
			close(fd);
		server_free(server);
		return status;
	}
	*out = server;
	return SR_OK;
}

uint16_t sr_server_port(const struct sr_server *server)
{
	return server->port;
}

const char *sr_server_address(const struct sr_server *server)
{
	return server->address;
}

const char *sr_server_pin(const struct sr_server *server)
{
	return server->pin[0] ? server->pin : NULL;
}

void sr_server_wake(struct sr_server *server)
{
	sr_keeper_wake(server->keeper);
}

bool sr_server_stopping(const struct sr_server *server)
{
	return server->stopping;
}

void sr_server_counts(struct sr_server *server, struct sr_server_counts *out)
{
	*out = (struct sr_server_counts){ .requests = server->requests, .received = server->received, .sent = server->sent };
	for (size_t i = 0; i < sizeof(out->by_class) / sizeof(*out->by_class); i++)
		out->by_class[i] = server->by_class[i];
	for (size_t i = 0; i < SR_WAITING; i++)
		out->waiting[i] = server->waiting[i];
	sr_keeper_counts(server->keeper, out);
}

void sr_server_drain(struct sr_server *server, const char *why)
{
	server->why = sr_strdup(why);
	server->draining = true;
	sr_keeper_wake(server->keeper);
}

unsigned sr_server_under_way(const struct sr_server *server)
{
	return server->under_way;
}

void sr_server_stop(struct sr_server *server, unsigned ms)
{
	if (!server)
		return;
	server->stopping = true; /* see on_accept */
	sr_keeper_stopping(server->keeper);
	if (!sr_keeper_wait(server->keeper, ms)) {
		sr_keeper_cut_all(server->keeper);
		if (!sr_keeper_wait(server->keeper, LAST_WAIT_MS)) {
			/* Stopping libmicrohttpd with a suspended connection would abort the process: leave everything as it is. */
			sr_error("http: connections that do not end; the server at %s is left standing", server->address);
			return;
		}
	}
	MHD_stop_daemon(server->daemon);
	server_free(server);
}
