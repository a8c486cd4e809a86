/* decide.c - which leaves of a push may go, by the tree as it is (design section 7).
 *
 * An ordinary leaf is a compare-and-swap.  A leaf of a union brings its as_of; the datastore's version gives way only where it was not
 * written by an ordinary push since and is not as new, or where the sender knows that it edited the very version that is here (or of which that
 * is what it became when its table got further columns).  An as_of of our
 * own past (ends.c) says that the sender had what was here then: that is older than what a lost history brought back since.  What cannot
 * stand without a refused leaf is refused, too.  The disk itself is compared later, when the stores prepare. */
#include "lib/datastore/internal.h"

#include <stdlib.h>
#include <string.h>

size_t sr_ds_leaf_find(struct sr_leaves *leaves, struct sr_bytes path)
{
	struct sr_leaf leaf;
	size_t at;

	return leaves && sr_leaves_find(leaves, path, &at, &leaf, NULL) == SR_OK && at < sr_leaves_count(leaves) ? at : SIZE_MAX;
}

/* --- one leaf ----------------------------------------------------------------------------------------------------- */

struct deciding {
	struct sr_ds_push *p;
	struct sr_ds_part *part;
	struct sr_replica_store *s;
	size_t i;             /* of the store */
	struct sr_buf parent; /* the last one that was judged ... */
	bool parent_good;     /* ... and what came of it */
	uint8_t parent_why;
	struct sr_view *view; /* of the store, once it was needed; its own connection, for the main view may be in use */
};

static enum sr_ds_fate refuse(uint8_t *why, enum sr_refusal reason)
{
	*why = (uint8_t)reason;
	return SR_FATE_REFUSED;
}

/* Nothing is here, and the sender has it: was the name deleted since? */
static enum sr_status union_absent(struct deciding *c, const struct sr_leaf *leaf, enum sr_ds_fate *fate, uint8_t *why, struct sr_err *err)
{
	uint64_t epoch, seq;
	bool found = false;
	enum sr_status rc = sr_state_deleted(c->p->d->r->state, &c->s->row, leaf->path, &epoch, &seq, &found, err);

	*fate = found && sr_is_later(epoch, seq, leaf->epoch, leaf->seq) ? refuse(why, SR_REFUSED_DELETED) : SR_FATE_GO;
	return rc;
}

/* The sender held what was here then, and a version of another history, which was lost, has taken its place since: that is the newer one,
 * whatever its date. */
static bool superseded(const struct deciding *c, const struct sr_leaf *leaf, const struct sr_leaf_row *row)
{
	const struct sr_datastore *d = c->p->d;

	return sr_ds_is_past(d, c->i, leaf->epoch, leaf->seq) && !sr_ds_is_past(d, c->i, row->epoch, row->seq);
}

/* Is what is here the row that the sender edited?  It is that too when its table has had columns added since, and it their defaults. */
static enum sr_status is_edit_of(struct deciding *c, const struct sr_leaf *leaf, const struct sr_version *here, bool *is, struct sr_err *err)
{
	struct sr_content content = {.fd = -1};
	enum sr_status rc = SR_OK;

	*is = sr_version_eq(here, &leaf->expect);
	if (*is || here->kind != SR_KIND_ROW || leaf->expect.kind != SR_KIND_ROW)
		return SR_OK;
	if (!c->view)
		rc = sr_view_open(&c->view, c->s->store, SR_VIEW_EXTRA, err);
	if (rc != SR_OK)
		return rc;
	*is = sr_view_read(c->view, leaf->path, &content, NULL) == SR_OK && sr_version_eq(&content.version, here) &&
	      sr_view_is_grown(c->view, leaf->path, content.record, &leaf->expect);
	return SR_OK;
}

/* Is what the sender has, and did not edit, later than the version of that date?  Of one history both are: the later came after the other had gone.
 * So what counts is since when the sender has it, not until when; and what lies in a copy of that date and is other than what the sender had
 * before and after is an edit of that. */
static bool is_newer(const struct sr_leaf *leaf, const struct sr_leaf_row *row)
{
	return leaf->flags & SR_LEAF_SINCE ? sr_is_later(leaf->since_epoch, leaf->since_seq, row->epoch, row->seq)
					   : sr_is_later(leaf->epoch, leaf->seq, row->epoch, row->seq);
}

