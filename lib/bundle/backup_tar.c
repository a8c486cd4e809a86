/* backup_tar.c - the tar of a backup on its way in.  See backup_read.h.
 *
 * libarchive takes zstd off, and nothing else: its reader of tar understands dialects of half a century, and gives no account of the bytes
 * between members.  This one takes what our writer makes - ustar headers, pax headers before them, files and directories - and every
 * byte is accounted for. */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/bundle/backup_read.h"
#include "lib/bundle/pack.h"

#define BLOCK   512
#define SECONDS_MOST (INT64_MAX / 1000000000 - 10)
#define PAX_MAX (256u << 10) /* of one pax header: the longest path fits */

struct sr_backup_tar {
	const struct sr_backup_source *source;
	struct archive *stream;
	int fd; /* -1: source->read */
	uint64_t total, raw; /* bytes of the file; read so far */
	bool ended;          /* the source gave its last byte */
	struct sr_err failed;
	const uint8_t *at; /* decompressed, not taken yet */
	size_t n;
	uint64_t pos;           /* taken */
	struct sr_sha256 *packed;         /* of the file as it is, but for: */
	uint8_t seal[SR_BACKUP_SEAL_LEN]; /* its last bytes so far */
	size_t seal_n;
	struct sr_sha256 *all;
	uint8_t before[SR_SHA256_LEN]; /* of all before the member in hand, once it was asked for */
	bool sealed;
	uint64_t left; /* of the member's content, */
	size_t pad;    /* and its padding */
	uint8_t header[BLOCK];
	uint64_t header_at;
	uint8_t chunk[SR_BUNDLE_CHUNK];
};

/* --- the stream --------------------------------------------------------------------------------------------------- */

static enum sr_status read_source(struct sr_backup_tar *t, size_t *got, struct sr_err *err)
{
	ssize_t n;

	if (t->fd < 0)
		return t->source->read(t->source->read_ctx, t->chunk, sizeof t->chunk, got, err);
	do
		n = read(t->fd, t->chunk, sizeof t->chunk);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return sr_err_sys(err, SR_E_IO, "%s", t->source->file);
	*got = (size_t)n;
	return SR_OK;
}

/* The last bytes are held back: they may be the seal. */
static void hold_back(struct sr_backup_tar *t, const uint8_t *at, size_t n)
{
	size_t keep = n < SR_BACKUP_SEAL_LEN ? n : SR_BACKUP_SEAL_LEN, out = t->seal_n + keep > SR_BACKUP_SEAL_LEN ? t->seal_n + keep - SR_BACKUP_SEAL_LEN : 0;

	sr_sha256_add(t->packed, t->seal, out);
	memmove(t->seal, t->seal + out, t->seal_n - out);
	t->seal_n -= out;
	sr_sha256_add(t->packed, at, n - keep);
	memcpy(t->seal + t->seal_n, at + n - keep, keep);
	t->seal_n += keep;
}

/* A backup that somebody compressed anew has none. */
static enum sr_status check_seal(struct sr_backup_tar *t, struct sr_err *err)
{
	uint8_t sum[SR_SHA256_LEN];

	if (t->seal_n < SR_BACKUP_SEAL_LEN || (t->seal[0] & 0xf0) != 0x50 || memcmp(t->seal + 1, SR_BACKUP_SEAL + 1, 7) != 0)
		return SR_OK;
	sr_sha256_end(t->packed, sum);
	if (t->seal[0] != 0x50 || memcmp(sum, t->seal + 8, sizeof sum) != 0)
		return sr_err_set(err, SR_E_DATA, "the compressed file is not what was written, though what it holds is");
	return SR_OK;
}

