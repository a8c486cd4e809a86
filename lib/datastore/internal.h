/* internal.h - what the files of lib/datastore share.  Nobody else includes it.
 *
 *   datastore.c  open, the thread, close          history.c   roots that were, verdicts, the published copy
 *   found.c      founding, markers, epochs        scan.c      direct edits
 *   upload.c     large files, before their push   trash.c     what was replaced, kept and forgotten
 *   push.c       receiving and settling a push    decide.c    which leaves of a push may go
 *   commit.c     stores and state.db as one step  record.c    of it, state.db and the answer
 *   recover.c    what a crash left                 clock.c     what time it is for what ages
 *   edit.c       an operator's change              restore.c   a path as it was
 *   journal.c    what changed when
 *   registry.c   webservers                       routes.c    HTTP
 *   seen.c       when they were seen last          protocol.c  who speaks another one
 *   clones.c     two with one identity
 *   admin.c      HTTP for the operator             limit.c     too many deletions
 *   fork.c       a history that was lost and one that went on: where they parted
 *   schema.c     tables that are to lose columns, or were built anew
 *   conflicts.c  archived versions come back
 *   backup.c     one root, written out             page.c      what its status page shows
 *   metrics.c    what is counted                    changes.c   of the last commits, for who knows the root before them
 *
 * Two locks, taken in this order: `writer` (stores, state.db, `at`, pushes) and `face` (what quick handlers look at; held for moments,
 * never over disk work).  The replica's own lock is innermost but one: face may not be held when it is taken. */
#ifndef SR_DATASTORE_INTERNAL_H
#define SR_DATASTORE_INTERNAL_H

#include "lib/datastore/datastore.h"
#include "lib/node/balance.h"
#include "lib/node/healer.h"
#include "lib/node/metrics.h"
#include "lib/node/page.h"
#include "lib/node/peers.h"
#include "lib/node/relay.h"
#include "lib/node/results.h"
#include "lib/node/shutdown.h"
#include "lib/node/verifier.h"
#include "lib/replica/admit.h"
#include "lib/replica/conflict_routes.h"
#include "lib/replica/hello.h"
#include "lib/replica/place.h"
#include "lib/replica/replica.h"
#include "lib/replica/serve.h"
#include "lib/replica/tally.h"
#include "lib/replica/wire.h"
#include "lib/state/datastore_state.h"
#include "lib/state/trash.h"
#include "lib/store/watcher.h"

#define SR_DS_ROOTS         10000  /* roots whose hashes are remembered, for verdicts */
#define SR_DS_READABLE      64     /* newest roots whose nodes and contents are kept ... */
#define SR_DS_READABLE_MS   120000 /* ... and all younger than this */
#define SR_DS_RECORDS       100000 /* replaced records that are kept for merging, beyond the readable roots */
#define SR_DS_ROUNDS        8      /* attempts at one commit, each with what the last one found */
#define SR_DS_TRIES         3      /* at the last one of a webserver we commit what we can */
#define SR_DS_SHOWN         100    /* paths that an operator is told, of a kind */
#define SR_DS_UNKNOWN_SHOWN 100    /* unknown paths of a store in the status */

#define SR_DS_META_INSTANCE     "instance"
#define SR_DS_META_EPOCH        "epoch"
#define SR_DS_META_SEQ          "seq"
#define SR_DS_META_FLOOR        "epoch-floor" /* put there by sameroot-restore: webservers may be as far */
#define SR_DS_META_PREDECESSORS "predecessors"
#define SR_DS_META_SINCE        "since" /* be64 at_ms, epoch, seq: when this state began, and with which root */
#define SR_DS_META_ENDS         "ends" /* struct sr_ds_end, one after the other */
#define SR_DS_META_STARTS       "starts" /* struct sr_ds_start, one after the other */
#define SR_DS_META_FORK         "fork"   /* struct sr_ds_fork */

struct sr_ds_root {
	uint64_t epoch, seq;
	struct sr_hash root;
	int64_t at_ms;
	bool held; /* its nodes are here */
};

#define SR_DS_CHANGES 256 /* commits whose changes are kept in memory */
struct sr_ds_change { /* see changes.c */
	struct sr_anchor from, to;
	struct sr_buf commit; /* as it goes into an answer; empty: it is not all known */
	size_t leaves;
};

struct sr_ds_pin { /* a root that somebody writes out: it stays readable meanwhile */
	bool on;
	uint64_t epoch, seq;
};
#define SR_DS_PINS 4

#define SR_DS_CLONES 4

