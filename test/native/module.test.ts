import test from 'ava';
import { NativeBuffer } from '../../lib/ffi/native-buffer.ts';
import { NativeCode, NativeRoutine } from '../../lib/native/code.ts';
import { nativeFunction } from '../../lib/native/module.ts';

const SYS_getpid = 39;
/** A system call that there is not. */
const NOBODY = 1000;
const ENTRY = 64;
const RESULT = 56;

/** A block of calls.S with one call in it. */
function blockOf(number: number): NativeBuffer {
  const block = new NativeBuffer(2 * ENTRY, 64);
  block.view.setUint32(0, 1, true);
  block.setNumber64(ENTRY, number);
  return block;
}

test('a function of the module calls its own routine, each time', (t) => {
  const blocks = [SYS_getpid, NOBODY].map(blockOf);
  const functions = blocks.map((block) => nativeFunction(new NativeCode({ calls: block.address }).addressOf('calls')));
  for (const [i, result] of [process.pid, -38].entries()) {
    for (let k = 0; k < 3; k++) {
      blocks[i]!.setNumber64(ENTRY + RESULT, 0);
      t.is(functions[i]!(), undefined);
      t.is(blocks[i]!.getNumber64(ENTRY + RESULT), result);
    }
  }
});

for (const often of [false, true]) {
  test(`a routine is called ${often ? 'directly' : 'through libc'}`, (t) => {
    const block = blockOf(SYS_getpid);
    const routine = new NativeRoutine(new NativeCode({ calls: block.address }), 'calls', often);
    for (let k = 0; k < 3; k++) {
      block.setNumber64(ENTRY + RESULT, 0);
      routine.run();
      t.is(block.getNumber64(ENTRY + RESULT), process.pid);
    }
  });
}
