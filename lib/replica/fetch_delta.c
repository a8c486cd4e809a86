/* fetch_delta.c - a large file that resembles one that is here: what that one has is copied, the rest is asked for, in order, so that a part that was
 * cut is gone on with as any other.
 *
 * The other side says how the new file is cut while the old one is cut here.  Nothing that it says, nor that the old file may be written to just now,
 * can do more harm than make the part another content than it should be, which its hash tells; it comes whole then. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/replica/delta.h"
#include "lib/replica/fetch_internal.h"

#define CHUNK  (64u << 10)
#define WITHIN (256u << 20) /* bytes of content that one request covers: while they are copied the answer stands still */

struct fetching {
	struct sr_fetch *f;
	struct sr_asking spans, parts;
	uint64_t left; /* bytes that the open answer of parts still owes */
	uint8_t chunk[CHUNK];
};

/* --- lists ----------------------------------------------------------------------------------------------------------------- */

static enum sr_status ask_spans(void *ctx, const struct sr_range *whole, struct sr_err *err)
{
	struct fetching *x = ctx;

	return sr_asking_open_pieces(&x->spans, &x->f->blob, whole, 1, SR_CUT_SPAN, err);
}

static enum sr_status list_pieces(void *ctx, enum sr_delta_side side, const struct sr_range *ranges, size_t n, uint32_t unit,
				  struct sr_pieces *out, struct sr_err *err)
{
	struct fetching *x = ctx;

	if (side == SR_DELTA_OLD)
		return sr_pieces_cut(x->f->old, sr_store_key(x->f->st), ranges, n, unit, sr_pieces_collect, out, err);
	return sr_ask_pieces(&x->spans, &x->f->blob, ranges, n, unit, out, err);
}

/* --- steps ------------------------------------------------------------------------------------------------------------------- */

static enum sr_status put(struct fetching *x, size_t n, struct sr_err *err)
{
	enum sr_status rc = sr_stage_write(x->f->stage, x->chunk, n, err);

	x->f->unwritten = rc != SR_OK;
	if (rc == SR_OK)
		x->f->fetched(x->f->ctx, n);
	return rc;
}

static enum sr_status copy(struct fetching *x, const struct sr_step *s, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (uint64_t done = 0; rc == SR_OK && done < s->n;) {
		uint64_t left = s->n - done;
		ssize_t got = pread(x->f->old, x->chunk, left < CHUNK ? left : CHUNK, (off_t)(s->from + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return sr_err_set(err, SR_E_CHANGED, "the older file is shorter than it was, or cannot be read");
		rc = put(x, (size_t)got, err);
		done += (uint64_t)got;
	}
	return rc;
}

/* What is new of these steps, the first of which is; as much as goes into one request. */
static enum sr_status ask_parts(struct fetching *x, const struct sr_step *steps, size_t n, struct sr_err *err)
{
	struct sr_range *ranges = sr_alloc(SR_RANGES_MOST * sizeof *ranges);
	size_t k = 0;
	enum sr_status rc;

	for (size_t i = 0; i < n && k < SR_RANGES_MOST && (!i || steps[i].at - steps[0].at < WITHIN); i++)
		if (steps[i].from == SR_STEP_NEW) {
			ranges[k++] = (struct sr_range){steps[i].at, steps[i].n};
			x->left += steps[i].n;
		}
	rc = sr_asking_open(&x->parts, &x->f->blob, "/parts", "", ranges, k, err);
	free(ranges);
	return rc;
}

static enum sr_status take(struct fetching *x, uint64_t n, struct sr_err *err)
{
	enum sr_status rc = SR_OK;
	size_t got;

	x->left -= n;
	while (rc == SR_OK && n) {
		rc = sr_stream_read(x->parts.stream, x->chunk, n < CHUNK ? n : CHUNK, &got, err);
		if (rc == SR_OK && !got)
			rc = sr_err_set(err, SR_E_DATA, "parts: less than was asked for");
		if (rc == SR_OK)
			rc = put(x, got, err);
		if (rc == SR_OK)
			n -= got;
	}
	if (rc != SR_OK || x->left)
		return rc;
	rc = sr_stream_read(x->parts.stream, x->chunk, 1, &got, err);
	sr_asking_close(&x->parts);
	return rc == SR_OK && got ? sr_err_set(err, SR_E_DATA, "parts: more than was asked for") : rc;
}

static enum sr_status take_steps(void *ctx, const struct sr_step *steps, size_t n, struct sr_err *err)
{
	struct fetching *x = ctx;
	enum sr_status rc = SR_OK;

	for (size_t k = 0; rc == SR_OK && k < n; k++) {
		if (steps[k].from != SR_STEP_NEW) {
			rc = copy(x, &steps[k], err);
			continue;
		}
		if (!x->left)
			rc = ask_parts(x, steps + k, n - k, err);
		if (rc == SR_OK)
			rc = take(x, steps[k].n, err);
	}
	return rc;
}

enum sr_status sr_fetch_delta(struct sr_fetch *f, uint64_t have, int64_t *mtime_ns, struct sr_err *err)
{
	struct fetching *x = sr_alloc(sizeof *x);
	struct sr_delta_ops ops = {.ctx = x, .far = SR_DELTA_NEW, .soon = ask_spans, .cut = list_pieces, .steps = take_steps};
	enum sr_status rc;

	x->f = f;
	f->fetched(f->ctx, have);
	rc = sr_delta_run(&ops, f->old_bytes, f->leaf->to.bytes, have, err);
	*mtime_ns = x->spans.mtime_ns;
	sr_asking_close(&x->spans);
	sr_asking_close(&x->parts);
	free(x);
	return rc;
}

/* --- the older file ---------------------------------------------------------------------------------------------------------- */

void sr_fetch_find_old(struct sr_fetch *f, struct sr_bytes like)
{
	struct sr_content content = {.fd = -1};
	struct sr_view *view = NULL;

	if (!like.len || sr_view_open(&view, f->st, SR_VIEW_EXTRA, NULL) != SR_OK)
		return;
	if (sr_view_read(view, like, &content, NULL) == SR_OK && content.fd >= 0) {
		f->old = content.fd;
		f->old_bytes = content.version.bytes;
		if (f->old_bytes < SR_DELTA_OLD_LEAST || f->old_bytes > SR_DELTA_MOST || f->leaf->to.bytes > SR_DELTA_MOST)
			sr_fetch_forget_old(f);
	}
	sr_view_close(view);
}

void sr_fetch_forget_old(struct sr_fetch *f)
{
	if (f->old >= 0)
		close(f->old);
	f->old = -1;
}
