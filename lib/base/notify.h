/* notify.h - telling the service manager how this process is, by the protocol of sd_notify(3): a datagram to the socket that NOTIFY_SOCKET
 * names, a path or (with @) an abstract one.
 *
 * What a daemon says, and when:
 *   READY=1      it listens.  Not when its first tree is known: that may take many minutes where a store is large, or for as long as the
 *                datastore is away, and neither is a start that failed.  Who has to know asks /readyz, or the balancer's status.
 *   STATUS=      one line for `systemctl status`, when it changes.
 *   RELOADING=1  at SIGHUP, and READY=1 when that is over, whether the new configuration was taken or not.
 *   STOPPING=1   it was told to stop; and how long that may take, which is configured, whatever the manager's own patience is.
 *
 * Where NOTIFY_SOCKET is not set, or nobody reads the socket, nothing happens: no daemon waits or fails for it.  Thread-safe, as long as
 * nobody changes the environment; each call sends one datagram.  Never logs. */
#ifndef SR_BASE_NOTIFY_H
#define SR_BASE_NOTIFY_H

#include <stdint.h>

#include "lib/base/err.h"

void sr_notify_ready(void);
void sr_notify_reloading(void);
void sr_notify_stopping(uint64_t most_s); /* seconds */
/* Made printable as a line of the log is: a line break would begin another assignment, and what is not UTF-8 is not taken. */
void sr_notify_status(const char *fmt, ...) SR_PRINTF(1, 2);

#endif
