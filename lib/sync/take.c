/* take.c - putting versions in place here: intents, apply, archive, base; and what a crash in the middle of it left.
 *
 * Order, and why: (1) the intents are durable before the first visible change, so that a crash can be decided by evidence; (2) a loser is in
 * the archive before it is overwritten (rows) or before its displaced inode is let go (files); (3) base := what was proven applied, in the
 * same step in which the intents go. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/sync/internal.h"

/* --- applying ---------------------------------------------------------------------------------------------------------- */

struct applying {
	struct sr_sync *s;
	size_t i;
	struct sr_leaves *taken;   /* proven: path, to, expect := to (the base), inode := signature */
	struct sr_leaves *evicted; /* rows to be fetched again: removed here, or deleted here and needed all the same */
	enum sr_status rc;         /* of gathering */
	struct sr_err *err;
};

/* What is there was changed since it was planned.  A row may go together with what is taken now, so it is planned again, as long as this
 * round has tries; then, as a file at once, it gives way and is kept in the archive by on_displaced.  In a bag, SR_TAKE is a difference.  A
 * table is never taken over another. */
static enum sr_verdict on_clash(void *ctx, size_t k, const struct sr_leaf *leaf, const struct sr_version *actual, struct sr_bytes record)
{
	struct applying *a = ctx;

	(void)k, (void)actual, (void)record;
	if (leaf->to.kind == SR_KIND_TABLE)
		return SR_KEEP;
	if (a->s->r->stores[a->i].kind != SR_KIND_DATABASE || sr_path_is_bag(leaf->path) || a->s->try >= SR_TRIES)
		return SR_TAKE;
	a->s->plans[a->i].again = true;
	return SR_KEEP;
}

static enum sr_status version_there(struct applying *a, struct sr_bytes path, struct sr_version *out)
{
	const char *why;
	struct sr_hash map;

	*out = (struct sr_version){0};
	if (!sr_sync_remote_map(a->s, a->i, &map, &why))
		return SR_OK;
	return sr_store_get(a->s->r->nodes, SR_KIND_DATABASE, &map, path, out, a->err);
}

/* May a row be removed that the datastore's leaves do not speak of?  Not where nothing is known of it - its table is another there, or it
 * is unknown here - nor when it is what the datastore has: then the datastore holds the same violation. */
static enum sr_status may_go(struct applying *a, struct sr_bytes path, const struct sr_version *actual, enum sr_verdict *out)
{
	struct sr_replica_store *st = &a->s->r->stores[a->i];
	const uint8_t *nul = memchr(path.at, 0, path.len);
	struct sr_bytes table = sr_bytes(path.at, nul ? (size_t)(nul - path.at) : path.len);
	struct sr_version here, there, row;
	enum sr_status rc = sr_store_get(a->s->r->nodes, st->kind, &st->map, table, &here, a->err);

	if (rc == SR_OK)
		rc = version_there(a, table, &there);
	if (rc == SR_OK)
		rc = version_there(a, path, &row);
	if (rc == SR_OK && sr_version_eq(&here, &there) && !sr_version_eq(&row, actual) && !sr_replica_unknown(a->s->r, a->i, path))
		*out = row.kind == SR_KIND_ROW && !sr_path_is_bag(path) ? SR_LEND : SR_TAKE;
	return rc;
}

static enum sr_verdict on_way(void *ctx, size_t k, const struct sr_leaf *leaf, struct sr_bytes path, const struct sr_version *actual,
			      struct sr_bytes record)
{
	struct applying *a = ctx;
	enum sr_verdict verdict = SR_KEEP;

	(void)k, (void)leaf, (void)record;
	if (a->rc == SR_OK)
		a->rc = may_go(a, path, actual, &verdict);
	if (a->rc == SR_OK && verdict != SR_KEEP)
		a->rc = sr_leaves_add(a->evicted, &(struct sr_leaf){.path = path}, a->err);
	return verdict;
}

/* A row that is taken refers to one that was deleted here, and that the datastore has: the deletion loses.  Its row is fetched again, or
 * the next push would spread what is no violation of the application's. */
static enum sr_verdict on_parentless(void *ctx, size_t k, const struct sr_leaf *leaf, struct sr_bytes parent)
{
	struct applying *a = ctx;
	struct sr_version there = {0};

