/* pin.c - this webserver's stores as of one moment. */
#include "lib/replica/pin.h"

#include "lib/sync/internal.h"

static enum sr_status scan(void *ctx, size_t i, struct sr_err *err)
{
	struct sr_sync *s = ctx;
	enum sr_status rc = sr_replica_scan(s->r, i, true, NULL, NULL, err);

	sr_replica_unview(s->r);
	return rc;
}

void sr_sync_pin(struct sr_sync *s, struct sr_pin *out)
{
	sr_replica_look(s->r);
	sr_pin_take(out, s->r, scan, s);
	out->at.instance = s->anchor.instance;
	out->at.epoch = s->as_of_epoch;
	out->at.seq = s->as_of_seq;
}
