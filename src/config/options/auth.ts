/** Options of who may connect, and what they may do. */
import { boolean, file } from '../formats.ts';
import { type Option, option } from './option.ts';

export const auth: readonly Option[] = [
  option(
    'auth.clientIdsBelongToUsers',
    'AUTH_CLIENT_IDS_BELONG_TO_USERS',
    boolean,
    true,
    'Refuse a client whose id another user has, connected or with a stored session; clients without a user do not keep theirs.',
  ),
  option(
    'auth.scram.file',
    'AUTH_SCRAM_FILE',
    file,
    '',
    'File with the users of SCRAM-SHA-256 (MQTT 5), one per line as `supermq scram-user` makes them; read again when it changes.',
  ),
  option(
    'auth.scram.required',
    'AUTH_SCRAM_REQUIRED',
    boolean,
    false,
    'Refuse clients that do not authenticate with SCRAM-SHA-256, which includes all of MQTT 3.x.',
  ),
];
