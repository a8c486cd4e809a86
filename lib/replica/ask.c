/* ask.c - see ask.h. */
#include "lib/replica/ask.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/leaf/leaf.h"
#include "lib/replica/wire.h"

#define CHUNK    (16u << 10)
#define HINT_MAX 2048 /* bytes of a path in a request's line */
#define QUIET_S  300 /* it may be busy cutting, or we with what it said */

void sr_blob_hint(struct sr_buf *target, char mark, const struct sr_blob_at *b)
{
	struct sr_buf text = {0};

	sr_leaf_path_text(&text, b->store, SR_KIND_FILES, b->path);
	if (text.len <= HINT_MAX) {
		sr_buf_printf(target, "%cpath=", mark);
		sr_percent(target, sr_buf_view(&text), "/");
	}
	sr_buf_free(&text);
}

char *sr_blob_target(const struct sr_blob_at *b, const char *rest, const char *query)
{
	struct sr_buf target = {0};
	char hash[SR_HASH_TEXT];

	sr_hash_text(hash, &b->hash);
	sr_buf_printf(&target, "/api/blob/%s%s", hash, rest);
	if (*query)
		sr_buf_printf(&target, "?%s", query);
	sr_blob_hint(&target, *query ? '&' : '?', b);
	return (char *)sr_buf_text(&target);
}

enum sr_status sr_blob_mtime(const struct sr_answer *answer, int64_t *out, struct sr_err *err)
{
	const char *text = sr_answer_header(answer, SR_HEADER_MTIME);
	char end;

	return text && sscanf(text, "%" SCNd64 "%c", out, &end) == 1 ? SR_OK : sr_err_set(err, SR_E_DATA, "blob: without its mtime");
}

enum sr_status sr_asking_open(struct sr_asking *a, const struct sr_blob_at *b, const char *rest, const char *query,
			      const struct sr_range *ranges, size_t n, struct sr_err *err)
{
	struct sr_call call = {.method = "POST", .quiet_s = QUIET_S};
	enum sr_status rc;

	a->target = sr_blob_target(b, rest, query);
	sr_ranges_write(&a->body, ranges, n);
	call.target = a->target;
	call.body = sr_buf_view(&a->body);
	rc = sr_client_open(b->client, &call, &a->answer, &a->stream, err);
	return rc == SR_OK ? sr_blob_mtime(&a->answer, &a->mtime_ns, err) : rc;
}

enum sr_status sr_asking_open_pieces(struct sr_asking *a, const struct sr_blob_at *b, const struct sr_range *ranges, size_t n, uint32_t unit,
				     struct sr_err *err)
{
	char *query = sr_format("unit=%u", unit);
	enum sr_status rc = sr_asking_open(a, b, "/pieces", query, ranges, n, err);

	free(query);
	return rc;
}

enum sr_status sr_asking_read_pieces(struct sr_asking *a, const struct sr_range *ranges, size_t n, uint32_t unit, struct sr_pieces *out,
				     struct sr_err *err)
{
	struct sr_pieces_reader r = {.ranges = ranges, .n = n, .unit = unit};
	uint8_t *chunk = sr_alloc(CHUNK);
	enum sr_status rc = SR_OK;
	size_t got = 1;

	while (rc == SR_OK && got) {
		rc = sr_stream_read(a->stream, chunk, CHUNK, &got, err);
		if (rc == SR_OK)
			rc = sr_pieces_read(&r, sr_bytes(chunk, got), out, err);
	}
	free(chunk);
	return rc == SR_OK ? sr_pieces_read_end(&r, err) : rc;
}

void sr_asking_close(struct sr_asking *a)
{
	sr_stream_close(a->stream);
	sr_answer_free(&a->answer);
	sr_buf_free(&a->body);
	free(a->target);
	*a = (struct sr_asking){.mtime_ns = a->mtime_ns};
}

enum sr_status sr_ask_pieces(struct sr_asking *a, const struct sr_blob_at *b, const struct sr_range *ranges, size_t n, uint32_t unit,
			     struct sr_pieces *out, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	while (rc == SR_OK && n) {
		size_t some = n < SR_RANGES_MOST ? n : SR_RANGES_MOST;

		if (!a->stream)
			rc = sr_asking_open_pieces(a, b, ranges, some, unit, err);
		if (rc == SR_OK)
			rc = sr_asking_read_pieces(a, ranges, some, unit, out, err);
		sr_asking_close(a);
		ranges += some;
		n -= some;
	}
	return rc;
}
