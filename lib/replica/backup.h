/* backup.h - a backup of what is pinned, written to a stream.  The format is lib/bundle's: sameroot-backup(5).
 *
 * With `exact` it is that of the pinned root, and what cannot be had as of that root is named as missing; without, of the pinned moment as far as
 * an application allows that goes on writing: each database is as it was in one moment, each file is whole, and the root is that of what
 * is in the backup.
 *
 * From any thread that uses the replica (sr_replica_use).  Databases are copied first, one at a time, into <state directory>/backup. */
#ifndef SR_REPLICA_BACKUP_H
#define SR_REPLICA_BACKUP_H

#include "lib/replica/pin.h"
#include "lib/replica/serve.h"

struct sr_backup_job {
	struct sr_pin *pin;
	const struct sr_serve *serve; /* with exact: for what only older roots have; or NULL */
	bool exact, zstd;
	sr_bundle_write_fn *write;
	void *ctx;
};
/* *info is filled on SR_OK (sr_backup_info_free).  On failure the stream says why, if it can still be written to. */
SR_MUST enum sr_status sr_backup_write(const struct sr_backup_job *job, struct sr_backup_info *info, struct sr_err *err);

/* One at a time: SR_E_BUSY.  What a crash left of another is removed. */
SR_MUST enum sr_status sr_backup_begin(struct sr_replica *r, int *lock, struct sr_err *err);
void sr_backup_end(int lock);

/* Of one that was only copied, as below: what SQLite says of its pages and indexes, nothing when they are sound. */
SR_MUST enum sr_status sr_backup_sound(struct sr_pin *pin, size_t i, sr_stop_fn *stop, void *ctx, struct sr_buf *what, struct sr_err *err);
/* A database that a pin sees, copied: staged in the directory of sr_backup_begin, marked with `marker` (NULL: as it is), scanned into `nodes`,
 * where scan->map is held.  *fd (or NULL): the file, no longer named; OWNED BY CALLER (close).  The view is closed.  scan NULL: it is only copied,
 * and another call does the rest. */
SR_MUST enum sr_status sr_backup_database(struct sr_pin *pin, size_t i, const struct sr_marker *marker, struct sr_nodes *nodes,
					  struct sr_scan *scan, int *fd, struct sr_err *err);
/* `fn` is told of each thing in which the copy is not what the pin says, but for what the scan could not see. */
typedef void sr_backup_differs_fn(void *ctx, const char *path, const struct sr_leaf *leaf /* expect: what the pin says, to: what is there */);
SR_MUST enum sr_status sr_backup_compare(struct sr_pin *pin, size_t i, struct sr_nodes *nodes, const struct sr_scan *scan,
					 sr_backup_differs_fn *fn, void *ctx, struct sr_err *err);

/* GET: the whole request; ?zstd=1. */
SR_MUST enum sr_status sr_backup_reply(struct sr_request *req, struct sr_pin *pin, const struct sr_serve *serve, bool exact, struct sr_err *err);

#endif
