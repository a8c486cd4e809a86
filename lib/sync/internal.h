/* internal.h - what the files of this room share. */
#ifndef SR_SYNC_INTERNAL_H
#define SR_SYNC_INTERNAL_H

#include <stdatomic.h>

#include "lib/node/metrics.h"
#include "lib/replica/elsewhere.h"
#include "lib/replica/tally.h"
#include "lib/sync/chunks.h"
#include "lib/sync/contact.h"
#include "lib/sync/lag.h"
#include "lib/sync/plan.h"
#include "lib/sync/progress.h"
#include "lib/sync/sync.h"

#define SR_TRIES 3 /* of a push within one round */

struct sr_noted { /* what the datastore, or the database here, refused; until the round is over */
	size_t store;
	struct sr_buf path;
	uint8_t note; /* enum sr_note */
	struct sr_version ours, merged; /* that it was said of: what is here, and what was made of it (the same, if it was not merged) */
};

struct sr_declined { /* a table whose schema the datastore does not follow: these two fingerprints do not go together */
	size_t store;
	struct sr_hash here, there;
};

struct sr_rebuilt { /* a table that went to the datastore with another key; its rows were there as they were agreed on here */
	size_t store;
	char *table;
	struct sr_anchor at; /* the root against which that was planned */
};

struct sr_store_plan { /* one store's part of a round */
	struct sr_item *items;
	size_t n, cap;
	struct sr_buf paths, open_paths; /* what the items' paths point into */
	struct sr_leaves *pull; /* wanted: path, expect := local, to := remote; with content when fetched; merges: see gather.c, add_merge */
	struct sr_leaves *push;
	struct sr_elsewhere *elsewhere; /* of these, where the datastore has their content; NULL: not looked for */
	struct sr_leaves *agree; /* path, to; expect := to */
	uint64_t skipped;
	uint64_t skipped_held;  /* of these: deletions that are held, which the ledger tells */
	const char *first_skip; /* which were, and why: the first few */
	char skips[400];        /* what it points to, of those that the plan names */
	bool behind;            /* some of what is here is not what the datastore has, nor an edit of it: held, left alone, or for the datastore to judge */
	uint64_t gone;          /* files that the datastore could not send */
	uint64_t excluded;      /* items that differ and are none of our business; as of the last plan */
	struct sr_tally tally[2]; /* by enum sr_way: the deletions in `push` and `pull` */
	bool held_there;        /* the datastore holds deletions of it, as it said in this round */
	bool compared;          /* with the datastore's map */
	bool merges;            /* rows to be compared column by column are among the pulls */
	bool first_seen;        /* its definitions: nothing is known of them in state.db */
	bool tells;             /* the schema text is among the pushes: of */
	struct sr_hash definitions; /* tables defined so (sr_schema_definitions) */
	int64_t schema_version; /* as of the last plan */
	bool grows;             /* columns of a table go to the datastore, and its rows after them */
	bool evicted;           /* rows were taken out of the way: what was planned to be pushed may not be here any more */
	bool again;             /* there is more to do now: rows were merged, or were changed while it was planned */
	bool no_merges;         /* in this round: the database did not take them */
	struct sr_pace pace;    /* of what is pulled; kept from round to round */
	bool failed;            /* in this round: */
	char trouble[320];      /* what went wrong with this store alone, kept to log it once */
	int64_t failed_ms, skipped_ms; /* since when: something fails, or is left alone; 0: it does not */
};

struct sr_told_conflicts { /* what the datastore was told of the archive; see tell_conflicts.c */
	bool is;
	uint64_t generation; /* of the archive */
	struct sr_uuid token, to; /* our name for it, and the datastore's start */
	struct sr_archive_ids ids;
};

struct sr_round_counts { /* since the start */
	uint64_t ok, held, unavailable, failed; /* rounds */
	struct sr_sync_result sum;
	struct sr_histogram duration;
	bool in_sync; /* these as of the end of the last one */
	int64_t last_ok_ms;
	struct sr_anchor at;
};

