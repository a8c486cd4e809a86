/* watcher.c - see watcher.h. */
#include "lib/store/watcher_internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/door.h"
#include "lib/store/watch.h"

#define PAUSE_MS      20
#define PAUSE_MOST_MS 1000
#define SHARE         4 /* times what a round took others have the machine, */
#define SHARE_MOST_MS 5000
#define SOON_MS       1000
#define MANY_MOST_MS  10000

struct sr_watcher {
	pthread_mutex_t lock; /* of all below; before a watch's own */
	pthread_t thread;
	int epoll, end;
	bool running, ending;
	atomic_int_fast64_t full_ms;
	atomic_int_fast64_t again_ms; /* sr_watcher_again; SR_WATCHER_NEVER: nobody; a watch's lock is held when it is set */
	void (*wake)(void *ctx);
	void *ctx;
	struct sr_watch **watches;
	size_t n;

	struct sr_hints told;          /* since the last round began */
	int64_t first_ms, last_deleted_ms; /* of these */
	bool follows, taken_follows;   /* the first of them came within the pause; of those taken before */
	int64_t pause_ms, began_ms, free_ms; /* free_ms: the end of the pause */
};

/* --- when ------------------------------------------------------------------------------------------------------------------ */

static bool is_any(const struct sr_hints *h)
{
	return h->now || h->soon || h->deleted || h->ours;
}

static void note(struct sr_watcher *w, const struct sr_hints *h)
{
	int64_t now = sr_ticks_ms();

	if (!is_any(h))
		return;
	if (!is_any(&w->told)) {
		w->first_ms = now;
		w->follows = now < w->free_ms;
	}
	if (h->deleted)
		w->last_deleted_ms = now;
	w->told.now += h->now;
	w->told.soon += h->soon;
	w->told.deleted += h->deleted;
	w->told.ours += h->ours;
}

void sr_watcher_note(struct sr_watcher *w, const struct sr_hints *hints)
{
	pthread_mutex_lock(&w->lock);
	note(w, hints);
	pthread_mutex_unlock(&w->lock);
	if (is_any(hints) && w->wake)
		w->wake(w->ctx);
}

void sr_watcher_again(struct sr_watcher *w, int64_t ms)
{
	int64_t at = sr_ticks_ms() + ms, old = atomic_load(&w->again_ms);

	while (at < old && !atomic_compare_exchange_weak(&w->again_ms, &old, at))
		;
}

static int64_t due_again(const struct sr_watcher *w)
{
	int64_t at = atomic_load(&w->again_ms);

	return at < w->free_ms ? w->free_ms : at;
}

static int64_t due(const struct sr_watcher *w)
{
	int64_t at = w->first_ms, rest = w->last_deleted_ms + SOON_MS;

	if (w->told.deleted >= SR_HINTS_MANY)
		at = rest < w->first_ms + MANY_MOST_MS ? rest : w->first_ms + MANY_MOST_MS;
	else if (!w->told.now)
		at += w->told.soon || w->told.deleted ? SOON_MS : SR_OURS_MS;
	return w->follows && at < w->free_ms ? w->free_ms : at;
}

int64_t sr_watcher_due(struct sr_watcher *w)
{
	int64_t at = SR_WATCHER_NEVER, again;

	if (!w)
		return at;
	pthread_mutex_lock(&w->lock);
	if (is_any(&w->told))
		at = due(w);
	again = due_again(w);
	pthread_mutex_unlock(&w->lock);
	return again < at ? again : at;
}

static void take(struct sr_watcher *w)
{
	if (is_any(&w->told))
		w->taken_follows = w->follows;
	atomic_store(&w->again_ms, SR_WATCHER_NEVER);
	w->told = (struct sr_hints){0};
}

void sr_watcher_take(struct sr_watcher *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	take(w);
	pthread_mutex_unlock(&w->lock);
}

void sr_watcher_begin(struct sr_watcher *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	take(w);
	w->pause_ms = w->taken_follows ? 2 * w->pause_ms : PAUSE_MS;
	if (w->pause_ms > PAUSE_MOST_MS)
		w->pause_ms = PAUSE_MOST_MS;
	w->taken_follows = false;
	w->began_ms = sr_ticks_ms();
	w->free_ms = INT64_MAX; /* until its end is known */
	pthread_mutex_unlock(&w->lock);
}

