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

/* --- the loose ones, and those that are held ----------------------------------------------------------------------- */

static void count(struct sr_crowd *crowd, const struct sr_member *member, unsigned by)
{
	*(member->held ? &crowd->held : &crowd->loose) += by;
	*(member->held ? &member->place->held : &member->place->loose) += by;
}

static void add(struct sr_crowd *crowd, struct sr_member *member, bool held)
{
	struct sr_queue *queue = held ? &crowd->held_ones : &crowd->loose_ones;

	member->held = held;
	member->next = NULL;
	member->prev = queue->newest;
	*(member->prev ? &member->prev->next : &queue->oldest) = member;
	queue->newest = member;
	count(crowd, member, 1);
}

static void take(struct sr_crowd *crowd, struct sr_member *member)
{
	struct sr_queue *queue = member->held ? &crowd->held_ones : &crowd->loose_ones;

	*(member->prev ? &member->prev->next : &queue->oldest) = member->next;
	*(member->next ? &member->next->prev : &queue->newest) = member->prev;
	count(crowd, member, -1U);
}

static void send_away(struct sr_crowd *crowd, struct sr_member *member)
{
	take(crowd, member);
	member->gone = true;
}

void sr_crowd_join(struct sr_crowd *crowd, struct sr_member *member, const struct sockaddr *from)
{
	*member = (struct sr_member){.place = place_of(crowd, from)};
	member->place->open++;
	add(crowd, member, false);
}

void sr_crowd_leave(struct sr_crowd *crowd, struct sr_member *member)
{
	if (!member->gone)
		take(crowd, member);
	if (!--member->place->open)
		forget_place(crowd, member->place);
}

/* The oldest held one of the address that has most; NULL: there is none that has as many more than `than`. */
static struct sr_member *most_held(const struct sr_crowd *crowd, const struct sr_place *than)
{
	struct sr_member *out = NULL;

	for (struct sr_member *m = crowd->held_ones.oldest; m; m = m->next)
		if (m->place->held >= than->held + 2 && (!out || m->place->held > out->place->held))
			out = m;
	return out;
}

bool sr_crowd_hold(struct sr_crowd *crowd, struct sr_member *member, struct sr_member **out)
{
	*out = NULL;
	if (member->gone)
		return false;
	if (crowd->held >= crowd->most) {
		*out = most_held(crowd, member->place);
		if (!*out)
			return false;
		send_away(crowd, *out);
	}
	take(crowd, member);
	add(crowd, member, true);
	return true;
}

void sr_crowd_loosen(struct sr_crowd *crowd, struct sr_member *member)
{
	if (member->gone)
		return;
	take(crowd, member);
	add(crowd, member, false);
}

bool sr_crowd_excess(const struct sr_crowd *crowd)
{
	return crowd->loose > crowd->most - crowd->held && crowd->loose > sr_crowd_spare(crowd->most);
}

struct sr_member *sr_crowd_send_one(struct sr_crowd *crowd)
{
	struct sr_member *out = crowd->loose_ones.oldest;

	if (!out)
		return NULL;
	for (struct sr_member *m = out; m; m = m->next)
		if (m->place->loose > out->place->loose)
			out = m;
	send_away(crowd, out);
	return out;
}
