/*
 * Writing AML, ACPI's bytecode (ACPI 6.4, chapter 20).
 *
 * Calls emit in order, as the grammar reads: an operator first, then its operands. What has a
 * length (scopes, devices, methods, packages, if) is opened by its function and closed by aml_end.
 * Resource templates are built aside and emitted whole. The buffer grows by itself; one thread.
 */
#ifndef BOOT_AML_H
#define BOOT_AML_H

#include "base/base.h"

#define AML_DEPTH 8 /* open blocks */

struct aml {
	u8 *data;
	size_t len, cap;
	size_t open[AML_DEPTH]; /* where the length of each open block goes */
	unsigned depth;
};

void aml_init(struct aml *a);
void aml_fini(struct aml *a);

/* Operators with a fixed form; their operands follow (20.2.5). */
enum aml_op {
	AML_LOCAL0 = 0x60,
	AML_ARG0 = 0x68,
	AML_STORE = 0x70,       /* source, target */
	AML_NO_TARGET = 0x00,   /* where a target may be left out */
	AML_AND = 0x7b,         /* a, b, target */
	AML_OR = 0x7d,          /* a, b, target */
	AML_NOTIFY = 0x86,      /* object, value */
	AML_DWORD_FIELD = 0x8a, /* buffer, byte index, name: CreateDWordField */
	AML_LNOT = 0x92,        /* a */
	AML_LEQUAL = 0x93,      /* a, b */
	AML_RETURN = 0xa4,      /* value */
};
void aml_op(struct aml *a, enum aml_op op);
void aml_arg(struct aml *a, unsigned n);   /* Arg0 to Arg6 */
void aml_local(struct aml *a, unsigned n); /* Local0 to Local7 */

/* A name or path: "\\_SB.PCI0", "^FOO", "_CRS"; segments of one to four characters. */
void aml_path(struct aml *a, const char *path);
void aml_int(struct aml *a, u64 v);
void aml_string(struct aml *a, const char *s);
void aml_eisaid(struct aml *a, const char *id); /* "PNP0A08" as an integer (19.3.4) */
void aml_uuid(struct aml *a, const char *uuid); /* ToUUID (19.6.142) */
void aml_buffer(struct aml *a, const void *data, size_t size);

/* Blocks, to be closed with aml_end. */
void aml_scope(struct aml *a, const char *path);
void aml_device(struct aml *a, const char *name);
void aml_method(struct aml *a, const char *name, unsigned n_args, bool is_serialized);
void aml_package(struct aml *a, unsigned n_elements); /* at most 255 */
void aml_if(struct aml *a);                           /* the condition follows */
void aml_else(struct aml *a);                         /* right after the if's aml_end */
void aml_end(struct aml *a);

/* Name (name, object): the object follows, or is given. */
void aml_name(struct aml *a, const char *name);
void aml_name_int(struct aml *a, const char *name, u64 v);
/* An EISA id where it has that form ("PNP0501"), else a string ("QEMU0001"). */
void aml_name_hid(struct aml *a, const char *name, const char *hid);

/* Ports of a device (OperationRegion), and a field of 32-bit registers over them, its names in order. */
void aml_port_region(struct aml *a, const char *name, u16 port, u8 size);
void aml_dword_field(struct aml *a, const char *region, const char *const names[], unsigned n);

/* Resource templates (6.4). */
#define AML_RES_MAX 512
struct aml_res {
	u8 data[AML_RES_MAX];
	size_t len;
};
void aml_res_io(struct aml_res *r, u16 port, u8 len);
void aml_res_irq(struct aml_res *r, u8 irq); /* ISA: edge, active high */
void aml_res_mem32(struct aml_res *r, u32 base, u32 size, bool is_writable);
/* A consumer's range that needs 64 bits. */
void aml_res_mem64(struct aml_res *r, u64 base, u64 size);
/* What a host bridge passes on. */
void aml_res_window_bus(struct aml_res *r, u16 first, u16 last);
void aml_res_window_io(struct aml_res *r, u16 first, u16 last);
void aml_res_window_mem32(struct aml_res *r, u32 first, u32 last);
void aml_res_window_mem64(struct aml_res *r, u64 first, u64 last);
void aml_name_crs(struct aml *a, struct aml_res *r); /* Name (_CRS, ...); closes the template */

#endif
