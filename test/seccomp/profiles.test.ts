import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { AUDIT_ARCH_X86_64 } from '../../lib/seccomp/bpf.ts';
import { builtInProfiles } from '../../lib/seccomp/built-in.ts';
import { compileProfile } from '../../lib/seccomp/compile.ts';
import { parseProfile } from '../../lib/seccomp/parse.ts';
import {
  type Action,
  type Condition,
  FEATURES,
  type Profile,
  type Rule,
  START_VALUES,
  THREAD_KINDS,
  threadNumber,
} from '../../lib/seccomp/profile.ts';
import { SYSTEM_CALLS, systemCallNumber } from '../../lib/seccomp/syscalls.ts';
import { callUnder, type Outcome, type Request, UNFILTERED } from '../helpers/seccomp/caller.ts';
import { judge } from '../helpers/seccomp/reference.ts';

const profiles = builtInProfiles();
const directory = join(import.meta.dirname, '../../seccomp-profiles');
const EVERYTHING: ReadonlySet<string> = new Set(FEATURES);
const NO_ARGUMENTS = [0n, 0n, 0n, 0n, 0n, 0n];

/** What might be known at start: different for each name; addresses have a high half. */
const VALUES: Record<string, number> = {};
for (const name of THREAD_KINDS.flatMap((thread) => START_VALUES[thread])) {
  VALUES[name] ??= (name.includes('address') ? 0x7f12_3456_7000 : 20) + Object.keys(VALUES).length * 8;
}

/** Never, in any thread. */
const FORBIDDEN = `execve execveat fork vfork ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd pidfd_open bpf
  perf_event_open userfaultfd init_module finit_module delete_module kexec_load kexec_file_load reboot mount umount2 pivot_root
  chroot setns unshare open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr open openat openat2 open_by_handle_at creat link
  linkat symlink symlinkat rename renameat renameat2 unlinkat mkdir mkdirat rmdir mknod mknodat chmod fchmod fchmodat chown
  fchown lchown fchownat truncate setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid capset keyctl
  add_key request_key swapon swapoff iopl ioperm modify_ldt personality seccomp io_uring_setup memfd_create
  memfd_secret process_madvise sendmsg sendmmsg process_mrelease quotactl syslog acct settimeofday clock_settime adjtimex clock_adjtime
  sethostname setdomainname arch_prctl setrlimit pkey_mprotect`.split(/\s+/);

/** What the kernel does with a call, for each action that a profile of mvm's has. */
function outcomeOf(action: Action, profile: Profile, number: number): Outcome {
  if (action.kind === 'allow') return { kind: 'passed' };
  if (action.kind === 'errno') return { kind: 'errno', errno: action.number };
  return { kind: 'trapped', data: threadNumber(profile.thread), number, arch: AUDIT_ARCH_X86_64 };
}

/** Makes the calls under the filter that mvm loads, and compares with what the profile says. @returns how many passed */
function comparesWithKernel(
  t: ExecutionContext,
  profile: Profile,
  parts: ReadonlySet<string>,
  calls: readonly Request[],
): number {
  const { outcomes } = callUnder(compileProfile(profile, { values: VALUES, features: parts }), calls);
  for (const [index, { number, args = NO_ARGUMENTS }] of calls.entries()) {
    const call = { number, args, arch: AUDIT_ARCH_X86_64, instructionPointer: 0n };
    const expected = outcomeOf(judge(profile, VALUES, parts, call), profile, number);
    t.deepEqual(outcomes[index], expected, `${number}(${args.join(', ')})`);
  }
  return outcomes.filter(({ kind }) => kind === 'passed').length;
}

