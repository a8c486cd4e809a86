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
#include "lib/state/archive.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/state/archive_json.h"

#define DIRECTORY "archive"
#define DATA ".data"
#define JSON ".json"
#define TMP ".tmp"
#define ID_LEN 29 /* 20261122T063000.123Z-0123abcd */
#define NAME_SIZE (ID_LEN + sizeof(JSON TMP))
#define TORN_MS (3600 * 1000)
#define SETTLED_MS 2000
#define JSON_FILE_MAX (64u << 20) /* bytes of a .json that is read back; many more than are ever written */

struct sr_sums {
	uint64_t entries, bytes;
};

struct sr_counted {
	bool valid;
	struct timespec mtime; /* of the directory: each entry that comes or goes changes it */
	struct sr_sums sums;
};

struct sr_archive {
	char *dir;
	int dirfd;
	pthread_mutex_t mutex; /* guards what is below */
	int64_t last_ms;
	uint32_t last_number;
	struct sr_counted counted; /* the last count, as long as the directory is what it was */
};

/* ---- names ---- */

struct sr_entry_id {
	char text[ID_LEN + 1];
	int64_t at_ms;
};

/* Time first, then a number that rises within one millisecond: names in order are entries in order.  The clock may go back, ids do not. */
static struct sr_entry_id next_id(struct sr_archive *a)
{
	struct sr_entry_id id;
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

static bool is_id(const char *text, size_t len)
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

static void part(char out[NAME_SIZE], const char *id, const char *suffix)
{
	snprintf(out, NAME_SIZE, "%.*s%s", ID_LEN, id, suffix);
}

/* ---- writing ---- */

static enum sr_status fault(const struct sr_archive *a, const char *name, struct sr_err *err)
{
	return sr_err_sys(err, SR_E_IO, "%s/%s", a->dir, name);
}

static enum sr_status sync_dir(const struct sr_archive *a, struct sr_err *err)
{
	return fsync(a->dirfd) == 0 ? SR_OK : fault(a, ".", err);
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
		status = fault(a, name, err);
	close(fd);
	return status;
}

static bool has_part(const struct sr_archive *a, const char *id, const char *suffix)
{
	char name[NAME_SIZE];

	part(name, id, suffix);
	return faccessat(a->dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT; /* not surely gone: there */
}

/* Whatever there is of a failed entry; content that was moved here has been moved back before. */
static void discard(const struct sr_archive *a, const char *id)
{
	static const char *const parts[] = {JSON TMP, JSON, DATA TMP, DATA};
	char name[NAME_SIZE];

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		part(name, id, parts[i]);
		(void)unlinkat(a->dirfd, name, 0);
	}
}

/* An id that nobody has, and its ID.json.tmp, created exclusively: from then on all parts of that id are ours. */
static enum sr_status claim(struct sr_archive *a, struct sr_entry_id *id, int *fd, struct sr_err *err)
{
	char name[NAME_SIZE];

