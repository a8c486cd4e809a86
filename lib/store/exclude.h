/* exclude.h - which paths the globs of Exclude= leave out; sameroot.conf(5) says what a glob means.  Pure.
 *
 * Files: a glob without a slash is held against the name of every entry, any other against the whole path; slashes at its ends do not count,
 * but a leading one makes it a whole path.  `*` and `?` do not match a slash, `**` as a component of its own stands for any number of
 * components.  Databases: against the name of the table, in any case of ASCII letters.
 * Characters are those of UTF-8; a byte that is none stands for itself.  The locale has no say: all nodes must agree. */
#ifndef SR_STORE_EXCLUDE_H
#define SR_STORE_EXCLUDE_H

#include <stdbool.h>

#include "lib/leaf/leaf.h"

/* Is the item at `path` itself left out, or its table? */
bool sr_exclude_matches(uint8_t store_kind, const char *const *globs, size_t n, struct sr_bytes path);
/* It, or anything above it? */
bool sr_exclude_covers(uint8_t store_kind, const char *const *globs, size_t n, struct sr_bytes path);

#endif
