/* conflict_restore.c - archived versions become ordinary edits.  See conflict.h.
 *
 * The hashes in an entry may be those of another tree key: what an entry is restored to is hashed anew. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/replica/conflict_internal.h"
#include "lib/replica/edit.h"
#include "lib/replica/place.h"

#define BLOCK 65536

struct restoring {
	struct sr_replica *r;
	struct sr_leaves **leaves; /* n of the replica; NULL: none of that store */
	struct sr_archive_ids ids;
	const struct sr_conflict_editor *editor;
	const char *over;   /* of the entry at hand, or NULL */
	const char *later;  /* restored in its stead, or NULL */
	const char *as;     /* or NULL */
	json_t *answer;
};

/* --- content ------------------------------------------------------------------------------------------------------------------- */

/* Read all of fd; each block is given to fn. */
typedef enum sr_status block_fn(void *ctx, const void *at, size_t n, struct sr_err *err);
static enum sr_status each_block(int fd, block_fn *fn, void *ctx, struct sr_err *err)
{
	uint8_t *block = sr_alloc(BLOCK);
	enum sr_status rc = SR_OK;
	off_t at = 0;
	ssize_t got;

	while (rc == SR_OK && (got = pread(fd, block, BLOCK, at)) != 0) {
		if (got < 0)
			rc = sr_err_sys(err, SR_E_IO, "the archived content");
		else
			rc = fn(ctx, block, (size_t)got, err);
		at += got;
	}
	free(block);
	return rc;
}

static enum sr_status into_buf(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	(void)err;
	sr_buf_add(ctx, at, n);
	return SR_OK;
}

static enum sr_status into_hash(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	(void)err;
	sr_hasher_add(ctx, at, n);
	return SR_OK;
}

static enum sr_status into_stage(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	return sr_stage_write(ctx, at, n, err);
}

static enum sr_status hash_file(const struct sr_replica *r, int fd, struct sr_version *to, struct sr_err *err)
{
	struct sr_hasher *h = sr_hasher_new(&r->key);
	enum sr_status rc = each_block(fd, into_hash, h, err);

	sr_hasher_get(h, &to->hash);
	sr_hasher_free(h);
	return rc;
}

static enum sr_status stage_file(struct sr_store *store, int fd, int64_t mtime_ns, struct sr_leaves *leaves, struct sr_leaf *leaf,
				 struct sr_err *err)
{
	struct sr_stage *stage = NULL;
	enum sr_status rc = sr_stage_open(&stage, store, err);

	if (rc == SR_OK)
		rc = each_block(fd, into_stage, stage, err);
	if (rc == SR_OK)
		rc = sr_stage_finish(stage, &leaf->to, mtime_ns, leaf, err);
	if (rc == SR_OK)
		rc = sr_leaves_add(leaves, leaf, err);
	sr_stage_free(stage);
	return rc;
}

/* --- one entry -------------------------------------------------------------------------------------------------------------------- */

static enum sr_status in_the_way(const struct restoring *s, const struct sr_archived *e, const struct sr_version *now, struct sr_err *err)
{
	char over[SR_CONFLICT_OVER];

	if (s->as)
		return now->kind == SR_KIND_NONE ? SR_OK : sr_err_set(err, SR_E_CHANGED, "%.300s: there is something already", s->as);
	sr_conflict_over(over, now);
	if (s->over ? strcmp(s->over, over) == 0 : sr_version_eq(now, &e->winner))
		return SR_OK;
	return sr_err_set(err, SR_E_CHANGED, "%.300s: what is there now is not what %s; `sameroot conflicts show %s` shows both", e->path,
			  s->over ? "it was when you were asked" : "won then", e->id);
}

/* Is what is there now nowhere else? */
static bool is_only_here(const struct restoring *s, size_t i, const struct sr_leaf *leaf)
{
	struct sr_leaf_row row;

	if (leaf->expect.kind == SR_KIND_NONE || s->editor->keeps)
		return false;
	return s->r->role == SR_ROLE_DATASTORE ||
	       sr_state_leaf(s->r->state, &s->r->stores[i].row, leaf->path, &row, NULL) != SR_OK || row.base_state != SR_BASE_KNOWN ||
	       !sr_version_eq(&row.base, &leaf->expect);
}

