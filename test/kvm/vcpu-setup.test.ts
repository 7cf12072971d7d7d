import test from 'ava';
import { applyMsrModifiers } from '../../lib/kvm/cpu-template.ts';
import { msiRoute, wiredRoutes } from '../../lib/kvm/irq-routing.ts';
import { virtualWireLapic } from '../../lib/kvm/lapic.ts';
import { encodeList } from '../../lib/kvm/layout.ts';
import { MSR_IA32_TSC, MSR_IA32_TSC_DEADLINE, msrsToSave, restoreOrder } from '../../lib/kvm/msrs.ts';
import { kvm_irq_routing, kvm_irq_routing_entry } from '../../lib/kvm/structs.ts';

test('the boot processor’s local APIC is in virtual wire mode, and nothing else of it changes', (t) => {
  const page = new Uint8Array(0x400).fill(0xff);
  const view = new DataView(page.buffer);
  view.setUint32(0xf0, 0xff, true);
  view.setUint32(0x350, 0x1_0000, true);
  view.setUint32(0x360, 0x1_a700, true);
  const before = new Uint8Array(page);
  const after = virtualWireLapic(page);
  const changed = new DataView(after.buffer);
  t.is(changed.getUint32(0xf0, true), 0x1ff);
  t.is(changed.getUint32(0x350, true), 0x700);
  t.is(changed.getUint32(0x360, true), 0xa400);
  t.deepEqual(page, before);
  for (const register of [0xf0, 0x350, 0x360]) changed.setUint32(register, view.getUint32(register, true), true);
  t.deepEqual(after, before);
});

test('every GSI leads to its IOAPIC pin, the first sixteen to the PICs too', (t) => {
  const routes = wiredRoutes();
  t.is(routes.length, 40);
  const pins = (chip: number) =>
    routes.filter(({ u }) => u?.irqchip?.irqchip === chip).map(({ gsi, u }) => [gsi, u?.irqchip?.pin]);
  t.deepEqual(
    pins(2),
    Array.from({ length: 24 }, (_, gsi) => [gsi, gsi]),
  );
  t.deepEqual(
    [...pins(0), ...pins(1)],
    Array.from({ length: 16 }, (_, gsi) => [gsi, gsi % 8]),
  );
});

test('a message-signalled interrupt is encoded as KVM reads it', (t) => {
  const entry = msiRoute(24, 0xfee0_1000, 0, 0x4031);
  const encoded = encodeList(kvm_irq_routing, 'entries', { nr: 1 }, kvm_irq_routing_entry, [entry]);
  const words = [...new Uint32Array(encoded.buffer)];
  t.deepEqual(words.slice(0, 2), [1, 0]);
  t.deepEqual(words.slice(2, 10), [24, 2, 0, 0, 0xfee0_1000, 0, 0x4031, 0]);
  t.is(words.length, 14);
});

test('a snapshot holds what KVM lists and the memory types, each once', (t) => {
  const list = msrsToSave([MSR_IA32_TSC, 0x277, 0xc000_0080]);
  t.is(new Set(list).size, list.length);
  for (const index of [0x10, 0x200, 0x20f, 0x250, 0x26f, 0x277, 0x2ff, 0xc000_0080]) t.true(list.includes(index));
});

test('the deadline goes back last', (t) => {
  const saved = [MSR_IA32_TSC_DEADLINE, MSR_IA32_TSC, 0x277].map((index) => ({ index, data: 1n }));
  const { first, afterLapic } = restoreOrder(saved);
  t.deepEqual(
    first.map(({ index }) => index),
    [MSR_IA32_TSC, 0x277],
  );
  t.deepEqual(
    afterLapic.map(({ index }) => index),
    [MSR_IA32_TSC_DEADLINE],
  );
});

test('a CPU template changes the bits that it names, of MSRs that are there', (t) => {
  const current = new Map([[0x10a, 0b1100n]]);
  t.deepEqual(applyMsrModifiers(current, [{ address: 0x10a, mask: 0b0110n, set: 0b0010n }]), [
    { index: 0x10a, data: 0b1010n },
  ]);
  t.throws(() => applyMsrModifiers(current, [{ address: 0x48, mask: 1n, set: 1n }]), {
    message: "this host's KVM gives guests no MSR 0x48",
  });
});
