/* node.c - one node as bytes, and the content-addressed set of nodes.  The format stands in tree.h. */
#include "hashtree/internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* The fewest bytes that one entry or child can take: caps their number before memory is asked for. */
#define ENTRY_LEAST (1 + 1 + 1 + SR_HASH_LEN + 1 + 1)
#define CHILD_LEAST (1 + SR_HASH_LEN + 1 + 1 + 1)
#define CHILDREN_MAX 256

bool sr_kind_nests(uint8_t kind)
{
	return kind == SR_KIND_DIR || kind == SR_KIND_TABLE || kind == SR_KIND_FILES || kind == SR_KIND_DATABASE;
}

bool sr_kind_has_mode(uint8_t kind)
{
	return kind == SR_KIND_FILE || kind == SR_KIND_DIR;
}

uint64_t sr_count_add(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

bool sr_name_ok(uint8_t kind, struct sr_bytes name)
{
	if (name.len == 0 || name.len > SR_NAME_MAX)
		return false;
	if (kind == SR_KIND_ROW)
		return true;
	if (memchr(name.at, 0, name.len))
		return false;
	if (!sr_kind_has_mode(kind))
		return true;
	return !memchr(name.at, '/', name.len) && !sr_bytes_eq(name, sr_bytes_of(".")) && !sr_bytes_eq(name, sr_bytes_of(".."));
}

/* --- encoding --------------------------------------------------------------------------------------------------- */

void sr_entry_encode(struct sr_buf *out, const struct sr_entry *e)
{
	assert(sr_name_ok(e->kind, e->name) && e->mode <= (sr_kind_has_mode(e->kind) ? 0777 : 0));
	sr_buf_string(out, e->name);
	sr_buf_byte(out, e->kind);
	if (sr_kind_has_mode(e->kind))
		sr_buf_varint(out, e->mode);
	sr_buf_add(out, e->hash.b, SR_HASH_LEN);
	sr_buf_varint(out, e->leaves);
	sr_buf_varint(out, e->bytes);
}

static void child_encode(struct sr_buf *out, const struct sr_child *c)
{
	sr_buf_byte(out, c->byte);
	sr_buf_add(out, c->hash.b, SR_HASH_LEN);
	sr_buf_varint(out, c->entries);
	sr_buf_varint(out, c->leaves);
	sr_buf_varint(out, c->bytes);
}

void sr_node_encode(struct sr_buf *out, const struct sr_node *node)
{
	assert(node->attrs.len <= SR_ATTRS_MAX);
	sr_buf_byte(out, node->inner ? SR_NODE_INNER : SR_NODE_BUCKET);
	sr_buf_string(out, node->attrs);
	sr_buf_varint(out, node->n);
	for (size_t i = 0; i < node->n; i++) {
		if (node->inner) {
			assert(i == 0 || node->children[i - 1].byte < node->children[i].byte);
			child_encode(out, &node->children[i]);
		} else {
			assert(i == 0 || sr_bytes_cmp(node->entries[i - 1].name, node->entries[i].name) < 0);
			sr_entry_encode(out, &node->entries[i]);
		}
	}
}

/* --- decoding --------------------------------------------------------------------------------------------------- */

static enum sr_status entry_check(const struct sr_entry *e, const struct sr_entry *before, uint64_t mode, struct sr_err *err)
{
	if (e->kind < SR_KIND_FILE || e->kind > SR_KIND_DATABASE)
		return sr_err_set(err, SR_E_DATA, "kind %u is unknown", e->kind);
	if (!sr_name_ok(e->kind, e->name))
		return sr_err_set(err, SR_E_DATA, "a name of %zu bytes that kind %u may not have", e->name.len, e->kind);
	if (before && sr_bytes_cmp(before->name, e->name) >= 0)
		return sr_err_set(err, SR_E_DATA, "names are not in strictly rising order");
	if (mode > 0777)
		return sr_err_set(err, SR_E_DATA, "mode %" PRIo64 " is over 777", mode);
	if (sr_hash_none(&e->hash))
		return sr_err_set(err, SR_E_DATA, "an entry without a hash");
	if ((e->kind == SR_KIND_FILE || e->kind == SR_KIND_ROW) && e->leaves != 1)
		return sr_err_set(err, SR_E_DATA, "a leaf that counts as %" PRIu64, e->leaves);
	if (e->kind == SR_KIND_DIR && e->leaves == 0)
		return sr_err_set(err, SR_E_DATA, "a directory that counts as no leaf");
	return SR_OK;
}

static enum sr_status entry_decode(struct sr_reader *r, const struct sr_entry *before, struct sr_entry *e, struct sr_err *err)
{
	struct sr_bytes hash;
	uint64_t mode = 0;

	e->name = sr_read_string(r);
	e->kind = sr_read_byte(r);
	if (sr_kind_has_mode(e->kind))
		mode = sr_read_varint(r);
	hash = sr_read_bytes(r, SR_HASH_LEN);
	e->leaves = sr_read_varint(r);
	e->bytes = sr_read_varint(r);
	if (r->bad)
		return sr_err_set(err, SR_E_DATA, "an entry is cut short, or a number not in its shortest form");
	memcpy(e->hash.b, hash.at, SR_HASH_LEN);
	e->mode = (uint16_t)mode;
	return entry_check(e, before, mode, err);
}

static enum sr_status child_decode(struct sr_reader *r, const struct sr_child *before, struct sr_child *c, struct sr_err *err)
{
	struct sr_bytes hash;

	c->byte = sr_read_byte(r);
	hash = sr_read_bytes(r, SR_HASH_LEN);
	c->entries = sr_read_varint(r);
	c->leaves = sr_read_varint(r);
	c->bytes = sr_read_varint(r);
	if (r->bad)
		return sr_err_set(err, SR_E_DATA, "a child is cut short, or a number not in its shortest form");
	memcpy(c->hash.b, hash.at, SR_HASH_LEN);
	if (before && before->byte >= c->byte)
		return sr_err_set(err, SR_E_DATA, "children are not in strictly rising order");
	if (sr_hash_none(&c->hash))
		return sr_err_set(err, SR_E_DATA, "a child without a hash");
	if (c->entries == 0)
		return sr_err_set(err, SR_E_DATA, "a child without entries");
	return SR_OK;
}

static enum sr_status bucket_decode(struct sr_reader *r, struct sr_node *node, struct sr_err *err)
{
	enum sr_status st = SR_OK;

	node->entries = sr_alloc((node->n + 1) * sizeof *node->entries);
	for (size_t i = 0; st == SR_OK && i < node->n; i++) {
		struct sr_entry *e = &node->entries[i];

		st = entry_decode(r, i ? e - 1 : NULL, e, err);
		node->leaves = sr_count_add(node->leaves, e->leaves);
		node->bytes = sr_count_add(node->bytes, e->bytes);
	}
	return st;
}

static enum sr_status inner_decode(struct sr_reader *r, struct sr_node *node, struct sr_err *err)
{
	enum sr_status st = SR_OK;
	uint64_t entries = 0;

	node->children = sr_alloc((node->n + 1) * sizeof *node->children);
	for (size_t i = 0; st == SR_OK && i < node->n; i++) {
		struct sr_child *c = &node->children[i];

		st = child_decode(r, i ? c - 1 : NULL, c, err);
		entries = sr_count_add(entries, c->entries);
		node->leaves = sr_count_add(node->leaves, c->leaves);
		node->bytes = sr_count_add(node->bytes, c->bytes);
	}
	if (st == SR_OK && entries <= SR_BUCKET_MAX)
		st = sr_err_set(err, SR_E_DATA, "an inner node over only %" PRIu64 " entries", entries);
	return st;
}

/* Type, attributes and count. */
static enum sr_status head_decode(struct sr_reader *r, struct sr_node *node, struct sr_err *err)
{
	uint8_t type = sr_read_byte(r);
	uint64_t n;

	if (r->bad || (type != SR_NODE_BUCKET && type != SR_NODE_INNER))
		return sr_err_set(err, SR_E_DATA, "type 0x%02x is unknown", type);
	node->inner = type == SR_NODE_INNER;
	node->attrs = sr_read_string(r);
	n = sr_read_varint(r);
	if (r->bad)
		return sr_err_set(err, SR_E_DATA, "the head is cut short, or a number not in its shortest form");
	if (node->attrs.len > SR_ATTRS_MAX)
		return sr_err_set(err, SR_E_DATA, "%zu bytes of attributes", node->attrs.len);
	if (n > (node->inner ? CHILDREN_MAX : SR_BUCKET_MAX) || n > sr_read_left(r) / (node->inner ? CHILD_LEAST : ENTRY_LEAST))
		return sr_err_set(err, SR_E_DATA, "a count of %" PRIu64 " is more than can be here", n);
	node->n = (size_t)n;
	return SR_OK;
}

/* hash: to name it by; NULL: not known. */
static enum sr_status decode(struct sr_bytes in, const struct sr_hash *hash, struct sr_node *out, struct sr_err *err)
{
	struct sr_reader r = sr_reader(in);
	struct sr_node node = {0};
	char text[SR_HASH_TEXT] = "";
	enum sr_status st;

	if (in.len > SR_NODE_MAX)
		return sr_err_set(err, SR_E_DATA, "node: %zu bytes are too many", in.len);
	st = head_decode(&r, &node, err);
	if (st == SR_OK)
		st = node.inner ? inner_decode(&r, &node, err) : bucket_decode(&r, &node, err);
	if (st == SR_OK && !sr_read_done(&r))
		st = sr_err_set(err, SR_E_DATA, "%zu bytes are left over", sr_read_left(&r));
	if (st != SR_OK) {
		sr_node_free(&node);
		if (hash)
			sr_hash_text(text, hash);
		sr_err_context(err, "node%s%s", hash ? " " : "", text);
		return st;
	}
	*out = node;
	return SR_OK;
}

enum sr_status sr_node_decode(struct sr_bytes in, struct sr_node *out, struct sr_err *err)
{
	return decode(in, NULL, out, err);
}

void sr_node_free(struct sr_node *node)
{
	free(node->entries);
	free(node->children);
	memset(node, 0, sizeof *node);
}

/* --- the set of nodes --------------------------------------------------------------------------------------------
 *
 * An open-addressing table of blobs.  A blob counts the holds on it and the references from other blobs here; a hash that is referred to
 * but not here has a blob without bytes, so that the count is right when the node arrives.  A blob without a count is *loose*: it stays
 * until the next sweep, so that a tree can be built bottom up or received top down before its root is held.
 *
 * A node keeps what it reaches, hence "whole" never has to be taken back. */

struct blob {
	struct sr_hash hash;
	uint32_t refs;
	uint32_t len; /* 0: not here, only referred to */
	bool loose;   /* stands in the list of loose hashes */
	atomic_bool whole;
	uint8_t bytes[];
};

struct sr_nodes {
	struct sr_tree_key key;
	struct blob **slots; /* cap is a power of two, at most three quarters full */
	size_t cap, used;
	struct sr_hash *loose; /* hashes, not pointers: a blob moves when its bytes arrive */
	size_t loose_n, loose_cap;
	uint64_t nodes, bytes; /* that are here */
	uint64_t most; /* sr_nodes_limit */
	struct sr_buf scratch;
	sr_guard_fn *lock, *unlock; /* or NULL */
	void *guard;
};

struct sr_nodes *sr_nodes_new(const struct sr_tree_key *key)
{
	struct sr_nodes *s = sr_alloc(sizeof *s);

	s->key = *key;
	s->cap = 64;
	s->most = UINT64_MAX;
	s->slots = sr_alloc(s->cap * sizeof *s->slots);
	return s;
}

void sr_nodes_free(struct sr_nodes *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->cap; i++)
		free(s->slots[i]);
	free(s->slots);
	free(s->loose);
	sr_buf_free(&s->scratch);
	free(s);
}

