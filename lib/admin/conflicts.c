/* conflicts.c - `sameroot conflicts list`: what lost, and lies in the conflict archive, here or everywhere.  See admin.h. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/admin/conflicts.h"
#include "lib/admin/table.h"
#include "lib/base/json.h"

/* --- which are wanted ------------------------------------------------------------------------------------------------------------ */

static bool is_wanted(const char *prefix, const json_t *entry)
{
	return strncmp(sr_json_text(entry, "path", ""), prefix, strlen(prefix)) == 0;
}

/* Just what is promised, in this order, whatever else a daemon says; behind `node`, if there is one. */
static void add(json_t *out, const json_t *entry, const json_t *node)
{
	static const char *const names[] = {"id", "store", "path", "when", "reason", "kind", "size"};
	json_t *o = json_object();

	if (node) {
		json_object_set_new(o, "node", json_string(sr_json_text(node, "name", "-")));
		json_object_set(o, "uuid", json_object_get(node, "uuid"));
	}
	for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
		json_t *v = json_object_get(entry, names[k]);

		json_object_set_new(o, names[k], v ? json_incref(v) : json_null());
	}
	json_array_append_new(out, o);
}

static json_t *wanted_of(const struct sr_admin *a, const json_t *list, const json_t *node)
{
	char *prefix = sr_admin_path(a->path ? a->path : "");
	json_t *out = json_array(), *o;
	size_t i;

	for (i = 0; (o = json_array_get(list, i)); i++)
		if (is_wanted(prefix, o))
			add(out, o, node);
	free(prefix);
	return out;
}

/* --- showing ----------------------------------------------------------------------------------------------------------------------- */

static void heads(struct sr_table *t, const char *const *h)
{
	for (; *h; h++)
		sr_table_add(t, "%s", *h);
}

static void add_row(struct sr_table *t, const json_t *o)
{
	for (const char *const *h = (const char *const[]){"id", "when", "reason", NULL}; *h; h++)
		sr_table_add(t, "%s", sr_json_text(o, *h, "-"));
	sr_table_add(t, "%lld", (long long)json_integer_value(json_object_get(o, "size")));
	sr_table_add(t, "%s", sr_json_text(o, "path", "-"));
}

static void show(const json_t *list, FILE *out)
{
	struct sr_table t;
	size_t i;
	json_t *o;

	if (!json_array_size(list))
		return;
	sr_table_start(&t, "lllrl");
	heads(&t, (const char *const[]){"ID", "WHEN", "REASON", "SIZE", "PATH", NULL});
	for (i = 0; (o = json_array_get(list, i)); i++)
		add_row(&t, o);
	sr_table_print(&t, out, "");
}

static enum sr_status list_here(const struct sr_admin *a, struct sr_err *err)
{
	json_t *all = NULL, *list;
	struct sr_conflicts c;
	enum sr_status rc = sr_conflicts_open(&c, a, err);

	if (rc == SR_OK)
		rc = sr_conflicts_list(&c, &all, err);
	if (rc == SR_OK) {
		list = wanted_of(a, all, NULL);
		if (a->json)
			sr_admin_print_json(a, list);
		else
			show(list, a->out);
		json_decref(list);
	}
	json_decref(all);
	sr_conflicts_close(&c);
	return rc;
}

/* --- everywhere ------------------------------------------------------------------------------------------------------------------------- */

static void show_nodes(const struct sr_admin *a, const json_t *nodes)
{
	struct sr_table t;
	size_t i;
	json_t *n;

	sr_table_start(&t, "lllrrl");
	heads(&t, (const char *const[]){"NODE", "UUID", "ROLE", "ENTRIES", "BYTES", "AS OF", NULL});
	for (i = 0; (n = json_array_get(nodes, i)); i++) {
		sr_table_add(&t, "%s", sr_json_text(n, "name", "-"));
		sr_table_add(&t, "%.8s", sr_json_text(n, "uuid", "-"));
		sr_table_add(&t, "%s", sr_json_text(n, "role", "-"));
		sr_table_add(&t, "%lld", (long long)json_integer_value(json_object_get(n, "total")));
		sr_table_add(&t, "%lld", (long long)json_integer_value(json_object_get(n, "bytes")));
		sr_table_add(&t, "%s%s", sr_json_text(n, "reported", "never told"),
			     json_is_true(json_object_get(n, "stale")) ? ", not seen since: it may hold others by now" : "");
	}
	sr_table_print(&t, a->out, "");
}

static void show_everywhere(const struct sr_admin *a, const json_t *nodes, const json_t *list)
{
	struct sr_table t;
	size_t i;
	json_t *o;

	show_nodes(a, nodes);
	if (!json_array_size(list))
		return;
	fputc('\n', a->out);
	sr_table_start(&t, "lllllrl");
	heads(&t, (const char *const[]){"NODE", "UUID", "ID", "WHEN", "REASON", "SIZE", "PATH", NULL});
	for (i = 0; (o = json_array_get(list, i)); i++) {
		sr_table_add(&t, "%s", sr_json_text(o, "node", "-"));
		sr_table_add(&t, "%.8s", sr_json_text(o, "uuid", "-"));
		add_row(&t, o);
	}
	sr_table_print(&t, a->out, "");
	for (i = 0; (o = json_array_get(nodes, i)); i++) {
		long long more = (long long)json_integer_value(json_object_get(o, "total")) -
				 (long long)json_array_size(json_object_get(o, "entries"));

		if (more > 0)
			fprintf(a->out, "and %lld older ones on %s: `sameroot conflicts list` there names all\n", more,
				sr_json_text(o, "name", "-"));
	}
}

static enum sr_status list_everywhere(const struct sr_admin *a, struct sr_err *err)
{
	json_t *nodes = NULL, *list = json_array(), *one, *n;
	enum sr_status rc = sr_conflicts_everywhere(a, &nodes, err);
	size_t i;

	for (i = 0; rc == SR_OK && (n = json_array_get(nodes, i)); i++) {
		one = wanted_of(a, json_object_get(n, "entries"), n);
		json_array_extend(list, one);
		json_decref(one);
	}
	if (rc == SR_OK && a->json)
		sr_admin_print_json(a, list);
	else if (rc == SR_OK)
		show_everywhere(a, nodes, list);
	json_decref(nodes);
	json_decref(list);
	return rc;
}

enum sr_status sr_admin_conflicts_list(const struct sr_admin *a, int *status, struct sr_err *err)
{
	enum sr_status rc = a->all ? list_everywhere(a, err) : list_here(a, err);

	if (rc == SR_OK)
		*status = 0;
	return rc;
}
