/* take.c - putting versions in place here: intents, apply, archive, base; and what a crash in the middle of it left.
 *
 * Order, and why: (1) the intents are durable before the first visible change, so that a crash can be decided by evidence; (2) a loser is in
 * the archive before it is overwritten (rows) or before its displaced inode is let go (files); (3) base := what was proven applied, in the
 * same step in which the intents go.
 *
 * A database is not locked for longer than an application's writer can wait (SR_PACE_MS): what is more than that goes in chunks (chunks.h).
 *   - Each chunk is an apply of its own, with intents, marker, commit and base: a crash or a failure leaves those before it applied and
 *     recorded, and the next round plans the rest.  Only the last one's marker says that all up to the planned root is here.
 *   - A first fill is one transaction: nobody is to see half of it.  So is what changes few rows, as an application does in one of its own.
 *   - A row that is itself to change, in a later chunk, is no stranger: nothing that is in its way evicts it, nor is it an orphan.  The chunk
 *     is rolled back, that row joins it, and it is begun anew.  A row that refers to one of a later chunk is not parentless.
 *   - Many losers are archived, which takes time, without the lock: the chunk is rolled back, and begun anew when they are in the archive.
 *   - After a chunk the lock is left alone for as long as SQLite's own busy handler sleeps (25 ms within the first 100), so that whoever
 *     waited gets it. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hashtree/record.h"
#include "lib/base/log.h"
#include "lib/replica/edit.h"
#include "lib/replica/rot.h"
#include "lib/sync/internal.h"

#define LOSERS_UNDER_LOCK 4 /* so many are archived before the commit, more before the chunk is begun anew */
#define ARCHIVINGS_MOST   3 /* of one chunk, without the lock */
#define PAUSE_MS          25

/* --- losers of a database ------------------------------------------------------------------------------------------------- */

/* Collected while a chunk is prepared, archived before it is committed; each once, however often the chunk is begun. */
struct losers {
	struct sr_leaves *spool; /* path, expect: the winner, to and record: the loser */
	const char **why;        /* of each */
	struct sr_hash *done;    /* archived: of path and version, sorted */
	size_t n_done;
	unsigned archivings; /* without the lock, of this chunk */
};

static struct sr_hash loser_id(const struct sr_sync *s, struct sr_bytes path, const struct sr_version *version)
{
	struct sr_buf b = {0};
	struct sr_hash id;

	sr_buf_bytes(&b, path);
	sr_buf_add(&b, version->hash.b, sizeof version->hash.b);
	sr_hash_of(&id, &s->r->key, sr_buf_view(&b));
	sr_buf_free(&b);
	return id;
}

static int by_id(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct sr_hash));
}

static void losers_drop(struct losers *l)
{
	sr_leaves_free(l->spool);
	l->spool = NULL;
	free(l->why);
	l->why = NULL;
}

static enum sr_status losers_add(struct losers *l, const struct sr_sync *s, const struct sr_loser *loser, struct sr_bytes record,
				 struct sr_err *err)
{
	struct sr_leaf leaf = {.path = loser->path, .expect = loser->winner, .to = loser->version, .record = record};
	struct sr_hash id = loser_id(s, loser->path, &loser->version);
	size_t n;

	if (l->n_done && bsearch(&id, l->done, l->n_done, sizeof id, by_id))
		return SR_OK;
	if (!l->spool)
		l->spool = sr_leaves_new(sr_state_dir(s->r->state));
	n = sr_leaves_count(l->spool);
	l->why = sr_realloc(l->why, (n + 1) * sizeof *l->why);
	l->why[n] = loser->reason;
	return sr_leaves_add(l->spool, &leaf, err);
}

/* All of them or none: one that is in the archive already would come there once more with the next try. */
static enum sr_status room_for_losers(struct losers *l, struct sr_sync *s, const struct sr_replica_store *st, struct sr_err *err)
{
	enum sr_status rc = SR_OK;
	uint64_t most = 0;
	struct sr_leaf leaf;

	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(l->spool); k++) {
		rc = sr_leaves_at(l->spool, k, &leaf, err);
		if (rc == SR_OK)
			most += sr_archive_most(&(struct sr_loser){.store = st->name, .store_kind = st->kind, .path = leaf.path, .version = leaf.to},
						leaf.record.len, &leaf.record);
	}
	return rc == SR_OK ? sr_archive_room(s->r->archive, most, err) : rc;
}

