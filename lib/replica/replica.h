/* replica.h - this node's stores, their tree and its state, kept in step.  Both daemons are built on it.
 *
 * A replica opens state.db, the conflict archive and every configured store; it looks (what is there?), scans (what is in it? - the tree),
 * records what changed in state.db, and after an apply records what was taken.  It serves its tree, blobs and bundles over HTTP (serve.h).
 *
 * Threads: one owner thread does everything that changes; it calls with the replica unlocked, the replica takes `lock` for writing for the
 * moments in which nodes, maps, modes and the root change (a scan takes it once a node, so that readers never wait for long).  Other
 * threads read these under sr_replica_read_lock, which does not nest: a waiting writer goes first.  They read stores through extra views,
 * and names, kinds and configuration freely, between sr_replica_use and sr_replica_unuse.  Fields are read by the owner's room; only
 * replica.c writes them. */
#ifndef SR_REPLICA_REPLICA_H
#define SR_REPLICA_REPLICA_H

#include <pthread.h>
#include <stdatomic.h>

#include "lib/base/config.h"
#include "lib/bundle/bundle.h"
#include "lib/state/archive.h"
#include "lib/state/state.h"
#include "lib/store/store.h"

enum sr_role { SR_ROLE_DATASTORE, SR_ROLE_WEBSERVER };

enum sr_store_mode {
	SR_MODE_READY,  /* scanned: `map` is what is there */
	SR_MODE_NEW,    /* nothing there, and it was never ours: may be filled */
	SR_MODE_PAUSED, /* lost, corrupt, blocked: `why` says; nothing is read from it or written to it; map stays what it was */
};

struct sr_replica_store {
	struct sr_store *store;
	const struct sr_config_store *config; /* BORROWED */
	const char *name;
	uint8_t kind;
	struct sr_store_row row; /* as in state.db */
	enum sr_store_mode mode;
	char why[320];           /* of PAUSED, for the operator */
	int64_t since_ms;        /* paused since */
	struct sr_marker marker; /* as found at the last look */
	bool has_content;
	bool doubtful;                        /* the marker may be another file's: see sr_store_doubtful; until the next mark */
	struct sr_hash map;                       /* held in nodes; the empty map before the first scan */
	struct sr_scan scan;                      /* of the last scan: unknown paths */
	bool unseen;                              /* the last scan failed: map and scan are of one before */
	struct sr_leaves *rot;                    /* of a database, see rot.h; OWNED */
	struct sr_leaves *_Atomic rot_found;      /* likewise, or NULL; any thread's, under `lock`, but for a glance */
	struct sr_view *view;                     /* open between sr_replica_scan and sr_replica_unview */
	uint64_t hashed, hashed_bytes, rows_read; /* sums since start */
};

/* Asked what a scan found before it is recorded, both maps held.  Not SR_OK: it is as if the scan had failed. */
typedef enum sr_status sr_judge_fn(void *ctx, size_t i, const struct sr_hash *before, const struct sr_hash *after, struct sr_err *err);

struct sr_replica {
	enum sr_role role;
	const struct sr_config *config; /* BORROWED */
	struct sr_state *state;
	struct sr_archive *archive;
	struct sr_uuid node; /* this node's identity, made at first start */
	struct sr_tree_key key;
	bool keyed; /* sr_replica_start was called */
	struct sr_nodes *nodes;
	struct sr_replica_store *stores;
	size_t n;
	struct sr_hash root; /* of the root map; held */
	uint64_t leaves, bytes;
	pthread_rwlock_t lock;
	pthread_rwlock_t stores_lock; /* sr_replica_use reads it, sr_replica_start writes it */
	atomic_bool leaving;          /* sr_replica_start waits for the users */
	struct sr_watcher *watcher;   /* or NULL: nothing is watched; see sr_replica_watch */
	enum sr_capture capture;      /* see sr_replica_capture */
	sr_judge_fn *judge;           /* or NULL; the owner's to set, with its context */
	void *judge_ctx;
	bool fresh; /* state.db was made by this open */
};

/* Open state.db (taking its lock) and the archive; load identity and, when state.db has it, the tree key (then sr_replica_start is called,
 * too). */
SR_MUST enum sr_status sr_replica_open(struct sr_replica **out, const struct sr_config *config, enum sr_role role, struct sr_err *err);
/* Give it the tree key (first start): kept in state.db; stores are opened, maps built from the leaf rows.  Another key than the one before:
 * every leaf row's local version is forgotten and every base unknown.  Waits for those who use the stores, which are opened anew. */
SR_MUST enum sr_status sr_replica_start(struct sr_replica *r, const uint8_t secret[SR_KEY_LEN], struct sr_err *err);
void sr_replica_close(struct sr_replica *r);
/* Another identity for this node, in the caller's step. */
SR_MUST enum sr_status sr_replica_renew(struct sr_replica *r, struct sr_err *err);

