/* push.c - giving the datastore what changed here: mark, outbox, send, base; and settling a push whose answer was lost.
 *
 * Order, and why: (1) the mark makes durable what was read, so that the datastore never holds what a power cut here takes back; (2) the
 * outbox row is durable before the first byte is sent, so that a lost answer is asked for and never guessed; (3) base := what was accepted,
 * in the same step in which the outbox row goes. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/sync/internal.h"

#define ANSWER_HEAD (1u << 20) /* bytes of an answer to a push without what it refuses ... */
#define ANSWER_LEAF 256        /* ... and of a leaf that it refuses, without the names: a name's byte is 6 at most, a path's 3 */
#define AGREE_AT_ONCE 1024 /* leaves that are worth a look at all rows */
#define SMALL       (64u << 10) /* bytes of a push that is sent in one piece */
#define LEAF_MOST   512         /* of a leaf in a bundle, but for its path and content */

/* --- the body: made in memory if it is small; else a thread writes the bundle into a pipe, the client reads from it ---------- */

struct body {
	struct sr_sync *s;
	const char *head;
	bool small;
	struct sr_buf whole; /* of a small one; */
	size_t sent;         /* so much of it has been read */
	int pipe[2];
	pthread_t thread;
	enum sr_status rc; /* of the writing thread, after join */
	struct sr_err err;
};

static enum sr_status pipe_write(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	struct body *b = ctx;
	const char *p = at;

	while (n) {
		ssize_t put = write(b->pipe[1], p, n);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return sr_err_sys(err, SR_E_UNAVAILABLE, "push: the connection went away");
		p += put;
		n -= (size_t)put;
	}
	return SR_OK;
}

static enum sr_status whole_write(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	struct body *b = ctx;

	(void)err;
	sr_buf_add(&b->whole, at, n);
	return SR_OK;
}

/* What an answer that refuses each of them may take more. */
static enum sr_status add_answer_room(const char *store, struct sr_leaves *leaves, size_t *room, struct sr_err *err)
{
	enum sr_status rc = SR_OK;
	struct sr_leaf leaf;

	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(leaves); k++) {
		rc = sr_leaves_at(leaves, k, &leaf, err);
		if (rc == SR_OK)
			*room += ANSWER_LEAF + 6 * strlen(store) + 3 * leaf.path.len;
	}
	return rc;
}

static uint64_t bytes_of(const struct sr_leaf *leaf)
{
	return leaf->to.kind == SR_KIND_FILE || leaf->to.kind == SR_KIND_ROW ? leaf->to.bytes : 0;
}

/* Where the datastore has its content, or its content, unless that went before. */
static void add_content(struct body *b, size_t i, struct sr_view *files, struct sr_leaf *leaf, struct sr_content *content)
{
	enum sr_status rc;

	leaf->from = sr_sync_is_elsewhere(&b->s->plans[i], leaf);
	if (leaf->from.len)
		leaf->flags |= SR_LEAF_FROM;
	if (sr_sync_uploads(leaf))
		return;
	rc = sr_view_read(files, leaf->path, content, &b->err);
	leaf->mtime_ns = content->mtime_ns;
	if (rc == SR_OK && leaf->from.len) {
		close(content->fd);
		content->fd = -1;
	}
	if (rc != SR_OK) { /* gone since the plan: no bytes, so that the bundle tells it as void */
		leaf->flags &= ~(uint32_t)SR_LEAF_FROM;
		content->fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	}
}

static enum sr_status add_leaf(struct body *b, struct sr_bundle_writer *w, size_t i, struct sr_view *files, struct sr_leaf *leaf)
{
	struct sr_content content = {.fd = -1};
	bool voided = false;
	enum sr_status rc;

	if (leaf->to.kind == SR_KIND_FILE && !sr_version_eq(&leaf->expect, &leaf->to))
		add_content(b, i, files, leaf, &content);
	rc = sr_bundle_add(w, b->s->r->stores[i].name, leaf, content.fd, &voided, &b->err);
	if (content.fd >= 0)
		close(content.fd);
	if (rc == SR_OK)
		sr_progress_add(&b->s->progress, 1, sr_sync_uploads(leaf) ? 0 : bytes_of(leaf));
	return rc;
}

