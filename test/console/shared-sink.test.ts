import test from 'ava';
import { SharedSink } from '../../lib/console/shared-sink.ts';
import { MemoryOutput } from '../helpers/memory-console.ts';

test('devices print to one sink, and each is told when it takes more', (t) => {
  const output = new MemoryOutput();
  const shared = new SharedSink(output);
  const [one, other, silent] = [shared.branch(), shared.branch(), shared.branch()];
  const told: string[] = [];
  one.onDrain(() => told.push('one'));
  other.onDrain(() => told.push('replaced'));
  other.onDrain(() => told.push('other'));
  t.not(silent, one);
  const bytes = Buffer.from('abcdef');
  output.room = 5;
  t.is(one.write(bytes, 0, 3), 3);
  t.is(other.write(bytes, 3, 6), 2);
  t.false(one.put(0x21));
  output.open(10);
  t.deepEqual(told, ['one', 'other']);
  t.is(other.write(bytes, 5, 6), 1);
  t.is(output.text, 'abcde!f');
});
