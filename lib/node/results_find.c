/* results_find.c - see results_find.h.
 *
 * A few threads ask one peer after the other, with a client that is made for it, until one has it or all were asked.  The request itself is the
 * question: the answer of the one that has it goes on where the question ended.  Whoever asked waits for that, or until his time is over;
 * the threads are done with it when they are, and hold the search till then. */
#include "lib/node/results_find.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/door.h"
#include "lib/base/wait.h"
#include "lib/node/results.h"

#define SILENT_TOLD 5
#define CONNECT_MS  1500
#define STALL_S     15  /* an answer that stands still for so long is given up */
#define SLACK_MS    300 /* for a thread to notice that its time is over */

struct sr_finder {
	pthread_mutex_t lock;
	pthread_cond_t none;
	unsigned threads;
};

struct question_to { /* one peer */
	const struct sr_peer *peer;
	struct sr_err why; /* it did not answer */
	bool asked, silent;
};

struct sr_search {
	struct sr_finder *finder;
	atomic_uint refs;
	struct sr_call call; /* strings OWNED */
	char **headers;
	int64_t until; /* of sr_ticks_ms() */
	struct sr_peers *peers;
	struct sr_peer_list *list; /* HELD */
	struct question_to *to;    /* in the order in which they are asked */
	size_t n;

	pthread_mutex_t lock; /* everything below */
	pthread_cond_t moved;
	size_t next;
	unsigned running;
	bool over;                           /* nobody waits any more */
	struct question_to *winner, *folder; /* of `to`; not changed once it is over */
	struct sr_answer *answer;            /* the winner's; as is client, which its stream needs */
	struct sr_client *client;
	struct sr_stream *stream;
	char silent[512];
};

/* --- who is asking ------------------------------------------------------------------------------------------------------- */

struct sr_finder *sr_finder_new(void)
{
	struct sr_finder *f = sr_alloc(sizeof *f);

	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->none, NULL);
	return f;
}