void sr_watcher_end(struct sr_watcher *w, int64_t interval_ms)
{
	int64_t now = sr_ticks_ms(), pause;

	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	pause = SHARE * (now - w->began_ms);
	if (pause > SHARE_MOST_MS)
		pause = SHARE_MOST_MS;
	if (pause < w->pause_ms)
		pause = w->pause_ms;
	w->free_ms = now + (pause < interval_ms ? pause : interval_ms);
	pthread_mutex_unlock(&w->lock);
}

/* --- the thread ------------------------------------------------------------------------------------------------------------ */

static void *listen_to(void *ctx)
{
	struct sr_watcher *w = ctx;
	struct epoll_event events[8];
	bool ending = false;

	while (!ending) {
		struct sr_hints told = {0};

		if (epoll_wait(w->epoll, events, sizeof events / sizeof *events, -1) < 0 && errno != EINTR)
			break; /* no such thing with these descriptors */
		pthread_mutex_lock(&w->lock);
		for (size_t i = 0; i < w->n; i++)
			sr_watch_drain(w->watches[i], &told);
		note(w, &told);
		ending = w->ending;
		pthread_mutex_unlock(&w->lock);
		if (is_any(&told) && w->wake && !ending)
			w->wake(w->ctx);
	}
	return NULL;
}

void sr_watcher_add(struct sr_watcher *w, struct sr_watch *watch)
{
	pthread_mutex_lock(&w->lock);
	w->watches = sr_realloc(w->watches, (w->n + 1) * sizeof(struct sr_watch *));
	w->watches[w->n++] = watch;
	pthread_mutex_unlock(&w->lock);
}

void sr_watcher_remove(struct sr_watcher *w, struct sr_watch *watch)
{
	pthread_mutex_lock(&w->lock);
	for (size_t i = 0; i < w->n; i++)
		if (w->watches[i] == watch) {
			w->watches[i] = w->watches[--w->n];
			break;
		}
	pthread_mutex_unlock(&w->lock);
}

bool sr_watcher_poll(struct sr_watcher *w, int fd)
{
	struct epoll_event e = {.events = EPOLLIN};

	return epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &e) == 0;
}

int64_t sr_watcher_full_ms(const struct sr_watcher *w)
{
	return atomic_load(&w->full_ms);
}

/* --- start and stop -------------------------------------------------------------------------------------------------------- */

void sr_watcher_set_full(struct sr_watcher *w, uint64_t full_s)
{
	if (w)
		atomic_store(&w->full_ms, (int64_t)full_s * 1000);
}

enum sr_status sr_watcher_start(struct sr_watcher **out, uint64_t full_s, void (*wake)(void *ctx), void *ctx, struct sr_err *err)
{
	struct sr_watcher *w = sr_alloc(sizeof *w);
	enum sr_status rc = SR_OK;

	pthread_mutex_init(&w->lock, NULL);
	w->wake = wake;
	w->ctx = ctx;
	w->pause_ms = PAUSE_MS;
	atomic_store(&w->again_ms, SR_WATCHER_NEVER);
	sr_watcher_set_full(w, full_s);
	w->epoll = epoll_create1(EPOLL_CLOEXEC);
	w->end = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->epoll < 0 || w->end < 0 || !sr_watcher_poll(w, w->end))
		rc = sr_err_sys(err, SR_E_IO, "epoll");
	else if (pthread_create(&w->thread, NULL, listen_to, w))
		rc = sr_err_set(err, SR_E_INTERNAL, "cannot start a thread");
	w->running = rc == SR_OK;
	if (rc == SR_OK)
		*out = w;
	else
		sr_watcher_stop(w);
	return rc;
}

void sr_watcher_stop(struct sr_watcher *w)
{
	if (!w)
		return;
	if (w->running) {
		pthread_mutex_lock(&w->lock);
		w->ending = true;
		pthread_mutex_unlock(&w->lock);
		(void)!write(w->end, &(uint64_t){1}, sizeof(uint64_t));
		pthread_join(w->thread, NULL);
	}
	if (w->epoll >= 0)
		close(w->epoll);
	if (w->end >= 0)
		close(w->end);
	free(w->watches);
	pthread_mutex_destroy(&w->lock);
	free(w);
}
