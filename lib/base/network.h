/* network.h - an IP address or a network, "192.0.2.7", "10.0.0.0/8", "2001:db8::/32", and whether an address lies in it.  Pure.
 *
 * IPv4 addresses and IPv6 ones that stand for them (::ffff:192.0.2.7) are the same. */
#ifndef SR_BASE_NETWORK_H
#define SR_BASE_NETWORK_H

#include "lib/base/bytes.h"

struct sr_network {
	uint8_t at[16]; /* an IPv4 address as ::ffff:... */
	unsigned bits;  /* of them that count */
};

/* false: it is none; or bits that do not count are set ("10.0.0.1/8"). */
SR_MUST bool sr_network_parse(const char *text, struct sr_network *out);
/* An address as the peer of a connection is told, or as X-Forwarded-For has it: an IPv6 one with a zone or in brackets, either with a port.
 * false: it is none. */
SR_MUST bool sr_network_parse_peer(struct sr_bytes text, struct sr_network *out);

bool sr_network_has(const struct sr_network *network, const struct sr_network *address);
bool sr_network_is_loopback(const struct sr_network *address);
/* Is "HOST", "HOST:PORT" or "[V6]:PORT" the machine itself: localhost, or an address of the loopback?  Other names are never looked up: they are not. */
bool sr_network_is_here(const char *text);
/* "192.0.2.7", "2001:db8::1": one text for each address, without its bits. */
#define SR_NETWORK_TEXT 46
void sr_network_text(const struct sr_network *address, char out[SR_NETWORK_TEXT]);

#endif
