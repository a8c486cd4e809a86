/* fuzz_node.c - any bytes as a node: refused, or exactly what encoding gives; and nothing that reads maps trips over it. */
#include <stdlib.h>

#include "hashtree/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum sr_status ignore_entry(void *ctx, const struct sr_entry *entry)
{
	(void)ctx;
	(void)entry;
	return SR_OK;
}

static enum sr_status ignore_item(void *ctx, struct sr_bytes path, const struct sr_version *a, const struct sr_version *b)
{
	(void)ctx;
	if (path.len == 0 || sr_version_eq(a, b))
		abort();
	return SR_OK;
}

static void read_as_tree(struct sr_bytes in)
{
	static const struct sr_hash none;
	static const uint8_t secret[SR_KEY_LEN] = "any will do";
	struct sr_tree_key key;
	struct sr_nodes *s;
	struct sr_pair pairs[4];
	struct sr_hash hash;
	struct sr_entry entry;
	struct sr_edit edit = {sr_bytes_of("a"), {.kind = SR_KIND_NONE}};
	struct sr_err err;
	size_t n;

	sr_tree_key_set(&key, secret);
	s = sr_nodes_new(&key);
	sr_hash_of(&hash, &key, in);
	if (sr_nodes_put(s, &hash, in, &err) != SR_OK)
		abort(); /* it was decoded a moment ago */
	(void)!sr_map_get(s, &hash, sr_bytes_of("a"), &entry);
	(void)!sr_map_each(s, &hash, ignore_entry, NULL, &err);
	(void)!sr_store_diff(s, SR_KIND_FILES, &hash, &none, ignore_item, NULL, &err);
	(void)!sr_store_diff(s, SR_KIND_DATABASE, &none, &hash, ignore_item, NULL, &err);
	(void)!sr_walk_missing(s, &hash, &none, pairs, 4, &n, &err);
	(void)!sr_store_edit(s, SR_KIND_FILES, &hash, &edit, 1, &hash, &err);
	sr_nodes_sweep(s);
	sr_nodes_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sr_bytes in = sr_bytes(data, size);
	struct sr_buf again = {0};
	struct sr_node node;
	struct sr_err err;

	if (sr_node_decode(in, &node, &err) != SR_OK)
		return 0;
	sr_node_encode(&again, &node);
	if (!sr_bytes_eq(in, sr_buf_view(&again)))
		abort();
	sr_buf_free(&again);
	sr_node_free(&node);
	read_as_tree(in);
	return 0;
}
