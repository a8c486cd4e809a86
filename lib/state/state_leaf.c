/* state_leaf.c - leaf rows: what is here, and what the datastore and we last agreed on.  See state.h.
 *
 * The common row, in sync, is stored with base_state SR_BASE_SAME and no base; all others stand in the index leaf_open, so that a round
 * without differences looks at none. */
#include <string.h>

#include "lib/state/feed.h"

/* What the base of a leaf without a row is: absent, was absent when the epoch rose, or anything. */
static uint8_t base_of_absence(const struct sr_store_row *st)
{
	if (st->base_known)
		return SR_BASE_KNOWN;
	return st->absent_hint ? SR_BASE_HINT : SR_BASE_UNKNOWN;
}

/* Agreed on later than all the rest: should the name be made anew before the store is as of then, too, it is an edit of that late absence. */
static bool is_later_than_store(const struct sr_store_row *st, const struct sr_leaf_row *row)
{
	return sr_is_later(row->epoch, row->seq, st->epoch, st->seq);
}

static bool says_nothing(const struct sr_store_row *st, const struct sr_leaf_row *row)
{
	if (row->local.kind != SR_KIND_NONE || row->base_state != base_of_absence(st))
		return false;
	return row->base_state == SR_BASE_UNKNOWN || (row->base.kind == SR_KIND_NONE && !is_later_than_store(st, row));
}

static void take_row(struct sr_ask *q, struct sr_leaf_row *out)
{
	uint64_t base_state = sr_take_u64(q, 3);

	out->path = sr_take_bytes(q, 0);
	sr_take_version(q, 1, &out->local);
	out->signature = sr_take_u64(q, 2);
	sr_take_version(q, 4, &out->base);
	out->epoch = sr_take_u64(q, 5);
	out->seq = sr_take_u64(q, 6);
	out->base_state = (uint8_t)base_state;
	if (base_state == SR_BASE_SAME) {
		out->base_state = SR_BASE_KNOWN;
		out->base = out->local;
	} else if (base_state > SR_BASE_HINT) {
		sr_ask_fault(q, "an unknown base_state");
	}
}

/* `path` may be a part of what was handed out before. */
static struct sr_bytes keep_path(struct sr_state *s, struct sr_bytes path)
{
	sr_buf_clear(&s->path);
	if (path.len)
		memmove(sr_buf_room(&s->path, path.len), path.at, path.len);
	s->path.len = path.len;
	return sr_buf_view(&s->path);
}

enum sr_status sr_state_leaf(struct sr_state *s, const struct sr_store_row *st, struct sr_bytes path, struct sr_leaf_row *out,
			     struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_LEAF_GET);
	struct sr_leaf_row row = {.base_state = base_of_absence(st)};
	enum sr_status status;

	sr_give_i64(&q, st->id);
	sr_give_bytes(&q, path);
	if (sr_ask_row(&q))
		take_row(&q, &row);
	status = sr_ask_end(&q, err);
	if (status != SR_OK)
		return status;
	row.path = keep_path(s, path);
	*out = row;
	return SR_OK;
}

static enum sr_status drop_leaf(struct sr_state *s, const struct sr_store_row *st, struct sr_bytes path, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_LEAF_DROP);

	sr_give_i64(&q, st->id);
	sr_give_bytes(&q, path);
	return sr_ask_run(&q, err);
}

/* Into s->pack: local, base.  Returns the stored base_state. */
static uint8_t pack_row(struct sr_state *s, const struct sr_leaf_row *row)
{
	struct sr_buf *local = &s->pack[0], *base = &s->pack[1];
	uint8_t base_state = row->base_state;

	sr_version_pack(local, &row->local);
	sr_version_pack(base, &row->base);
	if (base_state == SR_BASE_KNOWN && sr_bytes_eq(sr_buf_view(local), sr_buf_view(base)))
		base_state = SR_BASE_SAME;
	if (base_state == SR_BASE_SAME || base_state == SR_BASE_UNKNOWN)
		sr_buf_clear(base);
	return base_state;
}

