/* join.c - `sameroot join`, on a webserver: on what its trust in the datastore rests, and forgetting a key; with a line: see enter.h.  On
 * the datastore: the line.  See admin.h.
 *
 * The pinned key is read from state.db, whether the daemon runs or not; only the daemon knows how its last round went. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/admin/enter.h"
#include "lib/admin/here.h"
#include "lib/admin/identity.h"
#include "lib/admin/line.h"
#include "lib/admin/owner.h"
#include "lib/admin/table.h"

#define QUESTION "Forget this key? [y/N] "

struct join {
	const struct sr_admin *a;
	struct sr_here here;
	struct sr_contact *contact;
	json_t *o; /* what is known: sr_contact_report, "running", and what the daemon says of its last round */
};

static const char *text(const struct join *j, const char *name)
{
	return json_string_value(json_object_get(j->o, name)); /* NULL: not there, or null */
}

static long long number(const struct join *j, const char *name)
{
	return (long long)json_integer_value(json_object_get(j->o, name)); /* 0: not there */
}

static bool trusts(const struct join *j, const char *word)
{
	return strcmp(text(j, "trust"), word) == 0;
}

static bool running(const struct join *j)
{
	return json_is_true(json_object_get(j->o, "running"));
}

/* --- what is known ------------------------------------------------------------------------------------------------------------- */

static enum sr_status take_round(struct join *j, const struct sr_buf *body, struct sr_err *err)
{
	static const char *const names[] = {"rounds", "last_ok_ms", "trouble", NULL};
	json_t *status = json_loadb(body->at ? (const char *)body->at : "", body->len, 0, NULL);

	if (!status)
		return sr_err_set(err, SR_E_DATA, "status of the %s: not JSON", j->here.name);
	for (const char *const *name = names; *name; name++)
		if (json_object_get(status, *name))
			json_object_set(j->o, *name, json_object_get(status, *name));
	json_decref(status);
	return SR_OK;
}

static enum sr_status look(struct join *j, struct sr_err *err)
{
	struct sr_buf body = {0};
	enum sr_status rc = sr_here_get(&j->here, "/api/admin/status", j->here.status_most, &body, err);

	sr_contact_report(j->contact, j->o);
	json_object_set_new(j->o, "running", json_boolean(rc == SR_OK));
	if (rc == SR_OK) {
		rc = take_round(j, &body, err);
	} else if (rc == SR_E_UNAVAILABLE && j->here.absent) {
		fprintf(j->a->notes, "%s\n", err->text);
		rc = SR_OK;
	}
	sr_buf_free(&body);
	return rc;
}

/* --- showing --------------------------------------------------------------------------------------------------------------------- */

static void add_trust(struct sr_table *t, const struct join *j)
{
	char when[SR_WHEN_TEXT];

	sr_table_add(t, "trusted");
	sr_when_text(when, number(j, "pinned_ms"));
	if (trusts(j, "first-contact"))
		sr_table_add(t, "the key that was pinned at first contact on %s", when);
	else if (trusts(j, "pin"))
		sr_table_add(t, "the key of Datastore-Key-Pin in %s", j->a->config->file);
	else if (trusts(j, "any"))
		sr_table_add(t, "any key: Datastore-Insecure-Skip-TLS-Verify");
	else if (trusts(j, "plain"))
		sr_table_add(t, "anyone who answers: Datastore-Insecure-Disable-TLS");
	else
		sr_table_add(t, "no key is pinned: a CA of this machine vouches for it, or the next round pins it at first contact");
	if (!text(j, "pin"))
		return;
	sr_table_add(t, "pin");
	sr_table_add(t, "%s", text(j, "pin"));
}

static void add_round(struct sr_table *t, const struct join *j)
{
	long long ok = number(j, "last_ok_ms"), now = sr_now_ms();

	sr_table_add(t, "last round");
	if (!running(j))
		sr_table_add(t, "not known: the sync daemon is not running");
	else if (!number(j, "rounds"))
		sr_table_add(t, "none yet");
	else if (text(j, "trouble"))
		sr_table_add(t, "it did not go through: %s", text(j, "trouble"));
	else
		sr_table_add(t, "went through %lld s ago", now > ok ? (now - ok) / 1000 : 0);
}

static void show(const struct join *j, FILE *out)
{
	struct sr_table t;

	sr_table_start(&t, "ll");
	sr_table_add(&t, "datastore");
	sr_table_add(&t, "%s", text(j, "url"));
	add_trust(&t, j);
	add_round(&t, j);
	sr_table_print(&t, out, "");
}

static int judge(const struct join *j)
{
	if (!running(j))
		return SR_EXIT_UNREACHABLE;
	return number(j, "rounds") && !text(j, "trouble") ? 0 : SR_EXIT_DIFFERENT;
}

/* --- --new-key ------------------------------------------------------------------------------------------------------------------- */

/* Under the lock: no daemon runs, and none may start meanwhile. */
static enum sr_status forget_offline(struct join *j, struct sr_err *err)
{
	struct sr_state *state = NULL;
	bool fresh;
	struct sr_owner owner = sr_owner_of(j->here.state_dir);
	enum sr_status rc = sr_state_open(&state, j->here.state_dir, &fresh, err);

