import test from 'ava';
import fc from 'fast-check';
import { ByteRing } from '../../lib/console/byte-ring.ts';
import { ESCAPE_HELP, EscapeFilter } from '../../lib/console/escape.ts';

/** What gets through of `text` when it is typed in pieces, and what is asked for on the way. */
function type(...pieces: string[]): { text: string; asked: string[] } {
  const asked: string[] = [];
  const ring = new ByteRing(1 << 12);
  const filter = new EscapeFilter({
    leave: () => asked.push('leave'),
    help: () => asked.push('help'),
    sendBreak: () => asked.push('break'),
    sendCtrlAltDel: () => asked.push('ctrl-alt-del'),
  });
  for (const piece of pieces) filter.pass(Buffer.from(piece, 'latin1'), piece.length, ring);
  const bytes = new Uint8Array(ring.length);
  ring.shiftInto(bytes, 0, bytes.length);
  return { text: Buffer.from(bytes).toString('latin1'), asked };
}

test('Ctrl-A x leaves, h and ? help, b breaks, d is Ctrl-Alt-Del; none of it reaches the guest', (t) => {
  t.deepEqual(type('one\x01xtwo'), { text: 'onetwo', asked: ['leave'] });
  t.deepEqual(type('\x01h\x01?'), { text: '', asked: ['help', 'help'] });
  t.deepEqual(type('\x01bh'), { text: 'h', asked: ['break'] });
  t.deepEqual(type('\x01dx'), { text: 'x', asked: ['ctrl-alt-del'] });
});

test('Ctrl-A a and Ctrl-A Ctrl-A send Ctrl-A', (t) => {
  t.deepEqual(type('\x01a|\x01\x01|'), { text: '\x01|\x01|', asked: [] });
  t.deepEqual(type('\x01\x01x'), { text: '\x01x', asked: [] });
});

test('a key without a meaning is sent on together with its Ctrl-A', (t) => {
  t.deepEqual(type('\x01l'), { text: '\x01l', asked: [] });
});

test('the prefix may end one read and its key begin the next', (t) => {
  t.deepEqual(type('ls\x01', 'x'), { text: 'ls', asked: ['leave'] });
});

test('what has no Ctrl-A in it passes as it is, in whatever pieces', (t) => {
  const piece = fc.string({ unit: fc.integer({ min: 2, max: 255 }).map((code) => String.fromCharCode(code)) });
  fc.assert(
    fc.property(fc.array(piece), (pieces) => {
      t.deepEqual(type(...pieces), { text: pieces.join(''), asked: [] });
    }),
  );
});

test('the help names every key', (t) => {
  for (const key of ['x', 'b', 'd', 'a', 'h']) t.true(ESCAPE_HELP.some((line) => line.startsWith(`Ctrl-A ${key} `)));
});
