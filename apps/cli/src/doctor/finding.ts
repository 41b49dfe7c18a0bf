/**
 * `ok`: as it should be. `note`: worth knowing, in nobody's way. `warn`: some way of sharing is lost or slower. `fail`: BARs cannot be
 * shared as it is. `unknown`: cannot be told without privilege or data.
 */
export type Status = "ok" | "note" | "warn" | "fail" | "unknown";

interface Common {
  /** Stable name of the check: `config.CONFIG_IOMMUFD`. */
  readonly id: string;
  readonly what: string;
}

/** One thing looked at. All but `ok` and `note` name a fix. */
export type Finding =
  | (Common & { readonly status: "ok" | "note"; readonly fix?: string })
  | (Common & { readonly status: "warn" | "fail" | "unknown"; readonly fix: string });
