/*
 * The AML writer. See aml.h.
 *
 * A block's length stands before its content and has one to four bytes depending on its own value
 * (ACPI 6.4, 20.2.4): the content is written first and moved up when the block is closed.
 */
#include "boot/aml.h"

#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"

#define AML_GROW 4096

enum {
	AML_ZERO = 0x00,
	AML_ONE = 0x01,
	AML_NAME = 0x08,
	AML_BYTE = 0x0a,
	AML_WORD = 0x0b,
	AML_DWORD = 0x0c,
	AML_STRING = 0x0d,
	AML_QWORD = 0x0e,
	AML_SCOPE = 0x10,
	AML_BUFFER = 0x11,
	AML_PACKAGE = 0x12,
	AML_METHOD = 0x14,
	AML_DUAL_NAME = 0x2e,
	AML_MULTI_NAME = 0x2f,
	AML_EXT = 0x5b,
	AML_EXT_REGION = 0x80,
	AML_EXT_FIELD = 0x81,
	AML_EXT_DEVICE = 0x82,
	AML_IF = 0xa0,
	AML_ELSE = 0xa1,
};

#define AML_METHOD_SERIALIZED BIT32(3)
#define AML_SEGMENTS_MAX      8

void aml_init(struct aml *a)
{
	*a = (struct aml){0};
}

void aml_fini(struct aml *a)
{
	free(a->data);
	aml_init(a);
}

static void aml_reserve(struct aml *a, size_t size)
{
	size_t cap = a->cap;

	while (cap - a->len < size)
		cap += AML_GROW;
	if (cap != a->cap)
		a->data = mem_grow(a->data, a->cap, cap, 1);
	a->cap = cap;
}

static void aml_bytes(struct aml *a, const void *data, size_t size)
{
	aml_reserve(a, size);
	memcpy(a->data + a->len, data, size);
	a->len += size;
}

static void aml_byte(struct aml *a, u8 b)
{
	aml_bytes(a, &b, 1);
}

/* The low size bytes of v. */
static void aml_value(struct aml *a, u64 v, unsigned size)
{
	aml_bytes(a, &v, size);
}

void aml_op(struct aml *a, enum aml_op op)
{
	aml_byte(a, (u8)op);
}

void aml_arg(struct aml *a, unsigned n)
{
	assert(n <= 6);
	aml_byte(a, (u8)(AML_ARG0 + n));
}

void aml_local(struct aml *a, unsigned n)
{
	assert(n <= 7);
	aml_byte(a, (u8)(AML_LOCAL0 + n));
}

/* --- blocks --- */

static void aml_begin(struct aml *a)
{
	assert(a->depth < AML_DEPTH);
	a->open[a->depth++] = a->len;
}

/* PkgLength: in one byte up to 63; else bits 0-3 in the first, whose top bits count the others. */
static unsigned aml_encode_length(size_t content, u8 out[4])
{
	unsigned extra = content + 1 <= 0x3f      ? 0
			 : content + 2 <= 0xfff   ? 1
			 : content + 3 <= 0xfffff ? 2
						  : 3;
	u64 length = content + 1 + extra;

	assert(length < BIT(28));
	if (!extra) {
		out[0] = (u8)length;
		return 1;
	}
	out[0] = (u8)(extra << 6 | (length & 0xf));
	for (unsigned i = 0; i < extra; i++)
		out[1 + i] = (u8)(length >> (4 + 8 * i));
	return 1 + extra;
}

void aml_end(struct aml *a)
{
	size_t start, content;
	u8 length[4];
	unsigned n;

	assert(a->depth);
	start = a->open[--a->depth];
	content = a->len - start;
	n = aml_encode_length(content, length);
	aml_reserve(a, n);
	memmove(a->data + start + n, a->data + start, content);
	memcpy(a->data + start, length, n);
	a->len += n;
}

void aml_scope(struct aml *a, const char *path)
{
	aml_byte(a, AML_SCOPE);
	aml_begin(a);
	aml_path(a, path);
}

void aml_device(struct aml *a, const char *name)
{
	aml_byte(a, AML_EXT);
	aml_byte(a, AML_EXT_DEVICE);
	aml_begin(a);
	aml_path(a, name);
}

void aml_method(struct aml *a, const char *name, unsigned n_args, bool is_serialized)
{
	assert(n_args <= 7);
	aml_byte(a, AML_METHOD);
	aml_begin(a);
	aml_path(a, name);
	aml_byte(a, (u8)(n_args | (is_serialized ? AML_METHOD_SERIALIZED : 0)));
}

