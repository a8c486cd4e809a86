/* results_find.h - which webserver has a result: what results.c asks of results_find.c. */
#ifndef SR_NODE_RESULTS_FIND_H
#define SR_NODE_RESULTS_FIND_H

#include "lib/node/peers.h"

struct sr_search; /* opaque: one question to several peers; thread-safe */
struct sr_finder; /* opaque: who is asking at present; thread-safe */

struct sr_finder *sr_finder_new(void);
void sr_finder_free(struct sr_finder *f); /* waits for those who still ask */

struct sr_question {
	const char *method, *target; /* COPIED */
	const char *const *headers;  /* "Name: value" each, with NULL at the end; COPIED */
};

enum sr_found {
	SR_FOUND_FILE,   /* somebody has it: see sr_search_answer */
	SR_FOUND_FOLDER, /* somebody ran that search, and has no such file */
	SR_FOUND_SILENT, /* nobody has it, and some did not answer: see sr_search_silent */
	SR_FOUND_GONE,   /* the same, and all of those are gone for long (struct sr_peer) */
	SR_FOUND_NOTHING,
};

#define SR_ASKED_AT_ONCE 32 /* of one search; each of them has a thread and a connection */

/* Ask all but ourselves, or only the peer with that UUID: first those that are not stale.  `ms` is all the time there is.  BORROWS peers, as long as f is
 * there. */
enum sr_found sr_search_run(struct sr_search **out, struct sr_finder *f, struct sr_peers *peers, const struct sr_peer_list *list,
			    const char *only, const struct sr_question *q, unsigned ms);

/* Of SR_FOUND_FILE: its answer's head, a 200, 206, 304 or 416; and the body of the first two, to be read.  All VALID UNTIL sr_search_free. */
const struct sr_answer *sr_search_answer(const struct sr_search *s);
struct sr_stream *sr_search_stream(const struct sr_search *s); /* NULL: there is none */
/* Of FILE and FOLDER: who it is. */
const char *sr_search_uuid(const struct sr_search *s);
const char *sr_search_name(const struct sr_search *s);
/* "A (connection refused), B (...)", the first few. */
const char *sr_search_silent(const struct sr_search *s);
void sr_search_free(struct sr_search *s); /* lets go of the connection; NULL is a no-op */

#endif