static enum sr_status losers_archive(struct losers *l, struct sr_sync *s, const struct sr_replica_store *st, struct sr_err *err)
{
	size_t n = l->spool ? sr_leaves_count(l->spool) : 0;
	enum sr_status rc = SR_OK;

	if (n)
		rc = room_for_losers(l, s, st, err);
	l->done = sr_realloc(l->done, (l->n_done + n + 1) * sizeof *l->done);
	for (size_t k = 0; rc == SR_OK && k < n; k++) {
		struct sr_loser loser = {.store = st->name, .store_kind = st->kind, .reason = l->why[k]};
		struct sr_leaf leaf;

		rc = sr_leaves_at(l->spool, k, &leaf, err);
		if (rc != SR_OK)
			break;
		loser.path = leaf.path;
		loser.version = leaf.to;
		loser.winner = leaf.expect;
		rc = sr_archive_record(s->r->archive, &loser, leaf.record, err);
		if (rc != SR_OK)
			break;
		s->result.conflicts++;
		l->done[l->n_done++] = loser_id(s, leaf.path, &leaf.to);
	}
	qsort(l->done, l->n_done, sizeof *l->done, by_id);
	losers_drop(l);
	return rc;
}

/* --- applying ---------------------------------------------------------------------------------------------------------- */

struct applying {
	struct sr_sync *s;
	size_t i;
	struct sr_leaves *taken;   /* proven: path, to, expect := to (the base), inode := signature */
	struct sr_leaves *stand;   /* rows that stay as the application made them meanwhile: path, to := their base */
	struct sr_buf unfit;       /* rows that a constraint here does not take: string path, string why */
	struct sr_leaves *evicted; /* rows to be fetched again: removed here, or deleted here and needed all the same */
	struct sr_chunks *chunks;  /* BORROWED, as is: */
	struct losers *losers;     /* both NULL in recovery, which displaces no row */
	enum sr_status rc;         /* of gathering */
	struct sr_err *err;
};

/* Ours was to stand, for all that the datastore has is in it: as a row that was written here while its table got a new shape there. */
static bool takes_nothing(const struct sr_leaf *leaf)
{
	return (leaf->flags & SR_LEAF_MERGED) && !sr_path_is_bag(leaf->path) && sr_version_eq(&leaf->to, &leaf->expect);
}

/* What is there was changed since it was planned.  Where nothing was to be taken, it descends from the datastore's as well.  Another row may
 * go together with what is taken now, so it is planned again, in this round or the next: what was written last is not put behind what was
 * there before.  Only what was planned as a conflict, or to mirror the datastore, gives way with the round's last try, or a row that never rests
 * would never be agreed on; as a file does at once.  on_displaced keeps it in the archive.  In a bag, SR_TAKE is a difference.  A table is never
 * taken over another. */
static enum sr_verdict on_clash(void *ctx, size_t k, const struct sr_leaf *leaf, const struct sr_version *actual, struct sr_bytes record)
{
	struct applying *a = ctx;
	bool gives_way = (leaf->flags & SR_LEAF_ARCHIVE) || sr_sync_mirrors(a->s, a->i);

	(void)k, (void)record;
	if (leaf->to.kind == SR_KIND_TABLE)
		return SR_KEEP;
	if (takes_nothing(leaf)) {
		a->s->plans[a->i].again = true; /* it goes to the datastore now */
		if (a->rc == SR_OK)
			a->rc = sr_leaves_add(a->stand, &(struct sr_leaf){.path = leaf->path, .to = leaf->base}, a->err);
		return SR_KEEP;
	}
	if (sr_rot_is(a->s->r, a->i, leaf->path, &leaf->expect, actual))
		return SR_RESET;
	if (a->s->r->stores[a->i].kind != SR_KIND_DATABASE || sr_path_is_bag(leaf->path) || (gives_way && a->s->try >= SR_TRIES))
		return SR_TAKE;
	a->s->plans[a->i].again = true;
	return SR_KEEP;
}

