/* map.c - one map: built at once, read, and changed along the paths of its changes.
 *
 * Both ways make the same nodes.  A build cuts the sorted places into runs until a run fits a bucket; an edit does so below the nodes that
 * it meets, and turns an inner node back into a bucket when no more than SR_BUCKET_MAX entries are left below it. */
#include "hashtree/internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct work {
	struct sr_nodes *s;
	struct sr_bytes attrs; /* of the top node */
	size_t skip;           /* where in an edit's path the name begins */
	struct sr_err *err;
};

/* --- slots ------------------------------------------------------------------------------------------------------ */

void sr_map_place(const struct sr_nodes *s, struct sr_bytes name, uint8_t place[SR_HASH_LEN])
{
	struct sr_hash h;

	sr_hash_of(&h, sr_nodes_key(s), name);
	memcpy(place, h.b, SR_HASH_LEN);
}

static struct sr_bytes slot_name(const struct work *w, const struct sr_slot *slot)
{
	if (slot->entry)
		return slot->entry->name;
	return sr_bytes(slot->edit->path.at + w->skip, slot->edit->path.len - w->skip);
}

static bool slot_removes(const struct sr_slot *slot)
{
	return (slot->entry ? slot->entry->kind : slot->edit->to.kind) == SR_KIND_NONE;
}

static struct sr_entry slot_entry(const struct work *w, const struct sr_slot *slot)
{
	const struct sr_version *to;
	struct sr_entry e = {0};

	if (slot->entry)
		return *slot->entry;
	to = &slot->edit->to;
	e.name = slot_name(w, slot);
	e.kind = to->kind;
	e.mode = sr_kind_has_mode(to->kind) ? to->mode : 0;
	e.hash = to->hash;
	e.leaves = 1;
	e.bytes = to->bytes;
	return e;
}

static int place_cmp(const void *a, const void *b)
{
	const struct sr_slot *sa = a, *sb = b;

	return memcmp(sa->place, sb->place, SR_HASH_LEN);
}

/* Sort by place from byte `depth` on (those before are equal): by one pass a byte while there are many, for places are evenly spread. */
static void sort_places(struct sr_slot *slots, size_t n, unsigned depth)
{
	size_t start[257] = {0}, next[256];

	if (n <= SR_BUCKET_MAX || depth >= SR_HASH_LEN) {
		if (n > 1)
			qsort(slots, n, sizeof *slots, place_cmp);
		return;
	}
	for (size_t i = 0; i < n; i++)
		start[slots[i].place[depth] + 1]++;
	for (unsigned b = 0; b < 256; b++) {
		start[b + 1] += start[b];
		next[b] = start[b];
	}
	for (unsigned b = 0; b < 256; b++) {
		while (next[b] < start[b + 1]) {
			struct sr_slot *here = &slots[next[b]], other = *here;
			struct sr_slot *there = &slots[next[other.place[depth]]++];

			*here = *there; /* may be the same: then it is where it belongs */
			*there = other;
		}
	}
	for (unsigned b = 0; b < 256; b++)
		sort_places(slots + start[b], start[b + 1] - start[b], depth + 1);
}

/* How many slots from the front share byte `depth` of their place. */
static size_t run_length(const struct sr_slot *slots, size_t n, unsigned depth)
{
	size_t i = 0;

	while (i < n && slots[i].place[depth] == slots[0].place[depth])
		i++;
	return i;
}

/* --- making nodes ----------------------------------------------------------------------------------------------- */

static struct sr_bytes attrs_at(const struct work *w, unsigned depth)
{
	return depth == 0 ? w->attrs : sr_bytes(NULL, 0);
}

static int entry_cmp(const void *a, const void *b)
{
	const struct sr_entry *ea = a, *eb = b;

	return sr_bytes_cmp(ea->name, eb->name);
}

