/*
 * Page walks: permissions, accessed and dirty bits, error codes, in all three kinds of paging.
 */
#include "accel/soft/mmu.h"
#include "base/err.h"
#include "core_fixture.h"
#include "mem/gmem.h"
#include "test.h"

#define PT_TOP  0x300000u
#define PT_NEXT 0x301000u
#define PT_DIR  0x302000u
#define PT_LEAF 0x303000u
#define PAGE    0x400000u

struct walk_test {
	struct core k;
	struct sx_cpu *c;
};

static void put64(struct walk_test *t, u64 gpa, u64 v)
{
	memcpy(core_ram(&t->k, gpa), &v, sizeof(v));
}

static void put32(struct walk_test *t, u64 gpa, u32 v)
{
	memcpy(core_ram(&t->k, gpa), &v, sizeof(v));
}

static u64 get64(struct walk_test *t, u64 gpa)
{
	u64 v;

	memcpy(&v, core_ram(&t->k, gpa), sizeof(v));
	return v;
}

/* Linear 0 leads through four tables to PAGE with this leaf. */
static void begin(struct walk_test *t, u64 leaf)
{
	struct x86_cpu_state s;
	struct err err;

	core_init(&t->k);
	core_long_mode(&t->k, &s);
	s.cr3 = PT_TOP;
	put64(t, PT_TOP, PT_NEXT | 7);
	put64(t, PT_NEXT, PT_DIR | 7);
	put64(t, PT_DIR, PT_LEAF | 7);
	put64(t, PT_LEAF, PAGE | leaf);
	CHECK_EQ(t->k.vcpu[0]->ops->set_state(t->k.vcpu[0], &s, &err), 0);
	t->c = sx_cpu_of(t->k.vcpu[0]);
	gmem_enter(t->k.gmem);
	t->c->map = gmem_current_map(t->k.gmem);
}

static void end(struct walk_test *t)
{
	gmem_leave(t->k.gmem);
	core_fini(&t->k);
}

static int walk(struct walk_test *t, u64 lin, enum sx_access access, enum sx_tlb_set set)
{
	struct sx_walk w;

	return sx_mmu_walk(t->c, lin, access, set, &w);
}

#define P X86_PTE_P
#define W X86_PTE_W
#define U X86_PTE_U

TEST(permissions_and_error_codes_follow_the_leaf)
{
	static const struct {
		u64 leaf;
		enum sx_access access;
		enum sx_tlb_set set;
		u64 cr4, cr0_off;
		int wanted;
	} rows[] = {
		/* Not present: the access alone. */
		{0, SX_READ, SX_TLB_SUPERVISOR, 0, 0, 0},
		{0, SX_WRITE, SX_TLB_USER, 0, 0, X86_PF_W | X86_PF_U},
		{0, SX_EXEC, SX_TLB_USER, 0, 0, X86_PF_I | X86_PF_U},
		/* User and supervisor. */
		{P | W, SX_READ, SX_TLB_SUPERVISOR, 0, 0, -1},
		{P | W, SX_READ, SX_TLB_USER, 0, 0, X86_PF_P | X86_PF_U},
		{P | W | U, SX_WRITE, SX_TLB_USER, 0, 0, -1},
		/* Read-only: WP binds the supervisor. */
		{P | U, SX_WRITE, SX_TLB_USER, 0, 0, X86_PF_P | X86_PF_W | X86_PF_U},
		{P, SX_WRITE, SX_TLB_SUPERVISOR, 0, 0, X86_PF_P | X86_PF_W},
		{P, SX_WRITE, SX_TLB_SUPERVISOR, 0, X86_CR0_WP, -1},
		/* No execution. */
		{P | X86_PTE_NX, SX_EXEC, SX_TLB_SUPERVISOR, 0, 0, X86_PF_P | X86_PF_I},
		{P | X86_PTE_NX, SX_READ, SX_TLB_SUPERVISOR, 0, 0, -1},
		/* SMEP, SMAP and its lifting. */
		{P | U, SX_EXEC, SX_TLB_SUPERVISOR, 0, 0, -1},
		{P | U, SX_EXEC, SX_TLB_SUPERVISOR, X86_CR4_SMEP, 0, X86_PF_P | X86_PF_I},
		{P | U, SX_READ, SX_TLB_SUPERVISOR, X86_CR4_SMAP, 0, X86_PF_P},
		{P | U, SX_READ, SX_TLB_SUPERVISOR_AC, X86_CR4_SMAP, 0, -1},
		{P | U, SX_READ, SX_TLB_USER, X86_CR4_SMAP, 0, -1},
		/* Bits above the physical address. */
		{P | BIT(45), SX_READ, SX_TLB_SUPERVISOR, 0, 0, X86_PF_P | X86_PF_RSVD},
	};

	for (unsigned n = 0; n < ARRAY_SIZE(rows); n++) {
		struct walk_test t;

		begin(&t, rows[n].leaf);
		t.c->cr4 |= rows[n].cr4;
		t.c->cr0 &= ~rows[n].cr0_off;
		CHECK_EQ(walk(&t, 0x123, rows[n].access, rows[n].set), rows[n].wanted);
		end(&t);
	}
}

