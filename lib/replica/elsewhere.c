/* elsewhere.c - which contents of a plan a node has at another path.  See elsewhere.h. */
#include "lib/replica/elsewhere.h"

#include <stdlib.h>
#include <string.h>

#define WALK_BYTES 16 /* of content a leaf of the map, below which it is quicker to send them than to walk it */

struct content {
	struct sr_hash hash;
	uint64_t bytes;
	size_t at, len; /* of its path, in paths; len 0: not found */
};

struct sr_elsewhere {
	struct content *contents; /* sorted by hash */
	size_t n;
	uint64_t missing, missing_bytes; /* not found yet */
	struct sr_buf paths;
};

static int by_hash(const void *a, const void *b)
{
	return memcmp(((const struct content *)a)->hash.b, ((const struct content *)b)->hash.b, SR_HASH_LEN);
}

static struct content *find(const struct sr_elsewhere *e, const struct sr_version *v)
{
	struct content key = {.hash = v->hash}, *c;

	if (v->kind != SR_KIND_FILE || v->bytes < SR_ELSEWHERE_LEAST || !e->n)
		return NULL;
	c = bsearch(&key, e->contents, e->n, sizeof(*e->contents), by_hash);
	return c && c->bytes == v->bytes ? c : NULL;
}

/* ---- what is wanted ---- */

static bool brings(const struct sr_leaf *leaf)
{
	return leaf->to.kind == SR_KIND_FILE && leaf->to.bytes >= SR_ELSEWHERE_LEAST &&
	       !(leaf->expect.kind == SR_KIND_FILE && sr_hash_eq(&leaf->expect.hash, &leaf->to.hash));
}

static enum sr_status collect(struct sr_elsewhere *e, struct sr_leaves *leaves, struct sr_err *err)
{
	enum sr_status rc = SR_OK;
	size_t cap = 0, distinct = 0;
	struct sr_leaf leaf;

	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(leaves); k++) {
		rc = sr_leaves_at(leaves, k, &leaf, err);
		if (rc != SR_OK || !brings(&leaf))
			continue;
		if (e->n == cap) {
			cap = cap ? cap * 2 : 64;
			e->contents = sr_realloc(e->contents, cap * sizeof(*e->contents));
		}
		e->contents[e->n++] = (struct content){.hash = leaf.to.hash, .bytes = leaf.to.bytes};
	}
	if (e->n)
		qsort(e->contents, e->n, sizeof(*e->contents), by_hash);
	for (size_t k = 0; k < e->n; k++)
		if (!k || by_hash(&e->contents[k], &e->contents[distinct - 1])) {
			e->missing_bytes += e->contents[k].bytes;
			e->contents[distinct++] = e->contents[k];
		}
	e->missing = e->n = distinct;
	return rc;
}

/* ---- where it is ---- */

static void found(struct sr_elsewhere *e, struct sr_bytes path, const struct sr_version *there)
{
	struct content *c = find(e, there);

	if (!c || c->len || !path.len)
		return;
	c->at = e->paths.len;
	c->len = path.len;
	sr_buf_bytes(&e->paths, path);
	e->missing--;
	e->missing_bytes -= c->bytes;
}

static enum sr_status look_in_plan(struct sr_elsewhere *e, struct sr_leaves *leaves, struct sr_err *err)
{
	enum sr_status rc = SR_OK;
	struct sr_leaf leaf;

	for (size_t k = 0; rc == SR_OK && e->missing && k < sr_leaves_count(leaves); k++) {
		rc = sr_leaves_at(leaves, k, &leaf, err);
		if (rc == SR_OK)
			found(e, leaf.path, &leaf.expect);
	}
	return rc;
}

static enum sr_status visit(void *ctx, struct sr_bytes path, const struct sr_version *nothing, const struct sr_version *there)
{
	struct sr_elsewhere *e = ctx;

	(void)nothing;
	found(e, path, there);
	return e->missing ? SR_OK : SR_E_CHANGED; /* the rest need not be looked at */
}

static enum sr_status look_in_map(struct sr_elsewhere *e, const struct sr_nodes *nodes, const struct sr_hash *map, struct sr_err *err)
{
	static const struct sr_hash none;
	uint64_t leaves = 0, bytes = 0;
	enum sr_status rc;

	if (!e->missing || sr_hash_none(map))
		return SR_OK;
	rc = sr_map_counts(nodes, map, &leaves, &bytes);
	if (rc != SR_OK)
		return sr_err_set(err, rc, "a map of which a node is not here");
	if (e->missing_bytes / WALK_BYTES < leaves)
		return SR_OK;
	rc = sr_store_diff(nodes, SR_KIND_FILES, &none, map, visit, e, err);
	return rc == SR_E_CHANGED && !e->missing ? SR_OK : rc;
}

enum sr_status sr_elsewhere_new(struct sr_elsewhere **out, const struct sr_nodes *nodes, const struct sr_hash *map, struct sr_leaves *leaves,
				struct sr_err *err)
{
	struct sr_elsewhere *e = sr_alloc(sizeof(*e));
	enum sr_status rc = collect(e, leaves, err);

	if (rc == SR_OK)
		rc = look_in_plan(e, leaves, err);
	if (rc == SR_OK)
		rc = look_in_map(e, nodes, map, err);
	if (rc == SR_OK)
		*out = e;
	else
		sr_elsewhere_free(e);
	return rc;
}

struct sr_bytes sr_elsewhere_path(const struct sr_elsewhere *e, const struct sr_version *to)
{
	const struct content *c = e ? find(e, to) : NULL;

	return c && c->len ? sr_bytes(e->paths.at + c->at, c->len) : sr_bytes(NULL, 0);
}

void sr_elsewhere_free(struct sr_elsewhere *e)
{
	if (!e)
		return;
	sr_buf_free(&e->paths);
	free(e->contents);
	free(e);
}
