/** All libraries with three nodes behind a balancer. */
import { threeNodes } from './places.ts';
import { interoperability } from './suite.ts';

interoperability('three nodes behind a balancer', threeNodes);
