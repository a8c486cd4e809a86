/* stager.c - see stager.h.
 *
 * A ring: [out, taken) is at work or done, [taken, in) waits.  Whoever has to wait for it does the next one himself. */
#include "lib/store/stager.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define MANY    64         /* files: threads begin to help */
#define AHEAD   256        /* files, and */
#define BYTES   (4u << 20) /* of their content: so far ahead, and no more */
#define WORTH   8          /* files that wait: a sleeping thread is woken */
#define THREADS 2

struct item {
	struct sr_stage *stage;
	struct sr_buf leaf; /* encoded */
	struct sr_version to;
	int64_t mtime_ns;
	size_t store;
	struct sr_leaf staged;
	bool done;
	enum sr_status rc;
	struct sr_err err;
};

struct sr_stager {
	sr_staged_fn *staged;
	void *ctx;
	enum sr_status rc; /* the first failure, of staging or of `staged` */
	struct sr_err err;
	size_t put;
	pthread_t threads[THREADS];
	unsigned n, idle;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t wake, done;
	struct item *ring; /* AHEAD of them, once there are threads */
	size_t out, taken, in;
	uint64_t bytes;
	bool ends, drops; /* drops: what waits is not staged any more */
};

struct sr_stager *sr_stager_new(sr_staged_fn *staged, void *ctx)
{
	struct sr_stager *g = sr_alloc(sizeof *g);

	*g = (struct sr_stager){.staged = staged, .ctx = ctx};
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->wake, NULL);
	pthread_cond_init(&g->done, NULL);
	return g;
}

/* Under the lock, which is let go meanwhile. */
static void do_next(struct sr_stager *g)
{
	struct item *it = &g->ring[g->taken++ % AHEAD];

	pthread_mutex_unlock(&g->lock);
	it->rc = sr_stage_finish(it->stage, &it->to, it->mtime_ns, &it->staged, &it->err);
	pthread_mutex_lock(&g->lock);
	it->done = true;
	pthread_cond_signal(&g->done);
}

static void *help(void *ctx)
{
	struct sr_stager *g = ctx;

	pthread_mutex_lock(&g->lock);
	for (;;) {
		if (g->taken < g->in && !g->drops) {
			do_next(g);
		} else if (g->ends) {
			break;
		} else {
			g->idle++;
			pthread_cond_wait(&g->wake, &g->lock);
			g->idle--;
		}
	}
	pthread_mutex_unlock(&g->lock);
	return NULL;
}

static void start(struct sr_stager *g)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	g->ring = sr_alloc(AHEAD * sizeof *g->ring);
	while (g->n < THREADS && (long)g->n + 1 < processors && !pthread_create(&g->threads[g->n], NULL, help, g))
		g->n++;
}

static enum sr_status fail(struct sr_stager *g, enum sr_status rc, const struct sr_err *err)
{
	g->rc = rc;
	g->err = *err;
	return rc;
}

static enum sr_status failed(const struct sr_stager *g, struct sr_err *err)
{
	if (g->rc != SR_OK && err)
		*err = g->err;
	return g->rc;
}

/* One that is staged.  Unless it failed before. */
static void tell(struct sr_stager *g, size_t store, struct sr_leaf *leaf, const struct sr_leaf *staged)
{
	struct sr_err err;
	enum sr_status rc;

	leaf->stage = staged->stage;
	leaf->inode = staged->inode;
	rc = g->staged(g->ctx, store, leaf, &err);
	if (rc != SR_OK)
		fail(g, rc, &err);
}

static void release(struct item *it)
{
	sr_stage_free(it->stage);
	sr_buf_free(&it->leaf);
	*it = (struct item){0};
}

/* The oldest, which is staged: under the lock, which is let go meanwhile. */
static void collect(struct sr_stager *g)
{
	struct item *it = &g->ring[g->out % AHEAD];
	struct sr_leaf leaf;
	struct sr_err err;
	enum sr_status rc = it->rc;

	pthread_mutex_unlock(&g->lock);
	if (g->rc == SR_OK && rc != SR_OK)
		fail(g, rc, &it->err);
	if (g->rc == SR_OK) {
		rc = sr_leaf_decode_own(sr_buf_view(&it->leaf), &leaf, &err);
		if (rc == SR_OK)
			tell(g, it->store, &leaf, &it->staged);
		else
			fail(g, rc, &err);
	}
	pthread_mutex_lock(&g->lock);
	g->bytes -= it->to.bytes;
	release(it);
	g->out++;
}

/* Under the lock: until the oldest is staged. */
static void await(struct sr_stager *g)
{
	while (!g->ring[g->out % AHEAD].done)
		if (g->taken < g->in)
			do_next(g);
		else
			pthread_cond_wait(&g->done, &g->lock);
}

static enum sr_status finish_here(struct sr_stager *g, struct sr_stage *stage, size_t store, const struct sr_leaf *leaf)
{
	struct sr_leaf staged = {0}, told = *leaf;
	struct sr_err err;
	enum sr_status rc = sr_stage_finish(stage, &leaf->to, leaf->mtime_ns, &staged, &err);

	if (rc != SR_OK)
		fail(g, rc, &err);
	else
		tell(g, store, &told, &staged);
	sr_stage_free(stage);
	return g->rc;
}

enum sr_status sr_stager_put(struct sr_stager *g, struct sr_stage *stage, size_t store, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct item *it;

	if (g->rc == SR_OK && !g->ring && g->put++ == MANY)
		start(g);
	if (g->rc != SR_OK)
		sr_stage_free(stage);
	else if (!g->n)
		(void)finish_here(g, stage, store, leaf);
	if (g->rc != SR_OK || !g->n)
		return failed(g, err);
	pthread_mutex_lock(&g->lock);
	while (g->in - g->out == AHEAD || (g->in > g->out && g->bytes > BYTES)) {
		await(g);
		collect(g);
	}
	it = &g->ring[g->in++ % AHEAD];
	*it = (struct item){.stage = stage, .to = leaf->to, .mtime_ns = leaf->mtime_ns, .store = store};
	sr_leaf_encode(&it->leaf, leaf);
	g->bytes += leaf->to.bytes;
	if (g->idle && g->in - g->taken >= WORTH)
		pthread_cond_signal(&g->wake);
	while (g->out < g->in && g->ring[g->out % AHEAD].done)
		collect(g);
	pthread_mutex_unlock(&g->lock);
	return failed(g, err);
}

enum sr_status sr_stager_wait(struct sr_stager *g, struct sr_err *err)
{
	pthread_mutex_lock(&g->lock);
	while (g->out < g->in) {
		await(g);
		collect(g);
	}
	pthread_mutex_unlock(&g->lock);
	return failed(g, err);
}

void sr_stager_free(struct sr_stager *g)
{
	if (!g)
		return;
	pthread_mutex_lock(&g->lock);
	g->ends = true;
	g->drops = g->rc != SR_OK;
	pthread_cond_broadcast(&g->wake);
	pthread_mutex_unlock(&g->lock);
	for (unsigned i = 0; i < g->n; i++)
		pthread_join(g->threads[i], NULL);
	for (; g->out < g->in; g->out++)
		release(&g->ring[g->out % AHEAD]);
	free(g->ring);
	pthread_cond_destroy(&g->done);
	pthread_cond_destroy(&g->wake);
	pthread_mutex_destroy(&g->lock);
	free(g);
}
