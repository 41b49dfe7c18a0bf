import { DmaBufError } from "@peerbar/core";

/** Kinds of object that have an id (drivers/iommu/iommufd/iommufd_private.h, `enum iommufd_object_type`). */
export type ObjectType = "ioas" | "hwpt" | "device" | "access";

/** What an id of one iommufd stands for. */
export interface IommufdObject {
  readonly type: ObjectType;
  /** u32, at least 1; free to be used again once the object is gone. */
  readonly id: number;
}

/** The ids of one iommufd: one space for all kinds, the lowest free number first (iommufd R2). */
export class ObjectTable {
  readonly #objects = new Map<number, IommufdObject>();
  #lowest = 1;

  /** Makes an object with the next id and enters it. */
  add<T extends IommufdObject>(make: (id: number) => T): T {
    while (this.#objects.has(this.#lowest)) this.#lowest += 1;
    const object = make(this.#lowest);
    this.#objects.set(object.id, object);
    return object;
  }

  /** @throws DmaBufError ENOENT for an unknown id, and for one of another kind (iommufd R2). */
  get(id: number, type?: ObjectType): IommufdObject {
    const object = this.#objects.get(id);
    if (object === undefined || (type !== undefined && object.type !== type)) {
      const found = object === undefined ? "nothing" : `a ${object.type}`;
      throw new DmaBufError("ENOENT", "iommufd.object", `id ${id} is ${found}`, {
        hint: type === undefined ? "use an id this iommufd gave out" : `use the id of a ${type}`,
        rule: "iommufd R2",
      });
    }
    return object;
  }

  remove(object: IommufdObject): void {
    if (this.#objects.get(object.id) !== object) return;
    this.#objects.delete(object.id);
    if (object.id < this.#lowest) this.#lowest = object.id;
  }

  get size(): number {
    return this.#objects.size;
  }

  [Symbol.iterator](): Iterator<IommufdObject> {
    return this.#objects.values();
  }
}
