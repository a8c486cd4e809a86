/* status.c - `sameroot status`: how is this node?  See admin.h, status.h. */
#include "lib/admin/status.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/admin/here.h"
#include "lib/admin/offline.h"
#include "lib/admin/restore.h"
#include "lib/admin/table.h"
#include "lib/base/json.h"
#include "lib/replica/waiting.h"

#define UNKNOWN_SHOWN 5
#define ANSWER_MS     5000 /* a daemon that hangs is told from one that is slow */

static const char *text(const json_t *o, const char *name)
{
	return json_string_value(json_object_get(o, name)); /* NULL: not there, or null */
}

static long long number(const json_t *o, const char *name)
{
	return (long long)json_integer_value(json_object_get(o, name)); /* 0: not there */
}

static bool is(const char *word, const char *other)
{
	return word && strcmp(word, other) == 0;
}

/* --- judging ------------------------------------------------------------------------------------------------------------ */

static const char *state_of(const json_t *store)
{
	return sr_json_text(store, "state", sr_json_text(store, "mode", "-"));
}

static bool store_is_well(const json_t *store)
{
	return !is(state_of(store), "paused") && !text(store, "trouble") && !number(store, "skipped") &&
	       !json_array_size(json_object_get(store, "held"));
}

static bool webserver_is_well(const json_t *w)
{
	const json_t *waiting = json_object_get(w, "status");

	return !sr_waiting_is_history(text(w, "history")) && !text(w, "clone") && !text(w, "refused") && sr_waiting_is_empty(waiting);
}

/* The others are for the datastore to look after; a webserver only shows them. */
static const json_t *own_webservers(const json_t *status)
{
	return is(text(status, "role"), "datastore") ? json_object_get(status, "webservers") : NULL;
}

static bool all_well(const json_t *status)
{
	const json_t *stores = json_object_get(status, "stores"), *webservers = own_webservers(status), *ready = json_object_get(status, "ready");
	size_t i;
	json_t *o;

	for (i = 0; (o = json_array_get(stores, i)); i++)
		if (!store_is_well(o))
			return false;
	for (i = 0; (o = json_array_get(webservers, i)); i++)
		if (!webserver_is_well(o))
			return false;
	if (!sr_waiting_is_empty(json_object_get(status, "status")) || number(json_object_get(status, "verify"), "wrong_count"))
		return false;
	if (is(text(status, "role"), "datastore"))
		return json_is_true(ready);
	return number(status, "rounds") > 0; /* before the first round nothing is known */
}

int sr_status_judge(const json_t *status)
{
	const char *code = text(status, "trouble_code");

	if (json_is_false(json_object_get(status, "running")))
		return SR_EXIT_UNREACHABLE;
	if (!all_well(status))
		return SR_EXIT_DIFFERENT;
	if (!text(status, "trouble"))
		return 0;
	return is(code, sr_status_name(SR_E_UNAVAILABLE)) || is(code, sr_status_name(SR_E_BUSY)) ? SR_EXIT_UNREACHABLE : SR_EXIT_DIFFERENT;
}

/* --- showing: the balancer status ------------------------------------------------------------------------------------------ */

const char *sr_balancer_word(const json_t *b)
{
	return is(text(b, "answer"), "DRAIN") ? "draining" : sr_json_text(b, "answer", "-");
}

/* The last word of one that ended gracefully is that it does: nobody heard of it since. */
static bool has_stopped(const json_t *b)
{
	return is(text(b, "state"), "shutting down");
}

char *sr_balancer_heard(const json_t *b, bool stale)
{
	if (!stale)
		return sr_strdup(sr_balancer_word(b));
	return has_stopped(b) ? sr_strdup("stale, stopped") : sr_format("stale, was %s", sr_balancer_word(b));
}

char *sr_balancer_state(const json_t *b, bool stale)
{
	const char *state = sr_json_text(b, "state", "-");

	if (!stale || is(state, "-"))
		return sr_strdup(state);
	return has_stopped(b) ? sr_strdup("stopped") : sr_format("was %s", state);
}

char *sr_balancer_text(const json_t *b)
{
	const char *word = sr_balancer_word(b), *state = sr_json_text(b, "state", "-");
	char since[SR_WHEN_TEXT];

	if (is(state, "running"))
		return sr_strdup(word);
	if (!text(b, "by") || (!is(state, "overridden") && !is(state, "draining")))
		return sr_format("%s, %s", word, state);
	sr_when_text(since, number(b, "since_ms"));
	return sr_format("%s, by %s since %s; `sameroot lb auto` ends that", word, text(b, "by"), since);
}

