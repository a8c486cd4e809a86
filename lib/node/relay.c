/* relay.c - see relay.h. */
#include "lib/node/relay.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/base/bytes.h"
#include "lib/base/network.h"
#include "lib/replica/admit.h"

#define FRESH_MS      2000 /* so old may be what is known of the others */
#define CONNECT_MS    3000
#define UUID_BEGINS   4 /* the beginning of a UUID that counts */
#define MOST_NAMES    20
#define MOST_ANSWER   65536
#define BAD_GATEWAY   502
#define UNAUTHORIZED  401

/* --- whom ------------------------------------------------------------------------------------------------------------------ */

/* By the beginning of its UUID, or the host of its External-Addr, which several webservers may share. */
static bool is_called(const struct sr_peer *peer, const char *text)
{
	size_t len = strlen(text);

	return (len >= UUID_BEGINS && !strncasecmp(peer->uuid, text, len)) || (peer->host && !strcasecmp(peer->host, text));
}

/* NULL: none, or several: *many. */
static const struct sr_peer *find_loosely(const struct sr_peer_list *list, const char *text, bool *many)
{
	const struct sr_peer *found = NULL;

	*many = false;
	for (size_t i = 0; i < list->n; i++) {
		if (!is_called(&list->at[i], text))
			continue;
		*many = found != NULL;
		if (*many)
			return NULL;
		found = &list->at[i];
	}
	return found;
}

static void name_called(struct sr_buf *out, const struct sr_peer_list *list, const char *text)
{
	for (size_t i = 0; i < list->n; i++)
		if (is_called(&list->at[i], text))
			sr_buf_printf(out, "%s%s (%s)", out->len ? ", " : "", list->at[i].name, list->at[i].uuid);
}

static void name_all(struct sr_buf *out, const struct sr_peer_list *list)
{
	for (size_t i = 0; i < list->n && i < MOST_NAMES; i++)
		sr_buf_printf(out, "%s%s", i ? ", " : "", list->at[i].name);
	if (list->n > MOST_NAMES)
		sr_buf_printf(out, " and %zu more", list->n - MOST_NAMES);
	if (!list->n)
		sr_buf_printf(out, "none");
}

static enum sr_status unknown(const struct sr_peer_list *list, const char *text, bool many, const struct sr_err *why, struct sr_err *err)
{
	struct sr_buf names = {0};

	if (many)
		name_called(&names, list, text);
	else
		name_all(&names, list);
	if (many)
		sr_err_set(err, SR_E_NOTFOUND, "%.60s is several webservers, say which: %.400s", text, sr_buf_text(&names));
	else
		sr_err_set(err, SR_E_NOTFOUND, "no webserver is called %.60s; known are: %.400s", text, sr_buf_text(&names));
	if (why->code != SR_OK && !many)
		sr_err_set(err, SR_E_NOTFOUND, "no webserver is called %.60s; the datastore cannot be asked (%.200s), known from before are: %.300s", text, why->text,
			   sr_buf_text(&names));
	sr_buf_free(&names);
	return SR_E_NOTFOUND;
}

static const struct sr_peer *find(const struct sr_peer_list *list, const char *text, bool *many)
{
	const struct sr_peer *found = sr_peer_find(list, text);

	return found ? found : find_loosely(list, text, many);
}

enum sr_status sr_relay_find(struct sr_peers *peers, const char *text, struct sr_peer_list **list, const struct sr_peer **out, struct sr_err *err)
{
	struct sr_err why;
	bool many = false;

	*list = sr_peers_take(peers, FRESH_MS, &why);
	*out = find(*list, text, &many);
	if (!*out) {
		sr_peer_list_free(*list);
		*list = sr_peers_take(peers, 0, &why);
		*out = find(*list, text, &many);
	}
	return *out ? SR_OK : unknown(*list, text, many, &why, err);
}

/* --- with what ------------------------------------------------------------------------------------------------------------- */

/* "name:password" of who asks.  OWNED BY CALLER (forget). */
static enum sr_status login_of(const struct sr_request *req, const struct sr_peer *peer, char **out, struct sr_err *err)
{
	const char *header = sr_request_header(req, "Authorization");
	char *name, *password;
	enum sr_status rc;

	if (!header || strncasecmp(header, "Basic ", 6) != 0)
		return sr_err_set(err, SR_E_FORBIDDEN, "%s is another node, where the admin token of this one counts for nothing: it needs an admin's login (--user NAME)",
				  peer->name);
	if (!peer->pin && peer->host && !sr_network_is_here(peer->host))
		return sr_err_set(err, SR_E_FORBIDDEN,
				  "%s serves plain HTTP (Insecure-Disable-HTTPS), and no password is sent over the network unencrypted: do it on that machine",
				  peer->name);
	rc = sr_login_credentials(header, &name, &password, err);
	if (rc != SR_OK)
		return rc;
	*out = sr_format("%s:%s", name, password);
	sr_login_credentials_free(name, password);
	return SR_OK;
}

static void forget(char *login)
{
	if (login)
		explicit_bzero(login, strlen(login));
	free(login);
}

/* --- the answer ------------------------------------------------------------------------------------------------------------ */

