/* sameroot-sync - the sync daemon beside a webserver: arguments, configuration, signals, exit codes. */
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "lib/admin/cli.h"
#include "lib/admin/progress_line.h"
#include "lib/base/log.h"
#include "lib/base/notify.h"
#include "lib/base/version.h"
#include "lib/sync/daemon.h"

#define ONCE_WAIT_MS 10000

static bool check_config, json, once;
static const char *config_path;

static const struct sr_cli_option options[] = {
	{'c', "config", "FILE", "the configuration [" SR_CONFIG_DEFAULT_FILE "]", .text = &config_path},
	{0, "check-config", NULL, "print the effective configuration and exit", .flag = &check_config},
	{0, "json", NULL, "print as JSON", .flag = &json},
	{0, "once", NULL, "do exactly one round and exit: 0 in sync, 1 something is held, paused or failed, 75 datastore unreachable",
	 .flag = &once},
};
static const struct sr_cli cli = {
	.program = "sameroot-sync",
	.usage = "[-c FILE] [--once | --check-config] [--json]",
	.what = "Keep this webserver's stores equal to the datastore's.",
	.options = options,
	.n = sizeof options / sizeof *options,
};

static void print_result(const struct sr_sync_result *r)
{
	printf("{\"in_sync\":%s,\"pulled\":%" PRIu64 ",\"pushed\":%" PRIu64 ",\"agreed\":%" PRIu64 ",\"conflicts\":%" PRIu64
	       ",\"skipped\":%" PRIu64 ",\"requests\":%" PRIu64 ",\"sent\":%" PRIu64 ",\"received\":%" PRIu64 "}\n",
	       r->in_sync ? "true" : "false", r->pulled, r->pushed, r->agreed, r->conflicts, r->skipped, r->requests, r->sent, r->received);
}

static int run_once(const struct sr_config *config)
{
	struct sr_sync_result result = {0};
	struct sr_err err = {0};
	struct sr_progress_line *line = sr_progress_line_wanted(2, config->log_json) ? sr_progress_line_new(2) : NULL;
	enum sr_status rc = sr_sync_once(config, SR_VERSION, ONCE_WAIT_MS, line ? sr_progress_line_show : NULL, line, &result, &err);

	sr_progress_line_free(line);
	if (rc == SR_OK && json)
		print_result(&result);
	if (rc == SR_OK && !result.in_sync && result.skipped)
		fprintf(stderr, "%s: not in sync: %llu items are held, paused or were skipped; see `sameroot status`\n", cli.program,
			(unsigned long long)result.skipped);
	else if (rc == SR_OK && !result.in_sync)
		fprintf(stderr, "%s: not in sync: what was changed meanwhile is left to the next round\n", cli.program);
	if (rc == SR_OK)
		return result.in_sync ? 0 : 1;
	sr_cli_fail(&cli, &err);
	/* A fault of the configuration is the caller's; everything else but an unreachable datastore means: not in sync. */
	if (rc == SR_E_CONFIG || rc == SR_E_UNAVAILABLE || rc == SR_E_BUSY)
		return sr_status_exit(rc);
	return 1;
}

struct running {
	struct sr_sync_daemon *daemon;
	sigset_t signals;
};

static void reload(struct running *r)
{
	struct sr_config *fresh;

	sr_notify_reloading();
	fresh = sr_cli_reload(&cli, config_path);
	if (fresh)
		sr_sync_daemon_reload(r->daemon, fresh);
	sr_notify_ready();
}

static void *handle_signals(void *arg)
{
	struct running *r = arg;
	int sig = 0;

	while (sigwait(&r->signals, &sig) == 0) {
		if (sig == SIGHUP)
			reload(r);
		else if (sig == SIGUSR1)
			sr_sync_daemon_now(r->daemon);
		else
			break;
	}
	sr_info("stopping (%s)", strsignal(sig));
	sr_notify_stopping();
	sr_sync_daemon_stop(r->daemon);
	return NULL;
}

static int run_daemon(const struct sr_config *config)
{
	struct sr_progress_line *line = NULL;
	struct running r = {0};
	pthread_t signals;
	struct sr_err err = {0};

	sr_cli_block_signals(&r.signals);
	if (sr_sync_daemon_open(&r.daemon, config, SR_VERSION, &err) != SR_OK)
		return sr_cli_fail(&cli, &err);
	fprintf(stderr, "listening on %s\n", sr_sync_daemon_address(r.daemon));
	sr_notify_ready();
	if (pthread_create(&signals, NULL, handle_signals, &r) != 0) {
		sr_sync_daemon_close(r.daemon);
		return sr_status_exit(SR_E_INTERNAL);
	}
	if (sr_progress_line_wanted(2, config->log_json)) {
		line = sr_progress_line_new(2);
		sr_sync_daemon_show_progress(r.daemon, sr_progress_line_show, line);
	}
	sr_sync_daemon_run(r.daemon);
	pthread_join(signals, NULL);
	sr_sync_daemon_close(r.daemon);
	sr_progress_line_free(line);
	return 0;
}

static int run(const struct sr_config *config)
{
	return once ? run_once(config) : run_daemon(config);
}

int main(int argc, char **argv)
{
	return sr_cli_daemon(&cli, argc, argv, &config_path, &check_config, &json, run);
}
