/* state_history.c - the datastore's memory: roots, journal, what was deleted, answers to pushes, its webservers.  See state.h.
 */
#include "lib/state/feed.h"

#include <inttypes.h>

#define JOURNAL_TRIM_EVERY 1024 /* rows added between two looks */

/* ---- roots ---- */

static void take_root(struct sr_ask *q, struct sr_root_row *out)
{
	out->epoch = sr_take_u64(q, 0);
	out->seq = sr_take_u64(q, 1);
	sr_take_hash(q, 2, &out->root);
	out->at_ms = (int64_t)sr_take_u64(q, 3);
}

enum sr_status sr_state_root_add(struct sr_state *s, const struct sr_root_row *row, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_ROOT_PUT);

	sr_give_u64(&q, row->epoch);
	sr_give_u64(&q, row->seq);
	sr_give_hash(&q, &row->root);
	sr_give_i64(&q, row->at_ms);
	return sr_ask_run(&q, err);
}

enum sr_status sr_state_root(struct sr_state *s, uint64_t epoch, uint64_t seq, struct sr_root_row *out, bool *found, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, seq == UINT64_MAX ? SR_SQL_ROOT_NEWEST : SR_SQL_ROOT_GET);
	struct sr_root_row row;
	enum sr_status status;
	bool there;

	if (seq != UINT64_MAX) {
		sr_give_u64(&q, epoch);
		sr_give_u64(&q, seq);
	}
	there = sr_ask_row(&q);
	if (there)
		take_root(&q, &row);
	status = sr_ask_end(&q, err);
	if (status != SR_OK)
		return status;
	if (there)
		*out = row;
	*found = there;
	return SR_OK;
}

enum sr_status sr_state_roots(struct sr_state *s, uint64_t epoch, uint64_t seq, sr_root_row_fn *fn, void *ctx, struct sr_err *err)
{
	struct sr_ask q = sr_ask_fresh(s, SR_SQL_ROOT_EACH);
	enum sr_status said = SR_OK, status;
	struct sr_root_row row;

	sr_give_order(&q, epoch);
	sr_give_order(&q, seq);
	while (said == SR_OK && sr_ask_row(&q)) {
		take_root(&q, &row);
		if (sr_ask_good(&q))
			said = fn(ctx, &row, err);
	}
	status = sr_ask_end(&q, err);
	return said != SR_OK ? said : status;
}

enum sr_status sr_state_roots_trim(struct sr_state *s, uint64_t keep_newest, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_ROOT_TRIM);

	sr_give_order(&q, keep_newest);
	return sr_ask_run(&q, err);
}

/* ---- journal ---- */

static enum sr_status journal_row(struct sr_state *s, uint64_t n, struct sr_root_row *out, bool *found, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_JOURNAL_ROW);

	sr_give_u64(&q, n);
	*found = sr_ask_row(&q);
	if (*found) {
		out->at_ms = (int64_t)sr_take_u64(&q, 0);
		out->epoch = sr_take_u64(&q, 1);
		out->seq = sr_take_u64(&q, 2);
	}
	return sr_ask_end(&q, err);
}

static enum sr_status journal_ends(struct sr_state *s, uint64_t *first, uint64_t *last, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_JOURNAL_ENDS);

	if (sr_ask_row(&q)) {
		*first = sr_take_u64(&q, 0);
		*last = sr_take_u64(&q, 1);
	}
	return sr_ask_end(&q, err);
}

/* The first row after at_ms, or last + 1.  Row numbers have no gaps: rows are added at the end and go from the front. */
static enum sr_status first_after(struct sr_state *s, int64_t at_ms, uint64_t first, uint64_t last, uint64_t *out, struct sr_err *err)
{
	uint64_t lo = first, hi = last + 1;
	enum sr_status status = SR_OK;

	while (status == SR_OK && lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;
		struct sr_root_row row = {.at_ms = INT64_MAX};
		bool found = false;

		status = journal_row(s, mid, &row, &found, err);
		if (row.at_ms <= at_ms)
			lo = mid + 1;
		else
			hi = mid;
	}
	*out = lo;
	return status;
}

