import { clwb, fence } from './cache.ts';
import { verr, verw } from './descriptors.ts';
import { compareExchange16b } from './exchange.ts';
import { Unsupported, undefinedOpcode } from './faults.ts';
import { type Instruction, OpcodeMap, Prefix } from './instruction.ts';
import { ldmxcsr, stmxcsr } from './mxcsr.ts';
import { type Execute, type OperationTable, VEX_0F } from './operation.ts';
import { rdpkru, wrpkru } from './protection-keys.ts';
import { clac, monitor, monitorx, rdpid, rdtscp, stac, xgetbv, xsetbv } from './system.ts';
import type { CpuContext } from './types.ts';
import { xrstor, xrstors } from './xrstor.ts';
import { xsave, xsavec, xsaveopt, xsaves } from './xsave.ts';

/**
 * Opcodes that ModRM extends to several instructions (Intel SDM vol. 2, table A-6: groups 6, 7, 9 and 15), as far as KVM leaves
 * some of them to mvm.
 */
export function addGroupOperations(table: OperationTable): void {
  table.addForAllPrefixes(OpcodeMap.TwoByte, 0x00, group6);
  table.addForAllPrefixes(OpcodeMap.TwoByte, 0x01, group7);
  table.addForAllPrefixes(OpcodeMap.TwoByte, 0xc7, group9, { lockable: true });
  table.addForAllPrefixes(OpcodeMap.TwoByte, 0xae, group15);
  table.add(VEX_0F, Prefix.None, 0xae, group15Vex);
}

function group6(insn: Instruction, cpu: CpuContext): number {
  switch (insn.reg & 7) {
    case 4:
      return verr(insn, cpu);
    case 5:
      return verw(insn, cpu);
    default:
      return unknown();
  }
}

/** Register forms of group 7 by their ModRM byte, without a mandatory prefix. */
const GROUP_7 = new Map<number, Execute>([
  [0xc8, monitor],
  [0xc9, monitor], // mwait
  [0xca, clac],
  [0xcb, stac],
  [0xd0, xgetbv],
  [0xd1, xsetbv],
  [0xee, rdpkru],
  [0xef, wrpkru],
  [0xfa, monitorx],
  [0xfb, monitorx], // mwaitx
]);
const MODRM_RDTSCP = 0xf9;

function group7(insn: Instruction, cpu: CpuContext): number {
  if (insn.isMemory) return unknown();
  const modRm = 0xc0 | ((insn.reg & 7) << 3) | (insn.rm & 7);
  if (modRm === MODRM_RDTSCP) return rdtscp(insn, cpu);
  const execute = insn.prefix === Prefix.None ? GROUP_7.get(modRm) : undefined;
  return execute === undefined ? unknown() : execute(insn, cpu);
}

function group9(insn: Instruction, cpu: CpuContext): number {
  const extension = insn.reg & 7;
  if (insn.isMemory && extension === 1 && insn.rexW) return compareExchange16b(insn, cpu);
  if (insn.lock) undefinedOpcode();
  if (!insn.isMemory) {
    if (extension < 6) undefinedOpcode();
    return extension === 7 && insn.prefix === Prefix.F3 ? rdpid(insn, cpu) : unknown();
  }
  if (insn.prefix !== Prefix.None) return unknown();
  switch (extension) {
    case 3:
      return xrstors(insn, cpu);
    case 4:
      return xsavec(insn, cpu);
    case 5:
      return xsaves(insn, cpu);
    default:
      return unknown();
  }
}

function group15(insn: Instruction, cpu: CpuContext): number {
  const extension = insn.reg & 7;
  if (insn.prefix === Prefix.OperandSize && insn.isMemory && extension === 6) return clwb(insn, cpu);
  if (insn.prefix !== Prefix.None) return unknown();
  if (!insn.isMemory) return extension >= 5 ? fence() : unknown();
  switch (extension) {
    case 2:
      return ldmxcsr(insn, cpu);
    case 3:
      return stmxcsr(insn, cpu);
    case 4:
      return xsave(insn, cpu);
    case 5:
      return xrstor(insn, cpu);
    case 6:
      return xsaveopt(insn, cpu);
    default:
      return unknown();
  }
}

function group15Vex(insn: Instruction, cpu: CpuContext): number {
  if (!insn.isMemory) return undefinedOpcode();
  switch (insn.reg & 7) {
    case 2:
      return ldmxcsr(insn, cpu);
    case 3:
      return stmxcsr(insn, cpu);
    default:
      return undefinedOpcode();
  }
}

function unknown(): never {
  throw new Unsupported('mvm does not know it');
}
