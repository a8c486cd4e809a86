/* test_http.c - server and client in one process over real sockets, and raw sockets for the evil cases. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "http/certificate.h"
#include "http/client.h"
#include "http/server.h"
#include "http/target.h"
#include "lib/base/log.h"

#define BIG ((uint64_t)200 << 20)
#define SECRET "0123456789abcdef0123456789abcdef"

#if defined(__SANITIZE_THREAD__)
#define SANITIZER_THREADS 1
#else
#define SANITIZER_THREADS 0
#endif

#define ZEROS "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

struct fixture {
	struct sr_server *server;
	char dir[64], cert[96], key[96], url[64];
	bool tls;
	atomic_int root;          /* what /wait waits for */
	atomic_int write_failed;  /* streams whose client went away */
	atomic_int handled;
};

/* --- handlers ----------------------------------------------------------------------------------------------------- */

static enum sr_status hello(void *ctx, struct sr_request *req, struct sr_err *err)
{
	(void)ctx, (void)err;
	sr_reply_header(req, "X-Peer", sr_request_peer(req));
	sr_reply_text(req, 200, "hello");
	return SR_OK;
}

static enum sr_status echo(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_buf body = { 0 };
	enum sr_status status = sr_request_read_all(req, &body, 1 << 20, err);

	atomic_fetch_add(&((struct fixture *)ctx)->handled, 1);
	if (!status)
		sr_reply_bytes(req, 200, "application/octet-stream", sr_buf_view(&body));
	sr_buf_free(&body);
	return status;
}

/* Streams the body back while it comes. */
static enum sr_status mirror(void *ctx, struct sr_request *req, struct sr_err *err)
{
	uint8_t buf[8192];
	struct sr_buf all = { 0 };
	size_t got = 1;
	enum sr_status status = SR_OK;

	(void)ctx;
	while (!status && got) {
		status = sr_request_read(req, buf, sizeof(buf), &got, err);
		if (!status)
			sr_buf_add(&all, buf, got);
	}
	if (!status) {
		sr_reply_start(req, 200, "application/octet-stream", -1);
		for (size_t at = 0; at < all.len && !status; at += 1000)
			status = sr_reply_write(req, all.at + at, all.len - at < 1000 ? all.len - at : 1000, err);
		sr_reply_end(req);
	}
	sr_buf_free(&all);
	return status;
}

static uint8_t pattern(uint64_t at)
{
	return (uint8_t)(at * 131 >> 7 ^ at);
}

static enum sr_status sink(void *ctx, struct sr_request *req, struct sr_err *err)
{
	uint8_t buf[16384];
	uint64_t total = 0, wrong = 0;
	size_t got;
	char text[64];

	(void)ctx;
	do {
		enum sr_status status = sr_request_read(req, buf, sizeof(buf), &got, err);

		if (status)
			return status;
		for (size_t i = 0; i < got; i += 509)
			wrong += buf[i] != pattern(total + i);
		total += got;
	} while (got);
	snprintf(text, sizeof(text), "%llu %llu", (unsigned long long)total, (unsigned long long)wrong);
	sr_reply_text(req, 200, text);
	return SR_OK;
}

/* /source/BYTES[?cut=AFTER][&known=1] */
static enum sr_status source(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct fixture *f = ctx;
	uint64_t n = strtoull(sr_request_arg_text(req, 0), NULL, 10), cut = UINT64_MAX, at = 0;
	const char *text = sr_request_query_text(req, "cut");
	uint8_t buf[16384];

	if (text)
		cut = strtoull(text, NULL, 10);
	sr_reply_start(req, 200, "application/octet-stream", sr_request_query_text(req, "known") ? (int64_t)n : -1);
	while (at < n && at < cut) {
		size_t part = n - at < sizeof(buf) ? (size_t)(n - at) : sizeof(buf);

		for (size_t i = 0; i < part; i++)
			buf[i] = pattern(at + i);
		if (sr_reply_write(req, buf, part, err)) {
			atomic_fetch_add(&f->write_failed, 1);
			return err->code;
		}
		at += part;
	}
	if (at < n)
		sr_reply_abort(req);
	else
		sr_reply_end(req);
	return SR_OK;
}

static enum sr_status early(void *ctx, struct sr_request *req, struct sr_err *err)
{
	(void)ctx, (void)req;
	return sr_err_set(err, SR_E_CHANGED, "not that root");
}

/* Reads a little, then answers. */
static enum sr_status fickle(void *ctx, struct sr_request *req, struct sr_err *err)
{
	uint8_t buf[100];
	size_t got;

	(void)ctx;
	if (sr_request_read(req, buf, sizeof(buf), &got, err))
		return err->code;
	return sr_err_set(err, SR_E_HELD, "enough seen");
}

static enum sr_status nothing(void *ctx, struct sr_request *req, struct sr_err *err)
{
	(void)ctx, (void)req, (void)err;
	return SR_OK;
}

static enum sr_status wait_root(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct fixture *f = ctx;
	const char *ms = sr_request_query_text(req, "ms");

	(void)err;
	if (f->root || !ms || sr_request_expired(req))
		sr_reply_text(req, f->root ? 200 : 304, f->root ? "changed" : "");
	else
		sr_request_park(req, (unsigned)atoi(ms));
	return SR_OK;
}

static enum sr_status args(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_buf out = { 0 };
	struct sr_bytes q;

	(void)ctx, (void)err;
	for (size_t i = 0; i < sr_request_args(req); i++)
		sr_buf_printf(&out, "[%s]", sr_request_arg_text(req, i));
	if (sr_request_query(req, "q", &q))
		sr_buf_printf(&out, "q=%.*s", (int)q.len, (const char *)q.at);
	sr_reply_bytes(req, 200, "text/plain", sr_buf_view(&out));
	sr_buf_free(&out);
	return SR_OK;
}

static enum sr_status own_file(void *ctx, struct sr_request *req, struct sr_err *err)
{
	FILE *file = fopen(((struct fixture *)ctx)->cert, "r");
	enum sr_status status;

	assert_non_null(file);
	status = sr_reply_file(req, 206, "text/plain", fileno(file), 5, 11, err);
	fclose(file);
	return status;
}

static enum sr_status bearer_only(void *ctx, struct sr_request *req, const struct sr_route *route, struct sr_err *err)
{
	const char *given = sr_request_header(req, "authorization");

	(void)ctx, (void)route;
	if (!given || strcmp(given, "Bearer " SECRET))
		return sr_err_set(err, SR_E_AUTH, "no or wrong secret");
	return SR_OK;
}

static const struct sr_route routes[] = {
	{ "GET", "/hello", hello, SR_ROUTE_OPEN | SR_ROUTE_QUICK, 0 },
	{ "GET", "/last", hello, SR_ROUTE_OPEN | SR_ROUTE_LAST, 0 },
	{ "GET", "/slow-hello", hello, SR_ROUTE_OPEN, 0 },
	{ "POST|PUT", "/echo", echo, SR_ROUTE_OPEN, 1000 },
	{ "POST", "/mirror", mirror, SR_ROUTE_OPEN, 10 << 20 },
	{ "POST", "/sink", sink, SR_ROUTE_OPEN, 4 * BIG },
	{ "POST", "/early", early, SR_ROUTE_OPEN, 4 * BIG },
	{ "POST", "/fickle", fickle, SR_ROUTE_OPEN, 4 * BIG },
	{ "GET", "/source/{}", source, SR_ROUTE_OPEN, 0 },
	{ "GET", "/nothing", nothing, SR_ROUTE_OPEN, 0 },
	{ "GET", "/wait", wait_root, SR_ROUTE_OPEN | SR_ROUTE_QUICK, 0 },
	{ "GET", "/args/{}/{}", args, SR_ROUTE_OPEN | SR_ROUTE_QUICK, 0 },
	{ "GET", "/tail/{}/*", args, SR_ROUTE_OPEN, 0 },
	{ "GET", "/file", own_file, SR_ROUTE_OPEN, 0 },
	{ "GET", "/secret", hello, 0, 0 },
	{ "GET", "/secret/wait", wait_root, SR_ROUTE_QUICK, 0 },
	{ "POST", "/secret/push", echo, 0, 4 * BIG },
	{ "GET", "/", hello, SR_ROUTE_OPEN | SR_ROUTE_QUICK, 0 },
};

/* --- fixture ------------------------------------------------------------------------------------------------------ */

