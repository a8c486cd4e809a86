/* admit.c - see admit.h. */
#include "lib/replica/admit.h"

#include <stdlib.h>
#include <string.h>

#include "lib/state/secret.h"

enum sr_status sr_admit_open(struct sr_admit *out, const struct sr_config *config, const char *state_dir, struct sr_err *err)
{
	struct sr_admit a = {0};
	char *path = sr_format("%s/%s", state_dir, SR_ADMIN_TOKEN);
	enum sr_status rc = sr_config_secret(config, &a.control, err);

	if (rc == SR_OK)
		rc = sr_secret_ensure(path, NULL, err);
	if (rc == SR_OK)
		rc = sr_secret_read(path, &a.admin, err);
	free(path);
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
	a->control = a->admin = NULL;
}

static bool is_bearer(const char *header, const char *secret)
{
	return secret && sr_bytes_same_secret(sr_bytes_of(secret), sr_bytes_of(header));
}

enum sr_status sr_admit_check(void *ctx, struct sr_request *req, const struct sr_route *route, struct sr_err *err)
{
	const struct sr_admit *a = ctx;
	const char *header = sr_request_header(req, "Authorization");

	if (!header)
		return sr_err_set(err, SR_E_AUTH, "no secret was sent: Authorization: Bearer is needed");
	if (strncasecmp(header, "Bearer ", 7) != 0)
		return sr_err_set(err, SR_E_AUTH, "Authorization: only Bearer is known here");
	if (is_bearer(header + 7, a->admin))
		return SR_OK;
	if (!is_bearer(header + 7, a->control))
		return sr_err_set(err, SR_E_AUTH, "the secret is wrong: it is not this node's Control-Auth");
	if (route->flags & SR_ROUTE_ADMIN)
		return sr_err_set(err, SR_E_FORBIDDEN, "this is for admins: Control-Auth is not enough");
	return SR_OK;
}
