/* sameroot - the admin's tool: arguments, configuration, exit codes.  The commands are in lib/admin. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "lib/admin/admin.h"
#include "lib/admin/cli.h"
#include "lib/base/log.h"

#define PROGRAM "sameroot"
#define MANY    1000000

static bool json, yes, adopt_union, adopt_mirror, adopt_deletions, new_key, new_uuid, print_line, as_datastore, as_webserver;
static bool all, content, keep, deep, repair, removes;
static const char *config_path, *store, *address, *external_addr, *as, *older_than, *all_of;
static bool exact, dry_run, make_admin, revoke_admin, no_schema;
static const char *since, *limit, *at, *login;

enum {
	OPT_CONFIG = 1,
	OPT_JSON = 2,
	OPT_YES = 4,
	OPT_SIDE = 8,
	OPT_ADOPT = 16,
	OPT_NEW_KEY = 32,
	OPT_CONFLICTS_LIST = 1 << 16,
	OPT_CONFLICTS_SHOW = 1 << 17,
	OPT_CONFLICTS_RESTORE = 1 << 18,
	OPT_CONFLICTS_REMOVE = 1 << 19,
	OPT_LOG = 1 << 10,
	OPT_RESTORE = 1 << 11,
	OPT_JOIN = 1 << 20,
	OPT_ADDRESS = 1 << 21,
	OPT_DEEP = 1 << 12,
	OPT_USER_ADD = 1 << 13,
	OPT_USER_ADMIN = 1 << 14,
	OPT_INIT = 1 << 15,
	OPT_LOGIN = 1 << 22,
	OPT_REPAIR = 1 << 23,
	OPT_CAPTURE = 1 << 24,
};

static const struct option {
	unsigned of;
	struct sr_cli_option cli;
} options[] = {
	{OPT_CONFIG, {'c', "config", "FILE", "the configuration [" SR_CONFIG_DEFAULT_FILE "]", .text = &config_path}},
	{OPT_JSON, {0, "json", NULL, "print as JSON", .flag = &json}},
	{OPT_YES, {0, "yes", NULL, "do not ask, do it", .flag = &yes}},
	{OPT_SIDE, {0, "datastore", NULL, "of this machine's datastore, where it also is a webserver", .flag = &as_datastore}},
	{OPT_SIDE, {0, "webserver", NULL, "of this machine as a webserver", .flag = &as_webserver}},
	{OPT_NEW_KEY, {0, "new-key", NULL, "forget the datastore's key, so that the next round makes first contact", .flag = &new_key}},
	{OPT_NEW_KEY, {0, "new-uuid", NULL, "this machine is a copy of a webserver: give it an identity of its own", .flag = &new_uuid}},
	{OPT_LOG, {0, "since", "TIME", "what is not older; TIME as for restore", .text = &since}},
	{OPT_LOG, {0, "limit", "N", "so many entries, the newest first [100]", .text = &limit}},
	{OPT_RESTORE, {0, "at", "TIME", "as it was then: 2026-11-25T14:00:00Z, \"2026-11-25 14:00\", yesterday, 2h, 3d, @SEQ", .text = &at}},
	{OPT_RESTORE, {0, "exact", NULL, "also remove what was created since", .flag = &exact}},
	{OPT_RESTORE, {0, "dry-run", NULL, "show what would come back, and do nothing", .flag = &dry_run}},
	{OPT_JOIN, {0, "line", NULL, "print the line by which webservers join this datastore; it holds the secret", .flag = &print_line}},
	{OPT_JOIN, {0, "external-addr", "HOST:PORT", "where others reach the application of this webserver", .text = &external_addr}},
	{OPT_ADDRESS, {0, "address", "HOST[:PORT]", "where webservers reach this datastore; default: this machine's name", .text = &address}},
	{OPT_REPAIR, {0, "repair", NULL, "have the daemon take what has rotted from another node", .flag = &repair}},
	{OPT_CAPTURE, {0, "remove", NULL, "remove them", .flag = &removes}},
	{OPT_DEEP, {0, "deep", NULL, "of a FILE: have SQLite look at each page of its databases, too", .flag = &deep}},
	{OPT_ADOPT, {0, "union", NULL, "unite the datastore's state with the webservers'", .flag = &adopt_union}},
	{OPT_ADOPT, {0, "mirror", NULL, "take the datastore's state as it is on this webserver", .flag = &adopt_mirror}},
	{OPT_ADOPT, {0, "store", "NAME", "with --mirror: of this store alone", .text = &store}},
	{OPT_CONFLICTS_LIST, {0, "all", NULL, "of every node, as the datastore knows them", .flag = &all}},
	{OPT_CONFLICTS_SHOW, {0, "content", NULL, "write the content to the standard output, as it is", .flag = &content}},
	{OPT_CONFLICTS_RESTORE, {0, "keep", NULL, "leave the entry in the archive", .flag = &keep}},
	{OPT_CONFLICTS_RESTORE, {0, "as", "PATH", "of a file: under this name", .text = &as}},
	{OPT_CONFLICTS_REMOVE, {0, "older-than", "DAYS", "those that were archived before so many days", .text = &older_than}},
	{OPT_CONFLICTS_REMOVE, {0, "all-of", "STORE", "those of this store", .text = &all_of}},
	{OPT_INIT, {0, "no-schema", NULL, "make new databases empty: an application brings its own tables", .flag = &no_schema}},
	{OPT_USER_ADD, {0, "admin", NULL, "he is an admin", .flag = &make_admin}},
	{OPT_USER_ADMIN, {0, "revoke", NULL, "he is none any more", .flag = &revoke_admin}},
	{OPT_LOGIN, {0, "user", "NAME", "an admin, whose password is asked for or the first line of the standard input; for another node", .text = &login}},
	{OPT_ADOPT, {0, "deletions", NULL, "let through the deletions that are held here", .flag = &adopt_deletions}},
};
#define OPTIONS (sizeof options / sizeof *options)

static const struct command {
	const char *name, *sub; /* sub: a second word, or NULL */
	const char *usage;      /* after the words */
	const char *what;
	unsigned options;
	int most; /* arguments */
	sr_admin_command *run;
} commands[] = {
	{"status", NULL, "[-c FILE] [--json] [--datastore | --webserver]",
	 "How this node is: 0 well, 1 something held or paused, 75 unreachable.", OPT_CONFIG | OPT_JSON | OPT_SIDE, 0, sr_admin_status},
	{"ls", NULL, "[-c FILE] [--json] [--datastore | --webserver] [PATH]", "List the tree, or what is below PATH in it.",
	 OPT_CONFIG | OPT_JSON | OPT_SIDE, 1, sr_admin_ls},
	{"diff", NULL, "[-c FILE] [--json]",
	 "Name each path in which this webserver and the datastore differ: 0 none, 1 some, 75 unreachable.", OPT_CONFIG | OPT_JSON, 0,
	 sr_admin_diff},
	{"conflicts", "list", "[-c FILE] [--json] [--all] [--datastore | --webserver] [PATH]",
	 "List the conflict archive, oldest first; of what begins with PATH.", OPT_CONFIG | OPT_JSON | OPT_SIDE | OPT_CONFLICTS_LIST, 1,
	 sr_admin_conflicts_list},
	{"conflicts", "show", "[-c FILE] [--json | --content] [--datastore | --webserver] ID",
	 "An archived version, beside what is there now.", OPT_CONFIG | OPT_JSON | OPT_SIDE | OPT_CONFLICTS_SHOW, 1,
	 sr_admin_conflicts_show},
	{"conflicts", "restore", "[-c FILE] [--json] [--yes] [--keep] [--as PATH] [--datastore | --webserver] ID...",
	 "Make archived versions the current ones again, everywhere.", OPT_CONFIG | OPT_JSON | OPT_YES | OPT_SIDE | OPT_CONFLICTS_RESTORE,
	 MANY, sr_admin_conflicts_restore},
	{"conflicts", "remove", "[-c FILE] [--json] [--yes] [--datastore | --webserver] ID... | [--older-than DAYS] [--all-of STORE]",
	 "Remove archived versions for good.", OPT_CONFIG | OPT_JSON | OPT_YES | OPT_SIDE | OPT_CONFLICTS_REMOVE, MANY,
	 sr_admin_conflicts_remove},
	{"backup", NULL, "[-c FILE] [--json] [--datastore | --webserver] FILE | -",
	 "Write all stores of this node as of one root into a tar, with zstd if FILE ends in .zst.", OPT_CONFIG | OPT_JSON | OPT_SIDE, 1,
	 sr_admin_backup},
	{"verify", NULL, "[-c FILE] [--json] [--repair [--yes]] [--datastore | --webserver] | [--json] [--deep] FILE | -",
	 "Read everything on this node again and name what has rotted; with FILE: hold a backup against its manifest.",
	 OPT_CONFIG | OPT_JSON | OPT_SIDE | OPT_DEEP | OPT_REPAIR | OPT_YES, 1, sr_admin_verify},
	{"capture", NULL, "[-c FILE] [--json] [--remove]",
	 "Show the triggers and the log of Change-Capture=triggers in this webserver's databases, or remove them.", OPT_CONFIG | OPT_JSON | OPT_CAPTURE, 0,
	 sr_admin_capture},
	{"init", NULL, "[--datastore | --webserver] [--address HOST[:PORT]] [--no-schema] [--yes] [--json] [-c FILE]",
	 "Make what this machine needs and does not have: configuration, secret, directories, stores without content.",
	 OPT_CONFIG | OPT_JSON | OPT_YES | OPT_SIDE | OPT_ADDRESS | OPT_INIT, 0, sr_admin_init},
	{"join", NULL,
	 "[-c FILE] [--json] [--new-key | --new-uuid [--yes]]\n       sameroot join LINE | - [--external-addr HOST:PORT] [--no-schema] [--yes] [--json] [-c FILE]\n"
	 "       sameroot join --line [--address HOST[:PORT]] [--json] [-c FILE]",
	 "How this webserver knows its datastore: 0 the last round went through, 1 it did not, 75 the daemon does not run.\n"
	 "With LINE, or one from the standard input: set this machine up as a webserver.  --line, on the datastore: print that line.",
	 OPT_CONFIG | OPT_JSON | OPT_YES | OPT_NEW_KEY | OPT_JOIN | OPT_ADDRESS | OPT_INIT, 1, sr_admin_join},
	{"log", NULL, "[-c FILE] [--json] [--since TIME] [--limit N] [--datastore | --webserver] [PATH]",
	 "What changed at or below PATH, when, by whom, and whether what it was is kept; the newest first.", OPT_CONFIG | OPT_JSON | OPT_SIDE | OPT_LOG, 1,
	 sr_admin_log},
	{"restore", NULL, "PATH --at TIME [--exact] [--dry-run] [-c FILE] [--json] [--yes] [--datastore | --webserver]",
	 "Bring a file, directory, row, table or store back as it was, as a new change: 0 all of it, 1 not all.",
	 OPT_CONFIG | OPT_JSON | OPT_YES | OPT_SIDE | OPT_RESTORE, 1, sr_admin_restore},
	{"adopt", NULL, "--union | --mirror [--store NAME] | --deletions [-c FILE] [--json] [--yes] [--datastore | --webserver]",
	 "Decide what is held: unite every webserver with the datastore, let this one become what the datastore is, or let deletions through.",
	 OPT_CONFIG | OPT_JSON | OPT_YES | OPT_SIDE | OPT_ADOPT, 0, sr_admin_adopt},
	{"user", "add", "[-c FILE] [--admin] [--datastore | --webserver] NAME",
	 "Make a user, here and with the next round everywhere; the password is asked for, or the first line of the standard input.",
	 OPT_CONFIG | OPT_SIDE | OPT_USER_ADD, 1, sr_admin_user_add},
	{"user", "passwd", "[-c FILE] [--datastore | --webserver] NAME", "Change a user's password; it is read as by user add.", OPT_CONFIG | OPT_SIDE, 1,
	 sr_admin_user_passwd},
	{"user", "list", "[-c FILE] [--json] [--datastore | --webserver]", "Who there is.", OPT_CONFIG | OPT_JSON | OPT_SIDE, 0, sr_admin_user_list},
	{"user", "show", "[-c FILE] [--json] [--datastore | --webserver] NAME", "What is known of a user.", OPT_CONFIG | OPT_JSON | OPT_SIDE, 1,
	 sr_admin_user_show},
	{"user", "admin", "[-c FILE] [--revoke] [--datastore | --webserver] NAME", "Make a user an admin.", OPT_CONFIG | OPT_SIDE | OPT_USER_ADMIN, 1,
	 sr_admin_user_admin},
	{"user", "disable", "[-c FILE] [--datastore | --webserver] NAME", "Take no login of this user any more.", OPT_CONFIG | OPT_SIDE, 1,
	 sr_admin_user_disable},
	{"user", "enable", "[-c FILE] [--datastore | --webserver] NAME", "Take this user's logins again.", OPT_CONFIG | OPT_SIDE, 1, sr_admin_user_enable},
	{"user", "delete", "[-c FILE] [--yes] [--datastore | --webserver] NAME", "Delete a user, here and with the next round everywhere.",
	 OPT_CONFIG | OPT_YES | OPT_SIDE, 1, sr_admin_user_delete},
	{"lb", "status", "[-c FILE] [--json] [--datastore | --webserver] [WEBSERVER]",
	 "What load balancers are told of this node and of all others that are known, and why.", OPT_CONFIG | OPT_JSON | OPT_SIDE, 1, sr_admin_lb_status},
	{"lb", "alive", "[-c FILE] [--json] [--user NAME] [--datastore | --webserver] [WEBSERVER]",
	 "Have load balancers take this node, or WEBSERVER, whatever it thinks itself.", OPT_CONFIG | OPT_JSON | OPT_SIDE | OPT_LOGIN, 1, sr_admin_lb_alive},
	{"lb", "dead", "[-c FILE] [--json] [--user NAME] [--datastore | --webserver] [WEBSERVER]",
	 "Have load balancers leave this node, or WEBSERVER, at once.", OPT_CONFIG | OPT_JSON | OPT_SIDE | OPT_LOGIN, 1, sr_admin_lb_dead},
	{"lb", "auto", "[-c FILE] [--json] [--user NAME] [--datastore | --webserver] [WEBSERVER]",
	 "Have this node, or WEBSERVER, judge for itself again.", OPT_CONFIG | OPT_JSON | OPT_SIDE | OPT_LOGIN, 1, sr_admin_lb_auto},
	{"lb", "drain", "[-c FILE] [--json] [--user NAME] [--datastore | --webserver] [WEBSERVER]",
	 "Have load balancers send this node, or WEBSERVER, no new users; those that are there finish.", OPT_CONFIG | OPT_JSON | OPT_SIDE | OPT_LOGIN, 1, sr_admin_lb_drain},
	{"forget", NULL, "[-c FILE] [--json] [--user NAME] [--yes] [--datastore | --webserver] WEBSERVER",
	 "On the datastore: have a webserver that was taken out of service not listed any more.", OPT_CONFIG | OPT_JSON | OPT_YES | OPT_SIDE | OPT_LOGIN, 1, sr_admin_forget_webserver},
	{"shutdown", NULL, "[-c FILE] [--json] [--user NAME] [--datastore | --webserver] [WEBSERVER]",
	 "Shut down this node's daemon, or WEBSERVER's, gracefully.", OPT_CONFIG | OPT_JSON | OPT_SIDE | OPT_LOGIN, 1, sr_admin_shutdown},
};
#define COMMANDS (sizeof commands / sizeof *commands)

