/* state_round.c - what a round in progress must not forget: the intents of an apply, and the push without an answer.  See state.h. */
#include <stdlib.h>

#include "lib/state/feed.h"

/* ---- leaves in rows: (store, n, leaf), as lib/leaf encodes them ---- */

struct putting {
	struct sr_state *s;
	struct sr_leaves *leaves;
	size_t at;
	uint64_t first;
	bool staged;
};

static enum sr_status next_leaf(void *ctx, struct sr_feed *f, bool *more, struct sr_err *err)
{
	struct putting *p = ctx;
	struct sr_leaf leaf;
	uint64_t n = p->first + p->at;
	enum sr_status rc = sr_leaves_next(p->leaves, &p->at, &leaf, more, err);

	if (rc != SR_OK || !*more)
		return rc;
	leaf.record = sr_bytes(NULL, 0);
	if (!p->staged) {
		leaf.stage = sr_bytes(NULL, 0);
		leaf.inode = 0;
	}
	sr_buf_clear(&p->s->pack[0]);
	sr_leaf_encode(&p->s->pack[0], &leaf);
	sr_feed_number(f, 0, (int64_t)n);
	sr_feed_bytes(f, 1, sr_buf_view(&p->s->pack[0]));
	return SR_OK;
}

static enum sr_status put_leaves(struct sr_state *s, enum sr_sql sql, const struct sr_store_row *st, uint64_t first,
				 struct sr_leaves *leaves, bool staged, struct sr_err *err)
{
	struct putting p = {.s = s, .leaves = leaves, .first = first, .staged = staged};
	struct sr_ask q = sr_ask(s, sql);

	sr_give_i64(&q, st->id);
	return sr_feed_run(&q, next_leaf, &p, err);
}

static enum sr_status take_leaves(struct sr_state *s, enum sr_sql sql, const struct sr_store_row *st, struct sr_leaves *leaves,
				  struct sr_err *err)
{
	struct sr_ask q = sr_ask_fresh(s, sql);
	enum sr_status said = SR_OK, status;
	struct sr_leaf leaf;

	sr_give_i64(&q, st->id);
	while (said == SR_OK && sr_ask_row(&q)) {
		said = sr_leaf_decode(sr_take_bytes(&q, 0), &leaf, err);
		if (said != SR_OK)
			(void)sr_err_context(err, "%s: a leaf of an intent or the outbox", s->file);
		else
			said = sr_leaves_add(leaves, &leaf, err);
	}
	status = sr_ask_end(&q, said == SR_OK ? err : NULL);
	return said != SR_OK ? said : status;
}

static enum sr_status drop(struct sr_state *s, enum sr_sql sql, const struct sr_store_row *st, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, sql);

	if (st)
		sr_give_i64(&q, st->id);
	return sr_ask_run(&q, err);
}

/* ---- intents ---- */

static enum sr_status find_head(struct sr_state *s, const struct sr_store_row *st, struct sr_intent_head *head, bool *found,
				struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_INTENT_HEAD_GET);

	sr_give_i64(&q, st->id);
	*found = sr_ask_row(&q);
	if (*found) {
		sr_take_uuid(&q, 0, &head->marker);
		head->epoch = sr_take_u64(&q, 1);
		head->seq = sr_take_u64(&q, 2);
		sr_buf_clear(&s->note);
		sr_buf_bytes(&s->note, sr_take_bytes(&q, 3));
		head->note = sr_buf_view(&s->note);
	}
	return sr_ask_end(&q, err);
}

static enum sr_status put_head(struct sr_state *s, const struct sr_store_row *st, const struct sr_intent_head *head, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_INTENT_HEAD_PUT);

	sr_give_i64(&q, st->id);
	sr_give_uuid(&q, &head->marker);
	sr_give_u64(&q, head->epoch);
	sr_give_u64(&q, head->seq);
	sr_give_bytes(&q, head->note);
	return sr_ask_run(&q, err);
}

enum sr_status sr_state_intend(struct sr_state *s, const struct sr_store_row *st, const struct sr_intent_head *head,
			       struct sr_leaves *leaves, struct sr_err *err)
{
	struct sr_intent_head other;
	bool own, found = false;
	enum sr_status status = sr_state_enter(s, &own, err);

