/* page.h - the status page of a node, for people with a browser: files in lib/node/page/, which are in the binary, and one JSON that its script
 * asks for every second or so.
 *
 *     GET /                                   the page
 *     GET /page.css, /page.js, /page.svg      what it is made of
 *     GET /api/page                           what it shows; sameroot-protocol(5), THE STATUS PAGE
 *
 * All of them are for whoever may log in (SR_ROUTE_LOGINS), have an ETag, and know nothing of where they are: every URL in them is a relative one.
 * Nothing is told here that other routes do not tell; however many look at it, it is put together twice a second at most.
 *
 * Thread-safe. */
#ifndef SR_NODE_PAGE_H
#define SR_NODE_PAGE_H

#include "http/server.h"

#define SR_PAGE_CHANGES   30 /* the newest, that are shown */
#define SR_PAGE_CONFLICTS 20

struct json_t;
struct sr_page; /* opaque */

/* What a daemon gives.  The functions are called one at a time, from any thread; what they give is OWNED BY THE PAGE. */
struct sr_page_parts {
	const char *name;                    /* of this node in the cluster; NULL: none */
	struct json_t *(*status)(void *ctx); /* as GET /api/admin/status answers; not NULL */
	/* As the entries of GET /api/log, the newest first, SR_PAGE_CHANGES of them at most; asked anew when the status has another epoch or seq.
	 * NULL: this node does not know what changed when. */
	enum sr_status (*changes)(void *ctx, struct json_t **out, struct sr_err *err);
	/* As GET /api/conflicts, with SR_PAGE_CONFLICTS entries of each node at most. */
	enum sr_status (*conflicts)(void *ctx, struct json_t **out, struct sr_err *err);
	const char *const *actions; /* what admins may do by this page, NULL at the end; NULL: nothing: "override" of this node,
	                             * "shutdown" of it; "webserver-override" and "webserver-shutdown" of another one (lib/node/relay.h) */
	void *ctx;
};

struct sr_page *sr_page_new(const struct sr_page_parts *parts); /* COPIES; what it points to must outlive the page */
void sr_page_free(struct sr_page *p);                           /* NULL is a no-op */

/* The routes, with ctx = the struct sr_page. */
const struct sr_route *sr_page_routes(size_t *n);

#endif