enum sr_status sr_state_leaf_put(struct sr_state *s, const struct sr_store_row *st, const struct sr_leaf_row *row, struct sr_err *err)
{
	struct sr_buf *local = &s->pack[0], *base = &s->pack[1];
	uint8_t base_state;
	struct sr_ask q;

	if (says_nothing(st, row))
		return drop_leaf(s, st, row->path, err);
	base_state = pack_row(s, row);
	q = sr_ask(s, SR_SQL_LEAF_PUT);
	sr_give_i64(&q, st->id);
	sr_give_bytes(&q, row->path);
	sr_give_version(&q, local);
	sr_give_u64(&q, local->len ? row->signature : 0);
	sr_give_i64(&q, base_state);
	sr_give_version(&q, base);
	sr_give_u64(&q, row->epoch);
	sr_give_u64(&q, row->seq);
	return sr_ask_run(&q, err);
}

struct putting {
	struct sr_state *s;
	const struct sr_store_row *st;
	sr_leaf_row_next *next;
	void *ctx;
	bool ended;
	bool drops; /* s->path is to go, and then it goes on */
};

static enum sr_status next_row(void *ctx, struct sr_feed *f, bool *more, struct sr_err *err)
{
	struct putting *p = ctx;
	struct sr_buf *local = &p->s->pack[0];
	struct sr_leaf_row row;
	bool any = false;
	enum sr_status rc = p->next(p->ctx, &row, &any, err);

	p->ended = !any;
	if (rc != SR_OK || p->ended)
		return rc;
	p->drops = says_nothing(p->st, &row);
	if (p->drops) {
		(void)keep_path(p->s, row.path);
		return SR_OK;
	}
	sr_feed_bytes(f, 0, row.path);
	sr_feed_number(f, 3, pack_row(p->s, &row));
	sr_feed_version(f, 1, local);
	sr_feed_number(f, 2, local->len ? (int64_t)row.signature : 0);
	sr_feed_version(f, 4, &p->s->pack[1]);
	sr_feed_number(f, 5, (int64_t)row.epoch);
	sr_feed_number(f, 6, (int64_t)row.seq);
	*more = true;
	return SR_OK;
}

enum sr_status sr_state_leaves_put(struct sr_state *s, const struct sr_store_row *st, sr_leaf_row_next *next, void *ctx, struct sr_err *err)
{
	struct putting p = {.s = s, .st = st, .next = next, .ctx = ctx};
	bool own;
	enum sr_status status = sr_state_enter(s, &own, err);

	if (status != SR_OK)
		return status;
	while (status == SR_OK && !p.ended) {
		struct sr_ask q = sr_ask(s, SR_SQL_LEAF_FILL);

		sr_give_i64(&q, st->id);
		status = sr_feed_run(&q, next_row, &p, err);
		if (status == SR_OK && p.drops)
			status = drop_leaf(s, st, sr_buf_view(&s->path), err);
		p.drops = false;
	}
	return sr_state_leave(s, own, status, err);
}

enum sr_status sr_state_has_leaves(struct sr_state *s, const struct sr_store_row *st, bool *out, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_LEAF_ANY);

	sr_give_i64(&q, st->id);
	*out = sr_ask_row(&q);
	return sr_ask_end(&q, err);
}

enum sr_status sr_state_agree_open(struct sr_state *s, const struct sr_store_row *st, uint64_t epoch, uint64_t seq, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_LEAF_AGREE_OPEN);

	sr_give_u64(&q, epoch);
	sr_give_u64(&q, seq);
	sr_give_i64(&q, st->id);
	return sr_ask_run(&q, err);
}

