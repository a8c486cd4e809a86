/* plan.h - what a round will do, decided from three versions of each item.  Pure: no clock, disk or network.
 *
 * Design section 7 is the table: L local, B base, R the datastore's.
 *     L = R                       agree: base := L
 *     L = B                       pull R
 *     R = B                       push L
 *     all three differ            rows: merge, if the changed columns differ; else pull R; L goes to the conflict archive first
 *     B unknown (union)           fetch what is missing here, push what is missing there, delete nothing; where both have one, the
 *                                 datastore judges a push by as_of, and what it refuses is pulled
 * Rows without a key are counted (a bag, lib/leaf/leaf.h): there the outcome is max(0, R + L - B) rows, and with B unknown the greater of L
 * and R.  On top of the single items, sr_plan_shape makes sure that the outcome is a tree (nothing below a file or an absent directory) and
 * sr_plan_tables that rows move only in tables whose schema is the same on both sides. */
#ifndef SR_SYNC_PLAN_H
#define SR_SYNC_PLAN_H

#include "lib/leaf/leaf.h"
#include "lib/state/state.h"

enum sr_act {
	SR_ACT_NOTHING,
	SR_ACT_AGREE, /* both have it: base := it */
	SR_ACT_PULL,
	SR_ACT_PUSH,
	SR_ACT_MERGE, /* a row: what both sides changed may stand together; that is seen when the datastore's record is here.  A bag: it does */
	SR_ACT_SKIP, /* unknown or paused: left alone, base stays */
};

enum sr_note { /* what the datastore said of this item earlier in this round */
	       SR_NOTE_NONE,
	       SR_NOTE_DELETED, /* union: its name was deleted after our as_of */
	       SR_NOTE_NEWER,   /* the datastore's version stands: as new in a union, or needed by rows that depend on it */
	       SR_NOTE_CONFLICT, /* no merge: the database does not take it.  The datastore's version stands, over the merged one, too */
	       SR_NOTE_DECLINED, /* a table: what it is here does not follow from what the datastore has by adding columns */
};

struct sr_item {
	struct sr_bytes path; /* BORROWED from the plan */
	struct sr_version local, remote, base;
	uint8_t base_state;  /* enum sr_base_state */
	uint8_t note;        /* enum sr_note */
	uint8_t act;         /* enum sr_act */
	bool archive;        /* PULL: the local version is a loser that must be kept */
	bool dated;          /* as_of is higher than nothing at all */
	bool newer;          /* as_of is higher than what the datastore may have dated its version */
	bool risen;          /* the datastore's epoch has risen: what it has may be older than its commit */
	bool mirror;         /* sr_plan_mirror decided it */
	uint32_t flags;      /* PUSH: SR_LEAF_UNION, SR_LEAF_EDITED */
	const char *why;     /* of archive or SKIP: a word for the archive, or a sentence for the status */
	uint64_t epoch, seq; /* as_of, for a union */
	uint64_t since_epoch, since_seq; /* of an unedited version that stands against another: since when it is here; 0, 0: not known */
};

/* Decide one item by its versions alone: fills act, archive, flags, why. */
void sr_plan_item(struct sr_item *item);

/* The same when the datastore's state is taken as it is: what is not known to have been there is archived. */
void sr_plan_mirror(struct sr_item *item);

/* How many rows of a bag's item there are to be: the outcome of PULL, PUSH and MERGE alike. */
uint64_t sr_plan_count(const struct sr_item *item);

/* What will be at the item's path when the plan is done.  MERGE of a row: not known yet, a row in any case. */
const struct sr_version *sr_plan_outcome(const struct sr_item *item);

/* Items of a directory tree, sorted by path: a file against a directory is one conflict over the whole subtree (the datastore wins), and a
 * directory in which something stays is kept.  Items that are neither here nor in the plan are equal on both sides. */
void sr_plan_shape(struct sr_item *items, size_t n);

/* Items of a database, sorted by path.  fill: this database does not exist here yet, and takes its tables from the datastore. */
void sr_plan_tables(struct sr_item *items, size_t n, bool fill);

#endif
