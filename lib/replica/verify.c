/* verify.c - see verify.h. */
#include "lib/replica/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/replica/backup.h"
#include "lib/replica/rot.h"

#define CHUNK    (256u << 10)
#define EVERY_MS 500

struct job {
	struct sr_pin *pin;
	struct sr_replica *r;
	const struct sr_verify_ops *ops;
	struct sr_verify_counts *counts;
	struct sr_state *state; /* read only: signatures */
	struct sr_store_row row;
	struct sr_hasher *hasher;
	struct sr_view *view;
	struct sr_nodes *nodes;
	size_t i;
	uint8_t *chunk;
	int64_t told_ms;
	struct sr_leaves *rot; /* of the database */
	struct sr_err *err;
	enum sr_status rc; /* of what a callback without a status met */
};

static enum sr_status tell(struct job *j, bool now, struct sr_err *err)
{
	int64_t ticks = sr_ticks_ms();

	if (sr_replica_awaited(j->r))
		return sr_err_set(err, SR_E_UNAVAILABLE, "the stores are opened anew: say it again");
	if (j->ops->step && j->ops->step(j->ops->ctx, j->counts, err) != SR_OK)
		return err->code;
	if (!now && ticks - j->told_ms < EVERY_MS)
		return SR_OK;
	j->told_ms = ticks;
	return j->ops->progress ? j->ops->progress(j->ops->ctx, j->counts, err) : SR_OK;
}

/* --- files ---------------------------------------------------------------------------------------------------------- */

/* Its bytes; false: it cannot be read to its end. */
static bool hash_file(struct job *j, int fd, uint64_t bytes, struct sr_hash *out, enum sr_status *rc, struct sr_err *err)
{
	uint64_t done = 0;
	ssize_t n = 1;

	sr_hasher_reset(j->hasher);
	while (*rc == SR_OK && n > 0 && done < bytes) {
		n = pread(fd, j->chunk, bytes - done < CHUNK ? (size_t)(bytes - done) : CHUNK, (off_t)done);
		if (n < 0 && errno == EINTR) {
			n = 1;
			continue;
		}
		if (n > 0) {
			sr_hasher_add(j->hasher, j->chunk, (size_t)n);
			done += (uint64_t)n;
			j->counts->bytes += (uint64_t)n;
			*rc = tell(j, false, err);
		}
	}
	sr_hasher_get(j->hasher, out);
	return done == bytes;
}

/* Does its stat say that it is what was seen last, and does the tree still say what that was? */
static bool is_unchanged(struct job *j, const struct sr_leaf *leaf, const struct stat *st)
{
	struct sr_leaf_row row;

	return sr_state_leaf(j->state, &j->row, leaf->path, &row, NULL) == SR_OK && sr_version_eq(&row.local, &leaf->to) && row.signature &&
	       row.signature == sr_files_signature(&j->r->key, st, &leaf->to.hash);
}

static enum sr_status wrong(struct job *j, struct sr_bytes path, const char *what, struct sr_err *err)
{
	struct sr_buf text = {0};
	enum sr_status rc;

	j->counts->wrong++;
	sr_leaf_path_text(&text, j->pin->stores[j->i].name, SR_KIND_FILES, path);
	rc = j->ops->wrong(j->ops->ctx, sr_buf_text(&text), what, err);
	sr_buf_free(&text);
	return rc;
}

static enum sr_status wrong_content(struct job *j, const struct sr_leaf *leaf, const struct sr_hash *found, struct sr_err *err)
{
	char expected_text[SR_HASH_TEXT], found_text[SR_HASH_TEXT];
	char *what;
	enum sr_status rc;

	sr_hash_text(expected_text, &leaf->to.hash);
	sr_hash_text(found_text, found);
	what = sr_format("its content is not what the tree says, though its size and times are unchanged: expected %s, found %s", expected_text,
			 found_text);
	rc = wrong(j, leaf->path, what, err);
	free(what);
	return rc;
}

