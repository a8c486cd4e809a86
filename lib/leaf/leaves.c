/* leaves.c - the spool of leaves.  See leaf.h.
 *
 * A leaf is a frame: be32 length, encoded leaf.  Frames follow each other in the file (the first `filed` bytes) and then in
 * `tail`, which goes to the file whenever it has passed 1 MiB; no frame lies across the two.  `at` holds where each begins.
 *
 * Sorting writes the spool anew: leaves are taken in runs that fit into memory, each run is sorted, and all runs are merged at once with a heap.
 * So all is read and written in order, twice whatever the number of runs, and whoever goes through the leaves afterwards reads in order, too. */
#include "lib/leaf/leaf.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"

#define TAIL_MAX (1u << 20)
#define WINDOW_LEAST 1024    /* bytes read from the file at once: one small leaf, somewhere ... */
#define WINDOW_MOST 65536    /* ... and many in a row */
#define FRAME_HEAD 4
#define LENGTH_MOST 10       /* bytes of a varint */
#define RUN_BYTES (8u << 20) /* of frames that a run's sort holds */

struct sr_leaves {
	char *dir; /* or NULL */
	int fd;    /* -1: not spilled yet */
	uint64_t filed;
	struct sr_buf tail;
	uint64_t *at;
	size_t n, cap;
	size_t last;          /* what sr_leaves_find found, where it looks first */
	struct sr_buf window; /* a piece of the file, from window_at on */
	uint64_t window_at;
};

struct sr_leaves *sr_leaves_new(const char *dir)
{
	struct sr_leaves *l = sr_alloc(sizeof(*l));

	l->dir = dir ? sr_strdup(dir) : NULL;
	l->fd = -1;
	return l;
}

void sr_leaves_free(struct sr_leaves *l)
{
	if (!l)
		return;
	if (l->fd >= 0)
		close(l->fd);
	free(l->dir);
	free(l->at);
	sr_buf_free(&l->tail);
	sr_buf_free(&l->window);
	free(l);
}

size_t sr_leaves_count(const struct sr_leaves *l)
{
	return l->n;
}

/* ---- adding ---- */

/* Move the tail to the file.  On failure what was written of it is written over the next time. */
static enum sr_status spill(struct sr_leaves *l, struct sr_err *err)
{
	if (l->fd < 0)
		l->fd = sr_file_unlinked(l->dir);
	if (l->fd < 0)
		return sr_err_sys(err, SR_E_IO, "%s: spool", l->dir);
	for (size_t done = 0; done < l->tail.len;) {
		ssize_t n = pwrite(l->fd, l->tail.at + done, l->tail.len - done, (off_t)(l->filed + done));

		if (n < 0 && errno != EINTR)
			return sr_err_sys(err, SR_E_IO, "%s: spool", l->dir);
		done += n > 0 ? (size_t)n : 0;
	}
	l->filed += l->tail.len;
	if (l->tail.cap > 2 * TAIL_MAX)
		sr_buf_free(&l->tail); /* a giant went through */
	sr_buf_clear(&l->tail);
	return SR_OK;
}

static enum sr_status room_in_tail(struct sr_leaves *l, struct sr_err *err)
{
	return l->dir && l->tail.len > TAIL_MAX ? spill(l, err) : SR_OK;
}

/* Of the frame that begins there in the tail. */
static void note_place(struct sr_leaves *l, size_t start)
{
	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 64;
		l->at = sr_realloc(l->at, l->cap * sizeof(*l->at));
	}
	l->at[l->n++] = l->filed + start;
}

static void put_be32(uint8_t *at, uint32_t v)
{
	for (int i = 0; i < FRAME_HEAD; i++)
		at[i] = (uint8_t)(v >> (24 - 8 * i));
}

enum sr_status sr_leaves_add(struct sr_leaves *l, const struct sr_leaf *leaf, struct sr_err *err)
{
	enum sr_status rc = room_in_tail(l, err);
	size_t start;