struct sr_sync {
	const struct sr_config *config;
	const struct sr_config *exclusions; /* of the stores here: `config`, or what a reload brought */
	struct sr_replica *r;
	struct sr_contact *contact;
	struct sr_balance *balance; /* of the daemon, or NULL */
	struct sr_client *client; /* the contact's */
	char *version;
	unsigned port;         /* of our own server; 0: there is none */
	char pin[SR_PIN_TEXT]; /* of its key; "": plain HTTP */

	struct sr_anchor anchor; /* as kept in state.db */
	char refused[512];       /* what the datastore said last of a push that it refused a part of, to log it once */
	struct sr_uuid last_push;
	struct sr_uuid token, token_next; /* see token.c */
	uint64_t token_n;
	bool token_fresh, token_exchanged; /* token_next was made by this start, and the datastore has it */
	bool no_room_there;                /* or it has no room for it, as it said when it was asked last, */
	char no_room[320];                 /* in these words */
	struct sr_uuid starts[SR_STARTS_TOLD]; /* of the datastore, that were met; the last one last */
	size_t starts_n;
	uint64_t as_of_epoch, as_of_seq; /* of the last root against which everything was planned and pulled */

	struct sr_tree_info info; /* the datastore's last 200 answer */
	bool have_info;
	char *etag; /* of that answer, or NULL */
	bool info_stale; /* a push failed, or was made under another start of the datastore: no 304 will do, for it does not tell the start */
	bool no_changes; /* it does not know GET /api/changes */
	struct sr_buf changes; /* what came with that answer of them, for this round */
	struct sr_ahead ahead; /* for this round's first question */
	struct sr_hash remote; /* its root, held in r->nodes when have_remote */
	bool have_remote;

	struct sr_store_plan *plans; /* n of the replica */
	struct sr_ledger *ledger; /* of deletions */
	struct sr_noted *noted;
	size_t noteds;
	bool notes_sorted;
	struct sr_declined *declined;
	size_t declineds;
	struct sr_rebuilt *rebuilt;
	size_t rebuilts;
	unsigned try; /* of the round */
	struct sr_buf mirror;   /* the stores whose state is to be the datastore's, see mirror.c */
	bool mirrors_history;   /* the last answer's other history is to be taken over */
	char *told;             /* what the registry was told last, or NULL; and by which start of the datastore it was taken */
	struct sr_uuid told_to;
	int64_t told_ms;
	struct sr_told_conflicts told_conflicts;
	atomic_bool interrupted;
	struct sr_lag lag;
	bool met;               /* in this round: the datastore answered a check-in */

	/* the state in which nothing was left to do: a round that finds it again ends there */
	struct sr_hash quiet_local, quiet_remote;
	bool quiet;

	struct sr_sync_result result; /* of the round under way */
	struct sr_progress progress;  /* and how far it is */
	pthread_mutex_t report_lock;
	struct sr_round_counts counts;
	struct sr_buf report; /* JSON text, made at the end of each round */
	struct sr_tree_info tree; /* as is this */
	int64_t scanned_ms;       /* when sr_sync_scan_alone last did it; 0: a round did since */
	enum sr_status trouble_code;
	char trouble[512];    /* of the last round, or empty */
	int64_t trouble_since_ms, last_ok_ms;
	uint64_t rounds;
};

/* metrics.c */
void sr_sync_count_round(struct sr_sync *s, enum sr_status rc, int64_t ms);

/* state.c: what is kept in state.db's meta */
SR_MUST enum sr_status sr_sync_load(struct sr_sync *s, struct sr_err *err);
SR_MUST enum sr_status sr_sync_set_anchor(struct sr_sync *s, const struct sr_anchor *at,
					  struct sr_err *err); /* forward only, within an epoch */
SR_MUST enum sr_status sr_sync_move_anchor(struct sr_sync *s, const struct sr_anchor *at, struct sr_err *err); /* wherever it is */
SR_MUST enum sr_status sr_sync_set_last_push(struct sr_sync *s, const struct sr_uuid *id, struct sr_err *err);
/* The datastore's start, which is that of the answer at hand, is one that was met: to be kept before the anchor is of it. */
SR_MUST enum sr_status sr_sync_add_start(struct sr_sync *s, struct sr_err *err);
SR_MUST enum sr_status sr_sync_set_as_of(struct sr_sync *s, uint64_t epoch, uint64_t seq, struct sr_err *err);
/* Bases of every store become unknown. */
SR_MUST enum sr_status sr_sync_forget_bases(struct sr_sync *s, bool as_hint, struct sr_err *err);
/* The same, and so does as of when all is: it would be taken for a time of another history. */
SR_MUST enum sr_status sr_sync_forget_past(struct sr_sync *s, struct sr_err *err);

