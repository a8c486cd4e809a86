/* datastore_state.h - what only a datastore asks of state.db, in sweeps over many rows.  Threads and steps: as state.h. */
#ifndef SR_STATE_DATASTORE_STATE_H
#define SR_STATE_DATASTORE_STATE_H

#include "lib/state/state.h"

/* An epoch for a history of which nobody here knows how far it went: a past that began at `known` may have been raised since, on what is lost.  It is the
 * time, read as the number YYYYMMDDhhmmss (UTC), and so above all that were counted one by one, or made so before; above `known` whatever the clock says. */
uint64_t sr_epoch_above(uint64_t known);

/* The epoch is about to rise: every leaf of the store that an ordinary push wrote (0, 0) is now as of (epoch, seq).  store: the store's name; then
 * those are left out that the journal has in later commits.  NULL: none is. */
SR_MUST enum sr_status sr_state_date_leaves(struct sr_state *s, const struct sr_store_row *st, const char *store, uint64_t epoch, uint64_t seq,
					    struct sr_err *err);

/* What sameroot-restore put together of several sources is not all as of what the store's marker says: these leaves are as of (epoch, seq), of the
 * source that had them.  In the value "dated STORE": the marker's id for which it holds, then path (string), epoch, seq (be64) of each.
 * dated_put: of (path, epoch, seq) in `leaves`; of none there is no such value.  date_some, as the epoch rises: the value goes, and if it is of
 * `marker` the leaves take those dates; *epoch, *seq become the earliest of them, if that is earlier. */
SR_MUST enum sr_status sr_state_dated_put(struct sr_state *s, const char *store, const struct sr_uuid *marker, struct sr_leaves *leaves,
					  struct sr_err *err);
SR_MUST enum sr_status sr_state_date_some(struct sr_state *s, const struct sr_store_row *st, const char *store, const struct sr_uuid *marker,
					  uint64_t *epoch, uint64_t *seq, struct sr_err *err);

/* The last push of each webserver that ever had one.  fn must not write to this state. */
typedef enum sr_status sr_last_push_fn(void *ctx, const struct sr_uuid *webserver, const struct sr_uuid *id, struct sr_err *err);
SR_MUST enum sr_status sr_state_last_pushes(struct sr_state *s, sr_last_push_fn *fn, void *ctx, struct sr_err *err);

/* The token of a webserver that counts (lib/datastore/clones.c). */
struct sr_token_row {
	struct sr_uuid webserver, token;
	uint64_t n, interval;
	char *addr; /* never NULL; in: BORROWED, not changed; out: VALID during the call */
};
SR_MUST enum sr_status sr_state_token_put(struct sr_state *s, const struct sr_token_row *row, struct sr_err *err);
typedef enum sr_status sr_token_fn(void *ctx, const struct sr_token_row *row, struct sr_err *err);
SR_MUST enum sr_status sr_state_tokens(struct sr_state *s, sr_token_fn *fn, void *ctx, struct sr_err *err);

#endif
