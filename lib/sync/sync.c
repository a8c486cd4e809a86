/* sync.c - one round, in the order of design section 7.
 *
 *     recover     intents of an interrupted apply, by evidence
 *     check in    GET /api/tree: where is the datastore, and does it know our history?
 *     settle      a push without an answer
 *     guard       held, or a union
 *     walk        the nodes of its tree that are not here
 *     scan, plan  each store in one view, which stays open until the records to push are read
 *     agree, pull, push
 * A push that is refused sends the round back to the check-in, three times at most. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/sync/internal.h"

/* --- open and close -------------------------------------------------------------------------------------------------- */

enum sr_status sr_sync_open(struct sr_sync **out, const struct sr_sync_options *options, struct sr_err *err)
{
	struct sr_sync *s = sr_alloc(sizeof *s);
	enum sr_status rc;

	s->config = s->exclusions = options->config;
	s->version = sr_strdup(options->version);
	pthread_mutex_init(&s->report_lock, NULL);
	sr_lag_init(&s->lag);
	rc = sr_replica_open(&s->r, s->config, SR_ROLE_WEBSERVER, err);
	if (rc == SR_OK)
		rc = sr_ledger_open(&s->ledger, s->r->state, err);
	if (rc == SR_OK)
		rc = sr_sync_load(s, err);
	if (rc == SR_OK)
		rc = sr_sync_mirror_load(s, err);
	if (rc == SR_OK)
		rc = sr_sync_token_load(s, err);
	if (rc == SR_OK)
		rc = sr_sync_renew(s, err);
	if (rc == SR_OK)
		rc = sr_contact_open(&s->contact, s->config, s->r->state, err);
	if (rc != SR_OK) {
		sr_sync_close(s);
		return rc;
	}
	s->client = sr_contact_client(s->contact);
	if (s->r->keyed)
		s->plans = sr_alloc((s->r->n + 1) * sizeof *s->plans);
	*out = s;
	return SR_OK;
}

static void forget_notes(struct sr_sync *s)
{
	for (size_t k = 0; k < s->noteds; k++)
		sr_buf_free(&s->noted[k].path);
	free(s->noted);
	s->noted = NULL;
	s->noteds = 0;
}

void sr_sync_close(struct sr_sync *s)
{
	if (!s)
		return;
	for (size_t i = 0; s->plans && i < s->r->n; i++)
		sr_store_plan_clear(&s->plans[i]);
	free(s->plans);
	forget_notes(s);
	free(s->declined);
	sr_sync_rebuilt_free(s);
	free(s->told);
	sr_archive_ids_free(&s->told_conflicts.ids);
	sr_buf_free(&s->mirror);
	if (s->have_info)
		sr_tree_info_free(&s->info);
	free(s->etag);
	sr_ahead_clear(&s->ahead);
	sr_buf_free(&s->changes);
	sr_contact_close(s->contact);
	sr_ledger_close(s->ledger);
	sr_replica_close(s->r);
	sr_buf_free(&s->report);
	explicit_bzero(s->tree.key, sizeof s->tree.key);
	sr_tree_info_free(&s->tree);
	pthread_mutex_destroy(&s->report_lock);
	sr_lag_destroy(&s->lag);
	free(s->version);
	free(s);
}

struct sr_replica *sr_sync_replica(struct sr_sync *s)
{
	return s->r;
}

void sr_sync_set_secret(struct sr_sync *s, const char *secret)
{
	sr_contact_set_secret(s->contact, secret);
}

void sr_sync_set_server(struct sr_sync *s, unsigned port, const char *pin)
{
	s->port = port;
	snprintf(s->pin, sizeof s->pin, "%s", pin ? pin : "");
}

void sr_sync_set_balance(struct sr_sync *s, struct sr_balance *balance)
{
	s->balance = balance;
}

void sr_sync_forget_key(struct sr_sync *s)
{
	sr_contact_forget_soon(s->contact);
}

void sr_sync_interrupt(struct sr_sync *s)
{
	s->interrupted = true;
	sr_client_interrupt(s->client);
}

bool sr_sync_is_interrupted(struct sr_sync *s)
{
	return s->interrupted;
}