/** A value that a condition holds for, and ones nearby that it does not hold for. */
function around(condition: Condition): { readonly right: bigint; readonly wrong: readonly bigint[] } {
  const { type, op, value } = condition;
  const number = 'low' in value ? (BigInt(value.high) << 32n) | BigInt(value.low) : BigInt(VALUES[value.startValue]!);
  const clip = (one: bigint) => BigInt.asUintN(64, one);
  if (op === 'eq') {
    const wrong = [number + 1n, number - 1n, number ^ 0x8000_0000n, ~number];
    // The kernel takes 32 bits of a dword: what is above makes no other value.
    if (type === 'qword') wrong.push(number + 2n ** 32n, number ^ (2n ** 63n));
    return {
      right: number,
      wrong: wrong.map(clip).filter((one) => BigInt.asUintN(type === 'dword' ? 32 : 64, one) !== number),
    };
  }
  if (op === 'masked_eq') {
    const mask = (BigInt(condition.mask!.high) << 32n) | BigInt(condition.mask!.low);
    const wrong = Array.from({ length: 64 }, (_, bit) => 1n << BigInt(bit)).filter((bit) => (mask & bit) !== 0n);
    return { right: number & mask, wrong: wrong.map((bit) => (number & mask) ^ bit) };
  }
  const candidates = [number, number + 1n, number - 1n, 0n, 0xffff_ffffn, 2n ** 64n - 1n].map(clip);
  const holds = (one: bigint) =>
    judge(
      {
        ...profiles.main,
        rules: [{ name: '', number: 0, when: [], action: undefined, conditions: [{ ...condition, index: 0 }] }],
      },
      VALUES,
      EVERYTHING,
      { number: 0, args: [one, 0n, 0n, 0n, 0n, 0n], arch: AUDIT_ARCH_X86_64, instructionPointer: 0n },
    ).kind === 'allow';
  return { right: candidates.find(holds)!, wrong: candidates.filter((one) => !holds(one)) };
}

function lets({ action }: Rule): boolean {
  return action === undefined || action.kind === 'allow';
}

function argumentsOf(rule: Rule): bigint[] {
  const args = [...NO_ARGUMENTS];
  for (const condition of rule.conditions) args[condition.index] = around(condition).right;
  return args;
}

