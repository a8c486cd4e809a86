/* adopt.c - `sameroot adopt`; --deletions is deletions.c.  `adopt --union`, on the datastore: take a history that is not the webservers' for theirs.  See admin.h. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/admin/deletions.h"
#include "lib/admin/here.h"
#include "lib/admin/mirror.h"
#include "lib/admin/preview.h"
#include "lib/admin/table.h"
#include "lib/admin/union.h"
#include "lib/base/json.h"

#define QUESTION "Adopt a union? [y/N] "

/* --- what it will do ---------------------------------------------------------------------------------------------------------- */

static long long number(const json_t *o, const char *name)
{
	return (long long)json_integer_value(json_object_get(o, name));
}

static void add_compared(struct sr_table *t, const json_t *w)
{
	const json_t *c = json_object_get(w, "compared");

	if (json_is_object(c))
		sr_table_add(t, "%lld equal, %lld only at the datastore, %lld only there, %lld different", number(c, "equal"), number(c, "here"),
			     number(c, "there"), number(c, "different"));
	else
		sr_table_add(t, "not compared (%s): its state is united when it checks in", sr_json_text(w, "why_not", "it was not asked"));
}

static void show_webservers(const json_t *list, FILE *out)
{
	struct sr_table t;
	size_t i;
	json_t *w;

	fputs(json_array_size(list) ? "Webservers that are known here:\n" : "No webserver is known here yet.\n", out);
	sr_table_start(&t, "lllll");
	for (i = 0; (w = json_array_get(list, i)); i++) {
		sr_table_add(&t, "%s", sr_json_text(w, "name", sr_json_text(w, "uuid", "-")));
		sr_table_add(&t, "history %s", sr_json_text(w, "history", "not seen since the start"));
		sr_table_add(&t, "epoch %lld, seq %lld", (long long)json_integer_value(json_object_get(w, "epoch")),
			     (long long)json_integer_value(json_object_get(w, "seq")));
		sr_table_add(&t, "seen %s", sr_json_text(w, "seen", "never"));
		add_compared(&t, w);
	}
	sr_table_print(&t, out, "  ");
}

static bool is_held(const json_t *w)
{
	const char *history = sr_json_text(w, "history", "");

	return !strcmp(history, "ahead") || !strcmp(history, "fork") || !strcmp(history, "foreign");
}

/* Whom it lets in, of which instance, and up to where the epoch has to rise for them. */
static long long show_predecessors(const json_t *list, long long epoch, FILE *out)
{
	size_t i;
	json_t *w;

	for (i = 0; (w = json_array_get(list, i)); i++) {
		long long theirs = (long long)json_integer_value(json_object_get(w, "epoch"));

		if (!is_held(w))
			continue;
		epoch = theirs > epoch ? theirs : epoch;
		if (!strcmp(sr_json_text(w, "history", ""), "foreign"))
			fprintf(out, "Instance %s becomes its predecessor: webserver %s, which is held, reports it at epoch %lld, seq %lld.\n",
				sr_json_text(w, "instance", "-"), sr_json_text(w, "name", sr_json_text(w, "uuid", "-")), theirs,
				(long long)json_integer_value(json_object_get(w, "seq")));
	}
	return epoch;
}

/* counted: what is not founded yet has not been looked through, either. */
static void show_stores(const json_t *list, bool counted, FILE *out)
{
	struct sr_table t;
	size_t i;
	json_t *s;

	if (!json_array_size(list))
		return;
	fputs("What is united here:\n", out);
	sr_table_start(&t, "lrrl");
	for (i = 0; (s = json_array_get(list, i)); i++) {
		bool paused = !strcmp(sr_json_text(s, "mode", ""), "paused");

		sr_table_add(&t, "%s", sr_json_text(s, "name", "-"));
		sr_table_add(&t, counted ? "%lld leaves" : "", (long long)json_integer_value(json_object_get(s, "leaves")));
		sr_table_add(&t, counted ? "%lld bytes" : "not counted yet", (long long)json_integer_value(json_object_get(s, "bytes")));
		sr_table_add(&t, !paused ? "%s" : counted ? "it is paused, and stays so: %s" : "it is paused, and nothing is founded before it is well: %s",
			     paused ? sr_json_text(s, "why", "it does not say why") : "");
	}
	sr_table_print(&t, out, "  ");
}

