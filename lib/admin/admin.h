/* admin.h - the commands of `sameroot`, each one function.  What they do and say: sameroot(1).
 *
 * A command writes what was asked for to `out` and remarks to `notes`; faults are returned, and only cmd/ prints them.  *status is the exit
 * status of a command that returned SR_OK (0 well; otherwise as the manual says). Threads: one command at a time. */
#ifndef SR_ADMIN_ADMIN_H
#define SR_ADMIN_ADMIN_H

#include <stdio.h>

#include "lib/base/config.h"

#define SR_EXIT_DIFFERENT   1  /* diff found something; status: something is held or paused */
#define SR_EXIT_UNREACHABLE 75 /* a daemon does not answer */

enum sr_admin_side { SR_SIDE_CONFIGURED /* a machine with Datastore= is a webserver */, SR_SIDE_WEBSERVER, SR_SIDE_DATASTORE };

struct sr_admin { /* all BORROWED */
	const struct sr_config *config; /* NULL: the command reads it by itself, for it may not be there yet */
	const char *config_path;        /* as given; NULL: the default file */
	enum sr_admin_side side;
	bool json, yes, adopt_union, adopt_mirror, adopt_deletions, new_key, new_uuid;
	const char *path; /* ls: NULL is the root; conflicts list: what a path begins with, NULL for any; backup, verify: a file */
	const char *const *args; /* conflicts show, restore, remove: ids */
	size_t n_args;
	bool all, content, keep; /* conflicts list --all, show --content, restore --keep */
	const char *as, *older_than, *all_of; /* conflicts restore --as, remove --older-than, --all-of; NULL: not given */
	bool deep, repair; /* verify FILE; verify without */
	const char *store; /* adopt --mirror: NULL is all of them */
	const char *address;       /* init, join --line: HOST[:PORT]; NULL: to be asked or found out */
	const char *external_addr; /* join LINE; NULL: as configured, or to be asked */
	bool print_line;           /* join --line */
	const char *since, *limit; /* log; NULL: all, 100 */
	const char *at;            /* restore */
	bool exact, dry_run;
	bool admin, revoke; /* user add --admin, user admin --revoke */
	bool no_schema;     /* init */
	bool removes;       /* capture */
	const char *user;   /* lb: whose login; NULL: this node's admin token, and for another node it is asked for */
	FILE *in, *out, *notes;
	bool (*confirm)(void *ctx, const char *question); /* NULL: nobody is there to be asked */
	/* An answer in words; an empty one is `otherwise`, which the question shows.  OWNED BY CALLER (free).  NULL: as above. */
	char *(*ask)(void *ctx, const char *question, const char *otherwise);
	/* The same of what must not be seen.  OWNED BY CALLER, to be wiped. */
	char *(*ask_secret)(void *ctx, const char *question);
	void *ctx;
};

typedef enum sr_status sr_admin_command(const struct sr_admin *a, int *status, struct sr_err *err);

sr_admin_command sr_admin_status;
sr_admin_command sr_admin_ls;
sr_admin_command sr_admin_diff;
sr_admin_command sr_admin_conflicts_list;
sr_admin_command sr_admin_conflicts_show;
sr_admin_command sr_admin_conflicts_restore; /* SR_E_HELD: the question was answered with no */
sr_admin_command sr_admin_conflicts_remove;  /* the same */
sr_admin_command sr_admin_backup;
sr_admin_command sr_admin_verify;
sr_admin_command sr_admin_capture;
sr_admin_command sr_admin_init; /* config NULL; SR_E_HELD: the question was answered with no */
sr_admin_command sr_admin_join;  /* config NULL; SR_E_HELD: the question was answered with no */
sr_admin_command sr_admin_log;
sr_admin_command sr_admin_restore; /* SR_E_HELD: the question was answered with no */
sr_admin_command sr_admin_user_add;
sr_admin_command sr_admin_user_passwd;
sr_admin_command sr_admin_user_list;
sr_admin_command sr_admin_user_show;
sr_admin_command sr_admin_user_admin;
sr_admin_command sr_admin_user_disable;
sr_admin_command sr_admin_user_enable;
sr_admin_command sr_admin_user_delete; /* SR_E_HELD: the question was answered with no */
sr_admin_command sr_admin_lb_status;
sr_admin_command sr_admin_lb_alive; /* alive, dead, auto, drain: an override of the balancer status */
sr_admin_command sr_admin_lb_dead;
sr_admin_command sr_admin_lb_auto;
sr_admin_command sr_admin_lb_drain;
sr_admin_command sr_admin_shutdown;
sr_admin_command sr_admin_forget_webserver; /* SR_E_HELD: the question was answered with no */
sr_admin_command sr_admin_adopt; /* SR_E_HELD: the question was answered with no */

/* Does this command speak of the datastore on this machine? */
bool sr_admin_is_datastore(const struct sr_admin *a);
/* The question, when what will be done was shown: SR_OK is yes, SR_E_HELD no.  SR_E_USAGE: there is nobody to ask, and no --yes. */
SR_MUST enum sr_status sr_admin_agree(const struct sr_admin *a, const char *question, struct sr_err *err);
/* A password, once: at the terminal, else the first line of the standard input.  OWNED BY CALLER (sr_admin_forget). */
SR_MUST enum sr_status sr_admin_password(const struct sr_admin *a, const char *question, char **out, struct sr_err *err);
void sr_admin_forget(char *secret); /* wipes; NULL is a no-op */
struct json_t;
/* What --json prints: one line on the standard output. */
void sr_admin_print_json(const struct sr_admin *a, const struct json_t *o);
/* The state directory of that role.  BORROWED from the configuration. */
const char *sr_admin_state_dir(const struct sr_admin *a);

#endif
