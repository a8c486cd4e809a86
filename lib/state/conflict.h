/* conflict.h - what a datastore knows of the conflict archives of its webservers: the tables `conflict` and `conflict_report` of state.db.
 * Never contents.  Threads and steps: as state.h. */
#ifndef SR_STATE_CONFLICT_H
#define SR_STATE_CONFLICT_H

#include "lib/state/state.h"

struct sr_conflict_report {
	struct sr_uuid webserver;
	struct sr_uuid token;  /* the webserver's own name for what it told last */
	uint64_t total, bytes; /* of the archive; the newest entries are known */
	int64_t at_ms;         /* when it was told */
};
SR_MUST enum sr_status sr_state_conflict_report(struct sr_state *s, const struct sr_uuid *webserver, struct sr_conflict_report *out,
						bool *found, struct sr_err *err);
SR_MUST enum sr_status sr_state_conflict_report_put(struct sr_state *s, const struct sr_conflict_report *row, struct sr_err *err);

/* An entry, JSON; another of that id is replaced. */
SR_MUST enum sr_status sr_state_conflict_put(struct sr_state *s, const struct sr_uuid *webserver, const char *id, struct sr_bytes entry,
					     struct sr_err *err);
/* id NULL: all of the webserver's. */
SR_MUST enum sr_status sr_state_conflict_drop(struct sr_state *s, const struct sr_uuid *webserver, const char *id, struct sr_err *err);
SR_MUST enum sr_status sr_state_conflict_count(struct sr_state *s, const struct sr_uuid *webserver, uint64_t *out, struct sr_err *err);
/* Of all webservers that are in no row of the registry. */
SR_MUST enum sr_status sr_state_conflicts_sweep(struct sr_state *s, struct sr_err *err);
/* In the order of ids. */
typedef enum sr_status sr_conflict_fn(void *ctx, struct sr_bytes entry, struct sr_err *err);
SR_MUST enum sr_status sr_state_conflicts(struct sr_state *s, const struct sr_uuid *webserver, sr_conflict_fn *fn, void *ctx,
					  struct sr_err *err);

#endif
