/* gather.c - the items of a store that a round has to decide: what differs between local and remote, and what is open in state.db.
 *
 * Source of each version: local from the scan's map, remote from the datastore's map, base from state.db.  Runs while the scan's view is
 * open, so that the records of rows to push are those of the very snapshot that was planned on. */
#include <stdlib.h>
#include <string.h>

#include "lib/sync/internal.h"

void sr_store_plan_clear(struct sr_store_plan *p)
{
	free(p->items);
	sr_buf_free(&p->paths);
	sr_buf_free(&p->open_paths);
	sr_leaves_free(p->pull);
	sr_leaves_free(p->push);
	sr_leaves_free(p->agree);
	sr_tally_free(&p->tally[SR_WAY_PUSH]);
	sr_tally_free(&p->tally[SR_WAY_PULL]);
	p->items = NULL;
	p->n = p->cap = 0;
	p->pull = p->push = p->agree = NULL;
	p->skipped = p->gone = 0;
	p->first_skip = NULL;
	p->compared = p->evicted = false;
}

/* --- finding ------------------------------------------------------------------------------------------------------------ */

struct finding {
	struct sr_sync *s;
	struct sr_store_plan *p;
	size_t i;
	struct sr_hash remote;
	size_t found; /* items of the difference, sorted; what follows are open rows */
	struct sr_err *err;
};

static struct sr_item *add_item(struct sr_store_plan *p, struct sr_bytes path)
{
	struct sr_item *it;

	if (p->n == p->cap) {
		p->cap = p->cap ? p->cap * 2 : 64;
		p->items = sr_realloc(p->items, p->cap * sizeof *p->items);
	}
	it = &p->items[p->n++];
	memset(it, 0, sizeof *it);
	it->path = path;
	return it;
}

/* A path kept by the plan; its address is an offset until place_paths(), because the buffer moves. */
static struct sr_bytes keep_path(struct sr_buf *paths, struct sr_bytes path)
{
	struct sr_bytes kept = {(const uint8_t *)(uintptr_t)paths->len, path.len};

	sr_buf_bytes(paths, path);
	return kept;
}

static void place_paths(struct sr_store_plan *p, size_t from, const struct sr_buf *paths)
{
	for (size_t k = from; k < p->n; k++)
		p->items[k].path.at = paths->at + (uintptr_t)p->items[k].path.at;
}

static int by_path(const void *a, const void *b)
{
	return sr_bytes_cmp(((const struct sr_item *)a)->path, ((const struct sr_item *)b)->path);
}

static void sort_items(struct sr_store_plan *p)
{
	if (p->n)
		qsort(p->items, p->n, sizeof *p->items, by_path);
}

static enum sr_status differs(void *ctx, struct sr_bytes path, const struct sr_version *local, const struct sr_version *remote)
{
	struct finding *f = ctx;
	struct sr_item *it;

	if (sr_sync_is_excluded(f->s, f->i, path))
		return SR_OK;
	it = add_item(f->p, keep_path(&f->p->paths, path));
	it->local = *local;
	it->remote = *remote;
	return SR_OK;
}

/* An open row that is not in the difference: both sides have what the row says. */
static enum sr_status open_row(void *ctx, const struct sr_leaf_row *row, struct sr_err *err)
{
	struct finding *f = ctx;
	struct sr_item key = {.path = row->path}, *it;

	(void)err;
	if (sr_store_excludes(f->s->r->stores[f->i].store, row->path))
		return SR_OK;
	if (f->found && bsearch(&key, f->p->items, f->found, sizeof key, by_path))
		return SR_OK;
	it = add_item(f->p, keep_path(&f->p->open_paths, row->path));
	it->local = it->remote = row->local;
	return SR_OK;
}

static enum sr_status find_items(struct finding *f)
{
	struct sr_replica_store *st = &f->s->r->stores[f->i];
	struct sr_store_plan *p = f->p;
	enum sr_status rc = sr_store_diff(f->s->r->nodes, st->kind, &st->map, &f->remote, differs, f, f->err);

