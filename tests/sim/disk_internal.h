/* disk_internal.h - the shape of a disk_model: for disk_model.c and disk_put.c only. */
#ifndef SR_TESTS_DISK_INTERNAL_H
#define SR_TESTS_DISK_INTERNAL_H

#include "tests/sim/disk_model.h"

struct sr_disk_node;

struct sr_disk_name {
	char *text;
	struct sr_disk_node *node; /* counted */
};

struct sr_disk_names {
	struct sr_disk_name *at; /* in no order */
	size_t n, room;
};

/* A write (data != NULL) or a truncation, not durable yet. */
struct sr_disk_change {
	struct sr_disk_change *next;
	uint64_t off, len;
	bool broken; /* an fsync failed over it */
	uint8_t *data;
};

struct sr_disk_node {
	struct sr_disk_node *next_same, *prev, *next; /* of one hash; all, oldest first */
	uint64_t id;
	unsigned refs;  /* by names and by changes of names */
	unsigned links; /* durable names */
	bool known;    /* found by id */
	char kind;     /* 'd', 'f', 'l' */
	uint32_t mode, durable_mode;
	uint64_t time, durable_time; /* mtime in ns; 0: never told */
	uint8_t *content; /* durable; a link's target */
	uint64_t size;
	struct sr_disk_change *first, *last;
	struct sr_disk_names names, durable;
	char *root; /* its path, of a root */
	bool dirty; /* by a cut: the real one may differ */
};

/* In dir, `name` was before and is after: NULL is none. */
struct sr_disk_swap {
	struct sr_disk_node *dir, *before, *after;
	char *name;
	bool synced;
};

struct sr_disk_naming {
	struct sr_disk_swap swap[2];
	int n;
	bool wanted, broken;
};

#define SR_DISK_BUCKETS 4096

struct sr_disk_model {
	struct sr_disk_node *buckets[SR_DISK_BUCKETS], *first, *last;
	struct sr_disk_naming **pending; /* oldest first */
	size_t n, room;
};

struct sr_disk_node *sr_disk_node_of(const struct sr_disk_model *m, uint64_t id);
void sr_disk_node_bind(struct sr_disk_model *m, struct sr_disk_node *node, uint64_t id);
struct sr_disk_node *sr_disk_names_find(const struct sr_disk_names *names, const char *text);

#endif