struct sr_ds_webserver {
	struct sr_webserver_row row; /* strings OWNED, NULL when not told */
	struct sr_uuid push;         /* the last one of its chain */
	struct sr_anchor reported;   /* at its last check-in */
	enum sr_history verdict;     /* on that */
	struct sr_uuid starts[SR_STARTS_TOLD]; /* of the datastore, that it has met, the last one last; told by one that is held */
	size_t starts_n;
	bool refused;                /* deletions that it pushed are held here; until it says that nothing is held there */
	struct sr_token_row token;   /* addr OWNED, or NULL */
	char *token_peer;            /* who last showed it; OWNED, or NULL */
	int64_t token_ticks;         /* when, of sr_ticks_ms */
	int64_t seen_ticks;          /* when it was seen in this start; 0: not yet */
	int64_t kept_ms;             /* row.seen_ms as it is in state.db */
	uint64_t interval;           /* seconds between its check-ins, as it told; 0: not yet */
	uint64_t waits, waiting;     /* how many of its check-ins waited; which of them does now, 0: none */
	struct sr_anchor waits_at;   /* what that one knows, and of its pushes: one that it makes meanwhile is known to it, too; */
	struct sr_uuid waits_push;
	uint32_t waits_settings;     /* and what was told beside the tree */
	char *speaks;                /* "protocol 2 (version 9.9)": refused for it; OWNED, or NULL */
	bool trimmed;                /* not seen for so long that it is not listed any more */
	struct sr_ds_refused {       /* who was refused beside it, the last of them, and when */
		char *who;           /* OWNED, or NULL */
		int64_t ticks;
	} clones[SR_DS_CLONES];
};

struct sr_ds_store { /* of the published copy */
	bool looked; /* since the start */
	enum sr_store_mode mode;
	bool has_content; /* at the last look */
	char why[320];
	int64_t since_ms; /* paused since; 0: it is not */
	struct sr_hash map;
	uint64_t leaves, bytes;
	uint64_t epoch, seq; /* what a rise of the epoch dated is as of then or later; 0, 0: nothing is dated */
	size_t unknowns;
	char *unknown[SR_DS_UNKNOWN_SHOWN]; /* "path: why"; OWNED */
	char *held;                         /* deletions that wait, as JSON, or NULL; OWNED */
	struct sr_watch_report watch;
	char **exclude;                     /* by which `map` was seen; OWNED */
	size_t excludes;
};

struct sr_ds_end { /* see ends.c */
	uint64_t store; /* its id */
	uint64_t epoch, seq;
};

struct sr_ds_start { /* see fork.c */
	struct sr_uuid id;
	uint64_t epoch, seq; /* where we stood */
};

struct sr_ds_fork { /* epoch `epoch` ended at `end` here when `raised` began; another history of it had parted from ours at seq */
	uint64_t epoch, seq, end, raised;
};

struct sr_ds_proposal { /* a webserver would have a table otherwise than it is here */
	size_t store;
	char *table; /* OWNED */
	struct sr_uuid webserver;
	struct sr_hash from, to; /* fingerprints */
};

struct sr_ds_going { /* files that were deleted directly and are not committed yet, see limit.c */
	uint64_t net;
	int64_t since; /* when they became so many, of sr_ticks_ms */
};

struct sr_ds_clock { /* see clock.c */
	int64_t ms, ticks; /* the time for what ages, and of sr_ticks_ms when it was that */
	bool leapt;        /* the wall clock is far ahead of it, */
	int64_t leapt_ticks; /* since when */
	bool noted;        /* in state.db */
};

struct sr_datastore {
	const struct sr_config *config;
	struct sr_replica *r;
	struct sr_uuid start;    /* random per start */
	struct sr_admit admit;   /* secrets */
	struct sr_balance *balance;
	struct sr_shutdown *shutdown; /* BORROWED; NULL: none */
	bool last_asked, last_done; /* the last turn of a shutdown; with face */
	struct sr_page *page;
	struct sr_verifier *verifier; /* from sr_datastore_listen on */
	struct sr_watcher *watcher; /* of its thread; NULL: there is none */
	char *certificate, *key; /* paths; NULL: plain HTTP */

	pthread_mutex_t writer;
	struct sr_anchor at; /* instance none: not founded */
	bool recovered;
	char (*fault)[256];                  /* per store: why its last scan failed; "" */
	struct sr_ds_going *going;           /* per store; OWNED */
	int64_t look_at;                     /* when the last turn would have them looked at again, of sr_ticks_ms; 0: it has none */
	struct sr_ledger *ledger; /* of deletions */
	struct sr_ds_proposal *proposals; /* OWNED; see schema.c */
	size_t proposals_n;
	struct sr_ds_end *ends; /* OWNED */
	size_t ends_n;
	struct sr_anchor began;     /* `at`, before this start did anything; instance none: it founds */
	struct sr_ds_start *starts; /* OWNED */
	size_t starts_n;
	bool start_added; /* this one is among them */
	bool judging;             /* a scan's deletions are judged: it is an ordinary one */
	bool scan_approved;       /* it found some that an operator let through: webservers are told when it is committed */
	size_t staging;                      /* pushes that may have staged files; what is left over is swept when there are none */
	uint64_t trimmed_epoch, trimmed_seq; /* oldest readable root at the last trim, */
	int64_t trimmed_ms;                  /* and when that was */
	struct sr_ds_clock clock;
	struct sr_buf fresh;                 /* records of what is about to be published: hash, string */
	bool *judged;                        /* per store: its last scan was an ordinary one, and went through */
	bool *swept;                         /* per store: its kept files were compared with state.db */

