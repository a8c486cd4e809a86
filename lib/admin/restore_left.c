/* restore_left.c - what a restore left that was interrupted: a plan that is not ended, and stores that are half built. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/admin/restore_internal.h"
#include "lib/admin/table.h"
#include "lib/leaf/leaf_json.h"

/* --- what is asked for, so that it is known again --------------------------------------------------------------------------------- */

static void add_each(struct sr_buf *out, const char *option, const struct sr_cli_list *list)
{
	for (size_t k = 0; k < list->n; k++)
		sr_buf_printf(out, " --%s %s", option, list->at[k]);
}

char *sr_restore_request(const struct sr_restore_options *o)
{
	struct sr_buf text = {0};
	char *out;

	sr_buf_printf(&text, "sameroot-restore %s", o->role == SR_ROLE_DATASTORE ? "datastore" : "webserver");
	add_each(&text, "from", &o->from);
	if (o->from_files)
		sr_buf_printf(&text, " --from-files");
	add_each(&text, "file", &o->files);
	if (o->from_backup)
		sr_buf_printf(&text, " --from-backup %s", o->from_backup);
	if (o->from_datastore)
		sr_buf_printf(&text, " --from-datastore");
	add_each(&text, "store", &o->stores);
	if (o->path)
		sr_buf_printf(&text, " --path %s", o->path);
	out = sr_text(sr_buf_view(&text));
	sr_buf_free(&text);
	return out;
}

/* --- a plan ------------------------------------------------------------------------------------------------------------------------- */

enum sr_status sr_restore_pending_held(const struct sr_restore *x, const struct sr_swap_pending *p, struct sr_err *err)
{
	char when[SR_WHEN_TEXT];

	sr_when_text(when, p->since_ms);
	return sr_err_set(err, SR_E_UNAVAILABLE,
			  "an earlier restore was interrupted when everything was ready, and is not in place yet: `%.400s`, of %s, which is for %.400s; "
			  "nothing is done now; run sameroot-restore without --dry-run, or start %s: either puts it in place first",
			  p->request, when, p->paths, sr_restore_daemon(x));
}

bool sr_restore_pending_ended(const struct sr_restore *x, const struct sr_swap_pending *p)
{
	char when[SR_WHEN_TEXT], *asked = sr_restore_request(x->o);
	bool same = !strcmp(asked, p->request);

	sr_when_text(when, p->since_ms);
	fprintf(x->o->notes, "The restore that was interrupted had everything ready: it is in place now: %s\n  `%s`, of %s\n", p->paths, p->request,
		when);
	if (same)
		fprintf(x->o->notes, "Start %s; or run this again to have what the source has now.\n",
			sr_restore_daemon(x));
	else
		fprintf(x->o->notes, "What is asked for now is another one, and follows.\n");
	free(asked);
	return same;
}

/* --- half built --------------------------------------------------------------------------------------------------------------------- */

json_t *sr_restore_left(const struct sr_config *c, enum sr_role role)
{
	json_t *list = json_array();

	for (size_t i = 0; i < c->store_count; i++) {
		const char *path = role == SR_ROLE_DATASTORE ? c->stores[i].datastore_path : c->stores[i].path;
		size_t len = path ? strlen(path) : 0;
		char *staged;

		while (len > 1 && path[len - 1] == '/')
			len--;
		staged = sr_format("%.*s.restoring", (int)len, path ? path : "");
		if (path && access(staged, F_OK) == 0)
			json_array_append_new(list, json_pack("{s:s, s:o}", "store", c->stores[i].name, "path", sr_name_json(sr_bytes_of(staged))));
		free(staged);
	}
	return list;
}

void sr_restore_name_left(const struct sr_config *c, enum sr_role role, FILE *out)
{
	json_t *list = sr_restore_left(c, role), *o;
	size_t i;

	for (i = 0; (o = json_array_get(list, i)); i++)
		fprintf(out,
			"store %s: %s is left of a restore that was interrupted: the next `sameroot-restore %s` of this store goes on with it; or "
			"remove it\n",
			json_string_value(json_object_get(o, "store")), json_string_value(json_object_get(o, "path")),
			role == SR_ROLE_DATASTORE ? "datastore" : "webserver");
	json_decref(list);
}
