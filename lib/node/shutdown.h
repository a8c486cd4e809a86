/* shutdown.h - the graceful end of a daemon, the same for both: what happens in which order, and until when.
 *
 *     1  the balancer status is DEAD, and whoever keeps the registry is told
 *     2  Lb-Recognition-Period: everything is still served
 *     3  no new requests: 503, but for the balancer status, health and hello; what is parked is answered
 *     4  requests under way go on; they hold up what follows until half of Shutdown-Timeout has passed
 *     5  Shutdown-Hook, one after the other, until three quarters of it have passed: so that what a hook leaves to be pushed has its time, too
 *     6  the flush, and the rest of the requests under way, until it has passed
 *     7  the daemon's main function closes everything
 *
 * A second signal skips what is left of 2 to 6, and cuts what is under way, as the end of Shutdown-Timeout does.  Two seconds after that the
 * process ends, with status 0, in whatever it is stuck, one of these steps included (last_resort.h): what that leaves is what kill -9 leaves, and decided by
 * evidence at the next start.
 *
 *     POST /api/system/shutdown/shutdown     admins; 202 {"within_s": N}; asked again: 202 again
 *
 * Thread-safe; a thread of its own from the beginning of the shutdown on.  Logs each step. */
#ifndef SR_NODE_SHUTDOWN_H
#define SR_NODE_SHUTDOWN_H

#include "lib/base/config.h"
#include "lib/node/balance.h"
#include "lib/node/spawn.h"

#define SR_SHUTDOWN_TARGET "/api/system/shutdown/shutdown"

struct sr_shutdown; /* opaque */

struct sr_shutdown_steps { /* called by the shutdown's thread, with ctx; all but end return at once */
	void (*flush)(void *ctx, int64_t until_ms);     /* begin with it; until_ms: of sr_ticks_ms() */
	bool (*is_flushed)(void *ctx);  /* is it over? */
	void (*hurry)(void *ctx);       /* cut what is under way */
	void (*end)(void *ctx);         /* last, once: let the main function go on to close; NULL: it waits by sr_shutdown_wait */
};

/* role: "webserver" or "datastore", for hooks.  BORROWS config. */
struct sr_shutdown *sr_shutdown_new(const struct sr_config *config, const char *role);
/* Who starts the hooks [this process].  BORROWED. */
void sr_shutdown_set_spawner(struct sr_shutdown *s, struct sr_spawner *spawner);
/* No daemon is attached any more.  CONSUMES s; NULL is a no-op. */
void sr_shutdown_free(struct sr_shutdown *s);

/* A daemon is there, and listens.  BORROWS all until sr_shutdown_detach, which the daemon calls before it closes any of them: it waits until no
 * step runs, and none is called after it. */
void sr_shutdown_attach(struct sr_shutdown *s, struct sr_balance *balance, struct sr_server *server, const struct sr_shutdown_steps *steps, void *ctx);
void sr_shutdown_detach(struct sr_shutdown *s); /* NULL, or not attached: a no-op */
/* For sr_server_stop: how long requests may still take when the daemon closes. */
unsigned sr_shutdown_patience_ms(struct sr_shutdown *s, unsigned otherwise);

/* by: who wants it, for the log and the hooks.  Under way already: a no-op. */
void sr_shutdown_begin(struct sr_shutdown *s, const char *by);
/* SIGTERM, SIGINT: the first one begins it, the second one hurries. */
void sr_shutdown_signal(struct sr_shutdown *s, int sig);
/* For main functions: true: all steps were done, or ms have passed (false). */
bool sr_shutdown_wait(struct sr_shutdown *s, unsigned ms);

/* Answer req, of an admin, as the route does. */
SR_MUST enum sr_status sr_shutdown_post(struct sr_shutdown *s, struct sr_request *req, struct sr_err *err);
/* The routes, with ctx = the struct sr_shutdown. */
const struct sr_route *sr_shutdown_routes(size_t *n);

#endif
