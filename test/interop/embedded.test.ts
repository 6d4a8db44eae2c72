/** The quickest scenario with a server that has no NATS. */
import { embedded } from './places.ts';
import { interoperability } from './suite.ts';

interoperability('embedded', embedded, ['QoS 0, 1 and 2 both ways']);