	if (rc)
		return rc;
	start = l->tail.len;
	sr_buf_be32(&l->tail, 0);
	sr_leaf_encode(&l->tail, leaf);
	if (l->tail.len - start - FRAME_HEAD > UINT32_MAX) {
		l->tail.len = start;
		return sr_err_set(err, SR_E_LIMIT, "a leaf of over 4 GiB");
	}
	put_be32(l->tail.at + start, (uint32_t)(l->tail.len - start - FRAME_HEAD));
	note_place(l, start);
	return SR_OK;
}

/* ---- reading ---- */

/* How much to read at `at`: more and more as long as reading goes on where the window ends. */
static size_t window_size(const struct sr_leaves *l, uint64_t at)
{
	uint64_t end = l->window_at + l->window.len;
	bool goes_on = l->window.len && at >= l->window_at && at <= end;

	if (!goes_on)
		return WINDOW_LEAST;
	return l->window.len < WINDOW_MOST / 2 ? 2 * l->window.len : WINDOW_MOST;
}

/* At least `need` bytes of the file at `at`, in the window. */
static enum sr_status look_at_file(struct sr_leaves *l, uint64_t at, size_t need, const uint8_t **out, struct sr_err *err)
{
	size_t want = window_size(l, at);

	if (want < need)
		want = need;
	if (at < l->window_at || at + need > l->window_at + l->window.len) {
		sr_buf_clear(&l->window);
		sr_buf_room(&l->window, want);
		l->window_at = at;
		if (want > l->filed - at)
			want = (size_t)(l->filed - at);
	} else {
		want = 0;
	}
	while (l->window.len < want) {
		ssize_t n = pread(l->fd, l->window.at + l->window.len, want - l->window.len, (off_t)(at + l->window.len));

		if (n == 0)
			return sr_err_set(err, SR_E_IO, "%s: spool cut short", l->dir);
		if (n < 0 && errno != EINTR)
			return sr_err_sys(err, SR_E_IO, "%s: spool", l->dir);
		l->window.len += n > 0 ? (size_t)n : 0;
	}
	*out = l->window.at + (at - l->window_at);
	return SR_OK;
}

static size_t get_be32(const uint8_t *at)
{
	return (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];
}

/* The encoded leaf at `at`, VALID UNTIL the window moves or the tail changes. */
static enum sr_status encoded_at(struct sr_leaves *l, uint64_t at, struct sr_bytes *out, struct sr_err *err)
{
	const uint8_t *frame;
	enum sr_status rc;

	if (at >= l->filed) {
		frame = l->tail.at + (at - l->filed);
	} else {
		rc = look_at_file(l, at, FRAME_HEAD, &frame, err);
		if (!rc)
			rc = look_at_file(l, at, FRAME_HEAD + get_be32(frame), &frame, err);
		if (rc)
			return rc;
	}
	*out = sr_bytes(frame + FRAME_HEAD, get_be32(frame));
	return SR_OK;
}

enum sr_status sr_leaves_at(struct sr_leaves *l, size_t i, struct sr_leaf *out, struct sr_err *err)
{
	struct sr_bytes encoded;
	enum sr_status rc;

	assert(i < l->n);
	rc = encoded_at(l, l->at[i], &encoded, err);
	return rc ? rc : sr_leaf_decode_own(encoded, out, err);
}

enum sr_status sr_leaves_next(struct sr_leaves *l, size_t *at, struct sr_leaf *out, bool *more, struct sr_err *err)
{
	enum sr_status rc = *at < l->n ? sr_leaves_at(l, *at, out, err) : SR_OK;

	*more = rc == SR_OK && *at < l->n;
	*at += *more;
	return rc;
}

/* Where `path` can be.  What is looked for comes in order, or nearly so, and some of it twice: look ahead, further each time, from the one found last. */
static enum sr_status narrow(struct sr_leaves *l, struct sr_bytes path, size_t *low, size_t *high, struct sr_err *err)
{
	struct sr_leaf leaf;

