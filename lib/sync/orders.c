/* orders.c - see orders.h. */
#include "lib/sync/orders.h"

#include <jansson.h>
#include <string.h>

#include "lib/base/log.h"

enum sr_status sr_orders_read(struct sr_orders *o, const struct sr_config *config, struct sr_bytes body, struct sr_err *err)
{
	json_t *json = json_loadb(body.at ? (const char *)body.at : "", body.len, JSON_REJECT_DUPLICATES, NULL);
	const char *what = json_string_value(json_object_get(json, "what")), *store = json_string_value(json_object_get(json, "store"));
	enum sr_status rc = SR_OK;

	if (what && !strcmp(what, "deletions"))
		o->deletions = true;
	else if (what && !strcmp(what, "new-uuid"))
		o->new_uuid = true;
	else if (what && !strcmp(what, "mirror") && (!store || sr_config_store(config, store)))
		sr_buf_add(&o->mirror, store ? store : "", strlen(store ? store : "") + 1);
	else
		rc = sr_err_set(err, SR_E_DATA, "the body is {\"what\": \"deletions\"}, {\"what\": \"new-uuid\"} or {\"what\": \"mirror\", \"store\": a store of this webserver, or null}");
	json_decref(json);
	return rc;
}

void sr_orders_obey(struct sr_orders *o, struct sr_sync *sync)
{
	const char *at = (const char *)o->mirror.at, *end = at + o->mirror.len;
	struct sr_err err = {0};

	if (o->deletions && sr_sync_approve(sync, &err) != SR_OK)
		sr_error("%s", err.text);
	if (o->new_uuid && sr_sync_new_uuid(sync, &err) != SR_OK)
		sr_error("%s", err.text);
	for (; at && at < end; at += strlen(at) + 1)
		if (sr_sync_mirror(sync, *at ? at : NULL, &err) != SR_OK)
			sr_error("%s", err.text);
	sr_orders_free(o);
}

void sr_orders_free(struct sr_orders *o)
{
	sr_buf_free(&o->mirror);
	*o = (struct sr_orders){0};
}
