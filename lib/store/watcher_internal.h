/* watcher_internal.h - what watcher.c and watch.c share. */
#ifndef SR_STORE_WATCHER_INTERNAL_H
#define SR_STORE_WATCHER_INTERNAL_H

#include "lib/store/watcher.h"

struct sr_watch;

struct sr_hints { /* how many of each kind (watcher.h) */
	size_t now, soon, deleted, ours;
};

#define SR_HINTS_MANY 10 /* deletions, of which one waits for the end */
#define SR_OURS_MS 2500 /* an applied file is no longer racy (sr_files_settled), and hashed once */

/* Its thread reads w's events (sr_watch_drain) from now on, and until it is removed. */
void sr_watcher_add(struct sr_watcher *w, struct sr_watch *watch);
void sr_watcher_remove(struct sr_watcher *w, struct sr_watch *watch);
/* An inotify descriptor of it; it goes when it is closed. */
bool sr_watcher_poll(struct sr_watcher *w, int fd);
int64_t sr_watcher_full_ms(const struct sr_watcher *w);
/* A round may be due in so many ms, if nothing else comes: somebody wants to look again.  In the thread that asks when one is due. */
void sr_watcher_again(struct sr_watcher *w, int64_t ms);
/* As what its thread is told. */
void sr_watcher_note(struct sr_watcher *w, const struct sr_hints *hints);

#endif