void sr_sync_show_progress(struct sr_sync *s, void (*show)(void *ctx, const struct sr_progress *p), void *ctx)
{
	s->progress.show = show;
	s->progress.ctx = ctx;
}

/* --- the guard --------------------------------------------------------------------------------------------------------- */

static enum sr_status held(struct sr_sync *s, struct sr_err *err)
{
	char ours[SR_UUID_TEXT], theirs[SR_UUID_TEXT];

	sr_uuid_text(ours, &s->anchor.instance);
	sr_uuid_text(theirs, &s->info.at.instance);
	return sr_err_set(err, SR_E_HELD,
			  "held: the datastore's history is %s: it is at instance %.8s epoch %" PRIu64 " seq %" PRIu64
			  ", this webserver was last in step with instance %.8s epoch %" PRIu64 " seq %" PRIu64
			  "; nothing is deleted or overwritten until `sameroot adopt --union` is run on the datastore, or `sameroot adopt --mirror` on the webserver",
			  sr_history_text(s->info.history), theirs, s->info.at.epoch, s->info.at.seq, ours, s->anchor.epoch, s->anchor.seq);
}

/* Is this the store that we know?  Any marker but our last (or the one about to be) means that another copy lies there. */
bool sr_sync_marker_is_ours(const struct sr_replica_store *st)
{
	if (st->doubtful)
		return false;
	if (sr_uuid_none(&st->marker.id))
		return sr_uuid_none(&st->row.marker);
	return memcmp(&st->marker.id, &st->row.marker, sizeof st->marker.id) == 0 ||
	       memcmp(&st->marker.id, &st->row.pending, sizeof st->marker.id) == 0;
}

/* The one that was about to be written was: it is the last now, or the next one to be pending would leave nothing that knows it. */
static void settle_marker(struct sr_replica_store *st)
{
	if (sr_uuid_none(&st->row.pending) || memcmp(&st->marker.id, &st->row.pending, sizeof st->marker.id) != 0)
		return;
	st->row.marker = st->row.pending;
	st->row.pending = (struct sr_uuid){0};
}

static enum sr_status forget_store(struct sr_sync *s, size_t i, struct sr_err *err)
{
	struct sr_replica_store *st = &s->r->stores[i];
	struct sr_uuid id = sr_uuid_random();
	bool same_datastore = !st->doubtful && memcmp(&st->marker.instance, &s->info.at.instance, sizeof st->marker.instance) == 0;
	enum sr_status rc = sr_state_begin(s->r->state, err);

	if (rc != SR_OK)
		return rc;
	s->quiet = false;
	st->row.base_known = false;
	st->row.epoch = same_datastore ? st->marker.epoch : 0;
	st->row.seq = same_datastore ? st->marker.seq : 0;
	rc = sr_state_forget_base(s->r->state, &st->row, false, err);
	if (rc == SR_OK)
		rc = sr_state_commit(s->r->state, err);
	else
		sr_state_rollback(s->r->state);
	if (rc == SR_OK)
		rc = sr_replica_mark(s->r, i, &id, &s->info.at.instance, st->row.epoch, st->row.seq, err);
	return rc;
}

/* Stores whose marker is another: restored from a copy, or copied from another node. */
static enum sr_status check_markers(struct sr_sync *s, bool *forgot, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t i = 0; rc == SR_OK && i < s->r->n; i++) {
		struct sr_replica_store *st = &s->r->stores[i];

		if (st->mode == SR_MODE_READY && sr_sync_marker_is_ours(st))
			settle_marker(st);
		if (st->mode != SR_MODE_READY || sr_sync_marker_is_ours(st))
			continue;
		if (!sr_uuid_none(&st->row.marker))
			sr_warn("store %s: it is not the one that was written last: a copy was put in its place; what both "
				"sides have is united, nothing is deleted",
				st->name);
		rc = forget_store(s, i, err);
		*forgot = true;
	}
	return rc;
}

/* The bases first: who is told that it need not unite, but has to for its outbox, has that until they are hints. */
static enum sr_status unite(struct sr_sync *s, struct sr_err *err)
{
	enum sr_status rc;

