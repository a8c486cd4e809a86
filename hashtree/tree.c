/* tree.c - store maps: maps nested by path, edited, read and compared.
 *
 * Three levels of map exist: directories (in directories, without end), the tables of a database, the rows of a table. */
#include "hashtree/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum level { LEVEL_DIR, LEVEL_TABLES, LEVEL_ROWS };

static const struct sr_hash none;

static enum level level_top(uint8_t kind)
{
	return kind == SR_KIND_DATABASE ? LEVEL_TABLES : LEVEL_DIR;
}

static enum level level_below(enum level level)
{
	return level == LEVEL_DIR ? LEVEL_DIR : LEVEL_ROWS;
}

static bool level_has(enum level level, uint8_t kind)
{
	switch (level) {
	case LEVEL_DIR:
		return kind == SR_KIND_FILE || kind == SR_KIND_DIR;
	case LEVEL_TABLES:
		return kind == SR_KIND_TABLE;
	case LEVEL_ROWS:
		return kind == SR_KIND_ROW;
	}
	return false;
}

/* The component of a path that begins at `skip`: to the next NUL, but a row's key takes all that is left. */
static struct sr_bytes component(enum level level, struct sr_bytes path, size_t skip)
{
	struct sr_bytes rest = sr_bytes(path.at + skip, path.len - skip);
	const uint8_t *nul = level == LEVEL_ROWS || !rest.len ? NULL : memchr(rest.at, 0, rest.len);

	return nul ? sr_bytes(rest.at, (size_t)(nul - rest.at)) : rest;
}

bool sr_version_eq(const struct sr_version *a, const struct sr_version *b)
{
	return a->kind == b->kind && a->mode == b->mode && a->bytes == b->bytes && sr_hash_eq(&a->hash, &b->hash);
}

void sr_store_empty(struct sr_nodes *s, uint8_t kind, struct sr_hash *out)
{
	struct sr_node node = {0};

	(void)kind; /* an empty map of directories is one of tables, too */
	sr_nodes_add(s, &node, out);
}

/* --- versions --------------------------------------------------------------------------------------------------- */

/* The fingerprint of a table, which is the attributes of its map. */
static enum sr_status table_fingerprint(const struct sr_nodes *s, const struct sr_hash *top, struct sr_hash *out, struct sr_err *err)
{
	struct sr_node node;
	enum sr_status st = sr_nodes_load(s, top, NULL, 0, &node, err);

	if (st != SR_OK)
		return st;
	if (node.attrs.len != SR_HASH_LEN)
		st = sr_err_set(err, SR_E_DATA, "a table with %zu bytes of attributes", node.attrs.len);
	else
		memcpy(out->b, node.attrs.at, SR_HASH_LEN);
	sr_node_free(&node);
	return st;
}

/* What the planner sees of an entry; NULL is an absent one. */
static enum sr_status entry_version(const struct sr_nodes *s, enum level level, const struct sr_entry *e, struct sr_version *out,
                                    struct sr_err *err)
{
	memset(out, 0, sizeof *out);
	if (!e)
		return SR_OK;
	if (!level_has(level, e->kind))
		return sr_err_set(err, SR_E_DATA, "an entry of kind %u where it may not be", e->kind);
	out->kind = e->kind;
	out->mode = e->mode;
	if (e->kind == SR_KIND_TABLE)
		return table_fingerprint(s, &e->hash, &out->hash, err);
	if (e->kind == SR_KIND_DIR)
		return SR_OK;
	out->bytes = e->bytes;
	out->hash = e->hash;
	return SR_OK;
}

enum sr_status sr_store_get(const struct sr_nodes *s, uint8_t kind, const struct sr_hash *root, struct sr_bytes path,
                            struct sr_version *out, struct sr_err *err)
{
	enum level level = level_top(kind);
	struct sr_hash map = *root;

