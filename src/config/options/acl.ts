/** Options of what clients may publish and subscribe to. */
import { choice, file } from '../formats.ts';
import { type Option, option } from './option.ts';

export const acl: readonly Option[] = [
  option(
    'acl.file',
    'ACL_FILE',
    file,
    '',
    'YAML file with rules of who may publish and subscribe to what (docs/security.md); read again when it changes.',
  ),
  option(
    'acl.noMatch',
    'ACL_NO_MATCH',
    choice('auto', 'allow', 'deny'),
    'auto',
    'What no rule fits; auto = deny with `acl.file` and for clients whose credentials bring rules, else allow.',
  ),
];
