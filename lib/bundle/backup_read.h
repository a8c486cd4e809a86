/* backup_read.h - what reads a backup, and what takes it: backup_tar.c finds members, backup_order.c says whether they stand where they may,
 * backup_reader.c checks them, backup_extract.c puts them on disk.  One owner. */
#ifndef SR_BUNDLE_BACKUP_READ_H
#define SR_BUNDLE_BACKUP_READ_H

#include "lib/bundle/manifest.h"

/* --- backup_tar.c: a tar of our own profile, plain or with zstd, block by block --------------------------------------- */

struct sr_backup_tar; /* opaque */

struct sr_backup_entry {
	struct sr_buf path; /* raw, without a '/' at the end; any bytes but NUL */
	bool dir;
	uint16_t mode;
	int64_t mtime_ns;
	uint64_t bytes;
	uint64_t at; /* where its header begins in the tar */
};

SR_MUST enum sr_status sr_backup_tar_open(struct sr_backup_tar **out, const struct sr_backup_source *source, struct sr_err *err);
/* The next member (its content must have been read to the end); *found false: the end of the archive, and nothing follows.  SR_E_DATA:
 * damaged or cut short. */
SR_MUST enum sr_status sr_backup_tar_next(struct sr_backup_tar *t, struct sr_backup_entry *entry, bool *found, struct sr_err *err);
/* 1..*n bytes of its content, VALID UNTIL the next call; *n 0: its end. */
SR_MUST enum sr_status sr_backup_tar_read(struct sr_backup_tar *t, const uint8_t **at, size_t *n, struct sr_err *err);
/* The SHA-256 of the tar before the header of the member in hand. */
void sr_backup_tar_sha256(struct sr_backup_tar *t, uint8_t out[SR_SHA256_LEN]);
void sr_backup_tar_close(struct sr_backup_tar *t);

/* --- backup_order.c: which member may follow which; paths are raw ------------------------------------------------------ */

struct sr_backup_order { /* {0}; sr_backup_order_free */
	struct sr_buf last; /* the path before this one */
	bool last_dir;
	struct sr_buf dir; /* the directory that was entered last, or one above it */
	int marker;        /* of the store in hand: 1 its directory, 2 the marker has come */
	struct sr_buf stores; /* names, each with a NUL */
};
/* The next member.  NULL, or why it may not stand here. */
const char *sr_backup_order_next(struct sr_backup_order *o, struct sr_bytes path, bool dir);
/* The stores that came. */
bool sr_backup_order_has(const struct sr_backup_order *o, struct sr_bytes store);
size_t sr_backup_order_count(const struct sr_backup_order *o);
struct sr_bytes sr_backup_order_store(struct sr_bytes path); /* that the path is of; BORROWS path */
/* As of trees: a directory directly before what is below it. */
int sr_backup_order_cmp(struct sr_bytes a, struct sr_bytes b);
void sr_backup_order_free(struct sr_backup_order *o);

/* --- backup_reader.c --------------------------------------------------------------------------------------------------- */

/* Each is called in the order of the stream; the first failure ends the reading. */
struct sr_backup_sink {
	void *ctx;
	enum sr_status (*dir)(void *ctx, const struct sr_backup_entry *e, struct sr_err *err);
	enum sr_status (*begin)(void *ctx, const struct sr_backup_entry *e, struct sr_err *err); /* again: what came before was void */
	enum sr_status (*data)(void *ctx, const void *at, size_t n, struct sr_err *err);
	enum sr_status (*end)(void *ctx, const struct sr_backup_entry *e, struct sr_err *err);
	enum sr_status (*drop)(void *ctx, struct sr_bytes path, struct sr_err *err); /* void, and it did not come again */
};
/* sink NULL: only check. */
SR_MUST enum sr_status sr_backup_read(const struct sr_backup_source *source, const struct sr_backup_sink *sink, struct sr_backup_info *info,
				      struct sr_err *err);

#endif
