/* spawn.c - see spawn.h.  What is done is the same here and in the helper (do_*); between them goes a request of fixed size, a text behind it, and an answer. */
#include "lib/node/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/bytes.h"

#define HELPERS_END 3 /* of the connection; it has nothing else open but the standard ones */

extern char **environ;

struct sr_spawner {
	pthread_mutex_t lock; /* a request and its answer */
	int fd;
	pid_t pid;
};

enum what { SPAWN, HAS_ENDED, KILL, STATUS };

struct request {
	enum what what;
	pid_t pid;
	int sig;
	size_t len; /* of what follows: command and environment, each with its NUL */
};
struct answer {
	int value; /* an errno, a bool, a status */
	pid_t pid;
};

/* --- what is done ---------------------------------------------------------------------------------------------------------------- */

static char **make_environment(const char *const *more)
{
	size_t n = 0, own = 0;
	char **all;

	while (environ[n])
		n++;
	while (more[own])
		own++;
	all = sr_alloc((n + own + 1) * sizeof *all);
	memcpy(all, more, own * sizeof *all); /* of two of a name the first counts */
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

static int do_spawn(const char *command, const char *const *environment, int out, pid_t *pid)
{
	char *argv[] = {"sh", "-c", (char *)command, NULL}, **env = make_environment(environment);
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
			rc = posix_spawn(pid, "/bin/sh", &files, &attr, argv, env);
		posix_spawn_file_actions_destroy(&files);
	}
	posix_spawnattr_destroy(&attr);
out:
	free(env);
	return rc;
}

static bool do_has_ended(pid_t pid)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == pid;
}

static void do_kill(pid_t pid, int sig)
{
	kill(-pid, sig);
	kill(pid, sig);
}

static int do_status(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

/* --- between them ------------------------------------------------------------------------------------------------------------------ */

static bool read_all(int fd, void *to, size_t n)
{
	for (size_t done = 0; done < n;) {
		ssize_t got = read(fd, (char *)to + done, n - done);

		if (got == 0 || (got < 0 && errno != EINTR))
			return false;
		done += got > 0 ? (size_t)got : 0;
	}
	return true;
}

static bool write_all(int fd, const void *from, size_t n)
{
	for (size_t done = 0; done < n;) {
		ssize_t put = send(fd, (const char *)from + done, n - done, MSG_NOSIGNAL);

		if (put < 0 && errno != EINTR)
			return false;
		done += put > 0 ? (size_t)put : 0;
	}
	return true;
}

union room { /* for one descriptor, aligned as it has to be */
	struct cmsghdr head;
	char bytes[CMSG_SPACE(sizeof(int))];
};

/* A request goes in one piece: it is small, and a descriptor (-1: none) goes with it. */
static bool send_request(int fd, const struct request *r, int passed)
{
	union room room = {{0}};
	struct iovec io = {.iov_base = (void *)(uintptr_t)r, .iov_len = sizeof *r};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1};

	if (passed >= 0) {
		m.msg_control = &room;
		m.msg_controllen = sizeof room;
		room.head = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof passed)};
		memcpy(CMSG_DATA(&room.head), &passed, sizeof passed);
	}
	return sendmsg(fd, &m, MSG_NOSIGNAL) == (ssize_t)sizeof *r;
}

