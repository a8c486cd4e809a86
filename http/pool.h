/* pool.h - the threads that run handlers.  Private to http/; thread-safe.  Requests wait in order of arrival; their number is bounded by that
 * of the connections.  Of four threads and more those of one address get three quarters: clients that stand still tie up no more. */
#ifndef SR_HTTP_POOL_H
#define SR_HTTP_POOL_H

#include "http/request.h"

struct sr_pool; /* opaque */

struct sr_pool *sr_pool_start(unsigned threads); /* NULL: no thread could be made */
void sr_pool_add(struct sr_pool *pool, struct sr_request *req); /* takes a reference for as long as needed */
unsigned sr_pool_waiting(const struct sr_pool *pool); /* requests that no thread has taken yet */
/* Waits for the handlers that run; what still waits is dropped.  CONSUMES pool. */
void sr_pool_stop(struct sr_pool *pool);

#endif
