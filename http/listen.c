/* listen.c - see listen.h. */
#include "http/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int bind_one(const struct addrinfo *ai)
{
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, off = 0, saved;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (!bind(fd, ai->ai_addr, ai->ai_addrlen) && !listen(fd, 511))
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static enum sr_status bind_name(const char *name, const char *port, int *fd, struct sr_err *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV }, *list;
	int rc = getaddrinfo(name, port, &hints, &list), got = -1;

	if (rc)
		return sr_err_set(err, SR_E_CONFIG, "listen on %s: %s", name, gai_strerror(rc));
	for (struct addrinfo *ai = list; ai && got < 0; ai = ai->ai_next)
		got = bind_one(ai);
	if (got < 0)
		sr_err_sys(err, errno == EADDRINUSE ? SR_E_BUSY : SR_E_CONFIG, "listen on %s port %s", name, port);
	freeaddrinfo(list);
	if (got < 0)
		return err ? err->code : SR_E_CONFIG;
	*fd = got;
	return SR_OK;
}

enum sr_status sr_listen(const char *address, uint16_t port, int *fd, struct sr_err *err)
{
	struct sr_err local;
	char text[8];
	enum sr_status status;

	err = err ? err : &local;
	snprintf(text, sizeof(text), "%u", port);
	if (address && *address)
		return bind_name(address, text, fd, err);
	status = bind_name("::", text, fd, err);
	if (status && status != SR_E_BUSY) /* a machine without IPv6 */
		status = bind_name("0.0.0.0", text, fd, err);
	return status;
}

char *sr_address_text(const struct sockaddr *addr)
{
	const struct sockaddr_in6 *six = (const void *)addr;
	char text[INET6_ADDRSTRLEN] = "unknown";

	if (addr && addr->sa_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)addr)->sin_addr, text, sizeof(text));
	else if (addr && addr->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
		inet_ntop(AF_INET, six->sin6_addr.s6_addr + 12, text, sizeof(text));
	else if (addr && addr->sa_family == AF_INET6)
		inet_ntop(AF_INET6, &six->sin6_addr, text, sizeof(text));
	return sr_strdup(text);
}

char *sr_listen_text(int fd, uint16_t *port)
{
	struct sockaddr_storage addr = { 0 };
	socklen_t len = sizeof(addr);
	char *host, *text;

	getsockname(fd, (struct sockaddr *)&addr, &len);
	host = sr_address_text((struct sockaddr *)&addr);
	*port = ntohs(addr.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&addr)->sin6_port : ((struct sockaddr_in *)&addr)->sin_port);
	text = sr_format(addr.ss_family == AF_INET6 ? "[%s]:%u" : "%s:%u", host, *port);
	free(host);
	return text;
}
