/* here.h - the daemon on this machine, asked as its admin; and the datastore, asked as a webserver does.
 *
 * Where it listens is told by `address` in its state directory (lib/replica/address.h), else by the configuration.  The secret is
 * `admin-token` in that directory, so that only its owner and root may ask.  Over TLS the key has to be that of the daemon's own
 * certificate.  One owner. */
#ifndef SR_ADMIN_HERE_H
#define SR_ADMIN_HERE_H

#include "http/client.h"
#include "lib/admin/admin.h"
#include "lib/replica/wire.h"
#include "lib/sync/contact.h"

struct sr_here {
	const char *name;         /* "sync daemon" or "datastore", for texts */
	const char *state_dir;    /* BORROWED from the configuration */
	struct sr_client *client; /* NULL: no daemon said where it listens */
	bool ever;                /* a daemon has run here */
	long pid;    /* after a call that nobody answered: the process that holds the state directory all the same; 0: none */
	bool absent; /* after a call: nobody answered at all (SR_E_UNAVAILABLE is also what a daemon that is not ready answers) */
	size_t status_most; /* bytes that a status may have: of the stores here, and of so many webservers as the configuration lets there be */
};

/* SR_E_AUTH: the state directory is not ours to read.  That no daemon is there is told by the calls. */
SR_MUST enum sr_status sr_here_open(struct sr_here *out, const struct sr_admin *a, struct sr_err *err);
void sr_here_close(struct sr_here *h);

/* From now on with this login ("name:password") instead of the token. */
SR_MUST enum sr_status sr_here_login(struct sr_here *h, const struct sr_admin *a, const char *login, struct sr_err *err);

#define SR_SHORT_ANSWER ((size_t)64 << 10) /* of what has nothing to tell but that it is done */
/* Of a list of so many items of a node, each with its path and a few words. */
size_t sr_answer_of(uint64_t items);

/* One call; the body of the answer, of `most` bytes at most, is appended to *out.  SR_E_UNAVAILABLE: not running, or not ready; see h->absent.
 * SR_E_LIMIT: the answer is longer. */
SR_MUST enum sr_status sr_here_call(struct sr_here *h, const struct sr_call *call, struct sr_buf *out, struct sr_err *err);
SR_MUST enum sr_status sr_here_get(struct sr_here *h, const char *target, size_t most, struct sr_buf *out, struct sr_err *err);
SR_MUST enum sr_status sr_here_post(struct sr_here *h, const char *target, struct sr_bytes body, size_t most, struct sr_buf *out, struct sr_err *err);

/* A long answer, pulled: as sr_client_open, with the same errors as above. */
SR_MUST enum sr_status sr_here_stream(struct sr_here *h, const struct sr_call *call, struct sr_answer *answer, struct sr_stream **out,
				      struct sr_err *err);

/* The configured datastore, with Control-Auth, trusted as the sync daemon trusts it: by the key that that one pinned, if it did.  Keys are not
 * pinned here.  OWNED BY CALLER (sr_contact_close). */
SR_MUST enum sr_status sr_there_open(struct sr_contact **out, const struct sr_config *config, struct sr_err *err);

/* GET /api/tree without a check-in.  sr_tree_info_free when done. */
SR_MUST enum sr_status sr_fetch_tree(struct sr_client *client, struct sr_tree_info *out, struct sr_err *err);

/* A path as an operator gives it, in the text form that is shown: bytes that are not plain ASCII percent-encoded, what is encoded as it is.  OWNED
 * BY CALLER (free). */
char *sr_admin_path(const char *given);

#endif