	sr_warn("the datastore was restored or adopted (epoch %" PRIu64 "): what both sides have is united, nothing is deleted", s->info.at.epoch);
	rc = sr_sync_forget_bases(s, true, err);
	if (rc == SR_OK)
		rc = sr_state_outbox_give_up(s->r->state, err);
	if (rc == SR_OK)
		rc = sr_sync_cancel_all(s, err);
	if (rc == SR_OK)
		rc = sr_sync_set_anchor(s, &s->info.at, err);
	return rc;
}

/* Everything that decides whether our bases still mean something.  *again: the datastore's state must be read anew. */
static enum sr_status guard(struct sr_sync *s, bool *again, struct sr_err *err)
{
	bool first = sr_uuid_none(&s->anchor.instance), forgot = false, broken, outbox;
	struct sr_outbox o;
	enum sr_status rc;

	if (s->info.history >= SR_HISTORY_AHEAD && !s->mirrors_history)
		return held(s, err);
	if (s->info.history >= SR_HISTORY_AHEAD) {
		*again = true;
		return sr_sync_mirror_history(s, err);
	}
	rc = sr_state_outbox(s->r->state, &o, &outbox, err);
	if (rc != SR_OK)
		return rc;
	/* An outbox of an epoch that is over may have been committed in a history that was lost, and others have it: then what we have of it since is an
	 * edit of that. */
	if (s->info.history == SR_HISTORY_UNION || (outbox && !first && s->info.at.epoch != s->anchor.epoch)) {
		*again = true;
		return unite(s, err);
	}
	if (outbox) {
		*again = true;
		return sr_sync_settle(s, err);
	}
	broken = memcmp(&s->last_push, &s->info.push, sizeof s->last_push) != 0;
	if (broken && !first) {
		sr_warn("the datastore's last push of this webserver is not the one known here: what both have is united, nothing is deleted; "
			"what was edited here stays an edit");
		rc = sr_sync_forget_bases(s, true, err);
	}
	if (rc == SR_OK) /* after it, for a marker knows better as of when its store is */
		rc = check_markers(s, &forgot, err);
	if (rc == SR_OK && (forgot || broken)) {
		rc = sr_sync_cancel_all(s, err);
		*again = true;
	}
	return rc;
}

/* Check in until nothing has to be read anew: settling and forgetting both move the datastore's view of us. */
static enum sr_status meet(struct sr_sync *s, struct sr_err *err)
{
	bool again = true, unchanged;
	enum sr_status rc = SR_OK;

	for (int k = 0; rc == SR_OK && again; k++) {
		again = false;
		if (k == 6)
			return sr_err_set(err, SR_E_UNAVAILABLE, "check-in: the datastore's history keeps moving");
		rc = sr_sync_check_in(s, &unchanged, err);
		if (rc == SR_OK && (s->info.history < SR_HISTORY_AHEAD || s->mirrors_history)) {
			sr_replica_look(s->r);
			if (k == 0)
				rc = sr_sync_recover(s, err);
		}
		if (rc == SR_OK)
			rc = guard(s, &again, err);
	}
	return rc;
}

/* --- scan and plan ----------------------------------------------------------------------------------------------------- */

/* A store that is not there yet is made when the datastore has something for it. */
static enum sr_status make_if_new(struct sr_sync *s, size_t i, struct sr_err *err)
{
	struct sr_hash map;
	const char *why;
	uint64_t leaves = 0, bytes;
	enum sr_status rc;

	if (s->r->stores[i].mode != SR_MODE_NEW)
		return SR_OK;
	if (!sr_sync_remote_map(s, i, &map, &why)) {
		s->plans[i].skipped = 1;
		s->plans[i].first_skip = why;
		return SR_OK;
	}
	if (sr_map_counts(s->r->nodes, &map, &leaves, &bytes) != SR_OK)
		leaves = 0;
	if (s->r->stores[i].kind == SR_KIND_DATABASE && sr_hash_eq(&map, &s->r->stores[i].map))
		return SR_OK; /* no table there either */
	rc = sr_store_create(s->r->stores[i].store, err);
	if (rc == SR_OK)
		sr_replica_look_at(s->r, i);
	/* An empty store without a marker reads as absent: it is ours to fill all the same. */
	if (rc == SR_OK && s->r->stores[i].mode == SR_MODE_NEW)
		s->r->stores[i].mode = SR_MODE_READY;
	return rc;
}

