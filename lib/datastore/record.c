/* record.c - what became of a push: its answer, and one state transaction with leaves, journal, root and that answer. */
#include "lib/datastore/internal.h"

#include <stdlib.h>
#include <string.h>

bool sr_ds_goes(const struct sr_ds_part *part, size_t j)
{
	return !part->index || part->fate[part->index[j]] == SR_FATE_GO;
}

/* --- the answer ---------------------------------------------------------------------------------------------------- */

static enum sr_status name_refused(struct sr_ds_push *p, size_t i, struct sr_err *err)
{
	const struct sr_replica_store *s = &p->d->r->stores[i];
	struct sr_ds_part *part = &p->parts[i];
	enum sr_status rc = SR_OK;

	for (size_t k = 0; part->leaves && k < sr_leaves_count(part->leaves) && rc == SR_OK; k++) {
		struct sr_version here = {0};
		struct sr_leaf leaf;

		if (part->fate[k] != SR_FATE_REFUSED)
			continue;
		rc = sr_leaves_at(part->leaves, k, &leaf, err);
		if (rc == SR_OK && !sr_path_is_schema(s->kind, leaf.path))
			rc = sr_store_get(p->d->r->nodes, s->kind, &s->map, leaf.path, &here, err);
		if (rc == SR_OK)
			sr_push_answer_refuse(&p->answer, s->name, leaf.path, &here, (enum sr_refusal)part->why[k]);
	}
	return rc;
}

enum sr_status sr_ds_answer_draft(struct sr_ds_push *p, enum sr_push_verdict verdict, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	sr_push_answer_free(&p->answer);
	p->answer = (struct sr_push_answer){.verdict = verdict, .id = p->head.id, .start = p->d->start, .at = p->d->at};
	if (p->detail[0])
		p->answer.text = sr_bytes(sr_strdup(p->detail), strlen(p->detail)); /* OWNED by the answer */
	for (size_t i = 0; i < p->d->r->n && rc == SR_OK; i++)
		rc = name_refused(p, i, err);
	return rc;
}

/* Print the answer, and put it into state.db as the webserver's last result. */
static enum sr_status store_answer(struct sr_ds_push *p, const struct sr_anchor *at, struct sr_err *err)
{
	struct sr_push_result result = {
		.webserver = p->head.webserver, .id = p->head.id, .epoch = at->epoch, .seq = at->seq, .root = at->root};

	p->answer.at = *at;
	p->answer.start = p->d->start;
	sr_buf_clear(&p->text);
	sr_push_answer_print(&p->text, &p->answer);
	p->status = 200;
	result.kind = p->answer.verdict == SR_VERDICT_OK ? SR_PUSH_OK : SR_PUSH_REFUSED;
	result.answer = sr_buf_view(&p->text);
	return sr_ds_is_edit(p) ? SR_OK : sr_state_push_result_put(p->d->r->state, &result, err);
}

enum sr_status sr_ds_refuse(struct sr_ds_push *p, struct sr_err *err)
{
	enum sr_status rc = sr_ds_answer_draft(p, SR_VERDICT_REFUSED, err);

	if (rc == SR_OK)
		rc = store_answer(p, &p->d->at, err);
	if (rc != SR_OK) {
		p->status = 0;
		return rc;
	}
	sr_ds_note_push(p, &p->d->at);
	sr_ds_wake(p->d);
	return SR_OK;
}

/* --- recording ----------------------------------------------------------------------------------------------------- */

struct recording {
	struct sr_ds_push *p;
	struct sr_anchor next;
	int64_t now_ms;
	size_t changes;
};

static enum sr_status journal(struct recording *c, size_t i, struct sr_leaves *taken, struct sr_err *err)
{
	struct sr_datastore *d = c->p->d;
	const struct sr_replica_store *s = &d->r->stores[i];
	struct sr_journal_row row = {.epoch = c->next.epoch,
				     .seq = c->next.seq,
				     .store = s->name,
				     .webserver = c->p->head.webserver,
				     .at_ms = c->now_ms};
	enum sr_status rc = sr_state_journal_fill(d->r->state, &row, taken, err);

	for (size_t k = 0; k < sr_leaves_count(taken) && rc == SR_OK; k++) {
		struct sr_leaf leaf;

		rc = sr_leaves_at(taken, k, &leaf, err);
		if (rc == SR_OK && leaf.to.kind == SR_KIND_NONE)
			rc = sr_state_deleted_add(d->r->state, &s->row, leaf.path, row.epoch, row.seq, err);
	}
	return rc;
}

/* What went in; what was to and did not is named in the answer. */
static enum sr_status collect_taken(struct recording *c, size_t i, struct sr_leaves *taken, struct sr_err *err)
{
	struct sr_ds_part *part = &c->p->parts[i];
	const struct sr_replica_store *s = &c->p->d->r->stores[i];
	enum sr_status rc = SR_OK;
	bool reshaped = false;

	for (size_t j = 0; j < sr_leaves_count(part->go) && rc == SR_OK; j++) {
		struct sr_version here = {0};
		struct sr_leaf leaf;

		if (!sr_ds_goes(part, j))
			continue;
		rc = sr_leaves_at(part->go, j, &leaf, err);
		if (rc != SR_OK || sr_path_is_schema(s->kind, leaf.path))
			continue;
		if (part->applied[j]) {
			if (leaf.to.kind == SR_KIND_TABLE && leaf.expect.kind == SR_KIND_TABLE) /* its rows are others */
				part->stale = reshaped = true;
			leaf.inode = part->signature[j];
			leaf.mtime_ns = part->mtime_ns[j]; /* for the journal */
			sr_ds_changes_fresh(c->p->d, &leaf);
			leaf.record = leaf.stage = sr_bytes(NULL, 0);
			rc = sr_leaves_add(taken, &leaf, err);
			continue;
		}
		part->stale = true;
		rc = sr_store_get(c->p->d->r->nodes, s->kind, &s->map, leaf.path, &here, err);
		if (rc == SR_OK)
			sr_push_answer_refuse(&c->p->answer, s->name, leaf.path, &here,
					      s->kind == SR_KIND_DATABASE ? SR_REFUSED_PAUSED : SR_REFUSED_CHANGED);
	}
	return rc == SR_OK && reshaped ? sr_ds_reshaped(c->p->d, i, err) : rc;
}

