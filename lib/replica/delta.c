/* delta.c - see delta.h. */
#include "lib/replica/delta.h"

#include <stdlib.h>
#include <string.h>

#define WINDOW    (32u << 20) /* bytes of spans that differ, gone through at a time, */
#define STEPS     16384       /* or so many steps */
#define LEFT_MOST (1u << 30)  /* bytes of the old content that no span found: more are not cut into chunks */
#define RUN_MOST  (256u << 10) /* what is longer is new, and not cut into blocks, */
#define GAP_MOST  (2 * RUN_MOST) /* nor compared with more */

struct ranges {
	struct sr_range *list;
	size_t n;
};

struct steps {
	struct sr_step *list;
	size_t n;
};

struct delta {
	const struct sr_delta_ops *ops;
	uint64_t old_bytes, new_bytes, from;
	struct sr_pieces old_spans, new_spans, chunks; /* chunks: of what no span found */
	struct sr_piece_index by_span, by_chunk;
	struct steps steps; /* of the window */
	struct sr_step last; /* before it */
};

/* --- lists ----------------------------------------------------------------------------------------------------------------- */

static void add_range(struct ranges *r, uint64_t at, uint64_t n)
{
	if ((r->n & (r->n + 1)) == 0) /* full at 0, 1, 3, 7, ... */
		r->list = sr_realloc(r->list, (2 * r->n + 1) * sizeof *r->list);
	r->list[r->n++] = (struct sr_range){at, n};
}

static void add_or_extend(struct ranges *r, uint64_t at, uint64_t n)
{
	struct sr_range *last = r->n ? &r->list[r->n - 1] : NULL;

	if (last && last->at + last->n == at)
		last->n += n;
	else
		add_range(r, at, n);
}

static bool goes_on(const struct sr_step *a, uint64_t from)
{
	return a->from == SR_STEP_NEW ? from == SR_STEP_NEW : from == a->from + a->n;
}

static void add_step(struct steps *s, uint64_t at, uint64_t n, uint64_t from)
{
	if (s->n && goes_on(&s->list[s->n - 1], from)) {
		s->list[s->n - 1].n += n;
		return;
	}
	if ((s->n & (s->n + 1)) == 0)
		s->list = sr_realloc(s->list, (2 * s->n + 1) * sizeof *s->list);
	s->list[s->n++] = (struct sr_step){at, n, from};
}

static void add_piece(struct steps *s, const struct sr_piece_index *x, const struct sr_piece *piece)
{
	const struct sr_piece *same = sr_piece_index_find(x, piece);

	add_step(s, piece->at, piece->n, same ? same->at : SR_STEP_NEW);
}

static enum sr_status cut(struct delta *d, enum sr_delta_side side, const struct ranges *r, uint32_t unit, struct sr_pieces *out,
			  struct sr_err *err)
{
	return r->n ? d->ops->cut(d->ops->ctx, side, r->list, r->n, unit, out, err) : SR_OK;
}

/* --- spans ----------------------------------------------------------------------------------------------------------------- */

static enum sr_status cut_into_spans(struct delta *d, struct sr_err *err)
{
	struct sr_range both[2] = {[SR_DELTA_OLD] = {0, d->old_bytes}, [SR_DELTA_NEW] = {0, d->new_bytes}};
	struct sr_pieces *out[2] = {[SR_DELTA_OLD] = &d->old_spans, [SR_DELTA_NEW] = &d->new_spans};
	enum sr_delta_side far = d->ops->far, near = !far;
	enum sr_status rc = SR_OK;

	if (d->ops->soon)
		rc = d->ops->soon(d->ops->ctx, &both[far], err);
	if (rc == SR_OK)
		rc = d->ops->cut(d->ops->ctx, near, &both[near], 1, SR_CUT_SPAN, out[near], err);
	if (rc == SR_OK)
		rc = d->ops->cut(d->ops->ctx, far, &both[far], 1, SR_CUT_SPAN, out[far], err);
	return rc;
}

/* What no span of the new content found may be there in parts. */
static enum sr_status cut_what_is_left(struct delta *d, struct sr_err *err)
{
	bool *found = sr_alloc(d->old_spans.n + 1);
	struct ranges left = {0};
	uint64_t sum = 0;
	enum sr_status rc;

