/* files_list.h - what is in a directory, listed ahead of the scan by other threads where there are many.  Private to lib/store.
 *
 * The scan goes through the directories one after the other, each listed before its turn as far as processors help.  What the others do is to
 * watch, list, sort and stat, nothing else: what they have not come to, or could not list, the scan lists by itself.  How far they are ahead is
 * limited by the number of entries.
 *
 * A struct sr_ahead is its scan's; the threads are its own. */
#ifndef SR_STORE_FILES_LIST_H
#define SR_STORE_FILES_LIST_H

#include <pthread.h>

#include "lib/store/files.h"

struct sr_listing;

struct sr_listed {
	struct sr_bytes name;       /* NUL-terminated unless it came from `before` */
	const struct sr_entry *old; /* what `before` says, or NULL */
	uint64_t inode;             /* as listed; 0: it was not */
	uint8_t type;               /* DT_*; DT_DIR: to be descended into */
	uint8_t state;              /* enum sr_watch_state, of such a one */
	uint8_t ahead;              /* enum, files_list.c */
	struct sr_listing *listing; /* of such a one; NULL: none yet */
};

/* Of an entry, as fstatat says. */
struct sr_facts {
	uint64_t dev, inode, size;
	struct { int64_t s; uint32_t ns; } mtime, ctime;
	uint32_t mode;
	int fault; /* errno, or 0 */
};

struct sr_listing {
	struct stat st; /* of the directory */
	struct sr_buf names;
	struct sr_listed *children; /* sorted, then what sr_listing_add added */
	size_t n, cap;
	struct sr_facts *facts; /* of the first `told` children; what is of no use of one that is DT_DIR is not filled */
	size_t told;
};

/* List what is open at fd, but ".", ".." and, at the top, our own directory.  False: errno. */
bool sr_listing_read(struct sr_listing *l, int fd, bool top);
struct sr_listed *sr_listing_add(struct sr_listing *l, struct sr_bytes name, uint8_t type, uint64_t inode, const struct sr_entry *old);
void sr_listing_free(struct sr_listing *l);
/* The i-th child as listed ahead.  False: it was not. */
bool sr_listing_stat(const struct sr_listing *l, size_t i, struct stat *st, int *fault);

#define SR_AHEAD_THREADS 3

/* The directories in one directory, while the scan descends into them. */
struct sr_batch {
	struct sr_batch *above;
	struct sr_buf path;
	struct sr_listed *children;
	size_t n, next;
};

struct sr_ahead {
	int root;
	struct sr_watch *watch; /* or NULL */
	pthread_mutex_t lock;
	pthread_cond_t wake; /* there is more to be listed, or something was */
	struct sr_batch *top;
	size_t waiting; /* entries that were listed and not taken */
	bool ends;
	pthread_t threads[SR_AHEAD_THREADS];
	unsigned n;
};

void sr_ahead_begin(struct sr_ahead *a, int root, struct sr_watch *watch); /* BORROWS watch */
void sr_ahead_end(struct sr_ahead *a); /* nothing is pushed any more */
/* The directories among these children of `path` come next, in their order; *b and the children stay where they are until it is popped. */
void sr_ahead_push(struct sr_ahead *a, struct sr_batch *b, struct sr_bytes path, struct sr_listed *children, size_t n);
void sr_ahead_pop(struct sr_ahead *a, struct sr_batch *b); /* the last one */
/* What was listed of a directory in a batch is OWNED BY CALLER.  False: it is to be listed. */
bool sr_ahead_take(struct sr_ahead *a, struct sr_listed *c, struct sr_listing *out);

#endif
