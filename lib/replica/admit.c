/* admit.c - see admit.h. */
#include "lib/replica/admit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/door.h"
#include "lib/base/log.h"
#include "lib/state/secret.h"

#define RIGHT_ADMIN 1
#define TOLD_MS     60000 /* between two lines of the log about one and the same */

/* Whoever can read the admin token, for those who read it on another node. */
static char *root_here(void)
{
	char host[256] = "";

	if (gethostname(host, sizeof host - 1) != 0 || !host[0])
		return sr_strdup("root");
	return sr_format("root@%s", host);
}

static enum sr_status read_secrets(const struct sr_config *config, const char *state_dir, struct sr_secrets *control, char **admin, struct sr_err *err)
{
	char *path = sr_format("%s/%s", state_dir, SR_ADMIN_TOKEN);
	enum sr_status rc = sr_config_secrets(config, control, err);

	if (rc == SR_OK)
		rc = sr_secret_ensure(path, NULL, err);
	if (rc == SR_OK)
		rc = sr_secret_read(path, admin, err);
	free(path);
	if (rc != SR_OK)
		sr_secrets_free(control);
	return rc;
}

enum sr_status sr_admit_open(struct sr_admit *out, const struct sr_config *config, const char *state_dir, const char *users_db,
			     struct sr_err *err)
{
	struct sr_secrets control = {0};
	char *admin = NULL;
	enum sr_status rc = read_secrets(config, state_dir, &control, &admin, err);

	if (rc != SR_OK)
		return rc;
	*out = (struct sr_admit){.control = control, .admin = admin, .root = root_here(), .certificates = config->client_ca_file};
	pthread_mutex_init(&out->lock, NULL);
	if (users_db)
		out->login = sr_login_new(users_db, config->admin_query);
	sr_proxies_open(&out->proxies, &config->trusted_proxies);
	return SR_OK;
}

enum sr_status sr_admit_reload(struct sr_admit *a, const struct sr_config *fresh, const char *state_dir, struct sr_err *err)
{
	struct sr_secrets control = {0};
	char *admin = NULL;
	enum sr_status rc = read_secrets(fresh, state_dir, &control, &admin, err);

	if (rc != SR_OK)
		return rc;
	pthread_mutex_lock(&a->lock);
	sr_secrets_free(&a->control);
	sr_secret_free(a->admin);
	a->control = control;
	a->admin = admin;
	a->told_ms = 0;
	pthread_mutex_unlock(&a->lock);
	return SR_OK;
}

void sr_admit_secrets(void *admit, struct sr_secrets *out)
{
	struct sr_admit *a = admit;

	pthread_mutex_lock(&a->lock);
	for (size_t i = 0; i < SR_SECRETS_MOST; i++)
		out->at[i] = a->control.at[i] ? sr_strdup(a->control.at[i]) : NULL;
	pthread_mutex_unlock(&a->lock);
}

uint64_t sr_admit_seconds(struct sr_admit *a)
{
	uint64_t n;

	pthread_mutex_lock(&a->lock);
	n = a->seconds;
	pthread_mutex_unlock(&a->lock);
	return n;
}

void sr_admit_close(struct sr_admit *a)
{
	if (!a->admin)
		return;
	sr_secrets_free(&a->control);
	sr_secret_free(a->admin);
	free(a->root);
	sr_login_free(a->login);
	sr_proxies_close(&a->proxies);
	pthread_mutex_destroy(&a->lock);
	*a = (struct sr_admit){0};
}

/* --- a request --------------------------------------------------------------------------------------------------------------- */

/* Is it time to tell the log something that may come with every request? */
static bool is_time(int64_t *told_ms)
{
	int64_t now = sr_ticks_ms();

	if (*told_ms && now - *told_ms < TOLD_MS)
		return false;
	*told_ms = now;
	return true;
}

enum bearer { BEARER_WRONG, BEARER_CONTROL, BEARER_ADMIN };

static enum bearer bearer_of(struct sr_admit *a, const struct sr_request *req, struct sr_bytes secret)
{
	bool admin, news;
	int control;

	pthread_mutex_lock(&a->lock);
	admin = sr_bytes_same_secret(sr_bytes_of(a->admin), secret);
	control = sr_secrets_find(&a->control, secret);
	if (control > 0)
		a->seconds++;
	news = control > 0 && is_time(&a->told_ms);
	pthread_mutex_unlock(&a->lock);
	if (news)
		sr_info("%s sends the second Control-Auth of this node, not the first yet", sr_request_peer(req));
	return admin ? BEARER_ADMIN : control >= 0 ? BEARER_CONTROL : BEARER_WRONG;
}

static bool is_login(const char *header)
{
	return strncasecmp(header, "Basic ", 6) == 0;
}

/* Has it shown a certificate, if that is asked for?  Whoever has none is told in the log, too: he cannot read our answer if he does not know whom he asks. */
static enum sr_status check_certificate(struct sr_admit *a, const struct sr_request *req, struct sr_err *err)
{
	bool news;

