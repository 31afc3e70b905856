//! What is in the files, what of it is on the disk, and what the disk does wrong.
//!
//! Pure: its own generator of chance, no clock.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// What a disk writes in one piece.
const BLOCK: usize = 512;

pub(crate) const ROOT: u64 = 1;

/// Why an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Io,
    Interrupted,
    NoRoom,
    NotFound,
    Exists,
    NotEmpty,
    NotDirectory,
}

type Done<T> = Result<T, Fault>;

/// A change of a file that was not synced yet.
#[derive(Clone, Debug)]
enum Pending {
    Write { at: usize, data: Vec<u8> },
    Length(usize),
}

/// As programs see it, as the disk has it, and what lies between.
#[derive(Default)]
struct File {
    data: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

type Names = BTreeMap<OsString, u64>;

#[derive(Default)]
struct Dir {
    names: Names,
    durable: Names,
    pending: Vec<(OsString, Option<u64>)>,
}

enum Node {
    File(File),
    Dir(Dir),
}

/// Whether a node is a directory, and how long a file is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes {
    pub(crate) is_dir: bool,
    pub(crate) size: u64,
}

pub(crate) struct Disk {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    capacity: u64,
    random: u64,
    syncs: u64,
    /// The number of the sync that fails.
    failing_sync: Option<u64>,
    /// Reads and writes until one fails.
    failing_in: Option<u64>,
    failed: bool,
    /// Of so many reads and writes one is interrupted and one cut short; 0 for none.
    irritated: u64,
    power: bool,
    /// Writes and syncs until the power fails.
    power_for: Option<u64>,
}

impl Disk {
    pub(crate) fn new(seed: u64) -> Disk {
        Disk {
            nodes: BTreeMap::from([(ROOT, Node::Dir(Dir::default()))]),
            next: ROOT + 1,
            capacity: u64::MAX,
            random: seed,
            syncs: 0,
            failing_sync: None,
            failing_in: None,
            failed: false,
            irritated: 0,
            power: true,
            power_for: None,
        }
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.syncs
    }

    pub(crate) fn fail_sync(&mut self, nth: u64) {
        self.failing_sync = Some(self.syncs + nth);
        self.failed = false;
    }

