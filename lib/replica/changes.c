/* changes.c - see changes.h. */
#include "lib/replica/changes.h"

#include <stdlib.h>
#include <string.h>

/* --- bytes ---------------------------------------------------------------------------------------------------------------- */

void sr_change_add(struct sr_buf *commit, const char *store, const struct sr_leaf *leaf, const struct sr_bytes *content)
{
	struct sr_leaf bare = {.path = leaf->path, .to = leaf->to, .mtime_ns = leaf->mtime_ns, .record = leaf->record};
	struct sr_buf frame = {0};

	sr_leaf_encode(&frame, &bare);
	sr_buf_string(commit, sr_bytes_of(store));
	sr_buf_string(commit, sr_buf_view(&frame));
	sr_buf_byte(commit, content != NULL);
	if (content)
		sr_buf_string(commit, *content);
	sr_buf_free(&frame);
}

void sr_changes_split(struct sr_bytes body, struct sr_bytes *json, struct sr_bytes *changes)
{
	const uint8_t *nul = body.len ? memchr(body.at, 0, body.len) : NULL;
	size_t len = nul ? (size_t)(nul - body.at) : body.len;

	*json = sr_bytes(body.at, len);
	*changes = nul ? sr_bytes(nul + 1, body.len - len - 1) : sr_bytes(NULL, 0);
}

static enum sr_status malformed(struct sr_err *err)
{
	return sr_err_set(err, SR_E_DATA, "changes: malformed");
}

static enum sr_status next_change(struct sr_reader *in, struct sr_change *out, struct sr_err *err)
{
	struct sr_bytes leaf;
	uint8_t content;
	enum sr_status rc;

	*out = (struct sr_change){.store = sr_read_string(in)};
	leaf = sr_read_string(in);
	content = sr_read_byte(in);
	if (in->bad || content > 1)
		return malformed(err);
	rc = sr_leaf_decode(leaf, &out->leaf, err);
	if (rc != SR_OK)
		return rc;
	out->has_content = content;
	if (content)
		out->content = sr_read_string(in);
	if (in->bad || out->leaf.flags || out->leaf.expect.kind != SR_KIND_NONE || (content && out->leaf.to.kind != SR_KIND_FILE))
		return malformed(err);
	return SR_OK;
}

enum sr_status sr_changes_each(struct sr_bytes changes, sr_change_fn *fn, void *ctx, struct sr_err *err)
{
	struct sr_reader in = sr_reader(changes);
	enum sr_status rc = SR_OK;
	size_t n = 0;

	if (changes.len > SR_CHANGES_MOST)
		return sr_err_set(err, SR_E_LIMIT, "changes: more than %u bytes", SR_CHANGES_MOST);
	for (size_t k = 0; rc == SR_OK && sr_read_left(&in); k++) {
		struct sr_bytes commit = sr_read_string(&in);
		struct sr_reader frames = sr_reader(commit);

		if (in.bad)
			return malformed(err);
		while (rc == SR_OK && sr_read_left(&frames)) {
			struct sr_change change;

			if (++n > SR_CHANGES_LEAVES)
				return sr_err_set(err, SR_E_LIMIT, "changes: more than %d", SR_CHANGES_LEAVES);
			rc = next_change(&frames, &change, err);
			if (rc == SR_OK)
				rc = fn(ctx, k, &change, err);
		}
	}
	return rc;
}

/* --- applied ---------------------------------------------------------------------------------------------------------------- */

struct applying {
	struct sr_nodes *nodes;
	struct sr_entry *stores; /* names OWNED */
	size_t n;
	size_t commit, at;     /* of the edits at hand: that commit, of that store */
	struct sr_edit *edits; /* SR_CHANGES_LEAVES; paths BORROW the changes */
	size_t edits_n;
};

static enum sr_status add_store(void *ctx, const struct sr_entry *entry)
{
	struct applying *a = ctx;
	struct sr_entry *e;

	a->stores = sr_realloc(a->stores, (a->n + 1) * sizeof *a->stores);
	e = &a->stores[a->n++];
	*e = *entry;
	e->name = sr_bytes(sr_alloc(entry->name.len + 1), entry->name.len);
	memcpy((void *)(uintptr_t)e->name.at, entry->name.at, entry->name.len);
	return SR_OK;
}

static enum sr_status apply_edits(struct applying *a, struct sr_err *err)
{
	struct sr_entry *store = &a->stores[a->at];
	struct sr_hash map;
	enum sr_status rc;

	if (!a->edits_n)
		return SR_OK;
	rc = sr_store_edit(a->nodes, store->kind, &store->hash, a->edits, a->edits_n, &map, err);
	a->edits_n = 0;
	if (rc != SR_OK)
		return rc;
	store->hash = map;
	return sr_map_counts(a->nodes, &map, &store->leaves, &store->bytes);
}

static bool find_store(struct applying *a, struct sr_bytes name, size_t *out)
{
	for (size_t i = 0; i < a->n; i++)
		if (sr_bytes_eq(a->stores[i].name, name)) {
			*out = i;
			return true;
		}
	return false;
}

static enum sr_status add_edit(void *ctx, size_t commit, const struct sr_change *c, struct sr_err *err)
{
	struct applying *a = ctx;
	enum sr_status rc = SR_OK;
	size_t i;

	if (!find_store(a, c->store, &i))
		return sr_err_set(err, SR_E_DATA, "changes: of another store");
	if (a->edits_n && (a->commit != commit || a->at != i))
		rc = apply_edits(a, err);
	if (rc == SR_OK)
		rc = sr_leaf_path_check(a->stores[i].kind, c->leaf.path, err);
	if (rc != SR_OK)
		return rc;
	if (sr_path_is_schema(a->stores[i].kind, c->leaf.path) ||
	    (a->edits_n && sr_bytes_cmp(a->edits[a->edits_n - 1].path, c->leaf.path) >= 0))
		return malformed(err);
	a->commit = commit;
	a->at = i;
	a->edits[a->edits_n++] = (struct sr_edit){.path = c->leaf.path, .to = c->leaf.to};
	return SR_OK;
}

static enum sr_status build_root(struct applying *a, struct sr_hash *out, struct sr_err *err)
{
	struct sr_entry root = {0};

	sr_map_build(a->nodes, sr_bytes(NULL, 0), a->stores, a->n, &root);
	if (root.leaves > sr_nodes_most(a->nodes))
		return sr_err_set(err, SR_E_LIMIT, "changes: more leaves than Max-Leaves");
	*out = root.hash;
	return SR_OK;
}

enum sr_status sr_changes_apply(struct sr_nodes *nodes, const struct sr_hash *root, struct sr_bytes changes, struct sr_hash *out,
				struct sr_err *err)
{
	struct applying a = {.nodes = nodes, .edits = sr_alloc(SR_CHANGES_LEAVES * sizeof(struct sr_edit))};
	enum sr_status rc = sr_map_each(nodes, root, add_store, &a, err);

	if (rc == SR_OK)
		rc = sr_changes_each(changes, add_edit, &a, err);
	if (rc == SR_OK)
		rc = apply_edits(&a, err);
	if (rc == SR_OK)
		rc = build_root(&a, out, err);
	for (size_t i = 0; i < a.n; i++)
		free((void *)(uintptr_t)a.stores[i].name.at);
	free(a.stores);
	free(a.edits);
	return rc;
}