void aml_package(struct aml *a, unsigned n_elements)
{
	assert(n_elements <= 255);
	aml_byte(a, AML_PACKAGE);
	aml_begin(a);
	aml_byte(a, (u8)n_elements);
}

void aml_if(struct aml *a)
{
	aml_byte(a, AML_IF);
	aml_begin(a);
}

void aml_else(struct aml *a)
{
	aml_byte(a, AML_ELSE);
	aml_begin(a);
}

/* --- names and data --- */

/* A segment, padded to four characters with '_'; returns what follows it and its dot. */
static const char *aml_segment(const char *s, char out[4])
{
	size_t n = strcspn(s, ".");

	assert(n >= 1 && n <= 4);
	memset(out, '_', 4);
	memcpy(out, s, n);
	return s[n] ? s + n + 1 : s + n;
}

void aml_path(struct aml *a, const char *path)
{
	char segments[AML_SEGMENTS_MAX][4];
	u8 n = 0;

	for (; *path == '\\' || *path == '^'; path++)
		aml_byte(a, (u8)*path);
	while (*path) {
		assert(n < AML_SEGMENTS_MAX);
		path = aml_segment(path, segments[n++]);
	}
	if (n == 0)
		aml_byte(a, AML_ZERO); /* NullName: the root alone */
	if (n == 2)
		aml_byte(a, AML_DUAL_NAME);
	if (n > 2) {
		aml_byte(a, AML_MULTI_NAME);
		aml_byte(a, n);
	}
	aml_bytes(a, segments, n * sizeof(segments[0]));
}

void aml_int(struct aml *a, u64 v)
{
	unsigned size = v <= 0xff ? 1 : v <= 0xffff ? 2 : v <= 0xffffffff ? 4 : 8;

	if (v <= 1) {
		aml_byte(a, v ? AML_ONE : AML_ZERO);
		return;
	}
	aml_byte(a, size == 1   ? AML_BYTE
		    : size == 2 ? AML_WORD
		    : size == 4 ? AML_DWORD
				: AML_QWORD);
	aml_value(a, v, size);
}

void aml_string(struct aml *a, const char *s)
{
	aml_byte(a, AML_STRING);
	aml_bytes(a, s, strlen(s) + 1);
}

static unsigned aml_hex_digit(char c)
{
	return (unsigned)(c >= '0' && c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10) & 0xf;
}

/* Three letters in five bits each, then four hexadecimal digits, big-endian. */
void aml_eisaid(struct aml *a, const char *id)
{
	u32 v = 0;

	assert(strlen(id) == 7);
	for (unsigned i = 0; i < 3; i++)
		v = v << 5 | (u32)((id[i] - 'A' + 1) & 0x1f);
	for (unsigned i = 3; i < 7; i++)
		v = v << 4 | aml_hex_digit(id[i]);
	aml_int(a, __builtin_bswap32(v));
}

void aml_buffer(struct aml *a, const void *data, size_t size)
{
	aml_byte(a, AML_BUFFER);
	aml_begin(a);
	aml_int(a, size);
	aml_bytes(a, data, size);
	aml_end(a);
}

/* The first three groups of digits are little-endian. */
void aml_uuid(struct aml *a, const char *uuid)
{
	/* Where the first digit of each byte stands. */
	static const u8 at[16] = {6, 4, 2, 0, 11, 9, 16, 14, 19, 21, 24, 26, 28, 30, 32, 34};
	u8 bytes[16];

	assert(strlen(uuid) == 36);
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (u8)(aml_hex_digit(uuid[at[i]]) << 4 | aml_hex_digit(uuid[at[i] + 1]));
	aml_buffer(a, bytes, sizeof(bytes));
}

void aml_name(struct aml *a, const char *name)
{
	aml_byte(a, AML_NAME);
	aml_path(a, name);
}

void aml_name_int(struct aml *a, const char *name, u64 v)
{
	aml_name(a, name);
	aml_int(a, v);
}

void aml_name_hid(struct aml *a, const char *name, const char *hid)
{
	aml_name(a, name);
	if (strlen(hid) == 7)
		aml_eisaid(a, hid);
	else
		aml_string(a, hid);
}

/* --- registers --- */

#define AML_SYSTEM_IO          1
#define AML_FIELD_DWORD_ACCESS 3 /* no lock, other bits preserved */

