/* walk.c - the check-in, and fetching the nodes of the datastore's tree that are not here. */
#include <stdlib.h>
#include <string.h>

#include "lib/sync/internal.h"

/* --- GET /api/tree ---------------------------------------------------------------------------------------------------- */

static void forget_remote(struct sr_sync *s)
{
	if (s->have_remote) {
		sr_replica_write_lock(s->r);
		sr_nodes_release(s->r->nodes, &s->remote);
		sr_replica_unlock(s->r);
	}
	s->have_remote = false;
}

/* The key comes with the first answer; another key than ours means that every hash is meaningless. */
static enum sr_status take_key(struct sr_sync *s, struct sr_err *err)
{
	enum sr_status rc;

	if (s->r->keyed && sr_hash_eq(&s->r->key.id, &s->info.key_id))
		return SR_OK;
	if (!s->info.has_key)
		return sr_err_set(err, SR_E_DATA, "answer of /api/tree: no tree key, though it was asked for");
	forget_remote(s);
	for (size_t i = 0; i < s->r->n; i++)
		sr_store_plan_clear(&s->plans[i]);
	free(s->plans);
	s->plans = NULL;
	s->quiet = false;
	rc = sr_replica_start(s->r, s->info.key, err);
	if (rc == SR_OK)
		s->plans = sr_alloc((s->r->n + 1) * sizeof *s->plans);
	return rc;
}

/* That a store goes on does not show in the root. */
static bool any_paused(const struct sr_tree_info *info)
{
	for (size_t k = 0; k < info->n; k++)
		if (info->stores[k].paused)
			return true;
	return false;
}

static enum sr_status ask(struct sr_sync *s, bool want_key, struct sr_answer *answer, struct sr_err *err)
{
	struct sr_buf check = {0}, match = {0};
	char root[SR_HASH_TEXT];
	const char *headers[4] = {0};
	size_t n = 0;
	struct sr_call call = {.target = "/api/tree", .headers = headers};
	enum sr_status rc;

	sr_buf_printf(&check, SR_HEADER_CHECK_IN ": ");
	sr_check_in_print(&check, &(struct sr_check_in){.node = s->r->node, .known = s->anchor, .push = s->last_push});
	headers[n++] = sr_buf_text(&check);
	if (s->have_info && s->have_remote && sr_hash_eq(&s->remote, &s->anchor.root) && !want_key && !any_paused(&s->info)) {
		sr_hash_text(root, &s->anchor.root);
		sr_buf_printf(&match, "If-None-Match: \"%s\"", root);
		headers[n++] = sr_buf_text(&match);
	}
	if (want_key)
		headers[n++] = SR_HEADER_KEY ": want";
	rc = sr_client_call(s->client, &call, answer, err);
	sr_buf_free(&check);
	sr_buf_free(&match);
	return rc;
}

static enum sr_status ask_and_parse(struct sr_sync *s, bool want_key, bool *unchanged, struct sr_err *err)
{
	struct sr_answer answer = {0};
	struct sr_tree_info info;
	enum sr_status rc = ask(s, want_key, &answer, err);

	if (rc == SR_OK && answer.status == 304 && s->have_info) {
		*unchanged = true; /* which also says that it knows our history and our last push */
		s->info.history = SR_HISTORY_KNOWN;
		s->info.push = s->last_push;
	} else if (rc == SR_OK) {
		*unchanged = false;
		rc = sr_tree_info_parse(sr_buf_view(&answer.body), &info, err);
		if (rc == SR_OK) {
			if (s->have_info)
				sr_tree_info_free(&s->info);
			s->info = info;
			s->have_info = true;
		}
	}
	sr_answer_free(&answer);
	return rc;
}

enum sr_status sr_sync_check_in(struct sr_sync *s, bool *unchanged, struct sr_err *err)
{
	enum sr_status rc = ask_and_parse(s, !s->r->keyed, unchanged, err);

	if (rc == SR_OK && !*unchanged && s->r->keyed && !sr_hash_eq(&s->r->key.id, &s->info.key_id))
		rc = ask_and_parse(s, true, unchanged, err);
	/* A held datastore's key is not taken: nothing here changes for its sake. */
	if (rc == SR_OK && !*unchanged && s->info.history < SR_HISTORY_AHEAD)
		rc = take_key(s, err);
	return rc == SR_OK ? rc : sr_err_context(err, "check-in");
}

/* --- the walk ---------------------------------------------------------------------------------------------------------------- */