static enum sr_status verify_open(struct job *j, const struct sr_leaf *leaf, int fd, struct sr_err *err)
{
	struct stat before, after;
	struct sr_hash hash;
	enum sr_status rc = SR_OK;
	bool whole;

	if (fstat(fd, &before) || !is_unchanged(j, leaf, &before)) {
		j->counts->changed++;
		j->counts->bytes += leaf->to.bytes;
		return SR_OK;
	}
	whole = hash_file(j, fd, leaf->to.bytes, &hash, &rc, err);
	if (rc != SR_OK || (whole && sr_hash_eq(&hash, &leaf->to.hash)))
		return rc;
	if (fstat(fd, &after) || !is_unchanged(j, leaf, &after)) { /* written to just now */
		j->counts->changed++;
		return SR_OK;
	}
	return whole ? wrong_content(j, leaf, &hash, err) : wrong(j, leaf->path, "it cannot be read", err);
}

static enum sr_status verify_file(struct job *j, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct sr_content c = {.fd = -1};
	struct sr_err own = {0};
	enum sr_status rc = sr_view_read(j->view, leaf->path, &c, &own);

	j->counts->leaves++;
	if (rc == SR_E_IO && own.sys == EIO)
		return wrong(j, leaf->path, "it cannot be read: input/output error", err);
	if (rc != SR_OK || c.fd < 0) { /* gone: the next scan sees that, too */
		j->counts->changed++;
		j->counts->bytes += leaf->to.bytes;
		return SR_OK;
	}
	rc = verify_open(j, leaf, c.fd, err);
	close(c.fd);
	return rc;
}

static enum sr_status verify_files(struct job *j, struct sr_err *err)
{
	struct sr_leaves *items = NULL;
	enum sr_status rc = sr_state_store(j->state, j->pin->stores[j->i].name, &j->row, err);

	if (rc == SR_OK)
		rc = sr_view_open(&j->view, j->r->stores[j->i].store, SR_VIEW_EXTRA, err);
	if (rc == SR_OK)
		rc = sr_replica_items(j->r, j->i, &j->pin->stores[j->i].map, sr_bytes(NULL, 0), &items, err);
	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(items); k++) {
		struct sr_leaf leaf;

		rc = sr_leaves_at(items, k, &leaf, err);
		if (rc == SR_OK && leaf.to.kind == SR_KIND_FILE)
			rc = verify_file(j, &leaf, err);
		if (rc == SR_OK)
			rc = tell(j, false, err);
	}
	sr_leaves_free(items);
	sr_view_close(j->view);
	j->view = NULL;
	return rc;
}

/* --- databases ------------------------------------------------------------------------------------------------------ */

static void on_difference(void *ctx, const char *path, const struct sr_leaf *leaf)
{
	struct job *j = ctx;

	j->counts->wrong++;
	if (j->rc == SR_OK)
		j->rc = sr_leaves_add(j->rot, leaf, j->err);
	if (j->rc == SR_OK)
		j->rc = j->ops->wrong(j->ops->ctx, path, "it is not what the tree says, though nobody wrote to the database", j->err);
}

static bool is_over(void *ctx)
{
	struct job *j = ctx;

	j->rc = tell(j, false, j->err);
	return j->rc != SR_OK;
}

static void on_any(void *ctx, const char *path, const struct sr_leaf *leaf)
{
	(void)path, (void)leaf;
	*(bool *)ctx = true;
}

/* What is in it may have been written, and taken back, while it was pinned: none of it is called rot. */
static enum sr_status is_doubtful(struct job *j, const struct sr_scan *scan, bool *yes, struct sr_err *err)
{
	*yes = false;
	return j->pin->stores[j->i].quiet ? SR_OK : sr_backup_compare(j->pin, j->i, j->nodes, scan, on_any, yes, err);
}

/* By an index that says otherwise than its table, a row is not found that is there.  A database that SQLite cannot judge - its application has a
 * function or a collation of its own - is judged by its rows alone. */
static enum sr_status verify_indexes(struct job *j, struct sr_err *err)
{
	const struct sr_pin_store *s = &j->pin->stores[j->i];
	struct sr_buf what = {0};
	struct sr_err own = {0};
	enum sr_status rc;

