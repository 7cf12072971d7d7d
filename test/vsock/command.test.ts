import test from 'ava';
import fc from 'fast-check';
import { commandLength, parseConnect } from '../../lib/vsock/command.ts';

test('commands that Firecracker takes', (t) => {
  for (const [command, port] of [
    ['CONNECT 52\n', 52],
    ['connect 52\n', 52],
    ['CoNnEcT 52\n', 52],
    ['CONNECT  52 \n', 52],
    [' CONNECT\t52\r\n', 52],
    ['CONNECT 52 whatever\n', 52],
    ['CONNECT +52\n', 52],
    ['CONNECT 0\n', 0],
    ['CONNECT 00052\n', 52],
    ['CONNECT 4294967295\n', 0xffff_ffff],
  ] as const) {
    t.is(parseConnect(command), port, JSON.stringify(command));
  }
});

test('commands that it does not', (t) => {
  for (const command of [
    '\n',
    'CONNECT\n',
    'CONNECT x\n',
    'CONNECT -1\n',
    'CONNECT 4294967296\n',
    'CONNECT 1e3\n',
    'CONNECT 0x10\n',
    'CONNECT 5.0\n',
    'CONNECTED 5\n',
    'GET / HTTP/1.1\n',
    '5\n',
  ]) {
    t.is(parseConnect(command), undefined, JSON.stringify(command));
  }
});

test('a command ends at its first newline, within what was read', (t) => {
  const bytes = Buffer.from('CONNECT 5\nCONNECT 6\n');
  t.is(commandLength(bytes, bytes.length), 10);
  t.is(commandLength(bytes, 10), 10);
  t.is(commandLength(bytes, 9), 0);
  t.is(commandLength(bytes, 0), 0);
});

test('any port in decimal', (t) => {
  fc.assert(fc.property(fc.nat({ max: 0xffff_ffff }), (port) => t.is(parseConnect(`connect ${port}\n`), port)));
});
