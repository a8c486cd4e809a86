/* commit.c - a push into the stores and state.db, as if it were one step (design section 7, "Datastore commit").
 *
 * Decide by the tree; let every store prepare, which compares with the disk; what is other than the tree says is scanned and decided anew.
 * Then intents, durable; the databases' commits; the files; and one state transaction with rows, journal, root and answer.  A crash in
 * between is finished by recover.c. */
#include "lib/datastore/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/replica/rot.h"

#define SHED_SHOWN 10 /* rows that are named in the log */

/* --- callbacks of an apply ---------------------------------------------------------------------------------------- */

static enum sr_verdict on_clash(void *ctx, size_t j, const struct sr_leaf *leaf, const struct sr_version *actual, struct sr_bytes record)
{
	struct sr_ds_apply *a = ctx;

	(void)j, (void)record;
	if (sr_rot_is(a->p->d->r, a->i, leaf->path, &leaf->expect, actual))
		return SR_RESET;
	a->p->parts[a->i].stale = true;
	return SR_KEEP;
}

static enum sr_verdict refuse(struct sr_ds_apply *a, size_t j, enum sr_refusal why)
{
	struct sr_ds_part *part = &a->p->parts[a->i];
	size_t k = part->index[j];

	part->fate[k] = SR_FATE_REFUSED;
	part->why[k] = (uint8_t)why;
	part->sticky[k] = true;
	a->kept_some = true;
	return SR_KEEP;
}

/* An operator is told why, in words (TAKEN). */
static void explain(struct sr_ds_apply *a, struct sr_bytes path, char *why)
{
	struct sr_ds_push *p = a->p;
	struct sr_ds_objection *o;

	if (!sr_ds_is_edit(p) || p->objections_n >= SR_DS_SHOWN) {
		free(why);
		return;
	}
	p->objections = sr_realloc(p->objections, (p->objections_n + 1) * sizeof(*p->objections));
	o = &p->objections[p->objections_n++];
	*o = (struct sr_ds_objection){.store = a->i, .why = why};
	sr_buf_bytes(&o->path, path);
}

/* The leaf at `path` is refused; `other` is the path of what is in its way, or empty when that is not known. */
static enum sr_verdict refuse_for(struct sr_ds_apply *a, size_t j, struct sr_bytes path, enum sr_refusal reason, struct sr_bytes other)
{
	const struct sr_replica_store *s = &a->p->d->r->stores[a->i];
	struct sr_buf text = {0};

	if (other.len) {
		sr_leaf_path_text(&text, s->name, s->kind, other);
		explain(a, path, sr_format("%s: %s", sr_ds_refusal_words(reason), sr_buf_text(&text)));
	}
	sr_buf_free(&text);
	return refuse(a, j, reason);
}

/* A foreign key that this leaf leaves without a parent.  A violation that the sender holds itself travels as it is; and where the disk is
 * not what the tree says, this attempt has nothing to say of it. */
static bool tolerated(const struct sr_ds_apply *a, const struct sr_leaf *leaf)
{
	return (leaf->flags & SR_LEAF_PARENTLESS) || a->p->parts[a->i].stale;
}

static struct sr_bytes table_of(struct sr_bytes path)
{
	const uint8_t *nul = memchr(path.at, 0, path.len);

	return sr_bytes(path.at, nul ? (size_t)(nul - path.at) : path.len);
}

/* By UNIQUE, in the same table; or a child of a row that is deleted or has another key now. */
static enum sr_verdict on_in_the_way(void *ctx, size_t j, const struct sr_leaf *leaf, struct sr_bytes path, const struct sr_version *actual,
				     struct sr_bytes record)
{
	bool child = leaf->to.kind == SR_KIND_NONE || !sr_bytes_eq(table_of(leaf->path), table_of(path));
	const struct sr_ds_apply *a = ctx;

	(void)record;
	if (sr_rot_is(a->p->d->r, a->i, path, &(struct sr_version){0}, actual))
		return SR_TAKE; /* a row that nobody made: its key has rotted */
	if (child && tolerated(ctx, leaf))
		return SR_KEEP;
	return refuse_for(ctx, j, leaf->path, child ? SR_REFUSED_DEPENDS : SR_REFUSED_UNIQUE, path);
}

