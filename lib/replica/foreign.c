/* foreign.c - see foreign.h. */
#include "lib/replica/foreign.h"

#include "lib/leaf/leaf.h"

struct check {
	const struct sr_nodes *nodes;
	const struct sr_hash *mine;
	uint8_t kind; /* of the store */
	struct sr_err *err;
};

static enum sr_status check_item(void *ctx, struct sr_bytes path, const struct sr_version *mine, const struct sr_version *theirs)
{
	struct check *c = ctx;

	(void)mine;
	if (theirs->kind == SR_KIND_NONE)
		return SR_OK;
	if (sr_path_is_schema(c->kind, path))
		return sr_err_set(c->err, SR_E_DATA, "path " SR_SCHEMA_PATH ": a reserved table");
	return sr_leaf_path_check(c->kind, path, c->err);
}

static enum sr_status check_store(void *ctx, const struct sr_entry *e)
{
	struct check *c = ctx;
	struct sr_hash before = {0};
	struct sr_buf name = {0};
	struct sr_entry known;
	enum sr_status rc;

	if (e->kind != SR_KIND_FILES && e->kind != SR_KIND_DATABASE)
		rc = sr_err_set(c->err, SR_E_DATA, "an entry of kind %u, which is no store", e->kind);
	else {
		c->kind = e->kind;
		if (sr_map_get(c->nodes, c->mine, e->name, &known) == SR_OK && known.kind == e->kind)
			before = known.hash;
		rc = sr_store_diff(c->nodes, e->kind, &before, &e->hash, check_item, c, c->err);
	}
	if (rc == SR_OK)
		return rc;
	sr_percent(&name, sr_bytes(e->name.at, e->name.len < 64 ? e->name.len : 64), NULL);
	sr_err_context(c->err, "store %s", sr_buf_text(&name));
	sr_buf_free(&name);
	return rc;
}

enum sr_status sr_foreign_check(const struct sr_nodes *nodes, const struct sr_hash *root, const struct sr_hash *mine, struct sr_err *err)
{
	struct check c = {.nodes = nodes, .mine = mine, .err = err};

	return sr_map_each(nodes, root, check_store, &c, err);
}
