/*
 * UTF-16 and Windows' paths. See utf16.h.
 */
#include "image/utf16.h"

#include <ctype.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"

static u32 utf16_unit(const u8 *from, size_t i, bool is_big_endian)
{
	return is_big_endian ? be16_load(from + 2 * i) : le16_load(from + 2 * i);
}

static size_t utf16_put_utf8(char *to, u32 c)
{
	static const u8 leads[] = {0, 0xc0, 0xe0, 0xf0};
	unsigned more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;

	to[0] = (char)(leads[more] | c >> (6 * more));
	for (unsigned i = 1; i <= more; i++)
		to[i] = (char)(0x80 | (c >> (6 * (more - i)) & 0x3f));
	return more + 1;
}

char *utf16_decode(const u8 *from, size_t n, bool is_big_endian)
{
	AUTO(free) char *to = mem_alloc(1, 3 * n + 1);
	size_t used = 0;

	for (size_t i = 0; i < n; i++) {
		u32 c = utf16_unit(from, i, is_big_endian);

		if (!c)
			break;
		if (c >= 0xdc00 && c < 0xe000)
			return NULL;
		if (c >= 0xd800 && c < 0xdc00) {
			u32 low = ++i < n ? utf16_unit(from, i, is_big_endian) : 0;

			if (low < 0xdc00 || low >= 0xe000)
				return NULL;
			c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
		}
		used += utf16_put_utf8(to + used, c);
	}
	return used ? take(to) : NULL;
}

/* The next character; 0 at the end; -EINVAL. */
static int utf16_next(const char **from)
{
	const u8 *at = (const u8 *)*from;
	unsigned more = at[0] < 0x80 ? 0 : at[0] < 0xe0 ? 1 : at[0] < 0xf0 ? 2 : 3;
	u32 c = more ? at[0] & (0x3f >> more) : at[0];

	if ((at[0] >= 0x80 && at[0] < 0xc2) || at[0] > 0xf4)
		return -EINVAL;
	for (unsigned i = 1; i <= more; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return -EINVAL;
		c = c << 6 | (at[i] & 0x3f);
	}
	if ((c >= 0xd800 && c < 0xe000) || c > 0x10ffff)
		return -EINVAL;
	*from += c ? more + 1 : 0;
	return (int)c;
}

static void utf16_put(u8 *to, u32 unit, bool is_big_endian)
{
	if (is_big_endian)
		be16_store(to, (u16)unit);
	else
		le16_store(to, (u16)unit);
}

int utf16_encode(const char *from, u8 *to, size_t max, bool is_big_endian)
{
	size_t n = 0;
	int c;

	while ((c = utf16_next(&from)) > 0) {
		unsigned units = c >= 0x10000 ? 2 : 1;

		if (n + units > max)
			return -ENAMETOOLONG;
		if (units == 2) {
			utf16_put(to + 2 * n++, 0xd800 + ((u32)(c - 0x10000) >> 10), is_big_endian);
			c = 0xdc00 + (c & 0x3ff);
		}
		utf16_put(to + 2 * n++, (u32)c, is_big_endian);
	}
	return c < 0 ? c : (int)n;
}

static void utf16_swap_slashes(char *path, char from, char to)
{
	for (; *path; path++) {
		if (*path == from)
			*path = to;
	}
}

char *utf16_path_from_windows(const char *path)
{
	bool has_drive = isalpha((u8)path[0]) && path[1] == ':';
	char *copy = str_dup(path), *rest = copy;

	utf16_swap_slashes(copy, '\\', '/');
	if (has_drive || strncmp(copy, "//", 2) == 0)
		rest = strrchr(copy, '/') ? strrchr(copy, '/') + 1 : copy + 2;
	while (strncmp(rest, "./", 2) == 0)
		rest += 2;
	memmove(copy, rest, strlen(rest) + 1);
	return copy;
}

char *utf16_path_to_windows(const char *path)
{
	char *copy = *path == '/' ? str_dup(path) : str_format("./%s", path);

	utf16_swap_slashes(copy, '/', '\\');
	return copy;
}
