/* log.c - see log.h.
 *
 * Text:             2026-11-22T06:30:00.120Z info sameroot-sync: in sync at seq 42
 * under systemd:    <6>in sync at seq 42          (the journal adds time and program, and reads the level from <N>)
 * JSON:             {"time":"2026-11-22T06:30:00.120Z","level":"info","program":"sameroot-sync","message":"in sync at seq 42"}
 *
 * Control characters and what is not UTF-8 are written as \n, \t and \xNN: a file's name cannot forge a line. */
#include "lib/base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/door.h"

static const struct {
	const char *name;
	int syslog; /* sd-daemon(3) */
} levels[] = {
	[SR_LOG_DEBUG] = {"debug", 7},
	[SR_LOG_INFO] = {"info", 6},
	[SR_LOG_WARN] = {"warn", 4},
	[SR_LOG_ERROR] = {"error", 3},
};

/* Process-wide as stderr itself is. */
static struct {
	pthread_mutex_t lock;
	char program[64];
	bool json, journal;
	_Atomic enum sr_log_level least; /* read without the lock, so that a silent sr_debug() costs nothing */
} setup = {.lock = PTHREAD_MUTEX_INITIALIZER, .program = "sameroot", .least = SR_LOG_INFO};

/* JOURNAL_STREAM is inherited: it is about us only if it names what our stderr is. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev &&
	       st.st_ino == ino;
}

void sr_log_setup(const char *program, enum sr_log_level least, bool json)
{
	pthread_mutex_lock(&setup.lock);
	snprintf(setup.program, sizeof(setup.program), "%s", program);
	setup.least = least;
	setup.json = json;
	setup.journal = stderr_is_journal();
	pthread_mutex_unlock(&setup.lock);
}

/* The length of the UTF-8 sequence at the front of b; 0: none. */
static size_t sequence(struct sr_bytes b)
{
	for (size_t n = 1; n <= 4 && n <= b.len; n++)
		if (sr_utf8_valid(sr_bytes(b.at, n)))
			return n;
	return 0;
}

void sr_log_printable(struct sr_buf *out, struct sr_bytes in, bool json)
{
	const char *escape = json ? "\\\\" : "\\";

	while (in.len) {
		size_t n = sequence(in);
		uint8_t c = in.at[0];

		if (c == '\n' || c == '\t')
			sr_buf_printf(out, "%s%c", escape, c == '\n' ? 'n' : 't');
		else if (n == 0 || c < 0x20 || c == 0x7f)
			sr_buf_printf(out, "%sx%02x", escape, c);
		else if (json && (c == '"' || c == '\\'))
			sr_buf_printf(out, "\\%c", c);
		else
			sr_buf_add(out, in.at, n);
		n = n ? n : 1;
		in = sr_bytes(in.at + n, in.len - n);
	}
}

static void add_time(struct sr_buf *out)
{
	int64_t now = sr_now_ms();
	time_t seconds = (time_t)(now / 1000);
	struct tm utc;
	char text[32];

	gmtime_r(&seconds, &utc);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
	sr_buf_printf(out, "%s.%03dZ", text, (int)(now % 1000));
}

static void add_line(struct sr_buf *out, enum sr_log_level level, struct sr_bytes message)
{
	if (setup.json) {
		sr_buf_printf(out, "{\"time\":\"");
		add_time(out);
		sr_buf_printf(out, "\",\"level\":\"%s\",\"program\":\"", levels[level].name);
		sr_log_printable(out, sr_bytes_of(setup.program), true);
		sr_buf_printf(out, "\",\"message\":\"");
		sr_log_printable(out, message, true);
		sr_buf_printf(out, "\"}\n");
		return;
	}
	if (setup.journal) {
		sr_buf_printf(out, "<%d>", levels[level].syslog);
	} else {
		add_time(out);
		sr_buf_printf(out, " %s %s: ", levels[level].name, setup.program);
	}
	sr_log_printable(out, message, false);
	sr_buf_byte(out, '\n');
}

static void write_all(struct sr_bytes line)
{
	while (line.len) {
		ssize_t n = write(STDERR_FILENO, line.at, line.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* nobody listens; the work goes on */
		line = sr_bytes(line.at + n, line.len - (size_t)n);
	}
}

void sr_log(enum sr_log_level level, const char *fmt, ...)
{
	int kept = errno; /* a log line in an error path must not change the error */
	struct sr_buf line = {0};
	char *message;
	va_list ap;

	if (level < setup.least)
		return;
	va_start(ap, fmt);
	if (vasprintf(&message, fmt, ap) < 0)
		message = sr_strdup("(a message that could not be formatted)");
	va_end(ap);
	pthread_mutex_lock(&setup.lock);
	add_line(&line, level, sr_bytes_of(message));
	write_all(sr_buf_view(&line));
	pthread_mutex_unlock(&setup.lock);
	sr_buf_free(&line);
	free(message);
	errno = kept;
}
