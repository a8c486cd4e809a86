/* capture.c - `sameroot capture`: what Change-Capture=triggers has put into this webserver's databases, and its removal. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <sys/stat.h>

#include "lib/admin/admin.h"
#include "lib/admin/table.h"
#include "lib/store/store.h"

static enum sr_status may_be_removed(const struct sr_admin *a, struct sr_err *err)
{
	if (a->removes && a->config->change_capture)
		return sr_err_set(err, SR_E_USAGE, "Change-Capture=triggers is configured, and the sync daemon would make them anew: set it to scan first");
	return SR_OK;
}

static void show(const struct sr_capture_found *f, const struct sr_config_store *c, bool removed, struct sr_table *t, json_t *list)
{
	json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:I, s:b}", "store", c->name, "path", c->path, "triggers", (json_int_t)f->triggers, "rows",
					      (json_int_t)f->rows, "removed", removed && (f->triggers || f->log)));
	sr_table_add(t, "%s", c->name);
	sr_table_add(t, "%" PRIu64, f->triggers);
	sr_table_add(t, "%" PRIu64, f->rows);
	sr_table_add(t, "%s", !f->triggers && !f->log ? "none" : removed ? "removed" : "there");
}

/* Each database that is there; those after one that failed are not left out for it. */
static enum sr_status each_database(const struct sr_admin *a, struct sr_table *t, json_t *list, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t i = 0; i < a->config->store_count; i++) {
		const struct sr_config_store *c = &a->config->stores[i];
		struct sr_capture_found f;
		struct sr_err one = {0};
		struct stat sb;

		if (c->kind != SR_CONFIG_SQLITE || !c->path || (stat(c->path, &sb) < 0 && errno == ENOENT))
			continue;
		if (sr_database_capture(c->path, a->removes, &f, &one) == SR_OK) {
			show(&f, c, a->removes, t, list);
		} else if (rc == SR_OK) {
			*err = one;
			rc = sr_err_context(err, "store %s", c->name);
		}
	}
	return rc;
}

enum sr_status sr_admin_capture(const struct sr_admin *a, int *status, struct sr_err *err)
{
	json_t *list = json_array();
	struct sr_table t;
	enum sr_status rc = may_be_removed(a, err);

	*status = 0;
	sr_table_start(&t, "lrrl");
	for (const char *const *h = (const char *const[]){"STORE", "TRIGGERS", "ROWS OF LOG", "", NULL}; *h; h++)
		sr_table_add(&t, "%s", *h);
	if (rc == SR_OK)
		rc = each_database(a, &t, list, err);
	if (a->json && rc == SR_OK)
		sr_admin_print_json(a, list);
	if (a->json || !json_array_size(list))
		sr_buf_free(&t.cells);
	else
		sr_table_print(&t, a->out, "");
	json_decref(list);
	return rc;
}
