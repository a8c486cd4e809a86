/* chunks.c - see chunks.h. */
#include "lib/sync/chunks.h"

#include <stdlib.h>
#include <string.h>

/* --- the pace ------------------------------------------------------------------------------------------------------------ */

static uint64_t between(double v, uint64_t least, uint64_t most)
{
	return v < (double)least ? least : v > (double)most ? most : (uint64_t)v;
}

/* A small chunk says little: most of its time is that of the commit.  What was not the limit is not raised: it has not been tried. */
void sr_pace_learn(struct sr_pace *p, size_t rows, uint64_t bytes, int64_t ms)
{
	double factor = (double)SR_PACE_MS / (double)(ms > 0 ? ms : 1);
	bool many, much;

	if (!p->rows)
		*p = (struct sr_pace){.rows = SR_PACE_ROWS, .bytes = SR_PACE_BYTES};
	many = rows >= SR_PACE_ROWS_LEAST && rows >= p->rows / 2;
	much = bytes >= SR_PACE_BYTES_LEAST && bytes >= p->bytes / 2;
	if (factor > 2)
		factor = 2;
	if (many || (much && factor < 1))
		p->rows = between((double)p->rows * factor, SR_PACE_ROWS_LEAST, SR_PACE_ROWS_MOST);
	if (much || (many && factor < 1))
		p->bytes = between((double)p->bytes * factor, SR_PACE_BYTES_LEAST, SR_PACE_BYTES_MOST);
}

/* --- the order ------------------------------------------------------------------------------------------------------------ */

#define TRIES_MOST 10 /* of a chunk that others join; */
#define TRIES_FEW  4  /* after so many it seems to be a long chain, of which every try finds one link more */

enum place { WAITS, HERE, JOINS /* when it is begun anew */, DONE };

struct sr_chunks {
	struct sr_leaves *all; /* BORROWED */
	size_t n;
	bool whole;
	size_t *order;   /* of places in `all` */
	size_t at;       /* in `order`: all before it are HERE or DONE */
	uint8_t *place;  /* enum place, of each leaf */
	size_t left;     /* leaves that wait */
	size_t here;     /* leaves of this chunk, */
	uint64_t bytes;  /* their records, */
	size_t joined;   /* how many of them have joined it since it was handed out, */
	unsigned tries;  /* and how often some have */
	uint64_t bytes_all;
	char *dir;               /* OWNED; where a chunk is spooled that is too large to be held */
	struct sr_leaves *chunk; /* OWNED; NULL: `all` is the chunk */
};

struct part { /* the leaves of a table */
	size_t first, n, rank;
};

static int by_rank(const void *a, const void *b)
{
	const struct part *p = a, *q = b;

	return p->rank != q->rank ? (p->rank > q->rank ? 1 : -1) : p->first > q->first ? 1 : -1;
}

static size_t weight(const struct sr_leaf *leaf)
{
	return leaf->record.len;
}

/* One part for each table, and what the records come to.  A leaf that is no row: not to be divided. */
static enum sr_status find_parts(struct sr_chunks *c, struct part **parts, size_t *n, sr_rank_fn *rank, void *ctx, struct sr_err *err)
{
	struct sr_buf table = {0};
	enum sr_status rc = SR_OK;

	for (size_t i = 0; rc == SR_OK && i < c->n; i++) {
		struct sr_leaf leaf;
		const uint8_t *nul;
		struct sr_bytes name;

		rc = sr_leaves_at(c->all, i, &leaf, err);
		if (rc != SR_OK)
			break;
		c->bytes_all += weight(&leaf);
		nul = memchr(leaf.path.at, 0, leaf.path.len);
		c->whole |= !nul;
		name = sr_bytes(leaf.path.at, nul ? (size_t)(nul - leaf.path.at) : leaf.path.len);
		if (!*n || !sr_bytes_eq(sr_buf_view(&table), name)) {
			sr_buf_clear(&table);
			sr_buf_bytes(&table, name);
			*parts = sr_realloc(*parts, (*n + 1) * sizeof **parts);
			(*parts)[(*n)++] = (struct part){.first = i, .rank = rank(ctx, name)};
		}
		(*parts)[*n - 1].n++;
		c->place[i] = leaf.to.kind == SR_KIND_NONE; /* for put_in_order() */
	}
	sr_buf_free(&table);
	return rc;
}

/* Parents first, in the order of names; then what goes, all the other way round. */
static void put_in_order(struct sr_chunks *c, struct part *parts, size_t n)
{
	size_t front = 0, back = c->n;

	if (n)
		qsort(parts, n, sizeof *parts, by_rank);
	for (size_t k = 0; k < n; k++)
		for (size_t i = parts[k].first; i < parts[k].first + parts[k].n; i++) {
			if (c->place[i])
				c->order[--back] = i;
			else
				c->order[front++] = i;
		}
	memset(c->place, WAITS, c->n);
}

enum sr_status sr_chunks_new(struct sr_chunks **out, struct sr_leaves *leaves, const char *dir, bool whole, sr_rank_fn *rank, void *ctx,
			     struct sr_err *err)
{
	struct sr_chunks *c = sr_alloc(sizeof *c);
	struct part *parts = NULL;
	size_t n = 0;
	enum sr_status rc = SR_OK;

