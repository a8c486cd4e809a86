/* fuzz_backup.c - hostile backups.  The first byte chooses: even, the rest is the file; odd, the rest is a tar whose headers are given their magic
 * and right sums first, which a fuzzer would else hardly hit.  Whatever comes: members are handed on in order and within their sizes, faults
 * are named, and what is taken for whole is whole. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bundle/backup_read.h"
#include "tests/unit/source.h"

#define BLOCK 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
	bool open;
	uint64_t left;
	unsigned faults;
};

static void check_path(struct sr_bytes path)
{
	struct sr_bytes rest = path;

	if (!path.len || path.at[0] == '/' || memchr(path.at, 0, path.len))
		abort();
	while (rest.len) {
		const uint8_t *slash = memchr(rest.at, '/', rest.len);
		size_t n = slash ? (size_t)(slash - rest.at) : rest.len;

		if (!n || n > 255 || (n == 1 && rest.at[0] == '.') || (n == 2 && !memcmp(rest.at, "..", 2)))
			abort();
		rest = slash ? sr_bytes(slash + 1, rest.len - n - 1) : sr_bytes(NULL, 0);
	}
}

static enum sr_status on_dir(void *ctx, const struct sr_backup_entry *e, struct sr_err *err)
{
	(void)err;
	if (((struct seen *)ctx)->open || e->bytes)
		abort();
	check_path(sr_buf_view(&e->path));
	return SR_OK;
}

static enum sr_status on_begin(void *ctx, const struct sr_backup_entry *e, struct sr_err *err)
{
	struct seen *seen = ctx;

	(void)err;
	if (seen->open || e->dir)
		abort();
	check_path(sr_buf_view(&e->path));
	seen->open = true;
	seen->left = e->bytes;
	return SR_OK;
}

static enum sr_status on_data(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	struct seen *seen = ctx;

	(void)at, (void)err;
	if (!seen->open || n > seen->left)
		abort();
	seen->left -= n;
	return SR_OK;
}

static enum sr_status on_end(void *ctx, const struct sr_backup_entry *e, struct sr_err *err)
{
	struct seen *seen = ctx;

	(void)e, (void)err;
	if (!seen->open || seen->left)
		abort();
	seen->open = false;
	return SR_OK;
}

static enum sr_status on_drop(void *ctx, struct sr_bytes path, struct sr_err *err)
{
	(void)ctx, (void)err;
	check_path(path);
	return SR_OK;
}

static void on_fault(void *ctx, const char *path, const char *what)
{
	struct seen *seen = ctx;

	seen->faults++;
	if (!path || !*what)
		abort();
}

/* Magic and sums for what stands where headers stand. */
static void mend(uint8_t *at, size_t n)
{
	size_t pos = 0;

	while (n - pos >= BLOCK) {
		uint8_t *h = at + pos;
		unsigned sum = 0;
		char text[8];
		size_t size;

		memcpy(h + 257, "ustar\00000", 8);
		memset(h + 148, ' ', 8);
		for (size_t i = 0; i < BLOCK; i++)
			sum += h[i];
		snprintf(text, sizeof text, "%06o", sum);
		memcpy(h + 148, text, 7);
		size = 0;
		for (int i = 0; i < 11 && h[124 + i] >= '0' && h[124 + i] <= '7'; i++)
			size = size * 8 + (size_t)(h[124 + i] - '0');
		if (size > n)
			break;
		pos += BLOCK + (size + BLOCK - 1) / BLOCK * BLOCK;
		if (pos > n || (n - pos >= 2 * BLOCK && !at[pos]))
			break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen seen = {0};
	struct sr_buf copy = {0};
	struct source s = {0};
	struct sr_backup_source source = {.file = "B", .read = from_source, .read_ctx = &s, .fault = on_fault, .ctx = &seen};
	struct sr_backup_sink sink = {.ctx = &seen, .dir = on_dir, .begin = on_begin, .data = on_data, .end = on_end, .drop = on_drop};
	struct sr_backup_info info = {0};
	struct sr_err err = {0};
	enum sr_status rc;

	if (!size)
		return 0;
	sr_buf_add(&copy, data + 1, size - 1);
	if (data[0] & 1)
		mend(copy.at, copy.len);
	s.in = sr_buf_view(&copy);
	rc = sr_backup_read(&source, &sink, &info, &err);
	if (rc == SR_OK ? seen.faults || seen.open : !err.text[0])
		abort();
	sr_backup_info_free(&info);
	sr_buf_free(&copy);
	return 0;
}
