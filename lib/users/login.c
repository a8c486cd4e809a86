/* login.c - see login.h. */
#include "lib/users/login.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/door.h"
#include "lib/base/log.h"
#include "lib/base/sha256.h"
#include "lib/users/password.h"
#include "lib/users/users.h"

#define FAULTS     256 /* names and addresses that are remembered to have failed */
#define SEEN       32  /* logins that were right */
#define SEEN_MS    60000
#define WINDOW_MS  (SR_LOGIN_WINDOW_S * 1000)
#define AT_ONCE    2  /* checks: each has a hash's memory, 16 MiB by yescrypt's default and a gigabyte by an application's choice */
#define IN_LINE    16 /* behind them; more would hold threads that have something else to do */
#define LINE_S     1  /* after which who found the line full may come again */

/* Who failed: an address with a name, an address, a name.  The last two have more tries: behind one address is many a proxy's whole world, and
 * nobody is to lock another one out by knowing his name. */
#define WHOS 3
#define WHO  256
static const unsigned tries_of[WHOS] = {SR_LOGIN_TRIES, 10 * SR_LOGIN_TRIES, 10 * SR_LOGIN_TRIES};

struct fault {
	char who[WHO];
	unsigned tries;
	int64_t since_ms;
};

struct seen {
	uint8_t proof[32]; /* of name, password and the hash it was checked with, under our own salt */
	int64_t until_ms;
};

struct sr_login {
	char *path, *query;
	uint8_t salt[32];
	pthread_mutex_t lock;
	pthread_cond_t next;
	unsigned checking, waiting;
	char *trouble; /* why users.db could not be asked the last time, as it was logged; NULL: it could */
	struct fault faults[WHOS][FAULTS]; /* of each kind its own: nobody's names push out addresses */
	struct seen seen[SEEN];
};

struct sr_login *sr_login_new(const char *path, const char *query)
{
	struct sr_login *l = sr_alloc(sizeof *l);

	l->path = sr_strdup(path);
	l->query = query ? sr_strdup(query) : NULL;
	sr_random(l->salt, sizeof l->salt);
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->next, NULL);
	return l;
}

void sr_login_free(struct sr_login *l)
{
	if (!l)
		return;
	pthread_cond_destroy(&l->next);
	pthread_mutex_destroy(&l->lock);
	free(l->path);
	free(l->query);
	free(l->trouble);
	explicit_bzero(l, sizeof *l);
	free(l);
}

/* --- failed tries; the lock is held ----------------------------------------------------------------------------------------- */

static struct fault *fault_of(struct sr_login *l, size_t kind, const char *who)
{
	for (size_t i = 0; i < FAULTS; i++)
		if (l->faults[kind][i].tries && !strcmp(l->faults[kind][i].who, who))
			return &l->faults[kind][i];
	return NULL;
}

static unsigned wait_of(struct sr_login *l, size_t kind, const char *who, int64_t now)
{
	struct fault *f = fault_of(l, kind, who);
	int64_t left = f ? f->since_ms + WINDOW_MS - now : 0;

	if (f && left <= 0)
		f->tries = 0;
	return f && f->tries >= tries_of[kind] ? (unsigned)(left + 999) / 1000 : 0;
}

/* Which one tells less? */
static bool is_weaker(const struct fault *a, const struct fault *b, int64_t now)
{
	unsigned tries_a = a->since_ms + WINDOW_MS > now ? a->tries : 0, tries_b = b->since_ms + WINDOW_MS > now ? b->tries : 0;

	return tries_a < tries_b || (tries_a == tries_b && a->since_ms < b->since_ms);
}

/* In the place of one that is over, else of the oldest of those that failed least: a flood of others, each of which fails once, hides nobody who goes on. */
static void note_fault(struct sr_login *l, size_t kind, const char who[WHO], int64_t now)
{
	struct fault *f = fault_of(l, kind, who), *weakest = &l->faults[kind][0];

	for (size_t i = 1; !f && i < FAULTS; i++)
		if (is_weaker(&l->faults[kind][i], weakest, now))
			weakest = &l->faults[kind][i];
	if (!f) {
		f = weakest;
		memcpy(f->who, who, WHO);
		f->tries = 0;
		f->since_ms = now;
	}
	f->tries++;
}

