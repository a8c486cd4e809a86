/* sandbox_landlock.c - the part of a sandbox that is Landlock's: files, ports, signals.
 *
 * The numbers stand here, and not only in linux/landlock.h: a kernel that can more than the headers with which this was built is asked for all of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/sandbox_internal.h"

#define CREATE_RULESET 444 /* on every architecture */
#define ADD_RULE       445
#define RESTRICT_SELF  446
#define ASK_VERSION    1
#define RULE_PATH      1
#define RULE_PORT      2

enum abi { ABI_REFER = 2, ABI_TRUNCATE = 3, ABI_TCP = 4, ABI_IOCTL = 5, ABI_SCOPE = 6 };

#define BIT(n) ((uint64_t)1 << (n))
#define EXECUTE     BIT(0)
#define WRITE_FILE  BIT(1)
#define READ_FILE   BIT(2)
#define READ_DIR    BIT(3)
#define REMOVE      (BIT(4) | BIT(5))
#define MAKE_DIR    BIT(7)
#define MAKE_FILE   BIT(8)
#define MAKE_SOCKET BIT(9)
#define MAKE_LINK   BIT(12)
#define REFER       BIT(13)
#define TRUNCATE    BIT(14)
#define IOCTL       BIT(15)
#define ALL_OF_ABI_2 (BIT(14) - 1)
#define OF_FILES    (EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL) /* the others are of directories */
#define BIND_TCP    BIT(0)
#define SCOPE_ABSTRACT_SOCKETS BIT(0)
#define SCOPE_SIGNALS BIT(1)

struct ruleset {
	uint64_t files, net, scoped;
};
struct path_rule {
	uint64_t allowed;
	int32_t parent;
} __attribute__((packed));
struct port_rule {
	uint64_t allowed, port;
};

static uint64_t bits_of(enum sr_sandbox_right right)
{
	static const uint64_t bits[] = {
		[SR_SANDBOX_READ] = READ_FILE | READ_DIR,
		[SR_SANDBOX_RUN] = READ_FILE | READ_DIR | EXECUTE,
		[SR_SANDBOX_WRITE] = READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE | REMOVE | MAKE_DIR | MAKE_FILE | MAKE_SOCKET | MAKE_LINK | REFER,
	};

	return bits[right];
}

static bool add_path(int ruleset, uint64_t handled, const struct sr_sandbox_path *p)
{
	struct path_rule rule = {.allowed = bits_of(p->right) & handled, .parent = open(p->path, O_PATH | O_CLOEXEC)};
	struct stat st;
	bool good;

	if (rule.parent < 0)
		return true; /* gone in between, or not for us to see */
	if (fstat(rule.parent, &st) == 0 && !S_ISDIR(st.st_mode))
		rule.allowed &= OF_FILES;
	good = syscall(ADD_RULE, ruleset, RULE_PATH, &rule, 0) == 0;
	close(rule.parent);
	return good;
}

static bool add_all(int ruleset, const struct ruleset *r, const struct sr_sandbox *s)
{
	bool good = true;

	for (size_t i = 0; good && i < s->n; i++)
		good = add_path(ruleset, r->files, &s->paths[i]);
	for (size_t i = 0; good && r->net && i < s->ports_n; i++)
		good = syscall(ADD_RULE, ruleset, RULE_PORT, &(struct port_rule){.allowed = BIND_TCP, .port = s->ports[i]}, 0) == 0;
	return good;
}

static struct ruleset ruleset_for(const struct sr_sandbox *s, long abi)
{
	const char *notify = getenv("NOTIFY_SOCKET");
	struct ruleset r = {.files = ALL_OF_ABI_2};

	if (abi >= ABI_TRUNCATE)
		r.files |= TRUNCATE;
	if (abi >= ABI_IOCTL)
		r.files |= IOCTL;
	if (abi >= ABI_TCP && s->ports_n)
		r.net = BIND_TCP;
	if (abi >= ABI_SCOPE && !s->programs) /* a service manager may listen on an abstract socket */
		r.scoped = SCOPE_SIGNALS | (notify && *notify == '@' ? 0 : SCOPE_ABSTRACT_SOCKETS);
	return r;
}

/* As large as the kernel of that ABI knows it. */
static size_t size_for(long abi)
{
	return abi >= ABI_SCOPE ? sizeof(struct ruleset) : abi >= ABI_TCP ? offsetof(struct ruleset, scoped) : offsetof(struct ruleset, net);
}

static bool restrict_self(const struct sr_sandbox *s, long abi)
{
	struct ruleset r = ruleset_for(s, abi);
	int ruleset = (int)syscall(CREATE_RULESET, &r, size_for(abi), 0);
	bool good = ruleset >= 0 && add_all(ruleset, &r, s) && syscall(RESTRICT_SELF, ruleset, 0) == 0;

	if (ruleset >= 0)
		close(ruleset);
	return good;
}

static void say_what(const struct sr_sandbox *s, long abi, struct sr_buf *what)
{
	struct sr_buf ports = {0};
	bool all = false;

	for (size_t i = 0; i < s->n; i++)
		all |= s->paths[i].right == SR_SANDBOX_WRITE && s->paths[i].path[1] == '\0';
	for (size_t i = 0; abi >= ABI_TCP && i < s->ports_n; i++) {
		sr_buf_printf(&ports, i ? ", " : ", its TCP port ");
		if (s->ports[i])
			sr_buf_printf(&ports, "%u", s->ports[i]);
		else
			sr_buf_printf(&ports, "0 (any free one)");
	}
	sr_sandbox_say(what, "Landlock (ABI %ld) for files%s%s%s", abi, all ? " (in vain: what is to be made in / opens all of it)" : "",
		       ports.len ? sr_buf_text(&ports) : "", abi >= ABI_SCOPE && !s->programs ? ", and for signals" : "");
	sr_buf_free(&ports);
}

void sr_sandbox_landlock(struct sr_sandbox *s, struct sr_buf *what)
{
	long abi = syscall(CREATE_RULESET, NULL, 0, ASK_VERSION);

	if (abi < 0)
		sr_sandbox_say(what, "no Landlock (%s)", errno == EOPNOTSUPP ? "it is switched off at the kernel's start" : strerror(errno));
	else if (abi < ABI_REFER) /* it lets nobody rename from one directory to another */
		sr_sandbox_say(what, "no Landlock (this kernel's is of ABI %ld, the first that will do is 2)", abi);
	else if (!restrict_self(s, abi))
		sr_sandbox_say(what, "no Landlock (%s)", strerror(errno));
	else {
		s->files = true;
		say_what(s, abi, what);
	}
}
