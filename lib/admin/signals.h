/* signals.h - the thread that takes a daemon's signals: SIGTERM and SIGINT shut it down, SIGHUP and SIGUSR1 are the caller's. */
#ifndef SR_ADMIN_SIGNALS_H
#define SR_ADMIN_SIGNALS_H

#include <signal.h>

#include "lib/base/err.h"
#include "lib/node/shutdown.h"

struct sr_signals; /* opaque */

/* set: as sr_cli_block_signals left it; shutdown, ctx: BORROWED until sr_signals_stop.  reload: SIGHUP, now: SIGUSR1, in that thread. */
SR_MUST enum sr_status sr_signals_start(struct sr_signals **out, const sigset_t *set, struct sr_shutdown *shutdown, void (*reload)(void *ctx),
					void (*now)(void *ctx), void *ctx, struct sr_err *err);
/* Neither of them runs any more, nor is called.  What comes from now on only shuts down.  NULL is a no-op. */
void sr_signals_mute(struct sr_signals *s);
void sr_signals_stop(struct sr_signals *s); /* CONSUMES; NULL is a no-op */

#endif
