/*
 * The decoder and the disassembler: encodings by hand, then every instruction that objdump finds
 * in some of this machine's programs.
 */
#include "test.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "accel/soft/decode.h"
#include "accel/soft/disasm.h"
#include "arch/x86/cpuid.h"
#include "base/bytes.h"
#include "base/err.h"

#define ALL_FEATURES (~(u64)0 & ~BIT(SX_F_SMM))
#define CODE(...)    ((const u8[]){__VA_ARGS__}), sizeof((const u8[]){__VA_ARGS__})

struct sample {
	unsigned bits;
	const u8 *bytes;
	unsigned n;
	const char *text; /* NULL: #UD */
};

static int decode_as(unsigned bits, u64 features, const u8 *bytes, unsigned n, struct sx_insn *out)
{
	struct sx_decode_mode mode = {.bits = (u8)bits, .is_protected = true, .features = features};

	return sx_decode(&mode, bytes, n, out);
}

static struct sx_insn decode_good(unsigned bits, const u8 *bytes, unsigned n)
{
	struct sx_insn insn;

	CHECK_EQ(decode_as(bits, ALL_FEATURES, bytes, n, &insn), n);
	return insn;
}

static void check_samples(const struct sample *samples, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const struct sample *s = &samples[i];
		char text[SX_DISASM_MAX];
		struct sx_insn insn;
		int r = decode_as(s->bits, ALL_FEATURES, s->bytes, s->n, &insn);

		if (!s->text) {
			CHECK_EQ(r, SX_DECODE_UD);
			continue;
		}
		CHECK_EQ(r, s->n);
		sx_disasm(&insn, 0x1000, text, sizeof(text));
		CHECK_STR(text, s->text);
	}
}

/* clang-format off */
static const struct sample integer_samples[] = {
	{64, CODE(0x00, 0xc8), "add al,cl"},
	{64, CODE(0x00, 0xe0), "add al,ah"},
	{64, CODE(0x40, 0x00, 0xe0), "add al,spl"},
	{64, CODE(0x45, 0x01, 0xc8), "add r8d,r9d"},
	{64, CODE(0x48, 0x83, 0xc4, 0xf8), "add rsp,0xfffffffffffffff8"},
	{64, CODE(0x66, 0x05, 0x34, 0x12), "add ax,0x1234"},
	{64, CODE(0xf0, 0x48, 0x0f, 0xb1, 0x0b), "lock cmpxchg QWORD PTR [rbx],rcx"},
	{64, CODE(0x48, 0x8d, 0x44, 0x8a, 0x10), "lea rax,[rdx+rcx*4+0x10]"},
	{64, CODE(0x8b, 0x05, 0x10, 0x00, 0x00, 0x00), "mov eax,DWORD PTR [rip+0x10]"},
	{64, CODE(0x67, 0x8b, 0x04, 0x25, 0xf0, 0xff, 0xff, 0xff), "mov eax,DWORD PTR [0xfffffff0]"},
	{64, CODE(0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0), "mov rax,QWORD PTR fs:[0x28]"},
	{64, CODE(0x49, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8), "mov r8,0x807060504030201"},
	{64, CODE(0xa1, 1, 2, 3, 4, 5, 6, 7, 8), "mov eax,ds:0x807060504030201"},
	{32, CODE(0xa1, 1, 2, 3, 4), "mov eax,DWORD PTR [0x4030201]"},
	{16, CODE(0xa1, 1, 2), "mov ax,WORD PTR [0x201]"},
	{64, CODE(0x90), "nop"},
	{64, CODE(0x41, 0x90), "xchg r8d,eax"},
	{64, CODE(0xf3, 0x90), "pause"},
	{64, CODE(0xf3, 0x0f, 0x1e, 0xfa), "rep nop edx"}, /* ENDBR64 */
	{64, CODE(0x50), "push rax"},
	{64, CODE(0x66, 0x50), "push ax"},
	{32, CODE(0x50), "push eax"},
	{16, CODE(0x50), "push ax"},
	{64, CODE(0x06), NULL},
	{32, CODE(0x06), "push es"},
	{32, CODE(0x40), "inc eax"},
	{64, CODE(0xd1, 0xe0), "shl eax,1"},
	{64, CODE(0xc0, 0x3f, 0x05), "sar BYTE PTR [rdi],0x5"},
	{64, CODE(0x75, 0xfe), "jne 0x1000"},
	{64, CODE(0x66, 0xe9, 0, 0, 0, 0), "jmp 0x1006"},
	{16, CODE(0xe9, 0x00, 0xf0), "jmp 0x3"},
	{64, CODE(0xff, 0xe0), "jmp rax"},
	{64, CODE(0xc8, 0x10, 0x00, 0x02), "enter 0x10,0x2"},
	{64, CODE(0xf3, 0xa4), "rep movs BYTE PTR es:[rdi],BYTE PTR ds:[rsi]"},
	{64, CODE(0x0f, 0x94, 0xc0), "sete al"},
	{64, CODE(0x48, 0x0f, 0x4f, 0xc1), "cmovg rax,rcx"},
	{64, CODE(0xf2, 0x48, 0x0f, 0x38, 0xf1, 0xc1), "crc32 eax,rcx"},
	{64, CODE(0x66, 0x0f, 0x38, 0xf0, 0x00), "movbe ax,WORD PTR [rax]"},
	{64, CODE(0x63, 0xc8), "movsxd ecx,eax"},
	{32, CODE(0x63, 0xc8), "arpl ax,cx"},
	{64, CODE(0x0f, 0xc7, 0x08), "cmpxchg8b QWORD PTR [rax]"},
	{64, CODE(0x48, 0x0f, 0xc7, 0x08), "cmpxchg16b XMMWORD PTR [rax]"},
	{16, CODE(0x8b, 0x40, 0xff), "mov ax,WORD PTR [bx+si*1-0x1]"},
	{16, CODE(0x8b, 0x06, 0x34, 0x12), "mov ax,WORD PTR [0x1234]"},
	{16, CODE(0x66, 0x67, 0x8b, 0x04, 0x24), "mov eax,DWORD PTR [esp]"},
};

