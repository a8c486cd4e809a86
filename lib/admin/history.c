/* history.c - `sameroot log` and `sameroot restore`: what changed when, and a path as it was.  See admin.h.
 *
 * The datastore's daemon knows both (lib/datastore/journal.c, restore.c).  On a webserver `log` asks that of its datastore; `restore` is an
 * admin's, and done on the datastore. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/admin/here.h"
#include "lib/admin/table.h"
#include "lib/admin/when.h"
#include "lib/base/json.h"

#define RESTORE_ITEMS 1000 /* of the answer: paths that could not be restored, and tables */

static const char *text_of(const json_t *o, const char *name)
{
	return sr_json_text(o, name, "-");
}

static uint64_t number_of(const json_t *o, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(o, name));
}

static enum sr_status parse(const struct sr_buf *body, json_t **out, struct sr_err *err)
{
	*out = json_loadb(body->at ? (const char *)body->at : "", body->len, 0, NULL);
	return *out ? SR_OK : sr_err_set(err, SR_E_DATA, "answer of the datastore: not JSON");
}

/* --- log ------------------------------------------------------------------------------------------------------------------- */

/* *most: bytes of the answer. */
static enum sr_status log_target(const struct sr_admin *a, char **out, size_t *most, struct sr_err *err)
{
	struct sr_buf encoded = {0};
	struct sr_when since = {0};
	const char *limit = a->limit ? a->limit : "100";
	enum sr_status rc = a->since ? sr_when_parse(a->since, sr_now_ms(), &since, err) : SR_OK;

	if (rc == SR_OK && since.is_seq)
		rc = sr_err_set(err, SR_E_USAGE, "--since is a time");
	if (rc == SR_OK && (strspn(limit, "0123456789") != strlen(limit) || !*limit || strlen(limit) > 6))
		rc = sr_err_set(err, SR_E_USAGE, "--limit is a number of entries, at most 100000");
	if (rc != SR_OK)
		return rc;
	*most = sr_answer_of(strtoul(limit, NULL, 10));
	sr_percent(&encoded, sr_bytes_of(a->path ? a->path : ""), "/");
	*out = sr_format("/api/log?path=%s&since=%" PRId64 "&limit=%s", sr_buf_text(&encoded), since.at_ms, limit);
	sr_buf_free(&encoded);
	return SR_OK;
}

static enum sr_status ask_here(const struct sr_admin *a, const char *target, size_t most, struct sr_buf *body, struct sr_err *err)
{
	struct sr_here here = {0};
	enum sr_status rc = sr_here_open(&here, a, err);

	if (rc == SR_OK)
		rc = sr_here_get(&here, target, most, body, err);
	sr_here_close(&here);
	return rc;
}

static enum sr_status ask_there(const struct sr_admin *a, const char *target, size_t most, struct sr_buf *body, struct sr_err *err)
{
	struct sr_contact *contact = NULL;
	struct sr_answer answer = {0};
	enum sr_status rc = sr_there_open(&contact, a->config, err);

	if (rc == SR_OK)
		rc = sr_client_call(sr_contact_client(contact), &(struct sr_call){.target = target, .max_answer = most}, &answer, err);
	if (rc == SR_OK)
		sr_buf_bytes(body, sr_buf_view(&answer.body));
	sr_answer_free(&answer);
	sr_contact_close(contact);
	return rc;
}

static void show_log(const json_t *o, FILE *out, FILE *notes)
{
	const json_t *first = json_object_get(o, "first"), *entries = json_object_get(o, "entries");
	char when[SR_WHEN_TEXT];
	struct sr_table t;
	size_t i;
	json_t *e;

	sr_table_start(&t, "lllllrll");
	for (i = 0; (e = json_array_get(entries, i)); i++) {
		if (!i) {
			static const char *const heads[] = {"TIME", "SEQ", "BY", "WHAT", "KIND", "BYTES", "KEPT", "PATH"};

			for (size_t k = 0; k < sizeof heads / sizeof *heads; k++)
				sr_table_add(&t, "%s", heads[k]);
		}
		sr_when_text(when, json_integer_value(json_object_get(e, "at_ms")));
		sr_table_add(&t, "%s", when);
		sr_table_add(&t, "@%" PRIu64, number_of(e, "seq"));
		sr_table_add(&t, "%s", text_of(e, "by"));
		sr_table_add(&t, "%s", text_of(e, "what"));
		sr_table_add(&t, "%s", text_of(e, "kind"));
		sr_table_add(&t, "%" PRIu64, number_of(e, "bytes"));
		sr_table_add(&t, "%s", text_of(e, "kept"));
		sr_table_add(&t, "%s", text_of(e, "path"));
	}
	sr_table_print(&t, out, "");
	if (json_is_true(json_object_get(o, "more")))
		fprintf(notes, "there are more; --limit N shows N of them\n");
	else if (json_is_true(json_object_get(first, "trimmed"))) {
		sr_when_text(when, json_integer_value(json_object_get(first, "at_ms")));
		fprintf(notes, "the history begins %s, with @%" PRIu64 "\n", when, number_of(first, "seq"));
	} else if (!i) {
		fprintf(notes, "nothing changed there\n");
	}
}