static enum sr_status add_store(struct body *b, struct sr_bundle_writer *w, size_t i)
{
	struct sr_leaves *push = b->s->plans[i].push;
	struct sr_view *files = NULL;
	enum sr_status rc = SR_OK;

	if (sr_leaves_count(push) && b->s->r->stores[i].kind == SR_KIND_FILES)
		rc = sr_view_open(&files, b->s->r->stores[i].store, SR_VIEW_MAIN, &b->err);
	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(push); k++) {
		struct sr_leaf leaf;

		rc = sr_leaves_at(push, k, &leaf, &b->err);
		if (rc == SR_OK)
			rc = add_leaf(b, w, i, files, &leaf);
	}
	sr_view_close(files);
	return rc;
}

static void write_bundle(struct body *b)
{
	struct sr_bundle_writer *w = NULL;

	b->rc = sr_bundle_writer_new(&w, &b->s->r->key, b->head, b->small, b->small ? whole_write : pipe_write, b, &b->err);
	for (size_t i = 0; b->rc == SR_OK && i < b->s->r->n; i++)
		if (b->s->plans[i].push)
			b->rc = add_store(b, w, i);
	if (b->rc == SR_OK)
		b->rc = sr_bundle_finish(w, &b->err);
	sr_bundle_writer_free(w);
}

static void *write_body(void *arg)
{
	struct body *b = arg;

	write_bundle(b);
	close(b->pipe[1]);
	return NULL;
}

static enum sr_status read_body(void *ctx, void *at, size_t n, size_t *got, struct sr_err *err)
{
	struct body *b = ctx;
	ssize_t have;

	do
		have = read(b->pipe[0], at, n);
	while (have < 0 && errno == EINTR);
	if (have < 0)
		return sr_err_sys(err, SR_E_IO, "push: pipe");
	*got = (size_t)have;
	return SR_OK; /* a bundle that the writer broke off has no end marker: the datastore refuses it */
}

static enum sr_status push_room(const struct sr_sync *s, size_t *room, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	*room = ANSWER_HEAD;
	for (size_t i = 0; rc == SR_OK && i < s->r->n; i++)
		if (s->plans[i].push)
			rc = add_answer_room(s->r->stores[i].name, s->plans[i].push, room, err);
	return rc;
}

static bool is_small(const struct sr_sync *s)
{
	uint64_t bytes = 0;
	struct sr_leaf leaf;

	for (size_t i = 0; i < s->r->n; i++)
		for (size_t k = 0; s->plans[i].push && k < sr_leaves_count(s->plans[i].push); k++) {
			if (bytes > SMALL || sr_leaves_at(s->plans[i].push, k, &leaf, NULL) != SR_OK)
				return false;
			bytes += LEAF_MOST + leaf.path.len + leaf.record.len + (leaf.to.kind == SR_KIND_FILE && !sr_sync_uploads(&leaf) ? leaf.to.bytes : 0);
		}
	return bytes <= SMALL;
}

/* Given by a function, for a body that the client holds it sends again by itself when a kept connection ends. */
static enum sr_status read_whole(void *ctx, void *at, size_t n, size_t *got, struct sr_err *err)
{
	struct body *b = ctx;

	(void)err;
	*got = n < b->whole.len - b->sent ? n : b->whole.len - b->sent;
	memcpy(at, b->whole.at + b->sent, *got);
	b->sent += *got;
	return SR_OK;
}

static enum sr_status send_small(struct sr_sync *s, const char *head, struct sr_answer *answer, struct sr_err *err)
{
	struct body b = {.s = s, .head = head, .small = true};
	struct sr_call call = {.method = "POST", .target = "/api/push", .read = read_whole, .read_ctx = &b, .quiet_s = 300};
	enum sr_status rc = push_room(s, &call.max_answer, err);

	if (rc != SR_OK)
		return rc;
	write_bundle(&b);
	call.length = (int64_t)b.whole.len;
	rc = b.rc == SR_OK ? sr_client_call(s->client, &call, answer, err) : b.rc;
	if (b.rc != SR_OK && err)
		*err = b.err;
	sr_buf_free(&b.whole);
	return rc;
}

static enum sr_status send_streamed(struct sr_sync *s, const char *head, struct sr_answer *answer, struct sr_err *err)
{
	struct body b = {.s = s, .head = head};
	struct sr_call call = {.method = "POST", .target = "/api/push", .read = read_body, .read_ctx = &b, .quiet_s = 300};
	enum sr_status rc = push_room(s, &call.max_answer, err);

