/* conflicts.h - what the files of `sameroot conflicts` share: this node's archive, by its daemon's routes or, while that does not run, under
 * the lock; and what the datastore knows of all the others'.  One owner. */
#ifndef SR_ADMIN_CONFLICTS_H
#define SR_ADMIN_CONFLICTS_H

#include "lib/admin/here.h"

struct sr_replica;
struct json_t;

struct sr_conflicts {
	const struct sr_admin *a;
	struct sr_here here;
	struct sr_replica *replica; /* without a daemon, once it was needed */
};

SR_MUST enum sr_status sr_conflicts_open(struct sr_conflicts *c, const struct sr_admin *a, struct sr_err *err);
void sr_conflicts_close(struct sr_conflicts *c);

/* All of these: *out is OWNED BY CALLER (json_decref).
 * The list of the archive here, whose entries are those of the route. */
SR_MUST enum sr_status sr_conflicts_list(struct sr_conflicts *c, struct json_t **out, struct sr_err *err);
/* One entry (lib/replica/conflict.h).  SR_E_NOTFOUND: none here; the text says on which node it is, if that is known. */
SR_MUST enum sr_status sr_conflicts_show(struct sr_conflicts *c, const char *given, struct json_t **out, struct sr_err *err);
/* `what`: "restore" or "remove"; wish: see lib/replica/conflict.h. */
SR_MUST enum sr_status sr_conflicts_do(struct sr_conflicts *c, const char *what, const struct json_t *wish, struct json_t **out,
				       struct sr_err *err);
/* Its content, to a->out. */
SR_MUST enum sr_status sr_conflicts_content(struct sr_conflicts *c, const char *id, struct sr_err *err);

/* Every node's: GET /api/conflicts of the datastore (sameroot-protocol(5)). */
SR_MUST enum sr_status sr_conflicts_everywhere(const struct sr_admin *a, struct json_t **out, struct sr_err *err);

/* Columns of the record with this hash, at `path` (in text), out of the datastore's history; NULL: it is not kept any more, or cannot be had. */
struct json_t *sr_conflicts_columns(const struct sr_admin *a, const char *hash, const char *path);

#endif
