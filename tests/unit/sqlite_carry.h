/* sqlite_carry.h - what carries the content of one database of a sqlite_world.h into another.  Included instead of it. */
#ifndef SR_TESTS_SQLITE_CARRY_H
#define SR_TESTS_SQLITE_CARRY_H

#include "tests/unit/sqlite_world.h"

static enum sr_verdict on_clash(void *ctx, size_t i, const struct sr_leaf *leaf, const struct sr_version *actual, struct sr_bytes record)
{
	(void)ctx, (void)i, (void)leaf, (void)actual, (void)record;
	return SR_KEEP;
}

static enum sr_verdict on_way(void *ctx, size_t i, const struct sr_leaf *leaf, struct sr_bytes path, const struct sr_version *actual,
			      struct sr_bytes record)
{
	(void)i, (void)leaf, (void)path, (void)actual, (void)record;
	return ((struct world *)ctx)->in_the_way;
}

static enum sr_status on_displaced(void *ctx, size_t i, const struct sr_leaf *leaf, const struct sr_displaced *old, struct sr_err *err)
{
	(void)i, (void)leaf, (void)old, (void)err;
	((struct world *)ctx)->displaced++;
	return SR_OK;
}

static void on_applied(void *ctx, size_t i, const struct sr_leaf *leaf, uint64_t signature)
{
	(void)i, (void)leaf, (void)signature;
	((struct world *)ctx)->applied++;
}

static enum sr_status apply(struct world *w, struct sr_store *st, struct sr_leaves *l)
{
	struct sr_apply_ops ops = {.ctx = w, .clash = on_clash, .in_the_way = on_way, .displaced = on_displaced, .applied = on_applied};
	struct sr_marker m = marker_new();
	enum sr_status rc;

	w->displaced = w->applied = 0;
	w->err = (struct sr_err){0};
	ok(sr_leaves_sort(l, &w->err));
	rc = sr_apply_prepare(st, l, &m, &ops, &w->err);
	if (rc == SR_OK && w->rolls_back)
		sr_apply_rollback(st);
	else if (rc == SR_OK)
		rc = sr_apply_commit(st, &w->err);
	return rc;
}

/* All that makes `to` what `from` is, as leaves; with from's schema text if `schema`. */
static struct sr_leaves *differences(struct world *w, struct sr_store *from, struct sr_store *to, bool schema)
{
	struct sr_hash here = {0};

	if (sr_store_seen(to).inode)
		here = map_of(w, to);
	return differences_from(w, from, &here, schema);
}

/* Carry what differs; `to` is made when there is none. */
HELPER void carry(struct world *w, struct sr_store *from, struct sr_store *to, bool schema)
{
	struct sr_leaves *l = differences(w, from, to, schema);

	if (!sr_store_seen(to).inode)
		ok(sr_store_create(to, &w->err));
	ok(apply(w, to, l));
	sr_leaves_free(l);
}

HELPER void same(struct world *w, struct sr_store *a, struct sr_store *b)
{
	struct sr_hash x = map_of(w, a), y = map_of(w, b);

	assert_true(sr_hash_eq(&x, &y));
}

#endif