static enum sr_verdict on_parentless(void *ctx, size_t j, const struct sr_leaf *leaf, struct sr_bytes parent)
{
	return tolerated(ctx, leaf) ? SR_TAKE : refuse_for(ctx, j, leaf->path, SR_REFUSED_DEPENDS, parent);
}

/* A CHECK or NOT NULL of the table here does not take the row; where it comes from there may be another, or none: all else goes on without it. */
static enum sr_verdict on_unfit(void *ctx, size_t j, const struct sr_leaf *leaf, const char *why)
{
	struct sr_ds_apply *a = ctx;

	if (!sr_ds_is_edit(a->p) && !*a->p->detail) {
		const struct sr_replica_store *s = &a->p->d->r->stores[a->i];
		struct sr_buf text = {0};

		sr_leaf_path_text(&text, s->name, s->kind, leaf->path);
		snprintf(a->p->detail, sizeof a->p->detail, "%.300s: %.200s", sr_buf_text(&text), why);
		sr_buf_free(&text);
	}
	explain(a, leaf->path, sr_strdup(why));
	return refuse(a, j, SR_REFUSED_PAUSED);
}

/* A push goes on without a row whose table is not here, and the answer says so.  What an operator asks for is done, or named. */
static void on_left_out(void *ctx, size_t j)
{
	struct sr_ds_apply *a = ctx;
	struct sr_ds_part *part = &a->p->parts[a->i];

	if (sr_ds_is_edit(a->p) && !part->stale && part->fate[part->index[j]] != SR_FATE_REFUSED)
		(void)refuse(a, j, SR_REFUSED_PAUSED);
}

static struct sr_loser loser_of(const struct sr_ds_apply *a, const struct sr_leaf *leaf, const struct sr_displaced *old)
{
	const struct sr_replica_store *s = &a->p->d->r->stores[a->i];

	return (struct sr_loser){.store = s->name,
				 .store_kind = s->kind,
				 .path = old->path,
				 .version = old->version,
				 .mtime_ns = old->mtime_ns,
				 .reason = old->expected ? "union" : "changed-while-applying",
				 .winner = leaf->to,
				 .beyond = !a->p->parts[a->i].index}; /* in recovery */
}

/* A row's old record stays readable for older roots; what a union replaces is archived when all stores have prepared. */
static enum sr_status displaced_row(struct sr_ds_apply *a, const struct sr_leaf *leaf, const struct sr_displaced *old, struct sr_err *err)
{
	struct sr_datastore *d = a->p->d;
	struct sr_ds_part *part = &a->p->parts[a->i];
	/* A leaf's record is that of its `to`: the winner stands in `expect`. */
	struct sr_leaf loser = {.path = old->path, .expect = leaf->to, .to = old->version, .record = old->record};
	struct sr_replaced kept = {
		.hash = old->version.hash, .record = old->record, .epoch = d->at.epoch, .seq = d->at.seq + 1, .at_ms = sr_now_ms()};
	enum sr_status rc = sr_state_replaced_add(d->r->state, &kept, err);

	if (rc != SR_OK || (old->expected && !(leaf->flags & SR_LEAF_UNION)))
		return rc;
	if (!part->losers)
		part->losers = sr_leaves_new(d->config->datastore_state_directory);
	loser.flags = old->expected ? SR_LEAF_UNION : 0;
	return sr_leaves_add(part->losers, &loser, err);
}

/* Linked, not moved: in staging it is evidence until the intents are dropped. */
static void keep_file(struct sr_ds_apply *a, const struct sr_displaced *old)
{
	int fd = sr_ds_kept_dir(a->p->d, a->i, true);
	char name[SR_HASH_TEXT];

	if (fd < 0)
		return; /* older roots have one file less */
	sr_hash_text(name, &old->version.hash);
	if (linkat(old->dirfd, old->name, fd, name, 0) && errno != EEXIST)
		sr_debug("%s is not kept for older roots: %s", name, strerror(errno));
	close(fd);
	sr_buf_add(&a->p->parts[a->i].kept, old->version.hash.b, SR_HASH_LEN);
	sr_buf_be64(&a->p->parts[a->i].kept, old->version.bytes);
}

