/* archive_json.h - the text of an archived version's ID.json.  Pure; private to archive.c. */
#ifndef SR_STATE_ARCHIVE_JSON_H
#define SR_STATE_ARCHIVE_JSON_H

#include "lib/state/archive.h"

/* size: of the content; record: a row's, whose columns are shown when it decodes, or NULL.  OWNED BY CALLER (free); NULL when it cannot be
 * said in JSON. */
char *sr_archive_describe(const char *id, int64_t at_ms, const struct sr_loser *loser, uint64_t size, const struct sr_bytes *record);

/* The other way: out's strings point into `object`, its raw_path into *raw; its id and text are not set.  False: it is none. */
struct json_t;
bool sr_archive_parse(const struct json_t *object, struct sr_archived *out, struct sr_buf *raw);

#endif
