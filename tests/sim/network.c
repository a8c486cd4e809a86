/* network.c - client.h and server.h without a socket: it is linked in place of http/client.c and http/server.c.  What http/ makes of requests besides - targets,
 * routes, bodies, answers - is the product's own.
 *
 * A call runs the handler in the calling thread, on the datastore's machine; a copy of it that comes late, or twice, in a thread of its own (a courier).  All of a
 * body is there when the handler begins, as far as it was not cut off; all of an answer when the call returns. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/answer.h"
#include "http/head.h"
#include "http/request.h"
#include "tests/sim/sim.h"

enum { ROOM = 1 << 20, TIMEOUT_S = 30 }; /* ROOM: for a body, or an answer, of stores as small as these */

struct sim_network sim_network;

/* --- the server -------------------------------------------------------------------------------------------------------------- */

struct sr_server {
	struct sim_machine *machine;
	struct sr_limits limits;
	struct sr_routes *routes;
	size_t routes_n;
	sr_authorize_fn *authorize;
	void *authorize_ctx;
	unsigned under_way;
	bool stopping;
};

enum sr_status sr_server_start(struct sr_server **out, const struct sr_server_options *o, struct sr_err *err)
{
	struct sr_server *s = sr_alloc(sizeof *s);

	(void)err;
	s->machine = sim_here();
	s->limits = (struct sr_limits){.max_header = 16384, .ring = ROOM, .max_drain = ROOM, .head_ms = 10000, .idle_ms = 75000, .stall_ms = 30000,
				       .still_ms = 60000, .min_rate = 1024, .challenge = o->challenge ? o->challenge : "Bearer",
				       .verify = o->verify, .verify_ctx = o->authorize_ctx};
	s->routes = sr_alloc((o->routes_count + 1) * sizeof *s->routes);
	memcpy(s->routes, o->routes, o->routes_count * sizeof *s->routes);
	s->routes_n = o->routes_count;
	s->authorize = o->authorize;
	s->authorize_ctx = o->authorize_ctx;
	s->machine->server = s;
	*out = s;
	return SR_OK;
}

void sr_server_stop(struct sr_server *s, unsigned ms)
{
	(void)ms;
	if (!s)
		return;
	s->stopping = true;
	s->machine->server = NULL;
	while (s->under_way)
		sim_sleep(SIM_MS);
	free(s->routes);
	free(s);
}

const char *sr_server_address(const struct sr_server *s)
{
	(void)s;
	return "datastore:9405";
}

uint16_t sr_server_port(const struct sr_server *s)
{
	(void)s;
	return 9405;
}

const char *sr_server_pin(const struct sr_server *s)
{
	(void)s;
	return NULL;
}

/* Nothing stays parked (see answer_now). */
void sr_server_wake(struct sr_server *s)
{
	(void)s;
}

void sr_server_counts(struct sr_server *s, struct sr_server_counts *out)
{
	(void)s;
	*out = (struct sr_server_counts){0};
}

void sr_request_waits(struct sr_request *req, unsigned kind)
{
	(void)req, (void)kind;
}

void sr_server_count_routes(struct sr_server *s, void (*each)(void *ctx, const struct sr_route *route, int status, uint64_t n), void *ctx)
{
	(void)s, (void)each, (void)ctx;
}

void sr_server_drain(struct sr_server *s, const char *why)
{
	(void)s, (void)why;
}

unsigned sr_server_under_way(const struct sr_server *s)
{
	return s->under_way;
}

bool sr_server_stopping(const struct sr_server *s)
{
	return s->stopping;
}

struct sr_routes sr_routes_of(const struct sr_route *(*table)(size_t *n), void *ctx)
{
	struct sr_routes routes = {.ctx = ctx};

	if (ctx)
		routes.at = table(&routes.n);
	return routes;
}

enum sr_status sr_request_certified(const struct sr_request *req, struct sr_err *err)
{
	(void)req;
	return sr_err_set(err, SR_E_FORBIDDEN, "no certificate was shown");
}

/* --- what request.c asks of a connection: there is none ---------------------------------------------------------------------- */

void sr_conn_resume(struct sr_request *req)
{
	(void)req;
}

void sr_conn_deadline(struct sr_request *req, int64_t ms)
{
	(void)req, (void)ms;
}

void sr_conn_look(struct sr_request *req)
{
	(void)req;
}

bool sr_conn_hurries(const struct sr_request *req)
{
	(void)req;
	return false;
}

void sr_conn_cut(struct sr_request *req)
{
	req->cut = true;
}

/* --- a message --------------------------------------------------------------------------------------------------------------- */

