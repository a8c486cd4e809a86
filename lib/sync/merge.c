/* merge.c - rows that were changed on both sides: columns that only one of them changed stand together.
 *
 * Three records are needed for it.  Ours and the datastore's are here; the one that both came from is asked for by its hash, out of the
 * datastore's history.  If that is gone, or both changed one column, it is a conflict, and the datastore's row stands.  The merged row is
 * written here with the datastore's as its base, and so goes there as an ordinary change in the next push.
 *
 * A row whose table grew columns since it was agreed on, and that is as it was but for their defaults, was not changed at all.  Where the table has
 * another shape since, what both came from is, if need be, that row as it reads in it: nobody edited a column that only has its default, or another
 * type. */
#include <stdlib.h>
#include <string.h>

#include "hashtree/record.h"
#include "lib/sync/internal.h"

struct merging {
	struct sr_sync *s;
	size_t i;
	struct sr_leaves *theirs, *ready;
	struct sr_leaves *bases; /* path, record; sorted when all are here */
	bool *open;              /* of theirs, one by one: its base is wanted */
	struct sr_view *view;
};

/* Our side of it, as planned: expect is what is here, record its record. */
static enum sr_status ours_of(struct merging *m, struct sr_bytes path, struct sr_leaf *out, struct sr_err *err)
{
	struct sr_leaves *pull = m->s->plans[m->i].pull;
	size_t at;
	enum sr_status rc = sr_leaves_find(pull, path, &at, out, err);

	return rc == SR_OK && at == sr_leaves_count(pull) ? sr_err_set(err, SR_E_INTERNAL, "a row to merge that was not planned") : rc;
}

/* --- what becomes of a row ------------------------------------------------------------------------------------------------ */

/* Ours stays, and descends from theirs. */
static enum sr_status keep_ours(struct merging *m, const struct sr_leaf *theirs, const struct sr_leaf *ours, struct sr_err *err)
{
	struct sr_leaf leaf = {.path = theirs->path,
			       .expect = ours->expect,
			       .to = ours->expect,
			       .base = theirs->to,
			       .flags = SR_LEAF_MERGED,
			       .record = ours->record};

	return sr_leaves_add(m->ready, &leaf, err);
}

static enum sr_status take_theirs(struct merging *m, const struct sr_leaf *theirs, const struct sr_leaf *ours, struct sr_err *err)
{
	struct sr_leaf leaf = {.path = theirs->path,
			       .expect = ours->expect,
			       .to = theirs->to,
			       .flags = ours->expect.kind == SR_KIND_NONE ? 0 : SR_LEAF_ARCHIVE,
			       .record = theirs->record};

	return sr_leaves_add(m->ready, &leaf, err);
}

/* carried: the base in its table's new shape; empty: the table has none. */
static enum sr_status merge_row(struct merging *m, const struct sr_leaf *theirs, const struct sr_leaf *ours, struct sr_bytes base,
				struct sr_bytes carried, struct sr_err *err)
{
	struct sr_buf merged = {0};
	struct sr_leaf leaf = {.path = theirs->path, .expect = ours->expect, .base = theirs->to, .flags = SR_LEAF_MERGED};
	enum sr_status rc;

	if (sr_record_merge(base, ours->record, theirs->record, &merged) ||
	    (carried.len && sr_record_merge(carried, ours->record, theirs->record, &merged))) {
		leaf.record = sr_buf_view(&merged);
		leaf.to = (struct sr_version){.kind = SR_KIND_ROW, .bytes = merged.len};
		sr_hash_of(&leaf.to.hash, &m->s->r->key, leaf.record);
		m->s->result.merged++;
		rc = sr_leaves_add(m->ready, &leaf, err);
	} else {
		rc = take_theirs(m, theirs, ours, err);
	}
	sr_buf_free(&merged);
	return rc;
}

/* --- those that need no base ------------------------------------------------------------------------------------------------ */

