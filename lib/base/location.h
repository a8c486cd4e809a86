/* location.h - does one path lie inside another?  By its text, and with links followed as far as there is something to follow. */
#ifndef SR_BASE_LOCATION_H
#define SR_BASE_LOCATION_H

#include <stdbool.h>

struct sr_location {
	char *plain, *real; /* without //, /./, /../; and with links followed; the root is "" */
};

/* Of a path, be it there or not; one that is not absolute begins where this process is.  OWNED BY CALLER (sr_location_free). */
struct sr_location sr_location(const char *path);
void sr_location_free(struct sr_location *at);
/* One and the same counts, too. */
bool sr_location_in(const struct sr_location *inner, const struct sr_location *outer);

#endif
