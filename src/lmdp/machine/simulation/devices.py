"""What the simulated Collectors poll: kinds of devices, their DataSources, instances and datapoints.

Names are in the style of LogicMonitor's LogicModules (old ones end in "-"). Percentages and per-second rates are absent
on purpose: LogicMonitor computes those, and Data Publisher sends only what was collected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Datapoint:
    """One collected number: a gauge that wanders between `low` and `high`, or a counter when `bits` is not 0.

    `rate` is a counter's mean increase a second, `jitter` how far a poll may lie beside it (0.5: half to one and a half
    times). `summed`: published as a `sum`. `declared`: with isMonotonic and temporality, which few may have.
    `whole`: published as `asInt`, which holds 63 bits at most, else as `asDouble` as Collectors do.
    """

    name: str
    low: float = 0.0
    high: float = 0.0
    rate: float = 0.0
    bits: int = 0
    jitter: float = 0.5
    digits: int = 0
    summed: bool = False
    declared: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True)
class DataSource:
    """A DataSource: its name, its collection method, and `label(n)` -> (wildValue, wildAlias) of instance `n`.

    `most` is how many instances a device has of it at most; the last DataSource of a device takes all that remain.
    """

    name: str
    collector: str
    label: Callable[[int], tuple[str, str]]
    datapoints: tuple[Datapoint, ...]
    most: int = 1


@dataclass(frozen=True, slots=True)
class DeviceKind:
    """A kind of device: how it is named, the properties that its operator publishes, and what is polled on it."""

    name: str
    maker: str
    model: str
    datasources: tuple[DataSource, ...]


def gauge(name: str, low: float, high: float, digits: int = 0) -> Datapoint:
    """Measure something; `low` = `high` is a constant, such as a capacity."""
    return Datapoint(name, low=low, high=high, digits=digits)


def counter(name: str, rate: float, bits: int = 64, *, whole: bool = False) -> Datapoint:
    """Count without end, undeclared as Collectors probably send it; wraps at 2**bits."""
    return Datapoint(name, rate=rate, bits=bits, summed=True, whole=whole)


def declared(name: str, rate: float, bits: int = 64) -> Datapoint:
    """Count since the device started, and say so: monotonic, temporality cumulative."""
    return Datapoint(name, rate=rate, bits=bits, summed=True, declared=True)


def uptime(name: str) -> Datapoint:
    """Count SNMP TimeTicks: hundredths of seconds in 32 bits, 497 days (RFC 2578, section 7.1.8)."""
    return Datapoint(name, rate=100.0, bits=32, jitter=0.0, summed=True, whole=True)


def single(_: int) -> tuple[str, str]:
    """Name the one instance of a DataSource that has no others."""
    return "0", "0"


def listed(*names: str) -> Callable[[int], tuple[str, str]]:
    """Name instances from a list; the last name is a prefix, numbered from 0 for all that follow."""
    last = len(names) - 1

    def label(n: int) -> tuple[str, str]:
        name = names[n] if n < last else f"{names[last]}{n - last}"
        return name, name

    return label


def _port(pattern: str, first_index: int) -> Callable[[int], tuple[str, str]]:
    """Name SNMP interfaces: wildValue is the ifIndex, wildAlias the name (`{slot}`, `{port}` of 48, `{n}` overall)."""
    return lambda n: (str(first_index + n), pattern.format(n=n, slot=n // 48, port=n % 48))


def _drive(n: int) -> tuple[str, str]:
    letter = f"{chr(ord('C') + n)}:\\" if n < 24 else f"C:\\mounts\\data{n - 23}\\"
    return letter, letter


_GIB = float(2**30)

_PING = DataSource(
    "Ping", "ping", single,
    (
        gauge("average", 0.4, 40.0, 2), gauge("maxrtt", 1.0, 90.0, 2), gauge("minrtt", 0.2, 20.0, 2),
        gauge("recvpkts", 10.0, 10.0), gauge("sentpkts", 10.0, 10.0),
    ),
)  # fmt: skip
_HOST_UPTIME = DataSource("HostUptime-", "snmp", single, (uptime("UpTime"),))

_IF64 = (
    counter("ifHCInOctets", 9e6), counter("ifHCOutOctets", 7e6), counter("ifHCInUcastPkts", 9e3),
    counter("ifHCOutUcastPkts", 8e3), counter("ifInErrors", 0.02, 32), counter("ifOutErrors", 0.01, 32),
    counter("ifInDiscards", 0.3, 32), counter("ifOutDiscards", 0.2, 32), gauge("ifOperStatus", 1.0, 1.0),
)  # fmt: skip
# The 32-bit counters of the old IF-MIB: at these rates one wraps in a few minutes.
_IF32 = (
    counter("ifInOctets", 2.5e7, 32, whole=True), counter("ifOutOctets", 1.5e7, 32, whole=True),
    counter("ifInUcastPkts", 2e4, 32, whole=True), counter("ifOutUcastPkts", 1.5e4, 32, whole=True),
    counter("ifInErrors", 0.05, 32, whole=True), gauge("ifOperStatus", 1.0, 1.0),
)  # fmt: skip

_LINUX = (
    DataSource(
        "NetSNMPCPU", "snmp", single,
        (
            counter("ssCpuRawUser", 120.0, 32), counter("ssCpuRawSystem", 40.0, 32),
            counter("ssCpuRawIdle", 600.0, 32), counter("ssCpuRawWait", 6.0, 32), gauge("laLoadInt1", 10.0, 800.0),
            gauge("numCpus", 8.0, 8.0),
        ),
    ),
    DataSource(
        "NetSNMPMem", "snmp", single,
        (
            gauge("memTotalReal", 65_699_840.0, 65_699_840.0), gauge("memAvailReal", 2e6, 3e7),
            gauge("memBuffer", 1e5, 2e6), gauge("memCached", 4e6, 2e7),
            gauge("memTotalSwap", 8_388_604.0, 8_388_604.0), gauge("memAvailSwap", 7e6, 8.3e6),
        ),
    ),
    _HOST_UPTIME,
    _PING,
    DataSource(
        "Volume Usage-", "snmp", listed("/", "/var", "/boot", "/home", "/opt/data"),
        (
            gauge("hrStorageAllocationUnits", 4096.0, 4096.0), gauge("hrStorageSize", 26_214_400.0, 26_214_400.0),
            gauge("hrStorageUsed", 4e6, 2.5e7), counter("hrStorageAllocationFailures", 0.001, 32),
            gauge("inodesTotal", 6_553_600.0, 6_553_600.0), gauge("inodesUsed", 1e5, 4e6),
        ),
        most=5,
    ),
    DataSource(
        "NetSNMPDiskIO-", "snmp", listed("sda", "sdb", "dm-"),
        (
            counter("diskIONReadX", 2e6), counter("diskIONWrittenX", 4e6), counter("diskIOReads", 90.0, 32),
            counter("diskIOWrites", 160.0, 32), gauge("diskIOLA1", 0.0, 90.0),
        ),
        most=4,
    ),
    DataSource("SNMP_Network_Interfaces", "snmp", _port("eth{n}", 1), _IF64),
)  # fmt: skip

_WINDOWS = (
    DataSource(
        "WinCPU", "wmi", single,
        (
            counter("PercentProcessorTime", 7.1e6), counter("PercentPrivilegedTime", 1.9e6),
            counter("PercentUserTime", 5.2e6), counter("PercentInterruptTime", 4e4),
            gauge("ProcessorQueueLength", 0.0, 12.0), gauge("NumberOfCores", 8.0, 8.0),
        ),
    ),
    DataSource(
        "WinOS", "wmi", single,
        (
            gauge("FreePhysicalMemory", 2e6, 2.4e7), gauge("TotalVisibleMemorySize", 33_553_904.0, 33_553_904.0),
            gauge("FreeVirtualMemory", 4e6, 3e7), gauge("NumberOfProcesses", 80.0, 240.0),
            gauge("NumberOfUsers", 0.0, 9.0),
        ),
    ),
    _PING,
    DataSource(
        "WinVolumeUsage-", "wmi", _drive,
        (
            gauge("Capacity", 500 * _GIB, 500 * _GIB), gauge("FreeSpace", 20 * _GIB, 420 * _GIB),
            gauge("BlockSize", 4096.0, 4096.0), gauge("IndexingEnabled", 1.0, 1.0), gauge("DirtyBitSet", 0.0, 0.0),
        ),
        most=4,
    ),
    DataSource(
        "WinPhysicalDrive-", "perfmon", listed("0 C:", "1 D:", "2 E:", "PhysicalDrive"),
        (
            counter("DiskReadBytesPerSec", 3e6), counter("DiskWriteBytesPerSec", 5e6),
            counter("DiskReadsPerSec", 80.0, 32), counter("DiskWritesPerSec", 140.0, 32),
            gauge("CurrentDiskQueueLength", 0.0, 8.0), gauge("AvgDisksecPerRead", 0.0, 0.03, 5),
        ),
        most=4,
    ),
    DataSource(
        "WinIf-", "wmi", listed("Intel[R] 82574L Gigabit Network Connection", "vmxnet3 Ethernet Adapter _"),
        (
            counter("BytesReceivedPerSec", 5e6), counter("BytesSentPerSec", 3e6),
            counter("PacketsReceivedPerSec", 4e3, 32), counter("PacketsSentPerSec", 3e3, 32),
            counter("PacketsReceivedErrors", 0.01, 32), gauge("CurrentBandwidth", 1e9, 1e9),
            gauge("OutputQueueLength", 0.0, 3.0),
        ),
    ),
)  # fmt: skip

_SWITCH = (
    DataSource(
        "Cisco_CPU_Usage", "snmp", listed("CPU of Module "),
        (gauge("cpmCPUTotal5sec", 2.0, 95.0), gauge("cpmCPUTotal1min", 3.0, 80.0), gauge("cpmCPUTotal5min", 4.0, 70.0)),
    ),
    DataSource(
        "CiscoMemPools-", "snmp", listed("Processor", "I/O", "Driver "),
        (
            gauge("ciscoMemoryPoolUsed", 1e8, 3e8), gauge("ciscoMemoryPoolFree", 2e8, 6e8),
            gauge("ciscoMemoryPoolLargestFree", 1e8, 2e8),
        ),
        most=3,
    ),
    _HOST_UPTIME,
    _PING,
    DataSource("SNMP_Network_Interfaces", "snmp", _port("GigabitEthernet{slot}/0/{port}", 10_101), _IF64),
)  # fmt: skip

_FIREWALL = (
    DataSource(
        "JuniperRoutingEngine-", "snmp", listed("Routing Engine 0", "Routing Engine "),
        (
            gauge("jnxOperatingCPU", 2.0, 90.0), gauge("jnxOperatingBuffer", 20.0, 80.0),
            gauge("jnxOperatingTemp", 30.0, 60.0), uptime("jnxOperatingUpTime"), gauge("jnxOperatingState", 2.0, 2.0),
        ),
        most=2,
    ),
    DataSource(
        "JuniperSRX_Sessions", "snmp", single,
        (
            gauge("CurrentFlowSession", 2e3, 6e4), gauge("MaxFlowSession", 65_536.0, 65_536.0),
            gauge("CurrentCPSession", 1e2, 3e3), counter("FlowSessionCreated", 300.0, 32),
            counter("FlowSessionDenied", 4.0, 32),
        ),
    ),
    _PING,
    DataSource("snmpIf-", "snmp", _port("ge-0/{slot}/{port}", 501), _IF32, most=60),
    DataSource("JuniperPIC-", "snmp", _port("pc-0/{slot}/{port}", 901), _IF32),
)  # fmt: skip

_ESXI = (
    DataSource(
        "VMware_ESXi_HostCPU", "esx", single,
        (
            gauge("UsageMhz", 800.0, 40_000.0), declared("ReadyMs", 30.0), declared("CoStopMs", 2.0),
            declared("WaitMs", 700.0), gauge("TotalMhz", 51_200.0, 51_200.0),
        ),
    ),
    DataSource(
        "VMware_ESXi_HostMemory", "esx", single,
        (
            gauge("ActiveKb", 1e7, 8e7), gauge("ConsumedKb", 6e7, 1.9e8), gauge("BalloonKb", 0.0, 1e5),
            gauge("SwapUsedKb", 0.0, 1e4), declared("SwapInKb", 0.5), declared("SwapOutKb", 0.3),
        ),
    ),
    _PING,
    DataSource(
        "VMware_ESXi_Datastores-", "esx", listed("ds:///vmfs/volumes/ssd-0", "ds:///vmfs/volumes/nfs-"),
        (
            gauge("CapacityBytes", 4096 * _GIB, 4096 * _GIB), gauge("FreeBytes", 200 * _GIB, 3000 * _GIB),
            declared("ReadBytes", 2e7), declared("WriteBytes", 1e7), declared("ReadOperations", 400.0),
            declared("WriteOperations", 300.0),
        ),
        most=8,
    ),
    DataSource(
        "VMware_ESXi_NetworkInterfaces", "esx", listed("vmnic"),
        (
            declared("ReceivedBytes", 2e7), declared("TransmittedBytes", 1.5e7), declared("ReceivedPackets", 2e4),
            declared("TransmittedPackets", 1.6e4), declared("DroppedRx", 0.05), declared("DroppedTx", 0.01),
        ),
    ),
)  # fmt: skip

_THREADS = (
    "netscan-propsdetection",
    "activediscovery",
    "autoprops",
    "collector-snmp",
    "collector-wmi",
    "collector-jmx",
    "collector-batchscript",
    "eventcollector",
    "reporter",
    "watchdog",
    "worker-",
)  # fmt: skip

_COLLECTOR = (
    DataSource(
        "LogicMonitor_Collector_JVMMemoryPools", "jmx",
        listed("G1 Eden Space", "G1 Old Gen", "G1 Survivor Space", "Metaspace", "CodeHeap "),
        (
            gauge("Used", 1e7, 9e8), gauge("Committed", 1e9, 1e9), gauge("Max", 2e9, 2e9),
            gauge("UsageThresholdCount", 0.0, 3.0),
        ),
        most=5,
    ),
    DataSource(
        "LogicMonitor_Collector_GlobalStats", "jmx", single,
        (
            counter("ElapsedTime", 1000.0, 63, whole=True), counter("ConsumedTasks", 220.0),
            counter("FailedTasks", 0.8), counter("ReportedData", 900.0), counter("DroppedData", 0.001),
            gauge("TaskQueueLength", 0.0, 400.0), gauge("ReportingQueueLength", 0.0, 900.0),
            gauge("CpuLoad", 0.01, 0.9, 4), gauge("HeapUsed", 2e8, 1.5e9), gauge("OpenFileDescriptors", 200.0, 900.0),
            gauge("ThreadCount", 180.0, 420.0), gauge("InstanceCount", 4e3, 4e3), counter("UnreportableData", 0.002),
        ),
    ),
    # CpuUsage is a percentage and yet a sum: so it stands in the only samples that are known.
    DataSource(
        "LogicMonitor_Collector_ThreadCPUUsage", "jmx", listed(*_THREADS),
        (
            Datapoint("CpuUsage", low=0.0, high=99.9, digits=2, summed=True), gauge("ProcessorCount", 10.0, 10.0),
            gauge("ThreadCnt", 1.0, 40.0),
        ),
    ),
)  # fmt: skip

DEVICE_KINDS = (
    DeviceKind("linux", "Dell", "PowerEdge R650", _LINUX),
    DeviceKind("windows", "HPE", "ProLiant DL380 Gen11", _WINDOWS),
    DeviceKind("switch", "Cisco", "C9300-48P", _SWITCH),
    DeviceKind("firewall", "Juniper", "SRX4600", _FIREWALL),
    DeviceKind("esxi", "VMware", "ESXi 8.0", _ESXI),
    DeviceKind("collector", "LogicMonitor", "Collector 37.300", _COLLECTOR),
)  # fmt: skip
