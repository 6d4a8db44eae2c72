/** Bytes that a piece of work allocates on the heap, by whose code allocates them, what is garbage again included: V8's sampling heap profiler. */
import { type HeapProfiler, Session } from 'node:inspector/promises';

/** `own`: code under src, and what Node does for it; `libraries`: node_modules likewise; `other`: the rest, such as the test itself. */
export interface Allocations {
  readonly own: number;
  readonly libraries: number;
  readonly other: number;
}

/** Average distance of samples in bytes: of 5 MB the error is a hundredth. */
const SAMPLING_BYTES = 512;

export async function allocationsOf(work: () => Promise<void>): Promise<Allocations> {
  const session = new Session();
  session.connect();
  try {
    const all = { includeObjectsCollectedByMajorGC: true, includeObjectsCollectedByMinorGC: true };
    await session.post('HeapProfiler.startSampling', { samplingInterval: SAMPLING_BYTES, ...all });
    await work();
    const { profile } = await session.post('HeapProfiler.stopSampling');
    const sums = { own: 0, libraries: 0, other: 0 };
    addTo(sums, profile.head, 'other');
    return sums;
  } finally {
    session.disconnect();
  }
}

/** Node's own functions and V8's belong to whoever calls them. */
function addTo(
  sums: Record<keyof Allocations, number>,
  node: HeapProfiler.SamplingHeapProfileNode,
  caller: keyof Allocations,
): void {
  const owner = ownerOf(node.callFrame.url) ?? caller;
  sums[owner] += node.selfSize;
  for (const child of node.children) addTo(sums, child, owner);
}

function ownerOf(url: string): keyof Allocations | undefined {
  if (url === '' || url.startsWith('node:')) return undefined;
  if (url.includes('/node_modules/')) return 'libraries';
  return url.includes('/src/') ? 'own' : 'other';
}
