/* request.c - the handlers' side of a request: reading, answering.  See request.h. */
#include "http/request.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/door.h"
#include "lib/base/log.h"
#include "lib/base/wait.h"

enum { LOOK_MS = 500 }; /* of silence, before we look whether the client is still there */

/* --- header fields ------------------------------------------------------------------------------------------------ */

void sr_fields_add(struct sr_fields *f, const char *name, const char *value)
{
	if (f->n == f->cap) {
		f->cap = f->cap ? 2 * f->cap : 8;
		f->at = sr_realloc(f->at, f->cap * sizeof(*f->at));
	}
	f->at[f->n++] = (struct sr_field){ .name = sr_strdup(name), .value = sr_strdup(value) };
}

const char *sr_fields_get(const struct sr_fields *f, const char *name)
{
	for (size_t i = 0; i < f->n; i++)
		if (!strcasecmp(f->at[i].name, name))
			return f->at[i].value;
	return NULL;
}

size_t sr_fields_count(const struct sr_fields *f, const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < f->n; i++)
		n += !strcasecmp(f->at[i].name, name);
	return n;
}

void sr_fields_free(struct sr_fields *f)
{
	for (size_t i = 0; i < f->n; i++) {
		free(f->at[i].name);
		free(f->at[i].value);
	}
	free(f->at);
	*f = (struct sr_fields){ 0 };
}

/* --- life --------------------------------------------------------------------------------------------------------- */

struct sr_request *sr_request_new(struct sr_server *server, const struct sr_limits *limits, const char *raw)
{
	struct sr_request *req = sr_alloc(sizeof(*req));

	req->server = server;
	req->limits = limits;
	req->refs = 1;
	req->raw = sr_strdup(raw ? raw : "");
	pthread_mutex_init(&req->lock, NULL);
	sr_cond_init(&req->changed);
	return req;
}

void sr_request_ref(struct sr_request *req)
{
	atomic_fetch_add(&req->refs, 1);
}

void sr_request_unref(struct sr_request *req)
{
	if (atomic_fetch_sub(&req->refs, 1) != 1)
		return;
	sr_target_free(&req->target);
	sr_fields_free(&req->headers);
	sr_fields_free(&req->extra);
	sr_buf_free(&req->body);
	sr_ring_free(&req->in);
	sr_ring_free(&req->out);
	free(req->args);
	free(req->method);
	free(req->raw);
	free(req->peer);
	free(req->user);
	free(req->type);
	pthread_cond_destroy(&req->changed);
	pthread_mutex_destroy(&req->lock);
	free(req);
}

/* --- what was asked ----------------------------------------------------------------------------------------------- */

const char *sr_request_method(const struct sr_request *req)
{
	return req->method;
}

const char *sr_request_target(const struct sr_request *req)
{
	return req->raw;
}

const char *sr_request_peer(const struct sr_request *req)
{
	return req->peer;
}

void sr_request_set_user(struct sr_request *req, const char *name)
{
	free(req->user);
	req->user = sr_strdup(name);
}

const char *sr_request_user(const struct sr_request *req)
{
	return req->user;
}

void sr_request_set_rights(struct sr_request *req, unsigned rights)
{
	req->rights = rights;
}

unsigned sr_request_rights(const struct sr_request *req)
{
	return req->rights;
}

bool sr_request_tls(const struct sr_request *req)
{
	return req->tls;
}

struct sr_server *sr_request_server(const struct sr_request *req)
{
	return req->server;
}

size_t sr_request_args(const struct sr_request *req)
{
	return req->args_n;
}

struct sr_bytes sr_request_arg(const struct sr_request *req, size_t i)
{
	assert(i < req->args_n);
	return req->args[i];
}

const char *sr_request_arg_text(const struct sr_request *req, size_t i)
{
	return (const char *)sr_request_arg(req, i).at;
}

bool sr_request_query(const struct sr_request *req, const char *name, struct sr_bytes *out)
{
	return sr_target_query(&req->target, name, out);
}

