/* role.c - see role.h. */
#include "lib/state/role.h"

#include <string.h>

#define META_ROLE "role"
#define DATASTORE "datastore"
#define WEBSERVER "webserver"

/* *role: the one whose it is, or NULL. */
static enum sr_status by_content(struct sr_state *s, const char **role, struct sr_err *err)
{
	static const struct {
		const char *meta, *role;
	} telling[] = {{"instance", DATASTORE}, {"anchor", WEBSERVER}, {"last-push", WEBSERVER}};
	struct sr_buf value = {0};
	enum sr_status rc = SR_OK;
	bool found = false;

	*role = NULL;
	for (size_t k = 0; rc == SR_OK && !*role && k < sizeof telling / sizeof *telling; k++) {
		rc = sr_state_get(s, telling[k].meta, &value, &found, err);
		if (rc == SR_OK && found)
			*role = telling[k].role;
	}
	sr_buf_free(&value);
	return rc;
}

static enum sr_status check(struct sr_state *s, bool datastore, bool *said, struct sr_err *err)
{
	const char *here = datastore ? DATASTORE : WEBSERVER, *role;
	struct sr_buf value = {0};
	enum sr_status rc = sr_state_get(s, META_ROLE, &value, said, err);

	role = value.len ? sr_buf_text(&value) : here;
	if (rc == SR_OK && !*said)
		rc = by_content(s, &role, err);
	if (rc == SR_OK && role && strcmp(role, here))
		rc = sr_err_set(err, SR_E_CONFIG, "%s/state.db is that of a %.20s, and this is a %s: put its own state directory back, or move this one away: %s",
				sr_state_dir(s), role, here,
				datastore ? "without one the datastore goes on from the markers of its stores, and every webserver unites with it"
					  : "without one a webserver unites what it has with the datastore's");
	sr_buf_free(&value);
	return rc;
}

enum sr_status sr_state_check_role(struct sr_state *s, bool datastore, struct sr_err *err)
{
	bool said;

	return check(s, datastore, &said, err);
}

enum sr_status sr_state_claim(struct sr_state *s, bool datastore, struct sr_err *err)
{
	bool said = false;
	enum sr_status rc = check(s, datastore, &said, err);

	return rc == SR_OK && !said ? sr_state_put(s, META_ROLE, sr_bytes_of(datastore ? DATASTORE : WEBSERVER), err) : rc;
}
