/* members.c - the list of a backup's members.  See manifest.h.
 *
 * A member is a string (varint length) that holds: byte dir | voided << 1, be16 mode, be64 mtime, be64 bytes, 32 bytes SHA-256, its path. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/bundle/manifest.h"

#define TAIL_MAX (1u << 20)
#define FIXED    (1 + 2 + 8 + 8 + SR_SHA256_LEN)
#define WINDOW   65536

struct sr_members {
	char *dir;
	int fd; /* -1: not spilled yet */
	uint64_t filed, count;
	struct sr_buf tail;
	uint64_t at;          /* where reading is */
	struct sr_buf window; /* the piece of the file that begins at window_at */
	uint64_t window_at;
};

struct sr_members *sr_members_new(const char *dir)
{
	struct sr_members *m = sr_alloc(sizeof *m);

	m->dir = sr_strdup(dir && *dir ? dir : sr_file_tmp());
	m->fd = -1;
	return m;
}

void sr_members_free(struct sr_members *m)
{
	if (!m)
		return;
	if (m->fd >= 0)
		close(m->fd);
	sr_buf_free(&m->tail);
	sr_buf_free(&m->window);
	free(m->dir);
	free(m);
}

uint64_t sr_members_count(const struct sr_members *m)
{
	return m->count;
}

/* --- writing -------------------------------------------------------------------------------------------------------- */

static enum sr_status spill(struct sr_members *m, struct sr_err *err)
{
	size_t done = 0;

	if (m->fd < 0)
		m->fd = sr_file_unlinked(m->dir);
	while (m->fd >= 0 && done < m->tail.len) {
		ssize_t n = pwrite(m->fd, m->tail.at + done, m->tail.len - done, (off_t)(m->filed + done));

		if (n < 0 && errno != EINTR)
			break;
		done += n > 0 ? (size_t)n : 0;
	}
	if (done < m->tail.len)
		return sr_err_sys(err, SR_E_IO, "%s: the list of members", m->dir);
	m->filed += m->tail.len;
	sr_buf_clear(&m->tail);
	return SR_OK;
}

enum sr_status sr_members_add(struct sr_members *m, const struct sr_backup_member *member, struct sr_err *err)
{
	if (m->count == SR_BACKUP_MEMBERS_MAX)
		return sr_err_set(err, SR_E_LIMIT, "backup: more than %d members", SR_BACKUP_MEMBERS_MAX);
	sr_buf_varint(&m->tail, FIXED + member->path.len);
	sr_buf_byte(&m->tail, (uint8_t)(member->dir | member->voided << 1));
	sr_buf_be16(&m->tail, member->mode);
	sr_buf_be64(&m->tail, (uint64_t)member->mtime_ns);
	sr_buf_be64(&m->tail, member->bytes);
	sr_buf_add(&m->tail, member->sha256, SR_SHA256_LEN);
	sr_buf_bytes(&m->tail, member->path);
	m->count++;
	return m->tail.len >= TAIL_MAX ? spill(m, err) : SR_OK;
}

/* --- reading -------------------------------------------------------------------------------------------------------- */

void sr_members_rewind(struct sr_members *m)
{
	m->at = 0;
	sr_buf_clear(&m->window);
	m->window_at = 0;
}

/* `n` bytes from m->at on, or all that there are in the file: a member never lies across file and tail. */
static enum sr_status look(struct sr_members *m, size_t n, struct sr_bytes *out, struct sr_err *err)
{
	size_t want = n > WINDOW ? n : WINDOW;
	ssize_t got;

	if (m->at >= m->filed) {
		size_t from = (size_t)(m->at - m->filed);

		*out = sr_bytes(m->tail.at + from, m->tail.len - from);
		return SR_OK;
	}
	if (m->at < m->window_at || m->at + n > m->window_at + m->window.len) {
		if (want > m->filed - m->at)
			want = (size_t)(m->filed - m->at);
		sr_buf_clear(&m->window);
		got = pread(m->fd, sr_buf_room(&m->window, want), want, (off_t)m->at);
		if (got != (ssize_t)want)
			return sr_err_sys(err, SR_E_IO, "%s: the list of members", m->dir);
		m->window.len = want;
		m->window_at = m->at;
	}
	*out = sr_bytes(m->window.at + (m->at - m->window_at), m->window.len - (size_t)(m->at - m->window_at));
	return SR_OK;
}

enum sr_status sr_members_next(struct sr_members *m, struct sr_backup_member *out, bool *found, struct sr_err *err)
{
	struct sr_bytes bytes;
	struct sr_reader in;
	size_t n, head;
	uint8_t flags;
	enum sr_status rc;

	*found = m->at < m->filed + m->tail.len;
	if (!*found)
		return SR_OK;
	rc = look(m, 10, &bytes, err);
	if (rc)
		return rc;
	in = sr_reader(bytes);
	n = (size_t)sr_read_varint(&in);
	head = in.pos;
	rc = look(m, head + n, &bytes, err);
	if (rc)
		return rc;
	in = sr_reader(sr_bytes(bytes.at + head, n));
	flags = sr_read_byte(&in);
	*out = (struct sr_backup_member){.dir = flags & 1, .voided = flags & 2};
	out->mode = sr_read_be16(&in);
	out->mtime_ns = (int64_t)sr_read_be64(&in);
	out->bytes = sr_read_be64(&in);
	memcpy(out->sha256, sr_read_bytes(&in, SR_SHA256_LEN).at, SR_SHA256_LEN);
	out->path = sr_read_bytes(&in, sr_read_left(&in));
	m->at += head + n;
	return SR_OK;
}
