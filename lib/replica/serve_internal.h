/* serve_internal.h - what serve*.c share: a content by its hash. */
#ifndef SR_REPLICA_SERVE_INTERNAL_H
#define SR_REPLICA_SERVE_INTERNAL_H

#include "lib/replica/pieces.h"
#include "lib/replica/serve.h"

struct sr_blob { /* needs no store any more */
	struct sr_content content; /* FILE: fd; ROW: the record */
	uint8_t kind;
	uint64_t bytes;
	struct sr_tree_key key;    /* under which it has its hash */
	struct sr_buf record;
};
/* That of the request's argument, at its `path` or anywhere.  *out is OWNED BY CALLER (sr_blob_close) whatever is returned. */
SR_MUST enum sr_status sr_serve_open_blob(struct sr_serve *sv, struct sr_request *req, struct sr_blob *out, struct sr_err *err);
void sr_blob_close(struct sr_blob *b);
void sr_blob_reply_mtime(struct sr_request *req, const struct sr_blob *b); /* as a header */

enum sr_status sr_serve_pieces(void *ctx, struct sr_request *req, struct sr_err *err);
enum sr_status sr_serve_parts(void *ctx, struct sr_request *req, struct sr_err *err);

#endif
