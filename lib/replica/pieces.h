/* pieces.h - the pieces (hashtree/cut.h) of ranges of a file: cut, sent, received, found by their hash.
 *
 * On the wire, sameroot-protocol(5): ranges are (offset, length), 8 bytes each; pieces are (hash, length), 16 and 4 bytes, of each range in
 * turn, which they make up exactly.  What is received is checked for that and for the sizes of pieces, so that it is bounded by the ranges.
 * Thread-safe, but for what is written to. */
#ifndef SR_REPLICA_PIECES_H
#define SR_REPLICA_PIECES_H

#include "hashtree/cut.h"

#define SR_RANGE_LEN    16   /* bytes on the wire */
#define SR_PIECE_LEN    20
#define SR_RANGES_MOST  4096 /* in a request */

struct sr_range {
	uint64_t at, n; /* bytes */
};

struct sr_piece {
	uint64_t at;
	uint32_t n;
	struct sr_hash hash;
};

struct sr_pieces { /* {0}: none; OWNED (free list) */
	struct sr_piece *list;
	size_t n;
};
void sr_pieces_add(struct sr_pieces *p, const struct sr_piece *piece);

bool sr_cut_is_unit(uint64_t unit);

/* Cut each of the ranges of what is open at fd from its start.  SR_E_CHANGED: the file is shorter, or cannot be read. */
typedef enum sr_status sr_piece_fn(void *ctx, const struct sr_piece *piece, struct sr_err *err);
sr_piece_fn sr_pieces_collect; /* adds to the struct sr_pieces that is its ctx */
SR_MUST enum sr_status sr_pieces_cut(int fd, const struct sr_tree_key *key, const struct sr_range *ranges, size_t n, uint32_t unit,
				     sr_piece_fn *fn, void *ctx, struct sr_err *err);

/* --- on the wire ------------------------------------------------------------------------------------------------------- */

void sr_ranges_write(struct sr_buf *out, const struct sr_range *ranges, size_t n);
/* At most SR_RANGES_MOST of a content of so many bytes, none of them empty, each behind the one before.  *out is OWNED BY CALLER (free). */
SR_MUST enum sr_status sr_ranges_read(struct sr_bytes in, uint64_t bytes, struct sr_range **out, size_t *n, struct sr_err *err);

void sr_piece_write(struct sr_buf *out, const struct sr_piece *piece);

struct sr_pieces_reader { /* begin with {ranges, n, unit} */
	const struct sr_range *ranges; /* BORROWED */
	size_t n;
	uint32_t unit;
	size_t i;          /* the range at hand, */
	uint64_t done;     /* and so many bytes of it */
	uint8_t part[SR_PIECE_LEN];
	size_t part_len;
};
/* Some more of an answer, in portions of any size.  SR_E_DATA: that is none. */
SR_MUST enum sr_status sr_pieces_read(struct sr_pieces_reader *r, struct sr_bytes in, struct sr_pieces *out, struct sr_err *err);
SR_MUST enum sr_status sr_pieces_read_end(const struct sr_pieces_reader *r, struct sr_err *err); /* was that all? */

/* --- by hash ------------------------------------------------------------------------------------------------------------- */

struct sr_piece_index { /* {0}: of none */
	const struct sr_pieces *of; /* BORROWED; must not change */
	uint32_t *slots;            /* OWNED (sr_piece_index_free) */
	size_t size;
};
void sr_piece_index_make(struct sr_piece_index *x, const struct sr_pieces *of);
/* A piece of this hash and length; NULL: none.  Of equal ones the first. */
const struct sr_piece *sr_piece_index_find(const struct sr_piece_index *x, const struct sr_piece *like);
void sr_piece_index_free(struct sr_piece_index *x);

#endif