/* In lower case, as the search compares. */
static void whos(char out[WHOS][WHO], const char *name, const char *peer)
{
	snprintf(out[0], WHO, "%.60s %.180s", peer, name);
	snprintf(out[1], WHO, "%.60s", peer);
	snprintf(out[2], WHO, " %.180s", name);
	for (size_t i = 0; i < WHOS; i++)
		for (char *p = out[i]; *p; p++)
			*p = *p >= 'A' && *p <= 'Z' ? (char)(*p + 'a' - 'A') : *p;
}

static unsigned must_wait(struct sr_login *l, char who[WHOS][WHO], int64_t now)
{
	unsigned most = 0;

	pthread_mutex_lock(&l->lock);
	for (size_t i = 0; i < WHOS; i++) {
		unsigned wait = wait_of(l, i, who[i], now);

		most = wait > most ? wait : most;
	}
	pthread_mutex_unlock(&l->lock);
	return most;
}

static void note(struct sr_login *l, char who[WHOS][WHO], bool right, int64_t now)
{
	struct fault *f;

	pthread_mutex_lock(&l->lock);
	for (size_t i = 0; !right && i < WHOS; i++)
		note_fault(l, i, who[i], now);
	f = right ? fault_of(l, 0, who[0]) : NULL;
	if (f)
		f->tries = 0;
	pthread_mutex_unlock(&l->lock);
}

/* --- right ones; the lock is held -------------------------------------------------------------------------------------------- */

static void prove(const struct sr_login *l, const char *password, const struct sr_user *user, uint8_t out[32])
{
	struct sr_sha256 *h = sr_sha256_new();

	sr_sha256_add(h, l->salt, sizeof l->salt);
	sr_sha256_add(h, user->name, strlen(user->name) + 1);
	sr_sha256_add(h, user->hash, strlen(user->hash) + 1);
	sr_sha256_add(h, password, strlen(password));
	sr_sha256_end(h, out);
	sr_sha256_free(h);
}

static bool was_seen(const struct sr_login *l, const uint8_t proof[32], int64_t now)
{
	for (size_t i = 0; i < SEEN; i++)
		if (l->seen[i].until_ms > now && sr_bytes_same_secret(sr_bytes(l->seen[i].proof, 32), sr_bytes(proof, 32)))
			return true;
	return false;
}

static void remember(struct sr_login *l, const uint8_t proof[32], int64_t now)
{
	struct seen *s = &l->seen[0];

	for (size_t i = 1; i < SEEN; i++)
		if (l->seen[i].until_ms < s->until_ms)
			s = &l->seen[i];
	memcpy(s->proof, proof, 32);
	s->until_ms = now + SEEN_MS;
}

/* --- the check --------------------------------------------------------------------------------------------------------------- */

/* What is known of the name.  SR_E_NOINPUT: there is no users.db. */
static enum sr_status look_up(const struct sr_login *l, const char *name, struct sr_user *user, bool *found, struct sr_err *err)
{
	struct sr_users *users = NULL;
	enum sr_status rc = sr_users_open(&users, l->path, l->query, err);

	*found = false;
	if (rc == SR_OK)
		rc = sr_users_find(users, name, user, found, err);
	sr_users_close(users);
	return rc;
}

/* Whoever tries need not have a name here: why it cannot be told, with its path, is for the log alone, and there once. */
static enum sr_status note_trouble(struct sr_login *l, enum sr_status rc, struct sr_err *err)
{
	bool is_new;

	pthread_mutex_lock(&l->lock);
	is_new = rc != SR_OK && (!l->trouble || strcmp(l->trouble, err->text) != 0);
	if (is_new || rc == SR_OK) {
		free(l->trouble);
		l->trouble = is_new ? sr_strdup(err->text) : NULL;
	}
	pthread_mutex_unlock(&l->lock);
	if (is_new)
		sr_warn("logins cannot be checked: %s", err->text);
	if (rc == SR_E_NOINPUT)
		return SR_OK; /* nobody has a name then */
	return rc == SR_OK ? rc : sr_err_set(err, rc, "logins cannot be checked here at present; why is in this node's log");
}

static bool is_right(struct sr_login *l, const struct sr_user *user, const char *password, int64_t now)
{
	uint8_t proof[32];
	bool right;

	prove(l, password, user, proof);
	pthread_mutex_lock(&l->lock);
	right = was_seen(l, proof, now);
	pthread_mutex_unlock(&l->lock);
	if (!right && sr_password_is(password, user->hash)) {
		right = true;
		pthread_mutex_lock(&l->lock);
		remember(l, proof, now);
		pthread_mutex_unlock(&l->lock);
	}
	explicit_bzero(proof, sizeof proof);
	return right;
}

