/*
 * System instructions: halting, interrupt flag, system calls, software interrupts, MSRs, CPUID, TSC.
 */
#include "accel/soft/bind.h"
#include "accel/soft/event.h"
#include "accel/soft/exec.h"
#include "accel/soft/fpu.h"
#include "accel/soft/privilege.h"
#include "accel/soft/segment.h"
#include "accel/soft/system.h"

/* --- interrupts --- */

/* CLI and STI: IOPL decides, also in virtual-8086 mode. */
static void check_iopl(struct sx_cpu *c, const struct sx_insn *i)
{
	if ((c->cr0 & X86_CR0_PE) && c->cpl > sx_iopl(c))
		sx_throw_gp(c, i, 0);
}

static void cli(struct sx_cpu *c, const struct sx_insn *i)
{
	check_iopl(c, i);
	c->sysflags &= ~X86_FLAG_IF;
	SX_NEXT(c, i);
}

static void sti(struct sx_cpu *c, const struct sx_insn *i)
{
	check_iopl(c, i);
	if (!(c->sysflags & X86_FLAG_IF)) {
		c->sysflags |= X86_FLAG_IF;
		c->interrupt_shadow = X86_SHADOW_STI;
		if (c->intr_waits)
			__atomic_fetch_or(&c->request, SX_REQ_KICK, __ATOMIC_RELAXED);
		sx_mode_update(c);
	}
	SX_NEXT(c, i);
}

static void hlt(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_require_cpl0(c, i);
	c->run_state = X86_HALTED;
	c->gpr[SX_RIP] = sx_next_rip(c, i);
}

static void int_n(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_throw_soft(c, i, (u8)i->imm, true);
}

static void int3(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_throw_soft(c, i, X86_BP, false);
}

static void into(struct sx_cpu *c, const struct sx_insn *i)
{
	if (c->cc & SX_CC_OF)
		sx_throw_soft(c, i, X86_OF, false);
	SX_NEXT(c, i);
}

/* A debug exception by itself, reported after the instruction. */
static void int1(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 next = sx_next_rip(c, i);

	sx_settle(c, i);
	c->gpr[SX_RIP] = next;
	sx_throw_debug(c, NULL, 0);
}

static void ud(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_throw_ud(c, i);
}

/* KVM's hypercalls: CPUID says that this is such a machine, but offers none of them (Linux,
 * Documentation/virt/kvm/x86/hypercalls.rst). */
#define KVM_ENOSYS 1000
#define KVM_EPERM  1

static void hypercall(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 result = c->cpl ? -(u64)KVM_EPERM : -(u64)KVM_ENOSYS;

	sx_reg_set(c, X86_RAX, result, sx_is_64(c) ? 8 : 4);
	SX_NEXT(c, i);
}

/* --- SMAP's flag --- */

static void stac(struct sx_cpu *c, const struct sx_insn *i)
{
	if (c->cpl)
		sx_throw_ud(c, i);
	c->sysflags |= X86_FLAG_AC;
	sx_tlb_choose(c);
	SX_NEXT(c, i);
}

static void clac(struct sx_cpu *c, const struct sx_insn *i)
{
	if (c->cpl)
		sx_throw_ud(c, i);
	c->sysflags &= ~X86_FLAG_AC;
	sx_tlb_choose(c);
	SX_NEXT(c, i);
}

/* --- system calls --- */

#define ATTR_DPL(cpl) ((u32)(cpl) << X86_ATTR_DPL_SHIFT)

static void set_flat(struct sx_cpu *c, unsigned seg, u16 selector, u32 attr)
{
	c->seg[seg] = (struct sx_seg){.limit = 0xffffffff, .attr = attr, .selector = selector};
	c->seg_base[seg] = 0;
}