	pthread_mutex_t face;
	bool ready, unfounded; /* unfounded: its stores have content, and it waits for the operator's word */
	int64_t unfounded_ms; /* since when */
	char why[256];
	struct sr_err broken;     /* code SR_OK: it is not */
	bool addressed;           /* where we listen is written down */
	char full[256];           /* why the disk refused what a webserver sent last; sr_ds_full */
	bool read_only;           /* for want of room in the state directory, when it was looked at last */
	int64_t full_ms, full_ticks; /* the first of them, and that one */
	uint64_t room;            /* bytes in memory of large rows that are on their way here */
	struct sr_anchor shown;   /* the published `at` */
	uint64_t approved_epoch, approved_seq; /* up to there an operator let deletions through; written with writer and face held */
	uint32_t settings;        /* random; another one when what a check-in is told beside the tree may be another */
	uint32_t woken_settings;  /* when it was published last */
	struct sr_ds_fork fork;   /* written with writer and face held; raised 0: there is none */
	struct sr_ds_change changes[SR_DS_CHANGES]; /* oldest first, each from where the one before led to */
	size_t changes_n, changes_bytes;
	struct sr_ds_root *roots; /* oldest first */
	size_t roots_n, roots_cap;
	struct sr_ds_pin pins[SR_DS_PINS];
	struct sr_uuid *predecessors;
	size_t predecessors_n;
	struct sr_ds_store *stores;
	struct sr_ds_webserver *webservers;
	size_t webservers_n;
	uint64_t interval; /* seconds */
	uint64_t trash_days, trash_max_bytes; /* written with writer and face held */
	uint64_t trim_days;       /* Webserver-Trim-Days; the same */
	int64_t started_ticks;
	char stranger[160]; /* who was refused last for its protocol and did not say who it is */
	struct sr_trash trash; /* at the last trim */
	bool trash_waits;      /* nothing of it ages, for the clock leapt */
	struct sr_histogram scan_duration; /* since the start */
	uint64_t scans_ok, scans_failed;

	pthread_mutex_t old_lock; /* of the reader below */
	struct sr_state *old;     /* read-only, for records of older roots */

	pthread_t thread;
	pthread_cond_t turn; /* with face */
	bool running, stopping, asked;

	struct sr_serve serve;
	struct sr_hello hello;
	struct sr_conflict_routes conflicts;
	struct sr_peers *peers;
	struct sr_relay relay;
	struct sr_metrics metrics;
	struct sr_results *results; /* it has none of its own, and passes on those of the webservers */
	struct sr_server *server;
};

/* --- history.c ---------------------------------------------------------------------------------------------------- */

SR_MUST enum sr_status sr_ds_history_load(struct sr_datastore *d, struct sr_err *err);
/* With face held. */
enum sr_history sr_ds_verdict(const struct sr_datastore *d, const struct sr_anchor *anchor);
/* When did the datastore go beyond (epoch, seq)?  0: it did not.  With face held. */
int64_t sr_ds_passed_ms(const struct sr_datastore *d, uint64_t epoch, uint64_t seq);
/* Tell the quick handlers of the root that was just committed (writer held), keep its nodes, let those of old ones go, wake who waits. */
void sr_ds_publish(struct sr_datastore *d);
/* Judge anew what waits; writer held. */
void sr_ds_wake(struct sr_datastore *d);
void sr_ds_not_ready(struct sr_datastore *d, const char *why);
/* state.db failed when the stores were already changed.  Returns err->code. */
enum sr_status sr_ds_break(struct sr_datastore *d, const struct sr_err *err);
/* The oldest root that is readable.  false: there is none.  Writer held. */
bool sr_ds_oldest_readable(struct sr_datastore *d, struct sr_ds_root *out);
void sr_ds_history_free(struct sr_datastore *d);

/* --- changes.c ---------------------------------------------------------------------------------------------------- */

/* A row that is committed, for the next of these.  Writer held. */
void sr_ds_changes_fresh(struct sr_datastore *d, const struct sr_leaf *leaf);
/* From what is shown to what is to be shown.  Writer held. */
void sr_ds_changes_make(struct sr_datastore *d, struct sr_ds_change *out);
/* With face held: CONSUMES its bytes; */
void sr_ds_changes_add(struct sr_datastore *d, struct sr_ds_change *change);
/* and what leads from `known` to what is shown, appended.  false: that is not known. */
bool sr_ds_changes_since(const struct sr_datastore *d, const struct sr_anchor *known, struct sr_buf *out);
void sr_ds_changes_free(struct sr_datastore *d);

/* --- found.c ------------------------------------------------------------------------------------------------------ */

SR_MUST enum sr_status sr_ds_identity_load(struct sr_datastore *d, struct sr_err *err);
/* Instance, epoch, seq and root, in the caller's state transaction. */
SR_MUST enum sr_status sr_ds_identity_put(struct sr_datastore *d, const struct sr_anchor *at, struct sr_err *err);
/* Found or continue; SR_E_UNAVAILABLE with what the operator has to do.  adopt: content without a state is taken as it is. */
SR_MUST enum sr_status sr_ds_found(struct sr_datastore *d, bool adopt, struct sr_err *err);
/* Compare markers with what we wrote; raise the epoch when a store was replaced. */
SR_MUST enum sr_status sr_ds_check_markers(struct sr_datastore *d, struct sr_err *err);
SR_MUST enum sr_status sr_ds_adopt(struct sr_datastore *d, struct sr_err *err);

/* --- ends.c -------------------------------------------------------------------------------------------------------- */

