import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { KVM_EXIT_SHUTDOWN } from '../../lib/kvm/exits.ts';
import { CODE, TinyVm } from '../helpers/tiny-vm.ts';

const bytes = (...code: number[]) => Uint8Array.from(code);

/** `mov al, 0x41; mov dx, 0x3f8; again: out dx, al; inc al; jmp again` */
const PRINTING = bytes(0xb0, 0x41, 0xba, 0xf8, 0x03, 0xee, 0xfe, 0xc0, 0xeb, 0xfb);
/** `again: jmp again` */
const SPINNING = bytes(0xeb, 0xfe);
/** `cli; hlt` */
const HALTED = bytes(0xfa, 0xf4);
/** `again: inc word [0x8000]; jmp again` */
const COUNTING = bytes(0xff, 0x06, 0x00, 0x80, 0xeb, 0xfa);

async function withVm(vm: TinyVm, body: () => Promise<void>): Promise<void> {
  vm.start();
  try {
    await body();
  } finally {
    await vm.end();
  }
}

/** Resolves once `count` port accesses have come. */
function portAccesses(vm: TinyVm, count: number): Promise<void> {
  return new Promise((resolve) => {
    vm.ports.onAccess = () => {
      if (vm.ports.accesses.length !== count) return;
      resolve();
      vm.loop.yieldToNode();
    };
  });
}

test.serial('port writes reach the port bus in order', async (t) => {
  const vm = new TinyVm([PRINTING]);
  await withVm(vm, async () => {
    await portAccesses(vm, 100);
  });
  for (const [i, access] of vm.ports.accesses.entries()) {
    t.deepEqual(access, { write: true, address: 0x3f8, size: 1, value: (0x41 + i) & 0xff });
  }
});

test.serial('port reads of each width bring the answer into the register', async (t) => {
  // in al, 0xe0; mov [0x8000], al; in ax, 0xe1; mov [0x8004], ax; in eax, 0xe2; mov [0x8008], eax; cli; hlt
  const code = [0xe4, 0xe0, 0xa2, 0x00, 0x80, 0xe5, 0xe1, 0xa3, 0x04, 0x80, 0x66, 0xe5, 0xe2, 0x66, 0xa3, 0x08, 0x80];
  const vm = new TinyVm([bytes(...code, 0xfa, 0xf4)]);
  vm.ports.answer = 0xfedc_ba98;
  await withVm(vm, async () => {
    await portAccesses(vm, 3);
    await sleep(20);
  });
  t.deepEqual(
    vm.ports.accesses.map(({ address, size }) => [address, size]),
    [
      [0xe0, 1],
      [0xe1, 2],
      [0xe2, 4],
    ],
  );
  const view = vm.memory.guest.view;
  const at = (address: number) => vm.memory.guest.offsetOf(address, 4);
  t.is(view.getUint8(at(0x8000)), 0x98);
  t.is(view.getUint16(at(0x8004), true), 0xba98);
  t.is(view.getUint32(at(0x8008), true), 0xfedc_ba98);
});

test.serial('string output brings every item', async (t) => {
  // mov si, 0x8000; mov cx, 600; mov dx, 0x3f8; cld; rep outsb; hlt
  const vm = new TinyVm([bytes(0xbe, 0x00, 0x80, 0xb9, 0x58, 0x02, 0xba, 0xf8, 0x03, 0xfc, 0xf3, 0x6e, 0xfa, 0xf4)]);
  const sent = Uint8Array.from({ length: 600 }, (_, i) => i * 7);
  vm.memory.guest.write(0x8000, sent);
  await withVm(vm, async () => {
    await portAccesses(vm, 600);
  });
  t.deepEqual(
    vm.ports.accesses.map(({ value }) => value),
    [...sent],
  );
});

