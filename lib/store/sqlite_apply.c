/* sqlite_apply.c - leaves into a database, in one transaction with the marker.
 *
 * Before the lock, records are checked, and bags indexed.  Then, under BEGIN IMMEDIATE: tables are made (sqlite_tables.c); every row is
 * read again, judged, and deleted, updated in place or inserted (sqlite_write.c; of rows without a key, sqlite_equals.c); what a UNIQUE
 * constraint stops waits until all are judged (sqlite_unique.c); foreign keys are looked at when all is written (sqlite_orphans.c).
 * Triggers and foreign keys are off (sqlite.c); full-text indexes follow (sqlite_fts.c).
 *
 * A leaf that is left out (SR_KEEP) is noted beside the marker, so that recovery does not take it for applied. */
#include "lib/store/sqlite_apply.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void apply_free(struct sr_sql_apply *a)
{
	sr_buf_free(&a->schema);
	sr_buf_free(&a->old);
	sr_buf_free(&a->kept);
	sr_buf_free(&a->gone);
	sr_buf_free(&a->again);
	sr_buf_free(&a->made);
	for (size_t i = 0; i < a->pauses; i++)
		free(a->paused[i]);
	free(a->paused);
	free(a->state);
	free(a->rowid);
	free(a->resets);
	sr_sql_bags_forget(&a->s->main);
	free(a);
}

/* --- leaves ----------------------------------------------------------------------------------------------------- */

bool sr_sql_leaf_waits(uint8_t state)
{
	return state == LEAF_UPDATE || state == LEAF_INSERT || state == LEAF_UNSEATED;
}

bool sr_sql_leaf_applied(uint8_t state)
{
	return state == LEAF_APPLIED || state == LEAF_SAME;
}

void sr_sql_apply_set(struct sr_sql_apply *a, size_t i, enum leaf_state state)
{
	a->waiting -= sr_sql_leaf_waits(a->state[i]);
	a->waiting += sr_sql_leaf_waits((uint8_t)state);
	a->state[i] = (uint8_t)state;
	if (state != LEAF_KEPT)
		return;
	a->clean = false;
	if (a->ops->left_out)
		a->ops->left_out(a->ops->ctx, i);
}

enum sr_status sr_sql_apply_fault(struct sr_sql_apply *a, size_t i, struct sr_err *err)
{
	struct sr_buf text = {0};
	struct sr_leaf leaf;
	enum sr_status st;

	if (sr_leaves_at(a->leaves, i, &leaf, NULL) != SR_OK)
		return err ? err->code : SR_E_IO;
	sr_leaf_path_text(&text, a->s->st.name, SR_KIND_DATABASE, leaf.path);
	st = sr_err_context(err, "%.300s", sr_buf_text(&text));
	sr_buf_free(&text);
	return st;
}

static bool paused(const struct sr_sql_apply *a, struct sr_bytes table)
{
	for (size_t i = 0; i < a->pauses; i++)
		if (sr_bytes_eq(sr_bytes_of(a->paused[i]), table))
			return true;
	return false;
}

struct sr_sql_table *sr_sql_apply_table(struct sr_sql_apply *a, const struct sr_leaf *leaf, struct sr_bytes *key)
{
	struct sr_bytes name;
	struct sr_sql_table *t;

	if (!sr_sql_path_split(leaf->path, &name, key) || paused(a, name))
		return NULL;
	t = sr_sql_table(&a->s->main, name);
	return t && t->synced ? t : NULL;
}

enum sr_status sr_sql_apply_find(struct sr_sql_apply *a, struct sr_bytes path, size_t *out, struct sr_err *err)
{
	struct sr_leaf leaf;

	return sr_leaves_find(a->leaves, path, out, &leaf, err);
}

/* --- judging ---------------------------------------------------------------------------------------------------- */

/* Is the row whose columns stand in sql->columns called so? */
static bool is_called(struct sr_sql *sql, const struct sr_sql_table *t, struct sr_bytes key)
{
	if (sr_key_is_bag(key))
		return sr_sql_in_bag(sql, t); /* its hash was looked at already */
	return sr_sql_name(sql, t) && sr_bytes_eq(sr_buf_view(&sql->key), key);
}

