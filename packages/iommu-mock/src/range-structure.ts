import { META, NEXT, PREV, RangeNodes, UP, WIDTH } from "./range-nodes.js";

/** Splits, merges and removes the nodes of a {@link RangeTree}. */
export class RangeStructure extends RangeNodes {
  protected openSlot(leaf: number, at: number): void {
    const lows = this.lows;
    const lengths = this.lengths;
    const base = leaf * WIDTH;
    const count = this.meta[leaf * META] ?? 0;
    for (let i = base + count; i > base + at; i--) {
      lows[i] = lows[i - 1] ?? 0;
      lengths[i] = lengths[i - 1] ?? 0;
    }
    if (this.values.length > 0) this.values.copyWithin(base + at + 1, base + at, base + count);
    this.meta[leaf * META] = count + 1;
  }

  /** Moves the items from `keep` on to a new leaf on the right. */
  protected splitLeaf(leaf: number, keep: number): number {
    const right = this.takeLeaf();
    const count = this.meta[leaf * META] ?? 0;
    this.lows.copyWithin(right * WIDTH, leaf * WIDTH + keep, leaf * WIDTH + count);
    this.lengths.copyWithin(right * WIDTH, leaf * WIDTH + keep, leaf * WIDTH + count);
    if (this.values.length > 0) {
      this.values.copyWithin(right * WIDTH, leaf * WIDTH + keep, leaf * WIDTH + count);
    }
    this.meta[leaf * META] = keep;
    this.meta[right * META] = count - keep;
    const next = this.meta[leaf * META + NEXT] ?? 0;
    this.meta[right * META + NEXT] = next;
    this.meta[right * META + PREV] = leaf;
    this.meta[leaf * META + NEXT] = right;
    if (next !== 0) this.meta[next * META + PREV] = right;
    this.bound.copyWithin(right * 2, leaf * 2, leaf * 2 + 2);
    const up = this.meta[leaf * META + UP] ?? 0;
    const parent = this.adopt(up, leaf, right, this.lows[right * WIDTH] ?? 0, 0);
    this.meta[right * META + UP] = parent;
    return right;
  }

  /** Puts `right` after `left` below `up`; makes room and a new root where needed. Returns the parent of `right`. */
  protected adopt(up: number, left: number, right: number, key: number, height: number): number {
    let parent = up;
    if (parent === 0) {
      parent = this.takeInner();
      this.children[parent * WIDTH] = left;
      this.keys[parent * WIDTH] = 0;
      this.childCount[parent] = 1;
      this.setUp(left, height, parent);
      this.gaps[parent * WIDTH] = this.largestBelow(left, height);
      this.root = parent;
      this.height = height + 1;
    } else if (this.childCount[parent] === WIDTH) {
      const half = this.splitInner(parent, height + 1);
      if ((this.keys[half * WIDTH] ?? 0) <= key) parent = half;
    }
    const base = parent * WIDTH;
    const count = this.childCount[parent] ?? 0;
    const at = this.indexIn(parent, left) + 1;
    for (let i = base + count; i > base + at; i--) {
      this.children[i] = this.children[i - 1] ?? 0;
      this.keys[i] = this.keys[i - 1] ?? 0;
      this.gaps[i] = this.gaps[i - 1] ?? 0;
    }
    this.children[base + at] = right;
    this.keys[base + at] = key;
    this.gaps[base + at] = this.largestBelow(right, height);
    this.childCount[parent] = count + 1;
    return parent;
  }

  protected splitInner(node: number, height: number): number {
    const right = this.takeInner();
    const half = WIDTH / 2;
    const from = node * WIDTH + half;
    const to = right * WIDTH;
    for (let i = 0; i < half; i++) {
      const child = this.children[from + i] ?? 0;
      this.children[to + i] = child;
      this.keys[to + i] = this.keys[from + i] ?? 0;
      this.gaps[to + i] = this.gaps[from + i] ?? 0;
      this.setUp(child, height - 1, right);
    }
    this.childCount[node] = half;
    this.childCount[right] = half;
    const up = this.innerUp[node] ?? 0;
    const parent = this.adopt(up, node, right, this.keys[to] ?? 0, height);
    this.innerUp[right] = parent;
    this.refreshInner(node);
    this.refreshInner(right);
    return right;
  }

  /** Appends the next leaf's items where both share a parent and fit comfortably. */
  protected mergeNext(leaf: number): boolean {
    const next = this.meta[leaf * META + NEXT] ?? 0;
    const count = this.meta[leaf * META] ?? 0;
    const more = this.meta[next * META] ?? 0;
    if (
      next === 0 ||
      this.meta[next * META + UP] !== this.meta[leaf * META + UP] ||
      count + more > (WIDTH * 3) / 4
    ) {
      return false;
    }
    const to = leaf * WIDTH + count;
    this.lows.copyWithin(to, next * WIDTH, next * WIDTH + more);
    this.lengths.copyWithin(to, next * WIDTH, next * WIDTH + more);
    if (this.values.length > 0) this.values.copyWithin(to, next * WIDTH, next * WIDTH + more);
    this.meta[leaf * META] = count + more;
    this.dropLeaf(next);
    return true;
  }

  protected dropLeaf(leaf: number): void {
    const prev = this.meta[leaf * META + PREV] ?? 0;
    const next = this.meta[leaf * META + NEXT] ?? 0;
    if (prev !== 0) this.meta[prev * META + NEXT] = next;
    if (next !== 0) this.meta[next * META + PREV] = prev;
    const up = this.meta[leaf * META + UP] ?? 0;
    this.meta[leaf * META] = 0;
    this.meta[leaf * META + UP] = 0;
    this.meta[leaf * META + NEXT] = this.freeLeaf;
    this.freeLeaf = leaf;
    this.orphan(up, leaf);
  }

  /** Takes a child out of its parent; an inner node without children goes too, and so does a root with one. */
  protected orphan(from: number, child: number): void {
    let up = from;
    let node = child;
    for (;;) {
      const base = up * WIDTH;
      const count = (this.childCount[up] ?? 0) - 1;
      for (let i = base + this.indexIn(up, node); i < base + count; i++) {
        this.children[i] = this.children[i + 1] ?? 0;
        this.keys[i] = this.keys[i + 1] ?? 0;
        this.gaps[i] = this.gaps[i + 1] ?? 0;
      }
      this.childCount[up] = count;
      if (count > 0) break;
      node = up;
      up = this.innerUp[node] ?? 0;
      this.giveInner(node);
    }
    this.refreshInner(up);
    while (this.height > 0 && this.childCount[this.root] === 1) {
      const only = this.children[this.root * WIDTH] ?? 0;
      this.giveInner(this.root);
      this.root = only;
      this.height -= 1;
      this.setUp(only, this.height, 0);
    }
  }
}
