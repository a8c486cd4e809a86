/* signals.h - a daemon's signals: SIGTERM and SIGINT shut it down, SIGHUP and SIGUSR1 are the caller's.
 *
 * One thread takes them, another one does what the caller's ask for, one after the other: a reload that hangs - a disk, a name that is not resolved -
 * keeps nobody from shutting the daemon down.  What is asked for again before it has begun is done once. */
#ifndef SR_ADMIN_SIGNALS_H
#define SR_ADMIN_SIGNALS_H

#include <signal.h>

#include "lib/base/err.h"
#include "lib/node/shutdown.h"

struct sr_signals; /* opaque */

/* set: as sr_cli_block_signals left it; shutdown, ctx: BORROWED until sr_signals_stop.  reload: SIGHUP, now: SIGUSR1, each in that other thread. */
SR_MUST enum sr_status sr_signals_start(struct sr_signals **out, const sigset_t *set, struct sr_shutdown *shutdown, void (*reload)(void *ctx),
					void (*now)(void *ctx), void *ctx, struct sr_err *err);
/* Neither of them runs any more, nor is called; one that runs is waited for.  What comes from now on only shuts down.  NULL is a no-op. */
void sr_signals_mute(struct sr_signals *s);
void sr_signals_stop(struct sr_signals *s); /* CONSUMES; NULL is a no-op */

#endif
