/* leaves.c - the spool of leaves.  See leaf.h.
 *
 * A leaf is a frame: be32 length, encoded leaf.  Frames follow each other in the file (the first `filed` bytes) and then in
 * `tail`, which goes to the file whenever it has passed 1 MiB; no frame lies across the two.  `at` holds where each begins.
 *
 * Sorting takes leaves in runs whose paths fit into memory, sorts each run, and merges all runs at once with a heap, so that
 * each path is read twice whatever the number of runs. */
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
#define RUN_BYTES (4u << 20) /* of paths that a run's sort holds */

struct sr_leaves {
	char *dir; /* or NULL */
	int fd;    /* -1: not spilled yet */
	uint64_t filed;
	struct sr_buf tail;
	uint64_t *at;
	size_t n, cap;
	size_t next;          /* where sr_leaves_find looks first */
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

static void put_be32(uint8_t *at, uint32_t v)
{
	for (int i = 0; i < FRAME_HEAD; i++)
		at[i] = (uint8_t)(v >> (24 - 8 * i));
}

enum sr_status sr_leaves_add(struct sr_leaves *l, const struct sr_leaf *leaf, struct sr_err *err)
{
	enum sr_status rc = l->dir && l->tail.len > TAIL_MAX ? spill(l, err) : SR_OK;
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
	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 64;
		l->at = sr_realloc(l->at, l->cap * sizeof(*l->at));
	}
	l->at[l->n++] = l->filed + start;
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
	return rc ? rc : sr_leaf_decode(encoded, out, err);
}

/* Where `path` can be.  What is looked for comes in order, or nearly so: look ahead, further each time, from behind the one found last. */
static enum sr_status narrow(struct sr_leaves *l, struct sr_bytes path, size_t *low, size_t *high, struct sr_err *err)
{
	struct sr_leaf leaf;

	*low = 0;
	*high = l->n;
	for (size_t at = l->next, step = 1; at < *high; at += step, step *= 2) {
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
			l->next = middle + 1;
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
	struct sr_bytes path;
	uint64_t at;
};

struct run {
	size_t next, end;   /* of the sorted offsets */
	struct sr_buf path; /* of the one at `next` */
};

struct merge {
	struct sr_leaves *l;
	uint64_t *sorted; /* offsets, run by run */
	struct run *runs;
	size_t n;
	size_t *heap; /* runs, the one with the least path first */
	size_t heaped;
};

static enum sr_status path_at(struct sr_leaves *l, uint64_t at, struct sr_bytes *out, struct sr_err *err)
{
	struct sr_bytes encoded;
	struct sr_reader r;
	enum sr_status rc = encoded_at(l, at, &encoded, err);

	if (rc)
		return rc;
	r = sr_reader(encoded);
	*out = sr_read_string(&r);
	return SR_OK;
}

static int by_path(const void *a, const void *b)
{
	const struct keyed *x = a, *y = b;
	int order = sr_bytes_cmp(x->path, y->path);

	return order ? order : (x->at > y->at) - (x->at < y->at);
}

/* Sort the leaves from `first` on whose paths fit into RUN_BYTES into m->sorted; *end: the first that did not fit. */
static enum sr_status sort_run(struct merge *m, size_t first, size_t *end, struct sr_err *err)
{
	struct sr_buf paths = {0};
	struct keyed *keys = NULL;
	size_t n = 0, cap = 0, used = 0;
	enum sr_status rc = SR_OK;