for (const thread of THREAD_KINDS) {
  const profile = profiles[thread];

  test(`${thread}: the profile is valid, and says what each rule is for where it is not plain`, async (t) => {
    const text = readFileSync(join(directory, `${thread}.json`), 'utf8');
    t.deepEqual(await parseProfile(text, `${thread}.json`, thread), profile);
    t.deepEqual(profile.defaultAction, { kind: 'trap' });
    t.deepEqual(profile.filterAction, { kind: 'allow' });
    const { filter } = JSON.parse(text) as { filter: { syscall: string; args?: unknown[]; comment?: string }[] };
    t.deepEqual(
      filter.filter(({ comment }) => comment === undefined).map(({ syscall }) => syscall),
      [],
    );
  });

  test(`${thread}: of all system calls, those of the profile pass and all others are stopped`, (t) => {
    const rules = profile.rules.map((rule) => ({ number: rule.number, args: argumentsOf(rule) }));
    const passed = comparesWithKernel(t, profile, EVERYTHING, rules);
    t.is(passed, profile.rules.filter(lets).length, 'each rule lets its call through');
    const allowed = new Set(rules.map(({ number }) => number));
    const others = [...SYSTEM_CALLS.values()].filter((number) => !allowed.has(number) && !UNFILTERED.includes(number));
    t.true(others.length > 300);
    t.is(
      comparesWithKernel(
        t,
        profile,
        EVERYTHING,
        others.map((number) => ({ number })),
      ),
      0,
    );
    // Numbers that no call has, and those of x32.
    const nonsense = [400, 500, 511, 600, 1000, 0x3fff_ffff, 0x8000_0000, 0xffff_ffff];
    const x32 = [...allowed, 512, 520].map((number) => number + 0x4000_0000);
    t.is(
      comparesWithKernel(
        t,
        profile,
        EVERYTHING,
        [...nonsense, ...x32].map((number) => ({ number })),
      ),
      0,
    );
  });

  test(`${thread}: each pinned argument passes with its value, and is stopped with any other`, (t) => {
    const calls: Request[] = [];
    for (const rule of profile.rules) {
      const right = argumentsOf(rule);
      for (const condition of rule.conditions) {
        for (const value of around(condition).wrong) {
          calls.push({ number: rule.number, args: right.with(condition.index, value) });
        }
      }
      // What no condition names may be anything.
      const pinned = new Set(rule.conditions.map(({ index }) => index));
      calls.push({
        number: rule.number,
        args: right.map((value, index) => (pinned.has(index) ? value : ~value & 0xffffn)),
      });
    }
    comparesWithKernel(t, profile, EVERYTHING, calls);
    // A wrong value may be another rule's right one; most are nobody's.
    t.pass();
  });

  test(`${thread}: a call for a part that the machine does not have is stopped`, (t) => {
    const calls = profile.rules.map((rule) => ({ number: rule.number, args: argumentsOf(rule) }));
    for (const parts of [[], ...FEATURES.map((part) => [part])]) {
      const passed = comparesWithKernel(t, profile, new Set(parts), calls);
      const needed = profile.rules
        .filter(lets)
        .filter(({ when }) => when.length === 0 || when.some((part) => parts.includes(part)));
      t.true(passed >= needed.length);
    }
  });

  test(`${thread}: what could harm the host is in no profile`, (t) => {
    const calls = new Set(profile.rules.filter(lets).map(({ name }) => name));
    for (const name of FORBIDDEN) {
      t.not(systemCallNumber(name), undefined, name);
      t.false(calls.has(name), name);
    }
    for (const rule of profile.rules) {
      const pinned = rule.conditions.map(({ index }) => index);
      if (rule.name === 'ioctl') t.true(pinned.includes(1), 'ioctl: only commands that are named');
      if (rule.name === 'socket') t.true(pinned.includes(0), 'socket: only domains that are named');
      if (rule.name === 'fcntl' || rule.name === 'prctl') t.true(pinned.includes(1) || pinned.includes(0), rule.name);
      if (rule.name === 'kill' || rule.name === 'tgkill') t.true(pinned.includes(0), `${rule.name}: only itself`);
      if (rule.name === 'mmap' || rule.name === 'mprotect') {
        const [forbids] = rule.conditions.filter(({ index, op }) => index === 2 && op === 'masked_eq');
        t.like(forbids, { mask: { text: 'PROT_EXEC', low: 4, high: 0 }, value: { text: '0', low: 0, high: 0 } });
      }
      if (rule.name === 'unlink') t.deepEqual(rule.when, ['vsock'], 'unlink: only where there is a socket to remove');
      if (rule.name === 'clone') t.true(pinned.includes(0), 'clone: only threads');
    }
  });
}

test('a vCPU thread has five calls, each with its arguments pinned', (t) => {
  const pinned = Object.fromEntries(
    profiles.vcpu.rules.map(({ name, conditions }) => [
      name,
      conditions.map(({ index, type, op, value }) => `${index} ${type} ${op} ${value.text}`),
    ]),
  );
  t.deepEqual(pinned, {
    ioctl: ['0 dword eq $vcpu_fd', '1 dword eq KVM_RUN', '2 qword eq 0'],
    futex: ['0 qword eq $state_address', '1 dword eq FUTEX_WAIT_PRIVATE', '2 dword eq 1', '3 qword eq 0'],
    write: ['0 dword eq $wake_fd', '1 qword eq $one_address', '2 qword eq 8'],
    rt_sigreturn: [],
    exit: ['0 dword eq 0'],
  });
});

test('the JavaScript thread has at most 50 calls, the helpers fewer', (t) => {
  const count = (profile: Profile) => new Set(profile.rules.filter(lets).map(({ number }) => number)).size;
  t.true(count(profiles.main) <= 50, String(count(profiles.main)));
  t.true(count(profiles.runtime) < count(profiles.main));
});
