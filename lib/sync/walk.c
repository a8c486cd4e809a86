/* walk.c - the check-in, and fetching the nodes of the datastore's tree that are not here. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/replica/changes.h"
#include "lib/replica/fetch.h"
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
	rc = s->r->keyed ? sr_sync_rekey(s, s->info.key, err) : sr_replica_start(s->r, s->info.key, err);
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

void sr_sync_check_in_header(const struct sr_sync *s, struct sr_buf *out)
{
	sr_buf_printf(out, SR_HEADER_CHECK_IN ": ");
	sr_check_in_print(out, &(struct sr_check_in){.node = s->r->node, .known = s->anchor, .push = s->last_push, .token = s->token});
}

/* No 304 will do: empty. */
static void match_header(const struct sr_sync *s, struct sr_buf *out)
{
	if (s->etag && s->have_info && !s->info_stale && s->have_remote && sr_hash_eq(&s->remote, &s->anchor.root) && !any_paused(&s->info))
		sr_buf_printf(out, "If-None-Match: %s", s->etag);
}

/* The tree of the point that is told with a check-in, if it is here: NULL, it is not. */
static const struct sr_hash *known_tree(const struct sr_sync *s)
{
	if (!s->r->keyed || sr_uuid_none(&s->anchor.instance))
		return NULL;
	if (s->have_remote && sr_hash_eq(&s->remote, &s->anchor.root))
		return &s->remote;
	return sr_hash_eq(&s->r->root, &s->anchor.root) ? &s->r->root : NULL;
}

static bool may_follow(const struct sr_sync *s)
{
	return !s->no_changes && known_tree(s);
}

bool sr_sync_standing(const struct sr_sync *s, struct sr_standing *out)
{
	*out = (struct sr_standing){.at = s->anchor, .push = s->last_push};
	if (!s->have_info || !s->r->keyed)
		return false;
	sr_sync_check_in_header(s, &out->check_in);
	match_header(s, &out->match);
	sr_beside(&s->info, &out->beside);
	out->changes = may_follow(s);
	return true;
}

void sr_sync_take_ahead(struct sr_sync *s, struct sr_ahead *ahead)
{
	sr_ahead_clear(&s->ahead);
	s->ahead = *ahead;
	*ahead = (struct sr_ahead){0};
}

/* Was just that asked a moment ago? */
static bool was_asked(struct sr_sync *s, const struct sr_buf *check, const struct sr_buf *match, struct sr_answer *answer)
{
	bool was = s->ahead.is && sr_bytes_eq(sr_buf_view(check), sr_buf_view(&s->ahead.check_in)) &&
		   sr_bytes_eq(sr_buf_view(match), sr_buf_view(&s->ahead.match));

	s->ahead.is = false; /* whatever is asked later is asked for a reason */
	if (was) {
		sr_answer_free(answer);
		*answer = s->ahead.answer;
		s->ahead.answer = (struct sr_answer){0};
	}
	return was;
}

static enum sr_status ask(struct sr_sync *s, bool want_key, struct sr_answer *answer, struct sr_err *err)
{
	struct sr_buf check = {0}, match = {0}, speaks = {0};
	const char *headers[5] = {0};
	size_t n = 0;
	struct sr_call call = {.target = !want_key && may_follow(s) ? "/api/changes" : "/api/tree", .headers = headers};
	enum sr_status rc = SR_OK;

	sr_sync_check_in_header(s, &check);
	headers[n++] = sr_buf_text(&check);
	if (!want_key)
		match_header(s, &match);
	if (match.len)
		headers[n++] = sr_buf_text(&match);
	if (!match.len || s->trouble[0]) { /* a 304 comes only from the very start that took it, and every 200 tells its own */
		sr_protocol_header(&speaks, s->version);
		headers[n++] = sr_buf_text(&speaks);
	}
	if (want_key)
		headers[n++] = SR_HEADER_KEY ": want";
	if (want_key || !was_asked(s, &check, &match, answer))
		rc = sr_client_call(s->client, &call, answer, err);
	if (rc == SR_E_NOTFOUND && strcmp(call.target, "/api/tree") != 0) {
		s->no_changes = true;
		call.target = "/api/tree";
		sr_answer_free(answer);
		rc = sr_client_call(s->client, &call, answer, err);
	}
	sr_buf_free(&check);
	sr_buf_free(&speaks);
	sr_buf_free(&match);
	return rc;
}

static void keep_etag(struct sr_sync *s, const char *etag)
{
	free(s->etag);
	s->etag = etag ? sr_strdup(etag) : NULL;
}

/* A datastore that knows our point is at it or further on.  Who says otherwise tells an answer that is not for us, or was so long ago: by it what is newer
 * here would be undone. */
