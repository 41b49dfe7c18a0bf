import type { UserProjectConfigExport } from "vitest/config";

export declare function project(name: string): UserProjectConfigExport;
