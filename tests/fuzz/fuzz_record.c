/* fuzz_record.c - any bytes as a record and as a key: refused, or exactly what encoding gives. */
#include <stdlib.h>

#include "hashtree/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_record(struct sr_bytes in)
{
	struct sr_column *columns;
	struct sr_buf again = {0};
	struct sr_err err;
	size_t n;

	if (sr_record_decode(in, &columns, &n, &err) != SR_OK)
		return;
	sr_record_encode(&again, columns, n);
	if (!sr_bytes_eq(in, sr_buf_view(&again)))
		abort();
	sr_buf_free(&again);
	free(columns);
}

static void try_key(struct sr_bytes in)
{
	struct sr_value *values;
	struct sr_buf again = {0}, text = {0};
	struct sr_err err;
	size_t n;

	if (sr_key_decode(in, &values, &n, &err) != SR_OK)
		return;
	sr_key_encode(&again, values, n);
	if (!sr_bytes_eq(in, sr_buf_view(&again)) || sr_key_text(&text, in, &err) != SR_OK)
		abort();
	sr_buf_free(&again);
	sr_buf_free(&text);
	free(values);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_record(sr_bytes(data, size));
	try_key(sr_bytes(data, size));
	return 0;
}