	for (size_t skip = 0;; level = level_below(level)) {
		struct sr_bytes name = component(level, path, skip);
		struct sr_version version;
		struct sr_entry e;
		enum sr_status st = sr_map_get_below(s, &map, 0, name, &e, err);
		bool last = skip + name.len == path.len;

		if (st == SR_E_NOTFOUND || (st == SR_OK && !last && !sr_kind_nests(e.kind))) {
			memset(out, 0, sizeof *out);
			return SR_OK;
		}
		if (st == SR_OK)
			st = entry_version(s, level, &e, &version, err);
		if (st != SR_OK)
			return st;
		if (last) {
			*out = version;
			return SR_OK;
		}
		map = e.hash;
		skip += name.len + 1;
	}
}

/* --- editing ---------------------------------------------------------------------------------------------------- */

static enum sr_status edit_fault(struct sr_err *err, const struct sr_edit *e, const char *what)
{
	struct sr_buf text = {0};

	sr_percent(&text, sr_bytes(e->path.at, e->path.len < 256 ? e->path.len : 256), "/");
	sr_err_set(err, SR_E_DATA, "edit of %s: %s", sr_buf_text(&text), what);
	sr_buf_free(&text);
	return SR_E_DATA;
}

/* Whether every component of the path is a name, and `to` may stand at its end. */
static enum sr_status edit_check(uint8_t kind, const struct sr_edit *e, struct sr_err *err)
{
	enum level level = level_top(kind);
	size_t skip = 0;

	for (unsigned depth = 1;; depth++, level = level_below(level)) {
		static const uint8_t names[] = {[LEVEL_DIR] = SR_KIND_DIR, [LEVEL_TABLES] = SR_KIND_TABLE, [LEVEL_ROWS] = SR_KIND_ROW};
		struct sr_bytes name = component(level, e->path, skip);

		if (depth > SR_DEPTH_MAX)
			return edit_fault(err, e, "the path has too many components");
		if (!sr_name_ok(names[level], name))
			return edit_fault(err, e, "a component of the path is no name");
		skip += name.len;
		if (skip == e->path.len)
			break;
		skip++;
	}
	if (e->to.kind == SR_KIND_NONE)
		return SR_OK;
	if (!level_has(level, e->to.kind))
		return edit_fault(err, e, "its kind may not be at this depth");
	if (sr_kind_has_mode(e->to.kind) && e->to.mode > 0777)
		return edit_fault(err, e, "its mode is over 777");
	if (!sr_kind_nests(e->to.kind) && sr_hash_none(&e->to.hash))
		return edit_fault(err, e, "a leaf without a hash");
	return SR_OK;
}

static enum sr_status edits_check(uint8_t kind, const struct sr_edit *edits, size_t n, struct sr_err *err)
{
	for (size_t i = 0; i < n; i++) {
		enum sr_status st = edit_check(kind, &edits[i], err);

		if (st != SR_OK)
			return st;
		if (i && sr_bytes_cmp(edits[i - 1].path, edits[i].path) >= 0)
			return edit_fault(err, &edits[i], "edits are not in strictly rising order");
	}
	return SR_OK;
}

/* The edits at and below one name: neighbours, the name itself first. */
struct group {
	struct sr_bytes name;
	const struct sr_edit *edits;
	size_t n;
};

static struct group group_at(enum level level, const struct sr_edit *edits, size_t n, size_t skip)
{
	struct group g = {.name = component(level, edits[0].path, skip), .edits = edits};

	do
		g.n++;
	while (g.n < n && sr_bytes_eq(component(level, edits[g.n].path, skip), g.name));
	return g;
}

static bool group_has_itself(const struct group *g, size_t skip)
{
	return g->edits[0].path.len == skip + g->name.len;
}

/* A leaf set or a name removed: needs no look at what was there before. */
static bool group_is_plain(const struct group *g, size_t skip)
{
	return g->n == 1 && group_has_itself(g, skip) && !sr_kind_nests(g->edits[0].to.kind);
}

