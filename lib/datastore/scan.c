/* scan.c - direct edits of the datastore's own files, committed like pushes. */
#include "lib/datastore/internal.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/replica/rot.h"

struct found {
	struct sr_datastore *d;
	struct sr_anchor next;
	int64_t now_ms;
	size_t changes;
	bool quiet;
	bool reshaped;       /* a table's rows are in a new shape: none of them was deleted */
	struct sr_buf table; /* the path of the last one that is no more */
};

/* Is the row `from` in its table's new shape?  Where the table got columns, nothing but their defaults are new in it. */
static bool only_reshaped(const struct found *f, size_t i, struct sr_bytes path, const struct sr_version *from, const struct sr_version *to)
{
	struct sr_view *view = f->d->r->stores[i].view;
	struct sr_content content = {.fd = -1};

	if (from->kind != SR_KIND_ROW || to->kind != SR_KIND_ROW)
		return false;
	return f->reshaped ||
	       (sr_view_read(view, path, &content, NULL) == SR_OK && sr_view_is_grown(view, path, content.record, from));
}

/* A direct edit is an ordinary version: as of now.  A row that is merely in a new shape is as old as it was. */
static enum sr_status date(struct found *f, size_t i, struct sr_bytes path, const struct sr_version *from, const struct sr_version *to,
			   struct sr_err *err)
{
	const struct sr_store_row *st = &f->d->r->stores[i].row;
	struct sr_leaf_row row;
	enum sr_status rc = sr_state_leaf(f->d->r->state, st, path, &row, err);

	if (rc != SR_OK)
		return rc;
	row.path = path;
	row.base_state = SR_BASE_KNOWN;
	row.base = row.local;
	if ((row.epoch || row.seq) && !only_reshaped(f, i, path, from, to))
		row.epoch = row.seq = 0;
	return sr_state_leaf_put(f->d->r->state, st, &row, err);
}

/* A table that is no more waits for an operator (lib/sync/plan.c), and its rows with it: none of these names was deleted, or the union that is to
 * bring them back would take them from the webservers, too.  A table comes before its rows. */
static bool goes_with_table(struct found *f, struct sr_bytes path, const struct sr_version *from)
{
	if (from->kind == SR_KIND_TABLE) {
		sr_buf_clear(&f->table);
		sr_buf_bytes(&f->table, path);
		return true;
	}
	return f->table.len && sr_path_under(path, sr_buf_view(&f->table));
}

static enum sr_status on_change(void *ctx, size_t i, struct sr_bytes path, const struct sr_version *from, const struct sr_version *to,
				struct sr_err *err)
{
	struct found *f = ctx;
	struct sr_replica_store *s = &f->d->r->stores[i];
	struct sr_journal_row row = {
		.epoch = f->next.epoch, .seq = f->next.seq, .store = s->name, .path = path, .from = *from, .to = *to, .at_ms = f->now_ms};
	enum sr_status rc = date(f, i, path, from, to, err);

	f->changes++;
	if (f->quiet || rc != SR_OK)
		return rc;
	rc = sr_state_journal_add(f->d->r->state, &row, err);
	if (rc == SR_OK && to->kind == SR_KIND_NONE && !f->reshaped && !goes_with_table(f, path, from))
		rc = sr_state_deleted_add(f->d->r->state, &s->row, path, f->next.epoch, f->next.seq, err);
	return rc;
}

/* Inside a state transaction whose memory half is done: from here on a failure leaves memory ahead of the disk. */
static enum sr_status finish(struct sr_datastore *d, struct sr_anchor *next, bool is_new_root, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	if (is_new_root) {
		sr_replica_reroot(d->r);
		next->root = d->r->root;
		rc = sr_ds_identity_put(d, next, err);
	}
	if (rc == SR_OK)
		rc = sr_state_commit(d->r->state, err);
	else
		sr_state_rollback(d->r->state);
	if (rc != SR_OK)
		return sr_ds_break(d, err);
	if (is_new_root)
		d->at = *next;
	return SR_OK;
}

static enum sr_status scan(struct sr_datastore *d, size_t i, bool quiet, struct sr_err *err)
{
	struct found f = {.d = d, .next = d->at, .now_ms = sr_now_ms(), .quiet = quiet};
	enum sr_status rc = sr_rot_keep(d->r, i, err);

	if (rc == SR_OK)
		rc = sr_state_begin(d->r->state, err);

	if (rc != SR_OK)
		return rc;
	f.next.seq++;
	rc = sr_ds_was_reshaped(d, i, &f.reshaped, err);
	d->judging = !quiet && !f.reshaped;
	if (rc == SR_OK)
		rc = sr_replica_scan(d->r, i, false, on_change, &f, err);
	d->judging = false;
	d->judged[i] = !quiet && rc == SR_OK;
	sr_replica_unview(d->r);
	sr_buf_free(&f.table);
	if (rc != SR_OK) {
		const char *held = rc == SR_E_HELD ? strstr(err->text, "held:") : NULL; /* for the operator, as it is */

		sr_state_rollback(d->r->state);
		if (!d->fault[i][0])
			sr_warn("%s", err->text);
		snprintf(d->fault[i], sizeof(d->fault[i]), "%.250s", held ? held : err->text);
		return rc;
	}
	d->fault[i][0] = '\0';
	d->going[i] = (struct sr_ds_going){0};
	if (f.changes && !quiet)
		sr_info("store %s: %zu entries were changed directly", d->r->stores[i].name, f.changes);
	return finish(d, &f.next, f.changes && !quiet, err);
}

enum sr_status sr_ds_scan(struct sr_datastore *d, size_t i, struct sr_err *err)
{
	return scan(d, i, false, err);
}

enum sr_status sr_ds_scan_quietly(struct sr_datastore *d, size_t i, struct sr_err *err)
{
	return scan(d, i, true, err);
}

enum sr_status sr_ds_advance(struct sr_datastore *d, struct sr_err *err)
{
	struct sr_anchor next = d->at;
	enum sr_status rc;

	if (sr_hash_eq(&d->r->root, &d->at.root))
		return SR_OK;
	next.seq++;
	rc = sr_state_begin(d->r->state, err);
	return rc == SR_OK ? finish(d, &next, true, err) : rc;
}
