import { project } from "@peerbar/vitest-config";

export default project("iommu-native");
