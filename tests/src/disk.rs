//! A real disk of a test's own: ext4 on a loop device over a file in the test's temporary directory. It can be full,
//! stand still, and fail.
//!
//! Needs root and loop devices. Where those are missing a test is told so, see [`Disk::new`]. Everything is undone when
//! the disk is dropped, also by a test that fails; drop the brokers on it before. The device detaches by itself when
//! its file system is unmounted.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::ioctl::{Opcode, Setter, ioctl};
use tempfile::TempDir;

/// What a disk needs.
const TOOLS: [&str; 6] = ["losetup", "mkfs.ext4", "mount", "umount", "fsfreeze", "chattr"];

/// They are where users' paths do not always lead.
const SYSTEM: &str = ":/usr/sbin:/sbin";

/// The file that takes the room of a full disk.
const FILLER: &str = "filler";

/// Octets of a file system's block: what it knows of its few files fits in what stays [`SOUND`].
const SMALL: &str = "1024";

/// A large file is in one or two pieces.
const LARGE: &str = "4096";

/// Beyond this many octets a broken device has nothing. Before it is what the file system knows of its files.
const SOUND: u64 = 1 << 20;

/// See the module.
#[derive(Debug)]
pub struct Disk {
    dir: TempDir,
    device: PathBuf,
    /// The disk that holds this one's image.
    under: Option<Box<Disk>>,
    frozen: Mutex<bool>,
    /// Tells who mends a broken disk that it is mended.
    mended: Mutex<Option<Sender<()>>>,
}

/// A disk is broken no longer than this.
const BROKEN: Duration = Duration::from_secs(15);

/// How a disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Reads and writes are errors.
    Io,
    /// Writes are taken and can be read, and no sync succeeds.
    Sync,
}

impl Disk {
    /// A disk of so many MiB; none if this process may not make one, which is said loudly and is an error if
    /// `FLETCH_REQUIRE_ALL` is 1.
    pub fn new(mib: u64) -> Result<Option<Disk>> {
        possible()?.then(|| Self::on(TempDir::new()?, None, mib, SMALL)).transpose()
    }

    /// A disk that can fail in every way there is: its image is a file on another one.
    pub fn fallible(mib: u64) -> Result<Option<Disk>> {
        if !possible()? {
            return Ok(None);
        }
        // Large blocks, so that where the image lies is in its inode: a loop device that cannot read the map of its file
        // waits until it can, and says nothing.
        let under = Self::on(TempDir::new()?, None, mib + mib / 8 + 4, LARGE)?;
        let dir = TempDir::new_in(under.path())?;
        Self::on(dir, Some(Box::new(under)), mib, SMALL).map(Some)
    }

    fn on(dir: TempDir, under: Option<Box<Disk>>, mib: u64, block_size: &str) -> Result<Disk> {
        let (image, mount) = (dir.path().join("image"), dir.path().join("mount"));
        std::fs::create_dir(&mount)?;
        // Written full, so that the disk below never has to find room later, or to note that it has.
        let mut file = File::create(&image)?;
        std::io::copy(&mut std::io::repeat(0).take(mib << 20), &mut file)?;
        file.sync_all()?;
        drop(file);
        // No journal, because that would be the first to fail and take the file system with it.
        let format = "-q -F -m 0 -N 256 -O ^has_journal -E packed_meta_blocks=1 -b".split(' ');
        let format = format.chain([block_size]).map(OsStr::new);
        run("mkfs.ext4", format.chain([image.as_os_str()]))?;
        let device = run("losetup", ["-f".as_ref(), "--show".as_ref(), image.as_os_str()])?;
        let device = PathBuf::from(device.trim());
        let mounted = run("mount", [device.as_os_str(), mount.as_os_str()]);
        // From now on it goes with its last user.
        run("losetup", ["-d".as_ref(), device.as_os_str()])?;
        mounted?;
        Ok(Disk { dir, device, under, frozen: Mutex::new(false), mended: Mutex::new(None) })
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("mount")
    }

    /// Octets that are free.
    pub fn free(&self) -> Result<u64> {
        let stat = rustix::fs::statvfs(self.path())?;
        Ok(stat.f_bavail * stat.f_frsize)
    }

