/* range.h - the part of something that a Range header asks for.  Pure. */
#ifndef SR_HTTP_RANGE_H
#define SR_HTTP_RANGE_H

#include <stdbool.h>
#include <stdint.h>

/* "bytes=FROM-[TO]" of `total` bytes: *from, and at least one byte of *length, within them.  false: anything else, and what begins after the end, means the
 * whole.  header may be NULL. */
bool sr_range_parse(const char *header, uint64_t total, uint64_t *from, uint64_t *length);

#endif