	if (status != SR_OK)
		return status;
	status = find_head(s, st, &other, &found, err);
	if (status == SR_OK && found)
		status = sr_err_set(err, SR_E_INTERNAL, "%s: intent: the last apply to this store is not settled", s->file);
	if (status == SR_OK)
		status = put_head(s, st, head, err);
	if (status == SR_OK)
		status = put_leaves(s, SR_SQL_INTENT_FILL, st, 0, leaves, true, err);
	return sr_state_leave(s, own, status, err);
}

enum sr_status sr_state_intents(struct sr_state *s, const struct sr_store_row *st, struct sr_intent_head *head, struct sr_leaves *leaves,
				bool *found, struct sr_err *err)
{
	struct sr_intent_head seen;
	bool own, there = false;
	enum sr_status status = sr_state_enter(s, &own, err); /* head and leaves of one moment */

	if (status != SR_OK)
		return status;
	status = find_head(s, st, &seen, &there, err);
	if (status == SR_OK && there)
		status = take_leaves(s, SR_SQL_INTENT_EACH, st, leaves, err);
	status = sr_state_leave(s, own, status, err);
	if (status != SR_OK)
		return status;
	if (there)
		*head = seen;
	*found = there;
	return SR_OK;
}

enum sr_status sr_state_intents_drop(struct sr_state *s, const struct sr_store_row *st, struct sr_err *err)
{
	bool own;
	enum sr_status status = sr_state_enter(s, &own, err);

	if (status != SR_OK)
		return status;
	status = drop(s, SR_SQL_INTENT_DROP, st, err);
	if (status == SR_OK)
		status = drop(s, SR_SQL_INTENT_HEAD_DROP, st, err);
	return sr_state_leave(s, own, status, err);
}

/* ---- outbox ---- */

static enum sr_status put_outbox(struct sr_state *s, const struct sr_outbox *o, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_OUTBOX_PUT);

	sr_give_uuid(&q, &o->id);
	sr_give_uuid(&q, &o->prev);
	sr_give_uuid(&q, &o->instance);
	sr_give_u64(&q, o->epoch);
	sr_give_u64(&q, o->seq);
	sr_give_uuid(&q, &o->start);
	return sr_ask_run(&q, err);
}

enum sr_status sr_state_outbox_put(struct sr_state *s, const struct sr_outbox *o, struct sr_err *err)
{
	struct sr_ask q;
	bool own;
	enum sr_status status = sr_state_enter(s, &own, err);

	if (status != SR_OK)
		return status;
	q = sr_ask(s, SR_SQL_OUTBOX_LEAF_OTHERS);
	sr_give_uuid(&q, &o->id);
	status = sr_ask_run(&q, err);
	if (status == SR_OK)
		status = put_outbox(s, o, err);
	return sr_state_leave(s, own, status, err);
}

enum sr_status sr_state_outbox_add(struct sr_state *s, const struct sr_store_row *st, struct sr_leaves *leaves, struct sr_err *err)
{
	struct sr_ask q;
	uint64_t next = 0;
	bool own;
	enum sr_status status = sr_state_enter(s, &own, err);

	if (status != SR_OK)
		return status;
	q = sr_ask(s, SR_SQL_OUTBOX_LEAF_NEXT);
	sr_give_i64(&q, st->id);
	if (sr_ask_row(&q))
		next = sr_take_u64(&q, 0);
	status = sr_ask_end(&q, err);
	if (status == SR_OK)
		status = put_leaves(s, SR_SQL_OUTBOX_LEAF_FILL, st, next, leaves, false, err);
	return sr_state_leave(s, own, status, err);
}

enum sr_status sr_state_outbox(struct sr_state *s, struct sr_outbox *out, bool *found, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_OUTBOX_GET);
	struct sr_outbox o;
	bool row = sr_ask_row(&q);
	enum sr_status status;

	if (row) {
		sr_take_uuid(&q, 0, &o.id);
		sr_take_uuid(&q, 1, &o.prev);
		sr_take_uuid(&q, 2, &o.instance);
		o.epoch = sr_take_u64(&q, 3);
		o.seq = sr_take_u64(&q, 4);
		sr_take_uuid(&q, 5, &o.start);
	}
	status = sr_ask_end(&q, err);
	if (status != SR_OK)
		return status;
	if (row)
		*out = o;
	*found = row;
	return SR_OK;
}

enum sr_status sr_state_outbox_leaves(struct sr_state *s, const struct sr_store_row *st, struct sr_leaves *leaves, struct sr_err *err)
{
	return take_leaves(s, SR_SQL_OUTBOX_LEAF_EACH, st, leaves, err);
}

