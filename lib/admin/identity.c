/* identity.c - `sameroot join --new-uuid`: this machine is a copy of another one, and gets an identity of its own.  See admin.h; lib/sync/token.c
 * does it. */
#include "lib/admin/identity.h"

#include "lib/admin/here.h"
#include "lib/admin/owner.h"
#include "lib/state/state.h"
#include "lib/sync/sync.h"

#define QUESTION "Give this machine an identity of its own? [y/N] "

static enum sr_status put_offline(const struct sr_admin *a, struct sr_err *err)
{
	struct sr_state *state = NULL;
	bool fresh;
	struct sr_owner owner = sr_owner_of(sr_admin_state_dir(a));
	enum sr_status rc = sr_state_open(&state, sr_admin_state_dir(a), &fresh, err);

	if (rc == SR_OK)
		rc = sr_new_uuid_put(state, err);
	sr_state_close(state);
	sr_owner_give(&owner, sr_admin_state_dir(a));
	return rc;
}

static void explain(FILE *out)
{
	fputs("To the datastore this machine will be another webserver, not the one that it was copied from.  What both have is united: what is missing on a\n"
	      "side is copied there, and nothing is deleted, but for names that the datastore knows to be deleted since.  What was edited here stays an edit.\n",
	      out);
}

enum sr_status sr_join_new_uuid(const struct sr_admin *a, int *status, struct sr_err *err)
{
	struct sr_here here = {0};
	struct sr_buf answer = {0};
	enum sr_status rc = sr_here_open(&here, a, err);

	if (rc == SR_OK)
		explain(a->json ? a->notes : a->out);
	if (rc == SR_OK)
		rc = sr_admin_agree(a, QUESTION, err);
	if (rc == SR_OK)
		rc = sr_here_post(&here, "/api/admin/adopt", sr_bytes_of("{\"what\":\"new-uuid\"}"), here.status_most, &answer, err);
	if (rc == SR_E_UNAVAILABLE && here.absent)
		rc = put_offline(a, err);
	if (rc == SR_OK && a->json)
		fputs("{\"renewed\":true}\n", a->out);
	else if (rc == SR_OK)
		fputs("It is done at the next round.\n", a->out);
	if (rc == SR_OK)
		*status = 0;
	sr_buf_free(&answer);
	sr_here_close(&here);
	return rc;
}