static bool follows(const struct sr_anchor *ours, const struct sr_tree_info *info)
{
	const struct sr_anchor *theirs = &info->at;
	bool same = memcmp(&ours->instance, &theirs->instance, sizeof ours->instance) == 0;

	if (info->history == SR_HISTORY_FIRST)
		return sr_uuid_none(&ours->instance) && !sr_uuid_none(&theirs->instance);
	if (info->history == SR_HISTORY_KNOWN || info->history == SR_HISTORY_FORGOTTEN)
		return same && !sr_is_later(ours->epoch, ours->seq, theirs->epoch, theirs->seq) &&
		       (ours->epoch != theirs->epoch || ours->seq != theirs->seq || sr_hash_eq(&ours->root, &theirs->root));
	return info->history != SR_HISTORY_UNION || !same || theirs->epoch > ours->epoch;
}

static enum sr_status check_history(const struct sr_sync *s, const struct sr_tree_info *info, struct sr_err *err)
{
	if (follows(&s->anchor, info))
		return SR_OK;
	return sr_err_set(err, SR_E_DATA,
			  "answer of /api/tree: \"%s\" cannot be said to epoch %" PRIu64 " seq %" PRIu64 " at epoch %" PRIu64 " seq %" PRIu64 " of %s: not taken",
			  sr_history_text(info->history), s->anchor.epoch, s->anchor.seq, info->at.epoch, info->at.seq,
			  memcmp(&s->anchor.instance, &info->at.instance, sizeof info->at.instance) ? "another instance" : "the same instance");
}

static enum sr_status ask_and_parse(struct sr_sync *s, bool want_key, bool *unchanged, struct sr_err *err)
{
	struct sr_answer answer = {0};
	struct sr_bytes json, changes;
	struct sr_tree_info info;
	enum sr_status rc = ask(s, want_key, &answer, err);

	sr_buf_clear(&s->changes);
	if (rc == SR_OK && answer.status == 304 && s->have_info) {
		*unchanged = true; /* which also says that it knows our history and our last push */
		s->info.history = SR_HISTORY_KNOWN;
		s->info.push = s->last_push;
	} else if (rc == SR_OK) {
		*unchanged = false;
		sr_changes_split(sr_buf_view(&answer.body), &json, &changes);
		rc = sr_tree_info_parse(json, &info, err);
		if (rc == SR_OK && check_history(s, &info, err) != SR_OK) {
			sr_tree_info_free(&info);
			rc = SR_E_DATA;
		}
		if (rc == SR_OK) {
			sr_buf_bytes(&s->changes, changes);
			s->no_changes &= s->have_info && !memcmp(&s->info.start, &info.start, sizeof info.start); /* it may be another version now */
			if (s->have_info)
				sr_tree_info_free(&s->info);
			s->info = info;
			s->have_info = true;
			s->info_stale = false;
			keep_etag(s, sr_answer_header(&answer, "ETag"));
		}
	}
	sr_answer_free(&answer);
	return rc;
}

enum sr_status sr_sync_check_in(struct sr_sync *s, bool *unchanged, struct sr_err *err)
{
	enum sr_status rc = sr_sync_token_exchange(s, err);
	bool taken;

	if (rc != SR_OK && !(rc == SR_E_FULL && s->no_room_there))
		return rc;
	rc = ask_and_parse(s, !s->r->keyed, unchanged, err);
	if (rc == SR_E_CHANGED) {
		rc = sr_sync_token_again(s, err);
		if (rc != SR_OK)
			return rc;
		rc = ask_and_parse(s, !s->r->keyed, unchanged, err);
	}
	if (rc == SR_OK && !*unchanged && s->r->keyed && !sr_hash_eq(&s->r->key.id, &s->info.key_id))
		rc = ask_and_parse(s, true, unchanged, err);
	s->met |= rc == SR_OK;
	if (rc == SR_OK)
		sr_lag_met(&s->lag, s->info.history >= SR_HISTORY_AHEAD || !s->have_remote || !sr_hash_eq(&s->remote, &s->info.at.root));
	/* A held datastore's key is not taken: nothing here changes for its sake, unless the operator says so. */
	s->mirrors_history = false;
	if (rc == SR_OK && s->info.history >= SR_HISTORY_AHEAD)
		rc = sr_sync_mirror_accepts(s, &s->mirrors_history, err);
	taken = s->info.history < SR_HISTORY_AHEAD || s->mirrors_history;
	if (rc == SR_OK && !*unchanged && taken)
		rc = take_key(s, err);
	if (rc == SR_OK && taken)
		sr_sync_exclude(s);
	return rc == SR_OK ? rc : sr_err_context(err, "check-in");
}

/* --- the walk ---------------------------------------------------------------------------------------------------------------- */

/* The nearest tree that both have: the datastore's last root, else ours. */
static const struct sr_hash *counterpart(const struct sr_sync *s)
{
	return s->have_remote ? &s->remote : &s->r->root;
}

static void lock_replica(void *ctx, bool lock)
{
	if (lock)
		sr_replica_write_lock(ctx);
	else
		sr_replica_unlock(ctx);
}

