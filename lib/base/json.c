/* json.c - see json.h. */
#include "lib/base/json.h"

#include <jansson.h>

/* Each begins the text, a list or an object, or stands behind a colon or a comma. */
bool sr_json_fits(struct sr_bytes text, size_t most)
{
	size_t n = 1;
	bool quoted = false;

	for (size_t i = 0; i < text.len && n <= most; i++) {
		uint8_t c = text.at[i];

		if (quoted && c == '\\')
			i++;
		else if (c == '"')
			quoted = !quoted;
		else
			n += !quoted && (c == ',' || c == ':' || c == '[' || c == '{');
	}
	return n <= most;
}

const char *sr_json_text(const json_t *o, const char *name, const char *otherwise)
{
	const char *text = json_string_value(json_object_get(o, name));

	return text ? text : otherwise;
}
