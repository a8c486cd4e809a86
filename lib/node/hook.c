/* hook.c - see hook.h. */
#include "lib/node/hook.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
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

static enum sr_status start(struct run *r, struct sr_err *err)
{
	int ends[2], rc;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return sr_err_sys(err, SR_E_IO, "%s: pipe", r->hook->name);
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	rc = sr_spawn(r->hook->spawner, r->hook->command, r->hook->environment, ends[1], &r->pid);
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

static void press(struct run *r, const char *why)
{
	const struct sr_hook *h = r->hook;

	if (!r->term_ms) {
		sr_warn("%s: %s, it is ended", h->name, why);
		r->why = why;
		sr_spawn_kill(h->spawner, r->pid, SIGTERM);
		r->term_ms = sr_ticks_ms();
	} else if (!r->killed && sr_ticks_ms() - r->term_ms >= h->grace_ms(h->ctx)) {
		sr_spawn_kill(h->spawner, r->pid, SIGKILL);
		r->killed = true;
	}
}

static int wait_for_end(struct run *r)
{
	struct sr_spawner *spawner = r->hook->spawner;

	while (!sr_spawn_has_ended(spawner, r->pid)) {
		const char *why = r->term_ms ? r->why : r->hook->is_over(r->hook->ctx);

		if (why)
			press(r, why);
		listen_to(r, LOOK_MS);
	}
	if (r->term_ms && !r->killed) /* its children were told, too; they have had no less time than it took */
		sr_spawn_kill(spawner, r->pid, SIGKILL);
	listen_to_the_rest(r);
	return sr_spawn_status(spawner, r->pid);
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