static void write_bucket(const struct work *w, struct sr_slot *slots, size_t n, unsigned depth, struct sr_child *out)
{
	struct sr_node node = {.attrs = attrs_at(w, depth), .n = n};

	memset(out, 0, sizeof *out);
	if (n == 0 && depth > 0)
		return; /* an empty subtree has no node */
	node.entries = sr_alloc((n + 1) * sizeof *node.entries);
	for (size_t i = 0; i < n; i++) {
		node.entries[i] = slot_entry(w, &slots[i]);
		out->leaves = sr_count_add(out->leaves, node.entries[i].leaves);
		out->bytes = sr_count_add(out->bytes, node.entries[i].bytes);
	}
	for (size_t i = 1; i < n; i++) {
		if (entry_cmp(&node.entries[i - 1], &node.entries[i]) > 0) { /* most come in order */
			qsort(node.entries, n, sizeof *node.entries, entry_cmp);
			break;
		}
	}
	out->entries = n;
	sr_nodes_add(w->s, &node, &out->hash);
	sr_node_free(&node);
}

static void write_inner(const struct work *w, struct sr_child *children, size_t n, unsigned depth, struct sr_child *out)
{
	struct sr_node node = {.inner = true, .attrs = attrs_at(w, depth), .n = n, .children = children};

	memset(out, 0, sizeof *out);
	for (size_t i = 0; i < n; i++) {
		out->entries = sr_count_add(out->entries, children[i].entries);
		out->leaves = sr_count_add(out->leaves, children[i].leaves);
		out->bytes = sr_count_add(out->bytes, children[i].bytes);
	}
	sr_nodes_add(w->s, &node, &out->hash);
}

/* The subtree of exactly these slots, which are sorted by place and remove nothing.  When a whole place is shared by more than a
 * bucket holds - which takes as many collisions of the full hash - the bucket is written all the same, and refused when it is read. */
static void build(const struct work *w, struct sr_slot *slots, size_t n, unsigned depth, struct sr_child *out)
{
	struct sr_child *children;
	size_t m = 0;

	if (n <= SR_BUCKET_MAX || depth == SR_HASH_LEN) {
		write_bucket(w, slots, n, depth, out);
		return;
	}
	children = sr_alloc(256 * sizeof *children);
	for (size_t at = 0, run; at < n; at += run) {
		run = run_length(slots + at, n - at, depth);
		build(w, slots + at, run, depth + 1, &children[m]);
		children[m++].byte = slots[at].place[depth];
	}
	write_inner(w, children, m, depth, out);
	free(children);
}

static void child_to_entry(const struct sr_child *top, struct sr_entry *out)
{
	out->hash = top->hash;
	out->leaves = top->leaves;
	out->bytes = top->bytes;
}

void sr_map_build(struct sr_nodes *s, struct sr_bytes attrs, struct sr_entry *entries, size_t n, struct sr_entry *out)
{
	struct work w = {.s = s, .attrs = attrs};
	struct sr_slot *slots = sr_alloc((n + 1) * sizeof *slots);
	struct sr_child top;

	for (size_t i = 0; i < n; i++) {
		if (n > SR_BUCKET_MAX) /* a bucket does not need it */
			sr_map_place(s, entries[i].name, slots[i].place);
		slots[i].entry = &entries[i];
	}
	if (n > SR_BUCKET_MAX)
		sort_places(slots, n, 0);
	build(&w, slots, n, 0, &top);
	free(slots);
	child_to_entry(&top, out);
}

/* --- building, entry by entry ----------------------------------------------------------------------------------- */

struct sr_builder {
	struct sr_nodes *s;
	struct part {
		struct sr_buf entries; /* encoded */
		size_t n;
	} parts[256]; /* by the first byte of the place */
	size_t n;
};

struct sr_builder *sr_builder_new(struct sr_nodes *s)
{
	struct sr_builder *b = sr_alloc(sizeof *b);

	b->s = s;
	return b;
}

void sr_builder_free(struct sr_builder *b)
{
	for (size_t i = 0; b && i < 256; i++)
		sr_buf_free(&b->parts[i].entries);
	free(b);
}

void sr_builder_add(struct sr_builder *b, const struct sr_entry *entry)
{
	uint8_t place[SR_HASH_LEN];
	struct part *part;

	sr_map_place(b->s, entry->name, place);
	part = &b->parts[place[0]];
	sr_entry_encode(&part->entries, entry);
	part->n++;
	b->n++;
}