	for (int tries = 0; tries < 16; tries++) {
		*id = next_id(a);
		part(name, id->text, JSON TMP);
		*fd = create(a, name);
		if (*fd < 0 && errno != EEXIST)
			return fault(a, name, err);
		if (*fd >= 0 && !has_part(a, id->text, JSON) && !has_part(a, id->text, DATA))
			return SR_OK;
		if (*fd >= 0) {
			close(*fd);
			(void)unlinkat(a->dirfd, name, 0);
		}
	}
	return sr_err_set(err, SR_E_IO, "%s: no name is free", a->dir);
}

/* Step 1.  record: NULL, or a row's. */
static enum sr_status begin_entry(struct sr_archive *a, struct sr_entry_id *id, const struct sr_loser *loser, uint64_t size,
                                  const struct sr_bytes *record, struct sr_err *err)
{
	enum sr_status status;
	char *text, name[NAME_SIZE];
	int fd = -1;

	status = claim(a, id, &fd, err);
	if (status != SR_OK)
		return status;
	text = sr_archive_describe(id->text, id->at_ms, loser, size, record);
	part(name, id->text, JSON TMP);
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

static enum sr_status rename_part(const struct sr_archive *a, const char *id, const char *from, const char *to, struct sr_err *err)
{
	char old[NAME_SIZE], new[NAME_SIZE];

	part(old, id, from);
	part(new, id, to);
	if (renameat(a->dirfd, old, a->dirfd, new) == 0)
		return SR_OK;
	if (errno == ENOENT && faccessat(a->dirfd, new, F_OK, 0) == 0)
		return SR_OK; /* another process opened the archive just now and completed the entry */
	return fault(a, new, err);
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
	part(name, id.text, DATA TMP);
	fd = create(a, name);
	status = fd < 0 ? fault(a, name, err) : write_and_close(a, name, fd, record, err);
	if (status == SR_OK)
		status = finish(a, id.text, err);
	if (status != SR_OK)
		discard(a, id.text);
	return status;
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
	return status;
}

/* ---- files ---- */

static enum sr_status copy_content(const struct sr_archive *a, const char *id, int from, struct sr_err *err)
{
	enum sr_status status = SR_OK;
	uint8_t *block = sr_alloc(65536);
	char name[NAME_SIZE];
	ssize_t got = 0;
	int fd;

	part(name, id, DATA TMP);
	fd = create(a, name);
	if (fd < 0) {
		status = fault(a, name, err);
		goto out;
	}
	while ((got = read(from, block, 65536)) > 0 || (got < 0 && errno == EINTR))
		if (got > 0 && !write_all(fd, block, (size_t)got)) {
			status = fault(a, name, err);
			goto out;
		}
	if (got < 0)
		status = sr_err_sys(err, SR_E_IO, "%s: read what is to be archived", a->dir);
	else if (fsync(fd) != 0)
		status = fault(a, name, err);
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
	part(data, id, DATA);
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
		status = fault(a, data, err);
	return status;
}

/* Undo move_content; false: its content is still ID.data.  That and ID.json.tmp then stay, and are completed at the next open. */
static bool move_back(const struct sr_archive *a, const char *id, int dirfd, const char *name)
{
	char data[NAME_SIZE];

	part(data, id, DATA);
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
out:
	close(fd);
	return status;
}

/* ---- listing ---- */

struct sr_ids {
	char (*at)[ID_LEN + 1];
	size_t n, cap;
};

static int compare_ids(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void add_id(struct sr_ids *ids, const char *id)
{
	if (ids->n == ids->cap) {
		ids->cap = ids->cap ? 2 * ids->cap : 64;
		ids->at = sr_realloc(ids->at, ids->cap * sizeof(ids->at[0]));
	}
	memcpy(ids->at[ids->n], id, ID_LEN);
	ids->at[ids->n++][ID_LEN] = '\0';
}

/* Call fn for each part of an entry: its id (the first ID_LEN bytes of name) and its suffix.  Names of other shapes are not ours. */
typedef void sr_part_fn(void *ctx, const struct sr_archive *a, const char *name, const char *suffix);
static enum sr_status each_part(const struct sr_archive *a, sr_part_fn *fn, void *ctx, struct sr_err *err)
{
	enum sr_status status = SR_OK;
	struct dirent *d;
	DIR *dir;
	int fd = openat(a->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* an own position */

	if (fd < 0)
		return fault(a, ".", err);
	dir = fdopendir(fd);
	if (!dir) {
		status = fault(a, ".", err);
		close(fd);
		return status;
	}
	while (errno = 0, (d = readdir(dir)))
		if (strlen(d->d_name) > ID_LEN && is_id(d->d_name, ID_LEN))
			fn(ctx, a, d->d_name, d->d_name + ID_LEN);
	if (errno)
		status = fault(a, ".", err);
	closedir(dir);
	return status;
}

static void note_entry(void *ctx, const struct sr_archive *a, const char *name, const char *suffix)
{
	(void)a;
	if (strcmp(suffix, JSON) == 0)
		add_id(ctx, name);
}

/* *gone: it is no more. */
static enum sr_status read_json(const struct sr_archive *a, const char *name, struct sr_buf *text, bool *gone, struct sr_err *err)
{
	int fd = openat(a->dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	enum sr_status status = SR_OK;
	ssize_t got;

	*gone = fd < 0 && errno == ENOENT;
	if (fd < 0)
		return *gone ? SR_OK : fault(a, name, err);
	sr_buf_clear(text);
	do {
		got = read(fd, sr_buf_room(text, 8192), 8192);
		if (got > 0)
			text->len += (size_t)got;
	} while ((got > 0 && text->len <= JSON_FILE_MAX) || (got < 0 && errno == EINTR));
	if (got != 0)
		status = got < 0 ? fault(a, name, err) : sr_err_set(err, SR_E_DATA, "%s/%s: too large", a->dir, name);
	close(fd);
	return status;
}

static const char *member(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static bool fill(struct sr_archived *entry, const json_t *object, struct sr_buf *raw)
{
	const char *hex = member(object, "path_hex");
	size_t n = hex ? strlen(hex) / 2 : 0;

	entry->store = member(object, "store");
	entry->path = member(object, "path");
	entry->reason = member(object, "reason");
	entry->when = member(object, "when");
	entry->kind = member(object, "kind");
	entry->size = (uint64_t)json_integer_value(json_object_get(object, "size"));
	if (!hex || !entry->store || !entry->path || !entry->reason || !entry->when || !entry->kind)
		return false;
	sr_buf_clear(raw);
	if (!sr_unhex(sr_buf_room(raw, n), n, sr_bytes_of(hex)))
		return false;
	raw->len = n;
	entry->raw_path = sr_buf_view(raw);
	return true;
}

static enum sr_status visit(struct sr_archive *a, const char *id, struct sr_buf *text, struct sr_buf *raw, sr_archived_fn *fn, void *ctx,
                            struct sr_err *err)
{
	struct sr_archived entry = {.id = id};
	enum sr_status status;
	json_t *object;
	char name[NAME_SIZE];
	bool gone;

	part(name, id, JSON);
	status = read_json(a, name, text, &gone, err);
	if (status != SR_OK || gone) /* the operator has removed it since */
		return status;
	object = json_loadb((const char *)text->at, text->len, JSON_ALLOW_NUL, NULL);
	if (object && fill(&entry, object, raw))
		status = fn(ctx, &entry, err);
	else
		status = sr_err_set(err, SR_E_DATA, "%s/%s: not what was written there", a->dir, name);
	json_decref(object);
	return status;
}

enum sr_status sr_archive_each(struct sr_archive *a, sr_archived_fn *fn, void *ctx, struct sr_err *err)
{
	struct sr_buf text = {0}, raw = {0};
	struct sr_ids ids = {0};
	enum sr_status status = each_part(a, note_entry, &ids, err);

	if (ids.n)
		qsort(ids.at, ids.n, sizeof(ids.at[0]), compare_ids);
	for (size_t i = 0; status == SR_OK && i < ids.n; i++)
		status = visit(a, ids.at[i], &text, &raw, fn, ctx, err);
	sr_buf_free(&text);
	sr_buf_free(&raw);
	free(ids.at);
	return status;
}

static void sum_part(void *ctx, const struct sr_archive *a, const char *name, const char *suffix)
{
	struct sr_sums *sums = ctx;
	char data[NAME_SIZE];
	struct stat st;

	if (strcmp(suffix, JSON) != 0)
		return;
	sums->entries++;
	part(data, name, DATA);
	if (fstatat(a->dirfd, data, &st, AT_SYMLINK_NOFOLLOW) == 0)
		sums->bytes += (uint64_t)st.st_size;
}

/* Times of files are coarse: a directory that changed a moment ago may change again and keep its time. */
static bool has_settled(const struct timespec *mtime)
{
	return (int64_t)mtime->tv_sec * 1000 + mtime->tv_nsec / 1000000 + SETTLED_MS < sr_now_ms();
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

enum sr_status sr_archive_count(struct sr_archive *a, uint64_t *entries, uint64_t *bytes, struct sr_err *err)
{
	struct sr_counted counted = {0};
	enum sr_status status = SR_OK;
	bool settled, known;
	struct stat st;

	if (fstat(a->dirfd, &st) != 0)
		return fault(a, ".", err);
	settled = has_settled(&st.st_mtim);
	pthread_mutex_lock(&a->mutex);
	known = a->counted.valid && same_time(&a->counted.mtime, &st.st_mtim);
	if (known)
		counted = a->counted;
	pthread_mutex_unlock(&a->mutex);
	if (!known)
		status = each_part(a, sum_part, &counted.sums, err);
	if (status != SR_OK)
		return status;
	*entries = counted.sums.entries;
	*bytes = counted.sums.bytes;
	if (known || !settled)
		return SR_OK;
	counted.valid = true;
	counted.mtime = st.st_mtim;
	pthread_mutex_lock(&a->mutex);
	a->counted = counted;
	pthread_mutex_unlock(&a->mutex);
	return SR_OK;
}

enum sr_status sr_archive_data(struct sr_archive *a, const char *id, int *fd, struct sr_err *err)
{
	char name[NAME_SIZE];
	int got;

	if (!is_id(id, strlen(id)))
		return sr_err_set(err, SR_E_NOTFOUND, "%.64s: not the id of an archived version", id);
	part(name, id, JSON);
	if (faccessat(a->dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) != 0)
		return sr_err_set(err, SR_E_NOTFOUND, "%s: no such archived version", id);
	part(name, id, DATA);
	got = openat(a->dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (got < 0 && errno == ENOENT)
		return sr_err_set(err, SR_E_NOTFOUND, "%s: it has no content", id);
	if (got < 0)
		return fault(a, name, err);
	*fd = got;
	return SR_OK;
}

/* ---- opening ---- */

static void note_part(void *ctx, const struct sr_archive *a, const char *name, const char *suffix)
{
	(void)a;
	(void)suffix;
	add_id(ctx, name);
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
	struct sr_ids ids = {0};
	enum sr_status status = each_part(a, note_part, &ids, err);

	for (size_t i = 0; status == SR_OK && i < ids.n; i++)
		mend(a, ids.at[i]);
	free(ids.at);
	return status;
}

/* Make state_dir/archive, durably, and open it. */
static enum sr_status open_dir(struct sr_archive *a, const char *state_dir, struct sr_err *err)
{
	enum sr_status status = SR_OK;
	int above = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (above < 0)
		return sr_err_sys(err, errno == ENOENT ? SR_E_NOINPUT : SR_E_IO, "%s", state_dir);
	if (mkdirat(above, DIRECTORY, 0700) == 0) {
		if (fchmodat(above, DIRECTORY, 0700, 0) != 0 || fsync(above) != 0)
			status = sr_err_sys(err, SR_E_IO, "%s", a->dir);
	} else if (errno != EEXIST) {
		status = sr_err_sys(err, SR_E_IO, "%s", a->dir);
	}
	if (status == SR_OK) {
		a->dirfd = openat(above, DIRECTORY, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
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

	a->dir = sr_format("%s/" DIRECTORY, state_dir);
	a->dirfd = -1;
	pthread_mutex_init(&a->mutex, NULL);
	status = open_dir(a, state_dir, err);
	if (status == SR_OK)
		status = mend_all(a, err);
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
