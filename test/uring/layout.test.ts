import test from 'ava';
import * as layout from '../../lib/uring/layout.ts';
import { compareWithC, constantsOf, hasMacro, structsOf } from '../helpers/c-layout.ts';

const HEADERS = ['linux/io_uring.h'];

test('structures and numbers are the kernel’s', (t) => {
  const constants = constantsOf(layout);
  // Of Linux 6.0 and 6.5.
  for (const name of ['IORING_SETUP_SINGLE_ISSUER', 'IORING_SETUP_NO_MMAP']) {
    t.true(name in constants);
    if (!hasMacro(HEADERS, name)) delete constants[name];
  }
  const rename = hasMacro(HEADERS, 'IORING_SETUP_NO_MMAP')
    ? {}
    : { 'sq_off.user_addr': 'sq_off.resv2', 'cq_off.user_addr': 'cq_off.resv2' };
  // In C, a union of names for the same byte.
  const names = { ...rename, op: 'register_op' };
  t.true(Object.keys(constants).length > 15);
  const structs = structsOf(layout);
  t.is(structs.length, 5);
  compareWithC(t, {
    headers: HEADERS,
    constants,
    structs: structs.map((struct) => ({ layout: struct, rename: names })),
  });
});
