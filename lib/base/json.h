/* json.h - what everyone who reads JSON asks of an object.
 *
 * Thread-safe: there is no state. */
#ifndef SR_BASE_JSON_H
#define SR_BASE_JSON_H

struct json_t;

/* The text of that member; otherwise: it is not there, null, or no text.  VALID with the object. */
const char *sr_json_text(const struct json_t *o, const char *name, const char *otherwise);

#endif
