/*
 * The log: formats into one buffer and writes it with one write(2), so that lines of several
 * threads and processes do not mix. See log.h.
 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/time.h"

/* The program's only mutable globals; set before threads start. */
static enum log_level log_level = LOG_WARN;
static char log_name[64];

static const char *const log_words[] = {"error", "warning", "info", "debug"};

void log_setup(enum log_level level, const char *name)
{
	log_level = level;
	snprintf(log_name, sizeof(log_name), "%s", name ? name : "");
}

bool log_setup_env(const char *name)
{
	const char *word = getenv("POSADA_LOG");

	log_setup(LOG_WARN, name);
	if (!word || !word[0] || !strcmp(word, "warn"))
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(log_words); i++) {
		if (!strcmp(word, log_words[i])) {
			log_level = (enum log_level)i;
			return true;
		}
	}
	return false;
}

bool log_is_on(enum log_level level)
{
	return level <= log_level;
}

void log_write(enum log_level level, const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	int n, more;

	if (!log_is_on(level))
		return;
	n = snprintf(line, sizeof(line),
		     log_name[0] ? "posada[%s]: %s: " : "posada%s: %s: ", log_name,
		     log_words[level]);
	va_start(ap, fmt);
	more = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	va_end(ap);
	n = MIN(n + more, (int)sizeof(line) - 2);
	line[n++] = '\n';
	/* Nobody can be told when stderr is closed. */
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}

bool log_limit_allows(struct log_limit *l, u32 per_second)
{
	u64 now = time_mono_ns();
	u64 start = __atomic_load_n(&l->window_ns, __ATOMIC_RELAXED);

	/* Two threads that open a new window together allow a few lines more: harmless. */
	if (now - start >= NSEC_PER_SEC) {
		__atomic_store_n(&l->window_ns, now, __ATOMIC_RELAXED);
		__atomic_store_n(&l->used, 0, __ATOMIC_RELAXED);
	}
	if (__atomic_fetch_add(&l->used, 1, __ATOMIC_RELAXED) < per_second)
		return true;
	__atomic_fetch_add(&l->suppressed, 1, __ATOMIC_RELAXED);
	return false;
}
