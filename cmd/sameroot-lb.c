/* sameroot-lb - keeps a real HAProxy in step with the live webservers: arguments, configuration, exit codes. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/admin/cli.h"
#include "lib/base/log.h"
#include "lib/lb/balancer.h"
#include "lib/lb/confinement.h"
#include "lib/lb/haproxy.h"
#include "lib/lb/learner.h"

static bool check_config, json, print;
static const char *config_path;

static const struct sr_cli_option options[] = {
	{'c', "config", "FILE", "the configuration [" SR_LB_DEFAULT_FILE "]", .text = &config_path},
	{0, "check-config", NULL, "print the effective configuration and exit", .flag = &check_config},
	{0, "json", NULL, "print it as JSON", .flag = &json},
	{0, "print", NULL, "print the sections for a HAProxy that is yours and exit", .flag = &print},
};
static const struct sr_cli cli = {
	.program = "sameroot-lb",
	.usage = "[-c FILE] [--print | --check-config [--json]]",
	.what = "Keep a HAProxy in step with the live webservers.",
	.options = options,
	.n = sizeof options / sizeof *options,
};

static void show(struct sr_buf *text)
{
	fwrite(text->at, 1, text->len, stdout);
	sr_buf_free(text);
}

static int print_sections(const struct sr_lb_conf *conf)
{
	struct sr_state *state = NULL;
	struct sr_lb_list list = {0};
	struct sr_buf text = {0};
	struct sr_err err = {0};
	char *old = NULL;
	enum sr_status rc;

	if (sr_state_reader(&state, conf->state_directory, &err) != SR_OK)
		state = NULL; /* nothing is known from earlier, or it is not for us to read */
	rc = sr_lb_learn_once(conf, state, &list, &old, &err);
	sr_state_close(state);
	if (rc != SR_OK)
		return sr_cli_fail(&cli, &err);
	if (old)
		fprintf(stderr, "%s: this is the last known list, for the datastore was not to be had: %s\n", cli.program, old);
	sr_lb_haproxy_print(&text, conf, &list);
	show(&text);
	sr_lb_list_free(&list);
	free(old);
	return 0;
}

static struct sr_lb_conf *reload(void *ctx)
{
	struct sr_lb_conf *fresh = NULL;
	struct sr_err err;

	if (sr_lb_conf_load(&fresh, config_path, &err) == SR_OK && sr_lb_confine_check(ctx, fresh, &err) != SR_OK) {
		sr_lb_conf_free(fresh);
		fresh = NULL;
	}
	if (!fresh) {
		sr_error("reload: the new configuration is refused and the old one kept: %s", err.text);
		return NULL;
	}
	sr_log_setup(cli.program, fresh->log_level, fresh->log_json);
	return fresh;
}

static int run(struct sr_lb_conf *conf)
{
	struct sr_sandbox *sandbox = sr_lb_confine(conf);
	struct sr_err err = {0};
	int status = sr_lb_run(conf, reload, sandbox, &err) == SR_OK ? 0 : sr_cli_fail(&cli, &err);

	sr_sandbox_free(sandbox);
	return status;
}

int main(int argc, char **argv)
{
	struct sr_lb_conf *conf = NULL;
	struct sr_buf text = {0};
	struct sr_err err = {0};
	int count, status = 0;
	bool done;

	sr_cli_begin();
	if (sr_cli_parse(&cli, argc, argv, &count, &done, &err) != SR_OK)
		return sr_cli_fail(&cli, &err);
	if (done)
		return sr_cli_end(&cli, 0);
	if (count > 1) {
		sr_err_set(&err, SR_E_USAGE, "unexpected argument %s; see --help", argv[1]);
		return sr_cli_fail(&cli, &err);
	}
	if (sr_lb_conf_load(&conf, config_path, &err) != SR_OK)
		return sr_cli_fail(&cli, &err);
	sr_log_setup(cli.program, conf->log_level, conf->log_json);
	if (!check_config && !print)
		return run(conf);
	if (check_config) {
		sr_lb_conf_print(conf, &text, json);
		show(&text);
	} else {
		status = print_sections(conf);
	}
	sr_lb_conf_free(conf);
	return sr_cli_end(&cli, status);
}
