/* pool.c - see pool.h. */
#include "http/pool.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct sr_pool {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct sr_request *first, **last;
	struct sr_request **running; /* `most` places, NULL where none runs */
	atomic_uint waiting;
	bool stopping;
	pthread_t *threads;
	unsigned n, most;
};

/* --- whose turn it is --------------------------------------------------------------------------------------------- */

/* Those of one address leave some threads to all others. */
static bool may_run(const struct sr_pool *pool, const struct sr_request *req)
{
	unsigned same = 0;

	for (unsigned i = 0; i < pool->most; i++)
		same += pool->running[i] && !strcmp(pool->running[i]->peer, req->peer);
	return same < pool->most - pool->most / 4;
}

/* The one that has waited longest of those that may run. */
static struct sr_request *pick(struct sr_pool *pool)
{
	struct sr_request **at = &pool->first, *req;
	unsigned i = 0;

	while (*at && !may_run(pool, *at))
		at = &(*at)->next;
	req = *at;
	if (!req)
		return NULL;
	*at = req->next;
	if (!req->next)
		pool->last = at;
	req->next = NULL;
	while (pool->running[i])
		i++;
	pool->running[i] = req;
	pool->waiting--;
	return req;
}

static struct sr_request *next_job(struct sr_pool *pool)
{
	struct sr_request *req;

	pthread_mutex_lock(&pool->lock);
	while (!(req = pick(pool)) && !pool->stopping)
		pthread_cond_wait(&pool->work, &pool->lock);
	pthread_mutex_unlock(&pool->lock);
	return req;
}

static void end_job(struct sr_pool *pool, const struct sr_request *req)
{
	unsigned i = 0;

	pthread_mutex_lock(&pool->lock);
	while (pool->running[i] != req)
		i++;
	pool->running[i] = NULL;
	pthread_mutex_unlock(&pool->lock);
}

unsigned sr_pool_waiting(const struct sr_pool *pool)
{
	return pool->waiting;
}

/* --- the threads -------------------------------------------------------------------------------------------------- */

/* Whoever asked may have left while the request waited its turn. */
static bool still_wanted(struct sr_request *req)
{
	bool yes;

	pthread_mutex_lock(&req->lock);
	yes = req->mhd && !req->cut;
	pthread_mutex_unlock(&req->lock);
	return yes;
}

static void *work(void *arg)
{
	struct sr_pool *pool = arg;
	struct sr_request *req;

	while ((req = next_job(pool))) {
		if (still_wanted(req))
			sr_request_run(req);
		end_job(pool, req);
		sr_request_unref(req);
	}
	return NULL;
}

struct sr_pool *sr_pool_start(unsigned threads)
{
	struct sr_pool *pool = sr_alloc(sizeof(*pool));

	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	pool->last = &pool->first;
	pool->most = threads;
	pool->running = sr_alloc(threads * sizeof(struct sr_request *));
	pool->threads = sr_alloc(threads * sizeof(*pool->threads));
	while (pool->n < threads && !pthread_create(&pool->threads[pool->n], NULL, work, pool))
		pool->n++;
	if (pool->n)
		return pool;
	sr_pool_stop(pool);
	return NULL;
}

void sr_pool_add(struct sr_pool *pool, struct sr_request *req)
{
	sr_request_ref(req);
	pthread_mutex_lock(&pool->lock);
	*pool->last = req;
	pool->last = &req->next;
	pool->waiting++;
	pthread_cond_signal(&pool->work);
	pthread_mutex_unlock(&pool->lock);
}

void sr_pool_stop(struct sr_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->n; i++)
		pthread_join(pool->threads[i], NULL);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->lock);
	free(pool->running);
	free(pool->threads);
	free(pool);
}
