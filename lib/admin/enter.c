/* enter.c - see enter.h.
 *
 * In this order: the line is read; the configuration is what is there, with what the line says added, and contradictions are told; the
 * datastore is met; then the files are written, the stores compared, and the first round is asked about and done. */
#include "lib/admin/enter.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/admin/conf.h"
#include "lib/admin/here.h"
#include "lib/admin/line.h"
#include "lib/admin/offline.h"
#include "lib/admin/preview.h"
#include "lib/admin/progress_line.h"
#include "lib/admin/setup.h"
#include "lib/base/version.h"
#include "lib/sync/daemon.h"

#define QUESTION "Do the first round now? [y/N] "
#define WAIT_MS  10000
#define MOST_LINE 16384

struct enter {
	struct sr_admin a; /* with the configuration, once it is known */
	const char *file;
	struct sr_line line;
	struct sr_buf conf; /* as it is to be */
	struct sr_bytes was; /* its beginning: what was there */
	bool found, added;
	bool untabled; /* neither database of the datastore has a table */
	struct sr_config *config;
	struct sr_setup setup;
	struct sr_contact *contact;
	struct sr_preview preview;
	bool before; /* this webserver has done rounds already */
	bool told;   /* a daemon runs, and does the round */
	struct sr_sync_result result;
};

/* --- the line -------------------------------------------------------------------------------------------------------------------- */

/* The first of the input in which one stands: all that `init` says may come. */
static bool next_line(FILE *in, char text[MOST_LINE])
{
	while (fgets(text, MOST_LINE, in))
		if (strstr(text, SR_LINE_SCHEME))
			return true;
	return false;
}

static enum sr_status read_line(struct enter *e, struct sr_err *err)
{
	char *text = sr_alloc(MOST_LINE);
	enum sr_status rc;

	if (strcmp(e->a.path, "-") != 0)
		rc = sr_line_parse(e->a.path, &e->line, err);
	else if (!next_line(e->a.in, text))
		rc = sr_err_set(err, SR_E_USAGE, "there is no join line on the standard input");
	else
		rc = sr_line_parse(text, &e->line, err);
	explicit_bzero(text, MOST_LINE);
	free(text);
	return rc;
}

/* --- the configuration ----------------------------------------------------------------------------------------------------------- */

static void add(struct enter *e, const char *key, const char *value)
{
	if (sr_conf_line(e->was, key))
		return;
	sr_conf_add(&e->conf, e->added ? NULL : "Added by `sameroot join`.", key, value);
	e->was = sr_bytes(e->conf.at, e->was.len); /* it may have moved */
	e->added = true;
}

static enum sr_status add_external(struct enter *e, struct sr_err *err)
{
	char *name, *otherwise, *answer;

	if (e->a.external_addr) {
		add(e, "External-Addr", e->a.external_addr);
		return SR_OK;
	}
	if (sr_conf_line(e->was, "External-Addr"))
		return SR_OK;
	if (!e->a.ask || e->a.yes)
		return sr_err_set(err, SR_E_USAGE,
				  "how do others reach the application on this machine? Say --external-addr HOST:PORT");
	name = sr_machine_name();
	otherwise = sr_format("%s:443", name);
	answer = e->a.ask(e->a.ctx, "The address at which others reach the application on this machine", otherwise);
	add(e, "External-Addr", answer);
	free(answer);
	free(otherwise);
	free(name);
	return SR_OK;
}

static enum sr_status check_external(const struct enter *e, struct sr_err *err)
{
	char *host = NULL;
	unsigned port;
	enum sr_status rc = e->a.external_addr ? sr_conf_address(e->a.external_addr, &host, &port, err) : SR_OK;

	free(host);
	return rc;
}

static enum sr_status read_conf(struct enter *e, struct sr_err *err)
{
	enum sr_status rc = sr_conf_read(e->file, &e->conf, &e->found, err);

	if (rc == SR_OK && !e->found)
		sr_conf_new(&e->conf, false);
	e->was = sr_buf_view(&e->conf);
	if (rc == SR_OK)
		rc = check_external(e, err);
	if (rc != SR_OK)
		return rc;
	add(e, "Datastore", e->line.address);
	rc = add_external(e, err);
	if (rc != SR_OK)
		return rc;
	if (e->line.pin[0])
		add(e, "Datastore-Key-Pin", e->line.pin);
	if (e->line.plain)
		add(e, "Datastore-Insecure-Disable-TLS", "true");
	return sr_conf_parse(&e->config, sr_buf_view(&e->conf), e->file, err);
}