const char *sr_request_query_text(const struct sr_request *req, const char *name)
{
	struct sr_bytes value;

	return sr_target_query(&req->target, name, &value) ? (const char *)value.at : NULL;
}

const char *sr_request_header(const struct sr_request *req, const char *name)
{
	return sr_fields_get(&req->headers, name);
}

bool sr_request_header_all(const struct sr_request *req, const char *name, struct sr_buf *out)
{
	bool any = false;

	for (size_t i = 0; i < req->headers.n; i++) {
		if (strcasecmp(req->headers.at[i].name, name) != 0)
			continue;
		sr_buf_printf(out, "%s%s", any ? ", " : "", req->headers.at[i].value);
		any = true;
	}
	return any;
}

int64_t sr_request_length(const struct sr_request *req)
{
	return req->length;
}

bool sr_request_quick(const struct sr_request *req)
{
	return req->route && req->route->flags & SR_ROUTE_QUICK;
}

/* --- waiting for the client --------------------------------------------------------------------------------------- */

/* Wait for a change, but not for ever: only the time spent waiting counts, and what has moved earns more of it, but nothing earns a standstill of
 * more than still_ms: a worker is tied up meanwhile; nor of more than hurry_ms while others wait for one.  False: patience is at its end, and the connection with it. */
static bool wait_for_client(struct sr_request *req, struct sr_patience *p, uint64_t moved)
{
	const struct sr_limits *l = req->limits;
	int64_t left = l->stall_ms + (int64_t)(moved * 1000 / l->min_rate) - p->waited, before = sr_ticks_ms(), took;
	int64_t still_ms = sr_conn_hurries(req) && l->hurry_ms < l->still_ms ? l->hurry_ms : l->still_ms;
	struct timespec until;

	if (moved != p->moved)
		p->still = 0;
	p->moved = moved;
	if (left <= 0 || p->still >= still_ms) {
		sr_conn_cut(req);
		return false;
	}
	left = left < still_ms - p->still ? left : still_ms - p->still;
	left = left < LOOK_MS ? left : LOOK_MS;
	until = sr_after_ms(left);
	if (pthread_cond_timedwait(&req->changed, &req->lock, &until) && p == &req->patience_in)
		sr_conn_look(req); /* one who only reads may have closed his side */
	took = sr_ticks_ms() - before;
	p->waited += took;
	p->still += took;
	return true;
}

static bool gone(const struct sr_request *req)
{
	return !req->mhd || req->cut;
}

/* --- the body ----------------------------------------------------------------------------------------------------- */

static enum sr_status read_locked(struct sr_request *req, void *buf, size_t n, size_t *got, struct sr_err *err)
{
	if (req->ready)
		return sr_err_set(err, SR_E_INTERNAL, "request body read after the answer");
	if (!req->wanted && req->length) {
		req->wanted = true;
		sr_conn_resume(req);
	}
	while (!req->in.len && !req->body_end && !req->body_over && !gone(req))
		if (!wait_for_client(req, &req->patience_in, req->received))
			return sr_err_set(err, SR_E_UNAVAILABLE, "%s sends too slowly", req->peer);
	if (req->body_over)
		return sr_err_set(err, SR_E_LIMIT, "request body over %llu bytes", (unsigned long long)req->route->max_body);
	if (!req->body_end && gone(req))
		return sr_err_set(err, SR_E_UNAVAILABLE, "%s went away in the middle of its request", req->peer);
	*got = sr_ring_take(&req->in, buf, n);
	if (req->in.len <= req->in.cap / 2 && !req->body_end)
		sr_conn_resume(req);
	return SR_OK;
}

enum sr_status sr_request_read(struct sr_request *req, void *buf, size_t n, size_t *got, struct sr_err *err)
{
	enum sr_status status;

	if (sr_request_quick(req))
		return sr_err_set(err, SR_E_INTERNAL, "a quick handler reads a body");
	pthread_mutex_lock(&req->lock);
	status = read_locked(req, buf, n, got, err);
	pthread_mutex_unlock(&req->lock);
	return status;
}

