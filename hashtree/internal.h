/* internal.h - what the files of this folder share, and nobody else includes (tests apart).
 *
 * The floors: node.c (one node, and the set of them) <- map.c (one map) <- tree.c (nested maps), walk.c. */
#ifndef SR_HASHTREE_INTERNAL_H
#define SR_HASHTREE_INTERNAL_H

#include "hashtree/tree.h"

#define SR_NODE_BUCKET 0x10 /* high half: version 1 of the format */
#define SR_NODE_INNER 0x11
#define SR_ATTRS_MAX 255

bool sr_kind_nests(uint8_t kind);               /* its hash is the top node of a map */
bool sr_kind_has_mode(uint8_t kind);            /* FILE, DIR */

/* What an entry of this kind may be called: not empty, at most SR_NAME_MAX, no NUL but in a row's key, and a file's name is
 * one that can stand in a directory. */
bool sr_name_ok(uint8_t kind, struct sr_bytes name);

/* --- one node (node.c) ------------------------------------------------------------------------------------------ */

/* Append the encoded node.  The order and the counts are the caller's to have right (asserted). */
void sr_node_encode(struct sr_buf *out, const struct sr_node *node);

/* One entry alone, in the same form; what is read must have been written so. */
void sr_entry_encode(struct sr_buf *out, const struct sr_entry *e);
void sr_entry_take(struct sr_reader *r, struct sr_entry *out);

/* The i-th reference of a node to another node; NULL when a leaf stands there. */
const struct sr_hash *sr_node_ref(const struct sr_node *node, size_t i);

/* Encode, hash and keep; the new node is loose until something holds or refers to it. */
void sr_nodes_add(struct sr_nodes *s, const struct sr_node *node, struct sr_hash *out);

/* The decoded node `hash`, met `depth` bytes below the top of its map on the way to `place`: SR_E_GONE when it is not here, SR_E_DATA when
 * it may not stand there - each entry's own place is checked, so that no forged node can stand in two places and multiply the work of
 * whoever reads the map.  place NULL: not checked.  *out is OWNED BY CALLER (sr_node_free). */
SR_MUST enum sr_status sr_nodes_load(const struct sr_nodes *s, const struct sr_hash *hash, const uint8_t *place, unsigned depth,
                                     struct sr_node *out, struct sr_err *err);

/* The way on from a node to `name`, whose place is `place`, without decoding all of it: what is in the set was checked when it came in.
 * NOTHING: no way on, or the node is not here or may not stand there: sr_nodes_load tells. */
enum sr_peek { SR_PEEK_NOTHING, SR_PEEK_CHILD, SR_PEEK_ENTRY };
enum sr_peek sr_nodes_peek(const struct sr_nodes *s, const struct sr_hash *hash, const uint8_t *place, unsigned depth, struct sr_bytes name,
			   struct sr_hash *child, struct sr_entry *entry);

/* Whether this node and all that it reaches are here.  False may only mean "not known yet": sr_nodes_settle looks at its children, which
 * must have been settled before.  Once true it stays true, for a node keeps what it reaches.  Safe among readers. */
bool sr_nodes_whole(const struct sr_nodes *s, const struct sr_hash *hash);
void sr_nodes_settle(const struct sr_nodes *s, const struct sr_hash *hash);

/* --- one map (map.c) -------------------------------------------------------------------------------------------- */

/* One change to a map: either `entry` (kind SR_KIND_NONE: remove the name) or a leaf straight from an edit, whose name is the path from
 * `skip` on (see sr_map_edit).  Edits are not copied into entries, for a first fill has millions of them. */
struct sr_slot {
	uint8_t place[SR_HASH_LEN]; /* of the name */
	const struct sr_edit *edit; /* used when entry is NULL */
	const struct sr_entry *entry;
};

/* The place of a name: its keyed hash, the way through the trie. */
void sr_map_place(const struct sr_nodes *s, struct sr_bytes name, uint8_t place[SR_HASH_LEN]);

/* *out (hash, leaves, bytes) := the map `old` (zero: empty) with these attributes and the changes: one a name, in any order, sorted in
 * place. */
SR_MUST enum sr_status sr_map_edit(struct sr_nodes *s, const struct sr_hash *old, struct sr_bytes attrs, struct sr_slot *slots, size_t n,
                                   size_t skip, struct sr_entry *out, struct sr_err *err);

/* In one decoded node: the child for a byte, the entry of a name; NULL when there is none. */
const struct sr_child *sr_node_child(const struct sr_node *node, uint8_t byte);
const struct sr_entry *sr_node_entry(const struct sr_node *node, struct sr_bytes name);

/* sr_map_get, starting at a node that stands `depth` below the top. */
SR_MUST enum sr_status sr_map_get_below(const struct sr_nodes *s, const struct sr_hash *node, unsigned depth, struct sr_bytes name,
                                        struct sr_entry *out, struct sr_err *err);

#endif
