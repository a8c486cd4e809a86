/* progress.h - how far a round is: what it does just now, and how much of that is done.
 *
 * One thing at a time: begin, add, add, ..., end.  Adds come from the thread that runs the round, or from the one that sends for it while
 * the round waits: never from two at once.  Totals are what was planned; what is left alone is never added, so that an end may come
 * before they are reached. */
#ifndef SR_SYNC_PROGRESS_H
#define SR_SYNC_PROGRESS_H

#include <stddef.h>
#include <stdint.h>

struct sr_progress { /* {0}: nothing is under way, and nobody looks */
	const char *what; /* "fetching", "applying", "sending"; NULL: over.  A string constant */
	uint64_t leaves_done, leaves_total;
	uint64_t bytes_done, bytes_total; /* content, as the leaves say; with what was found here of an earlier attempt */
	void (*show)(void *ctx, const struct sr_progress *p); /* or NULL.  At begin, at each add - often: once a chunk - and at end */
	void *ctx;
};

void sr_progress_begin(struct sr_progress *p, const char *what, uint64_t leaves, uint64_t bytes);
void sr_progress_add(struct sr_progress *p, uint64_t leaves, uint64_t bytes);
/* what is NULL when `show` is told, the counts still stand. */
void sr_progress_end(struct sr_progress *p);

#endif
