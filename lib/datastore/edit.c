/* edit.c - an operator's change, committed as a push is that no webserver sent: with history, intents and approval. */
#include "lib/datastore/internal.h"

#include <string.h>

bool sr_ds_is_edit(const struct sr_ds_push *p)
{
	return memcmp(&p->head.webserver, &p->d->r->node, sizeof p->head.webserver) == 0;
}

void sr_ds_edit_begin(struct sr_ds_push *p, struct sr_datastore *d)
{
	sr_ds_push_init(p, d);
	pthread_mutex_lock(&d->writer);
	p->staged = true;
	d->staging++;
	pthread_mutex_unlock(&d->writer);
}

enum sr_status sr_ds_edit_add(struct sr_ds_push *p, size_t i, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct sr_leaf approved = *leaf;

	if (leaf->to.kind == SR_KIND_NONE)
		approved.flags |= SR_LEAF_APPROVED;
	return sr_ds_push_add(p, i, &approved, err);
}

const char *sr_ds_why_refused(const struct sr_ds_push *p, size_t i, const struct sr_refused *f)
{
	for (size_t k = 0; k < p->objections_n; k++)
		if (p->objections[k].store == i && sr_bytes_eq(sr_buf_view(&p->objections[k].path), f->path))
			return p->objections[k].why;
	return f->why == SR_REFUSED_PAUSED && *p->detail ? p->detail : sr_ds_refusal_words(f->why);
}

static enum sr_status name_first(const struct sr_ds_push *p, struct sr_err *err)
{
	const struct sr_refused *f = &p->answer.refused[0];
	size_t i = SIZE_MAX;
	const struct sr_replica_store *s = sr_replica_find(p->d->r, sr_bytes_of(f->store), &i);
	struct sr_buf path = {0};
	enum sr_status rc;

	sr_leaf_path_text(&path, f->store, s ? s->kind : SR_KIND_FILES, f->path);
	rc = sr_err_set(err, SR_E_CHANGED, "%.300s: %.600s", sr_buf_text(&path), sr_ds_why_refused(p, i, f));
	sr_buf_free(&path);
	return rc;
}

const char *sr_ds_refusal_words(enum sr_refusal why)
{
	switch (why) {
	case SR_REFUSED_CHANGED:
		return "it changed meanwhile";
	case SR_REFUSED_UNIQUE:
		return "another row has its UNIQUE value now";
	case SR_REFUSED_VOID:
		return "its content is not here";
	case SR_REFUSED_PAUSED:
		return "the store is paused, or the table is not there";
	case SR_REFUSED_KIND:
		return "what is above it is no directory now, or something is below it that stays";
	case SR_REFUSED_DEPENDS:
		return "a row that it refers to, or that refers to it, is not as it would have to be";
	case SR_REFUSED_HELD:
		return "too many deletions";
	case SR_REFUSED_DELETED:
	case SR_REFUSED_NEWER:
		break;
	}
	return "what is there stands";
}

enum sr_status sr_ds_edit_commit(struct sr_ds_push *p, bool whole, struct sr_err *err)
{
	struct sr_datastore *d = p->d;
	enum sr_status rc = SR_OK;

	for (size_t i = 0; i < d->r->n && rc == SR_OK; i++)
		if (p->parts[i].leaves)
			rc = sr_leaves_sort(p->parts[i].leaves, err);
	if (rc != SR_OK)
		return rc;
	pthread_mutex_lock(&d->writer);
	p->head = (struct sr_push_head){.id = sr_uuid_random(),
					.webserver = d->r->node,
					.start = d->start,
					.at = d->at,
					.try = whole ? 1 : SR_DS_TRIES};
	rc = sr_ds_commit(p, err);
	pthread_mutex_unlock(&d->writer);
	if (rc == SR_OK && p->answer.n)
		rc = name_first(p, err);
	return rc;
}

void sr_ds_edit_end(struct sr_ds_push *p)
{
	pthread_mutex_lock(&p->d->writer);
	sr_ds_push_end_staging(p);
	pthread_mutex_unlock(&p->d->writer);
	sr_ds_push_free(p);
}