/* The entries of a part as slots; they BORROW its buffer. */
static void part_slots(const struct sr_builder *b, const struct part *part, struct sr_entry *entries, struct sr_slot *slots)
{
	struct sr_reader r = sr_reader(sr_buf_view(&part->entries));

	for (size_t i = 0; i < part->n; i++) {
		sr_entry_take(&r, &entries[i]);
		sr_map_place(b->s, entries[i].name, slots[i].place);
		slots[i].entry = &entries[i];
	}
}

/* Equal names have equal places.  (Other names do not, but by a collision of the full hash.) */
static bool two_of_one(const struct sr_slot *slots, size_t n)
{
	for (size_t i = 1; i < n; i++)
		for (size_t k = i; k-- > 0 && place_cmp(&slots[k], &slots[i]) == 0;)
			if (sr_bytes_eq(slots[k].entry->name, slots[i].entry->name))
				return true;
	return false;
}

/* The map of parts[from..to-1], which goes to depth `depth` of it: false when two names are one. */
static bool build_parts(struct sr_builder *b, const struct work *w, unsigned from, unsigned to, unsigned depth, struct sr_child *out)
{
	struct sr_slot *slots;
	struct sr_entry *entries;
	size_t n = 0, at = 0;
	bool good;

	for (unsigned i = from; i < to; i++)
		n += b->parts[i].n;
	slots = sr_alloc((n + 1) * sizeof *slots);
	entries = sr_alloc((n + 1) * sizeof *entries);
	for (unsigned i = from; i < to; at += b->parts[i++].n)
		part_slots(b, &b->parts[i], entries + at, slots + at);
	if (n > 1)
		qsort(slots, n, sizeof *slots, place_cmp);
	good = !two_of_one(slots, n);
	if (good)
		build(w, slots, n, depth, out);
	free(entries);
	free(slots);
	for (unsigned i = from; i < to; i++)
		sr_buf_free(&b->parts[i].entries);
	return good;
}

bool sr_builder_finish(struct sr_builder *b, struct sr_bytes attrs, struct sr_entry *out)
{
	struct work w = {.s = b->s, .attrs = attrs};
	struct sr_child *children = sr_alloc(256 * sizeof *children), top;
	bool good = true;
	size_t m = 0;

	if (b->n <= SR_BUCKET_MAX) {
		good = build_parts(b, &w, 0, 256, 0, &top);
	} else {
		for (unsigned i = 0; good && i < 256; i++) {
			if (!b->parts[i].n)
				continue;
			good = build_parts(b, &w, i, i + 1, 1, &children[m]);
			children[m++].byte = (uint8_t)i;
		}
		if (good)
			write_inner(&w, children, m, 0, &top);
	}
	if (good)
		child_to_entry(&top, out);
	free(children);
	sr_builder_free(b);
	return good;
}

/* --- editing ---------------------------------------------------------------------------------------------------- */

/* Whether one of these sorted slots changes `name`, which has this place. */
static bool changed(const struct work *w, const struct sr_slot *slots, size_t n, const uint8_t *place, struct sr_bytes name)
{
	size_t low = 0, high = n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (memcmp(slots[middle].place, place, SR_HASH_LEN) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < n && memcmp(slots[low].place, place, SR_HASH_LEN) == 0; low++)
		if (sr_bytes_eq(slot_name(w, &slots[low]), name))
			return true;
	return false;
}

/* The subtree of these entries, where no change names them, and of the changes. */
static void merge(const struct work *w, const struct sr_entry *old, size_t old_n, struct sr_slot *slots, size_t n, unsigned depth,
                  struct sr_child *out)
{
	struct sr_slot *all = old_n ? sr_alloc((old_n + n) * sizeof *all) : slots; /* a first fill needs no second array */
	size_t m = 0;

	for (size_t i = 0; i < old_n; i++) {
		sr_map_place(w->s, old[i].name, all[m].place);
		if (!changed(w, slots, n, all[m].place, old[i].name))
			all[m++].entry = &old[i];
	}
	for (size_t i = 0; i < n; i++)
		if (!slot_removes(&slots[i]))
			all[m++] = slots[i];
	if (old_n && m > SR_BUCKET_MAX) /* a bucket does not need it */
		sort_places(all, m, depth);
	build(w, all, m, depth, out);
	if (all != slots)
		free(all);
}

