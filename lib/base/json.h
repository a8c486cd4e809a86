/* json.h - what everyone who reads JSON asks of an object.
 *
 * Thread-safe: there is no state. */
#ifndef SR_BASE_JSON_H
#define SR_BASE_JSON_H

#include "lib/base/bytes.h"

struct json_t;

/* Has this text of JSON, or of none, so many values and keys at most?  In memory each has 100 bytes and more, in a text of somebody else's perhaps three: asked
 * before it is parsed, where it may be long. */
bool sr_json_fits(struct sr_bytes text, size_t most);

/* The text of that member; otherwise: it is not there, null, or no text.  VALID with the object. */
const char *sr_json_text(const struct json_t *o, const char *name, const char *otherwise);

#endif