/* Leaves that were there already become newer. */
static enum sr_status touch(struct recording *c, size_t i, struct sr_err *err)
{
	struct sr_ds_part *part = &c->p->parts[i];
	const struct sr_store_row *st = &c->p->d->r->stores[i].row;
	enum sr_status rc = SR_OK;

	for (size_t j = 0; part->index && j < sr_leaves_count(part->go) && rc == SR_OK; j++) {
		struct sr_leaf_row row;
		struct sr_leaf leaf;

		if (part->fate[part->index[j]] != SR_FATE_TOUCH)
			continue;
		rc = sr_leaves_at(part->go, j, &leaf, err);
		if (rc == SR_OK)
			rc = sr_state_leaf(c->p->d->r->state, st, leaf.path, &row, err);
		if (rc != SR_OK)
			break;
		row.path = leaf.path;
		row.epoch = leaf.epoch;
		row.seq = leaf.seq;
		rc = sr_state_leaf_put(c->p->d->r->state, st, &row, err);
	}
	return rc;
}

static enum sr_status note_kept(struct recording *c, size_t i, struct sr_err *err)
{
	struct sr_reader in = sr_reader(sr_buf_view(&c->p->parts[i].kept));
	enum sr_status rc = SR_OK;

	while (rc == SR_OK && sr_read_left(&in)) {
		struct sr_replaced file = {.file = true, .epoch = c->next.epoch, .seq = c->next.seq, .at_ms = c->now_ms};

		memcpy(file.hash.b, sr_read_bytes(&in, SR_HASH_LEN).at, SR_HASH_LEN);
		file.bytes = sr_read_be64(&in);
		rc = sr_state_replaced_add(c->p->d->r->state, &file, err);
	}
	return rc;
}

/* The marker that went in with the apply is now the last one.  Not sure that it did: it stays pending. */
static enum sr_status settle_marker(struct recording *c, size_t i, struct sr_err *err)
{
	struct sr_replica_store *s = &c->p->d->r->stores[i];
	struct sr_ds_part *part = &c->p->parts[i];

	if (!part->marked || !part->committed)
		return SR_OK;
	s->marker = part->marker;
	s->row.marker = part->marker.id;
	s->row.node = part->marker.node;
	s->row.pending = (struct sr_uuid){0};
	return sr_state_store_put(c->p->d->r->state, &s->row, err);
}

static enum sr_status record_part(struct recording *c, size_t i, struct sr_err *err)
{
	struct sr_replica *r = c->p->d->r;
	struct sr_leaves *taken;
	enum sr_status rc;

	if (!c->p->parts[i].go)
		return SR_OK;
	taken = sr_leaves_new(c->p->d->config->datastore_state_directory);
	rc = collect_taken(c, i, taken, err);
	if (rc == SR_OK)
		rc = sr_replica_take(r, i, taken, SR_TAKE_AS_OF, 0, 0, err);
	if (rc == SR_OK)
		rc = journal(c, i, taken, err);
	if (rc == SR_OK)
		rc = touch(c, i, err);
	if (rc == SR_OK)
		rc = note_kept(c, i, err);
	if (rc == SR_OK && c->p->parts[i].prepared)
		rc = settle_marker(c, i, err);
	if (rc == SR_OK && c->p->parts[i].prepared)
		rc = sr_state_intents_drop(r->state, &r->stores[i].row, err);
	c->changes += sr_leaves_count(taken);
	sr_leaves_free(taken);
	return rc;
}

static enum sr_status record_all(struct recording *c, struct sr_err *err)
{
	struct sr_datastore *d = c->p->d;
	enum sr_status rc = SR_OK;

	for (size_t i = 0; i < d->r->n && rc == SR_OK; i++)
		rc = record_part(c, i, err);
	if (rc != SR_OK)
		return rc;
	sr_replica_reroot(d->r);
	c->next.root = d->r->root;
	if (!c->changes)
		c->next = d->at;
	else
		rc = sr_ds_identity_put(d, &c->next, err);
	return rc == SR_OK ? store_answer(c->p, &c->next, err) : rc;
}

enum sr_status sr_ds_record(struct sr_ds_push *p, struct sr_err *err)
{
	struct sr_datastore *d = p->d;
	struct recording c = {.p = p, .next = d->at, .now_ms = sr_now_ms()};
	struct sr_anchor before;
	enum sr_status rc = sr_state_begin(d->r->state, err);

	c.next.seq++;
	if (rc == SR_OK)
		rc = record_all(&c, err);
	if (rc == SR_OK)
		rc = sr_state_commit(d->r->state, err);
	else
		sr_state_rollback(d->r->state);
	if (rc != SR_OK) {
		p->status = 0;
		return sr_ds_break(d, err);
	}
	before = d->at;
	d->at = c.next;
	sr_ds_limit_done(p);
	sr_ds_note_push(p, &before);
	sr_ds_publish(d);
	return SR_OK;
}
