/* client.c - see client.h.  The only place that includes libcurl.
 *
 * Every call is a stream driven by one multi handle, so that a body can be pulled; sr_client_call drives it to its end by itself. */
#include "http/client.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "http/answer.h"
#include "http/certificate.h"
#include "lib/base/door.h"

enum {
	ERROR_BODY_MAX = 64 * 1024,
	HEAD_MAX = 64 * 1024,
	PULL_AHEAD = 256 * 1024, /* bytes taken from the socket before the reader asks */
	DEFAULT_MAX = 16 << 20,
	EXPECT_MOST = 1 << 20, /* bytes of a body that is sent at once */
	KEEPALIVE_S = 30, /* of a peer that is silent on purpose */
	LOOK_MS = 1000, /* between looks at timeouts; sockets wake at once */
};

struct sr_client {
	CURLM *multi;
	CURL *easy;
	char *url, *bearer, *basic, *pin, *ca_file, *certificate, *key;
	bool tls, insecure, busy, has_seen, distrusts;
	unsigned connect_ms, stall_s, stall_rate, total_ms;
	char seen[SR_PIN_TEXT];
	int interruption; /* an eventfd: readable once it is interrupted */
	atomic_bool interrupted;
	struct sr_client_counts counts;
};

struct sr_stream {
	struct sr_client *client;
	struct sr_call call; /* what it points to is the caller's */
	struct sr_answer *answer;
	struct curl_slist *headers;
	struct sr_buf part; /* came, not yet pulled; taken of it so far */
	size_t taken;
	size_t sent;       /* of call.body or call.read */
	int64_t head_by; /* of sr_ticks_ms(); 0: no limit of its own */
	bool pull;
	bool head_done, paused, done;
	CURLcode code;
	struct sr_err inner; /* what a callback of ours said */
	char text[CURL_ERROR_SIZE];
};

/* --- the client --------------------------------------------------------------------------------------------------- */

static void init_libcurl(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

static char *copy(const char *s)
{
	return s ? sr_strdup(s) : NULL;
}

static void forget(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

static enum sr_status check_url(const char *url, struct sr_err *err)
{
	CURLU *u = curl_url();
	char *host = NULL, *path = NULL, *user = NULL, *query = NULL;
	bool good = url && (!strncasecmp(url, "http://", 7) || !strncasecmp(url, "https://", 8)) && !strchr(url, '#') &&
	            !curl_url_set(u, CURLUPART_URL, url, 0) && !curl_url_get(u, CURLUPART_HOST, &host, 0) &&
	            !curl_url_get(u, CURLUPART_PATH, &path, 0) && !strcmp(path, "/") && curl_url_get(u, CURLUPART_USER, &user, 0) &&
	            curl_url_get(u, CURLUPART_QUERY, &query, 0);

	curl_free(host);
	curl_free(path);
	curl_free(user);
	curl_free(query);
	curl_url_cleanup(u);
	return good ? SR_OK : sr_err_set(err, SR_E_CONFIG, "%s: not of the form http(s)://host:port", url ? url : "(no address)");
}

static bool valid_pins(const char *pins)
{
	for (const char *at = pins;; at++) {
		char pin[SR_PIN_TEXT];
		size_t n = strcspn(at, ";");

		if (n >= sizeof(pin))
			return false;
		memcpy(pin, at, n);
		pin[n] = 0;
		if (!sr_pin_valid(pin))
			return false;
		at += n;
		if (!*at)
			return true;
	}
}

static void open_multi(struct sr_client *client)
{
	client->multi = curl_multi_init();
	if (!client->multi)
		abort(); /* as sr_alloc does */
	curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, 1L);
}

enum sr_status sr_client_new(struct sr_client **out, const struct sr_client_options *o, struct sr_err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct sr_client *client;
	size_t len;

	pthread_once(&once, init_libcurl);
	if (check_url(o->url, err))
		return SR_E_CONFIG;
	if (o->pin && !valid_pins(o->pin))
		return sr_err_set(err, SR_E_CONFIG, "%s: not a pin of the form sha256//BASE64", o->pin);
	client = sr_alloc(sizeof(*client));
	*client = (struct sr_client){
		.url = sr_strdup(o->url), .bearer = copy(o->bearer), .basic = copy(o->basic), .pin = copy(o->pin), .ca_file = copy(o->ca_file),
		.certificate = copy(o->certificate), .key = copy(o->key),
		.tls = !strncasecmp(o->url, "https:", 6), .insecure = o->insecure,
		.connect_ms = o->connect_ms ? o->connect_ms : 5000, .stall_s = o->stall_s ? o->stall_s : 30,
		.stall_rate = o->stall_rate ? o->stall_rate : 64, .total_ms = o->total_ms,
	};
	len = strlen(client->url);
	if (client->url[len - 1] == '/')
		client->url[len - 1] = 0;
	client->easy = curl_easy_init();
	if (!client->easy)
		abort();
	open_multi(client);
	client->interruption = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); /* -1: it is seen a little later */
	*out = client;
	return SR_OK;
}

