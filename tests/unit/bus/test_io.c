/* bus/: overlap and priority, splitting and widening, doorbells, devices' walks. */
#include "test.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/epoch.h"
#include "base/err.h"
#include "bus/device.h"
#include "bus/io.h"
#include "state/state.h"

/* A device of 16 bytes of memory that notes its last access. */
struct toy {
	struct device dev;
	struct io_region io;
	u8 mem[16];
	u64 last_off;
	unsigned last_size, accesses, resets;
};

static u64 toy_read(struct device *d, u64 off, unsigned size)
{
	struct toy *t = container_of(d, struct toy, dev);
	u64 v = 0;

	t->last_off = off;
	t->last_size = size;
	t->accesses++;
	memcpy(&v, t->mem + off, size);
	return v;
}

static void toy_write(struct device *d, u64 off, u64 value, unsigned size)
{
	struct toy *t = container_of(d, struct toy, dev);

	t->last_off = off;
	t->last_size = size;
	t->accesses++;
	memcpy(t->mem + off, &value, size);
}

static void toy_reset(struct device *d)
{
	struct toy *t = container_of(d, struct toy, dev);

	memset(t->mem, 0, sizeof(t->mem));
	t->resets++;
}

static void toy_free(struct device *d)
{
	struct toy *t = container_of(d, struct toy, dev);

	io_region_fini(&t->io);
	device_fini(d);
	free(t);
}

static const struct state_field toy_fields[] = {STATE_RAW(struct toy, mem), STATE_END};
static const struct state_table toy_state = {.name = "toy", .version = 1, .fields = toy_fields};
static const struct device_ops toy_ops = {
	.type = "toy",
	.offset = offsetof(struct toy, dev),
	.state = &toy_state,
	.reset = toy_reset,
	.free = toy_free,
};
static const struct io_ops any_size = {.read = toy_read, .write = toy_write};
static const struct io_ops words_only = {
	.read = toy_read, .write = toy_write, .min_size = 4, .max_size = 4};

static struct toy *toy_new(const char *name, const struct io_ops *ops)
{
	struct toy *t = NEW(struct toy);

	device_init(&t->dev, &toy_ops, name);
	io_region_init(&t->io, name, &t->dev, ops, sizeof(t->mem));
	return t;
}

struct bench {
	struct epoch *epoch;
	struct io_space *space;
};

static void bench_init(struct bench *b, u64 size)
{
	b->epoch = epoch_new();
	epoch_attach(b->epoch);
	b->space = io_space_new("test", b->epoch, size);
}

static void bench_fini(struct bench *b)
{
	io_space_free(b->space);
	epoch_detach(b->epoch);
	epoch_free(b->epoch);
}

TEST(nothing_reads_as_ones_and_drops_writes)
{
	struct bench b;
	struct toy *t = toy_new("t", &any_size);

	bench_init(&b, 0x10000);
	CHECK_EQ(io_space_read(b.space, 0x80, 2), 0xffff);
	io_space_write(b.space, 0x80, 1, 4);
	CHECK_EQ(io_map(b.space, 0x82, &t->io, 0), 0);
	t->mem[0] = 0x12;
	CHECK_EQ(io_space_read(b.space, 0x80, 4), 0x0012ffff);
	CHECK(io_space_has(b.space, 0x82));
	CHECK(!io_space_has(b.space, 0x81));
	CHECK_EQ(io_map(b.space, 0x200, &t->io, 0), -EBUSY);
	io_unmap(&t->io);
	CHECK_EQ(io_map(b.space, 0xfff8, &t->io, 0), -ERANGE);
	CHECK_EQ(io_map(b.space, 0xfff0, &t->io, 0), 0);
	device_free(&t->dev);
	bench_fini(&b);
}