static enum sr_status on_displaced(void *ctx, size_t j, const struct sr_leaf *leaf, const struct sr_displaced *old, struct sr_err *err)
{
	struct sr_ds_apply *a = ctx;
	struct sr_loser loser = loser_of(a, leaf, old);

	if (old->version.kind == SR_KIND_ROW)
		return displaced_row(a, leaf, old, err);
	if (old->version.kind == SR_KIND_FILE) {
		keep_file(a, old);
		a->p->parts[a->i].mtime_ns[j] = old->mtime_ns;
	}
	if (old->expected && !(leaf->flags & SR_LEAF_UNION))
		return SR_OK;
	if (old->version.kind == SR_KIND_FILE)
		return sr_archive_file(a->p->d->r->archive, &loser, old->dirfd, old->name, err);
	return sr_archive_bare(a->p->d->r->archive, &loser, err);
}

static void on_shed(void *ctx, size_t j, const struct sr_leaf *leaf, struct sr_bytes path, const char *why)
{
	struct sr_ds_apply *a = ctx;
	struct sr_ds_part *part = &a->p->parts[a->i];
	const struct sr_replica_store *s = &a->p->d->r->stores[a->i];
	struct sr_buf text = {0};
	char *was;

	(void)j;
	if (part->shed_n++ >= SHED_SHOWN)
		return;
	was = sr_store_was(s->store, &leaf->expect.hash);
	sr_leaf_path_text(&text, s->name, s->kind, path);
	sr_buf_printf(&part->shed, "%s%s (%.200s; kept in %s)", part->shed.len ? ", " : "", sr_buf_text(&text), why, was);
	sr_buf_free(&text);
	free(was);
}

static void say_shed(struct sr_ds_part *part)
{
	if (part->shed_n)
		sr_warn("%zu rows are not taken by the new form of their table, and stay out of it until a webserver brings them in theirs: %s%s", part->shed_n,
			sr_buf_text(&part->shed), part->shed_n > SHED_SHOWN ? ", ..." : "");
}

static enum sr_verdict on_redefine(void *ctx, struct sr_bytes table, const struct sr_hash *definition)
{
	struct sr_ds_apply *a = ctx;

	return !sr_ds_is_edit(a->p) && sr_ds_is_defined_so(a->p->d, a->i, table, definition) ? SR_TAKE : SR_KEEP;
}

static void on_redefined(void *ctx, struct sr_bytes table, const char *why)
{
	struct sr_ds_apply *a = ctx;
	const struct sr_replica_store *s = &a->p->d->r->stores[a->i];
	struct sr_buf path = {0};

	sr_leaf_path_text(&path, s->name, s->kind, table);
	if (why)
		sr_warn("%s: all webservers have other constraints than it has here, and it stays as it was, for it holds what they do not take: %s",
			sr_buf_text(&path), why);
	else
		sr_info("%s: has the constraints now that all webservers have", sr_buf_text(&path));
	sr_buf_free(&path);
}

static void on_applied(void *ctx, size_t j, const struct sr_leaf *leaf, uint64_t signature)
{
	struct sr_ds_apply *a = ctx;
	struct sr_ds_part *part = &a->p->parts[a->i];

	(void)leaf;
	part->applied[j] = true;
	part->signature[j] = signature;
}

void sr_ds_apply_ops(struct sr_ds_apply *a, struct sr_apply_ops *ops)
{
	*ops = (struct sr_apply_ops){
		.ctx = a, .clash = on_clash, .in_the_way = on_in_the_way, .parentless = on_parentless,
		.unfit = on_unfit, .shed = on_shed, .redefine = on_redefine, .redefined = on_redefined, .left_out = on_left_out, .displaced = on_displaced, .applied = on_applied};
	if (!sr_ds_is_edit(a->p)) {
		ops->most_equals.rows = a->p->d->config->max_leaves;
		ops->most_equals.bytes = a->p->d->config->max_push_bytes;
	}
}

/* --- what is to be applied ---------------------------------------------------------------------------------------- */

