/* datastore.h - the ground truth: takes pushes, finds direct edits, keeps the history, answers webservers.
 *
 * Built on a replica (lib/replica): this room adds the one writer, the chain of pushes, history verdicts, the registry and the routes.
 *
 * Threads: a struct sr_datastore is used from any thread.  Everything that changes stores or state.db goes through one writer mutex; quick
 * handlers look at a published copy and never touch the disk.  Logs alarms and pauses; never prints, never exits.
 *
 * In state.db it keeps, beside what the replica keeps: meta "instance" (16 bytes), "epoch", "seq", "predecessors" (16 bytes each), "ends"
 * (ends.c). */
#ifndef SR_DATASTORE_DATASTORE_H
#define SR_DATASTORE_DATASTORE_H

#include "http/server.h"
#include "lib/base/config.h"
#include "lib/base/door.h"

#define SR_DATASTORE_SUMMARY 320 /* with the NUL */
struct sr_shutdown;

struct sr_datastore; /* opaque */

/* Open state, secrets (made at first start) and stores; nothing is looked at yet, and it is not ready.  BORROWS config for its life.
 * SR_E_BUSY: another process holds the state directory. */
SR_MUST enum sr_status sr_datastore_open(struct sr_datastore **out, const struct sr_config *config, struct sr_err *err);

/* One turn of upkeep: look at the stores; at first finish what a crash left, and found or continue the instance; then scan and commit what
 * was changed directly; forget old roots.  Not SR_OK: *err says what keeps it from being ready; the next turn tries again. */
SR_MUST enum sr_status sr_datastore_tick(struct sr_datastore *d, struct sr_err *err);

/* Found (content without a state), or raise the epoch: every webserver then makes a union.  Instances that webservers in foreign histories
 * have reported become predecessors, also those that were reported while it waited to be founded.  SR_E_UNAVAILABLE: before the first turn. */
SR_MUST enum sr_status sr_datastore_adopt_union(struct sr_datastore *d, struct sr_err *err);

/* The operator lets through the deletions that are held here, and those that webservers hold back from pulling. */
SR_MUST enum sr_status sr_datastore_adopt_deletions(struct sr_datastore *d, struct sr_err *err);

/* Start a thread that turns now, then every interval, when asked, and when something was changed directly (lib/store/watcher.h says when).  Once. */
SR_MUST enum sr_status sr_datastore_start(struct sr_datastore *d, struct sr_err *err);
void sr_datastore_scan_now(struct sr_datastore *d);
/* Take what can be taken without a restart: the interval, how long what was replaced is kept, each store's exclusions, the archive's limit.
 * BORROWS fresh for the call. */
void sr_datastore_reload(struct sr_datastore *d, const struct sr_config *fresh);

/* Before it listens: how it is shut down gracefully (lib/node/shutdown.h).  BORROWED until sr_datastore_close.  Without one it only closes. */
void sr_datastore_set_shutdown(struct sr_datastore *d, struct sr_shutdown *shutdown);

/* Serve HTTP as configured; a self-signed pair is made in the state directory when TLS is on and none is configured. */
SR_MUST enum sr_status sr_datastore_listen(struct sr_datastore *d, struct sr_err *err);
const char *sr_datastore_address(const struct sr_datastore *d); /* "127.0.0.1:9405"; VALID UNTIL close; after listen */
uint16_t sr_datastore_port(const struct sr_datastore *d);

bool sr_datastore_ready(struct sr_datastore *d, char why[256]); /* why: when not */

/* How it is, in one line for whoever looks at the service: what it waits for, or which store an operator has to look at. */
void sr_datastore_summary(struct sr_datastore *d, char out[SR_DATASTORE_SUMMARY]);

/* state.db failed in the middle of a commit, or nobody knows whether that of a database took place: memory may not be what the disk is.
 * Nothing more is served; a restart recovers from the intents. */
bool sr_datastore_broken(struct sr_datastore *d, struct sr_err *err);

/* Stop the server (requests under way get some seconds), the thread, and close.  CONSUMES d; NULL is a no-op. */
void sr_datastore_close(struct sr_datastore *d);

#endif
