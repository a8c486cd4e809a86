/* preview.h - what a round would find, before there is any: the stores here beside the datastore's tree, counted.
 *
 * The stores are scanned under the datastore's tree key; state.db is not looked at and nothing is written.  An entry is a file, a
 * directory, a table or a row.  What is excluded or unknown here is not counted, for a round leaves it alone. */
#ifndef SR_ADMIN_PREVIEW_H
#define SR_ADMIN_PREVIEW_H

#include <stdio.h>

#include "http/client.h"
#include "lib/admin/admin.h"
#include "lib/base/config.h"

struct json_t;

struct sr_preview { /* {0}; sr_preview_free when done */
	struct sr_preview_store {
		const char *name; /* BORROWED from the configuration */
		char *note;       /* why it is not compared, and would be left as it is, or NULL; OWNED */
		uint64_t equal, here, there, different; /* here, there: only there */
		struct sr_preview_table { /* of a database, sorted by name */
			char *name; /* as in a path; OWNED */
			uint64_t here, there, different;
			const char *itself; /* "here", "there" or "different": the table, not only rows of it; else NULL */
		} *tables;
		size_t n, last; /* last: of tables, the one that was counted in last */
		bool emptied; /* no file or row is at the datastore, and some here: a mirror is refused */
	} *stores;
	size_t n;
};

/* client: the datastore's, trusted and with the secret.  Waits up to wait_ms for one that is not ready yet. */
SR_MUST enum sr_status sr_preview_make(struct sr_preview *out, const struct sr_config *config, struct sr_client *client, unsigned wait_ms,
				       struct sr_err *err);
void sr_preview_show(const struct sr_preview *p, FILE *out);
struct json_t *sr_preview_json(const struct sr_preview *p); /* [{"name", "equal", "here", "there", "different", "emptied", "tables", "note"}]; OWNED BY CALLER */
/* With --json: {"what", "preview", "result"} on a->out; result NULL: it was not done, empty: noted.  CONSUMES preview. */
void sr_preview_answer(const struct sr_admin *a, const char *what, struct json_t *preview, const struct sr_buf *result);
void sr_preview_free(struct sr_preview *p);

#endif
