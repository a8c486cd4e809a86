/* hook.h - an operator's command, run by a daemon, with an end.
 *
 * /bin/sh -c, in a process group of its own, standard input from /dev/null, nothing else of the daemon's open.  What it prints goes into the log,
 * line by line.  It is over when the shell has ended, whatever that left in the background.  When it has to end (is_over) the whole group gets SIGTERM,
 * and SIGKILL after that, and so does the shell, wherever it went: nothing of it is left but children that left its group, which nobody waits for, though
 * they hold its output.  Any thread may run one; who starts it (spawn.h) must not wait for children of its own otherwise. */
#ifndef SR_NODE_HOOK_H
#define SR_NODE_HOOK_H

#include <stdbool.h>

#include "lib/node/spawn.h"

struct sr_hook {
	const char *name;              /* "Shutdown-Hook 1", for the log */
	const char *command;
	const char *const *environment; /* "NAME=VALUE", with NULL at the end; in addition to the daemon's own */
	const char *(*is_over)(void *ctx); /* why it has to end now, "its time is up"; NULL: it goes on.  Asked some twenty times a second */
	unsigned (*grace_ms)(void *ctx); /* from SIGTERM to SIGKILL; asked as often */
	void *ctx;
	struct sr_spawner *spawner; /* who starts it; NULL: this process */
};

/* Run it to its end.  SR_OK: it ended with status 0.  SR_E_UNAVAILABLE: it had to end before.  SR_E_IO: another status, or it could not be started. */
SR_MUST enum sr_status sr_hook_run(const struct sr_hook *hook, struct sr_err *err);

#endif
