/* sameroot-datastore - the datastore daemon: arguments, configuration, signals, exit codes. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/admin/cli.h"
#include "lib/base/log.h"
#include "lib/base/notify.h"
#include "lib/datastore/datastore.h"

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

static void reload(struct sr_datastore *d)
{
	struct sr_config *fresh;

	sr_notify_reloading();
	fresh = sr_cli_reload(&cli, config_path);
	if (fresh)
		sr_datastore_reload(d, fresh);
	sr_config_free(fresh);
	sr_notify_ready();
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

/* Until a signal ends it, or state.db failed. */
static int wait_for_end(struct sr_datastore *d, const sigset_t *signals)
{
	static const struct timespec second = {.tv_sec = 1};
	char told[SR_DATASTORE_SUMMARY] = "";
	struct sr_err err;

	for (;;) {
		int sig = sigtimedwait(signals, NULL, &second);

		if (sr_datastore_broken(d, &err))
			return sr_cli_fail(&cli, &err);
		tell_status(d, told);
		if (sig == SIGHUP) {
			reload(d);
		} else if (sig == SIGUSR1) {
			sr_datastore_scan_now(d);
		} else if (sig == SIGTERM || sig == SIGINT) {
			sr_info("stopping (%s)", strsignal(sig));
			sr_notify_stopping();
			return 0;
		}
	}
}

static int run(const struct sr_config *config)
{
	struct sr_datastore *d = NULL;
	struct sr_err err = {0};
	sigset_t signals;
	int status;

	sr_cli_block_signals(&signals);
	if (sr_datastore_open(&d, config, &err) != SR_OK || sr_datastore_listen(d, &err) != SR_OK) {
		status = sr_cli_fail(&cli, &err);
		goto out;
	}
	fprintf(stderr, "listening on %s\n", sr_datastore_address(d));
	sr_notify_ready();
	if (sr_datastore_start(d, &err) != SR_OK) {
		status = sr_cli_fail(&cli, &err);
		goto out;
	}
	status = wait_for_end(d, &signals);
out:
	sr_datastore_close(d);
	return status;
}

int main(int argc, char **argv)
{
	return sr_cli_daemon(&cli, argc, argv, &config_path, &check_config, &json, run);
}
