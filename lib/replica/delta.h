/* delta.h - which parts of a new content are in an old one: the engine, which reads and sends nothing.
 *
 * Both are cut into spans, and what is new of these into chunks, and what is new of those, if it is little and lies between parts that are
 * known, into blocks (hashtree/cut.h).  The lists of one side come from far away: a few requests for 32 MiB of spans that differ.  Whatever the lists
 * say, the steps make up the new content in order, so that a part of it that was cut can be gone on with; whether it is that content tells only its
 * hash.
 *
 * Memory: about 60 bytes for each MiB of both contents, and 8 MiB for what differs, however much that is. */
#ifndef SR_REPLICA_DELTA_H
#define SR_REPLICA_DELTA_H

#include "lib/replica/pieces.h"

#define SR_DELTA_MOST (UINT64_C(1) << 37) /* bytes of a content; larger ones are SR_E_LIMIT */
#define SR_DELTA_OLD_LEAST SR_CUT_LEAST(SR_CUT_SPAN) /* bytes of an old content that can help */

enum sr_delta_side { SR_DELTA_OLD, SR_DELTA_NEW };

struct sr_step { /* these bytes of the new content are ... */
	uint64_t at, n;
	uint64_t from; /* ... there in the old one; SR_STEP_NEW: nowhere */
};
#define SR_STEP_NEW UINT64_MAX
/* A step on the wire: `from`, `n`, 8 bytes each, and of one that is new the bytes. */
#define SR_STEP_LEN 16

struct sr_delta_ops {
	void *ctx;
	enum sr_delta_side far; /* the side whose lists come from far away: */
	/* its spans will be asked for; NULL: never mind */
	enum sr_status (*soon)(void *ctx, const struct sr_range *whole, struct sr_err *err);
	/* The pieces of these ranges, each cut from its start, appended to *out in order; they make up the ranges exactly. */
	enum sr_status (*cut)(void *ctx, enum sr_delta_side side, const struct sr_range *ranges, size_t n, uint32_t unit, struct sr_pieces *out,
			      struct sr_err *err);
	/* The next steps, each beginning where the one before ended. */
	enum sr_status (*steps)(void *ctx, const struct sr_step *steps, size_t n, struct sr_err *err);
};

/* The steps from byte `from` of the new content to its end; neither content is empty.  Errors are those of ops. */
SR_MUST enum sr_status sr_delta_run(const struct sr_delta_ops *ops, uint64_t old_bytes, uint64_t new_bytes, uint64_t from, struct sr_err *err);

#endif
