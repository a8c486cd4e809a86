/* fuzz_leaf.c - a leaf is refused with a line of text, or it is the one encoding of what it says.  And any bytes are a path that can be
 * judged, compared and shown. */
#include <stdlib.h>

#include "lib/leaf/leaf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(struct sr_bytes in)
{
	struct sr_err err = {0};
	struct sr_buf again = {0};
	struct sr_leaf leaf;

	if (sr_leaf_decode(in, &leaf, &err)) {
		if (err.code != SR_E_DATA || !err.text[0])
			abort();
		return;
	}
	sr_leaf_encode(&again, &leaf);
	if (!sr_bytes_eq(in, sr_buf_view(&again)))
		abort();
	sr_buf_free(&again);
}

static void judge_path(uint8_t kind, struct sr_bytes path)
{
	struct sr_err err = {0};
	struct sr_buf text = {0};
	enum sr_status rc = sr_leaf_path_check(kind, path, &err);

	if (rc && (rc != err.code || !err.text[0]))
		abort();
	sr_leaf_path_text(&text, "store", kind, path);
	for (size_t i = 0; i < text.len; i++)
		if (text.at[i] <= ' ' || text.at[i] > '~')
			abort();
	if (!sr_path_under(path, path) || !sr_path_under(path, sr_bytes(path.at, 0)))
		abort();
	sr_buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	decode(sr_bytes(data, size));
	judge_path(SR_KIND_FILES, sr_bytes(data, size));
	judge_path(SR_KIND_DATABASE, sr_bytes(data, size));
	return 0;
}