/* CS and SS fixed by the instruction; l_or_db: X86_ATTR_L, or DB for 32-bit code. */
static void enter_flat(struct sx_cpu *c, u16 cs, u16 ss, unsigned cpl, u32 l_or_db)
{
	set_flat(c, X86_CS, cs, SX_FLAT_CODE | l_or_db | ATTR_DPL(cpl));
	set_flat(c, X86_SS, ss, SX_FLAT_DATA | ATTR_DPL(cpl));
	c->cpl = cpl;
	sx_mode_update(c);
}

static void syscall_(struct sx_cpu *c, const struct sx_insn *i)
{
	u16 selector = (u16)(c->star >> 32 & 0xfffc);

	if (!(c->efer & X86_EFER_SCE))
		sx_throw_ud(c, i);
	c->gpr[X86_RCX] = sx_next_rip(c, i);
	c->gpr[X86_R11] = sx_rflags(c) & ~X86_FLAG_RF;
	c->gpr[SX_RIP] = c->lstar;
	sx_set_rflags(c, 0, c->sfmask | X86_FLAG_RF);
	enter_flat(c, selector, (u16)(selector + 8), 0, X86_ATTR_L);
	sx_jump(c);
}

#define SYSRET_FLAGS ((u64)0x3c7fd7)

static void sysret(struct sx_cpu *c, const struct sx_insn *i)
{
	u16 selector = (u16)(c->star >> 48 | 3);
	bool is_64 = i->flags & SX_IF_REXW;

	if (!(c->efer & X86_EFER_SCE))
		sx_throw_ud(c, i);
	sx_require_cpl0(c, i);
	if (is_64 && !sx_is_canonical(c->gpr[X86_RCX]))
		sx_throw_gp(c, i, 0);
	c->gpr[SX_RIP] = is_64 ? c->gpr[X86_RCX] : (u32)c->gpr[X86_RCX];
	sx_set_rflags(c, c->gpr[X86_R11], SYSRET_FLAGS);
	enter_flat(c, (u16)(selector + (is_64 ? 16 : 0)), (u16)(selector + 8), 3,
		   is_64 ? X86_ATTR_L : X86_ATTR_DB);
	/* The trap comes when TF is set at the end of SYSRET. */
	if (unlikely(c->sysflags & X86_FLAG_TF))
		sx_throw_debug(c, NULL, X86_DR6_BS);
	sx_jump(c);
}

/*
 * The same for native code: from 64-bit code to 64-bit code, where the mode word needs no thought. False: nothing
 * was done.
 */
static void change_privilege(struct sx_cpu *c, u16 cs, u16 ss, unsigned cpl)
{
	set_flat(c, X86_CS, cs, SX_FLAT_CODE | X86_ATTR_L | ATTR_DPL(cpl));
	set_flat(c, X86_SS, ss, SX_FLAT_DATA | ATTR_DPL(cpl));
	c->cpl = cpl;
	c->mode ^= SX_MODE_USER;
	sx_native_key_update(c);
	sx_tlb_choose(c);
}

bool sx_syscall_fast(struct sx_cpu *c, u64 next)
{
	u16 selector = (u16)(c->star >> 32 & 0xfffc);
	u64 flags = sx_rflags(c);

	if (!(c->efer & X86_EFER_SCE) || c->mode != (SX_MODE_64 | SX_MODE_PE | SX_MODE_USER))
		return false;
	c->gpr[X86_RCX] = next;
	c->gpr[X86_R11] = flags & ~X86_FLAG_RF;
	c->gpr[SX_RIP] = c->lstar;
	flags &= ~(c->sfmask | X86_FLAG_RF);
	c->cc = sx_cc_of_flags(flags);
	c->sysflags = (flags & ~(u64)X86_FLAGS_ARITH) | X86_FLAG_ONE;
	change_privilege(c, selector, (u16)(selector + 8), 0);
	return true;
}

