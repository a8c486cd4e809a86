/* tree.h - the Merkle tree: nodes, maps, stores, the difference of two roots.
 *
 * A *map* is a history-independent trie from name to entry: a bucket node of at most SR_BUCKET_MAX entries sorted by
 * name, or an inner node of up to 256 children chosen by the next byte of the keyed hash of the name; a prefix is an
 * inner node exactly when more than SR_BUCKET_MAX entries share it.  The same set gives the same bytes, whatever the order
 * of inserts and deletes.  A map's top node also carries the map's attributes (a table's schema fingerprint), under the hash.
 *
 * A *store map* nests maps: file stores DIR in DIR, databases TABLE in the store.  The *root map* holds the stores.
 * Leaf and byte counts are under the hash; a file, a row and an empty directory are one leaf each; an empty table is none.
 *
 * A node, as bytes (the format of sameroot-tree(5)); *number*: a varint, LEB128 in its shortest form; *string*: a number and so many bytes:
 *
 *     byte    0x10 bucket, 0x11 inner: version 1 in the high half
 *     string  attributes, at most 255 bytes; empty but in the top node of a table's map: there the fingerprint, 16 bytes
 *     number  how many follow: 0 to 256 entries, or 1 to 256 children; a bucket below the top is never empty
 *
 *     entry, in rising memcmp order of the names:
 *       string  name: 1 to 65535 bytes; no NUL except in a row's; a file's or directory's has no '/' and is not "." or ".."
 *       byte    kind, see enum sr_kind
 *       number  mode, at most 0777; only for kinds FILE and DIR
 *       hash    16 bytes, not all zero: FILE content, ROW record, else the top node of the map below
 *       number  leaves: FILE and ROW 1; DIR at least 1; else what is below
 *       number  bytes: FILE its size, ROW the length of its record, else the sum of what is below
 *
 *     child, in rising order of the bytes:
 *       byte    the next byte of the place of every name below: of the keyed hash of the name
 *       hash    16 bytes, not all zero
 *       number  entries below, at least 1; those of all children together are more than 256
 *       number  leaves
 *       number  bytes
 *
 * A node's hash is that of all its bytes.  Sums stop at 2^64 - 1 instead of wrapping.
 *
 * Paths within a store are components joined by NUL: "img\0logo.png", "users\0<key>".  In a database only the first NUL
 * separates (a key may hold any byte); memcmp order is then tree order: a parent directly before what is below it.
 *
 * Pure: bytes in, bytes out.  Not thread-safe: the owner of a struct sr_nodes locks, or lends its lock (sr_nodes_guard). */
#ifndef SR_HASHTREE_TREE_H
#define SR_HASHTREE_TREE_H

#include "hashtree/hash.h"

#define SR_BUCKET_MAX 256
#define SR_NODE_MAX (17u << 20) /* bytes; a larger encoded node is refused; SR_BUCKET_MAX of the longest names fit */
#define SR_NAME_MAX 65535       /* bytes of one entry's name on the wire: longer keys are stood in for by the store (see store.h) */
#define SR_DEPTH_MAX 2048       /* components in a path */

enum sr_kind {
	SR_KIND_NONE = 0, /* absent */
	SR_KIND_FILE = 1,
	SR_KIND_DIR = 2,
	SR_KIND_ROW = 3,
	SR_KIND_TABLE = 4,
	SR_KIND_FILES = 5,    /* a store: a directory tree */
	SR_KIND_DATABASE = 6, /* a store: a SQLite database */
};

/* One version of one item, as the planner compares it. */
struct sr_version {
	uint8_t kind;        /* enum sr_kind; SR_KIND_NONE: absent, all else zero */
	uint16_t mode;       /* FILE, DIR: mode & 0777; else 0 */
	uint64_t bytes;      /* FILE: size; ROW: record length; else 0 */
	struct sr_hash hash; /* FILE: content; ROW: record; TABLE: schema fingerprint; DIR: zero */
};
/* Stops at the largest number, which keeps sums independent of their order. */
uint64_t sr_count_add(uint64_t a, uint64_t b);
bool sr_version_eq(const struct sr_version *a, const struct sr_version *b);

/* An entry of a map, as it stands in a node.  For DIR, TABLE and stores `hash` is the top node of their own map. */
struct sr_entry {
	struct sr_bytes name; /* BORROWED */
	uint8_t kind;
	uint16_t mode;
	struct sr_hash hash;
	uint64_t leaves, bytes;
};

/* --- nodes ------------------------------------------------------------------------------------------------------ */

