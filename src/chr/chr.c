/*
 * The face of a stream: hands calls to the kind of stream behind it. See chr.h.
 */
#include "chr/chr.h"

#include "chr/chr_priv.h"

void chr_attach(struct chr *c, const struct chr_user *u)
{
	c->user = u;
	c->ops->attached(c);
}

bool chr_is_open(const struct chr *c)
{
	return __atomic_load_n(&c->is_open, __ATOMIC_RELAXED);
}

void chr_set_open(struct chr *c, bool is_open)
{
	if (c->is_open == is_open)
		return;
	__atomic_store_n(&c->is_open, is_open, __ATOMIC_RELAXED);
	if (c->user)
		c->user->event(c->user->opaque, is_open);
}

size_t chr_write(struct chr *c, const void *data, size_t size)
{
	return size ? c->ops->write(c, data, size) : 0;
}

void chr_accept(struct chr *c)
{
	c->ops->accept(c);
}

void chr_be_patient(struct chr *c)
{
	c->is_patient = true;
}

void chr_free(struct chr *c)
{
	if (c)
		c->ops->free(c);
}
