/* forget.c - `sameroot forget`: a webserver that was taken out of service is not listed any more, before Webserver-Trim-Days.  See admin.h.
 */
#include <jansson.h>
#include <stdlib.h>
#include <strings.h>

#include "lib/admin/elsewhere.h"
#include "lib/admin/status.h"
#include "lib/base/json.h"

static const json_t *find_row(const json_t *rows, const char *field, const char *wanted)
{
	const json_t *row;

	for (size_t i = 0; (row = json_array_get(rows, i)); i++)
		if (strcasecmp(sr_json_text(row, field, ""), wanted) == 0)
			return row;
	return NULL;
}

/* By its whole name: what is forgotten is not guessed. */
static const json_t *find(const json_t *rows, const char *wanted)
{
	const json_t *row = NULL;

	for (const char *const *f = (const char *const[]){"uuid", "name", "external_addr", NULL}; !row && *f; f++)
		row = find_row(rows, *f, wanted);
	return row;
}

static void show(const struct sr_admin *a, const json_t *row)
{
	char *state =
		sr_balancer_heard(json_object_get(json_object_get(row, "status"), "balancer"), json_is_true(json_object_get(row, "stale")));

	fprintf(a->notes, "%s, UUID %s, last seen %s: %s\n", sr_json_text(row, "name", "-"), sr_json_text(row, "uuid", "-"),
		sr_json_text(row, "seen", "never"), state);
	fputs("It is not listed any more, load balancers do not ask it, and nobody looks there for the results of searches.  What only it "
	      "has, edits that it did not\n"
	      "push and its conflict archive, is not touched.  If it comes back, it goes on where it was, and is listed again.\n",
	      a->notes);
	free(state);
}

static enum sr_status agree(const struct sr_admin *a, const json_t *row, struct sr_err *err)
{
	if (!json_is_true(json_object_get(row, "stale")))
		return SR_OK; /* which the datastore refuses, and says why */
	show(a, row);
	return sr_admin_agree(a, "Forget it?", err);
}

static enum sr_status fetch(const struct sr_admin *a, json_t **out, struct sr_err *err)
{
	struct sr_buf body = {0};
	struct sr_here here = {0};
	enum sr_status rc = sr_here_open(&here, a, err);

	if (rc == SR_OK)
		rc = sr_here_get(&here, "/api/webservers", here.status_most, &body, err);
	if (rc == SR_OK && !(*out = json_loadb((const char *)body.at, body.len, 0, NULL)))
		rc = sr_err_set(err, SR_E_DATA, "what the %s says of its webservers: not JSON", here.name);
	sr_buf_free(&body);
	sr_here_close(&here);
	return rc;
}

static void told(const struct sr_admin *a, const char *name, const char *uuid)
{
	json_t *o;

	if (!a->json) {
		fprintf(a->out, "%s: forgotten\n", name);
		return;
	}
	o = json_pack("{ss, ss}", "webserver", name, "uuid", uuid);
	sr_admin_print_json(a, o);
	json_decref(o);
}

enum sr_status sr_admin_forget_webserver(const struct sr_admin *a, int *status, struct sr_err *err)
{
	struct sr_buf answer = {0};
	json_t *rows = NULL;
	const json_t *row;
	enum sr_status rc;

	*status = 0;
	if (!a->n_args || !*a->args[0])
		return sr_err_set(err, SR_E_USAGE, "which webserver? `sameroot status` names them");
	if (!sr_admin_is_datastore(a))
		return sr_err_set(err, SR_E_USAGE, "the list of webservers is the datastore's: do it there");
	rc = fetch(a, &rows, err);
	row = find(rows, a->args[0]);
	if (rc == SR_OK && row)
		rc = agree(a, row, err);
	else if (rc == SR_OK)
		rc = sr_err_set(err, SR_E_NOTFOUND,
				"no webserver is called %.60s, by its whole name, External-Addr or UUID; `sameroot status` names them",
				a->args[0]);
	if (rc == SR_OK)
		rc = sr_elsewhere_say(a, sr_json_text(row, "uuid", ""), "DELETE", "", "", &answer, err);
	if (rc == SR_OK)
		told(a, sr_json_text(row, "name", "-"), sr_json_text(row, "uuid", "-"));
	sr_buf_free(&answer);
	json_decref(rows);
	return rc;
}
