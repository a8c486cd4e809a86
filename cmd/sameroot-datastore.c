/* sameroot-datastore - the datastore daemon: arguments, configuration, signals, exit codes. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "lib/admin/cli.h"
#include "lib/admin/confine.h"
#include "lib/admin/signals.h"
#include "lib/base/log.h"
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

struct running {
	struct sr_confinement confinement;
	struct sr_shutdown *shutdown;
	struct sr_datastore *datastore;
	struct sr_signals *signals;
};

static void reload(void *ctx)
{
	struct running *r = ctx;
	struct sr_config *fresh;

	sr_notify_reloading();
	fresh = sr_cli_reload(&cli, config_path);
	if (fresh) {
		sr_confine_check(&r->confinement, fresh);
		sr_datastore_reload(r->datastore, fresh);
		sr_cli_reloaded();
	}
	sr_config_free(fresh);
	sr_notify_ready();
}

static void scan_now(void *ctx)
{
	struct running *r = ctx;

	sr_datastore_scan_now(r->datastore);
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

static enum sr_status serve(struct running *r, const sigset_t *set, struct sr_err *err)
{
	struct sr_datastore *d = r->datastore;
	enum sr_status rc;

	sr_datastore_set_shutdown(d, r->shutdown);
	rc = sr_datastore_listen(d, err);
	if (rc != SR_OK)
		return rc;
	fprintf(stderr, "listening on %s\n", sr_datastore_address(d));
	sr_notify_ready();
	rc = sr_datastore_start(d, err);
	if (rc == SR_OK)
		rc = sr_signals_start(&r->signals, set, r->shutdown, reload, scan_now, r, err);
	return rc == SR_OK ? wait_for_end(d, r->shutdown, err) : rc;
}

/* From its opening to its end. */
static enum sr_status live(struct running *r, const struct sr_config *config, const sigset_t *set, struct sr_err *err)
{
	enum sr_status rc = sr_datastore_open(&r->datastore, config, err);

	if (rc == SR_OK)
		rc = serve(r, set, err);
	sr_signals_mute(r->signals);
	sr_datastore_close(r->datastore);
	sr_signals_stop(r->signals);
	r->datastore = NULL;
	r->signals = NULL;
	return rc;
}

/* The disk is full, and nothing can be done without it: once in a while it is tried anew.  False: a signal ends it. */
static bool wait_for_room(const sigset_t *set, const struct sr_err *err, char told[sizeof err->text])
{
	static const struct timespec rest = {.tv_sec = LOOK_MS / 1000};
	int sig;

	if (strcmp(err->text, told) != 0)
		sr_error("%s; it goes on by itself when there is room", err->text);
	memcpy(told, err->text, sizeof err->text);
	sr_notify_ready(); /* or it would be taken for one that hangs */
	sr_notify_status("no room: %s", err->text);
	do {
		sig = sigtimedwait(set, NULL, &rest);
	} while (sig == SIGHUP || sig == SIGUSR1 || (sig < 0 && errno == EINTR));
	return sig < 0;
}

static int run(const struct sr_config *config)
{
	struct running r = {0};
	struct sr_err err = {0};
	char told[sizeof err.text] = "";
	enum sr_status rc;
	sigset_t set;
	int status = 0;

	if (sr_confine(&r.confinement, config, true, true, &err) != SR_OK)
		return sr_cli_fail(&cli, &err);
	r.shutdown = sr_shutdown_new(config, "datastore");
	sr_shutdown_set_spawner(r.shutdown, r.confinement.spawner);
	sr_cli_block_signals(&set);
	do {
		err = (struct sr_err){0};
		rc = live(&r, config, &set, &err);
	} while (rc == SR_E_FULL && !sr_shutdown_wait(r.shutdown, 0) && wait_for_room(&set, &err, told));
	if (rc != SR_OK && rc != SR_E_FULL)
		status = sr_cli_fail(&cli, &err);
	sr_shutdown_free(r.shutdown);
	sr_confine_end(&r.confinement);
	return status;
}

int main(int argc, char **argv)
{
	return sr_cli_daemon(&cli, argc, argv, &config_path, &check_config, &json, run);
}
