/*
 * The stream of a port that nobody is connected to. See chr.h.
 */
#include "base/alloc.h"
#include "chr/chr_priv.h"

static void chr_null_ignore(struct chr *c)
{
	(void)c;
}

static size_t chr_null_write(struct chr *c, const u8 *data, size_t size)
{
	(void)c;
	(void)data;
	return size;
}

static void chr_null_free(struct chr *c)
{
	free(c);
}

struct chr *chr_null_new(void)
{
	static const struct chr_ops ops = {
		.attached = chr_null_ignore,
		.write = chr_null_write,
		.accept = chr_null_ignore,
		.free = chr_null_free,
	};
	struct chr *c = NEW(struct chr);

	c->ops = &ops;
	c->is_open = true;
	return c;
}
