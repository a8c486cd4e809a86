/* pause.c - see pause.h. */
#include "lib/lb/pause.h"

#define LEAST_MS  1000
#define MOST_MS   30000
#define LASTED_MS 60000

void sr_lb_pause_good(struct sr_lb_pause *p, int64_t now)
{
	if (!p->since)
		p->since = now;
}

void sr_lb_pause_failed(struct sr_lb_pause *p, int64_t now)
{
	p->ms = !p->ms || (p->since && now - p->since > LASTED_MS) ? LEAST_MS : p->ms * 2;
	if (p->ms > MOST_MS)
		p->ms = MOST_MS;
	p->not_before = now + p->ms;
	p->since = 0;
}