/* --- showing: the head -------------------------------------------------------------------------------------------------------- */

static void line(struct sr_table *t, const char *name, const char *value)
{
	sr_table_add(t, "%s", name);
	sr_table_add(t, "%s", value);
}

static void add_history(struct sr_table *t, const json_t *o, const char *name)
{
	sr_table_add(t, "%s", name);
	if (text(o, "instance"))
		sr_table_add(t, "instance %s, epoch %lld, seq %lld", text(o, "instance"), number(o, "epoch"), number(o, "seq"));
	else
		sr_table_add(t, "none yet");
}

static void add_in_sync(struct sr_table *t, const json_t *status)
{
	const json_t *in_sync = json_object_get(status, "in_sync");

	if (json_is_boolean(in_sync))
		line(t, "in sync", json_is_true(in_sync) ? "yes" : "no");
	else
		line(t, "in sync", "not known: no round went through yet");
}

static void add_trouble(struct sr_table *t, const json_t *status)
{
	char since[SR_WHEN_TEXT];

	if (!text(status, "trouble"))
		return;
	sr_when_text(since, number(status, "trouble_since_ms"));
	line(t, "trouble", text(status, "trouble"));
	sr_table_add(t, " ");
	sr_table_add(t, "since %s; it is tried again until it goes", since);
}

static void add_last_round(struct sr_table *t, const json_t *status, long long now_ms)
{
	const json_t *r = json_object_get(status, "last_round");
	long long ok = number(status, "last_ok_ms");

	if (!r)
		return;
	sr_table_add(t, "last round");
	sr_table_add(t, "%lld pulled, %lld pushed, %lld archived", number(r, "pulled"), number(r, "pushed"), number(r, "conflicts"));
	sr_table_add(t, "went through");
	if (ok)
		sr_table_add(t, "%lld s ago", now_ms > ok ? (now_ms - ok) / 1000 : 0);
	else
		sr_table_add(t, "not since the daemon started");
}

/* What was replaced or deleted. */
static void add_trash(struct sr_table *t, const json_t *trash)
{
	sr_table_add(t, "kept");
	sr_table_add(t, "%lld files and %lld records for `sameroot restore`, %lld of %lld bytes, for %lld days", number(trash, "files"),
		     number(trash, "records"), number(trash, "bytes"), number(trash, "max_bytes"), number(trash, "days"));
	if (json_is_true(json_object_get(trash, "waits")))
		line(t, " ", "nothing is forgotten for its age now: the clock leapt ahead, and is believed after a day; if it is wrong, set it");
}

static void add_archive(struct sr_table *t, const json_t *status)
{
	const json_t *archive = json_object_get(status, "archive");
	long long n = number(status, "conflicts"), limit = number(archive, "limit");

	if (n && limit)
		sr_table_add(t, "%lld, %lld of %lld bytes: see `sameroot conflicts list`", n, number(archive, "bytes"), limit);
	else
		sr_table_add(t, "%lld%s", n, n ? ": see `sameroot conflicts list`" : "");
}

static void add_webserver_head(struct sr_table *t, const json_t *status, long long now_ms)
{
	const json_t *d = json_object_get(status, "datastore");

	if (text(d, "url"))
		line(t, "datastore", text(d, "url"));
	add_history(t, d, "last in step");
	line(t, "its root", sr_json_text(d, "root", "-"));
	if (!json_is_false(json_object_get(status, "running")))
		add_in_sync(t, status);
	add_last_round(t, status, now_ms);
	add_trouble(t, status);
}

static void add_datastore_head(struct sr_table *t, const json_t *status)
{
	const json_t *ready = json_object_get(status, "ready");

	add_history(t, status, "history");
	if (json_is_boolean(ready))
		line(t, "ready", !json_is_true(ready) ? "no" : json_is_true(json_object_get(status, "read_only")) ? "for reading only" : "yes");
	if (json_is_false(ready))
		line(t, " ", sr_json_text(status, "why", "it does not say why"));
}

static void add_balancer(struct sr_table *t, const json_t *b)
{
	char *said;

	if (!b)
		return;
	said = sr_balancer_text(b);
	line(t, "balancer", said);
	free(said);
	if (text(b, "why"))
		line(t, " ", text(b, "why"));
}

