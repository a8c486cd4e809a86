/* backup.h - a backup: a node's stores as of one root in one pax tar that plain tar extracts, written and read in one pass.
 *
 * The format is sameroot-backup(5).  Members come in this order:
 *   users.db                 a store that is a database: one whole SQLite file, which carries a marker (below)
 *   resources/ resources/... a store that is a directory tree: directories and files with modes and times, names of any bytes
 *   manifest.json            what it is, of which root, what is not in it, and every member before it with its SHA-256
 *   SHA256SUMS               for sha256sum -c: every file before it
 * It may be compressed with zstd; a reader sees by itself.  Members of a store rise in the order of their paths, each below a directory
 * that is there.  A file that changed while it was written comes at once again, and the manifest marks the earlier one as void.  Nothing
 * else may be in it, and without its last member it is truncated.
 *
 * Every store in it carries a marker whose id and node are no node's, and the (instance, epoch, seq) of the backup: whoever puts the
 * store in place by hand has a store of unknown base as of then, never "ours, and older".
 *
 * Threads: everything here belongs to one thread at a time.  Never logs, never exits.  Memory does not grow with what is in it: the list of
 * members lies in an unlinked temporary file beyond 1 MiB (100 to 200 bytes a member). */
#ifndef SR_BUNDLE_BACKUP_H
#define SR_BUNDLE_BACKUP_H

#include "lib/base/door.h"
#include "lib/bundle/bundle.h"

#define SR_BACKUP_MANIFEST "manifest.json"
#define SR_BACKUP_SUMS     "SHA256SUMS"

struct sr_backup_store {
	char *name;   /* as in the configuration: "users.db", "resources", ... */
	uint8_t kind; /* SR_KIND_FILES or SR_KIND_DATABASE */
	uint64_t leaves, bytes;
	struct sr_hash map; /* of the tree */
};

struct sr_backup_left_out {
	char *path; /* as sr_leaf_path_text: "resources/img/a%20b.png"; a whole store: its name */
	char *why;
	bool missing; /* `root` has it, and this backup does not: the store's map is not what is here */
};

struct sr_backup_info { /* the manifest; sr_backup_info_free when done */
	char *role;    /* "datastore" or "webserver" */
	char *version; /* of the program that wrote it */
	struct sr_uuid node, instance; /* instance none: that webserver never reached a datastore */
	uint64_t epoch, seq;           /* datastore: of `root`; webserver: as_of, the last (epoch, seq) that it was in step with */
	struct sr_hash root, key_id;
	int64_t taken_ms;
	struct sr_backup_store *stores; /* those that are in it */
	size_t n;
	struct sr_backup_left_out *left_out; /* SR_BACKUP_NAMED of them at most */
	size_t left_out_n;
	uint64_t left_out_count, missing_count; /* all of them */
};
#define SR_BACKUP_NAMED 1000
void sr_backup_info_free(struct sr_backup_info *info); /* and back to {0} */
/* COPIES. */
void sr_backup_leave_out(struct sr_backup_info *info, const char *path, const char *why, bool missing);

/* --- in ----------------------------------------------------------------------------------------------------------- */

/* Where a backup comes from; {0} but for `file` will do. */
struct sr_backup_source {
	const char *file;        /* a path, or "-": standard input */
	sr_bundle_read_fn *read; /* or NULL; instead of `file`, which then only names it in errors */
	void *read_ctx;
	const char *spool; /* where the unlinked list of members is made; NULL: $TMPDIR or /tmp */
	/* How far it is: bytes of the file read, of so many (0: not known).  NULL: nobody asks. */
	void (*progress)(void *ctx, uint64_t done, uint64_t total);
	/* Each thing that is wrong: the member's path, percent-encoded as in the manifest ("" for the backup as a whole), and what.  NULL: the first ends the reading. */
	void (*fault)(void *ctx, const char *path, const char *what);
	void *ctx; /* for both */
};

/* Read it all and check every member against the manifest, the manifest against what is there, and every other byte of the tar.  *info is
 * filled on SR_OK.  SR_E_NOINPUT: there is no such file.  SR_E_DATA: damaged, truncated, or not a backup: *err names the first fault.
 * SR_E_LIMIT: a name, list or nesting beyond all reason. */
SR_MUST enum sr_status sr_backup_verify(const struct sr_backup_source *source, struct sr_backup_info *info, struct sr_err *err);

/* The same, and what `wanted` says yes to (NULL: every store) is left as directory/<store name>: a database file or a directory tree, with
 * modes, times and marker, owned by the caller, durable.  `directory` is there already, and holds no such name (SR_E_CONFLICT).  Until
 * everything is proven it lies below directory/.sameroot-extract, which a failure, or the next call, removes: on failure nothing is left.
 * Before the end of the backup nobody knows its manifest: who has to know first what is in it, verifies first. */
typedef bool sr_backup_wanted_fn(void *ctx, const char *store, uint8_t kind);
SR_MUST enum sr_status sr_backup_extract(const struct sr_backup_source *source, const char *directory, sr_backup_wanted_fn *wanted,
					 void *wanted_ctx, struct sr_backup_info *info, struct sr_err *err);

/* --- out ---------------------------------------------------------------------------------------------------------- */

/* Can a store of this name be in a backup? */
bool sr_backup_store_name(struct sr_bytes name);

struct sr_backup_writer;
/* BORROWS ctx for the writer's life; spool as above. */
SR_MUST enum sr_status sr_backup_writer_new(struct sr_backup_writer **out, bool zstd, const char *spool, sr_bundle_write_fn *write, void *ctx,
					    struct sr_err *err);
/* `path` is within the tar: the store's name, and '/' between components; in the order that a reader expects. */
SR_MUST enum sr_status sr_backup_add_dir(struct sr_backup_writer *w, struct sr_bytes path, uint16_t mode, int64_t mtime_ns,
					 struct sr_err *err);
/* A file of exactly `bytes` bytes: sr_backup_add_data gives them, and sr_backup_end_file ends it: ok false marks it as void, and it may be
 * added again. */
SR_MUST enum sr_status sr_backup_begin_file(struct sr_backup_writer *w, struct sr_bytes path, uint16_t mode, int64_t mtime_ns, uint64_t bytes,
					    struct sr_err *err);
SR_MUST enum sr_status sr_backup_add_data(struct sr_backup_writer *w, const void *at, size_t n, struct sr_err *err);
SR_MUST enum sr_status sr_backup_end_file(struct sr_backup_writer *w, bool ok, struct sr_err *err);
/* The manifest and the sums.  Only sr_backup_writer_free may follow. */
SR_MUST enum sr_status sr_backup_finish(struct sr_backup_writer *w, const struct sr_backup_info *info, struct sr_err *err);
/* Instead, when it cannot be finished: a reader then says why.  Nothing to do when it was the stream that failed. */
void sr_backup_fail(struct sr_backup_writer *w, const struct sr_err *why);
void sr_backup_writer_free(struct sr_backup_writer *w); /* NULL is a no-op; unfinished: the backup stays truncated */

#endif
