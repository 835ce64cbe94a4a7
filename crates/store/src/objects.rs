//! A run under a prefix of an object store: whole objects, created once where the protocol needs it, and workers known
//! by a beat.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Read, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use object_store::aws::AmazonS3Builder;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Attribute, Attributes, Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use percent_encoding::percent_decode_str;
use tokio::runtime::{Builder, Runtime};

use crate::Place;
use crate::place::{Backend, Presence, WORKERS, WriteContent};

/// A worker beats once in this time …
const BEAT: Duration = Duration::from_secs(5);

/// … and is taken for dead when an observer saw no new beat for this many times as long.
const BEATS_UNTIL_DEAD: u32 = 12;

/// Bytes fetched at a time when an object is read as a stream.
const BLOCK: u64 = 8 << 20;

/// Objects under this prefix are the lines of the log, in the order of their names.
const LOG: &str = "events";

impl Place {
    /// A run in a bucket, by its address `s3://bucket/prefix`. Keys, region and endpoint come from the usual variables
    /// (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP`, …).
    ///
    /// # Errors
    /// Another kind of address, or variables that do not fit together.
    pub fn s3(address: &str) -> io::Result<Self> {
        let invalid = |found: String| {
            let message = format!("`{address}`: found {found}, expected `s3://bucket/prefix`: correct the address");
            io::Error::new(io::ErrorKind::InvalidInput, message)
        };
        let rest = address.strip_prefix("s3://").ok_or_else(|| invalid("another kind of address".to_owned()))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_matches('/');
        if bucket.is_empty() || prefix.is_empty() {
            return Err(invalid("no bucket or no prefix".to_owned()));
        }
        let store = AmazonS3Builder::from_env().with_bucket_name(bucket).build();
        let store = store.map_err(|e| invalid(e.to_string()))?;
        Objects::new(Arc::new(store), prefix, address.trim_end_matches('/'), BEAT).map(Self::of)
    }

    /// A run in the memory of this process, gone with the last clone of the place; for tests and trials. Its workers
    /// count as dead after 12 `beat`s without a sign.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn memory(beat: Duration) -> io::Result<Self> {
        Objects::new(Arc::new(InMemory::new()), "run", "memory:run", beat).map(Self::of)
    }
}

#[derive(Debug)]
struct Objects {
    shared: Arc<Shared>,
    worker: OnceLock<String>,
    n_lines: AtomicU64,
    /// The newest beat seen of each worker, and when.
    seen: Mutex<BTreeMap<String, (Vec<u8>, Instant)>>,
    beat: Duration,
}

#[derive(Debug)]
struct Shared {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    address: String,
    runtime: Runtime,
}

impl Shared {
    fn locate(&self, key: &str) -> Path {
        Path::from(format!("{}/{key}", self.prefix).trim_end_matches('/'))
    }

    fn path(&self, key: &str) -> PathBuf {
        PathBuf::from(format!("{}/{key}", self.address).trim_end_matches('/'))
    }

    fn failed(&self, what: &str, key: &str, error: &Error) -> io::Error {
        let kind = match error {
            Error::NotFound { .. } => io::ErrorKind::NotFound,
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, format!("failed to {what} `{}`: {error}", self.path(key).display()))
    }

    /// Puts an object; `false` where `mode` is to create and there is one.
    fn put(&self, key: &str, bytes: Vec<u8>, mode: PutMode) -> io::Result<bool> {
        let attributes = Attributes::from_iter([(Attribute::ContentType, "application/octet-stream")]);
        let options = PutOptions { mode, attributes, ..PutOptions::default() };
        let path = self.locate(key);
        match self.runtime.block_on(self.store.put_opts(&path, PutPayload::from(bytes), options)) {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(self.failed("write", key, &error)),
        }
    }

    fn range(&self, key: &str, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let bytes = self.runtime.block_on(self.store.get_range(&self.locate(key), from..to));
        bytes.map(Into::into).map_err(|error| self.failed("read", key, &error))
    }

    fn get(&self, key: &str) -> io::Result<Option<Vec<u8>>> {
        let got = self.runtime.block_on(async { self.store.get(&self.locate(key)).await?.bytes().await });
        match got {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("read", key, &error)),
        }
    }

    fn delete(&self, key: &str) -> io::Result<()> {
        match self.runtime.block_on(self.store.delete(&self.locate(key))) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("remove", key, &error)),
        }
    }
}

impl Objects {
    fn new(store: Arc<dyn ObjectStore>, prefix: &str, address: &str, beat: Duration) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let shared = Shared { store, prefix: prefix.to_owned(), address: address.to_owned(), runtime };
        Ok(Self {
            shared: Arc::new(shared),
            worker: OnceLock::new(),
            n_lines: AtomicU64::new(0),
            seen: Mutex::default(),
            beat,
        })
    }

    fn content(write: WriteContent<'_>) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        write(&mut bytes)?;
        Ok(bytes)
    }
}

