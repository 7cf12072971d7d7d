import test from 'ava';
import fc from 'fast-check';
import {
  addParameters,
  CMDLINE_SIZE,
  encodeCmdline,
  kernelParameters,
  parameterValue,
  virtioMmioParameter,
} from '../../lib/boot/cmdline.ts';
import { ConfigError } from '../../lib/errors.ts';

test("parameters are added after the kernel's own and before init's arguments", (t) => {
  t.is(addParameters('quiet', ['a=1', 'b']), 'quiet a=1 b');
  t.is(addParameters('quiet -- --flag x', ['a=1']), 'quiet a=1 -- --flag x');
  t.is(addParameters('-- x', ['a=1']), 'a=1 -- x');
  t.is(addParameters('quiet -- x', []), 'quiet -- x');
  t.is(addParameters('', ['a']), 'a');
  t.is(addParameters('', []), '');
  t.is(addParameters('  quiet  ', ['a']), 'quiet a');
});

test('only a word of its own, outside quotes, ends the kernel’s parameters', (t) => {
  t.is(addParameters('a="x -- y" b', ['c']), 'a="x -- y" b c');
  t.is(addParameters('x=-- y--z', ['c']), 'x=-- y--z c');
  t.is(addParameters('a="x" -- "b -- c" -- d', ['e']), 'a="x" e -- "b -- c" -- d');
  t.deepEqual(kernelParameters('a="x y" b  c=1 -- d'), ['a="x y"', 'b', 'c=1']);
});

test('the last value of a parameter counts, and init’s arguments do not', (t) => {
  t.is(parameterValue('acpi=on x acpi=off', 'acpi'), 'off');
  t.is(parameterValue('quiet -- acpi=off', 'acpi'), undefined);
  t.is(parameterValue('quiet', 'quiet'), '');
  t.is(parameterValue('xacpi=off acpix=off', 'acpi'), undefined);
  t.is(parameterValue('root="a b"', 'root'), 'a b');
});

test('adding and splitting keep every word', (t) => {
  const word = fc.stringMatching(/^[a-z=.,0-9]{1,8}$/);
  const property = fc.property(fc.array(word), fc.array(word), fc.array(word), (own, added, init) => {
    const line = init.length > 0 ? [...own, '--', ...init].join(' ') : own.join(' ');
    const result = addParameters(line, added);
    const words = result === '' ? [] : result.split(' ');
    t.deepEqual(words, [...own, ...added, ...(init.length > 0 ? ['--', ...init] : [])]);
    t.deepEqual(kernelParameters(result), [...own, ...added]);
  });
  fc.assert(property);
});

test('virtio_mmio.device as drivers/virtio/virtio_mmio.c reads it', (t) => {
  t.is(virtioMmioParameter(0xd000_1000, 4096, 6), 'virtio_mmio.device=4K@0xd0001000:6');
});

test('a line as long as the limit fits, with a final zero; one more does not', (t) => {
  const longest = 'x'.repeat(CMDLINE_SIZE);
  const bytes = encodeCmdline(longest, CMDLINE_SIZE);
  t.is(bytes.length, 2048);
  t.is(bytes.at(-1), 0);
  t.is(Buffer.from(bytes.subarray(0, -1)).toString(), longest);
  const error = t.throws(() => encodeCmdline(`${longest}x`, CMDLINE_SIZE), { instanceOf: ConfigError });
  t.is(
    error.toLine(),
    '/boot-source/boot_args: the kernel command line is too long: 2048 characters with what mvm adds, and the kernel takes 2047; shorten it',
  );
  t.is(encodeCmdline('', 0).length, 1);
});

test('what is not printable ASCII is refused with its place', (t) => {
  for (const [line, at] of [
    ['quiet\n', 6],
    ['a\0b', 2],
    ['caf\u00e9', 4],
    ['\u007f', 1],
    ['a \u{1f600}', 3],
    ['a\tb', 2],
  ] as const) {
    const error = t.throws(() => encodeCmdline(line, 100), { instanceOf: ConfigError });
    t.regex(error.message, new RegExp(`not printable ASCII \\(0x[0-9a-f]+, at ${at}\\)`));
  }
});
