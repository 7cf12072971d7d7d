import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { ConfigProblems, problemToLine } from '../../lib/config/problems.ts';
import { ExitCode } from '../../lib/errors.ts';
import { parseProfile, parseProfiles } from '../../lib/seccomp/parse.ts';
import { THREAD_KINDS, type ThreadKind } from '../../lib/seccomp/profile.ts';

const GOOD = { default_action: 'trap', filter_action: 'allow', filter: [{ syscall: 'read' }] };

/** A profile's text; `rules` one a line from line 4. */
const withRules = (...rules: string[]) =>
  `{\n  "default_action": "trap", "filter_action": "allow",\n  "filter": [\n${rules.join(',\n')}\n]}`;

const withArgument = (argument: string) => withRules(`{"syscall": "ioctl", "args": [${argument}]}`);

async function refuses(t: ExecutionContext, text: string, lines: readonly string[], thread: ThreadKind = 'main') {
  const error = await t.throwsAsync(parseProfile(text, 'p.json', thread), { instanceOf: ConfigProblems }, text);
  t.deepEqual(error?.problems.map(problemToLine), lines);
  t.is(error?.exitCode, ExitCode.BadConfig);
}

test('a profile in Firecracker’s format is read', async (t) => {
  const text = withRules(
    '{"syscall": "read"}',
    '{"syscall": "ioctl", "comment": "terminal", "args": [{"index": 1, "type": "dword", "op": "eq", "val": 21505, "comment": "TCGETS"}]}',
    '{"syscall": "mmap", "args": [{"index": 2, "type": "qword", "op": {"masked_eq": 4}, "val": 0}]}',
  );
  const profile = await parseProfile(text, 'p.json', 'vcpu');
  t.deepEqual(profile, {
    thread: 'vcpu',
    defaultAction: { kind: 'trap' },
    filterAction: { kind: 'allow' },
    rules: [
      { name: 'read', number: 0, conditions: [], when: [], action: undefined },
      {
        name: 'ioctl',
        number: 16,
        when: [],
        action: undefined,
        conditions: [
          { index: 1, type: 'dword', op: 'eq', value: { text: '21505', low: 21505, high: 0 }, mask: undefined },
        ],
      },
      {
        name: 'mmap',
        number: 9,
        when: [],
        action: undefined,
        conditions: [
          {
            index: 2,
            type: 'qword',
            op: 'masked_eq',
            value: { text: '0', low: 0, high: 0 },
            mask: { text: '4', low: 4, high: 0 },
          },
        ],
      },
    ],
  });
});

test('values may be constants, several of them, hexadecimal, and known at start', async (t) => {
  const value = async (type: string, val: string, thread: ThreadKind = 'vcpu') => {
    const text = withArgument(`{"index": 0, "type": "${type}", "op": "eq", "val": ${val}}`);
    return (await parseProfile(text, 'p.json', thread)).rules[0]!.conditions[0]!.value;
  };
  t.like(await value('dword', '"KVM_RUN"'), { low: 0xae80, high: 0 });
  t.like(await value('dword', '"PROT_READ | PROT_WRITE|PROT_EXEC"'), { low: 7, high: 0 });
  t.like(await value('dword', '"AT_FDCWD"'), { low: 0xffff_ff9c, high: 0 });
  t.like(await value('qword', '"AT_FDCWD"'), { low: 0xffff_ff9c, high: 0xffff_ffff });
  t.like(await value('qword', '"0x8000000000000001"'), { low: 1, high: 0x8000_0000 });
  t.like(await value('qword', '9007199254740991'), { low: 0xffff_ffff, high: 0x1f_ffff });
  t.deepEqual(await value('dword', '"$vcpu_fd"'), { text: '$vcpu_fd', startValue: 'vcpu_fd' });
});

test('every action is read', async (t) => {
  for (const [json, action] of [
    ['"allow"', { kind: 'allow' }],
    ['"log"', { kind: 'log' }],
    ['"kill_thread"', { kind: 'kill_thread' }],
    ['"kill_process"', { kind: 'kill_process' }],
    ['{"errno": 38}', { kind: 'errno', number: 38 }],
    ['{"trace": 65535}', { kind: 'trace', number: 65535 }],
  ] as const) {
    const text = `{"default_action": "trap", "filter_action": ${json}, "filter": []}`;
    t.deepEqual((await parseProfile(text, 'p.json', 'main')).filterAction, action);
  }
});

