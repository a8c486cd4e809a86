/* fork.c - two histories of one epoch: this datastore was restored from an older image and went on, unaware, while webservers had been beyond it.
 *
 * Its numbers were given twice then, and say nothing of which version is the newer one.  What is needed is where the two parted.  The datastore
 * keeps a list of its starts, and where it stood at each; webservers keep a list of those they met (lib/sync/state.c), and one that is held tells
 * it.  The image was made after the last start that both know, and the next one on our list was the first from it: they parted where we stood then.
 * Of several webservers the one that parted last counts: a longer absence only makes a list shorter.
 *
 * When the operator adopts a union, what was committed here since then stays an ordinary version, and all else is as of that point: so what was
 * pushed here since is not replaced by what the others had before, and what they were told to be committed in the history that was lost is newer
 * than what the image had.  A webserver whose last root is one of ours has seen nothing else, and goes on without a union: dates of its would
 * be mistaken for those of the lost history. */
#include <stdlib.h>
#include <string.h>

#include "lib/datastore/internal.h"

#define STARTS_MAX 256

enum sr_status sr_ds_starts_load(struct sr_datastore *d, struct sr_err *err)
{
	struct sr_buf buf = {0};
	bool found;
	enum sr_status rc = sr_state_get(d->r->state, SR_DS_META_STARTS, &buf, &found, err);

	if (rc == SR_OK && found) {
		d->starts_n = buf.len / sizeof(*d->starts);
		d->starts = sr_alloc((d->starts_n + 1) * sizeof(*d->starts));
		memcpy(d->starts, buf.at, d->starts_n * sizeof(*d->starts));
	}
	if (rc == SR_OK)
		rc = sr_state_get(d->r->state, SR_DS_META_FORK, &buf, &found, err);
	if (rc == SR_OK && found && buf.len == sizeof(d->fork))
		memcpy(&d->fork, buf.at, sizeof(d->fork));
	d->began = d->at;
	sr_buf_free(&buf);
	return rc;
}

enum sr_status sr_ds_start_add(struct sr_datastore *d, struct sr_err *err)
{
	const struct sr_anchor *at = sr_uuid_none(&d->began.instance) ? &d->at : &d->began;
	size_t drop = d->starts_n < STARTS_MAX ? 0 : d->starts_n - STARTS_MAX + 1;
	enum sr_status rc;

	if (d->start_added)
		return SR_OK;
	d->starts_n -= drop;
	if (drop)
		memmove(d->starts, d->starts + drop, d->starts_n * sizeof(*d->starts));
	d->starts = sr_realloc(d->starts, (d->starts_n + 1) * sizeof(*d->starts));
	d->starts[d->starts_n++] = (struct sr_ds_start){.id = d->start, .epoch = at->epoch, .seq = at->seq};
	rc = sr_state_put(d->r->state, SR_DS_META_STARTS, sr_bytes(d->starts, d->starts_n * sizeof(*d->starts)), err);
	d->start_added = rc == SR_OK;
	if (rc != SR_OK)
		d->starts_n--;
	return rc;
}

/* Where did we stand at the first start that this webserver's history does not know?  NULL: it cannot be told, or that was in another epoch. */
static const struct sr_ds_start *parted(const struct sr_datastore *d, const struct sr_ds_webserver *w)
{
	for (size_t k = w->starts_n; k-- > 0;)
		for (size_t j = d->starts_n; j-- > 0;)
			if (memcmp(&d->starts[j].id, &w->starts[k], sizeof(w->starts[k])) == 0)
				return j + 1 < d->starts_n && d->starts[j + 1].epoch == d->at.epoch ? &d->starts[j + 1] : NULL;
	return NULL;
}

bool sr_ds_fork_find(struct sr_datastore *d, struct sr_ds_fork *out)
{
	bool found = false;

	*out = (struct sr_ds_fork){.epoch = d->at.epoch, .end = d->at.seq};
	pthread_mutex_lock(&d->face);
	for (size_t i = 0; i < d->webservers_n; i++) {
		const struct sr_ds_webserver *w = &d->webservers[i];
		bool held = w->verdict == SR_HISTORY_AHEAD || w->verdict == SR_HISTORY_FORK;
		const struct sr_ds_start *at = held ? parted(d, w) : NULL;

		if (!at)
			continue;
		found = true;
		if (at->seq > out->seq)
			out->seq = at->seq;
	}
	pthread_mutex_unlock(&d->face);
	return found;
}

enum sr_status sr_ds_fork_put(struct sr_datastore *d, const struct sr_ds_fork *fork, struct sr_err *err)
{
	return sr_state_put(d->r->state, SR_DS_META_FORK, sr_bytes(fork, sizeof(*fork)), err);
}

void sr_ds_starts_free(struct sr_datastore *d)
{
	free(d->starts);
	d->starts = NULL;
	d->starts_n = 0;
}