static void set_remote(struct sr_sync *s, const struct sr_hash *root)
{
	sr_nodes_hold(s->r->nodes, root);
	if (s->have_remote)
		sr_nodes_release(s->r->nodes, &s->remote);
	s->remote = *root;
	s->have_remote = true;
}

/* Do the changes that came lead from what is known here to `root`?  If not, nothing of them is looked at. */
static bool follow_changes(struct sr_sync *s, const struct sr_hash *root)
{
	const struct sr_hash *from = known_tree(s);
	struct sr_hash got;
	struct sr_err err;
	bool is;

	if (!s->changes.len || !from)
		return false;
	sr_replica_write_lock(s->r);
	is = sr_changes_apply(s->r->nodes, from, sr_buf_view(&s->changes), &got, &err) == SR_OK;
	if (is && !sr_hash_eq(&got, root))
		is = sr_err_set(&err, SR_E_DATA, "changes: they come to another root") == SR_OK;
	if (is)
		set_remote(s, root);
	sr_nodes_sweep(s->r->nodes);
	sr_replica_unlock(s->r);
	if (!is) {
		sr_debug("check-in: %s: the datastore's tree is walked", err.text);
		sr_buf_clear(&s->changes);
	}
	return is;
}

struct looking { /* for one change */
	struct sr_bytes store, path;
	const struct sr_version *version;
	struct sr_change *out;
	bool found;
};

static enum sr_status is_it(void *ctx, size_t commit, const struct sr_change *c, struct sr_err *err)
{
	struct looking *l = ctx;
	bool has = c->has_content || c->leaf.record.len;

	(void)commit, (void)err;
	if (has && sr_bytes_eq(c->store, l->store) && sr_bytes_eq(c->leaf.path, l->path) && sr_version_eq(&c->leaf.to, l->version)) {
		*l->out = *c;
		l->found = true;
	}
	return SR_OK;
}

bool sr_sync_came_along(const struct sr_sync *s, size_t i, struct sr_bytes path, const struct sr_version *version, struct sr_change *out)
{
	struct looking l = {.store = sr_bytes_of(s->r->stores[i].name), .path = path, .version = version, .out = out};

	return s->changes.len && sr_changes_each(sr_buf_view(&s->changes), is_it, &l, NULL) == SR_OK && l.found;
}

/* The root in the ETag that is told from now on: the rest of it stays. */
static void move_etag(struct sr_sync *s, const struct sr_hash *root)
{
	char text[SR_HASH_TEXT];

	sr_hash_text(text, root);
	if (s->etag && strlen(s->etag) > sizeof text && s->etag[0] == '"')
		memcpy(s->etag + 1, text, sizeof text - 1);
}

void sr_sync_follow_push(struct sr_sync *s)
{
	struct sr_tree_info *info = &s->info;

	if (!s->have_remote || !s->have_info || s->info_stale || sr_hash_eq(&s->remote, &s->anchor.root) ||
	    !sr_hash_eq(&s->r->root, &s->anchor.root) || !sr_hash_eq(&s->remote, &info->at.root) ||
	    memcmp(&info->at.instance, &s->anchor.instance, sizeof info->at.instance) != 0 || info->at.epoch != s->anchor.epoch)
		return;
	sr_replica_write_lock(s->r);
	set_remote(s, &s->anchor.root);
	sr_nodes_sweep(s->r->nodes);
	sr_replica_unlock(s->r);
	for (size_t i = 0; i < info->n; i++)
		if (info->stores[i].approved_seq == info->at.seq)
			info->stores[i].approved_seq = s->anchor.seq;
	info->at = s->anchor;
	info->push = s->last_push;
	move_etag(s, &s->anchor.root);
}

/* The listing and the tree are of one datastore: what a store is must be the same in both. */
static enum sr_status check_kinds(const struct sr_sync *s, const struct sr_hash *root, struct sr_err *err)
{
	struct sr_entry e;

	for (size_t k = 0; k < s->info.n; k++) {
		const struct sr_tree_store *t = &s->info.stores[k];

		if (sr_map_get(s->r->nodes, root, sr_bytes_of(t->name), &e) == SR_OK && e.kind != t->kind)
			return sr_err_set(err, SR_E_DATA, "%s: store %s: of kind %u in its tree, and of kind %u in its answer of /api/tree", sr_client_url(s->client),
					  t->name, e.kind, t->kind);
	}
	return SR_OK;
}

enum sr_status sr_sync_walk(struct sr_sync *s, struct sr_err *err)
{
	struct sr_hash root = s->info.at.root;
	enum sr_status rc;

	if ((s->have_remote && sr_hash_eq(&s->remote, &root)) || follow_changes(s, &root))
		return SR_OK;
	rc = sr_fetch_nodes(s->r->nodes, s->client, &root, counterpart(s), lock_replica, s->r, err);
	if (rc == SR_OK)
		rc = check_kinds(s, &root, err);
	sr_replica_write_lock(s->r);
	if (rc == SR_OK)
		set_remote(s, &root);
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
