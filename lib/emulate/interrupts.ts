import { loadLinear } from './access.ts';
import { Vector } from './control.ts';
import { Fault, generalProtection, Trap, undefinedOpcode } from './faults.ts';
import type { Instruction } from './instruction.ts';
import { OpcodeMap } from './instruction.ts';
import { isLongMode, isRealMode } from './mode.ts';
import { Effect, type OperationTable } from './operation.ts';
import { Flag } from './registers.ts';
import type { CpuContext } from './types.ts';

/** Gate types in a descriptor's type field. Intel SDM vol. 3, §3.5 and §6.11. */
const TASK_GATE = 5;
const INTERRUPT_GATE_16 = 6;
const TRAP_GATE_16 = 7;
const INTERRUPT_GATE = 14;
const TRAP_GATE = 15;
/** In the error code: the index is one of the IDT. Intel SDM vol. 3, §6.13. */
const ERROR_CODE_IDT = 2;

/** `int3`, `int n`, `into`, `int1` and the opcodes that are there to be undefined. Intel SDM vol. 2, INT n/INTO/INT3/INT1 and UD. */
export function addInterruptOperations(table: OperationTable): void {
  const bare = { noModRm: true };
  table.addForAllPrefixes(OpcodeMap.OneByte, 0xcc, int3, bare);
  table.addForAllPrefixes(OpcodeMap.OneByte, 0xcd, intN, { noModRm: true, immediate: 1 });
  table.addForAllPrefixes(OpcodeMap.OneByte, 0xce, into, bare);
  table.addForAllPrefixes(OpcodeMap.OneByte, 0xf1, int1, bare);
  table.addForAllPrefixes(OpcodeMap.TwoByte, 0x0b, undefinedOpcode, bare);
  table.addForAllPrefixes(OpcodeMap.TwoByte, 0xb9, undefinedOpcode);
  table.addForAllPrefixes(OpcodeMap.TwoByte, 0xff, undefinedOpcode);
}

function int3(_insn: Instruction, cpu: CpuContext): never {
  checkGate(cpu, Vector.BP);
  throw new Trap(Vector.BP, false);
}

function into(insn: Instruction, cpu: CpuContext): number {
  if (insn.mode === 64) undefinedOpcode();
  if ((cpu.registers.flags & Flag.OF) === 0) return Effect.None;
  checkGate(cpu, Vector.OF);
  throw new Trap(Vector.OF, false);
}

function intN(insn: Instruction, cpu: CpuContext): never {
  const { flags } = cpu.registers;
  // §20.3.3: without CR4.VME, virtual-8086 mode needs IOPL 3.
  if ((flags & Flag.VM) !== 0 && (flags & Flag.IOPL) !== Flag.IOPL) generalProtection();
  checkGate(cpu, insn.immediate);
  throw new Trap(insn.immediate, true);
}

/** `int1` counts as a debug exception from outside: the gate's privilege does not matter, and DR6 stays. */
function int1(): never {
  throw new Trap(Vector.DB, false);
}

/**
 * The checks on a software interrupt's gate whose faults belong to the interrupt instruction: they must show RIP at it, while
 * KVM is handed the event with RIP behind it. What can fail later (code segment, stack) is left to KVM's delivery.
 */
function checkGate(cpu: CpuContext, vector: number): void {
  if (isRealMode(cpu)) return;
  const long = isLongMode(cpu);
  const size = long ? 16 : 8;
  const errorCode = vector * 8 + ERROR_CODE_IDT;
  if (vector * size + size - 1 > cpu.idt.limit) throw new Fault(Vector.GP, errorCode);
  // The processor's own access: a supervisor's, whatever CPL and RFLAGS.AC are.
  const address = BigInt.asUintN(long ? 64 : 32, cpu.idt.base + BigInt(vector * size + 4));
  const gate = loadLinear(cpu, address, 4, 0);
  const type = (gate >>> 8) & 0x1f;
  const isGate = type === INTERRUPT_GATE || type === TRAP_GATE;
  const isLegacyGate = type === TASK_GATE || type === INTERRUPT_GATE_16 || type === TRAP_GATE_16;
  if (!isGate && (long || !isLegacyGate)) throw new Fault(Vector.GP, errorCode);
  if (((gate >>> 13) & 3) < cpu.cpl) throw new Fault(Vector.GP, errorCode);
  if ((gate & 0x8000) === 0) throw new Fault(Vector.NP, errorCode);
}
