import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { landlockAbi } from '../../lib/confine/landlock.ts';

test('a confined process reaches no file and no TCP port, and can remove what it may', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'mvm-landlock-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  writeFileSync(join(directory, 'file'), 'content');
  const output = execFileSync(process.execPath, [join(import.meta.dirname, 'confined-child.ts'), directory], {
    encoding: 'utf8',
  });
  const found = JSON.parse(output);
  const abi = landlockAbi();
  const forbidden = (from: number, code: string) => (abi >= from ? code : 'done');
  t.deepEqual(found, {
    abi,
    readPasswords: forbidden(1, 'EACCES'),
    readOwn: forbidden(1, 'EACCES'),
    readStatus: forbidden(1, 'EACCES'),
    write: forbidden(1, 'EACCES'),
    remove: 'done',
    signalInit: found.signalInit,
    connect: forbidden(4, 'EACCES'),
  });
  // Scoped from ABI 6 on, where threads of one process are left out of it; root without capabilities may signal root otherwise.
  if (abi >= 6) t.is(found.signalInit, 'EPERM');
  t.false(existsSync(join(directory, 'file')));
});
