/* restore_fetch.c - contents from a source into the staging of a store: in bundles, a large file by itself, or read from files here.  Each is what was
 * asked for by its hash, or it does not come. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/admin/restore_internal.h"
#include "lib/replica/fetch.h"

#define CHUNK 65536

struct fetching {
	struct sr_restore *x;
	struct sr_source *s;
	size_t i;
	struct sr_store *st;
	struct sr_leaves *leaves; /* asked for, sorted */
	struct sr_leaves *here;   /* of these, what is in staging from an attempt before, as the source tells it */
	struct sr_stage *stage;
	sr_restore_got_fn *got;
	void *ctx;
	uint64_t gone;
};

/* Hand on what was asked for, with what came. */
static enum sr_status hand_on(struct fetching *f, const struct sr_leaf *came, const struct sr_leaf *staged, struct sr_err *err)
{
	struct sr_leaf want;
	size_t at;
	enum sr_status rc = sr_leaves_find(f->leaves, came->path, &at, &want, err);

	if (rc == SR_OK && (at == sr_leaves_count(f->leaves) || !sr_version_eq(&want.to, &came->to)))
		rc = sr_err_set(err, SR_E_DATA, "bundle: it holds a leaf that was not asked for");
	if (rc != SR_OK)
		return rc;
	want.record = came->record;
	want.mtime_ns = came->mtime_ns;
	if (staged) {
		want.stage = staged->stage;
		want.inode = staged->inode;
		want.mtime_ns = staged->mtime_ns;
	}
	sr_progress_add(&f->x->progress, 1, want.to.kind == SR_KIND_ROW && !sr_path_is_bag(want.path) ? want.to.bytes : 0);
	return f->got(f->ctx, &want, err);
}

static enum sr_status got_leaf(void *ctx, const char *store, const struct sr_leaf *leaf, bool content, struct sr_err *err)
{
	struct fetching *f = ctx;

	if (strcmp(store, f->x->stores[f->i].name) != 0)
		return sr_err_set(err, SR_E_DATA, "bundle: it holds a leaf that was not asked for");
	if (leaf->flags & SR_LEAF_GONE) {
		f->gone++;
		return SR_OK;
	}
	if (leaf->to.kind == SR_KIND_FILE)
		return content ? SR_OK : sr_leaves_add(f->here, leaf, err);
	return hand_on(f, leaf, NULL, err);
}

static enum sr_status got_begin(void *ctx, const char *store, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct fetching *f = ctx;

	(void)store, (void)leaf;
	return sr_stage_open(&f->stage, f->st, err);
}

static enum sr_status got_data(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	struct fetching *f = ctx;

	sr_progress_add(&f->x->progress, 0, n);
	return sr_stage_write(f->stage, at, n, err);
}

static enum sr_status got_end(void *ctx, const char *store, const struct sr_leaf *leaf, bool ok, struct sr_err *err)
{
	struct fetching *f = ctx;
	struct sr_leaf staged = {0};
	enum sr_status rc = SR_OK;

	(void)store;
	f->gone += !ok;
	if (ok)
		rc = sr_stage_finish(f->stage, &leaf->to, leaf->mtime_ns, &staged, err);
	staged.mtime_ns = leaf->mtime_ns;
	if (rc == SR_OK && ok)
		rc = hand_on(f, leaf, &staged, err);
	sr_stage_free(f->stage);
	f->stage = NULL;
	return rc;
}

static void add_bytes(void *ctx, uint64_t bytes)
{
	sr_progress_add(ctx, 0, bytes);
}

static enum sr_status fetch_large(struct fetching *f, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct sr_leaf staged = {0};
	enum sr_status rc = sr_fetch_file(f->s->client, f->st, leaf, leaf->path, add_bytes, &f->x->progress, &f->stage, &staged, err);

	if (rc == SR_E_NOTFOUND || rc == SR_E_GONE) {
		f->gone++;
		rc = SR_OK;
	} else if (rc == SR_OK) {
		rc = hand_on(f, leaf, &staged, err);
	}
	sr_stage_free(f->stage);
	f->stage = NULL;
	return rc;
}

/* What was asked for without its content.  If it turns out to be something else the next pass fetches it. */
static enum sr_status found_here(void *ctx, const struct sr_leaf *leaf, const struct sr_leaf *staged, struct sr_err *err)
{
	struct fetching *f = ctx;

	if (!staged) {
		f->gone++;
		return SR_OK;
	}
	sr_progress_add(&f->x->progress, 0, leaf->to.bytes);
	return hand_on(f, leaf, staged, err);
}

static enum sr_status fetch_daemon(struct fetching *f, struct sr_err *err)
{
	struct sr_bundle_sink sink = {.ctx = f, .leaf = got_leaf, .begin = got_begin, .data = got_data, .end = got_end};
	struct sr_buf wanted = {0}, path = {0};
	uint64_t n = 0, bytes = 0;
	enum sr_status rc = SR_OK;