/* sync.c: is this the store that we know?  As of the last look. */
bool sr_sync_marker_is_ours(const struct sr_replica_store *st);
/* One store's fault is its own, the others go on. */
void sr_sync_trouble(struct sr_sync *s, size_t i, const struct sr_err *err);

/* rekey.c: as sr_replica_start with another key, but that what was edited since the last agreement stays known as hints */
SR_MUST enum sr_status sr_sync_rekey(struct sr_sync *s, const uint8_t secret[SR_KEY_LEN], struct sr_err *err);

/* tree.c: what is shown to others */
/* See what is here though no round goes through; once an interval. */
void sr_sync_scan_alone(struct sr_sync *s);
void sr_sync_publish_tree(struct sr_sync *s);

/* walk.c: GET /api/tree and the walk */
void sr_sync_check_in_header(const struct sr_sync *s, struct sr_buf *out); /* "Name: value", appended */
SR_MUST enum sr_status sr_sync_check_in(struct sr_sync *s, bool *unchanged, struct sr_err *err);
SR_MUST enum sr_status sr_sync_walk(struct sr_sync *s, struct sr_err *err);
/* Is the content of this version of store i's `path` among what came with the check-in?  Not proven; VALID during the round. */
struct sr_change;
bool sr_sync_came_along(const struct sr_sync *s, size_t i, struct sr_bytes path, const struct sr_version *version, struct sr_change *out);
/* What was pushed is all that is new there: the tree here is the datastore's. */
void sr_sync_follow_push(struct sr_sync *s);
/* The datastore's map of our store i; false: it has none, or it is paused there (*why). */
bool sr_sync_remote_map(const struct sr_sync *s, size_t i, struct sr_hash *map, const char **why);

/* stores.c: how the stores here and those of the datastore fit together */
/* What may not be synchronised: as the configuration here and the datastore's last answer say.  No view is open. */
void sr_sync_exclude(struct sr_sync *s);
/* Are all stores equal on both sides, but for what is excluded?  As of the last scan and the datastore's tree that was walked. */
bool sr_sync_all_equal(const struct sr_sync *s);
/* The next store, from *k on, that the datastore has and this machine's configuration does not know; NULL: no more. */
const struct sr_tree_store *sr_sync_stranger(const struct sr_sync *s, size_t *k);
/* Of a store's plan: is this difference none of our business?  Then it is counted. */
bool sr_sync_is_excluded(struct sr_sync *s, size_t i, struct sr_bytes path);
/* Does the datastore's tree have something excluded below this directory? */
bool sr_sync_excluded_below(const struct sr_sync *s, size_t i, const struct sr_hash *remote, struct sr_bytes path);

/* The store of the datastore that goes with our store i; NULL: none. */
const struct sr_tree_store *sr_sync_there(const struct sr_sync *s, size_t i);

/* token.c */
SR_MUST enum sr_status sr_sync_token_load(struct sr_sync *s, struct sr_err *err);
/* Once a start.  SR_E_HELD: another machine runs with this identity.  SR_E_FULL: with no_room_there it may be read from all the same. */
SR_MUST enum sr_status sr_sync_token_exchange(struct sr_sync *s, struct sr_err *err);
/* SR_E_FULL: not before the exchange. */
SR_MUST enum sr_status sr_sync_may_push(struct sr_sync *s, struct sr_err *err);
SR_MUST enum sr_status sr_sync_token_again(struct sr_sync *s, struct sr_err *err); /* the datastore knows another one */
/* If that was asked for: this machine gets an identity of its own, all bases become unknown. */
SR_MUST enum sr_status sr_sync_renew(struct sr_sync *s, struct sr_err *err);