	if (rc != SR_OK)
		return rc;
	if (pipe(b.pipe) != 0)
		return sr_err_sys(err, SR_E_IO, "push: pipe");
	if (pthread_create(&b.thread, NULL, write_body, &b) != 0) {
		close(b.pipe[0]);
		close(b.pipe[1]);
		return sr_err_set(err, SR_E_INTERNAL, "push: no thread");
	}
	rc = sr_client_call(s->client, &call, answer, err);
	close(b.pipe[0]); /* an early answer: the writer gets EPIPE (SIGPIPE is ignored by the daemons) */
	pthread_join(b.thread, NULL);
	if (rc != SR_OK && b.rc != SR_OK && b.rc != SR_E_UNAVAILABLE && err)
		*err = b.err;
	return rc;
}

/* --- bases after an answer ---------------------------------------------------------------------------------------------------- */

static int by_place(const void *a, const void *b)
{
	const struct sr_refused *x = a, *y = b;
	int c = strcmp(x->store, y->store);

	return c ? c : sr_bytes_cmp(x->path, y->path);
}

/* There may be as many refusals as leaves: they are sorted once, when the answer has come.  id NULL: any. */
static enum sr_status parse_answer(const struct sr_answer *answer, const struct sr_uuid *id, struct sr_push_answer *out, struct sr_err *err)
{
	enum sr_status rc = sr_push_answer_parse(sr_buf_view(&answer->body), out, err);

	if (rc == SR_OK && id && memcmp(id, &out->id, sizeof *id) != 0) {
		sr_push_answer_free(out);
		return sr_err_set(err, SR_E_DATA, "answer to a push: it is to another one");
	}
	if (rc == SR_OK && out->n)
		qsort(out->refused, out->n, sizeof *out->refused, by_place);
	return rc;
}

static bool refused(const struct sr_push_answer *a, const char *store, struct sr_bytes path)
{
	struct sr_refused key = {.store = (char *)(uintptr_t)store, .path = path};

	return a && a->n && bsearch(&key, a->refused, a->n, sizeof key, by_place);
}

/* The base of a table follows when its rows were held against each other in the new shape: gather.c, finish_table. */
static bool reshapes(const struct sr_leaf *leaf)
{
	return leaf->expect.kind == SR_KIND_TABLE && leaf->to.kind == SR_KIND_TABLE && !sr_version_eq(&leaf->expect, &leaf->to);
}

static bool stays_open(const struct sr_replica_store *st, const struct sr_push_answer *but, const struct sr_leaf *leaf)
{
	return sr_path_is_schema(st->kind, leaf->path) || reshapes(leaf) || refused(but, st->name, leaf->path);
}

struct comparing { /* the open rows of a store, and leaves, in order */
	const struct sr_replica_store *st;
	const struct sr_push_answer *but;
	struct sr_leaves *leaves;
	size_t at;
	bool same;
};

/* The next leaf that is agreed on; false: there is none. */
static enum sr_status next_agreed(struct comparing *c, struct sr_leaf *leaf, bool *any, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (*any = false; rc == SR_OK && !*any && c->at < sr_leaves_count(c->leaves); c->at++) {
		rc = sr_leaves_at(c->leaves, c->at, leaf, err);
		*any = rc == SR_OK && !stays_open(c->st, c->but, leaf);
	}
	return rc;
}

static enum sr_status compare_open(void *ctx, const struct sr_leaf_row *row, struct sr_err *err)
{
	struct comparing *c = ctx;
	struct sr_leaf leaf;
	bool any = false;
	enum sr_status rc;

	if (!c->same || (row->base_state == SR_BASE_KNOWN && sr_version_eq(&row->local, &row->base)))
		return SR_OK;
	rc = next_agreed(c, &leaf, &any, err);
	c->same = rc == SR_OK && any && leaf.to.kind != SR_KIND_NONE && sr_bytes_eq(leaf.path, row->path) && sr_version_eq(&leaf.to, &row->local);
	return rc;
}

/* A first push agrees on all that is open, and on nothing else: that is one statement, for a million rows.  *done false: it is not so, and nothing
 * was written. */