	(void)k, (void)leaf;
	if (a->rc == SR_OK && parent.len)
		a->rc = version_there(a, parent, &there);
	if (a->rc == SR_OK && there.kind == SR_KIND_ROW)
		a->rc = sr_leaves_add(a->evicted, &(struct sr_leaf){.path = parent}, a->err);
	return SR_TAKE;
}

static bool is_base(struct applying *a, const struct sr_displaced *old)
{
	struct sr_leaf_row row;
	struct sr_err err;

	return sr_state_leaf(a->s->r->state, &a->s->r->stores[a->i].row, old->path, &row, &err) == SR_OK &&
	       row.base_state == SR_BASE_KNOWN && sr_version_eq(&row.base, &old->version);
}

static const char *reason(const struct sr_leaf *leaf, const struct sr_displaced *old)
{
	if (!sr_bytes_eq(leaf->path, old->path))
		return leaf->to.kind == SR_KIND_NONE ? "child-of-deleted" : "unique";
	if (!(leaf->flags & SR_LEAF_ARCHIVE))
		return "changed-while-applying";
	if (leaf->flags & SR_LEAF_UNION)
		return "union";
	if (leaf->to.kind == SR_KIND_NONE)
		return "edited-deleted";
	return leaf->to.kind == old->version.kind ? "edited-both" : "kind";
}

static enum sr_status on_displaced(void *ctx, size_t k, const struct sr_leaf *leaf, const struct sr_displaced *old, struct sr_err *err)
{
	struct applying *a = ctx;
	struct sr_replica_store *st = &a->s->r->stores[a->i];
	struct sr_loser loser = {.store = st->name,
				 .store_kind = st->kind,
				 .path = old->path,
				 .version = old->version,
				 .mtime_ns = old->mtime_ns,
				 .reason = reason(leaf, old),
				 .winner = leaf->to};
	bool keep = (leaf->flags & SR_LEAF_ARCHIVE) || (!old->expected && !is_base(a, old));

	(void)k;
	if (!keep || old->version.kind == SR_KIND_NONE || old->version.kind == SR_KIND_TABLE)
		return SR_OK;
	a->s->result.conflicts++;
	if (old->version.kind == SR_KIND_ROW)
		return sr_archive_record(a->s->r->archive, &loser, old->record, err);
	if (old->version.kind == SR_KIND_FILE)
		return sr_archive_file(a->s->r->archive, &loser, old->dirfd, old->name, err);
	return sr_archive_bare(a->s->r->archive, &loser, err);
}

static void on_applied(void *ctx, size_t k, const struct sr_leaf *leaf, uint64_t signature)
{
	struct applying *a = ctx;
	bool merged = leaf->flags & SR_LEAF_MERGED;
	struct sr_leaf t = {.path = leaf->path, .to = leaf->to, .expect = merged ? leaf->base : leaf->to, .inode = signature};

	(void)k;
	a->s->plans[a->i].again |= merged && !sr_version_eq(&leaf->to, &leaf->base); /* it goes to the datastore now */
	sr_progress_add(&a->s->progress, 1, 0);
	if (a->rc == SR_OK)
		a->rc = sr_leaves_add(a->taken, &t, a->err);
}

static struct sr_apply_ops ops_of(struct applying *a)
{
	return (struct sr_apply_ops){.ctx = a,
				     .clash = on_clash,
				     .in_the_way = on_way,
				     .parentless = on_parentless,
				     .displaced = on_displaced,
				     .applied = on_applied};
}

static void applying_start(struct applying *a, struct sr_sync *s, size_t i, struct sr_err *err)
{
	const char *dir = sr_state_dir(s->r->state);

	*a = (struct applying){.s = s, .i = i, .taken = sr_leaves_new(dir), .evicted = sr_leaves_new(dir), .rc = SR_OK, .err = err};
}

static void applying_end(struct applying *a)
{
	sr_leaves_free(a->taken);
	sr_leaves_free(a->evicted);
}

