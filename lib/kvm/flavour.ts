import { existsSync } from 'node:fs';

/** Kept, since a jail has no /sys. */
let known: boolean | undefined;

/**
 * Whether this host's KVM is KVM-PVM, pagetable-based virtualization without VMX or SVM: it emulates guest code at CPL 0, and
 * a hypercall from there never returns.
 */
export function isPvm(): boolean {
  known ??= existsSync('/sys/module/kvm_pvm');
  return known;
}