/* --- arguments -------------------------------------------------------------------------------------------------------- */

static void command_words(const struct command *c, char out[64])
{
	snprintf(out, 64, "%s%s%s", c->name, c->sub ? " " : "", c->sub ? c->sub : "");
}

/* The text below "usage: sameroot ...": the commands, from their table. */
static void list_commands(struct sr_buf *out)
{
	char words[64];

	sr_buf_printf(out, "Look after the nodes of a Sameroot cluster, each on its own machine.\n\n");
	for (size_t i = 0; i < COMMANDS; i++) {
		command_words(&commands[i], words);
		sr_buf_printf(out, "  %-17s %.*s\n", words, (int)strcspn(commands[i].what, "\n"), commands[i].what);
	}
	sr_buf_printf(out, "\n`%s COMMAND --help` says more of one; these are understood by most:", PROGRAM);
}

static size_t choose(unsigned of, struct sr_cli_option *out)
{
	size_t n = 0;

	for (size_t i = 0; i < OPTIONS; i++)
		if (options[i].of & of)
			out[n++] = options[i].cli;
	return n;
}

/* Does the next argument belong to this one? */
static bool takes_next(const char *arg)
{
	for (size_t i = 0; i < OPTIONS; i++) {
		const struct sr_cli_option *o = &options[i].cli;

		if (o->value && ((o->letter && arg[0] == '-' && arg[1] == o->letter && !arg[2]) || (!strncmp(arg, "--", 2) && !strcmp(arg + 2, o->name))))
			return true;
	}
	return false;
}

