/* conflicts.c - `sameroot conflicts list`: what lost, and lies in the conflict archive.  See admin.h. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "lib/admin/here.h"
#include "lib/admin/table.h"
#include "lib/replica/report.h"

#define ARCHIVE "archive" /* below the state directory: lib/state/archive.h */

static enum sr_status read_archive(const char *state_dir, struct sr_buf *out, struct sr_err *err)
{
	char *dir = sr_format("%s/" ARCHIVE, state_dir);
	struct sr_archive *archive = NULL;
	struct stat st;
	bool there = stat(dir, &st) == 0;
	enum sr_status rc = SR_OK;

	/* Opening would make it, and a daemon that is not root's could not write to it. */
	if (!there && errno != ENOENT)
		rc = sr_err_sys(err, SR_E_IO, "%s", dir);
	else if (!there)
		sr_buf_bytes(out, sr_bytes_of("[]"));
	else
		rc = sr_archive_open(&archive, state_dir, err);
	if (archive)
		rc = sr_report_conflicts(archive, out, err);
	sr_archive_close(archive);
	free(dir);
	return rc;
}

static enum sr_status fetch(const struct sr_admin *a, struct sr_buf *out, struct sr_err *err)
{
	struct sr_here here = {0};
	enum sr_status rc = sr_here_open(&here, a, err);

	if (rc != SR_OK)
		return rc;
	rc = sr_here_get(&here, "/api/admin/conflicts", out, err);
	if (rc == SR_E_UNAVAILABLE && here.absent && here.ever)
		rc = read_archive(here.state_dir, out, err);
	sr_here_close(&here);
	return rc;
}

/* Just what is promised, in this order, whatever else a daemon says. */
static json_t *trim(const json_t *list)
{
	static const char *const names[] = {"id", "store", "path", "when", "reason", "size"};
	json_t *out = json_array(), *o;
	size_t i;

	for (i = 0; (o = json_array_get(list, i)); i++) {
		json_t *entry = json_object();

		for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
			json_t *v = json_object_get(o, names[k]);

			json_object_set_new(entry, names[k], v ? json_incref(v) : json_null());
		}
		json_array_append_new(out, entry);
	}
	return out;
}

static void show(const json_t *list, FILE *out)
{
	struct sr_table t;
	size_t i;
	json_t *o;

	if (!json_array_size(list))
		return;
	sr_table_start(&t, "lllrl");
	for (const char *const *h = (const char *const[]){"ID", "WHEN", "REASON", "SIZE", "PATH", NULL}; *h; h++)
		sr_table_add(&t, "%s", *h);
	for (i = 0; (o = json_array_get(list, i)); i++) {
		for (const char *const *h = (const char *const[]){"id", "when", "reason", NULL}; *h; h++) {
			const char *v = json_string_value(json_object_get(o, *h));

			sr_table_add(&t, "%s", v ? v : "-");
		}
		sr_table_add(&t, "%lld", (long long)json_integer_value(json_object_get(o, "size")));
		sr_table_add(&t, "%s", json_string_value(json_object_get(o, "path")) ? json_string_value(json_object_get(o, "path")) : "-");
	}
	sr_table_print(&t, out, "");
}

enum sr_status sr_admin_conflicts_list(const struct sr_admin *a, int *status, struct sr_err *err)
{
	struct sr_buf body = {0};
	json_t *all = NULL, *list = NULL;
	char *text = NULL;
	enum sr_status rc = fetch(a, &body, err);

	if (rc == SR_OK)
		all = json_loadb(body.at ? (const char *)body.at : "", body.len, 0, NULL);
	if (rc == SR_OK && !json_is_array(all))
		rc = sr_err_set(err, SR_E_DATA, "list of conflicts: not a JSON array");
	if (rc != SR_OK)
		goto out;
	list = trim(all);
	if (a->json) {
		text = json_dumps(list, JSON_COMPACT);
		fprintf(a->out, "%s\n", text);
	} else {
		show(list, a->out);
	}
	*status = 0;
out:
	free(text);
	json_decref(all);
	json_decref(list);
	sr_buf_free(&body);
	return rc;
}
