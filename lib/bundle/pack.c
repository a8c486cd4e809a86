/* pack.c - see pack.h. */
#include "lib/bundle/pack.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static ssize_t on_write(struct archive *tar, void *ctx, const void *at, size_t n)
{
	struct sr_pack *pack = ctx;

	if (pack->failed.code == SR_OK && pack->write(pack->ctx, at, n, &pack->failed) == SR_OK)
		return (ssize_t)n;
	if (pack->failed.code == SR_OK)
		sr_err_set(&pack->failed, SR_E_IO, "bundle: not taken");
	archive_set_error(tar, EIO, "%s", pack->failed.text);
	return -1;
}

/* What libarchive said, unless our own callback knows better.  From here on the stream is broken. */
static enum sr_status pack_fault(struct sr_pack *pack, struct sr_err *err)
{
	const char *why = archive_error_string(pack->tar);

	if (pack->failed.code == SR_OK)
		sr_err_set(&pack->failed, SR_E_IO, "bundle: %s", why ? why : "cannot be written");
	if (err)
		*err = pack->failed;
	return pack->failed.code;
}

static enum sr_status open_as(struct sr_pack *pack, int (*format)(struct archive *), bool zstd, int block, struct sr_err *err)
{
	pack->tar = archive_write_new();
	if (!pack->tar)
		return sr_err_set(err, SR_E_INTERNAL, "bundle: no memory");
	if (format(pack->tar) || (zstd && archive_write_add_filter_zstd(pack->tar)) ||
	    archive_write_set_bytes_per_block(pack->tar, block) || archive_write_set_bytes_in_last_block(pack->tar, 1) ||
	    archive_write_open(pack->tar, pack, NULL, on_write, NULL))
		return pack_fault(pack, err);
	return SR_OK;
}

/* Not pax_restricted, which drops nanoseconds.  Blocks, or each header and each padding is written by itself; the last is not filled up. */
enum sr_status sr_pack_open(struct sr_pack *pack, bool zstd, sr_bundle_write_fn *write, void *ctx, struct sr_err *err)
{
	*pack = (struct sr_pack){.write = write, .ctx = ctx};
	return open_as(pack, archive_write_set_format_pax, zstd, SR_BUNDLE_CHUNK, err);
}

enum sr_status sr_pack_open_exact(struct sr_pack *pack, sr_bundle_write_fn *write, void *ctx, struct sr_err *err)
{
	*pack = (struct sr_pack){.write = write, .ctx = ctx};
	return open_as(pack, archive_write_set_format_pax, false, 0, err);
}

enum sr_status sr_pack_open_zstd(struct sr_pack *pack, sr_bundle_write_fn *write, void *ctx, struct sr_err *err)
{
	struct archive_entry *entry;
	enum sr_status rc;

	*pack = (struct sr_pack){.write = write, .ctx = ctx};
	rc = open_as(pack, archive_write_set_format_raw, true, SR_BUNDLE_CHUNK, err);
	if (rc)
		return rc;
	entry = archive_entry_new();
	archive_entry_set_pathname(entry, "data");
	archive_entry_set_filetype(entry, AE_IFREG);
	rc = sr_pack_header(pack, entry, err);
	archive_entry_free(entry);
	return rc;
}

enum sr_status sr_pack_header(struct sr_pack *pack, struct archive_entry *entry, struct sr_err *err)
{
	struct sr_bytes name = sr_bytes_of(archive_entry_pathname(entry));
	int said = pack->failed.code ? ARCHIVE_FATAL : archive_write_header(pack->tar, entry);

	/* For a name that is not UTF-8 it warns and falls back to hdrcharset=BINARY, which is right.  Given as an option BINARY would be
	 * said of every member, and GNU tar would complain of each. */
	if (said == ARCHIVE_OK || (said == ARCHIVE_WARN && !sr_utf8_valid(name)))
		return SR_OK;
	return pack_fault(pack, err);
}

enum sr_status sr_pack_data(struct sr_pack *pack, const void *at, size_t n, struct sr_err *err)
{
	if (pack->failed.code || (n && archive_write_data(pack->tar, at, n) != (la_ssize_t)n))
		return pack_fault(pack, err);
	return SR_OK;
}

enum sr_status sr_pack_end_member(struct sr_pack *pack, struct sr_err *err)
{
	if (pack->failed.code || archive_write_finish_entry(pack->tar) != ARCHIVE_OK)
		return pack_fault(pack, err);
	return SR_OK;
}

enum sr_status sr_pack_close(struct sr_pack *pack, struct sr_err *err)
{
	if (pack->failed.code || archive_write_close(pack->tar) != ARCHIVE_OK)
		return pack_fault(pack, err);
	return SR_OK;
}

void sr_pack_free(struct sr_pack *pack)
{
	if (!pack->tar)
		return;
	/* An unfinished stream must not get a well-formed end, nor the zeros that a member cut short lacks: so nothing is taken any more, and
	 * it has failed.  Closed it must be all the same, or it leaks. */
	if (pack->failed.code == SR_OK)
		sr_err_set(&pack->failed, SR_E_INTERNAL, "bundle: not finished");
	archive_write_fail(pack->tar);
	archive_write_close(pack->tar);
	archive_write_free(pack->tar);
	pack->tar = NULL;
}

size_t sr_pack_read_file(int fd, void *at, size_t n, uint64_t offset)
{
	size_t done = 0;

	while (done < n) {
		ssize_t got = pread(fd, (char *)at + done, n - done, (off_t)(offset + done));

		if (got == 0 || (got < 0 && errno != EINTR))
			break;
		done += got > 0 ? (size_t)got : 0;
	}
	return done;
}

enum sr_status sr_pack_member(struct sr_pack *pack, const char *name, uint64_t size, struct sr_err *err)
{
	struct archive_entry *entry = archive_entry_new();
	enum sr_status rc;

	archive_entry_set_pathname(entry, name);
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0644);
	archive_entry_set_mtime(entry, 0, 0);
	archive_entry_set_size(entry, (la_int64_t)size);
	rc = sr_pack_header(pack, entry, err);
	archive_entry_free(entry);
	return rc;
}

void sr_member_hash(struct sr_hasher *h, const char *name, uint64_t size)
{
	struct sr_buf head = {0};

	sr_buf_string(&head, sr_bytes_of(name));
	sr_buf_be64(&head, size);
	sr_hasher_add(h, head.at, head.len);
	sr_buf_free(&head);
}

void sr_member_name(char out[SR_MEMBER_NAME], uint64_t index, const char *kind)
{
	snprintf(out, SR_MEMBER_NAME, "%08" PRIu64 ".%s", index, kind);
}
