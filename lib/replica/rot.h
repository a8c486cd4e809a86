/* rot.h - rows that are known to have rotted on the disk: what a look at everything (verify.h) found in a database that nobody had written to.
 *
 * A scan cannot tell rot from an edit once it reads a database again: after a commit to it, after a start.  So what was found is remembered, in
 * state.db, and for as long as it is there unchanged the tree goes on saying what it said: it is not pushed, and handed to nobody.  What
 * is written in its place by the application is an edit, what comes from elsewhere takes its place, and sr_repair_* puts it back.
 * (A file's stat vouches for it over all that: it needs none of this.)
 *
 * Threads: the replica's owner thread, but for sr_rot_found. */
#ifndef SR_REPLICA_ROT_H
#define SR_REPLICA_ROT_H

#include "lib/replica/replica.h"

/* What a look at all of store i found: path, expect (what the tree says), to (what is there); instead of what was found before.  TAKES leaves.  By any
 * thread that uses the replica; the owner makes it known by its next sr_rot_keep. */
void sr_rot_found(struct sr_replica *r, size_t i, struct sr_leaves *leaves);
/* What was found since the last call is known from now on, durably.  Outside of a state transaction, before a scan. */
SR_MUST enum sr_status sr_rot_keep(struct sr_replica *r, size_t i, struct sr_err *err);
/* Is `actual` at this path of store i, as far as is known, nothing but rot of what the tree says? */
bool sr_rot_is(struct sr_replica *r, size_t i, struct sr_bytes path, const struct sr_version *said, const struct sr_version *actual);
/* Or is it known rot of before its table had columns added, and got their defaults?  Of a store that is being scanned. */
bool sr_rot_grew(struct sr_replica *r, size_t i, struct sr_bytes path, const struct sr_version *said, const struct sr_version *actual);
/* The known one that sr_leaf_path_text calls so: its path in *path (OWNED BY CALLER, empty before).  False: none is. */
bool sr_rot_named(struct sr_replica *r, size_t i, struct sr_bytes text, struct sr_buf *path);
/* A scan that read everything found only these still there, of what was known: the rest was written over, and written again would be an edit.  TAKES
 * still. */
SR_MUST enum sr_status sr_rot_still(struct sr_replica *r, size_t i, struct sr_leaves *still, struct sr_err *err);
/* These were put in their places, whatever they are: what is written there from now on is an edit.  Their own `to` does not matter. */
SR_MUST enum sr_status sr_rot_gone(struct sr_replica *r, size_t i, struct sr_leaves *leaves, struct sr_err *err);

/* For replica.c: of a store that is opened. */
SR_MUST enum sr_status sr_rot_load(struct sr_replica *r, struct sr_replica_store *s, struct sr_err *err);
void sr_rot_free(struct sr_replica_store *s);

#endif