static enum sr_status agree_on_all(struct sr_sync *s, size_t i, struct sr_leaves *leaves, const struct sr_push_answer *but, uint64_t epoch, uint64_t seq,
				   bool *done, struct sr_err *err)
{
	struct sr_replica_store *st = &s->r->stores[i];
	struct comparing c = {.st = st, .but = but, .leaves = leaves, .same = true};
	struct sr_leaf leaf;
	uint64_t open = 0, here = 0, bytes;
	bool more = true;
	enum sr_status rc = SR_OK;

	*done = false;
	if (sr_leaves_count(leaves) < AGREE_AT_ONCE || sr_map_counts(s->r->nodes, &st->map, &here, &bytes) != SR_OK || sr_leaves_count(leaves) < here / 2)
		return SR_OK;
	rc = sr_state_open_count(s->r->state, &st->row, &open, err);
	if (rc != SR_OK || open > sr_leaves_count(leaves))
		return rc;
	rc = sr_state_leaves(s->r->state, &st->row, false, compare_open, &c, err);
	if (rc == SR_OK && c.same)
		rc = next_agreed(&c, &leaf, &more, err);
	*done = rc == SR_OK && c.same && !more;
	return *done ? sr_state_agree_open(s->r->state, &st->row, epoch, seq, err) : rc;
}

enum sr_status sr_sync_set_bases(struct sr_sync *s, size_t i, struct sr_leaves *leaves, const struct sr_push_answer *but, uint64_t epoch,
				 uint64_t seq, struct sr_err *err)
{
	struct sr_replica_store *st = &s->r->stores[i];
	bool all;
	enum sr_status rc = agree_on_all(s, i, leaves, but, epoch, seq, &all, err);

	if (rc != SR_OK || all)
		return rc;

	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(leaves); k++) {
		struct sr_leaf_row row;
		struct sr_leaf leaf;
		bool done;

		rc = sr_leaves_at(leaves, k, &leaf, err);
		if (rc != SR_OK || stays_open(st, but, &leaf))
			continue;
		rc = sr_state_leaf_agree(s->r->state, &st->row, leaf.path, &leaf.to, epoch, seq, &done, err);
		if (rc == SR_OK && done)
			continue;
		if (rc == SR_OK)
			rc = sr_state_leaf(s->r->state, &st->row, leaf.path, &row, err);
		if (rc != SR_OK)
			break;
		row.path = leaf.path;
		row.base_state = SR_BASE_KNOWN;
		row.base = leaf.to;
		row.epoch = epoch;
		row.seq = seq;
		rc = sr_state_leaf_put(s->r->state, &st->row, &row, err);
	}
	return rc;
}

static enum sr_status forget_some_bases(struct sr_sync *s, size_t i, struct sr_leaves *leaves, struct sr_err *err)
{
	struct sr_replica_store *st = &s->r->stores[i];
	enum sr_status rc = SR_OK;

	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(leaves); k++) {
		struct sr_leaf_row row;
		struct sr_leaf leaf;

		rc = sr_leaves_at(leaves, k, &leaf, err);
		if (rc == SR_OK)
			rc = sr_state_leaf(s->r->state, &st->row, leaf.path, &row, err);
		if (rc != SR_OK)
			break;
		row.path = leaf.path;
		row.base_state = SR_BASE_UNKNOWN;
		memset(&row.base, 0, sizeof row.base);
		rc = sr_state_leaf_put(s->r->state, &st->row, &row, err);
	}
	return rc;
}

/* What an answer (to the push or to settling) says of the outbox's leaves of one store. */
static enum sr_status conclude_store(struct sr_sync *s, size_t i, struct sr_leaves *leaves, const struct sr_push_answer *a, bool settling,
				     struct sr_err *err)
{
	struct sr_replica_store *st = &s->r->stores[i];
	/* Settling after a restore of the store: what was pushed is no longer what local descends from.  A store that cannot be looked at now
	 * is judged by its marker when it is back. */
	bool other_marker = settling && st->mode == SR_MODE_READY && memcmp(&st->marker.id, &st->row.marker, sizeof st->marker.id) != 0;

	if (a->verdict == SR_VERDICT_OK && !other_marker)
		return sr_sync_set_bases(s, i, leaves, a, a->at.epoch, a->at.seq, err);
	return a->verdict == SR_VERDICT_OK ? forget_some_bases(s, i, leaves, err) : SR_OK;
}