	if (rc == SR_OK)
		rc = sr_contact_forget(j->contact, state, err);
	sr_state_close(state);
	sr_owner_give(&owner, j->here.state_dir);
	return rc;
}

static enum sr_status forget(struct join *j, struct sr_err *err)
{
	struct sr_buf nothing = {0};
	enum sr_status rc;

	if (!running(j))
		return forget_offline(j, err);
	rc = sr_here_post(&j->here, "/api/admin/forget-key", sr_bytes(NULL, 0), SR_SHORT_ANSWER, &nothing, err);
	sr_buf_free(&nothing);
	return rc;
}

static enum sr_status new_key(struct join *j, struct sr_err *err)
{
	const struct sr_admin *a = j->a;
	enum sr_status rc;

	if (!trusts(j, "first-contact") && !trusts(j, "ca"))
		return sr_err_set(err, SR_E_CONFIG,
				  "%s says which key is trusted (Datastore-Key-Pin, Datastore-Insecure-...): no key is pinned besides",
				  a->config->file);
	show(j, a->json ? a->notes : a->out); /* with --json the standard output is for the answer alone */
	if (trusts(j, "first-contact")) {
		fflush(a->out);
		if (!a->yes && !a->confirm(a->ctx, QUESTION))
			return sr_err_set(err, SR_E_HELD, "nothing was changed");
		rc = forget(j, err);
		if (rc != SR_OK)
			return rc;
	}
	if (a->json)
		fprintf(a->out, "{\"forgotten\":%s}\n", trusts(j, "first-contact") ? "true" : "false");
	else
		fprintf(a->out, "%s: the next round makes first contact, and pins the key of a datastore that holds Control-Auth.\n",
			trusts(j, "first-contact") ? "Forgotten" : "There is no key to forget");
	return SR_OK;
}

/* --- the command ----------------------------------------------------------------------------------------------------------------- */

static enum sr_status join(struct join *j, int *status, struct sr_err *err)
{
	enum sr_status rc = sr_here_open(&j->here, j->a, err);

	if (rc == SR_OK)
		rc = sr_there_open(&j->contact, j->a->config, err);
	if (rc == SR_OK)
		rc = look(j, err);
	if (rc != SR_OK)
		return rc;
	if (j->a->new_key) {
		*status = 0;
		return new_key(j, err);
	}
	*status = judge(j);
	if (j->a->json)
		sr_admin_print_json(j->a, j->o);
	else
		show(j, j->a->out);
	return SR_OK;
}

static enum sr_status show_or_forget(const struct sr_admin *given, const struct sr_config *config, int *status, struct sr_err *err)
{
	struct sr_admin a = *given;
	struct join j = {.a = &a};
	enum sr_status rc;

	if (!config->datastore.host)
		return sr_err_set(err, SR_E_USAGE,
				  "%s names no Datastore: `sameroot join LINE` makes this machine a webserver; the datastore's `sameroot join "
				  "--line` prints the line",
				  config->file);
	if (a.new_uuid) {
		a.config = config;
		a.side = SR_SIDE_WEBSERVER;
		return sr_join_new_uuid(&a, status, err);
	}
	if (a.new_key && !a.yes && !a.confirm)
		return sr_err_set(err, SR_E_USAGE, "there is no terminal to ask at: say --yes, after a look at `sameroot join`");
	a.config = config;
	a.side = SR_SIDE_WEBSERVER;
	j.o = json_object();
	rc = join(&j, status, err);
	json_decref(j.o);
	sr_contact_close(j.contact);
	sr_here_close(&j.here);
	return rc;
}

/* On the datastore: the line that a webserver is to be given. */
static enum sr_status print_line(const struct sr_admin *a, const struct sr_config *config, struct sr_err *err)
{
	struct sr_buf line = {0};
	char *address = NULL;
	enum sr_status rc = sr_line_address(a, config, &address, err);

	if (rc == SR_OK)
		rc = sr_line_here(config, address, &line, err);
	if (rc == SR_OK) {
		fprintf(a->notes, "Whoever has this line has the cluster's secret.\n");
		fprintf(a->out, a->json ? "{\"line\":\"%s\"}\n" : "%s\n", sr_buf_text(&line));
	}
	if (line.at)
		explicit_bzero(line.at, line.cap);
	sr_buf_free(&line);
	free(address);
	return rc;
}

enum sr_status sr_admin_join(const struct sr_admin *a, int *status, struct sr_err *err)
{
	struct sr_config *config = NULL;
	enum sr_status rc;

	if (!!a->path + a->new_key + a->new_uuid + a->print_line > 1)
		return sr_err_set(err, SR_E_USAGE, "a line to join by, --line, --new-key or --new-uuid: one of them");
	if (a->path)
		return sr_admin_enter(a, status, err);
	rc = sr_config_load(&config, a->config_path, err);
	if (rc == SR_OK)
		rc = a->print_line ? print_line(a, config, err) : show_or_forget(a, config, status, err);
	sr_config_free(config);
	return rc;
}