/* --- what contradicts ------------------------------------------------------------------------------------------------------------ */

static enum sr_status contradicts(const struct enter *e, const char *key, const char *is, const char *whose, const char *says,
				  struct sr_err *err)
{
	return sr_err_set(err, SR_E_CONFIG,
			  "%s:%u: %s=%s contradicts %s, which says %s; if it is out of date, take that line away and run this again", e->file,
			  sr_conf_line(e->was, key), key, is, whose, says);
}

static bool is_address(const struct sr_config_address *a, const char *text)
{
	char *host = NULL;
	unsigned port = 0;
	struct sr_err err;
	bool same = sr_conf_address(text, &host, &port, &err) == SR_OK && !strcasecmp(a->host, host) && a->port == port;

	free(host);
	return same;
}

static enum sr_status check_conf(const struct enter *e, struct sr_err *err)
{
	static const char line[] = "the join line", *const words[] = {"false", "true"};
	const struct sr_config *c = e->config;

	if (!is_address(&c->datastore, e->line.address))
		return contradicts(e, "Datastore", c->datastore.text, line, e->line.address, err);
	if (e->a.external_addr && !is_address(&c->external, e->a.external_addr))
		return contradicts(e, "External-Addr", c->external.text, "--external-addr", e->a.external_addr, err);
	if (c->datastore_insecure_disable_tls != e->line.plain)
		return contradicts(e, "Datastore-Insecure-Disable-TLS", words[!e->line.plain], line, words[e->line.plain], err);
	if (e->line.pin[0] && !strstr(c->datastore_key_pin, e->line.pin))
		return contradicts(e, "Datastore-Key-Pin", c->datastore_key_pin, line, e->line.pin, err);
	return SR_OK;
}

static enum sr_status check_secret(const struct enter *e, struct sr_err *err)
{
	struct sr_secrets secrets = {0};
	bool same;
	enum sr_status rc = sr_config_secrets(e->config, &secrets, err);

	if (rc == SR_E_NOINPUT)
		return SR_OK; /* it will be made */
	if (rc != SR_OK)
		return rc;
	same = sr_secrets_find(&secrets, sr_bytes_of(e->line.secret)) >= 0;
	sr_secrets_free(&secrets);
	if (same)
		return SR_OK;
	if (e->config->control_auth)
		return sr_err_set(err, SR_E_CONFIG,
				  "%s:%u: Control-Auth is another secret than the join line's; if it is out of date, take that line away and "
				  "run this again",
				  e->file, sr_conf_line(e->was, "Control-Auth"));
	return sr_err_set(err, SR_E_CONFIG, "%s holds another secret than the join line; if it is out of date, remove it and run this again",
			  e->config->control_auth_file);
}

/* --- the datastore --------------------------------------------------------------------------------------------------------------- */

static enum sr_status prove(struct enter *e, struct sr_err *err)
{
	char pin[SR_PIN_TEXT] = "";
	enum sr_status rc = sr_contact_prove(e->contact, pin, err);

	if (rc == SR_OK && e->line.pin[0] && strcmp(pin, e->line.pin) != 0)
		return sr_err_set(err, SR_E_AUTH,
				  "the key of the server at %s is not the one that the join line names (%s); no secret was sent to it; if the "
				  "datastore was set up anew, take the line anew from `sameroot join --line` there; if not, someone is in between",
				  e->line.address, e->line.pin);
	return rc;
}

/* Has it any content, as far as the datastore knows? */
static bool is_filled(const struct sr_tree_info *info, const char *store)
{
	for (size_t i = 0; i < info->n; i++)
		if (strcmp(info->stores[i].name, store) == 0)
			return info->stores[i].leaves > 0;
	return false;
}

static enum sr_status ask_tree(struct enter *e, struct sr_err *err)
{
	struct sr_client *client = sr_contact_client(e->contact);
	struct sr_tree_info info = {0};
	enum sr_status rc = sr_fetch_tree(client, &info, err);

	if (rc == SR_OK && sr_uuid_none(&info.at.instance))
		rc = sr_err_set(err, SR_E_CONFIG, "what answers at %s is not a datastore", e->line.address);
	else if (rc == SR_E_AUTH && !sr_client_distrusts(client))
		rc = sr_err_set(err, rc,
				"the datastore at %s does not take the secret of the join line: take the line anew from `sameroot join --line` there",
				e->line.address);
	else if (rc == SR_OK)
		e->untabled = !is_filled(&info, e->config->stores[SR_STORE_USERS].name) && !is_filled(&info, e->config->stores[SR_STORE_WEBSTORE].name);
	sr_tree_info_free(&info);
	return rc;
}

