/* fetch_internal.h - what fetch*.c share: a large file on its way. */
#ifndef SR_REPLICA_FETCH_INTERNAL_H
#define SR_REPLICA_FETCH_INTERNAL_H

#include "lib/replica/ask.h"
#include "lib/replica/fetch.h"

struct sr_fetch {
	struct sr_blob_at blob;
	struct sr_store *st;
	const struct sr_leaf *leaf;
	struct sr_stage *stage; /* the open part */
	sr_fetched_fn *fetched;
	void *ctx;
	int old; /* a file like it, or -1 */
	uint64_t old_bytes;
	bool unwritten; /* the part could not be written to */
};

/* f->old: what is at `like`, if it is worth a try. */
void sr_fetch_find_old(struct sr_fetch *f, struct sr_bytes like);
void sr_fetch_forget_old(struct sr_fetch *f);
/* All that is missing from byte `have` on, into the open part, by the help of f->old. */
SR_MUST enum sr_status sr_fetch_delta(struct sr_fetch *f, uint64_t have, int64_t *mtime_ns, struct sr_err *err);

#endif
