/* gather.c - the items of a store that a round has to decide: what differs between local and remote, and what is open in state.db.
 *
 * Source of each version: local from the scan's map, remote from the datastore's map, base from state.db.  Runs while the scan's view is
 * open, so that the records of rows to push are those of the very snapshot that was planned on.
 *
 * The items of a directory tree are held all at once, for one decides on another (sr_plan_shape).  Those of a database pass by one at a
 * time, in path order: a table, then its rows.  A first round has millions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/sync/internal.h"

#define TELL_AGAIN_MS 3600000
#define ROW_MAX (SR_BUNDLE_FRAME - (1u << 20)) /* bytes of a record: its frame holds the path, and so the key, as well */

static void free_items(struct sr_store_plan *p)
{
	free(p->items);
	sr_buf_free(&p->paths);
	sr_buf_free(&p->open_paths);
	p->items = NULL;
	p->n = p->cap = 0;
}

void sr_store_plan_clear(struct sr_store_plan *p)
{
	free_items(p);
	sr_leaves_free(p->pull);
	sr_leaves_free(p->push);
	sr_leaves_free(p->agree);
	sr_tally_free(&p->tally[SR_WAY_PUSH]);
	sr_tally_free(&p->tally[SR_WAY_PULL]);
	p->pull = p->push = p->agree = NULL;
	p->skipped = p->skipped_held = p->gone = 0;
	p->first_skip = NULL;
	p->skips[0] = 0;
	p->behind = p->compared = p->evicted = p->again = p->merges = p->grows = p->tells = p->first_seen = false;
}

/* --- finding ------------------------------------------------------------------------------------------------------------ */

