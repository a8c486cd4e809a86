/* mirror.c - `sameroot adopt --mirror`: the datastore's state is taken as it is, once (design section 8).
 *
 * The operator's word is kept in state.db's meta until the round that does it is over, so that a crash repeats it: "*" for all stores, or a
 * name a line.  What it removes or overwrites goes to the conflict archive first, but for what the datastore is known to have held.
 * For all stores it also takes over a history that is held; nothing of this webserver's past means anything in it, so bases and dates are
 * forgotten, and what it pushed before is cancelled.
 * A store that is empty at the datastore is never mirrored over one that is not: that is what an accident there looks like. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/sync/internal.h"

#define META_MIRROR "mirror"
#define ALL         "*"

/* --- the word that was given ------------------------------------------------------------------------------------------------- */

enum sr_status sr_mirror_put(struct sr_state *state, const char *store, struct sr_err *err)
{
	struct sr_buf list = {0};
	bool found;
	enum sr_status rc = store ? sr_state_get(state, META_MIRROR, &list, &found, err) : SR_OK;

	if (rc == SR_OK && !(list.len && list.at[0] == *ALL)) {
		sr_buf_printf(&list, "%s\n", store ? store : ALL);
		rc = sr_state_put(state, META_MIRROR, sr_buf_view(&list), err);
	}
	sr_buf_free(&list);
	return rc;
}

static enum sr_status keep(struct sr_sync *s, struct sr_buf *list, struct sr_err *err)
{
	enum sr_status rc = list->len ? sr_state_put(s->r->state, META_MIRROR, sr_buf_view(list), err)
				      : sr_state_drop(s->r->state, META_MIRROR, err);

	if (rc == SR_OK) {
		sr_buf_clear(&s->mirror);
		sr_buf_bytes(&s->mirror, sr_buf_view(list));
	}
	return rc;
}

enum sr_status sr_sync_mirror_load(struct sr_sync *s, struct sr_err *err)
{
	bool found = false;

	sr_buf_clear(&s->mirror);
	s->quiet = false;
	return sr_state_get(s->r->state, META_MIRROR, &s->mirror, &found, err);
}

enum sr_status sr_sync_mirror(struct sr_sync *s, const char *store, struct sr_err *err)
{
	enum sr_status rc = sr_mirror_put(s->r->state, store, err);

	return rc == SR_OK ? sr_sync_mirror_load(s, err) : rc;
}

bool sr_sync_mirrors_all(const struct sr_sync *s)
{
	return s->mirror.len && s->mirror.at[0] == *ALL;
}

bool sr_sync_mirrors(const struct sr_sync *s, size_t i)
{
	const char *name = s->r->stores[i].name, *at = (const char *)s->mirror.at, *end = at + s->mirror.len, *line;

	if (!s->mirror.len || sr_sync_mirrors_all(s))
		return s->mirror.len > 0;
	for (; at < end; at = line + 1) {
		line = memchr(at, '\n', (size_t)(end - at));
		if ((size_t)(line - at) == strlen(name) && !memcmp(at, name, strlen(name)))
			return true;
	}
	return false;
}

/* --- a history that is held ---------------------------------------------------------------------------------------------------- */

/* Tables may all be empty, as they are there: that is known when they were looked into now.  What cannot be told is taken for content. */
static bool has_rows(const struct sr_sync *s, size_t i)
{
	struct sr_replica_store *st = &s->r->stores[i];
	uint64_t leaves = 0, bytes;
	struct sr_err err;
	bool seen = s->r->keyed && sr_uuid_none(&st->row.pending) && sr_replica_scan(s->r, i, true, NULL, NULL, &err) == SR_OK;

	sr_replica_unview(s->r);
	return !seen || sr_map_counts(s->r->nodes, &st->map, &leaves, &bytes) != SR_OK || leaves;
}

static bool has_leaves(const struct sr_sync *s, size_t i)
{
	const struct sr_replica_store *st = &s->r->stores[i];
	uint64_t leaves = 0, bytes;

	if (st->mode != SR_MODE_READY)
		return false;
	if (st->has_content)
		return st->kind != SR_KIND_DATABASE || has_rows(s, i);
	return sr_map_counts(s->r->nodes, &st->map, &leaves, &bytes) == SR_OK && leaves;
}

