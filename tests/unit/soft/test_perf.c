/*
 * Names of translated code, as perf reads them: whose code it is, and that no piece of it is without one.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "accel/soft/cpu.h"
#include "accel/soft/native.h"
#include "base/jitdump_wire.h"
#include "core_fixture.h"
#include "test.h"

#define MAX_LINES 256

struct line {
	u64 start, size;
	char name[80];
};

struct map {
	FILE *file;
	struct line lines[MAX_LINES];
	unsigned n;
};

static void read_map(struct map *m)
{
	char text[200];

	rewind(m->file);
	for (m->n = 0; fgets(text, sizeof(text), m->file); m->n++) {
		struct line *l = &m->lines[m->n];

		CHECK(m->n < MAX_LINES);
		CHECK_EQ(sscanf(text, "%lx %lx %79[^\n]", &l->start, &l->size, l->name), 3);
	}
}

static bool has_name(const struct map *m, const char *name)
{
	for (unsigned n = 0; n < m->n; n++) {
		if (!strcmp(m->lines[n].name, name))
			return true;
	}
	return false;
}

/* In the order of places, which is that in which they were made: nothing but alignment between them. */
static void check_part(const struct map *m, u64 at, u64 end)
{
	for (unsigned n = 0; n < m->n; n++) {
		const struct line *l = &m->lines[n];

		if (l->start < at || l->start >= end)
			continue;
		CHECK(l->start - at < 64);
		at = l->start + l->size;
	}
	CHECK(end - at < 64);
}

static void check_cover(const struct map *m, const struct sx_native *native)
{
	u64 exec = (u64)(uintptr_t)native->exec;

	check_part(m, exec, exec + native->used);
	check_part(m, exec + native->cold_start, exec + native->cold_used);
}

/* A kernel's loop and a call; a program of 32 bits (compatibility mode), which calls it by INT. */
/* clang-format off */
CODE(kernel64, "mov $5, %ecx\n 1: dec %ecx\n jnz 1b\n call 2f\n"
	"pushq $0x2b\n pushq $0x208000\n pushq $2\n pushq $0x23\n pushq $0x210000\n iretq\n"
	".org kernel64 + 0x40\n" STOP "0: jmp 0b\n .org kernel64 + 0x80\n 2: inc %ebx\n ret\n");
CODE(program32, ".code32\n mov $5, %ecx\n 1: dec %ecx\n jnz 1b\n int $0x80\n");
CODE(real16, ".code16\n mov $5, %cx\n 1: dec %cx\n jnz 1b\n" STOP "0: jmp 0b\n");
/* clang-format on */

TEST(names_tell_address_mode_and_privilege_of_all_code)
{
	struct map m = {.file = tmpfile()};
	struct core k;
	struct x86_cpu_state s;

	core_init_named(&k, fileno(m.file));
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, kernel64, CODE_SIZE(kernel64));
	core_load(&k, 0x210000, program32, CODE_SIZE(program32));
	core_set_gate(&k, 0x80, CORE_CODE + 0x40, CORE_CS64, 0, 0xee);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	core_real_mode(&k, &s);
	core_load(&k, CORE_CODE + 0x1000, real16, CODE_SIZE(real16));
	s.rip = 0x1000;
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	read_map(&m);

	CHECK_EQ(m.lines[0].start, (u64)(uintptr_t)sx_cpu_of(k.vcpu[0])->native->exec);
	CHECK_STR(m.lines[0].name, "posada: between guest code");
	CHECK(has_name(&m, "guest 0x10005 64-bit cpl0"));
	CHECK(has_name(&m, "guest 0x10080 64-bit cpl0"));
	CHECK(has_name(&m, "guest 0x210005 32-bit cpl3"));
	CHECK(has_name(&m, "guest 0x11003 real cpl0"));
	check_cover(&m, sx_cpu_of(k.vcpu[0])->native);
	core_fini(&k);
	fclose(m.file);
}

/* What can't be written is let go, and the guest goes on. */
TEST(names_that_find_no_room_are_no_trouble)
{
	FILE *full = fopen("/dev/full", "w");
	struct core k;
	struct x86_cpu_state s;

	CHECK(full);
	core_init_named(&k, fileno(full));
	core_real_mode(&k, &s);
	core_load(&k, CORE_CODE, real16, CODE_SIZE(real16));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK(!sx_perf_wants(sx_cpu_of(k.vcpu[0])->native->perf));
	core_fini(&k);
	fclose(full);
}

