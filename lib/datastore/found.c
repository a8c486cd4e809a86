/* found.c - which instance this is, and when its epoch rises (design sections 6 and 8).
 *
 * The epoch rises when the datastore's past is not what webservers may think it is: a store was put in the place of ours, or the operator
 * says so.  Every webserver then makes a union; so that newer versions win in it, the rows here are dated first: as of the (epoch, seq)
 * that they stand for. */
#include "lib/datastore/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/state/datastore_state.h"

/* As of when are leaves of which nobody knows it?  Whoever has another version has a newer one. */
static const struct sr_anchor before_everything = {.epoch = 1};

static bool same_uuid(const struct sr_uuid *a, const struct sr_uuid *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

/* --- what state.db says ------------------------------------------------------------------------------------------- */

static enum sr_status load_predecessors(struct sr_datastore *d, struct sr_err *err)
{
	struct sr_buf buf = {0};
	bool found;
	enum sr_status rc = sr_state_get(d->r->state, SR_DS_META_PREDECESSORS, &buf, &found, err);

	if (rc == SR_OK && found) {
		d->predecessors_n = buf.len / sizeof(struct sr_uuid);
		d->predecessors = sr_alloc((d->predecessors_n + 1) * sizeof(*d->predecessors));
		memcpy(d->predecessors, buf.at, d->predecessors_n * sizeof(*d->predecessors));
	}
	sr_buf_free(&buf);
	return rc;
}

enum sr_status sr_ds_identity_load(struct sr_datastore *d, struct sr_err *err)
{
	struct sr_state *s = d->r->state;
	struct sr_root_row root;
	struct sr_buf buf = {0};
	bool found = false, known;
	enum sr_status rc = sr_state_get(s, SR_DS_META_INSTANCE, &buf, &found, err);

	if (rc == SR_OK && found && buf.len != sizeof(d->at.instance.b))
		rc = sr_err_set(err, SR_E_DATA, "state.db: the instance is malformed");
	if (rc != SR_OK || !found)
		goto out;
	memcpy(d->at.instance.b, buf.at, sizeof(d->at.instance.b));
	rc = sr_state_get_u64(s, SR_DS_META_EPOCH, &d->at.epoch, &known, err);
	if (rc == SR_OK)
		rc = sr_state_get_u64(s, SR_DS_META_SEQ, &d->at.seq, &known, err);
	if (rc == SR_OK)
		rc = sr_state_root(s, d->at.epoch, d->at.seq, &root, &known, err);
	if (rc == SR_OK && known)
		d->at.root = root.root;
	if (rc == SR_OK)
		rc = load_predecessors(d, err);
out:
	sr_buf_free(&buf);
	return rc;
}

/* Whatever the stores held before is not known here: they may have been rebuilt. */
static enum sr_status put_since(struct sr_state *s, const struct sr_root_row *root, struct sr_err *err)
{
	struct sr_buf buf = {0};
	bool found = false;
	enum sr_status rc = sr_state_get(s, SR_DS_META_SINCE, &buf, &found, err);

	if (rc == SR_OK && !found) {
		sr_buf_be64(&buf, (uint64_t)root->at_ms);
		sr_buf_be64(&buf, root->epoch);
		sr_buf_be64(&buf, root->seq);
		rc = sr_state_put(s, SR_DS_META_SINCE, sr_buf_view(&buf), err);
	}
	sr_buf_free(&buf);
	return rc;
}

enum sr_status sr_ds_identity_put(struct sr_datastore *d, const struct sr_anchor *at, struct sr_err *err)
{
	struct sr_root_row root = {.epoch = at->epoch, .seq = at->seq, .root = at->root, .at_ms = sr_now_ms()};
	struct sr_state *s = d->r->state;
	enum sr_status rc = sr_state_put(s, SR_DS_META_INSTANCE, sr_bytes(at->instance.b, sizeof(at->instance.b)), err);

	if (rc == SR_OK)
		rc = sr_state_put_u64(s, SR_DS_META_EPOCH, at->epoch, err);
	if (rc == SR_OK)
		rc = sr_state_put_u64(s, SR_DS_META_SEQ, at->seq, err);
	if (rc == SR_OK)
		rc = put_since(s, &root, err);
	return rc == SR_OK ? sr_state_root_add(s, &root, err) : rc;
}

static enum sr_status add_predecessor(struct sr_datastore *d, const struct sr_uuid *instance, struct sr_err *err)
{
	struct sr_uuid *list = sr_alloc((d->predecessors_n + 1) * sizeof(*list)), *old = d->predecessors;
	enum sr_status rc;

	if (d->predecessors_n)
		memcpy(list, d->predecessors, d->predecessors_n * sizeof(*list));
	list[d->predecessors_n] = *instance;
	rc = sr_state_put(d->r->state, SR_DS_META_PREDECESSORS, sr_bytes(list, (d->predecessors_n + 1) * sizeof(*list)), err);
	if (rc != SR_OK) {
		free(list);
		return rc;
	}
	pthread_mutex_lock(&d->face);
	d->predecessors = list;
	d->predecessors_n++;
	pthread_mutex_unlock(&d->face);
	free(old);
	return SR_OK;
}

/* --- raising the epoch -------------------------------------------------------------------------------------------- */

static enum sr_status mark_all(struct sr_datastore *d, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t i = 0; i < d->r->n && rc == SR_OK; i++) {
		struct sr_uuid id = sr_uuid_random();

		if (d->r->stores[i].mode == SR_MODE_READY)
			rc = sr_replica_mark(d->r, i, &id, &d->at.instance, d->at.epoch, d->at.seq, err);
	}
	return rc;
}

