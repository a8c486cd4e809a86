/* haproxy.c - see haproxy.h. */
#include "lib/lb/haproxy.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "http/certificate.h"
#include "lib/base/account.h"
#include "lib/base/door.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/lb/haproxy_config.h"
#include "lib/replica/keypair.h"

#define ANSWER_MOST (4u << 20)
#define ANSWER_MS   2000 /* for the whole answer */
#define START_MS    10000
#define CHECK_MS    10000
#define HAPROXY     "haproxy" /* the user of Debian's package */

struct sr_lb_haproxy {
	const struct sr_lb_conf *conf;
	char *config, *state, *socket, *certificate;
	pid_t pid; /* of the master; 0: none, or not ours */
	bool child; /* else it was taken over, and ... */
	int end;    /* ... this can be read once it has ended; -1: none */
	bool stale; /* it may run with something else than what the file says */
};

static bool is_own(const struct sr_lb_haproxy *h)
{
	return !h->conf->haproxy_socket;
}

/* --- its files ------------------------------------------------------------------------------------------------------------------------- */

/* Nothing: it is not there, or cannot be read. */
static void read_file(const char *path, struct sr_buf *out)
{
	FILE *in = fopen(path, "re");
	size_t n;

	while (in && out->len < ANSWER_MOST && (n = fread(sr_buf_room(out, 16384), 1, 16384, in)) > 0)
		out->len += n;
	if (in)
		fclose(in);
}

static enum sr_status link_to(const char *target, const char *path, struct sr_err *err)
{
	if (unlink(path) != 0 && errno != ENOENT)
		return sr_err_sys(err, SR_E_IO, "remove %s", path);
	return symlink(target, path) == 0 ? SR_OK : sr_err_sys(err, SR_E_IO, "make the link %s", path);
}

/* HAProxy finds a key beside its certificate and nowhere else; links, so that there is no second copy of a key. */
static enum sr_status link_certificate(struct sr_lb_haproxy *h, struct sr_err *err)
{
	const struct sr_lb_conf *c = h->conf;
	char *own = sr_format("%s/certificate.pem", c->state_directory), *own_key = sr_format("%s/key.pem", c->state_directory);
	char *key = sr_format("%s.key", h->certificate);
	enum sr_status rc = SR_OK;

	if (!c->certificate_file)
		rc = sr_certificate_ensure(own, own_key, NULL, err);
	if (rc == SR_OK)
		rc = link_to(c->certificate_file ? c->certificate_file : own, h->certificate, err);
	if (rc == SR_OK)
		rc = link_to(c->certificate_file ? c->key_file : own_key, key, err);
	free(key);
	free(own_key);
	free(own);
	return rc;
}

/* Another text when the certificate or its key was replaced.  OWNED BY CALLER. */
static char *stamp_of(const char *certificate)
{
	char *key = sr_format("%s.key", certificate);
	struct stat c = {0}, k = {0};
	char *stamp = stat(certificate, &c) == 0 && stat(key, &k) == 0
			      ? sr_format("%lld.%09ld %lld.%09ld", (long long)c.st_mtim.tv_sec, c.st_mtim.tv_nsec, (long long)k.st_mtim.tv_sec,
					  k.st_mtim.tv_nsec)
			      : sr_strdup("none yet");

	free(key);
	return stamp;
}

/* --- its master -------------------------------------------------------------------------------------------------------------------------- */