/* mirror.c */
SR_MUST enum sr_status sr_sync_mirror_load(struct sr_sync *s, struct sr_err *err);
/* Is store i to become what the datastore's is?  And all of them, with a history that is held? */
bool sr_sync_mirrors(const struct sr_sync *s, size_t i);
bool sr_sync_mirrors_all(const struct sr_sync *s);
/* *accepts: the datastore's other history is to be taken over.  If a store is empty there and not here, it is not, and the word is dropped. */
SR_MUST enum sr_status sr_sync_mirror_accepts(struct sr_sync *s, bool *accepts, struct sr_err *err);
SR_MUST enum sr_status sr_sync_mirror_history(struct sr_sync *s, struct sr_err *err);
/* The same for one store, whose map was scanned: it is mirrored no more if it is refused. */
SR_MUST enum sr_status sr_sync_mirror_judge(struct sr_sync *s, size_t i, const struct sr_hash *remote, struct sr_err *err);
/* What was planned is done: forget the stores for which the word is kept.  *again: there was one, and they go on as ever. */
SR_MUST enum sr_status sr_sync_mirror_end(struct sr_sync *s, bool *again, struct sr_err *err);

/* tell.c */
#define SR_STRANGER "the datastore has this store, the configuration here does not name it"
/* What waits for the operator here (lib/replica/waiting.h), with "conflicts": {"entries", "bytes"}.  OWNED BY CALLER (json_decref). */
struct json_t;
struct json_t *sr_sync_waiting(const struct sr_sync *s);
/* Tell the registry who and how this webserver is, if that is not what it knows. */
SR_MUST enum sr_status sr_sync_tell(struct sr_sync *s, struct sr_err *err);
/* tell_conflicts.c: the same of the conflict archive. */
void sr_sync_tell_conflicts(struct sr_sync *s);

/* report.c: the end of a round, for sr_sync_report */
void sr_sync_make_report(struct sr_sync *s);

/* limit.c */
extern const char *const sr_why_held; /* of an item that is left alone for the limit */
/* Hold what the deletion limit does not let through: of the items of a directory tree, before they are handed on, */
void sr_sync_limit_files(struct sr_sync *s, size_t i, const struct sr_hash *remote);
/* and of the rows that are to be pulled and pushed. */
SR_MUST enum sr_status sr_sync_limit_rows(struct sr_sync *s, size_t i, const struct sr_hash *remote, struct sr_err *err);
/* What was let through of it on this way has happened. */
void sr_sync_limit_done(struct sr_sync *s, size_t i, enum sr_way way);
/* The end of a round. */
SR_MUST enum sr_status sr_sync_limit_save(struct sr_sync *s, struct sr_err *err);

/* pull.c */
SR_MUST enum sr_status sr_sync_pull(struct sr_sync *s, size_t i, struct sr_err *err);

/* Ask for the leaves named in `wanted` (sr_wanted_add), n of them, of together so many bytes, as of the root that is planned against. */
SR_MUST enum sr_status sr_sync_fetch(struct sr_sync *s, struct sr_bytes wanted, uint64_t n, uint64_t bytes, const struct sr_bundle_sink *sink,
				     struct sr_err *err);

/* merge.c */
/* Rows that were changed on both sides, with the datastore's records (`theirs`: path, to, base, record): what becomes of each is added to
 * `ready`, to be applied. */
SR_MUST enum sr_status sr_sync_merge(struct sr_sync *s, size_t i, struct sr_leaves *theirs, struct sr_leaves *ready, struct sr_err *err);

/* take.c */
/* What an interrupted apply left, by evidence. */
SR_MUST enum sr_status sr_sync_recover(struct sr_sync *s, struct sr_err *err);
/* Is there room in the archive for what is planned to lose to these leaves?  SR_E_ROOM: nothing of them is to be begun.  What a row will show of itself
 * is judged when it is at hand. */
SR_MUST enum sr_status sr_sync_room(struct sr_sync *s, size_t i, struct sr_leaves *leaves, struct sr_err *err);
/* Apply leaves whose content is here, sorted, to store i. */
SR_MUST enum sr_status sr_sync_take(struct sr_sync *s, size_t i, struct sr_leaves *leaves, struct sr_err *err);
/* As of when does store i hold all that is here?  all: what is planned to be pulled is here; that is the root that is planned against, unless some is
 * held or left alone.  Whoever finds a marker without our state.db must not take a row for newer than it is. */
