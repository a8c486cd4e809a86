/* balance.c - see balance.h. */
#include "lib/node/balance.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/door.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/replica/admit.h"

#define OVERRIDE_FILE "lb-override" /* "WORD SINCE_MS BY" and a newline */
#define BY_MOST       160
#define LINE_MOST     (BY_MOST + 64)

enum phase { STARTING, RUNNING, STOPPING };

struct sr_balance {
	pthread_mutex_t saying; /* one override at a time, while it is written; taken before lock */
	pthread_mutex_t lock;   /* of what follows; never held over the disk: a balancer's probe waits for it */
	enum phase phase;
	char *fault[SR_FAULTS]; /* NULL: none; OWNED */
	char *limit;            /* sr_balance_limit; OWNED */
	enum sr_override override;
	char by[BY_MOST + 1];
	int64_t since_ms;
	char *path; /* of OVERRIDE_FILE */
	void (*changed)(void *ctx);
	void *ctx;
};

static const char *const words[] = {
	[SR_OVERRIDE_AUTO] = "auto", [SR_OVERRIDE_ALIVE] = "alive", [SR_OVERRIDE_DEAD] = "dead", [SR_OVERRIDE_DRAIN] = "drain"};

bool sr_override_parse(const char *word, enum sr_override *out)
{
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (strcasecmp(word, words[i]) == 0) {
			*out = (enum sr_override)i;
			return true;
		}
	return false;
}

/* --- what is kept ------------------------------------------------------------------------------------------------------- */

/* "WORD SINCE_MS BY\n" */
static bool take_line(struct sr_balance *b, char *line)
{
	char word[8];
	long long since;
	int at = 0;
	size_t len = strlen(line);

	if (!len || line[len - 1] != '\n')
		return false;
	line[len - 1] = '\0';
	if (sscanf(line, "%7s %lld %n", word, &since, &at) < 2 || !at || !sr_override_parse(word, &b->override))
		return false;
	b->since_ms = since;
	snprintf(b->by, sizeof b->by, "%s", line + at);
	return true;
}

static enum sr_status load(struct sr_balance *b, struct sr_err *err)
{
	char line[LINE_MOST + 1] = "";
	int fd = open(b->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, line, LINE_MOST);
	enum sr_status rc = SR_OK;

	if (fd < 0 && errno == ENOENT)
		return SR_OK;
	if (n < 0)
		rc = sr_err_sys(err, SR_E_IO, "%s", b->path);
	else if (!take_line(b, line))
		rc = sr_err_set(err, SR_E_DATA, "%s: not an override of the balancer status; remove it, and this node judges for itself", b->path);
	if (fd >= 0)
		close(fd);
	return rc;
}

/* The word lies there when it is SR_OK, for the next start, too; else nothing has changed. */
static enum sr_status keep(const struct sr_balance *b, enum sr_override word, int64_t since_ms, const char *by, struct sr_err *err)
{
	char *line;
	enum sr_status rc;

	if (word == SR_OVERRIDE_AUTO)
		return unlink(b->path) != 0 && errno != ENOENT ? sr_err_sys(err, SR_E_IO, "remove %s", b->path) : SR_OK;
	line = sr_format("%s %lld %s\n", words[word], (long long)since_ms, by);
	rc = sr_file_put(b->path, sr_bytes_of(line), 0644, true, err);
	free(line);
	return rc;
}

/* The word holds, whatever comes of this: a node that is to get no more users because its disk fails is not to be refused that by its disk. */
static void settle(const struct sr_balance *b, enum sr_override word)
{
	struct sr_err err;

	if (sr_file_sync_parent(b->path, &err) != SR_OK)
		sr_warn("balancer status: %s holds, but a power cut may undo that: %s", words[word], err.text);
}

/* --- open, close ---------------------------------------------------------------------------------------------------------- */

enum sr_status sr_balance_open(struct sr_balance **out, const char *state_dir, void (*changed)(void *ctx), void *ctx, struct sr_err *err)
{
	struct sr_balance *b = sr_alloc(sizeof *b);
	enum sr_status rc;

