//! The workers of a run: who is there, and who has claimed what.
//!
//! A claim is a lease with an attempt number, `leases/UNIT.00001`, created only if nobody else has. It saves work and
//! decides nothing: results are created once and are the same whoever makes them, so two workers on one unit, as after
//! a network partition, cost time and change no bit. Whether a holder is alive is asked of the place, never of a clock.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::place::{Place, Presence, WORKERS};
use crate::{clock, sealed};

/// A worker, as its card and its leases name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// Its name in this run; no other worker has it.
    pub id: String,
    /// Process id on its host.
    pub pid: u32,
    /// Name of its host.
    pub host: String,
    /// When it came, UTC, for people.
    pub since: String,
    /// Hash of what it means to do, of its run's configuration.
    pub intent: String,
}

/// This process as a worker of a run, until dropped.
#[derive(Debug)]
pub(crate) struct Crew {
    place: Place,
    me: Worker,
    held: Held,
    _presence: Box<dyn Presence>,
}

/// The units that this worker holds. It knows that itself: its lease may be there although creating it seemed to fail,
/// as when the answer of an object store was lost, or although removing it did.
type Held = Arc<Mutex<BTreeSet<String>>>;

/// A unit of work that this worker holds until dropped.
#[derive(Debug)]
pub struct Claim {
    place: Place,
    unit: String,
    held: Held,
    keys: Vec<String>,
    attempt: u32,
    previous: Option<Worker>,
}

/// Folder of the leases.
pub(crate) const LEASES: &str = "leases";

impl Crew {
    pub(crate) fn join(place: &Place, intent: &str) -> io::Result<Self> {
        let host = host();
        let pid = std::process::id();
        let plain: String = host.chars().filter(char::is_ascii_alphanumeric).take(20).collect();
        // The process id alone repeats over hosts with one name, and over time.
        let nonce = RandomState::new().hash_one(pid) as u32;
        let id = format!("{plain}-{pid}-{nonce:08x}").to_lowercase();
        let me = Worker { id, pid, host, since: clock::now(), intent: intent.to_owned() };
        let presence = place.backend().enlist(&me.id, &card(&me))?;
        place.backend().tidy()?;
        Ok(Self { place: place.clone(), me, held: Held::default(), _presence: presence })
    }

    /// The other workers that are alive, by name.
    pub(crate) fn others(&self) -> io::Result<Vec<Worker>> {
        let mut others = Vec::new();
        for id in self.place.files(WORKERS)? {
            if id != self.me.id && self.place.backend().is_alive(&id)? {
                let bytes = self.place.read(&format!("{WORKERS}/{id}"))?.unwrap_or_default();
                // Where the card cannot be read its name stands all the same.
                let (host, since) = ("an unknown host".to_owned(), "an unknown time".to_owned());
                let unknown = || Worker { id: id.clone(), pid: 0, host, since, intent: String::new() };
                others.push(sealed::unseal(&bytes).unwrap_or_else(|_| unknown()));
            }
        }
        Ok(others)
    }

