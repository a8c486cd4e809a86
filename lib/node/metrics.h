/* metrics.h - GET /metrics: what a node counts, as Prometheus reads it (text 0.0.4).
 *
 * Names, types and what they say are in the tables of those who tell them, and in sameroot-metrics(7), for each other's test.  What is the same on both
 * daemons is told here: the build, the process, HTTP, the balancer status, the archive; the rest by the daemon.
 *
 * For Control-Auth, and for any user who may log in: nothing of what is synchronised is told, only names of stores, tables and webservers.
 *
 * Thread-safe, as far as `tell` is. */
#ifndef SR_NODE_METRICS_H
#define SR_NODE_METRICS_H

#include "http/server.h"
#include "lib/node/balance.h"
#include "lib/state/archive.h"

struct sr_metrics_page; /* opaque: what is being written */

/* --- writing ------------------------------------------------------------------------------------------------------------- */

enum sr_metric_type { SR_METRIC_COUNTER, SR_METRIC_GAUGE, SR_METRIC_HISTOGRAM };

struct sr_metric {
	const char *name, *help; /* "sameroot_rounds_total": base units, counters end in _total */
	enum sr_metric_type type;
};

/* Begin a metric: what is added from now on is of it.  COPIES nothing: it has to last until the page is done.  One without values is told all the same. */
void sr_metrics_begin(struct sr_metrics_page *p, const struct sr_metric *m);
/* labels: name and value, again and again, with NULL at the end; values are any text: what Prometheus could not read of it is changed.  NULL: none. */
void sr_metrics_add(struct sr_metrics_page *p, const char *const *labels, double value);
/* Begin it, and add one value without labels. */
void sr_metrics_one(struct sr_metrics_page *p, const struct sr_metric *m, double value);

#define SR_HISTOGRAM_BUCKETS 10
struct sr_histogram { /* of durations; {0} is an empty one.  The caller's lock */
	uint64_t count[SR_HISTOGRAM_BUCKETS]; /* that were at most so long: 10 ms, 50 ms, 100 ms, ... one hour, and any */
	double sum; /* seconds */
};
void sr_histogram_add(struct sr_histogram *h, int64_t ms);
void sr_metrics_histogram(struct sr_metrics_page *p, const struct sr_metric *m, const struct sr_histogram *h); /* begins it, too */

/* What every node tells of itself in its status (GET /api/admin/status): stores, what is held and paused.  status NULL: nothing yet. */
struct json_t;
void sr_metrics_status(struct sr_metrics_page *p, const struct json_t *status);
/* sameroot_epoch, sameroot_sequence: where this node is in its datastore's history; epoch 0: nowhere yet. */
void sr_metrics_history(struct sr_metrics_page *p, uint64_t epoch, uint64_t seq);

/* --- the route ----------------------------------------------------------------------------------------------------------- */

struct sr_metrics { /* all BORROWED; the route's ctx */
	const char *role; /* "datastore", "webserver" */
	struct sr_balance *balance;
	struct sr_admit *admit;
	struct sr_archive *archive;
	void (*tell)(void *ctx, struct sr_metrics_page *p);
	void *ctx;
};
const struct sr_route *sr_metrics_routes(size_t *n);

#endif