SR_MUST enum sr_status sr_ds_ends_load(struct sr_datastore *d, struct sr_err *err);
/* An epoch of store i has ended at `end`, and what is noted of later ones is of another history.  In the caller's state transaction. */
SR_MUST enum sr_status sr_ds_end_add(struct sr_datastore *d, size_t i, const struct sr_anchor *end, struct sr_err *err);
/* Writer held. */
bool sr_ds_is_past(const struct sr_datastore *d, size_t i, uint64_t epoch, uint64_t seq);
/* Writer held.  No date of a pushed leaf is later than now: one beyond that would win all unions to come. */
void sr_ds_bound_as_of(const struct sr_datastore *d, struct sr_leaf *leaf);
void sr_ds_ends_free(struct sr_datastore *d);

/* --- fork.c -------------------------------------------------------------------------------------------------------- */

SR_MUST enum sr_status sr_ds_starts_load(struct sr_datastore *d, struct sr_err *err);
/* This start is to be known before any webserver hears of it. */
SR_MUST enum sr_status sr_ds_start_add(struct sr_datastore *d, struct sr_err *err);
/* Has another history parted from ours in this epoch, by what held webservers tell?  `raised` is left to the caller.  Writer held; takes face. */
bool sr_ds_fork_find(struct sr_datastore *d, struct sr_ds_fork *out);
/* In the caller's state transaction. */
SR_MUST enum sr_status sr_ds_fork_put(struct sr_datastore *d, const struct sr_ds_fork *fork, struct sr_err *err);
void sr_ds_starts_free(struct sr_datastore *d);

/* --- scan.c ------------------------------------------------------------------------------------------------------- */

/* Scan store i and commit what was changed directly.  A fault is noted in d->fault[i], too. */
SR_MUST enum sr_status sr_ds_scan(struct sr_datastore *d, size_t i, struct sr_err *err);
/* Only take in what is there: no journal, no deleted names, no new seq; not published.  For a store that was put in the place of ours. */
SR_MUST enum sr_status sr_ds_scan_quietly(struct sr_datastore *d, size_t i, struct sr_err *err);
/* The root map may have changed without a leaf (a store more or less in the configuration): that is a new root, too. */
SR_MUST enum sr_status sr_ds_advance(struct sr_datastore *d, struct sr_err *err);

/* --- clock.c ------------------------------------------------------------------------------------------------------ */

/* After the roots. */
SR_MUST enum sr_status sr_ds_clock_load(struct sr_datastore *d, struct sr_err *err);
/* Sets d->clock.ms.  Writer held. */
SR_MUST enum sr_status sr_ds_clock_look(struct sr_datastore *d, struct sr_err *err);

/* --- trash.c ------------------------------------------------------------------------------------------------------ */

/* Forget what need not be kept any longer: when the oldest readable root is another than at the last time, and every minute. */
SR_MUST enum sr_status sr_ds_trim(struct sr_datastore *d, struct sr_err *err);
/* The disk is full, and what was refused for it will come again: it is logged once, and shown as long as it does.  Face not held. */
void sr_ds_note_full(struct sr_datastore *d, const char *why);
/* So, and the older half of what is kept goes, but for what readable roots need.  Writer held. */
void sr_ds_make_room(struct sr_datastore *d, const struct sr_err *full);
/* NULL: nothing was refused for the disk within three intervals, or a push went through since.  Face held. */
const char *sr_ds_full(const struct sr_datastore *d);
void sr_ds_had_room(struct sr_datastore *d); /* a push went through */
/* Is there room in the state directory for what a commit of so many leaves writes there?  It is asked before anything is touched: a state.db that cannot
 * follow what went into the stores ends the daemon.  SR_E_FULL: it is noted; for no leaves, so is that nothing is taken, until that is asked again. */
SR_MUST enum sr_status sr_ds_room(struct sr_datastore *d, uint64_t leaves, struct sr_err *err);
/* What was replaced since then is kept, as far as the bytes allow. */
int64_t sr_ds_kept_since_ms(const struct sr_datastore *d);
/* Tell the quick handlers how much there is. */
SR_MUST enum sr_status sr_ds_trash_show(struct sr_datastore *d, struct sr_err *err);
/* <store>/.sameroot/kept, made when asked to; -1: it is not there. */
int sr_ds_kept_dir(struct sr_datastore *d, size_t i, bool make);
/* For sr_serve: content that only older roots have. */
enum sr_status sr_ds_older(void *ctx, size_t store, struct sr_bytes path, const struct sr_version *version, struct sr_buf *buf,
			   struct sr_content *out, struct sr_err *err);

/* --- a push: push.c, decide.c, commit.c, record.c, recover.c ---------------------------------------------------------------- */

enum sr_ds_fate {
	SR_FATE_GO,      /* to be applied */
	SR_FATE_ALREADY, /* is there; checked with the rest */
	SR_FATE_TOUCH,   /* is there, and its as_of rises */
	SR_FATE_REFUSED,
};

struct sr_ds_part {               /* what a push has for one store */
	struct sr_leaves *leaves; /* as received, sorted; NULL: nothing */
	uint8_t *fate, *why;      /* per leaf; why: enum sr_refusal */
	bool *sticky;             /* refused by what an attempt found: stays so */