static bool group_sets_below(const struct group *g, size_t first)
{
	for (size_t i = first; i < g->n; i++)
		if (g->edits[i].to.kind != SR_KIND_NONE)
			return true;
	return false;
}

/* What is known of a map while it is edited. */
struct editing {
	struct sr_nodes *s;
	enum level level;
	size_t skip; /* where in the paths this map's names begin */
	struct sr_err *err;
};

static enum sr_status edit_map(const struct editing *ed, const struct sr_hash *old, struct sr_bytes attrs, const struct sr_edit *edits,
                               size_t n, struct sr_entry *out);

/* The group's own edit, if it has one, applied to its entry (kind NONE: absent); *attrs := those of its map. */
static void edit_itself(const struct group *g, const struct sr_version *to, struct sr_entry *e, struct sr_bytes *attrs)
{
	bool keeps = e->kind == to->kind && sr_kind_nests(to->kind);

	if (!keeps)
		*e = (struct sr_entry){.name = g->name, .kind = to->kind, .hash = sr_kind_nests(to->kind) ? none : to->hash};
	if (sr_kind_has_mode(to->kind))
		e->mode = to->mode;
	if (to->kind == SR_KIND_FILE) {
		e->leaves = 1;
		e->bytes = to->bytes;
	}
	if (to->kind == SR_KIND_TABLE)
		*attrs = sr_bytes(to->hash.b, SR_HASH_LEN);
}

/* *e := the entry after a group of edits at and below it; comes with the entry before, or kind NONE. */
static enum sr_status edit_group(const struct editing *ed, const struct group *g, struct sr_entry *e)
{
	struct editing below = {.s = ed->s, .level = level_below(ed->level), .skip = ed->skip + g->name.len + 1, .err = ed->err};
	size_t first = group_has_itself(g, ed->skip);
	struct sr_bytes attrs = {0};
	struct sr_hash fingerprint;
	enum sr_status st;

	if (e->kind == SR_KIND_TABLE) {
		st = table_fingerprint(ed->s, &e->hash, &fingerprint, ed->err);
		if (st != SR_OK)
			return st;
		attrs = sr_bytes(fingerprint.b, SR_HASH_LEN);
	}
	if (first)
		edit_itself(g, &g->edits[0].to, e, &attrs);
	if (!sr_kind_nests(e->kind)) {
		if (!group_sets_below(g, first))
			return SR_OK;
		if (ed->level == LEVEL_TABLES)
			return edit_fault(ed->err, &g->edits[first], "its table is not there");
		*e = (struct sr_entry){.name = g->name, .kind = SR_KIND_DIR};
	}
	if (ed->level == LEVEL_DIR && first == g->n && !sr_hash_none(&e->hash))
		return SR_OK; /* only the mode: the map below is not touched */
	st = edit_map(&below, &e->hash, attrs, g->edits + first, g->n - first, e);
	if (st == SR_OK && e->kind == SR_KIND_DIR && e->leaves == 0)
		e->leaves = 1;
	return st;
}

/* What stands in the old map under the group's name; kind NONE when nothing does. */
static enum sr_status entry_before(const struct editing *ed, const struct sr_hash *old, const struct group *g, struct sr_entry *e)
{
	enum sr_status st = sr_map_get_below(ed->s, old, 0, g->name, e, ed->err);

	if (st == SR_E_NOTFOUND) {
		*e = (struct sr_entry){.name = g->name};
		return SR_OK;
	}
	if (st == SR_OK && !level_has(ed->level, e->kind))
		return sr_err_set(ed->err, SR_E_DATA, "an entry of kind %u where it may not be", e->kind);
	return st;
}

/* How many groups there are, and how many of them need an entry of their own. */
static void groups_count(const struct editing *ed, const struct sr_edit *edits, size_t n, size_t *groups, size_t *nested)
{
	*groups = *nested = 0;
	for (size_t i = 0; i < n; ++*groups) {
		struct group g = group_at(ed->level, edits + i, n - i, ed->skip);

		*nested += !group_is_plain(&g, ed->skip);
		i += g.n;
	}
}

