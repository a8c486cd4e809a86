/* archive.h - the conflict archive: every losing version, kept until the operator removes it.
 *
 * The directory `archive` below the state directory; per entry ID.json (who, what, when, why) and ID.data (a file's content, or a row's
 * canonical record).  Layout: sameroot-state(5).  Ids begin with the time and rise within it, so that their order is that of the entries.
 * Durable when a call returns SR_OK; when it does not, what was to be archived is where it was.  Safe for one process with several threads,
 * readable by others at any time (an entry appears whole: .data first, .json renamed into place).
 * SR_E_FULL, SR_E_IO: the disk; the text names the file.  SR_E_ROOM: there is no room within the limit; the text says how to make some, and
 * nothing was changed. */
#ifndef SR_STATE_ARCHIVE_H
#define SR_STATE_ARCHIVE_H

#include "lib/base/door.h"
#include "lib/leaf/leaf.h"

struct sr_archive;

#define SR_ARCHIVE_ID 30 /* with the NUL: 20261122T063000.123Z-0123abcd */

/* state_dir must exist (SR_E_NOINPUT).  What a crash left of an entry is completed where that lost nothing, else removed when an hour old.
 */
SR_MUST enum sr_status sr_archive_open(struct sr_archive **out, const char *state_dir, struct sr_err *err);
void sr_archive_close(struct sr_archive *a); /* CONSUMES a; NULL is a no-op */

/* So many bytes, of both files of every entry; 0, as at first: no limit.  From any thread.  What is there stays. */
void sr_archive_limit(struct sr_archive *a, uint64_t bytes);

struct sr_loser { /* what is archived; all BORROWED */
	const char *store;
	uint8_t store_kind;
	struct sr_bytes path;
	struct sr_version version;
	int64_t mtime_ns;          /* FILE */
	const char *reason;        /* one word from a fixed list: "edited-both", "edited-deleted", "union", "kind", "changed-while-applying", "child-of-deleted", "unique", "mirror", "restored-over" */
	struct sr_version winner;  /* what stands instead */
	bool beyond;               /* the limit, for it is out of its place already: what a crash left */
};

/* Before a step that will archive several: is there room for so many bytes?  (SR_E_ROOM.)  An entry takes sr_archive_most at most, and
 * hardly less.  record: a row's, else NULL; reason, winner and mtime_ns of the loser need not be known yet. */
uint64_t sr_archive_most(const struct sr_loser *loser, uint64_t size, const struct sr_bytes *record);
SR_MUST enum sr_status sr_archive_room(struct sr_archive *a, uint64_t most, struct sr_err *err);

/* A row.  Its columns are also shown in ID.json when the record decodes. */
SR_MUST enum sr_status sr_archive_record(struct sr_archive *a, const struct sr_loser *loser, struct sr_bytes record, struct sr_err *err);
/* The regular file `name` in dirfd: renamed into the archive when on one filesystem and without other links, else copied, fsynced and
 * unlinked. SR_E_DATA: not a regular file. */
SR_MUST enum sr_status sr_archive_file(struct sr_archive *a, const struct sr_loser *loser, int dirfd, const char *name, struct sr_err *err);
/* A directory, or anything without content. */
SR_MUST enum sr_status sr_archive_bare(struct sr_archive *a, const struct sr_loser *loser, struct sr_err *err);

struct sr_archived { /* VALID during the call */
	const char *id, *store, *path /* text form */, *reason, *when /* RFC 3339 UTC */;
	struct sr_bytes raw_path;
	uint64_t size;
	const char *kind; /* "row", "file", "dir", "table" */
	struct sr_version version, winner;
	int64_t mtime_ns;     /* FILE */
	struct sr_bytes text; /* all of ID.json */
};
typedef enum sr_status sr_archived_fn(void *ctx, const struct sr_archived *entry, struct sr_err *err);
/* Oldest first; those that are there when it begins.  fn may add to the archive and remove from it; other than SR_OK ends the listing and
 * is returned. SR_E_DATA: an ID.json is not what was written there. */
SR_MUST enum sr_status sr_archive_each(struct sr_archive *a, sr_archived_fn *fn, void *ctx, struct sr_err *err);
/* Of one; SR_E_NOTFOUND. */
SR_MUST enum sr_status sr_archive_one(struct sr_archive *a, const char *id, sr_archived_fn *fn, void *ctx, struct sr_err *err);

/* The id that begins with `given`, or ends with it if those are its eight digits.  SR_E_NOTFOUND; SR_E_USAGE: there are several. */
SR_MUST enum sr_status sr_archive_find(struct sr_archive *a, const char *given, char id[SR_ARCHIVE_ID], struct sr_err *err);

struct sr_archive_ids { /* {0} at first; sr_archive_ids_free when done */
	char (*id)[SR_ARCHIVE_ID];
	size_t n, cap;
};
/* All of them, in order, without looking into any. */
SR_MUST enum sr_status sr_archive_ids(struct sr_archive *a, struct sr_archive_ids *out, struct sr_err *err);
void sr_archive_ids_add(struct sr_archive_ids *ids, const char *id);
void sr_archive_ids_free(struct sr_archive_ids *ids);
/* Entries and their content, durably.  One that is not there is fine. */
SR_MUST enum sr_status sr_archive_remove(struct sr_archive *a, const struct sr_archive_ids *ids, struct sr_err *err);

struct sr_archive_usage {
	uint64_t entries, bytes; /* of both files of each */
	uint64_t limit;          /* 0: none */
	uint64_t generation;     /* another number: entries came or went */
};
/* Kept in memory: costs nothing.  From any thread. */
void sr_archive_usage(struct sr_archive *a, struct sr_archive_usage *out);
/* SR_E_ROOM, with its text, while there is no room for what was last to come here and did not fit.  From any thread, at once. */
SR_MUST enum sr_status sr_archive_is_full(struct sr_archive *a, int64_t *since_ms, struct sr_err *err);
/* A descriptor of the content (record bytes or file bytes); OWNED BY CALLER (close).  SR_E_NOTFOUND: no such entry, or it has no content.
 */
SR_MUST enum sr_status sr_archive_data(struct sr_archive *a, const char *id, int *fd, struct sr_err *err);

#endif
