/* restore.c - POST /api/admin/restore: a path as it was at a time, brought back by an ordinary new commit.
 *
 * Body: {"path": P, "seq": N or "at_ms": MS, "exact": BOOL, "dry_run": BOOL}.  The first change of each path after that time tells what was
 * there; where that is not what is there now, it is wanted back, if its content is kept.  Without `exact` what was created since stays.
 * A row of a table that got columns since is wanted as it became by that.
 * Answer: "from" {"epoch", "seq"}, "at" {"epoch", "seq"} (after it), how many: "back" (deleted since), "reverted" (changed since), "removed"
 * (created since; exact), "newer" (created since, and left), the same for each table in "tables", "lost" and "lost_paths" (content not kept),
 * "refused" and "refused_paths" ({"path", "why"}), "replaced_since": stores were put in the place of others since, of which no change is known. */
#include "lib/datastore/internal.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/log.h"

#define MOST_BODY 65536
#define CHUNK     65536

enum counted { BACK, REVERTED, REMOVED, NEWER, COUNTS };
static const char *const count_names[COUNTS] = {"back", "reverted", "removed", "newer"};

struct moment {
	uint64_t epoch, seq;
};

struct wish {
	struct sr_ds_past past;
	struct sr_ds_place place;
	struct sr_replica_store *s; /* of place, as is */
	size_t i;
	uint64_t epoch, seq; /* as of when */
	bool exact, dry_run;
	bool met; /* something at or below place changed since */

	struct sr_leaves *leaves; /* path, expect: what is there, to: what was, mtime */
	uint64_t counts[COUNTS], lost;
	json_t *tables, *lost_paths, *refused_paths;
	size_t refused;

	size_t parents;       /* so many of the leaves are directories above */
	struct sr_buf parent; /* the directory above that is looked for */
	struct sr_buf table;  /* the last one looked at */
	bool table_there, table_changed;
	struct moment table_since; /* when it changed first */
	struct sr_view *view;      /* of a database some table of which changed */

	struct sr_leaves *outgrown; /* not kept as they were, but perhaps as they became when their table grew; in order of paths */
	struct moment *growths;     /* OWNED; when tables of the store changed since, in order */
	size_t growths_n;
};

/* --- what is wanted ------------------------------------------------------------------------------------------------- */

static json_t *path_json(const struct wish *w, struct sr_bytes path)
{
	struct sr_buf text = {0};
	json_t *o;

	sr_leaf_path_text(&text, w->s->name, w->s->kind, path);
	o = json_string(sr_buf_text(&text));
	sr_buf_free(&text);
	return o;
}

static struct sr_bytes table_of(struct sr_bytes path)
{
	const uint8_t *nul = memchr(path.at, 0, path.len);

	return sr_bytes(path.at, nul ? (size_t)(nul - path.at) : path.len);
}

static void count(struct wish *w, struct sr_bytes path, enum counted what, int by)
{
	char *name = sr_text(w->s->kind == SR_KIND_DATABASE ? table_of(path) : sr_bytes_of("files"));
	json_t *o = json_object_get(w->tables, name);

	w->counts[what] += (uint64_t)by;
	if (!o) {
		o = json_object();
		if (json_object_set_new(w->tables, name, o)) /* a name that JSON does not take: in the sums alone */
			o = NULL;
	}
	if (o)
		json_object_set_new(o, count_names[what], json_integer(json_integer_value(json_object_get(o, count_names[what])) + by));
	free(name);
}

static enum sr_status lose(struct wish *w, struct sr_bytes path)
{
	if (w->lost++ < SR_DS_SHOWN)
		json_array_append_new(w->lost_paths, path_json(w, path));
	return SR_OK;
}

struct change {
	struct sr_version from;
	struct moment at;
};

