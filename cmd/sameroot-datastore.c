/* sameroot-datastore - the datastore daemon: arguments, configuration, signals, exit codes. */
#include <stdio.h>
#include <string.h>

#include "lib/admin/cli.h"
#include "lib/admin/signals.h"
#include "lib/base/notify.h"
#include "lib/datastore/datastore.h"

#define LOOK_MS 1000 /* whether state.db failed */

static bool check_config, json;
static const char *config_path;

static const struct sr_cli_option options[] = {
	{'c', "config", "FILE", "the configuration [" SR_CONFIG_DEFAULT_FILE "]", .text = &config_path},
	{0, "check-config", NULL, "print the effective configuration and exit", .flag = &check_config},
	{0, "json", NULL, "print as JSON", .flag = &json},
};
static const struct sr_cli cli = {
	.program = "sameroot-datastore",
	.usage = "[-c FILE] [--check-config [--json]]",
	.what = "Hold the ground truth that all webservers are kept equal to.",
	.options = options,
	.n = sizeof options / sizeof *options,
};

static void reload(void *ctx)
{
	struct sr_config *fresh;

	sr_notify_reloading();
	fresh = sr_cli_reload(&cli, config_path);
	if (fresh) {
		sr_datastore_reload(ctx, fresh);
		sr_cli_reloaded();
	}
	sr_config_free(fresh);
	sr_notify_ready();
}

static void scan_now(void *ctx)
{
	sr_datastore_scan_now(ctx);
}

/* The service manager is told how it is when that has changed. */
static void tell_status(struct sr_datastore *d, char told[SR_DATASTORE_SUMMARY])
{
	char now[SR_DATASTORE_SUMMARY];

	sr_datastore_summary(d, now);
	if (strcmp(now, told) != 0)
		sr_notify_status("%s", now);
	memcpy(told, now, sizeof now);
}

/* Until it is shut down, or state.db failed. */
static enum sr_status wait_for_end(struct sr_datastore *d, struct sr_shutdown *shutdown, struct sr_err *err)
{
	char told[SR_DATASTORE_SUMMARY] = "";

	do {
		if (sr_datastore_broken(d, err))
			return err->code;
		tell_status(d, told);
	} while (!sr_shutdown_wait(shutdown, LOOK_MS));
	return SR_OK;
}

static enum sr_status serve(struct sr_datastore *d, struct sr_shutdown *shutdown, struct sr_signals **signals, const sigset_t *set, struct sr_err *err)
{
	enum sr_status rc;

	sr_datastore_set_shutdown(d, shutdown);
	rc = sr_datastore_listen(d, err);
	if (rc != SR_OK)
		return rc;
	fprintf(stderr, "listening on %s\n", sr_datastore_address(d));
	sr_notify_ready();
	rc = sr_datastore_start(d, err);
	if (rc == SR_OK)
		rc = sr_signals_start(signals, set, shutdown, reload, scan_now, d, err);
	return rc == SR_OK ? wait_for_end(d, shutdown, err) : rc;
}

static int run(const struct sr_config *config)
{
	struct sr_shutdown *shutdown = sr_shutdown_new(config, "datastore");
	struct sr_signals *signals = NULL;
	struct sr_datastore *d = NULL;
	struct sr_err err = {0};
	sigset_t set;
	int status = 0;

	sr_cli_block_signals(&set);
	if (sr_datastore_open(&d, config, &err) != SR_OK || serve(d, shutdown, &signals, &set, &err) != SR_OK)
		status = sr_cli_fail(&cli, &err);
	sr_signals_mute(signals);
	sr_datastore_close(d);
	sr_signals_stop(signals);
	sr_shutdown_free(shutdown);
	return status;
}

int main(int argc, char **argv)
{
	return sr_cli_daemon(&cli, argc, argv, &config_path, &check_config, &json, run);
}