TEST(the_last_address_of_memory_can_be_mapped)
{
	struct bench b;
	struct toy *t = toy_new("t", &any_size);

	bench_init(&b, 0);
	CHECK_EQ(io_map(b.space, (u64)-16, &t->io, 0), 0);
	io_space_write(b.space, (u64)-1, 0x55, 1);
	CHECK_EQ(t->mem[15], 0x55);
	CHECK_EQ(io_space_read(b.space, (u64)-1, 2), 0xff55); /* wraps to 0: nothing there */
	device_free(&t->dev);
	bench_fini(&b);
}

TEST(higher_priority_wins_then_age)
{
	struct toy *low = toy_new("low", &any_size), *high = toy_new("high", &any_size);
	struct toy *late = toy_new("late", &any_size);
	struct bench b;

	bench_init(&b, 0);
	memset(low->mem, 1, 16);
	memset(high->mem, 2, 16);
	memset(late->mem, 3, 16);
	CHECK_EQ(io_map(b.space, 0x100, &low->io, 0), 0);
	CHECK_EQ(io_map(b.space, 0x104, &high->io, 1), 0);
	CHECK_EQ(io_map(b.space, 0x108, &late->io, 0), 0);
	CHECK_EQ(io_space_read(b.space, 0x103, 1), 1);
	CHECK_EQ(io_space_read(b.space, 0x102, 4), 0x02020101);
	CHECK_EQ(io_space_read(b.space, 0x113, 2), 0x0302);
	io_unmap(&high->io);
	CHECK_EQ(io_space_read(b.space, 0x10f, 2), 0x0301);
	io_unmap(&low->io);
	CHECK_EQ(io_space_read(b.space, 0x107, 2), 0x03ff);
	device_free(&low->dev);
	device_free(&high->dev);
	device_free(&late->dev);
	bench_fini(&b);
}

TEST(a_region_shows_on_both_sides_of_a_smaller_one)
{
	struct toy *wide = toy_new("wide", &any_size), *narrow = toy_new("narrow", &any_size);
	struct bench b;

	bench_init(&b, 0);
	memset(wide->mem, 1, 16);
	memset(narrow->mem, 2, 16);
	narrow->io.size = 4;
	CHECK_EQ(io_map(b.space, 0, &wide->io, 0), 0);
	CHECK_EQ(io_map(b.space, 4, &narrow->io, 5), 0);
	CHECK_EQ(io_space_read(b.space, 2, 8), 0x0101020202020101);
	device_free(&wide->dev);
	device_free(&narrow->dev);
	bench_fini(&b);
}

TEST(accesses_are_split_and_widened_to_what_the_device_takes)
{
	struct toy *t = toy_new("t", &words_only);

	io_write(&t->io, 0, 0x1122334455667788, 8);
	CHECK_EQ(t->accesses, 2);
	CHECK_EQ(t->last_size, 4);
	CHECK_EQ(io_read(&t->io, 5, 1), 0x33);
	CHECK_EQ(t->last_off, 4);
	io_write(&t->io, 2, 0xaabb, 2); /* read, then written whole */
	CHECK_EQ(io_read(&t->io, 0, 8), 0x11223344aabb7788);
	CHECK_EQ(io_read(&t->io, 1, 4), 0x44aabb77);
	device_free(&t->dev);
}

TEST(unaligned_accesses_come_in_aligned_pieces)
{
	struct toy *t = toy_new("t", &any_size);

	io_write(&t->io, 1, 0x12345678, 4);
	CHECK_EQ(t->accesses, 3); /* 1, 2, 1 bytes */
	CHECK_EQ(io_read(&t->io, 1, 4), 0x12345678);
	device_free(&t->dev);
}