static enum sr_status changed_since(void *ctx, const struct sr_journal_row *row, struct sr_err *err)
{
	(void)err;
	if (!memchr(row->path.at, 0, row->path.len)) /* the table, not its rows */
		*(struct change *)ctx = (struct change){.from = row->from, .at = {row->epoch, row->seq}};
	return SR_OK;
}

/* The table of the row: is it there, and has it another shape now? */
static enum sr_status look_at_table(struct wish *w, struct sr_bytes path, struct sr_err *err)
{
	struct sr_bytes name = table_of(path);
	struct change first = {0};
	struct sr_version now;
	enum sr_status rc;

	if (sr_bytes_eq(name, sr_buf_view(&w->table)))
		return SR_OK;
	sr_buf_clear(&w->table);
	sr_buf_bytes(&w->table, name);
	rc = sr_ds_past_now(&w->past, w->i, sr_buf_view(&w->table), &now, err);
	first.from = now;
	if (rc == SR_OK)
		rc = sr_state_journal_then(w->past.state, w->epoch, w->seq, w->s->name, sr_buf_view(&w->table), changed_since, &first, err);
	w->table_there = now.kind == SR_KIND_TABLE;
	w->table_changed = !sr_version_eq(&now, &first.from);
	w->table_since = first.at;
	return rc;
}

static enum counted kind_of(const struct sr_leaf *leaf)
{
	return !leaf->to.kind ? REMOVED : !leaf->expect.kind ? BACK : REVERTED;
}

static enum sr_status take(struct wish *w, const struct sr_leaf *leaf, struct sr_err *err)
{
	count(w, leaf->path, kind_of(leaf), 1);
	return sr_leaves_add(w->leaves, leaf, err);
}

/* Found by the datastore's own scan, and not before the table changed. */
static bool may_be_outgrown(const struct wish *w, const struct sr_journal_row *row)
{
	const struct moment *t = &w->table_since;

	return row->from.kind == SR_KIND_ROW && w->table_changed && sr_uuid_none(&row->webserver) &&
	       !sr_is_later(t->epoch, t->seq, row->epoch, row->seq);
}

static enum sr_status want(struct wish *w, const struct sr_journal_row *row, const struct sr_version *now, const struct sr_version *then,
			   struct sr_err *err)
{
	struct sr_leaf leaf = {.path = row->path, .expect = *now, .to = *then, .mtime_ns = row->mtime_ns};
	bool kept = true;
	enum sr_status rc = SR_OK;

	if (then->kind == SR_KIND_ROW)
		rc = look_at_table(w, row->path, err);
	if (rc == SR_OK && then->kind == SR_KIND_FILE && now->kind == SR_KIND_FILE && sr_hash_eq(&now->hash, &then->hash))
		; /* its mode alone */
	else if (rc == SR_OK)
		rc = sr_ds_past_kept(&w->past, w->i, row->path, then, &kept, err);
	if (rc != SR_OK)
		return rc;
	if (then->kind == SR_KIND_ROW && !w->table_there)
		return lose(w, row->path);
	if (!kept && may_be_outgrown(w, row))
		return sr_leaves_add(w->outgrown, &leaf, err);
	return kept ? take(w, &leaf, err) : lose(w, row->path);
}

static enum sr_status on_then(void *ctx, const struct sr_journal_row *row, struct sr_err *err)
{
	struct wish *w = ctx;
	struct sr_version then = row->from, now;
	enum sr_status rc;

	if (!sr_ds_place_has(&w->place, row->path))
		return SR_OK;
	w->met = true;
	rc = sr_ds_past_now(&w->past, w->i, row->path, &now, err);
	if (rc != SR_OK || then.kind == SR_KIND_TABLE || now.kind == SR_KIND_TABLE)
		return rc; /* a table's shape is its application's affair */
	if (sr_path_is_bag(row->path) && !w->exact && now.kind && then.bytes < now.bytes)
		then = now;
	if (sr_version_eq(&now, &then))
		return SR_OK;
	if (!then.kind && !w->exact) {
		count(w, row->path, NEWER, 1);
		return SR_OK;
	}
	return want(w, row, &now, &then, err);
}