static void start(struct fixture *f, struct sr_server_options o)
{
	struct sr_routes table = { .at = routes, .n = sizeof(routes) / sizeof(*routes), .ctx = f };
	struct sr_err err = { 0 };

	o.address = o.address ? o.address : "127.0.0.1";
	o.routes = &table;
	o.routes_count = 1;
	o.authorize = bearer_only;
	o.certificate = f->tls ? f->cert : NULL;
	o.key = f->tls ? f->key : NULL;
	if (sr_server_start(&f->server, &o, &err))
		fail_msg("%s", err.text);
	snprintf(f->url, sizeof(f->url), "%s://127.0.0.1:%u", f->tls ? "https" : "http", sr_server_port(f->server));
}

static struct fixture *prepare(bool tls)
{
	struct fixture *f = sr_alloc(sizeof(*f));
	struct sr_err err = { 0 };

	sr_log_setup("test_http", SR_LOG_ERROR, false);
	snprintf(f->dir, sizeof(f->dir), "/tmp/sr-http-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->cert, sizeof(f->cert), "%s/cert.pem", f->dir);
	snprintf(f->key, sizeof(f->key), "%s/key.pem", f->dir);
	if (sr_certificate_ensure(f->cert, f->key, NULL, &err))
		fail_msg("%s", err.text);
	f->tls = tls;
	return f;
}

static int setup_plain(void **state)
{
	struct fixture *f = prepare(false);

	*state = f;
	start(f, (struct sr_server_options){ 0 });
	return 0;
}

static int setup_tls(void **state)
{
	struct fixture *f = prepare(true);

	*state = f;
	start(f, (struct sr_server_options){ 0 });
	return 0;
}

static int setup_hasty(void **state)
{
	struct fixture *f = prepare(false);

	*state = f;
	start(f, (struct sr_server_options){ .head_ms = 100, .idle_ms = 100, .stall_ms = 100, .min_rate = 1 << 26, .max_drain = 64 * 1024 });
	return 0;
}

/* A byte a second is enough, but never none for long. */
static int setup_patient(void **state)
{
	struct fixture *f = prepare(false);

	*state = f;
	start(f, (struct sr_server_options){ .still_ms = 100, .min_rate = 1 });
	return 0;
}

static int setup_none(void **state)
{
	*state = prepare(false);
	return 0;
}

/* Four connections, and four more for newcomers; one event thread, so that they are taken in order.  No deadline helps. */
static int setup_few(void **state)
{
	struct fixture *f = prepare(false);

	*state = f;
	start(f, (struct sr_server_options){ .max_connections = 4, .event_threads = 1, .head_ms = 600000, .idle_ms = 600000, .stall_ms = 600000 });
	return 0;
}

/* Who stands still does so for ever ... */
static int setup_steady(void **state)
{
	struct fixture *f = prepare(false);

	*state = f;
	start(f, (struct sr_server_options){ .max_connections = 64, .stall_ms = 600000, .still_ms = 600000, .hurry_ms = 600000 });
	return 0;
}

/* ... or until others wait. */
static int setup_hurried(void **state)
{
	struct fixture *f = prepare(false);

	*state = f;
	start(f, (struct sr_server_options){ .max_connections = 64, .stall_ms = 600000, .still_ms = 600000, .hurry_ms = 50 });
	return 0;
}

static unsigned threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	unsigned n = 0;

	for (struct dirent *d; (d = readdir(dir));)
		n += d->d_name[0] != '.';
	closedir(dir);
	return n;
}

/* Until no connection is open; far beyond every reason there is one. */
static void settle(struct fixture *f)
{
	struct sr_server_counts counts;

	for (int i = 0; i < 5000; i++) {
		sr_server_counts(f->server, &counts);
		if (!counts.open)
			return;
		usleep(1000);
	}
	fail_msg("%u connections stay open", counts.open);
}

/* By their names: to ask a descriptor that the server closes meanwhile would be a race. */
static unsigned sockets(void)
{
	unsigned n = 0;
	char name[32], what[7];

	for (int fd = 0; fd < 256; fd++) {
		snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
		n += readlink(name, what, sizeof what) == sizeof what && memcmp(what, "socket:", sizeof what) == 0;
	}
	return n;
}

/* All clients are gone: no connection may be left, and after the stop no thread, nor the socket that listened. */
static int teardown(void **state)
{
	struct fixture *f = *state;
	unsigned before = sockets();

	if (f->server) {
		settle(f);
		sr_server_stop(f->server, 2000);
		assert_true(sockets() < before);
	}
	for (int i = 0; i < 2000 && threads() > 1 + SANITIZER_THREADS; i++) /* joined ones may be seen for a moment */
		usleep(1000);
	assert_int_equal(threads(), 1 + SANITIZER_THREADS);
	unlink(f->cert);
	unlink(f->key);
	rmdir(f->dir);
	free(f);
	return 0;
}

static struct sr_client *new_client(const struct fixture *f, struct sr_client_options o)
{
	struct sr_client *client;
	struct sr_err err = { 0 };

	o.url = o.url ? o.url : f->url;
	if (f->tls && !o.pin && !o.ca_file)
		o.insecure = true;
	if (sr_client_new(&client, &o, &err))
		fail_msg("%s", err.text);
	return client;
}

static enum sr_status get(struct sr_client *client, const char *target, struct sr_answer *answer, struct sr_err *err)
{
	return sr_client_call(client, &(struct sr_call){ .target = target }, answer, err);
}

/* GET with a client of its own; the body must be `expect`. */
static void assert_get(const struct fixture *f, const char *target, int status, const char *expect)
{
	struct sr_client *client = new_client(f, (struct sr_client_options){ 0 });
	struct sr_answer answer = { 0 };
	struct sr_err err = { 0 };
	enum sr_status rc = get(client, target, &answer, &err);

	if (rc && status < 300)
		fail_msg("%s: %s", target, err.text);
	assert_int_equal(answer.status, status);
	if (expect)
		assert_string_equal(sr_buf_text(&answer.body), expect);
	sr_answer_free(&answer);
	sr_client_free(client);
}

/* --- raw sockets -------------------------------------------------------------------------------------------------- */

