/* serve_internal.h - what serve*.c share. */
#ifndef SR_REPLICA_SERVE_INTERNAL_H
#define SR_REPLICA_SERVE_INTERNAL_H

#include "lib/replica/pieces.h"
#include "lib/replica/serve.h"

/* That of the request's argument, at its `path` or anywhere; as sr_serve_open. */
SR_MUST enum sr_status sr_serve_open_asked(struct sr_serve *sv, struct sr_request *req, struct sr_blob *out, struct sr_err *err);
void sr_blob_reply_mtime(struct sr_request *req, const struct sr_blob *b); /* as a header */

enum sr_status sr_serve_pieces(void *ctx, struct sr_request *req, struct sr_err *err);
enum sr_status sr_serve_parts(void *ctx, struct sr_request *req, struct sr_err *err);

#endif