struct finding {
	bool reshaped;  /* the table, see was_reshaped */
	bool remade;    /* and was_remade */
	bool carried;   /* and the datastore's rows are those it made itself of the ones before */
	bool touched;   /* a row of the table is not there what was agreed on; */
	bool moved;     /* one that is there is not here */
	bool mirror;    /* the store is to become what the datastore's is */
	bool rows_move; /* and rows to which that matters are not the same on both sides; */
	bool bag_moves; /* among them rows of its bag */
	struct sr_sync *s;
	struct sr_store_plan *p;
	size_t i;
	struct sr_hash remote;
	bool table_pulls, table_pushes; /* a table is new on the other side */
	size_t found;                   /* files: items of the difference, sorted; what follows are open rows */
	struct sr_leaves *differing;    /* database: the difference, sorted; expect is local, to is remote */
	size_t next;                    /* of it */
	struct sr_leaves *given_up;     /* sr_state_given_up */
	struct sr_leaves *bases;        /* rows from which ours descend, as was found only now: path, to */
	struct sr_item table;           /* database: the last one that passed by; no path: none */
	struct sr_buf named;            /* the path that was named last among those left alone */
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

void sr_sync_note(struct sr_sync *s, size_t i, struct sr_bytes path, enum sr_note note, const struct sr_version *ours,
		  const struct sr_version *merged)
{
	s->noted = sr_realloc(s->noted, (s->noteds + 1) * sizeof *s->noted);
	s->noted[s->noteds] = (struct sr_noted){.store = i, .note = (uint8_t)note, .ours = *ours, .merged = *merged};
	sr_buf_bytes(&s->noted[s->noteds++].path, path);
	s->notes_sorted = false;
}

static int by_store_and_path(const void *a, const void *b)
{
	const struct sr_noted *x = a, *y = b;

	return x->store != y->store ? (x->store < y->store ? -1 : 1) : sr_bytes_cmp(sr_buf_view(&x->path), sr_buf_view(&y->path));
}

/* It was heeded, or is of a version that is gone: what is here now is an edit of what the datastore has. */
static bool is_moot(const struct sr_noted *n, const struct sr_item *it)
{
	return it->base_state == SR_BASE_KNOWN && sr_version_eq(&it->remote, &it->base) && !sr_version_eq(&it->local, &n->ours) &&
	       !sr_version_eq(&it->local, &n->merged);
}

static uint8_t note_of(struct sr_sync *s, size_t i, const struct sr_item *it)
{
	struct sr_noted key = {.store = i, .path = {.at = (uint8_t *)(uintptr_t)it->path.at, .len = it->path.len}}, *found, *end;

	if (!s->noteds)
		return SR_NOTE_NONE;
	if (!s->notes_sorted)
		qsort(s->noted, s->noteds, sizeof *s->noted, by_store_and_path);
	s->notes_sorted = true;
	found = bsearch(&key, s->noted, s->noteds, sizeof key, by_store_and_path);
	if (!found)
		return SR_NOTE_NONE;
	while (found > s->noted && !by_store_and_path(found - 1, &key)) /* the first of them */
		found--;
	for (end = s->noted + s->noteds; found < end && !by_store_and_path(found, &key); found++)
		if (!is_moot(found, it))
			return found->note;
	return SR_NOTE_NONE;
}

/* Until one of the two changes, it need not be asked again. */
static bool was_declined(const struct sr_sync *s, size_t i, const struct sr_item *it)
{
	for (size_t k = 0; k < s->declineds; k++) {
		const struct sr_declined *d = &s->declined[k];

		if (d->store == i && sr_hash_eq(&d->here, &it->local.hash) && sr_hash_eq(&d->there, &it->remote.hash))
			return true;
	}
	return false;
}

/* Another version stands against ours, which was not edited: what counts then is since when ours is here (lib/datastore/decide.c). */
static bool counts_since(const struct sr_item *it, const struct sr_leaf_row *row)
{
	return row->base_state == SR_BASE_HINT && (row->epoch || row->seq) && it->remote.kind != SR_KIND_NONE &&
	       sr_version_eq(&it->local, &it->base) && !sr_version_eq(&it->local, &it->remote);
}

static void set_as_of(const struct finding *f, struct sr_item *it, const struct sr_leaf_row *row)
{
	const struct sr_store_row *st = &f->s->r->stores[f->i].row;
	const struct sr_tree_store *there = sr_sync_there(f->s, f->i);

	it->epoch = st->epoch;
	it->seq = st->seq;
	if (row->base_state == SR_BASE_HINT && sr_is_later(row->epoch, row->seq, it->epoch, it->seq)) {
		it->epoch = row->epoch;
		it->seq = row->seq;
	}
	it->dated = it->epoch || it->seq;
	it->risen = f->s->info.at.epoch > 1;
	it->newer = there && (there->epoch || there->seq) && sr_is_later(it->epoch, it->seq, there->epoch, there->seq) &&
		    it->epoch < f->s->info.at.epoch; /* else it was told when the epoch had risen */
	if (counts_since(it, row)) {
		it->since_epoch = row->epoch;
		it->since_seq = row->seq;
	}
}

/* Did our row only grow columns, at their defaults, since it was `before`? */
static bool only_grew(struct finding *f, const struct sr_item *it, const struct sr_version *before)
{
	struct sr_view *view = f->s->r->stores[f->i].view;
	struct sr_content content = {.fd = -1};

	return it->local.kind == SR_KIND_ROW && before->kind == SR_KIND_ROW && !sr_path_is_bag(it->path) &&
	       sr_view_read(view, it->path, &content, NULL) == SR_OK && sr_view_is_grown(view, it->path, content.record, before);
}

/* Then it is no edit. */
static void spare_grown(struct finding *f, struct sr_item *it)
{
	if (it->base_state != SR_BASE_KNOWN || !only_grew(f, it, &it->base))
		return;
	it->act = SR_ACT_PULL;
	it->archive = false;
	it->why = NULL;
}

/* A hint of before the application here changed the table is of this row all the same. */
static void grow_hint(struct finding *f, const struct sr_item *it, struct sr_leaf_row *row)
{
	if (row->base_state == SR_BASE_HINT && !sr_version_eq(&it->local, &row->base) && only_grew(f, it, &row->base))
		row->base = it->local;
}

static void doubt_base(struct finding *f, struct sr_item *it)
{
	it->base_state = SR_BASE_UNKNOWN;
	it->epoch = f->s->as_of_epoch;
	it->seq = f->s->as_of_seq;
	it->dated = it->epoch || it->seq;
}

/* In a table that has a new shape on both sides: a row of a bag has a new name; and one that is not at the datastore may be one that its
 * table did not take. */
static bool lost_its_base(const struct finding *f, const struct sr_item *it)
{
	if (f->remade && it->local.kind == SR_KIND_NONE)
		return true;
	return sr_path_is_bag(it->path) ? it->base.kind == SR_KIND_NONE
					: it->base.kind == SR_KIND_ROW && it->local.kind == SR_KIND_ROW && it->remote.kind == SR_KIND_NONE;
}

/* Ours was made by the application's upgrade, or deleted by it or since; theirs was not. */
static enum sr_status descend(struct finding *f, struct sr_item *it)
{
	if (!f->carried || f->mirror || !sr_path_under(it->path, f->table.path) || sr_path_is_bag(it->path) || it->remote.kind != SR_KIND_ROW ||
	    sr_version_eq(&it->local, &it->remote))
		return SR_OK;
	it->base_state = SR_BASE_KNOWN;
	it->base = it->remote;
	return sr_leaves_add(f->bases, &(struct sr_leaf){.path = it->path, .to = it->base}, f->err);
}

/* Does it matter to this row, which is to move, that its table has a new shape? */
static bool moves_anew(const struct sr_item *it)
{
	bool moves = it->act == SR_ACT_PULL || it->act == SR_ACT_PUSH || it->act == SR_ACT_MERGE;

	return moves && (sr_path_is_bag(it->path) || it->base_state == SR_BASE_UNKNOWN || it->local.kind == SR_KIND_NONE);
}

/* A push of it was given up that the hint came before, and since then it was edited.  Of what was pushed, if that is what the datastore has, or
 * if it was made here again what it was before; or of what that was an edit of, when that is a push that was given up itself. */
static enum sr_status base_on_given_up(struct finding *f, struct sr_item *it, const struct sr_leaf_row *row)
{
	struct sr_leaf pushed;
	size_t at;
	enum sr_status rc;

