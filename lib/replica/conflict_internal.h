/* conflict_internal.h - what conflict.c and conflict_restore.c share. */
#ifndef SR_REPLICA_CONFLICT_INTERNAL_H
#define SR_REPLICA_CONFLICT_INTERNAL_H

#include "lib/replica/conflict.h"

/* What is at `path` of store i: of files as of the last scan, of rows as it is now (with its record).  SR_E_UNAVAILABLE: it cannot be told. */
SR_MUST enum sr_status sr_conflict_now(struct sr_replica *r, size_t i, struct sr_bytes path, struct sr_version *out, struct sr_buf *record,
				       struct sr_err *err);

#define SR_CONFLICT_OVER 96
/* A version in one word. */
void sr_conflict_over(char out[SR_CONFLICT_OVER], const struct sr_version *v);

#endif
