/*
 * A small guest to load kernels into. See fixture.h.
 */
#include "fixture.h"

#include <sys/mman.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/epoch.h"
#include "base/fd.h"
#include "test.h"

static struct gmem_block *guest_block(struct guest *t, const char *name, u64 size)
{
	struct gmem_block *b;

	CHECK_EQ(gmem_block_new(t->gmem, name, GMEM_ANON, size, -1, &b, &t->err), 0);
	return b;
}

struct guest *guest_new(bool has_high_memory)
{
	struct guest *t = NEW(struct guest);
	struct gmem_range ranges[2] = {0};

	t->epoch = epoch_new();
	t->gmem = gmem_new(t->epoch, false);
	gmem_attach_thread(t->gmem);
	ranges[0] =
		(struct gmem_range){.size = GUEST_RAM, .block = guest_block(t, "ram", GUEST_RAM)};
	if (has_high_memory)
		ranges[1] = (struct gmem_range){.gpa = BOOT_ABOVE_4G_GPA,
						.size = GUEST_HIGH,
						.block = guest_block(t, "high", GUEST_HIGH)};
	gmem_set_map(t->gmem, ranges, has_high_memory ? 2 : 1);
	boot_memmap_init(&t->memmap, GUEST_RAM, has_high_memory ? GUEST_HIGH : 0);
	t->config = (struct boot_config){
		.kernel = {.fd = -1, .name = "vmlinuz"},
		.modules = t->modules,
		.memmap = &t->memmap,
		.rsdp = GUEST_RSDP,
	};
	return t;
}

void guest_free(struct guest *t)
{
	fd_close(t->config.kernel.fd);
	for (u32 i = 0; i < t->config.n_modules; i++)
		fd_close(t->modules[i].file.fd);
	gmem_detach_thread(t->gmem);
	gmem_free(t->gmem);
	epoch_free(t->epoch);
	free(t);
}

int guest_file(const void *data, size_t size)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_EQ(fd_pwrite_full(fd, data, size, 0), 0);
	return fd;
}

void guest_set_kernel(struct guest *t, const void *data, size_t size)
{
	fd_close(t->config.kernel.fd);
	t->config.kernel.fd = guest_file(data, size);
}

void guest_add_module(struct guest *t, const void *data, size_t size, const char *string)
{
	CHECK(t->config.n_modules < ARRAY_SIZE(t->modules));
	t->modules[t->config.n_modules++] = (struct boot_module){
		.file = {.fd = guest_file(data, size), .name = "initrd.img"},
		.string = string,
	};
}

int guest_load(struct guest *t)
{
	t->err = (struct err)ERR_INIT;
	return boot_load(&t->config, t->gmem, &t->cpu, &t->info, &t->err);
}

void guest_read(struct guest *t, gpa_t gpa, void *buf, size_t size)
{
	CHECK_EQ(gmem_read(t->gmem, gpa, buf, size), 0);
}

u32 guest_u32(struct guest *t, gpa_t gpa)
{
	le32 v;

	guest_read(t, gpa, &v, sizeof(v));
	return le32_get(v);
}

u64 guest_u64(struct guest *t, gpa_t gpa)
{
	le64 v;

	guest_read(t, gpa, &v, sizeof(v));
	return le64_get(v);
}

const char *guest_string(struct guest *t, gpa_t gpa)
{
	static char text[256];

	guest_read(t, gpa, text, sizeof(text) - 1);
	return text;
}
