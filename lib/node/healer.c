/* healer.c - see healer.h. */
#include "lib/node/healer.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"

#define FRESH_MS 5000

struct sr_healed sr_healed(const struct sr_repair *p)
{
	return (struct sr_healed){.rotten = p->rotten, .archived = p->rotten && !p->unreadable && !p->indexes};
}

enum sr_status sr_healer_wish(struct sr_request *req, char **path, struct sr_err *err)
{
	struct sr_buf body = {0};
	enum sr_status rc = sr_request_read_all(req, &body, SR_REPAIR_MOST, err);
	json_t *o = rc == SR_OK ? json_loadb((const char *)body.at, body.len, JSON_REJECT_DUPLICATES, NULL) : NULL;
	const char *text = json_string_value(json_object_get(o, "path"));

	if (rc == SR_OK && !text)
		rc = sr_err_set(err, SR_E_DATA, "the body is {\"path\": TEXT}");
	if (rc == SR_OK)
		*path = sr_strdup(text);
	json_decref(o);
	sr_buf_free(&body);
	return rc;
}

static enum sr_status from_peer(struct sr_repair *p, struct sr_peers *peers, const struct sr_peer *peer, struct sr_err *err)
{
	struct sr_client *client = NULL;
	enum sr_status rc = sr_peer_client(peers, peer, NULL, &client, err);

	if (rc == SR_OK)
		rc = sr_repair_fetch(p, client, err);
	sr_client_free(client);
	return rc;
}

/* Whatever one of them says, another may have it. */
static bool goes_on(enum sr_status rc)
{
	return rc != SR_OK && rc != SR_E_FULL;
}

enum sr_status sr_healer_fetch(struct sr_repair *p, struct sr_client *first, const char *first_name, struct sr_peers *peers, struct sr_healed *h,
			       struct sr_err *err)
{
	struct sr_err why = {0}, registry;
	struct sr_peer_list *list;
	const char *name = first_name;
	enum sr_status rc;

	if (!sr_repair_fetches(p)) {
		h->from = sr_strdup(p->indexes ? "its rows" : "the tree");
		return SR_OK;
	}
	rc = first ? sr_repair_fetch(p, first, &why) : SR_E_NOTFOUND;
	list = goes_on(rc) ? sr_peers_take(peers, FRESH_MS, &registry) : NULL;
	for (size_t i = 0; list && goes_on(rc) && i < list->n; i++) {
		name = list->at[i].name;
		if (!list->at[i].self && !list->at[i].gone)
			rc = from_peer(p, peers, &list->at[i], &why);
	}
	if (rc == SR_OK)
		h->from = sr_strdup(name);
	else if (goes_on(rc))
		rc = sr_err_set(err, SR_E_NOTFOUND, "no other node has this content%s%s; put it back from a backup", why.text[0] ? ": " : "", why.text);
	else
		*err = why;
	if (list)
		sr_peer_list_free(list);
	return rc;
}

void sr_healer_reply(struct sr_verifier *v, struct sr_request *req, const char *path, const struct sr_healed *h)
{
	json_t *o = json_pack("{s:b, s:s?, s:b}", "rotten", h->rotten, "from", h->from, "archived", h->archived);
	char *text = json_dumps(o, JSON_COMPACT);

	if (h->from)
		sr_warn("repaired: %s has its content back, from %s; %s", path, h->from,
			h->archived ? "what had rotted is in the conflict archive" : "nothing is kept of what had rotted");
	sr_verifier_healed(v, path);
	sr_reply_bytes(req, 200, "application/json", sr_bytes_of(text));
	free(text);
	json_decref(o);
}
