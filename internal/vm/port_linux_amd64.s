#include "textflag.h"

// func outBytes(port uint16, b *byte, n int)
// Not OUTSB with REP in pieces: one instruction sends all of it.
TEXT ·outBytes(SB), NOSPLIT, $0-24
	MOVW port+0(FP), DX
	MOVQ b+8(FP), SI
	MOVQ n+16(FP), CX
	CLD
	REP; OUTSB
	RET

// func outLong(port uint16, v uint32)
TEXT ·outLong(SB), NOSPLIT, $0-8
	MOVW port+0(FP), DX
	MOVL v+4(FP), AX
	OUTL
	RET

// func outByte(port uint16, v uint8)
TEXT ·outByte(SB), NOSPLIT, $0-3
	MOVW port+0(FP), DX
	MOVB v+2(FP), AX
	OUTB
	RET

// func counter() uint64
TEXT ·counter(SB), NOSPLIT, $0-8
	LFENCE
	RDTSC
	SHLQ $32, DX
	ORQ  DX, AX
	MOVQ AX, ret+0(FP)
	RET
