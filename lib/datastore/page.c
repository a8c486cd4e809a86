/* page.c - what the datastore gives to its status page. */
#include "lib/datastore/internal.h"

#include <jansson.h>

static json_t *status(void *ctx)
{
	return sr_ds_status_json(ctx);
}

static enum sr_status changes(void *ctx, json_t **out, struct sr_err *err)
{
	return sr_ds_newest_json(ctx, SR_PAGE_CHANGES, out, err);
}

static enum sr_status conflicts(void *ctx, json_t **out, struct sr_err *err)
{
	return sr_ds_conflicts_json(ctx, SR_PAGE_CONFLICTS, out, err);
}

struct sr_page *sr_ds_page(struct sr_datastore *d)
{
	static const char *const actions[] = {"override", "webserver-override", "shutdown", "webserver-shutdown", NULL};
	struct sr_page_parts parts = {.name = "datastore",
				      .status = status,
				      .changes = changes,
				      .conflicts = conflicts,
				      .actions = actions,
				      .ctx = d};

	return sr_page_new(&parts);
}
