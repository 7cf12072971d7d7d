import test from 'ava';
import fc from 'fast-check';
import {
  array,
  at,
  bytes,
  encodeList,
  type Fields,
  flexible,
  memberType,
  readList,
  s16,
  s32,
  s64,
  struct,
  type Type,
  u8,
  u16,
  u32,
  u64,
  union,
  viewOf,
} from '../../lib/kvm/layout.ts';
import { anyStruct, compileAndRun } from '../helpers/c-layout.ts';

const inner = struct('inner', { base: u64, limit: u32, granular: u8 });

test('members are aligned, and the whole is padded to the widest', (t) => {
  const outer = struct('outer', { a: u8, b: u64, c: u16, inner, d: u8 });
  t.is(inner.size, 16);
  t.deepEqual(
    { ...outer.offset },
    { a: 0, b: 8, c: 16, inner: 24, 'inner.base': 24, 'inner.limit': 32, 'inner.granular': 36, d: 40 },
  );
  t.is(outer.size, 48);
  t.is(outer.align, 8);
});

test('a packed structure has no padding', (t) => {
  const packed = struct('epoll_event', { events: u32, data: u64 }, { packed: true });
  t.is(packed.offset.data, 4);
  t.is(packed.size, 12);
  t.is(packed.align, 1);
});

test('alternatives lie on each other, and what follows comes after the longest', (t) => {
  const run = struct('run', {
    reason: u32,
    io: at(8, struct(undefined, { direction: u8, port: u16 })),
    padding: at(8, bytes(20)),
    valid: u64,
    s: union({ regs: inner, padding: bytes(30) }),
  });
  t.is(run.offset['io.port'], 10);
  t.is(run.offset.valid, 32);
  t.is(run.offset['s.regs.limit'], 48);
  t.is(run.size, 72);
  const view = viewOf(run.encode({ io: { direction: 1, port: 0x3f8 } }));
  t.is(view.getUint8(8), 1);
  t.is(run.get(view, 'io.port'), 0x3f8);
  t.deepEqual([...run.get(view, 'padding')].slice(0, 4), [1, 0, 0xf8, 3]);
});

test('a place does not stick to the type it was given to', (t) => {
  const placed = at(16, inner);
  t.is(placed.place, 16);
  t.is(inner.place, undefined);
  t.is(u32.place, undefined);
  t.is(struct('x', { a: u8, inner }).offset.inner, 8);
});

test('values go in and come out, at any base, shared memory included', (t) => {
  const all = struct('all', { a: u8, b: u16, c: u32, d: u64, e: s16, f: s32, g: s64, h: bytes(3), i: array(inner, 2) });
  const value = {
    a: 255,
    b: 0xfffe,
    c: 0xffff_fffd,
    d: 0xffff_ffff_ffff_fffcn,
    e: -2,
    f: -3,
    g: -4n,
    h: new Uint8Array([1, 2, 3]),
    i: [
      { base: 1n, limit: 2, granular: 3 },
      { base: 4n, limit: 5, granular: 6 },
    ],
  };
  t.deepEqual(all.decode(all.encode(value)), value);
  const shared = new DataView(new SharedArrayBuffer(256), 8);
  all.write(shared, 16, value);
  t.deepEqual(all.read(shared, 16), value);
  t.is(shared.getUint8(15), 0);
  t.is(shared.getUint8(16 + all.size), 0);
  all.set(shared, 'd', 5, 16);
  t.is(all.get(shared, 'd', 16), 5n);
});

test('what is not given is left as it is', (t) => {
  const view = viewOf(inner.encode({ base: 7n, limit: 8 }));
  inner.write(view, 0, { limit: 9 });
  t.deepEqual(inner.read(view, 0), { base: 7n, limit: 9, granular: 0 });
});

