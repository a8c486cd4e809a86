/* sandbox_capabilities.c - the part of a sandbox that is about root's rights.  The kernel's interface is small enough to do without libcap. */
#include <linux/capability.h>
#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/sandbox_internal.h"

#define MOST 64

static const char *const names[] = {
	[CAP_CHOWN] = "chown", [CAP_DAC_OVERRIDE] = "dac_override", [CAP_DAC_READ_SEARCH] = "dac_read_search", [CAP_FOWNER] = "fowner",
	[CAP_KILL] = "kill", [CAP_SETGID] = "setgid", [CAP_SETUID] = "setuid", [CAP_NET_BIND_SERVICE] = "net_bind_service",
	[CAP_SYS_CHROOT] = "sys_chroot", [CAP_SYS_RESOURCE] = "sys_resource",
};

static bool get(uint64_t *permitted, uint64_t *inheritable)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};

	if (syscall(SYS_capget, &head, data) != 0)
		return false;
	*permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
	*inheritable = data[0].inheritable | (uint64_t)data[1].inheritable << 32;
	return true;
}

/* The ambient ones, which programs that are started by who is not root have, go with the inheritable ones. */
static bool set(uint64_t bits, uint64_t inheritable)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {
		{.effective = (uint32_t)bits, .permitted = (uint32_t)bits, .inheritable = (uint32_t)inheritable},
		{.effective = (uint32_t)(bits >> 32), .permitted = (uint32_t)(bits >> 32), .inheritable = (uint32_t)(inheritable >> 32)},
	};

	return syscall(SYS_capset, &head, data) == 0;
}

static void say_what(uint64_t bits, struct sr_buf *what)
{
	struct sr_buf list = {0};

	for (size_t i = 0; i < MOST; i++)
		if (bits >> i & 1)
			sr_buf_printf(&list, "%s%s", list.len ? " " : "", i < sizeof names / sizeof *names && names[i] ? names[i] : "another");
	sr_sandbox_say(what, "of root's capabilities %s", list.len ? sr_buf_text(&list) : "none");
	sr_buf_free(&list);
}

void sr_sandbox_capabilities(const struct sr_sandbox *s, struct sr_buf *what)
{
	uint64_t had = 0, handed_on = 0;

	if (!get(&had, &handed_on)) {
		sr_sandbox_say(what, "capabilities as they were (%s)", strerror(errno));
		return;
	}
	/* Those that programs which it starts could get back: only who has CAP_SETPCAP may drop them, and who has not got none. */
	for (int i = 0; i < MOST && prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++)
		if (!(s->keep >> i & 1))
			prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
	if (set(had & s->keep, handed_on & s->keep))
		say_what(had & s->keep, what);
	else
		sr_sandbox_say(what, "capabilities as they were (%s)", strerror(errno));
}
