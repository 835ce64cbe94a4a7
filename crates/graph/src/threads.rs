//! Threads inside a program: helpers that wait for the parts of one step after another.

use std::any::Any;
use std::cell::UnsafeCell;
use std::fmt;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Threads that share the work of one caller: of a [`Workspace`](crate::Workspace) made with them, and of updates.
///
/// The number changes no bit of a result. Clones share the same threads, which end with the last of them. Where they are
/// in use already, a further caller does its work alone: nothing waits for itself. Threads for independent jobs, each
/// with a workspace of its own, use a machine better; these are for what is left when jobs are fewer than cores.
#[derive(Clone)]
pub struct Threads(Arc<Team>);

struct Team {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    /// Taken by the caller whose job the helpers do.
    in_use: Mutex<()>,
    /// The helpers are not to be asked.
    at_rest: AtomicBool,
}

/// `job(part, thread)`, with `thread` below the number of threads: no two calls at the same time share one.
type Job<'a> = dyn Fn(usize, usize) + Sync + 'a;

#[derive(Default)]
struct Shared {
    /// Number of the job (32 bits), its parts (16), the next part to be taken (16): a part is taken by an exchange that
    /// fails once the job is another, so a late helper never touches a job that is over.
    state: AtomicU64,
    /// Valid from the moment a part of it has been taken until that part is counted in `n_done`.
    job: UnsafeCell<Option<*const Job<'static>>>,
    n_done: AtomicUsize,
    /// Helpers asleep, and whether the caller is.
    n_asleep: AtomicUsize,
    is_caller_asleep: AtomicBool,
    is_over: AtomicBool,
    gate: Mutex<()>,
    begun: Condvar,
    ended: Condvar,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `job` is written only by the caller that holds `in_use`, while no part is to be taken, and read only by those
// who have taken one; the exchange of `state` orders the two. All else is made for sharing.
#[expect(unsafe_code, reason = "lends a job of the caller's stack to helpers, as scoped threads do")]
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is to something that is `Sync`, and nothing else is bound to a thread.
#[expect(unsafe_code, reason = "as above")]
unsafe impl Send for Shared {}

/// How long a thread looks for work before it sleeps: longer than most steps of a program that are done by one thread,
/// shorter than what waking up costs several times over.
const LOOK: Duration = Duration::from_micros(50);

/// More are no use inside one step.
const MAX_THREADS: usize = 256;

impl Threads {
    /// `n` threads, the caller's own among them; fewer where the system gives no more, and no more than 256.
    pub fn new(n: NonZero<usize>) -> Self {
        let shared = Arc::new(Shared::default());
        let helper = |thread: usize| {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name("kernel".to_owned()).spawn(move || shared.help(thread))
        };
        let helpers = (1..n.get().min(MAX_THREADS)).map_while(|thread| helper(thread).ok()).collect();
        Self(Arc::new(Team { shared, helpers, in_use: Mutex::new(()), at_rest: AtomicBool::new(false) }))
    }

    /// The caller's thread alone.
    pub fn one() -> Self {
        Self::new(NonZero::<usize>::MIN)
    }

    /// How many there are, the caller's own among them.
    pub fn count(&self) -> usize {
        self.0.helpers.len() + 1
    }

    /// Whether the helpers rest and the caller works alone, from its next step on: while something else needs the cores.
    pub fn set_at_rest(&self, at_rest: bool) {
        self.0.at_rest.store(at_rest, Ordering::Relaxed);
    }

    /// How many work now.
    pub(crate) fn n_at_work(&self) -> usize {
        if self.0.at_rest.load(Ordering::Relaxed) { 1 } else { self.count() }
    }

    /// Calls `job(part, thread)` for all parts below `n_parts`, each once, and returns when all have returned.
    pub(crate) fn run(&self, n_parts: usize, job: &Job<'_>) {
        let Team { shared, in_use, .. } = &*self.0;
        let alone = self.n_at_work() == 1 || n_parts < 2 || n_parts > usize::from(u16::MAX);
        let Some(_in_use) = (if alone { None } else { in_use.try_lock().ok() }) else {
            return (0..n_parts).for_each(|part| job(part, 0));
        };
        shared.begin(n_parts, job);
        shared.take_part(0);
        shared.await_end(n_parts);
        if let Some(panic) = locked(&shared.panic).take() {
            resume_unwind(panic);
        }
    }