static enum sr_status on_parent(void *ctx, const struct sr_journal_row *row, struct sr_err *err)
{
	struct wish *w = ctx;
	static const struct sr_version nothing;

	if (!sr_bytes_eq(row->path, sr_buf_view(&w->parent)) || row->from.kind != SR_KIND_DIR)
		return SR_OK;
	return want(w, row, &nothing, &row->from, err);
}

/* The directories above that are gone: a file cannot come back without them. */
static enum sr_status want_parents(struct wish *w, struct sr_err *err)
{
	struct sr_bytes top = sr_buf_view(&w->place.path);
	enum sr_status rc = SR_OK;

	for (size_t n = 0; n < top.len && w->s->kind == SR_KIND_FILES && rc == SR_OK; n++) {
		struct sr_version now;

		if (top.at[n])
			continue;
		sr_buf_clear(&w->parent);
		sr_buf_bytes(&w->parent, sr_bytes(top.at, n));
		rc = sr_ds_past_now(&w->past, w->i, sr_buf_view(&w->parent), &now, err);
		if (rc == SR_OK && now.kind == SR_KIND_NONE)
			rc = sr_state_journal_then(w->past.state, w->epoch, w->seq, w->s->name, sr_buf_view(&w->parent), on_parent, w, err);
	}
	return rc;
}

/* What was not met in the history is as it was, if it is there at all. */
static enum sr_status demand_there(struct wish *w, struct sr_err *err)
{
	enum sr_status rc;

	if (w->met || !w->place.path.len)
		return SR_OK;
	rc = sr_ds_past_there(&w->past, &w->place, &w->met, err);
	if (w->met)
		return SR_OK;
	return rc != SR_OK ? rc : sr_err_set(err, SR_E_NOTFOUND, "there is no such path in store %s, nor was there one since then", w->s->name);
}

/* --- rows whose table grew ------------------------------------------------------------------------------------------
 *
 * When a table gets columns, the scan finds its rows to be others, as it finds direct edits, and nothing is kept of what they were.  But a later
 * record of the row, which is there or was kept, may be the same with the new columns at their defaults: without them it has the hash of what
 * the row was.  That record is wanted in its place. */

static enum sr_status look(struct wish *w, struct sr_err *err)
{
	return w->view ? SR_OK : sr_view_open(&w->view, w->s->store, SR_VIEW_EXTRA, err);
}

/* The table may have got more columns than the record has. */
static bool is_grown(struct wish *w, const struct sr_leaf *leaf, struct sr_bytes record)
{
	struct sr_buf grown = {0};
	bool yes = sr_view_grow(w->view, leaf->path, record, &grown) && sr_view_is_grown(w->view, leaf->path, sr_buf_view(&grown), &leaf->to);

	sr_buf_free(&grown);
	return yes;
}

/* Nothing but its shape is new: then it is as it was. */
static bool only_grew(struct wish *w, const struct sr_leaf *leaf)
{
	struct sr_content content = {.fd = -1};

	return leaf->expect.kind == SR_KIND_ROW && sr_view_read(w->view, leaf->path, &content, NULL) == SR_OK &&
	       sr_version_eq(&content.version, &leaf->expect) && is_grown(w, leaf, content.record);
}

static enum sr_status leave_what_only_grew(struct wish *w, struct sr_err *err)
{
	struct sr_leaves *left = sr_leaves_new(w->past.d->config->datastore_state_directory);
	enum sr_status rc = SR_OK;

	for (size_t k = 0; k < sr_leaves_count(w->outgrown) && rc == SR_OK; k++) {
		struct sr_leaf leaf;

		rc = sr_leaves_at(w->outgrown, k, &leaf, err);
		if (rc == SR_OK && !only_grew(w, &leaf))
			rc = sr_leaves_add(left, &leaf, err);
	}
	sr_leaves_free(w->outgrown);
	w->outgrown = left;
	return rc;
}