void aml_port_region(struct aml *a, const char *name, u16 port, u8 size)
{
	aml_byte(a, AML_EXT);
	aml_byte(a, AML_EXT_REGION);
	aml_path(a, name);
	aml_byte(a, AML_SYSTEM_IO);
	aml_int(a, port);
	aml_int(a, size);
}

void aml_dword_field(struct aml *a, const char *region, const char *const names[], unsigned n)
{
	aml_byte(a, AML_EXT);
	aml_byte(a, AML_EXT_FIELD);
	aml_begin(a);
	aml_path(a, region);
	aml_byte(a, AML_FIELD_DWORD_ACCESS);
	for (unsigned i = 0; i < n; i++) {
		aml_path(a, names[i]);
		aml_byte(a, 32); /* bits, as a package length */
	}
	aml_end(a);
}

/* --- resource templates --- */

#define RES_IO         0x47
#define RES_IRQ        0x22 /* without flags: edge, active high, not shared */
#define RES_END        0x79
#define RES_MEM32FIXED 0x86
#define RES_DWORD      0x87
#define RES_WORD       0x88
#define RES_QWORD      0x8a

#define RES_TYPE_MEM 0
#define RES_TYPE_IO  1
#define RES_TYPE_BUS 2

/* General flags: both ends fixed; positive decode. */
#define RES_FIXED    0x0c
#define RES_CONSUMER 0x01
#define RES_MEM_RW   0x01 /* not cacheable */
#define RES_IO_ALL   0x03 /* ISA addresses and others */

static void res_bytes(struct aml_res *r, const void *data, size_t size)
{
	assert(size <= AML_RES_MAX - r->len);
	memcpy(r->data + r->len, data, size);
	r->len += size;
}

static void res_value(struct aml_res *r, u64 v, unsigned size)
{
	res_bytes(r, &v, size);
}

void aml_res_io(struct aml_res *r, u16 port, u8 len)
{
	const u8 d[] = {RES_IO, 1, (u8)port, (u8)(port >> 8), (u8)port, (u8)(port >> 8), 1, len};

	res_bytes(r, d, sizeof(d));
}

void aml_res_irq(struct aml_res *r, u8 irq)
{
	assert(irq < 16);
	res_value(r, RES_IRQ, 1);
	res_value(r, BIT(irq), 2);
}

void aml_res_mem32(struct aml_res *r, u32 base, u32 size, bool is_writable)
{
	res_value(r, RES_MEM32FIXED, 1);
	res_value(r, 9, 2);
	res_value(r, is_writable, 1);
	res_value(r, base, 4);
	res_value(r, size, 4);
}

/* An address space descriptor whose fields are width bytes (6.4.3.5). */
static void res_space(struct aml_res *r, u8 kind, unsigned width, u8 type, u8 flags, u8 type_flags,
		      u64 first, u64 last)
{
	res_value(r, kind, 1);
	res_value(r, 3 + 5 * width, 2);
	res_value(r, type, 1);
	res_value(r, flags, 1);
	res_value(r, type_flags, 1);
	res_value(r, 0, width); /* granularity */
	res_value(r, first, width);
	res_value(r, last, width);
	res_value(r, 0, width); /* translation */
	res_value(r, last - first + 1, width);
}

void aml_res_mem64(struct aml_res *r, u64 base, u64 size)
{
	res_space(r, RES_QWORD, 8, RES_TYPE_MEM, RES_FIXED | RES_CONSUMER, RES_MEM_RW, base,
		  base + size - 1);
}

void aml_res_window_bus(struct aml_res *r, u16 first, u16 last)
{
	res_space(r, RES_WORD, 2, RES_TYPE_BUS, RES_FIXED, 0, first, last);
}

void aml_res_window_io(struct aml_res *r, u16 first, u16 last)
{
	res_space(r, RES_WORD, 2, RES_TYPE_IO, RES_FIXED, RES_IO_ALL, first, last);
}

void aml_res_window_mem32(struct aml_res *r, u32 first, u32 last)
{
	res_space(r, RES_DWORD, 4, RES_TYPE_MEM, RES_FIXED, RES_MEM_RW, first, last);
}

void aml_res_window_mem64(struct aml_res *r, u64 first, u64 last)
{
	res_space(r, RES_QWORD, 8, RES_TYPE_MEM, RES_FIXED, RES_MEM_RW, first, last);
}

void aml_name_crs(struct aml *a, struct aml_res *r)
{
	const u8 end[] = {RES_END, 0}; /* checksum 0: none */

	res_bytes(r, end, sizeof(end));
	aml_name(a, "_CRS");
	aml_buffer(a, r->data, r->len);
}
