/* daemon.h - the sync daemon: rounds in a thread of their own, and this webserver's HTTP.
 *
 * A round at every interval (with a little jitter, so that a cluster does not ask in step), at once when asked, and when something was changed here
 * (lib/store/watcher.h says when), unless the last one failed.  A datastore that
 * cannot be reached is logged once, and asked again with growing pauses up to a minute.  Thread-safe. */
#ifndef SR_SYNC_DAEMON_H
#define SR_SYNC_DAEMON_H

#include "lib/sync/sync.h"

struct sr_shutdown;
struct sr_sync_daemon;

/* Opens stores and listens; rounds begin with sr_sync_daemon_run.  CONSUMES nothing; BORROWS config, and shutdown, which ends it (lib/node/shutdown.h). */
SR_MUST enum sr_status sr_sync_daemon_open(struct sr_sync_daemon **out, const struct sr_config *config, const char *version,
					   struct sr_shutdown *shutdown, struct sr_err *err);
const char *sr_sync_daemon_address(const struct sr_sync_daemon *d);
/* As sr_sync_show_progress; before sr_sync_daemon_run. */
void sr_sync_daemon_show_progress(struct sr_sync_daemon *d, void (*show)(void *ctx, const struct sr_progress *p), void *ctx);
/* Rounds until the shutdown is through with its steps. */
void sr_sync_daemon_run(struct sr_sync_daemon *d);
/* From any thread (not from a signal handler). */
void sr_sync_daemon_now(struct sr_sync_daemon *d);
/* Take what can be taken without a restart: the interval at once, the stores' own exclusions with the next round.  CONSUMES fresh. */
void sr_sync_daemon_reload(struct sr_sync_daemon *d, struct sr_config *fresh);
void sr_sync_daemon_close(struct sr_sync_daemon *d);

/* Exactly one round without a daemon, as `sameroot-sync --once` does it: waits up to wait_ms through a datastore's 503.  show, ctx: as
 * sr_sync_show_progress; NULL: nobody looks. */
SR_MUST enum sr_status sr_sync_once(const struct sr_config *config, const char *version, unsigned wait_ms,
				    void (*show)(void *ctx, const struct sr_progress *p), void *ctx, struct sr_sync_result *result,
				    struct sr_err *err);

#endif
