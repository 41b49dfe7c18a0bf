/**
 * The kernel's own test door of iommufd (CONFIG_IOMMUFD_TEST): a device, page tables and an exporter that exist in software alone. With it
 * the importer is driven on a real kernel without any hardware.
 */

export { SelftestDevice } from "./selftest/selftest-device.js";
export { SelftestExporter } from "./selftest/selftest-exporter.js";