	if (it->base_state != SR_BASE_HINT || it->local.kind == SR_KIND_NONE || sr_path_is_bag(it->path) || !sr_leaves_count(f->given_up))
		return SR_OK;
	rc = sr_leaves_find(f->given_up, it->path, &at, &pushed, f->err);
	if (rc != SR_OK || at == sr_leaves_count(f->given_up) || sr_is_later(row->epoch, row->seq, pushed.epoch, pushed.seq) ||
	    sr_version_eq(&it->local, &pushed.to))
		return rc;
	if (sr_version_eq(&it->remote, &pushed.to) || sr_version_eq(&it->local, &it->base))
		it->base = pushed.to;
	else if ((pushed.flags & SR_LEAF_EDITED) && sr_version_eq(&it->remote, &pushed.expect))
		it->base = pushed.expect;
	return SR_OK;
}

/* row: what state.db has of the item; NULL: to be looked up. */
static enum sr_status decide(struct finding *f, struct sr_item *it, const struct sr_leaf_row *row)
{
	struct sr_replica *r = f->s->r;
	struct sr_leaf_row own;
	enum sr_status rc = SR_OK;

	if (sr_replica_unknown(r, f->i, it->path)) {
		it->act = SR_ACT_SKIP;
		it->why = "it cannot be seen here";
		return SR_OK;
	}
	if (row)
		own = *row;
	else
		rc = sr_state_leaf(r->state, &r->stores[f->i].row, it->path, &own, f->err);
	if (rc != SR_OK)
		return rc;
	grow_hint(f, it, &own);
	it->base_state = own.base_state;
	it->base = own.base;
	rc = base_on_given_up(f, it, &own);
	if (rc != SR_OK)
		return rc;
	it->note = note_of(f->s, f->i, it);
	if (it->local.kind == SR_KIND_TABLE && was_declined(f->s, f->i, it))
		it->note = SR_NOTE_DECLINED;
	if (it->note == SR_NOTE_NONE && f->p->no_merges && it->local.kind == SR_KIND_ROW && !sr_path_is_bag(it->path))
		it->note = SR_NOTE_CONFLICT;
	set_as_of(f, it, &own);
	if (f->reshaped && sr_path_under(it->path, f->table.path) && lost_its_base(f, it))
		doubt_base(f, it);
	rc = descend(f, it);
	if (rc != SR_OK)
		return rc;
	if (f->mirror)
		sr_plan_mirror(it);
	else
		sr_plan_item(it);
	if (it->act == SR_ACT_MERGE || (it->act == SR_ACT_PULL && it->archive))
		spare_grown(f, it);
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
	if (it->act == SR_ACT_PUSH && it->local.kind == SR_KIND_ROW && it->local.bytes > ROW_MAX && !sr_path_is_bag(it->path)) {
		it->act = SR_ACT_SKIP;
		it->why = "the row is larger than a bundle carries";
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

/* A bag's outcome is known, and its row is here if there is one.  Of an ordinary row go along what has to be compared with the datastore's
 * record when that is here: our record, and as `base` the version that both came from. */
static enum sr_status add_merge(struct finding *f, const struct sr_item *it)
{
	bool bag = sr_path_is_bag(it->path);
	struct sr_leaf leaf = {
		.path = it->path, .expect = it->local, .to = it->remote, .base = bag ? it->remote : it->base, .flags = SR_LEAF_MERGED};
	struct sr_content content = {.fd = -1};
	enum sr_status rc;

	if (bag)
		leaf.to.bytes = sr_plan_count(it);
	if (bag && it->remote.kind == SR_KIND_NONE)
		leaf.to = it->local, leaf.to.bytes = sr_plan_count(it);
	if (bag && !leaf.to.bytes)
		leaf.to = (struct sr_version){0};
	if (it->local.kind == SR_KIND_ROW && leaf.to.kind == SR_KIND_ROW) {
		rc = sr_view_read(f->s->r->stores[f->i].view, it->path, &content, f->err);
		if (rc != SR_OK)
			return sr_err_context(f->err, "row to merge");
		leaf.record = content.record;
	}
	if (f->reshaped)
		leaf.flags |= SR_LEAF_EDITED; /* since its base its table is */
	f->p->merges |= !bag;
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
		leaf.since_epoch = it->since_epoch;
		leaf.since_seq = it->since_seq;
		if ((it->since_epoch || it->since_seq) && !(it->flags & SR_LEAF_EDITED))
			leaf.flags |= SR_LEAF_SINCE;
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

/* Were the tables' constraints told to the datastore?  Not if they are others than they were; and with a push that goes anyway they are told again
 * after a while, for it may know another schema by now, or have waited for somebody who is gone. */
static enum sr_status is_told(struct finding *f, struct sr_bytes text, bool *told)
{
	struct sr_replica *r = f->s->r;
	struct sr_buf definitions = {0}, before = {0};
	char *name = sr_sync_definitions_name(f->s, f->i);
	bool found = false, changed;
	enum sr_status rc = sr_state_get(r->state, name, &before, &found, f->err);
	struct sr_reader in = sr_reader(sr_buf_view(&before));
	int64_t at_ms = (int64_t)sr_read_be64(&in);
	struct sr_bytes hash = sr_read_bytes(&in, SR_HASH_LEN);

	sr_schema_definitions(text, &r->key, &definitions);
	sr_hash_of(&f->p->definitions, &r->key, sr_buf_view(&definitions));
	found = found && !in.bad;
	changed = found && memcmp(hash.at, f->p->definitions.b, SR_HASH_LEN) != 0;
	*told = !changed && (!sr_leaves_count(f->p->push) || (at_ms && sr_now_ms() - at_ms < TELL_AGAIN_MS));
	f->p->first_seen = rc == SR_OK && !found;
	sr_buf_free(&definitions);
	sr_buf_free(&before);
	free(name);
	return rc;
}

/* The schema text goes along when a table is new on the other side, or has other constraints. */
static enum sr_status add_schema(struct finding *f)
{
	struct sr_leaf leaf = {.path = sr_bytes_of(SR_SCHEMA_PATH), .to = {.kind = SR_KIND_TABLE, .hash = f->remote}};
	struct sr_view *view = f->s->r->stores[f->i].view;
	struct sr_content content = {.fd = -1};
	bool told = true;
	enum sr_status rc = SR_OK;

	f->p->schema_version = sr_view_schema_version(view);
	if (f->table_pulls)
		rc = sr_leaves_add(f->p->pull, &leaf, f->err);
	if (rc == SR_OK)
		rc = sr_view_read(view, leaf.path, &content, f->err);
	if (rc == SR_OK)
		rc = is_told(f, content.record, &told);
	f->p->tells = f->table_pushes || (!told && !f->mirror);
	if (rc != SR_OK || !f->p->tells)
		return rc;
	sr_hash_of(&leaf.to.hash, &f->s->r->key, content.record);
	leaf.record = content.record;
	return sr_leaves_add(f->p->push, &leaf, f->err);
}

char *sr_sync_definitions_name(const struct sr_sync *s, size_t i)
{
	return sr_format("definitions %s", s->r->stores[i].name);
}

enum sr_status sr_sync_put_definitions(struct sr_sync *s, size_t i, int64_t told_ms, struct sr_err *err)
{
	char *name = sr_sync_definitions_name(s, i);
	struct sr_buf b = {0};
	enum sr_status rc;

	sr_buf_be64(&b, (uint64_t)told_ms);
	sr_buf_add(&b, s->plans[i].definitions.b, SR_HASH_LEN);
	rc = sr_state_put(s->r->state, name, sr_buf_view(&b), err);
	sr_buf_free(&b);
	free(name);
	return rc;
}

void sr_sync_name_skip(struct sr_sync *s, size_t i, struct sr_bytes path, const char *why)
{
	const struct sr_replica_store *st = &s->r->stores[i];
	struct sr_store_plan *p = &s->plans[i];
	struct sr_buf text = {0};
	size_t len = strlen(p->skips);

	sr_leaf_path_text(&text, st->name, st->kind, path);
	if (len + text.len + strlen(why) + sizeof "; : ; ..." <= sizeof p->skips)
		snprintf(p->skips + len, sizeof p->skips - len, "%s%s: %s", len ? "; " : "", sr_buf_text(&text), why);
	else if (len && strcmp(p->skips + len - 3, "..."))
		strcat(p->skips, "; ...");
	p->first_skip = len || *p->skips ? p->skips : why;
	sr_buf_free(&text);
}

/* What is below one that was named goes without saying: the rows of a table. */
static void note_skip(struct finding *f, const struct sr_item *it)
{
	const struct sr_replica_store *st = &f->s->r->stores[f->i];
	struct sr_store_plan *p = f->p;
	struct sr_bytes named = sr_buf_view(&f->named);

	p->skipped++;
	p->behind |= it->local.kind != SR_KIND_NONE && !(it->base_state == SR_BASE_KNOWN && sr_version_eq(&it->remote, &it->base));
	if (it->why == sr_why_held) {
		p->skipped_held++;
		p->first_skip = *p->skips ? p->skips : it->why;
		return;
	}
	if (named.len && named.len < it->path.len && !memcmp(named.at, it->path.at, named.len) &&
	    it->path.at[named.len] == (st->kind == SR_KIND_DATABASE ? 0 : '/'))
		return;
	sr_buf_clear(&f->named);
	sr_buf_bytes(&f->named, it->path);
	sr_sync_name_skip(f->s, f->i, it->path, it->why);
}

static enum sr_status hand_on(struct finding *f, const struct sr_item *it)
{
	struct sr_store_plan *p = f->p;

	switch (it->act) {
	case SR_ACT_AGREE:
		return add_agree(f, it);
	case SR_ACT_PULL:
		f->table_pulls |= it->remote.kind == SR_KIND_TABLE;
		return add_pull(f, it);
	case SR_ACT_PUSH:
		if (it->local.kind == SR_KIND_NONE && it->remote.kind == SR_KIND_DIR &&
		    sr_sync_excluded_below(f->s, f->i, &f->remote, it->path)) {
			p->excluded++; /* the datastore needs it for what is excluded there */
			return SR_OK;
		}
		p->behind |= (it->flags & SR_LEAF_UNION) && !sr_version_eq(&it->local, &it->remote);
		f->table_pushes |= it->local.kind == SR_KIND_TABLE;
		p->grows |= it->local.kind == SR_KIND_TABLE && it->remote.kind == SR_KIND_TABLE;
		return add_push(f, it);
	case SR_ACT_MERGE:
		return add_merge(f, it);
	case SR_ACT_SKIP:
		note_skip(f, it);
		return SR_OK;
	default:
		return SR_OK;
	}
}

static enum sr_status gather_files(struct finding *f)
{
	struct sr_store_plan *p = f->p;
	enum sr_status rc = find_items(f);

	for (size_t k = 0; rc == SR_OK && k < p->n; k++)
		rc = decide(f, &p->items[k], NULL);
	if (rc == SR_OK)
		sr_plan_shape(p->items, p->n);
	if (rc == SR_OK)
		sr_sync_limit_files(f->s, f->i, &f->remote);
	for (size_t k = 0; rc == SR_OK && k < p->n; k++)
		rc = hand_on(f, &p->items[k]);
	free_items(p);
	return rc;
}

/* --- a database, item by item ----------------------------------------------------------------------------------------------- */

static enum sr_status spool_difference(void *ctx, struct sr_bytes path, const struct sr_version *local, const struct sr_version *remote)
{
	struct finding *f = ctx;
	struct sr_leaf leaf = {.path = path, .expect = *local, .to = *remote};

	if (sr_sync_is_excluded(f->s, f->i, path))
		return SR_OK;
	return sr_leaves_add(f->differing, &leaf, f->err);
}

/* The table stays in mind, for its rows go as it goes. */
static void remember_table(struct finding *f, const struct sr_item *it)
{
	sr_buf_clear(&f->p->paths);
	sr_buf_bytes(&f->p->paths, it->path);
	f->table = *it;
	f->table.path = sr_buf_view(&f->p->paths);
}

/* Both sides have the table in one new shape.  A bag's rows are called by their content, so all of them have new names: that one is not among
 * the bases means nothing, until they were held against each other once. */
static bool was_reshaped(const struct sr_item *table)
{
	return table->act == SR_ACT_AGREE && table->base_state == SR_BASE_KNOWN && table->base.kind == SR_KIND_TABLE &&
	       table->local.kind == SR_KIND_TABLE && !sr_version_eq(&table->base, &table->local);
}

/* It was gone when it was looked at, and is there again (replica.c has made its base unknown): that it is empty deletes nothing.  In a union
 * no absence does. */
static bool was_remade(const struct finding *f, const struct sr_item *table)
{
	return f->s->r->stores[f->i].row.base_known && table->act == SR_ACT_AGREE && table->base_state == SR_BASE_UNKNOWN && table->local.kind == SR_KIND_TABLE;
}

/* It goes to the datastore in its new shape, which has all its rows as they were agreed on. */
static bool is_rebuilt(const struct finding *f)
{
	const struct sr_item *t = &f->table;

	return t->path.len && t->act == SR_ACT_PUSH && (t->flags & SR_LEAF_EDITED) && t->remote.kind == SR_KIND_TABLE && f->moved && !f->touched;
}

/* All rows of the table have passed: is it agreed on, or only when they are the same? */
static enum sr_status finish_table(struct finding *f)
{
	enum sr_status rc = f->reshaped && !f->rows_move ? add_agree(f, &f->table) : SR_OK;

	if (is_rebuilt(f))
		sr_sync_rebuilt(f->s, f->i, f->table.path);
	f->p->again |= f->reshaped && (f->bag_moves || (f->remade && f->rows_move));
	f->reshaped = f->remade = f->rows_move = f->bag_moves = f->carried = f->touched = f->moved = false;
	return rc;
}

static enum sr_status pass_table(struct finding *f, struct sr_item *it)
{
	enum sr_status rc = finish_table(f);

	sr_plan_tables(it, 1, !f->s->r->stores[f->i].has_content);
	remember_table(f, it);
	f->remade = was_remade(f, it);
	f->reshaped = f->remade || was_reshaped(it);
	f->carried = f->reshaped && sr_sync_is_carried_over(f->s, f->i, it->path);
	return rc == SR_OK && !f->reshaped ? hand_on(f, it) : rc;
}

static enum sr_status pass_by(struct finding *f, struct sr_item *it, const struct sr_leaf_row *row)
{
	bool is_table = !memchr(it->path.at, 0, it->path.len);
	struct sr_item pair[2];
	enum sr_status rc = decide(f, it, row);

	if (rc != SR_OK || is_table)
		return rc == SR_OK ? pass_table(f, it) : rc;
	if (f->table.path.len) {
		pair[0] = f->table;
		pair[1] = *it;
		sr_plan_tables(pair, 2, !f->s->r->stores[f->i].has_content);
		*it = pair[1];
		f->touched |= it->base_state != SR_BASE_KNOWN || !sr_version_eq(&it->base, &it->remote);
		f->moved |= it->local.kind == SR_KIND_NONE && it->remote.kind == SR_KIND_ROW && !sr_path_is_bag(it->path);
	}
	f->rows_move |= f->reshaped && sr_path_under(it->path, f->table.path) && moves_anew(it);
	f->bag_moves |= f->rows_move && sr_path_is_bag(it->path);
	return hand_on(f, it);
}

/* What differs before `row` in path order (NULL: all that is left), and then, if row itself does not differ: it is open, and both sides
 * have what it says. */
static enum sr_status pass_up_to(void *ctx, const struct sr_leaf_row *row, struct sr_err *err)
{
	struct finding *f = ctx;
	enum sr_status rc = SR_OK;
	int order = -1;

	(void)err;
	while (rc == SR_OK && order < 0 && f->next < sr_leaves_count(f->differing)) {
		struct sr_item it = {0};
		struct sr_leaf leaf;

		rc = sr_leaves_at(f->differing, f->next, &leaf, f->err);
		order = rc == SR_OK && row ? sr_bytes_cmp(leaf.path, row->path) : -1;
		if (rc != SR_OK || order > 0)
			break;
		f->next++;
		it = (struct sr_item){.path = leaf.path, .local = leaf.expect, .remote = leaf.to};
		rc = pass_by(f, &it, order == 0 ? row : NULL);
	}
	if (rc == SR_OK && row && order != 0) {
		struct sr_item it = {.path = row->path, .local = row->local, .remote = row->local};

		rc = pass_by(f, &it, row);
	}
	return rc;
}

static enum sr_status gather_rows(struct finding *f)
{
	struct sr_replica_store *st = &f->s->r->stores[f->i];
	enum sr_status rc;

	f->differing = sr_leaves_new(sr_state_dir(f->s->r->state));
	rc = sr_store_diff(f->s->r->nodes, st->kind, &st->map, &f->remote, spool_difference, f, f->err);
	if (rc == SR_OK)
		rc = sr_leaves_sort(f->differing, f->err);
	if (rc == SR_OK)
		rc = sr_state_leaves(f->s->r->state, &st->row, true, pass_up_to, f, f->err);
	if (rc == SR_OK)
		rc = pass_up_to(f, NULL, f->err);
	if (rc == SR_OK)
		rc = finish_table(f);
	if (rc == SR_OK)
		rc = add_schema(f);
	sr_leaves_free(f->differing);
	free_items(f->p);
	return rc;
}

static enum sr_status put_bases(struct finding *f)
{
	struct sr_state *state = f->s->r->state;
	enum sr_status rc = sr_leaves_count(f->bases) ? sr_state_begin(state, f->err) : SR_OK;

	if (rc != SR_OK || !sr_leaves_count(f->bases))
		return rc;
	rc = sr_sync_set_bases(f->s, f->i, f->bases, NULL, f->s->info.at.epoch, f->s->info.at.seq, f->err);
	if (rc == SR_OK)
		return sr_state_commit(state, f->err);
	sr_state_rollback(state);
	return rc;
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
	rc = sr_sync_mirror_judge(s, i, &f.remote, err);
	if (rc != SR_OK)
		return rc;
	f.mirror = sr_sync_mirrors(s, i);
	p->compared = true;
	p->excluded = 0;
	f.given_up = sr_leaves_new(dir);
	f.bases = sr_leaves_new(dir);
	rc = sr_state_begin(s->r->state, err); /* one moment, and one lock, for all that is looked up */
	if (rc == SR_OK)
		rc = sr_state_given_up(s->r->state, &st->row, f.given_up, err);
	if (rc == SR_OK)
		rc = st->kind == SR_KIND_FILES ? gather_files(&f) : gather_rows(&f);
	sr_state_rollback(s->r->state); /* nothing was written */
	if (rc == SR_OK)
		rc = put_bases(&f);
	if (rc == SR_OK && p->first_seen && !p->tells && !f.table_pulls) /* they are others soon */
		rc = sr_sync_put_definitions(s, i, 0, err);
	sr_leaves_free(f.given_up);
	sr_leaves_free(f.bases);
	sr_buf_free(&f.named);
	if (rc == SR_OK)
		rc = sr_leaves_sort(p->pull, err);
	if (rc == SR_OK)
		rc = sr_leaves_sort(p->push, err);
	if (rc == SR_OK && st->kind == SR_KIND_DATABASE)
		rc = sr_sync_limit_rows(s, i, &f.remote, err);
	return rc == SR_OK ? rc : sr_err_context(err, "store %s: plan", st->name);
}