/* Both have a version. */
static enum sr_status union_both(struct deciding *c, const struct sr_leaf *leaf, const struct sr_version *here, enum sr_ds_fate *fate,
				 uint8_t *why, struct sr_err *err)
{
	bool edited = leaf->flags & SR_LEAF_EDITED, ordinary, wins, of_this = false;
	struct sr_leaf_row row;
	enum sr_status rc = sr_state_leaf(c->p->d->r->state, &c->s->row, leaf->path, &row, err);

	if (rc != SR_OK)
		return rc;
	ordinary = !row.epoch && !row.seq;
	if (edited)
		wins = !ordinary && !sr_is_later(row.epoch, row.seq, leaf->epoch, leaf->seq);
	else
		wins = !ordinary && is_newer(leaf, &row) && !superseded(c, leaf, &row);
	if (edited && !wins && !sr_version_eq(here, &leaf->to))
		rc = is_edit_of(c, leaf, here, &of_this, err);
	if (rc != SR_OK)
		return rc;
	if (sr_version_eq(here, &leaf->to)) /* the same: it may only become newer */
		*fate = !ordinary && (edited || wins) ? SR_FATE_TOUCH : SR_FATE_ALREADY;
	else if (wins || of_this)
		*fate = SR_FATE_GO;
	else
		*fate = refuse(why, SR_REFUSED_NEWER);
	return SR_OK;
}

static enum sr_status decide_union(struct deciding *c, const struct sr_leaf *leaf, const struct sr_version *here, enum sr_ds_fate *fate,
				   uint8_t *why, struct sr_err *err)
{
	if (sr_path_is_bag(leaf->path) && here->kind == SR_KIND_ROW) /* the greater count, whoever's it is */
		*fate = here->bytes > leaf->to.bytes    ? refuse(why, SR_REFUSED_NEWER)
			: here->bytes == leaf->to.bytes ? SR_FATE_ALREADY
							: SR_FATE_GO;
	else if (leaf->to.kind == SR_KIND_NONE) /* a union deletes nothing */
		*fate = here->kind == SR_KIND_NONE ? SR_FATE_ALREADY : refuse(why, SR_REFUSED_NEWER);
	else if (here->kind == SR_KIND_NONE)
		return union_absent(c, leaf, fate, why, err);
	else
		return union_both(c, leaf, here, fate, why, err);
	return SR_OK;
}

/* Was the content sent along, or is it here? */
static bool has_content(const struct sr_leaf *leaf, const struct sr_version *here)
{
	if (leaf->flags & (SR_LEAF_VOID | SR_LEAF_GONE))
		return false;
	if (leaf->to.kind == SR_KIND_ROW)
		return leaf->record.len > 0;
	if (leaf->to.kind != SR_KIND_FILE || leaf->stage.len)
		return true;
	return here->kind == SR_KIND_FILE && here->bytes == leaf->to.bytes &&
	       sr_hash_eq(&here->hash, &leaf->to.hash); /* a change of mode */
}

static struct sr_bytes parent_of(uint8_t store_kind, struct sr_bytes path)
{
	const uint8_t *at = store_kind == SR_KIND_FILES ? memrchr(path.at, 0, path.len) : memchr(path.at, 0, path.len);

	return sr_bytes(path.at, at ? (size_t)(at - path.at) : 0);
}

static bool is_container(uint8_t kind)
{
	return kind == SR_KIND_DIR || kind == SR_KIND_TABLE;
}

/* The leaf at `path` that this push has, refused because its name was deleted since; SIZE_MAX: there is none such. */
static size_t find_deleted(const struct deciding *c, struct sr_bytes path)
{
	const struct sr_ds_part *part = c->part;
	size_t at = path.len ? sr_ds_leaf_find(part->leaves, path) : SIZE_MAX;

	return at != SIZE_MAX && part->fate[at] == SR_FATE_REFUSED && part->why[at] == SR_REFUSED_DELETED && !part->sticky[at] ? at : SIZE_MAX;
}

/* A directory that was deleted since, and in which the sender has what was not, comes back with that, and those above it do: else the one would wait for the
 * other for ever. */
static enum sr_status bring_back(struct deciding *c, struct sr_bytes path, struct sr_err *err)
{
	size_t at;

	while ((at = find_deleted(c, path)) != SIZE_MAX) {
		struct sr_leaf leaf;
		enum sr_status rc = sr_leaves_at(c->part->leaves, at, &leaf, err);

		if (rc != SR_OK || leaf.to.kind != SR_KIND_DIR)
			return rc;
		c->part->fate[at] = SR_FATE_GO;
		path = parent_of(c->s->kind, path);
	}
	return SR_OK;
}

