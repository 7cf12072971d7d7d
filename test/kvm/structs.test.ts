import test from 'ava';
import * as capabilities from '../../lib/kvm/capabilities.ts';
import * as paravirt from '../../lib/kvm/cpuid/paravirt.ts';
import * as exits from '../../lib/kvm/exits.ts';
import * as ioctls from '../../lib/kvm/ioctls.ts';
import * as structs from '../../lib/kvm/structs.ts';
import { compareWithC, constantsOf, hasMacro, structsOf } from '../helpers/c-layout.ts';

const HEADERS = ['linux/kvm.h', 'asm/kvm.h'];

/** Names that Linux 6.1's headers (Debian 12) do not have; where the system's headers are newer, they are compared as well. */
const NEWER_CONSTANTS = [
  'KVM_CAP_MEMORY_FAULT_INFO',
  'KVM_CAP_USER_MEMORY2',
  'KVM_EXIT_MEMORY_FAULT',
  'KVM_MEM_GUEST_MEMFD',
  'KVM_SET_USER_MEMORY_REGION2',
];
/** Structures of those headers' successors, by the macro that came with them. */
const NEWER_STRUCTS: Readonly<Record<string, string>> = { kvm_userspace_memory_region2: 'KVM_CAP_USER_MEMORY2' };

/** Constants of ours that are no macro of the kernel's. */
const OWN_CONSTANTS = ['KVM_COALESCED_MMIO_MAX'];

test('every structure lies as the kernel lays it out', (t) => {
  const all = structsOf(structs).filter(({ name }) => {
    const macro = NEWER_STRUCTS[name ?? ''];
    return macro === undefined || hasMacro(HEADERS, macro);
  });
  t.true(all.length > 45);
  // Linux 6.4 made `hypercall.flags` of two members.
  const newerInRun = hasMacro(HEADERS, 'KVM_EXIT_MEMORY_FAULT') ? [] : ['memory_fault', 'hypercall.flags'];
  compareWithC(t, {
    headers: HEADERS,
    structs: all.map((layout) => (layout.name === 'kvm_run' ? { layout, newer: newerInRun } : { layout })),
  });
});

test('every constant and ioctl number is the kernel’s', (t) => {
  const all = { ...constantsOf(structs), ...constantsOf(ioctls), ...constantsOf(exits), ...constantsOf(capabilities) };
  for (const name of OWN_CONSTANTS) delete all[name];
  for (const name of NEWER_CONSTANTS) {
    t.true(name in all, name);
    if (!hasMacro(HEADERS, name)) delete all[name];
  }
  t.true(Object.keys(all).length > 220);
  compareWithC(t, { headers: HEADERS, constants: all });
});

test('KVM’s CPUID leaves and their bits are those of its header', (t) => {
  const { TIMING_LEAF: _t, APIC_BUS_KHZ: _a, ...constants } = constantsOf(paravirt);
  t.is(Object.keys(constants).length, 19);
  compareWithC(t, { headers: ['asm/kvm_para.h'], constants });
});

test('what the headers may lack has the numbers of Linux 6.8', (t) => {
  t.is(ioctls.KVM_SET_USER_MEMORY_REGION2, 0x40a0_ae49);
  t.is(structs.kvm_userspace_memory_region2.size, 160);
  t.is(structs.kvm_userspace_memory_region2.offset.guest_memfd, 40);
  t.is(structs.kvm_run.offset['memory_fault.gpa'], 40);
});

test('a page holds the coalesced ring', (t) => {
  t.is(structs.KVM_COALESCED_MMIO_MAX, 170);
});

test('missing capabilities are the required ones that KVM denies', (t) => {
  t.deepEqual(
    capabilities.missingCapabilities(() => 1),
    [],
  );
  const missing = capabilities.missingCapabilities((number) => (number === capabilities.KVM_CAP_IRQFD ? 0 : 1));
  t.deepEqual(
    missing.map(({ name }) => name),
    ['KVM_CAP_IRQFD'],
  );
  const names = capabilities.capabilities().map(({ name, number }) => [name, number]);
  t.deepEqual(Object.fromEntries(names), constantsOf(capabilities));
  t.is(
    capabilities.missingCapabilities(() => 0).length,
    capabilities.capabilities().filter(({ need }) => need === 'required').length,
  );
});
