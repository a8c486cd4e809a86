/* wire.h - what datastore and webserver say to each other, in one place: names, headers, JSON, binary frames.
 *
 * GET /api/tree             the check-in.  Request headers:
 *     Sameroot-Check-In: <node> <instance> <epoch> <seq> <root> <last push> <token>   seven words; "-" for none; hex without dashes.
 *         What the webserver knows: the last (instance, epoch, seq, root) that supports its bases, and the id of its last settled push.
 *     If-None-Match: the ETag of the last answer, when a 304 will do: "<root>-<8 digits>", which are others after a start and when
 *         exclusions, approvals or pauses are others
 *     Sameroot-Protocol: <number> <version>     which protocol the webserver speaks; not said: the first
 *     Sameroot-Key: want     only when it has no tree key yet, or another one
 *   304 when the datastore is at (instance, epoch, root) of the check-in, seq is its seq, and the last push agrees; else 200 with
 * sr_tree_info as JSON; GET /api/changes is the same, with what leads there behind it (changes.h).  503 while it does not know its own tree. ?wait=S puts a 304 off until it would be none, S seconds at most. POST /api/tree/nodes      body: up
 * to 4096 pairs (wanted, mine) of 16 + 16 bytes.  Answer: frames be32 length, 16 bytes hash, node; at most about 256 KiB; 410 when a
 * `wanted` is not here. GET  /api/tree/node/H     one node's bytes POST /api/bundle          header Sameroot-Root: H.  Body: frames be32
 * length, then string store, leaf (path and `to` = the version wanted).  Answer: a bundle with those leaves; one that is no longer readable
 * comes as a frame with SR_LEAF_GONE. POST /api/push            a bundle whose head is sr_push_head; its leaves carry expect, to, flags,
 * epoch, seq.  Answer: sr_push_answer as JSON, 200 for ok and refused, 409 for stale. DELETE /api/push/ID?webserver=NODE&prev=ID   settle:
 * sr_push_answer.   DELETE /api/push/all?webserver=NODE: cancel all earlier pushes; the answer's `id` is the chain's new last id. PUT
 * /api/webservers/NODE  JSON {name, external_addr, sync_port, version, pin, status}
 * PUT /api/webservers/NODE/token  JSON {old, n, new, addr, interval}: each start of a webserver exchanges its token; the answer is {n}.
 */
#ifndef SR_REPLICA_WIRE_H
#define SR_REPLICA_WIRE_H

#include "lib/base/door.h"
#include "lib/leaf/leaf.h"

#define SR_PROTO               1
#define SR_HEADER_CHECK_IN     "Sameroot-Check-In"
#define SR_HEADER_PROTOCOL     "Sameroot-Protocol"
#define SR_HEADER_KEY          "Sameroot-Key"
#define SR_HEADER_ROOT         "Sameroot-Root"
#define SR_HEADER_MTIME        "Sameroot-Mtime" /* of a blob that is a file: ns since 1970, decimal */
#define SR_TOKEN_NUMBERS       ((uint64_t)1 << 62) /* a token's number is below it */
#define SR_WALK_PAIRS          4096
#define SR_WALK_BYTES          (256u << 10)
#define SR_BUNDLE_WANTED       10000 /* leaves in one POST /api/bundle */
#define SR_BUNDLE_WANTED_BYTES (16u << 20)
#define SR_BUNDLE_FRAME        (256u << 20) /* bytes of one leaf's frame: the largest row */
#define SR_BUNDLE_CONTENT      (64u << 20) /* bytes of content that a webserver asks for at once: what a cut costs it at most */

/* Sameroot-Protocol: what this program says there, as "Name: value", appended; whether what another said there is the same protocol; and that in words, "protocol
 * 2 (version 9.9)", of printable ASCII whatever it said. */
#define SR_PROTOCOL_TEXT 80
void sr_protocol_header(struct sr_buf *out, const char *version);
bool sr_protocol_is_ours(const char *value);
void sr_protocol_text(char out[SR_PROTOCOL_TEXT], const char *value);

struct sr_anchor { /* a point of a datastore's history; instance none: no anchor */
	struct sr_uuid instance;
	uint64_t epoch, seq;
	struct sr_hash root;
};

struct sr_check_in {
	struct sr_uuid node;
	struct sr_anchor known;
	struct sr_uuid push; /* last settled push, or none */
	struct sr_uuid token; /* of its last exchange with the datastore, or none */
};
void sr_check_in_print(struct sr_buf *out, const struct sr_check_in *c); /* the header's value */
SR_MUST enum sr_status sr_check_in_parse(const char *value, struct sr_check_in *out, struct sr_err *err);