static la_ssize_t on_stream(struct archive *a, void *ctx, const void **at)
{
	struct sr_backup_tar *t = ctx;
	size_t got = 0;

	*at = t->chunk;
	if (t->ended)
		return 0;
	if (read_source(t, &got, &t->failed)) {
		archive_set_error(a, EIO, "read failed");
		return -1;
	}
	t->ended = got == 0;
	t->raw += got;
	hold_back(t, t->chunk, got);
	if (t->source->progress)
		t->source->progress(t->source->ctx, t->raw, t->total);
	return (la_ssize_t)got;
}

static enum sr_status stream_fault(struct sr_backup_tar *t, struct sr_err *err)
{
	const char *why = archive_error_string(t->stream);

	if (t->failed.code == SR_OK)
		return sr_err_set(err, SR_E_DATA, "damaged or cut short after %" PRIu64 " bytes of the tar: %s", t->pos,
				  why ? why : "malformed");
	if (err)
		*err = t->failed;
	return t->failed.code;
}

/* *n: how many bytes there are at t->at; 0: the end. */
static enum sr_status fill(struct sr_backup_tar *t, struct sr_err *err)
{
	const void *at;
	la_int64_t offset;
	int got = ARCHIVE_OK;

	while (!t->n && got == ARCHIVE_OK) {
		got = archive_read_data_block(t->stream, &at, &t->n, &offset);
		t->at = at;
	}
	if (got == ARCHIVE_EOF)
		t->n = 0;
	return got == ARCHIVE_OK || got == ARCHIVE_EOF ? SR_OK : stream_fault(t, err);
}

static void take(struct sr_backup_tar *t, size_t n)
{
	if (!t->sealed)
		sr_sha256_add(t->all, t->at, n);
	t->at += n;
	t->n -= n;
	t->pos += n;
}

static enum sr_status truncated(struct sr_backup_tar *t, struct sr_err *err)
{
	if (t->pos < BLOCK)
		return sr_err_set(err, SR_E_DATA, "too short for a tar: not a backup");
	return sr_err_set(err, SR_E_DATA, "truncated: it ends after %" PRIu64 " bytes of the tar, without its last member", t->pos);
}

/* Exactly n bytes. */
static enum sr_status take_into(struct sr_backup_tar *t, uint8_t *out, size_t n, struct sr_err *err)
{
	while (n) {
		enum sr_status rc = fill(t, err);
		size_t some = t->n < n ? t->n : n;

		if (rc)
			return rc;
		if (!some)
			return truncated(t, err);
		memcpy(out, t->at, some);
		take(t, some);
		out += some;
		n -= some;
	}
	return SR_OK;
}

/* --- open --------------------------------------------------------------------------------------------------------- */

static enum sr_status open_file(struct sr_backup_tar *t, struct sr_err *err)
{
	struct stat st;

	if (t->source->read)
		return SR_OK;
	t->fd = strcmp(t->source->file, "-") ? open(t->source->file, O_RDONLY | O_CLOEXEC | O_NOCTTY) : dup(STDIN_FILENO);
	if (t->fd < 0 || fstat(t->fd, &st))
		return sr_err_sys(err, errno == ENOENT || errno == ENOTDIR ? SR_E_NOINPUT : SR_E_IO, "%s", t->source->file);
	if (S_ISDIR(st.st_mode))
		return sr_err_set(err, SR_E_NOINPUT, "%s: is a directory", t->source->file);
	t->total = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
	return SR_OK;
}

static enum sr_status open_stream(struct sr_backup_tar *t, struct sr_err *err)
{
	struct archive_entry *entry;

	t->stream = archive_read_new();
	if (!t->stream)
		return sr_err_set(err, SR_E_INTERNAL, "backup: no memory");
	if (archive_read_support_filter_zstd(t->stream) || archive_read_support_format_raw(t->stream))
		return sr_err_set(err, SR_E_INTERNAL, "backup: this libarchive was built without zstd");
	if (archive_read_open(t->stream, t, NULL, on_stream, NULL) || archive_read_next_header(t->stream, &entry))
		return t->failed.code || t->raw ? stream_fault(t, err) : sr_err_set(err, SR_E_DATA, "empty: not a backup");
	if (archive_filter_count(t->stream) > 2) /* zstd and none */
		return sr_err_set(err, SR_E_DATA, "compressed more than once: not a backup");
	return SR_OK;
}

