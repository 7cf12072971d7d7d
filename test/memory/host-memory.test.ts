import { readFileSync, writeFileSync } from 'node:fs';
import test from 'ava';
import { ConfigError, HostError } from '../../lib/errors.ts';
import { SystemError } from '../../lib/ffi/errors.ts';
import { Kvm } from '../../lib/kvm/kvm.ts';
import { HUGE_PAGE_SIZE } from '../../lib/memory/guest-memory.ts';
import { HostMemory } from '../../lib/memory/host-memory.ts';
import { GIB, MIB } from '../../lib/memory/layout.ts';

for (const size of [MIB, 128 * MIB, 5 * GIB, 16 * GIB]) {
  test.serial(`KVM takes ${size / MIB} MiB, and both ends of each region can be used`, (t) => {
    const memory = new HostMemory(size, 'None');
    const kvm = new Kvm();
    const vm = kvm.createVm();
    for (const [slot, region] of memory.guest.regions.entries()) {
      const address = memory.addressOf(region.offset);
      t.is(address % HUGE_PAGE_SIZE, 0);
      vm.setMemoryRegion(slot, region, address);
      memory.guest.write(region.guestAddress, Uint8Array.of(slot + 1));
      memory.guest.write(region.guestAddress + region.size - 1, Uint8Array.of(slot + 101));
    }
    for (const [slot, region] of memory.guest.regions.entries()) {
      t.deepEqual([...memory.guest.read(region.guestAddress, 1)], [slot + 1]);
      t.deepEqual([...memory.guest.read(region.guestAddress + region.size - 1, 1)], [slot + 101]);
    }
    vm.close();
    kvm.close();
  });
}

test.serial('transparent huge pages are asked for', (t) => {
  const memory = new HostMemory(64 * MIB, 'Transparent');
  const address = memory.addressOf(memory.guest.regions[0]!.offset);
  const line = new RegExp(`^${address.toString(16)}-[0-9a-f]+ .*?^VmFlags: (.*)$`, 'ms');
  t.regex(line.exec(readFileSync('/proc/self/smaps', 'utf8'))?.[1] ?? '', /\bhg\b/);
});

function freePages(): number {
  return Number(/^HugePages_Free:\s+(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]);
}

const POOL = '/proc/sys/vm/nr_hugepages';

test.serial('huge pages of 2 MiB come from the pool', (t) => {
  const reserved = readFileSync(POOL, 'utf8');
  try {
    if (process.getuid?.() === 0) writeFileSync(POOL, String(Number(reserved) + 8));
    if (freePages() < 8) {
      t.log('no pool of huge pages, and only root can make one: the refusal is tested instead');
      t.throws(() => new HostMemory(16 * MIB, '2M'), { message: /use 8 huge pages/ });
      return;
    }
    const before = freePages();
    const memory = new HostMemory(16 * MIB, '2M');
    memory.guest.bytes.fill(1, memory.guest.offsetOf(0, 16 * MIB), memory.guest.offsetOf(0, 1) + 16 * MIB);
    t.is(freePages(), before - 8);
  } finally {
    if (process.getuid?.() === 0) writeFileSync(POOL, reserved);
  }
});

test.serial('a pool that is too small is an error that says what to do', (t) => {
  const pages = freePages() + 8;
  const error = t.throws(() => new HostMemory(pages * HUGE_PAGE_SIZE, '2M'), { instanceOf: SystemError });
  t.is(
    error?.toLine(),
    `/machine-config/huge_pages: cannot use ${pages} huge pages of 2 MiB: mmap failed with ENOMEM; reserve them first: sudo sysctl vm.nr_hugepages=${pages}`,
  );
});

test('more than the address space has is an error, not a crash', (t) => {
  t.throws(() => new HostMemory(2 ** 50, 'None'), { instanceOf: HostError });
});

test('an odd number of MiB does not go with huge pages of 2 MiB', (t) => {
  t.throws(() => new HostMemory(3 * MIB, '2M'), { instanceOf: ConfigError });
});
