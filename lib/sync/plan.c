/* plan.c - see plan.h. */
#include "lib/sync/plan.h"

#include <string.h>

static bool present(const struct sr_version *v)
{
	return v->kind != SR_KIND_NONE;
}

static void pull(struct sr_item *it, const char *loser)
{
	it->act = SR_ACT_PULL;
	it->archive = loser && present(&it->local);
	it->why = it->archive ? loser : NULL;
	it->flags = 0;
}

static void push(struct sr_item *it, uint32_t flags)
{
	it->act = SR_ACT_PUSH;
	it->archive = false;
	it->why = NULL;
	it->flags = flags;
}

static void skip(struct sr_item *it, const char *why)
{
	it->act = SR_ACT_SKIP;
	it->archive = false;
	it->why = why;
	it->flags = 0;
}

/* Why both sides' changes cannot stand together, in the archive's words. */
static const char *clash_word(const struct sr_item *it)
{
	if (!present(&it->remote))
		return "edited-deleted";
	return it->local.kind == it->remote.kind ? "edited-both" : "kind";
}

/* Is it known to be other than it was before its base became unknown? */
static bool is_edited(const struct sr_item *it)
{
	return it->base_state == SR_BASE_HINT && !sr_version_eq(&it->local, &it->base);
}

/* Both have the same.  That it is an edit here, or as of later than the epoch's rise dated it, the datastore cannot know of a copy that was put
 * in its place: it is told so, or an older version of another webserver's would win over it. */
static void plan_equal(struct sr_item *it, bool known)
{
	bool edited = is_edited(it), told = edited || (it->base_state == SR_BASE_HINT && it->newer);

	if (known && sr_version_eq(&it->local, &it->base))
		it->act = SR_ACT_NOTHING;
	else if (told && (it->local.kind == SR_KIND_ROW || it->local.kind == SR_KIND_FILE))
		push(it, SR_LEAF_UNION | (edited ? SR_LEAF_EDITED : 0));
	else
		it->act = SR_ACT_AGREE;
}

static void plan_union(struct sr_item *it)
{
	bool edited = is_edited(it);

	if (!present(&it->local))
		pull(it, NULL);
	else if (it->note == SR_NOTE_DELETED || it->note == SR_NOTE_NEWER)
		pull(it, "union");
	else if (!present(&it->remote))
		push(it, SR_LEAF_UNION | (edited ? SR_LEAF_EDITED : 0));
	else if (edited || it->dated)
		push(it, SR_LEAF_UNION | (edited ? SR_LEAF_EDITED : 0)); /* the datastore judges, by as_of */
	else
		pull(it, "union");
}

/* --- bags ------------------------------------------------------------------------------------------------------------- */

