/* progress_line.h - how far a long round is, for a person at a terminal: one line, written anew twice a second once the round has taken two
 * seconds, and cleared when nothing is under way any more.  A log line takes its place; it comes again below.
 * Thread-safe: a thread of its own writes. */
#ifndef SR_ADMIN_PROGRESS_LINE_H
#define SR_ADMIN_PROGRESS_LINE_H

#include "lib/base/bytes.h"
#include "lib/sync/progress.h"

struct sr_progress_line; /* opaque */

/* Nobody reads a line that is rewritten in a file, or among JSON. */
bool sr_progress_line_wanted(int fd, bool json);
struct sr_progress_line *sr_progress_line_new(int fd); /* BORROWS fd */
/* For sr_sync_show_progress, with the line as ctx. */
void sr_progress_line_show(void *ctx, const struct sr_progress *p);
void sr_progress_line_free(struct sr_progress_line *line); /* clears it; NULL is a no-op */

/* "sending: 1200 of 90000 items, 3.1 of 260.4 MB, 1.5 MB/s, 2:51 left": what *p has come to in `ms`.  Appended to out. */
void sr_progress_text(struct sr_buf *out, const struct sr_progress *p, int64_t ms);

#endif
