/* results.c - see results.h: what is here, and passing on what is elsewhere (found by results_find.c). */
#include "lib/node/results.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/beneath.h"
#include "lib/base/door.h"
#include "lib/base/log.h"
#include "lib/node/results_find.h"
#include "lib/replica/admit.h"

#define OWNERS       4096  /* IDs whose owner is remembered */
#define LIST_MS      60000 /* how old the registry may be to know where the owner listens ... */
#define FRESH_MS     0     /* ... and to say that nobody has it: who has it may have come a moment ago */
#define OWNER_MS     1500  /* all in all, a second for the registry included, it has to be less than five seconds until a 502 */
#define OTHERS_MS    1800
#define NAME_LONGEST 255
#define PART         (256 * 1024)
#define TYPE         "application/octet-stream"

struct owner { /* strings OWNED; id NULL: none */
	char *id, *uuid, *name;
};

struct sr_results {
	char *dir;
	struct sr_peers *peers;
	unsigned most, most_elsewhere;
	struct sr_finder *finder;
	pthread_mutex_t lock;        /* everything below */
	unsigned here, elsewhere;    /* requests: all of them, and those of another node's results */
	bool there;                  /* the directory was, at the last look: an application may make it with its first result */
	struct owner owners[OWNERS]; /* each ID has one place, and whoever comes next takes it */
};

/* --- life ---------------------------------------------------------------------------------------------------------------- */

struct sr_results *sr_results_new(const struct sr_results_options *o)
{
	struct sr_results *r = sr_alloc(sizeof *r);

	r->dir = o->dir ? sr_strdup(o->dir) : NULL;
	r->peers = o->peers;
	r->most = o->most;
	r->most_elsewhere = o->most_elsewhere;
	r->finder = sr_finder_new();
	pthread_mutex_init(&r->lock, NULL);
	return r;
}

static void forget(struct owner *o)
{
	free(o->id);
	free(o->uuid);
	free(o->name);
	*o = (struct owner){0};
}

void sr_results_free(struct sr_results *r)
{
	if (!r)
		return;
	sr_finder_free(r->finder);
	for (size_t i = 0; i < OWNERS; i++)
		forget(&r->owners[i]);
	pthread_mutex_destroy(&r->lock);
	free(r->dir);
	free(r);
}

/* --- who had it ---------------------------------------------------------------------------------------------------------- */

static struct owner *place_of(struct sr_results *r, const char *id)
{
	uint32_t hash = 2166136261u;

	for (; *id; id++)
		hash = (hash ^ (unsigned char)*id) * 16777619u;
	return &r->owners[hash % OWNERS];
}

static void remember(struct sr_results *r, const char *id, const char *uuid, const char *name)
{
	struct owner *o;

	pthread_mutex_lock(&r->lock);
	o = place_of(r, id);
	forget(o);
	*o = (struct owner){.id = sr_strdup(id), .uuid = sr_strdup(uuid), .name = sr_strdup(name)};
	pthread_mutex_unlock(&r->lock);
}

/* A copy, for forget(). */
static struct owner recall(struct sr_results *r, const char *id)
{
	struct owner out = {0};
	const struct owner *o;

	pthread_mutex_lock(&r->lock);
	o = place_of(r, id);
	if (o->id && strcmp(o->id, id) == 0)
		out = (struct owner){.id = sr_strdup(id), .uuid = sr_strdup(o->uuid), .name = sr_strdup(o->name)};
	pthread_mutex_unlock(&r->lock);
	return out;
}

static void forget_owner(struct sr_results *r, const char *id)
{
	struct owner *o;

	pthread_mutex_lock(&r->lock);
	o = place_of(r, id);
	if (o->id && strcmp(o->id, id) == 0)
		forget(o);
	pthread_mutex_unlock(&r->lock);
}

/* --- room for a request ---------------------------------------------------------------------------------------------------- */

static bool enter(struct sr_results *r, unsigned *count, unsigned most)
{
	bool room;

	pthread_mutex_lock(&r->lock);
	room = *count < most;
	*count += room;
	pthread_mutex_unlock(&r->lock);
	return room;
}

