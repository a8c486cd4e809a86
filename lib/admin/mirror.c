/* mirror.c - `sameroot adopt --mirror`: this webserver takes the datastore's state as it is.  See admin.h; lib/sync/mirror.c does it. */
#include "lib/admin/mirror.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/admin/here.h"
#include "lib/admin/owner.h"
#include "lib/admin/preview.h"
#include "lib/state/state.h"
#include "lib/sync/sync.h"

#define WAIT_MS  10000 /* for a datastore that is not ready yet */
#define QUESTION "Take the datastore's state as it is? [y/N] "

static enum sr_status put_offline(const struct sr_admin *a, struct sr_err *err)
{
	struct sr_state *state = NULL;
	bool fresh;
	struct sr_owner owner = sr_owner_of(sr_admin_state_dir(a));
	enum sr_status rc = sr_state_open(&state, sr_admin_state_dir(a), &fresh, err);

	if (rc == SR_OK)
		rc = sr_mirror_put(state, a->store, err);
	sr_state_close(state);
	sr_owner_give(&owner, sr_admin_state_dir(a));
	return rc;
}

static enum sr_status post(struct sr_here *h, const struct sr_admin *a, struct sr_buf *answer, struct sr_err *err)
{
	json_t *o = json_object();
	char *text;
	enum sr_status rc;

	json_object_set_new(o, "what", json_string("mirror"));
	json_object_set_new(o, "store", a->store ? json_string(a->store) : json_null());
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	rc = sr_here_post(h, "/api/admin/adopt", sr_bytes_of(text), h->status_most, answer, err);
	free(text);
	return rc == SR_E_UNAVAILABLE && h->absent ? put_offline(a, err) : rc;
}

static enum sr_status check(const struct sr_admin *a, struct sr_err *err)
{
	const struct sr_config_store *store = a->store ? sr_config_store(a->config, a->store) : NULL;

	if (a->side == SR_SIDE_DATASTORE || !a->config->datastore.host)
		return sr_err_set(err, SR_E_USAGE, "adopt --mirror is run on a webserver: it takes the datastore's state");
	if (a->store && (!store || !store->path))
		return sr_err_set(err, SR_E_USAGE, "--store %s: this webserver has no such store", a->store);
	return SR_OK;
}

static bool is_asked(const struct sr_admin *a, const struct sr_preview *p, size_t i)
{
	return !a->store || !strcmp(a->store, p->stores[i].name);
}

static void explain(const struct sr_admin *a, const struct sr_preview *p, FILE *out)
{
	bool all = true;

	for (size_t i = 0; i < p->n; i++) {
		if (!is_asked(a, p, i) || !p->stores[i].note)
			continue;
		fprintf(out, "Store %s is not mirrored: %s\n", p->stores[i].name, p->stores[i].note);
		all = false;
	}
	if (all || !a->store)
		fprintf(out, "%s%s of this webserver will be what the datastore has.  What is removed or overwritten here goes to %s/archive first; "
			"`sameroot conflicts list` shows it.\n",
			a->store ? "Store " : all ? "Every store" : "Every other store", a->store ? a->store : "", sr_admin_state_dir(a));
	if (!all && !a->store)
		fputs("That is for a webserver whose history is the datastore's: where the round is held, nothing is done before all stores are well.\n", out);
	if (a->store)
		fputs("That is for a webserver whose history is the datastore's: where the round is held, it is for all stores at once, without --store.\n", out);
}

/* As the round would (lib/sync/mirror.c): it is not to be heard of only then. */
static enum sr_status refuse(const struct sr_admin *a, const struct sr_preview *p, struct sr_err *err)
{
	const struct sr_preview_store *left = NULL;
	bool any = false;

	for (size_t i = 0; i < p->n; i++) {
		const struct sr_preview_store *s = &p->stores[i];

		if (!is_asked(a, p, i))
			continue;
		if (s->emptied)
			return sr_err_set(err, SR_E_HELD, "refused: store %s is empty at the datastore, and not here; `sameroot adopt --union` on the datastore "
					  "keeps what is here%s", s->name,
					  a->store ? "" : ", and --store NAME mirrors another one where no history is held");
		any |= !s->note;
		left = left || !s->note ? left : s;
	}
	return any || !left ? SR_OK
			    : sr_err_set(err, SR_E_HELD, "refused: store %s: %s; nothing is done until it is well, see `sameroot status` there and here",
					 left->name, left->note);
}

/* What is here beside what the datastore has.  Nothing is asked of an operator who cannot see it. */
static enum sr_status preview(const struct sr_admin *a, json_t **out, struct sr_err *err)
{
	struct sr_contact *contact = NULL;
	struct sr_preview p = {0};
	bool known = false;
	enum sr_status rc = sr_there_open(&contact, a->config, err);

	if (rc == SR_OK)
		rc = sr_preview_make(&p, a->config, sr_contact_client(contact), WAIT_MS, err);
	if (rc == SR_OK) {
		sr_preview_show(&p, a->json ? a->notes : a->out);
		explain(a, &p, a->json ? a->notes : a->out);
		*out = sr_preview_json(&p);
		known = true;
		rc = refuse(a, &p, err);
	}
	sr_preview_free(&p);
	sr_contact_close(contact);
	return rc == SR_OK || known ? rc : sr_err_context(err, "what the datastore has");
}

enum sr_status sr_adopt_mirror(const struct sr_admin *given, int *status, struct sr_err *err)
{
	struct sr_admin a = *given;
	struct sr_here here = {0};
	struct sr_buf answer = {0};
	json_t *found = NULL;
	enum sr_status rc = check(&a, err);

	if (rc != SR_OK)
		return rc;
	a.side = SR_SIDE_WEBSERVER;
	rc = sr_here_open(&here, &a, err);
	if (rc == SR_OK)
		rc = preview(&a, &found, err);
	if (rc == SR_OK)
		rc = sr_admin_agree(&a, QUESTION, err);
	if (rc == SR_OK)
		rc = post(&here, &a, &answer, err);
	if (rc == SR_OK)
		*status = 0;
	if (rc == SR_OK && !a.json)
		fputs("It is done at the next round; `sameroot status` says how that went.\n", a.out);
	if (found)
		sr_preview_answer(&a, "mirror", found, rc == SR_OK ? &answer : NULL);
	sr_buf_free(&answer);
	sr_here_close(&here);
	return rc;
}