/* Word n, from 0 on, of those that are neither an option nor the value of one. */
static const char *word_of(int argc, char **argv, int n)
{
	for (int i = 1; i < argc; i++) {
		if (takes_next(argv[i]))
			i++;
		else if (argv[i][0] != '-' && n-- == 0)
			return argv[i];
	}
	return NULL;
}

/* Where the second word is none of the command's: the first of that name, for check_words to say so. */
static const struct command *find(const char *name, const char *sub)
{
	const struct command *found = NULL;

	for (size_t i = 0; name && i < COMMANDS; i++) {
		if (strcmp(commands[i].name, name) != 0)
			continue;
		if (!found || (commands[i].sub && sub && strcmp(commands[i].sub, sub) == 0))
			found = &commands[i];
	}
	return found;
}

/* Without a command: --help, --version, or what is wrong. */
static int no_command(int argc, char **argv, const char *word)
{
	struct sr_cli_option some[OPTIONS];
	struct sr_buf text = {0};
	struct sr_cli cli = {.program = PROGRAM, .usage = "COMMAND [OPTION...] [ARGUMENT...]", .options = some};
	struct sr_err err = {0};
	bool done = false;
	int count, status;

	cli.n = choose(OPT_CONFIG | OPT_JSON | OPT_YES | OPT_SIDE, some);
	list_commands(&text);
	cli.what = sr_buf_text(&text);
	if (sr_cli_parse(&cli, argc, argv, &count, &done, &err) == SR_OK && !done)
		sr_err_set(&err, SR_E_USAGE, word ? "no command is called %s; see --help" : "a command is missing; see --help", word);
	status = done ? sr_cli_end(&cli, 0) : sr_cli_fail(&cli, &err);
	sr_buf_free(&text);
	return status;
}

