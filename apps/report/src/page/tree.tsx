import type { JSX } from "preact";
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import {
  type Frame,
  type PlacedEdge,
  type PlacedNode,
  size,
  type TreePicture,
} from "./tree-layout.js";
import { sideOfEdge, type Way } from "./way.js";

export interface TreeProps {
  readonly label: string;
  readonly picture: TreePicture;
  readonly way: Way | undefined;
  readonly provider: string | undefined;
  readonly client: string | undefined;
  /** Addresses that a search found. */
  readonly found: ReadonlySet<string>;
  readonly onChoose: (node: PlacedNode, as: "provider" | "client" | undefined) => void;
}

/** The PCI tree as a picture: an ARIA tree with one box in the tab order, walked with the arrow keys. */
export function Tree(props: TreeProps): JSX.Element {
  const { picture, way } = props;
  const [at, setAt] = useState<string | undefined>(undefined);
  const own = useRef<SVGSVGElement>(null);
  const moved = useRef(false);
  const current = picture.nodes.find((node) => node.key === at) ?? picture.nodes[0];
  const children = useMemo(() => childrenOf(picture), [picture]);
  // At once, not after the next paint: the next key goes to what has the focus.
  useLayoutEffect(() => {
    if (!moved.current) return;
    moved.current = false;
    own.current?.querySelector<SVGGElement>('[tabindex="0"]')?.focus();
  }, [at]);
  const go = (key: string | undefined): void => {
    if (key === undefined) return;
    moved.current = true;
    setAt(key);
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (current === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    const as = ({ p: "provider", c: "client" } as const)[event.key];
    if (event.key === "Enter" || event.key === " " || as !== undefined) {
      props.onChoose(current, as);
      event.preventDefault();
      return;
    }
    const next = nextKey(picture, children, current, event.key);
    if (next === undefined) return;
    event.preventDefault();
    go(next);
  };
  return (
    <svg
      ref={own}
      class="tree"
      role="tree"
      aria-label={props.label}
      width={picture.width}
      height={picture.height}
      viewBox={`0 0 ${String(picture.width)} ${String(picture.height)}`}
      onKeyDown={onKeyDown}
    >
      {picture.numa.map((frame) => (
        <NumaBar key={frame.key} frame={frame} />
      ))}
      {picture.switches.map((frame) => (
        <rect
          key={frame.key}
          class="switch"
          x={frame.x}
          y={frame.y}
          width={frame.width}
          height={frame.height}
          rx={6}
        />
      ))}
      <HostLink picture={picture} way={way} />
      {litLast(picture.edges, way).map((edge) => (
        <Edge
          key={edge.to.key}
          edge={edge}
          way={way}
          badge={edge.to.key === props.provider || edge.to.key === props.client}
        />
      ))}
      {picture.nodes.map((node) => (
        <Box
          key={node.key}
          node={node}
          focusable={node === current}
          hasChildren={children.has(node.key)}
          {...props}
          onFocus={() => {
            setAt(node.key);
          }}
        />
      ))}
    </svg>
  );
}

/** What is lit is drawn over what is not. */
function litLast(edges: readonly PlacedEdge[], way: Way | undefined): readonly PlacedEdge[] {
  if (way === undefined) return edges;
  const lit = (edge: PlacedEdge): boolean => sideOfEdge(way, edge) !== undefined;
  return [...edges.filter((edge) => !lit(edge)), ...edges.filter(lit)];
}

function childrenOf(picture: TreePicture): ReadonlyMap<string, readonly string[]> {
  const children = new Map<string, string[]>();
  for (const { from, to } of picture.edges) {
    const list = children.get(from.key);
    if (list === undefined) children.set(from.key, [to.key]);
    else list.push(to.key);
  }
  return children;
}

function nextKey(
  { nodes }: TreePicture,
  children: ReadonlyMap<string, readonly string[]>,
  current: PlacedNode,
  key: string,
): string | undefined {
  const index = nodes.indexOf(current);
  switch (key) {
    case "ArrowDown":
      return nodes[index + 1]?.key;
    case "ArrowUp":
      return nodes[index - 1]?.key;
    case "ArrowLeft":
      return current.parent;
    case "ArrowRight":
      return children.get(current.key)?.[0];
    case "Home":
      return nodes[0]?.key;
    case "End":
      return nodes.at(-1)?.key;
    default:
      return undefined;
  }
}

function NumaBar({ frame }: { readonly frame: Frame }): JSX.Element {
  const middle = frame.y + frame.height / 2;
  const x = frame.x + frame.width / 2;
  const fits = frame.height >= frame.label.length * 7;
  return (
    <g class="numa" aria-hidden="true">
      <rect x={frame.x} y={frame.y} width={frame.width} height={frame.height} rx={4} />
      <text
        x={x}
        y={middle}
        transform={fits ? `rotate(-90 ${String(x)} ${String(middle)})` : undefined}
      >
        {fits ? frame.label : frame.label.replace("NUMA ", "N")}
      </text>
    </g>
  );
}

/** Requests between two host bridges cross the CPU: a line outside the tree. */
function HostLink({
  picture,
  way,
}: {
  readonly picture: TreePicture;
  readonly way: Way | undefined;
}): JSX.Element | null {
  if (way === undefined || way.hosts.length < 2) return null;
  const hosts = picture.nodes.filter((node) => way.hosts.includes(node.key));
  const [a, b] = hosts;
  if (a === undefined || b === undefined) return null;
  const x = a.x - 7;
  const path = `M${String(a.x)} ${String(a.y)}H${String(x)}V${String(b.y)}H${String(b.x)}`;
  return <path class="edge lit-both" d={path} stroke-width={3} aria-hidden="true" />;
}

function Edge({
  edge,
  way,
  badge,
}: {
  readonly edge: PlacedEdge;
  readonly way: Way | undefined;
  /** The box at the lower end has a badge, and the label makes room for it. */
  readonly badge: boolean;
}): JSX.Element {
  const { from, to } = edge;
  const side = way === undefined ? undefined : sideOfEdge(way, edge);
  const x1 = from.x + from.width;
  const bend = to.x - (to.link === "" ? 11 : to.link.length * size.small + 14);
  const d = `M${String(x1)} ${String(from.y)}H${String(bend)}V${String(to.y)}H${String(to.x)}`;
  const width = to.link === "" ? 1.5 : 1 + Math.min(3, Math.log2(Math.max(1, to.lanes)) * 0.75);
  return (
    <g aria-hidden="true">
      <path
        class={`edge${side === undefined ? "" : ` lit-${side}`}${to.slowed ? " slowed" : ""}`}
        d={d}
        stroke-width={side === undefined ? width : Math.max(width, 2.6)}
      />
      {to.link !== "" && (
        <text class={`link${to.slowed ? " slowed" : ""}`} x={to.x - (badge ? 19 : 5)} y={to.y - 4}>
          {to.link}
        </text>
      )}
    </g>
  );
}

interface BoxProps extends TreeProps {
  readonly node: PlacedNode;
  readonly focusable: boolean;
  readonly hasChildren: boolean;
  readonly onFocus: () => void;
}

function Box(props: BoxProps): JSX.Element {
  const { node, way } = props;
  const side = way?.sides.get(node.key);
  const redirects = way?.redirects.has(node.key) === true;
  const classes = [
    "node",
    node.kind,
    `acs-${node.acsState}`,
    side === undefined ? "" : `lit-${side}`,
    redirects ? "turns" : "",
    props.found.has(node.key) ? "found" : "",
  ];
  const title = titleOf(props);
  return (
    <g
      class={classes.filter((name) => name !== "").join(" ")}
      role="treeitem"
      aria-level={node.level}
      aria-label={title}
      aria-selected={side !== undefined}
      aria-expanded={props.hasChildren ? true : undefined}
      tabindex={props.focusable ? 0 : -1}
      data-key={node.key}
      onFocus={props.onFocus}
      onClick={(event: MouseEvent) => {
        props.onChoose(node, event.shiftKey ? "provider" : undefined);
      }}
    >
      {/* The label above says it all. */}
      <g aria-hidden="true">
        <title>{title}</title>
        <BoxPicture {...props} />
      </g>
    </g>
  );
}

/** P, C, or = for a function that is both. */
function badgeOf({ node, provider, client }: BoxProps): string | undefined {
  if (node.key === provider) return node.key === client ? "=" : "P";
  return node.key === client ? "C" : undefined;
}

/** What a screen reader says. It begins with what the box shows, for those who speak to their computer (WCAG 2.5.3). */
function titleOf(props: BoxProps): string {
  const { node, way, provider, client } = props;
  const shown = [
    node.label,
    node.detail,
    node.kind === "port" ? node.acs : "",
    badgeOf(props) ?? "",
  ];
  const notes = [
    node.key === provider ? "the provider" : "",
    node.key === client ? "the client" : "",
    way?.redirects.has(node.key) === true ? "redirects this pair's requests up" : "",
    way?.meet === node.key ? "both meet here" : "",
  ].filter((note) => note !== "");
  return [shown.filter((text) => text !== "").join(" "), node.title, ...notes].join("; ");
}

function BoxPicture(props: BoxProps): JSX.Element {
  const { node, way } = props;
  const redirects = way?.redirects.has(node.key) === true;
  const badge = badgeOf(props);
  const y = node.y - size.box / 2;
  return (
    <>
      <rect
        class="hit"
        x={node.x - 3}
        y={node.y - size.row / 2}
        width={node.width + 6}
        height={size.row}
      />
      {node.kind !== "more" && (
        <rect
          class="box"
          x={node.x}
          y={y}
          width={node.width}
          height={size.box}
          rx={node.kind === "host" ? 10 : 4}
        />
      )}
      <text class="label" x={node.x + (node.kind === "host" ? 9 : 6)} y={node.y + 4}>
        {`${node.label} `}
      </text>
      {node.detail !== "" && (
        <text
          class="detail"
          x={
            node.x +
            node.label.length * (node.kind === "more" ? size.small : size.char) +
            (node.kind === "host" ? 16 : 12)
          }
          y={node.y + 4}
        >
          {`${node.detail} `}
        </text>
      )}
      {node.acs !== "" && node.kind === "port" && <AcsTag node={node} turns={redirects} />}
      {badge !== undefined && <Badge node={node} part={badge} />}
      {way?.meet === node.key && (
        <rect
          class="meet"
          x={node.x - 3}
          y={y - 3}
          width={node.width + 6}
          height={size.box + 6}
          rx={6}
        />
      )}
    </>
  );
}

function AcsTag({
  node,
  turns,
}: {
  readonly node: PlacedNode;
  readonly turns: boolean;
}): JSX.Element {
  const width = node.acs.length * size.small + 10;
  const x = node.x + node.width - width - 3;
  return (
    <g class={`acs acs-${node.acsState}${turns ? " turns" : ""}`}>
      <rect x={x} y={node.y - 7} width={width} height={14} rx={3} />
      <text x={x + width / 2} y={node.y + 3.5}>
        {`${node.acs} `}
      </text>
    </g>
  );
}

function Badge({ node, part }: { readonly node: PlacedNode; readonly part: string }): JSX.Element {
  return (
    <g class={`badge ${part}`}>
      <circle cx={node.x - 9} cy={node.y} r={8} />
      <text x={node.x - 9} y={node.y + 3.8}>
        {part}
      </text>
    </g>
  );
}
