/* restore_merge.c - what several sources hold of a store, made one: leaf by leaf that of the source which is as of later, of equal ones the first
 * that was named.  What one of them lacks is taken from the others: nothing is deleted.  What gives way is kept, for the conflict archive. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/admin/restore_internal.h"

struct merging {
	struct sr_restore *x;
	struct sr_restore_store *st;
	const struct sr_source_store *newest;
	size_t k;               /* the source that is taken in */
	struct sr_hash base;    /* what there is of the ones before; held */
	struct sr_leaves *adds; /* path, to */
	struct sr_err *err;
};

static const struct sr_source_store *of(const struct sr_restore *x, size_t k, const struct sr_restore_store *st)
{
	return &x->sources[k].stores[st - x->stores];
}

static bool newer(const struct sr_source_store *a, const struct sr_source_store *b)
{
	return sr_is_later(a->epoch, a->seq, b->epoch, b->seq);
}

size_t sr_restore_source_of(const struct sr_restore *x, size_t i, struct sr_bytes path, const struct sr_version *version)
{
	struct sr_version there;

	for (size_t k = 0; k < x->n_sources; k++)
		if (x->sources[k].stores[i].has &&
		    sr_store_get(x->nodes, x->stores[i].kind, &x->sources[k].stores[i].map, path, &there, NULL) == SR_OK &&
		    sr_version_eq(&there, version))
			return k;
	return x->n_sources;
}

/* Something of the base stands in the way of what is below: a file where this source has a directory; a table of another shape. */
static bool blocked(const struct merging *m, struct sr_bytes path)
{
	struct sr_version base, other;

	for (size_t len = 1; len < path.len; len++) {
		struct sr_bytes up = sr_bytes(path.at, len);

		if (path.at[len])
			continue;
		if (sr_store_get(m->x->nodes, m->st->kind, &m->base, up, &base, NULL) != SR_OK)
			return true;
		if (m->st->kind == SR_KIND_FILES) {
			if (base.kind == SR_KIND_FILE)
				return true;
			continue;
		}
		if (base.kind == SR_KIND_NONE) /* the table comes with this source */
			return false;
		return sr_store_get(m->x->nodes, m->st->kind, &of(m->x, m->k, m->st)->map, up, &other, NULL) != SR_OK ||
		       !sr_version_eq(&base, &other); /* a row's name has no further parts */
	}
	return false;
}

static enum sr_status lose(struct merging *m, struct sr_bytes path, const struct sr_version *loser, const struct sr_version *winner)
{
	struct sr_leaf leaf = {.path = path, .to = *loser, .expect = *winner, .epoch = m->k};

	return loser->kind == SR_KIND_FILE || loser->kind == SR_KIND_ROW ? sr_leaves_add(m->st->losers, &leaf, m->err) : SR_OK;
}

/* It is as of its own source, not of the newest: who edits it there before the datastore is back edits what is here. */
static enum sr_status add(struct merging *m, const struct sr_leaf *leaf)
{
	const struct sr_source_store *from = of(m->x, m->k, m->st);
	struct sr_leaf dated = {.path = leaf->path, .epoch = from->epoch ? from->epoch : 1, .seq = from->seq};
	enum sr_status rc = sr_leaves_add(m->adds, leaf, m->err);

	return rc == SR_OK && newer(m->newest, from) ? sr_leaves_add(m->st->dated, &dated, m->err) : rc;
}

static enum sr_status meet(void *ctx, struct sr_bytes path, const struct sr_version *base, const struct sr_version *other)
{
	struct merging *m = ctx;
	struct sr_leaf leaf = {.path = path, .to = *other};

	if (other->kind == SR_KIND_NONE)
		return SR_OK;
	if (blocked(m, path)) {
		m->st->unlike += m->st->kind == SR_KIND_DATABASE;
		return m->st->kind == SR_KIND_FILES ? lose(m, path, other, base) : SR_OK;
	}
	if (base->kind == SR_KIND_NONE || (sr_path_is_bag(path) && other->bytes > base->bytes))
		return add(m, &leaf);
	if (other->kind == SR_KIND_TABLE)
		m->st->unlike++;
	return sr_path_is_bag(path) ? SR_OK : lose(m, path, other, base);
}

/* The base becomes what it is with the additions. */
static enum sr_status take_in(struct merging *m)
{
	size_t n = sr_leaves_count(m->adds);
	struct sr_edit *edits = sr_alloc((n + 1) * sizeof *edits);
	struct sr_buf paths = {0};
	struct sr_hash next;
	enum sr_status rc = sr_leaves_sort(m->adds, m->err);

	for (size_t j = 0; rc == SR_OK && j < n; j++) {
		struct sr_leaf leaf;

		rc = sr_leaves_at(m->adds, j, &leaf, m->err);
		if (rc != SR_OK)
			break;
		edits[j].path = sr_bytes((const uint8_t *)(uintptr_t)paths.len, leaf.path.len); /* an offset, for the buffer grows */
		edits[j].to = leaf.to;
		sr_buf_bytes(&paths, leaf.path);
	}
	for (size_t j = 0; rc == SR_OK && j < n; j++)
		edits[j].path.at = paths.at + (uintptr_t)edits[j].path.at;
	if (rc == SR_OK && n)
		rc = sr_store_edit(m->x->nodes, m->st->kind, &m->base, edits, n, &next, m->err);
	if (rc == SR_OK && n) {
		sr_nodes_hold(m->x->nodes, &next);
		sr_nodes_release(m->x->nodes, &m->base);
		m->base = next;
	}
	free(edits);
	sr_buf_free(&paths);
	return rc;
}

