/* peers.c - see peers.h. */
#include "lib/node/peers.h"

#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/config.h"
#include "lib/base/door.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/state/secret.h"

#define AGAIN_MS 1000  /* after a failure */
#define WRITE_MS 60000 /* how old the file may be while they are the same that it has */

struct list {                     /* what a struct sr_peer_list is the face of */
	struct sr_peer_list face; /* has to be the first */
	atomic_uint refs;
	json_t *registry; /* most strings are its own */
	struct sr_peer *peers;
	char **hosts; /* of the peers; OWNED, NULL where there is none */
};

struct sr_peers {
	struct sr_peers_options o; /* strings OWNED */
	pthread_mutex_t lock;      /* everything below */
	pthread_cond_t answered;
	struct list *list;
	bool asking, doubted;
	int64_t written_ms; /* of sr_ticks_ms(); 0: not yet */
	int64_t failed_ms; /* of sr_ticks_ms(); 0: the last one did not fail */
	struct sr_err failure;
};

/* --- lists --------------------------------------------------------------------------------------------------------------- */

static const char *text(const json_t *o, const char *name)
{
	const char *value = json_string_value(json_object_get(o, name));

	return value && *value ? value : NULL;
}

static struct list *list_of(const struct sr_peer_list *face)
{
	return (struct list *)(uintptr_t)face;
}

struct sr_peer_list *sr_peer_list_hold(const struct sr_peer_list *face)
{
	struct list *l = list_of(face);

	atomic_fetch_add(&l->refs, 1);
	return &l->face;
}

void sr_peer_list_free(struct sr_peer_list *face)
{
	struct list *l = list_of(face);

	if (!l || atomic_fetch_sub(&l->refs, 1) != 1)
		return;
	for (size_t i = 0; i < l->face.n; i++)
		free(l->hosts[i]);
	free(l->hosts);
	free(l->peers);
	json_decref(l->registry);
	free(l);
}

/* TAKES registry, an array; NULL: nothing is known. */
static struct list *list_new(json_t *registry, const char *self, int64_t learnt_ms)
{
	struct list *l = sr_alloc(sizeof *l);
	size_t n = json_array_size(registry);

	l->refs = 1;
	l->registry = registry;
	l->peers = sr_alloc((n + 1) * sizeof *l->peers);
	l->hosts = sr_alloc((n + 1) * sizeof *l->hosts);
	l->face = (struct sr_peer_list){.at = l->peers, .n = n, .learnt_ms = registry ? learnt_ms : 0};
	for (size_t i = 0; i < n; i++) {
		const json_t *row = json_array_get(registry, i);
		json_int_t port = json_integer_value(json_object_get(row, "sync_port"));
		struct sr_peer *p = &l->peers[i];

		*p = (struct sr_peer){
			.uuid = text(row, "uuid"), .external_addr = text(row, "external_addr"), .pin = text(row, "pin"), .row = row};
		p->name = text(row, "name");
		if (!p->name)
			p->name = p->external_addr ? p->external_addr : p->uuid;
		p->sync_port = port > 0 && port <= 65535 ? (unsigned)port : 0;
		p->stale = json_is_true(json_object_get(row, "stale"));
		p->gone = p->stale && json_integer_value(json_object_get(row, "unseen")) >= SR_PEER_GONE_S;
		p->self = self && strcasecmp(self, p->uuid) == 0;
		if (p->external_addr && sr_config_host(p->external_addr, &l->hosts[i]))
			p->host = l->hosts[i];
	}
	return l;
}

/* NULL: it is none. */
static struct list *parse(struct sr_bytes json, const char *self, int64_t learnt_ms, struct sr_err *err)
{
	json_t *registry = json_loadb((const char *)json.at, json.len, JSON_REJECT_DUPLICATES, NULL);
	bool good = json_is_array(registry);

	for (size_t i = 0; good && i < json_array_size(registry); i++)
		good = text(json_array_get(registry, i), "uuid") != NULL;
	if (good)
		return list_new(registry, self, learnt_ms);
	json_decref(registry);
	sr_err_set(err, SR_E_DATA, "what the datastore says of its webservers makes no sense");
	return NULL;
}

