import test from 'ava';
import { type CpuidOptions, cpuidTables } from '../../lib/kvm/cpuid.ts';
import { kvm_cpuid_entry2 } from '../../lib/kvm/structs.ts';
import { amdTopology, caches, cpuid, extendedTopology, field, legacyIntelTopology } from '../helpers/linux-topology.ts';
import { AMD_PVM, AMD_SVM, INTEL_VMX } from '../helpers/supported-cpuid.ts';

const SUPPORTED = { AMD_PVM, AMD_SVM, INTEL_VMX };
type Host = keyof typeof SUPPORTED;
const HOSTS = Object.keys(SUPPORTED) as Host[];

function tables(host: Host, options: Partial<CpuidOptions> = {}) {
  return cpuidTables(SUPPORTED[host], {
    vcpuCount: 1,
    smt: false,
    pvm: host === 'AMD_PVM',
    tscKhz: 2_600_000,
    tscDeadlineTimer: true,
    ...options,
  });
}

const MACHINES = Array.from({ length: 32 }, (_, i) => [
  { vcpuCount: i + 1, smt: false },
  { vcpuCount: i + 1, smt: true },
]).flat();

function ascii(...registers: number[]): string {
  const view = new DataView(new ArrayBuffer(registers.length * 4));
  for (const [i, register] of registers.entries()) view.setUint32(i * 4, register, true);
  return Buffer.from(view.buffer).toString('latin1').replace(/\0+$/, '');
}

function brand(table: ReturnType<typeof tables>[number]): string {
  const leaves = [0x8000_0002, 0x8000_0003, 0x8000_0004].map((leaf) => cpuid(table, leaf));
  return ascii(...leaves.flatMap(({ eax, ebx, ecx, edx }) => [eax, ebx, ecx, edx]));
}