TEST(upper_levels_narrow_what_the_leaf_allows)
{
	struct walk_test t;

	begin(&t, P | W | U);
	put64(&t, PT_DIR, PT_LEAF | P | W);
	CHECK_EQ(walk(&t, 0, SX_READ, SX_TLB_USER), X86_PF_P | X86_PF_U);
	put64(&t, PT_DIR, PT_LEAF | P | U);
	CHECK_EQ(walk(&t, 0, SX_WRITE, SX_TLB_USER), X86_PF_P | X86_PF_W | X86_PF_U);
	put64(&t, PT_DIR, PT_LEAF | P | U | X86_PTE_NX);
	CHECK_EQ(walk(&t, 0, SX_EXEC, SX_TLB_USER), X86_PF_P | X86_PF_I | X86_PF_U);
	end(&t);
}

TEST(accessed_is_set_on_the_way_and_dirty_by_writes)
{
	struct walk_test t;

	begin(&t, P | W);
	CHECK_EQ(walk(&t, 0, SX_READ, SX_TLB_SUPERVISOR), -1);
	CHECK_EQ(get64(&t, PT_TOP), PT_NEXT | 7 | X86_PTE_A);
	CHECK_EQ(get64(&t, PT_LEAF), PAGE | P | W | X86_PTE_A);
	CHECK_EQ(walk(&t, 0, SX_WRITE, SX_TLB_SUPERVISOR), -1);
	CHECK_EQ(get64(&t, PT_LEAF), PAGE | P | W | X86_PTE_A | X86_PTE_D);
	CHECK_EQ(get64(&t, PT_DIR), PT_LEAF | 7 | X86_PTE_A); /* D is the leaf's alone */
	end(&t);
}

TEST(a_refused_walk_marks_nothing)
{
	struct walk_test t;

	begin(&t, P);
	CHECK_EQ(walk(&t, 0, SX_WRITE, SX_TLB_SUPERVISOR), X86_PF_P | X86_PF_W);
	CHECK_EQ(get64(&t, PT_LEAF), PAGE | P);
	end(&t);
}

TEST(large_pages_are_found_in_pieces)
{
	struct walk_test t;
	struct sx_walk w;

	begin(&t, 0);
	put64(&t, PT_DIR, 0x600000 | P | W | X86_PTE_PS | X86_PTE_G);
	CHECK_EQ(sx_mmu_walk(t.c, 0x5678, SX_READ, SX_TLB_SUPERVISOR, &w), -1);
	CHECK_EQ(w.page, 0x605000);
	CHECK_EQ(w.leaf_bits, 21);
	CHECK(w.is_global && !w.is_writable);         /* D is clear: the next write must walk */
	put64(&t, PT_DIR, 0x602000 | P | X86_PTE_PS); /* bits below the page's size */
	sx_tlb_flush_page(t.c, 0);
	CHECK_EQ(walk(&t, 0, SX_READ, SX_TLB_SUPERVISOR), X86_PF_P | X86_PF_RSVD);
	put64(&t, PT_NEXT, 0x40000000 | P | X86_PTE_PS);
	CHECK_EQ(sx_mmu_walk(t.c, 0x5678, SX_READ, SX_TLB_SUPERVISOR, &w), -1);
	CHECK_EQ(w.page, 0x40005000);
	put64(&t, PT_TOP, P | X86_PTE_PS); /* there are no 512 GiB pages */
	sx_tlb_flush_page(t.c, 0);
	CHECK_EQ(walk(&t, 0, SX_READ, SX_TLB_SUPERVISOR), X86_PF_P | X86_PF_RSVD);
	end(&t);
}

