/* limit.c - the deletion limit at the datastore (design section 8): of what webservers push, and of what its own scan finds.
 *
 * A push's deletions over the limit are refused, in a database with all that is pushed with them; an operator's approval travels with the
 * leaves, or is given here.  What was deleted directly over the limit is not committed: the store stays in the tree as it was and is paused,
 * until it is approved or put back.  Nor are fewer as long as more follow: a scan in the midst of an `rm -r` sees little of what goes, and nobody has kept the
 * content of a file that was deleted directly.
 * So all deletions up to the current root passed a judgement, and webservers that pull them need not judge again.  Where the limit of a store
 * is switched off nothing is judged, and `approved` says up to where an operator let deletions through. */
#include "lib/datastore/internal.h"

#include <inttypes.h>
#include <string.h>

#include "lib/base/log.h"

#define FEW  10   /* so many files more that are deleted directly, and they have not come to rest */
#define SOON 1000 /* ms: fewer are looked at again after that, more after half an interval */
#define META_APPROVED "deletions-approved" /* be64 epoch, be64 seq */

/* --- a push ------------------------------------------------------------------------------------------------------------- */

static void refuse(struct sr_ds_part *part, size_t k)
{
	part->fate[k] = SR_FATE_REFUSED;
	part->why[k] = SR_REFUSED_HELD;
}

static enum sr_status add_leaves(struct sr_ds_part *part, uint8_t store_kind, struct sr_err *err)
{
	struct sr_tally *t = &part->tally;
	enum sr_status rc = SR_OK;

	for (size_t k = 0; k < sr_leaves_count(part->leaves) && rc == SR_OK; k++) {
		struct sr_leaf leaf;

		if (part->fate[k] != SR_FATE_GO)
			continue;
		rc = sr_leaves_at(part->leaves, k, &leaf, err);
		if (rc != SR_OK)
			break;
		sr_tally_add(t, k, store_kind, leaf.path, &leaf.expect, &leaf.to);
		if (leaf.flags & SR_LEAF_APPROVED && t->n && t->deleted[t->n - 1].index == k)
			t->units[t->deleted[t->n - 1].unit].approved = true;
	}
	return rc;
}

/* They are no content, and count for nothing, but wait with the rest: they tell of what was in them. */
static enum sr_status refuse_directories(struct sr_ds_part *part, struct sr_err *err)
{
	for (size_t k = 0; k < sr_leaves_count(part->leaves); k++) {
		struct sr_leaf leaf;
		enum sr_status rc = sr_leaves_at(part->leaves, k, &leaf, err);

		if (rc != SR_OK)
			return rc;
		if (part->fate[k] == SR_FATE_GO && leaf.expect.kind == SR_KIND_DIR && leaf.to.kind == SR_KIND_NONE)
			refuse(part, k);
	}
	return SR_OK;
}

enum sr_status sr_ds_limit(struct sr_ds_push *p, size_t i, struct sr_err *err)
{
	struct sr_ds_part *part = &p->parts[i];
	struct sr_replica_store *s = &p->d->r->stores[i];
	struct sr_tally *t = &part->tally;
	enum sr_status rc;

	sr_tally_free(t);
	if (!part->leaves)
		return SR_OK;
	rc = add_leaves(part, s->kind, err);
	if (rc != SR_OK || !t->n)
		return rc;
	sr_tally_judge(t, p->d->ledger, s->name, s->config, SR_WAY_RECEIVE, p->d->r->nodes, &s->map, NULL, false);
	if (!t->held)
		return SR_OK;
	if (s->kind == SR_KIND_DATABASE) {
		for (size_t k = 0; k < sr_leaves_count(part->leaves); k++)
			refuse(part, k);
	} else if (!t->units[0].approved) { /* files are one unit */
		for (size_t k = 0; k < t->n; k++)
			if (t->deleted[k].net)
				refuse(part, t->deleted[k].index);
		rc = refuse_directories(part, err);
		if (rc != SR_OK)
			return rc;
	}
	sr_tally_free(t);
	sr_ds_note_refused(p);
	return SR_OK; /* the ledger is saved by the next turn: what is written here is rolled back */
}

/* By the operator there, or by the one here. */
static bool any_approved(const struct sr_tally *t)
{
	for (size_t i = 0; i < t->units_n; i++)
		if (t->units[i].approved || t->units[i].verdict == SR_LIMIT_APPROVED)
			return true;
	return false;
}

void sr_ds_limit_done(struct sr_ds_push *p)
{
	bool approved = false;
	struct sr_err err;

	for (size_t i = 0; i < p->d->r->n; i++) {
		struct sr_tally *t = &p->parts[i].tally;

		approved |= any_approved(t);
		sr_tally_done(t, p->d->ledger, p->d->r->stores[i].name, SR_WAY_RECEIVE);
		sr_tally_free(t);
	}
	if (approved && sr_ds_approved_here(p->d, &err) != SR_OK)
		sr_warn("%s", err.text);
}

/* --- the own scan ---------------------------------------------------------------------------------------------------------- */

struct found {
	struct sr_tally tally;
	uint8_t kind;
	size_t n;
};

static enum sr_status on_difference(void *ctx, struct sr_bytes path, const struct sr_version *from, const struct sr_version *to)
{
	struct found *f = ctx;

