/**
 * The users that SCRAM knows. Asked for a name that it does not know, it makes up credentials that nobody can meet and that stay the
 * same, so that an exchange tells nobody which names exist: on all nodes whose file has the same secret, else for as long as the process
 * runs. scram-file.ts fills it.
 *
 * The keys of users are no such secret. Who guesses a password computes them with the salt that anybody is told: a made-up salt that
 * depends on them would say whether the guess is right.
 */
import { randomBytes } from 'node:crypto';
import {
  DEFAULT_ITERATIONS,
  DEFAULT_SALT_BYTES,
  hmac,
  type ScramCredentials,
  SECRET_BYTES,
} from './scram-credentials.ts';

/** What a client sees of credentials beside the bytes of the salt. */
interface Shape {
  readonly iterations: number;
  readonly saltBytes: number;
}

const defaultShape: Shape = { iterations: DEFAULT_ITERATIONS, saltBytes: DEFAULT_SALT_BYTES };

export class ScramUsers {
  readonly #processSecret = randomBytes(SECRET_BYTES);
  #secret: Buffer;
  #users: ReadonlyMap<string, ScramCredentials>;
  #shapes: readonly Shape[];

  constructor(users: ReadonlyMap<string, ScramCredentials>, secret?: Buffer) {
    this.#secret = secret ?? this.#processSecret;
    this.#users = users;
    this.#shapes = shapesOf(users);
  }

  /** Whether unknown names get the same credentials elsewhere, and after a restart. */
  get hasSecret(): boolean {
    return this.#secret !== this.#processSecret;
  }

  get count(): number {
    return this.#users.size;
  }

  replace(users: ReadonlyMap<string, ScramCredentials>, secret?: Buffer): void {
    this.#secret = secret ?? this.#processSecret;
    this.#users = users;
    this.#shapes = shapesOf(users);
  }

  /** Of a prepared name, known or not; the work is the same for both. */
  credentialsOf(name: string): ScramCredentials {
    const decoy = this.#decoy(name);
    return this.#users.get(name) ?? decoy;
  }

  #decoy(name: string): ScramCredentials {
    const derive = (what: string): Buffer => hmac(this.#secret, `${what}:${name}`);
    const place = derive('shape').readUInt32BE() / 2 ** 32;
    const { iterations, saltBytes } = this.#shapes[Math.floor(place * this.#shapes.length)] ?? defaultShape;
    // With another shape comes another salt, as for a user with a new password.
    const shape = `${iterations} ${saltBytes}`;
    const salt = Buffer.concat([derive(`salt ${shape}`), derive(`more salt ${shape}`)]).subarray(0, saltBytes);
    return { iterations, salt, storedKey: derive('stored key'), serverKey: derive('server key') };
  }
}

/**
 * One per user: made-up credentials look like those of some user. Sorted, so that neither the order of the users counts nor one more of
 * them, but for the few names whose place is close to where a shape ends.
 */
function shapesOf(users: ReadonlyMap<string, ScramCredentials>): readonly Shape[] {
  const shapes = [...users.values()].map(({ iterations, salt }) => ({ iterations, saltBytes: salt.length }));
  if (shapes.length === 0) return [defaultShape];
  return shapes.sort((a, b) => a.iterations - b.iterations || a.saltBytes - b.saltBytes);
}
