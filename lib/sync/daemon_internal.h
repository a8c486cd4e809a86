/* daemon_internal.h - what the parts of the sync daemon share: its loop (daemon.c) and its HTTP (routes.c). */
#ifndef SR_SYNC_DAEMON_INTERNAL_H
#define SR_SYNC_DAEMON_INTERNAL_H

#include "http/server.h"
#include "lib/node/balance.h"
#include "lib/node/healer.h"
#include "lib/node/health.h"
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
#include "lib/replica/serve.h"
#include "lib/store/watcher.h"
#include "lib/sync/daemon.h"
#include "lib/sync/orders.h"

#define SR_SYNC_WORKERS 24 /* a result that is read slowly has one of them for as long as that takes */

struct sr_sync_daemon {
	const struct sr_config *config;
	struct sr_sync *sync;
	struct sr_admit admit;
	struct sr_serve serve;
	struct sr_hello hello;
	struct sr_conflict_routes conflicts;
	struct sr_balance *balance;
	struct sr_page *page;
	struct sr_health *health;
	struct sr_verifier *verifier;
	struct sr_watcher *watcher; /* NULL: there is none */
	struct sr_peers *peers;
	struct sr_waiter *waiter; /* for news of the datastore */
	int64_t learnt_ms; /* by the loop, of sr_ticks_ms(): when it asked for the registry; 0: not yet */
	struct sr_relay relay;
	struct sr_results *results;
	struct sr_shutdown *shutdown; /* BORROWED */
	struct sr_metrics metrics;
	struct sr_server *server;

	pthread_mutex_t lock;
	pthread_cond_t wake, lending;
	unsigned borrowers;   /* requests that wait for what belongs to the thread that runs rounds */
	bool offered, lent;   /* to any of them; one has it */
	bool flush, flushed;  /* of a shutdown: a round that begins from now on has to take all that is here; it did what it could */
	bool waits;           /* for the datastore, to take what is here; it was said */
	bool looked;          /* at the stores, for the flush */
	int64_t flush_until_ms;
	bool stop, now, one_round; /* one_round: at least one went through, so that the tree is known */
	uint64_t interval_ms;
	struct sr_orders orders;     /* of the operator, before the next round */
	struct sr_config *fresh;     /* of a reload, not taken yet, or NULL */
	struct sr_config *exclusions; /* of the last reload that was taken, or NULL; the round's own */
	enum sr_status last;
	char told_manager[400]; /* the status that the service manager was told last */
	char told[512]; /* the trouble that was logged last: each is logged once */
};

/* --- routes.c ------------------------------------------------------------------------------------------------------------ */

/* As GET /api/admin/status answers; NULL: what the last round left cannot be read.  OWNED BY CALLER (json_decref). */
struct json_t *sr_sync_daemon_status(struct sr_sync_daemon *d);
/* Starts d->server; sync and admit are open. */
SR_MUST enum sr_status sr_sync_daemon_listen(struct sr_sync_daemon *d, struct sr_err *err);

/* --- page.c -------------------------------------------------------------------------------------------------------------- */

struct sr_page *sr_sync_daemon_page(struct sr_sync_daemon *d); /* OWNED BY CALLER */

/* --- daemon.c ------------------------------------------------------------------------------------------------------------ */

/* For a request: have the stores and the state between two rounds, as if this were the thread that runs rounds; until
 * sr_sync_daemon_give_back.  One after the other.  Waits for the end of the round under way, most_s seconds at most (SR_E_BUSY); 0: for as long
 * as it takes.  SR_E_UNAVAILABLE: the daemon is stopping. */
SR_MUST enum sr_status sr_sync_daemon_borrow(struct sr_sync_daemon *d, unsigned most_s, struct sr_err *err);
void sr_sync_daemon_give_back(struct sr_sync_daemon *d);

#endif