/* As of when the datastore will have it: an ordinary push's, and one that the sender knows to have edited: 0, 0.  The lowest is not that.
 * What wins though the sender has it since a point of our own past is an edit of what is here now.  Where nothing is, it is of its own time: another
 * webserver may have a later one. */
static void date(const struct sr_datastore *d, size_t i, struct sr_leaf *leaf)
{
	sr_ds_bound_as_of(d, leaf);
	if (!(leaf->flags & SR_LEAF_UNION) || leaf->flags & SR_LEAF_EDITED) {
		leaf->epoch = leaf->seq = 0;
	} else if (leaf->expect.kind != SR_KIND_NONE && sr_ds_is_past(d, i, leaf->epoch, leaf->seq)) {
		leaf->epoch = d->at.epoch;
		leaf->seq = d->at.seq;
	} else if (!leaf->epoch && !leaf->seq) {
		leaf->seq = 1;
	}
}

/* Of a table that the sender has in another shape since they agreed on ours: it loses columns only when all agree. */
static void approve_table(struct sr_ds_push *p, size_t i, struct sr_leaf *leaf)
{
	if (leaf->to.kind != SR_KIND_TABLE)
		return;
	leaf->flags &= ~(uint32_t)SR_LEAF_APPROVED;
	if (!(leaf->flags & SR_LEAF_EDITED) || leaf->expect.kind != SR_KIND_TABLE)
		return;
	sr_ds_propose(p->d, i, leaf, &p->head.webserver);
	if (sr_ds_agreed(p->d, i, leaf))
		leaf->flags |= SR_LEAF_APPROVED;
}

static enum sr_status gather(struct sr_ds_push *p, size_t i, size_t *count, struct sr_err *err)
{
	struct sr_ds_part *part = &p->parts[i];
	const struct sr_replica_store *s = &p->d->r->stores[i];
	size_t n = part->leaves ? sr_leaves_count(part->leaves) : 0, m = 0;
	enum sr_status rc = SR_OK;

	sr_ds_part_reset(part);
	*count = 0;
	if (!n)
		return SR_OK;
	part->go = sr_leaves_new(p->d->config->datastore_state_directory);
	part->index = sr_alloc(n * sizeof(*part->index));
	for (size_t k = 0; k < n && rc == SR_OK; k++) {
		struct sr_leaf leaf;

		if (part->fate[k] == SR_FATE_REFUSED)
			continue;
		rc = sr_leaves_at(part->leaves, k, &leaf, err);
		if (rc == SR_OK && !sr_path_is_schema(s->kind, leaf.path))
			rc = sr_store_get(p->d->r->nodes, s->kind, &s->map, leaf.path, &leaf.expect, err);
		else if (rc == SR_OK)
			rc = sr_ds_note_definitions(p->d, i, &p->head.webserver, leaf.record, err);
		date(p->d, i, &leaf);
		approve_table(p, i, &leaf);
		part->index[m++] = k;
		*count += part->fate[k] == SR_FATE_GO;
		if (rc == SR_OK)
			rc = sr_leaves_add(part->go, &leaf, err);
	}
	part->applied = sr_alloc(m + 1);
	part->signature = sr_alloc((m + 1) * sizeof(*part->signature));
	part->mtime_ns = sr_alloc((m + 1) * sizeof(*part->mtime_ns));
	return rc;
}

/* --- the note ------------------------------------------------------------------------------------------------------ */

void sr_ds_note_print(struct sr_buf *out, struct sr_ds_push *p)
{
	struct sr_buf part = {0};

	sr_push_head_print(&part, &p->head);
	sr_buf_string(out, sr_buf_view(&part));
	sr_buf_clear(&part);
	sr_push_answer_print(&part, &p->answer);
	sr_buf_string(out, sr_buf_view(&part));
	sr_buf_free(&part);
}

enum sr_status sr_ds_note_parse(struct sr_bytes note, struct sr_ds_push *p, struct sr_err *err)
{
	struct sr_reader in = sr_reader(note);
	struct sr_bytes head = sr_read_string(&in), answer = sr_read_string(&in);
	char *text;
	enum sr_status rc;