/* A leaf whose record is not what its hash and its path say must not get near a table. */
static enum sr_status check_record(struct sr_sql_apply *a, const struct sr_leaf *leaf, const struct sr_sql_table *t, struct sr_bytes key,
				   struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	enum sr_status st;

	if (!sr_leaf_record_is(leaf, a->s->st.key))
		return sr_err_set(err, SR_E_DATA, "the record is not that of its hash");
	st = sr_sql_spread(sql, t, leaf->record, err);
	if (st == SR_OK && !is_called(sql, t, key))
		st = sr_err_set(err, SR_E_DATA, "the record has another key than its name");
	return st;
}

enum sr_verdict sr_sql_apply_judge(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, const struct sr_version *actual)
{
	if (sr_version_eq(actual, &leaf->expect) ||
	    (a->grown && sr_sql_is_grown(&a->s->main, a->s->st.key, leaf->path, sr_buf_view(&a->old), &leaf->expect)))
		return SR_TAKE;
	return a->ops->clash ? a->ops->clash(a->ops->ctx, i, leaf, actual, sr_buf_view(&a->old)) : SR_KEEP;
}

/* Before there is a lock: the records, by the schema as it was seen last.  Should it be another under the lock, judge_row checks again. */
static enum sr_status check_records(struct sr_sql_apply *a, struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	enum sr_status st = SR_OK;

	if (!sql->schema)
		return SR_OK;
	a->checked = sql->schema->version;
	for (size_t i = 0; st == SR_OK && i < a->n; i++) {
		struct sr_leaf leaf;
		struct sr_bytes key;
		struct sr_sql_table *t;

		st = sr_leaves_at(a->leaves, i, &leaf, err);
		t = st == SR_OK && leaf.to.kind == SR_KIND_ROW ? sr_sql_apply_table(a, &leaf, &key) : NULL;
		if (!t)
			continue;
		if (check_record(a, &leaf, t, key, NULL) == SR_OK) /* if not, it is told under the lock */
			a->state[i] = LEAF_CHECKED;
	}
	return st;
}

/* What is there was written since the leaf's row was merged: it is merged into that, under the lock, where nothing can come between any more.  *done:
 * or it is left alone. */
static enum sr_status merge_again(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_sql_table *t, struct sr_bytes key,
				  const struct sr_version *actual, bool *done, struct sr_err *err)
{
	struct sr_leaf now = *leaf;
	struct sr_buf record = {0};
	enum sr_status st = SR_OK;

	*done = (leaf->flags & SR_LEAF_MERGED) && leaf->to.kind == SR_KIND_ROW && actual->kind == SR_KIND_ROW && a->ops->merge_again &&
		a->ops->merge_again(a->ops->ctx, i, leaf, actual, sr_buf_view(&a->old), &record);
	if (*done) {
		now.record = sr_buf_view(&record);
		now.expect = *actual;
		now.to.bytes = record.len;
		sr_hash_of(&now.to.hash, a->s->st.key, now.record);
		st = check_record(a, &now, t, key, err);
		sr_sql_apply_set(a, i, LEAF_UPDATE);
		if (st == SR_OK)
			st = sr_sql_apply_write(a, i, &now, t, key, actual, err);
		*done = a->state[i] == LEAF_APPLIED;
		a->clean = false;
	}
	sr_buf_free(&record);
	return st;
}

/* Where all tables are new, a row of this name can only be this leaf's. */
static enum sr_status nothing_there(struct sr_sql_apply *a, struct sr_version *actual)
{
	sr_buf_clear(&a->old);
	*actual = (struct sr_version){.kind = SR_KIND_NONE};
	return SR_OK;
}

