/* waiter.c - see waiter.h. */
#include "lib/sync/waiter.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/door.h"
#include "lib/base/log.h"
#include "lib/base/wait.h"
#include "lib/replica/changes.h"

#define SLACK_MS     500   /* a wait that ends so much before its time has lasted for all of it */
#define LONG_MS      10000 /* one that lasted for so long was worth while, whatever ended it */
#define AGAIN_MS     1000  /* from one that was not to the next, at first */
#define AGAIN_MOST   60000
#define REST_MS      20
#define REST_SHARE   4     /* of the time that a round took, */
#define SPEND_MS     500   /* beyond that of a few in a row */
#define REST_EMPTY   200   /* after a round that brought nothing, at first */
#define REST_MOST    5000

/* --- what is asked, and what is known ------------------------------------------------------------------------------------- */

void sr_standing_clear(struct sr_standing *s)
{
	sr_buf_free(&s->check_in);
	sr_buf_free(&s->match);
	sr_buf_free(&s->beside);
	*s = (struct sr_standing){0};
}

void sr_ahead_clear(struct sr_ahead *a)
{
	sr_buf_free(&a->check_in);
	sr_buf_free(&a->match);
	sr_answer_free(&a->answer);
	*a = (struct sr_ahead){0};
}

void sr_beside(const struct sr_tree_info *info, struct sr_buf *out)
{
	struct sr_tree_info rest = *info;

	rest.at = (struct sr_anchor){.instance = info->at.instance, .epoch = info->at.epoch};
	rest.push = (struct sr_uuid){0};
	rest.history = SR_HISTORY_KNOWN;
	rest.has_key = false;
	rest.stores = sr_alloc((info->n + 1) * sizeof *rest.stores);
	for (size_t i = 0; i < info->n; i++) {
		struct sr_tree_store *s = &rest.stores[i];

		*s = info->stores[i];
		s->map = (struct sr_hash){0};
		s->leaves = s->bytes = s->epoch = s->seq = 0;
		if (s->approved_seq == info->at.seq) /* all that is there is */
			s->approved_seq = INT64_MAX;
	}
	sr_tree_info_print(out, &rest);
	free(rest.stores);
}

bool sr_is_news(const struct sr_tree_info *info, const struct sr_standing *s)
{
	struct sr_buf beside = {0};
	bool same;

	if (info->history != SR_HISTORY_KNOWN || memcmp(&info->at, &s->at, sizeof s->at) != 0 || memcmp(&info->push, &s->push, sizeof s->push) != 0)
		return true;
	sr_beside(info, &beside);
	same = sr_bytes_eq(sr_buf_view(&beside), sr_buf_view(&s->beside));
	sr_buf_free(&beside);
	return !same;
}

/* --- the decisions ---------------------------------------------------------------------------------------------------------- */

static int64_t doubled(int64_t ms, unsigned times, int64_t most)
{
	ms <<= times < 16 ? times : 16;
	return ms < most ? ms : most;
}

static struct sr_wait_next again(int64_t ms)
{
	return (struct sr_wait_next){.ask_in_ms = ms};
}

static struct sr_wait_next begin(void)
{
	return (struct sr_wait_next){.round = true};
}

struct sr_wait_next sr_wait_judge(struct sr_wait_manners *m, const struct sr_wait_end *end)
{
	bool whole = end->lasted_ms >= end->asked_ms - SLACK_MS;

	if (end->status == 200 && end->news) {
		m->short_ones = 0;
		return begin();
	}
	if ((end->status == 200 || end->status == 304) && end->expected)
		return again(0);
	if (end->status == 304 && whole) {
		m->short_ones = 0;
		return end->left_ms <= SLACK_MS ? begin() : again(0);
	}
	m->short_ones = end->lasted_ms >= LONG_MS ? 1 : m->short_ones + 1;
	return again(doubled(AGAIN_MS, m->short_ones - 1, AGAIN_MOST));
}