	c->all = leaves;
	c->n = c->left = sr_leaves_count(leaves);
	c->dir = sr_strdup(dir);
	c->whole = whole;
	c->order = sr_alloc((c->n + 1) * sizeof *c->order);
	c->place = sr_alloc(c->n + 1);
	if (!whole)
		rc = find_parts(c, &parts, &n, rank, ctx, err);
	if (rc == SR_OK)
		put_in_order(c, parts, n);
	free(parts);
	if (rc != SR_OK) {
		sr_chunks_free(c);
		return rc;
	}
	*out = c;
	return SR_OK;
}

void sr_chunks_free(struct sr_chunks *c)
{
	if (!c)
		return;
	sr_leaves_free(c->chunk);
	free(c->dir);
	free(c->order);
	free(c->place);
	free(c);
}

/* --- chunks -------------------------------------------------------------------------------------------------------------- */

static void put_here(struct sr_chunks *c, size_t i, size_t bytes)
{
	c->place[i] = HERE;
	c->bytes += bytes;
	c->here++;
	c->left--;
}

static void all_here(struct sr_chunks *c)
{
	for (size_t i = 0; i < c->n; i++)
		if (c->place[i] == WAITS)
			put_here(c, i, 0);
	c->at = c->n;
	c->bytes = c->bytes_all;
}

/* Take leaves that wait, in order, until the chunk is full. */
static enum sr_status fill(struct sr_chunks *c, size_t rows, uint64_t bytes, struct sr_err *err)
{
	for (; c->at < c->n && c->here < rows; c->at++) {
		size_t i = c->order[c->at];
		struct sr_leaf leaf;
		enum sr_status rc;

		if (c->place[i] != WAITS)
			continue;
		rc = sr_leaves_at(c->all, i, &leaf, err);
		if (rc != SR_OK)
			return rc;
		if (c->here && c->bytes + weight(&leaf) > bytes)
			break;
		put_here(c, i, weight(&leaf));
	}
	return SR_OK;
}

static enum sr_status hand_out(struct sr_chunks *c, struct sr_leaves **out, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	sr_leaves_free(c->chunk);
	c->chunk = NULL;
	c->joined = 0;
	*out = c->all;
	if (c->here == c->n)
		return SR_OK;
	c->chunk = sr_leaves_new(c->bytes > SR_PACE_BYTES_MOST ? c->dir : NULL);
	for (size_t i = 0; rc == SR_OK && i < c->n; i++) {
		struct sr_leaf leaf;

		if (c->place[i] != HERE)
			continue;
		rc = sr_leaves_at(c->all, i, &leaf, err);
		if (rc == SR_OK)
			rc = sr_leaves_add(c->chunk, &leaf, err);
	}
	*out = c->chunk;
	return rc;
}

static bool fits(const struct sr_chunks *c, const struct sr_pace *pace)
{
	return c->left == c->n &&
	       (c->whole || ((c->n <= SR_PACE_ROWS || c->n <= pace->rows) && (c->bytes_all <= SR_PACE_BYTES || c->bytes_all <= pace->bytes)));
}

enum sr_status sr_chunks_next(struct sr_chunks *c, const struct sr_pace *pace, struct sr_leaves **out, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t i = 0; c->here && i < c->n; i++)
		if (c->place[i] == HERE)
			c->place[i] = DONE;
	c->here = 0;
	c->bytes = 0;
	c->tries = 0;
	*out = NULL;
	if (!c->left)
		return SR_OK;
	if (fits(c, pace))
		all_here(c);
	else
		rc = fill(c, pace->rows ? pace->rows : SR_PACE_ROWS, pace->rows ? pace->bytes : SR_PACE_BYTES, err);
	return rc == SR_OK ? hand_out(c, out, err) : rc;
}

/* --- what gets in the way -------------------------------------------------------------------------------------------------- */

static bool find_waiting(struct sr_chunks *c, struct sr_bytes path, size_t *at, struct sr_leaf *leaf)
{
	return (c->left || c->joined) && sr_leaves_find(c->all, path, at, leaf, NULL) == SR_OK && *at < c->n &&
	       (c->place[*at] == WAITS || c->place[*at] == JOINS);
}

bool sr_chunks_waits(struct sr_chunks *c, struct sr_bytes path)
{
	struct sr_leaf leaf;
	size_t i;

	return find_waiting(c, path, &i, &leaf);
}

bool sr_chunks_join(struct sr_chunks *c, struct sr_bytes path)
{
	struct sr_leaf leaf;
	size_t i;

	if (!find_waiting(c, path, &i, &leaf))
		return false;
	if (c->place[i] == WAITS) {
		put_here(c, i, weight(&leaf));
		c->place[i] = JOINS;
		c->joined++;
	}
	return true;
}

bool sr_chunks_joined(const struct sr_chunks *c)
{
	return c->joined > 0;
}

enum sr_status sr_chunks_again(struct sr_chunks *c, struct sr_leaves **out, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t i = 0; c->joined && i < c->n; i++)
		if (c->place[i] == JOINS)
			c->place[i] = HERE;
	if (c->joined && ++c->tries >= TRIES_MOST)
		all_here(c);
	else if (c->joined && c->tries > TRIES_FEW)
		rc = fill(c, 2 * c->here, 2 * c->bytes, err);
	return rc == SR_OK ? hand_out(c, out, err) : rc;
}

bool sr_chunks_last(const struct sr_chunks *c)
{
	return !c->left;
}

bool sr_chunks_divided(const struct sr_chunks *c)
{
	return !c->whole;
}

uint64_t sr_chunks_bytes(const struct sr_chunks *c)
{
	return c->bytes;
}
