import { call, tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';

/** `internal_fields` of `uv_loop_t` (<uv.h>): data, active_handles, handle_queue and active_reqs come before. */
const INTERNAL_FIELDS = 40;
/** So much of `uv__loop_internal_fields_t` is searched, in bytes. */
const SEARCHED = 512;
/** `struct uv__iou` (libuv, src/unix/internal.h) ends with `size_t sqelen; int ringfd; …`; its 256 entries have 64 bytes each. */
const SQE_LENGTH = 256 * 64;
const NO_RING = -1;

/**
 * Takes libuv off io_uring, which it uses to change several descriptors of its epoll at once, and closes its rings.
 *
 * A ring is a way around seccomp: files can be opened and sockets made through it by memory alone. libuv makes its changes one by one
 * where it has no ring, and can only be told so at its start, by an environment that is not ours to set. So what it remembers is changed.
 *
 * @param rings the rings of all of Node's loops
 * @returns whether it could be done
 */
export function closeNodesRings(rings: readonly number[]): boolean {
  if (rings.length === 0) return true;
  const loop = call('uv_default_loop', 'find the event loop of Node');
  const memory = new NativeBuffer(SEARCHED);
  tryCall('memcpy', memory.address, loop + INTERNAL_FIELDS, 8);
  const fields = memory.getNumber64(0);
  tryCall('memcpy', memory.address, fields, SEARCHED);
  const words = new Int32Array(memory.buffer, memory.base, SEARCHED / 4);
  const places: number[] = [];
  for (let word = 2; word < words.length; word++) {
    const isBehindLength = words[word - 2] === SQE_LENGTH && words[word - 1] === 0;
    if (isBehindLength && rings.includes(words[word]!)) places.push(word * 4);
  }
  const [place] = places;
  const found = place !== undefined && places.length === 1;
  if (found) {
    memory.view.setInt32(0, NO_RING, true);
    tryCall('memcpy', fields + place, memory.address, 4);
    // The other loops of Node wait for the same descriptors for ever: they change nothing any more.
    for (const fd of rings) tryCall('close', fd);
  }
  memory.release();
  return found;
}