	struct sr_leaves *go; /* of this attempt, with `expect` as the tree has it */
	size_t *index;        /* go -> leaves */
	bool *applied;        /* per go */
	uint64_t *signature;
	struct sr_leaves *losers; /* rows to be archived before the commit: path, expect: the loser, to: the winner */
	struct sr_tally tally;    /* what it deletes, of this attempt */
	struct sr_buf kept;       /* of files that went to kept/: hash, be64 bytes */
	struct sr_buf shed;       /* text: rows that a table which was built anew does not take, the first of them, */
	size_t shed_n;            /* of so many */
	int64_t *mtime_ns;        /* per go: of the file that was replaced; 0: none, or not known */
	struct sr_marker marker;
	bool prepared, committed;
	bool marked; /* and its marker is in the store */
	bool stale; /* the disk is not what the tree says: scan first */
};

struct sr_ds_push {
	struct sr_datastore *d;
	struct sr_push_head head;
	struct sr_ds_part *parts; /* one per store of the replica */
	size_t leaves;
	struct sr_push_answer answer;
	struct sr_buf text; /* of the answer, as stored and sent */
	int status;         /* HTTP */
	char detail[512]; /* what was wrong with a store's part, or empty */
	struct sr_ds_objection { /* of an operator's edit: why a row was refused, in words that name what is in its way */
		size_t store;
		struct sr_buf path;
		char *why;
	} *objections; /* SR_DS_SHOWN at most */
	size_t objections_n;
	uint64_t archiving; /* bytes at most, of this attempt */

	struct sr_stage *stage; /* of the file being received */
	struct sr_stager *stager;
	bool staged;            /* counted in d->staging */
	uint64_t room;          /* counted in d->room */
	bool no_room; /* in the state directory: refused before anything was touched */
};

void sr_ds_push_init(struct sr_ds_push *p, struct sr_datastore *d);
void sr_ds_push_free(struct sr_ds_push *p);
/* Forget an attempt at part i, but for what was sent. */
void sr_ds_part_reset(struct sr_ds_part *part);

/* Is it a repeat (the stored answer is the answer), or stale?  Then p->status and p->text are set.  Writer held. */
SR_MUST enum sr_status sr_ds_chain(struct sr_ds_push *p, struct sr_err *err);
/* Quick handlers are told of a webserver's new last push: what was at `before` became d->at by it. */
void sr_ds_note_push(struct sr_ds_push *p, const struct sr_anchor *before);
void sr_ds_note_refused(struct sr_ds_push *p); /* deletions of it are held; takes face */

/* Fill fate and why of every leaf from the tree as it is.  *refused: how many may not go. */
SR_MUST enum sr_status sr_ds_decide(struct sr_ds_push *p, size_t *refused, struct sr_err *err);
/* Of rows that depend by a foreign key on rows that were refused: refuse these, too.  Coarse: by table. */
SR_MUST enum sr_status sr_ds_decide_depending(struct sr_ds_push *p, size_t i, struct sr_err *err);
/* Leaf of `path` in a sorted spool: its index, or SIZE_MAX. */
size_t sr_ds_leaf_find(struct sr_leaves *leaves, struct sr_bytes path);

/* Why that leaf of store i was refused, in words. */
const char *sr_ds_why_refused(const struct sr_ds_push *p, size_t i, const struct sr_refused *f);
/* Decide and commit; p->answer, p->text and p->status are filled.  Writer held. */
SR_MUST enum sr_status sr_ds_commit(struct sr_ds_push *p, struct sr_err *err);
/* p->answer, of the leaves that were refused so far. */
SR_MUST enum sr_status sr_ds_answer_draft(struct sr_ds_push *p, enum sr_push_verdict verdict, struct sr_err *err);
/* Nothing of it goes: so it is answered, and remembered. */
SR_MUST enum sr_status sr_ds_refuse(struct sr_ds_push *p, struct sr_err *err);
/* What was applied, into state.db with the answer; then published. */
SR_MUST enum sr_status sr_ds_record(struct sr_ds_push *p, struct sr_err *err);
/* Is leaf j of part->go to be applied?  In recovery there are only leaves that were. */
bool sr_ds_goes(const struct sr_ds_part *part, size_t j);
/* The callbacks of an apply of part i. */
struct sr_ds_apply {
	struct sr_ds_push *p;
	size_t i;
	bool kept_some; /* a leaf was refused by what is there */
};
void sr_ds_apply_ops(struct sr_ds_apply *a, struct sr_apply_ops *ops);
/* The head and the refusals of a push as an intent's note, and back. */
void sr_ds_note_print(struct sr_buf *out, struct sr_ds_push *p);
SR_MUST enum sr_status sr_ds_note_parse(struct sr_bytes note, struct sr_ds_push *p, struct sr_err *err);

SR_MUST enum sr_status sr_ds_recover(struct sr_datastore *d, struct sr_err *err);

/* Take a leaf into part i, as it is.  COPIES it. */
SR_MUST enum sr_status sr_ds_push_add(struct sr_ds_push *p, size_t i, const struct sr_leaf *leaf, struct sr_err *err);
/* Nothing more is staged for it; what is left over goes.  Writer held. */
void sr_ds_push_end_staging(struct sr_ds_push *p);