/* One durable step: bases, the chain's last id, the anchor, and the outbox is empty again. */
static enum sr_status conclude(struct sr_sync *s, const struct sr_outbox *o, const struct sr_push_answer *a, bool settling,
			       struct sr_err *err)
{
	enum sr_status rc = sr_state_begin(s->r->state, err);

	if (rc != SR_OK)
		return rc;
	for (size_t i = 0; rc == SR_OK && i < s->r->n; i++) {
		struct sr_leaves *leaves = sr_leaves_new(sr_state_dir(s->r->state));

		rc = sr_state_outbox_leaves(s->r->state, &s->r->stores[i].row, leaves, err);
		if (rc == SR_OK)
			rc = conclude_store(s, i, leaves, a, settling, err);
		sr_leaves_free(leaves);
	}
	if (rc == SR_OK && settling && a->verdict == SR_VERDICT_STALE) /* another machine went on with this identity: guard() makes hints of the bases */
		rc = sr_state_outbox_give_up(s->r->state, err);
	else if (rc == SR_OK)
		rc = sr_state_outbox_drop(s->r->state, err);
	if (rc == SR_OK)
		rc = sr_sync_set_last_push(s, &o->id, err);
	if (rc == SR_OK && (a->verdict == SR_VERDICT_OK || a->verdict == SR_VERDICT_REFUSED))
		rc = sr_sync_set_anchor(s, &a->at, err);
	if (rc == SR_OK)
		return sr_state_commit(s->r->state, err);
	sr_state_rollback(s->r->state);
	return rc;
}

/* --- settling ------------------------------------------------------------------------------------------------------------------- */

/* What was pushed, and may be refused. */
static enum sr_status add_outbox_room(struct sr_sync *s, size_t *room, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t i = 0; rc == SR_OK && i < s->r->n; i++) {
		struct sr_leaves *leaves = sr_leaves_new(sr_state_dir(s->r->state));

		rc = sr_state_outbox_leaves(s->r->state, &s->r->stores[i].row, leaves, err);
		if (rc == SR_OK)
			rc = add_answer_room(s->r->stores[i].name, leaves, room, err);
		sr_leaves_free(leaves);
	}
	return rc;
}

/* id NULL: all. */
static enum sr_status delete_push(struct sr_sync *s, const struct sr_uuid *id, const struct sr_uuid *prev, struct sr_push_answer *out,
				  struct sr_err *err)
{
	char what[SR_UUID_TEXT] = "all", node[SR_UUID_TEXT], last[SR_UUID_TEXT];
	struct sr_answer answer = {0};
	struct sr_call call = {.method = "DELETE", .max_answer = ANSWER_HEAD};
	char *target;
	enum sr_status rc = id ? add_outbox_room(s, &call.max_answer, err) : SR_OK;

	if (rc != SR_OK)
		return rc;
	if (id)
		sr_uuid_text(what, id);
	sr_uuid_text(node, &s->r->node);
	sr_uuid_text(last, prev);
	target = sr_format("/api/push/%s?webserver=%s&prev=%s", what, node, last);
	call.target = target;
	rc = sr_client_call(s->client, &call, &answer, err);
	if (rc == SR_OK || answer.status == 409) {
		rc = parse_answer(&answer, id, out, err);
	}
	sr_answer_free(&answer);
	free(target);
	return rc;
}

enum sr_status sr_sync_settle(struct sr_sync *s, struct sr_err *err)
{
	char id[SR_UUID_TEXT];
	struct sr_outbox o;
	struct sr_push_answer a = {0};
	bool found;
	enum sr_status rc = sr_state_outbox(s->r->state, &o, &found, err);

	if (rc != SR_OK || !found)
		return rc;
	sr_uuid_text(id, &o.id);
	rc = delete_push(s, &o.id, &o.prev, &a, err);
	if (rc == SR_OK) {
		sr_info("push %.8s: its answer was lost; the datastore says: %s", id,
			a.verdict == SR_VERDICT_OK      ? "committed"
			: a.verdict == SR_VERDICT_STALE ? "unknown"
							: "not committed");
		rc = conclude(s, &o, &a, true, err);
	}
	sr_push_answer_free(&a);
	return rc == SR_OK ? rc : sr_err_context(err, "settling push %.8s", id);
}

