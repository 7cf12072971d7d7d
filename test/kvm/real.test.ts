import { existsSync } from 'node:fs';
import anyTest, { type TestFn } from 'ava';
import { tryCall } from '../../lib/ffi/libc.ts';
import { NativeBuffer } from '../../lib/ffi/native-buffer.ts';
import { capabilities, KVM_CAP_TSC_DEADLINE_TIMER, missingCapabilities } from '../../lib/kvm/capabilities.ts';
import { type CpuidEntry, cpuidTables } from '../../lib/kvm/cpuid.ts';
import { KVM_EXIT_IO } from '../../lib/kvm/exits.ts';
import { BOOT_FPU, XSAVE_MXCSR_OFFSET } from '../../lib/kvm/fpu.ts';
import { ioctlBytes, ioctlRead } from '../../lib/kvm/ioctl.ts';
import {
  KVM_GET_CPUID2,
  KVM_GET_MSR_INDEX_LIST,
  KVM_GET_MSRS,
  KVM_GET_TSC_KHZ,
  KVM_RUN,
  KVM_SET_MSRS,
} from '../../lib/kvm/ioctls.ts';
import { msiRoute, wiredRoutes } from '../../lib/kvm/irq-routing.ts';
import { Kvm } from '../../lib/kvm/kvm.ts';
import { virtualWireLapic } from '../../lib/kvm/lapic.ts';
import { encodeList, readList, u32 } from '../../lib/kvm/layout.ts';
import { bootMsrs, MSR_IA32_TSC, MSR_MTRRdefType, msrsToSave, restoreOrder } from '../../lib/kvm/msrs.ts';
import { kvm_cpuid_entry2, kvm_cpuid2, kvm_msr_entry, kvm_msr_list, kvm_msrs, kvm_run } from '../../lib/kvm/structs.ts';
import { KvmVcpu } from '../../lib/kvm/vcpu.ts';
import type { Vm } from '../../lib/kvm/vm.ts';
import { cpuid, type Registers } from '../helpers/linux-topology.ts';

interface Context {
  kvm: Kvm;
  vm: Vm;
  vcpus: KvmVcpu[];
  memory: NativeBuffer;
  tables: CpuidEntry[][];
}

const test = anyTest as TestFn<Context>;
const PVM = existsSync('/sys/module/kvm_pvm');
const VCPU_COUNT = 32;
const MEMORY_SIZE = 0x10000;
/** Real mode: takes a leaf and an index from [si], answers at [di], and reports by a port write. */
const CPUID_GUEST = [
  ...[0x66, 0x8b, 0x04], // mov eax, [si]
  ...[0x66, 0x8b, 0x4c, 0x04], // mov ecx, [si+4]
  ...[0x0f, 0xa2], // cpuid
  ...[0x66, 0x89, 0x05], // mov [di], eax
  ...[0x66, 0x89, 0x5d, 0x04], // mov [di+4], ebx
  ...[0x66, 0x89, 0x4d, 0x08], // mov [di+8], ecx
  ...[0x66, 0x89, 0x55, 0x0c], // mov [di+12], edx
  ...[0xe6, 0x80], // out 0x80, al
  ...[0xeb, 0xe3], // jmp to the start
];
const CODE = 0x1000;
const QUESTION = 0x2000;
const ANSWER = 0x3000;

test.before((t) => {
  const kvm = new Kvm();
  const vm = kvm.createVm();
  vm.reserveIntelPages();
  vm.createIrqchip();
  vm.createPit2();
  const memory = new NativeBuffer(MEMORY_SIZE, 4096);
  vm.setMemoryRegion(0, { guestAddress: 0, offset: 0, size: MEMORY_SIZE }, memory.address);
  memory.bytes.set(CPUID_GUEST, CODE);
  const mmapSize = kvm.vcpuMmapSize;
  const vcpus = Array.from({ length: VCPU_COUNT }, (_, id) => new KvmVcpu(id, vm.createVcpu(id), mmapSize));
  const tables = cpuidTables(kvm.supportedCpuid, {
    vcpuCount: VCPU_COUNT,
    smt: true,
    pvm: PVM,
    tscKhz: tryCall('ioctl', vcpus[0]!.fd, KVM_GET_TSC_KHZ, 0),
    tscDeadlineTimer: kvm.checkExtension(KVM_CAP_TSC_DEADLINE_TIMER) > 0,
  });
  for (const [id, vcpu] of vcpus.entries()) vcpu.setCpuid2(tables[id]!);
  t.context = { kvm, vm, vcpus, memory, tables };
});

test.after.always((t) => {
  for (const vcpu of t.context.vcpus) vcpu.close();
  t.context.vm.close();
  t.context.kvm.close();
});

test.serial('the host has every capability that mvm requires', (t) => {
  t.deepEqual(
    missingCapabilities((number) => t.context.kvm.checkExtension(number)),
    [],
  );
  t.true(capabilities().some(({ need }) => need === 'optional'));
});

test.serial('KVM takes each vCPU’s CPUID table as it is', (t) => {
  const { vcpus, tables } = t.context;
  for (const [id, vcpu] of vcpus.entries()) {
    const header = kvm_cpuid2.encode({ nent: 256 });
    const data = ioctlRead(vcpu.fd, KVM_GET_CPUID2, kvm_cpuid2.size + 256 * kvm_cpuid_entry2.size, 'read', header);
    const back = readList(kvm_cpuid2, 'entries', kvm_cpuid_entry2, tables[id]!.length, data);
    // Leaves 1, 7 and 0DH follow the guest's control registers, 15H and 16H the TSC.
    const fixed = (entry: CpuidEntry) => ![1, 7, 0xd, 0x15, 0x16].includes(entry.function);
    t.deepEqual(
      back.filter(fixed).map(({ padding: _, ...entry }) => entry),
      tables[id]!.filter(fixed),
    );
  }
});