void sr_nodes_limit(struct sr_nodes *s, uint64_t leaves)
{
	s->most = leaves;
}

uint64_t sr_nodes_most(const struct sr_nodes *s)
{
	return s->most;
}

const struct sr_tree_key *sr_nodes_key(const struct sr_nodes *s)
{
	return &s->key;
}

void sr_nodes_guard(struct sr_nodes *s, sr_guard_fn *lock, sr_guard_fn *unlock, void *ctx)
{
	s->lock = lock;
	s->unlock = unlock;
	s->guard = ctx;
}

void sr_nodes_count(const struct sr_nodes *s, uint64_t *nodes, uint64_t *bytes)
{
	*nodes = s->nodes;
	*bytes = s->bytes;
}

static size_t home(const struct sr_nodes *s, const struct sr_hash *hash)
{
	uint64_t h;

	memcpy(&h, hash->b, sizeof h);
	return (size_t)h & (s->cap - 1);
}

/* Where `hash` stands, or the free slot where it would. */
static size_t slot_of(const struct sr_nodes *s, const struct sr_hash *hash)
{
	size_t i = home(s, hash);

	while (s->slots[i] && !sr_hash_eq(&s->slots[i]->hash, hash))
		i = (i + 1) & (s->cap - 1);
	return i;
}