static bool take_request(int fd, struct request *r, int *passed)
{
	union room room = {{0}};
	struct iovec io = {.iov_base = r, .iov_len = sizeof *r};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &room, .msg_controllen = sizeof room};
	ssize_t got;

	*passed = -1;
	do {
		got = recvmsg(fd, &m, MSG_WAITALL | MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	if (got == (ssize_t)sizeof *r && m.msg_controllen && room.head.cmsg_type == SCM_RIGHTS)
		memcpy(passed, CMSG_DATA(&room.head), sizeof *passed);
	return got == (ssize_t)sizeof *r;
}

/* --- the helper -------------------------------------------------------------------------------------------------------------------- */

/* text: the command, then the environment. */
static int spawn_of(const char *text, size_t len, int out, pid_t *pid)
{
	const char **environment = sr_alloc((len + 1) * sizeof *environment);
	size_t n = 0;
	int rc;

	for (size_t at = strlen(text) + 1; at < len; at += strlen(text + at) + 1)
		environment[n++] = text + at;
	rc = do_spawn(text, environment, out, pid);
	free(environment);
	return rc;
}

static struct answer obey(const struct request *r, const char *text, int out)
{
	struct answer a = {.pid = r->pid};

	switch (r->what) {
	case SPAWN:
		a.value = spawn_of(text, r->len, out, &a.pid);
		break;
	case HAS_ENDED:
		a.value = do_has_ended(r->pid);
		break;
	case KILL:
		do_kill(r->pid, r->sig);
		break;
	case STATUS:
		a.value = do_status(r->pid);
		break;
	}
	return a;
}

static _Noreturn void help(int fd)
{
	static const int deaf[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGQUIT};
	struct request r;
	int out;

	for (size_t i = 0; i < sizeof deaf / sizeof *deaf; i++)
		signal(deaf[i], SIG_IGN);
	setpgid(0, 0); /* ^C on a terminal is for the daemon */
	if (fd != HELPERS_END && dup3(fd, HELPERS_END, O_CLOEXEC) < 0)
		_exit(1);
	closefrom(HELPERS_END + 1);
	prctl(PR_SET_NAME, "sameroot-hooks", 0, 0, 0);
	while (take_request(HELPERS_END, &r, &out)) {
		char *text = sr_alloc(r.len + 1);
		struct answer a = {0};

		if (read_all(HELPERS_END, text, r.len))
			a = obey(&r, text, out);
		free(text);
		if (out >= 0)
			close(out);
		if (!write_all(HELPERS_END, &a, sizeof a))
			break;
	}
	_exit(0);
}

enum sr_status sr_spawner_start(struct sr_spawner **out, struct sr_err *err)
{
	int ends[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		return sr_err_sys(err, SR_E_IO, "a connection to the helper that starts Shutdown-Hook");
	pid = fork();
	if (pid == 0) {
		close(ends[0]);
		help(ends[1]);
	}
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return sr_err_sys(err, SR_E_IO, "the helper that starts Shutdown-Hook");
	}
	*out = sr_alloc(sizeof **out);
	**out = (struct sr_spawner){.fd = ends[0], .pid = pid};
	pthread_mutex_init(&(*out)->lock, NULL);
	return SR_OK;
}

void sr_spawner_stop(struct sr_spawner *s)
{
	if (!s)
		return;
	close(s->fd);
	while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
		;
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* --- the caller's side --------------------------------------------------------------------------------------------------------------- */

/* If the helper has been killed: `otherwise`. */
static struct answer ask(struct sr_spawner *s, struct request r, struct sr_bytes text, int passed, int otherwise)
{
	struct answer a = {.value = otherwise}, got;

	r.len = text.len;
	pthread_mutex_lock(&s->lock);
	if (send_request(s->fd, &r, passed) && write_all(s->fd, text.at, text.len) && read_all(s->fd, &got, sizeof got))
		a = got;
	pthread_mutex_unlock(&s->lock);
	return a;
}

int sr_spawn(struct sr_spawner *s, const char *command, const char *const *environment, int out, pid_t *pid)
{
	struct sr_buf text = {0};
	struct answer a;

	if (!s)
		return do_spawn(command, environment, out, pid);
	sr_buf_add(&text, command, strlen(command) + 1);
	for (size_t i = 0; environment[i]; i++)
		sr_buf_add(&text, environment[i], strlen(environment[i]) + 1);
	a = ask(s, (struct request){.what = SPAWN}, sr_buf_view(&text), out, EPIPE);
	sr_buf_free(&text);
	if (!a.value)
		*pid = a.pid;
	return a.value;
}

bool sr_spawn_has_ended(struct sr_spawner *s, pid_t pid)
{
	return s ? ask(s, (struct request){.what = HAS_ENDED, .pid = pid}, sr_bytes(NULL, 0), -1, true).value : do_has_ended(pid);
}

void sr_spawn_kill(struct sr_spawner *s, pid_t pid, int sig)
{
	if (s)
		ask(s, (struct request){.what = KILL, .pid = pid, .sig = sig}, sr_bytes(NULL, 0), -1, 0);
	else
		do_kill(pid, sig);
}

int sr_spawn_status(struct sr_spawner *s, pid_t pid)
{
	return s ? ask(s, (struct request){.what = STATUS, .pid = pid}, sr_bytes(NULL, 0), -1, SIGKILL).value : do_status(pid);
}
