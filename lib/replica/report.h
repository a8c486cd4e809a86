/* report.h - what both daemons tell an operator in the same words: JSON for `sameroot`. */
#ifndef SR_REPLICA_REPORT_H
#define SR_REPLICA_REPORT_H

#include "http/server.h"
#include "lib/replica/replica.h"

/* Into a status: "conflicts": how many; "archive": {entries, bytes, limit}, the last null for none.  From any thread. */
struct json_t;
void sr_report_archive(struct json_t *status, struct sr_archive *archive);

/* Into a store of a status: "watch": {watched, directories, why, full_scans, partial_scans}; null: nobody asked for it. */
void sr_report_watch(struct json_t *store, const struct sr_watch_report *watch);
/* "capture": {triggers (asked for), on, why, tables, by_row, full_scans, scans_by_log}; null: rows are read as ever. */
void sr_report_capture(struct json_t *store, const struct sr_capture_report *capture);

#define SR_CONFLICTS_TOLD 10000 /* entries of an archive, the newest, that other nodes are told of */
/* What a list shows of an entry: {id, store, path, when, reason, kind, size}.  OWNED BY CALLER (json_decref). */
struct json_t *sr_report_conflict(const struct sr_archived *e);
/* The newest `most` of them, oldest first, appended to entries (an array).  From any thread. */
SR_MUST enum sr_status sr_report_newest_conflicts(struct sr_archive *archive, size_t most, struct json_t *entries, struct sr_err *err);
/* GET /api/admin/conflicts: [{id, store, path, when, reason, kind, size}], oldest first.  From any thread. */
SR_MUST enum sr_status sr_report_conflicts(struct sr_archive *archive, struct sr_buf *out, struct sr_err *err);

#endif
