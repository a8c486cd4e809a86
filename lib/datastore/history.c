/* history.c - the roots that were, what we make of a webserver's anchor, and the copy that quick handlers look at. */
#include "lib/datastore/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"

/* The first root at or after (epoch, seq); roots_n when there is none. */
static size_t root_from(const struct sr_datastore *d, uint64_t epoch, uint64_t seq)
{
	size_t lo = 0, hi = d->roots_n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (sr_is_later(epoch, seq, d->roots[mid].epoch, d->roots[mid].seq))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool same_uuid(const struct sr_uuid *a, const struct sr_uuid *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

static bool is_predecessor(const struct sr_datastore *d, const struct sr_uuid *instance)
{
	for (size_t i = 0; i < d->predecessors_n; i++)
		if (same_uuid(&d->predecessors[i], instance))
			return true;
	return false;
}

/* An epoch that was raised for a webserver of another history than ours.  Who was in step with ours knows all that was, and goes on. */
static enum sr_history of_an_older_epoch(const struct sr_datastore *d, const struct sr_anchor *anchor)
{
	const struct sr_ds_fork *f = &d->fork;
	size_t i = root_from(d, anchor->epoch, anchor->seq);

	if (d->shown.epoch != f->raised || anchor->epoch != f->epoch || anchor->seq > f->end || i == d->roots_n)
		return SR_HISTORY_UNION;
	if (d->roots[i].epoch == anchor->epoch && d->roots[i].seq == anchor->seq)
		return sr_hash_eq(&d->roots[i].root, &anchor->root) ? SR_HISTORY_KNOWN : SR_HISTORY_UNION;
	return i == 0 && anchor->seq <= f->seq ? SR_HISTORY_FORGOTTEN : SR_HISTORY_UNION;
}

enum sr_history sr_ds_verdict(const struct sr_datastore *d, const struct sr_anchor *anchor)
{
	size_t i;

	if (sr_uuid_none(&anchor->instance))
		return SR_HISTORY_FIRST;
	if (!same_uuid(&anchor->instance, &d->shown.instance))
		return is_predecessor(d, &anchor->instance) ? SR_HISTORY_UNION : SR_HISTORY_FOREIGN;
	if (anchor->epoch < d->shown.epoch)
		return of_an_older_epoch(d, anchor);
	if (anchor->epoch > d->shown.epoch || anchor->seq > d->shown.seq)
		return SR_HISTORY_AHEAD;
	i = root_from(d, anchor->epoch, anchor->seq);
	if (i == d->roots_n)
		return SR_HISTORY_FORK;
	if (d->roots[i].epoch == anchor->epoch && d->roots[i].seq == anchor->seq)
		return sr_hash_eq(&d->roots[i].root, &anchor->root) ? SR_HISTORY_KNOWN : SR_HISTORY_FORK;
	/* Older than what we remember; within our records every seq has its root. */
	return i == 0 ? SR_HISTORY_FORGOTTEN : SR_HISTORY_FORK;
}

int64_t sr_ds_passed_ms(const struct sr_datastore *d, uint64_t epoch, uint64_t seq)
{
	size_t i = root_from(d, epoch, seq + 1);

	return i < d->roots_n ? d->roots[i].at_ms : 0;
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

static void add_root(struct sr_datastore *d, const struct sr_ds_root *root)
{
	if (d->roots_n == d->roots_cap) {
		d->roots_cap = d->roots_cap ? d->roots_cap * 2 : 256;
		d->roots = sr_realloc(d->roots, d->roots_cap * sizeof(*d->roots));
	}
	d->roots[d->roots_n++] = *root;
}

static enum sr_status load_root(void *ctx, const struct sr_root_row *row, struct sr_err *err)
{
	struct sr_ds_root root = {.epoch = row->epoch, .seq = row->seq, .root = row->root, .at_ms = row->at_ms};

	(void)err;
	add_root(ctx, &root);
	return SR_OK;
}

enum sr_status sr_ds_history_load(struct sr_datastore *d, struct sr_err *err)
{
	enum sr_status rc = sr_state_roots_trim(d->r->state, SR_DS_ROOTS, err);

	return rc == SR_OK ? sr_state_roots(d->r->state, 0, 0, load_root, d, err) : rc;
}

/* The first of those that are to stay readable. */
static size_t first_readable(const struct sr_datastore *d)
{
	int64_t since = sr_now_ms() - SR_DS_READABLE_MS;
	size_t i = d->roots_n > SR_DS_READABLE ? d->roots_n - SR_DS_READABLE : 0;

	while (i > 0 && d->roots[i - 1].at_ms >= since)
		i--;
	for (size_t k = 0; k < SR_DS_PINS; k++)
		if (d->pins[k].on && root_from(d, d->pins[k].epoch, d->pins[k].seq) < i)
			i = root_from(d, d->pins[k].epoch, d->pins[k].seq);
	return i;
}

bool sr_ds_oldest_readable(struct sr_datastore *d, struct sr_ds_root *out)
{
	bool found;

	pthread_mutex_lock(&d->face);
	found = d->roots_n > 0;
	if (found)
		*out = d->roots[first_readable(d)];
	pthread_mutex_unlock(&d->face);
	return found;
}

/* Roots that were held and need not be any more go to `gone` (room for all of them). */
static size_t let_go(struct sr_datastore *d, struct sr_hash *gone)
{
	size_t n = 0, keep = first_readable(d);

	for (size_t i = keep; i-- > 0 && d->roots[i].held;) {
		gone[n++] = d->roots[i].root;
		d->roots[i].held = false;
	}
	if (d->roots_n > SR_DS_ROOTS + SR_DS_ROOTS / 8) {
		size_t drop = d->roots_n - SR_DS_ROOTS;

		if (drop > keep)
			drop = keep;
		memmove(d->roots, d->roots + drop, (d->roots_n - drop) * sizeof(*d->roots));
		d->roots_n -= drop;
	}
	return n;
}

static void release(struct sr_datastore *d, const struct sr_hash *gone, size_t n)
{
	if (!n)
		return;
	sr_replica_write_lock(d->r);
	for (size_t i = 0; i < n; i++)
		sr_nodes_release(d->r->nodes, &gone[i]);
	sr_nodes_sweep(d->r->nodes);
	sr_replica_unlock(d->r);
}

/* --- the published copy ------------------------------------------------------------------------------------------- */

static void forget_unknown(struct sr_ds_store *shown)
{
	for (size_t i = 0; i < SR_DS_UNKNOWN_SHOWN && shown->unknown[i]; i++) {
		free(shown->unknown[i]);
		shown->unknown[i] = NULL;
	}
}

static void show_unknown(struct sr_ds_store *shown, const struct sr_replica_store *s)
{
	struct sr_buf text = {0};

	forget_unknown(shown);
	shown->unknowns = s->scan.unknowns;
	for (size_t i = 0; i < s->scan.unknowns && i < SR_DS_UNKNOWN_SHOWN; i++) {
		sr_buf_clear(&text);
		sr_leaf_path_text(&text, s->name, s->kind, s->scan.unknown[i].path);
		sr_buf_printf(&text, ": %s", sr_unknown_text(s->scan.unknown[i].why));
		shown->unknown[i] = sr_strdup(sr_buf_text(&text));
	}
	sr_buf_free(&text);
}

static void forget_exclude(struct sr_ds_store *shown)
{
	for (size_t i = 0; i < shown->excludes; i++)
		free(shown->exclude[i]);
	free(shown->exclude);
	shown->exclude = NULL;
	shown->excludes = 0;
}

/* Told together with the tree that was seen by it, never before: who hears that a path is no longer excluded must find it in the tree. */
static bool show_exclude(struct sr_ds_store *shown, const struct sr_replica_store *s)
{
	size_t n;
	const char *const *globs = sr_store_exclude(s->store, &n);

	if (sr_store_exclude_is(s->store, (const char *const *)shown->exclude, shown->excludes))
		return false;
	forget_exclude(shown);
	shown->exclude = sr_alloc((n + 1) * sizeof(*shown->exclude));
	while (shown->excludes < n) {
		shown->exclude[shown->excludes] = sr_strdup(globs[shown->excludes]);
		shown->excludes++;
	}
	return true;
}

static void show_held(struct sr_datastore *d, size_t i)
{
	struct sr_buf text = {0};

	free(d->stores[i].held);
	d->stores[i].held = NULL;
	if (sr_ledger_holds(d->ledger, d->r->stores[i].name)) {
		sr_ledger_report(d->ledger, d->r->stores[i].name, &text);
		d->stores[i].held = sr_text(sr_buf_view(&text));
	}
	sr_buf_free(&text);
}

/* A check-in is told that a store is paused, and why, which is in no root. */
static void show_pause(struct sr_datastore *d, struct sr_ds_store *shown, enum sr_store_mode mode, const char *why)
{
	bool was = shown->mode != SR_MODE_READY, is = mode != SR_MODE_READY;

	if (was != is || (is && strncmp(shown->why, why, sizeof(shown->why) - 1) != 0))
		sr_random(&d->settings, sizeof(d->settings));
	shown->mode = mode;
	snprintf(shown->why, sizeof(shown->why), "%s", why);
}

static void show_mode(struct sr_datastore *d, size_t i)
{
	const struct sr_replica_store *s = &d->r->stores[i];
	struct sr_ds_store *shown = &d->stores[i];
	bool fault = s->mode == SR_MODE_READY && d->fault[i][0];

	shown->looked = true;
	shown->has_content = s->has_content;
	if (!fault)
		shown->since_ms = s->since_ms;
	else if (shown->mode != SR_MODE_PAUSED || !shown->since_ms)
		shown->since_ms = sr_now_ms();
	show_pause(d, shown, fault ? SR_MODE_PAUSED : s->mode, fault ? d->fault[i] : s->why);
}

static void show_store(struct sr_datastore *d, size_t i, uint64_t leaves, uint64_t bytes)
{
	const struct sr_replica_store *s = &d->r->stores[i];
	struct sr_ds_store *shown = &d->stores[i];

	show_mode(d, i);
	shown->map = s->map;
	shown->leaves = leaves;
	shown->epoch = s->row.epoch;
	shown->seq = s->row.seq;
	shown->bytes = bytes;
	show_unknown(shown, s);
	sr_store_watch_report(s->store, &shown->watch);
	show_held(d, i);
}

/* Nodes of the new root are held before anyone is told of it. */
static bool hold_new(struct sr_datastore *d)
{
	bool is_new;

	pthread_mutex_lock(&d->face);
	is_new = !d->roots_n || !d->roots[d->roots_n - 1].held ||
		 d->roots[d->roots_n - 1].epoch != d->at.epoch || d->roots[d->roots_n - 1].seq != d->at.seq;
	pthread_mutex_unlock(&d->face);
	if (!is_new)
		return false;
	sr_replica_write_lock(d->r);
	sr_nodes_hold(d->r->nodes, &d->at.root);
	sr_replica_unlock(d->r);
	return true;
}

static void show_root(struct sr_datastore *d)
{
	struct sr_ds_root root = {.epoch = d->at.epoch, .seq = d->at.seq, .root = d->at.root, .at_ms = sr_now_ms(), .held = true};
	struct sr_ds_root *last = d->roots_n ? &d->roots[d->roots_n - 1] : NULL;

	if (last && last->epoch == root.epoch && last->seq == root.seq)
		last->held = true; /* the one that a start finds */
	else
		add_root(d, &root);
}

/* Who asked before it was founded was noted as foreign.  Now it is known. */
static void judge_early(struct sr_datastore *d)
{
	for (size_t i = 0; i < d->webservers_n && d->unfounded; i++)
		if (d->webservers[i].verdict == SR_HISTORY_FOREIGN)
			d->webservers[i].verdict = sr_ds_verdict(d, &d->webservers[i].reported);
	d->unfounded = false;
}

void sr_ds_wake(struct sr_datastore *d)
{
	if (d->server)
		sr_server_wake(d->server);
}

void sr_ds_publish(struct sr_datastore *d)
{
	uint64_t(*counts)[2] = sr_alloc((d->r->n + 1) * sizeof(*counts));
	struct sr_ds_change change;
	struct sr_hash *gone;
	size_t n;
	bool moved, is_new = hold_new(d);

	for (size_t i = 0; i < d->r->n; i++)
		if (sr_map_counts(d->r->nodes, &d->r->stores[i].map, &counts[i][0], &counts[i][1]) != SR_OK)
			abort(); /* our own map is always whole */
	sr_ds_changes_make(d, &change);
	pthread_mutex_lock(&d->face);
	moved = memcmp(&d->shown, &d->at, sizeof(d->at)) != 0;
	d->shown = d->at;
	sr_ds_changes_add(d, &change);
	if (is_new)
		show_root(d);
	judge_early(d);
	for (size_t i = 0; i < d->r->n; i++) {
		show_store(d, i, counts[i][0], counts[i][1]);
		if (show_exclude(&d->stores[i], &d->r->stores[i]))
			sr_random(&d->settings, sizeof(d->settings));
	}
	moved |= d->settings != d->woken_settings;
	d->woken_settings = d->settings;
	gone = sr_alloc((d->roots_n + 1) * sizeof(*gone));
	n = let_go(d, gone);
	pthread_mutex_unlock(&d->face);
	release(d, gone, n);
	free(gone);
	free(counts);
	if (moved)
		sr_ds_wake(d);
}

void sr_ds_not_ready(struct sr_datastore *d, const char *why)
{
	pthread_mutex_lock(&d->face);
	d->ready = false;
	if (!d->unfounded && sr_uuid_none(&d->at.instance))
		d->unfounded_ms = sr_now_ms();
	d->unfounded = sr_uuid_none(&d->at.instance);
	for (size_t i = 0; i < d->r->n; i++)
		show_mode(d, i);
	snprintf(d->why, sizeof(d->why), "%s", why);
	pthread_mutex_unlock(&d->face);
	sr_balance_fault(d->balance, SR_FAULT_STATE, why);
	sr_ds_wake(d);
}

enum sr_status sr_ds_break(struct sr_datastore *d, const struct sr_err *err)
{
	pthread_mutex_lock(&d->face);
	d->ready = false;
	snprintf(d->why, sizeof(d->why), "a commit could not be brought to its end; restart: %.190s", err->text);
	if (d->broken.code == SR_OK)
		d->broken = *err;
	pthread_mutex_unlock(&d->face);
	sr_balance_fault(d->balance, SR_FAULT_STATE, err->text);
	sr_ds_wake(d);
	sr_error("a commit could not be brought to its end; the next start finishes it: %s", err->text);
	return err->code;
}

void sr_ds_history_free(struct sr_datastore *d)
{
	for (size_t i = 0; d->stores && i < d->r->n; i++) {
		forget_unknown(&d->stores[i]);
		forget_exclude(&d->stores[i]);
		free(d->stores[i].held);
	}
	free(d->stores);
	free(d->roots);
	free(d->predecessors);
	sr_ds_changes_free(d);
	sr_ds_ends_free(d);
	sr_ds_starts_free(d);
}
