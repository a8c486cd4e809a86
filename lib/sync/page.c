/* page.c - what a webserver gives to its status page, on which nothing can be done: what others are told of it is the datastore's to show.
 */
#include <jansson.h>

#include "lib/replica/report.h"
#include "lib/sync/daemon_internal.h"

static json_t *status(void *ctx)
{
	json_t *o = sr_sync_daemon_status(ctx);

	return o ? o : json_object();
}

/* As the datastore tells of each node. */
static enum sr_status conflicts(void *ctx, json_t **out, struct sr_err *err)
{
	struct sr_sync_daemon *d = ctx;
	struct sr_archive *archive = sr_sync_replica(d->sync)->archive;
	json_t *entries = json_array(), *node;
	struct sr_archive_usage u;
	enum sr_status rc = sr_report_newest_conflicts(archive, SR_PAGE_CONFLICTS, entries, err);

	if (rc != SR_OK) {
		json_decref(entries);
		return rc;
	}
	sr_archive_usage(archive, &u);
	node = json_object();
	json_object_set_new(node, "role", json_string("webserver"));
	json_object_set_new(node, "total", json_integer((json_int_t)u.entries));
	json_object_set_new(node, "bytes", json_integer((json_int_t)u.bytes));
	json_object_set_new(node, "entries", entries);
	*out = json_array();
	json_array_append_new(*out, node);
	return SR_OK;
}

struct sr_page *sr_sync_daemon_page(struct sr_sync_daemon *d)
{
	struct sr_page_parts parts = {
		.name = d->config->external.text, .status = status, .conflicts = conflicts, .ctx = d};

	return sr_page_new(&parts);
}
