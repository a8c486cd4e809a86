/* walk.c - how a tree gets from one set of nodes to another: what to send, what to ask for.
 *
 * Both sides go down the wanted tree, depth first, and keep beside it the place in `mine` that holds the same names: the child for the same
 * byte, the map of the same entry.  Where `mine` has only a bucket, that bucket goes along, for it holds all the names further down.
 * The steps stand on a heap, not on the stack: the tree comes from outside and may be deep. */
#include "hashtree/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct step {
	struct sr_hash wanted, mine;
	uint8_t depth, mine_depth; /* bytes of the place below the top of its map */
	uint16_t level;            /* maps above it */
	bool settle;               /* all below `wanted` has been seen */
	bool claimed, may_be_empty; /* of `wanted`, by what refers to it: */
	uint64_t entries, leaves, bytes; /* entries 0: not said */
};

struct set { /* of hashes; open addressing, zero is free */
	struct sr_hash *at;
	size_t n, cap;
};

struct walk {
	const struct sr_nodes *s;
	struct step *steps;
	size_t n, cap;
	struct set seen; /* wanted nodes met before, and what `mine` is known to hold */
	bool foreign;    /* the tree comes from outside */
	struct sr_err *err;
};

static const struct sr_hash none;

static struct sr_hash *set_slot(const struct set *set, const struct sr_hash *hash)
{
	size_t i;

	memcpy(&i, hash->b, sizeof i);
	for (i &= set->cap - 1; !sr_hash_none(&set->at[i]) && !sr_hash_eq(&set->at[i], hash); i = (i + 1) & (set->cap - 1))
		;
	return &set->at[i];
}

/* False when it was there already. */
static bool set_add(struct set *set, const struct sr_hash *hash)
{
	struct sr_hash *slot;

	if (set->n * 2 >= set->cap) {
		struct set bigger = {.n = set->n, .cap = set->cap ? 2 * set->cap : 256};

		bigger.at = sr_alloc(bigger.cap * sizeof *bigger.at);
		for (size_t i = 0; i < set->cap; i++)
			if (!sr_hash_none(&set->at[i]))
				*set_slot(&bigger, &set->at[i]) = set->at[i];
		free(set->at);
		*set = bigger;
	}
	slot = set_slot(set, hash);
	if (!sr_hash_none(slot))
		return false;
	*slot = *hash;
	set->n++;
	return true;
}

static void push(struct walk *w, const struct step *step)
{
	if (w->n == w->cap) {
		w->cap = w->cap ? 2 * w->cap : 256;
		w->steps = sr_realloc(w->steps, w->cap * sizeof *w->steps);
	}
	w->steps[w->n++] = *step;
}

static void walk_free(struct walk *w)
{
	free(w->steps);
	free(w->seen.at);
}

/* What the node says of what its i-th reference leads to. */
static void claim_of(const struct sr_node *node, size_t i, struct step *out)
{
	const struct sr_entry *e = node->inner ? NULL : &node->entries[i];

	out->claimed = true;
	out->entries = e ? 0 : node->children[i].entries;
	out->leaves = e ? e->leaves : node->children[i].leaves;
	out->bytes = e ? e->bytes : node->children[i].bytes;
	out->may_be_empty = e && e->kind == SR_KIND_DIR && e->leaves == 1 && e->bytes == 0;
}

static uint64_t entries_of(const struct sr_node *node)
{
	uint64_t sum = 0;

	for (size_t i = 0; node->inner && i < node->n; i++)
		sum = sr_count_add(sum, node->children[i].entries);
	return node->inner ? sum : node->n;
}

/* Is a node what was claimed of it?  Who believed a count that is none would go on without end in a tree of a few nodes that refer to each other often. */
static bool claim_holds(const struct step *claim, const struct sr_node *node)
{
	if (!claim->claimed)
		return true;
	if (claim->entries && claim->entries != entries_of(node))
		return false;
	if (claim->may_be_empty && node->leaves == 0)
		return true; /* a directory without anything counts as one leaf all the same */
	return claim->leaves == node->leaves && claim->bytes == node->bytes;
}

static enum sr_status claim_check(const struct walk *w, const struct step *at, const struct sr_node *node)
{
	uint64_t most = sr_nodes_most(w->s), entries = entries_of(node);

	if (!claim_holds(at, node))
		return sr_err_set(w->err, SR_E_DATA, "a tree that does not count what is in it");
	if (node->leaves > most || entries > most)
		return sr_err_set(w->err, SR_E_LIMIT, "a tree of %" PRIu64 " leaves, and Max-Leaves is %" PRIu64, node->leaves > entries ? node->leaves : entries, most);
	return SR_OK;
}

/* All that the node refers to is here: is it what the node claims?  Each way to a node is looked at, also where it was met before by another. */
static enum sr_status claims_check(const struct walk *w, const struct step *at)
{
	struct sr_node node, below;
	enum sr_status st = sr_nodes_load(w->s, &at->wanted, NULL, at->depth, &node, w->err);

	if (st != SR_OK)
		return st;
	for (size_t i = 0; st == SR_OK && i < node.n; i++) {
		struct step claim;

		if (!sr_node_ref(&node, i) || sr_nodes_load(w->s, sr_node_ref(&node, i), NULL, 0, &below, NULL) != SR_OK)
			continue;
		claim_of(&node, i, &claim);
		st = claim_check(w, &claim, &below);
		sr_node_free(&below);
	}
	sr_node_free(&node);
	return st;
}

