import { DR6_BS, Vector } from './control.ts';
import { decode } from './decode.ts';
import { Fault, Trap, Unsupported } from './faults.ts';
import { formatUnknown } from './format.ts';
import { Instruction } from './instruction.ts';
import { Effect, type OperationTable } from './operation.ts';
import { Flag } from './registers.ts';
import { buildOperationTable } from './table.ts';
import { type Completed, type CpuContext, Dirty, type Outcome } from './types.ts';

const COMPLETED: Completed = { kind: 'completed', dirty: Dirty.Registers, flushTlb: false };
const COMPLETED_FLUSH: Completed = { kind: 'completed', dirty: Dirty.Registers, flushTlb: true };
const COMPLETED_EXTENDED: Completed = {
  kind: 'completed',
  dirty: Dirty.Registers | Dirty.ExtendedState,
  flushTlb: false,
};

const insn = new Instruction();
let table: OperationTable | undefined;

/**
 * Does the one instruction at RIP that KVM gave up emulating (`KVM_INTERNAL_ERROR_EMULATION`): every change is made in `cpu`,
 * and the outcome says which parts changed and what remains for KVM to do.
 *
 * @param bytes the instruction's bytes as KVM tells them; too few (or none) are completed from guest memory
 */
export function completeInstruction(bytes: Uint8Array, cpu: CpuContext): Outcome {
  table ??= buildOperationTable();
  try {
    const operation = decode(insn, cpu, bytes, table);
    const effect = operation.execute(insn, cpu);
    return retire(cpu, effect);
  } catch (thrown) {
    if (thrown instanceof Fault) return fault(cpu, thrown);
    if (thrown instanceof Trap) return trap(cpu, thrown);
    if (thrown instanceof Unsupported) {
      const known = insn.available > 0 ? insn.bytes.subarray(0, insn.available) : bytes;
      return { kind: 'unknown', message: formatUnknown(known, cpu, thrown.reason) };
    }
    throw thrown;
  }
}

/** Moves RIP behind the instruction. */
function advance(cpu: CpuContext): void {
  const { registers } = cpu;
  // Outside 64-bit mode a code segment wraps within its 32 or 16 bits.
  registers.rip = BigInt.asUintN(insn.mode, registers.rip + BigInt(insn.length));
}

function retire(cpu: CpuContext, effect: number): Outcome {
  const { registers } = cpu;
  advance(cpu);
  const { flags } = registers;
  // RF holds for one instruction. Intel SDM vol. 3, §17.3.1.1.
  if ((flags & Flag.RF) !== 0) registers.flags = flags & ~Flag.RF;
  const extended = (effect & Effect.ExtendedState) !== 0;
  if ((flags & Flag.TF) !== 0) {
    return {
      kind: 'exception',
      dirty: extended ? COMPLETED_EXTENDED.dirty : Dirty.Registers,
      vector: Vector.DB,
      errorCode: undefined,
      cr2: undefined,
      dr6: DR6_BS,
    };
  }
  if (extended) return COMPLETED_EXTENDED;
  return (effect & Effect.FlushTlb) !== 0 ? COMPLETED_FLUSH : COMPLETED;
}

function fault(cpu: CpuContext, { vector, errorCode, cr2 }: Fault): Outcome {
  // The frame of a fault shows RF set, so that an instruction breakpoint does not strike again. SDM vol. 3, §17.3.1.1.
  cpu.registers.flags |= Flag.RF;
  return { kind: 'exception', dirty: Dirty.Registers, vector, errorCode, cr2, dr6: 0 };
}

function trap(cpu: CpuContext, { vector, software }: Trap): Outcome {
  advance(cpu);
  cpu.registers.flags &= ~Flag.RF;
  if (software) return { kind: 'interrupt', dirty: Dirty.Registers, vector };
  return { kind: 'exception', dirty: Dirty.Registers, vector, errorCode: undefined, cr2: undefined, dr6: 0 };
}