static enum sr_status noted(struct restoring *s, const struct sr_archived *e, const char *result)
{
	sr_archive_ids_add(&s->ids, e->id);
	json_array_append_new(s->answer, json_pack("{s:s, s:s, s:s}", "id", e->id, "path", s->as ? s->as : e->path, "result", result));
	return SR_OK;
}

/* leaf->to is complete by now.  fd: of its content, or -1; record: a row's. */
static enum sr_status add(struct restoring *s, size_t i, const struct sr_archived *e, struct sr_leaf *leaf, int fd, struct sr_err *err)
{
	struct sr_leaves **leaves = &s->leaves[i];
	struct sr_version *now = &leaf->expect;
	bool same_content = leaf->to.kind == SR_KIND_FILE && now->kind == SR_KIND_FILE && sr_hash_eq(&leaf->to.hash, &now->hash);
	enum sr_status rc;

	if (!*leaves)
		*leaves = sr_leaves_new(sr_state_dir(s->r->state));
	if (sr_version_eq(now, &leaf->to)) /* the apply looks whether it still is */
		rc = sr_leaves_add(*leaves, leaf, err);
	else
		rc = in_the_way(s, e, now, err);
	if (rc != SR_OK || sr_version_eq(now, &leaf->to))
		return rc == SR_OK ? noted(s, e, "there already") : rc;
	leaf->flags = is_only_here(s, i, leaf) ? SR_LEAF_ARCHIVE : 0;
	if (leaf->to.kind != SR_KIND_FILE || same_content)
		rc = sr_leaves_add(*leaves, leaf, err);
	else if (fd < 0)
		rc = sr_err_set(err, SR_E_NOTFOUND, "%.300s: of this version only the mode differed, and what it was the mode of is no more",
				e->path);
	else
		rc = stage_file(s->r->stores[i].store, fd, e->mtime_ns, *leaves, leaf, err);
	return rc == SR_OK ? noted(s, e, "restored") : rc;
}

/* In a bag, as many of such rows as there were, or as there are if that is more. */
static void row_version(const struct restoring *s, const struct sr_archived *e, struct sr_leaf *leaf)
{
	leaf->to = (struct sr_version){.kind = SR_KIND_ROW, .bytes = leaf->record.len};
	sr_hash_of(&leaf->to.hash, &s->r->key, leaf->record);
	if (sr_path_is_bag(leaf->path))
		leaf->to.bytes = leaf->expect.bytes > e->version.bytes ? leaf->expect.bytes : e->version.bytes;
}

static enum sr_status add_entry(struct restoring *s, size_t i, const struct sr_archived *e, struct sr_bytes path, struct sr_err *err)
{
	struct sr_leaf leaf = {.path = path, .to = e->version, .mtime_ns = e->mtime_ns};
	struct sr_buf there = {0}, record = {0};
	enum sr_status rc = sr_conflict_now(s->r, i, path, &leaf.expect, &there, err);
	int fd = -1;

	if (rc == SR_OK && e->kind[0] != 'd') {
		rc = sr_archive_data(s->r->archive, e->id, &fd, err);
		if (rc == SR_E_NOTFOUND && e->version.kind == SR_KIND_FILE)
			rc = SR_OK;
	}
	if (rc == SR_OK && e->version.kind == SR_KIND_ROW) {
		rc = each_block(fd, into_buf, &record, err);
		leaf.record = sr_buf_view(&record);
		row_version(s, e, &leaf);
	} else if (rc == SR_OK && fd >= 0) {
		rc = hash_file(s->r, fd, &leaf.to, err);
	}
	if (rc == SR_OK)
		rc = add(s, i, e, &leaf, fd, err);
	if (fd >= 0)
		close(fd);
	sr_buf_free(&there);
	sr_buf_free(&record);
	return rc;
}

/* Another place for a file, in any store of files. */
static enum sr_status other_place(struct restoring *s, const struct sr_archived *e, size_t *i, struct sr_buf *path, struct sr_err *err)
{
	struct sr_replica_store *st = NULL;
	enum sr_status rc;

