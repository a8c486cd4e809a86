/* feed.h - many rows into a table by one statement, INSERT INTO t SELECT ... FROM sr_feed: a third of the time of as many statements.
 *
 * sr_feed is a table of this connection alone, which holds nothing: its rows, c0 to c7, are what `next` gives while the statement runs. */
#ifndef SR_STATE_FEED_H
#define SR_STATE_FEED_H

#include "lib/state/internal.h"

#define SR_FEED_COLUMNS 8

/* What `next` gives; NULL where nothing is given.  Bytes are BORROWED until it is called again. */
void sr_feed_number(struct sr_feed *f, int column, int64_t v);
void sr_feed_bytes(struct sr_feed *f, int column, struct sr_bytes b);
void sr_feed_version(struct sr_feed *f, int column, const struct sr_buf *packed); /* empty: NULL */

/* *more false: there was no further row. */
typedef enum sr_status sr_feed_fn(void *ctx, struct sr_feed *f, bool *more, struct sr_err *err);

/* Run the question, whose statement reads sr_feed, and end it.  `next` puts no other question that writes. */
SR_MUST enum sr_status sr_feed_run(struct sr_ask *q, sr_feed_fn *next, void *ctx, struct sr_err *err);

/* Once a connection. */
int sr_feed_attach(struct sr_state *s);

#endif
