/* edit.c - an apply without marker and base.
 *
 * A file may be changed at the very moment in which it is exchanged, and what was displaced is looked at only then.  So an edit of files has
 * intents, as a round has, by which it is found in staging after a crash.  A database's rows are archived before its commit. */
#include "lib/replica/edit.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/base/log.h"

#define NOTE "edit" /* of its intents: nothing else is recovered here */

struct editing {
	struct sr_replica *r;
	const struct sr_replica_store *st;
	char **no;        /* of each leaf: the objection to it, or NULL; */
	bool *left;       /* will it be left out? */
	size_t n, noes;   /* leaves; so many of them are objected to, */
	size_t first;     /* this one before the others */
	size_t applied;
	bool recovers, heals, reindexes;
	struct sr_leaves *losers; /* rows for the archive: path, to, record; `expect` is the winner, SR_LEAF_ARCHIVE: as planned */
};

/* Leaf k cannot be: its path, `what` and the path of `other`, if there is one.  The first word on a leaf stands. */
static enum sr_verdict object(struct editing *e, size_t k, struct sr_bytes path, const char *what, struct sr_bytes other)
{
	struct sr_buf a = {0}, b = {0};

	if (e->no[k])
		return SR_KEEP;
	if (!e->noes++)
		e->first = k;
	sr_leaf_path_text(&a, e->st->name, e->st->kind, path);
	if (other.len)
		sr_leaf_path_text(&b, e->st->name, e->st->kind, other);
	e->no[k] = sr_format("%.300s %s%s%.300s", sr_buf_text(&a), what, other.len ? " " : "", sr_buf_text(&b));
	sr_buf_free(&a);
	sr_buf_free(&b);
	return SR_KEEP;
}

static enum sr_verdict on_clash(void *ctx, size_t k, const struct sr_leaf *leaf, const struct sr_version *actual, struct sr_bytes record)
{
	(void)actual, (void)record;
	return object(ctx, k, leaf->path, "changed meanwhile", sr_bytes(NULL, 0));
}

static enum sr_verdict on_way(void *ctx, size_t k, const struct sr_leaf *leaf, struct sr_bytes path, const struct sr_version *actual,
			      struct sr_bytes record)
{
	(void)actual, (void)record;
	if (leaf->to.kind == SR_KIND_NONE)
		return object(ctx, k, leaf->path, "is still referred to by", path);
	return object(ctx, k, leaf->path, "has a UNIQUE value, or a key, that is needed by", path);
}

static enum sr_verdict on_parentless(void *ctx, size_t k, const struct sr_leaf *leaf, struct sr_bytes parent)
{
	return object(ctx, k, leaf->path, parent.len ? "refers to a row that is not there:" : "refers to a row that is not there", parent);
}

static enum sr_verdict on_unfit(void *ctx, size_t k, const struct sr_leaf *leaf, const char *why)
{
	char *what = sr_format("is %s", why);

	(void)object(ctx, k, leaf->path, what, sr_bytes(NULL, 0));
	free(what);
	return SR_KEEP;
}

static struct sr_loser loser_of(const struct editing *e, struct sr_bytes path, const struct sr_version *version,
				const struct sr_version *winner, bool planned)
{
	return (struct sr_loser){.store = e->st->name,
				 .store_kind = e->st->kind,
				 .path = path,
				 .version = *version,
				 .reason = planned ? "restored-over" : "changed-while-applying",
				 .winner = *winner,
				 .beyond = e->recovers};
}

/* Rows wait for the end of the comparing: of an edit that is refused nothing is archived. */
static enum sr_status on_displaced(void *ctx, size_t k, const struct sr_leaf *leaf, const struct sr_displaced *old, struct sr_err *err)
{
	struct editing *e = ctx;
	struct sr_loser loser = loser_of(e, old->path, &old->version, &leaf->to, old->expected);
	struct sr_leaf row = {.path = old->path,
			      .to = old->version,
			      .expect = leaf->to,
			      .record = old->record,
			      .flags = old->expected ? SR_LEAF_ARCHIVE : 0};

	(void)k;
	if (old->expected && !(leaf->flags & SR_LEAF_ARCHIVE))
		return SR_OK;
	loser.mtime_ns = old->mtime_ns;
	if (old->version.kind == SR_KIND_ROW)
		return sr_leaves_add(e->losers, &row, err);
	if (old->version.kind == SR_KIND_FILE)
		return sr_archive_file(e->r->archive, &loser, old->dirfd, old->name, err);
	return sr_archive_bare(e->r->archive, &loser, err);
}

