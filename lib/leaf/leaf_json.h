/* leaf_json.h - names, versions and records as JSON, for people: in the conflict archive and in what an operator is shown.
 *
 * Values (sameroot-state(5), ARCHIVE): integers exactly; text as a string or, if it is not UTF-8, {"hex": ...}; a blob {"blob": ...};
 * infinity {"real": "inf"}; what is too long to be shown {"omitted_bytes": N}.  NULL columns are left out.
 * Pure.  All is OWNED BY CALLER (json_decref). */
#ifndef SR_LEAF_LEAF_JSON_H
#define SR_LEAF_LEAF_JSON_H

#include "lib/leaf/leaf.h"

struct json_t;

const char *sr_kind_text(uint8_t kind); /* "absent", "file", "dir", "row", "table" */
uint8_t sr_kind_parse(const char *text); /* SR_KIND_NONE also for what is none of these */
struct json_t *sr_name_json(struct sr_bytes name); /* percent-encoded where it is not UTF-8 */
struct json_t *sr_version_json(const struct sr_version *v); /* {kind, mode, bytes, hash} */
struct json_t *sr_columns_json(struct sr_bytes record); /* its columns; NULL when it does not decode */

#endif
