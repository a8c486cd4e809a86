/* fetch.c - see fetch.h. */
#include "lib/replica/fetch.h"

#include <stdlib.h>
#include <string.h>

#include "lib/replica/wire.h"

static enum sr_status put_frames(struct sr_nodes *nodes, struct sr_bytes body, struct sr_err *err)
{
	struct sr_reader in = sr_reader(body);
	enum sr_status rc = SR_OK;

	if (!body.len)
		return sr_err_set(err, SR_E_DATA, "answer of /api/tree/nodes: empty");
	while (rc == SR_OK && sr_read_left(&in)) {
		struct sr_bytes frame = sr_read_bytes(&in, sr_read_be32(&in));
		struct sr_hash hash;

		if (in.bad || frame.len < SR_HASH_LEN)
			return sr_err_set(err, SR_E_DATA, "answer of /api/tree/nodes: malformed frame");
		memcpy(hash.b, frame.at, SR_HASH_LEN);
		rc = sr_nodes_put(nodes, &hash, sr_bytes(frame.at + SR_HASH_LEN, frame.len - SR_HASH_LEN), err);
	}
	return rc;
}

static enum sr_status ask_pairs(struct sr_client *client, const struct sr_pair *pairs, size_t n, struct sr_answer *answer,
				struct sr_err *err)
{
	struct sr_buf body = {0};
	struct sr_call call = {.method = "POST", .target = "/api/tree/nodes", .max_answer = SR_WALK_BYTES + 2 * SR_NODE_MAX};
	enum sr_status rc;

	for (size_t k = 0; k < n; k++) {
		sr_buf_add(&body, pairs[k].wanted.b, SR_HASH_LEN);
		sr_buf_add(&body, pairs[k].mine.b, SR_HASH_LEN);
	}
	call.body = sr_buf_view(&body);
	rc = sr_client_call(client, &call, answer, err);
	sr_buf_free(&body);
	return rc;
}

enum sr_status sr_fetch_nodes(struct sr_nodes *nodes, struct sr_client *client, const struct sr_hash *root, const struct sr_hash *mine,
			      sr_fetch_lock_fn *lock, void *ctx, struct sr_err *err)
{
	struct sr_pair *pairs = sr_alloc(SR_WALK_PAIRS * sizeof *pairs);
	enum sr_status rc = SR_OK;
	size_t n = 1;

	/* Each trip brings at least one node that was missing, so this ends. */
	while (rc == SR_OK && n) {
		struct sr_answer answer = {0};

		rc = sr_walk_missing(nodes, root, mine, pairs, SR_WALK_PAIRS, &n, err);
		if (rc == SR_OK && n)
			rc = ask_pairs(client, pairs, n, &answer, err);
		if (rc == SR_OK && n) {
			if (lock)
				lock(ctx, true);
			rc = put_frames(nodes, sr_buf_view(&answer.body), err);
			if (lock)
				lock(ctx, false);
		}
		sr_answer_free(&answer);
	}
	free(pairs);
	return rc;
}