const struct sr_peer *sr_peer_find(const struct sr_peer_list *list, const char *wanted)
{
	for (size_t i = 0; i < list->n; i++)
		if (!strcasecmp(list->at[i].uuid, wanted))
			return &list->at[i];
	for (size_t i = 0; i < list->n; i++)
		if (!strcasecmp(list->at[i].name, wanted))
			return &list->at[i];
	for (size_t i = 0; i < list->n; i++)
		if (list->at[i].external_addr && !strcasecmp(list->at[i].external_addr, wanted))
			return &list->at[i];
	return NULL;
}

/* --- the file ------------------------------------------------------------------------------------------------------------ */

/* NULL: there is none, or none that is good. */
static struct list *load(const char *path, const char *self)
{
	struct sr_buf json = {0};
	struct list *l = NULL;
	struct sr_err err;
	struct stat st;
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	int64_t age_ms;
	char part[4096];
	ssize_t n = 0;

	while (fd >= 0 && (n = read(fd, part, sizeof part)) > 0)
		sr_buf_add(&json, part, (size_t)n);
	if (fd >= 0 && n == 0 && fstat(fd, &st) == 0) {
		age_ms = sr_now_ms() - (int64_t)st.st_mtim.tv_sec * 1000;
		if (age_ms < 1)
			age_ms = 1;
		l = parse(sr_buf_view(&json), self, sr_ticks_ms() - age_ms, &err);
	}
	if (fd >= 0)
		close(fd);
	sr_buf_free(&json);
	return l;
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* The same ones, at the same places? */
static bool same_peers(const struct sr_peer_list *a, const struct sr_peer_list *b)
{
	for (size_t i = 0; a->n == b->n && i < a->n; i++)
		if (!same_text(a->at[i].uuid, b->at[i].uuid) || !same_text(a->at[i].name, b->at[i].name) ||
		    !same_text(a->at[i].external_addr, b->at[i].external_addr) || !same_text(a->at[i].pin, b->at[i].pin) ||
		    a->at[i].sync_port != b->at[i].sync_port)
			return false;
	return a->n == b->n;
}

/* With it nothing is lost but what is asked again: it is not synced, and a full disk is no fault of this. */
static void save(const char *path, const json_t *registry)
{
	char *text = json_dumps(registry, JSON_COMPACT);
	struct sr_err err;

	if (text && sr_file_replace(path, sr_bytes_of(text), 0600, false, &err) != SR_OK)
		sr_debug("%s", err.text);
	free(text);
}

/* --- life ---------------------------------------------------------------------------------------------------------------- */

struct sr_peers *sr_peers_new(const struct sr_peers_options *o)
{
	struct sr_peers *p = sr_alloc(sizeof *p);

	p->o = *o;
	p->o.self = o->self ? sr_strdup(o->self) : NULL;
	p->o.secret = o->secret ? sr_strdup(o->secret) : NULL;
	p->o.file = o->file ? sr_strdup(o->file) : NULL;
	p->o.certificate = o->certificate ? sr_strdup(o->certificate) : NULL;
	p->o.key = o->key ? sr_strdup(o->key) : NULL;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->answered, NULL);
	p->list = o->file ? load(o->file, o->self) : NULL;
	if (!p->list)
		p->list = list_new(NULL, NULL, 0);
	return p;
}

