/* json.c - see json.h. */
#include "lib/base/json.h"

#include <jansson.h>

const char *sr_json_text(const json_t *o, const char *name, const char *otherwise)
{
	const char *text = json_string_value(json_object_get(o, name));

	return text ? text : otherwise;
}