void sr_finder_free(struct sr_finder *f)
{
	pthread_mutex_lock(&f->lock);
	while (f->threads)
		pthread_cond_wait(&f->none, &f->lock);
	pthread_mutex_unlock(&f->lock);
	pthread_cond_destroy(&f->none);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

static void count_thread(struct sr_finder *f, int by)
{
	pthread_mutex_lock(&f->lock);
	f->threads += (unsigned)by;
	if (!f->threads)
		pthread_cond_broadcast(&f->none);
	pthread_mutex_unlock(&f->lock);
}

/* --- a search ------------------------------------------------------------------------------------------------------------ */

static struct sr_search *search_new(struct sr_finder *f, const struct sr_question *q, unsigned ms)
{
	struct sr_search *s = sr_alloc(sizeof *s);
	size_t n = 0;

	s->finder = f;
	s->refs = 1;
	s->until = sr_ticks_ms() + ms;
	while (q->headers && q->headers[n])
		n++;
	s->headers = sr_alloc((n + 1) * sizeof *s->headers);
	for (size_t i = 0; i < n; i++)
		s->headers[i] = sr_strdup(q->headers[i]);
	s->call = (struct sr_call){
		.method = sr_strdup(q->method), .target = sr_strdup(q->target), .headers = (const char *const *)s->headers};
	pthread_mutex_init(&s->lock, NULL);
	sr_cond_init(&s->moved);
	return s;
}

/* In the order in which they need each other. */
static void let_go(struct sr_stream *stream, struct sr_answer *answer, struct sr_client *client)
{
	sr_stream_close(stream);
	if (answer)
		sr_answer_free(answer);
	free(answer);
	sr_client_free(client);
}

static void release(struct sr_search *s)
{
	if (atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	let_go(s->stream, s->answer, s->client);
	sr_peer_list_free(s->list);
	free(s->to);
	for (char **h = s->headers; *h; h++)
		free(*h);
	free(s->headers);
	free((char *)s->call.method);
	free((char *)s->call.target);
	pthread_cond_destroy(&s->moved);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static void add_peers(struct sr_search *s, const char *only, bool stale)
{
	for (size_t i = 0; i < s->list->n; i++) {
		const struct sr_peer *peer = &s->list->at[i];

		if (!peer->self && peer->stale == stale && (!only || strcmp(only, peer->uuid) == 0))
			s->to[s->n++].peer = peer;
	}
}

static bool is_result(int status)
{
	return status == 200 || status == 206 || status == 304 || status == 416;
}

/* --- asking -------------------------------------------------------------------------------------------------------------- */

/* What a peer said, with the lock held.  True: that is what was looked for. */
static bool take(struct sr_search *s, struct question_to *to, const struct sr_answer *answer, const struct sr_err *err)
{
	if (s->over) /* nobody looks any more */
		return false;
	to->asked = true;
	to->why = *err;
	if (is_result(answer->status))
		return !s->winner;
	to->silent = answer->status != 404;
	if (answer->status == 404 && sr_answer_header(answer, SR_HEADER_FOLDER) && !s->folder)
		s->folder = to;
	return false;
}

static void ask(struct sr_search *s, struct question_to *to, unsigned ms)
{
	struct sr_peer_call how = {.connect_ms = CONNECT_MS, .stall_s = STALL_S};
	struct sr_answer *answer = sr_alloc(sizeof *answer);
	struct sr_client *client = NULL;
	struct sr_stream *stream = NULL;
	struct sr_call call = s->call;
	struct sr_err err = {0};
	bool won;

	call.head_ms = ms;
	if (sr_peer_client(s->peers, to->peer, &how, &client, &err) == SR_OK)
		(void)!sr_client_open(client, &call, answer, &stream, &err); /* the answer tells */
	pthread_mutex_lock(&s->lock);
	won = take(s, to, answer, &err);
	if (won) {
		s->winner = to;
		s->answer = answer;
		s->client = client;
		s->stream = stream;
	}
	pthread_cond_broadcast(&s->moved);
	pthread_mutex_unlock(&s->lock);
	if (!won)
		let_go(stream, answer, client);
}

/* NULL: there is nobody left, or no need, or no time. */
static struct question_to *next_one(struct sr_search *s, int64_t *ms)
{
	struct question_to *to = NULL;

	pthread_mutex_lock(&s->lock);
	*ms = s->until - sr_ticks_ms();
	if (!s->winner && !s->over && *ms > 0 && s->next < s->n)
		to = &s->to[s->next++];
	pthread_mutex_unlock(&s->lock);
	return to;
}

static void *run(void *ctx)
{
	struct sr_search *s = ctx;
	struct sr_finder *f = s->finder;
	struct question_to *to;
	int64_t ms;

	while ((to = next_one(s, &ms)))
		ask(s, to, (unsigned)ms);
	pthread_mutex_lock(&s->lock);
	s->running--;
	pthread_cond_broadcast(&s->moved);
	pthread_mutex_unlock(&s->lock);
	release(s);
	count_thread(f, -1);
	return NULL;
}

static void start(struct sr_search *s)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for (size_t i = 0; i < s->n && i < SR_ASKED_AT_ONCE; i++) {
		atomic_fetch_add(&s->refs, 1);
		s->running++; /* with the lock held */
		count_thread(s->finder, 1);
		if (pthread_create(&thread, &attr, run, s) == 0)
			continue;
		s->running--;
		count_thread(s->finder, -1);
		release(s);
		break;
	}
	pthread_attr_destroy(&attr);
}

/* With the lock held: until somebody has it, all were asked, or the time is over. */
static void wait_for_answers(struct sr_search *s)
{
	struct timespec until = sr_after_ms(s->until + SLACK_MS - sr_ticks_ms());

	while (!s->winner && s->running && pthread_cond_timedwait(&s->moved, &s->lock, &until) == 0)
		;
	s->over = true;
}

/* Who was not asked in time did not answer, either. */
static bool is_silent(const struct question_to *to)
{
	return !to->asked || to->silent;
}

/* With the lock held.  False: there are none. */
static bool name_silent(struct sr_search *s, bool gone)
{
	size_t told = 0, len = 0, more = 0;

	for (size_t i = 0; i < s->n; i++) {
		const struct question_to *to = &s->to[i];

		if (!is_silent(to) || to->peer->gone != gone)
			continue;
		if (told++ < SILENT_TOLD && len < sizeof s->silent)
			len += (size_t)snprintf(s->silent + len, sizeof s->silent - len, "%s%.64s (%.150s)", told > 1 ? ", " : "", to->peer->name,
						to->asked ? to->why.text : "no answer in time");
		else
			more++;
	}
	if (more && len < sizeof s->silent)
		snprintf(s->silent + len, sizeof s->silent - len, ", and %zu more", more);
	return told > 0;
}

enum sr_found sr_search_run(struct sr_search **out, struct sr_finder *f, struct sr_peers *peers, const struct sr_peer_list *list,
			    const char *only, const struct sr_question *q, unsigned ms)
{
	struct sr_search *s = search_new(f, q, ms);
	enum sr_found found = SR_FOUND_NOTHING;

	s->peers = peers;
	s->list = sr_peer_list_hold(list);
	s->to = sr_alloc((list->n + 1) * sizeof *s->to);
	add_peers(s, only, false);
	add_peers(s, only, true);
	pthread_mutex_lock(&s->lock);
	start(s);
	wait_for_answers(s);
	if (s->winner)
		found = SR_FOUND_FILE;
	else if (s->folder)
		found = SR_FOUND_FOLDER;
	else if (name_silent(s, false))
		found = SR_FOUND_SILENT;
	else if (name_silent(s, true))
		found = SR_FOUND_GONE;
	pthread_mutex_unlock(&s->lock);
	*out = s;
	return found;
}

/* --- what came of it: nobody changes it any more --------------------------------------------------------------------------- */

const struct sr_answer *sr_search_answer(const struct sr_search *s)
{
	return s->answer;
}

struct sr_stream *sr_search_stream(const struct sr_search *s)
{
	return s->stream;
}

static const struct question_to *who(const struct sr_search *s)
{
	return s->winner ? s->winner : s->folder;
}

const char *sr_search_uuid(const struct sr_search *s)
{
	return who(s)->peer->uuid;
}

const char *sr_search_name(const struct sr_search *s)
{
	return who(s)->peer->name;
}

const char *sr_search_silent(const struct sr_search *s)
{
	return s->silent;
}

/* The answer must not go on to come while the threads that lost are still about: they hold the search. */
void sr_search_free(struct sr_search *s)
{
	struct sr_stream *stream;
	struct sr_answer *answer;
	struct sr_client *client;

	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	stream = s->stream;
	answer = s->answer;
	client = s->client;
	s->stream = NULL;
	s->answer = NULL;
	s->client = NULL;
	pthread_mutex_unlock(&s->lock);
	let_go(stream, answer, client);
	release(s);
}
