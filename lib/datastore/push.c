/* push.c - receiving a push, and settling one (design section 7, "The chain of pushes").
 *
 * What comes is staged without holding anyone up: leaves in spools, files in their store's staging.  Then the writer decides. */
#include "lib/datastore/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/store/stager.h"

#define MOST_ROOM ((uint64_t)2 * SR_BUNDLE_FRAME + (16u << 20)) /* bytes */

static bool same_uuid(const struct sr_uuid *a, const struct sr_uuid *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

/* --- room --------------------------------------------------------------------------------------------------------- */

/* A row is put into memory whole, here and in the spool behind, and by zstd a few KB are one of 256 MiB: all that come at once share what there is. */
static enum sr_status take_room(void *ctx, uint64_t bytes, struct sr_err *err)
{
	struct sr_ds_push *p = ctx;
	uint64_t more = bytes - p->room;
	bool fits;

	pthread_mutex_lock(&p->d->face);
	fits = more <= MOST_ROOM - p->d->room;
	if (fits) {
		p->d->room += more;
		p->room = bytes;
	}
	pthread_mutex_unlock(&p->d->face);
	return fits ? SR_OK : sr_err_set(err, SR_E_UNAVAILABLE, "push: over the limit of %" PRIu64 " bytes of large rows that are on their way here at once: send it again later", MOST_ROOM);
}

static void give_room_back(struct sr_ds_push *p)
{
	if (!p->room)
		return;
	pthread_mutex_lock(&p->d->face);
	p->d->room -= p->room;
	pthread_mutex_unlock(&p->d->face);
	p->room = 0;
}

/* --- the struct --------------------------------------------------------------------------------------------------- */

void sr_ds_push_init(struct sr_ds_push *p, struct sr_datastore *d)
{
	*p = (struct sr_ds_push){.d = d, .parts = sr_alloc((d->r->n + 1) * sizeof(*p->parts))};
}

void sr_ds_part_reset(struct sr_ds_part *part)
{
	sr_leaves_free(part->go);
	sr_leaves_free(part->losers);
	free(part->index);
	free(part->applied);
	free(part->signature);
	free(part->mtime_ns);
	part->go = part->losers = NULL;
	part->index = NULL;
	part->applied = NULL;
	part->signature = NULL;
	part->mtime_ns = NULL;
	sr_buf_free(&part->kept);
	sr_buf_free(&part->shed);
	part->shed_n = 0;
	part->prepared = part->committed = part->marked = false;
}

void sr_ds_push_free(struct sr_ds_push *p)
{
	for (size_t i = 0; i < p->d->r->n; i++) {
		struct sr_ds_part *part = &p->parts[i];

		sr_ds_part_reset(part);
		sr_tally_free(&part->tally);
		sr_leaves_free(part->leaves);
		free(part->fate);
		free(part->why);
		free(part->sticky);
	}
	free(p->parts);
	give_room_back(p);
	for (size_t k = 0; k < p->objections_n; k++) {
		sr_buf_free(&p->objections[k].path);
		free(p->objections[k].why);
	}
	free(p->objections);
	sr_stage_free(p->stage);
	sr_push_answer_free(&p->answer);
	sr_buf_free(&p->text);
}

/* --- receiving ---------------------------------------------------------------------------------------------------- */

static bool kind_fits(uint8_t store_kind, struct sr_bytes path, uint8_t kind)
{
	bool row = memchr(path.at, 0, path.len) != NULL;

	if (kind == SR_KIND_NONE)
		return true;
	if (store_kind == SR_KIND_FILES)
		return kind == SR_KIND_FILE || kind == SR_KIND_DIR;
	return kind == (row ? SR_KIND_ROW : SR_KIND_TABLE);
}

/* The part that a leaf belongs to; the leaf has to be one that this store may hold. */
static enum sr_status find_part(struct sr_ds_push *p, const char *store, const struct sr_leaf *leaf, size_t *i, struct sr_err *err)
{
	struct sr_replica_store *s = sr_replica_find(p->d->r, sr_bytes_of(store), i);
	enum sr_status rc;

	if (!s)
		return sr_err_set(err, SR_E_DATA, "push: there is no store of that name here");
	rc = leaf->path.len ? sr_leaf_path_check(s->kind, leaf->path, err) : sr_err_set(err, SR_E_DATA, "an empty path");
	if (rc == SR_OK && (!kind_fits(s->kind, leaf->path, leaf->to.kind) || !kind_fits(s->kind, leaf->path, leaf->expect.kind)))
		rc = sr_err_set(err, SR_E_DATA, "a leaf of a kind that this store does not hold");
	return rc == SR_OK ? rc : sr_err_context(err, "push: store %s", s->name);
}

enum sr_status sr_ds_push_add(struct sr_ds_push *p, size_t i, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct sr_ds_part *part = &p->parts[i];

	if (!part->leaves)
		part->leaves = sr_leaves_new(p->d->config->datastore_state_directory);
	p->leaves++;
	return sr_leaves_add(part->leaves, leaf, err);
}

/* Where the sender says that its content lies here, if that is so. */
static struct sr_bytes from_here(const struct sr_replica *r, const struct sr_replica_store *s, const struct sr_leaf *leaf)
{
	struct sr_version there;
	bool is = leaf->flags & SR_LEAF_FROM && sr_store_get(r->nodes, s->kind, &s->map, leaf->from, &there, NULL) == SR_OK &&
		  there.kind == SR_KIND_FILE && sr_hash_eq(&there.hash, &leaf->to.hash);

	return is ? leaf->from : sr_bytes(NULL, 0);
}

/* A place for a file's content, or what was uploaded before or is here.  A store that is paused may have no such place, and a file may be larger than
 * we take: then p->stage stays NULL, and the leaf is refused later on. */
static enum sr_status open_stage(struct sr_ds_push *p, size_t i, const struct sr_leaf *leaf, bool is_here, struct sr_err *err)
{
	struct sr_datastore *d = p->d;
	struct sr_replica_store *s = &d->r->stores[i];
	enum sr_status rc = SR_OK;

	pthread_mutex_lock(&d->writer);
	if (s->mode == SR_MODE_READY && leaf->to.bytes <= d->config->resource_max_size)
		rc = is_here ? sr_stage_claim(&p->stage, s->store, &leaf->to, from_here(d->r, s, leaf), err)
			     : sr_stage_expect(&p->stage, s->store, &leaf->to.hash, err);
	if (p->stage && !p->staged) {
		p->staged = true;
		d->staging++;
	}
	pthread_mutex_unlock(&d->writer);
	return rc;
}

/* A large file's content came before its push, and what was moved or copied is here at another path.  If it is not, or is not what it should be, the leaf
 * is left without: then it is void, unless the very content stands at its path. */
static enum sr_status claim(struct sr_ds_push *p, size_t i, struct sr_leaf *leaf, struct sr_err *err)
{
	struct sr_err why = {0};
	enum sr_status rc = open_stage(p, i, leaf, true, &why);

	if (rc == SR_OK && p->stage)
		rc = sr_stage_finish(p->stage, &leaf->to, leaf->mtime_ns, leaf, &why);
	if (rc == SR_E_DATA)
		sr_warn("a push comes without a file: %s", why.text);
	if (rc == SR_OK || rc == SR_E_NOTFOUND || rc == SR_E_BUSY || rc == SR_E_DATA)
		return SR_OK;
	if (err)
		*err = why;
	return rc;
}

static enum sr_status take_leaf(void *ctx, const char *store, const struct sr_leaf *sent, bool has_content, struct sr_err *err)
{
	struct sr_ds_push *p = ctx;
	struct sr_leaf leaf = *sent;
	size_t i;
	enum sr_status rc = find_part(p, store, sent, &i, err);

	if (rc != SR_OK || has_content)
		return rc; /* with content: when that has come */
	leaf.stage = sr_bytes(NULL, 0);
	leaf.inode = 0;
	if (leaf.to.kind == SR_KIND_FILE)
		rc = claim(p, i, &leaf, err);
	leaf.flags &= ~(uint32_t)SR_LEAF_FROM;
	if (rc == SR_OK)
		rc = sr_ds_push_add(p, i, &leaf, err);
	sr_stage_free(p->stage);
	p->stage = NULL;
	return rc;
}

static enum sr_status begin_content(void *ctx, const char *store, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct sr_ds_push *p = ctx;
	size_t i;
	enum sr_status rc = find_part(p, store, leaf, &i, err);

	if (rc == SR_OK && p->d->r->stores[i].kind != SR_KIND_FILES)
		rc = sr_err_set(err, SR_E_DATA, "push: a file for a database");
	return rc == SR_OK ? open_stage(p, i, leaf, false, err) : rc;
}

static enum sr_status take_content(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	struct sr_ds_push *p = ctx;

	return p->stage ? sr_stage_write(p->stage, at, n, err) : SR_OK;
}

static enum sr_status end_content(void *ctx, const char *store, const struct sr_leaf *sent, bool ok, struct sr_err *err)
{
	struct sr_ds_push *p = ctx;
	struct sr_stage *stage = p->stage;
	struct sr_leaf leaf = *sent;
	size_t i;
	enum sr_status rc = find_part(p, store, sent, &i, err);

	p->stage = NULL;
	leaf.stage = sr_bytes(NULL, 0);
	leaf.inode = 0;
	if (rc == SR_OK && ok && stage)
		return sr_stager_put(p->stager, stage, i, &leaf, err);
	if (!ok)
		leaf.flags |= SR_LEAF_VOID;
	sr_stage_free(stage);
	return rc == SR_OK ? sr_ds_push_add(p, i, &leaf, err) : rc;
}

static enum sr_status add_staged(void *ctx, size_t i, const struct sr_leaf *leaf, struct sr_err *err)
{
	return sr_ds_push_add(ctx, i, leaf, err);
}

static enum sr_status read_body(void *ctx, void *at, size_t n, size_t *got, struct sr_err *err)
{
	return sr_request_read(ctx, at, n, got, err);
}

static enum sr_status receive(struct sr_ds_push *p, struct sr_bundle_reader *reader, struct sr_err *err)
{
	struct sr_bundle_sink sink = {.ctx = p, .leaf = take_leaf, .begin = begin_content, .data = take_content, .end = end_content};
	enum sr_status rc;

	p->stager = sr_stager_new(add_staged, p);
	rc = sr_bundle_read(reader, &sink, err);
	if (rc == SR_OK)
		rc = sr_stager_wait(p->stager, err);
	sr_stager_free(p->stager);
	p->stager = NULL;
	for (size_t i = 0; i < p->d->r->n && rc == SR_OK; i++)
		if (p->parts[i].leaves)
			rc = sr_leaves_sort(p->parts[i].leaves, err);
	return rc;
}

/* --- the chain ---------------------------------------------------------------------------------------------------- */

static enum sr_status answer(struct sr_ds_push *p, enum sr_push_verdict verdict, const char *why)
{
	sr_push_answer_free(&p->answer);
	p->answer = (struct sr_push_answer){.verdict = verdict, .id = p->head.id, .start = p->d->start, .at = p->d->at};
	if (why)
		p->answer.text = sr_bytes(sr_strdup(why), strlen(why)); /* OWNED by the answer */
	sr_buf_clear(&p->text);
	sr_push_answer_print(&p->text, &p->answer);
	p->status = verdict == SR_VERDICT_STALE ? 409 : 200;
	return SR_OK;
}

enum sr_status sr_ds_chain(struct sr_ds_push *p, struct sr_err *err)
{
	struct sr_datastore *d = p->d;
	const struct sr_push_head *h = &p->head;
	struct sr_push_result last = {0};
	bool found = false;
	enum sr_status rc;

	if (sr_ds_is_edit(p))
		return SR_OK;
	rc = sr_state_push_result(d->r->state, &h->webserver, &last, &found, err);
	if (rc != SR_OK)
		return rc;
	if (found && same_uuid(&last.id, &h->id)) { /* a repeat */
		sr_buf_clear(&p->text);
		sr_buf_bytes(&p->text, last.answer);
		p->status = 200;
		return SR_OK;
	}
	if (!same_uuid(&last.id, &h->prev))
		return answer(p, SR_VERDICT_STALE, "another push came after the one that this one follows");
	if (!same_uuid(&h->start, &d->start))
		return answer(p, SR_VERDICT_STALE, "the datastore was restarted since");
	if (!same_uuid(&h->at.instance, &d->at.instance) || h->at.epoch != d->at.epoch)
		return answer(p, SR_VERDICT_STALE, "the datastore is in another epoch");
	return SR_OK;
}

/* What can be refused without reading the rest of the body. */
static enum sr_status check_early(struct sr_ds_push *p, bool *repeat, struct sr_err *err)
{
	struct sr_datastore *d = p->d;
	struct sr_uuid last = {0};
	char why[256];
	enum sr_status rc = SR_OK;

	if (!sr_datastore_ready(d, why))
		return sr_err_set(err, SR_E_UNAVAILABLE, "%s", why);
	pthread_mutex_lock(&d->face);
	for (size_t i = 0; i < d->webservers_n; i++)
		if (same_uuid(&d->webservers[i].row.uuid, &p->head.webserver))
			last = d->webservers[i].push;
	pthread_mutex_unlock(&d->face);
	*repeat = same_uuid(&last, &p->head.id);
	if (*repeat)
		return SR_OK;
	rc = sr_ds_room(d, 0, err);
	p->no_room = rc != SR_OK;
	if (p->no_room)
		return rc;
	pthread_mutex_lock(&d->writer);
	rc = sr_ds_chain(p, err);
	pthread_mutex_unlock(&d->writer);
	return rc;
}

/* What was sent and not used is not sent again: the large files, of which that can be told. */
static void keep_staged(struct sr_ds_push *p)
{
	for (size_t i = 0; i < p->d->r->n; i++) {
		struct sr_leaves *leaves = p->parts[i].leaves;
		struct sr_leaf leaf;

		for (size_t k = 0; leaves && k < sr_leaves_count(leaves); k++)
			if (sr_leaves_at(leaves, k, &leaf, NULL) == SR_OK && leaf.stage.len && leaf.to.bytes >= SR_PART_MIN)
				sr_stage_keep(p->d->r->stores[i].store, &leaf);
	}
}

void sr_ds_push_end_staging(struct sr_ds_push *p)
{
	struct sr_datastore *d = p->d;

	d->staging -= p->staged;
	if (p->staged && !(p->status == 200 && p->answer.verdict == SR_VERDICT_OK) && !sr_datastore_broken(d, NULL))
		keep_staged(p);
	if (d->staging || sr_datastore_broken(d, NULL))
		return; /* what is staged may be another's, or evidence */
	for (size_t i = 0; i < d->r->n; i++)
		if (d->r->stores[i].kind == SR_KIND_FILES && d->r->stores[i].mode == SR_MODE_READY)
			sr_store_sweep_stage(d->r->stores[i].store);
}

enum sr_status sr_ds_push_take(struct sr_ds_push *p, sr_bundle_read_fn *read, void *ctx, struct sr_err *err)
{
	struct sr_bundle_limits limits = {
		.bytes = p->d->config->max_push_bytes, .leaves = p->d->config->max_leaves, .file = UINT64_MAX, .frame = SR_BUNDLE_FRAME,
		.bytes_key = "Max-Push-Bytes", .leaves_key = "Max-Leaves", .room = take_room, .room_ctx = p};
	struct sr_bundle_reader *reader = NULL;
	bool repeat = false;
	char why[256];
	enum sr_status rc;

	if (!sr_datastore_ready(p->d, why)) /* before that there may be no tree key */
		return sr_err_set(err, SR_E_UNAVAILABLE, "%s", why);
	rc = sr_bundle_reader_new(&reader, &p->d->r->key, &limits, read, ctx, err);
	if (rc == SR_OK)
		rc = sr_push_head_parse(sr_bundle_head(reader), &p->head, err);
	if (rc == SR_OK && sr_ds_is_edit(p))
		rc = sr_err_set(err, SR_E_DATA, "push: its webserver is this datastore");
	if (rc == SR_OK)
		rc = check_early(p, &repeat, err);
	if (rc == SR_OK && !p->status && !repeat)
		rc = receive(p, reader, err);
	sr_bundle_reader_free(reader);
	pthread_mutex_lock(&p->d->writer);
	if (rc == SR_OK && !p->status)
		rc = sr_ds_commit(p, err);
	if (rc == SR_OK)
		sr_ds_had_room(p->d);
	if (rc == SR_E_FULL && !p->no_room && !sr_datastore_broken(p->d, NULL)) /* it will come again */
		sr_ds_make_room(p->d, err);
	sr_ds_push_end_staging(p);
	pthread_mutex_unlock(&p->d->writer);
	return rc;
}

enum sr_status sr_ds_push_handler(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_ds_push p;
	enum sr_status rc;

	sr_ds_push_init(&p, ctx);
	rc = sr_ds_push_take(&p, read_body, req, err);
	if (rc == SR_OK)
		sr_reply_bytes(req, p.status, "application/json", sr_buf_view(&p.text));
	sr_ds_push_free(&p);
	return rc;
}

/* --- settling ----------------------------------------------------------------------------------------------------- */

static enum sr_status cancel(struct sr_ds_push *p, struct sr_err *err)
{
	struct sr_datastore *d = p->d;
	struct sr_push_result result = {.webserver = p->head.webserver,
					.id = p->head.id,
					.kind = SR_PUSH_CANCELLED,
					.epoch = d->at.epoch,
					.seq = d->at.seq,
					.root = d->at.root};
	enum sr_status rc = answer(p, SR_VERDICT_CANCELLED, NULL);

	result.answer = sr_buf_view(&p->text);
	if (rc == SR_OK)
		rc = sr_state_push_result_put(d->r->state, &result, err);
	if (rc == SR_OK) {
		sr_ds_note_push(p, NULL);
		sr_ds_wake(d);
	}
	return rc;
}

enum sr_status sr_ds_cancel_pushes(struct sr_datastore *d, const struct sr_uuid *webserver, struct sr_err *err)
{
	struct sr_ds_push p;
	enum sr_status rc;

	sr_ds_push_init(&p, d);
	p.head.id = sr_uuid_random();
	p.head.webserver = *webserver;
	rc = cancel(&p, err);
	sr_ds_push_free(&p);
	return rc;
}

/* The stored result; or it is cancelled, so that a late arrival is refused; or the chain went on without it. */
static enum sr_status settle(struct sr_ds_push *p, bool all, struct sr_err *err)
{
	struct sr_push_result last = {0};
	bool found = false;
	char why[256];
	enum sr_status rc;

	if (!sr_datastore_ready(p->d, why))
		return sr_err_set(err, SR_E_UNAVAILABLE, "%s", why);
	if (all)
		return cancel(p, err);
	rc = sr_state_push_result(p->d->r->state, &p->head.webserver, &last, &found, err);
	if (rc != SR_OK)
		return rc;
	if (found && same_uuid(&last.id, &p->head.id)) {
		sr_buf_bytes(&p->text, last.answer);
		p->status = 200;
		return SR_OK;
	}
	if (!same_uuid(&last.id, &p->head.prev))
		return answer(p, SR_VERDICT_STALE, "another push came after the one that this one follows");
	return cancel(p, err);
}

/* "-": none. */
static enum sr_status query_prev(struct sr_request *req, struct sr_uuid *out, struct sr_err *err)
{
	const char *text = sr_request_query_text(req, "prev");

	if (text && strcmp(text, "-") != 0 && !sr_ds_parse_uuid(text, out))
		return sr_err_set(err, SR_E_DATA, "prev=UUID is malformed");
	return SR_OK;
}

enum sr_status sr_ds_settle_handler(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_ds_push p;
	bool all = !strcmp(sr_request_arg_text(req, 0), "all");
	enum sr_status rc = SR_OK;

	sr_ds_push_init(&p, ctx);
	if (all)
		p.head.id = sr_uuid_random();
	else if (!sr_ds_parse_uuid(sr_request_arg_text(req, 0), &p.head.id) || sr_uuid_none(&p.head.id))
		rc = sr_err_set(err, SR_E_DATA, "the id of a push is a UUID");
	if (rc == SR_OK)
		rc = sr_ds_webserver_uuid(ctx, sr_request_query_text(req, "webserver"), &p.head.webserver, err);
	if (rc == SR_OK && !all)
		rc = query_prev(req, &p.head.prev, err);
	if (rc == SR_OK) {
		pthread_mutex_lock(&p.d->writer);
		rc = settle(&p, all, err);
		pthread_mutex_unlock(&p.d->writer);
	}
	if (rc == SR_OK)
		sr_reply_bytes(req, p.status, "application/json", sr_buf_view(&p.text));
	sr_ds_push_free(&p);
	return rc;
}