static enum sr_status judge_row(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct sr_bytes key;
	struct sr_sql_table *t = sr_sql_apply_table(a, leaf, &key);
	struct sr_version actual;
	enum sr_status st;

	if (leaf->to.kind != SR_KIND_ROW && leaf->to.kind != SR_KIND_NONE)
		return sr_err_set(err, SR_E_DATA, "not a row");
	if (!t) { /* the table is not here, or not as the sender knows it: for the next scan to report */
		sr_sql_apply_set(a, i, LEAF_KEPT);
		return SR_OK;
	}
	if (leaf->to.kind == SR_KIND_ROW && (a->state[i] != LEAF_CHECKED || a->checked != a->s->main.schema->version)) {
		st = check_record(a, leaf, t, key, err);
		if (st != SR_OK)
			return st;
	}
	if (sr_key_is_bag(key))
		return sr_sql_equals_judge(a, i, leaf, t, key, err);
	st = a->blank ? nothing_there(a, &actual) : sr_sql_apply_read(a, t, key, &actual, err);
	if (st != SR_OK)
		return st;
	if (sr_version_eq(&actual, &leaf->to)) {
		sr_sql_apply_set(a, i, LEAF_SAME);
		return SR_OK;
	}
	if (sr_sql_apply_judge(a, i, leaf, &actual) == SR_KEEP) {
		bool done;

		st = merge_again(a, i, leaf, t, key, &actual, &done, err);
		if (st == SR_OK && !done)
			sr_sql_apply_set(a, i, LEAF_KEPT);
		return st;
	}
	if (leaf->to.kind == SR_KIND_NONE) {
		sr_sql_apply_set(a, i, LEAF_APPLIED);
		return sr_sql_apply_remove(a, i, leaf, t, key, &actual, err);
	}
	sr_sql_apply_set(a, i, actual.kind == SR_KIND_ROW ? LEAF_UPDATE : LEAF_INSERT);
	return sr_sql_apply_write(a, i, leaf, t, key, &actual, err);
}

static enum sr_status judge(struct sr_sql_apply *a, size_t i, struct sr_err *err)
{
	struct sr_leaf leaf;
	enum sr_status st = sr_leaves_at(a->leaves, i, &leaf, err);

	if (st != SR_OK || (a->state[i] != LEAF_NEW && a->state[i] != LEAF_CHECKED))
		return st;
	st = judge_row(a, i, &leaf, err);
	return st == SR_OK ? SR_OK : sr_sql_apply_fault(a, i, err);
}

/* --- the transaction -------------------------------------------------------------------------------------------- */

static enum sr_status begin(struct sr_sql_apply *a, struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	int64_t tables = 1;
	enum sr_status st = sr_sql_main(a->s, err);

	if (st == SR_OK)
		st = sr_sql_apply_schema(a, err);
	if (st == SR_OK)
		st = check_records(a, err);
	if (st == SR_OK && a->has_schema)
		st = sr_sql_int(sql, "SELECT count(*) FROM sqlite_master", &tables, err);
	a->first = !tables;
	if (st == SR_OK && a->first)
		st = sr_sql_schema_encoding(sql, sr_buf_view(&a->schema), err);
	if (st == SR_OK && (a->ops->heals || a->s->rots))
		sqlite3_db_release_memory(sql->db);
	if (st == SR_OK)
		st = sr_sql_equals_index(a, err);
	if (st == SR_OK)
		st = sr_sql_exec(sql, SR_SQL_LARGE_CACHE, err); /* what does not fit is written before the commit: in a rollback journal's mode no reader may be there then */
	if (st == SR_OK)
		st = sr_sql_begin(sql, &a->s->st, err);
	a->s->locked_at = sr_ticks_ms();
	if (st == SR_OK)
		st = sr_sql_schema(sql, &a->s->st, err);
	return st == SR_OK ? sr_sql_bags_doubt(sql, err) : st;
}

/* Which may say otherwise than the rows: where a value has rotted in one of both. */
static enum sr_status reindex(struct sr_sql_apply *a, struct sr_err *err)
{
	enum sr_status st = a->ops->reindexes && !a->n ? sr_sql_exec(&a->s->main, "REINDEX", err) : SR_OK;

