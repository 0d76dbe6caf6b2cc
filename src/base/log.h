/*
 * The log: one line per message on stderr, "posada[NAME]: level: words"; NAME is the guest's.
 *
 * error: a promise was broken. warn: we went on, and the line says so. info: what an operator
 * wants to know. debug: anything. Code that returns an error doesn't log it. Any thread.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/base.h"

enum log_level {
	LOG_ERROR,
	LOG_WARN,
	LOG_INFO,
	LOG_DEBUG,
};

/* Before threads start. The level defaults to LOG_WARN; name is copied (at most 63 bytes). */
void log_setup(enum log_level level, const char *name);
/* With the level that $POSADA_LOG names: error, warning, info or debug. False: it names none. */
bool log_setup_env(const char *name);
bool log_is_on(enum log_level level);
void log_write(enum log_level level, const char *fmt, ...) printf_like(2, 3);

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
	do {                                                                                       \
		if (log_is_on(LOG_DEBUG))                                                          \
			log_write(LOG_DEBUG, __VA_ARGS__);                                         \
	} while (0)

/*
 * Allows burst messages, then per_second a second. For what a guest can provoke: such messages go
 * out only when this says so. Zero-initialized is ready. Any thread.
 */
struct log_limit {
	u64 window_ns; /* start of the running second */
	u32 used;
	u32 suppressed; /* counted, never printed one by one */
};
bool log_limit_allows(struct log_limit *l, u32 per_second);

#endif
