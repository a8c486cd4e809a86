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
	pthread_t thread;
	pthread_mutex_t lock; /* held while reload or now run */
	bool mute, stop;
};

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
	if (go_on && !s->mute)
		(sig == SIGHUP ? s->reload : s->now)(s->ctx);
	pthread_mutex_unlock(&s->lock);
	return go_on;
}

static void *run(void *arg)
{
	struct sr_signals *s = arg;
	int sig = 0;

	while (sigwait(&s->set, &sig) == 0 && take(s, sig))
		;
	return NULL;
}

enum sr_status sr_signals_start(struct sr_signals **out, const sigset_t *set, struct sr_shutdown *shutdown, void (*reload)(void *ctx),
				void (*now)(void *ctx), void *ctx, struct sr_err *err)
{
	struct sr_signals *s = sr_alloc(sizeof *s);

	*s = (struct sr_signals){.set = *set, .shutdown = shutdown, .reload = reload, .now = now, .ctx = ctx};
	pthread_mutex_init(&s->lock, NULL);
	if (pthread_create(&s->thread, NULL, run, s) != 0) {
		free(s);
		return sr_err_set(err, SR_E_INTERNAL, "no thread for signals");
	}
	*out = s;
	return SR_OK;
}

void sr_signals_mute(struct sr_signals *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->mute = true;
	pthread_mutex_unlock(&s->lock);
}

void sr_signals_stop(struct sr_signals *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_mutex_unlock(&s->lock);
	pthread_kill(s->thread, SIGUSR1);
	pthread_join(s->thread, NULL);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
