/* page.c - see page.h. */
#include "lib/node/page.h"

#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/door.h"
#include "lib/base/log.h"
#include "lib/base/sha256.h"
#include "lib/node/page_files.h"
#include "lib/replica/admit.h"
#include "lib/replica/waiting.h"

#define FRESH_MS     500  /* for so long what was put together is good enough */
#define CONFLICTS_MS 5000 /* so long for what lies in the archives */
#define TAG_TEXT     20   /* 16 digits, quotes and a NUL */

struct sr_page {
	struct sr_page_parts parts;
	char host[256];
	char tags[SR_PAGE_FILES][TAG_TEXT];

	pthread_mutex_t lock; /* of all below, and of the parts' functions */
	char *view;           /* JSON, an object; NULL: none yet */
	int64_t view_ticks;
	json_t *changes; /* of epoch and seq, NULL: none yet */
	json_int_t epoch, seq;
	json_t *conflicts;
	int64_t conflicts_ticks;
};

static void make_tag(char tag[TAG_TEXT], struct sr_bytes of)
{
	struct sr_sha256 *h = sr_sha256_new();
	uint8_t digest[SR_SHA256_LEN];
	char text[SR_SHA256_TEXT];

	sr_sha256_add(h, of.at, of.len);
	sr_sha256_end(h, digest);
	sr_sha256_free(h);
	sr_sha256_text(text, digest);
	snprintf(tag, TAG_TEXT, "\"%.16s\"", text);
}

struct sr_page *sr_page_new(const struct sr_page_parts *parts)
{
	struct sr_page *p = sr_alloc(sizeof *p);

	p->parts = *parts;
	pthread_mutex_init(&p->lock, NULL);
	if (gethostname(p->host, sizeof p->host - 1) != 0)
		p->host[0] = '\0';
	for (size_t i = 0; i < SR_PAGE_FILES; i++)
		make_tag(p->tags[i], sr_page_file(i));
	return p;
}

