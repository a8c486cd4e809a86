/* backup_writer.c - a backup on its way out.  See backup.h; the format is sameroot-backup(5).
 *
 * The tar is made piece by piece, so that what was written before the manifest can be counted and hashed to the byte; then it is compressed,
 * if asked to, and handed on in chunks. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bundle/manifest.h"
#include "lib/bundle/pack.h"

struct sr_backup_writer {
	struct sr_pack tar, zstd; /* zstd.tar NULL: plain */
	locale_t utf8;
	sr_bundle_write_fn *write;
	void *ctx;
	struct sr_members *members;
	struct sr_sha256 *all, *one; /* of the tar so far; of the file in hand */
	struct sr_sha256 *packed;    /* of what came out compressed */
	uint64_t bytes;              /* of the tar so far */
	bool sealed;                 /* the manifest follows: `all` is done */
	struct sr_buf chunk;         /* plain: not handed on yet */

	struct sr_buf path; /* of the file in hand */
	struct sr_backup_member member;
	uint64_t left;
	bool open;
};

/* --- the stream ----------------------------------------------------------------------------------------------------- */

static enum sr_status hand_on(struct sr_backup_writer *w, struct sr_err *err)
{
	enum sr_status rc = w->chunk.len ? w->write(w->ctx, w->chunk.at, w->chunk.len, err) : SR_OK;

	sr_buf_clear(&w->chunk);
	return rc;
}

static enum sr_status on_tar(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	struct sr_backup_writer *w = ctx;

	if (!w->sealed) {
		sr_sha256_add(w->all, at, n);
		w->bytes += n;
	}
	if (w->zstd.tar)
		return sr_pack_data(&w->zstd, at, n, err);
	sr_buf_add(&w->chunk, at, n);
	return w->chunk.len >= SR_BUNDLE_CHUNK ? hand_on(w, err) : SR_OK;
}

static enum sr_status on_packed(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	struct sr_backup_writer *w = ctx;

	sr_sha256_add(w->packed, at, n);
	return w->write(w->ctx, at, n, err);
}

enum sr_status sr_backup_writer_new(struct sr_backup_writer **out, bool zstd, const char *spool, sr_bundle_write_fn *write, void *ctx,
				    struct sr_err *err)
{
	struct sr_backup_writer *w = sr_alloc(sizeof *w);
	enum sr_status rc = SR_OK;

	w->write = write;
	w->ctx = ctx;
	w->members = sr_members_new(spool);
	w->all = sr_sha256_new();
	w->one = sr_sha256_new();
	w->packed = sr_sha256_new();
	if (zstd)
		rc = sr_pack_open_zstd(&w->zstd, on_packed, w, err);
	if (!rc)
		rc = sr_pack_open_exact(&w->tar, on_tar, w, err);
	if (!rc)
		rc = sr_pack_locale(&w->utf8, err);
	if (rc)
		sr_backup_writer_free(w);
	else
		*out = w;
	return rc;
}

void sr_backup_writer_free(struct sr_backup_writer *w)
{
	if (!w)
		return;
	sr_pack_free(&w->tar);
	sr_pack_free(&w->zstd);
	if (w->utf8)
		freelocale(w->utf8);
	sr_members_free(w->members);
	sr_sha256_free(w->all);
	sr_sha256_free(w->one);
	sr_sha256_free(w->packed);
	sr_buf_free(&w->chunk);
	sr_buf_free(&w->path);
	free(w);
}

/* Before 1970 whole seconds will do: libarchive and GNU tar are not of one mind about fractions there. */
static int64_t time_to_write(int64_t ns)
{
	int64_t rest = ns % 1000000000;

	if (ns >= 0 || !rest)
		return ns;
	return ns < INT64_MIN + 1000000000 ? ns - rest : ns - rest - 1000000000;
}

/* --- members -------------------------------------------------------------------------------------------------------- */

