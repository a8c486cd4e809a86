/* ring.h - a bounded byte queue.  Not thread-safe: its owner locks. */
#ifndef SR_HTTP_RING_H
#define SR_HTTP_RING_H

#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"

struct sr_ring { /* {0} is one without room */
	uint8_t *at;
	size_t cap, head, len;
};

static inline void sr_ring_init(struct sr_ring *r, size_t cap)
{
	*r = (struct sr_ring){ .at = sr_alloc(cap), .cap = cap };
}

static inline void sr_ring_free(struct sr_ring *r)
{
	free(r->at);
	*r = (struct sr_ring){ 0 };
}

static inline size_t sr_ring_room(const struct sr_ring *r)
{
	return r->cap - r->len;
}

/* Put as much as there is room for; returns how much that was. */
static inline size_t sr_ring_put(struct sr_ring *r, const void *from, size_t n)
{
	size_t done = 0;

	while (done < n && r->len < r->cap) {
		size_t tail = (r->head + r->len) % r->cap;
		size_t part = tail < r->head ? r->head - tail : r->cap - tail;

		if (part > n - done)
			part = n - done;
		memcpy(r->at + tail, (const uint8_t *)from + done, part);
		r->len += part;
		done += part;
	}
	return done;
}

/* Take up to n bytes; returns how many. */
static inline size_t sr_ring_take(struct sr_ring *r, void *to, size_t n)
{
	size_t done = 0;

	while (done < n && r->len) {
		size_t part = r->cap - r->head;

		if (part > r->len)
			part = r->len;
		if (part > n - done)
			part = n - done;
		memcpy((uint8_t *)to + done, r->at + r->head, part);
		r->head = (r->head + part) % r->cap;
		r->len -= part;
		done += part;
	}
	return done;
}

#endif