void sr_sync_holds_as_of(const struct sr_sync *s, size_t i, bool all, uint64_t *epoch, uint64_t *seq);
/* A new marker, of that date; `leaves` are what it makes durable. */
SR_MUST enum sr_status sr_sync_mark(struct sr_sync *s, size_t i, bool all, struct sr_leaves *leaves, struct sr_err *err);
SR_MUST enum sr_status sr_sync_agree(struct sr_sync *s, size_t i, struct sr_err *err);

/* upload.c */
/* Does its content go before the push, instead of in it? */
bool sr_sync_uploads(const struct sr_leaf *leaf);
/* The path at which the datastore has it, so that it goes neither before the push nor in it; empty: it goes. */
struct sr_bytes sr_sync_is_elsewhere(const struct sr_store_plan *p, const struct sr_leaf *leaf);
/* Send the large files of plans[].push; those that cannot be sent are taken out of it.  *changed: some because they are other than was
 * planned. */
SR_MUST enum sr_status sr_sync_upload(struct sr_sync *s, bool *changed, struct sr_err *err);

/* upload_delta.c */
struct sr_upload_delta { /* all BORROWED */
	struct sr_sync *s;
	size_t i; /* the store */
	const struct sr_leaf *leaf;
	const struct sr_version *old; /* a file that resembles it, which the datastore has at ... */
	struct sr_bytes old_path;
	int fd; /* what to send, */
	uint64_t *at; /* from here on; how far it came */
	sr_body_fn *read; /* bytes of it from *at on, as ctx knows it; goes on with that and tells the progress */
	void *ctx;
};
/* What the datastore lacks of it.  Anything but SR_OK: less of it came, and it may be that sent whole it would be taken.  *http: of the last answer. */
SR_MUST enum sr_status sr_sync_upload_delta(struct sr_upload_delta *d, int *http, struct sr_err *err);

/* push.c */
SR_MUST enum sr_status sr_sync_settle(struct sr_sync *s, struct sr_err *err);
SR_MUST enum sr_status sr_sync_cancel_all(struct sr_sync *s, struct sr_err *err);
/* Push everything in plans[].push.  *again: it was refused or overtaken; plan anew. */
SR_MUST enum sr_status sr_sync_push(struct sr_sync *s, unsigned try, bool *again, struct sr_err *err);
/* Set base := `to` for the leaves of a spool, but those in `not` (an answer's refusals; NULL: none). */
SR_MUST enum sr_status sr_sync_set_bases(struct sr_sync *s, size_t i, struct sr_leaves *leaves, const struct sr_push_answer *but,
					 uint64_t epoch, uint64_t seq, struct sr_err *err);

/* rebuilt.c: tables that were built anew here first */
void sr_sync_rebuilt(struct sr_sync *s, size_t i, struct sr_bytes table);
/* Are the rows that the datastore has of the table now what it made itself of those before, and nobody has touched them since? */
bool sr_sync_is_carried_over(const struct sr_sync *s, size_t i, struct sr_bytes table);
void sr_sync_rebuilt_free(struct sr_sync *s);

/* plan of one store: plan.c is pure, gather.c finds the items */
SR_MUST enum sr_status sr_sync_gather(struct sr_sync *s, size_t i, struct sr_err *err);
/* What is to be planned otherwise from now on, in this round; until it is agreed on, and another than these versions is here. */
void sr_sync_note(struct sr_sync *s, size_t i, struct sr_bytes path, enum sr_note note, const struct sr_version *ours,
		  const struct sr_version *merged);
/* What state.db has of a database's plan->definitions, and puts there: told to the datastore then (ms since 1970), or 0: not yet. */
char *sr_sync_definitions_name(const struct sr_sync *s, size_t i); /* OWNED BY CALLER (free) */
SR_MUST enum sr_status sr_sync_put_definitions(struct sr_sync *s, size_t i, int64_t told_ms, struct sr_err *err);
/* It is left alone in this round, and why: for `status`.  Does not count it. */
void sr_sync_name_skip(struct sr_sync *s, size_t i, struct sr_bytes path, const char *why);
void sr_store_plan_clear(struct sr_store_plan *p);

#endif