test('a rule may have an action of its own', async (t) => {
  const text = withRules(
    '{"syscall": "openat", "action": {"errno": "EACCES"}}',
    '{"syscall": "open", "action": "log"}',
  );
  const { rules } = await parseProfile(text, 'p.json', 'main');
  t.deepEqual(
    rules.map(({ action }) => action),
    [{ kind: 'errno', number: 13 }, { kind: 'log' }],
  );
  await refuses(t, withRules('{"syscall": "openat", "action": {"errno": "EACESS"}}'), [
    'p.json:4:43: /filter/0/action/errno: unknown error "EACESS"; did you mean "EACCES"?',
  ]);
  await refuses(t, withRules('{"syscall": "openat", "action": {"errno": "AF_UNIX"}}'), [
    'p.json:4:43: /filter/0/action/errno: unknown error "AF_UNIX"; give its number',
  ]);
});

test('unknown names are refused with their place, and the nearest that exists', async (t) => {
  await refuses(
    t,
    withRules('{"syscall": "raed"}', '{"syscall": "xyzzy"}', '{"syscall": "read", "when": ["vsok", "zz"]}'),
    [
      'p.json:4:13: /filter/0/syscall: unknown system call "raed"; did you mean "read"?',
      'p.json:5:13: /filter/1/syscall: unknown system call "xyzzy"; see syscalls(2)',
      'p.json:6:30: /filter/2/when/0: unknown part "vsok"; did you mean "vsock"?',
      'p.json:6:38: /filter/2/when/1: unknown part "zz"; known are drives, io_uring, tap, passt, vsock, entropy, balloon, console, terminal',
    ],
  );
  await refuses(t, withArgument('{"index": 1, "type": "dword", "op": "eq", "val": "KVM_RUM"}'), [
    'p.json:4:80: /filter/0/args/0/val: unknown constant "KVM_RUM"; did you mean "KVM_RUN"?',
  ]);
  await refuses(t, withArgument('{"index": 1, "type": "dword", "op": "eq", "val": "PROT_READ|PROT_WRIT"}'), [
    'p.json:4:80: /filter/0/args/0/val: unknown constant "PROT_WRIT"; did you mean "PROT_WRITE"?',
  ]);
  await refuses(
    t,
    withArgument('{"index": 1, "type": "dword", "op": "eq", "val": "$vcpu_df"}'),
    ['p.json:4:80: /filter/0/args/0/val: unknown value "$vcpu_df"; did you mean "$vcpu_fd"?'],
    'vcpu',
  );
  // Of another thread.
  await refuses(t, withArgument('{"index": 1, "type": "dword", "op": "eq", "val": "$vcpu_fd"}'), [
    'p.json:4:80: /filter/0/args/0/val: unknown value "$vcpu_fd"; known are $pid, $kick_signal, $terminal_fd, $termios_address',
  ]);
});

test('bad operators, types, indices and values are refused', async (t) => {
  const refused = (argument: string, ...lines: string[]) =>
    refuses(
      t,
      withArgument(argument),
      lines.map((line) => `p.json:${line}`),
    );
  await refused(
    '{"index": 1, "type": "dword", "op": "=", "val": 0}',
    '4:67: /filter/0/args/0/op: unknown operator "="; known are eq, ne, lt, le, gt, ge, masked_eq',
  );
  await refused(
    '{"index": 1, "type": "dword", "op": "masked_eq(4)", "val": 0}',
    '4:67: /filter/0/args/0/op: unknown operator "masked_eq(4)"; write it as {"masked_eq": MASK}',
  );
  await refused(
    '{"index": 1, "type": "dword", "op": {"masked": 4}, "val": 0}',
    '4:67: /filter/0/args/0/op/masked_eq: is missing',
    '4:68: /filter/0/args/0/op/masked: unknown key; did you mean "masked_eq"?',
  );
  await refused(
    '{"index": 6, "type": "dword", "op": "eq", "val": 0}',
    '4:41: /filter/0/args/0/index: must be at most 5, not 6',
  );
  await refused(
    '{"index": 1, "type": "word", "op": "eq", "val": 0}',
    '4:52: /filter/0/args/0/type: must be "dword" or "qword", not "word"; did you mean "dword"?',
  );
  await refused(
    '{"index": 1, "type": "dword", "op": "eq", "val": 4294967296}',
    '4:80: /filter/0/args/0/val: 4294967296 is too large for a dword of 32 bits; compare it as a qword',
  );
  await refused(
    '{"index": 1, "type": "qword", "op": "eq", "val": "0x10000000000000000"}',
    '4:80: /filter/0/args/0/val: 0x10000000000000000 is too large for a qword of 64 bits',
  );
  await refused(
    '{"index": 1, "type": "qword", "op": "eq", "val": 9007199254740993}',
    '4:80: /filter/0/args/0/val: must be a whole number from 0 to 2⁵³ − 1, not 9007199254740992; write a larger one as a text: "0x…"',
  );
  await refused(
    '{"index": 1, "type": "qword", "op": "eq", "val": -1}',
    '4:80: /filter/0/args/0/val: must be a whole number from 0 to 2⁵³ − 1, not -1',
  );
  await refused('{"index": 1, "type": "dword", "op": "eq"}', '4:31: /filter/0/args/0/val: is missing');
  await refused(
    '{"index": 1, "type": "dword", "op": {"masked_eq": "$pid"}, "val": 0}',
    '4:81: /filter/0/args/0/op/masked_eq: a mask cannot be known only at start; give a number or a constant',
  );
});

