/* ask.h - what is asked of another node about a file that it has: its content, how it is cut, parts of it. */
#ifndef SR_REPLICA_ASK_H
#define SR_REPLICA_ASK_H

#include "http/client.h"
#include "lib/replica/pieces.h"

struct sr_blob_at { /* a file of another node; all BORROWED */
	struct sr_client *client;
	struct sr_hash hash;
	const char *store;
	struct sr_bytes path; /* where it has this content */
};
/* Its path as a request's parameter, after `mark`; nothing, if that would make the request too long: then it is looked for everywhere. */
void sr_blob_hint(struct sr_buf *target, char mark, const struct sr_blob_at *b);
/* "/api/blob/HASH" `rest` "?" `query`, with its hint; OWNED BY CALLER (free). */
char *sr_blob_target(const struct sr_blob_at *b, const char *rest, const char *query);
/* What an answer says of its time of modification. */
SR_MUST enum sr_status sr_blob_mtime(const struct sr_answer *answer, int64_t *out, struct sr_err *err);

struct sr_asking { /* {0}; a request under way, which is the client's one call */
	char *target;
	struct sr_buf body;
	struct sr_answer answer;
	struct sr_stream *stream;
	int64_t mtime_ns; /* of the file */
};
/* POST ranges of it; until sr_asking_close, whatever this returns. */
SR_MUST enum sr_status sr_asking_open(struct sr_asking *a, const struct sr_blob_at *b, const char *rest, const char *query,
				      const struct sr_range *ranges, size_t n, struct sr_err *err);
SR_MUST enum sr_status sr_asking_open_pieces(struct sr_asking *a, const struct sr_blob_at *b, const struct sr_range *ranges, size_t n,
					     uint32_t unit, struct sr_err *err); /* at most SR_RANGES_MOST */
SR_MUST enum sr_status sr_asking_read_pieces(struct sr_asking *a, const struct sr_range *ranges, size_t n, uint32_t unit, struct sr_pieces *out,
					     struct sr_err *err);
void sr_asking_close(struct sr_asking *a);

/* The pieces of any number of ranges, appended to *out.  If *a is open, with the first of them, it is read; it is closed afterwards. */
SR_MUST enum sr_status sr_ask_pieces(struct sr_asking *a, const struct sr_blob_at *b, const struct sr_range *ranges, size_t n, uint32_t unit,
				     struct sr_pieces *out, struct sr_err *err);

#endif
