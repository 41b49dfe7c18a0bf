/** Folder of real machines' captures, ending in a slash; perhaps not there. `PEERBAR_TOPOLOGIES` names another. */
export declare const topologies: string;

/** Tells once where the folder is not there. */
export default function tellMissing(): void;
