import test from 'ava';
import { Fault, FaultLog, faultText } from '../../../devices/virtio/faults.ts';

test('every fault has words of its own', (t) => {
  const texts = Object.values(Fault).map(faultText);
  t.is(new Set(texts).size, texts.length);
  for (const text of texts) t.regex(text, /^[a-z].*[^.]$/);
});

test('each fault is counted; warnings come no oftener than every ten seconds, and say how many were left out', (t) => {
  const warnings: string[] = [];
  let now = 0;
  const log = new FaultLog(
    'drive "root"',
    (line) => warnings.push(line),
    () => now,
  );
  const line = 'drive "root": the guest\'s driver is at fault, the device needs a reset: ';
  for (let i = 0; i < 1000; i++) log.report(Fault.AvailIndex);
  t.is(log.count, 1000);
  t.deepEqual(warnings, [`${line}${faultText(Fault.AvailIndex)}`]);
  now = 9999;
  log.report(Fault.BufferAddress);
  t.is(warnings.length, 1);
  now = 10_000;
  log.report(Fault.ChainLength);
  t.is(warnings[1], `${line}${faultText(Fault.ChainLength)} (and 1000 faults before it)`);
  now = 30_000;
  log.report(Fault.ChainLength);
  t.is(warnings[2], `${line}${faultText(Fault.ChainLength)}`);
  t.is(log.count, 1003);
});