	f->here = sr_leaves_new(f->x->spool);
	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(f->leaves); k++) {
		struct sr_leaf leaf, asked;

		rc = sr_leaves_at(f->leaves, k, &leaf, err);
		if (rc != SR_OK)
			break;
		sr_buf_clear(&path); /* the spool's own buffer does not outlive the next call on it */
		sr_buf_bytes(&path, leaf.path);
		leaf.path = sr_buf_view(&path);
		asked = (struct sr_leaf){.path = leaf.path, .to = leaf.to};
		if (leaf.to.kind == SR_KIND_FILE && sr_stage_has(f->st, &leaf.to)) {
			asked.expect = asked.to;
		} else if (leaf.to.kind == SR_KIND_FILE && leaf.to.bytes >= SR_PART_MIN) {
			rc = fetch_large(f, &leaf, err);
			continue;
		}
		sr_wanted_add(&wanted, f->x->stores[f->i].name, &asked);
		n++;
		bytes += leaf.to.bytes;
	}
	if (rc == SR_OK && n)
		rc = sr_fetch_bundle(f->s->client, &f->x->key, &f->s->root, sr_buf_view(&wanted), n, bytes, &sink, err);
	sr_stage_free(f->stage);
	f->stage = NULL;
	if (rc == SR_OK)
		rc = sr_fetch_here(f->st, f->here, NULL, found_here, f, err);
	sr_leaves_free(f->here);
	sr_buf_free(&wanted);
	sr_buf_free(&path);
	return rc == SR_OK ? rc : sr_err_context(err, "%s", f->s->name);
}

static enum sr_status copy_file(struct fetching *f, int fd, struct sr_err *err)
{
	uint8_t *chunk = sr_alloc(CHUNK);
	enum sr_status rc = SR_OK;
	ssize_t got = 1;

	while (rc == SR_OK && got > 0) {
		got = read(fd, chunk, CHUNK);
		if (got < 0)
			rc = sr_err_sys(err, SR_E_IO, "read");
		else if (got > 0)
			rc = sr_stage_write(f->stage, chunk, (size_t)got, err);
		if (rc == SR_OK && got > 0)
			sr_progress_add(&f->x->progress, 0, (uint64_t)got);
	}
	free(chunk);
	return rc;
}

/* One leaf of files here; a file that is written to meanwhile is gone. */
static enum sr_status copy_one(struct fetching *f, struct sr_leaf *leaf, struct sr_err *err)
{
	struct sr_content content = {.fd = -1};
	struct sr_leaf staged = {0}, came = *leaf;
	bool file = leaf->to.kind == SR_KIND_FILE;
	enum sr_status rc = sr_view_read(f->s->stores[f->i].view, leaf->path, &content, err);

	if (rc == SR_E_NOTFOUND || (rc == SR_OK && file && content.fd < 0)) {
		f->gone++;
		return SR_OK;
	}
	if (rc == SR_OK && file) {
		rc = sr_stage_expect(&f->stage, f->st, &leaf->to.hash, err);
		if (rc == SR_OK)
			rc = copy_file(f, content.fd, err);
		if (rc == SR_OK)
			rc = sr_stage_finish(f->stage, &leaf->to, content.mtime_ns, &staged, err);
		staged.mtime_ns = content.mtime_ns;
		if (rc == SR_E_DATA)
			f->gone++;
	}
	came.record = content.record;
	if (rc == SR_OK)
		rc = hand_on(f, &came, file ? &staged : NULL, err);
	if (content.fd >= 0)
		close(content.fd);
	sr_stage_free(f->stage);
	f->stage = NULL;
	return rc == SR_E_DATA && file ? SR_OK : rc;
}

static enum sr_status fetch_files(struct fetching *f, struct sr_err *err)
{
	struct sr_buf path = {0};
	enum sr_status rc = SR_OK;

	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(f->leaves); k++) {
		struct sr_leaf leaf;

		rc = sr_leaves_at(f->leaves, k, &leaf, err);
		sr_buf_clear(&path);
		if (rc == SR_OK)
			sr_buf_bytes(&path, leaf.path);
		leaf.path = sr_buf_view(&path);
		if (rc == SR_OK)
			rc = copy_one(f, &leaf, err);
	}
	sr_buf_free(&path);
	return rc;
}

enum sr_status sr_restore_fetch(struct sr_restore *x, size_t k, size_t i, struct sr_store *st, struct sr_leaves *leaves, sr_restore_got_fn *got,
				void *ctx, uint64_t *gone, struct sr_err *err)
{
	struct fetching f = {.x = x, .s = &x->sources[k], .i = i, .st = st, .leaves = leaves, .got = got, .ctx = ctx};
	enum sr_status rc = f.s->client ? fetch_daemon(&f, err) : fetch_files(&f, err);

	*gone += f.gone;
	return rc;
}
