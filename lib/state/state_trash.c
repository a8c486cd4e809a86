/* state_trash.c - what commits replaced: how much of it there is, and what of it goes.  See trash.h. */
#include "lib/state/trash.h"

#include "lib/state/internal.h"

enum sr_status sr_state_replaced_add(struct sr_state *s, const struct sr_replaced *r, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_REPLACED_PUT);

	sr_give_hash(&q, &r->hash);
	sr_give_bytes(&q, r->file ? sr_bytes("", 0) : r->record);
	sr_give_i64(&q, r->file);
	sr_give_u64(&q, r->file ? r->bytes : r->record.len);
	sr_give_u64(&q, r->epoch);
	sr_give_u64(&q, r->seq);
	sr_give_i64(&q, r->at_ms);
	return sr_ask_run(&q, err);
}

enum sr_status sr_state_replaced(struct sr_state *s, const struct sr_hash *hash, struct sr_buf *record, bool *found, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_REPLACED_GET);
	bool row;

	sr_give_hash(&q, hash);
	row = sr_ask_row(&q);
	if (row) {
		sr_buf_clear(record);
		sr_buf_bytes(record, sr_take_bytes(&q, 0));
	}
	if (sr_ask_good(&q))
		*found = row;
	return sr_ask_end(&q, err);
}

enum sr_status sr_state_replaced_has(struct sr_state *s, const struct sr_hash *hash, bool *found, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_REPLACED_HAS);

	sr_give_hash(&q, hash);
	*found = sr_ask_row(&q) && sr_take_u64(&q, 0);
	return sr_ask_end(&q, err);
}

static enum sr_status oldest(struct sr_state *s, int64_t *out, bool *found, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_REPLACED_AGE);

	*found = sr_ask_row(&q);
	if (*found)
		*out = (int64_t)sr_take_u64(&q, 0);
	return sr_ask_end(&q, err);
}

enum sr_status sr_state_trash(struct sr_state *s, struct sr_trash *out, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_TRASH_GET);
	struct sr_trash t = {0};
	enum sr_status status;
	bool any = false;

	if (sr_ask_row(&q)) {
		t.files = sr_take_u64(&q, 0);
		t.records = sr_take_u64(&q, 1);
		t.bytes = sr_take_u64(&q, 2);
	}
	status = sr_ask_end(&q, err);
	if (status == SR_OK)
		status = oldest(s, &t.oldest_ms, &any, err);
	if (status == SR_OK)
		*out = t;
	return status;
}

/* Short records from here on are among the newest that stay. */
static enum sr_status newest_records(struct sr_state *s, uint64_t keep, int64_t *out, struct sr_err *err)
{
	struct sr_ask q;

	*out = INT64_MAX;
	if (!keep)
		return SR_OK;
	q = sr_ask(s, SR_SQL_REPLACED_SMALL);
	sr_give_order(&q, keep - 1);
	*out = sr_ask_row(&q) ? (int64_t)sr_take_u64(&q, 0) : 0;
	return sr_ask_end(&q, err);
}

/* Where the youngest lies that has to go for the rest to be no more than `most`. */
static enum sr_status too_much(struct sr_state *s, uint64_t bytes, uint64_t most, int64_t records_from, int64_t *before, struct sr_err *err)
{
	struct sr_ask q;

	if (bytes <= most)
		return SR_OK;
	q = sr_ask(s, SR_SQL_REPLACED_OLDEST);
	sr_give_i64(&q, records_from);
	while (bytes > most && sr_ask_row(&q)) {
		uint64_t size = sr_take_u64(&q, 1);
		int64_t at_ms = (int64_t)sr_take_u64(&q, 0);

		bytes -= size < bytes ? size : bytes;
		if (at_ms >= *before)
			*before = at_ms + 1;
	}
	return sr_ask_end(&q, err);
}

static enum sr_status forget(struct sr_state *s, const struct sr_trash_rule *rule, int64_t before_ms, int64_t records_from,
			     struct sr_buf *files, bool *more, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_REPLACED_TRIM);
	uint64_t n = 0;

	sr_give_i64(&q, before_ms);
	sr_give_order(&q, rule->epoch);
	sr_give_order(&q, rule->seq);
	sr_give_i64(&q, records_from);
	sr_give_u64(&q, rule->most);
	while (sr_ask_row(&q)) {
		struct sr_hash hash;

		sr_take_hash(&q, 0, &hash);
		if (sr_take_u64(&q, 1))
			sr_buf_add(files, hash.b, sizeof hash.b);
		n++;
	}
	*more = n == rule->most;
	return sr_ask_end(&q, err);
}

enum sr_status sr_state_trash_trim(struct sr_state *s, const struct sr_trash_rule *rule, struct sr_buf *files, bool *more, struct sr_err *err)
{
	int64_t before_ms = rule->since_ms, records_from = 0, first = 0;
	struct sr_trash t = {0};
	bool any = false, own;
	enum sr_status status = sr_state_enter(s, &own, err);

	*more = false;
	if (status != SR_OK)
		return status;
	status = sr_state_trash(s, &t, err);
	if (status == SR_OK)
		status = oldest(s, &first, &any, err);
	if (status != SR_OK || !any || (first >= before_ms && t.bytes <= rule->bytes))
		goto out;
	status = newest_records(s, rule->records, &records_from, err);
	if (status == SR_OK)
		status = too_much(s, t.bytes, rule->bytes, records_from, &before_ms, err);
	if (status == SR_OK)
		status = forget(s, rule, before_ms, records_from, files, more, err);
out:
	return sr_state_leave(s, own, status, err);
}
