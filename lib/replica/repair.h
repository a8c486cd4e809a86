/* repair.h - a file or row that has rotted on the disk gets back the content that the tree says, from another node.
 *
 * Rotten is a file whose content is not what the tree says although its stat is that with which it was seen (verify.h), and a row of which a look at
 * everything found that (rot.h).  What is found there goes to the conflict archive, unless it cannot be read; a file's mode and mtime are those of before.  It is
 * no edit: the tree says afterwards what it said before.
 *
 * Threads: sr_repair_begin and sr_repair_finish by the replica's owner thread, the replica unlocked, between two rounds; in between the content is staged,
 * which the owner must not sweep away. */
#ifndef SR_REPLICA_REPAIR_H
#define SR_REPLICA_REPAIR_H

#include "lib/replica/fetch.h"
#include "lib/replica/replica.h"

struct sr_repair { /* {0}; sr_repair_free */
	struct sr_replica *r;
	size_t i; /* its store */
	struct sr_buf path;
	struct sr_leaf leaf; /* `to` is what it is to be, `expect` what was found */
	uint64_t signature;  /* with which a file was seen */
	uint64_t stand_in;   /* of one that cannot be read: with `expect`, which nobody has */
	struct sr_buf record; /* of a row, fetched */
	bool rotten, unreadable;
	bool indexes; /* it is a database, whose indexes are made anew of its rows: nothing is fetched */
	struct sr_stage *stage; /* of its content; NULL: none yet */
};

/* path: as sr_leaf_path_text tells it; of a database: its indexes.  *out->rotten false: it is what the tree says.  SR_E_NOTFOUND: it is no file or row of the tree.  SR_E_CHANGED: it was
 * changed in an ordinary way: that is for the next scan.  SR_E_IO: it cannot be looked at. */
SR_MUST enum sr_status sr_repair_begin(struct sr_repair *out, struct sr_replica *r, struct sr_bytes path, struct sr_err *err);
/* Is there content to be fetched?  Else what is too much is to go. */
bool sr_repair_fetches(const struct sr_repair *p);
/* Its content by its hash from whoever client speaks to, on any thread; again if it was in vain.  SR_E_NOTFOUND, SR_E_GONE: he does not have it, either. */
SR_MUST enum sr_status sr_repair_fetch(struct sr_repair *p, struct sr_client *client, struct sr_err *err);
/* Put it in place, if nothing was changed meanwhile (SR_E_CHANGED). */
SR_MUST enum sr_status sr_repair_finish(struct sr_repair *p, struct sr_err *err);
void sr_repair_free(struct sr_repair *p); /* and back to {0}; what was staged in vain the owner sweeps */

#endif