    /// Takes all room but so many octets; it is given back by [`Disk::clear`].
    pub fn fill(&self, but: u64) -> Result<()> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.path().join(FILLER))?;
        let len = file.metadata()?.len() + self.free()?.saturating_sub(but);
        Ok(rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len)?)
    }

    /// Gives back what [`Disk::fill`] took.
    pub fn clear(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.path().join(FILLER))?)
    }

    /// Makes the disk stand still: every write waits for [`Disk::thaw`].
    pub fn freeze(&self) -> Result<()> {
        self.frozen(true)
    }

    /// Lets it go on.
    pub fn thaw(&self) -> Result<()> {
        self.frozen(false)
    }

    fn frozen(&self, on: bool) -> Result<()> {
        let mut frozen = self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
        if *frozen != on {
            let option = if on { "-f" } else { "-u" };
            run("fsfreeze", [option.as_ref(), self.path().as_os_str()])?;
            *frozen = on;
        }
        Ok(())
    }

    /// From now on the disk fails, but not for ever: what waits for a disk cannot even be killed.
    pub fn break_by(&self, fault: Fault) -> Result<()> {
        let device = match (fault, &self.under) {
            (Fault::Io, _) => &self.device,
            (Fault::Sync, Some(under)) => &under.device,
            (Fault::Sync, None) => bail!("only a fallible disk can fail to sync"),
        };
        limit(device, SOUND)?;
        let (sender, receiver) = channel();
        *self.mended.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        let device = device.clone();
        std::thread::spawn(move || {
            if receiver.recv_timeout(BROKEN) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{} was broken for {BROKEN:?} and is mended", device.display());
                let _ = limit(&device, 0);
            }
        });
        Ok(())
    }

    /// The disk works again, with all on it that it had taken.
    pub fn heal(&self) -> Result<()> {
        drop(self.mended.lock().unwrap_or_else(PoisonError::into_inner).take());
        limit(&self.device, 0)?;
        self.under.as_ref().map_or(Ok(()), |under| under.heal())
    }

    /// Whether it may only be read from now on.
    pub fn read_only(&self, on: bool) -> Result<()> {
        let (path, option) = (self.path(), if on { "remount,ro" } else { "remount,rw" });
        run("mount", ["-o".as_ref(), option.as_ref(), path.as_os_str()]).map(drop)
    }

    /// Whether nobody, not even root, may change a file on it from now on.
    pub fn immutable(&self, file: &Path, on: bool) -> Result<()> {
        let option = if on { "+i" } else { "-i" };
        run("chattr", [option.as_ref(), file.as_os_str()]).map(drop)
    }

    /// Takes a file out of the memory of the system: who wants it again has to read it from the disk.
    pub fn forget(&self, file: &Path) -> Result<()> {
        let file = File::open(file)?;
        file.sync_all()?;
        Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whatever of this fails, the rest is to be tried.
        let undone = [self.thaw(), self.heal(), unmount(&self.path())];
        for error in undone.into_iter().filter_map(Result::err) {
            eprintln!("{} stays behind: {error:#}", self.device.display());
        }
    }
}

fn unmount(path: &Path) -> Result<()> {
    // A process that was killed may still have to be reaped.
    for _ in 0..50 {
        if run("umount", [path.as_os_str()]).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    run("umount", ["-l".as_ref(), path.as_os_str()]).map(drop)
}

/// Whether this process may make disks.
fn possible() -> Result<bool> {
    let Some(what) = missing() else { return Ok(true) };
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("NOT RUN: {test} needs a disk of its own, and there is no {what} here");
    let all = std::env::var_os("FLETCH_REQUIRE_ALL");
    ensure!(all.is_none_or(|all| all != "1"), "{test} needs {what}");
    Ok(false)
}

/// What a disk needs and this process has not.
fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("right to mount".to_owned());
    }
    if File::open("/dev/loop-control").is_err() {
        return Some("/dev/loop-control".to_owned());
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> = std::env::split_paths(&(path + SYSTEM)).collect();
    let missing = |tool: &&str| !dirs.iter().any(|dir| dir.join(tool).exists());
    TOOLS.into_iter().find(missing).map(str::to_owned)
}

fn run<'a>(tool: &str, arguments: impl IntoIterator<Item = &'a OsStr>) -> Result<String> {
    let mut command = Command::new(tool);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", path + SYSTEM).args(arguments).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("running {tool}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", said.trim_end());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The kernel's `struct loop_info64`, of which only one field is changed here.
#[repr(C)]
#[derive(Clone, Copy)]
struct LoopInfo {
    before: [u64; 4],
    size_limit: u64,
    after: [u64; 24],
}

const _: () = assert!(size_of::<LoopInfo>() == 232);

const LOOP_SET_STATUS64: Opcode = 0x4C04;
const LOOP_GET_STATUS64: Opcode = 0x4C05;

/// Lets a loop device end after so many octets, all of them if 0: what lies beyond is not there, and using it is an
/// error of the device.
fn limit(device: &Path, octets: u64) -> Result<()> {
    let device = OpenOptions::new().read(true).write(true).open(device)?;
    let mut info = LoopInfo { before: [0; 4], size_limit: 0, after: [0; 24] };
    // SAFETY: the kernel writes a `struct loop_info64`, which `LoopInfo` is as large as and any octets are one.
    unsafe {
        ioctl(&device, rustix::ioctl::Updater::<LOOP_GET_STATUS64, LoopInfo>::new(&mut info))?;
    }
    info.size_limit = octets;
    // SAFETY: the kernel reads a `struct loop_info64`: what it wrote itself, with another limit.
    unsafe { ioctl(&device, Setter::<LOOP_SET_STATUS64, LoopInfo>::new(info))? };
    Ok(())
}