/* Before the commit. */
static enum sr_status archive_rows(struct editing *e, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(e->losers); k++) {
		struct sr_loser loser;
		struct sr_leaf row;

		rc = sr_leaves_at(e->losers, k, &row, err);
		if (rc != SR_OK)
			break;
		loser = loser_of(e, row.path, &row.to, &row.expect, row.flags & SR_LEAF_ARCHIVE);
		rc = sr_archive_record(e->r->archive, &loser, row.record, err);
	}
	return rc;
}

static void on_applied(void *ctx, size_t k, const struct sr_leaf *leaf, uint64_t signature)
{
	struct editing *e = ctx;

	(void)k, (void)leaf, (void)signature; /* the scan will see */
	e->applied++;
}

/* What is left out by an objection was named; of the others nobody was asked. */
static void on_left_out(void *ctx, size_t k)
{
	struct editing *e = ctx;

	e->left[k] = true;
}

static enum sr_status object_to_left(struct editing *e, struct sr_leaves *leaves, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t k = 0; rc == SR_OK && k < e->n; k++) {
		struct sr_leaf leaf;

		if (!e->left[k] || e->no[k])
			continue;
		rc = sr_leaves_at(leaves, k, &leaf, err);
		if (rc == SR_OK)
			(void)object(e, k, leaf.path,
				     "has no place now: its table is not here, or of another shape, or another row that is put there has a UNIQUE value of it",
				     sr_bytes(NULL, 0));
	}
	return rc;
}

/* --- intents -------------------------------------------------------------------------------------------------------- */

static enum sr_status intend(const struct editing *e, const struct sr_uuid *id, struct sr_leaves *leaves, struct sr_err *err)
{
	struct sr_intent_head head = {.marker = *id, .note = sr_bytes_of(NOTE)};

	return e->st->kind == SR_KIND_FILES ? sr_state_intend(e->r->state, &e->st->row, &head, leaves, err) : SR_OK;
}

static enum sr_status forget(const struct editing *e, struct sr_err *err)
{
	return e->st->kind == SR_KIND_FILES ? sr_state_intents_drop(e->r->state, &e->st->row, err) : SR_OK;
}

static bool is_under_way(struct sr_replica *r, const struct sr_replica_store *st)
{
	struct sr_leaves *leaves = sr_leaves_new(sr_state_dir(r->state));
	struct sr_intent_head head;
	bool found = false;
	enum sr_status rc = sr_state_intents(r->state, &st->row, &head, leaves, &found, NULL);

	sr_leaves_free(leaves);
	return rc != SR_OK || found;
}

/* An apply that was cut short is decided by what it left in the store: nothing may be changed before. */
static enum sr_status nothing_under_way(struct sr_replica *r, size_t i, struct sr_err *err)
{
	enum sr_status rc = sr_replica_edit_recover(r, i, err);

	if (rc == SR_OK && is_under_way(r, &r->stores[i]))
		rc = sr_err_set(err, SR_E_BUSY, "store %s: a round was cut short, and the next one has to end it first", r->stores[i].name);
	return rc;
}

/* --- applying ------------------------------------------------------------------------------------------------------- */

static struct sr_apply_ops ops_of(struct editing *e, const struct sr_uuid *id)
{
	return (struct sr_apply_ops){.ctx = e,
				     .heals = e->heals,
				     .reindexes = e->reindexes,
				     .edit = *id,
				     .clash = on_clash,
				     .in_the_way = on_way,
				     .parentless = on_parentless,
				     .unfit = on_unfit,
				     .left_out = on_left_out,
				     .displaced = on_displaced,
				     .applied = on_applied};
}

/* With anything but SR_OK and SR_E_CHANGED it may have been done in part: the intents stay. */
static enum sr_status commit(struct editing *e, const struct sr_uuid *id, struct sr_leaves *leaves, struct sr_err *err)
{
	enum sr_status rc = intend(e, id, leaves, err), forgotten;
	struct sr_err later;

