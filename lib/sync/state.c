/* state.c - what a webserver remembers of its datastore, in state.db's meta. */
#include <stdlib.h>
#include <string.h>

#include "lib/sync/internal.h"

#define META_ANCHOR "anchor"
#define META_PUSH   "last-push"
#define META_AS_OF  "as-of"
#define META_STARTS "starts"

static enum sr_status load_blob(struct sr_sync *s, const char *name, size_t len, struct sr_buf *buf, bool *found, struct sr_err *err)
{
	enum sr_status rc;

	sr_buf_clear(buf);
	rc = sr_state_get(s->r->state, name, buf, found, err);
	if (rc == SR_OK && *found && buf->len != len)
		rc = sr_err_set(err, SR_E_DATA, "state.db: meta %s has %zu bytes, not %zu", name, buf->len, len);
	return rc;
}

static enum sr_status load_starts(struct sr_sync *s, struct sr_buf *buf, struct sr_err *err)
{
	bool found;
	enum sr_status rc;

	sr_buf_clear(buf);
	rc = sr_state_get(s->r->state, META_STARTS, buf, &found, err);
	if (rc == SR_OK && found && buf->len <= sizeof s->starts) {
		s->starts_n = buf->len / sizeof *s->starts;
		memcpy(s->starts, buf->at, s->starts_n * sizeof *s->starts);
	}
	return rc;
}

enum sr_status sr_sync_load(struct sr_sync *s, struct sr_err *err)
{
	struct sr_buf buf = {0};
	bool found;
	enum sr_status rc = load_blob(s, META_ANCHOR, 48, &buf, &found, err);

	if (rc == SR_OK && found) {
		struct sr_reader in = sr_reader(sr_buf_view(&buf));

		memcpy(s->anchor.instance.b, sr_read_bytes(&in, 16).at, 16);
		s->anchor.epoch = sr_read_be64(&in);
		s->anchor.seq = sr_read_be64(&in);
		memcpy(s->anchor.root.b, sr_read_bytes(&in, 16).at, 16);
	}
	if (rc == SR_OK)
		rc = load_blob(s, META_PUSH, 16, &buf, &found, err);
	if (rc == SR_OK && found)
		memcpy(s->last_push.b, buf.at, 16);
	if (rc == SR_OK)
		rc = load_blob(s, META_AS_OF, 16, &buf, &found, err);
	if (rc == SR_OK && found) {
		struct sr_reader in = sr_reader(sr_buf_view(&buf));

		s->as_of_epoch = sr_read_be64(&in);
		s->as_of_seq = sr_read_be64(&in);
	}
	if (rc == SR_OK)
		rc = load_starts(s, &buf, err);
	sr_buf_free(&buf);
	return rc;
}

enum sr_status sr_sync_move_anchor(struct sr_sync *s, const struct sr_anchor *at, struct sr_err *err)
{
	struct sr_buf buf = {0};
	enum sr_status rc;

	sr_buf_add(&buf, at->instance.b, 16);
	sr_buf_be64(&buf, at->epoch);
	sr_buf_be64(&buf, at->seq);
	sr_buf_add(&buf, at->root.b, 16);
	rc = sr_state_put(s->r->state, META_ANCHOR, sr_buf_view(&buf), err);
	if (rc == SR_OK)
		s->anchor = *at;
	sr_buf_free(&buf);
	return rc;
}

enum sr_status sr_sync_set_anchor(struct sr_sync *s, const struct sr_anchor *at, struct sr_err *err)
{
	if (memcmp(&s->anchor.instance, &at->instance, sizeof at->instance) == 0 && s->anchor.epoch == at->epoch &&
	    s->anchor.seq >= at->seq)
		return SR_OK;
	return sr_sync_move_anchor(s, at, err);
}

/* By these a datastore that was restored can tell where it left our past (lib/datastore/fork.c). */
enum sr_status sr_sync_add_start(struct sr_sync *s, struct sr_err *err)
{
	const struct sr_uuid *start = &s->info.start;
	enum sr_status rc;

	if (s->starts_n && !memcmp(&s->starts[s->starts_n - 1], start, sizeof *start))
		return SR_OK;
	if (s->starts_n == SR_STARTS_TOLD)
		memmove(s->starts, s->starts + 1, --s->starts_n * sizeof *s->starts);
	s->starts[s->starts_n++] = *start;
	rc = sr_state_put(s->r->state, META_STARTS, sr_bytes(s->starts, s->starts_n * sizeof *s->starts), err);
	s->starts_n -= rc != SR_OK;
	return rc;
}