bool sx_sysret_fast(struct sx_cpu *c)
{
	u16 selector = (u16)(c->star >> 48 | 3);
	u64 flags = c->gpr[X86_R11];

	if (!(c->efer & X86_EFER_SCE) || c->mode != (SX_MODE_64 | SX_MODE_PE) ||
	    !sx_is_canonical(c->gpr[X86_RCX]) || (flags & (X86_FLAG_TF | X86_FLAG_RF)))
		return false;
	c->gpr[SX_RIP] = c->gpr[X86_RCX];
	flags = (sx_rflags(c) & ~SYSRET_FLAGS) | (flags & SYSRET_FLAGS);
	if ((flags & ~c->sysflags & X86_FLAG_IF) && c->intr_waits)
		__atomic_fetch_or(&c->request, SX_REQ_KICK, __ATOMIC_RELAXED);
	c->cc = sx_cc_of_flags(flags);
	c->sysflags = (flags & ~(u64)X86_FLAGS_ARITH) | X86_FLAG_ONE;
	change_privilege(c, (u16)(selector + 16), (u16)(selector + 8), 3);
	return true;
}

static void sysenter(struct sx_cpu *c, const struct sx_insn *i)
{
	u16 selector = (u16)(c->sysenter_cs & 0xfffc);

	if (!(c->cr0 & X86_CR0_PE) || !selector)
		sx_throw_gp(c, i, 0);
	sx_set_rflags(c, 0, X86_FLAG_VM | X86_FLAG_IF | X86_FLAG_RF);
	c->gpr[X86_RSP] = sx_is_long(c) ? c->sysenter_esp : (u32)c->sysenter_esp;
	c->gpr[SX_RIP] = sx_is_long(c) ? c->sysenter_eip : (u32)c->sysenter_eip;
	enter_flat(c, selector, (u16)(selector + 8), 0, sx_is_long(c) ? X86_ATTR_L : X86_ATTR_DB);
	sx_jump(c);
}

static void sysexit(struct sx_cpu *c, const struct sx_insn *i)
{
	u16 selector = (u16)(c->sysenter_cs & 0xfffc);
	bool is_64 = i->flags & SX_IF_REXW;
	u64 rip = c->gpr[X86_RDX], rsp = c->gpr[X86_RCX];

	if (!selector || !(c->cr0 & X86_CR0_PE))
		sx_throw_gp(c, i, 0);
	sx_require_cpl0(c, i);
	if (is_64 && (!sx_is_canonical(rip) || !sx_is_canonical(rsp)))
		sx_throw_gp(c, i, 0);
	c->gpr[SX_RIP] = is_64 ? rip : (u32)rip;
	c->gpr[X86_RSP] = is_64 ? rsp : (u32)rsp;
	selector = (u16)((selector + (is_64 ? 32 : 16)) | 3);
	enter_flat(c, selector, (u16)(selector + 8), 3, is_64 ? X86_ATTR_L : X86_ATTR_DB);
	sx_jump(c);
}

/* --- model-specific registers, CPUID, time --- */

static noinline void rdmsr_work(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 v;

	sx_require_cpl0(c, i);
	if (!sx_msr_read(c, (u32)c->gpr[X86_RCX], &v))
		sx_throw_gp(c, i, 0);
	c->gpr[X86_RAX] = (u32)v;
	c->gpr[X86_RDX] = v >> 32;
}
SX_HANDLER_OF(rdmsr, rdmsr_work)

static void wrmsr(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 v = (u32)c->gpr[X86_RAX] | c->gpr[X86_RDX] << 32;

	sx_require_cpl0(c, i);
	if (!sx_msr_write(c, (u32)c->gpr[X86_RCX], v))
		sx_throw_gp(c, i, 0);
	SX_NEXT(c, i);
}

/* No performance counters are advertised. */
static void rdpmc(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_throw_gp(c, i, 0);
}

static noinline void cpuid_work(struct sx_cpu *c, unused const struct sx_insn *i)
{
	u64 base = c->vcpu.apic->ops->base(c->vcpu.apic);
	u32 out[4];

	x86_cpuid_query(&c->cpuid, (u32)c->gpr[X86_RAX], (u32)c->gpr[X86_RCX], c->cr4, c->xcr0,
			base, out);
	c->gpr[X86_RAX] = out[0];
	c->gpr[X86_RBX] = out[1];
	c->gpr[X86_RCX] = out[2];
	c->gpr[X86_RDX] = out[3];
}
SX_HANDLER_OF(cpuid, cpuid_work)

