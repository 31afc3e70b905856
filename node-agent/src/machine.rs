//! What the node is made of, read from the kernel.

use crate::expand::Allocatable;
use api::Quantity;
use nix::sys::statvfs::statvfs;
use std::fs;
use std::path::Path;

/// A node's hardware and system, as its Node object tells.
#[derive(Clone, Debug)]
pub struct Machine {
    pub cpus: i64,
    pub memory_bytes: i64,
    pub storage_bytes: i64,
    pub machine_id: String,
    pub system_uuid: String,
    pub boot_id: String,
    pub kernel_version: String,
    pub os_image: String,
    /// As Go names architectures.
    pub architecture: &'static str,
}

/// What may run short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    pub memory: bool,
    pub disk: bool,
    pub pids: bool,
}

/// What of the machine is in use.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// What its processors have worked since it started.
    pub cpu_nanos: u64,
    pub memory_bytes: u64,
}

/// As upstream's default eviction thresholds: 100 MiB of memory, a tenth of the disk.
const MEMORY_BYTES_LOW: i64 = 100 << 20;
const DISK_PERCENT_LOW: u64 = 10;
/// A tenth of the process ids.
const PIDS_PERCENT_LOW: u64 = 10;

impl Machine {
    /// Reads the machine whose pods live on the file system of `data_dir`.
    pub fn read(data_dir: &Path) -> Machine {
        let line = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let cpus = fs::read_to_string("/proc/cpuinfo")
            .unwrap_or_default()
            .lines()
            .filter(|l| l.starts_with("processor"))
            .count();
        let cpus = i64::try_from(cpus).unwrap_or(i64::MAX).max(1);
        let storage = statvfs(data_dir).map_or(0, |s| s.fragment_size().saturating_mul(s.blocks()));
        Machine {
            cpus,
            memory_bytes: meminfo("MemTotal").unwrap_or(0),
            storage_bytes: storage.try_into().unwrap_or(i64::MAX),
            machine_id: line("/etc/machine-id"),
            system_uuid: line("/sys/class/dmi/id/product_uuid"),
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            kernel_version: line("/proc/sys/kernel/osrelease"),
            os_image: os_image(&fs::read_to_string("/etc/os-release").unwrap_or_default()),
            architecture: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            },
        }
    }

    /// Everything: nothing is set aside for the system.
    pub fn allocatable(&self) -> Allocatable {
        Allocatable {
            cpu: Quantity::from_units(self.cpus),
            memory: Quantity::from_bytes(self.memory_bytes),
            ephemeral_storage: Quantity::from_bytes(self.storage_bytes),
        }
    }
}

impl Pressure {
    pub fn read(data_dir: &Path) -> Pressure {
        let disk = statvfs(data_dir).is_ok_and(|s| s.blocks_available() * 100 < s.blocks() * DISK_PERCENT_LOW);
        let number = |text: Option<&str>| text.and_then(|t| t.trim().parse::<u64>().ok());
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        // The fourth field is running/total.
        let used = number(load.split_whitespace().nth(3).and_then(|f| f.split('/').nth(1)));
        let limit = number(fs::read_to_string("/proc/sys/kernel/pid_max").ok().as_deref());
        Pressure {
            memory: meminfo("MemAvailable").is_some_and(|bytes| bytes < MEMORY_BYTES_LOW),
            disk,
            pids: used.zip(limit).is_some_and(|(used, max)| used * 100 > max * (100 - PIDS_PERCENT_LOW)),
        }
    }
}

impl Load {
    pub fn read() -> Load {
        let memory = meminfo("MemTotal").zip(meminfo("MemAvailable")).map_or(0, |(all, free)| all - free);
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        Load { cpu_nanos: busy_nanos(&stat), memory_bytes: memory.try_into().unwrap_or(0) }
    }
}

/// The work in the first line of `/proc/stat`: all but what is idle, waits for a disk, or is counted twice.
fn busy_nanos(stat: &str) -> u64 {
    // The kernel counts in hundredths of a second, whatever its clock.
    const TICK_NANOS: u64 = 10_000_000;
    let first = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = first.split_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
    let busy = [0, 1, 2, 5, 6, 7].into_iter().filter_map(|place| ticks.get(place));
    busy.sum::<u64>().saturating_mul(TICK_NANOS)
}

/// A line of `/proc/meminfo`, in bytes.
fn meminfo(name: &str) -> Option<i64> {
    let table = fs::read_to_string("/proc/meminfo").ok()?;
    let line = table.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.split_whitespace().next()?.parse::<i64>().ok()?.saturating_mul(1024))
}

fn os_image(os_release: &str) -> String {
    let name = os_release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("Linux").trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_what_every_machine_has() {
        let machine = Machine::read(Path::new("/"));
        assert!(machine.cpus > 0 && machine.memory_bytes > 0 && machine.storage_bytes > 0, "{machine:?}");
        assert!(!machine.kernel_version.is_empty() && !machine.boot_id.is_empty());
        assert_eq!(
            os_image("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
            "Debian GNU/Linux 12 (bookworm)"
        );
        let load = Load::read();
        assert!(load.cpu_nanos > 0 && load.memory_bytes > 0, "{load:?}");
        assert_eq!(busy_nanos("cpu  1 2 3 1000 1000 4 5 6 1 0\ncpu0 1 2\n"), 210_000_000);
    }
}
