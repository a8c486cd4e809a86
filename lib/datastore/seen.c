/* seen.c - when each webserver was seen last, at a check-in, a push, or when it told who it is: stale after three of its intervals, off the list after
 * Webserver-Trim-Days, or when an admin says so.
 *
 * Stale is judged by the ticks, with the interval that the webserver told: nobody's clock has a say, and after a start everyone has three intervals
 * to come.  When it was seen is written down every few minutes and at the end, so that it outlives a restart, also where nothing else changes.
 *
 * What goes after Webserver-Trim-Days is its status and the list of its conflict archive, which it tells again.  What its next round hangs on
 * stays, for it is small: the last push of its chain with the answer - or it would be told that a push which was committed never was, and would take its
 * own later edit for a conflict -, its token, and how its tables are defined, which it told once.  So one that comes back after years goes on as if it had
 * never been away, and is listed again.  Of one that never had any of these the next new one takes the place.  Nothing goes while the clock is not believed
 * (clock.c). */
#include "lib/datastore/internal.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"

#define INTERVALS  3
#define GRACE_MS   2000 /* for a round under way */
#define KEEP_MS    300000
#define DAY_MS     INT64_C(86400000)

void sr_ds_note_seen(struct sr_ds_webserver *w)
{
	w->row.seen_ms = sr_now_ms();
	w->seen_ticks = sr_ticks_ms();
	w->trimmed = false;
}

uint64_t sr_ds_interval_of(const struct sr_datastore *d, const struct sr_ds_webserver *w)
{
	return w->interval ? w->interval : w->token.interval ? w->token.interval : d->interval;
}

bool sr_ds_is_stale(const struct sr_datastore *d, const struct sr_ds_webserver *w)
{
	int64_t since = w->seen_ticks ? w->seen_ticks : d->started_ticks;

	return sr_ticks_ms() - since > (int64_t)sr_ds_interval_of(d, w) * INTERVALS * 1000 + GRACE_MS;
}

bool sr_ds_is_listed(const struct sr_ds_webserver *w)
{
	return !w->trimmed && (w->row.seen_ms || w->row.name);
}

/* --- written down ------------------------------------------------------------------------------------------------------- */

static bool is_to_keep(const struct sr_ds_webserver *w, int64_t least_ms)
{
	int64_t ahead = w->row.seen_ms - w->kept_ms;

	return sr_ds_is_listed(w) && w->row.seen_ms && (ahead >= least_ms || ahead < 0) && ahead != 0;
}

/* Copies of the rows, whose texts change only under the writer.  OWNED BY CALLER (free). */
static struct sr_webserver_row *rows_to_keep(struct sr_datastore *d, int64_t least_ms, size_t *n)
{
	struct sr_webserver_row *rows;

	pthread_mutex_lock(&d->face);
	rows = sr_alloc((d->webservers_n + 1) * sizeof *rows);
	*n = 0;
	for (size_t i = 0; i < d->webservers_n; i++)
		if (is_to_keep(&d->webservers[i], least_ms))
			rows[(*n)++] = d->webservers[i].row;
	pthread_mutex_unlock(&d->face);
	return rows;
}

static void note_kept(struct sr_datastore *d, const struct sr_webserver_row *rows, size_t n)
{
	pthread_mutex_lock(&d->face);
	for (size_t k = 0; k < n; k++) {
		struct sr_ds_webserver *w = sr_ds_webserver(d, &rows[k].uuid);

		if (w)
			w->kept_ms = rows[k].seen_ms;
	}
	pthread_mutex_unlock(&d->face);
}

enum sr_status sr_ds_seen_keep(struct sr_datastore *d, bool all, struct sr_err *err)
{
	size_t n;
	struct sr_webserver_row *rows = rows_to_keep(d, all ? 0 : KEEP_MS, &n);
	enum sr_status rc = n ? sr_state_begin(d->r->state, err) : SR_OK;
	bool begun = n && rc == SR_OK;

	for (size_t k = 0; rc == SR_OK && k < n; k++)
		rc = sr_state_webserver_put(d->r->state, &rows[k], err);
	if (rc == SR_OK && begun)
		rc = sr_state_commit(d->r->state, err);
	else if (begun)
		sr_state_rollback(d->r->state);
	if (rc == SR_OK)
		note_kept(d, rows, n);
	free(rows);
	return rc;
}

/* --- forgotten ------------------------------------------------------------------------------------------------------------ */

/* The next one that was not seen for so long.  Its name is COPIED (free). */
static bool find_old(struct sr_datastore *d, struct sr_uuid *uuid, char **name)
{
	bool found = false;

	pthread_mutex_lock(&d->face);
	for (size_t i = 0; !found && d->trim_days && !d->clock.leapt && i < d->webservers_n; i++) {
		struct sr_ds_webserver *w = &d->webservers[i];

		if (!sr_ds_is_listed(w) || !w->row.seen_ms || !sr_ds_is_stale(d, w) || d->clock.ms - w->row.seen_ms <= (int64_t)d->trim_days * DAY_MS)
			continue;
		found = true;
		*uuid = w->row.uuid;
		*name = sr_strdup(w->row.name ? sr_ds_webserver_name(d, w) : "one that never told its name");
	}
	pthread_mutex_unlock(&d->face);
	return found;
}

