/* here.c - see here.h. */
#include "lib/admin/here.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "http/certificate.h"
#include "lib/replica/address.h"
#include "lib/replica/admit.h"
#include "lib/replica/keypair.h"
#include "lib/replica/waiting.h"
#include "lib/state/secret.h"
#include "lib/state/state.h"

#define CONNECT_MS  5000
#define ROUND_S     600 /* what is posted may have to wait for the end of a round */
/* Bytes of a status, for each: */
#define NODE_MOST      ((size_t)16 << 20)      /* the node, and the registry as a webserver was told it */
#define STORE_MOST     ((size_t)16 << 20)      /* a store: a thousand unknown paths, and what is held */
#define WEBSERVER_MOST (SR_STATUS_MOST + 8192) /* in the registry, with who it is */
#define ITEM_MOST      1024                    /* of a list: paths are short, but for a few ... */
#define LIST_MOST      ((size_t)16 << 20)      /* ... which have this together */
#define ANSWER_MOST    ((size_t)512 << 20)     /* whatever is configured, or asked */

static size_t within(uint64_t bytes)
{
	return bytes < ANSWER_MOST ? (size_t)bytes : ANSWER_MOST;
}

size_t sr_answer_of(uint64_t items)
{
	return within(LIST_MOST + (items < ANSWER_MOST ? items : ANSWER_MOST) * ITEM_MOST);
}

static size_t status_most(const struct sr_admin *a)
{
	uint64_t webservers = sr_admin_is_datastore(a) ? a->config->max_webservers : 0; /* 1000000 at most */

	return within(NODE_MOST + a->config->store_count * STORE_MOST + webservers * WEBSERVER_MOST);
}

bool sr_admin_is_datastore(const struct sr_admin *a)
{
	return a->side == SR_SIDE_DATASTORE || (a->side == SR_SIDE_CONFIGURED && !a->config->datastore.host);
}

const char *sr_admin_state_dir(const struct sr_admin *a)
{
	return sr_admin_is_datastore(a) ? a->config->datastore_state_directory : a->config->state_directory;
}

enum sr_status sr_admin_agree(const struct sr_admin *a, const char *question, struct sr_err *err)
{
	if (a->yes)
		return SR_OK;
	if (!a->confirm)
		return sr_err_set(err, SR_E_USAGE, "there is no terminal to ask at: say --yes, after a look at what is shown above");
	fflush(a->out);
	return a->confirm(a->ctx, question) ? SR_OK : sr_err_set(err, SR_E_HELD, "nothing was changed");
}

void sr_admin_print_json(const struct sr_admin *a, const json_t *o)
{
	char *text = json_dumps(o, JSON_COMPACT);

	fprintf(a->out, "%s\n", text ? text : "null");
	free(text);
}

/* --- where it listens -------------------------------------------------------------------------------------------------- */

static char *url_of(const char *host, unsigned port, bool plain)
{
	bool v6 = strchr(host, ':') != NULL;

	return sr_format("%s://%s%s%s:%u", plain ? "http" : "https", v6 ? "[" : "", host, v6 ? "]" : "", port);
}

/* As the configuration says it. */
static char *configured_url(const struct sr_config *c, bool datastore)
{
	const char *host = datastore ? c->datastore_listen_address : c->sync_listen_address;

	if (!host || !*host || strcmp(host, "::") == 0 || strcmp(host, "0.0.0.0") == 0)
		host = "127.0.0.1";
	return url_of(host, datastore ? c->datastore_port : c->sync_port,
		      datastore ? c->datastore_insecure_disable_tls : c->insecure_disable_https);
}

/* *url NULL: a port of 0 was asked for, and no daemon has said which it got. */
static void find_url(const struct sr_here *h, const struct sr_config *c, bool datastore, char **url)
{
	unsigned port = datastore ? c->datastore_port : c->sync_port;
	struct sr_err err;

	*url = NULL;
	if (sr_address_read(h->state_dir, url, &err) != SR_OK && port)
		*url = configured_url(c, datastore);
}

/* --- open ---------------------------------------------------------------------------------------------------------------- */