enum sr_status sr_admin_log(const struct sr_admin *a, int *status, struct sr_err *err)
{
	struct sr_buf body = {0};
	char *target = NULL;
	json_t *o = NULL;
	size_t most = 0;
	enum sr_status rc = log_target(a, &target, &most, err);

	if (rc == SR_OK)
		rc = sr_admin_is_datastore(a) ? ask_here(a, target, most, &body, err) : ask_there(a, target, most, &body, err);
	if (rc == SR_OK)
		rc = parse(&body, &o, err);
	if (rc == SR_OK && a->json)
		fprintf(a->out, "%s\n", sr_buf_text(&body));
	else if (rc == SR_OK)
		show_log(o, a->out, a->notes);
	json_decref(o);
	sr_buf_free(&body);
	free(target);
	*status = 0;
	return rc;
}

/* --- restore --------------------------------------------------------------------------------------------------------------- */

static enum sr_status call(struct sr_here *h, const json_t *request, struct sr_buf *body, json_t **out, struct sr_err *err)
{
	char *text = json_dumps(request, JSON_COMPACT);
	enum sr_status rc;

	sr_buf_clear(body);
	rc = sr_here_post(h, "/api/admin/restore", sr_bytes_of(text), sr_answer_of(RESTORE_ITEMS), body, err);
	if (rc == SR_OK)
		rc = parse(body, out, err);
	free(text);
	return rc;
}

static uint64_t wanted(const json_t *o)
{
	return number_of(o, "back") + number_of(o, "reverted") + number_of(o, "removed");
}

/* What comes back, table by table; done: what came back. */
static void show_counts(const json_t *o, const char *path, bool done, FILE *out)
{
	json_t *tables = json_object_get(o, "tables"), *t;
	struct sr_table table;
	const char *name;

	fprintf(out, "%s, as it was at @%" PRIu64 ":\n", path, number_of(json_object_get(o, "from"), "seq"));
	sr_table_start(&table, "lrrr");
	json_object_foreach (tables, name, t) {
		sr_table_add(&table, "%s", name);
		sr_table_add(&table, "%" PRIu64 " %s", number_of(t, "back"), done ? "came back" : "come back");
		sr_table_add(&table, "%" PRIu64 " %s", number_of(t, "reverted"), done ? "put back" : "are put back");
		if (number_of(t, "removed") || !number_of(t, "newer"))
			sr_table_add(&table, "%" PRIu64 " %s", number_of(t, "removed"), done ? "removed" : "are removed");
		else
			sr_table_add(&table, "%" PRIu64 " newer stay", number_of(t, "newer"));
	}
	sr_table_print(&table, out, "  ");
}

static void show_list(const json_t *list, uint64_t n, FILE *out)
{
	struct sr_table t;
	size_t i;
	json_t *e;

	sr_table_start(&t, "ll");
	for (i = 0; (e = json_array_get(list, i)); i++) {
		sr_table_add(&t, "%s", json_is_string(e) ? json_string_value(e) : text_of(e, "path"));
		sr_table_add(&t, "%s", json_is_string(e) ? "" : text_of(e, "why"));
	}
	sr_table_print(&t, out, "  ");
	if (n > i)
		fprintf(out, "  and %" PRIu64 " more\n", n - i);
}

