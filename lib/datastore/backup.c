/* backup.c - one committed root, pinned for as long as it is written out or looked at; and the two requests that do so. */
#include "lib/datastore/internal.h"

#include <stdlib.h>

#include "lib/replica/backup.h"

static enum sr_status scan(void *ctx, size_t i, struct sr_err *err)
{
	return sr_ds_scan(ctx, i, err);
}

/* Keep what this root needs: see sr_ds_oldest_readable.  With face held. */
static bool hold(struct sr_datastore *d, const struct sr_anchor *at, bool on)
{
	for (size_t k = 0; k < SR_DS_PINS; k++) {
		struct sr_ds_pin *p = &d->pins[k];

		if (on ? p->on : !p->on || p->epoch != at->epoch || p->seq != at->seq)
			continue;
		*p = (struct sr_ds_pin){.on = on, .epoch = at->epoch, .seq = at->seq};
		return true;
	}
	return false;
}

void sr_ds_unpin(struct sr_datastore *d, struct sr_pin *pin)
{
	struct sr_anchor at = pin->at;

	sr_pin_release(pin);
	pthread_mutex_lock(&d->face);
	(void)hold(d, &at, false);
	pthread_mutex_unlock(&d->face);
	sr_replica_unuse(d->r);
}

/* Writer held, the replica in use: what was changed directly is committed first. */
static enum sr_status pin_root(struct sr_datastore *d, struct sr_pin *out, struct sr_err *err)
{
	bool held;
	enum sr_status rc;

	sr_pin_take(out, d->r, scan, d);
	rc = sr_datastore_broken(d, err) ? err->code : sr_ds_advance(d, err);
	if (rc == SR_OK) {
		sr_ds_publish(d);
		out->at = d->at;
		pthread_mutex_lock(&d->face);
		held = hold(d, &out->at, true);
		pthread_mutex_unlock(&d->face);
		if (!held)
			rc = sr_err_set(err, SR_E_BUSY, "too many of these are under way");
	}
	if (rc != SR_OK)
		sr_pin_release(out);
	return rc;
}

/* With the writer held, until sr_replica_unuse. */
static enum sr_status use_tree(struct sr_datastore *d, struct sr_err *err)
{
	char why[256];

	if (!sr_datastore_ready(d, why))
		return sr_err_set(err, SR_E_UNAVAILABLE, "%s", why);
	return sr_replica_use(d->r) ? SR_OK : sr_err_set(err, SR_E_UNAVAILABLE, "the tree key is not known yet");
}

/* The writer comes first: who opens stores anew has it, and waits for those who use them. */
enum sr_status sr_ds_pin(struct sr_datastore *d, struct sr_pin *out, struct sr_err *err)
{
	enum sr_status rc;

	pthread_mutex_lock(&d->writer);
	rc = use_tree(d, err);
	if (rc == SR_OK) {
		rc = pin_root(d, out, err);
		if (rc != SR_OK)
			sr_replica_unuse(d->r);
	}
	pthread_mutex_unlock(&d->writer);
	return rc;
}

enum sr_status sr_ds_backup_handler(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_datastore *d = ctx;
	struct sr_pin p = {0};
	int lock = -1;
	enum sr_status rc = sr_backup_begin(d->r, &lock, err);

	if (rc != SR_OK)
		return rc;
	rc = sr_ds_pin(d, &p, err);
	if (rc == SR_OK) {
		rc = sr_backup_reply(req, &p, &d->serve, true, err);
		sr_ds_unpin(d, &p);
	}
	sr_backup_end(lock);
	return rc;
}

enum sr_status sr_ds_verify_handler(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_datastore *d = ctx;

	return sr_verifier_reply(d->verifier, req, err);
}

static enum sr_status pin_for_verifier(void *ctx, struct sr_pin *out, struct sr_err *err)
{
	return sr_ds_pin(ctx, out, err);
}

static void unpin_for_verifier(void *ctx, struct sr_pin *pin)
{
	sr_ds_unpin(ctx, pin);
}

enum sr_status sr_ds_verifier_start(struct sr_datastore *d, struct sr_err *err)
{
	struct sr_verifier_options o = {.state_dir = d->config->datastore_state_directory,
					.balance = d->balance,
					.pin = pin_for_verifier,
					.unpin = unpin_for_verifier,
					.replica = d->r,
					.ctx = d};

	return sr_verifier_start(&d->verifier, &o, d->config->verify_interval, err);
}

/* --- POST /api/admin/repair ------------------------------------------------------------------------------------------ */

/* While one is staging nothing is swept; and the stores are in use, until its content is here. */
static enum sr_status begin_healing(struct sr_datastore *d, const char *path, struct sr_repair *p, struct sr_err *err)
{
	enum sr_status rc;

	pthread_mutex_lock(&d->writer);
	rc = use_tree(d, err);
	if (rc == SR_OK) {
		d->staging++;
		rc = sr_repair_begin(p, d->r, sr_bytes_of(path), err);
	}
	pthread_mutex_unlock(&d->writer);
	return rc;
}

static void end_healing(struct sr_datastore *d, struct sr_repair *p)
{
	bool began = p->r != NULL;
	size_t i = p->i;

	sr_repair_free(p);
	if (!began)
		return;
	pthread_mutex_lock(&d->writer);
	d->staging--;
	if (!d->staging && !sr_datastore_broken(d, NULL) && d->r->stores[i].kind == SR_KIND_FILES && d->r->stores[i].mode == SR_MODE_READY)
		sr_store_sweep_stage(d->r->stores[i].store);
	pthread_mutex_unlock(&d->writer);
}

static enum sr_status finish_healing(struct sr_datastore *d, struct sr_repair *p, struct sr_err *err)
{
	enum sr_status rc;

	pthread_mutex_lock(&d->writer);
	rc = sr_datastore_broken(d, err) ? err->code : sr_repair_finish(p, err);
	pthread_mutex_unlock(&d->writer);
	return rc;
}

enum sr_status sr_ds_repair_handler(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_datastore *d = ctx;
	struct sr_repair p = {0};
	struct sr_healed h;
	char *path = NULL;
	enum sr_status rc = sr_healer_wish(req, &path, err);

	if (rc == SR_OK)
		rc = begin_healing(d, path, &p, err);
	h = sr_healed(&p);
	if (rc == SR_OK && h.rotten)
		rc = sr_healer_fetch(&p, NULL, NULL, d->peers, &h, err);
	if (p.r) /* before the writer is waited for: who has it may wait until nobody uses the stores */
		sr_replica_unuse(d->r);
	if (rc == SR_OK && h.rotten)
		rc = finish_healing(d, &p, err);
	end_healing(d, &p);
	if (rc == SR_OK) {
		sr_datastore_scan_now(d);
		sr_healer_reply(d->verifier, req, path, &h);
	}
	free(path);
	free(h.from);
	return rc;
}
