/* registry.c - the datastore's registry, asked beside the rounds: from any thread, over a connection of its own. */
#include "lib/sync/internal.h"

#define ASK_MS 1000 /* somebody waits for it who waits for more than this */

enum sr_status sr_sync_ask_registry(struct sr_sync *s, struct sr_buf *out, struct sr_err *err)
{
	struct sr_call call = {.target = "/api/webservers"};
	struct sr_answer answer = {0};
	struct sr_client *client = NULL;
	enum sr_status rc = sr_contact_another(s->contact, ASK_MS, &client, err);

	if (rc == SR_OK)
		rc = sr_client_call(client, &call, &answer, err);
	if (rc == SR_OK)
		sr_buf_bytes(out, sr_buf_view(&answer.body));
	sr_answer_free(&answer);
	sr_client_free(client);
	return rc;
}
