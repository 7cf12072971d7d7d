/**
 * The thread of a `Scribbler`: changes words of guest memory and changes them back at once, so that most of what the device reads is as it
 * was and any of it may be something else.
 */
import { workerData } from 'node:worker_threads';
import { Control, type ScribblerData, State } from './scribbler.ts';
import { below, onceIn, pick, SeededTape } from './tape.ts';

const BURST = 256;
const WORD = 4;

const { memory, offset, areas, control } = workerData as ScribblerData;
const words = new Uint32Array(memory, offset);
const shared = new Int32Array(control);
const tape = new SeededTape(1);
for (;;) {
  if (Atomics.load(shared, Control.Wanted) !== State.Scribbling) {
    Atomics.store(shared, Control.Is, State.Resting);
    Atomics.notify(shared, Control.Is);
    Atomics.wait(shared, Control.Wanted, State.Resting);
    Atomics.store(shared, Control.Is, State.Scribbling);
    continue;
  }
  for (let i = 0; i < BURST; i++) {
    const { start, length } = pick(tape, areas);
    const index = (start + below(tape, length)) >>> 2;
    const old = Atomics.load(words, index);
    const wrong = onceIn(tape, 2)
      ? old ^ (1 << below(tape, 8 * WORD))
      : pick(tape, [0, 1, 0x1000, 0xffff, 0xffff_ffff]);
    Atomics.store(words, index, wrong);
    Atomics.store(words, index, old);
  }
  Atomics.add(shared, Control.Written, BURST);
}