    /// Calls `f` with every item, on all threads.
    pub(crate) fn each<T>(&self, items: impl ExactSizeIterator<Item = T> + Send, f: impl Fn(T) + Sync) {
        let n = items.len();
        if n == 1 || self.n_at_work() == 1 {
            return items.for_each(f);
        }
        let items = Mutex::new(items);
        self.run(n.min(usize::from(u16::MAX)), &|_, _| {
            loop {
                let Some(item) = locked(&items).next() else { break };
                f(item);
            }
        });
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Threads").field(&self.count()).finish()
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        drop(locked(&self.shared.gate));
        self.shared.begun.notify_all();
        for helper in self.helpers.drain(..) {
            // Panics of jobs are caught and handed to their caller.
            let _ = helper.join();
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    #[expect(unsafe_code, reason = "lends a job of the caller's stack to helpers, as scoped threads do")]
    fn begin(&self, n_parts: usize, job: &Job<'_>) {
        // SAFETY: only the lifetime changes, and `Threads::run` returns when no part is being worked on. All parts of
        // the job before have been taken and are done, so nobody reads the cell.
        unsafe { *self.job.get() = Some(std::mem::transmute::<&Job<'_>, &'static Job<'static>>(job)) };
        self.n_done.store(0, Ordering::Relaxed);
        let number = (self.state.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        self.state.store(number << 32 | (n_parts as u64) << 16, Ordering::SeqCst);
        if self.n_asleep.load(Ordering::SeqCst) > 0 {
            drop(locked(&self.gate));
            self.begun.notify_all();
        }
    }

    fn has_parts(&self) -> bool {
        let state = self.state.load(Ordering::SeqCst);
        state & 0xFFFF < state >> 16 & 0xFFFF
    }

    /// Does parts as long as there are any.
    #[expect(unsafe_code, reason = "calls the job that was lent")]
    fn take_part(&self, thread: usize) {
        loop {
            let state = self.state.load(Ordering::Acquire);
            let (part, n_parts) = ((state & 0xFFFF) as usize, (state >> 16 & 0xFFFF) as usize);
            if part == n_parts {
                return;
            }
            if self.state.compare_exchange_weak(state, state + 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                continue;
            }
            // SAFETY: a part has been taken and is not counted as done: the job is set, and its caller waits.
            let job = unsafe { (*self.job.get()).map(|job| &*job) };
            if let Some(job) = job
                && let Err(panic) = catch_unwind(AssertUnwindSafe(|| job(part, thread)))
            {
                locked(&self.panic).get_or_insert(panic);
            }
            if self.n_done.fetch_add(1, Ordering::SeqCst) + 1 == n_parts && self.is_caller_asleep.load(Ordering::SeqCst)
            {
                drop(locked(&self.gate));
                self.ended.notify_one();
            }
        }
    }

    fn await_end(&self, n_parts: usize) {
        let is_done = || self.n_done.load(Ordering::SeqCst) == n_parts;
        if looked(is_done) {
            return;
        }
        let mut gate = locked(&self.gate);
        self.is_caller_asleep.store(true, Ordering::SeqCst);
        while !is_done() {
            gate = self.ended.wait(gate).unwrap_or_else(PoisonError::into_inner);
        }
        self.is_caller_asleep.store(false, Ordering::SeqCst);
    }

    /// A helper's life.
    fn help(&self, thread: usize) {
        let is_over = || self.is_over.load(Ordering::SeqCst);
        while !is_over() {
            self.take_part(thread);
            let has_news = || self.has_parts() || is_over();
            if looked(has_news) {
                continue;
            }
            let mut gate = locked(&self.gate);
            self.n_asleep.fetch_add(1, Ordering::SeqCst);
            while !has_news() {
                gate = self.begun.wait(gate).unwrap_or_else(PoisonError::into_inner);
            }
            self.n_asleep.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Looks for a short while whether something has come about.
fn looked(is_so: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        for _ in 0..32 {
            if is_so() {
                return true;
            }
            std::hint::spin_loop();
        }
        if begun.elapsed() > LOOK {
            return is_so();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threads(n: usize) -> Threads {
        Threads::new(NonZero::new(n).unwrap())
    }

    #[test]
    fn every_part_is_done_once_by_a_thread_that_does_nothing_else() {
        for n in [1, 2, 3, 8] {
            let threads = threads(n);
            assert_eq!(threads.count(), n);
            for round in 0..300 {
                let n_parts = round % 23;
                let done: Vec<AtomicUsize> = (0..n_parts).map(|_| AtomicUsize::new(0)).collect();
                let busy: Vec<AtomicBool> = (0..n).map(|_| AtomicBool::new(false)).collect();
                threads.run(n_parts, &|part, thread| {
                    assert!(!busy[thread].swap(true, Ordering::SeqCst));
                    done[part].fetch_add(1, Ordering::SeqCst);
                    if round % 50 == 0 {
                        thread::sleep(Duration::from_micros(200));
                    }
                    assert!(busy[thread].swap(false, Ordering::SeqCst));
                });
                assert!(done.iter().all(|count| count.load(Ordering::SeqCst) == 1), "round {round} on {n}");
            }
        }
    }

    #[test]
    fn items_are_given_out_once() {
        let threads = threads(4);
        let mut values = [0; 40];
        threads.each(values.iter_mut().enumerate(), |(i, value)| *value += i);
        assert!(values.iter().enumerate().all(|(i, &value)| value == i));
    }

    #[test]
    fn jobs_within_jobs_and_beside_each_other_end() {
        let threads = threads(3);
        let count = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        threads.run(4, &|_, _| {
                            threads.run(2, &|_, _| {
                                count.fetch_add(1, Ordering::SeqCst);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), 3 * 100 * 4 * 2);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_the_threads_usable() {
        let threads = threads(2);
        for bad in 0..6 {
            let job = |part: usize, _: usize| assert!(part != bad, "part {part}");
            let caught = catch_unwind(AssertUnwindSafe(|| threads.run(6, &job)));
            assert_eq!(caught.unwrap_err().downcast_ref::<String>().unwrap(), &format!("part {bad}"));
            threads.run(6, &|_, _| ());
        }
    }
}