/* Whole commits go, those that are too old; never the newest journal_keep rows, and of more than journal_most all the same. */
static enum sr_status trim_journal(struct sr_state *s, uint64_t added, struct sr_err *err)
{
	uint64_t first = 0, last = (uint64_t)sqlite3_last_insert_rowid(s->db), keep = 0;
	enum sr_status status;
	struct sr_ask q;

	if (last % JOURNAL_TRIM_EVERY >= added || last <= s->journal_keep)
		return SR_OK;
	status = journal_ends(s, &first, &last, err);
	if (status == SR_OK)
		status = first_after(s, s->journal_since_ms - 1, first, last, &keep, err);
	if (status != SR_OK)
		return status;
	if (keep > last - s->journal_keep + 1)
		keep = last - s->journal_keep + 1;
	if (last > s->journal_most && keep < last - s->journal_most + 1)
		keep = last - s->journal_most + 1;
	q = sr_ask(s, SR_SQL_JOURNAL_TRIM);
	sr_give_u64(&q, keep);
	return sr_ask_run(&q, err);
}

void sr_state_journal_retain(struct sr_state *s, int64_t since_ms)
{
	s->journal_since_ms = since_ms;
}

enum sr_status sr_state_journal_add(struct sr_state *s, const struct sr_journal_row *row, struct sr_err *err)
{
	struct sr_buf *from = &s->pack[0], *to = &s->pack[1];
	struct sr_ask q;
	bool own;
	enum sr_status status = sr_state_enter(s, &own, err);

	if (status != SR_OK)
		return status;
	sr_version_pack(from, &row->from);
	sr_version_pack(to, &row->to);
	q = sr_ask(s, SR_SQL_JOURNAL_PUT);
	sr_give_u64(&q, row->epoch);
	sr_give_u64(&q, row->seq);
	sr_give_text(&q, row->store);
	sr_give_bytes(&q, row->path);
	sr_give_version(&q, from);
	sr_give_version(&q, to);
	sr_give_uuid(&q, &row->webserver);
	sr_give_i64(&q, row->at_ms);
	sr_give_i64(&q, row->mtime_ns);
	status = sr_ask_run(&q, err);
	if (status == SR_OK)
		status = trim_journal(s, 1, err);
	return sr_state_leave(s, own, status, err);
}

struct filling {
	struct sr_state *s;
	struct sr_leaves *leaves;
	size_t at;
};

static enum sr_status next_change(void *ctx, struct sr_feed *f, bool *more, struct sr_err *err)
{
	struct filling *c = ctx;
	struct sr_leaf leaf;
	enum sr_status rc = sr_leaves_next(c->leaves, &c->at, &leaf, more, err);

	if (rc != SR_OK || !*more)
		return rc;
	sr_version_pack(&c->s->pack[0], &leaf.expect);
	sr_version_pack(&c->s->pack[1], &leaf.to);
	sr_feed_bytes(f, 0, leaf.path);
	sr_feed_version(f, 1, &c->s->pack[0]);
	sr_feed_version(f, 2, &c->s->pack[1]);
	sr_feed_number(f, 3, leaf.mtime_ns);
	return SR_OK;
}

enum sr_status sr_state_journal_fill(struct sr_state *s, const struct sr_journal_row *row, struct sr_leaves *leaves, struct sr_err *err)
{
	struct filling c = {.s = s, .leaves = leaves};
	struct sr_ask q;
	bool own;
	enum sr_status status = SR_OK;

	if (!sr_leaves_count(leaves))
		return SR_OK;
	status = sr_state_enter(s, &own, err);
	if (status != SR_OK)
		return status;
	q = sr_ask(s, SR_SQL_JOURNAL_FILL);
	sr_give_u64(&q, row->epoch);
	sr_give_u64(&q, row->seq);
	sr_give_text(&q, row->store);
	sr_give_uuid(&q, &row->webserver);
	sr_give_i64(&q, row->at_ms);
	status = sr_feed_run(&q, next_change, &c, err);
	if (status == SR_OK)
		status = trim_journal(s, sr_leaves_count(leaves), err);
	return sr_state_leave(s, own, status, err);
}

