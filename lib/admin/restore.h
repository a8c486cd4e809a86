/* restore.h - disaster recovery, with the daemon of that role stopped: what sameroot-restore(1) does.
 *
 *   restore.c          the order of it: lock, sources, what will be done, the question, fill, put in place
 *   restore_source.c   where things come from: a daemon over HTTP, or files here
 *   restore_fetch.c    contents, from either into a store's staging
 *   restore_merge.c    several sources: leaf by leaf the newer one
 *   restore_fill.c     a staged store, filled until it is what is wanted
 *   restore_part.c     --path: a part of a store that stays
 *   restore_left.c     what an interrupted one left
 *
 * A whole store is built beside the old one, as PATH.restoring, checked, and put in its place by renames (lib/state/swap.h); the old one is kept
 * as PATH.before-restore-TIME.  Each carries a marker of its source, so that the daemon's next start sees that another copy is there: a datastore
 * raises its epoch, a webserver unites.  What was fetched stays in PATH.restoring when it is interrupted, and is not fetched again.
 *
 * One at a time: it holds the lock of the state directory.  Writes what is asked for to `out`, remarks to `notes`; never exits. */
#ifndef SR_ADMIN_RESTORE_H
#define SR_ADMIN_RESTORE_H

#include "lib/admin/cli.h"
#include "lib/replica/replica.h"
#include "lib/sync/progress.h"

struct sr_restore_options { /* all BORROWED */
	const struct sr_config *config;
	enum sr_role role;
	struct sr_cli_list from;   /* URLs of webservers */
	struct sr_cli_list pins;   /* their keys: one for each, or none */
	bool from_datastore;       /* the configured one */
	bool from_files;
	struct sr_cli_list files;  /* NAME=PATH each */
	const char *from_backup;
	struct sr_cli_list stores; /* only these; none: all */
	const char *path;          /* a part of one store, "resources/img"; NULL: whole stores */
	bool even_empty;           /* what the source has nothing of, though something is here */
	bool dry_run, yes, json;
	FILE *out, *notes;
	bool (*confirm)(void *ctx, const char *question); /* NULL: nobody is there to be asked */
	void (*show)(void *ctx, const struct sr_progress *p); /* how far it is; or NULL */
	void *ctx;                                            /* of show */
};

/* *status: 0, or 1 when something was left out.  SR_E_USAGE: these options do not go together; SR_E_BUSY: the daemon runs; SR_E_HELD: the
 * question was answered with no, or the source is empty; SR_E_UNAVAILABLE: somebody has a database open; SR_E_FULL: the disk, and all is as it was. */
SR_MUST enum sr_status sr_restore(const struct sr_restore_options *options, int *status, struct sr_err *err);

struct json_t;
/* The stores of which something half built is there: [{"store", "path"}]; OWNED BY CALLER (json_decref). */
struct json_t *sr_restore_left(const struct sr_config *config, enum sr_role role);
/* Name on `out`, a line each, the stores of which something half built is there, and what to do about it. */
void sr_restore_name_left(const struct sr_config *config, enum sr_role role, FILE *out);

#endif