	if (!sr_read_done(&in))
		return sr_err_set(err, SR_E_DATA, "the note of an intent is malformed");
	text = sr_text(head);
	rc = sr_push_head_parse(text, &p->head, err);
	free(text);
	sr_push_answer_free(&p->answer);
	return rc == SR_OK ? sr_push_answer_parse(answer, &p->answer, err) : rc;
}

/* --- preparing ----------------------------------------------------------------------------------------------------- */

static void roll_back(struct sr_ds_push *p)
{
	for (size_t i = 0; i < p->d->r->n; i++) {
		if (p->parts[i].prepared)
			sr_apply_rollback(p->d->r->stores[i].store);
		p->parts[i].prepared = false;
	}
}

/* A fault that is this store's, or of what was sent for it: the others of the push go on. */
static bool is_of_store(enum sr_status rc)
{
	return rc == SR_E_DATA || rc == SR_E_CHANGED || rc == SR_E_BUSY || rc == SR_E_NOINPUT || rc == SR_E_NOTFOUND ||
	       rc == SR_E_LIMIT || rc == SR_E_ROOM;
}

/* The rows of one database go together or not at all. */
static void refuse_part(struct sr_ds_apply *a, const struct sr_err *err)
{
	struct sr_ds_part *part = &a->p->parts[a->i];

	sr_warn("a push is refused for its part in store %s: %s", a->p->d->r->stores[a->i].name, err->text);
	snprintf(a->p->detail, sizeof a->p->detail, "%.500s", err->text);
	for (size_t k = 0; k < sr_leaves_count(part->leaves); k++) {
		if (part->fate[k] != SR_FATE_REFUSED)
			part->why[k] = SR_REFUSED_PAUSED;
		part->fate[k] = SR_FATE_REFUSED;
		part->sticky[k] = true;
	}
	a->kept_some = true;
}

static uint64_t most_of(const struct sr_replica_store *s, const struct sr_leaf *leaf, const struct sr_version *loses, uint64_t size,
			const struct sr_bytes *record)
{
	return sr_archive_most(&(struct sr_loser){.store = s->name, .store_kind = s->kind, .path = leaf->path, .version = *loses}, size, record);
}

/* Is there room in the archive for all that loses to part i?  Rows have been named by now, files are displaced with the commit. */
static enum sr_status room_for_losers(struct sr_ds_push *p, size_t i, struct sr_err *err)
{
	const struct sr_replica_store *s = &p->d->r->stores[i];
	struct sr_ds_part *part = &p->parts[i];
	enum sr_status rc = SR_OK;
	struct sr_leaf leaf;
	uint64_t most = 0;

	for (size_t k = 0; rc == SR_OK && part->losers && k < sr_leaves_count(part->losers); k++) {
		rc = sr_leaves_at(part->losers, k, &leaf, err);
		if (rc == SR_OK)
			most += most_of(s, &leaf, &leaf.to, leaf.record.len, &leaf.record);
	}
	for (size_t j = 0; rc == SR_OK && s->kind == SR_KIND_FILES && j < sr_leaves_count(part->go); j++) {
		rc = sr_leaves_at(part->go, j, &leaf, err);
		if (rc == SR_OK && sr_ds_goes(part, j) && (leaf.flags & SR_LEAF_UNION) && leaf.expect.kind != SR_KIND_NONE)
			most += most_of(s, &leaf, &leaf.expect, leaf.expect.bytes, NULL);
	}
	if (rc == SR_OK && most)
		rc = sr_archive_room(p->d->r->archive, p->archiving + most, err);
	if (rc == SR_OK)
		p->archiving += most;
	return rc;
}

static enum sr_status prepare_part(struct sr_ds_push *p, struct sr_ds_apply *a, const struct sr_apply_ops *ops, struct sr_err *err)
{
	struct sr_datastore *d = p->d;
	struct sr_ds_part *part = &p->parts[a->i];
	enum sr_status rc;

