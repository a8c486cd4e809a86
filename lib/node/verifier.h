/* verifier.h - a node that verifies itself: every Verify-Interval days it reads all that it has and holds it against its tree (lib/replica/verify.h).
 *
 * By a thread of its own, which sleeps in between.  Each node has its own hour: the first run is anywhere within the first interval, each later one up to
 * a tenth of the interval early.  Nothing is locked while files are read: that goes at the lowest priority, 32 MiB a second at most.  A run begins when
 * the node is ready and not shutting down, ends with the shutdown, and one that was broken off is begun anew within the hour.
 *
 * The last run is remembered in the state directory (`verified`): when, what came of it, and what has rotted.  `sameroot verify` counts as one.  Each
 * thing that has rotted is a line of the log.  Thread-safe. */
#ifndef SR_NODE_VERIFIER_H
#define SR_NODE_VERIFIER_H

#include "lib/node/balance.h"
#include "lib/node/metrics.h"
#include "lib/replica/verify.h"

struct sr_verifier; /* opaque */

struct sr_verifier_options { /* BORROWED; pin and unpin are called by any thread */
	const char *state_dir;
	struct sr_balance *balance;
	enum sr_status (*pin)(void *ctx, struct sr_pin *out, struct sr_err *err); /* and use the replica; SR_E_UNAVAILABLE, SR_E_BUSY: later */
	void (*unpin)(void *ctx, struct sr_pin *pin);
	struct sr_replica *replica;
	void *ctx;
};

/* days: Verify-Interval; 0: never by itself. */
SR_MUST enum sr_status sr_verifier_start(struct sr_verifier **out, const struct sr_verifier_options *options, uint64_t days, struct sr_err *err);
void sr_verifier_set(struct sr_verifier *v, uint64_t days); /* another one from now on; v NULL: a no-op */
/* Ends a run at its next file, or in the middle of a copy of a database, and no other begins. */
void sr_verifier_stop(struct sr_verifier *v); /* CONSUMES; NULL is a no-op */

/* GET /api/admin/verify: sr_verify_reply, and it is remembered. */
SR_MUST enum sr_status sr_verifier_reply(struct sr_verifier *v, struct sr_request *req, struct sr_err *err);

/* This path is what the tree says again. */
void sr_verifier_healed(struct sr_verifier *v, const char *path);

/* For a status: {"interval_days", "running", "begun_ms", "ended_ms", "due_ms", "entries", "bytes", "changed", "wrong_count", "wrong": [{"path", "what"}],
 * "skipped": [{"store", "why"}], "trouble"}.  wrong: the first hundred.  Times in ms since 1970, 0: never; trouble null, or why the last run was none.
 * v NULL: null.  OWNED BY CALLER. */
struct json_t *sr_verifier_report(struct sr_verifier *v);
void sr_verifier_tell_metrics(struct sr_verifier *v, struct sr_metrics_page *p);

#endif