struct growth {
	struct wish *w;
	size_t next;            /* of the outgrown ones */
	struct sr_leaves *left; /* still looked for */
};

/* became: what followed the growth; NULL: nothing did. */
static enum sr_status settle(struct growth *g, struct sr_leaf *leaf, const struct sr_version *became, struct sr_err *err)
{
	struct sr_buf record = {0};
	bool found = false;
	enum sr_status rc = SR_OK;

	if (became && became->kind == SR_KIND_ROW)
		rc = sr_state_replaced(g->w->past.state, &became->hash, &record, &found, err);
	found = found && record.len && is_grown(g->w, leaf, sr_buf_view(&record));
	sr_buf_free(&record);
	if (rc != SR_OK || !found)
		return rc != SR_OK ? rc : sr_leaves_add(g->left, leaf, err);
	leaf->to = *became;
	return take(g->w, leaf, err);
}

/* Both come in order of paths.  row NULL: there is none any more. */
static enum sr_status settle_up_to(struct growth *g, const struct sr_journal_row *row, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	while (rc == SR_OK && g->next < sr_leaves_count(g->w->outgrown)) {
		struct sr_leaf leaf;
		int order = -1;

		rc = sr_leaves_at(g->w->outgrown, g->next, &leaf, err);
		if (rc == SR_OK && row)
			order = sr_bytes_cmp(leaf.path, row->path);
		if (rc != SR_OK || order > 0)
			break;
		g->next++;
		rc = settle(g, &leaf, order == 0 ? &row->to : NULL, err);
	}
	return rc;
}

static enum sr_status on_grown(void *ctx, const struct sr_journal_row *row, struct sr_err *err)
{
	return settle_up_to(ctx, row, err);
}

static enum sr_status after_growth(struct wish *w, const struct moment *at, struct sr_err *err)
{
	struct growth g = {.w = w, .left = sr_leaves_new(w->past.d->config->datastore_state_directory)};
	enum sr_status rc;

	/* the rows may have been found with the table */
	rc = sr_state_journal_then(w->past.state, at->epoch, at->seq - 1, w->s->name, sr_buf_view(&w->place.path), on_grown, &g, err);
	if (rc == SR_OK)
		rc = settle_up_to(&g, NULL, err);
	sr_leaves_free(w->outgrown);
	w->outgrown = g.left;
	return rc;
}

static enum sr_status note_growth(void *ctx, const struct sr_journal_row *row, struct sr_err *err)
{
	struct wish *w = ctx;
	const struct moment *last = w->growths_n ? &w->growths[w->growths_n - 1] : NULL;

	(void)err;
	if (row->from.kind != SR_KIND_TABLE || row->to.kind != SR_KIND_TABLE || strcmp(row->store, w->s->name) != 0)
		return SR_OK;
	if (last && last->epoch == row->epoch && last->seq == row->seq)
		return SR_OK;
	w->growths = sr_realloc(w->growths, (w->growths_n + 1) * sizeof(*w->growths));
	w->growths[w->growths_n++] = (struct moment){row->epoch, row->seq};
	return SR_OK;
}

/* What each row became at each growth is looked at, until one is kept.  A pass over the journal a growth. */
static enum sr_status want_outgrown(struct wish *w, struct sr_err *err)
{
	enum sr_status rc = look(w, err);

	if (rc == SR_OK)
		rc = leave_what_only_grew(w, err);
	if (rc == SR_OK && sr_leaves_count(w->outgrown))
		rc = sr_state_journal(w->past.state, w->epoch, w->seq, note_growth, w, err);
	for (size_t k = 0; k < w->growths_n && sr_leaves_count(w->outgrown) && rc == SR_OK; k++)
		rc = after_growth(w, &w->growths[k], err);
	for (size_t k = 0; k < sr_leaves_count(w->outgrown) && rc == SR_OK; k++) {
		struct sr_leaf leaf;

		rc = sr_leaves_at(w->outgrown, k, &leaf, err);
		if (rc == SR_OK)
			rc = lose(w, leaf.path);
	}
	return rc;
}

