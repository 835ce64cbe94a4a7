//! Running chains: on how many threads, who hears of the progress, and how to stop.

use std::fmt;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// How to run, as opposed to what: nothing here changes a result.
#[derive(Clone, Copy)]
pub struct Execution<'a> {
    /// Threads to spread the chains over; where chains are fewer, threads share the work of each. At least 1.
    pub threads: NonZero<usize>,
    /// Called after every step of every chain, from the thread of that chain.
    pub progress: Option<&'a (dyn Fn(Progress) + Sync)>,
    /// Once set, all chains stop at their next step and the estimate ends with an error.
    pub cancel: Option<&'a AtomicBool>,
}

/// How far all chains together have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Steps done.
    pub done: usize,
    /// Steps to do.
    pub total: usize,
}

/// One thread for each core, silent, not to be stopped.
impl Default for Execution<'_> {
    fn default() -> Self {
        let threads = thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        Self { threads, progress: None, cancel: None }
    }
}

impl fmt::Debug for Execution<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Execution").field("threads", &self.threads).finish_non_exhaustive()
    }
}

/// Counts the steps of all chains and passes the caller's wish to stop on.
pub(crate) struct Ticker<'a> {
    execution: &'a Execution<'a>,
    done: AtomicUsize,
    total: usize,
}

impl<'a> Ticker<'a> {
    pub(crate) fn new(execution: &'a Execution<'a>, total: usize) -> Self {
        Self { execution, done: AtomicUsize::new(0), total }
    }

    /// Says that `steps` more are done; `false` when the caller wants to stop.
    pub(crate) fn tick(&self, steps: usize) -> bool {
        let done = self.done.fetch_add(steps, Ordering::Relaxed) + steps;
        if let Some(progress) = self.execution.progress {
            progress(Progress { done, total: self.total });
        }
        !self.execution.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }
}

/// Threads for each of several jobs at the same time: jobs first, so that more than one only where jobs are fewer.
pub fn threads_each(n_jobs: usize, threads: NonZero<usize>) -> NonZero<usize> {
    NonZero::new(threads.get() / n_jobs.max(1)).unwrap_or(NonZero::<usize>::MIN)
}

/// `job(0), job(1), …, job(n_jobs − 1)` on up to `threads` threads; the results stand in the order of the jobs.
pub fn in_parallel<T: Send>(n_jobs: usize, threads: NonZero<usize>, job: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let results: Vec<Mutex<Option<T>>> = (0..n_jobs).map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(slot) = results.get(at) else { break };
            let result = job(at);
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.get().min(n_jobs) {
            scope.spawn(work);
        }
        work();
    });
    let taken = results.into_iter().map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
    taken.map(|result| result.expect("every job below n_jobs was taken by a thread that has ended")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_stand_in_the_order_of_the_jobs() {
        for threads in [1, 2, 3, 8] {
            let squares = in_parallel(5, NonZero::new(threads).unwrap(), |i| i * i);
            assert_eq!(squares, [0, 1, 4, 9, 16]);
        }
        assert_eq!(in_parallel(0, NonZero::<usize>::MIN, |i| i), [0_usize; 0]);
    }
}