static const struct sample system_samples[] = {
	{64, CODE(0x0f, 0x20, 0xc0), "mov rax,cr0"},
	{64, CODE(0x44, 0x0f, 0x22, 0xc0), "mov cr8,rax"},
	{64, CODE(0x0f, 0x20, 0x08), NULL}, /* CR1 */
	{64, CODE(0x0f, 0x20, 0x18), "mov rax,cr3"}, /* mod means nothing */
	{64, CODE(0x44, 0x0f, 0x21, 0xc0), NULL},
	{64, CODE(0x8e, 0xc8), NULL}, /* CS */
	{64, CODE(0x8e, 0xf0), NULL}, /* no segment register 6 */
	{64, CODE(0x8e, 0xd8), "mov ds,ax"},
	{32, CODE(0xc4, 0x08), "les ecx,FWORD PTR [eax]"},
	{16, CODE(0xc5, 0x07), "lds ax,DWORD PTR [bx]"},
	{64, CODE(0xc5, 0xf8, 0x77), "vzeroupper"},
	{32, CODE(0xc5, 0xfc, 0x77), "vzeroall"},
	{64, CODE(0x66, 0xc5, 0xf8, 0x77), NULL}, /* no prefix of those in front of VEX */
	{64, CODE(0xf0, 0xc5, 0xf8, 0x77), NULL},
	{64, CODE(0x48, 0xc5, 0xf8, 0x77), NULL},
	{64, CODE(0xc5, 0x78, 0x77), "vzeroupper"},
	{64, CODE(0xc5, 0xf0, 0x77), NULL}, /* vvvv that nothing takes */
	{64, CODE(0xc4, 0xe0, 0x78, 0x58, 0xc1), NULL}, /* map 0 */
	{32, CODE(0x62, 0x08), "bound ecx,QWORD PTR [eax]"},
	{32, CODE(0xea, 1, 2, 3, 4, 5, 6), "jmp far 0x605:0x4030201"},
	{64, CODE(0xea, 1, 2, 3, 4, 5, 6), NULL},
	{64, CODE(0x48, 0xcf), "iretq"},
	{64, CODE(0x0f, 0x05), "syscall"},
	{32, CODE(0x0f, 0x05), NULL},
	{64, CODE(0x0f, 0x01, 0xf8), "swapgs"},
	{64, CODE(0x0f, 0x01, 0xd0), "xgetbv"},
	{64, CODE(0x0f, 0x01, 0xca), "clac"},
	{64, CODE(0x0f, 0xaa), NULL}, /* RSM outside SMM */
	{64, CODE(0x0f, 0x0b), "ud"},
	{64, CODE(0xf0, 0x90), NULL},
	{64, CODE(0xf0, 0x01, 0xc0), NULL}, /* LOCK and a register */
	{64, CODE(0xf0, 0x39, 0x00), NULL}, /* CMP writes nothing */
	{64, CODE(0xf0, 0x01, 0x00), "lock add DWORD PTR [rax],eax"},
	{64, CODE(0xf0, 0x87, 0x00), "lock xchg DWORD PTR [rax],eax"},
};

