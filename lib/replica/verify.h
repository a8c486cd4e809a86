/* verify.h - every file and row of what is pinned, read and hashed again, whatever the times of files and the counters of databases say.
 *
 * What is not what the tree says, although its size and times are those of when it was seen last, has rotted on the disk.  What was changed in
 * an ordinary way since is none of this: the next scan takes it in.  Of a database it is remembered (rot.h).  Nothing is written but copies of databases,
 * one at a time. */
#ifndef SR_REPLICA_VERIFY_H
#define SR_REPLICA_VERIFY_H

#include "http/server.h"
#include "lib/replica/pin.h"

struct sr_verify_counts {
	uint64_t leaves, bytes; /* looked at so far */
	uint64_t leaves_total, bytes_total;
	uint64_t wrong;
	uint64_t changed; /* in an ordinary way, meanwhile or not scanned yet: not looked at closer */
};

struct sr_verify_ops {
	void *ctx;
	enum sr_status (*wrong)(void *ctx, const char *path, const char *what, struct sr_err *err);
	enum sr_status (*skipped)(void *ctx, const char *store, const char *why, struct sr_err *err); /* a store that cannot be looked at */
	enum sr_status (*progress)(void *ctx, const struct sr_verify_counts *counts, struct sr_err *err); /* now and then; may end it */
	enum sr_status (*step)(void *ctx, const struct sr_verify_counts *counts, struct sr_err *err); /* each 256 KiB at most; may wait, and end it; or NULL */
	void (*files)(void *ctx); /* from here on no copies are made: sr_backup_end; or NULL */
};
/* From any thread that uses the replica, after sr_backup_begin. */
SR_MUST enum sr_status sr_verify_pin(struct sr_pin *pin, const struct sr_verify_ops *ops, struct sr_verify_counts *counts, struct sr_err *err);

/* Databases that keep their application waiting while they are read are copied, and do so no more.  Before sr_verify_pin, which does it else. */
SR_MUST enum sr_status sr_verify_copy(struct sr_pin *pin, struct sr_err *err);

/* GET: a JSON object a line: {"leaves", "bytes", "leaves_total", "bytes_total"} now and then, {"path", "what"}, {"store", "why"}, and at the end
 * {"done": true, "leaves", "bytes", "wrong", "changed"} or {"error"}. */
typedef enum sr_status sr_verify_fn(void *ctx, const struct sr_verify_ops *ops, struct sr_verify_counts *counts, struct sr_err *err);
SR_MUST enum sr_status sr_verify_reply(struct sr_request *req, sr_verify_fn *look, void *ctx, struct sr_err *err);

#endif
