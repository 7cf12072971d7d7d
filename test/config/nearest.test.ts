import test from 'ava';
import { nearest } from '../../lib/config/nearest.ts';

const KEYS = ['vcpu_count', 'mem_size_mib', 'smt', 'cpu_template', 'track_dirty_pages', 'huge_pages'];

test('slips, other spellings, and beginnings find the name that was meant', (t) => {
  const meant: Record<string, string> = {
    vcpu_cuont: 'vcpu_count',
    vcpuCount: 'vcpu_count',
    'VCPU-COUNT': 'vcpu_count',
    vcpus: 'vcpu_count',
    mem_size: 'mem_size_mib',
    mem: 'mem_size_mib',
    hugepages: 'huge_pages',
    huge: 'huge_pages',
    stm: 'smt',
  };
  for (const [word, name] of Object.entries(meant)) t.is(nearest(word, KEYS), name, word);
});

test('another word finds nothing', (t) => {
  for (const word of ['', 'x', 'kernel', 'drives', 'nonsense', 'page']) t.is(nearest(word, KEYS), undefined, word);
  t.is(nearest('a', ['b']), undefined);
  t.is(nearest('word', []), undefined);
});

test('the nearer of two is taken', (t) => {
  t.is(nearest('initrd_pat', ['initrd_path', 'initrd_pack']), 'initrd_path');
  // Two that begin alike are no answer.
  t.is(nearest('kernel', ['kernel_image_path', 'kernel_args_path']), undefined);
});
