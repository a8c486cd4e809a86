/* conflict.h - an archived version beside what is there now, and how it comes back; for both daemons, and without one.
 *
 * JSON in and out: sameroot-protocol(5), ADMINISTRATION.  What is written to *out is OWNED BY CALLER (sr_buf_free).  Each function
 * says from which threads it may be called. */
#ifndef SR_REPLICA_CONFLICT_H
#define SR_REPLICA_CONFLICT_H

#include "lib/replica/replica.h"

/* The one entry that `given` names (sr_archive_find): its ID.json, with "content" (the file's path, or null) and "now", what is there: version,
 * columns of a row, or "unknown": why it cannot be told; "over", to be given to a restore; "is_winner", "is_it".  SR_E_NOTFOUND: there is none.
 * From any thread but one that uses the stores already. */
SR_MUST enum sr_status sr_conflict_show(struct sr_replica *r, const char *given, struct sr_buf *out, struct sr_err *err);

struct sr_conflict_editor {
	/* Compare and swap these leaves, a spool for each store of the replica or NULL, as sr_replica_edit does it. */
	enum sr_status (*edit)(void *ctx, struct sr_leaves *const *leaves, struct sr_err *err);
	void *ctx;
	bool keeps; /* what it replaces stays readable in the datastore's history; else it goes to the archive, unless the datastore has it */
};
/* The edit of a webserver, and of any node without a daemon; ctx is the replica. */
SR_MUST enum sr_status sr_conflict_edit(void *ctx, struct sr_leaves *const *leaves, struct sr_err *err);

/* Make ordinary edits of archived versions: {"ids": [{"id", "over"}], "keep": false, "as": PATH}.  over: what sr_conflict_show told, for what is
 * there to be replaced; without it only what won then is.  The versions of one store are one edit; the entries go once all is durable, unless
 * `keep`.  One that is there already is fine, so that it may be tried again.  *out: [{"id", "path", "result": "restored" or "there already"}].
 * SR_E_CHANGED, SR_E_UNAVAILABLE, SR_E_NOTFOUND, SR_E_USAGE: the text says what is in the way.
 * The owner, between two rounds; from any thread if that suits the editor. */
SR_MUST enum sr_status sr_conflict_restore(struct sr_replica *r, struct sr_bytes wish, const struct sr_conflict_editor *editor,
					   struct sr_buf *out, struct sr_err *err);

/* {"ids": [ID]}: remove them, durably.  *out: {"removed": n}.  SR_E_DATA: that is no such wish.  From any thread. */
SR_MUST enum sr_status sr_conflict_remove(struct sr_archive *a, struct sr_bytes wish, struct sr_buf *out, struct sr_err *err);

#endif