struct message { /* a request, as it was sent */
	struct sim_machine *to;
	char *method, *target;
	char **headers; /* NULL at the end */
	struct sr_buf body;
	size_t arrives; /* so much of the body */
};

struct reply {
	int status; /* 0: none */
	struct sr_buf head; /* lines */
	struct sr_buf body;
	bool whole;
};

static void message_free(struct message *m)
{
	for (char **h = m->headers; h && *h; h++)
		free(*h);
	free(m->headers);
	free(m->method);
	free(m->target);
	sr_buf_free(&m->body);
}

static struct message message_copy(const struct message *m)
{
	struct message copy = *m;
	size_t n = 0;

	while (m->headers[n])
		n++;
	copy.headers = sr_alloc((n + 1) * sizeof *copy.headers);
	for (size_t i = 0; i < n; i++)
		copy.headers[i] = sr_strdup(m->headers[i]);
	copy.method = sr_strdup(m->method);
	copy.target = sr_strdup(m->target);
	copy.body = (struct sr_buf){0};
	sr_buf_bytes(&copy.body, sr_buf_view(&m->body));
	return copy;
}

static struct sr_request *take_in(struct sr_server *s, const struct message *m)
{
	static struct MHD_Connection *somebody = (struct MHD_Connection *)&sim_network; /* never looked at */
	struct sr_request *req = sr_request_new(s, &s->limits, m->target);
	char length[24];

	req->method = sr_strdup(m->method);
	req->head_only = !strcmp(m->method, "HEAD");
	req->peer = sr_strdup("192.0.2.1");
	req->begun = req->behind_head = req->dispatched = true;
	req->mhd = m->arrives < m->body.len ? NULL : somebody;
	req->body_end = m->arrives == m->body.len;
	req->received = m->arrives;
	sr_fields_add(&req->headers, "Host", "datastore");
	if (m->body.len) {
		snprintf(length, sizeof length, "%zu", m->body.len);
		sr_fields_add(&req->headers, "Content-Length", length);
		sr_ring_init(&req->in, m->arrives + 1);
		sr_ring_put(&req->in, m->body.at, m->arrives);
	}
	for (char **h = m->headers; *h; h++) {
		char *name = sr_strdup(*h), *value = strstr(name, ": ");

		if (value) {
			*value = '\0';
			sr_fields_add(&req->headers, name, value + 2);
		}
		free(name);
	}
	return req;
}

static enum sr_status admit(struct sr_request *req, struct sr_err *err)
{
	struct sr_server *s = req->server;
	char *allow = NULL;
	enum sr_status rc = sr_head_check(req, "HTTP/1.1", err);

	if (rc == SR_OK)
		rc = sr_head_route(req, s->routes, s->routes_n, &allow, err);
	free(allow);
	if (rc == SR_OK && s->authorize && !(req->route->flags & SR_ROUTE_OPEN))
		rc = s->authorize(s->authorize_ctx, req, req->route, err);
	if (rc == SR_OK && (uint64_t)req->length > req->route->max_body)
		rc = sr_err_set(err, SR_E_LIMIT, "request body over %llu bytes", (unsigned long long)req->route->max_body);
	return rc;
}

/* What would be parked is answered as if its time were up. */
static void answer_now(struct sr_request *req)
{
	sr_request_run(req);
	if (req->ready)
		return;
	req->park_until = 0;
	sr_request_run(req);
}

static void take_reply(struct sr_request *req, struct reply *out)
{
	out->status = req->status;
	out->whole = !req->cut;
	if (req->type)
		sr_buf_printf(&out->head, "Content-Type: %s\n", req->type);
	for (size_t i = 0; i < req->extra.n; i++)
		sr_buf_printf(&out->head, "%s: %s\n", req->extra.at[i].name, req->extra.at[i].value);
	if (req->streamed)
		out->body.len = sr_ring_take(&req->out, sr_buf_room(&out->body, req->out.len + 1), req->out.len);
	else
		sr_buf_bytes(&out->body, sr_buf_view(&req->body));
}

/* It arrives: false, nobody is there. */
static bool deliver(const struct message *m, struct reply *out)
{
	struct sr_server *s = m->to->server;
	struct sim_machine *from;
	struct sr_request *req;
	struct sr_err err = {0};

	if (!s || sim_is_down(m->to))
		return false;
	from = sim_visit(m->to);
	s->under_way++;
	req = take_in(s, m);
	if (admit(req, &err) != SR_OK)
		sr_reply_error(req, &err);
	else
		answer_now(req);
	take_reply(req, out);
	sr_request_unref(req);
	s->under_way--;
	sim_return(from);
	if (sim_is_down(m->to))
		out->status = 0; /* it stopped before that was on its way */
	return true;
}