	j->err = err;
	j->rc = SR_OK;
	rc = sr_backup_sound(j->pin, j->i, is_over, j, &what, &own);
	if (j->rc == SR_OK && rc == SR_OK && what.len) {
		char *text = sr_format("SQLite does not take its indexes, or its pages, for sound: %s", sr_buf_text(&what));

		j->counts->wrong++;
		rc = j->ops->wrong(j->ops->ctx, s->name, text, err);
		free(text);
	} else {
		rc = j->rc; /* the scan has the last word */
	}
	sr_buf_free(&what);
	return rc;
}

static enum sr_status verify_database(struct job *j, struct sr_err *err)
{
	struct sr_pin_store *s = &j->pin->stores[j->i];
	struct sr_scan scan = {0};
	struct sr_err own = {0};
	uint64_t leaves = 0, bytes = 0, wrong = j->counts->wrong;
	bool doubtful;
	enum sr_status rc;

	if (!s->exact)
		return j->ops->skipped(j->ops->ctx, s->name, s->why, err);
	rc = sr_backup_database(j->pin, j->i, NULL, NULL, NULL, NULL, &own);
	if (rc == SR_OK && verify_indexes(j, err) != SR_OK)
		return err->code;
	if (rc == SR_OK)
		rc = sr_backup_database(j->pin, j->i, NULL, j->nodes, &scan, NULL, &own);
	if (rc == SR_E_DATA && j->counts->wrong > wrong)
		return SR_OK; /* it was told */
	if (rc == SR_E_DATA) { /* its pages are not those of a database any more */
		j->counts->wrong++;
		return j->ops->wrong(j->ops->ctx, s->name, own.text, err);
	}
	if (rc != SR_OK) {
		*err = own;
		return rc;
	}
	j->err = err;
	j->rc = SR_OK;
	j->rot = sr_leaves_new(sr_state_dir(j->r->state));
	rc = is_doubtful(j, &scan, &doubtful, err);
	if (rc == SR_OK && doubtful)
		rc = j->ops->skipped(j->ops->ctx, s->name, "it was written to at that very moment", err);
	else if (rc == SR_OK)
		rc = sr_backup_compare(j->pin, j->i, j->nodes, &scan, on_difference, j, err);
	if (rc == SR_OK)
		rc = j->rc;
	if (rc == SR_OK && !doubtful)
		sr_rot_found(j->r, j->i, j->rot);
	else
		sr_leaves_free(j->rot);
	if (rc == SR_OK)
		rc = sr_map_counts(j->nodes, &scan.map, &leaves, &bytes);
	j->counts->leaves += leaves;
	j->counts->bytes += bytes;
	sr_nodes_release(j->nodes, &scan.map);
	sr_nodes_sweep(j->nodes);
	sr_scan_free(&scan);
	return rc == SR_OK ? tell(j, true, err) : rc;
}

/* --- all of it ------------------------------------------------------------------------------------------------------ */

static enum sr_status verify_store(struct job *j, struct sr_err *err)
{
	struct sr_pin_store *s = &j->pin->stores[j->i];

	if (!s->readable)
		return j->ops->skipped(j->ops->ctx, s->name, s->why, err);
	return s->kind == SR_KIND_DATABASE ? verify_database(j, err) : verify_files(j, err);
}

static void count_all(struct job *j)
{
	sr_replica_read_lock(j->r);
	for (size_t i = 0; i < j->pin->n; i++) {
		uint64_t leaves = 0, bytes = 0;

		if (j->pin->stores[i].readable && sr_map_counts(j->r->nodes, &j->pin->stores[i].map, &leaves, &bytes) != SR_OK)
			leaves = bytes = 0;
		j->counts->leaves_total += leaves;
		j->counts->bytes_total += bytes;
	}
	sr_replica_unlock(j->r);
}