static void preview(const json_t *status, FILE *out)
{
	const char *instance = sr_json_text(status, "instance", NULL);
	long long epoch = (long long)json_integer_value(json_object_get(status, "epoch"));
	long long highest = show_predecessors(json_object_get(status, "webservers"), epoch, out);

	if (instance)
		fprintf(out,
			"This datastore is instance %s, epoch %lld, seq %lld.  Its epoch will be raised to %lld.\n",
			instance, epoch, (long long)json_integer_value(json_object_get(status, "seq")), highest + 1);
	else
		fprintf(out, "This datastore has no history yet (%s).  A new one will be founded on what lies in its stores.\n",
			sr_json_text(status, "why", "it is new"));
	show_stores(json_object_get(status, "stores"), instance != NULL, out);
	show_webservers(json_object_get(status, "webservers"), out);
	fputs("Every webserver then unites its state with the datastore's: what is missing on a side is copied there, nothing is deleted, "
	      "but for names that the\n"
	      "datastore knows to be deleted later; where both have a version the newer one stands, and the other goes to the conflict "
	      "archive.  Webservers of\n"
	      "other instances that are held now are let in; one that is not listed, and is held later, needs the command once more.\n",
	      out);
}

/* What of the status the preview is made of. */
static json_t *preview_json(const json_t *status)
{
	json_t *o = json_object();

	for (const char *const *name = (const char *const[]){"instance", "epoch", "seq", "why", "stores", "webservers", NULL}; *name; name++)
		json_object_set(o, *name, json_object_get(status, *name));
	return o;
}

/* --- the command ---------------------------------------------------------------------------------------------------------------- */

static enum sr_status agree(const struct sr_admin *a, const json_t *status, struct sr_err *err)
{
	/* With --json the standard output is for the answer alone. */
	preview(status, a->json ? a->notes : a->out);
	return sr_admin_agree(a, QUESTION, err);
}

static enum sr_status parse(const struct sr_buf *body, json_t **out, struct sr_err *err)
{
	*out = json_loadb(body->at ? (const char *)body->at : "", body->len, 0, NULL);
	return *out ? SR_OK : sr_err_set(err, SR_E_DATA, "answer of the datastore: not JSON");
}

static enum sr_status adopt(const struct sr_admin *a, struct sr_here *h, struct sr_err *err)
{
	struct sr_buf before = {0}, after = {0};
	json_t *status = NULL, *result = NULL;
	enum sr_status rc = sr_here_get(h, "/api/admin/status", h->status_most, &before, err);

	if (rc == SR_E_UNAVAILABLE && h->absent)
		sr_err_context(err, "start it first (it waits, and changes nothing, until it is told)");
	if (rc == SR_OK)
		rc = parse(&before, &status, err);
	if (rc == SR_OK)
		sr_union_compare(a, h, json_object_get(status, "webservers"));
	if (rc == SR_OK)
		rc = agree(a, status, err);
	if (rc == SR_OK)
		rc = sr_here_post(h, "/api/admin/adopt", sr_bytes_of("{\"what\":\"union\"}"), h->status_most, &after, err);
	if (rc == SR_OK)
		rc = parse(&after, &result, err);
	if (rc == SR_OK && !a->json)
		fprintf(a->out, "Adopted: instance %s, epoch %lld.  Webservers unite at their next check-in; `sameroot status` lists who is held after it.\n",
			sr_json_text(result, "instance", "-"), (long long)json_integer_value(json_object_get(result, "epoch")));
	if (status)
		sr_preview_answer(a, "union", preview_json(status), rc == SR_OK ? &after : NULL);
	json_decref(status);
	json_decref(result);
	sr_buf_free(&before);
	sr_buf_free(&after);
	return rc;
}

enum sr_status sr_admin_adopt(const struct sr_admin *given, int *status, struct sr_err *err)
{
	struct sr_admin a = *given;
	struct sr_here here = {0};
	enum sr_status rc;

	if (a.adopt_union + a.adopt_mirror + a.adopt_deletions != 1)
		return sr_err_set(err, SR_E_USAGE,
				  "adopt what? --union: the datastore's and the webservers' states are united; --mirror: this webserver takes the "
				  "datastore's state as it is; --deletions: those that are held go through");
	if (a.store && !a.adopt_mirror)
		return sr_err_set(err, SR_E_USAGE, "--store goes with --mirror");
	if (a.adopt_mirror)
		return sr_adopt_mirror(&a, status, err);
	if (a.adopt_deletions)
		return sr_adopt_deletions(&a, status, err);
	if (a.side == SR_SIDE_WEBSERVER)
		return sr_err_set(err, SR_E_USAGE, "adopt --union is run on the datastore");
	a.side = SR_SIDE_DATASTORE;
	rc = sr_here_open(&here, &a, err);
	if (rc != SR_OK)
		return rc;
	if (!here.ever && a.config->datastore.host)
		rc = sr_err_set(err, SR_E_USAGE, "there is no datastore on this machine: run it on %s", a.config->datastore.host);
	else
		rc = adopt(&a, &here, err);
	if (rc == SR_OK)
		*status = 0;
	sr_here_close(&here);
	return rc;
}