enum sr_status sr_sync_cancel_all(struct sr_sync *s, struct sr_err *err)
{
	struct sr_push_answer a = {0};
	enum sr_status rc = delete_push(s, NULL, &s->last_push, &a, err);

	if (rc == SR_OK)
		rc = sr_sync_set_last_push(s, &a.id, err);
	sr_push_answer_free(&a);
	return rc == SR_OK ? rc : sr_err_context(err, "cancelling earlier pushes");
}

/* --- the push -------------------------------------------------------------------------------------------------------------------- */

/* Did its pull leave an apply open?  Then the marker in the store is the evidence by which the next round decides it, and no other may come there. */
static enum sr_status check_decided(struct sr_sync *s, size_t i, struct sr_err *err)
{
	const struct sr_replica_store *st = &s->r->stores[i];
	struct sr_leaves *leaves = sr_leaves_new(sr_state_dir(s->r->state));
	struct sr_intent_head head;
	bool open = false;
	enum sr_status rc = sr_state_intents(s->r->state, &st->row, &head, leaves, &open, err);

	sr_leaves_free(leaves);
	return rc == SR_OK && open ? sr_err_set(err, SR_E_BUSY, "store %s: what was begun to be applied is decided first, and pushed after it", st->name) : rc;
}

/* A store that cannot be marked (a database that is locked for long) is not pushed in this round. */
static void mark_stores(struct sr_sync *s)
{
	for (size_t i = 0; i < s->r->n; i++) {
		const struct sr_store_plan *p = &s->plans[i];
		enum sr_status rc = SR_OK;
		struct sr_err err;

		if (!p->push || !sr_leaves_count(p->push))
			continue;
		if (p->failed)
			rc = check_decided(s, i, &err);
		if (rc == SR_OK)
			rc = sr_sync_mark(s, i, !p->failed && !p->gone, p->push, &err);
		if (rc == SR_OK)
			continue;
		if (rc != SR_E_BUSY || !p->failed) /* its trouble was told already */
			sr_sync_trouble(s, i, &err);
		sr_leaves_free(s->plans[i].push);
		s->plans[i].push = NULL;
	}
}

static enum sr_status write_outbox(struct sr_sync *s, const struct sr_outbox *o, struct sr_err *err)
{
	enum sr_status rc = sr_state_begin(s->r->state, err);

	if (rc != SR_OK)
		return rc;
	rc = sr_state_outbox_put(s->r->state, o, err);
	for (size_t i = 0; rc == SR_OK && i < s->r->n; i++)
		if (s->plans[i].push && sr_leaves_count(s->plans[i].push))
			rc = sr_state_outbox_add(s->r->state, &s->r->stores[i].row, s->plans[i].push, err);
	if (rc == SR_OK)
		return sr_state_commit(s->r->state, err);
	sr_state_rollback(s->r->state);
	return rc;
}

/* What to plan otherwise now.  A change that would leave rows there without what they refer to gives way; but where the datastore committed
 * the rest, DEPENDS may say no more than that it goes with another that was refused. */
static enum sr_note note_of(const struct sr_push_answer *a, const struct sr_refused *f)
{
	if (f->why == SR_REFUSED_DELETED)
		return SR_NOTE_DELETED;
	if (f->why == SR_REFUSED_DEPENDS && a->verdict == SR_VERDICT_REFUSED && f->current.kind == SR_KIND_ROW)
		return SR_NOTE_NEWER;
	return f->why == SR_REFUSED_NEWER ? SR_NOTE_NEWER : SR_NOTE_NONE;
}

/* What was pushed at the path that is refused, if the answer is of this push. */
static bool pushed_leaf(const struct sr_sync *s, const struct sr_refused *f, size_t i, struct sr_leaf *leaf)
{
	struct sr_leaves *pushed = s->plans[i].push;
	size_t at;

	return pushed && sr_leaves_find(pushed, f->path, &at, leaf, NULL) == SR_OK && at < sr_leaves_count(pushed);
}