enum sr_status sr_verify_copy(struct sr_pin *pin, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t i = 0; rc == SR_OK && i < pin->n; i++)
		if (pin->stores[i].readable && pin->stores[i].exact && pin->stores[i].view && sr_view_blocks(pin->stores[i].view)) {
			rc = sr_backup_database(pin, i, NULL, NULL, NULL, NULL, err);
			if (rc == SR_E_DATA) /* it is told when it is its turn */
				rc = SR_OK;
		}
	return rc;
}

enum sr_status sr_verify_pin(struct sr_pin *pin, const struct sr_verify_ops *ops, struct sr_verify_counts *counts, struct sr_err *err)
{
	struct job j = {.pin = pin, .r = pin->r, .ops = ops, .counts = counts, .told_ms = sr_ticks_ms()};
	enum sr_status rc;

	*counts = (struct sr_verify_counts){0};
	j.hasher = sr_hasher_new(&j.r->key);
	j.nodes = sr_nodes_new(&j.r->key);
	j.chunk = sr_alloc(CHUNK);
	count_all(&j);
	rc = sr_verify_copy(pin, err);
	if (rc == SR_OK)
		rc = sr_state_reader(&j.state, sr_state_dir(j.r->state), err);
	for (j.i = 0; rc == SR_OK && j.i < pin->n; j.i++) /* first what a pin sees, and holds */
		if (pin->stores[j.i].kind == SR_KIND_DATABASE)
			rc = verify_store(&j, err);
	if (rc == SR_OK && ops->files)
		ops->files(ops->ctx);
	for (j.i = 0; rc == SR_OK && j.i < pin->n; j.i++)
		if (pin->stores[j.i].kind != SR_KIND_DATABASE)
			rc = verify_store(&j, err);
	sr_state_close(j.state);
	sr_hasher_free(j.hasher);
	sr_nodes_free(j.nodes);
	free(j.chunk);
	return rc;
}

/* --- HTTP ----------------------------------------------------------------------------------------------------------- */

/* CONSUMES o. */
static enum sr_status write_line(struct sr_request *req, json_t *o, struct sr_err *err)
{
	char *text = json_dumps(o, JSON_COMPACT), *line = sr_format("%s\n", text ? text : "{}");
	enum sr_status rc = sr_reply_write(req, line, strlen(line), err);

	free(text);
	free(line);
	json_decref(o);
	return rc;
}

static enum sr_status reply_wrong(void *ctx, const char *path, const char *what, struct sr_err *err)
{
	return write_line(ctx, json_pack("{s:s, s:s}", "path", path, "what", what), err);
}

static enum sr_status reply_skipped(void *ctx, const char *store, const char *why, struct sr_err *err)
{
	return write_line(ctx, json_pack("{s:s, s:s}", "store", store, "why", why), err);
}

static enum sr_status reply_progress(void *ctx, const struct sr_verify_counts *c, struct sr_err *err)
{
	return write_line(ctx,
			  json_pack("{s:I, s:I, s:I, s:I}", "leaves", (json_int_t)c->leaves, "bytes", (json_int_t)c->bytes, "leaves_total",
				    (json_int_t)c->leaves_total, "bytes_total", (json_int_t)c->bytes_total),
			  err);
}

enum sr_status sr_verify_reply(struct sr_request *req, sr_verify_fn *look, void *ctx, struct sr_err *err)
{
	struct sr_verify_ops ops = {.ctx = req, .wrong = reply_wrong, .skipped = reply_skipped, .progress = reply_progress};
	struct sr_verify_counts c = {0};
	struct sr_err own = {0};
	enum sr_status rc;

	sr_reply_start(req, 200, "application/x-ndjson", -1);
	rc = look(ctx, &ops, &c, &own);
	if (rc == SR_OK)
		rc = write_line(req,
				json_pack("{s:b, s:I, s:I, s:I, s:I}", "done", 1, "leaves", (json_int_t)c.leaves, "bytes", (json_int_t)c.bytes,
					  "wrong", (json_int_t)c.wrong, "changed", (json_int_t)c.changed),
				err);
	else
		rc = write_line(req, json_pack("{s:s}", "error", own.text), err);
	if (rc == SR_OK)
		sr_reply_end(req);
	return rc;
}
