/* stager.h - many small files on their way into staging, by other threads while the next ones come.
 *
 * The first ones, and all with one processor, are staged by the caller.  What is ahead of `staged` is bounded in files and in bytes.
 * One owner; the threads are its own, and touch nothing but the stages that they were given. */
#ifndef SR_STORE_STAGER_H
#define SR_STORE_STAGER_H

#include "lib/store/store.h"

struct sr_stager; /* opaque */

/* In the caller's thread, in the order of sr_stager_put: `leaf` as it was given, with stage and inode as of sr_stage_finish; all VALID UNTIL it returns. */
typedef enum sr_status sr_staged_fn(void *ctx, size_t store, const struct sr_leaf *leaf, struct sr_err *err);

struct sr_stager *sr_stager_new(sr_staged_fn *staged, void *ctx); /* BORROWS ctx */

/* CONSUMES the stage, whose content is complete, and finishes it as leaf->to; COPIES leaf.  `store` is the caller's.  A failure may be that of an
 * earlier one; after it nothing more is told. */
SR_MUST enum sr_status sr_stager_put(struct sr_stager *g, struct sr_stage *stage, size_t store, const struct sr_leaf *leaf, struct sr_err *err);

/* Until all that was put is staged and told. */
SR_MUST enum sr_status sr_stager_wait(struct sr_stager *g, struct sr_err *err);

/* CONSUMES g; NULL is a no-op.  What was not told is staged all the same, for the next sweep, unless staging failed. */
void sr_stager_free(struct sr_stager *g);

#endif
