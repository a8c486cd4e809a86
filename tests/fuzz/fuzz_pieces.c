/* fuzz_pieces.c - any bytes as ranges, as the pieces of an answer in any portions, and as what the other side says of a file: the steps that come of it
 * make up the file all the same. */
#include <stdlib.h>

#include "lib/replica/delta.h"

#define OLD (3u << 20)
#define NEW ((4u << 20) + 77)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
	struct sr_bytes in; /* what is left of it */
	uint64_t next;      /* byte of the new content */
};

static uint8_t take(struct world *w)
{
	uint8_t byte = w->in.len ? *w->in.at : 0;

	if (w->in.len)
		w->in = sr_bytes(w->in.at + 1, w->in.len - 1);
	return byte;
}

/* Of a length that may be, or of none, and with one of a few hashes: two bytes of the input say which. */
static void say_pieces(struct world *w, const struct sr_range *range, uint32_t unit, struct sr_buf *out)
{
	for (uint64_t done = 0; done < range->n;) {
		uint8_t say = take(w);
		uint32_t n = say == 255 ? 0 : unit / 4 * (1 + say % 16);
		struct sr_piece piece = {.n = n < range->n - done ? n : (uint32_t)(range->n - done), .hash.b[0] = take(w) & 7};

		sr_piece_write(out, &piece);
		if (!piece.n)
			return;
		done += piece.n;
	}
}

static enum sr_status cut(void *ctx, enum sr_delta_side side, const struct sr_range *ranges, size_t n, uint32_t unit, struct sr_pieces *out,
			  struct sr_err *err)
{
	struct world *w = ctx;
	struct sr_pieces_reader r = {.ranges = ranges, .n = n, .unit = unit};
	struct sr_buf body = {0}, again = {0};
	struct sr_range *list;
	size_t count;
	enum sr_status rc = SR_OK;

	sr_ranges_write(&again, ranges, n);
	if (n <= SR_RANGES_MOST) {
		if (sr_ranges_read(sr_buf_view(&again), side == SR_DELTA_OLD ? OLD : NEW, &list, &count, err) != SR_OK || count != n)
			abort(); /* nobody would answer that */
		free(list);
	}
	for (size_t k = 0; k < n; k++)
		say_pieces(w, &ranges[k], unit, &body);
	for (size_t at = 0, some; rc == SR_OK && at < body.len; at += some) {
		some = 1 + take(w);
		some = some < body.len - at ? some : body.len - at;
		rc = sr_pieces_read(&r, sr_bytes(body.at + at, some), out, err);
	}
	if (rc == SR_OK)
		rc = sr_pieces_read_end(&r, err);
	sr_buf_free(&body);
	sr_buf_free(&again);
	return rc;
}

static enum sr_status steps(void *ctx, const struct sr_step *list, size_t n, struct sr_err *err)
{
	struct world *w = ctx;

	(void)err;
	for (size_t k = 0; k < n; k++) {
		if (list[k].at != w->next || !list[k].n || (list[k].from != SR_STEP_NEW && (list[k].from > OLD || list[k].n > OLD - list[k].from)))
			abort();
		w->next += list[k].n;
	}
	return SR_OK;
}

static void try_ranges(struct sr_bytes in)
{
	struct sr_range *list;
	struct sr_buf again = {0};
	struct sr_err err;
	size_t n;

	if (sr_ranges_read(in, UINT64_MAX, &list, &n, &err) != SR_OK)
		return;
	sr_ranges_write(&again, list, n);
	if (!sr_bytes_eq(in, sr_buf_view(&again)))
		abort();
	sr_buf_free(&again);
	free(list);
}

static void try_pieces(struct sr_bytes in)
{
	static const struct sr_range ranges[] = {{0, 100000}, {200000, 50}};
	struct sr_pieces_reader r = {.ranges = ranges, .n = 2, .unit = SR_CUT_CHUNK};
	struct sr_pieces out = {0};
	struct sr_err err;

	if (sr_pieces_read(&r, in, &out, &err) == SR_OK && sr_pieces_read_end(&r, &err) == SR_OK && out.n * SR_PIECE_LEN != in.len)
		abort();
	free(out.list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world w = {.in = sr_bytes(data, size)};
	struct sr_delta_ops ops = {.ctx = &w, .far = SR_DELTA_NEW, .cut = cut, .steps = steps};
	uint64_t from = take(&w) & 1 ? NEW / 3 : 0;
	struct sr_err err;

	try_ranges(sr_bytes(data, size));
	try_pieces(sr_bytes(data, size));
	w.next = from;
	if (sr_delta_run(&ops, OLD, NEW, from, &err) == SR_OK && w.next != NEW)
		abort();
	return 0;
}
