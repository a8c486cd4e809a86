/* keeper.c - see keeper.h. */
#include "http/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "http/crowd.h"
#include "lib/base/door.h"
#include "lib/base/log.h"
#include "lib/base/wait.h"

enum {
	LINGER_MS = 2000,
	LINGER_LOOK_MS = 20,
	LINGERERS = SR_KEEPER_LINGERERS,
	SAY_MS = 60000,
	GONE_LOOK_MS = 5000, /* from one look for clients that have gone while their requests are parked to the next */
};

struct sr_conn {
	struct sr_member member; /* the first: of the keeper's crowd */
	struct sr_keeper *keeper;
	struct sr_conn *next, **link; /* *link is this one */
	int fd;
	bool linger;
	int64_t deadline; /* ticks; 0: none */
	struct sr_request *req; /* what runs here, or NULL */
};

struct rarely { /* said once a minute, however often it happens */
	int64_t next;     /* not before */
	uint64_t n, said; /* how often it happened, and as of the last line */
};

struct sr_keeper {
	pthread_mutex_t lock;
	pthread_cond_t changed, emptied;
	pthread_t thread;
	struct sr_conn *conns;
	struct sr_crowd crowd;
	struct rarely shed, refused;
	struct sr_request *parked;
	struct lingerer {
		int fd;
		int64_t until;
	} lingerers[LINGERERS];
	unsigned lingerers_n, open, parked_n;
	uint64_t wakes, connections;
	int64_t next_look; /* when the thread looks again */
	int64_t next_gone; /* and whether who waits is still there */
	bool stopping, quit;
};

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Something becomes due at `when`: see to it that the thread is awake then. */
static void look_at(struct sr_keeper *k, int64_t when)
{
	if (when < k->next_look)
		pthread_cond_signal(&k->changed);
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static void set_deadline(struct sr_conn *conn, int64_t ms)
{
	conn->deadline = ms < 0 ? 0 : sr_ticks_ms() + ms;
	if (conn->deadline)
		look_at(conn->keeper, conn->deadline);
}

/* It has happened again, to one from there.  The text is to be logged without the lock, which a slow log would hold up; NULL: nothing is said. */
static char *note(const struct sr_keeper *k, struct rarely *r, const char *why, const struct sr_place *place)
{
	int64_t now = sr_ticks_ms();
	char *text;

	r->n++;
	if (now < r->next)
		return NULL;
	text = sr_format("http: %s of %s, which has %u open, %u of them without a request (Max-Connections is %u); %llu such since the last line",
	                 why, place->text, place->open, place->loose, k->crowd.most, (unsigned long long)(r->n - r->said));
	r->next = now + SAY_MS;
	r->said = r->n;
	return text;
}

static void say(char *text)
{
	if (text)
		sr_warn("%s", text);
	free(text);
}

static char *shed_one(struct sr_keeper *k, const char *why)
{
	struct sr_member *member = sr_crowd_send_one(&k->crowd);

	if (!member)
		return NULL;
	shutdown(((struct sr_conn *)member)->fd, SHUT_RDWR);
	return note(k, &k->shed, why, member->place);
}

void sr_keeper_no_files(struct sr_keeper *k)
{
	char *text;

	pthread_mutex_lock(&k->lock);
	text = shed_one(k, "no more files may be open: closed a connection");
	pthread_mutex_unlock(&k->lock);
	say(text);
}

struct sr_conn *sr_keeper_open(struct sr_keeper *k, int fd, const struct sockaddr *from, int64_t deadline_ms)
{
	struct sr_conn *conn = sr_alloc(sizeof(*conn));
	char *text = NULL;

	*conn = (struct sr_conn){ .keeper = k, .fd = fd };
	pthread_mutex_lock(&k->lock);
	conn->next = k->conns;
	conn->link = &k->conns;
	if (conn->next)
		conn->next->link = &conn->next;
	k->conns = conn;
	k->open++;
	k->connections++;
	sr_crowd_join(&k->crowd, &conn->member, from);
	if (sr_crowd_excess(&k->crowd))
		text = shed_one(k, "Max-Connections is reached: closed a connection");
	set_deadline(conn, k->stopping ? 0 : deadline_ms);
	pthread_mutex_unlock(&k->lock);
	say(text);
	return conn;
}

static bool is_parked(const struct sr_keeper *k, const struct sr_request *req)
{
	const struct sr_request *at = k->parked;

	while (at && at != req)
		at = at->next;
	return at;
}

/* Its socket is shut already, but nobody looks at a suspended connection.  Consumes a reference. */
static void cut_one(struct sr_keeper *k, struct sr_request *req)
{
	bool parked;

	pthread_mutex_lock(&req->lock);
	pthread_mutex_lock(&k->lock);
	parked = is_parked(k, req);
	if (parked) { /* the thread lets it go */
		k->next_gone = 0;
		look_at(k, 0);
	}
	pthread_mutex_unlock(&k->lock);
	if (!parked)
		sr_conn_cut(req);
	pthread_mutex_unlock(&req->lock);
	sr_request_unref(req);
}

enum sr_status sr_keeper_hold(struct sr_conn *conn, struct sr_err *err)
{
	struct sr_keeper *k = conn->keeper;
	struct sr_request *cut = NULL;
	struct sr_member *out;
	char *text = NULL;
	bool held, gone;

	pthread_mutex_lock(&k->lock);
	gone = conn->member.gone;
	held = sr_crowd_hold(&k->crowd, &conn->member, &out);
	if (out) {
		shutdown(((struct sr_conn *)out)->fd, SHUT_RDWR);
		cut = ((struct sr_conn *)out)->req;
		if (cut)
			sr_request_ref(cut);
		text = note(k, &k->refused, "Max-Connections is reached: cut a request", out->place);
	} else if (!held && !gone) {
		text = note(k, &k->refused, "Max-Connections is reached: refused a request", conn->member.place);
	}
	pthread_mutex_unlock(&k->lock);
	say(text);
	if (cut)
		cut_one(k, cut);
	return held ? SR_OK : sr_err_set(err, SR_E_UNAVAILABLE, "Max-Connections: %u requests are under way", k->crowd.most);
}

void sr_keeper_deadline(struct sr_conn *conn, int64_t ms)
{
	pthread_mutex_lock(&conn->keeper->lock);
	set_deadline(conn, ms);
	pthread_mutex_unlock(&conn->keeper->lock);
}

void sr_keeper_busy(struct sr_conn *conn, struct sr_request *req, int64_t ms)
{
	pthread_mutex_lock(&conn->keeper->lock);
	conn->req = req;
	if (!req)
		sr_crowd_loosen(&conn->keeper->crowd, &conn->member);
	set_deadline(conn, !req && conn->keeper->stopping ? 0 : ms);
	pthread_mutex_unlock(&conn->keeper->lock);
}

void sr_keeper_shut(struct sr_conn *conn)
{
	pthread_mutex_lock(&conn->keeper->lock);
	shutdown(conn->fd, SHUT_RDWR);
	pthread_mutex_unlock(&conn->keeper->lock);
}

void sr_keeper_look(struct sr_conn *conn)
{
	struct pollfd p = { .fd = conn->fd, .events = POLLRDHUP };
	int unread;

	pthread_mutex_lock(&conn->keeper->lock);
	if (poll(&p, 1, 0) > 0 && p.revents & POLLRDHUP && !ioctl(conn->fd, FIONREAD, &unread) && !unread)
		shutdown(conn->fd, SHUT_RDWR);
	pthread_mutex_unlock(&conn->keeper->lock);
}

void sr_keeper_linger(struct sr_conn *conn)
{
	conn->linger = true; /* only ever touched by the connection's own thread */
}

static void add_lingerer(struct sr_keeper *k, int fd)
{
	int copy = k->lingerers_n < LINGERERS ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;

	if (copy < 0)
		return;
	shutdown(copy, SHUT_WR);
	k->lingerers[k->lingerers_n++] = (struct lingerer){ .fd = copy, .until = sr_ticks_ms() + LINGER_MS };
	look_at(k, sr_ticks_ms());
}

void sr_keeper_close(struct sr_conn *conn)
{
	struct sr_keeper *k = conn->keeper;

	pthread_mutex_lock(&k->lock);
	*conn->link = conn->next;
	if (conn->next)
		conn->next->link = conn->link;
	sr_crowd_leave(&k->crowd, &conn->member);
	if (conn->linger)
		add_lingerer(k, conn->fd);
	if (!--k->open)
		pthread_cond_broadcast(&k->emptied);
	pthread_mutex_unlock(&k->lock);
	free(conn);
}

/* --- parked requests ---------------------------------------------------------------------------------------------- */

uint64_t sr_keeper_wakes(struct sr_keeper *k)
{
	uint64_t n;

	pthread_mutex_lock(&k->lock);
	n = k->wakes;
	pthread_mutex_unlock(&k->lock);
	return n;
}

bool sr_keeper_park(struct sr_keeper *k, struct sr_request *req, uint64_t seen)
{
	bool park;

	pthread_mutex_lock(&k->lock);
	park = k->wakes == seen && !k->stopping;
	if (park) {
		sr_request_ref(req);
		req->next = k->parked;
		k->parked = req;
		k->parked_n++;
		look_at(k, earlier(req->park_until, sr_ticks_ms() + GONE_LOOK_MS));
	}
	pthread_mutex_unlock(&k->lock);
	return park;
}

/* Let a detached list of requests go on, for the last time if it is over; without the keeper's lock. */
static void resume_list(struct sr_request *list, bool over)
{
	while (list) {
		struct sr_request *req = list;

		list = req->next;
		req->next = NULL;
		pthread_mutex_lock(&req->lock);
		if (over)
			req->park_until = 0;
		sr_conn_resume(req);
		pthread_mutex_unlock(&req->lock);
		sr_request_unref(req);
	}
}

void sr_keeper_wake(struct sr_keeper *k)
{
	struct sr_request *list;

	pthread_mutex_lock(&k->lock);
	k->wakes++;
	list = k->parked;
	k->parked = NULL;
	k->parked_n = 0;
	pthread_mutex_unlock(&k->lock);
	resume_list(list, false);
}

/* --- the thread --------------------------------------------------------------------------------------------------- */

static int64_t look_at_conns(struct sr_keeper *k, int64_t now)
{
	int64_t next = INT64_MAX;

	for (struct sr_conn *conn = k->conns; conn; conn = conn->next) {
		if (conn->deadline && conn->deadline <= now) {
			shutdown(conn->fd, SHUT_RDWR);
			conn->deadline = 0;
		} else if (conn->deadline) {
			next = earlier(next, conn->deadline);
		}
	}
	return next;
}

static int64_t look_at_parked(struct sr_keeper *k, int64_t now, struct sr_request **due)
{
	int64_t next = INT64_MAX;

	for (struct sr_request **at = &k->parked; *at;) {
		struct sr_request *req = *at;

		if (req->park_until <= now) {
			*at = req->next;
			req->next = *due;
			*due = req;
			k->parked_n--;
		} else {
			next = earlier(next, req->park_until);
			at = &req->next;
		}
	}
	return next;
}

/* libmicrohttpd does not look at a suspended connection: a place would be held for who has gone. */
static int64_t look_at_gone(struct sr_keeper *k, int64_t now, struct sr_request **due)
{
	struct pollfd *fds;
	size_t n = 0;

	if (!k->parked_n)
		return INT64_MAX;
	if (now < k->next_gone)
		return k->next_gone;
	k->next_gone = now + GONE_LOOK_MS;
	fds = sr_alloc(k->parked_n * sizeof(*fds));
	for (struct sr_request *req = k->parked; req; req = req->next)
		fds[n++] = (struct pollfd){ .fd = req->conn->fd, .events = POLLRDHUP };
	if (poll(fds, n, 0) > 0) {
		n = 0;
		for (struct sr_request **at = &k->parked; *at; n++) {
			struct sr_request *req = *at;

			if (!fds[n].revents) {
				at = &req->next;
				continue;
			}
			*at = req->next;
			req->next = *due;
			*due = req;
			k->parked_n--;
		}
	}
	free(fds);
	return k->next_gone;
}

/* Read and forget; false: the other side is done, or its time is up. */
static bool drain(const struct lingerer *l, int64_t now)
{
	char waste[16384];
	ssize_t got = 1;

	for (int i = 0; i < 64 && got > 0; i++) /* a client that never stops does not keep us here */
		got = recv(l->fd, waste, sizeof(waste), MSG_DONTWAIT);
	return now < l->until && (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR)));
}