static void leave(struct sr_results *r, unsigned *count)
{
	pthread_mutex_lock(&r->lock);
	--*count;
	pthread_mutex_unlock(&r->lock);
}

static enum sr_status too_many(struct sr_request *req, struct sr_err *err)
{
	sr_reply_header(req, "Retry-After", "1");
	return sr_err_set(err, SR_E_BUSY, "too many results are being read here at once");
}

/* --- what is here ---------------------------------------------------------------------------------------------------------- */

enum here { HERE_FILE, HERE_FOLDER, HERE_NOTHING };

/* No such name, or it is no plain file of ours, whatever it leads to. */
static bool is_absent(int error)
{
	return error == ENOENT || error == ENOTDIR || error == ELOOP || error == EXDEV || error == ENXIO || error == ENODEV;
}

static int open_part(int dir, const char *name, int flags, struct sr_err *err)
{
	int fd = sr_open_beneath(dir, name, flags, 0);

	if (fd < 0 && !is_absent(errno))
		sr_err_sys(err, SR_E_IO, "Results-Directory: %s", name);
	return fd;
}

/* A directory that is not there has no results, and is said once when it went. */
static int open_top(struct sr_results *r, struct sr_err *err)
{
	int top = open(r->dir, O_PATH | O_DIRECTORY | O_CLOEXEC), error = errno;
	bool was;

	pthread_mutex_lock(&r->lock);
	was = r->there;
	r->there = top >= 0;
	pthread_mutex_unlock(&r->lock);
	errno = error;
	if (top < 0 && error != ENOENT)
		sr_err_sys(err, SR_E_IO, "Results-Directory %s", r->dir);
	else if (top < 0 && was)
		sr_warn("Results-Directory %s is not there any more: none of its results is found", r->dir);
	return top;
}

/* err->code is SR_OK, or why it cannot be told. */
static enum here look(struct sr_results *r, const char *id, const char *file, int *fd, struct stat *st, struct sr_err *err)
{
	int top = -1, folder = -1;
	enum here found = HERE_NOTHING;

	*fd = -1;
	*err = (struct sr_err){0};
	if (!r->dir)
		return HERE_NOTHING;
	top = open_top(r, err);
	if (top >= 0)
		folder = open_part(top, id, O_PATH | O_DIRECTORY, err);
	if (folder >= 0) {
		found = HERE_FOLDER;
		*fd = open_part(folder, file, O_RDONLY | O_NONBLOCK | O_NOFOLLOW, err); /* a FIFO would wait for a writer */
	}
	if (*fd >= 0 && fstat(*fd, st) == 0 && S_ISREG(st->st_mode))
		found = HERE_FILE;
	if (*fd >= 0 && found != HERE_FILE) {
		close(*fd);
		*fd = -1;
	}
	if (folder >= 0)
		close(folder);
	if (top >= 0)
		close(top);
	return found;
}

/* --- the whole, a part, or nothing new ---------------------------------------------------------------------------------------- */

struct span {
	uint64_t from, length;
	int status; /* 200, 206, 416 */
};

static bool number(const char **at, uint64_t *out)
{
	const char *start = *at;

	for (*out = 0; **at >= '0' && **at <= '9' && *at - start < 19; ++*at)
		*out = *out * 10 + (uint64_t)(**at - '0');
	return *at > start;
}

/* One range of bytes; several, and what is none, mean the whole. */
static struct span parse_range(const char *text, uint64_t total)
{
	const struct span whole = {0, total, 200}, none = {0, 0, 416};
	uint64_t first = 0, last = UINT64_MAX;
	bool has_first, has_last;

	if (!text || strncmp(text, "bytes=", 6) != 0)
		return whole;
	text += 6;
	has_first = number(&text, &first);
	if (*text++ != '-')
		return whole;
	has_last = number(&text, &last);
	if (*text || (!has_first && !has_last) || (has_first && has_last && last < first))
		return whole;
	if (!has_first) { /* the last so many */
		first = last < total ? total - last : 0;
		last = total - 1;
		if (first == total)
			return none;
	}
	if (first >= total)
		return none;
	if (!has_last || last >= total)
		last = total - 1;
	return (struct span){first, last - first + 1, 206};
}

