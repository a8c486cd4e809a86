/* limit.c - the deletion limit of a round: judged between planning and handing on (design section 8).
 *
 * What would be pushed is judged by this webserver, and by the datastore again, whose refusal comes back in the same round.  What would be
 * pulled passed the datastore's judgement, or an operator's, up to the seq that the check-in says for the store; it is judged here only where
 * the datastore does not vouch for it: its own limit is switched off, and nothing was approved since this webserver was last in step; or what it
 * has is, by the counts of its tree, less than half of what is here - in the store, or in all of them together, where that is held whatever a
 * single store's limit says, as is a store that is empty there, and stays so until it is there again or the operator lets it go.  Only an operator's approval at the datastore
 * vouches for that: an emptied datastore may say anything else.
 *
 * In files the deletions that are held wait, with the directories around them, and the rest goes on; in a database the whole group waits. */
#include <stdlib.h>
#include <string.h>

#include "lib/sync/internal.h"

const char *const sr_why_held = "held: too many deletions at once; `sameroot adopt --deletions` lets them through";

static void hold(struct sr_item *it)
{
	it->act = SR_ACT_SKIP;
	it->archive = false;
	it->why = sr_why_held;
	it->flags = 0;
}

/* A directory stays with what is held in it: items are sorted, what is below one comes behind it.  Empty ones are no content, and count for nothing,
 * but wait with the rest: they tell of what was in them. */
static void hold_directories(struct sr_store_plan *p, uint8_t act)
{
	for (size_t k = p->n; k-- > 0;) {
		struct sr_item *it = &p->items[k];
		const struct sr_version *from = act == SR_ACT_PUSH ? &it->remote : &it->local, *to = act == SR_ACT_PUSH ? &it->local : &it->remote;

		if (it->act != act || from->kind != SR_KIND_DIR || to->kind == SR_KIND_DIR)
			continue;
		if (to->kind == SR_KIND_NONE)
			hold(it);
		for (size_t j = k + 1; it->act == act && j < p->n && sr_path_under(p->items[j].path, it->path); j++)
			if (p->items[j].act == SR_ACT_SKIP && p->items[j].why == sr_why_held)
				hold(it);
	}
}

static void hold_files(struct sr_store_plan *p, const struct sr_tally *t, uint8_t act)
{
	for (size_t k = 0; k < t->n; k++) {
		size_t at = t->deleted[k].index;

		if (!t->deleted[k].net)
			continue;
		hold(&p->items[at]);
		for (size_t j = at + 1; j < p->n && sr_path_under(p->items[j].path, p->items[at].path); j++) /* a directory was to take its place */
			if (p->items[j].act == act)
				hold(&p->items[j]);
	}
	hold_directories(p, act);
}

static bool is_emptied(uint64_t here, uint64_t there)
{
	return here >= SR_LIMIT_WHOLE && !there;
}

/* By counts alone: have more than half of the leaves here, of which there are at least ten, no counterpart there, or not a single one? */
static bool shrinks(uint64_t here, uint64_t there)
{
	return is_emptied(here, there) || (here >= 10 && here > there && (here - there) > here / 2);
}

static void count_store(const struct sr_sync *s, size_t i, uint64_t *here, uint64_t *there)
{
	struct sr_hash map;
	const char *why;
	uint64_t bytes;

	*here = *there = 0;
	if (s->r->stores[i].mode != SR_MODE_READY || !sr_sync_remote_map(s, i, &map, &why) ||
	    sr_map_counts(s->r->nodes, &map, there, &bytes) != SR_OK ||
	    sr_map_counts(s->r->nodes, &s->r->stores[i].map, here, &bytes) != SR_OK)
		*here = *there = 0;
}

/* Of the stores whose deletions are judged at all. */
static bool all_shrinks(const struct sr_sync *s)
{
	uint64_t here = 0, there = 0, h, t;

	for (size_t i = 0; i < s->r->n; i++) {
		if (!sr_limit_judges(s->r->stores[i].config))
			continue;
		count_store(s, i, &h, &t);
		here += h;
		there += t < h ? t : h; /* what is new elsewhere makes up for nothing */
	}
	return shrinks(here, there);
}