/* Webservers may have seen a higher epoch than state.db and the stores' markers say, and sameroot-restore found one above it. */
static enum sr_status rise_above_floor(struct sr_state *s, uint64_t *epoch, struct sr_err *err)
{
	uint64_t floor = 0;
	bool found;
	enum sr_status rc = sr_state_get_u64(s, SR_DS_META_FLOOR, &floor, &found, err);

	if (rc == SR_OK && floor >= *epoch)
		*epoch = floor + 1;
	return rc;
}

/* The store's leaves that have no date yet are as of `as_of`, but for those that sameroot-restore had from an older source.  Its row holds the
 * earliest such date ever: who has leaves from later says so in its union, or an older version of another webserver's would win over them.
 * forked: what was committed since as_of goes on without a date. */
static enum sr_status date_store(struct sr_datastore *d, size_t i, const struct sr_anchor *as_of, bool forked, struct sr_err *err)
{
	struct sr_replica_store *s = &d->r->stores[i];
	struct sr_store_row *row = &s->row;
	const struct sr_anchor before = {.epoch = row->epoch, .seq = row->seq};
	uint64_t epoch = as_of->epoch, seq = as_of->seq;
	enum sr_status rc = sr_state_date_some(d->r->state, row, s->name, &s->marker.id, &epoch, &seq, err);

	if (rc == SR_OK)
		rc = sr_state_date_leaves(d->r->state, row, forked ? s->name : NULL, as_of->epoch, as_of->seq, err);
	if (rc == SR_OK)
		rc = sr_ds_end_add(d, i, as_of, err);
	if (rc != SR_OK || ((row->epoch || row->seq) && !sr_is_later(before.epoch, before.seq, epoch, seq)))
		return rc;
	row->epoch = epoch;
	row->seq = seq;
	return sr_state_store_put(d->r->state, row, err);
}

/* Go on as `next` (its root is filled in here), with the leaves of each store as of `as_of`.  fork: that is where another history parted from ours;
 * NULL: none did.  A crash before the stores are marked makes it happen once more. */
static enum sr_status rise(struct sr_datastore *d, struct sr_anchor next, const struct sr_anchor *as_of, struct sr_ds_fork *fork, struct sr_err *err)
{
	struct sr_state *s = d->r->state;
	enum sr_status rc = sr_state_begin(s, err);

	if (rc != SR_OK)
		return rc;
	for (size_t i = 0; i < d->r->n && rc == SR_OK; i++)
		if (as_of[i].epoch || as_of[i].seq)
			rc = date_store(d, i, &as_of[i], fork != NULL, err);
	if (rc == SR_OK)
		rc = rise_above_floor(s, &next.epoch, err);
	if (rc == SR_OK && fork) {
		fork->raised = next.epoch;
		rc = sr_ds_fork_put(d, fork, err);
	}
	sr_replica_reroot(d->r);
	next.root = d->r->root;
	if (rc == SR_OK)
		rc = sr_ds_identity_put(d, &next, err);
	if (rc != SR_OK) {
		sr_state_rollback(s);
		return rc;
	}
	rc = sr_state_commit(s, err);
	if (rc != SR_OK)
		return rc;
	d->at = next;
	if (fork) {
		pthread_mutex_lock(&d->face);
		d->fork = *fork;
		pthread_mutex_unlock(&d->face);
	}
	return mark_all(d, err);
}

/* --- founding ----------------------------------------------------------------------------------------------------- */

