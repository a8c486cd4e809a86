/* limit.h - the deletion limit: what was deleted within the last hour, what is held for the operator, and what the operator let through.
 * sameroot.conf(5) says when deletions are held; design section 8.
 *
 * A *unit* is what the limit is judged for: the files of a store, or one table of it; on its way: pushed by this webserver, pulled by it, found by a
 * datastore's own scan, or pushed to the datastore by others.  The ledger is kept in state.db's meta; one owner.  Nothing is written while nothing is
 * deleted or held. */
#ifndef SR_REPLICA_LIMIT_H
#define SR_REPLICA_LIMIT_H

#include "lib/base/config.h"
#include "lib/state/state.h"

#define SR_LIMIT_WHOLE 2 /* leaves: a store of so many that becomes empty at once is held, however few they are; the last one alone is not */

#define SR_LIMIT_SAMPLE 10 /* paths of what is held are named to the operator */

/* --- judging: pure ---------------------------------------------------------------------------------------------------- */

struct sr_limit_case {
	uint64_t deletions;            /* net, of the last hour and those to come */
	uint64_t leaves;               /* an hour ago */
	uint64_t most_count, most_percent;
};
/* deletions > most_count and > most_percent of the leaves; or more than half of at least 10 leaves.  most_percent 100: never. */
bool sr_limit_holds(const struct sr_limit_case *c);

/* Of `n` deleted contents, those that are among the `m` created ones, each for one: moved, not deleted.  Sorts created; net[i] says whether deleted
 * content i is gone for good.  Returns how many are. */
uint64_t sr_limit_net(const struct sr_hash *deleted, size_t n, struct sr_hash *created, size_t m, bool *net);

/* --- the ledger ----------------------------------------------------------------------------------------------------------- */

enum sr_way { SR_WAY_PUSH, SR_WAY_PULL, SR_WAY_SCAN, SR_WAY_RECEIVE };

struct sr_unit {
	const char *store;
	struct sr_bytes table; /* empty: files */
	enum sr_way way;
};

enum sr_limit_verdict {
	SR_LIMIT_PASS,
	SR_LIMIT_APPROVED, /* the limit would hold them, the operator does not */
	SR_LIMIT_HELD,
};

struct sr_ledger;
SR_MUST enum sr_status sr_ledger_open(struct sr_ledger **out, struct sr_state *state, struct sr_err *err); /* BORROWS state */
void sr_ledger_close(struct sr_ledger *l); /* NULL is a no-op */

enum sr_limit_reason {
	SR_LIMIT_COUNTED,   /* if their number is over the limit */
	SR_LIMIT_ELSEWHERE, /* another node holds them, whatever is thought here */
	SR_LIMIT_EMPTIES,   /* nothing of the store is left; of a push what is still to be deleted is held, too, when others have brought some back */
};
/* May n net deletions of the unit happen, which has `leaves` now?  Notes what is held. */
enum sr_limit_verdict sr_ledger_judge(struct sr_ledger *l, const struct sr_unit *unit, const struct sr_config_store *limits, uint64_t n,
				      uint64_t leaves, enum sr_limit_reason reason);
/* The first paths of what is held, as sr_leaf_path_text without the store, each with a newline.  COPIES. */
void sr_ledger_sample(struct sr_ledger *l, const struct sr_unit *unit, struct sr_bytes paths);
/* They happened: they count for an hour.  approved: the operator knows; they do not, nor does what was before. */
void sr_ledger_done(struct sr_ledger *l, const struct sr_unit *unit, uint64_t n, uint64_t leaves, bool approved);
/* All units of the store and way that are still held have been judged since the last call (or store NULL: of every store): what was not is
 * held no more, nor is its approval worth anything. */
void sr_ledger_settle(struct sr_ledger *l, const char *store, enum sr_way way);
/* Nobody asks any more for what is held on that way. */
void sr_ledger_let_go(struct sr_ledger *l, enum sr_way way);
/* The operator lets through what is held now, as many as there are. Returns how many units that is. */
size_t sr_ledger_approve(struct sr_ledger *l);
bool sr_ledger_holds_way(const struct sr_ledger *l, const char *store, enum sr_way way); /* on that way */
bool sr_ledger_holds(const struct sr_ledger *l, const char *store);
/* Write it, if anything is new.  In the caller's step, or one of its own. */
SR_MUST enum sr_status sr_ledger_save(struct sr_ledger *l, struct sr_err *err);

/* What is held of the store: [{"table", "way", "deletions", "leaves", "since_ms", "paths"}], as JSON text; the
 * first few paths, for people. */
void sr_ledger_report(const struct sr_ledger *l, const char *store, struct sr_buf *out);

/* Does this node judge every deletion in the store? */
bool sr_limit_judges(const struct sr_config_store *limits);

#endif
