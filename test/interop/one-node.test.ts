/** All libraries with one node. */
import { oneNode } from './places.ts';
import { interoperability } from './suite.ts';

interoperability('one node', oneNode);
