/* tar.c - the tar for people.  See bundle.h. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/door.h"
#include "lib/bundle/pack.h"

struct sr_tar_writer {
	struct sr_pack pack;
	locale_t utf8; /* libarchive looks at the thread's locale for what a name's bytes mean; 0: there is none on this machine */
	uint8_t chunk[SR_BUNDLE_CHUNK];
};

enum sr_status sr_pack_locale(locale_t *out, struct sr_err *err)
{
	*out = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	return *out ? SR_OK : sr_err_sys(err, SR_E_INTERNAL, "locale C.UTF-8");
}

enum sr_status sr_tar_writer_new(struct sr_tar_writer **out, sr_bundle_write_fn *write, void *ctx, struct sr_err *err)
{
	struct sr_tar_writer *w = sr_alloc(sizeof(*w));
	enum sr_status rc = sr_pack_open(&w->pack, false, write, ctx, err);

	if (!rc)
		rc = sr_pack_locale(&w->utf8, err);
	if (rc)
		sr_tar_writer_free(w);
	else
		*out = w;
	return rc;
}

void sr_tar_writer_free(struct sr_tar_writer *w)
{
	if (!w)
		return;
	sr_pack_free(&w->pack);
	if (w->utf8)
		freelocale(w->utf8);
	free(w);
}

static struct archive_entry *new_entry(const char *name, unsigned type, uint16_t mode, int64_t mtime_ns, uint64_t bytes)
{
	struct archive_entry *entry = archive_entry_new();
	int64_t s = mtime_ns / 1000000000, ns = mtime_ns % 1000000000;

	archive_entry_copy_pathname(entry, name);
	archive_entry_set_filetype(entry, type);
	archive_entry_set_perm(entry, mode & 07777);
	archive_entry_set_mtime(entry, ns < 0 ? s - 1 : s, ns < 0 ? (long)ns + 1000000000 : (long)ns);
	archive_entry_set_size(entry, (la_int64_t)bytes);
	return entry;
}

enum sr_status sr_pack_named(struct sr_pack *pack, locale_t utf8, struct sr_bytes name, unsigned type, uint16_t mode, int64_t mtime_ns,
			     uint64_t bytes, struct sr_err *err)
{
	struct archive_entry *entry;
	locale_t before;
	enum sr_status rc;
	char *text;

	if (!name.len || memchr(name.at, '\0', name.len) || bytes > INT64_MAX)
		return sr_err_set(err, SR_E_DATA, "tar: a name or size that no file can have");
	text = sr_text(name);
	before = uselocale(utf8);
	entry = new_entry(text, type, mode, mtime_ns, bytes);
	rc = sr_pack_header(pack, entry, err);
	archive_entry_free(entry);
	uselocale(before);
	free(text);
	return rc;
}

enum sr_status sr_tar_add_dir(struct sr_tar_writer *w, struct sr_bytes name, uint16_t mode, struct sr_err *err)
{
	return sr_pack_named(&w->pack, w->utf8, name, AE_IFDIR, mode, sr_now_ms() * 1000000, 0, err);
}

enum sr_status sr_tar_add_file(struct sr_tar_writer *w, struct sr_bytes name, uint16_t mode, int64_t mtime_ns, uint64_t bytes, int fd,
                               struct sr_err *err)
{
	enum sr_status rc = sr_pack_named(&w->pack, w->utf8, name, AE_IFREG, mode, mtime_ns, bytes, err);
	bool whole = true;

	for (uint64_t done = 0; !rc && done < bytes;) {
		size_t n = bytes - done < sizeof(w->chunk) ? (size_t)(bytes - done) : sizeof(w->chunk);
		size_t got = whole ? sr_pack_read_file(fd, w->chunk, n, done) : 0;

		whole = whole && got == n;
		memset(w->chunk + got, 0, n - got);
		rc = sr_pack_data(&w->pack, w->chunk, n, err);
		done += n;
	}
	if (!rc && !whole)
		return sr_err_set(err, SR_E_CHANGED, "tar: a file became shorter while it was read");
	return rc;
}

enum sr_status sr_tar_add_bytes(struct sr_tar_writer *w, struct sr_bytes name, uint16_t mode, int64_t mtime_ns, struct sr_bytes content,
                                struct sr_err *err)
{
	enum sr_status rc = sr_pack_named(&w->pack, w->utf8, name, AE_IFREG, mode, mtime_ns, content.len, err);

	return rc ? rc : sr_pack_data(&w->pack, content.at, content.len, err);
}

enum sr_status sr_tar_finish(struct sr_tar_writer *w, struct sr_err *err)
{
	return sr_pack_close(&w->pack, err);
}