/* The stores are in use meanwhile, as in add_all. */
static enum sr_status find_outgrown(struct wish *w, struct sr_err *err)
{
	enum sr_status rc;

	if (!sr_leaves_count(w->outgrown))
		return SR_OK;
	if (!sr_replica_use(w->past.d->r))
		return sr_err_set(err, SR_E_UNAVAILABLE, "there is no tree yet");
	rc = want_outgrown(w, err);
	sr_view_close(w->view);
	w->view = NULL;
	sr_replica_unuse(w->past.d->r);
	return rc;
}

/* --- as of when ----------------------------------------------------------------------------------------------------- */

/* Nothing of the journal has gone: from when the state was made until the first change all was as it was then. */
static bool has_beginning(const struct wish *w)
{
	return !w->past.trimmed && w->past.since.at_ms > 0 && w->past.since.at_ms <= w->past.first.at_ms;
}

static enum sr_status too_far_back(const struct wish *w, struct sr_err *err)
{
	if (!w->past.any)
		return sr_err_set(err, SR_E_GONE, "the history is empty: nothing changed yet");
	if (has_beginning(w))
		return sr_err_set(err, SR_E_GONE, "the history begins with what was there at @%" PRIu64 ", when this datastore's state was made: it does not "
						  "reach back so far",
				  w->past.since.seq);
	return sr_err_set(err, SR_E_GONE, "the history begins with @%" PRIu64 ": it does not reach back so far (see `sameroot log`)",
			  w->past.first.seq);
}

static enum sr_status find_moment(struct wish *w, json_t *o, struct sr_err *err)
{
	const json_t *seq = json_object_get(o, "seq"), *at_ms = json_object_get(o, "at_ms");
	struct sr_root_row row = {0};
	bool found = false;
	enum sr_status rc;

	if (json_is_integer(seq) == json_is_integer(at_ms) || json_integer_value(seq) < 0 || json_integer_value(at_ms) < 0)
		return sr_err_set(err, SR_E_DATA, "the body has either seq or at_ms");
	if (seq) {
		w->epoch = w->past.at.epoch;
		w->seq = (uint64_t)json_integer_value(seq);
		if (w->seq > w->past.at.seq)
			return sr_err_set(err, SR_E_NOTFOUND, "there is no @%" PRIu64 " yet: the last is @%" PRIu64, w->seq, w->past.at.seq);
		found = w->past.any && !(has_beginning(w) && w->seq < w->past.since.seq) &&
			(!w->past.trimmed || w->past.first.epoch < w->epoch || w->past.first.seq <= w->seq + 1);
		return found ? SR_OK : too_far_back(w, err);
	}
	rc = sr_state_journal_at(w->past.state, json_integer_value(at_ms), &row, &found, err);
	if (rc == SR_OK && !found && w->past.any && has_beginning(w) && json_integer_value(at_ms) >= w->past.since.at_ms) {
		row = w->past.since;
		found = true;
	}
	if (rc != SR_OK || !found)
		return rc == SR_OK ? too_far_back(w, err) : rc;
	w->epoch = row.epoch;
	w->seq = row.seq;
	return SR_OK;
}

/* --- bringing it back ----------------------------------------------------------------------------------------------- */

static enum sr_status stage(struct wish *w, struct sr_leaf *leaf, struct sr_stage **stage, struct sr_err *err)
{
	uint8_t *chunk = sr_alloc(CHUNK);
	struct sr_content old = {.fd = -1};
	struct sr_buf none = {0};
	ssize_t n = 1;
	enum sr_status rc = sr_ds_older(w->past.d, w->i, leaf->path, &leaf->to, &none, &old, err);

