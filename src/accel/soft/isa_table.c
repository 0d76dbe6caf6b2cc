/*
 * The rows of the instruction table, and what their columns mean.
 *
 *   ROW(operation, map, prefix, opcode, ModRM, shape, OPS(operands), feature, attributes)
 *
 * ModRM is NOMRM (there is none), MRM (any), MEM or REG (mod not 3, mod 3), each of the three with
 * _(n) for a ModRM.reg that is part of the opcode, or EXACT(byte). Operands are written as in SDM
 * 2D, A.2: a letter for the place, a letter for the size. An opcode may have several rows; the
 * first that matches the mode, the prefixes, the ModRM byte and the CPU's features is taken. So a
 * row whose feature is missing gives way to a later one, or to #UD.
 */
#include "accel/soft/isa.h"

/* clang-format off */

/* Attributes, short. */
enum {
	LOCK = SX_A_LOCK, D64 = SX_A_D64, F64 = SX_A_F64, NO64 = SX_A_NO64, ONLY64 = SX_A_64,
	PROT = SX_A_PROT, END = SX_A_END, CC = SX_A_CC, ALIGN = SX_A_ALIGN, W1 = SX_A_W1,
	W0 = SX_A_W0, CPL0 = SX_A_CPL0, IO = SX_A_IO, A64 = SX_A_A64, NOA64 = SX_A_NOA64,
	NOREXB = SX_A_NOREXB, MODREG = SX_A_MODREG, SRCSIZE = SX_A_SRCSIZE, L0 = SX_A_L0, L1 = SX_A_L1,
};

#define NOMRM   SX_MODRM_ABSENT, SX_EXT_ANY
#define MRM     SX_MODRM_ANY, SX_EXT_ANY
#define MRM_(n) SX_MODRM_ANY, n
#define MEM     SX_MODRM_MEM, SX_EXT_ANY
#define MEM_(n) SX_MODRM_MEM, n
#define REG     SX_MODRM_REG, SX_EXT_ANY
#define REG_(n) SX_MODRM_REG, n
#define EXACT(byte) SX_MODRM_EXACT, byte