int64_t sr_wait_rest_ms(struct sr_wait_manners *m, bool for_news, bool brought, int64_t round_ms, int64_t idle_ms, int64_t interval_ms)
{
	int64_t most = interval_ms < REST_MOST ? interval_ms : REST_MOST, ms, empty;

	m->spent_ms = m->spent_ms > idle_ms / REST_SHARE ? m->spent_ms - idle_ms / REST_SHARE : 0;
	if (for_news)
		m->spent_ms += round_ms;
	if (m->spent_ms > SPEND_MS + REST_MOST / REST_SHARE) /* a long one is not paid for ever */
		m->spent_ms = SPEND_MS + REST_MOST / REST_SHARE;
	ms = (m->spent_ms - SPEND_MS) * REST_SHARE;
	if (!for_news || brought)
		m->empty_ones = 0;
	else
		m->empty_ones++;
	empty = m->empty_ones ? doubled(REST_EMPTY, m->empty_ones - 1, most) : 0;
	if (ms < empty)
		ms = empty;
	if (ms < REST_MS)
		ms = REST_MS;
	return ms < most ? ms : most;
}

/* --- the thread --------------------------------------------------------------------------------------------------------------- */

struct sr_waiter {
	struct sr_waiter_options o;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop, round, asking; /* round: one is under way */
	bool for_news;            /* the one that is due, or under way, was started for news */
	bool due;                 /* one was asked for, and has not begun */
	struct sr_standing standing;
	bool stands;
	uint64_t stood;           /* how often it was set, */
	int64_t stood_at, idle_ms; /* and when, of sr_ticks_ms(); for how long until the round that followed */
	int64_t until, not_before, ask_at; /* of sr_ticks_ms(): the pause is over; a round for news may begin; a question may be put */
	struct sr_answer kept;    /* a 200 that was no news; its ETag is what is asked by */
	struct sr_ahead ahead;
	struct sr_wait_manners manners;
	struct sr_client *client; /* of the thread; others interrupt it under the lock */
	unsigned generation;
	struct sr_client_counts counted; /* of this client, what rounds were told */
};

static void sleep_until(struct sr_waiter *w, int64_t ticks)
{
	struct timespec until = sr_after_ms(ticks - sr_ticks_ms());

	pthread_cond_timedwait(&w->wake, &w->lock, &until);
}

/* What is asked: COPIES, for a round may set another standing meanwhile. */
struct question {
	struct sr_buf check_in, match;
	bool changes;
	char target[48];
	int64_t asked_ms;
};

static void question_clear(struct question *q)
{
	sr_buf_free(&q->check_in);
	sr_buf_free(&q->match);
}

static void put_question(struct sr_waiter *w, struct question *q)
{
	int64_t left = w->until - sr_ticks_ms();
	const char *etag = sr_answer_header(&w->kept, "ETag");

	*q = (struct question){.asked_ms = left > 1000 ? (left + 999) / 1000 * 1000 : 1000, .changes = w->standing.changes};
	snprintf(q->target, sizeof q->target, "/api/%s?wait=%lld", w->standing.changes ? "changes" : "tree", (long long)q->asked_ms / 1000);
	sr_buf_bytes(&q->check_in, sr_buf_view(&w->standing.check_in));
	if (etag)
		sr_buf_printf(&q->match, "If-None-Match: %s", etag);
	else
		sr_buf_bytes(&q->match, sr_buf_view(&w->standing.match));
}

/* It was put before a push of this webserver, and this is the answer of one that has taken that in. */
static bool is_of_now(const struct sr_waiter *w, const struct question *q, const struct sr_tree_info *info)
{
	return q->changes && w->standing.changes && info->history == SR_HISTORY_KNOWN && !memcmp(&info->push, &w->standing.push, sizeof info->push);
}

/* Would it be put like this now? */
static bool is_current(struct sr_waiter *w, const struct question *q)
{
	struct question now;
	bool is;

	put_question(w, &now);
	is = sr_bytes_eq(sr_buf_view(&q->check_in), sr_buf_view(&now.check_in)) && sr_bytes_eq(sr_buf_view(&q->match), sr_buf_view(&now.match));
	question_clear(&now);
	return is;
}

/* With the lock held. */
static void forget_client(struct sr_waiter *w)
{
	sr_client_free(w->client);
	w->client = NULL;
	w->counted = (struct sr_client_counts){0};
}

static enum sr_status need_client(struct sr_waiter *w, struct sr_err *err)
{
	unsigned generation = w->o.generation(w->o.ctx);

