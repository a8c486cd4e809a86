/* sandbox.h - as little as a daemon needs: what this process, and all that it starts from then on, may do.
 *
 *     no new privileges     no program that it starts gets more rights than it has
 *     capabilities          of root's rights those that were asked for, and no others, for good
 *     Landlock (ABI 2)      files: only below the paths that were allowed; TCP (ABI 4): only the ports that were allowed are listened on;
 *                           signals (ABI 6): only to its own, of one that starts no programs
 *     seccomp               no system call that no daemon of ours makes: it fails with EPERM, nobody is ended
 *     core files            none
 *
 * What a kernel does not have, or does not let, is left out and told.  Landlock and seccomp hold for the calling thread and what it starts: so it is
 * done before there are others.  Allowing is by the file that is there: of what may be replaced or mounted the directory is allowed.
 *
 * Not thread-safe but for sr_sandbox_covers, once entered.  Never logs. */
#ifndef SR_BASE_SANDBOX_H
#define SR_BASE_SANDBOX_H

#include "lib/base/bytes.h"

enum sr_sandbox_right {
	SR_SANDBOX_READ,
	SR_SANDBOX_RUN,   /* read, and start programs that lie there */
	SR_SANDBOX_WRITE, /* read, write, make and remove files, directories, links and sockets */
};

struct sr_sandbox; /* opaque */
struct sr_sandbox *sr_sandbox_new(void);
void sr_sandbox_free(struct sr_sandbox *s); /* CONSUMES; NULL is a no-op.  What was entered stays */

/* What is below that path, or if it is not there yet, below the next directory above it that is; and where it is or goes through links, where these lead,
 * too.  COPIES. */
void sr_sandbox_allow(struct sr_sandbox *s, const char *path, enum sr_sandbox_right right);
/* Of what is there now only. */
void sr_sandbox_allow_there(struct sr_sandbox *s, const char *path, enum sr_sandbox_right right);
/* Listening on that port.  0: a free one.  Once never said: on any. */
void sr_sandbox_allow_port(struct sr_sandbox *s, uint16_t port);
/* A capability of root's, as in linux/capability.h. */
void sr_sandbox_keep(struct sr_sandbox *s, int capability);
/* It starts programs. */
void sr_sandbox_allow_programs(struct sr_sandbox *s);

/* Do it.  `what` is told what is on and what is not, in one line for the log. */
void sr_sandbox_enter(struct sr_sandbox *s, struct sr_buf *what);
/* Does what was allowed cover that path?  Not entered, or a kernel that does not restrict files: yes. */
bool sr_sandbox_covers(const struct sr_sandbox *s, const char *path, enum sr_sandbox_right right);

#endif