static enum sr_status hint_evicted(struct applying *a, struct sr_err *err)
{
	struct sr_replica_store *st = &a->s->r->stores[a->i];
	enum sr_status rc = SR_OK;

	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(a->evicted); k++) {
		struct sr_leaf_row row;
		struct sr_leaf leaf;

		rc = sr_leaves_at(a->evicted, k, &leaf, err);
		if (rc == SR_OK)
			rc = sr_state_leaf(a->s->r->state, &st->row, leaf.path, &row, err);
		if (rc != SR_OK || row.base_state != SR_BASE_KNOWN)
			continue;
		row.path = leaf.path;
		row.base_state = SR_BASE_HINT;
		rc = sr_state_leaf_put(a->s->r->state, &st->row, &row, err);
	}
	return rc;
}

/* A row that is about to be removed because it stands in the way is deleted by nobody: its base becomes a hint, durably and before the
 * commit, so that whatever happens the next plan fetches what the datastore has of it and never pushes a deletion.  If the commit does not
 * happen, a hint is enough to see that the row was edited. */
static enum sr_status let_go_of_evicted(struct applying *a, struct sr_err *err)
{
	enum sr_status rc = a->rc;

	if (rc != SR_OK || !sr_leaves_count(a->evicted))
		return rc;
	a->s->plans[a->i].evicted = true;
	rc = sr_state_begin(a->s->r->state, err);
	if (rc != SR_OK)
		return rc;
	rc = hint_evicted(a, err);
	if (rc == SR_OK)
		return sr_state_commit(a->s->r->state, err);
	sr_state_rollback(a->s->r->state);
	return rc;
}

/* The one step after an apply: rows, base, marker, and the intents go. */
static enum sr_status finish(struct applying *a, const struct sr_intent_head *head, bool marked, struct sr_err *err)
{
	struct sr_replica *r = a->s->r;
	struct sr_replica_store *st = &r->stores[a->i];
	enum sr_status rc = a->rc != SR_OK ? a->rc : sr_state_begin(r->state, err);

	if (rc != SR_OK)
		return rc;
	if (marked) {
		st->row.marker = head->marker;
		st->row.node = r->node;
		st->row.inode = sr_store_inode(st->store);
	}
	memset(&st->row.pending, 0, sizeof st->row.pending);
	rc = sr_replica_take(r, a->i, a->taken, SR_TAKE_BASE, head->epoch, head->seq, err);
	if (rc == SR_OK)
		rc = sr_state_intents_drop(r->state, &st->row, err);
	if (rc == SR_OK)
		rc = sr_state_store_put(r->state, &st->row, err);
	if (rc == SR_OK)
		rc = sr_state_commit(r->state, err);
	else
		sr_state_rollback(r->state);
	return rc;
}

/* Does the store carry the marker of this apply?  The evidence that it went through. */
static bool carries(struct sr_replica_store *st, const struct sr_intent_head *head)
{
	char why[256];

	(void)sr_store_look(st->store, &st->marker, &st->has_content, why);
	return memcmp(&st->marker.id, &head->marker, sizeof head->marker) == 0;
}

static enum sr_status intend(struct sr_sync *s, size_t i, const struct sr_intent_head *head, struct sr_leaves *leaves, struct sr_err *err)
{
	struct sr_replica_store *st = &s->r->stores[i];
	enum sr_status rc = sr_state_begin(s->r->state, err);

	if (rc != SR_OK)
		return rc;
	st->row.pending = head->marker;
	rc = sr_state_intend(s->r->state, &st->row, head, leaves, err);
	if (rc == SR_OK)
		rc = sr_state_store_put(s->r->state, &st->row, err);
	if (rc == SR_OK)
		return sr_state_commit(s->r->state, err);
	sr_state_rollback(s->r->state);
	return rc;
}

enum sr_status sr_sync_take(struct sr_sync *s, size_t i, struct sr_leaves *leaves, struct sr_err *err)
{
	struct sr_replica_store *st = &s->r->stores[i];
	struct sr_intent_head head = {.marker = sr_uuid_random(), .epoch = s->info.at.epoch, .seq = s->info.at.seq};
	struct sr_marker marker = {
		.id = head.marker, .node = s->r->node, .instance = s->info.at.instance, .epoch = head.epoch, .seq = head.seq};
	struct applying a;
	struct sr_apply_ops ops;
	struct sr_err later;
	bool tried;
	enum sr_status rc = sr_stage_flush(st->store, err), finished;

