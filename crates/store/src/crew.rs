//! The workers of a run: who is there, and who has claimed what.
//!
//! A claim is a lease with an attempt number, `leases/UNIT.00001`, created only if nobody else has. It saves work and
//! decides nothing: results are created once and are the same whoever makes them, so two workers on one unit, as after
//! a network partition, cost time and change no bit. Whether a holder is alive is asked of the place, never of a clock.

use std::hash::{BuildHasher as _, RandomState};
use std::io;

use serde::{Deserialize, Serialize};

use crate::place::{Place, Presence, WORKERS};
use crate::{clock, name, sealed};

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
    _presence: Box<dyn Presence>,
}

/// A unit of work that this worker holds until dropped.
#[derive(Debug)]
pub struct Claim {
    place: Place,
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
        Ok(Self { place: place.clone(), me, _presence: presence })
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

    /// Claims `unit` (a name that can be a file name, without trailing digits); `None` while a living worker holds it.
    ///
    /// A holder that died is succeeded under the next attempt number. Another may have finished the unit just before, so
    /// look for its result once more when the claim is held.
    pub(crate) fn claim(&self, unit: &str) -> io::Result<Option<Claim>> {
        let key = |attempt: u32| format!("{LEASES}/{unit}.{attempt:05}");
        let mine = card(&self.me);
        let claim = |keys, attempt, previous| Claim { place: self.place.clone(), keys, attempt, previous };
        if self.place.backend().mark(&key(1), &mine)? {
            return Ok(Some(claim(vec![key(1)], 1, None)));
        }
        // Folders as well: no lease is one, but its number is taken, and that it cannot be read is told.
        let entries = self.place.backend().entries(LEASES)?;
        let mut attempts: Vec<u32> = entries.iter().filter_map(|(name, _)| attempt(name, unit)).collect();
        attempts.sort_unstable();
        let Some(&newest) = attempts.last() else {
            // Released in between: the next look will find the result, or a free unit.
            return Ok(None);
        };
        // A lease that cannot be read was torn by a power cut, which its holder did not survive.
        let holder = self.place.read(&key(newest))?.and_then(|bytes| sealed::unseal::<Worker>(&bytes).ok());
        if let Some(holder) = &holder
            && (holder.id == self.me.id || is_alive(&self.place, &holder.id)?)
        {
            return Ok(None);
        }
        let next = newest.checked_add(1).ok_or_else(|| {
            let path = self.place.path(&key(newest));
            io::Error::other(format!("`{}` has the highest number there is: remove it", path.display()))
        })?;
        if !self.place.backend().mark(&key(next), &mine)? {
            return Ok(None);
        }
        attempts.push(next);
        Ok(Some(claim(attempts.into_iter().map(key).collect(), next, holder)))
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
    }
}

/// Removes the leases of workers that are gone; their units are done, or will be claimed anew.
pub(crate) fn remove_old_leases(place: &Place) -> io::Result<()> {
    for name in place.files(LEASES)? {
        let key = format!("{LEASES}/{name}");
        let Some(bytes) = place.read(&key)? else { continue };
        let holder = sealed::unseal::<Worker>(&bytes).ok();
        if !holder.map_or(Ok(false), |holder| is_alive(place, &holder.id))? {
            place.remove(&key)?;
        }
    }
    Ok(())
}

/// Whether the worker of a lease is alive; no worker has a name that cannot be a file name.
fn is_alive(place: &Place, id: &str) -> io::Result<bool> {
    if name::check(id).is_ok() { place.backend().is_alive(id) } else { Ok(false) }
}

fn attempt(name: &str, unit: &str) -> Option<u32> {
    name.strip_prefix(unit)?.strip_prefix('.')?.parse().ok()
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
