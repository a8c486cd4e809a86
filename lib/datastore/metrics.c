/* metrics.c - what the datastore tells at GET /metrics: itself, and the webservers as its registry has them. */
#include <jansson.h>
#include <string.h>
#include <time.h>

#include "lib/datastore/internal.h"

static const struct sr_metric
	ready = {"sameroot_ready", "1 if the datastore knows its tree and answers check-ins.", SR_METRIC_GAUGE},
	read_only = {"sameroot_read_only", "1 while the datastore takes no push and no direct change for want of room in its state directory.", SR_METRIC_GAUGE},
	scans = {"sameroot_scans_total", "Looks of the datastore at its own stores, by what came of them.", SR_METRIC_COUNTER},
	duration = {"sameroot_scan_duration_seconds", "How long they took.", SR_METRIC_HISTOGRAM},
	trash_files = {"sameroot_trash_files", "Files that are kept of what was replaced or deleted.", SR_METRIC_GAUGE},
	trash_records = {"sameroot_trash_records", "Rows that are kept of what was replaced or deleted.", SR_METRIC_GAUGE},
	trash_bytes = {"sameroot_trash_bytes", "What both take.", SR_METRIC_GAUGE},
	trash_limit = {"sameroot_trash_limit_bytes", "Trash-Max-Bytes.", SR_METRIC_GAUGE},
	webservers = {"sameroot_webservers", "Webservers in the registry.", SR_METRIC_GAUGE};

void sr_ds_count_scan(struct sr_datastore *d, enum sr_status rc, int64_t ms)
{
	pthread_mutex_lock(&d->face);
	sr_histogram_add(&d->scan_duration, ms);
	*(rc == SR_OK ? &d->scans_ok : &d->scans_failed) += 1;
	pthread_mutex_unlock(&d->face);
}

/* --- itself ---------------------------------------------------------------------------------------------------------- */

static void tell_trash(struct sr_metrics_page *p, const json_t *trash)
{
	const struct {
		const struct sr_metric *m;
		const char *name;
	} all[] = {{&trash_files, "files"}, {&trash_records, "records"}, {&trash_bytes, "bytes"}, {&trash_limit, "max_bytes"}};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		sr_metrics_one(p, all[i].m, (double)json_integer_value(json_object_get(trash, all[i].name)));
}

static void tell_scans(struct sr_datastore *d, struct sr_metrics_page *p)
{
	struct sr_histogram took;
	uint64_t ok, failed;

	pthread_mutex_lock(&d->face);
	took = d->scan_duration;
	ok = d->scans_ok;
	failed = d->scans_failed;
	pthread_mutex_unlock(&d->face);
	sr_metrics_begin(p, &scans);
	sr_metrics_add(p, (const char *const[]){"outcome", "ok", NULL}, (double)ok);
	sr_metrics_add(p, (const char *const[]){"outcome", "failed", NULL}, (double)failed);
	sr_metrics_histogram(p, &duration, &took);
}

/* --- the webservers --------------------------------------------------------------------------------------------------- */

/* Negative: it is not known. */
static double lag_of(const json_t *w)
{
	const json_t *v = json_object_get(w, "lag");

	return json_is_integer(v) ? (double)json_integer_value(v) : -1;
}

static double seen_of(const json_t *w)
{
	const char *text = json_string_value(json_object_get(w, "seen"));
	struct tm tm = {0};

	return text && strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm) ? (double)timegm(&tm) : -1;
}

static double stale_of(const json_t *w)
{
	const json_t *v = json_object_get(w, "stale");

	return json_is_boolean(v) ? json_is_true(v) : -1;
}

static double alive_of(const json_t *w)
{
	const char *answer = json_string_value(json_object_get(json_object_get(json_object_get(w, "status"), "balancer"), "answer"));

	return answer ? !strcmp(answer, "ALIVE") : -1;
}

static double epoch_of(const json_t *w)
{
	return json_is_string(json_object_get(w, "instance")) ? (double)json_integer_value(json_object_get(w, "epoch")) : -1;
}

static double seq_of(const json_t *w)
{
	return json_is_string(json_object_get(w, "instance")) ? (double)json_integer_value(json_object_get(w, "seq")) : -1;
}

static double held_of(const json_t *w)
{
	return (double)json_array_size(json_object_get(json_object_get(w, "status"), "held"));
}

static double paused_of(const json_t *w)
{
	return (double)json_array_size(json_object_get(json_object_get(w, "status"), "paused"));
}

static const struct {
	struct sr_metric m;
	double (*of)(const json_t *w);
} of_webservers[] = {
	{{"sameroot_webserver_lag_seconds", "Seconds since the webserver has not had all that the datastore has; 0: it has.", SR_METRIC_GAUGE}, lag_of},
	{{"sameroot_webserver_seen_timestamp_seconds", "When the webserver checked in last, since 1970.", SR_METRIC_GAUGE}, seen_of},
	{{"sameroot_webserver_stale", "1 if the webserver has not checked in for three of its intervals.", SR_METRIC_GAUGE}, stale_of},
	{{"sameroot_webserver_balancer_alive", "1 if the webserver tells load balancers ALIVE, as it said last.", SR_METRIC_GAUGE}, alive_of},
	{{"sameroot_webserver_epoch", "The epoch that the webserver has.", SR_METRIC_GAUGE}, epoch_of},
	{{"sameroot_webserver_sequence", "The commit that the webserver has.", SR_METRIC_GAUGE}, seq_of},
	{{"sameroot_webserver_held", "What is held on the webserver for the operator, as it said last.", SR_METRIC_GAUGE}, held_of},
	{{"sameroot_webserver_paused", "What is paused or left alone on the webserver, as it said last.", SR_METRIC_GAUGE}, paused_of},
};

static void tell_webservers(struct sr_metrics_page *p, const json_t *list)
{
	sr_metrics_one(p, &webservers, (double)json_array_size(list));
	for (size_t m = 0; m < sizeof(of_webservers) / sizeof(*of_webservers); m++) {
		sr_metrics_begin(p, &of_webservers[m].m);
		for (size_t i = 0; i < json_array_size(list); i++) {
			const json_t *w = json_array_get(list, i);
			const char *uuid = json_string_value(json_object_get(w, "uuid")), *name = json_string_value(json_object_get(w, "name"));
			double value = of_webservers[m].of(w);

			/* Two may have one name; without the UUID they would be one time series. */
			if (value >= 0)
				sr_metrics_add(p, (const char *const[]){"webserver", name ? name : uuid, "uuid", uuid, NULL}, value);
		}
	}
}

void sr_ds_tell_metrics(void *ctx, struct sr_metrics_page *p)
{
	struct sr_datastore *d = ctx;
	json_t *status = sr_ds_status_json(d);
	bool founded = json_is_string(json_object_get(status, "instance"));

	sr_metrics_one(p, &ready, json_is_true(json_object_get(status, "ready")));
	sr_metrics_one(p, &read_only, json_is_true(json_object_get(status, "read_only")));
	tell_scans(d, p);
	sr_metrics_history(p, founded ? (uint64_t)json_integer_value(json_object_get(status, "epoch")) : 0,
			   (uint64_t)json_integer_value(json_object_get(status, "seq")));
	sr_metrics_status(p, status);
	tell_trash(p, json_object_get(status, "trash"));
	sr_verifier_tell_metrics(d->verifier, p);
	tell_webservers(p, json_object_get(status, "webservers"));
	json_decref(status);
}
