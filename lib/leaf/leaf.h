/* leaf.h - one item on its way: what a bundle carries, a store applies and state.db remembers.
 *
 * An item is a file, directory, table or row; see hashtree/tree.h for paths and versions.  The codec is canonical: equal
 * leaves are equal bytes, and what encoding would not have produced is refused.  Decoding checks everything that can be
 * checked without a store: sizes, kinds, modes, flags, and the path by sr_leaf_path_check, for the kinds tell files from
 * databases.
 *
 * Leaf:    string path, varint flags, version expect, version to, version base (only with SR_LEAF_MERGED), be64 mtime_ns (only if
 *          expect or to is a FILE),
 *          varint epoch, varint seq, varint since_epoch, varint since_seq (both only with SR_LEAF_SINCE), string from (only with SR_LEAF_FROM),
 *          string record, string stage, varint inode.
 * Version: byte kind, then  NONE: nothing;  FILE: varint mode, varint bytes, hash;  DIR: varint mode;
 *          ROW: varint bytes, hash;  TABLE: hash.
 *
 * Pure, but for the spool's file; never logs.  A struct sr_leaves belongs to one thread at a time. */
#ifndef SR_LEAF_LEAF_H
#define SR_LEAF_LEAF_H

#include "hashtree/tree.h"

#define SR_PATH_MAX 65535 /* bytes of a path within a store */

/* The name under which a database's schema text travels: SQLite reserves it, so no table has it. */
#define SR_SCHEMA_PATH "sqlite_master"

enum {
	SR_LEAF_UNION = 1,   /* base was unknown: see design section 7; epoch, seq say as of when */
	SR_LEAF_EDITED = 2,  /* with UNION: known to be edited since its hint.  A TABLE: it is another since both agreed on `expect` */
	SR_LEAF_ARCHIVE = 4, /* a planned loser: what is displaced goes to the conflict archive, even if expected */
	SR_LEAF_VOID = 8,    /* in a spool: its content changed while it was sent (in a bundle the .void member says so) */
	SR_LEAF_APPROVED = 16, /* the operator let this deletion through.  A TABLE: it may lose columns */
	SR_LEAF_GONE = 32,     /* in a bundle that answers: `expect` was asked for and is no longer readable */
	SR_LEAF_PARENTLESS = 64, /* the sender's own database holds the foreign-key violation that this row, or its deletion, makes */
	SR_LEAF_MERGED = 128,    /* `to` was made here of both sides' changes; `base` is what the datastore has */
	SR_LEAF_SINCE = 256,     /* with UNION: not edited, and since when the sender has it is known */
	SR_LEAF_FROM = 512,      /* a FILE without content: the receiver has it at another path, `from` */
};
#define SR_LEAF_FLAGS 1023 /* all of them: another is refused */

struct sr_leaf {
	struct sr_bytes path;
	struct sr_version expect; /* what has to be there before */
	struct sr_version to;     /* what is there afterwards; SR_KIND_NONE: nothing */
	struct sr_version base;   /* with SR_LEAF_MERGED; else not looked at */
	int64_t mtime_ns;         /* FILE; dropped by the codec where no version is one */
	uint32_t flags;           /* SR_LEAF_* */
	uint64_t epoch, seq;      /* as_of */
	uint64_t since_epoch, since_seq; /* with SR_LEAF_SINCE; else not looked at */
	struct sr_bytes from;     /* with SR_LEAF_FROM; else not looked at */
	struct sr_bytes record;   /* ROW: its record (to.hash is its hash) or empty; SR_SCHEMA_PATH: schema text (see lib/store/store.h) */
	struct sr_bytes stage;    /* FILE: name of its content in the store's staging, or empty */
	uint64_t inode;           /* of the staged file: evidence after a crash */
};

/* Of two points of one datastore's history, is the first the later one? */
static inline bool sr_is_later(uint64_t epoch, uint64_t seq, uint64_t epoch2, uint64_t seq2)
{
	return epoch > epoch2 || (epoch == epoch2 && seq > seq2);
}

