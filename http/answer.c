/* answer.c - see answer.h and client.h. */
#include "http/answer.h"

#include <jansson.h>
#include <string.h>
#include <strings.h>

/* answer->head holds name NUL value NUL, again and again. */
const char *sr_answer_header(const struct sr_answer *answer, const char *name)
{
	const char *at = (const char *)answer->head.at, *end = at + answer->head.len;

	while (at < end) {
		const char *value = at + strlen(at) + 1;

		if (!strcasecmp(at, name))
			return value;
		at = value + strlen(value) + 1;
	}
	return NULL;
}

void sr_answer_free(struct sr_answer *answer)
{
	sr_buf_free(&answer->head);
	sr_buf_free(&answer->body);
	answer->status = 0;
}

void sr_answer_line(struct sr_answer *answer, const char *line, size_t n)
{
	const char *colon = memchr(line, ':', n);
	const char *value = colon ? colon + 1 : NULL, *end = line + n;

	if (!colon || memchr(line, 0, n))
		return;
	while (value < end && (*value == ' ' || *value == '\t'))
		value++;
	while (end > value && strchr("\r\n \t", end[-1]))
		end--;
	sr_buf_add(&answer->head, line, (size_t)(colon - line));
	sr_buf_byte(&answer->head, 0);
	sr_buf_add(&answer->head, value, (size_t)(end - value));
	sr_buf_byte(&answer->head, 0);
}

/* The status that the peer named, if it is one that goes with the HTTP status. */
static enum sr_status named_status(const char *name, int http)
{
	for (int code = SR_OK + 1; name && code < SR_STATUS_COUNT; code++)
		if (!strcmp(name, sr_status_name((enum sr_status)code)) && sr_status_http((enum sr_status)code) == http)
			return (enum sr_status)code;
	return SR_OK;
}

enum sr_status sr_answer_error(const struct sr_answer *answer, const char *url, const char *target, struct sr_err *err)
{
	json_t *json = json_loadb((const char *)answer->body.at, answer->body.len, 0, NULL);
	const char *detail = json_string_value(json_object_get(json, "detail"));
	enum sr_status status = named_status(json_string_value(json_object_get(json, "error")), answer->status);
	int path = (int)strcspn(target, "?");

	if (!status)
		status = sr_status_from_http(answer->status);
	if (!status)
		status = SR_E_UNAVAILABLE; /* a redirect, say: nothing that we speak */
	if (detail)
		sr_err_set(err, status, "%s: %s", url, detail);
	else
		sr_err_set(err, status, "%s%.*s: HTTP status %d", url, path, target, answer->status);
	for (char *c = err ? err->text : ""; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = ' '; /* one line, whatever the peer says */
	json_decref(json);
	return status;
}
