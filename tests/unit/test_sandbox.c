/* What a confined process may do and what not: each case in a child, for there is no way back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/sandbox.h"

/* In a child: what is not so ends it with the line's number. */
#define SO(what) \
	do { \
		if (!(what)) { \
			fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #what, strerror(errno)); \
			_exit(1); \
		} \
	} while (0)

struct place {
	char *dir; /* with store/, elsewhere/file and elsewhere/link in it */
};

static const char *below(const struct place *p, const char *name)
{
	static char room[4][256];
	static unsigned next;
	char *out = room[next++ % 4];

	snprintf(out, sizeof room[0], "%s/%s", p->dir, name);
	return out;
}

static bool make(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static int enter(void **state)
{
	struct place *p = sr_alloc(sizeof *p);
	struct sr_err err;

	assert_int_equal(sr_file_tmp_dir(&p->dir, "sameroot-sandbox", &err), SR_OK);
	assert_int_equal(mkdir(below(p, "store"), 0700) || mkdir(below(p, "store/a"), 0700) || mkdir(below(p, "elsewhere"), 0700), 0);
	assert_true(make(below(p, "elsewhere/file")));
	*state = p;
	return 0;
}

static int leave(void **state)
{
	struct place *p = *state;

	char *remove = sr_format("rm -rf '%s'", p->dir);

	assert_int_equal(system(remove), 0);
	free(remove);
	free(p->dir);
	free(p);
	return 0;
}

static bool has_landlock(int least)
{
	return syscall(444, NULL, 0, 1) >= least;
}

static void in_child(void (*fn)(const struct place *p), const struct place *p)
{
	pid_t pid = fork();
	int status = 1;

	if (pid == 0) {
		fn(p);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static struct sr_sandbox *confined_to(const struct place *p, struct sr_buf *what)
{
	struct sr_sandbox *s = sr_sandbox_new();

	sr_sandbox_allow(s, below(p, "store"), SR_SANDBOX_WRITE);
	sr_sandbox_allow(s, "/usr", SR_SANDBOX_READ);
	sr_sandbox_enter(s, what);
	return s;
}

/* --- files ------------------------------------------------------------------------------------------------------------------------ */

static void files(const struct place *p)
{
	struct sr_buf what = {0};
	struct sr_sandbox *s;

	SO(symlink("../elsewhere/file", below(p, "store/link")) == 0); /* planted before, or after, by an application's user */
	s = confined_to(p, &what);
	SO(strstr(sr_buf_text(&what), "Landlock (ABI "));
	SO(make(below(p, "store/new")) && mkdir(below(p, "store/b"), 0700) == 0);
	SO(rename(below(p, "store/new"), below(p, "store/b/new")) == 0);
	SO(truncate(below(p, "store/b/new"), 10) == 0);
	SO(unlink(below(p, "store/b/new")) == 0 && rmdir(below(p, "store/b")) == 0);
	SO(!make(below(p, "elsewhere/new")) && errno == EACCES);
	SO(open(below(p, "elsewhere/file"), O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES);
	SO(open(below(p, "store/link"), O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES);
	SO(rename(below(p, "store/a"), below(p, "elsewhere/a")) < 0 && (errno == EACCES || errno == EXDEV));
	SO(unlink(below(p, "elsewhere/file")) < 0 && errno == EACCES);
	SO(mkfifo(below(p, "store/fifo"), 0600) < 0 && errno == EACCES);
	SO(open("/usr", O_RDONLY | O_DIRECTORY | O_CLOEXEC) >= 0);
	SO(open("/etc/passwd", O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES);
	SO(sr_sandbox_covers(s, below(p, "store/x/y"), SR_SANDBOX_WRITE) && sr_sandbox_covers(s, "/usr/lib", SR_SANDBOX_READ));
	SO(!sr_sandbox_covers(s, below(p, "storehouse"), SR_SANDBOX_READ) && !sr_sandbox_covers(s, "/usr/lib", SR_SANDBOX_WRITE));
}

static void test_files(void **state)
{
	if (!has_landlock(2))
		skip();
	in_child(files, *state);
}

/* What is not there yet is made, and what is put in its place is reached. */
static void not_there_yet(const struct place *p)
{
	struct sr_sandbox *s = sr_sandbox_new();
	struct sr_buf what = {0};

	sr_sandbox_allow(s, below(p, "store/a/new/deep"), SR_SANDBOX_WRITE);
	sr_sandbox_enter(s, &what);
	SO(mkdir(below(p, "store/a/new"), 0700) == 0 && make(below(p, "store/a/new/deep")));
	SO(rename(below(p, "store/a/new"), below(p, "store/a/old")) == 0 && mkdir(below(p, "store/a/new"), 0700) == 0);
	SO(make(below(p, "store/a/new/deep")));
	SO(!make(below(p, "store/other")) && errno == EACCES);
}

static void test_not_there_yet(void **state)
{
	if (!has_landlock(2))
		skip();
	in_child(not_there_yet, *state);
}

/* --- ports ------------------------------------------------------------------------------------------------------------------------ */

static int listen_at(uint16_t port, uint16_t *got)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof at;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) || getsockname(fd, (struct sockaddr *)&at, &len))
		return -1;
	*got = ntohs(at.sin_port);
	return fd;
}

static void ports(const struct place *p)
{
	struct sr_sandbox *s = sr_sandbox_new();
	struct sr_buf what = {0};
	uint16_t one = 0, other = 0, got;
	int a = listen_at(0, &one), b = listen_at(0, &other);

	(void)p;
	SO(a >= 0 && b >= 0);
	close(a);
	close(b);
	sr_sandbox_allow_port(s, one);
	sr_sandbox_enter(s, &what);
	SO(listen_at(one, &got) >= 0);
	SO(listen_at(other, &got) < 0 && errno == EACCES);
}

static void test_ports(void **state)
{
	if (!has_landlock(4))
		skip();
	in_child(ports, *state);
}

/* --- system calls, programs, rights ------------------------------------------------------------------------------------------------- */

static void calls(const struct place *p)
{
	struct sr_buf what = {0};
	struct rlimit core;

	confined_to(p, &what);
	SO(strstr(sr_buf_text(&what), "seccomp, no program is started"));
#ifndef __SANITIZE_ADDRESS__
	SO(ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0 && errno == EPERM);
#endif
	SO(syscall(SYS_unshare, 0) < 0 && errno == EPERM);
	SO(syscall(SYS_bpf, 0, NULL, 0) < 0 && errno == EPERM);
	SO(execl("/usr/bin/true", "true", (char *)NULL) < 0 && errno == EPERM);
	SO(socket(AF_PACKET, SOCK_RAW, 0) < 0 && errno == EAFNOSUPPORT);
	SO(socket(AF_INET6, SOCK_STREAM, 0) >= 0 || errno == EAFNOSUPPORT); /* as the machine has it */
	SO(socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
	SO(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	SO(getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_cur == 0 && core.rlim_max == 0);
	SO(strstr(sr_buf_text(&what), "; no core file"));
}

static void test_calls(void **state)
{
	in_child(calls, *state);
}

static void programs(const struct place *p)
{
	struct sr_sandbox *s = sr_sandbox_new();
	struct sr_buf what = {0};

	(void)p;
	sr_sandbox_allow_programs(s);
	for (const char *const *path = (const char *const[]){"/usr", "/lib", "/lib64", NULL}; *path; path++)
		sr_sandbox_allow_there(s, *path, SR_SANDBOX_RUN);
	sr_sandbox_enter(s, &what);
	execl("/usr/bin/true", "true", (char *)NULL);
	SO(!"it starts no program");
}

static void test_programs(void **state)
{
	in_child(programs, *state);
}

static void skip_without_rights(void)
{
	if (geteuid() != 0 || prctl(PR_CAPBSET_READ, CAP_SETPCAP, 0, 0, 0) != 1)
		skip();
}

static void rights(const struct place *p)
{
	struct sr_sandbox *s = sr_sandbox_new();
	struct sr_buf what = {0};

	sr_sandbox_allow(s, below(p, "store"), SR_SANDBOX_WRITE);
	sr_sandbox_keep(s, CAP_CHOWN);
	sr_sandbox_enter(s, &what);
	SO(strstr(sr_buf_text(&what), "of root's capabilities chown;"));
	SO(chown(below(p, "store/a"), 65533, 65533) == 0);
	SO(chmod(below(p, "store/a"), 0755) < 0 && errno == EPERM); /* CAP_FOWNER */
	SO(setuid(65533) < 0 && errno == EPERM);
	SO(prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN, 0, 0, 0) == 0);
}

static void test_rights(void **state)
{
	skip_without_rights();
	in_child(rights, *state);
}

/* As a service manager hands on rights to who is not root, and to what he starts. */
static void hand_on(uint32_t rights)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	SO(syscall(SYS_capget, &head, data) == 0);
	data[0].inheritable |= rights;
	SO(syscall(SYS_capset, &head, data) == 0);
	for (unsigned long i = 0; i < 32; i++)
		SO(!(rights >> i & 1) || prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) == 0);
}

static void rights_handed_on(const struct place *p)
{
	struct sr_sandbox *s = sr_sandbox_new();
	struct sr_buf what = {0};

	(void)p;
	hand_on(1u << CAP_NET_BIND_SERVICE | 1u << CAP_KILL);
	sr_sandbox_allow_programs(s);
	sr_sandbox_keep(s, CAP_NET_BIND_SERVICE);
	sr_sandbox_enter(s, &what);
	SO(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_NET_BIND_SERVICE, 0, 0) == 1);
	SO(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0) == 0);
}

