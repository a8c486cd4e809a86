/* pack.h - what the files of this room share: a tar being written, and how a bundle's members look and hash. */
#ifndef SR_BUNDLE_PACK_H
#define SR_BUNDLE_PACK_H

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>

#include "lib/bundle/bundle.h"

#define SR_BUNDLE_MAGIC "sameroot-bundle 1\n"
#define SR_BUNDLE_KEY "key "                                         /* then the key's id in hex, a newline, the text header */
#define SR_BUNDLE_HEAD_FIXED (sizeof(SR_BUNDLE_MAGIC SR_BUNDLE_KEY) - 1 + 2 * SR_HASH_LEN + 1)
#define SR_BUNDLE_END_LEN (8 + 8 + SR_HASH_LEN)                      /* be64 frames, be64 data members, hash */
#define SR_BUNDLE_CHUNK 65536                                        /* content is read and written so much at a time */
#define SR_MEMBER_NAME 40

/* A tar stream on its way out. */
struct sr_pack {
	struct archive *tar;
	sr_bundle_write_fn *write;
	void *ctx;
	struct sr_err failed; /* code not SR_OK: it is over, and why */
};

/* COPIES nothing; `pack` must not move until it is freed. */
SR_MUST enum sr_status sr_pack_open(struct sr_pack *pack, bool zstd, sr_bundle_write_fn *write, void *ctx, struct sr_err *err);
/* The same, but each piece is handed on as it is made: after sr_pack_end_member all of the tar so far has been. */
SR_MUST enum sr_status sr_pack_open_exact(struct sr_pack *pack, sr_bundle_write_fn *write, void *ctx, struct sr_err *err);
/* No tar: what sr_pack_data is given is compressed, and that is all. */
SR_MUST enum sr_status sr_pack_open_zstd(struct sr_pack *pack, sr_bundle_write_fn *write, void *ctx, struct sr_err *err);
/* The thread's locale says what the bytes of a name mean: ASCII in any, other names need a UTF-8 one. */
SR_MUST enum sr_status sr_pack_header(struct sr_pack *pack, struct archive_entry *entry, struct sr_err *err);
SR_MUST enum sr_status sr_pack_data(struct sr_pack *pack, const void *at, size_t n, struct sr_err *err);
SR_MUST enum sr_status sr_pack_end_member(struct sr_pack *pack, struct sr_err *err); /* its padding */
SR_MUST enum sr_status sr_pack_close(struct sr_pack *pack, struct sr_err *err); /* the end-of-archive blocks */
void sr_pack_free(struct sr_pack *pack); /* writes nothing more */

/* A member with a name of any bytes but NUL, in a locale of this thread alone.  type: AE_IFREG or AE_IFDIR. */
SR_MUST enum sr_status sr_pack_locale(locale_t *out, struct sr_err *err); /* OWNED BY CALLER (freelocale) */
SR_MUST enum sr_status sr_pack_named(struct sr_pack *pack, locale_t utf8, struct sr_bytes name, unsigned type, uint16_t mode,
				     int64_t mtime_ns, uint64_t bytes, struct sr_err *err);

/* Up to n bytes of fd at `offset`; fewer: end of file, or not readable. */
size_t sr_pack_read_file(int fd, void *at, size_t n, uint64_t offset);

/* The header of a bundle's member: nothing of it depends on machine, user or time. */
SR_MUST enum sr_status sr_pack_member(struct sr_pack *pack, const char *name, uint64_t size, struct sr_err *err);
void sr_member_hash(struct sr_hasher *h, const char *name, uint64_t size); /* then its content, as it is */
void sr_member_name(char out[SR_MEMBER_NAME], uint64_t index, const char *kind);

#endif