/* Read a whole push from `read`, decide, commit: what is to be answered is in p->status and p->text. */
SR_MUST enum sr_status sr_ds_push_take(struct sr_ds_push *p, sr_bundle_read_fn *read, void *ctx, struct sr_err *err);
enum sr_status sr_ds_push_handler(void *ctx, struct sr_request *req, struct sr_err *err);
/* All earlier pushes of a webserver count as cancelled.  Writer held; in the caller's step. */
SR_MUST enum sr_status sr_ds_cancel_pushes(struct sr_datastore *d, const struct sr_uuid *webserver, struct sr_err *err);
enum sr_status sr_ds_settle_handler(void *ctx, struct sr_request *req, struct sr_err *err);

/* --- edit.c ------------------------------------------------------------------------------------------------------- */

/* An operator's change of the datastore's stores: compare and swap from `expect` to `to`, one commit, with all the history and safety of a push.
 * Begin; stage what content there is (sr_stage_*), add leaves, a store's each path once; commit; end, which also frees.  The writer is not held
 * by the caller.  What it deletes no limit holds, here or at webservers. */
void sr_ds_edit_begin(struct sr_ds_push *p, struct sr_datastore *d);
SR_MUST enum sr_status sr_ds_edit_add(struct sr_ds_push *p, size_t i, const struct sr_leaf *leaf, struct sr_err *err);
/* Afterwards p->answer.refused names what was not done, and p->answer.at says as of when the rest is there.  SR_E_CHANGED names
 * the first that was not.  whole: all or nothing, but for files that change at the very moment. */
SR_MUST enum sr_status sr_ds_edit_commit(struct sr_ds_push *p, bool whole, struct sr_err *err);
void sr_ds_edit_end(struct sr_ds_push *p);
/* Is it one?  (Its head names this datastore.) */
bool sr_ds_is_edit(const struct sr_ds_push *p);
const char *sr_ds_refusal_words(enum sr_refusal why); /* for the operator */

/* --- journal.c ----------------------------------------------------------------------------------------------------- */

/* One moment: the stores' maps, held, and state.db as it was when they were taken.  Opened with the writer not held. */
struct sr_ds_past {
	struct sr_datastore *d;
	struct sr_state *state; /* a reader */
	struct sr_hash *maps;   /* per store */
	struct sr_anchor at;
	struct sr_root_row first; /* of the journal, if there is any */
	struct sr_root_row since; /* before that, all was as at this root from this time on; at_ms 0: not known */
	bool any, trimmed;
};
SR_MUST enum sr_status sr_ds_past_open(struct sr_ds_past *p, struct sr_datastore *d, struct sr_err *err);
void sr_ds_past_close(struct sr_ds_past *p);
SR_MUST enum sr_status sr_ds_past_now(struct sr_ds_past *p, size_t i, struct sr_bytes path, struct sr_version *out, struct sr_err *err);
/* Is the content of this version of `path` kept?  What has none is; and the record of equal rows without a key, as long as there is one of them. */
SR_MUST enum sr_status sr_ds_past_kept(struct sr_ds_past *p, size_t i, struct sr_bytes path, const struct sr_version *version, bool *out,
				       struct sr_err *err);
/* A place as an operator writes it.  A row is called by the text of its key, from which the key cannot be told: then `path` is its table's. */
struct sr_ds_place {
	struct sr_replica_store *s; /* NULL: all of them */
	size_t i;
	struct sr_buf path;
	char *row; /* its text, or NULL; OWNED */
};
SR_MUST enum sr_status sr_ds_place(struct sr_ds_place *out, struct sr_datastore *d, struct sr_bytes text, struct sr_err *err);
void sr_ds_place_free(struct sr_ds_place *p);
bool sr_ds_place_has(const struct sr_ds_place *p, struct sr_bytes path); /* of what is at or below p->path: is it meant? */
/* Is what the place names there now? */
SR_MUST enum sr_status sr_ds_past_there(struct sr_ds_past *p, const struct sr_ds_place *place, bool *out, struct sr_err *err);
/* The newest `most` changes, as in its "entries" but for "kept"; waits for no commit.  *out OWNED BY CALLER (json_decref). */
SR_MUST enum sr_status sr_ds_newest_json(struct sr_datastore *d, size_t most, struct json_t **out, struct sr_err *err);
enum sr_status sr_ds_log_get(void *ctx, struct sr_request *req, struct sr_err *err);

/* --- upload.c ----------------------------------------------------------------------------------------------------- */

enum sr_status sr_ds_upload_get(void *ctx, struct sr_request *req, struct sr_err *err);
enum sr_status sr_ds_upload_put(void *ctx, struct sr_request *req, struct sr_err *err);
enum sr_status sr_ds_upload_delta(void *ctx, struct sr_request *req, struct sr_err *err);

/* --- schema.c ----------------------------------------------------------------------------------------------------- */

/* A webserver pushes this TABLE leaf, with SR_LEAF_EDITED: its table is another since they agreed on `expect`. */
void sr_ds_propose(struct sr_datastore *d, size_t store, const struct sr_leaf *table, const struct sr_uuid *webserver);
/* Do all webservers that are about propose just that?  Takes face. */
bool sr_ds_agreed(struct sr_datastore *d, size_t store, const struct sr_leaf *table);
void sr_ds_proposals_free(struct sr_datastore *d);
/* The webserver's schema text came: what its tables' definitions are is kept, and asked for.  Within a state transaction. */
SR_MUST enum sr_status sr_ds_note_definitions(struct sr_datastore *d, size_t store, const struct sr_uuid *webserver, struct sr_bytes text,
					      struct sr_err *err);