enum sr_status sr_request_read_all(struct sr_request *req, struct sr_buf *out, size_t max, struct sr_err *err)
{
	size_t start = out->len;

	for (;;) {
		size_t got;
		enum sr_status status = sr_request_read(req, sr_buf_room(out, 16384), 16384, &got, err);

		if (status || !got)
			return status;
		out->len += got;
		if (out->len - start > max)
			return sr_err_set(err, SR_E_LIMIT, "request body over %zu bytes", max);
	}
}

/* --- parking ------------------------------------------------------------------------------------------------------ */

void sr_request_park(struct sr_request *req, unsigned ms)
{
	assert(sr_request_quick(req) && !req->ready);
	req->parking = true;
	if (!req->parked_before)
		req->park_until = sr_ticks_ms() + ms;
	req->parked_before = true;
}

bool sr_request_expired(const struct sr_request *req)
{
	return req->parked_before && sr_ticks_ms() >= req->park_until;
}

void sr_request_keep(struct sr_request *req, uint64_t n)
{
	req->kept = n;
}

uint64_t sr_request_kept(const struct sr_request *req)
{
	return req->kept;
}

/* --- the answer --------------------------------------------------------------------------------------------------- */

void sr_reply_header(struct sr_request *req, const char *name, const char *value)
{
	for (const char *c = value; *c; c++)
		assert(((unsigned char)*c >= 0x20 || *c == '\t') && *c != 0x7f);
	sr_fields_add(&req->extra, name, value);
}

/* The answer is there: what is left of the body is nobody's now. */
static void commit(struct sr_request *req, int status, const char *type)
{
	assert(!req->ready);
	req->status = status;
	req->type = type ? sr_strdup(type) : NULL;
	req->ready = true;
	if (req->behind_head && !req->body_end) {
		req->discard = true;
		req->dropped = req->in.len;
		sr_conn_deadline(req, req->limits->stall_ms);
	}
	sr_conn_resume(req);
}

void sr_reply_bytes(struct sr_request *req, int status, const char *type, struct sr_bytes body)
{
	pthread_mutex_lock(&req->lock);
	sr_buf_clear(&req->body);
	sr_buf_bytes(&req->body, body);
	commit(req, status, type);
	pthread_mutex_unlock(&req->lock);
}

void sr_reply_text(struct sr_request *req, int status, const char *text)
{
	sr_reply_bytes(req, status, "text/plain; charset=utf-8", sr_bytes_of(text));
}

void sr_reply_error_as(struct sr_request *req, int status, enum sr_status code, const char *detail)
{
	char *printable = sr_strdup(detail), *text = NULL;
	json_t *json;

	for (char *at = printable; !sr_utf8_valid(sr_bytes_of(printable)) && *at; at++)
		if ((unsigned char)*at >= 0x80)
			*at = '?';
	json = json_pack("{s:s, s:s}", "error", sr_status_name(code), "detail", printable);
	text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	if (status == 401 && !sr_fields_get(&req->extra, "WWW-Authenticate"))
		sr_reply_header(req, "WWW-Authenticate", req->limits->challenge);
	sr_reply_bytes(req, status, "application/json", sr_bytes_of(text ? text : "{}"));
	free(text);
	json_decref(json);
	free(printable);
}

void sr_reply_error(struct sr_request *req, const struct sr_err *err)
{
	sr_reply_error_as(req, sr_status_http(err->code), err->code, err->text);
}

void sr_reply_start(struct sr_request *req, int status, const char *type, int64_t length)
{
	assert(!sr_request_quick(req));
	pthread_mutex_lock(&req->lock);
	req->streamed = true;
	req->answer_length = length;
	if (!req->head_only)
		sr_ring_init(&req->out, req->limits->ring);
	commit(req, status, type);
	pthread_mutex_unlock(&req->lock);
}

