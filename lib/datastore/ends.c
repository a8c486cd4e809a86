/* ends.c - which points of history lie in the datastore's own past: there every store held what it holds now, or what that took the place of.
 *
 * Those of the epoch that runs are, up to now.  Of each earlier one the store knows how far it went: to where the epoch was raised, or, when a
 * copy was put in the store's place, to the copy's date; what came after that was lost with what the copy replaced. */
#include <stdlib.h>
#include <string.h>

#include "lib/datastore/internal.h"

enum sr_status sr_ds_ends_load(struct sr_datastore *d, struct sr_err *err)
{
	struct sr_buf buf = {0};
	bool found;
	enum sr_status rc = sr_state_get(d->r->state, SR_DS_META_ENDS, &buf, &found, err);

	if (rc == SR_OK && found) {
		d->ends_n = buf.len / sizeof(*d->ends);
		d->ends = sr_alloc((d->ends_n + 1) * sizeof(*d->ends));
		memcpy(d->ends, buf.at, d->ends_n * sizeof(*d->ends));
	}
	sr_buf_free(&buf);
	return rc;
}

enum sr_status sr_ds_end_add(struct sr_datastore *d, size_t i, const struct sr_anchor *end, struct sr_err *err)
{
	uint64_t store = (uint64_t)d->r->stores[i].row.id;
	size_t n = 0;

	d->ends = sr_realloc(d->ends, (d->ends_n + 1) * sizeof(*d->ends));
	for (size_t k = 0; k < d->ends_n; k++)
		if (d->ends[k].store != store || d->ends[k].epoch < end->epoch)
			d->ends[n++] = d->ends[k];
	d->ends[n++] = (struct sr_ds_end){.store = store, .epoch = end->epoch, .seq = end->seq};
	d->ends_n = n;
	return sr_state_put(d->r->state, SR_DS_META_ENDS, sr_bytes(d->ends, n * sizeof(*d->ends)), err);
}

bool sr_ds_is_past(const struct sr_datastore *d, size_t i, uint64_t epoch, uint64_t seq)
{
	uint64_t store = (uint64_t)d->r->stores[i].row.id;

	if (epoch == d->at.epoch)
		return seq <= d->at.seq;
	for (size_t k = 0; k < d->ends_n; k++)
		if (d->ends[k].store == store && d->ends[k].epoch == epoch)
			return seq <= d->ends[k].seq;
	return false;
}

/* Bounded, not refused: a store that was put back from a copy of a history that was lost since may honestly have such a date, and has to go on. */
static void bound(const struct sr_datastore *d, uint64_t *epoch, uint64_t *seq)
{
	if (!sr_is_later(*epoch, *seq, d->at.epoch, d->at.seq))
		return;
	*epoch = d->at.epoch;
	*seq = d->at.seq;
}

void sr_ds_bound_as_of(const struct sr_datastore *d, struct sr_leaf *leaf)
{
	bound(d, &leaf->epoch, &leaf->seq);
	bound(d, &leaf->since_epoch, &leaf->since_seq);
}

void sr_ds_ends_free(struct sr_datastore *d)
{
	free(d->ends);
	d->ends = NULL;
	d->ends_n = 0;
}
