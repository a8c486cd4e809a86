/* report.h - what both daemons tell an operator in the same words: JSON for `sameroot`. */
#ifndef SR_REPLICA_REPORT_H
#define SR_REPLICA_REPORT_H

#include "http/server.h"
#include "lib/replica/replica.h"

/* GET /api/admin/conflicts: [{id, store, path, when, reason, size}], oldest first.  From any thread. */
SR_MUST enum sr_status sr_report_conflicts(struct sr_archive *archive, struct sr_buf *out, struct sr_err *err);

#endif