static enum sr_status write_locked(struct sr_request *req, const uint8_t *at, size_t n, struct sr_err *err)
{
	assert(req->streamed && !req->ended);
	if (req->answer_length >= 0 && n > (uint64_t)req->answer_length - req->written)
		return sr_err_set(err, SR_E_INTERNAL, "answer longer than announced");
	while (n) {
		size_t part = gone(req) ? 0 : sr_ring_put(&req->out, at, n);

		if (gone(req))
			return sr_err_set(err, SR_E_UNAVAILABLE, "%s went away in the middle of the answer", req->peer);
		if (part)
			sr_conn_resume(req);
		else if (!wait_for_client(req, &req->patience_out, req->written))
			return sr_err_set(err, SR_E_UNAVAILABLE, "%s reads too slowly", req->peer);
		req->written += part;
		at += part;
		n -= part;
	}
	return SR_OK;
}

enum sr_status sr_reply_write(struct sr_request *req, const void *buf, size_t n, struct sr_err *err)
{
	enum sr_status status;

	if (req->head_only)
		return SR_OK;
	pthread_mutex_lock(&req->lock);
	status = write_locked(req, buf, n, err);
	pthread_mutex_unlock(&req->lock);
	return status;
}

void sr_reply_end(struct sr_request *req)
{
	pthread_mutex_lock(&req->lock);
	req->ended = true;
	if (!req->head_only && req->answer_length >= 0 && req->written < (uint64_t)req->answer_length)
		sr_conn_cut(req);
	else if (req->queued) /* else the body is still being waited for, under a deadline of its own */
		sr_conn_deadline(req, req->limits->stall_ms + (int64_t)(req->out.len * 1000 / req->limits->min_rate));
	sr_conn_resume(req);
	pthread_mutex_unlock(&req->lock);
}

void sr_reply_abort(struct sr_request *req)
{
	pthread_mutex_lock(&req->lock);
	req->ended = true;
	sr_conn_cut(req);
	pthread_mutex_unlock(&req->lock);
}

enum sr_status sr_reply_file(struct sr_request *req, int status, const char *type, int fd, uint64_t offset, uint64_t length,
                             struct sr_err *err)
{
	enum { PART = 65536 };
	uint8_t *buf = sr_alloc(PART);
	enum sr_status result = SR_OK;

	sr_reply_start(req, status, type, (int64_t)length);
	while (length && !req->head_only && !result) {
		ssize_t got = pread(fd, buf, length < PART ? length : PART, (off_t)offset);

		if (got < 0)
			result = sr_err_sys(err, SR_E_IO, "read");
		else if (!got)
			result = sr_err_set(err, SR_E_CHANGED, "file became shorter while it was sent");
		else
			result = sr_reply_write(req, buf, (size_t)got, err);
		if (result)
			break;
		offset += (uint64_t)got;
		length -= (uint64_t)got;
	}
	if (result)
		sr_reply_abort(req);
	else
		sr_reply_end(req);
	free(buf);
	return result;
}

/* --- running the handler ------------------------------------------------------------------------------------------ */

static enum sr_status verify(struct sr_request *req, struct sr_err *err)
{
	const struct sr_limits *l = req->limits;

	return l->verify && !(req->route->flags & (SR_ROUTE_OPEN | SR_ROUTE_QUICK)) ? l->verify(l->verify_ctx, req, req->route, err) : SR_OK;
}

void sr_request_run(struct sr_request *req)
{
	struct sr_err err = { 0 };
	enum sr_status status;

	req->parking = false;
	if (req->parked_before)
		sr_fields_free(&req->extra); /* of the run that ended in parking */
	status = verify(req, &err);
	if (!status)
		status = req->route->handler(req->route_ctx, req, &err);
	if (!status && !req->ready && !req->parking)
		status = sr_err_set(&err, SR_E_INTERNAL, "the handler of %s gave no answer", req->route->path);
	if (status && !err.code)
		sr_err_set(&err, status, "%s", sr_status_name(status));
	if (status && !req->ready) {
		req->parking = false;
		sr_reply_error(req, &err);
	} else if (req->streamed && !req->ended) {
		sr_reply_abort(req);
	}
	if (status == SR_E_INTERNAL || status == SR_E_IO)
		sr_warn("%s %s: %s", req->method, req->route->path, err.text);
}