/* Code memory without a file is as strict: written at one address, executed at the other, never both. */
TEST(code_that_has_names_is_never_writable_where_it_is_executed)
{
	struct map m = {.file = tmpfile()};
	FILE *maps = fopen("/proc/self/maps", "r");
	const struct sx_native *n;
	char text[300], rights[5];
	unsigned n_seen = 0;
	struct core k;
	u64 from, to;

	core_init_named(&k, fileno(m.file));
	n = sx_cpu_of(k.vcpu[0])->native;
	while (fgets(text, sizeof(text), maps)) {
		CHECK_EQ(sscanf(text, "%lx-%lx %4s", &from, &to, rights), 3);
		CHECK(rights[1] != 'w' || rights[2] != 'x');
		if (from == (u64)(uintptr_t)n->exec) {
			CHECK_STR(rights, "r-xs");
			n_seen++;
		}
		if (from == (u64)(uintptr_t)n->write) {
			CHECK_STR(rights, "rw-s");
			n_seen++;
		}
	}
	CHECK_EQ(n_seen, 2);
	core_fini(&k);
	fclose(maps);
	fclose(m.file);
}

/* --- jitdump --- */

static FILE *new_dump(void)
{
	const struct jitdump_header_wire h = {
		.magic = JITDUMP_MAGIC, .total_size = sizeof(h), .pid = 4711};
	FILE *f = tmpfile();

	CHECK(f);
	CHECK_EQ(fwrite(&h, sizeof(h), 1, f), 1);
	CHECK_EQ(fflush(f), 0);
	return f;
}

/* Each record is whole, in its time, and has what stands at its address, as long as nothing was linked or dropped. */
static unsigned check_records(FILE *f, const struct sx_native *n, const char *wanted)
{
	struct jitdump_load_wire load;
	unsigned n_found = 0;
	u64 last = 0, index = 0, end = (u64)(uintptr_t)n->exec + n->cold_size;
	char *rest;

	CHECK_EQ(fseek(f, sizeof(struct jitdump_header_wire), SEEK_SET), 0);
	for (; fread(&load, sizeof(load), 1, f) == 1; last = load.timestamp) {
		size_t size = load.total_size - sizeof(load), name_size = size - load.code_size;

		CHECK_EQ(load.kind, JITDUMP_LOAD);
		CHECK_EQ(load.pid, 4711);
		CHECK_EQ(load.index, index++);
		CHECK(load.timestamp >= last);
		CHECK(load.address >= (u64)(uintptr_t)n->exec &&
		      load.address + load.code_size <= end);
		CHECK(size > load.code_size && size < MIB);
		rest = malloc(size);
		CHECK_EQ(fread(rest, size, 1, f), 1);
		CHECK_EQ(strnlen(rest, name_size), name_size - 1);
		if (index == 1)
			CHECK(!memcmp(rest + name_size, n->exec, load.code_size));
		n_found += !strcmp(rest, wanted);
		free(rest);
	}
	CHECK(index > 4);
	return n_found;
}

TEST(a_dump_has_all_code_with_its_names)
{
	FILE *f = new_dump();
	struct core k;
	struct x86_cpu_state s;

	core_init_named(&k, fileno(f));
	core_real_mode(&k, &s);
	core_load(&k, CORE_CODE, real16, CODE_SIZE(real16));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	/* What is executed, and what is out of line. */
	CHECK_EQ(check_records(f, sx_cpu_of(k.vcpu[0])->native, "guest 0x10003 real cpl0"), 2);
	core_fini(&k);
	fclose(f);
}

/* perf looks for it among what may be executed; nothing can. */
TEST(the_mapping_that_tells_perf_of_a_dump_has_nothing_in_it)
{
	FILE *f = new_dump(), *maps;
	char text[300], rights[5];
	unsigned n_seen = 0;
	struct core k;
	u64 from, to, off;

	core_init_named(&k, fileno(f));
	maps = fopen("/proc/self/maps", "r");
	CHECK(maps);
	while (fgets(text, sizeof(text), maps)) {
		CHECK_EQ(sscanf(text, "%lx-%lx %4s %lx", &from, &to, rights, &off), 4);
		if (off != 1ull << 40)
			continue;
		CHECK_STR(rights, "r-xp");
		CHECK_EQ(to - from, PAGE_SIZE);
		/* Reading it by the kernel says what touching it would come to. */
		CHECK_EQ(write(fileno(f), (void *)(uintptr_t)from, 1), -1);
		CHECK_EQ(errno, EFAULT);
		n_seen++;
	}
	CHECK_EQ(n_seen, 1);
	core_fini(&k);
	fclose(maps);
	fclose(f);
}
