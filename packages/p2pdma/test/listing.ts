/** A small switch as `lspci -vvv` prints it to root: written for these tests. */
export const verbose = `00:00.0 Host bridge: Intel Corporation Sky Lake-E DMI3 Registers (rev 04)
\tSubsystem: Example Device 0000
\tControl: I/O- Mem- BusMaster- SpecCycle-
\tStatus: Cap+ 66MHz- UDF-
\tNUMA node: 1
\tIOMMU group: 3
\tCapabilities: [90] Express (v2) Root Port (Slot-), MSI 00
\t\tLnkCap:\tPort #0, Speed 8GT/s, Width x4, ASPM L1
\t\tLnkSta:\tSpeed unknown, Width x0
\tCapabilities: [100 v1] Vendor Specific Information: ID=0002 Rev=0 Len=00c <?>

00:01.0 PCI bridge: Intel Corporation Device 2030 (rev 04) (prog-if 00 [Normal decode])
\tControl: I/O+ Mem+ BusMaster+
\tStatus: Cap+
\tBus: primary=00, secondary=01, subordinate=04, sec-latency=0
\tI/O behind bridge: 0000f000-00000fff [disabled]
\tMemory behind bridge: 90000000-900fffff [size=1M] [32-bit]
\tPrefetchable memory behind bridge: 0000020000000000-00000201ffffffff [size=8G] [64-bit]
\tCapabilities: [40] Express (v2) Root Port (Slot+), IntMsgNum 0
\t\tLnkSta:\tSpeed 8GT/s (ok), Width x16 (ok)
\tCapabilities: [110 v1] Access Control Services
\t\tACSCap:\tSrcValid+ TransBlk+ ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-
\t\tACSCtl:\tSrcValid+ TransBlk- ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-
\tKernel driver in use: pcieport

01:00.0 PCI bridge: PLX Technology, Inc. Device 8747 (rev ca) (prog-if 00 [Normal decode])
\tControl: I/O- Mem+ BusMaster+
\tStatus: Cap+
\tBus: primary=01, secondary=02, subordinate=04, sec-latency=0
\tCapabilities: [68] Express (v2) Upstream Port, MSI 00

02:08.0 PCI bridge: PLX Technology, Inc. Device 8747 (rev ca) (prog-if 00 [Normal decode])
\tControl: I/O- Mem+ BusMaster+
\tStatus: Cap+
\tBus: primary=02, secondary=03, subordinate=03, sec-latency=0
\tCapabilities: [68] Express (v2) Downstream Port (Slot+), MSI 00
\tCapabilities: [f24 v1] Access Control Services
\t\tACSCap:\tSrcValid+ TransBlk+ ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl+ DirectTrans+
\t\tACSCtl:\tSrcValid- TransBlk- ReqRedir- CmpltRedir- UpstreamFwd- EgressCtrl- DirectTrans-

02:09.0 PCI bridge: PLX Technology, Inc. Device 8747 (rev ca) (prog-if 00 [Normal decode])
\tControl: I/O- Mem+ BusMaster+
\tStatus: Cap+
\tBus: primary=02, secondary=04, subordinate=04, sec-latency=0
\tCapabilities: [68] Express (v2) Downstream Port (Slot+), MSI 00
\tCapabilities: [f24 v1] Access Control Services
\t\tACSCap:\tSrcValid+ TransBlk+ ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl+ DirectTrans+
\t\tACSCtl:\tSrcValid- TransBlk- ReqRedir- CmpltRedir- UpstreamFwd- EgressCtrl- DirectTrans-

03:00.0 3D controller: NVIDIA Corporation Device 15f8 (rev a1)
\tControl: I/O- Mem+ BusMaster+
\tStatus: Cap+
\tRegion 0: Memory at 90000000 (32-bit, non-prefetchable) [size=16M]
\tRegion 1: Memory at 20000000000 (64-bit, prefetchable) [size=16G]
\tRegion 5: I/O ports at e000 [size=128]
\tCapabilities: [78] Express (v2) Endpoint, MSI 00
\tKernel driver in use: nvidia

04:00.0 Ethernet controller: Mellanox Technologies MT28800 Family [ConnectX-5 Ex]
\tControl: I/O- Mem+ BusMaster+
\tStatus: Cap+
\tRegion 0: Memory at 20400000000 (64-bit, prefetchable) [size=32M]
\tCapabilities: [60] Express (v2) Endpoint, MSI 00
\tCapabilities: [180 v1] Single Root I/O Virtualization (SR-IOV)
\t\tIOVCap:\tMigration-, Interrupt Message Number: 000
\t\tIOVCtl:\tEnable+ Migration- Interrupt- MSE+ ARIHierarchy+
\t\tInitial VFs: 8, Total VFs: 8, Number of VFs: 2, Function Dependency Link: 00
\t\tVF offset: 2, stride: 1, Device ID: 101a
\t\tRegion 0: Memory at 0000020402000000 (64-bit, prefetchable)

04:00.2 Ethernet controller: Mellanox Technologies MT28800 Family [ConnectX-5 Ex Virtual Function]
\tControl: I/O- Mem- BusMaster+
\tStatus: Cap+
\tRegion 0: [virtual] Memory at 20402000000 (64-bit, prefetchable) [size=1M]
\tCapabilities: [60] Express (v2) Endpoint, MSI 00

04:00.3 Ethernet controller: Mellanox Technologies MT28800 Family [ConnectX-5 Ex Virtual Function]
\tControl: I/O- Mem- BusMaster+
\tStatus: Cap+
\tCapabilities: [60] Express (v2) Endpoint, MSI 00

`;