/* The store that is empty there, or paused, and not here; r->n: none. */
static size_t emptied(const struct sr_sync *s, bool *paused)
{
	for (size_t i = 0; i < s->r->n; i++) {
		const struct sr_tree_store *there = sr_sync_there(s, i);

		*paused = there && there->paused;
		if (there && (!there->leaves || there->paused) && has_leaves(s, i))
			return i;
	}
	return s->r->n;
}

enum sr_status sr_sync_mirror_accepts(struct sr_sync *s, bool *accepts, struct sr_err *err)
{
	struct sr_buf none = {0};
	bool paused = false;
	size_t i;

	*accepts = sr_sync_mirrors_all(s);
	if (!*accepts)
		return SR_OK;
	sr_replica_look(s->r);
	i = emptied(s, &paused);
	if (i == s->r->n)
		return SR_OK;
	*accepts = false;
	sr_error("the mirror is refused: store %s is %s at the datastore, and not here", s->r->stores[i].name, paused ? "paused" : "empty");
	return keep(s, &none, err);
}

enum sr_status sr_sync_mirror_history(struct sr_sync *s, struct sr_err *err)
{
	enum sr_status rc = sr_state_outbox_drop(s->r->state, err);

	sr_warn("the operator takes the datastore's state as it is: what it removes or overwrites here goes to the conflict archive");
	if (rc == SR_OK)
		rc = sr_sync_forget_past(s, err);
	if (rc == SR_OK)
		rc = sr_sync_cancel_all(s, err);
	return rc == SR_OK ? sr_sync_move_anchor(s, &s->info.at, err) : rc; /* which may be back, or aside */
}

/* --- a store ---------------------------------------------------------------------------------------------------------------------- */

/* The list without those for which it is over. */
static enum sr_status keep_others(struct sr_sync *s, bool (*over)(const struct sr_sync *s, size_t i), size_t only, struct sr_err *err)
{
	struct sr_buf left = {0};
	enum sr_status rc;

	for (size_t i = 0; i < s->r->n; i++)
		if (sr_sync_mirrors(s, i) && i != only && !(over && over(s, i)))
			sr_buf_printf(&left, "%s\n", s->r->stores[i].name);
	rc = keep(s, &left, err);
	sr_buf_free(&left);
	return rc;
}

enum sr_status sr_sync_mirror_judge(struct sr_sync *s, size_t i, const struct sr_hash *remote, struct sr_err *err)
{
	uint64_t here = 0, there = 0, bytes;

	if (!sr_sync_mirrors(s, i) || sr_map_counts(s->r->nodes, &s->r->stores[i].map, &here, &bytes) != SR_OK ||
	    sr_map_counts(s->r->nodes, remote, &there, &bytes) != SR_OK || there || !here)
		return SR_OK;
	sr_error("the mirror is refused: store %s is empty at the datastore, and not here", s->r->stores[i].name);
	return keep_others(s, NULL, i, err);
}

/* Was it done, or can it not be?  A store whose apply failed is tried again. */
static bool is_over(const struct sr_sync *s, size_t i)
{
	const struct sr_store_plan *p = &s->plans[i];

	if (s->r->stores[i].mode == SR_MODE_PAUSED || (!p->compared && !p->failed)) {
		sr_warn("store %s could not be mirrored: %s", s->r->stores[i].name,
			s->r->stores[i].mode == SR_MODE_PAUSED ? s->r->stores[i].why : p->first_skip ? p->first_skip : "it was not compared");
		return true;
	}
	return !p->failed && !p->gone;
}

enum sr_status sr_sync_mirror_end(struct sr_sync *s, bool *again, struct sr_err *err)
{
	enum sr_status rc;

	if (!s->mirror.len || !s->r->keyed)
		return SR_OK;
	rc = keep_others(s, is_over, s->r->n, err);
	*again = rc == SR_OK && !s->mirror.len;
	if (rc == SR_OK && !s->mirror.len)
		sr_info("the mirror is done: what was here and is no more lies in %s/archive, see `sameroot conflicts list`",
			sr_state_dir(s->r->state));
	return rc;
}