	if (w->client && generation != w->generation)
		forget_client(w);
	w->generation = generation;
	return w->client ? SR_OK : w->o.client(w->o.ctx, &w->client, err);
}

static void count(struct sr_waiter *w)
{
	struct sr_client_counts now = {0}, *sum = &w->ahead.counts;

	if (w->client)
		sr_client_counts(w->client, &now);
	sum->requests += now.requests - w->counted.requests;
	sum->sent += now.sent - w->counted.sent;
	sum->received += now.received - w->counted.received;
	w->counted = now;
}

/* Lets the lock go meanwhile. */
static void ask(struct sr_waiter *w, struct question *q, struct sr_answer *answer)
{
	const char *headers[] = {sr_buf_text(&q->check_in), q->match.len ? sr_buf_text(&q->match) : NULL, NULL};
	struct sr_call call = {.target = q->target, .headers = headers, .quiet_s = (unsigned)(q->asked_ms / 1000)};
	struct sr_err err = {0};
	enum sr_status rc = need_client(w, &err);

	w->asking = true;
	pthread_mutex_unlock(&w->lock);
	if (rc == SR_OK)
		rc = sr_client_call(w->client, &call, answer, &err);
	pthread_mutex_lock(&w->lock);
	w->asking = false;
	count(w);
	if (rc != SR_OK && !w->stop)
		sr_debug("waiting for news: %s", err.text);
	if (rc == SR_E_AUTH)
		forget_client(w);
}

/* The answer is the next round's. */
static void hand_over(struct sr_waiter *w, struct sr_answer *answer)
{
	sr_buf_clear(&w->ahead.check_in);
	sr_buf_clear(&w->ahead.match);
	sr_buf_bytes(&w->ahead.check_in, sr_buf_view(&w->standing.check_in));
	sr_buf_bytes(&w->ahead.match, sr_buf_view(&w->standing.match));
	sr_answer_free(&w->ahead.answer);
	w->ahead.answer = *answer;
	w->ahead.is = true;
	*answer = (struct sr_answer){0};
}

static enum sr_status parse(const struct sr_answer *answer, struct sr_tree_info *out, struct sr_err *err)
{
	struct sr_bytes json, changes;

	sr_changes_split(sr_buf_view(&answer->body), &json, &changes);
	return sr_tree_info_parse(json, out, err);
}

/* *answer to the question that was put: what does it say, and to whom? */
static void judge(struct sr_waiter *w, const struct question *q, struct sr_answer *answer, int64_t lasted_ms)
{
	bool current = is_current(w, q);
	uint64_t stood = w->stood;
	struct sr_wait_end end = {.status = answer->status, .asked_ms = q->asked_ms, .lasted_ms = lasted_ms, .left_ms = w->until - sr_ticks_ms()};
	struct sr_tree_info info;
	struct sr_err err;
	struct sr_wait_next next;

	if (end.status == 200 && parse(answer, &info, &err) == SR_OK) {
		current = current || is_of_now(w, q, &info);
		end.news = sr_is_news(&info, &w->standing);
		end.expected = !current || (!q->match.len && sr_answer_header(answer, "ETag"));
		sr_tree_info_free(&info);
	} else if (end.status == 200) {
		sr_debug("waiting for news: %s", err.text);
		end.status = 0;
	}
	if (end.status == 304)
		end.expected = !current;
	next = sr_wait_judge(&w->manners, &end);
	w->ask_at = sr_ticks_ms() + next.ask_in_ms * 3 / 4 + (int64_t)sr_random_below((uint64_t)next.ask_in_ms / 2 + 1); /* not all of a cluster at once */
	if (end.status == 200 && !end.news) {
		sr_answer_free(&w->kept);
		w->kept = *answer;
		*answer = (struct sr_answer){0};
	}
	if (!next.round)
		return;
	w->for_news = end.news;
	if (current && end.status == 304 && w->kept.status)
		hand_over(w, &w->kept); /* nothing is new since that was said */
	else if (current)
		hand_over(w, answer);
	while (w->for_news && !w->stop && !w->round && stood == w->stood && sr_ticks_ms() < w->not_before)
		sleep_until(w, w->not_before);
	if (w->stop || w->round || stood != w->stood) /* it has begun for another reason */
		return;
	w->due = true;
	pthread_mutex_unlock(&w->lock);
	w->o.round(w->o.ctx);
	pthread_mutex_lock(&w->lock);
}