static enum sr_status look_at(struct merging *m, size_t k, struct sr_err *err)
{
	struct sr_leaf theirs, ours;
	enum sr_status rc = sr_leaves_at(m->theirs, k, &theirs, err);

	if (rc == SR_OK)
		rc = ours_of(m, theirs.path, &ours, err);
	if (rc != SR_OK)
		return rc;
	if (sr_view_is_grown(m->view, theirs.path, theirs.record, &theirs.base))
		return keep_ours(m, &theirs, &ours, err);
	if (ours.expect.kind == SR_KIND_NONE && !(ours.flags & SR_LEAF_EDITED))
		return take_theirs(m, &theirs, &ours, err);
	m->open[k] = true;
	return SR_OK;
}

/* --- the bases ----------------------------------------------------------------------------------------------------------------- */

static enum sr_status got_base(void *ctx, const char *store, const struct sr_leaf *leaf, bool content, struct sr_err *err)
{
	struct merging *m = ctx;
	struct sr_leaf theirs;
	size_t at;
	enum sr_status rc;

	if (strcmp(store, m->s->r->stores[m->i].name) != 0 || content)
		return sr_err_set(err, SR_E_DATA, "bundle: it holds a leaf that was not asked for");
	if (leaf->flags & SR_LEAF_GONE)
		return SR_OK; /* out of the datastore's memory */
	rc = sr_leaves_find(m->theirs, leaf->path, &at, &theirs, err);
	if (rc == SR_OK && (at == sr_leaves_count(m->theirs) || !sr_version_eq(&theirs.base, &leaf->to)))
		rc = sr_err_set(err, SR_E_DATA, "bundle: it holds another version than was asked for");
	if (rc == SR_OK)
		rc = sr_leaves_add(m->bases, &(struct sr_leaf){.path = leaf->path, .to = leaf->to, .record = leaf->record}, err);
	return rc;
}

static enum sr_status fetch_bases(struct merging *m, struct sr_err *err)
{
	struct sr_bundle_sink sink = {.ctx = m, .leaf = got_base};
	size_t n = sr_leaves_count(m->theirs);
	struct sr_buf wanted = {0};
	uint64_t asked = 0, bytes = 0;
	enum sr_status rc = SR_OK;

	for (size_t k = 0; rc == SR_OK && k < n; k++) {
		struct sr_leaf leaf;

		rc = m->open[k] ? sr_leaves_at(m->theirs, k, &leaf, err) : SR_OK;
		if (rc == SR_OK && m->open[k]) {
			sr_wanted_add(&wanted, m->s->r->stores[m->i].name, &(struct sr_leaf){.path = leaf.path, .to = leaf.base});
			asked++;
			bytes += leaf.base.bytes;
		}
		if (rc != SR_OK || !asked || (asked < SR_BUNDLE_WANTED && wanted.len < SR_BUNDLE_WANTED_BYTES / 2 && k + 1 < n))
			continue;
		rc = sr_sync_fetch(m->s, sr_buf_view(&wanted), asked, bytes, &sink, err);
		sr_buf_clear(&wanted);
		asked = bytes = 0;
	}
	sr_buf_free(&wanted);
	return rc == SR_OK ? sr_leaves_sort(m->bases, err) : rc;
}

static bool same_value(const struct sr_value *a, const struct sr_value *b)
{
	struct sr_buf x = {0}, y = {0};
	bool same;

	sr_key_encode(&x, a, 1);
	sr_key_encode(&y, b, 1);
	same = sr_bytes_eq(sr_buf_view(&x), sr_buf_view(&y));
	sr_buf_free(&x);
	sr_buf_free(&y);
	return same;
}

struct row {
	struct sr_column *at; /* in the order of names */
	size_t n;
};

/* In the order of names, too. */
static const struct sr_value *column(const struct row *r, struct sr_bytes name, size_t *from)
{
	while (*from < r->n && sr_bytes_cmp(r->at[*from].name, name) < 0)
		++*from;
	return *from < r->n && sr_bytes_eq(r->at[*from].name, name) ? &r->at[*from].value : NULL;
}

