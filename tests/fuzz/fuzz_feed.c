/* fuzz_feed.c - what a datastore sends of what changed: the frames of POST /api/tree/nodes.  The first byte chooses: even, the rest are the frames; odd, the rest
 * says which nodes there are, each may refer to those before it, and their hashes are right: what a datastore can make up that has the tree key.
 * Whatever comes: it is refused in words, or a tree that can be asked, compared and edited, and to read it comes to an end. */
#include <stdlib.h>

#include "hashtree/internal.h"
#include "lib/replica/fetch.h"
#include "lib/replica/foreign.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST_LEAVES 2000
#define MOST_NODES  64

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* --- nodes that refer to each other ---------------------------------------------------------------------------------------- */

struct made {
	struct sr_hash hash;
	uint64_t entries, leaves, bytes;
};

struct making {
	struct sr_nodes *from; /* only for the hashes */
	struct made made[MOST_NODES];
	size_t n;
	struct sr_buf frames;
};

static uint64_t number(struct sr_reader *in)
{
	return sr_read_left(in) ? sr_read_byte(in) : 0;
}

/* A count that is right, mostly. */
static uint64_t count(struct sr_reader *in, uint64_t right)
{
	uint64_t how = number(in);

	return how < 240 ? right : how == 255 ? UINT64_MAX : right + how - 247;
}

static const struct made *one_of(const struct making *m, struct sr_reader *in)
{
	static const struct made missing = {.hash = {{1}}, .entries = 1, .leaves = 1};
	uint64_t k = number(in);

	return k < m->n ? &m->made[m->n - 1 - k] : &missing;
}

static void keep(struct making *m, const struct sr_buf *node)
{
	struct made *made = &m->made[m->n];
	struct sr_node decoded;
	struct sr_err err;

	if (sr_node_decode(sr_buf_view(node), &decoded, &err) != SR_OK)
		return;
	sr_hash_of(&made->hash, sr_nodes_key(m->from), sr_buf_view(node));
	made->leaves = decoded.leaves;
	made->bytes = decoded.bytes;
	made->entries = decoded.n;
	for (size_t i = 0; decoded.inner && i < decoded.n; i++)
		made->entries = i ? sr_count_add(made->entries, decoded.children[i].entries) : decoded.children[i].entries;
	m->n++;
	sr_buf_be32(&m->frames, (uint32_t)(SR_HASH_LEN + node->len));
	sr_buf_add(&m->frames, made->hash.b, SR_HASH_LEN);
	sr_buf_bytes(&m->frames, sr_buf_view(node));
	sr_node_free(&decoded);
}

static void put_entry(const struct making *m, struct sr_reader *in, unsigned i, struct sr_buf *node)
{
	struct made to = {.hash = {{2}}, .leaves = 1, .bytes = 3};
	uint8_t kind = (uint8_t)(1 + number(in) % 6);

	if (sr_kind_nests(kind))
		to = *one_of(m, in);
	sr_buf_varint(node, 2); /* names of two bytes that rise */
	sr_buf_byte(node, (uint8_t)('a' + i));
	sr_buf_byte(node, (uint8_t)(1 + number(in) % 255));
	sr_buf_byte(node, kind);
	if (sr_kind_has_mode(kind))
		sr_buf_varint(node, 0644);
	sr_buf_add(node, to.hash.b, SR_HASH_LEN);
	sr_buf_varint(node, count(in, kind == SR_KIND_DIR && !to.leaves ? 1 : to.leaves));
	sr_buf_varint(node, count(in, to.bytes));
}

static void put_child(const struct making *m, struct sr_reader *in, unsigned i, struct sr_buf *node)
{
	const struct made *to = one_of(m, in);

	sr_buf_byte(node, (uint8_t)(i * 5));
	sr_buf_add(node, to->hash.b, SR_HASH_LEN);
	sr_buf_varint(node, count(in, to->entries));
	sr_buf_varint(node, count(in, to->leaves));
	sr_buf_varint(node, count(in, to->bytes));
}

static void make_node(struct making *m, struct sr_reader *in)
{
	uint64_t how = number(in);
	unsigned n = (unsigned)(how >> 4);
	struct sr_buf node = {0};

	sr_buf_byte(&node, how & 1 ? SR_NODE_INNER : SR_NODE_BUCKET);
	sr_buf_varint(&node, how & 2 ? SR_HASH_LEN : 0);
	sr_buf_add(&node, "0123456789abcdef", how & 2 ? SR_HASH_LEN : 0);
	sr_buf_varint(&node, n);
	for (unsigned i = 0; i < n; i++) {
		if (how & 1)
			put_child(m, in, i, &node);
		else
			put_entry(m, in, i, &node);
	}
	keep(m, &node);
	sr_buf_free(&node);
}

/* --- and who reads them --------------------------------------------------------------------------------------------------------- */

struct reading {
	uint64_t items;
};

static enum sr_status count_item(void *ctx, struct sr_bytes path, const struct sr_version *a, const struct sr_version *b)
{
	must(path.len && !sr_version_eq(a, b));
	((struct reading *)ctx)->items++;
	return SR_OK;
}

static void read_tree(struct sr_nodes *s, const struct sr_hash *top)
{
	static const struct sr_hash none;
	struct sr_pair pairs[16];
	struct sr_edit edit = {sr_bytes_of("a"), {.kind = SR_KIND_NONE}};
	struct reading r = {0};
	struct sr_hash edited;
	struct sr_err err = {0};
	size_t n;
	enum sr_status rc;

	sr_nodes_hold(s, top);
	rc = sr_walk_missing(s, top, &none, pairs, 16, &n, &err);
	must(rc == SR_OK || err.text[0]);
	if (rc == SR_OK && n == 0) { /* all is there, and it counts what it holds */
		must(sr_foreign_check(s, top, &none, &err) == SR_OK || err.text[0]);
		(void)!sr_store_diff(s, SR_KIND_FILES, &none, top, count_item, &r, &err);
		must(r.items <= MOST_LEAVES * (SR_DEPTH_MAX + 1));
		(void)!sr_store_diff(s, SR_KIND_DATABASE, top, &none, count_item, &r, &err);
		(void)!sr_store_edit(s, SR_KIND_FILES, top, &edit, 1, &edited, &err);
	}
	sr_nodes_sweep(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t secret[SR_KEY_LEN] = "any will do";
	struct making m = {0};
	struct sr_reader in;
	struct sr_tree_key key;
	struct sr_nodes *s;
	struct sr_err err = {0};

	if (!size)
		return 0;
	in = sr_reader(sr_bytes(data + 1, size - 1));
	sr_tree_key_set(&key, secret);
	m.from = s = sr_nodes_new(&key);
	sr_nodes_limit(s, MOST_LEAVES);
	while (data[0] & 1 && sr_read_left(&in) && m.n < MOST_NODES)
		make_node(&m, &in);
	if (!(data[0] & 1))
		sr_buf_add(&m.frames, data + 1, size - 1);
	must(sr_fetched_nodes(s, sr_buf_view(&m.frames), &err) == SR_OK || err.text[0]);
	if (m.n)
		read_tree(s, &m.made[m.n - 1].hash);
	sr_buf_free(&m.frames);
	sr_nodes_free(s);
	return 0;
}
