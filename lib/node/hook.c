/* hook.c - see hook.h. */
#include "lib/node/hook.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/door.h"
#include "lib/base/log.h"

#define LOOK_MS   50
#define ENDING_MS 2    /* it has closed its output: it is about to end, or else only quiet */
#define LINE_MOST 1000 /* bytes of a line; more are lines of their own */

extern char **environ;

struct run {
	const struct sr_hook *hook;
	pid_t pid;
	int out;         /* what it prints */
	struct sr_buf line;
	int64_t term_ms; /* when SIGTERM was sent; 0: it was not */
	const char *why; /* it was */
	bool killed;
};

/* --- its beginning ------------------------------------------------------------------------------------------------------- */

static char **make_environment(const struct sr_hook *hook)
{
	size_t n = 0, own = 0;
	char **all;

	while (environ[n])
		n++;
	while (hook->environment[own])
		own++;
	all = sr_alloc((n + own + 1) * sizeof *all);
	memcpy(all, hook->environment, own * sizeof *all); /* of two of a name the first counts */
	memcpy(all + own, environ, n * sizeof *all);
	return all;
}

static int make_attributes(posix_spawnattr_t *attr)
{
	sigset_t none, all;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	rc = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	if (!rc)
		rc = posix_spawnattr_setpgroup(attr, 0);
	if (!rc)
		rc = posix_spawnattr_setsigmask(attr, &none);
	return rc ? rc : posix_spawnattr_setsigdefault(attr, &all);
}

static int make_files(posix_spawn_file_actions_t *files, int out)
{
	int rc = posix_spawn_file_actions_addopen(files, 0, "/dev/null", O_RDONLY, 0);

	if (!rc)
		rc = posix_spawn_file_actions_adddup2(files, out, 1);
	if (!rc)
		rc = posix_spawn_file_actions_adddup2(files, out, 2);
	return rc ? rc : posix_spawn_file_actions_addclosefrom_np(files, 3);
}

static int spawn(struct run *r, int out)
{
	char *argv[] = {"sh", "-c", (char *)r->hook->command, NULL}, **env = make_environment(r->hook);
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	int rc = posix_spawnattr_init(&attr);

	if (rc)
		goto out;
	rc = posix_spawn_file_actions_init(&files);
	if (!rc) {
		rc = make_attributes(&attr);
		if (!rc)
			rc = make_files(&files, out);
		if (!rc)
			rc = posix_spawn(&r->pid, "/bin/sh", &files, &attr, argv, env);
		posix_spawn_file_actions_destroy(&files);
	}
	posix_spawnattr_destroy(&attr);
out:
	free(env);
	return rc;
}

static enum sr_status start(struct run *r, struct sr_err *err)
{
	int ends[2], rc;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return sr_err_sys(err, SR_E_IO, "%s: pipe", r->hook->name);
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	rc = spawn(r, ends[1]);
	close(ends[1]);
	r->out = ends[0];
	if (!rc)
		return SR_OK;
	close(ends[0]);
	errno = rc;
	return sr_err_sys(err, SR_E_IO, "%s: it does not start", r->hook->name);
}

/* --- what it prints ------------------------------------------------------------------------------------------------------- */

static void log_line(struct run *r)
{
	if (r->line.len)
		sr_info("%s: %.*s", r->hook->name, (int)r->line.len, (const char *)r->line.at);
	sr_buf_clear(&r->line);
}

static void take_output(struct run *r, struct sr_bytes bytes)
{
	for (size_t i = 0; i < bytes.len; i++) {
		if (bytes.at[i] != '\n' && bytes.at[i] != '\0')
			sr_buf_byte(&r->line, bytes.at[i]);
		if (bytes.at[i] == '\n' || r->line.len == LINE_MOST)
			log_line(r);
	}
}

/* What is there now, or comes within ms. */
static void listen_to(struct run *r, int ms)
{
	struct pollfd p = {.fd = r->out, .events = POLLIN};
	uint8_t some[4096];
	ssize_t got;

	if (r->out < 0 || poll(&p, 1, ms) <= 0) {
		if (r->out < 0)
			poll(NULL, 0, ms < ENDING_MS ? ms : ENDING_MS);
		return;
	}
	got = read(r->out, some, sizeof some);
	if (got > 0) {
		take_output(r, sr_bytes(some, (size_t)got));
	} else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
		close(r->out);
		r->out = -1;
	}
}

/* A child of the ended shell may go on printing: what is in the pipe by now is the shell's, and no more is waited for. */
static void listen_to_the_rest(struct run *r)
{
	for (int i = 0; i < 64 && r->out >= 0; i++) {
		struct pollfd p = {.fd = r->out, .events = POLLIN};

		if (poll(&p, 1, 0) <= 0)
			break;
		listen_to(r, 0);
	}
	log_line(r);
	if (r->out >= 0)
		close(r->out);
	r->out = -1;
}

/* --- its end --------------------------------------------------------------------------------------------------------------- */

/* Without taking its status: as long as that is not taken, nobody else gets its number, nor its group. */
static bool shell_has_ended(const struct run *r)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t)r->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == r->pid;
}

/* Its group, and the shell itself, or what that has become: it may have gone to another group. */
static void tell(const struct run *r, int sig)
{
	kill(-r->pid, sig);
	kill(r->pid, sig);
}

static void press(struct run *r, const char *why)
{
	const struct sr_hook *h = r->hook;

	if (!r->term_ms) {
		sr_warn("%s: %s, it is ended", h->name, why);
		r->why = why;
		tell(r, SIGTERM);
		r->term_ms = sr_ticks_ms();
	} else if (!r->killed && sr_ticks_ms() - r->term_ms >= h->grace_ms(h->ctx)) {
		tell(r, SIGKILL);
		r->killed = true;
	}
}

static int wait_for_end(struct run *r)
{
	int status = 0;

	while (!shell_has_ended(r)) {
		const char *why = r->term_ms ? r->why : r->hook->is_over(r->hook->ctx);

		if (why)
			press(r, why);
		listen_to(r, LOOK_MS);
	}
	if (r->term_ms && !r->killed) /* its children were told, too; they have had no less time than it took */
		kill(-r->pid, SIGKILL);
	listen_to_the_rest(r);
	while (waitpid(r->pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

enum sr_status sr_hook_run(const struct sr_hook *hook, struct sr_err *err)
{
	struct run r = {.hook = hook, .out = -1};
	enum sr_status rc = start(&r, err);
	int status;

	if (rc != SR_OK)
		return rc;
	status = wait_for_end(&r);
	sr_buf_free(&r.line);
	if (r.term_ms)
		return sr_err_set(err, SR_E_UNAVAILABLE, "%s: it had not ended by itself (%s)", hook->name, r.why);
	if (WIFSIGNALED(status))
		return sr_err_set(err, SR_E_IO, "%s: it was ended by signal %d (%s)", hook->name, WTERMSIG(status), strsignal(WTERMSIG(status)));
	if (WEXITSTATUS(status))
		return sr_err_set(err, SR_E_IO, "%s: it ended with status %d", hook->name, WEXITSTATUS(status));
	return SR_OK;
}
