/* pin.h - the stores of a replica as of one moment, held for as long as somebody reads them.
 *
 * The owner takes a pin (or who stands in his place), in a moment; it is read and let go in any one thread, which uses the replica
 * (sr_replica_use) meanwhile.  Nodes stay; databases are seen in read transactions of their own.  Files are what they are: whoever reads them
 * holds them against the map. */
#ifndef SR_REPLICA_PIN_H
#define SR_REPLICA_PIN_H

#include "lib/bundle/backup.h"
#include "lib/replica/replica.h"
#include "lib/replica/wire.h"

struct sr_pin_store {
	size_t i;           /* of the replica */
	const char *name;   /* BORROWED from it */
	uint8_t kind;
	bool readable;      /* it was READY, and could be opened */
	bool fresh;         /* it was NEW: nothing is lost */
	char why[320];      /* when it is not; or why it is not `exact` */
	struct sr_hash map; /* held; what the tree said in that moment */
	bool exact;         /* it was scanned in that moment.  A database: `view` sees what `map` says */
	bool quiet;         /* and nobody committed to it meanwhile: else what `view` sees, though the tree said the same before and after, may be between */
	struct sr_view *view; /* of a readable database; who is done with it closes it and sets NULL */
};

struct sr_pin { /* {0}; sr_pin_release */
	struct sr_replica *r;
	struct sr_anchor at; /* as the owner says; at.root is the tree's in that moment, held */
	struct sr_pin_store *stores; /* all of the replica's, in its order */
	size_t n;
	struct sr_backup_info unknown; /* only its list of what is left out: files' unknown paths */
};

/* Look for changes in store i and take them in.  Not SR_OK: the store is pinned all the same, and not exact. */
typedef enum sr_status sr_pin_scan_fn(void *ctx, size_t i, struct sr_err *err);
/* By the owner, the replica unlocked, no view open.  scan NULL: the tree is as fresh as it has to be, and nobody else writes.  The caller fills in
 * out->at but for its root, after this. */
void sr_pin_take(struct sr_pin *out, struct sr_replica *r, sr_pin_scan_fn *scan, void *ctx);
void sr_pin_release(struct sr_pin *pin); /* and back to {0} */

/* Every item of store i at or below `top`, sorted, in a spool: as of a map that is held, NULL: as of now.  OWNED BY CALLER (sr_leaves_free). */
SR_MUST enum sr_status sr_replica_items(struct sr_replica *r, size_t i, const struct sr_hash *map, struct sr_bytes top,
					struct sr_leaves **out, struct sr_err *err);
/* Is this version what the replica's tree has at `path` now? */
bool sr_replica_is_current(struct sr_replica *r, size_t i, struct sr_bytes path, const struct sr_version *want);

#endif