	if (e->version.kind != SR_KIND_FILE)
		return sr_err_set(err, SR_E_USAGE, "%.300s: only a file can be restored under another name", e->path);
	rc = sr_place_parse(s->r, sr_bytes_of(s->as), &st, i, path, err);
	if (rc == SR_OK && (!st || !path->len || st->kind != SR_KIND_FILES || sr_leaf_path_check(SR_KIND_FILES, sr_buf_view(path), NULL) != SR_OK))
		rc = sr_err_set(err, SR_E_USAGE, "%.300s: not the path of a file in a store of files", s->as);
	return rc;
}

/* Where is it restored to?  Into *path, appended. */
static enum sr_status place_of(struct restoring *s, const struct sr_archived *e, size_t *i, struct sr_buf *path, struct sr_err *err)
{
	if (e->version.kind != SR_KIND_ROW && e->version.kind != SR_KIND_FILE && e->version.kind != SR_KIND_DIR)
		return sr_err_set(err, SR_E_USAGE, "%.300s: a %s is not restored", e->path, e->kind);
	if (s->as)
		return other_place(s, e, i, path, err);
	if (!sr_replica_find(s->r, sr_bytes_of(e->store), i))
		return sr_err_set(err, SR_E_NOTFOUND, "no store %s is configured here", e->store);
	sr_buf_bytes(path, e->raw_path);
	return SR_OK;
}

static enum sr_status on_entry(void *ctx, const struct sr_archived *e, struct sr_err *err)
{
	struct restoring *s = ctx;
	struct sr_buf path = {0};
	size_t i = 0;
	enum sr_status rc = place_of(s, e, &i, &path, err);

	if (rc == SR_OK)
		rc = add_entry(s, i, e, sr_buf_view(&path), err);
	sr_buf_free(&path);
	return rc;
}

/* Another one of its path is restored: what is the same is there by then, and what is not stays in the archive. */
static enum sr_status on_same(void *ctx, const struct sr_archived *e, struct sr_err *err)
{
	(void)err;
	return noted(ctx, e, "there already");
}

static enum sr_status on_earlier(void *ctx, const struct sr_archived *e, struct sr_err *err)
{
	struct restoring *s = ctx;

	(void)err;
	json_array_append_new(s->answer, json_pack("{s:s, s:s, s:s, s:s}", "id", e->id, "path", e->path, "result", "left", "later", s->later));
	return SR_OK;
}

/* --- which of them --------------------------------------------------------------------------------------------------------------------- */

struct wish { /* one of the ids */
	char id[SR_ARCHIVE_ID]; /* begins with the time */
	const char *over;       /* BORROWED, or NULL */
	size_t i;               /* of the store */
	struct sr_buf path;
	struct sr_version version;
};

struct looking {
	struct restoring *s;
	struct wish *at;
};

static enum sr_status on_wish(void *ctx, const struct sr_archived *e, struct sr_err *err)
{
	struct looking *l = ctx;

	snprintf(l->at->id, sizeof l->at->id, "%s", e->id);
	l->at->version = e->version;
	return place_of(l->s, e, &l->at->i, &l->at->path, err);
}

static int by_place(const struct wish *a, const struct wish *b)
{
	return a->i != b->i ? (a->i > b->i) - (a->i < b->i) : sr_bytes_cmp(sr_buf_view(&a->path), sr_buf_view(&b->path));
}

/* Of one place the one that was archived last comes first. */
static int by_place_and_age(const void *a, const void *b)
{
	const struct wish *x = a, *y = b;
	int order = by_place(x, y);

	return order ? order : strcmp(y->id, x->id);
}

static enum sr_status add_wishes(struct restoring *s, struct wish *wishes, size_t n, struct sr_err *err)
{
	const struct wish *last = NULL;
	enum sr_status rc = SR_OK;