static enum sr_status put_nodes(struct sr_sync *s, struct sr_bytes body, struct sr_err *err)
{
	struct sr_reader in = sr_reader(body);
	enum sr_status rc = SR_OK;

	while (rc == SR_OK && sr_read_left(&in)) {
		uint32_t len = sr_read_be32(&in);
		struct sr_bytes frame = sr_read_bytes(&in, len);
		struct sr_hash hash;

		if (in.bad || frame.len < SR_HASH_LEN)
			return sr_err_set(err, SR_E_DATA, "answer of /api/tree/nodes: malformed frame");
		memcpy(hash.b, frame.at, SR_HASH_LEN);
		rc = sr_nodes_put(s->r->nodes, &hash, sr_bytes(frame.at + SR_HASH_LEN, frame.len - SR_HASH_LEN), err);
	}
	return rc;
}

static enum sr_status fetch_nodes(struct sr_sync *s, const struct sr_pair *pairs, size_t n, struct sr_err *err)
{
	struct sr_buf body = {0};
	struct sr_answer answer = {0};
	struct sr_call call = {.method = "POST", .target = "/api/tree/nodes", .max_answer = SR_WALK_BYTES + 2 * SR_NODE_MAX};
	enum sr_status rc;

	for (size_t k = 0; k < n; k++) {
		sr_buf_add(&body, pairs[k].wanted.b, SR_HASH_LEN);
		sr_buf_add(&body, pairs[k].mine.b, SR_HASH_LEN);
	}
	call.body = sr_buf_view(&body);
	rc = sr_client_call(s->client, &call, &answer, err);
	if (rc == SR_OK && !answer.body.len)
		rc = sr_err_set(err, SR_E_DATA, "answer of /api/tree/nodes: empty");
	if (rc == SR_OK) {
		sr_replica_write_lock(s->r);
		rc = put_nodes(s, sr_buf_view(&answer.body), err);
		sr_replica_unlock(s->r);
	}
	sr_answer_free(&answer);
	sr_buf_free(&body);
	return rc;
}

/* The nearest tree that both have: the datastore's last root, else ours. */
static const struct sr_hash *counterpart(const struct sr_sync *s)
{
	return s->have_remote ? &s->remote : &s->r->root;
}

enum sr_status sr_sync_walk(struct sr_sync *s, struct sr_err *err)
{
	struct sr_pair *pairs;
	struct sr_hash root = s->info.at.root;
	enum sr_status rc = SR_OK;
	size_t n = 1;

	if (s->have_remote && sr_hash_eq(&s->remote, &root))
		return SR_OK;
	pairs = sr_alloc(SR_WALK_PAIRS * sizeof *pairs);
	/* Each trip brings at least one node that was missing, so this ends. */
	while (rc == SR_OK && n) {
		rc = sr_walk_missing(s->r->nodes, &root, counterpart(s), pairs, SR_WALK_PAIRS, &n, err);
		if (rc == SR_OK && n)
			rc = fetch_nodes(s, pairs, n, err);
	}
	free(pairs);
	sr_replica_write_lock(s->r);
	if (rc == SR_OK) {
		sr_nodes_hold(s->r->nodes, &root);
		if (s->have_remote)
			sr_nodes_release(s->r->nodes, &s->remote);
		s->remote = root;
		s->have_remote = true;
	}
	sr_nodes_sweep(s->r->nodes);
	sr_replica_unlock(s->r);
	return rc == SR_OK ? rc : sr_err_context(err, "walk");
}

bool sr_sync_remote_map(const struct sr_sync *s, size_t i, struct sr_hash *map, const char **why)
{
	for (size_t k = 0; k < s->info.n; k++) {
		const struct sr_tree_store *t = &s->info.stores[k];
		struct sr_entry e;

		if (strcmp(t->name, s->r->stores[i].name) != 0)
			continue;
		*why = t->paused                         ? "it is paused at the datastore"
		       : t->kind != s->r->stores[i].kind ? "it is of another kind at the datastore"
							 : NULL;
		/* The hash comes from the tree that was verified down from the root, not from the listing beside it. */
		if (!*why && sr_map_get(s->r->nodes, &s->remote, sr_bytes_of(t->name), &e) == SR_OK) {
			*map = e.hash;
			return true;
		}
		if (!*why)
			*why = "the datastore's tree does not hold it";
		return false;
	}
	*why = "the datastore has no store of this name";
	return false;
}
