/*
 * The x86 "branch/call/jump" filter of xz (filter 0x04) and 7-Zip, undone.
 *
 * The encoder turned the relative operand of each CALL (E8) and JMP (E9) into an absolute one, so that calls of one function look
 * alike. It has no disassembler: an opcode byte counts only where its operand looks like a near one (top byte 00 or FF), and where
 * the bytes shortly before it were not operand-like opcodes themselves. The decoder walks the same way, so it takes the same ones.
 */

/** Opcode and operand. */
const INSTRUCTION_SIZE = 5;

/**
 * By the mask of opcode bytes among the three bytes before (bit 0: the nearest): may an instruction here be converted? Not where two
 * or more of them crowd together.
 */
const MASK_ALLOWED = [true, true, true, false, true, false, false, false] as const;
/** By the same mask: how many of the operand's upper bytes lie behind the earliest of those opcodes. */
const MASK_BYTES = [0, 1, 2, 2, 3, 3, 3, 3] as const;

function isSignByte(byte: number): boolean {
  return byte === 0x00 || byte === 0xff;
}

/**
 * Undoes the filter in place on `bytes[start, end)`, one xz block, whose first byte stands at address `origin`.
 */
export function decodeBcjX86(bytes: Uint8Array, start: number, end: number, origin = 0): void {
  const last = end - INSTRUCTION_SIZE;
  // Opcode bytes met lately that were not converted, as a mask, and where the last opcode byte was.
  let mask = 0;
  let previous = start - INSTRUCTION_SIZE;
  for (let at = start; at <= last; at++) {
    if ((bytes[at]! & 0xfe) !== 0xe8) continue;
    const gap = at - previous;
    previous = at;
    mask = gap > 3 ? 0 : (mask << (gap - 1)) & 7;
    if (mask !== 0 && (!MASK_ALLOWED[mask] || isSignByte(bytes[at + 4 - MASK_BYTES[mask]!]!))) {
      mask = (mask << 1) | 1;
      continue;
    }
    if (!isSignByte(bytes[at + 4]!)) {
      mask = (mask << 1) | 1;
      continue;
    }
    const next = origin + (at - start) + INSTRUCTION_SIZE;
    const operand = bytes[at + 1]! | (bytes[at + 2]! << 8) | (bytes[at + 3]! << 16) | (bytes[at + 4]! << 24);
    let relative = (operand - next) | 0;
    if (mask !== 0) {
      // Where the byte under the earliest of those opcodes would become a sign byte, the encoder turned the bits below around. It would
      // do so again and again, but the second time the byte is the operand's own, inverted, and that is none (checked above).
      const shift = MASK_BYTES[mask]! * 8;
      if (isSignByte((relative >>> (24 - shift)) & 0xff))
        relative = ((relative ^ ((1 << (32 - shift)) - 1)) - next) | 0;
    }
    // 25 bits count; the top byte repeats the sign.
    relative = (relative << 7) >> 7;
    bytes[at + 1] = relative;
    bytes[at + 2] = relative >>> 8;
    bytes[at + 3] = relative >>> 16;
    bytes[at + 4] = relative >>> 24;
    at += INSTRUCTION_SIZE - 1;
  }
}
