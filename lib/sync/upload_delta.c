/* upload_delta.c - a large file that resembles one that the datastore has: it is asked how that one is cut, and sent which parts of it to copy, and the
 * rest, in order, so that what was cut is gone on with as any other upload. */
#include <stdlib.h>
#include <string.h>

#include "lib/replica/ask.h"
#include "lib/replica/delta.h"
#include "lib/sync/internal.h"

#define AT_ONCE (1u << 30) /* bytes of content in one request: it may be a while before they are copied */
#define QUIET_S 300

struct sending {
	struct sr_upload_delta *d;
	struct sr_blob_at old;
	struct sr_asking asking;
	int *http;

	/* of the request under way */
	const struct sr_step *steps;
	size_t n;
	uint64_t left; /* of the step at hand: bytes to send */
	uint8_t head[SR_STEP_LEN];
	size_t head_left;
};

/* --- lists ----------------------------------------------------------------------------------------------------------------- */

static enum sr_status ask_spans(void *ctx, const struct sr_range *whole, struct sr_err *err)
{
	struct sending *x = ctx;

	return sr_asking_open_pieces(&x->asking, &x->old, whole, 1, SR_CUT_SPAN, err);
}

static enum sr_status list_pieces(void *ctx, enum sr_delta_side side, const struct sr_range *ranges, size_t n, uint32_t unit,
				  struct sr_pieces *out, struct sr_err *err)
{
	struct sending *x = ctx;

	if (side == SR_DELTA_NEW)
		return sr_pieces_cut(x->d->fd, &x->d->s->r->key, ranges, n, unit, sr_pieces_collect, out, err);
	return sr_ask_pieces(&x->asking, &x->old, ranges, n, unit, out, err);
}

/* --- steps ------------------------------------------------------------------------------------------------------------------- */

static void begin_step(struct sending *x)
{
	struct sr_buf head = {0};

	sr_buf_be64(&head, x->steps->from);
	sr_buf_be64(&head, x->steps->n);
	memcpy(x->head, head.at, SR_STEP_LEN);
	x->head_left = SR_STEP_LEN;
	sr_buf_free(&head);
}

static void end_step(struct sending *x)
{
	x->steps++;
	if (--x->n)
		begin_step(x);
}

static enum sr_status give(void *ctx, void *at, size_t n, size_t *got, struct sr_err *err)
{
	struct sending *x = ctx;
	enum sr_status rc = SR_OK;

	*got = 0;
	if (!x->n)
		return SR_OK;
	if (x->head_left) {
		*got = n < x->head_left ? n : x->head_left;
		memcpy(at, x->head + SR_STEP_LEN - x->head_left, *got);
		x->head_left -= *got;
		if (x->head_left)
			return SR_OK;
		if (x->steps->from == SR_STEP_NEW) {
			x->left = x->steps->n;
			return SR_OK;
		}
		*x->d->at += x->steps->n;
		sr_progress_add(&x->d->s->progress, 0, x->steps->n);
	} else {
		rc = x->d->read(x->d->ctx, at, n < x->left ? n : (size_t)x->left, got, err);
		if (rc != SR_OK)
			return rc;
		x->left -= *got;
		if (x->left)
			return SR_OK;
	}
	end_step(x);
	return rc;
}

static char *target(const struct sending *x, uint64_t offset)
{
	struct sr_buf store = {0}, path = {0};
	char hash[SR_HASH_TEXT], old[SR_HASH_TEXT], *out;

	sr_hash_text(hash, &x->d->leaf->to.hash);
	sr_hash_text(old, &x->d->old->hash);
	sr_percent(&store, sr_bytes_of(x->old.store), "");
	sr_blob_hint(&path, '&', &x->old);
	out = sr_format("/api/upload/%s/delta?store=%s&size=%llu&offset=%llu&old=%s%s", hash, sr_buf_text(&store),
			(unsigned long long)x->d->leaf->to.bytes, (unsigned long long)offset, old, sr_buf_text(&path));
	sr_buf_free(&store);
	sr_buf_free(&path);
	return out;
}

static enum sr_status put(struct sending *x, const struct sr_step *steps, size_t n, struct sr_err *err)
{
	char *to = target(x, steps->at);
	struct sr_call call = {.method = "PUT", .target = to, .read = give, .read_ctx = x, .quiet_s = QUIET_S};
	struct sr_answer answer = {0};
	enum sr_status rc;

	for (size_t k = 0; k < n; k++)
		call.length += (int64_t)(SR_STEP_LEN + (steps[k].from == SR_STEP_NEW ? steps[k].n : 0));
	x->steps = steps;
	x->n = n;
	*x->d->at = steps->at;
	begin_step(x);
	rc = sr_client_call(x->d->s->client, &call, &answer, err);
	*x->http = answer.status;
	sr_answer_free(&answer);
	free(to);
	return rc;
}

/* In as many requests as it takes. */
static enum sr_status send_steps(void *ctx, const struct sr_step *steps, size_t n, struct sr_err *err)
{
	struct sending *x = ctx;
	struct sr_step *some = sr_alloc(n * sizeof *some);
	uint64_t off = 0; /* of the first */
	size_t k = 0;
	enum sr_status rc = SR_OK;

	while (rc == SR_OK && k < n) {
		uint64_t sum = 0;
		size_t m = 0;

		while (k < n && sum < AT_ONCE) {
			struct sr_step s = {steps[k].at + off, steps[k].n - off, steps[k].from == SR_STEP_NEW ? SR_STEP_NEW : steps[k].from + off};

			if (s.n > AT_ONCE - sum) {
				s.n = AT_ONCE - sum;
				off += s.n;
			} else {
				off = 0;
				k++;
			}
			sum += s.n;
			some[m++] = s;
		}
		rc = put(x, some, m, err);
	}
	free(some);
	return rc;
}

enum sr_status sr_sync_upload_delta(struct sr_upload_delta *d, int *http, struct sr_err *err)
{
	struct sending x = {.d = d, .old = {d->s->client, d->old->hash, d->s->r->stores[d->i].name, d->old_path}, .http = http};
	struct sr_delta_ops ops = {.ctx = &x, .far = SR_DELTA_OLD, .soon = ask_spans, .cut = list_pieces, .steps = send_steps};
	enum sr_status rc;

	if (d->old->bytes < SR_DELTA_OLD_LEAST)
		return sr_err_set(err, SR_E_NOTFOUND, "nothing like it is there");
	rc = sr_delta_run(&ops, d->old->bytes, d->leaf->to.bytes, *d->at, err);
	sr_asking_close(&x.asking);
	return rc;
}