/** Runs `cpuid` in the guest, in real mode. */
function guestCpuid({ vcpus, memory }: Context, id: number, leaf: number, index = 0): Registers {
  const vcpu = vcpus[id]!;
  memory.view.setUint32(QUESTION, leaf, true);
  memory.view.setUint32(QUESTION + 4, index, true);
  const sregs = vcpu.getSregs();
  const flat = { base: 0n, selector: 0 };
  vcpu.setSregs({ cs: { ...sregs.cs, ...flat }, ds: { ...sregs.ds, ...flat }, ...rest(sregs) });
  vcpu.setRegs({ rip: CODE, rsi: QUESTION, rdi: ANSWER, rflags: 2 });
  const result = tryCall('ioctl', vcpu.fd, KVM_RUN, 0);
  const reason = vcpu.run.view.getUint32(kvm_run.offset.exit_reason, true);
  if (result !== 0 || reason !== KVM_EXIT_IO) throw new Error(`KVM_RUN gave ${result}, exit ${reason}`);
  const [eax, ebx, ecx, edx] = [0, 4, 8, 12].map((offset) => memory.view.getUint32(ANSWER + offset, true));
  return { eax: eax!, ebx: ebx!, ecx: ecx!, edx: edx! };
}

function rest<S extends { cs: unknown; ds: unknown }>(sregs: S): Omit<S, 'cs' | 'ds'> {
  const { cs: _cs, ds: _ds, ...others } = sregs;
  return others;
}

test.serial('a guest’s kernel sees the table: highest leaves, brand, identifiers, KVM', (t) => {
  const { tables } = t.context;
  // The first runs at once; the others wait for a start-up interrupt, so their tables are compared above.
  const table = tables[0]!;
  const leaves = [0, 0x8000_0000, 0x8000_0002, 0x8000_0003, 0x8000_0004, 0x8000_0008, 0x8000_001d, 0x8000_001e];
  for (const leaf of [...leaves, 0xb, 0x4000_0000, 0x4000_0001, 0x4000_0010]) {
    const entry = table.find((candidate) => candidate.function === leaf);
    if (entry === undefined) continue;
    const { function: _f, index: _i, flags: _g, ...expected } = entry;
    t.deepEqual(guestCpuid(t.context, 0, leaf), expected, leaf.toString(16));
  }
  const { ebx, ecx } = guestCpuid(t.context, 0, 1);
  t.is(ebx, cpuid(table, 1).ebx);
  t.is(ecx >>> 31, 1, 'hypervisor');
  if (PVM) t.is((ecx >>> 13) & 1, 0, 'cmpxchg16b');
});

test.serial('KVM takes the boot registers', (t) => {
  const vcpu = t.context.vcpus[1]!;
  vcpu.setMsrs(bootMsrs());
  vcpu.setFpu(BOOT_FPU);
  t.is(vcpu.getFpu().fcw, 0x37f);
  t.is(new DataView(vcpu.getXsave().buffer).getUint32(XSAVE_MXCSR_OFFSET, true), 0x1f80);
  vcpu.setLapic(virtualWireLapic(vcpu.getLapic()));
  const lapic = new DataView(vcpu.getLapic().buffer);
  t.is(lapic.getUint32(0xf0, true) & 0x100, 0x100);
  t.is(lapic.getUint32(0x350, true) & 0x1_0700, 0x700);
  t.is(lapic.getUint32(0x360, true) & 0x1_0700, 0x400);
  const values = readMsrs(vcpu, [MSR_MTRRdefType, 0xc000_0082]);
  t.deepEqual(
    values.map(({ data }) => data),
    [0x806n, 0n],
  );
});

function readMsrs(vcpu: KvmVcpu, indices: readonly number[]) {
  const entries = indices.map((index) => ({ index }));
  const argument = encodeList(kvm_msrs, 'entries', { nmsrs: entries.length }, kvm_msr_entry, entries);
  const data = ioctlRead(vcpu.fd, KVM_GET_MSRS, argument.length, 'read', argument);
  return readList(kvm_msrs, 'entries', kvm_msr_entry, entries.length, data).map(({ index, data: value }) => {
    return { index, data: value };
  });
}

test.serial('every register of the save list can be read, and goes back', (t) => {
  const { kvm, vcpus } = t.context;
  const vcpu = vcpus[1]!;
  const header = kvm_msr_list.encode({ nmsrs: 1000 });
  const data = ioctlRead(kvm.fd, KVM_GET_MSR_INDEX_LIST, kvm_msr_list.size + 4000, 'list', header);
  const count = new DataView(data.buffer).getUint32(0, true);
  const listed = readList(kvm_msr_list, 'indices', u32, count, data);
  t.true(listed.includes(MSR_IA32_TSC));
  const saved = readMsrs(vcpu, msrsToSave(listed));
  const { first, afterLapic } = restoreOrder(saved);
  t.is(first.length + afterLapic.length, saved.length);
  const refused: string[] = [];
  for (const entry of [...first, ...afterLapic]) {
    const argument = encodeList(kvm_msrs, 'entries', { nmsrs: 1 }, kvm_msr_entry, [entry]);
    if (ioctlBytes(vcpu.fd, KVM_SET_MSRS, argument, 'set') !== 1) refused.push(entry.index.toString(16));
  }
  t.deepEqual(refused, []);
});

test.serial('KVM takes the wired routes and as many MSIs as there are vectors', (t) => {
  const msis = Array.from({ length: 1000 }, (_, i) => msiRoute(24 + i, 0xfee0_0000, 0, 0x30 + (i % 200)));
  t.notThrows(() => t.context.vm.setGsiRouting([...wiredRoutes(), ...msis]));
});
