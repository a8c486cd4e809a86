/* cut.h - where content is cut into pieces that an edit elsewhere leaves as they are: keyed FastCDC.
 *
 * Pure; a cutter belongs to one owner, a gear is read by any.  A cut depends on nothing but the bytes since the cut before it, so that a piece,
 * or a run of them, cut again from its start is cut the same.  Hence three sizes, one inside the other: the spans of a file are few enough to be
 * told all at once, those that differ are cut into chunks, what differs of these into blocks.  Both sides cut when they need to, and keep nothing.
 *
 * A piece of unit u is u/4 to 4u bytes long (the last may be shorter).  Up to 3u/4 a cut needs lg u + 2 zero bits, then lg u - 2 (normalised
 * chunking): 0.94 u on average of random bytes, nine of ten between u/2 and 3u/2.  The units:
 *   span   1 MiB: 20 bytes each are 20 KB for 1 GiB, and one that differs costs 64 chunks, 1.3 KB;
 *   chunk 16 KiB: what one edit costs if it is sent whole; smaller ones would cost more to tell (20 bytes each: 0.12 %) than they save, larger
 *                 ones more to send;
 *   block  2 KiB: of a page of 4 KiB that was overwritten 8 KiB are sent, and not 25.
 *
 * The gear is made of the tree key, so that nobody who does not know it can make content that is cut nowhere, or everywhere. */
#ifndef SR_HASHTREE_CUT_H
#define SR_HASHTREE_CUT_H

#include "hashtree/hash.h"

#define SR_CUT_SPAN  (1u << 20)
#define SR_CUT_CHUNK (1u << 14)
#define SR_CUT_BLOCK (1u << 11)
#define SR_CUT_LEAST(unit) ((unit) / 4) /* bytes of a piece, but for the last */
#define SR_CUT_MOST(unit)  ((unit) * 4)

struct sr_gear {
	uint64_t of[256]; /* a byte's share of the rolling hash */
};
void sr_gear_set(struct sr_gear *gear, const struct sr_tree_key *key);

struct sr_cutter {
	const struct sr_gear *gear;
	uint32_t warm, least, normal, most; /* bytes: the hash is rolled from here on, cut at the earliest, more easily, at the latest */
	uint64_t strict, loose;             /* the hash has to be below this */
	uint32_t length;                    /* of the piece at hand, so far */
	uint64_t hash;
};
void sr_cutter_set(struct sr_cutter *c, const struct sr_gear *gear, uint32_t unit); /* BORROWS gear; unit: one of the above */
/* How many of these n bytes belong to the piece at hand; *end: the last of them ends it.  Fed in any portions, it cuts the same. */
size_t sr_cutter_take(struct sr_cutter *c, const void *at, size_t n, bool *end);

#endif