/* Role, protocol, key and secret; that it is not ready yet is no fault. */
static enum sr_status meet(struct enter *e, struct sr_err *err)
{
	struct sr_state *state = NULL;
	enum sr_status rc = sr_state_reader(&state, e->config->state_directory, err);

	if (rc == SR_OK || rc == SR_E_NOINPUT)
		rc = sr_contact_open(&e->contact, e->config, state, err);
	sr_state_close(state);
	if (rc != SR_OK)
		return rc;
	sr_contact_set_secret(e->contact, e->line.secret);
	if (e->line.pin[0])
		rc = prove(e, err);
	if (rc == SR_OK)
		rc = ask_tree(e, err);
	if (rc == SR_E_AUTH && !e->line.pin[0] && sr_client_distrusts(sr_contact_client(e->contact))) {
		rc = prove(e, err);
		if (rc == SR_OK)
			rc = ask_tree(e, err);
		if (rc == SR_E_AUTH)
			rc = sr_contact_explain(e->contact, err);
	}
	return rc == SR_OK ? rc : sr_err_context(err, "nothing was changed");
}

/* --- setting up ------------------------------------------------------------------------------------------------------------------ */

/* Nobody has users or dashboards yet, here or there: then the first webserver brings Sameroot's own tables.  A database of an application that is here
 * says that more of it may come. */
static bool brings_tables(const struct enter *e)
{
	return e->untabled && !e->a.no_schema && sr_setup_misses(&e->setup, SR_STORE_USERS) && sr_setup_misses(&e->setup, SR_STORE_WEBSTORE);
}

static enum sr_status set_up(struct enter *e, struct sr_err *err)
{
	enum sr_status rc;

	e->setup = (struct sr_setup){.config = e->config, .conf = sr_buf_view(&e->conf), .secret = e->line.secret};
	rc = sr_setup_look(&e->setup, !e->found ? SR_SETUP_MISSING : e->added ? SR_SETUP_ADDED : SR_SETUP_THERE, err);
	if (rc == SR_OK) {
		e->setup.schema = brings_tables(e);
		rc = sr_setup_make(&e->setup, err);
	}
	if (!e->a.json)
		sr_setup_show(&e->setup, true, e->a.out);
	return rc;
}

/* --- the first round ------------------------------------------------------------------------------------------------------------- */

static void show_preview(const struct enter *e)
{
	FILE *out = e->a.json ? e->a.notes : e->a.out;

	fprintf(out, "\nEntries (files, directories, tables, rows) here and at the datastore %s:\n\n", e->line.address);
	sr_preview_show(&e->preview, out);
	if (e->before)
		fprintf(out, "\nThis webserver was in step with a datastore before: a round goes on from there.\n");
	else
		fprintf(out,
			"\nThe first round unites the two: what is only here is copied there, what is only there is fetched, and nothing is\n"
			"deleted, but for a name that the datastore knows to have been deleted, which is archived and removed here.  Where they\n"
			"differ the datastore's version stands, and the one here goes to the conflict archive.\n");
}

static enum sr_status agree(const struct enter *e, struct sr_err *err)
{
	if (e->a.yes)
		return SR_OK;
	fflush(e->a.out);
	if (e->a.confirm(e->a.ctx, QUESTION))
		return SR_OK;
	return sr_err_set(err, SR_E_HELD, "no round was done; what was set up stays: sameroot-sync does the first round when it is started");
}

/* A daemon that runs does it. */
static enum sr_status tell_daemon(struct enter *e, struct sr_err *err)
{
	struct sr_here here = {0};
	struct sr_buf nothing = {0};
	enum sr_status rc = sr_here_open(&here, &e->a, err);

	if (rc == SR_OK) {
		rc = sr_here_post(&here, "/api/admin/sync", sr_bytes(NULL, 0), here.status_most, &nothing, err);
		e->told = rc == SR_OK;
		if (here.absent)
			rc = SR_OK;
	}
	sr_here_close(&here);
	sr_buf_free(&nothing);
	return rc;
}

static enum sr_status do_round(struct enter *e, struct sr_err *err)
{
	struct sr_progress_line *line;
	enum sr_status rc = tell_daemon(e, err);

