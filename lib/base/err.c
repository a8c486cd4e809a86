/* err.c - see err.h. */
#include "lib/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	int exit; /* sysexits.h, or 1 */
	int http;
} statuses[SR_STATUS_COUNT] = {
	[SR_OK] = {"ok", 0, 200},
	[SR_E_USAGE] = {"usage", 64, 400},
	[SR_E_DATA] = {"data", 65, 400},
	[SR_E_NOINPUT] = {"noinput", 66, 404},
	[SR_E_NOTFOUND] = {"notfound", 66, 404},
	[SR_E_GONE] = {"gone", 75, 410},
	[SR_E_CONFLICT] = {"conflict", 75, 409},
	[SR_E_CHANGED] = {"changed", 75, 409},
	[SR_E_AUTH] = {"auth", 77, 401},
	[SR_E_FORBIDDEN] = {"forbidden", 77, 403},
	[SR_E_AGAIN] = {"again", 75, 429},
	[SR_E_LIMIT] = {"limit", 65, 413},
	[SR_E_BUSY] = {"busy", 75, 503},
	[SR_E_UNAVAILABLE] = {"unavailable", 75, 503},
	[SR_E_HELD] = {"held", 1, 409},
	[SR_E_CONFIG] = {"config", 78, 500},
	[SR_E_FULL] = {"full", 74, 507},
	[SR_E_ROOM] = {"room", 74, 507},
	[SR_E_IO] = {"io", 74, 500},
	[SR_E_INTERNAL] = {"internal", 70, 500},
};

/* Names of files may hold newlines; an error is one line all the same. */
static void one_line(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

enum sr_status sr_err_set(struct sr_err *err, enum sr_status code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return code;
	err->code = code;
	err->sys = 0;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	one_line(err->text);
	return code;
}

enum sr_status sr_err_sys(struct sr_err *err, enum sr_status code, const char *fmt, ...)
{
	int sys = errno; /* before anything here can change it */
	char reason[128];
	size_t len;
	va_list ap;

	if (sys == ENOSPC || sys == EDQUOT)
		code = SR_E_FULL;
	if (!err)
		return code;
	err->code = code;
	err->sys = sys;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	len = strlen(err->text);
	snprintf(err->text + len, sizeof(err->text) - len, ": %s", strerror_r(sys, reason, sizeof(reason)));
	one_line(err->text);
	return code;
}

enum sr_status sr_err_context(struct sr_err *err, const char *fmt, ...)
{
	char context[sizeof(err->text)];
	size_t len, room;
	va_list ap;

	if (!err)
		return SR_E_INTERNAL; /* the code went where the text went; such a caller kept its own */
	va_start(ap, fmt);
	vsnprintf(context, sizeof(context) - 2, fmt, ap); /* ": " has room always */
	va_end(ap);
	strcat(context, ": ");
	one_line(context);

	/* What is too long loses its end, never the NUL. */
	len = strlen(context);
	room = sizeof(err->text) - 1 - len;
	if (strlen(err->text) < room)
		room = strlen(err->text);
	memmove(err->text + len, err->text, room);
	memcpy(err->text, context, len);
	err->text[len + room] = '\0';
	return err->code;
}

const char *sr_status_name(enum sr_status code)
{
	return (unsigned)code < SR_STATUS_COUNT ? statuses[code].name : statuses[SR_E_INTERNAL].name;
}

int sr_status_exit(enum sr_status code)
{
	return (unsigned)code < SR_STATUS_COUNT ? statuses[code].exit : statuses[SR_E_INTERNAL].exit;
}

int sr_status_http(enum sr_status code)
{
	return (unsigned)code < SR_STATUS_COUNT ? statuses[code].http : statuses[SR_E_INTERNAL].http;
}

enum sr_status sr_status_from_http(int http)
{
	switch (http) {
	case 304:
		return SR_OK; /* what we have is what it is */
	case 401:
		return SR_E_AUTH;
	case 403:
		return SR_E_FORBIDDEN;
	case 404:
		return SR_E_NOTFOUND;
	case 409:
		return SR_E_CONFLICT;
	case 410:
		return SR_E_GONE;
	case 413:
		return SR_E_LIMIT;
	case 429:
		return SR_E_AGAIN;
	case 500:
		return SR_E_IO;
	case 507:
		return SR_E_FULL;
	}
	if (http >= 200 && http < 300)
		return SR_OK;
	return http >= 500 && http < 600 ? SR_E_UNAVAILABLE : SR_E_DATA;
}
