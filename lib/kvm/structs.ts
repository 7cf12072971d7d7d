/** The structures of `<linux/kvm.h>` and `<asm/kvm.h>` (x86-64), under their C names. */
export * from './structs/cpuid.ts';
export * from './structs/irq.ts';
export * from './structs/memory.ts';
export * from './structs/registers.ts';
export * from './structs/run.ts';
export * from './structs/timer.ts';
export * from './structs/vm.ts';