/* A store that is not there is made; without its marker it would still be taken for absent. */
static enum sr_status make_store(struct sr_datastore *d, size_t i, const struct sr_anchor *at, struct sr_err *err)
{
	struct sr_replica_store *s = &d->r->stores[i];
	struct sr_uuid id = sr_uuid_random();
	enum sr_status rc = sr_store_create(s->store, err);

	if (rc == SR_OK)
		rc = sr_replica_mark(d->r, i, &id, &at->instance, at->epoch, at->seq, err);
	if (rc != SR_OK)
		return rc;
	sr_replica_look_at(d->r, i);
	return s->mode == SR_MODE_READY ? SR_OK : sr_err_set(err, SR_E_UNAVAILABLE, "store %s was made, and yet: %s", s->name, s->why);
}

/* All stores are known to be complete: what is not in the tree is absent. */
static enum sr_status prepare_store(struct sr_datastore *d, size_t i, const struct sr_anchor *at, struct sr_err *err)
{
	struct sr_replica_store *s = &d->r->stores[i];
	enum sr_status rc = s->mode == SR_MODE_NEW ? make_store(d, i, at, err) : SR_OK;

	if (rc == SR_OK && !s->row.base_known) {
		s->row.base_known = true;
		rc = sr_state_store_put(d->r->state, &s->row, err);
	}
	return rc;
}

/* A founding that a crash broke off may have left markers here that no store carries: nothing can be lost that was never founded. */
static enum sr_status forget_markers(struct sr_datastore *d, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t i = 0; i < d->r->n && rc == SR_OK; i++) {
		struct sr_store_row *row = &d->r->stores[i].row;

		if (sr_uuid_none(&row->marker) && sr_uuid_none(&row->pending))
			continue;
		row->marker = row->pending = row->node = (struct sr_uuid){0};
		rc = sr_state_store_put(d->r->state, row, err);
		sr_replica_look_at(d->r, i);
	}
	return rc;
}

static enum sr_status survey(struct sr_datastore *d, bool adopt, size_t *marked, struct sr_err *err)
{
	*marked = SIZE_MAX;
	for (size_t i = 0; i < d->r->n; i++) {
		const struct sr_replica_store *s = &d->r->stores[i];

		if (s->mode == SR_MODE_PAUSED)
			return sr_err_set(err, SR_E_UNAVAILABLE, "store %s: %s", s->name, s->why);
		if (*marked == SIZE_MAX && !sr_uuid_none(&s->marker.id) && !sr_uuid_none(&s->marker.instance))
			*marked = i;
	}
	for (size_t i = 0; i < d->r->n && *marked == SIZE_MAX && !adopt; i++)
		if (d->r->stores[i].has_content)
			return sr_err_set(err, SR_E_UNAVAILABLE,
					  "store %s has content, but this datastore has no state and does not know whose it is: to start "
					  "from it, say `sameroot adopt --union` on the datastore",
					  d->r->stores[i].name);
	return SR_OK;
}

/* Go on where the markers of copied stores left off. */
static void continue_markers(struct sr_datastore *d, size_t first, struct sr_anchor *next, struct sr_anchor *as_of)
{
	char text[SR_UUID_TEXT];

	next->instance = d->r->stores[first].marker.instance;
	for (size_t i = 0; i < d->r->n; i++) {
		const struct sr_marker *m = &d->r->stores[i].marker;

		if (sr_uuid_none(&m->id) || !same_uuid(&m->instance, &next->instance)) {
			if (!sr_uuid_none(&m->id))
				sr_warn("store %s carries another instance's marker", d->r->stores[i].name);
			continue;
		}
		as_of[i] = (struct sr_anchor){.epoch = m->epoch, .seq = m->seq};
		if (!sr_is_later(next->epoch, next->seq, m->epoch, m->seq)) {
			next->epoch = m->epoch;
			next->seq = m->seq;
		}
	}
	for (size_t i = 0; i < d->r->n; i++)
		if (!as_of[i].epoch && !as_of[i].seq)
			as_of[i] = before_everything;
	next->epoch = sr_epoch_above(next->epoch); /* the copies may be old */
	sr_uuid_text(text, &next->instance);
	sr_warn("no state, but store %s carries the marker of instance %s: continuing it at epoch %" PRIu64
		"; every webserver will make a union",
		d->r->stores[first].name, text, next->epoch);
}

enum sr_status sr_ds_found(struct sr_datastore *d, bool adopt, struct sr_err *err)
{
	struct sr_anchor *as_of = sr_alloc((d->r->n + 1) * sizeof(*as_of)), next = {0};
	char text[SR_UUID_TEXT];
	size_t marked = SIZE_MAX;
	enum sr_status rc = forget_markers(d, err);

