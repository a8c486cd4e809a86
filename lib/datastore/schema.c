/* schema.c - when may a table here lose columns, and when does it get other constraints?  A webserver whose application built a table anew, without some of its columns, proposes it with every round; once
 * all webservers that are about propose the same, nobody is left who would miss them.  In memory only: it is proposed again.
 *
 * Constraints are in no fingerprint, so they stop nobody; but a row that those here do not take is refused.  So each webserver's are kept in state.db,
 * as it told them last, and a table here follows when all that are about and have it have the same.
 *
 * What was built anew is found by the next scan; state.db knows until then, for a crash may lie between. */
#include "lib/datastore/internal.h"

#include <stdlib.h>
#include <string.h>

#define ABOUT_MS 600000 /* who has not been here for so long is not waited for */

static struct sr_ds_proposal *proposal_of(struct sr_datastore *d, size_t store, struct sr_bytes table, const struct sr_uuid *webserver)
{
	struct sr_ds_proposal *p;

	for (size_t k = 0; k < d->proposals_n; k++) {
		p = &d->proposals[k];
		if (p->store == store && sr_bytes_eq(sr_bytes_of(p->table), table) && !memcmp(&p->webserver, webserver, sizeof(*webserver)))
			return p;
	}
	return NULL;
}

void sr_ds_propose(struct sr_datastore *d, size_t store, const struct sr_leaf *table, const struct sr_uuid *webserver)
{
	struct sr_ds_proposal *p = proposal_of(d, store, table->path, webserver);

	if (!p) {
		d->proposals = sr_realloc(d->proposals, (d->proposals_n + 1) * sizeof(*d->proposals));
		p = &d->proposals[d->proposals_n++];
		*p = (struct sr_ds_proposal){.store = store, .webserver = *webserver, .table = sr_text(table->path)};
	}
	p->from = table->expect.hash;
	p->to = table->to.hash;
}

bool sr_ds_agreed(struct sr_datastore *d, size_t store, const struct sr_leaf *table)
{
	bool all = true;

	pthread_mutex_lock(&d->face);
	for (size_t k = 0; all && k < d->webservers_n; k++) {
		const struct sr_webserver_row *w = &d->webservers[k].row;
		const struct sr_ds_proposal *p;

		if (sr_now_ms() - w->seen_ms > ABOUT_MS)
			continue;
		p = proposal_of(d, store, table->path, &w->uuid);
		all = p && sr_hash_eq(&p->from, &table->expect.hash) && sr_hash_eq(&p->to, &table->to.hash);
	}
	pthread_mutex_unlock(&d->face);
	return all;
}

void sr_ds_proposals_free(struct sr_datastore *d)
{
	for (size_t k = 0; k < d->proposals_n; k++)
		free(d->proposals[k].table);
	free(d->proposals);
}

/* --- tables with other constraints ---------------------------------------------------------------------------------------- */

static char *definitions_name(const struct sr_datastore *d, size_t store, const struct sr_uuid *webserver)
{
	char uuid[SR_UUID_TEXT];

	sr_uuid_text(uuid, webserver);
	return sr_format("definitions %s %s", d->r->stores[store].name, uuid);
}

enum sr_status sr_ds_note_definitions(struct sr_datastore *d, size_t store, const struct sr_uuid *webserver, struct sr_bytes text,
				      struct sr_err *err)
{
	char *name = definitions_name(d, store, webserver);
	struct sr_buf definitions = {0};
	enum sr_status rc;

	sr_schema_definitions(text, &d->r->key, &definitions);
	rc = sr_state_put(d->r->state, name, sr_buf_view(&definitions), err);
	sr_buf_free(&definitions);
	free(name);
	return rc;
}

/* Has it that definition, or no such table?  Not known: no. */
static bool has_definition(struct sr_datastore *d, size_t store, const struct sr_uuid *webserver, struct sr_bytes table,
			   const struct sr_hash *definition)
{
	char *name = definitions_name(d, store, webserver);
	struct sr_buf definitions = {0};
	struct sr_hash h;
	bool found = false;
	bool good = sr_state_get(d->r->state, name, &definitions, &found, NULL) == SR_OK && found &&
		    (!sr_schema_definition(sr_buf_view(&definitions), table, &h) || sr_hash_eq(&h, definition));

	sr_buf_free(&definitions);
	free(name);
	return good;
}

bool sr_ds_is_defined_so(struct sr_datastore *d, size_t store, struct sr_bytes table, const struct sr_hash *definition)
{
	struct sr_uuid *about;
	size_t n = 0;
	bool all = true;

	pthread_mutex_lock(&d->face);
	about = sr_alloc((d->webservers_n + 1) * sizeof(*about));
	for (size_t k = 0; k < d->webservers_n; k++)
		if (sr_now_ms() - d->webservers[k].row.seen_ms <= ABOUT_MS)
			about[n++] = d->webservers[k].row.uuid;
	pthread_mutex_unlock(&d->face);
	for (size_t k = 0; all && k < n; k++)
		all = has_definition(d, store, &about[k], table, definition);
	free(about);
	return all;
}

/* --- tables that were built anew ------------------------------------------------------------------------------------ */

static char *reshaped_name(const struct sr_datastore *d, size_t store)
{
	return sr_format("reshaped %s", d->r->stores[store].name);
}

enum sr_status sr_ds_reshaped(struct sr_datastore *d, size_t store, struct sr_err *err)
{
	char *name = reshaped_name(d, store);
	enum sr_status rc = sr_state_put_u64(d->r->state, name, 1, err);

	free(name);
	return rc;
}

bool sr_ds_is_reshaped(struct sr_datastore *d, size_t store)
{
	char *name = reshaped_name(d, store);
	uint64_t one;
	bool is = false;
	enum sr_status rc = sr_state_get_u64(d->r->state, name, &one, &is, NULL);

	free(name);
	return rc != SR_OK || is;
}

enum sr_status sr_ds_was_reshaped(struct sr_datastore *d, size_t store, bool *was, struct sr_err *err)
{
	char *name = reshaped_name(d, store);
	uint64_t one;
	enum sr_status rc = sr_state_get_u64(d->r->state, name, &one, was, err);

	if (rc == SR_OK && *was)
		rc = sr_state_drop(d->r->state, name, err);
	free(name);
	return rc;
}