/* The step to the i-th reference of the node at `at`, with its counterpart in `mine` (NULL: none). */
static struct step step_down(const struct walk *w, const struct step *at, const struct sr_node *wanted, const struct sr_node *mine,
                             size_t i)
{
	struct step next = {.wanted = *sr_node_ref(wanted, i), .depth = (uint8_t)(at->depth + 1), .level = at->level};
	const struct sr_child *child;
	const struct sr_entry *entry;
	struct sr_entry found;

	claim_of(wanted, i, &next);
	if (!wanted->inner) {
		next.depth = 0;
		next.level++;
		if (!mine)
			return next;
		entry = mine->inner ? NULL : sr_node_entry(mine, wanted->entries[i].name);
		if (mine->inner && sr_map_get_below(w->s, &at->mine, at->mine_depth, wanted->entries[i].name, &found, NULL) == SR_OK)
			entry = &found;
		if (entry && sr_kind_nests(entry->kind))
			next.mine = entry->hash;
	} else if (mine && mine->inner) {
		child = sr_node_child(mine, wanted->children[i].byte);
		next.mine = child ? child->hash : none;
		next.mine_depth = (uint8_t)(at->mine_depth + 1);
	} else if (mine) {
		next.mine = at->mine;
		next.mine_depth = at->mine_depth;
	}
	return next;
}

/* Remember that the other side has what this node of `mine` refers to. */
static void remember(struct walk *w, const struct sr_node *mine)
{
	for (size_t i = 0; i < mine->n; i++)
		if (sr_node_ref(mine, i))
			set_add(&w->seen, sr_node_ref(mine, i));
}

/* Push what the node at `at`, which is here, refers to; the first is taken next. */
static enum sr_status descend(struct walk *w, const struct step *at, bool skip_what_mine_has)
{
	struct sr_node wanted, mine;
	enum sr_status st;
	bool has_mine;

	if (at->level > SR_DEPTH_MAX + 1) /* the root map stands above a store */
		return sr_err_set(w->err, SR_E_DATA, "a tree of more than %d levels", SR_DEPTH_MAX);
	st = sr_nodes_load(w->s, &at->wanted, NULL, at->depth, &wanted, w->err);
	if (st != SR_OK)
		return st;
	st = w->foreign ? claim_check(w, at, &wanted) : SR_OK;
	if (st != SR_OK) {
		sr_node_free(&wanted);
		return st;
	}
	has_mine = !sr_hash_none(&at->mine) && sr_nodes_load(w->s, &at->mine, NULL, at->mine_depth, &mine, NULL) == SR_OK;
	if (has_mine && skip_what_mine_has)
		remember(w, &mine);
	for (size_t i = wanted.n; i-- > 0;) {
		struct step next;

		if (!sr_node_ref(&wanted, i))
			continue;
		next = step_down(w, at, &wanted, has_mine ? &mine : NULL, i);
		push(w, &next);
	}
	sr_node_free(&wanted);
	if (has_mine)
		sr_node_free(&mine);
	return SR_OK;
}

enum sr_status sr_walk_serve(const struct sr_nodes *s, const struct sr_hash *wanted, const struct sr_hash *mine, size_t limit,
                             sr_node_fn *fn, void *ctx, struct sr_err *err)
{
	struct walk w = {.s = s, .err = err};
	struct step at = {.wanted = *wanted, .mine = *mine};
	struct sr_bytes node, held;
	size_t served = 0;
	enum sr_status st = SR_OK;

	if (!sr_nodes_get(s, wanted, &node))
		return sr_err_set(err, SR_E_GONE, "the wanted node is not here");
	push(&w, &at);
	while (st == SR_OK && w.n) {
		at = w.steps[--w.n];
		if (sr_hash_eq(&at.wanted, &at.mine) || !sr_nodes_get(s, &at.wanted, &node) || !set_add(&w.seen, &at.wanted))
			continue;
		if (served && (served >= limit || node.len > limit - served))
			break;
		served += node.len;
		st = fn(ctx, &at.wanted, node);
		if (st == SR_OK && (sr_hash_none(&at.mine) || sr_nodes_get(s, &at.mine, &held)))
			st = descend(&w, &at, true); /* else nobody here knows what the other has: it asks again */
	}
	walk_free(&w);
	return st;
}

enum sr_status sr_walk_missing(const struct sr_nodes *s, const struct sr_hash *wanted, const struct sr_hash *mine, struct sr_pair *out,
                               size_t max, size_t *n, struct sr_err *err)
{
	struct walk w = {.s = s, .foreign = true, .err = err};
	struct step at = {.wanted = *wanted, .mine = *mine};
	struct sr_bytes node, held;
	size_t found = 0;
	enum sr_status st = SR_OK;

	if (!sr_hash_none(wanted))
		push(&w, &at);
	while (st == SR_OK && w.n && found < max) {
		at = w.steps[--w.n];
		if (at.settle) {
			st = claims_check(&w, &at);
			if (st == SR_OK)
				sr_nodes_settle(s, &at.wanted);
			continue;
		}
		if (sr_nodes_whole(s, &at.wanted) || !set_add(&w.seen, &at.wanted))
			continue;
		if (!sr_nodes_get(s, &at.wanted, &node)) {
			out[found++] = (struct sr_pair){at.wanted, sr_nodes_get(s, &at.mine, &held) ? at.mine : none};
			continue;
		}
		at.settle = true;
		push(&w, &at);
		st = descend(&w, &at, false);
	}
	walk_free(&w);
	if (st == SR_OK)
		*n = found;
	return st;
}
