/* metrics.c - see metrics.h. */
#include "lib/node/metrics.h"

#include <dirent.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/door.h"
#include "lib/base/version.h"
#include "lib/replica/admit.h"

#define TYPE "text/plain; version=0.0.4; charset=utf-8"

struct sr_metrics_page {
	struct sr_buf out;
	const struct sr_metric *metric; /* of what is added */
};

/* --- writing ------------------------------------------------------------------------------------------------------------- */

void sr_metrics_begin(struct sr_metrics_page *p, const struct sr_metric *m)
{
	static const char *const types[] = {
		[SR_METRIC_COUNTER] = "counter", [SR_METRIC_GAUGE] = "gauge", [SR_METRIC_HISTOGRAM] = "histogram"};

	p->metric = m;
	sr_buf_printf(&p->out, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name, types[m->type]);
}

static void add_label(struct sr_metrics_page *p, const char *name, const char *value)
{
	bool utf8 = sr_utf8_valid(sr_bytes_of(value));

	sr_buf_printf(&p->out, "%s=\"", name);
	for (; *value; value++)
		if (*value == '\\' || *value == '"')
			sr_buf_printf(&p->out, "\\%c", *value);
		else if (*value == '\n')
			sr_buf_printf(&p->out, "\\n");
		else
			sr_buf_byte(&p->out, utf8 || (unsigned char)*value < 0x80 ? (uint8_t)*value : '?');
	sr_buf_byte(&p->out, '"');
}

static void add_number(struct sr_metrics_page *p, double value)
{
	if (value > -1e15 && value < 1e15 && (double)(int64_t)value == value)
		sr_buf_printf(&p->out, "%" PRId64, (int64_t)value);
	else
		sr_buf_printf(&p->out, "%.15g", value);
}

static void add(struct sr_metrics_page *p, const char *suffix, const char *const *labels, double value)
{
	sr_buf_printf(&p->out, "%s%s", p->metric->name, suffix);
	for (size_t i = 0; labels && labels[i]; i += 2) {
		sr_buf_byte(&p->out, i ? ',' : '{');
		add_label(p, labels[i], labels[i + 1]);
	}
	sr_buf_printf(&p->out, "%s ", labels && labels[0] ? "}" : "");
	add_number(p, value);
	sr_buf_byte(&p->out, '\n');
}

void sr_metrics_add(struct sr_metrics_page *p, const char *const *labels, double value)
{
	add(p, "", labels, value);
}

void sr_metrics_one(struct sr_metrics_page *p, const struct sr_metric *m, double value)
{
	sr_metrics_begin(p, m);
	sr_metrics_add(p, NULL, value);
}

/* --- histograms ---------------------------------------------------------------------------------------------------------- */

static const struct bucket {
	int64_t ms;
	const char *text; /* seconds */
} buckets[SR_HISTOGRAM_BUCKETS] = {
	{10, "0.01"}, {50, "0.05"},  {100, "0.1"},  {500, "0.5"},    {1000, "1"},
	{5000, "5"},  {10000, "10"}, {60000, "60"}, {600000, "600"}, {INT64_MAX, "+Inf"},
};

void sr_histogram_add(struct sr_histogram *h, int64_t ms)
{
	for (size_t i = 0; i < SR_HISTOGRAM_BUCKETS; i++)
		h->count[i] += ms <= buckets[i].ms;
	h->sum += (double)ms / 1000;
}

void sr_metrics_histogram(struct sr_metrics_page *p, const struct sr_metric *m, const struct sr_histogram *h)
{
	sr_metrics_begin(p, m);
	for (size_t i = 0; i < SR_HISTOGRAM_BUCKETS; i++)
		add(p, "_bucket", (const char *const[]){"le", buckets[i].text, NULL}, (double)h->count[i]);
	add(p, "_sum", NULL, h->sum);
	add(p, "_count", NULL, (double)h->count[SR_HISTOGRAM_BUCKETS - 1]);
}

/* --- the process --------------------------------------------------------------------------------------------------------- */

