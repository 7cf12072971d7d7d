import test from 'ava';
import fc from 'fast-check';
import { type GuestSocket, GuestSockets } from '../../helpers/virtio/guest-sockets.ts';
import type { HostEnd } from '../../helpers/virtio/memory-streams.ts';
import { vsockFixture } from '../../helpers/virtio/vsock-driver.ts';

const SEND = 2;
const BOTH = 3;

/** Bytes of which any two pieces differ. */
function pattern(length: number, seed: number): Buffer {
  const data = Buffer.alloc(length);
  for (let i = 0; i < length; i++) data[i] = (i * 7 + (i >> 8) * 13 + seed) & 0xff;
  return data;
}

interface Pair {
  readonly socket: GuestSocket;
  readonly end: HostEnd;
  /** All that each side has written. */
  toHost: Buffer;
  toGuest: Buffer;
}

const action = fc.oneof(
  fc.record({ do: fc.constant('guest writes' as const), pair: fc.nat(), length: fc.nat({ max: 100_000 }) }),
  fc.record({ do: fc.constant('host writes' as const), pair: fc.nat(), length: fc.nat({ max: 100_000 }) }),
  fc.record({ do: fc.constant('host reads' as const), pair: fc.nat(), length: fc.nat({ max: 50_000 }) }),
  fc.record({ do: fc.constant('guest reads' as const) }),
  fc.record({ do: fc.constant('run' as const), times: fc.nat({ max: 5 }) }),
  fc.record({
    do: fc.constant('buffers' as const),
    pieces: fc.array(fc.integer({ min: 1, max: 5000 }), { maxLength: 6 }),
  }),
  fc.record({ do: fc.constant('packets' as const), size: fc.integer({ min: 1000, max: 70_000 }) }),
);

test('whatever the pace of either side, all bytes arrive, in order, and no buffer is overrun', (t) => {
  fc.assert(
    fc.property(
      fc.array(action, { maxLength: 40 }),
      fc.integer({ min: 1, max: 4 }),
      fc.constantFrom(1, 100, 4096, 0x1_0000, 0x4_0000),
      fc.constantFrom(1, 2, 3, 16),
      (actions, count, bufferSize, capacity) => {
        const { driver, streams, device } = vsockFixture('mmio', 64 << 20);
        streams.capacity = capacity;
        driver.bringUp(4);
        const guest = new GuestSockets(driver);
        guest.bufferSize = Math.max(bufferSize, 16);
        guest.greedy = false;
        streams.appetite = 0;
        const pairs: Pair[] = [];
        for (let i = 0; i < count; i++) {
          streams.ports.set(52, true);
          if (i % 2 === 0) guest.connect(52);
          else streams.connectToGuest(80);
          while (guest.run());
          const pair = {
            socket: guest.all[i]!,
            end: streams.ends[i]!,
            toHost: Buffer.alloc(0),
            toGuest: Buffer.alloc(0),
          };
          t.is(pair.socket.state, 'connected');
          pairs.push(pair);
        }
        const of = (index: number): Pair => pairs[index % pairs.length]!;
        for (const [step, each] of actions.entries()) {
          switch (each.do) {
            case 'guest writes': {
              const pair = of(each.pair);
              const data = pattern(each.length, step);
              pair.toHost = Buffer.concat([pair.toHost, data]);
              guest.write(pair.socket, data);
              break;
            }
            case 'host writes': {
              const pair = of(each.pair);
              const data = pattern(each.length, step);
              pair.toGuest = Buffer.concat([pair.toGuest, data]);
              streams.write(pair.end, data);
              break;
            }
            case 'host reads':
              streams.read(of(each.pair).end, each.length);
              break;
            case 'guest reads':
              guest.takeAll();
              break;
            case 'run':
              for (let i = 0; i < each.times; i++) guest.run();
              break;
            case 'buffers':
              driver.bufferLengths = each.pieces.length === 0 ? [4000] : [...each.pieces, 50];
              driver.giveBuffers(1);
              break;
            case 'packets':
              guest.packetSize = each.size;
              break;
          }
        }
        // Everybody reads to the end, and closes: in half, or at once.
        for (const [index, { socket, end }] of pairs.entries()) {
          streams.read(end);
          guest.shutDown(socket, index % 2 === 0 ? SEND : BOTH);
        }
        for (let busy = true; busy; ) {
          busy = guest.run();
          guest.takeAll();
        }
        for (const [index, { socket, end, toHost, toGuest }] of pairs.entries()) {
          if (index % 2 === 0) {
            streams.endWriting(end);
            for (let busy = true; busy; ) {
              busy = guest.run();
              guest.takeAll();
            }
            t.true(end.endOfInput && socket.endOfInput);
            streams.closeHost(end);
            while (guest.run());
          }
          t.is(Buffer.compare(end.fromGuest, toHost), 0);
          // Who closes at once need not get what was still under way.
          const arrived = index % 2 === 0 ? toGuest : toGuest.subarray(0, socket.incoming.length);
          t.is(Buffer.compare(socket.incoming, arrived), 0);
          t.is(socket.state, 'closed');
          t.false(socket.aborted && index % 2 === 1);
        }
        t.is(device.connections, 0);
        t.is(streams.openStreams, 0);
      },
    ),
    { numRuns: 120, includeErrorInReport: true },
  );
});
