import test from 'ava';
import { Counters } from '../../lib/metrics/counters.ts';

class Counts {
  reads = 0;
  bytes = 0;
  name = 'not a number';
}

test('a report has what came since the one before that was taken', (t) => {
  const counters = new Counters();
  const counts = new Counts();
  counters.add('disk', () => counts);
  counts.reads = 3;
  const first = counters.report();
  t.deepEqual(first.groups, { disk: { reads: 3, bytes: 0 } });
  counts.reads = 5;
  counts.bytes = 7;
  t.deepEqual(counters.report().groups, { disk: { reads: 5, bytes: 7 } }, 'nobody took the first');
  // What came after a report was made is not in it.
  first.taken();
  t.deepEqual(counters.report().groups, { disk: { reads: 2, bytes: 7 } });
  counters.report().taken();
  t.deepEqual(counters.report().groups, { disk: { reads: 0, bytes: 0 } });
});

test('devices of a kind are shown each and summed up, also where there are none', (t) => {
  const counters = new Counters();
  counters.addKind('disk', new Counts());
  counters.addKind('net', new Counts());
  const one = new Counts();
  const other = new Counts();
  counters.addDevice('disk', 'a', () => one);
  counters.addDevice('disk', 'b', () => ({ ...other, extra: 1 }));
  one.reads = 1;
  other.reads = 10;
  const { groups, taken } = counters.report();
  t.deepEqual(groups, {
    disk: { reads: 11, bytes: 0, extra: 1 },
    net: { reads: 0, bytes: 0 },
    disk_a: { reads: 1, bytes: 0 },
    disk_b: { reads: 10, bytes: 0, extra: 1 },
  });
  taken();
  other.bytes = 2;
  t.deepEqual(counters.report().groups.disk, { reads: 0, bytes: 2, extra: 0 });
});
