/* door.h - the one door to time and chance, so that a simulator can stand behind it.
 *
 * The door is process-wide: sr_door_install() replaces it before any thread starts (tests and the simulator). */
#ifndef SR_BASE_DOOR_H
#define SR_BASE_DOOR_H

#include <stddef.h>
#include <stdint.h>

struct sr_door {
	int64_t (*now_ms)(void *ctx);       /* wall clock, ms since 1970 UTC */
	int64_t (*ticks_ms)(void *ctx);     /* monotonic, ms */
	void (*random)(void *ctx, void *out, size_t n);
	void *ctx;
};

void sr_door_install(const struct sr_door *door); /* COPIES; NULL: the real one */
int64_t sr_now_ms(void);
int64_t sr_ticks_ms(void);
void sr_random(void *out, size_t n); /* cryptographically strong */
uint64_t sr_random_below(uint64_t n);

struct sr_uuid {
	uint8_t b[16];
};
#define SR_UUID_TEXT 37 /* with the NUL */
struct sr_uuid sr_uuid_random(void); /* version 4 */
void sr_uuid_text(char out[SR_UUID_TEXT], const struct sr_uuid *u);
int sr_uuid_parse(struct sr_uuid *out, const char *text); /* 0, or -1 */
int sr_uuid_none(const struct sr_uuid *u); /* all zero */

#endif