impl Backend for Objects {
    fn open(&self, key: &str) -> io::Result<Option<(Box<dyn Read + Send>, u64)>> {
        let shared = &self.shared;
        match shared.runtime.block_on(shared.store.head(&shared.locate(key))) {
            Ok(meta) => {
                let stream = Stream {
                    shared: shared.clone(),
                    key: key.to_owned(),
                    next: 0,
                    length: meta.size,
                    block: io::Cursor::new(Vec::new()),
                };
                Ok(Some((Box::new(stream), meta.size)))
            }
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(shared.failed("read", key, &error)),
        }
    }

    fn read(&self, key: &str) -> io::Result<Option<Vec<u8>>> {
        self.shared.get(key)
    }

    fn create(&self, key: &str, write: WriteContent<'_>) -> io::Result<bool> {
        self.shared.put(key, Self::content(write)?, PutMode::Create)
    }

    fn replace(&self, key: &str, write: WriteContent<'_>) -> io::Result<()> {
        self.shared.put(key, Self::content(write)?, PutMode::Overwrite).map(drop)
    }

    fn mark(&self, key: &str, bytes: &[u8]) -> io::Result<bool> {
        self.shared.put(key, bytes.to_vec(), PutMode::Create)
    }

    fn remove(&self, key: &str) -> io::Result<()> {
        for (name, is_folder) in self.entries(key)? {
            let below = format!("{key}/{name}");
            if is_folder { self.remove(&below)? } else { self.shared.delete(&below)? }
        }
        self.shared.delete(key)
    }

    fn entries(&self, folder: &str) -> io::Result<Vec<(String, bool)>> {
        let shared = &self.shared;
        let listed = shared.runtime.block_on(shared.store.list_with_delimiter(Some(&shared.locate(folder))));
        let listed = listed.map_err(|error| shared.failed("list", folder, &error))?;
        // Paths keep names with anything but plain ASCII percent-encoded.
        let name = |path: &Path| percent_decode_str(path.filename()?).decode_utf8().ok().map(Cow::into_owned);
        let files = listed.objects.iter().filter_map(|meta| Some((name(&meta.location)?, false)));
        let folders = listed.common_prefixes.iter().filter_map(|prefix| Some((name(prefix)?, true)));
        Ok(files.chain(folders).collect())
    }

    fn append(&self, line: &[u8]) -> io::Result<()> {
        let worker = self.worker.get().map_or("somebody", String::as_str);
        let line_number = self.n_lines.fetch_add(1, Ordering::Relaxed);
        self.shared.put(&format!("{LOG}/{worker}-{line_number:08}"), line.to_vec(), PutMode::Overwrite).map(drop)
    }

    fn log(&self) -> io::Result<Vec<u8>> {
        let mut names: Vec<String> = self.entries(LOG)?.into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        let mut log = Vec::new();
        for name in names {
            log.write_all(&self.shared.get(&format!("{LOG}/{name}"))?.unwrap_or_default())?;
        }
        Ok(log)
    }

    fn enlist(&self, worker: &str, card: &[u8]) -> io::Result<Box<dyn Presence>> {
        let _ = self.worker.set(worker.to_owned());
        let key = format!("{WORKERS}/{worker}");
        self.shared.put(&key, card.to_vec(), PutMode::Overwrite)?;
        // The store alone: a task that held the runtime it runs on could be the last to do so, and cannot end it.
        let (store, beat) = (self.shared.store.clone(), self.beat);
        let place = self.shared.locate(&format!("beats/{worker}"));
        let task = self.shared.runtime.spawn(async move {
            for count in 0_u64.. {
                // A beat that fails is one that observers miss; they wait for several.
                let _ = store.put(&place, PutPayload::from(count.to_string())).await;
                tokio::time::sleep(beat).await;
            }
        });
        Ok(Box::new(Beating { shared: self.shared.clone(), worker: worker.to_owned(), task }))
    }

    fn is_alive(&self, worker: &str) -> io::Result<bool> {
        if self.shared.get(&format!("{WORKERS}/{worker}"))?.is_none() {
            return Ok(false);
        }
        let beat = self.shared.get(&format!("beats/{worker}"))?.unwrap_or_default();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, since) = seen.entry(worker.to_owned()).or_insert_with(|| (beat.clone(), Instant::now()));
        if *last != beat {
            (*last, *since) = (beat, Instant::now());
        }
        Ok(since.elapsed() < self.beat * BEATS_UNTIL_DEAD)
    }

    fn shows_life(&self, worker: &str) -> io::Result<bool> {
        let beat = || self.shared.get(&format!("beats/{worker}"));
        let first = beat()?;
        while self.is_alive(worker)? {
            if beat()? != first {
                return Ok(true);
            }
            std::thread::sleep(self.beat / 4);
        }
        Ok(false)
    }

    fn point(&self, _: &str, _: &str) -> io::Result<()> {
        // An object store has no second names; `RunFolder::measurements` says where the arrays are.
        Ok(())
    }

    fn tidy(&self) -> io::Result<()> {
        // Nothing is ever half-written; the cards of the dead go once they are known to be dead.
        for (worker, _) in self.entries(WORKERS)? {
            if self.worker.get() != Some(&worker) && !self.is_alive(&worker)? {
                self.shared.delete(&format!("{WORKERS}/{worker}"))?;
                self.shared.delete(&format!("beats/{worker}"))?;
            }
        }
        Ok(())
    }

    fn path(&self, key: &str) -> PathBuf {
        self.shared.path(key)
    }
}

