//! Containers' logs, in the format in which CRI runtimes write them.
//!
//! ```text
//!   2026-01-02T03:04:05.000000006Z stdout F a whole line
//!   2026-01-02T03:04:05.000000007Z stderr P a part of a line, continued by the next
//! ```
//!
//! The file belongs to the agent and the runtime; a container writes to it only through the runtime.

use api::Timestamp;
use bytes::{Bytes, BytesMut};
use std::future::Future;
use std::io::{self, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::fs::{self, File};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How often a followed log is looked at.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);
/// How often the runtime is asked whether the container of a followed log still runs: every reader asks by itself.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How much of a file is looked at in one go, from its end.
const TAIL_BLOCK_BYTES: usize = 64 << 10;
/// Lines are sent together up to this much.
const CHUNK_BYTES: usize = 32 << 10;

/// A log that grew beyond this is put aside and a new one begun; one old one is kept.
const ROTATE_BYTES: u64 = 10 << 20;

/// What of a log is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub follow: bool,
    pub tail_lines: Option<u64>,
    pub since: Option<Timestamp>,
    pub timestamps: bool,
    pub limit_bytes: Option<u64>,
}

/// Sends a log to `out` until its end, or, followed, until its container has ended. Ends when nobody listens.
pub async fn send<R: Future<Output = bool>>(
    path: &Path,
    options: &Options,
    is_running: impl Fn() -> R,
    out: mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let mut file = File::open(path).await?;
    if let Some(lines) = options.tail_lines {
        let start = tail_start(&mut file, lines).await?;
        file.seek(SeekFrom::Start(start)).await?;
    }
    let mut inode = file.metadata().await?.ino();
    let mut reader = BufReader::new(file);
    let mut printer = Printer::new(options);
    let mut line = Vec::new();
    let mut ended = !options.follow;
    let mut next: Option<File> = None;
    let mut asked: Option<Instant> = None;
    loop {
        // Asked before reading: what the container wrote before it ended is read below.
        let ran_lately = asked.is_some_and(|at| at.elapsed() < ASK_EVERY);
        let was_running = !ended && (ran_lately || is_running().await);
        if was_running && !ran_lately {
            asked = Some(Instant::now());
        }
        loop {
            reader.read_until(b'\n', &mut line).await?;
            if line.last() != Some(&b'\n') {
                break;
            }
            printer.print(&line);
            line.clear();
            if printer.chunk.len() >= CHUNK_BYTES && !printer.flush(&out).await {
                return Ok(());
            }
        }
        if !printer.flush(&out).await || printer.is_full() {
            return Ok(());
        }
        if let Some(file) = next.take() {
            inode = file.metadata().await?.ino();
            reader = BufReader::new(file);
            line.clear();
        } else if let Some(file) = rotated(path, inode).await {
            // The runtime has left the old one; what it wrote there last is read before going on.
            next = Some(file);
        } else if ended {
            return Ok(());
        } else if was_running {
            tokio::select! {
                biased;
                // Nobody listens any more.
                () = out.closed() => return Ok(()),
                () = tokio::time::sleep(FOLLOW_EVERY) => {}
            }
        } else {
            ended = true;
        }
    }
}

/// The new file, where the one that is being read was put aside.
async fn rotated(path: &Path, inode: u64) -> Option<File> {
    let found = fs::metadata(path).await.ok()?;
    if found.ino() == inode { None } else { File::open(path).await.ok() }
}

/// Turns lines of the file into what the reader gets.
struct Printer<'a> {
    options: &'a Options,
    chunk: BytesMut,
    left: u64,
    /// The last line printed was whole.
    at_line_start: bool,
}