static struct blob *blob_find(const struct sr_nodes *s, const struct sr_hash *hash)
{
	return s->slots[slot_of(s, hash)];
}

static void table_grow(struct sr_nodes *s)
{
	struct blob **old = s->slots;
	size_t cap = s->cap;

	s->cap *= 2;
	s->slots = sr_alloc(s->cap * sizeof *s->slots);
	for (size_t i = 0; i < cap; i++)
		if (old[i])
			s->slots[slot_of(s, &old[i]->hash)] = old[i];
	free(old);
}

/* Take a slot out, and close the gap that linear probing must not meet. */
static void table_remove(struct sr_nodes *s, size_t gap)
{
	size_t mask = s->cap - 1;

	for (size_t i = (gap + 1) & mask; s->slots[i]; i = (i + 1) & mask) {
		size_t want = home(s, &s->slots[i]->hash);

		if (((i - want) & mask) >= ((i - gap) & mask)) {
			s->slots[gap] = s->slots[i];
			gap = i;
		}
	}
	s->slots[gap] = NULL;
	s->used--;
}

static void blob_loosen(struct sr_nodes *s, struct blob *b)
{
	if (b->loose)
		return;
	if (s->loose_n == s->loose_cap) {
		s->loose_cap = s->loose_cap ? 2 * s->loose_cap : 64;
		s->loose = sr_realloc(s->loose, s->loose_cap * sizeof *s->loose);
	}
	s->loose[s->loose_n++] = b->hash;
	b->loose = true;
}