enum sr_status sr_sync_set_last_push(struct sr_sync *s, const struct sr_uuid *id, struct sr_err *err)
{
	enum sr_status rc = sr_state_put(s->r->state, META_PUSH, sr_bytes(id->b, sizeof id->b), err);

	if (rc == SR_OK)
		s->last_push = *id;
	return rc;
}

enum sr_status sr_sync_set_as_of(struct sr_sync *s, uint64_t epoch, uint64_t seq, struct sr_err *err)
{
	struct sr_buf buf = {0};
	enum sr_status rc;

	if (s->as_of_epoch == epoch && s->as_of_seq == seq)
		return SR_OK;
	sr_buf_be64(&buf, epoch);
	sr_buf_be64(&buf, seq);
	rc = sr_state_put(s->r->state, META_AS_OF, sr_buf_view(&buf), err);
	if (rc == SR_OK) {
		s->as_of_epoch = epoch;
		s->as_of_seq = seq;
	}
	sr_buf_free(&buf);
	return rc;
}

static struct sr_store_row *configured(struct sr_sync *s, int64_t id)
{
	for (size_t i = 0; i < s->r->n; i++)
		if (s->r->stores[i].row.id == id)
			return &s->r->stores[i].row;
	return NULL;
}

static const struct sr_marker *marker_of(const struct sr_sync *s, const struct sr_store_row *row)
{
	for (size_t i = 0; i < s->r->n; i++)
		if (&s->r->stores[i].row == row)
			return &s->r->stores[i].marker;
	return NULL;
}

/* The later of what it was found to be as of, of the last root against which all was pulled, and of its own marker: a copy of it that lies at
 * the datastore now cannot be as of later than that. */
static void date_row(const struct sr_sync *s, struct sr_store_row *row, const struct sr_marker *marker)
{
	if (sr_is_later(s->as_of_epoch, s->as_of_seq, row->epoch, row->seq)) {
		row->epoch = s->as_of_epoch;
		row->seq = s->as_of_seq;
	}
	if (!marker || memcmp(&marker->id, &row->marker, sizeof marker->id) != 0 ||
	    memcmp(&marker->instance, &s->anchor.instance, sizeof marker->instance) != 0)
		return;
	if (sr_is_later(marker->epoch, marker->seq, row->epoch, row->seq)) {
		row->epoch = marker->epoch;
		row->seq = marker->seq;
	}
}

/* past: PAST_HINTS, known bases become hints, see sr_state_forget_base; PAST_DATED, they go; PAST_NONE, and so does as of when they were. */
enum past { PAST_HINTS, PAST_DATED, PAST_NONE };

/* Of stores too that are not configured at the moment: when they come back, their bases are of a past that may be none. */
static enum sr_status forget(struct sr_sync *s, enum past past, struct sr_err *err)
{
	struct sr_store_row *rows = NULL;
	size_t n = 0;
	enum sr_status rc = sr_state_stores(s->r->state, &rows, &n, err);

	if (rc == SR_OK)
		rc = sr_state_begin(s->r->state, err);
	if (rc != SR_OK)
		goto out;
	s->quiet = false;
	for (size_t i = 0; rc == SR_OK && i < n; i++) {
		struct sr_store_row *row = configured(s, rows[i].id);

		row = row ? row : &rows[i];
		if (past == PAST_NONE)
			row->epoch = row->seq = 0;
		else if (row->base_known) /* else it is in a union already, as of what it was then */
			date_row(s, row, row == &rows[i] ? NULL : marker_of(s, row));
		rc = sr_state_forget_base(s->r->state, row, past == PAST_HINTS, err);
	}
	if (rc == SR_OK)
		rc = sr_state_commit(s->r->state, err);
	else
		sr_state_rollback(s->r->state);
out:
	free(rows);
	return rc;
}

enum sr_status sr_sync_forget_bases(struct sr_sync *s, bool as_hint, struct sr_err *err)
{
	return forget(s, as_hint ? PAST_HINTS : PAST_DATED, err);
}

enum sr_status sr_sync_forget_past(struct sr_sync *s, struct sr_err *err)
{
	enum sr_status rc = sr_sync_set_as_of(s, 0, 0, err);

	return rc == SR_OK ? forget(s, PAST_NONE, err) : rc;
}