	*low = 0;
	*high = l->n;
	for (size_t at = l->last, step = 1; at < *high; at += step, step *= 2) {
		enum sr_status rc = sr_leaves_at(l, at, &leaf, err);
		int order = rc == SR_OK ? sr_bytes_cmp(leaf.path, path) : 0;

		if (rc != SR_OK)
			return rc;
		if (order <= 0)
			*low = at;
		if (order >= 0)
			*high = at + 1;
	}
	return SR_OK;
}

enum sr_status sr_leaves_find(struct sr_leaves *l, struct sr_bytes path, size_t *at, struct sr_leaf *out, struct sr_err *err)
{
	size_t low, high;
	enum sr_status narrowed = narrow(l, path, &low, &high, err);

	if (narrowed != SR_OK)
		return narrowed;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		enum sr_status rc = sr_leaves_at(l, middle, out, err);
		int order = rc == SR_OK ? sr_bytes_cmp(out->path, path) : 0;

		if (rc != SR_OK)
			return rc;
		if (order == 0) {
			*at = middle;
			l->last = middle;
			return SR_OK;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*at = sr_leaves_count(l);
	return SR_OK;
}

/* ---- sorting ---- */

struct keyed {
	uint64_t first; /* eight bytes of the path, behind what all paths of the run begin with */
	struct sr_bytes path;
	struct sr_bytes frame; /* with its head */
};

static int by_path(const void *a, const void *b)
{
	const struct keyed *x = a, *y = b;

	return x->first != y->first ? (x->first < y->first ? -1 : 1) : sr_bytes_cmp(x->path, y->path);
}

/* Most comparisons are decided by these: in a spool of rows all paths begin with the same table. */
static void set_first(struct keyed *keys, size_t n)
{
	size_t same = keys[0].path.len;

	for (size_t i = 1; i < n && same; i++) {
		if (keys[i].path.len < same)
			same = keys[i].path.len;
		while (same && memcmp(keys[i].path.at, keys[0].path.at, same) != 0)
			same--;
	}
	for (size_t i = 0; i < n; i++)
		for (size_t k = same, end = same + sizeof keys[i].first; k < end; k++)
			keys[i].first = keys[i].first << 8 | (k < keys[i].path.len ? keys[i].path.at[k] : 0);
}

/* The path stands first in a leaf. */
static struct sr_bytes path_of(struct sr_bytes encoded)
{
	struct sr_reader r = sr_reader(encoded);

	return sr_read_string(&r);
}

static enum sr_status path_at(struct sr_leaves *l, uint64_t at, struct sr_bytes *out, struct sr_err *err)
{
	struct sr_bytes encoded;
	enum sr_status rc = encoded_at(l, at, &encoded, err);

	if (!rc)
		*out = path_of(encoded);
	return rc;
}

static enum sr_status two_of_one(struct sr_bytes path, struct sr_err *err)
{
	struct sr_buf text = {0};

	sr_percent(&text, sr_bytes(path.at, path.len < 200 ? path.len : 200), NULL);
	sr_err_set(err, SR_E_DATA, "path %s: two leaves", sr_buf_text(&text));
	sr_buf_free(&text);
	return SR_E_DATA;
}

static enum sr_status add_frame(struct sr_leaves *l, struct sr_bytes frame, struct sr_err *err)
{
	enum sr_status rc = room_in_tail(l, err);

	if (rc)
		return rc;
	note_place(l, l->tail.len);
	sr_buf_bytes(&l->tail, frame);
	return SR_OK;
}

/* The leaves from `first` on whose frames fit into RUN_BYTES, or all of a spool that is in memory, sorted, to the end of `out`; *end: the first that did not fit. */
static enum sr_status sort_run(struct sr_leaves *l, size_t first, size_t *end, struct sr_leaves *out, struct sr_err *err)
{
	struct sr_buf frames = {0};
	struct keyed *keys = NULL;
	size_t n = 0, cap = 0;
	enum sr_status rc = SR_OK;