	part->marker = (struct sr_marker){
		.id = sr_uuid_random(), .node = d->r->node, .instance = d->at.instance, .epoch = d->at.epoch, .seq = d->at.seq + 1};
	rc = sr_apply_prepare(d->r->stores[a->i].store, part->go, &part->marker, ops, err);
	part->prepared = rc == SR_OK;
	if (rc == SR_OK)
		rc = room_for_losers(p, a->i, err);
	if (rc != SR_OK && is_of_store(rc)) {
		sr_apply_rollback(d->r->stores[a->i].store);
		part->prepared = false;
		refuse_part(a, err);
		return SR_OK;
	}
	return rc == SR_OK ? rc : sr_err_context(err, "store %s", d->r->stores[a->i].name);
}

/* Losing rows, before anything is committed. */
static enum sr_status archive_rows(struct sr_ds_push *p, size_t i, struct sr_err *err)
{
	const struct sr_replica_store *s = &p->d->r->stores[i];
	struct sr_leaves *losers = p->parts[i].losers;
	enum sr_status rc = SR_OK;

	for (size_t k = 0; losers && k < sr_leaves_count(losers) && rc == SR_OK; k++) {
		struct sr_loser loser = {.store = s->name, .store_kind = s->kind};
		struct sr_leaf leaf;

		rc = sr_leaves_at(losers, k, &leaf, err);
		loser.path = leaf.path;
		loser.version = leaf.to;
		loser.winner = leaf.expect;
		loser.reason = leaf.flags & SR_LEAF_UNION ? "union" : "changed-while-applying";
		if (rc == SR_OK)
			rc = sr_archive_record(p->d->r->archive, &loser, leaf.record, err);
	}
	return rc;
}

/* Only what is to change: leaves that are there already need no evidence. */
static enum sr_status intend(struct sr_ds_push *p, size_t i, struct sr_bytes note, struct sr_err *err)
{
	struct sr_ds_part *part = &p->parts[i];
	struct sr_intent_head head = {.marker = part->marker.id, .epoch = p->d->at.epoch, .seq = p->d->at.seq, .note = note};
	struct sr_leaves *going = sr_leaves_new(p->d->config->datastore_state_directory);
	struct sr_store_row row = p->d->r->stores[i].row;
	enum sr_status rc = SR_OK;

	for (size_t j = 0; j < sr_leaves_count(part->go) && rc == SR_OK; j++) {
		struct sr_leaf leaf;

		rc = sr_leaves_at(part->go, j, &leaf, err);
		leaf.record = sr_bytes(NULL, 0);
		if (rc == SR_OK && sr_ds_goes(part, j) && !sr_path_is_schema(p->d->r->stores[i].kind, leaf.path))
			rc = sr_leaves_add(going, &leaf, err);
	}
	row.pending = part->marker.id;
	if (rc == SR_OK)
		rc = sr_state_store_put(p->d->r->state, &row, err);
	if (rc == SR_OK)
		rc = sr_state_intend(p->d->r->state, &row, &head, going, err);
	sr_leaves_free(going);
	return rc;
}

/* Every store compares with the disk.  *again: something is other than the tree says, or stands in the way. */
static enum sr_status compare_all(struct sr_ds_push *p, struct sr_ds_apply *applies, struct sr_apply_ops *ops, bool *again,
				  struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	p->archiving = 0;
	for (size_t i = 0; i < p->d->r->n && rc == SR_OK; i++) {
		struct sr_ds_part *part = &p->parts[i];
		size_t going;

		applies[i] = (struct sr_ds_apply){.p = p, .i = i};
		sr_ds_apply_ops(&applies[i], &ops[i]);
		rc = gather(p, i, &going, err);
		if (rc != SR_OK || !part->go || !sr_leaves_count(part->go))
			continue;
		rc = prepare_part(p, &applies[i], &ops[i], err);
		*again |= part->stale || applies[i].kept_some;
		if (rc == SR_OK && !going && !*again) { /* it was only looked at */
			sr_apply_rollback(p->d->r->stores[i].store);
			part->prepared = false;
		}
	}
	return rc;
}

static enum sr_status intend_all(struct sr_ds_push *p, struct sr_err *err)
{
	struct sr_buf note = {0};
	enum sr_status rc = sr_ds_answer_draft(p, SR_VERDICT_OK, err);

