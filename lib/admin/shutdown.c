/* shutdown.c - `sameroot shutdown`: the graceful end of this node's daemon or of another's.  See admin.h. */
#include <jansson.h>
#include <stdlib.h>

#include "lib/admin/elsewhere.h"

static enum sr_status told(const struct sr_admin *a, const char *webserver, struct sr_bytes answer, struct sr_err *err)
{
	json_t *o = json_loadb(answer.len ? (const char *)answer.at : "", answer.len, 0, NULL);
	const json_t *seconds = json_object_get(o, "within_s");
	enum sr_status rc = SR_OK;

	if (!json_is_integer(seconds)) {
		rc = sr_err_set(err, SR_E_DATA, "it does not say within which time it shuts down: another version runs there");
	} else if (a->json) {
		json_object_set_new(o, "webserver", webserver ? json_string(webserver) : json_null());
		sr_admin_print_json(a, o);
	} else {
		fprintf(a->out, "%s: shuts down, within %lld s\n", webserver ? webserver : "this node", (long long)json_integer_value(seconds));
	}
	json_decref(o);
	return rc;
}

enum sr_status sr_admin_shutdown(const struct sr_admin *a, int *status, struct sr_err *err)
{
	const char *webserver = a->n_args ? a->args[0] : NULL;
	struct sr_buf answer = {0};
	enum sr_status rc;

	if (webserver && !*webserver)
		rc = sr_err_set(err, SR_E_USAGE, "which webserver? Its name is empty");
	else
		rc = sr_elsewhere_say(a, webserver, "POST", "/api/system/shutdown/shutdown", "/shutdown", &answer, err);
	if (rc == SR_OK)
		rc = told(a, webserver, sr_buf_view(&answer), err);
	sr_buf_free(&answer);
	*status = 0;
	return rc;
}
