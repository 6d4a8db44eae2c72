/**
 * Filters as a tree of levels: finds everything that matches a topic without looking at the rest. Walked in loops, as deep
 * as its filters are and never as deep as a topic is.
 */

interface TreeNode<T> {
  readonly children: Map<string, TreeNode<T>>;
  readonly values: Set<T>;
}

function makeNode<T>(): TreeNode<T> {
  return { children: new Map(), values: new Set() };
}

/** A set of (filter, value) pairs; filters and topics are well formed. */
export class FilterTree<T> {
  readonly #root = makeNode<T>();
  #size = 0;

  /** Values added and not removed. */
  get size(): number {
    return this.#size;
  }

  /** Does nothing when the value is on this filter already. */
  add(filter: string, value: T): void {
    let node = this.#root;
    for (const level of filter.split('/')) {
      let child = node.children.get(level);
      if (child === undefined) {
        child = makeNode();
        node.children.set(level, child);
      }
      node = child;
    }
    if (node.values.has(value)) return;
    node.values.add(value);
    this.#size++;
  }

  /** False when there is no such value on this filter. Branches that have become empty go. */
  remove(filter: string, value: T): boolean {
    const path: Array<{ node: TreeNode<T>; level: string }> = [];
    let node = this.#root;
    for (const level of filter.split('/')) {
      const child = node.children.get(level);
      if (child === undefined) return false;
      path.push({ node, level });
      node = child;
    }
    if (!node.values.delete(value)) return false;
    this.#size--;
    for (const { level, node: parent } of path.reverse()) {
      const child = parent.children.get(level);
      if (child === undefined || child.values.size > 0 || child.children.size > 0) break;
      parent.children.delete(level);
    }
    return true;
  }

  /** Calls `visit` for every value whose filter matches; wildcards at the first level leave out topics that start with `$`. [MQTT5 4.7.2-1] [MQTT311 4.7.2-1] */
  match(topic: string, visit: (value: T) => void): void {
    const levels = topic.split('/');
    let nodes: Array<TreeNode<T>> = [this.#root];
    for (const [depth, level] of levels.entries()) {
      const isHidden = depth === 0 && level.startsWith('$');
      const next: Array<TreeNode<T>> = [];
      for (const { children } of nodes) {
        if (!isHidden) visitAll(children.get('#'), visit);
        push(next, children.get(level));
        if (!isHidden) push(next, children.get('+'));
      }
      if (next.length === 0) return;
      nodes = next;
    }
    for (const { children, values } of nodes) {
      for (const value of values) visit(value);
      visitAll(children.get('#'), visit);
    }
  }
}

function push<T>(nodes: Array<TreeNode<T>>, node: TreeNode<T> | undefined): void {
  if (node !== undefined) nodes.push(node);
}

function visitAll<T>(node: TreeNode<T> | undefined, visit: (value: T) => void): void {
  if (node !== undefined) for (const value of node.values) visit(value);
}
