/* report.h - what both daemons tell an operator in the same words: JSON for `sameroot`. */
#ifndef SR_REPLICA_REPORT_H
#define SR_REPLICA_REPORT_H

#include "http/server.h"
#include "lib/replica/replica.h"

/* Into a status: "conflicts": how many; "archive": {entries, bytes, limit}, the last null for none.  From any thread. */
struct json_t;
void sr_report_archive(struct json_t *status, struct sr_archive *archive);

/* GET /api/admin/conflicts: [{id, store, path, when, reason, size}], oldest first.  From any thread. */
SR_MUST enum sr_status sr_report_conflicts(struct sr_archive *archive, struct sr_buf *out, struct sr_err *err);

#endif
