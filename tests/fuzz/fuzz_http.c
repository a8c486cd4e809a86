/* fuzz_http.c - a request's head, as libmicrohttpd hands it to us: method, target, version, a field a line.  It is refused in words, or there is one reading of
 * it: its length, its path and query, its route, who sent it, what part it wants. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/head.h"
#include "http/range.h"
#include "lib/datastore/internal.h"
#include "lib/replica/forwarded.h"
#include "lib/users/login.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* Up to `end`, which is cut off the front of *rest with it; all if it is not there. */
static char *cut(char **rest, const char *end)
{
	char *at = *rest, *found = strstr(at, end);

	*rest = found ? found + strlen(end) : at + strlen(at);
	if (found)
		*found = 0;
	return at;
}

static void take_fields(struct sr_request *req, char *rest)
{
	while (*rest) {
		char *line = cut(&rest, "\n");
		char *name = cut(&line, ":");

		sr_fields_add(&req->headers, name, line + strspn(line, " \t"));
	}
}

static void check_piece(struct sr_bytes b)
{
	must(!b.len || !memchr(b.at, 0, b.len));
	must(b.at[b.len] == 0);
}

static void check_path(struct sr_bytes segment)
{
	const char *at = (const char *)segment.at;

	check_piece(segment);
	must(strcmp(at, "..") && strcmp(at, ".") && strncmp(at, "../", 3) && !strstr(at, "/../"));
	must(segment.len < 3 || strcmp(at + segment.len - 3, "/.."));
}

static void check_target(const struct sr_request *req)
{
	const struct sr_target *t = &req->target;

	for (size_t i = 0; i < t->n; i++)
		check_path(t->segments[i]);
	for (size_t i = 0; i < t->params_n; i++) {
		struct sr_bytes value;

		check_piece(t->params[i].name);
		check_piece(t->params[i].value);
		must(sr_target_query(t, (const char *)t->params[i].name.at, &value));
	}
}

static void check_route(struct sr_request *req)
{
	struct sr_routes tables[4] = {{0}};
	struct sr_err err = {0};
	char *allow = NULL;
	enum sr_status rc;

	tables[0].at = sr_ds_routes(&tables[0].n);
	tables[1].at = sr_serve_routes(&tables[1].n);
	tables[2].at = sr_conflict_routes(&tables[2].n);
	tables[3].at = sr_results_routes(&tables[3].n);
	rc = sr_head_route(req, tables, 4, &allow, &err);
	must(rc == SR_OK || rc == SR_E_NOTFOUND || rc == SR_E_USAGE);
	must((rc == SR_OK) == (req->route != NULL) && (rc == SR_E_USAGE) == (allow != NULL) && (rc == SR_OK || err.text[0]));
	for (size_t i = 0; i < sr_request_args(req); i++)
		check_path(sr_request_arg(req, i));
	free(allow);
}

static void check_sender(const struct sr_request *req)
{
	char *trusted[] = {(char *)"10.0.0.0/8", (char *)"::1"};
	struct sr_proxies proxies;
	struct sr_origin origin;
	struct sr_err err = {0};

	sr_proxies_open(&proxies, &(struct sr_config_list){.at = trusted, .count = 2});
	sr_origin_of(&proxies, req, &origin);
	must(memchr(origin.peer, 0, sizeof origin.peer) && origin.peer[0]);
	must(!origin.here || !strcmp(origin.peer, "::1") || !strncmp(origin.peer, "127.", 4)); /* nobody says so from elsewhere */
	must(sr_same_origin(&proxies, req, &err) == SR_OK || err.text[0]);
	sr_proxies_close(&proxies);
}

static void check_headers(const struct sr_request *req)
{
	const char *range = sr_request_header(req, "Range"), *speaks = sr_request_header(req, SR_HEADER_PROTOCOL);
	const char *login = sr_request_header(req, "Authorization"), *check_in = sr_request_header(req, SR_HEADER_CHECK_IN);
	char *name = NULL, *password = NULL, text[SR_PROTOCOL_TEXT];
	uint64_t from, length;
	struct sr_check_in c;
	struct sr_err err = {0};

	if (sr_range_parse(range, 1000, &from, &length))
		must(length && from < 1000 && length <= 1000 - from);
	if (login && sr_login_credentials(login, &name, &password, &err) == SR_OK)
		must(name && password && !strchr(name, ':'));
	sr_login_credentials_free(name, password);
	if (check_in)
		must(sr_check_in_parse(check_in, &c, &err) == SR_OK || err.text[0]);
	if (speaks) {
		sr_protocol_text(text, speaks);
		must(memchr(text, 0, sizeof text) && sr_utf8_valid(sr_bytes_of(text)));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct sr_limits limits = {.max_header = 16384};
	char *text = sr_text(sr_bytes(data, size)), *rest = text;
	char *line = cut(&rest, "\n"), *method = cut(&line, " "), *target = cut(&line, " ");
	struct sr_request *req = sr_request_new(NULL, &limits, target);
	struct sr_err err = {0};
	enum sr_status rc;

	req->method = sr_strdup(method);
	req->peer = sr_strdup(size % 2 ? "10.1.2.3" : "192.0.2.9");
	take_fields(req, rest);
	rc = sr_head_check(req, line, &err);
	must(rc == SR_OK || rc == SR_E_DATA || rc == SR_E_LIMIT);
	must(rc == SR_OK || err.text[0]);
	if (rc == SR_OK) {
		must(req->length >= -1);
		check_target(req);
		check_route(req);
		check_sender(req);
		check_headers(req);
	}
	sr_request_unref(req);
	free(text);
	return 0;
}