static void note_trimmed(struct sr_datastore *d, const struct sr_uuid *uuid)
{
	struct sr_ds_webserver *w;

	pthread_mutex_lock(&d->face);
	w = sr_ds_webserver(d, uuid);
	if (w && sr_ds_is_stale(d, w)) { /* else it has just come, and is written down again */
		w->trimmed = true;
		w->refused = false;
		free(w->row.status);
		w->row.status = NULL;
	}
	if (w)
		w->kept_ms = 0;
	pthread_mutex_unlock(&d->face);
}

/* Is it one that may be forgotten?  Its name is COPIED (free). */
static enum sr_status find_stale(struct sr_datastore *d, const struct sr_uuid *uuid, char **name, struct sr_err *err)
{
	enum sr_status rc = SR_OK;
	struct sr_ds_webserver *w = NULL;

	pthread_mutex_lock(&d->face);
	for (size_t i = 0; !w && i < d->webservers_n; i++)
		if (memcmp(&d->webservers[i].row.uuid, uuid, sizeof *uuid) == 0 && sr_ds_is_listed(&d->webservers[i]))
			w = &d->webservers[i];
	if (!w)
		rc = sr_err_set(err, SR_E_NOTFOUND, "no webserver of that UUID is listed");
	else if (!sr_ds_is_stale(d, w))
		rc = sr_err_set(err, SR_E_HELD, "%s is not stale, it checks in or did a moment ago: stop it first, and wait for three of its intervals (%llu s)",
				w->row.name ? sr_ds_webserver_name(d, w) : "this webserver", (unsigned long long)sr_ds_interval_of(d, w) * INTERVALS);
	else
		*name = sr_strdup(w->row.name ? sr_ds_webserver_name(d, w) : "one that never told its name");
	pthread_mutex_unlock(&d->face);
	return rc;
}

static enum sr_status forget(struct sr_datastore *d, const struct sr_peer *peer, const char *by, struct sr_err *err)
{
	struct sr_uuid uuid;
	char *name = NULL;
	enum sr_status rc;

	if (!sr_ds_parse_uuid(peer->uuid, &uuid))
		return sr_err_set(err, SR_E_INTERNAL, "%s is no UUID", peer->uuid);
	pthread_mutex_lock(&d->writer);
	rc = find_stale(d, &uuid, &name, err);
	if (rc == SR_OK)
		rc = sr_state_webserver_drop(d->r->state, &uuid, err);
	if (rc == SR_OK)
		note_trimmed(d, &uuid);
	pthread_mutex_unlock(&d->writer);
	if (rc == SR_OK)
		sr_info("webserver %s (%s) is forgotten, said %s; if it comes back, it goes on where it was", name, peer->uuid, by);
	free(name);
	return rc;
}

/* Who asked for the list a moment ago has it anew. */
static void learn_anew(struct sr_datastore *d)
{
	struct sr_buf json = {0};
	struct sr_err err;

	if (sr_ds_ask_registry(d, &json, &err) != SR_OK || sr_peers_learn(d->peers, sr_buf_view(&json), &err) != SR_OK)
		sr_warn("the registry: %s", err.text);
	sr_buf_free(&json);
}

enum sr_status sr_ds_webserver_delete(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_datastore *d = ctx;
	const char *by = sr_request_user(req);
	const struct sr_peer *peer;
	struct sr_peer_list *list;
	enum sr_status rc = sr_relay_find(d->peers, sr_request_arg_text(req, 0), &list, &peer, err);

	if (rc == SR_OK)
		rc = forget(d, peer, by ? by : "an admin", err);
	sr_peer_list_free(list);
	if (rc != SR_OK)
		return rc;
	learn_anew(d);
	sr_reply_bytes(req, 204, NULL, sr_bytes(NULL, 0));
	return SR_OK;
}

enum sr_status sr_ds_seen_trim(struct sr_datastore *d, struct sr_err *err)
{
	struct sr_uuid uuid;
	char *name = NULL;
	enum sr_status rc = SR_OK;

	while (rc == SR_OK && find_old(d, &uuid, &name)) {
		rc = sr_state_webserver_drop(d->r->state, &uuid, err);
		if (rc == SR_OK) {
			note_trimmed(d, &uuid);
			sr_info("webserver %s has not been seen for %llu days (Webserver-Trim-Days) and is not listed any more; if it comes back, it goes on "
				"where it was",
				name, (unsigned long long)d->trim_days);
		}
		free(name);
		name = NULL;
	}
	return rc;
}
