/* fuzz_changes.c - any bytes as what comes behind the answer to a check-in: refused, or a tree that is whole, whatever its root. */
#include <stdlib.h>
#include <string.h>

#include "lib/replica/changes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void add(struct sr_nodes *s, uint8_t kind, struct sr_hash *map, struct sr_bytes path, struct sr_version to)
{
	struct sr_edit edit = {.path = path, .to = to};
	struct sr_err err;

	must(sr_store_edit(s, kind, map, &edit, 1, map, &err) == SR_OK);
}

/* "resources" with d/a and b, "users.db" with a table "t". */
static void build(struct sr_nodes *s, struct sr_hash *root)
{
	struct sr_entry stores[] = {{.name = sr_bytes_of("resources"), .kind = SR_KIND_FILES}, {.name = sr_bytes_of("users.db"), .kind = SR_KIND_DATABASE}};
	struct sr_version file = {.kind = SR_KIND_FILE, .mode = 0644, .bytes = 1, .hash = {{1}}};
	struct sr_entry out;

	for (size_t i = 0; i < 2; i++)
		sr_store_empty(s, stores[i].kind, &stores[i].hash);
	add(s, SR_KIND_FILES, &stores[0].hash, sr_bytes("d\0a", 3), file);
	add(s, SR_KIND_FILES, &stores[0].hash, sr_bytes_of("b"), file);
	add(s, SR_KIND_DATABASE, &stores[1].hash, sr_bytes_of("t"), (struct sr_version){.kind = SR_KIND_TABLE, .hash = {{2}}});
	for (size_t i = 0; i < 2; i++)
		must(sr_map_counts(s, &stores[i].hash, &stores[i].leaves, &stores[i].bytes) == SR_OK);
	sr_map_build(s, sr_bytes(NULL, 0), stores, 2, &out);
	*root = out.hash;
}

static enum sr_status look(void *ctx, size_t commit, const struct sr_change *c, struct sr_err *err)
{
	(void)ctx, (void)commit, (void)err;
	must(c->leaf.path.len && (!c->has_content || c->leaf.to.kind == SR_KIND_FILE));
	return SR_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t secret[SR_KEY_LEN] = "any will do";
	static const struct sr_hash none;
	struct sr_bytes in = sr_bytes(data, size), json, changes;
	struct sr_tree_key key;
	struct sr_pair pairs[4];
	struct sr_hash root, got;
	struct sr_nodes *s;
	struct sr_err err = {0};
	enum sr_status rc;
	size_t n;

	sr_changes_split(in, &json, &changes);
	must(json.len + changes.len + (memchr(data, 0, size) != NULL) == size);
	sr_tree_key_set(&key, secret);
	s = sr_nodes_new(&key);
	build(s, &root);
	sr_nodes_hold(s, &root);
	sr_nodes_limit(s, 100);
	rc = sr_changes_apply(s, &root, in, &got, &err);
	if (rc == SR_OK) {
		must(sr_changes_each(in, look, NULL, &err) == SR_OK);
		sr_nodes_hold(s, &got);
		sr_nodes_sweep(s);
		must(sr_walk_missing(s, &got, &none, pairs, 4, &n, &err) == SR_OK && n == 0);
	} else {
		must((rc == SR_E_DATA || rc == SR_E_LIMIT) && err.text[0]);
	}
	sr_nodes_free(s);
	return 0;
}