static const struct sample vector_samples[] = {
	{64, CODE(0x0f, 0xfc, 0xca), "paddb mm1,mm2"},
	{64, CODE(0x66, 0x44, 0x0f, 0xfc, 0xca), "paddb xmm9,xmm2"},
	{64, CODE(0xf2, 0x0f, 0xfc, 0xca), NULL},
	{64, CODE(0x66, 0xf3, 0x0f, 0x10, 0x00), "movss xmm0,DWORD PTR [rax]"},
	{64, CODE(0xf3, 0xf2, 0x0f, 0x10, 0x00), "movsd xmm0,QWORD PTR [rax]"},
	{64, CODE(0x0f, 0x12, 0xc1), "movhlps xmm0,xmm1"},
	{64, CODE(0x0f, 0x12, 0x01), "movlps xmm0,QWORD PTR [rcx]"},
	{64, CODE(0x66, 0x48, 0x0f, 0x6e, 0xc0), "movq xmm0,rax"},
	{64, CODE(0x66, 0x0f, 0x3a, 0x14, 0xc4, 0x03), "pextrb esp,xmm0,0x3"},
	{64, CODE(0x66, 0x0f, 0x71, 0xd1, 0x02), "psrlw xmm1,0x2"},
	{64, CODE(0x66, 0x0f, 0x71, 0x11, 0x02), NULL},
	{64, CODE(0x66, 0x0f, 0x38, 0xdc, 0x00), "aesenc xmm0,XMMWORD PTR [rax]"},
	{64, CODE(0xc5, 0xf4, 0x58, 0xc2), "vaddps ymm0,ymm1,ymm2"},
	{64, CODE(0xc4, 0x41, 0x31, 0x58, 0x04, 0x24), "vaddpd xmm8,xmm9,XMMWORD PTR [r12]"},
	{64, CODE(0xc5, 0xfe, 0x6f, 0x07), "vmovdqu ymm0,YMMWORD PTR [rdi]"},
	{64, CODE(0xc5, 0xf9, 0x6e, 0xc7), "vmovd xmm0,edi"},
	{64, CODE(0xc4, 0xe1, 0xf9, 0x6e, 0xc7), "vmovq xmm0,rdi"},
	{64, CODE(0xc4, 0xe2, 0x7d, 0x20, 0xc1), "vpmovsxbw ymm0,xmm1"},
	{64, CODE(0xc4, 0xe2, 0x6d, 0x92, 0x04, 0x8f), "vgatherdps ymm0,DWORD PTR [rdi+ymm1*4],ymm2"},
	{64, CODE(0xc4, 0xe2, 0x7d, 0x92, 0x04, 0x8f), NULL}, /* the mask is the destination */
	{64, CODE(0xc4, 0xe3, 0x75, 0x4c, 0xc2, 0x30), "vpblendvb ymm0,ymm1,ymm2,ymm3"},
	{64, CODE(0xc4, 0xe2, 0xf5, 0xb8, 0xc2), "vfmadd231pd ymm0,ymm1,ymm2"},
	{64, CODE(0xc4, 0xe2, 0x70, 0xf2, 0xc2), "andn eax,ecx,edx"},
	{64, CODE(0xc4, 0xe2, 0xf8, 0xf3, 0xc9), "blsr rax,rcx"},
	{64, CODE(0xc4, 0xe2, 0xf3, 0xf6, 0xc2), "mulx rax,rcx,rdx"},
	{64, CODE(0xc4, 0xe3, 0x7d, 0x39, 0xc1, 0x01), "vextracti128 xmm1,ymm0,0x1"},
	{32, CODE(0xc5, 0xf5, 0x73, 0xd2, 0x04), "vpsrlq ymm1,ymm2,0x4"},
	{64, CODE(0xd8, 0x00), "fadd DWORD PTR [rax]"},
	{64, CODE(0xdc, 0xe1), "fsubr st(1)"},
	{64, CODE(0xdb, 0x28), "fld TBYTE PTR [rax]"},
	{64, CODE(0xda, 0xd9), "fcmovu st(1)"},
	{64, CODE(0xdb, 0xc9), "fcmovne st(1)"},
	{64, CODE(0xdf, 0xe0), "fnstsw ax"},
	{64, CODE(0xd9, 0xd1), NULL},
	{64, CODE(0x0f, 0xae, 0x38), "clflush [rax]"},
	{64, CODE(0x66, 0x0f, 0xae, 0x38), "clflushopt [rax]"},
	{64, CODE(0xf3, 0x48, 0x0f, 0xae, 0xc8), "rdgsbase rax"},
};
/* clang-format on */