static int64_t look_at_lingerers(struct sr_keeper *k, int64_t now)
{
	for (unsigned i = 0; i < k->lingerers_n;) {
		if (drain(&k->lingerers[i], now)) {
			i++;
			continue;
		}
		close(k->lingerers[i].fd);
		k->lingerers[i] = k->lingerers[--k->lingerers_n];
	}
	return k->lingerers_n ? now + LINGER_LOOK_MS : INT64_MAX;
}

static void *watch(void *arg)
{
	enum { LONGEST = 60000 };
	struct sr_keeper *k = arg;

	pthread_mutex_lock(&k->lock);
	while (!k->quit) {
		int64_t now = sr_ticks_ms();
		struct sr_request *due = NULL;
		struct timespec until;

		k->next_look = earlier(now + LONGEST, look_at_conns(k, now));
		k->next_look = earlier(k->next_look, look_at_lingerers(k, now));
		k->next_look = earlier(k->next_look, look_at_parked(k, now, &due));
		k->next_look = earlier(k->next_look, look_at_gone(k, now, &due));
		if (due) {
			pthread_mutex_unlock(&k->lock);
			resume_list(due, true);
			pthread_mutex_lock(&k->lock);
			continue; /* what changed meanwhile is looked at again */
		}
		until = sr_after_ms(k->next_look - now);
		pthread_cond_timedwait(&k->changed, &k->lock, &until);
	}
	pthread_mutex_unlock(&k->lock);
	return NULL;
}