	if (rc != SR_OK) {
		sr_apply_rollback(e->st->store);
		return rc;
	}
	rc = sr_apply_commit(e->st->store, err);
	if (rc != SR_OK && rc != SR_E_CHANGED)
		return rc;
	forgotten = forget(e, rc == SR_OK ? err : &later);
	return rc == SR_OK ? forgotten : rc;
}

/* Compare; without an objection all is ready for the commit, else nothing is under way any more. */
static enum sr_status prepare(struct editing *e, struct sr_leaves *leaves, const struct sr_apply_ops *ops, struct sr_err *err)
{
	struct sr_store *store = e->st->store;
	enum sr_status rc = sr_apply_prepare(store, leaves, NULL, ops, err);

	if (rc == SR_OK)
		rc = object_to_left(e, leaves, err);
	if (rc == SR_OK && !e->noes)
		rc = archive_rows(e, err);
	if (rc == SR_OK && !e->noes)
		rc = sr_stage_flush(store, err);
	if (rc != SR_OK || e->noes)
		sr_apply_rollback(store);
	return rc;
}

static enum sr_status apply(struct editing *e, struct sr_leaves *leaves, struct sr_err *err)
{
	struct sr_uuid id = sr_uuid_random();
	struct sr_apply_ops ops = ops_of(e, &id);
	enum sr_status rc = prepare(e, leaves, &ops, err);

	if (rc != SR_OK || e->noes)
		return rc;
	rc = commit(e, &id, leaves, err);
	if (rc == SR_OK && e->applied < e->n)
		rc = sr_err_set(err, SR_E_CHANGED, "store %s: %zu of %zu could not be put in place", e->st->name, e->n - e->applied, e->n);
	return rc != SR_OK && e->applied ? sr_err_context(err, "store %s: %zu of %zu were put in place, but", e->st->name,
							  e->applied, e->n)
					 : rc;
}

static void editing_start(struct editing *e, struct sr_leaves *leaves)
{
	e->n = sr_leaves_count(leaves);
	e->noes = e->applied = 0;
	e->no = sr_alloc((e->n + 1) * sizeof *e->no);
	e->left = sr_alloc((e->n + 1) * sizeof *e->left);
	e->losers = sr_leaves_new(sr_state_dir(e->r->state));
}

static void editing_end(struct editing *e)
{
	for (size_t k = 0; k < e->n; k++)
		free(e->no[k]);
	free(e->no);
	free(e->left);
	sr_leaves_free(e->losers);
}

/* Those that nothing was said against, sorted as they are; the others are told. */
static enum sr_status sort_out(const struct editing *e, struct sr_leaves *leaves, struct sr_leaves *rest, sr_edit_left_fn *tell, void *ctx,
			       struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t k = 0; rc == SR_OK && k < e->n; k++) {
		struct sr_leaf leaf;

		if (e->no[k]) {
			tell(ctx, e->no[k]);
			continue;
		}
		rc = sr_leaves_at(leaves, k, &leaf, err);
		if (rc == SR_OK)
			rc = sr_leaves_add(rest, &leaf, err);
	}
	return rc;
}

/* Of each try those are left out that were objected to, until nothing is said any more: one that is left out may be in the way of others. */
static enum sr_status apply_most(struct editing *e, struct sr_leaves *leaves, sr_edit_left_fn *tell, void *ctx, struct sr_err *err)
{
	struct sr_leaves *rest = NULL, *next;
	enum sr_status rc = SR_OK;

	while (rc == SR_OK && sr_leaves_count(leaves)) {
		editing_start(e, leaves);
		rc = apply(e, leaves, err);
		if (rc != SR_OK || !e->noes) {
			editing_end(e);
			break;
		}
		next = sr_leaves_new(sr_state_dir(e->r->state));
		rc = sort_out(e, leaves, next, tell, ctx, err);
		editing_end(e);
		sr_leaves_free(rest);
		leaves = rest = next;
	}
	sr_leaves_free(rest);
	return rc;
}

static enum sr_status apply_all(struct editing *e, struct sr_leaves *leaves, struct sr_err *err)
{
	enum sr_status rc;

	editing_start(e, leaves);
	rc = apply(e, leaves, err);
	if (rc == SR_OK && e->noes)
		rc = sr_err_set(err, SR_E_CHANGED, "%s", e->no[e->first]);
	editing_end(e);
	return rc;
}

