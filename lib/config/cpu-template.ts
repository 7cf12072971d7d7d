import type { CpuTemplateFile } from './schema-cpu.ts';
import type { CpuConfig } from './types.ts';

/** Turns a valid CPU template's texts into numbers. */
export function parseCpuTemplate(template: CpuTemplateFile): CpuConfig {
  const capabilities = template.kvm_capabilities ?? [];
  return {
    addCapabilities: capabilities.filter((name) => !name.startsWith('!')).map(Number),
    removeCapabilities: capabilities.filter((name) => name.startsWith('!')).map((name) => Number(name.slice(1))),
    cpuid: (template.cpuid_modifiers ?? []).map((modifier) => ({
      leaf: Number(modifier.leaf),
      subleaf: Number(modifier.subleaf),
      flags: modifier.flags,
      registers: modifier.modifiers.map(({ register, bitmap }) => {
        const { mask, set } = parseBitmap(bitmap);
        return { register, mask: Number(mask), set: Number(set) };
      }),
    })),
    msrs: (template.msr_modifiers ?? []).map(({ addr, bitmap }) => ({ address: Number(addr), ...parseBitmap(bitmap) })),
  };
}

/** `0b` and then, the highest bit first: 0, 1, or x for a bit that stays; `_` is ignored. */
function parseBitmap(bitmap: string): { mask: bigint; set: bigint } {
  let mask = 0n;
  let set = 0n;
  for (const bit of bitmap.slice(2).replaceAll('_', '')) {
    mask = (mask << 1n) | (bit === 'x' ? 0n : 1n);
    set = (set << 1n) | (bit === '1' ? 1n : 0n);
  }
  return { mask, set };
}