struct list {
	struct sr_entry *at;
	size_t n, cap;
};

static enum sr_status list_add(void *ctx, const struct sr_entry *entry)
{
	struct list *list = ctx;

	if (list->n == list->cap) {
		list->cap = list->cap ? 2 * list->cap : SR_BUCKET_MAX;
		list->at = sr_realloc(list->at, list->cap * sizeof *list->at);
	}
	list->at[list->n++] = *entry; /* its name stays where it is: in the encoded node */
	return SR_OK;
}

static enum sr_status each_below(const struct sr_nodes *s, const struct sr_hash *hash, uint8_t *place, unsigned depth, sr_entry_fn *fn,
                                 void *ctx, struct sr_err *err)
{
	struct sr_node node;
	enum sr_status st = sr_nodes_load(s, hash, place, depth, &node, err);

	if (st != SR_OK)
		return st;
	for (size_t i = 0; st == SR_OK && i < node.n; i++) {
		if (!node.inner) {
			st = fn(ctx, &node.entries[i]);
			continue;
		}
		place[depth] = node.children[i].byte;
		st = each_below(s, &node.children[i].hash, place, depth + 1, fn, ctx, err);
	}
	sr_node_free(&node);
	return st;
}

/* The bucket that takes the place of an inner node over these children. */
static enum sr_status collapse(const struct work *w, const struct sr_child *children, size_t n, const uint8_t *place, unsigned depth,
                               struct sr_child *out)
{
	uint8_t below[SR_HASH_LEN];
	struct list list = {0};
	enum sr_status st = SR_OK;

	memcpy(below, place, SR_HASH_LEN);
	for (size_t i = 0; st == SR_OK && i < n; i++) {
		below[depth] = children[i].byte;
		st = each_below(w->s, &children[i].hash, below, depth + 1, list_add, &list, w->err);
	}
	if (st == SR_OK)
		merge(w, list.at, list.n, NULL, 0, depth, out);
	free(list.at);
	return st;
}

static enum sr_status edit(const struct work *w, const struct sr_hash *old, struct sr_slot *slots, size_t n, unsigned depth,
                           struct sr_child *out);

/* The children of an inner node after the changes: those that no change reaches stay as they are. */
static enum sr_status edit_children(const struct work *w, const struct sr_node *node, struct sr_slot *slots, size_t n, unsigned depth,
                                    struct sr_child *children, size_t *m)
{
	static const struct sr_hash none;
	size_t at = 0, c = 0;

	*m = 0;
	for (unsigned byte = 0; byte < 256; byte++) {
		const struct sr_child *old = c < node->n && node->children[c].byte == byte ? &node->children[c++] : NULL;
		size_t run = at < n && slots[at].place[depth] == byte ? run_length(slots + at, n - at, depth) : 0;
		enum sr_status st;

		if (run) {
			st = edit(w, old ? &old->hash : &none, slots + at, run, depth + 1, &children[*m]);
			if (st != SR_OK)
				return st;
			at += run;
		} else if (old) {
			children[*m] = *old;
		} else {
			continue;
		}
		children[*m].byte = (uint8_t)byte;
		*m += children[*m].entries > 0;
	}
	return SR_OK;
}

static enum sr_status edit_inner(const struct work *w, const struct sr_node *node, struct sr_slot *slots, size_t n, unsigned depth,
                                 struct sr_child *out)
{
	static const uint8_t top[SR_HASH_LEN];
	const uint8_t *place = n ? slots[0].place : top; /* only at the top may there be no change */
	struct sr_child *children = sr_alloc(257 * sizeof *children);
	uint64_t entries = 0;
	size_t m;
	enum sr_status st = edit_children(w, node, slots, n, depth, children, &m);

	for (size_t i = 0; st == SR_OK && i < m; i++)
		entries = sr_count_add(entries, children[i].entries);
	if (st == SR_OK && entries > SR_BUCKET_MAX)
		write_inner(w, children, m, depth, out);
	else if (st == SR_OK)
		st = collapse(w, children, m, place, depth, out);
	free(children);
	return st;
}

/* *out := the subtree `old` (zero: empty) with the changes, sorted by place.  No entries: no node, but at the top. */
static enum sr_status edit(const struct work *w, const struct sr_hash *old, struct sr_slot *slots, size_t n, unsigned depth,
                           struct sr_child *out)
{
	struct sr_node node;
	enum sr_status st;

