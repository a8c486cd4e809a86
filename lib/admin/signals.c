/* signals.c - see signals.h. */
#include "lib/admin/signals.h"

#include <pthread.h>
#include <stdlib.h>

#include "lib/base/bytes.h"

struct sr_signals {
	sigset_t set;
	struct sr_shutdown *shutdown;
	void (*reload)(void *ctx);
	void (*now)(void *ctx);
	void *ctx;
	pthread_t taker, doer;
	pthread_mutex_t lock; /* of what follows; never held while reload or now run */
	pthread_cond_t changed;
	bool wants_reload, wants_now, busy; /* busy: one of them runs */
	bool mute, stop;
};

/* --- the thread that takes them: it waits for nothing else, so that SIGTERM is always heard ----------------------------------------- */

/* False: the thread is to end. */
static bool take(struct sr_signals *s, int sig)
{
	bool go_on;

	if (sig == SIGTERM || sig == SIGINT) {
		sr_shutdown_signal(s->shutdown, sig);
		return true;
	}
	pthread_mutex_lock(&s->lock);
	go_on = !s->stop;
	*(sig == SIGHUP ? &s->wants_reload : &s->wants_now) = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return go_on;
}

static void *run_taker(void *arg)
{
	struct sr_signals *s = arg;
	int sig = 0;

	while (sigwait(&s->set, &sig) == 0 && take(s, sig))
		;
	return NULL;
}

/* --- the thread that does what they ask for ------------------------------------------------------------------------------------------ */

/* With the lock held: the next thing to do, or NULL.  What came first as a reload is done first: whoever sends both wants the new one to count. */
static void (*next(struct sr_signals *s))(void *ctx)
{
	bool *wanted = s->wants_reload ? &s->wants_reload : &s->wants_now;

	if (s->mute || !*wanted)
		return NULL;
	*wanted = false;
	return wanted == &s->wants_reload ? s->reload : s->now;
}

static void *run_doer(void *arg)
{
	struct sr_signals *s = arg;

	pthread_mutex_lock(&s->lock);
	while (!s->stop) {
		void (*todo)(void *ctx) = next(s);

		if (!todo) {
			pthread_cond_wait(&s->changed, &s->lock);
			continue;
		}
		s->busy = true;
		pthread_mutex_unlock(&s->lock);
		todo(s->ctx);
		pthread_mutex_lock(&s->lock);
		s->busy = false;
		pthread_cond_broadcast(&s->changed);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* --- the interface --------------------------------------------------------------------------------------------------------------------- */

static void free_all(struct sr_signals *s)
{
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static void stop_doer(struct sr_signals *s)
{
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->doer, NULL);
}

enum sr_status sr_signals_start(struct sr_signals **out, const sigset_t *set, struct sr_shutdown *shutdown, void (*reload)(void *ctx),
				void (*now)(void *ctx), void *ctx, struct sr_err *err)
{
	struct sr_signals *s = sr_alloc(sizeof *s);
	bool doing;

	*s = (struct sr_signals){.set = *set, .shutdown = shutdown, .reload = reload, .now = now, .ctx = ctx};
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	doing = pthread_create(&s->doer, NULL, run_doer, s) == 0;
	if (doing && pthread_create(&s->taker, NULL, run_taker, s) == 0) {
		*out = s;
		return SR_OK;
	}
	if (doing)
		stop_doer(s);
	free_all(s);
	return sr_err_set(err, SR_E_INTERNAL, "no thread for signals");
}

void sr_signals_mute(struct sr_signals *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->mute = true;
	while (s->busy)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

void sr_signals_stop(struct sr_signals *s)
{
	if (!s)
		return;
	stop_doer(s);
	pthread_kill(s->taker, SIGUSR1);
	pthread_join(s->taker, NULL);
	free_all(s);
}
