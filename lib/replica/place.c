/* place.c - see place.h. */
#include "lib/replica/place.h"

#include <string.h>

/* The next part of *text, decoded; empty where there is nothing between two slashes. */
static bool next_part(struct sr_bytes *text, struct sr_buf *part)
{
	const uint8_t *slash = memchr(text->at, '/', text->len);
	size_t len = slash ? (size_t)(slash - text->at) : text->len;
	bool good;

	sr_buf_clear(part);
	good = sr_unpercent(part, sr_bytes(text->at, len));
	text->at += slash ? len + 1 : len;
	text->len -= slash ? len + 1 : len;
	return good;
}

enum sr_status sr_place_parse(struct sr_replica *r, struct sr_bytes text, struct sr_replica_store **store, size_t *i, struct sr_buf *path,
			      struct sr_err *err)
{
	struct sr_replica_store *found = NULL;
	struct sr_buf part = {0};
	bool good = true;

	while (text.len && good) {
		good = next_part(&text, &part);
		if (!good || !part.len)
			continue; /* a doubled or trailing slash */
		if (!found) {
			found = sr_replica_find(r, sr_buf_view(&part), i);
			good = found != NULL;
			continue;
		}
		if (path->len)
			sr_buf_byte(path, 0);
		sr_buf_bytes(path, sr_buf_view(&part));
	}
	sr_buf_free(&part);
	if (!good) {
		sr_buf_free(path);
		return sr_err_set(err, SR_E_NOTFOUND, "path: it begins with the name of a store, its parts are percent-encoded");
	}
	*store = found;
	return SR_OK;
}