test.serial('accesses to what is not RAM reach the memory bus', async (t) => {
  // mov dword [0x1234], 0x12345678; mov al, [0x1235]; mov [0], al; hlt, with DS set to an address that is not RAM
  const vm = new TinyVm([
    bytes(0x66, 0xc7, 0x06, 0x34, 0x12, 0x78, 0x56, 0x34, 0x12, 0xa0, 0x35, 0x12, 0xa2, 0x00, 0x00, 0xf4),
  ]);
  const [vcpu] = vm.vcpus;
  const sregs = vcpu!.getSregs();
  vcpu!.setSregs({ ...sregs, ds: { ...sregs.ds, base: 0xd000_0000n, selector: 0 } });
  vm.mmio.answer = 0x5a;
  await withVm(vm, async () => {
    await new Promise<void>((resolve) => {
      vm.mmio.onAccess = () => {
        if (vm.mmio.accesses.length !== 3) return;
        resolve();
        vm.loop.yieldToNode();
      };
    });
  });
  t.deepEqual(vm.mmio.accesses, [
    { write: true, address: 0xd000_1234, size: 4, value: 0x1234_5678 },
    { write: false, address: 0xd000_1235, size: 1, value: 0x5a },
    { write: true, address: 0xd000_0000, size: 1, value: 0x5a },
  ]);
});

for (const [name, code] of Object.entries({ PRINTING, SPINNING, HALTED, COUNTING })) {
  test.serial(`pause and resume, a guest that is ${name.toLowerCase()}`, async (t) => {
    const vm = new TinyVm([code]);
    await withVm(vm, async () => {
      for (let round = 0; round < 20; round++) {
        await sleep(round % 3);
        await vm.runner.pause();
        const regs = vm.vcpus[0]!.getRegs();
        const exits = vm.runner.exits;
        const word = vm.memory.guest.view.getUint16(vm.memory.guest.offsetOf(0x8000, 2), true);
        await sleep(1);
        t.deepEqual(vm.vcpus[0]!.getRegs(), regs, 'registers stand still');
        t.is(vm.runner.exits, exits, 'no exits');
        t.is(vm.memory.guest.view.getUint16(vm.memory.guest.offsetOf(0x8000, 2), true), word, 'memory stands still');
        t.true(regs.rip >= BigInt(CODE) && regs.rip <= BigInt(CODE + code.length));
        vm.runner.resume();
      }
    });
  });
}

test.serial('a pause that is taken back at once leaves the guest running', async (t) => {
  const vm = new TinyVm([PRINTING]);
  await withVm(vm, async () => {
    for (let round = 0; round < 50; round++) {
      void vm.runner.pause();
      vm.runner.resume();
    }
    const before = vm.ports.accesses.length;
    await portAccesses(vm, before + 100);
    t.pass();
  });
});

test.serial('several vCPUs run, and stop together', async (t) => {
  const vm = new TinyVm([PRINTING, COUNTING, SPINNING, HALTED]);
  await withVm(vm, async () => {
    await portAccesses(vm, 50);
    await vm.runner.pause();
    t.true(vm.memory.guest.view.getUint16(vm.memory.guest.offsetOf(0x8000, 2), true) > 0);
    vm.runner.resume();
  });
});

test.serial('a triple fault comes as a shutdown exit, and the vCPU stands still', async (t) => {
  const reasons: number[] = [];
  let report = () => {};
  const seen = new Promise<void>((resolve) => {
    report = resolve;
  });
  // ud2, in protected mode without an IDT
  const vm = new TinyVm([bytes(0x0f, 0x0b)], (_thread, reason) => {
    reasons.push(reason);
    report();
    vm.loop.yieldToNode();
    return false;
  });
  const sregs = vm.vcpus[0]!.getSregs();
  const cs = { ...sregs.cs, limit: 0xffff_ffff, g: 1, db: 1, selector: 8, type: 0xb };
  vm.vcpus[0]!.setSregs({ ...sregs, cr0: sregs.cr0 | 1n, cs, idt: { base: 0, limit: 0 } });
  await withVm(vm, async () => {
    await seen;
    await sleep(5);
  });
  t.deepEqual(reasons, [KVM_EXIT_SHUTDOWN]);
});

test.serial('an exception in a device ends the loop', async (t) => {
  const vm = new TinyVm([PRINTING]);
  vm.ports.onAccess = () => {
    throw new Error('a device failed');
  };
  const running = vm.loop.run();
  vm.runner.resume();
  await t.throwsAsync(running, { message: 'a device failed' });
  // The vCPU still waits for its access to be answered; a second run of the loop lets it end.
  vm.ports.onAccess = () => {};
  vm.start();
  await vm.end();
});