static void *courier(void *arg)
{
	struct message *m = arg;
	struct reply reply = {0};
	bool there = deliver(m, &reply);

	sim_trace("late %s %s: %d", m->method, m->target, there ? reply.status : -1);
	sr_buf_free(&reply.head);
	sr_buf_free(&reply.body);
	message_free(m);
	free(m);
	return NULL;
}

static void send_late(const struct message *m)
{
	struct message *copy = sr_alloc(sizeof *copy);

	*copy = message_copy(m);
	sim_spawn(NULL, "courier", courier, copy, (int64_t)sim_below(sim_network.most_delay_s * (uint64_t)SIM_S + 1));
}

/* --- the client -------------------------------------------------------------------------------------------------------------- */

struct sr_client {
	struct sim_machine *machine;
	char *url, *bearer;
	unsigned total_ms;
	bool interrupted;
	struct sr_client_counts counts;
};

struct sr_stream {
	struct sr_client *client;
	struct reply reply;
	size_t at;
};

enum sr_status sr_client_new(struct sr_client **out, const struct sr_client_options *o, struct sr_err *err)
{
	struct sr_client *c = sr_alloc(sizeof *c);

	(void)err;
	c->machine = sim_here();
	c->url = sr_strdup(o->url);
	c->bearer = o->bearer ? sr_strdup(o->bearer) : NULL;
	c->total_ms = o->total_ms;
	*out = c;
	return SR_OK;
}

void sr_client_free(struct sr_client *c)
{
	if (!c)
		return;
	free(c->url);
	free(c->bearer);
	free(c);
}

const char *sr_client_url(const struct sr_client *c)
{
	return c->url;
}

bool sr_client_seen_pin(const struct sr_client *c, char out[SR_PIN_TEXT])
{
	(void)c, (void)out;
	return false;
}

void sr_client_set_pin(struct sr_client *c, const char *pin)
{
	(void)c, (void)pin;
}

void sr_client_set_bearer(struct sr_client *c, const char *bearer)
{
	free(c->bearer);
	c->bearer = bearer ? sr_strdup(bearer) : NULL;
}

bool sr_client_distrusts(const struct sr_client *c)
{
	(void)c;
	return false;
}

void sr_client_counts(const struct sr_client *c, struct sr_client_counts *out)
{
	*out = c->counts;
}

void sr_client_interrupt(struct sr_client *c)
{
	c->interrupted = true;
}

static enum sr_status compose(struct sr_client *c, const struct sr_call *call, struct message *out, struct sr_err *err)
{
	size_t n = 0, got = 1;
	enum sr_status rc = SR_OK;

	while (call->headers && call->headers[n])
		n++;
	*out = (struct message){.to = &sim_machines[0], .method = sr_strdup(call->method ? call->method : "GET"), .target = sr_strdup(call->target)};
	out->headers = sr_alloc((n + 2) * sizeof *out->headers);
	for (size_t i = 0; i < n; i++)
		out->headers[i] = sr_strdup(call->headers[i]);
	if (c->bearer)
		out->headers[n] = sr_format("Authorization: Bearer %s", c->bearer);
	sr_buf_bytes(&out->body, call->body);
	if (call->read)
		sim_wait_children(); /* whoever writes it */
	while (call->read && rc == SR_OK && got) {
		rc = call->read(call->read_ctx, sr_buf_room(&out->body, 16384), 16384, &got, err);
		out->body.len += rc == SR_OK ? got : 0;
	}
	out->arrives = out->body.len;
	return rc;
}

static enum sr_status no_answer(struct sr_client *c, const char *why, struct sr_err *err)
{
	sim_sleep(c->total_ms ? (int64_t)c->total_ms * SIM_MS : (int64_t)sim_below(TIMEOUT_S * (uint64_t)SIM_S));
	return sr_err_set(err, SR_E_UNAVAILABLE, "%s: %s", c->url, why);
}

static bool reaches(const struct sr_client *c)
{
	return !c->machine->cutoff && !sim_machines[0].cutoff && !sim_is_down(c->machine);
}

/* Over the network and back. */
static enum sr_status exchange(struct sr_client *c, struct message *m, struct reply *reply, struct sr_err *err)
{
	const struct sim_network *n = &sim_network;

