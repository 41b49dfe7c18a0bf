import type { ObjectWatch, Scheduler } from "@peerbar/core";

/** A map that users and a device share. An explorer hears of every use; without one it is a plain map. */
export function watchedMap<K, V>(scheduler: Scheduler, name: string): Map<K, V> {
  const watch = scheduler.watch?.object(name);
  return watch === undefined ? new Map<K, V>() : new WatchedMap<K, V>(watch);
}

class WatchedMap<K, V> extends Map<K, V> {
  readonly #watch: ObjectWatch;

  constructor(watch: ObjectWatch) {
    super();
    this.#watch = watch;
  }

  override get size(): number {
    this.#watch.touch(false);
    return super.size;
  }

  override get(key: K): V | undefined {
    this.#watch.touch(false);
    return super.get(key);
  }

  override has(key: K): boolean {
    this.#watch.touch(false);
    return super.has(key);
  }

  override set(key: K, value: V): this {
    this.#watch.touch(true);
    return super.set(key, value);
  }

  override delete(key: K): boolean {
    this.#watch.touch(true);
    return super.delete(key);
  }

  override clear(): void {
    this.#watch.touch(true);
    super.clear();
  }

  override entries(): MapIterator<[K, V]> {
    this.#watch.touch(false);
    return super.entries();
  }

  override keys(): MapIterator<K> {
    this.#watch.touch(false);
    return super.keys();
  }

  override values(): MapIterator<V> {
    this.#watch.touch(false);
    return super.values();
  }

  override forEach(each: (value: V, key: K, map: Map<K, V>) => void, self?: unknown): void {
    this.#watch.touch(false);
    super.forEach(each, self);
  }

  override [Symbol.iterator](): MapIterator<[K, V]> {
    return this.entries();
  }
}
