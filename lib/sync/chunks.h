/* chunks.h - a large pull in parts, so that an application's writer is not kept waiting for all of it at once.
 *
 * struct sr_chunks puts the leaves of a database in an order and hands them out chunk by chunk; struct sr_pace says how much a chunk may be,
 * from how long the last ones took.  What a chunk means for intents, marker and base: take.c.
 *
 * Order: rows that are written, parents (by foreign key) before children; then rows that are deleted, children before parents.  So no
 * foreign key dangles between two chunks, wherever there is an order of tables; in one table rows are written in the order of their names
 * and deleted in the opposite one.  All in one chunk: a pull that fits, and one with a table in it, which is a first fill.
 *
 * Rows that have to go together - a UNIQUE value that moves from one to the other, a child whose parent goes in a circle of tables - are
 * found when they get into each other's way: the chunk is taken back, they join it, and it is begun anew.  A chunk that does not come to
 * rest soon grows to twice its size each time, and is all that is left in the end.
 *
 * Pure: no clock, disk or network but the spool's.  Not thread-safe. */
#ifndef SR_SYNC_CHUNKS_H
#define SR_SYNC_CHUNKS_H

#include "lib/leaf/leaf.h"

struct sr_pace {
	size_t rows;    /* at most so many in a chunk, */
	uint64_t bytes; /* and so many bytes of records, but for a single row; both 0: as at first */
};

#define SR_PACE_MS         25 /* what a chunk is meant to take under the lock */
#define SR_PACE_ROWS       1000
#define SR_PACE_ROWS_LEAST 200
#define SR_PACE_ROWS_MOST  65536
#define SR_PACE_BYTES       (4u << 20)
#define SR_PACE_BYTES_LEAST (1u << 20)
#define SR_PACE_BYTES_MOST  (16u << 20)

/* A chunk of so much held the lock for so long. */
void sr_pace_learn(struct sr_pace *p, size_t rows, uint64_t bytes, int64_t ms);

struct sr_chunks;

/* The place of a table: below that of each table it refers to (sr_store_rank). */
typedef size_t sr_rank_fn(void *ctx, struct sr_bytes table);

/* BORROWS leaves, which are sorted.  dir: where a chunk goes that is too large to be held in memory.  whole: not to be divided. */
SR_MUST enum sr_status sr_chunks_new(struct sr_chunks **out, struct sr_leaves *leaves, const char *dir, bool whole,
				     sr_rank_fn *rank, void *ctx, struct sr_err *err);
void sr_chunks_free(struct sr_chunks *c);
/* The next chunk; *out is sorted and VALID UNTIL the next of this or sr_chunks_again, NULL when all are done.  What was handed out before counts as done. */
SR_MUST enum sr_status sr_chunks_next(struct sr_chunks *c, const struct sr_pace *pace, struct sr_leaves **out, struct sr_err *err);
/* Is the leaf of this path one that waits for a later chunk? */
bool sr_chunks_waits(struct sr_chunks *c, struct sr_bytes path);
/* If so, it joins this chunk, which has to be taken back and begun anew. */
bool sr_chunks_join(struct sr_chunks *c, struct sr_bytes path);
bool sr_chunks_joined(const struct sr_chunks *c);
/* The same chunk again, with what has joined it. */
SR_MUST enum sr_status sr_chunks_again(struct sr_chunks *c, struct sr_leaves **out, struct sr_err *err);
bool sr_chunks_last(const struct sr_chunks *c);      /* does nothing wait any more? */
bool sr_chunks_divided(const struct sr_chunks *c);   /* may it be?  Else a chunk says nothing of the pace */
uint64_t sr_chunks_bytes(const struct sr_chunks *c); /* of records, in this chunk */

#endif