void sr_peers_free(struct sr_peers *p)
{
	if (!p)
		return;
	sr_peer_list_free(&p->list->face);
	sr_secret_free((char *)p->o.secret);
	free((char *)p->o.self);
	free((char *)p->o.file);
	free((char *)p->o.certificate);
	free((char *)p->o.key);
	pthread_cond_destroy(&p->answered);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

/* --- learning ------------------------------------------------------------------------------------------------------------ */

/* With the lock held.  CONSUMES l. */
static void put(struct sr_peers *p, struct list *l)
{
	bool write = p->o.file && (!p->written_ms || sr_ticks_ms() - p->written_ms >= WRITE_MS || !same_peers(&l->face, &p->list->face));

	if (write) {
		save(p->o.file, l->registry);
		p->written_ms = sr_ticks_ms();
	}
	p->doubted = false;
	sr_peer_list_free(&p->list->face);
	p->list = l;
	p->failed_ms = 0;
}

enum sr_status sr_peers_learn(struct sr_peers *p, struct sr_bytes json, struct sr_err *err)
{
	struct list *l = parse(json, p->o.self, sr_ticks_ms(), err);

	if (!l)
		return SR_E_DATA;
	pthread_mutex_lock(&p->lock);
	put(p, l);
	pthread_mutex_unlock(&p->lock);
	return SR_OK;
}

/* With the lock held, which is let go meanwhile. */
static void ask(struct sr_peers *p)
{
	struct sr_err err = {0};
	struct sr_buf json = {0};
	struct list *l = NULL;

	p->asking = true;
	pthread_mutex_unlock(&p->lock);
	if (p->o.ask(p->o.ctx, &json, &err) == SR_OK)
		l = parse(sr_buf_view(&json), p->o.self, sr_ticks_ms(), &err);
	sr_buf_free(&json);
	pthread_mutex_lock(&p->lock);
	p->asking = false;
	if (l) {
		put(p, l);
	} else {
		p->failure = err;
		p->failed_ms = sr_ticks_ms();
	}
	pthread_cond_broadcast(&p->answered);
}

void sr_peers_doubt(struct sr_peers *p)
{
	pthread_mutex_lock(&p->lock);
	p->doubted = true;
	pthread_mutex_unlock(&p->lock);
}

static bool young(const struct sr_peers *p, unsigned max_age_ms)
{
	return p->list->face.learnt_ms && !p->doubted && sr_ticks_ms() - p->list->face.learnt_ms <= max_age_ms;
}

struct sr_peer_list *sr_peers_take(struct sr_peers *p, unsigned max_age_ms, struct sr_err *why)
{
	struct sr_peer_list *out;

	*why = (struct sr_err){0};
	pthread_mutex_lock(&p->lock);
	while (p->asking && !young(p, max_age_ms)) /* one answer is as good for all who wait for it */
		pthread_cond_wait(&p->answered, &p->lock);
	if (!young(p, max_age_ms) && (!p->failed_ms || sr_ticks_ms() - p->failed_ms > AGAIN_MS))
		ask(p);
	if (!young(p, max_age_ms) && p->failed_ms)
		*why = p->failure;
	out = sr_peer_list_hold(&p->list->face);
	pthread_mutex_unlock(&p->lock);
	return out;
}

/* --- talking ------------------------------------------------------------------------------------------------------------- */

void sr_peers_set_secret(struct sr_peers *p, const char *secret)
{
	pthread_mutex_lock(&p->lock);
	sr_secret_free((char *)p->o.secret);
	p->o.secret = sr_strdup(secret);
	pthread_mutex_unlock(&p->lock);
}

/* A client of these options, with the secret if it takes no login. */
static enum sr_status make_client(struct sr_peers *p, struct sr_client_options *o, struct sr_client **out, struct sr_err *err)
{
	enum sr_status rc;

	pthread_mutex_lock(&p->lock);
	if (!o->basic)
		o->bearer = p->o.secret;
	rc = sr_client_new(out, o, err);
	pthread_mutex_unlock(&p->lock);
	return rc;
}

enum sr_status sr_peer_client(struct sr_peers *p, const struct sr_peer *peer, const struct sr_peer_call *call, struct sr_client **out, struct sr_err *err)
{
	struct sr_client_options o = {.pin = peer->pin, .certificate = p->o.certificate, .key = p->o.key};
	bool v6 = peer->host && strchr(peer->host, ':');
	enum sr_status rc;
	char *url;

	if (!peer->host || !peer->sync_port)
		return sr_err_set(err, SR_E_UNAVAILABLE, "%s did not tell the datastore where it listens", peer->name);
	if (!peer->pin && !p->o.plain)
		return sr_err_set(err, SR_E_AUTH,
				  "%s serves plain HTTP, and no secret is sent over that from here (Insecure-Disable-HTTPS)", peer->name);
	if (call) {
		o.connect_ms = call->connect_ms;
		o.stall_s = call->stall_s;
		o.total_ms = call->total_ms;
	}
	if (call)
		o.basic = call->basic;
	url = sr_format("%s://%s%s%s:%u", peer->pin ? "https" : "http", v6 ? "[" : "", peer->host, v6 ? "]" : "", peer->sync_port);
	o.url = url;
	rc = make_client(p, &o, out, err);
	free(url);
	return rc;
}
