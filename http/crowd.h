/* crowd.h - the open connections of a server, by where they come from, and which of them has to go when there are too many.
 *
 * Those that hold a request which a login was asked for, and let through, are sent away for one of the same kind alone: at most `most` there are, and one
 * beyond that comes in the place of the oldest of the address that has most, if that has at least two more than its own; else it is refused.  All others are *loose*: silent, in the middle of a head or of a TLS handshake, idle between requests, answered with an error, or
 * asking what anyone may.  Together there are at most `most`, too, but for a few loose ones more, so that a newcomer always gets in, and
 * what anyone may ask is answered whatever the others do.  Who goes then is of the address that has most loose ones the one that has been so
 * longest.  So a crowd costs its own address first, and nobody as long as there is room: there is no limit for an address, which would hit the
 * many that one proxy or NAT stands for.
 *
 * Private to http/; not thread-safe: under the keeper's lock. */
#ifndef SR_HTTP_CROWD_H
#define SR_HTTP_CROWD_H

#include <stdbool.h>
#include <sys/socket.h>

#include "lib/base/network.h"

struct sr_place { /* an IPv4 address, or a /64 of IPv6, which is one customer's */
	struct sr_place *next;
	uint8_t at[16];
	unsigned open, loose, held;
	char text[SR_NETWORK_TEXT]; /* the address that came first */
};

struct sr_member { /* one connection; the caller's to allot */
	struct sr_place *place;
	struct sr_member *next, *prev; /* of the loose ones, or of those that are held */
	bool held, gone;
};

struct sr_queue { /* by since when they are in it */
	struct sr_member *oldest, *newest;
};

struct sr_crowd {
	unsigned most, held, loose; /* those that are gone, but not yet closed, are neither */
	struct sr_place *places;
	struct sr_queue loose_ones, held_ones;
};

/* How many loose ones are let in when all places are held, and how many may be on their way out at a time. */
unsigned sr_crowd_spare(unsigned most);

void sr_crowd_join(struct sr_crowd *crowd, struct sr_member *member, const struct sockaddr *from); /* loose */
void sr_crowd_leave(struct sr_crowd *crowd, struct sr_member *member);
/* False: it has to do without, because so many do, or it is gone.  *out: the one to close for it, which is gone from now on, or NULL. */
SR_MUST bool sr_crowd_hold(struct sr_crowd *crowd, struct sr_member *member, struct sr_member **out);
void sr_crowd_loosen(struct sr_crowd *crowd, struct sr_member *member); /* its request is over: the newest of the loose ones */
bool sr_crowd_excess(const struct sr_crowd *crowd); /* there are too many */
struct sr_member *sr_crowd_send_one(struct sr_crowd *crowd); /* the one to close, which is gone from now on; NULL: all are held, or gone */

#endif