static void take_journal(struct sr_ask *q, struct sr_journal_row *out)
{
	out->epoch = sr_take_u64(q, 0);
	out->seq = sr_take_u64(q, 1);
	out->store = sr_take_text(q, 2);
	out->path = sr_take_bytes(q, 3);
	sr_take_version(q, 4, &out->from);
	sr_take_version(q, 5, &out->to);
	sr_take_uuid(q, 6, &out->webserver);
	out->at_ms = (int64_t)sr_take_u64(q, 7);
	out->mtime_ns = (int64_t)sr_take_u64(q, 8);
}

static enum sr_status each_journal(struct sr_ask *q, sr_journal_row_fn *fn, void *ctx, struct sr_err *err)
{
	enum sr_status said = SR_OK, status;
	struct sr_journal_row row;

	while (said == SR_OK && sr_ask_row(q)) {
		take_journal(q, &row);
		if (sr_ask_good(q))
			said = fn(ctx, &row, err);
	}
	status = sr_ask_end(q, err);
	return said != SR_OK ? said : status;
}

enum sr_status sr_state_journal(struct sr_state *s, uint64_t epoch, uint64_t after_seq, sr_journal_row_fn *fn, void *ctx,
				struct sr_err *err)
{
	struct sr_ask q = sr_ask_fresh(s, SR_SQL_JOURNAL_EACH);

	sr_give_order(&q, epoch);
	sr_give_order(&q, after_seq);
	return each_journal(&q, fn, ctx, err);
}

/* The path itself, or NULL for all, and what all below it lies between.  *bounds live until the end of q. */
static void give_top(struct sr_ask *q, struct sr_bytes top, struct sr_buf bounds[2])
{
	if (top.len)
		sr_give_bytes(q, top);
	else
		sr_give_text(q, NULL);
	for (uint8_t i = 0; i < 2; i++) {
		sr_buf_bytes(&bounds[i], top);
		sr_buf_byte(&bounds[i], i);
		sr_give_bytes(q, sr_buf_view(&bounds[i]));
	}
}

enum sr_status sr_state_journal_back(struct sr_state *s, const char *store, struct sr_bytes top, int64_t since_ms, uint64_t most,
				     sr_journal_row_fn *fn, void *ctx, struct sr_err *err)
{
	struct sr_ask q = sr_ask_fresh(s, SR_SQL_JOURNAL_BACK);
	struct sr_buf bounds[2] = {{0}};
	enum sr_status status;

	sr_give_i64(&q, since_ms);
	sr_give_text(&q, store);
	give_top(&q, top, bounds);
	sr_give_order(&q, most);
	status = each_journal(&q, fn, ctx, err);
	sr_buf_free(&bounds[0]);
	sr_buf_free(&bounds[1]);
	return status;
}

enum sr_status sr_state_journal_then(struct sr_state *s, uint64_t epoch, uint64_t seq, const char *store, struct sr_bytes top,
				     sr_journal_row_fn *fn, void *ctx, struct sr_err *err)
{
	struct sr_ask q = sr_ask_fresh(s, SR_SQL_JOURNAL_THEN);
	struct sr_buf bounds[2] = {{0}};
	enum sr_status status;

	sr_give_order(&q, epoch);
	sr_give_order(&q, seq);
	sr_give_text(&q, store);
	give_top(&q, top, bounds);
	status = each_journal(&q, fn, ctx, err);
	sr_buf_free(&bounds[0]);
	sr_buf_free(&bounds[1]);
	return status;
}

