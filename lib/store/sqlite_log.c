/* sqlite_log.c - was a database file overwritten while its write-ahead log lay beside it?
 *
 * Format of the log: https://www.sqlite.org/fileformat2.html#walformat.  A header of 32 bytes, then frames: 24 bytes (number of the page at 0, salts
 * at 8) and a page.  The frames that count carry the header's salts. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/store/sqlite_internal.h"

#define LOG_HEADER   32
#define FRAME_HEADER 24

static uint32_t number_at(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static bool whole(int fd, void *out, size_t n, off_t at)
{
	return pread(fd, out, n, at) == (ssize_t)n;
}

/* *frames of the log, none of which is in the file. */
static bool nothing_of_it(int file, int log, size_t *frames)
{
	uint8_t header[LOG_HEADER], frame[FRAME_HEADER], *page;
	size_t size;
	bool none = true;

	*frames = 0;
	if (!whole(log, header, sizeof header, 0))
		return true;
	size = number_at(header + 8);
	if (size < 512 || size > 65536)
		return true;
	page = sr_alloc(2 * size);
	for (off_t at = LOG_HEADER; none && whole(log, frame, sizeof frame, at) && whole(log, page, size, at + FRAME_HEADER);
	     at += (off_t)(FRAME_HEADER + size)) {
		uint32_t number = number_at(frame);

		if (!number || memcmp(frame + 8, header + 16, 8) != 0)
			break; /* of an older log */
		++*frames;
		none = !whole(file, page + size, size, (off_t)(number - 1) * (off_t)size) || memcmp(page, page + size, size) != 0;
	}
	free(page);
	return none;
}

bool sr_sql_overwritten(const struct sr_store *st)
{
	char *name = sr_format("%s-wal", st->path);
	int file = open(st->path, O_RDONLY | O_CLOEXEC), log = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	size_t frames = 0;
	bool yes = file >= 0 && log >= 0 && nothing_of_it(file, log, &frames) && frames;

	if (file >= 0)
		close(file);
	if (log >= 0)
		close(log);
	free(name);
	return yes;
}