/* Is it one of the entity tags of an If-None-Match? */
static bool lists(const char *list, const char *etag)
{
	const char *at = list ? strstr(list, etag) : NULL;

	return list && (at || strcmp(list, "*") == 0);
}

static void reply_common(struct sr_request *req)
{
	sr_reply_header(req, "X-Content-Type-Options", "nosniff");
	sr_reply_header(req, "Cache-Control", "private, no-cache"); /* it may still grow */
}

static void reply_span(struct sr_request *req, const struct span *s, uint64_t total)
{
	char text[80];

	if (s->status == 206)
		snprintf(text, sizeof text, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, s->from, s->from + s->length - 1, total);
	else
		snprintf(text, sizeof text, "bytes */%" PRIu64, total);
	if (s->status != 200)
		sr_reply_header(req, "Content-Range", text);
}

static enum sr_status reply_file(struct sr_request *req, int fd, const struct stat *st, struct sr_err *err)
{
	uint64_t total = (uint64_t)st->st_size;
	const char *if_range = sr_request_header(req, "If-Range"), *range = sr_request_header(req, "Range");
	char etag[64], date[64] = "";
	struct span s;
	struct tm tm;

	snprintf(etag, sizeof etag, "\"%llx-%llx-%llx\"",
		 (unsigned long long)st->st_mtim.tv_sec * 1000000000ull + (unsigned long long)st->st_mtim.tv_nsec,
		 (unsigned long long)st->st_size, (unsigned long long)st->st_ino);
	if (gmtime_r(&st->st_mtim.tv_sec, &tm))
		strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
	s = parse_range(if_range && strcmp(if_range, etag) != 0 && strcmp(if_range, date) != 0 ? NULL : range, total);
	reply_common(req);
	sr_reply_header(req, "ETag", etag);
	sr_reply_header(req, "Last-Modified", date);
	sr_reply_header(req, "Accept-Ranges", "bytes");
	if (lists(sr_request_header(req, "If-None-Match"), etag)) {
		sr_reply_bytes(req, 304, NULL, sr_bytes(NULL, 0));
		return SR_OK;
	}
	reply_span(req, &s, total);
	if (s.status == 416) {
		sr_reply_bytes(req, 416, NULL, sr_bytes(NULL, 0));
		return SR_OK;
	}
	return sr_reply_file(req, s.status, TYPE, fd, s.from, s.length, err);
}

/* --- what is elsewhere ------------------------------------------------------------------------------------------------------ */

static void pass_header(struct sr_request *req, const struct sr_answer *answer, const char *name)
{
	const char *value = sr_answer_header(answer, name);

	for (const char *c = value; c && *c; c++)
		if ((unsigned char)*c < ' ' || *c == 127)
			return;
	if (value)
		sr_reply_header(req, name, value);
}

/* -1: it does not tell, or makes no sense. */
static int64_t length_of(const struct sr_answer *answer)
{
	const char *text = sr_answer_header(answer, "Content-Length");
	uint64_t n;

	return text && number(&text, &n) && !*text && n < INT64_MAX ? (int64_t)n : -1;
}

/* Whoever asked goes away: so does the connection to the owner.  The owner stands still: he is cut off, too. */
static enum sr_status pump(struct sr_request *req, struct sr_stream *stream, struct sr_err *err)
{
	uint8_t *buf = sr_alloc(PART);
	enum sr_status rc = SR_OK;
	size_t got = 1;

	while (rc == SR_OK && got) {
		rc = sr_stream_read(stream, buf, PART, &got, err);
		if (rc == SR_OK && got)
			rc = sr_reply_write(req, buf, got, err);
	}
	free(buf);
	return rc;
}

static enum sr_status pass_on(struct sr_request *req, const struct sr_search *s, struct sr_err *err)
{
	static const char *const passed[] = {"ETag", "Last-Modified", "Accept-Ranges", "Content-Range"};
	const struct sr_answer *answer = sr_search_answer(s);
	enum sr_status rc = SR_OK;