void sr_client_free(struct sr_client *client)
{
	if (!client)
		return;
	curl_easy_cleanup(client->easy);
	curl_multi_cleanup(client->multi);
	if (client->interruption >= 0)
		close(client->interruption);
	forget(client->bearer);
	forget(client->basic);
	free(client->url);
	free(client->pin);
	free(client->ca_file);
	free(client->certificate);
	free(client->key);
	free(client);
}

const char *sr_client_url(const struct sr_client *client)
{
	return client->url;
}

bool sr_client_seen_pin(const struct sr_client *client, char out[SR_PIN_TEXT])
{
	if (client->has_seen)
		memcpy(out, client->seen, SR_PIN_TEXT);
	return client->has_seen;
}

void sr_client_set_pin(struct sr_client *client, const char *pin)
{
	free(client->pin);
	client->pin = copy(pin);
	curl_multi_cleanup(client->multi); /* and with it the connection that was made without this pin */
	open_multi(client);
}

void sr_client_set_bearer(struct sr_client *client, const char *bearer)
{
	forget(client->bearer);
	client->bearer = copy(bearer);
}

bool sr_client_distrusts(const struct sr_client *client)
{
	return client->distrusts;
}

void sr_client_interrupt(struct sr_client *client)
{
	uint64_t one = 1;

	client->interrupted = true;
	if (client->interruption >= 0 && write(client->interruption, &one, sizeof one) < 0)
		return; /* it is seen with the next look */
}

void sr_client_counts(const struct sr_client *client, struct sr_client_counts *out)
{
	*out = client->counts;
}

/* --- libcurl's callbacks ------------------------------------------------------------------------------------------ */

static size_t on_header(char *line, size_t size, size_t count, void *ctx)
{
	struct sr_stream *s = ctx;
	size_t n = size * count;

	if (s->head_done)
		return n; /* a trailer */
	if (n > 5 && !memcmp(line, "HTTP/", 5)) { /* again after a 100 */
		const char *space = memchr(line, ' ', n);

		sr_buf_clear(&s->answer->head);
		s->answer->status = space && line + n - space > 3 ? atoi(space + 1) : 0;
	} else if (n <= 2 && s->answer->status >= 200) {
		s->head_done = true;
	} else {
		sr_answer_line(s->answer, line, n);
	}
	if (s->answer->head.len <= HEAD_MAX)
		return n;
	sr_err_set(&s->inner, SR_E_LIMIT, "answer's head over %d bytes", HEAD_MAX);
	return 0;
}

static bool well(const struct sr_answer *answer)
{
	return answer->status >= 200 && answer->status < 300;
}

static void collect_error(struct sr_answer *answer, const char *data, size_t n)
{
	size_t room = ERROR_BODY_MAX - answer->body.len;

	sr_buf_add(&answer->body, data, n < room ? n : room);
}

