/* cli.c - see cli.h. */
#include "lib/admin/cli.h"

#include <locale.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/version.h"

static void print_help(const struct sr_cli *cli)
{
	printf("usage: %s %s\n%s\n\n", cli->program, cli->usage, cli->what);
	for (size_t i = 0; i < cli->n; i++) {
		const struct sr_cli_option *o = &cli->options[i];
		char left[64];

		snprintf(left, sizeof left, "%c%c%s --%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ', o->letter ? "," : " ",
			 o->name, o->value ? " " : "", o->value ? o->value : "");
		printf("  %-26s %s\n", left, o->help);
	}
	printf("  %-26s %s\n  %-26s %s\n", "    --help", "print this", "    --version", "print the version");
}

static const struct sr_cli_option *find(const struct sr_cli *cli, const char *arg, size_t len)
{
	for (size_t i = 0; i < cli->n; i++) {
		const struct sr_cli_option *o = &cli->options[i];

		if (arg[1] == '-' ? strlen(o->name) == len - 2 && strncmp(o->name, arg + 2, len - 2) == 0
				  : o->letter && len == 2 && arg[1] == o->letter)
			return o;
	}
	return NULL;
}

/* One option at argv[*i]; a value may follow after '=' or as the next argument. */
static enum sr_status take(const struct sr_cli *cli, int argc, char **argv, int *i, struct sr_err *err)
{
	const char *value, *arg = argv[*i], *equals = arg[1] == '-' ? strchr(arg, '=') : NULL;
	const struct sr_cli_option *o = find(cli, arg, equals ? (size_t)(equals - arg) : strlen(arg));

	if (!o)
		return sr_err_set(err, SR_E_USAGE, "unknown option %s; see --help", arg);
	if (!o->value) {
		if (equals)
			return sr_err_set(err, SR_E_USAGE, "--%s takes no value", o->name);
		*o->flag = true;
		return SR_OK;
	}
	if (!equals && *i + 1 == argc)
		return sr_err_set(err, SR_E_USAGE, "--%s needs a value: %s", o->name, o->value);
	value = equals ? equals + 1 : argv[++*i];
	if (o->list) {
		o->list->at = sr_realloc(o->list->at, (o->list->n + 1) * sizeof *o->list->at);
		o->list->at[o->list->n++] = value;
	} else {
		*o->text = value;
	}
	return SR_OK;
}

enum sr_status sr_cli_parse(const struct sr_cli *cli, int argc, char **argv, int *count, bool *done, struct sr_err *err)
{
	int i, words = 1;
	enum sr_status rc = SR_OK;

	*done = false;
	for (i = 1; rc == SR_OK && i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0) {
			print_help(cli);
			*done = true;
			return SR_OK;
		}
		if (strcmp(argv[i], "--version") == 0) {
			printf("%s %s\n", cli->program, SR_VERSION);
			*done = true;
			return SR_OK;
		}
		if (strcmp(argv[i], "--") == 0) {
			while (++i < argc)
				argv[words++] = argv[i];
			break;
		}
		if (argv[i][0] == '-' && argv[i][1])
			rc = take(cli, argc, argv, &i, err);
		else
			argv[words++] = argv[i]; /* options may stand after words; words move to the front */
	}
	argv[words] = NULL;
	*count = words;
	return rc;
}

int sr_cli_fail(const struct sr_cli *cli, const struct sr_err *err)
{
	fprintf(stderr, "%s: %s\n", cli->program, err->text);
	return sr_status_exit(err->code);
}

/* Has the reader of our output gone, as `head` does? */
static bool reader_is_gone(void)
{
	struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};

	return poll(&p, 1, 0) == 1 && (p.revents & (POLLERR | POLLHUP));
}

int sr_cli_end(const struct sr_cli *cli, int status)
{
	struct sr_err err = {0};

	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	if (reader_is_gone()) {
		signal(SIGPIPE, SIG_DFL);
		raise(SIGPIPE);
	}
	sr_err_sys(&err, SR_E_IO, "write to the standard output");
	return sr_cli_fail(cli, &err);
}

void sr_cli_print_config(const struct sr_config *config, bool json)
{
	struct sr_buf out = {0};

	sr_config_print(config, &out, json);
	fwrite(out.at, 1, out.len, stdout);
	sr_buf_free(&out);
}

void sr_cli_block_signals(sigset_t *out)
{
	sigemptyset(out);
	sigaddset(out, SIGTERM);
	sigaddset(out, SIGINT);
	sigaddset(out, SIGHUP);
	sigaddset(out, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, out, NULL);
}

void sr_cli_begin(void)
{
	setlocale(LC_CTYPE, "C.UTF-8");
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a limit of files' size is an error like a full disk */
}

int sr_cli_daemon(const struct sr_cli *cli, int argc, char **argv, const char *const *config_path, const bool *check_config,
		  const bool *json, int (*run)(const struct sr_config *config))
{
	struct sr_config *config = NULL;
	struct sr_err err = {0};
	bool done;
	int count, status = 0;

	sr_cli_begin();
	/* What a large round took goes back to the system when it is over: without these glibc keeps it, once for each thread. */
	mallopt(M_MMAP_THRESHOLD, 128 * 1024);
	mallopt(M_ARENA_MAX, 2);
	if (sr_cli_parse(cli, argc, argv, &count, &done, &err) != SR_OK)
		return sr_cli_fail(cli, &err);
	if (done)
		return sr_cli_end(cli, 0);
	if (count > 1) {
		sr_err_set(&err, SR_E_USAGE, "unexpected argument %s; see --help", argv[1]);
		return sr_cli_fail(cli, &err);
	}
	if (sr_config_load(&config, *config_path, &err) != SR_OK)
		return sr_cli_fail(cli, &err);
	sr_log_setup(cli->program, config->log_level, config->log_json);
	if (*check_config)
		sr_cli_print_config(config, *json);
	else
		status = run(config);
	sr_config_free(config);
	return sr_cli_end(cli, status);
}

struct sr_config *sr_cli_reload(const struct sr_cli *cli, const char *config_path)
{
	struct sr_config *fresh;
	struct sr_err err;

	if (sr_config_load(&fresh, config_path, &err) != SR_OK) {
		sr_error("reload: the new configuration is refused and the old one kept: %s", err.text);
		return NULL;
	}
	sr_log_setup(cli->program, fresh->log_level, fresh->log_json);
	return fresh;
}

void sr_cli_reloaded(void)
{
	sr_info("reload: secrets, interval, exclusions, Health-Check-URL, Max-Lag, limits of what is kept, log level and format are taken; other changes need a restart");
}
