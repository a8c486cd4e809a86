/* sameroot-restore - disaster recovery: arguments, configuration, exit codes.  What it does: lib/admin/restore.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/admin/progress_line.h"
#include "lib/admin/restore.h"

static struct sr_restore_options o;
static const char *config_path, *users_db, *webstore_db, *resources;

static const struct sr_cli_option options[] = {
	{'c', "config", "FILE", "the configuration [" SR_CONFIG_DEFAULT_FILE "]", .text = &config_path},
	{0, "from", "URL", "a webserver's sync daemon, http(s)://HOST:9406; several are merged", .list = &o.from},
	{0, "pin", "PIN", "the key that it has, sha256//...; one for each --from", .list = &o.pins},
	{0, "from-files", NULL, "from files on this machine", .flag = &o.from_files},
	{0, "users-db", "FILE", "the users database, with --from-files", .text = &users_db},
	{0, "webstore-db", "FILE", "the web store database, with --from-files", .text = &webstore_db},
	{0, "resources", "DIRECTORY", "the resources, with --from-files", .text = &resources},
	{0, "file", "NAME=PATH", "of another store, with --from-files; repeatable", .list = &o.files},
	{0, "from-backup", "FILE", "from a backup of `sameroot backup`", .text = &o.from_backup},
	{0, "from-datastore", NULL, "a webserver: from its configured datastore", .flag = &o.from_datastore},
	{0, "store", "NAME", "this store only; repeatable", .list = &o.stores},
	{0, "path", "PATH", "a part of a store only, resources/img or users.db/users", .text = &o.path},
	{0, "even-empty", NULL, "also a store that is empty at the source, and not here", .flag = &o.even_empty},
	{0, "dry-run", NULL, "say what would be done, and do nothing", .flag = &o.dry_run},
	{0, "json", NULL, "print as JSON", .flag = &o.json},
	{0, "yes", NULL, "do not ask, do it", .flag = &o.yes},
};
static const struct sr_cli cli = {
	.program = "sameroot-restore",
	.usage = "datastore --from URL... | --from-files ... | --from-backup FILE [OPTION...]\n"
		 "       sameroot-restore webserver --from-datastore [OPTION...]",
	.what = "Rebuild the stores of a stopped datastore or webserver; what was there is put aside.",
	.options = options,
	.n = sizeof options / sizeof *options,
};

static bool ask(void *ctx, const char *question)
{
	char answer[16] = "";

	(void)ctx;
	fprintf(stderr, "%s", question);
	return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

static void name_file(const char *store, const char *path)
{
	if (!path)
		return;
	o.files.at = sr_realloc(o.files.at, (o.files.n + 1) * sizeof *o.files.at);
	o.files.at[o.files.n++] = sr_format("%s=%s", store, path);
}

static enum sr_status role_of(int count, char **argv, struct sr_err *err)
{
	if (count != 2)
		return sr_err_set(err, SR_E_USAGE, count < 2 ? "datastore or webserver? See --help" : "unexpected argument %s; see --help",
				  count < 2 ? "" : argv[2]);
	if (strcmp(argv[1], "datastore") != 0 && strcmp(argv[1], "webserver") != 0)
		return sr_err_set(err, SR_E_USAGE, "%s: datastore or webserver? See --help", argv[1]);
	o.role = argv[1][0] == 'd' ? SR_ROLE_DATASTORE : SR_ROLE_WEBSERVER;
	return SR_OK;
}

static int run(struct sr_err *err)
{
	struct sr_progress_line *line = sr_progress_line_wanted(2, o.json) ? sr_progress_line_new(2) : NULL;
	int status = 0;
	enum sr_status rc;

	o.out = stdout;
	o.notes = stderr;
	o.confirm = isatty(STDIN_FILENO) ? ask : NULL;
	o.show = line ? sr_progress_line_show : NULL;
	o.ctx = line;
	rc = sr_restore(&o, &status, err);
	sr_progress_line_free(line);
	return rc == SR_OK ? sr_cli_end(&cli, status) : sr_cli_fail(&cli, err);
}

int main(int argc, char **argv)
{
	struct sr_config *config = NULL;
	struct sr_err err = {0};
	bool done;
	int count, status;

	sr_cli_begin();
	if (sr_cli_parse(&cli, argc, argv, &count, &done, &err) != SR_OK)
		return sr_cli_fail(&cli, &err);
	if (done)
		return sr_cli_end(&cli, 0);
	if (role_of(count, argv, &err) != SR_OK || sr_config_load(&config, config_path, &err) != SR_OK)
		return sr_cli_fail(&cli, &err);
	sr_log_setup(cli.program, SR_LOG_WARN, false);
	o.config = config;
	name_file(config->stores[SR_STORE_USERS].name, users_db);
	name_file(config->stores[SR_STORE_WEBSTORE].name, webstore_db);
	name_file(config->stores[SR_STORE_RESOURCES].name, resources);
	status = run(&err);
	sr_config_free(config);
	return status;
}
