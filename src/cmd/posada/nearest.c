/*
 * Distances between words: letters inserted, left out, replaced, or changed places with their
 * neighbours (optimal string alignment). A name is near when no more than a third of the typed word
 * is wrong.
 */
#include "cmd/posada/nearest.h"

#include <stdio.h>
#include <string.h>

#define NEAREST_MAX 32 /* of a name */

static unsigned nearest_least(unsigned a, unsigned b, unsigned c)
{
	unsigned least = MIN(a, b);

	return MIN(least, c);
}

static unsigned nearest_distance(const char *a, const char *b)
{
	unsigned d[NEAREST_MAX + 1][NEAREST_MAX + 1];
	size_t n = strlen(a), m = strlen(b);

	if (n > NEAREST_MAX || m > NEAREST_MAX)
		return NEAREST_MAX;
	for (size_t i = 0; i <= n; i++)
		d[i][0] = (unsigned)i;
	for (size_t j = 0; j <= m; j++)
		d[0][j] = (unsigned)j;
	for (size_t i = 1; i <= n; i++) {
		for (size_t j = 1; j <= m; j++) {
			d[i][j] = nearest_least(d[i - 1][j] + 1, d[i][j - 1] + 1,
						d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d[i][j] = MIN(d[i][j], d[i - 2][j - 2] + 1);
		}
	}
	return d[n][m];
}

/* A name that was begun is nearer than one that was misspelled. */
void nearest_offer(struct nearest *n, const char *name)
{
	size_t typed = strlen(n->typed);
	bool is_begun = typed > 1 && !strncmp(n->typed, name, typed);
	unsigned distance = is_begun ? 0 : nearest_distance(n->typed, name);

	if (distance > (typed + 2) / 3 || (n->best && distance >= n->distance))
		return;
	n->best = name;
	n->distance = distance;
}

const char *nearest_words(const struct nearest *n, const char *prefix, char *text, size_t size)
{
	text[0] = '\0';
	if (n->best)
		snprintf(text, size, " (did you mean '%s%s'?)", prefix, n->best);
	return text;
}
