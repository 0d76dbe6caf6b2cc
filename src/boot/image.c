/*
 * Files to guest memory: bounded reads, modules, the command line. See boot_priv.h.
 */
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "boot/boot_priv.h"
#include "mem/gmem.h"

/* lseek, not fstat: a confined process asks again at each reset, and has no more than it needs. */
int boot_image_open(const struct boot_file *f, struct boot_image *out, struct err *err)
{
	off_t size = lseek(f->fd, 0, SEEK_END);

	if (size < 0 && errno == ESPIPE)
		return err_set(err, -EINVAL, "neither a file nor a block device");
	if (size < 0)
		return err_errno(err, -errno, "cannot read it");
	if (!size)
		return err_set(err, -ENOEXEC, "the file is empty");
	*out = (struct boot_image){.fd = f->fd, .size = (u64)size};
	return 0;
}

int boot_image_read(const struct boot_image *f, u64 offset, void *buf, u64 size, struct err *err)
{
	int r;

	if (!range_fits(offset, size, f->size))
		return err_set(err, -EINVAL,
			       "truncated: it should have at least %lu bytes, it has %lu",
			       offset + size, f->size);
	r = fd_pread_full(f->fd, buf, size, offset);
	if (r < 0)
		return err_errno(err, r, "cannot read %lu bytes at %lu", size, offset);
	return 0;
}

int boot_image_load(const struct boot_image *f, u64 offset, u64 size, struct gmem *g, gpa_t gpa,
		    struct err *err)
{
	while (size) {
		struct gmem_view v;
		u64 part;
		int r = gmem_view_open(g, gpa, size, true, &v);

		if (r < 0)
			return err_set(err, r, "no memory at %#lx", gpa);
		part = v.size;
		r = boot_image_read(f, offset, v.ptr, part, err);
		gmem_view_release(&v);
		if (r < 0)
			return r;
		offset += part;
		gpa += part;
		size -= part;
	}
	return 0;
}

int boot_put(struct boot_loader *l, gpa_t gpa, const void *data, u64 size, struct err *err)
{
	int r = gmem_write(l->gmem, gpa, data, size);

	if (r < 0)
		return err_set(err, r, "no memory at %#lx", gpa);
	return 0;
}

int boot_put_cmdline(struct boot_loader *l, const char *first_word, u64 limit, struct err *err)
{
	const char *line = l->config->cmdline ? l->config->cmdline : "";
	u64 first = first_word ? strlen(first_word) : 0;
	u64 gap = first && *line ? 1 : 0;
	u64 size = first + gap + strlen(line);
	int r;

	limit = MIN(limit, BOOT_CMDLINE_MAX);
	if (size > limit)
		return err_set(err, -E2BIG,
			       "the command line is %lu bytes long, this kernel takes at most %lu",
			       size, limit);
	r = boot_put(l, BOOT_CMDLINE_GPA, first_word ? first_word : "", first, err);
	if (r == 0)
		r = boot_put(l, BOOT_CMDLINE_GPA + first, " ", gap, err);
	if (r == 0)
		r = boot_put(l, BOOT_CMDLINE_GPA + first + gap, line, strlen(line) + 1, err);
	return r;
}

/* The initrd, say, needs more than there is: how much, and of what. */
static int boot_no_room(const struct boot_loader *l, u64 size, gpa_t max, struct err *err)
{
	return err_set(err, -ENOSPC,
		       "too large for the guest's memory: it needs %lu KiB below %#lx, where the "
		       "kernel leaves %lu KiB free; give the guest more memory",
		       (size + KIB - 1) / KIB, max, boot_memmap_largest(&l->room, 0, max) / KIB);
}

static int boot_place_module(struct boot_loader *l, u64 size, const struct boot_place *place,
			     gpa_t *out, struct err *err)
{
	u64 whole;

	if (size > boot_memmap_ram_bytes(&l->room))
		return boot_no_room(l, size, place->max, err);
	whole = align_up(size, PAGE_SIZE);
	if (!boot_memmap_find_high(&l->room, whole, PAGE_SIZE, 0, place->max, out) &&
	    !(place->may_go_high &&
	      boot_memmap_find_low(&l->room, whole, PAGE_SIZE, BOOT_ABOVE_4G_GPA, ~(gpa_t)0, out)))
		return boot_no_room(l, size, place->max, err);
	boot_memmap_set(&l->room, *out, whole, BOOT_MEM_RESERVED);
	return 0;
}

static int boot_load_file(struct boot_loader *l, const struct boot_file *f,
			  const struct boot_place *place, gpa_t *out_gpa, u64 *out_size,
			  struct err *err)
{
	struct boot_image image = {0};
	gpa_t gpa;
	int r;

	r = boot_image_open(f, &image, err);
	if (r < 0)
		return r;
	r = boot_place_module(l, image.size, place, &gpa, err);
	if (r < 0)
		return r;
	r = boot_image_load(&image, 0, image.size, l->gmem, gpa, err);
	if (r < 0)
		return r;
	*out_gpa = gpa;
	*out_size = image.size;
	return 0;
}

int boot_load_module(struct boot_loader *l, u32 i, const struct boot_place *place, gpa_t *out_gpa,
		     u64 *out_size, struct err *err)
{
	const struct boot_file *f = &l->config->modules[i].file;
	int r = boot_load_file(l, f, place, out_gpa, out_size, err);

	if (r < 0)
		return err_wrap(err, "initrd '%s'", f->name);
	if (i == 0) {
		l->info.initrd_gpa = *out_gpa;
		l->info.initrd_size = *out_size;
	}
	return 0;
}

int boot_load_initrd(struct boot_loader *l, const struct boot_place *place, struct err *err)
{
	gpa_t gpa;
	u64 size;

	if (l->config->n_modules > 1)
		return err_set(err, -EINVAL, "Linux takes one initrd, not %u",
			       l->config->n_modules);
	if (!l->config->n_modules)
		return 0;
	return boot_load_module(l, 0, place, &gpa, &size, err);
}