/* *out (hash, leaves, bytes) := the map `old` (zero: empty) with these attributes and the edits in it and below. */
static enum sr_status edit_map(const struct editing *ed, const struct sr_hash *old, struct sr_bytes attrs, const struct sr_edit *edits,
                               size_t n, struct sr_entry *out)
{
	size_t groups, nested, slot = 0, made = 0;
	struct sr_slot *slots;
	struct sr_entry *entries;
	enum sr_status st = SR_OK;

	groups_count(ed, edits, n, &groups, &nested);
	slots = sr_alloc((groups + 1) * sizeof *slots);
	entries = sr_alloc((nested + 1) * sizeof *entries);
	for (size_t i = 0; st == SR_OK && i < n; slot++) {
		struct group g = group_at(ed->level, edits + i, n - i, ed->skip);

		i += g.n;
		sr_map_place(ed->s, g.name, slots[slot].place);
		if (group_is_plain(&g, ed->skip)) {
			slots[slot].edit = g.edits;
			continue;
		}
		st = entry_before(ed, old, &g, &entries[made]);
		if (st == SR_OK)
			st = edit_group(ed, &g, &entries[made]);
		slots[slot].entry = &entries[made++];
	}
	if (st == SR_OK)
		st = sr_map_edit(ed->s, old, attrs, slots, slot, ed->skip, out, ed->err);
	free(entries);
	free(slots);
	return st;
}

enum sr_status sr_store_edit(struct sr_nodes *s, uint8_t kind, const struct sr_hash *root, const struct sr_edit *edits, size_t n,
                             struct sr_hash *out, struct sr_err *err)
{
	struct editing ed = {.s = s, .level = level_top(kind), .err = err};
	struct sr_entry top;
	enum sr_status st = edits_check(kind, edits, n, err);

	if (st == SR_OK)
		st = edit_map(&ed, root, sr_bytes(NULL, 0), edits, n, &top);
	if (st == SR_OK)
		*out = top.hash;
	return st;
}

/* --- difference ------------------------------------------------------------------------------------------------- */

struct differ {
	const struct sr_nodes *s;
	sr_diff_fn *fn;
	void *ctx;
	struct sr_buf path;
	struct sr_err *err;
};

/* Maps below the one being compared.  They wait until it is done, so that the stack holds one map at a time. */
struct nested {
	struct nested_pair {
		struct sr_bytes name;
		struct sr_hash a, b;
	} *at;
	size_t n, cap;
};

/* One side of a comparison below a prefix: a node, or those entries of a bucket higher up that share the prefix. */
struct side {
	struct sr_hash hash; /* zero: `entries` it is */
	const struct sr_entry *entries;
	size_t n;
};

static void nested_add(struct nested *nested, struct sr_bytes name, const struct sr_hash *a, const struct sr_hash *b)
{
	if (nested->n == nested->cap) {
		nested->cap = nested->cap ? 2 * nested->cap : 16;
		nested->at = sr_realloc(nested->at, nested->cap * sizeof *nested->at);
	}
	nested->at[nested->n++] = (struct nested_pair){name, *a, *b};
}

/* Put a name at the end of the path; the length before is what path_pop wants. */
static size_t path_push(struct differ *d, struct sr_bytes name)
{
	size_t before = d->path.len;

	if (before)
		sr_buf_byte(&d->path, 0);
	sr_buf_bytes(&d->path, name);
	return before;
}

static void path_pop(struct differ *d, size_t before)
{
	d->path.len = before;
}

/* "path IT: ..." in front of the reason. */
static enum sr_status path_fault(struct differ *d, struct sr_bytes name, enum sr_status st)
{
	size_t before = path_push(d, name);
	struct sr_buf text = {0};