/* Times are those of a clock that may have been set: then there may be no one row before which all is older, and after which all is newer. */
static enum sr_status check_order(struct sr_state *s, uint64_t after, int64_t at_ms, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_JOURNAL_ASTRAY);
	uint64_t seq = 0;
	bool astray;
	enum sr_status status;

	sr_give_u64(&q, after);
	sr_give_i64(&q, at_ms);
	astray = sr_ask_row(&q);
	if (astray)
		seq = sr_take_u64(&q, 0);
	status = sr_ask_end(&q, err);
	if (status != SR_OK || !astray)
		return status;
	return sr_err_set(err, SR_E_CONFLICT,
			  "the datastore's clock was set, and the time of @%" PRIu64 " is out of order: what was there at that time is not certain; "
			  "say --at @SEQ, as `sameroot log` shows it",
			  seq);
}

enum sr_status sr_state_journal_at(struct sr_state *s, int64_t at_ms, struct sr_root_row *out, bool *found, struct sr_err *err)
{
	uint64_t first = 0, last = 0, after = 0;
	struct sr_root_row row = {0};
	enum sr_status status = journal_ends(s, &first, &last, err);

	*found = false;
	if (status != SR_OK || !last)
		return status;
	status = first_after(s, at_ms, first, last, &after, err);
	if (status == SR_OK)
		status = check_order(s, after, at_ms, err);
	if (status != SR_OK || after == first)
		return status;
	status = journal_row(s, after - 1, &row, found, err);
	if (status == SR_OK && *found)
		*out = row;
	return status;
}

enum sr_status sr_state_journal_first(struct sr_state *s, struct sr_root_row *out, bool *trimmed, bool *found, struct sr_err *err)
{
	uint64_t first = 0, last = 0;
	enum sr_status status = journal_ends(s, &first, &last, err);

	*found = false;
	*trimmed = first > 1;
	if (status != SR_OK || !last)
		return status;
	*out = (struct sr_root_row){0};
	return journal_row(s, first, out, found, err);
}

/* ---- deleted names ---- */

static enum sr_status count_deleted(struct sr_state *s, uint64_t *out, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_DELETED_COUNT);

	if (sr_ask_row(&q))
		*out = sr_take_u64(&q, 0);
	return sr_ask_end(&q, err);
}

/* Counting reads them all, so it is done when as many were added as could have filled the room; after a rollback that is merely early. */
static enum sr_status trim_deleted(struct sr_state *s, struct sr_err *err)
{
	uint64_t most = s->deleted_keep + s->deleted_keep / 10, count = 0;
	enum sr_status status;
	struct sr_ask q;

	if (s->deleted_room > 0) {
		s->deleted_room--;
		return SR_OK;
	}
	status = count_deleted(s, &count, err);
	if (status == SR_OK && count > most) {
		q = sr_ask(s, SR_SQL_DELETED_TRIM);
		sr_give_order(&q, s->deleted_keep);
		status = sr_ask_run(&q, err);
		count = s->deleted_keep;
	}
	if (status == SR_OK)
		s->deleted_room = most - count;
	return status;
}

enum sr_status sr_state_deleted_add(struct sr_state *s, const struct sr_store_row *st, struct sr_bytes path, uint64_t epoch, uint64_t seq,
                                    struct sr_err *err)
{
	struct sr_ask q;
	bool own;
	enum sr_status status = sr_state_enter(s, &own, err);

	if (status != SR_OK)
		return status;
	q = sr_ask(s, SR_SQL_DELETED_PUT);
	sr_give_i64(&q, st->id);
	sr_give_bytes(&q, path);
	sr_give_u64(&q, epoch);
	sr_give_u64(&q, seq);
	status = sr_ask_run(&q, err);
	if (status == SR_OK)
		status = trim_deleted(s, err);
	return sr_state_leave(s, own, status, err);
}

enum sr_status sr_state_deleted(struct sr_state *s, const struct sr_store_row *st, struct sr_bytes path, uint64_t *epoch, uint64_t *seq,
				bool *found, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_DELETED_GET);
	bool row;

	sr_give_i64(&q, st->id);
	sr_give_bytes(&q, path);
	row = sr_ask_row(&q);
	if (row) {
		*epoch = sr_take_u64(&q, 0);
		*seq = sr_take_u64(&q, 1);
	}
	if (sr_ask_good(&q))
		*found = row;
	return sr_ask_end(&q, err);
}