	for (size_t k = 0; k < d->new_spans.n; k++) {
		const struct sr_piece *same = sr_piece_index_find(&d->by_span, &d->new_spans.list[k]);

		if (same)
			found[same - d->old_spans.list] = true;
	}
	for (size_t k = 0; k < d->old_spans.n && sum < LEFT_MOST; k++)
		if (!found[k]) {
			add_or_extend(&left, d->old_spans.list[k].at, d->old_spans.list[k].n);
			sum += d->old_spans.list[k].n;
		}
	rc = cut(d, SR_DELTA_OLD, &left, SR_CUT_CHUNK, &d->chunks, err);
	sr_piece_index_make(&d->by_chunk, &d->chunks);
	free(left.list);
	free(found);
	return rc;
}

static bool any_new(const struct delta *d)
{
	for (size_t k = 0; k < d->new_spans.n; k++)
		if (!sr_piece_index_find(&d->by_span, &d->new_spans.list[k]))
			return true;
	return false;
}

/* --- a window ---------------------------------------------------------------------------------------------------------------- */

static void fill_window(struct delta *d, size_t *k)
{
	uint64_t fresh = 0;

	for (d->steps.n = 0; *k < d->new_spans.n && fresh < WINDOW && d->steps.n < STEPS; ++*k) {
		const struct sr_piece *span = &d->new_spans.list[*k];

		add_piece(&d->steps, &d->by_span, span);
		if (d->steps.list[d->steps.n - 1].from == SR_STEP_NEW)
			fresh += span->n;
	}
}

/* Look for the pieces of `runs`, which are steps that are new, in x. */
static enum sr_status refine(struct delta *d, const struct ranges *runs, uint32_t unit, const struct sr_piece_index *x, struct sr_err *err)
{
	struct sr_pieces pieces = {0};
	struct steps out = {0};
	size_t p = 0, r = 0;
	enum sr_status rc = cut(d, SR_DELTA_NEW, runs, unit, &pieces, err);

	for (size_t k = 0; rc == SR_OK && k < d->steps.n; k++) {
		const struct sr_step *s = &d->steps.list[k];

		if (r == runs->n || runs->list[r].at != s->at) {
			add_step(&out, s->at, s->n, s->from);
			continue;
		}
		for (r++; p < pieces.n && pieces.list[p].at < s->at + s->n; p++)
			add_piece(&out, x, &pieces.list[p]);
	}
	free(pieces.list);
	if (rc != SR_OK) {
		free(out.list);
		return rc;
	}
	free(d->steps.list);
	d->steps = out;
	return SR_OK;
}

static enum sr_status refine_by_chunks(struct delta *d, struct sr_err *err)
{
	struct ranges runs = {0};
	enum sr_status rc = SR_OK;

	for (size_t k = 0; d->chunks.n && k < d->steps.n; k++)
		if (d->steps.list[k].from == SR_STEP_NEW)
			add_range(&runs, d->steps.list[k].at, d->steps.list[k].n);
	if (runs.n)
		rc = refine(d, &runs, SR_CUT_CHUNK, &d->by_chunk, err);
	free(runs.list);
	return rc;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* What was in the place of the k-th step, which is new, if that is known: between what comes before it and what comes after it. */
static bool find_gap(const struct delta *d, size_t k, struct sr_range *out)
{
	const struct sr_step *s = &d->steps.list[k], *before = k ? s - 1 : d->last.n ? &d->last : NULL, *after = k + 1 < d->steps.n ? s + 1 : NULL;
	uint64_t from = 0, to = 0;

	if (s->n > RUN_MOST)
		return false;
	if (before && before->from != SR_STEP_NEW)
		from = before->from + before->n;
	else
		before = NULL;
	if (after)
		to = after->from;
	if (!before && !after)
		return false;
	if (!before)
		from = to - least(to, 2 * s->n);
	else if (!after || to < from || to - from > GAP_MOST)
		to = least(d->old_bytes, from + 2 * s->n);
	*out = (struct sr_range){from, to - from};
	return to > from;
}

static int by_offset(const void *a, const void *b)
{
	const struct sr_range *p = a, *q = b;

	return p->at < q->at ? -1 : p->at > q->at;
}

/* In order, and no byte of them twice, for they may be asked for. */
static void tidy(struct ranges *r)
{
	size_t n = 0;

	if (r->n)
		qsort(r->list, r->n, sizeof *r->list, by_offset);
	for (size_t k = 0; k < r->n; k++) {
		struct sr_range *range = &r->list[k], *last = n ? &r->list[n - 1] : NULL;

		if (!last || range->at >= last->at + last->n)
			r->list[n++] = *range;
		else if (range->at + range->n > last->at + last->n)
			last->n = range->at + range->n - last->at;
	}
	r->n = n;
}

static enum sr_status refine_by_blocks(struct delta *d, struct sr_err *err)
{
	struct ranges runs = {0}, gaps = {0};
	struct sr_pieces blocks = {0};
	struct sr_piece_index by_block = {0};
	struct sr_range gap;
	enum sr_status rc = SR_OK;