TEST(doorbells_ring_instead_of_the_callback)
{
	struct toy *t = toy_new("t", &any_size);
	struct io_doorbell any = {.off = 4, .size = 2, .is_any_value = true};
	struct io_doorbell one = {.off = 8, .size = 4, .value = 7};
	u64 count;

	any.fd = eventfd(0, EFD_NONBLOCK);
	one.fd = eventfd(0, EFD_NONBLOCK);
	io_doorbell_add(&t->io, &any);
	io_doorbell_add(&t->io, &one);
	io_write(&t->io, 4, 0x1234, 2);
	io_write(&t->io, 8, 7, 4);
	CHECK_EQ(t->accesses, 0);
	io_write(&t->io, 4, 1, 1);
	io_write(&t->io, 8, 8, 4);
	CHECK_EQ(t->accesses, 2);
	CHECK_EQ(read(any.fd, &count, 8), 8);
	CHECK_EQ(count, 1);
	CHECK_EQ(read(one.fd, &count, 8), 8);
	CHECK_EQ(count, 1);
	io_doorbell_remove(&t->io, &any);
	io_doorbell_remove(&t->io, &one);
	close(any.fd);
	close(one.fd);
	device_free(&t->dev);
}

struct bell_log {
	u64 addr[8];
	bool is_add[8];
	int n;
};

static int bell_added(void *opaque, u64 addr, const struct io_doorbell *b)
{
	struct bell_log *log = opaque;

	(void)b;
	log->addr[log->n] = addr;
	log->is_add[log->n++] = true;
	return 0;
}

static void bell_removed(void *opaque, u64 addr, const struct io_doorbell *b)
{
	struct bell_log *log = opaque;

	(void)b;
	log->addr[log->n] = addr;
	log->is_add[log->n++] = false;
}

TEST(the_accelerator_follows_moving_doorbells)
{
	static const struct io_doorbell_ops ops = {bell_added, bell_removed};
	struct io_doorbell bell = {.off = 4, .size = 2, .is_any_value = true, .fd = -1};
	struct toy *t = toy_new("t", &any_size);
	struct bell_log log = {0};
	struct bench b;

	bench_init(&b, 0);
	io_space_set_doorbell_ops(b.space, &ops, &log);
	io_doorbell_add(&t->io, &bell);
	CHECK_EQ(log.n, 0);
	io_map(b.space, 0x1000, &t->io, 0);
	io_unmap(&t->io);
	io_map(b.space, 0x2000, &t->io, 0);
	io_doorbell_remove(&t->io, &bell);
	CHECK_EQ(log.n, 4);
	CHECK(log.addr[0] == 0x1004 && log.is_add[0]);
	CHECK(log.addr[1] == 0x1004 && !log.is_add[1]);
	CHECK(log.addr[2] == 0x2004 && log.is_add[2]);
	CHECK(log.addr[3] == 0x2004 && !log.is_add[3]);
	device_free(&t->dev);
	bench_fini(&b);
}

TEST(a_set_of_devices_is_reset_saved_and_loaded)
{
	AUTO(state_writer_free) struct state_writer *w = state_writer_new();
	struct toy *a = toy_new("a", &any_size), *b = toy_new("b", &any_size);
	struct err err = ERR_INIT;
	struct device_set set;
	struct state_reader *r;
	const char *section;
	const void *data;
	size_t size;
	u32 instance;

	device_set_init(&set);
	device_adopt(&set, &a->dev);
	device_adopt(&set, &b->dev);
	a->mem[0] = 1;
	b->mem[0] = 2;
	device_set_save(&set, w);
	data = state_writer_finish(w, &size);
	device_set_reset(&set);
	CHECK_EQ(a->mem[0] + b->mem[0], 0);
	r = state_reader_new(data, size);
	while (state_reader_next(r, &section, &instance, &err) > 0)
		CHECK_EQ(device_set_load(&set, r, section, instance, &err), 0);
	CHECK_EQ(a->mem[0], 1);
	CHECK_EQ(b->mem[0], 2);
	CHECK_EQ(device_set_load(&set, r, "other", 0, &err), -ENOENT);
	state_reader_free(r);
	guest_error(&a->dev, "read at %#x", 4);
	CHECK_EQ(a->dev.guest_errors, 1);
	device_set_fini(&set);
}
