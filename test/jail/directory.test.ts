import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { HostError } from '../../lib/errors.ts';
import { JailDirectory } from '../../lib/jail/directory.ts';

function base(t: ExecutionContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'mvm-jail-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

const NOTHING = { cgroups: [], parents: [] };

test('a directory is made, refused to a second one, and removed with what was made for it', (t) => {
  const directory = base(t);
  const path = join(directory, 'a/b');
  const jail = JailDirectory.claim(path, 'web');
  t.is(jail.root, join(path, 'mvm/web/root'));
  jail.note(NOTHING);
  mkdirSync(jail.root);
  writeFileSync(join(jail.root, 'file'), '');
  const error = t.throws(() => JailDirectory.claim(path, 'web'), { instanceOf: HostError });
  t.is(error?.message, 'a virtual machine with the id web runs already');
  const other = JailDirectory.claim(path, 'other');
  other.note(NOTHING);
  jail.remove();
  t.deepEqual(readdirSync(join(path, 'mvm')), ['other']);
  other.remove();
  t.deepEqual(
    readdirSync(path),
    [],
    'the directory of all jails goes with the last; who made those above had to leave them',
  );
});

test('what a killed one has left behind is removed at the next start, links not followed', (t) => {
  const directory = base(t);
  const cgroups = join(directory, 'cgroups');
  mkdirSync(join(cgroups, 'mvm/web'), { recursive: true });
  const old = join(directory, 'mvm/web');
  mkdirSync(join(old, 'root/dev'), { recursive: true });
  const precious = join(directory, 'precious');
  mkdirSync(precious);
  writeFileSync(join(precious, 'file'), '');
  symlinkSync(precious, join(old, 'root/link'));
  const state = {
    cgroups: [{ mountPoint: cgroups, path: ['mvm', 'web'] }],
    parents: [join(cgroups, 'mvm')],
    directories: [join(directory, 'mvm')],
  };
  writeFileSync(join(old, 'state.json'), JSON.stringify(state));
  const jail = JailDirectory.claim(directory, 'web');
  t.false(existsSync(jail.root));
  t.deepEqual(readdirSync(cgroups), []);
  t.true(existsSync(join(precious, 'file')));
  jail.note(NOTHING);
  jail.remove();
  t.deepEqual(readdirSync(directory).sort(), ['cgroups', 'precious']);
});

test('a start that was killed before it made anything is in nobody’s way', (t) => {
  const directory = base(t);
  mkdirSync(join(directory, 'mvm/web'), { recursive: true });
  writeFileSync(join(directory, 'mvm/web/state.json'), '{"cgr');
  const jail = JailDirectory.claim(directory, 'web');
  jail.note(NOTHING);
  jail.remove();
  t.false(existsSync(join(directory, 'mvm/web')));
});

test('somebody else’s directory is neither used nor removed', (t) => {
  const directory = base(t);
  mkdirSync(join(directory, 'mvm/web'), { recursive: true });
  writeFileSync(join(directory, 'mvm/web/notes.txt'), '');
  t.throws(() => JailDirectory.claim(directory, 'web'), { message: /mvm did not make it/ });
  t.true(existsSync(join(directory, 'mvm/web/notes.txt')));
  chmodSync(join(directory, 'mvm'), 0o777);
  t.throws(() => JailDirectory.claim(directory, 'new'), { message: /can be written by, others/ });
  chmodSync(join(directory, 'mvm'), 0o755);
  chmodSync(directory, 0o777);
  t.throws(() => JailDirectory.claim(directory, 'new'), { message: /can be written by, others/ });
  t.throws(() => JailDirectory.claim(join(directory, 'below'), 'new'), { message: /can be written by, others/ });
  chmodSync(directory, 0o1777);
  JailDirectory.claim(directory, 'new').remove();
  t.deepEqual(readdirSync(join(directory, 'mvm')), ['web']);
  const theirs = base(t);
  chownSync(theirs, 1234, 1234);
  t.throws(() => JailDirectory.claim(theirs, 'new'), { message: /belongs to, or/ });
});