test('bad actions are refused', async (t) => {
  const withAction = (action: string) => `{"default_action": "trap",\n"filter_action": ${action},\n"filter": []}`;
  const refused = (action: string, ...lines: string[]) => refuses(t, withAction(action), lines);
  await refused('"alow"', 'p.json:2:18: /filter_action: unknown action "alow"; did you mean "allow"?');
  await refused('"errno(1)"', 'p.json:2:18: /filter_action: "errno(1)" needs a number; write it as {"errno": 1}');
  await refused('{"errno": 4096}', 'p.json:2:28: /filter_action/errno: must be at most 4095, not 4096');
  await refused('{}', 'p.json:2:18: /filter_action: must have one of "errno" and "trace"');
  await refused('{"errno": 1, "trace": 1}', 'p.json:2:18: /filter_action: must have one of "errno" and "trace"');
  await refused('"trap"', 'p.json:2:18: /filter_action: is the same as default_action: the rules would change nothing');
});

test('a file of all threads has each of them, and nothing else', async (t) => {
  const all = Object.fromEntries(THREAD_KINDS.map((thread) => [thread, GOOD]));
  const profiles = await parseProfiles(JSON.stringify(all), 'all.json');
  t.deepEqual(
    THREAD_KINDS.map((thread) => profiles[thread].thread),
    [...THREAD_KINDS],
  );
  const refused = async (file: unknown, lines: readonly string[]) => {
    const error = await t.throwsAsync(parseProfiles(JSON.stringify(file), 'all.json'), { instanceOf: ConfigProblems });
    t.deepEqual(error?.problems.map(problemToLine), lines);
  };
  await refused({ vcpu: GOOD, main: GOOD }, ['all.json:1:1: /runtime: is missing']);
  await refused({ ...all, runtim: GOOD }, ['all.json:1:266: /runtim: unknown key; did you mean "runtime"?']);
  await refused({ ...all, main: { ...GOOD, filter: [{ syscall: 'wrte' }] } }, [
    'all.json:1:166: /main/filter/0/syscall: unknown system call "wrte"; did you mean "write"?',
  ]);
});

test('broken JSON and repeated keys are refused', async (t) => {
  await refuses(t, '{"default_action": "trap",\n}', ['p.json:2:1: is not JSON: expected double-quoted property name']);
  await refuses(t, `{"filter": [],\n${JSON.stringify(GOOD).slice(1)}`, [
    'p.json:2:49: /filter: this key was given before; keep one of them',
  ]);
});

/** Files that are nearly right: of the right keys, with values of any kind. */
const nearly = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    fc.jsonValue({ maxDepth: 1 }),
    tie('object'),
    fc.array(tie('object'), { maxLength: 3 }),
  ),
  object: fc.dictionary(
    fc.constantFrom(
      ...['vcpu', 'main', 'runtime', 'default_action', 'filter_action', 'filter', 'syscall', 'args', 'index', 'type'],
      ...['op', 'val', 'when', 'action', 'errno', 'trace', 'masked_eq', 'comment', 'constructor', 'toString'],
    ),
    fc.oneof(
      tie('value'),
      fc.constantFrom('trap', 'allow', 'read', 'ioctl', 'eq', 'dword', 'vsock', 'KVM_RUN', '$pid', '0x', 'PROT_EXEC|'),
    ),
    { maxKeys: 6 },
  ),
}));

test('whatever a file holds, it is a profile or it is refused with places', async (t) => {
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(fc.oneof(nearly.object, fc.jsonValue()), async (file) => {
      const text = JSON.stringify(file);
      for (const parse of [parseProfile, parseProfiles]) {
        try {
          await parse(text, 'p.json');
        } catch (error) {
          if (!(error instanceof ConfigProblems)) throw error;
          for (const { where, message } of error.problems) {
            t.regex(where, /^p\.json:\d+:\d+/);
            t.not(message, '');
          }
          refused++;
        }
      }
    }),
    { numRuns: 1000, seed: 3 },
  );
  t.true(refused > 1000);
});