static int dial_on(const struct fixture *f, int fd, in_addr_t from)
{
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(from) };
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(sr_server_port(f->server)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval patience = { .tv_sec = 20 };

	assert_int_equal(bind(fd, (struct sockaddr *)&here, sizeof(here)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

static int dial_from(const struct fixture *f, in_addr_t from)
{
	return dial_on(f, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), from);
}

static int dial(const struct fixture *f)
{
	return dial_from(f, INADDR_LOOPBACK);
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* All that comes until the server closes; closes fd.  OWNED BY CALLER. */
static char *hear(int fd)
{
	struct sr_buf all = { 0 };
	ssize_t got;
	char *text;

	while ((got = recv(fd, sr_buf_room(&all, 4096), 4096, 0)) > 0)
		all.len += (size_t)got;
	assert_false(got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)); /* it has to close, not us to lose patience */
	close(fd);
	text = sr_text(sr_buf_view(&all));
	sr_buf_free(&all);
	return text;
}

/* Send it, and the answer (with the connection closed after it) must begin with and hold these. */
static void assert_raw(const struct fixture *f, const char *request, const char *begins, const char *holds)
{
	int fd = dial(f);
	char *answer;

	say(fd, request);
	answer = hear(fd);
	if (strncmp(answer, begins, strlen(begins)) || (holds && !strstr(answer, holds)))
		fail_msg("asked:\n%s\nexpected %s ... %s\ngot:\n%s", request, begins, holds ? holds : "", answer);
	free(answer);
}

static unsigned times(const char *text, const char *what)
{
	unsigned n = 0;

	for (; (text = strstr(text, what)); text += strlen(what))
		n++;
	return n;
}

/* --- tests: targets ----------------------------------------------------------------------------------------------- */

static void test_targets(void **state)
{
	static const char *const bad[] = { "", "x", "http://a/b", "/%00", "/a%0", "/a%", "/%zz", "/a/../b", "/.", "/a/%2e%2e", "/a/..%2fb", "/a/b%2f.",
		                           "/a b", "/\x7f", "/\xc3\xa4", "/a#b", "/?a=%00", "/?%4", "/?a=b&c=%g0" };
	static const char *const good[] = { "/", "/a", "/a/", "//", "/...", "/a%2fb", "/%ff", "/?", "/?&&=", "/?a=..%2f.." };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct sr_target t = { 0 };

		if (sr_target_parse(&t, bad[i], NULL) != SR_E_DATA)
			fail_msg("%s was taken", bad[i]);
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		struct sr_target t = { 0 };

		if (sr_target_parse(&t, good[i], NULL))
			fail_msg("%s was refused", good[i]);
		sr_target_free(&t);
	}
	assert_true(sr_method_match("PUT|DELETE", "DELETE"));
	assert_false(sr_method_match("PUT|DELETE", "DEL"));
	assert_true(sr_method_match("GET", "HEAD"));
	assert_false(sr_method_match("PUT", "HEAD"));
}

/* --- tests: calls ------------------------------------------------------------------------------------------------- */

static void test_routes(void **state)
{
	struct fixture *f = *state;

	assert_get(f, "/hello", 200, "hello");
	assert_get(f, "/slow-hello", 200, "hello");
	assert_get(f, "/", 200, "hello");
	assert_get(f, "/args/a%2fb/%c3%a4?q=x+y%26&r=1", 200, "[a/b][\xc3\xa4]q=x y&");
	assert_get(f, "/args/a", 404, NULL);
	assert_get(f, "/args//b", 404, NULL);
	assert_get(f, "/args/a/b/c", 404, NULL);
	assert_get(f, "/tail/a", 200, "[a]");
	assert_get(f, "/tail/a/b/c", 200, "[a][b][c]");
	assert_get(f, "/hello/", 404, NULL);
	assert_get(f, "/echo", 405, NULL);
	assert_get(f, "/nothing", 500, NULL);
	assert_get(f, "/file", 206, "BEGIN CERTI");
	assert_get(f, "/wait", 304, "");
}

static void test_errors_travel(void **state)
{
	struct fixture *f = *state;
	struct sr_client *client = new_client(f, (struct sr_client_options){ 0 });
	struct sr_answer answer = { 0 };
	struct sr_err err = { 0 };

	assert_int_equal(get(client, "/no/such", &answer, &err), SR_E_NOTFOUND);
	assert_non_null(strstr(err.text, "no such path"));
	assert_int_equal(sr_client_call(client, &(struct sr_call){ .method = "POST", .target = "/early" }, &answer, &err), SR_E_CHANGED);
	assert_non_null(strstr(err.text, "not that root"));
	assert_int_equal(answer.status, 409);
	assert_string_equal(sr_answer_header(&answer, "content-TYPE"), "application/json");
	assert_int_equal(sr_client_call(client, &(struct sr_call){ .method = "DELETE", .target = "/echo" }, &answer, &err),
	                 sr_status_from_http(405));
	assert_string_equal(sr_answer_header(&answer, "Allow"), "POST,PUT");
	assert_non_null(strstr(err.text, "the methods here are POST,PUT"));
	sr_answer_free(&answer);
	sr_client_free(client);
}

static void test_secret(void **state)
{
	struct fixture *f = *state;
	struct sr_client *client = new_client(f, (struct sr_client_options){ 0 });
	struct sr_answer answer = { 0 };
	struct sr_err err = { 0 };
	int fd;
	char *text;

	assert_int_equal(get(client, "/secret", &answer, &err), SR_E_AUTH);
	assert_int_equal(answer.status, 401);
	assert_string_equal(sr_answer_header(&answer, "WWW-Authenticate"), "Bearer");
	sr_client_set_bearer(client, SECRET);
	assert_int_equal(get(client, "/secret", &answer, &err), SR_OK);
	sr_answer_free(&answer);
	sr_client_free(client);

	/* Refused before any of the body was asked for. */
	fd = dial(f);
	say(fd, "POST /secret/push HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n");
	text = hear(fd);
	assert_memory_equal(text, "HTTP/1.1 401", 12);
	assert_null(strstr(text, "100 Continue"));
	free(text);
}

static void add_route_count(void *ctx, const struct sr_route *route, int status, uint64_t n)
{
	if (route)
		sr_buf_printf(ctx, "%s %s %d: %llu\n", route->methods, route->path, status, (unsigned long long)n);
	else
		sr_buf_printf(ctx, "none %d: %llu\n", status, (unsigned long long)n);
}

static void test_kept_connection(void **state)
{
	struct fixture *f = *state;
	struct sr_client *client = new_client(f, (struct sr_client_options){ 0 });
	struct sr_answer answer = { 0 };
	struct sr_client_counts counts;
	struct sr_server_counts served;
	struct sr_buf told = { 0 };
	struct sr_err err = { 0 };
	static const uint8_t body[600];

	for (int i = 0; i < 5; i++) {
		struct sr_call call = { .method = "POST", .target = "/echo", .body = { body, sizeof(body) } };

		assert_int_equal(get(client, "/hello", &answer, &err), SR_OK);
		assert_string_equal(sr_answer_header(&answer, "x-peer"), "127.0.0.1");
		assert_int_equal(sr_client_call(client, &call, &answer, &err), SR_OK);
		assert_int_equal(answer.body.len, sizeof(body));
		assert_int_equal(get(client, "/nope", &answer, &err), SR_E_NOTFOUND);
	}
	sr_client_counts(client, &counts);
	assert_int_equal(counts.requests, 15);
	assert_int_equal(counts.connects, 1);
	assert_in_range(counts.sent, 5 * 600, 5 * 600 + 15 * 200);
	assert_in_range(counts.received, 5 * 600, 5 * 600 + 15 * 300);
	sr_answer_free(&answer);
	sr_client_free(client);
	settle(f);
	sr_server_counts(f->server, &served);
	assert_int_equal(served.connections, 1);
	assert_int_equal(served.requests, 15);
	assert_int_equal(served.by_class[2], 10);
	assert_int_equal(served.by_class[4], 5);
	assert_int_equal(served.received, 5 * 600);
	assert_in_range(served.sent, 5 * 600, 5 * 600 + 10 * 100);
	sr_server_count_routes(f->server, add_route_count, &told);
	assert_non_null(strstr(sr_buf_text(&told), "GET /hello 200: 5\n"));
	assert_non_null(strstr(sr_buf_text(&told), "POST|PUT /echo 200: 5\n"));
	assert_non_null(strstr(sr_buf_text(&told), "none 404: 5\n"));
	sr_buf_free(&told);
}

/* A check-in that finds nothing new has to fit in 500 bytes, both ways together. */
static void test_small(void **state)
{
	struct fixture *f = *state;
	struct sr_client *client = new_client(f, (struct sr_client_options){ .bearer = SECRET });
	struct sr_client_counts counts;
	struct sr_answer answer = { 0 };
	struct sr_err err = { 0 };

	assert_int_equal(get(client, "/wait", &answer, &err), SR_OK);
	sr_client_counts(client, &counts);
	assert_in_range(counts.sent + counts.received, 50, 320);
	sr_answer_free(&answer);
	sr_client_free(client);
}

static void test_raw(void **state)
{
	struct fixture *f = *state;
	int fd;
	char *text;

	assert_raw(f, "HEAD /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 200", "Content-Length: 5\r\n");
	fd = dial(f);
	say(fd, "HEAD /source/100000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	text = hear(fd);
	assert_memory_equal(text, "HTTP/1.1 200", 12);
	assert_string_equal(text + strlen(text) - 4, "\r\n\r\n");
	free(text);
	assert_raw(f, "GET /hello HTTP/1.0\r\n\r\n", "HTTP/1.", "\r\n\r\nhello");
	assert_raw(f, "GET /source/3 HTTP/1.0\r\n\r\n", "HTTP/1.", "\r\n\r\n");
	assert_raw(f, "POST /echo HTTP/1.0\r\nContent-Length: 4\r\n\r\nwxyz", "HTTP/1.", "\r\n\r\nwxyz");
	assert_raw(f, "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nwxyz",
	           "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200", "\r\n\r\nwxyz");
	assert_raw(f, "POST /mirror HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;e=1\r\ndefg\r\n0\r\nX: y\r\n\r\n",
	           "HTTP/1.1 200", "abcdefg");
	assert_raw(f, "PUT /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 405", "Allow: GET,HEAD\r\n");

	fd = dial(f); /* pipelining: in order, and bodies are not mixed up */
	say(fd, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\nPOST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
	        "GET /slow-hello HTTP/1.1\r\nHost: x\r\n\r\nPOST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nxyz"
	        "GET /args/1/2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	text = hear(fd);
	assert_int_equal(times(text, "HTTP/1.1 200 OK"), 4);
	assert_int_equal(times(text, "HTTP/1.1 404"), 1);
	assert_true(strstr(text, "hello") < strstr(text, "abc") && strstr(text, "abc") < strstr(text, "404"));
	assert_non_null(strstr(text, "[1][2]"));
	free(text);
}

/* What two parsers could understand in two ways is refused, and nothing behind it is looked at. */
static void test_smuggling(void **state)
{
#define TAIL "GET /hello HTTP/1.1\r\nHost: smuggled\r\n\r\n"
	static const char *const evil[] = {
		"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" TAIL,
		"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" TAIL,
		"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde" TAIL,
		"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde" TAIL,
		"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nabcde" TAIL,
		"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nabcde" TAIL,
		"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\nabcde" TAIL,
		"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n" TAIL,
		"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\nabcde" TAIL,
		"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" TAIL,
		"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" TAIL,
		"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" TAIL,
		"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n 0\r\n\r\nabcd" TAIL,
		"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n" TAIL,
		"POST /echo HTTP/1.1\r\nHost: x\r\nContent: 4\r\n\t-Length\r\n\r\nabcd" TAIL,
		"GET /hello HTTP/1.1\r\nHost: x\r\nX: y\r\n z\r\n\r\n" TAIL,
		"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" TAIL,
		"GET /hello HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" TAIL,
		"GET /hello HTTP/1.1\r\n\r\n" TAIL,
		"GET /hello HTTP/2.0\r\nHost: x\r\n\r\n" TAIL,
		"GET /a/../hello HTTP/1.1\r\nHost: x\r\n\r\n" TAIL,
		"GET /hello%00 HTTP/1.1\r\nHost: x\r\n\r\n" TAIL,
		"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n" TAIL,
		"GET http://x/hello HTTP/1.1\r\nHost: x\r\n\r\n" TAIL,
		"GET /hello HTTP/1.1\r\nHost: x\r\nA: b\x01\r\n\r\n" TAIL,
		"G@T /hello HTTP/1.1\r\nHost: x\r\n\r\n" TAIL,
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(evil) / sizeof(*evil); i++) {
		int fd = dial(f);
		char *text;

		say(fd, evil[i]);
		text = hear(fd);
		/* (libmicrohttpd's own refusals have their head twice.) */
		if ((*text && strncmp(text, "HTTP/1.1 4", 10) && strncmp(text, "HTTP/1.1 5", 10) && strncmp(text, "HTTP/1.0 4", 10)) ||
		    strstr(text, " 200 "))
			fail_msg("asked:\n%s\ngot:\n%s", evil[i], text);
		free(text);
	}
	assert_int_equal(f->handled, 0);
}

static void test_limits(void **state)
{
	struct fixture *f = *state;
	struct sr_buf head = { 0 };

	assert_raw(f, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1001000\r\n\r\nabc", "HTTP/1.1 413", "Connection: close");
	assert_raw(f, "GET /hello HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n", "HTTP/1.1 413", NULL);
	sr_buf_printf(&head, "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n");
	for (int i = 0; i < 2000; i++)
		sr_buf_byte(&head, 'a');
	sr_buf_printf(&head, "\r\n0\r\n\r\n");
	assert_raw(f, sr_buf_text(&head), "HTTP/1.1 413", "over 1000 bytes");
	sr_buf_clear(&head);
	sr_buf_printf(&head, "GET /hello HTTP/1.1\r\nHost: x\r\n");
	for (int i = 0; i < 101; i++)
		sr_buf_printf(&head, "A: b\r\n");
	sr_buf_printf(&head, "\r\n");
	assert_raw(f, sr_buf_text(&head), "HTTP/1.1 4", NULL);
	sr_buf_clear(&head);
	sr_buf_printf(&head, "GET /hello HTTP/1.1\r\nHost: x\r\nA: %020000d\r\n\r\n", 0);
	assert_raw(f, sr_buf_text(&head), "HTTP/1.1 4", NULL);
	sr_buf_free(&head);
	assert_get(f, "/hello", 200, "hello");
}

/* --- tests: streaming --------------------------------------------------------------------------------------------- */

static enum sr_status give_pattern(void *ctx, void *buf, size_t n, size_t *got, struct sr_err *err)
{
	uint64_t *at = ctx;
	uint8_t *to = buf;

	(void)err;
	n = BIG - *at < n ? (size_t)(BIG - *at) : n;
	for (size_t i = 0; i < n; i++)
		to[i] = pattern(*at + i);
	*at += n;
	*got = n;
	return SR_OK;
}

static enum sr_status give_up(void *ctx, void *buf, size_t n, size_t *got, struct sr_err *err)
{
	int *left = ctx;

	if (!(*left)--)
		return sr_err_set(err, SR_E_CHANGED, "file moved while it was read");
	memset(buf, 'x', n);
	*got = n;
	return SR_OK;
}

static long peak_kib(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_maxrss;
}

static void test_stream_both_ways(void **state)
{
	struct fixture *f = *state;
	struct sr_client *client = new_client(f, (struct sr_client_options){ 0 });
	struct sr_answer answer = { 0 };
	struct sr_err err = { 0 };
	struct sr_stream *stream;
	uint64_t at = 0, total = 0, wrong = 0;
	struct sr_call up = { .method = "POST", .target = "/sink", .read = give_pattern, .read_ctx = &at, .length = (int64_t)BIG };
	static uint8_t buf[50000];
	char target[64], expect[64];
	long before;
	size_t got;

	assert_int_equal(get(client, "/hello", &answer, &err), SR_OK);
	before = peak_kib();
	if (sr_client_call(client, &up, &answer, &err))
		fail_msg("%s", err.text);
	snprintf(expect, sizeof(expect), "%llu 0", (unsigned long long)BIG);
	assert_string_equal(sr_buf_text(&answer.body), expect);

	snprintf(target, sizeof(target), "/source/%llu", (unsigned long long)BIG);
	assert_int_equal(sr_client_open(client, &(struct sr_call){ .target = target }, &answer, &stream, &err), SR_OK);
	do {
		if (sr_stream_read(stream, buf, sizeof(buf), &got, &err))
			fail_msg("%s", err.text);
		for (size_t i = 0; i < got; i += 509)
			wrong += buf[i] != pattern(total + i);
		total += got;
	} while (got);
	sr_stream_close(stream);
	assert_int_equal(total, BIG);
	assert_int_equal(wrong, 0);
#if !defined(__SANITIZE_ADDRESS__)
	assert_true(peak_kib() - before < 16 * 1024);
#else
	(void)before;
#endif
	sr_answer_free(&answer);
	sr_client_free(client);
}

static enum sr_status count_bytes(void *ctx, struct sr_bytes part, struct sr_err *err)
{
	uint64_t *n = ctx;

	*n += part.len;
	return *n > 100000 ? sr_err_set(err, SR_E_FULL, "no more room") : SR_OK;
}

static void test_bodies(void **state)
{
	struct fixture *f = *state;
	struct sr_client *client = new_client(f, (struct sr_client_options){ 0 });
	struct sr_answer answer = { 0 };
	struct sr_err err = { 0 };
	struct sr_buf big = { 0 };
	uint64_t n = 0;
	int left = 3;
	struct sr_call call = { .method = "POST", .target = "/mirror" };

	for (uint64_t i = 0; i < 3000000; i++) /* over a MiB: with Expect */
		sr_buf_byte(&big, pattern(i));
	call.body = sr_buf_view(&big);
	assert_int_equal(sr_client_call(client, &call, &answer, &err), SR_OK);
	assert_true(sr_bytes_eq(sr_buf_view(&answer.body), call.body));
	call.max_answer = 2999999;
	assert_int_equal(sr_client_call(client, &call, &answer, &err), SR_E_LIMIT);
	call = (struct sr_call){ .method = "POST", .target = "/mirror" };
	assert_int_equal(sr_client_call(client, &call, &answer, &err), SR_OK);
	assert_int_equal(answer.body.len, 0);
	call.read = give_up;
	call.read_ctx = &left;
	assert_int_equal(sr_client_call(client, &call, &answer, &err), SR_E_CHANGED);
	assert_non_null(strstr(err.text, "file moved"));
	call = (struct sr_call){ .target = "/source/90000", .sink = count_bytes, .sink_ctx = &n };
	assert_int_equal(sr_client_call(client, &call, &answer, &err), SR_OK);
	assert_int_equal(n, 90000);
	assert_int_equal(sr_client_call(client, &call, &answer, &err), SR_E_FULL);
	sr_buf_free(&big);
	sr_answer_free(&answer);
	sr_client_free(client);
}

static void read_cut(struct sr_client *client, const char *target, uint64_t least)
{
	struct sr_answer answer = { 0 };
	struct sr_err err = { 0 };
	struct sr_stream *stream;
	uint8_t buf[4096];
	uint64_t total = 0;
	size_t got = 1;
	enum sr_status status;

	assert_int_equal(sr_client_open(client, &(struct sr_call){ .target = target }, &answer, &stream, &err), SR_OK);
	while (!(status = sr_stream_read(stream, buf, sizeof(buf), &got, &err)) && got)
		total += got;
	assert_int_equal(status, SR_E_UNAVAILABLE);
	assert_non_null(strstr(err.text, "cut short"));
	assert_in_range(total, 0, least);
	assert_int_equal(sr_stream_read(stream, buf, sizeof(buf), &got, &err), SR_E_UNAVAILABLE);
	sr_stream_close(stream);
	sr_answer_free(&answer);
}

static void test_cut_short(void **state)
{
	struct fixture *f = *state;
	struct sr_client *client = new_client(f, (struct sr_client_options){ 0 });
	struct sr_answer answer = { 0 };
	struct sr_err err = { 0 };

	read_cut(client, "/source/1000000?cut=500000", 600000);
	read_cut(client, "/source/1000000?cut=500000&known=1", 600000);
	assert_int_equal(get(client, "/source/1000000?cut=500000", &answer, &err), SR_E_UNAVAILABLE);
	assert_int_equal(get(client, "/source/1000000?known=1", &answer, &err), SR_OK);
	assert_int_equal(answer.body.len, 1000000);
	assert_string_equal(sr_answer_header(&answer, "Content-Length"), "1000000");
	sr_answer_free(&answer);
	sr_client_free(client);
}

static void test_client_leaves(void **state)
{
	struct fixture *f = *state;
	struct sr_client *client = new_client(f, (struct sr_client_options){ 0 });
	struct sr_answer answer = { 0 };
	struct sr_err err = { 0 };
	struct sr_stream *stream;
	uint8_t buf[100];
	size_t got;
	int fd;

	assert_int_equal(sr_client_open(client, &(struct sr_call){ .target = "/source/999999999999" }, &answer, &stream, &err), SR_OK);
	assert_int_equal(sr_stream_read(stream, buf, sizeof(buf), &got, &err), SR_OK);
	sr_stream_close(stream);
	while (!f->write_failed)
		usleep(1000);
	assert_int_equal(get(client, "/hello", &answer, &err), SR_OK); /* the client lives on */
	sr_answer_free(&answer);
	sr_client_free(client);

	fd = dial(f); /* in the middle of an upload */
	say(fd, "POST /sink HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc");
	close(fd);
	assert_get(f, "/slow-hello", 200, "hello");
}

/* An answer given without reading the body reaches a client that is busy sending. */
static void test_early_answers(void **state)
{
	struct fixture *f = *state;
	struct sr_client *client = new_client(f, (struct sr_client_options){ 0 });
	struct sr_answer answer = { 0 };
	struct sr_err err = { 0 };
	uint64_t at = 0;
	struct sr_call call = { .method = "POST", .target = "/early", .read = give_pattern, .read_ctx = &at, .length = (int64_t)BIG };
	static const char *const no_expect[] = { "Expect:", NULL };
	struct sr_buf small = { 0 };

	assert_int_equal(sr_client_call(client, &call, &answer, &err), SR_E_CHANGED);
	assert_int_equal(at, 0); /* thanks to Expect */
	call.headers = no_expect;
	assert_int_equal(sr_client_call(client, &call, &answer, &err), SR_E_CHANGED);
	assert_true(at < BIG);

	sr_buf_room(&small, 300000);
	small.len = 300000;
	memset(small.at, 'x', small.len);
	call = (struct sr_call){ .method = "POST", .target = "/fickle", .body = sr_buf_view(&small) };
	assert_int_equal(sr_client_call(client, &call, &answer, &err), SR_E_HELD); /* the rest was drained */
	sr_buf_free(&small);
	sr_answer_free(&answer);
	sr_client_free(client);
}

/* Clients that send it all before they look. */
static void test_stubborn_senders(void **state)
{
	enum { MUCH = 8 << 20 };
	struct fixture *f = *state;
	char *much = sr_alloc(MUCH), *text;
	int fd = dial(f);
	uint64_t sent = 0;
	ssize_t n;

	memset(much, 'x', MUCH);
	say(fd, "POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 8388608\r\n\r\n");
	assert_int_equal(send(fd, much, MUCH, MSG_NOSIGNAL), MUCH); /* nothing is read, and yet no reset */
	text = hear(fd);
	assert_memory_equal(text, "HTTP/1.1 409", 12);
	free(text);

	fd = dial(f); /* too late for an early answer: the connection is cut, not drained for ever */
	say(fd, "POST /fickle HTTP/1.1\r\nHost: x\r\nContent-Length: 400000000\r\n\r\n");
	while ((n = send(fd, much, MUCH, MSG_NOSIGNAL)) > 0)
		sent += (uint64_t)n;
	assert_true(sent < 100000000);
	close(fd);
	free(much);
}

/* --- tests: parking ----------------------------------------------------------------------------------------------- */

struct waiter {
	struct fixture *f;
	pthread_t thread;
	const char *target;
	enum sr_status status;
	int http;
};

static void *run_waiter(void *arg)
{
	struct waiter *w = arg;
	struct sr_client *client = new_client(w->f, (struct sr_client_options){ .bearer = SECRET });
	struct sr_answer answer = { 0 };
	struct sr_err err = { 0 };

	w->status = get(client, w->target, &answer, &err);
	w->http = answer.status;
	sr_answer_free(&answer);
	sr_client_free(client);
	return NULL;
}

static void start_waiters(struct waiter *w, size_t n, struct fixture *f, const char *target)
{
	for (size_t i = 0; i < n; i++) {
		w[i] = (struct waiter){ .f = f, .target = target };
		assert_int_equal(pthread_create(&w[i].thread, NULL, run_waiter, &w[i]), 0);
	}
}

static void until_parked(struct fixture *f, unsigned n)
{
	struct sr_server_counts counts;

	while (sr_server_counts(f->server, &counts), counts.parked != n)
		usleep(1000);
}

static void test_park(void **state)
{
	struct fixture *f = *state;
	struct waiter w[20];

	start_waiters(w, 20, f, "/wait?ms=60000");
	until_parked(f, 20);
	assert_get(f, "/slow-hello", 200, "hello"); /* no worker is taken */
	sr_server_wake(f->server); /* for nothing: they park again */
	until_parked(f, 20);
	f->root = 1;
	sr_server_wake(f->server);
	for (int i = 0; i < 20; i++) {
		pthread_join(w[i].thread, NULL);
		assert_int_equal(w[i].status, SR_OK);
		assert_int_equal(w[i].http, 200);
	}
	f->root = 0;
	assert_get(f, "/wait?ms=50", 304, ""); /* its time is up */
}

static void test_stop_with_everything_open(void **state)
{
	struct fixture *f = *state;
	struct waiter parked[5], streaming[3];
	struct sr_client *client = new_client(f, (struct sr_client_options){ 0 });
	struct sr_answer answer = { 0 };
	struct sr_err err = { 0 };
	struct sr_stream *stream;
	int half = dial(f), upload = dial(f), idle = dial(f);
	char *text;

	say(half, "GET /hel");
	say(upload, "POST /sink HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc");
	start_waiters(parked, 5, f, "/wait?ms=60000");
	start_waiters(streaming, 3, f, "/source/999999999999");
	assert_int_equal(sr_client_open(client, &(struct sr_call){ .target = "/source/999999999999" }, &answer, &stream, &err), SR_OK);
	until_parked(f, 5);
	sr_server_stop(f->server, 1000); /* 50 ms were too few for a busy machine */
	f->server = NULL;
	for (int i = 0; i < 5; i++) {
		pthread_join(parked[i].thread, NULL);
		assert_int_equal(parked[i].http, 503);
	}
	for (int i = 0; i < 3; i++) {
		pthread_join(streaming[i].thread, NULL);
		assert_true(streaming[i].status == SR_E_UNAVAILABLE || streaming[i].status == SR_E_LIMIT);
	}
	text = hear(half);
	assert_string_equal(text, "");
	free(text);
	free(hear(upload));
	free(hear(idle));
	sr_stream_close(stream);
	sr_answer_free(&answer);
	assert_int_equal(get(client, "/hello", &answer, &err), SR_E_UNAVAILABLE);
	sr_answer_free(&answer);
	sr_client_free(client);
}

/* No new requests, but what is under way goes on, and what is parked is answered as when its time is up. */
static void test_drain(void **state)
{
	struct fixture *f = *state;
	struct waiter parked[3];
	struct sr_client *client = new_client(f, (struct sr_client_options){ 0 }), *kept = new_client(f, (struct sr_client_options){ 0 });
	struct sr_answer answer = { 0 }, other = { 0 };
	struct sr_err err = { 0 };
	struct sr_stream *stream;
	char some[4096];
	size_t got = 1, all = 0;

	assert_int_equal(get(kept, "/hello", &other, &err), SR_OK);
	start_waiters(parked, 3, f, "/wait?ms=60000");
	/* more than two sockets hold, or it would be over though nobody reads */
	assert_int_equal(sr_client_open(client, &(struct sr_call){ .target = "/source/64000000" }, &answer, &stream, &err), SR_OK);
	until_parked(f, 3);
	while (sr_server_under_way(f->server) != 4) /* the first one may not be quite over */
		usleep(1000);
	sr_server_drain(f->server, "it is late");
	for (int i = 0; i < 3; i++) {
		pthread_join(parked[i].thread, NULL);
		assert_int_equal(parked[i].http, 304);
	}
	for (int i = 0; i < 2; i++) { /* on the kept connection, and on a new one */
		assert_int_equal(get(kept, i ? "/nothing" : "/hello", &other, &err), SR_E_UNAVAILABLE);
		assert_int_equal(other.status, 503);
		assert_string_equal(sr_answer_header(&other, "Connection"), "close");
		assert_non_null(strstr(err.text, "it is late"));
	}
	assert_get(f, "/last", 200, "hello");
	for (; got; all += got)
		assert_int_equal(sr_stream_read(stream, some, sizeof(some), &got, &err), SR_OK);
	assert_int_equal(all, 64000000);
	sr_stream_close(stream);
	while (sr_server_under_way(f->server))
		usleep(1000);
	sr_answer_free(&answer);
	sr_answer_free(&other);
	sr_client_free(client);
	sr_client_free(kept);
}

static void *interrupt(void *client)
{
	sr_client_interrupt(client);
	return NULL;
}

static void test_interrupted(void **state)
{
	struct fixture *f = *state;
	struct sr_client *client = new_client(f, (struct sr_client_options){ 0 });
	struct sr_answer answer = { 0 };
	struct sr_err err = { 0 };
	struct sr_stream *stream;
	enum sr_status status;
	char some[4096];
	pthread_t thread;
	size_t got;

	assert_int_equal(sr_client_open(client, &(struct sr_call){ .target = "/source/999999999999" }, &answer, &stream, &err), SR_OK);
	assert_int_equal(pthread_create(&thread, NULL, interrupt, client), 0);
	while ((status = sr_stream_read(stream, some, sizeof(some), &got, &err)) == SR_OK)
		;
	pthread_join(thread, NULL);
	assert_int_equal(status, SR_E_UNAVAILABLE);
	assert_non_null(strstr(err.text, "interrupted"));
	sr_stream_close(stream);
	assert_int_equal(get(client, "/hello", &answer, &err), SR_E_UNAVAILABLE); /* for good */
	sr_answer_free(&answer);
	sr_client_free(client);
	assert_get(f, "/hello", 200, "hello"); /* the others go on */
}

/* --- tests: many, slow, wrong ------------------------------------------------------------------------------------- */

static void test_many(void **state)
{
	enum { N = 50 };
	struct fixture *f = *state;
	struct waiter w[N];

	for (int i = 0; i < N; i++) {
		w[i] = (struct waiter){ .f = f, .target = i % 3 ? "/source/300000" : "/slow-hello" };
		assert_int_equal(pthread_create(&w[i].thread, NULL, run_waiter, &w[i]), 0);
	}
	for (int i = 0; i < N; i++) {
		pthread_join(w[i].thread, NULL);
		assert_int_equal(w[i].status, SR_OK);
	}
}

/* The server has closed the kept connection meanwhile. */
static void test_reopened(void **state)
{
	struct fixture *f = *state;
	struct sr_client *client = new_client(f, (struct sr_client_options){ 0 });
	struct sr_answer answer = { 0 };
	struct sr_client_counts counts;
	struct sr_err err = { 0 };

	assert_int_equal(get(client, "/hello", &answer, &err), SR_OK);
	settle(f);
	assert_int_equal(sr_client_call(client, &(struct sr_call){ .method = "HEAD", .target = "/hello" }, &answer, &err), SR_OK);
	assert_string_equal(sr_answer_header(&answer, "Content-Length"), "5");
	assert_int_equal(answer.body.len, 0);
	sr_client_counts(client, &counts);
	assert_int_equal(counts.connects, 2);
	sr_answer_free(&answer);
	sr_client_free(client);
}

/* Whoever is slow is cut off by deadlines that single bytes do not prolong. */
static void test_slow(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f), other = dial(f), third = dial(f), fourth = dial(f);
	char c = 'G';
	static char buf[4096];

	say(third, "POST /sink HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc");
	say(fourth, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_true(recv(fourth, buf, sizeof(buf), 0) > 0);
	free(hear(fourth)); /* idle */
	free(hear(third));  /* half a body */
	free(hear(other));  /* nothing at all */
	while (send(fd, &c, 1, MSG_NOSIGNAL) == 1) /* drops of a head */
		usleep(5000);
	close(fd);

	fd = dial(f); /* a reader that does not read */
	say(fd, "GET /source/999999999999 HTTP/1.1\r\nHost: x\r\n\r\n");
	while (!f->write_failed)
		usleep(1000);
	close(fd);

	fd = dial(f); /* an upload that nobody wants and that does not end */
	say(fd, "POST /fickle HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\nabc");
	memset(buf, 'x', sizeof(buf));
	while (send(fd, buf, sizeof(buf), MSG_NOSIGNAL) > 0)
		;
	close(fd);
	assert_get(f, "/hello", 200, "hello");
}

/* --- tests: too many ---------------------------------------------------------------------------------------------- */

enum { CROWD = 60 };

static void gather(const struct fixture *f, int crowd[CROWD])
{
	for (int i = 0; i < CROWD; i++)
		crowd[i] = dial(f);
}

static void disperse(const int crowd[CROWD])
{
	for (int i = 0; i < CROWD; i++)
		close(crowd[i]);
}

/* Their connections end without an answer. */
static void assert_closed(int fd)
{
	char *text = hear(fd);

	assert_string_equal(text, "");
	free(text);
}

/* It is still open: ask on it.  Closes fd. */
static void assert_served(int fd)
{
	char *text;

	say(fd, "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	text = hear(fd);
	assert_memory_equal(text, "HTTP/1.1 200", 12);
	free(text);
}

/* Standard error goes to a file, until restore. */
static int divert(FILE **to)
{
	int kept = dup(STDERR_FILENO);

	*to = tmpfile();
	assert_non_null(*to);
	dup2(fileno(*to), STDERR_FILENO);
	sr_log_setup("test_http", SR_LOG_WARN, false);
	return kept;
}

static char *restore(int kept, FILE *from)
{
	char text[16384];
	size_t n;

	sr_log_setup("test_http", SR_LOG_ERROR, false);
	dup2(kept, STDERR_FILENO);
	close(kept);
	rewind(from);
	n = fread(text, 1, sizeof(text), from);
	fclose(from);
	return sr_text(sr_bytes(text, n));
}

/* Those who send nothing keep nobody out: the one that has been silent longest is closed for each newcomer, of the address that has most of them;
 * so one of another address stays. */
static void test_silent_crowd(void **state)
{
	struct fixture *f = *state;
	struct sr_server_counts counts;
	int crowd[CROWD], apart = dial_from(f, INADDR_LOOPBACK + 1), kept;
	FILE *log;
	char *said;

	kept = divert(&log);
	gather(f, crowd);
	assert_get(f, "/hello", 200, "hello");
	sr_server_counts(f->server, &counts);
	said = restore(kept, log);
	assert_int_equal(counts.most, 4);
	assert_int_equal(counts.shed, 1 + CROWD + 1 - 4);
	assert_int_equal(times(said, "Max-Connections is reached: closed a connection of 127.0.0.1, which has "), 1); /* not each time */
	assert_int_equal(times(said, "\n"), 1);
	free(said);
	for (int i = 0; i < CROWD - 2; i++)
		assert_closed(crowd[i]);
	assert_served(apart);
	assert_served(crowd[CROWD - 1]);
	assert_served(crowd[CROWD - 2]);
}

/* Requests that a login let through stay, however many come; beyond the limit they are refused, and what anyone may ask is answered still. */
static void test_crowd_beside_requests(void **state)
{
	struct fixture *f = *state;
	struct waiter w[4];
	struct sr_client *client = new_client(f, (struct sr_client_options){ .bearer = SECRET });
	struct sr_answer answer = { 0 };
	struct sr_err err = { 0 };
	int crowd[CROWD];

	start_waiters(w, 4, f, "/secret/wait?ms=60000");
	until_parked(f, 4);
	gather(f, crowd);
	assert_get(f, "/hello", 200, "hello");
	assert_int_equal(get(client, "/secret", &answer, &err), SR_E_UNAVAILABLE);
	assert_int_equal(answer.status, 503);
	assert_non_null(strstr(err.text, "Max-Connections: 4 requests are under way"));
	f->root = 1;
	sr_server_wake(f->server);
	for (int i = 0; i < 4; i++) {
		pthread_join(w[i].thread, NULL);
		assert_int_equal(w[i].status, SR_OK);
		assert_int_equal(w[i].http, 200);
	}
	assert_int_equal(get(client, "/secret", &answer, &err), SR_OK);
	disperse(crowd);
	sr_answer_free(&answer);
	sr_client_free(client);
}

/* A request that is let in, of which the rest does not come. */
static int begin_push(const struct fixture *f, in_addr_t from)
{
	int fd = dial_from(f, from);

	say(fd, "POST /secret/push HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " SECRET "\r\nContent-Length: 1000\r\n\r\nabc");
	return fd;
}

/* In the order in which they are let in. */
static void until_under_way(const struct fixture *f, unsigned n)
{
	while (sr_server_under_way(f->server) != n)
		usleep(1000);
}

static void assert_secret(const struct fixture *f, in_addr_t from)
{
	int fd = dial_from(f, from);
	char *text;

	say(fd, "GET /secret HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " SECRET "\r\nConnection: close\r\n\r\n");
	text = hear(fd);
	assert_memory_equal(text, "HTTP/1.1 200", 12);
	free(text);
}

/* An address that has all places gives one, its oldest, to another; not more than its share. */
static void test_one_address_gives_way(void **state)
{
	struct fixture *f = *state;
	int fds[4], other[2];

	for (unsigned i = 0; i < 4; i++) {
		fds[i] = begin_push(f, INADDR_LOOPBACK);
		until_under_way(f, i + 1);
	}
	assert_secret(f, INADDR_LOOPBACK + 1);
	assert_closed(fds[0]);
	for (unsigned i = 0; i < 2; i++) {
		other[i] = begin_push(f, INADDR_LOOPBACK + 1);
		until_under_way(f, 4);
	}
	assert_closed(fds[1]);
	assert_secret(f, INADDR_LOOPBACK + 2); /* both have two: the oldest of them goes */
	assert_closed(fds[2]);
	close(fds[3]);
	close(other[0]);
	close(other[1]);
}

/* The same of those who wait for news, which nobody looks at. */
static void test_one_address_gives_way_waiting(void **state)
{
	struct fixture *f = *state;
	int fds[4];

	for (unsigned i = 0; i < 4; i++) {
		fds[i] = dial(f);
		say(fds[i], "GET /secret/wait?ms=600000 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " SECRET "\r\n\r\n");
		until_parked(f, i + 1);
	}
	assert_secret(f, INADDR_LOOPBACK + 1);
	assert_closed(fds[0]);
	until_parked(f, 3);
	for (unsigned i = 1; i < 4; i++)
		close(fds[i]);
}

/* More than there are workers, and queued ones that are cut before their turn. */
static void test_one_address_does_not_have_all_workers(void **state)
{
	struct fixture *f = *state;
	int fds[64];

	for (unsigned i = 0; i < 64; i++) {
		fds[i] = begin_push(f, INADDR_LOOPBACK);
		until_under_way(f, i + 1);
	}
	for (unsigned i = 0; i < 40; i++) {
		assert_secret(f, INADDR_LOOPBACK + 1);
		assert_closed(fds[i]);
		fds[i] = begin_push(f, INADDR_LOOPBACK);
		until_under_way(f, 64);
	}
	for (unsigned i = 0; i < 64; i++)
		close(fds[i]);
}

static void test_who_stands_still_gives_way(void **state)
{
	struct fixture *f = *state;
	int fds[10];

	for (unsigned i = 0; i < 10; i++)
		fds[i] = begin_push(f, INADDR_LOOPBACK);
	assert_secret(f, INADDR_LOOPBACK);
	for (unsigned i = 0; i < 10; i++)
		close(fds[i]);
}

/* Kept connections without a request, and readers that do not read what anyone may have, are of the crowd. */
static void test_idle_crowd(void **state)
{
	struct fixture *f = *state;
	int crowd[CROWD], readers[4], idle = dial(f);
	char buf[4096];

	say(idle, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_true(recv(idle, buf, sizeof(buf), 0) > 0);
	for (int i = 0; i < 4; i++) {
		readers[i] = dial(f);
		say(readers[i], "GET /source/999999999999 HTTP/1.1\r\nHost: x\r\n\r\n");
	}
	gather(f, crowd);
	assert_closed(idle);
	assert_get(f, "/slow-hello", 200, "hello"); /* the workers are free again */
	disperse(crowd);
	for (int i = 0; i < 4; i++)
		close(readers[i]);
}

/* Of what a reader has earned by reading fast he may not spend all in one standstill, with a worker waiting for him. */
static void test_standstill(void **state)
{
	struct fixture *f = *state;
	static char buf[1 << 16];
	int fds[4]; /* as there are workers */

	for (int i = 0; i < 4; i++) {
		fds[i] = dial(f);
		say(fds[i], "GET /source/999999999999 HTTP/1.1\r\nHost: x\r\n\r\n");
		for (int n = 0; n < 64; n++)
			assert_true(recv(fds[i], buf, sizeof(buf), 0) > 0);
	}
	assert_get(f, "/slow-hello", 200, "hello");
	while (f->write_failed < 4)
		usleep(1000);
	for (int i = 0; i < 4; i++)
		close(fds[i]);
}

static void allow_files(rlim_t n)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = n;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* The soft limit of files is raised for the connections; and when none is left all the same, one connection without a request gives way to a new one. */
static void test_few_files(void **state)
{
	struct fixture *f = *state;
	struct rlimit before;
	struct sr_server_counts counts;
	int idle[3], newcomer, last;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	allow_files(64);
	start(f, (struct sr_server_options){ .max_connections = 500, .event_threads = 1, .head_ms = 600000 });
	sr_server_counts(f->server, &counts);
	assert_int_equal(counts.most, 500);
	for (int i = 0; i < 3; i++)
		idle[i] = dial(f);
	while (sr_server_counts(f->server, &counts), counts.open < 3)
		usleep(1000);
	newcomer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	last = dup(newcomer); /* the lowest that is free */
	close(last);
	allow_files((rlim_t)last); /* none is left for the server's side */
	dial_on(f, newcomer, INADDR_LOOPBACK);
	assert_closed(idle[0]);
	assert_served(newcomer);
	allow_files(before.rlim_cur);
	close(idle[1]);
	close(idle[2]);
}

static void test_wrong_addresses(void **state)
{
	struct fixture *f = *state;
	struct sr_client *client;
	struct sr_server *second;
	struct sr_answer answer = { 0 };
	struct sr_err err = { 0 };
	char url[64];

	assert_int_equal(sr_client_new(&client, &(struct sr_client_options){ .url = "ftp://x" }, &err), SR_E_CONFIG);
	assert_int_equal(sr_client_new(&client, &(struct sr_client_options){ .url = "http://x/path" }, &err), SR_E_CONFIG);
	assert_int_equal(sr_client_new(&client, &(struct sr_client_options){ .url = "http://u:p@x" }, &err), SR_E_CONFIG);
	for (const char *const *pin = (const char *const[]){ "sha256//x", "", ";", ZEROS ";", ";" ZEROS, ZEROS ZEROS, ZEROS ";x", NULL }; *pin; pin++)
		assert_int_equal(sr_client_new(&client, &(struct sr_client_options){ .url = f->url, .pin = *pin }, &err), SR_E_CONFIG);
	assert_int_equal(sr_server_start(&second, &(struct sr_server_options){ .address = "127.0.0.1", .port = sr_server_port(f->server) }, &err),
	                 SR_E_BUSY);
	assert_int_equal(sr_server_start(&second, &(struct sr_server_options){ .address = "192.0.2.1" }, &err), SR_E_CONFIG);
	assert_int_equal(sr_server_start(&second, &(struct sr_server_options){ .certificate = f->cert, .key = f->cert }, &err), SR_E_CONFIG);
	snprintf(url, sizeof(url), "https://127.0.0.1:%u", sr_server_port(f->server)); /* TLS to a plain port */
	client = new_client(f, (struct sr_client_options){ .url = url, .insecure = true });
	assert_int_equal(get(client, "/hello", &answer, &err), SR_E_UNAVAILABLE);
	assert_non_null(strstr(err.text, url));
	sr_client_free(client);
	client = new_client(f, (struct sr_client_options){ .url = "http://127.0.0.1:1" });
	assert_int_equal(get(client, "/hello", &answer, &err), SR_E_UNAVAILABLE);
	sr_client_free(client);
	sr_answer_free(&answer);
	assert_get(f, "/hello", 200, "hello");
}

static void test_all_interfaces(void **state)
{
	struct fixture *f = *state;

	sr_server_stop(f->server, 1000);
	start(f, (struct sr_server_options){ .address = "", .event_threads = 1 });
	assert_get(f, "/hello", 200, "hello"); /* over IPv4 */
	assert_non_null(strstr(sr_server_address(f->server), strrchr(f->url, ':')));
}

/* --- tests: TLS --------------------------------------------------------------------------------------------------- */

static void assert_trust(const struct fixture *f, struct sr_client_options o, enum sr_status expect)
{
	struct sr_client *client;
	struct sr_answer answer = { 0 };
	struct sr_err err = { 0 };
	enum sr_status status;

	o.url = f->url;
	assert_int_equal(sr_client_new(&client, &o, &err), SR_OK);
	status = get(client, "/hello", &answer, &err);
	if (status != expect)
		fail_msg("expected %d: %d %s", expect, status, err.text);
	if (expect)
		assert_non_null(strstr(err.text, f->url));
	assert_int_equal(sr_client_distrusts(client), expect != SR_OK);
	sr_answer_free(&answer);
	sr_client_free(client);
}

static void test_trust(void **state)
{
	struct fixture *f = *state;
	char pin[SR_PIN_TEXT], wrong[SR_PIN_TEXT], seen[SR_PIN_TEXT];
	struct sr_client *client;
	struct sr_answer answer = { 0 };
	struct sr_err err = { 0 };

	assert_int_equal(sr_certificate_pin(f->cert, pin, &err), SR_OK);
	assert_true(sr_pin_valid(pin));
	assert_string_equal(sr_server_pin(f->server), pin);
	snprintf(wrong, sizeof(wrong), "%s", pin);
	wrong[8] = wrong[8] == 'A' ? 'B' : 'A';
	assert_trust(f, (struct sr_client_options){ .pin = pin }, SR_OK);
	assert_trust(f, (struct sr_client_options){ .pin = wrong }, SR_E_AUTH);
	assert_trust(f, (struct sr_client_options){ .pin = wrong, .insecure = true, .ca_file = f->cert }, SR_E_AUTH);
	assert_trust(f, (struct sr_client_options){ 0 }, SR_E_AUTH);
	assert_trust(f, (struct sr_client_options){ .insecure = true }, SR_OK);
	assert_trust(f, (struct sr_client_options){ .ca_file = f->cert }, SR_OK);

	client = new_client(f, (struct sr_client_options){ .insecure = true }); /* first contact */
	assert_false(sr_client_seen_pin(client, seen));
	assert_int_equal(get(client, "/hello", &answer, &err), SR_OK);
	assert_true(sr_client_seen_pin(client, seen));
	assert_string_equal(seen, pin);
	sr_client_set_pin(client, wrong);
	assert_int_equal(get(client, "/hello", &answer, &err), SR_E_AUTH);
	sr_client_set_pin(client, seen);
	assert_int_equal(get(client, "/secret", &answer, &err), SR_E_AUTH);
	assert_false(sr_client_distrusts(client)); /* a 401 is no distrust of ours */
	sr_client_set_bearer(client, SECRET);
	assert_int_equal(get(client, "/secret", &answer, &err), SR_OK);
	sr_answer_free(&answer);
	sr_client_free(client);
}

static void test_tls_streams(void **state)
{
	struct fixture *f = *state;
	struct sr_client *client = new_client(f, (struct sr_client_options){ 0 });
	struct sr_answer answer = { 0 };
	struct sr_err err = { 0 };
	struct sr_buf big = { 0 };
	struct sr_call call = { .method = "POST", .target = "/mirror" };
	struct sr_client_counts counts;

	for (uint64_t i = 0; i < 5000000; i++)
		sr_buf_byte(&big, pattern(i));
	call.body = sr_buf_view(&big);
	assert_int_equal(sr_client_call(client, &call, &answer, &err), SR_OK);
	assert_true(sr_bytes_eq(sr_buf_view(&answer.body), call.body));
	assert_int_equal(get(client, "/hello", &answer, &err), SR_OK);
	sr_client_counts(client, &counts);
	assert_int_equal(counts.connects, 1);
	read_cut(client, "/source/1000000?cut=500000", 600000);
	sr_buf_free(&big);
	sr_answer_free(&answer);
	sr_client_free(client);
}

static void test_plain_on_tls_port(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f);

	say(fd, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	shutdown(fd, SHUT_WR);
	free(hear(fd));
	assert_get(f, "/hello", 200, "hello");
}

static void test_certificate(void **state)
{
	struct fixture *f = *state;
	struct sr_err err = { 0 };
	char before[SR_PIN_TEXT], after[SR_PIN_TEXT];
	struct stat st;

	assert_int_equal(stat(f->key, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(sr_certificate_pin(f->cert, before, &err), SR_OK);
	assert_int_equal(sr_certificate_ensure(f->cert, f->key, NULL, &err), SR_OK); /* both there: kept */
	assert_int_equal(sr_certificate_pin(f->cert, after, &err), SR_OK);
	assert_string_equal(before, after);
	unlink(f->key);
	assert_int_equal(sr_certificate_ensure(f->cert, f->key, NULL, &err), SR_E_CONFIG);
	assert_int_equal(access(f->key, F_OK), -1);
	assert_int_equal(sr_certificate_pin(f->key, after, &err), SR_E_NOINPUT);
	unlink(f->cert);
	assert_int_equal(sr_certificate_ensure(f->cert, f->key, "a.example", &err), SR_OK);
	assert_int_equal(sr_certificate_pin(f->cert, after, &err), SR_OK);
	assert_string_not_equal(before, after);
	assert_int_equal(sr_certificate_pin(f->key, after, &err), SR_E_DATA);
	assert_false(sr_pin_valid("sha256//"));
	assert_false(sr_pin_valid("md5//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
}

int main(void)
{
#define PLAIN(t) cmocka_unit_test_setup_teardown(t, setup_plain, teardown)
#define FEW(t) cmocka_unit_test_setup_teardown(t, setup_few, teardown)
#define TLS(t) cmocka_unit_test_setup_teardown(t, setup_tls, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_targets),
		PLAIN(test_routes),
		PLAIN(test_errors_travel),
		PLAIN(test_secret),
		PLAIN(test_kept_connection),
		PLAIN(test_small),
		PLAIN(test_raw),
		PLAIN(test_smuggling),
		PLAIN(test_limits),
		PLAIN(test_stream_both_ways),
		PLAIN(test_bodies),
		PLAIN(test_cut_short),
		PLAIN(test_client_leaves),
		PLAIN(test_early_answers),
		PLAIN(test_stubborn_senders),
		PLAIN(test_park),
		PLAIN(test_stop_with_everything_open),
		PLAIN(test_drain),
		PLAIN(test_interrupted),
		PLAIN(test_many),
		FEW(test_silent_crowd),
		FEW(test_crowd_beside_requests),
		FEW(test_idle_crowd),
		FEW(test_one_address_gives_way),
		FEW(test_one_address_gives_way_waiting),
		cmocka_unit_test_setup_teardown(test_one_address_does_not_have_all_workers, setup_steady, teardown),
		cmocka_unit_test_setup_teardown(test_who_stands_still_gives_way, setup_hurried, teardown),
		cmocka_unit_test_setup_teardown(test_standstill, setup_patient, teardown),
		cmocka_unit_test_setup_teardown(test_few_files, setup_none, teardown),
		PLAIN(test_wrong_addresses),
		PLAIN(test_all_interfaces),
		cmocka_unit_test_setup_teardown(test_slow, setup_hasty, teardown),
		cmocka_unit_test_setup_teardown(test_reopened, setup_hasty, teardown),
		TLS(test_routes),
		TLS(test_kept_connection),
		TLS(test_trust),
		TLS(test_tls_streams),
		TLS(test_park),
		TLS(test_many),
		TLS(test_stop_with_everything_open),
		TLS(test_drain),
		TLS(test_interrupted),
		TLS(test_plain_on_tls_port),
		TLS(test_certificate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
