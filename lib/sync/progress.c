/* progress.c - see progress.h. */
#include "lib/sync/progress.h"

static void show(const struct sr_progress *p)
{
	if (p->show)
		p->show(p->ctx, p);
}

void sr_progress_begin(struct sr_progress *p, const char *what, uint64_t leaves, uint64_t bytes)
{
	*p = (struct sr_progress){.what = what, .leaves_total = leaves, .bytes_total = bytes, .show = p->show, .ctx = p->ctx};
	show(p);
}

void sr_progress_add(struct sr_progress *p, uint64_t leaves, uint64_t bytes)
{
	p->leaves_done += leaves;
	p->bytes_done += bytes;
	show(p);
}

void sr_progress_end(struct sr_progress *p)
{
	p->what = NULL;
	show(p);
}