	for (size_t i = 0; st == SR_OK && a->ops->reindexes && i < a->n; i++) {
		struct sr_bytes table, key;
		struct sr_leaf leaf;
		struct sr_sql_table *t;
		struct sr_buf sql = {0};

		st = sr_leaves_at(a->leaves, i, &leaf, err);
		t = st == SR_OK && sr_sql_path_split(leaf.path, &table, &key) ? sr_sql_table(&a->s->main, table) : NULL;
		if (!t)
			continue;
		sr_buf_printf(&sql, "REINDEX main.");
		sr_sql_add_name(&sql, t->name);
		st = sr_sql_exec(&a->s->main, sr_buf_text(&sql), err);
		sr_buf_free(&sql);
	}
	return st;
}

static enum sr_status note_kept(struct sr_sql_apply *a, struct sr_err *err)
{
	enum sr_status st = SR_OK;

	for (size_t i = 0; st == SR_OK && i < a->n; i++) {
		struct sr_leaf leaf;
		struct sr_hash h;

		if (a->state[i] != LEAF_KEPT)
			continue;
		st = sr_leaves_at(a->leaves, i, &leaf, err);
		if (st != SR_OK)
			return st;
		sr_hash_of(&h, a->s->st.key, leaf.path);
		sr_buf_add(&a->kept, h.b, sizeof h.b);
	}
	return st;
}

static enum sr_status write_all(struct sr_sql_apply *a, struct sr_err *err)
{
	enum sr_status st = sr_sql_apply_create(a, err);

	if (st == SR_OK)
		st = sr_sql_apply_judge_tables(a, err);
	if (st == SR_OK && !a->fills)
		st = sr_sql_fts_begin(&a->s->main, err);
	for (size_t i = 0; st == SR_OK && i < a->n; i++)
		st = judge(a, i, err);
	if (st == SR_OK)
		st = sr_sql_apply_settle(a, err);
	if (st == SR_OK)
		st = sr_sql_look_for_orphans(a, err);
	if (st == SR_OK)
		st = sr_sql_ask_parentless(a, err);
	if (st == SR_OK)
		st = a->fills ? sr_sql_fts_fill(&a->s->main, err) : sr_sql_fts_end(&a->s->main, err);
	if (st == SR_OK)
		st = sr_sql_apply_redefine_again(a, err);
	return st == SR_OK ? note_kept(a, err) : st;
}

enum sr_status sr_sql_apply_prepare(struct sr_store *st, struct sr_leaves *leaves, const struct sr_marker *marker,
				    const struct sr_apply_ops *ops, struct sr_err *err)
{
	struct sr_sql_store *s = (struct sr_sql_store *)st;
	struct sr_sql_apply *a;
	enum sr_status status;

	assert(!s->apply && !s->viewed);
	a = sr_alloc(sizeof *a);
	a->s = s;
	a->leaves = leaves;
	a->ops = ops;
	a->n = sr_leaves_count(leaves);
	a->state = sr_alloc(a->n + 1);
	a->clean = marker || ops->heals; /* else the caller makes no map of it: the next scan does */
	s->apply = a;
	status = begin(a, err);
	if (status == SR_OK)
		status = reindex(a, err);
	if (status == SR_OK)
		status = write_all(a, err);
	if (status == SR_OK && marker)
		status = sr_sql_marker_write(&s->main, marker, s->st.name, &a->kept, err);
	if (status != SR_OK)
		sr_sql_apply_rollback(st);
	return status;
}

/* The apply is over, one way or the other. */
static void end(struct sr_sql_store *s)
{
	if (s->main.db)
		sqlite3_exec(s->main.db, SR_SQL_CACHE, NULL, NULL, NULL);
	apply_free(s->apply);
	s->apply = NULL;
}

static void tell_applied(struct sr_leaves *leaves, size_t i, const struct sr_apply_ops *ops)
{
	struct sr_leaf leaf;

	/* A leaf that cannot be read again is not told: its intent stays, and recovery decides it. */
	if (ops->applied && sr_leaves_at(leaves, i, &leaf, NULL) == SR_OK)
		ops->applied(ops->ctx, i, &leaf, 0);
}

