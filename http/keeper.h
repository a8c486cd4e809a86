/* keeper.h - the clock-watcher of a server: open connections with a deadline each, parked requests, sockets that linger.
 *
 * libmicrohttpd's own timeout starts anew with every byte and does not see suspended connections at all; so one thread here shuts the socket of
 * whatever is late (libmicrohttpd then notices and closes it), and wakes what was parked, also when its client has gone.  A newcomer
 * beyond the limit has one shut at once.
 *
 * Private to http/; thread-safe.  Lock order: a request, then the keeper. */
#ifndef SR_HTTP_KEEPER_H
#define SR_HTTP_KEEPER_H

#include <sys/socket.h>

#include "http/request.h"

#define SR_KEEPER_LINGERERS 64 /* sockets at most that are open beyond the connections */

struct sr_keeper; /* opaque */
struct sr_conn;   /* opaque: one connection */

/* most: connections that hold a request, and but for a few more all (crowd.h).  NULL: no thread could be made. */
struct sr_keeper *sr_keeper_start(unsigned most);
/* No connection is left.  CONSUMES keeper. */
void sr_keeper_stop(struct sr_keeper *keeper);

/* --- connections -------------------------------------------------------------------------------------------------- */

/* BORROWS fd until sr_keeper_close.  Deadlines are in ms from now; negative: none.  If there are too many now, one of them is shut. */
struct sr_conn *sr_keeper_open(struct sr_keeper *keeper, int fd, const struct sockaddr *from, int64_t deadline_ms);
/* A connection could not be taken for want of a file descriptor: shut one, if there is one to spare. */
void sr_keeper_no_files(struct sr_keeper *keeper);
/* What runs on conn is somebody's who may: it is not shut to make room for who may not.  Another may be shut for it.  SR_E_UNAVAILABLE: so many do. */
SR_MUST enum sr_status sr_keeper_hold(struct sr_conn *conn, struct sr_err *err);
void sr_keeper_deadline(struct sr_conn *conn, int64_t ms);
/* What runs on conn; NULL: nothing, and it ends within idle_ms - at once if the server is stopping. */
void sr_keeper_busy(struct sr_conn *conn, struct sr_request *req, int64_t ms);
void sr_keeper_shut(struct sr_conn *conn); /* the socket, now */
/* Shut the socket if the other side has closed it and all that it sent was read: libmicrohttpd, on edge-triggered epoll, misses an end that
 * comes together with the last bytes. */
void sr_keeper_look(struct sr_conn *conn);
/* The client has not been read to its end: keep a copy of the socket for a while and throw away what comes, so that the answer is not lost
 * to a reset. */
void sr_keeper_linger(struct sr_conn *conn);
void sr_keeper_close(struct sr_conn *conn); /* CONSUMES conn; just before its fd is closed */

/* --- parked requests ---------------------------------------------------------------------------------------------- */

uint64_t sr_keeper_wakes(struct sr_keeper *keeper); /* how often it was woken */
/* With req->lock held.  False: there was a wake since `seen`, nothing is parked. */
bool sr_keeper_park(struct sr_keeper *keeper, struct sr_request *req, uint64_t seen);
void sr_keeper_wake(struct sr_keeper *keeper);

/* --- the end ------------------------------------------------------------------------------------------------------ */

void sr_keeper_stopping(struct sr_keeper *keeper); /* close idle connections now and as they become idle; wake all */
bool sr_keeper_wait(struct sr_keeper *keeper, int64_t ms); /* until no connection is open */
void sr_keeper_cut_all(struct sr_keeper *keeper);

void sr_keeper_counts(struct sr_keeper *keeper, struct sr_server_counts *out); /* only what has to do with connections */

#endif