static enum sr_status edit(struct editing *e, size_t i, struct sr_leaves *leaves, sr_edit_left_fn *tell, void *ctx, struct sr_err *err)
{
	struct sr_replica *r = e->r;
	struct sr_err why = {0};
	enum sr_status rc;

	e->st = &r->stores[i];
	if (e->st->mode != SR_MODE_READY)
		return sr_err_set(err, SR_E_UNAVAILABLE, "store %s: %s", e->st->name, e->st->mode == SR_MODE_NEW ? "there is nothing yet" : e->st->why);
	sr_replica_unview(r);
	rc = nothing_under_way(r, i, &why);
	if (rc == SR_OK)
		rc = sr_leaves_sort(leaves, &why);
	if (rc == SR_OK)
		rc = tell && e->st->kind == SR_KIND_DATABASE ? apply_most(e, leaves, tell, ctx, &why) : apply_all(e, leaves, &why);
	sr_replica_edit_sweep(r, i);
	if (rc != SR_OK && err)
		*err = why;
	return rc;
}

enum sr_status sr_replica_edit_most(struct sr_replica *r, size_t i, struct sr_leaves *leaves, sr_edit_left_fn *tell, void *ctx,
				    struct sr_err *err)
{
	return edit(&(struct editing){.r = r}, i, leaves, tell, ctx, err);
}

enum sr_status sr_replica_edit(struct sr_replica *r, size_t i, struct sr_leaves *leaves, struct sr_err *err)
{
	return edit(&(struct editing){.r = r}, i, leaves, NULL, NULL, err);
}

enum sr_status sr_replica_heal(struct sr_replica *r, size_t i, struct sr_leaves *leaves, struct sr_err *err)
{
	struct sr_err why = {0};
	enum sr_status rc = edit(&(struct editing){.r = r, .heals = true}, i, leaves, NULL, NULL, &why);

	if (rc != SR_OK && why.sys == EUCLEAN) /* an index says otherwise than the row */
		return edit(&(struct editing){.r = r, .heals = true, .reindexes = true}, i, leaves, NULL, NULL, err);
	if (rc != SR_OK)
		*err = why;
	return rc;
}

enum sr_status sr_replica_reindex(struct sr_replica *r, size_t i, struct sr_err *err)
{
	struct sr_leaves *none = sr_leaves_new(sr_state_dir(r->state));
	enum sr_status rc = edit(&(struct editing){.r = r, .heals = true, .reindexes = true}, i, none, NULL, NULL, err);

	sr_leaves_free(none);
	return rc;
}

/* --- when one was cut short ------------------------------------------------------------------------------------------ */

static enum sr_status recover(struct editing *e, const struct sr_uuid *id, struct sr_leaves *leaves, struct sr_err *err)
{
	struct sr_apply_ops ops = ops_of(e, id);
	enum sr_status rc;

	if (e->st->mode == SR_MODE_PAUSED)
		return sr_err_set(err, SR_E_UNAVAILABLE, "store %s, in which a restore was not finished: %s", e->st->name, e->st->why);
	sr_info("store %s: a restore of %zu items was interrupted; what it displaced is looked at", e->st->name, sr_leaves_count(leaves));
	rc = sr_apply_recover(e->st->store, leaves, NULL, &ops, err);
	return rc == SR_OK ? forget(e, err) : sr_err_context(err, "store %s: what a restore left", e->st->name);
}

enum sr_status sr_replica_edit_recover(struct sr_replica *r, size_t i, struct sr_err *err)
{
	struct editing e = {.r = r, .st = &r->stores[i], .recovers = true};
	struct sr_leaves *leaves;
	struct sr_intent_head head;
	bool found = false;
	enum sr_status rc = SR_OK;

	if (e.st->kind != SR_KIND_FILES)
		return SR_OK;
	leaves = sr_leaves_new(sr_state_dir(r->state));
	rc = sr_state_intents(r->state, &e.st->row, &head, leaves, &found, err);
	if (rc == SR_OK && found && sr_bytes_eq(head.note, sr_bytes_of(NOTE)))
		rc = recover(&e, &head.marker, leaves, err);
	sr_leaves_free(leaves);
	return rc;
}

void sr_replica_edit_sweep(struct sr_replica *r, size_t i)
{
	if (r->role == SR_ROLE_WEBSERVER && !is_under_way(r, &r->stores[i])) /* a datastore may be receiving just now */
		sr_store_sweep_stage(r->stores[i].store);
}