/* After a first fill all of it lies in the log, and programs that look at the file itself - at its size, or with cp - see an empty one.  To
 * leave WAL mode takes the exclusive lock, so nobody else checkpoints meanwhile; where somebody has it open already it is left as it is. */
static void empty_log(struct sr_sql *sql)
{
	if (sqlite3_exec(sql->db, "PRAGMA main.journal_mode=DELETE", NULL, NULL, NULL) == SQLITE_OK)
		sqlite3_exec(sql->db, "PRAGMA main.journal_mode=WAL", NULL, NULL, NULL);
}

enum sr_status sr_sql_apply_commit(struct sr_store *st, struct sr_err *err)
{
	struct sr_sql_store *s = (struct sr_sql_store *)st;
	struct sr_sql_apply *a = s->apply;
	struct sr_sql_trim trim;
	enum sr_status status;

	assert(a && !a->refused);
	status = sr_sql_capture_trim(s, &trim, err);
	if (status == SR_OK)
		status = sr_sql_exec(&s->main, "COMMIT", err);
	if (status == SR_OK)
		sr_sql_capture_trimmed(s, &trim);
	s->held_ms = sr_ticks_ms() - s->locked_at;
	if (status == SR_OK)
		status = sr_sql_sync(&s->main, err);
	if (status != SR_OK) {
		sr_sql_gate_open(&s->gate); /* it may have been committed */
		sr_sql_apply_rollback(st);
		return sr_err_context(err, "%s", st->name), status;
	}
	if (!a->clean)
		sr_sql_gate_open(&s->gate);
	else if (a->wrote && !a->ops->heals)
		s->gate.edited = true; /* what others committed before us has moved data_version */
	for (size_t i = 0; i < a->n; i++)
		if (sr_sql_leaf_applied(a->state[i]))
			tell_applied(a->leaves, i, a->ops);
	if (a->first)
		empty_log(&s->main);
	end(s);
	return SR_OK;
}

void sr_sql_apply_rollback(struct sr_store *st)
{
	struct sr_sql_store *s = (struct sr_sql_store *)st;

	if (!s->apply)
		return;
	if (s->main.db && !sqlite3_get_autocommit(s->main.db)) {
		sqlite3_exec(s->main.db, "ROLLBACK", NULL, NULL, NULL);
		s->held_ms = sr_ticks_ms() - s->locked_at;
	}
	sr_sql_schema_free(&s->main); /* it may know of tables that were rolled back, under a version that comes again */
	end(s);
}

int64_t sr_sql_apply_held_ms(const struct sr_store *st)
{
	return ((const struct sr_sql_store *)st)->held_ms;
}

static bool was_kept(const struct sr_store *st, const struct sr_buf *kept, struct sr_bytes path)
{
	struct sr_hash h;

	sr_hash_of(&h, st->key, path);
	for (size_t at = 0; at + sizeof h.b <= kept->len; at += sizeof h.b)
		if (!memcmp(kept->at + at, h.b, sizeof h.b))
			return true;
	return false;
}

enum sr_status sr_sql_apply_recover(struct sr_store *st, struct sr_leaves *leaves, const struct sr_marker *marker,
				    const struct sr_apply_ops *ops, struct sr_err *err)
{
	struct sr_sql_store *s = (struct sr_sql_store *)st;
	struct sr_marker there;
	struct sr_buf kept = {0};
	enum sr_status status = sr_sql_main(s, err);

	if (status == SR_E_NOINPUT)
		return SR_OK; /* no database, no marker: nothing of it was applied */
	if (status == SR_OK)
		status = sr_sql_marker_read(&s->main, &there, &kept, err);
	if (status == SR_OK && !sr_uuid_none(&there.id) && !memcmp(&there.id, &marker->id, sizeof there.id))
		for (size_t i = 0; status == SR_OK && i < sr_leaves_count(leaves); i++) {
			struct sr_leaf leaf;

			status = sr_leaves_at(leaves, i, &leaf, err);
			if (status == SR_OK && !was_kept(st, &kept, leaf.path))
				tell_applied(leaves, i, ops);
		}
	sr_buf_free(&kept);
	return status;
}