static size_t on_body(char *data, size_t size, size_t count, void *ctx)
{
	struct sr_stream *s = ctx;
	size_t n = size * count;

	if (!well(s->answer)) {
		collect_error(s->answer, data, n);
	} else if (s->pull) {
		s->paused = s->part.len - s->taken >= PULL_AHEAD;
		if (s->paused)
			return CURL_WRITEFUNC_PAUSE;
		sr_buf_add(&s->part, data, n);
	} else if (s->call.sink) {
		enum sr_status status = s->call.sink(s->call.sink_ctx, sr_bytes(data, n), &s->inner);

		s->inner.code = status;
	} else if (n > s->call.max_answer - s->answer->body.len) {
		sr_err_set(&s->inner, SR_E_LIMIT, "answer over %zu bytes", s->call.max_answer);
	} else {
		sr_buf_add(&s->answer->body, data, n);
	}
	return s->inner.code ? 0 : n;
}

static size_t on_send(char *to, size_t size, size_t count, void *ctx)
{
	struct sr_stream *s = ctx;
	size_t got = 0;

	s->inner.code = s->call.read(s->call.read_ctx, to, size * count, &got, &s->inner);
	if (s->inner.code)
		return CURL_READFUNC_ABORT;
	s->sent += got;
	return got;
}

/* libcurl starts over on a new connection when the kept one turns out to be closed. */
static int on_rewind(void *ctx, curl_off_t offset, int origin)
{
	const struct sr_stream *s = ctx;

	return offset == 0 && origin == SEEK_SET && s->sent == 0 ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
}

static int on_traffic(CURL *easy, curl_infotype type, char *data, size_t n, void *ctx)
{
	struct sr_client_counts *counts = ctx;

	(void)easy, (void)data;
	if (type == CURLINFO_HEADER_OUT || type == CURLINFO_DATA_OUT)
		counts->sent += n;
	else if (type == CURLINFO_HEADER_IN || type == CURLINFO_DATA_IN)
		counts->received += n;
	return 0;
}

/* --- setting up --------------------------------------------------------------------------------------------------- */

static void set_trust(struct sr_client *client)
{
	bool chain = !client->pin && !client->insecure;

	if (!client->tls)
		return;
	curl_easy_setopt(client->easy, CURLOPT_SSL_VERIFYPEER, chain ? 1L : 0L);
	curl_easy_setopt(client->easy, CURLOPT_SSL_VERIFYHOST, chain ? 2L : 0L);
	if (client->pin)
		curl_easy_setopt(client->easy, CURLOPT_PINNEDPUBLICKEY, client->pin);
	if (client->ca_file || !chain) /* an unused bundle of CAs would cost 20 ms a connection */
		curl_easy_setopt(client->easy, CURLOPT_CAINFO, chain ? client->ca_file : NULL);
	if (!chain)
		curl_easy_setopt(client->easy, CURLOPT_CAPATH, NULL);
	if (client->certificate && client->key && access(client->certificate, F_OK) == 0) {
		curl_easy_setopt(client->easy, CURLOPT_SSLCERT, client->certificate);
		curl_easy_setopt(client->easy, CURLOPT_SSLKEY, client->key);
	}
	curl_easy_setopt(client->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(client->easy, CURLOPT_SSL_SESSIONID_CACHE, 0L); /* each connection shows its key */
	curl_easy_setopt(client->easy, CURLOPT_CERTINFO, 1L);
}

static void set_manners(struct sr_stream *s)
{
	struct sr_client *client = s->client;
	CURL *easy = client->easy;

	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
#if CURL_AT_LEAST_VERSION(7, 87, 0)
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* a DNS server that hangs holds up who has no time left for it, else */
#endif
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "sameroot");
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)client->connect_ms);
	if (s->call.quiet_s) { /* whoever keeps track of connections on the way knows of this one, and it is known when the peer is gone */
		curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
		curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, (long)KEEPALIVE_S);
		curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, (long)KEEPALIVE_S / 2);
	}
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, (long)client->stall_rate);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)client->stall_s + (long)s->call.quiet_s);
	if (client->total_ms)
		curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)client->total_ms + 1000L * (long)s->call.quiet_s);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, s->text);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, s);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, s);
	curl_easy_setopt(easy, CURLOPT_DEBUGFUNCTION, on_traffic);
	curl_easy_setopt(easy, CURLOPT_DEBUGDATA, &client->counts);
	curl_easy_setopt(easy, CURLOPT_VERBOSE, 1L);
}