/* Its turn, after those who were there before; false: the line is full. */
static bool begin(struct sr_login *l)
{
	bool taken;

	pthread_mutex_lock(&l->lock);
	taken = l->checking < AT_ONCE || l->waiting < IN_LINE;
	if (taken) {
		l->waiting++;
		while (l->checking >= AT_ONCE)
			pthread_cond_wait(&l->next, &l->lock);
		l->waiting--;
		l->checking++;
	}
	pthread_mutex_unlock(&l->lock);
	return taken;
}

static void end(struct sr_login *l)
{
	pthread_mutex_lock(&l->lock);
	l->checking--;
	pthread_cond_signal(&l->next);
	pthread_mutex_unlock(&l->lock);
}

static enum sr_status must_not_wait(struct sr_login *l, char who[WHOS][WHO], int64_t now, unsigned *wait_s, struct sr_err *err)
{
	*wait_s = must_wait(l, who, now);
	return *wait_s ? sr_err_set(err, SR_E_AGAIN, "too many failed logins: try again in %u s", *wait_s) : SR_OK;
}

static enum sr_status check(struct sr_login *l, const char *name, const char *password, char who[WHOS][WHO], int64_t now, struct sr_login_who *out,
			    struct sr_err *err)
{
	struct sr_user user = {0};
	bool found = false, right;
	enum sr_status rc = note_trouble(l, look_up(l, name, &user, &found, err), err);

	if (rc != SR_OK)
		return rc;
	right = found && user.hash ? is_right(l, &user, password, now) : sr_password_is(password, NULL);
	note(l, who, right, now);
	if (right) {
		snprintf(out->name, sizeof out->name, "%s", user.name);
		out->admin = user.admin;
	}
	sr_user_free(&user);
	return right ? SR_OK : sr_err_set(err, SR_E_AUTH, "no such user, or another password");
}

enum sr_status sr_login_check(struct sr_login *l, const char *name, const char *password, const char *peer, struct sr_login_who *out,
			      unsigned *wait_s, struct sr_err *err)
{
	int64_t now = sr_ticks_ms();
	char who[WHOS][WHO];
	enum sr_status rc;

	whos(who, name, peer);
	rc = must_not_wait(l, who, now, wait_s, err);
	if (rc != SR_OK)
		return rc;
	if (!begin(l)) {
		*wait_s = LINE_S;
		return sr_err_set(err, SR_E_AGAIN, "too many logins at once: try again in %u s", *wait_s);
	}
	rc = must_not_wait(l, who, now, wait_s, err); /* those before it may have been guesses at the same name */
	if (rc == SR_OK)
		rc = check(l, name, password, who, now, out, err);
	end(l);
	return rc;
}

/* --- the header ---------------------------------------------------------------------------------------------------------------- */

static void wipe(struct sr_buf *b)
{
	if (b->at)
		explicit_bzero(b->at, b->cap);
	sr_buf_free(b);
}

enum sr_status sr_login_credentials(const char *header, char **name, char **password, struct sr_err *err)
{
	struct sr_buf text = {0}, plain = {0};
	const char *colon, *at = header + 6;
	enum sr_status rc = SR_OK;

	if (strncasecmp(header, "Basic ", 6) != 0)
		return sr_err_set(err, SR_E_AUTH, "Authorization: this is no Basic login");
	at += strspn(at, " ");
	for (; *at && *at != '='; at++) /* the other alphabet, without the padding */
		sr_buf_byte(&text, *at == '+' ? '-' : *at == '/' ? '_' : (uint8_t)*at);
	if (!sr_unbase64url(&plain, sr_buf_view(&text)) || !plain.len || memchr(plain.at, 0, plain.len) || !(colon = strchr(sr_buf_text(&plain), ':')))
		rc = sr_err_set(err, SR_E_AUTH, "Authorization: this is no Basic login");
	if (rc == SR_OK) {
		*name = sr_text(sr_bytes(plain.at, (size_t)(colon - sr_buf_text(&plain))));
		*password = sr_strdup(colon + 1);
	}
	wipe(&text);
	wipe(&plain);
	return rc;
}

void sr_login_credentials_free(char *name, char *password)
{
	free(name);
	if (password)
		explicit_bzero(password, strlen(password));
	free(password);
}