    pub(crate) fn fail_operation(&mut self, nth: u64) {
        self.failing_in = Some(nth);
        self.failed = false;
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    pub(crate) fn irritate(&mut self, one_of: u64) {
        self.irritated = one_of;
    }

    pub(crate) fn set_capacity(&mut self, bytes: u64) {
        self.capacity = bytes;
    }

    pub(crate) fn has_power(&self) -> bool {
        self.power
    }

    pub(crate) fn cut_power(&mut self) {
        self.power = false;
    }

    pub(crate) fn cut_power_after(&mut self, operations: u64) {
        self.power_for = Some(operations);
    }

    /// Leaves of every file what was synced and some blocks of what was not, of every directory a part of its changes.
    pub(crate) fn restore_power(&mut self) {
        let mut random = Random(self.random);
        // All of a file's changes may be there, none, or some.
        for node in self.nodes.values_mut() {
            match node {
                Node::File(file) => file.lose(&mut random),
                Node::Dir(dir) => dir.lose(&mut random),
            }
        }
        self.random = random.0;
        let mut named: Vec<u64> = vec![ROOT];
        let mut at = 0;
        while at < named.len() {
            if let Some(Node::Dir(dir)) = self.nodes.get(&named[at]) {
                named.extend(dir.names.values());
            }
            at += 1;
        }
        self.nodes.retain(|number, _| named.contains(number));
        (self.power, self.power_for, self.failing_sync, self.failing_in) = (true, None, None, None);
    }

    pub(crate) fn lookup(&self, parent: u64, name: &OsStr) -> Done<u64> {
        self.dir(parent)?.names.get(name).copied().ok_or(Fault::NotFound)
    }

    pub(crate) fn attributes(&self, number: u64) -> Done<Attributes> {
        match self.node(number)? {
            Node::File(file) => Ok(Attributes { is_dir: false, size: file.data.len() as u64 }),
            Node::Dir(_) => Ok(Attributes { is_dir: true, size: 0 }),
        }
    }

    pub(crate) fn names(&self, number: u64) -> Done<Vec<(OsString, u64, bool)>> {
        let dir = self.dir(number)?;
        let is_dir = |number: &u64| matches!(self.nodes.get(number), Some(Node::Dir(_)));
        Ok(dir.names.iter().map(|(name, number)| (name.clone(), *number, is_dir(number))).collect())
    }

    pub(crate) fn create(&mut self, parent: u64, name: &OsStr, is_dir: bool) -> Done<u64> {
        if self.lookup(parent, name).is_ok() {
            return Err(Fault::Exists);
        }
        let number = self.next;
        self.dir_mut(parent)?.set(name, Some(number));
        self.next += 1;
        let node = if is_dir { Node::Dir(Dir::default()) } else { Node::File(File::default()) };
        self.nodes.insert(number, node);
        Ok(number)
    }

    pub(crate) fn remove(&mut self, parent: u64, name: &OsStr) -> Done<()> {
        let number = self.lookup(parent, name)?;
        if matches!(self.node(number)?, Node::Dir(dir) if !dir.names.is_empty()) {
            return Err(Fault::NotEmpty);
        }
        // The node stays: the disk may still have its name, and a program the file open.
        self.dir_mut(parent)?.set(name, None);
        Ok(())
    }

    pub(crate) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Done<()> {
        let number = self.lookup(from.0, from.1)?;
        // First there, then not here: in one directory both are kept or neither, see `Dir::lose`.
        self.dir_mut(to.0)?.set(to.1, Some(number));
        self.dir_mut(from.0)?.set(from.1, None);
        Ok(())
    }

    pub(crate) fn read(&mut self, number: u64, at: u64, length: usize) -> Done<&[u8]> {
        let length = self.luck(length)?;
        let data = &self.file(number)?.data;
        let start = usize::try_from(at).unwrap_or(usize::MAX).min(data.len());
        Ok(&data[start..(start.saturating_add(length)).min(data.len())])
    }

    /// Returns how much was written: less than asked for where there is no more room.
    pub(crate) fn write(&mut self, number: u64, at: u64, data: &[u8]) -> Done<usize> {
        let at = usize::try_from(at).map_err(|_| Fault::NoRoom)?;
        let data = &data[..self.luck(data.len())?];
        let data = match self.room(number, at, data.len())? {
            0 => return Err(Fault::NoRoom),
            // A short write.
            room => &data[..data.len().min(room)],
        };
        let survives = self.step()?;
        let file = self.file_mut(number)?;
        file.write(at, data);
        if survives { Ok(data.len()) } else { Err(Fault::Io) }
    }

    pub(crate) fn set_length(&mut self, number: u64, length: u64) -> Done<()> {
        let length = usize::try_from(length).map_err(|_| Fault::NoRoom)?;
        let file = self.file_mut(number)?;
        file.data.resize(length, 0);
        file.pending.push(Pending::Length(length));
        Ok(())
    }

    pub(crate) fn sync(&mut self, number: u64) -> Done<()> {
        let survives = self.step()?;
        self.syncs += 1;
        if !survives {
            return Err(Fault::Io);
        }
        let fails = self.failing_sync == Some(self.syncs);
        let mut random = Random(self.random);
        match self.nodes.get_mut(&number).ok_or(Fault::NotFound)? {
            // What could not be written counts as clean afterwards: it is in memory, and no sync tries it again.
            Node::File(file) if fails => file.pending.retain(|_| random.below(2) == 0),
            Node::Dir(_) if fails => {}
            Node::File(file) => file.sync(),
            Node::Dir(dir) => dir.sync(),
        }
        self.random = random.0;
        if fails {
            (self.failing_sync, self.failed) = (None, true);
            return Err(Fault::Io);
        }
        Ok(())
    }

    /// How much of a read or a write is done.
    fn luck(&mut self, length: usize) -> Done<usize> {
        if let Some(left) = &mut self.failing_in {
            *left -= 1;
            if *left == 0 {
                (self.failing_in, self.failed) = (None, true);
                return Err(Fault::Io);
            }
        }
        if self.irritated == 0 {
            return Ok(length);
        }
        let mut random = Random(self.random);
        let done = match random.below(self.irritated) {
            0 => Err(Fault::Interrupted),
            1 if length > 1 => Ok(1 + usize::try_from(random.below(length as u64 - 1)).expect("less than a length")),
            _ => Ok(length),
        };
        self.random = random.0;
        done
    }

    /// How much of a write there is room for.
    fn room(&self, number: u64, at: usize, length: usize) -> Done<usize> {
        if self.capacity == u64::MAX {
            return Ok(usize::MAX);
        }
        let room = usize::try_from(self.capacity.saturating_sub(self.used())).unwrap_or(usize::MAX);
        Ok(if self.file(number)?.unwritten(at, length) <= room { usize::MAX } else { room })
    }

    /// What counts against the capacity: what was ever written, not what a length alone has made.
    fn used(&self) -> u64 {
        let blocks = |file: &File| file.data.chunks(BLOCK).filter(|block| block.iter().any(|&byte| byte != 0)).count();
        let files = self.named().filter_map(|node| if let Node::File(file) = node { Some(file) } else { None });
        files.map(|file| (blocks(file) * BLOCK) as u64).sum()
    }

    fn named(&self) -> impl Iterator<Item = &Node> {
        let dirs = self.nodes.values().filter_map(|node| if let Node::Dir(dir) = node { Some(dir) } else { None });
        dirs.flat_map(|dir| dir.names.values()).filter_map(|number| self.nodes.get(number))
    }

    /// Counts down to the loss of power; false when it happens now.
    fn step(&mut self) -> Done<bool> {
        if !self.power {
            return Err(Fault::Io);
        }
        match &mut self.power_for {
            Some(0) => {
                self.power = false;
                Ok(false)
            }
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None => Ok(true),
        }
    }

    fn node(&self, number: u64) -> Done<&Node> {
        if !self.power {
            return Err(Fault::Io);
        }
        self.nodes.get(&number).ok_or(Fault::NotFound)
    }

    fn dir(&self, number: u64) -> Done<&Dir> {
        match self.node(number)? {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(Fault::NotDirectory),
        }
    }

    fn dir_mut(&mut self, number: u64) -> Done<&mut Dir> {
        self.dir(number)?;
        match self.nodes.get_mut(&number) {
            Some(Node::Dir(dir)) => Ok(dir),
            Some(Node::File(_)) | None => Err(Fault::NotDirectory),
        }
    }

    fn file(&self, number: u64) -> Done<&File> {
        match self.node(number)? {
            Node::File(file) => Ok(file),
            Node::Dir(_) => Err(Fault::NotFound),
        }
    }

    fn file_mut(&mut self, number: u64) -> Done<&mut File> {
        match self.nodes.get_mut(&number) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) | None => Err(Fault::NotFound),
        }
    }
}

