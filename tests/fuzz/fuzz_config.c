/* fuzz_config.c - whatever the bytes of a configuration file are: it is refused with a line of text, or it is taken, and then what
 * sr_config_print() says of it is taken again and says the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct sr_config *parse(struct sr_bytes in)
{
	struct sr_config *config = NULL;
	struct sr_err err = {0};
	FILE *f = fmemopen((void *)in.at, in.len, "r");

	if (!f)
		abort();
	if (sr_config_parse(&config, f, "fuzz.conf", &err) != SR_OK && (err.text[0] == '\0' || config))
		abort();
	fclose(f);
	return config;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sr_config *config = parse(sr_bytes(data, size)), *again;
	struct sr_buf first = {0}, second = {0};

	if (!config)
		return 0;
	free(config->control_auth); /* it is printed masked, and the mask is no secret */
	config->control_auth = NULL;
	sr_config_print(config, &first, false);
	again = parse(sr_buf_view(&first));
	if (!again)
		abort();
	sr_config_print(again, &second, false);
	if (!sr_bytes_eq(sr_buf_view(&first), sr_buf_view(&second)))
		abort();
	sr_buf_clear(&second);
	sr_config_print(again, &second, true);
	if (!sr_utf8_valid(sr_buf_view(&second)))
		abort();
	sr_buf_free(&first);
	sr_buf_free(&second);
	sr_config_free(config);
	sr_config_free(again);
	return 0;
}
