/* progress_line.c - see progress_line.h. */
#include "lib/admin/progress_line.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/door.h"
#include "lib/base/wait.h"

#define PATIENCE_MS 2000 /* shorter rounds show nothing */
#define EVERY_MS    500
#define PAUSE_MS    1000 /* between two things of one round nothing is under way for less than this */

struct sr_progress_line {
	int fd;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct sr_progress now;     /* as last told */
	int64_t round_ms, began_ms; /* when the round, and what is under way, began */
	int64_t ended_ms;
	bool drawn, stop, running;
};

/* --- the text ------------------------------------------------------------------------------------------------------------- */

static double megabytes(uint64_t bytes)
{
	return (double)bytes / 1e6;
}

static double share(uint64_t done, uint64_t total)
{
	return total && done < total ? (double)done / (double)total : 1;
}

/* Of many small things the items count, of few large ones the bytes: what is further behind. */
static void print_left(struct sr_buf *out, const struct sr_progress *p, int64_t ms)
{
	double items = share(p->leaves_done, p->leaves_total), bytes = share(p->bytes_done, p->bytes_total);
	double done = items < bytes ? items : bytes;
	uint64_t s;

	if (done <= 0 || done >= 1)
		return;
	s = (uint64_t)((double)ms / 1000 * (1 - done) / done + 0.5);
	if (s >= 3600)
		sr_buf_printf(out, ", %" PRIu64 ":%02" PRIu64 ":%02" PRIu64 " left", s / 3600, s / 60 % 60, s % 60);
	else
		sr_buf_printf(out, ", %" PRIu64 ":%02" PRIu64 " left", s / 60, s % 60);
}

void sr_progress_text(struct sr_buf *out, const struct sr_progress *p, int64_t ms)
{
	double seconds = ms > 0 ? (double)ms / 1000 : 0.001;

	sr_buf_printf(out, "%s", p->what);
	if (p->leaves_total)
		sr_buf_printf(out, ": %" PRIu64 " of %" PRIu64 " items", p->leaves_done, p->leaves_total);
	if (p->bytes_total)
		sr_buf_printf(out, ", %.1f of %.1f MB, %.1f MB/s", megabytes(p->bytes_done), megabytes(p->bytes_total),
			      megabytes(p->bytes_done) / seconds);
	else if (p->bytes_done) /* nobody knows of how many */
		sr_buf_printf(out, ": %.1f MB, %.1f MB/s", megabytes(p->bytes_done), megabytes(p->bytes_done) / seconds);
	if (p->leaves_total && p->leaves_done >= p->leaves_total)
		sr_buf_printf(out, ", waiting for the end");
	print_left(out, p, ms);
}

/* --- the line ------------------------------------------------------------------------------------------------------------- */

static size_t columns_of(int fd)
{
	struct winsize size;

	return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1u : 79;
}

/* The cursor goes back to the start, so that whoever writes next writes over it. */
static void draw(struct sr_progress_line *line, const struct sr_progress *p, int64_t ms)
{
	struct sr_buf text = {0}, out = {0};

	if (p)
		sr_progress_text(&text, p, ms);
	if (text.len > columns_of(line->fd))
		text.len = columns_of(line->fd);
	sr_buf_printf(&out, "\r\033[K");
	sr_buf_bytes(&out, sr_buf_view(&text));
	if (p)
		sr_buf_byte(&out, '\r');
	if (write(line->fd, out.at, out.len) < 0)
		line->stop = true; /* the terminal is gone */
	line->drawn = p != NULL;
	sr_buf_free(&text);
	sr_buf_free(&out);
}

static void *run(void *arg)
{
	struct sr_progress_line *line = arg;

	pthread_mutex_lock(&line->lock);
	while (!line->stop) {
		int64_t now = sr_ticks_ms();
		struct timespec until;

		if (line->now.what && now - line->round_ms >= PATIENCE_MS)
			draw(line, &line->now, now - line->began_ms);
		else if (!line->now.what && line->drawn)
			draw(line, NULL, 0);
		until = sr_after_ms(EVERY_MS);
		if (line->now.what || line->drawn)
			pthread_cond_timedwait(&line->wake, &line->lock, &until);
		else
			pthread_cond_wait(&line->wake, &line->lock);
	}
	if (line->drawn)
		draw(line, NULL, 0);
	pthread_mutex_unlock(&line->lock);
	return NULL;
}

bool sr_progress_line_wanted(int fd, bool json)
{
	return !json && isatty(fd);
}

struct sr_progress_line *sr_progress_line_new(int fd)
{
	struct sr_progress_line *line = sr_alloc(sizeof *line);

	line->fd = fd;
	line->ended_ms = -PAUSE_MS;
	pthread_mutex_init(&line->lock, NULL);
	sr_cond_init(&line->wake);
	line->running = pthread_create(&line->thread, NULL, run, line) == 0; /* else there is no line */
	return line;
}

void sr_progress_line_show(void *ctx, const struct sr_progress *p)
{
	struct sr_progress_line *line = ctx;
	bool begins, ends;

	pthread_mutex_lock(&line->lock);
	begins = p->what && (p->what != line->now.what || p->leaves_done < line->now.leaves_done);
	ends = !p->what && line->now.what;
	if (begins || ends) {
		int64_t now = sr_ticks_ms();

		if (begins && !line->now.what && now - line->ended_ms >= PAUSE_MS)
			line->round_ms = now;
		*(begins ? &line->began_ms : &line->ended_ms) = now;
		pthread_cond_signal(&line->wake);
	}
	line->now = *p;
	pthread_mutex_unlock(&line->lock);
}

void sr_progress_line_free(struct sr_progress_line *line)
{
	if (!line)
		return;
	pthread_mutex_lock(&line->lock);
	line->stop = true;
	pthread_cond_signal(&line->wake);
	pthread_mutex_unlock(&line->lock);
	if (line->running)
		pthread_join(line->thread, NULL);
	pthread_cond_destroy(&line->wake);
	pthread_mutex_destroy(&line->lock);
	free(line);
}
