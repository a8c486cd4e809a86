/* location.c - see location.h. */
#include "lib/base/location.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/bytes.h"

/* By the text alone. */
static char *normalise(const char *path)
{
	char *out = sr_alloc(strlen(path) + 2), *end = out;

	while (*path) {
		size_t n = strcspn(path, "/");

		if (n == 2 && path[0] == '.' && path[1] == '.') {
			while (end > out && *--end != '/')
				;
		} else if (n > 0 && !(n == 1 && path[0] == '.')) {
			*end++ = '/';
			memcpy(end, path, n);
			end += n;
		}
		path += n + (path[n] == '/');
	}
	*end = '\0';
	return out;
}

/* realpath() of the longest part that exists, and the rest as it is. */
static char *follow(const char *plain)
{
	char *head = sr_strdup(plain), *real = NULL, *out;

	while (*head && !real) {
		char *slash = strrchr(head, '/');

		real = realpath(head, NULL);
		if (!real)
			*slash = '\0';
	}
	out = sr_format("%s%s", real && strcmp(real, "/") != 0 ? real : "", plain + strlen(head));
	free(head);
	free(real);
	return out;
}

struct sr_location sr_location(const char *path)
{
	char *here = *path == '/' ? NULL : getcwd(NULL, 0), *whole = sr_format("%s/%s", here ? here : "", path);
	struct sr_location at = {.plain = normalise(whole)};

	at.real = follow(at.plain);
	free(whole);
	free(here);
	return at;
}

void sr_location_free(struct sr_location *at)
{
	free(at->plain);
	free(at->real);
	*at = (struct sr_location){0};
}

static bool within(const char *inner, const char *outer)
{
	size_t n = strlen(outer);

	return strncmp(inner, outer, n) == 0 && (inner[n] == '/' || inner[n] == '\0');
}

bool sr_location_in(const struct sr_location *inner, const struct sr_location *outer)
{
	return within(inner->plain, outer->plain) || within(inner->real, outer->real);
}