TEST(integer_encodings_read_as_they_should)
{
	check_samples(integer_samples, ARRAY_SIZE(integer_samples));
}

TEST(system_encodings_read_as_they_should)
{
	check_samples(system_samples, ARRAY_SIZE(system_samples));
}

TEST(vector_and_x87_encodings_read_as_they_should)
{
	check_samples(vector_samples, ARRAY_SIZE(vector_samples));
}

TEST(operands_are_where_the_shapes_say)
{
	struct sx_insn i =
		decode_good(64, CODE(0x65, 0x42, 0x8b, 0x84, 0xb5, 0xff, 0xff, 0xff, 0xff));

	/* mov eax, gs:[rbp + r14*4 - 1] */
	CHECK_EQ(i.base, 5);
	CHECK_EQ(i.index, 14);
	CHECK_EQ(i.scale, 2);
	CHECK_EQ(i.disp, -1);
	CHECK_EQ(i.seg, 5);
	CHECK_EQ(i.size, 4);
	CHECK(i.flags & SX_IF_MEM && i.flags & SX_IF_SEG);

	i = decode_good(64, CODE(0x88, 0x3c, 0x24)); /* mov [rsp], bh */
	CHECK_EQ(i.reg, SX_REG_HIGH + 3);
	CHECK_EQ(i.base, 4);
	CHECK_EQ(i.index, SX_REG_ZERO);
	CHECK_EQ(i.seg, 2);

	i = decode_good(64, CODE(0x3c, 0x80)); /* cmp al, 0x80 */
	CHECK_EQ(sx_insn_form(&i)->shape, SX_SHAPE_RM_IMM);
	CHECK_EQ(i.rm, 0);
	CHECK_EQ(i.size, 1);
	CHECK(!sx_insn_is_mem(&i));
}

TEST(features_that_cpuid_lacks_are_undefined_instructions)
{
	struct sx_insn i;

	CHECK_EQ(decode_as(64, BIT(SX_F_BASE), CODE(0xf3, 0x0f, 0xb8, 0xc1), &i), SX_DECODE_UD);
	CHECK_EQ(decode_as(64, BIT(SX_F_BASE), CODE(0x0f, 0x58, 0xc1), &i), SX_DECODE_UD);
	CHECK_EQ(decode_as(64, BIT(SX_F_BASE), CODE(0xd9, 0xe8), &i), SX_DECODE_UD);
	/* LZCNT falls back to BSR, whose F3 means nothing. */
	CHECK_EQ(decode_as(64, BIT(SX_F_BASE), CODE(0xf3, 0x0f, 0xbd, 0xc1), &i), 4);
	CHECK_EQ(sx_insn_op(&i), SX_BSR);
	CHECK_EQ(decode_as(64, ALL_FEATURES, CODE(0xf3, 0x0f, 0xbd, 0xc1), &i), 4);
	CHECK_EQ(sx_insn_op(&i), SX_LZCNT);
}

TEST(protected_mode_instructions_do_not_exist_in_real_mode)
{
	struct sx_decode_mode real = {.bits = 16, .features = ALL_FEATURES};
	struct sx_insn i;

	CHECK_EQ(sx_decode(&real, CODE(0x0f, 0x00, 0xe0), &i), SX_DECODE_UD);
	CHECK_EQ(sx_decode(&real, CODE(0x63, 0xc8), &i), SX_DECODE_UD);
	CHECK_EQ(sx_decode(&real, CODE(0x0f, 0x01, 0x17), &i), 3); /* lgdt */
}

TEST(fifteen_bytes_are_the_limit)
{
	u8 bytes[32];
	struct sx_insn i;

	memset(bytes, 0x66, sizeof(bytes));
	bytes[14] = 0x90;
	CHECK_EQ(decode_as(64, ALL_FEATURES, bytes, sizeof(bytes), &i), 15);
	bytes[14] = 0x66;
	bytes[15] = 0x90;
	CHECK_EQ(decode_as(64, ALL_FEATURES, bytes, sizeof(bytes), &i), SX_DECODE_GP);
	CHECK_EQ(decode_as(64, ALL_FEATURES, bytes, 15, &i), SX_DECODE_GP);
	CHECK_EQ(decode_as(64, ALL_FEATURES, bytes, 14, &i), SX_DECODE_NEED_MORE);
}

