/* results.h - the results of searches, each on the webserver that ran it, read on any node.
 *
 *     GET /api/results/ID/FILE     (HEAD too) Results-Directory/ID/FILE of whichever webserver has it.  Any user who may log in.
 *
 * What is here is sent from here.  Else the other webservers are asked, those that the registry knows (peers.h), many at once, and the answer of the one
 * that has it is passed on as it comes: memory does not grow with it.  Who had an ID is remembered, and asked alone the next time.  A request that
 * comes from another node says so (Sameroot-Forwarded), and is answered from here or not at all: nothing goes in circles.
 *
 *     404    nobody has it
 *     416    nothing of it is in the Range that was asked for
 *     502    whoever has it, or may have it, does not answer: named
 *     503    too many at once: Retry-After
 *
 * Range (one), If-Range, If-None-Match; ETag and Last-Modified.  The content comes from people, and is never shown as anything but bytes.
 * ID and FILE are names, never paths: what they lead to has to be a file within the directory, and no link is followed.
 *
 * Thread-safe. */
#ifndef SR_NODE_RESULTS_H
#define SR_NODE_RESULTS_H

#include "http/server.h"
#include "lib/node/peers.h"

#define SR_HEADER_FORWARDED "Sameroot-Forwarded" /* of a request: another node asks */
#define SR_HEADER_FOLDER    "Sameroot-Search"    /* of a 404: the search ran here, only that file is not there */

struct sr_results; /* opaque */

struct sr_results_options {
	const char *dir;        /* Results-Directory; it need not be there yet [none] */
	struct sr_peers *peers; /* BORROWED */
	unsigned most;          /* requests at a time, each of which has a worker ... */
	unsigned most_elsewhere; /* ... and how many of these may wait for another node: fewer, or two nodes wait for each other */
};
struct sr_results *sr_results_new(const struct sr_results_options *options); /* COPIES */
/* CONSUMES; NULL is a no-op.  The server has to be stopped, and peers to be there.  Waits for other nodes, a few seconds at most. */
void sr_results_free(struct sr_results *r);

/* The route, with ctx = the struct sr_results. */
const struct sr_route *sr_results_routes(size_t *n);

#endif
