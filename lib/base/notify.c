/* notify.c - see notify.h. */
#include "lib/base/notify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/log.h"

#define SLACK_S 15 /* beyond what a stop may take, for a process to be gone */

/* The address that NOTIFY_SOCKET names; 0: none that is one. */
static socklen_t address(struct sockaddr_un *out)
{
	const char *name = getenv("NOTIFY_SOCKET");
	size_t len = name ? strlen(name) : 0;

	if (len < 2 || len >= sizeof out->sun_path || (name[0] != '/' && name[0] != '@'))
		return 0;
	*out = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(out->sun_path, name, len);
	if (name[0] == '@')
		out->sun_path[0] = '\0';
	/* of an abstract one each byte counts; a path ends with its NUL */
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (name[0] == '/'));
}

static void tell(const char *text)
{
	struct sockaddr_un to;
	socklen_t len = address(&to);
	int fd = len ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;

	if (fd < 0)
		return;
	/* Not waiting for a manager that does not read: it is only told. */
	(void)!sendto(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT, (const struct sockaddr *)&to, len);
	close(fd);
}

void sr_notify_ready(void)
{
	tell("READY=1");
}

void sr_notify_reloading(void)
{
	struct timespec now;
	char text[80];

	clock_gettime(CLOCK_MONOTONIC, &now);
	/* The time is asked for by Type=notify-reload, and ignored by managers that do not know it. */
	snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
	tell(text);
}

void sr_notify_stopping(uint64_t most_s)
{
	char text[80];

	snprintf(text, sizeof text, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRIu64, (most_s + SLACK_S) * 1000000);
	tell(text);
}

void sr_notify_status(const char *fmt, ...)
{
	struct sr_buf out = {0};
	va_list args;
	char *text;
	int n;

	va_start(args, fmt);
	n = vasprintf(&text, fmt, args);
	va_end(args);
	if (n < 0)
		return;
	sr_buf_printf(&out, "STATUS=");
	sr_log_printable(&out, sr_bytes_of(text), false);
	tell(sr_buf_text(&out));
	sr_buf_free(&out);
	free(text);
}
