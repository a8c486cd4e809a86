/* elsewhere.c - see elsewhere.h. */
#include "lib/admin/elsewhere.h"

#include <stdlib.h>
#include <string.h>

#define ANSWER_S 20 /* that the other node may take, on top of what the daemon here does */

/* "name:password".  OWNED BY CALLER (sr_admin_forget). */
static enum sr_status ask_login(const struct sr_admin *a, const char *node, char **out, struct sr_err *err)
{
	char *question, *name = NULL, *password = NULL;
	enum sr_status rc;

	if (!a->user && !a->ask)
		return sr_err_set(err, SR_E_USAGE, "%s is another node, which wants an admin's login: --user NAME, and the password as the first line of the standard input", node);
	name = a->user ? sr_strdup(a->user) : a->ask(a->ctx, "Admin's name", "admin");
	if (!name || !*name || strchr(name, ':')) {
		free(name);
		return sr_err_set(err, SR_E_USAGE, "that is no user's name");
	}
	question = sr_format("Password of %s: ", name);
	rc = sr_admin_password(a, question, &password, err);
	if (rc == SR_OK)
		*out = sr_format("%s:%s", name, password);
	sr_admin_forget(password);
	free(question);
	free(name);
	return rc;
}

static enum sr_status log_in(struct sr_here *h, const struct sr_admin *a, const char *node, struct sr_err *err)
{
	char *login = NULL;
	enum sr_status rc = ask_login(a, node, &login, err);

	if (rc == SR_OK)
		rc = sr_here_login(h, a, login, err);
	sr_admin_forget(login);
	return rc;
}

static char *target_of(const char *webserver, const char *own, const char *other)
{
	struct sr_buf name = {0};
	char *target;

	if (!webserver)
		return sr_strdup(own);
	sr_percent(&name, sr_bytes_of(webserver), "");
	target = sr_format("/api/webservers/%s%s", sr_buf_text(&name), other);
	sr_buf_free(&name);
	return target;
}

enum sr_status sr_elsewhere_say(const struct sr_admin *a, const char *webserver, const char *method, const char *own, const char *other,
				struct sr_buf *out, struct sr_err *err)
{
	char *target = target_of(webserver, own, other);
	struct sr_call call = {.method = method, .target = target, .quiet_s = ANSWER_S};
	const char *node = webserver ? webserver : "this node";
	struct sr_here here = {0};
	enum sr_status rc = sr_here_open(&here, a, err);

	if (rc == SR_OK && a->user)
		rc = log_in(&here, a, node, err);
	if (rc == SR_OK)
		rc = sr_here_call(&here, &call, out, err);
	if (rc == SR_E_FORBIDDEN && !a->user && webserver) { /* it is another one */
		rc = log_in(&here, a, node, err);
		if (rc == SR_OK)
			rc = sr_here_call(&here, &call, out, err);
	}
	sr_here_close(&here);
	free(target);
	return rc;
}