enum sr_status sr_state_outbox_drop(struct sr_state *s, struct sr_err *err)
{
	bool own;
	enum sr_status status = sr_state_enter(s, &own, err);

	if (status != SR_OK)
		return status;
	status = drop(s, SR_SQL_OUTBOX_LEAF_DROP, NULL, err);
	if (status == SR_OK)
		status = drop(s, SR_SQL_OUTBOX_DROP, NULL, err);
	return sr_state_leave(s, own, status, err);
}

/* ---- pushes that were given up: outbox_leaf rows of the store's other id ---- */

static struct sr_store_row given_up(const struct sr_store_row *st)
{
	return (struct sr_store_row){.id = -1 - st->id};
}

/* Dated by the push, whatever a union's leaf says of itself. */
static enum sr_status add_dated(struct sr_leaves *to, struct sr_leaves *sent, const struct sr_outbox *o, struct sr_err *err)
{
	enum sr_status status = SR_OK;
	struct sr_leaf leaf;

	for (size_t i = 0; status == SR_OK && i < sr_leaves_count(sent); i++) {
		status = sr_leaves_at(sent, i, &leaf, err);
		leaf.epoch = o->epoch;
		leaf.seq = o->seq;
		if (status == SR_OK)
			status = sr_leaves_add(to, &leaf, err);
	}
	return status;
}

/* Of each path the newest. */
static enum sr_status add_others(struct sr_leaves *to, struct sr_leaves *older, struct sr_leaves *sent, struct sr_err *err)
{
	enum sr_status status = SR_OK;
	struct sr_leaf leaf, newer;
	size_t at;

	for (size_t i = 0; status == SR_OK && i < sr_leaves_count(older); i++) {
		status = sr_leaves_at(older, i, &leaf, err);
		if (status == SR_OK)
			status = sr_leaves_find(sent, leaf.path, &at, &newer, err);
		if (status == SR_OK && at == sr_leaves_count(sent))
			status = sr_leaves_add(to, &leaf, err);
	}
	return status;
}

static enum sr_status give_up_store(struct sr_state *s, const struct sr_store_row *st, const struct sr_outbox *o, struct sr_err *err)
{
	struct sr_store_row other = given_up(st);
	struct sr_leaves *sent = sr_leaves_new(s->dir), *older = sr_leaves_new(s->dir), *all = sr_leaves_new(s->dir);
	enum sr_status status = sr_state_outbox_leaves(s, st, sent, err);

	if (status == SR_OK)
		status = sr_leaves_sort(sent, err);
	if (status == SR_OK)
		status = sr_state_given_up(s, st, older, err);
	if (status == SR_OK)
		status = add_dated(all, sent, o, err);
	if (status == SR_OK)
		status = add_others(all, older, sent, err);
	if (status == SR_OK)
		status = sr_leaves_sort(all, err);
	if (status == SR_OK)
		status = sr_state_given_up_drop(s, st, err);
	if (status == SR_OK)
		status = sr_state_outbox_add(s, &other, all, err);
	sr_leaves_free(sent);
	sr_leaves_free(older);
	sr_leaves_free(all);
	return status;
}

enum sr_status sr_state_outbox_give_up(struct sr_state *s, struct sr_err *err)
{
	struct sr_store_row *stores = NULL;
	struct sr_outbox o;
	size_t n = 0;
	bool own, found = false;
	enum sr_status status = sr_state_enter(s, &own, err);

	if (status != SR_OK)
		return status;
	status = sr_state_outbox(s, &o, &found, err);
	if (status == SR_OK && found)
		status = sr_state_stores(s, &stores, &n, err);
	for (size_t i = 0; status == SR_OK && i < n; i++)
		status = give_up_store(s, &stores[i], &o, err);
	if (status == SR_OK)
		status = sr_state_outbox_drop(s, err);
	free(stores);
	return sr_state_leave(s, own, status, err);
}

enum sr_status sr_state_given_up(struct sr_state *s, const struct sr_store_row *st, struct sr_leaves *leaves, struct sr_err *err)
{
	struct sr_store_row other = given_up(st);

	return sr_state_outbox_leaves(s, &other, leaves, err);
}

enum sr_status sr_state_given_up_drop(struct sr_state *s, const struct sr_store_row *st, struct sr_err *err)
{
	struct sr_store_row other = given_up(st);

	return drop(s, SR_SQL_OUTBOX_LEAF_DROP_OF, &other, err);
}