/* Or HAProxy could not listen on port 443 under its unit. */
static void test_rights_handed_on(void **state)
{
	skip_without_rights();
	in_child(rights_handed_on, *state);
}

/* --- an older kernel ---------------------------------------------------------------------------------------------------------------- */

/* Landlock's calls fail with that error from now on. */
static void take_away(int error)
{
	struct sock_filter steps[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 444, 0, 2),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 446, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {.len = sizeof steps / sizeof *steps, .filter = steps};

	SO(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == 0);
}

static void older(const struct place *p)
{
	struct sr_buf what = {0};
	struct sr_sandbox *s;

	take_away(ENOSYS);
	s = confined_to(p, &what);
	SO(strstr(sr_buf_text(&what), "no Landlock (Function not implemented); "));
	SO(make(below(p, "elsewhere/new")));
	SO(sr_sandbox_covers(s, below(p, "elsewhere"), SR_SANDBOX_WRITE));
	SO(execl("/usr/bin/true", "true", (char *)NULL) < 0 && errno == EPERM); /* the rest holds */
}

static void test_older(void **state)
{
	in_child(older, *state);
}

static void switched_off(const struct place *p)
{
	struct sr_buf what = {0};

	take_away(EOPNOTSUPP);
	confined_to(p, &what);
	SO(strstr(sr_buf_text(&what), "no Landlock (it is switched off at the kernel's start); "));
}

static void test_switched_off(void **state)
{
	in_child(switched_off, *state);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, enter, leave)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_files), TEST(test_not_there_yet), TEST(test_ports), TEST(test_calls), TEST(test_programs), TEST(test_rights), TEST(test_rights_handed_on), TEST(test_older),
		TEST(test_switched_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