	for (; first + n < m->l->n && used < RUN_BYTES; n++) {
		struct sr_bytes path;

		if (n == cap) {
			cap = cap ? 2 * cap : 256;
			keys = sr_realloc(keys, cap * sizeof(*keys));
		}
		rc = path_at(m->l, m->l->at[first + n], &path, err);
		if (rc)
			goto out;
		keys[n] = (struct keyed){.path = path, .at = m->l->at[first + n]};
		sr_buf_bytes(&paths, path);
		used += path.len + sizeof(*keys);
	}
	for (size_t i = 0, at = 0; i < n; at += keys[i++].path.len)
		keys[i].path.at = paths.at + at; /* only now: the buffer moved while it grew */
	if (n)
		qsort(keys, n, sizeof(*keys), by_path);
	for (size_t i = 0; i < n; i++)
		m->sorted[first + i] = keys[i].at;
	*end = first + n;
out:
	free(keys);
	sr_buf_free(&paths);
	return rc;
}

/* The run's next path into its buffer. */
static enum sr_status load_head(struct merge *m, struct run *run, struct sr_err *err)
{
	struct sr_bytes path;
	enum sr_status rc = path_at(m->l, m->sorted[run->next], &path, err);

	if (rc)
		return rc;
	sr_buf_clear(&run->path);
	sr_buf_bytes(&run->path, path);
	return SR_OK;
}

static bool heap_less(const struct merge *m, size_t i, size_t j)
{
	int order = sr_bytes_cmp(sr_buf_view(&m->runs[m->heap[i]].path), sr_buf_view(&m->runs[m->heap[j]].path));

	return order ? order < 0 : m->heap[i] < m->heap[j];
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

static enum sr_status make_runs(struct merge *m, struct sr_err *err)
{
	enum sr_status rc;

	for (size_t first = 0, end; first < m->l->n; first = end) {
		rc = sort_run(m, first, &end, err);
		if (rc)
			return rc;
		m->runs = sr_realloc(m->runs, (m->n + 1) * sizeof(*m->runs));
		m->runs[m->n++] = (struct run){.next = first, .end = end};
	}
	m->heap = sr_alloc(m->n * sizeof(*m->heap));
	for (size_t i = 0; i < m->n; i++) {
		rc = load_head(m, &m->runs[i], err);
		if (rc)
			return rc;
		m->heap[m->heaped++] = i;
	}
	for (size_t i = m->heaped / 2; i-- > 0;)
		heap_sink(m, i);
	return SR_OK;
}

static enum sr_status two_of_one(struct sr_bytes path, struct sr_err *err)
{
	struct sr_buf text = {0};

	sr_percent(&text, sr_bytes(path.at, path.len < 200 ? path.len : 200), NULL);
	sr_err_set(err, SR_E_DATA, "path %s: two leaves", sr_buf_text(&text));
	sr_buf_free(&text);
	return SR_E_DATA;
}

/* All runs into `out`. */
static enum sr_status merge_runs(struct merge *m, uint64_t *out, struct sr_err *err)
{
	struct sr_buf last = {0};
	enum sr_status rc = SR_OK;

	for (size_t i = 0; m->heaped; i++) {
		struct run *run = &m->runs[m->heap[0]];

		if (i && sr_bytes_eq(sr_buf_view(&last), sr_buf_view(&run->path))) {
			rc = two_of_one(sr_buf_view(&last), err);
			break;
		}
		sr_buf_clear(&last);
		sr_buf_bytes(&last, sr_buf_view(&run->path));
		out[i] = m->sorted[run->next++];
		if (run->next == run->end)
			m->heap[0] = m->heap[--m->heaped];
		else if ((rc = load_head(m, run, err)))
			break;
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

enum sr_status sr_leaves_sort(struct sr_leaves *l, struct sr_err *err)
{
	struct merge m = {.l = l};
	uint64_t *out;
	bool sorted;
	enum sr_status rc = is_sorted(l, &sorted, err);

	if (rc || sorted)
		return rc;
	m.sorted = sr_alloc(l->n * sizeof(*m.sorted));
	out = sr_alloc(l->n * sizeof(*out));
	rc = make_runs(&m, err);
	if (!rc)
		rc = merge_runs(&m, out, err);
	if (!rc)
		memcpy(l->at, out, l->n * sizeof(*out));
	for (size_t i = 0; i < m.n; i++)
		sr_buf_free(&m.runs[i].path);
	free(m.runs);
	free(m.heap);
	free(m.sorted);
	free(out);
	return rc;
}