	reply_common(req);
	for (size_t i = 0; i < sizeof passed / sizeof *passed; i++)
		pass_header(req, answer, passed[i]);
	if (answer->status == 304 || answer->status == 416) {
		sr_reply_bytes(req, answer->status, NULL, sr_bytes(NULL, 0));
		return SR_OK;
	}
	sr_reply_start(req, answer->status, TYPE, length_of(answer));
	if (strcmp(sr_request_method(req), "HEAD") != 0 && sr_search_stream(s))
		rc = pump(req, sr_search_stream(s), err);
	if (rc == SR_OK)
		sr_reply_end(req);
	else
		sr_reply_abort(req);
	if (rc != SR_OK)
		sr_info("a result of %s was not sent to its end: %s", sr_search_name(s), err->text);
	return rc;
}

static enum sr_status reply_silent(struct sr_request *req, const char *before, const char *what, const char *after)
{
	char *text = sr_format("%s%s%s", before, what, after);

	sr_reply_error_as(req, 502, SR_E_UNAVAILABLE, text);
	free(text);
	return SR_OK;
}

static enum sr_status not_found(struct sr_err *err)
{
	return sr_err_set(err, SR_E_NOTFOUND, "no webserver has this result");
}

struct wanted { /* one request, on its way to another node */
	const char *id;
	struct sr_question question;
	char *target;
	char *lines[4];
	const char *headers[6];
};

static void wanted_make(struct wanted *w, struct sr_request *req, const char *id, const char *file)
{
	static const char *const passed[] = {"Range", "If-Range", "If-None-Match"};
	struct sr_buf target = {0};
	size_t n = 0;

	*w = (struct wanted){.id = id};
	sr_buf_printf(&target, "/api/results/");
	sr_percent(&target, sr_bytes_of(id), "");
	sr_buf_byte(&target, '/');
	sr_percent(&target, sr_bytes_of(file), "");
	w->target = sr_text(sr_buf_view(&target));
	sr_buf_free(&target);
	w->headers[n] = SR_HEADER_FORWARDED ": 1";
	for (size_t i = 0; i < sizeof passed / sizeof *passed; i++) {
		const char *value = sr_request_header(req, passed[i]);

		if (value && (w->lines[n] = sr_format("%s: %s", passed[i], value))) {
			w->headers[n + 1] = w->lines[n];
			n++;
		}
	}
	w->question = (struct sr_question){
		.method = strcmp(sr_request_method(req), "HEAD") == 0 ? "HEAD" : "GET", .target = w->target, .headers = w->headers};
}

static void wanted_free(struct wanted *w)
{
	free(w->target);
	for (size_t i = 0; i < sizeof w->lines / sizeof *w->lines; i++)
		free(w->lines[i]);
}

/* The owner that is remembered.  Anything but FILE: all have to be asked. */
static enum sr_found ask_owner(struct sr_results *r, const struct wanted *w, const struct owner *owner, struct sr_search **s)
{
	struct sr_err why;
	struct sr_peer_list *list;
	enum sr_found found;

	*s = NULL;
	if (!owner->id)
		return SR_FOUND_NOTHING;
	list = sr_peers_take(r->peers, LIST_MS, &why);
	found = sr_search_run(s, r->finder, r->peers, list, owner->uuid, &w->question, OWNER_MS);
	sr_peer_list_free(list);
	if (found != SR_FOUND_FILE) {
		sr_search_free(*s);
		*s = NULL;
	}
	return found;
}

static enum sr_found ask_all(struct sr_results *r, const struct wanted *w, struct sr_search **s, struct sr_err *why)
{
	struct sr_peer_list *list = sr_peers_take(r->peers, FRESH_MS, why);
	enum sr_found found = sr_search_run(s, r->finder, r->peers, list, NULL, &w->question, OTHERS_MS);

	if (list->learnt_ms) /* as old as it may be, it says who there is */
		*why = (struct sr_err){0};
	sr_peer_list_free(list);
	return found;
}

