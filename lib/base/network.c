/* network.c - see network.h. */
#include "lib/base/network.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ALL_BITS  128
#define IPV4_BITS 96 /* that stand before an IPv4 address */

static const uint8_t ipv4_prefix[12] = {[10] = 0xff, [11] = 0xff};

/* *family bits: 32 or 128. */
static bool parse_address(const char *text, uint8_t out[16], unsigned *family_bits)
{
	uint8_t at[16];

	if (inet_pton(AF_INET, text, at + sizeof ipv4_prefix) == 1) {
		memcpy(at, ipv4_prefix, sizeof ipv4_prefix);
		*family_bits = ALL_BITS - IPV4_BITS;
	} else if (inet_pton(AF_INET6, text, at) == 1) {
		*family_bits = ALL_BITS;
	} else {
		return false;
	}
	memcpy(out, at, sizeof at);
	return true;
}

/* Are all bits from `bits` on 0? */
static bool rest_is_zero(const uint8_t at[16], unsigned bits)
{
	for (unsigned i = bits; i < ALL_BITS; i++)
		if (at[i / 8] & (0x80 >> (i % 8)))
			return false;
	return true;
}

bool sr_network_parse(const char *text, struct sr_network *out)
{
	const char *slash = strchr(text, '/');
	char *address = sr_text(sr_bytes(text, slash ? (size_t)(slash - text) : strlen(text))), rest;
	unsigned family_bits, bits;
	struct sr_network n;
	bool good = parse_address(address, n.at, &family_bits);

	free(address);
	if (!good)
		return false;
	bits = family_bits;
	if (slash &&
	    (slash[1] < '0' || slash[1] > '9' || strlen(slash) > 4 || sscanf(slash + 1, "%u%c", &bits, &rest) != 1 || bits > family_bits))
		return false;
	n.bits = ALL_BITS - family_bits + bits;
	if (!rest_is_zero(n.at, n.bits))
		return false;
	*out = n;
	return true;
}

bool sr_network_parse_peer(struct sr_bytes text, struct sr_network *out)
{
	char at[SR_NETWORK_TEXT + 16], *start = at, *end;
	unsigned family_bits;

	if (text.len >= sizeof at || memchr(text.at, '\0', text.len))
		return false;
	memcpy(at, text.at, text.len);
	at[text.len] = '\0';
	if (*at == '[') {
		start = at + 1;
		end = strchr(start, ']');
		if (!end)
			return false;
		*end = '\0';
	} else if ((end = strchr(at, ':')) && end == strrchr(at, ':')) {
		*end = '\0'; /* 192.0.2.7:4711 */
	}
	end = strchr(start, '%');
	if (end)
		*end = '\0';
	out->bits = ALL_BITS;
	return parse_address(start, out->at, &family_bits);
}

bool sr_network_has(const struct sr_network *network, const struct sr_network *address)
{
	unsigned whole = network->bits / 8, left = network->bits % 8;

	return memcmp(network->at, address->at, whole) == 0 &&
	       (!left || !((network->at[whole] ^ address->at[whole]) & (uint8_t)(0xff00 >> left)));
}

bool sr_network_is_loopback(const struct sr_network *address)
{
	static const struct sr_network ipv4 = {{[10] = 0xff, [11] = 0xff, [12] = 127}, IPV4_BITS + 8}, ipv6 = {{[15] = 1}, ALL_BITS};

	return sr_network_has(&ipv4, address) || sr_network_has(&ipv6, address);
}

bool sr_network_is_here(const char *text)
{
	static const char name[] = "localhost";
	size_t n = sizeof name - 1;
	struct sr_network address;

	if (strncasecmp(text, name, n) == 0)
		return text[n] == '\0' || text[n] == ':';
	return sr_network_parse_peer(sr_bytes_of(text), &address) && sr_network_is_loopback(&address);
}

void sr_network_text(const struct sr_network *address, char out[SR_NETWORK_TEXT])
{
	bool ipv4 = memcmp(address->at, ipv4_prefix, sizeof ipv4_prefix) == 0;

	if (!inet_ntop(ipv4 ? AF_INET : AF_INET6, address->at + (ipv4 ? sizeof ipv4_prefix : 0), out, SR_NETWORK_TEXT))
		*out = '\0'; /* it always has room */
}
