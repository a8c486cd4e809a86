/* diff.h - two trees side by side, item by item.
 *
 * Both trees lie in one struct sr_nodes under one key, so that what is equal is seen by its hash and never looked into. */
#ifndef SR_ADMIN_DIFF_H
#define SR_ADMIN_DIFF_H

#include <stdbool.h>
#include <stdio.h>

#include "lib/leaf/leaf.h"

struct sr_differences { /* {0} is an empty one; sr_differences_free */
	struct sr_difference {
		char *path;                    /* as sr_leaf_path_text; OWNED */
		struct sr_version here, there; /* SR_KIND_NONE: absent */
		bool skipped;                  /* only while they are found */
	} * at;
	size_t n, cap;
};

/* Is this path not to be the same on both sides?  Empty: the store itself. */
typedef bool sr_skip_fn(void *ctx, const char *store, uint8_t kind, struct sr_bytes path);

/* Every item that differs between two roots, sorted by path; a store of one name and two kinds, or with nothing in it on one side only, is
 * one item of its own.  skip (NULL: none) leaves items out, and with them a directory that is there for nothing else.  SR_E_GONE: a node is
 * missing. */
SR_MUST enum sr_status sr_differences_find(const struct sr_nodes *nodes, const struct sr_hash *here, const struct sr_hash *there,
					   sr_skip_fn *skip, void *ctx, struct sr_differences *out, struct sr_err *err);
void sr_differences_show(const struct sr_differences *d, FILE *out);
/* [{"path", "here", "there"}], each side null or {"kind", "mode", "bytes", "hash"}. */
void sr_differences_json(const struct sr_differences *d, FILE *out);
void sr_differences_free(struct sr_differences *d); /* and back to {0} */

#endif
