/* cli.h - the command line that all programs share: options as a table, --help made from it, errors on stderr in one form. */
#ifndef SR_ADMIN_CLI_H
#define SR_ADMIN_CLI_H

#include <signal.h>

#include "lib/base/config.h"
#include "lib/base/err.h"

struct sr_cli_list { /* values of an option that may be given several times; `at` is OWNED by the process */
	const char **at; /* BORROWS argv */
	size_t n;
};

struct sr_cli_option {
	char letter;       /* 0: long form only */
	const char *name;  /* without the dashes */
	const char *value; /* what the value is called in --help; NULL: a flag */
	const char *help;
	bool *flag;        /* set when a flag is given */
	const char **text; /* set to a value; BORROWS argv */
	struct sr_cli_list *list; /* instead of text: each value is added */
};

struct sr_cli {
	const char *program, *usage /* after the program's name */, *what /* one sentence */;
	const struct sr_cli_option *options;
	size_t n;
};

/* Take the options off argv; what is left stands in argv[1..*count-1].  --help and --version are always known: they print and *done is
 * true.  Wrong use: SR_E_USAGE. */
SR_MUST enum sr_status sr_cli_parse(const struct sr_cli *cli, int argc, char **argv, int *count, bool *done, struct sr_err *err);

/* "program: text" on stderr; the exit status of err->code. */
int sr_cli_fail(const struct sr_cli *cli, const struct sr_err *err);

/* Last in every main that prints: what was printed is out, or the exit status says so.  Where nobody reads on, it ends as other tools do. */
int sr_cli_end(const struct sr_cli *cli, int status);

/* First in every main: the locale of UTF-8; a reader that has gone, and a limit of files' size, are errors like a full disk, and end no program. */
void sr_cli_begin(void);

/* A daemon's main: sr_cli_begin, options (no words), configuration, log; then --check-config, or run(config).  Returns the exit status.
 */
int sr_cli_daemon(const struct sr_cli *cli, int argc, char **argv, const char *const *config_path, const bool *check_config,
		  const bool *json, int (*run)(const struct sr_config *config));

/* Block the signals that a daemon waits for - SIGTERM, SIGINT, SIGHUP, SIGUSR1 - before any thread starts; *out for sigwait. */
void sr_cli_block_signals(sigset_t *out);

/* SIGHUP: read the configuration again.  Log level and format are taken at once; the secrets, the interval and the exclusions of stores are the caller's to take from what
 * is returned, OWNED BY CALLER (sr_config_free); other changes need a restart, and sr_cli_reloaded says so to the log when all is taken.  NULL: it is refused, logged, and the old one kept. */
struct sr_config *sr_cli_reload(const struct sr_cli *cli, const char *config_path);
void sr_cli_reloaded(void);

/* --check-config: print the effective configuration. */
void sr_cli_print_config(const struct sr_config *config, bool json);

#endif