#[derive(Debug)]
struct Beating {
    shared: Arc<Shared>,
    worker: String,
    task: tokio::task::JoinHandle<()>,
}

impl Presence for Beating {}

impl Drop for Beating {
    fn drop(&mut self) {
        self.task.abort();
        // Where this fails, the missing beat says the same a little later.
        let _ = self.shared.delete(&format!("{WORKERS}/{}", self.worker));
        let _ = self.shared.delete(&format!("beats/{}", self.worker));
    }
}

/// An object read from its beginning, a block at a time.
struct Stream {
    shared: Arc<Shared>,
    key: String,
    next: u64,
    length: u64,
    block: io::Cursor<Vec<u8>>,
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.block.read(buffer)?;
        if n > 0 || buffer.is_empty() || self.next == self.length {
            return Ok(n);
        }
        // Small objects and headers are read in small blocks first.
        let size = if self.next == 0 { 1 << 16 } else { BLOCK };
        let end = (self.next + size).min(self.length);
        self.block = io::Cursor::new(self.shared.range(&self.key, self.next, end)?);
        self.next = end;
        self.block.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Manifest, OpenError, RunWriter, Worker};

    fn objects(beat: Duration) -> Objects {
        Objects::new(Arc::new(InMemory::new()), "run", "memory:run", beat).unwrap()
    }

    #[test]
    fn a_worker_without_beat_is_dead_after_twelve_of_them_and_not_before() {
        let objects = objects(Duration::from_millis(20));
        let alive = objects.enlist("alive", b"card").unwrap();
        objects.shared.put("workers/dead", b"card".to_vec(), PutMode::Create).unwrap();
        assert!(!objects.is_alive("stranger").unwrap());
        let start = Instant::now();
        while objects.is_alive("dead").unwrap() {
            assert!(start.elapsed() < Duration::from_secs(20), "it never dies");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(start.elapsed() >= Duration::from_millis(240), "too early: {:?}", start.elapsed());
        assert!(objects.is_alive("alive").unwrap());
        objects.tidy().unwrap();
        assert_eq!(objects.entries("workers").unwrap(), [("alive".to_owned(), false)]);
        drop(alive);
        assert!(!objects.is_alive("alive").unwrap());
    }

    #[test]
    fn the_card_of_a_dead_worker_keeps_nobody_out_for_ever() {
        let place = Place::memory(Duration::from_millis(20)).unwrap();
        let id = "host-1-0123abcd".to_owned();
        let (host, since, intent) = ("host".to_owned(), "yesterday".to_owned(), "another".to_owned());
        let dead = Worker { id, pid: 1, host, since, intent };
        place.create("workers/host-1-0123abcd", &crate::sealed::seal(&dead).unwrap()).unwrap();
        let writer = RunWriter::join(&place, &Manifest::default()).unwrap();
        assert_eq!(writer.others().unwrap(), []);
        writer.remove_old_leases().unwrap();
        assert_eq!(place.files("workers").unwrap().len(), 1, "mine alone");
        // A living one is heard.
        let other = Manifest { configuration: "title = \"Another\"\n".parse().unwrap(), ..Manifest::default() };
        assert!(matches!(RunWriter::join(&place, &other), Err(OpenError::OtherConfiguration { .. })));
    }

    #[test]
    fn objects_are_read_in_blocks_and_names_may_be_anything() {
        let objects = objects(BEAT);
        let bytes: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
        assert!(objects.create("records/λ̂ 100%/a~b", &mut |out| out.write_all(&bytes)).unwrap());
        assert!(!objects.create("records/λ̂ 100%/a~b", &mut |out| out.write_all(b"other")).unwrap());
        assert_eq!(objects.entries("records").unwrap(), [("λ̂ 100%".to_owned(), true)]);
        assert_eq!(objects.entries("records/λ̂ 100%").unwrap(), [("a~b".to_owned(), false)]);
        let (mut stream, length) = objects.open("records/λ̂ 100%/a~b").unwrap().unwrap();
        let mut read = Vec::new();
        stream.read_to_end(&mut read).unwrap();
        assert_eq!((read, length), (bytes, 200_000));
        objects.remove("records").unwrap();
        assert!(objects.open("records/λ̂ 100%/a~b").unwrap().is_none());
    }
}