/* Have all webservers that are about, and have the table, this definition of it?  Takes face. */
bool sr_ds_is_defined_so(struct sr_datastore *d, size_t store, struct sr_bytes table, const struct sr_hash *definition);
/* A table of the store was built anew: the next scan that goes through finds its rows in a new shape, and none of them was deleted.  Within the
 * state transaction that has the table's new shape. */
SR_MUST enum sr_status sr_ds_reshaped(struct sr_datastore *d, size_t store, struct sr_err *err);
bool sr_ds_is_reshaped(struct sr_datastore *d, size_t store); /* and that scan is still to come */
/* Is this that scan?  Within its state transaction; forgotten when that is committed. */
SR_MUST enum sr_status sr_ds_was_reshaped(struct sr_datastore *d, size_t store, bool *was, struct sr_err *err);

/* --- limit.c ------------------------------------------------------------------------------------------------------ */

SR_MUST enum sr_status sr_ds_limit_load(struct sr_datastore *d, struct sr_err *err);
/* Refuse what the deletion limit holds of part i, whose leaves have their fates. */
SR_MUST enum sr_status sr_ds_limit(struct sr_ds_push *p, size_t i, struct sr_err *err);
/* The rest of the push was committed. */
void sr_ds_limit_done(struct sr_ds_push *p);
/* sr_judge_fn */
enum sr_status sr_ds_limit_scan(void *ctx, size_t i, const struct sr_hash *before, const struct sr_hash *after, struct sr_err *err);
SR_MUST enum sr_status sr_ds_approved_here(struct sr_datastore *d, struct sr_err *err);
/* What a check-in is told of store i.  With face held. */
uint64_t sr_ds_approved_seq(const struct sr_datastore *d, size_t i);

/* --- backup.c ----------------------------------------------------------------------------------------------------- */

struct sr_pin;
/* The root as it is, with what was changed directly taken in first; it stays readable, however long, until sr_ds_unpin.  From any thread, without the
 * writer. */
SR_MUST enum sr_status sr_ds_pin(struct sr_datastore *d, struct sr_pin *out, struct sr_err *err);
void sr_ds_unpin(struct sr_datastore *d, struct sr_pin *pin);
enum sr_status sr_ds_backup_handler(void *ctx, struct sr_request *req, struct sr_err *err);
SR_MUST enum sr_status sr_ds_verifier_start(struct sr_datastore *d, struct sr_err *err);
enum sr_status sr_ds_repair_handler(void *ctx, struct sr_request *req, struct sr_err *err);
enum sr_status sr_ds_verify_handler(void *ctx, struct sr_request *req, struct sr_err *err);

/* --- registry.c --------------------------------------------------------------------------------------------------- */

SR_MUST enum sr_status sr_ds_registry_load(struct sr_datastore *d, struct sr_err *err);
void sr_ds_registry_free(struct sr_datastore *d);
/* The webserver, made when it is not there.  With face held; VALID UNTIL face is let go. */
struct sr_ds_webserver *sr_ds_webserver(struct sr_datastore *d, const struct sr_uuid *uuid);
/* Before it is founded only the operator can say whose history it takes for its own: who asks is shown to them, and meant by their word
 * (sr_ds_adopt).  With face held. */
void sr_ds_note_early(struct sr_datastore *d, const struct sr_check_in *c);
enum sr_status sr_ds_webservers_get(void *ctx, struct sr_request *req, struct sr_err *err);
/* Its host, or its external address where two share a host; NULL: not told.  VALID while face is held. */
const char *sr_ds_webserver_name(const struct sr_datastore *d, const struct sr_ds_webserver *w);
struct sr_ds_listed {
	const struct sr_ds_webserver *w;
	const char *name; /* as above */
};
/* All that are listed, in the registry's order, with little more than one look at each.  OWNED BY CALLER (free), VALID while face is held. */
struct sr_ds_listed *sr_ds_listed(const struct sr_datastore *d, size_t *n);
/* What a webserver tells of itself, as JSON, from `peer`.  SR_E_DATA: it makes no sense; SR_E_LIMIT names the limit. */
SR_MUST enum sr_status sr_ds_webserver_tell(struct sr_datastore *d, const struct sr_uuid *uuid, struct sr_bytes json, const char *peer, struct sr_err *err);
enum sr_status sr_ds_webserver_put(void *ctx, struct sr_request *req, struct sr_err *err);
struct json_t;
SR_MUST enum sr_status sr_ds_ask_registry(void *ctx, struct sr_buf *out, struct sr_err *err); /* the same as JSON; ctx: the datastore */
struct json_t *sr_ds_webservers_json(struct sr_datastore *d); /* OWNED BY CALLER (json_decref); takes face */

/* --- seen.c -------------------------------------------------------------------------------------------------------- */

