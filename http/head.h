/* head.h - what a request's head must be before anything looks at it.  Private to http/; pure. */
#ifndef SR_HTTP_HEAD_H
#define SR_HTTP_HEAD_H

#include "http/request.h"

#define SR_HEADERS_MAX 100

/* Check version and headers, and set req->length, expects and target.  Not SR_OK: the connection must not be used any further, because
 * another parser may see another request in the same bytes. */
SR_MUST enum sr_status sr_head_check(struct sr_request *req, const char *version, struct sr_err *err);

/* Find the route and fill req->route, args.  SR_E_NOTFOUND; SR_E_USAGE: another method, *allow gets the list of those there are (OWNED BY CALLER). */
SR_MUST enum sr_status sr_head_route(struct sr_request *req, const struct sr_routes *tables, size_t n, char **allow, struct sr_err *err);

#endif
