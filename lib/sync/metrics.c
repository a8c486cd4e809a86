/* metrics.c - what a webserver counts of its rounds, and tells at GET /metrics. */
#include <jansson.h>

#include "lib/node/metrics.h"
#include "lib/sync/internal.h"

static const struct sr_metric
	rounds = {"sameroot_rounds_total", "Rounds, by what came of them.", SR_METRIC_COUNTER},
	duration = {"sameroot_round_duration_seconds", "How long rounds took.", SR_METRIC_HISTOGRAM},
	entries = {"sameroot_entries_total",
		   "Files, directories and rows that rounds brought here, sent, found equal, merged, or archived.", SR_METRIC_COUNTER},
	requests = {"sameroot_round_requests_total", "Requests that rounds sent to the datastore.", SR_METRIC_COUNTER},
	sent = {"sameroot_round_sent_bytes_total", "Bytes that rounds sent to the datastore.", SR_METRIC_COUNTER},
	received = {"sameroot_round_received_bytes_total", "Bytes that rounds received from the datastore.", SR_METRIC_COUNTER},
	success = {"sameroot_last_success_timestamp_seconds", "When the last round ended that went through, since 1970.", SR_METRIC_GAUGE},
	lag = {"sameroot_lag_seconds", "Seconds for which this webserver has not had all that the datastore has; 0: it has.",
	       SR_METRIC_GAUGE},
	in_sync = {"sameroot_in_sync", "1 if the last round went through and left nothing: nothing held, paused or skipped.",
		   SR_METRIC_GAUGE};

void sr_sync_count_round(struct sr_sync *s, enum sr_status rc, int64_t ms)
{
	const struct sr_sync_result *r = &s->result;
	struct sr_round_counts *c = &s->counts;

	pthread_mutex_lock(&s->report_lock);
	if (rc == SR_OK)
		c->ok++;
	else if (rc == SR_E_HELD)
		c->held++;
	else if (rc == SR_E_UNAVAILABLE || rc == SR_E_BUSY)
		c->unavailable++;
	else
		c->failed++;
	c->sum.pulled += r->pulled;
	c->sum.pushed += r->pushed;
	c->sum.agreed += r->agreed;
	c->sum.merged += r->merged;
	c->sum.conflicts += r->conflicts;
	c->sum.requests += r->requests;
	c->sum.sent += r->sent;
	c->sum.received += r->received;
	sr_histogram_add(&c->duration, ms);
	c->in_sync = rc == SR_OK && r->in_sync;
	c->last_ok_ms = s->last_ok_ms;
	c->at = s->anchor;
	pthread_mutex_unlock(&s->report_lock);
}

static void add(struct sr_metrics_page *p, const char *label, const char *value, uint64_t n)
{
	sr_metrics_add(p, (const char *const[]){label, value, NULL}, (double)n);
}

static void tell_rounds(struct sr_metrics_page *p, const struct sr_round_counts *c)
{
	sr_metrics_begin(p, &rounds);
	add(p, "outcome", "ok", c->ok);
	add(p, "outcome", "held", c->held);
	add(p, "outcome", "unavailable", c->unavailable);
	add(p, "outcome", "failed", c->failed);
	sr_metrics_histogram(p, &duration, &c->duration);
	sr_metrics_begin(p, &entries);
	add(p, "what", "pulled", c->sum.pulled);
	add(p, "what", "pushed", c->sum.pushed);
	add(p, "what", "agreed", c->sum.agreed);
	add(p, "what", "merged", c->sum.merged);
	add(p, "what", "archived", c->sum.conflicts);
	sr_metrics_one(p, &requests, (double)c->sum.requests);
	sr_metrics_one(p, &sent, (double)c->sum.sent);
	sr_metrics_one(p, &received, (double)c->sum.received);
	sr_metrics_one(p, &in_sync, c->in_sync);
}

void sr_sync_tell_metrics(struct sr_sync *s, struct sr_metrics_page *p)
{
	struct sr_buf report = {0};
	struct sr_round_counts c;
	json_t *status;

	sr_sync_report(s, &report);
	status = json_loadb((const char *)report.at, report.len, 0, NULL);
	pthread_mutex_lock(&s->report_lock);
	c = s->counts;
	pthread_mutex_unlock(&s->report_lock);
	tell_rounds(p, &c);
	sr_metrics_begin(p, &success);
	if (c.last_ok_ms)
		sr_metrics_add(p, NULL, (double)c.last_ok_ms / 1000);
	sr_metrics_one(p, &lag, (double)sr_sync_lag_ms(s) / 1000);
	sr_metrics_history(p, sr_uuid_none(&c.at.instance) ? 0 : c.at.epoch, c.at.seq);
	sr_metrics_status(p, status);
	json_decref(status);
	sr_buf_free(&report);
}