/* Are the columns that both have the same, as they are or as they read in the new shape (`carried`; empty: unknown)?  Then what is theirs is the row
 * of before. */
static bool same_as_far(struct sr_bytes base, struct sr_bytes carried, struct sr_bytes theirs)
{
	struct row a = {0}, b = {0}, c = {0};
	bool same = sr_record_decode(base, &a.at, &a.n, NULL) == SR_OK && sr_record_decode(theirs, &b.at, &b.n, NULL) == SR_OK &&
		    (!carried.len || sr_record_decode(carried, &c.at, &c.n, NULL) == SR_OK);

	for (size_t i = 0, k = 0, l = 0; same && i < a.n; i++) {
		const struct sr_value *there = column(&b, a.at[i].name, &k), *reads = column(&c, a.at[i].name, &l);

		same = !there || same_value(&a.at[i].value, there) || (reads && same_value(reads, there));
	}
	free(a.at);
	free(b.at);
	free(c.at);
	return same;
}

static enum sr_status resolve(struct merging *m, size_t k, struct sr_err *err)
{
	struct sr_leaf theirs, ours, base;
	struct sr_bytes carried;
	struct sr_buf b = {0};
	size_t at;
	enum sr_status rc = sr_leaves_at(m->theirs, k, &theirs, err);

	if (rc == SR_OK)
		rc = ours_of(m, theirs.path, &ours, err);
	if (rc == SR_OK)
		rc = sr_leaves_find(m->bases, theirs.path, &at, &base, err);
	if (rc != SR_OK)
		return rc;
	if (at == sr_leaves_count(m->bases))
		return take_theirs(m, &theirs, &ours, err);
	if (!(ours.flags & SR_LEAF_EDITED) || !sr_view_carry(m->view, theirs.path, base.record, &b))
		sr_buf_clear(&b);
	carried = sr_buf_view(&b);
	if (ours.expect.kind != SR_KIND_NONE)
		rc = merge_row(m, &theirs, &ours, base.record, carried, err);
	else if (same_as_far(base.record, carried, theirs.record))
		rc = keep_ours(m, &theirs, &ours, err);
	else
		rc = take_theirs(m, &theirs, &ours, err);
	sr_buf_free(&b);
	return rc;
}

static enum sr_status look_at_all(struct merging *m, struct sr_err *err)
{
	enum sr_status rc = sr_view_open(&m->view, m->s->r->stores[m->i].store, SR_VIEW_EXTRA, err);

	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(m->theirs); k++)
		rc = look_at(m, k, err);
	sr_view_close(m->view);
	m->view = NULL;
	return rc;
}

static enum sr_status resolve_all(struct merging *m, struct sr_err *err)
{
	enum sr_status rc = sr_view_open(&m->view, m->s->r->stores[m->i].store, SR_VIEW_EXTRA, err);

	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(m->theirs); k++)
		if (m->open[k])
			rc = resolve(m, k, err);
	sr_view_close(m->view);
	m->view = NULL;
	return rc;
}

enum sr_status sr_sync_merge(struct sr_sync *s, size_t i, struct sr_leaves *theirs, struct sr_leaves *ready, struct sr_err *err)
{
	size_t n = sr_leaves_count(theirs);
	struct merging m = {.s = s, .i = i, .theirs = theirs, .ready = ready};
	enum sr_status rc;

	if (!n)
		return SR_OK;
	m.bases = sr_leaves_new(sr_state_dir(s->r->state));
	m.open = sr_alloc(n * sizeof *m.open);
	rc = sr_leaves_sort(theirs, err);
	if (rc == SR_OK)
		rc = look_at_all(&m, err);
	if (rc == SR_OK)
		rc = fetch_bases(&m, err); /* without a view */
	if (rc == SR_OK)
		rc = resolve_all(&m, err);
	free(m.open);
	sr_leaves_free(m.bases);
	return rc == SR_OK ? rc : sr_err_context(err, "merge");
}