static enum sr_status forbidden(const struct sr_here *h, struct sr_err *err)
{
	return sr_err_set(err, SR_E_AUTH, "%s may not be read: run this as root, or as the user of the %s", h->state_dir, h->name);
}

/* *token NULL: there is none, hence no daemon ever ran here. */
static enum sr_status read_token(const struct sr_here *h, char **token, struct sr_err *err)
{
	char *path = sr_format("%s/" SR_ADMIN_TOKEN, h->state_dir);
	enum sr_status rc = sr_secret_read(path, token, err);

	free(path);
	if (rc == SR_E_NOINPUT)
		return SR_OK;
	return rc != SR_OK && (err->sys == EACCES || err->sys == EPERM) ? forbidden(h, err) : rc;
}

static enum sr_status own_pin(const struct sr_here *h, const struct sr_config *c, char pin[SR_PIN_TEXT], struct sr_err *err)
{
	struct sr_keypair pair = sr_keypair_served(c, strcmp(h->name, "datastore") == 0);
	enum sr_status rc = sr_certificate_pin(pair.certificate, pin, err);

	sr_keypair_free(&pair);
	return rc == SR_OK ? rc : sr_err_context(err, "the certificate of the %s", h->name);
}

/* One of token and login is NULL.  No certificate is shown: from the machine itself either is enough (lib/replica/admit.h). */
static enum sr_status make_client(struct sr_here *h, const struct sr_config *c, bool datastore, const char *token, const char *login, struct sr_err *err)
{
	char pin[SR_PIN_TEXT], *url;
	struct sr_client_options o = {.bearer = token, .basic = login, .connect_ms = CONNECT_MS};
	enum sr_status rc = SR_OK;

	find_url(h, c, datastore, &url);
	if (!url)
		return SR_OK;
	o.url = url;
	if (strncmp(url, "https:", 6) == 0) {
		o.pin = pin;
		rc = own_pin(h, c, pin, err);
	}
	if (rc == SR_OK)
		rc = sr_client_new(&h->client, &o, err);
	free(url);
	return rc;
}

enum sr_status sr_here_open(struct sr_here *out, const struct sr_admin *a, struct sr_err *err)
{
	bool datastore = sr_admin_is_datastore(a);
	struct sr_here h = {.name = datastore ? "datastore" : "sync daemon", .state_dir = sr_admin_state_dir(a), .status_most = status_most(a)};
	char *token = NULL;
	enum sr_status rc = read_token(&h, &token, err);

	h.ever = token != NULL;
	if (rc == SR_OK && token)
		rc = make_client(&h, a->config, datastore, token, NULL, err);
	sr_secret_free(token);
	if (rc == SR_OK)
		*out = h;
	return rc;
}

enum sr_status sr_here_login(struct sr_here *h, const struct sr_admin *a, const char *login, struct sr_err *err)
{
	sr_client_free(h->client);
	h->client = NULL;
	return make_client(h, a->config, sr_admin_is_datastore(a), NULL, login, err);
}

void sr_here_close(struct sr_here *h)
{
	sr_client_free(h->client);
	h->client = NULL;
}

/* --- calls ----------------------------------------------------------------------------------------------------------------- */

static const char *unit_of(const struct sr_here *h)
{
	return strcmp(h->name, "datastore") == 0 ? "sameroot-datastore" : "sameroot-sync";
}

/* Nobody answers: is nobody there, or does he hang?  OWNED BY CALLER (free). */
static char *not_there(struct sr_here *h)
{
	h->absent = true;
	h->pid = sr_state_holder(h->state_dir);
	if (h->pid)
		return sr_format("the %s does not answer, though process %ld runs with %s (`systemctl restart %s`, if that stays so)", h->name, h->pid,
				 h->state_dir, unit_of(h));
	return sr_format("the %s is not running (`systemctl start %s`)", h->name, unit_of(h));
}

/* Is there somebody to ask? */
static enum sr_status check_there(struct sr_here *h, struct sr_err *err)
{
	char *text;