impl File {
    fn write(&mut self, at: usize, data: &[u8]) {
        put(&mut self.data, at, data);
        self.pending.push(Pending::Write { at, data: data.to_vec() });
    }

    /// How many bytes of a write need blocks in which nothing was written yet.
    fn unwritten(&self, at: usize, length: usize) -> usize {
        let first = at / BLOCK;
        let new = (first..(at + length).div_ceil(BLOCK)).filter(|block| {
            let start = (block * BLOCK).min(self.data.len());
            self.data[start..(start + BLOCK).min(self.data.len())].iter().all(|&byte| byte == 0)
        });
        new.count() * BLOCK
    }

    fn sync(&mut self) {
        for pending in self.pending.drain(..) {
            match pending {
                Pending::Write { at, data } => put(&mut self.durable, at, &data),
                Pending::Length(length) => self.durable.resize(length, 0),
            }
        }
    }

    /// Block by block, whichever of them have reached the disk.
    fn lose(&mut self, random: &mut Random) {
        let odds = random.below(5);
        for pending in self.pending.drain(..) {
            match pending {
                Pending::Length(length) if random.below(4) < odds => self.durable.resize(length, 0),
                Pending::Length(_) => {}
                Pending::Write { at, data } => {
                    let mut from = 0;
                    while from < data.len() {
                        let to = (at + from + 1).next_multiple_of(BLOCK).min(at + data.len()) - at;
                        if random.below(4) < odds {
                            put(&mut self.durable, at + from, &data[from..to]);
                        }
                        from = to;
                    }
                }
            }
        }
        self.data = self.durable.clone();
    }
}

impl Dir {
    fn set(&mut self, name: &OsStr, number: Option<u64>) {
        apply(&mut self.names, name.to_owned(), number);
        self.pending.push((name.to_owned(), number));
    }