/* Takes the command's own words off: what is left are *args. */
static enum sr_status check_words(const struct command *c, int count, char **argv, char ***args, struct sr_err *err)
{
	int words = c->sub ? 2 : 1;

	if (c->sub && (count < 3 || strcmp(argv[2], c->sub) != 0))
		return sr_err_set(err, SR_E_USAGE, "%s %s: what is meant? See %s --help", PROGRAM, c->name, PROGRAM);
	if (count - 1 - words > c->most)
		return sr_err_set(err, SR_E_USAGE, "unexpected argument %s; see --help", argv[1 + words + c->most]);
	if (as_datastore && as_webserver)
		return sr_err_set(err, SR_E_USAGE, "--datastore or --webserver, not both");
	*args = argv + 1 + words;
	return SR_OK;
}

/* --- running ------------------------------------------------------------------------------------------------------------ */

static bool ask(void *ctx, const char *question)
{
	char answer[16] = "";

	(void)ctx;
	fprintf(stderr, "%s", question);
	return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

/* Without an echo, whatever ends it. */
static char *ask_secret(void *ctx, const char *question)
{
	struct termios was, quiet;
	bool changed = tcgetattr(STDIN_FILENO, &was) == 0;
	char answer[1024] = "", *out;

	(void)ctx;
	quiet = was;
	quiet.c_lflag &= ~(tcflag_t)ECHO;
	changed = changed && tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet) == 0; /* it throws away what was typed before, so not after the question */
	fprintf(stderr, "%s", question);
	if (!fgets(answer, sizeof answer, stdin))
		answer[0] = '\0';
	if (changed)
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &was);
	fprintf(stderr, "\n");
	answer[strcspn(answer, "\r\n")] = '\0';
	out = sr_strdup(answer);
	explicit_bzero(answer, sizeof answer);
	return out;
}