for (const host of HOSTS) {
  test(`${host}: Linux finds one package, its cores and threads, for 1 to 32 vCPUs`, (t) => {
    for (const machine of MACHINES) {
      const threads = machine.smt && machine.vcpuCount > 1 ? 2 : 1;
      const all = tables(host, machine);
      t.is(all.length, machine.vcpuCount);
      for (const [id, table] of all.entries()) {
        const expected = {
          apicId: id,
          package: 0,
          core: Math.floor(id / threads),
          threadsPerCore: threads,
          coresPerPackage: Math.ceil(machine.vcpuCount / threads),
        };
        const note = `${machine.vcpuCount} vCPUs, smt ${machine.smt}, vCPU ${id}`;
        const extended = extendedTopology(table);
        if (host === 'AMD_PVM') t.is(extended, undefined, note);
        else t.deepEqual(extended, expected, note);
        if (host === 'INTEL_VMX') {
          // The old method counts identifiers, a power of two, where the new one counts processors.
          const cores = 2 ** Math.ceil(Math.log2(expected.coresPerPackage));
          t.deepEqual(legacyIntelTopology(table), { ...expected, coresPerPackage: cores }, note);
        } else {
          t.deepEqual(amdTopology(table), { ...expected, extendedApicId: id }, note);
        }
      }
    }
  });

  test(`${host}: a core's threads share its first two caches, all share the third`, (t) => {
    const leaf = host === 'INTEL_VMX' ? 4 : 0x8000_001d;
    const before = caches(SUPPORTED[host], leaf);
    t.is(before.length, 4);
    for (const machine of MACHINES) {
      const threads = machine.smt && machine.vcpuCount > 1 ? 2 : 1;
      for (const table of tables(host, machine)) {
        const after = caches(table, leaf);
        t.deepEqual(
          after.map(({ level, type, size }) => [level, type, size]),
          before.map(({ level, type, size }) => [level, type, size]),
        );
        for (const cache of after) {
          for (let id = 0; id < machine.vcpuCount; id++) {
            const together = cache.level === 3 || Math.floor(id / threads) === 0;
            if (cache.shared(0, id) !== together) t.fail(`L${cache.level} of ${machine.vcpuCount} vCPUs, vCPU ${id}`);
          }
        }
      }
    }
  });

  test(`${host}: the vCPUs differ in nothing but their identifiers`, (t) => {
    const [first, ...rest] = tables(host, { vcpuCount: 8, smt: true });
    const identifiers = new Set([1, 0xb, 0x1f, 0x8000_001e]);
    const common = (table: typeof first) => table!.filter((entry) => !identifiers.has(entry.function));
    for (const table of rest) t.deepEqual(common(table), common(first));
  });

  test(`${host}: each leaf is there once, and every register is an unsigned 32-bit number`, (t) => {
    for (const table of tables(host, { vcpuCount: 4 })) {
      const keys = table.map((entry) => `${entry.function}:${entry.index}`);
      t.is(new Set(keys).size, keys.length);
      t.true(keys.length < 256);
      for (const entry of table) {
        const { padding: _, ...decoded } = kvm_cpuid_entry2.decode(kvm_cpuid_entry2.encode(entry));
        t.deepEqual(decoded, entry);
      }
      // Leaves with sub-leaves say so; others answer whatever ECX is.
      for (const leaf of [4, 0xb, 0x1f, 0x8000_001d]) {
        for (const entry of table.filter((candidate) => candidate.function === leaf)) t.is(entry.flags, 1);
      }
    }
  });

  test(`${host}: the guest sees a hypervisor, x2APIC and the deadline timer, and no nested virtualization`, (t) => {
    const [table] = tables(host);
    const { ebx, ecx, edx } = cpuid(table!, 1);
    t.is(field(ecx, 31, 31), 1, 'hypervisor');
    t.is(field(ecx, 21, 21), 1, 'x2APIC');
    t.is(field(ecx, 24, 24), 1, 'TSC deadline');
    t.is(field(ecx, 5, 5), 0, 'VMX');
    t.is(field(ebx, 15, 8) * 8, 64, 'CLFLUSH line');
    t.is(field(edx, 28, 28), 0, 'HTT of one processor');
    t.is(field(cpuid(tables(host, { vcpuCount: 2 })[0]!, 1).edx, 28, 28), 1, 'HTT of two');
    t.is(field(cpuid(table!, 0x8000_0001).ecx, 2, 2), 0, 'SVM');
    t.is(field(cpuid(table!, 6).eax, 2, 2), 1, 'ARAT');
    t.is(cpuid(table!, 0xa).eax, 0, 'performance counters');
    const without = tables(host, { tscDeadlineTimer: false })[0]!;
    t.is(field(cpuid(without, 1).ecx, 24, 24), 0);
  });

  test(`${host}: what KVM does not support is not claimed`, (t) => {
    const [table] = tables(host, { vcpuCount: 2 });
    const ours: Record<string, readonly number[]> = { '1.ecx': [21, 24, 31], '1.edx': [28], '2147483649.ecx': [1, 22] };
    for (const leaf of [1, 7, 0x8000_0001, 0x8000_0007, 0x8000_0008, 0x8000_0021]) {
      for (const register of ['ebx', 'ecx', 'edx'] as const) {
        if ((leaf === 1 && register === 'ebx') || (leaf === 0x8000_0008 && register !== 'ebx')) continue;
        const added = cpuid(table!, leaf)[register] & ~cpuid(SUPPORTED[host], leaf)[register];
        const allowed = (ours[`${leaf}.${register}`] ?? []).reduce((mask, bit) => mask | (1 << bit), 0);
        t.is(added & ~allowed, 0, `${leaf.toString(16)} ${register}`);
      }
    }
  });

  test(`${host}: KVM's leaves`, (t) => {
    const [table] = tables(host);
    const signature = cpuid(table!, 0x4000_0000);
    t.is(ascii(signature.ebx, signature.ecx, signature.edx), 'KVMKVMKVM');
    t.is(signature.eax, 0x4000_0010);
    t.like(cpuid(table!, 0x4000_0010), { eax: 2_600_000, ebx: 1_000_000, ecx: 0, edx: 0 });
    const features = cpuid(table!, 0x4000_0001).eax;
    for (const bit of [3, 5, 6, 24]) t.is(field(features, bit, bit), 1, `feature ${bit}`);
    // KVM_FEATURE_ASYNC_PF, PV_UNHALT, PV_TLB_FLUSH, PV_SEND_IPI, PV_SCHED_YIELD, ASYNC_PF_INT.
    for (const bit of [4, 7, 9, 11, 13, 14]) {
      t.is(field(features, bit, bit), host === 'AMD_PVM' ? 0 : 1, `feature ${bit}`);
    }
    // KVM_FEATURE_HC_MAP_GPA_RANGE, MIGRATION_CONTROL.
    for (const bit of [16, 17]) t.is(field(features, bit, bit), 0, `feature ${bit}`);
    const unknown = tables(host, { tscKhz: 0 })[0]!;
    t.is(cpuid(unknown, 0x4000_0000).eax, 0x4000_0001);
    t.is(cpuid(unknown, 0x4000_0010).eax, 0);
  });
}