TEST(a_part_of_an_instruction_needs_more)
{
	static const u8 bytes[] = {0x48, 0x81, 0x84, 0x8a, 1, 2, 3, 4, 5, 6, 7, 8};
	struct sx_insn i;

	for (unsigned n = 0; n < sizeof(bytes); n++)
		CHECK_EQ(decode_as(64, ALL_FEATURES, bytes, n, &i), SX_DECODE_NEED_MORE);
	CHECK_EQ(decode_as(64, ALL_FEATURES, bytes, sizeof(bytes), &i), sizeof(bytes));
}

/* --- what a model hasn't got --- */

/* An encoding of the form; modrm: its ModRM byte, if there is one. */
static unsigned encode(const struct sx_form *f, u8 modrm, u8 *out)
{
	static const u8 mandatory[] = {[SX_P_66] = 0x66, [SX_P_F3] = 0xf3, [SX_P_F2] = 0xf2};
	static const u8 pp[] = {[SX_P_66] = 1, [SX_P_F3] = 2, [SX_P_F2] = 3};
	bool is_w = f->attr & SX_A_W1, is_l = f->attr & SX_A_L1;
	unsigned n = 0;

	if (sx_form_is_vex(f)) {
		out[n++] = 0xc4;
		out[n++] = (u8)(0xe1 + f->map - SX_MAP_V0F);
		/* vvvv: register 1 where something takes one */
		out[n++] = (u8)(is_w << 7 | (sx_form_has_vvvv(f) ? 14 : 15) << 3 | is_l << 2 |
				pp[f->prefix]);
	} else {
		if (f->prefix >= SX_P_66)
			out[n++] = mandatory[f->prefix];
		if (is_w)
			out[n++] = 0x48;
		if (f->map != SX_MAP_ONE)
			out[n++] = 0x0f;
		if (f->map == SX_MAP_0F38 || f->map == SX_MAP_0F3A)
			out[n++] = f->map == SX_MAP_0F38 ? 0x38 : 0x3a;
	}
	out[n++] = f->opcode;
	if (f->modrm != SX_MODRM_ABSENT)
		out[n++] = modrm;
	memset(out + n, 0x10, SX_INSN_MAX - n); /* SIB, displacement, immediates */
	return SX_INSN_MAX;
}

/* ModRM with a register, with memory, with memory by SIB. */
static u8 nth_modrm(const struct sx_form *f, unsigned k)
{
	static const u8 modrms[] = {0xc2, 0x02, 0x04};

	if (f->modrm == SX_MODRM_EXACT)
		return f->ext;
	return modrms[k] | (f->ext == SX_EXT_ANY ? 3 : f->ext) << 3;
}

/* Decodes as the form where everything is there; else as another form that the model has, or not at all. */
static unsigned check_without(unsigned form, u64 features)
{
	const struct sx_form *f = &sx_forms[form];
	unsigned n_seen = 0;

	for (unsigned k = 0; k < 3; k++) {
		unsigned bits = f->attr & SX_A_NO64 ? 32 : 64;
		u8 bytes[SX_INSN_MAX];
		unsigned n = encode(f, nth_modrm(f, k), bytes);
		struct sx_insn i;

		if (decode_as(bits, ALL_FEATURES, bytes, n, &i) < 0 || i.form != form)
			continue;
		n_seen++;
		if (decode_as(bits, features, bytes, n, &i) >= 0) {
			CHECK(i.form != form);
			CHECK(features & BIT(sx_insn_form(&i)->feature));
		}
	}
	return n_seen;
}

TEST(what_a_model_does_not_advertise_is_undefined)
{
	static const char *const models[] = {"posada-base", "posada-v2", "posada-v3"};

	for (unsigned m = 0; m < ARRAY_SIZE(models); m++) {
		struct x86_cpuid_config config = {
			.model = models[m], .n_cpus = 1, .tsc_hz = 2000000000};
		unsigned n_missing = 0;
		struct x86_features has;
		struct x86_cpuid cpuid;
		struct err err;
		u64 features;

		x86_features_of_model(models[m], &has);
		CHECK_EQ(x86_cpuid_build(&config, &has, &cpuid, &err), 0);
		features = sx_features_from_cpuid(&cpuid);
		for (unsigned i = 1; i < sx_form_count; i++) {
			if (features & BIT(sx_forms[i].feature) || sx_forms[i].feature == SX_F_SMM)
				continue;
			CHECK(check_without(i, features) > 0);
			n_missing++;
		}
		print_message("%s: %u of %u forms are missing\n", models[m], n_missing,
			      sx_form_count - 1);
	}
}