/* Of a daemon that does not answer. */
static void add_absence(struct sr_table *t, const json_t *status)
{
	const char *name = "not pushed";
	size_t i;
	json_t *s;

	line(t, "running", number(status, "process") ? "it does not answer: what follows is what was last known" : "no: what follows is what was last known");
	for (i = 0; (s = json_array_get(json_object_get(status, "stores"), i)); i++)
		if (number(s, "unpushed")) {
			sr_table_add(t, "%s", name);
			sr_table_add(t, "%s: %lld items of those that were seen; they are, once it runs", sr_json_text(s, "name", "-"), number(s, "unpushed"));
			name = " ";
		}
}

static void add_verified(struct sr_table *t, const json_t *v)
{
	char when[SR_WHEN_TEXT];

	if (!json_is_object(v))
		return;
	sr_when_text(when, number(v, "ended_ms"));
	sr_table_add(t, "verified");
	if (number(v, "ended_ms"))
		sr_table_add(t, "%s: %lld entries, %lld not what the tree says%s", when, number(v, "entries"), number(v, "wrong_count"),
			     json_is_true(json_object_get(v, "running")) ? "; it goes on again now" : "");
	else
		sr_table_add(t, "%s", json_is_true(json_object_get(v, "running")) ? "for the first time now" : "not yet");
}

static void show_head(const json_t *status, long long now_ms, FILE *out)
{
	struct sr_table t;

	sr_table_start(&t, "ll");
	line(&t, "role", sr_json_text(status, "role", "-"));
	if (json_is_false(json_object_get(status, "running")))
		add_absence(&t, status);
	if (text(status, "node"))
		line(&t, "node", text(status, "node"));
	if (text(status, "version"))
		line(&t, "version", text(status, "version"));
	if (text(status, "root"))
		line(&t, "root", text(status, "root"));
	if (is(text(status, "role"), "datastore"))
		add_datastore_head(&t, status);
	else
		add_webserver_head(&t, status, now_ms);
	add_balancer(&t, json_object_get(status, "balancer"));
	if (json_object_get(status, "conflicts")) {
		sr_table_add(&t, "conflicts");
		add_archive(&t, status);
	}
	add_verified(&t, json_object_get(status, "verify"));
	if (json_object_get(status, "trash"))
		add_trash(&t, json_object_get(status, "trash"));
	sr_table_print(&t, out, "");
}

/* --- showing: stores ------------------------------------------------------------------------------------------------------------ */

static long long unknown_count(const json_t *store)
{
	return json_object_get(store, "unknown_count") ? number(store, "unknown_count") : number(store, "unknown");
}

/* null: it was not counted yet. */
static void add_count(struct sr_table *t, const json_t *store, const char *name)
{
	if (json_is_null(json_object_get(store, name)))
		sr_table_add(t, "-");
	else
		sr_table_add(t, "%lld", number(store, name));
}

static void show_stores(const json_t *stores, FILE *out)
{
	struct sr_table t;
	size_t i;
	json_t *s;

	if (!json_array_size(stores))
		return;
	sr_table_start(&t, "lllrrrr");
	for (const char *const *h = (const char *const[]){"STORE", "KIND", "STATE", "LEAVES", "BYTES", "UNKNOWN", "SKIPPED", NULL}; *h; h++)
		sr_table_add(&t, "%s", *h);
	for (i = 0; (s = json_array_get(stores, i)); i++) {
		sr_table_add(&t, "%s", sr_json_text(s, "name", "-"));
		sr_table_add(&t, "%s", sr_json_text(s, "kind", "-"));
		sr_table_add(&t, "%s", state_of(s));
		add_count(&t, s, "leaves");
		add_count(&t, s, "bytes");
		sr_table_add(&t, "%lld", unknown_count(s));
		sr_table_add(&t, "%lld", number(s, "skipped"));
	}
	fputc('\n', out);
	sr_table_print(&t, out, "");
}

/* How changes in them are noticed. */
static void show_watched(const json_t *stores, FILE *out)
{
	struct sr_table t;
	size_t i;
	json_t *s;

	sr_table_start(&t, "ll");
	for (i = 0; (s = json_array_get(stores, i)); i++) {
		const json_t *w = json_object_get(s, "watch");

		if (!json_is_object(w))
			continue;
		sr_table_add(&t, "%s", sr_json_text(s, "name", "-"));
		if (json_is_true(json_object_get(w, "watched")))
			sr_table_add(&t, "watched, %lld director%s", number(w, "directories"), number(w, "directories") == 1 ? "y" : "ies");
		else
			sr_table_add(&t, "scanned each interval: %s", sr_json_text(w, "why", "-"));
	}
	if (t.n)
		fputs("\nchanges:\n", out);
	sr_table_print(&t, out, "  ");
}