/* Will there be a directory, or a table, at c->parent to put something in?  *why: when not. */
static enum sr_status judge_parent(struct deciding *c, bool *good, uint8_t *why, struct sr_err *err)
{
	struct sr_bytes parent = sr_buf_view(&c->parent);
	enum sr_status rc = bring_back(c, parent, err);
	size_t at = sr_ds_leaf_find(c->part->leaves, parent);
	bool refused = at != SIZE_MAX && c->part->fate[at] == SR_FATE_REFUSED;
	struct sr_version here;
	struct sr_leaf above;

	if (rc != SR_OK)
		return rc;
	if (at != SIZE_MAX && !refused) {
		rc = sr_leaves_at(c->part->leaves, at, &above, err);
		*good = rc == SR_OK && is_container(above.to.kind);
		*why = SR_REFUSED_KIND;
		return rc;
	}
	rc = sr_store_get(c->p->d->r->nodes, c->s->kind, &c->s->map, parent, &here, err);
	*good = rc == SR_OK && is_container(here.kind);
	*why = refused ? SR_REFUSED_DEPENDS : c->s->kind == SR_KIND_DATABASE ? SR_REFUSED_PAUSED : SR_REFUSED_KIND;
	return rc;
}

/* Leaves come in order, so that most have the parent of the one before; and looking one up in the spool ends `leaf`, so its path is copied.
 */
static enum sr_status check_parent(struct deciding *c, const struct sr_leaf *leaf, enum sr_ds_fate *fate, uint8_t *why, struct sr_err *err)
{
	struct sr_bytes parent = parent_of(c->s->kind, leaf->path);
	enum sr_status rc = SR_OK;

	if (leaf->to.kind == SR_KIND_NONE || !parent.len)
		return SR_OK;
	if (!sr_bytes_eq(parent, sr_buf_view(&c->parent))) {
		sr_buf_clear(&c->parent);
		sr_buf_bytes(&c->parent, parent);
		rc = judge_parent(c, &c->parent_good, &c->parent_why, err);
	}
	if (rc != SR_OK)
		sr_buf_clear(&c->parent);
	else if (!c->parent_good)
		*fate = refuse(why, c->parent_why);
	return rc;
}

/* Has it been done?  In a bag two equal changes are two: who makes the same of the same as another one a moment before has counted without his. */
static bool is_done(const struct sr_leaf *leaf, const struct sr_version *here)
{
	return sr_version_eq(here, &leaf->to) && (!sr_path_is_bag(leaf->path) || sr_version_eq(here, &leaf->expect));
}

static enum sr_status decide_leaf(struct deciding *c, size_t k, enum sr_ds_fate *fate, uint8_t *why, struct sr_err *err)
{
	struct sr_datastore *d = c->p->d;
	struct sr_version here;
	struct sr_leaf leaf;
	enum sr_status rc = sr_leaves_at(c->part->leaves, k, &leaf, err);

	if (rc != SR_OK)
		return rc;
	if (c->s->mode != SR_MODE_READY || d->fault[c->i][0] || sr_replica_unknown(d->r, c->i, leaf.path)) {
		*fate = refuse(why, SR_REFUSED_PAUSED);
		return SR_OK;
	}
	if (sr_path_is_schema(c->s->kind, leaf.path)) {
		*fate = SR_FATE_GO; /* no item of the tree: the store takes from it what it lacks */
		return SR_OK;
	}
	sr_ds_bound_as_of(d, &leaf);
	rc = sr_store_get(d->r->nodes, c->s->kind, &c->s->map, leaf.path, &here, err);
	if (rc == SR_OK && leaf.flags & SR_LEAF_UNION)
		rc = decide_union(c, &leaf, &here, fate, why, err);
	else if (rc == SR_OK)
		*fate = is_done(&leaf, &here)                ? SR_FATE_ALREADY
			: sr_version_eq(&here, &leaf.expect) ? SR_FATE_GO
							     : refuse(why, SR_REFUSED_CHANGED);
	if (rc != SR_OK || *fate != SR_FATE_GO)
		return rc;
	if (!has_content(&leaf, &here))
		*fate = refuse(why, SR_REFUSED_VOID);
	else if (leaf.to.kind == SR_KIND_NONE && here.kind == SR_KIND_TABLE)
		*fate = refuse(why, SR_REFUSED_KIND); /* no table is ever dropped */
	else
		return check_parent(c, &leaf, fate, why, err);
	return SR_OK;
}

/* --- directories that go ------------------------------------------------------------------------------------------ */