	place_paths(p, 0, &p->paths);
	sort_items(p);
	f->found = p->n;
	if (rc == SR_OK)
		rc = sr_state_leaves(f->s->r->state, &st->row, true, open_row, f, f->err);
	place_paths(p, f->found, &p->open_paths);
	if (p->n > f->found)
		sort_items(p);
	return rc;
}

/* --- deciding ------------------------------------------------------------------------------------------------------------- */

static uint8_t note_of(const struct sr_sync *s, size_t i, struct sr_bytes path)
{
	for (size_t k = 0; k < s->noteds; k++)
		if (s->noted[k].store == i && sr_bytes_eq(sr_buf_view(&s->noted[k].path), path))
			return s->noted[k].note;
	return SR_NOTE_NONE;
}

static void set_as_of(struct sr_item *it, const struct sr_store_row *st, const struct sr_leaf_row *row)
{
	it->epoch = st->epoch;
	it->seq = st->seq;
	if (row->base_state == SR_BASE_HINT && (row->epoch > it->epoch || (row->epoch == it->epoch && row->seq > it->seq))) {
		it->epoch = row->epoch;
		it->seq = row->seq;
	}
	it->dated = it->epoch || it->seq;
}

static enum sr_status decide(struct finding *f, struct sr_item *it)
{
	struct sr_replica *r = f->s->r;
	struct sr_leaf_row row;
	enum sr_status rc;

	if (sr_replica_unknown(r, f->i, it->path)) {
		it->act = SR_ACT_SKIP;
		it->why = "it cannot be seen here";
		return SR_OK;
	}
	rc = sr_state_leaf(r->state, &r->stores[f->i].row, it->path, &row, f->err);
	if (rc != SR_OK)
		return rc;
	it->base_state = row.base_state;
	it->base = row.base;
	it->note = note_of(f->s, f->i, it->path);
	set_as_of(it, &r->stores[f->i].row, &row);
	sr_plan_item(it);
	/* Nothing is put in the place of what cannot be seen, and a directory that holds nothing else is not gone. */
	if (((it->act == SR_ACT_PULL && it->remote.kind == SR_KIND_FILE) || (it->act == SR_ACT_PUSH && it->local.kind == SR_KIND_NONE)) &&
	    sr_replica_unknown_below(r, f->i, it->path)) {
		it->act = SR_ACT_SKIP;
		it->why = "something that cannot be seen lies below it here";
	}
	if (it->act == SR_ACT_PUSH && it->local.kind == SR_KIND_FILE && f->s->info.max_file && it->local.bytes > f->s->info.max_file) {
		it->act = SR_ACT_SKIP;
		it->why = "it is larger than the datastore's Resource-Max-Size";
	}
	return SR_OK;
}

/* --- handing on ------------------------------------------------------------------------------------------------------------- */

static enum sr_status add_pull(struct finding *f, const struct sr_item *it)
{
	struct sr_leaf leaf = {.path = it->path, .expect = it->local, .to = it->remote};

	if (it->archive)
		leaf.flags = SR_LEAF_ARCHIVE | (it->base_state == SR_BASE_KNOWN ? 0 : SR_LEAF_UNION);
	return sr_leaves_add(f->p->pull, &leaf, f->err);
}

static enum sr_status add_push(struct finding *f, const struct sr_item *it)
{
	struct sr_leaf leaf = {.path = it->path, .expect = it->remote, .to = it->local, .flags = it->flags};
	struct sr_content content = {.fd = -1};
	enum sr_status rc;

	if (it->flags & SR_LEAF_UNION) {
		leaf.epoch = it->epoch;
		leaf.seq = it->seq;
	}
	if (f->s->r->stores[f->i].kind == SR_KIND_DATABASE &&
	    sr_view_dangling(f->s->r->stores[f->i].view, it->path, it->local.kind != SR_KIND_NONE))
		leaf.flags |= SR_LEAF_PARENTLESS;
	if (it->flags & SR_LEAF_EDITED)
		leaf.expect = it->base; /* the hint: an ordinary edit if the datastore still has that */
	if (it->local.kind == SR_KIND_ROW) {
		rc = sr_view_read(f->s->r->stores[f->i].view, it->path, &content, f->err);
		if (rc != SR_OK)
			return sr_err_context(f->err, "row to push");
		leaf.record = content.record;
	}
	return sr_leaves_add(f->p->push, &leaf, f->err);
}

