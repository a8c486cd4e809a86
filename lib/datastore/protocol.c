/* protocol.c - webservers that speak another protocol than this datastore.
 *
 * Each says with its check-in, and with its token, which one it speaks; those of before there was another say nothing, and speak the first.  Who speaks another
 * one is refused before anything else of the request is looked at, for nothing of it has to mean here what it means there; it asks again every interval, and
 * so goes on by itself once both are of one kind.  The log says it once, and the registry as long as it asks. */
#include "lib/datastore/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/base/version.h"

/* The first word of a check-in is who it is, in any protocol, as far as we know; none: it is not. */
static struct sr_uuid who(const struct sr_request *req)
{
	const char *header = sr_request_header(req, SR_HEADER_CHECK_IN);
	struct sr_uuid uuid = {0};

	if (!header || !sr_unhex(uuid.b, sizeof(uuid.b), sr_bytes(header, strcspn(header, " "))))
		return (struct sr_uuid){0};
	return uuid;
}

/* True: it was not known. */
static bool note(struct sr_datastore *d, const struct sr_uuid *uuid, const char *speaks, const char *peer)
{
	struct sr_ds_webserver *w;
	char text[sizeof(d->stranger)];
	bool is_new;

	snprintf(text, sizeof(text), "%.80s, from %.60s", speaks, peer);
	pthread_mutex_lock(&d->face);
	w = sr_uuid_none(uuid) ? NULL : sr_ds_webserver(d, uuid);
	if (w) {
		is_new = !w->speaks || strcmp(w->speaks, speaks) != 0;
		free(w->speaks);
		w->speaks = sr_strdup(speaks);
		sr_ds_note_seen(w);
	} else {
		is_new = strcmp(d->stranger, text) != 0;
		memcpy(d->stranger, text, sizeof(text));
	}
	pthread_mutex_unlock(&d->face);
	return is_new;
}

/* OWNED BY CALLER (free). */
static char *name_of(struct sr_datastore *d, const struct sr_uuid *uuid)
{
	char text[SR_UUID_TEXT], *name;
	struct sr_ds_webserver *w;

	if (sr_uuid_none(uuid))
		return sr_strdup("that does not say who it is");
	sr_uuid_text(text, uuid);
	pthread_mutex_lock(&d->face);
	w = sr_ds_webserver(d, uuid);
	name = sr_strdup(w && w->row.name ? sr_ds_webserver_name(d, w) : text);
	pthread_mutex_unlock(&d->face);
	return name;
}

enum sr_status sr_ds_protocol_check(struct sr_datastore *d, const struct sr_request *req, struct sr_err *err)
{
	const char *header = sr_request_header(req, SR_HEADER_PROTOCOL), *peer = sr_request_peer(req);
	struct sr_uuid uuid;
	char speaks[SR_PROTOCOL_TEXT], *name;

	if (!header || sr_protocol_is_ours(header))
		return SR_OK;
	sr_protocol_text(speaks, header);
	uuid = who(req);
	if (note(d, &uuid, speaks, peer)) {
		name = name_of(d, &uuid);
		sr_warn("webserver %s, from %s, speaks %s, and this datastore protocol %d (version " SR_VERSION "): it is refused, until the older of both is upgraded",
			name, peer, speaks, SR_PROTO);
		free(name);
	}
	return sr_err_set(err, SR_E_HELD,
			  "held: this webserver speaks %s, and the datastore protocol %d (version " SR_VERSION
			  "): upgrade the older of both; it is asked again, and goes on by itself after that",
			  speaks, SR_PROTO);
}

void sr_ds_protocol_agrees(struct sr_ds_webserver *w)
{
	free(w->speaks);
	w->speaks = NULL;
}

char *sr_ds_refused(const struct sr_datastore *d, const struct sr_ds_webserver *w)
{
	if (!w->speaks || sr_ds_is_stale(d, w))
		return NULL;
	return sr_format("it speaks %s, and this datastore protocol %d (version " SR_VERSION ")", w->speaks, SR_PROTO);
}
