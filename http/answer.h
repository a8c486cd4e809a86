/* answer.h - what a client makes of an answer's head and of an error in its body.  Private to http/; pure. */
#ifndef SR_HTTP_ANSWER_H
#define SR_HTTP_ANSWER_H

#include "http/client.h"

/* Take in a header line as it came, with its line end; anything but "name: value" is passed over. */
void sr_answer_line(struct sr_answer *answer, const char *line, size_t n);

/* Turn an answer that is not 2xx into *err.  Never SR_OK. */
SR_MUST enum sr_status sr_answer_error(const struct sr_answer *answer, const char *url, const char *target, struct sr_err *err);

#endif
