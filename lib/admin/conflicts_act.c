/* conflicts_act.c - `sameroot conflicts restore` and `remove`: shown first, then asked about, then done.  See admin.h. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/admin/conflicts.h"
#include "lib/admin/table.h"
#include "lib/base/door.h"
#include "lib/base/json.h"

#define SHOWN 20    /* of those that will go */
#define CHUNK 10000 /* ids in one request */

static FILE *talk(const struct sr_admin *a)
{
	return a->json ? a->notes : a->out; /* with --json the standard output is for the answer alone */
}

/* --- restore ------------------------------------------------------------------------------------------------------------------------- */

/* What is there now is neither what won then nor the version itself: somebody changed it since. */
static bool was_changed(const json_t *o)
{
	return !json_is_true(json_object_get(o, "is_winner")) && !json_is_true(json_object_get(o, "is_it"));
}

static enum sr_status look_at(struct sr_conflicts *c, const char *given, json_t *ids, size_t *changed, struct sr_err *err)
{
	const struct sr_admin *a = c->a;
	const json_t *now;
	json_t *o = NULL;
	enum sr_status rc = sr_conflicts_show(c, given, &o, err);

	if (rc != SR_OK)
		return rc;
	now = json_object_get(o, "now");
	if (a->as) {
		json_array_append_new(ids, json_pack("{s:O}", "id", json_object_get(o, "id")));
	} else if (sr_json_text(now, "unknown", NULL)) {
		rc = sr_err_set(err, SR_E_UNAVAILABLE, "%s: %s", sr_json_text(o, "path", "-"), sr_json_text(now, "unknown", ""));
	} else {
		json_array_append_new(ids, json_pack("{s:O, s:O}", "id", json_object_get(o, "id"), "over", json_object_get(o, "over")));
		if (was_changed(o)) {
			++*changed;
			fprintf(talk(a), "%s was changed since: what is there now is not what won then, and will be replaced (%s shows both).\n",
				sr_json_text(o, "path", "-"), "`sameroot conflicts show`");
		}
	}
	json_decref(o);
	return rc;
}

static enum sr_status gather(struct sr_conflicts *c, json_t *ids, struct sr_err *err)
{
	enum sr_status rc = SR_OK;
	size_t changed = 0;

	for (size_t i = 0; rc == SR_OK && i < c->a->n_args; i++)
		rc = look_at(c, c->a->args[i], ids, &changed, err);
	return rc == SR_OK && changed ? sr_admin_agree(c->a, "Restore all the same? [y/N] ", err) : rc;
}

static void show_restored(const struct sr_conflicts *c, const json_t *list)
{
	const char *how = c->replica ? "it goes on its way when the daemon runs again" : "it goes on its way at once";
	size_t i;
	json_t *o;

	for (i = 0; (o = json_array_get(list, i)); i++) {
		bool made = strcmp(sr_json_text(o, "result", ""), "restored") == 0;
		const char *later = sr_json_text(o, "later", NULL);

		if (later)
			fprintf(c->a->out, "%s: %s stays in the archive, for %s of the same path is the later one\n",
				sr_json_text(o, "path", "-"), sr_json_text(o, "id", "-"), later);
		else
			fprintf(c->a->out, "%s: %s%s%s\n", sr_json_text(o, "path", "-"), sr_json_text(o, "result", "-"),
				made ? "; " : "", made ? how : "");
	}
}

enum sr_status sr_admin_conflicts_restore(const struct sr_admin *a, int *status, struct sr_err *err)
{
	json_t *wish = json_object(), *ids = json_array(), *answer = NULL;
	struct sr_conflicts c;
	enum sr_status rc;

	json_object_set_new(wish, "ids", ids);
	json_object_set_new(wish, "keep", json_boolean(a->keep));
	if (a->as)
		json_object_set_new(wish, "as", json_string(a->as));
	rc = sr_conflicts_open(&c, a, err);
	if (rc == SR_OK && !a->n_args)
		rc = sr_err_set(err, SR_E_USAGE, "restore which?  Ids of `sameroot conflicts list`");
	if (rc == SR_OK)
		rc = gather(&c, ids, err);
	if (rc == SR_OK)
		rc = sr_conflicts_do(&c, "restore", wish, &answer, err);
	if (rc == SR_OK) {
		if (a->json)
			sr_admin_print_json(a, answer);
		else
			show_restored(&c, answer);
		*status = 0;
	}
	json_decref(answer);
	json_decref(wish);
	sr_conflicts_close(&c);
	return rc;
}

/* --- remove ------------------------------------------------------------------------------------------------------------------------------ */