	if (rc != SR_OK || e->told)
		return rc;
	line = sr_progress_line_wanted(2, e->a.json) ? sr_progress_line_new(2) : NULL;
	rc = sr_sync_once(e->config, SR_VERSION, WAIT_MS, line ? sr_progress_line_show : NULL, line, &e->result, err);
	sr_progress_line_free(line);
	return rc == SR_OK ? rc : sr_err_context(err, "the first round");
}

static void show_round(const struct enter *e)
{
	const struct sr_sync_result *r = &e->result;
	FILE *out = e->a.out;

	if (e->told) {
		fprintf(out, e->added || sr_setup_any(&e->setup, SR_SETUP_MADE)
				     ? "\nThe sync daemon runs with what it read when it started: restart it, and see `sameroot status`.\n"
				     : "\nThe sync daemon runs, and does a round now: see `sameroot status`.\n");
		return;
	}
	fprintf(out, "\nRound: %llu items fetched, %llu sent, %llu found equal, %llu archived; %s.\n", (unsigned long long)r->pulled,
		(unsigned long long)r->pushed, (unsigned long long)r->agreed, (unsigned long long)r->conflicts,
		r->in_sync ? "this webserver is in sync" : "not in sync yet: see `sameroot status`");
	fprintf(out, "Start sameroot-sync (`systemctl enable --now sameroot-sync`): it goes on with a round every %llu seconds.\n", (unsigned long long)e->config->update_interval);
}

static void show_json(const struct enter *e)
{
	json_t *o = json_object();

	json_object_set_new(o, "items", sr_setup_json(&e->setup));
	json_object_set_new(o, "stores", sr_preview_json(&e->preview));
	json_object_set_new(o, "daemon", json_boolean(e->told));
	if (!e->told) {
		json_object_set_new(o, "in_sync", json_boolean(e->result.in_sync));
		json_object_set_new(o, "pulled", json_integer((json_int_t)e->result.pulled));
		json_object_set_new(o, "pushed", json_integer((json_int_t)e->result.pushed));
		json_object_set_new(o, "agreed", json_integer((json_int_t)e->result.agreed));
		json_object_set_new(o, "conflicts", json_integer((json_int_t)e->result.conflicts));
	}
	sr_admin_print_json(&e->a, o);
	json_decref(o);
}

/* --- the whole ------------------------------------------------------------------------------------------------------------------- */

static enum sr_status prepare(struct enter *e, struct sr_err *err)
{
	enum sr_status rc = read_line(e, err);

	if (rc == SR_OK)
		rc = read_conf(e, err);
	if (rc == SR_OK)
		rc = check_conf(e, err);
	if (rc == SR_OK)
		rc = check_secret(e, err);
	if (rc == SR_OK)
		rc = meet(e, err);
	return rc;
}

static enum sr_status begin(struct enter *e, struct sr_err *err)
{
	struct sr_tree_key key;
	struct sr_err ignored;
	enum sr_status rc = set_up(e, err);

	e->a.config = e->config;
	e->a.side = SR_SIDE_WEBSERVER;
	if (sr_offline_key(e->config->state_directory, &key, &e->before, &ignored) != SR_OK)
		e->before = false;
	explicit_bzero(&key, sizeof key);
	if (rc == SR_OK)
		rc = sr_preview_make(&e->preview, e->config, sr_contact_client(e->contact), WAIT_MS, err);
	if (rc != SR_OK)
		return rc;
	if (!e->a.json || !e->a.yes)
		show_preview(e);
	rc = agree(e, err);
	return rc == SR_OK ? do_round(e, err) : rc;
}

static void finish(struct enter *e)
{
	sr_preview_free(&e->preview);
	sr_contact_close(e->contact);
	sr_setup_free(&e->setup);
	sr_config_free(e->config);
	if (e->conf.at)
		explicit_bzero(e->conf.at, e->conf.cap); /* Control-Auth may be in it */
	sr_buf_free(&e->conf);
	sr_line_free(&e->line);
}

enum sr_status sr_admin_enter(const struct sr_admin *a, int *status, struct sr_err *err)
{
	struct enter e = {.a = *a, .file = a->config_path ? a->config_path : SR_CONFIG_DEFAULT_FILE};
	enum sr_status rc;

	if (!a->yes && !a->confirm)
		return sr_err_set(err, SR_E_USAGE, "there is no terminal to ask at: say --yes");
	rc = prepare(&e, err);
	if (rc == SR_OK)
		rc = begin(&e, err);
	if (rc == SR_OK) {
		if (a->json)
			show_json(&e);
		else
			show_round(&e);
		*status = e.told || e.result.in_sync ? 0 : SR_EXIT_DIFFERENT;
	}
	finish(&e);
	return rc;
}
