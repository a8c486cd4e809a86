/* conflict_routes.c - see conflict_routes.h. */
#include "lib/replica/conflict_routes.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/replica/admit.h"
#include "lib/replica/conflict.h"
#include "lib/replica/report.h"

#define MOST_BODY (16u << 20)

static void reply(struct sr_request *req, enum sr_status rc, struct sr_buf *out)
{
	if (rc == SR_OK)
		sr_reply_bytes(req, 200, "application/json", sr_buf_view(out));
	sr_buf_free(out);
}

static enum sr_status get_list(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_conflict_routes *c = ctx;
	struct sr_buf out = {0};
	enum sr_status rc = sr_report_conflicts(c->replica->archive, &out, err);

	reply(req, rc, &out);
	return rc;
}

static enum sr_status get_one(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_conflict_routes *c = ctx;
	struct sr_buf out = {0};
	enum sr_status rc = sr_conflict_show(c->replica, sr_request_arg_text(req, 0), &out, err);

	reply(req, rc, &out);
	return rc;
}

static enum sr_status get_content(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_conflict_routes *c = ctx;
	char id[SR_ARCHIVE_ID];
	struct stat st;
	int fd = -1;
	enum sr_status rc = sr_archive_find(c->replica->archive, sr_request_arg_text(req, 0), id, err);

	if (rc == SR_OK)
		rc = sr_archive_data(c->replica->archive, id, &fd, err);
	if (rc == SR_OK && fstat(fd, &st) != 0)
		rc = sr_err_sys(err, SR_E_IO, "%s", id);
	if (rc == SR_OK)
		rc = sr_reply_file(req, 200, "application/octet-stream", fd, 0, (uint64_t)st.st_size, err);
	if (fd >= 0)
		close(fd);
	return rc;
}

static enum sr_status post_remove(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_conflict_routes *c = ctx;
	struct sr_buf body = {0}, out = {0};
	enum sr_status rc = sr_request_read_all(req, &body, MOST_BODY, err);

	if (rc == SR_OK)
		rc = sr_conflict_remove(c->replica->archive, sr_buf_view(&body), &out, err);
	if (rc == SR_OK && c->changed)
		c->changed(c->ctx);
	sr_buf_free(&body);
	reply(req, rc, &out);
	return rc;
}

static enum sr_status post_restore(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_conflict_routes *c = ctx;
	struct sr_buf body = {0}, out = {0};
	enum sr_status rc = sr_request_read_all(req, &body, MOST_BODY, err);

	if (rc == SR_OK)
		rc = c->restore(c->ctx, sr_buf_view(&body), &out, err);
	sr_buf_free(&body);
	reply(req, rc, &out);
	return rc;
}

static const struct sr_route routes[] = {
	{"GET", "/api/admin/conflicts", get_list, SR_ROUTE_ADMIN, 0},
	{"GET", "/api/admin/conflicts/{}", get_one, SR_ROUTE_ADMIN, 0},
	{"GET", "/api/admin/conflicts/{}/content", get_content, SR_ROUTE_ADMIN, 0},
	{"POST", "/api/admin/conflicts/remove", post_remove, SR_ROUTE_ADMIN, MOST_BODY},
	{"POST", "/api/admin/conflicts/restore", post_restore, SR_ROUTE_ADMIN, MOST_BODY},
};

const struct sr_route *sr_conflict_routes(size_t *n)
{
	*n = sizeof routes / sizeof *routes;
	return routes;
}