/* Watch the stores, those that sr_replica_start opens anew too (lib/store/watcher.h).  BORROWS watcher, until the replica is closed.  Once. */
void sr_replica_watch(struct sr_replica *r, struct sr_watcher *watcher);
/* How changed rows of databases are found: a webserver's as Change-Capture says, the datastore's by reading them.  Of a daemon: else triggers of ours
 * stay as they are.  Once. */
void sr_replica_capture(struct sr_replica *r);
/* Is all as the last look and scan of every store found it?  By the owner; opens nothing. */
bool sr_replica_is_quiet(struct sr_replica *r);
/* Has anything been told of a store since its last scan, but what we did ourselves to databases?  By the owner. */
bool sr_replica_has_news(struct sr_replica *r);
bool sr_replica_store_is_quiet(struct sr_replica_store *s); /* one of them */

/* Look at every store, but at those that are quiet: sets mode, why, marker, has_content.  PAUSED as "lost" when nothing is there though state.db holds a marker for it.
 */
void sr_replica_look(struct sr_replica *r);
/* An absent store was made or filled: look at it again. */
void sr_replica_look_at(struct sr_replica *r, size_t i);

/* Each item that a scan found changed, after it was recorded (row.local).  path VALID during the call. */
typedef enum sr_status sr_changed_fn(void *ctx, size_t i, struct sr_bytes path, const struct sr_version *from, const struct sr_version *to,
				     struct sr_err *err);
/* Scan a READY store and record what changed: leaf rows, signatures, map (one state transaction, nothing written when nothing changed; with
 * own_transaction false the caller has one open). Unknown paths are left as they were.  The view stays open in stores[i].view, so that
 * contents can be read as of this very scan, until sr_replica_unview. */
SR_MUST enum sr_status sr_replica_scan(struct sr_replica *r, size_t i, bool own_transaction, sr_changed_fn *fn, void *ctx,
				       struct sr_err *err);
void sr_replica_unview(struct sr_replica *r);
/* Is this path unknown here (it, or something it lies below)?  What is excluded is, whether it is there or not.  By others than
 * the owner under sr_replica_read_lock. */
bool sr_replica_unknown(const struct sr_replica *r, size_t i, struct sr_bytes path);
/* The exclusions that store i is to have: sr_store_set_exclude, once nobody uses the stores.  No view is open.  True: they are others than before. */
bool sr_replica_exclude(struct sr_replica *r, size_t i, const char *const *globs, size_t n);
/* Does something unknown lie at or below this path? */
bool sr_replica_unknown_below(const struct sr_replica *r, size_t i, struct sr_bytes path);

/* Compute the root map from the stores' maps and make it current. */
void sr_replica_reroot(struct sr_replica *r);

/* Record what an apply really did in the leaf rows (local, signature) and the map.  `taken`, which the caller gathered in `applied`: path, to, and the
 * signature in `inode`.  Inside the caller's state transaction.  BASE: also base := `expect` of each gathered leaf, with (epoch, seq).  AS_OF (datastore):
 * epoch, seq of the row are set from the leaf's own. */
enum sr_take_what { SR_TAKE_LOCAL, SR_TAKE_BASE, SR_TAKE_AS_OF };
SR_MUST enum sr_status sr_replica_take(struct sr_replica *r, size_t i, struct sr_leaves *taken, enum sr_take_what what, uint64_t epoch,
				       uint64_t seq, struct sr_err *err);
/* The caller's step failed after that: map and row are what they were before it, and what state.db has.  `map` was held by sr_replica_hold_map. */
void sr_replica_hold_map(struct sr_replica *r, size_t i, struct sr_hash *map);
void sr_replica_end_take(struct sr_replica *r, size_t i, const struct sr_hash *map, bool well);

/* What the store's file or root directory is now goes into its row, which is not written yet. */
void sr_replica_note_seen(struct sr_replica_store *s);

/* A new marker for store i: told to state.db as pending first, then written into the store, then made the last.  (Before a push; whenever
 * base changes.) */
SR_MUST enum sr_status sr_replica_mark(struct sr_replica *r, size_t i, const struct sr_uuid *id, const struct sr_uuid *instance,
				       uint64_t epoch, uint64_t seq, struct sr_err *err);
/* By sr_store_mark_with: no more than `leaves` has to be durable. */
SR_MUST enum sr_status sr_replica_mark_with(struct sr_replica *r, size_t i, const struct sr_uuid *id, const struct sr_uuid *instance,
					    uint64_t epoch, uint64_t seq, struct sr_leaves *leaves, struct sr_err *err);

/* The store of that name, or NULL; *index. */
struct sr_replica_store *sr_replica_find(struct sr_replica *r, struct sr_bytes name, size_t *index);

/* From any thread: the stores stay open until sr_replica_unuse.  False: there are none yet, for want of a key.  Who uses them for long (a
 * transfer) asks now and then whether the owner waits, and then makes an end. */
SR_MUST bool sr_replica_use(struct sr_replica *r);
bool sr_replica_awaited(const struct sr_replica *r);
void sr_replica_unuse(struct sr_replica *r);

void sr_replica_read_lock(struct sr_replica *r);
void sr_replica_write_lock(struct sr_replica *r);
void sr_replica_unlock(struct sr_replica *r);

#endif
