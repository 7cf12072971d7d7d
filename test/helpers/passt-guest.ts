/**
 * A guest behind a passt of its own, as a program: started without privileges by the test of passt. It asks the host (UDP to the gateway's
 * address, which is the host's loopback), answers what comes through a forwarded port, and prints what it saw as JSON.
 */
import { EventLoop } from '../../lib/loop/event-loop.ts';
import type { HostMemory } from '../../lib/memory/host-memory.ts';
import { startPasst } from '../../lib/net/passt.ts';
import { StreamBackend } from '../../lib/net/stream.ts';
import { arpReply, completed, udpFrame } from './frames.ts';
import { NetGuest, runUntil } from './virtio/net-guest.ts';

const [address, gateway, hostPort, forwarded] = process.argv.slice(2) as [string, string, string, string];
const MAC = '06:00:ac:10:00:02';
const loop = new EventLoop();
const warnings: string[] = [];
const warn = (line: string): void => {
  warnings.push(line);
};
let backend: StreamBackend | undefined;
const passt = startPasst({ tcpPorts: [], udpPorts: [forwarded], mtu: 1400 }, '/x');
await passt.ready();
const guest = new NetGuest((_, memory: HostMemory) => {
  const { fd } = passt;
  backend = new StreamBackend(loop, memory, fd, { name: 'it', warn });
  return backend;
});
const payloadOf = (frame: Uint8Array): string => Buffer.from(frame.subarray(42)).toString();
const isArp = (frame: Uint8Array): boolean => frame[12] === 8 && frame[13] === 6 && frame[21] === 1;
const isUdp = (frame: Uint8Array): boolean => frame[12] === 8 && frame[13] === 0 && frame[23] === 17;
const seen: string[] = [];
let port = 0;
let asked = 0;
const route = { from: MAC, to: 'ff:ff:ff:ff:ff:ff', source: address, target: gateway };
/** A datagram may get lost before passt has read where it is: asked again until answered. */
const step = (): void => {
  for (const frame of guest.frames.splice(0)) {
    if (isArp(frame)) guest.driver.send(arpReply(frame, MAC));
    if (!isUdp(frame)) continue;
    const text = payloadOf(frame);
    if (!seen.includes(text)) seen.push(text);
    port = (frame[34]! << 8) | frame[35]!;
    if (text === 'question') {
      const answer = { ...route, port, sourcePort: (frame[36]! << 8) | frame[37]!, payload: Buffer.from('answer') };
      guest.driver.send(completed(udpFrame(answer)));
    }
  }
  const now = Date.now();
  if (now - asked > 200 && !seen.includes('done')) {
    asked = now;
    guest.driver.send(completed(udpFrame({ ...route, port: Number(hostPort), payload: Buffer.from('hello') })));
  }
};
const done = (): boolean => seen.includes('done') || warnings.length > 0;
await runUntil(loop, [guest], done, step).catch((error: Error) => warnings.push(error.message));
backend?.close();
process.stdout.write(JSON.stringify({ uid: process.getuid?.(), seen, warnings }));