	sr_ds_note_print(&note, p);
	for (size_t i = 0; i < p->d->r->n && rc == SR_OK; i++)
		rc = archive_rows(p, i, err);
	for (size_t i = 0; i < p->d->r->n && rc == SR_OK; i++)
		if (p->parts[i].prepared)
			rc = sr_stage_flush(p->d->r->stores[i].store, err);
	for (size_t i = 0; i < p->d->r->n && rc == SR_OK; i++)
		if (p->parts[i].prepared)
			rc = intend(p, i, sr_buf_view(&note), err);
	sr_buf_free(&note);
	return rc;
}

/* --- carrying out -------------------------------------------------------------------------------------------------- */

/* A COMMIT that met an I/O error may have happened all the same, or lie in the write-ahead log for whoever opens it after a crash.  The
 * marker tells which, and is written once more, over what may be there.  An error: nobody knows before the next start. */
static enum sr_status make_sure(struct sr_ds_push *p, size_t i, struct sr_err *err)
{
	const struct sr_replica_store *s = &p->d->r->stores[i];
	struct sr_ds_apply a = {.p = p, .i = i};
	struct sr_apply_ops ops;
	struct sr_marker there;
	char why[256];
	bool any;
	enum sr_status rc;

	sr_ds_apply_ops(&a, &ops);
	rc = sr_apply_recover(s->store, p->parts[i].go, &p->parts[i].marker, &ops, err);
	if (rc == SR_OK && sr_store_look(s->store, &there, &any, why) != SR_PRESENT)
		rc = sr_err_set(err, SR_E_IO, "%s", why);
	if (rc == SR_OK)
		rc = sr_store_mark(s->store, &there, err);
	return rc == SR_OK ? rc : sr_err_context(err, "store %s: a commit that failed", s->name);
}

static void commit_part(struct sr_ds_push *p, size_t i, struct sr_err *first)
{
	const struct sr_replica_store *s = &p->d->r->stores[i];
	struct sr_ds_part *part = &p->parts[i];
	struct sr_err err = {0};
	enum sr_status rc = sr_apply_commit(s->store, &err);

	if (rc != SR_OK) {
		sr_warn("store %s: %s", s->name, err.text);
		if (first->code == SR_OK)
			*first = err;
	}
	if (rc == SR_E_IO && s->kind == SR_KIND_DATABASE && make_sure(p, i, &err) != SR_OK) {
		(void)sr_ds_break(p->d, &err);
		*first = err;
	}
	part->marked = rc == SR_OK || rc == SR_E_CHANGED; /* that is said when all is done */
	part->committed = rc == SR_OK && s->kind == SR_KIND_DATABASE; /* its marker is in, whatever else */
	if (part->committed)
		say_shed(part);
	for (size_t j = 0; j < sr_leaves_count(part->go); j++)
		part->committed |= part->applied[j];
	part->marked |= part->committed && s->kind == SR_KIND_DATABASE;
	/* Of files some may be in their places, and none is called applied: that takes the evidence in staging. */
	if (s->kind == SR_KIND_FILES && !part->marked && !part->committed)
		(void)sr_ds_break(p->d, &err);
}

/* Nothing went in: as if it had not been tried. */
static enum sr_status forget_intents(struct sr_ds_push *p, struct sr_err *err)
{
	struct sr_replica *r = p->d->r;
	struct sr_err failed = {0};
	enum sr_status rc = sr_state_begin(r->state, &failed);

	for (size_t i = 0; i < r->n && rc == SR_OK; i++)
		if (p->parts[i].prepared)
			rc = sr_state_intents_drop(r->state, &r->stores[i].row, &failed);
	if (rc == SR_OK)
		rc = sr_state_commit(r->state, &failed);
	else
		sr_state_rollback(r->state);
	if (rc != SR_OK)
		sr_ds_break(p->d, &failed);
	return err->code;
}

static enum sr_status carry_out(struct sr_ds_push *p, struct sr_err *err)
{
	static const uint8_t order[] = {SR_KIND_DATABASE, SR_KIND_FILES};
	struct sr_replica *r = p->d->r;
	struct sr_err first = {0};
	bool any = false, prepared = false;