enum sr_status sr_backup_tar_open(struct sr_backup_tar **out, const struct sr_backup_source *source, struct sr_err *err)
{
	struct sr_backup_tar *t = sr_alloc(sizeof *t);
	enum sr_status rc;

	t->source = source;
	t->fd = -1;
	t->all = sr_sha256_new();
	t->packed = sr_sha256_new();
	rc = open_file(t, err);
	if (!rc)
		rc = open_stream(t, err);
	if (rc)
		sr_backup_tar_close(t);
	else
		*out = t;
	return rc;
}

void sr_backup_tar_close(struct sr_backup_tar *t)
{
	if (!t)
		return;
	archive_read_free(t->stream);
	if (t->fd >= 0)
		close(t->fd);
	sr_sha256_free(t->all);
	sr_sha256_free(t->packed);
	free(t);
}

/* --- headers ------------------------------------------------------------------------------------------------------ */

static enum sr_status bad_header(const struct sr_backup_tar *t, const char *what, struct sr_err *err)
{
	return sr_err_set(err, SR_E_DATA, "the header at byte %" PRIu64 " of the tar is damaged: %s", t->header_at, what);
}

/* Octal digits, then blanks or NULs. */
static bool octal(const uint8_t *at, size_t n, uint64_t *out)
{
	uint64_t v = 0;
	size_t i = 0;

	for (; i < n && at[i] >= '0' && at[i] <= '7'; i++)
		v = v << 3 | (uint64_t)(at[i] - '0');
	if (!i || i > 20)
		return false;
	for (; i < n; i++)
		if (at[i] != ' ' && at[i] != '\0')
			return false;
	*out = v;
	return true;
}

static bool sum_is_right(const uint8_t h[BLOCK])
{
	uint64_t said, sum = 0;

	for (size_t i = 0; i < BLOCK; i++)
		sum += i >= 148 && i < 156 ? ' ' : h[i];
	return octal(h + 148, 8, &said) && said == sum;
}

static bool is_zero(const uint8_t *at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (at[i])
			return false;
	return true;
}

/* "12.5", "-3": nanoseconds. */
static bool parse_time(struct sr_bytes text, int64_t *out)
{
	bool minus = text.len && text.at[0] == '-', point = false;
	int64_t s = 0, ns = 0, unit = 1000000000;

	for (size_t i = minus; i < text.len; i++) {
		int digit = text.at[i] - '0';

		if (text.at[i] == '.' && !point) {
			point = true;
			continue;
		}
		if (digit < 0 || digit > 9)
			return false;
		if (point) {
			unit /= 10;
			ns += unit * digit;
		} else if (__builtin_mul_overflow(s, 10, &s) || __builtin_add_overflow(s, digit, &s)) {
			return false;
		}
	}
	if (__builtin_mul_overflow(s, 1000000000, &s) || __builtin_add_overflow(s, ns, &s))
		return false;
	*out = minus ? -s : s;
	return text.len > (size_t)minus;
}

static bool parse_number(struct sr_bytes text, uint64_t *out)
{
	uint64_t v = 0;

	for (size_t i = 0; i < text.len; i++) {
		if (text.at[i] < '0' || text.at[i] > '9' || v > (uint64_t)INT64_MAX / 10)
			return false;
		v = v * 10 + (uint64_t)(text.at[i] - '0');
	}
	*out = v;
	return text.len && v <= INT64_MAX;
}

struct pax {
	struct sr_buf text; /* all of the header */
	struct sr_bytes path, mtime, size;
};