static void set_body(struct sr_stream *s)
{
	const struct sr_call *call = &s->call;
	CURL *easy = s->client->easy;
	bool get = !strcmp(call->method, "GET"), head = !strcmp(call->method, "HEAD");

	if (call->read) {
		curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_send);
		curl_easy_setopt(easy, CURLOPT_READDATA, s);
		curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_rewind);
		curl_easy_setopt(easy, CURLOPT_SEEKDATA, s);
		curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)(call->length > 0 ? call->length : -1));
	} else if (head) {
		curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
	} else if (!get || call->body.len) {
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.len);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call->body.len ? (const char *)call->body.at : "");
	}
	if (!head)
		curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, call->method);
}

static void set_header(struct sr_stream *s, const char *line)
{
	s->headers = curl_slist_append(s->headers, line);
	if (!s->headers)
		abort();
}

static void set_headers(struct sr_stream *s)
{
	bool typed = false;

	for (const char *const *h = s->call.headers; h && *h; h++) {
		typed = typed || !strncasecmp(*h, "Content-Type:", 13);
		set_header(s, *h);
	}
	set_header(s, "Accept:"); /* none: every byte of a check-in counts */
	if (!typed)
		set_header(s, s->call.read || s->call.body.len ? "Content-Type: application/octet-stream" : "Content-Type:");
	if (s->call.read && s->call.length > 0 && s->call.length <= EXPECT_MOST) /* to ask first takes longer than to send it */
		set_header(s, "Expect:");
	if (s->client->bearer) {
		char *line = sr_format("Authorization: Bearer %s", s->client->bearer);

		set_header(s, line);
		forget(line);
	} else if (s->client->basic) {
		curl_easy_setopt(s->client->easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
		curl_easy_setopt(s->client->easy, CURLOPT_USERPWD, s->client->basic);
	}
	curl_easy_setopt(s->client->easy, CURLOPT_HTTPHEADER, s->headers);
}

static struct sr_stream *stream_new(struct sr_client *client, const struct sr_call *call, struct sr_answer *answer, bool pull)
{
	struct sr_stream *s = sr_alloc(sizeof(*s));
	char *url = sr_format("%s%s", client->url, call->target);

	*s = (struct sr_stream){ .client = client, .call = *call, .answer = answer, .pull = pull };
	s->call.method = call->method ? call->method : "GET";
	s->call.max_answer = call->max_answer ? call->max_answer : DEFAULT_MAX;
	sr_answer_free(answer);
	curl_easy_reset(client->easy);
	curl_easy_setopt(client->easy, CURLOPT_URL, url);
	set_manners(s);
	set_trust(client);
	set_body(s);
	set_headers(s);
	free(url);
	client->busy = true;
	client->counts.requests++;
	curl_multi_add_handle(client->multi, client->easy);
	return s;
}

/* --- driving ------------------------------------------------------------------------------------------------------ */

static void remember_key(struct sr_client *client)
{
	struct curl_certinfo *info = NULL;

	if (!client->tls || curl_easy_getinfo(client->easy, CURLINFO_CERTINFO, &info) || !info || info->num_of_certs < 1)
		return; /* a kept connection does not show it again */
	for (struct curl_slist *line = info->certinfo[0]; line; line = line->next)
		if (!strncmp(line->data, "Cert:", 5))
			client->has_seen = !sr_certificate_pin_pem(sr_bytes_of(line->data + 5), client->seen, NULL);
}

static enum sr_status curl_status(const struct sr_client *client, CURLcode code)
{
	switch (code) {
	case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_INVALIDCERTSTATUS:
		return SR_E_AUTH;
	case CURLE_SSL_CACERT_BADFILE: /* a machine without CAs trusts none: that is no fault of a configuration */
		return client->ca_file ? SR_E_CONFIG : SR_E_AUTH;
	default:
		return SR_E_UNAVAILABLE;
	}
}

static void finish(struct sr_stream *s, CURLcode code)
{
	long connects = 0;

	s->done = true;
	s->code = code;
	curl_easy_getinfo(s->client->easy, CURLINFO_NUM_CONNECTS, &connects);
	s->client->counts.connects += (uint64_t)connects;
	s->client->distrusts = curl_status(s->client, code) == SR_E_AUTH;
	remember_key(s->client);
}

/* Is there something for the caller: the end, or what it waits for? */
static bool arrived(const struct sr_stream *s, bool body)
{
	return s->done || (s->pull && (body ? s->taken < s->part.len : s->head_done && well(s->answer)));
}

/* How long to wait for the sockets; negative: the head, or the whole of an error, is not there in time. */
static int patience(const struct sr_stream *s)
{
	int64_t left = s->head_by ? s->head_by - sr_ticks_ms() : LOOK_MS;

	return left < LOOK_MS ? (int)left : LOOK_MS;
}

/* Let things move on, until `arrived`. */
static void drive(struct sr_stream *s, bool body)
{
	struct sr_client *client = s->client;
	struct curl_waitfd interruption = {.fd = client->interruption, .events = CURL_WAIT_POLLIN};

	while (!arrived(s, body)) {
		int running, left;
		CURLMsg *message;
		CURLMcode code;

		if (client->interrupted) {
			snprintf(s->text, sizeof s->text, "interrupted: this program is ending");
			finish(s, CURLE_ABORTED_BY_CALLBACK);
			break;
		}
		code = curl_multi_perform(client->multi, &running);

		while ((message = curl_multi_info_read(client->multi, &left)))
			if (message->msg == CURLMSG_DONE)
				finish(s, message->data.result);
		if (!s->done && code)
			finish(s, CURLE_FAILED_INIT);
		if (!arrived(s, body) && patience(s) < 0) {
			snprintf(s->text, sizeof(s->text), "no answer within %u ms", s->call.head_ms);
			finish(s, CURLE_OPERATION_TIMEDOUT);
		}
		if (!arrived(s, body))
			curl_multi_poll(client->multi, &interruption, interruption.fd >= 0, patience(s), NULL);
	}
}

/* --- what came of it ---------------------------------------------------------------------------------------------- */

/* libcurl says "after 4 ms" of a refused connection: without it the same trouble is the same sentence, which is logged once. */
static void without_time(char *text)
{
	char *at = strstr(text, " after "), *end = at ? at + strlen(" after ") : NULL;
	size_t digits = at ? strspn(end, "0123456789") : 0;

	if (digits && !strncmp(end + digits, " ms", 3))
		memmove(at, end + digits + 3, strlen(end + digits + 3) + 1);
}

/* libcurl's own words for each are "Couldn't connect to server". */
static enum sr_status no_connection(const struct sr_stream *s, enum sr_status status, struct sr_err *err)
{
	long number = 0;

	curl_easy_getinfo(s->client->easy, CURLINFO_OS_ERRNO, &number);
	sr_err_set(err, status, "%s: cannot connect to %s", number ? strerror((int)number) : curl_easy_strerror(s->code), s->client->url);
	if (err)
		err->sys = (int)number;
	return status;
}

static enum sr_status transport_error(struct sr_stream *s, struct sr_err *err)
{
	const char *text = s->text[0] ? s->text : curl_easy_strerror(s->code);
	enum sr_status status = curl_status(s->client, s->code);

	without_time(s->text);
	if (s->inner.code) {
		sr_err_set(err, s->inner.code, "%s: %s", s->client->url, s->inner.text);
		if (err)
			err->sys = s->inner.sys;
		return s->inner.code;
	}
	if (s->code == CURLE_COULDNT_CONNECT)
		return no_connection(s, status, err);
	if (s->code == CURLE_SSL_PINNEDPUBKEYNOTMATCH)
		return sr_err_set(err, status, "%s: its key is not the pinned one (%s)", s->client->url, s->client->pin);
	if (status == SR_E_AUTH)
		return sr_err_set(err, status, "%s: its certificate is not trusted: %s", s->client->url, text);
	if (s->code == CURLE_PARTIAL_FILE || s->code == CURLE_GOT_NOTHING || (s->code == CURLE_RECV_ERROR && s->head_done))
		return sr_err_set(err, status, "%s: the answer was cut short: %s", s->client->url, text);
	return sr_err_set(err, status, "%s: %s", s->client->url, text);
}

static enum sr_status outcome(struct sr_stream *s, struct sr_err *err)
{
	/* An error answered while we were still sending is the better news than the failed sending. */
	if (!s->inner.code && s->head_done && !well(s->answer) && s->answer->status != 304)
		return sr_answer_error(s->answer, s->client->url, s->call.target, err);
	if (s->code || s->inner.code)
		return transport_error(s, err);
	return SR_OK;
}

/* --- the interface ------------------------------------------------------------------------------------------------ */

static enum sr_status begin(struct sr_client *client, const struct sr_call *call, struct sr_answer *answer, bool pull,
                            struct sr_stream **out, struct sr_err *err)
{
	if (client->busy)
		return sr_err_set(err, SR_E_INTERNAL, "two calls at once on one client");
	if (!call->target || call->target[0] != '/')
		return sr_err_set(err, SR_E_INTERNAL, "a call without a target");
	*out = stream_new(client, call, answer, pull);
	return SR_OK;
}

enum sr_status sr_client_call(struct sr_client *client, const struct sr_call *call, struct sr_answer *answer, struct sr_err *err)
{
	struct sr_stream *s = NULL;
	enum sr_status status = begin(client, call, answer, false, &s, err);

	if (status)
		return status;
	s->head_by = call->head_ms ? sr_ticks_ms() + call->head_ms : 0;
	drive(s, false);
	status = outcome(s, err);
	sr_stream_close(s);
	return status;
}

enum sr_status sr_client_open(struct sr_client *client, const struct sr_call *call, struct sr_answer *answer, struct sr_stream **out,
                              struct sr_err *err)
{
	struct sr_stream *s = NULL;
	enum sr_status status = begin(client, call, answer, true, &s, err);

	if (status)
		return status;
	s->head_by = call->head_ms ? sr_ticks_ms() + call->head_ms : 0;
	drive(s, false);
	s->head_by = 0;
	if (s->done)
		status = outcome(s, err);
	if (status && s->head_done && well(answer))
		status = SR_OK; /* the head has come: reads will tell */
	if (status)
		sr_stream_close(s);
	else
		*out = s;
	return status;
}

enum sr_status sr_stream_read(struct sr_stream *s, void *buf, size_t n, size_t *got, struct sr_err *err)
{
	size_t left;

	if (s->taken == s->part.len && !s->done) {
		sr_buf_clear(&s->part);
		s->taken = 0;
		if (s->paused) {
			s->paused = false;
			curl_easy_pause(s->client->easy, CURLPAUSE_CONT); /* calls on_body */
		}
		drive(s, true);
	}
	left = s->part.len - s->taken;
	if (!left) {
		enum sr_status status = outcome(s, err);

		if (!status)
			*got = 0;
		return status;
	}
	*got = n < left ? n : left;
	memcpy(buf, s->part.at + s->taken, *got);
	s->taken += *got;
	return SR_OK;
}

void sr_stream_close(struct sr_stream *s)
{
	if (!s)
		return;
	if (!s->done)
		finish(s, CURLE_OK);
	curl_multi_remove_handle(s->client->multi, s->client->easy);
	curl_easy_reset(s->client->easy); /* it points into s */
	s->client->busy = false;
	curl_slist_free_all(s->headers);
	sr_buf_free(&s->part);
	free(s);
}