static uint64_t greater(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* In a bag `bytes` is a count, and 0 when there is none. */
uint64_t sr_plan_count(const struct sr_item *it)
{
	uint64_t both = it->local.bytes + it->remote.bytes;

	if (it->base_state != SR_BASE_KNOWN)
		return greater(it->local.bytes, it->remote.bytes);
	return both > it->base.bytes ? both - it->base.bytes : 0;
}

/* Other than elsewhere, two equal changes are two: each side put its row there. */
static void plan_bag(struct sr_item *it, bool known)
{
	uint64_t count = sr_plan_count(it);

	if (count == it->local.bytes && count == it->remote.bytes)
		it->act = known && count == it->base.bytes ? SR_ACT_NOTHING : SR_ACT_AGREE;
	else if (it->note != SR_NOTE_NONE)
		pull(it, known ? clash_word(it) : "union"); /* it would not have it */
	else if (count == it->remote.bytes)
		pull(it, NULL);
	else if (count == it->local.bytes)
		push(it, known ? 0 : SR_LEAF_UNION);
	else
		it->act = SR_ACT_MERGE;
}

/* --- one item --------------------------------------------------------------------------------------------------------- */

/* Columns can be told apart only in rows; one that is deleted here may have grown a column there, which is no edit (pull.c). */
static bool may_merge(const struct sr_item *it)
{
	return it->note == SR_NOTE_NONE && it->remote.kind == SR_KIND_ROW && it->base.kind == SR_KIND_ROW;
}

/* New on both sides.  But where the epoch has risen, what is there may be an older version, which another webserver's union brought back since we
 * agreed that there is nothing: then ours is newer, and the datastore, which knows that version's date, says so. */
static bool may_be_newer(const struct sr_item *it)
{
	return it->risen && it->note == SR_NOTE_NONE && !present(&it->base) && it->local.kind == it->remote.kind &&
	       (it->local.kind == SR_KIND_ROW || it->local.kind == SR_KIND_FILE);
}

void sr_plan_item(struct sr_item *it)
{
	bool known = it->base_state == SR_BASE_KNOWN;

	it->archive = false;
	it->flags = 0;
	it->why = NULL;
	if (sr_path_is_bag(it->path))
		plan_bag(it, known);
	else if (sr_version_eq(&it->local, &it->remote))
		plan_equal(it, known);
	else if (!known)
		plan_union(it);
	else if (sr_version_eq(&it->local, &it->base))
		pull(it, NULL);
	else if (sr_version_eq(&it->remote, &it->base) && it->note != SR_NOTE_NEWER && it->note != SR_NOTE_CONFLICT)
		push(it, 0);
	else if (may_be_newer(it))
		push(it, SR_LEAF_UNION | SR_LEAF_EDITED);
	else {
		pull(it, clash_word(it));
		if (may_merge(it))
			it->act = SR_ACT_MERGE;
	}
}

void sr_plan_mirror(struct sr_item *it)
{
	bool known = it->base_state == SR_BASE_KNOWN && sr_version_eq(&it->local, &it->base);

	it->mirror = true;
	if (sr_version_eq(&it->local, &it->remote)) {
		it->archive = false;
		it->flags = 0;
		it->why = NULL;
		it->act = known ? SR_ACT_NOTHING : SR_ACT_AGREE;
	} else {
		pull(it, known ? NULL : "mirror");
	}
}

const struct sr_version *sr_plan_outcome(const struct sr_item *it)
{
	return it->act == SR_ACT_PULL || it->act == SR_ACT_MERGE ? &it->remote : &it->local;
}

/* --- the shape of a directory tree ------------------------------------------------------------------------------------ */

static struct sr_item *find(struct sr_item *items, size_t n, struct sr_bytes path)
{
	size_t lo = 0, hi = n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int c = sr_bytes_cmp(items[mid].path, path);

		if (c == 0)
			return &items[mid];
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

/* The path one component up; empty at the top. */
static struct sr_bytes parent(struct sr_bytes path)
{
	while (path.len && path.at[path.len - 1] != 0)
		path.len--;
	if (path.len)
		path.len--;
	return path;
}

/* The whole subtree at items[top] becomes the datastore's. */
static void give_up_subtree(struct sr_item *items, size_t n, size_t top)
{
	for (size_t k = top; k < n && sr_path_under(items[k].path, items[top].path); k++) {
		struct sr_item *it = &items[k];
		bool edited = it->base_state != SR_BASE_KNOWN || !sr_version_eq(&it->local, &it->base);

		if (it->act != SR_ACT_SKIP && !sr_version_eq(&it->local, &it->remote))
			pull(it, edited ? "kind" : NULL);
	}
}

/* Something stays at `it`: what does its way up look like?  A file on it is a conflict; an absent directory is kept. */
static void mend_way(struct sr_item *items, size_t n, const struct sr_item *it, bool conflicts)
{
	for (struct sr_bytes up = parent(it->path); up.len; up = parent(up)) {
		struct sr_item *a = find(items, n, up);
		const struct sr_version *out;

		if (!a || a->act == SR_ACT_SKIP)
			continue;
		out = sr_plan_outcome(a);
		if (out->kind == SR_KIND_DIR)
			continue;
		if (conflicts && out->kind == SR_KIND_FILE)
			give_up_subtree(items, n, (size_t)(a - items));
		else if (!conflicts && a->remote.kind == SR_KIND_DIR)
			pull(a, NULL);
		else if (!conflicts && a->local.kind == SR_KIND_DIR)
			push(a, a->base_state == SR_BASE_KNOWN ? 0 : SR_LEAF_UNION);
	}
}

static bool stays(const struct sr_item *it)
{
	return (it->act == SR_ACT_PULL || it->act == SR_ACT_PUSH || it->act == SR_ACT_AGREE) && present(sr_plan_outcome(it));
}

void sr_plan_shape(struct sr_item *items, size_t n)
{
	for (size_t k = 0; k < n; k++)
		if (stays(&items[k]))
			mend_way(items, n, &items[k], true);
	for (size_t k = 0; k < n; k++)
		if (stays(&items[k]))
			mend_way(items, n, &items[k], false);
}

/* --- tables ------------------------------------------------------------------------------------------------------------- */

/* Where the table is another on both sides, the datastore may follow: it takes columns that were added here, and says if that is not all. */
static void plan_changed_table(struct sr_item *it)
{
	if (it->base_state == SR_BASE_KNOWN && sr_version_eq(&it->local, &it->base))
		skip(it, "its schema was changed elsewhere: it waits until the application here changes it, too");
	else if (it->note == SR_NOTE_DECLINED)
		skip(it, it->base_state == SR_BASE_KNOWN && sr_version_eq(&it->remote, &it->base)
				 ? "its schema was changed here by more than the datastore follows by itself: it waits until every webserver has it so"
				 : "its schema differs from the datastore's by more than added columns: it waits until the application here has the "
				   "datastore's");
	else
		push(it, it->base_state == SR_BASE_KNOWN && sr_version_eq(&it->remote, &it->base) ? SR_LEAF_EDITED : 0);
}

/* A table that one side has no more waits for an operator.  At the datastore it comes back in a union, which deletes nothing; here it does not:
 * it was the application that dropped it. */
static void plan_table(struct sr_item *it, bool fill)
{
	bool base_table = it->base_state != SR_BASE_UNKNOWN && it->base.kind == SR_KIND_TABLE;

	if (it->act == SR_ACT_NOTHING || it->act == SR_ACT_AGREE || it->act == SR_ACT_SKIP)
		return;
	if (it->mirror && present(&it->local) && !present(&it->remote))
		it->act = SR_ACT_NOTHING; /* the application's table stays, without its rows */
	else if (it->mirror && present(&it->local))
		skip(it, "its schema is not the datastore's");
	else if (present(&it->local) && present(&it->remote))
		plan_changed_table(it);
	else if (!present(&it->local) && base_table)
		skip(it, "it is gone here");
	else if (!present(&it->local) && fill)
		pull(it, NULL);
	else if (!present(&it->local))
		skip(it, "the application here does not have it yet");
	else if (base_table && it->base_state == SR_BASE_KNOWN)
		skip(it, "it is gone at the datastore");
	else
		push(it, 0);
}

void sr_plan_tables(struct sr_item *items, size_t n, bool fill)
{
	const struct sr_item *table = NULL;

	for (size_t k = 0; k < n; k++) {
		struct sr_item *it = &items[k];

		if (!memchr(it->path.at, 0, it->path.len)) {
			plan_table(it, fill);
			table = it;
		} else if (table && sr_path_under(it->path, table->path)) {
			if (table->act == SR_ACT_SKIP)
				skip(it, table->why);
			else if (table->act == SR_ACT_PUSH && present(&table->remote))
				skip(it, "its table goes first"); /* then its rows are others there */
		}
	}
}
