/* fuzz_wire.c - what comes over the wire is refused with a line of text, or it says the same when it is printed and read again.
 * The first byte chooses the parser: 'c' check-in, 't' tree, 'h' head of a push, 'a' answer to a push, 'w' wanted leaves. */
#include <stdlib.h>
#include <string.h>

#include "lib/replica/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static bool is_refused(enum sr_status rc, const struct sr_err *err)
{
	must(rc == SR_OK || (rc == SR_E_DATA && err->code == rc && err->text[0]));
	return rc != SR_OK;
}

static void check_in(const char *text)
{
	struct sr_check_in a, b;
	struct sr_err err = {0};
	struct sr_buf again = {0};

	if (is_refused(sr_check_in_parse(text, &a, &err), &err))
		return;
	sr_check_in_print(&again, &a);
	must(sr_check_in_parse(sr_buf_text(&again), &b, &err) == SR_OK && memcmp(&a, &b, sizeof a) == 0);
	sr_buf_free(&again);
}

static void tree(struct sr_bytes in)
{
	struct sr_tree_info a, b;
	struct sr_err err = {0};
	struct sr_buf once = {0}, twice = {0};

	if (is_refused(sr_tree_info_parse(in, &a, &err), &err))
		return;
	sr_tree_info_print(&once, &a);
	must(sr_tree_info_parse(sr_buf_view(&once), &b, &err) == SR_OK);
	sr_tree_info_print(&twice, &b);
	must(sr_bytes_eq(sr_buf_view(&once), sr_buf_view(&twice)));
	sr_tree_info_free(&a);
	sr_tree_info_free(&b);
	sr_buf_free(&once);
	sr_buf_free(&twice);
}

static void head(const char *text)
{
	struct sr_push_head a, b;
	struct sr_err err = {0};
	struct sr_buf once = {0}, twice = {0};

	if (is_refused(sr_push_head_parse(text, &a, &err), &err))
		return;
	sr_push_head_print(&once, &a);
	must(sr_push_head_parse(sr_buf_text(&once), &b, &err) == SR_OK);
	sr_push_head_print(&twice, &b);
	must(sr_bytes_eq(sr_buf_view(&once), sr_buf_view(&twice)));
	sr_buf_free(&once);
	sr_buf_free(&twice);
}

static void answer(struct sr_bytes in)
{
	struct sr_push_answer a, b;
	struct sr_err err = {0};
	struct sr_buf once = {0}, twice = {0};

	if (is_refused(sr_push_answer_parse(in, &a, &err), &err))
		return;
	sr_push_answer_print(&once, &a);
	must(sr_push_answer_parse(sr_buf_view(&once), &b, &err) == SR_OK);
	sr_push_answer_print(&twice, &b);
	must(sr_bytes_eq(sr_buf_view(&once), sr_buf_view(&twice)));
	sr_push_answer_free(&a);
	sr_push_answer_free(&b);
	sr_buf_free(&once);
	sr_buf_free(&twice);
}

static void wanted(struct sr_bytes in)
{
	struct sr_reader r = sr_reader(in);
	struct sr_err err = {0};
	struct sr_buf again = {0};
	bool bad = false;

	while (!bad && sr_read_left(&r)) {
		struct sr_leaf leaf;
		char *store;

		bad = is_refused(sr_wanted_next(&r, &store, &leaf, &err), &err);
		if (bad)
			break;
		sr_wanted_add(&again, store, &leaf);
		free(store);
	}
	must(bad || sr_bytes_eq(sr_buf_view(&again), in)); /* the frames are canonical */
	sr_buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sr_bytes in = size ? sr_bytes(data + 1, size - 1) : sr_bytes(NULL, 0);
	char *text = sr_text(in);

	switch (size ? data[0] : 0) {
	case 'c':
		check_in(text);
		break;
	case 't':
		tree(in);
		break;
	case 'h':
		head(text);
		break;
	case 'a':
		answer(in);
		break;
	case 'w':
		wanted(in);
		break;
	default:
		break;
	}
	free(text);
	return 0;
}