static const struct sr_metric build = {"sameroot_build_info", "Version and role of this node; always 1.", SR_METRIC_GAUGE},
			      cpu = {"process_cpu_seconds_total", "Processor time of this process.", SR_METRIC_COUNTER},
			      memory = {"process_resident_memory_bytes", "Memory of this process that is in RAM.", SR_METRIC_GAUGE},
			      files = {"process_open_fds", "Files and sockets that this process has open.", SR_METRIC_GAUGE},
			      started = {"process_start_time_seconds", "When this process started, since 1970.", SR_METRIC_GAUGE};

/* The number in the line of /proc/FILE that begins so; -1: it cannot be read. */
static double proc_number(const char *file, const char *begins)
{
	FILE *in = fopen(file, "re");
	double found = -1;
	char line[256];

	while (in && found < 0 && fgets(line, sizeof line, in))
		if (strncmp(line, begins, strlen(begins)) == 0)
			found = strtod(line + strlen(begins), NULL);
	if (in)
		fclose(in);
	return found;
}

/* Seconds since 1970; the kernel says it in ticks since the machine was started. */
static double start_time(void)
{
	FILE *in = fopen("/proc/self/stat", "re");
	double booted = proc_number("/proc/stat", "btime "), ticks = -1;
	char text[1024];
	size_t n = in ? fread(text, 1, sizeof text - 1, in) : 0;
	char *at;

	if (in)
		fclose(in);
	text[n] = '\0';
	at = strrchr(text, ')'); /* the program's name may hold anything; field 22 is the 20th after it */
	for (unsigned field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (at)
		ticks = strtod(at, NULL);
	return booted < 0 || ticks < 0 ? -1 : booted + ticks / (double)sysconf(_SC_CLK_TCK);
}

static double open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	double n = -1 - 2; /* ".", ".." and the directory itself */

	if (!dir)
		return -1;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void one_if_known(struct sr_metrics_page *p, const struct sr_metric *m, double value)
{
	sr_metrics_begin(p, m);
	if (value >= 0)
		sr_metrics_add(p, NULL, value);
}

static void tell_process(struct sr_metrics_page *p, const char *role)
{
	struct timespec used = {0};

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	sr_metrics_begin(p, &build);
	sr_metrics_add(p, (const char *const[]){"version", SR_VERSION, "role", role, NULL}, 1);
	sr_metrics_one(p, &cpu, (double)used.tv_sec + (double)used.tv_nsec / 1e9);
	one_if_known(p, &memory, proc_number("/proc/self/status", "VmRSS:") * 1024);
	one_if_known(p, &files, open_files());
	one_if_known(p, &started, start_time());
}

/* --- HTTP ---------------------------------------------------------------------------------------------------------------- */

static const struct sr_metric requests = {"sameroot_http_requests_total",
					  "Requests answered, by route, the methods of that, and the answer's status.", SR_METRIC_COUNTER},
			      received = {"sameroot_http_received_bytes_total", "Bytes of the bodies of requests.", SR_METRIC_COUNTER},
			      sent = {"sameroot_http_sent_bytes_total", "Bytes of the bodies of answers.", SR_METRIC_COUNTER},
			      connects = {"sameroot_http_connections_total", "Connections accepted.", SR_METRIC_COUNTER},
			      connections = {"sameroot_http_connections", "Connections that are open.", SR_METRIC_GAUGE},
			      limit_of_connections = {"sameroot_http_connections_limit", "Max-Connections, as far as files may be open.",
						      SR_METRIC_GAUGE},
			      shed = {"sameroot_http_connections_shed_total",
				      "Connections without a request that were closed for others' sake.", SR_METRIC_COUNTER},
			      waiting = {"sameroot_http_waiting_requests", "Requests that wait for a change, as they asked to.",
					 SR_METRIC_GAUGE},
			      seconds = {"sameroot_http_second_secret_total", "Requests that came with the second of two Control-Auths.",
					 SR_METRIC_COUNTER};

static void tell_route(void *ctx, const struct sr_route *route, int status, uint64_t n)
{
	char code[8] = "other";
	const char *const labels[] = {"route", route ? route->path : "none", "method", route ? route->methods : "any", "code", code, NULL};

	if (!status)
		snprintf(code, sizeof code, "none");
	else if (status != SR_STATUS_OTHER)
		snprintf(code, sizeof code, "%d", status % 1000);
	sr_metrics_add(ctx, labels, (double)n);
}

static void tell_http(struct sr_metrics_page *p, struct sr_server *server, struct sr_admit *admit)
{
	struct sr_server_counts c;

	sr_server_counts(server, &c);
	sr_metrics_begin(p, &requests);
	sr_server_count_routes(server, tell_route, p);
	sr_metrics_one(p, &received, (double)c.received);
	sr_metrics_one(p, &sent, (double)c.sent);
	sr_metrics_one(p, &connects, (double)c.connections);
	sr_metrics_one(p, &connections, c.open);
	sr_metrics_one(p, &limit_of_connections, c.most);
	sr_metrics_one(p, &shed, (double)c.shed);
	sr_metrics_one(p, &waiting, c.parked);
	sr_metrics_one(p, &seconds, (double)sr_admit_seconds(admit));
}

/* --- balancer and archive ------------------------------------------------------------------------------------------------- */

static const struct sr_metric alive = {"sameroot_balancer_alive", "1 if a load balancer is told ALIVE, 0 if DEAD or to drain.",
				       SR_METRIC_GAUGE},
			      state = {"sameroot_balancer_state",
				       "1 for the state that this node is in for a load balancer, 0 for the others.", SR_METRIC_GAUGE},
			      entries = {"sameroot_archive_entries", "Versions that lost a conflict and are in the conflict archive.",
					 SR_METRIC_GAUGE},
			      bytes = {"sameroot_archive_bytes", "What they take.", SR_METRIC_GAUGE},
			      limit = {"sameroot_archive_limit_bytes", "Conflict-Max-Bytes; 0: no limit.", SR_METRIC_GAUGE};

static void tell_balancer(struct sr_metrics_page *p, struct sr_balance *balance)
{
	static const char *const states[] = {"starting", "running", "overridden", "draining", "shutting down"};
	json_t *report = sr_balance_report(balance);
	const char *now = json_string_value(json_object_get(report, "state"));

	sr_metrics_one(p, &alive, sr_balance_answer(balance) == SR_LB_ALIVE);
	sr_metrics_begin(p, &state);
	for (size_t i = 0; i < sizeof states / sizeof *states; i++)
		sr_metrics_add(p, (const char *const[]){"state", states[i], NULL}, now && strcmp(now, states[i]) == 0);
	json_decref(report);
}

static void tell_archive(struct sr_metrics_page *p, struct sr_archive *archive)
{
	struct sr_archive_usage u;

	sr_archive_usage(archive, &u);
	sr_metrics_one(p, &entries, (double)u.entries);
	sr_metrics_one(p, &bytes, (double)u.bytes);
	sr_metrics_one(p, &limit, (double)u.limit);
}

/* --- the stores ------------------------------------------------------------------------------------------------------------ */

static const struct sr_metric leaves = {"sameroot_store_leaves", "Files, empty directories and rows of a store.", SR_METRIC_GAUGE},
			      store_bytes = {"sameroot_store_bytes", "Bytes of the content of a store.", SR_METRIC_GAUGE},
			      paused = {"sameroot_store_paused", "1 if a store is paused.", SR_METRIC_GAUGE},
			      deletions = {"sameroot_store_held_deletions", "Deletions of a store that are held for the operator.",
					   SR_METRIC_GAUGE},
			      unknown = {"sameroot_store_unknown_paths",
					 "Paths in a store that are not synchronised: links, devices, too large, unreadable.",
					 SR_METRIC_GAUGE},
			      watched = {"sameroot_store_watched", "1 if the kernel tells of changes in a store, 0 if it is scanned each interval.",
					 SR_METRIC_GAUGE},
			      directories = {"sameroot_store_watched_directories", "Directories of a store that are watched.", SR_METRIC_GAUGE},
			      full_scans = {"sameroot_store_full_scans_total", "Scans of all of a store.", SR_METRIC_COUNTER},
			      held = {"sameroot_held", "What is held for the operator, as sameroot status lists it.", SR_METRIC_GAUGE},
			      waits = {"sameroot_paused", "What is paused or left alone for the operator, as sameroot status lists it.",
				       SR_METRIC_GAUGE},
			      epoch = {"sameroot_epoch", "Restore counter of the datastore's history where this node is.", SR_METRIC_GAUGE},
			      sequence = {"sameroot_sequence", "Commit counter of the datastore's history where this node is.",
					  SR_METRIC_GAUGE};

static double count_of(const json_t *store, const char *one, const char *other)
{
	const json_t *v = json_object_get(store, one);

	if (!v && other)
		v = json_object_get(store, other);
	return json_is_integer(v) ? (double)json_integer_value(v) : -1;
}

static double leaves_of(const json_t *store)
{
	return count_of(store, "leaves", NULL);
}

static double bytes_of(const json_t *store)
{
	return count_of(store, "bytes", NULL);
}

static double paused_of(const json_t *store)
{
	const json_t *mode = json_object_get(store, "state") ? json_object_get(store, "state") : json_object_get(store, "mode");

	return json_is_string(mode) && strcmp(json_string_value(mode), "paused") == 0;
}

static double deletions_of(const json_t *store)
{
	const json_t *list = json_object_get(store, "held");
	double n = 0;

	for (size_t i = 0; i < json_array_size(list); i++)
		n += (double)json_integer_value(json_object_get(json_array_get(list, i), "deletions"));
	return n;
}

static double unknown_of(const json_t *store)
{
	return count_of(store, "unknown_count", "unknown"); /* a webserver's, the datastore's */
}

static double watched_of(const json_t *store)
{
	const json_t *is = json_object_get(json_object_get(store, "watch"), "watched");

	return json_is_boolean(is) ? json_is_true(is) : -1;
}

static double directories_of(const json_t *store)
{
	return count_of(json_object_get(store, "watch"), "directories", NULL);
}

static double full_scans_of(const json_t *store)
{
	return count_of(json_object_get(store, "watch"), "full_scans", NULL);
}

static void tell_stores(struct sr_metrics_page *p, const json_t *list, const struct sr_metric *m, double (*of)(const json_t *store))
{
	sr_metrics_begin(p, m);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *store = json_array_get(list, i);
		const char *name = json_string_value(json_object_get(store, "name"));
		double value = of(store);

		if (name && value >= 0)
			sr_metrics_add(p, (const char *const[]){"store", name, NULL}, value);
	}
}