/* Or a row that never rests would never be merged.  What was written since the plan changed other columns than the datastore's row brings - `leaf` is
 * the row of the plan with these -, so the two stand together. */
static bool on_merge_again(void *ctx, size_t k, const struct sr_leaf *leaf, const struct sr_version *actual, struct sr_bytes record, struct sr_buf *out)
{
	struct applying *a = ctx;
	struct sr_leaves *planned = a->s->plans[a->i].pull;
	struct sr_leaf ours;
	size_t at;

	(void)k, (void)actual;
	return planned && !takes_nothing(leaf) && sr_leaves_find(planned, leaf->path, &at, &ours, NULL) == SR_OK && at < sr_leaves_count(planned) &&
	       ours.record.len && sr_version_eq(&ours.expect, &leaf->expect) && sr_record_merge(ours.record, record, leaf->record, out);
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

	(void)k, (void)record;
	if (sr_bytes_eq(path, leaf->path))
		return SR_TAKE; /* of a bag: both sides added it, and UNIQUE knows it only once */
	if (a->rc == SR_OK && sr_chunks_join(a->chunks, path))
		return SR_KEEP; /* this try is rolled back */
	if (a->rc == SR_OK)
		a->rc = may_go(a, path, actual, &verdict);
	if (a->rc == SR_OK && verdict != SR_KEEP)
		a->rc = sr_leaves_add(a->evicted, &(struct sr_leaf){.path = path}, a->err);
	return verdict;
}

/* Both sides' columns do not go together: planned again, it is a conflict.  Any other row was good where it comes from: the application there
 * has another constraint than the one here, perhaps for as long as not all are upgraded.  It waits, and the others do not wait for it. */
static enum sr_verdict on_unfit(void *ctx, size_t k, const struct sr_leaf *leaf, const char *why)
{
	struct applying *a = ctx;

	(void)k;
	if (!(leaf->flags & SR_LEAF_MERGED)) {
		sr_buf_string(&a->unfit, leaf->path);
		sr_buf_string(&a->unfit, sr_bytes_of(why));
		return SR_KEEP;
	}
	sr_sync_note(a->s, a->i, leaf->path, SR_NOTE_CONFLICT, &leaf->expect, &leaf->to);
	a->s->plans[a->i].again = true;
	return SR_KEEP;
}

/* A row that is taken refers to one that was deleted here, and that the datastore has: the deletion loses.  Its row is fetched again, or
 * the next push would spread what is no violation of the application's. */
static enum sr_verdict on_parentless(void *ctx, size_t k, const struct sr_leaf *leaf, struct sr_bytes parent)
{
	struct applying *a = ctx;
	struct sr_version there = {0};

	if (leaf->flags & SR_LEAF_MERGED) /* it refers to what only one side knows is gone: no merge, after all */
		(void)on_unfit(ctx, k, leaf, "");
	if (a->rc == SR_OK && parent.len && !sr_chunks_waits(a->chunks, parent))
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

static const char *reason(const struct applying *a, const struct sr_leaf *leaf, const struct sr_displaced *old)
{
	if (sr_sync_mirrors(a->s, a->i))
		return "mirror";
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
				 .reason = reason(a, leaf, old),
				 .winner = leaf->to,
				 .beyond = !a->losers};
	bool keep = (leaf->flags & SR_LEAF_ARCHIVE) || (!old->expected && !is_base(a, old));

	(void)k;
	if (!keep || old->version.kind == SR_KIND_NONE || old->version.kind == SR_KIND_TABLE)
		return SR_OK;
	if (old->version.kind == SR_KIND_ROW)
		return losers_add(a->losers, a->s, &loser, old->record, err);
	a->s->result.conflicts++;
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
				     .most_equals.rows = a->s->r->config->max_leaves,
				     .clash = on_clash,
				     .merge_again = on_merge_again,
				     .in_the_way = on_way,
				     .parentless = on_parentless,
				     .unfit = on_unfit,
				     .displaced = on_displaced,
				     .applied = on_applied};
}

