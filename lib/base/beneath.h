/* beneath.h - names below a held directory, resolved by the kernel: never out of it, never through a link.
 * -1 and errno, as open() does. */
#ifndef SR_BASE_BENEATH_H
#define SR_BASE_BENEATH_H

#include <sys/types.h>

#include "lib/base/bytes.h"

/* openat2(); O_CLOEXEC is added.  mode: with O_CREAT. */
int sr_open_beneath(int dir, const char *path, int flags, mode_t mode);
/* The same of a path of any length whose components are joined by NUL; empty: root itself. */
int sr_open_below(int root, struct sr_bytes path, int flags);
/* Remove `name` in dir and all below it, however deep.  0 also when there is none. */
int sr_remove_beneath(int dir, const char *name);

#endif