/* "LENGTH KEY=VALUE\n", again and again.  Keys that change nothing of what is taken are passed over. */
static bool pax_parse(struct pax *p)
{
	struct sr_bytes rest = sr_buf_view(&p->text);

	while (rest.len) {
		const uint8_t *blank = memchr(rest.at, ' ', rest.len), *equals;
		struct sr_bytes key, value;
		uint64_t n;

		if (!blank || !parse_number(sr_bytes(rest.at, (size_t)(blank - rest.at)), &n) || n > rest.len ||
		    n < (size_t)(blank - rest.at) + 3 || rest.at[n - 1] != '\n')
			return false;
		equals = memchr(blank, '=', (size_t)(rest.at + n - blank));
		if (!equals)
			return false;
		key = sr_bytes(blank + 1, (size_t)(equals - blank) - 1);
		value = sr_bytes(equals + 1, (size_t)(rest.at + n - equals) - 2);
		if (sr_bytes_eq(key, sr_bytes_of("path")))
			p->path = value;
		else if (sr_bytes_eq(key, sr_bytes_of("mtime")))
			p->mtime = value;
		else if (sr_bytes_eq(key, sr_bytes_of("size")))
			p->size = value;
		else if (sr_bytes_eq(key, sr_bytes_of("linkpath")) || (key.len > 4 && !memcmp(key.at, "GNU.", 4)))
			return false;
		rest = sr_bytes(rest.at + n, rest.len - (size_t)n);
	}
	return true;
}

static enum sr_status next_block(struct sr_backup_tar *t, struct sr_err *err)
{
	enum sr_status rc;

	t->header_at = t->pos;
	rc = take_into(t, t->header, BLOCK, err);
	if (rc || is_zero(t->header, BLOCK))
		return rc;
	if (memcmp(t->header + 257, "ustar\00000", 8) != 0)
		return t->header_at ? bad_header(t, "it is none", err) : sr_err_set(err, SR_E_DATA, "not a tar: not a backup");
	return sum_is_right(t->header) ? SR_OK : bad_header(t, "its sum is wrong", err);
}

static size_t padding(uint64_t bytes)
{
	return (size_t)((BLOCK - bytes % BLOCK) % BLOCK);
}

static enum sr_status check_padding(struct sr_backup_tar *t, size_t n, struct sr_err *err)
{
	uint8_t pad[BLOCK];
	enum sr_status rc = take_into(t, pad, n, err);

	if (!rc && !is_zero(pad, n))
		return sr_err_set(err, SR_E_DATA, "damaged before byte %" PRIu64 " of the tar: what fills the block up is not zero", t->pos);
	return rc;
}

static enum sr_status read_pax(struct sr_backup_tar *t, struct pax *p, struct sr_err *err)
{
	uint64_t bytes;
	enum sr_status rc;

	if (!octal(t->header + 124, 12, &bytes) || !bytes || bytes > PAX_MAX)
		return bad_header(t, "its size is wrong", err);
	rc = take_into(t, sr_buf_room(&p->text, (size_t)bytes), (size_t)bytes, err);
	if (rc)
		return rc;
	p->text.len = (size_t)bytes;
	rc = check_padding(t, padding(bytes), err);
	if (!rc && !pax_parse(p))
		rc = bad_header(t, "its pax records are malformed", err);
	return rc ? rc : next_block(t, err);
}

static struct sr_bytes field(const uint8_t *at, size_t n)
{
	return sr_bytes(at, strnlen((const char *)at, n));
}

static bool take_path(const uint8_t h[BLOCK], const struct pax *p, struct sr_backup_entry *e)
{
	struct sr_bytes prefix = field(h + 345, 155);

	sr_buf_clear(&e->path);
	if (p->path.len) {
		sr_buf_bytes(&e->path, p->path);
	} else {
		sr_buf_bytes(&e->path, prefix);
		if (prefix.len)
			sr_buf_byte(&e->path, '/');
		sr_buf_bytes(&e->path, field(h, 100));
	}
	if (e->dir && e->path.len && e->path.at[e->path.len - 1] == '/')
		e->path.len--;
	return e->path.len && e->path.len <= SR_PATH_MAX + 256 && !memchr(e->path.at, 0, e->path.len);
}

