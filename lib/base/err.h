/* err.h - what can go wrong, said once.
 *
 * Every function that can fail returns enum sr_status and takes a struct sr_err that the origin fills (code, errno,
 * text); callers add context in front ("push 3f2a: fsync: No space left on device").  Outputs are written only on
 * SR_OK.  Only cmd/ prints.  One table maps a status to an exit status and an HTTP status.
 * Threads: a struct sr_err belongs to one thread. */
#ifndef SR_BASE_ERR_H
#define SR_BASE_ERR_H

#include <stdbool.h>

#define SR_MUST __attribute__((warn_unused_result))
#define SR_PRINTF(f, a) __attribute__((format(printf, f, a)))

enum sr_status {
	SR_OK = 0,
	SR_E_USAGE,       /* wrong arguments; exit 64 */
	SR_E_DATA,        /* malformed bytes: a record, node, bundle, request; exit 65, HTTP 400 */
	SR_E_NOINPUT,     /* a named file is not there; exit 66, HTTP 404 */
	SR_E_NOTFOUND,    /* no such path, hash, id, route; exit 66, HTTP 404 */
	SR_E_GONE,        /* was here, is no longer readable (an old root); exit 75, HTTP 410 */
	SR_E_CONFLICT,    /* compare-and-swap or history says no; exit 75, HTTP 409 */
	SR_E_CHANGED,     /* it is not what was expected; exit 75, HTTP 409 */
	SR_E_AUTH,        /* no or wrong secret; exit 77, HTTP 401 */
	SR_E_FORBIDDEN,   /* known, but may not; exit 77, HTTP 403 */
	SR_E_AGAIN,       /* too often: wait, and try again; exit 75, HTTP 429 */
	SR_E_LIMIT,       /* a configured limit; the text names it; exit 65, HTTP 413 */
	SR_E_BUSY,        /* someone else holds it; exit 75, HTTP 503 */
	SR_E_UNAVAILABLE, /* a peer or store cannot be reached now; exit 75, HTTP 503 */
	SR_E_HELD,        /* held for the operator to decide; exit 1, HTTP 409 */
	SR_E_CONFIG,      /* exit 78 */
	SR_E_FULL,        /* no space; exit 74, HTTP 507 */
	SR_E_ROOM,        /* no more room within a limit on what is kept; the text names it; exit 74, HTTP 507 */
	SR_E_IO,          /* the disk or the network said no; exit 74, HTTP 500 */
	SR_E_INTERNAL,    /* our own bug; exit 70, HTTP 500 */
	SR_STATUS_COUNT
};

struct sr_err {
	enum sr_status code;
	int sys;        /* errno, or 0; EUCLEAN: a damaged database */
	char text[768]; /* one line, no trailing newline */
};

/* Fill *err and return `code`.  err may be NULL. */
enum sr_status sr_err_set(struct sr_err *err, enum sr_status code, const char *fmt, ...) SR_PRINTF(3, 4);

/* As sr_err_set, with ": strerror(errno)" appended; ENOSPC and EDQUOT become SR_E_FULL whatever `code` says. */
enum sr_status sr_err_sys(struct sr_err *err, enum sr_status code, const char *fmt, ...) SR_PRINTF(3, 4);

/* Put "context: " before the text and return err->code. */
enum sr_status sr_err_context(struct sr_err *err, const char *fmt, ...) SR_PRINTF(2, 3);

const char *sr_status_name(enum sr_status code); /* "data", "gone", ...: stable, used in JSON errors */
int sr_status_exit(enum sr_status code);         /* sysexits */
int sr_status_http(enum sr_status code);
enum sr_status sr_status_from_http(int http); /* what a client makes of an answer */

#endif
