/* seen.c - when each webserver was seen last: stale after three of its intervals, off the list after Webserver-Trim-Days.
 *
 * Stale is judged by the ticks, with the interval that the webserver told: nobody's clock has a say, and after a start everyone has three intervals
 * to come.  When it was seen is written down every few minutes and at the end, so that it outlives a restart, also where nothing else changes.
 *
 * What goes after Webserver-Trim-Days is what is shown of it, and the list of its conflict archive, which it tells again.  What its next round hangs on
 * stays, for it is small: the last push of its chain with the answer - or it would be told that a push which was committed never was, and would take its
 * own later edit for a conflict -, its token, and how its tables are defined, which it told once.  So one that comes back after years goes on as if it had
 * never been away, and is listed again.  Nothing goes while the clock is not believed (clock.c). */
#include "lib/datastore/internal.h"

#include <stdlib.h>

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
	}
	if (w)
		w->kept_ms = 0;
	pthread_mutex_unlock(&d->face);
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