void sr_metrics_status(struct sr_metrics_page *p, const json_t *status)
{
	const json_t *stores = json_object_get(status, "stores"), *waiting_for = json_object_get(status, "status");

	tell_stores(p, stores, &leaves, leaves_of);
	tell_stores(p, stores, &store_bytes, bytes_of);
	tell_stores(p, stores, &paused, paused_of);
	tell_stores(p, stores, &deletions, deletions_of);
	tell_stores(p, stores, &unknown, unknown_of);
	tell_stores(p, stores, &watched, watched_of);
	tell_stores(p, stores, &directories, directories_of);
	tell_stores(p, stores, &full_scans, full_scans_of);
	sr_metrics_one(p, &held, (double)json_array_size(json_object_get(waiting_for, "held")));
	sr_metrics_one(p, &waits, (double)json_array_size(json_object_get(waiting_for, "paused")));
}

void sr_metrics_history(struct sr_metrics_page *p, uint64_t at_epoch, uint64_t at_seq)
{
	sr_metrics_begin(p, &epoch);
	if (at_epoch)
		sr_metrics_add(p, NULL, (double)at_epoch);
	sr_metrics_begin(p, &sequence);
	if (at_epoch)
		sr_metrics_add(p, NULL, (double)at_seq);
}

/* --- the route ----------------------------------------------------------------------------------------------------------- */

static enum sr_status get_metrics(void *ctx, struct sr_request *req, struct sr_err *err)
{
	const struct sr_metrics *m = ctx;
	struct sr_metrics_page p = {0};

	(void)err;
	tell_process(&p, m->role);
	tell_http(&p, sr_request_server(req), m->admit);
	tell_balancer(&p, m->balance);
	tell_archive(&p, m->archive);
	m->tell(m->ctx, &p);
	sr_reply_bytes(req, 200, TYPE, sr_buf_view(&p.out));
	sr_buf_free(&p.out);
	return SR_OK;
}

static const struct sr_route routes[] = {{"GET", "/metrics", get_metrics, SR_ROUTE_LOGINS | SR_ROUTE_LAST, 0}};

const struct sr_route *sr_metrics_routes(size_t *n)
{
	*n = sizeof routes / sizeof *routes;
	return routes;
}
