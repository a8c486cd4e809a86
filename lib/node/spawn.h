/* spawn.h - who starts an operator's commands: this process, or a helper that it has forked off before it gave up its rights (sandbox.h), so that a
 * command may do what the service manager lets it, and not merely what the daemon still may.
 *
 * A command is run by /bin/sh -c, in a process group of its own, standard input from /dev/null, nothing else of the caller's open.  The helper hears no signal
 * but SIGKILL: it ends when the one that it is for has ended.  Thread-safe. */
#ifndef SR_NODE_SPAWN_H
#define SR_NODE_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/base/err.h"

struct sr_spawner; /* opaque; NULL stands for this process */

/* Fork the helper.  Before there are threads.  SR_E_IO. */
SR_MUST enum sr_status sr_spawner_start(struct sr_spawner **out, struct sr_err *err);
void sr_spawner_stop(struct sr_spawner *s); /* CONSUMES; NULL is a no-op; what it started goes on */

/* Start it; `out` becomes its standard output and error.  environment: "NAME=VALUE", with NULL at the end, in addition to the caller's own.  0, or an errno. */
int sr_spawn(struct sr_spawner *s, const char *command, const char *const *environment, int out, pid_t *pid);
/* Has the shell ended?  Without taking its status: as long as that is not taken, nobody else gets its number, nor its group. */
bool sr_spawn_has_ended(struct sr_spawner *s, pid_t pid);
/* Its group, and the shell itself, or what that has become: it may have gone to another group. */
void sr_spawn_kill(struct sr_spawner *s, pid_t pid, int sig);
/* Wait for it and take its status, as waitpid gives it. */
int sr_spawn_status(struct sr_spawner *s, pid_t pid);

#endif
