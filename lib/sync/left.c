/* left.c - what of this webserver's stores the datastore does not have: what a shutdown leaves to the next start. */
#include <string.h>

#include "lib/base/log.h"
#include "lib/sync/internal.h"

struct left { /* of one store */
	uint64_t rows, files, directories, others, deletions;
};

static enum sr_status count(void *ctx, const struct sr_leaf_row *row, struct sr_err *err)
{
	struct left *l = ctx;

	(void)err;
	switch (row->local.kind) {
	case SR_KIND_NONE:
		l->deletions++;
		break;
	case SR_KIND_ROW:
		l->rows++;
		break;
	case SR_KIND_FILE:
		l->files++;
		break;
	case SR_KIND_DIR:
		l->directories++;
		break;
	default:
		l->others++;
	}
	return SR_OK;
}

static void tell(struct sr_buf *out, const char **between, uint64_t n, const char *one, const char *many)
{
	if (!n)
		return;
	sr_buf_printf(out, "%s%llu %s", *between, (unsigned long long)n, n == 1 ? one : many);
	*between = ", ";
}

bool sr_sync_left(struct sr_sync *s, struct sr_buf *out)
{
	bool any = false;

	for (size_t i = 0; s->r->keyed && i < s->r->n; i++) {
		struct left l = {0};
		const char *between = "";
		struct sr_err err;

		if (sr_state_leaves(s->r->state, &s->r->stores[i].row, true, count, &l, &err) != SR_OK) {
			sr_warn("%s", err.text);
			continue;
		}
		if (!l.rows && !l.files && !l.directories && !l.others && !l.deletions)
			continue;
		sr_buf_printf(out, "%s%s: ", any ? "; " : "", s->r->stores[i].name);
		tell(out, &between, l.rows, "row", "rows");
		tell(out, &between, l.files, "file", "files");
		tell(out, &between, l.directories, "directory", "directories");
		tell(out, &between, l.others, "table", "tables");
		tell(out, &between, l.deletions, "deletion", "deletions");
		any = true;
	}
	return any;
}

bool sr_sync_unseen(const struct sr_sync *s, struct sr_buf *out)
{
	bool any = false;

	for (size_t i = 0; s->r->keyed && i < s->r->n; i++) {
		const struct sr_replica_store *st = &s->r->stores[i];

		if (st->mode != SR_MODE_PAUSED && (st->mode != SR_MODE_READY || !st->unseen))
			continue;
		sr_buf_printf(out, "%s%s", any ? ", " : "", st->name);
		any = true;
	}
	return any;
}

void sr_sync_look_again(struct sr_sync *s)
{
	s->scanned_ms = 0;
}

void sr_sync_look_first(struct sr_sync *s)
{
	s->scanned_ms = 0;
	sr_sync_scan_alone(s);
}
