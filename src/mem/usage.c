/*
 * What the host has given a block, as /proc/self/smaps says. It is a text of a few hundred lines for
 * each mapping: read in pieces, a line at a time.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "mem/gmem.h"

struct smaps {
	int fd;
	char buf[4096];
	size_t used, at; /* bytes in buf, of which these were taken */
	u64 offset;      /* of the file's next bytes */
};

static bool smaps_fill(struct smaps *s)
{
	ssize_t n;

	memmove(s->buf, s->buf + s->at, s->used - s->at);
	s->used -= s->at;
	s->at = 0;
	n = pread(s->fd, s->buf + s->used, sizeof(s->buf) - s->used, (off_t)s->offset);
	if (n <= 0)
		return false;
	s->used += (size_t)n;
	s->offset += (u64)n;
	return true;
}

/* A line longer than the buffer can't be one of ours: its pieces are lines that say nothing. */
static const char *smaps_next(struct smaps *s)
{
	char *line, *end;

	while (!(end = memchr(s->buf + s->at, '\n', s->used - s->at))) {
		if (s->at == 0 && s->used == sizeof(s->buf))
			s->at = s->used;
		if (!smaps_fill(s))
			return NULL;
	}
	line = s->buf + s->at;
	*end = '\0';
	s->at = (size_t)(end - s->buf) + 1;
	return line;
}

static void smaps_add(const char *line, struct gmem_usage *out)
{
	const struct {
		const char *name;
		u64 *to;
	} fields[] = {
		{"Rss", &out->resident},         {"Private_Dirty", &out->dirty},
		{"Shared_Dirty", &out->dirty},   {"AnonHugePages", &out->huge},
		{"ShmemPmdMapped", &out->huge},  {"Shared_Hugetlb", &out->huge},
		{"Private_Hugetlb", &out->huge},
	};
	char name[32];
	u64 kib;

	if (sscanf(line, "%31[^:]: %lu kB", name, &kib) != 2)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		if (!strcmp(fields[i].name, name))
			*fields[i].to += kib * KIB;
	}
}

int gmem_block_usage(const struct gmem_block *b, int smaps_fd, struct gmem_usage *out)
{
	struct smaps s = {.fd = smaps_fd};
	struct gmem_usage usage = {.size = b->size};
	bool is_ours = false;
	const char *line;
	u64 from, to;

	if (!smaps_fill(&s))
		return -EIO;
	while ((line = smaps_next(&s))) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			is_ours = from >= (u64)b->hva && to <= (u64)b->hva + b->size;
		else if (is_ours)
			smaps_add(line, &usage);
	}
	*out = usage;
	return 0;
}

u64 gmem_block_huge_bytes(const struct gmem_block *b)
{
	AUTO_FD int fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
	struct gmem_usage usage;

	return fd >= 0 && gmem_block_usage(b, fd, &usage) == 0 ? usage.huge : 0;
}