	pthread_mutex_init(&b->saying, NULL);
	pthread_mutex_init(&b->lock, NULL);
	b->path = sr_format("%s/" OVERRIDE_FILE, state_dir);
	b->changed = changed;
	b->ctx = ctx;
	rc = load(b, err);
	if (rc != SR_OK) {
		sr_balance_close(b);
		return rc;
	}
	if (b->override != SR_OVERRIDE_AUTO)
		sr_warn("the balancer status is overridden by %s: %s; `sameroot lb auto` ends that", b->by, words[b->override]);
	*out = b;
	return SR_OK;
}

void sr_balance_close(struct sr_balance *b)
{
	if (!b)
		return;
	for (size_t i = 0; i < SR_FAULTS; i++)
		free(b->fault[i]);
	free(b->limit);
	free(b->path);
	pthread_mutex_destroy(&b->lock);
	pthread_mutex_destroy(&b->saying);
	free(b);
}

/* --- what changes --------------------------------------------------------------------------------------------------------- */

static void tell(struct sr_balance *b, bool changed)
{
	if (changed && b->changed)
		b->changed(b->ctx);
}

static void move_on(struct sr_balance *b, enum phase to)
{
	bool changed;

	pthread_mutex_lock(&b->lock);
	changed = b->phase < to;
	if (changed)
		b->phase = to;
	pthread_mutex_unlock(&b->lock);
	tell(b, changed);
}

void sr_balance_running(struct sr_balance *b)
{
	move_on(b, RUNNING);
}

void sr_balance_stopping(struct sr_balance *b)
{
	move_on(b, STOPPING);
}

static bool is_in(struct sr_balance *b, enum phase phase)
{
	bool is;

	pthread_mutex_lock(&b->lock);
	is = b->phase == phase;
	pthread_mutex_unlock(&b->lock);
	return is;
}

bool sr_balance_is_starting(struct sr_balance *b)
{
	return is_in(b, STARTING);
}

bool sr_balance_is_stopping(struct sr_balance *b)
{
	return is_in(b, STOPPING);
}

void sr_balance_fault(struct sr_balance *b, enum sr_fault which, const char *why)
{
	char *was = NULL;
	enum phase phase;
	bool changed;

	pthread_mutex_lock(&b->lock);
	phase = b->phase;
	changed = !b->fault[which] != !why;
	if (changed) {
		was = b->fault[which];
		b->fault[which] = why ? sr_strdup(why) : NULL;
	}
	pthread_mutex_unlock(&b->lock);
	if (changed && phase != RUNNING) /* nobody would be sent here anyway */
		sr_debug("balancer status: %s", why ? why : was);
	else if (changed && why)
		sr_warn("balancer status: %s", why);
	else if (changed)
		sr_info("balancer status: no longer so: %s", was);
	free(was);
	tell(b, changed);
}

void sr_balance_limit(struct sr_balance *b, const char *why)
{
	bool changed;

	pthread_mutex_lock(&b->lock);
	changed = why ? !b->limit || strcmp(b->limit, why) != 0 : b->limit != NULL;
	if (changed) {
		free(b->limit);
		b->limit = why ? sr_strdup(why) : NULL;
	}
	pthread_mutex_unlock(&b->lock);
	tell(b, changed);
}

enum sr_status sr_balance_override(struct sr_balance *b, enum sr_override word, const char *by, struct sr_err *err)
{
	int64_t now = sr_now_ms();
	char who[BY_MOST + 1];
	enum sr_status rc;

	snprintf(who, sizeof who, "%s", by);
	pthread_mutex_lock(&b->saying);
	if (sr_balance_is_stopping(b))
		rc = sr_err_set(err, SR_E_UNAVAILABLE, "it is shutting down: say it again when it has started");
	else
		rc = keep(b, word, now, who, err);
	pthread_mutex_lock(&b->lock);
	if (rc == SR_OK) {
		b->override = word;
		b->since_ms = word == SR_OVERRIDE_AUTO ? 0 : now;
		memcpy(b->by, who, sizeof b->by);
	}
	pthread_mutex_unlock(&b->lock);
	if (rc == SR_OK)
		settle(b, word);
	pthread_mutex_unlock(&b->saying);
	if (rc == SR_OK)
		sr_info("balancer status: %s, said %s", words[word], who);
	tell(b, rc == SR_OK);
	return rc;
}

/* --- what is told --------------------------------------------------------------------------------------------------------- */

struct verdict {
	const char *state, *why; /* why: NULL, or VALID while the lock is held */
	enum sr_lb answer;
	const char *limit; /* so is this */
};