static void applying_start(struct applying *a, struct sr_sync *s, size_t i, struct sr_err *err)
{
	const char *dir = sr_state_dir(s->r->state);

	*a = (struct applying){.s = s, .i = i, .rc = SR_OK, .err = err};
	a->taken = sr_leaves_new(dir);
	a->stand = sr_leaves_new(dir);
	a->evicted = sr_leaves_new(dir);
}

static void applying_end(struct applying *a)
{
	sr_leaves_free(a->taken);
	sr_leaves_free(a->stand);
	sr_buf_free(&a->unfit);
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

/* The one step after an apply: rows, base, marker, and the intents go.  If it fails, memory is what state.db is: the intents are decided by the pending
 * marker, and a scan finds what was applied. */
static enum sr_status finish(struct applying *a, const struct sr_intent_head *head, bool marked, struct sr_err *err)
{
	struct sr_replica *r = a->s->r;
	struct sr_replica_store *st = &r->stores[a->i];
	struct sr_store_row was = st->row;
	struct sr_hash map;
	enum sr_status rc = a->rc != SR_OK ? a->rc : sr_state_begin(r->state, err);

	if (rc != SR_OK)
		return rc;
	sr_replica_hold_map(r, a->i, &map);
	if (marked) {
		st->row.marker = head->marker;
		st->row.node = r->node;
		sr_replica_note_seen(st);
	}
	memset(&st->row.pending, 0, sizeof st->row.pending);
	rc = sr_replica_take(r, a->i, a->taken, SR_TAKE_BASE, head->epoch, head->seq, err);
	if (rc == SR_OK && marked)
		rc = sr_sync_set_bases(a->s, a->i, a->stand, NULL, head->epoch, head->seq, err);
	if (rc == SR_OK && marked)
		rc = hint_evicted(a, err); /* one that was to stand may have been in another's way by what it has become */
	if (rc == SR_OK)
		rc = sr_state_intents_drop(r->state, &st->row, err);
	if (rc == SR_OK)
		rc = sr_state_store_put(r->state, &st->row, err);
	if (rc == SR_OK)
		rc = sr_state_commit(r->state, err);
	else
		sr_state_rollback(r->state);
	if (rc != SR_OK)
		st->row = was;
	sr_replica_end_take(r, a->i, &map, rc == SR_OK);
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

static void name_unfit(const struct applying *a)
{
	struct sr_reader in = sr_reader(sr_buf_view(&a->unfit));

	while (!sr_read_done(&in)) {
		struct sr_bytes path = sr_read_string(&in);
		char *why = sr_text(sr_read_string(&in));

		sr_sync_name_skip(a->s, a->i, path, why);
		free(why);
	}
}

/* --- taking ------------------------------------------------------------------------------------------------------------ */

struct taking { /* all of what is pulled into a store */
	struct sr_sync *s;
	size_t i;
	struct sr_chunks *chunks;
	struct losers losers;
	int64_t released; /* tick at which the last chunk gave the lock back */
};

/* What a prepared chunk still needs before its commit.  *again: it needs it without the lock. */
static enum sr_status complete(struct taking *t, struct applying *a, bool *again, struct sr_err *err)
{
	struct losers *l = &t->losers;
	enum sr_status rc = a->rc;

	*again = sr_chunks_joined(t->chunks) ||
		 (l->spool && sr_leaves_count(l->spool) > LOSERS_UNDER_LOCK && l->archivings < ARCHIVINGS_MOST);
	if (rc == SR_OK && !*again)
		rc = losers_archive(l, t->s, &t->s->r->stores[t->i], err);
	return rc == SR_OK && !*again ? let_go_of_evicted(a, err) : rc;
}

void sr_sync_holds_as_of(const struct sr_sync *s, size_t i, bool all, uint64_t *epoch, uint64_t *seq)
{
	const struct sr_store_row *row = &s->r->stores[i].row;
	bool now = all && !s->plans[i].behind, own = sr_is_later(row->epoch, row->seq, s->as_of_epoch, s->as_of_seq);

	*epoch = now ? s->info.at.epoch : own ? row->epoch : s->as_of_epoch;
	*seq = now ? s->info.at.seq : own ? row->seq : s->as_of_seq;
}

static struct sr_marker marker_of(const struct taking *t, const struct sr_intent_head *head)
{
	const struct sr_sync *s = t->s;
	struct sr_marker marker = {.id = head->marker, .node = s->r->node, .instance = s->info.at.instance};

	sr_sync_holds_as_of(s, t->i, sr_chunks_last(t->chunks), &marker.epoch, &marker.seq);
	return marker;
}

static enum sr_status take_chunk(struct taking *t, struct sr_leaves *leaves, bool *again, struct sr_err *err)
{
	struct sr_sync *s = t->s;
	struct sr_replica_store *st = &s->r->stores[t->i];
	struct sr_intent_head head = {.marker = sr_uuid_random(), .epoch = s->info.at.epoch, .seq = s->info.at.seq};
	struct sr_marker marker = marker_of(t, &head);
	struct applying a;
	struct sr_apply_ops ops;
	struct sr_err later;
	size_t done;
	bool tried;
	enum sr_status rc = intend(s, t->i, &head, leaves, err), finished;

	*again = false;
	if (rc != SR_OK)
		return rc;
	applying_start(&a, s, t->i, err);
	a.chunks = t->chunks;
	a.losers = &t->losers;
	ops = ops_of(&a);
	sr_progress_begin(&s->progress, "applying", sr_leaves_count(leaves), 0);
	rc = sr_apply_prepare(st->store, leaves, &marker, &ops, err);
	if (rc == SR_OK)
		rc = complete(t, &a, again, err);
	tried = rc == SR_OK && !*again;
	if (tried)
		rc = sr_apply_commit(st->store, err);
	else
		sr_apply_rollback(st->store);
	t->released = sr_ticks_ms();
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
	done = sr_leaves_count(a.taken) + sr_leaves_count(a.stand);
	if (rc == SR_OK && tried && done < sr_leaves_count(leaves)) {
		s->plans[t->i].skipped += sr_leaves_count(leaves) - done;
		if (!*s->plans[t->i].skips)
			s->plans[t->i].first_skip = "it was changed here meanwhile, or another row has its UNIQUE value";
		name_unfit(&a);
	}
	applying_end(&a);
	return rc;
}

/* What has to happen before the chunk is begun anew. */
static enum sr_status begin_anew(struct taking *t, struct sr_leaves **leaves, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	if (sr_chunks_joined(t->chunks))
		losers_drop(&t->losers); /* they will come again */
	else {
		t->losers.archivings++;
		rc = losers_archive(&t->losers, t->s, &t->s->r->stores[t->i], err);
	}
	if (rc == SR_OK)
		rc = sr_chunks_again(t->chunks, leaves, err);
	if (rc == SR_OK)
		sr_debug("store %s: %zu leaves are begun anew", t->s->r->stores[t->i].name, sr_leaves_count(*leaves));
	return rc;
}

static enum sr_status go_on(struct taking *t, struct sr_leaves **leaves, struct sr_err *err)
{
	const struct sr_replica_store *st = &t->s->r->stores[t->i];
	struct sr_pace *pace = &t->s->plans[t->i].pace;
	int64_t ms = sr_apply_held_ms(st->store);

	sr_debug("store %s: %zu leaves applied, in %lld ms under the lock", st->name, sr_leaves_count(*leaves), (long long)ms);
	if (sr_chunks_divided(t->chunks))
		sr_pace_learn(pace, sr_leaves_count(*leaves), sr_chunks_bytes(t->chunks), ms);
	t->losers.archivings = 0;
	return sr_chunks_next(t->chunks, pace, leaves, err);
}

static void let_others_in(const struct taking *t)
{
	int64_t rest = t->released + PAUSE_MS - sr_ticks_ms();

	if (rest > 0 && rest <= PAUSE_MS)
		nanosleep(&(struct timespec){.tv_nsec = rest * 1000000}, NULL);
}

static size_t rank(void *ctx, struct sr_bytes table)
{
	return sr_store_rank(ctx, table);
}

enum sr_status sr_sync_room(struct sr_sync *s, size_t i, struct sr_leaves *leaves, struct sr_err *err)
{
	const struct sr_replica_store *st = &s->r->stores[i];
	enum sr_status rc = SR_OK;
	uint64_t most = 0;
	struct sr_leaf leaf;
	bool mode_only;

	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(leaves); k++) {
		rc = sr_leaves_at(leaves, k, &leaf, err);
		if (rc != SR_OK || !(leaf.flags & SR_LEAF_ARCHIVE) || leaf.expect.kind == SR_KIND_NONE)
			continue;
		mode_only = leaf.to.kind == leaf.expect.kind && sr_hash_eq(&leaf.to.hash, &leaf.expect.hash); /* its content stands */
		most += sr_archive_most(&(struct sr_loser){.store = st->name, .store_kind = st->kind, .path = leaf.path, .version = leaf.expect},
					mode_only ? 0 : leaf.expect.bytes, NULL);
	}
	return rc == SR_OK && most ? sr_archive_room(s->r->archive, most, err) : rc;
}

enum sr_status sr_sync_take(struct sr_sync *s, size_t i, struct sr_leaves *leaves, struct sr_err *err)
{
	struct sr_replica_store *st = &s->r->stores[i];
	struct taking t = {.s = s, .i = i};
	struct sr_leaves *chunk = NULL;
	bool again, whole = st->kind != SR_KIND_DATABASE || !st->has_content;
	enum sr_status rc = sr_stage_flush(st->store, err);

	if (rc == SR_OK)
		rc = sr_chunks_new(&t.chunks, leaves, sr_state_dir(s->r->state), whole, rank, st->store, err);
	if (rc == SR_OK)
		rc = sr_chunks_next(t.chunks, &s->plans[i].pace, &chunk, err);
	while (rc == SR_OK && chunk) {
		rc = take_chunk(&t, chunk, &again, err);
		if (rc == SR_OK)
			rc = again ? begin_anew(&t, &chunk, err) : go_on(&t, &chunk, err);
		if (rc == SR_OK && chunk)
			let_others_in(&t);
	}
	sr_chunks_free(t.chunks);
	losers_drop(&t.losers);
	free(t.losers.done);
	return rc;
}

static enum sr_status recover_store(struct sr_sync *s, size_t i, struct sr_err *err)
{
	struct sr_replica_store *st = &s->r->stores[i];
	struct sr_leaves *leaves = sr_leaves_new(sr_state_dir(s->r->state));
	struct sr_intent_head head;
	struct applying a;
	struct sr_apply_ops ops;
	bool found = false, ours = sr_sync_marker_is_ours(st);
	enum sr_status rc = st->mode == SR_MODE_PAUSED ? SR_OK : sr_replica_edit_recover(s->r, i, err);

	if (rc == SR_OK)
		rc = sr_state_intents(s->r->state, &st->row, &head, leaves, &found, err);
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
	if (rc == SR_OK && st->mode != SR_MODE_PAUSED && st->kind == SR_KIND_FILES && !sr_replica_store_is_quiet(st))
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

enum sr_status sr_sync_mark(struct sr_sync *s, size_t i, bool all, struct sr_leaves *leaves, struct sr_err *err)
{
	struct sr_uuid id = sr_uuid_random();
	uint64_t epoch, seq;

	sr_sync_holds_as_of(s, i, all, &epoch, &seq);
	return sr_replica_mark_with(s->r, i, &id, &s->info.at.instance, epoch, seq, leaves, err);
}

/* --- agreeing --------------------------------------------------------------------------------------------------------------- */

enum sr_status sr_sync_agree(struct sr_sync *s, size_t i, struct sr_err *err)
{
	struct sr_store_plan *p = &s->plans[i];
	enum sr_status rc;

	if (!sr_leaves_count(p->agree))
		return SR_OK;
	/* The mark makes durable what is here, as for a push: base must not claim what a power cut may take away. */
	rc = sr_sync_mark(s, i, !sr_leaves_count(p->pull), p->agree, err);
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
