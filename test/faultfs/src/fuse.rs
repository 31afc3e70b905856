//! The disk as the kernel asks for it.

use crate::disk::{Attributes, Disk, Fault, ROOT};
use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use parking_lot::Mutex;
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nothing is remembered by the kernel: a power loss changes what is there.
const NO_CACHE: Duration = Duration::ZERO;

const NO_HANDLE: FileHandle = FileHandle(0);

/// The kernel passes on every read and write as it is, and tells programs how much of it was done.
const UNCACHED: FopenFlags = FopenFlags::FOPEN_DIRECT_IO;

pub(crate) struct Fuse(pub(crate) Arc<Mutex<Disk>>);

fn errno(fault: Fault) -> Errno {
    match fault {
        Fault::Io => Errno::EIO,
        Fault::Interrupted => Errno::EINTR,
        Fault::NoRoom => Errno::ENOSPC,
        Fault::NotFound => Errno::ENOENT,
        Fault::Exists => Errno::EEXIST,
        Fault::NotEmpty => Errno::ENOTEMPTY,
        Fault::NotDirectory => Errno::ENOTDIR,
    }
}

fn attr(number: u64, attributes: Attributes) -> FileAttr {
    let Attributes { is_dir, size } = attributes;
    FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if is_dir { FileType::Directory } else { FileType::RegularFile },
        perm: if is_dir { 0o700 } else { 0o600 },
        nlink: if is_dir { 2 } else { 1 },
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl Fuse {
    fn entry(&self, found: Result<u64, Fault>, reply: ReplyEntry) {
        let attributes = found.and_then(|number| Ok((number, self.0.lock().attributes(number)?)));
        match attributes {
            Ok((number, attributes)) => reply.entry(&NO_CACHE, &attr(number, attributes), Generation(0)),
            Err(fault) => reply.error(errno(fault)),
        }
    }
}

fn done(result: Result<(), Fault>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(fault) => reply.error(errno(fault)),
    }
}

impl Filesystem for Fuse {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.0.lock().lookup(parent.0, name);
        self.entry(found, reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let attributes = self.0.lock().attributes(ino.0);
        match attributes {
            Ok(attributes) => reply.attr(&NO_CACHE, &attr(ino.0, attributes)),
            // The mount point itself stays visible without power.
            Err(_) if ino.0 == ROOT => reply.attr(&NO_CACHE, &attr(ROOT, Attributes { is_dir: true, size: 0 })),
            Err(fault) => reply.error(errno(fault)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut disk = self.0.lock();
        let changed = size.map_or(Ok(()), |size| disk.set_length(ino.0, size));
        match changed.and_then(|()| disk.attributes(ino.0)) {
            Ok(attributes) => reply.attr(&NO_CACHE, &attr(ino.0, attributes)),
            Err(fault) => reply.error(errno(fault)),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let made = self.0.lock().create(parent.0, name, true);
        self.entry(made, reply);
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        let mut disk = self.0.lock();
        let made = disk.create(parent.0, name, false);
        match made.and_then(|number| Ok((number, disk.attributes(number)?))) {
            Ok((number, attributes)) => {
                let attr = attr(number, attributes);
                reply.created(&NO_CACHE, &attr, Generation(0), NO_HANDLE, UNCACHED);
            }
            Err(fault) => reply.error(errno(fault)),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.0.lock().remove(parent.0, name), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.0.lock().remove(parent.0, name), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        done(self.0.lock().rename((parent.0, name), (newparent.0, newname)), reply);
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.0.lock().attributes(ino.0) {
            Ok(_) => reply.opened(NO_HANDLE, UNCACHED),
            Err(fault) => reply.error(errno(fault)),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.lock().read(ino.0, offset, size as usize) {
            Ok(data) => reply.data(data),
            Err(fault) => reply.error(errno(fault)),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.lock().write(ino.0, offset, data) {
            Ok(written) => reply.written(u32::try_from(written).expect("no more than was asked for")),
            Err(fault) => reply.error(errno(fault)),
        }
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(self.0.lock().sync(ino.0), reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(self.0.lock().sync(ino.0), reply);
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let names = match self.0.lock().names(ino.0) {
            Ok(names) => names,
            Err(fault) => return reply.error(errno(fault)),
        };
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        for (index, (name, number, is_dir)) in names.into_iter().enumerate().skip(skipped) {
            let kind = if is_dir { FileType::Directory } else { FileType::RegularFile };
            if reply.add(INodeNo(number), index as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 4096, 255, 4096);
    }
}