/* Append the leaf to out.  It is the caller's to give one that sr_leaf_decode takes. */
void sr_leaf_encode(struct sr_buf *out, const struct sr_leaf *leaf);
/* *out BORROWS `in`.  SR_E_DATA names the path and the fault. */
SR_MUST enum sr_status sr_leaf_decode(struct sr_bytes in, struct sr_leaf *out, struct sr_err *err);
/* The same of what this process encoded itself: the form is checked, not the path, nor what the fields say of each other. */
SR_MUST enum sr_status sr_leaf_decode_own(struct sr_bytes in, struct sr_leaf *out, struct sr_err *err);

/* May this path be in a store of `kind`?  Files: components of 1 to 255 bytes, none ".", ".." or ".sameroot" at the top, no '/', no NUL but
 * the separators, SR_DEPTH_MAX deep at most.  Databases: TABLE or TABLE NUL KEY; no sqlite_* but SR_SCHEMA_PATH, no _sameroot_* (in any
 * case of letters); the key decodes. */
SR_MUST enum sr_status sr_leaf_path_check(uint8_t store_kind, struct sr_bytes path, struct sr_err *err);

/* A *bag* is what rows without a key are in: those of a table without a primary key, and those with NULL in theirs.  Equal rows are one leaf.  Its
 * key is (NULL, BLOB: the hash of the record), its version has that hash, and `bytes` says how many such rows there are. */
bool sr_path_is_bag(struct sr_bytes path);
bool sr_key_is_bag(struct sr_bytes key); /* what stands behind the path's NUL */
#define SR_BAG_KEY_LEN (4 + SR_HASH_LEN)
void sr_bag_key(struct sr_buf *out, const struct sr_hash *record);

/* Is it the name under which a database's schema text travels?  It is no item of the tree.  A file may be called so. */
bool sr_path_is_schema(uint8_t store_kind, struct sr_bytes path);

/* Is the ROW's record what leaf->to says it is? */
bool sr_leaf_record_is(const struct sr_leaf *leaf, const struct sr_tree_key *key);

/* Does the item have content that has to be fetched? */
bool sr_leaf_has_content(const struct sr_leaf *leaf);

/* For people and JSON: "users.db/users/4711", "resources/img/a%20b.png", of a bag '*' and its hash, "users.db/log/(*3f2a...)" without the
 * brackets.  Appended to out; any bytes are taken. */
void sr_leaf_path_text(struct sr_buf *out, const char *store, uint8_t store_kind, struct sr_bytes path);

/* Does `path` equal `top` or lie below it?  All lies below an empty top. */
bool sr_path_under(struct sr_bytes path, struct sr_bytes top);

/* --- a spool of leaves: in memory while small, in an unlinked file beyond 1 MiB --------------------------------- */

/* 8 bytes a leaf in memory, and 1 MiB; a sort takes 16 more a leaf, some 10 MiB, 64 KiB for each 8 MiB of leaves, and in the directory twice as much room
 * more while it lasts. */
struct sr_leaves;
/* dir: where the unlinked file is made (NULL: never spill).  COPIES dir. */
struct sr_leaves *sr_leaves_new(const char *dir);
void sr_leaves_free(struct sr_leaves *l); /* NULL is a no-op */
/* COPIES leaf.  Not SR_OK: it was not added, the others are still there. */
SR_MUST enum sr_status sr_leaves_add(struct sr_leaves *l, const struct sr_leaf *leaf, struct sr_err *err);
size_t sr_leaves_count(const struct sr_leaves *l);
/* Leaf i < count; *out is VALID UNTIL the next sr_leaves call. */
SR_MUST enum sr_status sr_leaves_at(struct sr_leaves *l, size_t i, struct sr_leaf *out, struct sr_err *err);
/* Leaf *at, which goes on by one; *more false: that was none. */
SR_MUST enum sr_status sr_leaves_next(struct sr_leaves *l, size_t *at, struct sr_leaf *out, bool *more, struct sr_err *err);
/* Of a sorted spool: *at is the place of the leaf at `path`, which is in *out as sr_leaves_at gives it; sr_leaves_count when there is none.
 * To look for paths in rising order, or nearly so, costs a few comparisons each. */
SR_MUST enum sr_status sr_leaves_find(struct sr_leaves *l, struct sr_bytes path, size_t *at, struct sr_leaf *out, struct sr_err *err);
/* Sort by path (memcmp order: parents first).  SR_E_DATA when two leaves have one path; the order is then as it was. */
SR_MUST enum sr_status sr_leaves_sort(struct sr_leaves *l, struct sr_err *err);

#endif
