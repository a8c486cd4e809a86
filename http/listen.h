/* listen.h - a listening TCP socket, and texts of addresses.  Thread-safe: there is no state. */
#ifndef SR_HTTP_LISTEN_H
#define SR_HTTP_LISTEN_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "lib/base/bytes.h"

/* Non-blocking and close-on-exec.  address NULL or "": all interfaces, IPv4 and IPv6 where the machine has it.  SR_E_BUSY: taken; SR_E_CONFIG:
 * no such address.  *fd OWNED BY CALLER. */
SR_MUST enum sr_status sr_listen(const char *address, uint16_t port, int *fd, struct sr_err *err);

/* "192.0.2.7", "2001:db8::7"; an IPv4 client of an IPv6 socket is shown as IPv4.  OWNED BY CALLER (free). */
char *sr_address_text(const struct sockaddr *addr);

/* The bound address: "[::]:9405" (OWNED BY CALLER) and its port. */
char *sr_listen_text(int fd, uint16_t *port);

#endif
