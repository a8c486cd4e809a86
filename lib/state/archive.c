/* archive.c - see archive.h.
 *
 * The order in which an entry comes to be, so that a crash leaves a whole one, a completable one, or none:
 *   1. ID.json.tmp written and fsynced; content not yet on its own in ID.data.tmp likewise
 *   2. a file that is to be moved here: fsync of it and of the directory, for from then on ID.json.tmp must be found
 *   3. the content renamed to ID.data; fsync of the directory
 *   4. ID.json.tmp renamed to ID.json; fsync of the directory
 * So ID.data is always whole and ID.json never without its ID.data.  ID.data beside ID.json.tmp is completed when the archive is opened;
 * any other part is a torn one whose original is still where it was, removed when it is an hour old (it may be at work in another process
 * before). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/state/archive_internal.h"
#include "lib/state/archive_json.h"

#define TORN_MS (3600 * 1000)

/* ---- names ---- */

struct sr_entry_id {
	char text[SR_ARCHIVE_ID];
	int64_t at_ms;
	uint64_t promised; /* bytes; see archive_internal.h */
};

/* Time first, then a number that rises within one millisecond: names in order are entries in order.  The clock may go back, ids do not. */
static struct sr_entry_id next_id(struct sr_archive *a)
{
	struct sr_entry_id id = {0};
	uint32_t number;
	struct tm tm;
	time_t seconds;
	char day[16] = "";

	pthread_mutex_lock(&a->mutex);
	id.at_ms = sr_now_ms();
	if (id.at_ms > a->last_ms) {
		a->last_ms = id.at_ms;
		sr_random(&number, sizeof(number));
		a->last_number = number >> 1; /* room to rise */
	} else if (++a->last_number == 0) {
		a->last_ms++;
	}
	id.at_ms = a->last_ms;
	number = a->last_number;
	pthread_mutex_unlock(&a->mutex);

	seconds = (time_t)(id.at_ms / 1000);
	gmtime_r(&seconds, &tm);
	strftime(day, sizeof(day), "%Y%m%dT%H%M%S", &tm);
	snprintf(id.text, sizeof(id.text), "%s.%03dZ-%08" PRIx32, day, (int)(id.at_ms % 1000), number);
	return id;
}

bool sr_archive_is_id(const char *text, size_t len)
{
	static const char shape[] = "ddddddddTdddddd.dddZ-xxxxxxxx";

	if (len != ID_LEN)
		return false;
	for (size_t i = 0; i < ID_LEN; i++) {
		bool digit = text[i] >= '0' && text[i] <= '9';
		bool fits = shape[i] == 'd' ? digit : shape[i] == 'x' ? digit || (text[i] >= 'a' && text[i] <= 'f') : text[i] == shape[i];

		if (!fits)
			return false;
	}
	return true;
}