	sr_percent(&text, sr_bytes(d->path.at, d->path.len < 200 ? d->path.len : 200), NULL);
	sr_err_context(d->err, "path %s", sr_buf_text(&text));
	sr_buf_free(&text);
	path_pop(d, before);
	return st;
}

/* One name, on both sides or (NULL) on one. */
static enum sr_status diff_entry(struct differ *d, enum level level, const struct sr_entry *a, const struct sr_entry *b,
                                 struct nested *nested)
{
	const struct sr_hash *below_a = a && sr_kind_nests(a->kind) ? &a->hash : &none;
	const struct sr_hash *below_b = b && sr_kind_nests(b->kind) ? &b->hash : &none;
	struct sr_bytes name = a ? a->name : b->name;
	struct sr_version va, vb;
	enum sr_status st;

	if (a && b && a->kind == b->kind && a->mode == b->mode && a->bytes == b->bytes && sr_hash_eq(&a->hash, &b->hash))
		return SR_OK;
	st = entry_version(d->s, level, a, &va, d->err);
	if (st == SR_OK)
		st = entry_version(d->s, level, b, &vb, d->err);
	if (st == SR_E_DATA)
		return path_fault(d, name, st);
	if (st == SR_OK && !sr_version_eq(&va, &vb)) {
		size_t before = path_push(d, name);

		st = d->fn(d->ctx, sr_buf_view(&d->path), &va, &vb);
		path_pop(d, before);
	}
	if (st == SR_OK && !sr_hash_eq(below_a, below_b))
		nested_add(nested, name, below_a, below_b);
	return st;
}

/* Two lists sorted by name. */
static enum sr_status diff_entries(struct differ *d, enum level level, const struct side *a, const struct side *b, struct nested *nested)
{
	size_t i = 0, j = 0;
	enum sr_status st = SR_OK;

	while (st == SR_OK && (i < a->n || j < b->n)) {
		int order = i == a->n ? 1 : j == b->n ? -1 : sr_bytes_cmp(a->entries[i].name, b->entries[j].name);
		const struct sr_entry *ea = order <= 0 ? &a->entries[i++] : NULL;
		const struct sr_entry *eb = order >= 0 ? &b->entries[j++] : NULL;

		st = diff_entry(d, level, ea, eb, nested);
	}
	return st;
}

/* A side, read and ready to be cut into the sides below it. */
struct opened {
	struct sr_node node;      /* when the side was one */
	struct side list;         /* else, and for a bucket: its entries */
	struct sr_entry *sorted;  /* a list ordered by byte `depth` of its places, and by name within */
	size_t start[257];        /* where in it each byte begins */
	size_t next;              /* child of an inner node */
};

/* Read a side.  The top node of a map carries attributes where, and only where, it is a table's. */
static enum sr_status side_open(const struct differ *d, enum level level, const struct side *side, const uint8_t *place, unsigned depth,
                                struct opened *o)
{
	enum sr_status st;

	memset(o, 0, sizeof *o);
	o->list = *side;
	if (sr_hash_none(&side->hash))
		return SR_OK;
	st = sr_nodes_load(d->s, &side->hash, place, depth, &o->node, d->err);
	if (st != SR_OK)
		return st;
	o->list = (struct side){.entries = o->node.entries, .n = o->node.inner ? 0 : o->node.n};
	if (depth == 0 && o->node.attrs.len != (level == LEVEL_ROWS ? SR_HASH_LEN : 0)) {
		char text[SR_HASH_TEXT];

		sr_hash_text(text, &side->hash);
		return sr_err_set(d->err, SR_E_DATA, "node %s: %zu bytes of attributes, where no table is", text, o->node.attrs.len);
	}
	return SR_OK;
}

static void side_close(struct opened *o)
{
	sr_node_free(&o->node);
	free(o->sorted);
}

