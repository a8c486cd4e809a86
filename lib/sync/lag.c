/* lag.c - see lag.h. */
#include "lib/sync/lag.h"

#include <stdlib.h>

#include "lib/base/door.h"

#define SAME_MS 2000

void sr_lag_init(struct sr_lag *l)
{
	*l = (struct sr_lag){.mark = sr_ticks_ms()};
	pthread_mutex_init(&l->lock, NULL);
}

void sr_lag_destroy(struct sr_lag *l)
{
	pthread_mutex_destroy(&l->lock);
}

/* With the lock held. */
static void count(struct sr_lag *l)
{
	int64_t now = sr_ticks_ms();

	if (l->answers)
		l->counted += now - l->mark;
	l->mark = now;
}

void sr_lag_met(struct sr_lag *l, bool behind)
{
	pthread_mutex_lock(&l->lock);
	count(l);
	l->answers = true;
	l->behind |= behind;
	l->told = l->mark;
	pthread_mutex_unlock(&l->lock);
}

void sr_lag_level(struct sr_lag *l)
{
	pthread_mutex_lock(&l->lock);
	l->behind = false;
	l->counted = 0;
	l->mark = l->told;
	pthread_mutex_unlock(&l->lock);
}

void sr_lag_behind(struct sr_lag *l)
{
	pthread_mutex_lock(&l->lock);
	l->behind = true;
	pthread_mutex_unlock(&l->lock);
}

/* Since when it has not is not known: since it told its root last, for all that is. */
void sr_lag_silent(struct sr_lag *l)
{
	pthread_mutex_lock(&l->lock);
	l->answers = false;
	l->mark = sr_ticks_ms();
	pthread_mutex_unlock(&l->lock);
}

int64_t sr_lag_ms(struct sr_lag *l)
{
	int64_t ms = 0;

	pthread_mutex_lock(&l->lock);
	if (l->behind) /* what passed since the last mark may come to count for nothing */
		ms = l->counted + (l->answers ? sr_ticks_ms() - l->mark : 0);
	pthread_mutex_unlock(&l->lock);
	return ms;
}

int64_t sr_lag_since(struct sr_lag *l)
{
	int64_t ms = sr_lag_ms(l), since = ms ? sr_now_ms() - ms : 0;

	pthread_mutex_lock(&l->lock);
	if (!since || !l->since || llabs(since - l->since) > SAME_MS)
		l->since = since;
	since = l->since;
	pthread_mutex_unlock(&l->lock);
	return since;
}
