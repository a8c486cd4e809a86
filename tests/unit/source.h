/* source.h - bytes in memory as a stream that is read: for tests and fuzz targets of what reads bundles and backups. */
#ifndef SR_TESTS_SOURCE_H
#define SR_TESTS_SOURCE_H

#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"

struct source {
	struct sr_bytes in; /* BORROWED */
	size_t pos;
};

/* sr_bundle_read_fn and alike: up to n bytes; *got 0: the end. */
static enum sr_status from_source(void *ctx, void *at, size_t n, size_t *got, struct sr_err *err)
{
	struct source *s = ctx;

	(void)err;
	*got = n < s->in.len - s->pos ? n : s->in.len - s->pos;
	if (*got)
		memcpy(at, s->in.at + s->pos, *got);
	s->pos += *got;
	return SR_OK;
}

#endif
