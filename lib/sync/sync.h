/* sync.h - a webserver's side: rounds that make its stores equal to the datastore's.
 *
 * sr_sync_round() does one round as design section 7 orders it: recover, check in, settle, guard, walk, scan, plan, pull, push.  Nothing of
 * it is ever repeated on a guess: whatever a crash or a lost answer leaves behind is decided by evidence at the next round. Threads: one
 * owner runs rounds; sr_sync_report() may be called from any thread. */
#ifndef SR_SYNC_SYNC_H
#define SR_SYNC_SYNC_H

#include "http/client.h"
#include "lib/replica/replica.h"
#include "lib/replica/wire.h"
#include "lib/sync/progress.h"
#include "lib/sync/waiter.h"

struct sr_sync;

struct sr_sync_options {
	const struct sr_config *config; /* BORROWED */
	const char *version;
};

/* Opens state and stores; speaks to no one yet. */
SR_MUST enum sr_status sr_sync_open(struct sr_sync **out, const struct sr_sync_options *options, struct sr_err *err);
void sr_sync_close(struct sr_sync *s);
struct sr_replica *sr_sync_replica(struct sr_sync *s);

/* The stores' own exclusions are those of this configuration from the next round on; what the datastore excludes comes on top.  BORROWS it
 * until another one is given. */
void sr_sync_set_exclusions(struct sr_sync *s, const struct sr_config *config);

/* Look at the stores, scan them, and pin what is there, as of the last (epoch, seq) that all of it was in step with.  By the owner, between
 * rounds. */
struct sr_pin;
void sr_sync_pin(struct sr_sync *s, struct sr_pin *out);

/* The operator lets through the deletions that are held now.  By the owner, between rounds. */
SR_MUST enum sr_status sr_sync_approve(struct sr_sync *s, struct sr_err *err);

/* The operator takes the datastore's state as it is, of one store or (NULL) of all, with its history: at the next round.  Durable.  By the owner,
 * between rounds; or, without one, under the lock. */
SR_MUST enum sr_status sr_sync_mirror(struct sr_sync *s, const char *store, struct sr_err *err);
SR_MUST enum sr_status sr_mirror_put(struct sr_state *state, const char *store, struct sr_err *err);

/* This machine is a copy of another: it gets an identity of its own, and a union.  As above. */
SR_MUST enum sr_status sr_sync_new_uuid(struct sr_sync *s, struct sr_err *err);
SR_MUST enum sr_status sr_new_uuid_put(struct sr_state *state, struct sr_err *err);

struct sr_sync_result {
	uint64_t pulled, pushed, agreed, merged, conflicts; /* items */
	uint64_t skipped;                           /* items that differ and were left alone */
	uint64_t requests, sent, received;          /* of this round */
	bool in_sync;                               /* nothing is left to do, nothing is paused, held or skipped */
};
/* Where the last round, which went through, left this webserver; sr_standing_clear when done.  False: nowhere.  By the owner, between rounds. */
bool sr_sync_standing(const struct sr_sync *s, struct sr_standing *out);
/* An answer to the next round's check-in, which is used if that asks the same.  CONSUMES *ahead.  As above. */
void sr_sync_take_ahead(struct sr_sync *s, struct sr_ahead *ahead);
/* One round.  SR_OK: it went through (result says how far).  SR_E_UNAVAILABLE: the datastore cannot be reached or is not ready.  SR_E_HELD:
 * the datastore's history is not ours; nothing was done, *err says what was seen and which command resolves it. */
SR_MUST enum sr_status sr_sync_round(struct sr_sync *s, struct sr_sync_result *result, struct sr_err *err);

/* Control-Auth, to be sent to the datastore; COPIED. */
void sr_sync_set_secret(struct sr_sync *s, const char *secret);
/* The daemon's own server, for the registry: its port and the pin of its key (NULL: plain HTTP); COPIED. */
void sr_sync_set_server(struct sr_sync *s, unsigned port, const char *pin);
/* What the registry is told of the balancer status; BORROWED. */
struct sr_balance;
void sr_sync_set_balance(struct sr_sync *s, struct sr_balance *balance);
/* From any thread: before the next round the key that was pinned at first contact is forgotten. */
void sr_sync_forget_key(struct sr_sync *s);
/* From any thread: the round under way, and each from now on, ends soon, with SR_E_UNAVAILABLE; what it was at is gone on with by the next start. */
void sr_sync_interrupt(struct sr_sync *s);
bool sr_sync_is_interrupted(struct sr_sync *s);

/* What of the stores here the datastore does not have, as of the last look: "users.db: 12 rows; resources: 3 files, 1 deletion", appended.  False:
 * nothing.  By the owner, between rounds. */
bool sr_sync_left(struct sr_sync *s, struct sr_buf *out);
/* The stores that could not be looked at the last time, paused ones among them: "users.db, resources", appended.  False: none.  As above. */
bool sr_sync_unseen(const struct sr_sync *s, struct sr_buf *out);
/* The next round looks at the stores also if it does not go through. */
void sr_sync_look_again(struct sr_sync *s);
/* Look at the stores now, without the datastore, for sr_sync_left.  By the owner, between rounds. */
void sr_sync_look_first(struct sr_sync *s);

/* Let somebody look at how far a round is; NULL: nobody.  Called in the thread that runs rounds, or while that waits: quick, and no calls
 * back. */
void sr_sync_show_progress(struct sr_sync *s, void (*show)(void *ctx, const struct sr_progress *p), void *ctx);

/* The datastore's registry, as GET /api/webservers answers it; within a second, or not.  Thread-safe. */
/* A client to the datastore, for the caller to own.  From any thread. */
struct sr_client;
SR_MUST enum sr_status sr_sync_client(struct sr_sync *s, struct sr_client **out, struct sr_err *err);
unsigned sr_sync_client_generation(struct sr_sync *s); /* another number: one from before has an old secret, or trusts another key */
SR_MUST enum sr_status sr_sync_ask_registry(struct sr_sync *s, struct sr_buf *out, struct sr_err *err);
/* The same over the rounds' own connection, by their owner, between two. */
SR_MUST enum sr_status sr_sync_registry(struct sr_sync *s, struct sr_buf *out, struct sr_err *err);

/* The answer to GET /api/tree, as of the end of the last round, whether or not it went through: `at` is the anchor with the root here, and each
 * store tells as of when it is.  SR_E_UNAVAILABLE: there is none yet.  Thread-safe. */
bool sr_sync_has_tree(struct sr_sync *s);
SR_MUST enum sr_status sr_sync_tree(struct sr_sync *s, bool want_key, struct sr_buf *out, struct sr_err *err);

/* For how long this webserver has not had all that the datastore has (lag.h).  Thread-safe. */
int64_t sr_sync_lag_ms(struct sr_sync *s);

/* What GET /metrics tells of rounds and stores.  Thread-safe. */
struct sr_metrics_page;
void sr_sync_tell_metrics(struct sr_sync *s, struct sr_metrics_page *p);

/* What to tell an operator, as JSON: datastore, anchor, last round, stores, skipped items, outbox.  Thread-safe. */
void sr_sync_report(struct sr_sync *s, struct sr_buf *out);

#endif
