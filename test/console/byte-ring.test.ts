import test from 'ava';
import fc from 'fast-check';
import { ByteRing } from '../../lib/console/byte-ring.ts';

test('a ring behaves as a bounded queue', (t) => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('push' as const), byte: fc.nat(255) }),
    fc.record({ kind: fc.constant('pushFrom' as const), bytes: fc.uint8Array({ maxLength: 24 }) }),
    fc.record({ kind: fc.constant('shiftInto' as const), count: fc.nat(24) }),
    fc.record({ kind: fc.constant('consume' as const), count: fc.nat(24) }),
    fc.record({ kind: fc.constant('shift' as const) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const ring = new ByteRing(16);
      let model: number[] = [];
      for (const action of steps) {
        if (action.kind === 'push') {
          t.is(ring.push(action.byte), model.length < 16);
          if (model.length < 16) model.push(action.byte);
        } else if (action.kind === 'pushFrom') {
          const count = Math.min(action.bytes.length, 16 - model.length);
          t.is(ring.pushFrom(action.bytes, 0, action.bytes.length), count);
          model.push(...action.bytes.subarray(0, count));
        } else if (action.kind === 'shiftInto') {
          const target = new Uint8Array(24);
          const count = ring.shiftInto(target, 0, action.count);
          t.deepEqual([...target.subarray(0, count)], model.slice(0, action.count));
          model = model.slice(count);
        } else if (action.kind === 'consume') {
          const count = Math.min(action.count, ring.readLength);
          ring.consume(count);
          model = model.slice(count);
        } else if (model.length > 0) {
          t.is(ring.shift(), model.shift()!);
        }
        t.is(ring.length, model.length);
        t.is(ring.room, 16 - model.length);
        t.true(ring.readLength > 0 === model.length > 0 && ring.readLength <= model.length);
        t.true(ring.writeLength > 0 === model.length < 16 && ring.writeLength <= ring.room);
        t.true(ring.writeAddress + ring.writeLength <= ring.readAddress + 16 || ring.length === 0);
      }
      ring.release();
    }),
  );
});

test('an empty ring begins at its start again', (t) => {
  const ring = new ByteRing(16);
  const start = ring.readAddress;
  ring.push(1);
  t.is(ring.writeAddress, start + 1);
  ring.shift();
  t.is(ring.writeAddress, start);
});

test('what is written at the address becomes part of the queue', (t) => {
  const ring = new ByteRing(8);
  ring.pushFrom(Buffer.from('abc'), 0, 3);
  ring.consume(2);
  t.is(ring.writeLength, 5);
  ring.produce(2);
  t.is(ring.length, 3);
  ring.clear();
  t.is(ring.length, 0);
});

test('the capacity is a power of two', (t) => {
  for (const capacity of [0, -1, 3, 100]) t.throws(() => new ByteRing(capacity), { instanceOf: RangeError });
});