/* The map of the directory at `path`; false: it is not there. */
static bool directory_map(struct deciding *c, struct sr_bytes path, struct sr_hash *out)
{
	const uint8_t *at = path.at, *end = path.at + path.len;

	*out = c->s->map;
	for (;;) {
		const uint8_t *stop = memchr(at, 0, (size_t)(end - at));
		struct sr_entry entry;

		if (sr_map_get(c->p->d->r->nodes, out, sr_bytes(at, (size_t)((stop ? stop : end) - at)), &entry) != SR_OK ||
		    entry.kind != SR_KIND_DIR)
			return false;
		*out = entry.hash;
		if (!stop)
			return true;
		at = stop + 1;
	}
}

struct children {
	struct deciding *c;
	struct sr_buf path;
	size_t top; /* length of the directory's path, with its NUL */
	bool stays; /* something is in it that this push does not delete */
};

static enum sr_status on_child(void *ctx, const struct sr_entry *entry)
{
	struct children *ch = ctx;
	struct sr_ds_part *part = ch->c->part;
	struct sr_leaf leaf;
	size_t at;

	ch->path.len = ch->top;
	sr_buf_bytes(&ch->path, entry->name);
	at = sr_ds_leaf_find(part->leaves, sr_buf_view(&ch->path));
	if (at == SIZE_MAX || part->fate[at] == SR_FATE_REFUSED || sr_leaves_at(part->leaves, at, &leaf, NULL) != SR_OK ||
	    leaf.to.kind != SR_KIND_NONE)
		ch->stays = true;
	return SR_OK;
}

/* A directory goes only when all in it goes; deepest first, so that one that stays keeps those above it. */
static enum sr_status check_children(struct deciding *c, size_t k, struct sr_err *err)
{
	struct children ch = {.c = c};
	struct sr_hash map;
	struct sr_leaf leaf;
	enum sr_status rc;

	if (c->part->fate[k] != SR_FATE_GO)
		return SR_OK;
	rc = sr_leaves_at(c->part->leaves, k, &leaf, err);
	if (rc != SR_OK || leaf.to.kind == SR_KIND_DIR || !directory_map(c, leaf.path, &map))
		return rc;
	sr_buf_bytes(&ch.path, leaf.path);
	sr_buf_byte(&ch.path, 0);
	ch.top = ch.path.len;
	rc = sr_map_each(c->p->d->r->nodes, &map, on_child, &ch, err);
	if (ch.stays || (leaf.to.kind == SR_KIND_FILE && sr_replica_unknown_below(c->p->d->r, c->i, leaf.path)))
		c->part->fate[k] = refuse(&c->part->why[k], SR_REFUSED_KIND);
	sr_buf_free(&ch.path);
	return rc;
}

/* --- all of them -------------------------------------------------------------------------------------------------- */

static enum sr_status decide_part(struct sr_ds_push *p, size_t i, size_t *refused, struct sr_err *err)
{
	struct deciding c = {.p = p, .part = &p->parts[i], .s = &p->d->r->stores[i], .i = i};
	size_t n = c.part->leaves ? sr_leaves_count(c.part->leaves) : 0;
	enum sr_status rc = SR_OK;

	if (n && !c.part->fate) {
		c.part->fate = sr_alloc(n);
		c.part->why = sr_alloc(n);
		c.part->sticky = sr_alloc(n * sizeof(bool));
	}
	for (size_t k = 0; k < n && rc == SR_OK; k++) {
		enum sr_ds_fate fate = SR_FATE_REFUSED;

		if (c.part->sticky[k])
			continue;
		rc = decide_leaf(&c, k, &fate, &c.part->why[k], err);
		c.part->fate[k] = (uint8_t)fate;
	}
	if (rc == SR_OK)
		rc = sr_ds_limit(p, i, err);
	for (size_t k = c.s->kind == SR_KIND_FILES ? n : 0; k-- > 0 && rc == SR_OK;)
		rc = check_children(&c, k, err);
	/* An edit's rows are looked at one by one as they are applied. */
	if (rc == SR_OK && c.s->kind == SR_KIND_DATABASE && p->head.try >= SR_DS_TRIES && !sr_ds_is_edit(p))
		rc = sr_ds_decide_depending(p, i, err);
	for (size_t k = 0; k < n && rc == SR_OK; k++)
		*refused += c.part->fate[k] == SR_FATE_REFUSED;
	sr_view_close(c.view);
	sr_buf_free(&c.parent);
	return rc;
}

enum sr_status sr_ds_decide(struct sr_ds_push *p, size_t *refused, struct sr_err *err)
{
	enum sr_status rc = sr_state_begin(p->d->r->state, err); /* one moment, and one lock, for all that is looked up */

	*refused = 0;
	for (size_t i = 0; i < p->d->r->n && rc == SR_OK; i++)
		rc = decide_part(p, i, refused, err);
	sr_state_rollback(p->d->r->state); /* nothing was written */
	return rc;
}