/* ---- the last push of each webserver ---- */

enum sr_status sr_state_push_result(struct sr_state *s, const struct sr_uuid *webserver, struct sr_push_result *out, bool *found,
				    struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_PUSH_GET);
	struct sr_push_result row = {.webserver = *webserver};
	enum sr_status status;
	bool there;

	sr_give_uuid(&q, webserver);
	there = sr_ask_row(&q);
	if (there) {
		sr_take_uuid(&q, 0, &row.id);
		row.kind = (uint8_t)sr_take_u64(&q, 1);
		row.epoch = sr_take_u64(&q, 2);
		row.seq = sr_take_u64(&q, 3);
		sr_take_hash(&q, 4, &row.root);
		sr_buf_clear(&s->note);
		sr_buf_bytes(&s->note, sr_take_bytes(&q, 5));
		row.answer = sr_buf_view(&s->note);
	}
	status = sr_ask_end(&q, err);
	if (status != SR_OK)
		return status;
	if (there)
		*out = row;
	*found = there;
	return SR_OK;
}

enum sr_status sr_state_push_result_put(struct sr_state *s, const struct sr_push_result *row, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_PUSH_PUT);

	sr_give_uuid(&q, &row->webserver);
	sr_give_uuid(&q, &row->id);
	sr_give_i64(&q, row->kind);
	sr_give_u64(&q, row->epoch);
	sr_give_u64(&q, row->seq);
	sr_give_hash(&q, &row->root);
	sr_give_bytes(&q, row->answer);
	return sr_ask_run(&q, err);
}

/* ---- webservers ---- */

enum sr_status sr_state_webserver_put(struct sr_state *s, const struct sr_webserver_row *row, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_WEBSERVER_PUT);

	sr_give_uuid(&q, &row->uuid);
	sr_give_text(&q, row->name);
	sr_give_text(&q, row->external_addr);
	sr_give_text(&q, row->peer);
	sr_give_text(&q, row->version);
	sr_give_text(&q, row->pin);
	sr_give_i64(&q, row->sync_port);
	sr_give_u64(&q, row->epoch);
	sr_give_u64(&q, row->seq);
	sr_give_hash(&q, &row->root);
	sr_give_i64(&q, row->seen_ms);
	sr_give_text(&q, row->status);
	return sr_ask_run(&q, err);
}

enum sr_status sr_state_webserver_drop(struct sr_state *s, const struct sr_uuid *uuid, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_WEBSERVER_DROP);

	sr_give_uuid(&q, uuid);
	return sr_ask_run(&q, err);
}

static void take_webserver(struct sr_ask *q, struct sr_webserver_row *out)
{
	sr_take_uuid(q, 0, &out->uuid);
	out->name = sr_take_text(q, 1);
	out->external_addr = sr_take_text(q, 2);
	out->peer = sr_take_text(q, 3);
	out->version = sr_take_text(q, 4);
	out->pin = sr_take_text(q, 5);
	out->sync_port = (unsigned)sr_take_u64(q, 6);
	out->epoch = sr_take_u64(q, 7);
	out->seq = sr_take_u64(q, 8);
	sr_take_hash(q, 9, &out->root);
	out->seen_ms = (int64_t)sr_take_u64(q, 10);
	out->status = sr_take_text(q, 11);
}

enum sr_status sr_state_webservers(struct sr_state *s, sr_webserver_row_fn *fn, void *ctx, struct sr_err *err)
{
	struct sr_ask q = sr_ask_fresh(s, SR_SQL_WEBSERVER_EACH);
	enum sr_status said = SR_OK, status;
	struct sr_webserver_row row;

	while (said == SR_OK && sr_ask_row(&q)) {
		take_webserver(&q, &row);
		if (sr_ask_good(&q))
			said = fn(ctx, &row, err);
	}
	status = sr_ask_end(&q, err);
	return said != SR_OK ? said : status;
}
