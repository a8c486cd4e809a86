/* range.c - see range.h. */
#include "http/range.h"

#include <string.h>

/* Digits up to `end`; what is beyond 64 bits is as far as that goes. */
static bool take_number(const char **at, char end, uint64_t *out)
{
	uint64_t v = 0;
	const char *c = *at;

	for (; *c >= '0' && *c <= '9'; c++) {
		uint64_t digit = (uint64_t)(*c - '0');

		v = v > (UINT64_MAX - digit) / 10 ? UINT64_MAX : v * 10 + digit;
	}
	if (c == *at || *c != end)
		return false;
	*at = end ? c + 1 : c;
	*out = v;
	return true;
}

bool sr_range_parse(const char *header, uint64_t total, uint64_t *from, uint64_t *length)
{
	uint64_t first, last = UINT64_MAX;

	if (!header || strncmp(header, "bytes=", 6) != 0)
		return false;
	header += 6;
	if (!take_number(&header, '-', &first) || (*header && !take_number(&header, '\0', &last)))
		return false;
	if (last < first || first >= total)
		return false;
	*from = first;
	*length = (last < total ? last + 1 : total) - first;
	return true;
}