	if (rc == SR_OK)
		rc = intend(s, i, &head, leaves, err);
	if (rc != SR_OK)
		return rc;
	applying_start(&a, s, i, err);
	ops = ops_of(&a);
	sr_progress_begin(&s->progress, "applying", sr_leaves_count(leaves), 0);
	rc = sr_apply_prepare(st->store, leaves, &marker, &ops, err);
	if (rc == SR_OK)
		rc = let_go_of_evicted(&a, err);
	tried = rc == SR_OK;
	if (tried)
		rc = sr_apply_commit(st->store, err);
	else
		sr_apply_rollback(st->store);
	sr_progress_end(&s->progress);
	/* SR_E_CHANGED: a file that could not be put in place leaves the others applied.  Anything else may have been done in part: the
	 * intents stay, and the next round decides by evidence. */
	if (!tried || rc == SR_OK || rc == SR_E_CHANGED) {
		finished = finish(&a, &head, tried && carries(st, &head), rc == SR_OK ? err : &later);
		if (finished == SR_OK)
			sr_store_sweep_stage(st->store); /* what was displaced is no longer evidence */
		if (rc == SR_OK)
			rc = finished;
	}
	s->result.pulled += sr_leaves_count(a.taken);
	if (rc == SR_OK && sr_leaves_count(a.taken) < sr_leaves_count(leaves))
		s->plans[i].skipped += sr_leaves_count(leaves) - sr_leaves_count(a.taken);
	applying_end(&a);
	return rc;
}

static enum sr_status recover_store(struct sr_sync *s, size_t i, struct sr_err *err)
{
	struct sr_replica_store *st = &s->r->stores[i];
	struct sr_leaves *leaves = sr_leaves_new(sr_state_dir(s->r->state));
	struct sr_intent_head head;
	struct applying a;
	struct sr_apply_ops ops;
	bool found, ours = sr_sync_marker_is_ours(st);
	enum sr_status rc = sr_state_intents(s->r->state, &st->row, &head, leaves, &found, err);

	if (rc == SR_OK && found && st->mode != SR_MODE_PAUSED) {
		struct sr_marker marker = {
			.id = head.marker, .node = s->r->node, .instance = s->anchor.instance, .epoch = head.epoch, .seq = head.seq};

		sr_info("store %s: an apply of %zu items was interrupted; %s", st->name, sr_leaves_count(leaves),
			ours ? "deciding by evidence" : "it was to another copy than the one that is there now");
		applying_start(&a, s, i, err);
		ops = ops_of(&a);
		if (ours) /* else nothing here is evidence, and its marker must not be replaced before the guard has seen it */
			rc = sr_apply_recover(st->store, leaves, &marker, &ops, err);
		if (rc == SR_OK)
			rc = finish(&a, &head, ours && carries(st, &head), err);
		applying_end(&a);
	}
	if (rc == SR_OK && st->mode != SR_MODE_PAUSED && st->kind == SR_KIND_FILES)
		sr_store_sweep_stage(st->store);
	sr_leaves_free(leaves);
	return rc == SR_OK ? rc : sr_err_context(err, "store %s: recovery", st->name);
}

enum sr_status sr_sync_recover(struct sr_sync *s, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t i = 0; rc == SR_OK && i < s->r->n; i++)
		rc = recover_store(s, i, err);
	return rc;
}

/* --- agreeing --------------------------------------------------------------------------------------------------------------- */

enum sr_status sr_sync_agree(struct sr_sync *s, size_t i, struct sr_err *err)
{
	struct sr_store_plan *p = &s->plans[i];
	struct sr_uuid id = sr_uuid_random();
	enum sr_status rc;

	if (!sr_leaves_count(p->agree))
		return SR_OK;
	/* The mark makes durable what is here, as for a push: base must not claim what a power cut may take away. */
	rc = sr_replica_mark(s->r, i, &id, &s->info.at.instance, s->info.at.epoch, s->info.at.seq, err);
	if (rc == SR_OK)
		rc = sr_state_begin(s->r->state, err);
	if (rc != SR_OK)
		return rc;
	rc = sr_sync_set_bases(s, i, p->agree, NULL, s->info.at.epoch, s->info.at.seq, err);
	if (rc == SR_OK)
		rc = sr_state_commit(s->r->state, err);
	else
		sr_state_rollback(s->r->state);
	s->result.agreed += sr_leaves_count(p->agree);
	return rc;
}
