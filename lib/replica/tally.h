/* tally.h - the deletions of one store on one way, counted by unit, judged, and later reported as done.  See limit.h. */
#ifndef SR_REPLICA_TALLY_H
#define SR_REPLICA_TALLY_H

#include "lib/replica/limit.h"

struct sr_tally { /* {0}, then sr_tally_add; sr_tally_free */
	struct sr_deleted {
		size_t index; /* the caller's */
		size_t unit;
		struct sr_hash content;
		bool net; /* gone for good, not moved; once judged */
	} *deleted; /* in the order in which they were added */
	size_t n, cap;
	struct sr_hash *created;
	size_t creations, created_cap;
	struct sr_tally_unit {
		char *table; /* OWNED; empty: files */
		size_t table_len;
		uint64_t net, leaves;
		struct sr_buf sample; /* the first SR_LIMIT_SAMPLE paths that go, for people, each behind a slash and with a newline; OWNED */
		size_t sampled;
		uint64_t made; /* rows: a table in which as many come as go does not shrink */
		bool approved; /* the caller's to set: an operator let it through elsewhere, it is not judged */
		enum sr_limit_verdict verdict;
	} *units;
	size_t units_n;
	uint8_t store_kind;
	bool held; /* any unit is */
};

/* An item that was `from` and will be `to`; in order of paths. */
void sr_tally_add(struct sr_tally *t, size_t index, uint8_t store_kind, struct sr_bytes path, const struct sr_version *from,
		  const struct sr_version *to);
/* Of a store whose map is `map` before.  *l is asked for each unit; see sr_ledger_judge.  Where nothing is left of the store they are held, whatever
 * the single unit's limit says: of `map`, or of what the pusher has, whose map is `left` (else NULL). */
void sr_tally_judge(struct sr_tally *t, struct sr_ledger *l, const char *store, const struct sr_config_store *limits, enum sr_way way,
		    const struct sr_nodes *nodes, const struct sr_hash *map, const struct sr_hash *left, bool elsewhere);
/* All that passed has happened. */
void sr_tally_done(const struct sr_tally *t, struct sr_ledger *l, const char *store, enum sr_way way);
/* "30 of 40 leaves", of the first unit that is held. */
void sr_tally_text(const struct sr_tally *t, struct sr_buf *out);
void sr_tally_free(struct sr_tally *t); /* and back to {0} */

#endif
