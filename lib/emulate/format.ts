import { codeBits } from './mode.ts';
import { Register } from './registers.ts';
import { type CpuContext, SegmentRegister } from './types.ts';

/**
 * The line for an instruction that mvm cannot complete: what, where, why, and the registers.
 * @param bytes what is known of the instruction
 */
export function formatUnknown(bytes: Uint8Array, cpu: CpuContext, reason: string): string {
  const { registers } = cpu;
  const code = bytes.length === 0 ? '(bytes unknown)' : Array.from(bytes, (byte) => hexByte(byte)).join(' ');
  const cs = hex(cpu.segment(SegmentRegister.cs).selector);
  return (
    `KVM cannot emulate an instruction and ${reason}: ${code} at ${cs}:${hex(registers.rip)} ` +
    `(${codeBits(cpu)}-bit, CPL ${cpu.cpl}); ${formatRegisters(cpu)}`
  );
}

/** General and control registers, `name=value`, in one line. */
function formatRegisters(cpu: CpuContext): string {
  const general = Object.entries(Register).map(([name, index]) => `${name}=${hex(cpu.registers.quads[index]!)}`);
  const control = [`cr0=${hex(cpu.cr0)}`, `cr3=${hex(cpu.cr3)}`, `cr4=${hex(cpu.cr4)}`, `efer=${hex(cpu.efer)}`];
  return [...general, ...control].join(' ');
}

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}

function hexByte(byte: number): string {
  return byte.toString(16).padStart(2, '0');
}