void sr_sync_trouble(struct sr_sync *s, size_t i, const struct sr_err *err)
{
	struct sr_store_plan *p = &s->plans[i];

	if (strncmp(p->trouble, err->text, sizeof p->trouble - 1) != 0)
		sr_warn("%s", err->text);
	snprintf(p->trouble, sizeof p->trouble, "%.300s", err->text);
	p->failed = true;
	s->quiet = false;
}

/* Constraints are in no root. */
static bool any_schema_moved(const struct sr_sync *s)
{
	for (size_t i = 0; i < s->r->n; i++) {
		int64_t version = s->r->stores[i].view ? sr_view_schema_version(s->r->stores[i].view) : 0;

		if (version && version != s->plans[i].schema_version)
			return true;
	}
	return false;
}

/* As it was when nothing was left to do? */
static bool is_as_it_was(const struct sr_sync *s)
{
	return s->quiet && sr_hash_eq(&s->quiet_local, &s->r->root) && sr_hash_eq(&s->quiet_remote, &s->remote);
}

static void scan_and_plan(struct sr_sync *s, struct sr_err *err)
{
	enum sr_status rc;

	for (size_t i = 0; i < s->r->n; i++)
		sr_store_plan_clear(&s->plans[i]);
	if (is_as_it_was(s) && sr_replica_is_quiet(s->r))
		return;
	sr_progress_begin(&s->progress, "scanning", 0, 0);
	for (size_t i = 0; i < s->r->n; i++) {
		rc = make_if_new(s, i, err);
		if (rc == SR_OK && s->r->stores[i].mode == SR_MODE_READY && !s->interrupted)
			rc = sr_replica_scan(s->r, i, true, NULL, NULL, err);
		if (rc != SR_OK)
			sr_sync_trouble(s, i, err);
	}
	sr_replica_reroot(s->r);
	if (is_as_it_was(s) && !any_schema_moved(s))
		goto out;
	for (size_t i = 0; i < s->r->n; i++)
		if (s->r->stores[i].view && !s->interrupted && sr_sync_gather(s, i, err) != SR_OK) {
			sr_store_plan_clear(&s->plans[i]);
			sr_sync_trouble(s, i, err);
		}
out:
	sr_replica_unview(s->r);
	sr_progress_end(&s->progress);
}

/* --- the round --------------------------------------------------------------------------------------------------------- */

static bool nothing_planned(const struct sr_sync *s)
{
	for (size_t i = 0; i < s->r->n; i++) {
		const struct sr_store_plan *p = &s->plans[i];

		if (p->pull && (sr_leaves_count(p->pull) || sr_leaves_count(p->push) || sr_leaves_count(p->agree)))
			return false;
	}
	return true;
}

static uint64_t count_skipped(const struct sr_sync *s)
{
	uint64_t n = 0;

	for (size_t k = 0; sr_sync_stranger(s, &k);)
		n++;
	for (size_t i = 0; i < s->r->n; i++)
		n += s->plans[i].skipped + s->plans[i].failed + (s->r->stores[i].mode == SR_MODE_PAUSED);
	return n;
}

/* The mark, if there is none yet, tells an emptied store from one that is gone. */
static enum sr_status end_union(struct sr_sync *s, size_t i, struct sr_err *err)
{
	struct sr_replica_store *st = &s->r->stores[i];
	struct sr_uuid id = sr_uuid_random();
	enum sr_status rc = SR_OK;

	if (sr_uuid_none(&st->row.marker))
		rc = sr_replica_mark(s->r, i, &id, &s->info.at.instance, s->info.at.epoch, s->info.at.seq, err);
	if (rc != SR_OK)
		return rc;
	st->row.base_known = true;
	st->row.absent_hint = false;
	return sr_state_store_put(s->r->state, &st->row, err);
}

