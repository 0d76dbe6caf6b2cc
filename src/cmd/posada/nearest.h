/*
 * What a person may have meant who typed something else.
 */
#ifndef CMD_POSADA_NEAREST_H
#define CMD_POSADA_NEAREST_H

#include "base/base.h"

struct nearest {
	const char *typed, *best;
	unsigned distance;
};

/* Begin with {.typed = word}, offer each name that there is; best is NULL when none is near. */
void nearest_offer(struct nearest *n, const char *name);
/* " (did you mean 'X'?)", or "": into text, which is returned. */
const char *nearest_words(const struct nearest *n, const char *prefix, char *text, size_t size);

#endif
