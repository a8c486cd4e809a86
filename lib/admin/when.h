/* when.h - a moment as an operator writes it.  Pure. */
#ifndef SR_ADMIN_WHEN_H
#define SR_ADMIN_WHEN_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

struct sr_when {
	bool is_seq;
	uint64_t seq;  /* a commit of the datastore */
	int64_t at_ms; /* since 1970 */
};

/* "2026-11-25T14:00:00Z", with an offset "+01:00" too, and fractions; "2026-11-25 14:00[:30]" and "2026-11-25" in local time; "14:00", today;
 * "now", "today", "yesterday" (their midnight, but "now"); "90s", "30m", "2h", "3d", "1w", also with " ago"; "@123": a seq.  now_ms: what "now" is.
 * SR_E_USAGE says what is understood. */
SR_MUST enum sr_status sr_when_parse(const char *text, int64_t now_ms, struct sr_when *out, struct sr_err *err);

#endif