	sim_point();
	if (!reaches(c) || !m->to->server)
		return sr_err_set(err, SR_E_UNAVAILABLE, "Connection refused: cannot connect to %s", c->url);
	if (sim_chance(n->lose))
		return no_answer(c, "it was lost", err);
	if (sim_chance(n->delay)) {
		send_late(m);
		return no_answer(c, "it is late", err);
	}
	if (sim_chance(n->repeat))
		send_late(m);
	if (m->body.len && sim_chance(n->cut))
		m->arrives = sim_below(m->body.len);
	if (!deliver(m, reply))
		return sr_err_set(err, SR_E_UNAVAILABLE, "Connection refused: cannot connect to %s", c->url);
	sim_point();
	if (m->arrives < m->body.len || !reply->status || !reaches(c) || sim_chance(n->lose_answer))
		return no_answer(c, "the answer was lost", err);
	if (reply->body.len && sim_chance(n->cut)) {
		reply->body.len = sim_below(reply->body.len);
		reply->whole = false;
	}
	return SR_OK;
}

static void fill_head(const struct reply *reply, struct sr_answer *answer)
{
	const char *at = sr_buf_text((struct sr_buf *)&reply->head);

	answer->status = reply->status;
	while (*at) {
		size_t n = strcspn(at, "\n");

		sr_answer_line(answer, at, n);
		at += n + 1;
	}
}

static bool is_well(int status)
{
	return (status >= 200 && status < 300) || status == 304;
}

static enum sr_status call_it(struct sr_client *c, const struct sr_call *call, struct sr_answer *answer, struct reply *reply, struct sr_err *err)
{
	struct message m = {0};
	enum sr_status rc = c->interrupted ? sr_err_set(err, SR_E_UNAVAILABLE, "%s: interrupted", c->url) : compose(c, call, &m, err);

	sr_answer_free(answer);
	c->counts.requests++;
	if (rc == SR_OK)
		rc = exchange(c, &m, reply, err);
	c->counts.sent += m.body.len;
	c->counts.received += reply->body.len;
	sim_trace("%s %s [%zu]: %d [%zu]", m.method ? m.method : "-", call->target, m.body.len, rc == SR_OK ? reply->status : 0, reply->body.len);
	if (sim_tracing && rc == SR_OK && reply->body.len && reply->body.at[0] == '{' && m.method[0] != 'G')
		printf("%*s: %.*s\n", 21, "answer", (int)(reply->body.len < 3000 ? reply->body.len : 3000), (const char *)reply->body.at);
	if (rc == SR_OK) {
		fill_head(reply, answer);
		if (!is_well(reply->status)) {
			sr_buf_bytes(&answer->body, sr_buf_view(&reply->body));
			rc = sr_answer_error(answer, c->url, call->target, err);
		}
	}
	if (m.headers)
		message_free(&m);
	return rc;
}

static void reply_free(struct reply *r)
{
	sr_buf_free(&r->head);
	sr_buf_free(&r->body);
}

static enum sr_status cut_short(const struct sr_client *c, struct sr_err *err)
{
	return sr_err_set(err, SR_E_UNAVAILABLE, "%s: the answer was cut short", c->url);
}

enum sr_status sr_client_call(struct sr_client *c, const struct sr_call *call, struct sr_answer *answer, struct sr_err *err)
{
	struct reply reply = {0};
	size_t most = call->max_answer ? call->max_answer : 16 << 20;
	enum sr_status rc = call_it(c, call, answer, &reply, err);

	if (rc == SR_OK && call->sink)
		rc = call->sink(call->sink_ctx, sr_buf_view(&reply.body), err);
	else if (rc == SR_OK && reply.body.len > most)
		rc = sr_err_set(err, SR_E_LIMIT, "%s: answer over %zu bytes", c->url, most);
	else if (rc == SR_OK)
		sr_buf_bytes(&answer->body, sr_buf_view(&reply.body));
	if (rc == SR_OK && !reply.whole)
		rc = cut_short(c, err);
	reply_free(&reply);
	return rc;
}

enum sr_status sr_client_open(struct sr_client *c, const struct sr_call *call, struct sr_answer *answer, struct sr_stream **out, struct sr_err *err)
{
	struct sr_stream *s = sr_alloc(sizeof *s);
	enum sr_status rc = call_it(c, call, answer, &s->reply, err);

	s->client = c;
	if (rc == SR_OK)
		*out = s;
	else
		sr_stream_close(s);
	return rc;
}

enum sr_status sr_stream_read(struct sr_stream *s, void *buf, size_t n, size_t *got, struct sr_err *err)
{
	size_t left = s->reply.body.len - s->at;

	sim_point();
	if (!left && !s->reply.whole)
		return cut_short(s->client, err);
	*got = n < left ? n : left;
	memcpy(buf, s->reply.body.at + s->at, *got);
	s->at += *got;
	return SR_OK;
}

void sr_stream_close(struct sr_stream *s)
{
	if (!s)
		return;
	reply_free(&s->reply);
	free(s);
}
