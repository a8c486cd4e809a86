/* file.h - the little that every writer of a small file does: its directories, all of its bytes, its name made durable.
 * Thread-safe: there is no state. */
#ifndef SR_BASE_FILE_H
#define SR_BASE_FILE_H

#include "lib/base/bytes.h"

/* Make the directories above `path` (0755) that are not there. */
SR_MUST enum sr_status sr_file_parents(const char *path, struct sr_err *err);
/* fsync the directory in which `path` is. */
SR_MUST enum sr_status sr_file_sync_parent(const char *path, struct sr_err *err);
/* All of it; false: errno says why not. */
SR_MUST bool sr_file_write(int fd, struct sr_bytes text);

#endif