/* How changed rows are found, where that is not by reading the tables as ever. */
static void show_captured(const json_t *stores, FILE *out)
{
	struct sr_table t;
	size_t i;
	json_t *s;

	sr_table_start(&t, "ll");
	for (i = 0; (s = json_array_get(stores, i)); i++) {
		const json_t *c = json_object_get(s, "capture");

		if (!json_is_object(c))
			continue;
		sr_table_add(&t, "%s", sr_json_text(s, "name", "-"));
		if (json_is_true(json_object_get(c, "on")))
			sr_table_add(&t, "by triggers, of %lld of %lld tables row by row", number(c, "by_row"), number(c, "tables"));
		else if (json_is_true(json_object_get(c, "triggers")))
			sr_table_add(&t, "by reading its tables: %s", sr_json_text(c, "why", "no triggers were made yet"));
		else
			sr_table_add(&t, "by reading its tables; triggers of before are still there: %s", sr_json_text(c, "why", "-"));
	}
	if (t.n)
		fputs("\nchanged rows are found:\n", out);
	sr_table_print(&t, out, "  ");
}

static void show_unknown_of(const json_t *store, FILE *out)
{
	const json_t *list = json_object_get(store, json_is_array(json_object_get(store, "unknown")) ? "unknown" : "unknown_paths");
	long long n = unknown_count(store);
	struct sr_table t;
	size_t i;
	json_t *u;

	if (!n)
		return;
	fprintf(out, "\n%s: %lld path%s not synchronised:\n", sr_json_text(store, "name", "-"), n, n == 1 ? " is" : "s are");
	sr_table_start(&t, "ll");
	for (i = 0; (u = json_array_get(list, i)); i++) {
		if (i == UNKNOWN_SHOWN)
			break;
		line(&t, json_is_string(u) ? json_string_value(u) : sr_json_text(u, "path", "-"), sr_json_text(u, "why", ""));
	}
	if (n > (long long)i)
		sr_table_add(&t, "and %lld more", n - (long long)i);
	sr_table_print(&t, out, "  ");
}

/* --- showing: what waits for the operator ------------------------------------------------------------------------------------------ */

static void add_waiting(struct sr_table *t, const json_t *o)
{
	const char *who = text(o, "node");
	char since[SR_WHEN_TEXT];

	/* What is said of a webserver itself needs no second name. */
	if (who && is(text(o, "what"), "webserver"))
		sr_table_add(t, "%s", who);
	else
		sr_table_add(t, "%s%s%s", who ? who : "", who ? ": " : "", text(o, "what"));
	sr_table_add(t, "%s", text(o, "why"));
	if (number(o, "since_ms")) {
		sr_when_text(since, number(o, "since_ms"));
		sr_table_add(t, " ");
		sr_table_add(t, "since %s", since);
	}
	line(t, " ", text(o, "command"));
}

static void show_waiting(const json_t *status, FILE *out)
{
	json_t *list = sr_waiting_list(status), *o;
	struct sr_table t;

	sr_table_start(&t, "ll");
	for (size_t i = 0; (o = json_array_get(list, i)); i++)
		add_waiting(&t, o);
	if (t.n)
		fputs("\nheld or paused:\n", out);
	sr_table_print(&t, out, "  ");
	json_decref(list);
}

/* --- showing: webservers ------------------------------------------------------------------------------------------------------------- */

static void add_answer(struct sr_table *t, const json_t *w)
{
	char *answer = sr_balancer_heard(json_object_get(json_object_get(w, "status"), "balancer"), json_is_true(json_object_get(w, "stale")));

	sr_table_add(t, "%s", answer);
	free(answer);
}