	if (rc == SR_OK && !leaf->mtime_ns)
		leaf->mtime_ns = old.mtime_ns;
	if (rc == SR_OK)
		rc = sr_stage_open(stage, w->s->store, err);
	while (rc == SR_OK && n > 0) {
		n = read(old.fd, chunk, CHUNK);
		if (n < 0)
			rc = sr_err_sys(err, SR_E_IO, "read what is kept");
		else if (n > 0)
			rc = sr_stage_write(*stage, chunk, (size_t)n, err);
	}
	if (rc == SR_OK)
		rc = sr_stage_finish(*stage, &leaf->to, leaf->mtime_ns, leaf, err);
	if (old.fd >= 0)
		close(old.fd);
	free(chunk);
	return rc;
}

/* What is kept may have been touched since, or have been forgotten just now: then it is lost, and the others go on. */
static bool is_lost(enum sr_status rc)
{
	return rc == SR_E_DATA || rc == SR_E_NOTFOUND;
}

/* It was counted as one that comes back. */
static enum sr_status lose_after_all(struct wish *w, const struct sr_leaf *leaf)
{
	count(w, leaf->path, kind_of(leaf), -1);
	return lose(w, leaf->path);
}

static enum sr_status add_file(struct wish *w, struct sr_ds_push *p, struct sr_leaf *leaf, struct sr_err *err)
{
	struct sr_stage *s = NULL;
	struct sr_err why = {0};
	enum sr_status rc = SR_OK;

	if (leaf->expect.kind != SR_KIND_FILE || !sr_hash_eq(&leaf->expect.hash, &leaf->to.hash))
		rc = stage(w, leaf, &s, &why);
	if (rc == SR_OK)
		rc = sr_ds_edit_add(p, w->i, leaf, &why);
	sr_stage_free(s);
	if (is_lost(rc))
		return lose_after_all(w, leaf);
	if (rc != SR_OK)
		*err = why;
	return rc;
}

/* The record of equal rows, of which there are some now. */
static enum sr_status read_equal(struct wish *w, const struct sr_leaf *leaf, struct sr_buf *record, struct sr_err *err)
{
	struct sr_content content = {.fd = -1};
	enum sr_status rc = look(w, err);

	if (rc == SR_OK)
		rc = sr_view_read(w->view, leaf->path, &content, err);
	if (rc == SR_OK)
		sr_buf_bytes(record, content.record);
	return rc;
}

/* A row of a table that has grown since has the new columns at their defaults. */
static enum sr_status grow(struct wish *w, struct sr_leaf *leaf, struct sr_buf *record, struct sr_err *err)
{
	struct sr_buf grown = {0};
	enum sr_status rc = look_at_table(w, leaf->path, err);

	if (rc != SR_OK || !w->table_changed)
		return rc;
	rc = look(w, err);
	if (rc != SR_OK)
		return rc;
	if (!sr_view_grow(w->view, leaf->path, sr_buf_view(record), &grown)) {
		sr_buf_free(&grown);
		return sr_err_set(err, SR_E_DATA, "its table has another shape now");
	}
	sr_buf_free(record);
	*record = grown;
	leaf->to.bytes = record->len;
	sr_hash_of(&leaf->to.hash, &w->past.d->r->key, sr_buf_view(record));
	return SR_OK;
}

static enum sr_status add_row(struct wish *w, struct sr_ds_push *p, struct sr_leaf *leaf, struct sr_err *err)
{
	struct sr_buf record = {0};
	struct sr_err why = {0};
	bool found = false;
	enum sr_status rc = sr_state_replaced(w->past.state, &leaf->to.hash, &record, &found, &why);