test('a hypercall is offered under KVM-PVM by no feature, whatever KVM says it supports', (t) => {
  const all = AMD_PVM.map((entry) => (entry.function === 0x4000_0001 ? { ...entry, eax: 0xffff_ffff } : entry));
  const options = { vcpuCount: 1, smt: false, tscKhz: 0, tscDeadlineTimer: true };
  const features = cpuid(cpuidTables(all, { ...options, pvm: true })[0]!, 0x4000_0001).eax;
  for (const bit of [7, 11, 13, 16, 17]) t.is(field(features, bit, bit), 0, `feature ${bit}`);
});

test('under KVM-PVM the basic leaves end where Linux would find what the emulator cannot do', (t) => {
  const [table] = tables('AMD_PVM');
  t.is(cpuid(table!, 0).eax, 6);
  t.deepEqual(
    table!.filter((entry) => entry.function > 6 && entry.function < 0x4000_0000),
    [],
  );
  const { ecx } = cpuid(table!, 1);
  for (const [name, bit] of Object.entries({ cx16: 13, pcid: 17, popcnt: 23, xsave: 26, osxsave: 27, avx: 28 })) {
    t.is(field(ecx, bit, bit), 0, name);
  }
  t.is(field(cpuid(table!, 0x8000_0001).edx, 27, 27), 0, 'rdtscp');
  t.is(field(cpuid(table!, 0x8000_0001).ecx, 5, 5), 0, 'lzcnt');
  // The same table elsewhere keeps them.
  const elsewhere = tables('AMD_SVM')[0]!;
  t.is(cpuid(elsewhere, 0).eax, 0x10);
  t.is(field(cpuid(elsewhere, 1).ecx, 26, 26), 1, 'xsave');
});

test('an Intel guest knows its TSC and its timer without measuring', (t) => {
  const [table] = tables('INTEL_VMX');
  t.true(cpuid(table!, 0).eax >= 0x15);
  const { eax, ebx, ecx } = cpuid(table!, 0x15);
  t.is((ecx * ebx) / eax, 2.6e9);
  t.is(ecx, 1e9, "the local APIC timer's clock");
  t.is(cpuid(table!, 0x16).eax, 2600);
  t.is(cpuid(tables('INTEL_VMX', { tscKhz: 0 })[0]!, 0x15).eax, 0);
});

test('the brand says the vendor, not the model', (t) => {
  t.is(brand(tables('INTEL_VMX')[0]!), 'Intel(R) Xeon(R) Processor @ 2.60GHz');
  t.is(brand(tables('INTEL_VMX', { tscKhz: 0 })[0]!), 'Intel(R) Xeon(R) Processor');
  t.is(brand(tables('AMD_SVM')[0]!), 'AMD EPYC');
});

test('AMD’s topology leaves are within the highest extended leaf, and the one that would contradict them is not', (t) => {
  const [table] = tables('AMD_SVM', { vcpuCount: 3 });
  const highest = cpuid(table!, 0x8000_0000).eax;
  t.true(highest >= 0x8000_001e && highest < 0x8000_0026);
  t.deepEqual(
    table!.filter((entry) => entry.function === 0x8000_0026),
    [],
  );
});

test('the table that is given is not touched', (t) => {
  const before = structuredClone(INTEL_VMX);
  tables('INTEL_VMX', { vcpuCount: 4 });
  t.deepEqual(INTEL_VMX, before);
});

test('a CPU template wins over features, not over topology', (t) => {
  const modifiers = [
    { leaf: 1, subleaf: 0, registers: [{ register: 'ecx' as const, mask: (1 << 5) | (1 << 30), set: 1 << 5 }] },
    { leaf: 1, subleaf: 0, registers: [{ register: 'ebx' as const, mask: 0xff00_0000, set: 0x7700_0000 }] },
    { leaf: 7, subleaf: 0, registers: [{ register: 'ebx' as const, mask: 0x8000_0000, set: 0 }] },
  ];
  const [, table] = tables('INTEL_VMX', { vcpuCount: 2, modifiers });
  const { ebx, ecx } = cpuid(table!, 1);
  t.is(field(ecx, 5, 5), 1, 'VMX, asked for');
  t.is(field(ecx, 30, 30), 0, 'RDRAND, taken away');
  t.is(field(ebx, 31, 24), 1, 'APIC identifier');
  t.is(cpuid(table!, 7).ebx, 0x71bf_b7eb);
  const unknown = [{ leaf: 0x77, subleaf: 2, registers: [] }];
  t.throws(() => tables('INTEL_VMX', { modifiers: unknown }), {
    message: "this host's KVM gives guests no CPUID leaf 0x77, sub-leaf 0x2",
  });
});