impl<'a> Printer<'a> {
    fn new(options: &'a Options) -> Printer<'a> {
        let left = options.limit_bytes.unwrap_or(u64::MAX);
        Printer { options, chunk: BytesMut::new(), left, at_line_start: true }
    }

    fn print(&mut self, line: &[u8]) {
        let Some(entry) = Entry::parse(line) else { return };
        let too_old = |since| Timestamp::parse(entry.time).is_some_and(|at| at < since);
        if self.options.since.is_some_and(too_old) {
            return;
        }
        if self.options.timestamps && self.at_line_start {
            self.push(entry.time.as_bytes());
            self.push(b" ");
        }
        self.push(entry.content);
        if entry.is_whole {
            self.push(b"\n");
        }
        self.at_line_start = entry.is_whole;
    }

    fn push(&mut self, bytes: &[u8]) {
        let n = usize::try_from(self.left).map_or(bytes.len(), |left| bytes.len().min(left));
        self.chunk.extend_from_slice(&bytes[..n]);
        self.left -= n as u64;
    }

    fn is_full(&self) -> bool {
        self.left == 0
    }

    /// Sends what was printed. False when nobody listens.
    async fn flush(&mut self, out: &mpsc::Sender<io::Result<Bytes>>) -> bool {
        let chunk = self.chunk.split().freeze();
        if chunk.is_empty() { !out.is_closed() } else { out.send(Ok(chunk)).await.is_ok() }
    }
}

struct Entry<'a> {
    time: &'a str,
    content: &'a [u8],
    is_whole: bool,
}

impl<'a> Entry<'a> {
    fn parse(line: &'a [u8]) -> Option<Entry<'a>> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let mut fields = line.splitn(4, |&b| b == b' ');
        let (time, _stream, tags) = (fields.next()?, fields.next()?, fields.next()?);
        let is_whole = tags.split(|&b| b == b':').next() != Some(b"P");
        Some(Entry { time: std::str::from_utf8(time).ok()?, content: fields.next().unwrap_or_default(), is_whole })
    }
}

/// What a container wrote, of one line of its log file.
pub fn content_of(line: &str) -> Option<String> {
    let entry = Entry::parse(line.as_bytes())?;
    let text = String::from_utf8_lossy(entry.content);
    Some(if entry.is_whole { format!("{text}\n") } else { text.into_owned() })
}

/// Where the last `lines` lines of a file start.
async fn tail_start(file: &mut File, lines: u64) -> io::Result<u64> {
    let mut position = file.seek(SeekFrom::End(0)).await?;
    if lines == 0 {
        return Ok(position);
    }
    let mut block = vec![0; TAIL_BLOCK_BYTES];
    // The newline that ends the last line starts no other.
    let mut newlines_left = lines.saturating_add(1);
    while position > 0 {
        let length = position.min(TAIL_BLOCK_BYTES as u64);
        position -= length;
        file.seek(SeekFrom::Start(position)).await?;
        let block = &mut block[..usize::try_from(length).unwrap_or(TAIL_BLOCK_BYTES)];
        file.read_exact(block).await?;
        for (i, _) in block.iter().enumerate().rev().filter(|(_, b)| **b == b'\n') {
            newlines_left -= 1;
            if newlines_left == 0 {
                return Ok(position + i as u64 + 1);
            }
        }
    }
    Ok(0)
}

/// Removes a log, and what of it was put aside.
pub async fn remove(path: &Path) {
    for path in [path.to_owned(), aside(path)] {
        if let Err(error) = fs::remove_file(&path).await
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "a container's log cannot be removed");
        }
    }
}

/// Puts a log aside if it has grown too large. True when its runtime has to open a new one.
pub async fn put_aside(path: &Path) -> io::Result<bool> {
    match fs::metadata(path).await {
        Ok(found) if found.len() > ROTATE_BYTES => fs::rename(path, aside(path)).await.map(|()| true),
        Ok(_) => Ok(false),
        // It was put aside, and then its runtime was not told, or did not answer: the container still writes there.
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::try_exists(aside(path)).await,
        Err(error) => Err(error),
    }
}