struct sr_keeper *sr_keeper_start(unsigned most)
{
	struct sr_keeper *k = sr_alloc(sizeof(*k));

	k->crowd.most = most;
	pthread_mutex_init(&k->lock, NULL);
	sr_cond_init(&k->changed);
	sr_cond_init(&k->emptied);
	if (!pthread_create(&k->thread, NULL, watch, k))
		return k;
	free(k);
	return NULL;
}

void sr_keeper_stop(struct sr_keeper *k)
{
	pthread_mutex_lock(&k->lock);
	k->quit = true;
	pthread_cond_signal(&k->changed);
	pthread_mutex_unlock(&k->lock);
	pthread_join(k->thread, NULL);
	for (unsigned i = 0; i < k->lingerers_n; i++)
		close(k->lingerers[i].fd);
	pthread_cond_destroy(&k->changed);
	pthread_cond_destroy(&k->emptied);
	pthread_mutex_destroy(&k->lock);
	free(k);
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

void sr_keeper_stopping(struct sr_keeper *k)
{
	pthread_mutex_lock(&k->lock);
	k->stopping = true;
	for (struct sr_conn *conn = k->conns; conn; conn = conn->next)
		if (!conn->req)
			shutdown(conn->fd, SHUT_RDWR);
	pthread_mutex_unlock(&k->lock);
	sr_keeper_wake(k);
}

bool sr_keeper_wait(struct sr_keeper *k, int64_t ms)
{
	struct timespec until = sr_after_ms(ms);
	bool empty;

	pthread_mutex_lock(&k->lock);
	while (k->open && !pthread_cond_timedwait(&k->emptied, &k->lock, &until))
		;
	empty = !k->open;
	pthread_mutex_unlock(&k->lock);
	return empty;
}

void sr_keeper_cut_all(struct sr_keeper *k)
{
	struct sr_request **reqs;
	size_t n = 0;

	pthread_mutex_lock(&k->lock);
	reqs = sr_alloc((k->open + 1) * sizeof(struct sr_request *));
	for (struct sr_conn *conn = k->conns; conn; conn = conn->next) {
		shutdown(conn->fd, SHUT_RDWR);
		if (!conn->req)
			continue;
		sr_request_ref(conn->req);
		reqs[n++] = conn->req;
	}
	pthread_mutex_unlock(&k->lock);
	for (size_t i = 0; i < n; i++) {
		pthread_mutex_lock(&reqs[i]->lock);
		sr_conn_cut(reqs[i]);
		pthread_mutex_unlock(&reqs[i]->lock);
		sr_request_unref(reqs[i]);
	}
	free(reqs);
}

void sr_keeper_counts(struct sr_keeper *k, struct sr_server_counts *out)
{
	pthread_mutex_lock(&k->lock);
	out->connections = k->connections;
	out->shed = k->shed.n;
	out->open = k->open;
	out->most = k->crowd.most;
	out->parked = k->parked_n;
	pthread_mutex_unlock(&k->lock);
}