static int64_t when_ms(const json_t *entry)
{
	struct tm tm = {0};
	const char *text = sr_json_text(entry, "when", "");

	return strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) ? (int64_t)timegm(&tm) * 1000 : INT64_MAX;
}

static enum sr_status days_of(const char *text, int64_t *before_ms, struct sr_err *err)
{
	char *end;
	double days = strtod(text, &end);

	if (end == text || *end || !(days >= 0) || days > 1e6)
		return sr_err_set(err, SR_E_USAGE, "--older-than %s: a number of days is meant", text);
	*before_ms = sr_now_ms() - (int64_t)(days * 86400000);
	return SR_OK;
}

static enum sr_status pick_by_id(struct sr_conflicts *c, json_t *picked, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t i = 0; rc == SR_OK && i < c->a->n_args; i++) {
		json_t *o = NULL;

		rc = sr_conflicts_show(c, c->a->args[i], &o, err);
		if (rc == SR_OK)
			json_array_append(picked, o);
		json_decref(o);
	}
	return rc;
}

static enum sr_status pick_all(struct sr_conflicts *c, json_t *picked, struct sr_err *err)
{
	const struct sr_admin *a = c->a;
	int64_t before_ms = INT64_MAX;
	json_t *list = NULL, *o;
	enum sr_status rc = a->older_than ? days_of(a->older_than, &before_ms, err) : SR_OK;

	if (rc == SR_OK)
		rc = sr_conflicts_list(c, &list, err);
	for (size_t i = 0; rc == SR_OK && (o = json_array_get(list, i)); i++)
		if ((!a->older_than || when_ms(o) < before_ms) && (!a->all_of || strcmp(sr_json_text(o, "store", ""), a->all_of) == 0))
			json_array_append(picked, o);
	json_decref(list);
	return rc;
}

static void show_picked(const struct sr_admin *a, const json_t *picked)
{
	size_t n = json_array_size(picked);
	struct sr_table t;

	sr_table_start(&t, "lll");
	for (size_t i = 0; i < n && i < SHOWN; i++)
		for (const char *const *h = (const char *const[]){"id", "reason", "path", NULL}; *h; h++)
			sr_table_add(&t, "%s", sr_json_text(json_array_get(picked, i), *h, "-"));
	fprintf(talk(a), "%zu archived version%s will be gone for good:\n", n, n == 1 ? "" : "s");
	sr_table_print(&t, talk(a), "  ");
	if (n > SHOWN)
		fprintf(talk(a), "  and %zu more\n", n - SHOWN);
}

static enum sr_status remove_picked(struct sr_conflicts *c, const json_t *picked, long long *removed, struct sr_err *err)
{
	enum sr_status rc = SR_OK;
	size_t n = json_array_size(picked), i = 0;

	while (rc == SR_OK && i < n) {
		json_t *wish = json_object(), *ids = json_array(), *answer = NULL;

		for (size_t end = i + CHUNK; i < n && i < end; i++)
			json_array_append(ids, json_object_get(json_array_get(picked, i), "id"));
		json_object_set_new(wish, "ids", ids);
		rc = sr_conflicts_do(c, "remove", wish, &answer, err);
		*removed += (long long)json_integer_value(json_object_get(answer, "removed"));
		json_decref(answer);
		json_decref(wish);
	}
	return rc;
}

static enum sr_status check_remove(const struct sr_admin *a, struct sr_err *err)
{
	bool some = a->older_than || a->all_of;

	if (some == (a->n_args > 0))
		return sr_err_set(err, SR_E_USAGE, "remove which?  Either ids, or --older-than DAYS, --all-of STORE or both of these");
	return SR_OK;
}

enum sr_status sr_admin_conflicts_remove(const struct sr_admin *a, int *status, struct sr_err *err)
{
	json_t *picked = json_array();
	struct sr_conflicts c = {.a = a};
	long long removed = 0;
	enum sr_status rc = check_remove(a, err);

	if (rc == SR_OK)
		rc = sr_conflicts_open(&c, a, err);
	if (rc == SR_OK)
		rc = a->n_args ? pick_by_id(&c, picked, err) : pick_all(&c, picked, err);
	if (rc == SR_OK && json_array_size(picked)) {
		show_picked(a, picked);
		rc = sr_admin_agree(a, "Remove? [y/N] ", err);
	}
	if (rc == SR_OK)
		rc = remove_picked(&c, picked, &removed, err);
	if (rc == SR_OK) {
		fprintf(a->out, a->json ? "{\"removed\":%lld}\n" : "%lld removed\n", removed);
		*status = 0;
	}
	json_decref(picked);
	sr_conflicts_close(&c);
	return rc;
}