static enum sr_status fetch(struct sr_results *r, struct sr_request *req, const struct wanted *w, bool folder_here, struct sr_err *err)
{
	struct owner owner = recall(r, w->id);
	struct sr_search *s = NULL;
	struct sr_err why = {0};
	enum sr_found found = ask_owner(r, w, &owner, &s);
	bool owner_answers = owner.id && found != SR_FOUND_SILENT && found != SR_FOUND_GONE;
	enum sr_status rc;

	if (found != SR_FOUND_FILE)
		found = ask_all(r, w, &s, &why);
	if (found == SR_FOUND_FILE || found == SR_FOUND_FOLDER)
		remember(r, w->id, sr_search_uuid(s), sr_search_name(s));
	else if (owner_answers)
		forget_owner(r, w->id);
	if (found == SR_FOUND_FILE)
		rc = pass_on(req, s, err);
	else if (found == SR_FOUND_FOLDER || folder_here)
		rc = not_found(err);
	else if (owner.id && !owner_answers)
		rc = reply_silent(req, "the results of this search are on ", owner.name, ", which does not answer");
	else if (why.code != SR_OK)
		rc = reply_silent(req, "which webservers there are is not known: ", why.text, "");
	else if (found == SR_FOUND_SILENT)
		rc = reply_silent(req, "nobody who answers has this result; no answer came from ", sr_search_silent(s), "");
	else if (found == SR_FOUND_GONE)
		rc = sr_err_set(err, SR_E_NOTFOUND, "no webserver that is there has this result; no answer came from who is gone for more than an hour: %.400s", sr_search_silent(s));
	else
		rc = not_found(err);
	sr_search_free(s);
	forget(&owner);
	return rc;
}

static enum sr_status elsewhere(struct sr_results *r, struct sr_request *req, const char *id, const char *file, bool folder_here,
				struct sr_err *err)
{
	struct wanted w;
	enum sr_status rc;

	if (sr_request_header(req, SR_HEADER_FORWARDED)) {
		if (folder_here)
			sr_reply_header(req, SR_HEADER_FOLDER, "here");
		return sr_err_set(err, SR_E_NOTFOUND, "this result is not here");
	}
	if (!enter(r, &r->elsewhere, r->most_elsewhere))
		return too_many(req, err);
	wanted_make(&w, req, id, file);
	rc = fetch(r, req, &w, folder_here, err);
	wanted_free(&w);
	leave(r, &r->elsewhere);
	return rc;
}

/* --- the route ---------------------------------------------------------------------------------------------------------------- */

static bool is_name(struct sr_bytes name)
{
	return name.len > 0 && name.len <= NAME_LONGEST && !memchr(name.at, '/', name.len) && !sr_bytes_eq(name, sr_bytes_of(".")) &&
	       !sr_bytes_eq(name, sr_bytes_of(".."));
}

static enum sr_status get_result(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_results *r = ctx;
	const char *id = sr_request_arg_text(req, 0), *file = sr_request_arg_text(req, 1);
	struct sr_err own;
	struct stat st;
	enum here found;
	enum sr_status rc;
	int fd;

	if (!is_name(sr_request_arg(req, 0)) || !is_name(sr_request_arg(req, 1)))
		return sr_err_set(err, SR_E_NOTFOUND, "a result is ID/FILE, two names");
	if (!enter(r, &r->here, r->most))
		return too_many(req, err);
	found = look(r, id, file, &fd, &st, &own);
	if (own.code != SR_OK) {
		*err = own;
		rc = own.code;
	} else if (found == HERE_FILE) {
		rc = reply_file(req, fd, &st, err);
	} else {
		rc = elsewhere(r, req, id, file, found == HERE_FOLDER, err);
	}
	if (fd >= 0)
		close(fd);
	leave(r, &r->here);
	return rc;
}

static const struct sr_route routes[] = {{"GET", "/api/results/{}/{}", get_result, SR_ROUTE_LOGINS, 0}};

const struct sr_route *sr_results_routes(size_t *n)
{
	*n = sizeof routes / sizeof *routes;
	return routes;
}
