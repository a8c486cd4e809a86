/* admit.c - see admit.h. */
#include "lib/replica/admit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/state/secret.h"

#define RIGHT_ADMIN 1

/* Whoever can read the admin token, for those who read it on another node. */
static char *root_here(void)
{
	char host[256] = "";

	if (gethostname(host, sizeof host - 1) != 0 || !host[0])
		return sr_strdup("root");
	return sr_format("root@%s", host);
}

enum sr_status sr_admit_open(struct sr_admit *out, const struct sr_config *config, const char *state_dir, const char *users_db,
			     struct sr_err *err)
{
	struct sr_admit a = {0};
	char *path = sr_format("%s/%s", state_dir, SR_ADMIN_TOKEN);
	enum sr_status rc = sr_config_secret(config, &a.control, err);

	if (rc == SR_OK)
		rc = sr_secret_ensure(path, NULL, err);
	if (rc == SR_OK)
		rc = sr_secret_read(path, &a.admin, err);
	free(path);
	a.root = root_here();
	if (rc == SR_OK && users_db)
		a.login = sr_login_new(users_db, config->admin_query);
	sr_proxies_open(&a.proxies, &config->trusted_proxies);
	if (rc == SR_OK)
		*out = a;
	else
		sr_admit_close(&a);
	return rc;
}

void sr_admit_close(struct sr_admit *a)
{
	sr_secret_free(a->control);
	sr_secret_free(a->admin);
	free(a->root);
	sr_login_free(a->login);
	sr_proxies_close(&a->proxies);
	*a = (struct sr_admit){0};
}

static bool is_bearer(const char *header, const char *secret)
{
	return secret && sr_bytes_same_secret(sr_bytes_of(secret), sr_bytes_of(header));
}

static bool is_login(const char *header)
{
	return strncasecmp(header, "Basic ", 6) == 0;
}

/* May a password be sent this way, and can it be checked there? */
static enum sr_status take_login(const struct sr_admit *a, const struct sr_request *req, const struct sr_route *route, struct sr_err *err)
{
	struct sr_origin from;

	if (!a->login || (route->flags & SR_ROUTE_QUICK))
		return sr_err_set(err, SR_E_AUTH, "no login is taken here: Authorization: Bearer is needed");
	sr_origin_of(&a->proxies, req, &from);
	if (from.tls || from.here)
		return SR_OK;
	if (from.strange_proxy)
		return sr_err_set(err, SR_E_FORBIDDEN, "a login is taken over TLS: this came by a proxy at %s, which Trusted-Proxies does not name", from.peer);
	return sr_err_set(err, SR_E_FORBIDDEN, "a login is taken over TLS, or from the machine itself: this password went over the network unencrypted");
}

enum sr_status sr_admit_check(void *ctx, struct sr_request *req, const struct sr_route *route, struct sr_err *err)
{
	const struct sr_admit *a = ctx;
	const char *header = sr_request_header(req, "Authorization");

	if (!header)
		return sr_err_set(err, SR_E_AUTH, "no secret was sent: Authorization: Bearer is needed, or a login");
	if (is_login(header))
		return take_login(a, req, route, err);
	if (strncasecmp(header, "Bearer ", 7) != 0)
		return sr_err_set(err, SR_E_AUTH, "Authorization: only Bearer and Basic are known here");
	if (is_bearer(header + 7, a->admin)) {
		sr_request_set_user(req, a->root);
		sr_request_set_rights(req, RIGHT_ADMIN);
		return SR_OK;
	}
	if (!is_bearer(header + 7, a->control))
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
