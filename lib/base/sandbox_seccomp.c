/* sandbox_seccomp.c - the part of a sandbox that is seccomp's: system calls that no daemon of ours makes, by a filter of our own.
 *
 * A list of what is refused and not of what is allowed: libraries and the C library come to use new calls, and a daemon that fails on the day after an
 * upgrade is worse.  What is on it is what breaks out: other processes' memory, the kernel's modules, mounts, namespaces, clocks, keys, and - unless
 * it starts programs - exec. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "lib/base/sandbox_internal.h"

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#define FOREIGN_FROM 0x40000000u /* the x32 calls */
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCHITECTURE AUDIT_ARCH_RISCV64
#endif

#ifndef ARCHITECTURE
void sr_sandbox_seccomp(const struct sr_sandbox *s, struct sr_buf *what)
{
	(void)s;
	sr_sandbox_say(what, "no seccomp (not on this architecture)");
}
#else

static const int refused[] = {
#ifndef __SANITIZE_ADDRESS__ /* its search for leaks stops all threads so */
	SYS_ptrace,
#endif
	SYS_process_vm_readv, SYS_process_vm_writev, SYS_kcmp, SYS_perf_event_open, SYS_bpf, SYS_userfaultfd, SYS_personality,
	SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_reboot, SYS_swapon, SYS_swapoff, SYS_acct, SYS_syslog,
	SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_unshare, SYS_setns, SYS_quotactl, SYS_open_by_handle_at,
	SYS_settimeofday, SYS_clock_settime, SYS_adjtimex, SYS_clock_adjtime, SYS_sethostname, SYS_setdomainname, SYS_vhangup,
	SYS_add_key, SYS_request_key, SYS_keyctl, SYS_fanotify_init, SYS_lookup_dcookie,
#ifdef SYS_kexec_file_load
	SYS_kexec_file_load,
#endif
#ifdef SYS_io_uring_setup
	SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register,
#endif
#ifdef SYS_open_tree
	SYS_open_tree, SYS_move_mount, SYS_fsopen, SYS_fsconfig, SYS_fsmount, SYS_fspick,
#endif
#ifdef SYS_mount_setattr
	SYS_mount_setattr,
#endif
#ifdef SYS_pidfd_getfd
	SYS_pidfd_getfd,
#endif
#ifdef SYS_process_madvise
	SYS_process_madvise,
#endif
#ifdef SYS_iopl
	SYS_iopl, SYS_ioperm,
#endif
#ifdef SYS_modify_ldt
	SYS_modify_ldt,
#endif
#ifdef SYS_uselib
	SYS_uselib, SYS_ustat, SYS_sysfs,
#endif
};
/* HAProxy, which the balancer starts, goes into a directory of its own. */
static const int refused_without_programs[] = {SYS_execve, SYS_execveat};
static const int for_programs[] = {SYS_chroot, SYS_personality, SYS_syslog};

#define MOST 160

struct program {
	struct sock_filter at[MOST];
	unsigned short n;
};

static void add(struct program *p, struct sock_filter step)
{
	if (p->n == MOST)
		abort(); /* a list of the above that has grown */
	p->at[p->n++] = step;
}

static void load(struct program *p, size_t offset)
{
	add(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offset));
}

static void answer(struct program *p, unsigned action)
{
	add(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

static void refuse_if(struct program *p, int number)
{
	add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1));
	answer(p, SECCOMP_RET_ERRNO | EPERM);
}

static bool is_in(int number, const int *list, size_t n)
{
	while (n && list[n - 1] != number)
		n--;
	return n > 0;
}

/* socket(): of the network's families and the local one alone. */
static void add_families(struct program *p)
{
	static const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
	size_t n = sizeof families / sizeof *families;

	add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, (unsigned char)(n + 2)));
	load(p, offsetof(struct seccomp_data, args)); /* its lower half, where numbers begin with that */
	for (size_t i = 0; i < n; i++)
		add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)families[i], (unsigned char)(n - i), 0));
	answer(p, SECCOMP_RET_ERRNO | EAFNOSUPPORT);
	answer(p, SECCOMP_RET_ALLOW);
}

static void fill(struct program *p, bool programs)
{
	load(p, offsetof(struct seccomp_data, arch));
	add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0));
	answer(p, SECCOMP_RET_ERRNO | EPERM);
	load(p, offsetof(struct seccomp_data, nr));
#ifdef FOREIGN_FROM
	add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, FOREIGN_FROM, 0, 1));
	answer(p, SECCOMP_RET_ERRNO | EPERM);
#endif
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
		if (!programs || !is_in(refused[i], for_programs, sizeof for_programs / sizeof *for_programs))
			refuse_if(p, refused[i]);
	for (size_t i = 0; !programs && i < sizeof refused_without_programs / sizeof *refused_without_programs; i++)
		refuse_if(p, refused_without_programs[i]);
	add_families(p);
	answer(p, SECCOMP_RET_ALLOW);
}

void sr_sandbox_seccomp(const struct sr_sandbox *s, struct sr_buf *what)
{
	struct program p = {.n = 0};
	struct sock_fprog filter = {.filter = p.at};

	fill(&p, s->programs);
	filter.len = p.n;
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == 0)
		sr_sandbox_say(what, s->programs ? "seccomp" : "seccomp, no program is started");
	else
		sr_sandbox_say(what, "no seccomp (%s)", strerror(errno));
}
#endif
