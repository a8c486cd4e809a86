/* rebuilt.c - tables that this webserver's application built anew, with another key, before any other's did.
 *
 * The datastore makes the new rows of the old ones by itself, without the values that the application's upgrade gave them; and what a row of
 * the one key was in the other, no base tells.  If all that the datastore had of the table was what had been agreed on here, then each of its
 * new rows is older than ours of the same key, and is its base; one that is not here was left out, or deleted since.
 *
 * How is that known?  When the table was planned to go there, its rows were looked at (gather.c).  The push is the next of the datastore's
 * history, and the scan that follows in the same step the one after that: if the root is of just that point, nobody else came between.  In
 * memory only: without it the datastore's rows win, and ours are archived. */
#include <stdlib.h>
#include <string.h>

#include "lib/sync/internal.h"

#define STEPS 2 /* the push, and the scan that finds the rows */

static struct sr_rebuilt *find(const struct sr_sync *s, size_t i, struct sr_bytes table)
{
	for (size_t k = 0; k < s->rebuilts; k++)
		if (s->rebuilt[k].store == i && sr_bytes_eq(sr_bytes_of(s->rebuilt[k].table), table))
			return &s->rebuilt[k];
	return NULL;
}

void sr_sync_rebuilt(struct sr_sync *s, size_t i, struct sr_bytes table)
{
	struct sr_rebuilt *b = find(s, i, table);

	if (!b) {
		s->rebuilt = sr_realloc(s->rebuilt, (s->rebuilts + 1) * sizeof *s->rebuilt);
		b = &s->rebuilt[s->rebuilts++];
		*b = (struct sr_rebuilt){.store = i, .table = sr_text(table)};
	}
	b->at = s->info.at;
}

bool sr_sync_is_carried_over(const struct sr_sync *s, size_t i, struct sr_bytes table)
{
	const struct sr_rebuilt *b = find(s, i, table);
	const struct sr_anchor *now = &s->info.at;

	return b && !memcmp(&b->at.instance, &now->instance, sizeof now->instance) && b->at.epoch == now->epoch && b->at.seq + STEPS == now->seq;
}

void sr_sync_rebuilt_free(struct sr_sync *s)
{
	for (size_t k = 0; k < s->rebuilts; k++)
		free(s->rebuilt[k].table);
	free(s->rebuilt);
}