	for (size_t k = 0; k < d->steps.n; k++) {
		const struct sr_step *s = &d->steps.list[k];

		if (s->from != SR_STEP_NEW || !find_gap(d, k, &gap))
			continue;
		add_range(&runs, s->at, s->n);
		add_range(&gaps, gap.at, gap.n);
	}
	tidy(&gaps);
	rc = cut(d, SR_DELTA_OLD, &gaps, SR_CUT_BLOCK, &blocks, err);
	sr_piece_index_make(&by_block, &blocks);
	if (rc == SR_OK && runs.n)
		rc = refine(d, &runs, SR_CUT_BLOCK, &by_block, err);
	sr_piece_index_free(&by_block);
	free(blocks.list);
	free(gaps.list);
	free(runs.list);
	return rc;
}

/* But for what lies before d->from. */
static enum sr_status hand_over(struct delta *d, struct sr_err *err)
{
	struct steps *s = &d->steps;
	size_t first = 0;

	if (s->n)
		d->last = s->list[s->n - 1];
	while (first < s->n && s->list[first].at + s->list[first].n <= d->from)
		first++;
	if (first < s->n && s->list[first].at < d->from) {
		uint64_t cut_off = d->from - s->list[first].at;

		s->list[first].at += cut_off;
		s->list[first].n -= cut_off;
		if (s->list[first].from != SR_STEP_NEW)
			s->list[first].from += cut_off;
	}
	return first < s->n ? d->ops->steps(d->ops->ctx, s->list + first, s->n - first, err) : SR_OK;
}

/* --- all of it --------------------------------------------------------------------------------------------------------------- */

static enum sr_status run(struct delta *d, struct sr_err *err)
{
	enum sr_status rc = cut_into_spans(d, err);

	sr_piece_index_make(&d->by_span, &d->old_spans);
	if (rc == SR_OK && any_new(d))
		rc = cut_what_is_left(d, err);
	for (size_t k = 0; rc == SR_OK && k < d->new_spans.n;) {
		fill_window(d, &k);
		rc = refine_by_chunks(d, err);
		if (rc == SR_OK)
			rc = refine_by_blocks(d, err);
		if (rc == SR_OK)
			rc = hand_over(d, err);
	}
	return rc;
}

enum sr_status sr_delta_run(const struct sr_delta_ops *ops, uint64_t old_bytes, uint64_t new_bytes, uint64_t from, struct sr_err *err)
{
	struct delta d = {.ops = ops, .old_bytes = old_bytes, .new_bytes = new_bytes, .from = from};
	enum sr_status rc;

	if (old_bytes > SR_DELTA_MOST || new_bytes > SR_DELTA_MOST)
		return sr_err_set(err, SR_E_LIMIT, "content of more than %llu bytes travels whole", (unsigned long long)SR_DELTA_MOST);
	rc = run(&d, err);
	sr_piece_index_free(&d.by_span);
	sr_piece_index_free(&d.by_chunk);
	free(d.old_spans.list);
	free(d.new_spans.list);
	free(d.chunks.list);
	free(d.steps.list);
	return rc;
}
