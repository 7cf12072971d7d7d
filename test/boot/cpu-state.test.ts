import test from 'ava';
import { descriptorWords, linux64State, pvhState } from '../../lib/boot/cpu-state.ts';
import { PAGE_TABLES_SIZE, writePageTables } from '../../lib/boot/page-tables.ts';
import { GuestMemory } from '../../lib/memory/guest-memory.ts';

const gdtEntry = (memory: GuestMemory, gdt: number, selector: number) => memory.view.getBigUint64(gdt + selector, true);

test("the 64-bit boot protocol's state: long mode, paging, flat segments by the protocol's selectors, RSI", (t) => {
  const memory = GuestMemory.plain(2 ** 20);
  memory.bytes.fill(0xff, 0x1000, 0x2000);
  const cpu = linux64State(memory, 0x1000, 0x9000, 0x100_0000, 0x7000, 0x2000);
  t.is(cpu.cr0, 0x8000_0011); // PG, ET, PE
  t.is(cpu.cr3, 0x9000);
  t.is(cpu.cr4, 0x20); // PAE
  t.is(cpu.efer, 0x500); // LMA, LME
  t.is(cpu.rip, 0x100_0000);
  t.is(cpu.rsi, 0x7000);
  t.is(cpu.rsp, 0x2000);
  t.is(cpu.rflags, 2);
  t.like(cpu.cs, {
    selector: 0x10,
    base: 0,
    limit: 0xffff_ffff,
    l: 1,
    db: 0,
    s: 1,
    type: 0xb,
    dpl: 0,
    present: 1,
    g: 1,
  });
  for (const segment of [cpu.ds, cpu.es, cpu.ss, cpu.fs, cpu.gs]) {
    t.like(segment, {
      selector: 0x18,
      base: 0,
      limit: 0xffff_ffff,
      l: 0,
      db: 1,
      s: 1,
      type: 0x3,
      dpl: 0,
      present: 1,
      g: 1,
    });
  }
  t.like(cpu.tr, { type: 0xb, s: 0, present: 1, limit: 0x67, unusable: 0 });
  t.like(cpu.ldt, { present: 0, unusable: 1 });
  t.deepEqual(cpu.gdt, { base: 0x1000, limit: 0x2f });
  t.is(cpu.idt.limit, 0);
  // As Linux's own GDT_ENTRY macro makes them: 64-bit code 0xaf9b, data 0xcf93.
  t.is(gdtEntry(memory, 0x1000, 0), 0n);
  t.is(gdtEntry(memory, 0x1000, 8), 0n);
  t.is(gdtEntry(memory, 0x1000, 0x10), 0x00af_9b00_0000_ffffn);
  t.is(gdtEntry(memory, 0x1000, 0x18), 0x00cf_9300_0000_ffffn);
  t.is(gdtEntry(memory, 0x1000, 0x20), 0x0000_8b00_0000_0067n);
  t.is(gdtEntry(memory, 0x1000, 0x28), 0n);
  t.is(memory.read(0x1030, 1)[0], 0xff);
});

test("PVH's state: 32-bit protected mode, no paging, EBX", (t) => {
  const memory = GuestMemory.plain(2 ** 20);
  const cpu = pvhState(memory, 0x1000, 0x10_0000, 0x6000);
  t.is(cpu.cr0, 0x11); // ET (fixed), PE
  t.is(cpu.cr3, 0);
  t.is(cpu.cr4, 0);
  t.is(cpu.efer, 0);
  t.is(cpu.rip, 0x10_0000);
  t.is(cpu.rbx, 0x6000);
  t.is(cpu.rflags & 0x2_0300, 0, 'VM, IF and TF are clear');
  t.like(cpu.cs, { base: 0, limit: 0xffff_ffff, l: 0, db: 1, s: 1, type: 0xb, present: 1 });
  for (const segment of [cpu.ds, cpu.es, cpu.ss]) {
    t.like(segment, { base: 0, limit: 0xffff_ffff, db: 1, s: 1, type: 0x3, present: 1 });
  }
  t.like(cpu.tr, { base: 0, limit: 0x67, type: 0xb, s: 0, present: 1 });
  t.is(gdtEntry(memory, 0x1000, 0x10), 0x00cf_9b00_0000_ffffn);
});

test('a descriptor spreads base and limit as figure 3-8 of the SDM draws it', (t) => {
  const segment = {
    base: 0x1234_5678,
    limit: 0xa_bcde,
    selector: 8,
    type: 0x2,
    present: 1,
    dpl: 3,
    db: 0,
    s: 1,
    l: 0,
    g: 0,
    avl: 1,
    unusable: 0,
  };
  t.deepEqual(descriptorWords(segment), [0x5678_bcde, 0x121a_f234]);
});

test('the page tables map 4 GiB onto itself, writable, in pages of 2 MiB, and no more', (t) => {
  const memory = GuestMemory.plain(2 ** 20);
  memory.bytes.fill(0xff);
  writePageTables(memory, 0x9000);
  const entry = (table: number, index: number) => Number(memory.view.getBigUint64(table + index * 8, true));
  /** Intel SDM vol. 3A §4.5: the physical address of a linear one; -1 where it is not mapped. */
  const translate = (linear: number): number => {
    const index = (shift: number) => Math.floor(linear / 2 ** shift) % 512;
    let table = 0x9000;
    for (const shift of [39, 30]) {
      const value = entry(table, index(shift));
      if ((value & 1) === 0) return -1;
      t.is(value & 0x83, 3, 'present, writable, no page');
      table = value - (value % 4096);
    }
    const value = entry(table, index(21));
    if ((value & 1) === 0) return -1;
    t.is(value % 2 ** 21, 0x83, 'present, writable, a page');
    return value - (value % 2 ** 21) + (linear % 2 ** 21);
  };
  for (let linear = 0; linear < 2 ** 32; linear += 37 * 2 ** 20 + 4321) t.is(translate(linear), linear);
  t.is(translate(0xffff_ffff), 0xffff_ffff);
  t.is(translate(2 ** 32), -1);
  t.is(translate(2 ** 39), -1);
  t.is(memory.read(0x9000 + PAGE_TABLES_SIZE, 1)[0], 0xff);
});