static struct blob *blob_insert(struct sr_nodes *s, const struct sr_hash *hash, struct sr_bytes bytes)
{
	struct blob *b = sr_alloc(sizeof *b + bytes.len);

	if ((s->used + 1) * 4 > s->cap * 3)
		table_grow(s);
	b->hash = *hash;
	b->len = (uint32_t)bytes.len;
	if (bytes.len)
		memcpy(b->bytes, bytes.at, bytes.len);
	s->slots[slot_of(s, hash)] = b;
	s->used++;
	return b;
}

static struct blob *blob_ref(struct sr_nodes *s, const struct sr_hash *hash)
{
	struct blob *b = blob_find(s, hash);

	if (!b)
		b = blob_insert(s, hash, sr_bytes(NULL, 0));
	b->refs++; /* a reference costs 20 encoded bytes at the least, so 2^32 of them do not fit into memory */
	return b;
}

static void blob_unref(struct sr_nodes *s, const struct sr_hash *hash)
{
	struct blob *b = blob_find(s, hash);

	assert(b && b->refs > 0);
	if (--b->refs == 0)
		blob_loosen(s, b);
}

const struct sr_hash *sr_node_ref(const struct sr_node *node, size_t i)
{
	if (node->inner)
		return &node->children[i].hash;
	return sr_kind_nests(node->entries[i].kind) ? &node->entries[i].hash : NULL;
}

static void node_link(struct sr_nodes *s, const struct sr_hash *hash, struct sr_bytes bytes, const struct sr_node *node)
{
	bool whole = true;
	struct blob *b;

	for (size_t i = 0; i < node->n; i++) {
		const struct sr_hash *ref = sr_node_ref(node, i);

		if (ref)
			whole &= atomic_load_explicit(&blob_ref(s, ref)->whole, memory_order_relaxed);
	}
	b = blob_find(s, hash); /* perhaps without bytes; not before the references, which may make the table grow */
	if (b) {
		size_t slot = slot_of(s, hash);

		b = s->slots[slot] = sr_realloc(b, sizeof *b + bytes.len);
		b->len = (uint32_t)bytes.len;
		memcpy(b->bytes, bytes.at, bytes.len);
	} else {
		b = blob_insert(s, hash, bytes);
	}
	atomic_store_explicit(&b->whole, whole, memory_order_relaxed);
	s->nodes++;
	s->bytes += bytes.len;
	if (b->refs == 0)
		blob_loosen(s, b);
}

