/* trash.h - what the datastore's commits replaced and deleted, and how long it is kept: the table `replaced` of state.db.
 *
 * A record lies in the table.  Of a file it holds the hash alone; the content lies in its store's .sameroot/kept, which is the caller's: he learns
 * which may go.  How much there is, is counted by triggers, in the step that changes it.  Threads and steps: as state.h. */
#ifndef SR_STATE_TRASH_H
#define SR_STATE_TRASH_H

#include "lib/state/state.h"

struct sr_replaced {
	struct sr_hash hash;
	bool file;
	struct sr_bytes record; /* not of a file */
	uint64_t bytes;         /* of a file */
	uint64_t epoch, seq;    /* of the commit that replaced it; the latest counts */
	int64_t at_ms;          /* when */
};
SR_MUST enum sr_status sr_state_replaced_add(struct sr_state *s, const struct sr_replaced *r, struct sr_err *err);
/* *record of a file is empty. */
SR_MUST enum sr_status sr_state_replaced(struct sr_state *s, const struct sr_hash *hash, struct sr_buf *record, bool *found,
					 struct sr_err *err);

/* Is it kept, as far as the table says? */
SR_MUST enum sr_status sr_state_replaced_has(struct sr_state *s, const struct sr_hash *hash, bool *found, struct sr_err *err);

struct sr_trash {
	uint64_t files, records, bytes;
	int64_t oldest_ms; /* 0: there is nothing */
};
SR_MUST enum sr_status sr_state_trash(struct sr_state *s, struct sr_trash *out, struct sr_err *err);

/* What goes: all that is older than since_ms, and the oldest until no more than `bytes` are kept.  What stays, whatever that says: what commits
 * from (epoch, seq) on replaced, for roots that are readable; and of records up to 16 KiB the newest `records` (and those of the same
 * millisecond), so that a webserver that was away for long finds what its rows descend from, to merge them column by column. */
struct sr_trash_rule {
	uint64_t epoch, seq;
	uint64_t records;
	int64_t since_ms;
	uint64_t bytes;
	uint64_t most; /* entries in one call */
};
/* The hashes of files that went are added to *files, 16 octets each: their content may go once this is committed.  *more: call again. */
SR_MUST enum sr_status sr_state_trash_trim(struct sr_state *s, const struct sr_trash_rule *rule, struct sr_buf *files, bool *more,
					   struct sr_err *err);

#endif