enum sr_status sr_backup_add_dir(struct sr_backup_writer *w, struct sr_bytes path, uint16_t mode, int64_t mtime_ns, struct sr_err *err)
{
	struct sr_backup_member member = {.path = path, .dir = true, .mode = mode, .mtime_ns = time_to_write(mtime_ns)};
	enum sr_status rc = sr_pack_named(&w->tar, w->utf8, path, AE_IFDIR, mode, member.mtime_ns, 0, err);

	return rc ? rc : sr_members_add(w->members, &member, err);
}

enum sr_status sr_backup_begin_file(struct sr_backup_writer *w, struct sr_bytes path, uint16_t mode, int64_t mtime_ns, uint64_t bytes,
				    struct sr_err *err)
{
	int64_t time = time_to_write(mtime_ns);
	enum sr_status rc = sr_pack_named(&w->tar, w->utf8, path, AE_IFREG, mode, time, bytes, err);

	assert(!w->open);
	if (rc)
		return rc;
	sr_buf_clear(&w->path);
	sr_buf_bytes(&w->path, path);
	w->member = (struct sr_backup_member){.mode = mode, .mtime_ns = time, .bytes = bytes};
	w->left = bytes;
	w->open = true;
	return SR_OK;
}

enum sr_status sr_backup_add_data(struct sr_backup_writer *w, const void *at, size_t n, struct sr_err *err)
{
	assert(w->open && n <= w->left);
	w->left -= n;
	sr_sha256_add(w->one, at, n);
	return sr_pack_data(&w->tar, at, n, err);
}

enum sr_status sr_backup_end_file(struct sr_backup_writer *w, bool ok, struct sr_err *err)
{
	assert(w->open && !w->left);
	w->open = false;
	w->member.path = sr_buf_view(&w->path);
	w->member.voided = !ok;
	sr_sha256_end(w->one, w->member.sha256);
	return sr_members_add(w->members, &w->member, err);
}

/* --- the end -------------------------------------------------------------------------------------------------------- */

typedef enum sr_status sr_text_fn(void *ctx, struct sr_bytes text, struct sr_err *err);

static enum sr_status count_text(void *ctx, struct sr_bytes text, struct sr_err *err)
{
	(void)err;
	*(uint64_t *)ctx += text.len;
	return SR_OK;
}

static enum sr_status write_text(void *ctx, struct sr_bytes text, struct sr_err *err)
{
	struct sr_backup_writer *w = ctx;

	return sr_backup_add_data(w, text.at, text.len, err);
}

static enum sr_status each_line(struct sr_backup_writer *w, void (*line)(struct sr_buf *out, const struct sr_backup_member *m, bool first),
				sr_text_fn *fn, void *ctx, struct sr_err *err)
{
	struct sr_backup_member m;
	struct sr_buf text = {0};
	bool found = true, first = true;
	enum sr_status rc = SR_OK;

	sr_members_rewind(w->members);
	while (!rc && found) {
		rc = sr_members_next(w->members, &m, &found, err);
		if (rc || !found)
			break;
		sr_buf_clear(&text);
		line(&text, &m, first);
		first = false;
		rc = fn(ctx, sr_buf_view(&text), err);
	}
	sr_buf_free(&text);
	return rc;
}

static void sum_line(struct sr_buf *out, const struct sr_backup_member *m, bool first)
{
	(void)first;
	if (!m->dir && !m->voided)
		sr_sums_line(out, m->path, m->sha256);
}

static enum sr_status manifest_text(struct sr_backup_writer *w, struct sr_bytes head, sr_text_fn *fn, void *ctx, struct sr_err *err)
{
	enum sr_status rc = fn(ctx, head, err);

	if (!rc)
		rc = each_line(w, sr_manifest_line, fn, ctx, err);
	return rc ? rc : fn(ctx, sr_bytes_of(SR_MANIFEST_TAIL), err);
}