    fn sync(&mut self) {
        self.pending.drain(..).for_each(|(name, number)| apply(&mut self.durable, name, number));
    }

    /// Changes of names reach the disk in order. One that was renamed is never there twice, nor gone.
    fn lose(&mut self, random: &mut Random) {
        let kept = random.below(self.pending.len() as u64 + 1);
        let kept = usize::try_from(kept).expect("a small number");
        let is_half = kept > 0
            && kept < self.pending.len()
            && self.pending[kept].1.is_none()
            && self.pending[kept - 1].1.is_some();
        self.pending.truncate(kept + usize::from(is_half));
        self.sync();
        self.names = self.durable.clone();
    }
}

fn apply(names: &mut Names, name: OsString, number: Option<u64>) {
    match number {
        Some(number) => names.insert(name, number),
        None => names.remove(&name),
    };
}

fn put(to: &mut Vec<u8>, at: usize, data: &[u8]) {
    let end = at + data.len();
    if to.len() < end {
        to.resize(end, 0);
    }
    to[at..end].copy_from_slice(data);
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> &OsStr {
        OsStr::new(text)
    }

    #[test]
    fn what_is_synced_survives_and_the_rest_in_whole_blocks() {
        let mut partly = 0;
        for seed in 0..50 {
            let mut disk = Disk::new(seed);
            let file = disk.create(ROOT, name("a"), false).expect("a file");
            disk.write(file, 0, &[1; 2 * BLOCK]).expect("written");
            disk.sync(file).and_then(|()| disk.sync(ROOT)).expect("synced");
            disk.write(file, 2 * BLOCK as u64, &[2; 4 * BLOCK]).expect("written");
            disk.cut_power();
            assert_eq!(disk.lookup(ROOT, name("a")), Err(Fault::Io));
            disk.restore_power();
            let data = disk.read(file, 0, usize::MAX).expect("read").to_vec();
            assert_eq!(data[..2 * BLOCK], [1; 2 * BLOCK]);
            let blocks: Vec<_> = data[2 * BLOCK..].chunks(BLOCK).map(|block| block[0]).collect();
            assert!(data[2 * BLOCK..].chunks(BLOCK).all(|block| block.iter().all(|byte| *byte == block[0])));
            partly += usize::from(blocks.contains(&2) && blocks != [2; 4]);
        }
        assert!(partly > 10, "{partly} of 50 were torn");
    }

    #[test]
    fn a_name_counts_when_its_directory_is_synced() {
        let mut lost = 0;
        for seed in 0..20 {
            let mut disk = Disk::new(seed);
            let file = disk.create(ROOT, name("a"), false).expect("a file");
            disk.sync(file).expect("synced");
            disk.restore_power();
            lost += usize::from(disk.lookup(ROOT, name("a")).is_err());
        }
        assert!((1..20).contains(&lost), "{lost} of 20 were lost");
    }

    #[test]
    fn a_sync_that_fails_says_so_once_and_forgets() {
        let mut disk = Disk::new(3);
        let file = disk.create(ROOT, name("a"), false).expect("a file");
        disk.sync(ROOT).expect("synced");
        disk.fail_sync(1);
        (0..20).for_each(|at| assert_eq!(disk.write(file, at * BLOCK as u64, &[1; BLOCK]), Ok(BLOCK)));
        assert_eq!(disk.sync(file), Err(Fault::Io));
        assert_eq!(disk.sync(file), Ok(()));
        disk.restore_power();
        assert!(disk.read(file, 0, usize::MAX).expect("read").contains(&0), "nothing was lost");
    }

    #[test]
    fn a_full_disk_writes_short_and_then_not_at_all() {
        let mut disk = Disk::new(0);
        let file = disk.create(ROOT, name("a"), false).expect("a file");
        disk.set_capacity(3 * BLOCK as u64);
        assert_eq!(disk.write(file, 0, &[1; 2 * BLOCK]), Ok(2 * BLOCK));
        assert_eq!(disk.write(file, 2 * BLOCK as u64, &[1; 2 * BLOCK]), Ok(BLOCK));
        assert_eq!(disk.write(file, 3 * BLOCK as u64, &[1; 10]), Err(Fault::NoRoom));
    }
}
