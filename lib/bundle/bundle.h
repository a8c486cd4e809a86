/* bundle.h - a bundle: leaves and their content as a pax tar stream, in and out, in constant memory.
 *
 * The format is sameroot-bundle(5).  Members come in this order, named by index, never by path:
 *   "sameroot"         the head: version, key id, and the sender's text header (a small JSON object: push id, epoch, ...)
 *   "NNNNNNNN.leaves"  frames: varint length, then: string store name, byte content (0 or 1), leaf (lib/leaf codec); about 256 KiB a member
 *   "NNNNNNNN.data"    the content of the file whose frame is the last of the .leaves member before; size is the frame's to.bytes
 *   "NNNNNNNN.void"    after a .data whose file changed while it was read: that leaf is void
 *   "end"              counts of frames and data members and the keyed hash of everything before it; without it a bundle is truncated
 * zstd when asked.  This is the only room that includes libarchive.
 *
 * Threads: a writer or reader belongs to one thread at a time.  The locale is nobody's business here: a bundle's names are
 * plain ASCII, and the tar for people sets its own for its thread alone.  Never logs, never exits.
 * Memory: under 1 MiB and one frame; with zstd, its window as well (2 MiB from our own writer, 128 MiB at the very most). */
#ifndef SR_BUNDLE_BUNDLE_H
#define SR_BUNDLE_BUNDLE_H

#include "lib/leaf/leaf.h"

#define SR_BUNDLE_HEAD_MAX 65536 /* bytes of a text header */
#define SR_BUNDLE_SMALL (1u << 20) /* bytes of a frame for which there is always room */

/* --- out ---------------------------------------------------------------------------------------------------------- */

/* Takes all n bytes, or fails. */
typedef enum sr_status sr_bundle_write_fn(void *ctx, const void *at, size_t n, struct sr_err *err);
struct sr_bundle_writer;
/* head: the text header, COPIED.  BORROWS key and ctx for the writer's life.  SR_E_LIMIT: the head is too long. */
SR_MUST enum sr_status sr_bundle_writer_new(struct sr_bundle_writer **out, const struct sr_tree_key *key, const char *head, bool zstd,
                                            sr_bundle_write_fn *write, void *ctx, struct sr_err *err);
/* Add a leaf; its stage, inode and SR_LEAF_VOID stay here.  A FILE to be carried with content (content_fd >= 0, BORROWED until this
 * returns, its offset neither used nor moved) is read to exactly leaf->to.bytes, hashed on the way; when it is not leaf->to.hash, or
 * longer or shorter by now, or cannot be read, the leaf is marked void in the stream and SR_OK returned with *voided = true (voided may
 * be NULL without content).  SR_E_CHANGED: a ROW whose record is not its to.hash; nothing was written and the writer goes on.  Any other
 * failure is the stream's, and final. */
SR_MUST enum sr_status sr_bundle_add(struct sr_bundle_writer *w, const char *store, const struct sr_leaf *leaf, int content_fd,
                                     bool *voided, struct sr_err *err);
/* Write the end marker.  Only sr_bundle_writer_free may follow. */
SR_MUST enum sr_status sr_bundle_finish(struct sr_bundle_writer *w, struct sr_err *err);
void sr_bundle_writer_free(struct sr_bundle_writer *w); /* NULL is a no-op; without sr_bundle_finish the bundle stays truncated */

/* --- in ----------------------------------------------------------------------------------------------------------- */

/* Give up to n bytes into at; *got 0 is the end, after which it is not called again. */
typedef enum sr_status sr_bundle_read_fn(void *ctx, void *at, size_t n, size_t *got, struct sr_err *err);

struct sr_bundle_limits { /* each an inclusive maximum; UINT64_MAX: none */
	uint64_t bytes;   /* of the whole stream, decompressed */
	uint64_t leaves;
	uint64_t file;    /* of one file */
	uint64_t frame;   /* of one frame */
	const char *bytes_key, *leaves_key; /* what an operator calls them; NULL: nothing */
	/* May so many bytes of a frame, more than SR_BUNDLE_SMALL and than it was asked for before, be in memory at once?  Asked before they are.  Not SR_OK: it
	 * ends the reading.  NULL: they may. */
	enum sr_status (*room)(void *ctx, uint64_t bytes, struct sr_err *err);
	void *room_ctx;
};