/* CONSUMES detail. */
static enum sr_status reply_error(struct sr_request *req, int status, enum sr_status code, char *detail)
{
	sr_reply_error_as(req, status, code, detail);
	free(detail);
	return SR_OK;
}

/* It did not say 2xx.  err: what the call came to; its text begins with the peer's URL or what it said. */
static enum sr_status reply_refusal(struct sr_request *req, const struct sr_peer *peer, const struct sr_answer *answer, enum sr_status rc,
				    const struct sr_err *err)
{
	const char *again = sr_answer_header(answer, "Retry-After");

	if (!answer->status && rc == SR_E_AUTH)
		return reply_error(req, BAD_GATEWAY, SR_E_UNAVAILABLE, sr_format("who answers there is not %s: %s", peer->name, err->text));
	if (!answer->status)
		return reply_error(req, BAD_GATEWAY, SR_E_UNAVAILABLE, sr_format("%s does not answer: %s", peer->name, err->text));
	if (answer->status == UNAUTHORIZED)
		return reply_error(req, sr_status_http(SR_E_FORBIDDEN), SR_E_FORBIDDEN,
				   sr_format("%s does not take this login: its own users.db has no such user with this password; what was changed elsewhere "
					     "a moment ago is there with its next round",
					     peer->name));
	if (again)
		sr_reply_header(req, "Retry-After", again);
	return reply_error(req, answer->status, rc, sr_format("%s: %s", peer->name, err->text));
}

static void reply_same(struct sr_request *req, const struct sr_answer *answer)
{
	const char *type = sr_answer_header(answer, "Content-Type");

	sr_reply_bytes(req, answer->status, answer->body.len ? type : NULL, sr_buf_view(&answer->body));
}

/* --- passing it on ---------------------------------------------------------------------------------------------------------- */

static enum sr_status call(struct sr_peers *peers, struct sr_request *req, const struct sr_peer *peer, const struct sr_call *c, struct sr_err *err)
{
	struct sr_peer_call options = {.connect_ms = CONNECT_MS, .total_ms = SR_RELAY_MS};
	struct sr_answer answer = {0};
	struct sr_client *client = NULL;
	char *login = NULL;
	struct sr_err said = {0};
	enum sr_status rc = login_of(req, peer, &login, err);

	if (rc != SR_OK)
		return rc;
	options.basic = login;
	rc = sr_peer_client(peers, peer, &options, &client, err);
	forget(login);
	if (rc != SR_OK)
		return rc;
	rc = sr_client_call(client, c, &answer, &said);
	sr_peers_doubt(peers); /* what it says of itself is another thing now */
	if (rc == SR_OK)
		reply_same(req, &answer);
	else
		rc = reply_refusal(req, peer, &answer, rc, &said);
	sr_answer_free(&answer);
	sr_client_free(client);
	return rc;
}

enum sr_status sr_relay_pass(struct sr_peers *peers, struct sr_request *req, const char *webserver, const char *method, const char *target,
			     bool *here, struct sr_err *err)
{
	struct sr_peer_list *list;
	const struct sr_peer *peer;
	enum sr_status rc = sr_relay_find(peers, webserver, &list, &peer, err);

	*here = rc == SR_OK && peer->self;
	if (rc == SR_OK && !peer->self)
		rc = call(peers, req, peer, &(struct sr_call){.method = method, .target = target, .max_answer = MOST_ANSWER}, err);
	sr_peer_list_free(list);
	return rc;
}

/* --- routes ------------------------------------------------------------------------------------------------------------------ */

static enum sr_status put_override(void *ctx, struct sr_request *req, struct sr_err *err)
{
	const struct sr_relay *r = ctx;
	const char *word = sr_request_arg_text(req, 1);
	enum sr_override parsed;
	bool here = false;
	char *target;
	enum sr_status rc;

	if (!sr_override_parse(word, &parsed))
		return sr_balance_put(r->balance, req, word, err); /* which says so */
	target = sr_format("/api/system/lbstatus/override/%s", word);
	rc = sr_relay_pass(r->peers, req, sr_request_arg_text(req, 0), "PUT", target, &here, err);
	free(target);
	return rc == SR_OK && here ? sr_balance_put(r->balance, req, word, err) : rc;
}

static enum sr_status post_shutdown(void *ctx, struct sr_request *req, struct sr_err *err)
{
	const struct sr_relay *r = ctx;
	bool here = false;
	enum sr_status rc = sr_relay_pass(r->peers, req, sr_request_arg_text(req, 0), "POST", SR_SHUTDOWN_TARGET, &here, err);

	if (rc != SR_OK || !here)
		return rc;
	return r->shutdown ? sr_shutdown_post(r->shutdown, req, err) : sr_err_set(err, SR_E_NOTFOUND, "this node is not shut down in this way");
}

const struct sr_route *sr_relay_routes(size_t *n)
{
	static const struct sr_route routes[] = {
		{"PUT", "/api/webservers/{}/lbstatus/override/{}", put_override, SR_ROUTE_ADMIN, SR_BODY_IGNORED},
		{"POST", "/api/webservers/{}/shutdown", post_shutdown, SR_ROUTE_ADMIN, SR_BODY_IGNORED},
	};

	*n = sizeof routes / sizeof *routes;
	return routes;
}