test('too much, too short and unknown are refused', (t) => {
  const holder = struct('holder', { data: bytes(2), list: array(u16, 2) });
  t.throws(() => holder.encode({ data: [1, 2, 3] }), { instanceOf: RangeError });
  t.throws(() => holder.encode({ list: [1, 2, 3] }), { instanceOf: RangeError });
  t.throws(() => inner.decode(new Uint8Array(15)), { instanceOf: RangeError });
  t.throws(() => inner.encode({ nope: 1 } as never), { message: /inner has no member nope/ });
  t.throws(() => memberType(inner, 'base.deeper'), { message: /no member base.deeper/ });
});

test('a flexible array follows its header', (t) => {
  const list = struct('list', { count: u32, entries: flexible(u32) });
  const encoded = encodeList(list, 'entries', { count: 2 }, u32, [7, 8]);
  t.deepEqual([...encoded], [2, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0]);
  t.deepEqual(readList(list, 'entries', u32, 2, encoded), [7, 8]);
  t.throws(() => readList(list, 'entries', u32, 3, encoded), { instanceOf: RangeError });
  // The array begins before the header's padding ends, as in C.
  const padded = struct('padded', { a: u64, b: u32, tail: flexible(u8) });
  t.is(padded.size, 16);
  t.is(padded.offset.tail, 12);
  t.is(encodeList(padded, 'tail', {}, u8, [1]).length, 16);
  t.is(encodeList(padded, 'tail', {}, u8, [1, 2, 3, 4, 5]).length, 17);
});

const SCALARS: readonly (readonly [Type<unknown, never>, string])[] = [
  [u8, 'unsigned char'],
  [u16, 'unsigned short'],
  [u32, 'unsigned'],
  [u64, 'unsigned long'],
  [s16, 'short'],
  [s32, 'int'],
  [s64, 'long'],
];

/** A type, and how C declares a member of it. */
interface Declared {
  readonly type: Type<unknown, never>;
  declare(name: string): string;
}

const declared: fc.Arbitrary<Declared> = fc.letrec<{ type: Declared; aggregate: Declared }>((tie) => ({
  type: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom(...SCALARS).map(([type, c]) => ({ type, declare: (name: string) => `${c} ${name};` })),
    fc.tuple(fc.constantFrom(...SCALARS), fc.integer({ min: 1, max: 9 })).map(([[type, c], length]) => ({
      type: array(type, length) as Type<unknown, never>,
      declare: (name: string) => `${c} ${name}[${length}];`,
    })),
    tie('aggregate'),
  ),
  aggregate: fc
    .tuple(fc.array(tie('type'), { minLength: 1, maxLength: 5 }), fc.constantFrom('struct', 'union', 'packed'))
    .map(([members, kind]) => {
      const fields: Fields = Object.fromEntries(members.map(({ type }, i) => [`m${i}`, type]));
      const body = `{ ${members.map((member, i) => member.declare(`m${i}`)).join(' ')} }`;
      const type = kind === 'union' ? union(fields) : struct(undefined, fields, { packed: kind === 'packed' });
      const keyword = kind === 'union' ? 'union' : 'struct';
      const attribute = kind === 'packed' ? ' __attribute__((packed))' : '';
      return { type, declare: (name: string) => `${keyword} ${body}${attribute} ${name};` };
    }),
})).aggregate;

test('any structure is laid out as gcc lays it out', (t) => {
  const samples = fc.sample(declared, 150);
  const prints: string[] = [];
  const expected: string[] = [];
  const declarations = samples.map((sample, i) => {
    const layout = anyStruct(sample.type as ReturnType<typeof anyStruct>);
    prints.push(`printf("${i} size %zu\\n", sizeof(v${i}));`);
    expected.push(`${i} size ${layout.size}`);
    for (const [path, offset] of Object.entries<number>(layout.offset)) {
      prints.push(`printf("${i} ${path} %zu\\n", (size_t)((char *)&v${i}.${path} - (char *)&v${i}));`);
      expected.push(`${i} ${path} ${offset}`);
    }
    return sample.declare(`v${i}`);
  });
  const source = `#include <stdio.h>\n${declarations.join('\n')}\nint main(void) {\n${prints.join('\n')}\nreturn 0; }\n`;
  t.deepEqual(compileAndRun(source).trimEnd().split('\n'), expected);
});
