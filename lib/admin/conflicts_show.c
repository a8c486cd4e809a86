/* conflicts_show.c - `sameroot conflicts show`: an archived version, beside what won and what is there now.  See admin.h. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/admin/conflicts.h"
#include "lib/admin/table.h"
#include "lib/base/json.h"

#define SHOWN 200 /* bytes of a value */

struct sides { /* columns, or NULL: nothing is known of that side */
	const json_t *it, *now, *won;
};

static const char *member(const json_t *o, const char *name)
{
	return sr_json_text(o, name, "-");
}

/* --- a row ------------------------------------------------------------------------------------------------------------------------- */

static void add_value(struct sr_table *t, const json_t *columns, const char *name)
{
	const json_t *v = json_object_get(columns, name);
	char *text = v ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

	if (!columns)
		sr_table_add(t, "-");
	else
		sr_table_add(t, "%.*s%s", SHOWN, text ? text : "NULL", text && strlen(text) > SHOWN ? "..." : "");
	free(text);
}

static bool differs(const json_t *a, const json_t *b, const char *name)
{
	const json_t *x = json_object_get(a, name), *y = json_object_get(b, name);

	return a && b && (!x || !y ? x != y : !json_equal(x, y));
}

static void add_names(json_t *names, const json_t *columns)
{
	const char *name;
	json_t *v;

	json_object_foreach((json_t *)columns, name, v)
	{
		(void)v;
		json_object_set_new(names, name, json_null());
	}
}

static void show_row(const struct sides *s, FILE *out)
{
	json_t *names = json_object(), *v;
	const char *name;
	struct sr_table t;

	add_names(names, s->it);
	add_names(names, s->now);
	add_names(names, s->won);
	sr_table_start(&t, "lllll");
	for (const char *const *h = (const char *const[]){"", "COLUMN", "ARCHIVED", "NOW", "WON THEN", NULL}; *h; h++)
		sr_table_add(&t, "%s", *h);
	json_object_foreach(names, name, v)
	{
		(void)v;
		sr_table_add(&t, "%s", differs(s->it, s->now, name) || differs(s->it, s->won, name) ? "*" : " ");
		sr_table_add(&t, "%s", name);
		add_value(&t, s->it, name);
		add_value(&t, s->now, name);
		add_value(&t, s->won, name);
	}
	fputc('\n', out);
	sr_table_print(&t, out, "");
	json_decref(names);
}

/* --- anything -------------------------------------------------------------------------------------------------------------------------- */

static void add_side(struct sr_table *t, const char *side, const json_t *v)
{
	sr_table_add(t, "%s", side);
	if (sr_json_text(v, "unknown", NULL)) {
		sr_table_add(t, "not known: %s", member(v, "unknown"));
		for (int k = 0; k < 3; k++)
			sr_table_add(t, " ");
		return;
	}
	sr_table_add(t, "%s", member(v, "kind"));
	sr_table_add(t, "%s", member(v, "mode"));
	if (json_object_get(v, "bytes"))
		sr_table_add(t, "%lld", (long long)json_integer_value(json_object_get(v, "bytes")));
	else
		sr_table_add(t, "-");
	sr_table_add(t, "%s", member(v, "hash"));
}

static const char *what_now(const json_t *o)
{
	if (json_is_true(json_object_get(o, "is_it")))
		return "it is what is there now";
	if (json_is_true(json_object_get(o, "is_winner")))
		return "what won then is there now";
	return json_object_get(o, "over") ? "it was changed since: what is there now is neither" : "what is there now is not known";
}

static void show(const json_t *o, const json_t *won, FILE *out)
{
	const json_t *now = json_object_get(o, "now");
	struct sides s = {.it = json_object_get(o, "columns"), .now = json_object_get(now, "columns"), .won = won};
	struct sr_table t;

	sr_table_start(&t, "ll");
	for (const char *const *h = (const char *const[]){"id", "path", "when", "reason", "content", NULL}; *h; h++) {
		sr_table_add(&t, "%s", *h);
		sr_table_add(&t, "%s", member(o, *h));
	}
	sr_table_add(&t, "now");
	sr_table_add(&t, "%s", what_now(o));
	sr_table_print(&t, out, "");
	fputc('\n', out);
	sr_table_start(&t, "lllrl");
	for (const char *const *h = (const char *const[]){"", "KIND", "MODE", "BYTES", "HASH", NULL}; *h; h++)
		sr_table_add(&t, "%s", *h);
	add_side(&t, "archived", json_object_get(o, "version"));
	add_side(&t, "won then", json_object_get(o, "winner"));
	add_side(&t, "now", now);
	sr_table_print(&t, out, "");
	if (s.it)
		show_row(&s, out);
}

/* The winner's columns: those of what is there, if it won, else out of the datastore's history. */
static json_t *won_of(const struct sr_admin *a, const json_t *o)
{
	const json_t *winner = json_object_get(o, "winner");
	const char *hash = sr_json_text(winner, "hash", NULL);

	if (!json_object_get(o, "columns") || !hash || strcmp(member(winner, "kind"), "row") != 0)
		return NULL;
	if (json_is_true(json_object_get(o, "is_winner")))
		return json_incref(json_object_get(json_object_get(o, "now"), "columns"));
	return sr_conflicts_columns(a, hash, member(o, "path"));
}

static void print_one(const struct sr_admin *a, json_t *o)
{
	json_t *won = won_of(a, o);

	if (a->json) {
		json_object_set_new(o, "winner_columns", won ? json_incref(won) : json_null());
		sr_admin_print_json(a, o);
	} else {
		show(o, won, a->out);
	}
	json_decref(won);
}

enum sr_status sr_admin_conflicts_show(const struct sr_admin *a, int *status, struct sr_err *err)
{
	struct sr_conflicts c;
	json_t *o = NULL;
	enum sr_status rc;

	if (a->n_args != 1)
		return sr_err_set(err, SR_E_USAGE, "show which?  One id of `sameroot conflicts list`");
	rc = sr_conflicts_open(&c, a, err);
	if (rc == SR_OK)
		rc = sr_conflicts_show(&c, a->args[0], &o, err);
	if (rc == SR_OK && a->content)
		rc = sr_conflicts_content(&c, member(o, "id"), err);
	else if (rc == SR_OK)
		print_one(a, o);
	if (rc == SR_OK)
		*status = 0;
	json_decref(o);
	sr_conflicts_close(&c);
	return rc;
}
