import type { PciTopology } from "@peerbar/p2pdma";
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { countClasses, type Filter, type MemberClass, memberClasses } from "./machine.js";

const filterNames: Readonly<Record<MemberClass, string>> = {
  gpu: "GPUs",
  nic: "NICs",
  nvme: "NVMe",
  storage: "other storage",
  other: "others",
};

/** Which classes of functions the matrix compares, with how many there are. */
export function Filters({
  topology,
  filter,
  onFilter,
}: {
  readonly topology: PciTopology;
  readonly filter: Filter;
  readonly onFilter: (filter: Filter) => void;
}): JSX.Element {
  const counts = useMemo(() => countClasses(topology), [topology]);
  return (
    <fieldset class="filters">
      <legend class="hidden">functions in the matrix</legend>
      {memberClasses
        .filter((name) => counts.has(name))
        .map((name) => (
          <label key={name}>
            <input
              type="checkbox"
              checked={filter.classes.includes(name)}
              onChange={() => {
                const classes = memberClasses.filter(
                  (one) => filter.classes.includes(one) !== (one === name),
                );
                onFilter({ ...filter, classes });
              }}
            />
            <span>
              {filterNames[name]} <small>{String(counts.get(name))}</small>
            </span>
          </label>
        ))}
      {counts.has("vf") && (
        <label>
          <input
            type="checkbox"
            checked={filter.vfs}
            onChange={() => {
              onFilter({ ...filter, vfs: !filter.vfs });
            }}
          />
          <span>
            virtual functions <small>{String(counts.get("vf"))}</small>
          </span>
        </label>
      )}
    </fieldset>
  );
}