static enum sr_status take_header(struct sr_backup_tar *t, const struct pax *p, struct sr_backup_entry *e, struct sr_err *err)
{
	const uint8_t *h = t->header;
	uint64_t mode, mtime;

	if (h[156] != '0' && h[156] != '5')
		return bad_header(t, "neither a file nor a directory", err);
	e->dir = h[156] == '5';
	if (!take_path(h, p, e))
		return bad_header(t, "its name is wrong", err);
	if (!octal(h + 100, 8, &mode) || mode > 0777)
		return bad_header(t, "its mode is wrong", err);
	e->mode = (uint16_t)mode;
	if (p->mtime.len ? !parse_time(p->mtime, &e->mtime_ns) : !octal(h + 136, 12, &mtime) || mtime > SECONDS_MOST)
		return bad_header(t, "its time is wrong", err);
	if (!p->mtime.len)
		e->mtime_ns = (int64_t)mtime * 1000000000;
	if (p->size.len ? !parse_number(p->size, &e->bytes) : !octal(h + 124, 12, &e->bytes))
		return bad_header(t, "its size is wrong", err);
	if (e->dir && e->bytes)
		return bad_header(t, "a directory with content", err);
	return SR_OK;
}

/* After two blocks of zeros there is nothing more. */
static enum sr_status check_end(struct sr_backup_tar *t, struct sr_err *err)
{
	uint8_t block[BLOCK];
	const void *more;
	enum sr_status rc = take_into(t, block, BLOCK, err);

	if (rc)
		return rc;
	if (!is_zero(block, BLOCK))
		return sr_err_set(err, SR_E_DATA, "damaged at byte %" PRIu64 " of the tar: its end is not its end", t->pos - BLOCK);
	rc = fill(t, err);
	if (!rc && (t->n || on_stream(t->stream, t, &more) != 0))
		return t->failed.code ? stream_fault(t, err) : sr_err_set(err, SR_E_DATA, "bytes follow its end");
	return rc ? rc : check_seal(t, err);
}

enum sr_status sr_backup_tar_next(struct sr_backup_tar *t, struct sr_backup_entry *e, bool *found, struct sr_err *err)
{
	struct pax pax = {0};
	uint64_t at;
	enum sr_status rc = check_padding(t, t->pad, err);

	t->pad = 0;
	if (rc)
		return rc;
	at = t->pos;
	if (!t->sealed)
		sr_sha256_mark(t->all, t->before);
	rc = next_block(t, err);
	*found = !rc && !is_zero(t->header, BLOCK);
	if (!rc && !*found)
		return check_end(t, err);
	if (!rc && t->header[156] == 'x')
		rc = read_pax(t, &pax, err);
	if (!rc)
		rc = take_header(t, &pax, e, err);
	sr_buf_free(&pax.text);
	e->at = at;
	t->left = e->bytes;
	t->pad = rc ? 0 : padding(e->bytes);
	return rc;
}

enum sr_status sr_backup_tar_read(struct sr_backup_tar *t, const uint8_t **at, size_t *n, struct sr_err *err)
{
	enum sr_status rc = t->left ? fill(t, err) : SR_OK;

	if (rc)
		return rc;
	*n = t->left < t->n ? (size_t)t->left : t->n;
	if (t->left && !*n)
		return truncated(t, err);
	*at = t->at;
	t->left -= *n;
	take(t, *n);
	return SR_OK;
}

void sr_backup_tar_sha256(struct sr_backup_tar *t, uint8_t out[SR_SHA256_LEN])
{
	memcpy(out, t->before, SR_SHA256_LEN);
	t->sealed = true;
}
