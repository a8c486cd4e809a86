/* recover.c - what a crash left in the middle of a commit.
 *
 * All intents there are belong to one push (there is one writer).  Each store decides by evidence what was applied; that is recorded as the
 * commit would have done, with the answer, in which the rest is named as refused.  Nothing applied: then the push never was. */
#include "lib/datastore/internal.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/replica/edit.h"

static enum sr_status load_part(struct sr_ds_push *p, size_t i, bool *found, struct sr_err *err)
{
	struct sr_datastore *d = p->d;
	struct sr_ds_part *part = &p->parts[i];
	struct sr_intent_head head;
	size_t n;
	enum sr_status rc;

	part->go = sr_leaves_new(d->config->datastore_state_directory);
	rc = sr_state_intents(d->r->state, &d->r->stores[i].row, &head, part->go, found, err);
	if (rc != SR_OK || !*found) {
		sr_leaves_free(part->go);
		part->go = NULL;
		return rc;
	}
	n = sr_leaves_count(part->go);
	part->applied = sr_alloc(n + 1);
	part->signature = sr_alloc((n + 1) * sizeof(*part->signature));
	part->mtime_ns = sr_alloc((n + 1) * sizeof(*part->mtime_ns));
	part->prepared = true;
	part->marker = (struct sr_marker){
		.id = head.marker, .node = d->r->node, .instance = d->at.instance, .epoch = head.epoch, .seq = head.seq + 1};
	return sr_ds_note_parse(head.note, p, err);
}

static enum sr_status recover_part(struct sr_ds_push *p, size_t i, bool *any, struct sr_err *err)
{
	struct sr_ds_part *part = &p->parts[i];
	struct sr_ds_apply a = {.p = p, .i = i};
	struct sr_apply_ops ops;
	enum sr_status rc = sr_leaves_sort(part->go, err);

	sr_ds_apply_ops(&a, &ops);
	if (rc == SR_OK)
		rc = sr_apply_recover(p->d->r->stores[i].store, part->go, &part->marker, &ops, err);
	if (rc != SR_OK)
		return sr_err_context(err, "store %s: what a crash left", p->d->r->stores[i].name);
	for (size_t j = 0; j < sr_leaves_count(part->go); j++)
		part->committed |= part->applied[j];
	part->marked = part->committed;
	*any |= part->committed;
	return SR_OK;
}

static enum sr_status drop_intents(struct sr_ds_push *p, struct sr_err *err)
{
	struct sr_replica *r = p->d->r;
	enum sr_status rc = sr_state_begin(r->state, err);

	for (size_t i = 0; i < r->n && rc == SR_OK; i++)
		if (p->parts[i].prepared)
			rc = sr_state_intents_drop(r->state, &r->stores[i].row, err);
	if (rc == SR_OK)
		return sr_state_commit(r->state, err);
	sr_state_rollback(r->state);
	return rc;
}

static enum sr_status finish(struct sr_ds_push *p, bool any, struct sr_err *err)
{
	char id[SR_UUID_TEXT];

	sr_uuid_text(id, &p->head.id);
	sr_info("the last run ended in the middle of push %s: %s", id, any ? "finished it" : "nothing of it was applied");
	return any ? sr_ds_record(p, err) : drop_intents(p, err);
}

static enum sr_status recover(struct sr_ds_push *p, struct sr_err *err)
{
	bool any = false, some = false;
	enum sr_status rc = SR_OK;

	for (size_t i = 0; i < p->d->r->n && rc == SR_OK; i++) {
		bool found = false;

		rc = sr_replica_edit_recover(p->d->r, i, err); /* of sameroot-restore */
		if (rc == SR_OK)
			rc = load_part(p, i, &found, err);
		if (rc == SR_OK && found && p->d->r->stores[i].mode != SR_MODE_READY)
			rc = sr_err_set(err, SR_E_UNAVAILABLE, "store %s, in which a push was not finished: %s", p->d->r->stores[i].name,
					p->d->r->stores[i].why);
		if (rc == SR_OK && found)
			rc = sr_ds_room(p->d, sr_leaves_count(p->parts[i].go), err);
		if (rc == SR_OK && found)
			rc = recover_part(p, i, &any, err);
		some |= found;
	}
	return rc == SR_OK && some ? finish(p, any, err) : rc;
}

enum sr_status sr_ds_recover(struct sr_datastore *d, struct sr_err *err)
{
	struct sr_ds_push p;
	enum sr_status rc;

	sr_ds_push_init(&p, d);
	rc = recover(&p, err);
	for (size_t i = 0; i < d->r->n && rc == SR_OK; i++)
		if (d->r->stores[i].kind == SR_KIND_FILES && d->r->stores[i].mode == SR_MODE_READY)
			sr_store_sweep_stage(d->r->stores[i].store);
	sr_ds_push_free(&p);
	return rc;
}