static void show_faults(const json_t *o, FILE *notes)
{
	if (json_is_true(json_object_get(o, "replaced_since")))
		fputs("Since then stores were put in the place of others: what that changed is in no history.\n", notes);
	if (number_of(o, "lost")) {
		fprintf(notes, "%" PRIu64 " cannot come back, for what they were is not kept any more, or their table is gone:\n", number_of(o, "lost"));
		show_list(json_object_get(o, "lost_paths"), number_of(o, "lost"), notes);
	}
	if (number_of(o, "refused")) {
		fprintf(notes, "%" PRIu64 " could not be put in place:\n", number_of(o, "refused"));
		show_list(json_object_get(o, "refused_paths"), number_of(o, "refused"), notes);
	}
}

static json_t *request_of(const struct sr_admin *a, const struct sr_when *when)
{
	char *path = sr_admin_path(a->path);
	json_t *o = json_object();

	json_object_set_new(o, "path", json_string(path));
	free(path);
	json_object_set_new(o, when->is_seq ? "seq" : "at_ms", json_integer(when->is_seq ? (json_int_t)when->seq : when->at_ms));
	json_object_set_new(o, "exact", json_boolean(a->exact));
	json_object_set_new(o, "dry_run", json_true());
	return o;
}

/* What was shown is what is done, whatever the clock says meanwhile. */
static void settle(json_t *request, const json_t *preview)
{
	const json_t *from = json_object_get(preview, "from"), *at = json_object_get(preview, "at");

	json_object_set_new(request, "dry_run", json_false());
	if (number_of(from, "epoch") != number_of(at, "epoch"))
		return;
	json_object_del(request, "at_ms");
	json_object_set(request, "seq", json_object_get(from, "seq"));
}

static enum sr_status restore(const struct sr_admin *a, struct sr_here *h, json_t *request, int *status, struct sr_err *err)
{
	FILE *words = a->json ? a->notes : a->out; /* with --json the standard output is for the answer alone */
	struct sr_buf body = {0};
	json_t *preview = NULL, *result = NULL;
	bool go;
	enum sr_status rc = call(h, request, &body, &preview, err);

	go = rc == SR_OK && wanted(preview) && !a->dry_run;
	if (rc == SR_OK && (!a->yes || !go)) {
		if (wanted(preview))
			show_counts(preview, a->path, false, words);
		else
			fprintf(words, "%s %s%s.\n", a->path,
				number_of(preview, "lost") ? "is not as it was, and nothing of it can come back"
							   : "is as it was: nothing is to come back",
				number_of(preview, "newer") ? " (what was created since would go with --exact)" : "");
		show_faults(preview, a->notes);
	}
	if (go)
		rc = sr_admin_agree(a, "Bring it back, as a new change that goes to all webservers? [y/N] ", err);
	if (rc == SR_OK && go) {
		settle(request, preview);
		rc = call(h, request, &body, &result, err);
	}
	if (rc == SR_OK && go) {
		show_counts(result, a->path, true, words);
		show_faults(result, a->notes);
	}
	if (rc == SR_OK && a->json)
		fprintf(a->out, "%s\n", sr_buf_text(&body));
	*status = rc == SR_OK && (number_of(go ? result : preview, "lost") || number_of(result, "refused")) ? SR_EXIT_DIFFERENT : 0;
	json_decref(preview);
	json_decref(result);
	sr_buf_free(&body);
	return rc;
}

enum sr_status sr_admin_restore(const struct sr_admin *given, int *status, struct sr_err *err)
{
	struct sr_admin a = *given;
	struct sr_here here = {0};
	struct sr_when when;
	json_t *request;
	enum sr_status rc;

	if (!a.path || !*a.path || !a.at)
		return sr_err_set(err, SR_E_USAGE, "restore what, as it was when? `sameroot restore PATH --at TIME`; `sameroot log PATH` lists what there was");
	if (a.side == SR_SIDE_WEBSERVER)
		return sr_err_set(err, SR_E_USAGE, "restore is run on the datastore");
	rc = sr_when_parse(a.at, sr_now_ms(), &when, err);
	a.side = SR_SIDE_DATASTORE;
	if (rc == SR_OK)
		rc = sr_here_open(&here, &a, err);
	if (rc != SR_OK)
		return rc;
	request = request_of(&a, &when);
	if (!here.ever && a.config->datastore.host)
		rc = sr_err_set(err, SR_E_USAGE, "there is no datastore on this machine: run it on %s", a.config->datastore.host);
	else
		rc = restore(&a, &here, request, status, err);
	json_decref(request);
	sr_here_close(&here);
	return rc;
}