static enum sr_status add_agree(struct finding *f, const struct sr_item *it)
{
	struct sr_leaf leaf = {.path = it->path, .expect = it->local, .to = it->local};

	return sr_leaves_add(f->p->agree, &leaf, f->err);
}

/* The schema text goes along when a table is new on the other side. */
static enum sr_status add_schema(struct finding *f, bool pulls, bool pushes)
{
	struct sr_leaf leaf = {.path = sr_bytes_of(SR_SCHEMA_PATH), .to = {.kind = SR_KIND_TABLE, .hash = f->remote}};
	struct sr_content content = {.fd = -1};
	enum sr_status rc = SR_OK;

	if (pulls)
		rc = sr_leaves_add(f->p->pull, &leaf, f->err);
	if (rc == SR_OK && pushes) {
		rc = sr_view_read(f->s->r->stores[f->i].view, leaf.path, &content, f->err);
		if (rc == SR_OK) {
			sr_hash_of(&leaf.to.hash, &f->s->r->key, content.record);
			leaf.record = content.record;
			rc = sr_leaves_add(f->p->push, &leaf, f->err);
		}
	}
	return rc;
}

static enum sr_status hand_on(struct finding *f)
{
	struct sr_store_plan *p = f->p;
	bool table_pulls = false, table_pushes = false;
	enum sr_status rc = SR_OK;

	for (size_t k = 0; rc == SR_OK && k < p->n; k++) {
		const struct sr_item *it = &p->items[k];

		switch (it->act) {
		case SR_ACT_AGREE:
			rc = add_agree(f, it);
			break;
		case SR_ACT_PULL:
			table_pulls |= it->remote.kind == SR_KIND_TABLE;
			rc = add_pull(f, it);
			break;
		case SR_ACT_PUSH:
			if (it->local.kind == SR_KIND_NONE && it->remote.kind == SR_KIND_DIR && sr_sync_excluded_below(f->s, f->i, &f->remote, it->path)) {
				p->excluded++; /* the datastore needs it for what is excluded there */
				break;
			}
			table_pushes |= it->local.kind == SR_KIND_TABLE;
			rc = add_push(f, it);
			break;
		case SR_ACT_SKIP:
			p->first_skip = p->skipped++ ? p->first_skip : it->why;
			break;
		default:
			break;
		}
	}
	return rc == SR_OK ? add_schema(f, table_pulls, table_pushes) : rc;
}

enum sr_status sr_sync_gather(struct sr_sync *s, size_t i, struct sr_err *err)
{
	struct sr_replica_store *st = &s->r->stores[i];
	struct sr_store_plan *p = &s->plans[i];
	struct finding f = {.s = s, .p = p, .i = i, .err = err};
	const char *dir = sr_state_dir(s->r->state), *why = NULL;
	enum sr_status rc;

	sr_store_plan_clear(p);
	p->pull = sr_leaves_new(dir);
	p->push = sr_leaves_new(dir);
	p->agree = sr_leaves_new(dir);
	if (!sr_sync_remote_map(s, i, &f.remote, &why)) {
		p->first_skip = why;
		p->skipped = 1;
		return SR_OK;
	}
	p->compared = true;
	p->excluded = 0;
	rc = find_items(&f);
	for (size_t k = 0; rc == SR_OK && k < p->n; k++)
		rc = decide(&f, &p->items[k]);
	if (rc == SR_OK && st->kind == SR_KIND_FILES)
		sr_plan_shape(p->items, p->n);
	if (rc == SR_OK && st->kind == SR_KIND_DATABASE)
		sr_plan_tables(p->items, p->n, !st->has_content);
	if (rc == SR_OK) {
		sr_sync_limit(s, i, &f.remote);
		rc = hand_on(&f);
	}
	if (rc == SR_OK)
		rc = sr_leaves_sort(p->pull, err);
	if (rc == SR_OK)
		rc = sr_leaves_sort(p->push, err);
	return rc == SR_OK ? rc : sr_err_context(err, "store %s: plan", st->name);
}
