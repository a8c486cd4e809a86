/* tree.c - what this webserver holds, told to who asks for it: its tree, as of when that is, and what is not in it.  sameroot-restore rebuilds a
 * datastore from it, so it is kept up to date also while no round goes through. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/sync/internal.h"

/* --- while the datastore is away ------------------------------------------------------------------------------------------- */

/* An apply that was cut short is recovered by the next round; until then its store is not looked into. */
static bool may_be_scanned(const struct sr_replica_store *st)
{
	return st->mode == SR_MODE_READY && sr_uuid_none(&st->row.pending);
}

void sr_sync_scan_alone(struct sr_sync *s)
{
	struct sr_err err;
	int64_t now = sr_ticks_ms();

	if (!s->r->keyed || (s->scanned_ms && now - s->scanned_ms < (int64_t)s->config->update_interval * 1000))
		return;
	sr_replica_look(s->r);
	for (size_t i = 0; i < s->r->n; i++)
		if (may_be_scanned(&s->r->stores[i]) && sr_replica_scan(s->r, i, true, NULL, NULL, &err) != SR_OK)
			sr_debug("%s", err.text);
	sr_replica_unview(s->r);
	sr_replica_reroot(s->r);
	s->scanned_ms = now ? now : 1;
}

/* --- GET /api/tree ------------------------------------------------------------------------------------------------------------ */

static void describe(const struct sr_sync *s, const struct sr_replica_store *st, struct sr_tree_store *out)
{
	*out = (struct sr_tree_store){.name = sr_strdup(st->name), .kind = st->kind, .map = st->map, .unknown = st->scan.unknowns};
	out->epoch = st->row.epoch;
	out->seq = st->row.seq;
	if (st->row.base_known && sr_is_later(s->as_of_epoch, s->as_of_seq, out->epoch, out->seq)) {
		out->epoch = s->as_of_epoch;
		out->seq = s->as_of_seq;
	}
	if (st->mode == SR_MODE_PAUSED)
		out->paused = sr_strdup(st->why);
	if (sr_map_counts(s->r->nodes, &st->map, &out->leaves, &out->bytes) != SR_OK)
		out->leaves = out->bytes = 0;
}

/* By the owner, when a round is over. */
void sr_sync_publish_tree(struct sr_sync *s)
{
	struct sr_tree_info info = {.at = s->anchor, .node = s->r->node}, old;

	if (!s->r->keyed)
		return;
	info.at.root = s->r->root;
	info.key_id = s->r->key.id;
	info.has_key = true;
	memcpy(info.key, s->r->key.secret, sizeof info.key);
	info.n = s->r->n;
	info.stores = sr_alloc((s->r->n + 1) * sizeof *info.stores);
	for (size_t i = 0; i < s->r->n; i++)
		describe(s, &s->r->stores[i], &info.stores[i]);
	pthread_mutex_lock(&s->report_lock);
	old = s->tree;
	s->tree = info;
	pthread_mutex_unlock(&s->report_lock);
	sr_tree_info_free(&old);
}

bool sr_sync_has_tree(struct sr_sync *s)
{
	bool has;

	pthread_mutex_lock(&s->report_lock);
	has = s->tree.has_key;
	pthread_mutex_unlock(&s->report_lock);
	return has;
}

enum sr_status sr_sync_tree(struct sr_sync *s, bool want_key, struct sr_buf *out, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	pthread_mutex_lock(&s->report_lock);
	if (!s->tree.has_key) {
		rc = sr_err_set(err, SR_E_UNAVAILABLE,
				"this webserver does not know its tree yet: no round has ended since it started, or it never reached a datastore");
	} else {
		struct sr_tree_info info = s->tree;

		info.has_key = want_key;
		sr_tree_info_print(out, &info);
	}
	pthread_mutex_unlock(&s->report_lock);
	return rc;
}