static void one_wait(struct sr_waiter *w)
{
	struct sr_answer answer = {0};
	struct question q;
	int64_t began = sr_ticks_ms(), lasted;

	put_question(w, &q);
	ask(w, &q, &answer);
	lasted = sr_ticks_ms() - began;
	while (w->round && !w->stop) /* it may be the round's own doing */
		pthread_cond_wait(&w->wake, &w->lock);
	if (!w->stop && w->stands)
		judge(w, &q, &answer, lasted);
	sr_answer_free(&answer);
	question_clear(&q);
}

static void *run(void *arg)
{
	struct sr_waiter *w = arg;

	pthread_mutex_lock(&w->lock);
	while (!w->stop) {
		if (!w->stands || w->round || w->due)
			pthread_cond_wait(&w->wake, &w->lock);
		else if (sr_ticks_ms() < w->ask_at)
			sleep_until(w, w->ask_at);
		else
			one_wait(w);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* --- what the rounds say -------------------------------------------------------------------------------------------------------- */

enum sr_status sr_waiter_start(struct sr_waiter **out, const struct sr_waiter_options *options, struct sr_err *err)
{
	struct sr_waiter *w = sr_alloc(sizeof *w);

	w->o = *options;
	pthread_mutex_init(&w->lock, NULL);
	sr_cond_init(&w->wake);
	if (pthread_create(&w->thread, NULL, run, w) == 0) {
		*out = w;
		return SR_OK;
	}
	pthread_cond_destroy(&w->wake);
	pthread_mutex_destroy(&w->lock);
	free(w);
	return sr_err_set(err, SR_E_INTERNAL, "cannot start a thread");
}

void sr_waiter_take(struct sr_waiter *w, struct sr_ahead *out)
{
	pthread_mutex_lock(&w->lock);
	*out = w->ahead;
	w->ahead = (struct sr_ahead){0};
	w->for_news &= out->is || w->due;
	w->due = false;
	w->round = true;
	w->idle_ms = sr_ticks_ms() - w->stood_at;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
}

/* A 200 of before the round that was no news then: is it the datastore's answer still, as far as is known here? */
static bool still_good(const struct sr_waiter *w)
{
	struct sr_tree_info info;
	struct sr_err err;
	bool good;

	if (!w->kept.status || w->standing.match.len || parse(&w->kept, &info, &err) != SR_OK)
		return false;
	good = !sr_is_news(&info, &w->standing);
	sr_tree_info_free(&info);
	return good;
}

void sr_waiter_wait(struct sr_waiter *w, struct sr_standing *standing, bool brought, int64_t round_ms, int64_t ms)
{
	int64_t now = sr_ticks_ms();

	pthread_mutex_lock(&w->lock);
	sr_standing_clear(&w->standing);
	w->stands = standing != NULL;
	if (standing)
		w->standing = *standing;
	w->stood++;
	w->until = now + ms;
	w->not_before = now + sr_wait_rest_ms(&w->manners, w->for_news, brought, round_ms, w->idle_ms, ms);
	w->stood_at = now;
	w->for_news = w->round = false;
	if (!standing || !still_good(w))
		sr_answer_free(&w->kept);
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
	if (standing)
		*standing = (struct sr_standing){0};
}

bool sr_waiter_is_asking(struct sr_waiter *w)
{
	bool is;

	pthread_mutex_lock(&w->lock);
	is = w->asking;
	pthread_mutex_unlock(&w->lock);
	return is;
}

void sr_waiter_end(struct sr_waiter *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	if (w->client)
		sr_client_interrupt(w->client);
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
}

void sr_waiter_stop(struct sr_waiter *w)
{
	if (!w)
		return;
	sr_waiter_end(w);
	pthread_join(w->thread, NULL);
	sr_client_free(w->client);
	sr_standing_clear(&w->standing);
	sr_ahead_clear(&w->ahead);
	sr_answer_free(&w->kept);
	pthread_cond_destroy(&w->wake);
	pthread_mutex_destroy(&w->lock);
	free(w);
}
