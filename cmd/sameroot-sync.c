/* sameroot-sync - the sync daemon beside a webserver: arguments, configuration, signals, exit codes. */
#include <inttypes.h>
#include <stdio.h>

#include "lib/admin/cli.h"
#include "lib/admin/confine.h"
#include "lib/admin/progress_line.h"
#include "lib/admin/signals.h"
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
	struct sr_confinement confinement;
	struct sr_sync_daemon *daemon;
	struct sr_shutdown *shutdown;
	struct sr_signals *signals;
	struct sr_progress_line *line;
};

static void reload(void *ctx)
{
	struct running *r = ctx;
	struct sr_config *fresh;

	sr_notify_reloading();
	fresh = sr_cli_reload(&cli, config_path);
	if (fresh) {
		sr_confine_check(&r->confinement, fresh);
		sr_sync_daemon_reload(r->daemon, fresh);
		sr_cli_reloaded();
	}
	sr_notify_ready();
}

static void round_now(void *ctx)
{
	struct running *r = ctx;

	sr_sync_daemon_now(r->daemon);
}

static enum sr_status run_rounds(struct running *r, const struct sr_config *config, const sigset_t *set, struct sr_err *err)
{
	enum sr_status rc = sr_sync_daemon_open(&r->daemon, config, SR_VERSION, r->shutdown, err);

	if (rc != SR_OK)
		return rc;
	fprintf(stderr, "listening on %s\n", sr_sync_daemon_address(r->daemon));
	sr_notify_ready();
	rc = sr_signals_start(&r->signals, set, r->shutdown, reload, round_now, r, err);
	if (rc != SR_OK)
		return rc;
	if (sr_progress_line_wanted(2, config->log_json)) {
		r->line = sr_progress_line_new(2);
		sr_sync_daemon_show_progress(r->daemon, sr_progress_line_show, r->line);
	}
	sr_sync_daemon_run(r->daemon);
	return SR_OK;
}

static int run_daemon(const struct sr_config *config)
{
	struct running r = {0};
	struct sr_err err = {0};
	sigset_t set;
	int status = 0;

	if (sr_confine(&r.confinement, config, false, true, &err) != SR_OK)
		return sr_cli_fail(&cli, &err);
	r.shutdown = sr_shutdown_new(config, "webserver");
	sr_shutdown_set_spawner(r.shutdown, r.confinement.spawner);
	sr_cli_block_signals(&set);
	if (run_rounds(&r, config, &set, &err) != SR_OK)
		status = sr_cli_fail(&cli, &err);
	sr_signals_mute(r.signals);
	sr_sync_daemon_close(r.daemon);
	sr_signals_stop(r.signals);
	sr_shutdown_free(r.shutdown);
	sr_progress_line_free(r.line);
	sr_confine_end(&r.confinement);
	return status;
}

static int run(const struct sr_config *config)
{
	return once ? run_once(config) : run_daemon(config);
}

int main(int argc, char **argv)
{
	return sr_cli_daemon(&cli, argc, argv, &config_path, &check_config, &json, run);
}
