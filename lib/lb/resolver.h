/* resolver.h - host names to addresses: all of them at once, and nobody waits longer than he has patience.
 *
 * A DNS server that hangs holds a lookup up for half a minute.  So threads look up, a few names at a time; who waits goes on without what is not there in
 * time, and has it the next time.  Of each name there is one lookup at a time, however often it is asked for.
 *
 * One owner, but for sr_lb_resolver_stop.  Never logs. */
#ifndef SR_LB_RESOLVER_H
#define SR_LB_RESOLVER_H

#include <stdbool.h>

struct json_t;
struct sr_lb_resolver; /* opaque */

/* An address of the host as text, `before` (which may be NULL) if that is one of them; NULL: none.  OWNED BY CALLER (free).  From several threads; may take
 * its time, even beyond sr_lb_resolver_free. */
typedef char *sr_lb_lookup_fn(void *ctx, const char *host, const char *before);

struct sr_lb_resolver *sr_lb_resolver_new(sr_lb_lookup_fn *lookup, void *ctx); /* lookup NULL: the system's (getaddrinfo) */
void sr_lb_resolver_free(struct sr_lb_resolver *r); /* CONSUMES; waits for no lookup; NULL is a no-op */

/* What is found of the members of `hosts` within `ms` goes into addresses, an object from host to address; what is there of the others stays. */
void sr_lb_resolver_turn(struct sr_lb_resolver *r, const struct json_t *hosts, struct json_t *addresses, unsigned ms);
void sr_lb_resolver_stop(struct sr_lb_resolver *r); /* from any thread: nobody waits any more, now and later */

bool sr_lb_is_numeric(const char *host);

#endif