	for (; rc == SR_OK && first + n < l->n && (!l->dir || frames.len + n * sizeof(*keys) < RUN_BYTES); n++) {
		struct sr_bytes encoded;

		rc = encoded_at(l, l->at[first + n], &encoded, err);
		if (rc)
			break;
		if (n == cap) {
			cap = cap ? 2 * cap : 256;
			keys = sr_realloc(keys, cap * sizeof(*keys));
		}
		keys[n].first = 0;
		keys[n].frame.len = FRAME_HEAD + encoded.len;
		sr_buf_be32(&frames, (uint32_t)encoded.len);
		sr_buf_bytes(&frames, encoded);
	}
	for (size_t i = 0, at = 0; i < n; at += keys[i++].frame.len) { /* only now: the buffer moved while it grew */
		keys[i].frame.at = frames.at + at;
		keys[i].path = path_of(sr_bytes(keys[i].frame.at + FRAME_HEAD, keys[i].frame.len - FRAME_HEAD));
	}
	if (n) {
		set_first(keys, n);
		qsort(keys, n, sizeof(*keys), by_path);
	}
	for (size_t i = 0; rc == SR_OK && i < n; i++)
		rc = i && !by_path(&keys[i - 1], &keys[i]) ? two_of_one(keys[i].path, err) : add_frame(out, keys[i].frame, err);
	*end = first + n;
	free(keys);
	sr_buf_free(&frames);
	return rc;
}

struct run {
	size_t next, end;     /* leaves */
	struct sr_leaves own; /* the spool of all runs, with a window of its own */
	struct sr_bytes path; /* of `next`, in that window */
	size_t len;           /* of its frame */
};

struct merge {
	struct sr_leaves *from, *out;
	struct run *runs;
	size_t n;
	size_t *heap; /* runs, the one with the least path first */
	size_t heaped;
};

/* Of the frame no more than its path: a record may be a large one, and there are many runs. */
static enum sr_status load_head(struct merge *m, struct run *run, struct sr_err *err)
{
	uint64_t at = m->from->at[run->next];
	struct sr_reader r;
	const uint8_t *frame;
	size_t some;
	enum sr_status rc = look_at_file(&run->own, at, FRAME_HEAD, &frame, err);

	if (rc)
		return rc;
	run->len = FRAME_HEAD + get_be32(frame);
	some = run->len < FRAME_HEAD + LENGTH_MOST ? run->len : FRAME_HEAD + LENGTH_MOST;
	rc = look_at_file(&run->own, at, some, &frame, err);
	if (rc)
		return rc;
	r = sr_reader(sr_bytes(frame + FRAME_HEAD, some - FRAME_HEAD));
	some = (size_t)sr_read_varint(&r);
	rc = look_at_file(&run->own, at, FRAME_HEAD + r.pos + some, &frame, err);
	if (!rc)
		run->path = sr_bytes(frame + FRAME_HEAD + r.pos, some);
	return rc;
}

/* The whole frame of the run's next leaf to the end of m->out. */
static enum sr_status move_head(struct merge *m, struct run *run, struct sr_err *err)
{
	struct sr_leaves *in = run->len > WINDOW_MOST ? m->from : &run->own;
	const uint8_t *frame;
	enum sr_status rc = look_at_file(in, m->from->at[run->next], run->len, &frame, err);