	if (!a->certificates || sr_request_certified(req, err) == SR_OK)
		return SR_OK;
	pthread_mutex_lock(&a->lock);
	news = is_time(&a->refused_ms);
	pthread_mutex_unlock(&a->lock);
	if (news)
		sr_warn("a request from %s is refused: %s (Client-CA-File; such are told once a minute)", sr_request_peer(req), err->text);
	return sr_err_context(err, "this node has a Client-CA-File");
}

/* From the machine itself: over the loopback, or at the one address at which this node listens, from that same address. */
static bool is_from_here(const struct sr_request *req, const struct sr_origin *from)
{
	const char *at = sr_server_address(sr_request_server(req));
	size_t len = strlen(from->peer);

	at += *at == '[';
	return from->here || (from->direct && strncmp(at, from->peer, len) == 0 && (at[len] == ':' || at[len] == ']'));
}

/* May a password be sent this way, and can it be checked there? */
static enum sr_status take_login(struct sr_admit *a, const struct sr_request *req, const struct sr_route *route, struct sr_err *err)
{
	struct sr_origin from;

	if (!a->login || (route->flags & SR_ROUTE_QUICK))
		return sr_err_set(err, SR_E_AUTH, "no login is taken here: Authorization: Bearer is needed");
	sr_origin_of(&a->proxies, req, &from);
	if (!is_from_here(req, &from) && check_certificate(a, req, err) != SR_OK)
		return err->code;
	if (from.tls || from.here)
		return SR_OK;
	if (from.strange_proxy)
		return sr_err_set(err, SR_E_FORBIDDEN, "a login is taken over TLS: this came by a proxy at %s, which Trusted-Proxies does not name", from.peer);
	return sr_err_set(err, SR_E_FORBIDDEN, "a login is taken over TLS, or from the machine itself: this password went over the network unencrypted");
}

enum sr_status sr_admit_check(void *ctx, struct sr_request *req, const struct sr_route *route, struct sr_err *err)
{
	struct sr_admit *a = ctx;
	const char *header = sr_request_header(req, "Authorization");
	struct sr_origin from;
	enum bearer bearer;

	if (!header)
		return sr_err_set(err, SR_E_AUTH, "no secret was sent: Authorization: Bearer is needed, or a login");
	if (is_login(header))
		return take_login(a, req, route, err);
	if (strncasecmp(header, "Bearer ", 7) != 0)
		return sr_err_set(err, SR_E_AUTH, "Authorization: only Bearer and Basic are known here");
	bearer = bearer_of(a, req, sr_bytes_of(header + 7));
	sr_origin_of(&a->proxies, req, &from);
	if ((bearer != BEARER_ADMIN || !is_from_here(req, &from)) && check_certificate(a, req, err) != SR_OK)
		return err->code;
	if (bearer == BEARER_ADMIN) {
		sr_request_set_user(req, a->root);
		sr_request_set_rights(req, RIGHT_ADMIN);
		return SR_OK;
	}
	if (bearer == BEARER_WRONG)
		return sr_err_set(err, SR_E_AUTH, "the secret is wrong: it is not this node's Control-Auth");
	if (route->flags & SR_ROUTE_ADMIN)
		return sr_err_set(err, SR_E_FORBIDDEN, "this is for admins: Control-Auth is not enough");
	return SR_OK;
}

static void retry_after(struct sr_request *req, unsigned wait_s)
{
	char text[16];

	snprintf(text, sizeof text, "%u", wait_s);
	sr_reply_header(req, "Retry-After", text);
}

enum sr_status sr_admit_verify(void *ctx, struct sr_request *req, const struct sr_route *route, struct sr_err *err)
{
	const struct sr_admit *a = ctx;
	const char *header = sr_request_header(req, "Authorization");
	char *name = NULL, *password = NULL;
	const char *method = sr_request_method(req);
	struct sr_origin from;
	struct sr_login_who who = {0};
	unsigned wait_s = 0;
	enum sr_status rc;

	if (!header || !is_login(header))
		return SR_OK;
	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0 && sr_same_origin(&a->proxies, req, err) != SR_OK)
		return err->code;
	sr_origin_of(&a->proxies, req, &from);
	rc = sr_login_credentials(header, &name, &password, err);
	if (rc == SR_OK)
		rc = sr_login_check(a->login, name, password, from.peer, &who, &wait_s, err);
	sr_login_credentials_free(name, password);
	if (rc == SR_E_AGAIN)
		retry_after(req, wait_s);
	if (rc == SR_OK && !who.admin && !(route->flags & SR_ROUTE_LOGINS))
		rc = sr_err_set(err, SR_E_FORBIDDEN, "this is for admins: %s is none", who.name);
	if (rc != SR_OK)
		return rc;
	sr_request_set_user(req, who.name);
	sr_request_set_rights(req, who.admin ? RIGHT_ADMIN : 0);
	return SR_OK;
}

bool sr_admit_is_admin(const struct sr_request *req)
{
	return sr_request_rights(req) & RIGHT_ADMIN;
}