#define Eb  {SX_OPD_E, SX_SZ_B}
#define Ew  {SX_OPD_E, SX_SZ_W}
#define Ed  {SX_OPD_E, SX_SZ_D}
#define Ev  {SX_OPD_E, SX_SZ_V}
#define Ey  {SX_OPD_E, SX_SZ_Y}
#define Ez  {SX_OPD_E, SX_SZ_Z}
#define RdMb {SX_OPD_EX, SX_SZ_B}
#define RdMw {SX_OPD_EX, SX_SZ_W}
#define Gb  {SX_OPD_G, SX_SZ_B}
#define Gw  {SX_OPD_G, SX_SZ_W}
#define Gd  {SX_OPD_G, SX_SZ_D}
#define Gv  {SX_OPD_G, SX_SZ_V}
#define Gy  {SX_OPD_G, SX_SZ_Y}
#define Rv  {SX_OPD_R, SX_SZ_V}
#define Ry  {SX_OPD_R, SX_SZ_Y}
#define Zb  {SX_OPD_Z, SX_SZ_B}
#define Zv  {SX_OPD_Z, SX_SZ_V}
#define M   {SX_OPD_M, SX_SZ_NONE}
#define Mw  {SX_OPD_M, SX_SZ_W}
#define Md  {SX_OPD_M, SX_SZ_D}
#define Mq  {SX_OPD_M, SX_SZ_Q}
#define Mt  {SX_OPD_M, SX_SZ_T}
#define Mdq {SX_OPD_M, SX_SZ_DQ}
#define Mv  {SX_OPD_M, SX_SZ_V}
#define My  {SX_OPD_M, SX_SZ_Y}
#define Mp  {SX_OPD_M, SX_SZ_P}
#define Ma  {SX_OPD_M, SX_SZ_A}
#define Ms  {SX_OPD_M, SX_SZ_S}
#define Menv  {SX_OPD_M, SX_SZ_ENV}
#define Msave {SX_OPD_M, SX_SZ_SAVE}
#define Mfx {SX_OPD_M, SX_SZ_FX}
#define Mxs {SX_OPD_M, SX_SZ_XS}
#define AL  {SX_OPD_ACC, SX_SZ_B}
#define AX  {SX_OPD_ACC, SX_SZ_W}
#define eAX {SX_OPD_ACC, SX_SZ_Z}
#define rAX {SX_OPD_ACC, SX_SZ_V}
#define CL  {SX_OPD_CL, SX_SZ_B}
#define DX  {SX_OPD_DX, SX_SZ_W}
#define ONE {SX_OPD_ONE, SX_SZ_B}
#define Ib  {SX_OPD_I, SX_SZ_B}
#define Iw  {SX_OPD_I, SX_SZ_W}
#define Iv  {SX_OPD_I, SX_SZ_V}
#define Iz  {SX_OPD_I, SX_SZ_Z}
#define ISb {SX_OPD_IS, SX_SZ_V}
#define Jb  {SX_OPD_J, SX_SZ_B}
#define Jz  {SX_OPD_J, SX_SZ_Z}
#define Ap  {SX_OPD_A, SX_SZ_P}
#define Ob  {SX_OPD_O, SX_SZ_B}
#define Ov  {SX_OPD_O, SX_SZ_V}
#define Xb  {SX_OPD_X, SX_SZ_B}
#define Xv  {SX_OPD_X, SX_SZ_V}
#define Xz  {SX_OPD_X, SX_SZ_Z}
#define Yb  {SX_OPD_Y, SX_SZ_B}
#define Yv  {SX_OPD_Y, SX_SZ_V}
#define Yz  {SX_OPD_Y, SX_SZ_Z}
#define Sw  {SX_OPD_S, SX_SZ_W}
#define SEG {SX_OPD_SEG, SX_SZ_V}
#define Cy  {SX_OPD_C, SX_SZ_Y}
#define Dy  {SX_OPD_D, SX_SZ_Y}
#define Pq  {SX_OPD_P, SX_SZ_Q}
#define Qd  {SX_OPD_Q, SX_SZ_D}
#define Qq  {SX_OPD_Q, SX_SZ_Q}
#define Nq  {SX_OPD_N, SX_SZ_Q}
#define Vd  {SX_OPD_V, SX_SZ_D}
#define Vq  {SX_OPD_V, SX_SZ_Q}
#define Vdq {SX_OPD_V, SX_SZ_DQ}
#define Ww  {SX_OPD_W, SX_SZ_W}
#define Wd  {SX_OPD_W, SX_SZ_D}
#define Wq  {SX_OPD_W, SX_SZ_Q}
#define Wdq {SX_OPD_W, SX_SZ_DQ}
#define Ud  {SX_OPD_U, SX_SZ_D}
#define Uq  {SX_OPD_U, SX_SZ_Q}
#define Udq {SX_OPD_U, SX_SZ_DQ}
#define Vx  {SX_OPD_V, SX_SZ_X}
#define Vqq {SX_OPD_V, SX_SZ_QQ}
#define Wx  {SX_OPD_W, SX_SZ_X}
#define Whx {SX_OPD_W, SX_SZ_HX}
#define Wqx {SX_OPD_W, SX_SZ_QX}
#define Wex {SX_OPD_W, SX_SZ_EX}
#define Wqq {SX_OPD_W, SX_SZ_QQ}
#define Wb  {SX_OPD_W, SX_SZ_B}
#define Ux  {SX_OPD_U, SX_SZ_X}
#define Mx  {SX_OPD_M, SX_SZ_X}
#define Hd  {SX_OPD_H, SX_SZ_D}
#define Hq  {SX_OPD_H, SX_SZ_Q}
#define Hdq {SX_OPD_H, SX_SZ_DQ}
#define Hqq {SX_OPD_H, SX_SZ_QQ}
#define Hx  {SX_OPD_H, SX_SZ_X}
#define Lx  {SX_OPD_L, SX_SZ_X}
#define By  {SX_OPD_B, SX_SZ_Y}
#define VMd {SX_OPD_VM, SX_SZ_D}
#define VMq {SX_OPD_VM, SX_SZ_Q}
#define XMM0 {SX_OPD_XMM0, SX_SZ_DQ}
#define STi {SX_OPD_STI, SX_SZ_T}

#define OPS(...) {__VA_ARGS__}
#define ROW(op_, map_, prefix_, opcode_, modrm_, shape_, opd_, feature_, attr_)                    \
	{SX_##op_, SX_MAP_##map_, opcode_, SX_P_##prefix_, modrm_, SX_SHAPE_##shape_, opd_,        \
	 SX_F_##feature_, attr_},

const struct sx_form sx_forms[] = {
	{0}, /* form 0 is no instruction */
#include "accel/soft/isa_integer.inc"
#include "accel/soft/isa_simd.inc"
#include "accel/soft/isa_simd3.inc"
#include "accel/soft/isa_system.inc"
#include "accel/soft/isa_vex.inc"
#include "accel/soft/isa_x87.inc"
};

const unsigned sx_form_count = ARRAY_SIZE(sx_forms);

/* clang-format on */