	if (sr_hash_none(old)) {
		merge(w, NULL, 0, slots, n, depth, out);
		return SR_OK;
	}
	st = sr_nodes_load(w->s, old, n ? slots[0].place : NULL, depth, &node, w->err);
	if (st != SR_OK)
		return st;
	if (node.inner)
		st = edit_inner(w, &node, slots, n, depth, out);
	else
		merge(w, node.entries, node.n, slots, n, depth, out);
	sr_node_free(&node);
	return st;
}

enum sr_status sr_map_edit(struct sr_nodes *s, const struct sr_hash *old, struct sr_bytes attrs, struct sr_slot *slots, size_t n,
                           size_t skip, struct sr_entry *out, struct sr_err *err)
{
	struct work w = {.s = s, .attrs = attrs, .skip = skip, .err = err};
	struct sr_child top;
	enum sr_status st;

	if (n > SR_BUCKET_MAX || !sr_hash_none(old))
		sort_places(slots, n, 0);
	st = edit(&w, old, slots, n, 0, &top);
	if (st == SR_OK)
		child_to_entry(&top, out);
	return st;
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

const struct sr_child *sr_node_child(const struct sr_node *node, uint8_t byte)
{
	for (size_t i = 0; i < node->n && node->children[i].byte <= byte; i++)
		if (node->children[i].byte == byte)
			return &node->children[i];
	return NULL;
}

const struct sr_entry *sr_node_entry(const struct sr_node *node, struct sr_bytes name)
{
	struct sr_entry key = {.name = name};

	return bsearch(&key, node->entries, node->n, sizeof *node->entries, entry_cmp);
}

enum sr_status sr_map_get_below(const struct sr_nodes *s, const struct sr_hash *at, unsigned depth, struct sr_bytes name,
                                struct sr_entry *out, struct sr_err *err)
{
	struct sr_hash here = *at;
	uint8_t place[SR_HASH_LEN];
	enum sr_peek seen = SR_PEEK_CHILD;
	struct sr_node node;
	enum sr_status st;

	sr_map_place(s, name, place);
	for (; !sr_hash_none(&here); depth++) {
		seen = sr_nodes_peek(s, &here, place, depth, name, &here, out);
		if (seen == SR_PEEK_ENTRY)
			return SR_OK;
		if (seen == SR_PEEK_NOTHING)
			break;
	}
	if (seen == SR_PEEK_NOTHING) { /* is there really nothing, or is it a node that cannot be told of? */
		st = sr_nodes_load(s, &here, place, depth, &node, err);
		if (st != SR_OK)
			return st;
		sr_node_free(&node);
	}
	return sr_err_set(err, SR_E_NOTFOUND, "no such entry");
}

enum sr_status sr_map_get(const struct sr_nodes *s, const struct sr_hash *top, struct sr_bytes name, struct sr_entry *out)
{
	return sr_map_get_below(s, top, 0, name, out, NULL);
}

enum sr_status sr_map_each(const struct sr_nodes *s, const struct sr_hash *top, sr_entry_fn *fn, void *ctx, struct sr_err *err)
{
	uint8_t place[SR_HASH_LEN] = {0};

	return sr_hash_none(top) ? SR_OK : each_below(s, top, place, 0, fn, ctx, err);
}

enum sr_status sr_map_attrs(const struct sr_nodes *s, const struct sr_hash *top, struct sr_bytes *out)
{
	struct sr_node node;
	enum sr_status st = sr_nodes_load(s, top, NULL, 0, &node, NULL);

	if (st != SR_OK)
		return st;
	*out = node.attrs;
	sr_node_free(&node);
	return SR_OK;
}

enum sr_status sr_map_counts(const struct sr_nodes *s, const struct sr_hash *top, uint64_t *leaves, uint64_t *bytes)
{
	struct sr_node node;
	enum sr_status st = sr_nodes_load(s, top, NULL, 0, &node, NULL);

	if (st != SR_OK)
		return st;
	*leaves = node.leaves;
	*bytes = node.bytes;
	sr_node_free(&node);
	return SR_OK;
}
