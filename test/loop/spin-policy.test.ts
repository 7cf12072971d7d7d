import test from 'ava';
import { SpinPolicy } from '../../lib/loop/spin-policy.ts';

const fresh = new SpinPolicy().budget;

function after(sleeps: readonly [wasShort: boolean, finds: number][]): number {
  const policy = new SpinPolicy();
  for (const [wasShort, finds] of sleeps) policy.slept(wasShort, finds);
  return policy.budget;
}

const times = <T>(count: number, value: T): T[] => Array.from({ length: count }, () => value);

test('a guest that seldom exits is looked for less and less, down to not at all', (t) => {
  t.true(after([[false, 0]]) < fresh);
  t.is(after(times(20, [false, 0])), 0);
});

test('a short sleep now and then does not stop looking that pays', (t) => {
  t.is(after(times(100, [true, 1000])), fresh);
});

test('looking that finds nothing, though work comes at once, is given up, and tried again later', (t) => {
  t.is(after(times(2, [true, 0])), fresh);
  t.true(after(times(3, [true, 0])) < fresh);
  t.true(after(times(60, [true, 0])) < fresh);
  t.is(after(times(3 + 65, [true, 0])), fresh);
});

test('when exits come fast again after a quiet time, looking begins with the second', (t) => {
  t.is(after([...times(20, [false, 0] as [boolean, number]), [true, 0]]), fresh);
});