static bool store_shrinks(const struct sr_sync *s, size_t i)
{
	uint64_t here, there;

	count_store(s, i, &here, &there);
	return shrinks(here, there);
}

static bool store_is_emptied(const struct sr_sync *s, size_t i)
{
	uint64_t here, there;

	count_store(s, i, &here, &there);
	return is_emptied(here, there);
}

/* Up to the datastore's present state, or in it since this webserver was last in step. */
static bool covers(const struct sr_sync *s, uint64_t seq)
{
	return seq >= s->info.at.seq || (s->as_of_epoch == s->info.at.epoch && seq > s->as_of_seq);
}

static bool operator_vouches(const struct sr_sync *s, size_t i)
{
	const struct sr_tree_store *there = sr_sync_there(s, i);

	return there && covers(s, there->operator_seq);
}

/* Is what is pulled held whatever the limit of the store says? */
static bool held_anyway(const struct sr_sync *s, size_t i)
{
	return sr_limit_judges(s->r->stores[i].config) && !operator_vouches(s, i) &&
	       (all_shrinks(s) || store_is_emptied(s, i) || sr_ledger_holds_way(s->ledger, s->r->stores[i].name, SR_WAY_PULL));
}

static enum sr_way way_of(uint8_t act)
{
	return act == SR_ACT_PUSH ? SR_WAY_PUSH : SR_WAY_PULL;
}

static void judge(struct sr_sync *s, size_t i, uint8_t act, const struct sr_hash *map)
{
	const struct sr_replica_store *st = &s->r->stores[i];
	struct sr_store_plan *p = &s->plans[i];

	sr_tally_judge(&p->tally[way_of(act)], s->ledger, st->name, st->config, way_of(act), s->r->nodes, map,
		       act == SR_ACT_PUSH ? &st->map : NULL, act == SR_ACT_PUSH ? p->held_there : held_anyway(s, i));
}

static bool is_approved(const struct sr_tally *t, size_t k)
{
	return t->units[t->deleted[k].unit].verdict == SR_LIMIT_APPROVED;
}

/* --- a directory tree, by its items ------------------------------------------------------------------------------------ */

static void judge_files(struct sr_sync *s, size_t i, uint8_t act, const struct sr_hash *map)
{
	struct sr_store_plan *p = &s->plans[i];
	struct sr_tally *t = &p->tally[way_of(act)];

	for (size_t k = 0; k < p->n; k++) {
		const struct sr_item *it = &p->items[k];

		if (it->act == act)
			sr_tally_add(t, k, SR_KIND_FILES, it->path, act == SR_ACT_PUSH ? &it->remote : &it->local,
				     act == SR_ACT_PUSH ? &it->local : &it->remote);
	}
	judge(s, i, act, map);
	if (t->held) {
		hold_files(p, t, act);
		sr_tally_free(t); /* nothing of it happens */
	}
	for (size_t k = 0; act == SR_ACT_PUSH && k < t->n; k++)
		if (is_approved(t, k))
			p->items[t->deleted[k].index].flags |= SR_LEAF_APPROVED;
}

/* --- a database, by the leaves that are to go --------------------------------------------------------------------------- */

/* The same leaves, with those flagged that were approved: of both lists the places rise. */
static enum sr_status flag_approved(struct sr_sync *s, struct sr_leaves **leaves, const struct sr_tally *t, struct sr_err *err)
{
	struct sr_leaves *flagged = sr_leaves_new(sr_state_dir(s->r->state));
	enum sr_status rc = SR_OK;

