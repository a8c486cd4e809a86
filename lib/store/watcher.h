/* watcher.h - a daemon's ear for changes of its stores: one thread that reads what inotify tells of them, and when a round is due for it.
 *
 * What is told are hints (watch.h); that all is well known is said by scans alone.  The rule: the first hint is due at once, and what follows
 * while its round runs and for 20 ms after it goes together into the next.  While hints keep coming within that pause it doubles, up to a second;
 * it is four times what the last round took, if that is more, but five seconds at most, and the interval.  A hint that comes later begins anew.
 *   at once       a file that was closed or came by rename, a directory, a mode; a commit of a database
 *   after 1 s     a file that was written to or made, and is open still, or linked; files that were deleted
 *   after 2.5 s   what comes while we apply files ourselves: they are then looked at once, and not twice
 *   when it ends  writes to a database of the datastore, for they may be deletions; 10 deletions of files or more: none for a second, or it goes on for 10: half of an `rm -r` is not told to others
 *
 * Threads: any.  `wake` is called in a thread of the watcher's own, without a lock of it.  Source: inotify(7). */
#ifndef SR_STORE_WATCHER_H
#define SR_STORE_WATCHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

struct sr_watcher;

#define SR_WATCHER_NEVER INT64_MAX

/* full_s: seconds after which a scan is a full one, whatever was told (Full-Scan-Interval).  wake: hints came; NULL: only sr_watcher_due() tells. */
SR_MUST enum sr_status sr_watcher_start(struct sr_watcher **out, uint64_t full_s, void (*wake)(void *ctx), void *ctx, struct sr_err *err);
void sr_watcher_set_full(struct sr_watcher *w, uint64_t full_s);
/* After the stores that it watches are closed.  NULL is a no-op. */
void sr_watcher_stop(struct sr_watcher *w);

/* When a round is due, of sr_ticks_ms(); it may be past; SR_WATCHER_NEVER: nothing was told.  NULL: never. */
int64_t sr_watcher_due(struct sr_watcher *w);
/* What was told so far is looked at now: if it proves to be nothing new, no round is due for it. */
void sr_watcher_take(struct sr_watcher *w);
/* A round begins, which looks at all that was told so far; it ended, and the next comes after interval_ms in any case. */
void sr_watcher_begin(struct sr_watcher *w);
void sr_watcher_end(struct sr_watcher *w, int64_t interval_ms);

#endif