	if (rc == SR_OK)
		rc = survey(d, adopt, &marked, err);
	if (rc == SR_OK && marked != SIZE_MAX) {
		continue_markers(d, marked, &next, as_of);
	} else if (rc == SR_OK) {
		next = (struct sr_anchor){.instance = sr_uuid_random(), .epoch = 1};
		sr_uuid_text(text, &next.instance);
		sr_info("founding instance %s%s", text, adopt ? " on the content that is there" : "");
	}
	for (size_t i = 0; i < d->r->n && rc == SR_OK; i++)
		rc = prepare_store(d, i, &next, err);
	for (size_t i = 0; i < d->r->n && rc == SR_OK; i++)
		rc = sr_ds_scan_quietly(d, i, err);
	if (rc == SR_OK)
		rc = rise(d, next, as_of, NULL, err);
	free(as_of);
	return rc == SR_OK ? rc : sr_err_context(err, "founding");
}

/* --- markers ------------------------------------------------------------------------------------------------------ */

/* Was something put in the place of our store?  Ours by its pending marker: then that one was written, and is accepted. */
static enum sr_status check_store(struct sr_datastore *d, size_t i, bool *replaced, struct sr_err *err)
{
	struct sr_replica_store *s = &d->r->stores[i];
	bool never_ours = sr_uuid_none(&s->row.marker) && sr_uuid_none(&s->row.pending);
	struct sr_uuid id;
	enum sr_status rc;

	if (never_ours && sr_uuid_none(&s->marker.id)) { /* new in the configuration */
		id = sr_uuid_random();
		rc = prepare_store(d, i, &d->at, err);
		return rc == SR_OK ? sr_replica_mark(d->r, i, &id, &d->at.instance, d->at.epoch, d->at.seq, err) : rc;
	}
	if (s->doubtful || sr_uuid_none(&s->marker.id) || (!same_uuid(&s->marker.id, &s->row.marker) && !same_uuid(&s->marker.id, &s->row.pending))) {
		*replaced = true;
		return SR_OK;
	}
	if (sr_uuid_none(&s->row.pending))
		return SR_OK;
	s->row.marker = s->marker.id;
	s->row.node = s->marker.node;
	memset(&s->row.pending, 0, sizeof(s->row.pending));
	return sr_state_store_put(d->r->state, &s->row, err);
}

/* A marker of our own is an older one than state.db's, or state.db is the older one: it knows the moment that the marker names, or does not. */
static const char *what_replaced(const struct sr_datastore *d, const struct sr_marker *m)
{
	if (!same_uuid(&m->node, &d->r->node))
		return "another node's copy is in its place";
	if (same_uuid(&m->instance, &d->at.instance) && sr_is_later(m->epoch, m->seq, d->at.epoch, d->at.seq))
		return "state.db is older than the store: it was put back from a copy";
	return "an older copy of it is in its place, or state.db was put back from a copy";
}

static void alarm_replaced(const struct sr_datastore *d, const struct sr_replica_store *s)
{
	char node[SR_UUID_TEXT];

	sr_uuid_text(node, &s->marker.node);
	if (sr_uuid_none(&s->marker.id))
		sr_error("ALARM: store %s: something without our marker is in its place; the epoch is raised, and every webserver will "
			 "make a union",
			 s->name);
	else
		sr_error("ALARM: store %s: %s (marker of node %s); the epoch is raised, and every webserver will make a union", s->name,
			 what_replaced(d, &s->marker), node);
}

/* What the leaves of a replaced store stand for: what its marker says, if that is of our past.  One without, as a database that was copied
 * without its log, and one whose marker may be that of an older log beside it, may be of any time. */
static struct sr_anchor dated(const struct sr_datastore *d, const struct sr_replica_store *s)
{
	const struct sr_marker *m = &s->marker;

	if (s->doubtful || sr_uuid_none(&m->id) || !same_uuid(&m->instance, &d->at.instance) || (!m->epoch && !m->seq))
		return before_everything;
	return (struct sr_anchor){.epoch = m->epoch, .seq = m->seq};
}

