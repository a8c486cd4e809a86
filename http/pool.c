/* pool.c - see pool.h. */
#include "http/pool.h"

#include <stdlib.h>

struct sr_pool {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct sr_request *first, **last;
	bool stopping;
	pthread_t *threads;
	unsigned n;
};

static struct sr_request *next_job(struct sr_pool *pool)
{
	struct sr_request *req;

	pthread_mutex_lock(&pool->lock);
	while (!pool->first && !pool->stopping)
		pthread_cond_wait(&pool->work, &pool->lock);
	req = pool->first;
	if (req) {
		pool->first = req->next;
		if (!pool->first)
			pool->last = &pool->first;
		req->next = NULL;
	}
	pthread_mutex_unlock(&pool->lock);
	return req;
}

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
	free(pool->threads);
	free(pool);
}