    /// One of the others that means to do something else.
    pub(crate) fn with_another_intent(&self) -> io::Result<Option<Worker>> {
        for other in self.others()? {
            if other.intent != self.me.intent && self.place.backend().shows_life(&other.id)? {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    /// Claims `unit` (a name that can be a file name, without trailing digits); `None` while a living worker holds it.
    ///
    /// A holder that died is succeeded under the next attempt number. Another may have finished the unit just before, so
    /// look for its result once more when the claim is held.
    pub(crate) fn claim(&self, unit: &str) -> io::Result<Option<Claim>> {
        if !self.held().insert(unit.to_owned()) {
            return Ok(None);
        }
        // Given back when it is dropped, as where no lease can be had.
        let mut claim = Claim {
            place: self.place.clone(),
            unit: unit.to_owned(),
            held: self.held.clone(),
            keys: Vec::new(),
            attempt: 1,
            previous: None,
        };
        let mine = card(&self.me);
        if self.place.backend().mark(&lease(unit, 1), &mine)? {
            claim.keys.push(lease(unit, 1));
            return Ok(Some(claim));
        }
        // Folders as well: no lease is one, but its number is taken, and that it cannot be read is told.
        let entries = self.place.backend().entries(LEASES)?;
        let mut attempts: Vec<u32> = entries.iter().filter_map(|(name, _)| attempt(name, unit)).collect();
        attempts.sort_unstable();
        let Some(&newest) = attempts.last() else {
            // Released in between: the next look will find the result, or a free unit.
            return Ok(None);
        };
        // Released in between, too.
        let Some(bytes) = self.place.read(&lease(unit, newest))? else { return Ok(None) };
        // A lease that cannot be read was torn by a power cut, which its holder did not survive.
        let holder = sealed::unseal::<Worker>(&bytes).ok();
        if holder.as_ref().is_some_and(|holder| holder.id == self.me.id) {
            claim.attempt = newest;
        } else {
            if let Some(holder) = &holder
                && self.place.backend().is_alive(&holder.id)?
            {
                return Ok(None);
            }
            claim.attempt = newest.checked_add(1).ok_or_else(|| too_often(&self.place, unit, newest))?;
            if !self.place.backend().mark(&lease(unit, claim.attempt), &mine)? {
                return Ok(None);
            }
            attempts.push(claim.attempt);
            claim.previous = holder;
        }
        claim.keys = attempts.into_iter().map(|attempt| lease(unit, attempt)).collect();
        Ok(Some(claim))
    }

    fn held(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// 1 where nobody tried before, one more for each worker that died over it.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Who held the unit before and died, if anyone did.
    pub fn previous(&self) -> Option<&Worker> {
        self.previous.as_ref()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        for key in &self.keys {
            // A lease that stays is that of a worker who is gone soon, and then counts for nothing.
            let _ = self.place.remove(key);
        }
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.unit);
    }
}

/// Removes the leases of workers that are gone; their units are done, or will be claimed anew.
pub(crate) fn remove_old_leases(place: &Place) -> io::Result<()> {
    for name in place.files(LEASES)? {
        let is_lease = name.rsplit_once('.').is_some_and(|(unit, _)| attempt(&name, unit).is_some());
        if !is_lease {
            continue;
        }
        let key = format!("{LEASES}/{name}");
        let Some(bytes) = place.read(&key)? else { continue };
        let holder = sealed::unseal::<Worker>(&bytes).ok();
        if !holder.map_or(Ok(false), |holder| place.backend().is_alive(&holder.id))? {
            place.remove(&key)?;
        }
    }
    // Of some it is known only now that they are dead.
    place.backend().tidy()
}

/// Whether a worker can have this name.
pub(crate) fn is_worker(id: &str) -> bool {
    let parts: Vec<&str> = id.rsplitn(3, '-').collect();
    let [nonce, pid, _] = parts[..] else { return false };
    nonce.len() == 8 && nonce.bytes().all(|b| b.is_ascii_hexdigit()) && pid.parse::<u32>().is_ok()
}

fn lease(unit: &str, attempt: u32) -> String {
    format!("{LEASES}/{unit}.{attempt:05}")
}

/// The attempt of a lease on `unit`, in its canonical spelling alone.
fn attempt(name: &str, unit: &str) -> Option<u32> {
    let digits = name.strip_prefix(unit)?.strip_prefix('.')?;
    digits.parse().ok().filter(|attempt| format!("{attempt:05}") == digits)
}

fn too_often(place: &Place, unit: &str, attempt: u32) -> io::Error {
    let path = place.path(&lease(unit, attempt));
    let message = format!(
        "`{}` has the last number there can be: found a lease that no worker made, expected a lower number: remove it",
        path.display()
    );
    io::Error::other(message)
}

fn card(worker: &Worker) -> Vec<u8> {
    sealed::seal(worker).expect("strings and a number have a JSON form")
}

fn host() -> String {
    let from_file =
        ["/proc/sys/kernel/hostname", "/etc/hostname"].iter().find_map(|path| fs_err::read_to_string(path).ok());
    from_file
        .or_else(|| ["HOSTNAME", "COMPUTERNAME"].iter().find_map(|key| std::env::var(key).ok()))
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "an unnamed host".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_of_mine_that_i_do_not_know_of_is_mine() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::from(folder.path());
        let (me, other) = (Crew::join(&place, "").unwrap(), Crew::join(&place.path("").into(), "").unwrap());
        // As where the answer to its creation was lost, or it could not be removed.
        place.create("leases/train.00001", &card(&me.me)).unwrap();
        assert!(other.claim("train").unwrap().is_none());
        let claim = me.claim("train").unwrap().unwrap();
        assert_eq!((claim.attempt(), claim.previous()), (1, None));
        assert!(me.claim("train").unwrap().is_none(), "but only once");
        drop(claim);
        assert!(other.claim("train").unwrap().is_some());
    }

    #[test]
    fn lease_numbers_that_no_worker_gave_are_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::from(folder.path());
        let me = Crew::join(&place, "").unwrap();
        for name in ["a.00001", "a.+0007", "a.7", "b.00001", "b.4294967295", "notes.txt"] {
            place.create(&format!("{LEASES}/{name}"), b"not a card").unwrap();
        }
        assert_eq!(me.claim("a").unwrap().unwrap().attempt(), 2);
        let error = me.claim("b").unwrap_err().to_string();
        assert!(error.contains("b.4294967295") && error.contains("remove it"), "{error}");
        remove_old_leases(&place).unwrap();
        assert_eq!(place.files(LEASES).unwrap(), ["a.+0007", "a.7", "notes.txt"]);
        assert_eq!(me.claim("b").unwrap().unwrap().attempt(), 1);
    }
}
