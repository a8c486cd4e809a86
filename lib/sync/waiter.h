/* waiter.h - waits at the datastore for news between rounds, so that a change is here at once and the interval is only the net.
 *
 * A thread with a connection of its own puts the question that the next round would begin with (GET /api/tree, the check-in) and has the
 * datastore put off an answer that holds nothing new, for as long as the pause between two rounds is (?wait=S).  What comes is that round's answer:
 * it begins when the answer is there, and takes it for its own check-in if it would put the very same question, to the letter.  So a quiet
 * interval stays one request, and there is one code that judges an answer, a round's, however it was asked.  (A round that parks itself would have
 * to be broken off, and its connection with it, for every local change.)
 *
 * What is no news is not taken for any: the root that our own push made, an answer that comes before its time - of a datastore that knows no
 * ?wait=, that ends, that has no room -, and none at all - of a proxy that cuts what is silent, a datastore that restarts.  Then it is asked
 * again, with growing pauses, and nobody is alarmed: the interval goes on as ever.  News that come on end start rounds that take a fifth of the time
 * at most, after a first half second of them; those that bring nothing, ever fewer.
 *
 * Thread-safe.  Never logs above debug. */
#ifndef SR_SYNC_WAITER_H
#define SR_SYNC_WAITER_H

#include "http/client.h"
#include "lib/replica/wire.h"

/* --- what is asked, and what is known ----------------------------------------------------------------------------------------- */

struct sr_standing { /* where a round left this webserver; sr_standing_clear when done */
	struct sr_buf check_in, match; /* the headers of the next check-in; match empty: there is no answer that will do */
	struct sr_anchor at;           /* the last root that this webserver knows to be the datastore's: its own pushes' among them */
	struct sr_uuid push;           /* the last of its chain */
	struct sr_buf beside;          /* sr_beside of the last answer */
	bool changes;                  /* they may come with the next one: GET /api/changes */
};
void sr_standing_clear(struct sr_standing *s);

/* What an answer tells beside the root, the stores' roots and the push, for comparison; appended. */
void sr_beside(const struct sr_tree_info *info, struct sr_buf *out);
/* Does it tell anything that this webserver does not know? */
bool sr_is_news(const struct sr_tree_info *info, const struct sr_standing *s);

struct sr_ahead { /* an answer that was asked for ahead of the round; sr_ahead_clear when done */
	bool is;
	struct sr_buf check_in, match; /* the question */
	struct sr_answer answer;       /* 200 or 304 */
	struct sr_client_counts counts; /* of all that was asked since the round before */
};
void sr_ahead_clear(struct sr_ahead *a);

/* --- the decisions: pure ----------------------------------------------------------------------------------------------------------- */

struct sr_wait_end { /* how a wait ended */
	int status;        /* HTTP; 0: it was cut */
	bool news;         /* status 200: sr_is_news */
	bool expected;     /* nothing else could come, for the question is not the one of now or, status 200, named no answer that will do */
	int64_t asked_ms, lasted_ms;
	int64_t left_ms;   /* of the pause between two rounds */
};
struct sr_wait_next {
	bool round;        /* begin one, */
	int64_t ask_in_ms; /* else ask again then */
};
struct sr_wait_manners { /* {0} at first */
	unsigned short_ones, empty_ones; /* waits that ended before their time, rounds that brought nothing, in a row */
	int64_t spent_ms;  /* on rounds for news; a fifth of the time pays for it */
};
struct sr_wait_next sr_wait_judge(struct sr_wait_manners *m, const struct sr_wait_end *end);
/* After a round of so many ms, which began so many after the one before had ended: no news start another one before so many are over. */
int64_t sr_wait_rest_ms(struct sr_wait_manners *m, bool for_news, bool brought, int64_t round_ms, int64_t idle_ms, int64_t interval_ms);

/* --- the thread ------------------------------------------------------------------------------------------------------------------------ */

struct sr_waiter; /* opaque */

struct sr_waiter_options {
	/* A new client to the datastore.  *generation: of its trust and secret. */
	enum sr_status (*client)(void *ctx, struct sr_client **out, struct sr_err *err);
	unsigned (*generation)(void *ctx); /* another one: the client is of before */
	void (*round)(void *ctx);          /* one is due */
	void *ctx;
};
SR_MUST enum sr_status sr_waiter_start(struct sr_waiter **out, const struct sr_waiter_options *options, struct sr_err *err); /* COPIES; ctx BORROWED */

/* A round begins.  *out: what there is for it; sr_ahead_clear when done. */
void sr_waiter_take(struct sr_waiter *w, struct sr_ahead *out);
/* It is over, the next one is in `ms` at the latest.  standing CONSUMED; NULL: it did not go through, nothing is waited for until one does. */
void sr_waiter_wait(struct sr_waiter *w, struct sr_standing *standing, bool brought, int64_t round_ms, int64_t ms);
/* Is a request out?  Then its answer is worth a moment beyond the pause. */
bool sr_waiter_is_asking(struct sr_waiter *w);

void sr_waiter_end(struct sr_waiter *w);  /* nothing is asked any more, what is out ends at once; NULL is a no-op */
void sr_waiter_stop(struct sr_waiter *w); /* CONSUMES; NULL is a no-op */

#endif
