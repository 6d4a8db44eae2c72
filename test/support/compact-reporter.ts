/**
 * Test reporter for logs: one line a test file, failures in full, skipped tests with their reason, and at the end the
 * failed titles again and the totals (`# tests`, `# pass`, `# fail`).
 */
import { relative } from 'node:path';
import type { TestEvent } from 'node:test/reporters';
import { inspect } from 'node:util';

type Failure = Extract<TestEvent, { type: 'test:fail' }>['data'];

interface FileTally {
  file: string;
  tests: number;
  failed: number;
}

/** The events of node's runner as lines of text. */
export default async function* compactReporter(events: AsyncIterable<TestEvent>): AsyncGenerator<string, void> {
  const failures: string[] = [];
  let tally: FileTally | undefined;
  for await (const event of events) {
    if (event.type === 'test:pass' || event.type === 'test:fail') {
      const file = relative(process.cwd(), event.data.file ?? event.data.name);
      if (tally !== undefined && tally.file !== file) yield fileLine(tally);
      if (tally?.file !== file) tally = { file, tests: 0, failed: 0 };
      // A suite fails because of its tests, which are shown on their own, or by itself.
      if (event.data.details.type === 'suite' && !failsByItself(event)) continue;
      tally.tests += 1;
      // An expected failure (`todo`) is no failure.
      if (event.type === 'test:fail' && event.data.todo === undefined) {
        tally.failed += 1;
        failures.push(`${file}: ${event.data.name}`);
        yield failureText(file, event.data);
      } else if (event.data.skip !== undefined) {
        yield `skipped ${file}: ${event.data.name}${reason(event.data.skip)}\n`;
      }
    } else if (event.type === 'test:stdout' || event.type === 'test:stderr') {
      yield event.data.message;
    } else if (event.type === 'test:diagnostic' && event.data.nesting === 0) {
      if (tally !== undefined) yield fileLine(tally);
      tally = undefined;
      yield* failures.splice(0).map((failure) => `failed ${failure}\n`);
      yield `# ${event.data.message}\n`;
    }
  }
}

function failsByItself({ data, type }: TestEvent): boolean {
  return type === 'test:fail' && (data.details.error as { failureType?: unknown }).failureType !== 'subtestsFailed';
}

function fileLine({ file, tests, failed }: FileTally): string {
  return failed === 0 ? `ok ${file} (${tests})\n` : `not ok ${file} (${failed} of ${tests} failed)\n`;
}

function reason(skip: string | boolean): string {
  return typeof skip === 'string' && skip !== '' ? ` (${skip})` : '';
}

function failureText(file: string, { name, details }: Failure): string {
  const shown = inspect(details.error.cause ?? details.error).replaceAll('\n', '\n    ');
  return `✖ ${name} (${file}, ${Math.round(details.duration_ms)} ms)\n    ${shown}\n`;
}