static void leave_long_mode(struct walk_test *t, u64 cr4)
{
	t->c->efer = X86_EFER_NXE;
	t->c->cr4 = cr4;
	sx_mmu_update(t->c);
}

TEST(pae_reads_its_four_entries_once)
{
	struct walk_test t;
	struct sx_walk w;

	begin(&t, 0);
	leave_long_mode(&t, X86_CR4_PAE);
	put64(&t, PT_TOP, 0);
	put64(&t, PT_TOP + 8, PT_DIR | P); /* 1 to 2 GiB */
	put64(&t, PT_DIR, PT_LEAF | P | W | U);
	put64(&t, PT_LEAF, PAGE | P | W | U);
	CHECK(sx_mmu_load_pdptes(t.c, PT_TOP));
	put64(&t, PT_TOP + 8, 0); /* too late */
	CHECK_EQ(sx_mmu_walk(t.c, 0x40000abc, SX_WRITE, SX_TLB_USER, &w), -1);
	CHECK_EQ(w.page, PAGE);
	put64(&t, PT_LEAF, PAGE | P | BIT(52)); /* ignored in 4-level paging, reserved here */
	CHECK_EQ(walk(&t, 0x40000000, SX_READ, SX_TLB_SUPERVISOR), X86_PF_P | X86_PF_RSVD);
	put64(&t, PT_TOP, PT_DIR | P | W); /* W is reserved in these entries */
	CHECK(!sx_mmu_load_pdptes(t.c, PT_TOP));
	end(&t);
}

TEST(two_levels_have_four_byte_entries_and_4_mib_pages)
{
	struct walk_test t;
	struct sx_walk w;
	u32 entry;

	begin(&t, 0);
	leave_long_mode(&t, X86_CR4_PSE);
	put32(&t, PT_TOP + 4, PT_LEAF | 7); /* 4 to 8 MiB */
	put32(&t, PT_LEAF + 4, PAGE | 7);
	CHECK_EQ(sx_mmu_walk(t.c, 0x401234, SX_WRITE, SX_TLB_USER, &w), -1);
	CHECK_EQ(w.page, PAGE);
	memcpy(&entry, core_ram(&t.k, PT_LEAF + 4), 4);
	CHECK_EQ(entry, PAGE | 7 | X86_PTE_A | X86_PTE_D);
	/* PSE-36: bits 13 to 20 are the physical address's 32 to 39. */
	put32(&t, PT_TOP + 8, 0x400000 | 1 << 13 | 0x87);
	CHECK_EQ(sx_mmu_walk(t.c, 0x801234, SX_READ, SX_TLB_USER, &w), -1);
	CHECK_EQ(w.page, 0x100401000);
	put32(&t, PT_TOP + 8, 1 << 21 | 0x87);
	CHECK_EQ(walk(&t, 0x800000, SX_READ, SX_TLB_USER), X86_PF_P | X86_PF_RSVD | X86_PF_U);
	end(&t);
}

TEST(tables_outside_of_memory_read_as_ones)
{
	struct walk_test t;

	begin(&t, 0);
	put64(&t, PT_DIR, 0x7000000000 | 7);
	CHECK_EQ(walk(&t, 0, SX_READ, SX_TLB_SUPERVISOR), X86_PF_P | X86_PF_RSVD);
	end(&t);
}