	sr_tally_add(&f->tally, f->n++, f->kind, path, from, to);
	return SR_OK;
}

static uint64_t net_deletions(const struct sr_tally *t)
{
	uint64_t net = 0;

	for (size_t i = 0; i < t->units_n; i++)
		if (t->units[i].verdict != SR_LIMIT_APPROVED)
			net += t->units[i].net;
	return net;
}

/* Files are deleted one by one: they go when, a while after a scan found them, another one finds hardly more. */
static bool still_going(struct sr_datastore *d, size_t i, const struct sr_tally *t)
{
	struct sr_ds_going *g = &d->going[i];
	uint64_t net = d->r->stores[i].kind == SR_KIND_DATABASE ? 0 : net_deletions(t);
	int64_t now = sr_ticks_ms(), half = (int64_t)d->interval * 500, at;

	if (!g->net || net < g->net || net >= g->net + FEW)
		*g = (struct sr_ds_going){net, now};
	at = g->since + (net < FEW && half > SOON ? SOON : half);
	if (!net || now >= at)
		return false;
	if (!d->look_at || at < d->look_at)
		d->look_at = at;
	return true;
}

enum sr_status sr_ds_limit_scan(void *ctx, size_t i, const struct sr_hash *before, const struct sr_hash *after, struct sr_err *err)
{
	struct sr_datastore *d = ctx;
	struct sr_replica_store *s = &d->r->stores[i];
	struct found f = {.kind = s->kind};
	struct sr_buf text = {0};
	enum sr_status rc;

	if (!d->judging)
		return SR_OK;
	rc = sr_store_diff(d->r->nodes, s->kind, before, after, on_difference, &f, err);
	if (rc == SR_OK && f.tally.n)
		sr_tally_judge(&f.tally, d->ledger, s->name, s->config, SR_WAY_SCAN, d->r->nodes, before, NULL, false);
	if (rc == SR_OK && f.tally.held) {
		sr_tally_text(&f.tally, &text);
		rc = sr_err_set(err, SR_E_HELD, "held: %s were deleted directly; `sameroot status` says how to put them back, or let them go",
				sr_buf_text(&text));
		sr_buf_free(&text);
	} else if (rc == SR_OK && still_going(d, i, &f.tally)) {
		rc = sr_err_set(err, SR_E_HELD, "held: files are being deleted directly: %" PRIu64 " so far, which wait until no more follow",
				d->going[i].net);
	} else if (rc == SR_OK) {
		for (size_t k = 0; k < f.tally.units_n; k++)
			d->scan_approved |= f.tally.units[k].verdict == SR_LIMIT_APPROVED;
		sr_tally_done(&f.tally, d->ledger, s->name, SR_WAY_SCAN);
	}
	sr_ledger_settle(d->ledger, s->name, SR_WAY_SCAN);
	sr_tally_free(&f.tally);
	return rc;
}

/* --- approval ------------------------------------------------------------------------------------------------------------------ */

enum sr_status sr_ds_limit_load(struct sr_datastore *d, struct sr_err *err)
{
	struct sr_buf buf = {0};
	bool found = false;
	enum sr_status rc = sr_ledger_open(&d->ledger, d->r->state, err);

	if (rc == SR_OK)
		rc = sr_state_get(d->r->state, META_APPROVED, &buf, &found, err);
	if (rc == SR_OK && found) {
		struct sr_reader in = sr_reader(sr_buf_view(&buf));

		d->approved_epoch = sr_read_be64(&in);
		d->approved_seq = sr_read_be64(&in);
	}
	sr_buf_free(&buf);
	d->r->judge = sr_ds_limit_scan;
	d->r->judge_ctx = d;
	return rc;
}

/* Webservers may pull the deletions up to the root that is now. */
enum sr_status sr_ds_approved_here(struct sr_datastore *d, struct sr_err *err)
{
	struct sr_buf buf = {0};
	enum sr_status rc;

	sr_buf_be64(&buf, d->at.epoch);
	sr_buf_be64(&buf, d->at.seq);
	rc = sr_state_put(d->r->state, META_APPROVED, sr_buf_view(&buf), err);
	sr_buf_free(&buf);
	pthread_mutex_lock(&d->face);
	d->approved_epoch = d->at.epoch;
	d->approved_seq = d->at.seq;
	sr_random(&d->settings, sizeof(d->settings));
	pthread_mutex_unlock(&d->face);
	return rc;
}

uint64_t sr_ds_approved_seq(const struct sr_datastore *d, size_t i)
{
	if (sr_limit_judges(d->r->stores[i].config))
		return d->shown.seq;
	return d->approved_epoch == d->shown.epoch ? d->approved_seq : 0;
}

enum sr_status sr_datastore_adopt_deletions(struct sr_datastore *d, struct sr_err *err)
{
	enum sr_status rc;

	pthread_mutex_lock(&d->writer);
	(void)sr_ledger_approve(d->ledger);
	rc = sr_ledger_save(d->ledger, err);
	if (rc == SR_OK && !sr_uuid_none(&d->at.instance))
		rc = sr_ds_approved_here(d, err);
	pthread_mutex_unlock(&d->writer);
	if (rc == SR_OK)
		sr_datastore_scan_now(d);
	return rc;
}