	if (rc == SR_OK && !found && leaf->expect.kind == SR_KIND_ROW && sr_path_is_bag(leaf->path))
		rc = read_equal(w, leaf, &record, &why);
	else if (rc == SR_OK && (!found || !record.len))
		rc = sr_err_set(&why, SR_E_NOTFOUND, "its record is not kept");
	if (rc == SR_OK)
		rc = grow(w, leaf, &record, &why);
	leaf->record = sr_buf_view(&record);
	if (rc == SR_OK)
		rc = sr_ds_edit_add(p, w->i, leaf, &why);
	sr_buf_free(&record);
	if (is_lost(rc))
		return lose_after_all(w, leaf);
	if (rc != SR_OK)
		*err = why;
	return rc;
}

/* The stores are used for this alone: who waits until nobody uses them may hold the writer. */
static enum sr_status add_all(struct wish *w, struct sr_ds_push *p, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	if (!sr_replica_use(w->past.d->r))
		return sr_err_set(err, SR_E_UNAVAILABLE, "there is no tree yet");
	for (size_t k = 0; k < sr_leaves_count(w->leaves) && rc == SR_OK; k++) {
		struct sr_leaf leaf;

		rc = sr_leaves_at(w->leaves, k, &leaf, err);
		if (rc == SR_OK && leaf.to.kind == SR_KIND_FILE)
			rc = add_file(w, p, &leaf, err);
		else if (rc == SR_OK && leaf.to.kind == SR_KIND_ROW)
			rc = add_row(w, p, &leaf, err);
		else if (rc == SR_OK)
			rc = sr_ds_edit_add(p, w->i, &leaf, err);
	}
	sr_view_close(w->view);
	w->view = NULL;
	sr_replica_unuse(w->past.d->r);
	return rc;
}

/* What was to come back and did not is not counted as if it had. */
static enum sr_status note_refused(struct wish *w, const struct sr_ds_push *p, struct sr_err *err)
{
	struct sr_leaves *sent = p->parts[w->i].leaves;
	enum sr_status rc = SR_OK;

	w->refused = p->answer.n;
	for (size_t k = 0; rc == SR_OK && k < p->answer.n; k++) {
		const struct sr_refused *f = &p->answer.refused[k];
		struct sr_leaf leaf;
		size_t at;
		json_t *o;

		rc = sr_leaves_find(sent, f->path, &at, &leaf, err);
		if (rc == SR_OK && at < sr_leaves_count(sent))
			count(w, leaf.path, kind_of(&leaf), -1);
		if (rc != SR_OK || k >= SR_DS_SHOWN)
			continue;
		o = json_object();
		json_object_set_new(o, "path", path_json(w, f->path));
		json_object_set_new(o, "why", json_string(sr_ds_why_refused(p, w->i, f)));
		json_array_append_new(w->refused_paths, o);
	}
	return rc;
}

static enum sr_status bring_back(struct wish *w, struct sr_err *err)
{
	struct sr_ds_push p;
	struct sr_err why = {0};
	enum sr_status rc;

	if (sr_leaves_count(w->leaves) == w->parents)
		return SR_OK; /* nothing to put into them */
	sr_ds_edit_begin(&p, w->past.d);
	rc = add_all(w, &p, &why);
	if (rc == SR_OK && p.leaves)
		rc = sr_ds_edit_commit(&p, false, &why);
	if (rc == SR_OK || rc == SR_E_CHANGED) {
		if (p.leaves)
			w->past.at = p.answer.at;
		rc = note_refused(w, &p, err);
	} else {
		*err = why;
	}
	if (rc == SR_OK)
		sr_info("%s: brought back as it was at @%" PRIu64 " by an operator: %zu entries, %zu of them could not be put in place", w->s->name,
			w->seq, p.leaves, w->refused);
	sr_ds_edit_end(&p);
	return rc;
}

/* --- POST /api/admin/restore ------------------------------------------------------------------------------------------ */

static json_t *moment_json(uint64_t epoch, uint64_t seq)
{
	json_t *o = json_object();

	json_object_set_new(o, "epoch", json_integer((json_int_t)epoch));
	json_object_set_new(o, "seq", json_integer((json_int_t)seq));
	return o;
}