TEST(rows_agree_with_their_operations)
{
	for (unsigned i = 1; i < sx_form_count; i++) {
		const struct sx_form *f = &sx_forms[i];

		CHECK(f->op > SX_OP_NONE && f->op < SX_OP_COUNT);
		CHECK(f->feature < SX_FEATURES);
		/* Alignment is asked only of what accesses 16 or 32 bytes, or FXSAVE's area. */
		if (f->attr & SX_A_ALIGN) {
			const struct sx_operand *rm = sx_form_rm(f);

			CHECK(rm && (rm->size == SX_SZ_DQ || rm->size == SX_SZ_FX ||
				     rm->size == SX_SZ_X));
		}
	}
}

/* --- a second opinion --- */

/* objdump's line: "  addr:\tbytes\tmnemonic operands". Number of bytes, 0: no instruction. */
static unsigned parse_objdump_line(const char *line, u8 *bytes, const char **out_text)
{
	const char *p = strchr(line, ':');
	unsigned n = 0;

	if (!p || line[0] != ' ')
		return 0;
	for (p++; isspace((u8)*p); p++)
		;
	while (n < 16 && isxdigit((u8)p[0]) && isxdigit((u8)p[1]) && p[2] == ' ') {
		bytes[n++] = (u8)strtoul(p, NULL, 16);
		p += 3;
	}
	while (isspace((u8)*p))
		p++;
	*out_text = p;
	return n;
}

/* What objdump shows and we rightly don't take: data, AVX-512 (whose masks have VEX prefixes too), AMD's
 * FMA4, FWAIT joined to what follows. */
static bool is_out_of_scope(const u8 *bytes, unsigned n, const char *text)
{
	unsigned i = 0;

	if (strstr(text, "(bad)") || !strncmp(text, "rex", 3) || !strncmp(text, "lock lock", 9))
		return true;
	while (i < n - 1 && memchr("\x66\xf2\xf3\x2e\x36\x3e\x26\x64\x65\x67", bytes[i], 10))
		i++;
	if (bytes[i] == 0x62 || bytes[i] == 0x9b)
		return true;
	if ((bytes[i] == 0xc4 || bytes[i] == 0xc5) && text[0] == 'k')
		return true;
	if (n > i + 3 && bytes[i] == 0xc4 && (bytes[i + 1] & 31) == 3 && bytes[i + 3] >= 0x5c &&
	    bytes[i + 3] < 0x80 && bytes[i + 3] >> 2 != 0x60 >> 2)
		return true; /* FMA4 */
	return !strncmp(text, "xbegin", 6) || !strncmp(text, "xabort", 6) ||
	       !strncmp(text, "xend", 4) || !strncmp(text, "xtest", 5);
}

static void compare_with_objdump(const char *path)
{
	char command[256], line[512];
	unsigned n_insns = 0, n_differ = 0;
	FILE *f;

	snprintf(command, sizeof(command), "objdump -dw --insn-width=16 %s 2>/dev/null", path);
	f = popen(command, "r");
	CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		u8 bytes[16];
		const char *text;
		unsigned n = parse_objdump_line(line, bytes, &text);
		struct sx_insn insn;

		if (!n || is_out_of_scope(bytes, n, text))
			continue;
		n_insns++;
		if (decode_as(64, ALL_FEATURES, bytes, n, &insn) != (int)n && n_differ++ < 10)
			print_message("%s:%s", path, line);
	}
	pclose(f);
	print_message("%s: %u instructions\n", path, n_insns);
	CHECK(n_insns > 10000);
	CHECK_EQ(n_differ, 0);
}

TEST(lengths_agree_with_objdump)
{
	static const char *const paths[] = {
		"/bin/bash",
		"/usr/lib/x86_64-linux-gnu/libc.so.6",
		"/usr/lib/x86_64-linux-gnu/libm.so.6",
	};

	if (access("/usr/bin/objdump", X_OK))
		SKIP("no objdump (binutils)");
	for (unsigned i = 0; i < ARRAY_SIZE(paths); i++) {
		if (access(paths[i], R_OK) == 0)
			compare_with_objdump(paths[i]);
	}
}
