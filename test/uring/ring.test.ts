import { closeSync, openSync, readdirSync, readlinkSync } from 'node:fs';
import test from 'ava';
import { SYS_io_uring_register } from '../../lib/ffi/constants.ts';
import { tryCall } from '../../lib/ffi/libc.ts';
import { NativeBuffer } from '../../lib/ffi/native-buffer.ts';
import { IORING_OP_READ } from '../../lib/uring/layout.ts';
import { IoUring, type UringOwner } from '../../lib/uring/ring.ts';
import { testLoop } from '../helpers/virtio/file-disk.ts';

const EACCES = 13;
/** <linux/io_uring.h> */
const IORING_REGISTER_BUFFERS = 0;
const OTHER_OPERATIONS = {
  IORING_OP_NOP: 0,
  IORING_OP_POLL_ADD: 6,
  IORING_OP_SENDMSG: 9,
  IORING_OP_ACCEPT: 13,
  IORING_OP_CONNECT: 16,
  IORING_OP_OPENAT: 18,
  IORING_OP_CLOSE: 19,
  IORING_OP_OPENAT2: 28,
  IORING_OP_UNLINKAT: 36,
  IORING_OP_SOCKET: 45,
};

function rings(): number[] {
  return readdirSync('/proc/self/fd')
    .map(Number)
    .filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`) === 'anon_inode:[io_uring]';
      } catch {
        return false;
      }
    });
}

test('a ring reads, writes and flushes; the kernel refuses all else', (t) => {
  const before = rings();
  const ring = new IoUring(testLoop());
  const [fd] = rings().filter((other) => !before.includes(other));
  const results = new Map<number, number>();
  const owner: UringOwner = { complete: (tag, result) => results.set(tag, result), completed: () => {} };
  const number = ring.reserve(owner, 64);
  const zero = openSync('/dev/zero', 'r');
  const file = ring.registerFile(zero);
  const buffer = new NativeBuffer(16);
  const perform = (opcode: number) => {
    ring.add(number, opcode, opcode, file, buffer.address, 16, 0, 0);
    ring.submitNow();
    while (!results.has(opcode)) ring.wait();
    return results.get(opcode);
  };
  t.is(perform(IORING_OP_READ), 16);
  for (const [name, opcode] of Object.entries(OTHER_OPERATIONS)) t.is(perform(opcode), -EACCES, name);
  t.is(perform(IORING_OP_READ), 16);
  const vector = new NativeBuffer(16);
  vector.setNumber64(0, buffer.address);
  vector.setNumber64(8, 16);
  const register = tryCall('syscall', SYS_io_uring_register, fd!, IORING_REGISTER_BUFFERS, vector.address, 1, 0, 0);
  t.is(register, -EACCES);
  ring.unregisterFile(file);
  closeSync(zero);
  ring.close();
});
