/* pieces.c - see pieces.h. */
#include "lib/replica/pieces.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK  (256u << 10)
#define PROBES 32 /* of a table that is half empty: hashes that were made to meet are not found, and cost no time */

void sr_pieces_add(struct sr_pieces *p, const struct sr_piece *piece)
{
	if ((p->n & (p->n + 1)) == 0) /* full at 0, 1, 3, 7, ... */
		p->list = sr_realloc(p->list, (2 * p->n + 1) * sizeof *p->list);
	p->list[p->n++] = *piece;
}

enum sr_status sr_pieces_collect(void *ctx, const struct sr_piece *piece, struct sr_err *err)
{
	(void)err;
	sr_pieces_add(ctx, piece);
	return SR_OK;
}

bool sr_cut_is_unit(uint64_t unit)
{
	return unit == SR_CUT_SPAN || unit == SR_CUT_CHUNK || unit == SR_CUT_BLOCK;
}

/* --- cutting ------------------------------------------------------------------------------------------------------------- */

struct cutting {
	struct sr_gear gear;
	struct sr_cutter cutter;
	struct sr_hasher *hasher;
	struct sr_piece piece; /* at hand */
	sr_piece_fn *fn;
	void *ctx;
};

static enum sr_status end_piece(struct cutting *c, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	if (c->piece.n) {
		sr_hasher_get(c->hasher, &c->piece.hash);
		rc = c->fn(c->ctx, &c->piece, err);
	}
	sr_hasher_reset(c->hasher);
	c->piece.at += c->piece.n;
	c->piece.n = 0;
	return rc;
}

static enum sr_status cut_some(struct cutting *c, const uint8_t *at, size_t n, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	while (rc == SR_OK && n) {
		bool end;
		size_t k = sr_cutter_take(&c->cutter, at, n, &end);

		sr_hasher_add(c->hasher, at, k);
		c->piece.n += (uint32_t)k;
		at += k;
		n -= k;
		if (end)
			rc = end_piece(c, err);
	}
	return rc;
}

