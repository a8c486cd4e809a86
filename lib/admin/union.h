/* union.h - what a union would unite: the datastore's tree beside that of each webserver that answers. */
#ifndef SR_ADMIN_UNION_H
#define SR_ADMIN_UNION_H

#include "lib/admin/admin.h"
#include "lib/admin/here.h"

struct json_t;

/* Each of the webservers, as the status lists them, gets "compared": {"equal", "here", "there", "different"}, leaves counted as the datastore and that
 * webserver have them now, or null and "why_not".  Changes nothing anywhere. */
void sr_union_compare(const struct sr_admin *a, struct sr_here *h, struct json_t *webservers);

#endif
