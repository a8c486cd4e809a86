/* sandbox_internal.h - the three parts of a sandbox, by the kernel's own interfaces.  Private to sandbox*.c. */
#ifndef SR_BASE_SANDBOX_INTERNAL_H
#define SR_BASE_SANDBOX_INTERNAL_H

#include "lib/base/sandbox.h"

struct sr_sandbox_path {
	char *path; /* that is there; OWNED */
	enum sr_sandbox_right right;
};

struct sr_sandbox {
	struct sr_sandbox_path *paths;
	size_t n;
	uint16_t ports[4];
	size_t ports_n;
	uint64_t keep; /* bits of capabilities */
	bool programs;
	bool files; /* entered, and the kernel restricts files */
};

/* Each does its part and adds what it came to, with "; " before it unless it is the first. */
void sr_sandbox_landlock(struct sr_sandbox *s, struct sr_buf *what);
void sr_sandbox_capabilities(const struct sr_sandbox *s, struct sr_buf *what);
void sr_sandbox_seccomp(const struct sr_sandbox *s, struct sr_buf *what);
void sr_sandbox_say(struct sr_buf *what, const char *fmt, ...) SR_PRINTF(2, 3);

#endif