static int dial(const char *path, struct sr_err *err)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	struct timeval tv = {.tv_sec = ANSWER_MS / 1000};
	int fd;

	if (strlen(path) >= sizeof to.sun_path) {
		sr_err_set(err, SR_E_CONFIG, "%s: the path of a socket has at most %zu characters", path, sizeof to.sun_path - 1);
		return -1;
	}
	strcpy(to.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv) ||
	    connect(fd, (const struct sockaddr *)&to, sizeof to) != 0) {
		sr_err_sys(err, SR_E_UNAVAILABLE, "HAProxy does not answer at %s", path);
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

/* One command to the socket of the master; "@1 ..." is for its worker. */
static enum sr_status ask(const struct sr_lb_haproxy *h, const char *command, struct sr_buf *out, struct sr_err *err)
{
	int fd = dial(h->socket, err);
	char *line = sr_format("%s\n", command);
	int64_t end = sr_ticks_ms() + ANSWER_MS;
	ssize_t n = -1;

	sr_buf_clear(out);
	if (fd >= 0 && sr_file_write(fd, sr_bytes_of(line)) && shutdown(fd, SHUT_WR) == 0)
		while (out->len < ANSWER_MOST && sr_ticks_ms() <= end && (n = recv(fd, sr_buf_room(out, 16384), 16384, 0)) > 0)
			out->len += (size_t)n;
	if (fd >= 0 && n != 0)
		sr_err_set(err, SR_E_UNAVAILABLE, "HAProxy does not answer at %s: %s", h->socket, command);
	if (fd >= 0)
		close(fd);
	free(line);
	return n == 0 ? SR_OK : err->code;
}

struct processes {
	pid_t master, worker; /* 0: none */
	unsigned failed;      /* reloads since the last one that did not */
};

/* show proc:   PID type ...   under "# workers" and "# old workers". */
static enum sr_status look(const struct sr_lb_haproxy *h, struct processes *p, struct sr_err *err)
{
	struct sr_buf text = {0};
	enum sr_status rc = ask(h, "show proc", &text, err);
	bool old = false;

	*p = (struct processes){0};
	for (char *save = NULL, *line = rc == SR_OK ? strtok_r(sr_buf_text(&text), "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
		char type[16];
		int pid;

		old |= strncmp(line, "# old", 5) == 0;
		if (old || sscanf(line, "%d %15s", &pid, type) != 2)
			continue;
		if (!strcmp(type, "master")) {
			p->master = pid;
			sscanf(line, "%*d %*s %*u [failed: %u]", &p->failed);
		} else if (!strcmp(type, "worker") && !p->worker) {
			p->worker = pid;
		}
	}
	if (rc == SR_OK && !p->master)
		rc = sr_err_set(err, SR_E_UNAVAILABLE, "%s is no socket of a HAProxy's master (haproxy -W -S): it does not know `show proc`", h->socket);
	sr_buf_free(&text);
	return rc;
}

static void nap(int ms)
{
	poll(NULL, 0, ms);
}

/* Until there is another worker than before.  A reload that failed leaves the old one in place, and is counted. */
static enum sr_status wait_for_worker(struct sr_lb_haproxy *h, const struct processes *before, struct sr_err *err)
{
	int64_t end = sr_ticks_ms() + START_MS;
	struct processes p;

	for (;;) {
		enum sr_status rc = look(h, &p, err);

		if (rc == SR_OK && p.worker && p.worker != before->worker) {
			if (is_own(h))
				h->pid = p.master;
			return SR_OK;
		}
		if (sr_lb_haproxy_ended(h))
			return sr_err_set(err, SR_E_UNAVAILABLE, "HAProxy ended at once: what it said stands above");
		if (sr_ticks_ms() > end || (rc == SR_OK && p.failed > before->failed))
			return rc != SR_OK ? rc : sr_err_set(err, SR_E_UNAVAILABLE, "HAProxy did not take its new configuration: what it said is in its log");
		nap(20);
	}
}

/* --- start, check, reload ------------------------------------------------------------------------------------------------------------------ */

/* In the child: never returns.  A group of its own: ^C on a terminal is for us, and we stop it softly. */
static void become(const char *program, char *const argv[], int out)
{
	sigset_t none;

	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGXFSZ, SIG_DFL);
	setpgid(0, 0);
	if (out >= 0) {
		dup2(out, STDOUT_FILENO);
		dup2(out, STDERR_FILENO);
	} else {
		dup2(STDERR_FILENO, STDOUT_FILENO);
	}
	if (chdir("/") == 0) /* it goes back to where it began, which its user may not be let into */
		execv(program, argv);
	dprintf(STDERR_FILENO, "%s: %s\n", program, strerror(errno));
	_exit(127);
}

/* The first [ALERT] of what HAProxy says about a configuration. */
static void alert_of(struct sr_buf *said, struct sr_err *err)
{
	char *text = sr_buf_text(said), *at = strstr(text, "[ALERT]"), *colon = at ? strchr(at, ':') : NULL;

	at = colon ? colon + 1 : text;
	at += strspn(at, " \n");
	at[strcspn(at, "\n")] = '\0';
	sr_err_set(err, SR_E_CONFIG, "HAProxy refuses its configuration: %.600s", *at ? at : "it does not say why");
}

/* What it says until it closes its end.  False: it did not in time. */
static bool listen_to(int fd, struct sr_buf *said)
{
	int64_t end = sr_ticks_ms() + CHECK_MS, left;
	struct pollfd can = {.fd = fd, .events = POLLIN};
	ssize_t n = 1;

	while (n > 0 && (left = end - sr_ticks_ms()) > 0)
		if (poll(&can, 1, (int)left) == 1) {
			n = read(fd, sr_buf_room(said, 4096), 4096);
			said->len += n > 0 && said->len < ANSWER_MOST ? (size_t)n : 0;
		}
	return n <= 0;
}

static enum sr_status check(const struct sr_lb_haproxy *h, const char *path, struct sr_err *err)
{
	char *argv[] = {h->conf->haproxy, (char *)"-c", (char *)"-f", (char *)path, NULL};
	struct sr_buf said = {0};
	int ends[2], status = 0;
	bool ended;
	pid_t pid;

	if (access(h->conf->haproxy, X_OK) != 0) /* an existing one may be another's, and looks for itself */
		return is_own(h) ? sr_err_sys(err, SR_E_UNAVAILABLE, "HAProxy=%s (install the package haproxy)", h->conf->haproxy) : SR_OK;
	if (pipe2(ends, O_CLOEXEC) != 0)
		return sr_err_sys(err, SR_E_INTERNAL, "pipe");
	pid = fork();
	if (pid == 0)
		become(h->conf->haproxy, argv, ends[1]);
	close(ends[1]);
	ended = pid < 0 || listen_to(ends[0], &said);
	close(ends[0]);
	if (!ended)
		kill(-pid, SIGKILL); /* its group: whatever it has started holds the pipe, too */
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		sr_err_sys(err, SR_E_INTERNAL, "start %s", h->conf->haproxy);
	else if (!ended)
		sr_err_set(err, SR_E_UNAVAILABLE, "%s -c, which is to check the configuration, was ended: it took more than %d s", h->conf->haproxy, CHECK_MS / 1000);
	else if (status)
		alert_of(&said, err);
	sr_buf_free(&said);
	return pid > 0 && !status ? SR_OK : err->code;
}

static enum sr_status write_states(const struct sr_lb_haproxy *h, const struct sr_lb_list *list, const char *shown, struct sr_err *err)
{
	struct sr_buf states = {0};
	enum sr_status rc;

	sr_lb_haproxy_states(&states, list, shown);
	rc = sr_file_replace(h->state, sr_buf_view(&states), 0600, true, err);
	sr_buf_free(&states);
	return rc;
}

static enum sr_status start(struct sr_lb_haproxy *h, struct sr_err *err)
{
	char *master = sr_format("%s,mode,600,level,admin", h->socket);
	char *argv[] = {h->conf->haproxy, (char *)"-W", (char *)"-f", h->config, (char *)"-S", master, NULL};
	enum sr_status rc;
	pid_t pid;

	unlink(h->socket);
	rc = write_states(h, &(struct sr_lb_list){0}, "", err); /* what is there is of another life */
	pid = rc == SR_OK ? fork() : 0;
	if (rc == SR_OK && pid == 0)
		become(h->conf->haproxy, argv, -1);
	free(master);
	if (rc == SR_OK && pid < 0)
		rc = sr_err_sys(err, SR_E_UNAVAILABLE, "start %s", h->conf->haproxy);
	if (rc != SR_OK)
		return rc;
	h->pid = pid;
	h->child = true;
	return wait_for_worker(h, &(struct processes){0}, err);
}

static enum sr_status reload(struct sr_lb_haproxy *h, const struct sr_lb_list *list, const struct processes *before, struct sr_err *err)
{
	struct sr_buf shown = {0};
	enum sr_status rc = ask(h, "@1 show servers state " SR_LB_HEALTH, &shown, err);

	if (rc == SR_OK)
		rc = write_states(h, list, sr_buf_text(&shown), err);
	if (rc == SR_OK)
		rc = ask(h, "reload", &shown, err);
	if (rc == SR_OK)
		rc = wait_for_worker(h, before, err);
	sr_buf_free(&shown);
	return rc;
}

/* --- for the balancer ------------------------------------------------------------------------------------------------------------------------ */

static void set_paths(struct sr_lb_haproxy *h)
{
	const struct sr_lb_conf *c = h->conf;

	h->config = c->haproxy_config ? sr_strdup(c->haproxy_config) : sr_format("%s/haproxy.cfg", c->state_directory);
	h->socket = c->haproxy_socket ? sr_strdup(c->haproxy_socket) : sr_format("%s/haproxy.sock", c->state_directory);
	h->state = sr_format("%s/haproxy.state", c->state_directory);
	h->certificate = sr_format("%s/tls.pem", c->state_directory);
}

enum sr_status sr_lb_haproxy_open(struct sr_lb_haproxy **out, const struct sr_lb_conf *conf, struct sr_err *err)
{
	struct sr_lb_haproxy *h = sr_alloc(sizeof *h);
	struct processes p;
	struct sr_err none;

	h->conf = conf;
	h->end = -1;
	set_paths(h);
	if (sr_file_parents(h->config, err) != SR_OK) {
		sr_lb_haproxy_close(h);
		return err->code;
	}
	if (is_own(h) && access(h->socket, F_OK) == 0 && look(h, &p, &none) == SR_OK && (h->end = pidfd_open(p.master, 0)) >= 0) {
		h->pid = p.master;
		sr_info("the HAProxy that was left running is taken over (pid %d)", (int)h->pid);
	}
	h->stale = true;
	*out = h;
	return SR_OK;
}

void sr_lb_haproxy_close(struct sr_lb_haproxy *h)
{
	if (!h)
		return;
	if (h->end >= 0)
		close(h->end);
	free(h->config);
	free(h->socket);
	free(h->state);
	free(h->certificate);
	free(h);
}

void sr_lb_haproxy_conf(struct sr_lb_haproxy *h, const struct sr_lb_conf *conf)
{
	h->conf = conf;
}

/* Its workers need no more rights than HAProxy's own user has, who reads no key: the master does. */
static void choose_user(struct sr_lb_haproxy_options *o)
{
	struct sr_err none;
	uid_t id;

	if (geteuid() == 0 && sr_account_user(HAPROXY, &id, &none) == SR_OK)
		o->user = o->group = HAPROXY;
}

static enum sr_status make(struct sr_lb_haproxy *h, const struct sr_lb_list *list, struct sr_buf *text, struct sr_err *err)
{
	struct sr_lb_haproxy_options o = {.state_file = h->state, .global = is_own(h)};
	char *stamp = NULL;
	enum sr_status rc = SR_OK;

	choose_user(&o);
	if (!h->conf->disable_https) {
		rc = link_certificate(h, err);
		o.certificate = h->certificate;
		o.stamp = stamp = stamp_of(h->certificate);
	}
	sr_lb_haproxy_config(text, h->conf, list, &o);
	free(stamp);
	return rc;
}

/* HAProxy knows the operator's certificate by our link only: what is wrong with it is said by its own name. */
static enum sr_status explain(const struct sr_lb_conf *c, struct sr_err *err)
{
	struct sr_err own = {0};

	if (err->code != SR_E_CONFIG || c->disable_https || sr_keypair_check(c->certificate_file, c->key_file, &own) == SR_OK)
		return err->code;
	*err = own;
	return sr_err_context(err, "Certificate-File and Key-File");
}

/* Refused before it takes the place of one that is valid. */
static enum sr_status install(const struct sr_lb_haproxy *h, struct sr_bytes text, struct sr_err *err)
{
	char *draft = sr_format("%s/haproxy.draft", h->conf->state_directory);
	enum sr_status rc = sr_file_replace(draft, text, 0600, true, err);

	if (rc == SR_OK)
		rc = check(h, draft, err);
	if (rc != SR_OK)
		rc = explain(h->conf, err);
	unlink(draft);
	free(draft);
	return rc == SR_OK ? sr_file_replace(h->config, text, 0600, true, err) : rc;
}

/* What is in the file is what runs, or will: what a reload does not take is taken back. */
static enum sr_status change(struct sr_lb_haproxy *h, const struct sr_lb_list *list, struct sr_bytes text, const struct processes *before, struct sr_err *err)
{
	bool running = !is_own(h) || h->pid > 0, installed;
	struct sr_buf former = {0};
	struct sr_err second;
	enum sr_status rc;

	read_file(h->config, &former);
	rc = install(h, text, err);
	installed = rc == SR_OK;
	if (installed)
		rc = running ? reload(h, list, before, err) : start(h, err);
	h->stale = rc != SR_OK;
	if (installed && rc != SR_OK && running && former.len && sr_file_replace(h->config, sr_buf_view(&former), 0600, true, &second) != SR_OK)
		sr_error("%s is not what runs: %s", h->config, second.text);
	sr_buf_free(&former);
	return rc;
}

enum sr_status sr_lb_haproxy_apply(struct sr_lb_haproxy *h, const struct sr_lb_list *list, bool *changed, struct sr_err *err)
{
	struct sr_buf text = {0}, there = {0};
	struct processes p = {0};
	enum sr_status rc = make(h, list, &text, err);
	bool running = !is_own(h) || h->pid > 0;

	*changed = false;
	if (rc == SR_OK && running)
		rc = look(h, &p, err);
	read_file(h->config, &there);
	if (rc == SR_OK && !(running && !h->stale && sr_bytes_eq(sr_buf_view(&text), sr_buf_view(&there)))) {
		rc = change(h, list, sr_buf_view(&text), &p, err);
		*changed = rc == SR_OK;
	}
	sr_buf_free(&there);
	sr_buf_free(&text);
	return rc;
}

/* Of one that is not our child only a descriptor tells: somebody else has to bury it, and takes his time. */
static bool has_ended(const struct sr_lb_haproxy *h, int *status)
{
	struct pollfd end = {.fd = h->end, .events = POLLIN};

	return h->child ? waitpid(h->pid, status, WNOHANG) == h->pid : poll(&end, 1, 0) == 1;
}

bool sr_lb_haproxy_ended(struct sr_lb_haproxy *h)
{
	int status = 0;

	if (h->pid <= 0 || !has_ended(h, &status))
		return false;
	if (WIFSIGNALED(status))
		sr_info("HAProxy (pid %d) was ended by signal %d", (int)h->pid, WTERMSIG(status));
	else if (h->child)
		sr_info("HAProxy (pid %d) ended with status %d", (int)h->pid, WEXITSTATUS(status));
	if (h->end >= 0)
		close(h->end);
	h->end = -1;
	h->pid = 0;
	h->child = false;
	return true;
}

bool sr_lb_haproxy_runs(struct sr_lb_haproxy *h)
{
	sr_lb_haproxy_ended(h);
	return h->pid > 0;
}

void sr_lb_haproxy_soft_stop(struct sr_lb_haproxy *h)
{
	if (h->pid > 0)
		kill(h->pid, SIGUSR1);
}

void sr_lb_haproxy_hard_stop(struct sr_lb_haproxy *h)
{
	if (h->pid > 0)
		kill(h->pid, SIGTERM);
}

void sr_lb_haproxy_kill(struct sr_lb_haproxy *h)
{
	if (h->pid > 0)
		kill(-h->pid, SIGKILL);
}

void sr_lb_haproxy_print(struct sr_buf *out, const struct sr_lb_conf *conf, const struct sr_lb_list *list)
{
	char *certificate = sr_format("%s/tls.pem", conf->state_directory);
	struct sr_lb_haproxy_options o = {.certificate = conf->disable_https ? NULL : certificate, .left_out = true};

	sr_lb_haproxy_config(out, conf, list, &o);
	free(certificate);
}
