import type { Instruction } from './instruction.ts';
import { OpcodeMap, Prefix } from './instruction.ts';
import { readRm } from './operands.ts';
import { Effect, type OperationTable } from './operation.ts';
import type { CpuContext } from './types.ts';

/** The polynomial 11EDC6F41H (CRC-32C) with its bits reflected. Intel SDM vol. 2, CRC32. */
const POLYNOMIAL_REFLECTED = 0x82f6_3b78;

let byteTable: Int32Array | undefined;

/** `crc32 r, r/m`: adds 1, 2, 4 or 8 bytes to a CRC-32C. */
export function addChecksumOperations(table: OperationTable): void {
  table.add(OpcodeMap.ThreeByte38, Prefix.F2, 0xf0, (insn, cpu) => crc32(insn, cpu, 1));
  table.add(OpcodeMap.ThreeByte38, Prefix.F2, 0xf1, (insn, cpu) => crc32(insn, cpu, insn.operandSize));
}

function crc32(insn: Instruction, cpu: CpuContext, size: number): number {
  byteTable ??= buildByteTable();
  const source = readRm(insn, cpu, size);
  let low = Number(BigInt.asUintN(32, source));
  let crc = cpu.registers.get32(insn.reg);
  for (let i = 0; i < size; i++) {
    if (i === 4) low = Number(source >> 32n);
    crc = byteTable[(crc ^ low) & 0xff]! ^ (crc >>> 8);
    low >>>= 8;
  }
  // Also with REX.W the result is 32 bits in a cleared register.
  cpu.registers.set32(insn.reg, crc);
  return Effect.None;
}

function buildByteTable(): Int32Array {
  const table = new Int32Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL_REFLECTED : crc >>> 1;
    table[byte] = crc;
  }
  return table;
}