static void note_refusals(struct sr_sync *s, const struct sr_push_answer *a)
{
	for (size_t k = 0; k < a->n; k++) {
		const struct sr_refused *f = &a->refused[k];
		enum sr_note note = note_of(a, f);
		struct sr_leaf leaf;
		size_t i;

		if (!sr_replica_find(s->r, sr_bytes_of(f->store), &i))
			continue;
		if (f->why == SR_REFUSED_HELD)
			s->plans[i].held_there = true;
		if (note != SR_NOTE_NONE && pushed_leaf(s, f, i, &leaf))
			sr_sync_note(s, i, f->path, note, &leaf.to, &leaf.to);
	}
}

/* A table that the datastore's could not be made into. */
static void note_declined(struct sr_sync *s, const struct sr_push_answer *a)
{
	for (size_t k = 0; k < a->n; k++) {
		const struct sr_refused *f = &a->refused[k];
		struct sr_leaf leaf;
		size_t i;

		if (f->why != SR_REFUSED_PAUSED || f->current.kind != SR_KIND_TABLE || !sr_replica_find(s->r, sr_bytes_of(f->store), &i) ||
		    !pushed_leaf(s, f, i, &leaf))
			continue;
		s->declined = sr_realloc(s->declined, (s->declineds + 1) * sizeof *s->declined);
		s->declined[s->declineds++] = (struct sr_declined){.store = i, .here = leaf.to.hash, .there = f->current.hash};
		s->plans[i].grows = true; /* plan again, without it */
	}
}

static bool any_grows(const struct sr_sync *s)
{
	for (size_t i = 0; i < s->r->n; i++)
		if (s->plans[i].grows)
			return true;
	return false;
}

static uint64_t count_pushes(const struct sr_sync *s)
{
	uint64_t n = 0;

	for (size_t i = 0; i < s->r->n; i++)
		n += s->plans[i].push ? sr_leaves_count(s->plans[i].push) : 0;
	return n;
}

static void begin_progress(struct sr_sync *s)
{
	uint64_t bytes = 0;
	struct sr_leaf leaf;

	for (size_t i = 0; i < s->r->n; i++)
		for (size_t k = 0; s->plans[i].push && k < sr_leaves_count(s->plans[i].push); k++)
			if (sr_leaves_at(s->plans[i].push, k, &leaf, NULL) == SR_OK)
				bytes += bytes_of(&leaf);
	sr_progress_begin(&s->progress, "sending", count_pushes(s), bytes);
}

/* Refused for reasons that another try does not mend. */
static void count_stuck(struct sr_sync *s, const struct sr_push_answer *a)
{
	for (size_t k = 0; k < a->n; k++) {
		struct sr_store_plan *p;
		size_t i;

		if (!sr_replica_find(s->r, sr_bytes_of(a->refused[k].store), &i))
			continue;
		p = &s->plans[i];
		p->skipped++;
		if (!*p->skips)
			p->first_skip = a->refused[k].why == SR_REFUSED_PAUSED ? "it is paused at the datastore" : "the datastore refused it for now";
		if (a->refused[k].why != SR_REFUSED_PAUSED || !a->text.len)
			continue;
		snprintf(p->skips, sizeof p->skips, "the datastore refused it: %.*s", (int)a->text.len, (const char *)a->text.at);
		p->first_skip = p->skips;
	}
}

static enum sr_status send_push(struct sr_sync *s, const struct sr_push_head *head, struct sr_push_answer *a, struct sr_err *err)
{
	struct sr_answer answer = {0};
	struct sr_buf text = {0};
	enum sr_status rc;

	sr_push_head_print(&text, head);
	rc = is_small(s) ? send_small(s, sr_buf_text(&text), &answer, err) : send_streamed(s, sr_buf_text(&text), &answer, err);
	if (rc == SR_OK || answer.status == 409) {
		struct sr_err parse;
		enum sr_status parsed = parse_answer(&answer, &head->id, a, &parse);

		if (rc == SR_OK || parsed == SR_OK) {
			rc = parsed;
			if (parsed != SR_OK && err)
				*err = parse;
		}
	}
	sr_answer_free(&answer);
	sr_buf_free(&text);
	return rc;
}

/* The datastore knows now how our tables are defined. */
static enum sr_status note_told(struct sr_sync *s, const struct sr_push_answer *a, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t i = 0; rc == SR_OK && i < s->r->n; i++)
		if (s->plans[i].push && s->plans[i].tells && !refused(a, s->r->stores[i].name, sr_bytes_of(SR_SCHEMA_PATH)))
			rc = sr_sync_put_definitions(s, i, sr_now_ms(), err);
	return rc;
}