static int64_t id_ms(const char *id)
{
	struct tm tm = {0};
	int ms = 0;

	sscanf(id, "%4d%2d%2dT%2d%2d%2d.%3d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &ms);
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	return (int64_t)timegm(&tm) * 1000 + ms;
}

void sr_archive_part(char out[NAME_SIZE], const char *id, const char *suffix)
{
	snprintf(out, NAME_SIZE, "%.*s%s", ID_LEN, id, suffix);
}

/* ---- writing ---- */

enum sr_status sr_archive_fault(const struct sr_archive *a, const char *name, struct sr_err *err)
{
	return sr_err_sys(err, SR_E_IO, "%s/%s", a->dir, name);
}

static enum sr_status sync_dir(const struct sr_archive *a, struct sr_err *err)
{
	return fsync(a->dirfd) == 0 ? SR_OK : sr_archive_fault(a, ".", err);
}

static bool write_all(int fd, const void *at, size_t n)
{
	const uint8_t *p = at;

	while (n) {
		ssize_t put = write(fd, p, n);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return false;
		p += put;
		n -= (size_t)put;
	}
	return true;
}

static int create(const struct sr_archive *a, const char *name)
{
	int fd = openat(a->dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd >= 0)
		(void)fchmod(fd, 0600); /* a umask can but take from it */
	return fd;
}

/* CONSUMES fd. */
static enum sr_status write_and_close(const struct sr_archive *a, const char *name, int fd, struct sr_bytes content, struct sr_err *err)
{
	enum sr_status status = SR_OK;

	if (!write_all(fd, content.at, content.len) || fsync(fd) != 0)
		status = sr_archive_fault(a, name, err);
	close(fd);
	return status;
}

static bool has_part(const struct sr_archive *a, const char *id, const char *suffix)
{
	char name[NAME_SIZE];

	sr_archive_part(name, id, suffix);
	return faccessat(a->dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT; /* not surely gone: there */
}

/* Whatever there is of a failed entry; content that was moved here has been moved back before. */
static void discard(const struct sr_archive *a, const char *id)
{
	static const char *const parts[] = {JSON TMP, JSON, DATA TMP, DATA};
	char name[NAME_SIZE];

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		sr_archive_part(name, id, parts[i]);
		(void)unlinkat(a->dirfd, name, 0);
	}
}

/* An id that nobody has, and its ID.json.tmp, created exclusively: from then on all parts of that id are ours. */
static enum sr_status claim(struct sr_archive *a, struct sr_entry_id *id, int *fd, struct sr_err *err)
{
	char name[NAME_SIZE];

	for (int tries = 0; tries < 16; tries++) {
		*id = next_id(a);
		sr_archive_part(name, id->text, JSON TMP);
		*fd = create(a, name);
		if (*fd < 0 && errno != EEXIST)
			return sr_archive_fault(a, name, err);
		if (*fd >= 0 && !has_part(a, id->text, JSON) && !has_part(a, id->text, DATA))
			return SR_OK;
		if (*fd >= 0) {
			close(*fd);
			(void)unlinkat(a->dirfd, name, 0);
		}
	}
	return sr_err_set(err, SR_E_IO, "%s: no name is free", a->dir);
}

static enum sr_status describe(struct sr_archive *a, struct sr_entry_id *id, const struct sr_loser *loser, uint64_t size,
			       const struct sr_bytes *record, struct sr_err *err)
{
	enum sr_status status;
	char *text, name[NAME_SIZE];
	int fd = -1;

	status = claim(a, id, &fd, err);
	if (status != SR_OK)
		return status;
	text = sr_archive_describe(id->text, id->at_ms, loser, size, record);
	sr_archive_part(name, id->text, JSON TMP);
	if (text) {
		status = write_and_close(a, name, fd, sr_bytes_of(text), err);
	} else {
		status = sr_err_set(err, SR_E_INTERNAL, "%s/%s: cannot be said in JSON", a->dir, name);
		close(fd);
	}
	if (status != SR_OK)
		discard(a, id->text);
	free(text);
	return status;
}

/* Step 1.  record: NULL, or a row's.  SR_OK: end_entry has to follow. */
static enum sr_status begin_entry(struct sr_archive *a, struct sr_entry_id *id, const struct sr_loser *loser, uint64_t size,
				  const struct sr_bytes *record, struct sr_err *err)
{
	uint64_t most = sr_archive_most(loser, size, record);
	enum sr_status status = sr_archive_promise(a, most, loser->beyond, err);

	if (status != SR_OK)
		return status;
	status = describe(a, id, loser, size, record, err);
	id->promised = most;
	if (status != SR_OK)
		sr_archive_keep(a, most, false, 0);
	return status;
}

/* Whatever came of it: even where it failed there may be an entry. */
static enum sr_status end_entry(struct sr_archive *a, const struct sr_entry_id *id, enum sr_status status)
{
	bool there = status == SR_OK || has_part(a, id->text, JSON);

	sr_archive_keep(a, id->promised, there, there ? sr_archive_entry_bytes(a, id->text) : 0);
	return status;
}

static enum sr_status rename_part(const struct sr_archive *a, const char *id, const char *from, const char *to, struct sr_err *err)
{
	char old[NAME_SIZE], new[NAME_SIZE];

	sr_archive_part(old, id, from);
	sr_archive_part(new, id, to);
	if (renameat(a->dirfd, old, a->dirfd, new) == 0)
		return SR_OK;
	if (errno == ENOENT && faccessat(a->dirfd, new, F_OK, 0) == 0)
		return SR_OK; /* another process opened the archive just now and completed the entry */
	return sr_archive_fault(a, new, err);
}

/* Step 4: from here on it is an entry. */
static enum sr_status publish(const struct sr_archive *a, const char *id, struct sr_err *err)
{
	enum sr_status status = rename_part(a, id, JSON TMP, JSON, err);

	return status == SR_OK ? sync_dir(a, err) : status;
}

/* ID.data.tmp is whole and durable: steps 3 and 4. */
static enum sr_status finish(const struct sr_archive *a, const char *id, struct sr_err *err)
{
	enum sr_status status = rename_part(a, id, DATA TMP, DATA, err);

	if (status == SR_OK)
		status = sync_dir(a, err);
	return status == SR_OK ? publish(a, id, err) : status;
}

enum sr_status sr_archive_record(struct sr_archive *a, const struct sr_loser *loser, struct sr_bytes record, struct sr_err *err)
{
	struct sr_entry_id id;
	enum sr_status status = begin_entry(a, &id, loser, record.len, &record, err);
	char name[NAME_SIZE];
	int fd;

	if (status != SR_OK)
		return status;
	sr_archive_part(name, id.text, DATA TMP);
	fd = create(a, name);
	status = fd < 0 ? sr_archive_fault(a, name, err) : write_and_close(a, name, fd, record, err);
	if (status == SR_OK)
		status = finish(a, id.text, err);
	if (status != SR_OK)
		discard(a, id.text);
	return end_entry(a, &id, status);
}

enum sr_status sr_archive_bare(struct sr_archive *a, const struct sr_loser *loser, struct sr_err *err)
{
	struct sr_entry_id id;
	enum sr_status status = begin_entry(a, &id, loser, 0, NULL, err);

	if (status != SR_OK)
		return status;
	status = publish(a, id.text, err);
	if (status != SR_OK)
		discard(a, id.text);
	return end_entry(a, &id, status);
}

/* ---- files ---- */

static enum sr_status copy_content(const struct sr_archive *a, const char *id, int from, struct sr_err *err)
{
	enum sr_status status = SR_OK;
	uint8_t *block = sr_alloc(65536);
	char name[NAME_SIZE];
	ssize_t got = 0;
	int fd;

	sr_archive_part(name, id, DATA TMP);
	fd = create(a, name);
	if (fd < 0) {
		status = sr_archive_fault(a, name, err);
		goto out;
	}
	while ((got = read(from, block, 65536)) > 0 || (got < 0 && errno == EINTR))
		if (got > 0 && !write_all(fd, block, (size_t)got)) {
			status = sr_archive_fault(a, name, err);
			goto out;
		}
	if (got < 0)
		status = sr_err_sys(err, SR_E_IO, "%s: read what is to be archived", a->dir);
	else if (fsync(fd) != 0)
		status = sr_archive_fault(a, name, err);
out:
	if (fd >= 0)
		close(fd);
	free(block);
	return status;
}

/* Step 2 and 3 by rename.  *crosses: it lies on another filesystem, nothing was done. */
static enum sr_status move_content(const struct sr_archive *a, const char *id, int fd, int dirfd, const char *name, bool *crosses,
				   struct sr_err *err)
{
	char data[NAME_SIZE];
	enum sr_status status;

	*crosses = false;
	sr_archive_part(data, id, DATA);
	if (fsync(fd) != 0)
		return sr_err_sys(err, SR_E_IO, "%s: fsync", name);
	status = sync_dir(a, err);
	if (status != SR_OK)
		return status;
	if (renameat(dirfd, name, a->dirfd, data) == 0) /* the id is ours: nothing is replaced */
		return sync_dir(a, err);
	if (errno == EXDEV)
		*crosses = true;
	else
		status = sr_archive_fault(a, data, err);
	return status;
}

/* Undo move_content; false: its content is still ID.data.  That and ID.json.tmp then stay, and are completed at the next open. */
static bool move_back(const struct sr_archive *a, const char *id, int dirfd, const char *name)
{
	char data[NAME_SIZE];

	sr_archive_part(data, id, DATA);
	return renameat2(a->dirfd, data, dirfd, name, RENAME_NOREPLACE) == 0 || !has_part(a, id, DATA);
}

static enum sr_status archive_moved(struct sr_archive *a, const struct sr_entry_id *id, int fd, int dirfd, const char *name, bool *crosses,
                                    struct sr_err *err)
{
	enum sr_status status = move_content(a, id->text, fd, dirfd, name, crosses, err);

	if (status == SR_OK && !*crosses)
		status = publish(a, id->text, err);
	if (status == SR_OK && !*crosses)
		(void)fchmod(
			fd,
			0600); /* last, for a file that goes back must be what it was; another's file we may not change, 0700 guards it */
	if (status != SR_OK && move_back(a, id->text, dirfd, name))
		discard(a, id->text);
	return status;
}

static enum sr_status archive_copied(struct sr_archive *a, const struct sr_entry_id *id, int fd, int dirfd, const char *name,
				     struct sr_err *err)
{
	enum sr_status status = copy_content(a, id->text, fd, err);

	if (status == SR_OK)
		status = finish(a, id->text, err);
	if (status != SR_OK) {
		discard(a, id->text);
		return status;
	}
	if (unlinkat(dirfd, name, 0) != 0 && errno != ENOENT)
		return sr_err_sys(err, SR_E_IO, "%s: archived, but cannot be removed", name);
	return SR_OK;
}

enum sr_status sr_archive_file(struct sr_archive *a, const struct sr_loser *loser, int dirfd, const char *name, struct sr_err *err)
{
	struct sr_entry_id id;
	enum sr_status status;
	bool crosses = true;
	struct stat st;
	int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return sr_err_sys(err, SR_E_IO, "archive %s", name);
	if (fstat(fd, &st) != 0) {
		status = sr_err_sys(err, SR_E_IO, "archive %s", name);
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		status = sr_err_set(err, SR_E_DATA, "archive %s: not a regular file", name);
		goto out;
	}
	status = begin_entry(a, &id, loser, (uint64_t)st.st_size, NULL, err);
	if (status != SR_OK)
		goto out;
	if (st.st_nlink == 1) /* another link to it would let what is archived be written to */
		status = archive_moved(a, &id, fd, dirfd, name, &crosses, err);
	if (status == SR_OK && crosses)
		status = archive_copied(a, &id, fd, dirfd, name, err);
	status = end_entry(a, &id, status);
out:
	close(fd);
	return status;
}

/* ---- opening ---- */

static void note_part(void *ctx, const struct sr_archive *a, const char *name, const char *suffix)
{
	(void)a;
	(void)suffix;
	sr_archive_ids_add(ctx, name);
}

/* Complete or remove what a crash left of an entry.  Nothing here may fail the opening: it is tried again next time. */
static void mend(const struct sr_archive *a, const char *id)
{
	struct sr_err err;

	if (has_part(a, id, JSON))
		return;
	if (has_part(a, id, DATA) && has_part(a, id, JSON TMP)) {
		if (publish(a, id, &err) != SR_OK)
			return;
	} else if (id_ms(id) < sr_now_ms() - TORN_MS) {
		discard(a, id);
	}
}

static enum sr_status mend_all(const struct sr_archive *a, struct sr_err *err)
{
	struct sr_archive_ids ids = {0};
	enum sr_status status = sr_archive_each_part(a, note_part, &ids, err);

	for (size_t i = 0; status == SR_OK && i < ids.n; i++)
		mend(a, ids.id[i]);
	sr_archive_ids_free(&ids);
	return status;
}

/* Make state_dir/archive, durably, and open it. */
static enum sr_status open_dir(struct sr_archive *a, const char *state_dir, struct sr_err *err)
{
	enum sr_status status = SR_OK;
	int above = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (above < 0)
		return sr_err_sys(err, errno == ENOENT ? SR_E_NOINPUT : SR_E_IO, "%s", state_dir);
	if (mkdirat(above, SR_ARCHIVE_DIRECTORY, 0700) == 0) {
		if (fchmodat(above, SR_ARCHIVE_DIRECTORY, 0700, 0) != 0 || fsync(above) != 0)
			status = sr_err_sys(err, SR_E_IO, "%s", a->dir);
	} else if (errno != EEXIST) {
		status = sr_err_sys(err, SR_E_IO, "%s", a->dir);
	}
	if (status == SR_OK) {
		a->dirfd = openat(above, SR_ARCHIVE_DIRECTORY, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (a->dirfd < 0)
			status = sr_err_sys(err, SR_E_IO, "%s", a->dir);
	}
	close(above);
	return status;
}

enum sr_status sr_archive_open(struct sr_archive **out, const char *state_dir, struct sr_err *err)
{
	struct sr_archive *a = sr_alloc(sizeof(*a));
	enum sr_status status;

	a->dir = sr_format("%s/" SR_ARCHIVE_DIRECTORY, state_dir);
	a->dirfd = -1;
	pthread_mutex_init(&a->mutex, NULL);
	status = open_dir(a, state_dir, err);
	if (status == SR_OK)
		status = mend_all(a, err);
	if (status == SR_OK)
		status = sr_archive_recount(a, err);
	if (status != SR_OK) {
		sr_archive_close(a);
		return status;
	}
	*out = a;
	return SR_OK;
}

void sr_archive_close(struct sr_archive *a)
{
	if (!a)
		return;
	if (a->dirfd >= 0)
		close(a->dirfd);
	pthread_mutex_destroy(&a->mutex);
	free(a->dir);
	free(a);
}