/* The sources that have the store, the newest first, then as they were named.  Returns how many. */
static size_t order(const struct sr_restore *x, const struct sr_restore_store *st, size_t *out)
{
	size_t n = 0;

	for (size_t k = 0; k < x->n_sources; k++) {
		size_t at = n;

		if (!of(x, k, st)->has)
			continue;
		while (at && newer(of(x, k, st), of(x, out[at - 1], st))) {
			out[at] = out[at - 1];
			at--;
		}
		out[at] = k;
		n++;
	}
	return n;
}

/* As of the newest source: where the others have a version, it has given way to that one.  What comes from them is in st->dated. */
static void choose_marker(struct sr_restore *x, struct sr_restore_store *st, const struct sr_source_store *newest, size_t k)
{
	st->marker = (struct sr_marker){.id = sr_uuid_random(),
					.node = newest->node,
					.instance = x->sources[k].info.at.instance,
					.epoch = newest->epoch,
					.seq = newest->seq};
	if (!st->marker.epoch && !sr_uuid_none(&st->marker.instance))
		st->marker.epoch = 1; /* before everything */
	if (sr_uuid_none(&st->marker.node))
		st->marker.node = sr_uuid_random(); /* nobody's */
}

enum sr_status sr_restore_merge(struct sr_restore *x, size_t i, struct sr_err *err)
{
	struct sr_restore_store *st = &x->stores[i];
	struct merging m = {.x = x, .st = st, .err = err};
	size_t *sources = sr_alloc((x->n_sources + 1) * sizeof *sources), n = order(x, st, sources);
	enum sr_status rc = SR_OK;

	sr_leaves_free(st->losers);
	st->losers = sr_leaves_new(x->spool);
	sr_leaves_free(st->dated);
	st->dated = sr_leaves_new(x->spool);
	st->unlike = 0;
	st->skip = !n;
	if (!n)
		goto out;
	m.newest = of(x, sources[0], st);
	m.base = m.newest->map;
	sr_nodes_hold(x->nodes, &m.base);
	for (size_t j = 1; rc == SR_OK && j < n; j++) {
		m.k = sources[j];
		m.adds = sr_leaves_new(x->spool);
		rc = sr_store_diff(x->nodes, st->kind, &m.base, &of(x, m.k, st)->map, meet, &m, err);
		if (rc == SR_OK)
			rc = take_in(&m);
		sr_leaves_free(m.adds);
	}
	choose_marker(x, st, m.newest, sources[0]);
	sr_nodes_release(x->nodes, &st->wanted);
	st->wanted = m.base;
out:
	free(sources);
	return rc == SR_OK ? rc : sr_err_context(err, "store %s", st->name);
}

/* --- what gave way -------------------------------------------------------------------------------------------------------------- */

struct archiving {
	struct sr_restore *x;
	struct sr_restore_store *st;
	int stage; /* the directory in which files are staged */
};

static enum sr_status archive_one(void *ctx, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct archiving *a = ctx;
	struct sr_loser loser = {.store = a->st->name,
				 .store_kind = a->st->kind,
				 .path = leaf->path,
				 .version = leaf->to,
				 .mtime_ns = leaf->mtime_ns,
				 .reason = "union",
				 .winner = leaf->expect};
	char *name;
	enum sr_status rc;

	if (leaf->to.kind == SR_KIND_ROW)
		return sr_archive_record(a->x->archive, &loser, leaf->record, err);
	name = sr_text(leaf->stage);
	rc = sr_archive_file(a->x->archive, &loser, a->stage, name, err);
	free(name);
	return rc;
}

static enum sr_status archive_from(struct archiving *a, size_t k, size_t i, struct sr_store *st, struct sr_err *err)
{
	struct sr_leaves *mine = sr_leaves_new(a->x->spool);
	enum sr_status rc = SR_OK;

	for (size_t j = 0; rc == SR_OK && j < sr_leaves_count(a->st->losers); j++) {
		struct sr_leaf leaf;

		rc = sr_leaves_at(a->st->losers, j, &leaf, err);
		if (rc == SR_OK && leaf.epoch == k)
			rc = sr_leaves_add(mine, &leaf, err);
	}
	if (rc == SR_OK)
		rc = sr_leaves_sort(mine, err);
	if (rc == SR_OK && sr_leaves_count(mine))
		rc = sr_restore_fetch(a->x, k, i, st, mine, archive_one, a, &a->st->missing, err);
	sr_leaves_free(mine);
	return rc;
}

enum sr_status sr_restore_archive(struct sr_restore *x, size_t i, struct sr_store *st, struct sr_err *err)
{
	struct archiving a = {.x = x, .st = &x->stores[i], .stage = -1};
	char *dir = sr_format("%s/.sameroot/stage", a.st->staged);
	enum sr_status rc = SR_OK;

	a.stage = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t k = 0; rc == SR_OK && k < x->n_sources; k++)
		rc = archive_from(&a, k, i, st, err);
	if (a.stage >= 0)
		close(a.stage);
	free(dir);
	return rc == SR_OK ? rc : sr_err_context(err, "what gave way to a newer version");
}