static void read_tsc(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 tsc;

	if ((c->cr4 & X86_CR4_TSD) && c->cpl)
		sx_throw_gp(c, i, 0);
	tsc = sx_tsc(c);
	c->gpr[X86_RAX] = (u32)tsc;
	c->gpr[X86_RDX] = tsc >> 32;
}

static void rdtsc(struct sx_cpu *c, const struct sx_insn *i)
{
	read_tsc(c, i);
	SX_NEXT(c, i);
}

static void rdtscp(struct sx_cpu *c, const struct sx_insn *i)
{
	read_tsc(c, i);
	c->gpr[X86_RCX] = (u32)c->tsc_aux;
	SX_NEXT(c, i);
}

static void rdpid(struct sx_cpu *c, const struct sx_insn *i)
{
	c->gpr[i->rm] = (u32)c->tsc_aux;
	SX_NEXT(c, i);
}

/* Caches: there are none to write back. */
static void cache_op(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_require_cpl0(c, i);
	SX_NEXT(c, i);
}

/* --- XCR0 --- */

static void require_osxsave(struct sx_cpu *c, const struct sx_insn *i)
{
	if (!(c->cr4 & X86_CR4_OSXSAVE))
		sx_throw_ud(c, i);
}

static void xgetbv(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 v = c->xcr0;

	require_osxsave(c, i);
	if ((u32)c->gpr[X86_RCX] == 1 && c->features & BIT(SX_F_XGETBV1))
		v = sx_fpu_in_use(c) & c->xcr0;
	else if ((u32)c->gpr[X86_RCX] != 0)
		sx_throw_gp(c, i, 0);
	c->gpr[X86_RAX] = (u32)v;
	c->gpr[X86_RDX] = v >> 32;
	SX_NEXT(c, i);
}

static void xsetbv(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 v = (u32)c->gpr[X86_RAX] | c->gpr[X86_RDX] << 32;
	u64 known = x86_cpuid_reg(&c->cpuid, 13, 0, 0);

	require_osxsave(c, i);
	sx_require_cpl0(c, i);
	if ((u32)c->gpr[X86_RCX] != 0 || (v & ~known) || !(v & X86_XCR0_X87) ||
	    ((v & X86_XCR0_AVX) && !(v & X86_XCR0_SSE)))
		sx_throw_gp(c, i, 0);
	sx_fpu_sync(c);
	c->xcr0 = v;
	SX_NEXT(c, i);
}

sx_insn_fn *sx_bind_system(struct sx_insn *i)
{
	/* clang-format off */
	static sx_insn_fn *const table[SX_OP_COUNT] = {
		[SX_CLI] = cli, [SX_STI] = sti, [SX_HLT] = hlt,
		[SX_INT] = int_n, [SX_INT3] = int3, [SX_INTO] = into, [SX_INT1] = int1,
		[SX_UD] = ud, [SX_VMCALL] = hypercall, [SX_VMMCALL] = hypercall,
		 [SX_STAC] = stac, [SX_CLAC] = clac,
		[SX_SYSCALL] = syscall_, [SX_SYSRET] = sysret,
		[SX_SYSENTER] = sysenter, [SX_SYSEXIT] = sysexit,
		[SX_RDMSR] = rdmsr, [SX_WRMSR] = wrmsr, [SX_RDPMC] = rdpmc,
		[SX_CPUID] = cpuid, [SX_RDTSC] = rdtsc, [SX_RDTSCP] = rdtscp, [SX_RDPID] = rdpid,
		[SX_INVD] = cache_op, [SX_WBINVD] = cache_op, [SX_WBNOINVD] = cache_op,
		[SX_XGETBV] = xgetbv, [SX_XSETBV] = xsetbv,
	};
	/* clang-format on */

	return table[sx_insn_op(i)];
}
