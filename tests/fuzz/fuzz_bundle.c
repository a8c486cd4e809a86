/* fuzz_bundle.c - hostile bundles.  The first byte chooses: even, the rest is the stream; odd, the rest is the content of the first
 * .leaves member of a stream that is right so far, and its last KiB that of a .data member - which a fuzzer would else hardly
 * reach, for tar headers carry sums.  Whatever comes: the sink is called in order, sizes are kept, faults are named. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bundle/bundle.h"
#include "tests/unit/source.h"

#define BLOCK 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
	bool promised, begun; /* content is to come; is coming */
	uint64_t left;
};

static enum sr_status on_leaf(void *ctx, const char *store, const struct sr_leaf *leaf, bool has_content, struct sr_err *err)
{
	struct seen *seen = ctx;
	struct sr_buf json = {0};

	if (seen->promised || seen->begun || !*store || !leaf->path.len)
		abort();
	seen->promised = has_content;
	if (leaf->to.kind == SR_KIND_ROW && sr_record_json(&json, leaf->record, err))
		abort();
	sr_buf_free(&json);
	return SR_OK;
}

static enum sr_status on_begin(void *ctx, const char *store, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct seen *seen = ctx;

	(void)store;
	(void)err;
	if (!seen->promised || seen->begun || leaf->to.kind != SR_KIND_FILE)
		abort();
	*seen = (struct seen){.begun = true, .left = leaf->to.bytes};
	return SR_OK;
}

static enum sr_status on_data(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	struct seen *seen = ctx;

	(void)at;
	(void)err;
	if (!seen->begun || n > seen->left)
		abort();
	seen->left -= n;
	return SR_OK;
}

static enum sr_status on_end(void *ctx, const char *store, const struct sr_leaf *leaf, bool ok, struct sr_err *err)
{
	struct seen *seen = ctx;

	(void)store;
	(void)leaf;
	(void)ok;
	(void)err;
	if (!seen->begun || seen->left)
		abort();
	seen->begun = false;
	return SR_OK;
}

static void read_stream(const struct sr_tree_key *key, struct sr_bytes in)
{
	static const struct sr_bundle_limits limits = {.bytes = 8 << 20, .leaves = 1000, .file = 1 << 20, .frame = 1 << 20};
	struct source source = {.in = in};
	struct seen seen = {0};
	struct sr_bundle_sink sink = {&seen, on_leaf, on_begin, on_data, on_end};
	struct sr_bundle_reader *r = NULL;
	struct sr_err err = {0};
	enum sr_status rc = sr_bundle_reader_new(&r, key, &limits, from_source, &source, &err);

	if (!rc)
		rc = sr_bundle_read(r, &sink, &err);
	if (rc ? (rc != SR_E_DATA && rc != SR_E_LIMIT) || !err.text[0] : seen.promised || seen.begun)
		abort();
	sr_bundle_reader_free(r);
}

static void add_member(struct sr_buf *out, const char *name, struct sr_bytes content)
{
	char h[BLOCK] = {0};
	size_t pad = (BLOCK - content.len % BLOCK) % BLOCK;
	unsigned sum = 0;

	snprintf(h, 100, "%s", name);
	snprintf(h + 100, 8, "000644 ");
	snprintf(h + 124, 12, "%011zo", content.len);
	memcpy(h + 257, "ustar\0" "00", 8);
	memset(h + 148, ' ', 8);
	h[156] = '0';
	for (int i = 0; i < BLOCK; i++)
		sum += (uint8_t)h[i];
	snprintf(h + 148, 8, "%06o", sum & 0777777);
	sr_buf_add(out, h, BLOCK);
	sr_buf_bytes(out, content);
	memset(sr_buf_room(out, pad), 0, pad);
	out->len += pad;
}

static void read_wrapped(const struct sr_tree_key *key, struct sr_bytes in)
{
	size_t data = in.len > 2048 ? 1024 : 0;
	struct sr_buf head = {0}, out = {0};
	char id[SR_HASH_TEXT];

	sr_hash_text(id, &key->id);
	sr_buf_printf(&head, "sameroot-bundle 1\nkey %s\n{}", id);
	add_member(&out, "sameroot", sr_buf_view(&head));
	add_member(&out, "00000001.leaves", sr_bytes(in.at, in.len - data));
	add_member(&out, "00000002.data", sr_bytes(in.at + in.len - data, data));
	read_stream(key, sr_buf_view(&out));
	sr_buf_free(&head);
	sr_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t secret[SR_KEY_LEN];
	struct sr_tree_key key;

	for (size_t i = 0; i < sizeof(secret); i++)
		secret[i] = (uint8_t)(i * 37 + 1);
	sr_tree_key_set(&key, secret);
	if (size && data[0] % 2)
		read_wrapped(&key, sr_bytes(data + 1, size - 1));
	else if (size)
		read_stream(&key, sr_bytes(data + 1, size - 1));
	return 0;
}
