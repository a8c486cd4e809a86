/* manifest.h - the members of a backup as they were written or read, and the texts that are made of them: manifest.json and SHA256SUMS.
 * Writer and reader make the same bytes of the same members, so that reading is comparing. */
#ifndef SR_BUNDLE_MANIFEST_H
#define SR_BUNDLE_MANIFEST_H

#include "lib/base/sha256.h"
#include "lib/bundle/backup.h"

#define SR_BACKUP_FORMAT      1
#define SR_BACKUP_HEAD_MAX    (4u << 20)   /* bytes of the manifest before its members */
#define SR_BACKUP_LINE_MAX    (512u << 10) /* of one member's line */
#define SR_BACKUP_MEMBERS_MAX 50000000     /* beyond all reason */
#define SR_BACKUP_FAILED      "FAILED"     /* the last member of a backup that could not be finished: why */
#define SR_BACKUP_MARKER_DIR  ".sameroot"  /* in a directory tree; holds "marker" and nothing else */

/* What ends a compressed backup: a frame that zstd skips, with the SHA-256 of all compressed bytes before it.  zstd's own bytes have bits that say
 * nothing, and the tar is the same whatever they are. */
#define SR_BACKUP_SEAL     "\x50\x2a\x4d\x18\x20\0\0\0"
#define SR_BACKUP_SEAL_LEN (8 + SR_SHA256_LEN)

struct sr_backup_member {
	struct sr_bytes path; /* raw, '/' between components, none at the end */
	bool dir, voided;
	uint16_t mode;
	int64_t mtime_ns;
	uint64_t bytes;                /* files */
	uint8_t sha256[SR_SHA256_LEN]; /* files */
};

/* A list that is written once and read in order, any number of times; beyond 1 MiB in an unlinked file in `dir` (NULL: $TMPDIR or /tmp). */
struct sr_members;
struct sr_members *sr_members_new(const char *dir); /* COPIES */
void sr_members_free(struct sr_members *m);         /* NULL is a no-op */
SR_MUST enum sr_status sr_members_add(struct sr_members *m, const struct sr_backup_member *member, struct sr_err *err); /* COPIES */
uint64_t sr_members_count(const struct sr_members *m);
void sr_members_rewind(struct sr_members *m);
/* The next one, VALID UNTIL the next call; *found false: no more. */
SR_MUST enum sr_status sr_members_next(struct sr_members *m, struct sr_backup_member *out, bool *found, struct sr_err *err);

/* The manifest is `head`, then a line for each member, then `tail`.  tar_bytes, tar_sha256: of all of the tar before the manifest. */
void sr_manifest_head(struct sr_buf *out, const struct sr_backup_info *info, uint64_t tar_bytes, const uint8_t tar_sha256[SR_SHA256_LEN]);
void sr_manifest_line(struct sr_buf *out, const struct sr_backup_member *member, bool first); /* the first without ",\n" in front */
#define SR_MANIFEST_TAIL "\n]\n}\n"
#define SR_MANIFEST_MEMBERS "\"members\": [\n" /* ends the head */
SR_MUST enum sr_status sr_manifest_parse(struct sr_bytes head, struct sr_backup_info *info, uint64_t *tar_bytes,
					 uint8_t tar_sha256[SR_SHA256_LEN], struct sr_err *err);
/* A line of SHA256SUMS, as coreutils writes it. */
void sr_sums_line(struct sr_buf *out, struct sr_bytes path, const uint8_t sha256[SR_SHA256_LEN]);

#endif
