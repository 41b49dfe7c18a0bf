export { MemoryEngine } from "./engine.js";
export type { MemoryExporterOptions } from "./memory-exporter.js";
export { MemoryBuffer, MemoryExporter } from "./memory-exporter.js";
export { PhysicalMemory } from "./physical-memory.js";
export { SimpleAddressSpace } from "./simple-address-space.js";
export type { SimpleImportMode } from "./simple-importer.js";
export { SimpleImport, SimpleImporter } from "./simple-importer.js";
export type { SimpleFault } from "./simple-iommu.js";
export { SimpleIommu, SimpleMapper, SimplePort } from "./simple-iommu.js";