enum sr_history {                   /* the datastore's view of a webserver's anchor (design section 8) */
		  SR_HISTORY_FIRST, /* no anchor was sent */
		  SR_HISTORY_KNOWN,
		  SR_HISTORY_FORGOTTEN, /* same instance, older than its records */
		  SR_HISTORY_UNION,     /* a higher epoch of the same instance (or a named predecessor): base unknown everywhere */
		  SR_HISTORY_AHEAD,     /* from here on: held */
		  SR_HISTORY_FORK,
		  SR_HISTORY_FOREIGN,
};
const char *sr_history_text(enum sr_history h);
#define SR_STARTS_TOLD 16 /* the starts of the datastore that a webserver met last, which one that is held tells */

struct sr_tree_store {
	char *name;
	uint8_t kind;
	struct sr_hash map;
	uint64_t leaves, bytes;
	uint64_t approved_seq; /* the datastore, or an operator, let through the deletions up to there */
	uint64_t operator_seq; /* an operator did; 0: none in this epoch */
	uint64_t epoch, seq;   /* of a webserver's: as of when its bases are; of the datastore's: what it dated is as of then or later; 0, 0: no date */
	uint64_t unknown;      /* paths that are there and not in the tree */
	char *paused;   /* why, or NULL; on the way, bytes that are not UTF-8 become "?" */
	char **exclude; /* on the way: percent-encoded, for globs are bytes */
	size_t excludes;
};
struct sr_tree_info { /* sr_tree_info_free when done */
	struct sr_anchor at;
	struct sr_uuid node, start, push; /* push: this webserver's last one here */
	struct sr_hash key_id;
	uint64_t max_file; /* the largest file that the datastore takes, bytes; 0: not said */
	bool has_key;
	uint8_t key[SR_KEY_LEN];
	enum sr_history history;
	struct sr_tree_store *stores;
	size_t n;
};
void sr_tree_info_print(struct sr_buf *out, const struct sr_tree_info *info);
SR_MUST enum sr_status sr_tree_info_parse(struct sr_bytes json, struct sr_tree_info *out, struct sr_err *err);
void sr_tree_info_free(struct sr_tree_info *info);

struct sr_push_head {
	struct sr_uuid id, prev, webserver, start;
	struct sr_anchor at; /* what it was planned against */
	unsigned try;        /* 1..3; at the third the datastore commits what it can */
};
void sr_push_head_print(struct sr_buf *out, const struct sr_push_head *h);
SR_MUST enum sr_status sr_push_head_parse(const char *json, struct sr_push_head *out, struct sr_err *err);

enum sr_push_verdict {
	SR_VERDICT_OK,        /* committed; `refused` names what was left out */
	SR_VERDICT_REFUSED,   /* nothing was committed; `refused` holds the current values */
	SR_VERDICT_CANCELLED, /* settled: never committed, never will be */
	SR_VERDICT_STALE, /* made under another start, epoch or predecessor: begin the round anew, or (settling) base of its leaves unknown
			   */
};
enum sr_refusal {
	SR_REFUSED_CHANGED, /* current is not expect */
	SR_REFUSED_DELETED, /* union: its name was deleted after as_of */
	SR_REFUSED_NEWER,   /* union: the datastore's version stands */
	SR_REFUSED_UNIQUE,  /* another row is in the way */
	SR_REFUSED_VOID,    /* it changed while it was sent */
	SR_REFUSED_PAUSED,  /* the store or table is paused there */
	SR_REFUSED_KIND,    /* cannot be put there: a parent is a file, a directory not empty, ... */
	SR_REFUSED_HELD,    /* more deletions than its limit lets through */
	SR_REFUSED_DEPENDS, /* depends on a refused leaf; or a foreign key would refer to nothing */
};
const char *sr_refusal_text(enum sr_refusal why);
struct sr_refused {
	char *store;
	struct sr_bytes path; /* OWNED by the answer */
	struct sr_version current;
	enum sr_refusal why;
};
struct sr_push_answer { /* sr_push_answer_free when done */
	enum sr_push_verdict verdict;
	struct sr_uuid id, start;
	struct sr_anchor at; /* after it */
	struct sr_refused *refused;
	size_t n;
	struct sr_bytes text; /* STALE: why; VALID with the answer */
};
void sr_push_answer_refuse(struct sr_push_answer *a, const char *store, struct sr_bytes path, const struct sr_version *current,
			   enum sr_refusal why);
void sr_push_answer_print(struct sr_buf *out, const struct sr_push_answer *a);
SR_MUST enum sr_status sr_push_answer_parse(struct sr_bytes json, struct sr_push_answer *out, struct sr_err *err);
void sr_push_answer_free(struct sr_push_answer *a);

/* Frames of POST /api/bundle.  A FILE whose expect is its `to` is there already: its leaf comes without content, for the time that goes
 * with it. */
void sr_wanted_add(struct sr_buf *out, const char *store, const struct sr_leaf *leaf);
/* Take the next frame off *in.  *store is OWNED BY CALLER (free); leaf BORROWS in. */
SR_MUST enum sr_status sr_wanted_next(struct sr_reader *in, char **store, struct sr_leaf *leaf, struct sr_err *err);

#endif
