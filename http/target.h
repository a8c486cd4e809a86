/* target.h - request targets: strict decoding of a raw path and query, and the match against route patterns.  Pure. */
#ifndef SR_HTTP_TARGET_H
#define SR_HTTP_TARGET_H

#include "http/server.h"

struct sr_target { /* {0} is an empty one */
	char *text; /* holds all that is below, each piece with a NUL behind it */
	struct sr_bytes *segments;
	size_t n;
	struct sr_param {
		struct sr_bytes name, value;
	} *params;
	size_t params_n;
};

/* Decode "/a/b%20c?x=1".  SR_E_DATA: not starting with '/', bytes outside 0x21..0x7e, '#', a malformed or NUL percent, `.` or `..`
 * as a path component (also one hidden behind %2f).  `path` and `query` keep their empty segments and parameters; *out OWNED (sr_target_free). */
SR_MUST enum sr_status sr_target_parse(struct sr_target *out, const char *raw, struct sr_err *err);
void sr_target_free(struct sr_target *t);
bool sr_target_query(const struct sr_target *t, const char *name, struct sr_bytes *out);

/* Does the path match?  args gets at most t->n views of what `{}` and `*` held, *n their number. */
bool sr_target_match(const struct sr_target *t, const char *pattern, struct sr_bytes *args, size_t *n);

/* Is `method` one of "GET|PUT"?  GET includes HEAD. */
bool sr_method_match(const char *methods, const char *method);

#endif
