/* file.h - the little that every writer of a small file does: its directories, all of its bytes, its name made durable; and where what is
 * only for now is written.
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
/* Put text at `path`, whole or not at all, by PATH.new beside it; with that mode, whatever the umask.  synced: after a power cut the old one or the new one is
 * there, and the new one once sr_file_sync_parent is SR_OK; without it it may be none.  SR_E_IO, SR_E_FULL: what was there is there still. */
SR_MUST enum sr_status sr_file_put(const char *path, struct sr_bytes text, unsigned mode, bool synced, struct sr_err *err);
/* That and, if it is to be durable, synced, and sr_file_sync_parent: not SR_OK may also be the new one in a directory that cannot be synced. */
SR_MUST enum sr_status sr_file_replace(const char *path, struct sr_bytes text, unsigned mode, bool durable, struct sr_err *err);

/* A new empty file in `dir` that has no name, and goes when it is closed.  -1: errno says why not. */
int sr_file_unlinked(const char *dir);

/* Of a file's times, which reach further than our numbers: ns since 1970; before September 1677 and after April 2262 the first and the last that there is. */
int64_t sr_file_ns(int64_t seconds, int64_t ns);

/* SR_E_FULL: on the file system of `dir` there are not so many bytes left for us.  One that cannot be asked is taken to have room: who writes will see. */
SR_MUST enum sr_status sr_file_room(const char *dir, uint64_t bytes, struct sr_err *err);

/* $TMPDIR, or /tmp if that is not set or empty.  VALID UNTIL the environment changes. */
const char *sr_file_tmp(void);
/* A new directory NAME.XXXXXX there (0700).  *out is its path, OWNED BY CALLER (free), who removes the directory.  SR_E_IO. */
SR_MUST enum sr_status sr_file_tmp_dir(char **out, const char *name, struct sr_err *err);

#endif
