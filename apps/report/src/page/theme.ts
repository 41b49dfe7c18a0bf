import { useEffect, useState } from "preact/hooks";

export type Theme = "auto" | "light" | "dark";

/** Light, dark, or as the system has it; on paper always light. `painted` changes whenever colours do. */
export function useTheme(): {
  readonly chosen: Theme;
  readonly painted: string;
  readonly next: () => void;
} {
  const [chosen, setChosen] = useState<Theme>("auto");
  const [system, setSystem] = useState(
    () => globalThis.matchMedia("(prefers-color-scheme: dark)").matches,
  );
  const [paper, setPaper] = useState(false);
  useEffect(() => {
    const dark = globalThis.matchMedia("(prefers-color-scheme: dark)");
    const print = globalThis.matchMedia("print");
    const look = (): void => {
      setSystem(dark.matches);
      setPaper(print.matches);
    };
    dark.addEventListener("change", look);
    print.addEventListener("change", look);
    return () => {
      dark.removeEventListener("change", look);
      print.removeEventListener("change", look);
    };
  }, []);
  const root = document.documentElement;
  if (chosen === "auto") delete root.dataset.theme;
  else root.dataset.theme = chosen;
  return {
    chosen,
    painted: `${chosen} ${String(system)} ${String(paper)}`,
    next: () => {
      const order: readonly Theme[] = ["auto", "light", "dark"];
      setChosen(order[(order.indexOf(chosen) + 1) % order.length] ?? "auto");
    },
  };
}