	qsort(wishes, n, sizeof *wishes, by_place_and_age);
	for (size_t k = 0; rc == SR_OK && k < n; k++) {
		struct wish *w = &wishes[k];
		bool again = last && by_place(last, w) == 0;

		if (again && strcmp(wishes[k - 1].id, w->id) == 0)
			continue; /* it was named twice */
		s->over = w->over;
		s->later = again ? last->id : NULL;
		rc = sr_archive_one(s->r->archive, w->id, !again ? on_entry : sr_version_eq(&last->version, &w->version) ? on_same : on_earlier,
				    s, err);
		last = again ? last : w;
	}
	return rc;
}

/* --- all of them --------------------------------------------------------------------------------------------------------------------- */

static enum sr_status gather(struct restoring *s, const json_t *ids, struct sr_err *err)
{
	size_t n = json_array_size(ids), k;
	struct wish *wishes = sr_alloc((n + 1) * sizeof *wishes);
	enum sr_status rc = n ? SR_OK : sr_err_set(err, SR_E_DATA, "the body is {\"ids\": [{\"id\": ID}, ...]}");

	for (k = 0; rc == SR_OK && k < n; k++) {
		const json_t *one = json_array_get(ids, k);
		const char *id = json_string_value(json_object_get(one, "id"));
		struct looking l = {s, &wishes[k]};

		wishes[k].over = json_string_value(json_object_get(one, "over"));
		rc = id ? sr_archive_one(s->r->archive, id, on_wish, &l, err) : sr_err_set(err, SR_E_DATA, "an id is missing");
	}
	if (rc == SR_OK)
		rc = add_wishes(s, wishes, n, err);
	for (k = 0; k < n; k++)
		sr_buf_free(&wishes[k].path);
	free(wishes);
	return rc;
}

enum sr_status sr_conflict_edit(void *ctx, struct sr_leaves *const *leaves, struct sr_err *err)
{
	struct sr_replica *r = ctx;
	enum sr_status rc = SR_OK;
	bool some = false;

	for (size_t i = 0; rc == SR_OK && i < r->n; i++) {
		if (!leaves[i])
			continue;
		rc = sr_replica_edit(r, i, leaves[i], err);
		if (rc != SR_OK && some)
			return sr_err_context(err, "what is of other stores was restored, but");
		some = true;
	}
	return rc;
}

static enum sr_status carry_out(struct restoring *s, bool keep, struct sr_err *err)
{
	enum sr_status rc = s->editor->edit(s->editor->ctx, s->leaves, err);

	return rc == SR_OK && !keep ? sr_archive_remove(s->r->archive, &s->ids, err) : rc;
}

static void clear(struct restoring *s, bool failed)
{
	for (size_t i = 0; i < s->r->n; i++) {
		if (failed && s->leaves[i])
			sr_replica_edit_sweep(s->r, i);
		sr_leaves_free(s->leaves[i]);
	}
	free(s->leaves);
	sr_archive_ids_free(&s->ids);
	json_decref(s->answer);
}

enum sr_status sr_conflict_restore(struct sr_replica *r, struct sr_bytes wish, const struct sr_conflict_editor *editor, struct sr_buf *out,
				   struct sr_err *err)
{
	json_t *o = json_loadb((const char *)wish.at, wish.len, JSON_REJECT_DUPLICATES, NULL);
	struct restoring s = {.r = r, .editor = editor, .as = json_string_value(json_object_get(o, "as"))};
	enum sr_status rc = r->keyed ? SR_OK : sr_err_set(err, SR_E_UNAVAILABLE, "no round went through yet");
	char *text;

	s.answer = json_array();
	s.leaves = sr_alloc((r->n + 1) * sizeof *s.leaves);
	if (rc == SR_OK && s.as && json_array_size(json_object_get(o, "ids")) > 1)
		rc = sr_err_set(err, SR_E_USAGE, "one name is for one version");
	if (rc == SR_OK)
		rc = gather(&s, json_object_get(o, "ids"), err);
	if (rc == SR_OK)
		rc = carry_out(&s, json_is_true(json_object_get(o, "keep")), err);
	if (rc == SR_OK) {
		text = json_dumps(s.answer, JSON_COMPACT);
		sr_buf_bytes(out, sr_bytes_of(text));
		free(text);
	}
	clear(&s, rc != SR_OK);
	json_decref(o);
	return rc;
}
