/* sandbox.c - see sandbox.h: what is allowed, and the order in which it is entered. */
#include "lib/base/sandbox.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "lib/base/location.h"
#include "lib/base/sandbox_internal.h"

struct sr_sandbox *sr_sandbox_new(void)
{
	return sr_alloc(sizeof(struct sr_sandbox));
}

void sr_sandbox_free(struct sr_sandbox *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n; i++)
		free(s->paths[i].path);
	free(s->paths);
	free(s);
}

/* Cut it to what is there: the root always is. */
static void cut_to_there(char *path)
{
	struct stat st;

	while (path[1] && stat(path, &st) != 0) {
		char *slash = strrchr(path, '/');

		slash[slash == path] = '\0';
	}
}

void sr_sandbox_allow(struct sr_sandbox *s, const char *path, enum sr_sandbox_right right)
{
	char *there = sr_strdup(path);

	cut_to_there(there);
	s->paths = sr_realloc(s->paths, (s->n + 1) * sizeof *s->paths);
	s->paths[s->n++] = (struct sr_sandbox_path){.path = there, .right = right};
}

void sr_sandbox_allow_there(struct sr_sandbox *s, const char *path, enum sr_sandbox_right right)
{
	struct stat st;

	if (stat(path, &st) == 0)
		sr_sandbox_allow(s, path, right);
}

void sr_sandbox_allow_port(struct sr_sandbox *s, uint16_t port)
{
	if (s->ports_n < sizeof s->ports / sizeof *s->ports)
		s->ports[s->ports_n++] = port;
}

void sr_sandbox_keep(struct sr_sandbox *s, int capability)
{
	s->keep |= (uint64_t)1 << capability;
}

void sr_sandbox_allow_programs(struct sr_sandbox *s)
{
	s->programs = true;
}

void sr_sandbox_say(struct sr_buf *what, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	sr_buf_printf(what, "%s%s", what->len ? "; " : "", text);
}

/* The memory of who holds secrets and users' password hashes is not for a file, nor for who gathers such files; and for good. */
static void leave_no_core(struct sr_buf *what)
{
	struct rlimit limit = {0, 0};

	(void)!setrlimit(RLIMIT_CORE, &limit); /* a service manager may not let us, and have done it */
	if (getrlimit(RLIMIT_CORE, &limit) == 0)
		sr_sandbox_say(what, limit.rlim_max ? "core files as they were" : "no core file");
}

void sr_sandbox_enter(struct sr_sandbox *s, struct sr_buf *what)
{
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); /* without it the two others are for root alone */
	sr_sandbox_landlock(s, what);
	sr_sandbox_capabilities(s, what);
	sr_sandbox_seccomp(s, what);
	leave_no_core(what);
}

/* Some of it allows one thing, some of it another: each is there to read. */
static bool is_enough(enum sr_sandbox_right given, enum sr_sandbox_right wanted)
{
	return given == wanted || wanted == SR_SANDBOX_READ;
}

bool sr_sandbox_covers(const struct sr_sandbox *s, const char *path, enum sr_sandbox_right right)
{
	struct sr_location at;
	bool covered = !s->files;

	if (covered)
		return true;
	at = sr_location(path);
	for (size_t i = 0; !covered && i < s->n; i++) {
		struct sr_location allowed = sr_location(s->paths[i].path);

		covered = is_enough(s->paths[i].right, right) && sr_location_in(&at, &allowed);
		sr_location_free(&allowed);
	}
	sr_location_free(&at);
	return covered;
}