static enum sr_status cut_range(struct cutting *c, int fd, uint8_t *chunk, const struct sr_range *range, uint32_t unit, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	sr_cutter_set(&c->cutter, &c->gear, unit);
	c->piece = (struct sr_piece){.at = range->at};
	for (uint64_t done = 0; rc == SR_OK && done < range->n;) {
		uint64_t left = range->n - done;
		ssize_t got = pread(fd, chunk, left < CHUNK ? left : CHUNK, (off_t)(range->at + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return sr_err_sys(err, SR_E_CHANGED, "read a file to cut it");
		if (!got)
			return sr_err_set(err, SR_E_CHANGED, "a file is shorter than it was");
		rc = cut_some(c, chunk, (size_t)got, err);
		done += (uint64_t)got;
	}
	return rc == SR_OK ? end_piece(c, err) : rc;
}

enum sr_status sr_pieces_cut(int fd, const struct sr_tree_key *key, const struct sr_range *ranges, size_t n, uint32_t unit, sr_piece_fn *fn,
			     void *ctx, struct sr_err *err)
{
	struct cutting c = {.hasher = sr_hasher_new(key), .fn = fn, .ctx = ctx};
	uint8_t *chunk = sr_alloc(CHUNK);
	enum sr_status rc = SR_OK;

	sr_gear_set(&c.gear, key);
	for (size_t i = 0; rc == SR_OK && i < n; i++)
		rc = cut_range(&c, fd, chunk, &ranges[i], unit, err);
	free(chunk);
	sr_hasher_free(c.hasher);
	return rc;
}

/* --- on the wire ----------------------------------------------------------------------------------------------------------- */

void sr_ranges_write(struct sr_buf *out, const struct sr_range *ranges, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		sr_buf_be64(out, ranges[i].at);
		sr_buf_be64(out, ranges[i].n);
	}
}

enum sr_status sr_ranges_read(struct sr_bytes in, uint64_t bytes, struct sr_range **out, size_t *n, struct sr_err *err)
{
	size_t count = in.len / SR_RANGE_LEN;
	struct sr_reader r = sr_reader(in);
	struct sr_range *list;
	uint64_t end = 0;

	if (!count || in.len % SR_RANGE_LEN)
		return sr_err_set(err, SR_E_DATA, "not a list of ranges");
	if (count > SR_RANGES_MOST)
		return sr_err_set(err, SR_E_LIMIT, "more than %d ranges in one request", SR_RANGES_MOST);
	list = sr_alloc(count * sizeof *list);
	for (size_t i = 0; i < count; i++) {
		list[i].at = sr_read_be64(&r);
		list[i].n = sr_read_be64(&r);
		if (!list[i].n || list[i].at < end || list[i].at > bytes || list[i].n > bytes - list[i].at) {
			free(list);
			return sr_err_set(err, SR_E_DATA, "ranges: empty, not in order, or beyond the end");
		}
		end = list[i].at + list[i].n;
	}
	*out = list;
	*n = count;
	return SR_OK;
}

void sr_piece_write(struct sr_buf *out, const struct sr_piece *piece)
{
	sr_buf_add(out, piece->hash.b, SR_HASH_LEN);
	sr_buf_be32(out, piece->n);
}

static enum sr_status take_piece(struct sr_pieces_reader *r, struct sr_pieces *out, struct sr_err *err)
{
	struct sr_reader in = sr_reader(sr_bytes(r->part, SR_PIECE_LEN));
	struct sr_piece piece;
	uint64_t left;

	if (r->i == r->n)
		return sr_err_set(err, SR_E_DATA, "pieces: more than was asked for");
	left = r->ranges[r->i].n - r->done;
	memcpy(piece.hash.b, sr_read_bytes(&in, SR_HASH_LEN).at, SR_HASH_LEN);
	piece.n = sr_read_be32(&in);
	piece.at = r->ranges[r->i].at + r->done;
	if (piece.n > left || piece.n > SR_CUT_MOST(r->unit) || (piece.n < SR_CUT_LEAST(r->unit) && piece.n != left))
		return sr_err_set(err, SR_E_DATA, "pieces: one of a length that none has");
	sr_pieces_add(out, &piece);
	r->done += piece.n;
	if (piece.n == left) {
		r->i++;
		r->done = 0;
	}
	return SR_OK;
}

enum sr_status sr_pieces_read(struct sr_pieces_reader *r, struct sr_bytes in, struct sr_pieces *out, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	while (rc == SR_OK && in.len) {
		size_t k = SR_PIECE_LEN - r->part_len < in.len ? SR_PIECE_LEN - r->part_len : in.len;

		memcpy(r->part + r->part_len, in.at, k);
		in = sr_bytes(in.at + k, in.len - k);
		r->part_len += k;
		if (r->part_len == SR_PIECE_LEN) {
			r->part_len = 0;
			rc = take_piece(r, out, err);
		}
	}
	return rc;
}

enum sr_status sr_pieces_read_end(const struct sr_pieces_reader *r, struct sr_err *err)
{
	return r->i == r->n && !r->part_len ? SR_OK : sr_err_set(err, SR_E_DATA, "pieces: less than was asked for");
}

/* --- by hash ----------------------------------------------------------------------------------------------------------------- */

static bool is_like(const struct sr_piece *a, const struct sr_piece *b)
{
	return a->n == b->n && sr_hash_eq(&a->hash, &b->hash);
}

/* The slot of a piece like this, or where one would be; NULL: too many others are there. */
static uint32_t *find_slot(const struct sr_piece_index *x, const struct sr_piece *like)
{
	uint64_t at;

	memcpy(&at, like->hash.b, sizeof at);
	for (unsigned k = 0; k < PROBES; k++) {
		uint32_t *slot = &x->slots[(at + k) & (x->size - 1)];

		if (!*slot || is_like(&x->of->list[*slot - 1], like))
			return slot;
	}
	return NULL;
}

void sr_piece_index_make(struct sr_piece_index *x, const struct sr_pieces *of)
{
	*x = (struct sr_piece_index){.of = of, .size = 1};
	while (x->size < 2 * of->n)
		x->size *= 2;
	x->slots = sr_alloc(x->size * sizeof *x->slots);
	for (size_t i = 0; i < of->n; i++) {
		uint32_t *slot = find_slot(x, &of->list[i]);

		if (slot && !*slot)
			*slot = (uint32_t)i + 1;
	}
}

const struct sr_piece *sr_piece_index_find(const struct sr_piece_index *x, const struct sr_piece *like)
{
	const uint32_t *slot = x->of ? find_slot(x, like) : NULL;

	return slot && *slot ? &x->of->list[*slot - 1] : NULL;
}

void sr_piece_index_free(struct sr_piece_index *x)
{
	free(x->slots);
	*x = (struct sr_piece_index){0};
}
