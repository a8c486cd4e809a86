/* watcher_internal.h - what watcher.c and watch.c share. */
#ifndef SR_STORE_WATCHER_INTERNAL_H
#define SR_STORE_WATCHER_INTERNAL_H

#include "lib/store/watcher.h"

struct sr_watch;

struct sr_hints { /* how many of each kind (watcher.h) */
	size_t now, soon, deleted;
};

/* Its thread reads w's events (sr_watch_drain) from now on, and until it is removed. */
void sr_watcher_add(struct sr_watcher *w, struct sr_watch *watch);
void sr_watcher_remove(struct sr_watcher *w, struct sr_watch *watch);
/* An inotify descriptor of it; it goes when it is closed. */
bool sr_watcher_poll(struct sr_watcher *w, int fd);
int64_t sr_watcher_full_ms(const struct sr_watcher *w);
void sr_watcher_note(struct sr_watcher *w, const struct sr_hints *hints);

#endif