/* With face held: */
void sr_ds_note_seen(struct sr_ds_webserver *w);
uint64_t sr_ds_interval_of(const struct sr_datastore *d, const struct sr_ds_webserver *w); /* seconds */
bool sr_ds_is_stale(const struct sr_datastore *d, const struct sr_ds_webserver *w);        /* three of its intervals without a check-in */
bool sr_ds_is_listed(const struct sr_ds_webserver *w);
/* With the writer held: write down when they were seen, if that is minutes newer than what is written, or at all; and let go of those that were not for
 * Webserver-Trim-Days. */
SR_MUST enum sr_status sr_ds_seen_keep(struct sr_datastore *d, bool all, struct sr_err *err);
SR_MUST enum sr_status sr_ds_seen_trim(struct sr_datastore *d, struct sr_err *err);
/* DELETE /api/webservers/{}: an admin lets go of one that is stale, before that time. */
enum sr_status sr_ds_webserver_delete(void *ctx, struct sr_request *req, struct sr_err *err);

/* --- metrics.c ----------------------------------------------------------------------------------------------------- */

void sr_ds_count_scan(struct sr_datastore *d, enum sr_status rc, int64_t ms); /* takes face */
void sr_ds_tell_metrics(void *ctx, struct sr_metrics_page *p); /* ctx: the datastore */

/* --- protocol.c ----------------------------------------------------------------------------------------------------- */

/* First of all: SR_E_HELD if who asks speaks another protocol.  Takes face. */
SR_MUST enum sr_status sr_ds_protocol_check(struct sr_datastore *d, const struct sr_request *req, struct sr_err *err);
/* With face held: */
void sr_ds_protocol_agrees(struct sr_ds_webserver *w);
char *sr_ds_refused(const struct sr_datastore *d, const struct sr_ds_webserver *w); /* why it is refused now, or NULL; OWNED BY CALLER (free) */

/* --- clones.c ------------------------------------------------------------------------------------------------------ */

SR_MUST enum sr_status sr_ds_tokens_load(struct sr_datastore *d, struct sr_err *err);
/* At a check-in, with face held; peer NULL: of one that waited, it says nothing new.  SR_E_CHANGED: it is not the token that counts; nothing was noted. */
SR_MUST enum sr_status sr_ds_token_check(struct sr_ds_webserver *w, const struct sr_uuid *token, const char *peer, struct sr_err *err);
/* Who was refused a moment ago as a copy of it, with "; " between, or NULL.  OWNED BY CALLER (free).  With face held. */
char *sr_ds_clone(const struct sr_datastore *d, const struct sr_ds_webserver *w);
void sr_ds_forget_clones(struct sr_ds_webserver *w);
/* A start's exchange of tokens, as JSON; *next: the number of the new one. */
SR_MUST enum sr_status sr_ds_token_tell(struct sr_datastore *d, const struct sr_uuid *webserver, struct sr_bytes json, const char *peer, uint64_t *next,
					struct sr_err *err);
enum sr_status sr_ds_token_put(void *ctx, struct sr_request *req, struct sr_err *err);

/* With dashes or without. */
SR_MUST bool sr_ds_parse_uuid(const char *text, struct sr_uuid *out);
/* Can a webserver be called so?  SR_E_DATA: no UUID, or that of nobody, or this datastore's own. */
SR_MUST enum sr_status sr_ds_webserver_uuid(const struct sr_datastore *d, const char *text, struct sr_uuid *out, struct sr_err *err);

/* --- conflicts.c --------------------------------------------------------------------------------------------------- */

/* For the routes of lib/replica/conflict_routes.h. */
enum sr_status sr_ds_conflicts_restore(void *ctx, struct sr_bytes wish, struct sr_buf *out, struct sr_err *err);
/* What lies in a webserver's conflict archive, or came to it and left it, as JSON. */
SR_MUST enum sr_status sr_ds_conflicts_tell(struct sr_datastore *d, const struct sr_uuid *webserver, struct sr_bytes json, struct sr_err *err);
enum sr_status sr_ds_webserver_conflicts_put(void *ctx, struct sr_request *req, struct sr_err *err);
/* As GET /api/conflicts answers, the newest `most` of each node.  *out OWNED BY CALLER (json_decref). */
SR_MUST enum sr_status sr_ds_conflicts_json(struct sr_datastore *d, size_t most, struct json_t **out, struct sr_err *err);
enum sr_status sr_ds_conflicts_get(void *ctx, struct sr_request *req, struct sr_err *err);

/* --- routes.c, admin.c -------------------------------------------------------------------------------------------- */

const struct sr_route *sr_ds_routes(size_t *n);
struct sr_page *sr_ds_page(struct sr_datastore *d); /* page.c; OWNED BY CALLER */
struct json_t *sr_ds_status_json(struct sr_datastore *d); /* as GET /api/admin/status answers; OWNED BY CALLER (json_decref) */
enum sr_status sr_ds_admin_status(void *ctx, struct sr_request *req, struct sr_err *err);
enum sr_status sr_ds_admin_restore(void *ctx, struct sr_request *req, struct sr_err *err); /* restore.c */
enum sr_status sr_ds_admin_adopt(void *ctx, struct sr_request *req, struct sr_err *err);
void sr_ds_reply_json(struct sr_request *req, int status, struct json_t *json); /* CONSUMES json */

#endif