enum sr_status sr_state_leaf_agree(struct sr_state *s, const struct sr_store_row *st, struct sr_bytes path, const struct sr_version *version,
				   uint64_t epoch, uint64_t seq, bool *done, struct sr_err *err)
{
	struct sr_buf *local = &s->pack[0];
	struct sr_ask q = sr_ask(s, SR_SQL_LEAF_AGREE);
	enum sr_status status;

	sr_version_pack(local, version);
	sr_give_u64(&q, epoch);
	sr_give_u64(&q, seq);
	sr_give_i64(&q, st->id);
	sr_give_bytes(&q, path);
	sr_give_version(&q, local);
	status = sr_ask_run(&q, err);
	*done = status == SR_OK && sqlite3_changes(s->db) > 0;
	return status;
}

enum sr_status sr_state_leaf_sign(struct sr_state *s, const struct sr_store_row *st, struct sr_bytes path, uint64_t signature,
				  struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_LEAF_SIGN);

	sr_give_u64(&q, signature);
	sr_give_i64(&q, st->id);
	sr_give_bytes(&q, path);
	return sr_ask_run(&q, err);
}

enum sr_status sr_state_leaves(struct sr_state *s, const struct sr_store_row *st, bool open_only, sr_leaf_row_fn *fn, void *ctx,
			       struct sr_err *err)
{
	struct sr_ask q = sr_ask_fresh(s, open_only ? SR_SQL_LEAF_OPEN : SR_SQL_LEAF_EACH);
	enum sr_status said = SR_OK, status;
	struct sr_leaf_row row;

	sr_give_i64(&q, st->id);
	while (said == SR_OK && sr_ask_row(&q)) {
		take_row(&q, &row);
		if (sr_ask_good(&q))
			said = fn(ctx, &row, err);
	}
	status = sr_ask_end(&q, err);
	return said != SR_OK ? said : status;
}

enum sr_status sr_state_open_count(struct sr_state *s, const struct sr_store_row *st, uint64_t *out, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_LEAF_COUNT_OPEN);

	sr_give_i64(&q, st->id);
	if (sr_ask_row(&q))
		*out = sr_take_u64(&q, 0);
	return sr_ask_end(&q, err);
}

static enum sr_status for_store(struct sr_state *s, enum sr_sql sql, const struct sr_store_row *st, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, sql);

	sr_give_i64(&q, st->id);
	return sr_ask_run(&q, err);
}

/* What the store's row says of all that have none; then the leaves by one or two statements, over a million rows as over ten. */
static enum sr_status forget(struct sr_state *s, struct sr_store_row *st, enum sr_sql first, enum sr_sql then, bool absent_hint,
			     struct sr_err *err)
{
	struct sr_ask q;
	bool own;
	enum sr_status status = sr_state_enter(s, &own, err);

	if (status != SR_OK)
		return status;
	q = sr_ask(s, SR_SQL_STORE_FORGET);
	sr_give_i64(&q, absent_hint ? SR_ABSENT_HINT : SR_ABSENT_UNKNOWN);
	sr_give_u64(&q, st->epoch);
	sr_give_u64(&q, st->seq);
	sr_give_i64(&q, st->id);
	status = sr_ask_run(&q, err);
	if (status == SR_OK)
		status = for_store(s, first, st, err);
	if (status == SR_OK && then != first)
		status = for_store(s, then, st, err);
	status = sr_state_leave(s, own, status, err);
	if (status == SR_OK) {
		st->base_known = false;
		st->absent_hint = absent_hint;
	}
	return status;
}

/* First the rows go that would have nothing left to say. */
enum sr_status sr_state_forget_base(struct sr_state *s, struct sr_store_row *st, bool as_hint, struct sr_err *err)
{
	return as_hint ? forget(s, st, SR_SQL_LEAF_HINT_ABSENT, SR_SQL_LEAF_HINT, st->base_known || st->absent_hint, err)
		       : forget(s, st, SR_SQL_LEAF_FORGET_ABSENT, SR_SQL_LEAF_FORGET, false, err);
}

enum sr_status sr_state_forget_leaves(struct sr_state *s, struct sr_store_row *st, struct sr_err *err)
{
	return forget(s, st, SR_SQL_LEAF_CLEAR, SR_SQL_LEAF_CLEAR, false, err);
}
