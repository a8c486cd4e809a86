/* archive_internal.h - what the archive's files share; nobody else includes it.
 *
 *   archive.c       writing entries; open, close      archive_list.c  listing, reading, removing
 *   archive_room.c  how much there is, and may be     archive_json.c  the text of ID.json */
#ifndef SR_STATE_ARCHIVE_INTERNAL_H
#define SR_STATE_ARCHIVE_INTERNAL_H

#include <pthread.h>
#include <sys/stat.h>

#include "lib/state/archive.h"

#define SR_ARCHIVE_DIRECTORY "archive"
#define DATA                 ".data"
#define JSON                 ".json"
#define TMP                  ".tmp"
#define ID_LEN               (SR_ARCHIVE_ID - 1)
#define ID_NUMBER            8 /* digits at its end */
#define NAME_SIZE            (ID_LEN + sizeof(JSON TMP))

struct sr_archive {
	char *dir;
	int dirfd;
	pthread_mutex_t mutex; /* guards all below */
	int64_t last_ms;
	uint32_t last_number;
	uint64_t generation; /* rises with every entry that comes or goes */

	uint64_t limit; /* bytes; 0: none */
	uint64_t entries, bytes;
	uint64_t promised; /* to entries in the making */
	uint64_t wanted;   /* by the last one that there was no room for; 0: there was, or nobody asked */
	int64_t full_ms;   /* since then */
	struct timespec counted; /* mtime of the directory at the last count */
};

/* archive.c */
void sr_archive_part(char out[NAME_SIZE], const char *id, const char *suffix);
enum sr_status sr_archive_fault(const struct sr_archive *a, const char *name, struct sr_err *err); /* by errno */
bool sr_archive_is_id(const char *text, size_t len);

/* archive_room.c */
/* An entry that takes `most` bytes at most is about to be made; `beyond`: whatever the limit says.  SR_E_ROOM. */
SR_MUST enum sr_status sr_archive_promise(struct sr_archive *a, uint64_t most, bool beyond, struct sr_err *err);
/* It is there, of `real` bytes; or it came to nothing. */
void sr_archive_keep(struct sr_archive *a, uint64_t most, bool there, uint64_t real);
/* Entries went. */
void sr_archive_lose(struct sr_archive *a, uint64_t entries, uint64_t bytes);
/* Read the directory. */
SR_MUST enum sr_status sr_archive_recount(struct sr_archive *a, struct sr_err *err);
uint64_t sr_archive_entry_bytes(const struct sr_archive *a, const char *id); /* both files, as they are */

/* archive_list.c */
/* Call fn for each part of an entry: its id (the first ID_LEN bytes of name) and its suffix.  Names of other shapes are not ours. */
typedef void sr_part_fn(void *ctx, const struct sr_archive *a, const char *name, const char *suffix);
SR_MUST enum sr_status sr_archive_each_part(const struct sr_archive *a, sr_part_fn *fn, void *ctx, struct sr_err *err);

#endif
