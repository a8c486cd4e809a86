/* state_conflict.c - see conflict.h. */
#include "lib/state/conflict.h"

#include "lib/state/internal.h"

enum sr_status sr_state_conflict_report(struct sr_state *s, const struct sr_uuid *webserver, struct sr_conflict_report *out, bool *found,
					struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_CONFLICT_REPORT_GET);
	bool row;

	sr_give_uuid(&q, webserver);
	row = sr_ask_row(&q);
	if (row) {
		*out = (struct sr_conflict_report){.webserver = *webserver};
		sr_take_uuid(&q, 0, &out->token);
		out->total = sr_take_u64(&q, 1);
		out->bytes = sr_take_u64(&q, 2);
		out->at_ms = (int64_t)sr_take_u64(&q, 3);
	}
	if (sr_ask_good(&q))
		*found = row;
	return sr_ask_end(&q, err);
}

enum sr_status sr_state_conflict_report_put(struct sr_state *s, const struct sr_conflict_report *row, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_CONFLICT_REPORT_PUT);

	sr_give_uuid(&q, &row->webserver);
	sr_give_uuid(&q, &row->token);
	sr_give_u64(&q, row->total);
	sr_give_u64(&q, row->bytes);
	sr_give_i64(&q, row->at_ms);
	return sr_ask_run(&q, err);
}

enum sr_status sr_state_conflict_put(struct sr_state *s, const struct sr_uuid *webserver, const char *id, struct sr_bytes entry,
				     struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_CONFLICT_PUT);

	sr_give_uuid(&q, webserver);
	sr_give_text(&q, id);
	sr_give_bytes(&q, entry);
	return sr_ask_run(&q, err);
}

enum sr_status sr_state_conflict_drop(struct sr_state *s, const struct sr_uuid *webserver, const char *id, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, id ? SR_SQL_CONFLICT_DROP : SR_SQL_CONFLICT_DROP_ALL);

	sr_give_uuid(&q, webserver);
	if (id)
		sr_give_text(&q, id);
	return sr_ask_run(&q, err);
}

enum sr_status sr_state_conflicts_sweep(struct sr_state *s, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_CONFLICT_SWEEP);
	enum sr_status rc = sr_ask_run(&q, err);

	if (rc != SR_OK)
		return rc;
	q = sr_ask(s, SR_SQL_CONFLICT_REPORT_SWEEP);
	return sr_ask_run(&q, err);
}

enum sr_status sr_state_conflict_count(struct sr_state *s, const struct sr_uuid *webserver, uint64_t *out, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_CONFLICT_COUNT);

	sr_give_uuid(&q, webserver);
	if (sr_ask_row(&q))
		*out = sr_take_u64(&q, 0);
	return sr_ask_end(&q, err);
}

enum sr_status sr_state_conflicts(struct sr_state *s, const struct sr_uuid *webserver, sr_conflict_fn *fn, void *ctx, struct sr_err *err)
{
	struct sr_ask q = sr_ask_fresh(s, SR_SQL_CONFLICT_EACH);
	enum sr_status said = SR_OK, status;

	sr_give_uuid(&q, webserver);
	while (said == SR_OK && sr_ask_row(&q))
		said = fn(ctx, sr_take_bytes(&q, 0), err);
	status = sr_ask_end(&q, said == SR_OK ? err : NULL);
	return said != SR_OK ? said : status;
}
