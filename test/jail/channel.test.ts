import { closeSync } from 'node:fs';
import test from 'ava';
import { receiveByte, sendByte } from '../../lib/jail/channel.ts';
import { streamPair } from '../../lib/jail/descriptors.ts';

test('bytes come in order, and then the end', (t) => {
  const [one, other] = streamPair();
  for (const byte of [0, 15, 255]) t.true(sendByte(one, byte));
  closeSync(one);
  t.deepEqual(
    [receiveByte(other), receiveByte(other), receiveByte(other), receiveByte(other)],
    [0, 15, 255, undefined],
  );
  t.false(sendByte(other, 1), 'nobody takes it');
  closeSync(other);
});

test('an end that goes without having read everything is an end like any other', (t) => {
  const [one, other] = streamPair();
  sendByte(other, 1);
  closeSync(one);
  t.is(receiveByte(other), undefined);
  closeSync(other);
});
