/* crowd.c - see crowd.h. */
#include "http/crowd.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "http/listen.h"

unsigned sr_crowd_spare(unsigned most)
{
	return most / 16 + 4;
}

/* --- places ------------------------------------------------------------------------------------------------------- */

static void place_key(uint8_t out[16], const struct sockaddr *from)
{
	const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr;

	memset(out, 0, 16);
	if (from && from->sa_family == AF_INET) {
		out[10] = out[11] = 0xff; /* as an IPv6 socket shows it */
		memcpy(out + 12, &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
	} else if (from && from->sa_family == AF_INET6) {
		memcpy(out, six, IN6_IS_ADDR_V4MAPPED(six) ? 16 : 8);
	}
}

static struct sr_place *place_of(struct sr_crowd *crowd, const struct sockaddr *from)
{
	struct sr_place *place = crowd->places;
	uint8_t key[16];
	char *text;

	place_key(key, from);
	while (place && memcmp(place->at, key, sizeof(key)))
		place = place->next;
	if (place)
		return place;
	place = sr_alloc(sizeof(*place));
	memcpy(place->at, key, sizeof(key));
	text = sr_address_text(from);
	memcpy(place->text, text, strnlen(text, sizeof(place->text) - 1));
	free(text);
	place->next = crowd->places;
	crowd->places = place;
	return place;
}

static void forget_place(struct sr_crowd *crowd, struct sr_place *place)
{
	struct sr_place **at = &crowd->places;

	while (*at != place)
		at = &(*at)->next;
	*at = place->next;
	free(place);
}

/* --- the loose ones ----------------------------------------------------------------------------------------------- */

static void add(struct sr_crowd *crowd, struct sr_member *member)
{
	member->next = NULL;
	member->prev = crowd->newest;
	*(member->prev ? &member->prev->next : &crowd->oldest) = member;
	crowd->newest = member;
	crowd->loose++;
	member->place->loose++;
}

static void take(struct sr_crowd *crowd, struct sr_member *member)
{
	*(member->prev ? &member->prev->next : &crowd->oldest) = member->next;
	*(member->next ? &member->next->prev : &crowd->newest) = member->prev;
	crowd->loose--;
	member->place->loose--;
}

void sr_crowd_join(struct sr_crowd *crowd, struct sr_member *member, const struct sockaddr *from)
{
	*member = (struct sr_member){.place = place_of(crowd, from)};
	member->place->open++;
	add(crowd, member);
}

void sr_crowd_leave(struct sr_crowd *crowd, struct sr_member *member)
{
	if (member->held)
		crowd->held--;
	else if (!member->gone)
		take(crowd, member);
	if (!--member->place->open)
		forget_place(crowd, member->place);
}

bool sr_crowd_hold(struct sr_crowd *crowd, struct sr_member *member)
{
	if (member->gone || crowd->held >= crowd->most)
		return false;
	take(crowd, member);
	member->held = true;
	crowd->held++;
	return true;
}

void sr_crowd_loosen(struct sr_crowd *crowd, struct sr_member *member)
{
	if (member->gone)
		return;
	if (member->held)
		crowd->held--;
	else
		take(crowd, member);
	member->held = false;
	add(crowd, member);
}

bool sr_crowd_excess(const struct sr_crowd *crowd)
{
	return crowd->loose > crowd->most - crowd->held && crowd->loose > sr_crowd_spare(crowd->most);
}

struct sr_member *sr_crowd_send_one(struct sr_crowd *crowd)
{
	struct sr_member *out = crowd->oldest;

	if (!out)
		return NULL;
	for (struct sr_member *m = out; m; m = m->next)
		if (m->place->loose > out->place->loose)
			out = m;
	take(crowd, out);
	out->gone = true;
	return out;
}