/* What keeps it from being ALIVE, if anything does. */
static const char *first_fault(const struct sr_balance *b)
{
	for (size_t i = 0; i < SR_FAULTS; i++)
		if (b->fault[i])
			return b->fault[i];
	return NULL;
}

/* With the lock held. */
static struct verdict judge(const struct sr_balance *b)
{
	static const enum sr_lb answers[] = {[SR_OVERRIDE_ALIVE] = SR_LB_ALIVE, [SR_OVERRIDE_DEAD] = SR_LB_DEAD, [SR_OVERRIDE_DRAIN] = SR_LB_DRAIN};
	const char *fault = first_fault(b);

	if (b->phase == STOPPING)
		return (struct verdict){"shutting down", NULL, SR_LB_DEAD, NULL};
	if (b->override != SR_OVERRIDE_AUTO)
		return (struct verdict){b->override == SR_OVERRIDE_DRAIN ? "draining" : "overridden", fault, answers[b->override], b->limit};
	if (b->phase == STARTING)
		return (struct verdict){"starting", "its tree is not known yet", SR_LB_DEAD, NULL};
	return (struct verdict){"running", fault, fault ? SR_LB_DEAD : SR_LB_ALIVE, b->limit};
}

enum sr_lb sr_balance_answer(struct sr_balance *b)
{
	enum sr_lb answer;

	pthread_mutex_lock(&b->lock);
	answer = judge(b).answer;
	pthread_mutex_unlock(&b->lock);
	return answer;
}

json_t *sr_balance_report(struct sr_balance *b)
{
	static const char *const answers[] = {[SR_LB_DEAD] = "DEAD", [SR_LB_ALIVE] = "ALIVE", [SR_LB_DRAIN] = "DRAIN"};
	json_t *o = json_object();
	struct verdict v;

	pthread_mutex_lock(&b->lock);
	v = judge(b);
	json_object_set_new(o, "state", json_string(v.state));
	json_object_set_new(o, "answer", json_string(answers[v.answer]));
	json_object_set_new(o, "why", v.why || v.limit ? json_string(v.why ? v.why : v.limit) : json_null());
	json_object_set_new(o, "override", json_string(words[b->override]));
	json_object_set_new(o, "by", b->override == SR_OVERRIDE_AUTO ? json_null() : json_string(b->by));
	json_object_set_new(o, "since_ms", json_integer(b->since_ms));
	pthread_mutex_unlock(&b->lock);
	return o;
}

/* --- routes --------------------------------------------------------------------------------------------------------------- */

static enum sr_status get_status(void *ctx, struct sr_request *req, struct sr_err *err)
{
	static const struct {
		int status;
		const char *text;
	} told[] = {[SR_LB_DEAD] = {503, "DEAD"}, [SR_LB_ALIVE] = {200, "ALIVE"}, [SR_LB_DRAIN] = {404, "DEAD"}};
	enum sr_lb answer = sr_balance_answer(ctx);

	(void)err;
	sr_reply_header(req, "Cache-Control", "no-store");
	sr_reply_text(req, told[answer].status, told[answer].text);
	return SR_OK;
}

enum sr_status sr_balance_put(struct sr_balance *b, struct sr_request *req, const char *text, struct sr_err *err)
{
	const char *by = sr_request_user(req);
	enum sr_override word;
	enum sr_status rc;

	if (!sr_override_parse(text, &word))
		return sr_err_set(err, SR_E_DATA, "an override is alive, dead, auto or drain");
	rc = sr_balance_override(b, word, by ? by : "nobody", err);
	if (rc == SR_OK)
		sr_reply_bytes(req, 204, NULL, sr_bytes(NULL, 0));
	return rc;
}

static enum sr_status put_override(void *ctx, struct sr_request *req, struct sr_err *err)
{
	return sr_balance_put(ctx, req, sr_request_arg_text(req, 0), err);
}

const struct sr_route *sr_balance_routes(size_t *n)
{
	static const struct sr_route routes[] = {
		{"GET", "/api/system/lbstatus", get_status, SR_ROUTE_QUICK | SR_ROUTE_OPEN | SR_ROUTE_LAST, 0},
		{"PUT", "/api/system/lbstatus/override/{}", put_override, SR_ROUTE_ADMIN, SR_BODY_IGNORED},
	};

	*n = sizeof routes / sizeof *routes;
	return routes;
}