void sr_page_free(struct sr_page *p)
{
	if (!p)
		return;
	free(p->view);
	json_decref(p->changes);
	json_decref(p->conflicts);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

/* --- what it shows --------------------------------------------------------------------------------------------------------- */

static json_int_t number(const json_t *o, const char *name)
{
	return json_integer_value(json_object_get(o, name));
}

/* What cannot be had is null, as before, or as it was; it is asked for again with the next look. */
static void look_at_changes(struct sr_page *p, const json_t *status)
{
	json_t *fresh = NULL;
	struct sr_err err;

	if (!p->parts.changes || (p->changes && number(status, "epoch") == p->epoch && number(status, "seq") == p->seq))
		return;
	if (p->parts.changes(p->parts.ctx, &fresh, &err) != SR_OK) {
		sr_debug("status page: changes: %s", err.text);
		return;
	}
	json_decref(p->changes);
	p->changes = fresh;
	p->epoch = number(status, "epoch");
	p->seq = number(status, "seq");
}

static void look_at_conflicts(struct sr_page *p)
{
	json_t *fresh = NULL;
	struct sr_err err;

	if (p->conflicts && sr_ticks_ms() - p->conflicts_ticks < CONFLICTS_MS)
		return;
	if (p->parts.conflicts(p->parts.ctx, &fresh, &err) != SR_OK) {
		sr_debug("status page: conflicts: %s", err.text);
		return;
	}
	json_decref(p->conflicts);
	p->conflicts = fresh;
	p->conflicts_ticks = sr_ticks_ms();
}

static json_t *or_null(json_t *o)
{
	return o ? json_incref(o) : json_null();
}

/* With the lock held. */
static void look(struct sr_page *p)
{
	json_t *o = json_object(), *status = p->parts.status(p->parts.ctx), *host = json_string(p->host),
	       *name = p->parts.name ? json_string(p->parts.name) : NULL;

	look_at_changes(p, status);
	look_at_conflicts(p);
	json_object_set_new(o, "host", host ? host : json_null());
	json_object_set_new(o, "name", name ? name : json_null());
	json_object_set_new(o, "waiting", sr_waiting_list(status));
	json_object_set_new(o, "status", status);
	json_object_set_new(o, "changes", or_null(p->changes));
	json_object_set_new(o, "conflicts", or_null(p->conflicts));
	free(p->view);
	p->view = json_dumps(o, JSON_COMPACT);
	p->view_ticks = sr_ticks_ms();
	json_decref(o);
}

/* OWNED BY CALLER (free). */
static char *view(struct sr_page *p)
{
	char *copy;

	pthread_mutex_lock(&p->lock);
	if (!p->view || sr_ticks_ms() - p->view_ticks >= FRESH_MS)
		look(p);
	copy = sr_strdup(p->view ? p->view : "{}");
	pthread_mutex_unlock(&p->lock);
	return copy;
}

/* Who looks, and what he may do. */
static char *user_json(const struct sr_page *p, const struct sr_request *req)
{
	const char *name = sr_request_user(req);
	bool admin = sr_admit_is_admin(req);
	json_t *o = json_object(), *actions = json_array(), *text = name ? json_string(name) : NULL;
	char *out;

	for (size_t i = 0; admin && p->parts.actions && p->parts.actions[i]; i++)
		json_array_append_new(actions, json_string(p->parts.actions[i]));
	json_object_set_new(o, "name", text ? text : json_null());
	json_object_set_new(o, "admin", json_boolean(admin));
	json_object_set_new(o, "actions", actions);
	out = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return out;
}

/* --- answering ------------------------------------------------------------------------------------------------------------- */

/* Does If-None-Match name it?  A proxy that compresses makes a weak one of it, W/"...". */
static bool is_known(const struct sr_request *req, const char *tag)
{
	const char *known = sr_request_header(req, "If-None-Match");

	return known && strstr(known, tag);
}

static void reply(struct sr_request *req, const char *type, const char *keep, const char *tag, struct sr_bytes body)
{
	static const char *const headers[][2] = {
		{"Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
					    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
		{"X-Content-Type-Options", "nosniff"},
		{"X-Frame-Options", "DENY"},
		{"Referrer-Policy", "no-referrer"},
		{"Cross-Origin-Resource-Policy", "same-origin"},
	};

	for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
		sr_reply_header(req, headers[i][0], headers[i][1]);
	sr_reply_header(req, "Cache-Control", keep);
	sr_reply_header(req, "ETag", tag);
	if (is_known(req, tag))
		sr_reply_bytes(req, 304, NULL, sr_bytes(NULL, 0));
	else
		sr_reply_bytes(req, 200, type, body);
}

static enum sr_status get_file(struct sr_page *p, struct sr_request *req, enum sr_page_file file, const char *type)
{
	reply(req, type, "private, no-cache", p->tags[file], sr_page_file(file));
	return SR_OK;
}

static enum sr_status get_html(void *ctx, struct sr_request *req, struct sr_err *err)
{
	(void)err;
	return get_file(ctx, req, SR_PAGE_HTML, "text/html; charset=utf-8");
}

static enum sr_status get_css(void *ctx, struct sr_request *req, struct sr_err *err)
{
	(void)err;
	return get_file(ctx, req, SR_PAGE_CSS, "text/css; charset=utf-8");
}

static enum sr_status get_js(void *ctx, struct sr_request *req, struct sr_err *err)
{
	(void)err;
	return get_file(ctx, req, SR_PAGE_JS, "text/javascript; charset=utf-8");
}

static enum sr_status get_svg(void *ctx, struct sr_request *req, struct sr_err *err)
{
	(void)err;
	return get_file(ctx, req, SR_PAGE_SVG, "image/svg+xml");
}

static enum sr_status get_view(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_page *p = ctx;
	char *shown = view(p), *user = user_json(p, req), *all, tag[TAG_TEXT];

	(void)err;
	all = sr_format("{\"user\":%s,\"view\":%s}", user, shown);
	make_tag(tag, sr_bytes_of(all));
	reply(req, "application/json", "private, no-store", tag, sr_bytes_of(all));
	free(all);
	free(user);
	free(shown);
	return SR_OK;
}

const struct sr_route *sr_page_routes(size_t *n)
{
	static const struct sr_route routes[] = {
		{"GET", "/", get_html, SR_ROUTE_LOGINS, 0},         {"GET", "/page.css", get_css, SR_ROUTE_LOGINS, 0},
		{"GET", "/page.js", get_js, SR_ROUTE_LOGINS, 0},    {"GET", "/page.svg", get_svg, SR_ROUTE_LOGINS, 0},
		{"GET", "/api/page", get_view, SR_ROUTE_LOGINS, 0},
	};

	*n = sizeof routes / sizeof *routes;
	return routes;
}
