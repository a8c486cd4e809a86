/* edit.h - changes made to a store as the application itself would make them.
 *
 * What is edited is an ordinary local change: no base moves, the marker stays what it is, and the next scan finds it.  On a
 * webserver it is pushed then.  On a datastore it would be a direct edit, of which nothing is kept: there use sr_ds_edit
 * (lib/datastore/internal.h), which keeps what is replaced.
 *
 * Threads: the replica's owner thread, the replica unlocked, between two rounds. */
#ifndef SR_REPLICA_EDIT_H
#define SR_REPLICA_EDIT_H

#include "lib/replica/replica.h"

/* Compare and swap every leaf from `expect` to `to` in store i, which is READY; `leaves` are sorted here.  A row brings its record, a file that is
 * to have content has it staged (sr_stage_open, sr_stage_finish, in this order: then sr_leaves_add), an operator may delete what he likes: no limit
 * is asked.  Tables are not made here.
 *
 * SR_E_CHANGED names the first path that is not `expect`, whose UNIQUE value another row holds, that has no parent by a foreign key, that a constraint
 * of its table does not take, or whose table is not here or of another shape: nothing was done then, and nothing archived.  So much for what can be seen beforehand, and for a database, which
 * changes as one.  A file that changes at the very moment, or cannot be looked at, is left as it is and named, too, but the others went on, and the
 * text says how many.  What was staged is used up or gone, either way.  SR_E_BUSY: a round was cut short and has to be ended by the next one first.
 * SR_E_UNAVAILABLE: the store is paused.
 * A crash leaves each file as it was or as it should be; a database all or nothing.  Replaced content goes: it is what was expected.  Should it not be
 * that after all, or if the leaf says SR_LEAF_ARCHIVE, it goes to the conflict archive: after a crash, or when the archive could not be written, by
 * sr_replica_edit_recover, for which the intents of an edit of files are in state.db until all is over. */
SR_MUST enum sr_status sr_replica_edit(struct sr_replica *r, size_t i, struct sr_leaves *leaves, struct sr_err *err);

/* As sr_replica_edit; but what is put there is what the tree says already, where something has rotted: the next scan finds nothing. */
SR_MUST enum sr_status sr_replica_heal(struct sr_replica *r, size_t i, struct sr_leaves *leaves, struct sr_err *err);
/* The indexes of database i are made anew of its rows, none of which is touched. */
SR_MUST enum sr_status sr_replica_reindex(struct sr_replica *r, size_t i, struct sr_err *err);

/* As sr_replica_edit; but of a database what cannot be put there is left out, and told, each with why and what is in its way; all else is done. */
typedef void sr_edit_left_fn(void *ctx, const char *why);
SR_MUST enum sr_status sr_replica_edit_most(struct sr_replica *r, size_t i, struct sr_leaves *leaves, sr_edit_left_fn *tell, void *ctx,
					    struct sr_err *err);

/* What an edit of store i that was cut short has displaced, goes to the conflict archive if nobody expected it; its intents go.  None was: SR_OK.  To be
 * called before others look at the store's intents, or sweep its staging.  SR_E_UNAVAILABLE: the store is paused, it waits. */
SR_MUST enum sr_status sr_replica_edit_recover(struct sr_replica *r, size_t i, struct sr_err *err);

/* A webserver's: what was staged for an edit goes, unless it is the evidence of one. */
void sr_replica_edit_sweep(struct sr_replica *r, size_t i);

#endif
