/* health.h - what may keep a webserver from being ALIVE beside its own state: the application's health, and how late it is.
 *
 * A thread of its own asks Health-Check-URL every two seconds.  An answer of 2xx is a good one; two others in a row, or none within three seconds, are
 * SR_FAULT_HEALTH until the next good one.  At the start it is a fault until the first good answer.  The certificate of an https URL is verified by the system's
 * CAs, but on the loopback interface, where there is nobody in between.
 *
 * More than Max-Lag seconds behind is SR_FAULT_LAG.  Nothing is logged but what sr_balance_fault does.  Thread-safe. */
#ifndef SR_NODE_HEALTH_H
#define SR_NODE_HEALTH_H

#include "lib/node/balance.h"

struct sr_health; /* opaque */

struct sr_health_options { /* BORROWED */
	struct sr_balance *balance;
	int64_t (*lag_ms)(void *ctx); /* from any thread */
	void *ctx;
};

/* url: Health-Check-URL, COPIED; NULL: it is not asked.  max_lag_s: Max-Lag; 0: it does not matter. */
SR_MUST enum sr_status sr_health_start(struct sr_health **out, const struct sr_health_options *options, const char *url, uint64_t max_lag_s,
				       struct sr_err *err);
void sr_health_set(struct sr_health *h, const char *url, uint64_t max_lag_s); /* other ones from now on; h NULL: a no-op */
void sr_health_stop(struct sr_health *h); /* CONSUMES; NULL is a no-op.  Waits for an answer that is under way */

/* One look.  SR_OK: it answers, and well. */
SR_MUST enum sr_status sr_health_look(const char *url, struct sr_err *err);

#endif
