import test from 'ava';
import * as abi from '../../lib/ffi/constants.ts';
import { MORE_CONSTANTS, profileConstants } from '../../lib/seccomp/constants.ts';
import { compareWithC } from '../helpers/c-layout.ts';

test('the constants of profiles are those of the headers', (t) => {
  compareWithC(t, {
    define: ['_GNU_SOURCE'],
    headers: [
      'fcntl.h',
      'sched.h',
      'signal.h',
      'sys/file.h',
      'sys/ioctl.h',
      'sys/mman.h',
      'sys/random.h',
      'sys/resource.h',
      'sys/socket.h',
      'sys/wait.h',
      'time.h',
      'asm/termbits.h',
      'linux/falloc.h',
      'linux/fs.h',
      'linux/futex.h',
      'linux/if_tun.h',
      'linux/io_uring.h',
      'linux/mman.h',
      'linux/prctl.h',
    ],
    constants: Object.fromEntries(
      // A negative one is an int in C, printed as 64 bits.
      Object.entries(MORE_CONSTANTS).map(([name, value]) => [
        name,
        value < 0 ? (BigInt.asUintN(64, BigInt(value)) as unknown as number) : value,
      ]),
    ),
  });
});

test('profiles can name what mvm itself uses, and each constant is described once', (t) => {
  for (const name of Object.keys(MORE_CONSTANTS)) t.false(name in abi, name);
  t.is(profileConstants().get('KVM_RUN'), 0xae80);
  t.is(profileConstants().get('PROT_EXEC'), 4);
  t.is(profileConstants().get('SYS_read'), undefined);
  t.is(profileConstants().get('toString'), undefined);
});
