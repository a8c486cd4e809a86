/* users.h - the users in a node's own users.db: Sameroot's own schema, or an application's, of which Admin-Query tells who may log in.
 *
 * Sameroot's own is the reference (schema.sql in users.c, sameroot-users(5)): users, groups and members with UUIDs as keys, so that two
 * webservers can make users at the same time.  It is written as any application writes it; the daemon finds and sends what changed.
 *
 * A query is one SELECT that gives a row a user who may log in: name, password as crypt(5) has it, and whether he is an admin (0 or NULL is no).
 * It runs on a connection that can only read.  One thread at a time; never logs.  SR_E_BUSY: another program keeps the database locked. */
#ifndef SR_USERS_USERS_H
#define SR_USERS_USERS_H

#include "lib/base/bytes.h"
#include "lib/base/err.h"

#define SR_USER_NAME_MOST 128 /* bytes */

struct sr_users; /* opaque */

struct sr_user { /* strings are the callee's, valid during the call, or OWNED: sr_user_free */
	char *id;    /* NULL: the schema is an application's */
	char *name, *hash;
	char *full_name, *email; /* NULL: none, or not known */
	char *created; /* 2026-11-27T03:00:00Z; NULL: not known */
	bool admin, enabled;
};

/* Make the reference tables in a database, which may be an empty file or new, unless there are tables: those of users.db, or of webstore.db. */
SR_MUST enum sr_status sr_users_make(const char *path, struct sr_err *err);
SR_MUST enum sr_status sr_webstore_make(const char *path, struct sr_err *err);

/* query: Admin-Query; NULL: the reference schema's.  SR_E_NOINPUT: no such file.  SR_E_CONFIG: the query is no good there, or there is no query and
 * the schema is not the reference.  SR_E_IO: it cannot be read, or is no database. */
SR_MUST enum sr_status sr_users_open(struct sr_users **out, const char *path, const char *query, struct sr_err *err);
void sr_users_close(struct sr_users *u); /* NULL is a no-op */
/* Is it the reference schema, in which users can be made and changed here? */
bool sr_users_ours(const struct sr_users *u);

/* Who may log in under that name, in any case of ASCII letters: *found.  sr_user_free when done, found or not. */
SR_MUST enum sr_status sr_users_find(struct sr_users *u, const char *name, struct sr_user *out, bool *found, struct sr_err *err);
void sr_user_free(struct sr_user *user); /* wipes the hash */

/* All, by name; of the reference schema also those who are disabled.  Not SR_OK from fn ends it. */
typedef enum sr_status sr_user_fn(void *ctx, const struct sr_user *user, struct sr_err *err);
SR_MUST enum sr_status sr_users_each(struct sr_users *u, sr_user_fn *fn, void *ctx, struct sr_err *err);

/* --- of the reference schema alone: SR_E_CONFIG otherwise.  SR_E_NOINPUT: there is no such user -------------------------------- */

/* SR_E_DATA: there is one of that name.  SR_E_USAGE: the name is empty, too long, has a ':', a control character or is no UTF-8. */
SR_MUST enum sr_status sr_users_add(struct sr_users *u, const char *name, const char *hash, bool admin, struct sr_err *err);
SR_MUST enum sr_status sr_users_set_hash(struct sr_users *u, const char *name, const char *hash, struct sr_err *err);
SR_MUST enum sr_status sr_users_set_admin(struct sr_users *u, const char *name, bool admin, struct sr_err *err);
SR_MUST enum sr_status sr_users_set_enabled(struct sr_users *u, const char *name, bool enabled, struct sr_err *err);
SR_MUST enum sr_status sr_users_delete(struct sr_users *u, const char *name, struct sr_err *err); /* memberships go along */

/* NULL: a user of that name may be made; otherwise what is wrong with it. */
const char *sr_user_name_fault(const char *name);

#endif