struct sr_bundle_reader;
/* Reads and checks the head; sr_bundle_head gives its text.  COPIES limits; BORROWS key and ctx for the reader's life. */
SR_MUST enum sr_status sr_bundle_reader_new(struct sr_bundle_reader **out, const struct sr_tree_key *key,
                                            const struct sr_bundle_limits *limits, sr_bundle_read_fn *read,
                                            void *ctx, struct sr_err *err);
/* VALID UNTIL the reader is freed.  Not proven before sr_bundle_read has returned SR_OK. */
const char *sr_bundle_head(const struct sr_bundle_reader *r);

/* What the reader hands its owner, in stream order.  A call that fails ends the reading with its status and error. */
struct sr_bundle_sink {
	void *ctx;
	/* One leaf (BORROWED for the call).  When it has content, begin/data/end follow for it before the next leaf's content (in frame
	 * order, not right away).  A row's record has been checked; the paths are right for some store of the versions' kind: whether it
	 * is this store, the owner checks. */
	enum sr_status (*leaf)(void *ctx, const char *store, const struct sr_leaf *leaf, bool has_content, struct sr_err *err);
	enum sr_status (*begin)(void *ctx, const char *store, const struct sr_leaf *leaf, struct sr_err *err);
	enum sr_status (*data)(void *ctx, const void *at, size_t n, struct sr_err *err);
	/* ok false: void, drop it.  The reader has checked size and hash when ok. */
	enum sr_status (*end)(void *ctx, const char *store, const struct sr_leaf *leaf, bool ok, struct sr_err *err);
};
/* Read to the end marker and to the end of the stream (nothing may follow); once a reader.  SR_E_DATA: malformed, truncated, trailing
 * bytes, a hash that is wrong, a row whose record is not its hash, or any byte that the writer would have written otherwise; SR_E_LIMIT
 * names the limit.  What the sink was given before a failure is to be thrown away. */
SR_MUST enum sr_status sr_bundle_read(struct sr_bundle_reader *r, const struct sr_bundle_sink *sink, struct sr_err *err);
void sr_bundle_reader_free(struct sr_bundle_reader *r); /* NULL is a no-op */

/* --- for people --------------------------------------------------------------------------------------------------- */

/* A plain tar with real names: files as files with mode and mtime, directories, each table as one member <store>/<table>.jsonl (a JSON
 * object a row).  Names are bytes, any but NUL, and come out of tar as they went in.  SR_E_DATA: a name that no file can have; nothing
 * was written.  Directories carry the time of writing, for nothing remembers theirs. */
struct sr_tar_writer;
SR_MUST enum sr_status sr_tar_writer_new(struct sr_tar_writer **out, sr_bundle_write_fn *write, void *ctx,
                                         struct sr_err *err); /* BORROWS ctx */
SR_MUST enum sr_status sr_tar_add_dir(struct sr_tar_writer *w, struct sr_bytes name, uint16_t mode, struct sr_err *err);
/* Reads exactly `bytes` from fd's start, its offset neither used nor moved (a file that shrank is filled with zeros and SR_E_CHANGED
 * returned at the end of the member, the tar staying well formed). */
SR_MUST enum sr_status sr_tar_add_file(struct sr_tar_writer *w, struct sr_bytes name, uint16_t mode, int64_t mtime_ns, uint64_t bytes,
                                       int fd, struct sr_err *err);
SR_MUST enum sr_status sr_tar_add_bytes(struct sr_tar_writer *w, struct sr_bytes name, uint16_t mode, int64_t mtime_ns,
                                        struct sr_bytes content, struct sr_err *err);
SR_MUST enum sr_status sr_tar_finish(struct sr_tar_writer *w, struct sr_err *err);
void sr_tar_writer_free(struct sr_tar_writer *w);

/* One row's record as a JSON object text on one line, appended to out: text that is UTF-8 as strings, integers exact, reals so that they
 * read back equal (an infinity as {"real": "Infinity"}), other bytes as {"hex": "..."}.  A column name that is not UTF-8 is
 * percent-encoded. */
SR_MUST enum sr_status sr_record_json(struct sr_buf *out, struct sr_bytes record, struct sr_err *err);

#endif