/* As of when is what left nothing open?  Of the root that was planned against; or of our own push, if that was the next commit. */
static struct sr_anchor planned_as_of(const struct sr_sync *s)
{
	const struct sr_anchor *pushed = &s->anchor, *at = &s->info.at;

	return pushed->epoch == at->epoch && pushed->seq == at->seq + 1 ? *pushed : *at;
}

/* Each store for itself: one that is paused for long does not make the others look old. */
static enum sr_status date_store(struct sr_sync *s, struct sr_replica_store *st, const struct sr_anchor *at, struct sr_err *err)
{
	if (st->row.epoch == at->epoch && st->row.seq == at->seq)
		return SR_OK;
	st->row.epoch = at->epoch;
	st->row.seq = at->seq;
	return sr_state_store_put(s->r->state, &st->row, err);
}

/* Its marker is of before the union, as long as the datastore had not judged what was pushed in it.  If it cannot be written now, an apply or a push
 * does it later. */
static void mark_united(struct sr_sync *s, size_t i, const struct sr_anchor *at)
{
	const struct sr_marker *marker = &s->r->stores[i].marker;
	struct sr_uuid id = sr_uuid_random();
	struct sr_err err;

	if (sr_uuid_none(&marker->id) || marker->epoch >= at->epoch)
		return;
	if (sr_replica_mark(s->r, i, &id, &at->instance, at->epoch, at->seq, &err) != SR_OK)
		sr_debug("%s", err.text);
}

/* What there is has its row with its own base, known or not; all other names were here and there held against each other, and are absent
 * here: that is their base from now on.  As of this root is only what left nothing open. */
static enum sr_status end_unions(struct sr_sync *s, struct sr_err *err)
{
	struct sr_anchor at = planned_as_of(s);
	bool all = true, settled;
	enum sr_status rc = SR_OK;

	for (size_t i = 0; rc == SR_OK && i < s->r->n; i++) {
		struct sr_replica_store *st = &s->r->stores[i];
		uint64_t open = 0;

		if (st->mode != SR_MODE_READY || s->plans[i].failed) {
			all = false;
			continue;
		}
		if (!st->row.base_known && s->plans[i].compared)
			rc = end_union(s, i, err);
		if (rc == SR_OK)
			rc = sr_state_open_count(s->r->state, &st->row, &open, err);
		settled = rc == SR_OK && !open && !s->plans[i].skipped && st->row.base_known;
		if (settled)
			rc = sr_state_given_up_drop(s->r->state, &st->row, err); /* no hint is left that it could matter to */
		if (rc == SR_OK && settled)
			mark_united(s, i, &at);
		if (rc == SR_OK && settled)
			rc = date_store(s, st, &at, err);
		all &= settled;
	}
	if (rc == SR_OK && all)
		rc = sr_sync_set_as_of(s, at.epoch, at.seq, err);
	return rc;
}

static enum sr_status check_interrupted(const struct sr_sync *s, struct sr_err *err)
{
	return s->interrupted ? sr_err_set(err, SR_E_UNAVAILABLE, "interrupted: this program is ending") : SR_OK;
}

/* Agree and pull, one store after the other.  *gone: the root is no longer readable: plan anew against the next one. */
static enum sr_status take(struct sr_sync *s, bool *gone, struct sr_err *err)
{
	*gone = false;
	for (size_t i = 0; i < s->r->n; i++) {
		enum sr_status rc = check_interrupted(s, err);

		if (rc == SR_OK && s->plans[i].agree)
			rc = sr_sync_agree(s, i, err);
		if (rc == SR_OK && s->plans[i].pull)
			rc = sr_sync_pull(s, i, err);
		if (rc == SR_OK)
			sr_sync_limit_done(s, i, SR_WAY_PULL);
		if (rc == SR_E_GONE) {
			*gone = true;
			return SR_OK;
		}
		if (rc == SR_E_UNAVAILABLE || rc == SR_E_AUTH)
			return rc;
		if (rc != SR_OK)
			sr_sync_trouble(s, i, err);
	}
	return SR_OK;
}