/* Order a list by the byte that the other side, an inner node, goes by. */
static void side_spread(const struct differ *d, struct opened *o, unsigned depth)
{
	size_t next[256];
	uint8_t *bytes;

	if (o->node.inner || o->list.n == 0)
		return;
	bytes = sr_alloc(o->list.n);
	o->sorted = sr_alloc(o->list.n * sizeof *o->sorted);
	for (size_t i = 0; i < o->list.n; i++) {
		uint8_t place[SR_HASH_LEN];

		sr_map_place(d->s, o->list.entries[i].name, place);
		bytes[i] = place[depth];
		o->start[bytes[i] + 1]++;
	}
	for (unsigned b = 0; b < 256; b++) {
		o->start[b + 1] += o->start[b];
		next[b] = o->start[b];
	}
	for (size_t i = 0; i < o->list.n; i++)
		o->sorted[next[bytes[i]]++] = o->list.entries[i];
	free(bytes);
}

/* The part of a side below `byte`; to be asked for in rising order. */
static struct side side_part(struct opened *o, unsigned byte)
{
	struct side part = {0};

	if (o->node.inner) {
		if (o->next < o->node.n && o->node.children[o->next].byte == byte)
			part.hash = o->node.children[o->next++].hash;
	} else if (o->sorted) {
		part.entries = o->sorted + o->start[byte];
		part.n = o->start[byte + 1] - o->start[byte];
	}
	return part;
}

static enum sr_status diff_sides(struct differ *d, enum level level, const struct side *a, const struct side *b, uint8_t *place,
                                 unsigned depth, struct nested *nested)
{
	struct opened *oa, *ob;
	enum sr_status st;

	if (sr_hash_eq(&a->hash, &b->hash) && a->n == 0 && b->n == 0)
		return SR_OK;
	oa = sr_alloc(sizeof *oa);
	ob = sr_alloc(sizeof *ob);
	st = side_open(d, level, a, place, depth, oa);
	if (st == SR_OK)
		st = side_open(d, level, b, place, depth, ob);
	if (st == SR_OK && !oa->node.inner && !ob->node.inner) {
		st = diff_entries(d, level, &oa->list, &ob->list, nested);
	} else if (st == SR_OK) {
		side_spread(d, oa, depth);
		side_spread(d, ob, depth);
		for (unsigned byte = 0; st == SR_OK && byte < 256; byte++) {
			struct side part_a = side_part(oa, byte), part_b = side_part(ob, byte);

			place[depth] = (uint8_t)byte;
			st = diff_sides(d, level, &part_a, &part_b, place, depth + 1, nested);
		}
	}
	side_close(oa);
	side_close(ob);
	free(oa);
	free(ob);
	return st;
}

/* Two maps, then what differs below them. */
static enum sr_status diff_maps(struct differ *d, enum level level, const struct sr_hash *a, const struct sr_hash *b, unsigned depth)
{
	struct side side_a = {.hash = *a}, side_b = {.hash = *b};
	uint8_t place[SR_HASH_LEN] = {0};
	struct nested nested = {0};
	enum sr_status st;

	if (depth > SR_DEPTH_MAX + 1) /* the deepest item may be a directory */
		return sr_err_set(d->err, SR_E_DATA, "a tree of more than %d levels", SR_DEPTH_MAX);
	st = diff_sides(d, level, &side_a, &side_b, place, 0, &nested);
	for (size_t i = 0; st == SR_OK && i < nested.n; i++) {
		size_t before = path_push(d, nested.at[i].name);

		st = diff_maps(d, level_below(level), &nested.at[i].a, &nested.at[i].b, depth + 1);
		path_pop(d, before);
	}
	free(nested.at);
	return st;
}

enum sr_status sr_store_diff(const struct sr_nodes *s, uint8_t kind, const struct sr_hash *a, const struct sr_hash *b, sr_diff_fn *fn,
                             void *ctx, struct sr_err *err)
{
	struct differ d = {.s = s, .fn = fn, .ctx = ctx, .err = err};
	enum sr_status st = diff_maps(&d, level_top(kind), a, b, 1);

	sr_buf_free(&d.path);
	return st;
}