	for (size_t k = 0, next = 0; rc == SR_OK && k < sr_leaves_count(*leaves); k++) {
		struct sr_leaf leaf;

		rc = sr_leaves_at(*leaves, k, &leaf, err);
		if (rc == SR_OK && next < t->n && t->deleted[next].index == k && is_approved(t, next++))
			leaf.flags |= SR_LEAF_APPROVED;
		if (rc == SR_OK)
			rc = sr_leaves_add(flagged, &leaf, err);
	}
	sr_leaves_free(rc == SR_OK ? *leaves : flagged);
	if (rc == SR_OK)
		*leaves = flagged;
	return rc;
}

static enum sr_status judge_rows(struct sr_sync *s, size_t i, uint8_t act, const struct sr_hash *map, struct sr_err *err)
{
	struct sr_store_plan *p = &s->plans[i];
	struct sr_leaves **leaves = act == SR_ACT_PUSH ? &p->push : &p->pull;
	struct sr_tally *t = &p->tally[way_of(act)];
	bool approved = false;
	enum sr_status rc = SR_OK;

	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(*leaves); k++) {
		struct sr_leaf leaf;

		rc = sr_leaves_at(*leaves, k, &leaf, err);
		if (rc == SR_OK)
			sr_tally_add(t, k, SR_KIND_DATABASE, leaf.path, &leaf.expect, &leaf.to);
	}
	if (rc != SR_OK || !t->n)
		return rc;
	judge(s, i, act, map);
	if (t->held) {
		p->behind |= act == SR_ACT_PULL;
		p->first_skip = sr_why_held;
		p->skipped += sr_leaves_count(*leaves);
		p->skipped_held += sr_leaves_count(*leaves);
		sr_leaves_free(*leaves);
		*leaves = sr_leaves_new(sr_state_dir(s->r->state));
		sr_tally_free(t); /* nothing of it happens */
	}
	for (size_t k = 0; k < t->n; k++)
		approved |= is_approved(t, k);
	return approved && act == SR_ACT_PUSH ? flag_approved(s, leaves, t, err) : SR_OK;
}

/* --- both --------------------------------------------------------------------------------------------------------------- */

static bool vouched(const struct sr_sync *s, size_t i)
{
	const struct sr_tree_store *there = sr_sync_there(s, i);

	return operator_vouches(s, i) || (there && covers(s, there->approved_seq) && !store_shrinks(s, i) && !held_anyway(s, i));
}

void sr_sync_limit_files(struct sr_sync *s, size_t i, const struct sr_hash *remote)
{
	judge_files(s, i, SR_ACT_PUSH, remote);
	if (!vouched(s, i) && !sr_sync_mirrors(s, i)) /* a mirror is the operator's word */
		judge_files(s, i, SR_ACT_PULL, &s->r->stores[i].map);
}

enum sr_status sr_sync_limit_rows(struct sr_sync *s, size_t i, const struct sr_hash *remote, struct sr_err *err)
{
	enum sr_status rc = judge_rows(s, i, SR_ACT_PUSH, remote, err);

	return rc == SR_OK && !vouched(s, i) && !sr_sync_mirrors(s, i) ? judge_rows(s, i, SR_ACT_PULL, &s->r->stores[i].map, err) : rc;
}

void sr_sync_limit_done(struct sr_sync *s, size_t i, enum sr_way way)
{
	sr_tally_done(&s->plans[i].tally[way], s->ledger, s->r->stores[i].name, way);
	sr_tally_free(&s->plans[i].tally[way]);
}

enum sr_status sr_sync_limit_save(struct sr_sync *s, struct sr_err *err)
{
	for (size_t i = 0; s->plans && i < s->r->n; i++) {
		if (!s->plans[i].compared)
			continue; /* nothing is known of it now */
		sr_ledger_settle(s->ledger, s->r->stores[i].name, SR_WAY_PUSH);
		sr_ledger_settle(s->ledger, s->r->stores[i].name, SR_WAY_PULL);
	}
	return sr_ledger_save(s->ledger, err);
}

enum sr_status sr_sync_approve(struct sr_sync *s, struct sr_err *err)
{
	(void)sr_ledger_approve(s->ledger);
	return sr_ledger_save(s->ledger, err);
}
