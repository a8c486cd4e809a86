/* serve_pieces.c - a file that the other side has an older version of: how it is cut, and the parts of it that are asked for.
 *
 * A list is sent as it is made, so that the other side is never left without a word; what it costs here is bounded by one reading of the file. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/replica/serve_internal.h"

#define CHUNK (256u << 10)
#define FLUSH 4096 /* bytes of a list that go out at once */

struct serving {
	struct sr_request *req;
	struct sr_blob blob;
	struct sr_range *ranges;
	size_t n;
	struct sr_buf out;
};

static enum sr_status open_ranges(struct serving *v, struct sr_serve *sv, struct sr_request *req, struct sr_err *err)
{
	struct sr_buf body = {0};
	enum sr_status rc = sr_request_read_all(req, &body, SR_RANGES_MOST * SR_RANGE_LEN, err);

	*v = (struct serving){.req = req, .blob.content.fd = -1};
	if (rc == SR_OK)
		rc = sr_serve_open_asked(sv, req, &v->blob, err);
	if (rc == SR_OK && v->blob.kind != SR_KIND_FILE)
		rc = sr_err_set(err, SR_E_NOTFOUND, "no file has this content");
	if (rc == SR_OK)
		rc = sr_ranges_read(sr_buf_view(&body), v->blob.bytes, &v->ranges, &v->n, err);
	if (rc == SR_OK)
		sr_blob_reply_mtime(req, &v->blob);
	sr_buf_free(&body);
	return rc;
}

static void end(struct serving *v)
{
	free(v->ranges);
	sr_buf_free(&v->out);
	sr_blob_close(&v->blob);
}

static enum sr_status flush(struct serving *v, struct sr_err *err)
{
	enum sr_status rc = v->out.len ? sr_reply_write(v->req, v->out.at, v->out.len, err) : SR_OK;

	sr_buf_clear(&v->out);
	return rc;
}

static enum sr_status add_piece(void *ctx, const struct sr_piece *piece, struct sr_err *err)
{
	struct serving *v = ctx;

	sr_piece_write(&v->out, piece);
	return v->out.len < FLUSH ? SR_OK : flush(v, err);
}

static bool parse_unit(const struct sr_request *req, uint32_t *out)
{
	const char *text = sr_request_query_text(req, "unit");
	char *rest = NULL;
	unsigned long v = text && *text >= '1' && *text <= '9' ? strtoul(text, &rest, 10) : 0;

	if (!rest || *rest || !sr_cut_is_unit(v))
		return false;
	*out = (uint32_t)v;
	return true;
}

enum sr_status sr_serve_pieces(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct serving v;
	uint32_t unit;
	enum sr_status rc;

	if (!parse_unit(req, &unit))
		return sr_err_set(err, SR_E_DATA, "unit is %u, %u or %u", SR_CUT_SPAN, SR_CUT_CHUNK, SR_CUT_BLOCK);
	rc = open_ranges(&v, ctx, req, err);
	if (rc == SR_OK) {
		sr_reply_start(req, 200, "application/octet-stream", -1);
		rc = sr_pieces_cut(v.blob.content.fd, &v.blob.key, v.ranges, v.n, unit, add_piece, &v, err);
		if (rc == SR_OK)
			rc = flush(&v, err);
		if (rc == SR_OK)
			sr_reply_end(req);
	}
	end(&v);
	return rc;
}

static enum sr_status send_range(struct serving *v, const struct sr_range *range, uint8_t *chunk, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (uint64_t done = 0; rc == SR_OK && done < range->n;) {
		uint64_t left = range->n - done;
		ssize_t got = pread(v->blob.content.fd, chunk, left < CHUNK ? left : CHUNK, (off_t)(range->at + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return sr_err_set(err, SR_E_CHANGED, "a file is shorter than it was");
		rc = sr_reply_write(v->req, chunk, (size_t)got, err);
		done += (uint64_t)got;
	}
	return rc;
}

enum sr_status sr_serve_parts(void *ctx, struct sr_request *req, struct sr_err *err)
{
	uint8_t *chunk = sr_alloc(CHUNK);
	struct serving v;
	uint64_t sum = 0;
	enum sr_status rc = open_ranges(&v, ctx, req, err);

	for (size_t k = 0; rc == SR_OK && k < v.n; k++)
		sum += v.ranges[k].n;
	if (rc == SR_OK) {
		sr_reply_start(req, 200, "application/octet-stream", (int64_t)sum);
		for (size_t k = 0; rc == SR_OK && k < v.n; k++)
			rc = send_range(&v, &v.ranges[k], chunk, err);
		if (rc == SR_OK)
			sr_reply_end(req);
	}
	end(&v);
	free(chunk);
	return rc;
}