/* Whole seconds: with a fraction their headers would be two. */
static enum sr_status begin_text(struct sr_backup_writer *w, const char *name, int64_t taken_ms, uint64_t bytes, struct sr_err *err)
{
	return sr_backup_begin_file(w, sr_bytes_of(name), 0644, taken_ms / 1000 * 1000000000, bytes, err);
}

static enum sr_status write_manifest(struct sr_backup_writer *w, const struct sr_backup_info *info, struct sr_buf *sum, struct sr_err *err)
{
	uint8_t all[SR_SHA256_LEN];
	struct sr_buf head = {0};
	uint64_t bytes = 0;
	enum sr_status rc;

	w->sealed = true;
	sr_sha256_end(w->all, all);
	sr_manifest_head(&head, info, w->bytes, all);
	rc = manifest_text(w, sr_buf_view(&head), count_text, &bytes, err);
	if (!rc)
		rc = begin_text(w, SR_BACKUP_MANIFEST, info->taken_ms, bytes, err);
	if (!rc)
		rc = manifest_text(w, sr_buf_view(&head), write_text, w, err);
	w->open = false; /* it is not a member of itself */
	sr_sha256_end(w->one, all);
	sr_sums_line(sum, sr_bytes_of(SR_BACKUP_MANIFEST), all);
	sr_buf_free(&head);
	return rc;
}

static enum sr_status write_sums(struct sr_backup_writer *w, const struct sr_backup_info *info, struct sr_bytes last, struct sr_err *err)
{
	uint64_t bytes = last.len;
	enum sr_status rc = each_line(w, sum_line, count_text, &bytes, err);

	if (!rc)
		rc = begin_text(w, SR_BACKUP_SUMS, info->taken_ms, bytes, err);
	if (!rc)
		rc = each_line(w, sum_line, write_text, w, err);
	if (!rc)
		rc = write_text(w, last, err);
	w->open = false;
	return rc;
}

static enum sr_status seal(struct sr_backup_writer *w, struct sr_err *err)
{
	uint8_t frame[SR_BACKUP_SEAL_LEN];

	memcpy(frame, SR_BACKUP_SEAL, 8);
	sr_sha256_end(w->packed, frame + 8);
	return w->write(w->ctx, frame, sizeof frame, err);
}

static enum sr_status close_all(struct sr_backup_writer *w, struct sr_err *err)
{
	enum sr_status rc = sr_pack_close(&w->tar, err);

	if (!rc && !w->zstd.tar)
		return hand_on(w, err);
	if (!rc)
		rc = sr_pack_close(&w->zstd, err);
	return rc ? rc : seal(w, err);
}

enum sr_status sr_backup_finish(struct sr_backup_writer *w, const struct sr_backup_info *info, struct sr_err *err)
{
	struct sr_buf sum = {0};
	enum sr_status rc = sr_pack_end_member(&w->tar, err);

	assert(!w->open);
	if (!rc)
		rc = write_manifest(w, info, &sum, err);
	if (!rc)
		rc = write_sums(w, info, sr_buf_view(&sum), err);
	if (!rc)
		rc = close_all(w, err);
	sr_buf_free(&sum);
	return rc;
}

void sr_backup_fail(struct sr_backup_writer *w, const struct sr_err *why)
{
	struct sr_buf text = {0};
	struct sr_err ignored;
	enum sr_status rc = w->open && w->left ? SR_E_IO : SR_OK; /* within a file there is no room for it: truncated it is */

	w->open = false;
	sr_buf_printf(&text, "%s\n%s", sr_status_name(why->code), why->text);
	if (!rc)
		rc = sr_backup_begin_file(w, sr_bytes_of(SR_BACKUP_FAILED), 0644, 0, text.len, &ignored);
	if (!rc)
		rc = sr_backup_add_data(w, text.at, text.len, &ignored);
	w->open = false;
	if (!rc)
		(void)!close_all(w, &ignored);
	sr_buf_free(&text);
}