static enum sr_status transfer(struct sr_sync *s, unsigned try, bool *again, struct sr_err *err)
{
	bool gone = false, evicted, more = false;
	enum sr_status rc;

	*again = false;
	rc = take(s, &evicted, err);
	for (size_t i = 0; i < s->r->n; i++) {
		evicted |= s->plans[i].evicted;
		more |= s->plans[i].again;
		gone |= s->plans[i].gone > 0;
	}
	/* A merged row goes together with what else is to be pushed; but not for ever later. */
	*again = evicted || more;
	if (rc == SR_OK && !evicted && (!more || try == SR_TRIES)) {
		rc = sr_sync_push(s, try, again, err);
		for (size_t i = 0; rc == SR_OK && !*again && i < s->r->n; i++)
			sr_sync_limit_done(s, i, SR_WAY_PUSH);
		*again |= more;
	}
	*again |= gone && try < SR_TRIES; /* it may be that the datastore has moved on; else it stays with what could be sent */
	sr_replica_reroot(s->r);
	return rc;
}

static enum sr_status attempt(struct sr_sync *s, unsigned try, bool *again, struct sr_err *err)
{
	enum sr_status rc = meet(s, err);

	*again = false;
	if (rc == SR_OK)
		rc = sr_sync_walk(s, err);
	if (rc == SR_OK)
		rc = sr_sync_add_start(s, err);
	if (rc == SR_OK) /* not before: a root that cannot be walked must not become the history that is held against the datastore */
		rc = sr_sync_set_anchor(s, &s->info.at, err);
	if (rc == SR_E_GONE) {
		*again = true;
		return SR_OK;
	}
	if (rc != SR_OK)
		return rc;
	scan_and_plan(s, err);
	rc = check_interrupted(s, err);
	if (rc != SR_OK)
		return rc;
	if (nothing_planned(s)) {
		rc = end_unions(s, err);
		if (rc == SR_OK)
			rc = sr_sync_mirror_end(s, again, err);
		s->result.skipped = count_skipped(s);
		s->quiet = rc == SR_OK && !*again && !s->result.skipped; /* what was left alone may be free again without a change of a root */
		s->quiet_local = s->r->root;
		s->quiet_remote = s->remote;
		s->result.in_sync = !s->result.skipped && sr_sync_all_equal(s);
		return rc;
	}
	s->quiet = false;
	rc = transfer(s, try, again, err);
	if (rc == SR_OK && !*again) {
		rc = end_unions(s, err);
		if (rc == SR_OK)
			rc = sr_sync_mirror_end(s, again, err);
		s->result.skipped = count_skipped(s);
		s->result.in_sync = !s->result.skipped && sr_hash_eq(&s->r->root, &s->anchor.root);
		*again |= rc == SR_OK && !s->result.skipped && !s->result.in_sync; /* someone else's change came between */
	}
	return rc;
}

static void note_trouble(struct sr_sync *s, enum sr_status rc, const struct sr_err *err)
{
	if (rc == SR_OK) {
		s->trouble[0] = 0;
		s->trouble_since_ms = 0;
		s->last_ok_ms = sr_now_ms();
		return;
	}
	if (!s->trouble[0] || s->trouble_code != rc)
		s->trouble_since_ms = sr_now_ms();
	s->trouble_code = rc;
	snprintf(s->trouble, sizeof s->trouble, "%.500s", err->text);
}

/* --- a round ----------------------------------------------------------------------------------------------------------- */

static void note_since(bool is, int64_t *since_ms)
{
	if (!is)
		*since_ms = 0;
	else if (!*since_ms)
		*since_ms = sr_now_ms();
}

static void note_stores(struct sr_sync *s)
{
	for (size_t i = 0; s->plans && i < s->r->n; i++) {
		struct sr_store_plan *p = &s->plans[i];

		note_since(p->failed, &p->failed_ms);
		note_since(p->skipped > p->skipped_held, &p->skipped_ms);
	}
}

static bool any_store_is_out(const struct sr_sync *s)
{
	for (size_t i = 0; s->plans && i < s->r->n; i++)
		if (s->plans[i].failed || s->r->stores[i].mode == SR_MODE_PAUSED)
			return true;
	return false;
}