static json_t *result_json(struct wish *w)
{
	json_t *o = json_object();

	json_object_set_new(o, "dry_run", json_boolean(w->dry_run));
	json_object_set_new(o, "from", moment_json(w->epoch, w->seq));
	json_object_set_new(o, "at", moment_json(w->past.at.epoch, w->past.at.seq));
	for (size_t k = 0; k < COUNTS; k++)
		json_object_set_new(o, count_names[k], json_integer((json_int_t)w->counts[k]));
	json_object_set(o, "tables", w->tables);
	json_object_set_new(o, "lost", json_integer((json_int_t)w->lost));
	json_object_set(o, "lost_paths", w->lost_paths);
	json_object_set_new(o, "refused", json_integer((json_int_t)w->refused));
	json_object_set(o, "refused_paths", w->refused_paths);
	json_object_set_new(o, "replaced_since", json_boolean(w->epoch < w->past.at.epoch));
	return o;
}

static enum sr_status grant(struct wish *w, json_t *o, struct sr_err *err)
{
	struct sr_datastore *d = w->past.d;
	const char *path = json_string_value(json_object_get(o, "path"));
	enum sr_status rc = path ? sr_ds_place(&w->place, d, sr_bytes_of(path), err)
				 : sr_err_set(err, SR_E_DATA, "the body has a path");

	w->s = w->place.s;
	w->i = w->place.i;
	w->exact = json_is_true(json_object_get(o, "exact"));
	w->dry_run = json_is_true(json_object_get(o, "dry_run"));
	if (rc == SR_OK && !w->s)
		rc = sr_err_set(err, SR_E_DATA, "a path begins with the name of a store");
	if (rc == SR_OK)
		rc = find_moment(w, o, err);
	if (rc == SR_OK)
		rc = want_parents(w, err);
	w->parents = sr_leaves_count(w->leaves);
	if (rc == SR_OK)
		rc = sr_state_journal_then(w->past.state, w->epoch, w->seq, w->s->name, sr_buf_view(&w->place.path), on_then, w, err);
	if (rc == SR_OK)
		rc = find_outgrown(w, err);
	if (rc == SR_OK)
		rc = demand_there(w, err);
	return rc == SR_OK && !w->dry_run ? bring_back(w, err) : rc;
}

static enum sr_status restore(struct sr_datastore *d, struct sr_request *req, json_t *o, struct sr_err *err)
{
	struct wish w = {.leaves = sr_leaves_new(d->config->datastore_state_directory),
			 .outgrown = sr_leaves_new(d->config->datastore_state_directory),
			 .tables = json_object(),
			 .lost_paths = json_array(),
			 .refused_paths = json_array()};
	enum sr_status rc = sr_ds_past_open(&w.past, d, err);

	if (rc == SR_OK)
		rc = grant(&w, o, err);
	if (rc == SR_OK)
		sr_ds_reply_json(req, 200, result_json(&w));
	sr_ds_past_close(&w.past);
	sr_leaves_free(w.leaves);
	sr_leaves_free(w.outgrown);
	free(w.growths);
	sr_ds_place_free(&w.place);
	sr_buf_free(&w.table);
	sr_buf_free(&w.parent);
	json_decref(w.tables);
	json_decref(w.lost_paths);
	json_decref(w.refused_paths);
	return rc;
}

enum sr_status sr_ds_admin_restore(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_buf body = {0};
	json_t *o = NULL;
	enum sr_status rc = sr_request_read_all(req, &body, MOST_BODY, err);

	if (rc == SR_OK) {
		o = json_loadb((const char *)body.at, body.len, JSON_REJECT_DUPLICATES, NULL);
		rc = json_is_object(o) ? restore(ctx, req, o, err) : sr_err_set(err, SR_E_DATA, "the body is a JSON object");
	}
	json_decref(o);
	sr_buf_free(&body);
	return rc;
}
