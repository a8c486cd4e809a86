/* clock.c - what time it is for what ages: what was replaced is kept for Trash-Days, webservers are listed for Webserver-Trim-Days, and a clock that leaps
 * ahead must not end them.
 *
 * Time passes here as the ticks do; the wall clock is followed as long as it is not ahead of that by half of the shorter of both.  If it is, nothing ages
 * but by the ticks for a day, in which an operator may see the warning and set the clock; after it the clock is taken at its word.  At a start, what
 * the newest root is of is the last time that is known: so a datastore that was off, or had nothing to do, for as long forgets a day later.  Of a
 * leap the time before it is kept in state.db, for roots may be dated by it. */
#include "lib/datastore/internal.h"

#include <inttypes.h>

#include "lib/base/log.h"

#define META   "clock" /* is there during a leap: the time before it */
#define DAY_MS INT64_C(86400000)

enum sr_status sr_ds_clock_load(struct sr_datastore *d, struct sr_err *err)
{
	struct sr_ds_clock *c = &d->clock;
	uint64_t before = 0;
	bool found = false;
	enum sr_status rc = sr_state_get_u64(d->r->state, META, &before, &found, err);

	*c = (struct sr_ds_clock){.ms = d->roots_n ? d->roots[d->roots_n - 1].at_ms : sr_now_ms(), .ticks = sr_ticks_ms()};
	if (rc == SR_OK && found)
		c->ms = (int64_t)before;
	c->noted = found;
	return rc;
}

static enum sr_status leaps(struct sr_datastore *d, int64_t ahead_ms, struct sr_err *err)
{
	struct sr_ds_clock *c = &d->clock;
	enum sr_status rc = c->noted ? SR_OK : sr_state_put_u64(d->r->state, META, (uint64_t)c->ms, err);

	if (rc != SR_OK)
		return rc;
	sr_warn("the clock is %" PRId64 " hours ahead of the last time that is known here: what was replaced or deleted is kept, and no webserver forgotten, for "
		"a day longer; if it is wrong, set it before that",
		ahead_ms / 3600000);
	c->noted = c->leapt = true;
	c->leapt_ticks = c->ticks;
	return SR_OK;
}

static enum sr_status is_taken(struct sr_datastore *d, int64_t now, struct sr_err *err)
{
	struct sr_ds_clock *c = &d->clock;
	enum sr_status rc = c->noted ? sr_state_drop(d->r->state, META, err) : SR_OK;

	if (rc != SR_OK)
		return rc;
	c->noted = c->leapt = false;
	c->ms = now;
	return SR_OK;
}

/* 0: nothing ages. */
static int64_t shortest_days(const struct sr_datastore *d)
{
	if (!d->trash_days || !d->trim_days)
		return (int64_t)(d->trash_days + d->trim_days);
	return (int64_t)(d->trash_days < d->trim_days ? d->trash_days : d->trim_days);
}

enum sr_status sr_ds_clock_look(struct sr_datastore *d, struct sr_err *err)
{
	struct sr_ds_clock *c = &d->clock;
	int64_t now = sr_now_ms(), ticks = sr_ticks_ms();
	int64_t days = shortest_days(d);
	enum sr_status rc = SR_OK;

	c->ms += ticks - c->ticks;
	c->ticks = ticks;
	if (!days || now - c->ms <= days * DAY_MS / 2 || (c->leapt && ticks - c->leapt_ticks >= DAY_MS))
		rc = is_taken(d, now, err);
	else if (!c->leapt)
		rc = leaps(d, now - c->ms, err);
	pthread_mutex_lock(&d->face);
	d->trash_waits = c->leapt;
	pthread_mutex_unlock(&d->face);
	return rc;
}
