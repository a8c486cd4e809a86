/* resolver.c - see resolver.h. */
#include "lib/lb/resolver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <netdb.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/wait.h"

#define THREADS 16

enum state { IDLE, WAITS, RUNS };

struct name { /* strings OWNED */
	char *host, *before;
	char *address; /* what the last lookup found; NULL: nothing, or it was taken */
	enum state state;
	uint64_t number; /* of those that wait the lowest is the next */
	bool wanted;     /* in this turn */
};

struct sr_lb_resolver {
	sr_lb_lookup_fn *lookup;
	void *ctx;
	pthread_mutex_t lock; /* everything below */
	pthread_cond_t moved;
	struct name **names; /* each stays where it is while its lookup runs */
	size_t n;
	uint64_t numbers;
	unsigned threads;
	bool stopped, freed; /* freed: who is the last has to clean up */
};

/* --- the system's ------------------------------------------------------------------------------------------------------------------ */

bool sr_lb_is_numeric(const char *host)
{
	uint8_t room[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, host, room) == 1 || inet_pton(AF_INET6, host, room) == 1;
}

/* The address that was known before, while it is one of them: round robin in the DNS is no change.  Else the first. */
static char *look_up(void *ctx, const char *host, const char *before)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *all = NULL;
	char text[INET6_ADDRSTRLEN], *found = NULL;

	(void)ctx;
	if (getaddrinfo(host, NULL, &hints, &all) != 0)
		return NULL;
	for (const struct addrinfo *a = all; a; a = a->ai_next) {
		const void *at = a->ai_family == AF_INET ? (const void *)&((const struct sockaddr_in *)(const void *)a->ai_addr)->sin_addr
							 : (const void *)&((const struct sockaddr_in6 *)(const void *)a->ai_addr)->sin6_addr;

		if ((a->ai_family != AF_INET && a->ai_family != AF_INET6) || !inet_ntop(a->ai_family, at, text, sizeof text))
			continue;
		if (!found || (before && !strcmp(before, text))) {
			free(found);
			found = sr_strdup(text);
		}
	}
	freeaddrinfo(all);
	return found;
}

/* --- life -------------------------------------------------------------------------------------------------------------------------- */

struct sr_lb_resolver *sr_lb_resolver_new(sr_lb_lookup_fn *lookup, void *ctx)
{
	struct sr_lb_resolver *r = sr_alloc(sizeof *r);

	r->lookup = lookup ? lookup : look_up;
	r->ctx = ctx;
	pthread_mutex_init(&r->lock, NULL);
	sr_cond_init(&r->moved);
	return r;
}

static void free_name(struct name *name)
{
	free(name->host);
	free(name->before);
	free(name->address);
	free(name);
}

static void destroy(struct sr_lb_resolver *r)
{
	for (size_t i = 0; i < r->n; i++)
		free_name(r->names[i]);
	free(r->names);
	pthread_cond_destroy(&r->moved);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

void sr_lb_resolver_stop(struct sr_lb_resolver *r)
{
	pthread_mutex_lock(&r->lock);
	r->stopped = true;
	pthread_cond_broadcast(&r->moved);
	pthread_mutex_unlock(&r->lock);
}

void sr_lb_resolver_free(struct sr_lb_resolver *r)
{
	bool last;

	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	r->stopped = r->freed = true;
	last = !r->threads;
	pthread_mutex_unlock(&r->lock);
	if (last)
		destroy(r);
}

/* --- the threads.  Everything below but run(): with the lock held ------------------------------------------------------------------- */

static struct name *next_one(struct sr_lb_resolver *r)
{
	struct name *next = NULL;

	for (size_t i = 0; !r->stopped && i < r->n; i++)
		if (r->names[i]->state == WAITS && (!next || r->names[i]->number < next->number))
			next = r->names[i];
	return next;
}

/* host and before of a name do not change while it runs. */
static void *run(void *arg)
{
	struct sr_lb_resolver *r = arg;
	struct name *name;
	bool last;

	pthread_mutex_lock(&r->lock);
	while ((name = next_one(r))) {
		char *found;

		name->state = RUNS;
		pthread_mutex_unlock(&r->lock);
		found = r->lookup(r->ctx, name->host, name->before);
		pthread_mutex_lock(&r->lock);
		free(name->address);
		name->address = found;
		name->state = IDLE;
		pthread_cond_broadcast(&r->moved);
	}
	r->threads--;
	last = r->freed && !r->threads;
	pthread_mutex_unlock(&r->lock);
	if (last)
		destroy(r);
	return NULL;
}

/* As many as there are names that wait; what cannot be looked up now for want of a thread is tried at the next turn. */
static void start_threads(struct sr_lb_resolver *r, size_t waiting)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for (; waiting && r->threads < THREADS && pthread_create(&thread, &attr, run, r) == 0; waiting--)
		r->threads++;
	pthread_attr_destroy(&attr);
}

/* --- a turn ------------------------------------------------------------------------------------------------------------------------- */

static struct name *name_of(struct sr_lb_resolver *r, const char *host)
{
	struct name *name;

	for (size_t i = 0; i < r->n; i++)
		if (!strcmp(r->names[i]->host, host))
			return r->names[i];
	name = sr_alloc(sizeof *name);
	name->host = sr_strdup(host);
	r->names = sr_realloc(r->names, (r->n + 1) * sizeof *r->names);
	r->names[r->n++] = name;
	return name;
}

/* A lookup of it that runs already is as good. */
static void want(struct sr_lb_resolver *r, const char *host, const char *before)
{
	struct name *name = name_of(r, host);

	name->wanted = true;
	if (name->state != IDLE)
		return;
	free(name->before);
	name->before = before ? sr_strdup(before) : NULL;
	name->state = WAITS;
	name->number = ++r->numbers;
}

static size_t count(const struct sr_lb_resolver *r, enum state state)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n; i++)
		n += r->names[i]->state == state;
	return n;
}

static bool is_done(const struct sr_lb_resolver *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->names[i]->wanted && r->names[i]->state != IDLE)
			return false;
	return true;
}

/* What was found goes into addresses; what nobody wants any more goes, once its lookup is over. */
static void take(struct sr_lb_resolver *r, json_t *addresses)
{
	size_t kept = 0;

	for (size_t i = 0; i < r->n; i++) {
		struct name *name = r->names[i];

		if (name->wanted && name->address)
			json_object_set_new(addresses, name->host, json_string(name->address));
		free(name->address);
		name->address = NULL;
		if (name->wanted || name->state == RUNS)
			r->names[kept++] = name;
		else
			free_name(name);
	}
	r->n = kept;
}

void sr_lb_resolver_turn(struct sr_lb_resolver *r, const json_t *hosts, json_t *addresses, unsigned ms)
{
	struct timespec end = sr_after_ms(ms);
	const char *host;
	json_t *value;

	pthread_mutex_lock(&r->lock);
	for (size_t i = 0; i < r->n; i++)
		r->names[i]->wanted = false;
	json_object_foreach ((json_t *)hosts, host, value) {
		const char *before = json_string_value(json_object_get(addresses, host));

		want(r, host, before);
	}
	start_threads(r, count(r, WAITS));
	while (!r->stopped && !is_done(r) && pthread_cond_timedwait(&r->moved, &r->lock, &end) != ETIMEDOUT)
		;
	take(r, addresses);
	pthread_mutex_unlock(&r->lock);
}