/* What is left alone item by item - held deletions, a table that the application here does not know yet - is so on many webservers at a time, and no lag. */
static void note_lag(struct sr_sync *s, enum sr_status rc)
{
	if (!s->met || rc == SR_E_UNAVAILABLE || rc == SR_E_BUSY)
		sr_lag_silent(&s->lag);
	else if (rc == SR_OK && !any_store_is_out(s))
		sr_lag_level(&s->lag);
	else
		sr_lag_behind(&s->lag);
}

int64_t sr_sync_lag_ms(struct sr_sync *s)
{
	return sr_lag_ms(&s->lag);
}

static enum sr_status attempts(struct sr_sync *s, struct sr_err *err)
{
	bool again = true;
	enum sr_status rc = SR_OK;

	for (unsigned try = 1; rc == SR_OK && again && try <= SR_TRIES; try++)
		rc = attempt(s, s->try = try, &again, err);
	if (rc == SR_OK && again && s->noteds) /* of the last try: where only that pushes, nobody would heed the answer */
		rc = attempt(s, SR_TRIES, &again, err);
	if (rc == SR_OK)
		rc = sr_sync_limit_save(s, err);
	return rc == SR_OK ? sr_sync_may_push(s, err) : rc;
}

/* *before: counted from where the round began, which is after first contact. */
static enum sr_status trusted_attempts(struct sr_sync *s, struct sr_client_counts *before, struct sr_err *err)
{
	enum sr_status rc = sr_contact_begin(s->contact, s->r->state, err);

	sr_client_counts(s->client, before);
	if (rc != SR_OK)
		return rc;
	rc = attempts(s, err);
	if (rc == SR_OK)
		return rc;
	rc = sr_contact_retry(s->contact, s->r->state, err);
	if (rc != SR_OK)
		return rc;
	sr_client_counts(s->client, before);
	return attempts(s, err);
}

/* Whatever came of the round, as long as the datastore answers. */
static enum sr_status tell(struct sr_sync *s, enum sr_status rc, struct sr_err *err)
{
	struct sr_err other;

	if (rc == SR_OK) {
		rc = sr_sync_tell(s, err);
		if (rc == SR_OK)
			sr_sync_tell_conflicts(s);
		else
			note_trouble(s, rc, err);
	} else if (s->met && !s->no_room_there && rc != SR_E_UNAVAILABLE && rc != SR_E_AUTH && sr_sync_tell(s, &other) == SR_OK) {
		sr_sync_tell_conflicts(s);
	}
	return rc;
}

enum sr_status sr_sync_round(struct sr_sync *s, struct sr_sync_result *result, struct sr_err *err)
{
	struct sr_client_counts before, after;
	int64_t began = sr_ticks_ms();
	enum sr_status rc;

	memset(&s->result, 0, sizeof s->result);
	s->met = false;
	for (size_t i = 0; s->plans && i < s->r->n; i++)
		s->plans[i].failed = s->plans[i].no_merges = s->plans[i].held_there = false;
	s->declineds = 0; /* asked again: by now the datastore may follow */
	rc = trusted_attempts(s, &before, err);
	forget_notes(s);
	note_trouble(s, rc, err);
	note_stores(s);
	note_lag(s, rc);
	rc = tell(s, rc, err);
	sr_client_counts(s->client, &after);
	s->result.requests = after.requests - before.requests + s->ahead.counts.requests;
	s->result.sent = after.sent - before.sent + s->ahead.counts.sent;
	s->result.received = after.received - before.received + s->ahead.counts.received;
	sr_ahead_clear(&s->ahead);
	sr_buf_free(&s->changes);
	if (rc == SR_OK && s->result.in_sync)
		sr_sync_follow_push(s);
	if (rc != SR_OK) {
		s->result.in_sync = false;
		if (!s->interrupted)
			sr_sync_scan_alone(s);
	} else {
		s->scanned_ms = 0;
	}
	s->rounds++;
	sr_sync_count_round(s, rc, sr_ticks_ms() - began);
	sr_sync_make_report(s);
	sr_sync_publish_tree(s);
	*result = s->result;
	return rc;
}