/* Once, not with every round in which it is so. */
static void say_refused(struct sr_sync *s, struct sr_bytes why)
{
	char text[sizeof s->refused];

	snprintf(text, sizeof text, "%.*s", (int)(why.len < sizeof text ? why.len : sizeof text - 1), (const char *)why.at);
	if (strcmp(text, s->refused) != 0)
		sr_warn("push: the datastore refused a part of it: %s", text);
	memcpy(s->refused, text, sizeof text);
}

/* Its n leaves, whose large files are there. */
static enum sr_status push_all(struct sr_sync *s, unsigned try, uint64_t n, bool *again, struct sr_err *err)
{
	struct sr_outbox o = {.id = sr_uuid_random(),
			      .prev = s->last_push,
			      .instance = s->info.at.instance,
			      .epoch = s->info.at.epoch,
			      .seq = s->info.at.seq,
			      .start = s->info.start};
	struct sr_push_head head = {.id = o.id, .prev = o.prev, .webserver = s->r->node, .start = o.start, .at = s->info.at, .try = try};
	struct sr_push_answer a = {0};
	enum sr_status rc = write_outbox(s, &o, err);

	if (rc == SR_OK)
		rc = send_push(s, &head, &a, err);
	/* A datastore that refuses a push early, as made under another start, may hang up before its answer is read. */
	s->info_stale = rc != SR_OK || a.verdict == SR_VERDICT_STALE;
	if (rc != SR_OK)
		return rc; /* the outbox stays: settled at the next round */
	if (a.verdict == SR_VERDICT_STALE) {
		*again = true; /* and settled there */
	} else {
		rc = conclude(s, &o, &a, false, err);
		if (a.text.len && try == SR_TRIES)
			say_refused(s, a.text);
		note_refusals(s, &a);
		note_declined(s, &a);
		if (rc == SR_OK && a.verdict == SR_VERDICT_OK)
			rc = note_told(s, &a, err);
		if (a.verdict == SR_VERDICT_OK) {
			s->result.pushed += n - a.n;
			count_stuck(s, &a);
		}
		*again = a.verdict == SR_VERDICT_REFUSED || (a.verdict == SR_VERDICT_OK && (s->noteds || any_grows(s)));
	}
	sr_push_answer_free(&a);
	return rc;
}

/* Once in a round: what is refused as not there goes itself. */
static enum sr_status look_elsewhere(struct sr_sync *s, unsigned try, struct sr_err *err)
{
	enum sr_status rc = SR_OK;
	struct sr_hash map;
	const char *why;

	for (size_t i = 0; rc == SR_OK && try == 1 && i < s->r->n; i++)
		if (s->plans[i].push && s->r->stores[i].kind == SR_KIND_FILES && sr_sync_remote_map(s, i, &map, &why))
			rc = sr_elsewhere_new(&s->plans[i].elsewhere, s->r->nodes, &map, s->plans[i].push, err);
	return rc;
}

static void forget_elsewhere(struct sr_sync *s)
{
	for (size_t i = 0; i < s->r->n; i++) {
		sr_elsewhere_free(s->plans[i].elsewhere);
		s->plans[i].elsewhere = NULL;
	}
}

enum sr_status sr_sync_push(struct sr_sync *s, unsigned try, bool *again, struct sr_err *err)
{
	bool changed = false;
	uint64_t n;
	enum sr_status rc;

	*again = false;
	if (!count_pushes(s))
		return SR_OK;
	rc = sr_sync_may_push(s, err);
	if (rc != SR_OK)
		return rc;
	begin_progress(s);
	rc = look_elsewhere(s, try, err);
	if (rc == SR_OK)
		rc = sr_sync_upload(s, &changed, err);
	if (rc == SR_OK) {
		mark_stores(s);
		n = count_pushes(s);
		rc = n ? push_all(s, try, n, again, err) : SR_OK;
	}
	sr_progress_end(&s->progress);
	forget_elsewhere(s);
	*again |= changed && try < SR_TRIES; /* another version of it may stay longer */
	return rc == SR_OK ? rc : sr_err_context(err, "push");
}
