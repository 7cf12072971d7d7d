import { execFileSync } from 'node:child_process';
import { closeSync, openSync, truncateSync } from 'node:fs';
import { MIB } from '../../../lib/memory/layout.ts';

const IMAGE_SIZE = 8 * MIB;
const SECTOR = 512;
/** Where sfdisk(8) puts the first partition. */
const PARTITION_START = 1 * MIB;
/** At the end a GPT has its copy. */
const PARTITION_SIZE = IMAGE_SIZE - 2 * MIB;

/** An image with an ext4. @param content a folder with what is in it; undefined: it is empty */
export function ext4Image(path: string, content?: string): void {
  closeSync(openSync(path, 'w'));
  truncateSync(path, IMAGE_SIZE);
  execFileSync('mkfs.ext4', ['-q', '-F', ...populated(content), path]);
}

/** An image with a GUID partition table, and an ext4 in its only partition. @param uuid the partition's */
export function partitionedImage(path: string, uuid: string, content: string): void {
  closeSync(openSync(path, 'w'));
  truncateSync(path, IMAGE_SIZE);
  const [start, size] = [PARTITION_START / SECTOR, PARTITION_SIZE / SECTOR];
  const script = `label: gpt\nstart=${start}, size=${size}, type=linux, uuid=${uuid}\n`;
  execFileSync('sfdisk', ['--quiet', path], { input: script });
  const place = ['-E', `offset=${PARTITION_START}`, path, `${PARTITION_SIZE / 1024}k`];
  execFileSync('mkfs.ext4', ['-q', '-F', ...populated(content), ...place]);
}

function populated(content: string | undefined): string[] {
  return content === undefined ? [] : ['-d', content];
}

/** A file in an image with an ext4, after the journal that a guest left behind was replayed. */
export function fileIn(image: string, file: string): Buffer {
  try {
    execFileSync('e2fsck', ['-p', image], { stdio: 'ignore' });
  } catch (error) {
    // 1: it corrected something, as replaying a journal counts.
    if ((error as { status: number }).status !== 1) throw error;
  }
  return execFileSync('debugfs', ['-R', `cat ${file}`, image], { stdio: ['ignore', 'pipe', 'ignore'] });
}
