/* archive_room.c - how much the archive holds, and may hold.  See archive.h, archive_internal.h.
 *
 * Counted once, when it is opened, and from then on with every entry that comes or goes.  What an operator removes by hand is seen when
 * there is no room: then the directory is read again, if it changed since the last time. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/state/archive_internal.h"
#include "lib/state/archive_json.h"

/* ID.json as it will be, but for what is not known before: of that the longest. */
uint64_t sr_archive_most(const struct sr_loser *loser, uint64_t size, const struct sr_bytes *record)
{
	struct sr_loser longest = *loser;
	uint64_t described = 0;
	char *text;

	longest.mtime_ns = INT64_MIN;
	longest.reason = "changed-while-applying";
	longest.winner = (struct sr_version){.kind = SR_KIND_FILE, .bytes = INT64_MAX};
	memset(&longest.winner.hash, 0xff, sizeof longest.winner.hash);
	text = sr_archive_describe("20261122T063000.123Z-0123abcd", 0, &longest, size, record);
	if (text)
		described = strlen(text);
	free(text);
	return size + described;
}

/* --- counting ---------------------------------------------------------------------------------------------------------- */

uint64_t sr_archive_entry_bytes(const struct sr_archive *a, const char *id)
{
	static const char *const parts[] = {JSON, DATA};
	uint64_t bytes = 0;
	char name[NAME_SIZE];
	struct stat st;

	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		sr_archive_part(name, id, parts[i]);
		if (fstatat(a->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			bytes += (uint64_t)st.st_size;
	}
	return bytes;
}

struct sums {
	uint64_t entries, bytes;
};

static void sum_part(void *ctx, const struct sr_archive *a, const char *name, const char *suffix)
{
	struct sums *sums = ctx;

	if (strcmp(suffix, JSON) != 0)
		return;
	sums->entries++;
	sums->bytes += sr_archive_entry_bytes(a, name);
}

/* With the mutex held, or alone. */
static enum sr_status count(struct sr_archive *a, struct sr_err *err)
{
	struct sums sums = {0};
	struct stat st;
	enum sr_status rc = SR_OK;

	if (fstat(a->dirfd, &st) != 0) /* before: what changes while it is read is seen the next time */
		return sr_archive_fault(a, ".", err);
	rc = sr_archive_each_part(a, sum_part, &sums, err);
	if (rc != SR_OK)
		return rc;
	if (a->entries != sums.entries)
		a->generation++;
	a->entries = sums.entries;
	a->bytes = sums.bytes;
	a->counted = st.st_mtim;
	return SR_OK;
}

enum sr_status sr_archive_recount(struct sr_archive *a, struct sr_err *err)
{
	enum sr_status rc;

	pthread_mutex_lock(&a->mutex);
	rc = count(a, err);
	pthread_mutex_unlock(&a->mutex);
	return rc;
}

/* --- room ---------------------------------------------------------------------------------------------------------------- */

static bool fits(const struct sr_archive *a, uint64_t most)
{
	uint64_t taken = a->bytes + a->promised;

	return !a->limit || (taken <= a->limit && most <= a->limit - taken);
}

/* While one is in the making, a count might see it and the sum get it again. */
static bool fits_now(struct sr_archive *a, uint64_t most)
{
	struct stat st;
	struct sr_err ignored;

	if (fits(a, most))
		return true;
	if (a->promised || fstat(a->dirfd, &st) != 0 || memcmp(&st.st_mtim, &a->counted, sizeof a->counted) == 0)
		return false;
	return count(a, &ignored) == SR_OK && fits(a, most);
}

static enum sr_status no_room(struct sr_archive *a, uint64_t most, struct sr_err *err)
{
	if (!a->wanted)
		a->full_ms = sr_now_ms();
	a->wanted = most;
	if (most > a->limit)
		return sr_err_set(err, SR_E_ROOM,
				  "what loses takes %" PRIu64 " bytes in the conflict archive %s, more than all of Conflict-Max-Bytes, %" PRIu64
				  ": raise it and reload",
				  most, a->dir, a->limit);
	return sr_err_set(err, SR_E_ROOM,
			  "the conflict archive %s is full: %" PRIu64 " entries, %" PRIu64 " bytes of Conflict-Max-Bytes, %" PRIu64
			  "; `sameroot conflicts list` and `sameroot conflicts remove` make room, or raise it and reload",
			  a->dir, a->entries, a->bytes, a->limit);
}

enum sr_status sr_archive_room(struct sr_archive *a, uint64_t most, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	pthread_mutex_lock(&a->mutex);
	if (!fits_now(a, most))
		rc = no_room(a, most, err);
	pthread_mutex_unlock(&a->mutex);
	return rc;
}

enum sr_status sr_archive_promise(struct sr_archive *a, uint64_t most, bool beyond, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	pthread_mutex_lock(&a->mutex);
	if (beyond || fits_now(a, most))
		a->promised += most;
	else
		rc = no_room(a, most, err);
	pthread_mutex_unlock(&a->mutex);
	return rc;
}

void sr_archive_keep(struct sr_archive *a, uint64_t most, bool there, uint64_t real)
{
	pthread_mutex_lock(&a->mutex);
	a->promised -= most;
	if (there) {
		a->entries++;
		a->bytes += real;
		a->generation++;
	}
	pthread_mutex_unlock(&a->mutex);
}

void sr_archive_lose(struct sr_archive *a, uint64_t entries, uint64_t bytes)
{
	pthread_mutex_lock(&a->mutex);
	a->entries -= entries < a->entries ? entries : a->entries;
	a->bytes -= bytes < a->bytes ? bytes : a->bytes;
	a->generation += entries > 0;
	pthread_mutex_unlock(&a->mutex);
}

void sr_archive_limit(struct sr_archive *a, uint64_t bytes)
{
	pthread_mutex_lock(&a->mutex);
	a->limit = bytes;
	pthread_mutex_unlock(&a->mutex);
}

void sr_archive_usage(struct sr_archive *a, struct sr_archive_usage *out)
{
	pthread_mutex_lock(&a->mutex);
	*out = (struct sr_archive_usage){.entries = a->entries, .bytes = a->bytes, .limit = a->limit, .generation = a->generation};
	pthread_mutex_unlock(&a->mutex);
}

enum sr_status sr_archive_is_full(struct sr_archive *a, int64_t *since_ms, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	pthread_mutex_lock(&a->mutex);
	if (a->wanted && fits(a, a->wanted))
		a->wanted = 0;
	if (a->wanted) {
		*since_ms = a->full_ms;
		rc = no_room(a, a->wanted, err);
	}
	pthread_mutex_unlock(&a->mutex);
	return rc;
}