static void add_row(struct sr_table *t, const json_t *w)
{
	sr_table_add(t, "%s", sr_json_text(w, "name", sr_json_text(w, "uuid", "-")));
	add_answer(t, w);
	sr_table_add(t, "%s", sr_json_text(w, "seen", "-"));
	if (json_is_integer(json_object_get(w, "lag")))
		sr_table_add(t, "%lld s", number(w, "lag"));
	else
		sr_table_add(t, "-");
	sr_table_add(t, "%s", sr_json_text(w, "history", "-"));
	sr_table_add(t, "%lld", number(w, "epoch"));
	sr_table_add(t, "%lld", number(w, "seq"));
	sr_table_add(t, "%s", sr_json_text(w, "root", "-"));
}

static void show_webservers(const json_t *status, FILE *out)
{
	const json_t *list = json_object_get(status, "webservers");
	struct sr_table t;
	size_t i;
	json_t *w;

	if (text(status, "webservers_why") && json_array_size(list))
		fprintf(out, "\nthe webservers, as the datastore told %lld s ago, for now it does not:", number(status, "webservers_age"));
	if (!json_is_array(list) || (!json_array_size(list) && text(status, "webservers_why")))
		return;
	if (!json_array_size(list)) {
		fputs("\nno webserver was ever seen\n", out);
		return;
	}
	sr_table_start(&t, "lllrlrrl");
	for (const char *const *h = (const char *const[]){"WEBSERVER", "STATUS", "SEEN", "LAG", "HISTORY", "EPOCH", "SEQ", "ROOT", NULL}; *h; h++)
		sr_table_add(&t, "%s", *h);
	for (i = 0; (w = json_array_get(list, i)); i++)
		add_row(&t, w);
	fputc('\n', out);
	sr_table_print(&t, out, "");
}

void sr_status_show(const json_t *status, long long now_ms, FILE *out)
{
	const json_t *stores = json_object_get(status, "stores");
	size_t i;
	json_t *s;

	show_head(status, now_ms, out);
	show_stores(stores, out);
	show_watched(stores, out);
	show_captured(stores, out);
	for (i = 0; (s = json_array_get(stores, i)); i++)
		show_unknown_of(s, out);
	show_webservers(status, out);
	show_waiting(status, out);
}

/* --- the command --------------------------------------------------------------------------------------------------------------------- */

/* The daemon's own words; without a daemon, what state.db knows. */
static enum sr_status fetch(struct sr_here *h, const struct sr_admin *a, struct sr_buf *body, json_t **out, struct sr_err *err)
{
	enum sr_status rc = sr_here_call(h, &(struct sr_call){.target = "/api/admin/status", .max_answer = h->status_most, .head_ms = ANSWER_MS}, body, err);
	struct sr_err gone = {0};

	if (rc == SR_OK) {
		*out = json_loadb((const char *)body->at, body->len, 0, NULL);
		return *out ? rc : sr_err_set(err, SR_E_DATA, "status of the %s: not JSON", h->name);
	}
	if (rc != SR_E_UNAVAILABLE || !h->absent)
		return rc;
	if (sr_offline_status(a, out, &gone) == SR_OK) {
		fprintf(a->notes, "%s\n", err->text);
		if (h->pid)
			json_object_set_new(*out, "process", json_integer(h->pid));
		return SR_OK;
	}
	if (gone.code == SR_E_DATA) /* which is why it does not run */
		fprintf(a->notes, "%s\n", gone.text);
	return rc;
}

static enum sr_role role_of(const struct sr_admin *a)
{
	return sr_admin_is_datastore(a) ? SR_ROLE_DATASTORE : SR_ROLE_WEBSERVER;
}

/* What sameroot-restore left no daemon knows: it is added. */
static void print_json(const struct sr_admin *a, json_t *status)
{
	json_object_set_new(status, "restoring", sr_restore_left(a->config, role_of(a)));
	sr_admin_print_json(a, status);
}

static void show_here(const struct sr_admin *a, const json_t *status)
{
	sr_status_show(status, sr_now_ms(), a->out);
	sr_restore_name_left(a->config, role_of(a), a->out);
}

enum sr_status sr_admin_status(const struct sr_admin *a, int *exit_status, struct sr_err *err)
{
	struct sr_buf body = {0};
	struct sr_here here = {0};
	json_t *status = NULL;
	enum sr_status rc = sr_here_open(&here, a, err);

	if (rc == SR_OK)
		rc = fetch(&here, a, &body, &status, err);
	if (rc == SR_OK) {
		if (a->json)
			print_json(a, status);
		else
			show_here(a, status);
		*exit_status = sr_status_judge(status);
	}
	json_decref(status);
	sr_buf_free(&body);
	sr_here_close(&here);
	return rc;
}