struct sr_node { /* a decoded node; everything BORROWS the encoded bytes, arrays OWNED (sr_node_free) */
	bool inner;
	struct sr_bytes attrs; /* only in the top node of a map */
	uint64_t leaves, bytes;
	struct sr_entry *entries; /* bucket: sorted by name */
	size_t n;
	struct sr_child {
		uint8_t byte;
		struct sr_hash hash;
		uint64_t entries, leaves, bytes; /* of the whole subtree below */
	} *children; /* inner: sorted by byte */
};

/* Decode and check everything that can be checked without other nodes: order, shortest varints, known kinds, counts,
 * modes, non-zero hashes, sizes, nothing left over.  SR_E_DATA names the fault. */
SR_MUST enum sr_status sr_node_decode(struct sr_bytes in, struct sr_node *out, struct sr_err *err);
void sr_node_free(struct sr_node *node);

/* A content-addressed set of encoded nodes; equal nodes are held once, whichever tree they belong to.  A node that no held root reaches -
 * as all have just been that were built, edited or put - stays until the next sweep: hold a root before sweeping, and the wanted root
 * before a walk, even though it is not here yet. */
struct sr_nodes;
struct sr_nodes *sr_nodes_new(const struct sr_tree_key *key); /* COPIES key */
void sr_nodes_free(struct sr_nodes *s);
const struct sr_tree_key *sr_nodes_key(const struct sr_nodes *s);
/* So many leaves a tree may have at most that comes from outside [no limit]: Max-Leaves. */
void sr_nodes_limit(struct sr_nodes *s, uint64_t leaves);
uint64_t sr_nodes_most(const struct sr_nodes *s);

/* Take a node that came from outside: it is decoded, and its hash must be *expect.  Its children need not be here. */
SR_MUST enum sr_status sr_nodes_put(struct sr_nodes *s, const struct sr_hash *expect, struct sr_bytes node, struct sr_err *err);
/* The encoded node, VALID UNTIL the next sr_nodes_sweep or release. */
SR_MUST bool sr_nodes_get(const struct sr_nodes *s, const struct sr_hash *hash, struct sr_bytes *out);
/* A held root keeps all that it reaches; holds count.  It may arrive later.  A zero hash is a no-op. */
void sr_nodes_hold(struct sr_nodes *s, const struct sr_hash *root);
void sr_nodes_release(struct sr_nodes *s, const struct sr_hash *root);
/* Forget every node that no held root reaches (amortised: cheap when little changed). */
void sr_nodes_sweep(struct sr_nodes *s);
/* Until it is set to NULL, each new node is put in its place between lock(ctx) and unlock(ctx), so that the one thread that changes the set
 * can build a large map beside others that read: they hold their side of that lock, and the builder reads without it.  Hold, release and
 * sweep still have to be called under it. */
typedef void sr_guard_fn(void *ctx);
void sr_nodes_guard(struct sr_nodes *s, sr_guard_fn *lock, sr_guard_fn *unlock, void *ctx);
/* How many nodes are here, and their encoded bytes. */
void sr_nodes_count(const struct sr_nodes *s, uint64_t *nodes, uint64_t *bytes);

/* --- maps ------------------------------------------------------------------------------------------------------- */

/* Build a map from entries in any order; names must differ and be such as the format allows, kinds too (asserted).  Of *out only the top
 * node's hash, leaves and bytes are set; a DIR entry over an empty map counts as one leaf all the same, which is the caller's to say. */
void sr_map_build(struct sr_nodes *s, struct sr_bytes attrs, struct sr_entry *entries, size_t n, struct sr_entry *out);
/* The same from entries one by one, in any order, in little more memory than the nodes will take.  finish CONSUMES the builder; false: two
 * entries have one name, and no map was made. */
struct sr_builder;
struct sr_builder *sr_builder_new(struct sr_nodes *s); /* BORROWS s */
void sr_builder_add(struct sr_builder *b, const struct sr_entry *entry); /* COPIES */
SR_MUST bool sr_builder_finish(struct sr_builder *b, struct sr_bytes attrs, struct sr_entry *out);
void sr_builder_free(struct sr_builder *b); /* CONSUMES b, unfinished; NULL is a no-op */
/* The entry called `name`, BORROWING the node.  A zero `top` is an empty map here and below.  SR_E_NOTFOUND; SR_E_GONE when a node on the
 * way is not here. */
SR_MUST enum sr_status sr_map_get(const struct sr_nodes *s, const struct sr_hash *top, struct sr_bytes name, struct sr_entry *out);
/* Every entry (bucket by bucket, not in name order); stop by returning other than SR_OK. */
typedef enum sr_status sr_entry_fn(void *ctx, const struct sr_entry *entry);
SR_MUST enum sr_status sr_map_each(const struct sr_nodes *s, const struct sr_hash *top, sr_entry_fn *fn, void *ctx, struct sr_err *err);
/* The attributes of the map at `top`, BORROWING the node. */
SR_MUST enum sr_status sr_map_attrs(const struct sr_nodes *s, const struct sr_hash *top, struct sr_bytes *out);