/* Keep `bytes`, which `node` is the decoded form of. */
static void node_insert(struct sr_nodes *s, const struct sr_hash *hash, struct sr_bytes bytes, const struct sr_node *node)
{
	const struct blob *b = blob_find(s, hash);

	if (b && b->len)
		return;
	if (s->lock)
		s->lock(s->guard);
	node_link(s, hash, bytes, node);
	if (s->unlock)
		s->unlock(s->guard);
}

void sr_nodes_add(struct sr_nodes *s, const struct sr_node *node, struct sr_hash *out)
{
	struct sr_bytes bytes;

	sr_buf_clear(&s->scratch);
	sr_node_encode(&s->scratch, node);
	bytes = sr_buf_view(&s->scratch);
	sr_hash_of(out, &s->key, bytes);
	node_insert(s, out, bytes, node);
}

enum sr_status sr_nodes_put(struct sr_nodes *s, const struct sr_hash *expect, struct sr_bytes bytes, struct sr_err *err)
{
	struct sr_node node;
	struct sr_hash hash;
	enum sr_status st;

	sr_hash_of(&hash, &s->key, bytes);
	if (!sr_hash_eq(&hash, expect)) {
		char want[SR_HASH_TEXT], got[SR_HASH_TEXT];

		sr_hash_text(want, expect);
		sr_hash_text(got, &hash);
		return sr_err_set(err, SR_E_DATA, "node %s: its bytes hash to %s", want, got);
	}
	st = decode(bytes, &hash, &node, err);
	if (st != SR_OK)
		return st;
	node_insert(s, &hash, bytes, &node);
	sr_node_free(&node);
	return SR_OK;
}

bool sr_nodes_get(const struct sr_nodes *s, const struct sr_hash *hash, struct sr_bytes *out)
{
	const struct blob *b = blob_find(s, hash);

	if (!b || !b->len)
		return false;
	*out = sr_bytes(b->bytes, b->len);
	return true;
}

/* "node <hash> <what>" */
static enum sr_status node_fault(struct sr_err *err, enum sr_status code, const struct sr_hash *hash, const char *what)
{
	char text[SR_HASH_TEXT];

	sr_hash_text(text, hash);
	return sr_err_set(err, code, "node %s %s", text, what);
}

static enum sr_status placed_check(const struct sr_nodes *s, const struct sr_node *node, const struct sr_hash *hash, const uint8_t *place,
                                   unsigned depth, struct sr_err *err)
{
	uint8_t own[SR_HASH_LEN];

	if (depth == 0)
		return SR_OK;
	if (node->attrs.len)
		return node_fault(err, SR_E_DATA, hash, "has attributes below the top of its map");
	if (node->inner)
		return depth < SR_HASH_LEN ? SR_OK : node_fault(err, SR_E_DATA, hash, "is deeper than a map can be");
	if (node->n == 0)
		return node_fault(err, SR_E_DATA, hash, "is empty below the top of its map");
	for (size_t i = 0; place && i < node->n; i++) {
		sr_map_place(s, node->entries[i].name, own);
		if (memcmp(own, place, depth) != 0)
			return node_fault(err, SR_E_DATA, hash, "holds a name that belongs elsewhere in its map");
	}
	return SR_OK;
}

enum sr_status sr_nodes_load(const struct sr_nodes *s, const struct sr_hash *hash, const uint8_t *place, unsigned depth,
                             struct sr_node *out, struct sr_err *err)
{
	struct sr_bytes bytes;
	struct sr_node node;
	enum sr_status st;

	if (!sr_nodes_get(s, hash, &bytes))
		return node_fault(err, SR_E_GONE, hash, "is not here");
	st = sr_node_decode(bytes, &node, err);
	if (st != SR_OK)
		return st;
	st = placed_check(s, &node, hash, place, depth, err);
	if (st != SR_OK)
		sr_node_free(&node);
	else
		*out = node;
	return st;
}

void sr_entry_take(struct sr_reader *r, struct sr_entry *out)
{
	struct sr_bytes hash;

	out->name = sr_read_string(r);
	out->kind = sr_read_byte(r);
	out->mode = sr_kind_has_mode(out->kind) ? (uint16_t)sr_read_varint(r) : 0;
	hash = sr_read_bytes(r, SR_HASH_LEN);
	out->leaves = sr_read_varint(r);
	out->bytes = sr_read_varint(r);
	if (hash.len)
		memcpy(out->hash.b, hash.at, SR_HASH_LEN);
}