fn aside(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    const LOG: &str = "\
2026-01-02T03:04:05.1Z stdout F one
2026-01-02T03:04:06.1Z stderr P two, 
2026-01-02T03:04:06.2Z stderr F continued
2026-01-02T03:04:07.1Z stdout F 
2026-01-02T03:04:08.1Z stdout F four
";

    async fn read(options: Options) -> String {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        std::fs::write(&path, LOG).expect("written");
        let (out, mut sent) = mpsc::channel(16);
        send(&path, &options, || std::future::ready(false), out).await.expect("a log");
        let mut text = String::new();
        while let Some(chunk) = sent.recv().await {
            text.push_str(std::str::from_utf8(&chunk.expect("a chunk")).expect("text"));
        }
        text
    }

    #[tokio::test]
    async fn a_log_reads_as_the_container_wrote_it() {
        assert_eq!(read(Options::default()).await, "one\ntwo, continued\n\nfour\n");
        let timestamps = read(Options { timestamps: true, tail_lines: Some(4), ..Options::default() }).await;
        assert_eq!(
            timestamps,
            "2026-01-02T03:04:06.1Z two, continued\n2026-01-02T03:04:07.1Z \n2026-01-02T03:04:08.1Z four\n"
        );
    }

    #[tokio::test]
    async fn a_log_is_cut_by_lines_time_and_bytes() {
        for (lines, expected) in [(0, ""), (1, "four\n"), (2, "\nfour\n"), (99, "one\ntwo, continued\n\nfour\n")] {
            assert_eq!(read(Options { tail_lines: Some(lines), ..Options::default() }).await, expected, "{lines}");
        }
        let since = Timestamp::parse("2026-01-02T03:04:07Z");
        assert_eq!(read(Options { since, ..Options::default() }).await, "\nfour\n");
        assert_eq!(read(Options { limit_bytes: Some(6), ..Options::default() }).await, "one\ntw");
    }

    #[tokio::test(start_paused = true)]
    async fn a_runtime_is_asked_about_a_followed_log_once_a_second() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        std::fs::write(&path, LOG).expect("written");
        let (out, mut sent) = mpsc::channel(16);
        let asked = AtomicUsize::new(0);
        let is_running = || std::future::ready(asked.fetch_add(1, Ordering::SeqCst) < 4);
        let options = Options { follow: true, tail_lines: Some(0), ..Options::default() };
        let began = Instant::now();
        send(&path, &options, is_running, out).await.expect("a log");
        assert!(sent.recv().await.is_none());
        // The fifth answer is that it has ended.
        assert_eq!((asked.into_inner(), began.elapsed().as_secs()), (5, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_followed_log_goes_on_through_rotation_until_its_container_ends() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        let line = |text: &str| format!("2026-01-02T03:04:05Z stdout F {text}\n");
        std::fs::write(&path, line("a")).expect("written");
        let (out, mut sent) = mpsc::channel(16);
        let running = AtomicBool::new(true);
        let options = Options { follow: true, ..Options::default() };
        let following = send(&path, &options, || std::future::ready(running.load(Ordering::SeqCst)), out);
        let writing = async {
            let mut next = async || sent.recv().await.expect("a chunk").expect("bytes");
            assert_eq!(next().await, "a\n");
            let mut file = std::fs::OpenOptions::new().append(true).open(&path).expect("a file");
            let (half, rest) = (&line("b")[..30], &line("b")[30..]);
            file.write_all(half.as_bytes()).expect("written");
            // The reader looks at it several times meanwhile.
            tokio::time::timeout(FOLLOW_EVERY * 3, next()).await.expect_err("half a line is none");
            file.write_all(rest.as_bytes()).expect("written");
            assert_eq!(next().await, "b\n");
            std::fs::rename(&path, aside(&path)).expect("renamed");
            std::fs::write(&path, line("c")).expect("written");
            assert_eq!(next().await, "c\n");
            running.store(false, Ordering::SeqCst);
            assert!(sent.recv().await.is_none());
        };
        let (sent, ()) = tokio::join!(following, writing);
        sent.expect("a log");
    }

    #[tokio::test]
    async fn a_runtime_that_was_not_told_of_a_log_put_aside_is_told_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        assert!(!put_aside(&path).await.expect("an answer"), "there is no log yet");
        std::fs::write(&path, LOG).expect("written");
        assert!(!put_aside(&path).await.expect("an answer"), "it is small");
        std::fs::File::options().write(true).open(&path).and_then(|f| f.set_len(ROTATE_BYTES + 1)).expect("grown");
        for turn in ["it is large", "its runtime has not opened another yet"] {
            assert!(put_aside(&path).await.expect("an answer"), "{turn}");
        }
        std::fs::write(&path, LOG).expect("written");
        assert!(!put_aside(&path).await.expect("an answer"), "it has");
    }

    #[tokio::test]
    async fn the_start_of_the_last_lines_is_found_across_blocks() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        let line = "x".repeat(TAIL_BLOCK_BYTES / 2 + 7) + "\n";
        std::fs::write(&path, line.repeat(9)).expect("written");
        let mut file = File::open(&path).await.expect("a file");
        for lines in [1, 3, 8, 9, 10] {
            let expected = 9_u64.saturating_sub(lines) * line.len() as u64;
            assert_eq!(tail_start(&mut file, lines).await.expect("a start"), expected, "{lines}");
        }
    }
}