/* --- store maps: items by path ---------------------------------------------------------------------------------- */

struct sr_edit {
	struct sr_bytes path;    /* within the store, never empty */
	struct sr_version to;    /* SR_KIND_NONE removes it and all below it */
};

/* The empty store map of `kind` (the same for every empty store of that kind). */
void sr_store_empty(struct sr_nodes *s, uint8_t kind, struct sr_hash *out);

/* *out := the store map `root` (zero: empty) with the edits applied, as if one after the other.  Edits in strictly rising memcmp order of
 * path.  A missing parent directory is made with mode 0; a parent that is a file is replaced by a directory.  A DIR or TABLE edit over an
 * existing one changes its mode or fingerprint and keeps what is below; a table's rows need the table (SR_E_DATA otherwise).  Touches
 * only nodes on the paths; bulk edits cost one rebuild a node.  A directory that loses its last entry stays.  SR_E_DATA also for a path
 * or version that the format does not allow, SR_E_GONE when a node on the way is not here.  kind: SR_KIND_FILES or SR_KIND_DATABASE. */
SR_MUST enum sr_status sr_store_edit(struct sr_nodes *s, uint8_t kind, const struct sr_hash *root, const struct sr_edit *edits, size_t n,
                                     struct sr_hash *out, struct sr_err *err);

/* The version of the item at `path`; SR_KIND_NONE in *out when absent.  SR_E_GONE when a node is not here. */
SR_MUST enum sr_status sr_store_get(const struct sr_nodes *s, uint8_t kind, const struct sr_hash *root, struct sr_bytes path,
                                    struct sr_version *out, struct sr_err *err);

/* Each item whose version differs between two store maps (either hash may be zero: an empty map), in no particular order except that a
 * directory or table comes before what is below it.  An item on one side only is reported, and all below it.  Only nodes that differ are
 * visited. path is VALID during the call.  SR_E_GONE when a node is not here, SR_E_DATA when one stands where it may not; then some items
 * may have been reported already. */
typedef enum sr_status sr_diff_fn(void *ctx, struct sr_bytes path, const struct sr_version *a, const struct sr_version *b);
SR_MUST enum sr_status sr_store_diff(const struct sr_nodes *s, uint8_t kind, const struct sr_hash *a, const struct sr_hash *b,
                                     sr_diff_fn *fn, void *ctx, struct sr_err *err);
/* Every item of a store map: sr_store_diff against nothing. */

/* --- the root map ----------------------------------------------------------------------------------------------- */

/* The root over stores: entries of kind FILES or DATABASE with their name, map hash and counts. */
/* = sr_map_build with empty attrs. */

/* Counts of a map from its top node. */
SR_MUST enum sr_status sr_map_counts(const struct sr_nodes *s, const struct sr_hash *top, uint64_t *leaves, uint64_t *bytes);

/* --- walking ---------------------------------------------------------------------------------------------------- */

/* The nodes reachable from `wanted` that are not reachable from `mine`, parents first, until `limit` bytes (at least one node, unless the
 * two are equal): visit gets (hash, encoded node).  mine zero: all below wanted.  mine not held here: only the node `wanted` itself.
 * Nested maps are descended into.  Both are gone down side by side, so a subtree that moved far may be sent though the other has it.
 * SR_E_GONE: wanted is not here.  Used by the server of a walk. */
typedef enum sr_status sr_node_fn(void *ctx, const struct sr_hash *hash, struct sr_bytes node);
SR_MUST enum sr_status sr_walk_serve(const struct sr_nodes *s, const struct sr_hash *wanted, const struct sr_hash *mine, size_t limit,
                                     sr_node_fn *fn, void *ctx, struct sr_err *err);

/* What is still missing below `wanted`: pairs (wanted, mine) of nodes not here, with the counterpart on the way below `mine` (zero: none)
 * as the other's hint; at most `max`.  Used by the client of a walk: fetch these, sr_nodes_put each, ask again, until none.  Subtrees
 * known to be complete are not looked at again, so each asking costs what is still incomplete.  Cycles and depth are bounded by
 * SR_DEPTH_MAX, and the counts are what is there (SR_E_DATA) and within sr_nodes_limit (SR_E_LIMIT): what reads the tree afterwards comes to an end. */
struct sr_pair {
	struct sr_hash wanted, mine;
};
SR_MUST enum sr_status sr_walk_missing(const struct sr_nodes *s, const struct sr_hash *wanted, const struct sr_hash *mine,
                                       struct sr_pair *out, size_t max, size_t *n, struct sr_err *err);

#endif
