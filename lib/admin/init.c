/* init.c - `sameroot init`: what a node needs before its first start.  See admin.h, setup.h. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/admin/conf.h"
#include "lib/admin/line.h"
#include "lib/admin/setup.h"

#define QUESTION "Make what is missing? [y/N] "

struct init {
	const struct sr_admin *a;
	struct sr_buf conf; /* as it is, or is to be */
	bool found;         /* the file is there */
	struct sr_config *config;
	struct sr_setup setup;
	char *address; /* of the datastore */
	struct sr_buf line;
};

/* --- the role -------------------------------------------------------------------------------------------------------------------- */

static enum sr_status ask_role(const struct sr_admin *a, bool *datastore, struct sr_err *err)
{
	char *answer;
	bool known;

	if (!a->ask)
		return sr_err_set(err, SR_E_USAGE, "what is this machine to be? --datastore or --webserver");
	answer = a->ask(a->ctx, "Is this machine to be the datastore, or a webserver?", "webserver");
	*datastore = !strncasecmp(answer, "d", 1);
	known = *datastore || !strncasecmp(answer, "w", 1);
	free(answer);
	return known ? SR_OK : sr_err_set(err, SR_E_USAGE, "neither datastore nor webserver");
}

static enum sr_status find_role(struct init *in, bool *datastore, struct sr_err *err)
{
	if (in->a->side != SR_SIDE_CONFIGURED)
		*datastore = in->a->side == SR_SIDE_DATASTORE;
	else if (in->found)
		*datastore = !in->config->datastore.host;
	else
		return ask_role(in->a, datastore, err);
	return SR_OK;
}

/* The configuration that is there, or a new one. */
static enum sr_status read_conf(struct init *in, struct sr_err *err)
{
	const char *file = in->a->config_path ? in->a->config_path : SR_CONFIG_DEFAULT_FILE;
	enum sr_status rc = sr_conf_read(file, &in->conf, &in->found, err);

	if (rc == SR_OK && in->found)
		rc = sr_conf_parse(&in->config, sr_buf_view(&in->conf), file, err);
	if (rc == SR_OK)
		rc = find_role(in, &in->setup.datastore, err);
	if (rc != SR_OK || in->found)
		return rc;
	sr_conf_new(&in->conf, in->setup.datastore);
	return sr_conf_parse(&in->config, sr_buf_view(&in->conf), file, err);
}

/* --- the end --------------------------------------------------------------------------------------------------------------------- */

static void show(const struct init *in)
{
	FILE *out = in->a->out;

	sr_setup_show(&in->setup, true, out);
	if (in->setup.datastore)
		fprintf(out,
			"\nStart sameroot-datastore, if it does not run (`systemctl enable --now sameroot-datastore`).  Then, on each webserver:\n\n    sameroot join '%.*s'\n\n"
			"They reach this machine as %s, as the line says; --address HOST[:PORT] names another way.\n"
			"Whoever has this line has the cluster's secret: `sameroot join -` takes it from the standard input instead, where\n"
			"no list of processes shows it.  `sameroot join --line` prints it again.\n",
			(int)in->line.len, (const char *)in->line.at, in->address);
	else if (!in->config->datastore.host)
		fprintf(out, "\nNext: sameroot join LINE, with the line that `sameroot join --line` prints on the datastore.\n");
}

static void show_json(const struct init *in)
{
	json_t *o = json_object();

	json_object_set_new(o, "role", json_string(in->setup.datastore ? "datastore" : "webserver"));
	json_object_set_new(o, "items", sr_setup_json(&in->setup));
	if (in->line.len)
		json_object_set_new(o, "line", json_stringn((const char *)in->line.at, in->line.len));
	sr_admin_print_json(in->a, o);
	json_decref(o);
}

static enum sr_status agree(const struct init *in, struct sr_err *err)
{
	const struct sr_admin *a = in->a;

	if (a->yes || (!sr_setup_any(&in->setup, SR_SETUP_MISSING) && !sr_setup_any(&in->setup, SR_SETUP_STALE)))
		return SR_OK;
	sr_setup_show(&in->setup, false, a->json ? a->notes : a->out);
	fflush(a->out);
	if (!a->confirm)
		return sr_err_set(err, SR_E_USAGE, "nothing was made: there is no terminal to ask at: say --yes");
	return a->confirm(a->ctx, QUESTION) ? SR_OK : sr_err_set(err, SR_E_HELD, "nothing was changed");
}

static enum sr_status init(struct init *in, struct sr_err *err)
{
	enum sr_status rc = read_conf(in, err);

	if (rc == SR_OK) {
		in->setup.config = in->config;
		in->setup.schema = !in->a->no_schema && !in->setup.datastore; /* founding takes over no content */
		in->setup.conf = sr_buf_view(&in->conf);
		rc = sr_setup_look(&in->setup, in->found ? SR_SETUP_THERE : SR_SETUP_MISSING, err);
	}
	if (rc == SR_OK && in->setup.datastore)
		rc = sr_line_address(in->a, in->config, &in->address, err);
	if (rc == SR_OK)
		rc = agree(in, err);
	if (rc == SR_OK)
		rc = sr_setup_make(&in->setup, err);
	return rc == SR_OK && in->setup.datastore ? sr_line_here(in->config, in->address, &in->line, err) : rc;
}

enum sr_status sr_admin_init(const struct sr_admin *a, int *status, struct sr_err *err)
{
	struct init in = {.a = a};
	enum sr_status rc = init(&in, err);

	if (rc == SR_OK) {
		if (a->json)
			show_json(&in);
		else
			show(&in);
		*status = sr_setup_any(&in.setup, SR_SETUP_LOST) ? SR_EXIT_DIFFERENT : 0;
	}
	if (in.line.at)
		explicit_bzero(in.line.at, in.line.cap);
	sr_buf_free(&in.line);
	if (in.conf.at)
		explicit_bzero(in.conf.at, in.conf.cap); /* Control-Auth may be in it */
	sr_buf_free(&in.conf);
	sr_setup_free(&in.setup);
	sr_config_free(in.config);
	free(in.address);
	return rc;
}
