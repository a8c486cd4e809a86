/* internal.h - what store.c, files*.c and sqlite*.c share; nobody else includes it.
 *
 * Each kind embeds struct sr_store as the first member of its own struct and gives one table of operations, whose contracts are those of
 * store.h.  store.c dispatches and does nothing else. */
#ifndef SR_STORE_INTERNAL_H
#define SR_STORE_INTERNAL_H

#include <sys/types.h>

#include "lib/store/store.h"

struct sr_store_impl {
	/* Release what the kind owns; store.c then frees the common part and `st` itself. */
	void (*close)(struct sr_store *st);
	/* The outputs are zeroed before. */
	enum sr_presence (*look)(struct sr_store *st, struct sr_marker *marker, bool *has_content, char why[256]);
	enum sr_status (*create)(struct sr_store *st, struct sr_err *err);
	enum sr_status (*mark)(struct sr_store *st, const struct sr_marker *marker, struct sr_leaves *leaves, struct sr_err *err);
	enum sr_status (*check)(struct sr_store *st, struct sr_err *err); /* NULL: there is nothing to check */
	enum sr_status (*settle)(struct sr_store *st, struct sr_err *err); /* NULL: there is no log */
	/* NULL: there is no such thing, SR_OK and nothing moved. */
	enum sr_status (*shed_stale_wal)(struct sr_store *st, const struct sr_store_seen *seen, const struct sr_uuid *node, bool *moved, struct sr_err *err);
	bool (*doubtful)(struct sr_store *st, const struct sr_store_seen *seen); /* NULL: never */
	struct sr_store_seen (*seen)(struct sr_store *st);

	enum sr_status (*view_open)(struct sr_view **out, struct sr_store *st, enum sr_view_kind kind, struct sr_err *err);
	void (*view_close)(struct sr_view *v); /* frees v */
	enum sr_status (*view_scan)(struct sr_view *v, struct sr_nodes *nodes, const struct sr_hash *before, sr_signature_fn *changed,
	                            void *ctx,
	                            struct sr_scan *out, struct sr_err *err); /* *out is zeroed before; on failure store.c frees it */
	enum sr_status (*view_read)(struct sr_view *v, struct sr_bytes path, struct sr_content *out, struct sr_err *err);
	bool (*view_dangling)(struct sr_view *v, struct sr_bytes path, bool there); /* NULL: never */
	bool (*view_is_grown)(struct sr_view *v, struct sr_bytes path, struct sr_bytes record,
	                      const struct sr_version *from); /* NULL: never */
	enum sr_status (*view_copy)(struct sr_view *v, const char *path, struct sr_err *err); /* NULL: no such thing */
	bool (*view_blocks)(struct sr_view *v);                                               /* NULL: never */
	bool (*view_grow)(struct sr_view *v, struct sr_bytes path, struct sr_bytes record, struct sr_buf *out); /* NULL: never */
	bool (*view_carry)(struct sr_view *v, struct sr_bytes path, struct sr_bytes record, struct sr_buf *out); /* as is this */
	int64_t (*view_schema_version)(const struct sr_view *v); /* NULL: 0 */
	void (*remember)(struct sr_store *st, struct sr_bytes path, uint64_t signature); /* NULL: nothing to remember */

	bool (*is_quiet)(struct sr_store *st); /* of one that is to be watched; NULL: as sr_watch_is_quiet says */
	bool (*has_news)(struct sr_store *st); /* sr_watch_has_news says no; NULL: so it is */
	void (*grafted)(struct sr_store *st); /* NULL: nothing hangs on it */
	void (*taken)(struct sr_store *st);   /* likewise */
	void (*capture)(struct sr_store *st, enum sr_capture mode, int64_t full_ms); /* NULL: there are no rows */
	void (*capture_report)(const struct sr_store *st, struct sr_capture_report *out);
	void (*rots)(struct sr_store *st, bool any); /* NULL: nothing is cached */
	void (*reconsider)(struct sr_store *st); /* other exclusions: forget what was derived from the old ones; NULL: nothing is */

	enum sr_status (*apply_prepare)(struct sr_store *st, struct sr_leaves *leaves, const struct sr_marker *marker,
	                                const struct sr_apply_ops *ops, struct sr_err *err);
	enum sr_status (*apply_commit)(struct sr_store *st, struct sr_err *err);
	void (*apply_rollback)(struct sr_store *st); /* nothing prepared: no-op */
	int64_t (*apply_held_ms)(const struct sr_store *st);               /* NULL: 0 */
	size_t (*rank)(const struct sr_store *st, struct sr_bytes table); /* NULL: 0 */
	enum sr_status (*apply_recover)(struct sr_store *st, struct sr_leaves *leaves, const struct sr_marker *marker,
	                                const struct sr_apply_ops *ops, struct sr_err *err);
};

/* The common part: the options, OWNED copies. */
struct sr_store {
	const struct sr_store_impl *impl;
	char *name, *path;
	uint8_t kind;
	bool has_owner, has_group; /* else the kind's own default */
	uid_t owner;
	gid_t group;
	char **exclude;
	size_t excludes;
	uint64_t max_size, wal_limit;
	bool ours, alone;
	bool overwritten; /* another content was put into the file, beside the log of what was there */
	const struct sr_tree_key *key; /* BORROWED */
	struct sr_watch *watch; /* or NULL */
};

/* The common part of a view: first member of the kind's own struct. */
struct sr_view {
	struct sr_store *st;
	enum sr_view_kind kind;
	sr_stop_fn *stop; /* NULL: nobody is asked */
	void *stop_ctx;
};

/* Fill the common part of a zeroed `st` from the options (owner and group looked up).  On failure nothing is left to free but `st`. */
SR_MUST enum sr_status sr_store_init(struct sr_store *st, const struct sr_store_impl *impl, const struct sr_store_options *options,
                                     struct sr_err *err);

/* Each kind's maker: allocates its struct (sr_alloc), calls sr_store_init. */
SR_MUST enum sr_status sr_files_open(struct sr_store **out, const struct sr_store_options *options, struct sr_err *err);
SR_MUST enum sr_status sr_sqlite_open(struct sr_store **out, const struct sr_store_options *options, struct sr_err *err);

/* Append one unknown path (COPIES it into one allocation that sr_scan_free frees).  store.c sorts the list after the scan. */
void sr_scan_add_unknown(struct sr_scan *scan, struct sr_bytes path, enum sr_unknown_why why);

void sr_scan_sort_unknown(struct sr_scan *scan);

/* Add what another scan had listed. */
void sr_scan_copy_unknown(struct sr_scan *to, const struct sr_scan *from);

/* Make the directories above the store (0755), as for mkdir -p; they belong to Owner= and Group=, where given. */
SR_MUST enum sr_status sr_make_parents(const struct sr_store *st, struct sr_err *err);

#endif