	if (!rc)
		rc = add_frame(m->out, sr_bytes(frame, run->len), err);
	run->next += !rc;
	return rc;
}

static bool heap_less(const struct merge *m, size_t i, size_t j)
{
	return sr_bytes_cmp(m->runs[m->heap[i]].path, m->runs[m->heap[j]].path) < 0;
}

static void heap_sink(struct merge *m, size_t i)
{
	for (;;) {
		size_t least = i, left = 2 * i + 1, run = m->heap[i];

		if (left < m->heaped && heap_less(m, left, least))
			least = left;
		if (left + 1 < m->heaped && heap_less(m, left + 1, least))
			least = left + 1;
		if (least == i)
			return;
		m->heap[i] = m->heap[least];
		m->heap[least] = run;
		i = least;
	}
}

static enum sr_status make_runs(struct sr_leaves *l, struct merge *m, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t first = 0, end; rc == SR_OK && first < l->n; first = end) {
		rc = sort_run(l, first, &end, m->from, err);
		m->runs = sr_realloc(m->runs, (m->n + 1) * sizeof(*m->runs));
		m->runs[m->n++] = (struct run){.next = first, .end = end};
	}
	return rc;
}

static enum sr_status open_runs(struct merge *m, struct sr_err *err)
{
	enum sr_status rc = spill(m->from, err);

	m->heap = sr_alloc(m->n * sizeof(*m->heap));
	for (size_t i = 0; rc == SR_OK && i < m->n; i++) {
		m->runs[i].own = (struct sr_leaves){.dir = m->from->dir, .fd = m->from->fd, .filed = m->from->filed};
		rc = load_head(m, &m->runs[i], err);
		m->heap[m->heaped++] = i;
	}
	for (size_t i = m->heaped / 2; rc == SR_OK && i-- > 0;)
		heap_sink(m, i);
	return rc;
}

/* All runs into m->out. */
static enum sr_status merge_runs(struct merge *m, struct sr_err *err)
{
	struct sr_buf last = {0};
	enum sr_status rc = open_runs(m, err);

	for (size_t i = 0; rc == SR_OK && m->heaped; i++) {
		struct run *run = &m->runs[m->heap[0]];

		if (i && sr_bytes_eq(sr_buf_view(&last), run->path)) {
			rc = two_of_one(run->path, err);
			break;
		}
		sr_buf_clear(&last);
		sr_buf_bytes(&last, run->path);
		rc = move_head(m, run, err);
		if (rc == SR_OK && run->next < run->end)
			rc = load_head(m, run, err);
		else if (rc == SR_OK)
			m->heap[0] = m->heap[--m->heaped];
		if (rc == SR_OK)
			heap_sink(m, 0);
	}
	sr_buf_free(&last);
	return rc;
}

/* Most spools are filled in order. */
static enum sr_status is_sorted(struct sr_leaves *l, bool *yes, struct sr_err *err)
{
	struct sr_buf last = {0};
	enum sr_status rc = SR_OK;

	*yes = true;
	for (size_t i = 0; !rc && *yes && i < l->n; i++) {
		struct sr_bytes path;

		rc = path_at(l, l->at[i], &path, err);
		if (rc)
			break;
		*yes = !i || sr_bytes_cmp(sr_buf_view(&last), path) < 0;
		sr_buf_clear(&last);
		sr_buf_bytes(&last, path);
	}
	sr_buf_free(&last);
	return rc;
}

static void swap(struct sr_leaves *a, struct sr_leaves *b)
{
	struct sr_leaves was = *a;

	*a = *b;
	*b = was;
}

enum sr_status sr_leaves_sort(struct sr_leaves *l, struct sr_err *err)
{
	struct merge m = {0};
	bool sorted;
	enum sr_status rc = is_sorted(l, &sorted, err);

	if (rc || sorted)
		return rc;
	m.from = sr_leaves_new(l->dir);
	m.out = sr_leaves_new(l->dir);
	rc = make_runs(l, &m, err);
	if (!rc && m.n > 1)
		rc = merge_runs(&m, err);
	if (!rc)
		swap(l, m.n > 1 ? m.out : m.from);
	for (size_t i = 0; i < m.n; i++)
		sr_buf_free(&m.runs[i].own.window);
	free(m.runs);
	free(m.heap);
	sr_leaves_free(m.from);
	sr_leaves_free(m.out);
	return rc;
}
