/* head.c - see head.h. */
#include "http/head.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool is_token(const char *s)
{
	size_t n = strlen(s);

	return n && strspn(s, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == n;
}

static bool is_value(const char *s)
{
	for (; *s; s++)
		if (((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7f)
			return false;
	return true;
}

static enum sr_status check_fields(const struct sr_request *req, struct sr_err *err)
{
	size_t bytes = strlen(req->method) + strlen(req->raw);

	if (!is_token(req->method))
		return sr_err_set(err, SR_E_DATA, "malformed method");
	if (req->headers.n > SR_HEADERS_MAX)
		return sr_err_set(err, SR_E_LIMIT, "more than %d headers", SR_HEADERS_MAX);
	for (size_t i = 0; i < req->headers.n; i++) {
		const struct sr_field *f = &req->headers.at[i];

		if (!is_token(f->name) || !is_value(f->value))
			return sr_err_set(err, SR_E_DATA, "malformed header");
		bytes += strlen(f->name) + strlen(f->value) + 4;
	}
	if (bytes > req->limits->max_header)
		return sr_err_set(err, SR_E_LIMIT, "request head over %zu bytes", req->limits->max_header);
	return SR_OK;
}

/* One and only one reading of where the body ends. */
static enum sr_status check_framing(struct sr_request *req, bool old, struct sr_err *err)
{
	const char *length = sr_fields_get(&req->headers, "Content-Length"), *coding = sr_fields_get(&req->headers, "Transfer-Encoding");
	const char *expect = sr_fields_get(&req->headers, "Expect");

	if (sr_fields_count(&req->headers, "Content-Length") + sr_fields_count(&req->headers, "Transfer-Encoding") > 1)
		return sr_err_set(err, SR_E_DATA, "the request's length is stated twice");
	if (coding && (old || strcasecmp(coding, "chunked")))
		return sr_err_set(err, SR_E_DATA, "unknown transfer encoding");
	if (length && (!*length || strlen(length) > 18 || strspn(length, "0123456789") != strlen(length)))
		return sr_err_set(err, SR_E_DATA, "malformed Content-Length");
	if (expect && strcasecmp(expect, "100-continue"))
		return sr_err_set(err, SR_E_DATA, "unknown expectation");
	req->length = coding ? -1 : length ? strtoll(length, NULL, 10) : 0;
	req->expects = expect && !old;
	return SR_OK;
}

enum sr_status sr_head_check(struct sr_request *req, const char *version, struct sr_err *err)
{
	bool old = !strcmp(version, "HTTP/1.0");
	size_t hosts = sr_fields_count(&req->headers, "Host");
	enum sr_status status;

	if (!old && strcmp(version, "HTTP/1.1"))
		return sr_err_set(err, SR_E_DATA, "not HTTP/1.1");
	status = check_fields(req, err);
	if (!status)
		status = check_framing(req, old, err);
	if (!status && (hosts > 1 || (!hosts && !old)))
		status = sr_err_set(err, SR_E_DATA, "%s Host header", hosts ? "more than one" : "no");
	if (!status)
		status = sr_target_parse(&req->target, req->raw, err);
	return status;
}

enum sr_status sr_head_route(struct sr_request *req, const struct sr_routes *tables, size_t n, char **allow, struct sr_err *err)
{
	struct sr_buf methods = { 0 };

	req->args = sr_alloc((req->target.n + 1) * sizeof(*req->args));
	for (size_t t = 0; t < n; t++) {
		for (size_t i = 0; i < tables[t].n; i++) {
			const struct sr_route *route = &tables[t].at[i];

			if (!sr_target_match(&req->target, route->path, req->args, &req->args_n))
				continue;
			if (sr_method_match(route->methods, req->method)) {
				req->route = route;
				req->route_ctx = tables[t].ctx;
				sr_buf_free(&methods);
				return SR_OK;
			}
			sr_buf_printf(&methods, "%s%s", methods.len ? "|" : "", route->methods);
			if (sr_method_match(route->methods, "GET"))
				sr_buf_printf(&methods, "|HEAD");
		}
	}
	req->args_n = 0;
	if (!methods.len)
		return sr_err_set(err, SR_E_NOTFOUND, "no such path");
	*allow = sr_text(sr_buf_view(&methods));
	sr_buf_free(&methods);
	for (char *c = *allow; (c = strchr(c, '|'));)
		*c = ',';
	return sr_err_set(err, SR_E_USAGE, "the methods here are %s", *allow);
}
