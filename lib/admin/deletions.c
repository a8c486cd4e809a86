/* deletions.c - `sameroot adopt --deletions`: let through what the deletion limit holds on this node.  See admin.h. */
#include "lib/admin/deletions.h"

#include <jansson.h>
#include <string.h>

#include "lib/admin/here.h"
#include "lib/admin/offline.h"
#include "lib/admin/owner.h"
#include "lib/admin/preview.h"
#include "lib/admin/table.h"
#include "lib/replica/waiting.h"

#define QUESTION "Let these deletions through? [y/N] "

static const char *text(const json_t *o, const char *name)
{
	return json_string_value(json_object_get(o, name));
}

static long long number(const json_t *o, const char *name)
{
	return (long long)json_integer_value(json_object_get(o, name));
}

static void show_paths(const json_t *held, FILE *out)
{
	const json_t *paths = json_object_get(held, "paths");
	long long more = number(held, "deletions") - (long long)json_array_size(paths);
	struct sr_table t;
	json_t *path;
	size_t i;

	sr_table_start(&t, "l");
	for (i = 0; (path = json_array_get(paths, i)); i++)
		sr_table_add(&t, "%s", json_string_value(path));
	if (i && more > 0)
		sr_table_add(&t, "and %lld more", more);
	sr_table_print(&t, out, "      ");
}

static void show_unit(const char *store, const json_t *held, FILE *out)
{
	char since[SR_WHEN_TEXT];
	struct sr_buf what = {0};
	struct sr_table t;

	sr_held_text(held, &what);
	sr_when_text(since, number(held, "since_ms"));
	sr_table_start(&t, "lll");
	sr_table_add(&t, "%s", store);
	sr_table_add(&t, "%s", sr_buf_text(&what));
	sr_table_add(&t, "held since %s", since);
	sr_table_print(&t, out, "  ");
	show_paths(held, out);
	sr_buf_free(&what);
}

/* How many units are held. */
static size_t show(const json_t *status, FILE *out)
{
	const json_t *stores = json_object_get(status, "stores");
	size_t i, k, n = 0;
	json_t *store, *held;

	for (i = 0; (store = json_array_get(stores, i)); i++) {
		bool directly = false;

		for (k = 0; (held = json_array_get(json_object_get(store, "held"), k)); k++, n++) {
			show_unit(text(store, "name"), held, out);
			directly |= sr_held_directly(held);
		}
		if (directly)
			fprintf(out,
				"What was deleted directly is kept nowhere: let through, it is gone from the webservers, too, and no `sameroot restore` "
				"brings it back.\n"
				"To have it back, with sameroot-datastore stopped: `sameroot-restore datastore --from https://WEBSERVER:9406 --store %s`\n",
				text(store, "name"));
	}
	return n;
}

/* [{"store", "held": [...]}], as the daemon says it. */
static json_t *preview_json(const json_t *status)
{
	json_t *list = json_array(), *store;

	for (size_t i = 0; (store = json_array_get(json_object_get(status, "stores"), i)); i++)
		if (json_array_size(json_object_get(store, "held")))
			json_array_append_new(list, json_pack("{sOsO}", "store", json_object_get(store, "name"), "held", json_object_get(store, "held")));
	return list;
}

/* Without a daemon: under its lock. */
static enum sr_status approve_offline(const struct sr_admin *a, struct sr_err *err)
{
	struct sr_state *state = NULL;
	struct sr_ledger *ledger = NULL;
	bool fresh;
	struct sr_owner owner = sr_owner_of(sr_admin_state_dir(a));
	enum sr_status rc = sr_state_open(&state, sr_admin_state_dir(a), &fresh, err);

	if (rc == SR_OK)
		rc = sr_ledger_open(&ledger, state, err);
	if (rc == SR_OK) {
		(void)sr_ledger_approve(ledger);
		rc = sr_ledger_save(ledger, err);
	}
	sr_ledger_close(ledger);
	sr_state_close(state);
	sr_owner_give(&owner, sr_admin_state_dir(a));
	return rc;
}

static enum sr_status look(struct sr_here *h, const struct sr_admin *a, struct sr_buf *body, json_t **out, struct sr_err *err)
{
	enum sr_status rc = sr_here_get(h, "/api/admin/status", h->status_most, body, err);
	struct sr_err gone = {0};

	if (rc == SR_OK) {
		*out = json_loadb((const char *)body->at, body->len, 0, NULL);
		return *out ? rc : sr_err_set(err, SR_E_DATA, "status of the %s: not JSON", h->name);
	}
	return rc == SR_E_UNAVAILABLE && h->absent && sr_offline_status(a, out, &gone) == SR_OK ? SR_OK : rc;
}

/* Has a webserver told of deletions that it holds?  These, too, the datastore's operator lets through. */
static bool is_held_elsewhere(const json_t *status)
{
	json_t *w, *held;
	size_t i, k;

	for (i = 0; (w = json_array_get(json_object_get(status, "webservers"), i)); i++)
		for (k = 0; (held = json_array_get(json_object_get(json_object_get(w, "status"), "held"), k)); k++)
			if (strstr(text(held, "why") ? text(held, "why") : "", "deleted"))
				return true;
	return false;
}

static enum sr_status decide(struct sr_here *h, const struct sr_admin *a, const json_t *status, struct sr_err *err)
{
	FILE *out = a->json ? a->notes : a->out;
	json_t *preview = preview_json(status);
	struct sr_buf answer = {0};
	enum sr_status rc;

	if (!show(status, out) && !is_held_elsewhere(status)) {
		fputs("No deletions are held here.\n", out);
		sr_preview_answer(a, "deletions", preview, NULL);
		return SR_OK;
	}
	if (sr_admin_is_datastore(a))
		fputs("Webservers may pull the deletions up to the datastore's present state.\n", out);
	rc = sr_admin_agree(a, QUESTION, err);
	if (rc == SR_OK && h->absent)
		rc = approve_offline(a, err);
	else if (rc == SR_OK)
		rc = sr_here_post(h, "/api/admin/adopt", sr_bytes_of("{\"what\":\"deletions\"}"), h->status_most, &answer, err);
	sr_preview_answer(a, "deletions", preview, rc == SR_OK ? &answer : NULL);
	if (rc == SR_OK && !a->json)
		fputs("Let through: they go with the next round.\n", a->out);
	sr_buf_free(&answer);
	return rc;
}

enum sr_status sr_adopt_deletions(const struct sr_admin *a, int *exit_status, struct sr_err *err)
{
	struct sr_here here = {0};
	struct sr_buf body = {0};
	json_t *status = NULL;
	enum sr_status rc = sr_here_open(&here, a, err);

	if (rc == SR_OK)
		rc = look(&here, a, &body, &status, err);
	if (rc == SR_OK)
		rc = decide(&here, a, status, err);
	if (rc == SR_OK)
		*exit_status = 0;
	json_decref(status);
	sr_buf_free(&body);
	sr_here_close(&here);
	return rc;
}