	for (size_t i = 0; i < r->n; i++)
		if (p->parts[i].prepared)
			r->stores[i].row.pending = p->parts[i].marker.id; /* as state.db has it by now */
	for (size_t pass = 0; pass < sizeof(order); pass++)
		for (size_t i = 0; i < r->n; i++)
			if (p->parts[i].prepared && r->stores[i].kind == order[pass]) {
				commit_part(p, i, &first);
				if (sr_datastore_broken(p->d, NULL)) {
					*err = first; /* the intents stay */
					return err->code;
				}
				any |= p->parts[i].committed;
				prepared = true;
			}
	if (prepared && !any && first.code != SR_OK) {
		*err = first;
		return forget_intents(p, err);
	}
	return sr_ds_record(p, err);
}

/* --- all of it ------------------------------------------------------------------------------------------------------ */

static enum sr_status attempt(struct sr_ds_push *p, bool *again, struct sr_err *err)
{
	struct sr_replica *r = p->d->r;
	struct sr_ds_apply *applies = sr_alloc((r->n + 1) * sizeof(*applies));
	struct sr_apply_ops *ops = sr_alloc((r->n + 1) * sizeof(*ops));
	enum sr_status rc = sr_state_begin(r->state, err); /* records that are replaced, and the intents */

	*again = false;
	if (rc == SR_OK) {
		rc = compare_all(p, applies, ops, again, err);
		if (rc == SR_OK && !*again)
			rc = intend_all(p, err);
		if (rc == SR_OK && !*again)
			rc = sr_state_commit(r->state, err);
		if (rc != SR_OK || *again) {
			sr_state_rollback(r->state);
			roll_back(p);
		}
	}
	if (rc == SR_OK && !*again)
		rc = carry_out(p, err);
	free(ops);
	free(applies);
	return rc;
}

/* Commit what was changed directly, so that the tree is what the disk says. */
static enum sr_status scan_stale(struct sr_ds_push *p, struct sr_err *err)
{
	struct sr_err fault;
	bool any = false;

	for (size_t i = 0; i < p->d->r->n; i++) {
		if (!p->parts[i].stale)
			continue;
		p->parts[i].stale = false;
		any = true;
		if (sr_ds_scan(p->d, i, &fault) != SR_OK && sr_datastore_broken(p->d, NULL)) {
			if (err)
				*err = fault;
			return fault.code;
		} /* any other fault is noted, and the store's leaves are refused */
	}
	if (any)
		sr_ds_publish(p->d);
	return SR_OK;
}

static void refuse_the_rest(struct sr_ds_push *p)
{
	for (size_t i = 0; i < p->d->r->n; i++)
		for (size_t k = 0; p->parts[i].leaves && k < sr_leaves_count(p->parts[i].leaves); k++)
			if (p->parts[i].fate[k] != SR_FATE_REFUSED) {
				p->parts[i].fate[k] = SR_FATE_REFUSED;
				p->parts[i].why[k] = SR_REFUSED_CHANGED;
			}
}

enum sr_status sr_ds_commit(struct sr_ds_push *p, struct sr_err *err)
{
	char why[256];
	bool again = true;
	enum sr_status rc = sr_ds_chain(p, err);

	if (rc != SR_OK || p->status)
		return rc;
	if (!sr_datastore_ready(p->d, why))
		return sr_err_set(err, SR_E_UNAVAILABLE, "%s", why);
	rc = sr_ds_room(p->d, p->leaves, err);
	p->no_room = rc != SR_OK;
	if (p->no_room)
		return rc;
	for (int round = 0; round < SR_DS_ROUNDS; round++) {
		size_t refused = 0;

		rc = sr_ds_decide(p, &refused, err);
		if (rc == SR_OK && refused && p->head.try < SR_DS_TRIES)
			return sr_ds_refuse(p, err);
		if (rc == SR_OK)
			rc = attempt(p, &again, err);
		if (rc != SR_OK)
			return rc;
		rc = scan_stale(p, err);
		if (rc != SR_OK || !again)
			return SR_OK; /* committed: what the scan has to say is its own business */
	}
	refuse_the_rest(p);
	return sr_ds_refuse(p, err);
}
