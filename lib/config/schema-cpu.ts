import * as v from 'valibot';
import { bitmap, integer, list, MAX_U32, matching, NUMERAL, oneOf } from './schema-parts.ts';

const cpuidModifier = v.strictObject({
  leaf: matching(NUMERAL, 'a number such as "0x1"', { title: 'Leaf', description: 'EAX of the CPUID instruction.' }),
  subleaf: matching(NUMERAL, 'a number such as "0x0"', {
    title: 'Subleaf',
    description: 'ECX of the CPUID instruction.',
  }),
  flags: integer(0, MAX_U32, { title: 'Flags', description: 'KVM_CPUID_FLAG_* of the entry.' }),
  modifiers: list(
    v.strictObject({
      register: oneOf(['eax', 'ebx', 'ecx', 'edx'], { title: 'Register', description: 'The register to modify.' }),
      bitmap: matching(bitmap(32), '"0b" and up to 32 of 0, 1 and x', {
        title: 'Bitmap',
        description: '"0b", then for each bit, the highest first: 0, 1, or x for unchanged.',
      }),
    }),
    { title: 'Modifiers', description: 'What to change in this leaf.' },
  ),
});

const msrModifier = v.strictObject({
  addr: matching(NUMERAL, 'a number such as "0x10a"', { title: 'MSR', description: 'Its index.', examples: ['0x10a'] }),
  bitmap: matching(bitmap(64), '"0b" and up to 64 of 0, 1 and x', {
    title: 'Bitmap',
    description: '"0b", then for each bit, the highest first: 0, 1, or x for unchanged.',
  }),
});

/** A custom CPU template: what Firecracker's `cpu-config` file holds. */
export const CpuTemplateSchema = v.strictObject({
  kvm_capabilities: v.nullish(
    list(
      matching(/^!?[0-9]{1,9}$/, 'a capability number such as "121" or "!121"', {
        title: 'KVM capability',
        description: 'Its number; with "!" it is not required.',
      }),
      { title: 'KVM capabilities', description: 'To require, or with "!" not to require.', examples: [['!56']] },
    ),
  ),
  cpuid_modifiers: v.nullish(
    list(cpuidModifier, { title: 'CPUID modifiers', description: 'Bits of CPUID leaves to force.' }),
  ),
  msr_modifiers: v.nullish(list(msrModifier, { title: 'MSR modifiers', description: 'Bits of MSRs to force.' })),
});

export type CpuTemplateFile = v.InferOutput<typeof CpuTemplateSchema>;