/* An instance that nothing was ever committed to yields to the one that a copied store belongs to. */
static enum sr_status yield_to(struct sr_datastore *d, const struct sr_marker *m, struct sr_anchor *next, struct sr_anchor *as_of,
			       struct sr_err *err)
{
	if (d->at.epoch != 1 || d->at.seq || sr_uuid_none(&m->id) || sr_uuid_none(&m->instance) || same_uuid(&m->instance, &next->instance))
		return SR_OK;
	if (!same_uuid(&next->instance, &d->at.instance))
		return SR_OK; /* it yielded to another already */
	*next = (struct sr_anchor){.instance = m->instance, .epoch = sr_epoch_above(m->epoch), .seq = m->seq};
	*as_of = (struct sr_anchor){.epoch = m->epoch, .seq = m->seq};
	return add_predecessor(d, &d->at.instance, err);
}

enum sr_status sr_ds_check_markers(struct sr_datastore *d, struct sr_err *err)
{
	struct sr_anchor *as_of = sr_alloc((d->r->n + 1) * sizeof(*as_of)), next = d->at;
	bool any = false;
	enum sr_status rc = SR_OK;

	next.epoch++;
	for (size_t i = 0; i < d->r->n && rc == SR_OK; i++) {
		struct sr_replica_store *s = &d->r->stores[i];
		bool replaced = false;

		as_of[i] = d->at;
		if (s->mode == SR_MODE_NEW)
			rc = prepare_store(d, i, &d->at, err);
		if (rc == SR_OK && s->mode == SR_MODE_READY)
			rc = check_store(d, i, &replaced, err);
		if (rc != SR_OK || !replaced)
			continue;
		any = true;
		alarm_replaced(d, s);
		as_of[i] = dated(d, s);
		if (as_of[i].epoch >= next.epoch) /* our state is older than what webservers may have seen */
			next.epoch = sr_epoch_above(as_of[i].epoch);
		rc = yield_to(d, &s->marker, &next, &as_of[i], err);
		if (rc == SR_OK)
			rc = sr_ds_scan_quietly(d, i, err);
	}
	if (rc == SR_OK && any)
		rc = rise(d, next, as_of, NULL, err);
	free(as_of);
	return rc == SR_OK ? rc : sr_err_context(err, "markers");
}

/* --- the operator says so ----------------------------------------------------------------------------------------- */

/* What webservers that are held have reported: instances that are to be our predecessors, and the highest epoch. */
static size_t held_instances(struct sr_datastore *d, struct sr_uuid **out, uint64_t *epoch)
{
	size_t n = 0;

	pthread_mutex_lock(&d->face);
	*out = sr_alloc((d->webservers_n + 1) * sizeof(**out));
	for (size_t i = 0; i < d->webservers_n; i++) {
		const struct sr_ds_webserver *w = &d->webservers[i];

		if (w->verdict < SR_HISTORY_AHEAD)
			continue;
		if (w->reported.epoch > *epoch)
			*epoch = w->reported.epoch;
		if (w->verdict == SR_HISTORY_FOREIGN && !same_uuid(&w->reported.instance, &d->at.instance))
			(*out)[n++] = w->reported.instance;
	}
	pthread_mutex_unlock(&d->face);
	return n;
}

static bool is_listed(const struct sr_datastore *d, const struct sr_uuid *instance)
{
	for (size_t i = 0; i < d->predecessors_n; i++)
		if (same_uuid(&d->predecessors[i], instance))
			return true;
	return false;
}

enum sr_status sr_ds_adopt(struct sr_datastore *d, struct sr_err *err)
{
	struct sr_anchor *as_of, next;
	struct sr_ds_fork fork;
	struct sr_uuid *held;
	bool founds = sr_uuid_none(&d->at.instance), forked;
	enum sr_status rc = founds ? sr_ds_found(d, true, err) : SR_OK;
	size_t n;

	if (rc != SR_OK)
		return rc;
	next = d->at;
	n = held_instances(d, &held, &next.epoch);
	if (founds && !n) { /* nobody asked while it waited */
		free(held);
		return SR_OK;
	}
	forked = sr_ds_fork_find(d, &fork);
	as_of = sr_alloc((d->r->n + 1) * sizeof(*as_of));
	for (size_t i = 0; i < n && rc == SR_OK; i++)
		if (!is_listed(d, &held[i]))
			rc = add_predecessor(d, &held[i], err);
	for (size_t i = 0; i < d->r->n; i++)
		as_of[i] = (struct sr_anchor){.epoch = d->at.epoch, .seq = forked ? fork.seq : d->at.seq};
	next.epoch++;
	if (rc == SR_OK)
		rc = rise(d, next, as_of, forked ? &fork : NULL, err);
	if (rc == SR_OK)
		sr_warn("the operator adopted a union: epoch %" PRIu64, d->at.epoch);
	free(as_of);
	free(held);
	return rc;
}