static bool peek_child(struct sr_reader *r, uint64_t n, uint8_t want, struct sr_hash *out)
{
	for (uint64_t i = 0; i < n; i++) {
		uint8_t byte = sr_read_byte(r);
		struct sr_bytes hash = sr_read_bytes(r, SR_HASH_LEN);

		if (r->bad || byte > want)
			return false;
		if (byte == want) {
			memcpy(out->b, hash.at, SR_HASH_LEN);
			return true;
		}
		for (int k = 0; k < 3; k++)
			(void)sr_read_varint(r);
	}
	return false;
}

static bool peek_entry(struct sr_reader *r, uint64_t n, struct sr_bytes name, struct sr_entry *out)
{
	struct sr_entry e;
	int order = -1;

	for (uint64_t i = 0; order < 0 && i < n; i++) {
		sr_entry_take(r, &e);
		order = sr_bytes_cmp(e.name, name);
	}
	if (order == 0 && !r->bad)
		*out = e;
	return order == 0 && !r->bad;
}

enum sr_peek sr_nodes_peek(const struct sr_nodes *s, const struct sr_hash *hash, const uint8_t *place, unsigned depth, struct sr_bytes name,
			   struct sr_hash *child, struct sr_entry *entry)
{
	struct sr_bytes bytes;
	struct sr_reader r;
	bool inner;
	uint64_t n;

	if (!sr_nodes_get(s, hash, &bytes))
		return SR_PEEK_NOTHING;
	r = sr_reader(bytes);
	inner = sr_read_byte(&r) == SR_NODE_INNER;
	(void)sr_read_string(&r);
	n = sr_read_varint(&r);
	if (inner)
		return depth < SR_HASH_LEN && peek_child(&r, n, place[depth], child) ? SR_PEEK_CHILD : SR_PEEK_NOTHING;
	return peek_entry(&r, n, name, entry) ? SR_PEEK_ENTRY : SR_PEEK_NOTHING;
}

bool sr_nodes_whole(const struct sr_nodes *s, const struct sr_hash *hash)
{
	struct blob *b = blob_find(s, hash);

	return b && atomic_load_explicit(&b->whole, memory_order_relaxed);
}

void sr_nodes_settle(const struct sr_nodes *s, const struct sr_hash *hash)
{
	struct blob *b = blob_find(s, hash);
	struct sr_node node;
	bool whole = true;

	if (!b || !b->len || sr_node_decode(sr_bytes(b->bytes, b->len), &node, NULL) != SR_OK)
		return;
	for (size_t i = 0; whole && i < node.n; i++) {
		const struct sr_hash *ref = sr_node_ref(&node, i);

		whole = !ref || sr_nodes_whole(s, ref);
	}
	sr_node_free(&node);
	if (whole)
		atomic_store_explicit(&b->whole, true, memory_order_relaxed);
}

void sr_nodes_hold(struct sr_nodes *s, const struct sr_hash *root)
{
	if (!sr_hash_none(root))
		(void)blob_ref(s, root);
}

void sr_nodes_release(struct sr_nodes *s, const struct sr_hash *root)
{
	if (!sr_hash_none(root))
		blob_unref(s, root);
}

static void blob_forget(struct sr_nodes *s, const struct sr_hash *hash)
{
	size_t slot = slot_of(s, hash);
	struct blob *b = s->slots[slot];
	struct sr_node node;

	table_remove(s, slot);
	if (b->len) {
		s->nodes--;
		s->bytes -= b->len;
		if (sr_node_decode(sr_bytes(b->bytes, b->len), &node, NULL) == SR_OK) {
			for (size_t i = 0; i < node.n; i++) {
				const struct sr_hash *ref = sr_node_ref(&node, i);

				if (ref)
					blob_unref(s, ref);
			}
			sr_node_free(&node);
		}
	}
	free(b);
}

void sr_nodes_sweep(struct sr_nodes *s)
{
	while (s->loose_n) { /* grows again while what was forgotten lets go of its own references */
		struct sr_hash hash = s->loose[--s->loose_n];
		struct blob *b = blob_find(s, &hash);

		b->loose = false;
		if (b->refs == 0)
			blob_forget(s, &hash);
	}
	if (s->loose_cap > 4096) { /* after a first fill */
		free(s->loose);
		s->loose = NULL;
		s->loose_cap = 0;
	}
}