static char *ask_words(void *ctx, const char *question, const char *otherwise)
{
	char answer[512] = "";

	(void)ctx;
	fprintf(stderr, "%s [%s]: ", question, otherwise);
	if (!fgets(answer, sizeof answer, stdin))
		answer[0] = '\0';
	answer[strcspn(answer, "\r\n")] = '\0';
	return sr_strdup(answer[0] ? answer : otherwise);
}

/* Reads the configuration by itself, for it may not be there yet. */
static bool sets_up(const struct command *c)
{
	return c->run == sr_admin_init || c->run == sr_admin_join;
}

static int run(const struct command *c, const struct sr_cli *cli, char **args)
{
	struct sr_config *config = NULL;
	struct sr_err err = {0};
	int status = 0;
	struct sr_admin a = {
		.side = as_datastore   ? SR_SIDE_DATASTORE
			: as_webserver ? SR_SIDE_WEBSERVER
				       : SR_SIDE_CONFIGURED,
		.json = json,
		.yes = yes,
		.adopt_union = adopt_union,
		.adopt_mirror = adopt_mirror,
		.store = store,
		.new_key = new_key,
		.new_uuid = new_uuid,
		.adopt_deletions = adopt_deletions,
		.path = args[0],
		.args = (const char *const *)args,
		.all = all,
		.content = content,
		.keep = keep,
		.as = as,
		.older_than = older_than,
		.all_of = all_of,
		.config_path = config_path,
		.address = address,
		.external_addr = external_addr,
		.print_line = print_line,
		.deep = deep,
		.removes = removes,
		.repair = repair,
		.since = since,
		.limit = limit,
		.at = at,
		.exact = exact,
		.dry_run = dry_run,
		.admin = make_admin,
		.no_schema = no_schema,
		.revoke = revoke_admin,
		.user = login,
		.in = stdin,
		.out = stdout,
		.notes = stderr,
		.confirm = isatty(STDIN_FILENO) ? ask : NULL,
		.ask = isatty(STDIN_FILENO) ? ask_words : NULL,
		.ask_secret = isatty(STDIN_FILENO) ? ask_secret : NULL,
	};

	while (args[a.n_args])
		a.n_args++;
	if (!sets_up(c) && sr_config_load(&config, config_path, &err) != SR_OK)
		return sr_cli_fail(cli, &err);
	sr_log_setup(PROGRAM, SR_LOG_ERROR, false);
	a.config = config;
	if (c->run(&a, &status, &err) != SR_OK)
		status = sr_cli_fail(cli, &err);
	sr_config_free(config);
	return sr_cli_end(cli, status);
}

int main(int argc, char **argv)
{
	const char *word = word_of(argc, argv, 0);
	const struct command *c = find(word, word_of(argc, argv, 1));
	struct sr_cli_option some[OPTIONS];
	struct sr_cli cli = {.program = PROGRAM, .options = some};
	struct sr_err err = {0};
	char words[64], usage[512], **args = NULL;
	bool done;
	int count;

	sr_cli_begin();
	if (!c)
		return no_command(argc, argv, word);
	command_words(c, words);
	snprintf(usage, sizeof usage, "%s %s", words, c->usage);
	cli.usage = usage;
	cli.what = c->what;
	cli.n = choose(c->options, some);
	if (sr_cli_parse(&cli, argc, argv, &count, &done, &err) != SR_OK)
		return sr_cli_fail(&cli, &err);
	if (done)
		return sr_cli_end(&cli, 0);
	if (check_words(c, count, argv, &args, &err) != SR_OK)
		return sr_cli_fail(&cli, &err);
	return run(c, &cli, args);
}