	h->absent = !h->client;
	if (!h->ever)
		return sr_err_set(err, SR_E_UNAVAILABLE,
				  "the %s is not running, and never ran with the state directory %s (a webserver is set up by `sameroot join LINE`, a "
				  "datastore by `sameroot init`; -c FILE names another configuration)",
				  h->name, h->state_dir);
	if (h->client)
		return SR_OK;
	text = not_there(h);
	sr_err_set(err, SR_E_UNAVAILABLE, "%s: no address in %s", text, h->state_dir);
	free(text);
	return SR_E_UNAVAILABLE;
}

/* What a call came to, in the operator's words. */
static void explain(struct sr_here *h, enum sr_status rc, const struct sr_answer *answer, struct sr_err *err)
{
	char *text;

	h->absent = rc == SR_E_UNAVAILABLE && !answer->status;
	if (h->absent) {
		text = not_there(h);
		sr_err_context(err, "%s", text);
		free(text);
	} else if (rc == SR_E_AUTH && !answer->status) {
		sr_err_context(err, "who answers is not the %s of %s", h->name, h->state_dir);
	}
}

enum sr_status sr_here_call(struct sr_here *h, const struct sr_call *c, struct sr_buf *out, struct sr_err *err)
{
	struct sr_answer answer = {0};
	enum sr_status rc = check_there(h, err);

	if (rc != SR_OK)
		return rc;
	rc = sr_client_call(h->client, c, &answer, err);
	explain(h, rc, &answer, err);
	if (rc == SR_OK)
		sr_buf_bytes(out, sr_buf_view(&answer.body));
	sr_answer_free(&answer);
	return rc;
}

enum sr_status sr_here_stream(struct sr_here *h, const struct sr_call *c, struct sr_answer *answer, struct sr_stream **out, struct sr_err *err)
{
	enum sr_status rc = check_there(h, err);

	if (rc != SR_OK)
		return rc;
	rc = sr_client_open(h->client, c, answer, out, err);
	explain(h, rc, answer, err);
	return rc;
}

enum sr_status sr_here_get(struct sr_here *h, const char *target, size_t most, struct sr_buf *out, struct sr_err *err)
{
	return sr_here_call(h, &(struct sr_call){.target = target, .max_answer = most}, out, err);
}

enum sr_status sr_here_post(struct sr_here *h, const char *target, struct sr_bytes body, size_t most, struct sr_buf *out, struct sr_err *err)
{
	return sr_here_call(h, &(struct sr_call){.method = "POST", .target = target, .body = body, .max_answer = most, .quiet_s = ROUND_S}, out, err);
}

/* --- the datastore of this webserver ------------------------------------------------------------------------------------------ */

enum sr_status sr_there_open(struct sr_contact **out, const struct sr_config *config, struct sr_err *err)
{
	struct sr_state *state = NULL;
	char *secret = NULL;
	enum sr_status rc;

	if (!config->datastore.host)
		return sr_err_set(err, SR_E_CONFIG, "%s: no Datastore is configured: this machine is no webserver", config->file);
	rc = sr_config_secret(config, &secret, err);
	if (rc != SR_OK)
		return rc;
	rc = sr_state_reader(&state, config->state_directory, err);
	if (rc == SR_OK || rc == SR_E_NOINPUT)
		rc = sr_contact_open(out, config, state, err);
	if (rc == SR_OK)
		sr_contact_set_secret(*out, secret);
	sr_state_close(state);
	sr_secret_free(secret);
	return rc;
}

enum sr_status sr_fetch_tree(struct sr_client *client, struct sr_tree_info *out, struct sr_err *err)
{
	struct sr_answer answer = {0};
	enum sr_status rc = sr_client_call(client, &(struct sr_call){.target = "/api/tree"}, &answer, err);

	if (rc == SR_OK)
		rc = sr_tree_info_parse(sr_buf_view(&answer.body), out, err);
	sr_answer_free(&answer);
	return rc;
}

char *sr_admin_path(const char *given)
{
	struct sr_buf out = {0};
	char *text;

	for (const char *c = given; *c; c++) {
		if (*c > ' ' && *c < 0x7f) /* char is signed or not: both leave out 0x80 and up */
			sr_buf_byte(&out, (uint8_t)*c);
		else
			sr_percent(&out, sr_bytes(c, 1), "");
	}
	text = sr_text(sr_buf_view(&out));
	sr_buf_free(&out);
	return text;
}
