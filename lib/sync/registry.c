/* registry.c - the datastore's registry, asked between rounds over their connection, or from any thread over one of its own. */
#include "lib/sync/internal.h"

#define ASK_MS 1000 /* somebody waits for it who waits for more than this */

static enum sr_status ask(struct sr_client *client, struct sr_buf *out, struct sr_err *err)
{
	struct sr_call call = {.target = "/api/webservers"};
	struct sr_answer answer = {0};
	enum sr_status rc = sr_client_call(client, &call, &answer, err);

	if (rc == SR_OK)
		sr_buf_bytes(out, sr_buf_view(&answer.body));
	sr_answer_free(&answer);
	return rc;
}

enum sr_status sr_sync_registry(struct sr_sync *s, struct sr_buf *out, struct sr_err *err)
{
	return ask(s->client, out, err);
}

enum sr_status sr_sync_client(struct sr_sync *s, struct sr_client **out, struct sr_err *err)
{
	return sr_contact_another(s->contact, 0, out, err);
}

unsigned sr_sync_client_generation(struct sr_sync *s)
{
	return sr_contact_generation(s->contact);
}

enum sr_status sr_sync_ask_registry(struct sr_sync *s, struct sr_buf *out, struct sr_err *err)
{
	struct sr_client *client = NULL;
	enum sr_status rc = sr_contact_another(s->contact, ASK_MS, &client, err);

	if (rc == SR_OK)
		rc = ask(client, out, err);
	sr_client_free(client);
	return rc;
}
